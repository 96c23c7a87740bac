"""A network's scores beside those of networks that have learnt nothing: one answer for all stages.

The controls of one kind (networks/controls.py) are as many draws of what a score is where nothing
was learnt. `p_control` of a score is how rarely a control reaches it; `p_control_corrected` allows
for all scores of the table by max-T (Westfall & Young 1993): how rarely a control reaches it with
the score that stands out most in *it*, each score in standard deviations over the network and its
controls. Where nothing is learnt the network is one more draw, and both hold. Of two kinds the
larger p counts. K controls of a kind leave 1 / (K + 1) as the smallest p, corrected or not: 20 are
the fewest that can fall below .05.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

ENOUGH = 20  # controls of each kind from which p can be below .05
COLUMNS = (
    "control_mean",
    "control_low",
    "control_high",
    "p_control",
    "p_control_corrected",
    "n_controls",
)


def above_controls(own: np.ndarray, controls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sided p of each score (scores,) against controls (K, scores): alone, and max-T over all
    scores. NaN where the network or every control has none; a control without a score does not
    count for it.
    """
    known = np.isfinite(controls)
    counts = known.sum(axis=0)
    tested = np.isfinite(own) & (counts > 0)
    reached = ((controls >= own - 1e-12 * np.maximum(1, np.abs(own))) & known).sum(axis=0)
    p = np.where(tested, (1 + reached) / (1 + counts), np.nan)
    if not tested.any():
        return p, p.copy()
    together = np.vstack([own, controls])[:, tested]
    spread = np.nanstd(together, axis=0)
    scaled = (together - np.nanmean(together, axis=0)) / np.where(spread > 1e-12, spread, np.inf)
    largest = np.max(np.where(np.isfinite(scaled[1:]), scaled[1:], -np.inf), axis=1)
    corrected = np.full(len(own), np.nan)
    above = (np.round(largest, 9)[:, None] >= np.round(scaled[0], 9)).sum(axis=0)
    n_controls = np.isfinite(largest).sum()  # one without any score has no largest
    corrected[tested] = np.maximum((1 + above) / (1 + n_controls), p[tested])
    return p, corrected


def beside_controls(own: pd.Series, made: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """COLUMNS for each score of `own` (indexed by `keys`), in its order.

    made  a row per control and score: kind, seed, *keys, value
    control_mean, _low and _high are the mean and the 95 % band of the untrained ones; a score that
    the controls of a kind do not have is blank, with 0 controls.
    """
    found = pd.DataFrame(index=own.index, columns=list(COLUMNS), dtype=float)
    found["n_controls"] = 0
    p, corrected, counts = [], [], []
    for _, part in made.groupby("kind", sort=False):
        wide = part.pivot_table(index="seed", columns=list(keys), values="value", dropna=False)
        wide = wide.reindex(columns=own.index)
        both = above_controls(own.to_numpy(float), wide.to_numpy(float))
        p.append(both[0])
        corrected.append(both[1])
        counts.append(wide.notna().sum(axis=0).to_numpy())
    if not p:
        return found
    found["p_control"], found["p_control_corrected"] = np.max(p, axis=0), np.max(corrected, axis=0)
    found["n_controls"] = np.where(np.isfinite(found["p_control"]), np.min(counts, axis=0), 0)
    shown = made[made["kind"] == "untrained"] if "untrained" in set(made["kind"]) else made
    of_score = shown.groupby(list(keys))["value"]
    found["control_mean"] = of_score.mean().reindex(own.index)
    for name, share in (("control_low", 0.025), ("control_high", 0.975)):
        found[name] = of_score.quantile(share).reindex(own.index)
    return found


def few_controls(n: int) -> str | None:
    """What is to be said of fewer controls than ENOUGH, one line; None where there are enough."""
    if n >= ENOUGH:
        return None
    return (
        f"note: with {n} controls of each kind no p can fall below {1 / (n + 1):.2g}: nothing can "
        f"be beyond them, --control {ENOUGH} is the fewest that can show it"
    )
