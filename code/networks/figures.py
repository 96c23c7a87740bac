"""Figures of a trained model: ROC curves and reliability (labels), predicted against measured
(amplitudes), course.
"""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from common.plotting import COLOURS, COLUMN, class_colours, style
from common.words import area_in_words, probability_in_words
from networks.metrics import reliability

MANY = 8  # classes that can be told apart by colour and named in a legend
FEW_POSITIVES = 10  # a curve of fewer is a staircase: drawn pale
PALE = "#c9cdd2"


def roc_figure(
    scores: np.ndarray, labels: np.ndarray, names: Sequence[str], metrics: dict
) -> Figure:
    """ROC curves, one journal column wide.

    Coloured: the classes with at least FEW_POSITIVES positives, at most MANY, those with most; all
    others are pale and named below.
    """
    scored = [
        (entry["n_positive"], entry["value"], name)
        for name, entry in metrics["per_class_auc"].items()
        if np.isfinite(entry["value"])
    ]
    scored.sort(reverse=True)
    strong = [one for one in scored[:MANY] if one[0] >= FEW_POSITIVES]
    pale = scored[len(strong) :]
    note = _named_pale(pale)
    style()
    figure, ax = plt.subplots(
        figsize=(COLUMN, COLUMN + 0.18 + 0.12 * (note.count("\n") + 1)), layout="constrained"
    )
    for _, _, name in pale:
        ax.plot(*_roc(scores, labels, names, name), color=PALE, lw=0.7, zorder=1)
    colours = class_colours(name for _, _, name in strong)
    for n_positive, area, name in strong:
        ax.plot(
            *_roc(scores, labels, names, name),
            color=colours[name],
            lw=1.3,
            label=f" {name} {probability_in_words(area, 3)} ({n_positive})",
        )  # the space: matplotlib hides labels that begin with _
    ax.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls="--")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.tick_params(labelsize=7)
    ax.set_xlabel("false positive rate", fontsize=8)
    ax.set_ylabel("true positive rate", fontsize=8)
    if strong:
        ax.legend(title="AUC (positives)", fontsize=6.5, title_fontsize=6.5, loc="lower right")
    macro = metrics["macro_auc"]
    area = area_in_words(macro["value"], macro["low"], macro["high"], 3)
    figure.suptitle(
        f"macro AUC {area}, {macro['n']} records",
        fontsize=8.5,
    )
    if note:
        figure.supxlabel(note, fontsize=6, x=0.02, ha="left", color="#555555")
    return figure


def _roc(scores, labels, names, name):
    """False and true positive rates of one class."""
    from sklearn.metrics import roc_curve  # here: importing it takes a second

    column = list(names).index(name)
    return roc_curve(labels[:, column].astype(bool), scores[:, column])[:2]


def _named_pale(pale):
    """The pale classes with AUC and positives, in lines of a column's width."""
    if not pale:
        return ""
    words = [f"{name} {probability_in_words(area)} ({n})" for n, area, name in pale]
    return textwrap.fill(
        f"Pale, few positives or beyond the {MANY} largest, AUC (positives): {', '.join(words)}", 72
    )


def reliability_figure(probabilities: np.ndarray, labels: np.ndarray, metrics: dict) -> Figure:
    """Observed share against predicted probability over all classes, and how many predictions each
    bin holds; one journal column wide.
    """
    bins = reliability(probabilities, labels)
    style()
    figure, (ax, counts) = plt.subplots(
        2, 1, figsize=(COLUMN, 4.3), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    ax.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls="--", label="perfectly calibrated")
    ax.plot(
        bins["predicted"], bins["observed"], "o-", color=COLOURS[0], ms=3.5, lw=1.2, label="network"
    )
    ax.set(ylim=(-0.02, 1.02), xlim=(-0.02, 1.02))
    ax.set_ylabel("observed share", fontsize=8)
    figure.suptitle(
        f"Brier score {metrics['brier']['value']:.3f}, "
        f"calibration error {metrics['calibration_error']:.3f}, {len(labels)} records",
        fontsize=8.5,
    )
    ax.legend(loc="upper left", fontsize=6.5)
    width = 1 / len(bins["count"])
    counts.bar(
        (np.arange(len(bins["count"])) + 0.5) * width, bins["count"], width * 0.9, color="0.6"
    )
    counts.set(yscale="log")
    counts.set_xlabel("predicted probability, all classes", fontsize=8)
    counts.set_ylabel("predictions", fontsize=8)
    counts.yaxis.set_minor_formatter(NullFormatter())
    counts.yaxis.set_major_locator(LogLocator(numticks=4))
    for one in (ax, counts):
        one.tick_params(labelsize=7)
    return figure


def amplitude_figure(
    predicted: np.ndarray, measured: np.ndarray, names: Sequence[str], metrics: dict
) -> Figure:
    """Predicted against measured amplitude, one panel per lead."""
    style()
    figure, axes = plt.subplots(3, 4, figsize=(9, 7), layout="constrained")
    for column, (ax, name) in enumerate(zip(axes.ravel(), names, strict=True)):
        pair = np.concatenate((measured[:, column], predicted[:, column]))
        # a gross outlier must not shrink the rest
        limits = np.quantile(pair, (0.002, 0.998)) + np.array((-0.05, 0.05))
        ax.plot(limits, limits, color="0.7", lw=0.8, ls="--")
        ax.plot(measured[:, column], predicted[:, column], ".", color=COLOURS[0], ms=3, alpha=0.6)
        shown = (pair >= limits[0]) & (pair <= limits[1])
        beyond = int((~shown.reshape(2, -1).all(axis=0)).sum())
        if beyond:  # said where it is cut off
            place = {"ha": "right", "va": "bottom", "fontsize": 6, "color": "0.4"}
            ax.text(0.98, 0.02, f"{beyond} beyond", transform=ax.transAxes, **place)
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
        epochs, [row["val_loss"] for row in history], color=COLOURS[0], lw=1.2, label="validation"
    )
    axes[0, 0].set(xlabel="epoch", ylabel="loss")
    axes[0, 0].legend(fontsize=8)
    if has_auc:
        axes[0, 1].plot(epochs, [row["val_macro_auc"] for row in history], color=COLOURS[0], lw=1.2)
        axes[0, 1].set(xlabel="epoch", ylabel="validation macro AUC")
    for ax in axes[0]:
        ax.axvline(epochs[best], color=COLOURS[1], lw=0.8, ls=":")
    axes[0, -1].set_title(f"kept: epoch {epochs[best]}", fontsize=9)
    return figure
