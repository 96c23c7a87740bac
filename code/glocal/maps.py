"""Glocal maps: how much relevance a patient group's model output places on each lead x segment,
with intervals.

M[l, k] = sum_t |a(t, l)| s(t, l, k) / sum_t s(t, l, k) per record, with attribution a and soft
segments s (Wagner et al. 2024); a group's map is the mean over its records. Beside this density
stands the share of a record's whole relevance that falls into the cell, which adds up to 1 over the
cells.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from attribution.cells import TOP, CellMaps, density, relative_density, shares
from common.intervals import mean_intervals
from common.labels import LEADS
from common.stats import patient_weights, permutation_p
from ecg.segments import SEGMENTS

# ---------------------------------------------------------------- one group


def group_mean(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean over the records that have the cell: (n, ...) -> (...), or (R, ...) for weights (R, n).

    NaN only where no record (of non-zero weight) has the cell.
    """
    values = np.ma.asarray(values)
    rows = np.ones((1, len(values))) if weights is None else weights
    there = ~np.ma.getmaskarray(values).reshape(len(values), -1)
    total = rows @ values.filled(0).reshape(len(values), -1)
    count = rows @ there.astype(float)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    mean = mean.reshape(len(rows), *values.shape[1:])
    return mean[0] if weights is None else mean


