"""What all figures share: style, colour maps, colour scales, and a trace with heat.

Signed heat runs from blue to vermillion (hues of Okabe and Ito's palette, safe for the
colour-blind), absolute heat from cream to magenta. Heat lies behind the trace, never so dark that
it hides it: an ECG is read by its line.
"""

from collections.abc import Iterable

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.path import Path

INK = "#1a1a1a"
COLUMN = 85 / 25.4  # inches: the width of a journal's column
# Okabe and Ito's colours, told apart by the colour-blind
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a1f5c", "#5b8c00")
# classes that stand side by side in figures -> place in COLOURS, the same in every figure
CLASS_COLOURS = {
    "AMI": 0,
    "MI": 0,
    "IMI": 1,
    "NORM": 2,
    "LVH": 3,
    "HYP": 3,
    "CLBBB": 4,
    "CD": 4,
    "CRBBB": 5,
    "LAFB/LPFB": 6,
    "STTC": 7,
}
POSITIVE, NEUTRAL, NEGATIVE = "#d55e00", "#f4f1ec", "#0072b2"

# for signed relevance: blue speaks against the class, vermillion for it
SIGNED_CMAP = LinearSegmentedColormap.from_list(
    "xai_signed", [NEGATIVE, "#4aa3df", "#a9d3ee", NEUTRAL, "#fbd0a8", "#f59a4a", POSITIVE]
)
# for absolute relevance
ABSOLUTE_CMAP = LinearSegmentedColormap.from_list(
    "xai_absolute", [NEUTRAL, "#fde08a", "#fbb04c", "#f2713a", "#d63a5a", "#a6228c"]
)


def class_colours(names: Iterable[str]) -> dict[str, str]:
    """Colour of each class: of CLASS_COLOURS the same one in every figure; the others take, in
    turn, what those leave.
    """
    names = list(dict.fromkeys(names))
    fixed = {name: COLOURS[CLASS_COLOURS[name]] for name in names if name in CLASS_COLOURS}
    free = [colour for colour in COLOURS if colour not in fixed.values()] or list(COLOURS)
    others = [name for name in names if name not in fixed]
    return {**fixed, **{name: free[place % len(free)] for place, name in enumerate(others)}}


def style() -> None:
    """Set matplotlib's defaults for every figure of the project, whatever the user's own are."""
    matplotlib.rcdefaults()
    plt.rcParams.update(
        {
            "font.size": 9,
            "axes.titlesize": 10,
            "axes.labelsize": 9,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#666666",
            "axes.linewidth": 0.6,
            "figure.dpi": 100,
            "savefig.facecolor": "white",
            "pdf.fonttype": 42,
            "svg.hashsalt": "xai4ecg",
        }
    )


def white_behind(pad: float, alpha: float) -> dict[str, object]:
    """A box that keeps words readable on a trace, as `bbox` of a text."""
    return {
        "boxstyle": f"square,pad={pad}",
        "facecolor": "white",
        "edgecolor": "none",
        "alpha": alpha,
    }


def share_limits(axes: np.ndarray) -> None:
    """Give all axes of a grid (rows, columns) the same limits, and numbers at its edges alone.

    As `sharex` and `sharey` do, under which every change of one asks all others: 4 x 12 leads are
    drawn in .4 of the time.
    """
    for name in ("xlim", "ylim"):
        limits = np.array([getattr(ax, f"get_{name}")() for ax in axes.flat])
        for ax in axes.flat:
            ax.set(**{name: (limits[:, 0].min(), limits[:, 1].max())})
    for ax in axes.flat:
        ax.label_outer()


def heat_norm(
    heat: np.ndarray, signed: bool, quantiles: tuple[float, float] = (0.2, 0.99)
) -> Normalize:
    """Colour scale clipped to quantiles of |heat|: symmetric about 0 for signed heat (its upper
    quantile), else low..high.

    NaN is left out; heat that is 0 throughout gives 0..1.
    """
    magnitude = np.abs(np.asarray(heat, dtype=float))
    magnitude = magnitude[np.isfinite(magnitude)]
    low, high = np.quantile(magnitude, quantiles) if magnitude.size else (0.0, 1.0)
    if high == 0:  # few samples have any heat, or none has
        high = magnitude.max() or 1.0
    if signed:
        return Normalize(-high, high, clip=True)
    return Normalize(low if low < high else 0.0, high, clip=True)


FAINT = 0.05  # share of a colour scale's largest value: less heat is not drawn


