"""Intervals that cover in small groups too: areas under ROC curves, means, shares of explained
variance. The unit is the patient: what the records of one patient say is not independent.

A percentile bootstrap of 5 to 20 patients is too short and lies too high (AUC: it covers .60 to .90
where it says .95); tests/benchmarks/bench_intervals.py measures what these functions cover.
"""

import numpy as np
from scipy.stats import binom
from scipy.stats import t as student

from common.stats import LEVEL, patient_weights, wilson_interval

TAIL = (1 - LEVEL) / 2  # what lies beyond it on either side
MIN_PATIENTS = 5  # fewer have no interval: NaN, NaN
NOTHING = (np.nan, np.nan)


def _t(freedom):
    """Student's t at the end of an interval, by its degrees of freedom."""
    return student.ppf(1 - TAIL, freedom)


def patient_codes(patients: np.ndarray) -> np.ndarray:
    """(N,) patients as numbers from 0 on."""
    return np.unique(patients, return_inverse=True)[1]


def effective_patients(patients: np.ndarray) -> float:
    """How many patients with equally many records are as good as those of the records `patients`
    (N,); see _effective.
    """
    return float(_effective(np.bincount(patient_codes(patients))[:, None])[0])


def _kish(sizes):
    """Kish's effective number (Survey Sampling, 1965) of patients with `sizes` (patients, cells)
    records, (cells,): one with half of all records leaves it below four.
    """
    total, squares = sizes.sum(axis=0), np.square(sizes.astype(float)).sum(axis=0)
    return np.divide(total**2, squares, out=np.zeros_like(squares), where=squares > 0)


def _effective(sizes):
    """Kish's number, never below MIN_PATIENTS where there are as many patients: (cells,)."""
    return np.maximum(_kish(sizes), np.minimum((sizes > 0).sum(axis=0), MIN_PATIENTS))


# ---------------------------------------------------------------- area under the ROC curve


def auc_interval(
    scores: np.ndarray, positive: np.ndarray, patients: np.ndarray
) -> tuple[float, float]:
    """Interval of the area under the ROC curve; (NaN, NaN) where fewer than MIN_PATIENTS patients
    have a positive or a negative record.

    scores, positive, patients (N,). Wilson's interval with t instead of z, for the number of
    independent records that would give the area its variance: the variance between patients
    (Obuchowski, Biometrics 53 (1997) 567), at least that of Hanley & McNeil (Radiology 143 (1982)
    29), which an area near 1 from few positives would hide; degrees of freedom from the patients of
    the smaller side.
    """
    positive = positive.astype(bool)
    if positive.all() or not positive.any():
        return NOTHING
    codes = patient_codes(patients)
    n_with, n_without = (effective_patients(codes[side]) for side in (positive, ~positive))
    fewest = min(n_with, n_without)
    if fewest < MIN_PATIENTS:
        return NOTHING
    above, below = _placements(scores, positive)
    area = float(above.mean())
    between = _area_variance(above, below, codes, positive)
    floor = _hanley_mcneil(area, n_with, n_without)
    variance = max(between, floor)
    effective = area * (1 - area) / variance if variance > 1e-15 else fewest
    return wilson_interval(area, effective, _t(fewest - 1))


