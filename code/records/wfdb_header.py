"""The text of a WFDB header (.hea): what it says of the record, its signals and its patient.

Format: https://physionet.org/physiotools/wag/header-5.htm. Headers that name the data file in the
record line (`E00271.mat 12 500 5000`), as a part of CinC 2020 and 2021 does, are understood.
"""

import math
import os
import re
import stat
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from common.files import is_inside


class RecordError(Exception):
    """A record that cannot be used: `kind` groups records in messages, `detail` says what was
    found.
    """

    def __init__(self, kind: str, detail: str):
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


class SignalLine(NamedTuple):
    """One signal of a record, as its line in the header has it (checksum None: not stated)."""

    file: str
    format: str
    per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    unit: str
    checksum: int | None
    name: str


class Header(NamedTuple):
    """A whole header.

    rate       Hz of the frames
    n_frames   0 where it is not stated
    comments   the lines behind #
    """

    rate: float
    n_frames: int
    signals: list[SignalLine]
    comments: list[str]


_RECORD = re.compile(
    r"^(?P<name>\S+)\s+(?P<signals>\d+)(?:\s+(?P<rate>[\d.eE+]+)(?:/\S+)?(?:\s+(?P<frames>\d+))?)?"
)
_SIGNAL = re.compile(
    r"^(?P<file>\S+)\s+(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>-?\d+))?"
    r"(?:\+(?P<offset>\d+))?"
    r"(?:\s+(?P<gain>[-+.\deE]+)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?"
    r"(?:\s+\d+(?:\s+(?P<zero>-?\d+)(?:\s+-?\d+(?:\s+(?P<checksum>-?\d+)"
    r"(?:\s+\d+(?:\s+(?P<name>.*\S))?)?)?)?)?)?)?\s*$"
)
LARGEST = 2**40  # no count of samples, no number of a converter is larger
MAX_BYTES = 10_000_000  # of a header
SEGMENTED = "several segments"  # the kind of error of a record that wfdb_segments.py reads
NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # Windows has no pipes among files
DEFAULT_RATE = 250.0  # WFDB's, where a header gives none


def read_header(path: str | Path) -> Header:
    """Read `path`.hea (no suffix); RecordError where it is missing or not a header."""
    try:
        text = read_header_bytes(f"{path}.hea").decode("utf-8", "replace")
    except OSError:
        raise RecordError("header missing", f"{path}.hea cannot be opened") from None
    return parse_header(text, path)


def read_header_bytes(path: str) -> bytes:
    """The bytes of a header; OSError where there is none, or what is there is no file."""
    with open_file(path) as file:
        return file.read(min(size_of(file), MAX_BYTES))  # room is made for as much as is asked for


def open_file(path: str) -> FileIO:
    """Open a file to read its bytes as they are; OSError where there is none, or what is there is
    no file: a pipe would be waited for.
    """
    return open(path, "rb", buffering=0, opener=_opened)


def _opened(path, flags):
    descriptor = os.open(path, flags | NO_WAIT)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError(path)


def size_of(file: FileIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def lines_and_comments(text: str) -> tuple[list[str], list[str]]:
    """The lines of a header that are not blank, and the comments among them without their #."""
    text = text.removeprefix("\ufeff")  # an editor's mark
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    comments = [line.lstrip("# ").strip() for line in lines if line.startswith("#")]
    return [line for line in lines if not line.startswith("#")], comments


def parse_header(text: str, path: str | Path) -> Header:
    """The content of a header; `path` is what messages call it."""
    lines, comments = lines_and_comments(text)
    top = _RECORD.match(lines[0]) if lines else None
    if top is None:
        raise RecordError("unreadable", f"{path}.hea is not a WFDB header")
    if "/" in top["name"]:
        raise RecordError(SEGMENTED, f"{path} is in several segments, which are not read here")
    found = [_SIGNAL.match(line) for line in lines[1:]]
    if not found or None in found or str(len(found)) != top["signals"].lstrip("0"):
        raise RecordError(
            "unreadable", f"{path}.hea announces {top['signals']} signals and describes others"
        )
    try:
        rate = float(top["rate"] or DEFAULT_RATE)
        signals = [_signal_line(match) for match in found]
        n_frames = int(top["frames"] or 0)
    except ValueError:
        raise RecordError("unreadable", f"{path}.hea holds something that is no number") from None
    numbers = [rate, *(signal.gain for signal in signals)]
    if not all(map(math.isfinite, numbers)) or _largest(n_frames, signals) > LARGEST:
        raise RecordError("unreadable", f"{path}.hea holds a number that cannot be")
    files = dict.fromkeys(one.file for one in signals)
    if outside := [file for file in files if not is_inside(file) or "/" in file]:
        raise RecordError(
            "outside the folder",
            f"{path}.hea names the data file {outside[0]!r}, which is not in its folder",
        )
    return Header(rate, n_frames, signals, comments)


def _largest(n_frames, signals):
    """The largest whole number of a header, whatever its sign."""
    found = [n_frames]
    for one in signals:
        found += [one.per_frame, one.skew, one.offset, one.baseline]
    return max(map(abs, found))


def _signal_line(match):
    file, form, per_frame, skew, offset, gain, baseline, unit, zero, checksum, name = match.groups()
    return SignalLine(
        file=file,
        format=form,
        per_frame=int(per_frame or 1),
        skew=int(skew or 0),
        offset=int(offset or 0),
        gain=float(gain or 0),
        baseline=int(baseline or zero or 0),
        unit=unit or "mV",
        checksum=int(checksum) if checksum else None,
        name=name or "",
    )


def said_in_comments(comments: list[str]) -> dict[str, str]:
    """'Age: 74' -> {'age': '74'}: the comments that are a word, a colon and a value."""
    said = {}
    for line in comments:
        key, colon, value = line.partition(":")
        key = key.removeprefix("<").strip().removesuffix(">").strip()
        if colon and re.fullmatch(r"[A-Za-z][\w ]*", key):
            said[key.lower()] = value.strip()
    return said
