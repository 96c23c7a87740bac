"""Make code/subgroups/dip_uniform.csv: what the dip of uniform samples reaches, by their size.

Reads:  nothing
Writes: code/subgroups/dip_uniform.csv (a row per size: quantiles of the dip times the root of the
        size, which hardly depends on the size any more where this is large)

Example: python tests/benchmarks/fit_dip_table.py
"""

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "code"))

from subgroups.dip import TABLE, dip

SIZES = (4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100, 200, 500, 1000)
TAIL = (0.96, 0.97, 0.98, 0.985, 0.99, 0.9925, 0.995, 0.9975, 0.999)
SHARES = (*np.arange(0, 0.96, 0.05).round(2), *TAIL)


def main(args: argparse.Namespace) -> None:
    """Draw, and write the table."""
    rows = []
    for n in SIZES:
        rng = np.random.default_rng((n, 17))
        dips = np.array([dip(rng.random(n)) for _ in range(args.n_samples)])
        rows.append([n, *np.quantile(dips * np.sqrt(n), SHARES)])
        print(n, flush=True)
    head = ",".join(["n", *(f"{share:g}" for share in SHARES)])
    np.savetxt(TABLE, rows, fmt="%.5g", delimiter=",", header=head, comments="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n_samples", type=int, default=5000, help="uniform samples of a size")
    main(parser.parse_args())
