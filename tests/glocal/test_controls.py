"""The scorecard beside networks that have learnt nothing."""

import numpy as np
import pandas as pd
import pytest

from glocal.controls import COLUMNS, with_controls


def test_p_is_the_worse_of_the_two_kinds_and_only_of_own_cards():
    scorecard = pd.DataFrame(
        {
            "pathology": ["LVH", "LVH", "AMI"],
            "method": ["ig", "random", "ig"],
            "own": [True, True, False],
            "lift": [1.5, 1.0, 3.0],
        },
        index=[4, 2, 9],
    )
    untrained = [
        ("LVH", "ig", "untrained", seed, value)
        for seed, value in enumerate(np.linspace(0.9, 1.4, 19))
    ]
    permuted = [
        ("LVH", "ig", "permuted", seed, value)
        for seed, value in enumerate([1.0] * 15 + [1.5, 1.6, 1.7, np.nan])
    ]
    table = with_controls(scorecard, pd.DataFrame(untrained + permuted, columns=COLUMNS))
    assert table.index.tolist() == [4, 2, 9]
    assert table.loc[4, "p_control"] == pytest.approx(4 / 19)  # 1/20 against untrained ones
    assert table.loc[4, "n_controls"] == 18
    assert 0.9 < table.loc[4, "control_low"] < 0.95
    assert 1.35 < table.loc[4, "control_high"] < 1.4
    assert table.loc[[2, 9], "p_control"].isna().all()
