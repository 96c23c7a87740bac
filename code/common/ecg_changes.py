"""A record before and after: what was changed in it, on ECG paper."""

import textwrap
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.ecg_paper import (
    FOUR_COLUMNS,
    HEAD,
    MARGIN,
    PAGE,
    PAPER,
    Record,
    Strip,
    baselines,
    divider,
    early_peak,
    foot,
    head,
    lead_name,
    paper_of,
    pulses,
    time_axis,
)
from common.plotting import INK, MM_PER_SECOND, NEGATIVE, POSITIVE, ecg_grid, mm_axes, white_behind


@dataclass
class Mark:
    """One change to be pointed at: in which lead, at which sample of the piece drawn, in words."""

    lead: int
    sample: int
    words: str


def before_after(record: Record, edited: np.ndarray, marks: list[Mark]) -> Figure:
    """A page with a piece of a record in four columns of three leads, as it was (blue, where it
    differs) and as it was edited (dark), the change shaded and every mark in words beside it.

    edited  # (T, 12) mV, as long as the record: 2.5 s at most
    """
    columns = FOUR_COLUMNS.tolist()
    rows = [list(row) for row in zip(*columns, strict=True)]
    both = Record(np.concatenate([record.signal, edited]), record.sampling_rate)
    paper = paper_of(both, rows)
    below_title = _lines_of(record.subtitle)
    record = replace(record, subtitle="\n".join(below_title))
    top = paper[3] + LINE * max(len(below_title) - ROOM_FOR, 0)
    ax = mm_axes(PAGE[0], top + HEAD)
    ecg_grid(ax, *paper)
    heights, gain = baselines(both.signal, rows, paper[1] + 1, paper[3] - 1)
    left = PAPER[0] + MARGIN
    for number, column in enumerate(columns):
        start = left + number * 2.5 * MM_PER_SECOND
        for lead, height in zip(column, heights, strict=True):
            own = [mark for mark in marks if mark.lead == lead]
            draw_change(ax, record, edited, lead, (start, height, gain), own)
            strip = Strip(lead, 0, len(edited), start)
            if number:
                divider(ax, start, height)
            above = gain * early_peak(record, strip)
            lead_name(ax, lead, start + 0.5, height + above + 1.2)
        closed = number == len(columns) - 1
        time_axis(ax, start, paper[1], (record.begins, record.seconds), 0.5, closed)
    pulses(ax, heights, gain)
    head(ax, record, top)
    for number, (words, colour) in enumerate(KEY):
        style = {"fontsize": 8, "fontweight": "bold", "va": "top", "ha": "right"}
        ax.text(PAPER[2], top + 14.2 - 4 * number, words, color=colour, **style)
    foot(ax, gain, record.foot)
    return ax.figure


def _lines_of(text):
    return [line for part in text.split("\n") for line in textwrap.wrap(part, LETTERS)]


KEY = (
    ("blue line: as recorded", NEGATIVE),
    ("dark line: with these changes", INK),
    ("shaded: the change", POSITIVE),
)
LETTERS = 150  # of a line beside the key
LINE, ROOM_FOR = 3.9, 2  # mm of a line below the title; so many fit between title and paper
CHANGED = 0.004  # mV: less is not seen
NAME_MM = 8.0  # width of a lead's name, which no mark may cover
LETTER_MM = 1.6  # of a mark's words, which stand above the trace beside them
MARK_LINE_MM = 3.2  # height of a mark's words


def draw_change(
    ax: Axes,
    record: Record,
    edited: np.ndarray,
    lead: int,
    place: tuple[float, float, float],
    marks: list[Mark],
) -> None:
    """One lead before and after, at (left, isoelectric line, gain) in mm."""
    left, height, gain = place
    x = left + np.arange(len(edited)) * MM_PER_SECOND / record.sampling_rate
    level = np.median(record.signal[:, lead])
    before, after = (height + gain * (one[:, lead] - level) for one in (record.signal, edited))
    differs = np.abs(record.signal[:, lead] - edited[:, lead]) > CHANGED
    if differs.any():
        near = differs.copy()
        near[1:] |= differs[:-1]
        near[:-1] |= differs[1:]
        ax.fill_between(
            x, before, after, where=near, color=POSITIVE, alpha=0.25, linewidth=0, zorder=1
        )
        ax.plot(x, np.where(near, before, np.nan), color=NEGATIVE, linewidth=0.7, zorder=2)
    ax.plot(x, after, color=INK, linewidth=0.6, zorder=3, solid_joinstyle="round")
    style = {"fontsize": 7, "fontweight": "bold", "color": POSITIVE, "va": "bottom", "zorder": 6}
    taken = []
    for mark in marks:
        start = max(x[mark.sample] + 1.5, left + NAME_MM)
        end = start + LETTER_MM * len(mark.words)
        beside = (x >= x[mark.sample]) & (x <= end)
        top = max(before[beside].max(), after[beside].max()) + 2.0
        y = free_height(top, start, end, taken)
        taken.append((start, end, y))
        ax.text(start, y, mark.words, bbox=white_behind(0.1, 0.8), **style)


def free_height(
    y: float, start: float, end: float, taken: list[tuple[float, float, float]]
) -> float:
    """The least height from `y` on (mm) at which words from `start` to `end` touch none of those
    that are there, each (start, end, height).
    """
    for left, right, height in sorted(taken, key=lambda one: one[2]):
        if start < right and left < end and abs(y - height) < MARK_LINE_MM:
            y = height + MARK_LINE_MM
    return y
