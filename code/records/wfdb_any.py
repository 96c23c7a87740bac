"""Any WFDB record, or a stretch of one: several files, any leads beside others, byte offsets,
several samples per frame, signals that are skewed.

Formats 16 and 61 (the same, the other byte first) are read here, others through wfdb. Only the
leads are read: what lies beside them (vx, vy, vz, pressure) may be in any unit. The header's
checksums are compared wherever a signal is read whole.
"""

import os
import tempfile
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.files import UserError
from common.labels import LEADS
from records.lead_names import check_lead_names, lead_positions
from records.recording import NOTHING, Asked
from records.units import MV_PER_UV, mv_per
from records.wfdb_header import (
    Header,
    RecordError,
    SignalLine,
    lines_and_comments,
    open_file,
    read_header,
    read_header_bytes,
    size_of,
)

INVALID_SAMPLE = -32768  # format 16's mark of a missing sample
NULL = "0"  # the format of a signal without samples
TYPES = {"16": "<i2", "61": ">i2"}
INVALID_SAMPLES = {
    "80": -128,
    "212": -2048,
    "310": -512,
    "311": -512,
    "24": -(2**23),
    "508": -128,
    "524": -(2**23),
    "32": -(2**31),
}
THROUGH_WFDB = ("8", "24", "32", "80", "160", "212", "310", "311", "508", "516", "524")
MOST_PER_BYTE = 64  # samples that a byte may stand for: FLAC of a line without an ECG
WIDE = 64  # samples that are summed side by side
WHOLE_BYTES = 64 << 20  # files up to this size are read whole, so that checksums can be compared


class WfdbSignals(NamedTuple):
    """The leads of a record.

    digital    # (T, n) the stored numbers;  mV = (digital - baseline) * factor
    invalid, baselines, factors  # (n,); `invalid` is the stored number that marks a gap
    names      as the header has them
    rate       Hz
    start      first sample that was read, n_samples  those of the whole record
    """

    digital: np.ndarray
    invalid: np.ndarray
    baselines: np.ndarray
    factors: np.ndarray
    names: list[str]
    rate: float
    start: int
    n_samples: int
    header: Header

    def millivolts(self) -> np.ndarray:
        """(T, n) float64 mV, NaN where a sample is marked as missing."""
        baselines = self.baselines.astype(float)
        values = (self.digital - baselines if baselines.any() else self.digital) * self.factors
        gaps = self.digital == self.invalid
        if gaps.any():
            values[gaps] = np.nan
        return values

    def microvolts(self) -> np.ndarray | None:
        """(T, n) int16: the stored numbers, where they are uV without a gap; None where not."""
        plain = self.digital.dtype == np.int16 and (self.invalid == INVALID_SAMPLE).all()
        if not plain or self.baselines.any() or (self.factors != MV_PER_UV).any():
            return None
        return None if (self.digital == INVALID_SAMPLE).any() else self.digital


def record_path(path: str | Path) -> Path | None:
    """The record (no suffix) that `path` names by its .hea, .dat, .mat, .xyz or without a suffix;
    None where there is no header.
    """
    whole = os.fspath(path)
    stem, suffix = os.path.splitext(whole)
    for candidate in (stem,) if suffix == ".hea" else (whole, stem):
        if os.path.basename(candidate) and os.path.isfile(f"{candidate}.hea"):
            return Path(candidate)
    return None


