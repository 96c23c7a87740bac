"""Subgroups of records in a space of features: found, assigned to others, and tested for being
real.

A space is fitted by one rule for every representation (principal components up to a share of the
variance), clusters are fitted on one set of records and assigned to another, and whether there is
more than one group at all is tested on patients that the clusters were not fitted to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy  # see rpeaks.py
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import PCA
from sklearn.metrics.cluster import expected_mutual_information
from sklearn.mixture import GaussianMixture

from common.files import UserError
from common.intervals import difference_interval, effective_patients, share_interval
from common.stats import patient_weights, permutation_p
from subgroups.dip import dip_p

ALPHA = 0.05
Assign = Callable[[np.ndarray], np.ndarray]  # points (n, d) -> cluster of each (n,)


# ---------------------------------------------------------------- space and clusters


def fit_space(features: np.ndarray, variance: float = 0.8, max_components: int = 20) -> PCA:
    """Principal components that hold `variance` of the variance of (n, d), `max_components` at the
    most.
    """
    if len(features) < 3:
        raise UserError(
            f"{len(features)} records are too few to fit a space: widen the cohort or the folds"
        )
    # both exact; whichever of records and features are fewer decides which is quicker, by an order
    solver = "full" if len(features) < features.shape[1] else "covariance_eigh"
    most = min(max_components, len(features) - 1, features.shape[1])
    space = PCA(most, svd_solver=solver).fit(features)
    held = np.cumsum(space.explained_variance_ratio_)
    needed = min(int(np.searchsorted(held, variance, side="right")) + 1, most)
    space.components_ = space.components_[:needed]
    space.explained_variance_ = space.explained_variance_[:needed]
    space.n_components_ = needed
    return space


def lloyd(
    clouds: np.ndarray, k: int, rng: np.random.Generator, n_starts: int = 8, n_steps: int = 25
) -> tuple:
    """k-means of many clouds (m, n, d) at once, best of `n_starts` from random records: centres (m,
    k, d), inertia (m,).

    Plain Lloyd on all clouds together, until none changes or for `n_steps`: sklearn's, called once
    per small cloud, spends its time outside the arithmetic.
    """
    squares = (clouds**2).sum(axis=(1, 2))
    best, least = clouds[:, :k].copy(), np.full(len(clouds), np.inf)
    for _ in range(n_starts):
        centres = clouds[:, rng.permutation(clouds.shape[1])[:k]]  # (m, k, d)
        before = None
        for _ in range(n_steps):
            distance = _distance(clouds, centres)
            nearest = distance.argmin(axis=2)  # (m, n)
            if before is not None and np.array_equal(nearest, before):
                break
            before, member = nearest, np.eye(k)[nearest]  # (m, n, k)
            counts = member.sum(axis=1)[..., None]
            centres = np.where(
                counts > 0, member.transpose(0, 2, 1) @ clouds / np.maximum(counts, 1), centres
            )
        inertia = squares + _distance(clouds, centres).min(axis=2).sum(axis=1)
        best = np.where((inertia < least)[:, None, None], centres, best)
        least = np.minimum(least, inertia)
    return best, least


def _distance(clouds, centres):
    """Squared distance of each point to each centre (m, n, k), less the point's own square."""
    return (centres**2).sum(axis=2)[:, None] - clouds @ (2 * centres).transpose(0, 2, 1)


def _to_centres(centres):
    return lambda points: _distance(points[None], centres[None])[0].argmin(axis=1)


def _kmeans(points, k, seed):
    return _to_centres(lloyd(points[None], k, np.random.default_rng(seed))[0][0])


def _mixture(points, k, seed):
    least = 1e-3 * points.var() or 1e-6  # where all records are alike, as maps of zeros are
    mixture = GaussianMixture(k, reg_covar=least, n_init=3, random_state=seed)
    return mixture.fit(points).predict


def _agglomerative(points, k, seed):
    """Ward's tree; other points go to the nearest centre, since a tree itself assigns nothing."""
    found = AgglomerativeClustering(k).fit_predict(points)
    return _to_centres(np.stack([points[found == cluster].mean(axis=0) for cluster in range(k)]))


CLUSTERERS: dict[str, Callable[[np.ndarray, int, int], Assign]] = {
    "kmeans": _kmeans,
    "mixture": _mixture,
    "agglomerative": _agglomerative,
}


