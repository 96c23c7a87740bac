"""The patients a record resembles: the nearest training records, and whether there is any.

Two ways of being alike: by the network's features (what it has made of the record before its last
layer) and by attribution cells (lead x segment densities of saliency for one output). Vectors are
centred and divided by the training records' standard deviation; distance is 1 - cosine, 0 for the
same direction. A record's own patient is kept apart. A file of one's own that is a training record
again is told by its signals: column `itself`.

How far is it from them? Its mean distance to the K nearest training records is held against the
same of the training records among each other: p is the share of these that lie as far from the
others. Whether the record is like anything that the network has seen is judged by more than these
distances (unlike.py): `unlike_p`, `out_of_distribution`, `because`.
"""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from torch import nn

from attribution.cells import cell_maps, relative_density
from attribution.methods import explain_records
from attribution.plan import Target
from attribution.unlike import ALARM, FEWEST, Signs, Watch, signs_of, watch
from common.files import UserError, read_npz, write_npz
from networks.checkpoints import ModelInfo
from networks.defaults import data_facts, own_data
from networks.features import features_of
from records.dataset import Dataset
from records.segmentations import load_segments

FILE = "neighbours.csv"
K = 5
MOST = 2000  # training records that neighbours are looked for among
METHOD = "saliency"  # of the attribution cells: one gradient a window
CHUNK = 64  # records explained at a time
SAME = 1e-4  # distance by features below which signals are compared
SAME_MV = 0.002  # signals that differ by no more are one recording: one or two steps of a file
COLUMNS = (
    "ecg_id",
    "alike_by",
    "rank",
    "neighbour",
    "labels",
    "distance",
    "mean_distance",
    "typical_distance",
    "p",
    "unlike_p",
    "out_of_distribution",
    "because",
    "itself",
)


# ---------------------------------------------------------------- vectors


def cells_of(model: nn.Module, data: Dataset, target: int, window: str = "windows") -> np.ndarray:
    """(n, 288) saliency density by lead and segment over the record's mean; NaN for cells that a
    record does not have.
    """
    parts = []
    for start in range(0, len(data), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(data)))
        done = explain_records(model, data.signals[rows], target, METHOD, window)
        maps = cell_maps(done.even(), load_segments(data, rows), data.patient_id[rows])
        parts.append(relative_density(maps).filled(np.nan))
    return np.concatenate(parts).reshape(len(data), -1)


@dataclass(frozen=True)
class Neighbourhood:
    """Training records as vectors of one kind.

    mean, spread  # (D,) of the vectors
    units         # (n, D) vectors, standardised, of length 1
    patients      # (n,)
    typical       # (n,) mean distance of each to its K nearest of other patients; NaN without
    """

    mean: np.ndarray
    spread: np.ndarray
    units: np.ndarray
    patients: np.ndarray
    typical: np.ndarray

    def distances(self, vectors: np.ndarray, patients: ArrayLike | None = None) -> np.ndarray:
        """(m, n) 1 - cosine of vectors (m, D) to the training records; infinite to records of the
        same patient, where `patients` (m,) are known.
        """
        found = 1 - _units(vectors, self.mean, self.spread) @ self.units.T
        if patients is not None:
            found[np.asarray(patients)[:, None] == self.patients] = np.inf
        return found

    def tail(self, distance: np.ndarray) -> np.ndarray:
        """(m,) p: share of the training records that are as far from the others as `distance`."""
        known = np.sort(self.typical[np.isfinite(self.typical)])
        reached = len(known) - np.searchsorted(known, distance - 1e-12)
        return (1 + reached) / (1 + len(known))


def _units(vectors, mean, spread):
    """Standardised vectors of length 1; what is unknown counts as the mean."""
    centred = np.nan_to_num((vectors - mean) / spread)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.maximum(length, 1e-12)


def settle_in(vectors: np.ndarray, patients: np.ndarray) -> Neighbourhood:
    """The neighbourhood of training vectors (n, D), NaN where unknown."""
    known = np.isfinite(vectors)
    filled = np.where(known, vectors, 0)
    counts = np.maximum(known.sum(axis=0), 1)
    mean = filled.sum(axis=0) / counts
    spread = np.sqrt((np.where(known, vectors - mean, 0) ** 2).sum(axis=0) / counts)
    spread = np.where(spread > 1e-9, spread, 1.0)
    units = _units(vectors, mean, spread)
    among = Neighbourhood(mean, spread, units, patients, np.zeros(len(units)))
    typical = _mean_of_nearest(among.distances(vectors, patients))
    return Neighbourhood(mean, spread, units, patients, typical)


