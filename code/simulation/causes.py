"""Planted causes and decoys as data: which waves in which leads each statement changes, and by how
much.

Amounts are those at severity 1. A record's severity varies around 1 within the cause's range; `add`
grows with it in proportion, `scale` by its power. Some records without the statement have the
change to a degree that a reader lets pass (BORDERLINE): labels are a threshold on something that
varies, as in life. Amounts follow the textbook's criteria (named in `criterion`) and, where
PTB-XL's first 1,499 records hold 20 or more, the difference between their median waves and those of
normal records. Limb leads III, aVR, aVL and aVF follow from I and II: Q waves in II with a gain in
I are deep Q waves in III and aVF. Inferior infarctions are old, with J in III at .02 mV (median of
115 of those records; normal hearts: .005), or fresh, with .25 mV (8 records), ST up in II, III, aVF
and V5-V6 and down in I, aVL and V1-V3. Fresh ones are raised to 3 % of all records, as rare
statements are (bench_simulation.py infarctions).
"""

from dataclasses import dataclass, field

from simulation.heart import INDEPENDENT, QRS

P_WAVES, T_WAVES = ("P1", "P2"), ("T1", "T2")
BORDERLINE = (0.2, 0.6)  # severities that no reader labels


@dataclass(frozen=True)
class Time:
    """Change of a time: value * factor**severity + add * severity, mirrored into [least, most]
    where it is labelled.
    """

    add: float = 0.0
    factor: float = 1.0
    least: float = -float("inf")
    most: float = float("inf")


@dataclass(frozen=True)
class Fresh:
    """What a recent onset of a cause adds to it, as Cause.add, and the share of the labelled
    records that have it.
    """

    share: float
    add: tuple


@dataclass(frozen=True)
class Cause:
    """What one SCP statement (or decoy) does to a heart.

    pattern    {lead: mV of QRS1..QRS8} in place of the QRS, scaled by the heart's own voltage; a
               third of its own stays
    scale      ((waves, {lead: factor}), ...)
    add        ((waves, {lead: mV}), ...)
    limit      {lead: mV} that no QRS wave exceeds at severity 1
    times      {"pr", "t" (ms), "width", "p_width" (factors), "rr" (ms): Time}
    overlay    what is no wave: "fibrillation", "ectopic", "step", "tremor"
    severity   range that severities are drawn from
    borderline share of the other records that have it slightly, unlabelled
    fresh      what a recent onset does besides, in some of the records with the statement
    age        typical age of those who have it; share of women
    criterion  what a reader of the ECG looks for, and what the simulated waves are tested for
    """

    what: str
    criterion: str = ""
    pattern: dict = field(default_factory=dict)
    scale: tuple = ()
    add: tuple = ()
    limit: dict = field(default_factory=dict)
    times: dict = field(default_factory=dict)
    overlay: str = ""
    severity: tuple = (0.6, 1.7)
    borderline: float = 0.0
    fresh: "Fresh | None" = None
    age: float = 68.0
    female: float = 0.5


def leads(**values: float) -> dict[str, float]:
    """leads(I_V5=0.1, II=0.2) -> {"I": 0.1, "V5": 0.1, "II": 0.2}"""
    by_lead = {}
    for names, value in values.items():
        by_lead.update(dict.fromkeys(names.split("_"), value))
    return by_lead


def everywhere(value: float) -> dict[str, float]:
    """The same value in all independent leads."""
    return dict.fromkeys(INDEPENDENT, value)


