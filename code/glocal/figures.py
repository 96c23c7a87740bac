"""Figures of glocal maps: groups side by side, one group's cells, the difference of two groups, the
scorecard.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec
from matplotlib.image import AxesImage

from attribution.jitter import STABLE
from attribution.methods import get_method
from common import plotting
from common.files import write_figure
from common.labels import LEADS, slug
from common.plotting import ABSOLUTE_CMAP, INK, SIGNED_CMAP, heat_line, heat_norm, plt
from ecg.beats import window_times
from ecg.segments import SEGMENTS, WAVES
from glocal.groups import CONTROLS, Group, label_bars
from glocal.maps import TOP
from glocal.scorecard_figures import scorecard_figure
from glocal.tables import FORMATS, cells_of
from networks.checkpoints import ModelInfo

# Cabrera's order, aVR inverted: neighbours on the page are neighbours in the heart
LIMB, CHEST = ("aVL", "I", "-aVR", "II", "aVF", "III"), ("V1", "V2", "V3", "V4", "V5", "V6")
DISPLAY = (*LIMB, *CHEST)
# bands above the columns: name -> first and last of its segments, one band beside the other
BANDS = {
    "P": (WAVES["P"][0], WAVES["PR"][1]),
    "QRS": (WAVES["QRS"][0], WAVES["QRS"][-1]),
    "ST": (WAVES["ST"][0], WAVES["ST"][-1]),
    "T": (WAVES["T"][0], WAVES["T"][-1]),
    "TP": (WAVES["TP"][0], WAVES["TP"][-1]),
}
# qj has no time step of its own where J lies 10 ms after the end of QRS, within the +-20 ms of both
# points: then its column is left out
OFTEN_EMPTY = "qj"
GRID_COLOURS = {0.1: "#f7e3df", 0.5: "#eec4bd"}  # small and large squares of ECG paper, mV
BAND_COLOUR = "#c9cdd2"
# over cells whose rank is not stable: pale lines
HATCHED = {"fill": False, "hatch": "//////", "edgecolor": "#ffffffb0", "linewidth": 0}
SHARE_COLOUR, PROBABILITY_COLOUR = "#5b6b7a", "#d55e00"


def lead_of(shown: str) -> tuple[int, int]:
    """Index of a displayed lead and the factor it is drawn with: '-aVR' -> (3, -1)."""
    return LEADS.index(shown.lstrip("-")), -1 if shown.startswith("-") else 1


def displayed(cells: np.ndarray, signed: bool = False) -> np.ndarray:
    """Rows of a (12, ...) array in display order; a signed map of -aVR changes its sign."""
    return np.stack(
        [cells[index] * (factor if signed else 1) for index, factor in map(lead_of, DISPLAY)]
    )


# ---------------------------------------------------------------- beats


def row_offsets(groups: Sequence[Group]) -> np.ndarray:
    """Baselines of the six rows in mV, top to bottom, such that no group's median beats run into
    the next lead.
    """
    medians = np.concatenate(
        [displayed(group.median_beat()[0].T, signed=True) for group in groups], axis=1
    )
    highest = np.maximum(*np.split(medians.max(axis=1), 2))  # limb and chest leads share the rows
    lowest = np.minimum(*np.split(medians.min(axis=1), 2))
    steps = np.maximum(0.8, highest[1:] - lowest[:-1] + 0.2)
    return -np.cumsum(np.concatenate([[0], np.ceil(steps / 0.1) * 0.1]))


def paper_grid(ax: Axes, times: np.ndarray, low: float, high: float) -> None:
    """ECG paper: small squares of 40 ms x 0.1 mV, large ones of 200 ms x 0.5 mV; x in
    ms, y in mV.
    """
    for step, colour in GRID_COLOURS.items():
        ax.vlines(
            np.arange(-400, 601, 400 * step),
            low,
            high,
            color=colour,
            linewidth=0.35 if step < 0.5 else 0.6,
            zorder=0,
        )
        ax.hlines(
            np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step,
            times[0],
            times[-1],
            color=colour,
            linewidth=0.35 if step < 0.5 else 0.6,
            zorder=0,
        )


def draw_beats(
    ax: Axes,
    group: Group,
    leads: Sequence[str],
    offsets: np.ndarray,
    heat: np.ndarray | None = None,
    norm: Normalize | None = None,
    cmap: Colormap = ABSOLUTE_CMAP,
) -> None:
    """Median beats of some leads on ECG paper, each with its 5-95 % band and, with `heat` (L, 12),
    its relevance.
    """
    times = window_times(group.data.sampling_rate)
    median, lower, upper = group.median_beat()
    top, bottom = offsets[0] + 1.5, offsets[-1] - 1.2
    paper_grid(ax, times, bottom, top)
    for shown, offset in zip(leads, offsets, strict=True):
        index, factor = lead_of(shown)
        edges = np.sort(factor * np.stack([lower[:, index], upper[:, index]]), axis=0) + offset
        ax.fill_between(times, *edges, color=BAND_COLOUR, alpha=0.5, linewidth=0, zorder=1)
        line = factor * median[:, index] + offset
        if heat is None:
            ax.plot(times, line, color=INK, linewidth=0.9, zorder=3)
        else:
            heat_line(ax, times, line, heat[:, index], cmap, norm, width=3.2, trace=0.6)
        ax.annotate(
            shown,
            (times[0], offset),
            (2, 3),
            textcoords="offset points",
            fontsize=7.5,
            fontweight="bold",
            color=INK,
        )
    ax.set(xlim=(times[0], times[-1]), ylim=(bottom, top), yticks=[])
    ax.set_xticks([-200, 0, 200, 400], ["-200", "0", "200", "400 ms"])
    ax.tick_params(length=2, pad=1, labelsize=6.5)
    ax.spines[["left", "bottom"]].set_visible(False)


# ---------------------------------------------------------------- label bars


def draw_bars(ax: Axes, bars: Sequence[tuple[str, float, float]]) -> None:
    """Share of the group that has a label (bar) and mean predicted probability (dot)."""
    names, share, probability = zip(*bars, strict=True)
    y = np.arange(len(names))
    ax.barh(y, share, height=0.62, color=[SHARE_COLOUR, *["#b4bec8"] * (len(names) - 1)], zorder=2)
    ax.scatter(
        probability,
        y,
        s=16,
        color=PROBABILITY_COLOUR,
        zorder=3,
        edgecolor="white",
        linewidth=0.5,
        clip_on=False,
    )
    ax.set(
        yticks=y, yticklabels=names, xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", ".5", "1"]
    )
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0, pad=2, labelsize=7)
    ax.tick_params(axis="x", length=2, pad=1, labelsize=6.5)
    ax.grid(axis="x", color="#e3e6ea", linewidth=0.5, zorder=0)
    ax.spines["left"].set_visible(False)


# ---------------------------------------------------------------- segment maps


def draw_cells(
    ax: Axes,
    cells: np.ndarray,
    cmap: Colormap = ABSOLUTE_CMAP,
    norm: Normalize | None = None,
    rank: np.ndarray | None = None,
    frame: np.ndarray | None = None,
    signed: bool = False,
    stability: np.ndarray | None = None,
) -> AxesImage:
    """Heat map of (12, 24) cells in display order; returns the image.

    rank   writes 1..5 and strikes out what has no rank (in fewer than half of the records, or in
           none: white)
    frame  # (12, 24) bool: cells to frame
    stability  rank_stability (12, 24): cells below STABLE are hatched, and their ranks in brackets
    """
    shown = _columns(cells)
    values = displayed(cells, signed)[:, shown]
    norm = norm or heat_norm(values, signed, (0.0, 1.0))
    image = ax.imshow(
        np.ma.masked_invalid(values), cmap=cmap, norm=norm, aspect="auto", interpolation="nearest"
    )
    struck = ~np.isfinite(displayed(rank if rank is not None else cells)[:, shown])
    for row, column in zip(*np.nonzero(struck), strict=True):
        ax.plot(
            [column - 0.5, column + 0.5], [row + 0.5, row - 0.5], color="#aab0b7", linewidth=0.5
        )
    unstable = displayed(_unstable(stability, cells.shape))[:, shown]
    for row, column in zip(*np.nonzero(unstable), strict=True):
        ax.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, **HATCHED))
    if rank is not None:
        _write_ranks(ax, displayed(rank)[:, shown], image, unstable)
    if frame is not None:
        for row, column in zip(*np.nonzero(displayed(frame)[:, shown]), strict=True):
            ax.add_patch(
                plt.Rectangle(
                    (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=0.9
                )
            )
    _frame_cells(ax, [SEGMENTS[column] for column in shown])
    return image


def _columns(cells):
    """Segments of (12, 24) cells that are drawn: all but OFTEN_EMPTY where it is empty."""
    empty = SEGMENTS.index(OFTEN_EMPTY)
    nothing = not np.nan_to_num(cells[:, empty]).any()
    return [column for column in range(len(SEGMENTS)) if column != empty or not nothing]


def _unstable(stability, shape):
    """(12, 24) bool: cells whose rank hangs on where boundaries were put."""
    return np.zeros(shape, bool) if stability is None else stability < STABLE


def _write_ranks(ax, rank, image, unstable):
    for row, column in zip(*np.nonzero(rank <= TOP), strict=True):
        shade = np.dot(
            image.cmap(image.norm(image.get_array()[row, column]))[:3], (0.299, 0.587, 0.114)
        )
        ax.text(
            column,
            row,
            f"({int(rank[row, column])})" if unstable[row, column] else f"{int(rank[row, column])}",
            ha="center",
            va="center",
            fontsize=5 if unstable[row, column] else 6.5,
            fontweight="normal" if unstable[row, column] else "bold",
            color="white" if shade < 0.55 else INK,
        )


def _frame_cells(ax, names):
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=5.8)
    ax.set_yticks(range(len(DISPLAY)), DISPLAY, fontsize=6.5)
    ax.tick_params(length=0, pad=2)
    ax.spines[:].set_visible(False)
    ax.axhline(len(LIMB) - 0.5, color="white", linewidth=1.6)
    for name, (first, last) in BANDS.items():
        inside = [
            column
            for column, segment in enumerate(names)
            if SEGMENTS.index(first) <= SEGMENTS.index(segment) <= SEGMENTS.index(last)
        ]
        left, right = inside[0] - 0.5, inside[-1] + 0.5
        ax.axvline(right, color="white", linewidth=1.6)
        ax.annotate(
            name,
            ((left + right) / 2, 1),
            (0, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=6.5,
            color="#555555",
        )


# ---------------------------------------------------------------- whole figures


def side_by_side(
    groups: Sequence[Group],
    bars: dict[str, list[tuple[str, float, float]]],
    tables: dict[str, dict[str, np.ndarray]],
    method: str,
    title: str,
    subtitle: str,
    heat_on_norm: bool = False,
) -> Figure:
    """All groups beside each other: median beats with heat, label bars, segment maps with their top
    cells.

    bars    pathology -> label_bars();  tables  pathology -> name -> (12, 24), with density and rank
    """
    plotting.style()
    offsets = row_offsets(groups)
    figure = plt.figure(figsize=(3.45 * len(groups) + 0.5, 13.4))
    margin = 0.5 / figure.get_figwidth()
    columns = figure.add_gridspec(
        1, len(groups), left=margin, right=1 - margin / 4, top=0.915, bottom=0.07, wspace=0.19
    )
    for group, place in zip(groups, columns, strict=True):
        with_heat = group.pathology != "NORM" or heat_on_norm
        parts = GridSpecFromSubplotSpec(3, 1, place, height_ratios=[9.2, 1.15, 3.0], hspace=0.13)
        _beat_column(figure, parts[0], group, offsets, method if with_heat else None)
        draw_bars(figure.add_subplot(parts[1]), bars[group.pathology])
        ax = figure.add_subplot(parts[2])
        if with_heat:
            table = tables[group.pathology]
            _colour_bar(
                figure,
                ax,
                draw_cells(
                    ax,
                    table["density"],
                    rank=table["rank"],
                    stability=table.get("rank_stability"),
                ),
                f"mean |{method}|{unit(method)}",
            )
        else:
            _legend(ax)
    figure.text(margin, 0.985, title, va="top", fontsize=14, fontweight="bold")
    figure.text(margin, 0.968, subtitle, va="top", fontsize=9, color="#555555")
    return figure


def unit(method: str) -> str:
    """', logit per mV' after a quantity; nothing for a method without a unit."""
    name = get_method(method).unit
    return "" if name == "no unit" else f", {name}"


def _beat_column(figure, place, group, offsets, method):
    heat = group.heat[method] if method else None
    norm = heat_norm(heat, signed=False) if method else None
    for half, leads in zip(
        GridSpecFromSubplotSpec(1, 2, place, wspace=0.04), (LIMB, CHEST), strict=True
    ):
        draw_beats(figure.add_subplot(half), group, leads, offsets, heat, norm)
    box = place.get_position(figure)
    figure.text(
        box.x0, box.y1 + 0.017, group.pathology, fontsize=13, fontweight="bold", va="bottom"
    )
    figure.text(box.x0, box.y1 + 0.005, group.counts, fontsize=8, color="#555555", va="bottom")


def _colour_bar(figure, ax, image, label):
    """A thin bar under the segment names."""
    box, height = ax.get_position(), figure.get_figheight()
    bar = figure.colorbar(
        image,
        cax=figure.add_axes([box.x0, box.y0 - 0.66 / height, box.width * 0.45, 0.07 / height]),
        orientation="horizontal",
    )
    bar.ax.tick_params(labelsize=5.8, length=1.5, pad=1)
    bar.outline.set_visible(False)
    figure.text(
        box.x0 + box.width * 0.48,
        box.y0 - 0.625 / height,
        label,
        va="center",
        color="#333333",
        fontsize=6.5 if len(label) < 34 else 5.4,
    )


def _legend(ax):
    """How to read the figure, where the control group has no map."""
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    x = np.linspace(0.02, 0.2, 60)
    bump = np.exp(-(((x - 0.11) / 0.02) ** 2))
    ax.fill_between(
        x,
        0.85 + 0.07 * bump - 0.025,
        0.85 + 0.07 * bump + 0.025,
        color=BAND_COLOUR,
        alpha=0.55,
        linewidth=0,
    )
    ax.plot(x, 0.85 + 0.07 * bump, color=INK, linewidth=0.9)
    heat_line(
        ax,
        x,
        0.65 + 0.07 * bump,
        bump,
        ABSOLUTE_CMAP,
        heat_norm(bump, False, (0, 1)),
        width=3.2,
        trace=0.6,
    )
    ax.barh(0.485, 0.18, left=0.02, height=0.05, color=SHARE_COLOUR)
    ax.scatter(0.11, 0.35, s=18, color=PROBABILITY_COLOUR)
    ax.text(
        0.11,
        0.2,
        "1",
        ha="center",
        va="center",
        fontsize=8,
        fontweight="bold",
        color="white",
        bbox={"boxstyle": "square,pad=0.35", "facecolor": "#7a1f5c", "edgecolor": "none"},
    )
    ax.plot([0.085, 0.135], [0.01, 0.07], color="#a0a5ab", linewidth=0.8)
    square = {"facecolor": "#d9a9c4", "edgecolor": "#ffffff", "hatch": "//////", "linewidth": 0}
    ax.add_patch(plt.Rectangle((0.085, -0.15), 0.05, 0.08, clip_on=False, **square))
    texts = {
        0.87: "median beat, band: 5-95 % of the beats\n1 large square: 200 ms, 0.5 mV",
        0.67: "colour: mean |relevance| over the beats,\n20th to 99th percentile of the group",
        0.485: "share of the group that has the label",
        0.35: "mean predicted probability",
        0.2: "map: mean |relevance| per lead and segment,\nranks of the five densest cells",
        0.04: "absent in more than half of the records: no rank\n(white: absent in all)",
        -0.11: "in or out of the five densest cells, depending on\nwhere boundaries were put",
    }
    for y, text in texts.items():
        ax.text(0.26, y, text, va="center", fontsize=6.6, color="#333333", linespacing=1.25)


def cells_figure(group: Group, cells: dict[str, np.ndarray], method: str, title: str) -> Figure:
    """One group's map three times: density with ranks, share of all relevance, and signed; beside
    them the top cells.
    """
    plotting.style()
    figure = plt.figure(figsize=(16, 4.1))
    maps = figure.add_gridspec(1, 3, left=0.03, right=0.765, top=0.81, bottom=0.23, wspace=0.13)
    panels = (
        ("density", f"mean |{method}|{unit(method)}", ABSOLUTE_CMAP, False, 1.0),
        ("share", "share of all relevance, clipped at 95 %", ABSOLUTE_CMAP, False, 0.95),
        ("signed", f"mean {method}, signed{unit(method)}", SIGNED_CMAP, True, 1.0),
    )
    for place, (name, label, cmap, signed, clip) in zip(maps, panels, strict=True):
        ax = figure.add_subplot(place)
        image = draw_cells(
            ax,
            cells[name],
            cmap,
            heat_norm(cells[name], signed, (0.0, clip)),
            rank=cells["rank"] if name == "density" else None,
            signed=signed,
            stability=cells.get("rank_stability") if name == "density" else None,
        )
        _colour_bar(figure, ax, image, label)
    _top_list(figure.add_axes([0.835, 0.14, 0.12, 0.67]), cells)
    figure.text(
        0.03, 0.975, f"{group.pathology}: {title}", va="top", fontsize=12, fontweight="bold"
    )
    figure.text(0.03, 0.915, group.counts, va="top", fontsize=8.5, color="#555555")
    return figure


def _top_list(ax, cells, n=10):
    """The densest cells with their intervals over patients, and how often they are in the top 5 of
    a resample.
    """
    order = np.argsort(
        np.where(np.isfinite(cells["rank"]), cells["rank"], np.inf), axis=None, kind="stable"
    )[:n]
    order = [index for index in order if np.isfinite(cells["rank"].flat[index])]
    density, low, high = (cells[name].ravel()[order] for name in ("density", "low", "high"))
    y = np.arange(len(order))
    ax.hlines(y, low, high, color=SHARE_COLOUR, linewidth=1.4, zorder=2)
    ax.scatter(density, y, s=18, color=INK, zorder=3)
    names = [
        f"{LEADS[index // len(SEGMENTS)]} {SEGMENTS[index % len(SEGMENTS)]}" for index in order
    ]
    ax.set_yticks(y, names, fontsize=7)
    for place, index in zip(y, order, strict=True):
        ax.annotate(
            f"{100 * cells['top5'].flat[index]:.0f} %",
            (1.2, place),
            xycoords=("axes fraction", "data"),
            va="center",
            ha="right",
            fontsize=6.5,
            color="#555555",
        )
    ax.annotate(
        "in top 5",
        (1.2, -0.85),
        xycoords=("axes fraction", "data"),
        fontsize=6.5,
        color="#555555",
        ha="right",
    )
    ax.set(ylim=(n - 0.5, -0.6), xlim=(0, None))
    ax.annotate(
        "densest cells, 95 % interval over patients",
        (-0.42, 1.09),
        xycoords="axes fraction",
        fontsize=8,
    )
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=6.5, length=2)
    ax.grid(axis="x", color="#e3e6ea", linewidth=0.5)


def contrast_figure(table: pd.DataFrame, method: str) -> Figure:
    """Relative densities of two groups and their difference; cells with Holm's p < .05
    are framed.
    """
    plotting.style()
    one = table[table["method"] == method]
    shape = (len(LEADS), len(SEGMENTS))
    first, second, difference, p_holm = (
        one[name].to_numpy(float).reshape(shape)
        for name in ("density_first", "density_second", "difference", "p_holm")
    )
    names, n_patients = one.iloc[0][["first", "second"]], one.iloc[0][["n_first", "n_second"]]
    figure = plt.figure(figsize=(13.5, 4.1))
    grid = figure.add_gridspec(1, 3, left=0.035, right=0.985, top=0.78, bottom=0.23, wspace=0.13)
    norm = heat_norm(np.concatenate([first, second]), False, (0.0, 1.0))
    for place, values, name, n in zip(grid, (first, second), names, n_patients, strict=False):
        ax = figure.add_subplot(place)
        _colour_bar(figure, ax, draw_cells(ax, values, norm=norm), "density over the record's mean")
        ax.set_title(f"{name} ({n} patients)", fontsize=9, loc="left", pad=13)
    ax = figure.add_subplot(grid[2])
    image = draw_cells(
        ax, difference, SIGNED_CMAP, heat_norm(difference, True, (0.0, 1.0)), frame=p_holm < 0.05
    )
    _colour_bar(figure, ax, image, "difference")
    significant = int((p_holm < 0.05).sum())
    ax.set_title(
        f"{names['first']} - {names['second']}; framed: p < .05 (Holm), {significant} cells",
        fontsize=9,
        loc="left",
        pad=13,
    )
    figure.text(
        0.035,
        0.975,
        f"Where the relevance of {names['first']} and {names['second']} differs ({method})",
        va="top",
        fontsize=12,
        fontweight="bold",
    )
    return figure


# ---------------------------------------------------------------- all of them


def draw_all(
    folder: Path,
    args: argparse.Namespace,
    info: ModelInfo,
    shown: list,
    pairs: list,
    methods: list[str],
    found: dict,
) -> list[Path]:
    """Figures of every method but the controls (whose tables are written too)."""
    where = (
        "cross-fitted folds"
        if args.cross_fit
        else f"fold{'s' * (len(args.folds) > 1)} {', '.join(map(str, args.folds))}"
    )
    subtitle = (
        f"{info.modelname}, {info.task}; up to {args.n_samples} records of highest logit, "
        f"{args.strategy}, {where}"
    )
    bars = {group.pathology: label_bars(group, info.labels) for group in shown}
    paths = []
    for method in (name for name in methods if name not in CONTROLS):
        cells = {
            group.pathology: cells_of(found["segments"], group.pathology, method) for group in shown
        }
        title = f"Glocal analysis by {method}" + (
            "" if get_method(method).has_lead_axis else " (no lead axis: all leads alike)"
        )
        whole = side_by_side(shown, bars, cells, method, title, subtitle, args.norm_heat)
        paths += write_figure(whole, folder / f"groups_{slug(method)}", FORMATS)
        for group in shown:
            one = cells_figure(
                group, cells[group.pathology], method, f"{method} per lead and segment"
            )
            name = f"cells_{slug(method)}_{slug(group.pathology)}"
            paths += write_figure(one, folder / name, FORMATS)
        for first, second in pairs:
            name = f"contrast_{slug(first)}_{slug(second)}_{slug(method)}"
            table = found["contrast"].query("first == @first and second == @second")
            paths += write_figure(contrast_figure(table, method), folder / name, FORMATS)
    scored = found.get("scorecard")
    if scored is not None and (scored["own"] & ~scored["method"].isin(CONTROLS)).any():
        whole = scorecard_figure(found["scorecard"], f"Scorecard: {subtitle}")
        paths += write_figure(whole, folder / "scorecard", FORMATS)
    return paths
