"""Figures of one record for people who read ECGs: 12 leads on ECG paper, 25 mm/s and 10 mm/mV, with
heat.

Pages are laid out in millimetres and fit A4 in landscape; printed at 100 % they can be measured
with a ruler. Where the leads of a record are too tall for the page, the gain is halved, as an
electrocardiograph does: calibration pulse and foot say so.
"""

import textwrap
from dataclasses import dataclass, field

import numpy as np
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from common.labels import LEADS
from common.plotting import (
    ABSOLUTE_CMAP,
    INK,
    MM_PER_MV,
    MM_PER_SECOND,
    NEGATIVE,
    POSITIVE,
    SIGNED_CMAP,
    calibration_pulse,
    colour_bar,
    ecg_grid,
    heat_line,
    heat_norm,
    mm_axes,
)

PAGE = (297.0, 210.0)  # A4 landscape, mm
PAPER = (
    11.0,
    24.0,
    286.0,
    189.0,
)  # left, bottom, right, top of the paper on a full page: 55 x 33 large squares
HEAD = 21.0  # mm above the paper
MARGIN = 15.0  # mm left of the traces: calibration pulse and lead names
QUANTILES = (0.20, 0.99)  # of |heat|: where colour scales are clipped
MM_PER_LETTER = 1.15  # of the smallest print, on average
MAX_SQUEEZE = 0.8  # rows may come this much closer than their leads need before the gain is halved
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
        return (SIGNED_CMAP if self.signed else ABSOLUTE_CMAP), heat_norm(
            self.values, self.signed, QUANTILES
        )

    def cut(self, start: int, stop: int) -> "Heat":
        """Samples start..stop."""
        return Heat(self.values[start:stop], self.signed, self.name, self.unit, self.note)

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
    """

    signal: np.ndarray
    sampling_rate: int
    title: str = ""
    subtitle: str = ""
    foot: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.signal) / self.sampling_rate

    def cut(self, start: int, stop: int) -> "Record":
        """Samples start..stop."""
        return Record(
            self.signal[start:stop], self.sampling_rate, self.title, self.subtitle, self.foot
        )


def baselines(
    signal: np.ndarray, rows: list[list[int]], bottom: float, top: float
) -> tuple[np.ndarray, float]:
    """Height (mm) of each row's isoelectric line between `bottom` and `top`, and the gain in mm/mV.

    signal  # (T, 12) mV; rows: the leads on each row, from the top. Rows get the room that their
            leads need; where there is not
    enough, rows come closer in proportion, and below MAX_SQUEEZE the gain is halved, again and
    again.
    """
    needed_mv = _extent(signal, rows)
    gain, clearance = MM_PER_MV, 2.0
    while (top - bottom) / (gain * needed_mv + clearance).sum() < MAX_SQUEEZE:
        gain /= 2
    needed = gain * needed_mv + clearance
    spare = (top - bottom) - needed.sum()
    steps = needed + spare / len(needed) if spare >= 0 else needed * (top - bottom) / needed.sum()
    return top - np.cumsum(steps)[:-1], gain


def _extent(signal, rows):
    """Least distances (mV) from the top to the first row, from row to row, and from the last row to
    the bottom.
    """
    level = np.median(signal, axis=0)
    up = np.array([(signal.max(axis=0) - level)[row].max() for row in rows])
    down = np.array([(level - signal.min(axis=0))[row].max() for row in rows])
    return np.concatenate((up[:1], down[:-1] + up[1:], down[-1:]))


def _strip(ax, record, heat, lead, left, height, gain, band_width=2.8):
    """One lead from `left`, its isoelectric line at `height`; returns the band."""
    x = left + np.arange(len(record.signal)) * MM_PER_SECOND / record.sampling_rate
    trace = record.signal[:, lead]
    y = height + gain * (trace - np.median(trace))
    cmap, norm = heat.colours
    return heat_line(ax, x, y, heat.values[:, lead], cmap, norm, width=band_width, trace=0.55)


def _paper(record, rows) -> tuple[float, float, float, float]:
    """The paper's box: as high as the rows need with room to spare, in whole large squares, at most
    a full page.
    """
    needed = baselines(record.signal, rows, 0, 1e4)[1] * _extent(
        record.signal, rows
    ).sum() + 12 * len(rows)
    height = min(np.ceil(needed / 5) * 5, PAPER[3] - PAPER[1])
    return (*PAPER[:3], PAPER[1] + height)


def _pulses(ax, heights, top, gain):
    """A calibration pulse on every row that has the room."""
    for height, above in zip(heights, (top, *heights[:-1]), strict=True):
        if above - height > gain + 0.5:
            calibration_pulse(ax, PAPER[0] + 0.7, height, gain)


def _name(ax, lead, x, y):
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
        bbox={
            "boxstyle": "square,pad=0.12",
            "facecolor": "white",
            "edgecolor": "none",
            "alpha": 0.75,
        },
    )


def _head(ax, record, top):
    ax.text(
        PAPER[0], top + 14.5, record.title, fontsize=11.5, fontweight="bold", color=INK, va="top"
    )
    ax.text(PAPER[0], top + 7.8, record.subtitle, fontsize=8, color="#333333", va="top")


def _foot(ax, gain, lines):
    speed = f"{MM_PER_SECOND:g} mm/s   {gain:g} mm/mV"
    ax.text(PAPER[2], 21.0, speed, fontsize=7, color="#333333", va="top", ha="right")
    for number, line in enumerate(lines):
        ax.text(
            PAPER[2], 16.5 - 4.2 * number, line, fontsize=7, color="#333333", va="top", ha="right"
        )


def twelve_leads(record: Record, heat: Heat) -> Figure:
    """A page with the 12 leads of a record and the heat of one method.

    Up to 2.5 s the leads stand in the usual four columns of three, longer records in twelve rows.
    """
    columns = FOUR_COLUMNS.tolist() if record.seconds <= 2.5 else [list(range(12))]
    rows = [list(row) for row in zip(*columns, strict=True)]
    paper = _paper(record, rows)
    top = paper[3]
    ax = mm_axes(PAGE[0], top + HEAD)
    ecg_grid(ax, *paper)
    heights, gain = baselines(record.signal, rows, paper[1] + 1, top - 1)
    left = PAPER[0] + MARGIN
    for number, column in enumerate(columns):
        start = left + number * 2.5 * MM_PER_SECOND
        for lead, height in zip(column, heights, strict=True):
            band = _strip(ax, record, heat, lead, start, height, gain)
            above = gain * _early_peak(record, lead) if len(columns) > 1 else 0
            _name(
                ax, lead, start + 0.5 if len(columns) > 1 else PAPER[0] + 8.5, height + above + 1.2
            )
    _pulses(ax, heights, top, gain)
    _head(ax, record, top)
    colour_bar(
        ax,
        band,
        PAPER[0] + 2,
        17,
        62,
        f"{heat.name} ({heat.unit})" if heat.unit else heat.name,
        heat.clipped,
    )
    _foot(ax, gain, [line for line in (heat.note, *record.foot) if line])
    return ax.figure


def _early_peak(record, lead):
    """Height (mV) of a lead's first 8 mm above its isoelectric line: its name goes above that."""
    early = record.signal[: round(8 / MM_PER_SECOND * record.sampling_rate), lead]
    return max(early.max() - np.median(record.signal[:, lead]), 0)


