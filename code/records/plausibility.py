"""Whether a recording can be what it is taken for: mV, the usual order of the leads, the right way
up, one scale for all leads, and a heartbeat in it.

Every test compares with 1,499 real PTB-XL records at 100 Hz. Limits were set on the records of
patients with an even number; tests/benchmarks/bench_plausibility.py gives, on the others, how
often a record as it is raises an alarm and how often each fault is found.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from common.files import UserError
from common.labels import LEADS
from records.stored import leads_there

MAX_MV = 50.0  # more than any ECG has: the unit is wrong
# typical height of 12 leads: geometric mean over them of the 0.5 to 99.5 percentile span
HEIGHT_MV = (0.45, 3.2)
# of one lead, which varies more: the 0.25 and 99.75 percentile over records, and 15 % beyond (so
# that halves of the half that limits are set on raise at most 1 % alarms in each other)
LEAD_MV = {
    **{"I": (0.22, 3.78), "II": (0.27, 3.81), "III": (0.21, 4.39)},
    **{"aVR": (0.27, 2.84), "aVL": (0.15, 3.97), "aVF": (0.17, 3.78)},
    **{"V1": (0.29, 6.71), "V2": (0.39, 8.76), "V3": (0.46, 7.72)},
    **{"V4": (0.48, 6.67), "V5": (0.46, 5.40), "V6": (0.35, 5.30)},
}
# a file whose unit nobody says is not taken beyond the limits times these: no record comes near
IMPOSSIBLE = (0.55, 1.9)
OTHER_UNIT = (
    "if a gain or unit in the file is wrong, --unit takes its place (V for mV: a thousand times "
    "taller; 5mV: five times)"
)
EINTHOVEN = 0.08  # of the limb leads' spread; rounding leaves .01
EQUAL_SPANS = 0.08  # spread of the leads' spans: 0 where each was scaled; real records: .12 on
CHEST = -0.7
POLARITY = 1.9
CONCENTRATION = 0.4  # share of the changes within the busiest tenth of the time
# how much an upward asymmetry of each lead speaks for a record that is upside down
UPSIDE_DOWN = np.array([-1.5, -0.3, 0.6, 0.8, -1.1, 0.0, 0.9, 0.9, 0.9, -0.3, -1.8, -2.8])
AVR = slice(3, 4)
CHEST_LEADS = slice(6, 12)
STEPS = np.arange(6) - 2.5


@dataclass(frozen=True)
class Judged:
    """Records with what several checks read of them, each computed once.

    leads     # (n, 12, T) float32 mV, or the leads that are there, about 100 samples a second
    rate      Hz of `leads`
    recorded  # (n, T, 12) the same as recorded, in any unit
    """

    leads: np.ndarray
    rate: float
    recorded: np.ndarray
    lead_names: tuple[str, ...] = LEADS

    @cached_property
    def changes(self) -> np.ndarray:
        """(n, 12, T - 1) of `leads` from one to the next."""
        return np.diff(self.leads, axis=2)

    @cached_property
    def ordered(self) -> np.ndarray:
        """`leads` in ascending order."""
        return np.sort(self.leads, axis=2)

    @cached_property
    def spans(self) -> np.ndarray:
        """(n, 12) from the 0.5 to the 99.5 percentile."""
        return _spans(self.ordered)

    def centred(self, leads: slice) -> np.ndarray:
        """Some of the leads about their medians."""
        return self.leads[:, leads] - _quantile(self.ordered[:, leads], 0.5)[..., None]

    @cached_property
    def asymmetry(self) -> np.ndarray:
        """(n, 12) from -1 (all downward) to 1 (all upward)."""
        low, high = self.ordered[..., 0], self.ordered[..., -1]
        middle = _quantile(self.ordered, 0.5)
        return (high + low - 2 * middle) / np.maximum(high - low, 1e-12)

    @cached_property
    def misfit(self) -> np.ndarray:
        """(n,) see `limb_misfit`."""
        return limb_misfit(self.changes)

    @cached_property
    def moves(self) -> np.ndarray:
        """(n,) bool: something does."""
        return _median(self.spans) > 1e-9

    @cached_property
    def dead(self) -> np.ndarray:
        """(n,) bool: no heartbeat."""
        return ~self.moves | (concentration(self.changes, self.rate) < CONCENTRATION)

    def spans_as_recorded(self, rows: np.ndarray) -> np.ndarray:
        """(rows, 12) from lowest to highest sample at the recordings' own rate, in any unit."""
        return np.ptp(self.recorded[rows].astype(np.float32), axis=1)


