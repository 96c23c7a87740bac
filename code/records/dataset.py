"""The preprocessed data set: signals, labels and the enriched table, in one row order.

Reads what preprocessing.py wrote into one folder; every later stage gets its records from here.
"""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from common.files import (
    UserError,
    need_file,
    note_read,
    read_csv,
    read_npy,
    read_pickle,
    sha256_once,
)
from common.labels import LABEL_MAPPINGS, LEADS, OWN_TASK, REGRESSION_TASKS
from common.stage import data_folders, made_path, read_stage
from records import stored
from records.stored import leads_there
from records.tasks import classes_of, own_tasks, read_tasks

Signals = TypeVar("Signals")  # (N, T, leads): an array or a tensor

TABLE = "ptbxl_database_enriched.csv"
PLANTED = "planted_causes.csv"  # only a simulated cohort has it
PICKLE = b"\x80"  # how a pickle begins, from protocol 2 on
FLAG_WORDS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}


@dataclass(frozen=True)
class Dataset:
    """Records of one data set; every array and the table share one row order.

    table          enriched table, indexed by ecg_id
    signals        # (N, T, 12) float32 mV, NaN for leads that the cohort does not have; those of a
                   large cohort stay on disk (records/stored.py)
    sampling_rate  Hz
    task           name of the task or None; then `labels` and `labelled` are None too
    labels         # (N, classes) 0/1, or (N, 12) mV for a regression task (NaN where not measured)
    labelled       # (N,) bool: the record has at least one label of the task, or says no to its
                   classes (`answered` in tasks.json); of a regression task all 12 values
    path           the folder it was read from
    label_names    names of the label columns, in their order (() without a task)
    unknown        those of label_names that the data set says nothing of: their columns are 0
    """

    table: pd.DataFrame
    signals: np.ndarray | stored.StoredSignals
    sampling_rate: int
    path: Path
    task: str | None = None
    labels: np.ndarray | None = None
    labelled: np.ndarray | None = None
    label_names: Sequence[str] = ()
    unknown: tuple[str, ...] = ()

    def __len__(self):
        return len(self.table)

    @property
    def ecg_id(self) -> np.ndarray:
        """(N,) int"""
        return self.table.index.to_numpy()

    @property
    def leads(self) -> tuple[str, ...]:
        """Those that the records have, in the order of LEADS."""
        there = leads_there(self.signals[:1])
        return tuple(lead for lead, has in zip(LEADS, there, strict=True) if has)

    @property
    def patient_id(self) -> np.ndarray:
        """(N,) the unit of every split, bootstrap and permutation"""
        return self.table["patient_id"].to_numpy()

    @property
    def fold(self) -> np.ndarray:
        """(N,) int 1..10"""
        return self.table["strat_fold"].to_numpy()

    def rows(self, index: np.ndarray | Sequence[int]) -> "Dataset":
        """The records at `index` (integer positions or a boolean mask), in that order."""
        index = np.asarray(index)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(int)
        picked = {
            name: getattr(self, name)[index]
            for name in ("labels", "labelled")
            if getattr(self, name) is not None
        }
        signals = stored.pick(self.signals, index)
        return replace(self, table=self.table.iloc[index], signals=signals, **picked)

    def in_folds(self, folds: Iterable[int]) -> "Dataset":
        """The records whose strat_fold is one of `folds`."""
        return self.rows(np.isin(self.fold, list(folds)))

    def positions(self, ecg_ids: Iterable[int]) -> np.ndarray:
        """Row of each ecg_id; UserError names those that are not there."""
        ecg_ids = list(ecg_ids)
        rows = self.table.index.get_indexer(ecg_ids)
        missing = [str(ecg_id) for ecg_id, row in zip(ecg_ids, rows, strict=True) if row < 0]
        if missing:
            raise UserError(
                f"no record with ecg_id {', '.join(missing)} in {self.path} (it has {len(self)} "
                "records)"
            )
        return rows

    def r_peaks(self, row: int) -> np.ndarray:
        """R-peaks of one record in samples at this data set's sampling rate (the table holds them
        at 100 Hz).
        """
        return parse_r_peaks(self.table["r_peaks"].iloc[row]) * self.sampling_rate // 100


def parse_r_peaks(text: object, where: str = "") -> np.ndarray:
    """'114 207 299' -> int array (samples at 100 Hz); a blank cell gives an empty array.

    Numbers may stand in brackets, as numpy prints an array.
    """
    told = isinstance(text, str)
    words = text.strip().removeprefix("[").removesuffix("]").split() if told else []
    try:
        return np.array([int(word) for word in words], dtype=int)
    except (ValueError, OverflowError):
        raise UserError(
            f"{where}r_peaks {text[:60]!r} are not whole numbers separated by spaces"
        ) from None


