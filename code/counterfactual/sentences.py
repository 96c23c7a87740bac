"""A counterfactual in one sentence: R in V5 and V6 -0.42 mV: LVH 0.93 -> 0.31 (threshold 0.40)."""

from collections.abc import Iterable, Sequence

from common.words import digits_apart, probability_in_words
from counterfactual.edits import EDITS, Edit

DIGITS = {"mV": 2, "ms": 0}
# what a dose above and below 0 does to a quantity of a unit, or to a wave that points downwards
DOWNWARDS = ("less deep", "deeper")
PLAIN = {"mV": ("higher", "lower"), "ms": ("longer", "shorter"), "Q": DOWNWARDS, "S": DOWNWARDS}


def leads_in_words(leads: Sequence[str]) -> str:
    """V4, V5 and V6"""
    return " and ".join(part for part in (", ".join(leads[:-1]), leads[-1]) if part)


def dose_in_words(edit: Edit, dose: float) -> str:
    """-0.42 mV"""
    return f"{dose:+.{DIGITS[edit.unit]}f} {edit.unit}"


def edit_in_words(edit: Edit, dose: float) -> str:
    """R in V5 and V6 -0.42 mV"""
    where = f" in {leads_in_words(edit.leads)}" if edit.leads else ""
    return f"{edit.wave}{where} {dose_in_words(edit, dose)}"


def edit_in_plain_words(edit: Edit, dose: float) -> str:
    """R in V5 and V6 0.42 mV lower, S in V1 0.31 mV less deep, PR interval 24 ms longer"""
    where = f" in {leads_in_words(edit.leads)}" if edit.leads else ""
    more, less = PLAIN.get(edit.wave, PLAIN[edit.unit])
    size = f"{abs(dose):.{DIGITS[edit.unit]}f} {edit.unit}"
    return f"{edit.wave}{where} {size} {more if dose > 0 else less}"


def probabilities(before: float, after: float, threshold: float) -> list[str]:
    """Three of them, with a third digit where two do not tell `after` from `threshold`."""
    digits = digits_apart(after, threshold)
    return [probability_in_words(value, digits) for value in (before, after, threshold)]


def edits_in_words(doses: Iterable[tuple[str, float]]) -> str:
    """All edits (name, dose), in the order given."""
    return ", ".join(edit_in_words(EDITS[name], dose) for name, dose in doses)


def sentence(
    doses: Sequence[tuple[str, float]],
    pathology: str,
    before: float,
    after: float,
    threshold: float,
    turned: bool,
    most: int,
) -> str:
    """What is changed and what the network then says; `before`, `after`, `threshold` are
    probabilities.
    """
    start, end, limit = probabilities(before, after, threshold)
    course = f"{pathology} {start} -> {end} (threshold {limit})"
    if turned:
        return f"{edits_in_words(doses)}: {course}"
    if not doses:
        return f"no beat with a wave to change: {pathology} {probability_in_words(before)} stays"
    return (
        f"no {most} changes within what the data set shows turn {pathology}; the nearest: "
        f"{edits_in_words(doses)}: {course}"
    )
