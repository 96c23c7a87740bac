"""k-means of many small clouds at once, as discovery's test of structure runs it, against
scikit-learn's from the same records.

Reads:  nothing: Gaussian clouds of the size of a cohort in its space of components.
Writes: nothing.

Both sides take the same starts and at most the same steps, in one thread and one process; CPU
seconds. Exit code 1 where the inertia differs.

Example: python tests/benchmarks/bench_discovery.py
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(Path(__file__).parent)]

from ratios import print_result

from subgroups.clusters import lloyd

STARTS, STEPS, COMPONENTS = 8, 25, 10
SIZES = ((100, 2), (100, 5), (400, 2), (400, 5))  # (records, clusters)
TOLERANCE = 1e-9  # of the inertia: the last bits depend on the order of the sums


def clouds_of(n_clouds: int, n_records: int) -> np.ndarray:
    """(n_clouds, n_records, COMPONENTS) with a spread that falls from component to component."""
    values = np.random.default_rng(0).normal(size=(n_clouds, n_records, COMPONENTS))
    return values / np.sqrt(np.arange(1, COMPONENTS + 1))


def ours(clouds: np.ndarray, k: int) -> np.ndarray:
    """Least inertia of each cloud (m,)."""
    return lloyd(clouds, k, np.random.default_rng(0), STARTS, STEPS)[1]


def theirs(clouds: np.ndarray, k: int) -> np.ndarray:
    """The same, from the records that `lloyd` draws: one call per cloud and start."""
    rng = np.random.default_rng(0)
    starts = [rng.permutation(clouds.shape[1])[:k] for _ in range(STARTS)]

    def fit(cloud, start):
        return KMeans(k, init=cloud[start], n_init=1, max_iter=STEPS, tol=0).fit(cloud).inertia_

    return np.array([min(fit(cloud, start) for start in starts) for cloud in clouds])


def timed(function: Callable, *arguments: object) -> tuple[np.ndarray, float]:
    """(result, CPU seconds)"""
    start = time.process_time()
    return function(*arguments), time.process_time() - start


def kmeans(n_clouds: int, n_records: int, k: int) -> dict:
    """CPU seconds of both, and the largest relative difference of the inertia."""
    clouds = clouds_of(n_clouds, n_records)
    with threadpool_limits(1):
        ours(clouds[:2], k), theirs(clouds[:2], k)  # warm up
        (own, seconds), (reference, their_seconds) = (
            timed(ours, clouds, k),
            timed(theirs, clouds, k),
        )
    return {
        "ours": seconds,
        "theirs": their_seconds,
        "difference": float(np.max(np.abs(own / reference - 1))),
    }


def main() -> None:
    """Say seconds and ratio of each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--n_clouds", type=int, default=200, help="1 cohort and its 199 Gaussian clouds"
    )
    args = parser.parse_args()
    worst = 0.0
    for n_records, k in SIZES:
        found = kmeans(args.n_clouds, n_records, k)
        ratio = found["theirs"] / found["ours"]
        print_result(
            f"k-means, {args.n_clouds} clouds of {n_records} records, k = {k}",
            f"scikit-learn, {found['theirs']:.1f} s",
            f"{found['ours']:.2f} s, {ratio:.1f} times as fast; inertia differs by "
            f"{found['difference']:.0e}",
        )
        worst = max(worst, found["difference"])
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    main()
