"""The same recording under different names: PTB-XL has some, in part of different patients and
folds (ecg_id 140 = 1370, 145 = 463).

A model is then tested on what it was trained on. Copies differ in a few samples of some leads, so
whole records are not compared but leads: samples to the microvolt, from their first differences, so
that an offset does not matter.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd

from records.stored import leads_there

MIN_LEADS = 2  # equal in all samples: no two recordings have that by chance
CHUNK = 64  # records at a time
MIN_STEPS = 20  # different steps that a lead must take: a flat lead is like any other


def same_recordings(signals: np.ndarray) -> list[list[int]]:
    """Groups of rows of signals (N, T, 12) in mV that hold the same recording, each sorted.

    A lead's steps are summed with random weights, modulo 2^64: leads with one sum are compared
    sample by sample, so that a sum that two leads share by chance joins nothing.
    """
    weights = np.random.default_rng(0).integers(1, 2**63, signals.shape[1] - 1, dtype=np.uint64)
    sums = np.zeros((len(signals), signals.shape[2]), dtype=np.uint64)
    needed = min(MIN_LEADS, int(leads_there(signals[:1]).sum()))
    for first in range(0, len(signals), CHUNK):
        sums[first : first + CHUNK] = _sums(signals[first : first + CHUNK], weights)
    shared = defaultdict(int)
    for lead, column in enumerate(sums.T):
        for one, two in _neighbours(column):
            if _moves_alike(signals[one, :, lead], signals[two, :, lead]):
                shared[one, two] += 1
    return _joined(pair for pair, leads in shared.items() if leads >= needed)


def _steps(signals):
    """Differences of neighbouring samples, whole microvolts; 0 in a lead that is not there."""
    return np.diff(np.rint(1000 * np.nan_to_num(signals)).astype(np.int32), axis=-2)


def _sums(signals, weights):
    """(n, T, leads) -> (n, leads)"""
    steps = _steps(signals).astype(np.int64).view(np.uint64)
    return np.einsum("ntl,t->nl", steps, weights)


def _neighbours(column):
    """Rows whose sums are equal, in pairs of those next to each other; a still lead's is 0."""
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    equal = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
    return [(int(order[k]), int(order[k + 1])) for k in np.flatnonzero(equal)]


def _moves_alike(one, two):
    """Whether two leads (T,) take the same steps, and enough different ones."""
    first, second = _steps(one[:, None]), _steps(two[:, None])
    return np.array_equal(first, second) and len(np.unique(first)) >= MIN_STEPS


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
