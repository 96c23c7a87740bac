"""Files on disk: written whole or not at all, read without running anything, and refused by what
they declare before anything is unpacked.

Every writer goes through `replacing`, which writes to a temporary name in the same folder and
renames.
"""

import contextlib
import csv
import errno
import functools
import hashlib
import json
import math
import os
import pickle
import re
import types
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:  # imported where it is read: most stages start without it
    import h5py


class UserError(Exception):
    """Something the user can put right: one line that says what is wrong, where, and what would be
    right. What a file or table brings along (names with line breaks, a terminal's commands) is
    spelled out.
    """

    def __str__(self):
        return spelled_out(super().__str__())


def spelled_out(text: str) -> str:
    """A text with what a terminal would obey (line breaks, colours) written as `\\n`, `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


# ---------------------------------------------------------------- writing


# told of each file (but of thousands of records) before it gets its final name
ON_WRITE: list[Callable[[Path], None]] = []


@contextlib.contextmanager
def replacing(path: str | Path, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    sync  have the disk hold the content before the name, so that a power cut leaves the old file or
          the new one; False where there are thousands, and `sync_all` is called before the table
          that names them is written
    """
    from common.locks import temporary_name

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    try:
        yield temporary
        if sync:
            for tell in ON_WRITE:
                tell(path)
            _sync(temporary)
        os.replace(temporary, path)
        if sync:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path):
    """Have the disk hold a file's content, or a folder's names."""
    opened = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(PermissionError, InterruptedError):
            os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP):
            raise  # else this file system cannot
    finally:
        os.close(opened)


def sync_all() -> None:
    """Have the disks hold all that was written until now."""
    os.sync()


# what `replacing` writes to: machine and number of the writer's process, and a random word
_TEMPORARY = re.compile(r"\..*\.(?:([0-9a-f]{8})-)?(\d+)(?:-[0-9a-f]+)?\.tmp(\..*)?")


def remove_leftovers(folder: str | Path) -> None:
    """Remove temporary files under `folder` whose writer was killed."""
    from common.locks import is_left_over

    for path in Path(folder).rglob(".*.tmp*"):
        found = _TEMPORARY.fullmatch(path.name)
        if found and not path.is_symlink() and is_left_over(path, found[1], int(found[2])):
            path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all; of a file's name that is not UTF-8 the odd bytes
    are spelled out, as JSON has them too.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


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


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table without its index, bytes depending on its content alone; what a spreadsheet
    would run is written as text, and `read_csv` gives it back as it was.
    """
    with replacing(path) as temporary:
        _respelled(table, _as_text).to_csv(temporary, index=False, lineterminator="\n")


# what a spreadsheet takes for a formula: class names, ids and notes may come from strangers. With
# ' in front it is text there; what has one of its own gets another, so that reading gives it back
_FORMULA = re.compile(r"'*[\t\r\n]*(?:[=@]|[+-].*[(|!])", re.DOTALL)


def _as_text(cell):
    """A cell that a spreadsheet would run, with the ' in front that makes it text there."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _as_it_was(cell):
    """A cell that `_as_text` wrote, as it was before."""
    written = isinstance(cell, str) and cell[:1] == "'" and _FORMULA.match(cell, 1)
    return cell[1:] if written else cell


def _respelled(table, spell):
    """The table with every text, names of columns too, as `spell` has it; itself where that
    changes nothing.
    """
    names = [spell(name) for name in table.columns]
    columns = {}
    for k, kind in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            cells = list(table.iloc[:, k])
            spelled = [spell(cell) for cell in cells]
            if any(one is not other for one, other in zip(spelled, cells, strict=True)):
                columns[k] = pd.Series(spelled, table.index)
    if not columns and names == list(table.columns):
        return table
    parts = [columns.get(k, table.iloc[:, k]) for k in range(table.shape[1])]
    return pd.concat(parts, axis=1).set_axis(names, axis=1)


