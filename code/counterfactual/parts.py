"""Tables in pieces: what one chunk found, as the arrays of one file, and back."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd


def to_arrays(name: str, lines: Sequence[tuple], columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Lines of a table as arrays `name:column`, none of which needs pickle."""
    table = pd.DataFrame(lines, columns=list(columns))
    return {f"{name}:{column}": _plain(table[column].to_numpy()) for column in columns}


def _plain(values):
    return values.astype(str) if values.dtype == object else values


def to_table(
    name: str, parts: Iterable[Mapping[str, np.ndarray]], columns: Sequence[str]
) -> pd.DataFrame:
    """The table of all parts, in their order."""
    tables = []
    for part in parts:
        tables.append(pd.DataFrame({column: part[f"{name}:{column}"] for column in columns}))
    filled = [table for table in tables if len(table)]
    return pd.concat(filled or tables[:1], ignore_index=True)
