"""Localisation against known causes: on a simulated cohort the truth is planted, and the
intervention gate says where it counts.

A record counts when the model demonstrably uses the cause there: undoing the planted change (same
patient, noise and beats) lowers the logit by at least MIN_EFFECT, and undoing a decoy (a visible
change without a label) moves it by no more than DECOY_SHARE of that. The truth is the lead x
segment cells that planted_causes.csv names, as far as the cause changes them by at least CORE of
its largest change, and the union of their time spans. Causes of rate and rhythm lie in no cell and
are left out.

Most causes sit where the signal is large anyway, so that |signal| alone scores high. `specific_auc`
therefore asks, for each other cause among the records: where the two differ, are the cells of the
record's own cause more relevant than the other's? A map that is the same for all records scores .5
by symmetry.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from common.files import read_csv
from common.labels import LEADS, labels_of_statement
from common.stats import mean_of_known
from ecg.segments import SEGMENTS
from records.dataset import centre_crop
from sanity.localisation import READINGS, auc_within, score_truths
from sanity.subject import Explain, Measured, Subject, target_logits
from simulation.causes import CAUSES
from simulation.cohort import PARAMETERS, counterfactual, read_plan

MIN_EFFECT = 0.5  # logit
DECOY_SHARE = 0.25  # of the effect of the cause
CORE = 0.25  # of a cause's largest mean change (mV)
PLANTED = "planted_causes.csv"
POINTS = tuple(
    name for name in SEGMENTS if "-" in name
)  # point classes; the others are the stretches between


def has_truth(data_path: str | Path) -> bool:
    """Whether a folder holds the truth of a simulated cohort."""
    return all((Path(data_path) / name).is_file() for name in (PLANTED, PARAMETERS))


def statement_of(subject: Subject, plan: pd.DataFrame) -> np.ndarray:
    """(n,) the planted statement behind each record's target; "" where there is none or more than
    one.
    """
    causes = [column.removeprefix("severity_") for column in plan if column.startswith("severity_")]
    present = (
        plan.set_index("ecg_id")
        .loc[subject.ecg_id, [f"severity_{cause}" for cause in causes]]
        .to_numpy()
        > 0
    )
    found = []
    for row, target in enumerate(subject.target):
        label = subject.model.info.labels[target]
        names = [
            cause
            for cause, has in zip(causes, present[row], strict=True)
            if has and label in labels_of_statement(cause, subject.task)
        ]
        found.append(names[0] if len(names) == 1 else "")
    return np.array(found)


def core_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of planted_causes.csv that count as truth: leads and segments, changed by CORE of
    the largest change or more.
    """
    table = table[table["lead"].isin(LEADS) & table["segment"].isin(SEGMENTS)]
    largest = table.groupby("label")["effect_abs"].transform("max")
    in_cells = ~table["label"].isin(
        [name for name, cause in CAUSES.items() if cause.overlay or "rr" in cause.times]
    )
    return table[in_cells & (table["effect_abs"] >= CORE * largest)]


