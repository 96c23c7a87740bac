"""Recordings in arrays: .npy, .npz and MATLAB's .mat (structs of version 5, or HDF5 of 7.3)."""

import math
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.files import UserError, check_declared, check_hdf5, need_file, read_npy, read_npz
from common.labels import LEADS
from records.lead_names import canonical_lead
from records.recording import Asked, Columns, Recording, from_columns
from records.stored_arrays import LARGE, StoredArray

SUFFIXES = (".npy", ".npz", ".mat")
RATE_NAMES = ("fs", "rate", "sampling_rate", "samplingrate", "sampling_frequency", "freq", "sf")
LEAD_NAMES = ("leads", "lead_names", "sig_name", "channels", "labels_of_leads")
UNIT_NAMES = ("unit", "units")
MI_COMPRESSED = 15  # the type of a compressed variable in a .mat file of version 5
FACT_NAMES = ("age", "sex", "gender", "patient_id", "labels")


def read_array_recording(path: str | Path, asked: Asked) -> Recording:
    """Read the one recording of a file: an array (T, n) or (n, T), n of them signals; what else
    the file holds may say rate, leads, unit, age and sex.
    """
    values, said = largest_array(path)
    if values.dtype.kind not in "iuf":
        raise UserError(f"{path} holds {values.dtype}: expected numbers (samples in mV)")
    values = values.as_signals() if isinstance(values, StoredArray) else np.squeeze(values)
    if values.ndim == 1 and len(asked.lead_names or ()) == 1:
        values = values[:, None]
    if values.ndim != 2:
        raise UserError(
            f"{path} holds an array of shape {values.shape}, not one recording (T, leads): "
            "import_records.py takes several"
        )
    if values.shape[0] < values.shape[1] and not isinstance(values, StoredArray):
        values = values.T
    rate = asked.rate or said.get("rate")
    if rate is None:
        raise UserError(f"{path} does not say its sampling rate: give --record_rate in Hz")
    names = said.get("leads") or (asked.lead_names and list(asked.lead_names))
    if names is None:
        names = standard_leads(values.shape[1], path)
    if len(names) != values.shape[1]:
        raise UserError(f"{path} names {len(names)} leads for {values.shape[1]} signals")
    columns = Columns(values, names, rate, [said.get("unit")] * len(names), said.get("facts", {}))
    return from_columns(columns, path, asked)


def standard_leads(n: int, path: str | Path) -> list[str]:
    """The names of 12 unnamed signals (the usual order), or of 8 (I II V1-V6); else UserError."""
    if n == len(LEADS):
        return list(LEADS)
    if n == 8:
        return [*LEADS[:2], *LEADS[6:]]
    raise UserError(f"{path} has {n} signals without names: give --lead_names")


def largest_array(path: str | Path) -> tuple[np.ndarray | StoredArray, dict]:
    """The largest array of numbers of a file and what it says beside: rate, leads, unit, facts.
    Large arrays of .npy and of MATLAB 7.3 stay in the file until a stretch is asked for.
    """
    path = need_file(path)
    if path.suffix.lower() == ".npy":
        return read_npy(path, mmap=True), {}
    members = read_npz(path) if path.suffix.lower() == ".npz" else _read_mat(path)
    arrays = {
        name: value
        for name, value in members.items()
        if value.dtype.kind in "iuf" and value.ndim >= 2 and min(value.shape[-2:]) > 1
    }
    said = _said(members)
    if not arrays and (leads := named_leads({name: one.shape for name, one in members.items()})):
        values = [np.ravel(members[name][:]) for name in leads]  # of a stored one all at once
        return np.stack(values, axis=1), {**said, "leads": [last_part(name) for name in leads]}
    if not arrays:
        raise UserError(f"{path} holds no array of signals; it has {', '.join(members) or 'none'}")
    largest = max(arrays, key=lambda name: arrays[name].size)
    return arrays[largest], said


