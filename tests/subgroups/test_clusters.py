"""Subgroups: planted groups are found, absent ones are not, and every statistic has its known
answer.
"""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from common.files import UserError
from subgroups.clusters import (
    CLUSTERERS,
    METRICS,
    agreement,
    align,
    best_naming,
    contingency,
    cross_fit,
    enrichment,
    find_structure,
    fit_clusters,
    fit_space,
    lloyd,
    paired_difference,
    patient_means,
    replication,
    score,
    shuffled_by_patient,
)


def groups(n=120, dimension=30, distance=6.0, seed=0, k=2):
    """n records in k Gaussian groups of unit variance, centres at `distance` from the origin; two
    records per patient.
    """
    rng = np.random.default_rng(seed)
    patients = np.arange(n) // 2
    labels = patients % k
    centres = rng.normal(size=(k, dimension))
    centres *= distance / np.linalg.norm(centres, axis=1, keepdims=True)
    return centres[labels] + rng.normal(size=(n, dimension)), labels, patients


@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_planted_groups_are_found_and_assigned_to_new_records(clusterer):
    features, labels, _ = groups()
    assign = fit_clusters(features[:60], 2, clusterer)
    assert score("accuracy", assign(features[60:]), labels[60:]) == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_records_that_are_all_alike_are_one_group(clusterer):
    zeros = np.zeros((40, 30))  # maps of a network that answers all alike
    assert len(set(fit_clusters(zeros, 2, clusterer)(zeros))) == 1
    assert find_structure(zeros, np.arange(40), n_halvings=2).k == 1


def test_space_keeps_the_components_that_hold_the_variance():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 4)) * [10, 5, 1, 0.1]
    assert fit_space(features, 0.7).n_components_ == 1
    assert fit_space(features, 0.95).n_components_ == 2
    assert fit_space(features, 0.9999, max_components=3).n_components_ == 3


def test_accuracy_and_alignment_do_not_depend_on_cluster_numbers():
    labels = np.array([0, 0, 0, 1, 1])
    assert score("accuracy", 1 - labels, labels) == 1
    assert score("accuracy", np.array([0, 0, 1, 1, 1]), labels) == pytest.approx(4 / 5)
    assert score("accuracy", np.zeros(5, int), labels) == pytest.approx(3 / 5)
    many = np.arange(48) % 12  # 12 groups have 479,001,600 namings
    assert score("accuracy", (many + 5) % 12, many) == 1
    assert align(np.array([2, 2, 0, 1]), np.array([0, 0, 1, 2]), 3).tolist() == [1, 2, 0]


def test_metrics_equal_sklearns_on_every_resample():
    rng = np.random.default_rng(0)
    for k, c in ((2, 2), (3, 2), (2, 4), (1, 2)):
        clusters, labels = rng.integers(0, k, 60), rng.integers(0, c, 60)
        weights = rng.integers(0, 3, (5, 60))
        tables = contingency(clusters, labels, weights)
        for row, weight in enumerate(weights):
            first, second = np.repeat(clusters, weight), np.repeat(labels, weight)
            assert METRICS["ari"](tables)[row] == pytest.approx(adjusted_rand_score(second, first))
            assert METRICS["ami"](tables)[row] == pytest.approx(
                adjusted_mutual_info_score(second, first), abs=1e-9
            )


def test_cross_fitting_never_fits_on_the_records_it_assigns(monkeypatch):
    features, labels, patients = groups()
    part = patients % 5
    seen = []
    from subgroups import clusters as subgroups

    fit = subgroups.fit_clusters
    monkeypatch.setattr(
        subgroups, "fit_clusters", lambda f, k, **o: seen.append(len(f)) or fit(f, k, **o)
    )
    clusters = cross_fit(features, part, 2)
    assert score("accuracy", clusters, labels) == 1
    assert seen == [len(features)] + [int((part != p).sum()) for p in range(5)]


