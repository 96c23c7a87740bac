"""Agreement: do methods agree on a model, and does a method agree with itself over models trained
from other seeds?

Per record: rank correlation of the maps' sizes, sample by sample and over the lead x segment cells.
Glocal: rank correlation of the mean cell map of a class's records, with an interval over patients.
Chance: maps of different patients (per record), maps of different classes (glocal).
"""

from itertools import combinations

import numpy as np
import pandas as pd

from common.stats import patient_weights, percentile_interval
from sanity.agreement import agreement_between, cell_means, flat, rank_correlation
from sanity.subject import COLUMNS, CONTROLS, Measured, Subject

N_GLOCAL = 200  # resamples of patients behind the glocal interval
MIN_RECORDS = 5  # of a class for a glocal map


def measure_between_methods(
    subject: Subject, maps: dict[str, np.ndarray]
) -> tuple[dict[str, list[Measured]], pd.DataFrame]:
    """Each method's mean agreement with the others (controls and itself left out), and the table of
    all pairs.
    """
    views = {
        "samples": maps,
        "cells": {name: cell_means(one, subject.segments) for name, one in maps.items()},
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
        stacks = maps if view == "samples" else [cell_means(one, subject.segments) for one in maps]
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


def glocal_agreement(
    subject: Subject, maps: list[np.ndarray], method: str, seed: int = 0
) -> pd.DataFrame:
    """Rows of checks.csv: rank correlation of the classes' mean cell maps over seeds, mean over
    classes and pairs of models.

    The interval is that of resampled means, which are noisier than the whole: the value itself may
    lie above it.
    """
    classes = [
        target
        for target in np.unique(subject.target)
        if (subject.target == target).sum() >= MIN_RECORDS
    ]
    if not classes:
        return pd.DataFrame(columns=COLUMNS)
    cells = [np.nan_to_num(flat(cell_means(one, subject.segments))) for one in maps]
    weights = np.vstack([np.ones(len(subject)), patient_weights(subject.patients, N_GLOCAL, seed)])
    # (models, classes, 1 + resamples, cells)
    means = np.stack(
        [
            [_weighted_means(one, weights * (subject.target == target)) for target in classes]
            for one in cells
        ]
    )
    same, other = [], []
    for first, second in combinations(range(len(maps)), 2):
        for a in range(len(classes)):
            same.append(rank_correlation(means[first, a], means[second, a]))
            other += [
                rank_correlation(means[first, a, :1], means[second, b, :1])[0]
                for b in range(len(classes))
                if b != a
            ]
    values = np.mean(same, axis=0)
    chance = float(np.mean(other)) if other else np.nan
    row = (
        "agreement_seeds_glocal",
        method,
        subject.name,
        subject.task,
        values[0],
        *percentile_interval(values[1:]),
        chance,
        len(subject),
    )
    return pd.DataFrame([row], columns=COLUMNS)


def _weighted_means(cells, weights):
    total = weights.sum(axis=1, keepdims=True)
    return weights @ cells / np.where(total > 0, total, 1)
