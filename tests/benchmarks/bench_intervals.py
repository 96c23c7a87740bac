"""How often do intervals of nominal 95 % hold the truth? Before (percentiles of a bootstrap over
patients) and after (common/intervals.py), for n = 5, 10, 20, 50, 100.

    python tests/benchmarks/bench_intervals.py [STUDY ...] [--trials 1000] [--sizes 5 10 20 50 100]

auc        n positives among 192 records or more, true AUC .6 to .99, normal and skewed scores, a
           fifth of the records in pairs of one patient
precision  average precision of the same scores
mean       n patients; values normal, exponential, chi-square with 1 degree, lognormal(0, 1); and
           eight shapes that nothing was chosen on: gamma, two kinds of patients, mostly 0, shares
unequal    the same of patients with very unequal numbers of records, correlated by .7
r2         n patients; predictions with normal errors, R2 .2 to .9, normal truths and skewed ones
averages   five classes of n positives each, true AUC .6 to .99: macro and micro AUC, macro average
           precision, F-max, as classification_metrics gives them
agreement  clusters that give .6 to .9 of n patients their label: accuracy, adjusted Rand index,
           adjusted mutual information
difference of two such clusterings, one right in .6, the other in .6 to .9 of the patients
median     of a value of each of n patients
correlation  rank correlation of two mean maps of n patients (seeds); now without an interval

A share after the width is that of the trials that got an interval at all, where not all did; the
coverage is theirs.
"""

import argparse
import functools
import sys
from pathlib import Path

import numpy as np
from scipy.stats import chi2, norm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "code"))

from common import intervals
from common.stats import patient_weights
from networks.metrics import _r2, average_precision, classification_metrics, fmax, sigmoid
from sanity.agreement import rank_correlation
from subgroups.clusters import METRICS, agreement, contingency, paired_difference, score

SIZES = (5, 10, 20, 50, 100)
RESAMPLES = 500
LEAST = 0.92  # coverage that every row should reach


# ---------------------------------------------------------------- cases


def percentile_interval(values: np.ndarray, level: float = 0.95, axis: int = 0) -> tuple:
    """Percentile interval of bootstrap values along `axis`, NaN values (undefined resamples) left
    out.
    """
    tail = (1 - level) / 2
    if not np.isfinite(values).any():
        return np.nan, np.nan
    low, high = np.nanquantile(values, [tail, 1 - tail], axis=axis)
    return low, high


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