def fit_clusters(
    features: np.ndarray, k: int, clusterer: str = "kmeans", seed: int = 0, variance: float = 0.8
) -> Assign:
    """Fit space and clusters on features (n, d); the result assigns any features (m, d) to clusters
    0..k-1.
    """
    if len(features) <= k:
        raise UserError(
            f"{len(features)} records cannot form {k} clusters: widen the cohort or the folds"
        )
    space = fit_space(features, variance)
    assign = CLUSTERERS[clusterer](space.transform(features), k, seed)
    return lambda others: assign(space.transform(others))


def align(clusters: np.ndarray, reference: np.ndarray, k: int) -> np.ndarray:
    """For each cluster number of `clusters`, the number it best agrees with in `reference` (same
    records): (k,).
    """
    agreement = np.zeros((k, k))
    np.add.at(agreement, (clusters, reference), 1)
    return scipy.optimize.linear_sum_assignment(-agreement)[1]


def cross_fit(features: np.ndarray, part: np.ndarray, k: int, **options: object) -> np.ndarray:
    """Cluster of every record, each assigned by a fit on the other parts; numbers aligned to a fit
    on all.

    `part` (n,) must keep a patient's records together (PTB-XL's folds do).
    """
    reference = fit_clusters(features, k, **options)(features)
    clusters = np.empty(len(features), dtype=int)
    for held_out in np.unique(part):
        assigned = fit_clusters(features[part != held_out], k, **options)(features)
        clusters[part == held_out] = align(assigned, reference, k)[assigned[part == held_out]]
    return clusters


# ---------------------------------------------------------------- against labels that were hidden


