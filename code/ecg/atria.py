"""Signs that a wave before the QRS is no P but belongs to atria that fibrillate or flutter.

Fibrillation waves differ from beat to beat, and so do the intervals between beats; flutter waves
follow each other closely, so that one like the supposed P stands shortly before it, or they run
from below upwards at a fast rate. Limits were set on half of PTB-XL's and LUDB's records
(docs/results.md, "Marks of cardiologists").
"""

import functools

import numpy as np

from ecg.median_beat import RATE, MedianBeats, between, quantiles
from ecg.rpeaks import INDEPENDENT

MARGIN = 0.01  # s to both sides of P that are compared too
ALIKE = 0.845  # correlation with the other beats' P: of beats that come irregularly, less is no P
PREMATURE = 0.85  # of the usual interval: a beat that comes sooner may have a P of another kind
VARYING = 0.12  # change from one interval to the next, as a share: breathing changes them less
FEWEST_BEATS = 3  # of which it can be said
REPEATED = 0.6  # share of P that a wave shortly before it has: as much is flutter
APART = 0.12, 0.32  # s between the two: 190 to 500 waves per minute
FAST = 0.5  # s between beats (120 per minute): faster, P of the sinus node is upright in II and aVF
TROUGH = 0.04  # mV, II and aVF together: by less no wave points down; on the flank of T all slopes
II, I = INDEPENDENT.index(1), INDEPENDENT.index(0)


def differing(
    median: MedianBeats, p_on: np.ndarray, p_off: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Whether what precedes the QRS of records `rows` (n,) bool differs from beat to beat: (n,)
    bool. Each beat is compared over all leads with the mean of the others; premature ones are not.
    """
    found = np.zeros(len(rows), bool)
    if median.windows is None:
        return found
    for row in np.flatnonzero(rows):
        windows = median.windows[row]
        stride = median.beats.shape[2] // windows.shape[2]
        part = _samples(p_on[row], p_off[row], stride, MARGIN)
        chosen = in_time(median, row)[: len(windows)]
        windows = without_line(windows[chosen, :, part][:, INDEPENDENT])  # (beats, leads, samples)
        windows = windows[np.isfinite(windows).all(axis=(1, 2))]
        if len(windows) >= FEWEST_BEATS and _varying(median.centres[row]):
            found[row] = np.median(_likeness(windows)) < ALIKE
    return found


def in_time(median: MedianBeats, row: int) -> np.ndarray:
    """The dominant beats (B,) bool of record `row` that are not premature."""
    centres = median.centres[row]
    gaps = np.diff(centres)
    typical = np.median(gaps[centres[1:] >= 0]) if (centres[1:] >= 0).any() else 0
    chosen = median.dominant[row].copy()
    chosen[1:] &= gaps >= PREMATURE * typical
    return chosen


def spread_in_time(median: MedianBeats, row: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Median beat and how far single beats lie from it, both (leads, W) at the record's rate, as
    MedianBeats has them but without premature beats; None for fewer than FEWEST_BEATS.
    """
    chosen = in_time(median, row)
    if median.windows is None or chosen.sum() < FEWEST_BEATS:
        return None
    windows = median.windows[row]
    windows = windows[chosen[: len(windows)]][:, INDEPENDENT]
    low, middle, high = quantiles(windows, (0.25, 0.5, 0.75))
    return middle, (high - low) / 1.349


def inverted(leads: np.ndarray, p_on: np.ndarray, p_off: np.ndarray, rr: np.ndarray) -> np.ndarray:
    """Whether beats come fast and the wave before QRS is a trough in II and aVF: (n,) bool.

    At such rates that is flutter of which every second wave is conducted, or another tachycardia
    that does not come from the sinus node.

    leads  # (n, leads, W) mV;  rr  # (n,) typical RR interval in samples at RATE
    """
    inferior = 2 * leads[:, II] - leads[:, I] / 2  # II + aVF
    rows = np.arange(len(leads))
    ends = np.stack([inferior[rows, place.astype(int)] for place in (p_on, p_off)])
    inside = between(p_on, p_off, leads.shape[2])
    depth = ends.min(axis=0) - np.where(inside, inferior, np.inf).min(axis=1)
    height = np.where(inside, inferior, -np.inf).max(axis=1) - ends.max(axis=0)
    return (rr <= FAST * RATE) & (depth > np.maximum(height, TROUGH))


def _varying(centres):
    """Whether the intervals between beats (n,) change as they do when atria fibrillate: the root
    mean square of their changes, as a share of their mean.
    """
    gaps = np.diff(centres[centres >= 0])
    return len(gaps) > 1 and np.sqrt((np.diff(gaps) ** 2).mean()) > VARYING * gaps.mean()


def _likeness(windows):
    """Correlation of each beat (beats, ...) with the sum of all others."""
    beats = windows.reshape(len(windows), -1)
    others = beats.sum(axis=0) - beats
    power = (beats**2).sum(axis=1) * (others**2).sum(axis=1)
    return (beats * others).sum(axis=1) / np.sqrt(power + 1e-12)


def repeated(
    beats: np.ndarray, p_on: np.ndarray, p_off: np.ndarray, t_before: np.ndarray
) -> np.ndarray:
    """Whether a wave like P stands shortly before it, after the T before: (n,) bool.

    beats     # (n, leads, W) mV
    t_before  # (n,) where the T of the beat before ends
    """
    step = RATE // 100  # waves of 100 ms need no finer look
    found = np.zeros(len(beats), bool)
    for row, leads in enumerate(beats[..., ::step]):
        part = _samples(p_on[row], p_off[row], step, 0)
        width = part.stop - part.start
        first = max(int(t_before[row]) // step, part.start - round(APART[1] * 100), 0)
        last = part.start - round(APART[0] * 100)
        if last <= first:
            continue
        pattern = without_line(leads[:, part])
        places = np.arange(first, last)[:, None] + np.arange(width)
        windows = without_line(leads.take(places, axis=1))  # (leads, places, width)
        own, power = (pattern**2).sum(), np.einsum("lpw,lpw->p", windows, windows)
        match = np.einsum("lpw,lw->p", windows, pattern)
        found[row] = (match > REPEATED * np.sqrt(own * np.maximum(own, power)) + 1e-9).any()
    return found


def _samples(begin, end, step, margin):
    """The slice from begin to end (samples at RATE) of what has every `step`-th sample."""
    first = max(int(begin - margin * RATE) // step, 0)
    return slice(first, max(int(np.ceil((end + margin * RATE) / step)), first + 2))


def without_line(windows: np.ndarray) -> np.ndarray:
    """Windows (..., w) without the straight line between their ends."""
    share = _shares(windows.shape[-1])
    begin, end = windows[..., :1], windows[..., -1:]
    return windows - begin - (end - begin) * share


@functools.cache
def _shares(count):
    """0 to 1 in so many steps."""
    return np.linspace(0, 1, count)
