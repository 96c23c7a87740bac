"""One beat that stands for the record: the median of its dominant beats, aligned by their QRS to 2
ms.

Beats are aligned on a 500 Hz grid (band-limited interpolation) but sampled at the record's own
rate, each at its own phase: the median then costs a fifth and loses nothing that the record had.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from scipy import ndimage

from ecg.rpeaks import at_rate, median_of_first

RATE = 500  # Hz of everything that is measured on a median beat
BEFORE, AFTER = 0.5, 0.7  # s around R
CENTRE = int(BEFORE * RATE)  # index of R in a median beat
WIDTH = int((BEFORE + AFTER) * RATE)
QRS_REACH = 0.08  # s to both sides of R: what beats are aligned and compared by
MOST_LAG = int(0.04 * RATE)  # samples to both sides by which beats are moved
SAME_BEAT = 0.9  # correlation of two QRS complexes over all leads that makes them one class
FEW_ALIKE = 0.3  # share of a record's beats: fewer that are alike are so for noise
NOISE_SMOOTHING = 0.008  # s (standard deviation): beats of a record in which noise hides likeness
R_REACH = -0.03, 0.02  # s around the middle of the QRS in which R is looked for
R_WITHOUT_PEAK = -0.008  # s
TOGETHER = 8  # records at one time: more do not stay in the processor's cache
MANY_BEATS = 24  # of more, np.sort is as fast
PQ = (0.10, 0.06)  # s before R: where each beat's baseline is read


@dataclass(frozen=True)
class MedianBeats:
    """Median beats of n records; B is the largest number of beats.

    beats      # (n, 12, WIDTH) mV at RATE, the middle of the QRS at CENTRE; NaN for records without
               a beat
    spread     # (n, 12, W) mV: how far single beats lie from the median (standard deviation, by
               quartiles), at the record's rate
    centres    # (n, B) where CENTRE lies in the record for each beat, in samples at RATE; -1 where
               there is no beat
    dominant   # (n, B) bool: the beat is of the class that was averaged
    r_shift    # (n,) position of R relative to CENTRE
    windows    per record (b, 12, W) mV: all its beats, at its own rate; NaN beyond its ends; None
               where the beats stand for themselves alone
    """

    beats: np.ndarray
    spread: np.ndarray
    centres: np.ndarray
    dominant: np.ndarray
    r_shift: np.ndarray
    windows: list[np.ndarray] | None = None

    @property
    def r_peaks(self) -> np.ndarray:
        """(n, B) position of R in samples at RATE; -1 where there is no beat."""
        return np.where(self.centres >= 0, np.maximum(self.centres + self.r_shift[:, None], 0), -1)

    def rows(self, index: np.ndarray) -> "MedianBeats":
        """The beats of some records (their numbers)."""
        values = [values[index] for values in list(vars(self).values())[:-1]]
        windows = self.windows and [self.windows[row] for row in index]
        return MedianBeats(*values, windows)


def aligned_median_beats(
    leads: np.ndarray, sampling_rate: int, peaks: list[np.ndarray]
) -> MedianBeats:
    """Median beats of records.

    leads          # (n, 12, T) mV
    sampling_rate  Hz
    peaks          n int arrays, samples at RATE

    Records that have about as many beats are looked at together: short rows are filled up.
    """
    table = pad(peaks)  # (n, B)
    n, stride = len(leads), RATE // sampling_rate if RATE % sampling_rate == 0 else 1
    beats, spread = (np.full((n, 12, w), np.nan, np.float32) for w in (WIDTH, WIDTH // stride))
    centres, dominant, windows = table.copy(), np.zeros(table.shape, bool), [None] * n
    if not table.shape[1]:
        return MedianBeats(beats, beats, table, dominant, np.zeros(n, int))
    counts = (table >= 0).sum(axis=1)
    for rows in np.array_split(np.argsort(counts, kind="stable"), -(-n // TOGETHER)):
        part = np.ix_(rows, np.arange(max(counts[rows].max(), 1)))
        fine = at_rate(leads[rows], sampling_rate, RATE)
        found = _median_beats(fine, table[part], stride)
        beats[rows], spread[rows], centres[part], dominant[part], of_rows = found
        for row, its_windows in zip(rows, of_rows, strict=True):
            windows[row] = its_windows
    return MedianBeats(beats, spread, centres, dominant, _r_shift(beats), windows)


def _median_beats(fine, table, stride):
    """The fields of `MedianBeats` but r_shift, of a few records (n, 12, T) in mV at RATE with beats
    at `table` (n, B); `stride` is 5 where they really had 100 Hz.
    """
    centres, dominant = _align_noisy(fine, table, stride)
    windows = _windows(fine, centres.T, dominant.T, stride)
    low, coarse, high = quantiles(windows, dominant.T, (0.25, 0.5, 0.75))
    empty = ~dominant.any(axis=1)[:, None, None]
    # 0 (the baseline) where no beat reaches, at the record's ends
    coarse = np.where(empty, np.nan, np.nan_to_num(coarse))
    beats = at_rate(coarse, RATE // stride, RATE)
    counts = (centres >= 0).sum(axis=1)
    own = [windows[:count, row] for row, count in enumerate(counts)]
    return beats, (high - low) / 1.349, centres, dominant, own


def _r_shift(beats):
    """Where R is: the highest point of the summed chest leads near the middle of the QRS.

    Without one (a QRS that rises or falls throughout, as in bundle branch block) a fixed lead over
    the energy's centre.
    """
    first, last = CENTRE + int(R_REACH[0] * RATE), CENTRE + int(R_REACH[1] * RATE)
    chest = beats[:, 6:, first : last + 1].sum(axis=1)
    highest = np.nan_to_num(chest, nan=-np.inf).argmax(axis=1)
    inner = (highest > 0) & (highest < last - first)
    return np.where(inner, highest + first - CENTRE, int(R_WITHOUT_PEAK * RATE))


def single_beats(fine: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Beats (k, 12, WIDTH) of one record (12, T) in mV at RATE, as they are, around `centres` (k,);
    the ends are held.
    """
    return gather(fine[None], centres[:, None], range(-CENTRE, WIDTH - CENTRE))[:, 0]


