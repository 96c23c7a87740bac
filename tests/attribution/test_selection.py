"""Which records each strategy chooses, and in which order."""

from types import SimpleNamespace

import numpy as np
import pytest

from attribution.selection import STRATEGIES, predicted_positive, select, select_pathology
from common.files import UserError

LABEL = np.array([1, 1, 1, 0, 0, 1], dtype=bool)
LOGIT = np.array([0.2, 3.0, -1.0, 2.0, -4.0, 1.0])
POSITIVE = LOGIT > 0


@pytest.mark.parametrize(
    ("strategy", "rows"),
    [
        ("single_best", [1]),
        ("best_n", [1, 5, 0]),
        ("true_positives", [1, 5, 0]),
        ("false_positives", [3]),
        ("false_negatives", [2]),
        ("all", [1, 3, 5, 0, 2, 4]),
    ],
)
def test_strategies_by_hand(strategy, rows):
    assert select(strategy, LABEL, POSITIVE, LOGIT).tolist() == rows
    assert select(strategy, LABEL, POSITIVE, LOGIT, n_samples=2).tolist() == rows[:2]
    assert STRATEGIES[strategy].description


def test_false_negatives_begin_with_the_worst():
    assert select(
        "false_negatives", np.ones(3), np.zeros(3), np.array([-1.0, -9.0, -3.0])
    ).tolist() == [1, 2, 0]


def test_ties_keep_the_order_of_the_rows():
    assert select("all", np.ones(4), np.ones(4), np.array([1.0, 2.0, 1.0, 2.0])).tolist() == [
        1,
        3,
        0,
        2,
    ]


def test_positive_is_above_the_threshold_of_the_class():
    logits = np.log(np.array([[0.3, 0.6, 0.45]]) / (1 - np.array([[0.3, 0.6, 0.45]])))
    assert predicted_positive(logits, (0.2, 0.7, np.nan)).tolist() == [[True, False, False]]
    assert predicted_positive(logits, None).tolist() == [[False, True, False]]


def test_unknown_strategy_and_empty_choice_say_what_there_is():
    with pytest.raises(UserError, match="unknown strategy 'best': accepted are single_best"):
        select("best", LABEL, POSITIVE, LOGIT)

    class Data:
        labels, fold = LABEL[:, None].astype(int), np.full(6, 10)
        unknown = ()

        def __len__(self):
            return 6

    info = SimpleNamespace(index=lambda label: 0, thresholds=(1.0,))
    with pytest.raises(
        UserError,
        match=r"no record of LVH .* 6 records .folds 10. 4 have the label, 0 are predicted",
    ):
        select_pathology("true_positives", "LVH", Data(), LOGIT[:, None], info)
    assert select_pathology("all", "LVH", Data(), LOGIT[:, None], info, 1).tolist() == [1]
