"""The scorecard of networks that have learnt nothing, beside that of the network.

Permuted lead names take leads for exchangeable, and maps of neighbouring leads are alike: that p is
too small (a true null is rejected in .06 to .36, by the card), and most untrained networks "pass"
too; p_neighbours cannot test a card whose leads lie together. Networks
of networks/controls.py explain the same records for the same targets; p_control says how often
their lift on the card is as high, p_control_corrected allows for all cards and methods.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from attribution.cards import Card
from attribution.methods import get_method
from common.beside import beside_controls
from common.words import CONTROLS
from glocal.groups import Group, Pool, fill_group, twin_of
from glocal.scorecard import group_shares, lift
from networks.distributed import together

if TYPE_CHECKING:
    from networks.controls import Control

COLUMNS = ["pathology", "method", "kind", "seed", "lift"]


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

    def rows_of(control):
        rows = []
        alone = replace(pool, models=[control.load(device)], model_of=np.zeros_like(pool.model_of))
        for group in judged:
            twin = twin_of(group)
            fill_group(twin, alone, asked, seed)
            cells = cards[group.pathology].cells
            for name in asked:
                maps = twin.cells[name]
                value = float(lift(*group_shares(maps), cells)) if maps.explained.any() else np.nan
                rows.append((group.pathology, name, control.kind, control.seed, value))
        return rows

    found = together([rows_of(control) for control in made])
    return pd.DataFrame(list(chain.from_iterable(found)), columns=COLUMNS)


def with_controls(scorecard: pd.DataFrame, lifts: pd.DataFrame) -> pd.DataFrame:
    """The scorecard with what the controls reach (common/beside.py) in the rows of own cards."""
    keys = ["pathology", "method"]
    asked = lifts.drop_duplicates(keys)[keys]
    mine = scorecard[scorecard["own"]].reset_index().merge(asked, on=keys)
    own = mine.set_index(keys)["lift"]
    found = beside_controls(own, lifts.rename(columns={"lift": "value"}), keys)
    found = found.drop(columns="control_mean").set_index(mine["index"].to_numpy())
    found["n_controls"] = found["n_controls"].where(found["n_controls"] > 0)
    return scorecard.join(found)
