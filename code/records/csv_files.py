"""Recordings as text: one row per sample, one column per lead (or one line per lead), in whatever
way a program writes it.

Understood are , ; tab | and blanks between columns, decimal commas, a byte-order mark, Windows'
letters, comments, pairs above the table (a watch's export), an index column, a line of units, units
in the names ("I (mV)"), no names at all (the usual order of 8 or 12 leads), and times in s, ms, us,
as 0:00.004 or with a date. Of a large file only the stretch that is asked for is read.
"""

import csv
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from common.files import UserError, need_file
from records.array_files import standard_leads
from records.csv_layout import (
    Layout,
    is_index,
    is_time,
    program_of,
    read_layout,
    refuse_measurements,
    stated_lead,
    stated_rate,
    stated_unit,
)
from records.csv_times import rate_of_column
from records.lead_names import canonical_lead, check_lead_names, lead_positions
from records.recording import Asked, Columns, Recording, ends_before, from_columns

SUFFIXES = (".csv", ".tsv", ".txt")
LARGE = 32 << 20  # bytes: of a file above it only the stretch is read
RATE_ROWS = 20_000  # whose times give the rate of a large file
MOST_COLUMNS = 400
GROUPED = r"[-+\u2212]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?"  # 1,234 and 1,234.5


def read_csv_recording(path: str | Path, asked: Asked) -> Recording:
    """Read a text file of one recording; UserError where it cannot be understood."""
    path = need_file(path)
    program = program_of(path)
    if program is not None:
        from records.text_exports import acqknowledge_layout, read_lepu  # rare files

        if program == "lepu":
            return read_lepu(path, asked)
    layout = read_layout(path) if program is None else acqknowledge_layout(path)
    if asked.seconds is not None and path.stat().st_size > LARGE and not layout.in_rows:
        return _read_stretch(path, layout, asked)
    return _recording(path, layout, _cells(path, layout), asked)


def _read_stretch(path, layout, asked):
    """Only the rows of the stretch; the rate is that of the first rows."""
    head = _cells(path, layout, 0, RATE_ROWS)
    _, time = _columns(path, layout, head, asked)
    rate = _rate(path, layout, head, time, asked)
    first = round(asked.start * rate)
    n_rows = _lines_of(path) - layout.first
    if first >= n_rows:
        raise ends_before(path, n_rows / rate, asked)
    rows = _cells(path, layout, first, max(round(asked.seconds * rate), 3))
    read = _recording(path, layout, rows, replace(asked, start=0.0, rate=rate))
    return read._replace(start=asked.start, seconds=n_rows / rate)


def _lines_of(path):
    """Lines of a file, without holding it."""
    with open(path, "rb") as file:
        blocks = iter(lambda: file.read(1 << 22), b"")
        return sum(block.count(b"\n") for block in blocks)


def _cells(path: Path, layout: Layout, skip: int = 0, n_rows: int | None = None) -> pd.DataFrame:
    """The cells as text, one column each; lines of leads are turned into columns."""
    n = MOST_COLUMNS if layout.in_rows else max(len(layout.names), 1) + 1
    blanks = layout.separator == " "
    try:
        table = pd.read_csv(
            path,
            header=None,
            names=None if layout.in_rows else range(n),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
            skiprows=layout.first + skip,
            nrows=n_rows,
            encoding=layout.encoding,
            encoding_errors="replace",
            quotechar="'" if _quoted_singly(path, layout) else '"',
            sep=r"\s+" if blanks else layout.separator,
        )
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is not a readable table ({str(error).splitlines()[0]})") from None
    table = table.fillna("")
    if layout.in_rows:
        table = table.T.reset_index(drop=True)
    if len(table) < 3:
        raise UserError(f"{path} has fewer than three rows")
    return table


def _quoted_singly(path, layout):
    with open(path, encoding=layout.encoding, errors="replace") as file:
        return any("'" in line for line in itertools.islice(file, layout.first, layout.first + 2))


def _recording(path, layout, table, asked):
    if layout.in_rows:
        layout, table = _from_rows(layout, table)
    names, time = _columns(path, layout, table, asked)
    units = [unit or stated_unit(layout.pairs) for unit in layout.units]
    kept = {k: name for k, name in enumerate(names) if k != time and canonical_lead(name)}
    if not kept:
        refuse_measurements(layout.names, path)
        raise UserError(
            f"{path} has the columns {', '.join(names)}, and none of them is a lead: "
            "--lead_names says what they are"
        )
    rate = _rate(path, layout, table, time, asked)
    lead_positions(list(kept.values()), path)
    commas = _has_decimal_commas(table, kept)
    values = [_numbers(table[k], commas) for k in kept]
    columns = Columns(np.stack(values, axis=1), list(kept.values()), rate, [units[k] for k in kept])
    return from_columns(columns, path, replace(asked, lead_names=None))


