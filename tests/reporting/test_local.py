"""The explained ECGs of a run as the viewer shows them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from common.files import write_csv, write_json, write_npz
from reporting.local import viewed_records
from reporting.run import Run

OWN, OTHER = "a" * 64, "b" * 64  # hashes of data sets


@pytest.fixture
def run(tmp_path):
    """A run whose test and whose explained record have the same ecg_id."""
    info = SimpleNamespace(
        task="own", labels=("AF", "SR"), thresholds=(0.5, 0.5), dataset={"sha256": OWN}
    )
    write_npz(
        tmp_path / "predictions.npz",
        ecg_id=np.array([7]),
        logits=np.array([[2.0, -2.0]]),
        labels=np.array([[1, 0]]),
    )
    local = tmp_path / "local"
    of_record = {"ecg_id": np.array([7]), "signals": np.zeros((1, 500, 12))}
    segments = np.zeros((1, 500, 12), int)
    write_npz(local / "records.npz", **of_record, segments=segments, sampling_rate=np.array(100))
    write_npz(
        local / "ig_AF.npz",
        ecg_id=np.array([7]),
        target=np.array(0),
        attributions=np.ones((1, 500, 12)),
        logit=np.array([2.0]),
        signed=np.array(True),
        unit=np.array("logit"),
    )
    cells = {"ecg_id": [7], "pathology": ["AF"], "method": ["ig"], "rank": [1]}
    write_csv(local / "cells.csv", pd.DataFrame(cells))
    write_json(local / "local.json", {"stage": "local", "settings": {"data": OWN}})
    return Run(tmp_path, info)


def test_an_ecg_stands_beside_the_prediction_and_the_labels_of_its_test(run):
    [record] = viewed_records(run, "local")
    assert record.title == "ECG 7: AF (labelled AF)"
    assert record.prediction["probability"].tolist() == pytest.approx([0.881, 0.119], abs=1e-3)


def test_the_prediction_of_the_same_number_in_another_data_set_is_somebody_elses(run):
    write_json(run.folder / "local/local.json", {"stage": "local", "settings": {"data": OTHER}})
    [record] = viewed_records(run, "local")
    assert record.title == "ECG 7: AF"
    assert not len(record.prediction)
