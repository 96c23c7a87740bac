"""Counterfactuals of any number of records, chunk by chunk: resumable, bounded memory, shared among
processes.

A chunk of CHUNK records of one pathology is one file under <folder>/.parts; when all are there they
become counterfactuals.csv, edits.csv, alone.csv and signals_<pathology>.npz.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from attribution.plan import Target
from common.files import read_npz, write_csv, write_npz
from common.labels import slug
from counterfactual import parts
from counterfactual.body import Body, bodies_of, measured_doses
from counterfactual.edits import EDITS, Limits, found_again
from counterfactual.search import Found, Search, in_order, threshold_logit
from counterfactual.sentences import sentence
from ecg.analysis import measure_all
from networks.distributed import dealt, wait_for_all
from networks.inference import predict
from networks.metrics import sigmoid
from records.dataset import Dataset

CHUNK = 8  # records
RECORDS, EDITS_MADE, ALONE = "counterfactuals", "edits", "alone"  # tables
RECORD_COLUMNS = (
    "ecg_id",
    "pathology",
    "direction",
    "turned",
    "logit_before",
    "logit_after",
    "probability_before",
    "probability_after",
    "threshold",
    "n_edits",
    "cost",
    "sentence",
)
EDIT_COLUMNS = (
    "ecg_id",
    "pathology",
    "edit",
    "wave",
    "leads",
    "quantity",
    "unit",
    "dose",
    "measured_dose",
    "cost",
)
ALONE_COLUMNS = ("ecg_id", "pathology", "edit", "dose", "cost")
COLUMNS = {RECORDS: RECORD_COLUMNS, EDITS_MADE: EDIT_COLUMNS, ALONE: ALONE_COLUMNS}


@dataclass(frozen=True)
class Job:
    """All that computing needs."""

    model: torch.nn.Module
    data: Dataset
    targets: list[Target]
    limits: Limits
    window: str
    most: int
    seed: int
    folder: Path

    def units(self) -> list[tuple[Target, int]]:
        """(target, number of its chunk), in the order of the files."""
        return [
            (target, number)
            for target in self.targets
            for number in range(-(-len(target.rows) // CHUNK))
        ]

    def part(self, target: Target, number: int) -> Path:
        """File of one chunk."""
        return self.folder / ".parts" / slug(target.name) / f"{number:05d}.npz"

    def signals_path(self, target: Target) -> Path:
        """File of the edited signals of one pathology."""
        return self.folder / f"signals_{slug(target.name)}.npz"


def compute(job: Job) -> None:
    """Write the parts of this process's share that are not there yet; return when all are there."""
    todo = [unit for unit in dealt(job.units()) if not job.part(*unit).is_file()]
    total = sum(len(_rows(*unit)) for unit in todo)
    with tqdm(total=total, desc="counterfactuals", unit=" records") as progress:
        for target, number in todo:
            rows = _rows(target, number)
            write_npz(job.part(target, number), **_chunk(job, target, rows))
            progress.update(len(rows))
    wait_for_all()


def _rows(target, number):
    return target.rows[number * CHUNK : (number + 1) * CHUNK]


def _chunk(job, target, rows):
    """Arrays of one part: the columns of the three tables, and the edited signals."""
    signals = job.data.signals[rows]
    bodies = bodies_of(signals, job.data.sampling_rate, job.limits)
    found = [search(job, target, *pair) for pair in zip(signals, bodies, strict=True)]
    edited = np.array(signals, dtype=np.float32)
    for place, (body, answer) in enumerate(zip(bodies, found, strict=True)):
        if body is not None:
            edited[place] = body.apply(answer.doses)[0]
    after = measure_all(edited, job.data.sampling_rate, progress=False)
    tables = {name: [] for name in COLUMNS}
    for place, row in enumerate(rows):
        ecg_id, body, answer = job.data.ecg_id[row], bodies[place], found[place]
        tables[RECORDS].append(record_row(job, target, ecg_id, body, answer))
        if body is None:
            continue
        tables[EDITS_MADE] += edit_rows(target.name, ecg_id, body, answer, after.iloc[place])
        for edit in np.flatnonzero(np.isfinite(answer.alone)):
            dose = answer.alone[edit]
            cost = abs(dose) / body.scale[edit]
            tables[ALONE].append((ecg_id, target.name, body.names[edit], dose, cost))
    arrays = {"ecg_id": job.data.ecg_id[rows], "signals": edited}
    for name, lines in tables.items():
        arrays |= parts.to_arrays(name, lines, COLUMNS[name])
    return arrays


def search(job: Job, target: Target, signal: np.ndarray, body: Body | None) -> Found:
    """The counterfactual of one record (T, 12); no doses where it has no body to edit."""

    def logits(signals: np.ndarray) -> np.ndarray:
        return predict(job.model, signals, job.window)[:, target.index]

    if body is None:
        logit = float(logits(signal[None])[0])
        return Found(False, np.zeros(0), logit, logit, np.nan, np.zeros(0))
    threshold = threshold_logit(job.model.info, target.index)
    return Search(body, logits, threshold, job.seed).run(job.most)


def record_row(job: Job, target: Target, ecg_id: int, body: Body | None, found: Found) -> tuple:
    """One line of counterfactuals.csv."""
    threshold = threshold_logit(job.model.info, target.index)
    before, after, limit = (float(sigmoid(x)) for x in (found.before, found.after, threshold))
    numbers = in_order(body, found.doses) if body is not None else ()
    made = [(body.names[number], found.doses[number]) for number in numbers]
    words = sentence(made, target.name, before, after, limit, found.turned, job.most)
    direction = "remove" if found.before > threshold else "add"
    logits = (found.before, found.after)
    probabilities = (before, after, limit)
    size = (len(made), found.cost)
    return (ecg_id, target.name, direction, found.turned, *logits, *probabilities, *size, words)


def edit_rows(
    pathology: str, ecg_id: int, body: Body, found: Found, after: pd.Series
) -> list[tuple]:
    """Lines of edits.csv: each edit with the dose and what our own measurement says of it."""
    rows = []
    for number in in_order(body, found.doses):
        edit, dose = EDITS[body.names[number]], found.doses[number]
        measured = measured_doses(body.before, after, [edit])[0]
        cost = abs(dose) / body.scale[number]
        what = (edit.name, edit.wave, " ".join(edit.leads), edit.quantity, edit.unit)
        rows.append((ecg_id, pathology, *what, dose, measured, cost))
    return rows


def assemble(job: Job) -> dict[str, pd.DataFrame]:
    """Write the tables and the signals from the parts; the tables by name."""
    read = [(target, read_npz(job.part(target, number))) for target, number in job.units()]
    tables = {}
    for name, columns in COLUMNS.items():
        tables[name] = parts.to_table(name, [part for _, part in read], columns)
        if name == EDITS_MADE:
            tables[name]["found_again"] = found_again(tables[name])
        write_csv(job.folder / f"{name}.csv", tables[name].round(4))
    for target in job.targets:
        own = [part for one, part in read if one is target]
        write_npz(
            job.signals_path(target),
            ecg_id=np.concatenate([part["ecg_id"] for part in own]),
            signals=np.concatenate([part["signals"] for part in own]),
            turned=np.concatenate([part[f"{RECORDS}:turned"] for part in own]),
            sampling_rate=np.array(job.data.sampling_rate),
        )
    return tables


def remove_parts(job: Job) -> None:
    """Remove the chunks once they are assembled."""
    shutil.rmtree(job.folder / ".parts", ignore_errors=True)
