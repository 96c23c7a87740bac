"""How often do intervals of nominal 95 % hold the truth? Before (percentiles of a bootstrap over
patients) and after (common/intervals.py), for n = 5, 10, 20, 50, 100.

    python tests/benchmarks/bench_intervals.py [auc precision mean r2] [--trials 1000]

auc        n positives among 192 records or more, true AUC .6 to .99, normal and skewed scores, a
           fifth of the records in pairs of one patient
precision  average precision of the same scores
mean       n patients; values normal, exponential, chi-square with 1 degree, lognormal(0, 1)
r2         n patients; predictions with normal errors, R2 .2 to .9, normal truths and skewed ones
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "code"))

from common import intervals
from common.stats import patient_weights, percentile_interval
from networks.metrics import _r2, ranking

SIZES = (5, 10, 20, 50, 100)
RESAMPLES = 500
LEAST = 0.92  # coverage that every row should reach


# ---------------------------------------------------------------- cases


def paired_patients(n: int, rng: np.random.Generator) -> np.ndarray:
    """Patients (n,) of whom about a tenth have two records."""
    patients = np.arange(n)
    doubled = 2 * rng.choice(n // 2, n // 10, replace=False)
    patients[doubled] = doubled + 1
    return patients


def scores_of(kind: str, area: float, n_positive: int, rng: np.random.Generator) -> tuple:
    """Scores, positives and patients with a known true area under the ROC curve."""
    n = max(192, 2 * n_positive)
    patients = paired_patients(n, rng)
    two = np.bincount(patients, minlength=n)[patients] > 1
    shared = 0.8 * rng.normal(size=n)[patients] + 0.6 * rng.normal(size=n)
    basis = np.where(two, shared, rng.normal(size=n))
    positive = np.arange(n) < n_positive
    if kind == "normal":
        return basis + np.sqrt(2) * norm.ppf(area) * positive, positive, patients
    exponential = -np.log(norm.sf(basis))
    return exponential * np.where(positive, area / (1 - area), 1), positive, patients


def auc_trial(kind, area, n, rng):
    """Interval before and after, of the area under the ROC curve."""
    scores, positive, patients = scores_of(kind, area, n, rng)
    weights = patient_weights(patients, RESAMPLES, int(rng.integers(2**31)))
    before = percentile_interval(ranking(scores, positive, weights)[0])
    return area, before, intervals.auc_interval(scores, positive, patients)


def true_precision(kind, area, n):
    """Mean of the average precision over 400 samples: what an estimate is an estimate of."""
    rng = np.random.default_rng(1)
    drawn = [scores_of(kind, area, n, rng) for _ in range(400)]
    once = np.ones((1, len(drawn[0][0])))
    return float(np.mean([ranking(scores, found, once)[1][0] for scores, found, _ in drawn]))


def precision_trial(kind, area, n, rng, truth):
    """Interval before and after, of the average precision."""
    scores, positive, patients = scores_of(kind, area, n, rng)
    weights = patient_weights(patients, RESAMPLES, int(rng.integers(2**31)))
    weights = np.vstack([np.ones(len(scores)), weights])
    values = ranking(scores, positive, weights)[1]
    n_patients = len(np.unique(patients[positive]))
    after = intervals.share_interval(values[0], values[1:], n_patients)
    return truth, percentile_interval(values[1:]), after


# name -> (draw n values, true mean)
VALUES = {
    "normal": (lambda rng, n: rng.normal(3, 1, n), 3.0),
    "exponential": (lambda rng, n: rng.exponential(1, n), 1.0),
    "chi-square": (lambda rng, n: rng.normal(size=n) ** 2, 1.0),
    "lognormal": (lambda rng, n: rng.lognormal(0, 1, n), float(np.exp(0.5))),
}


def mean_trial(kind, _, n, rng):
    """Interval before and after, of a mean over n patients."""
    draw, truth = VALUES[kind]
    values, patients, seed = draw(rng, n), np.arange(n), int(rng.integers(2**31))
    weights = patient_weights(patients, RESAMPLES, seed)
    before = percentile_interval(weights @ values / n)
    return truth, before, intervals.mean_intervals(values, patients, RESAMPLES, seed)


def r2_trial(kind, share, n, rng):
    """Interval before and after, of R2."""
    truth = rng.normal(size=(n, 1)) if kind == "normal" else rng.lognormal(0, 0.5, (n, 1))
    spread = 1 if kind == "normal" else np.sqrt((np.exp(0.25) - 1) * np.exp(0.25))
    error = rng.normal(size=(n, 1)) * spread * np.sqrt(1 - share)
    weights = patient_weights(np.arange(n), RESAMPLES, int(rng.integers(2**31))).astype(float)
    before = percentile_interval(_r2(truth, error, weights))
    return share, before, intervals.r2_interval(truth, error, np.arange(n))


# name -> (trial, kinds, true values)
STUDIES = {
    "auc": (auc_trial, ("normal", "skewed"), (0.6, 0.8, 0.9, 0.99)),
    "precision": (precision_trial, ("normal", "skewed"), (0.6, 0.8, 0.9, 0.99)),
    "mean": (mean_trial, tuple(VALUES), (None,)),
    "r2": (r2_trial, ("normal", "skewed"), (0.2, 0.6, 0.9)),
}


# ---------------------------------------------------------------- counting


def coverage(name: str, kind: str, value: float | None, n: int, trials: int) -> dict:
    """Coverage before and after, and the median widths, of one case."""
    trial = STUDIES[name][0]
    rng = np.random.default_rng([n, len(kind), round(100 * (value or 0))])
    more = {"truth": true_precision(kind, value, n)} if name == "precision" else {}
    held, width = np.zeros((trials, 2)), np.zeros((trials, 2))
    for number in range(trials):
        truth, *both = trial(kind, value, n, rng, **more)
        held[number] = [low <= truth <= high if low == low else np.nan for low, high in both]
        width[number] = [high - low for low, high in both]
    before, after = np.nanmean(held, axis=0)  # none given, none that can miss
    return {"before": before, "after": after, "widths": np.nanmedian(width, axis=0)}


def main(words: list[str] | None = None) -> bool:
    """Print a row per case; whether all reach LEAST."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", default=list(STUDIES), metavar="STUDY")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    args = parser.parse_args(words)
    missed = []
    for name in args.studies:
        _, kinds, values = STUDIES[name]
        print(f"{name}: coverage (median width) of nominal 95 %, {args.trials} trials a row")
        for kind, value, n in [(k, v, n) for k in kinds for v in values for n in args.sizes]:
            found = coverage(name, kind, value, n, args.trials)
            wide = found["widths"]
            print(
                f"  {kind:11} {'' if value is None else value:4} n {n:3}: before "
                f"{found['before']:.3f} ({wide[0]:.2f}), after {found['after']:.3f} "
                f"({wide[1]:.2f})",
                flush=True,
            )
            if found["after"] < LEAST:
                missed.append(f"{name} {kind} {value} n {n}: {found['after']:.3f}")
    print(f"below {LEAST}: {'; '.join(missed) or 'none'}")
    return not missed


if __name__ == "__main__":
    sys.exit(not main())