def parse_flags(table: pd.DataFrame, name: str, where: str = "") -> np.ndarray:
    """A True/False/blank column as float (N,): 1, 0, NaN (blank). The one reading of such columns.

    Raises UserError, beginning with `where`, for any other value.
    """
    flags, others = _flags(table[name])
    if len(others):
        named = ", ".join(dict.fromkeys(map(str, others)))
        raise UserError(
            f"{where}column {name} holds {named[:200]}, where True, False or a blank is expected"
        )
    return flags


def _flags(column):
    """Flags (N,) of a column, and those of its cells that are neither True, False nor blank."""
    if column.dtype == bool:
        return column.to_numpy(dtype=float), column[:0]
    words = column.astype("string").str.strip().str.lower()
    words = words.mask(words.isin(["", "nan"]))
    values = words.map(FLAG_WORDS).astype(float)
    others = column[values.isna() & words.notna()]
    return values.to_numpy(dtype=float, na_value=np.nan), others


def load_table(data_path: str | Path) -> pd.DataFrame:
    """The enriched table, indexed by ecg_id."""
    path = Path(data_path) / TABLE
    if not path.is_file():
        need_file(path, _remade(data_path))
    note_read(path)
    table = read_csv(path, low_memory=False, dtype={"r_peaks": "string"})
    missing = [
        column
        for column in ("ecg_id", "patient_id", "strat_fold", "r_peaks")
        if column not in table
    ]
    if missing:
        raise UserError(f"{path} lacks the column {', '.join(missing)}: {_remade(data_path)}")
    if table["ecg_id"].isna().any() or table["ecg_id"].duplicated().any():
        raise UserError(
            f"{path}: ecg_id must be there and occur once in every row: {_remade(data_path)}"
        )
    table["r_peaks"] = table["r_peaks"].astype(object).where(table["r_peaks"].notna(), "")
    return table.set_index("ecg_id")


def load_dataset(
    data_path: str | Path,
    task: str | None = None,
    sampling_rate: int = 100,
    limit: int | None = None,
    label_names: Sequence[str] | None = None,
) -> Dataset:
    """Read signals, table and, for a task, labels from the folder that preprocessing.py wrote.

    `label_names` are the label columns to give, in that order (a network's); by default all of the
    task. Raises UserError where a file is missing or damaged, or the row counts do not agree.
    """
    data_path = Path(data_path)
    raw = signals_path(data_path, sampling_rate)
    if not raw.is_file():
        raise UserError(f"{raw} does not exist: {_remade(data_path, sampling_rate)}")
    _check_finished(data_path)
    _check_sources(data_path, sampling_rate)
    made = _made_by(data_path, sampling_rate)
    for name in (raw.name, *_label_files(data_path, task)):
        if _has_changed(data_path / name, made):
            raise UserError(
                f"{data_path / name} has changed since preprocessing.py wrote it (sha256): "
                + _remade(data_path, sampling_rate)
            )
    note_read(raw, sha256_once(raw))
    signals, table = read_signals(raw), load_table(data_path)
    _check_table(data_path / TABLE, table, made)
    if signals.ndim != 3 or signals.shape[2] != len(LEADS) or len(signals) != len(table):
        raise UserError(
            f"{raw} is {signals.shape}, the table has {len(table)} rows: "
            f"they belong to different runs; {_remade(data_path, sampling_rate)}"
        )
    columns = label_columns(data_path, task, table, label_names) if task else {}
    data = Dataset(table, signals, sampling_rate, data_path, task, **columns)
    return data.rows(np.arange(min(limit, len(data)))) if limit else data


def leads_of(data_path: str | Path, sampling_rate: int = 100) -> tuple[str, ...]:
    """The leads that a data set's records have, as preprocessing.py noted them; else all 12."""
    return tuple(_made_by(Path(data_path), sampling_rate).get("counts", {}).get("leads", LEADS))


def content_hash(data_path: str | Path, sampling_rate: int = 100) -> str | None:
    """Hash of a data set's table, signals and labels; None where these are not there.

    The same folder under another spelling, and a copy of it, have the same.
    """
    folder = Path(data_path)
    needed = (folder / TABLE, signals_path(folder, sampling_rate))
    if not all(path.is_file() for path in needed):
        return None
    digest = hashlib.sha256()
    for path in (*needed, *sorted(folder.glob("multihot_*.npy"))):
        digest.update(sha256_once(path).encode())
    return digest.hexdigest()