def contingency(
    clusters: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Records of each cluster and label: (k, c), or (R, k, c) for weights (R, n)."""
    row, column = (
        np.unique(clusters, return_inverse=True)[1],
        np.unique(labels, return_inverse=True)[1],
    )
    pairs = (
        np.eye(row.max() + 1)[row][:, :, None] * np.eye(column.max() + 1)[column][:, None]
    )  # (n, k, c)
    if weights is None:
        return pairs.sum(axis=0)
    return (weights @ pairs.reshape(len(pairs), -1)).reshape(len(weights), *pairs.shape[1:])


def _accuracy(tables):
    """Share of records in the right group under the best one-to-one naming of clusters
    by labels.
    """
    known = np.nan_to_num(tables)  # resamples of one patient are NaN, and stay so
    right = [table[scipy.optimize.linear_sum_assignment(-table)].sum() for table in known]
    return np.array(right) / tables.sum(axis=(1, 2))


def _adjusted_rand(tables):
    """Hubert & Arabie, J Classif 2 (1985) 193, eq. 5."""
    pairs = lambda counts: counts * (counts - 1) / 2  # noqa: E731
    both = pairs(tables).sum(axis=(1, 2))
    rows, columns = pairs(tables.sum(axis=2)).sum(axis=1), pairs(tables.sum(axis=1)).sum(axis=1)
    expected = rows * columns / pairs(tables.sum(axis=(1, 2)))
    room = (rows + columns) / 2 - expected
    return np.divide(both - expected, room, out=np.ones_like(room), where=room != 0)


def _adjusted_mutual_information(tables):
    """Vinh, Epps & Bailey, JMLR 11 (2010) 2837, with the arithmetic mean of the entropies."""
    return np.array([_one_adjusted_mutual_information(table) for table in tables])


def _one_adjusted_mutual_information(table):
    n, rows, columns = table.sum(), table.sum(axis=1), table.sum(axis=0)
    entropies = [
        -(part[part > 0] / n * np.log(part[part > 0] / n)).sum() for part in (rows, columns)
    ]
    if min(entropies) == 0:
        return 1.0 if max(entropies) == 0 else 0.0
    mutual = (
        table[table > 0] / n * np.log(table[table > 0] * n / np.outer(rows, columns)[table > 0])
    ).sum()
    expected = expected_mutual_information(table[rows > 0][:, columns > 0].astype(np.int64), int(n))
    return (mutual - expected) / (np.mean(entropies) - expected)


# name -> score of each of many contingency tables (R, k, c): (R,)
METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "ari": _adjusted_rand,
    "ami": _adjusted_mutual_information,
}


def score(metric: str, clusters: np.ndarray, labels: np.ndarray) -> float:
    """One metric of one clustering (n,) against labels (n,)."""
    return float(METRICS[metric](contingency(clusters, labels)[None])[0])


def shuffled_by_patient(
    labels: np.ndarray, patients: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Labels (n,) exchanged between patients with equally many records, each patient's block kept
    together.
    """
    order = np.argsort(patients, kind="stable")
    _, starts, counts = np.unique(patients[order], return_index=True, return_counts=True)
    shuffled = labels.copy()
    for size in np.unique(counts):
        blocks = np.stack([order[start : start + size] for start in starts[counts == size]])
        shuffled[blocks] = labels[blocks[rng.permutation(len(blocks))]]
    return shuffled


def agreement(
    clusters: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    n_resamples: int = 500,
    seed: int = 0,
) -> list[dict]:
    """Agreement of clusters with labels: value, 95 % interval over patients, chance and p by
    permutation of patients.

    `chance` is the mean over permuted labels; for accuracy `majority` is the share of the largest
    class.
    """
    resampled = contingency(clusters, labels, patient_weights(patients, n_resamples, seed))
    permuted = permuted_tables(clusters, labels, patients, n_resamples, seed)
    rows = []
    for metric, scores in METRICS.items():
        value = score(metric, clusters, labels)
        low, high = _interval(metric, value, scores(resampled), effective_patients(patients))
        null = scores(permuted)
        rows.append(
            {
                "metric": metric,
                "value": value,
                "low": low,
                "high": high,
                "chance": null.mean(),
                "p": permutation_p(value, null),
                "n": len(labels),
                "n_patients": len(np.unique(patients)),
            }
        )
    accuracy = next(row for row in rows if row["metric"] == "accuracy")
    return [*rows, above_chance(accuracy)]


def _interval(metric, value, resampled, n_patients):
    """95 % interval of a metric over patients (common.intervals.share_interval). Indices that run
    from -1 to 1 are taken as shares between these, of half as many independent records: one record
    that is in the wrong cluster moves them twice as far. None for so few that these are below five.
    """
    if metric == "accuracy":
        return share_interval(value, resampled, n_patients)
    low, high = share_interval((value + 1) / 2, (resampled + 1) / 2, n_patients / 2)
    return 2 * low - 1, 2 * high - 1


def above_chance(accuracy: dict) -> dict:
    """The accuracy's row as the share of what chance leaves: 0 at chance, 1 where all agree.

    Clusters are matched to the labels after the fact, which makes accuracy and its interval too
    high near chance; permuted labels are matched in the same way.
    """
    chance = accuracy["chance"]
    scale = 1 - chance if chance < 1 else np.nan
    edges = {edge: (accuracy[edge] - chance) / scale for edge in ("value", "low", "high")}
    return {**accuracy, "metric": "accuracy_above_chance", **edges, "chance": 0.0}


def permuted_tables(
    clusters: np.ndarray, labels: np.ndarray, patients: np.ndarray, n_permutations: int, seed: int
) -> np.ndarray:
    """Contingency tables (n_permutations, k, c) after labels were exchanged between patients."""
    rng = np.random.default_rng(seed)
    code = np.unique(labels, return_inverse=True)[1]
    return np.stack(
        [
            contingency(clusters, shuffled_by_patient(code, patients, rng))
            for _ in range(n_permutations)
        ]
    )


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    metric: str = "ari",
    n_resamples: int = 500,
    seed: int = 0,
) -> dict:
    """Difference of a metric between two clusterings of the same records, with its interval over
    patients.
    """
    weights = patient_weights(patients, n_resamples, seed)
    differences = METRICS[metric](contingency(first, labels, weights)) - METRICS[metric](
        contingency(second, labels, weights)
    )
    value = score(metric, first, labels) - score(metric, second, labels)
    independent = effective_patients(patients) / (1 if metric == "accuracy" else 2)  # see _interval
    low, high = difference_interval(value, differences, independent)
    return {
        "metric": f"{metric} difference",
        "value": value,
        "low": low,
        "high": high,
        "chance": 0.0,
        "n": len(labels),
        "n_patients": len(np.unique(patients)),
    }


# ---------------------------------------------------------------- without labels: is there more
# than one group?


