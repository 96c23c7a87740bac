"""Figures of one record for people who read ECGs: 12 leads on ECG paper, 25 mm/s and 10 mm/mV, with
heat.

Pages are laid out in millimetres and fit A4 in landscape; printed at 100 % they can be measured
with a ruler. Where the leads of a record are too tall for the page, the gain is halved, as an
electrocardiograph does: calibration pulse and foot say so.
"""

import textwrap
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from common.labels import LAYOUTS, LEADS
from common.plotting import (
    ABSOLUTE_CMAP,
    INK,
    MM_PER_MV,
    MM_PER_SECOND,
    SIGNED_CMAP,
    calibration_pulse,
    colour_bar,
    ecg_grid,
    heat_line,
    heat_norm,
    mm_axes,
    white_behind,
)

PAGE = (297.0, 210.0)  # A4 landscape, mm
# left, bottom, right, top of the paper on a full page: 55 x 33 large squares
PAPER = (11.0, 24.0, 286.0, 189.0)
HEAD = 21.0  # mm above the paper
MARGIN = 15.0  # mm left of the traces: calibration pulse and lead names
QUANTILES = (0.20, 0.99)  # of |heat|: where colour scales are clipped
MM_PER_LETTER = 1.15  # of the smallest print, on average
MAX_SQUEEZE = 0.8  # rows may come this much closer than their leads need before the gain is halved
CLEARANCE = 2.0  # mm that are free between rows
PULSE_ROOM = 1.5  # mm beside its own height that a row's calibration pulse needs
RHYTHM_LEAD = LEADS.index("II")
PAGE_SECONDS = (PAPER[2] - PAPER[0] - MARGIN) / MM_PER_SECOND  # what a page is wide enough for
FOUR_COLUMNS = np.arange(12).reshape(4, 3)  # I II III | aVR aVL aVF | V1 V2 V3 | V4 V5 V6


@dataclass
class Heat:
    """One map of one record and how it is to be shown.

    values  # (T, 12) relevance, NaN where nothing was explained
    signed  diverging colours about 0, else sequential
    name    of the method
    unit    of the values
    note    ledger or completeness gap, one line
    """

    values: np.ndarray
    signed: bool
    name: str
    unit: str = ""
    note: str = ""

    def __post_init__(self):
        self.values = self.values if self.signed else np.abs(self.values)

    @property
    def colours(self) -> tuple[Colormap, Normalize]:
        """Colour map and norm."""
        cmap = SIGNED_CMAP if self.signed else ABSOLUTE_CMAP
        return cmap, heat_norm(self.values, self.signed, QUANTILES)

    def cut(self, start: int, stop: int) -> "Heat":
        """Samples start..stop."""
        return replace(self, values=self.values[start:stop])

    @property
    def clipped(self) -> str:
        """How the colour scale is clipped, in words."""
        low, high = (f"{round(100 * q)}th" for q in QUANTILES)
        if self.signed:
            meaning = (
                "more mV: blue lowers, vermillion raises it"
                if "per mV" in self.unit
                else "blue: against, vermillion: for"
            )
            return f"{meaning}; clipped at the {high} percentile of |value|"
        return f"clipped at the {low} and {high} percentile"


@dataclass
class Record:
    """One record as it is drawn.

    signal         # (T, 12) mV
    sampling_rate  Hz
    title          what stands in bold above it
    subtitle       the line below
    foot           the last line of the page
    begins         s in the recording at which the signal begins
    """

    signal: np.ndarray
    sampling_rate: int
    title: str = ""
    subtitle: str = ""
    foot: list[str] = field(default_factory=list)
    begins: float = 0.0

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.signal) / self.sampling_rate

    def cut(self, start: int, stop: int) -> "Record":
        """Samples start..stop."""
        begins = self.begins + start / self.sampling_rate
        return replace(self, signal=self.signal[start:stop], begins=begins)


