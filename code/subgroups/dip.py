"""Hartigan's dip: how far the values of a sample are from having a single mode.

The statistic is the largest distance between the empirical distribution and the nearest unimodal
one (Hartigan & Hartigan, Ann Stat 13 (1985) 70), found as in Hartigan's algorithm AS 217 (J R Stat
Soc C 34 (1985) 320): the greatest convex minorant and the least concave majorant are followed
inwards until they are closer than the deviations met on the way. p is the share of uniform samples
of the same size with a larger dip: among unimodal distributions the uniform one has the largest.
That share is read from a table (tests/benchmarks/fit_dip_table.py makes it): drawn anew for the
hundreds of sizes that a large cohort's halves have, it took hours.
"""

import functools
from pathlib import Path

import numpy as np

TABLE = Path(__file__).with_name("dip_uniform.csv")
FLOOR = 0.001  # where the table ends


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
    # plain numbers: elements of arrays are several times as slow to compute with
    x, y = x.tolist(), (y if lower else -y).tolist()
    kept = []
    for position in range(low, high + 1):
        while len(kept) > 1:
            first, last = kept[-2], kept[-1]
            run, rise = x[last] - x[first], y[last] - y[first]
            if (y[position] - y[first]) * run > rise * (x[position] - x[first]):
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


@functools.cache
def _uniform() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes (S,), shares (Q,) and quantiles (S, Q) of the dip of uniform samples times the root of
    their size.
    """
    head, *lines = TABLE.read_text().split()
    table = np.array([line.split(",") for line in lines], dtype=float)
    return table[:, 0], np.array(head.split(",")[1:], dtype=float), table[:, 1:]


def dip_p(values: np.ndarray) -> float:
    """p of one mode, not below FLOOR; 1 for fewer than 4 values."""
    n = len(values)
    if n < 4:
        return 1.0
    sizes, shares, quantiles = _uniform()
    # the root of n times the dip changes slowly with n: between two sizes, straight in log n
    own = [np.interp(np.log(n), np.log(sizes), column) for column in quantiles.T]
    # small samples often have the least dip possible: those are as large, not smaller
    smaller = np.interp(dip(values) * np.sqrt(n) - 1e-5, own, shares)
    return max(float(1 - smaller), FLOOR)
