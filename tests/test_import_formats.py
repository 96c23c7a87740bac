"""Folders of csv and of vendors' files, .npz arrays, rates that cannot be and folders of 500 Hz
alone: what goes in comes out in mV and in order, what cannot go in is one line.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import import_records
import preprocessing
from common.files import UserError, read_pickle
from common.labels import LEADS
from records import vendor_files
from records.readers import read_recording
from tiny_ptbxl import ecg_like, fitting_limbs

RATE, N = 500, 4


def signals(n=N):
    """(n, 5000, 12) mV, limb leads that fit each other."""
    return np.stack([fitting_limbs(ecg_like(number, RATE) / 1000) for number in range(n)])


def stage(module, *words):
    module.main(module.get_args_parser().parse_args(list(map(str, words))))


def write_table(folder, names=None):
    labels = ["NORM SR", "IMI", "LVH SR", "CLBBB"]
    table = pd.DataFrame({"labels": labels, "patient_id": range(N), "age": 60, "sex": "F"})
    if names is not None:
        table.insert(0, "record_id", names)
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def imported(out):
    """The signals as preprocessing hands them on, and the table."""
    stage(preprocessing, "--data_path", out, "--sampling_rate", RATE)
    return read_pickle(out / "raw500.pkl"), pd.read_csv(out / "ptbxl_database_enriched.csv")


def test_a_folder_of_csv_goes_in_whatever_order_its_table_has(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shuffled = list(reversed(LEADS))
    for number, signal in enumerate(signals()):
        table = pd.DataFrame(signal, columns=LEADS)[shuffled] * 1000
        table.columns = [f"{lead} (uV)" for lead in shuffled]
        table.insert(0, "time", np.arange(len(table)) / RATE)
        table.to_csv(folder / f"case{number}.csv", index=False, sep=";", decimal=",")
    names = [f"case{number}" for number in (2, 0, 3, 1)]
    table = write_table(tmp_path, names)
    out = tmp_path / "data"
    stage(import_records, "--records", folder, "--table", table, "--output_path", out)
    raw, made = imported(out)
    assert made["record_id"].tolist() == [f"case{number}" for number in range(N)]
    assert [text.split("'")[1] for text in made["scp_codes"]] == ["IMI", "CLBBB", "NORM", "LVH"]
    assert np.abs(raw - signals()).max() < 6e-4


def test_vendor_files_go_in_as_they_are_read(tmp_path, ptbxl):
    pytest.importorskip("ecgdatakit")
    folder = ptbxl.parent / "vendor" / "philips"
    if not folder.is_dir():
        pytest.skip("no vendor files beside the real records")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".xml")
    labels = pd.DataFrame({"record_id": [path.stem for path in files], "labels": "NORM"})
    labels.to_csv(tmp_path / "table.csv", index=False)
    out = tmp_path / "data"
    words = ["--records", folder, "--table", tmp_path / "table.csv", "--output_path", out]
    stage(import_records, *words, "--seconds", 10)
    raw, made = imported(out)
    assert made["record_id"].tolist() == [path.stem for path in files]
    for path, signal in zip(files, raw, strict=True):
        assert np.abs(signal - read_recording(path).signal[:5000]).max() < 6e-4


def test_a_folder_of_vendor_files_is_read_file_by_file(tmp_path, monkeypatch):
    """With a stand-in for the reading library: names, unit and rate go through the import."""
    folder = tmp_path / "in"
    folder.mkdir()
    given = signals()
    for number in range(N):
        (folder / f"case{number}.xml").write_text(str(number))

    def parse(path, _part):
        signal = given[int(path.read_text())] * 1000
        lead = {"sampling_rate": RATE, "is_raw": False, "units": "uV", "annotations": {}}
        leads = [
            SimpleNamespace(label=name, samples=values, **lead)
            for name, values in zip(LEADS, signal.T, strict=True)
        ]
        patient = SimpleNamespace(age=60, sex="F", patient_id="a")
        told = {"source_format": "stand-in", "patient": patient, "raw_metadata": {}}
        return SimpleNamespace(leads=leads, **told)

    monkeypatch.setattr(vendor_files, "_parse", parse)
    out = tmp_path / "data"
    stage(
        import_records, "--records", folder, "--table", write_table(tmp_path), "--output_path", out
    )
    raw, _ = imported(out)
    assert np.abs(raw - given).max() < 6e-4


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1)])
def test_an_npz_array_goes_in_whichever_axis_time_is(tmp_path, axes):
    np.savez(tmp_path / "mine.npz", x=signals().astype(np.float32).transpose(axes))
    out = tmp_path / "data"
    words = ["--records", tmp_path / "mine.npz", "--table", write_table(tmp_path)]
    stage(import_records, *words, "--signal_rate", RATE, "--output_path", out)
    raw, _ = imported(out)
    assert np.abs(raw - signals()).max() < 6e-4


@pytest.mark.parametrize(
    ("name", "message"),
    [("x.pt", "save its array with numpy.save"), ("x.xlsx", "save it as csv"), ("in", "unpack it")],
)
def test_what_no_reader_takes_is_said_with_the_way_out(tmp_path, name, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "all.zip").write_bytes(b"PK")
    if name != "in":
        (tmp_path / name).write_bytes(b"?")
    words = ["--table", write_table(tmp_path), "--output_path", tmp_path / "data"]
    with pytest.raises(UserError, match=f"is in a format that is not read: {message}"):
        stage(import_records, "--records", tmp_path / name, *words)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    words = ["--table", tmp_path / "t.parquet", "--output_path", tmp_path / "data"]
    np.save(tmp_path / "mine.npy", signals())
    with pytest.raises(UserError, match="is no text: save the table as csv"):
        stage(import_records, "--records", tmp_path / "mine.npy", *words, "--signal_rate", RATE)


@pytest.mark.parametrize("rate", ["0.04", "nan", "0", "-500", "inf", "20000"])
def test_a_rate_that_cannot_be_is_refused_before_anything_is_written(tmp_path, rate):
    np.save(tmp_path / "mine.npy", signals())
    words = ["--records", tmp_path / "mine.npy", "--table", write_table(tmp_path)]
    with pytest.raises(UserError, match=r"sampling rate of .* Hz is not between 50 and 10000 Hz"):
        stage(import_records, *words, f"--signal_rate={rate}", "--output_path", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_folder_of_500_hz_alone_names_the_option(tmp_path, ptbxl):
    """PTB-XL with its 500 Hz records only: the way out is in the message."""
    table = pd.read_csv(ptbxl / "ptbxl_database.csv").head(5)
    table.to_csv(tmp_path / "ptbxl_database.csv", index=False)
    (tmp_path / "records500").symlink_to(ptbxl / "records500")
    out = tmp_path / "out"
    with pytest.raises(UserError, match="--sampling_rate 500"):
        stage(preprocessing, "--data_path", tmp_path, "--output_path", out)
    assert not (out / "raw100.pkl").exists()