def pad(rows: list[np.ndarray], fill: int = -1) -> np.ndarray:
    """Ragged int arrays as one table (n, B), short rows filled up."""
    table = np.full((len(rows), max(map(len, rows), default=0)), fill)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table


def gather(fine: np.ndarray, peaks: np.ndarray, offsets: range) -> np.ndarray:
    """Samples of all leads around every beat (B, n) of records (n, leads, T), whose ends are held:
    (B, n, leads, len(offsets)); anything where there is no beat (-1).
    """
    first, last = sorted((offsets[0], offsets[-1]))
    missing = max(last - first + 1 - fine.shape[2], 0)
    if missing:
        fine = np.pad(fine, [(0, 0), (0, 0), (0, missing)], mode="edge")
    around = _sliding(fine, last - first + 1)[..., :: offsets.step]
    begin = peaks + first
    inside = begin.clip(0, around.shape[2] - 1)
    found = around[np.arange(len(fine)), :, inside]
    beats, rows = np.nonzero((begin != inside) & (peaks >= 0))
    reach = (peaks[beats, rows, None] + offsets).clip(0, fine.shape[2] - 1)
    found[beats, rows] = fine[rows[:, None], :, reach].swapaxes(1, 2)
    return found


def _sliding(values, width):
    """All windows (..., W - width + 1, width) of values (..., W): numpy's own takes as long as what
    is done with them.
    """
    shape = (*values.shape[:-1], values.shape[-1] - width + 1, width)
    return as_strided(values, shape, (*values.strides, values.strides[-1]))


def _align_noisy(fine, table, stride):
    """`_align`, and without fine noise where it leaves so few beats alike that not even three kinds
    of them would explain it.
    """
    aligned, dominant = _align(fine, table, stride)
    count = np.count_nonzero(table >= 0, axis=1)
    unlike = np.flatnonzero(dominant.sum(axis=1) < FEW_ALIKE * count)
    if len(unlike):
        smooth = ndimage.gaussian_filter1d(fine[unlike], NOISE_SMOOTHING * RATE, axis=2)
        again, alike = _align(smooth, table[unlike], stride)
        better = 2 * alike.sum(axis=1) >= count[unlike]
        aligned[unlike[better]], dominant[unlike[better]] = again[better], alike[better]
    return aligned, dominant


def _align(fine, table, stride):
    """R-peaks shifted so that the QRS of each beat lies on that of the typical one, and who is like
    it.
    """
    present = table >= 0
    around = _phases(fine, table, stride)
    middle = _at_lag(around, np.full(table.shape, MOST_LAG))  # (n, B, 12, w)
    template = middle[np.arange(len(fine)), _medoid(middle, present)]  # (n, 12, w)
    likeness, lag = _best_lag(around, template)
    alike = present & (likeness > SAME_BEAT)
    aligned = np.where(alike[..., None, None], _at_lag(around, lag), np.inf)
    template = median_of_first(aligned, alike.sum(axis=1))
    template[~alike.any(axis=1)] = 0
    likeness, lag = _best_lag(around, template)
    dominant = present & (likeness > SAME_BEAT)
    return np.where(dominant, table + lag - MOST_LAG, table), dominant


