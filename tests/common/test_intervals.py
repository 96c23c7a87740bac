"""Intervals: against theory in large samples, what patients with several records do to them,
coverage in small ones (the whole study: tests/benchmarks/bench_intervals.py).
"""

import numpy as np
import pytest
from scipy.stats import norm, t

from common import intervals
from common.intervals import (
    auc_interval,
    effective_patients,
    mean_intervals,
    mean_with_interval,
    r2_interval,
    share_interval,
)
from common.stats import wilson_interval


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_interval_of_a_mean_matches_theory_for_many_independent_patients(rng):
    values = rng.normal(size=2000)
    mean, low, high = mean_with_interval(values, np.arange(2000))
    half = 1.96 * values.std() / np.sqrt(2000)
    assert mean == pytest.approx(values.mean())
    assert (low + high) / 2 == pytest.approx(mean, abs=0.2 * half)
    assert high - low == pytest.approx(2 * half, rel=0.12)


def test_copies_of_a_patients_records_add_nothing_and_records_of_their_own_would(rng):
    values, owner = rng.normal(size=100), np.arange(100)
    copies, owners = np.repeat(values, 4), np.repeat(owner, 4)
    once = mean_with_interval(values, owner)
    assert mean_with_interval(copies, owners) == pytest.approx(once)
    by_record = np.ptp(mean_with_interval(copies, np.arange(400))[1:])
    assert by_record < 0.6 * np.ptp(once[1:])


def test_blank_values_are_left_out_and_too_few_patients_have_no_interval(rng):
    values = rng.normal(size=(30, 2))
    values[4:, 1] = np.nan
    low, high = mean_intervals(values, np.arange(30))
    alone = mean_intervals(values[:, 0], np.arange(30))
    assert (low[0], high[0]) == pytest.approx([float(edge) for edge in alone])
    assert np.isnan([low[1], high[1]]).all()


def test_a_mean_of_skewed_values_has_the_longer_side_above(rng):
    values = rng.lognormal(size=20)
    mean, low, high = mean_with_interval(values, np.arange(20))
    assert high - mean > 1.3 * (mean - low)
    usual = t.ppf(0.975, 19) * values.std(ddof=1) / np.sqrt(20)
    assert mean - low >= usual


def test_a_share_of_hits_gets_wilsons_interval_even_where_all_hit():
    low, high = mean_intervals(np.ones(12), np.arange(12))
    assert high == 1
    assert 0.6 < low < wilson_interval(1.0, 12)[0]
    values = np.arange(4000) < 1000
    expected = wilson_interval(0.25, 4000)
    assert np.stack(mean_intervals(values, np.arange(4000))) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("area", "n_positive"), [(0.6, 5), (0.9, 5), (0.99, 5), (0.99, 20), (0.8, 50)]
)
def test_the_interval_of_an_auc_covers(rng, area, n_positive):
    held = 0
    for _ in range(300):
        positive = np.arange(150) < n_positive
        scores = rng.normal(size=150) + np.sqrt(2) * norm.ppf(area) * positive
        low, high = auc_interval(scores, positive, np.arange(150))
        assert 0 <= low <= high <= 1
        held += low <= area <= high
    assert held / 300 >= 0.92


def test_the_interval_of_an_auc_is_delongs_in_large_samples(rng):
    positive = np.arange(3000) % 2 == 0
    scores = rng.normal(size=3000) + positive
    low, high = auc_interval(scores, positive, np.arange(3000))
    wins = scores[positive][:, None] > scores[~positive]
    variance = wins.mean(axis=1).var(ddof=1) / 1500 + wins.mean(axis=0).var(ddof=1) / 1500
    half = 1.96 * np.sqrt(variance)
    assert (low, high) == pytest.approx((wins.mean() - half, wins.mean() + half), abs=0.1 * half)


def test_the_interval_of_an_auc_goes_by_patients(rng):
    positive = np.arange(80) < 30
    scores = rng.normal(size=80) + positive
    copies = [np.repeat(part, 3) for part in (scores, positive, np.arange(80))]
    once = auc_interval(scores, positive, np.arange(80))
    assert auc_interval(*copies) == pytest.approx(once, abs=1e-9)
    assert np.isnan(auc_interval(*copies[:2], np.repeat(np.arange(4), 60))).all()
    few = np.where(positive, np.arange(80) % 4, np.arange(80) + 100)
    assert np.isnan(auc_interval(scores, positive, few)).all()