@dataclass(frozen=True)
class Structure:
    """Outcome of the search for the number of groups.

    k          groups found; 1 means: along no line between clusters are there two humps
    p          of "one group", the smallest over all k tried, corrected for having tried them
    stability  k -> mean adjusted Rand index between fits on resampled patients
    p_by_k     k -> p of "fewer than k groups", corrected for having tried them all
    """

    k: int
    p: float
    stability: dict[int, float]
    p_by_k: dict[int, float]


def find_structure(
    features: np.ndarray,
    patients: np.ndarray,
    k_max: int = 5,
    n_halvings: int = 20,
    seed: int = 0,
    variance: float = 0.8,
) -> Structure:
    """How many groups there are among features (n, d), 1 included; the most stable of the
    significant k wins.

    Clusters are fitted to one half of the patients and tested on the other (split_half_p): long
    tails, bows and ellipses are no groups. Bonferroni over the k tried.
    """
    points = fit_space(features, variance).transform(features)
    tried = [k for k in range(2, k_max + 1) if k < len(points) // 2]
    if not tried:
        raise UserError(
            f"{len(points)} records are too few to look for subgroups: widen the cohort or the "
            "folds"
        )
    p_of = split_half_p(features, patients, tried, n_halvings, seed, variance)
    p_by_k = {k: min(1.0, len(tried) * p_of[k]) for k in tried}
    stability = {k: resampling_stability(points, patients, k, seed) for k in tried}
    significant = [k for k in tried if p_by_k[k] <= ALPHA]
    chosen = max(significant, key=lambda k: stability[k]) if significant else 1
    return Structure(chosen, min(p_by_k.values()), stability, p_by_k)


def split_half_p(
    features: np.ndarray,
    patients: np.ndarray,
    tried: Sequence[int],
    n_halvings: int = 20,
    seed: int = 0,
    variance: float = 0.8,
) -> dict[int, float]:
    """For each k of `tried` the p of there being fewer than k separate groups among features
    (n, d).

    Space and k-means come from one half of the patients. Of the other half, the records of each
    pair of clusters, a patient's as their mean, are laid along the line between the two centres: a
    dip between all pairs makes k groups, so the largest p of Hartigan's dip counts. The median over
    halvings, both ways: at worst twice as many findings as its level says (Meinshausen et al., J Am
    Stat Assoc 104 (2009) 1671), where values are even; of bell-shaped, long-tailed and bowed clouds
    tests/subgroups/test_clusters.py (slow) found none. A ring is no single group to it: lines
    through its hole have two humps.
    """
    found = {k: [] for k in tried}
    for number, halves in enumerate(_patient_subsets(patients, n_halvings, 0.5, seed)):
        for fitted, tested in (halves, halves[::-1]):
            if fitted.sum() <= 2:  # too few for a space, and for any k
                return dict.fromkeys(tried, 1.0)
            space = fit_space(features[fitted], variance)
            points = space.transform(features[fitted])
            others = patient_means(space.transform(features[tested]), patients[tested])
            for k in tried:
                enough = len(points) > 2 * k
                p = _least_parted(points, others, k, seed + number) if enough else 1.0
                found[k].append(p)
    return {k: float(np.median(values)) for k, values in found.items()}


def _least_parted(points, others, k, seed):
    """Largest p of the dip over the pairs of clusters that `points` give, on `others`."""
    centres = lloyd(points[None], k, np.random.default_rng(seed))[0][0]
    nearest = _to_centres(centres)(others)
    largest = 0.0
    for first, second in combinations(range(k), 2):
        axis = centres[second] - centres[first]
        largest = max(largest, dip_p(others[np.isin(nearest, (first, second))] @ axis))
    return largest


def patient_means(points: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """One point a patient, the mean of theirs: (patients, d)."""
    _, codes, counts = np.unique(patients, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), points.shape[1]))
    np.add.at(sums, codes, points)
    return sums / counts[:, None]


def resampling_stability(points: np.ndarray, patients: np.ndarray, k: int, seed: int) -> float:
    """Mean adjusted Rand index between assignments of all points (n, d) by k-means of ten pairs of
    random four fifths of the patients; NaN where no pair has k records in each.
    """
    return float(np.mean(_agreement_of_fits(points, patients, k, 10, 0.8, "kmeans", seed)))


