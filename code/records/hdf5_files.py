"""Many recordings in one HDF5 file, as CODE-15 % has them: `tracings` (N, T, 12) and `exam_id`.

Ribeiro et al., CODE-15 % (doi:10.5281/zenodo.4916206) and SaMi-Trop (doi:10.5281/zenodo.4905618):
400 Hz, 4,096 samples, of which 7 or 10 s are signal and the rest zeros at both ends, in 1e-4 V. The
file says neither rate nor unit.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from common.files import UserError, check_hdf5, need_file
from records import plausibility
from records.array_files import RATE_NAMES, last_part, named_leads, standard_leads
from records.recording import Asked, Columns, Recording, from_columns
from records.stored_arrays import LARGE, StoredArray
from records.units import mv_per

if TYPE_CHECKING:  # imported where a file is opened: stages that read none start without it
    import h5py

SUFFIXES = (".h5", ".hdf5", ".hdf")
ID_NAMES = ("exam_id", "ecg_id", "id", "ids", "record_id")
# CODE and SaMi-Trop are known by the name `tracings` and its shape
CODE_RATE = 400.0  # Hz
CODE_SAMPLES = 4096
CODE_UNITS = ("1e-4V", "mV")


class Tracings(NamedTuple):
    """Where the recordings of a file lie: name of the data set, its shape, the ids (N,) as text,
    the rate (Hz) where it is known, whether it is laid out as CODE-15 % is, whether the file
    itself says the ids, and the names of data sets that hold one lead each.
    """

    name: str
    shape: tuple[int, ...]
    ids: list[str]
    rate: float | None
    is_code: bool = False
    named: bool = True
    leads: tuple[str, ...] = ()


def file_and_id(path: str | Path) -> tuple[str, str]:
    """The file and the recording in it that `file.hdf5#id` names, "" for its only one; a # may be a
    letter of the file's own name.
    """
    whole = os.fspath(path)
    parts = whole.split("#")
    for k in range(len(parts), 1, -1):
        file = "#".join(parts[:k])
        if os.path.exists(file) or os.path.exists(f"{file}.hea"):
            return file, "#".join(parts[k:])
    return parts[0], "#".join(parts[1:])


def open_hdf5(path: str | Path) -> "h5py.File":
    """The open file; UserError where it is none."""
    import h5py

    try:
        return h5py.File(need_file(path), "r")
    except OSError as error:
        raise UserError(f"{path} is not a readable HDF5 file ({error})") from None


def describe(path: str | Path) -> Tracings:
    """What recordings a file holds."""
    import h5py

    with open_hdf5(path) as file:
        sets = {}
        file.visititems(
            lambda name, item: sets.update({name: item}) if isinstance(item, h5py.Dataset) else None
        )
        for item in sets.values():
            check_hdf5(path, item)
        signals = [
            name for name, item in sets.items() if item.ndim in (2, 3) and item.dtype.kind in "iuf"
        ]
        numbers = {name: item.shape for name, item in sets.items() if item.dtype.kind in "iuf"}
        if not signals and (leads := named_leads(numbers)):
            shape = (max(numbers[leads[0]]), len(leads))
            rate = _rate(
                file, sets[leads[0]], {last_part(name).lower(): sets[name] for name in sets}
            )
            return Tracings(leads[0], shape, ["1"], rate, named=False, leads=tuple(leads))
        if not signals:
            raise UserError(f"{path} holds no array of signals; it has {', '.join(sets) or 'none'}")
        name = max(signals, key=lambda name: sets[name].size)
        n = sets[name].shape[0] if sets[name].ndim == 3 else 1
        by_name = {last_part(key).lower(): item for key, item in sets.items()}
        said = [key for key in ID_NAMES if key in by_name and by_name[key].size == n]
        ids = np.ravel(by_name[said[0]][()]) if said else np.arange(1, n + 1)
        rate, shape = _rate(file, sets[name], by_name), tuple(sets[name].shape)
        is_code = name.rsplit("/", 1)[-1] == "tracings" and shape[-2:] == (CODE_SAMPLES, 12)
        texts = [
            word.decode("utf-8", "replace") if isinstance(word, bytes) else f"{word}"
            for word in ids
        ]
        texts = [re.sub(r"\.0$", "", text) for text in texts]  # whole numbers stored as others
        while is_code and len(texts) > 1 and texts[-1] == "0":
            texts.pop()  # each part of CODE-15 % ends in a row of zeros that is no exam
        rate = rate or (CODE_RATE if is_code else None)
        return Tracings(name, shape, texts, rate, is_code, bool(said))


def find_unit(path: str | Path, found: Tracings, asked: Asked) -> str | None:
    """The unit that a file of CODE's layout can be in, by the height of up to 32 of its recordings:
    1e-4 V as it is published, or mV as copies of it are; None for other files.
    """
    if not found.is_code:
        return None
    spread = np.linspace(0, len(found.ids) - 1, min(32, len(found.ids))).astype(int)
    rows = sorted(set(map(int, spread)))
    heights = []
    for row in rows:
        with contextlib.suppress(UserError):  # too short, say: refused when it is read
            [recording] = read_tracings(path, found, [row], replace(asked, unit=None))
            if np.ptp(recording.signal) > 0:
                heights.append(plausibility.height_of(recording.signal))
    if not heights:
        return None
    height = float(np.median(heights))
    low, high = plausibility.HEIGHT_MV
    for unit in CODE_UNITS:
        if low <= height * (mv_per(unit) or 1) <= high:
            print(
                f"{path} says no unit: {len(heights)} of its recordings are "
                f"{height * (mv_per(unit) or 1):.2g} mV tall in units of {unit}"
            )
            return unit
    return None


def _rate(file, signals, by_name):
    """Hz, as an attribute or a data set of one number says it; None where none does."""
    for key in RATE_NAMES:
        said = [attributes[key] for attributes in (signals.attrs, file.attrs) if key in attributes]
        if key in by_name and by_name[key].size == 1:
            said.append(by_name[key][()])
        for value in said:
            with contextlib.suppress(ValueError, TypeError, IndexError):  # blank, or no number
                rate = float(np.ravel(value)[0])
                if rate > 0:
                    return rate
    return None


def read_hdf5_recording(path: str | Path, asked: Asked) -> Recording:
    """Read one recording: the only one of the file, or the one that `file.hdf5#id` names."""
    file, wanted = file_and_id(path)
    found = describe(file)
    if wanted and wanted not in found.ids:
        raise UserError(f"{file} has no recording {wanted}; the first is {found.ids[0]}")
    if not wanted and len(found.ids) > 1:
        raise UserError(
            f"{file} holds {len(found.ids)} recordings: name one as {file}#{found.ids[0]}"
        )
    row = found.ids.index(wanted) if wanted else 0
    asked = replace(asked, unit=asked.unit or find_unit(file, found, asked))
    return next(iter(read_tracings(file, found, [row], asked)))


def read_tracings(
    path: str | Path, found: Tracings, rows: list[int], asked: Asked
) -> Iterator[Recording]:
    """The recordings at `rows`, one after the other, without the zeros at their ends."""
    rate = asked.rate or found.rate
    if rate is None:
        raise UserError(f"{path} does not say its sampling rate: give it in Hz (--record_rate)")
    with open_hdf5(path) as file:
        if found.leads:
            values = np.stack([np.ravel(file[name]) for name in found.leads], axis=1)
            names = [last_part(name) for name in found.leads]
            columns = Columns(values, names, rate, [None] * len(names))
            yield from_columns(columns, path, asked)
            return
        whole = file[found.name]
        for row in rows:
            part = row if whole.ndim == 3 else None
            stored = StoredArray(Path(path), found.name, whole.shape[-2:], whole.dtype, part)
            values = stored.as_signals()
            if stored.size <= LARGE:
                values = np.asarray(whole[row] if whole.ndim == 3 else whole, dtype=float)
                values = without_padding(
                    values.T if values.shape[0] < values.shape[1] else values, rate
                )
            names = list(asked.lead_names or standard_leads(values.shape[1], path))
            columns = Columns(values, names, rate, [None] * len(names))
            yield from_columns(columns, f"{path}#{found.ids[row]}", asked)


def without_padding(values: np.ndarray, rate: float) -> np.ndarray:
    """(T, n) without zeros in all leads at its ends, where they last .1 s or longer."""
    there = np.flatnonzero((values != 0).any(axis=1))
    if not len(there):
        return values
    first, last = int(there[0]), int(there[-1]) + 1
    least = round(0.1 * rate)
    return values[first if first >= least else 0 : last if len(values) - last >= least else None]
