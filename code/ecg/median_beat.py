"""One beat that stands for the record: the median of its dominant beats, aligned by their QRS to 2
ms.

Beats are aligned on a 500 Hz grid (band-limited interpolation) but sampled at the record's own
rate, each at its own phase: the median then costs a fifth and loses nothing that the record had.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ecg.rpeaks import at_rate, median_of_first

RATE = 500  # Hz of everything that is measured on a median beat
BEFORE, AFTER = 0.5, 0.7  # s around R
CENTRE = int(BEFORE * RATE)  # index of R in a median beat
WIDTH = int((BEFORE + AFTER) * RATE)
QRS_REACH = 0.08  # s to both sides of R: what beats are aligned and compared by
MAX_LAG = 0.04  # s
SAME_BEAT = 0.9  # correlation of two QRS complexes over all leads that makes them one class
FEW_ALIKE = 0.3  # share of a record's beats: fewer that are alike are so for noise
NOISE_SMOOTHING = 0.008  # s (standard deviation): beats of a record in which noise hides likeness
R_REACH = -0.03, 0.02  # s around the middle of the QRS in which R is looked for
R_WITHOUT_PEAK = -0.008  # s
TOGETHER = 8  # records that are aligned together: more do not stay in the processor's cache
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


def aligned_median_beats(fine: np.ndarray, peaks: list[np.ndarray], stride: int) -> MedianBeats:
    """Median beats of records.

    fine    # (n, 12, T) mV at RATE
    peaks   n int arrays, samples at RATE
    stride  samples at RATE between the samples that the record really had (5 for 100 Hz)
    """
    table = pad(peaks)  # (n, B)
    if table.shape[1] == 0:
        nothing = np.full((len(fine), 12, WIDTH), np.nan, np.float32)
        return MedianBeats(nothing, nothing, table, table >= 0, np.zeros(len(fine), int))
    table, dominant = _align_noisy(fine, table, stride)
    windows = [
        _windows(record, centres[centres >= 0], chosen[centres >= 0], stride)
        for record, centres, chosen in zip(fine, table, dominant, strict=True)
    ]
    low, coarse, high = _over_beats(windows, dominant, (0.25, 0.5, 0.75))
    empty = ~dominant.any(axis=1)[:, None, None]
    coarse = np.where(
        empty, np.nan, np.nan_to_num(coarse)
    )  # 0 (the baseline) where no beat reaches, at the record's ends
    beats = at_rate(coarse, RATE // stride, RATE)
    return MedianBeats(beats, (high - low) / 1.349, table, dominant, _r_shift(beats), windows)


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
    return gather(fine[None], centres[None], np.arange(WIDTH) - CENTRE)[0]


def pad(rows: list[np.ndarray], fill: int = -1) -> np.ndarray:
    """Ragged int arrays as one table (n, B), short rows filled up."""
    table = np.full((len(rows), max(map(len, rows), default=0)), fill)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table


def gather(fine: Sequence[np.ndarray], peaks: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Samples of all leads around every beat: n of (12, T), (n, B), (W,) -> (n, B, 12, W); the ends
    are held.
    """
    index = peaks[:, :, None] + offsets  # (n, B, W)
    found = np.empty((*peaks.shape, len(fine[0]), len(offsets)), fine[0].dtype)
    for beats, record, places in zip(found, fine, index, strict=True):
        # half the time of one index of all
        beats[:] = record.take(places, axis=1, mode="clip").swapaxes(0, 1)
    return found


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
    it. Records that have about as many beats are looked at together: short rows are filled up.
    """
    centres, dominant = table.copy(), np.zeros(table.shape, bool)
    counts = np.maximum((table >= 0).sum(axis=1), 1)
    for rows in np.array_split(np.argsort(counts, kind="stable"), -(-len(table) // TOGETHER)):
        part = np.ix_(rows, np.arange(counts[rows].max()))
        found = _align_some([fine[row] for row in rows], table[part], stride)
        centres[part], dominant[part] = found
    return centres, dominant


def _align_some(fine, table, stride):
    """`_align` of a few records (12, T)."""
    lag, reach = int(MAX_LAG * RATE), int(QRS_REACH * RATE)
    present = table >= 0
    around = gather(fine, table, np.arange(-reach - lag, reach + lag + 1))  # (n, B, 12, W)
    middle = around[..., lag:-lag:stride]
    template = middle[np.arange(len(fine)), _medoid(middle, present)]  # (n, 12, w)
    likeness, shift = _best_lag(around, template, lag, stride)
    aligned = _shifted(around, shift + lag, middle.shape[-1], stride)
    alike = present & (likeness > SAME_BEAT)
    aligned[~alike] = np.inf
    template = median_of_first(aligned, alike.sum(axis=1))
    template[~alike.any(axis=1)] = 0
    likeness, shift = _best_lag(around, template, lag, stride)
    dominant = present & (likeness > SAME_BEAT)
    return np.where(dominant, table + shift, table), dominant


def _unit(windows):
    """Windows (..., 12, w) without the level of each lead, as vectors of length 1 (0 for flat
    ones).
    """
    flat = (windows - windows.mean(axis=-1, keepdims=True)).reshape(*windows.shape[:-2], -1)
    flat /= np.maximum(np.sqrt((flat * flat).sum(axis=-1, keepdims=True)), 1e-9)
    return flat


def _medoid(windows, present):
    """Per record the beat that most others are like."""
    unit = _unit(windows)
    likeness = np.einsum("nbf,ncf->nbc", unit, unit) * present[:, None, :]
    votes = (likeness > SAME_BEAT).sum(axis=2) + likeness.mean(axis=2)
    return np.where(present, votes, -np.inf).argmax(axis=1)


def _best_lag(around, template, lag, stride):
    """The lag (n, B) in samples at RATE at which each beat matches the template best, and the
    correlation there.
    """
    width = template.shape[-1]
    target = _unit(template).reshape(template.shape)
    match = np.empty((*around.shape[:2], 2 * lag + 1), np.float32)
    for phase in range(min(stride, 2 * lag + 1)):  # lags a whole step apart: one matrix product
        steps = len(range(phase, 2 * lag + 1, stride))
        match[..., phase::stride] = _correlations(around[..., phase::stride], target, steps)
    best = match.argmax(axis=2)
    picked = _shifted(around, best, width, stride)
    return np.einsum("nbf,nf->nb", _unit(picked), target.reshape(len(target), -1)), best - lag


def _correlations(beats, target, steps):
    """Sums of products of beats (n, B, 12, w) with the target (n, 12, v), moved by 0 to steps - 1
    samples: (n, B, steps).
    """
    width = target.shape[2] + steps - 1
    moved = np.zeros((len(target), steps, target.shape[1], width), target.dtype)
    for step in range(steps):
        moved[:, step, :, step : step + target.shape[2]] = target
    flat = beats[..., :width].reshape(*beats.shape[:2], -1)
    return flat @ moved.reshape(len(target), steps, -1).swapaxes(1, 2)


def _shifted(around, first, width, stride):
    """`width` samples of each beat (n, B, 12, width) from its own first sample (n, B) on."""
    long = around.shape[3]
    starts = np.arange(first.size * around.shape[2]).reshape(*first.shape, -1) * long
    steps = starts[..., None] + (first[..., None] + np.arange(width) * stride)[:, :, None, :]
    return around.ravel().take(steps)


def _windows(record, centres, dominant, stride):
    """Beats (b, 12, W) of one record (12, T) at its own rate, without baseline; NaN beyond the
    record's ends.
    """
    offsets = np.arange(-CENTRE, WIDTH - CENTRE, stride)
    beats = gather(record[None], centres[None], offsets)[0]
    before = -np.arange(int(PQ[1] * RATE), int(PQ[0] * RATE))
    levels = gather(record[None], centres[None], before)[0].mean(axis=2)  # (b, 12)
    beats -= _baseline(levels, centres, dominant, offsets)
    n_samples = record.shape[1]
    for beat in np.flatnonzero((centres < CENTRE) | (centres + offsets[-1] >= n_samples)):
        where = centres[beat] + offsets
        beats[beat][:, (where < 0) | (where >= n_samples)] = np.nan
    return beats


def _baseline(levels, centres, dominant, offsets):
    """Straight lines from each beat's PQ level to the neighbours' (b, 12, W); level where a
    neighbour is no dominant beat.
    """
    knot = -int((PQ[0] + PQ[1]) / 2 * RATE)
    slope = np.zeros(levels.shape, np.float32)  # of the line to the next beat
    linked = dominant[:-1] & dominant[1:]
    gap = np.where(linked, np.diff(centres), 1)
    slope[:-1] = np.where(linked[:, None], np.diff(levels, axis=0) / gap[:, None], 0)
    before = np.concatenate([np.zeros_like(slope[:1]), slope[:-1]])
    distance = (offsets - knot).astype(np.float32)
    ahead = np.searchsorted(distance, 0)
    lines = np.empty((*levels.shape, len(offsets)), np.float32)
    np.multiply(before[..., None], distance[:ahead], out=lines[..., :ahead])
    np.multiply(slope[..., None], distance[ahead:], out=lines[..., ahead:])
    lines += levels[..., None]
    return lines


def _over_beats(windows, dominant, shares):
    """Quantiles (shares, n, 12, W) over the dominant beats (n, B) bool of n windows (b, 12, W)
    each; NaN where there is none.
    """
    found = np.full((len(shares), len(windows), *windows[0].shape[1:]), np.nan, np.float32)
    for row, (beats, chosen) in enumerate(zip(windows, dominant, strict=True)):
        if chosen.any():
            found[:, row] = quantiles(beats[chosen[: len(beats)]], shares)
    return found


def quantiles(beats: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Quantiles (shares, ..., W) over the first axis of (b, ..., W), of the beats that are not NaN
    at a sample; a beat is NaN in all leads or in none.
    """
    found = np.full((len(shares), *beats.shape[1:]), np.nan, beats.dtype)
    there = ~np.isnan(beats.reshape(len(beats), -1, beats.shape[-1])[:, 0])  # (b, W)
    counts = there.sum(axis=0)
    edges = [0, *(np.flatnonzero(counts[1:] != counts[:-1]) + 1).tolist(), len(counts)]
    known = {count: _places(count, shares) for count in counts[edges[:-1]].tolist() if count}
    needed = sorted({place for places in known.values() for pair in places for place in pair[:2]})
    # what is not there comes last, so that beats are ordered once for all samples
    ordered = dict(zip(needed, _in_order(np.fmin(beats, np.inf), tuple(needed)), strict=True))
    for start, stop in itertools.pairwise(edges):
        for values, (low, high, part) in zip(
            found, known.get(int(counts[start]), ()), strict=False
        ):
            below, above = ordered[low][..., start:stop], ordered[high][..., start:stop]
            values[..., start:stop] = below + (above - below) * part
    return found


@functools.cache
def _places(count, shares):
    """For each quantile of `count` values between which two in order it lies, and how far."""
    places = [(count - 1) * share for share in shares]
    return [(int(place), math.ceil(place), np.float32(place % 1)) for place in places]


def _in_order(beats, needed):
    """Those of `beats` (b, ...), sorted along the first axis in place, whose numbers are `needed`.

    Few beats of many samples: comparing whole beats takes a third of the time of np.sort.
    """
    if len(beats) > MANY_BEATS:
        return np.sort(beats, axis=0)[list(needed)]
    rows, spare = list(beats), np.empty(beats.shape[1:], beats.dtype)
    for low, high in _comparisons(len(beats), needed):
        np.minimum(rows[low], rows[high], out=spare)
        np.maximum(rows[low], rows[high], out=rows[high])
        rows[low], spare = spare, rows[low]
    return [rows[number] for number in needed]


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
    time = np.arange(width)
    return (time >= start[:, None]) & (time <= stop[:, None])


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
