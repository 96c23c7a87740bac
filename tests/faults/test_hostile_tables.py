"""Tables and texts of strangers: cells without a name, formulas for spreadsheets, names of files
and classes that are none, ids in another order.
"""

import os
import time

import numpy as np
import pandas as pd
import pytest

import import_records
from common.cli import whole_names
from common.files import UserError, read_csv, write_csv
from mutations import attempt
from records.readers import read_recording
from records.recording import Asked
from records.tasks import check_classes

SIGNAL = np.random.default_rng(0).normal(0, 0.3, (3, 1000, 12))


def _import(folder, array, text, *more):
    """The line of error of an import of an array with a table, or None."""
    np.save(folder / "a.npy", array)
    (folder / "a.csv").write_text(text)
    words = ["--records", folder / "a.npy", "--table", folder / "a.csv", "--signal_rate", "100"]
    words += ["--output_path", folder / "own", *more]
    return attempt(import_records.main, import_records.get_args_parser(), words)[1]


# ---------------------------------------------------------------- cells and names of columns


def test_labels_are_not_taken_from_another_column(tmp_path):
    line = _import(tmp_path, SIGNAL, "labels,note\nNORM,1,2\nIMI,1,2\nNORM,1,2\n")
    assert "its lines have more cells than its head (labels, note)" in line
    assert not (tmp_path / "own").exists()


def test_a_text_of_signals_with_more_values_than_names_is_refused(tmp_path):
    """As R writes it, with numbers of rows and no name above them."""
    path = tmp_path / "r.csv"
    leads = ["I", "II", "III"]
    table = pd.DataFrame(SIGNAL[0, :, :3], columns=leads)
    table.to_csv(path, header=False)
    path.write_text("I,II,III\n" + path.read_text())
    with pytest.raises(UserError, match="names 3 columns, and its lines have 4 values"):
        read_recording(path, Asked(rate=100))
    named = read_recording(path, Asked(rate=100, lead_names=("-", *leads)))
    np.testing.assert_allclose(named.signal[:, 0], SIGNAL[0, :, 0], atol=1e-5)


FORMULAS = [
    "=1+1",
    "'=1",
    '=HYPERLINK("http://x")',
    "@SUM(A1)",
    "+cmd|' /C calc'!A0",
    "-2+f(1)",
    "\t=1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_run_is_written_as_text(tmp_path, text):
    table = pd.DataFrame({"class": [text, "NORM"], text: ["a", "b"], "score": [-1.5, 2.0]})
    write_csv(tmp_path / "t.csv", table)
    plain = pd.read_csv(tmp_path / "t.csv")
    assert plain["class"][0] == plain.columns[1] == f"'{text}"
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), table)


def test_other_texts_are_written_as_they_are(tmp_path):
    table = pd.DataFrame(
        {"note": ["-1", "+ST", "- flat", "'NORM'", None, "a=b", "it's"], "n": range(7)}
    )
    write_csv(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_text() == table.to_csv(index=False, lineterminator="\n")
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), table)


def test_many_names_are_told_apart_in_time_that_grows_as_they_do():
    names = [f"c{k}" for k in range(3000)]
    began = time.process_time()
    assert whole_names(names, [*names, "a b"]) == names
    assert whole_names([*names[:1500], "a", "b"], [*names, "a b"])[-1] == "a b"
    assert time.process_time() - began < 3


# ---------------------------------------------------------------- imports


def test_an_import_that_is_refused_late_leaves_the_records_that_were_there(tmp_path):
    """Classes, ages and the like are known only when all recordings have been read."""
    assert _import(tmp_path, SIGNAL, "labels\nNORM\nIMI\nNORM\n") is None
    before = {path: path.read_bytes() for path in (tmp_path / "own").rglob("*") if path.is_file()}
    line = _import(tmp_path, SIGNAL * 2, "labels\nST/T\nST-T\nNORM\n", "--overwrite")
    assert "would both be named ST-T" in line
    after = {path: path.read_bytes() for path in (tmp_path / "own").rglob("*") if path.is_file()}
    assert after == before


def test_an_import_that_is_refused_late_leaves_no_records(tmp_path):
    assert _import(tmp_path, SIGNAL, "labels\nST/T\nST-T\nNORM\n") is not None
    assert not (tmp_path / "own").exists()


def test_a_recording_whose_name_is_not_utf8_is_named(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    text = "I,II\n" + "\n".join("0.1,0.2" for _ in range(300))
    (folder / os.fsdecode(b"a\xff.csv")).write_text(text)
    words = ["--records", folder, "--output_path", tmp_path / "own", "--signal_rate", "100"]
    line = attempt(import_records.main, import_records.get_args_parser(), words)[1]
    assert "'a\\udcff' is not UTF-8: rename the file" in line


def test_ids_that_number_an_array_in_another_order_are_warned_of(tmp_path, capfd):
    """attempt() takes stderr for itself, so that the stage is run by its own main."""
    np.save(tmp_path / "a.npy", SIGNAL)
    parser = import_records.get_args_parser()
    for ids, warned in (
        (("3", "1", "2"), True),
        (("1", "2", "3"), False),
        (("7", "5", "6"), False),
    ):
        rows = "".join(f"{one},NORM\n" for one in ids)
        (tmp_path / "a.csv").write_text(f"record_id,labels\n{rows}")
        words = ["--records", tmp_path / "a.npy", "--table", tmp_path / "a.csv"]
        words += ["--signal_rate", "100", "--output_path", tmp_path / "own", "--overwrite"]
        import_records.main(parser.parse_args(list(map(str, words))))
        said = "rows are taken in the order of the array's recordings" in capfd.readouterr().err
        assert said == warned


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("L" * 300, "has 300 letters, and files are named by it: at most 100"),
        ("..", "the class .. has no Latin letter and no digit"),
        ("_", "the class _ has no Latin letter and no digit"),
    ],
)
def test_a_class_that_no_file_can_be_named_by_is_refused(name, said):
    with pytest.raises(UserError, match=said):
        check_classes(["NORM", name], "t.csv")
