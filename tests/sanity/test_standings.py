"""Which methods are told from the best: score by score, counted over scores, and counted anew."""

import numpy as np
import pandas as pd
import pytest

from sanity.standings import ALPHA, best_table, standings
from sanity.subject import compare_to_best

METHODS = ["lrp", "ig", "saliency", "random", "input_magnitude"]


def records_of(n_checks, n, rng):
    """Long table of scores: lrp is the better by a standard deviation in every other check."""
    rows = []
    for number in range(n_checks):
        for record in range(n):
            for method in METHODS:
                value = rng.normal() + (method == "lrp") * (number % 2) * 2
                rows.append((f"check{number}", "net", "task", record, record, method, value))
    names = ["check", "model", "task", "ecg_id", "patient_id", "method", "value"]
    return pd.DataFrame(rows, columns=names).assign(best=np.inf)


@pytest.mark.parametrize("seed", range(2))
def test_counts_are_those_of_the_comparisons(seed):
    rng = np.random.default_rng(seed)
    comparisons = compare_to_best(records_of(6, 12, rng))
    favoured = [("check1", "lrp", True), ("check2", "ig", True), ("check2", "lrp", False)]
    checks = pd.DataFrame(favoured, columns=["check", "method", "favoured"])
    table = standings(best_table(comparisons, checks)).set_index("method")
    for method in METHODS:
        held = told = won = 0
        for check in comparisons["check"].unique():
            if (check, method, True) in favoured:
                continue
            rows = comparisons[comparisons["check"] == check]
            mine = rows.loc[rows["method"] == method, "p_corrected"]
            won += rows["best"].iloc[0] == method
            told += int((mine < ALPHA).sum())
            held += int((mine >= ALPHA).sum())
        row = table.loc[method]
        assert row["best"] == won
        assert row["not_told_from_best"] == held
        assert row["told_from_best"] == told
        assert row["comparisons"] == won + held + told
    assert set(table.index[-2:]) == {"random", "input_magnitude"}
    assert table.loc["ig", "told_from_best"] >= 2  # where lrp is the better by two deviations


def test_one_patient_tells_nothing_and_is_not_counted():
    rng = np.random.default_rng(0)
    best = best_table(compare_to_best(records_of(2, 1, rng)), pd.DataFrame())
    assert list(best["n"]) == [1, 1]
    assert not best["counted"].any()
    assert (best["told_from_best"] == "").all()
    assert standings(best).empty


def test_promises_and_layers_are_no_comparisons_of_methods():
    rng = np.random.default_rng(0)
    compared = compare_to_best(records_of(3, 8, rng))
    names = {"check0": "axiom_completeness", "check1": "layer_auc"}
    best = best_table(compared.replace({"check": names}), pd.DataFrame())
    assert list(best["check"]) == ["check2"]
