"""Cohorts: how they are written, at which level, and which records belong."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from common.files import UserError, write_csv, write_npy, write_pickle
from common.labels import LABEL_MAPPINGS
from records.tasks import Task, write_tasks
from subgroups.cohort import choose_level, default_target, levels_of, load_cohort, parse_cohort

PTBXL = list(LABEL_MAPPINGS.items())
OURS = SimpleNamespace(task="subdiagnostic", labels=("AMI", "IMI"), sampling_rate=100)


@pytest.mark.parametrize(
    "words", [["AMI or IMI"], ["AMI", "or", "IMI"], ["AMI", "IMI"], ["[AMI,", "IMI]"], ["AMI,IMI"]]
)
def test_a_cohort_can_be_written_in_every_way(words):
    assert parse_cohort(words) == ["AMI", "IMI"]


def test_a_cohort_of_nothing_or_twice_the_same_is_refused():
    for words in ([""], ["AMI or AMI"]):
        with pytest.raises(UserError, match="--cohort"):
            parse_cohort(words)


def test_level_is_the_coarsest_that_has_the_names():
    assert choose_level(["AMI", "IMI"], PTBXL)[0] == "subdiagnostic"
    assert choose_level(["ASMI"], PTBXL)[0] == "diagnostic"
    assert choose_level(["MI", "CD"], PTBXL)[0] == "superdiagnostic"
    assert choose_level(["AMI", "IMI"], PTBXL, "diagnostic")[0] == "diagnostic"
    with pytest.raises(UserError, match="accepted are"):
        choose_level(["ASMI"], PTBXL, "subdiagnostic")
    with pytest.raises(UserError, match="unknown label XYZ"):
        choose_level(["AMI", "XYZ"], PTBXL)
    with pytest.raises(UserError, match="one level"):
        choose_level(["MI", "ASMI", "SR"], PTBXL)
    with pytest.raises(UserError, match=r"unknown level subdiag: .*did you mean subdiagnostic"):
        choose_level(["AMI"], PTBXL, "subdiag")


def test_the_explained_output_holds_all_records():
    assert default_target(["AMI", "IMI"], "subdiagnostic", ("CD", "MI")) == "MI"
    assert default_target(["AMI", "IMI"], "subdiagnostic", ("AMI", "IMI")) == "AMI"
    assert default_target(["ASMI"], "diagnostic", ("AMI", "NORM")) == "AMI"
    with pytest.raises(UserError, match="--target"):
        default_target(["SR"], "rhythm", ("AMI",))
    # a class of one's own that is called like a statement need not be it
    assert default_target(["AMI", "IMI"], "own", ("MI", "IMI")) == "IMI"


@pytest.fixture
def folder(tmp_path):
    n = 5
    statements = [["AMI"], ["IMI"], ["AMI", "IMI"], ["IMI", "SR"], ["NORM"]]
    write_csv(
        tmp_path / "ptbxl_database_enriched.csv",
        pd.DataFrame(
            {
                "ecg_id": range(1, n + 1),
                "patient_id": range(n),
                "strat_fold": 1,
                "r_peaks": "100 200",
            }
        ),
    )
    write_pickle(tmp_path / "raw100.pkl", np.zeros((n, 1000, 12), np.float32))
    for task in ("subdiagnostic", "all"):
        names = LABEL_MAPPINGS[task]
        write_npy(
            tmp_path / f"multihot_{task}.npy",
            np.array([[int(name in row) for name in names] for row in statements]),
        )
    return tmp_path


def test_only_records_whose_one_label_is_named_belong(folder):
    cohort = load_cohort(folder, ["AMI or IMI"], OURS)
    assert cohort.data.ecg_id.tolist() == [1, 2, 4]
    assert cohort.labels.tolist() == ["AMI", "IMI", "IMI"]
    assert cohort.hidden_labels
    assert cohort.statements[:, LABEL_MAPPINGS["all"].index("SR")].tolist() == [0, 0, 1]
    assert load_cohort(folder, ["AMI or IMI"], OURS, limit=2).data.ecg_id.tolist() == [1, 2]
    assert cohort.rows(np.array([False, True, True])).labels.tolist() == ["IMI", "IMI"]


def test_a_cohort_without_a_record_is_said(folder):
    with pytest.raises(UserError, match="LVH as its only subdiagnostic label"):
        load_cohort(folder, ["LVH"], OURS)


def test_a_data_sets_own_classes_make_a_cohort(folder):
    task = Task("own", ("sinus rhythm", "block"), {})
    write_tasks(folder, {"own": task})
    labels = np.array([[1, 0], [0, 1], [1, 1], [1, 0], [0, 0]])
    write_npy(folder / "multihot_own.npy", labels)
    cohort = load_cohort(folder, ["sinus", "rhythm", "or", "block"], OURS)
    assert (cohort.names, cohort.level) == (["sinus rhythm", "block"], "own")
    assert cohort.data.ecg_id.tolist() == [1, 2, 4]
    assert cohort.labels.tolist() == ["sinus rhythm", "block", "sinus rhythm"]
    assert load_cohort(folder, ["AMI or IMI"], OURS).level == "subdiagnostic"
    with pytest.raises(UserError, match="not labels of one level"):
        load_cohort(folder, ["block or IMI"], OURS)


def test_a_networks_own_classes_make_a_cohort(folder):
    """As its other stages find them: in columns of True and False."""
    table = pd.read_csv(folder / "ptbxl_database_enriched.csv")
    table["infarct"], table["block"] = (
        [True, True, False, False, False],
        [False, True, True, "", ""],
    )
    write_csv(folder / "ptbxl_database_enriched.csv", table)
    theirs = SimpleNamespace(task="own", labels=("block", "pause", "infarct"), sampling_rate=100)
    cohort = load_cohort(folder, ["infarct or block"], theirs)
    assert cohort.data.ecg_id.tolist() == [1, 3]
    assert cohort.labels.tolist() == ["infarct", "block"]
    assert default_target(cohort.names, cohort.level, theirs.labels) == "infarct"
    with pytest.raises(UserError, match="has no labels for pause"):
        load_cohort(folder, ["infarct or pause"], theirs)
    with pytest.raises(UserError, match="unknown label infarct"):
        load_cohort(folder, ["infarct"], OURS)
    assert [name for name, _ in levels_of(folder, theirs)] == [*LABEL_MAPPINGS, "own"]