def around(record: Record, centre: int | None, seconds: float) -> tuple[int, int]:
    """Where the piece of at most `seconds` around sample `centre` (None: the middle) begins and
    ends, in samples.
    """
    n_samples = len(record.signal)
    length = min(n_samples, int(seconds * record.sampling_rate))
    middle = n_samples // 2 if centre is None else centre
    start = int(np.clip(middle - length // 2, 0, n_samples - length))
    return start, start + length


@dataclass(frozen=True)
class Strip:
    """A piece of one lead on the page: samples start..stop, drawn from `left` (mm)."""

    lead: int
    start: int
    stop: int
    left: float


def baselines(
    signal: np.ndarray,
    rows: list[list[int]],
    bottom: float,
    top: float,
    squeeze: float = MAX_SQUEEZE,
) -> tuple[np.ndarray, float]:
    """Height (mm) of each row's isoelectric line between `bottom` and `top`, and the gain in mm/mV.

    signal  # (T, 12) mV; rows: the leads on each row, from the top. Rows get the room that their
            leads and the calibration pulse need; where there is not enough, rows come closer, and
            where that is more than `squeeze` the gain is halved, again and again.
    """
    room, gain = top - bottom, MM_PER_MV
    needed, least = room_needed(signal, rows, gain, squeeze)
    while room < least.sum():
        gain /= 2
        needed, least = room_needed(signal, rows, gain, squeeze)
    spare = room - needed.sum()
    if spare >= 0:
        steps = needed + spare / len(needed)
    else:
        steps = least + (needed - least) * (room - least.sum()) / (needed - least).sum()
    return top - np.cumsum(steps)[:-1], gain


def room_needed(
    signal: np.ndarray, rows: list[list[int]], gain: float, squeeze: float = MAX_SQUEEZE
) -> tuple[np.ndarray, np.ndarray]:
    """Distances (mm) from the top to the first row, from row to row, and from the last row to the
    bottom: what leads and pulses need, and what they need at least. No trace leaves the paper.
    """
    leads = gain * _extent(signal, rows) + CLEARANCE
    pulses = np.full(len(leads), gain + PULSE_ROOM)
    pulses[-1] = 0.0
    least = np.maximum(squeeze * leads, pulses)
    least[0], least[-1] = max(leads[0], pulses[0]), leads[-1]
    return np.maximum(leads, pulses), least


def _extent(signal, rows):
    """Least distances (mV) from the top to the first row, from row to row, and from the last row to
    the bottom. A lead that is not there (NaN) needs no room.
    """
    signal = np.nan_to_num(signal)
    level = np.median(signal, axis=0)
    up = np.array([(signal.max(axis=0) - level)[row].max() for row in rows])
    down = np.array([(level - signal.min(axis=0))[row].max() for row in rows])
    return np.concatenate((up[:1], down[:-1] + up[1:], down[-1:]))


def draw_strip(
    ax: Axes,
    record: Record,
    heat: Heat,
    strip: Strip,
    height: float,
    gain: float,
    band_width: float = 2.8,
) -> PathCollection:
    """One strip, its isoelectric line at `height`; returns the band."""
    x = strip.left + np.arange(strip.stop - strip.start) * MM_PER_SECOND / record.sampling_rate
    level = np.median(record.signal[:, strip.lead])
    y = height + gain * (record.signal[strip.start : strip.stop, strip.lead] - level)
    values = heat.values[strip.start : strip.stop, strip.lead]
    cmap, norm = heat.colours
    return heat_line(ax, x, y, values, cmap, norm, width=band_width, trace=0.55)


def paper_of(record: Record, rows: list[list[int]]) -> tuple[float, float, float, float]:
    """The paper's box: as high as the rows need with room to spare, in whole large squares, at most
    a full page.
    """
    gain = baselines(record.signal, rows, 0, 1e4)[1]
    needed = room_needed(record.signal, rows, gain)[0].sum() + 10 * len(rows)
    height = min(np.ceil(needed / 5) * 5, PAPER[3] - PAPER[1])
    return (*PAPER[:3], PAPER[1] + height)


def pulses(ax: Axes, heights: np.ndarray, gain: float) -> None:
    """A calibration pulse on every row."""
    for height in heights:
        calibration_pulse(ax, PAPER[0] + 0.7, height, gain)


def time_axis(
    ax: Axes,
    left: float,
    bottom: float,
    times: tuple[float, float],
    step: float,
    closed: bool = True,
) -> None:
    """Seconds of the recording at the lower edge of the paper, from `left` on.

    times: (begin, length) in s; closed: with the tick at the end, where no other column begins
    """
    begins, seconds = times
    first = np.ceil(begins / step - 1e-6) * step
    end = begins + seconds + (1e-6 if closed else -1e-6)
    ticks = np.arange(first, end, step) + 0.0  # + 0: no minus before a zero
    for number, time in enumerate(ticks):
        x = left + (time - begins) * MM_PER_SECOND
        ax.plot([x, x], [bottom, bottom + 1.2], color=INK, linewidth=0.5, zorder=3)
        unit = " s" if number == 0 else ""
        ax.text(x, bottom - 0.5, f"{time:g}{unit}", fontsize=6, color="#333333", va="top")


def lead_name(ax: Axes, lead: int, x: float, y: float) -> None:
    """Name of a lead, its lower left corner at (x, y) mm."""
    ax.text(
        x,
        y,
        LEADS[lead],
        fontsize=8,
        fontweight="bold",
        color=INK,
        va="bottom",
        ha="left",
        zorder=5,
        bbox=white_behind(0.12, 0.75),
    )


def divider(ax: Axes, x: float, height: float) -> None:
    """Two short ticks where one lead takes over from another, as electrocardiographs print them."""
    for side in (-1, 1):
        ends = [height + side * 2.0, height + side * 5.0]
        ax.plot([x, x], ends, color=INK, linewidth=0.8, zorder=4)


def head(ax: Axes, record: Record, top: float) -> None:
    """Title and the lines below it, above a page's paper."""
    ax.text(
        PAPER[0], top + 14.5, record.title, fontsize=11.5, fontweight="bold", color=INK, va="top"
    )
    style = {"fontsize": 8, "color": "#333333", "va": "top", "linespacing": 1.35}
    ax.text(PAPER[0], top + 7.8, record.subtitle, **style)


def foot(ax: Axes, gain: float, lines: list[str]) -> None:
    """Scale and last lines, at the right below a page's paper."""
    speed = f"{MM_PER_SECOND:g} mm/s   {gain:g} mm/mV"
    ax.text(PAPER[2], 20.6, speed, fontsize=7, color="#333333", va="top", ha="right")
    for number, line in enumerate(lines):
        ax.text(
            PAPER[2], 16.5 - 4.2 * number, line, fontsize=7, color="#333333", va="top", ha="right"
        )


def twelve_leads(record: Record, heat: Heat, layout: str = LAYOUTS[0]) -> Figure:
    """A page with the 12 leads of a record and the heat of one method.

    layout  one of LAYOUTS; up to 2.5 s the leads always stand in four columns of three
    """
    rows = _rows(record, layout, _shown(record, heat))
    leads = [[strip.lead for strip in row] for row in rows]
    paper = paper_of(record, leads)
    top = paper[3]
    ax = mm_axes(PAGE[0], top + HEAD)
    ecg_grid(ax, *paper)
    heights, gain = baselines(record.signal, leads, paper[1] + 1, top - 1)
    for row, height in zip(rows, heights, strict=True):
        for number, strip in enumerate(row):
            if number:
                divider(ax, strip.left, height)
            band = draw_strip(ax, record, heat, strip, height, gain)
            if len(row) > 1:
                above = gain * early_peak(record, strip)
                lead_name(ax, strip.lead, strip.left + 0.5, height + above + 1.2)
            else:
                lead_name(ax, strip.lead, PAPER[0] + 8.5, height + 1.2)
    pulses(ax, heights, gain)
    for strip in rows[-1]:
        begins = record.begins + strip.start / record.sampling_rate
        seconds = (strip.stop - strip.start) / record.sampling_rate
        step = 1.0 if seconds > 2.5 else 0.5
        closed = strip is rows[-1][-1]
        time_axis(ax, strip.left, paper[1], (begins, seconds), step, closed)
    head(ax, record, top)
    name = f"{heat.name} ({heat.unit})" if heat.unit else heat.name
    colour_bar(ax, band, PAPER[0] + 2, 16.5, 62, name, heat.clipped)
    foot(ax, gain, [line for line in (heat.note, *record.foot) if line])
    return ax.figure


def _shown(record, heat):
    """Leads that were recorded or that the network reads; all where it is none. A line at 0 mV in
    the others would look like a heart that stands still.
    """
    silent = ~np.nan_to_num(record.signal).any(axis=0)
    unread = np.isnan(heat.values).all(axis=0)
    return np.flatnonzero(~(silent & unread)).tolist() or list(range(12))


def _rows(record, layout, leads):
    """Strips of each row, from the top; in rows of their own only `leads`."""
    n, left, column = len(record.signal), PAPER[0] + MARGIN, 2.5 * MM_PER_SECOND
    names = [list(row) for row in zip(*FOUR_COLUMNS.tolist(), strict=True)]
    if record.seconds <= 2.5:  # all columns show the same time
        return [
            [Strip(lead, 0, n, left + place * column) for place, lead in enumerate(row)]
            for row in names
        ]
    if layout == "12x1":
        return [[Strip(lead, 0, n, left)] for lead in leads]
    edges = np.linspace(0, n, 5).astype(int)  # one column takes over where the last one ends
    offsets = left + edges * MM_PER_SECOND / record.sampling_rate
    rows = [
        [Strip(lead, edges[k], edges[k + 1], offsets[k]) for k, lead in enumerate(row)]
        for row in names
    ]
    return [*rows, [Strip(RHYTHM_LEAD, 0, n, left)]]


def early_peak(record: Record, strip: Strip) -> float:
    """Height (mV) of a strip's first 8 mm above its isoelectric line: its name goes above that."""
    stop = strip.start + round(8 / MM_PER_SECOND * record.sampling_rate)
    lead = np.nan_to_num(record.signal[:, strip.lead])
    return max(lead[strip.start : stop].max() - np.median(lead), 0)


def comparison(record: Record, heats: list[Heat], centre: int | None = None) -> Figure:
    """A page with one column per method, twelve rows: the same piece of the record under each of
    them.

    The piece is as long as fits (2.5 s for four methods), around sample `centre` (default: the
    middle).
    """
    width = 250 / len(heats)  # mm, 2 of them between the columns
    start, stop = around(record, centre, (width - 2) / MM_PER_SECOND)
    piece = record.cut(start, stop)
    notes = [_notes_of(heat, width) for heat in heats]
    raised = NOTE_HEIGHT * (max(map(len, notes)) - 1)  # the paper leaves room for the notes
    paper = (PAPER[0], PAPER[1] + raised, *PAPER[2:])
    ax = mm_axes(*PAGE)
    ecg_grid(ax, *paper)
    rows = [[lead] for lead in range(12)]
    heights, gain = baselines(piece.signal, rows, paper[1] + 1, paper[3] - 7)
    for number, (heat, note) in enumerate(zip(heats, notes, strict=True)):
        left = PAPER[0] + MARGIN + number * width
        own = heat.cut(start, stop)
        _column_name(ax, left + 0.5, heat.name, width)
        for lead, height in enumerate(heights):
            strip = Strip(lead, 0, stop - start, left)
            band = draw_strip(ax, piece, own, strip, height, gain, band_width=2.4)
        time_axis(ax, left, paper[1], (piece.begins, piece.seconds), 0.5)
        colour_bar(ax, band, left + 3, 16.5 + raised, min(width - 8, 45), "")
        place = {"fontsize": 6, "color": "#333333", "va": "top", "linespacing": 1.15}
        ax.text(left + 3, 11.7 + raised, "\n".join(note), **place)
    for lead, height in enumerate(heights):
        lead_name(ax, lead, PAPER[0] + 8.5, height + 1.2)
    pulses(ax, heights, gain)
    head(ax, record, PAPER[3])
    words = _comparison_foot(piece, gain)
    ax.text(PAPER[0], 4.4, words, fontsize=6.5, color="#333333", va="bottom")
    return ax.figure


NOTE_HEIGHT = 2.5  # mm, of a line of the smallest print


def _notes_of(heat, width):
    """Unit and what is known of a map, in lines that fit below its column."""
    letters = max(12, int((width - 4) / MM_PER_LETTER))
    return [*textwrap.wrap(heat.unit, letters), *textwrap.wrap(heat.note, letters)]


def _column_name(ax, left, name, width):
    """Name of a method above its column, small enough to fit."""
    ax.text(
        left,
        PAPER[3] - 1.2,
        name,
        fontsize=min(9.0, 9.0 * (width - 2) / (2.1 * len(name))),
        fontweight="bold",
        va="top",
        zorder=5,
        bbox=white_behind(0.15, 0.8),
    )


def _comparison_foot(piece, gain):
    low, high = (f"{round(100 * quantile)}th" for quantile in QUANTILES)
    scale = (
        f"each colour scale clipped at the {high} percentile of |value| shown, unsigned ones "
        f"from the {low} on"
    )
    times = f"{piece.begins:.2f} to {piece.begins + piece.seconds:.2f} s of the record"
    return "; ".join([times, *piece.foot, scale, f"{MM_PER_SECOND:g} mm/s, {gain:g} mm/mV"])
