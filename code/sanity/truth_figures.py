"""Figures of the checks against planted causes and doses, and of methods against each other."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.labels import LEADS
from common.plotting import ABSOLUTE_CMAP, INK, SIGNED_CMAP
from common.words import method_in_words
from sanity.dose_response import DOSED
from sanity.figure_style import in_few_letters, in_rows, put_title

READINGS = {"absolute": (-0.14, INK), "positive": (0.14, "#d55e00")}  # place beside the row, colour


def _put_scores(ax, rows, what, methods, controls):
    """Scores of both readings of the relevance by method, with their intervals and chance."""
    for reading, (shift, colour) in READINGS.items():
        one = rows[rows["check"] == f"localisation_{what}_{reading}"].set_index("method")
        one = one.loc[methods]
        places = np.arange(len(methods)) + shift
        put_controls(ax, controls, one["check"].iloc[0], methods, places)
        ax.hlines(places, one["low"], one["high"], color=colour, linewidth=1)
        ax.plot(one["value"], places, "o", color=colour, markersize=3, label=f"{reading} relevance")
    chance = one["chance"].iloc[0]
    ax.axvline(chance, color="#0072b2", linestyle="--", linewidth=0.8, label="chance")


def draw_localisation(
    tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None
) -> Figure | None:
    """Localisation scores with intervals: planted lead x segment cells above, time spans below."""
    rows = tables["checks"][tables["checks"]["check"].str.startswith("localisation_")]
    if rows.empty:
        return None
    titles = {
        "pointing": "pointing game",
        "mass": "relevance mass",
        "auc": "ROC AUC",
        "top_k": "top k",
    }
    methods = in_rows(rows["method"])[::-1]
    figure, axes = plt.subplots(
        2, 4, figsize=(11, 0.5 * len(methods) + 1.6), sharey=True, layout="constrained"
    )
    for line, truth in zip(axes, ("cell", "time"), strict=True):
        for ax, metric in zip(line, titles, strict=True):
            _put_scores(ax, rows, f"{metric}_{truth}", methods, tables.get("controls"))
            ax.set(
                title=f"{titles[metric]}, {'lead × segment' if truth == 'cell' else 'time span'}",
                xlim=(0, 1),
            )
    axes[0, 0].set_yticks(range(len(methods)), map(method_in_words, methods))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(
        once.values(),
        once,
        loc="outside lower center",
        ncols=4,
        fontsize=8,
        frameon=False,
    )
    n = int(rows["n"].max())
    put_title(
        figure, f"Do maps point at the planted cause? {n} records in which it moves the logit"
    )
    return figure


def put_controls(
    ax: Axes,
    controls: pd.DataFrame | None,
    check: str,
    methods: list[str],
    places: np.ndarray,
) -> None:
    """Grey bars behind the values: the 95 % band of untrained networks (controls.csv), if any."""
    if controls is None:
        return
    rows = controls[controls["check"] == check].set_index("method").reindex(methods)
    if rows["control_low"].notna().any():
        label = "untrained networks (95 %)"
        band = {"color": "#d0d0d0", "linewidth": 5}
        ax.hlines(places, rows["control_low"], rows["control_high"], label=label, **band)


def draw_dose_response(
    tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None
) -> Figure | None:
    """Lead x wave per pathology: what +0.1 mV of a wave does to the logit; grey where the interval
    includes 0.
    """
    rows = tables.get("dose_response")
    if rows is None or rows.empty:
        return None
    counts = rows.groupby("pathology")["n"].max().sort_values(ascending=False, kind="stable")
    names = list(counts.index[:6])
    waves = [wave for wave in DOSED if wave in set(rows["wave"])]
    largest = rows[rows["pathology"].isin(names)]["per_0.1mV"].abs().quantile(0.98)
    figure, axes = plt.subplots(
        1,
        len(names),
        figsize=(2.1 * len(names) + 0.8, 3.6),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, name in zip(axes[0], names, strict=True):
        one = rows[rows["pathology"] == name].set_index(["lead", "wave"])
        grid = one["per_0.1mV"].unstack().reindex(index=LEADS, columns=waves)
        away = (one["low"] > 0) | (one["high"] < 0)
        sure = away.unstack().reindex(index=LEADS, columns=waves).eq(True)
        image = ax.imshow(grid, cmap=SIGNED_CMAP, vmin=-largest, vmax=largest, aspect="auto")
        for row, column in zip(*np.nonzero(grid.notna().to_numpy()), strict=True):
            value, certain = grid.iloc[row, column], sure.iloc[row, column]
            dark = abs(value) > 0.6 * largest
            ax.text(
                column,
                row,
                in_few_letters(value),
                ha="center",
                va="center",
                fontsize=5.5,
                fontweight="bold" if certain else "normal",
                color="white" if dark else INK if certain else "#555555",
            )
        ax.set_xticks(range(len(waves)), waves)
        ax.set_title(f"{name} (n ≤ {counts[name]})", fontsize=9)
        ax.tick_params(length=0)
    axes[0, 0].set_yticks(range(12), LEADS)
    figure.colorbar(image, ax=axes[0], label="logit per +0.1 mV", shrink=0.8)
    put_title(
        figure,
        "Dose-response: +0.1 mV of a wave in one lead (bold: interval without 0; blank: too rare)",
    )
    return figure


def _with_interval(cell):
    """A value and below it its interval, where there are records enough for one."""
    known = np.isfinite(cell.low)
    return f"{cell.value:.2f}\n{f'[{cell.low:.2f}, {cell.high:.2f}]' if known else 'no interval'}"


def draw_layers(tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None) -> Figure | None:
    """The Grad-CAM question: AUC of each CAM, layer (rows) x truth (columns), per task; a network
    that is read from its last convolutional map alone has no other row.
    """
    rows = tables["checks"][
        tables["checks"]["check"].isin(["layer_auc_cell_absolute", "layer_auc_time_absolute"])
    ]
    if rows.empty:
        return None
    tasks = list(dict.fromkeys(rows["task"]))
    kinds = list(dict.fromkeys(rows["method"].str.split("@").str[0]))
    values = rows.set_index(["task", "method", "check"])
    figure, axes = plt.subplots(
        len(kinds),
        len(tasks),
        figsize=(max(2.6 * len(tasks) + 0.6, 4.2), 1.3 * len(kinds) + 0.7),
        squeeze=False,
        layout="constrained",
    )
    for line, kind in zip(axes, kinds, strict=True):
        for ax, task in zip(line, tasks, strict=True):
            cells = values.reindex(
                (task, f"{kind}@{layer}", f"layer_auc_{truth}_absolute")
                for layer in ("original", "last")
                for truth in ("cell", "time")
            )
            grid = cells["value"].to_numpy().reshape(2, 2)
            ax.imshow(grid, cmap=SIGNED_CMAP, vmin=0, vmax=1, aspect="auto")
            for place, cell in enumerate(cells.itertuples()):
                row, column = divmod(place, 2)
                if np.isfinite(cell.value):
                    words = _with_interval(cell)
                    ax.text(column, row, words, ha="center", va="center", fontsize=7)
            ax.set_xticks([0, 1], ["lead & wave", "time span"], fontsize=7)
            ax.set_yticks(
                [0, 1],
                ["original's\nlayer", "last\nconv. map"] if ax is line[0] else [],
                fontsize=7,
            )
            ax.tick_params(length=0)
            ax.set_title(
                f"{method_in_words(kind)}, {task.replace('_', ' ')} (n = {int(cells['n'].max())})",
                fontsize=7,
            )
    put_title(figure, "Class activation maps by layer: ROC AUC against the truth (chance .50)")
    return figure


def draw_agreement(tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None) -> Figure | None:
    """Agreement of every pair of methods, sample by sample and over lead x segment cells."""
    pairs = tables.get("agreement_pairs")
    if pairs is None or pairs.empty:
        return None
    methods = in_rows([*pairs["first"], *pairs["second"]])
    names = list(map(method_in_words, methods))
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
    for ax, view in zip(axes, ("samples", "cells"), strict=True):
        one = pairs[pairs["view"] == view]
        grid = pd.DataFrame(np.eye(len(methods)), index=methods, columns=methods)
        for first, second, value in one[["first", "second", "value"]].itertuples(index=False):
            grid.loc[first, second] = grid.loc[second, first] = value
        image = ax.imshow(grid, cmap=ABSOLUTE_CMAP, vmin=0, vmax=1)
        for row, column in np.ndindex(grid.shape):
            value = grid.iloc[row, column]
            ax.text(
                column,
                row,
                in_few_letters(value),
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if value > 0.5 else INK,
            )
        ax.set_xticks(range(len(methods)), names, rotation=45, ha="right")
        ax.set_yticks(range(len(methods)), names if ax is axes[0] else [])
        ax.tick_params(length=0)
        what = {"samples": "sample by sample", "cells": "lead × segment cells"}[view]
        low, high = one["chance"].min(), one["chance"].max()
        others = f"{low:.2f} to {high:.2f}" if np.isfinite(low) else "none"
        ax.set_title(f"{what} (maps of different patients: {others})", fontsize=9)
    figure.colorbar(image, ax=axes, label="mean rank correlation of |map|", shrink=0.8)
    checks = tables["checks"]
    counts = checks.loc[checks["check"].str.startswith("agreement_methods_"), "n"]
    n = f" {counts.max():.0f} records" if len(counts) else ""  # controls alone are not scored
    put_title(figure, f"Do methods agree on what matters?{n}")
    return figure
