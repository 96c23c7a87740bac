"""Signal-quality flags of the records that a stage has explained: counted per group in quality.csv,
and said in words.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from common.files import write_csv
from records.quality import FLAGS

FILE = "quality.csv"
UNAVAILABLE = "quality flags unavailable: the data set was preprocessed without them"


def flags_of(table: pd.DataFrame) -> pd.DataFrame:
    """(n, flags) of the rows of a table: 1 raised, 0 not, NaN not judged (no column, or
    a blank).
    """
    columns = {
        name: table.get(f"quality_{name}", pd.Series(index=table.index, dtype=object))
        for name in FLAGS
    }
    return pd.DataFrame(
        {
            name: column.astype(str).map({"True": 1.0, "False": 0.0})
            for name, column in columns.items()
        }
    )


def count_flags(table: pd.DataFrame, groups: Mapping[str, Iterable[int]]) -> pd.DataFrame:
    """One row per group after the row `all`: group, n_records, n_flagged, and how often each flag
    is raised (blank: not judged).

    table   the enriched table, indexed by ecg_id
    groups  name -> ecg_id of its records; one that is in several groups, or twice in one, counts
            once in `all` and in each
    """
    flags, members = flags_of(table), {name: np.unique(list(ids)) for name, ids in groups.items()}
    members = {"all": np.unique(np.concatenate(list(members.values()))), **members}
    judged = flags.notna().any()
    counts = pd.DataFrame(
        [{"group": name, **_tally(flags.loc[ids], judged)} for name, ids in members.items()]
    )
    return counts.astype(dict.fromkeys(counts.columns[1:], "Int64"))


def _tally(flags, judged):
    n_flagged = (flags == 1).any(axis=1).sum() if judged.any() else np.nan
    return {"n_records": len(flags), "n_flagged": n_flagged, **flags.sum().where(judged)}


def in_words(counts: pd.DataFrame) -> str:
    """'3 of 40 explained records with a quality flag: noise 2, limb reversal 1' from the table of
    count_flags.
    """
    whole = counts.iloc[0]
    if pd.isna(whole["n_flagged"]):
        return UNAVAILABLE
    n, n_flagged, counted = (
        int(whole["n_records"]),
        int(whole["n_flagged"]),
        whole[list(FLAGS)].dropna(),
    )
    raised = ", ".join(f"{spoken(name)} {count:.0f}" for name, count in counted.items() if count)
    blank = ", ".join(
        spoken(name) + f" (needs {flag.needs})" * bool(flag.needs)
        for name, flag in FLAGS.items()
        if name not in counted
    )
    line = f"{n_flagged} of {n} explained records with a quality flag"
    return line + f": {raised}" * bool(raised) + f"; not judged: {blank}" * bool(blank)


def spoken(name: str) -> str:
    """A flag's name in running text."""
    return name.replace("_", " ")


def write_counts(folder: Path, table: pd.DataFrame, groups: Mapping[str, Iterable[int]]) -> Path:
    """Write quality.csv of a stage (see count_flags) and say its first row; the path."""
    counts = count_flags(table, groups)
    write_csv(folder / FILE, counts)
    print(in_words(counts))
    return folder / FILE
