"""TCAV: known answers, captum as oracle, and whether the test holds where nothing is and finds what
is there.
"""

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest

from common.files import UserError
from records.dataset import Dataset
from tcav.analysis import (
    NULL_ACCURACIES,
    Plan,
    analyse,
    correct_over_concepts,
    p_values,
    run_concept,
    sign_counts,
)
from tcav.concept_sets import concept_set, relative_sets
from tcav.tables import runs_table
from toy_networks import CLASSES, make_model, toy_concept, toy_layer

QUICK = Plan(n_runs=10, n_null=199, test_runs=5)


def outcome_of(concept, layer, plan=QUICK):
    """p over the layer's cells, (classes,)."""
    outcome = run_concept(concept, [layer], plan)
    return p_values(outcome.magnitudes[0][: plan.test_runs].mean(0), outcome.null[0]), outcome


# ---------------------------------------------------------------- known answers


def test_score_and_magnitude_of_a_planted_direction():
    rng = np.random.default_rng(0)
    flags = np.arange(400) < 200
    activations = rng.normal(size=(400, 4)) + np.outer(flags, [0, 5.0, 0, 0])
    along, against, across = np.eye(4)[1], -np.eye(4)[1], np.eye(4)[2]
    gradients = [[along, along, along, against], [against], [across]]
    _, outcome = outcome_of(toy_concept(flags), toy_layer(activations, gradients, "plain"))
    np.testing.assert_allclose(outcome.scores[0].mean(0)[:2], [0.75, 0.0])
    np.testing.assert_allclose(outcome.magnitudes[0].mean(0), [0.5, -1.0, 0.0], atol=0.06)
    np.testing.assert_allclose(outcome.cavs[0], along, atol=0.05)
    assert outcome.accuracies[0].mean() > 0.97
    assert abs(outcome.null_accuracies[0].mean() - 0.5) < 0.02


def test_more_runs_than_judged_pseudo_concepts_have_an_accuracy_each():
    rng = np.random.default_rng(0)
    concept, layer = (
        toy_concept(np.arange(40) < 20),
        toy_layer(rng.normal(size=(40, 3)), [[[1] * 3]]),
    )
    plan = Plan(n_runs=NULL_ACCURACIES + 2, n_null=NULL_ACCURACIES + 5, test_runs=2)
    outcome = run_concept(concept, [layer], plan)
    assert [len(values) for values in outcome.random[0]] == [plan.n_runs] * 3
    assert len(runs_table([outcome], ["LVH"])) == 2 * plan.n_runs


def test_sign_counts_leave_out_zero():
    gradients = [torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])]
    np.testing.assert_allclose(
        sign_counts(gradients, torch.tensor([[2.0, 0.0], [0.0, -3.0]])).numpy(), [[1 / 3], [0.0]]
    )


# ---------------------------------------------------------------- p


def test_p_values_by_hand():
    """Standardised by the five values together, each column of the null is a plain order."""
    null = np.array([[-1.0, 10.0], [0.0, -20.0], [1.0, 30.0], [0.5, 0.0]])
    result = p_values(np.array([5.0, 1.0]), null)
    assert result.p[0] == 1 / 5
    together = np.vstack([[5.0, 1.0], null])
    deviation = np.abs(together - together.mean(0)) / together.std(0)
    np.testing.assert_allclose(result.p, (deviation >= deviation[0]).mean(0))
    np.testing.assert_allclose(
        result.p_max_t, [(deviation.max(1) >= d).mean() for d in deviation[0]]
    )


def test_p_is_two_sided_and_never_below_its_floor():
    null = np.random.default_rng(0).normal(size=(999, 2, 3))
    for observed in (np.full((2, 3), 50.0), np.full((2, 3), -50.0)):
        result = p_values(observed, null)
        np.testing.assert_array_equal(result.p, np.full((2, 3), 1 / 1000))
        np.testing.assert_array_equal(result.p_max_t, result.p)


def test_a_cell_that_never_varies_is_never_significant():
    assert p_values(np.zeros(2), np.zeros((99, 2))).p_max_t.tolist() == [1, 1]


def test_max_t_is_between_the_single_p_and_bonferroni():
    rng = np.random.default_rng(1)
    result = p_values(rng.normal(size=(4, 5)) * 2, rng.normal(size=(999, 4, 5)))
    assert (result.p_max_t >= result.p).all()
    assert (result.p_max_t <= result.p * 20 + 0.01).all()


def test_holm_over_concepts_by_hand():
    """Three concepts with smallest p .01, .02, .2: multipliers 3, 2, 1, and never below an earlier
    concept.
    """
    corrected = correct_over_concepts(
        [np.array([0.02, 0.5]), np.array([0.01, 0.012]), np.array([0.2, 0.9])]
    )
    np.testing.assert_allclose(corrected[1], [0.03, 0.036])
    np.testing.assert_allclose(corrected[0], [0.04, 1.0])
    np.testing.assert_allclose(corrected[2], [0.2, 0.9])