def test_agreement_finds_the_planted_and_rejects_the_unrelated():
    features, labels, patients = groups()
    clusters = fit_clusters(features, 2)(features)
    planted = {row["metric"]: row for row in agreement(clusters, labels, patients, 200)}
    assert planted["ari"]["value"] == 1
    assert planted["ari"]["p"] == pytest.approx(1 / 201)
    assert planted["accuracy"]["chance"] == pytest.approx(0.54, abs=0.04)
    assert planted["ari"]["n_patients"] == len(np.unique(patients))
    unrelated = np.random.default_rng(3).integers(0, 2, len(labels))
    assert all(row["p"] > 0.05 for row in agreement(clusters, unrelated, patients, 200))
    assert all(
        abs(row["chance"]) < 0.02
        for row in agreement(clusters, unrelated, patients, 200)
        if row["metric"] != "accuracy"
    )


def test_paired_difference_covers_zero_for_equals_and_not_for_better():
    features, labels, patients = groups()
    good = fit_clusters(features, 2)(features)
    bad = np.random.default_rng(0).integers(0, 2, len(labels))
    better = paired_difference(good, bad, labels, patients, n_resamples=200)
    assert better["low"] > 0
    equal = paired_difference(good, 1 - good, labels, patients, n_resamples=50)
    assert equal["value"] == 0
    assert -0.1 < equal["low"] < 0 < equal["high"] < 0.1  # not known to be the same beyond these


def test_shuffling_moves_whole_patients():
    patients = np.array([1, 1, 2, 3, 3, 4, 5])
    labels = np.array([0, 1, 2, 3, 4, 5, 6])
    shuffled = shuffled_by_patient(labels, patients, np.random.default_rng(1))
    assert sorted(shuffled) == sorted(labels)
    assert {tuple(shuffled[patients == 1]), tuple(shuffled[patients == 3])} == {(0, 1), (3, 4)}
    assert {shuffled[2], shuffled[5], shuffled[6]} == {2, 5, 6}


@pytest.mark.parametrize("k", [2, 3])
def test_the_number_of_groups_is_found(k):
    features, labels, patients = groups(150, k=k, distance=9)
    found = find_structure(features, patients, k_max=4, n_halvings=4)
    assert found.k == k
    assert found.p < 0.02
    assert adjusted_rand_score(fit_clusters(features, k)(features), labels) > 0.95


def test_many_clouds_at_once_are_clustered_as_well_as_by_sklearn():
    rng = np.random.default_rng(0)
    clouds = rng.normal(size=(6, 100, 5))
    inertia = [KMeans(3, n_init=20, random_state=0).fit(cloud).inertia_ for cloud in clouds]
    assert lloyd(clouds, 3, rng)[1] == pytest.approx(np.array(inertia), rel=0.02)


def structureless(kind, rng, n=150):
    """Clouds (n, 20) without groups: correlated, long-tailed, bowed."""
    mixing = rng.normal(size=(20, 20))
    if kind == "gaussian":
        return rng.normal(size=(n, 20)) @ mixing
    if kind == "skewed":
        return rng.exponential(size=(n, 20)) @ mixing
    angle = rng.uniform(0, np.pi, n)
    bow = 0.5 * rng.normal(size=(n, 20))
    bow[:, :2] += 4 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return bow


@pytest.mark.parametrize("kind", ["gaussian", "skewed", "bow"])
def test_one_group_is_the_answer_when_there_is_one(kind):
    features = structureless(kind, np.random.default_rng(5))
    found = find_structure(features, np.arange(150), k_max=3, n_halvings=4)
    assert found.k == 1
    assert found.p > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian", "skewed", "bow"])
def test_structureless_data_is_called_grouped_at_most_as_often_as_the_level_says(kind):
    found, runs = 0, 30
    for run in range(runs):
        features = structureless(kind, np.random.default_rng(run), 100)
        structure = find_structure(features, np.arange(100), k_max=4, n_halvings=6, seed=run)
        found += structure.k > 1
    assert found <= binom.ppf(0.975, runs, 0.05)


def test_records_of_a_patient_are_no_group():
    """Two clouds of one patient each beside one of many: patients count once."""
    rng = np.random.default_rng(2)
    features = rng.normal(size=(120, 6))
    features[60:] = rng.normal(size=6) * 4 + 0.1 * features[60:]
    patients = np.r_[np.arange(60), np.full(60, 100)]
    assert find_structure(features, patients, k_max=2, n_halvings=4).k == 1
    points = patient_means(features, patients)
    assert len(points) == 61
    assert points[-1] == pytest.approx(features[60:].mean(axis=0))


