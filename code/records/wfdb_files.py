"""Reading a data set's WFDB records: fast where they are plain format 16, as any record where not.

A record is checked while it is read: length, sampling rate, lead names, the header's 16-bit
checksums, missing samples. What is wrong is collected as `Problem`s, so that all offenders can be
named at once.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from common.files import UserError, is_inside
from common.labels import LEADS
from records.layout import Layout, read_layout
from records.lead_names import canonical_lead, spread
from records.resampling import resample
from records.stored import Room
from records.wfdb_any import INVALID_SAMPLE, check_sums, open_data, read_numbers, read_wfdb
from records.wfdb_header import RecordError, lines_and_comments, read_header_bytes, size_of

# "<name> <leads> <Hz> <samples>" and "<file> 16 <gain>(<baseline>)/mV <bits> <zero> <first>
# <checksum> <block> <lead>"
# (longer numbers than any honest header has are left to the reader of any header)
_RECORD_LINE = re.compile(r"^(\S+) (\d{1,3}) (\d{1,6})(?:\.0*)? (\d{1,12})(?: .*)?$")
_SIGNAL_LINE = re.compile(
    r"^([^\s/]+) 16 (\d{1,9}(?:\.\d{1,9})?)\((-?\d{1,9})\)/mV "
    r"\d+ -?\d+ -?\d+ (-?\d{1,9}) \d+ (\S+)$"
)


class Problem(NamedTuple):
    """Why one record cannot be used."""

    ecg_id: int
    kind: str
    detail: str


# ---------------------------------------------------------------- one record


def read_record(
    path: str, sampling_rate: int, n_samples: int, leads: Sequence[str] = LEADS
) -> tuple[np.ndarray, bytes]:
    """The record `path` (no suffix) as float32 (T, leads) in mV, in the order of `leads`, and the
    content of its header.

    Raises RecordError where it is missing, damaged, or not `n_samples` of these leads at
    `sampling_rate` Hz.
    """
    try:
        header = read_header_bytes(path + ".hea")
    except OSError:
        raise RecordError("header missing", f"{path}.hea cannot be opened") from None
    plain = _parse_plain(header)
    if plain is None:
        return _read_any(path, sampling_rate, n_samples, leads), header
    return _read_plain(path, sampling_rate, n_samples, leads, *plain), header


def _parse_plain(header):
    """(Hz, samples, data file, gains, baselines, checksums, lead names) of a plain format-16
    header, else None.
    """
    lines, _ = lines_and_comments(header.decode("utf-8", "replace"))
    top = _RECORD_LINE.match(lines[0]) if lines else None
    signals = [_SIGNAL_LINE.match(line) for line in lines[1:]]
    if top is None or not signals or None in signals or len(signals) != int(top[2]):
        return None
    files, gains, baselines, checksums, names = zip(
        *(signal.groups() for signal in signals), strict=True
    )
    if len(set(files)) > 1 or not all(float(gain) for gain in gains):
        return None
    return int(top[3]), int(top[4]), files[0], gains, baselines, checksums, names


def _read_plain(
    path, sampling_rate, wanted, leads, rate, n_samples, file, gains, baselines, checksums, names
):
    """Interleaved little-endian int16, all leads in one file."""
    _check_shape(rate, n_samples, sampling_rate, wanted)
    columns = _lead_columns(names, leads)
    if not is_inside(file):
        raise RecordError("outside the folder", f"{path}.hea names the data file {file!r}")
    data = f"{os.path.dirname(path)}/{file}"
    expected = 2 * n_samples * len(names)
    with open_data(data) as opened:
        if (n_bytes := size_of(opened)) < expected:
            raise RecordError("truncated", f"{data} holds {n_bytes} bytes of {expected}")
        digital = read_numbers(opened, "<i2", (n_samples, len(names)))  # (T, leads)
    check_sums(digital, list(map(int, checksums)), names)
    if (digital == INVALID_SAMPLE).any():
        raise _missing_samples(digital == INVALID_SAMPLE, names)
    # dividing two exactly representable float32 rounds once: within half a float32 step of wfdb's
    # float64
    physical = digital.astype(np.float32)
    if any(int(baseline) for baseline in baselines):
        physical -= np.array(baselines, dtype=np.float32)
    physical /= np.array(gains, dtype=np.float32)
    return physical[:, columns] if columns is not None else physical


def _read_any(path, sampling_rate, n_samples, leads):
    """Whatever is not plain format 16 (other formats, several files, offsets, other units), as
    float32 (T, leads) mV.
    """
    read = read_wfdb(path)
    columns = _lead_columns(read.names, leads)
    _check_shape(read.rate, read.n_samples, sampling_rate, n_samples)
    physical = read.millivolts()
    if np.isnan(physical).any():
        raise _missing_samples(np.isnan(physical), read.names)
    return (physical if columns is None else physical[:, columns]).astype(np.float32)


def _lead_columns(names, leads):
    """Which column of a record holds each of `leads` (None: they are in that order already).

    Raises RecordError where the names are not these leads, each once (AVR and aVR are the same).
    """
    found = [canonical_lead(name) for name in names]
    if len(found) != len(leads):
        raise RecordError(
            "wrong number of leads",
            f"{len(found)} leads ({', '.join(names)}) instead of {len(leads)}",
        )
    if set(found) != set(leads):
        raise RecordError(
            "wrong leads", f"{', '.join(names)} are not the leads {', '.join(leads)}, each once"
        )
    order = [found.index(lead) for lead in leads]
    return None if order == list(range(len(leads))) else order


def _check_shape(rate, n_samples, sampling_rate, wanted):
    if rate != sampling_rate:
        raise RecordError("wrong sampling rate", f"{rate:g} Hz instead of {sampling_rate} Hz")
    if n_samples != wanted:
        raise RecordError("wrong length", f"{n_samples} samples instead of {wanted}")


def _missing_samples(missing, names):
    found = [
        f"{name} {count}" for name, count in zip(names, missing.sum(axis=0), strict=True) if count
    ]
    return RecordError("missing samples", f"samples without a value: {', '.join(found)}")


# ---------------------------------------------------------------- many records


class Records(NamedTuple):
    """What `read_records` found.

    signals   # (kept, T, 12) float32 mV, only the records without a problem, in the order asked
              for; NaN for leads that the data set does not have
    kept      # (N,) bool: which of the records asked for these are
    problems  one per record that is left out
    digest    sha256 over the headers read: names the signals, whose checksums the headers hold
    """

    signals: np.ndarray
    kept: np.ndarray
    problems: list[Problem]
    digest: str


def read_records(
    data_path: str | Path,
    names: Iterable[str],
    ecg_ids: Iterable[int],
    sampling_rate: int,
    progress: bool = True,
    layout: Layout | None = None,
    scratch: str | Path | None = None,
) -> Records:
    """Read records `data_path`/`name` (no suffix) into one array; records with a problem are left
    out and named.

    layout  of the data set (None: PTB-XL's). Records that are not stored at `sampling_rate` are
            read at the rate they are stored at, and resampled.
    scratch  folder of a file that holds the signals of a large cohort meanwhile (None: memory does)
    """
    layout = layout or read_layout(data_path)
    stored = layout.stored_rate(sampling_rate)
    names, ecg_ids, root = list(names), list(ecg_ids), str(data_path)
    shape = (len(names), layout.n_samples(sampling_rate), len(LEADS))
    room = Room(shape, scratch)
    kept, problems, digest = np.zeros(len(names), dtype=bool), [], hashlib.sha256()
    bar = tqdm(
        names,
        desc=f"reading at {sampling_rate} Hz",
        unit=" records",
        disable=None if progress else True,
    )
    row = 0
    for position, name in enumerate(bar):
        try:
            if not isinstance(name, str) or not name:
                raise RecordError("no file name", "the table's file name is blank")
            if not is_inside(name):
                raise RecordError(
                    "outside the folder", f"the table names {name!r}, which is not in {root}"
                )
            signal, header = read_record(
                f"{root}/{name}", stored, layout.rates[stored], layout.leads
            )
            room.put(row, spread(resample(signal, stored, sampling_rate), layout.leads))
        except RecordError as error:
            problems.append(Problem(int(ecg_ids[position]), error.kind, error.detail))
            continue
        digest.update(header)
        kept[position], row = True, row + 1
    return Records(room.signals(row), kept, problems, digest.hexdigest())


def id_ranges(ecg_ids: Iterable[int]) -> str:
    """Ids, ascending, as compact text: 1, 2, 3, 7 -> '1-3, 7'."""
    ids = np.unique(np.fromiter(ecg_ids, dtype=np.int64))
    runs = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs if len(run)
    )


def describe_problems(problems: Sequence[Problem]) -> str:
    """Every offender by ecg_id, grouped by what is wrong, with the first one's details."""
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(problem.kind, []).append(problem)
    described = []
    for kind, group in groups.items():
        ids = id_ranges(problem.ecg_id for problem in group)
        described.append(f"{kind}: ecg_id {ids} (e.g. {group[0].detail})")
    return "; ".join(described)


def refuse(problems: Sequence[Problem], n_records: int) -> None:
    """UserError that lists every offender, if there is any."""
    if problems:
        n_bad = len({problem.ecg_id for problem in problems})
        raise UserError(
            f"{n_bad} of {n_records} records cannot be used: {describe_problems(problems)}; "
            "put them right, or drop them with --skip_bad"
        )
