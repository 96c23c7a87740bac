"""Whether a recording can be what it is taken for: mV, the usual order of the leads, the right way
up, one scale for all leads, and a heartbeat in it.

Every test compares with 1,499 real PTB-XL records at 100 Hz. Limits were set on the records of
patients with an even number; tests/benchmarks/bench_plausibility.py gives, on the others, how
often a record as it is raises an alarm and how often each fault is found.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from common.files import UserError
from common.labels import LEADS

# typical height: geometric mean over leads of the 0.5 to 99.5 percentile span
HEIGHT_MV = (0.45, 3.2)
# a file whose unit nobody says is not taken beyond these (mV): no real record comes near
IMPOSSIBLE_MV = (0.25, 6.0)
EINTHOVEN = 0.08  # of the limb leads' spread; rounding leaves .01
EQUAL_SPANS = 0.08  # spread of the leads' spans: 0 where each was scaled; real records: .12 on
CHEST = -0.7
POLARITY = 1.9
CONCENTRATION = 0.4  # share of the changes within the busiest tenth of the time
# how much an upward asymmetry of each lead speaks for a record that is upside down
UPSIDE_DOWN = np.array([-1.5, -0.3, 0.6, 0.8, -1.1, 0.0, 0.9, 0.9, 0.9, -0.3, -1.8, -2.8])
ORDER = {lead: column for column, lead in enumerate(LEADS)}
CHEST_LEADS = slice(6, 12)
STEPS = np.arange(6) - 2.5


def height(signals: np.ndarray) -> np.ndarray:
    """(n, T, 12) mV -> (n,) mV: geometric mean over the leads of their 0.5 to 99.5 % span; a lead
    below a twentieth of the median counts as that (one loose electrode is not a unit).
    """
    spans = _spans(signals)
    floor = np.maximum(np.median(spans, axis=1, keepdims=True) / 20, 1e-12)
    return np.exp(np.log(np.maximum(spans, floor)).mean(axis=1))


def wrong_unit(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Too small or too tall to be in mV. What does not move at all is not judged."""
    typical, moves = height(signals), np.median(_spans(signals), axis=1) > 1e-9
    return moves & ((typical < HEIGHT_MV[0]) | (typical > HEIGHT_MV[1]))