def write_npy(path: str | Path, array: np.ndarray, sync: bool = True) -> None:
    """Write one array as .npy; `sync` as in `replacing`."""
    with replacing(path, sync) as temporary, open(temporary, "wb") as file:
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


# ---------------------------------------------------------------- reading


def read_pickle(path: str | Path, in_memory: int | None = None) -> np.ndarray:
    """Read an array of plain numbers from a pickle that holds nothing else.

    in_memory  bytes that are read; a larger array is mapped read-only into memory where it can be
    Raises UserError where the file is missing, damaged, or holds anything but such an array.
    """
    from common.pickles import NotPlainError, load_array

    path = need_file(path)
    size = path.stat().st_size
    if in_memory is None or size <= in_memory:
        need_memory(size, path, "give --limit to preprocessing.py, for fewer records")
    try:
        with open(path, "rb") as file:
            return load_array(file, size, in_memory)
    except NotPlainError as error:
        raise UserError(f"{path} was not read: {error}") from None
    except MemoryError:
        raise
    except Exception as error:
        raise UserError(
            f"{path} is not a readable array pickle ({type(error).__name__}): make it again"
        ) from None


def read_npy(path: str | Path, mmap: bool = False) -> np.ndarray:
    """Read one .npy array, mapped read-only into memory if `mmap`; UserError where it is missing or
    damaged.
    """
    path = need_file(path)
    try:
        with open(path, "rb") as file:
            _check_npy(file, path.stat().st_size)
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:  # a damaged header raises nearly anything
        raise UserError(
            f"{path} is not a readable .npy array ({type(error).__name__}): damaged or no array of "
            "numbers"
        ) from None


_NPY_HEADS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _check_npy(file, size):
    """ValueError where the open .npy of `size` bytes is no array of plain numbers or texts, or
    declares more than it holds.
    """
    version = np.lib.format.read_magic(file)
    if version not in _NPY_HEADS:
        raise ValueError(f"version {version}")
    shape, _, dtype = _NPY_HEADS[version](file)
    if dtype.kind not in "biufcUS" or dtype.itemsize * math.prod(shape) > size:
        raise ValueError(f"{dtype} {shape}")


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file; UserError where it is missing or damaged, or unpacks to more
    than it can honestly hold.
    """
    path = need_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(path, archive)
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    _check_npy(file, entry.file_size)
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (UserError, MemoryError):
        raise
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
        table = pd.read_csv(path, **options)
    except (ValueError, KeyError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path} is not a readable table ({str(error).splitlines()[0]})") from None
    if "index_col" not in options and not isinstance(table.index, pd.RangeIndex):
        # the first column is taken for names of the rows then, and the others are shifted
        raise UserError(
            f"{path}: its lines have more cells than its head ({', '.join(table)[:100]}): put a "
            "cell that holds the separator into quotes, or take the one at the ends of lines away"
        )
    if any(re.search(r".\.\d+$", str(name)) for name in table.columns):
        # pandas tells a second `age` from the first as age.1
        _refuse_doubled(path, options.get("encoding", "utf-8-sig"), options.get("sep", ","))
    return _respelled(table, _as_it_was)


def _refuse_doubled(path, encoding, separator):
    with open(path, encoding=encoding, newline="") as file:
        names = next(csv.reader(file, delimiter=separator), [])
    doubled = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if doubled:
        raise UserError(f"{path} has the column {doubled[0]} twice: leave one of them out")


def need_file(path: str | Path, hint: str = "") -> Path:
    """`path` if it is a file, else UserError with `hint` (what to run to get it)."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder, no file" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}" + (f": {hint}" if hint else ""))
    return path


_READ: dict[str, str] = {}  # file -> sha256 when this process last read it


def note_read(path: str | Path, digest: str | None = None) -> None:
    """Note what a file holds now that it is read: a stage's inputs are what it has read, whatever
    becomes of the file until the stage ends.
    """
    _READ[os.path.realpath(path)] = digest or sha256(path)


