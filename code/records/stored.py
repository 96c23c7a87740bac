"""Signals that stay in their file: records are read when they are asked for.

A cohort of 100,000 records takes 4.8 GB, and most stages want some hundred records at a time. An
array of more than IN_MEMORY bytes is therefore left on the disk. What indexes it by records gets an
array as before; a choice of records (`pick`) is a list of rows and no copy.
"""

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from mmap import MADV_DONTNEED
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.files import need_memory

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

IN_MEMORY = 512 << 20  # bytes of signals that are read whole: 10,000 records of 10 s at 100 Hz
AT_ONCE = 256  # records


@dataclass(frozen=True)
class StoredSignals:
    """Some records (N, T, leads) of an array on disk.

    file  the array, mapped into memory
    rows  # (N,) positions of the records in it
    """

    file: np.memmap
    rows: np.ndarray

    @classmethod
    def of(cls, file: np.memmap) -> "StoredSignals":
        """All records of a file."""
        return cls(file, np.arange(len(file)))

    def __len__(self):
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, T, leads)"""
        return len(self.rows), *self.file.shape[1:]

    @property
    def ndim(self) -> int:
        """3"""
        return self.file.ndim

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers."""
        return self.file.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that they would take in memory."""
        return len(self.rows) * self.file[0].nbytes if len(self.file) else 0

    def pick(self, index: np.ndarray | slice) -> "StoredSignals":
        """The records at `index`, still on disk."""
        return StoredSignals(self.file, self.rows[index])

    def __getitem__(self, key: object) -> np.ndarray:
        """As of an array (a copy): only the records that the key names are read."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, np.ndarray) and first.ndim > 1:  # several samples of each record
            named, place = np.unique(first, return_inverse=True)
            return self._read(self.rows[named])[(place.reshape(first.shape), *rest)]
        values = self._read(self.rows[first])
        if not rest:
            return values
        if np.ndim(self.rows[first]) == 0:
            return values[tuple(rest)]
        # a list beside a list of records goes along with it
        every = slice(None) if isinstance(first, slice) else np.arange(len(values))
        return values[(every, *rest)]

    def _read(self, rows):
        values = np.array(self.file[rows])
        # the pages would count as this process's memory until somebody needs them
        self.file._mmap.madvise(MADV_DONTNEED)
        return values

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        values = self._read(self.rows)
        return values if dtype is None else values.astype(dtype, copy=False)


class Room:
    """Room for signals of a known shape that are made record by record: in memory, or in a file
    without a name in the folder `scratch` where they are more than IN_MEMORY bytes.
    """

    def __init__(self, shape: tuple[int, int, int], scratch: str | Path | None):
        n_bytes = 4 * math.prod(shape)
        self._on_disk = scratch is not None and n_bytes > IN_MEMORY
        if self._on_disk:
            with tempfile.TemporaryFile(dir=scratch) as file:
                if hasattr(os, "posix_fallocate"):
                    # a full disk is an error now, not a signal later
                    os.posix_fallocate(file.fileno(), 0, n_bytes)
                self._values = np.memmap(file, np.float32, "w+", shape=shape)
        else:
            # an empty array takes memory only when it is filled: too late for an error in words
            need_memory(n_bytes, f"an array of {shape[0]} records", "give --limit N")
            self._values = np.empty(shape, dtype=np.float32)

    def put(self, row: int, signal: np.ndarray) -> None:
        """Keep one record."""
        self._values[row] = signal
        if self._on_disk and row % AT_ONCE == 0:
            self._values._mmap.madvise(MADV_DONTNEED)

    def signals(self, n_records: int) -> "np.ndarray | StoredSignals":
        """The first records."""
        if self._on_disk:
            return StoredSignals(self._values, np.arange(n_records))
        return self._values[:n_records]


def pick(signals: "np.ndarray | StoredSignals", index: np.ndarray) -> "np.ndarray | StoredSignals":
    """The records at `index`: a copy, or still on disk where they are there."""
    return signals.pick(index) if isinstance(signals, StoredSignals) else signals[index]


def pieces(signals: Sequence, at_once: int = AT_ONCE) -> Iterator[np.ndarray]:
    """Signals (N, T, leads) as arrays of some records each, for what must see all of them."""
    for start in range(0, len(signals), at_once):
        yield signals[start : start + at_once]


def feed(digest: "Hash", *arrays: np.ndarray, signals: Sequence) -> None:
    """Put arrays and then signals (N, T, leads) into a hash, the latter some records at a time."""
    for array in chain(arrays, pieces(signals)):
        digest.update(np.ascontiguousarray(array))


def leads_there(signals: np.ndarray) -> np.ndarray:
    """(12,) bool: which leads the records (n, T, 12) have; one that is NaN throughout is not
    there.
    """
    absent = np.isnan(signals[:1, 0]).any(axis=0)  # most records have all: one sample says it
    if absent.any():
        absent[absent] = np.isnan(signals[..., absent]).all(axis=(0, 1))
    return ~absent


def whole(signals: "np.ndarray | StoredSignals") -> np.ndarray:
    """All records as one array: mapped, not read, where they lie one after the other on disk."""
    if not isinstance(signals, StoredSignals):
        return signals
    if np.array_equal(signals.rows, np.arange(len(signals))):
        return signals.file.view(np.ndarray)[: len(signals)]
    return np.asarray(signals)
