"""Text files whose layout is one program's own: Lepu's (Viatom's) of one lead, and what BIOPAC's
AcqKnowledge exports.

Lepu: one line, `F-0-01,125,II,405,32,45,...`: a filter, Hz, the lead, units per mV, samples.
AcqKnowledge: a title, `2 msec/sample`, `12 channels`, a line with the name and one with the unit of
each channel, a line that numbers the columns (with a column of times or without), a line that
counts the samples, and the samples.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.files import UserError, need_memory
from records.csv_layout import Layout, cells, encoding_of, first_lines, read_layout
from records.lead_names import canonical_lead, check_lead_names
from records.recording import Asked, Columns, Recording, from_columns

LEPU_CELLS = 4  # of the head
PER_BYTE = 40  # bytes of memory for each of a file: cells as text, as numbers, and in mV
PER_SAMPLE = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*(msec|ms|sec|s|usec|us)\s*/\s*sample\b", re.I)
CHANNELS = re.compile(r"\s*(\d+)\s+channels?\s*$", re.I)
NUMBERED = re.compile(r"ch(annel)?\s*\d+", re.I)
SECONDS = {"msec": "ms", "ms": "ms", "sec": "s", "s": "s", "usec": "us", "us": "us"}


def read_lepu(path: str | Path, asked: Asked) -> Recording:
    """Read Lepu's text; UserError where its head does not say rate, lead and units per mV."""
    path = Path(path)
    need_memory(PER_BYTE * path.stat().st_size, path, "take a shorter recording")
    raw = path.read_bytes()
    words = raw.decode(encoding_of(raw), "replace").strip().strip(",").split(",")
    head, body = [word.strip() for word in words[:LEPU_CELLS]], words[LEPU_CELLS:]
    try:
        rate, per_mv = float(head[1]), float(head[3])
    except (ValueError, IndexError):
        rate = per_mv = 0.0
    if not (0 < rate < np.inf and 0 < per_mv < np.inf) or not body:
        raise UserError(
            f"{path} begins as Lepu's text, and its head is not filter,Hz,lead,units per mV: it is "
            f"{','.join(head)[:100]}"
        )
    try:
        values = np.array(body, dtype=float)
    except ValueError:
        raise UserError(f"{path} holds what is no number") from None
    name = check_lead_names(asked.lead_names, 1, path)[0] if asked.lead_names else head[2]
    if canonical_lead(name) is None:
        raise UserError(
            f"{path} calls its lead {name}, which is none: --lead_names says what it is"
        )
    columns = Columns(values[:, None] / per_mv, [name], asked.rate or rate, ["mV"])
    return from_columns(columns, path, replace(asked, lead_names=None))


def acqknowledge_layout(path: str | Path) -> Layout:
    """How a file of AcqKnowledge is laid out, or another in whose head a line looks like its."""
    lines, encoding = first_lines(path)
    at = next((k for k, line in enumerate(lines[:20]) if PER_SAMPLE.match(line)), None)
    head = [k for k, line in enumerate(lines) if at is not None and k > at and line.strip()]
    n = int(found[1]) if head and (found := CHANNELS.match(lines[head[0]])) else 0
    if not n or len(head) < 2 * n + 2:
        return read_layout(path)
    names = [_name_of(lines[k]) for k in head[1 : 2 * n : 2]]
    units = [lines[k].strip() or None for k in head[2 : 2 * n + 1 : 2]]
    below = head[2 * n + 1 :]
    separator = "\t" if "\t" in lines[below[0]] else "," if "," in lines[below[0]] else " "
    row = cells(lines[below[0]], separator)
    numbered = [bool(NUMBERED.fullmatch(cell)) for cell in row if cell]
    if any(numbered):
        below = below[1:]
        below = below[_counts(lines, below, separator, n) :]
    if not below:
        raise UserError(f"{path} is not a readable table: no samples follow AcqKnowledge's head")
    timed = any(numbered) and not numbered[0]  # min, sec or milliSec before CH1
    timed = timed or len(cells(lines[below[0]].rstrip("\t, "), separator)) == n + 1
    per_sample = PER_SAMPLE.match(lines[at])
    pairs = {"interval": f"{per_sample[1]} {SECONDS[per_sample[2].lower()]}"}
    return Layout(
        encoding,
        separator,
        below[0],
        [""] * timed + names,
        [None] * timed + units,
        True,
        pairs,
        False,
    )


def _name_of(line):
    """`Lead II - ECG100C` -> `Lead II`: the lead before what it was measured with."""
    name = line.strip()
    short = re.split(r"\s+-\s+|,\s*", name)[0]
    return short if canonical_lead(short) else name


def _counts(lines, below, separator, n):
    """1 where the first of the lines below the columns' numbers counts the samples of each."""
    row = [cell for cell in cells(lines[below[0]], separator) if cell] if below else []
    return int(len(row) == n and all(cell.isdigit() for cell in row))
