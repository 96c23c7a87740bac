"""WFDB records in several segments, as Holter and intensive-care recorders write them: each segment
is a record of its own, `~` a gap, and a segment without samples only says which leads there are.

Format: https://physionet.org/physiotools/wag/header-5.htm, "multi-segment records".
"""

import os
import re
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.files import is_inside, need_memory
from common.labels import LEADS
from records.lead_names import arrange, lead_positions
from records.recording import Asked, Recording
from records.wfdb_any import read_wfdb
from records.wfdb_header import (
    LARGEST,
    RecordError,
    lines_and_comments,
    read_header_bytes,
    said_in_comments,
)

_TOP = re.compile(
    r"^(?P<name>\S+)/(?P<segments>\d+)\s+\d+\s+(?P<rate>[\d.]+)(?:/\S+)?(?:\s+(?P<frames>\d+))?"
)
_SEGMENT = re.compile(r"^(\S+)\s+(\d+)\s*$")
_MANY = re.compile(rb"^[^#\s/]\S*/\d+\s", re.M)  # a line `name/number of segments`
TOP_BYTES = 4096
GAP = "~"
NO_LEADS = "wrong leads"  # the kind of error of a record that has none


class Segments(NamedTuple):
    """rate  Hz;  parts  (record's name or ~, samples) in their order;  comments  of the head"""

    rate: float
    parts: list[tuple[str, int]]
    comments: list[str]


def read_segments_header(path: str | Path) -> Segments | None:
    """The segments of the record `path` (no suffix); None where it is an ordinary one."""
    try:
        text = read_header_bytes(f"{path}.hea").decode("utf-8", "replace")
    except OSError:
        return None
    lines, comments = lines_and_comments(text)
    top = _TOP.match(lines[0]) if lines else None
    if top is None:
        return None
    found = [_SEGMENT.match(line) for line in lines[1:]]
    if None in found or len(found) != int(top["segments"]):
        raise RecordError(
            "unreadable", f"{path}.hea announces {top['segments']} segments and describes others"
        )
    parts = [(match[1], int(match[2])) for match in found]
    try:
        rate = float(top["rate"])
    except ValueError:
        rate = 0.0
    if rate <= 0 or sum(n for _, n in parts) > LARGEST:
        raise RecordError("unreadable", f"{path}.hea holds a number that cannot be")
    outside = [name for name, _ in parts if name != GAP and (not is_inside(name) or "/" in name)]
    if outside:
        raise RecordError(
            "outside the folder",
            f"{path}.hea names the segment {outside[0]!r}, which is not in its folder",
        )
    return Segments(rate, parts, comments)


def whole_records(headers: Sequence[Path], plain: Container[str] = ()) -> list[Path]:
    """The headers without those of segments of another record among them, and without those that
    say of segments which leads there are (no samples).

    plain  records (no suffix) with samples of their own, which therefore have no segments
    """
    parts: set[Path] = set()
    for header in headers:
        if os.path.splitext(header)[0] in plain:
            continue
        with open(header, "rb") as file:
            head = file.read(TOP_BYTES)
        if not _MANY.search(head):
            continue
        try:
            found = read_segments_header(header.with_suffix(""))
        except RecordError:
            continue  # refused when it is read, by its name
        names = [name for name, _ in found.parts if name != GAP] if found else []
        parts.update(header.with_name(f"{name}.hea") for name in names)
    return [header for header in headers if header not in parts]


def read_segments(path: Path, segments: Segments, asked: Asked) -> Recording:
    """The stretch that was asked for, NaN where there is a gap or a segment lacks a lead."""
    rate, total = asked.rate or segments.rate, sum(n for _, n in segments.parts)
    first = round(asked.start * rate)
    last = total if asked.seconds is None else min(first + round(asked.seconds * rate), total)
    if first >= total:
        raise RecordError("truncated", f"{path} lasts no longer than the start that was asked for")
    need_memory(8 * len(LEADS) * (last - first), path, "give --seconds, for a part of it")
    signal = np.full((last - first, len(LEADS)), np.nan)
    names: dict[str, None] = {}
    without: RecordError | None = None  # a segment of other signals alone, as pressures
    begin = 0
    for name, n_samples in segments.parts:
        low, high = max(first, begin), min(last, begin + n_samples)
        if name != GAP and low < high:
            try:
                stretch = (low - begin, high - low)
                part, found = _segment(path.with_name(name), segments.rate, stretch, asked)
            except RecordError as error:
                if error.kind != NO_LEADS or asked.lead_names:
                    raise
                without = error
            else:
                signal[low - first : high - first] = part
                names.update(dict.fromkeys(found))
        begin += n_samples
    if without and not names:
        raise without
    facts = said_in_comments(segments.comments)
    return Recording(signal, rate, "mV", first / rate, total / rate, facts, tuple(names))


def _segment(path, rate, stretch, asked):
    """Samples (n, 12) of one segment and the names of its signals."""
    begin, n = stretch
    read = read_wfdb(path, replace(asked, rate=None, start=begin / rate, seconds=n / rate))
    if read.rate != rate:
        raise RecordError(
            "unreadable", f"{path} has {read.rate:g} Hz, the record that it is part of {rate:g} Hz"
        )
    values = arrange(read.millivolts(), lead_positions(read.names, path))
    if len(values) != n:
        raise RecordError("truncated", f"{path} holds {len(values)} of {n} samples")
    return values, read.names