def read_wfdb(path: str | Path, asked: Asked = NOTHING) -> WfdbSignals:
    """Read the leads of the record `path` (no suffix), all of it or the stretch that is asked for;
    a rate and a unit that are given take the place of the header's.

    Raises RecordError where the record is damaged, uncalibrated (gain 0) or not in volts.
    """
    header = read_header(path)
    names = [signal.name for signal in header.signals]
    try:
        if asked.lead_names:
            names = check_lead_names(asked.lead_names, len(names), path)
        columns = sorted(lead_positions(names, path).values())
    except UserError as error:
        raise RecordError("wrong leads", str(error)) from None
    if not columns:
        raise RecordError(
            "wrong leads",
            f"{path} has {', '.join(map(str, names))}, none of the leads {', '.join(LEADS)}: "
            "--lead_names says what they are",
        )
    signals = [header.signals[column] for column in columns]
    forms = {signal.format for signal in signals}
    if NULL in forms:
        columns, signals = _without_nulls(columns, signals, path)
        forms.discard(NULL)
    factors = np.array([_factor(signal, asked.unit, path) for signal in signals])
    per_frame = {signal.per_frame for signal in signals}
    if len(per_frame) > 1:
        raise RecordError(
            "unreadable", f"{path} has leads of {len(per_frame)} sampling rates, which are not read"
        )
    rate = asked.rate or header.rate * per_frame.pop()
    if rate <= 0:
        raise RecordError("wrong sampling rate", f"{path}.hea says {rate:g} Hz")
    read = _read_plain if forms <= set(TYPES) else _read_packed
    if any(signal.skew for signal in signals):
        read = _aligned_by(read)
    start = round(asked.start * rate)
    count = None if asked.seconds is None else round(asked.seconds * rate)
    digital, n_samples = read(path, header, columns, start, count)
    return WfdbSignals(
        digital,
        _invalid_of(signals),
        np.array([signal.baseline for signal in signals]),
        factors,
        [names[column] for column in columns],
        rate,
        start,
        n_samples,
        header,
    )


def _without_nulls(columns, signals, path):
    """The columns and signals that are not null signals, which have a line in the header alone."""
    kept = [k for k, signal in enumerate(signals) if signal.format != NULL]
    if not kept:
        raise RecordError(
            "wrong leads", f"{path}.hea has null signals alone (format 0): no samples"
        )
    return [columns[k] for k in kept], [signals[k] for k in kept]


def _invalid_of(signals):
    """The stored number (n,) that marks a gap."""
    return np.array([INVALID_SAMPLES.get(signal.format, INVALID_SAMPLE) for signal in signals])


def _aligned_by(read):
    """A reader as `read` that puts signals in time which the header says to be skewed: that many
    frames of a file lie before the signal's first sample. Where its file ends there is a gap.
    """

    def aligned(path, header, columns, start, count):
        signals = [header.signals[column] for column in columns]
        stored, n_samples = read(path, header, columns, 0, None)
        shifted = np.empty(stored.shape, np.int64)
        shifted[:] = _invalid_of(signals)
        for k, signal in enumerate(signals):
            shift = signal.skew * signal.per_frame
            there = stored[max(shift, 0) : max(len(stored) + min(shift, 0), 0), k]
            begin = max(-shift, 0)
            shifted[begin : begin + len(there), k] = there
        picked = shifted[start : None if count is None else start + count]
        if not len(picked):
            raise _over(path)
        return picked, n_samples

    return aligned


def _over(path):
    return RecordError("truncated", f"{path} lasts no longer than the start that was asked for")


def _factor(signal: SignalLine, unit, path):
    """mV per stored unit."""
    if signal.gain == 0:
        raise RecordError(
            "not calibrated",
            f"{path}.hea gives no gain for {signal.name} (0 means unknown): write the units per mV "
            "into the header",
        )
    per_unit = mv_per(unit or signal.unit)
    if per_unit is None:
        raise RecordError(
            "wrong unit", f"{path} is in {signal.unit} ({signal.name}), not in mV, uV, nV or V"
        )
    return per_unit / signal.gain


def _read_plain(path, header, columns, start, count):
    """Interleaved int16: the samples (T, n) from `start` on, and how many there
    are.
    """
    parts, n_samples = [], None
    for file in dict.fromkeys(header.signals[column].file for column in columns):
        members = [k for k, signal in enumerate(header.signals) if signal.file == file]
        wanted = [column for column in columns if header.signals[column].file == file]
        values, whole = _plain_file(path, header, file, members, wanted, start, count)
        n_samples = whole if n_samples is None else min(n_samples, whole)
        parts.append((wanted, values))
    length = min(len(values) for _, values in parts)
    if length == 0:
        raise _over(path)
    if len(parts) == 1:
        return parts[0][1], n_samples
    digital = np.empty((length, len(columns)), np.int16)
    for wanted, values in parts:
        digital[:, [columns.index(column) for column in wanted]] = values[:length]
    return digital, n_samples


