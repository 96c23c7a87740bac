"""Relevance by lead and segment of single records, from which every map and score is made.

M[l, k] = sum_t |a(t, l)| s(t, l, k) / sum_t s(t, l, k) per record, with attribution a and soft
segments s (Wagner et al. 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

TOP = 5  # cells that the paper lists of a map
# samples: a cell with less of a record in it counts as empty (no P wave in atrial fibrillation)
MIN_TIME = 1.0


# of the group's records must have a cell for it to be ranked: a wave that one patient has speaks
# for no group
COMMON = 0.5


@dataclass(frozen=True)
class CellMaps:
    """Sums per record, lead and segment, from which every map and score is made.

    relevance  # (n, 12, 24) sum_t |a| s
    signed     # (n, 12, 24) sum_t a s
    time       # (n, 12, 24) sum_t s, in samples
    patients   # (n,) patient of each record
    """

    relevance: np.ndarray
    signed: np.ndarray
    time: np.ndarray
    patients: np.ndarray

    def __len__(self):
        return len(self.patients)

    @property
    def filled(self) -> np.ndarray:
        """(n, 12, 24) the cell exists in the record."""
        return self.time >= MIN_TIME

    @property
    def explained(self) -> np.ndarray:
        """(n,) the record's map is not zero everywhere (a rectified CAM may be)."""
        return self.relevance.sum(axis=(1, 2)) > 0

    @property
    def common(self) -> np.ndarray:
        """(12, 24) the cell exists in at least half of the explained records."""
        return (
            self.filled[self.explained].mean(axis=0) >= COMMON
            if self.explained.any()
            else np.zeros(self.time.shape[1:], bool)
        )

    @property
    def n_patients(self) -> int:
        """Patients in the group."""
        return len(np.unique(self.patients))

    def rows(self, index: np.ndarray | Sequence[int]) -> "CellMaps":
        """The records at `index` (positions or mask)."""
        return CellMaps(*(getattr(self, field.name)[index] for field in fields(self)))


def cell_maps(
    attributions: np.ndarray,
    segments: np.ndarray,
    patients: ArrayLike,
    coverage: np.ndarray | None = None,
) -> CellMaps:
    """Relevance per lead and segment of each record.

    attributions  # (n, T, 12) signed; NaN where nothing was explained: those leads and samples take
                  no time either
    segments      # (n, T, 12, 24) soft membership, adding up to 1 over the segments
    coverage      # (T,) share of the windows that saw a sample: a mean over windows is divided by
                  it
    """
    if attributions.shape != segments.shape[:3]:
        raise ValueError(f"attributions {attributions.shape} do not fit segments {segments.shape}")
    if coverage is not None:
        seen = coverage > 0
        attributions, segments = attributions[:, seen] / coverage[seen][:, None], segments[:, seen]
    parts = [_sums(a, s) for a, s in zip(attributions, segments, strict=True)]
    stacked = np.array(parts, dtype=np.float64).reshape(len(parts), 3, *segments.shape[2:])
    return CellMaps(stacked[:, 0], stacked[:, 1], stacked[:, 2], np.asarray(patients))


def _sums(attribution, segment):
    """(3, 12, 24) of one record: sums of |a| s, a s and s over the samples of each lead that were
    explained.
    """
    known = np.isfinite(attribution)
    filled = np.where(known, attribution, 0)
    weights = np.stack([np.abs(filled), filled, known]).transpose(2, 0, 1)  # (12, 3, T)
    return np.matmul(
        weights.astype(np.float64), segment.transpose(1, 0, 2).astype(np.float64)
    ).transpose(1, 0, 2)


def concatenate(parts: list[CellMaps]) -> CellMaps:
    """Batches of records as one."""
    joined = {}
    for field in fields(CellMaps):
        joined[field.name] = np.concatenate([getattr(part, field.name) for part in parts])
    return CellMaps(**joined)


def density(maps: CellMaps, signed: bool = False) -> np.ma.MaskedArray:
    """M of each record (n, 12, 24), in the attribution's unit; empty cells and records without
    relevance masked.
    """
    sums = maps.signed if signed else maps.relevance
    empty = ~maps.filled | ~maps.explained[:, None, None]
    return np.ma.MaskedArray(
        np.divide(sums, maps.time, out=np.zeros_like(sums), where=~empty), mask=empty
    )


def shares(sums: np.ndarray) -> np.ndarray:
    """Cells' share of each record's total (n, 12, 24), adding up to 1; 0 everywhere for a record
    whose total is 0.
    """
    totals = sums.sum(axis=(1, 2), keepdims=True)
    return np.divide(sums, totals, out=np.zeros_like(sums), where=totals > 0)


def relative_density(maps: CellMaps) -> np.ma.MaskedArray:
    """Density over the record's mean |a| (n, 12, 24): 1 is what an even map has; free of the
    output's scale.
    """
    values = density(maps)
    mean = maps.relevance.sum(axis=(1, 2)) / np.maximum(maps.time.sum(axis=(1, 2)), MIN_TIME)
    mean = np.where(maps.explained, mean, 1.0)
    return values / mean[:, None, None]
