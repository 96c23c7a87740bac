"""Signs that a wave before the QRS is no P but belongs to atria that fibrillate or flutter.

Fibrillation waves differ from beat to beat, and so do the intervals between beats; flutter waves
follow each other closely, so that one like the supposed P stands shortly before it, or they run
from below upwards at a fast rate. Limits were set on half of PTB-XL's and LUDB's records
(docs/results.md, "Marks of cardiologists").
"""

import functools

import numpy as np
from scipy import ndimage

from ecg.median_beat import RATE, MedianBeats, between, quantiles
from ecg.rpeaks import INDEPENDENT, median_of_sorted

MARGIN = 0.01  # s to both sides of P that are compared too
LEADS = 3  # those that show P best say how steady it is: noise in others does not hide it
HUM = 0.02  # s, a period of 50 Hz: mains hum differs from beat to beat
# Of 43 irregular records with fibrillation or flutter (half A of PTB-XL and of LUDB, CinC 2021)
# none has more than both, of 33 in sinus rhythm 27 (the others much noise or many kinds of P).
STEADY = 1.4  # size of P against its spread: less is no P of beats that come irregularly
ALIKE = 0.9  # correlation with the other beats' P: less is none where intervals vary
PREMATURE = 0.85  # of the usual interval: a beat that comes sooner may have a P of another kind
# Few beats may have a P before them by chance, of atria that beat by themselves: simulated ones
# are alike by .53 at most, those of half A's 95 slow records by .81 or more.
ALIKE_IF_SLOW = 0.65
SLOW = 1.05  # s between beats
VARYING = 0.12  # change from one interval to the next, as a share: breathing changes them less
FEWEST_BEATS = 3  # of which it can be said
REPEATED = 0.6  # share of P that a wave shortly before it has: as much is flutter
APART = 0.12, 0.32  # s between the two: 190 to 500 waves per minute
FAST = 0.5  # s between beats (120 per minute): faster, P of the sinus node is upright in II and aVF
TROUGH = 0.04  # mV, II and aVF together: by less no wave points down; on the flank of T all slopes
II, I = INDEPENDENT.index(1), INDEPENDENT.index(0)


def unsteady(
    median: MedianBeats,
    p_on: np.ndarray,
    p_off: np.ndarray,
    rows: np.ndarray,
    least: np.ndarray,
    alike: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Whether what precedes the QRS of records `rows` (n,) bool differs from beat to beat, and
    whether that can be told (n,): of FEWEST_BEATS that are not premature.

    Judged by the three leads that show it best: there it has to stand out from its spread by
    `least` (n,), and half of the beats have to correlate with the mean of the others by `alike`
    (n,).
    """
    found, told = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    if median.windows is None:
        return found, told
    for row in np.flatnonzero(rows):
        windows = _before_qrs(median, row, p_on[row], p_off[row])
        if len(windows) < FEWEST_BEATS:
            continue
        told[row] = True
        all_beats = np.ones((len(windows), 1), bool)
        low, middle, high = quantiles(windows[:, None], all_beats, (0.25, 0.5, 0.75))[:, 0]
        noise = np.maximum((((high - low) / 1.349) ** 2).sum(axis=1), 1e-8)
        size = (middle**2).sum(axis=1) / noise
        best = np.argsort(size)[-LEADS:]
        found[row] = np.sqrt(size[best].mean()) < least[row]
        if alike[row] > 0:
            likeness = np.sort(_likeness(windows[:, best]))
            found[row] |= median_of_sorted(likeness) < alike[row]
    return found, told


def _before_qrs(median, row, p_on, p_off):
    """The supposed P of record `row` in its beats (beats, leads, samples) that are not premature,
    without hum, fine noise and the line between its ends.
    """
    windows = median.windows[row]
    stride = median.beats.shape[2] // windows.shape[2]
    part = _samples(p_on, p_off, stride)
    windows = windows[in_time(median, row)[: len(windows)], :, : part.stop + RATE // stride // 50]
    windows = windows[:, INDEPENDENT]
    windows = ndimage.uniform_filter1d(windows, max(int(HUM * RATE) // stride, 1), axis=2)
    windows = without_line(windows[..., part])
    return windows[np.isfinite(windows).all(axis=(1, 2))]


def in_time(median: MedianBeats, row: int) -> np.ndarray:
    """The dominant beats (B,) bool of record `row` that are not premature."""
    centres = median.centres[row]
    gaps = np.diff(centres)
    known = np.sort(gaps[centres[1:] >= 0])
    typical = median_of_sorted(known) if len(known) else 0
    chosen = median.dominant[row].copy()
    chosen[1:] &= gaps >= PREMATURE * typical
    return chosen


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


def varying(centres: np.ndarray) -> bool:
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
    begin = p_on.astype(int) // step
    width = np.maximum(np.ceil(p_off / step).astype(int) - begin, 2)
    ahead = np.arange(-round(APART[1] * 100), -round(APART[0] * 100))
    places = begin[:, None] + np.append(ahead, 0)  # (n, k), the last is P itself
    inside = np.arange(width.max())
    reach = (places[..., None] + inside).clip(0, beats.shape[2] // step - 1)
    windows = beats[np.arange(len(beats))[:, None, None], :, reach * step]  # (n, k, w, leads)
    first, last = windows[:, :, :1], windows[np.arange(len(beats)), :, width - 1][:, :, None]
    share = inside / (width[:, None, None] - 1)
    windows = windows - first - (last - first) * share[..., None]
    windows *= (inside < width[:, None])[:, None, :, None]
    power = np.einsum("nkwl,nkwl->nk", windows, windows)
    match = np.einsum("nkwl,nwl->nk", windows, windows[:, -1])
    own = power[:, -1:]
    alike = match > REPEATED * np.sqrt(own * np.maximum(own, power)) + 1e-9
    seen = places >= np.maximum(t_before.astype(int) // step, 0)[:, None]
    return (alike & seen)[:, :-1].any(axis=1)


def _samples(begin, end, step):
    """The slice from begin to end (samples at RATE), with MARGIN, of what has every `step`-th
    sample.
    """
    first = max(int(begin - MARGIN * RATE) // step, 0)
    return slice(first, max(int(np.ceil((end + MARGIN * RATE) / step)), first + 2))


def without_line(windows: np.ndarray) -> np.ndarray:
    """Windows (..., w) without the straight line between their ends."""
    share = _shares(windows.shape[-1])
    begin, end = windows[..., :1], windows[..., -1:]
    return windows - begin - (end - begin) * share


@functools.cache
def _shares(count):
    """0 to 1 in so many steps."""
    return np.linspace(0, 1, count)
