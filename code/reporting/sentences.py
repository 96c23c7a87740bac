"""A finding of the report as a sentence, and how numbers and names are written in it."""

from dataclasses import dataclass

import pandas as pd

MOST_NAMED = 6  # names in one sentence; the table has the rest


@dataclass(frozen=True)
class Finding:
    """One sentence.

    kind     yes (found), no (tested and not found, or not testable), warn
    section  anchor of the evidence; source: the table it was read from, under the run folder
    """

    topic: str
    text: str
    section: str
    source: str
    kind: str = "no"

    @property
    def link(self) -> str:
        """Names of the tables without their folders, each once."""
        return ", ".join(dict.fromkeys(name.rsplit("/")[-1] for name in self.source.split(", ")))


def interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """value [low, high]; without an interval, so said."""
    if pd.isna(low) or pd.isna(high):
        return f"{value:.{digits}f} (no interval)"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def named(names: list[str], most: int = MOST_NAMED) -> str:
    """a, b and c; beyond `most` names, how many more."""
    shown, more = names[:most], len(names) - most
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
