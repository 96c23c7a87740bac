"""Learnt or merely special: the test against networks that have learnt nothing, by hand and by
known answers.
"""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from tcav.controls import (
    MIN_CLASS,
    NOT_ASKED,
    against_controls,
    arrangements,
    floor_in_words,
    in_words,
    judge,
    special_p,
    told_apart,
    upper,
)

CONCEPTS, LAYERS, CLASSES = 4, 6, 3


def test_arrangements_are_all_of_them_the_true_one_first():
    weights = arrangements(2, 3)
    assert len(weights) == 10
    assert weights[0] == pytest.approx([1 / 2, 1 / 2, -1 / 3, -1 / 3, -1 / 3])
    assert len(np.unique(weights > 0, axis=0)) == 10
    many = arrangements(6, 20)
    assert len(many) == 10_000
    assert (many[0] > 0).nonzero()[0].tolist() == list(range(6))
    assert np.allclose(many.sum(axis=1), 0)


def test_p_values_by_enumeration():
    rng = np.random.default_rng(0)
    trained, controls = rng.normal(1, 1, (2, 5)), rng.normal(0, 1, (4, 5))
    p, corrected = against_controls(trained, controls)
    together = np.concatenate([trained, controls])
    deviations = []
    for chosen in combinations(range(6), 2):
        taken = np.isin(np.arange(6), chosen)
        difference = together[taken].mean(axis=0) - together[~taken].mean(axis=0)
        deviations.append(np.abs(difference) / together.std(axis=0))
    deviations = np.array(deviations)
    for pair in range(5):
        own = deviations[0, pair] - 1e-9
        assert p[pair] == pytest.approx((deviations[:, pair] >= own).mean())
    order = np.argsort(-deviations[0])
    stepped = [
        (deviations[:, order[k:]].max(axis=1) >= deviations[0, order[k]] - 1e-9).mean()
        for k in range(5)
    ]
    assert corrected[order] == pytest.approx(np.maximum.accumulate(stepped))
    first = np.array([True, False, True, False, False])
    halves = against_controls(trained, controls, asked_first=first)[1]
    alone = [against_controls(trained[:, part], controls[:, part])[1] for part in (first, ~first)]
    assert halves[first] == pytest.approx(np.minimum(2 * alone[0], 1))
    assert halves[~first] == pytest.approx(np.minimum(2 * alone[1], 1))


def test_family_wise_error_holds_where_networks_are_exchangeable():
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(300):
        networks = rng.normal(size=(12, 1)) + rng.standard_t(3, (12, 30))
        first = np.arange(30) < 5
        corrected = against_controls(networks[:3], networks[3:], asked_first=first)[1]
        found += (corrected < 0.05).any()
    assert found <= binom.ppf(0.99, 300, 0.05)


def family(rng, n, shift=0.0):
    """Cells of n networks; `shift` moves the first pair in all upper layers."""
    cells = rng.normal(0, 0.1, (n, CONCEPTS, LAYERS, CLASSES))
    cells[:, 0, upper(range(LAYERS)), 0] += shift
    return cells


def verdicts_of(trained, controls, n_class=(20, 20, 20), p_class=None):
    null = np.random.default_rng(9).normal(0, 0.05, (399, CONCEPTS, CLASSES))
    return judge(trained, null, controls, n_class, p_class=p_class)


def test_a_pair_beyond_both_controls_is_learnt_and_no_other():
    rng = np.random.default_rng(2)
    controls = {kind: family(rng, 20) for kind in ("untrained", "permuted")}
    found = verdicts_of(family(rng, 3, shift=0.5), controls)
    assert found.words[0, 0] == "learnt"
    assert (found.words == "learnt").sum() == 1
    assert found.p_corrected[0, 0] < 0.01
    assert (found.n_trained, found.n_controls) == (3, 20)


def test_what_one_kind_of_control_shows_too_is_only_special():
    rng = np.random.default_rng(3)
    for showing in ("untrained", "permuted"):
        controls = {
            kind: family(rng, 20, 0.5 if kind == showing else 0)
            for kind in ("untrained", "permuted")
        }
        found = verdicts_of(family(rng, 3, shift=0.5), controls)
        assert found.words[0, 0] == "special"


def test_nothing_is_learnt_where_a_kind_of_control_is_missing():
    rng = np.random.default_rng(2)
    controls = {"untrained": family(rng, 20)}  # all that there is of an imported network
    found = verdicts_of(family(rng, 3, shift=0.5), controls)
    assert found.words[0, 0] == "special"
    assert found.p_corrected[0, 0] < 0.01


def test_nothing_is_learnt_of_a_class_that_is_not_told_apart():
    rng = np.random.default_rng(2)
    controls = {kind: family(rng, 20) for kind in ("untrained", "permuted")}
    trained = family(rng, 3, shift=0.5)
    for p, word in ((0.04, "learnt"), (0.06, "special"), (np.nan, "special")):
        found = verdicts_of(trained, controls, p_class=np.array([p, 0.01, 0.01]))
        assert found.words[0, 0] == word
        assert found.p_class[:1] == pytest.approx([p], nan_ok=True)


def test_classes_are_told_apart_by_rank_once_a_patient_and_corrected():
    """Ten patients with two records; the five highest first records have class 0: one of 252
    choices. Class 1 is ranked the wrong way round, class 2 is too rare.
    """
    patients = np.repeat(np.arange(10), 2)
    logits = np.column_stack([np.arange(20)] * 3).astype(float)
    logits[1::2] = -100  # a patient's second record has no say
    labels = np.zeros((20, 3), dtype=int)
    labels[10:, 0] = labels[:10, 1] = labels[16:, 2] = 1
    p = told_apart(logits, labels, patients)
    assert p[0] == pytest.approx(2 / 252)
    assert p[1] == 1
    assert np.isnan(p[2])


