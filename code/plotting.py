"""What all figures share: style, colour maps, colour scales, and a trace with heat.

Signed heat runs from blue to vermillion (hues of Okabe and Ito's palette, safe for the colour-blind), absolute heat from cream
to dark purple. Heat lies behind the trace and the trace itself stays thin and dark: an ECG is read by its line.
"""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize

INK = "#1a1a1a"
POSITIVE, NEUTRAL, NEGATIVE = "#d55e00", "#f4f1ec", "#0072b2"

# for signed relevance: blue speaks against the class, vermillion for it
SIGNED_CMAP = LinearSegmentedColormap.from_list(
    "xai_signed", ["#00466e", NEGATIVE, "#7fb8da", NEUTRAL, "#f0a873", POSITIVE, "#8a3d00"])
# for absolute relevance: the darker the more
ABSOLUTE_CMAP = LinearSegmentedColormap.from_list(
    "xai_absolute", [NEUTRAL, "#fbd48a", "#f08f3c", "#c4403f", "#7a1f5c", "#33104a"])


def style() -> None:
    """Set matplotlib's defaults for every figure of the project."""
    plt.rcParams.update({
        "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666", "axes.linewidth": 0.6,
        "figure.dpi": 100, "savefig.facecolor": "white", "pdf.fonttype": 42, "svg.hashsalt": "xai4ecg",
    })


def heat_norm(heat, signed: bool, quantiles: tuple[float, float] = (0.2, 0.99)) -> Normalize:
    """Colour scale clipped to quantiles of |heat|: symmetric about 0 for signed heat (its upper quantile), else low..high.

    NaN is left out; heat that is 0 throughout gives 0..1.
    """
    magnitude = np.abs(np.asarray(heat, dtype=float))
    magnitude = magnitude[np.isfinite(magnitude)]
    low, high = np.quantile(magnitude, quantiles) if magnitude.size else (0.0, 1.0)
    high = high if high > 0 else (magnitude.max() if magnitude.size and magnitude.max() > 0 else 1.0)
    if signed:
        return Normalize(-high, high, clip=True)
    return Normalize(low if low < high else 0.0, high, clip=True)


def heat_line(ax: Axes, x, y, heat, cmap: Colormap = SIGNED_CMAP, norm: Normalize | None = None,
              width: float = 4.0, trace: float = 0.7, alpha: float = 1.0) -> LineCollection:
    """Draw y over x as a thin dark trace on a band coloured by `heat` (same length); returns the band, for a colour bar.

    `width` of the band and `trace` of the line are in points (trace 0: no line). NaN in y interrupts both, NaN in heat leaves the
    bare trace. Each sample colours the piece from half-way before it to half-way after it.
    """
    x, y, heat = (np.asarray(values, dtype=float) for values in (x, y, heat))
    norm = norm or heat_norm(heat, signed=bool((heat < 0).any()))
    middle_x, middle_y = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    left_x, left_y = np.concatenate((x[:1], middle_x)), np.concatenate((y[:1], middle_y))
    right_x, right_y = np.concatenate((middle_x, x[-1:])), np.concatenate((middle_y, y[-1:]))
    pieces = np.stack((np.column_stack((left_x, left_y)), np.column_stack((x, y)), np.column_stack((right_x, right_y))), axis=1)
    drawn = np.isfinite(pieces).all(axis=(1, 2)) & np.isfinite(heat)
    order = np.argsort(np.abs(heat[drawn]), kind="stable")  # the hottest on top
    band = LineCollection(pieces[drawn][order], cmap=cmap, norm=norm, linewidths=width, alpha=alpha,
                          capstyle="round", joinstyle="round", zorder=2)
    band.set_array(heat[drawn][order])
    ax.add_collection(band)
    if trace:
        ax.plot(x, y, color=INK, linewidth=trace, zorder=3, solid_joinstyle="round")
    ax.autoscale_view()
    return band
