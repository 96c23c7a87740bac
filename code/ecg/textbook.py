"""The textbook as a table: in which leads and stretches of the beat a pathology is read."""

from dataclasses import dataclass

import pandas as pd

from ecg.segments import SEGMENTS, WAVES

LATERAL = ("I", "aVL", "V5", "V6")
INFERIOR, ANTERIOR = ("II", "III", "aVF"), ("V1", "V2", "V3", "V4")


@dataclass(frozen=True)
class Rule:
    """One criterion: the leads and stretches it is read in, and which voltage there argues for the
    pathology.

    sign: 1 higher, -1 lower, 0 no direction (a duration, a missing wave). A gradient's sign should
    agree with it.
    """

    pathology: str
    leads: tuple[str, ...]
    stretches: tuple[str, ...]
    sign: int
    reads: str
    source: str

    @property
    def segments(self) -> tuple[str, ...]:
        """Segments of its stretches, each once, in their order in time."""
        wanted = set().union(*(WAVES[stretch] for stretch in self.stretches))
        return tuple(segment for segment in SEGMENTS if segment in wanted)


SOKOLOW = "Sokolow & Lyon, Am Heart J 37 (1949) 161"
CORNELL = "Casale et al., J Am Coll Cardiol 6 (1985) 572"
HYPERTROPHY = "Hancock et al., AHA/ACCF/HRS part V, Circulation 119 (2009) e251"
CONDUCTION = "Surawicz et al., AHA/ACCF/HRS part III, Circulation 119 (2009) e235"
DELAY = "Kusumoto et al., ACC/AHA/HRS guideline on bradycardia, Circulation 140 (2019) e382"
REPOLARISATION = "Rautaharju et al., AHA/ACCF/HRS part IV, Circulation 119 (2009) e241"
INFARCTION = "Thygesen et al., Fourth universal definition of MI, Circulation 138 (2018) e618"
NORMAL = (
    "Surawicz & Knilans, Chou's Electrocardiography in Clinical Practice, 6th ed. (2008), ch. 1"
)
FIBRILLATION = "Hindricks et al., ESC guidelines, Eur Heart J 42 (2021) 373"

RULES = (
    Rule("NORM", ("I", "II", "aVF"), ("P",), 1, "sinus P wave, upright in I, II, aVF", NORMAL),
    Rule("NORM", ("I", "II", "V3", "V4", "V5", "V6"), ("T",), 1, "upright T wave", NORMAL),
    Rule("LVH", ("V5", "V6"), ("R",), 1, "tall R in V5 or V6", SOKOLOW),
    Rule("LVH", ("V1",), ("S",), -1, "deep S in V1", SOKOLOW),
    Rule("LVH", ("aVL",), ("R",), 1, "tall R in aVL", CORNELL),
    Rule("LVH", ("V3",), ("S",), -1, "deep S in V3", CORNELL),
    Rule("LVH", LATERAL, ("ST", "T"), -1, "ST-T opposite to the QRS (strain)", HYPERTROPHY),
    Rule("CLBBB", LATERAL, ("R", "late QRS"), 1, "broad, notched or slurred R", CONDUCTION),
    Rule("CLBBB", ("I", "V5", "V6"), ("Q",), 1, "no q wave", CONDUCTION),
    Rule(
        "CLBBB", ("V1", "V2", "V3"), ("R", "S"), -1, "rS or QS, the R small or absent", CONDUCTION
    ),
    Rule("CLBBB", LATERAL, ("ST", "T"), -1, "ST-T opposite to the QRS", CONDUCTION),
    Rule("CRBBB", ("V1", "V2"), ("late QRS",), 1, "R' in V1 or V2", CONDUCTION),
    Rule("CRBBB", ("I", "V6"), ("S", "late QRS"), -1, "S broader than R or 40 ms", CONDUCTION),
    Rule("CRBBB", ("V1", "V2"), ("T",), -1, "T opposite to the R'", CONDUCTION),
    Rule("LAFB", ("aVL",), ("Q",), -1, "qR in aVL, R peak at 45 ms or later", CONDUCTION),
    Rule("LAFB", ("I", "aVL"), ("R",), 1, "left axis: R in I and aVL", CONDUCTION),
    Rule("LAFB", INFERIOR, ("S",), -1, "left axis: rS in II, III, aVF", CONDUCTION),
    Rule("AMI", ANTERIOR, ("Q",), -1, "Q or QS in V1-V4", INFARCTION),
    Rule("AMI", ANTERIOR, ("R",), -1, "loss of R in V1-V4", INFARCTION),
    Rule("AMI", ANTERIOR, ("ST",), 1, "ST elevation in V1-V4", INFARCTION),
    Rule("AMI", ANTERIOR, ("T",), -1, "T inversion in V1-V4", INFARCTION),
    Rule("IMI", INFERIOR, ("Q",), -1, "Q in II, III, aVF", INFARCTION),
    Rule("IMI", INFERIOR, ("ST",), 1, "ST elevation in II, III, aVF", INFARCTION),
    Rule("IMI", INFERIOR, ("T",), -1, "T inversion in II, III, aVF", INFARCTION),
    Rule("LMI", LATERAL, ("Q",), -1, "Q in I, aVL, V5, V6", INFARCTION),
    Rule("LMI", LATERAL, ("ST",), 1, "ST elevation in I, aVL, V5, V6", INFARCTION),
    Rule("LMI", LATERAL, ("T",), -1, "T inversion in I, aVL, V5, V6", INFARCTION),
    Rule(
        "ISC_",
        ("I", "II", "aVL", "V4", "V5", "V6"),
        ("ST", "T"),
        -1,
        "ST depression, T inversion in leads with an R",
        REPOLARISATION,
    ),
    Rule(
        "1AVB",
        ("II", "V1"),
        ("P", "PR"),
        0,
        "PR > 200 ms, read where the P wave is clearest",
        DELAY,
    ),
    Rule(
        "AFIB",
        ("II", "III", "aVF", "V1"),
        ("P", "PR", "TP"),
        0,
        "no P wave; fibrillatory waves",
        FIBRILLATION,
    ),
)

# a label of a task -> the pathology that its rules are listed under
ALIASES = {"ASMI": "AMI", "_AVB": "1AVB", "LAFB/LPFB": "LAFB"}


def rules_table() -> pd.DataFrame:
    """RULES as a table: pathology, leads, segments, sign, reads, source."""
    return pd.DataFrame(
        [
            {
                "pathology": rule.pathology,
                "leads": " ".join(rule.leads),
                "segments": " ".join(rule.segments),
                "sign": rule.sign,
                "reads": rule.reads,
                "source": rule.source,
            }
            for rule in RULES
        ]
    )
