"""A model tested on a cohort that it was not trained on."""

import json

import numpy as np
import pytest

from conftest import run_script


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another simulated cohort, of 60 records."""
    folder = tmp_path_factory.mktemp("other")
    run_script("simulate_ptbxl.py", "--output_path", folder, "--n_records", 60, "--seed", 9)
    run_script("preprocessing.py", "--data_path", folder)
    return folder


def test_another_cohort_is_tested_beside_the_own_test(trained, other):
    before = (trained / "metrics.json").read_bytes()
    words = ("--test_only", "--model_path", trained, "--data_path", other, "--n_bootstrap", 50)
    done = run_script("train_model.py", *words)
    assert "external test on" in done.stdout
    assert (trained / "metrics.json").read_bytes() == before
    folder = trained / "external" / other.name
    metrics = json.loads((folder / "metrics.json").read_text())
    told = metrics["external"]
    stored = np.load(folder / "predictions.npz")
    labels, classes = stored["labels"], stored["classes"].tolist()
    scored = [name for name, column in zip(classes, labels.T, strict=True) if 0 < column.mean() < 1]
    assert told["classes_compared"] == scored
    assert set(told["classes_compared"]) | set(told["classes_not_compared"]) == set(classes)
    assert told["records"] == len(labels)  # all folds: nothing of it was trained on
    name = scored[0]
    column = classes.index(name)
    positive = labels[:, column] == 1
    higher = stored["logits"][positive, column][:, None] > stored["logits"][~positive, column]
    assert metrics["windows"]["per_class_auc"][name]["value"] == pytest.approx(higher.mean())
