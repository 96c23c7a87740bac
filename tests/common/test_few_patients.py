"""Groups of one, two and five patients through every kind of interval that stages print: below five
patients there is none, from five on there is one that is not a point.
"""

import numpy as np
import pandas as pd
import pytest

from common.stats import patient_weights
from counterfactual.edits import EDITS
from counterfactual.groups import group_table
from glocal.maps import group_interval
from networks.metrics import classification_metrics, regression_metrics
from sanity.subject import summarise
from subgroups.clusters import agreement, paired_difference

RNG = np.random.default_rng(0)
SIZES = (1, 2, 4, 5)


def said_of(n, low, high):
    """Fewer than five have no interval, five have one with a width."""
    if n < 5:
        assert np.isnan([low, high]).all()
    else:
        assert low < high


@pytest.mark.parametrize("n", SIZES)
def test_of_performance(n):
    labels = np.zeros((40, 2), dtype=int)
    labels[:n, 0], labels[:20, 1] = 1, 1
    logits = RNG.normal(size=(40, 2))
    found = classification_metrics(logits, labels, ["rare", "usual"], np.arange(40), 200)
    for name in ("per_class_auc", "per_class_average_precision"):
        said_of(n, found[name]["rare"]["low"], found[name]["rare"]["high"])
        said_of(20, found[name]["usual"]["low"], found[name]["usual"]["high"])
    alone = classification_metrics(
        np.tile(logits[: n + 1, :1], (2, 1)),
        np.tile(labels[: n + 1, :1], (2, 1)),
        ["rare"],
        np.tile(np.arange(n + 1), 2),
        200,
    )
    for name in ("macro_auc", "macro_average_precision"):
        assert np.isfinite(alone[name]["low"]) == (n >= 5)
    wave = RNG.normal(size=(n, 12))
    leads = [str(lead) for lead in range(12)]
    fit = regression_metrics(wave + 0.1, wave + RNG.normal(size=wave.shape), leads, np.arange(n))
    said_of(n, fit["mae"]["low"], fit["mae"]["high"])
    said_of(n, fit["r2"]["low"], fit["r2"]["high"])


@pytest.mark.parametrize("n", SIZES)
def test_of_checks_groups_and_clusters(n):
    rows = pd.DataFrame(
        {
            "check": "dose",
            "method": "ig",
            "model": "net",
            "task": "t",
            "detail": "",
            "value": RNG.normal(size=n),
            "chance": 0.0,
            "best": 1.0,
            "ecg_id": np.arange(n),
            "patient_id": np.arange(n),
        }
    )
    [row] = summarise(rows).itertuples()
    said_of(n, row.low, row.high)
    density = np.ma.masked_invalid(RNG.normal(size=(n, 3)))
    low, high = group_interval(density, np.arange(n), patient_weights(np.arange(n), 200, 0))
    said_of(n, low[0], high[0])
    labels, clusters = np.arange(n) % 2, np.arange(n) // 2 % 2
    if n > 1:
        accuracy = agreement(clusters, labels, np.arange(n), 50)[0]
        said_of(n, accuracy["low"], accuracy["high"])
        found = paired_difference(clusters, labels, labels, np.arange(n), "accuracy", 50)
        said_of(n, found["low"], found["high"])


@pytest.mark.parametrize("n", SIZES)
def test_of_counterfactual_changes(n):
    records = pd.DataFrame(
        {"ecg_id": np.arange(n), "pathology": "LVH", "direction": "remove", "turned": True}
    )
    edits = pd.DataFrame({"ecg_id": np.arange(n), "pathology": "LVH", "edit": next(iter(EDITS))})
    alone = edits.assign(dose=-np.arange(1.0, n + 1))
    [row] = group_table(records, edits, alone, dict(enumerate(range(n)))).itertuples()
    said_of(n, row.dose_low, row.dose_high)
    said_of(n, row.low, row.high)
