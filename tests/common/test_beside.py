"""A network beside networks that have learnt nothing: known p, and how often a null is rejected."""

import numpy as np
import pandas as pd
import pytest

from common.beside import ENOUGH, above_controls, beside_controls, few_controls


def test_p_counts_the_controls_that_reach_the_score_and_max_t_the_best_of_each():
    controls = np.column_stack([np.arange(20.0), np.arange(20.0)[::-1]])
    p, corrected = above_controls(np.array([25.0, 17.5]), controls)
    assert p.tolist() == pytest.approx([1 / 21, 3 / 21])
    assert corrected[0] == pytest.approx(1 / 21)
    assert corrected[1] == pytest.approx(4 / 21)  # two in this score, one more in the other


def test_what_is_not_there_is_not_tested():
    controls = np.full((20, 3), 0.5)
    controls[:, 1] = np.nan
    p, corrected = above_controls(np.array([np.nan, 0.9, 0.5]), controls)
    assert np.isnan([p[:2], corrected[:2]]).all()
    assert p[2] == corrected[2] == 1  # equal to all
    assert above_controls(np.array([np.nan]), controls[:, :1])[1][0] != 1


def test_a_control_without_any_score_does_not_count():
    controls = np.random.default_rng(0).normal(size=(10, 4))
    own = np.array([1.2, 0.0, 0.5, 3.0])
    wanted = above_controls(own, controls)
    empty = np.full((10, 4), np.nan)
    assert np.array_equal(above_controls(own, np.vstack([controls, empty])), wanted)


def test_a_network_like_its_controls_is_beyond_them_in_one_of_twenty_one():
    """Correlated scores of unequal spread: any score below .05 in 1 / 21 of networks."""
    rng, hits = np.random.default_rng(0), 0
    trials = 600
    for _ in range(trials):
        shared = rng.normal(size=(21, 1))
        values = np.exp((shared + rng.normal(size=(21, 30))) * np.linspace(0.1, 1, 30))
        hits += (above_controls(values[0], values[1:])[1] < 0.05).any()
    assert hits / trials < 1 / 21 + 2.6 * np.sqrt(0.05 * 0.95 / trials)


def test_a_table_keeps_its_order_and_takes_the_larger_p_of_the_kinds():
    index = pd.MultiIndex.from_tuples([("b", 1), ("a", 1)], names=["method", "check"])
    own = pd.Series([0.9, 0.5], index=index)
    made = pd.DataFrame(
        [
            (kind, seed, method, 1, 0.1 * (kind == "permuted") + seed / 100)
            for kind in ("untrained", "permuted")
            for seed in range(20)
            for method in "ab"
        ],
        columns=["kind", "seed", "method", "check", "value"],
    )
    made.loc[made["kind"] == "permuted", "value"] += 0.3
    found = beside_controls(own, made, ["method", "check"])
    assert found.index.equals(index)
    assert found["p_control"].tolist() == pytest.approx([1 / 21, 11 / 21])
    assert found["control_mean"].tolist() == pytest.approx([0.095, 0.095])  # untrained ones
    assert found["n_controls"].tolist() == [20, 20]


def test_too_few_controls_are_said():
    assert few_controls(ENOUGH) is None
    assert "no p can fall below 0.2" in few_controls(4)
