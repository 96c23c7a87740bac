"""Figures of the sanity checks, drawn from their tables."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from common.files import write_figure
from common.labels import LEADS
from common.plotting import ABSOLUTE_CMAP, INK, SIGNED_CMAP, style
from ecg.beats import window_times
from sanity.faithfulness import FRACTIONS
from sanity.subject import CONTROLS

# headline of each question: (check, title, task or None for the mean over the models it was made
# on)
HEADLINES = {
    "amplitude_lead": "right lead",
    "amplitude_time": "right wave",
    "amplitude_cell": "lead and wave",
    "localisation_auc_cell_absolute": "planted cells\n(AUC)",
    "localisation_auc_time_absolute": "planted time\n(AUC)",
    "localisation_specific_auc_absolute": "this cause,\nno other (AUC)",
    "faithfulness_cells_physiological_absolute": "faithful,\nsize",
    "faithfulness_cells_physiological_signed": "faithful,\nsigned",
    "dose_percent_signed": "dose,\n+1 %",
    "dose_millivolt_signed": "dose,\n+0.1 mV",
    "agreement_seeds_cells": "same over\nseeds",
    "randomisation_cascading_full_absolute": "changes with\nthe weights",
}
COLOURS = [
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#7a1f5c",
    "#5b8c00",
    "#8a3d00",
    "#33104a",
]
GREY = "#9a9a9a"


def colours_of(methods: Sequence[str]) -> dict[str, str]:
    """A colour per method; the controls are grey."""
    real = [method for method in methods if method not in CONTROLS]
    return {
        **{method: GREY for method in methods},
        **{method: COLOURS[k % len(COLOURS)] for k, method in enumerate(real)},
    }


def draw_all(
    folder: Path, tables: dict[str, pd.DataFrame], records: pd.DataFrame | None
) -> list[Path]:
    """Every figure that the tables allow; returns the written paths."""
    style()
    written = []
    for name, draw in FIGURES.items():
        figure = draw(tables, records)
        if figure is not None:
            written += write_figure(figure, folder / name)
    return written


def _dash(method):
    """LRP-epsilon often equals input x gradient: dotted, so that the line below it is seen."""
    return {"input_magnitude": "--", "lrp:epsilon": ":"}.get(method, "-")


def _title(figure, text):
    """A title as broad as the figure, however few panels that has."""
    figure.suptitle(textwrap.fill(text, int(11 * figure.get_figwidth())), fontsize=10)


def _legend(figure, ax):
    """The methods below the figure, in as many columns as fit."""
    figure.legend(
        *ax.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=max(int(figure.get_figwidth() / 1.7), 2),
        fontsize=8,
        frameon=False,
    )


# ---------------------------------------------------------------- ranking


def skills(checks: pd.DataFrame) -> pd.DataFrame:
    """Methods x headlines: 0 = chance, 1 = perfect, mean over the models a check was made on; best
    methods first.

    Skill is (value - chance) / (perfect - chance); for `changes with the weights` 1 - |likeness|;
    for faithfulness, which has no known maximum, the value itself (chance is 0).
    """
    columns = {}
    for check in HEADLINES:
        rows = checks[(checks["check"] == check) & (checks["n"] > 0)]
        if not len(rows):
            continue
        if check.startswith("randomisation"):
            skill = 1 - rows["value"].abs()
        elif check.startswith("faithfulness"):
            skill = rows["value"]
        else:
            skill = (rows["value"] - rows["chance"]) / (1 - rows["chance"])
        columns[check] = skill.groupby(rows["method"]).mean()
    table = pd.DataFrame(columns)
    order = table.rank(ascending=False).mean(axis=1)
    real = [method for method in order.sort_values(kind="stable").index if method not in CONTROLS]
    return table.loc[real + [method for method in CONTROLS if method in table.index]]


def best_or_equal(comparisons: pd.DataFrame, check: str, methods: Sequence[str]) -> set[str]:
    """Methods that are best, or not distinguishable from it (p_corrected >= .05), on more than
    half of the models of a check.
    """
    rows = comparisons[comparisons["check"] == check]
    worse = rows[rows["p_corrected"] < 0.05].groupby("method").size()
    return (
        {method for method in methods if worse.get(method, 0) < rows["model"].nunique() / 2}
        if len(rows)
        else set()
    )


def _smallest_p(tables):
    """What the range test could find at all."""
    floor = tables["comparisons"]["p_floor"].max() if len(tables["comparisons"]) else np.nan
    if not np.isfinite(floor):
        return "nothing was compared"
    blind = "; with so few patients nothing can be told apart" if floor >= 0.05 else ""
    return f"smallest possible p {floor:.2g}{blind}"


def draw_ranking(tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None) -> Figure | None:
    """Heat map of skills: methods by mean rank, headlines as columns, dots where a method is not
    worse than the best.
    """
    if tables["checks"].empty:
        return None
    table = skills(tables["checks"])
    if table.empty:
        return None
    figure, ax = plt.subplots(
        figsize=(2.2 + 0.92 * table.shape[1], 1.6 + 0.34 * len(table)), layout="constrained"
    )
    norm = TwoSlopeNorm(0, -1, 1)
    ax.imshow(table, cmap=SIGNED_CMAP, norm=norm, aspect="auto")
    for column, check in enumerate(table):
        equal = best_or_equal(
            tables["comparisons"], check, [name for name in table.index if name not in CONTROLS]
        )
        for row, method in enumerate(table.index):
            value = table.iloc[row, column]
            if np.isfinite(value):
                mark = " •" if method in equal else ""
                ax.text(
                    column,
                    row,
                    f"{round(value, 2) + 0.0:.2f}{mark}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if abs(value) > 0.75 else INK,
                )
    n = tables["checks"].groupby("check")["n"].max()
    ax.set_xticks(
        range(table.shape[1]),
        [f"{HEADLINES[check]}\nn = {int(n[check])}" for check in table],
        fontsize=8,
    )
    ax.set_yticks(range(len(table)), table.index)
    ax.axhline(
        len(table) - sum(name in CONTROLS for name in table.index) - 0.5, color=INK, linewidth=0.8
    )
    ax.tick_params(length=0)
    ax.xaxis.tick_top()
    ax.set_xlabel(
        "skill: 0 = chance, 1 = perfect; • best, or not distinguishable from it on most of its "
        f"models (range test by permutation, p ≥ .05; {_smallest_p(tables)})\nmaps must change "
        "with the weights, but noise does too: necessary, not sufficient",
        fontsize=7,
    )
    ax.set_title(f"Attribution methods by check. {_model_name(tables['checks'])}", fontsize=10)
    return figure


def _model_name(checks):
    """The model under test (the amplitude models are there to test the methods)."""
    names = checks.loc[~checks["check"].str.startswith(("amplitude", "layer")), "model"].unique()
    return names[0].replace("_", ", ", 1) if len(names) else ""


# ---------------------------------------------------------------- amplitude


def draw_amplitude_boxes(
    _tables: dict[str, pd.DataFrame], records: pd.DataFrame | None
) -> Figure | None:
    """Per method (rows) and amplitude task (columns): share of the map's norm in the right lead,
    lead by lead.
    """
    rows = _amplitude(records, "amplitude_lead_")
    if rows is None:
        return None
    methods, tasks = list(dict.fromkeys(rows["method"])), list(dict.fromkeys(rows["task"]))
    figure, axes = plt.subplots(
        len(methods),
        len(tasks),
        figsize=(1.4 + 3 * len(tasks), 0.7 * len(methods) + 0.9),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    thin = {"linewidth": 0.5}
    for line, method in zip(axes, methods, strict=True):
        for ax, task in zip(line, tasks, strict=True):
            chosen = rows[(rows["method"] == method) & (rows["task"] == task)]
            values = [
                chosen.loc[chosen["check"] == f"amplitude_lead_{lead}", "value"] for lead in LEADS
            ]
            ax.boxplot(
                values,
                widths=0.6,
                showfliers=False,
                patch_artist=True,
                medianprops={"color": INK},
                boxprops={"facecolor": "#fbd48a", "linewidth": 0.5},
                whiskerprops=thin,
                capprops=thin,
            )
            ax.axhline(chosen["chance"].iloc[0], color="#0072b2", linestyle="--", linewidth=0.8)
            ax.set_ylim(0, 1)
        line[0].set_ylabel(method, rotation=0, ha="right", va="center")
    for ax, task in zip(axes[0], tasks, strict=True):
        ax.set_title(task.replace("_", " "))
    for ax in axes[-1]:
        ax.set_xticks(range(1, 13), LEADS, rotation=90)
    n = rows["ecg_id"].nunique()
    _title(
        figure, f"Share of the attribution in the right lead (dashed: chance; up to {n} records)"
    )
    return figure


def draw_amplitude_curves(
    tables: dict[str, pd.DataFrame], records: pd.DataFrame | None
) -> Figure | None:
    """Where in the beat the attribution of an amplitude lies: one panel per task, one curve per
    method.
    """
    if _amplitude(records, "amplitude_curve_") is None:
        return None
    rows = tables["details"][tables["details"]["check"].str.startswith("amplitude_curve_")]
    tasks, colours = list(dict.fromkeys(rows["task"])), colours_of(dict.fromkeys(rows["method"]))
    figure, axes = plt.subplots(
        1,
        len(tasks),
        figsize=(4 * len(tasks), 3.8),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, task in zip(axes[0], tasks, strict=True):
        for method, colour in colours.items():
            curve = rows[(rows["task"] == task) & (rows["method"] == method)]
            times = curve["check"].str.extract(r"_([+-]\d+)ms")[0].astype(int)
            ax.plot(times, curve["value"], _dash(method), color=colour, linewidth=1.1, label=method)
        ax.axhline(len(window_times(100)) ** -0.5, color=INK, linestyle=":", linewidth=0.8)
        ax.set(title=task.replace("_", " "), xlabel="ms from the R-peak")
    axes[0, 0].set_ylabel("L2 over leads, mean beat\n(norm 1; dotted: chance)")
    _legend(figure, axes[0, 0])
    return figure


def _amplitude(records, prefix):
    if records is None:
        return None
    rows = records[records["check"].str.startswith(prefix)]
    return rows if len(rows) else None


# ---------------------------------------------------------------- randomisation, removal


def draw_randomisation(
    tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None
) -> Figure | None:
    """Likeness to the original map as more layers are drawn anew, output first: plain, smoothed,
    independent.
    """
    rows = tables["details"][tables["details"]["check"].str.startswith("randomisation_")]
    if rows.empty:
        return None
    parts = rows["check"].str.extract(
        r"randomisation_(smoothed_cascading|cascading|independent)_(.+)_absolute"
    )
    rows = rows.assign(series=parts[0], layer=parts[1]).dropna(subset=["series"])
    colours = colours_of(dict.fromkeys(rows["method"]))
    titles = {
        "cascading": "cascading",
        "smoothed_cascading": "cascading, smoothed",
        "independent": "one layer at a time",
    }
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    for ax, (series, title) in zip(axes, titles.items(), strict=True):
        for method, colour in colours.items():
            line = rows[(rows["series"] == series) & (rows["method"] == method)]
            start = [] if series == "independent" else [1.0]
            names = ([] if series == "independent" else ["none"]) + list(line["layer"])
            ax.plot(
                range(len(names)),
                start + list(line["value"]),
                _dash(method),
                color=colour,
                marker="o",
                markersize=2.5,
                linewidth=1,
                label=method,
            )
        ax.axhline(0, color=INK, linestyle=":", linewidth=0.8)
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
        ax.set(title=title, xlabel="drawn anew" + ("" if series == "independent" else " down to"))
    axes[0].set_ylabel("rank correlation of |map|\nwith the original")
    _legend(figure, axes[0])
    _title(
        figure, f"Are maps still alike once weights are drawn anew? {int(rows['n'].max())} records"
    )
    return figure


def draw_removal(tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None) -> Figure | None:
    """Effect on the logit as lead x segment cells are removed: most relevant first, least first,
    random orders.
    """
    rows = tables["details"][tables["details"]["check"].str.startswith("removal_")]
    if rows.empty:
        return None
    methods = list(dict.fromkeys(rows["method"]))
    values = rows.set_index(["check", "method"])["value"]
    width = max(1.45 * len(methods) + 0.6, 6.5)  # room for the words below, however few the methods
    figure, axes = plt.subplots(
        2,
        len(methods),
        figsize=(width, 4.2),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for line, reading in zip(axes, ("absolute", "signed"), strict=True):
        for ax, method in zip(line, methods, strict=True):
            for order, colour in (("most", "#d55e00"), ("least", "#0072b2"), ("random", GREY)):
                curve = [
                    values[f"removal_{reading}_{order}_{fraction:g}", method]
                    for fraction in FRACTIONS
                ]
                label = "random order" if order == "random" else f"{order} relevant first"
                ax.plot(FRACTIONS, curve, color=colour, linewidth=1.2, label=label)
            ax.axhline(0, color=INK, linewidth=0.4)
        line[0].set_ylabel(
            "change of the logit\n" + ("(size)" if reading == "absolute" else "(fall)")
        )
    for ax, method in zip(axes[0], methods, strict=True):
        ax.set_title(method, fontsize=8)
    for ax in axes[1]:
        ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    figure.supxlabel(
        "share of the samples removed (lead × segment cells, physiological fill; "
        f"{int(rows['n'].max())} records)",
        fontsize=9,
    )
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    return figure


# ---------------------------------------------------------------- truth, doses, layers, agreement


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
    methods = list(dict.fromkeys(rows["method"]))[::-1]
    figure, axes = plt.subplots(
        2, 4, figsize=(11, 0.5 * len(methods) + 1.6), sharey=True, layout="constrained"
    )
    for line, truth in zip(axes, ("cell", "time"), strict=True):
        for ax, metric in zip(line, titles, strict=True):
            for shift, (reading, colour) in zip(
                (-0.14, 0.14), (("absolute", INK), ("positive", "#d55e00")), strict=True
            ):
                one = (
                    rows[rows["check"] == f"localisation_{metric}_{truth}_{reading}"]
                    .set_index("method")
                    .loc[methods]
                )
                places = np.arange(len(methods)) + shift
                ax.hlines(places, one["low"], one["high"], color=colour, linewidth=1)
                ax.plot(
                    one["value"],
                    places,
                    "o",
                    color=colour,
                    markersize=3,
                    label=f"{reading} relevance",
                )
            ax.axvline(
                one["chance"].iloc[0],
                color="#0072b2",
                linestyle="--",
                linewidth=0.8,
                label="chance",
            )
            ax.set(
                title=f"{titles[metric]}, {'lead × segment' if truth == 'cell' else 'time span'}",
                xlim=(0, 1),
            )
    axes[0, 0].set_yticks(range(len(methods)), methods)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    n = int(rows["n"].max())
    _title(
        figure, f"Do maps point at the planted cause? {n} records that passed the intervention gate"
    )
    return figure


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
    waves = list(dict.fromkeys(rows["wave"]))
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
            ax.text(
                column,
                row,
                f"{grid.iloc[row, column]:.2f}".replace("0.", "."),
                ha="center",
                va="center",
                fontsize=5.5,
                color=INK if sure.iloc[row, column] else GREY,
            )
        ax.set_xticks(range(len(waves)), waves)
        ax.set_title(f"{name} (n ≤ {counts[name]})", fontsize=9)
        ax.tick_params(length=0)
    axes[0, 0].set_yticks(range(12), LEADS)
    figure.colorbar(image, ax=axes[0], label="logit per +0.1 mV", shrink=0.8)
    _title(figure, "Dose-response: a wave raised by 0.1 mV in one lead (grey: interval includes 0)")
    return figure


def draw_layers(tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None) -> Figure | None:
    """The Grad-CAM question: AUC above chance of each CAM, layer (rows) x truth (columns), per
    model and task.
    """
    rows = tables["checks"][
        tables["checks"]["check"].isin(["layer_auc_cell_absolute", "layer_auc_time_absolute"])
    ]
    if rows.empty:
        return None
    tasks, kinds = (
        list(dict.fromkeys(rows["task"])),
        list(dict.fromkeys(rows["method"].str.split("@").str[0])),
    )
    values = rows.set_index(["task", "method", "check"])
    figure, axes = plt.subplots(
        len(kinds),
        len(tasks),
        figsize=(2.6 * len(tasks) + 0.6, 1.5 * len(kinds) + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for line, kind in zip(axes, kinds, strict=True):
        for ax, task in zip(line, tasks, strict=True):
            grid = {}
            for row, layer in enumerate(("original", "last")):
                for column, truth in enumerate(("cell", "time")):
                    check = f"layer_auc_{truth}_absolute"
                    grid[row, column] = values.loc[(task, f"{kind}@{layer}", check)]
            ax.imshow(
                np.reshape([cell["value"] for cell in grid.values()], (2, 2)),
                cmap=SIGNED_CMAP,
                vmin=0,
                vmax=1,
                aspect="auto",
            )
            for row, column in np.ndindex(2, 2):
                cell = grid[row, column]
                ax.text(
                    column,
                    row,
                    f"{cell['value']:.2f}\n[{cell['low']:.2f}, {cell['high']:.2f}]",
                    ha="center",
                    va="center",
                    fontsize=7,
                )
            ax.set_xticks([0, 1], ["lead & wave", "time span"], fontsize=7)
            ax.set_yticks(
                [0, 1],
                ["original's\nlayer", "last\nconv. map"] if ax is line[0] else [],
                fontsize=7,
            )
            ax.tick_params(length=0)
            ax.set_title(
                f"{kind}, {task.replace('_', ' ')} (n = {int(grid[0, 0]['n'])})", fontsize=7
            )
    _title(figure, "Grad-CAM: ROC AUC against the truth by layer and kind of truth (chance .50)")
    return figure


def draw_agreement(tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None) -> Figure | None:
    """Agreement of every pair of methods, sample by sample and over lead x segment cells."""
    pairs = tables.get("agreement_pairs")
    if pairs is None or pairs.empty:
        return None
    methods = list(dict.fromkeys([*pairs["first"], *pairs["second"]]))
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
    for ax, view in zip(axes, ("samples", "cells"), strict=True):
        one = pairs[pairs["view"] == view]
        grid = pd.DataFrame(np.eye(len(methods)), index=methods, columns=methods)
        for first, second, value in one[["first", "second", "value"]].itertuples(index=False):
            grid.loc[first, second] = grid.loc[second, first] = value
        image = ax.imshow(grid, cmap=ABSOLUTE_CMAP, vmin=0, vmax=1)
        for row, column in np.ndindex(grid.shape):
            value = grid.iloc[row, column]
            shown = f"{round(value, 2) + 0:.2f}".replace("0.", ".")  # + 0: no minus before a zero
            ax.text(
                column,
                row,
                shown,
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if value > 0.5 else INK,
            )
        ax.set_xticks(range(len(methods)), methods, rotation=45, ha="right")
        ax.set_yticks(range(len(methods)), methods)
        ax.tick_params(length=0)
        what = {"samples": "sample by sample", "cells": "lead × segment cells"}[view]
        ax.set_title(
            f"{what} (maps of different patients: {one['chance'].min():.2f} to "
            f"{one['chance'].max():.2f})"
        )
    figure.colorbar(image, ax=axes, label="mean rank correlation of |map|", shrink=0.8)
    checks = tables["checks"]
    n = int(checks.loc[checks["check"].str.startswith("agreement_methods_"), "n"].max())
    _title(figure, f"Do methods agree on what matters? {n} records")
    return figure


FIGURES = {
    "ranking": draw_ranking,
    "amplitude_boxes": draw_amplitude_boxes,
    "amplitude_curves": draw_amplitude_curves,
    "randomisation": draw_randomisation,
    "removal": draw_removal,
    "localisation": draw_localisation,
    "dose_response": draw_dose_response,
    "layers": draw_layers,
    "agreement": draw_agreement,
}