def _plain_file(path, header, file, members, wanted, start, count):
    data = os.path.join(os.path.dirname(path), file)
    formats = {header.signals[k].format for k in members}
    if len(formats) > 1:
        raise RecordError("unreadable", f"{data} mixes formats")
    frame = sum(header.signals[k].per_frame for k in members)  # samples
    offset = header.signals[members[0]].offset
    per_frame = header.signals[wanted[0]].per_frame
    with open_data(data) as opened:
        n_bytes = size_of(opened) - offset
        n_frames = header.n_frames or n_bytes // (2 * frame)
        if n_bytes < 2 * frame * n_frames:
            raise RecordError(
                "truncated", f"{data} holds {n_bytes} bytes of {2 * frame * n_frames}"
            )
        first, last = 0, n_frames
        if n_bytes > WHOLE_BYTES:
            first = min(start // per_frame, n_frames)
            last = n_frames if count is None else min(-(-(start + count) // per_frame), n_frames)
        opened.seek(offset + 2 * frame * first)
        digital = read_numbers(opened, TYPES[formats.pop()], (last - first, frame))
    picked = _signals_of(digital, header, members, wanted)
    if first == 0 and last == n_frames:
        _check_signals(picked, header, wanted)
    skip = start - first * per_frame
    end = None if count is None else skip + count
    return picked[skip:end], n_frames * per_frame


def open_data(path: str) -> FileIO:
    """Open a file of samples; RecordError where that cannot be done."""
    try:
        return open_file(path)
    except OSError:
        raise RecordError("data file missing", f"{path} cannot be opened") from None


def read_numbers(file: FileIO, kind: str, shape: tuple[int, int]) -> np.ndarray:
    """An array of whole numbers of a `kind` of numpy's, from where the file stands; there must be
    as many. Fewer calls of the system than numpy.fromfile makes.
    """
    numbers = np.empty(shape, kind)
    left = memoryview(numbers.reshape(-1).view(np.uint8))
    while left and (n_read := file.readinto(left)):  # above 2 GB in several parts
        left = left[n_read:]
    if left:
        raise RecordError("truncated", f"{file.name} ended while it was read")
    return numbers


def _signals_of(frames, header, members, wanted):
    """Samples (T, wanted) of frames that hold all `members`; a view where nothing is left out."""
    if wanted == members and all(header.signals[k].per_frame == 1 for k in members):
        return frames
    edges = np.cumsum([0, *(header.signals[k].per_frame for k in members)])
    picked = []
    for k in wanted:
        first = edges[members.index(k)]
        picked.append(frames[:, first : first + header.signals[k].per_frame].reshape(-1))
    return np.stack(picked, axis=1)


def _read_packed(path, header, columns, start, count):
    """Other formats, beside 16 and 61 or alone: as `_read_plain`."""
    of_kinds = {_read_plain: [], _read_through_wfdb: []}
    for column in columns:
        plain = header.signals[column].format in TYPES
        of_kinds[_read_plain if plain else _read_through_wfdb].append(column)
    parts = [
        (wanted, *read(path, header, wanted, start, count))
        for read, wanted in of_kinds.items()
        if wanted
    ]
    n_samples = min(n for _, _, n in parts)
    if len(parts) == 1:
        return parts[0][1], n_samples
    length = min(len(values) for _, values, _ in parts)
    digital = np.empty((length, len(columns)), np.int64)
    for wanted, values, _ in parts:
        digital[:, [columns.index(column) for column in wanted]] = values[:length]
    return digital, n_samples


def _through_wfdb(path, header, first, last, columns):
    """What wfdb reads. It knows no null signals: of a header with some it gets one without."""
    import wfdb

    options = {"sampfrom": first, "sampto": last, "physical": False}
    options |= {"smooth_frames": False, "ignore_skew": True}
    nulls = [k for k, signal in enumerate(header.signals) if signal.format == NULL]
    if not nulls:
        return wfdb.rdrecord(str(path), channels=columns, **options)
    lines, _ = lines_and_comments(read_header_bytes(f"{path}.hea").decode("utf-8", "replace"))
    top = lines[0].split()
    top[:2] = ["plain", str(len(header.signals) - len(nulls))]
    kept = [line for k, line in enumerate(lines[1:]) if k not in nulls]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "plain.hea").write_text("\n".join([" ".join(top), *kept]) + "\n")
        for file in {header.signals[column].file for column in columns}:
            Path(folder, file).symlink_to((Path(path).parent / file).resolve())
        channels = [column - sum(null < column for null in nulls) for column in columns]
        return wfdb.rdrecord(f"{folder}/plain", channels=channels, **options)


def _read_through_wfdb(path, header, columns, start, count):
    """Other formats, by wfdb: as `_read_plain`."""
    per_frame = header.signals[columns[0]].per_frame
    n_frames = header.n_frames
    for file in {header.signals[column].file for column in columns}:
        data = Path(path).parent / file
        if not data.is_file():
            raise RecordError("data file missing", f"{data} cannot be opened")
        if n_frames * per_frame > MOST_PER_BYTE * data.stat().st_size:
            raise RecordError("truncated", f"{data} does not hold {n_frames * per_frame} samples")
    small = 4 * n_frames * sum(signal.per_frame for signal in header.signals) < WHOLE_BYTES
    forms = {header.signals[column].format for column in columns}
    differences = "8" in forms  # a sample needs all before it
    first, last = 0, n_frames or None
    if not small and not differences:
        first = min(start // per_frame, n_frames)
        last = n_frames if count is None else min(-(-(start + count) // per_frame), n_frames)
    if unknown := sorted(forms - {*TYPES, *THROUGH_WFDB}):
        raise RecordError("unreadable", f"{path} is in format {unknown[0]}, which is none of WFDB")
    try:
        record = _through_wfdb(path, header, first, last, columns)
    except Exception as error:
        raise RecordError("unreadable", f"{path}: {type(error).__name__}: {error}") from None
    digital = np.stack(record.e_d_signal, axis=1)
    last = last or len(digital) // per_frame
    if len(digital) < (last - first) * per_frame:
        raise RecordError(
            "truncated", f"{path} holds {len(digital)} of {(last - first) * per_frame} samples"
        )
    if small:
        _check_signals(digital, header, columns)
    skip = start - first * per_frame
    picked = digital[skip : None if count is None else skip + count]
    if not len(picked):
        raise _over(path)
    return picked, (n_frames or last) * per_frame


def sums_of(digital: np.ndarray) -> np.ndarray:
    """Sums (n,) of the columns of whole numbers (T, n), modulo 65536.

    int16 is added as it is, which wraps modulo 65536, and 64 samples of all columns at once.
    """
    if digital.dtype.itemsize > 2:
        return (np.ones(len(digital)) @ digital.astype(float)).astype(np.int64) & 0xFFFF
    n_samples, n = digital.shape
    at_once = n_samples // WIDE * WIDE
    sums = digital[at_once:].sum(axis=0, dtype=np.int16)
    wide = np.ascontiguousarray(digital[:at_once]).reshape(-1, WIDE * n)
    rows = np.add.reduce(wide, axis=0, dtype=np.int16).reshape(WIDE, n)
    return (sums + rows.sum(axis=0, dtype=np.int16)).astype(np.int64) & 0xFFFF


def _check_signals(digital, header, columns):
    """`check_sums` of the signals `columns` of a header."""
    signals = [header.signals[column] for column in columns]
    check_sums(digital, [one.checksum for one in signals], [one.name for one in signals])


def check_sums(digital: np.ndarray, stated: Sequence[int | None], names: Sequence[str]) -> None:
    """RecordError where the sum of a signal's samples (T, n), modulo 65536, is not the one that its
    header states (None: it states none).
    """
    if not any(stated):
        return  # all 0: a writer's way of leaving them out
    wrong = [
        name
        for total, checksum, name in zip(sums_of(digital), stated, names, strict=True)
        if checksum is not None and (int(total) - checksum) & 0xFFFF
    ]
    if wrong:
        raise RecordError(
            "checksum",
            f"the samples of {', '.join(wrong)} are not those the header was written for",
        )
