"""Statistics that the stages share: intervals over patients, multiple testing, permutation
p-values.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

LEVEL = 0.95  # of every interval
NORMAL = float(ndtri((1 + LEVEL) / 2))  # where a normal distribution's interval ends
STABLE = 0.8  # share of the moved boundaries from which on a cell's place counts as stable


def patient_weights(patients: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Bootstrap over patients as weights (n_resamples, N): how often each record counts in each
    resample.

    A patient is drawn with all of their records, as many patients as there are. One patient says
    nothing of others: NaN, so that no interval of zero width comes of it.
    """
    _, index = np.unique(patients, return_inverse=True)
    n_patients = index.max() + 1
    if n_patients < 2:
        return np.full((n_resamples, len(index)), np.nan)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_resamples)
    return draws[:, index]


def mean_of_known(values: ArrayLike) -> np.ndarray:
    """Mean over the first axis of what is finite there; NaN, and no warning, where nothing is."""
    values = np.asarray(values)
    known = np.isfinite(values)
    return np.where(
        known.any(axis=0),
        np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1),
        np.nan,
    )


def wilson_interval(share: float, trials: float, quantile: float = NORMAL) -> tuple[float, float]:
    """Wilson score interval of a share (Wilson, JASA 22 (1927) 209), within 0 and 1; NaN of NaN.

    `trials` need not be a whole number; `quantile` may be Student's, where their number is an
    estimate itself.
    """
    denominator = 1 + quantile**2 / trials
    centre = (share + quantile**2 / (2 * trials)) / denominator
    inner = share * (1 - share) / trials + quantile**2 / (4 * trials**2)
    half = quantile * np.sqrt(inner) / denominator
    return float(max(centre - half, 0)), float(min(centre + half, 1))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down correction (Scand J Stat 6 (1979) 65); NaN stays NaN and does not count in
    the family.
    """
    p_values = np.asarray(p_values, dtype=float)
    corrected = np.full(p_values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p_values.ravel()))
    order = tested[np.argsort(p_values.ravel()[tested], kind="stable")]
    stepped = p_values.ravel()[order] * np.arange(len(order), 0, -1)
    corrected.ravel()[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return corrected


def permutation_p(observed: ArrayLike, null: ArrayLike) -> np.ndarray | float:
    """p = (1 + number of null values >= observed) / (1 + number of null values); its floor is 1 /
    (1 + M).

    observed  (...);  null  # (M, ...)

    Ties within rounding count as >=, and so do null values that are NaN (undefined draws): they
    never speak for a finding. NaN where nothing was observed. For a two-sided test give absolute
    deviations. (Phipson & Smyth, Stat Appl Genet Mol Biol 9 (2010) 39)
    """
    null, observed = np.asarray(null, dtype=float), np.asarray(observed, dtype=float)
    tolerance = 1e-12 * np.maximum(1, np.abs(observed))
    below = (null < observed - tolerance).sum(axis=0)
    p = (1 + len(null) - below) / (1 + len(null))
    return np.where(np.isfinite(observed), p, np.nan)[()]
