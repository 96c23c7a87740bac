"""The same recording under different names: PTB-XL has some, in part of different patients and
folds (ecg_id 140 = 1370, 145 = 463).

A model is then tested on what it was trained on. Copies differ in a few samples of some leads, so
whole records are not compared but leads: samples to the microvolt, from their first differences, so
that an offset does not matter.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd

MIN_LEADS = 2  # equal in all samples: no two recordings have that by chance
MIN_STEPS = 20  # different steps that a lead must take: a flat lead is like any other


def same_recordings(signals: np.ndarray) -> list[list[int]]:
    """Groups of rows of signals (N, T, 12) in mV that hold the same recording, each sorted."""
    by_lead = defaultdict(list)
    for row, record in enumerate(signals):
        steps = np.diff(np.rint(1000 * record).astype(np.int32), axis=0)
        for lead, values in enumerate(steps.T):
            if len(np.unique(values)) >= MIN_STEPS:
                by_lead[lead, np.ascontiguousarray(values).tobytes()].append(row)
    shared = defaultdict(int)
    for rows in by_lead.values():
        for first, second in itertools.pairwise(rows):
            shared[first, second] += 1
    return _joined(pair for pair, leads in shared.items() if leads >= MIN_LEADS)


def _joined(pairs):
    """Groups of what pairs connect."""
    group = {}
    for first, second in pairs:
        members = group.get(first, [first]) + group.get(second, [second])
        group |= dict.fromkeys(members, members)
    return sorted({id(members): sorted(set(members)) for members in group.values()}.values())


def across_patients(groups: Sequence[Sequence[int]], patients: np.ndarray) -> list[list[int]]:
    """The groups whose records belong to more than one patient."""
    return [list(rows) for rows in groups if len(np.unique(patients[rows])) > 1]


def join_patients(table: pd.DataFrame, groups: Sequence[Sequence[int]]) -> pd.DataFrame:
    """The table with one patient_id, the smallest, and its strat_fold for all records of patients
    who share a recording.
    """
    patients = table["patient_id"].to_numpy().copy()
    folds = table["strat_fold"].to_numpy().copy()
    for rows in groups:
        everyone = np.unique(patients[rows])
        theirs = np.isin(patients, everyone)
        folds[theirs] = folds[patients == everyone[0]][0]
        patients[theirs] = everyone[0]
    return table.assign(patient_id=patients, strat_fold=folds)


def in_words(table: pd.DataFrame, groups: Sequence[Sequence[int]]) -> str:
    """Which records are the same, with the folds they are in."""
    folds = table["strat_fold"].to_numpy()
    described = []
    for rows in groups:
        same = [f"{table.index[row]} (fold {folds[row]:g})" for row in rows]
        described.append(" = ".join(same))
    return "; ".join(described)
