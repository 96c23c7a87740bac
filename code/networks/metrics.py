"""How good a model is: AUC, average precision, F-max, calibration, thresholds, R2 and MAE, with
intervals over patients.

Metrics whose interval comes from resamples are functions of (scores, labels, weights): `weights`
(R, N) says how often each record counts in each of R resamples, and the result has one value per
resample. The estimate itself is the row of ones.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from common.intervals import (
    NOTHING,
    auc_interval,
    effective_patients,
    macro_auc_interval,
    mean_intervals,
    r2_interval,
    share_interval,
)
from common.stats import mean_of_known, patient_weights

FMAX_THRESHOLDS = np.linspace(0, 1, 101)
CHUNK = 8_000_000  # elements of the largest intermediate array


def sigmoid(logits: np.ndarray | float) -> np.ndarray | float:
    """Logits to probabilities (float64, no overflow)."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))


def evaluable(labels: np.ndarray) -> np.ndarray:
    """(C,) bool: classes with a positive and a negative among the records (N, C)."""
    return labels.any(axis=0) & ~labels.all(axis=0)


# ---------------------------------------------------------------- ranking metrics


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Area under the ROC curve along the last axis: how often a positive scores higher than a
    negative, ties half (by ranks: Hanley & McNeil, Radiology 143 (1982) 29).

    scores, positive (..., N) -> (...); NaN without a positive or without a negative.
    """
    positive = positive.astype(bool)
    ranks = rankdata(scores, axis=-1)
    n_with = positive.sum(axis=-1)
    n_without = positive.shape[-1] - n_with
    above = (ranks * positive).sum(axis=-1) - n_with * (n_with + 1) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return above / (n_with * n_without)


def macro_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean AUC over the classes with a positive and a negative; NaN if there is none.
    (N, C) each.
    """
    areas = roc_auc(scores.T, labels.T)[evaluable(labels)]
    return float(areas.mean()) if len(areas) else float("nan")


