"""Beats: windows from 300 ms before to 500 ms after each R-peak, cut from signals, attributions or
segments alike.

    beats = find_beats([data.r_peaks(row) for row in range(len(data))], n_samples=1000,
    sampling_rate=100)
    cut_beats(data.signals, beats)       # (beats, 80, 12)
    mean_beats(attributions, beats)      # (records, 80, 12), one mean beat per record

A window that does not lie wholly within the record (or within the part of it that was explained) is
left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BEFORE, AFTER = 0.3, 0.5  # s around the R-peak (Wagner et al. 2024: samples -30..49 at 100 Hz)


@dataclass(frozen=True)
class Beats:
    """Complete beats of a stack of records.

    record         # (B,) row of the record each beat belongs to, ascending
    r_peak         # (B,) sample of its R-peak
    n_records      records that were searched, those without a complete beat included
    sampling_rate  Hz
    """

    record: np.ndarray
    r_peak: np.ndarray
    n_records: int
    sampling_rate: int

    def __len__(self):
        return len(self.record)

    @property
    def counts(self) -> np.ndarray:
        """(n_records,) complete beats of each record."""
        return np.bincount(self.record, minlength=self.n_records)

    @property
    def samples(self) -> np.ndarray:
        """(B, L) the samples of each beat's window."""
        return self.r_peak[:, None] + window_offsets(self.sampling_rate)

    def of_records(self, keep: np.ndarray) -> "Beats":
        """The beats of the records where `keep` (n_records,) is True, in the rows they
        then have.
        """
        keep = np.asarray(keep, dtype=bool)
        row = np.cumsum(keep) - 1
        chosen = keep[self.record]
        return Beats(
            row[self.record[chosen]], self.r_peak[chosen], int(keep.sum()), self.sampling_rate
        )


def window_offsets(sampling_rate: int) -> np.ndarray:
    """Samples of the window relative to the R-peak: -30..49 at 100 Hz, -150..249 at 500 Hz."""
    return np.arange(-round(BEFORE * sampling_rate), round(AFTER * sampling_rate))


def window_times(sampling_rate: int) -> np.ndarray:
    """The same in ms."""
    return window_offsets(sampling_rate) * 1000 / sampling_rate


def find_beats(
    r_peaks: Sequence[np.ndarray],
    n_samples: int,
    sampling_rate: int,
    span: tuple[int, int] | None = None,
) -> Beats:
    """The complete beats of records of `n_samples` with these R-peaks (samples, one array per
    record).

    `span` (start, stop) in samples keeps only windows within it, for maps that cover a part of the
    record.
    """
    start, stop = span or (0, n_samples)
    if not 0 <= start <= stop <= n_samples:
        raise ValueError(
            f"span {start}..{stop} does not lie within the {n_samples} samples of a record"
        )
    offsets = window_offsets(sampling_rate)
    per_record = [np.asarray(peaks, dtype=int) for peaks in r_peaks]
    record = np.repeat(np.arange(len(per_record)), [len(peaks) for peaks in per_record])
    r_peak = np.concatenate([*per_record, np.array([], dtype=int)])
    complete = (r_peak + offsets[0] >= start) & (r_peak + offsets[-1] < stop)
    return Beats(record[complete], r_peak[complete], len(per_record), sampling_rate)


def cut_beats(values: np.ndarray, beats: Beats) -> np.ndarray:
    """Windows of `values` (n_records, T, ...): (B, L, ...)."""
    if len(values) != beats.n_records:
        raise ValueError(f"{len(values)} records given, the beats belong to {beats.n_records}")
    return values[beats.record[:, None], beats.samples]


def mean_beats(values: np.ndarray, beats: Beats) -> np.ndarray:
    """Mean beat of each record: (n_records, T, ...) -> (n_records, L, ...); NaN where a record has
    no complete beat.
    """
    return _per_record(cut_beats(values, beats), beats, np.mean)


def median_beats(values: np.ndarray, beats: Beats) -> np.ndarray:
    """Median beat of each record: (n_records, T, ...) -> (n_records, L, ...); NaN where a record
    has no complete beat.
    """
    return _per_record(cut_beats(values, beats), beats, np.median)


def _per_record(windows, beats, reduce):
    reduced = np.full(
        (beats.n_records, *windows.shape[1:]), np.nan, dtype=np.result_type(windows, np.float32)
    )
    for row, stop in enumerate(np.cumsum(beats.counts)):
        first = stop - beats.counts[row]
        if stop > first:
            reduced[row] = reduce(windows[first:stop], axis=0)
    return reduced


def group_beat(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median over the beats of a group and the band that holds the middle 90 % of them:
    (B, L, ...) -> three (L, ...). ValueError for no beat.

    Point by point over all beats of all records, as the paper draws it.
    """
    if len(windows) == 0:
        raise ValueError("a group without a beat has no median beat")
    lower, median, upper = np.quantile(windows, [0.05, 0.5, 0.95], axis=0)
    return median, lower, upper
