"""Which reader a file is read with: `read_recording`, for --record and the import alike."""

import contextlib
import os
from pathlib import Path

from common.files import UserError
from common.labels import LEADS
from records import array_files, csv_files, hdf5_files, vendor_files
from records.hdf5_files import file_and_id
from records.lead_names import arrange, lead_positions
from records.recording import NOTHING, Asked, Recording, refuse_other_formats
from records.resampling import check_rate
from records.wfdb_any import read_wfdb, record_path
from records.wfdb_header import SEGMENTED, RecordError, read_header, said_in_comments
from records.wfdb_segments import GAP, read_segments, read_segments_header

# suffix -> reader (path, Asked) -> Recording; .mat with a WFDB header beside it is a WFDB record
READERS = {
    **dict.fromkeys(csv_files.SUFFIXES, csv_files.read_csv_recording),
    **dict.fromkeys(array_files.SUFFIXES, array_files.read_array_recording),
    **dict.fromkeys(hdf5_files.SUFFIXES, hdf5_files.read_hdf5_recording),
    **dict.fromkeys(vendor_files.SUFFIXES, vendor_files.read_vendor_recording),
}


def read_recording(path: str | Path, asked: Asked = NOTHING) -> Recording:
    """Read a recording of any known format; UserError where it is missing, damaged or unclear."""
    file, _ = file_and_id(path)
    found = _wfdb_record(file)
    suffix = Path(file).suffix.lower()
    if asked.part and asked.part > 1:
        _check_part(path, asked.part, found, suffix)
    if found is not None:
        return read_wfdb_recording(found, asked)
    if suffix in READERS and not Path(path).is_dir():
        return READERS[suffix](path, asked)
    if Path(path).is_file() and vendor_files.looks_like_one(path):
        return vendor_files.read_vendor_recording(path, asked)
    if Path(path).is_dir():
        raise UserError(
            f"{path} is a folder: name one recording in it (import_records.py takes all)"
        )
    refuse_other_formats(path)
    kinds = f"a recording is a WFDB record, or a file that ends in {', '.join(READERS)}"
    if Path(path).is_file() and suffix == ".json":
        raise UserError(
            f"{path} is JSON of a kind that is not read: of JSON, AliveCor's (Kardia) of one or "
            "six leads is; save others as csv"
        )
    if Path(path).is_file() and suffix not in (".dat", ".hea"):
        raise UserError(f"{path} is in a format that is not read: save it as csv; {kinds}")
    name = Path(path).with_suffix("") if suffix in (".dat", ".hea") else Path(path)
    raise UserError(f"{name}.hea does not exist: {kinds}")


def _wfdb_record(file):
    """The WFDB record that `file` is of; None where it is a file of another format, whatever header
    lies beside it.
    """
    suffix = os.path.splitext(file)[1].lower()
    if suffix in READERS and suffix != ".mat" and os.path.isfile(file):
        of_wfdb = suffix in vendor_files.SUFFIXES and not vendor_files.looks_like_one(file)
        return record_path(file) if of_wfdb else None
    return record_path(file)


def _check_part(path, part, wfdb_record, suffix):
    """UserError where another part is asked for than the first of a file that has none."""
    if wfdb_record is not None or (suffix in READERS and suffix not in vendor_files.SUFFIXES):
        vendor_files.check_part(path, part)


def files_of(path: str | Path) -> list[Path]:
    """The files that a recording which can be read lies in: header and data of a WFDB record, those
    of its segments too; else the file itself.
    """
    file, _ = file_and_id(path)
    record = _wfdb_record(file)
    if record is None:
        return [Path(file)]
    segments = read_segments_header(record)
    if segments is None:
        return _header_and_data(record)
    files = [Path(f"{record}.hea")]
    for name in dict.fromkeys(name for name, _ in segments.parts if name != GAP):
        with contextlib.suppress(RecordError):  # a segment beyond the stretch need not be there
            files += _header_and_data(record.with_name(name))
    return files


def _header_and_data(record):
    named = dict.fromkeys(signal.file for signal in read_header(record).signals)
    return [Path(f"{record}.hea"), *filter(Path.is_file, map(record.with_name, named))]


def read_wfdb_recording(path: Path, asked: Asked) -> Recording:
    """Read the WFDB record `path` (no suffix), which may be in several segments."""
    try:
        read = _read_whole(path, asked)
    except RecordError as error:
        raise UserError(f"{path} cannot be used ({error})") from None
    recording = read if isinstance(read, Recording) else _in_order(read, path)
    if asked.annotations:
        from records.rhythm_marks import read_marks  # rarely asked for

        recording.facts["marks"] = read_marks(path, asked.annotations, asked.rate)
    return recording


def _in_order(read, path):
    """The signals of an ordinary record in the order of LEADS, in mV."""
    check_rate(read.rate, path)
    positions = lead_positions(read.names, path)
    stored = read.microvolts() if len(positions) == len(LEADS) else None
    values = arrange(read.millivolts() if stored is None else stored, positions)
    return Recording(
        values,
        read.rate,
        "mV",
        read.start / read.rate,
        read.n_samples / read.rate,
        said_in_comments(read.header.comments),
        tuple(read.names),
    )


def _read_whole(path, asked):
    """The signals of an ordinary record, or the recording that several segments make."""
    try:
        return read_wfdb(path, asked)
    except RecordError as error:
        segments = read_segments_header(path) if error.kind == SEGMENTED else None
        if segments is None:
            raise
    check_rate(asked.rate or segments.rate, path)
    return read_segments(path, segments, asked)
