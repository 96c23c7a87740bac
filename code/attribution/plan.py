"""What a local analysis will explain and from what it starts: targets, records, what that costs,
baselines, pieces to occlude, and a record of one's own as a data set.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import nn

import ecg
from attribution.methods import check_methods, explain, get_method, options_taken, split_name
from attribution.selection import (
    STRATEGIES,
    predicted_positive,
    refuse_more_than_one,
    select,
    select_pathology,
)
from common.cli import StageParser
from common.files import UserError, note_read
from common.labels import is_regression
from ecg.beats import find_beats, mean_beats, window_offsets
from networks.checkpoints import ModelInfo
from networks.defaults import choose_pathologies
from networks.distributed import shared_predict
from networks.inference import predict, quickest, starts_of
from records.dataset import Dataset
from records.segmentations import load_segments

if TYPE_CHECKING:
    from records.recording import Asked

REGRESSION_STRATEGIES = ("single_best", "best_n", "all")  # amplitudes are neither true nor false


@dataclass(frozen=True)
class Target:
    """One output of the model and the rows of the data set that are explained for it, the most
    important first.
    """

    name: str
    index: int
    rows: np.ndarray
    logit: np.ndarray  # (n,) of the rows


def choose_targets(
    args: argparse.Namespace, info: ModelInfo, data: Dataset, model: torch.nn.Module
) -> tuple[list[Target], list[str]]:
    """Targets with their records, and the names of those left out because no record fits."""
    names = choose_pathologies(args.pathologies, info)
    if is_regression(info.task) and args.strategy not in REGRESSION_STRATEGIES and not args.ecg_ids:
        raise UserError(
            f"strategy {args.strategy} needs labels, an amplitude model has none: "
            f"accepted are {', '.join(REGRESSION_STRATEGIES)}"
        )
    logits = shared_predict(model, data.signals, args.window)
    targets, empty = [], []
    for name in names:
        column = info.index(name)
        try:
            rows = _rows(args, name, column, data, logits, info)
        except UserError:
            if args.ecg_ids:
                raise
            empty.append(name)
            continue
        targets.append(Target(name, column, rows, logits[rows, column]))
    if not targets:
        others = [name for name in STRATEGIES if name != args.strategy]
        raise UserError(
            f"strategy {args.strategy} finds no record for any of {', '.join(names)}: "
            f"other strategies are {', '.join(others)}"
        )
    return targets, empty


def _rows(args, name, column, data, logits, info):
    if args.ecg_ids:
        return data.positions(args.ecg_ids)
    n_samples = args.n_samples if args.n_samples or args.strategy != "best_n" else 10
    if is_regression(info.task):
        rows = select(
            args.strategy, data.labelled, np.ones(len(data), bool), logits[:, column], n_samples
        )
        if not len(rows):
            raise UserError(f"no record with all amplitudes for strategy {args.strategy}")
        return rows
    return select_pathology(args.strategy, name, data, logits, info, n_samples)


def method_options(args: argparse.Namespace, method: str) -> dict:
    """The options of the command line that one method takes."""
    return options_taken(
        method,
        layer=args.layer,
        seed=args.seed,
        steps=args.steps,
        max_steps=max(args.steps, args.max_steps),
        wanted_error=args.wanted_error,
        max_permutations=args.max_permutations,
    )


# options of --methods -> the argument of a method that each becomes
OF_METHODS = {
    "layer": "layer",
    "steps max_steps": "steps",
    "baseline": "baseline",
    "occlude": "regions",
    "wanted_error": "wanted_error",
    "max_permutations": "max_permutations",
}


def name_idle_options(parser: StageParser) -> None:
    """Options that do nothing with a record of one's own, without one, or with the methods that are
    asked for.
    """
    parser.without_effect(
        "with --record",
        lambda args: args.record,
        "strategy n_samples folds limit ecg_ids",
        "this one record is explained",
    )
    parser.without_effect(
        "without --record",
        lambda args: not args.record,
        "record_rate record_start record_part unit lead_names seeds",
        "a data set has its own",
    )
    parser.without_effect(
        "with --ecg_ids", lambda args: args.ecg_ids, "strategy n_samples folds", "the ids choose"
    )
    refuse_more_than_one(parser)
    for names, option in OF_METHODS.items():
        parser.without_effect(
            "with these --methods",
            lambda args, option=option: (
                not any(options_taken(one, **{option: None}) for one in check_methods(args.methods))
            ),
            names,
            "none of them takes it",
        )
    parser.without_effect(
        "without lrp among --methods",
        lambda args: not any(one.partition(":")[0] == "lrp" for one in args.methods),
        "open_ledger preset",
        "LRP alone has it",
    )
    parser.without_effect(
        "with --max_figures 0",
        lambda args: not args.max_figures,
        "compare absolute layout dpi",
        "nothing is drawn",
    )


def passes_of(args: argparse.Namespace, method: str) -> float:
    """Forward and backward passes per window, about; Integrated Gradients need no fewer than its
    first number of steps, Shapley values no more than their orders.
    """
    usual, name = get_method(method).passes, split_name(method)[0]
    if name == "ig":
        return min(max(usual, args.steps), most_steps(args))
    return min(usual, PER_ORDER * args.max_permutations) if name == "shapley" else usual


# passes forward and back that an order of some 290 players costs: no gradients are needed
PER_ORDER = 120


def most_steps(args: argparse.Namespace) -> int:
    """Passes of Integrated Gradients that double their steps up to the cap."""
    tried = [args.steps]
    while tried[-1] < args.max_steps:
        tried.append(min(2 * tried[-1], args.max_steps))
    return sum(tried)


def cost(
    model: torch.nn.Module, args: argparse.Namespace, n_records: int, n_samples: int, world: int = 1
) -> str:
    """A sentence on what a run will cost; one pass over a few windows is timed for it."""
    info, methods = model.info, args.methods
    windows = len(starts_of(n_samples, info.crop, args.window))
    passes = sum(passes_of(args, method) for method in methods) * windows * n_records
    x = torch.zeros(32, len(info.leads), info.crop, device=next(model.parameters()).device)
    minutes = passes * quickest(lambda: explain(model, x, 0)) / len(x) / 60 / world
    duration = f"{minutes:.1f} min" if minutes >= 1 else f"{max(60 * minutes, 1):.0f} s"
    notes = {
        "ig": f" (ig: {args.steps:,} to {most_steps(args):,} a window, as its gap asks)",
        "shapley": f" (shapley: at most {PER_ORDER * args.max_permutations:,} a window, as its "
        "standard error asks)",
    }
    note = "".join(words for name, words in notes.items() if name in methods)
    return (
        f"{n_records} records x targets, {len(methods)} methods, {windows} windows each: about "
        f"{passes:,.0f} passes forward and back{note}, {duration} on this machine"
        + (f" with {world} processes" if world > 1 else "")
    )


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
    from attribution.occlusion import isoelectric  # alone where that is asked for

    x = torch.from_numpy(signals).transpose(1, 2)
    return isoelectric(x).expand_as(x).transpose(1, 2).contiguous().numpy()


def normal_beat(whole: Dataset) -> np.ndarray:
    """Mean beat (80 at 100 Hz, 12) mV of the normal records of folds 1-8, its ends at 0 mV."""
    from records.ptbxl import parse_column  # alone where normal beats are asked for

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
    beat = per_record[np.isfinite(per_record).any(axis=(1, 2))].mean(axis=0)
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


def own_dataset(path: str, info: ModelInfo, asked: "Asked") -> Dataset:
    """A data set of the one record at `path`, its quality judged; leads that neither it nor the
    model has are flat.
    """
    from records.own_record import own_quality, read_own  # alone where there is such a record
    from records.readers import files_of

    own = read_own(path, info.leads, info.sampling_rate, info.crop, asked)
    for file in files_of(path):
        note_read(file)
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
        names = choose_pathologies(args.pathologies, info)
    else:
        positive = np.flatnonzero(predicted_positive(logits, info.thresholds)[0])
        order = (
            positive[np.argsort(-logits[0, positive])] if len(positive) else [logits[0].argmax()]
        )
        names = [info.labels[index] for index in order]
    return [
        Target(name, info.index(name), np.array([0]), logits[:, info.index(name)]) for name in names
    ]
