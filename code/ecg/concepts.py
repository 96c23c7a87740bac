"""The cardiologist's concepts: rules over the measurement table, judged True, False or blank.

Works on Uni-G's columns (PTB-XL+) and on those of `waves` alike: same names, mV, ms; S and Q are
negative. A rule that lacks what it needs is blank (pandas' three-valued logic: True or blank is
True), and blank is no negative. Thresholds of the voltage and duration rules are those that
reproduce the published flags (Wagner et al. 2024); the infarction rules follow the universal
definition (Thygesen et al., J Am Coll Cardiol 72 (2018) 2231).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
# Leads in which the universal definition of MI counts a Q wave, by contiguous group. The groups
# also hold V1-V3 and III, where a QS is often normal: counted there too, kappa with the published
# flags is .26, without them .72 (n = 1,482).
Q_GROUPS = (("I", "aVL"), ("V4", "V5", "V6"), ("II", "aVF"))
NEIGHBOURS = (("aVL", "I"), ("II", "aVF"), ("aVF", "III"), *itertools.pairwise(CHEST))


@dataclass(frozen=True)
class Concept:
    """A rule: its judge (table -> boolean column with blanks), and the labels it belongs to."""

    judge: Callable
    pathologies: tuple[str, ...] = ()


class _Columns:
    """The table's columns as arrays of numbers that may be blank (a Series takes ten times as long
    to compare); a column that is not there is blank throughout.
    """

    def __init__(self, table):
        self.table = table
        self.numbers = {}

    def __getitem__(self, name):
        if name not in self.numbers:
            there = name in self.table
            values = self.table[name] if there else pd.Series(np.nan, index=self.table.index)
            numbers = pd.to_numeric(values, errors="coerce")
            self.numbers[name] = numbers.astype("Float64").array
        return self.numbers[name]


def _any(judgements):
    judgements = list(judgements)
    result = judgements[0]
    for judgement in judgements[1:]:
        result = result | judgement
    return result


def _two_of(judgements):
    """At least two of them are True."""
    return _any(a & b for a, b in itertools.combinations(judgements, 2))


def _larger(columns, names, limit):
    return _any(abs(columns[name]) > limit for name in names)


def _rs_lvh(c):
    pairs = itertools.product("RS", ("I", "II", "III"))
    return _larger(c, [f"{wave}_Amp_{lead}" for wave, lead in pairs], 2.0)


def _s12_lvh(c):
    return _larger(c, ["S_Amp_V1", "S_Amp_V2"], 2.0)


def _r56_lvh(c):
    return _larger(c, ["R_Amp_V5", "R_Amp_V6"], 3.0)


def _lewis(c):
    return (c["R_Amp_I"] + abs(c["S_Amp_III"])) - (c["R_Amp_III"] + abs(c["S_Amp_I"])) > 1.6


def _sokolow_lyon(c):
    return abs(c["S_Amp_V1"]) + c["R_Amp_V5"] > 3.5


def _j_level(c, lead):
    """Level at the J-point; Uni-G calls it ST_Amp."""
    return c[f"J_Amp_{lead}"] if f"J_Amp_{lead}" in c.table else c[f"ST_Amp_{lead}"]


def _elevated(c, lead):
    """J-point elevation; in V2 and V3 the limit depends on sex and age (0 = male)."""
    level = _j_level(c, lead)
    if lead not in ("V2", "V3"):
        return level >= 0.1
    female, old = c["sex"] == 1, c["age"] >= 40
    return (level >= 0.25) | ((level >= 0.2) & (old | female)) | ((level >= 0.15) & female)


def _st_elevation(c):
    return _any(_elevated(c, a) & _elevated(c, b) for a, b in NEIGHBOURS)


def _depressed(c, lead):
    """ST depression, horizontal or downsloping (where the table tells), or an inverted T under a
    prominent R.
    """
    level = _j_level(c, lead)
    low = level <= -0.05
    if f"ST_Amp80ms_{lead}" in c.table:
        low = low & (c[f"ST_Amp80ms_{lead}"] <= level)
    return low | ((c[f"T_Amp_{lead}"] < -0.1) & (c[f"R_Amp_{lead}"] > abs(c[f"S_Amp_{lead}"])))


def _st_depression(c):
    return _any(_depressed(c, a) & _depressed(c, b) for a, b in NEIGHBOURS)


def _qs(c, lead):
    return (c[f"R_Amp_{lead}"] == 0) & (c[f"Q_Amp_{lead}"] < 0)


def _pathological_q(c, lead):
    """A QS, or a Q longer than 30 ms. The universal definition says 30 ms or more; but durations
    come in steps of 2 ms, many harmless Q waves measure 30, and the published flags follow the
    longer ones (half A of the patients: kappa .81 instead of .74).
    """
    return _qs(c, lead) | ((c[f"Q_Dur_{lead}"] > 30) & (c[f"Q_Amp_{lead}"] <= -0.1))


def _q_in_two_of(c, group):
    return _two_of(_pathological_q(c, lead) for lead in group)


def _mi_q_peak(c):
    return _any(_q_in_two_of(c, group) for group in Q_GROUPS)


def _mi_v2v3(c):
    v2, v3 = (_qs(c, lead) | (c[f"Q_Dur_{lead}"] > 20) for lead in ("V2", "V3"))
    return v2 & v3


def _mi_r_peak(c):
    tall = [
        (c[f"R_Dur_{lead}"] > 40)
        & (c[f"R_Amp_{lead}"] > abs(c[f"S_Amp_{lead}"]))
        & (c[f"T_Amp_{lead}"] > 0)
        for lead in ("V1", "V2")
    ]
    return tall[0] & tall[1] & (c["QRS_Dur_Global"] <= 120)


def _mi_all(c):
    return _mi_q_peak(c) | _mi_v2v3(c) | _mi_r_peak(c)


LVH, MI = ("LVH",), ("IMI", "AMI")

# name -> rule; what it says in words is in common.words
CONCEPTS = {
    "RS-LVH": Concept(_rs_lvh, LVH),
    "S12-LVH": Concept(_s12_lvh, LVH),
    "R56-LVH": Concept(_r56_lvh, LVH),
    "QRS-LVH": Concept(lambda c: c["QRS_Dur_Global"] > 90, LVH),
    "LI-LVH": Concept(_lewis, LVH),
    "SLI-LVH": Concept(_sokolow_lyon, LVH),
    "QRS-CLBBB": Concept(lambda c: c["QRS_Dur_Global"] > 120, ("CLBBB", "ILBBB")),
    "ST-ELEV-MI": Concept(_st_elevation, MI),
    "ST-DEPR-MI": Concept(_st_depression, MI),
    "MI-QPeak": Concept(_mi_q_peak, MI),
    "MI-V2V3": Concept(_mi_v2v3, MI),
    "MI-RPeak": Concept(_mi_r_peak, MI),
    "MI-All": Concept(_mi_all, MI),
    "Sex": Concept(lambda c: c["sex"] == 1),
    "Age75": Concept(lambda c: c["age"] >= 75),
}


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """Judge every concept on a table of measurements (mV, ms) with the columns sex (1 = female) and
    age.

    Returns one column per concept, of dtype boolean: True, False, or blank where it cannot be
    judged.
    """
    columns = _Columns(table)
    return pd.DataFrame(
        {name: concept.judge(columns) for name, concept in CONCEPTS.items()}, index=table.index
    )
