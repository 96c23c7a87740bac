"""Localisation metrics: an oracle scores 1, a map that knows nothing its chance, slow definitions
agree.
"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sanity.localisation import LOCALISATION_METRICS, auc_within, score_truths

METRICS = list(LOCALISATION_METRICS)


@pytest.fixture(scope="module")
def mask():
    chosen = np.zeros((6, 100, 12), dtype=bool)
    for record in range(6):
        chosen[record, 20 + record : 40 + record, record % 3 : record % 3 + 2] = True
    return chosen


def flat(array):
    return array.reshape(len(array), -1)


@pytest.mark.parametrize("metric", METRICS)
def test_an_oracle_scores_one_its_opposite_zero_and_a_constant_map_its_chance(metric, mask):
    score, chance = LOCALISATION_METRICS[metric]
    true = flat(mask)
    assert score(true.astype(float), true) == pytest.approx(np.ones(6))
    assert score(1.0 - true, true) == pytest.approx(np.zeros(6))
    assert score(np.ones(true.shape), true) == pytest.approx(chance(true))
    assert score(np.zeros(true.shape), true) == pytest.approx(chance(true))


@pytest.mark.parametrize("metric", METRICS)
def test_chance_is_the_mean_over_random_maps(metric, mask):
    score, chance = LOCALISATION_METRICS[metric]
    rng = np.random.default_rng(0)
    true = np.repeat(flat(mask)[:1], 4000, axis=0)
    assert score(rng.random(true.shape), true).mean() == pytest.approx(
        chance(true[:1])[0], abs=0.012
    )


@pytest.mark.parametrize("metric", METRICS)
def test_no_metric_depends_on_the_order_or_the_scale_of_the_samples(metric, mask):
    score, _ = LOCALISATION_METRICS[metric]
    rng = np.random.default_rng(1)
    true = flat(mask)
    relevance = np.round(rng.random(true.shape), 1)  # many ties
    order = rng.permutation(true.shape[1])
    assert score(3 * relevance[:, order], true[:, order]) == pytest.approx(score(relevance, true))


def test_auc_equals_sklearn(mask):
    rng = np.random.default_rng(2)
    true = flat(mask)
    relevance = np.round(rng.random(true.shape), 2) + 0.2 * true
    expected = [roc_auc_score(t, r) for t, r in zip(true, relevance, strict=True)]
    assert LOCALISATION_METRICS["auc"][0](relevance, true) == pytest.approx(expected)


def test_top_k_and_mass_by_hand():
    relevance = np.array([[4.0, 3.0, 2.0, 1.0]])
    true = np.array([[True, False, True, False]])
    assert LOCALISATION_METRICS["top_k"][0](relevance, true) == pytest.approx(0.5)
    assert LOCALISATION_METRICS["mass"][0](relevance, true) == pytest.approx(0.6)
    assert LOCALISATION_METRICS["pointing"][0](relevance, true) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", METRICS)
def test_a_record_without_a_cause_has_no_score(metric):
    score, _ = LOCALISATION_METRICS[metric]
    assert np.isnan(score(np.ones((1, 9)), np.zeros((1, 9), dtype=bool))).all()
    assert np.isnan(score(np.ones((1, 9)), np.ones((1, 9), dtype=bool))).all()


def test_a_map_constant_over_leads_is_right_in_time_and_at_its_best_possible_in_cells(mask):
    spans = mask.any(axis=2, keepdims=True)
    scores = score_truths(np.broadcast_to(spans, mask.shape).astype(float), mask)
    assert scores["mass_time_absolute"][0] == pytest.approx(np.ones(6))
    assert scores["mass_cell_absolute"][0] == pytest.approx(
        np.full(6, 2 / 12)
    )  # 2 of 12 leads by luck


def test_within_a_domain_only_its_samples_count():
    mask, domain = np.zeros((2, 1, 2, 6), dtype=bool)
    mask[0, 0, :2], domain[0, 0, :4] = True, True
    maps = np.zeros((1, 2, 6))
    maps[0, 0] = [3, 1, 2, 0, 0, 0]
    maps[0, 1] = 99  # outside of the domain
    assert auc_within(maps, mask, domain) == pytest.approx([0.75])
    assert np.isnan(auc_within(maps, mask, mask)).all()


def test_a_sign_flip_is_caught_by_the_positive_reading(mask):
    right, flipped = score_truths(mask.astype(float), mask), score_truths(-mask.astype(float), mask)
    for metric in METRICS:
        name = f"{metric}_cell_positive"
        assert (right[name][0] == 1).all()
        assert flipped[name][0] == pytest.approx(flipped[name][1])  # an empty map: chance
        assert flipped[f"{metric}_cell_absolute"][0] == pytest.approx(
            right[f"{metric}_cell_absolute"][0]
        )


def test_shuffled_leads_are_caught_by_cells_and_not_by_time(mask):
    shuffled = np.roll(mask, 5, axis=2).astype(float)
    scores = score_truths(shuffled, mask)
    assert (scores["mass_time_absolute"][0] == 1).all()
    assert (scores["mass_cell_absolute"][0] == 0).all()
