"""BDF (BioSemi): EDF with samples of 24 bits. Only the data records of the stretch are read.

Format: https://www.biosemi.com/faq/file_format.htm.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.files import UserError, need_memory
from records.lead_names import canonical_lead, check_lead_names
from records.recording import Asked, Columns, Recording, ends_before, from_columns

NO_SIGNALS = ("Status", "BDF Annotations")
WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # characters of each field that every signal has
BYTES = 3  # of a sample
PER_BYTE = 15  # bytes of memory for each of a file: as whole numbers, in its unit, and in mV


class Head(NamedTuple):
    """n  data records of `duration` s behind `offset` bytes; of each signal its name, unit, slope
    and shift of (digital -> unit), samples per data record; what it says of the patient.
    """

    n: int
    duration: float
    offset: int
    names: list[str]
    units: list[str]
    slopes: np.ndarray
    shifts: np.ndarray
    counts: np.ndarray
    facts: dict[str, str]


def read_bdf(path: str | Path, asked: Asked) -> Recording:
    """Read the signals that are leads; UserError where the file is damaged or has gaps."""
    head = _read_head(path)
    picked, names = _picked(head, asked, path)
    counts = set(head.counts[picked])
    if len(counts) > 1:
        raise UserError(f"{path} has leads of different rates, which are not read")
    per_record = int(counts.pop())
    rate = asked.rate or per_record / head.duration
    duration = per_record / rate  # s of a data record, at the rate that is asked for
    first = int(min(asked.start / duration + 1e-9, head.n))
    last = head.n
    if asked.seconds is not None:
        last = int(min(-(-(asked.start + asked.seconds) // duration), head.n))
    whole = head.n * duration
    if first >= last:
        raise ends_before(path, whole, asked)
    digital = _samples(path, head, picked, first, last)
    values = digital * head.slopes[picked] + head.shifts[picked]
    units = [head.units[k] or None for k in picked]
    start = asked.start - first * duration
    columns = Columns(values, names, rate, units, head.facts)
    read = from_columns(columns, path, replace(asked, lead_names=None, start=start))
    return read._replace(start=asked.start, seconds=whole)


def _read_head(path):
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        fixed = file.read(256)
        try:
            n_signals, stated = max(int(fixed[252:256]), 0), int(fixed[236:244])
            duration = float(fixed[244:252])
            text = file.read(256 * n_signals).decode("latin-1")
            columns, place = [], 0
            for width in WIDTHS:
                ends = range(place, place + width * n_signals, width)
                columns.append([text[k : k + width].strip() for k in ends])
                place += width * n_signals
            names, _, units, *limits, _, counts, _ = columns
            low, high, digital_low, digital_high = np.array(limits, dtype=float)
            counts = np.array(counts, dtype=int)
        except ValueError:
            raise UserError(f"{path} is not a readable BDF file: its head is damaged") from None
    offset, spans = 256 * (n_signals + 1), digital_high - digital_low
    fits = size - offset >= BYTES * counts.sum() > 0
    if (
        not fits
        or counts.min() < 1
        or not 0 < duration < np.inf
        or not (spans > 0).all()
        or not np.isfinite([low, high, spans, (high - low) / spans]).all()
    ):
        raise UserError(f"{path} is not a readable BDF file: its head is damaged")
    if b"BDF+D" in fixed[192:236]:
        raise UserError(f"{path} is interrupted (BDF+D): its parts do not follow each other")
    there = (size - offset) // (BYTES * int(counts.sum()))
    if stated > there:
        raise UserError(f"{path} is a BDF file cut short: {there} of {stated} parts are there")
    n = there if stated < 0 else stated  # -1: the recorder did not close the file
    slopes = (high - low) / spans
    shifts = low - digital_low * slopes
    return Head(n, duration, offset, names, units, slopes, shifts, counts, _facts(fixed))


def _facts(fixed):
    """The patient: a text, or in BDF+ words of which the first is the code and the second the sex
    (X: unknown).
    """
    text = fixed[8:88].decode("latin-1").strip()
    if not fixed[192:236].startswith(b"BDF+"):
        return {"patient_id": text} if text else {}
    said = zip(("patient_id", "sex"), text.split(), strict=False)
    return {name: word for name, word in said if word != "X"}


def _picked(head, asked, path):
    """Numbers and names of the signals to read: those known by name, or as --lead_names says."""
    signals = [k for k, name in enumerate(head.names) if name not in NO_SIGNALS]
    names = [head.names[k] for k in signals]
    given = check_lead_names(asked.lead_names, len(names), path) if asked.lead_names else names
    kept = [k for k, name in enumerate(given) if name != "-" and canonical_lead(name)]
    if not kept:
        raise UserError(
            f"{path} has no lead that is known by name; it has {', '.join(names)}: --lead_names "
            "says what they are"
        )
    return [signals[k] for k in kept], [given[k] for k in kept]


def _samples(path, head, picked, first, last):
    """(T, picked) whole numbers of the data records from `first` to before `last`."""
    size = BYTES * int(head.counts.sum())
    count = (last - first) * size
    need_memory(PER_BYTE * count, path, "take a shorter stretch")
    records = np.fromfile(path, np.uint8, count, offset=head.offset + first * size)
    records = records.reshape(last - first, size)
    begins = BYTES * np.cumsum([0, *head.counts])
    columns = []
    for k in picked:
        low, middle, high = np.moveaxis(
            records[:, begins[k] : begins[k + 1]].reshape(-1, BYTES).astype(np.int32), 1, 0
        )
        columns.append(low | middle << 8 | (high - (high >> 7 << 8)) << 16)
    return np.stack(columns, axis=1)