# In the order in which they act on a heart: conduction first, then what changes single waves, rate
# and rhythm last.
CAUSES = {
    "NORM": Cause("nothing: a normal heart", age=49, female=0.56),
    "CLBBB": Cause(
        "broad notched R in I, aVL, V6, broad rS or QS in V1-V3, ST-T against the QRS",
        "QRS > 120 ms",
        pattern={
            "I": (0, 0.05, 0.20, 0.45, 0.40, 0.46, 0.40, 0.20),
            "II": (0, 0.08, 0.25, 0.28, 0.10, 0.02, -0.06, -0.06),
            "V1": (0.02, 0.02, -0.25, -0.70, -0.95, -0.78, -0.45, -0.20),
            "V2": (0.02, 0.15, -0.55, -1.5, -1.7, -1.4, -0.70, -0.25),
            "V3": (0.02, 0.12, -0.35, -1.2, -1.5, -1.3, -0.75, -0.30),
            "V4": (0, 0.06, 0.05, -0.15, -0.55, -0.70, -0.55, -0.25),
            "V5": (0, 0.06, 0.25, 0.42, 0.32, 0.30, 0.15, 0.02),
            "V6": (0, 0.05, 0.25, 0.50, 0.42, 0.52, 0.38, 0.12),
        },
        scale=((T_WAVES, leads(I_V5_V6=0.3)),),
        add=(
            (("ST",), leads(V1=0.14, V2=0.17, V3=0.12, I=-0.07, V5=-0.10, V6=-0.12)),
            (("T2",), leads(V1=0.30, V2=0.40, V3=0.30, I=-0.22, V5=-0.18, V6=-0.26)),
        ),
        times={"width": Time(add=0.66, least=1.5, most=1.95), "t": Time(add=22)},
        severity=(0.85, 1.2),
        age=74,
        female=0.6,
    ),
    "CRBBB": Cause(
        "second, late R' in V1, broad S in I and V6, inverted T in V1",
        "QRS > 120 ms",
        pattern={
            "I": (-0.02, 0, 0.08, 0.45, 0.05, -0.20, -0.22, -0.16),
            "II": (-0.02, 0.02, 0.10, 0.40, -0.02, -0.15, -0.12, -0.08),
            "V1": (0, 0.04, 0.20, -0.18, 0.05, 0.55, 0.50, 0.28),
            "V2": (0, 0.06, 0.30, 0.20, -0.25, 0.22, 0.18, 0.05),
            "V3": (-0.02, 0.05, 0.20, 0.55, -0.25, -0.15, -0.05, -0.03),
            "V4": (-0.03, 0.03, 0.15, 0.85, -0.15, -0.28, -0.12, -0.07),
            "V5": (-0.03, 0.02, 0.12, 0.95, -0.10, -0.30, -0.18, -0.10),
            "V6": (-0.03, 0.02, 0.10, 0.75, -0.05, -0.28, -0.20, -0.13),
        },
        scale=((T_WAVES, leads(V2=0.6)),),
        add=((("T2",), leads(V1=-0.20, V2=-0.06)), (("ST",), leads(V1_V2=-0.03))),
        times={"width": Time(add=0.62, least=1.5, most=1.9), "t": Time(add=16)},
        severity=(0.85, 1.2),
        age=73,
        female=0.44,
    ),
    "IRBBB": Cause(
        "small late r' in V1, V2",
        "r' of .1 mV or more in V1",
        add=(
            (("QRS5",), leads(V1=0.24, V2=0.20, II_V5=-0.10)),
            (("QRS6",), leads(V1=0.50, V2=0.34, I_V5_V6=-0.08)),
            (("QRS7",), leads(V1=0.48, V2=0.20, I_II_V5_V6=-0.08)),
            (("QRS8",), leads(V1=0.14, V2=0.05, I_V6=-0.04)),
            (("T2",), leads(V1=-0.07, V2=-0.10)),
        ),
        times={"width": Time(add=0.11)},
        borderline=0.1,
        age=60,
        female=0.38,
    ),
    "LAFB": Cause(
        "axis turned to the left: rS in II, III, aVF, qR in aVL",
        "frontal axis < -30 degrees",
        scale=((QRS[2:5], leads(V4=0.8, V5=0.7, V6=0.6)),),
        add=(
            (("QRS2",), leads(II=0.08, I=-0.03)),
            (("QRS3",), leads(II=-0.28)),
            (("QRS4",), leads(II=-0.95, V5_V6=-0.20)),
            (("QRS5",), leads(II=-0.55, I=0.10, V5_V6=-0.30)),
            (("QRS6",), leads(II=-0.18, I=0.08, V5=-0.12, V6=-0.15)),
        ),
        times={"width": Time(add=0.08)},
        severity=(0.85, 1.5),
        borderline=0.06,
        age=70,
        female=0.4,
    ),
    "WPW": Cause(
        "short PR, delta wave, broad QRS, T against the delta wave",
        "PR < 120 ms",
        add=(
            (("QRS1",), leads(I=0.14, II=0.16, V1=0.05, V2_V3_V4=0.22, V5_V6=0.18)),
            (("QRS2",), leads(I=0.20, II=0.20, V1=0.05, V2=0.15, V3_V4=0.30, V5_V6=0.28)),
            (("T2",), leads(I_V5_V6=-0.18, II=-0.15, V4=-0.2)),
        ),
        times={
            "width": Time(add=0.32, least=1.2, most=1.5),
            "pr": Time(add=-52, least=70, most=112),
        },
        severity=(0.8, 1.4),
        age=40,
    ),
    "LVH": Cause(
        "tall R in I, V5, V6, deep S in V1-V2, ST down and T flat over the left heart",
        "Sokolow-Lyon > 3.5 mV, Lewis > 1.6 mV, S in V1 or V2 > 2 mV, R in V5 or V6 > 3 mV, or R "
        "or S in a limb lead > 2 mV",
        scale=((T_WAVES, leads(I_V4_V5_V6=0.55, II=0.7)),),
        add=(
            (("QRS3",), leads(I=0.08, V1=-0.26, V2=-0.55, V4=0.18, V5=0.38, V6=0.28)),
            (("QRS4",), leads(I=0.40, V1=-0.66, V2=-0.75, V3=-0.55, V4=0.30, V5=0.85, V6=0.70)),
            (("QRS5",), leads(I=0.32, V1=-0.42, V2=-0.52, V3=-0.38, V4=-0.10, V5=0.40, V6=0.40)),
            (("ST",), leads(I_V5_V6=-0.05, V4=-0.03, V1_V2=0.04)),
            (("T2",), leads(I=-0.08, V5=-0.12, V6=-0.12, V1=0.08)),
        ),
        times={"width": Time(add=0.07)},
        severity=(0.9, 1.7),
        borderline=0.15,
        age=70,
        female=0.46,
    ),
    "AMI": Cause(
        "R lost and Q in V2-V5 and I, ST up and T inverted there",
        "Q >= .1 mV or R < .3 mV in V3 and V4",
        scale=(
            (QRS[1:5], leads(V3=0.40, V4=0.40, V5=0.55)),
            (T_WAVES, leads(V2_V3_V4_V5=0.45, I=0.6)),
        ),
        add=(
            (QRS[0:3], leads(V2=-0.16, V3=-0.26, V4=-0.28, V5=-0.16, I=-0.05)),
            (("QRS4",), leads(V3=-0.35, V4=-0.45, V5=-0.25)),
            (("ST",), leads(V2=0.05, V3=0.08, V4=0.08, V5=0.04)),
            (("T2",), leads(V2=-0.10, V3=-0.26, V4=-0.30, V5=-0.22, I=-0.06)),
        ),
        borderline=0.06,
        age=67,
        female=0.35,
    ),
    "ASMI": Cause(
        "r lost and QS in V1-V3, ST up there, T flat",
        "R < .3 mV or Q in V2 and V3",
        scale=(
            (QRS[1:4], leads(V1_V2=0.25, V3=0.30, V4=0.65)),
            (T_WAVES, leads(V2_V3=0.7, V4_V5_V6_I=0.75)),
        ),
        add=(
            (QRS[1:3], leads(V1=-0.14, V2=-0.30, V3=-0.26, V4=-0.06)),
            (("QRS4",), leads(V2=-0.25, V3=-0.55, V4=-0.25)),
            (("ST",), leads(V1=0.03, V2=0.07, V3=0.07)),
            (("T2",), leads(V2=-0.12, V3=-0.10)),
        ),
        borderline=0.08,
        age=72,
        female=0.5,
    ),
    "IMI": Cause(
        "Q waves and R lost in II, III, aVF, T inverted there; ST up if fresh",
        "Q >= .1 mV in two of II, III, aVF",
        scale=((QRS[1:4], leads(II=0.60)), (T_WAVES, leads(II=0.6, V5_V6=0.8))),
        add=(
            (("QRS1",), leads(II=-0.06, I=0.02)),
            (("QRS2",), leads(II=-0.20, I=0.09)),
            (("QRS3",), leads(II=-0.28, I=0.12)),
            (("QRS4",), leads(II=-0.12, I=0.04)),
            (("T2",), leads(II=-0.20, I=0.04)),
        ),
        fresh=Fresh(
            0.36,
            (
                (("ST",), leads(I=-0.06, II=0.18, V1=-0.10, V2=-0.16, V3=-0.08, V5=0.08, V6=0.07)),
                (("T2",), leads(I=-0.08, II=0.16, V2_V3=-0.10)),
            ),
        ),
        borderline=0.1,
        age=69,
        female=0.32,
    ),
    "LMI": Cause(
        "Q waves and R lost in I, aVL, V5, V6, T flat there",
        "Q >= .1 mV in two of I, aVL, V5, V6",
        scale=((QRS[1:5], leads(I=0.45, V5=0.55, V6=0.45)), (T_WAVES, leads(I=0.5, V5_V6=0.55))),
        add=(
            (QRS[0:3], leads(I=-0.14, V5=-0.14, V6=-0.16)),
            (("QRS4",), leads(I=-0.10, V5=-0.20, V6=-0.25)),
            (("ST",), leads(I=0.03, V5_V6=0.03)),
            (("T2",), leads(I=-0.14, V5=-0.16, V6=-0.18, II=-0.03)),
        ),
        borderline=0.05,
        age=71,
    ),
    "ISC_": Cause(
        "ST down and T inverted in I, II, V4-V6",
        "ST <= -.05 mV or T <= -.1 mV in two of I, II, V4-V6",
        scale=((T_WAVES, leads(I_II_V4_V5_V6=0.55, V3=0.7)),),
        add=(
            (("ST",), leads(I=-0.06, II=-0.05, V4=-0.06, V5=-0.09, V6=-0.09)),
            (("T2",), leads(I=-0.18, II=-0.14, V3=-0.05, V4=-0.22, V5=-0.28, V6=-0.24)),
        ),
        borderline=0.14,
        age=74,
        female=0.46,
    ),
    "LAO/LAE": Cause(
        "P broad, its second half tall in I, II and deep in V1",
        "P > 120 ms, or P in V1 negative by .1 mV",
        add=((("P2",), leads(I=0.03, II=0.06, V1=-0.09, V2=-0.05)),),
        times={"p_width": Time(add=0.34, least=1.22, most=1.6), "pr": Time(add=6)},
        borderline=0.1,
        age=71,
        female=0.44,
    ),
    "1AVB": Cause(
        "PR prolonged",
        "PR > 200 ms",
        times={"pr": Time(add=70, least=203, most=330)},
        age=73,
        female=0.3,
    ),
    "LVOLT": Cause(
        "small QRS in all leads",
        "QRS from peak to peak < .5 mV in all limb leads or < 1 mV in all chest leads",
        limit=leads(I=0.22, II=0.22, V1=0.30, V2_V3=0.42, V4_V5_V6=0.42),
        severity=(0.7, 1.1),
        age=72,
    ),
    "STACH": Cause(
        "sinus rhythm faster than 100 a minute",
        "heart rate > 100",
        times={"rr": Time(factor=0.66, least=375, most=590)},
        severity=(0.8, 1.4),
        age=62,
        female=0.58,
    ),
    "SBRAD": Cause(
        "sinus rhythm slower than 55 a minute",
        "heart rate < 55.5",
        times={"rr": Time(factor=1.36, least=1085, most=1550)},
        severity=(0.8, 1.4),
        age=60,
    ),
    "AFIB": Cause(
        "no P waves, fibrillatory waves, irregular beats",
        "no P wave; RR intervals vary by more than 8 %",
        scale=(((*P_WAVES, "TA"), everywhere(0.0)),),
        times={"rr": Time(factor=0.82, least=470)},
        overlay="fibrillation",
        severity=(0.7, 1.5),
        age=75,
    ),
    "PVC": Cause(
        "one to three broad early beats without P wave",
        "at least one beat with QRS > 120 ms comes early",
        overlay="ectopic",
        age=72,
        female=0.46,
    ),
}

DECOYS = {
    "late_notch": Cause(
        "a notch on the upstroke after S in V3 and V4", add=((("QRS8",), leads(V3_V4=0.22)),)
    ),
    "u_wave": Cause("a U wave in V2-V4", add=((("U",), leads(V2=0.09, V3=0.10, V4=0.08)),)),
    "baseline_step": Cause("the baseline of V1-V3 jumps once and creeps back", overlay="step"),
    "tremor": Cause("a second of tremor, 11 a second, in I and II", overlay="tremor"),
}
