"""The table of a cohort as people write it: any separator, decimal comma, BOM or encoding, ids with
leading zeros, and names of recordings with folders in front and suffixes behind.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from common.files import need_file, read_csv
from records.cohort_table import ID_COLUMNS, our_name, with_our_names
from records.csv_layout import encoding_of

SEPARATORS = ",;\t|"
HEAD_BYTES = 1 << 16
AS_TEXT = (*ID_COLUMNS, "patient_id")  # 007 stays 007


def read_cohort_table(path: str | Path) -> pd.DataFrame:
    """The table under our names of columns (cohort_table.with_our_names); UserError where it is
    missing or none.
    """
    with open(need_file(path), "rb") as file:
        raw = file.read(HEAD_BYTES)
    encoding = encoding_of(raw)
    head = raw.decode(encoding, "replace").lstrip("\ufeff").splitlines()
    first = head[0] if head else ""
    separator = max(SEPARATORS, key=lambda mark: _cells(first, mark))
    names = next(csv.reader([first], delimiter=separator), [])
    table = read_csv(
        path,
        low_memory=False,
        sep=separator,
        encoding=encoding,
        decimal="," if separator == ";" else ".",
        dtype={name: str for name in names if our_name(name) in AS_TEXT},
    )
    return with_our_names(table)


def _cells(line, separator):
    """Cells of a line; what stands in quotes is one."""
    return len(next(csv.reader([line], delimiter=separator), []))


def rows_by_name(
    table: pd.DataFrame, columns: Iterable[str], names: Sequence[str]
) -> tuple[dict[str, int], list[str]]:
    """Name of a recording -> row, by the column that names most of them, and the names it lacks.

    A cell names a recording with or without folders in front and a suffix behind.
    """
    best: dict[str, int] = {}
    for column in columns:
        rows = _rows_of(table[column])
        found = {name: rows[name] for name in names if name in rows}
        if len(found) > len(best):
            best = found
        if len(best) == len(names):
            break
    return best, [name for name in names if name not in best]


def _rows_of(cells):
    """Every name that a cell may stand for -> its row; shorter ones of two different cells are
    left out.
    """
    rows: dict[str, int] = {}
    texts = [str(value).strip().replace("\\", "/").removesuffix(".0") for value in cells]
    doubtful = set()
    for row, text in enumerate(texts):
        for name in _names_of(text):
            if name in rows and texts[rows[name]] != text:
                doubtful.add(name)
            rows[name] = row
    whole = {text: row for row, text in enumerate(texts)}
    return {name: row for name, row in rows.items() if name not in doubtful} | whole


def _names_of(text):
    """data/p1/ecg.csv -> ecg.csv, ecg, p1/ecg.csv, p1/ecg, ..."""
    parts = PurePosixPath(text).parts
    for k in range(len(parts)):
        name = "/".join(parts[k:])
        folder, slash, file = name.rpartition("/")
        yield name
        yield folder + slash + (file.partition(".")[0] or file)
