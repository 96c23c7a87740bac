"""Intervals stretched and shortened: a map from new times to old ones, the same for all leads.

Each beat keeps the onset of its QRS (unless the rate changes). Another PR interval moves the P
wave as it is; another QRS duration stretches the QRS and takes it from ST; another QT interval
stretches what lies between the end of QRS and the end of T; another RR interval moves whole beats.
What is between the end of T and the next P makes room. Beyond its ends the record is continued by
its own first or last cycle, in phase.
"""

from dataclasses import dataclass

import numpy as np

from counterfactual.edits import INTERVALS
from counterfactual.shapes import Anatomy
from ecg.analysis import Analysis
from ecg.median_beat import CENTRE, RATE
from ecg.rpeaks import at_rate

SHARES = {  # of the stretch that an interval may take from
    "TP": 0.3,  # PR, QT and RR may all take from it: 90 % in all
    "PQ": 0.6,
    "ST": 0.5,  # from the end of QRS to the peak of T
    "QRS": 0.35,
    "JT": 0.3,
    "RR": 0.4,
}
ORDER = ("P_on", "P_off", "QRS_on", "QRS_begun", "QRS_ending", "QRS_off", "T_peak", "T_off")
REGULAR = 0.08  # RR intervals that vary by more, as a share, are a rhythm of their own
EDGE = 4  # samples at RATE at either end of a QRS that is narrowed that move as they are: measured
# on folds other than those reported, a widened QRS is found as stated without, a narrowed one with
FADE = 40  # samples at RATE in which the record fades into its continuation
TAIL = 2 * RATE  # samples that it is continued by at either end


@dataclass(frozen=True)
class Timing:
    """Where the beats of a record lie, samples at RATE, and how far its intervals can be moved.

    fine    # (8, F) mV of the independent leads at RATE
    knots   {"P_on" "P_off" "QRS_on" "QRS_begun" "QRS_ending" "QRS_off" "T_peak" "T_off": (B,)} in
            this order; no P: the key is missing
    room    {interval: (low, high)} in ms, what the stretches give
    cycles  first and last RR interval
    """

    fine: np.ndarray
    knots: dict[str, np.ndarray]
    room: dict[str, tuple[float, float]]
    cycles: tuple[int, int]


def timing_of(
    eight: np.ndarray, sampling_rate: int, found: Analysis, row: int, anatomy: Anatomy
) -> Timing | None:
    """Timing of a record (T, 8); None with an ectopic beat or fewer than three beats: their times
    are not those of the median beat.
    """
    centres = found.beats.centres[row]
    centres = np.sort(centres[centres >= 0])
    if len(centres) < 3 or len(centres) > len(anatomy.centres):
        return None
    known = [name for name in ORDER if np.isfinite(anatomy.at.get(name, np.nan))]
    if not {"QRS_off", "T_peak", "T_off"} <= set(known):
        return None
    at = {name: anatomy.at[name] for name in known}
    at |= {"QRS_begun": at["QRS_on"] + EDGE, "QRS_ending": at["QRS_off"] - EDGE}
    knots = {name: centres + at[name] - CENTRE for name in ORDER if name in at}
    order = np.stack(list(knots.values()))
    if (np.diff(order, axis=0) <= 0).any() or (order[0, 1:] <= order[-1, :-1]).any():
        return None
    gaps = np.diff(centres)
    fine = at_rate(eight.T, sampling_rate, RATE)
    return Timing(fine, knots, _room(knots, gaps), (int(gaps[0]), int(gaps[-1])))


