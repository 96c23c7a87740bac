"""Artefacts on disk: written whole or not at all, read without running anything.

Every writer goes through `replacing`, which writes to a temporary name in the same folder and
renames. `Stage` keeps one small JSON per stage beside its outputs: what made them, from which
inputs, finished or not.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pickle
import platform
import re
import shlex
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:  # imported where it is drawn: stages that draw nothing start without it
    from matplotlib.figure import Figure


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong, where, and what would be
    right.
    """


# ---------------------------------------------------------------- writing


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on
    failure.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


_TEMPORARY = re.compile(
    r"\..*\.(\d+)\.tmp(\..*)?"
)  # what `replacing` writes to; the number is the writer's process


def remove_leftovers(folder: str | Path) -> None:
    """Remove temporary files under `folder` whose writer was killed: no process of that number
    lives.
    """
    for path in Path(folder).rglob(".*.tmp*"):
        found = _TEMPORARY.fullmatch(path.name)
        if found and int(found[1]) != os.getpid() and not _lives(int(found[1])):
            path.unlink(missing_ok=True)


def _lives(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: object) -> None:
    """Write plain values (numpy scalars and arrays become numbers and lists, NaN becomes null)."""
    write_text(path, json.dumps(_plain(content), indent=2, ensure_ascii=False) + "\n")


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_csv(path: str | Path, table: pd.DataFrame, index: bool = False) -> None:
    """Write a table, bytes depending on its content alone."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=index, lineterminator="\n")


def write_npy(path: str | Path, array: np.ndarray) -> None:
    """Write one array as .npy."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        # through file.write, not ndarray.tofile, whose error on a full disk does not say that the
        # disk is full
        np.save(types.SimpleNamespace(write=file.write), array, allow_pickle=False)


def write_npz(path: str | Path, **arrays: np.ndarray | Sequence[str]) -> None:
    """Write named arrays as .npz (no objects inside: readable with allow_pickle off)."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def write_pickle(path: str | Path, array: np.ndarray) -> None:
    """Write one array as a pickle, streamed from its own memory (no second copy)."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        pickle.dump(np.ascontiguousarray(array), file, protocol=5)


FIGURE_OPTIONS = {
    "pdf": {"metadata": {"CreationDate": None}},  # the same figure gives the same bytes
    "png": {
        "pil_kwargs": {"compress_level": 3}
    },  # 40 % less time than the default 6, files an eighth larger
}


def write_figure(
    figure: "Figure", path: str | Path, formats: tuple[str, ...] = ("png",), dpi: int = 150
) -> list[Path]:
    """Save and close a matplotlib figure as `path` with each of the suffixes; returns the written
    paths.
    """
    import matplotlib.pyplot as plt

    _lay_out(figure, dpi)
    written = []
    for suffix in formats:
        target = Path(path).with_name(f"{Path(path).name}.{suffix}")
        with replacing(target) as temporary:
            figure.savefig(temporary, dpi=dpi, **FIGURE_OPTIONS.get(suffix, {}))
        written.append(target)
    plt.close(figure)
    return written


def _lay_out(figure, dpi):
    """Run a figure's layout engine now, once: `savefig` would run it, and draw everything once
    more, for every format.
    """
    engine = figure.get_layout_engine()
    if engine is not None:
        figure.set_dpi(dpi)
        engine.execute(figure)
        figure.set_layout_engine("none")


# ---------------------------------------------------------------- reading


class _ArrayUnpickler(pickle.Unpickler):
    """Admits what numpy needs to rebuild an array of numbers or text, and nothing else."""

    ALLOWED = {
        (module, name)
        for package in ("numpy.core", "numpy._core")
        for module, name in (
            (f"{package}.multiarray", "_reconstruct"),
            (f"{package}.multiarray", "scalar"),
            (f"{package}.numeric", "_frombuffer"),
        )
    } | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise UserError(f"it holds {module}.{name}, and only numpy arrays are read")
        return super().find_class(module, name)


def read_pickle(path: str | Path) -> np.ndarray:
    """Read an array from a pickle that may hold numpy arrays and nothing else.

    Raises UserError where the file is missing, damaged, or holds anything but an array.
    """
    path = need_file(path)
    try:
        with open(path, "rb") as file:
            array = _ArrayUnpickler(file).load()
    except UserError as error:
        raise UserError(f"{path} was not read: {error}") from None
    except Exception as error:
        raise UserError(
            f"{path} is not a readable array pickle ({type(error).__name__}): make it again"
        ) from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path} holds a {type(array).__name__}, not an array: make it again")
    return array


def read_npy(path: str | Path, mmap: bool = False) -> np.ndarray:
    """Read one .npy array, mapped read-only into memory if `mmap`; UserError where it is missing or
    damaged.
    """
    path = need_file(path)
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except Exception as error:  # a damaged header raises nearly anything
        raise UserError(
            f"{path} is not a readable .npy array ({type(error).__name__}): damaged or no array of "
            "numbers"
        ) from None


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file; UserError where it is missing or damaged."""
    path = need_file(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("a member is no array")
        return arrays
    except Exception as error:
        raise UserError(
            f"{path} is not a readable .npz file ({type(error).__name__}): make it again"
        ) from None


def read_json(path: str | Path) -> dict:
    """Read a JSON object; UserError where it is missing or damaged."""
    path = need_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON ({error}): make it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: make it again")
    return content


def read_stage(path: str | Path) -> dict:
    """Read a stage's JSON; UserError where it is missing, damaged, or its parts are not of the kind
    that Stage writes.
    """
    content = read_json(path)
    wrong = [
        key
        for key in ("settings", "counts", "inputs", "outputs")
        if not isinstance(content.get(key, {}), dict)
    ]
    wrong += [
        key
        for key in ("inputs", "outputs")
        if key not in wrong
        and not all(isinstance(digest, str) for digest in content.get(key, {}).values())
    ]
    if "settings" not in wrong and not isinstance(
        content.get("settings", {}).get("data_path", ""), str
    ):
        wrong.append("data_path")
    if wrong or content.get("status") not in (None, "running", "finished"):
        raise UserError(
            f"{path} is not what a stage writes ({', '.join(wrong) or 'status'}): remove it, and "
            "run the stage again"
        )
    return content


def read_csv(path: str | Path, hint: str = "", **options: object) -> pd.DataFrame:
    """Read a table; UserError where it is missing, empty or no csv."""
    path = need_file(path, hint)
    try:
        return pd.read_csv(path, **options)
    except (ValueError, KeyError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path} is not a readable table ({str(error).splitlines()[0]})") from None


def need_file(path: str | Path, hint: str = "") -> Path:
    """`path` if it is a file, else UserError with `hint` (what to run to get it)."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist" + (f": {hint}" if hint else ""))
    return path


