"""Cohorts for discovery: records whose only label at one level of the statements is one
of a few.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.cli import check_names
from common.files import UserError
from common.labels import LABEL_MAPPINGS, STATEMENTS, superclass
from records.dataset import Dataset, load_dataset, load_labels

PAPERS_COHORT = ["AMI", "IMI"]


@dataclass(frozen=True)
class Cohort:
    """A cohort's records.

    data        Dataset of the records
    names       labels that the cohort is made of
    level       task whose labels these are
    labels      # (n,) the one label of each record
    statements  # (n, 71) 0/1 all SCP statements of each record
    """

    data: Dataset
    names: list[str]
    level: str
    labels: np.ndarray
    statements: np.ndarray

    def rows(self, keep: np.ndarray) -> "Cohort":
        """The records where `keep` (n,) is True."""
        return Cohort(
            self.data.rows(keep), self.names, self.level, self.labels[keep], self.statements[keep]
        )

    @property
    def hidden_labels(self) -> bool:
        """Whether there are labels to hold clusters against."""
        return len(self.names) > 1


def parse_cohort(words: list[str]) -> list[str]:
    """'AMI or IMI' (one word or several) -> ['AMI', 'IMI']."""
    names = [
        name for name in re.split(r"\s+or\s+|[\s,\[\]]+", " ".join(words).strip(" []")) if name
    ]
    if not names or len(set(names)) < len(names):
        raise UserError(
            f'--cohort {" ".join(words)!r} names no labels, or one twice: write it as "AMI or IMI"'
        )
    return names


def choose_level(names: list[str], level: str | None = None) -> str:
    """The level at which all names are labels: the given one, else the coarsest of them."""
    levels = ("superdiagnostic", "subdiagnostic", "diagnostic", "form", "rhythm", "all")
    if level is not None:
        check_names("label", names, LABEL_MAPPINGS[level])
        return level
    for candidate in levels:
        if set(names) <= set(LABEL_MAPPINGS[candidate]):
            return candidate
    known = set().union(*(LABEL_MAPPINGS[candidate] for candidate in levels))
    check_names("label", names, sorted(known))
    raise UserError(
        f"{' and '.join(names)} are not labels of one level: choose names of one task "
        "(subdiagnostic, ...)"
    )


def load_cohort(
    data_path: str | Path,
    words: list[str],
    level: str | None = None,
    sampling_rate: int = 100,
    limit: int | None = None,
) -> Cohort:
    """The records whose only label at the level is one of the names; UserError where there are
    none.
    """
    names = parse_cohort(words)
    level = choose_level(names, level)
    data = load_dataset(data_path, level, sampling_rate)
    statements = load_labels(data.path, "all", data.table)[0]
    columns = [LABEL_MAPPINGS[level].index(name) for name in names]
    member = (data.labels.sum(axis=1) == 1) & data.labels[:, columns].any(axis=1)
    if not member.any():
        raise UserError(
            f"no record of {data_path} has {' or '.join(names)} as its only {level} label: choose "
            "another cohort"
        )
    rows = np.flatnonzero(member)[:limit]
    return Cohort(
        data.rows(rows),
        names,
        level,
        np.array(names)[data.labels[rows][:, columns].argmax(axis=1)],
        statements[rows],
    )


def default_target(names: list[str], known: tuple[str, ...]) -> str:
    """One output that fits every record of the cohort: the superclass that all names share if the
    model knows it, else the first of the names that it knows.
    """
    superclasses = {superclass(name) for name in names}
    if len(superclasses) == 1 and next(iter(superclasses)) in known:
        return next(iter(superclasses))
    subclasses = {STATEMENTS[name][1] for name in names if name in STATEMENTS}
    for name in (*names, *sorted(subclasses)):
        if name in known:
            return name
    raise UserError(
        f"the model knows none of {', '.join(names)} nor a class that holds them: "
        f"name one with --target (it knows {', '.join(known)})"
    )
