"""Tasks of a data set: PTB-XL's six, and those that `tasks.json` beside the arrays adds.

{"own": {"classes": ["AFIB", "LAD"], "superclass": {"AFIB": "rhythm"}}}: the classes in the order of
multihot_<task>.npy's columns; a superclass of each may be given.
"""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from common.cli import check_names
from common.files import UserError, read_json, write_json
from common.labels import STATEMENTS, TASKS, slug, superclass

FILE = "tasks.json"
MOST_LETTERS = 100  # of a class: names of files have 255, and say more than it


class Task(NamedTuple):
    """Classes in the order of the columns, and the superclass of those that have one.

    answered  classes that every record says yes or no to: one without any of them is known to have
              none, which is more than that nobody wrote one down
    """

    name: str
    classes: tuple[str, ...]
    superclass: dict[str, str]
    answered: tuple[str, ...] = ()


def read_tasks(folder: str | Path) -> dict[str, Task]:
    """The tasks of a data set: PTB-XL's, then those that its tasks.json adds."""
    tasks = {name: Task(name, tuple(classes), {}) for name, classes in TASKS.items()}
    return {**tasks, **own_tasks(folder)}


def own_tasks(folder: str | Path) -> dict[str, Task]:
    """Only the tasks that tasks.json adds; UserError where one of them is none."""
    path = Path(folder) / FILE
    found = {}
    for name, entry in (read_json(path) if path.is_file() else {}).items():
        said = entry if isinstance(entry, dict) else {}
        classes, above = said.get("classes"), said.get("superclass") or {}
        answered = said.get("answered") or []
        fine = (
            isinstance(classes, list)
            and len(classes) == len(set(map(str, classes))) > 0
            and all(isinstance(label, str) for label in classes)
            and slug(name) == name
            and name not in TASKS
            and isinstance(above, dict)
            and isinstance(answered, list)
            and all(label in classes for label in answered)
        )
        if not fine:
            raise UserError(
                f"{path}: task {name!r} needs a name of its own and `classes`, a list of distinct "
                "names"
            )
        check_classes(classes, path)
        found[name] = Task(name, tuple(classes), above, tuple(answered))
    return found


def check_classes(
    classes: Iterable[str], where: object, kind: tuple[str, str] = ("class", "classes")
) -> None:
    """UserError where the files of two classes would have one name, or those of one none.

    kind  what one of them is called, and several, where they are none
    """
    label_of: dict[str, str] = {}
    for label in classes:
        name = slug(label)
        if len(name) > MOST_LETTERS:
            raise UserError(
                f"{where}: the class {label[:40]}... has {len(label)} letters, and files are named "
                f"by it: at most {MOST_LETTERS}"
            )
        if not re.search(r"[A-Za-z0-9]", name):
            raise UserError(
                f"{where}: the {kind[0]} {label} has no Latin letter and no digit, by which its "
                "files could be named: rename it"
            )
        if name in label_of:
            raise UserError(
                f"{where}: files of the {kind[1]} {label_of[name]} and {label} would both be named "
                f"{name}: rename one of them"
            )
        label_of[name] = label


def classes_of(data_path: str | Path, task: str) -> list[str]:
    """The classes of a task of a data set, or UserError that names its tasks."""
    tasks = read_tasks(data_path)
    check_names("task", [task], tasks)
    return list(tasks[task].classes)


def write_tasks(folder: str | Path, tasks: dict[str, Task]) -> Path:
    """Write tasks.json."""
    path = Path(folder) / FILE
    content = {
        name: {
            "classes": list(task.classes),
            "superclass": task.superclass,
            **({"answered": list(task.answered)} if task.answered else {}),
        }
        for name, task in tasks.items()
    }
    write_json(path, content)
    return path


def task_of_labels(name: str, labels: Iterable[Iterable[str]]) -> Task:
    """A task of all labels that occur, the most frequent first; SCP statements bring their
    superclass.
    """
    counts = Counter(chain.from_iterable(labels))
    classes = tuple(sorted(counts, key=lambda label: (-counts[label], label)))
    above = {label: superclass(label) for label in classes if label in STATEMENTS}
    return Task(name, classes, {label: name for label, name in above.items() if name})
