"""Planted causes and decoys as data: which waves in which leads each statement changes, and by how much.

A change is `scale` (multiply the wave), `add` (mV) or `pattern` (replace the QRS by a shape of its own);
`times` moves or widens waves. All changes are multiplied by the record's severity, which varies around 1.
"""

from dataclasses import dataclass, field

from heart import INDEPENDENT, QRS

T_WAVES = ("T1", "T2")
P_WAVES = ("P1", "P2")
ALL = INDEPENDENT


@dataclass(frozen=True)
class Cause:
    """What one SCP statement (or decoy) does to a normal heart.

    scale    ((waves, {lead: factor at severity 1}), ...)
    add      ((waves, {lead: mV at severity 1}), ...)
    pattern  {lead: mV of QRS1..QRS8} in place of the QRS, scaled by the heart's own voltage
    times    {quantity: change at severity 1}: qrs_width, p_width (factors), pr, t (ms), rr (factor)
    rhythm   beats that differ: "fibrillation", "ectopic"
    """

    what: str
    scale: tuple = ()
    add: tuple = ()
    pattern: dict = field(default_factory=dict)
    times: dict = field(default_factory=dict)
    rhythm: str = ""
    age: float = 50.0


def leads(value, *names):
    """The same value in several leads."""
    return dict.fromkeys(names, value)


CAUSES = {
    "NORM": Cause("nothing: a normal heart"),
    "LVH": Cause(
        "tall R in I, V5, V6, deep S in V1-V2, secondary ST-T changes", age=68,
        scale=((QRS[2:5], leads(1.6, "I", "V5", "V6") | leads(1.5, "V4")), (T_WAVES, leads(0.5, "I", "V5", "V6"))),
        add=((QRS[3:6], leads(-0.75, "V1", "V2")), (("ST",), leads(-0.05, "I", "V5", "V6") | leads(0.06, "V1", "V2"))),
        times={"qrs_width": 1.08}),
    "CLBBB": Cause(
        "broad notched R in I, V5, V6, broad rS or QS in V1-V3, discordant ST-T", age=73,
        pattern={"I": (0, .15, .45, .60, .45, .55, .40, .12), "II": (0, .15, .45, .50, .25, .20, .12, .02),
                 "V1": (.05, -.10, -.45, -.90, -1.1, -.9, -.45, -.1), "V2": (.10, -.05, -.6, -1.3, -1.6, -1.2, -.55, -.1),
                 "V3": (.10, .05, -.4, -1.2, -1.6, -1.2, -.5, -.1), "V4": (.05, .15, .2, -.1, -.5, -.5, -.3, -.1),
                 "V5": (0, .2, .6, .7, .5, .45, .3, .1), "V6": (0, .2, .6, .8, .6, .7, .45, .12)},
        scale=((T_WAVES, leads(-0.7, "I", "V5", "V6")),),
        add=((("ST",), leads(0.18, "V1", "V2", "V3") | leads(-0.10, "I", "V5", "V6")),
             (("T2",), leads(0.35, "V1", "V2", "V3"))),
        times={"qrs_width": 1.6, "t": 25}),
    "IMI": Cause(
        "Q waves and lost R in II, III, aVF, inverted T there", age=68,
        add=((QRS[0:3], {"II": -0.22, "I": 0.10}), (QRS[3:5], {"II": -0.18, "I": 0.08}), (("T2",), {"II": -0.30, "I": 0.02}),
             (("ST",), {"II": 0.04}))),
    "AMI": Cause(
        "lost R and QS in V2-V5, ST elevation and inverted T there", age=68,
        add=((QRS[1:4], leads(-0.45, "V2", "V3", "V4") | leads(-0.25, "V5", "I")),
             (("ST",), leads(0.12, "V2", "V3", "V4")), (("T2",), leads(-0.45, "V3", "V4", "V5") | leads(-0.2, "V2", "I")))),
    "ASMI": Cause(
        "lost R and QS in V1-V3, ST elevation there", age=70,
        add=((QRS[1:4], leads(-0.40, "V1", "V2", "V3") | leads(-0.10, "V4")),
             (("ST",), leads(0.12, "V1", "V2", "V3")), (("T2",), leads(-0.30, "V2", "V3") | leads(-0.1, "V1", "V4")))),
}

DECOYS = {
    "late_notch": Cause("a notch 20 ms wide on the downstroke of S in V3 and V4",
                        add=((("QRS7",), leads(0.25, "V3", "V4")),)),
    "u_wave": Cause("a U wave in V2-V4", add=((("U",), leads(0.09, "V2", "V3", "V4")),)),
}
