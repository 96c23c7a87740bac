"""The scorecard of networks that have learnt nothing, beside that of the network.

Permuted lead names take leads for exchangeable, and maps of neighbouring leads are alike: that p is
too small (a true null is rejected in .06 to .36, by the card), and most untrained networks "pass"
too; p_neighbours cannot test a card whose leads lie together. Networks
of networks/controls.py explain the same records for the same targets; p_control says how often
their lift on the card is as high.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from attribution.methods import get_method
from glocal.groups import CONTROLS, Group, Pool, fill_group
from glocal.scorecard import Card, group_shares, lift

if TYPE_CHECKING:
    from networks.controls import Control

COLUMNS = ["pathology", "method", "kind", "lift"]


def control_lifts(
    groups: Sequence[Group],
    pool: Pool,
    methods: Sequence[str],
    cards: dict[str, Card],
    made: "Iterable[Control]",
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> pd.DataFrame:
    """Lift of every control network's maps on each group's own card (COLUMNS, a row each); NaN
    where all its maps are zero. Methods that look at no network are left out.
    """
    asked = [name for name in methods if name not in CONTROLS and get_method(name).has_lead_axis]
    judged = [group for group in groups if group.pathology in cards]
    rows = []
    for control in made:
        alone = replace(pool, models=[control.load(device)], model_of=np.zeros_like(pool.model_of))
        for group in judged:
            twin = replace(group, heat={}, signed_heat={}, cells={})
            fill_group(twin, alone, asked, seed)
            cells = cards[group.pathology].cells
            for name in asked:
                maps = twin.cells[name]
                value = float(lift(*group_shares(maps), cells)) if maps.explained.any() else np.nan
                rows.append((group.pathology, name, control.kind, value))
    return pd.DataFrame(rows, columns=COLUMNS)


def with_controls(scorecard: pd.DataFrame, lifts: pd.DataFrame) -> pd.DataFrame:
    """The scorecard with what the controls reach, in the rows of own cards: control_low and
    control_high, the 95 % band of untrained networks; p_control, the larger of the two kinds' p;
    n_controls of each kind.
    """
    rows = []
    for row in scorecard.itertuples():
        mine = lifts[(lifts["pathology"] == row.pathology) & (lifts["method"] == row.method)]
        entry = dict.fromkeys(("p_control", "control_low", "control_high"), np.nan)
        kinds = [values.dropna() for _, values in mine.groupby("kind")["lift"]] if row.own else []
        if kinds and min(map(len, kinds)):
            entry["p_control"] = max(
                (1 + (values >= row.lift).sum()) / (1 + len(values)) for values in kinds
            )
            untrained = mine.loc[mine["kind"] == "untrained", "lift"].dropna()
            entry["control_low"], entry["control_high"] = untrained.quantile([0.025, 0.975])
            entry["n_controls"] = min(map(len, kinds))
        rows.append(entry)
    return scorecard.join(pd.DataFrame(rows, index=scorecard.index))
