"""Clusters beside those of networks that have learnt nothing."""

from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from subgroups import controls
from subgroups.controls import COLUMNS, control_scores, with_controls
from subgroups.findings import Design, Found


def test_p_is_the_worse_of_the_two_kinds_and_only_where_a_network_has_a_part():
    table = pd.DataFrame(
        {
            "representation": ["segments", "signal", "segments"],
            "metric": ["accuracy", "accuracy", "replication"],
            "value": [0.9, 0.8, 0.7],
        }
    )
    low = [("segments", "accuracy", "untrained", k, 0.5 + k / 100) for k in range(20)]
    high = [("segments", "accuracy", "permuted", k, 0.95 if k == 3 else 0.6) for k in range(20)]
    found = with_controls(table, pd.DataFrame(low + high, columns=COLUMNS))
    assert found.loc[0, "p_control"] == pytest.approx(2 / 21)
    assert found.loc[0, "n_controls"] == 20
    assert 0.5 < found.loc[0, "control_low"] < 0.51 < 0.68 < found.loc[0, "control_high"] < 0.7
    assert found.loc[[1, 2], "p_control"].isna().all()


def test_controls_are_clustered_as_the_network_is(monkeypatch):
    """Groups that lie apart are found for a control that shows them, not for one of noise."""
    n = 60
    labels = np.array(["AMI", "IMI"])[np.arange(n) % 2]
    patients, fold = np.arange(n), np.arange(n) % 10 + 1
    data = SimpleNamespace(patient_id=patients, fold=fold)
    cohort = SimpleNamespace(data=data, labels=labels)
    everyone = np.ones(n, dtype=bool)
    design = Design(everyone, everyone, True, "")
    args = Namespace(clusterer="kmeans", seed=0, variance=0.8)

    def represent(material):
        rng = np.random.default_rng(material.model)
        apart = 8 * (labels == "AMI") if material.model == 0 else 0
        return rng.normal(size=(n, 4)) + np.reshape(apart, (-1, 1))

    monkeypatch.setattr(controls, "REPRESENTATIONS", {"segments": represent, "signal": represent})
    found = {"segments": Found(2, labels == "AMI", None, ""), "signal": Found(2, None, None, "")}
    found["attribution"] = Found(1, None, None, "")
    made = [
        SimpleNamespace(kind="untrained", seed=seed, load=lambda _device, seed=seed: seed)
        for seed in (0, 1)
    ]
    material = SimpleNamespace(target=0, method="saliency", window="windows")
    scores = control_scores(found, cohort, design, material, made, args)
    assert set(scores["representation"]) == {"segments"}
    accuracy = scores[scores["metric"] == "accuracy"].set_index("seed")["value"]
    assert accuracy[0] == 1
    assert accuracy[1] < 0.8
