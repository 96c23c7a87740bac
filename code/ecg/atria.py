"""Signs that a wave before the QRS is no P but belongs to atria that fibrillate or flutter.

Fibrillation waves differ from beat to beat, and so do the intervals between beats; flutter waves
follow each other closely, so that one like the supposed P stands shortly before it. Both limits
were set on half of PTB-XL's and LUDB's records (docs/results.md, "Marks of cardiologists").
"""

import numpy as np

from ecg.median_beat import RATE, MedianBeats
from ecg.rpeaks import INDEPENDENT

MARGIN = 0.01  # s to both sides of P that are compared too
ALIKE = 0.83  # correlation with the other beats' P: of beats that come irregularly, less is no P
VARYING = 0.12  # change from one interval to the next, as a share: breathing changes them less
FEWEST_BEATS = 3  # of which it can be said
REPEATED = 0.6  # share of P that a wave shortly before it has: as much is flutter
APART = 0.12, 0.32  # s between the two: 190 to 500 waves per minute


def differing(
    median: MedianBeats, p_on: np.ndarray, p_off: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Whether what precedes the QRS of records `rows` (n,) bool differs from beat to beat: (n,)
    bool. Each beat is compared over all leads with the mean of the others.
    """
    found = np.zeros(len(rows), bool)
    if median.windows is None:
        return found
    stride = median.beats.shape[2] // median.windows.shape[2]
    for row in np.flatnonzero(rows):
        part = _samples(p_on[row], p_off[row], stride, MARGIN)
        windows = median.windows[row, INDEPENDENT, part][..., median.dominant[row]]
        windows = without_line(np.moveaxis(windows, -1, 0))  # (beats, leads, samples)
        windows = windows[np.isfinite(windows).all(axis=(1, 2))]
        if len(windows) >= FEWEST_BEATS and _varying(median.centres[row]):
            found[row] = np.median(_likeness(windows)) < ALIKE
    return found


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
        windows = np.lib.stride_tricks.sliding_window_view(leads, width, axis=1)[:, first:last]
        windows = without_line(np.moveaxis(windows, 0, 1))  # (places, leads, width)
        own, power = (pattern**2).sum(), (windows**2).sum(axis=(1, 2))
        match = (windows * pattern).sum(axis=(1, 2))
        found[row] = (match > REPEATED * np.sqrt(own * np.maximum(own, power)) + 1e-9).any()
    return found


def _samples(begin, end, step, margin):
    """The slice from begin to end (samples at RATE) of what has every `step`-th sample."""
    first = max(int(begin - margin * RATE) // step, 0)
    return slice(first, max(int(np.ceil((end + margin * RATE) / step)), first + 2))


def without_line(windows: np.ndarray) -> np.ndarray:
    """Windows (..., w) without the straight line between their ends."""
    share = np.linspace(0, 1, windows.shape[-1])
    begin, end = windows[..., :1], windows[..., -1:]
    return windows - begin - (end - begin) * share
