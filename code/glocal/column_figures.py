"""Groups for a journal's column (85 mm): one figure a group, median beats over its map."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from attribution.methods import get_method
from common import plotting
from common.plotting import COLUMN, heat_norm
from common.words import class_in_words, method_in_words
from ecg.beats import window_times
from glocal.groups import Group
from glocal.panels import (
    CHEST,
    LIMB,
    beat_limits,
    colour_bar_below,
    draw_beats,
    draw_cells,
    row_offsets,
    unit,
)

LEFT, RIGHT = 0.3, 0.06  # inches beside the panels
BETWEEN = 0.06  # inches between limb and chest leads
CELLS, GAP, FOOT = 1.75, 0.5, 1.1  # of the map, above it, and of what stands below it
LINE, TITLE_LINE = 0.115, 0.15  # inches of a line of small print and of the title
MOST_BEATS = 4.0  # inches of all rows of beats: taller ones get larger squares
SQUARES = (0.5, 1.0, 2.0)  # mV of a large one
LETTERS, TITLE_LETTERS = 78, 46  # of a line
LEGEND = (
    "Above: median beat, grey band 5-95 % of the beats, colour the mean |relevance|; one large "
    "square 200 ms, {square:g} mV. Below: the five densest cells by rank; struck out: absent in "
    "more than half of the records; hatched, rank in brackets: among the five or not, depending on "
    "where boundaries were put."
)


def group_column(group: Group, cells: dict[str, np.ndarray], method: str) -> Figure:
    """Median beats of one group with heat, and its map with the five densest cells.

    cells  name -> (12, 24), with density and rank
    """
    plotting.style()
    offsets = row_offsets([group])
    limits = beat_limits([group], offsets)
    lead_width = (COLUMN - LEFT - RIGHT - BETWEEN) / 2
    times = window_times(group.data.sampling_rate)
    side = lead_width * 200 / (times[-1] - times[0])  # inches of 200 ms
    heights = {square: (limits[1] - limits[0]) / square * side for square in SQUARES}
    fitting = [square for square, tall in heights.items() if tall <= MOST_BEATS]
    square = fitting[0] if fitting else SQUARES[-1]
    beats = heights[square]
    said = f"{class_in_words(group.pathology)}: {method_in_words(method)} by beat and by segment"
    said += "" if get_method(method).has_lead_axis else " (no lead axis: all leads alike)"
    title = textwrap.wrap(said, TITLE_LETTERS)
    legend = textwrap.wrap(LEGEND.format(square=square), LETTERS)
    head = 0.08 + TITLE_LINE * len(title) + LINE + 0.06
    below = FOOT + LINE * len(legend)
    height = head + beats + GAP + CELLS + below
    figure = plt.figure(figsize=(COLUMN, height))

    def axes(left, bottom, width, tall):
        """An axis in inches."""
        return figure.add_axes(
            (left / COLUMN, bottom / height, width / COLUMN, tall / height),
        )

    heat = group.heat[method]
    norm = heat_norm(heat, signed=False)
    for place, leads in enumerate((LIMB, CHEST)):
        left = LEFT + place * (lead_width + BETWEEN)
        ax = axes(left, below + CELLS + GAP, lead_width, beats)
        draw_beats(ax, group, leads, offsets, limits, square, heat, norm)
    ax = axes(LEFT, below, COLUMN - LEFT - RIGHT, CELLS)
    stability = cells.get("rank_stability")
    image = draw_cells(ax, cells["density"], rank=cells["rank"], stability=stability)
    colour_bar_below(figure, ax, image, f"mean |{method_in_words(method)}|{unit(method)}")
    top = 1 - 0.08 / height
    style = {"va": "top", "linespacing": 1.15}
    figure.text(0.02, top, "\n".join(title), fontsize=8.5, fontweight="bold", **style)
    counts = top - TITLE_LINE * len(title) / height
    figure.text(0.02, counts, group.counts, fontsize=6.5, color="#555555", **style)
    small = {"fontsize": 6, "color": "#333333", "va": "bottom", "linespacing": 1.2}
    figure.text(0.02, 0.32 / height, "\n".join(legend), **small)
    return figure
