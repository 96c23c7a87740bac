"""Figure of the scorecard: every map on every card, and the own cards beside the controls."""

import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common import plotting
from common.plotting import COLUMN, INK, POSITIVE, SIGNED_CMAP, plt
from common.words import method_in_words

CONTROL_MARKS = {"input_magnitude": ("s", "#7d848d"), "random": ("^", "#b9bec5")}
OTHER_COLOUR, GRID_COLOUR = "#c7a17a", "#e3e6ea"


def scorecard_figure(table: pd.DataFrame, title: str) -> Figure:
    """Per method: left, how much the card's leads stand out in every map; right, the own cards'
    lifts.
    """
    plotting.style()
    methods = _methods(table)
    rows, columns = table["pathology"].nunique(), table["card"].nunique()
    height = max(2.7, 0.36 * rows + 1.75)
    figure, axes = plt.subplots(
        len(methods),
        2,
        figsize=(0.6 * columns + 8.4, height * len(methods) + 0.45),
        squeeze=False,
        width_ratios=[0.6 * columns + 1.2, 5.4],
        layout="constrained",
    )
    for pair, method in zip(axes, methods, strict=True):
        _panels(pair, table, method, int(15 * (0.6 * columns + 1.2)))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def scorecard_column(table: pd.DataFrame, title: str) -> Figure:
    """The same for a journal's column (85 mm): of each method one panel below the other."""
    plotting.style()
    methods = _methods(table)
    rows = table["pathology"].nunique()
    heights = [0.19 * rows + 0.85, 0.24 * rows + 1.25]
    title = textwrap.fill(title, 54)
    size = (COLUMN, sum(heights) * len(methods) + 0.13 * (2 + title.count("\n")))
    figure = plt.figure(figsize=size, layout="constrained")
    # each with margins of its own: what stands beside one panel takes no room from the other
    panels = figure.subfigures(2 * len(methods), 1, height_ratios=heights * len(methods))
    axes = np.array([panel.subplots() for panel in panels])
    for pair, method in zip(axes.reshape(-1, 2), methods, strict=True):
        _panels(pair, table, method, 60, small=True)
    figure.suptitle(title, x=0.02, ha="left", fontsize=7.5, fontweight="bold")
    return figure


def _methods(table):
    """The methods that are no controls."""
    return [method for method in table["method"].unique() if method not in CONTROL_MARKS]


def _panels(axes, table, method, letters, small=False):
    """Both panels of one method; `letters` fit on a line above the first."""
    sizes = SMALL if small else USUAL
    _lead_lifts(axes[0], table[table["method"] == method], method_in_words(method), letters, sizes)
    _lifts(axes[1], table, method, sizes)


@dataclass(frozen=True)
class _Sizes:
    """Letters in points: titles, names, numbers, legend; and a dot's area."""

    title: float
    name: float
    number: float
    legend: float
    dot: float


USUAL, SMALL = _Sizes(8.5, 7.5, 7, 6.3, 34), _Sizes(6.5, 6, 6, 6, 20)
FEW_PATIENTS = 5  # of a group, below which nothing is marked: one patient is no group