def test_family_wise_error_holds_over_sets_of_labels():
    """Seeds share a set of labels and what chance put into it: against controls alone that is found
    far too often, but labels without meaning are not foretold.
    """
    rng, p = np.random.default_rng(8), []
    found = {"controls alone": 0, "judged": 0}
    null = rng.normal(0, 0.01, (399, CONCEPTS, CLASSES))
    for _ in range(200):
        of_labels = rng.normal(0, 0.3, (41, CONCEPTS, 1, CLASSES))
        trained, *kinds = np.split(of_labels, (1, 21))
        trained = trained + rng.normal(0, 0.03, (5, CONCEPTS, LAYERS, CLASSES))
        controls = dict(
            zip(
                ("untrained", "permuted"),
                (np.repeat(kind, LAYERS, axis=2) for kind in kinds),
                strict=True,
            )
        )
        labels = rng.random((100, CLASSES)) < 0.2
        p_class = told_apart(rng.normal(size=labels.shape), labels, np.arange(100))
        for how, of_class in (("controls alone", None), ("judged", p_class)):
            words = judge(trained, null, controls, [20] * CLASSES, p_class=of_class).words
            found[how] += (words == "learnt").any()
        p.append(p_class.min() < 0.05)
    limit = binom.ppf(0.99, 200, 0.05)
    assert found["controls alone"] > limit
    assert found["judged"] <= limit
    assert sum(p) <= limit


def test_less_than_the_controls_show_is_not_learnt():
    """Networks in which a pair has become smaller differ from the controls, yet show it less."""
    rng = np.random.default_rng(4)
    controls = {kind: family(rng, 20, 2.0) for kind in ("untrained", "permuted")}
    found = verdicts_of(family(rng, 5, shift=0.5), controls)
    assert found.p_corrected[0, 0] < 0.05
    assert found.words[0, 0] == "special"


def test_one_network_a_rare_class_and_no_controls_are_not_tested():
    rng = np.random.default_rng(5)
    controls = {kind: family(rng, 20) for kind in ("untrained", "permuted")}
    alone = verdicts_of(family(rng, 1, shift=0.5), controls)
    assert np.isnan(alone.p_corrected).all()
    assert alone.words[0, 0] == "special"
    cell = controls["untrained"][:, 1, 2, 1]
    assert alone.low[1, 2, 1] == pytest.approx(np.quantile(cell, 0.025))
    assert alone.high[1, 2, 1] == pytest.approx(np.quantile(cell, 0.975))
    rare = verdicts_of(family(rng, 3, shift=0.5), controls, (MIN_CLASS - 1, 20, 20))
    assert (rare.words[:, 0] == "").all()
    assert np.isnan(rare.p_corrected[:, 0]).all()
    assert np.isfinite(rare.p_corrected[:, 1:]).all()
    without = verdicts_of(family(rng, 3, shift=0.5), {}, (MIN_CLASS - 1, 20, 20))
    assert (without.words == NOT_ASKED).all()
    assert np.isnan(without.low).all()


def test_rare_classes_do_not_count_in_the_correction_of_special():
    """As if they were not there: what is not tested is nothing to be corrected for."""
    rng = np.random.default_rng(7)
    null = rng.normal(size=(399, CONCEPTS, 30))
    cells = np.zeros((1, CONCEPTS, LAYERS, 30))
    cells[:, 0, :, 0] = np.quantile(np.abs(null[:, 0, 0]), 0.995)
    controls = {"untrained": cells}
    of_all = judge(cells, null, controls, [20] * 30).words
    rare = judge(cells, null, controls, [20] + [MIN_CLASS - 1] * 29).words
    assert of_all[0, 0] == "neither"
    assert rare[0, 0] == "special"
    assert (judge(cells, null, controls, [0] * 30).words == "").all()


def test_special_is_corrected_over_classes_and_concepts():
    rng = np.random.default_rng(6)
    found = 0
    for _ in range(200):
        values = rng.normal(size=(100, CONCEPTS, CLASSES))
        found += (special_p(values[0], values[1:]) < 0.05).any()
    assert found <= binom.ppf(0.99, 200, 0.05)


def test_words_for_people():
    assert "nothing can be called learnt" in floor_in_words(1, 20)
    assert "0.0011" in floor_in_words(3, 20)
    table = pd.DataFrame(
        {
            "run_kind": "concept",
            "concept": ["A", "A", "A", "B"],
            "layer": ["x", "y", "x", "x"],
            "pathology": ["LVH", "LVH", "PMI", "LVH"],
            "learnt": ["learnt", "learnt", np.nan, "special"],
            "n_class": [20, 20, 3, 20],
            "p_control_corrected": [0.01, 0.01, np.nan, 0.3],
            "p_class": [0.01, 0.01, np.nan, 0.01],
        }
    )
    lines = in_words(table)
    assert lines[0].startswith(
        "of 3 pairs of concept and pathology: 1 learnt, 1 special, 0 neither"
    )
    assert lines[1:] == ["not tested, fewer than 5 records: PMI", "  learnt: A -> LVH (p 0.01)"]
    unknown = in_words(table.assign(p_class=0.2))
    assert unknown[2] == "not told apart in held-out patients, so not learnt: LVH"
    unseen = in_words(table.assign(p_class=np.nan))
    assert "not told apart" not in " ".join(unseen)
    assert unseen[2].startswith("fewer than 5 records that the networks have not seen")
    assert unseen[2].endswith("so not learnt: LVH")