def named_leads(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Of arrays by their names those that are one lead each, as I, II, ...: none where they are
    not equally long.
    """
    lengths = {
        name: math.prod(shape)
        for name, shape in shapes.items()
        if canonical_lead(last_part(name)) and math.prod(shape) == max(shape, default=0) > 1
    }
    return list(lengths) if len(set(lengths.values())) == 1 else []


def last_part(name: str) -> str:
    """ecg.I or ecg/I -> I"""
    return re.split(r"[./]", name)[-1]


def _said(members):
    """What the small members of a file say; names are compared by their last part, in small."""
    by_name = {last_part(name).lower(): value for name, value in members.items()}
    said = {}
    rate = _first(by_name, RATE_NAMES)
    if rate is not None and rate.size == 1 and rate.dtype.kind in "iuf":
        said["rate"] = float(rate.reshape(-1)[0])
    leads = _first(by_name, LEAD_NAMES)
    if leads is not None and leads.dtype.kind in "US":
        said["leads"] = [_text(word) for word in leads.reshape(-1)]
    unit = _first(by_name, UNIT_NAMES)
    if unit is not None and unit.dtype.kind in "US":
        said["unit"] = _text(unit.reshape(-1)[0])
    said["facts"] = {
        name: _text(by_name[name].reshape(-1)[0])
        for name in FACT_NAMES
        if name in by_name and by_name[name].size == 1
    }
    return said


def _first(by_name, names):
    return next((by_name[name] for name in names if name in by_name), None)


def _text(value):
    return value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else str(value)


def _read_mat(path):
    """Members of a .mat file by their dotted names, structs unfolded."""
    import scipy.io

    with open(path, "rb") as file:
        head = file.read(128)
    if b"MATLAB 7.3" in head or head[:4] == b"\x89HDF":
        return dict(_mat_73(path))
    _check_mat(path)
    try:
        content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=True)
    except Exception as error:
        raise UserError(f"{path} is not a readable .mat file ({type(error).__name__})") from None
    members = {}
    for name, value in content.items():
        if not name.startswith("__"):
            members.update(_unfolded(name, np.asarray(value)))
    return members


def _check_mat(path):
    """UserError where a compressed variable of a .mat file of version 5 declares more bytes than it
    can honestly hold.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:128])
        while order and (tag := file.read(8)) and len(tag) == 8:
            kind, length = struct.unpack(f"{order}2I", tag)
            following = file.tell() + length
            if kind == MI_COMPRESSED and following <= size:
                try:
                    head = zlib.decompressobj().decompress(file.read(min(length, 4096)), 8)
                except zlib.error:
                    return  # the reader will say so
                if len(head) == 8:
                    check_declared(path, struct.unpack(f"{order}2I", head)[1], length)
            file.seek(following)


def _unfolded(name: str, value: np.ndarray, depth: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays in a struct, its fields joined to the name by points."""
    if value.dtype.names and value.size == 1 and depth < 5:
        for part in value.dtype.names:
            yield from _unfolded(f"{name}.{part}", np.asarray(value[part].item()), depth + 1)
    elif value.dtype.kind == "O" and all(isinstance(item, str) for item in value.reshape(-1)):
        yield name, value.astype(str)
    elif value.dtype.kind in "iufUS":
        yield name, value


def _mat_73(path):
    import h5py

    found: list[tuple[str, np.ndarray | StoredArray]] = []

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf":
            check_hdf5(path, item)
            name = name.replace("/", ".")
            found.append((name, _mat_73_value(path, item)))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise UserError(f"{path} is not a readable .mat file ({error})") from None
    return found


def _mat_73_value(path, item):
    """Numbers, text (MATLAB stores letters as numbers), or a large array that stays where it is."""
    if item.ndim == 3 and min(item.shape) > 1:
        return item[()].T  # several recordings; MATLAB's first axis is HDF5's last
    if item.size > LARGE:
        return StoredArray(Path(path), item.name, item.shape, item.dtype)
    value = item[()]
    if item.attrs.get("MATLAB_class") == b"char":
        return np.array("".join(chr(letter) for letter in value.T.reshape(-1)))
    return value