def identify(data_path: str | Path, sampling_rate: int = 100) -> dict:
    """A data set in plain values: `name` for people, `sha256` (content_hash), `simulated`."""
    folder = Path(data_path)
    simulated = any((one / PLANTED).is_file() for one in data_folders(folder))
    name = _made_by(folder, sampling_rate).get("counts", {}).get("version")
    return {
        "name": str(name or folder.resolve().name),
        "sha256": content_hash(folder, sampling_rate),
        "simulated": simulated,
    }


def signals_path(data_path: str | Path, sampling_rate: int) -> Path:
    """The file of a data set's signals: raw100.pkl, or raw100.npy as the original code names it."""
    path = Path(data_path) / f"raw{sampling_rate}.pkl"
    original = path.with_suffix(".npy")
    return original if original.is_file() and not path.is_file() else path


def read_array(path: str | Path, in_memory: int | None = None) -> np.ndarray:
    """An array from a pickle or a .npy file, whose first byte tells one from the other: the
    original code wrote pickles under .npy names. UserError where it is missing, damaged or no array
    of numbers. One of more than `in_memory` bytes is mapped into memory where it can be.
    """
    path = need_file(path)
    with open(path, "rb") as file:
        is_pickle = path.suffix == ".pkl" or file.read(1) == PICKLE
    mapped = in_memory is not None and path.stat().st_size > in_memory
    array = read_pickle(path, in_memory) if is_pickle else read_npy(path, mapped)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path} holds {array.dtype}, not an array of numbers")
    return array


def read_signals(path: Path) -> np.ndarray | stored.StoredSignals:
    """Signals (N, T, 12) float32 mV, left on disk where they are many; those of the original code
    may be float64.
    """
    array = read_array(path, stored.IN_MEMORY)
    if isinstance(array, np.memmap) and array.dtype == np.float32 and array.ndim == 3:
        return stored.StoredSignals.of(array)
    return array.astype(np.float32, copy=False)


def _check_finished(data_path):
    """Files of a run that was cut off need not belong together."""
    for path in data_path.glob("preprocessing*.json"):
        if read_stage(path).get("status") != "finished":
            raise UserError(
                f"{path} says that preprocessing is not finished: wait for it, or run it again"
            )


def _check_sources(data_path, sampling_rate):
    """UserError where the records or tables that a data set was made from are others now."""
    from records import origin

    path = made_path(data_path, sampling_rate)
    change = origin.changed(path) if path.is_file() else None
    if change:
        raise UserError(
            f"{change} since {data_path} was made from it: {_remade(data_path, sampling_rate)}"
        )


def _remade(data_path, sampling_rate=100):
    """What a message about a data set ends with."""
    from records.origin import to_make

    return f"run {to_make(data_path, sampling_rate)}"


def _made_by(data_path, sampling_rate):
    """What preprocessing.py says of the folder, {} where its JSON is not there."""
    path = made_path(data_path, sampling_rate)
    return read_stage(path) if path.is_file() else {}


def _has_changed(path, made):
    """Whether a file is not what preprocessing.py wrote: a flipped bit would go unseen
    otherwise.
    """
    digest = made.get("outputs", {}).get(path.name)
    return bool(digest) and path.is_file() and digest != sha256_once(path)


def _check_table(path, table, made):
    """Columns may be added to the table or corrected, which is said; rows must stay those of the
    arrays.
    """
    if not _has_changed(path, made):
        return
    rows = made.get("counts", {}).get("rows_sha256")
    if rows and rows != rows_digest(table[["patient_id", "strat_fold"]].reset_index()):
        raise UserError(
            f"{path}: ecg_id, patient_id or strat_fold are not those that preprocessing.py wrote, "
            f"and the arrays are in that order: {_remade(path.parent)}"
        )
    print(f"note: {path} has changed since preprocessing.py wrote it", file=sys.stderr)


def shared_patients(one: Dataset, other: Dataset) -> str:
    """'2 patients (patient_id 7 9)' with records in both data sets, in words, the first ten by
    name; "" where there are none.
    """
    shared = np.intersect1d(one.patient_id, other.patient_id)
    if not len(shared):
        return ""
    named = " ".join(f"{patient:g}" for patient in shared[:10])
    more = " ..." if len(shared) > 10 else ""
    return f"{len(shared)} patients (patient_id {named}{more})"


def rows_digest(table: pd.DataFrame) -> str:
    """Hash of which records a table has, in which order, of which patients and folds."""
    columns = table[["ecg_id", "patient_id", "strat_fold"]].to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(columns.encode()).hexdigest()


