"""Statistics: against hand values, scipy, and their own definitions."""

import numpy as np
import pytest
from scipy.stats import binomtest

from common.stats import (
    holm,
    mean_of_known,
    patient_weights,
    permutation_p,
    wilson_interval,
)


def test_patient_weights_keep_a_patients_records_together():
    patients = np.array([7, 7, 3, 9, 9, 9])
    weights = patient_weights(patients, 200, seed=1)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert np.array_equal(weights, patient_weights(patients, 200, seed=1))


def test_the_mean_of_what_is_known_is_nanmean_without_its_warning():
    values = np.array([[1.0, np.nan, np.nan], [4, 2, np.nan], [np.inf, 4, np.nan]])
    assert mean_of_known(values) == pytest.approx([2.5, 3, np.nan], nan_ok=True)


def test_wilson_equals_scipy():
    for k, n in ((0, 10), (3, 10), (10, 10), (450, 1000)):
        expected = binomtest(k, n).proportion_ci(method="wilson")
        assert wilson_interval(k / n, n) == pytest.approx((expected.low, expected.high))


def test_holm_by_hand_and_with_blanks():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, np.nan, 0.02]) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)
    assert holm([[0.6, 0.5]]) == pytest.approx(np.array([[1.0, 1.0]]))


def test_permutation_p_counts_ties_and_has_its_floor():
    assert permutation_p(3.0, [1, 2, 3, 4]) == pytest.approx(3 / 5)
    assert permutation_p(9.0, np.zeros(99)) == pytest.approx(1 / 100)
    assert permutation_p(np.array([0.0, 5.0]), np.ones((9, 2))) == pytest.approx([1.0, 0.1])


def test_nothing_observed_has_no_p_and_undefined_draws_speak_for_nothing():
    assert np.isnan(permutation_p(np.nan, np.zeros(99)))
    assert permutation_p(1.0, [0, 0, np.nan]) == pytest.approx(2 / 4)
    assert permutation_p(np.array([1.0, np.nan]), np.zeros((9, 2)))[0] == pytest.approx(0.1)
