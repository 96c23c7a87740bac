"""Agreement: scipy as the oracle, constants, and chance that knows about patients."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr

from attribution.cells import cell_maps
from sanity.agreement import (
    agreement_between,
    cell_means,
    masked_correlation,
    partners_of,
    rank_correlation,
)


def test_rank_correlation_equals_scipy_with_ties():
    rng = np.random.default_rng(0)
    first, second = np.round(rng.normal(size=(2, 7, 50)), 1)
    expected = [spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)]
    assert rank_correlation(first, second) == pytest.approx(expected)


def test_rank_correlation_of_constants():
    constant, rising = np.ones((1, 5)), np.arange(5.0)[None]
    assert rank_correlation(constant, rising) == pytest.approx([0])
    assert rank_correlation(constant, 2 * constant) == pytest.approx([1])
    assert rank_correlation(rising, -rising) == pytest.approx([-1])


def test_a_partner_is_always_another_patient():
    patients = np.array([1, 1, 2, 2, 2, 3, 1])
    assert (patients[partners_of(patients)[0]] != patients).all()


def test_one_patient_alone_has_no_chance_between_patients():
    maps = np.random.default_rng(0).normal(size=(2, 40, 12))
    values, chance = agreement_between(maps, maps, np.array([4, 4]))
    assert values == pytest.approx(np.ones(2))
    assert np.isnan(chance)


def test_the_same_map_for_everyone_agrees_no_more_than_chance():
    rng = np.random.default_rng(1)
    patients = np.arange(20)
    same = np.repeat(rng.normal(size=(1, 40, 12)), 20, axis=0)
    scores, chance = agreement_between(same, same, patients)
    assert scores == pytest.approx(np.ones(20))
    assert chance == pytest.approx(1)
    own = rng.normal(size=(20, 40, 12))
    scores, chance = agreement_between(own, -2 * own, patients)  # size is compared, not sign
    assert scores == pytest.approx(np.ones(20))
    assert abs(chance) < 0.05


def test_cells_by_hand():
    maps = np.zeros((1, 4, 12))
    maps[0, :, 3] = [1, -3, 5, 7]
    segments = np.zeros((1, 4, 12, 3))
    segments[0, :2, :, 0] = 1
    segments[0, 2:, :, 1] = 0.5
    subject = SimpleNamespace(segments=segments, patients=np.array([1]))
    means, sums = cell_means(subject, maps), cell_maps(maps, segments, [1]).signed
    assert means[0, 3, :2].tolist() == [2, 6]
    assert np.isnan(means[0, 3, 2])  # absent: no relevance to speak of
    assert sums[0, 3].tolist() == [-2, 6, 0]
    assert np.nanmax(np.abs(np.delete(means[0], 3, axis=0))) == 0


def test_entries_that_are_not_known_do_not_count():
    first = np.array([[1.0, np.nan, 2.0, 3.0], [1.0, 2.0, 3.0, np.nan]])
    assert masked_correlation(
        first, np.array([[1.0, 99.0, 2.0, 3.0]] * 2), np.isfinite(first)
    ) == pytest.approx([1, 0.5])
    assert np.isnan(masked_correlation(first, first, np.zeros((2, 4), dtype=bool))).all()
    scores, _ = agreement_between(first, first, np.array([1, 2]))
    assert scores == pytest.approx([1, 1])


def test_cells_that_both_maps_lack_are_no_agreement():
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 40, 60))
    first[:, 30:], second[:, 30:] = np.nan, np.nan
    scores, chance = agreement_between(first, second, np.arange(40))
    assert abs(scores.mean()) < 0.1
    assert abs(chance) < 0.1
