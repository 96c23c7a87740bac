"""Figures of local explanations: who the record is of, what the model says, and where the method
puts it.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from attribution.explanation import ledger_words
from attribution.job import CHUNK, Job
from attribution.methods import get_method
from attribution.plan import Target
from common.ecg_paper import Heat, Record, comparison, twelve_leads
from common.files import read_npz, write_figure
from common.labels import is_regression, slug
from common.plotting import style
from common.words import method_in_words
from networks.checkpoints import ModelInfo
from networks.metrics import sigmoid
from records.dataset import Dataset
from records.quality import UNAVAILABLE, flag_in_words, flags_of

FORMATS = ("png", "pdf")


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
    """'signal: noise, drift' of a row of the table, and what was left blank; empty where all is
    judged and none raised.
    """
    flags = flags_of(row.to_frame().T).iloc[0]
    if flags.isna().all():
        return UNAVAILABLE.split(":")[0]
    raised = ", ".join(flag_in_words(name) for name in flags.index if flags[name] == 1)
    blank = ", ".join(
        flag_in_words(name)
        for name in flags.index
        if np.isnan(flags[name]) and f"quality_{name}" in row
    )
    notes = (raised and f"signal: {raised}", blank and f"{blank} not judged")
    return "; ".join(note for note in notes if note)


def prediction(info: ModelInfo, index: int, logit: float) -> str:
    """What the model says of one target."""
    name = info.labels[index]
    if is_regression(info.task):
        return f"predicted {info.task} in {name} {logit:.2f} mV"
    threshold = info.thresholds[index] if info.thresholds else np.nan
    beside = f"threshold {threshold:.2f}, " if np.isfinite(threshold) else ""
    return f"probability of {name} {sigmoid(logit):.2f} ({beside}logit {logit:.2f})"


def account(arrays: dict[str, np.ndarray], position: int) -> str:
    """Ledger or completeness gap of one record, one line."""
    if "ledger" in arrays:
        logit, *shares = arrays["ledger"][position]
        pairs = ledger_words(shares)
        shown = " + ".join(f"{name} {round(share, 2) + 0.0:.2f}" for name, share in pairs)
        return f"Ledger: logit {logit:.2f} = {shown}".replace("+ -", "- ")
    if "gap" in arrays:
        above = ", above 1 % in some window" if arrays["missed"][position] else ""
        return f"Completeness gap {arrays['gap'][position]:+.4f} logit{above}"
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
    who = f"ECG {data.ecg_id[row]}" if not name else f"record {name}"
    said = prediction(info, target.index, float(target.logit[position]))
    parts = (
        age_and_sex(data.table.iloc[row]),
        true_labels(data, row),
        said,
        quality_note(data.table.iloc[row]),
    )
    subtitle = " · ".join(part for part in parts if part)
    windows = "mean logit of windows" if job.window == "windows" else "centre crop"
    foot = [f"{info.run_folder_name}, {windows} of {info.crop_seconds:g} s"]
    title = f"{target.name}    {who}    {what}"
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
    job: Job, max_figures: int, absolute: bool = False, compare: bool = False, name: str = ""
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
            figure, label = _compare(job, target, position, absolute, name), f"compare_{label}"
        else:
            figure, label = (
                _single(job, target, position, method, absolute, name),
                f"{slug(method)}_{label}",
            )
        written += write_figure(figure, job.folder / label, FORMATS, dpi=200)
    return written, max(len(wanted) - max_figures, 0)


def _arrays(job, method, target, position):
    return read_npz(job.part(method, target, position // CHUNK)), position % CHUNK


def _seen(heats):
    """First sample and end of what any of the maps knows something of (a centre crop leaves out
    both ends).
    """
    seen = np.flatnonzero(np.any([np.isfinite(heat.values).any(axis=1) for heat in heats], axis=0))
    return seen[0], seen[-1] + 1


def _single(job, target, position, method, absolute, name):
    heat = heat_of(job, method, *_arrays(job, method, target, position), absolute)
    start, stop = _seen([heat])
    record = record_of(job, target, position, name, method_in_words(method))
    return twelve_leads(record.cut(start, stop), heat.cut(start, stop))


def _compare(job, target, position, absolute, name):
    heats = [
        heat_of(job, method, *_arrays(job, method, target, position), absolute)
        for method in job.methods
    ]
    for heat, method in zip(heats, job.methods, strict=True):
        heat.name = method_in_words(method)
        heat.note = (
            heat.note
            if get_method(method).has_lead_axis
            else "one value per time, the same for all leads"
        )
    whole, centre = record_of(job, target, position, name, ""), centre_of(job, target, position)
    start, stop = _seen(heats)
    cut = [heat.cut(start, stop) for heat in heats]
    return comparison(
        whole.cut(start, stop),
        cut,
        None if centre is None else centre - start,
        start / whole.sampling_rate,
    )
