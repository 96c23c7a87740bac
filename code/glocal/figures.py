"""Figures of glocal maps: groups side by side, one group's cells, the difference of two groups, the
scorecard.
"""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec

from attribution.methods import get_method
from attribution.selection import STRATEGIES
from common import plotting
from common.figure_files import write_figure
from common.labels import COLUMN, LEADS, slug
from common.plotting import ABSOLUTE_CMAP, INK, SIGNED_CMAP, heat_line, heat_norm, plt
from common.words import CONTROLS, class_in_words, method_in_words
from ecg.beats import window_times
from ecg.segments import SEGMENTS
from glocal.column_figures import group_column
from glocal.groups import Group, label_bars
from glocal.job import Job
from glocal.panels import (
    BAND_COLOUR,
    CHEST,
    LIMB,
    PROBABILITY_COLOUR,
    SHARE_COLOUR,
    beat_limits,
    colour_bar_below,
    draw_bars,
    draw_beats,
    draw_cells,
    row_offsets,
    unit,
)
from glocal.scorecard_figures import scorecard_column, scorecard_figure
from glocal.tables import cells_of

# ---------------------------------------------------------------- whole figures


COLUMN_WIDTH = 3.45  # inches of a group
HEAD, BARS, CELLS, FOOT = 1.0, 1.0, 2.35, 0.95  # inches of the parts that have a fixed height
GROUP_SPACE, LEAD_SPACE = 0.19, 0.04  # between groups and between limb and chest leads, in widths
MOST_BEATS = 9.0  # inches of all rows of beats, above which a large square is 1 mV, not .5


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
    cells. NORM has a map where it is wanted, or is the only group.

    bars    pathology -> label_bars();  tables  pathology -> name -> (12, 24), with density and rank
    """
    plotting.style()
    offsets = row_offsets(groups)
    limits = beat_limits(groups, offsets)
    heat_on_norm = heat_on_norm or all(group.pathology == "NORM" for group in groups)
    width = max(COLUMN_WIDTH * len(groups) + 0.5, 5.6)
    right = min(width - 0.125, COLUMN_WIDTH * len(groups) + 0.38)  # inches
    side = _square_side(groups, right - 0.5)
    square = 0.5 if (limits[1] - limits[0]) / 0.5 * side <= MOST_BEATS else 1.0
    heights = [(limits[1] - limits[0]) / square * side, 0.35, BARS, 0.35, CELLS]
    subtitle = textwrap.fill(subtitle, int(width * 13))
    drawn = any(group.pathology == "NORM" for group in groups) and not heat_on_norm
    legend = "" if drawn else textwrap.fill(LEGEND.format(square=square), int(width * 17))
    head = HEAD + 0.15 * subtitle.count("\n")
    foot = FOOT + (0.15 + 0.12 * (legend.count("\n") + 1)) * bool(legend)
    whole = head + sum(heights) + foot
    figure, margin = plt.figure(figsize=(width, whole)), 0.5 / width
    columns = figure.add_gridspec(
        1,
        len(groups),
        left=margin,
        right=right / width,
        top=1 - head / whole,
        bottom=foot / whole,
        wspace=GROUP_SPACE,
    )
    for group, place in zip(groups, columns, strict=True):
        with_heat = group.pathology != "NORM" or heat_on_norm
        parts = GridSpecFromSubplotSpec(5, 1, place, height_ratios=heights, hspace=0)
        rows = (offsets, limits, square)
        _beat_column(figure, parts[0], group, rows, method if with_heat else None)
        draw_bars(figure.add_subplot(parts[2]), bars[group.pathology])
        ax = figure.add_subplot(parts[4])
        if with_heat:
            table = tables[group.pathology]
            image = draw_cells(
                ax, table["density"], rank=table["rank"], stability=table.get("rank_stability")
            )
            label = f"mean |{method_in_words(method)}|{unit(method)}"
            colour_bar_below(figure, ax, image, label)
        else:
            _legend(ax, square)
    figure.text(margin, 1 - 0.12 / whole, title, va="top", fontsize=14, fontweight="bold")
    figure.text(margin, 1 - 0.36 / whole, subtitle, va="top", fontsize=9, color="#555555")
    small = {"fontsize": 6.6, "color": "#333333", "va": "bottom", "linespacing": 1.2}
    figure.text(margin, 0.22 / whole, legend, **small)
    return figure


LEGEND = (
    "Beats: median, grey band 5-95 % of the beats, colour the mean |relevance|; one large square "
    "200 ms, {square:g} mV. Bars: share of the group with the label; dots: mean predicted "
    "probability. Map: ranks of the five densest cells; struck out: absent in more than half of "
    "the records; hatched: in or out of the five, depending on where boundaries were put."
)


def _square_side(groups, width):
    """Inches that 200 ms take where all groups share `width` inches."""
    times = window_times(groups[0].data.sampling_rate)
    column = width / (len(groups) + GROUP_SPACE * (len(groups) - 1))
    return column / (2 + LEAD_SPACE) / (times[-1] - times[0]) * 200


def _beat_column(figure, place, group, rows, method):
    heat = group.heat[method] if method else None
    norm = heat_norm(heat, signed=False) if method else None
    halves = GridSpecFromSubplotSpec(1, 2, place, wspace=LEAD_SPACE)
    for half, leads in zip(halves, (LIMB, CHEST), strict=True):
        draw_beats(figure.add_subplot(half), group, leads, *rows, heat, norm)
    box, height = place.get_position(figure), figure.get_figheight()
    named = {"fontsize": 13, "fontweight": "bold", "va": "bottom"}
    figure.text(box.x0, box.y1 + 0.22 / height, group.pathology, **named)
    counts = {"fontsize": 8, "color": "#555555", "va": "bottom"}
    figure.text(box.x0, box.y1 + 0.07 / height, group.counts, **counts)


def _legend(ax, square):
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
    patch = {"facecolor": "#d9a9c4", "edgecolor": "#ffffff", "hatch": "//////", "linewidth": 0}
    ax.add_patch(plt.Rectangle((0.085, -0.15), 0.05, 0.08, clip_on=False, **patch))
    texts = {
        0.87: f"median beat, band: 5-95 % of the beats\n1 large square: 200 ms, {square:g} mV",
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
    words = method_in_words(method)
    panels = (
        ("density", f"mean |{words}|{unit(method)}", ABSOLUTE_CMAP, False, 1.0),
        ("share", "share of all relevance, clipped at 95 %", ABSOLUTE_CMAP, False, 0.95),
        ("signed", f"mean {words}, signed{unit(method)}", SIGNED_CMAP, True, 1.0),
    )
    titles = (
        "how strong, per sample",
        "how much, in all (long segments collect more)",
        "which way",
    )
    for place, panel_title, panel in zip(maps, titles, panels, strict=True):
        name, label, cmap, signed, clip = panel
        ax = figure.add_subplot(place)
        ax.set_title(panel_title, fontsize=9, loc="left", pad=13)
        image = draw_cells(
            ax,
            cells[name],
            cmap,
            heat_norm(cells[name], signed, (0.0, clip)),
            rank=cells["rank"] if name == "density" else None,
            signed=signed,
            stability=cells.get("rank_stability") if name == "density" else None,
        )
        colour_bar_below(figure, ax, image, label)
    _top_list(figure.add_axes([0.835, 0.14, 0.12, 0.67]), cells)
    figure.text(
        0.03,
        0.975,
        f"{class_in_words(group.pathology)}: {title}",
        va="top",
        fontsize=12,
        fontweight="bold",
    )
    figure.text(0.985, 0.975, group.counts, va="top", ha="right", fontsize=8.5, color="#555555")
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
        (-0.42, 1.12),
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
        colour_bar_below(
            figure, ax, draw_cells(ax, values, norm=norm), "density over the record's mean"
        )
        ax.set_title(f"{name} ({n} patients)", fontsize=9, loc="left", pad=13)
    ax = figure.add_subplot(grid[2])
    image = draw_cells(
        ax, difference, SIGNED_CMAP, heat_norm(difference, True, (0.0, 1.0)), frame=p_holm < 0.05
    )
    colour_bar_below(figure, ax, image, "difference")
    significant = int((p_holm < 0.05).sum())
    ax.set_title(
        f"{names['first']} - {names['second']}; framed: p < .05 (Holm), {significant} cells",
        fontsize=9,
        loc="left",
        pad=13,
    )
    title = (
        f"Where the relevance for {names['first']} differs between {names['first']} and "
        f"{names['second']} ({method_in_words(method)})"
    )
    figure.text(0.035, 0.975, title, va="top", fontsize=12, fontweight="bold")
    return figure


# ---------------------------------------------------------------- all of them


def draw_all(
    folder: Path, args: argparse.Namespace, job: Job, found: dict[str, pd.DataFrame]
) -> list[Path]:
    """Figures of every method but the controls (whose tables are written too); `found`: the tables
    by name.
    """
    info, shown = job.pool.info, job.shown
    subtitle = subtitle_of(args, job)
    bars = {group.pathology: label_bars(group, info.labels) for group in shown}
    column, paths = args.layout == COLUMN, []
    patients = {name for group in shown for name in np.unique(group.data.patient_id)}
    about = f"{sum(len(group.data) for group in shown)} records of {len(patients)} patients"
    for method in (name for name in job.question.methods if name not in CONTROLS):
        cells = {
            group.pathology: cells_of(found["segments"], group.pathology, method) for group in shown
        }
        words = method_in_words(method)
        title = f"What {words} marks, group by group" + (
            "" if get_method(method).has_lead_axis else " (no lead axis: all leads alike)"
        )
        if column:
            paths += _columns(folder, shown, cells, method)
        else:
            whole = side_by_side(shown, bars, cells, method, title, subtitle, args.norm_heat)
            paths += write_figure(whole, folder / f"groups_{slug(method)}", about=about)
        for group in shown:
            one = cells_figure(
                group, cells[group.pathology], method, f"{words} by lead and segment"
            )
            name = f"cells_{slug(method)}_{slug(group.pathology)}"
            paths += write_figure(one, folder / name, about=group.counts)
        for first, second in job.question.pairs:
            name = f"contrast_{slug(first)}_{slug(second)}_{slug(method)}"
            table = found["contrast"].query("first == @first and second == @second")
            paths += write_figure(contrast_figure(table, method), folder / name)
    scored = found.get("scorecard")
    if scored is not None and (scored["own"] & ~scored["method"].isin(CONTROLS)).any():
        drawn = scorecard_column if column else scorecard_figure
        whole = drawn(found["scorecard"], f"Scorecard: {subtitle}")
        dpi = 300 if column else 150
        paths += write_figure(whole, folder / "scorecard", dpi=dpi, about=about)
    return paths


def subtitle_of(args: argparse.Namespace, job: Job) -> str:
    """The network, how the groups' records were chosen, and leads that they have and it does not
    read.
    """
    info = job.pool.info
    where = (
        "cross-fitted folds"
        if args.cross_fit
        else f"fold{'s' * (len(args.folds) > 1)} {', '.join(map(str, args.folds))}"
    )
    strategy = STRATEGIES[args.strategy]
    most, first = strategy.limit or args.n_samples, "lowest" if strategy.ascending else "highest"
    subtitle = (
        f"{info.modelname}, {info.task}; up to {most} record{'s' * (most > 1)} of {first} logit, "
        f"{args.strategy.replace('_', ' ')}, {where}"
    )
    if unread := info.unread(np.concatenate([group.median_beat()[0] for group in job.shown])):
        subtitle += f"; not read by the network: {', '.join(unread)}"
    return subtitle


def _columns(folder, shown, cells, method):
    """The groups one by one, each for a journal's column; the written paths."""
    written = []
    for group in shown:
        path = folder / f"groups_{slug(method)}_{slug(group.pathology)}"
        figure = group_column(group, cells[group.pathology], method)
        written += write_figure(figure, path, dpi=300, about=group.counts)
    return written
