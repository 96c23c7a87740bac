"""Tables and arrays that are nearly right: understood, or refused in one line that names the place;
what was there before a refused import stays.
"""

import os

import numpy as np
import pandas as pd
import pytest

import import_records
import preprocessing
import simulate_ptbxl
import train_model
from common import files
from common.labels import LEADS, TASKS
from common.stage import read_stage
from mutations import attempt
from networks.checkpoints import ModelInfo
from networks.models import get_model
from records.dataset import load_dataset, shared_patients
from records.readers import read_recording
from sanity.subject import make_subject
from tiny_dataset import write_tiny_dataset
from tiny_ptbxl import write_dataset


def run(stage, *words):
    """The stage's one line of error, or None."""
    return attempt(stage.main, stage.get_args_parser(), list(map(str, words)))[1]


def preprocessed(tmp_path, change):
    """(line of error, folder) of a data set whose table was changed."""
    folder = write_dataset(tmp_path / "data")
    table = pd.read_csv(folder / "ptbxl_database.csv")
    change(table).to_csv(folder / "ptbxl_database.csv", index=False)
    return run(preprocessing, "--data_path", folder), folder


def test_patients_with_names_are_numbered(tmp_path):
    names = ["Ada", "Ada", "Bo", "Cy", "Di", "Ed"]
    line, folder = preprocessed(tmp_path, lambda table: table.assign(patient_id=names))
    assert line is None
    data = load_dataset(folder)
    assert list(data.patient_id) == [1, 1, 2, 3, 4, 5]
    assert shared_patients(data, data).startswith("5 patients (patient_id 1 2 3 4 5)")


def test_one_patient_alone_is_preprocessed(tmp_path):
    line, folder = preprocessed(tmp_path, lambda table: table.assign(patient_id=7))
    assert line is None
    assert set(load_dataset(folder).patient_id) == {7}


@pytest.mark.parametrize("column", ["age", "ecg_id", "strat_fold"])
def test_a_column_that_is_there_twice_is_refused(tmp_path, column):
    line, _ = preprocessed(tmp_path, lambda table: pd.concat([table, table[[column]]], axis=1))
    assert f"has the column {column} twice" in line


def test_a_column_called_like_a_second_one_is_read(tmp_path):
    line, _ = preprocessed(tmp_path, lambda table: table.assign(**{"age.1": 3}))
    assert line is None


@pytest.mark.parametrize(
    "ids", [["a", "b", "c", "d", "e", "f"], [np.nan, 2, 3, 4, 5, 6], [1, 1, 2, 3, 4, 5]]
)
def test_ids_that_are_none_are_refused(tmp_path, ids):
    line, _ = preprocessed(tmp_path, lambda table: table.assign(ecg_id=ids))
    assert "ecg_id must be a whole number and occur once" in line


def _import(tmp_path, array, *more, text="labels\nNORM\nIMI\nNORM\n"):
    np.save(tmp_path / "a.npy", array)
    (tmp_path / "a.csv").write_text(text)
    words = ["--records", tmp_path / "a.npy", "--table", tmp_path / "a.csv"]
    words += ["--signal_rate", 100, "--output_path", tmp_path / "own", *more]
    return run(import_records, *words)


def test_classes_whose_files_would_have_one_name_are_refused(tmp_path):
    line = _import(tmp_path, SIGNAL, text="labels\nST/T\nST-T\nNORM\n")
    assert "a.csv: files of the classes ST-T and ST/T would both be named ST-T" in line


SIGNAL = np.random.default_rng(0).normal(0, 0.3, (3, 1000, 12))


@pytest.mark.parametrize("kind", ["U1", "S1", "bool", "complex128"])
def test_arrays_that_are_no_samples_are_refused(tmp_path, kind):
    line = _import(tmp_path, (SIGNAL > 0).astype(kind))
    assert "expected numbers (samples in mV)" in line
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("array", "more", "message"),
    [
        (SIGNAL, ("--lead_names", "I", "II", "III"), "has 12 signals and 3 names of leads"),
        (SIGNAL[:, :8], (), "recording 1 lasts 0.08 s, which is less than 2.5 s"),
        (SIGNAL, ("--unit", "0mV"), "is in 0mV, which is no unit of voltage"),
        (SIGNAL, ("--unit", "1e400mV"), "is in 1e400mV, which is no unit of voltage"),
        (SIGNAL, ("--sampling_rate", 10**9), "is not between 50 and 10000 Hz"),
        (SIGNAL, ("--seconds", 3, "--every", "1e-9"), "--every is 1e-09 s: at least 0.1 s apart"),
    ],
)
def test_what_would_be_read_wrongly_or_without_end_is_refused(tmp_path, array, more, message):
    assert message in _import(tmp_path, array, *more)


def test_peaks_that_are_none_are_refused_with_their_recording(tmp_path):
    text = 'labels,r_peaks,record_id\nNORM,"[1 2]",1\nIMI,3.5,2\nNORM,2,3\n'
    line = _import(tmp_path, SIGNAL, text=text)
    assert "a.csv, recording 2: r_peaks '3.5' are not whole numbers" in line