def load_labels(data_path: Path, task: str, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a task and the mask of the records that have any, or that say no to all."""
    classes = classes_of(data_path, task)
    if task in REGRESSION_TASKS:
        return _amplitudes(task, table, data_path)
    path = data_path / f"multihot_{task}.npy"
    if not path.is_file():
        raise UserError(f"{path} does not exist: {_remade(data_path)}")
    note_read(path)
    labels = read_array(path)
    if labels.shape != (len(table), len(classes)):
        raise UserError(
            f"{path} is {labels.shape}, expected {(len(table), len(classes))}: {_remade(data_path)}"
        )
    answered = [set(one.answered) for one in own_tasks(data_path).values()]
    asked = not set(classes).isdisjoint(set().union(*answered))
    return labels.astype(int, copy=False), labels.any(axis=1) | asked


def label_columns(
    data_path: Path, task: str, table: pd.DataFrame, names: Sequence[str] | None = None
) -> dict[str, object]:
    """The fields `labels`, `labelled`, `label_names` and `unknown` of a Dataset.

    names  the columns to give, by default all of the task. With OWN_TASK each is looked up by
           itself: a column of the table that holds True and False, else a label of a task that
           knows it (`_task_of`).
    """
    if task == OWN_TASK and names is not None:
        return _own_columns(data_path, table, list(names))
    labels, labelled = load_labels(data_path, task, table)
    known = classes_of(data_path, task)
    chosen = known if names is None else list(names)
    if strange := [name for name in chosen if name not in known]:
        raise UserError(f"{', '.join(strange)}: no label of {task}, which has {', '.join(known)}")
    if chosen != known:
        labels = labels[:, [known.index(name) for name in chosen]]
    return {"labels": labels, "labelled": labelled, "label_names": chosen}


def _task_of(label, labels, own):
    """The classification task that a label is taken from: of `own`, the data set's, the first that
    knows it; else of PTB-XL's the one that knows most of `labels`; None where there is none.
    """
    for task in own.values():
        if label in task.classes:
            return task.name
    knowing = [task for task, names in LABEL_MAPPINGS.items() if label in names]
    return max(knowing, key=lambda task: len({*labels} & {*LABEL_MAPPINGS[task]}), default=None)


def _label_files(data_path, task):
    """Names of the label files that a task may be read from."""
    tasks = read_tasks(data_path) if task == OWN_TASK else [task]
    return [f"multihot_{one}.npy" for one in tasks]


def _own_columns(data_path, table, names):
    """Columns of classes of one's own, each from the table or from the task that knows it."""
    own = own_tasks(data_path)
    labels = np.zeros((len(table), len(names)), dtype=int)
    labelled, unknown = np.zeros(len(table), dtype=bool), []
    for position, name in enumerate(names):
        answers = _answers(table[name]) if name in table else None
        if answers is not None:
            labels[:, position] = answers == 1
            labelled |= np.isfinite(answers)
        elif task := _task_of(name, names, own):
            values, any_of_task = load_labels(data_path, task, table)
            labels[:, position] = values[:, classes_of(data_path, task).index(name)]
            labelled |= any_of_task
        else:
            unknown.append(name)
    return {
        "labels": labels,
        "labelled": labelled,
        "label_names": names,
        "unknown": tuple(unknown),
    }


def _answers(column):
    """Flags (N,) of a column of True and False; None where it says anything else, or nothing."""
    flags, others = _flags(column)
    return None if len(others) or np.isnan(flags).all() else flags


def _amplitudes(task, table, data_path):
    """Amplitude targets in mV, one per lead; NaN where a wave was not measured."""
    columns = [REGRESSION_TASKS[task] + lead for lead in LEADS]
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"the enriched table lacks {', '.join(missing)}: {_remade(data_path)}")
    values = table[columns].to_numpy(dtype=np.float32)
    return values, np.isfinite(values).all(axis=1)


def centre_crop(signals: Signals, length: int) -> Signals:
    """The middle `length` samples: (N, T, leads) -> (N, length, leads); a view."""
    start = (signals.shape[1] - length) // 2
    if start < 0:
        raise UserError(
            f"records of {signals.shape[1]} samples are shorter than the model's crop of {length}"
        )
    return signals[:, start : start + length]


def window_starts(n_samples: int, length: int) -> np.ndarray:
    """Starts of the windows of `length` at half stride that lie within the record; the last one
    ends at its end.
    """
    if length > n_samples:
        raise UserError(
            f"records of {n_samples} samples are shorter than the model's crop of {length}"
        )
    starts = np.arange(0, n_samples - length + 1, max(length // 2, 1))
    return starts if starts[-1] == n_samples - length else np.append(starts, n_samples - length)