def _phases(fine, table, stride):
    """The QRS of every beat with what lies MOST_LAG to both sides, at each phase in which the
    record's own samples may lie: (n, B, stride, 12, v).
    """
    first = -int(QRS_REACH * RATE) - MOST_LAG
    count = -(-(1 - 2 * first) // stride)
    around = gather(fine, table.T, range(first, first + count * stride))
    around = around.reshape(*around.shape[:3], count, stride)
    return np.ascontiguousarray(around.transpose(1, 0, 4, 2, 3))


def _vectors(windows):
    """Windows (..., 12, w) without the level of each lead as vectors (..., 12 w), and how long they
    are (..., 1), at least a little.
    """
    flat = (windows - windows.mean(axis=-1, keepdims=True)).reshape(*windows.shape[:-2], -1)
    length = np.sqrt((flat * flat).sum(axis=-1, keepdims=True))
    return flat, np.maximum(length, 1e-9)


def _medoid(windows, present):
    """Per record the beat that most others are like."""
    flat, length = _vectors(windows)
    unit = flat / length
    likeness = np.einsum("nbf,ncf->nbc", unit, unit) * present[:, None, :]
    votes = (likeness > SAME_BEAT).sum(axis=2) + likeness.mean(axis=2)
    return np.where(present, votes, -np.inf).argmax(axis=1)


def _best_lag(around, template):
    """The lag (n, B) in samples at RATE, 0 to 2 MOST_LAG, at which each beat matches the template
    (n, 12, w) best, and the correlation there.
    """
    n, n_beats, stride, _, length = around.shape
    width = template.shape[2]
    steps = length - width + 1  # lags a whole step apart, each at all phases
    target, size = _vectors(template)
    target = (target / size).reshape(template.shape)
    moved = np.zeros((n, steps, template.shape[1], length), target.dtype)
    for step in range(steps):
        moved[:, step, :, step : step + width] = target
    flat = around.reshape(n, n_beats * stride, -1)
    match = flat @ moved.reshape(n, steps, -1).swapaxes(1, 2)
    match = match.reshape(n, n_beats, stride, steps).swapaxes(2, 3).reshape(n, n_beats, -1)
    match = match[..., : 2 * MOST_LAG + 1]
    best = match.argmax(axis=2)
    _, size = _vectors(_at_lag(around, best))
    return match.max(axis=2) / size[..., 0], best


def _at_lag(around, lag):
    """The QRS of each beat (n, B, 12, w) at its own lag (n, B)."""
    stride = around.shape[2]
    width = around.shape[4] - 2 * MOST_LAG // stride
    step, phase = np.divmod(lag, stride)
    rows, beats = np.arange(lag.shape[0])[:, None], np.arange(lag.shape[1])
    return _sliding(around, width)[rows, beats, phase, :, step]


def _windows(fine, centres, dominant, stride):
    """Beats (B, n, 12, W) of records at their own rate, without baseline; NaN beyond the record's
    ends and where there is no beat.

    centres, dominant  (B, n)
    """
    offsets = range(-CENTRE, WIDTH - CENTRE, stride)
    beats = gather(fine, centres, offsets)
    before = range(-int(PQ[1] * RATE), -int(PQ[0] * RATE), -1)
    levels = gather(fine, centres, before).mean(axis=3)  # (B, n, 12)
    beats -= _baseline(levels, centres, dominant, np.array(offsets))
    places = centres[..., None] + offsets
    outside = (places < 0) | (places >= fine.shape[2]) | (centres < 0)[..., None]
    np.copyto(beats, np.nan, where=outside[:, :, None])
    return beats


def _baseline(levels, centres, dominant, offsets):
    """Straight lines from each beat's PQ level to the neighbours' (B, n, 12, W); level where a
    neighbour is no dominant beat.
    """
    knot = -int((PQ[0] + PQ[1]) / 2 * RATE)
    slope = np.zeros(levels.shape, np.float32)  # of the line to the next beat
    linked = dominant[:-1] & dominant[1:]
    gap = np.where(linked, np.diff(centres, axis=0), 1)
    slope[:-1] = np.where(linked[..., None], np.diff(levels, axis=0) / gap[..., None], 0)
    before = np.concatenate([np.zeros_like(slope[:1]), slope[:-1]])
    distance = (offsets - knot).astype(np.float32)
    ahead = np.searchsorted(distance, 0)
    lines = np.empty((*levels.shape, len(offsets)), np.float32)
    np.multiply(before[..., None], distance[:ahead], out=lines[..., :ahead])
    np.multiply(slope[..., None], distance[ahead:], out=lines[..., ahead:])
    lines += levels[..., None]
    return lines


def quantiles(beats: np.ndarray, chosen: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Quantiles (shares, n, leads, W) over the beats (B, n, leads, W) of n records that are
    `chosen` (B, n) and not NaN at a sample; a beat is NaN in all leads or in none.
    """
    there = ~np.isnan(beats[:, :, 0]) & chosen[..., None]
    counts = np.count_nonzero(there, axis=0)  # (n, W)
    known = {count: _places(count, shares) for count in set(counts.ravel().tolist()) - {0}}
    needed = np.unique([place for low, high, _ in known.values() for place in (low, high)])
    # what is not there comes last, so that beats are ordered once for all samples
    ordered = _in_order(np.where(there[:, :, None], beats, np.inf), tuple(needed.tolist()))
    below, above = np.full((2, len(shares), *beats.shape[1:]), np.nan, beats.dtype)
    parts = np.zeros((len(shares), len(counts), 1, counts.shape[1]), beats.dtype)
    for row, of_row in enumerate(counts):
        edges = [0, *(np.flatnonzero(of_row[1:] != of_row[:-1]) + 1).tolist(), len(of_row)]
        for start, stop in itertools.pairwise(edges):
            if of_row[start]:
                low, high, part = known[int(of_row[start])]
                here = row, slice(None), slice(start, stop)
                below[:, *here] = ordered[needed.searchsorted(low), *here]
                above[:, *here] = ordered[needed.searchsorted(high), *here]
                parts[:, *here] = part
    return below + (above - below) * parts


@functools.cache
def _places(count, shares):
    """For each quantile of `count` values between which two in order it lies, two (shares,), and
    how far, (shares, 1, 1).
    """
    place = (count - 1) * np.array(shares)
    part = (place % 1).astype(np.float32)[:, None, None]
    return place.astype(int), np.ceil(place).astype(int), part


def _in_order(beats, needed):
    """Those of `beats` (B, ...), sorted along the first axis in place, whose numbers are `needed`.

    Few beats of many samples: comparing whole beats takes a third of the time of np.sort.
    """
    if len(beats) > MANY_BEATS:
        return np.sort(beats, axis=0)[list(needed)]
    rows, spare = list(beats), np.empty(beats.shape[1:], beats.dtype)
    for low, high in _comparisons(len(beats), needed):
        np.minimum(rows[low], rows[high], out=spare)
        np.maximum(rows[low], rows[high], out=rows[high])
        rows[low], spare = spare, rows[low]
    return np.array([rows[number] for number in needed])


@functools.cache
def _comparisons(count, needed):
    """Pairs (low, high) to be put in order one after the other, so that of `count` values those
    whose numbers are `needed` come to their places (odd-even merge sort: Batcher 1968).
    """
    pairs, merged = [], 1
    while merged < count:
        step = merged
        while step:
            for first in range(step % merged, count - step, 2 * step):
                for low in range(first, min(first + step, count - step)):
                    if low // (2 * merged) == (low + step) // (2 * merged):
                        pairs.append((low, low + step))
            step //= 2
        merged *= 2
    asked, kept = set(needed), []
    for pair in reversed(pairs):  # what does not reach a place that is asked for is left out
        if asked & set(pair):
            kept.append(pair)
            asked |= set(pair)
    return kept[::-1]


def between(start: np.ndarray, stop: np.ndarray, width: int) -> np.ndarray:
    """(n, width) bool: start <= position <= stop; nowhere for NaN."""
    first, last = np.ceil(start), np.floor(stop)  # whole: exact in float32, compared twice as fast
    time = np.arange(width, dtype=np.float32)
    inside = time >= first.astype(np.float32)[:, None]
    inside &= time <= last.astype(np.float32)[:, None]
    return inside


def span(start: np.ndarray, stop: np.ndarray, width: int) -> slice:
    """The part of `width` samples in which start..stop (n,) of all records lie."""
    known = np.isfinite(start) & np.isfinite(stop)
    if not known.any():
        return slice(0, 1)
    first = int(np.clip(start[known].min(), 0, width - 1))
    return slice(first, max(int(min(stop[known].max(), width - 1)), first) + 1)


def level(beats: np.ndarray, first: np.ndarray, count: int) -> np.ndarray:
    """Mean of each lead (n, 12) over `count` samples from `first` (n,) on; NaN where that is."""
    known = np.isfinite(first)
    places = np.where(known, first, 0).astype(int)[:, None] + np.arange(count)
    values = np.take_along_axis(beats, places[:, None], axis=2)
    return np.where(known[:, None], values.mean(axis=2, dtype=float), np.nan)
