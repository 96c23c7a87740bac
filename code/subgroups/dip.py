"""Hartigan's dip: how far the values of a sample are from having a single mode.

The statistic is the largest distance between the empirical distribution and the nearest unimodal
one (Hartigan & Hartigan, Ann Stat 13 (1985) 70), found as in Hartigan's algorithm AS 217 (J R Stat
Soc C 34 (1985) 320): the greatest convex minorant and the least concave majorant are followed
inwards until they are closer than the deviations met on the way. p is the share of uniform samples
of the same size with a larger dip: among unimodal distributions the uniform one has the largest.
"""

import functools

import numpy as np

N_UNIFORM = 1000


def dip(values: np.ndarray) -> float:
    """The dip of values (n,): at least 1 / (2 n), at most 1 / 4; 0 for fewer than 4 values or a
    constant.
    """
    x = np.sort(np.asarray(values, dtype=float))
    n = len(x)
    if n < 4 or x[0] == x[-1]:
        return 0.0
    below = np.arange(n, dtype=float)  # the distribution just before and at each value, times n
    above = below + 1
    low, high, deviation = 0, n - 1, 1.0
    while True:
        convex = _hull(x, below, low, high, lower=True)
        concave = _hull(x, above, low, high, lower=False)
        inner_low, inner_high, gap = _widest(x, below, above, convex, concave)
        if gap <= deviation:
            break
        left = np.arange(low, inner_low + 1)
        right = np.arange(inner_high, high + 1)
        minorant = np.interp(x[left], x[convex], below[convex])
        majorant = np.interp(x[right], x[concave], above[concave])
        deviation = max(deviation, (above[left] - minorant).max(), (majorant - below[right]).max())
        if (inner_low, inner_high) == (low, high):
            break
        low, high = inner_low, inner_high
    return deviation / (2 * n)


def _hull(x, y, low, high, lower):
    """Positions low ... high where the greatest convex minorant (or least concave majorant) of the
    points touches them.
    """
    sign = 1 if lower else -1
    kept = []
    for position in range(low, high + 1):
        while len(kept) > 1:
            first, last = kept[-2], kept[-1]
            run, rise = x[last] - x[first], y[last] - y[first]
            bend = (y[position] - y[first]) * run - rise * (x[position] - x[first])
            if sign * bend > 0:
                break
            kept.pop()
        kept.append(position)
    return np.array(kept)


def _widest(x, below, above, convex, concave):
    """The modal interval (positions of a touching point of each curve) around the widest gap
    between the curves, and that gap.
    """
    over_convex = np.interp(x[convex], x[concave], above[concave]) - below[convex]
    over_concave = above[concave] - np.interp(x[concave], x[convex], below[convex])
    if over_convex.max() >= over_concave.max():
        best = convex[np.argmax(over_convex)]
        return best, concave[np.searchsorted(concave, best)], over_convex.max()
    best = concave[np.argmax(over_concave)]
    return convex[np.searchsorted(convex, best, side="right") - 1], best, over_concave.max()


@functools.lru_cache(maxsize=256)
def uniform_dips(n: int) -> np.ndarray:
    """Sorted dips of N_UNIFORM uniform samples of n values."""
    rng = np.random.default_rng((n, 17))
    return np.sort([dip(rng.random(n)) for _ in range(N_UNIFORM)])


def dip_p(values: np.ndarray) -> float:
    """p of one mode: at least 1 / (1 + N_UNIFORM); 1 for fewer than 4 values."""
    if len(values) < 4:
        return 1.0
    null = uniform_dips(len(values))
    reached = N_UNIFORM - np.searchsorted(null, dip(values) - 1e-12, side="left")
    return float((1 + reached) / (1 + N_UNIFORM))
