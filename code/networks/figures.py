"""Figures of a trained model: ROC curves and reliability (labels), predicted against measured
(amplitudes), course.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from common.plotting import style
from networks.metrics import reliability

MANY = 8  # classes that can be told apart by colour and named in a legend


def roc_figure(
    scores: np.ndarray, labels: np.ndarray, names: Sequence[str], metrics: dict
) -> Figure:
    """One curve per class with a positive, the legend with AUC and number of positives, best class
    first.
    """
    from sklearn.metrics import roc_curve  # here: importing it takes a second

    labels = labels.astype(bool)
    scored = [
        (entry["value"], entry["n_positive"], name)
        for name, entry in metrics["per_class_auc"].items()
        if np.isfinite(entry["value"])
    ]
    columns = 1 + len(scored) // 25
    beside = len(scored) > MANY  # the legend
    style()
    figure, ax = plt.subplots(figsize=(5.2 + 2.25 * columns * beside, 5), layout="constrained")
    colours = (
        plt.get_cmap("turbo")(np.linspace(0.05, 0.95, len(scored)))
        if beside
        else plt.get_cmap("tab10").colors
    )
    for colour, (area, n_positive, name) in zip(
        colours, sorted(scored, reverse=True), strict=False
    ):
        column = list(names).index(name)
        false_positive, true_positive, _ = roc_curve(labels[:, column], scores[:, column])
        ax.plot(
            false_positive,
            true_positive,
            color=colour,
            lw=1.2,
            label=f" {name}  {area:.3f} (n={n_positive})",
        )  # the space: matplotlib hides labels that begin with _
    ax.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls="--")
    macro = metrics["macro_auc"]
    ax.set(
        xlabel="false positive rate",
        ylabel="true positive rate",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        title=f"macro AUC {macro['value']:.3f} [{macro['low']:.3f}, {macro['high']:.3f}], "
        f"{macro['n']} records",
    )
    ax.set_aspect("equal")
    place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if beside else {"loc": "lower right"}
    ax.legend(title="AUC (positives)", fontsize=7, title_fontsize=7, ncols=columns, **place)
    return figure


def reliability_figure(probabilities: np.ndarray, labels: np.ndarray, metrics: dict) -> Figure:
    """Observed share against predicted probability over all classes, and how many predictions each
    bin holds.
    """
    bins = reliability(probabilities, labels)
    style()
    figure, (ax, counts) = plt.subplots(
        2, 1, figsize=(4.6, 5.4), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    ax.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls="--", label="perfectly calibrated")
    ax.plot(
        bins["predicted"], bins["observed"], "o-", color="tab:blue", ms=4, lw=1.2, label="model"
    )
    ax.set(
        ylabel="observed share",
        ylim=(-0.02, 1.02),
        xlim=(-0.02, 1.02),
        title=f"Brier score {metrics['brier']['value']:.3f}, calibration error "
        f"{metrics['calibration_error']:.3f}",
    )
    ax.legend(loc="upper left", fontsize=8)
    width = 1 / len(bins["count"])
    counts.bar(
        (np.arange(len(bins["count"])) + 0.5) * width, bins["count"], width * 0.9, color="0.6"
    )
    counts.set(yscale="log", xlabel="predicted probability", ylabel="predictions")
    counts.yaxis.set_minor_formatter(NullFormatter())
    counts.yaxis.set_major_locator(LogLocator(numticks=4))
    return figure


def amplitude_figure(
    predicted: np.ndarray, measured: np.ndarray, names: Sequence[str], metrics: dict
) -> Figure:
    """Predicted against measured amplitude, one panel per lead."""
    style()
    figure, axes = plt.subplots(3, 4, figsize=(9, 7), layout="constrained")
    for column, (ax, name) in enumerate(zip(axes.ravel(), names, strict=True)):
        pair = np.concatenate((measured[:, column], predicted[:, column]))
        limits = np.quantile(pair, (0.002, 0.998)) + np.array(
            (-0.05, 0.05)
        )  # a gross outlier must not shrink the rest
        ax.plot(limits, limits, color="0.7", lw=0.8, ls="--")
        ax.plot(measured[:, column], predicted[:, column], ".", color="tab:blue", ms=3, alpha=0.6)
        entry, error = metrics["per_lead_r2"][name], metrics["per_lead_mae"][name]
        ax.set(
            title=f"{name}   R² {entry['value']:.2f}, MAE {1000 * error['value']:.0f} µV",
            xlim=limits,
            ylim=limits,
        )
        ax.title.set_size(8)
        ax.tick_params(labelsize=7)
    figure.supxlabel("measured / mV", fontsize=9)
    figure.supylabel("predicted / mV", fontsize=9)
    whole = metrics["r2"]
    figure.suptitle(
        f"all leads: R² {whole['value']:.3f} [{whole['low']:.3f}, {whole['high']:.3f}], "
        f"{whole['n']} records",
        fontsize=10,
    )
    return figure


def course_figure(history: list[dict]) -> Figure:
    """Losses and validation score over the epochs, with the epoch that was kept."""
    epochs = [row["epoch"] for row in history]
    best = int(np.argmax([row["score"] for row in history]))
    has_auc = "val_macro_auc" in history[0]
    style()
    figure, axes = plt.subplots(
        1, 1 + has_auc, figsize=(4.4 * (1 + has_auc), 3.2), layout="constrained", squeeze=False
    )
    axes[0, 0].plot(
        epochs, [row["train_loss"] for row in history], color="0.4", lw=1.2, label="training"
    )
    axes[0, 0].plot(
        epochs, [row["val_loss"] for row in history], color="tab:blue", lw=1.2, label="validation"
    )
    axes[0, 0].set(xlabel="epoch", ylabel="loss")
    axes[0, 0].legend(fontsize=8)
    if has_auc:
        axes[0, 1].plot(epochs, [row["val_macro_auc"] for row in history], color="tab:blue", lw=1.2)
        axes[0, 1].set(xlabel="epoch", ylabel="validation macro AUC")
    for ax in axes[0]:
        ax.axvline(epochs[best], color="tab:red", lw=0.8, ls=":")
    axes[0, -1].set_title(f"kept: epoch {epochs[best]}", fontsize=9)
    return figure