def digest_read(path: str | Path) -> str:
    """sha256 of a file when it was read, else now."""
    return _READ.get(os.path.realpath(path)) or sha256(path)


def files_read(folders: Iterable[str | Path]) -> list[str]:
    """What was read below any of these folders."""
    roots = [os.path.join(os.path.realpath(folder), "") for folder in folders]
    return [path for path in _READ if any(path.startswith(root) for root in roots)]


def forget_reads() -> None:
    """Begin anew: what was read before belongs to another stage."""
    _READ.clear()


def sha256(path: str | Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: str | Path) -> str:
    """As `sha256`; a file that was hashed before is read again only if its time has changed."""
    path = os.path.realpath(path)
    return _sha256_at(path, os.stat(path).st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _sha256_at(path, _time):
    return sha256(path)


# ---------------------------------------------------------------- what a file may ask for

SMALL = 256 << 20  # bytes: as much may be unpacked, whatever the file
MAX_RATIO = 100  # unpacked bytes per stored one; signals, weights and graphs stay below 20


def available_memory() -> int | None:
    """Bytes that this process may still take, by the machine and by its control group; None where
    the system does not say.
    """
    found = [_machine_memory(), _group_memory()]
    return min((one for one in found if one is not None), default=None)


def _machine_memory():
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return None


def _group_memory():
    """What cgroup version 2 leaves, as in a container."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = (folder / "memory.current").read_text(encoding="ascii").strip()
        stated = dict(line.split() for line in (folder / "memory.stat").open(encoding="ascii"))
        # what files left in memory is given up where it is needed
        kept = sum(int(stated.get(name, 0)) for name in ("inactive_file", "active_file"))
        return None if limit == "max" else max(int(limit) - int(used) + kept, 0)
    except (OSError, ValueError):
        return None


def need_memory(n_bytes: int, what: object, lower: str) -> None:
    """UserError where `n_bytes` are more than there are; `lower` says what would need less."""
    there = available_memory()
    if there is not None and n_bytes > there:
        raise UserError(
            f"{what} needs {n_bytes / 1e9:.1f} GB of memory and {there / 1e9:.1f} GB are free: "
            f"{lower}"
        )


def check_declared(path: str | Path, declared: int, stored: int) -> None:
    """UserError where a file declares far more bytes than it can honestly hold, or than there is
    memory for.

    declared  bytes once unpacked;  stored  bytes in the file
    """
    if declared > SMALL and declared > MAX_RATIO * max(stored, 1):
        raise UserError(
            f"{path} declares {declared / 1e9:.1f} GB in {stored / 1e6:.1f} MB: it is not unpacked"
        )
    need_memory(declared, path, "take a smaller file, or a machine with more")


def check_archive(path: str | Path, archive: zipfile.ZipFile) -> None:
    """UserError where a zip archive unpacks to more than it can honestly hold."""
    entries = archive.infolist()
    declared = sum(entry.file_size for entry in entries)
    check_declared(path, declared, os.path.getsize(path))


def check_hdf5(path: str | Path, item: "h5py.Dataset") -> None:
    """UserError where the numbers of an HDF5 data set lie in other files, or are more than the file
    can honestly hold.
    """
    if item.external or item.is_virtual:
        raise UserError(f"{path}: {item.name} lies in other files, which are not opened")
    chunk = math.prod(item.chunks) * item.dtype.itemsize if item.chunks else 0
    check_declared(path, max(item.nbytes, chunk), item.id.get_storage_size())


_PLAIN_NAME = re.compile(r"\w[\w.-]*")  # of a file: the usual case, told quickly


def is_inside(name: object) -> bool:
    """Whether a name from a file or table stays in the folder that it is relative to: no absolute
    path, no .., no address of a network, no control character.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        return False
    if _PLAIN_NAME.fullmatch(name):
        return True
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return bool(parts) and ".." not in parts and parts[0] != "/" and not parts[0].endswith(":")
