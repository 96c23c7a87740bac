"""Figures of counterfactuals: a record before and after on ECG paper, and what turns a group."""

import math
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from attribution.figures import age_and_sex, quality_note, true_labels
from attribution.plan import Target
from common.ecg_changes import Mark, before_after
from common.ecg_column import column_before_after
from common.ecg_paper import Record
from common.figure_files import write_figure
from common.labels import LEADS, slug
from common.plotting import INK, NEGATIVE, POSITIVE, style
from counterfactual.edits import EDITS
from counterfactual.job import Job
from counterfactual.sentences import dose_in_words, edit_in_plain_words, probabilities

ALONE, TOGETHER = 0.75, 0.25  # how opaque the bars of a group's figure are
PIECE = 2.5  # s that a figure shows
MOST_LETTERS = 300  # of all changes in words; edits.csv has more
MOST_EDITS = 8  # of a group's figure
PANELS_IN_A_ROW = 2  # of it: a page's width
TURNED = {"remove": "removed", "add": "added"}  # a decision, by its direction
SHOWN_INTERVALS = ("II",)  # where a changed interval is marked: it is the same in all leads


def draw(
    job: Job,
    tables: dict[str, pd.DataFrame],
    signals: dict[str, np.ndarray],
    most: int,
    column: bool = False,
) -> list[Path]:
    """Draw the first records of each target in turn, at most `most`: the written paths.

    signals  pathology -> (n, T, 12) edited, in the order of the target's rows
    column   for a journal's column, else on a page
    """
    drawn = column_before_after if column else before_after
    style()
    deepest = max(len(target.rows) for target in job.targets)
    wanted = [
        (target, place)
        for place in range(deepest)
        for target in job.targets
        if place < len(target.rows)
    ]
    written = []
    for target, place in wanted[:most]:
        contents = record_contents(job, target, place, tables, signals[target.name][place])
        figure = drawn(*contents)
        name = f"{slug(target.name)}_{job.data.ecg_id[target.rows[place]]}"
        written += write_figure(figure, job.folder / name, dpi=200)
    return written


def record_contents(
    job: Job, target: Target, place: int, tables: dict[str, pd.DataFrame], edited: np.ndarray
) -> tuple[Record, np.ndarray, list[Mark]]:
    """A piece of one record with its title, the piece edited, its edits marked in mV and ms."""
    data, row = job.data, int(target.rows[place])
    ecg_id = data.ecg_id[row]
    lines = {
        name: table[(table["ecg_id"] == ecg_id) & (table["pathology"] == target.name)]
        for name, table in tables.items()
    }
    before = np.asarray(data.signals[row], dtype=float)
    start = _start(data, row, before)
    piece = slice(start, start + round(PIECE * data.sampling_rate))
    own = data.table.iloc[row]
    who = (f"ECG {ecg_id}", age_and_sex(own), true_labels(data, row), quality_note(own))
    info = job.model.info
    first, last = start / data.sampling_rate, piece.stop / data.sampling_rate
    answer = lines["counterfactuals"].iloc[0]
    foot = [
        " · ".join(part for part in who if part),
        f"{info.run_folder_name}; {first:.2f} to {last:.2f} s of the record",
    ]
    title, subtitle = in_plain_words(answer), what_and_how_far(answer, lines["edits"])
    record = Record(before[piece], data.sampling_rate, title, subtitle, foot, begins=first)
    marks = _marks(lines["edits"], before[piece], edited[piece])
    return record, edited[piece].astype(float), marks


def in_plain_words(answer: pd.Series) -> str:
    """What a line of counterfactuals.csv means, for someone who sees the figure first."""
    name = answer["pathology"]
    if not answer["turned"]:
        verb = "find" if answer["direction"] == "remove" else "miss"
        return f"Even if the ECG were like the dark line, the network would still {verb} {name}"
    outcome = "no longer find" if answer["direction"] == "remove" else "find"
    return f"If the ECG were like the dark line, the network would {outcome} {name}"


def what_and_how_far(answer: pd.Series, edits: pd.DataFrame) -> str:
    """Two lines below the title: what is changed, and what the network then says."""
    changes = [edit_in_plain_words(EDITS[line.edit], line.dose) for line in edits.itertuples()]
    named = ("probability_before", "probability_after", "threshold")
    before, after, threshold = probabilities(*(answer[name] for name in named))
    name = answer["pathology"]
    goes = "falls" if answer[named[1]] < answer[named[0]] else "rises"
    course = f"{goes} from {before} to {after}" if changes else f"stays at {before}"
    said = f"The network's probability of {name} {course}; it finds {name} from {threshold} on"
    changes = changes or ["No beat with a wave to change"]
    if "found_again" in edits and not edits["found_again"].all():
        said += "; measured anew, the dark line does not show all of these changes"
    return f"{textwrap.shorten(', '.join(changes), MOST_LETTERS, placeholder=' ...')}\n{said}"


