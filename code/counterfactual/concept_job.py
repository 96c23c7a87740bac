"""Concepts switched in many records, chunk by chunk as counterfactuals are: concepts.csv and
concept_answers.csv.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.files import read_npz, write_csv, write_npz
from common.labels import slug
from counterfactual import parts
from counterfactual.body import bodies_of
from counterfactual.job import CHUNK, Job
from counterfactual.search import threshold_logit
from counterfactual.switching import SWITCHED_COLUMNS, answers, in_words, switch
from networks.distributed import dealt, wait_for_all
from networks.inference import predict
from records.dataset import Dataset, parse_flags

NAME, ANSWERS = "concepts", "concept_answers"


@dataclass(frozen=True)
class Switch:
    """One concept, "add" or "remove", and the rows of the data set that it is tried on."""

    concept: str
    direction: str
    rows: np.ndarray


def switches(
    data: Dataset, asked: dict[str, list[str]], most: int, seed: int
) -> tuple[list[Switch], dict[str, str]]:
    """What is asked for ({"add": concepts, "remove": concepts}), on at most `most` records drawn
    among those whose flag in the table is the opposite; names that have no record, with the reason.
    """
    rng = np.random.default_rng(seed)
    found, left_out = [], {}
    for direction, concepts in asked.items():
        for concept in concepts:
            blank = np.full(len(data), np.nan)
            flags = parse_flags(data.table, concept) if concept in data.table else blank
            rows = np.flatnonzero(flags == (0 if direction == "add" else 1))
            if len(rows):
                drawn = np.sort(rng.permutation(rows)[:most])
                found.append(Switch(concept, direction, drawn))
            else:
                left_out[f"{direction} {concept}"] = "no record with the opposite flag"
    return found, left_out


def compute(job: Job, wanted: list[Switch]) -> None:
    """Write the parts of this process's share that are not there yet; return when all are there."""
    units = [(one, number) for one in wanted for number in range(-(-len(one.rows) // CHUNK))]
    todo = [unit for unit in dealt(units) if not _part(job.folder, *unit).is_file()]
    with tqdm(todo, desc="concepts", unit=f" x {CHUNK} records") as progress:
        for one, number in progress:
            rows = one.rows[number * CHUNK : (number + 1) * CHUNK]
            lines = _lines(job, one, rows)
            arrays = parts.to_arrays(NAME, lines, SWITCHED_COLUMNS)
            write_npz(_part(job.folder, one, number), **arrays)
    wait_for_all()


def _part(folder: Path, one: Switch, number: int) -> Path:
    name = f"{one.direction}_{slug(one.concept)}"
    return folder / ".parts" / "concepts" / name / f"{number:05d}.npz"


def _lines(job, one, rows):
    """Lines of concepts.csv: one per record and pathology."""
    signals = job.data.signals[rows]
    bodies = bodies_of(signals, job.data.sampling_rate, job.limits)
    edited, words = np.array(signals, dtype=np.float32), [""] * len(rows)
    for place, body in enumerate(bodies):
        own = job.data.table.iloc[rows[place]]
        person = {"sex": own.get("sex", np.nan), "age": own.get("age", np.nan)}
        doses = None if body is None else switch(body, one.concept, one.direction, person)
        if doses is not None:
            edited[place] = body.apply(doses)[0]
            words[place] = in_words(body, one.concept, one.direction, doses)
    before, after = (predict(job.model, part, job.window) for part in (signals, edited))
    lines = []
    for place, row in enumerate(rows):
        for target in job.targets:
            pair = float(before[place, target.index]), float(after[place, target.index])
            what = (job.data.ecg_id[row], one.concept, one.direction, bool(words[place]))
            lines.append((*what, target.name, *pair, words[place]))
    return lines


def assemble(job: Job, wanted: list[Switch], tcav: pd.DataFrame | None) -> list[Path]:
    """Write concepts.csv and concept_answers.csv from the parts; their paths."""
    read = []
    for one in wanted:
        for number in range(-(-len(one.rows) // CHUNK)):
            read.append(read_npz(_part(job.folder, one, number)))
    table = parts.to_table(NAME, read, SWITCHED_COLUMNS)
    info = job.model.info
    thresholds = {one.name: threshold_logit(info, one.index) for one in job.targets}
    patients = dict(zip(job.data.ecg_id, job.data.patient_id, strict=True))
    found = answers(table, thresholds, patients, tcav, job.seed)
    paths = [job.folder / f"{name}.csv" for name in (NAME, ANSWERS)]
    for path, content in zip(paths, (table, found), strict=True):
        write_csv(path, content.round(4))
    return paths
