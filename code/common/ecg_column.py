"""Figures of one record for a journal's column: 85 mm wide, the paper at true scale, so few leads
and one or two beats, in letters that can still be read there.
"""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.ecg_changes import CHANGED, KEY, Mark, draw_change
from common.ecg_paper import (
    Heat,
    Record,
    Strip,
    around,
    baselines,
    divider,
    draw_strip,
    early_peak,
    lead_name,
    room_needed,
    time_axis,
)
from common.labels import LEADS
from common.plotting import (
    INK,
    MM_PER_SECOND,
    calibration_pulse,
    colour_bar,
    ecg_grid,
    mm_axes,
    white_behind,
)

WIDTH = 85.0  # mm, of a column
LEFT, RIGHT = 2.0, 82.0  # of the paper: 16 large squares
TRACE = LEFT + 9.0  # where traces begin, right of the calibration pulse
SECONDS = 2.8  # that fit beside the pulse at 25 mm/s
MOST_LEADS = 4
MOST_COMPARED = 2  # leads under each of several methods
GAP = 2.0  # mm between these
TALLEST = 120.0  # mm of paper; taller leads halve the gain
USUAL = tuple(LEADS.index(lead) for lead in ("II", "V1", "V3", "V5"))
FINE, LINE, TITLE_LINE = 6.5, 3.2, 4.0  # points and mm of the small print, mm of a title's line
AIR = 4.0  # mm that each row has more than it needs, where the paper is not at its tallest
NAME_BELOW = 4.2  # mm below the calibration pulse's foot that a lead's name stands
CAPTION, SECONDS_ROOM = 6.5, 4.0  # mm at the foot and below the paper
LETTERS, TITLE_LETTERS = 68, 46  # that fit on a line of small print, and of the title
SCALES = "beside each name: what its strongest colours stand for, blue to vermillion where signed"
DOT = " · "  # between parts of a line
BAR = 8.0  # mm that a colour bar with its numbers takes


def column_of_map(record: Record, heat: Heat, centre: int | None = None) -> Figure:
    """The leads that hold most of a map, in the piece around sample `centre` (default: the middle),
    with its heat.
    """
    start, stop = around(record, centre, SECONDS)
    piece, own = record.cut(start, stop), heat.cut(start, stop)
    told_apart = tells_leads_apart(own.values)
    leads = strongest_leads(own.values) if told_apart else list(USUAL)
    words = f"{own.name} ({own.unit})" if own.unit else own.name
    ends = piece.begins + piece.seconds
    which = f"the {len(leads)} leads with most relevance" if told_apart else f"{len(leads)} leads"
    note = [own.note] if own.note else []
    below = [*own.clipped.split("; "), f"{piece.begins:.1f} to {ends:.1f} s, {which} of 12", *note]
    rows = [[lead] for lead in leads]
    ax, heights, gain, bottom = _column(piece, rows, piece.signal, below, BAR)
    _lead_names(ax, leads, heights)
    for lead, height in zip(leads, heights, strict=True):
        strip = Strip(lead, 0, stop - start, TRACE)
        band = draw_strip(ax, piece, own, strip, height, gain)
    colour_bar(ax, band, LEFT + 1, bottom - 7.5, 24, words)
    return ax.figure


def column_before_after(record: Record, edited: np.ndarray, marks: list[Mark]) -> Figure:
    """The leads that change most, before and after, each change in words beside it.

    edited  # (T, 12) mV, as long as the record: SECONDS at most
    """
    marked = dict.fromkeys(mark.lead for mark in marks)
    change = np.abs(edited - record.signal).max(axis=0)
    change[list(marked)] += change.max()  # what has words beside it first
    shown = min(MOST_LEADS, np.count_nonzero(change > CHANGED)) or MOST_LEADS
    leads = strongest_leads(change[None], shown)
    both = np.concatenate([record.signal, edited])
    below = [f"{len(leads)} of 12 leads: those that change most"]
    rows = [[lead] for lead in leads]
    ax, heights, gain, bottom = _column(record, rows, both, below, LINE * len(KEY))
    _lead_names(ax, leads, heights)
    for lead, height in zip(leads, heights, strict=True):
        own = [mark for mark in marks if mark.lead == lead]
        draw_change(ax, record, edited, lead, (TRACE, height, gain), own)
    for number, (words, colour) in enumerate(KEY):
        style = {"fontsize": 7, "fontweight": "bold", "va": "top", "color": colour}
        ax.text(LEFT, bottom - 4 - LINE * number, words, **style)
    return ax.figure


def column_of_methods(record: Record, heats: list[Heat], centre: int | None = None) -> Figure:
    """One row per method: the two leads that hold most of all maps together, in the piece around
    sample `centre` (default: the middle).
    """
    width = (RIGHT - TRACE - GAP) / MOST_COMPARED  # mm of a lead
    start, stop = around(record, centre, width / MM_PER_SECOND)
    piece, own = record.cut(start, stop), [heat.cut(start, stop) for heat in heats]
    leads = leads_of_all([heat.values for heat in own])
    names = " and ".join(LEADS[lead] for lead in leads)
    ends = piece.begins + piece.seconds
    below = [
        f"{piece.begins:.1f} to {ends:.1f} s of {names}, the leads with most relevance",
        SCALES,
        *(f"{heat.name}: {heat.note}" for heat in own if heat.note),
    ]
    ax, heights, gain, bottom = _column(piece, [leads] * len(own), piece.signal, below, 0)
    shown = piece.signal[:, leads]
    highest = np.nanmax(shown - np.median(shown, axis=0), initial=1.0)  # mV; the pulse is 1
    for heat, height in zip(own, heights, strict=True):
        for place, lead in enumerate(leads):
            strip = Strip(lead, 0, stop - start, TRACE + place * (width + GAP))
            draw_strip(ax, piece, heat, strip, height, gain)
            above = height + gain * early_peak(piece, strip) + 1
            lead_name(ax, lead, strip.left + 0.4, above)
        divider(ax, TRACE + width + GAP / 2, height)
        _row_name(ax, heat, height + gain * highest + 1)
    for place in range(1, len(leads)):
        times = (piece.begins, piece.seconds)
        time_axis(ax, TRACE + place * (width + GAP), bottom, times, 0.5)
    return ax.figure


