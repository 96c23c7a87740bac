"""An array that stays in its HDF5 file until a stretch of it is asked for."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

LARGE = 1 << 22  # numbers: an array above it is not read whole


@dataclass(frozen=True)
class StoredArray:
    """The data set `name` of an HDF5 file, or its part `row`; `flipped`: leads come first.

    Slices of its first axis are read as arrays # (T, n).
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    row: int | None = None
    flipped: bool = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def as_signals(self) -> "StoredArray":
        """One recording (T, n): leading axes of length 1 are gone, time comes first."""
        row, shape = self.row, self.shape
        if len(shape) == 3 and shape[0] == 1:
            row, shape = 0, shape[1:]
        if len(shape) == 2 and shape[0] < shape[1]:
            return replace(self, row=row, shape=shape[::-1], flipped=True)
        return replace(self, row=row, shape=shape)

    def __getitem__(self, samples: slice) -> np.ndarray:
        import h5py

        with h5py.File(self.path, "r") as file:
            stored = file[self.name]
            before = () if self.row is None else (self.row,)
            if self.flipped:
                return np.asarray(stored[(*before, slice(None), samples)]).T
            return np.asarray(stored[(*before, samples)])
