"""Recordings as text: one row per sample, one column per lead, in whatever way a program writes it.

Understood are , ; tab | and blanks between columns, decimal commas, a byte-order mark, an index
column, a second line of units (PhysioNet's), units in the names ("I (mV)"), and times in s, ms or
as 0:00.004. A rate is taken from the times: (n - 1) / (last - first), with the tolerance that
their decimals leave.
"""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from common.files import UserError, need_file
from records.lead_names import canonical_lead
from records.recording import Asked, Columns, Recording, from_columns
from records.units import mv_per

SUFFIXES = (".csv", ".tsv", ".txt")
TIME_NAMES = ("time", "times", "t", "timestamp", "elapsed time", "elapsedtime", "seconds", "sec")
TIME_UNITS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3}
INDEX_NAMES = ("", "index", "sample", "samples", "sample #", "sample_number", "n", "nr")
_WITH_UNIT = re.compile(r"^(.*?)\s*(?:\(([^()]+)\)|\[([^\[\]]+)\]|[_\s](mv|uv|µv|ms))$", re.I)


def read_csv_recording(path: str | Path, asked: Asked) -> Recording:
    """Read a text file of one recording; UserError where it cannot be understood."""
    names, cells = _table(path)
    names, units = _names_and_units(names, cells)
    if units is not None and _is_unit_line(cells.iloc[0]):
        cells = cells.iloc[1:]
    time = [k for k, name in enumerate(names) if name.lower() in TIME_NAMES]
    rate = asked.rate
    if rate is None:
        rate = _rate(cells.iloc[:, time[0]], units[time[0]], path) if time else None
    if rate is None:
        raise UserError(
            f"{path} has no column time (s): --record_rate says its sampling rate in Hz"
        )
    values = {
        k: _numbers(cells.iloc[:, k])
        for k, name in enumerate(names)
        if k not in time and not (name.lower() in INDEX_NAMES or name.startswith("Unnamed"))
    }
    if asked.lead_names is None:
        values = {k: column for k, column in values.items() if canonical_lead(names[k])}
        if not values and all(_is_number(name) for name in names):
            raise UserError(f"{path} has no line of names: --lead_names says what its columns are")
        if not values:
            raise UserError(
                f"{path} has the columns {', '.join(names)}, and none of them is a lead: "
                "--lead_names says what they are"
            )
    columns = Columns(
        np.stack(list(values.values()), axis=1),
        [names[k] for k in values],
        rate,
        [units[k] for k in values],
    )
    return from_columns(columns, path, asked)


def _table(path):
    """Names of the columns and the cells as text."""
    raw = need_file(path).read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = raw.decode(encoding, "replace")
    head = text.splitlines()[:2]
    if not head or "\0" in head[0]:
        raise UserError(f"{path} is not a readable table")
    separator = _separator(head)
    options = {"sep": r"\s+"} if separator == " " else {"sep": separator}
    try:
        cells = pd.read_csv(
            io.StringIO(text),
            header=None,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
            quotechar="'" if head[0].startswith("'") else '"',
            **options,
        )
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is not a readable table ({str(error).splitlines()[0]})") from None
    names = [str(name).strip().strip("'\"") for name in cells.iloc[0]]
    if len(cells) < 3:
        raise UserError(f"{path} has fewer than three rows")
    return names, cells.iloc[1:]


def _separator(head):
    """The first of ; tab | , that the head has in every line; else a blank."""
    for separator in (";", "\t", "|", ","):
        if all(separator in line for line in head):
            return separator
    return "," if not all(len(line.split()) > 1 for line in head) else " "


def _names_and_units(names, cells):
    """Names without their units, and the units: of the names, or of PhysioNet's second line."""
    found = [_WITH_UNIT.match(name) for name in names]
    units = [match and (match[2] or match[3] or match[4]) for match in found]
    known = [
        match is not None and (mv_per(unit) is not None or unit.lower() in TIME_UNITS)
        for match, unit in zip(found, units, strict=True)
    ]
    stripped = [
        match[1] if fine else name for name, match, fine in zip(names, found, known, strict=True)
    ]
    units = [unit if fine else None for unit, fine in zip(units, known, strict=True)]
    if _is_unit_line(cells.iloc[0]):
        second = [str(cell).strip().strip("'\"") for cell in cells.iloc[0]]
        units = [
            there or (unit if mv_per(unit) is not None or unit.lower() in TIME_UNITS else None)
            for there, unit in zip(units, second, strict=True)
        ]
    return stripped, units


def _is_unit_line(row):
    return any(mv_per(str(cell).strip().strip("'\"")) is not None for cell in row)


def _is_number(text):
    return bool(re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?", text.strip(), re.I))


def _numbers(column):
    """A column of text as numbers, NaN where it is none; decimal commas are read."""
    text = column.str.strip().str.strip("'\"")
    if text.str.contains(",", regex=False).any():
        text = text.str.replace(",", ".", regex=False)
    return pd.to_numeric(text, errors="coerce").to_numpy(float)


# ---------------------------------------------------------------- the rate


def _rate(column, unit, path):
    """Sampling rate (Hz) of a column of times."""
    text = column.str.strip().str.strip("'\"").str.strip("[]")
    if text.str.contains(":", regex=False).all():
        parts = text.str.split(":")
        clock = parts.map(lambda words: sum(float(w) * 60**k for k, w in enumerate(words[::-1])))
        return rate_of(clock.to_numpy(float), _decimals(text), path)
    times = _numbers(column)
    decimals = _decimals(text.str.replace(",", ".", regex=False))
    scale = TIME_UNITS.get((unit or "").lower())
    if scale is None:
        scale = 1e-3 if len(times) > 1 and np.median(np.diff(times)) > 0.05 else 1.0
    return rate_of(times * scale, decimals - round(np.log10(scale)), path)


def _decimals(text):
    """Most digits behind the point that a column of text has (an exponent counts as many)."""
    if text.str.contains("e", case=False, regex=False).any():
        return 15
    behind = text.str.extract(r"\.(\d+)$")[0].dropna()
    return int(behind.str.len().max()) if len(behind) else 0


def rate_of(times: np.ndarray, decimals: int, path: str | Path = "the file") -> float:
    """Hz of evenly spaced `times` (s) that are rounded to so many decimals.

    A whole number of Hz is taken where the rounding allows one. UserError where the times are not
    evenly spaced within their rounding (a sample is missing or stands twice).
    """
    wrong = UserError(
        f"{path}: the column time is not evenly spaced in seconds (or ms): put it right, or leave "
        "it out and give --record_rate"
    )
    steps = np.diff(times)
    if len(steps) < 2 or not np.isfinite(steps).all() or times[-1] <= times[0]:
        raise wrong
    span, rounding = times[-1] - times[0], 10.0**-decimals
    rate = len(steps) / span
    tolerance = rate * rounding / span
    whole = round(rate)
    if whole > 0 and abs(rate - whole) <= max(tolerance, 1e-6 * rate):
        rate = float(whole)
    place = np.arange(len(times)) - (len(times) - 1) / 2
    slope = place @ times / (place @ place)
    away = times - place * slope  # the rounding, where no sample is missing
    if np.ptp(away) > 1.1 * rounding + 0.05 / rate or steps.min() < 0:
        raise wrong
    return rate
