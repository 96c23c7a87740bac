"""How good a model is: AUC, average precision, F-max, calibration, thresholds, R2 and MAE, with
intervals over patients.

Every metric is a function of (scores, labels, weights): `weights` (R, N) says how often each record
counts in each of R resamples, and the result has one value per resample. The estimate itself is the
row of ones.
"""

from collections.abc import Sequence

import numpy as np

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


def ranking(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision per resample: two arrays (R,).

    scores, positive (N,); weights (R, N). Ties count half in the AUC; a resample without a positive
    or a negative is NaN. Each positive is compared with every record at once, for all resamples in
    one matrix product: few are positive.
    """
    positive = positive.astype(bool)
    found, rest = np.flatnonzero(positive), np.flatnonzero(~positive)
    w_found, w_rest = weights[:, found], weights[:, rest]
    outranked, precision = np.zeros(len(weights)), np.zeros(len(weights))
    step = max(1, CHUNK // len(scores))
    for first in range(0, len(found), step):
        part = slice(first, first + step)
        own = scores[found[part], None]
        # weight of the records that rank at least as high as each positive, and of negatives that
        # rank the same: (R, P)
        hits, wrong, level = (
            w @ compared.T.astype(w.dtype)
            for w, compared in (
                (w_found, scores[found] >= own),
                (w_rest, scores[rest] >= own),
                (w_rest, scores[rest] == own),
            )
        )
        total = w_rest.sum(axis=1, keepdims=True, dtype=np.float64)
        outranked += np.einsum("rp,rp->r", w_found[:, part], total - wrong + 0.5 * level)
        share = hits.astype(np.float64) / np.maximum(hits + wrong, 1e-30)
        precision += np.einsum("rp,rp->r", w_found[:, part], share)
    n_found, n_rest = (w.sum(axis=1, dtype=np.float64) for w in (w_found, w_rest))
    with np.errstate(divide="ignore", invalid="ignore"):
        return outranked / (n_found * n_rest), precision / n_found


def micro_auc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC over all (record, class) entries together, per resample (R,). scores, labels (N, C);
    weights (R, N).

    The entries of a record come and go together, so that each resample is a quadratic form in its
    weights: entry (i, j) of the matrix says how often a positive of record i outranks a negative of
    record j.
    """
    labels = labels.astype(bool)
    order = np.argsort(scores[labels], kind="stable")
    positives, owner = scores[labels][order], np.nonzero(labels)[0][order]
    above = np.zeros(len(weights))
    step = max(1, CHUNK // len(labels))
    for first in range(0, len(labels), step):
        part = range(first, min(first + step, len(labels)))
        wins = np.empty((len(labels), len(part)), dtype=np.result_type(weights, np.float32))
        for column, record in enumerate(part):
            negatives = scores[record][~labels[record]]
            # the positives from `right` on outrank a negative, those from `left` on are at least
            # level with it
            outranked = sum(
                np.bincount(
                    np.searchsorted(positives, negatives, side), minlength=len(positives) + 1
                )
                for side in ("left", "right")
            )
            wins[:, column] = np.bincount(owner, np.cumsum(outranked)[:-1] / 2, len(labels))
        above += np.einsum("rn,rn->r", weights @ wins, weights[:, part], dtype=np.float64)
    n_found, n_rest = (weights.astype(np.float64) @ mask.sum(axis=1) for mask in (labels, ~labels))
    with np.errstate(divide="ignore", invalid="ignore"):
        return above / (n_found * n_rest)


def macro_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean AUC over the classes with a positive and a negative; NaN if there is none.
    (N, C) each.
    """
    once = np.ones((1, len(labels)))
    areas = [
        ranking(scores[:, c], labels[:, c], once)[0][0] for c in np.flatnonzero(evaluable(labels))
    ]
    return float(np.mean(areas)) if areas else float("nan")


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
    areas, precisions = (np.full((len(names), len(weights)), np.nan) for _ in range(2))
    for c in np.flatnonzero(evaluable(labels)):
        areas[c], precisions[c] = ranking(logits[:, c], labels[:, c], weights)
    n, n_positive, known = len(labels), labels.sum(axis=0), evaluable(labels)
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
    of_each = (mean_of_known(areas), mean_of_known(precisions))
    return {
        **_averages(logits, labels, patients, weights, of_each),
        "brier": _entry(squares.mean(), brier_interval, n),
        "calibration_error": calibration_error(probabilities, labels),
        "per_class_auc": per_class(areas[:, 0], area_intervals),
        "per_class_average_precision": per_class(precisions[:, 0], precision_intervals),
        "per_class_brier": per_class(squares.mean(axis=0), brier_intervals),
        "classes_left_out": [name for name, scored in zip(names, known, strict=True) if not scored],
    }


def _averages(logits, labels, patients, weights, of_each):
    """What is said of all classes together; `of_each`: mean area and precision over the classes per
    resample (a resample may lack a rare class: its average is over the classes it has).
    """
    known, n = evaluable(labels), len(labels)
    counts = {"n_positive": int(labels.sum()), "n_classes": int(known.sum())}
    with_any = effective_patients(patients[labels[:, known].any(axis=1)])
    owners = np.repeat(patients, labels.shape[1])
    intervals = [NOTHING, NOTHING]
    if len(weights) > 1:  # resamples were asked for
        intervals[0] = macro_auc_interval(logits, labels, patients)
        intervals[1] = auc_interval(logits.ravel(), labels.ravel(), owners)
    micro = micro_auc(logits, labels, weights[:1])[0]
    best = fmax(sigmoid(logits), labels, weights.astype(np.float64))
    return {
        "macro_auc": _entry(of_each[0][0], intervals[0], n, **counts),
        "micro_auc": _entry(micro, intervals[1], n, **counts),
        "macro_average_precision": _share(of_each[1], with_any, n, **counts),
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