def test_folds_without_a_record_are_named_as_they_were_typed(tmp_path):
    """Neither `folds [np.int64(3)]` nor `folds []`: mutations.one_line looks for them."""
    data = load_dataset(write_tiny_dataset(tmp_path / "data"), "superdiagnostic")
    network = get_model("lenet", 5).eval()
    labels = tuple(TASKS["superdiagnostic"])
    network.info = ModelInfo("lenet", "superdiagnostic", labels, LEADS, 100, 2.5, {"test": [3]}, 0)
    unlabelled = data.in_folds([3, 4])
    unlabelled.labels[:] = 0
    for part, said in ((data.rows([]), "no record of"), (unlabelled, "those in fold 3, 4")):
        line = attempt(lambda _, part=part: make_subject("x", network, part, 3))[1]
        assert said in line
    words = ["--data_path", tmp_path / "data", "--test_folds", 9, "--output_path", tmp_path]
    assert "validation 9; test 9" in run(train_model, *words)


def test_a_refused_import_leaves_what_was_there(tmp_path):
    assert _import(tmp_path, SIGNAL) is None
    own = tmp_path / "own"
    (own / "records100" / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    bad = SIGNAL.copy()
    bad[2, 5, 3] = np.nan
    assert "has gaps" in _import(tmp_path, bad, "--overwrite")
    after = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    assert after == before
    line = _import(tmp_path, SIGNAL[:2] * 2, "--overwrite", text="labels\nNORM\nIMI\n")
    assert line is None
    names = sorted(path.name for path in own.rglob("*_lr.dat"))
    assert names == ["00001_lr.dat", "00002_lr.dat"]
    assert (own / "records100" / "notes.txt").read_text() == "mine"


def test_records_that_were_not_simulated_are_not_removed(tmp_path):
    (tmp_path / "records100").mkdir()
    (tmp_path / "records100" / "mine.dat").write_text("mine")
    line = run(simulate_ptbxl, "--output_path", tmp_path, "--n_records", 3)
    assert "holds records100, which was not simulated" in line
    assert (tmp_path / "records100" / "mine.dat").read_text() == "mine"
    assert not (tmp_path / "simulate_ptbxl.json").exists()


def test_too_little_memory_is_said_before_anything_is_read(tmp_path, monkeypatch):
    line, folder = preprocessed(tmp_path, lambda table: table)
    assert line is None
    monkeypatch.setattr(files, "available_memory", lambda: 10_000)
    line = attempt(lambda _: load_dataset(folder))[1]
    assert "raw100.pkl needs 0.0 GB of memory and 0.0 GB are free: give --limit" in line
    line = run(preprocessing, "--data_path", folder, "--overwrite")
    assert "an array of 6 records needs 0.0 GB of memory" in line
    assert "give --limit N" in line
    assert read_stage(folder / "preprocessing.json")["status"] == "finished"


def test_a_path_that_is_not_utf8_is_refused_in_one_line(tmp_path):
    folder = os.fsdecode(os.fsencode(str(tmp_path)) + b"/b\xff\xfed")
    write_dataset(tmp_path / "data")
    os.rename(tmp_path / "data", folder)
    assert "--data_path is not UTF-8" in run(preprocessing, "--data_path", folder)


REFUSED = [
    ("scp_codes", "{" * 3000 + "}" * 3000, "unparsable scp_codes"),
    ("scp_codes", "(" * 3000, "unparsable scp_codes"),
    ("scp_codes", "{'NORM': " + "-" * 3000 + "1}", "unparsable scp_codes"),
    ("scp_codes", "{'NORM': " + "9" * 6000 + "}", "unparsable scp_codes"),
    ("scp_codes", "{'NORM': 1e999}", "unparsable scp_codes"),
    ("scp_codes", "{'NORM': True}", "unparsable scp_codes"),
    ("scp_codes", "{b'NORM': 100.0}", "unparsable scp_codes"),
    ("scp_codes", "{'NORM\\ud800': 100.0}", "unparsable scp_codes"),
    ("strat_fold", "1.5", "strat_fold is not one of 1 to 10"),
    ("filename_lr", "", "no file name"),
    ("filename_lr", "a" * 5000, "File name too long"),
    ("filename_lr", "records100", "header missing"),
]


@pytest.mark.parametrize(("column", "value", "said"), REFUSED)
def test_cells_that_are_none_are_refused_in_one_line(tmp_path, column, value, said):
    assert said in preprocessed(tmp_path, lambda table: table.assign(**{column: value}))[0]


@pytest.mark.parametrize("column", ["R_Amp_V5", "r_peaks", "quality_noise", "<b>x</b>", "a\nb"])
def test_columns_of_ones_own_do_not_come_between(tmp_path, column):
    error, folder = preprocessed(tmp_path, lambda table: table.assign(**{column: "x"}))
    assert error is None
    kept = pd.read_csv(folder / "ptbxl_database_enriched.csv")
    assert kept.columns.is_unique
    if column.startswith(("R_", "r_", "q")):  # ours, measured anew
        assert (kept[column].astype(str) != "x").all()


def test_the_root_of_all_folders_is_no_recording():
    with pytest.raises(files.UserError, match="is a folder"):
        read_recording("/")