def sha256(path: str | Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- what made it


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on."""
    packages = ("torch", "numpy", "pandas", "scipy", "scikit-learn", "wfdb", "captum", "matplotlib")
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


class Stage:
    """One stage's folder: claimed while it runs, described by `<name>.json`, resumable, never mixed
    up.

    with Stage(folder, "tcav", settings, overwrite=args.overwrite) as stage:
        if stage.finished_before():      # same command, nothing to do; says so
            return
        ...                              # files of an interrupted run are still there when
                                         stage.resumed
        stage.finish(inputs=[...], outputs=[...], counts={...})

    `settings` are the plain values that the result depends on; a folder that holds other settings
    is refused with the difference, unless `overwrite`. A second process on the same folder is
    refused.
    """

    def __init__(self, folder: str | Path, name: str, settings: dict, overwrite: bool = False):
        self.folder, self.name = Path(folder), name
        self.settings = json.loads(json.dumps(_plain(settings)))
        self.overwrite = overwrite
        self.path = self.folder / f"{name}.json"
        self.finished = self.resumed = False

    def __enter__(self):
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, FileNotFoundError):
            raise UserError(
                f"{self.folder} cannot be made: part of this path is a file, or takes no folders"
            ) from None
        self._lock = open(self.folder / f".{self.name}.lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._open()
        except BlockingIOError:
            self._lock.close()
            raise UserError(
                f"another process is writing {self.folder} ({self.name}): wait for it, or end it"
            ) from None
        except BaseException:
            self._lock.close()
            raise
        return self

    def _open(self):
        self._before = self.path.read_bytes() if self.path.is_file() else None
        if self.path.is_file() and not self.overwrite:
            before = read_stage(self.path)
            self._refuse_difference(before.get("settings", {}))
            self.finished = before.get("status") == "finished"
            self.resumed = not self.finished
        if not self.finished:
            remove_leftovers(self.folder)
            write_json(
                self.path, {"stage": self.name, "status": "running", "settings": self.settings}
            )

    def _refuse_difference(self, before):
        differing = [
            key for key in {**before, **self.settings} if before.get(key) != self.settings.get(key)
        ]
        if differing:
            shown = "; ".join(
                f"{key}: {before.get(key)!r} there, {self.settings.get(key)!r} here"
                for key in differing
            )
            raise UserError(
                f"{self.folder} holds a run with other settings ({shown}): "
                "--overwrite to start anew, or choose another folder"
            )

    def finished_before(self) -> bool:
        """Whether the same command ended before: then says so, and how to compute anew."""
        if self.finished:
            print(
                f"{self.folder} is finished: {self.path.name} says what made it (--overwrite makes "
                "it anew)"
            )
        return self.finished

    def withdraw(self) -> None:
        """Leave the stage file as it was found: for a stage that stops at its checks, before
        writing anything.
        """
        if self._before is None:
            self.path.unlink(missing_ok=True)
        else:
            with replacing(self.path) as temporary:
                temporary.write_bytes(self._before)

    def finish(
        self,
        inputs: Iterable[str | Path] = (),
        outputs: Iterable[str | Path] = (),
        counts: dict | None = None,
    ) -> None:
        """Mark the stage finished and store command, versions, counts and the hashes of inputs and
        outputs.
        """
        write_json(
            self.path,
            {
                "stage": self.name,
                "status": "finished",
                "settings": self.settings,
                "command": shlex.join(["python", *sys.argv]),
                "versions": versions(),
                "counts": counts or {},
                "inputs": self._hashes(inputs),
                "outputs": self._hashes(outputs),
            },
        )
        self.finished = True

    def _hashes(self, paths):
        """Paths relative to this folder, so that a moved tree can still be verified; links are
        resolved (`..` ignores them).
        """
        here = os.path.realpath(self.folder)
        return {os.path.relpath(os.path.realpath(path), here): sha256(path) for path in paths}

    def __exit__(self, *_):
        self._lock.close()


def broken_link(json_path: str | Path) -> str | None:
    """An input or output of a finished stage that has changed since, or else is missing, in words;
    None if all hold.
    """
    json_path = Path(json_path)
    content = read_stage(json_path)
    if content.get("status") != "finished":
        return f"{json_path}: the stage is not finished"
    missing = None
    for kind in ("inputs", "outputs"):
        for name, digest in content.get(kind, {}).items():
            path = Path(os.path.realpath(json_path.parent / name))
            what = f"{json_path}: {kind[:-1]} {os.path.relpath(path)}"
            if not path.is_file():
                missing = missing or f"{what} is missing"
            elif sha256(path) != digest:
                return f"{what} has changed since"
    return missing
