"""How good a model is: AUC, average precision, F-max, calibration, thresholds, R2 and MAE, with intervals over patients.

Every metric is a function of (scores, labels, weights): `weights` (R, N) says how often each record counts in each of R
resamples, and the result has one value per resample. The estimate itself is the row of ones.
"""

import numpy as np

from stats import patient_weights, percentile_interval

FMAX_THRESHOLDS = np.linspace(0, 1, 101)
CHUNK = 8_000_000  # elements of the largest intermediate array


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits to probabilities (float64, no overflow)."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))


def evaluable(labels: np.ndarray) -> np.ndarray:
    """(C,) bool: classes with a positive and a negative among the records (N, C)."""
    return labels.any(axis=0) & ~labels.all(axis=0)


# ---------------------------------------------------------------- ranking metrics

def _sorted_weights(scores, positive, weights, owner):
    """Per chunk of resamples: summed weights of positives and negatives in each group of tied scores, descending."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    owner = order if owner is None else owner[order]
    is_positive = positive[order].astype(bool)
    step = max(1, CHUNK // len(order))
    for first in range(0, len(weights), step):
        ordered = weights[first:first + step, owner].astype(np.float64)
        positives = np.where(is_positive, ordered, 0)
        negatives = ordered - positives
        if len(starts) < len(order):
            positives, negatives = (np.add.reduceat(part, starts, axis=1) for part in (positives, negatives))
        yield positives, negatives


def ranking(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray, owner=None) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision per resample: two arrays (R,).

    scores, positive (n,); weights (R, N). `owner` (n,) is the record that an entry belongs to, where entries are not
    records themselves (micro average). Ties count half in the AUC; a resample without a positive or a negative is NaN.
    """
    areas, precisions = [], []
    for positives, negatives in _sorted_weights(scores, positive, weights, owner):
        found = np.cumsum(positives, axis=1)
        wrong = np.cumsum(negatives, axis=1)
        n_positive, n_negative = found[:, -1], wrong[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            # a negative is outranked by the positives above it and half of those level with it
            areas.append(np.einsum("rn,rn->r", negatives, found - 0.5 * positives) / (n_positive * n_negative))
            share = np.where(found > 0, found / (found + wrong), 0)
            precisions.append(np.einsum("rn,rn->r", positives, share) / n_positive)
    return np.concatenate(areas), np.concatenate(precisions)


def macro_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean AUC over the classes with a positive and a negative; NaN if there is none. (N, C) each."""
    once = np.ones((1, len(labels)))
    areas = [ranking(scores[:, c], labels[:, c], once)[0][0] for c in np.flatnonzero(evaluable(labels))]
    return float(np.mean(areas)) if areas else float("nan")


def fmax(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Largest harmonic mean of record-wise precision and recall over thresholds 0, .01 .. 1: (R,).

    Precision is averaged over the records with a prediction, recall over all with a label (Radivojac et al. 2013).
    """
    n_labels = labels.sum(axis=1)
    best = np.zeros(len(weights))
    for threshold in FMAX_THRESHOLDS:
        called = probabilities >= threshold
        n_called = called.sum(axis=1)
        hits = (called & labels.astype(bool)).sum(axis=1)
        precision = _weighted_mean(hits / np.maximum(n_called, 1), weights * (n_called > 0))
        recall = _weighted_mean(hits / np.maximum(n_labels, 1), weights * (n_labels > 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            best = np.fmax(best, 2 * precision * recall / (precision + recall))
    return best


def _weighted_mean(values, weights):
    with np.errstate(divide="ignore", invalid="ignore"):
        return weights @ values / weights.sum(axis=1)


# ---------------------------------------------------------------- probabilities

def best_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probability above which calling a class positive gives the best F1, per class (C,); NaN without a positive.

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


def reliability(probabilities: np.ndarray, labels: np.ndarray, n_bins: int = 10) -> dict[str, np.ndarray]:
    """Reliability diagram over all records and classes: per bin of probability its mean, the observed share, the count."""
    values, truth = probabilities.ravel(), labels.ravel().astype(float)
    bins = np.minimum((values * n_bins).astype(int), n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(bins, values, n_bins) / count
        observed = np.bincount(bins, truth, n_bins) / count
    return {"predicted": predicted, "observed": observed, "count": count}


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, n_bins: int = 10) -> float:
    """Expected calibration error: mean distance of predicted and observed share over the bins, by count."""
    bins = reliability(probabilities, labels, n_bins)
    filled = bins["count"] > 0
    distance = np.abs(bins["predicted"] - bins["observed"])[filled]
    return float(distance @ bins["count"][filled] / bins["count"].sum())


# ---------------------------------------------------------------- summaries with intervals

def _with_interval(values, n, **more):
    """The estimate (row 0) and the interval of the resamples (the other rows)."""
    low, high = percentile_interval(values[1:]) if len(values) > 1 else (np.nan, np.nan)
    return {"value": float(values[0]), "low": float(low), "high": float(high), "n": int(n), **more}


def _weights(patients, n_resamples, seed):
    once = np.ones((1, len(patients)), dtype=np.float32)
    return np.concatenate((once, patient_weights(patients, n_resamples, seed).astype(np.float32))) if n_resamples else once


def classification_metrics(logits: np.ndarray, labels: np.ndarray, names, patients: np.ndarray,
                           n_resamples: int = 1000, seed: int = 0) -> dict:
    """All scores of a classification task, each as {value, low, high, n}; intervals by bootstrap over patients.

    logits, labels (N, C); names (C,); patients (N,). Classes without a positive (or a negative) among the records are
    listed in `classes_left_out` and take no part in the macro averages.
    """
    labels = labels.astype(bool)
    weights = _weights(patients, n_resamples, seed)
    probabilities = sigmoid(logits)
    kept = np.flatnonzero(evaluable(labels))
    scored = [ranking(logits[:, c], labels[:, c], weights) for c in kept]
    areas, precisions = (np.array(part).reshape(len(kept), len(weights)) for part in zip(*scored, strict=True)) \
        if scored else (np.full((1, len(weights)), np.nan),) * 2
    owner = np.repeat(np.arange(len(labels)), labels.shape[1])
    micro, micro_precision = ranking(logits.ravel(), labels.ravel(), weights, owner)
    n_positive = labels.sum(axis=0)
    counts = {"n_positive": int(n_positive.sum()), "n_classes": len(kept)}
    brier = np.square(probabilities - labels)

    def per_class(values):
        rows = {names[c]: _with_interval(row, len(labels), n_positive=int(n_positive[c]))
                for c, row in zip(kept, values, strict=False)}
        return {name: rows.get(name, {"value": None, "low": None, "high": None, "n": len(labels),
                                      "n_positive": int(n_positive[c])}) for c, name in enumerate(names)}

    return {
        # a resample may lack a rare class: its macro average is over the classes it has
        "macro_auc": _with_interval(_mean_over_classes(areas), len(labels), **counts),
        "micro_auc": _with_interval(micro, len(labels), **counts),
        "macro_average_precision": _with_interval(_mean_over_classes(precisions), len(labels), **counts),
        "micro_average_precision": _with_interval(micro_precision, len(labels), **counts),
        "fmax": _with_interval(fmax(probabilities, labels, weights), len(labels)),
        "brier": _with_interval(_weighted_mean(brier.mean(axis=1), weights), len(labels)),
        "calibration_error": calibration_error(probabilities, labels),
        "per_class_auc": per_class(areas),
        "per_class_average_precision": per_class(precisions),
        "per_class_brier": per_class([_weighted_mean(brier[:, c], weights) for c in kept]),
        "classes_left_out": [names[c] for c in range(len(names)) if c not in kept],
    }


def _mean_over_classes(values):
    """Mean over the classes of (C, R), NaN left out; NaN where a resample has none."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)


def regression_metrics(predicted: np.ndarray, labels: np.ndarray, names, patients: np.ndarray,
                       n_resamples: int = 1000, seed: int = 0) -> dict:
    """R2 and mean absolute error (mV), over all leads flattened and per lead, each as {value, low, high, n}."""
    weights = _weights(patients, n_resamples, seed).astype(np.float64)
    truth, predicted = labels.astype(np.float64), predicted.astype(np.float64)
    residual, absolute = np.square(truth - predicted), np.abs(truth - predicted)

    def r2(squares, values):
        """1 - residual / total sum of squares per resample, values (N, k) pooled."""
        size = weights.sum(axis=1) * values.shape[1]
        mean = weights @ values.sum(axis=1) / size
        # centred first: the difference of large sums would lose digits
        offset = values - values.mean()
        spread = weights @ np.square(offset).sum(axis=1) - size * np.square(mean - values.mean())
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1 - weights @ squares.sum(axis=1) / spread

    n = len(labels)
    return {
        "r2": _with_interval(r2(residual, truth), n),
        "mae": _with_interval(_weighted_mean(absolute.mean(axis=1), weights), n),
        "per_lead_r2": {name: _with_interval(r2(residual[:, [k]], truth[:, [k]]), n) for k, name in enumerate(names)},
        "per_lead_mae": {name: _with_interval(_weighted_mean(absolute[:, k], weights), n) for k, name in enumerate(names)},
    }