def macro_auc_interval(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray
) -> tuple[float, float]:
    """Interval of the mean area under the ROC curves of the classes with a positive and a negative;
    (NaN, NaN) for fewer than MIN_PATIENTS patients with a positive, or none with a negative.

    scores, labels (N, C), patients (N,). As auc_interval: the deviations of a patient's records add
    up over the classes; the least variance is that of Hanley & McNeil's areas if the classes were
    independent; degrees of freedom after Satterthwaite, from the patients of each class's smaller
    side.
    """
    labels = labels.astype(bool)
    codes = patient_codes(patients)
    known = np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0))
    if not len(known) or len(np.unique(codes[labels[:, known].any(axis=1)])) < MIN_PATIENTS:
        return NOTHING
    areas, floors, smaller = (np.empty(len(known)) for _ in range(3))
    together = np.zeros(codes.max() + 1)
    for place, c in enumerate(known):
        positive = labels[:, c]
        above, below = _placements(scores[:, c], positive)
        areas[place] = above.mean()
        together += sum(_deviations(above, below, codes, positive))
        sizes = [effective_patients(codes[side]) for side in (positive, ~positive)]
        floors[place], smaller[place] = _hanley_mcneil(areas[place], *sizes), min(sizes)
    n = len(together)
    between = together @ together * n / max(n - 1, 1) / len(known) ** 2
    freedom = np.maximum(smaller - 1, 1)
    weight = np.maximum(floors, 1e-12)
    freedom = weight.sum() ** 2 / (weight**2 / freedom).sum()
    area, variance = float(areas.mean()), max(between, floors.sum() / len(known) ** 2)
    effective = area * (1 - area) / variance if variance > 1e-15 else n
    return wilson_interval(area, effective, _t(freedom))


def _placements(scores, positive):
    """Share of the negatives below each positive, and of the positives above each negative; ties
    count half.
    """
    found, rest = np.sort(scores[positive]), np.sort(scores[~positive])

    def share_below(values, others):
        sides = [np.searchsorted(others, values, side) for side in ("left", "right")]
        return (sides[0] + sides[1]) / 2 / len(others)

    return share_below(scores[positive], rest), 1 - share_below(scores[~positive], found)


def _area_variance(above, below, codes, positive):
    """Variance of the area between patients: deviations of a patient's records add up."""
    with_it, without = _deviations(above, below, codes, positive)
    n_with, n_without = (len(np.unique(codes[side])) for side in (positive, ~positive))
    return (
        with_it @ with_it * n_with / (n_with - 1)
        + without @ without * n_without / (n_without - 1)
        + 2 * with_it @ without
    )


def _deviations(above, below, codes, positive):
    """How far each patient's positives, and negatives, move the area: two arrays (patients,)."""
    size = codes.max() + 1
    with_it = np.bincount(codes[positive], above - above.mean(), size) / len(above)
    without = np.bincount(codes[~positive], below - below.mean(), size) / len(below)
    return with_it, without


def _hanley_mcneil(area, n_with, n_without):
    two_positives, two_negatives = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area)
    spread += (n_with - 1) * (two_positives - area**2)
    spread += (n_without - 1) * (two_negatives - area**2)
    return spread / (n_with * n_without)


# ---------------------------------------------------------------- means


