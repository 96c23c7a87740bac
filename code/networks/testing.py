"""Testing a network: scores by protocol, predictions, and their figures."""

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from common.files import sha256, write_json, write_npz
from common.labels import WINDOWS, is_regression
from common.stage import Stage
from networks import distributed
from networks.checkpoints import ModelInfo, find_checkpoint
from networks.defaults import caption_figures, data_facts
from networks.metrics import (
    best_thresholds,
    classification_metrics,
    regression_metrics,
    sigmoid,
)
from networks.splits import fingerprint
from networks.training import checkpoint_paths
from records.dataset import TABLE, Dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_test(
    folder: Path,
    model: torch.nn.Module,
    info: ModelInfo,
    test: Dataset,
    args: argparse.Namespace,
    overwrite: bool,
    facts: dict | None = None,
) -> tuple[dict, list[Path]]:
    """Test a model and write what came of it into `folder`; metrics (by protocol) and paths, empty
    if that was done.
    """
    checkpoint = args.model_path or checkpoint_paths(folder)[0]
    settings = {
        "checkpoint": distributed.from_main(lambda: sha256(find_checkpoint(checkpoint))),
        "data": fingerprint({"test": test}),
        "n_bootstrap": args.n_bootstrap,
        "keep_unlabelled": args.keep_unlabelled,
        "test_folds": info.folds["test"],
    }
    with contextlib.ExitStack() as stack:
        stage = distributed.on_main(
            lambda: stack.enter_context(Stage(folder, "test", settings, overwrite, facts))
        )
        if distributed.from_main(lambda: stage.finished_before()):
            return {}, []
        metrics, logits = score_by_window(model, test, args.n_bootstrap, info.seed)
        if not distributed.is_main():
            return {}, []
        note = data_facts(args.data_path, info, find_checkpoint(checkpoint)).get("note", "")
        caption_figures(args, info, note)
        more = {"external": facts["external"]} if facts and "external" in facts else {}
        written = write_scores(folder, metrics, logits, test, info, **more)
        stage.finish(
            inputs=[Path(args.data_path) / TABLE], outputs=written, counts={"test": len(test)}
        )
    return metrics, written


def counts_of(splits: dict[str, Dataset], info: ModelInfo) -> dict:
    """Records of each split, and `positives`: label -> records of training that have it (empty for
    amplitudes).
    """
    counts = [] if is_regression(info.task) else splits["train"].labels.sum(axis=0)
    positives = {name: int(one) for name, one in zip(info.labels, counts, strict=False)}
    return {**{name: len(part) for name, part in splits.items()}, "positives": positives}


def thresholds_of(model: nn.Module, validation: Dataset) -> tuple[float, ...] | None:
    """Per class the probability of best F1 on the validation records (windows protocol); None for
    amplitudes.
    """
    if is_regression(validation.task):
        return None
    logits = distributed.shared_predict(model, validation.signals, "windows")
    return tuple(float(value) for value in best_thresholds(sigmoid(logits), validation.labels))


def score_by_window(
    model: nn.Module, test: Dataset, n_resamples: int = 1000, seed: int = 0
) -> tuple[dict, dict[str, np.ndarray]]:
    """Metrics by protocol, and the logits (N, classes) by protocol, of the test records."""
    measure: Callable = regression_metrics if is_regression(test.task) else classification_metrics
    logits = {
        protocol: distributed.shared_predict(model, test.signals, protocol) for protocol in WINDOWS
    }
    if not distributed.is_main():
        return {}, logits
    of_records = (test.labels, model.info.labels, test.patient_id, n_resamples, seed)
    metrics = {protocol: measure(values, *of_records) for protocol, values in logits.items()}
    return metrics, logits


def write_scores(
    folder: Path,
    metrics: dict,
    logits: dict[str, np.ndarray],
    test: Dataset,
    info: ModelInfo,
    **facts: object,
) -> list[Path]:
    """metrics.json (per protocol, plus `facts`), predictions.npz (windows protocol first) and
    figures; the paths.
    """
    write_json(
        folder / "metrics.json",
        {"modelname": info.modelname, "task": info.task, "folds": info.folds, **facts, **metrics},
    )
    write_npz(
        folder / "predictions.npz",
        ecg_id=test.ecg_id,
        logits=logits["windows"],
        logits_centre_crop=logits["centre_crop"],
        labels=test.labels,
        classes=np.array(info.labels),
    )
    from common.figure_files import write_figure  # what draws is loaded when all is computed

    written = [folder / "metrics.json", folder / "predictions.npz"]
    for name, figure in result_figures(metrics["windows"], logits["windows"], test, info).items():
        about = f"{len(test)} test records"
        written += write_figure(figure, folder / name, dpi=300, about=about)
    return written


def result_figures(
    metrics: dict, logits: np.ndarray, test: Dataset, info: ModelInfo
) -> "dict[str, Figure]":
    """name -> figure of the test records under one protocol."""
    from networks import figures  # what draws is loaded when all is computed

    if is_regression(info.task):
        return {"amplitudes": figures.amplitude_figure(logits, test.labels, info.labels, metrics)}
    return {
        "roc": figures.roc_figure(logits, test.labels, info.labels, metrics),
        "reliability": figures.reliability_figure(sigmoid(logits), test.labels, metrics),
    }


def summary_line(metrics: dict, task: str) -> str:
    """One line for people: the headline of each protocol."""
    from common.words import area_in_words, interval_in_words  # where something was tested

    fit = is_regression(task)
    name, unit, said = (
        ("r2", "R2", interval_in_words) if fit else ("macro_auc", "macro AUC", area_in_words)
    )
    scores = {protocol: values[name] for protocol, values in metrics.items()}
    return ", ".join(
        f"{protocol.replace('_', ' ')} {unit} {said(one['value'], one['low'], one['high'], 3)}"
        for protocol, one in scores.items()
    )
