"""Which method does best: score by score, and counted over the scores.

A method is the best of a score, not told from the best, or told from it (p_corrected of
comparisons.csv). Scores that favour a method by construction do not count for or against it; scores
of so few patients that no p could fall below ALPHA tell nothing and do not count at all.
"""

import pandas as pd

from common.words import CONTROLS

ALPHA = 0.05
UNCOUNTED = ("axiom_", "layer_")  # promises, which are kept or broken; one CAM's layers
BEST = [
    "check",
    "model",
    "best",
    "not_told_from_best",
    "told_from_best",
    "left_out",
    "n",
    "p_floor",
    "counted",
]
STANDINGS = ["method", "comparisons", "best", "not_told_from_best", "told_from_best"]


def best_table(comparisons: pd.DataFrame, checks: pd.DataFrame) -> pd.DataFrame:
    """best.csv: one row (BEST) per score and network it was measured on, names separated by spaces.

    comparisons  of compare_to_best
    checks       with the column `favoured`; those methods are `left_out` of their scores
    n            records that the best and another method have a value for, at most
    counted      whether a method could be told from the best with that many patients
    """
    favoured = set()
    if "favoured" in checks:
        rows = checks[checks["favoured"].astype(bool)]
        favoured = set(zip(rows["check"], rows["method"], strict=True))
    found = []
    kept = comparisons[~comparisons["check"].str.startswith(UNCOUNTED)]
    for (check, model, best), rows in kept.groupby(["check", "model", "best"], sort=False):
        told = set(rows.loc[rows["p_corrected"] < ALPHA, "method"])
        names = [best, *rows["method"]]
        out = [name for name in names if (check, name) in favoured]
        worse = [name for name in names if name in told and name not in out]
        level = [name for name in names[1:] if name not in [*worse, *out]]
        floor = float(rows["p_floor"].max())
        lists = [" ".join(group) for group in (level, worse, out)]
        found.append((check, model, best, *lists, int(rows["n"].max()), floor, floor < ALPHA))
    return pd.DataFrame(found, columns=BEST)


def standings(best: pd.DataFrame) -> pd.DataFrame:
    """standings.csv: per method (STANDINGS) the counted scores of best.csv that do not leave it
    out, in how many it is the best, not told from the best, told from it; those least often told
    from it first, controls at the bottom.
    """
    counts = {}
    for row in best[best["counted"].astype(bool)].fillna("").itertuples():
        groups = (row.best, row.not_told_from_best, row.told_from_best)
        out = row.left_out.split()
        for place, names in enumerate(groups):
            for name in names.split():
                if name not in out:
                    counts.setdefault(name, [0, 0, 0])[place] += 1
    table = pd.DataFrame(
        [(name, sum(three), *three) for name, three in counts.items()], columns=STANDINGS
    )
    order = table.assign(
        control=table["method"].isin(CONTROLS),
        told=table["told_from_best"] / table["comparisons"],
        won=-table["best"] / table["comparisons"],
    ).sort_values(["control", "told", "won", "method"], kind="stable")
    return table.loc[order.index].reset_index(drop=True)
