"""Metrics: against sklearn as the oracle, hand values, and what the bootstrap must keep
together.
"""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text
from sklearn import metrics as oracle

from common.stats import patient_weights
from networks import metrics as evaluation
from networks.figures import roc_figure


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def _case(rng, n=200, classes=4, levels=None):
    """Informative logits (with ties if `levels`) and labels of different prevalence."""
    labels = rng.random((n, classes)) < np.linspace(0.05, 0.6, classes)
    logits = rng.normal(size=(n, classes)) + labels
    return (np.round(logits * levels) / levels if levels else logits), labels


@pytest.mark.parametrize("levels", [None, 2])
def test_ranking_metrics_equal_sklearns(rng, levels):
    logits, labels = _case(rng, levels=levels)
    weights = patient_weights(np.arange(200) // 2, 20, seed=1)
    areas = evaluation.roc_auc(logits.T, labels.T)
    for c, (scores, positive) in enumerate(zip(logits.T, labels.T, strict=True)):
        assert areas[c] == pytest.approx(oracle.roc_auc_score(positive, scores), abs=1e-12)
        expected = [
            oracle.average_precision_score(positive, scores, sample_weight=row) for row in weights
        ]
        precision = evaluation.average_precision(scores, positive, weights)
        np.testing.assert_allclose(precision, expected, atol=1e-12)


def test_average_precision_in_chunks_is_the_same(rng, monkeypatch):
    logits, labels = _case(rng)
    of_class = logits[:, 3], labels[:, 3], patient_weights(np.arange(200), 30, seed=1)
    whole = evaluation.average_precision(*of_class)
    monkeypatch.setattr(evaluation, "CHUNK", 700)
    np.testing.assert_allclose(whole, evaluation.average_precision(*of_class), rtol=1e-12)


def test_perfect_reversed_and_constant_scores():
    positive = np.array([False, False, True, True])
    scores = np.array([np.arange(4.0), -np.arange(4.0), np.zeros(4)])
    assert evaluation.roc_auc(scores, np.stack([positive] * 3)).tolist() == [1, 0, 0.5]
    assert np.isnan(evaluation.roc_auc(scores[0], np.ones(4)))
    assert np.isnan(evaluation.roc_auc(scores[0], np.zeros(4)))


def test_macro_and_micro_equal_sklearn(rng):
    logits, labels = _case(rng, levels=5)
    result = evaluation.classification_metrics(
        logits, labels, list("abcd"), np.arange(200), n_resamples=50
    )
    assert result["macro_auc"]["value"] == pytest.approx(
        oracle.roc_auc_score(labels, logits, average="macro")
    )
    assert result["micro_auc"]["value"] == pytest.approx(
        oracle.roc_auc_score(labels, logits, average="micro")
    )
    assert evaluation.macro_auc(logits, labels) == pytest.approx(result["macro_auc"]["value"])
    probabilities = evaluation.sigmoid(logits)
    # scores that differ in the logits may not differ in the probabilities' order
    assert result["macro_average_precision"]["value"] == pytest.approx(
        oracle.average_precision_score(labels, probabilities, average="macro")
    )
    assert result["brier"]["value"] == pytest.approx(np.square(probabilities - labels).mean())
    for name in ("macro_auc", "micro_auc", "fmax", "brier", "macro_average_precision"):
        entry = result[name]
        assert entry["low"] < entry["value"] < entry["high"]
        assert entry["n"] == 200


def test_a_class_without_positives_is_named_and_left_out(rng):
    logits, labels = _case(rng)
    labels[:, 1] = False
    labels[:, 2] = True
    result = evaluation.classification_metrics(
        logits, labels, list("abcd"), np.arange(200), n_resamples=20
    )
    assert result["classes_left_out"] == ["b", "c"]
    assert np.isnan(result["per_class_auc"]["b"]["value"])
    assert result["per_class_auc"]["c"]["n_positive"] == 200
    scored = [oracle.roc_auc_score(labels[:, c], logits[:, c]) for c in (0, 3)]
    assert result["macro_auc"]["value"] == pytest.approx(np.mean(scored))
    assert result["macro_auc"]["n_classes"] == 2


def test_no_class_to_score_gives_nan_not_zero():
    result = evaluation.classification_metrics(
        np.zeros((5, 2)), np.zeros((5, 2)), ["a", "b"], np.arange(5), n_resamples=5
    )
    assert np.isnan(result["macro_auc"]["value"])
    assert np.isnan(result["micro_auc"]["value"])
    assert result["classes_left_out"] == ["a", "b"]
    assert np.isnan(evaluation.macro_auc(np.zeros((5, 2)), np.zeros((5, 2), bool)))


@pytest.mark.parametrize("n_positive", [1, 4])
def test_fewer_than_five_patients_have_a_value_and_no_interval(rng, n_positive):
    labels = np.zeros((50, 1), bool)
    labels[:n_positive] = True
    result = evaluation.classification_metrics(
        rng.normal(size=(50, 1)), labels, ["a"], np.arange(50), n_resamples=200
    )
    for name in ("per_class_auc", "per_class_average_precision"):
        entry = result[name]["a"]
        assert entry["n_positive"] == n_positive
        assert np.isfinite(entry["value"])
        assert np.isnan([entry["low"], entry["high"]]).all()


def test_intervals_count_a_patients_copies_once(rng):
    logits, labels = _case(rng, n=100)
    copies = [np.repeat(part, 4, axis=0) for part in (logits, labels)]
    patients = np.repeat(np.arange(100), 4)
    width = {
        name: np.ptp([entry["macro_auc"][edge] for edge in ("low", "high")])
        for name, entry in {
            "single": evaluation.classification_metrics(
                logits, labels, list("abcd"), np.arange(100), 400
            ),
            "by_patient": evaluation.classification_metrics(*copies, list("abcd"), patients, 400),
            "by_record": evaluation.classification_metrics(
                *copies, list("abcd"), np.arange(400), 400
            ),
        }.items()
    }
    assert width["by_patient"] == pytest.approx(width["single"], rel=1e-9)
    assert width["by_record"] < 0.7 * width["by_patient"]


def test_fmax_equals_its_definition(rng):
    logits, labels = _case(rng, n=60)
    probabilities = evaluation.sigmoid(logits)
    best = 0
    for threshold in evaluation.FMAX_THRESHOLDS:
        precisions, recalls = [], []
        for p, y in zip(probabilities, labels, strict=True):
            called = set(np.flatnonzero(p >= threshold))
            true = set(np.flatnonzero(y))
            if called:
                precisions.append(len(called & true) / len(called))
            if true:
                recalls.append(len(called & true) / len(true))
        if precisions and recalls and np.mean(precisions) + np.mean(recalls):
            p, r = np.mean(precisions), np.mean(recalls)
            best = max(best, 2 * p * r / (p + r))
    assert evaluation.fmax(probabilities, labels, np.ones((1, 60)))[0] == pytest.approx(best)


@pytest.mark.parametrize("levels", [None, 2])
def test_thresholds_reach_the_best_f1_there_is(rng, levels):
    logits, labels = _case(rng, n=120, levels=levels)
    labels[:, 0] = False
    probabilities = evaluation.sigmoid(logits)
    thresholds = evaluation.best_thresholds(probabilities, labels)
    assert np.isnan(thresholds[0])
    for c in range(1, 4):
        candidates = [
            oracle.f1_score(labels[:, c], probabilities[:, c] >= t) for t in probabilities[:, c]
        ]
        reached = oracle.f1_score(labels[:, c], probabilities[:, c] > thresholds[c])
        assert reached == pytest.approx(max(candidates))


def test_threshold_of_constant_scores_calls_all_positive():
    thresholds = evaluation.best_thresholds(np.full((4, 1), 0.3), np.array([[1], [0], [0], [1]]))
    assert 0 < thresholds[0] < 0.3


def test_calibration_of_a_calibrated_model_and_of_an_overconfident_one(rng):
    probabilities = rng.random((20_000, 1))
    labels = rng.random((20_000, 1)) < probabilities
    assert evaluation.calibration_error(probabilities, labels) < 0.02
    bins = evaluation.reliability(probabilities, labels)
    np.testing.assert_allclose(bins["observed"], bins["predicted"], atol=0.05)
    assert bins["count"].sum() == 20_000
    assert evaluation.calibration_error(
        np.full((100, 1), 0.95), np.arange(100)[:, None] < 50
    ) == pytest.approx(0.45)


def test_reliability_of_bins_with_known_content_and_of_empty_ones():
    probabilities = np.array([[0.02, 0.04], [0.96, 0.98], [1.0, 0.06]])
    labels = np.array([[0, 1], [1, 1], [0, 0]])
    bins = evaluation.reliability(probabilities, labels)
    assert bins["count"].tolist() == [3, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    np.testing.assert_allclose(bins["predicted"][[0, 9]], [0.04, 0.98])
    np.testing.assert_allclose(bins["observed"][[0, 9]], [1 / 3, 2 / 3])
    assert np.isnan(bins["predicted"][1:9]).all()
    assert evaluation.calibration_error(probabilities, labels) == pytest.approx(
        (1 / 3 - 0.04 + 0.98 - 2 / 3) / 2
    )
    nobody = evaluation.reliability(probabilities, np.zeros_like(labels))
    np.testing.assert_array_equal(nobody["observed"][[0, 9]], 0)


def test_regression_equals_sklearn_and_keeps_digits_at_large_offsets(rng):
    truth = rng.normal((0, 5, 1000), size=(80, 3))
    predicted = truth + 0.3 * rng.normal(size=truth.shape)
    result = evaluation.regression_metrics(
        predicted, truth, list("abc"), np.arange(80), n_resamples=100
    )
    assert result["r2"]["value"] == pytest.approx(oracle.r2_score(truth.ravel(), predicted.ravel()))
    assert result["mae"]["value"] == pytest.approx(oracle.mean_absolute_error(truth, predicted))
    for k, name in enumerate("abc"):
        assert result["per_lead_r2"][name]["value"] == pytest.approx(
            oracle.r2_score(truth[:, k], predicted[:, k]), abs=1e-9
        )
        entry = result["per_lead_mae"][name]
        assert entry["low"] < entry["value"] < entry["high"]


def test_sigmoid_does_not_overflow():
    with np.errstate(all="raise"):
        np.testing.assert_allclose(
            evaluation.sigmoid(np.array([-1e4, -2, 0, 1e4])),
            [0, 1 / (1 + np.exp(2)), 0.5, 1],
            atol=1e-12,
        )


def test_curves_of_perfect_classes_are_not_said_to_be_certain():
    labels = np.repeat([[1, 0], [0, 1]], 10, axis=0)
    entries = {"a": {"n_positive": 10, "value": 0.9997}, "b": {"n_positive": 9, "value": 1.0}}
    macro = {"value": 0.9998, "low": 0.97, "high": 1.0, "n": 20}
    metrics = {"per_class_auc": entries, "macro_auc": macro}
    figure = roc_figure(labels + 0.5, labels, ["a", "b"], metrics)
    words = " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")
    assert "macro AUC > 0.999 [0.970, > 0.999], 20 records" in words
    assert "a > 0.999 (10)" in words
    assert "b > 0.99 (9)" in words
    plt.close(figure)