def test_what_cannot_become_significant_is_refused_before():
    with pytest.raises(
        UserError, match=r"--n_null 100 is too small .* 15 concepts .* at least 300"
    ):
        Plan(n_null=100).check(15)
    with pytest.raises(UserError, match="--n_runs 1 shows no spread"):
        Plan(n_runs=1).check(1)
    Plan(n_null=300).check(15)
    assert Plan(n_null=300).floor(15) < 0.05
    Plan(n_null=0).check(15)


# ---------------------------------------------------------------- does the test hold?


def anisotropic(rng, n, size=10):
    """Activations whose first directions carry most of the variance, as in upper layers."""
    return rng.normal(size=(n, size)) * np.geomspace(30, 0.3, size)


def test_calibration_on_flags_that_nothing_depends_on():
    """40 analyses: any p_max_t < .05 within the binomial limit; p of the first cell uniform (slow
    study: 200, real records).
    """
    rng = np.random.default_rng(7)
    layer = toy_layer(anisotropic(rng, 240), rng.normal(size=(6, 5, 10)) + np.eye(10)[0])
    patients, p, found = np.arange(240) // 2, [], 0
    for number in range(40):
        flags = (rng.random(120) < 0.3)[patients] ^ (rng.random(240) < 0.1)
        concept = concept_set("shuffled", flags.astype(float), patients, np.zeros(240, dtype=int))
        result, _ = outcome_of(concept, layer, Plan(n_runs=2, n_null=99, test_runs=2, seed=number))
        p.append(result.p[0])
        found += result.p_max_t.min() < 0.05
    assert found <= binom.ppf(0.975, 40, 0.05)
    assert kstest(p, "uniform").pvalue > 0.01


def test_a_visible_decoy_is_not_found_and_a_cause_is():
    """The class's gradient lies along the cause; the decoy is just as visible, along a direction of
    its own.
    """
    rng = np.random.default_rng(4)
    cause, decoy = rng.random(400) < 0.3, rng.random(400) < 0.3
    activations = rng.normal(size=(400, 20))
    activations[:, 0] += 2 * cause
    activations[:, 1] += 2 * decoy
    layer = toy_layer(activations, [np.eye(20)[0] + 0.05 * rng.normal(size=(30, 20))])
    assert outcome_of(toy_concept(cause), layer)[0].p_max_t[0] == 1 / 200
    result, outcome = outcome_of(toy_concept(decoy), layer)
    assert result.p_max_t[0] > 0.05
    assert outcome.accuracies[0].mean() > 0.75


def confounded(rng, of_label, of_concept, share_with, share_without, n=1000, size=20):
    """Label and concept depend on each other; the class's feature takes `of_label` from one,
    `of_concept` from the other.
    """
    label = rng.random(n) < 0.4
    flags = rng.random(n) < np.where(label, share_with, share_without)
    activations = rng.normal(size=(n, size))
    activations[:, 0] += of_label * label + of_concept * flags
    activations[:, 1] += 2 * flags  # the concept is visible in any case
    layer = toy_layer(activations, [np.eye(size)[0] + 0.05 * rng.normal(size=(30, size))])
    return layer, flags, label.astype(int)


def test_matching_takes_away_what_only_a_confounder_made():
    layer, flags, label = confounded(
        np.random.default_rng(0), of_label=3, of_concept=0, share_with=0.7, share_without=0.2
    )
    assert outcome_of(toy_concept(flags), layer)[0].p_max_t[0] < 0.02
    assert outcome_of(toy_concept(flags, label), layer)[0].p_max_t[0] > 0.05


def test_matching_brings_out_what_a_confounder_hid():
    """The concept raises the feature by as much as the label, rarer with it, takes away."""
    rng = np.random.default_rng(1)
    label_share = {
        True: 0.4 * 0.2 / (0.4 * 0.2 + 0.6 * 0.7),
        False: 0.4 * 0.8 / (0.4 * 0.8 + 0.6 * 0.3),
    }
    of_label = 1.5 / (label_share[False] - label_share[True])
    layer, flags, label = confounded(
        rng, of_label=of_label, of_concept=1.5, share_with=0.2, share_without=0.7
    )
    assert outcome_of(toy_concept(flags), layer)[0].p_max_t[0] > 0.05
    result, outcome = outcome_of(toy_concept(flags, label), layer)
    assert result.p_max_t[0] == 1 / 200
    assert outcome.magnitudes[0].mean() > 0