def comparison(
    record: Record, heats: list[Heat], centre: int | None = None, offset: float = 0.0
) -> Figure:
    """A page with one column per method, twelve rows: the same piece of the record under each of
    them.

    The piece is as long as fits (2.5 s for four methods), around sample `centre` (default: the
    middle). `offset` is the time in s at which `record` begins in the recording.
    """
    width = 250 / len(heats)  # mm, 2 of them between the columns
    length = min(len(record.signal), int((width - 2) / MM_PER_SECOND * record.sampling_rate))
    centre = len(record.signal) // 2 if centre is None else centre
    start = int(np.clip(centre - length // 2, 0, len(record.signal) - length))
    piece = record.cut(start, start + length)
    ax = mm_axes(*PAGE)
    ecg_grid(ax, *PAPER)
    heights, gain = baselines(
        piece.signal, [[lead] for lead in range(12)], PAPER[1] + 1, PAPER[3] - 7
    )
    for number, heat in enumerate(heats):
        left = PAPER[0] + MARGIN + number * width
        own = heat.cut(start, start + length)
        ax.text(
            left + 0.5,
            PAPER[3] - 1.2,
            heat.name,
            fontsize=9,
            fontweight="bold",
            va="top",
            zorder=5,
            bbox={
                "boxstyle": "square,pad=0.15",
                "facecolor": "white",
                "edgecolor": "none",
                "alpha": 0.8,
            },
        )
        for lead, height in enumerate(heights):
            band = _strip(ax, piece, own, lead, left, height, gain, band_width=2.4)
        _small_bar(ax, band, left, width - 4, own)
    for lead, height in enumerate(heights):
        _name(ax, lead, PAPER[0] + 8.5, height + 1.2)
    _pulses(ax, heights, PAPER[3], gain)
    _head(ax, record, PAPER[3])
    first, last = (
        offset + start / record.sampling_rate,
        offset + (start + length) / record.sampling_rate,
    )
    low, high = (f"{round(100 * quantile)}th" for quantile in QUANTILES)
    scale = (
        f"each colour scale clipped at the {high} percentile of |value| shown, unsigned ones "
        f"from the {low} on"
    )
    words = [
        f"{first:.2f} to {last:.2f} s of the record",
        *record.foot,
        scale,
        f"{MM_PER_SECOND:g} mm/s, {gain:g} mm/mV",
    ]
    ax.text(PAPER[0], 1.5, "; ".join(words), fontsize=7, color="#333333", va="bottom")
    return ax.figure


def _small_bar(ax, band, left, width, heat):
    """Colour bar of one column, with the unit and what is known of the map below it."""
    colour_bar(ax, band, left + 3, 17, min(width - 4, 45), "")
    lines = [heat.unit, *textwrap.wrap(heat.note, max(12, int(width / MM_PER_LETTER)))]
    ax.text(
        left + 3,
        12.0,
        "\n".join(lines[:3]),
        fontsize=6,
        color="#333333",
        va="top",
        linespacing=1.15,
    )


# ---------------------------------------------------------------- before and after


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
    paper = _paper(both, rows)
    ax = mm_axes(PAGE[0], paper[3] + HEAD)
    ecg_grid(ax, *paper)
    heights, gain = baselines(both.signal, rows, paper[1] + 1, paper[3] - 1)
    left = PAPER[0] + MARGIN
    for number, column in enumerate(columns):
        start = left + number * 2.5 * MM_PER_SECOND
        for lead, height in zip(column, heights, strict=True):
            own = [mark for mark in marks if mark.lead == lead]
            _change(ax, record, edited, lead, (start, height, gain), own)
            above = gain * _early_peak(record, lead)
            _name(ax, lead, start + 0.5, height + above + 1.2)
    _pulses(ax, heights, paper[3], gain)
    _head(ax, record, paper[3])
    words = "blue: as recorded, where it differs; dark: edited; shaded: the change"
    ax.text(PAPER[0], 21.0, words, fontsize=8, color=INK, va="top")
    _foot(ax, gain, record.foot)
    return ax.figure


CHANGED = 0.004  # mV: less is not seen


def _change(ax, record, edited, lead, place, marks):
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
    for mark in marks:
        top = max(before[mark.sample], after[mark.sample])
        ax.annotate(
            mark.words,
            (x[mark.sample], top),
            (x[mark.sample] + 1.5, top + 2.0),
            fontsize=7,
            fontweight="bold",
            color=POSITIVE,
            va="bottom",
            zorder=6,
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8},
        )
