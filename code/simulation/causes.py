"""Planted causes and decoys as data: which waves in which leads each statement changes, and by how much.

Amounts are those at severity 1. A record's severity varies around 1 within the cause's range; `add` grows with it in
proportion, `scale` by its power. Some records without the statement have the change to a degree that a reader lets
pass (BORDERLINE): labels are a threshold on something that varies, as in life.
Amounts follow the textbook's criteria (named in `criterion`) and, where PTB-XL's first 1,499 records hold 20 or more,
the difference between their median waves and those of normal records.
Limb leads III, aVR, aVL and aVF follow from I and II: Q waves in II with a gain in I are deep Q waves in III and aVF.
Inferior infarctions are old, with J in III at .02 mV (median of 115 of those records; normal hearts: .005), or fresh, with .25 mV
(8 records), ST up in II, III, aVF and V5-V6 and down in I, aVL and V1-V3. Fresh ones are raised to 3 % of all records, as rare
statements are (bench_simulation.py infarctions).
"""

from dataclasses import dataclass, field

from simulation.heart import INDEPENDENT, QRS

P_WAVES, T_WAVES = ("P1", "P2"), ("T1", "T2")
BORDERLINE = (0.2, 0.6)  # severities that no reader labels


@dataclass(frozen=True)
class Time:
    """Change of a time: value * factor**severity + add * severity, mirrored into [least, most] where it is labelled."""

    add: float = 0.0
    factor: float = 1.0
    least: float = -float("inf")
    most: float = float("inf")


@dataclass(frozen=True)
class Fresh:
    """What a recent onset of a cause adds to it, as Cause.add, and the share of the labelled records that have it."""

    share: float
    add: tuple


