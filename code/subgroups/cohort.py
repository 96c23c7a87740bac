"""Cohorts for discovery: records whose only label at one level of the statements is one
of a few.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from common.cli import check_names, whole_names
from common.files import UserError
from common.labels import LABEL_MAPPINGS, OWN_TASK, STATEMENTS, superclass
from networks.checkpoints import ModelInfo
from records.dataset import Dataset, load_dataset, load_labels
from records.tasks import own_tasks

PAPERS_COHORT = ["AMI", "IMI"]
Level = tuple[str, Sequence[str]]  # a task, and its classes


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


def parse_cohort(words: list[str], known: Iterable[str] = ()) -> list[str]:
    """'AMI or IMI' (one word or several) -> ['AMI', 'IMI']; `known` names may hold blanks."""
    parts = filter(None, re.split(r"[\s,\[\]]+", " ".join(words)))
    names = [name for name in whole_names(parts, known) if name != "or"]
    if not names or len(set(names)) < len(names):
        raise UserError(
            f'--cohort {" ".join(words)!r} names no labels, or one twice: write it as "AMI or IMI"'
        )
    return names


def levels_of(data_path: str | Path, info: ModelInfo) -> list[Level]:
    """What a cohort's labels may be: those of PTB-XL's tasks, the coarsest first, of the tasks that
    the data set adds, and a network's classes of its own.
    """
    levels = list(LABEL_MAPPINGS.items())
    levels += [(task.name, task.classes) for task in own_tasks(data_path).values()]
    return [*levels, (OWN_TASK, info.labels)] if info.task == OWN_TASK else levels


def choose_level(names: list[str], levels: Sequence[Level], asked: str | None = None) -> Level:
    """The level at which all names are labels: the one asked for, else the first of them."""
    if asked is not None:
        check_names("level", [asked], dict(levels))
        levels = [level for level in levels if level[0] == asked]
    for level in levels:
        if set(names) <= set(level[1]):
            return level
    known = set(chain.from_iterable(classes for _, classes in levels))
    check_names("label", names, sorted(known))
    raise UserError(
        f"{' and '.join(names)} are not labels of one level: choose names of one task "
        "(subdiagnostic, ...)"
    )


def load_cohort(
    data_path: str | Path,
    words: list[str],
    info: ModelInfo,
    level: str | None = None,
    limit: int | None = None,
) -> Cohort:
    """The records whose only label at the level is one of the names, at the rate of the network
    that `info` describes; UserError where there are none.
    """
    levels = levels_of(data_path, info)
    names = parse_cohort(words, chain.from_iterable(classes for _, classes in levels))
    level, classes = choose_level(names, levels, level)
    data = load_dataset(data_path, level, info.sampling_rate, label_names=classes)
    if unknown := [name for name in names if name in data.unknown]:
        raise UserError(
            f"{data_path} has no labels for {', '.join(unknown)}: choose another cohort"
        )
    statements = load_labels(data.path, "all", data.table)[0]
    columns = [classes.index(name) for name in names]
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


def default_target(names: list[str], level: str, known: tuple[str, ...]) -> str:
    """One output that fits every record of the cohort: the superclass that all names share if the
    model knows it, else the first of the names that it knows. Nothing is known of what classes of
    one's own belong to.
    """
    superclasses = {superclass(name, level) for name in names}
    if len(superclasses) == 1 and next(iter(superclasses)) in known:
        return next(iter(superclasses))
    statements = STATEMENTS if level in LABEL_MAPPINGS else {}
    subclasses = {statements[name].subclass for name in names if name in statements}
    for name in (*names, *sorted(subclasses)):
        if name in known:
            return name
    raise UserError(
        f"the model knows none of {', '.join(names)} nor a class that holds them: "
        f"name one with --target (it knows {', '.join(known)})"
    )