def group_interval(
    values: np.ma.MaskedArray, patients: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of `group_mean` (common.intervals.mean_intervals); `weights` (R, n) are
    resamples of the patients.

    NaN for cells that fewer than five patients have: they say little of the spread between
    patients.
    """
    return mean_intervals(np.ma.filled(values, np.nan), patients, weights=weights)


def ranks(mean: np.ndarray) -> np.ndarray:
    """1 for the cell of highest value, NaN for NaN; ties by lead, then segment."""
    flat = mean.ravel()
    order = np.argsort(np.where(np.isfinite(flat), -flat, np.inf), kind="stable")
    ranked = np.empty(flat.size)
    ranked[order] = np.arange(1, flat.size + 1)
    return np.where(np.isfinite(flat), ranked, np.nan).reshape(mean.shape)


def cell_ranks(maps: CellMaps) -> np.ndarray:
    """Ranks (12, 24) of the group's densities, NaN for cells that fewer than half of its records
    have.
    """
    return ranks(np.where(maps.common, group_mean(density(maps)), np.nan))


def top_frequency(maps: CellMaps, weights: np.ndarray) -> np.ndarray:
    """How often each cell (12, 24) is among the TOP ones over bootstrap `weights` (R, n) of the
    patients.
    """
    hits = np.zeros(maps.time.shape[1:])
    for resampled in group_mean(density(maps), weights):
        hits += ranks(np.where(maps.common, resampled, np.nan)) <= TOP
    return hits / len(weights)


def segment_table(
    maps: CellMaps,
    n_resamples: int = 1000,
    seed: int = 0,
    jittered: Sequence[CellMaps] = (),
) -> pd.DataFrame:
    """The group's map as a tidy table, one row per lead and segment.

    density, low, high: mean of M with its 95 % interval over patients; share, share_low,
    share_high: of all relevance; signed, signed_low, signed_high: the same as density without the
    modulus; time_share: the cell's part of lead x time (what an even map would have as its share);
    rank by density among the cells that half of the records have; top5: part of the resamples that
    have the cell in the top 5; n_records that have the cell. Intervals need five patients.
    rank_stability: share of the `jittered` maps (attribution/jitter.py: boundaries moved by what
    they are uncertain by) in which the cell stays among the first five, or outside of them;
    rank_low, rank_high: the 5th and 95th percentile of its rank there; blank without jitters.
    """
    weights = patient_weights(maps.patients, n_resamples, seed).astype(float)
    columns = {
        "lead": np.repeat(LEADS, len(SEGMENTS)),
        "segment": np.tile(SEGMENTS, len(LEADS)),
    }
    for name, values in _mapped(maps).items():
        low, high = group_interval(values, maps.patients, weights)
        prefix = "" if name == "density" else f"{name}_"
        columns |= {name: group_mean(values), f"{prefix}low": low, f"{prefix}high": high}
    columns["time_share"] = group_mean(shares(maps.time))
    columns["rank"] = cell_ranks(maps)
    columns["top5"] = top_frequency(maps, weights)
    columns["n_records"] = (~np.ma.getmaskarray(density(maps))).sum(axis=0)
    columns |= _stability(maps, jittered, columns["rank"])
    table = pd.DataFrame({name: values.ravel() for name, values in columns.items()})
    table["rank"] = table["rank"].astype("Int64")
    first = ["lead", "segment", "density", "share", "low", "high", "rank"]
    return table[[*first, *(name for name in table if name not in first)]]


def _stability(maps, jittered, rank):
    """The columns rank_stability, rank_low and rank_high, (12, 24) each."""
    names = ("rank_stability", "rank_low", "rank_high")
    if not len(jittered):
        return dict.fromkeys(names, np.full(rank.shape, np.nan))
    from attribution.jitter import rank_stability  # where jitters were asked for

    means = [group_mean(density(moved)) for moved in jittered]
    moved_ranks = np.stack([ranks(np.where(maps.common, mean, np.nan)) for mean in means])
    worst = np.where(np.isfinite(moved_ranks), moved_ranks, rank.size)  # the cell was lost
    low, high = np.quantile(worst, (0.05, 0.95), axis=0)
    known = np.isfinite(rank)
    return {
        "rank_stability": rank_stability(rank, moved_ranks),
        "rank_low": np.where(known, low, np.nan),
        "rank_high": np.where(known, high, np.nan),
    }


def _mapped(maps):
    unexplained = np.broadcast_to(~maps.explained[:, None, None], maps.time.shape)
    share = np.ma.MaskedArray(shares(maps.relevance), mask=unexplained)
    return {"density": density(maps), "share": share, "signed": density(maps, signed=True)}


# ---------------------------------------------------------------- two groups


def patient_means(
    values: np.ma.MaskedArray, patients: np.ndarray
) -> tuple[np.ma.MaskedArray, np.ndarray]:
    """One map per patient, the mean over their records; (patients, ...) and the patients in that
    order.
    """
    who, index = np.unique(patients, return_inverse=True)
    belongs = (index == np.arange(len(who))[:, None]).astype(float)  # (patients, n)
    mean = group_mean(values, belongs)
    return np.ma.masked_invalid(mean), who


def contrast(
    first: CellMaps, second: CellMaps, n_permutations: int = 10_000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Difference of two groups' mean relative densities per cell, tested by permuting the group
    over patients: the difference over its standard error (Welch's t), which holds its level for
    means where the groups' spreads differ (Janssen, Stat Probab Lett 36 (1997) 9).

    Each patient counts once, with the mean of their records; patients who are in both groups are
    left out and counted. Returns first, second (NaN where nobody has the cell), difference, p
    (two-sided, floor 1 / (1 + n_permutations); NaN for cells that fewer than half of a group's
    records have), each (12, 24), and n_first, n_second, n_both.
    """
    maps, who = zip(
        *(patient_means(relative_density(group), group.patients) for group in (first, second)),
        strict=True,
    )
    both = np.intersect1d(*who)
    alone = [values[~np.isin(names, both)] for values, names in zip(maps, who, strict=True)]
    n_first, n_second = map(len, alone)
    if min(n_first, n_second) < 2:
        raise ValueError(
            f"a contrast needs two patients per group, here are {n_first} and {n_second} "
            f"({len(both)} in both)"
        )
    pooled = np.ma.concatenate(alone)
    mine = np.r_[np.ones(n_first), np.zeros(n_second)][None]
    observed = np.where(first.common & second.common, _difference(pooled, mine)[0], np.nan)
    statistic = np.where(np.isfinite(observed), _studentised(pooled, mine)[0], np.nan)
    members = (
        np.argsort(np.random.default_rng(seed).random((n_permutations, len(pooled))), axis=1)
        < n_first
    )
    null = _studentised(pooled, members.astype(float))
    # a draw that leaves one group without the cell says nothing: it counts against significance
    p = permutation_p(np.abs(statistic), np.where(np.isfinite(null), np.abs(null), np.inf))
    return {
        "first": group_mean(alone[0]),
        "second": group_mean(alone[1]),
        "difference": observed,
        "p": np.where(np.isfinite(statistic), p, np.nan),
        "n_first": n_first,
        "n_second": n_second,
        "n_both": len(both),
    }


def _difference(values, members):
    """Mean of the members less mean of the others, (R, 12, 24) for members (R, n) of 0 and 1."""
    return group_mean(values, members) - group_mean(values, 1 - members)


def _studentised(values, members):
    """`_difference` over its standard error (Welch); infinite where a group has no spread and the
    means differ, NaN where fewer than two of a group have the cell.
    """
    shape = values.shape[1:]
    there = ~np.ma.getmaskarray(values).reshape(len(values), -1)
    filled = values.filled(0).reshape(len(values), -1)
    centred = np.where(there, filled - filled.sum(axis=0) / np.maximum(there.sum(axis=0), 1), 0)
    means, errors = [], 0.0
    for chosen in (members, 1 - members):
        count = chosen @ there
        with np.errstate(divide="ignore", invalid="ignore"):
            means.append(chosen @ centred / count)
            spread = np.maximum(chosen @ centred**2 / count - means[-1] ** 2, 0)
            errors = errors + spread / (count - 1)
    difference, error = means[0] - means[1], np.sqrt(errors)
    none = error <= 1e-9 * np.abs(difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(none, np.sign(difference) * np.inf, difference / error)
    found[(difference == 0) & none] = 0
    return found.reshape(len(members), *shape)
