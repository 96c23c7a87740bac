"""The table of a cohort of one's own: as people write it."""

import numpy as np
import pandas as pd
import pytest

from records import cohort_table


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
