"""Test a trained model and write what is known of it: metrics.json, predictions.npz, figures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import nn

from common.files import write_figure, write_json, write_npz
from common.labels import is_regression
from networks import distributed, figures
from networks.checkpoints import ModelInfo
from networks.inference import PROTOCOLS
from networks.metrics import best_thresholds, classification_metrics, regression_metrics, sigmoid
from records.dataset import Dataset


def thresholds_of(model: nn.Module, validation: Dataset) -> tuple[float, ...] | None:
    """Per class the probability of best F1 on the validation records (windows protocol); None for
    amplitudes.
    """
    if is_regression(validation.task):
        return None
    logits = distributed.shared_predict(model, validation.signals, "windows")
    return tuple(float(value) for value in best_thresholds(sigmoid(logits), validation.labels))


def score(
    model: nn.Module, test: Dataset, n_resamples: int = 1000, seed: int = 0
) -> tuple[dict, dict[str, np.ndarray]]:
    """Metrics by protocol, and the logits (N, classes) by protocol, of the test records."""
    measure: Callable = regression_metrics if is_regression(test.task) else classification_metrics
    logits = {
        protocol: distributed.shared_predict(model, test.signals, protocol)
        for protocol in PROTOCOLS
    }
    metrics = (
        {
            protocol: measure(
                values, test.labels, model.info.labels, test.patient_id, n_resamples, seed
            )
            for protocol, values in logits.items()
        }
        if distributed.is_main()
        else {}
    )
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
    written = [folder / "metrics.json", folder / "predictions.npz"]
    for name, figure in result_figures(metrics["windows"], logits["windows"], test, info).items():
        written += write_figure(figure, folder / name)
    return written


def result_figures(
    metrics: dict, logits: np.ndarray, test: Dataset, info: ModelInfo
) -> dict[str, Figure]:
    """name -> figure of the test records under one protocol."""
    if is_regression(info.task):
        return {"amplitudes": figures.amplitude_figure(logits, test.labels, info.labels, metrics)}
    return {
        "roc": figures.roc_figure(logits, test.labels, info.labels, metrics),
        "reliability": figures.reliability_figure(sigmoid(logits), test.labels, metrics),
    }


def summary(metrics: dict, task: str) -> str:
    """One line for people: the headline of each protocol."""
    name, unit = ("r2", "R2") if is_regression(task) else ("macro_auc", "macro AUC")
    return ", ".join(
        f"{protocol.replace('_', ' ')} {unit} {values[name]['value']:.3f} "
        f"[{values[name]['low']:.3f}, {values[name]['high']:.3f}]"
        for protocol, values in metrics.items()
    )