def replication(
    points: np.ndarray,
    patients: np.ndarray,
    k: int,
    n_splits: int = 20,
    clusterer: str = "kmeans",
    seed: int = 0,
) -> dict:
    """Agreement (adjusted Rand index) of fits on two halves of the patients, over random halvings:
    mean and 95 % range; NaN where none has k records in each half.
    """
    values = _agreement_of_fits(points, patients, k, n_splits, 0.5, clusterer, seed)
    low, high = np.quantile(values, [0.025, 0.975])
    return {
        "metric": "replication",
        "value": float(np.mean(values)),
        "low": low,
        "high": high,
        "note": "low, high: 95 % of the halvings",
        "chance": 0.0,
        "n": len(points),
        "n_patients": len(np.unique(patients)),
    }


def _agreement_of_fits(points, patients, k, n_pairs, share, clusterer, seed):
    agreements = []
    for parts in _patient_subsets(patients, n_pairs, share, seed):
        if min(part.sum() for part in parts) < k:  # one patient may have most records
            continue
        first, second = (CLUSTERERS[clusterer](points[part], k, seed)(points) for part in parts)
        agreements.append(score("ari", first, second))
    return agreements or [np.nan]


def _patient_subsets(patients, n_pairs, share, seed):
    """Pairs of row sets; disjoint halves of the patients for share 0.5, overlapping random subsets
    above.
    """
    rng = np.random.default_rng(seed)
    unique = np.unique(patients)
    size = int(len(unique) * share)
    for _ in range(n_pairs):
        shuffled = rng.permutation(unique)
        second = shuffled[size : 2 * size] if share <= 0.5 else rng.permutation(unique)[:size]
        yield np.isin(patients, shuffled[:size]), np.isin(patients, second)


# ---------------------------------------------------------------- what separates the clusters


def enrichment(
    clusters: np.ndarray,
    traits: np.ndarray,
    names: list[str],
    patients: np.ndarray,
    n_permutations: int = 999,
    seed: int = 0,
) -> list[dict]:
    """Share of each trait in each cluster (NaN in one of which nothing is known), and p of their
    largest difference, by permutation of patients.

    traits (n, m) 0/1 with NaN where unknown. Holm's correction is left to the caller, who knows the
    family.
    """
    rng = np.random.default_rng(seed)
    k = clusters.max() + 1
    known = np.isfinite(traits)
    values = np.where(known, traits, 0)

    def shares(assignment):
        member = np.eye(k)[assignment]  # (n, k)
        count = member.T @ known  # (k, m)
        return np.divide(
            member.T @ values, count, out=np.full(count.shape, np.nan), where=count > 0
        )

    def largest_difference(of_clusters):
        apart = np.fmax.reduce(of_clusters) - np.fmin.reduce(of_clusters)  # (m,), NaN left out
        return np.nan_to_num(apart)

    observed = shares(clusters)
    difference = largest_difference(observed)
    drawn = (shuffled_by_patient(clusters, patients, rng) for _ in range(n_permutations))
    p = permutation_p(difference, [largest_difference(shares(one)) for one in drawn])
    rows = []
    for column, name in enumerate(names):
        row = {"trait": name}
        row |= {f"share_{cluster}": observed[cluster, column] for cluster in range(k)}
        row |= {"difference": difference[column], "p": p[column]}
        rows.append(row | {"n": int(known[:, column].sum())})
    return rows


def best_naming(clusters: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[int, str]:
    """The one-to-one naming of clusters by labels that `accuracy` scores (clusters in excess keep
    their number).
    """
    k = clusters.max() + 1
    if k < len(names):
        return {cluster: str(cluster) for cluster in range(k)}
    here = np.arange(k)[:, None] == clusters  # (k, n)
    counts = np.stack([(here & (labels == name)).sum(axis=1) for name in names], axis=1)
    # among equals, the first label goes to the first cluster, then the second label ...
    later = np.arange(k)[:, None] / (k + 1.0) ** np.arange(1, len(names) + 1)  # less than 1 in all
    best = scipy.optimize.linear_sum_assignment(later / 2 - counts)
    named = {int(cluster): names[column] for cluster, column in zip(*best, strict=True)}
    return {cluster: named.get(cluster, str(cluster)) for cluster in range(k)}
