"""Where an import's recordings come from: a folder of files, one HDF5 file, or an array.

Each source names its recordings and reads one at a time, so that memory is bounded.
"""

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.files import UserError, read_npy
from records import hdf5_files
from records.array_files import read_array, standard_leads
from records.readers import READERS, read_recording
from records.recording import Asked, Columns, Recording, from_columns


class Source(NamedTuple):
    """names of the recordings;  read(number) -> Recording, or UserError."""

    names: list[str]
    read: Callable[[int], Recording]


def open_source(path: str | Path, asked: Asked, match: str = "*") -> Source:
    """The recordings at `path`; UserError where there are none."""
    path = Path(path)
    if path.is_dir():
        return _folder(path, asked, match)
    if not path.is_file():
        raise UserError(f"{path} does not exist: --records names a folder or a file")
    if path.suffix.lower() in hdf5_files.SUFFIXES:
        return _hdf5(path, asked)
    return _array(path, asked)


def _folder(folder, asked, match):
    """WFDB records by their headers; files of other formats by themselves."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    headers = [path for path in files if path.suffix == ".hea"]
    records = {path.with_suffix("") for path in headers}
    others = [
        path
        for path in files
        if path.suffix.lower() in READERS and path.with_suffix("") not in records
    ]
    chosen = [path for path in (headers or others) if fnmatch.fnmatch(path.stem, match)]
    if not chosen:
        raise UserError(
            f"{folder} holds no recording that matches {match}: a WFDB header (.hea) or a file "
            f"that ends in {', '.join(READERS)}"
        )
    return Source(
        [path.stem for path in chosen], lambda number: read_recording(chosen[number], asked)
    )


def _hdf5(path, asked):
    found = hdf5_files.describe(path)
    return Source(
        found.ids,
        lambda number: next(iter(hdf5_files.read_tracings(path, found, [number], asked))),
    )


def _array(path, asked):
    """(N, T, leads) of one file, in the usual order of the leads, or as --lead_names has it."""
    if path.suffix.lower() not in (".npy", ".npz", ".mat"):
        return Source([path.stem], lambda number: read_recording(path, asked))
    values, said = (read_npy(path, mmap=True), {}) if path.suffix == ".npy" else read_array(path)
    if values.dtype.kind not in "iuf":
        raise UserError(f"{path} holds {values.dtype}: expected numbers (samples in mV)")
    values = values[None] if values.ndim == 2 else values
    rate = asked.rate or said.get("rate")
    if rate is None:
        raise UserError(f"{path} does not say its sampling rate: give --signal_rate in Hz")
    if values.ndim != 3:
        raise UserError(f"{path} is {values.shape}: expected (recordings, samples, leads)")
    names = list(asked.lead_names or said.get("leads") or standard_leads(values.shape[2], path))

    def read(number: int) -> Recording:
        columns = Columns(
            np.asarray(values[number], dtype=float), names, rate, [said.get("unit")] * len(names)
        )
        return from_columns(columns, f"recording {number} of {path}", asked)

    return Source([str(number + 1) for number in range(len(values))], read)