@dataclass(frozen=True)
class Cause:
    """What one SCP statement (or decoy) does to a heart.

    pattern    {lead: mV of QRS1..QRS8} in place of the QRS, scaled by the heart's own voltage; a third of its own stays
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
    return {lead: value for names, value in values.items() for lead in names.split("_")}


def everywhere(value: float) -> dict[str, float]:
    """The same value in all independent leads."""
    return dict.fromkeys(INDEPENDENT, value)


# In the order in which they act on a heart: conduction first, then what changes single waves, rate and rhythm last.
CAUSES = {
    "NORM": Cause("nothing: a normal heart", age=49, female=0.56),
    "CLBBB": Cause(
        "broad notched R in I, aVL, V6, broad rS or QS in V1-V3, ST-T against the QRS", "QRS > 120 ms",
        pattern={"I": (0, .05, .20, .45, .40, .46, .40, .20), "II": (0, .08, .25, .28, .10, .02, -.06, -.06),
                 "V1": (.02, .02, -.25, -.70, -.95, -.78, -.45, -.20), "V2": (.02, .15, -.55, -1.5, -1.7, -1.4, -.70, -.25),
                 "V3": (.02, .12, -.35, -1.2, -1.5, -1.3, -.75, -.30), "V4": (0, .06, .05, -.15, -.55, -.70, -.55, -.25),
                 "V5": (0, .06, .25, .42, .32, .30, .15, .02), "V6": (0, .05, .25, .50, .42, .52, .38, .12)},
        scale=((T_WAVES, leads(I_V5_V6=0.3)),),
        add=((("ST",), leads(V1=.14, V2=.17, V3=.12, I=-.07, V5=-.10, V6=-.12)),
             (("T2",), leads(V1=.30, V2=.40, V3=.30, I=-.22, V5=-.18, V6=-.26))),
        times={"width": Time(add=.66, least=1.5, most=1.95), "t": Time(add=22)}, severity=(.85, 1.2), age=74, female=.6),
    "CRBBB": Cause(
        "second, late R' in V1, broad S in I and V6, inverted T in V1", "QRS > 120 ms",
        pattern={"I": (-.02, 0, .08, .45, .05, -.20, -.22, -.16), "II": (-.02, .02, .10, .40, -.02, -.15, -.12, -.08),
                 "V1": (0, .04, .20, -.18, .05, .55, .50, .28), "V2": (0, .06, .30, .20, -.25, .22, .18, .05),
                 "V3": (-.02, .05, .20, .55, -.25, -.15, -.05, -.03), "V4": (-.03, .03, .15, .85, -.15, -.28, -.12, -.07),
                 "V5": (-.03, .02, .12, .95, -.10, -.30, -.18, -.10), "V6": (-.03, .02, .10, .75, -.05, -.28, -.20, -.13)},
        scale=((T_WAVES, leads(V2=.6)),),
        add=((("T2",), leads(V1=-.20, V2=-.06)), (("ST",), leads(V1_V2=-.03))),
        times={"width": Time(add=.62, least=1.5, most=1.9), "t": Time(add=16)}, severity=(.85, 1.2), age=73, female=.44),
    "IRBBB": Cause(
        "small late r' in V1, V2", "r' of .1 mV or more in V1",
        add=((("QRS5",), leads(V1=.24, V2=.20, II_V5=-.10)), (("QRS6",), leads(V1=.50, V2=.34, I_V5_V6=-.08)),
             (("QRS7",), leads(V1=.48, V2=.20, I_II_V5_V6=-.08)), (("QRS8",), leads(V1=.14, V2=.05, I_V6=-.04)),
             (("T2",), leads(V1=-.07, V2=-.10))),
        times={"width": Time(add=.11)}, borderline=.1, age=60, female=.38),
    "LAFB": Cause(
        "axis turned to the left: rS in II, III, aVF, qR in aVL", "frontal axis < -30 degrees",
        scale=((QRS[2:5], leads(V4=.8, V5=.7, V6=.6)),),
        add=((("QRS2",), leads(II=.08, I=-.03)), (("QRS3",), leads(II=-.28)), (("QRS4",), leads(II=-.95, V5_V6=-.20)),
             (("QRS5",), leads(II=-.55, I=.10, V5_V6=-.30)), (("QRS6",), leads(II=-.18, I=.08, V5=-.12, V6=-.15))),
        times={"width": Time(add=.08)}, severity=(.85, 1.5), borderline=.06, age=70, female=.4),
    "WPW": Cause(
        "short PR, delta wave, broad QRS, T against the delta wave", "PR < 120 ms",
        add=((("QRS1",), leads(I=.14, II=.16, V1=.05, V2_V3_V4=.22, V5_V6=.18)),
             (("QRS2",), leads(I=.20, II=.20, V1=.05, V2=.15, V3_V4=.30, V5_V6=.28)),
             (("T2",), leads(I_V5_V6=-.18, II=-.15, V4=-.2))),
        times={"width": Time(add=.32, least=1.2, most=1.5), "pr": Time(add=-52, least=70, most=112)},
        severity=(.8, 1.4), age=40),
    "LVH": Cause(
        "tall R in I, V5, V6, deep S in V1-V2, ST down and T flat over the left heart",
        "Sokolow-Lyon > 3.5 mV, Lewis > 1.6 mV, S in V1 or V2 > 2 mV, R in V5 or V6 > 3 mV, or R or S in a limb lead > 2 mV",
        scale=((T_WAVES, leads(I_V4_V5_V6=.55, II=.7)),),
        add=((("QRS3",), leads(I=.08, V1=-.26, V2=-.55, V4=.18, V5=.38, V6=.28)),
             (("QRS4",), leads(I=.40, V1=-.66, V2=-.75, V3=-.55, V4=.30, V5=.85, V6=.70)),
             (("QRS5",), leads(I=.32, V1=-.42, V2=-.52, V3=-.38, V4=-.10, V5=.40, V6=.40)),
             (("ST",), leads(I_V5_V6=-.05, V4=-.03, V1_V2=.04)), (("T2",), leads(I=-.08, V5=-.12, V6=-.12, V1=.08))),
        times={"width": Time(add=.07)}, severity=(.9, 1.7), borderline=.15, age=70, female=.46),
    "AMI": Cause(
        "R lost and Q in V2-V5 and I, ST up and T inverted there", "Q >= .1 mV or R < .3 mV in V3 and V4",
        scale=((QRS[1:5], leads(V3=.40, V4=.40, V5=.55)), (T_WAVES, leads(V2_V3_V4_V5=.45, I=.6))),
        add=((QRS[0:3], leads(V2=-.16, V3=-.26, V4=-.28, V5=-.16, I=-.05)), (("QRS4",), leads(V3=-.35, V4=-.45, V5=-.25)),
             (("ST",), leads(V2=.05, V3=.08, V4=.08, V5=.04)), (("T2",), leads(V2=-.10, V3=-.26, V4=-.30, V5=-.22, I=-.06))),
        borderline=.06, age=67, female=.35),
    "ASMI": Cause(
        "r lost and QS in V1-V3, ST up there, T flat", "R < .3 mV or Q in V2 and V3",
        scale=((QRS[1:4], leads(V1_V2=.25, V3=.30, V4=.65)), (T_WAVES, leads(V2_V3=.7, V4_V5_V6_I=.75))),
        add=((QRS[1:3], leads(V1=-.14, V2=-.30, V3=-.26, V4=-.06)), (("QRS4",), leads(V2=-.25, V3=-.55, V4=-.25)),
             (("ST",), leads(V1=.03, V2=.07, V3=.07)), (("T2",), leads(V2=-.12, V3=-.10))),
        borderline=.08, age=72, female=.5),
    "IMI": Cause(
        "Q waves and R lost in II, III, aVF, T inverted there; ST up if fresh", "Q >= .1 mV in two of II, III, aVF",
        scale=((QRS[1:4], leads(II=.60)), (T_WAVES, leads(II=.6, V5_V6=.8))),
        add=((("QRS1",), leads(II=-.06, I=.02)), (("QRS2",), leads(II=-.20, I=.09)), (("QRS3",), leads(II=-.28, I=.12)),
             (("QRS4",), leads(II=-.12, I=.04)), (("T2",), leads(II=-.20, I=.04))),
        fresh=Fresh(.36, ((("ST",), leads(I=-.06, II=.18, V1=-.10, V2=-.16, V3=-.08, V5=.08, V6=.07)),
                          (("T2",), leads(I=-.08, II=.16, V2_V3=-.10)))),
        borderline=.1, age=69, female=.32),
    "LMI": Cause(
        "Q waves and R lost in I, aVL, V5, V6, T flat there", "Q >= .1 mV in two of I, aVL, V5, V6",
        scale=((QRS[1:5], leads(I=.45, V5=.55, V6=.45)), (T_WAVES, leads(I=.5, V5_V6=.55))),
        add=((QRS[0:3], leads(I=-.14, V5=-.14, V6=-.16)), (("QRS4",), leads(I=-.10, V5=-.20, V6=-.25)),
             (("ST",), leads(I=.03, V5_V6=.03)), (("T2",), leads(I=-.14, V5=-.16, V6=-.18, II=-.03))),
        borderline=.05, age=71),
    "ISC_": Cause(
        "ST down and T inverted in I, II, V4-V6", "ST <= -.05 mV or T <= -.1 mV in two of I, II, V4-V6",
        scale=((T_WAVES, leads(I_II_V4_V5_V6=.55, V3=.7)),),
        add=((("ST",), leads(I=-.06, II=-.05, V4=-.06, V5=-.09, V6=-.09)),
             (("T2",), leads(I=-.18, II=-.14, V3=-.05, V4=-.22, V5=-.28, V6=-.24))),
        borderline=.14, age=74, female=.46),
    "LAO/LAE": Cause(
        "P broad, its second half tall in I, II and deep in V1", "P > 120 ms, or P in V1 negative by .1 mV",
        add=((("P2",), leads(I=.03, II=.06, V1=-.09, V2=-.05)),),
        times={"p_width": Time(add=.34, least=1.22, most=1.6), "pr": Time(add=6)}, borderline=.1, age=71, female=.44),
    "1AVB": Cause(
        "PR prolonged", "PR > 200 ms",
        times={"pr": Time(add=70, least=203, most=330)}, age=73, female=.3),
    "LVOLT": Cause(
        "small QRS in all leads", "QRS from peak to peak < .5 mV in all limb leads or < 1 mV in all chest leads",
        limit=leads(I=.22, II=.22, V1=.30, V2_V3=.42, V4_V5_V6=.42), severity=(.7, 1.1), age=72),
    "STACH": Cause("sinus rhythm faster than 100 a minute", "heart rate > 100",
                   times={"rr": Time(factor=.66, least=375, most=590)}, severity=(.8, 1.4), age=62, female=.58),
    "SBRAD": Cause("sinus rhythm slower than 55 a minute", "heart rate < 55.5",
                   times={"rr": Time(factor=1.36, least=1085, most=1550)}, severity=(.8, 1.4), age=60),
    "AFIB": Cause("no P waves, fibrillatory waves, irregular beats", "no P wave; RR intervals vary by more than 8 %",
                  scale=(((*P_WAVES, "TA"), everywhere(0.0)),), times={"rr": Time(factor=.82, least=470)},
                  overlay="fibrillation", severity=(.7, 1.5), age=75),
    "PVC": Cause("one to three broad early beats without P wave", "at least one beat with QRS > 120 ms comes early",
                 overlay="ectopic", age=72, female=.46),
}

DECOYS = {
    "late_notch": Cause("a notch on the upstroke after S in V3 and V4", add=((("QRS8",), leads(V3_V4=.22)),)),
    "u_wave": Cause("a U wave in V2-V4", add=((("U",), leads(V2=.09, V3=.10, V4=.08)),)),
    "baseline_step": Cause("the baseline of V1-V3 jumps once and creeps back", overlay="step"),
    "tremor": Cause("a second of tremor, 11 a second, in I and II", overlay="tremor"),
}
