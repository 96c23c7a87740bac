"""scp_codes to labels: the parser runs nothing, the arrays follow the label order, the published
counts come out.
"""

import numpy as np
import pandas as pd
import pytest

from common.labels import LABEL_MAPPINGS, STATEMENTS
from records.ptbxl import count_classes, encode, parse_column, parse_scp_codes


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("{'NORM': 100.0, 'SR': 0.0}", {"NORM": 100.0, "SR": 0.0}),
        ("{}", {}),
        ('{"LVH": 50}', {"LVH": 50.0}),
    ],
)
def test_scp_codes_are_parsed(text, codes):
    assert parse_scp_codes(text) == codes


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch ran')",
        "{'NORM': 100.0",
        "['NORM']",
        "",
        "nan",
        "{'NORM': 'high'}",
        "{1: 2}",
        "{'NORM': 101}",
        "{'NORM': -1}",
        "{'NORM': True}",
        float("nan"),
        None,
        "(" * 5000,
    ],
)
def test_anything_else_is_refused_and_not_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not a dict of statements"):
        parse_scp_codes(text)
    assert list(tmp_path.iterdir()) == []


def test_every_offender_is_named_and_the_others_keep_their_row():
    table = pd.DataFrame(
        {"scp_codes": ["{'NORM': 100.0}", "broken", "{'IMI': 15.0}"]}, index=[4, 7, 9]
    )
    codes, problems = parse_column(table)
    assert codes == [{"NORM": 100.0}, None, {"IMI": 15.0}]
    assert [(problem.ecg_id, problem.kind) for problem in problems] == [(7, "unparsable scp_codes")]


def named(labels, task, row):
    return [LABEL_MAPPINGS[task][column] for column in np.flatnonzero(labels.multihot[task][row])]


def test_labels_of_all_tasks():
    labels = encode([{"ASMI": 15.0, "LVH": 100.0, "NDT": 0.0, "AFIB": 0.0}, {}])
    expected = {
        "superdiagnostic": ["HYP", "MI", "STTC"],
        "subdiagnostic": ["AMI", "LVH", "STTC"],
        "diagnostic": ["ASMI", "LVH", "NDT"],
        "form": ["NDT"],
        "rhythm": ["AFIB"],
        "all": ["AFIB", "ASMI", "LVH", "NDT"],
    }
    for task, names in expected.items():
        assert named(labels, task, 0) == names
        assert named(labels, task, 1) == []
        assert labels.multihot[task].shape == (2, len(LABEL_MAPPINGS[task]))


def test_a_likelihood_threshold_concerns_diagnostic_statements_alone():
    codes = [{"ASMI": 15.0, "LVH": 50.0, "NDT": 0.0, "AFIB": 0.0, "PVC": 0.0}]
    labels = encode(codes, min_likelihood=50)
    assert named(labels, "all", 0) == ["AFIB", "LVH", "PVC"]
    assert named(labels, "superdiagnostic", 0) == ["HYP"]
    assert named(encode(codes), "all", 0) == ["AFIB", "ASMI", "LVH", "NDT", "PVC"]


def test_unknown_statements_are_counted_and_named():
    labels = encode([{"XYZ": 100.0, "NORM": 100.0}, {"XYZ": 0.0, "ABC": 0.0}])
    assert labels.unknown == {"ABC": 1, "XYZ": 2}
    assert named(labels, "superdiagnostic", 0) == ["NORM"]


def test_counts_name_every_class_the_empty_ones_too():
    counts = count_classes(
        encode([{"NORM": 100.0}, {"IMI": 100.0, "AMI": 50.0}, {"SR": 0.0}]).multihot
    )
    assert counts["superdiagnostic"] == {
        "labelled": 2,
        "unlabelled": 1,
        "classes": {"CD": 0, "HYP": 0, "MI": 1, "NORM": 1, "STTC": 0},
    }
    assert counts["subdiagnostic"]["classes"]["AMI"] == 1
    assert counts["rhythm"]["labelled"] == 1
    assert sum(counts["all"]["classes"].values()) == 4


def test_our_vocabulary_is_that_of_scp_statements(ptbxl):
    table = pd.read_csv(ptbxl / "scp_statements.csv", index_col=0)
    assert sorted(table.index) == sorted(STATEMENTS)
    for statement, row in table.iterrows():
        superclass, subclass, form, rhythm, _ = STATEMENTS[statement]
        diagnostic = row["diagnostic"] == 1
        assert (superclass, subclass) == (
            (row["diagnostic_class"], row["diagnostic_subclass"]) if diagnostic else ("", "")
        )
        assert (form, rhythm) == (row["form"] == 1, row["rhythm"] == 1)


def test_labels_of_the_real_records_by_another_way(ptbxl):
    """Straight from the two csv files with pandas' string methods."""
    table = pd.read_csv(ptbxl / "ptbxl_database.csv")
    statements = pd.read_csv(ptbxl / "scp_statements.csv", index_col=0)
    codes, problems = parse_column(table.set_index("ecg_id"))
    labels = encode(codes)
    assert problems == []
    assert labels.unknown == {}
    for name, rows in statements[statements["diagnostic"] == 1].groupby("diagnostic_class"):
        expected = (
            sum(
                table["scp_codes"].str.contains(f"'{statement}'", regex=False).astype(int)
                for statement in rows.index
            )
            > 0
        )
        column = LABEL_MAPPINGS["superdiagnostic"].index(name)
        assert (
            labels.multihot["superdiagnostic"][:, column].tolist() == expected.astype(int).tolist()
        )
