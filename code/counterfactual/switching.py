"""A concept switched on or off by waves alone: how far does the logit follow?

TCAV asks in which direction a logit grows inside the network. Here the record itself is changed
until our own measurement judges the concept otherwise, by no more than that takes, and the network
is asked again. recipes.RECIPES says which waves carry a concept.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from common.intervals import mean_with_interval
from counterfactual.body import Body
from counterfactual.recipes import RECIPES
from counterfactual.sentences import edits_in_words
from ecg.analysis import measure_all
from ecg.concepts import judge

GRID = 12  # doses that are tried at a time, twice: coarse, then fine
SWITCHED_COLUMNS = (
    "ecg_id",
    "concept",
    "direction",
    "switched",
    "pathology",
    "logit_before",
    "logit_after",
    "sentence",
)
ANSWER_COLUMNS = (
    "concept",
    "direction",
    "pathology",
    "change",
    "low",
    "high",
    "turned",
    "n_switched",
    "n_records",
    "n_patients",
    "tcav_score",
    "tcav_magnitude",
    "tcav_layer",
    "tcav_learnt",
    "agrees",
)


def flags_of(
    signals: np.ndarray, sampling_rate: int, concept: str, person: Mapping[str, float]
) -> np.ndarray:
    """(n,) True where our measurement of records (n, T, 12) of one person judges the concept True;
    a blank counts as False.
    """
    table = measure_all(signals, sampling_rate, progress=False)
    table = table.assign(sex=person["sex"], age=person["age"])
    return judge(table)[concept].fillna(False).to_numpy(bool)


def switch(
    body: Body, concept: str, direction: str, person: Mapping[str, float]
) -> np.ndarray | None:
    """Doses (edits,) that just switch a concept's flag; None where the flag already is as wanted,
    or cannot be switched within the limits.
    """
    wanted = direction == "add"
    corner = _corner(body, RECIPES[concept].steps(direction))

    def switched(doses: np.ndarray) -> np.ndarray:
        flags = flags_of(body.apply(doses), body.sampling_rate, concept, person)
        return flags == wanted

    if not corner.any() or switched(np.zeros((1, len(corner))))[0]:
        return None
    low, high = 0.0, 1.0
    for _ in range(2):
        shares = np.linspace(low, high, GRID + 1)[1:]
        reached = np.flatnonzero(switched(shares[:, None] * corner))
        if not len(reached):
            return None
        first = int(reached[0])
        low, high = (shares[first - 1] if first else low), shares[first]
    return _pruned(high * corner, switched)


def _corner(body, steps):
    """Every edit of a recipe at its limit, those that the body lacks left out."""
    corner = np.zeros(len(body.names))
    for name, sign in steps:
        if name in body.names:
            number = body.names.index(name)
            corner[number] = body.high[number] if sign > 0 else body.low[number]
    return corner


def _pruned(doses, switched):
    """Doses without those that the switch does not need."""
    for number in np.flatnonzero(doses):
        fewer = doses.copy()
        fewer[number] = 0
        if fewer.any() and switched(fewer[None])[0]:
            doses = fewer
    return doses


def in_words(body: Body, concept: str, direction: str, doses: np.ndarray) -> str:
    """S in V1 +0.31 mV: SLI-LVH no longer holds"""
    made = [(body.names[number], doses[number]) for number in np.flatnonzero(doses)]
    outcome = "holds" if direction == "add" else "no longer holds"
    return f"{edits_in_words(made)}: {concept} {outcome}"


def answers(
    switched: pd.DataFrame,
    thresholds: Mapping[str, float],
    patients: Mapping[int, float],
    tcav: pd.DataFrame | None,
    seed: int = 0,
) -> pd.DataFrame:
    """ANSWER_COLUMNS: the mean change of each logit with its 95 % interval over patients, the share
    of decisions turned, and what TCAV says of the same concept and class.

    thresholds  pathology -> logit;  tcav  the run's tcav/scores.csv, None where there is none
    `agrees`: the logit moves as TCAV's magnitude says (blank without TCAV, or where the interval of
    the change holds 0)
    """
    rows = []
    for key, group in switched.groupby(["concept", "direction", "pathology"], sort=False):
        concept, direction, pathology = key
        own = group[group["switched"]]
        people = own["ecg_id"].map(patients).to_numpy()
        change, turned = (np.nan,) * 3, np.nan
        if len(own):
            change = mean_with_interval(
                (own["logit_after"] - own["logit_before"]).to_numpy(), people, seed
            )
            sides = own[["logit_before", "logit_after"]] > thresholds[pathology]
            turned = float((sides["logit_before"] != sides["logit_after"]).mean())
        beside = _tcav_of(tcav, concept, pathology)
        toward = 1 if direction == "add" else -1
        clear = np.isfinite(change[1]) and change[1] * change[2] > 0
        known = clear and np.isfinite(beside[1])
        agrees = bool(change[0] * toward * beside[1] > 0) if known else None
        sizes = (len(own), len(group), len(np.unique(people)))
        rows.append((*key, *change, turned, *sizes, *beside, agrees))
    return pd.DataFrame(rows, columns=ANSWER_COLUMNS)


def _tcav_of(tcav: pd.DataFrame | None, concept: str, pathology: str) -> Sequence[object]:
    """Score, magnitude and layer of the largest magnitude against records drawn at random, and
    whether it is learnt.
    """
    unknown = np.nan, np.nan, "", ""
    if tcav is None:
        return unknown
    tcav = tcav[(tcav["run_kind"] == "concept") & tcav["magnitude"].notna()]
    own = tcav[(tcav["concept"] == concept) & (tcav["pathology"] == pathology)]
    if not len(own):
        return unknown
    line = own.loc[own["magnitude"].abs().idxmax()]
    learnt = line["learnt"] if isinstance(line["learnt"], str) else ""  # NaN: too few records
    return line["score"], line["magnitude"], line["layer"], learnt
