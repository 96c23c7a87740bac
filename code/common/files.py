"""Files on disk: written whole or not at all, read without running anything.

Every writer goes through `replacing`, which writes to a temporary name in the same folder and
renames.
"""

import contextlib
import hashlib
import json
import os
import pickle
import re
import textwrap
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    """Write plain values, see `plain`."""
    write_text(path, json.dumps(plain(content), indent=2, ensure_ascii=False) + "\n")


def plain(value: object) -> object:
    """`value` as JSON has it: numpy scalars and arrays as numbers and lists, NaN as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
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


@dataclass
class FigureFoot:
    """What every figure of a stage says at its foot, and how fine it is drawn.

    caption    data set and network, in words
    note       a warning, such as another data set than the network was trained on
    simulated  whether the data are simulated: the figure is marked
    dpi        dots per inch of PNG files; None: as the figure wants it
    """

    caption: str = ""
    note: str = ""
    simulated: bool = False
    dpi: int | None = None


FORMATS = ("png", "pdf")  # of every figure: to look at, and to print with its fonts embedded
FOOT_SIZE = 6.0  # points, of the caption line
_FOOT = FigureFoot()


def set_up_figures(
    caption: str = "", note: str = "", simulated: bool = False, dpi: int | None = None
) -> None:
    """Have every figure from now on carry a caption line, a warning and a mark; see FigureFoot."""
    _FOOT.caption, _FOOT.note, _FOOT.simulated, _FOOT.dpi = caption, note, simulated, dpi


def write_figure(
    figure: "Figure",
    path: str | Path,
    formats: tuple[str, ...] = FORMATS,
    dpi: int = 150,
    about: str = "",
) -> list[Path]:
    """Save and close a matplotlib figure as `path` with each of the suffixes; returns the written
    paths.

    about  what it was made from, such as '60 records of fold 10': the caption line begins with it
    """
    import matplotlib.pyplot as plt

    dpi = _FOOT.dpi or dpi
    canvas = _write_foot(figure, about, below=_lay_out(figure, dpi))
    written = []
    for suffix in formats:
        target = Path(path).with_name(f"{Path(path).name}.{suffix}")
        options = {"dpi": dpi, "bbox_inches": canvas, **FIGURE_OPTIONS.get(suffix, {})}
        with replacing(target) as temporary:
            figure.savefig(temporary, **options)
        written.append(target)
    plt.close(figure)
    return written


def _write_foot(figure, about, below):
    """Write caption line, note and mark at the lower edge, or in a strip `below` it; returns the
    canvas to save, in inches (None: the figure as it is).
    """
    from matplotlib.transforms import Bbox

    line_height = 1.25 * FOOT_SIZE / 72
    mark = 0.75 if _FOOT.simulated else 0.0  # inches
    width, height = figure.get_size_inches()
    letters = int((width - mark - 0.1) / (0.55 * FOOT_SIZE / 72))
    said = " · ".join(filter(None, (about, _FOOT.caption)))
    lines = []
    for text, colour in ((said, "#555555"), (_FOOT.note, "firebrick")):
        lines += [(line, colour) for line in textwrap.wrap(text, letters)]
    n_lines = max(len(lines), int(_FOOT.simulated))
    if not n_lines:
        return None
    depth = 0.08 + n_lines * line_height
    bottom = 0.04 - depth * below
    style = {"fontsize": FOOT_SIZE, "va": "bottom", "parse_math": False}
    for number, (line, colour) in enumerate(reversed(lines)):
        y = (bottom + number * line_height) / height
        figure.text(0.05 / width, y, line, color=colour, **style)
    if _FOOT.simulated:
        mark = {"color": "firebrick", "fontweight": "bold", "ha": "right"}
        figure.text(1 - 0.05 / width, bottom / height, "SIMULATED", **mark, **style)
    return Bbox([[0, -depth], [width, height]]) if below else None


def _lay_out(figure, dpi):
    """Run a figure's layout engine now, once, and say whether it has one: `savefig` would run it,
    and draw everything once more, for every format.
    """
    engine = figure.get_layout_engine()
    if engine is None:
        return False
    figure.set_dpi(dpi)
    engine.execute(figure)
    figure.set_layout_engine("none")
    for legend in figure.legends:  # stays with the figure where the canvas grows
        legend.set_bbox_to_anchor((0, 0, 1, 1), figure.transFigure)
    return True


# ---------------------------------------------------------------- reading


class _ArrayUnpickler(pickle.Unpickler):
    """Admits what numpy needs to rebuild an array of numbers or text, and nothing else."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),  # numpy 1
            ("numpy.core.multiarray", "scalar"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.multiarray", "_reconstruct"),  # numpy 2
            ("numpy._core.multiarray", "scalar"),
            ("numpy._core.numeric", "_frombuffer"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

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