def _room(knots, gaps):
    """Limits in ms that keep every stretch in its order."""
    first = "P_on" if "P_on" in knots else "QRS_on"
    free = {
        "TP": (knots[first][1:] - knots["T_off"][:-1]).min(),
        "ST": (knots["T_peak"] - knots["QRS_off"]).min(),
        "QRS": (knots["QRS_ending"] - knots["QRS_begun"]).min(),
        "JT": (knots["T_off"] - knots["QRS_off"]).min(),
        "RR": gaps.min(),
    }
    if "P_off" in knots:
        free["PQ"] = (knots["QRS_on"] - knots["P_off"]).min()
    give = {name: SHARES[name] * value * 1000 / RATE for name, value in free.items()}
    room = {
        "QRS duration": (-give["QRS"], give["ST"]),
        "QT interval": (-give["JT"], give["TP"]),
    }
    if "PQ" in give:
        room["PR interval"] = (-give["PQ"], give["TP"])
    if gaps.std() < REGULAR * gaps.mean():
        room["RR interval"] = (-give["TP"], give["RR"])
    return room


def old_times(timing: Timing, doses: dict[str, float], new: np.ndarray) -> np.ndarray:
    """Where in the record (samples at RATE) what stands at times `new` afterwards came from.

    doses  interval -> ms; those not named stay
    """
    samples = {name: doses.get(name, 0.0) * RATE / 1000 for name in INTERVALS}
    knots = timing.knots
    n_beats = len(knots["QRS_on"])
    moved = samples["RR interval"] * (np.arange(n_beats) - n_beats // 2)
    share = (knots["T_peak"] - knots["QRS_off"]) / (knots["T_off"] - knots["QRS_off"])
    width = samples["QRS duration"]
    edge = EDGE / (knots["QRS_off"] - knots["QRS_on"]) if width > 0 else 0.0
    shift = {
        "P_on": -samples["PR interval"],
        "P_off": -samples["PR interval"],
        "QRS_on": 0.0,
        "QRS_begun": width * edge,
        "QRS_ending": width * (1 - edge),
        "QRS_off": width,
        "T_peak": samples["QT interval"] * share,
        "T_off": samples["QT interval"],
    }
    before = np.stack([knots[name] for name in knots]).T.ravel()
    after = np.stack([knots[name] + moved + shift[name] for name in knots]).T.ravel()
    far = 100 * RATE  # outside of the beats nothing is stretched
    before = np.concatenate([before[:1] - far, before, before[-1:] + far])
    after = np.concatenate([after[:1] - far, after, after[-1:] + far])
    return np.interp(new, after, before)


def stretched(
    timing: Timing, fine: np.ndarray, doses: dict[str, float], new: np.ndarray
) -> np.ndarray:
    """(8, n) what the leads `fine` (8, F) at RATE become at times `new`, minus what they were
    there: 0 where nothing moves.
    """
    continued = _continued(fine, timing.cycles)
    old = old_times(timing, doses, new)
    return _at(continued, old + TAIL) - _at(continued, new + TAIL)


def _continued(fine, cycles):
    """Leads (8, F) with TAIL more samples at both ends: whole cycles earlier or later, in phase."""
    length = fine.shape[1]
    time = np.arange(-TAIL, length + TAIL)
    first, last = cycles
    back = np.maximum(-(time // first), 0) * first
    forth = np.maximum(-((length - 1 - time) // last), 0) * last
    whole = fine[:, np.clip(time + back - forth, 0, length - 1)]
    ramp = (np.arange(FADE) + 1) / (FADE + 1)
    begin, end = slice(TAIL, TAIL + FADE), slice(TAIL + length - FADE, TAIL + length)
    cycle_later = fine[:, first : first + FADE]
    cycle_before = fine[:, length - FADE - last : length - last]
    whole[:, begin] = ramp * whole[:, begin] + (1 - ramp) * cycle_later
    whole[:, end] = ramp[::-1] * whole[:, end] + (1 - ramp[::-1]) * cycle_before
    return whole


def _at(fine, times):
    """Leads (8, F) at fractional samples: Lagrange's cubic through the four nearest."""
    start = np.clip(np.floor(times).astype(int), 1, fine.shape[1] - 3)
    u = np.clip(times - start, -1, 2)
    weights = (
        -u * (u - 1) * (u - 2) / 6,
        (u + 1) * (u - 1) * (u - 2) / 2,
        -(u + 1) * u * (u - 2) / 2,
        (u + 1) * u * (u - 1) / 6,
    )
    return sum(weight * fine[:, start + step - 1] for step, weight in enumerate(weights))
