"""How alike are two maps? Rank correlation per record, against the likeness of maps of different
patients.

`agreement_between` compares two methods on one model, or one method on two models (seeds). Its
chance is computed by shifting the records against each other: what two maps share because all ECGs
look alike is no agreement about *this* patient.

Per record: rank correlation of the maps' sizes, sample by sample and over the lead x segment cells.
Glocal: rank correlation of the mean cell map of a class's records.
Chance: maps of different patients (per record), maps of different classes (glocal).
"""

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import scipy  # see rpeaks.py

from attribution.cells import cell_maps, density
from common.stats import mean_of_known
from common.words import CONTROLS
from sanity.subject import COLUMNS, Measured, Subject


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) Spearman correlation of the rows of two arrays (n, D).

    Where one of two rows is constant the correlation is 0 (it holds no order to agree with), where
    both are it is 1.
    """
    ranks = [scipy.stats.rankdata(values, axis=1) for values in (first, second)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    lengths = [np.sqrt((rank**2).sum(axis=1)) for rank in centred]
    constant = [length < 1e-9 for length in lengths]
    product = np.where(constant[0] | constant[1], 1.0, lengths[0] * lengths[1])
    return np.where(constant[0] & constant[1], 1.0, (centred[0] * centred[1]).sum(axis=1) / product)


def masked_correlation(first: np.ndarray, second: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,) rank correlation of the rows over the entries `known` (n, D); NaN for a row with fewer
    than 3.
    """
    found = np.full(len(first), np.nan)
    for row in np.flatnonzero(known.sum(axis=1) >= 3):
        found[row] = rank_correlation(
            first[row : row + 1, known[row]], second[row : row + 1, known[row]]
        )[0]
    return found


def flat(maps: np.ndarray) -> np.ndarray:
    """(n, D) rows of a stack of maps."""
    return maps.reshape(len(maps), -1)


def partners_of(patients: np.ndarray, n: int = 1) -> np.ndarray:
    """(n, records) rows of other patients for each record, the next ones in turn; -1 where there is
    no further patient.
    """
    found = np.full((n, len(patients)), -1)
    for row, patient in enumerate(patients):
        others = (row + 1 + np.arange(len(patients))) % len(patients)
        strangers = others[patients[others] != patient]
        _, first = np.unique(patients[strangers], return_index=True)
        chosen = strangers[np.sort(first)][:n]
        found[: len(chosen), row] = chosen
    return found


def agreement_between(
    first: np.ndarray, second: np.ndarray, patients: np.ndarray
) -> tuple[np.ndarray, float]:
    """Rank correlation per record of the size of two stacks of maps (n, ...), and its chance
    between patients (NaN where there is one patient alone).

    Entries that are NaN (cells that a record does not have) do not count: that both lack them is no
    agreement.
    """
    first, second = flat(np.abs(first)), flat(np.abs(second))
    somewhere = np.isfinite(first).any(axis=0) & np.isfinite(second).any(axis=0)
    first, second = first[:, somewhere], second[:, somewhere]
    partner = partners_of(patients)[0]
    apart = partner >= 0
    values = _known_correlation(first, second)
    chance = _known_correlation(first[apart], second[partner[apart]])
    return values, float(mean_of_known(chance))


def _known_correlation(first, second):
    """(n,) rank correlation of the rows over the entries that both have."""
    known = np.isfinite(first) & np.isfinite(second)
    if known.all():
        return rank_correlation(first, second)
    return masked_correlation(first, second, known)


def cell_means(subject: Subject, maps: np.ndarray) -> np.ndarray:
    """Mean size of maps (n, T, 12) per lead x segment cell, (n, 12, 24): NaN for cells that a
    record does not have, 0 in all others for a map that is zero everywhere.
    """
    cells = cell_maps(maps, subject.segments, subject.patients)
    return np.where(cells.filled, density(cells).filled(0), np.nan)


# ---------------------------------------------------------------- methods and seeds

MIN_RECORDS = 5  # of a class for a glocal map


def measure_between_methods(
    subject: Subject, maps: dict[str, np.ndarray]
) -> tuple[dict[str, list[Measured]], pd.DataFrame]:
    """Each method's mean agreement with the others (controls and itself left out), and the table of
    all pairs.
    """
    views = {
        "samples": maps,
        "cells": {name: cell_means(subject, one) for name, one in maps.items()},
    }
    found: dict[str, list[Measured]] = {name: [] for name in maps}
    pairs = []
    for view, stacks in views.items():
        scores = {
            pair: agreement_between(stacks[pair[0]], stacks[pair[1]], subject.patients)
            for pair in combinations(maps, 2)
        }
        pairs += [
            (view, *pair, float(np.nanmean(values)), chance)
            for pair, (values, chance) in scores.items()
        ]
        for name in maps:
            others = [
                scores[pair]
                for pair in scores
                if name in pair and not set(pair) - {name} & set(CONTROLS)
            ]
            if others:
                values, chances = zip(*others, strict=True)
                found[name].append(
                    subject.measured(
                        f"agreement_methods_{view}", np.mean(values, axis=0), np.mean(chances)
                    )
                )
    return found, pd.DataFrame(pairs, columns=["view", "first", "second", "value", "chance"])


def measure_between_seeds(subject: Subject, maps: list[np.ndarray]) -> list[Measured]:
    """Agreement per record of one method's maps on models of different seeds: mean over all pairs
    of models.
    """
    measured = []
    for view in ("samples", "cells"):
        stacks = maps if view == "samples" else [cell_means(subject, one) for one in maps]
        values, chances = zip(
            *(agreement_between(a, b, subject.patients) for a, b in combinations(stacks, 2)),
            strict=True,
        )
        measured.append(
            subject.measured(
                f"agreement_seeds_{view}", np.mean(values, axis=0), np.mean(chances), best=1.0
            )
        )
    return measured


def glocal_agreement(subject: Subject, maps: list[np.ndarray], method: str) -> pd.DataFrame:
    """Rows of checks.csv: rank correlation of the classes' mean cell maps over seeds, mean over
    classes and pairs of models.

    No interval: the correlation of mean maps falls with the noise of the means, and resampled means
    are noisier than the whole, so that their range may hold neither this value nor that of more
    records (tests/benchmarks/bench_intervals.py correlation).
    """
    classes = [
        target
        for target in np.unique(subject.target)
        if (subject.target == target).sum() >= MIN_RECORDS
    ]
    if not classes:
        return pd.DataFrame(columns=COLUMNS)
    cells = np.stack([np.nan_to_num(flat(cell_means(subject, one))) for one in maps])
    # (models, classes, cells)
    means = np.stack(
        [cells[:, subject.target == target].mean(axis=1) for target in classes], axis=1
    )
    same, other = [], []
    for first, second in combinations(range(len(maps)), 2):
        same.append(rank_correlation(means[first], means[second]))
        for a, b in permutations(range(len(classes)), 2):
            other.append(rank_correlation(means[first, [a]], means[second, [b]])[0])
    row = (
        "agreement_seeds_glocal",
        method,
        subject.name,
        subject.task,
        float(np.mean(same)),
        np.nan,
        np.nan,
        float(np.mean(other)) if other else np.nan,
        len(subject),
    )
    return pd.DataFrame([row], columns=COLUMNS)
