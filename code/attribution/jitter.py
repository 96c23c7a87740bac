"""How far maps by lead and segment hang on where the waves' boundaries were put.

A boundary that we or a cardiologist set is known to some 10 to 30 ms. Each jitter moves the onsets
and offsets of P, QRS and T of every record by errors of that size and stretches what lies between
them: peaks stay, no boundary passes another point, and all beats of a record move alike (they share
their marks). Of the error's variance a third is common to the leads of a record, the rest each
lead's own, as found on LUDB (.2 to .4 by boundary).

    moved = jittered_maps(maps, attributions, segments, sd, ecg_ids, n_jitters)   # list of CellMaps
    rank_stability(ranks, [ranks of every moved map])
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attribution.cells import TOP, CellMaps
from ecg.segments import POINTS

BOUNDARIES = ("P-Onset", "P-Offset", "QRS-Onset", "QRS-Offset", "T-Onset", "T-Offset")
FOLLOWS = {"J-point": "QRS-Offset"}  # moves as that one does
COMMON_TO_LEADS = 1 / 3  # of the variance
KEPT = 0.25  # of a wave's half: no error is so large that it vanishes


def jittered_maps(
    maps: CellMaps,
    attributions: np.ndarray,
    segments: np.ndarray,
    sd: np.ndarray,
    ecg_ids: Sequence[int],
    n_jitters: int,
    coverage: np.ndarray | None = None,
    seed: int = 0,
) -> list[CellMaps]:
    """The cell sums of records under `n_jitters` draws of their boundaries' errors.

    maps          cell_maps() of the same arguments
    attributions  # (n, T, 12);  segments # (n, T, 12, 24);  coverage # (T,), as for cell_maps
    sd            # (n, 6) samples: SD of each of BOUNDARIES
    ecg_ids       (n,) with the seed they decide the draws: the same whatever records lie beside

    `signed` is not made anew: it holds the undisturbed sums.
    """
    if coverage is not None:
        attributions = attributions / np.where(coverage > 0, coverage, np.nan)[:, None]
    relevance = np.empty((n_jitters, *maps.relevance.shape))
    time = np.empty_like(relevance)
    for row, ecg_id in enumerate(ecg_ids):
        rng = np.random.default_rng([seed, int(ecg_id)])
        errors = _errors(rng, sd[row], n_jitters, segments.shape[2])
        places = _stretched(segments[row], errors)
        relevance[:, row], time[:, row] = _sums(attributions[row], segments[row], places)
    moved = zip(relevance, time, strict=True)
    return [replace(maps, relevance=one, time=its_time) for one, its_time in moved]


def _errors(rng, sd, n_jitters, n_leads):
    """Errors in samples (n_jitters, leads, 6)."""
    common = rng.standard_normal((n_jitters, 1, len(sd)))
    own = rng.standard_normal((n_jitters, n_leads, len(sd)))
    return (np.sqrt(COMMON_TO_LEADS) * common + np.sqrt(1 - COMMON_TO_LEADS) * own) * sd


def points_of(segments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the points of one lead (T, 24) lie: times in samples, ascending, and which of POINTS.

    Each is the middle of a hump of its class; humps are a few samples wide.
    """
    shares = segments[:, 0::2].astype(float)
    padded = np.pad(shares, ((1, 1), (0, 0)))
    before, here, after = padded[:-2], padded[1:-1], padded[2:]
    sample, point = np.nonzero((here > before) & (here >= after))
    weights = np.stack([values[sample, point] for values in (before, here, after)])
    middle = sample + (weights[2] - weights[0]) / weights.sum(axis=0)
    order = np.argsort(middle, kind="stable")
    return middle[order], point[order]


def _stretched(segments, errors):
    """Where in the undisturbed segments (T, 12, 24) each sample lies, (n_jitters, 12, T)."""
    n_samples, n_leads, _ = segments.shape
    clock = np.arange(n_samples, dtype=float)
    moves = np.array([_column(point) for point in POINTS])
    places = np.empty((len(errors), n_leads, n_samples))
    for lead in range(n_leads):
        knots, point = points_of(segments[:, lead])
        shifts = np.where(moves[point] >= 0, errors[:, lead, moves[point]], 0.0)
        moved = _in_order(knots, shifts, moves[point] < 0)
        ends = [0.0, n_samples - 1.0]
        for number, at in enumerate(moved):
            inside = (at > 0) & (at < n_samples - 1)
            places[number, lead] = np.interp(
                clock, [0.0, *at[inside], ends[1]], [0.0, *knots[inside], ends[1]]
            )
    return places


def _column(point):
    """Which of BOUNDARIES a point moves with, -1 for a peak."""
    name = FOLLOWS.get(point, point)
    return BOUNDARIES.index(name) if name in BOUNDARIES else -1


def _in_order(knots, shifts, fixed):
    """Moved knots (n_jitters, points) that do not pass each other, and keep KEPT of their distance
    to the fixed ones beside them.
    """
    held = np.where(fixed, knots, np.nan)
    before = np.fmax.accumulate(held)
    after = np.fmin.accumulate(held[::-1])[::-1]
    lowest, highest = before + KEPT * (knots - before), after - KEPT * (after - knots)
    moved = np.fmin(np.fmax(knots + shifts, lowest), highest)
    return np.maximum.accumulate(moved, axis=1)


def _sums(attribution, segment, places):
    """Sums of |a| s and of s, (n_jitters, 12, 24) each, of one record with each sample's segments
    taken from its place: the samples' weights are laid down there, then summed by segment at once.
    """
    n_jitters, n_leads, n_samples = places.shape
    known = np.isfinite(attribution).T
    size = np.abs(np.where(known, attribution.T, 0.0))
    first = np.minimum(places.astype(int), n_samples - 2)
    share = places - first
    rows = np.arange(n_jitters * n_leads).reshape(n_jitters, n_leads, 1) * n_samples
    index = (rows + first).ravel()
    laid = []
    for weight in (size, known):
        values = np.broadcast_to(weight, places.shape)
        near, far = (values * (1 - share)).ravel(), (values * share).ravel()
        total = np.bincount(index, near, n_jitters * n_leads * n_samples)
        total[1:] += np.bincount(index, far, len(total))[:-1]
        laid.append(total.reshape(n_jitters, n_leads, n_samples))
    weights = np.concatenate(laid).transpose(1, 0, 2)  # (12, 2 n_jitters, T)
    by_segment = np.matmul(weights, segment.transpose(1, 0, 2).astype(float)).transpose(1, 0, 2)
    return by_segment[:n_jitters], by_segment[n_jitters:]


def rank_stability(ranks: np.ndarray, jittered: Sequence[np.ndarray], top: int = TOP) -> np.ndarray:
    """Share of the jitters in which a cell stays on its side of the first `top`: among them where
    its rank is at most `top`, outside of them else. NaN where the cell has no rank.

    ranks  # (...,);  jittered  ranks of the same cells under each jitter (NaN: outside)
    """
    inside = ranks <= top
    same = np.mean([(other <= top) == inside for other in jittered], axis=0)
    return np.where(np.isfinite(ranks), same, np.nan)