def limb_misfit(signals: np.ndarray) -> np.ndarray:
    """(n,) the worst of the four identities between limb leads (III = II - I, aVR = -(I + II) / 2,
    aVL = I - II / 2, aVF = II - I / 2): the change from sample to sample that is left over, as a
    share of the limb leads' own, by medians over the busiest tenth of the time (the QRS complexes),
    so that drift, noise and a lead that is lost for a while do not count.
    """
    changes = np.diff(signals[..., :6], axis=1)
    one, two, three, right, left, foot = np.moveaxis(changes, 2, 0)
    left_over = (
        three - (two - one),
        right + (one + two) / 2,
        left - (one - two / 2),
        foot - (two - one / 2),
    )
    n_busy = max(changes.shape[1] // 10, 1)
    busy = np.argsort(-np.abs(changes).sum(axis=2), axis=1)[:, :n_busy]

    def typical(values):
        return np.median(np.abs(np.take_along_axis(values, busy, axis=1)), axis=1)

    spread = np.mean([typical(changes[..., lead]) for lead in range(6)], axis=0)
    return np.max([typical(part) for part in left_over], axis=0) / np.maximum(spread, 1e-12)


def scaled_leads(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Every lead has the same span, and limb leads do not fit each other: each was scaled by its
    own factor. Takes records at their own rate: a mean of samples has another span.
    """
    spans = np.ptp(signals, axis=1)
    equal = spans.std(axis=1) < EQUAL_SPANS * spans.mean(axis=1)
    return equal & (limb_misfit(_thinned(signals, sampling_rate)) > EINTHOVEN)


def wrong_limb_order(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Limb leads do not fit each other: some are not what they are named."""
    misfit = limb_misfit(_thinned(signals, sampling_rate)) > EINTHOVEN
    return misfit & ~scaled_leads(signals, sampling_rate)


def wrong_chest_order(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """V1 to V6 develop backwards: from like -aVR and upright to unlike it and downward."""
    centred = _centred(signals)
    like = _correlation(centred[..., CHEST_LEADS], -centred[..., [ORDER["aVR"]]])
    rise = like @ STEPS * 1.6 + _asymmetry(centred)[:, CHEST_LEADS] @ STEPS * 1.8
    return rise < CHEST


def upside_down(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """All leads have the wrong sign."""
    score = _asymmetry(_centred(signals)) @ UPSIDE_DOWN
    return (score > POLARITY) & (limb_misfit(signals) < EINTHOVEN)


def concentration(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """(n,) share of the changes between samples that the busiest tenth of the time holds: QRS
    complexes have nearly all; noise and hum about a tenth.
    """
    changes = (np.diff(signals, axis=1) ** 2).sum(axis=2)
    width = max(round(0.05 * sampling_rate), 1)
    padded = np.pad(np.cumsum(changes, axis=1), ((0, 0), (1, 0)))
    smooth = padded[:, width:] - padded[:, :-width]
    busiest = np.sort(smooth, axis=1)[:, -max(smooth.shape[1] // 10, 1) :]
    return busiest.sum(axis=1) / np.maximum(smooth.sum(axis=1), 1e-30)


def no_heartbeat(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Nothing moves, or it moves all the time alike: hum, noise, an open input."""
    still = np.median(_spans(signals), axis=1) <= 1e-9
    return still | (concentration(signals, sampling_rate) < CONCENTRATION)


class Check(NamedTuple):
    """`judge`: (signals (n, T, 12) mV, Hz) -> (n,) bool; `leads` that it needs; `as_recorded`: at
    the recording's own rate instead of about 100 Hz.
    """

    judge: Callable[[np.ndarray, int], np.ndarray]
    description: str
    leads: tuple[str, ...] = LEADS
    as_recorded: bool = False


CHECKS = {
    "unit": Check(wrong_unit, f"a height outside {HEIGHT_MV[0]:g}-{HEIGHT_MV[1]:g} mV", ()),
    "limb_order": Check(wrong_limb_order, "limb leads that do not fit each other", LEADS[:6], True),
    "chest_order": Check(wrong_chest_order, "V1 to V6 that develop backwards"),
    "lead_scaling": Check(scaled_leads, "every lead scaled to one span", as_recorded=True),
    "polarity": Check(upside_down, "all leads upside down"),
    "no_beat": Check(no_heartbeat, "no heartbeat: zeros, hum or noise", ()),
}


def judge(
    signals: np.ndarray, sampling_rate: int, names: Iterable[str] = tuple(CHECKS)
) -> dict[str, np.ndarray]:
    """Name of each check -> (n,) bool: whether it finds fault with signals # (n, T, 12) mV of any
    rate. What has no heartbeat is found by `no_beat` alone.
    """
    signals = np.asarray(signals, dtype=np.float32)
    at_100 = _thinned(signals, sampling_rate)
    rate = round(sampling_rate / max(sampling_rate // 100, 1))
    dead = no_heartbeat(at_100, rate)
    found = {}
    for name in names:
        check = CHECKS[name]
        given = (signals, sampling_rate) if check.as_recorded else (at_100, rate)
        found[name] = dead if name == "no_beat" else check.judge(*given) & ~dead
    return found


def refuse_impossible(signal: np.ndarray, where: object) -> None:
    """UserError where a recording (T, 12) whose unit nobody says cannot be in mV."""
    there = signal[:, np.isfinite(signal).all(axis=0)]
    if not there.shape[1] or not np.ptp(there):
        return
    typical = float(height(there[None])[0])
    if not IMPOSSIBLE_MV[0] <= typical <= IMPOSSIBLE_MV[1]:
        raise UserError(
            f"{where} does not say its unit, and in mV its leads would be {typical:.3g} mV tall "
            f"(real ones: {HEIGHT_MV[0]:g} to {HEIGHT_MV[1]:g}): give --unit (mV, uV, V, ...)"
        )


def _spans(signals):
    low, high = np.percentile(signals, [0.5, 99.5], axis=1)
    return high - low


def _centred(signals):
    return signals - np.median(signals, axis=1, keepdims=True)


def _asymmetry(centred):
    """(n, leads) from -1 (all downward) to 1 (all upward)."""
    high, low = centred.max(axis=1), centred.min(axis=1)
    return (high + low) / np.maximum(high - low, 1e-12)


def _correlation(a, b):
    """Over time, of each record and lead; 0 where one is flat."""
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return (a * b).sum(axis=1) / np.maximum(size, 1e-12)


def _thinned(signals, sampling_rate):
    """Means of neighbouring samples, about 100 a second."""
    step = max(sampling_rate // 100, 1)
    if step == 1:
        return signals
    whole = signals[:, : signals.shape[1] // step * step]
    return whole.reshape(len(signals), -1, step, signals.shape[2]).mean(axis=2)