def _lead_lifts(ax, one, method, letters, sizes):
    """Rows: groups; columns: cards; colour: log2 of the lead lift; own cards framed; * where
    p_neighbours < .05 (not corrected: the panel beside has Holm's) and there are patients enough to
    say so.
    """
    groups, cards = one["pathology"].unique(), one["card"].unique()
    values, p, patients = (
        one.pivot(index="pathology", columns="card", values=name).loc[groups, cards].to_numpy()
        for name in ("lead_lift", "p_neighbours", "n_patients")
    )
    marked = (p < 0.05) & (patients >= FEW_PATIENTS)
    logs = np.log2(np.maximum(values, 2.0**-3))
    limit = max(0.5, np.nanmax(np.abs(logs)))
    image = ax.imshow(logs, cmap=SIGNED_CMAP, vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        shade = np.dot(image.cmap(image.norm(logs[row, column]))[:3], (0.299, 0.587, 0.114))
        ax.text(
            column,
            row,
            f"{value:.2f}{'*' if marked[row, column] else ''}",
            ha="center",
            va="center",
            fontsize=sizes.number,
            color="white" if shade < 0.5 else INK,
        )
        if groups[row] == cards[column]:
            ax.add_patch(
                plt.Rectangle(
                    (column - 0.5, row - 0.5),
                    1,
                    1,
                    fill=False,
                    edgecolor=INK,
                    linewidth=1.6,
                    clip_on=False,
                )
            )
    ax.set_xticks(
        range(len(cards)),
        cards,
        rotation=40,
        ha="right",
        rotation_mode="anchor",
        fontsize=sizes.name,
    )
    ax.set_yticks(range(len(groups)), groups, fontsize=sizes.name)
    ax.set_xlabel("card", fontsize=sizes.title)
    ax.set_ylabel("map of", fontsize=sizes.title)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    title = (
        f"{method}: score of the card over its mean in other leads "
        "(*\u00a0p < .05, neighbours kept, of each cell alone)"
    )
    ax.set_title(textwrap.fill(title, letters), fontsize=sizes.title, loc="left")


def _lifts(ax, table, method, sizes):
    """Score of each group's own card with interval and p, those of the other cards, and the
    controls'.
    """
    one, groups = table[table["method"] == method], list(table["pathology"].unique())
    ax.axvline(1, color="#888888", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for place, pathology in enumerate(groups):
        mine = one[one["pathology"] == pathology]
        ax.scatter(
            mine["lift"][~mine["own"]],
            np.full((~mine["own"]).sum(), place - 0.22),
            s=10,
            marker="|",
            linewidth=1.1,
            color=OTHER_COLOUR,
            zorder=2,
            label="its map on other cards" if not place else None,
        )
        for entry in mine[mine["own"]].itertuples():
            own = table[(table["pathology"] == pathology) & table["own"]]
            _own(ax, entry, place, own.set_index("method")["lift"], sizes)
    for name, (marker, colour) in CONTROL_MARKS.items():
        ax.scatter(
            [], [], s=18, marker=marker, color=colour, label=f"{method_in_words(name)}, own card"
        )
    ax.scatter([], [], s=sizes.dot, color=POSITIVE, label=f"{method_in_words(method)}, own card")
    ax.set_yticks(range(len(groups)), groups, fontsize=sizes.name)
    ax.set(ylim=(len(groups) - 0.4, -0.6), xscale="log")
    words = "score: share of relevance / share of lead x time (1: chance)"
    ax.set_xlabel(words, fontsize=sizes.title)
    low, high = ax.get_xlim()
    wide = high > 4 * low
    candidates = (
        (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
        if wide
        else (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3)
    )
    ticks = [tick for tick in candidates if low <= tick <= high]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=sizes.name)
    ax.minorticks_off()
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID_COLOUR, linewidth=0.5, zorder=0)
    ax.set_title("score of each map on its own card", fontsize=sizes.title, loc="left")
    style = {"fontsize": sizes.legend, "frameon": False, "ncols": 2}
    style |= {"handletextpad": 0.1, "columnspacing": 0.8}
    if sizes is SMALL:
        ax.figure.legend(loc="outside lower center", **style)
    else:
        place = (0.5, -0.27 if len(groups) > 3 else -0.42)
        ax.legend(loc="upper center", bbox_to_anchor=place, borderaxespad=0, **style)


def _own(ax, entry, place, lifts, sizes):
    """One group's own card: the method and the controls."""
    ax.hlines(place, entry.low, entry.high, color=INK, linewidth=1.6, zorder=3)
    ax.scatter(entry.lift, place, s=sizes.dot, color=POSITIVE, zorder=4)
    for name, (marker, colour) in CONTROL_MARKS.items():
        if name in lifts:
            ax.scatter(lifts[name], place + 0.24, s=18, marker=marker, color=colour, zorder=2)
    few = entry.n_patients < FEW_PATIENTS
    tested = f"p {_short(entry.p_neighbours)}, Holm {_short(entry.p_holm)}"
    ax.annotate(
        f"n = {entry.n_patients}: not judged" if few else tested,
        (1.02, place),
        va="center",
        fontsize=sizes.number,
        xycoords=("axes fraction", "data"),
        color=INK if entry.p_holm < 0.05 and not few else "#777777",
    )


def _short(p):
    """.003 for 0.0031, <.001 below that, 1 for 1."""
    return "1" if p > 0.9995 else "<.001" if p < 0.0005 else f"{p:.3f}".lstrip("0")
