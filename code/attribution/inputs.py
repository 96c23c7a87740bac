"""What explanations start from beside the signal: baselines, pieces to occlude, and a record of
one's own as a data set.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

import ecg
from attribution.occlusion import isoelectric
from attribution.plan import Target, target_names
from attribution.selection import predicted_positive
from common.files import UserError
from common.labels import is_regression
from ecg.beats import find_beats, mean_beats, window_offsets
from networks.checkpoints import ModelInfo
from networks.inference import predict
from records.dataset import Dataset
from records.own_record import own_quality, read_own
from records.ptbxl import parse_column
from records.segmentations import load_segments

MAX_NORMAL = 2000  # normal records that their mean beat is taken from: more change nothing


# ---------------------------------------------------------------- baselines of Integrated Gradients


def baseline_for(name: str, whole: Dataset, data: Dataset) -> Callable[[np.ndarray], dict]:
    """Rows of `data` -> the option `baseline` for them; `whole` is where normal beats are taken
    from (folds 1-8).
    """
    if name == "zero":
        return lambda rows: {}
    if name == "isoelectric":
        return lambda rows: {"baseline": levels(data.signals[rows])}
    beat = normal_beat(whole)
    return lambda rows: {"baseline": lay_beats(beat, data, rows)}


def levels(signals: np.ndarray) -> np.ndarray:
    """Each record's and lead's isoelectric level, as large as `signals` (n, T, 12)."""
    x = torch.from_numpy(signals).transpose(1, 2)
    return isoelectric(x).expand_as(x).transpose(1, 2).contiguous().numpy()


def normal_beat(whole: Dataset) -> np.ndarray:
    """Mean beat (80 at 100 Hz, 12) mV of the normal records of folds 1-8, its ends at 0 mV."""
    codes, _ = parse_column(whole.table)
    normal = [row for row, statements in enumerate(codes) if statements and "NORM" in statements]
    rows = np.intersect1d(normal, np.flatnonzero(np.isin(whole.fold, range(1, 9)))).astype(int)[
        :MAX_NORMAL
    ]
    beats = find_beats(
        [whole.r_peaks(row) for row in rows], whole.signals.shape[1], whole.sampling_rate
    )
    if not len(beats):
        raise UserError(
            f"{whole.path} has no normal record with a complete beat in folds 1-8: choose another "
            "--baseline"
        )
    per_record = mean_beats(whole.signals[rows], beats)
    beat = np.nanmean(per_record, axis=0)
    ends = np.linspace(beat[0], beat[-1], len(beat))
    return beat - ends


def lay_beats(beat: np.ndarray, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """The normal beat laid at each R-peak upon the record's isoelectric level, (n, T, 12); a later
    beat ends an earlier one.
    """
    baseline = levels(data.signals[rows])
    offsets = window_offsets(data.sampling_rate)
    for position, row in enumerate(rows):
        level = baseline[position, 0].copy()
        for peak in data.r_peaks(int(row)):
            samples = peak + offsets
            inside = (samples >= 0) & (samples < data.signals.shape[1])
            baseline[position, samples[inside]] = level + beat[inside]
    return baseline


# ---------------------------------------------------------------- occlusion


def occlusion_regions(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Number of the segment each sample mostly belongs to, (n, T, 12): occlusion takes away one
    segment of one lead at a time.
    """
    return load_segments(data, rows).argmax(axis=3)


# ---------------------------------------------------------------- a record of one's own


def own_dataset(path: str, info: ModelInfo, record_rate: float | None) -> Dataset:
    """A data set of the one record at `path`, its quality judged; leads that neither it nor the
    model has are flat.
    """
    own = read_own(path, info.leads, info.sampling_rate, info.crop, record_rate)
    signal = np.nan_to_num(own.signal)
    peaks = ecg.detect_r_peaks(signal, info.sampling_rate) * 100 // info.sampling_rate
    row = {"patient_id": [0], "strat_fold": [10], "r_peaks": [" ".join(map(str, peaks))]}
    table = pd.DataFrame(row).join(own_quality(own)).rename_axis("ecg_id")
    return Dataset(table, signal[None], info.sampling_rate, Path(path).parent, info.task)


def own_targets(args: argparse.Namespace, model: nn.Module, data: Dataset) -> list[Target]:
    """The outputs asked for, else those predicted for the record, else the most probable one (all
    leads of a regression).
    """
    info = model.info
    logits = predict(model, data.signals, args.window)
    if args.pathologies or is_regression(info.task):
        names = target_names(args.pathologies, info)
    else:
        positive = np.flatnonzero(predicted_positive(logits, info.thresholds)[0])
        order = (
            positive[np.argsort(-logits[0, positive])] if len(positive) else [logits[0].argmax()]
        )
        names = [info.labels[index] for index in order]
    return [
        Target(name, info.index(name), np.array([0]), logits[:, info.index(name)]) for name in names
    ]
