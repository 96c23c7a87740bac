"""Whether what a data set was made from is still what it was, and how it is made again.

preprocessing.py notes the records' files by their sizes and times and by their content. Every stage
compares sizes and times, which takes a glance; where they differ (a copy has other times) the
content decides, and `report.py --verify` goes by the content alone.
"""

import functools
import hashlib
import os
from collections.abc import Iterable
from itertools import product
from pathlib import Path

from common.files import is_inside, read_csv, sha256_once
from common.stage import command, made_path, read_stage, source_folder
from records.layout import ADDON_FILES, DATABASE, file_column, read_layout

KEY = "sources_read"  # among the counts of preprocessing*.json


def names_of(source: Path, sampling_rate: int, limit: int | None) -> list[str]:
    """The records (no suffix, relative to `source`) that a data set at a rate is made from, and
    those at 500 Hz that waves are measured on.
    """
    column = file_column(read_layout(source).stored_rate(sampling_rate))
    path = source / DATABASE
    columns = tuple(dict.fromkeys([column, file_column(500)]))
    return list(_names(str(path.resolve()), path.stat().st_mtime_ns, columns, limit))


@functools.lru_cache(maxsize=4)
def _names(path, _time, columns, limit):
    table = read_csv(path, usecols=lambda name: name in columns)
    table = table.head(limit) if limit else table
    names = []
    for one in columns:
        if one in table:
            names += [name for name in table[one] if isinstance(name, str) and is_inside(name)]
    return tuple(names)


def note(source: Path, sampling_rate: int, limit: int | None) -> dict[str, str]:
    """What the records' files are now: `stamp` and `sha256`."""
    names = names_of(source, sampling_rate, limit)
    return {"stamp": _stamp(source, names), "sha256": _content(source, names)}


def _files_of(source, names: Iterable[str]):
    """The header and the .dat of each record."""
    for name, suffix in product(names, (".hea", ".dat")):
        yield os.path.join(source, f"{name}{suffix}")


def _stamp(source, names):
    """Hash of the sizes and times of the files that are there."""
    digest = hashlib.sha256()
    for path in _files_of(source, names):
        try:
            facts = os.stat(path)
        except (OSError, ValueError):
            continue
        digest.update(f"{facts.st_size} {facts.st_mtime_ns};".encode())
    return digest.hexdigest()


def _content(source, names):
    """Hash of the bytes of the files that are there."""
    digest = hashlib.sha256()
    for path in _files_of(source, names):
        try:
            with open(path, "rb") as file:
                digest.update(file.read() if os.path.isfile(path) else b"")
        except (OSError, ValueError):
            continue
    return digest.hexdigest()


def changed(made: Path, by_content: bool = False) -> str | None:
    """What a data set was made from and has changed since, in words; None where nothing has, or
    where it is not there any more.

    made  the JSON that preprocessing.py wrote;  by_content  whatever sizes and times say
    """
    content = read_stage(made)
    before = content.get("counts", {}).get(KEY)
    source = source_folder(made.parent)
    if not isinstance(before, dict) or source is None or not (source / DATABASE).is_file():
        return None
    if name := _changed_table(made, content.get("inputs", {}), source):
        return f"{name} has changed"
    settings = content.get("settings", {})
    names = names_of(source, settings.get("sampling_rate", 100), settings.get("limit"))
    stamp = _stamp(source, names)
    if not by_content and stamp == before.get("stamp"):
        return None
    same = _content_at(str(source.resolve()), tuple(names), stamp) == before.get("sha256")
    return None if same else f"records of {source} have changed"


def _changed_table(made, inputs, source):
    """The first of a data set's own tables that is not what it was made from, or None."""
    for name, digest in inputs.items():
        path = made.parent / name
        own = path.is_file() and path.parent.resolve() == source.resolve()
        if own and sha256_once(path) != digest:
            return os.path.normpath(path)
    return None


@functools.lru_cache(maxsize=4)
def _content_at(source, names, _stamp):
    return _content(source, names)


# ---------------------------------------------------------------- made again

# settings of a data set -> what preprocessing.py takes where nothing is said
_AS_USUAL = {"limit": None, "min_likelihood": 0.0, "measure_at": "auto"}
_ONLY_IF_ASKED = ("skip_bad", "join_duplicates", "annotations")


def to_make(data_path: str | Path, sampling_rate: int = 100) -> str:
    """The command that makes a data set, again as it was made where that is known."""
    own = made_path(data_path, sampling_rate)
    known = (own, *sorted(own.parent.glob("preprocessing*.json")))
    made = next((read_stage(path) for path in known if path.is_file()), {})
    settings = made.get("settings", {})
    source = source_folder(data_path) or Path(data_path)
    away = os.path.realpath(source) != os.path.realpath(data_path)
    chosen = {name: settings.get(name, usual) for name, usual in _AS_USUAL.items()}
    return command(
        "preprocessing",
        *(f"--{name}" for name in _ONLY_IF_ASKED if settings.get(name)),
        *(["--overwrite"] if own.is_file() else []),
        data_path=source,
        output_path=data_path if away else None,
        sampling_rate=None if sampling_rate == 100 else sampling_rate,
        addons=_addons_of(made, Path(data_path)),
        **{name: value for name, value in chosen.items() if value != _AS_USUAL[name]},
    )


def _addons_of(made, folder):
    """The folder of published measurements that a data set was made with, or None."""
    paths = (folder / name for name in made.get("inputs", {}))
    found = [path.parent for path in paths if path.name in ADDON_FILES]
    return os.path.normpath(found[0]) if found else None
