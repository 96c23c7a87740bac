"""Panels of the glocal figures: median beats on ECG paper, label bars, segment maps."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator

from attribution.cells import TOP
from attribution.methods import get_method
from common.labels import LEADS
from common.plotting import ABSOLUTE_CMAP, INK, heat_line, heat_norm, plt
from common.stats import STABLE
from ecg.beats import window_times
from ecg.segments import SEGMENTS, WAVES
from glocal.groups import Group

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
SMALL_SQUARE, LARGE_SQUARE = "#f7e3df", "#eec4bd"  # of ECG paper
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
    the next lead; one that is not there (NaN) needs no room.
    """
    medians = np.concatenate(
        [displayed(group.median_beat()[0].T, signed=True) for group in groups], axis=1
    )
    medians = np.nan_to_num(medians)
    highest = np.maximum(*np.split(medians.max(axis=1), 2))  # limb and chest leads share the rows
    lowest = np.minimum(*np.split(medians.min(axis=1), 2))
    steps = np.maximum(0.8, highest[1:] - lowest[:-1] + 0.2)
    return -np.cumsum(np.concatenate([[0], np.ceil(steps / 0.1) * 0.1]))


def beat_limits(groups: Sequence[Group], offsets: np.ndarray) -> tuple[float, float]:
    """Lower and upper edge in mV of all rows: no band of a group's beats is cut off."""
    edges = []
    for group in groups:
        _, lower, upper = group.median_beat()
        for band in (lower, upper):
            edges.append(displayed(band.T, signed=True).reshape(2, len(LIMB), -1))
    rows = np.concatenate(edges, axis=2) + offsets[:, None]
    low, high = np.nanmin(rows), np.nanmax(rows)
    return np.floor(low / 0.1) * 0.1 - 0.1, np.ceil(high / 0.1) * 0.1 + 0.1


def paper_grid(
    ax: Axes, times: np.ndarray, limits: tuple[float, float], square: float = 0.5
) -> None:
    """ECG paper: large squares of 200 ms x `square` mV, small ones of a fifth; x in ms, y in mV."""
    low, high = limits
    for share, colour in ((0.2, SMALL_SQUARE), (1.0, LARGE_SQUARE)):
        step, width = share * square, 0.35 + 0.25 * (share == 1)
        xs = np.arange(-400, 601, 200 * share)
        ys = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
        style = {"color": colour, "linewidth": width, "zorder": 0}
        ax.vlines(xs, low, high, **style)
        ax.hlines(ys, times[0], times[-1], **style)


def draw_beats(
    ax: Axes,
    group: Group,
    leads: Sequence[str],
    offsets: np.ndarray,
    limits: tuple[float, float],
    square: float = 0.5,
    heat: np.ndarray | None = None,
    norm: Normalize | None = None,
    cmap: Colormap = ABSOLUTE_CMAP,
) -> None:
    """Median beats of some leads on ECG paper, each with its 5-95 % band and, with `heat` (L, 12),
    its relevance. `offsets` and `limits` are those of
    row_offsets and beat_limits, `square` the mV of a large square.
    """
    times = window_times(group.data.sampling_rate)
    median, lower, upper = group.median_beat()
    bottom, top = limits
    paper_grid(ax, times, limits, square)
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


LONGEST = 11  # letters of a label beside its bar, of more the first are shown
LABEL_POINTS, LABEL_ROOM = 7.0, 32.0  # size of the labels, and the room left of the bars


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
    shown = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names]
    ax.set(
        yticks=y, yticklabels=shown, xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", ".5", "1"]
    )
    ax.invert_yaxis()
    widest = max(TextPath((0, 0), name, LABEL_POINTS).get_extents().width for name in shown)
    size = LABEL_POINTS * min(1.0, LABEL_ROOM / widest)  # else into the panel at the left
    ax.tick_params(axis="y", length=0, pad=2, labelsize=size)
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
            fontsize=6 if unstable[row, column] else 6.5,
            fontweight="normal" if unstable[row, column] else "bold",
            color="white" if shade < 0.55 else INK,
        )


def _frame_cells(ax, names):
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
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


def unit(method: str) -> str:
    """', logit per mV' after a quantity; nothing for a method without a unit."""
    name = get_method(method).unit
    return "" if name == "no unit" else f", {name}"


def colour_bar_below(figure: Figure, ax: Axes, image: AxesImage, label: str) -> None:
    """A thin bar under the segment names."""
    box, height = ax.get_position(), figure.get_figheight()
    bar = figure.colorbar(
        image,
        cax=figure.add_axes([box.x0, box.y0 - 0.66 / height, box.width * 0.45, 0.07 / height]),
        orientation="horizontal",
    )
    low, high = image.get_clim()
    ticks = MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high)
    shown = [tick for tick in ticks if low <= tick <= high]
    shown = shown[:: max(1, (len(shown) - 1) // 2)]  # small numbers are long: few side by side
    bar.set_ticks(shown, labels=[f"{tick:.3g}".replace("e-0", "e-") for tick in shown])
    bar.ax.tick_params(labelsize=6, length=1.5, pad=1)
    bar.outline.set_visible(False)
    figure.text(
        box.x0 + box.width * 0.48,
        box.y0 - 0.625 / height,
        label,
        va="center",
        color="#333333",
        fontsize=6.5 if len(label) < 34 else 6,
    )