def thinned(signals: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, float]:
    """Signals (n, T, leads) of any numbers -> (n, leads, T') float32 means of neighbouring samples,
    about 100 a second, and how many exactly.
    """
    step = max(sampling_rate // 100, 1)
    n, length, n_leads = signals.shape
    length = length // step * step
    means = np.empty((n, n_leads, length // step), np.float32)
    sums = np.tile(np.eye(n_leads, dtype=np.float32), (step, 1))
    for record, mean in zip(signals, means, strict=True):  # one stays in the processor's cache
        frames = record[:length].astype(np.float32, copy=False)
        if step > 1:  # a product is faster than adding up samples that lie apart
            frames = frames.reshape(-1, step * n_leads) @ sums
        mean[:] = frames.T
    means /= step
    return means, sampling_rate / step


def _quantile(ordered, share):
    """Along the last axis of sorted values, between two by their distance."""
    place = share * (ordered.shape[-1] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[-1] - 1)
    return ordered[..., below] + (ordered[..., above] - ordered[..., below]) * (place - below)


def _median(values):
    """Along the last axis, which is short; np.median takes several times as long."""
    return _quantile(np.sort(values, axis=-1), 0.5)


def _spans(ordered):
    """From the 0.5 to the 99.5 percentile along the last axis of sorted values."""
    return _quantile(ordered, 0.995) - _quantile(ordered, 0.005)


def height(spans: np.ndarray) -> np.ndarray:
    """Spans (n, leads) in mV -> (n,) mV: their geometric mean; a lead below a twentieth of the
    median counts as that (one loose electrode is not a unit).
    """
    floor = np.maximum(_median(spans)[:, None] / 20, 1e-12)
    return np.exp(np.log(np.maximum(spans, floor)).mean(axis=1))


def height_limits(leads: Sequence[str]) -> tuple[float, float]:
    """Lowest and highest height (mV) of these leads together: of fewer than 12 the geometric means
    of each one's own.
    """
    if len(leads) == len(LEADS):
        return HEIGHT_MV
    low, high = np.exp(np.log([LEAD_MV[lead] for lead in leads]).mean(axis=0))
    return float(low), float(high)


def wrong_unit(records: Judged) -> np.ndarray:
    """Too small or too tall to be in mV. What does not move at all is not judged."""
    typical = height(records.spans)
    low, high = height_limits(records.lead_names)
    return records.moves & ((typical < low) | (typical > high))


def limb_misfit(changes: np.ndarray) -> np.ndarray:
    """Changes (n, 12, T) from sample to sample -> (n,) the worst of the four identities between
    limb leads (III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2): the change
    that is left over, as a share of the limb leads' own, by medians over the busiest tenth of the
    time (the QRS complexes), so that drift, noise and a lead lost for a while do not count.
    """
    changes = changes[:, :6]
    n_busy = max(changes.shape[2] // 10, 1)
    activity = np.abs(changes).sum(axis=1)
    busy = np.argpartition(-activity, n_busy - 1, axis=1)[:, :n_busy]
    changes = np.take_along_axis(changes, busy[:, None, :], axis=2)
    one, two, three, right, left, foot = np.moveaxis(changes, 1, 0)
    left_over = (
        three - (two - one),
        right + (one + two) / 2,
        left - (one - two / 2),
        foot - (two - one / 2),
    )
    spread = _median(np.abs(changes)).mean(axis=1)
    worst = _median(np.abs(left_over)).max(axis=0)
    return worst / np.maximum(spread, 1e-12)


def scaled_leads(records: Judged) -> np.ndarray:
    """Every lead has the same span, and limb leads do not fit each other: each was scaled by its
    own factor. At the records' own rate: a mean of samples has another span.
    """
    found = records.misfit > EINTHOVEN
    spans = records.spans_as_recorded(np.flatnonzero(found))
    found[found] = spans.std(axis=1) < EQUAL_SPANS * spans.mean(axis=1)
    return found


def wrong_limb_order(records: Judged) -> np.ndarray:
    """Limb leads do not fit each other: some are not what they are named."""
    return (records.misfit > EINTHOVEN) & ~scaled_leads(records)


def wrong_chest_order(records: Judged) -> np.ndarray:
    """V1 to V6 develop backwards: from like -aVR and upright to unlike it and downward."""
    against = -records.centred(AVR)
    chest = records.centred(CHEST_LEADS)
    rise = correlation(chest, against) @ STEPS * 1.6
    return rise + records.asymmetry[:, CHEST_LEADS] @ STEPS * 1.8 < CHEST


def upside_down(records: Judged) -> np.ndarray:
    """All leads have the wrong sign."""
    return (records.asymmetry @ UPSIDE_DOWN > POLARITY) & (records.misfit < EINTHOVEN)


def concentration(changes: np.ndarray, sampling_rate: float) -> np.ndarray:
    """Changes (n, 12, T) from sample to sample -> (n,) the share of their squares that the busiest
    tenth of the time holds: QRS complexes have nearly all; noise and hum about a tenth.
    """
    energy = np.einsum("nct,nct->nt", changes, changes)
    width = max(round(0.05 * sampling_rate), 1)
    padded = np.pad(np.cumsum(energy, axis=1), ((0, 0), (1, 0)))
    smooth = padded[:, width:] - padded[:, :-width]
    n_busy = max(smooth.shape[1] // 10, 1)
    busiest = np.partition(smooth, -n_busy, axis=1)[:, -n_busy:]
    return busiest.sum(axis=1) / np.maximum(smooth.sum(axis=1), 1e-30)


def no_heartbeat(records: Judged) -> np.ndarray:
    """Nothing moves, or it moves all the time alike: hum, noise, an open input."""
    return records.dead


class Check(NamedTuple):
    """`judge`: Judged -> (n,) bool; `leads` that it needs."""

    judge: Callable[[Judged], np.ndarray]
    description: str
    leads: tuple[str, ...] = LEADS


CHECKS = {
    "unit": Check(wrong_unit, "waves too small or too tall to be in mV", ()),
    "limb_order": Check(wrong_limb_order, "limb leads that do not fit each other", LEADS[:6]),
    "chest_order": Check(wrong_chest_order, "V1 to V6 that develop backwards"),
    "lead_scaling": Check(scaled_leads, "every lead scaled to one span"),
    "polarity": Check(upside_down, "all leads upside down"),
    "no_beat": Check(no_heartbeat, "no heartbeat: zeros, hum or noise", ()),
}


def judge(
    signals: np.ndarray, sampling_rate: int, names: Iterable[str] = tuple(CHECKS)
) -> dict[str, np.ndarray]:
    """Name of each check -> (n,) bool: whether it finds fault with signals # (n, T, 12) mV of any
    rate. What has no heartbeat is found by `no_beat` alone. Leads that no record has (NaN) are left
    out, and so are the checks that need them.
    """
    signals = np.asarray(signals, dtype=np.float32)
    there = leads_there(signals)
    leads = tuple(lead for lead, has in zip(LEADS, there, strict=True) if has)
    if not there.all():
        names = [name for name in names if set(leads).issuperset(CHECKS[name].leads)]
        signals = signals[..., there]
    return _found(Judged(*thinned(signals, sampling_rate), signals, leads), names)


def judge_samples(
    samples: np.ndarray, per_mv: np.ndarray, sampling_rate: int, leads: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """As `judge`, of records as a data set stores them: samples # (n, T, leads) int16, per_mv (n,)
    of them one mV.
    """
    means, rate = thinned(samples, sampling_rate)
    means /= np.asarray(per_mv, np.float32)[:, None, None]
    names = [name for name, check in CHECKS.items() if set(leads).issuperset(check.leads)]
    return _found(Judged(means, rate, samples, leads), names)


def _found(records, names):
    """What each check finds; that there is no heartbeat leaves nothing else to find."""
    found = {}
    for name in names:
        fault = CHECKS[name].judge(records)
        found[name] = fault if name == "no_beat" else fault & ~records.dead
    return found


def height_of(signal: np.ndarray) -> float:
    """The height of one recording (T, leads) in its own unit, by the leads without gaps."""
    there = signal[:, np.isfinite(signal).all(axis=0)]
    ordered = np.sort(there.T, axis=1)
    return float(height(_spans(ordered)[None])[0])


def check_height(signal: np.ndarray, leads: Sequence[str], unit: str | None, where: object) -> None:
    """Compare the height of a recording # (T, leads) with that of real ones: UserError where nobody
    says its unit and it cannot be in mV; a warning where its file says the unit.
    """
    whole = np.isfinite(signal).all(axis=0)
    if not whole.any() or not np.ptp(signal[:, whole]):
        return
    typical = height_of(signal)
    low, high = height_limits([lead for lead, has in zip(leads, whole, strict=True) if has])
    real = f"(real ones: {low:.2g} to {high:.2g})"
    if unit is None and not IMPOSSIBLE[0] * low <= typical <= IMPOSSIBLE[1] * high:
        raise UserError(
            f"{where} does not say its unit, and in mV its leads would be {typical:.3g} mV tall "
            f"{real}: give --unit (mV, uV, V, ...)"
        )
    if unit is not None and not low <= typical <= high:
        print(
            f"warning: the leads of {where} are {typical:.3g} mV tall {real}: {OTHER_UNIT}",
            file=sys.stderr,
        )


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Along the last axis, time, of what is centred there; 0 where one is flat."""
    size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return (a * b).sum(axis=-1) / np.maximum(size, 1e-12)