def _mean_of_nearest(distances, k=K):
    """(m,) mean of each row's k least finite distances; NaN without any."""
    nearest = np.sort(distances, axis=1)[:, :k]
    known = np.isfinite(nearest)
    total = np.where(known, nearest, 0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def nearest(
    home: Neighbourhood, vectors: np.ndarray, patients: ArrayLike | None, k: int = K
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each vector (m, D): the k nearest training records (m, k) and their distances (m, k), the
    mean distance to the K nearest (m,), and its p (m,).
    """
    distances = home.distances(vectors, patients)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    mean = _mean_of_nearest(distances)
    return order, np.take_along_axis(distances, order, axis=1), mean, home.tail(mean)


# ---------------------------------------------------------------- of a run


def home_of(args: argparse.Namespace, info: ModelInfo, checkpoint: Path) -> tuple[Path, bool]:
    """Folder of the data set with the training records, and whether the explained ones are none of
    its: one of your own, or those of another data set than the network was trained on.
    """
    if args.record:
        return Path(args.data_path) if args.data_path else own_data(info, checkpoint), True
    explained = Path(args.data_path)
    if "trained_on" not in data_facts(explained, info, checkpoint):
        return explained, False
    home = own_data(info, checkpoint)
    return home, not home.samefile(explained)


def pool_of(data: Dataset, folds: Sequence[int], seed: int = 0, most: int = MOST) -> Dataset:
    """At most `most` of the training records, drawn at random; UserError where there are fewer
    than two patients.
    """
    rows = np.flatnonzero(data.labelled & np.isin(data.fold, list(folds)))
    if len(np.unique(data.patient_id[rows])) < 2:
        raise UserError(f"{data.path} has no two patients in the training folds: no neighbours")
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return data.rows(rows)


def vectors_of(model: nn.Module, data: Dataset, window: str, target: int | None) -> np.ndarray:
    """Features of the records, or with a `target` their attribution cells: (n, D)."""
    if target is None:
        return features_of(model, data.signals, window)
    return cells_of(model, data, target, window)


@dataclass(frozen=True)
class Kept:
    """Training records whose vectors are computed once and kept in `folder`.

    pool   the training records
    facts  what else the vectors depend on: hashes of the network and of the data set
    """

    model: nn.Module
    pool: Dataset
    folder: Path
    facts: str
    window: str = "windows"

    def vectors(self, target: int | None) -> np.ndarray:
        """(n, D) by features, or by the cells of an output."""
        digest = hashlib.sha256(f"{self.facts} {self.window} {target}".encode())
        digest.update(np.ascontiguousarray(self.pool.ecg_id))
        kind = "features" if target is None else "cells"
        path = self.folder / f"{kind}_{digest.hexdigest()[:16]}.npz"
        if not path.is_file():
            found = vectors_of(self.model, self.pool, self.window, target)
            write_npz(path, vectors=found, ecg_id=self.pool.ecg_id)
        return read_npz(path)["vectors"]

    def signs(self) -> Signs:
        """The signs by which a record is unlike (unlike.py)."""
        digest = hashlib.sha256(f"{self.facts} {self.window}".encode())
        digest.update(np.ascontiguousarray(self.pool.ecg_id))
        path = self.folder / f"signs_{digest.hexdigest()[:16]}.npz"
        if not path.is_file():
            rate = self.pool.sampling_rate
            write_npz(path, **signs_of(self.model, self.pool.signals, rate, self.window))
        return read_npz(path)


def watch_of(kept: Kept, validation: Dataset | None) -> Watch:
    """The alarm set by the training records and those of `validation`, drawn as pool_of does."""
    training = kept.signs()
    if validation is None:
        none = {name: vectors[:0] for name, vectors in training.items()}
        return watch(training, none, kept.model.info.leads)
    held = Kept(kept.model, validation, kept.folder, kept.facts, kept.window)
    return watch(training, held.signs(), kept.model.info.leads)


def neighbours_table(
    kept: Kept,
    data: Dataset,
    targets: Sequence[Target],
    alarm: Watch,
    k: int = K,
    own: bool = False,
) -> pd.DataFrame:
    """neighbours.csv: the k nearest training records of every explained record of `data`, by
    features and by the cells of each target, and whether it is like any, by `alarm`.

    `own`: the records are of patients unknown to the data set, whatever their numbers; nobody is
    kept apart but the patient of a training record that is the same recording.
    """
    everyone = np.unique(np.concatenate([target.rows for target in targets]))
    unlike = dict(
        zip(data.ecg_id[everyone], _unlike(kept, data.rows(everyone), alarm), strict=True)
    )
    kinds = [("features", None, everyone)]
    kinds += [(f"cells {target.name}", target.index, target.rows) for target in targets]
    rows, again = [], _again(kept, data.rows(everyone)) if own else {}
    for alike_by, index, chosen in kinds:
        asked = data.rows(chosen)
        patients = asked.patient_id
        if own:
            places = [again.get(ecg_id) for ecg_id in asked.ecg_id]
            patients = [None if at is None else kept.pool.patient_id[at] for at in places]
        home = settle_in(kept.vectors(index), kept.pool.patient_id)
        vectors = vectors_of(kept.model, asked, kept.window, index)
        found = nearest(home, vectors, np.array(patients), k)
        for row, ecg_id in enumerate(asked.ecg_id):
            facts = [part[row] for part in found]
            typical = float(np.nanmedian(home.typical))
            more = (*unlike[ecg_id], again.get(ecg_id))
            rows += _rows_of(kept, alike_by, ecg_id, facts, typical, more)
    return pd.DataFrame(rows, columns=COLUMNS)


def _unlike(kept, data, alarm):
    """(p, whether that is an alarm, why) of each record."""
    signs = signs_of(kept.model, data.signals, data.sampling_rate, kept.window)
    return [
        (float(f"{p:.3g}"), bool(p < ALARM), because)
        for p, because in zip(alarm.p(signs), alarm.because(signs), strict=True)
    ]


def _again(kept, asked):
    """ecg_id -> place in the pool of the training record that is the same recording, for those of
    `asked` that are one.
    """
    home = settle_in(kept.vectors(None), kept.pool.patient_id)
    distances = home.distances(vectors_of(kept.model, asked, kept.window, None))
    found = {}
    for row, place in np.argwhere(distances < SAME):
        here, there = asked.signals[row], kept.pool.signals[place]
        if here.shape == there.shape and np.abs(here - there).max() <= SAME_MV:
            found.setdefault(asked.ecg_id[row], int(place))
    return found


def _rows_of(kept, alike_by, ecg_id, found, typical, more):
    """Rows of one record: its neighbours in their order; `more`: (unlike_p, alarm, why, place of
    the training record that it is, or None).
    """
    places, distances, mean, p = found
    labels = kept.model.info.labels
    *unlike, again = more
    itself = None if again is None else kept.pool.ecg_id[again]
    shared = (round(float(mean), 4), round(typical, 4), float(f"{p:.3g}"), *unlike, itself)
    for rank, (place, distance) in enumerate(zip(places, distances, strict=True), start=1):
        if np.isfinite(distance):
            present = np.flatnonzero(kept.pool.labels[place] > 0)
            named = "; ".join(labels[column] for column in present)  # names may hold blanks
            nearby = (kept.pool.ecg_id[place], named, round(float(distance), 4))
            yield (ecg_id, alike_by, rank, *nearby, *shared)


def in_words(table: pd.DataFrame) -> str:
    """One line: how many records are like none of the training records."""
    first = table[(table["rank"] == 1) & (table["alike_by"] == "features")]
    if first["unlike_p"].isna().all():
        return (
            f"whether the {len(first)} explained records are unlike the training records is not "
            f"known: that takes {FEWEST} validation records"
        )
    strange = first.loc[first["out_of_distribution"].astype(bool), "ecg_id"]
    named = f": {', '.join(map(str, strange[:10]))}" if len(strange) else ""
    return (
        f"{len(strange)} of {len(first)} explained records are unlike the training records (fewer "
        f"than {ALARM:.0%} of the validation records are as far off){named}"
    )