def mean_intervals(
    values: np.ndarray,
    patients: np.ndarray,
    n_resamples: int = 1000,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean over records of `values` (N, ...), NaN left out: (low, high), each
    (...), NaN where fewer than MIN_PATIENTS patients have a value, those who share the commonest
    one counted once. Values that are all the same number are so by construction: a point.

    Studentised bootstrap over patients (Efron 1981, Hall 1988), which follows skewed values, no
    narrower on either side than Student's t, and wider by 1 + 3 / n for n patients by Kish's count:
    few of them rarely hold the long tail that the mean depends on. Values that are all 0 or 1 get
    Wilson's interval for as many records as have the variance between patients, at most one a
    patient.
    `weights` (R, N): resamples drawn before, by `patient_weights`.
    """
    values = np.asarray(values, dtype=float)
    flat = values.reshape(len(values), -1)
    codes = patient_codes(patients)
    if weights is None:
        weights = patient_weights(codes, n_resamples, seed)
    first = np.unique(codes, return_index=True)[1]  # a record of each patient
    known = np.isfinite(flat)
    sums = _per_patient(np.where(known, flat, 0), codes)
    counts = _per_patient(known.astype(float), codes)
    low, high = ratio_intervals(sums, counts, weights[:, first].astype(float))
    binary = (~known | (flat == 0) | (flat == 1)).all(axis=0)
    enough = _effective(counts) >= MIN_PATIENTS
    for cell in np.flatnonzero(binary & enough):
        low[cell], high[cell] = _binary_interval(sums[:, cell], counts[:, cell])
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])


def _binary_interval(hits, trials):
    """Of a share, from hits and trials of each patient."""
    n = float(_effective(trials[:, None])[0])
    once = np.ones((1, len(hits)))
    share, error = (float(part[0, 0]) for part in _ratio(hits[:, None], trials[:, None], once))
    effective = share * (1 - share) / error**2 if error > 1e-9 else n
    return wilson_interval(share, min(effective, n), _t(n - 1))


def mean_with_interval(
    values: np.ndarray, patients: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of values (N,) with its 95 % interval over patients: (mean, low, high)."""
    low, high = mean_intervals(values, patients, seed=seed)
    return float(np.mean(values)), float(low), float(high)


def _per_patient(values, codes):
    """Sums (patients, cells) of records (N, cells)."""
    summed = np.zeros((codes.max() + 1, values.shape[1]))
    np.add.at(summed, codes, values)
    return summed


def ratio_intervals(
    numerators: np.ndarray, denominators: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals (cells,) of sum(numerators) / sum(denominators), both (patients, cells): a mean
    over records where the denominators count them. `weights` (R, patients): resamples of patients.
    As `mean_intervals`, which says when there is none.
    """
    n = _effective(denominators)
    once = np.ones((1, len(numerators)))
    ratio, error = (part[0] for part in _ratio(numerators, denominators, once))
    resampled, errors = _ratio(numerators, denominators, weights)
    usual = _t(np.maximum(n - 1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (resampled - ratio) / errors
    distance[~(errors > 1e-9 * np.abs(ratio)) | ~np.isfinite(distance)] = np.nan
    distance[:, np.isnan(distance).all(axis=0)] = 0  # constant values: the interval is a point
    lower, upper = np.nanquantile(distance, [TAIL, 1 - TAIL], axis=0)
    wider = 1 + 3 / np.maximum(_kish(denominators), 1)
    low = ratio - np.maximum(upper, usual) * error * wider
    high = ratio - np.minimum(lower, -usual) * error * wider
    few = (n < MIN_PATIENTS) | _much_the_same(numerators, denominators)
    return np.where(few, np.nan, low), np.where(few, np.nan, high)


def _much_the_same(numerators, denominators):
    """Whether all but one to MIN_PATIENTS - 2 patients share one value, (cells,): the spread of so
    few others says little of the mean (of values that are mostly 0 it held .86 of the truths).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ordered = np.sort(numerators / denominators, axis=0)  # NaN, no record, comes last
    known = np.isfinite(ordered).sum(axis=0)

    def alike(first, last):
        least, most = (
            np.take_along_axis(ordered, np.clip(place, 0, len(ordered) - 1)[None], axis=0)[0]
            for place in (np.full_like(known, first), last)
        )
        return most - least <= 1e-9 * np.abs(most)

    apart = MIN_PATIENTS - 1  # from the first to the last of all but so many less one
    runs = [alike(first, known - apart + first) for first in range(apart)]
    return np.any(runs, axis=0) & ~alike(0, known - 1)


def _ratio(numerators, denominators, weights):
    """Ratio of sums and its linearised standard error between patients per resample: (R, cells)."""
    over, under = weights @ numerators, weights @ denominators
    n = weights @ (denominators > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = over / under
        squares = (
            weights @ numerators**2
            - 2 * ratio * (weights @ (numerators * denominators))
            + ratio**2 * (weights @ denominators**2)
        )
        error = np.sqrt(np.maximum(squares, 0) * n / (n - 1)) / under
    return ratio, error


# ---------------------------------------------------------------- other shares


def share_interval(value: float, resampled: np.ndarray, n_patients: int) -> tuple[float, float]:
    """Interval of a share from its value and bootstrap values (R,); (NaN, NaN) for fewer than
    MIN_PATIENTS or no resamples.

    Wilson's interval with t instead of z, for the number of records that would give the share the
    variance of the resamples, at most `n_patients`.
    """
    resampled = resampled[np.isfinite(resampled)]
    if n_patients < MIN_PATIENTS or len(resampled) < 2:
        return NOTHING
    variance = max(float(resampled.var()), value * (1 - value) / n_patients, 1e-12)
    effective = value * (1 - value) / variance if value * (1 - value) > 1e-12 else n_patients
    return wilson_interval(value, effective, _t(n_patients - 1))


def difference_interval(
    value: float, resampled: np.ndarray, n_patients: int
) -> tuple[float, float]:
    """Interval of a paired difference of two shares from its value and bootstrap values (R,);
    (NaN, NaN) for fewer than MIN_PATIENTS or no resamples.

    Student's t with the resamples' variance and that of one more patient who differs (after Agresti
    & Min, Stat Med 24 (2005) 729: no zero width where all agree), 1 / n_patients squared; wider by
    1 + 3 / n.
    """
    resampled = resampled[np.isfinite(resampled)]
    if n_patients < MIN_PATIENTS or len(resampled) < 2:
        return NOTHING
    error = np.sqrt(resampled.var() + 1 / n_patients**2)
    half = _t(n_patients - 1) * error * (1 + 3 / n_patients)
    return float(value - half), float(value + half)


# ---------------------------------------------------------------- medians


def median_interval(values: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
    """Interval of the median over patients, each by the median of theirs; (NaN, NaN) for fewer than
    MIN_PATIENTS.

    Between order statistics, whatever the distribution: at least LEVEL, of five patients .94.
    """
    codes = patient_codes(patients)
    n = codes.max() + 1
    if n < MIN_PATIENTS:
        return NOTHING
    ordered = np.sort([np.median(values[codes == patient]) for patient in range(n)])
    beyond = max(int(binom.ppf(TAIL, n, 0.5)) - 1, 0)
    return float(ordered[beyond]), float(ordered[n - 1 - beyond])


# ---------------------------------------------------------------- explained variance


def r2_interval(truth: np.ndarray, error: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
    """Interval of R2 = 1 - squared error / squared deviation from the mean; (NaN, NaN) for fewer
    than MIN_PATIENTS patients or a constant truth.

    truth, error (N, k), pooled. The logarithm of 1 - R2 with its jackknife error over patients and
    t: its distribution is far closer to a normal one than that of R2. The degrees of freedom are
    those of the error's own scatter (Satterthwaite): few where few patients lie far out, as of
    skewed amplitudes. Wider by 1 + 2 / n.
    """
    codes = patient_codes(patients)
    n = codes.max() + 1
    offset = truth - truth.mean()
    rows = [
        error.shape[1] * np.ones(len(error)),
        offset.sum(axis=1),
        np.square(offset).sum(axis=1),
        np.square(error).sum(axis=1),
    ]
    parts = np.stack([np.bincount(codes, row, n) for row in rows])  # (4, patients)
    whole = parts.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate, without_one = _log_unexplained(whole), _log_unexplained(whole - parts)
    if n < MIN_PATIENTS or not np.isfinite(np.append(without_one, estimate)).all():
        return NOTHING
    deviation = without_one - without_one.mean()
    jackknife = np.sqrt((n - 1) / n * (deviation @ deviation)) * (1 + 2 / n)
    half = _t(_freedom(deviation, patients)) * jackknife
    return float(1 - np.exp(estimate[0] + half)), float(1 - np.exp(estimate[0] - half))


def _freedom(deviation, patients):
    """Degrees of freedom of the sum of squared deviations (patients,), by their kurtosis: those of
    the patients where it is that of a normal distribution, at least 2.
    """
    squares = np.square(deviation)
    excess = max(len(squares) * (squares @ squares) / max(squares.sum() ** 2, 1e-300) - 1, 1e-9)
    return float(np.clip(2 * len(squares) / excess, 2, effective_patients(patients) - 1))


def _log_unexplained(parts):
    count, total, squares, errors = parts
    return np.log(errors / (squares - total**2 / count))