def heat_line(
    ax: Axes,
    x: np.ndarray,
    y: np.ndarray,
    heat: np.ndarray,
    cmap: Colormap = SIGNED_CMAP,
    norm: Normalize | None = None,
    width: float = 4.0,
    trace: float = 0.7,
) -> PathCollection:
    """Draw y over x as a thin dark trace on a band coloured by `heat` (same length); returns the
    band, for a colour bar.

    `width` of the band and `trace` of the line are in points (trace 0: no line). NaN in y
    interrupts both. Each sample colours the piece from half-way before it to half-way after; where
    heat is NaN or below FAINT of the scale, the trace stays bare.
    """
    x, y, heat = (np.asarray(values, dtype=float) for values in (x, y, heat))
    norm = norm or heat_norm(heat, signed=bool((heat < 0).any()))
    middle_x, middle_y = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    left_x, left_y = np.concatenate((x[:1], middle_x)), np.concatenate((y[:1], middle_y))
    right_x, right_y = np.concatenate((middle_x, x[-1:])), np.concatenate((middle_y, y[-1:]))
    pieces = np.stack(
        (
            np.column_stack((left_x, left_y)),
            np.column_stack((x, y)),
            np.column_stack((right_x, right_y)),
        ),
        axis=1,
    )
    visible = np.abs(heat) > max(norm.vmin, FAINT * norm.vmax)  # NaN is not
    drawn = np.isfinite(pieces).all(axis=(1, 2)) & visible
    shades, paths = _by_shade(pieces[drawn], heat[drawn], norm, cmap.N)
    band = PathCollection(
        paths,
        facecolors="none",
        cmap=cmap,
        norm=norm,
        linewidths=width,
        capstyle="round",
        joinstyle="round",
        zorder=2,
    )
    band.set_array(shades)
    ax.add_collection(band)
    if trace:
        ax.plot(x, y, color=INK, linewidth=trace, zorder=3, solid_joinstyle="round")
    ax.autoscale_view()
    return band


def _by_shade(pieces, heat, norm, n_shades):
    """One path for all pieces (n, 3, 2) of a shade, and its mean heat; the hottest last. Few long
    paths are drawn far faster.
    """
    shade = np.minimum(np.asarray(norm(heat)) * n_shades, n_shades - 1).astype(int)
    groups = sorted(
        (np.flatnonzero(shade == level) for level in np.unique(shade)),
        key=lambda rows: np.abs(heat[rows]).mean(),
    )
    paths = [
        Path(
            pieces[rows].reshape(-1, 2), np.tile([Path.MOVETO, Path.LINETO, Path.LINETO], len(rows))
        )
        for rows in groups
    ]
    return np.array([heat[rows].mean() for rows in groups]), paths


# ---------------------------------------------------------------- ECG paper, in millimetres

MM_PER_SECOND, MM_PER_MV = 25.0, 10.0
MM = 1 / 25.4  # inches
SMALL_SQUARE, LARGE_SQUARE = "#f6e3de", "#e9c3b9"


def mm_axes(width: float, height: float) -> Axes:
    """A figure of width x height millimetres with one axis over all of it, in millimetres from its
    lower left corner. pyplot does not know it: a notebook that returns it shows it once.
    """
    figure = Figure(figsize=(width * MM, height * MM))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    ax.set_autoscale_on(False)
    return ax


def ecg_grid(ax: Axes, left: float, bottom: float, right: float, top: float) -> None:
    """ECG paper: squares of 1 mm (40 ms, .1 mV) and 5 mm (200 ms, .5 mV) from `left`, `bottom`, in
    an axis in millimetres.
    """
    for step, colour, width in ((1.0, SMALL_SQUARE, 0.25), (5.0, LARGE_SQUARE, 0.45)):
        xs, ys = np.arange(left, right + 1e-6, step), np.arange(bottom, top + 1e-6, step)
        lines = [((x, bottom), (x, top)) for x in xs] + [((left, y), (right, y)) for y in ys]
        ax.add_collection(LineCollection(lines, colors=colour, linewidths=width, zorder=0))


def calibration_pulse(ax: Axes, x: float, y: float, mm_per_mv: float) -> None:
    """The pulse of 1 mV and 200 ms that says the scale, 7 mm wide from `x`, its foot at `y`."""
    heights = y + mm_per_mv * np.array([0, 0, 1, 1, 0, 0])
    ax.plot([x, x + 1, x + 1, x + 6, x + 6, x + 7], heights, color=INK, linewidth=0.7, zorder=3)


def colour_bar(
    ax: Axes,
    band: PathCollection,
    left: float,
    bottom: float,
    width: float,
    label: str,
    clipped: str = "",
) -> None:
    """A horizontal colour bar of `width` mm in an axis in millimetres, its label and how it is
    clipped to its right.
    """
    figure = ax.figure
    page_width, page_height = figure.get_size_inches() / MM
    inset = figure.add_axes(
        (left / page_width, bottom / page_height, width / page_width, 2.6 / page_height)
    )
    bar = figure.colorbar(
        band, cax=inset, orientation="horizontal", extend="max" if band.norm.vmin >= 0 else "both"
    )
    bar.outline.set_linewidth(0.3)
    bar.ax.tick_params(labelsize=6.5, length=1.5, width=0.4, pad=1.5)
    low, high = band.norm.vmin, band.norm.vmax
    ticks = [low, (low + high) / 2, high]
    bar.set_ticks(ticks, labels=[f"{value:.2g}" for value in ticks])
    ax.text(left + width + 7, bottom + 2.8, label, fontsize=7.5, va="top", color=INK)
    ax.text(left + width + 7, bottom - 0.8, clipped, fontsize=6.5, va="top", color="#666666")
