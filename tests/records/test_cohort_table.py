"""The table of a cohort of one's own: as people write it."""

import numpy as np
import pandas as pd
import pytest

from records import cohort_table, label_words


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("IMI SR", ["IMI", "SR"]),
        ("['NORM', 'SR']", ["NORM", "SR"]),
        ("{'NORM': 100.0, 'SR': 0.0}", ["NORM", "SR"]),
        ("sinus rhythm, AV block", ["sinus_rhythm", "AV_block"]),
        ("IMI SR; LVH", ["IMI", "SR", "LVH"]),
        ("426783006,164889003", ["SR", "AFIB"]),
        ("", []),
    ],
)
def test_labels_are_parted_as_people_write_them(cell, names):
    table = pd.DataFrame({"labels": [cell]})
    assert cohort_table.read_labels(table, "mine.csv") == [names]


def test_ages_in_months_days_and_with_a_comma():
    ages = cohort_table.read_ages(["056Y", "6 months", "34,5", "73 d", "90+"], "mine.csv")
    assert np.allclose(ages, [56, 0.5, 34.5, 73 / 365.25, 90])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_cohorts_table_with_any_separator(separator, tmp_path):
    rows = [["id", "labels", "age"], ["007", '"426783006,164889003"', "34"]]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(separator.join(row) for row in rows), encoding="utf-8-sig")
    table = cohort_table.read_cohort_table(path)
    assert table["id"].tolist() == ["007"]
    assert table["labels"].tolist() == ["426783006,164889003"]


def test_names_that_are_all_but_the_same_are_named_and_joined_where_told(capsys):
    labels = [["AF", "SR"], ["af"], ["AF"], ["Af", "AF"], ["ISC"], ["ISC_"], ["AV_block"]]
    assert label_words.settle_alike(labels, join=False) == labels
    (line,) = capsys.readouterr().err.splitlines()
    assert "ISC_ (1) = ISC (1); AF (3) = Af (1) = af (1); --join_labels makes them one" in line
    joined = label_words.settle_alike(labels, join=True)
    assert joined == [["AF", "SR"], ["AF"], ["AF"], ["AF"], ["ISC_"], ["ISC_"], ["AV_block"]]
    assert label_words.settle_alike([["AF"], ["SR"]], join=False) == [["AF"], ["SR"]]
    assert capsys.readouterr().err == ""
