"""Cohorts: how they are written, at which level, and which records belong."""

import numpy as np
import pandas as pd
import pytest

from common.files import UserError, write_csv, write_npy, write_pickle
from common.labels import LABEL_MAPPINGS
from subgroups.cohort import choose_level, default_target, load_cohort, parse_cohort


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
    assert choose_level(["AMI", "IMI"]) == "subdiagnostic"
    assert choose_level(["ASMI"]) == "diagnostic"
    assert choose_level(["MI", "CD"]) == "superdiagnostic"
    assert choose_level(["AMI", "IMI"], "diagnostic") == "diagnostic"
    with pytest.raises(UserError, match="accepted are"):
        choose_level(["ASMI"], "subdiagnostic")
    with pytest.raises(UserError, match="unknown label XYZ"):
        choose_level(["AMI", "XYZ"])
    with pytest.raises(UserError, match="one level"):
        choose_level(["MI", "ASMI", "SR"])


def test_the_explained_output_holds_all_records():
    assert default_target(["AMI", "IMI"], ("CD", "MI")) == "MI"
    assert default_target(["AMI", "IMI"], ("AMI", "IMI")) == "AMI"
    assert default_target(["ASMI"], ("AMI", "NORM")) == "AMI"
    with pytest.raises(UserError, match="--target"):
        default_target(["SR"], ("AMI",))


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
    cohort = load_cohort(folder, ["AMI or IMI"])
    assert cohort.data.ecg_id.tolist() == [1, 2, 4]
    assert cohort.labels.tolist() == ["AMI", "IMI", "IMI"]
    assert cohort.hidden_labels
    assert cohort.statements[:, LABEL_MAPPINGS["all"].index("SR")].tolist() == [0, 0, 1]
    assert load_cohort(folder, ["AMI or IMI"], limit=2).data.ecg_id.tolist() == [1, 2]
    assert cohort.rows(np.array([False, True, True])).labels.tolist() == ["IMI", "IMI"]


def test_a_cohort_without_a_record_is_said(folder):
    with pytest.raises(UserError, match="LVH as its only subdiagnostic label"):
        load_cohort(folder, ["LVH"])
