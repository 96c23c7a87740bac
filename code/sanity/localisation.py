"""Does a map point at the cause? Pointing game, relevance mass, ROC AUC and top-k against a known
mask, each with its chance.

All take relevance (n, D), not negative, and a mask (n, D) of booleans (D = time x leads, or time),
and give one score per record in [0, 1]: 1 where all relevance lies on the mask. Equal values share
what they earn, so that a constant map scores exactly its chance, whatever the order of the samples.
A record whose mask is empty or full has no score (NaN).

Sources: pointing game (Zhang et al., IJCV 126 (2018) 1084); relevance mass and rank accuracy, here
top-k (Arras et al., Information Fusion 81 (2022) 14); ROC AUC as in saliency benchmarks.
"""

from collections.abc import Callable

import numpy as np
import scipy  # see rpeaks.py


def mask_share(mask: np.ndarray) -> np.ndarray:
    """(n,) share of the samples that the mask covers: what a map that knows nothing scores on
    average.
    """
    return mask.mean(axis=1)


def _even_odds(mask):
    return np.full(len(mask), 0.5)


def _defined(scores, mask):
    share = mask_share(mask)
    return np.where((share > 0) & (share < 1), scores, np.nan)


def pointing_game(relevance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(n,) whether the largest value lies on the mask; the share on the mask where several are
    largest.
    """
    largest = relevance == relevance.max(axis=1, keepdims=True)
    return _defined((largest & mask).sum(axis=1) / largest.sum(axis=1), mask)


def relevance_mass(relevance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(n,) share of the relevance on the mask; an empty map says nothing and scores as a constant
    one.
    """
    total = relevance.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (relevance * mask).sum(axis=1) / total
    return _defined(np.where(total > 0, share, mask_share(mask)), mask)


def roc_auc(relevance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(n,) probability that a sample on the mask has more relevance than one beside it (ties count
    half).
    """
    ranks = scipy.stats.rankdata(relevance, axis=1)
    inside = mask.sum(axis=1)
    outside = mask.shape[1] - inside
    with np.errstate(divide="ignore", invalid="ignore"):
        auc = ((ranks * mask).sum(axis=1) - inside * (inside + 1) / 2) / (inside * outside)
    return _defined(auc, mask)


def top_k(relevance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(n,) share of the k most relevant samples that lie on the mask of k samples."""
    ordered = np.sort(relevance, axis=1)
    k = mask.sum(axis=1)
    threshold = ordered[np.arange(len(mask)), -np.maximum(k, 1)][:, None]
    above, level = relevance > threshold, relevance == threshold
    shared = (k - above.sum(axis=1)) * (level & mask).sum(axis=1) / level.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _defined(((above & mask).sum(axis=1) + shared) / k, mask)


def auc_within(maps: np.ndarray, mask: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """(n,) ROC AUC of maps (n, T, 12) over the samples of `domain` | `mask` alone; NaN where the
    domain holds nothing else.
    """
    found = np.full(len(maps), np.nan)
    for row in range(len(maps)):
        inside = domain[row] | mask[row]
        if not inside.any():
            continue
        found[row] = roc_auc(maps[row][inside][None], mask[row][inside][None])[0]
    return found


# name -> (score, chance); both (relevance or mask) -> (n,)
LOCALISATION_METRICS: dict[str, tuple[Callable, Callable]] = {
    "pointing": (pointing_game, mask_share),
    "mass": (relevance_mass, mask_share),
    "auc": (roc_auc, _even_odds),
    "top_k": (top_k, mask_share),
}

# how a signed map is read: what counts is its size, or what speaks for the target
READINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "absolute": np.abs,
    "positive": lambda maps: np.maximum(maps, 0),
}


def over_time(maps: np.ndarray) -> np.ndarray:
    """Relevance (n, T) of a stack of non-negative maps (n, T, 12): the sum over the leads."""
    return maps.sum(axis=2)


def score_truths(maps: np.ndarray, mask: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every metric, reading and truth: '<metric>_<truth>_<reading>' -> (scores (n,), chance (n,)).

    `maps` are signed (n, T, 12), `mask` (n, T, 12) the planted lead x segment cells. Truth `cell`
    asks for lead and time, truth `time` only for the time span, whatever the lead: the latter is
    all that a map without a lead axis can know.
    """
    scores = {}
    spans = mask.any(axis=2)
    for reading, read in READINGS.items():
        relevance = read(maps)
        truths = {
            "cell": (relevance.reshape(len(maps), -1), mask.reshape(len(mask), -1)),
            "time": (over_time(relevance), spans),
        }
        for truth, (values, true) in truths.items():
            for metric, (score, chance) in LOCALISATION_METRICS.items():
                scores[f"{metric}_{truth}_{reading}"] = (score(values, true), chance(true))
    return scores
