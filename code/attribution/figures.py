"""Figures of local explanations: who the record is of, what the model says, and where the method
puts it.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from attribution.explanation import ledger_words
from attribution.job import CHUNK, Job, chunk
from attribution.methods import get_method
from attribution.plan import Target
from common.ecg_column import column_of_map, column_of_methods
from common.ecg_paper import PAGE_SECONDS, Heat, Record, comparison, twelve_leads
from common.figure_files import write_figure
from common.labels import COLUMN, is_regression, slug
from common.plotting import style
from common.words import (
    class_in_words,
    digits_apart,
    method_in_words,
    probability_in_words,
)
from networks.checkpoints import ModelInfo
from networks.metrics import sigmoid
from records.dataset import Dataset
from records.quality import UNAVAILABLE, flag_in_words, flags_of

MOST_BLANK = 3  # flags that were not judged and are named below the title
NEARLY_ALL = 0.9  # of a record: the rest of it is drawn too, bare


def age_and_sex(row: pd.Series) -> str:
    """'63 y, female' from a row of the table; what is not known is said."""
    age, sex = row.get("age"), row.get("sex")
    years = (
        "age unknown"
        if age is None or not np.isfinite(age)
        else "> 89 y"
        if age > 89
        else f"{age:.0f} y"
    )
    return f"{years}, { {0: 'male', 1: 'female'}.get(sex, 'sex unknown') }"


def true_labels(data: Dataset, row: int) -> str:
    """'labels AMI, LVH' or what was measured, of one record."""
    if data.labels is None:
        return "labels unknown"
    if is_regression(data.task):
        pairs = zip(data.label_names, data.labels[row], strict=True)
        return "measured " + " ".join(f"{name} {value:.2f}" for name, value in pairs) + " mV"
    names = [name for name, has in zip(data.label_names, data.labels[row], strict=True) if has]
    return "labels " + (", ".join(names) or "none of this task")


def quality_note(row: pd.Series) -> str:
    """'signal flagged: noise, drift' of a row of the table, and what was left blank; empty where
    all is judged and none raised.
    """
    flags = flags_of(row.to_frame().T).iloc[0]
    if flags.isna().all():
        return UNAVAILABLE.split(":")[0]
    raised = ", ".join(flag_in_words(name) for name in flags.index if flags[name] == 1)
    names = [
        flag_in_words(name)
        for name in flags.index
        if np.isnan(flags[name]) and f"quality_{name}" in row
    ]
    blank = ", ".join(names) if len(names) <= MOST_BLANK else f"{len(names)} quality flags"
    notes = (raised and f"signal flagged: {raised}", blank and f"{blank} not judged")
    return "; ".join(note for note in notes if note)


def prediction(info: ModelInfo, index: int, logit: float, labelled: bool | None = None) -> str:
    """What the model says of one target, and whether the label agrees where there is one.

    labelled  whether the record has the label; None: not known
    """
    name = info.labels[index]
    if is_regression(info.task):
        return f"predicted {info.task.replace('_', ' ')} in {name} {logit:.2f} mV"
    probability = sigmoid(logit)
    threshold = info.thresholds[index] if info.thresholds else np.nan
    digits = digits_apart(probability, threshold)
    said = probability_in_words(probability, digits)
    if not np.isfinite(threshold):
        return f"probability of {name} {said} (no threshold, logit {logit:.2f})"
    positive = probability > threshold
    outcome = "positive" if positive else "negative"
    if labelled is not None:
        right = labelled == positive
        outcome = f"{'true' if right else 'false'} {outcome}"
    beside = f"threshold {probability_in_words(threshold, digits)}, logit {logit:.2f}"
    return f"{name}: {outcome} at probability {said} ({beside})"


def is_labelled(data: Dataset, row: int, name: str) -> bool | None:
    """Whether a record has a label; None where the data set does not say."""
    if data.labels is None or name in data.unknown or name not in data.label_names:
        return None
    return bool(data.labels[row, list(data.label_names).index(name)])


def account(arrays: dict[str, np.ndarray], position: int, short: bool = False) -> str:
    """Ledger or completeness gap of one record, one line; `short`: the ledger's numbers alone."""
    if "ledger" in arrays:
        logit, *shares = arrays["ledger"][position]
        pairs = ledger_words(shares)
        terms = [(name, f"{round(share, 2) + 0.0:.2f}") for name, share in pairs]
        shown = " + ".join(value if short else f"{name} {value}" for name, value in terms)
        start = "" if short else "Ledger: logit "
        return f"{start}{logit:.2f} = {shown}".replace("+ -", "- ")
    if "standard_error" in arrays:
        above = ", some errors above the wanted one" if arrays["missed"][position] else ""
        return f"Shares sum up within {abs(arrays['gap'][position]):.4f} logit{above}"
    if "gap" in arrays:
        above = ", above 1 % in some window" if arrays["missed"][position] else ""
        start = "Gap" if short else "Completeness gap"
        return f"{start} {round(arrays['gap'][position], 4) + 0.0:+.4f} logit{above}"
    return ""


def heat_of(
    job: Job, method: str, arrays: dict[str, np.ndarray], position: int, absolute: bool
) -> Heat:
    """One map as it is drawn: divided by the coverage, so that the edges can be compared with the
    middle.
    """
    coverage = np.where(arrays["coverage"] > 0, arrays["coverage"], np.nan)
    values = arrays["attributions"][position] / coverage[:, None]
    declared = get_method(method)
    name = method_in_words(method)
    if not declared.has_lead_axis:
        name += ": one value per time, the same for all leads"
    unit = f"|{declared.unit}|" if absolute and declared.signed else declared.unit
    return Heat(values, declared.signed and not absolute, name, unit, account(arrays, position))