def planted_masks(table: pd.DataFrame, statements: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """(n, T, 12) bool: the cells that `table` (label, lead, segment) names for each record's
    statement.

    A sample belongs to a stretch where most of its soft segment does; the point classes at both
    ends belong to it too.
    """
    nothing = np.zeros((len(LEADS), len(SEGMENTS)), dtype=bool)
    cells = {label: nothing.copy() for label in table["label"].unique()}
    for label, lead, segment in table[["label", "lead", "segment"]].itertuples(index=False):
        cells[label][LEADS.index(lead), SEGMENTS.index(segment)] = True
    for chosen in cells.values():
        for point in map(SEGMENTS.index, POINTS):
            chosen[:, point] |= chosen[:, point - 1] | chosen[:, (point + 1) % len(SEGMENTS)]
    masks = [
        np.einsum("tlk,lk->tl", shares, cells.get(statement, nothing)) > 0.5
        for shares, statement in zip(segments, statements, strict=True)
    ]
    return np.stack(masks) if masks else np.zeros(segments.shape[:3], dtype=bool)


def undo_effects(subject: Subject, data_path: str | Path, names: np.ndarray) -> np.ndarray:
    """(n,) fall of the target logit when the cause or decoy named for each record is undone; 0
    where the name is "".
    """
    effects = np.zeros(len(subject))
    before = target_logits(subject, torch.from_numpy(subject.signals))
    for name in sorted(set(names) - {""}):
        rows = np.flatnonzero(names == name)
        undone = counterfactual(
            data_path, subject.ecg_id[rows], undo=name, sampling_rate=subject.sampling_rate
        )
        crop = np.ascontiguousarray(centre_crop(undone, subject.signals.shape[1]), dtype=np.float32)
        effects[rows] = before[rows] - target_logits(subject.rows(rows), torch.from_numpy(crop))
    return effects


def gate(cause: np.ndarray, decoys: np.ndarray) -> np.ndarray:
    """(n,) bool: the cause moves the logit enough, and no decoy (n, decoys) by more than its share
    of that.
    """
    return (cause >= MIN_EFFECT) & (np.abs(decoys).max(axis=1, initial=0) <= DECOY_SHARE * cause)


def planted_reference(subject: Subject, data_path: str | Path) -> dict[str, np.ndarray]:
    """Truth and gate: mask (n, T, 12), every (causes, n, T, 12) of each cause; passed, effect,
    decoy, statement (n,).
    """
    plan = read_plan(data_path)
    statements = statement_of(subject, plan)
    rows = plan.set_index("ecg_id").loc[subject.ecg_id]
    decoys = [column.removeprefix("decoy_") for column in plan if column.startswith("decoy_")]
    shown = [np.where(rows[f"decoy_{decoy}"].to_numpy() > 0, decoy, "") for decoy in decoys]
    decoy_effects = np.stack([undo_effects(subject, data_path, names) for names in shown], axis=1)
    effect = undo_effects(subject, data_path, np.where(statements == "NORM", "", statements))
    cells = core_cells(read_csv(Path(data_path) / PLANTED))
    masks = planted_masks(cells, statements, subject.segments)
    names = sorted(set(statements[masks.any(axis=(1, 2))]))
    every = [planted_masks(cells, np.full(len(subject), name), subject.segments) for name in names]
    passed = gate(effect, decoy_effects) & masks.any(axis=(1, 2))
    return {
        "mask": masks,
        "every": np.array(every, dtype=bool).reshape(-1, *masks.shape),
        "passed": passed,
        "statement": statements,
        "effect": effect,
        "decoy": np.abs(decoy_effects).max(axis=1, initial=0),
    }


def measure_localisation(
    subject: Subject,
    maps: np.ndarray,
    _explain: Explain,
    reference: dict[str, np.ndarray],
    prefix: str = "localisation",
) -> list[Measured]:
    """All localisation scores of one method on the records that passed the gate."""
    rows = np.flatnonzero(reference["passed"])
    if not len(rows):
        return []
    chosen, mask, every = subject.rows(rows), reference["mask"][rows], reference["every"][:, rows]
    scores = score_truths(maps[rows], mask)
    for reading, read in READINGS.items():
        scores[f"specific_auc_{reading}"] = (specific_auc(read(maps[rows]), mask, every), 0.5)
    return [
        chosen.measured(f"{prefix}_{name}", values, chance, best=1.0)
        for name, (values, chance) in scores.items()
    ]


def specific_auc(relevance: np.ndarray, mask: np.ndarray, every: np.ndarray) -> np.ndarray:
    """(n,) mean over the causes `every` (causes, n, T, 12) of the AUC of cells that only the
    record's own or only they have.
    """
    return mean_of_known([auc_within(relevance, mask & ~other, other & ~mask) for other in every])


def gate_table(subject: Subject, reference: dict[str, np.ndarray]) -> pd.DataFrame:
    """Per planted statement: records, how many pass the gate, median effect of the cause and of the
    strongest decoy (logit).
    """
    planted = np.char.str_len(reference["statement"]) > 0
    rows = []
    for statement in np.unique(
        reference["statement"][planted & (reference["statement"] != "NORM")]
    ):
        chosen = reference["statement"] == statement
        rows.append(
            (
                subject.name,
                statement,
                int(chosen.sum()),
                int(reference["passed"][chosen].sum()),
                float(np.median(reference["effect"][chosen])),
                float(np.median(reference["decoy"][chosen])),
                float(reference["mask"][chosen].mean()),
            )
        )
    return pd.DataFrame(
        rows, columns=["model", "statement", "n", "passed", "effect", "decoy_effect", "mask_share"]
    )
