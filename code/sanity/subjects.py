"""Subjects of the sanity checks: which records a model is explained on, and for which output."""

import numpy as np
from torch import nn

from common.files import UserError
from common.labels import LEADS, is_regression
from ecg.fills import isoelectric_line
from ecg.segments import SEGMENTS
from networks.inference import predict
from records.dataset import Dataset, centre_crop
from records.segmentations import load_segments
from sanity.subject import Subject

CHUNK = 50  # records whose whole segmentation is in memory at a time


def choose_targets(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """(n,) for each record the label of highest logit among its true ones; -1 for a record without
    a label.
    """
    true = labels > 0
    best = np.where(true, logits, -np.inf).argmax(axis=1)
    return np.where(true.any(axis=1), best, -1)


def choose_records(targets: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Up to `n` rows, the targets taken in turn so that rare ones are not drowned, ascending; -1 is
    never chosen.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(targets >= 0))
    turn = np.zeros(len(order), dtype=int)
    for target in np.unique(targets[order]):
        places = np.flatnonzero(targets[order] == target)
        turn[places] = np.arange(len(places))
    return np.sort(order[np.argsort(turn, kind="stable")][:n])


def make_subject(name: str, model: nn.Module, data: Dataset, n: int, seed: int = 0) -> Subject:
    """The records of `data` (already limited to its folds) that `model` is explained on, cut to its
    crop.

    Classification: true positives by label, the target is the true label of highest logit.
    Regression: records with all 12 amplitudes; the leads take turns as targets. Raises UserError
    where no record qualifies.
    """
    if is_regression(model.info.task):
        targets = np.where(data.labelled, np.arange(len(data)) % len(LEADS), -1)
    else:
        targets = choose_targets(data.labels, predict(model, data.signals, "centre_crop"))
    rows = choose_records(targets, n, seed)
    if not len(rows):
        raise UserError(
            f"no record of folds {sorted(set(data.fold))} in {data.path} has a label of "
            f"{model.info.task}"
        )
    crop = model.info.crop
    start = (data.signals.shape[1] - crop) // 2
    signals = np.ascontiguousarray(centre_crop(data.signals[rows], crop))
    segments = np.concatenate(
        [
            load_segments(data, rows[first : first + CHUNK])[:, start : start + crop]
            for first in range(0, len(rows), CHUNK)
        ]
    )
    peaks = [data.r_peaks(row) - start for row in rows]
    inside = [at[(at >= 0) & (at < crop)] for at in peaks]
    return Subject(
        name,
        model,
        signals,
        segments,
        isoelectric_line(signals, segments, SEGMENTS),
        targets[rows],
        data.ecg_id[rows],
        data.patient_id[rows],
        data.sampling_rate,
        inside,
    )