def resampled_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each resample (R,); NaN where one side is empty."""
    found, rest = scores[positive], scores[~positive]
    wins = (found[:, None] > rest) + 0.5 * (found[:, None] == rest)
    with_it, without = weights[:, positive], weights[:, ~positive]
    above = np.einsum("rp,rp->r", with_it, without @ wins.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        return above / (with_it.sum(axis=1) * without.sum(axis=1))


def auc_trial(kind, area, n, rng):
    """Interval before and after, of the area under the ROC curve."""
    scores, positive, patients = scores_of(kind, area, n, rng)
    weights = patient_weights(patients, RESAMPLES, int(rng.integers(2**31)))
    before = percentile_interval(resampled_auc(scores, positive, weights))
    return area, before, intervals.auc_interval(scores, positive, patients)


def true_precision(kind, area, n):
    """Mean of the average precision over 400 samples: what an estimate is an estimate of."""
    rng = np.random.default_rng(1)
    drawn = [scores_of(kind, area, n, rng) for _ in range(400)]
    once = np.ones((1, len(drawn[0][0])))
    return float(np.mean([average_precision(scores, found, once)[0] for scores, found, _ in drawn]))


def precision_trial(kind, area, n, rng, truth):
    """Interval before and after, of the average precision."""
    scores, positive, patients = scores_of(kind, area, n, rng)
    weights = patient_weights(patients, RESAMPLES, int(rng.integers(2**31)))
    weights = np.vstack([np.ones(len(scores)), weights])
    values = average_precision(scores, positive, weights)
    n_patients = len(np.unique(patients[positive]))
    after = intervals.share_interval(values[0], values[1:], n_patients)
    return truth, percentile_interval(values[1:]), after


# name -> (draw n values, true mean)
VALUES = {
    "normal": (lambda rng, n: rng.normal(3, 1, n), 3.0),
    "exponential": (lambda rng, n: rng.exponential(1, n), 1.0),
    "chi-square": (lambda rng, n: rng.normal(size=n) ** 2, 1.0),
    "lognormal": (lambda rng, n: rng.lognormal(0, 1, n), float(np.exp(0.5))),
    "lognormal, mirrored": (lambda rng, n: -rng.lognormal(0, 1, n), -float(np.exp(0.5))),
    "gamma(.3)": (lambda rng, n: rng.gamma(0.3, 1, n), 0.3),
    "t with 3 degrees": (lambda rng, n: rng.standard_t(3, n), 0.0),
    "a tenth 6 SD away": (lambda rng, n: rng.normal(size=n) + 6 * (rng.random(n) < 0.1), 0.6),
    "a fifth 6 SD away": (lambda rng, n: rng.normal(size=n) + 6 * (rng.random(n) < 0.2), 1.2),
    "half of them 0": (lambda rng, n: rng.exponential(1, n) * (rng.random(n) < 0.5), 0.5),
    "seven of ten 0": (lambda rng, n: rng.exponential(1, n) * (rng.random(n) < 0.3), 0.3),
    "0, .5 or 1": (lambda rng, n: rng.choice([0, 0.5, 1], n, p=[0.1, 0.2, 0.7]), 0.8),
}


def mean_trial(kind, _, n, rng):
    """Interval before and after, of a mean over n patients."""
    draw, truth = VALUES[kind]
    values, patients, seed = draw(rng, n), np.arange(n), int(rng.integers(2**31))
    weights = patient_weights(patients, RESAMPLES // 8, seed)
    before = percentile_interval(weights @ values / n)
    return truth, before, intervals.mean_intervals(values, patients, RESAMPLES, seed)


# name -> (records of n patients, what a standard normal value becomes: of mean 0)
UNEQUAL = {
    "one has ten, normal": (lambda rng, n: np.r_[10, np.ones(n - 1, int)], lambda z: z),
    "one has ten, lognormal": (
        lambda rng, n: np.r_[10, np.ones(n - 1, int)],
        lambda z: np.exp(z) - np.exp(0.5),
    ),
    "geometric, lognormal": (
        lambda rng, n: rng.geometric(0.4, n),
        lambda z: np.exp(z) - np.exp(0.5),
    ),
}


def unequal_trial(kind, _, n, rng):
    """Interval before and after, of a mean over the records of n patients."""
    sizes, shape = UNEQUAL[kind]
    patients = np.repeat(np.arange(n), sizes(rng, n))
    common, own = rng.normal(size=n)[patients], rng.normal(size=len(patients))
    values, seed = shape(np.sqrt(0.7) * common + np.sqrt(0.3) * own), int(rng.integers(2**31))
    weights = patient_weights(patients, RESAMPLES // 8, seed)
    before = percentile_interval(weights @ values / weights.sum(axis=1))
    return 0.0, before, intervals.mean_intervals(values, patients, RESAMPLES, seed)


def r2_trial(kind, share, n, rng):
    """Interval before and after, of R2."""
    truth = rng.normal(size=(n, 1)) if kind == "normal" else rng.lognormal(0, 0.5, (n, 1))
    spread = 1 if kind == "normal" else np.sqrt((np.exp(0.25) - 1) * np.exp(0.25))
    error = rng.normal(size=(n, 1)) * spread * np.sqrt(1 - share)
    weights = patient_weights(np.arange(n), RESAMPLES, int(rng.integers(2**31))).astype(float)
    before = percentile_interval(_r2(truth, error, weights))
    return share, before, intervals.r2_interval(truth, error, np.arange(n))


# ---------------------------------------------------------------- averages over classes

AREAS = (0.6, 0.7, 0.8, 0.9, 0.99)  # of five classes


def classes_of(n_positive: int, rng: np.random.Generator) -> tuple:
    """Logits, labels (N, 5) and patients: the classes share a part of their noise."""
    n = max(192, 2 * n_positive)
    patients = paired_patients(n, rng)
    noise = 0.5 * rng.normal(size=(n, 1)) + np.sqrt(0.75) * rng.normal(size=(n, len(AREAS)))
    labels = np.zeros((n, len(AREAS)), dtype=int)
    for c in range(len(AREAS)):
        labels[rng.permutation(n)[:n_positive], c] = 1
    return noise + np.sqrt(2) * norm.ppf(AREAS) * labels - 1, labels, patients


@functools.cache
def true_average(kind, n):
    """Mean of a score over 400 samples; the macro AUC is known."""
    if kind == "macro_auc":
        return float(np.mean(AREAS))
    rng = np.random.default_rng(1)
    names = [str(c) for c in range(len(AREAS))]
    drawn = [classes_of(n, rng) for _ in range(400)]
    found = [classification_metrics(x, y, names, who, 0)[kind]["value"] for x, y, who in drawn]
    return float(np.mean(found))


def average_trial(kind, _, n, rng):
    """Interval before and after, of an average over classes."""
    logits, labels, patients = classes_of(n, rng)
    names, seed = [str(c) for c in range(len(AREAS))], int(rng.integers(2**31))
    found = classification_metrics(logits, labels, names, patients, RESAMPLES // 2, seed)[kind]
    weights = patient_weights(patients, RESAMPLES // 2, seed).astype(np.float32)
    repeated, truth = np.repeat(weights, len(AREAS), axis=1), labels.astype(bool)

    def averaged(score):
        columns = zip(logits.T, truth.T, strict=True)
        return np.nanmean([score(*one, weights) for one in columns], axis=0)

    before = {
        "macro_auc": lambda: averaged(resampled_auc),
        "macro_average_precision": lambda: averaged(average_precision),
        "micro_auc": lambda: resampled_auc(logits.ravel(), truth.ravel(), repeated),
        "fmax": lambda: fmax(sigmoid(logits), labels, weights),
    }[kind]()
    return true_average(kind, n), percentile_interval(before), (found["low"], found["high"])


# ---------------------------------------------------------------- clusters, medians, correlations


def clustering(right, labels, rng):
    """Clusters that give a share `right` of the records their label."""
    return np.where(rng.random(len(labels)) < right, labels, 1 - labels)


@functools.cache
def true_agreement(metric, right):
    """Of 400,000 records."""
    rng = np.random.default_rng(0)
    labels = (rng.random(400_000) < 0.45).astype(int)
    return score(metric, clustering(right, labels, rng), labels)


def agreement_trial(metric, right, n, rng):
    """Interval before and after, of the agreement of clusters with labels."""
    labels = (rng.random(n) < 0.45).astype(int)
    clusters, seed = clustering(right, labels, rng), int(rng.integers(2**31))
    rows = agreement(clusters, labels, np.arange(n), RESAMPLES // 8, seed)
    row = next(row for row in rows if row["metric"] == metric)
    tables = contingency(clusters, labels, patient_weights(np.arange(n), RESAMPLES // 8, seed))
    before = percentile_interval(METRICS[metric](tables))
    return true_agreement(metric, right), before, (row["low"], row["high"])


def difference_trial(metric, right, n, rng):
    """Interval before and after, of the difference to clusters that are right in .6."""
    labels = (rng.random(n) < 0.45).astype(int)
    first, second = clustering(right, labels, rng), clustering(0.6, labels, rng)
    seed, patients = int(rng.integers(2**31)), np.arange(n)
    row = paired_difference(first, second, labels, patients, metric, RESAMPLES // 8, seed)
    weights = patient_weights(patients, RESAMPLES // 8, seed)
    tables = [METRICS[metric](contingency(one, labels, weights)) for one in (first, second)]
    truth = true_agreement(metric, right) - true_agreement(metric, 0.6)
    return truth, percentile_interval(tables[0] - tables[1]), (row["low"], row["high"])


MEDIANS = {"normal": 3.0, "exponential": np.log(2), "chi-square": chi2.ppf(0.5, 1), "lognormal": 1}


def median_trial(kind, _, n, rng):
    """Interval before and after, of a median over n patients."""
    values, patients = VALUES[kind][0](rng, n), np.arange(n)
    drawn = np.median(values[rng.integers(n, size=(RESAMPLES, n))], axis=1)
    return MEDIANS[kind], percentile_interval(drawn), intervals.median_interval(values, patients)


def correlation_trial(_, shared, n, rng):
    """Percentiles of the rank correlation of two mean maps (288 cells) over n patients."""
    common, *own = np.random.default_rng(3).normal(size=(3, 288))
    true_maps = [np.exp(np.sqrt(shared) * common + np.sqrt(1 - shared) * one) for one in own]
    noise = rng.lognormal(0, 0.8, (2, n, 288))
    maps = [one * part for one, part in zip(true_maps, noise, strict=True)]
    weights = patient_weights(np.arange(n), RESAMPLES // 2, int(rng.integers(2**31)))
    resampled = rank_correlation(weights @ maps[0], weights @ maps[1])
    truth = float(rank_correlation(true_maps[0][None], true_maps[1][None])[0])
    return truth, percentile_interval(resampled), intervals.NOTHING


# name -> (trial, kinds, true values)
STUDIES = {
    "auc": (auc_trial, ("normal", "skewed"), (0.6, 0.8, 0.9, 0.99)),
    "precision": (precision_trial, ("normal", "skewed"), (0.6, 0.8, 0.9, 0.99)),
    "mean": (mean_trial, tuple(VALUES), (None,)),
    "unequal": (unequal_trial, tuple(UNEQUAL), (None,)),
    "r2": (r2_trial, ("normal", "skewed"), (0.2, 0.6, 0.9)),
    "averages": (
        average_trial,
        ("macro_auc", "micro_auc", "macro_average_precision", "fmax"),
        (None,),
    ),
    "agreement": (agreement_trial, tuple(METRICS), (0.6, 0.75, 0.9)),
    "difference": (difference_trial, tuple(METRICS), (0.6, 0.75, 0.9)),
    "median": (median_trial, tuple(MEDIANS), (None,)),
    "correlation": (correlation_trial, ("maps",), (0.5, 0.9)),
}


# ---------------------------------------------------------------- counting


def coverage(name: str, kind: str, value: float | None, n: int, trials: int) -> dict:
    """Coverage before and after, the median widths, and the share that got one, of one case."""
    trial = STUDIES[name][0]
    rng = np.random.default_rng([n, len(kind), round(100 * (value or 0))])
    more = {"truth": true_precision(kind, value, n)} if name == "precision" else {}
    held, width = np.zeros((trials, 2)), np.zeros((trials, 2))
    for number in range(trials):
        truth, *both = trial(kind, value, n, rng, **more)
        held[number] = [low <= truth <= high if low == low else np.nan for low, high in both]
        width[number] = [high - low for low, high in both]
    known = np.isfinite(held)  # none given, none that can miss
    shares, widths = np.full((2, 2), np.nan)
    for side in np.flatnonzero(known.any(axis=0)):
        shares[side] = held[known[:, side], side].mean()
        widths[side] = np.median(width[known[:, side], side])
    given = known[:, 1].mean()
    return {"before": shares[0], "after": shares[1], "widths": widths, "given": given}


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
            wide, given = found["widths"], found["given"]
            print(
                f"  {kind:23} {'' if value is None else value:4} n {n:3}: before "
                f"{found['before']:.3f} ({wide[0]:.2f}), after {found['after']:.3f} "
                f"({wide[1]:.2f})" + (f", given in {given:.2f}" if given < 1 else ""),
                flush=True,
            )
            if found["after"] < LEAST:
                missed.append(f"{name} {kind} {value} n {n}: {found['after']:.3f}")
    print(f"below {LEAST}: {'; '.join(missed) or 'none'}")
    return not missed


if __name__ == "__main__":
    sys.exit(not main())
