"""Where an import's recordings come from: a folder of files, one HDF5 file, or an array.

Each source names its recordings and reads one at a time, or stretches of a long one, so that
memory is bounded.
"""

import contextlib
import fnmatch
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.files import UserError
from common.labels import LEADS
from records import array_files, csv_files, hdf5_files
from records.array_files import largest_array, standard_leads
from records.readers import READERS, read_recording
from records.recording import Asked, Columns, Recording, from_columns, refuse_other_formats
from records.stored_arrays import StoredArray
from records.vendor_files import looks_like_one
from records.wfdb_segments import whole_records

NOTES = ("readme", "license", "copying", "records", "sha256sums", "index", "changelog")
# collections with a folder for each patient -> how these are called below the folder that is given
OF_PATIENTS = {
    "PTB Diagnostic": re.compile(r"(?:.*/)?(patient\d{3})"),
    "Icentia11k": re.compile(r"(?:.*/)?p\d\d/(p\d{5})"),
    "MIMIC-IV-ECG": re.compile(r"(?:.*/)?p\d{4}/(p\d{8})/s\d+"),
}
MOST_SIGNALS = 16  # of a recording: an axis that is longer counts recordings or samples
BLOCK_SECONDS = 600.0  # of a long recording are read at once


class Source(NamedTuple):
    """names of the recordings;  read(number, asked) -> Recording, or UserError
    folders  that each one's file lies in, below the folder of all; none of an array
    """

    names: list[str]
    read: Callable[[int, Asked], Recording]
    folders: tuple[str, ...] = ()

    def only(self, names: Sequence[str]) -> "Source":
        """The recordings of these names, in this order."""
        place = {name: number for number, name in enumerate(self.names)}
        places = [place[name] for name in names]
        folders = tuple(self.folders[number] for number in places) if self.folders else ()
        return Source(list(names), lambda number, asked: self.read(places[number], asked), folders)

    def stretches(
        self, number: int, asked: Asked, seconds: float, every: float
    ) -> Iterator[tuple[float, Recording | UserError]]:
        """(start in s, what is read there) of `seconds` each `every` s of a recording, from
        `asked.start` on, as long as they are whole; the first in any case.

        asked  with the seconds to read of each, which may be some more
        """
        first = self._tried(number, asked)
        if isinstance(first, UserError):  # how long the recording is, is not known
            yield asked.start, UserError(f"{first}; its other stretches are not read either")
            return
        yield asked.start, first
        starts = np.arange(asked.start + every, first.seconds - seconds + 1e-6, every)
        at_once = max(int((BLOCK_SECONDS - seconds) // every) + 1, 1)
        for k in range(0, len(starts), at_once):
            yield from self._together(number, asked, starts[k : k + at_once].tolist())

    def _together(self, number, asked, starts):
        """Stretches that are read at once."""
        span = starts[-1] - starts[0] + asked.seconds
        block = self._tried(number, replace(asked, start=starts[0], seconds=span))
        if isinstance(block, UserError) and len(starts) > 1:  # one gap does not lose the others
            for start in starts:
                yield from self._together(number, asked, [start])
            return
        for start in starts:
            yield start, block if isinstance(block, UserError) else _part(block, start, asked)

    def _tried(self, number, asked):
        try:
            return self.read(number, asked)
        except UserError as error:
            return error


def _part(block, start, asked):
    """The stretch of a longer one that begins at `start`."""
    first = round((start - block.start) * block.rate)
    values = block.values[first : first + round(asked.seconds * block.rate)]
    return block._replace(values=values, start=start)


def open_source(
    path: str | Path, asked: Asked, match: str = "*", table: str | None = None
) -> Source:
    """The recordings at `path`; UserError where there are none.

    table  a file of the folder that is no recording
    """
    path = Path(path)
    if path.is_dir():
        source = _folder(path, asked, match, table and Path(table).resolve())
    elif not path.is_file():
        raise UserError(f"{path} does not exist: --records names a folder or a file")
    elif path.suffix.lower() in hdf5_files.SUFFIXES:
        source = _hdf5([path], asked)
    else:
        refuse_other_formats(path)
        source = _array(path, asked)

    if unnamed := [name for name in source.names if not _is_utf8(name)]:
        raise UserError(f"{path}: the name {unnamed[0]!r} is not UTF-8: rename the file")
    if twice := [name for name, count in Counter(source.names).items() if count > 1]:
        raise UserError(f"{path} has the recording {twice[0]} twice")

    def read(number: int, asked: Asked) -> Recording:
        try:
            return source.read(number, asked)
        except UserError as error:  # the import's own name of the option
            raise UserError(str(error).replace("--record_rate", "--signal_rate")) from None

    return source._replace(read=read)


def _is_utf8(name):
    """Whether a name can be written into a table."""
    with contextlib.suppress(UnicodeEncodeError):
        return name.isascii() or bool(name.encode())
    return False


def files_below(folder: str | Path) -> list[str]:
    """Paths of all files of a folder and those in it, in order; rglob takes several times as long:
    it asks for each file what the folder's list says already.
    """
    found, folders = [], [os.fspath(folder)]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue  # a folder of somebody else's
        folders += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        found += [entry.path for entry in entries if entry.is_file()]
    return sorted(found, key=lambda path: path.split(os.sep))


def _folder(folder, asked, match, table):
    """WFDB records by their headers; else HDF5 files together; else files by themselves."""
    files = [Path(path) for path in files_below(folder)]
    files = [path for path in files if not _is_note(path) and not _is_same(path, table)]
    endings = {path: path.suffix for path in files}  # a Path looks for it each time it is asked
    samples = {os.path.splitext(path)[0] for path in files if endings[path] in (".dat", ".mat")}
    headers = whole_records([path for path in files if endings[path] == ".hea"], samples)
    parts = [path for path in files if endings[path].lower() in hdf5_files.SUFFIXES]
    single = READERS.keys() - set(hdf5_files.SUFFIXES)
    others = [path for path in files if endings[path].lower() in single]
    if not (headers or parts or others):  # DICOM often has no suffix
        others = [path for path in files if looks_like_one(path)]
    chosen = headers or parts or others
    chosen = [path for path in chosen if fnmatch.fnmatch(path.stem, match)]
    if not chosen:
        for path in files:
            refuse_other_formats(path)
        raise UserError(
            f"{folder} holds no recording that matches {match}: a WFDB header (.hea) or a file "
            f"that ends in {', '.join(READERS)}"
        )
    _say_unread(folder, files, headers, parts, others)
    if not headers and parts:
        return _hdf5(chosen, asked)
    known = {".hea", *READERS}
    names = [path.stem if endings[path].lower() in known else path.name for path in chosen]
    if len(set(names)) < len(names):  # ecg.csv in many folders: with the folder
        whole = [path.relative_to(folder) for path in chosen]
        names = [str(one.with_suffix("") if one.suffix.lower() in known else one) for one in whole]
    if len(set(names)) < len(names):
        names = [str(path.relative_to(folder)) for path in chosen]
    folders = tuple(os.path.dirname(os.path.relpath(path, folder)) for path in chosen)
    return Source(names, lambda number, asked: read_recording(chosen[number], asked), folders)


def patients_of_folders(folders: Sequence[str]) -> tuple[list[str], str] | None:
    """The patient of each recording where the folders are those of a collection that has one for
    each patient, and that collection's name; None where they are not, all of them.
    """
    for collection, pattern in OF_PATIENTS.items():
        found = [pattern.fullmatch(folder.replace(os.sep, "/")) for folder in folders]
        if found and all(found):
            return [match[1] for match in found], collection
    return None


def _is_same(path, table):
    return table is not None and path.name == table.name and path.resolve() == table


def _is_note(path):
    """Whether a file is what publishers put beside recordings: README.txt, LICENSE.txt, ..."""
    return path.suffix.lower() in (".txt", ".csv", "") and path.stem.lower() in NOTES


def _say_unread(folder, files, headers, parts, others):
    """Recordings of other formats beside those that are read: one kind is read at a time. Text
    beside records is taken for tables.
    """
    left = parts + others if headers else others if parts else []
    left = [path for path in left if path.suffix.lower() not in csv_files.SUFFIXES]
    records = {path.with_suffix("") for path in headers} if left else set()
    left = [path for path in left if path.with_suffix("") not in records]
    if left:
        kind = "WFDB records" if headers else "HDF5 files"
        print(
            f"warning: of {folder} the {kind} are read, and {len(left)} other files are not, the "
            f"first: {left[0].name}",
            file=sys.stderr,
        )


def _hdf5(paths, asked):
    """The recordings of one or several HDF5 files, read in blocks."""
    places, names = [], []
    for path in paths:
        found = hdf5_files.describe(path)
        unit = asked.unit or hdf5_files.find_unit(path, found, asked)
        places += [(path, found, unit, row) for row in range(len(found.ids))]
        names += _names_of(path, found, len(paths))

    def read(number: int, asked: Asked) -> Recording:
        path, found, unit, row = places[number]
        return next(iter(hdf5_files.read_tracings(path, found, [row], replace(asked, unit=unit))))

    return Source(names, read)


def _names_of(path, found, n_files):
    """What a file calls its recordings, else by the file's own name: Shandong's have one each."""
    if found.named or (n_files == 1 and len(found.ids) > 1):
        return found.ids
    return [path.stem if len(found.ids) == 1 else f"{path.stem}/{number}" for number in found.ids]


def _array(path, asked):
    """(N, T, leads), (N, leads, T) or (leads, T, N) of one file, in the usual order of the leads,
    or as --lead_names has it.
    """
    if path.suffix.lower() not in array_files.SUFFIXES:
        return Source([path.stem], lambda number, asked: read_recording(path, asked))
    values, said = largest_array(path)
    if isinstance(values, StoredArray):
        values = values[0 : len(values)]
    if values.dtype.kind not in "iuf":
        raise UserError(f"{path} holds {values.dtype}: expected numbers (samples in mV)")
    if values.ndim == 2:  # recordings of the one lead that is named, or one recording
        values = values[..., None] if len(asked.lead_names or ()) == 1 else values[None]
    rate = asked.rate or said.get("rate")
    if rate is None:
        raise UserError(f"{path} does not say its sampling rate: give --signal_rate in Hz")
    if values.ndim != 3:
        raise UserError(f"{path} is {values.shape}: expected (recordings, samples, leads)")
    names = asked.lead_names or said.get("leads")
    n_leads = (len(names),) if names else (8, len(LEADS))
    if values.shape[2] not in n_leads and values.shape[1] in n_leads:  # as networks take them
        values = values.transpose(0, 2, 1)
    elif values.shape[0] in n_leads and values.shape[2] > MOST_SIGNALS:
        values = values.transpose(2, 1, 0)
    names = list(names or standard_leads(values.shape[2], path))
    if len(names) != values.shape[2]:
        raise UserError(f"{path} has {values.shape[2]} signals and {len(names)} names of leads")

    def read(number: int, asked: Asked) -> Recording:
        columns = Columns(values[number], names, rate, [said.get("unit")] * len(names))
        return from_columns(columns, f"recording {number} of {path}", asked)

    return Source([str(number + 1) for number in range(len(values))], read)