def record_of(job: Job, target: Target, position: int, name: str, what: str) -> Record:
    """One record with its title."""
    data, row, info = job.data, int(target.rows[position]), job.model.info
    who = f"ECG {data.ecg_id[row]}" if not name else f"Record {name}"
    labelled = is_labelled(data, row, target.name)
    said = prediction(info, target.index, float(target.logit[position]), labelled)
    parts = (
        said,
        age_and_sex(data.table.iloc[row]),
        true_labels(data, row),
        quality_note(data.table.iloc[row]),
    )
    subtitle = " · ".join(part for part in parts if part)
    windows = "mean logit of windows" if job.window == "windows" else "centre crop"
    foot = [f"explained: {windows} of {info.crop_seconds:g} s"]
    if unread := info.unread(data.signals[row]):
        foot.append(f"not read by the network: {', '.join(unread)}")
    title = f"{who}, explained for {class_in_words(target.name)} by {what}"
    return Record(
        np.asarray(data.signals[row], dtype=float), data.sampling_rate, title, subtitle, foot
    )


def centre_of(job: Job, target: Target, position: int) -> int | None:
    """R-peak next to the record's middle, for the comparison; None where there is none."""
    if "r_peaks" not in job.data.table:
        return None
    peaks, middle = job.data.r_peaks(int(target.rows[position])), job.data.signals.shape[1] // 2
    return int(peaks[np.argmin(np.abs(peaks - middle))]) if len(peaks) else None


def draw(
    job: Job,
    max_figures: int,
    absolute: bool = False,
    compare: bool = False,
    name: str = "",
    layout: str = "12x1",
) -> tuple[list[Path], int]:
    """Draw the first records of each target, round by round, at most `max_figures`: written paths,
    number left out.
    """
    style()
    deepest = max(len(target.rows) for target in job.targets)
    methods = [None] if compare else job.methods
    wanted = []
    for position in range(deepest):
        reached = [target for target in job.targets if position < len(target.rows)]
        wanted += [(position, *pair) for pair in product(reached, methods)]
    written = []
    for position, target, method in tqdm(
        wanted[:max_figures], desc="draw", unit=" figures", disable=None
    ):
        label = f"{slug(target.name)}_{slug(name) or job.data.ecg_id[target.rows[position]]}"
        if compare:
            figure = _compare(job, target, position, absolute, name, layout)
            label = f"compare_{label}"
        else:
            figure, label = (
                _single(job, target, position, method, absolute, name, layout),
                f"{slug(method)}_{label}",
            )
        written += write_figure(figure, job.folder / label, dpi=200)
    return written, max(len(wanted) - max_figures, 0)


def _arrays(job, method, target, position):
    return chunk(job, method, target, position // CHUNK), position % CHUNK


def _seen(heats):
    """First sample and end of what is drawn: what any of the maps knows something of (a centre crop
    leaves out both ends), or all where that is nearly all (windows end shortly before the end).
    """
    known = np.any([np.isfinite(heat.values).any(axis=1) for heat in heats], axis=0)
    seen = np.flatnonzero(known)
    if known.mean() >= NEARLY_ALL:
        return 0, len(known)
    return seen[0], seen[-1] + 1


def _single(job, target, position, method, absolute, name, layout):
    heat = heat_of(job, method, *_arrays(job, method, target, position), absolute)
    start, stop = _seen([heat])
    record = record_of(job, target, position, name, method_in_words(method))
    if layout == COLUMN:
        centre = centre_of(job, target, position)
        cut = record.cut(start, stop), heat.cut(start, stop)
        return column_of_map(*cut, None if centre is None else centre - start)
    on_a_page = int(PAGE_SECONDS * record.sampling_rate)
    if stop - start > on_a_page:
        stop = start + on_a_page
        begins, ends = (place / record.sampling_rate for place in (start, stop))
        record.foot.append(f"{begins:g} to {ends:.4g} s of {record.seconds:.4g} s")
    return twelve_leads(record.cut(start, stop), heat.cut(start, stop), layout)


def _compare(job, target, position, absolute, name, layout):
    heats, terms = [], []
    for method in job.methods:
        arrays, place = _arrays(job, method, target, position)
        heat = heat_of(job, method, arrays, place, absolute)
        heat.name = method_in_words(method)
        lead_axis = get_method(method).has_lead_axis
        same = "one value per time, the same for all leads"
        heat.note = account(arrays, place, short=True) if lead_axis else same
        heats.append(heat)
        if "ledger" in arrays:
            shares = ledger_words(arrays["ledger"][place][1:])
            terms = max(terms, [term for term, _ in shares], key=len)
    whole, centre = record_of(job, target, position, name, ""), centre_of(job, target, position)
    whole.title = whole.title.removesuffix(" by ") + f" by {len(heats)} methods"
    if terms:
        whole.foot.append(f"ledgers: logit = {' + '.join(terms)}")
    start, stop = _seen(heats)
    cut = [heat.cut(start, stop) for heat in heats]
    drawn = column_of_methods if layout == COLUMN else comparison
    return drawn(whole.cut(start, stop), cut, None if centre is None else centre - start)