def _row_name(ax, heat, y):
    """A method's name and what its darkest colours stand for, above its row."""
    norm = heat.colours[1]
    ends = f"±{norm.vmax:.2g}" if heat.signed else f"{norm.vmin:.2g} to {norm.vmax:.2g}"
    unit = f" {heat.unit}" if heat.unit not in ("", "no unit") else ""
    style = {"va": "bottom", "color": INK, "zorder": 5, "bbox": white_behind(0.1, 0.75)}
    name = ax.text(LEFT + 0.9, y, heat.name, fontsize=7, fontweight="bold", **style)
    ax.annotate(
        f"{ends}{unit}",
        (1, 0),
        (4, 0),
        xycoords=name,
        textcoords="offset points",
        fontsize=6,
        **style,
    )


def leads_of_all(maps: list[np.ndarray], most: int = MOST_COMPARED) -> list[int]:
    """The leads that hold most of all maps (T, 12) together, each of which counts as much."""
    sizes = np.stack([np.nan_to_num(np.abs(values)).mean(axis=0) for values in maps])
    shares = sizes / np.maximum(sizes.sum(axis=1, keepdims=True), 1e-12)
    return strongest_leads(shares, most)


def tells_leads_apart(values: np.ndarray) -> bool:
    """Whether values (T, 12) differ between leads."""
    return not np.allclose(values, values[:, :1], equal_nan=True)


def strongest_leads(values: np.ndarray, most: int = MOST_LEADS) -> list[int]:
    """The leads of largest mean |value| (T, 12), in the usual order of leads."""
    size = np.nan_to_num(np.abs(values)).mean(axis=0)
    return sorted(np.argsort(-size, kind="stable")[:most].tolist())


def _column(record, rows, extent, below, key) -> tuple[Axes, np.ndarray, float, float]:
    """A column with title, paper, pulses, seconds and small print: the axis, each row's isoelectric
    line, the gain, and the lower edge of the paper.

    rows    the leads on each row, from the top
    extent  # (T, 12) mV that the paper must have room for
    below   lines below the paper; key: mm that are left free above them
    """
    title = textwrap.wrap(record.title, TITLE_LETTERS)
    subtitle = _wrapped(record.subtitle.split("\n"))
    _, gain = baselines(extent, rows, 1, TALLEST - 1, squeeze=1.0)
    needed = room_needed(extent, rows, gain)[0].sum() + AIR * len(rows)
    paper = min(np.ceil(needed / 5) * 5, TALLEST)
    above, gain = baselines(extent, rows, 1, paper - 1, squeeze=1.0)  # the paper's lower edge
    small = _wrapped([*below, f"{MM_PER_SECOND:g} mm/s, {gain:g} mm/mV", *record.foot])
    bottom = CAPTION + LINE * len(small) + key + SECONDS_ROOM
    top = bottom + paper
    ax = mm_axes(WIDTH, top + 2.5 + TITLE_LINE * len(title) + LINE * len(subtitle))
    ecg_grid(ax, LEFT, bottom, RIGHT, top)
    for height in bottom + above:
        calibration_pulse(ax, LEFT + 0.7, height, gain)
    time_axis(ax, TRACE, bottom, (record.begins, record.seconds), 0.5)
    _lines(ax, small, CAPTION + LINE * len(small))
    _lines(ax, subtitle, top + 1 + LINE * len(subtitle))
    style = {"fontsize": 8.5, "fontweight": "bold", "va": "top", "color": INK}
    y = top + 1.5 + LINE * len(subtitle) + TITLE_LINE * len(title)
    for number, line in enumerate(title):
        ax.text(LEFT, y - TITLE_LINE * number, line, **style)
    return ax, bottom + above, gain, bottom


def _lead_names(ax, leads, heights):
    """The name of each row's only lead, below its pulse."""
    for lead, height in zip(leads, heights, strict=True):
        lead_name(ax, lead, LEFT + 0.9, height - NAME_BELOW)


def _wrapped(lines):
    """Lines of small print, broken between their parts as far as these let it."""
    wrapped = []
    for line in lines:
        row, *parts = line.split(DOT)
        for part in parts:
            if len(row) + len(DOT) + len(part) <= LETTERS:
                row += DOT + part
            else:
                wrapped += textwrap.wrap(row, LETTERS)
                row = part
        wrapped += textwrap.wrap(row, LETTERS)
    return wrapped


def _lines(ax, lines, top):
    """Lines of small print downwards from `top`."""
    for number, line in enumerate(lines):
        y = top - LINE * number
        ax.text(LEFT, y, line, fontsize=FINE, color="#333333", va="top")
