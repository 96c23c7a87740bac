"""The table of a cohort of one's own: as people write it."""

import numpy as np
import pandas as pd
import pytest

from common.files import UserError
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
        ("426783006 164889003", ["SR", "AFIB"]),
        ("[426783006, 164889003]", ["SR", "AFIB"]),
        ("Sinus rhythm (426783006); AF (164889003)", ["SR", "AFIB"]),
        ("", []),
        ("-", []),
    ],
)
def test_labels_are_parted_as_people_write_them(cell, names):
    table = pd.DataFrame({"labels": [cell]})
    assert cohort_table.read_labels(table, "mine.csv") == [names]


@pytest.mark.parametrize(
    ("yes", "no"),
    [("1", "0"), ("True", "False"), ("yes", "no"), ("Y", "N"), ("ja", "nein"), ("x", "")],
)
def test_columns_of_one_class_each_in_any_words(yes, no, capsys):
    table = pd.DataFrame({"AF": [yes, no, no], "scar": [yes, yes, no], "LBBB": [no] * 3})
    found = cohort_table.read_labels(table, "mine.csv", ["AF", "scar", "LBBB"])
    assert found == [["AFIB", "scar"], ["scar"], []]
    assert "no recording has LBBB, which is no class" in capsys.readouterr().err


def test_columns_of_names_stay_names():
    table = pd.DataFrame({"first": ["N", "AF", "no"], "second": ["", "old MI", "AF"]})
    found = cohort_table.read_labels(table, "mine.csv", ["first", "second"])
    assert found == [["N"], ["AF", "old_MI"], ["no", "AF"]]


@pytest.mark.parametrize("name", ["Dx", "label", "Diagnosis"])
def test_a_column_called_as_labels_often_are_is_said(name, capsys):
    table = pd.DataFrame({name: ["Sinus rhythm", "AF; old MI"]})
    assert cohort_table.read_labels(table, "a.csv") == [["Sinus_rhythm"], ["AF", "old_MI"]]
    assert f"labels are read from the column {name}" in capsys.readouterr().out


def test_rows_of_one_recording_are_taken_together(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    path.write_text("record_id,age,labels\na,50,NORM\na,50,SR\nb,60,IMI\n")
    table = cohort_table.read_cohort_table(path)
    assert table["labels"].tolist() == ["NORM;SR", "IMI"]
    assert "3 rows of 2 recordings" in capsys.readouterr().out
    path.write_text("record_id,age,labels\na,50,NORM\na,51,SR\n")
    with pytest.raises(UserError, match="line 3: the id a stands in line 2 too, and more than"):
        cohort_table.number_ids(cohort_table.read_cohort_table(path)["record_id"], path)


def test_train_val_and_test_become_folds():
    words = ["train"] * 40 + ["Val"] * 5 + ["test"] * 5
    folds = cohort_table.read_folds(words, "mine.csv")
    patients, labels = np.arange(50) // 2, [["a"]] * 50
    dealt = cohort_table.deal_training(folds, patients, labels, 0)
    sizes = np.bincount(dealt[:40])  # of 20 patients with two records each
    assert sorted(sizes) == [0, 4, 4, 4, 4, 6, 6, 6, 6]
    assert dealt[40:].tolist() == [9] * 5 + [10] * 5
    assert pd.Series(dealt[:40]).groupby(patients[:40]).nunique().eq(1).all()
    without = cohort_table.deal_training(np.where(folds == 9, 0, folds), patients, labels, 0)
    assert (without[:45] == 9).any()
    with pytest.raises(UserError, match="line 2: strat_fold 'fit' is not one of 1 to 10"):
        cohort_table.read_folds(["fit", "test"], "mine.csv")


def test_a_workbook_is_said_to_be_one(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(UserError, match="is a workbook of Excel: save its sheet as csv"):
        cohort_table.read_cohort_table(tmp_path / "mine.csv")


def test_a_line_of_signals_is_no_table(tmp_path):
    names = ",".join(f"c{number}" for number in range(200_000))
    (tmp_path / "t.csv").write_text(f"record_id,{names}\n")
    with pytest.raises(UserError, match="signals belong in --records"):
        cohort_table.read_cohort_table(tmp_path / "t.csv")


def test_ages_in_months_days_and_with_a_comma():
    ages = cohort_table.read_ages(["056Y", "6 months", "34,5", "73 d", "90+"], "mine.csv")
    assert np.allclose(ages, [56, 0.5, 34.5, 73 / 365.25, 90])


def test_males_beside_a_blank_are_read_and_other_words_are_refused():
    males = cohort_table.read_males(pd.Series([1.0, 0.0, np.nan]), "t.csv")
    np.testing.assert_equal(males, [0, 1, np.nan])
    with pytest.raises(UserError, match="line 3: sex 'perhaps' is not one of"):
        cohort_table.read_males(pd.Series(["True", "perhaps"]), "t.csv")


@pytest.mark.parametrize("lines", ["labels,age\nNORM,56,\nMI,61,\n", "id,labels\na,NORM, SR\n"])
def test_lines_with_more_cells_than_the_head_are_refused(tmp_path, lines):
    """Their first column would become names of rows, and every other column its neighbour's."""
    (tmp_path / "t.csv").write_text(lines)
    with pytest.raises(UserError, match=r"more cells than its head \((labels, age|id, labels)\)"):
        cohort_table.read_cohort_table(tmp_path / "t.csv")


def test_a_file_may_have_points_in_its_name():
    table = pd.DataFrame({"filename": ["d/e.2020.1.csv", "d/e.2020.2.csv"]})
    assert list(cohort_table.with_our_names(table)) == ["filename"]
    names = ["e.2020.2", "e.2020.1", "e"]
    found = cohort_table.rows_by_name(table, ["filename"], names)
    assert found == ({"e.2020.2": 1, "e.2020.1": 0}, ["e"])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_cohorts_table_with_any_separator(separator, tmp_path):
    rows = [["id", "labels", "age"], ["007", '"426783006,164889003"', "34"]]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(separator.join(row) for row in rows), encoding="utf-8-sig")
    table = cohort_table.read_cohort_table(path)
    assert table["id"].tolist() == ["007"]
    assert table["labels"].tolist() == ["426783006,164889003"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_column_that_stands_twice_is_told_from_one_with_a_point(tmp_path, encoding):
    path = tmp_path / "mine.csv"
    path.write_text("id;labels;Größe.1\n1;SR;x\n", encoding=encoding)
    assert "Größe.1" in cohort_table.read_cohort_table(path)
    path.write_text("id;labels;labels;Größe\n1;SR;AF;x\n", encoding=encoding)
    with pytest.raises(UserError, match="has the column labels twice"):
        cohort_table.read_cohort_table(path)


def test_names_that_are_all_but_the_same_are_named_and_joined_where_told(capsys):
    labels = [["AF", "SR"], ["af"], ["AF"], ["Af", "AF"], ["ISC"], ["ISC_"], ["AV_block"]]
    assert label_words.settle_alike(labels, join=False) == labels
    (line,) = capsys.readouterr().err.splitlines()
    assert "ISC_ (1) = ISC (1); AF (3) = Af (1) = af (1); --join_labels makes them one" in line
    joined = label_words.settle_alike(labels, join=True)
    assert joined == [["AF", "SR"], ["AF"], ["AF"], ["AF"], ["ISC_"], ["ISC_"], ["AV_block"]]
    assert label_words.settle_alike([["AF"], ["SR"]], join=False) == [["AF"], ["SR"]]
    assert capsys.readouterr().err == ""
