"""Localisation beside networks that have learnt nothing."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from sanity.controls import COLUMNS, control_rows, control_scores, control_table
from sanity.ranking_figures import not_beyond
from small_subjects import Linear, exact, make_subject


def scores_of(own, untrained, permuted, check="localisation_auc_cell_absolute"):
    rows = [("own", 0, "ig", check, own)]
    rows += [("untrained", seed, "ig", check, value) for seed, value in enumerate(untrained)]
    rows += [("permuted", seed, "ig", check, value) for seed, value in enumerate(permuted)]
    return pd.DataFrame(rows, columns=["kind", "seed", "method", "check", "value"])


def test_p_is_the_worse_of_the_two_kinds():
    table = control_table(scores_of(0.8, np.linspace(0.5, 0.7, 20), [0.6] * 19 + [0.9]), "net", 7)
    assert list(table) == COLUMNS
    [row] = table.itertuples()
    assert row.p_control == pytest.approx(2 / 21)
    assert not row.beyond_controls
    assert 0.5 < row.control_low < 0.51
    assert row.control_mean == pytest.approx(0.6)
    assert row.p_control_corrected == row.p_control
    assert (row.n_controls, row.n) == (20, 7)
    assert not_beyond(table) == {("localisation_auc_cell_absolute", "ig")}
    clear = control_table(scores_of(0.95, [0.5] * 20, [0.6] * 20), "net", 7)
    assert clear["p_control_corrected"].tolist() == [pytest.approx(1 / 21)]
    assert clear["beyond_controls"].all()
    assert not_beyond(clear) == not_beyond(None) == set()


def test_controls_are_explained_on_the_records_that_passed():
    """A network whose weights lie on the truth points there; random ones are at chance."""
    subject = make_subject(n=6)
    mask = np.zeros(subject.signals.shape, dtype=bool)
    mask[:, 30:60, 7] = True
    taught = Linear()
    weight = taught.head.weight.data.view(2, 12, -1)
    weight *= 0.01
    weight[:, 7, 30:60] = 1.0
    subject = make_subject(taught, n=6)
    passed = np.array([True, False, True, True, False, True])
    reference = {"mask": mask, "every": mask[None], "passed": passed}
    assert control_rows(reference, 2).tolist() == [0, 2]
    made = [
        SimpleNamespace(kind=kind, seed=seed, load=lambda _device, seed=seed: Linear(seed=seed + 1))
        for kind in ("untrained", "permuted")
        for seed in range(20)
    ]
    explainers = {"exact": exact, "random": exact}
    scores = control_scores(subject, reference, explainers, made, 3)
    assert set(scores["method"]) == {"exact"}  # controls look at no network
    table = control_table(scores, subject.name, 3).set_index("check")
    row = table.loc["localisation_auc_cell_absolute"]
    assert row["value"] > 0.95
    assert row["p_control"] == pytest.approx(1 / 21)
    assert row["beyond_controls"]
    assert row["control_low"] < 0.5 < row["control_high"]
    nothing = {**reference, "passed": ~passed & passed}
    assert control_scores(subject, nothing, explainers, made, 3).empty
    assert control_table(control_scores(subject, nothing, explainers, made, 3), "net", 0).empty