def average_precision(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision per resample (R,); NaN for one without a positive.

    scores, positive (N,); weights (R, N). Each positive is compared with every record at once, for
    all resamples in one matrix product: few are positive.
    """
    found = np.flatnonzero(positive)
    w_found, precision = weights[:, found], np.zeros(len(weights))
    step = max(1, CHUNK // len(scores))
    for first in range(0, len(found), step):
        part = slice(first, first + step)
        called = (scores >= scores[found[part], None]).T.astype(weights.dtype)  # (N, P)
        hits = (w_found @ called[found]).astype(np.float64)
        share = hits / np.maximum(weights @ called, 1e-30)
        precision += np.einsum("rp,rp->r", w_found[:, part], share)
    with np.errstate(divide="ignore", invalid="ignore"):
        return precision / w_found.sum(axis=1, dtype=np.float64)


def fmax(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Largest harmonic mean of record-wise precision and recall over thresholds 0, .01 .. 1: (R,).

    Precision is averaged over the records with a prediction, recall over all with a label
    (Radivojac et al. 2013).
    """
    labels = labels.astype(bool)
    called = np.stack(
        [(probabilities >= threshold).sum(axis=1) for threshold in FMAX_THRESHOLDS], axis=1
    )  # (N, thresholds)
    hits = np.stack(
        [((probabilities >= threshold) & labels).sum(axis=1) for threshold in FMAX_THRESHOLDS],
        axis=1,
    )
    labelled = labels.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = weights @ (hits / np.maximum(called, 1)) / (weights @ (called > 0))
        recall = weights @ (hits / np.maximum(labelled, 1)) / (weights @ (labelled > 0))
        score = np.where(precision + recall > 0, 2 * precision * recall / (precision + recall), 0)
    return score.max(axis=1)


# ---------------------------------------------------------------- probabilities


def best_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probability above which calling a class positive gives the best F1, per class (C,); NaN
    without a positive.

    The threshold lies half way between the last score that is called and the next lower one.
    """
    thresholds = np.full(labels.shape[1], np.nan)
    for c in np.flatnonzero(labels.any(axis=0)):
        order = np.argsort(-probabilities[:, c], kind="stable")
        scores, hits = probabilities[order, c], np.cumsum(labels[order, c])
        last = np.flatnonzero(np.r_[np.diff(scores) != 0, True])  # tied scores are called together
        f1 = 2 * hits[last] / (last + 1 + hits[-1])
        at = last[np.argmax(f1)]
        below = scores[at + 1] if at + 1 < len(scores) else 0.0
        thresholds[c] = (scores[at] + below) / 2
    return thresholds


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, n_bins: int = 10
) -> dict[str, np.ndarray]:
    """Reliability diagram over all records and classes: per bin of probability its mean, the
    observed share (both NaN where the bin is empty), the count.
    """
    from sklearn.calibration import calibration_curve  # here: importing it takes a second

    values, truth = probabilities.ravel(), labels.ravel().astype(int)
    inner_edges = np.linspace(0, 1, n_bins + 1)[1:-1]
    count = np.bincount(np.searchsorted(inner_edges, values), minlength=n_bins)
    predicted, observed = np.full((2, n_bins), np.nan)
    points = calibration_curve(truth, values, n_bins=n_bins)
    observed[count > 0], predicted[count > 0] = points
    return {"predicted": predicted, "observed": observed, "count": count}


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, n_bins: int = 10) -> float:
    """Expected calibration error: mean distance of predicted and observed share over the bins, by
    count.
    """
    bins = reliability(probabilities, labels, n_bins)
    filled = bins["count"] > 0
    distance = np.abs(bins["predicted"] - bins["observed"])[filled]
    return float(distance @ bins["count"][filled] / bins["count"].sum())


# ---------------------------------------------------------------- summaries with intervals


def _share(values, n_patients, n, **more):
    """The estimate (row 0) of a share, its interval from the resamples (the other rows)."""
    return _entry(values[0], share_interval(values[0], values[1:], n_patients), n, **more)


def _entry(value, interval, n, **more):
    low, high = map(float, interval)
    return {"value": float(value), "low": low, "high": high, "n": int(n), **more}


def _weights(patients, n_resamples, seed):
    """The estimate's weights (ones) and then those of the resamples: (1 + R, N), small integers,
    exact in float32.
    """
    once = np.ones((1, len(patients)), dtype=np.float32)
    if not n_resamples:
        return once
    return np.concatenate((once, patient_weights(patients, n_resamples, seed).astype(np.float32)))


def classification_metrics(
    logits: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    patients: np.ndarray,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict:
    """All scores of a classification task, each as {value, low, high, n}; intervals over patients
    by common.intervals.

    Fewer than 5 patients with (or without) a class give it no interval: low and high are NaN.
    Without resamples (0) the averages over classes have none either.
    logits, labels (N, C); names (C,); patients (N,). Classes without a positive (or a negative)
    among the records are listed in `classes_left_out`, have no AUC and take no part in the macro
    averages.
    """
    labels = labels.astype(bool)
    weights = _weights(patients, n_resamples, seed)
    probabilities = sigmoid(logits)
    n, n_positive, known = len(labels), labels.sum(axis=0), evaluable(labels)
    areas, precisions = roc_auc(logits.T, labels.T), np.full((len(names), len(weights)), np.nan)
    for c in np.flatnonzero(known):
        precisions[c] = average_precision(logits[:, c], labels[:, c], weights)
    found = [effective_patients(patients[positive]) for positive in labels.T]  # with a class

    def per_class(values, intervals):
        rows = zip(names, values, intervals, n_positive, strict=True)
        return {
            name: _entry(value, interval, n, n_positive=int(count))
            for name, value, interval, count in rows
        }

    area_intervals = [
        auc_interval(logits[:, c], labels[:, c], patients) if known[c] else NOTHING
        for c in range(len(names))
    ]
    precision_intervals = [
        share_interval(row[0], row[1:], patients_with)
        for row, patients_with in zip(precisions, found, strict=True)
    ]
    squares = np.square(probabilities - labels)
    per_record = np.column_stack([squares, squares.mean(axis=1)])  # the classes, then their mean
    *brier_intervals, brier_interval = _mean_intervals(per_record, patients, n_resamples, seed)
    return {
        **_averages(logits, labels, patients, weights, mean_of_known(precisions)),
        "brier": _entry(squares.mean(), brier_interval, n),
        "calibration_error": calibration_error(probabilities, labels),
        "per_class_auc": per_class(areas, area_intervals),
        "per_class_average_precision": per_class(precisions[:, 0], precision_intervals),
        "per_class_brier": per_class(squares.mean(axis=0), brier_intervals),
        "classes_left_out": [name for name, scored in zip(names, known, strict=True) if not scored],
    }


def _averages(logits, labels, patients, weights, precision):
    """What is said of all classes together; `precision` (R,): mean over the classes per resample (a
    resample may lack a rare class: its average is over the classes it has).
    """
    known, n = evaluable(labels), len(labels)
    counts = {"n_positive": int(labels.sum()), "n_classes": int(known.sum())}
    with_any = effective_patients(patients[labels[:, known].any(axis=1)])
    owners = np.repeat(patients, labels.shape[1])
    intervals = [NOTHING, NOTHING]
    if len(weights) > 1:  # resamples were asked for
        intervals[0] = macro_auc_interval(logits, labels, patients)
        intervals[1] = auc_interval(logits.ravel(), labels.ravel(), owners)
    micro = roc_auc(logits.ravel(), labels.ravel())
    best = fmax(sigmoid(logits), labels, weights.astype(np.float64))
    return {
        "macro_auc": _entry(macro_auc(logits, labels), intervals[0], n, **counts),
        "micro_auc": _entry(micro, intervals[1], n, **counts),
        "macro_average_precision": _share(precision, with_any, n, **counts),
        "fmax": _share(best, effective_patients(patients), n),
    }


def _mean_intervals(values, patients, n_resamples, seed):
    """(low, high) of each column of values (N, C); NaN without resamples."""
    if not n_resamples:
        return [NOTHING] * values.shape[1]
    low, high = mean_intervals(values, patients, n_resamples, seed)
    return list(zip(low, high, strict=True))


def regression_metrics(
    predicted: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    patients: np.ndarray,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict:
    """R2 and mean absolute error (mV), over all leads flattened and per lead, each as {value, low,
    high, n}; intervals over patients (common.intervals).
    """
    truth = labels.astype(np.float64)
    error = truth - predicted
    n, once = len(labels), np.ones((1, len(labels)))
    absolute = np.column_stack([np.abs(error), np.abs(error).mean(axis=1)])  # leads, then all
    intervals = _mean_intervals(absolute, patients, n_resamples, seed)
    mae = [
        _entry(value, interval, n)
        for value, interval in zip(absolute.mean(axis=0), intervals, strict=True)
    ]

    def r2(leads):
        value = _r2(truth[:, leads], error[:, leads], once)[0]
        return _entry(value, r2_interval(truth[:, leads], error[:, leads], patients), n)

    return {
        "r2": r2(slice(None)),
        "mae": mae[-1],
        "per_lead_r2": {name: r2([k]) for k, name in enumerate(names)},
        "per_lead_mae": dict(zip(names, mae, strict=False)),
    }


def _r2(truth, error, weights):
    """1 - squared error / squared deviation from the mean, values (N, k) pooled, per
    resample (R,).
    """
    offset = truth - truth.mean()  # the difference of large sums would lose digits
    size = weights.sum(axis=1) * truth.shape[1]
    mean = weights @ offset.sum(axis=1) / size
    spread = weights @ np.square(offset).sum(axis=1) - size * np.square(mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - weights @ np.square(error).sum(axis=1) / spread