def test_relative_tcav_tells_concepts_apart_and_equal_ones_not():
    rng = np.random.default_rng(2)
    groups = rng.integers(4, size=600)
    columns = {name: (groups == number).astype(float) for number, name in enumerate("abc")}
    activations = rng.normal(size=(600, 15))
    activations[:, 0] += 2 * columns["a"]
    activations[:, 1] += 2 * (columns["b"] + columns["c"])
    layer = toy_layer(activations, [np.eye(15)[0] + 0.05 * rng.normal(size=(30, 15))])
    zeros = np.zeros(600, dtype=int)
    a, b = relative_sets({name: columns[name] for name in "ab"}, np.arange(600), zeros)
    result, outcome = outcome_of(a, layer)
    assert result.p_max_t[0] == 1 / 200
    assert outcome.magnitudes[0].mean() > 0.3
    assert outcome_of(b, layer)[1].magnitudes[0].mean() < -0.3
    same, _ = relative_sets({name: columns[name] for name in "bc"}, np.arange(600), zeros)
    assert outcome_of(same, layer)[0].p_max_t[0] > 0.05


# ---------------------------------------------------------------- models


def tiny_dataset(n=40, seed=0):
    import pandas as pd

    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {"patient_id": np.arange(n), "strat_fold": np.arange(n) % 10 + 1}, index=np.arange(1, n + 1)
    )
    labels = (rng.random((n, len(CLASSES))) < 0.5).astype(int)
    return Dataset(
        table,
        rng.normal(size=(n, 500, 12)).astype(np.float32),
        100,
        None,
        None,
        labels,
        labels.any(1),
    )


@pytest.mark.parametrize(
    ("modelname", "layers"),
    [
        ("lenet", ["block1.relu", "block3.relu", "hidden", "head"]),
        ("resnet", ["stage4.block3", "head"]),
        ("xresnet", ["stage4.block3", "head"]),
    ],
)
def test_every_model_and_layers_in_several_passes(modelname, layers):
    """Layers done in passes of one give the same outcome to the last bit."""
    data, plan = tiny_dataset(), Plan(n_runs=3, n_null=19, test_runs=2)
    training, evaluated = data.in_folds(range(1, 9)), data.in_folds([10])
    concept = toy_concept(np.random.default_rng(1).random(len(training)) < 0.5)
    model = make_model(modelname)
    together, separate = (
        analyse(
            model,
            training,
            evaluated,
            [concept],
            [0, 2],
            layers,
            plan,
            "centre_crop",
            max_memory=memory,
        )
        for memory in (1.0, 2.1e-4 if modelname != "lenet" else 1.2e-4)
    )
    assert together[0][0].layers == separate[0][0].layers == layers
    for name in ("scores", "magnitudes", "accuracies", "cavs", "null", "null_accuracies"):
        for one, other in zip(
            getattr(together[0][0], name), getattr(separate[0][0], name), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    assert together[0][0].null[0].shape == (19, 2)


def test_white_coordinates_of_too_wide_a_layer_are_refused():
    data = tiny_dataset(20)
    with pytest.raises(
        UserError, match=r"--coordinates white needs at most 1024 dimensions \(block1.conv"
    ):
        analyse(make_model("lenet"), data, data, [], [0], ["block1.conv"], Plan(), pool="none")


def test_sign_counts_equal_captums_for_captums_own_cavs(tmp_path):
    """captum trains its CAVs (SGD, flattened activations of the crop) and scores them; ours score
    the same CAVs.
    """
    from captum.concept import TCAV, Concept

    from tcav.activations import class_gradients

    torch.manual_seed(0)
    model, layers = make_model("lenet"), ["block2.pool", "block3.conv", "hidden"]
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(40, 250, 12)).astype(np.float32)
    inputs = torch.from_numpy(signals.transpose(0, 2, 1).copy())

    def examples(number, shift):
        values = torch.from_numpy(rng.normal(size=(20, 12, 250)).astype(np.float32)) + shift
        return Concept(number, f"c{number}", torch.utils.data.DataLoader(values, batch_size=20))

    sets = [[examples(0, 0.5), examples(1, 0)], [examples(2, -0.5), examples(3, 0)]]
    captum = TCAV(model, layers, save_path=str(tmp_path))
    ours = class_gradients(
        model, signals, np.ones((40, 3), dtype=bool), layers, "centre_crop", "none"
    )
    compared = []
    for target in (0, 2):
        theirs = captum.interpret(inputs, sets, target=target)
        for number, pair in enumerate(theirs):
            for layer in layers:
                cavs = captum.cavs[pair][layer].stats["weights"].float()
                expected = theirs[pair][layer]["sign_count"]
                score = sign_counts([torch.from_numpy(ours[target][layer])], cavs)[:, 0]
                order = captum.cavs[pair][layer].stats["classes"]
                assert [concept.id for concept in sets[number]] == list(order)
                np.testing.assert_array_equal(score.numpy(), expected.numpy())
                compared.append(score[0].item())
    assert any(0 < score < 1 for score in compared)
