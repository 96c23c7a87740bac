"""A model tested on a cohort that it was not trained on."""

import json

import numpy as np
import pandas as pd
import pytest

from common.labels import LEADS
from conftest import run_script
from networks import external
from networks.checkpoints import ModelInfo


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


# ---------------------------------------------------------------- records without a label


@pytest.fixture(scope="module")
def rhythms(tmp_path_factory):
    """A cohort of 60 records, of which 7 have a rhythm alone and 3 no label at all."""
    folder = tmp_path_factory.mktemp("rhythms")
    run_script("simulate_ptbxl.py", "--output_path", folder, "--n_records", 60, "--seed", 11)
    table = pd.read_csv(folder / "ptbxl_database.csv")
    table.loc[:6, "scp_codes"] = ["{'SR': 0.0}"] * 5 + ["{'AFIB': 0.0, 'PVC': 100.0}"] * 2
    table.loc[7:9, "scp_codes"] = "{}"
    table.loc[10:, "scp_codes"] = [f"{{'{name}': 100.0}}" for name in ("NORM", "IMI") * 25]
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    run_script("preprocessing.py", "--data_path", folder)
    return folder


def test_records_without_a_label_of_the_task_are_left_out_and_said(trained, rhythms):
    words = ("--test_only", "--model_path", trained, "--data_path", rhythms, "--n_bootstrap", 50)
    said = run_script("train_model.py", *words).stdout
    path = trained / "external" / rhythms.name / "metrics.json"
    told = json.loads(path.read_text())["external"]
    without = {key: told["without_label"][key] for key in ("records", "other_labels", "no_label")}
    assert without == {"records": 60, "other_labels": 7, "no_label": 3}
    assert told["without_label"]["often"] == {"SR": 5, "AFIB": 2, "PVC": 2}
    assert told["records"] == 50
    assert "10 of 60 records have no label of " in said
    assert (
        "7 with other labels alone (SR 5, AFIB 2, PVC 2) and 3 without any: they are left" in said
    )
    before = json.loads(path.read_text())["windows"]["per_class_auc"]

    said = run_script("train_model.py", *words, "--keep_unlabelled", "--overwrite").stdout
    content = json.loads(path.read_text())
    assert content["external"]["records"] == 60
    assert content["external"]["without_label"]["kept"] is True
    assert "they count as negatives of every class (--keep_unlabelled)" in said
    for name, entry in content["windows"]["per_class_auc"].items():
        assert entry["n_positive"] == before[name]["n_positive"]


def test_of_norm_a_record_with_a_rhythm_alone_may_be_one():
    without = {"records": 9, "other_labels": 2, "no_label": 0, "often": {"SR": 2}}
    (plain,) = external.in_a_sentence(without, "superdiagnostic", True, ["MI"])
    (doubted,) = external.in_a_sentence(without, "superdiagnostic", True, ["MI", "NORM"])
    assert doubted == f"{plain}, also of NORM, which some of them may be"
    without = {**without, "other_labels": 0}
    assert external.in_a_sentence(without, "superdiagnostic", False, ["MI"]) == []


def test_limit_counts_as_in_the_test(rhythms):
    classes = ("CD", "HYP", "MI", "NORM", "STTC")
    folds = {"test": list(range(1, 11))}
    info = ModelInfo("lenet", "superdiagnostic", classes, LEADS, 100, 2.5, folds, 0)
    for limit, wanted in ((8, (8, 7, 1)), (None, (60, 7, 3))):
        found = external.without_label(info, rhythms, limit)
        assert (found["records"], found["other_labels"], found["no_label"]) == wanted
