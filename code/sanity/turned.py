"""Do maps point at the waves whose change turns the network's decision?

The truth is what counterfactuals.py found on the same network: the fewest and smallest changes of
waves that take the logit across its threshold, by search, without gradients, baselines or pieces
taken away. No method is made of that. Read from <run>/counterfactual/:

sparsest  edits.csv: the waves that the answer changes. Score: probability that such a lead x wave
          cell has more relevance than another (ROC AUC)
alone     alone.csv: every change that turns the decision by itself. Score: rank correlation, over
          the cells, of relevance and 1 / cost of the cheapest of these (0 where none suffices)

Relevance is the sum of the map's size over the cell, as in edits.py. A change of I is one of aVL by
the same millivolts too, one of II of III and aVF: these leads count together, aVR not at all.
Changes of intervals are in no cell. Answers are about the whole record (the mean logit of its
windows), maps about its middle: an answer changes every beat alike.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from attribution.cells import cell_maps
from common.files import UserError, note_read, read_csv
from common.labels import FOLLOWERS, LEADS
from networks.metrics import roc_auc
from records.dataset import Dataset
from sanity.agreement import masked_correlation
from sanity.dose_response import DOSED, wave_masks
from sanity.subject import Explain, Measured, Subject, choose_records, subject_of

FILES = ANSWERS, EDITS, ALONE = "counterfactuals.csv", "edits.csv", "alone.csv"
# leads that an edit can name, and those that change by the same millivolts
GROUPS = {
    lead: (lead, *FOLLOWERS.get(lead, ()))
    for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
}
WAVES = tuple(DOSED)


def why_no_answers(folder: Path) -> str | None:
    """Why there is nothing to judge maps by in the folder of counterfactuals.py; None where there
    is.
    """
    if not all((folder / name).is_file() for name in FILES):
        return f"nothing in {folder}: run counterfactuals.py on this run first"
    if not read_csv(folder / ANSWERS)["turned"].astype(bool).any():
        return f"counterfactuals.py turned no decision in {folder}"
    return None


def turned_subject(
    name: str, model: nn.Module, data: Dataset, folder: Path, n: int, seed: int, columns: list[int]
) -> Subject:
    """Up to `n` turned decisions among the records of `data`, the classes (those of `columns`) in
    turn; UserError where there is none.
    """
    answers = read_csv(folder / ANSWERS)
    known = [model.info.labels[column] for column in columns]
    answers = answers[answers["turned"].astype(bool) & answers["pathology"].isin(known)]
    answers = answers[answers["ecg_id"].isin(data.ecg_id)].drop_duplicates(["ecg_id", "pathology"])
    targets = np.array([model.info.index(label) for label in answers["pathology"]], dtype=int)
    chosen = choose_records(targets, n, seed)
    if not len(chosen):
        raise UserError(
            f"{folder / ANSWERS} has no turned decision on a record of folds "
            f"{', '.join(map(str, np.unique(data.fold)))}: leave counterfactual out of --checks"
        )
    rows = data.positions(answers["ecg_id"].to_numpy()[chosen])
    return subject_of(name, model, data, rows, targets[chosen])


def turned_reference(subject: Subject, folder: Path) -> dict[str, np.ndarray]:
    """What turns each record's decision: `sparsest` (n, 8, waves) 1 in the cells that the answer
    changes, and `alone` (n, 8, waves) 1 / cost of the cheapest change that suffices by itself.
    """
    tables = {}
    for name in (EDITS, ALONE):
        tables[name] = read_csv(folder / name)
        note_read(folder / name)
    labels = [subject.model.info.labels[target] for target in subject.target]
    keys = list(zip(subject.ecg_id, labels, strict=True))
    made = {name: dict(list(t.groupby(["ecg_id", "pathology"]))) for name, t in tables.items()}
    empty = pd.DataFrame(columns=["edit", "cost"])
    return {
        "sparsest": np.stack([strength_of(made[EDITS].get(key, empty)) > 0 for key in keys]),
        "alone": np.stack([strength_of(made[ALONE].get(key, empty)) for key in keys]),
    }


def strength_of(edits: pd.DataFrame) -> np.ndarray:
    """(8, waves) 1 / cost of the cheapest of the edits (columns edit, cost) that changes each cell;
    0 in cells that none changes.
    """
    strength = np.zeros((len(GROUPS), len(WAVES)))
    for name, cost in zip(edits["edit"], edits["cost"], strict=True):
        wave, *leads = name.split()
        if wave not in WAVES:
            continue  # an interval
        rows, column = [list(GROUPS).index(lead) for lead in leads], WAVES.index(wave)
        strength[rows, column] = np.maximum(strength[rows, column], 1 / max(cost, 1e-3))
    return strength


def grouped(cells: np.ndarray) -> np.ndarray:
    """(n, 8, waves) sums of cells (n, 12, waves) over the leads that change together."""
    together = [np.isin(LEADS, group) for group in GROUPS.values()]
    return np.stack([cells[:, leads].sum(axis=1) for leads in together], axis=1)


def measure_turned(
    subject: Subject, maps: np.ndarray, _explain: Explain, reference: Mapping[str, np.ndarray]
) -> list[Measured]:
    """Both scores of each record, beside those of its own relevance dealt out anew over the cells
    that it has (chance).
    """
    cells = cell_maps(maps, wave_masks(subject.segments), subject.patients)
    time = cells.time * subject.read.any(axis=0)[:, None]  # in leads that the model reads
    has = grouped(time) > 0.5  # of a sample: a wave that the record does not have is no cell
    relevance = grouped(cells.relevance)
    rng = np.random.default_rng(0)
    shuffled = relevance.copy()
    for own, there in zip(shuffled, has, strict=True):
        own[there] = rng.permutation(own[there])
    both = relevance, shuffled
    sparsest, alone = reference["sparsest"].astype(bool), reference["alone"]
    return [
        subject.measured(
            "counterfactual_sparsest", *(_auc(one, sparsest, has) for one in both), best=1.0
        ),
        subject.measured(
            "counterfactual_alone", *(_correlation(one, alone, has) for one in both), best=1.0
        ),
    ]


def _auc(relevance, truth, has):
    """(n,) NaN where the answer changes no cell that the record has, or all of them."""
    scores = np.full(len(relevance), np.nan)
    for row, there in enumerate(has):
        scores[row : row + 1] = roc_auc(relevance[row][there][None], truth[row][there][None])
    return scores


def _correlation(relevance, strength, has):
    """(n,) NaN where no change suffices by itself."""
    flat = [part.reshape(len(part), -1) for part in (relevance, strength, has)]
    scores = masked_correlation(*flat)
    return np.where((flat[1] * flat[2]).any(axis=1), scores, np.nan)
