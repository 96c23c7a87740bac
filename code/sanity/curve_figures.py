"""Figures of the checks that change the network or the signal step by step."""

import textwrap

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from common.plotting import INK
from common.words import method_in_words
from sanity.faithfulness import FRACTIONS
from sanity.figure_style import GREY, colours_of, dash_of, in_rows, put_legend, put_title

MOST_COLUMNS = 7  # methods side by side, above which further rows are begun


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
    colours = colours_of(in_rows(rows["method"]))
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
                dash_of(method),
                color=colour,
                marker="o",
                markersize=2.5,
                linewidth=1,
                label=method_in_words(method),
            )
        ax.axhline(0, color=INK, linestyle=":", linewidth=0.8)
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
        ax.set(title=title, xlabel="drawn anew" + ("" if series == "independent" else " down to"))
    axes[0].set_ylabel("rank correlation of |map|\nwith the original")
    put_legend(figure, axes[0])
    put_title(
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
    methods = in_rows(rows["method"])
    values = rows.set_index(["method", "check"])
    columns = min(len(methods), MOST_COLUMNS)
    blocks = -(-len(methods) // columns)
    figure, axes = plt.subplots(
        2 * blocks,
        columns,
        figsize=(max(1.55 * columns + 0.6, 6.5), 3.5 * blocks + 0.7),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.ravel():
        ax.set_axis_off()
    for number, method in enumerate(methods):
        block, column = divmod(number, columns)
        for line, reading in enumerate(("absolute", "signed")):
            ax = axes[2 * block + line, column]
            ax.set_axis_on()
            ax.sharey(axes[line, 0])
            _removal_curves(ax, values.loc[method], reading)
            if column == 0:
                what = "size" if reading == "absolute" else "fall"
                ax.set_ylabel(f"change of the logit\n({what})")
        title = textwrap.fill(method_in_words(method), 17)
        axes[2 * block, column].set_title(title, fontsize=7.5)
    cut = False
    for line, reading in enumerate(("absolute", "signed")):
        drawn = rows[rows["check"].str.startswith(f"removal_{reading}_")]
        low, high = curve_limits(drawn)
        axes[line, 0].set_ylim(low, high)
        cut |= bool((drawn["low"].min() < low) | (drawn["high"].max() > high))
    figure.supxlabel(
        "share of the samples removed (lead × segment cells, physiological fill;\n"
        f"{int(rows['n'].max())} records; bands: 95 % intervals over patients"
        f"{', the widest cut at the frame' if cut else ''})",
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


def curve_limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Ends of an axis on which all curves (value) and their bands (low, high) lie, but for the 2 %
    of the bands that reach farthest where these would take more than half of the height again: the
    interval of a few patients may be as wide as twenty curves.
    """
    low = min(rows["value"].min(), rows["low"].quantile(0.02))
    high = max(rows["value"].max(), rows["high"].quantile(0.98))
    farthest = rows["low"].min(), rows["high"].max()
    if farthest[1] - farthest[0] < 1.5 * (high - low):
        low, high = farthest
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _removal_curves(ax, values, reading):
    """One method's curves under one reading, with intervals but for the random order."""
    for order, colour in (("most", "#d55e00"), ("least", "#0072b2"), ("random", GREY)):
        curve = values.loc[[f"removal_{reading}_{order}_{fraction:g}" for fraction in FRACTIONS]]
        label = "random order" if order == "random" else f"{order} relevant first"
        ax.plot(FRACTIONS, curve["value"], color=colour, linewidth=1.2, label=label)
        if order != "random":
            band = {"color": colour, "alpha": 0.13, "linewidth": 0}
            ax.fill_between(FRACTIONS, curve["low"], curve["high"], **band)
    ax.axhline(0, color=INK, linewidth=0.4)
    ax.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
