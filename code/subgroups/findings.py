"""What discovery finds in a cohort: clusters per representation, what they agree with, and what
separates them.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
from torch import nn

from common.files import UserError
from common.intervals import mean_with_interval
from common.labels import LABEL_MAPPINGS, LEADS
from common.stats import holm, permutation_p
from ecg.segments import SEGMENTS
from networks.distributed import shared
from networks.inference import predict
from subgroups.clusters import (
    METRICS,
    Structure,
    agreement,
    best_naming,
    cross_fit,
    enrichment,
    find_structure,
    fit_clusters,
    fit_space,
    paired_difference,
    permuted_tables,
    replication,
    score,
)
from subgroups.cohort import Cohort
from subgroups.representations import Material

# adjusted mutual information with the predicted class from which clusters are said to follow it
FOLLOWS = 0.5
MOST_CELLS = 10  # of a representation in cells.csv
MIN_CARRIERS = 5  # records that must carry, and lack, a statement for it to be tested


@dataclass(frozen=True)
class Design:
    """Which records clusters are fitted on and which are reported.

    fitted, reported  # (n,) bool
    crossed           every record assigned by a fit on the other folds
    """

    fitted: np.ndarray
    reported: np.ndarray
    crossed: bool
    words: str


@dataclass(frozen=True)
class Found:
    """Clusters of one representation: their number, each record's cluster, and what the search for
    structure said.
    """

    k: int
    clusters: np.ndarray
    structure: Structure
    words: str


@dataclass(frozen=True)
class Traits:
    """What is known of each record besides cohort membership.

    predicted  # (n,) name of the output with the highest logit
    names      of the columns of values
    values     # (n, m) 0/1, NaN where unknown
    """

    predicted: np.ndarray
    names: list[str]
    values: np.ndarray


@dataclass(frozen=True)
class Discovered:
    """A cohort that was explained for the output `target`, described (features (n, D) by
    representation) and clustered.
    """

    cohort: Cohort
    design: Design
    material: Material
    target: str
    traits: Traits
    features: dict[str, np.ndarray]
    found: dict[str, Found]


# the kept epoch is the best one on fold 9: the network does better there than on fresh records
VALIDATION_NOTE = " (fold 9 chose the network's epoch; --folds 10 leaves it out)"


def choose_folds(
    cohort: Cohort, report_folds: Sequence[int], train_folds: Sequence[int], min_records: int
) -> Design:
    """Fit on the training folds and report on `report_folds`, or cross-fit where the latter hold
    too few records.
    """
    fold = cohort.data.fold
    reported = np.isin(fold, report_folds)
    fitted = np.isin(fold, train_folds) & ~reported
    per_label = [int((reported & (cohort.labels == name)).sum()) for name in cohort.names]
    if reported.sum() >= min_records and min(per_label) >= 10 and fitted.sum() >= min_records:
        folds = ", ".join(map(str, report_folds))
        return Design(
            fitted,
            reported,
            False,
            f"fitted on {int(fitted.sum())} records, reported on {int(reported.sum())} of fold "
            f"{folds}{VALIDATION_NOTE if 9 in report_folds else ''}",
        )
    if len(np.unique(fold)) < 2 or len(fold) < 20:
        raise UserError(
            f"{len(fold)} records in {len(np.unique(fold))} folds are too few to fit and report "
            "apart: widen --cohort"
        )
    everyone = np.ones(len(fold), dtype=bool)
    seen = "the network has seen folds " + " ".join(map(str, train_folds))
    if not len(train_folds):  # trained elsewhere
        seen = "which of them the network has seen is not known"
    return Design(
        everyone,
        everyone,
        True,
        f"{int(reported.sum())} in the reported folds, cross-fitted over all folds "
        f"(n = {len(fold)}; {seen})",
    )


def assign_clusters(
    features: np.ndarray, cohort: Cohort, design: Design, args: argparse.Namespace
) -> Found:
    """Number of clusters and the cluster of every record, for one representation."""
    patients = cohort.data.patient_id
    structure = find_structure(
        features[design.fitted],
        patients[design.fitted],
        args.k_max,
        args.n_halvings,
        seed=args.seed,
        variance=args.variance,
    )
    k = args.k or (len(cohort.names) if cohort.hidden_labels else structure.k)
    words = f"no subgroups (p = {structure.p:.3f})"
    if structure.k > 1:
        stable = structure.stability[structure.k]
        words = f"{structure.k} subgroups (p = {structure.p:.3f}, stability {stable:.2f})"
    if k == 1:
        return Found(1, np.zeros(len(features), dtype=int), structure, words)
    return Found(k, clusters_into(k, features, cohort, design, args), structure, words)


def clusters_into(
    k: int, features: np.ndarray, cohort: Cohort, design: Design, args: argparse.Namespace
) -> np.ndarray:
    """(n,) cluster of every record where there are `k`, as the design fits and assigns them."""
    options = {"clusterer": args.clusterer, "seed": args.seed, "variance": args.variance}
    if design.crossed:
        return cross_fit(features, cohort.data.fold, k, **options)
    return fit_clusters(features[design.fitted], k, **options)(features)


def traits_of(cohort: Cohort, model: nn.Module) -> Traits:
    """Predicted class, sex, age, and every other statement that enough records carry and lack."""
    data = cohort.data
    predicted = np.array(model.info.labels)[predict(model, data.signals).argmax(axis=1)]
    names, columns = [], []
    if "sex" in data.table:
        names, columns = ["female"], [data.table["sex"].to_numpy(dtype=float)]
    if "age" in data.table and data.table["age"].notna().any():
        age = data.table["age"].to_numpy(dtype=float)
        middle = np.nanmedian(age)
        names.append(f"age >= {middle:.0f}")
        columns.append(np.where(np.isfinite(age), age >= middle, np.nan))
    for label in np.unique(predicted):
        names.append(f"predicted {label}")
        columns.append((predicted == label).astype(float))
    statements = _other_statements(cohort)
    kept = [
        (name, values)
        for name, values in [*zip(names, columns, strict=True), *statements]
        if min(np.nansum(values), np.nansum(1 - values)) >= MIN_CARRIERS
    ]
    return Traits(
        predicted,
        [name for name, _ in kept],
        np.stack([values for _, values in kept], axis=1) if kept else np.empty((len(data), 0)),
    )


def _other_statements(cohort):
    """SCP statements of the cohort's records other than the cohort's own names."""
    return [
        (name, cohort.statements[:, column].astype(float))
        for column, name in enumerate(LABEL_MAPPINGS["all"])
        if name not in cohort.names
    ]


def judge_clusters(
    found: dict[str, Found],
    features: dict,
    cohort: Cohort,
    design: Design,
    traits: Traits,
    args: argparse.Namespace,
) -> list[dict]:
    """Rows of table.csv: representation, metric, value, low, high, chance, p, n, n_patients; the
    processes share the representations.
    """
    rows = design.reported
    whose = cohort.data.patient_id
    labels, patients = cohort.labels[rows], whose[rows]

    def rows_of(name):
        result = found[name]
        own = list(_structure_rows(result, design, cohort))
        if result.k > 1:
            clusters = result.clusters[rows]
            if cohort.hidden_labels:
                own += agreement(clusters, labels, patients, args.n_resamples, args.seed)
                own.append(_majority(labels, patients))
            fitted, fitted_patients = features[name][design.fitted], whose[design.fitted]
            own.append(_replication(fitted, fitted_patients, result.k, args))
            own += _follows_prediction(clusters, traits.predicted[rows], labels, patients, args)
        return [{"representation": name, **row} for row in own]

    of_each = shared(found, rows_of)
    judged = list(chain.from_iterable(of_each))
    if cohort.hidden_labels and "signal" in found:
        signal = found["signal"].clusters[rows]
        others = [name for name in found if name != "signal"]
        for name, metric in product(others, ("accuracy", "ari")):
            difference = paired_difference(
                found[name].clusters[rows],
                signal,
                labels,
                patients,
                metric,
                args.n_resamples,
                args.seed,
            )
            judged.append({"representation": f"{name} - signal", **difference})
    return judged


def _structure_rows(result, design, cohort):
    n, patients = int(design.fitted.sum()), len(np.unique(cohort.data.patient_id[design.fitted]))
    yield {
        "metric": "subgroups",
        "value": result.structure.k,
        "p": result.structure.p,
        "n": n,
        "n_patients": patients,
    }
    for k, stability in result.structure.stability.items():
        yield {
            "metric": f"stability k={k}",
            "value": stability,
            "p": result.structure.p_by_k[k],
            "n": n,
            "n_patients": patients,
        }


def _replication(features, patients, k, args):
    points = fit_space(features, args.variance).transform(features)
    return replication(points, patients, k, clusterer=args.clusterer, seed=args.seed)


def _majority(labels, patients):
    """Accuracy of naming every record after the largest class."""
    largest = max(np.unique(labels), key=lambda name: (labels == name).sum())
    value, low, high = mean_with_interval(labels == largest, patients)
    return {
        "metric": "majority",
        "value": float(value),
        "low": float(low),
        "high": float(high),
        "n": len(labels),
        "n_patients": len(np.unique(patients)),
    }


def _follows_prediction(clusters, predicted, labels, patients, args):
    """How far the clusters are the predicted classes over again, and what agreement is left among
    records predicted alike.
    """
    value = score("ami", clusters, predicted)
    null = METRICS["ami"](
        permuted_tables(clusters, predicted, patients, args.n_resamples, args.seed)
    )
    yield {
        "metric": "ami with predicted class",
        "value": value,
        "chance": null.mean(),
        "p": permutation_p(value, null),
        "n": len(clusters),
        "n_patients": len(np.unique(patients)),
        "note": "clusters follow the predicted class" if value >= FOLLOWS else "",
    }
    alike = predicted == max(np.unique(predicted), key=lambda name: (predicted == name).sum())
    if len(np.unique(labels[alike])) > 1:  # else there is nothing left to agree with
        yield {
            "metric": "ari among records predicted alike",
            "value": score("ari", clusters[alike], labels[alike]),
            "n": int(alike.sum()),
            "n_patients": len(np.unique(patients[alike])),
            "note": f"predicted {predicted[alike][0]}",
        }


def what_separates(
    found: dict[str, Found],
    cohort: Cohort,
    design: Design,
    traits: Traits,
    args: argparse.Namespace,
) -> list[dict]:
    """Rows of enrichment.csv, Holm-corrected over traits within a representation."""
    rows, judged = design.reported, []
    for name, result in found.items():
        if result.k == 1 or not traits.names:
            continue
        own = enrichment(
            result.clusters[rows],
            traits.values[rows],
            traits.names,
            cohort.data.patient_id[rows],
            seed=args.seed,
        )
        corrected = holm([row["p"] for row in own])
        judged += [
            {"representation": name, **row, "p_holm": p, "family": len(own)}
            for row, p in zip(own, corrected, strict=True)
        ]
    return sorted(
        judged, key=lambda row: (row["representation"], row["p_holm"], -row["difference"])
    )


def cells_that_differ(found: dict[str, Found], material: Material, design: Design) -> list[dict]:
    """The MOST_CELLS lead x segment cells whose relevance differs most between clusters, by
    standardised difference; rows of cells.csv.
    """
    judged = []
    for name, result in found.items():
        groups = [
            material.density[design.reported & (result.clusters == cluster)]
            for cluster in range(result.k)
        ]
        if result.k == 1 or min(map(len, groups)) < 2:
            continue
        judged += [{"representation": name, **row} for row in _largest_cells(groups)]
    return judged


def _largest_cells(groups):
    """Cells by the difference of the clusters' means over their pooled standard deviation; a cell
    all lack counts as 0.
    """
    filled = [np.where(np.isfinite(group).any(axis=0), group, 0) for group in groups]
    means = np.stack([np.nanmean(group, axis=0) for group in filled])
    spread = np.sqrt(np.mean([np.nanvar(group, axis=0) for group in filled], axis=0))
    least = 0.05 * spread.mean() + 1e-9  # near-constant cells do not win by rounding
    effect = np.ptp(means, axis=0) / np.maximum(spread, least)
    order = np.argsort(-effect, axis=None, kind="stable")[:MOST_CELLS]
    places = zip(*np.unravel_index(order, effect.shape), strict=True)
    for rank, (lead, segment) in enumerate(places, start=1):
        yield {
            "rank": rank,
            "lead": LEADS[lead],
            "segment": SEGMENTS[segment],
            "effect": effect[lead, segment],
            **{f"density_{cluster}": mean[lead, segment] for cluster, mean in enumerate(means)},
        }


def cluster_names(result: Found, cohort: Cohort, design: Design) -> dict[int, str]:
    """Names for legends: the hidden label a cluster holds most of, or its number where it holds
    none.
    """
    numbers = {cluster: str(cluster) for cluster in range(result.k)}
    if not cohort.hidden_labels:
        return numbers
    return numbers | best_naming(
        result.clusters[design.reported], cohort.labels[design.reported], cohort.names
    )