def test_replication_is_high_for_groups_and_low_without():
    features, _, patients = groups()
    assert replication(features, patients, 2, n_splits=6)["value"] > 0.95
    noise = np.random.default_rng(0).normal(size=features.shape)
    assert replication(noise, patients, 2, n_splits=6)["value"] < 0.5


@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_halves_with_fewer_records_than_clusters_say_nothing(clusterer):
    features = np.random.default_rng(0).normal(size=(20, 5))
    for patients, k in ((np.arange(20), 15), (np.zeros(20), 2)):
        assert np.isnan(replication(features, patients, k, clusterer=clusterer)["value"])
    nearly_all = np.r_[np.zeros(18), 1, 2]  # records of one patient, as of a long recording
    found = find_structure(features, nearly_all)
    assert found.k == 1
    assert np.isfinite(list(found.stability.values())).all()


def test_enrichment_names_what_separates_the_clusters():
    _, labels, patients = groups()
    rng = np.random.default_rng(2)
    traits = np.stack(
        [labels, rng.integers(0, 2, len(labels)), np.full(len(labels), np.nan)], axis=1
    ).astype(float)
    same, unrelated, unknown = enrichment(labels, traits, ["sex", "coin", "blank"], patients)
    assert (same["share_0"], same["share_1"], same["p"]) == (0, 1, pytest.approx(0.001))
    assert unrelated["p"] > 0.05
    assert unknown["n"] == 0
    assert unknown["p"] == 1


def test_a_cluster_that_holds_no_reported_record_has_no_share_and_makes_no_difference():
    clusters, traits = np.repeat([0, 2], 30), np.tile([1.0, 1.0, 0.0], 20)[:, None]
    [row] = enrichment(clusters, traits, ["sex"], np.arange(60))
    assert np.isnan(row["share_1"])
    assert row["difference"] == pytest.approx(0)


def test_clusters_are_named_by_the_labels_they_hold():
    clusters, labels = np.array([0, 0, 1, 1, 2]), np.array(["IMI", "IMI", "AMI", "AMI", "AMI"])
    assert best_naming(clusters, labels, ["AMI", "IMI"]) == {0: "IMI", 1: "AMI", 2: "2"}
    equals = np.array([0, 0, 1, 1, 2, 2])  # every naming holds two records
    alike = np.array(["a", "b"] * 3)
    assert best_naming(equals, alike, ["a", "b"]) == {0: "a", 1: "b", 2: "2"}


def test_too_few_records_are_said():
    with pytest.raises(UserError, match="too few"):
        fit_space(np.zeros((2, 4)))
    with pytest.raises(UserError, match="cannot form 5 clusters"):
        fit_clusters(np.eye(4), 5)


@pytest.mark.parametrize(("n", "right"), [(20, 0.75), (20, 0.9), (60, 0.9)])
def test_intervals_of_agreement_cover(n, right):
    """Clusters that give `right` of the records their label, 50 trials: accuracy and adjusted Rand
    of very many records lie within in .92 at least, less chance.
    """

    def draw(n_records, seed):
        rng = np.random.default_rng(seed)
        labels = (rng.random(n_records) < 0.45).astype(int)
        return np.where(rng.random(n_records) < right, labels, 1 - labels), labels

    truth = {metric: score(metric, *draw(200_000, 0)) for metric in ("accuracy", "ari")}
    held = {metric: [] for metric in truth}
    for seed in range(1, 51):
        clusters, labels = draw(n, seed)
        for row in agreement(clusters, labels, np.arange(n), n_resamples=60):
            if row["metric"] in truth:
                found = row["low"] - 1e-9 <= truth[row["metric"]] <= row["high"] + 1e-9
                held[row["metric"]].append(found)
    for metric, trials in held.items():
        assert np.mean(trials) >= 0.92 - 2.6 * np.sqrt(0.92 * 0.08 / 50), metric


def test_few_patients_have_no_interval():
    rows = agreement(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), np.arange(4), 50)
    assert all(np.isnan(row["low"]) and np.isnan(row["high"]) for row in rows)