def _from_rows(layout, table):
    """A table whose lines are leads, as one whose columns are: the first cells may be names."""
    first = [str(cell).strip().strip("'\"") for cell in table.iloc[0]]
    named = all(canonical_lead(cell) or is_time(cell) for cell in first)
    if named:
        table = table.iloc[1:].reset_index(drop=True)
    names = first if named else [""] * len(first)
    return layout._replace(names=names, units=[None] * len(names), named=named), table


def _columns(path, layout, table, asked):
    """A name for each column (- for one that is no signal), and which of them holds times."""
    names = list(layout.names or [""] * table.shape[1])
    time = next((k for k, name in enumerate(names) if is_time(name)), None)
    may_hold_one = len(names) in (2, 9, 13, len(asked.lead_names or ()) + 1)
    if not layout.named and time is None and may_hold_one and _counts_up(table[0]):
        time = 0
    signals = [k for k, name in enumerate(names) if k != time]
    if layout.named:
        blank = [k for k in signals if is_index(names[k]) or _is_blank(table[k])]
        signals = [k for k in signals if k not in blank]
        _refuse_shifted(path, names, table, asked)
    if asked.lead_names is not None:
        given = list(asked.lead_names)
        if len(given) == len(names):
            signals = list(range(len(names)))
            time = time if time is not None and given[time] == "-" else None
        check_lead_names(given, len(signals), path)
    elif layout.named:
        given = [names[k] for k in signals]
    else:
        given = _unnamed(path, layout, len(signals))
    chosen = dict(zip(signals, given, strict=True))
    return [chosen.get(k, "-") for k in range(len(names))], time


def _refuse_shifted(path, names, table, asked):
    """UserError where lines have a number that the line of names has no name for: the names may
    be those of other columns, as where R has left out that of its row numbers.
    """
    last = table[len(names) - 1].head(50)
    if names[-1] or asked.lead_names is not None:
        return
    if pd.to_numeric(last.str.replace(",", ".", regex=False), errors="coerce").notna().any():
        n = max(k + 1 for k, name in enumerate(names) if name)
        raise UserError(
            f"{path} names {n} columns, and its lines have {len(names)} values: name every column "
            "(- for one that is no lead), or say with --lead_names what they are"
        )


def _unnamed(path, layout, n):
    """Names of signals that have none: a watch's only lead, else the usual order."""
    lead = stated_lead(layout.pairs) if n == 1 else None
    if lead:
        return [lead]
    if n not in (8, 12):
        raise UserError(
            f"{path} has no line of names, and {n} signals: --lead_names says what its columns are"
        )
    return standard_leads(n, path)


def _counts_up(column):
    numbers = pd.to_numeric(column.head(200).str.replace(",", ".", regex=False), errors="coerce")
    if column.head(20).str.contains(":", regex=False).all():
        return True
    return bool(np.isfinite(numbers).all() and (np.diff(numbers) > 0).all())


def _is_blank(column):
    return bool((column.head(50).str.strip() == "").all())


def _rate(path, layout, table, time, asked):
    """Hz: as asked, as the times give it, or as the head says."""
    stated = stated_rate(layout.pairs)
    if asked.rate is not None:
        return asked.rate
    if time is not None:
        rate = rate_of_column(table[time], layout.units[time], path)
        if stated and abs(rate - stated) > 0.01 * stated:
            raise UserError(
                f"{path} says {stated:g} Hz, and its times say {rate:g} Hz: --record_rate decides"
            )
        return rate
    if stated is None:
        raise UserError(
            f"{path} has no column time (s): --record_rate says its sampling rate in Hz"
        )
    return stated


def _has_decimal_commas(table, kept):
    """Whether numbers are written 0,25: then a point only groups thousands. In 1,234.5 the comma
    does, and in 1,234 where other numbers of more than two digits have none.
    """
    cells = pd.concat([table[k].head(2000) for k in kept]).str.strip().str.strip("'\"")
    has_comma = cells.str.contains(",", regex=False)
    commas = cells[has_comma]
    if not len(commas) or commas.str.contains(r",.*\.", regex=True).any():
        return False
    large = cells[~has_comma].str.fullmatch(r"[-+\u2212]?\d{3,}(\.\d*)?").any()
    return not (large and commas.str.fullmatch(GROUPED).all())


def _numbers(column, commas):
    """A column of text as numbers, NaN where it is none."""
    text = column.str.strip().str.strip("'\"").str.replace("\u2212", "-", regex=False)
    if commas:
        text = text.str.replace(".", "", regex=False)
    text = text.str.replace(",", "." if commas else "", regex=False)
    return pd.to_numeric(text, errors="coerce").to_numpy(float)