def _start(data, row, signal):
    """First sample of the piece, .4 s before the beat next to the record's middle."""
    peaks = data.r_peaks(row) if "r_peaks" in data.table else []
    middle = len(signal) // 2
    near = peaks[np.argmin(np.abs(peaks - middle))] if len(peaks) else middle
    last = max(len(signal) - round(PIECE * data.sampling_rate), 0)
    return int(np.clip(near - 0.4 * data.sampling_rate, 0, last))


def _marks(edits, before, after):
    """One mark per edit and lead, at the first beat's largest change in the direction of the
    dose.
    """
    marks = []
    for line in edits.itertuples():
        edit = EDITS[line.edit]
        words = f"{line.wave} {dose_in_words(edit, line.dose)}"
        for name in edit.leads or SHOWN_INTERVALS:
            lead = LEADS.index(name)
            change = (after - before)[: len(before) // 2, lead] * np.sign(line.dose)
            marks.append(Mark(lead, int(change.argmax()), words))
    return marks


def group_figure(groups: pd.DataFrame) -> Figure:
    """Per pathology (and direction) the edits that turn most records alone: share with interval,
    median dose; pale behind it the share of records in whose smallest change the edit has a part.
    """
    panels = _panels(groups)
    n_rows = math.ceil(len(panels) / PANELS_IN_A_ROW)
    size = (3.1 * min(len(panels), PANELS_IN_A_ROW) + 0.6, 2.8 * n_rows + 0.6)
    figure, axes = plt.subplots(
        n_rows, min(len(panels), PANELS_IN_A_ROW), figsize=size, squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    most = max(map(len, panels.values()))
    for ax, (name, own) in zip(axes.flat, panels.items(), strict=False):
        _bars(ax, own, most)
        count = own["n_records"].iloc[-1]
        ax.set_title(f"{name} (n = {count})", fontsize=9, fontweight="bold")
        ax.set_xlabel("share of records", fontsize=8)
    alone = "turned by this change alone (median dose)"
    key = [
        Patch(facecolor=POSITIVE, alpha=ALONE, label=f"{alone}: more mV or ms"),
        Patch(facecolor=NEGATIVE, alpha=ALONE, label="less"),
        Patch(facecolor="#777777", alpha=TOGETHER, label="has a part in the smallest change"),
    ]
    style = {"fontsize": 7.5, "frameon": False, "loc": "outside lower center"}
    figure.legend(handles=key, ncols=1, **style)
    return figure


def _panels(groups):
    """Title of each panel -> its edits, the last one first: a pathology; where the decisions on it
    were turned both ways, each way by itself.
    """
    ways = groups.groupby("pathology")["direction"].nunique()
    panels = {}
    for (name, direction), own in groups.groupby(["pathology", "direction"], sort=False):
        title = name if ways[name] == 1 else f"{name}, {TURNED[direction]}"
        panels[title] = own.head(MOST_EDITS).iloc[::-1]
    return panels


def _bars(ax, own, most):
    """One pathology's bars, as thick as where there are `most` of them."""
    places = np.arange(len(own))
    dose = own["median_dose"].to_numpy()
    colours = np.where(np.isnan(dose), "#777777", np.where(dose < 0, NEGATIVE, POSITIVE))
    together = own["chosen"] / own["n_records"]
    ax.barh(places, together, color="#777777", alpha=TOGETHER, height=0.75)
    ax.barh(places, own["turned_alone"], color=colours, alpha=ALONE, height=0.5)
    known = own["low"].notna().to_numpy()
    ax.hlines(places[known], own["low"][known], own["high"][known], color=INK, linewidth=0.8)
    words = []
    for line in own.itertuples():
        edit = EDITS[line.edit]
        dose = f"\n{dose_in_words(edit, line.median_dose)}" if line.turned_alone else ""
        words.append(f"{line.edit}{dose}")
    ax.set_yticks(places, words, fontsize=7)
    ax.set(xlim=(0, 1), ylim=(len(own) - max(most, 4) - 0.6, len(own) - 0.4))