def test_a_patient_with_half_of_the_records_does_not_count_as_many(rng):
    assert effective_patients(np.arange(30) // 3) == pytest.approx(10)
    one_of_many = np.where(np.arange(100) < 50, 0, np.arange(100))
    assert effective_patients(one_of_many) == 5  # Kish: 3.9, never below five of as many
    assert effective_patients(np.arange(3)) == 3


def correlated(patients, rng):
    """Normal values (N,), correlation .8 within a patient."""
    shared = rng.normal(size=patients.max() + 1)[patients]
    return np.sqrt(0.8) * shared + np.sqrt(0.2) * rng.normal(size=len(patients))


@pytest.mark.parametrize("of", ["area", "mean", "share", "r2"])
def test_intervals_cover_where_one_patient_has_half_of_the_records(rng, of):
    patients = np.where(np.arange(60) < 30, 0, np.arange(60))
    positive = np.arange(60) % 2 == 0
    held = 0
    for _ in range(200):
        values = correlated(patients, rng)
        if of == "area":
            scores = values + np.sqrt(2) * norm.ppf(0.8) * positive
            truth, edges = 0.8, auc_interval(scores, positive, patients)
        elif of == "r2":
            error = 0.6 * correlated(patients, rng)[:, None]
            truth, edges = 0.64, r2_interval(values[:, None], error, patients)
        else:
            kept = values if of == "mean" else values > norm.ppf(0.2)
            truth, edges = {"mean": 0, "share": 0.8}[of], mean_intervals(kept, patients, 200)
        held += edges[0] <= truth <= edges[1]
    assert held / 200 >= 0.92


def amounts(kind, n, rng):
    """1,500 groups of n values, (n, 1500), and their true mean."""
    if kind == "lognormal":
        return rng.lognormal(size=(n, 1500)), np.exp(0.5)
    if kind == "gamma":
        return rng.gamma(0.3, size=(n, 1500)), 0.3
    if kind == "two kinds of patients":
        return rng.normal(size=(n, 1500)) + 6 * (rng.random((n, 1500)) < 0.2), 1.2
    return rng.exponential(size=(n, 1500)) * (rng.random((n, 1500)) < 0.3), 0.3


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("kind", ["lognormal", "gamma", "two kinds of patients", "mostly zero"])
def test_a_mean_of_odd_values_is_covered_or_has_no_interval(kind, n):
    values, truth = amounts(kind, n, np.random.default_rng(n))
    low, high = mean_intervals(values, np.arange(n), 200)
    given = np.isfinite(low)
    assert given.all() or kind == "mostly zero"
    held = ((low <= truth) & (truth <= high))[given]
    assert held.mean() >= 0.91  # .92 less what chance takes of 1,500


def test_patients_of_one_value_count_once():
    values = np.zeros((20, 5))
    values[:3, 0], values[:4, 1], values[:, 2] = [2, 3, 4], [2, 3, 4, 5], 0.7
    values[:3, 3] = 1  # a share
    values[4:, 4] = np.nan
    low, _ = mean_intervals(values, np.arange(20), 100)
    assert np.isnan(low).tolist() == [True, False, False, False, True]
    assert low[2] == pytest.approx(0.7)  # all the same: so by construction
    twice = np.repeat(values[:, 1], 2), np.repeat(np.arange(20), 2)
    assert np.isfinite(mean_intervals(*twice, 100)[0])
    tied = np.array([0.3, 0.1 + 0.2, 1, 2, 3])
    assert np.isnan(mean_intervals(tied, np.arange(5), 100)[0])


@pytest.mark.parametrize("n", [10, 20, 50])
def test_r2_of_skewed_amplitudes_covers(rng, n):
    held = 0
    for _ in range(500):
        truth = rng.lognormal(0, 0.5, (n, 1))
        error = rng.normal(size=(n, 1)) * np.sqrt(0.4 * (np.exp(0.25) - 1) * np.exp(0.25))
        low, high = r2_interval(truth, error, np.arange(n))
        held += low <= 0.6 <= high
    assert held / 500 >= 0.92


def test_r2_covers_and_is_refused_without_patients_or_spread(rng):
    held = 0
    for _ in range(300):
        truth, error = rng.normal(size=(20, 1)), 0.6 * rng.normal(size=(20, 1))
        low, high = r2_interval(truth, error, np.arange(20))
        held += low <= 1 - 0.36 <= high
    assert held / 300 >= 0.92
    assert np.isnan(r2_interval(np.ones((9, 1)), rng.normal(size=(9, 1)), np.arange(9))).all()
    assert np.isnan(r2_interval(rng.normal(size=(9, 1)), np.ones((9, 1)), np.arange(9) // 3)).all()


def test_a_share_from_resamples_is_no_narrower_than_one_record_a_patient_gives():
    low, high = share_interval(1.0, np.ones(100), 8)
    assert high == 1
    assert low < wilson_interval(1.0, 8)[0]
    assert np.isnan(share_interval(0.5, np.full(100, 0.5), 4)).all()
    assert np.isnan(share_interval(0.5, np.array([]), 40)).all()


def test_an_average_over_classes_is_as_wide_as_its_patients_and_its_rare_classes_say():
    rng = np.random.default_rng(0)
    labels = np.zeros((200, 3), dtype=int)
    labels[:40, 0], labels[40:80, 1], labels[:100, 2] = 1, 1, 1
    scores = rng.normal(size=labels.shape) + 1.5 * labels
    patients = np.arange(200)
    low, high = intervals.macro_auc_interval(scores, labels, patients)
    assert low < 0.86 < high
    assert high - low < 0.1
    twice = [np.concatenate([part, part]) for part in (scores, labels, patients)]
    assert intervals.macro_auc_interval(*twice) == pytest.approx((low, high), abs=0.005)
    rare = labels.copy()
    rare[5:40, 0] = 0
    assert np.ptp(intervals.macro_auc_interval(scores, rare, patients)) > 1.5 * (high - low)
    assert np.isnan(intervals.macro_auc_interval(scores[:4], labels[:4], patients[:4])).all()


def test_a_median_lies_between_order_statistics_of_patients():
    values = np.arange(1.0, 11)
    assert intervals.median_interval(values, np.arange(10)) == (2, 9)  # binomial: .979
    assert intervals.median_interval(values[:5], np.arange(5)) == (1, 5)
    doubled = np.repeat(values, 2), np.repeat(np.arange(10), 2)
    assert intervals.median_interval(*doubled) == (2, 9)
    assert np.isnan(intervals.median_interval(values[:4], np.arange(4))).all()


def test_a_paired_difference_has_no_zero_width_and_none_for_few():
    low, high = intervals.difference_interval(0.0, np.zeros(50), 20)
    assert -high == low == pytest.approx(-2.093 / 20 * 1.15, rel=1e-3)
    assert np.isnan(intervals.difference_interval(0.0, np.zeros(50), 4)).all()
