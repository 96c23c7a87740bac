"""What an import makes of recordings and their table: R-peaks in the record's own time, files of an
earlier import, the first recording that is left out, what is not used and said.
"""

import json

import numpy as np
import pandas as pd
import pytest

import import_records
from common.files import UserError
from common.labels import LEADS
from records.ptbxl import write_record
from tiny_ptbxl import ecg_like, fitting_limbs

RATE = 250
BEATS = np.arange(0.5, 10, 0.8)  # s
N = 4


@pytest.fixture
def own(tmp_path):
    """Four WFDB records of 10 s at 250 Hz and their table."""
    for number in range(N):
        samples = np.rint(fitting_limbs(ecg_like(number, RATE))).astype(np.int16)
        write_record(tmp_path / "wfdb", f"r{number}", samples, RATE)
    peaks = " ".join(str(round(beat * RATE)) for beat in BEATS)
    table = {"record_id": [f"r{number}" for number in range(N)], "labels": "SR", "r_peaks": peaks}
    pd.DataFrame(table).assign(patient_id=range(N)).to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path


def imported(own, *words):
    """The folder that the import writes."""
    given = ["--records", own / "wfdb", "--table", own / "mine.csv", "--output_path", own / "data"]
    parser = import_records.get_args_parser()
    import_records.main(parser.parse_args(list(map(str, [*given, *words]))))
    return own / "data"


def changed(own, **columns):
    table = pd.read_csv(own / "mine.csv").assign(**columns)
    table.to_csv(own / "mine.csv", index=False)


@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        ((), 0, 10),
        (("--sampling_rate", 500), 0, 10),
        (("--record_start", 2, "--seconds", 4), 2, 6),
    ],
)
def test_r_peaks_are_those_of_what_is_written(own, options, first, last):
    """At the recordings' own rate, whatever the data set's is, from where each record begins."""
    peaks = pd.read_csv(imported(own, *options) / "addons" / "r-peaks.csv")["r_peaks"]
    wanted = [round(100 * (beat - first)) for beat in BEATS if first <= beat < last]
    assert peaks.tolist() == [" ".join(map(str, wanted))] * N


def test_r_peaks_behind_the_recording_stay_for_preprocessing_to_refuse(own):
    changed(own, r_peaks="125 9000")
    peaks = pd.read_csv(imported(own, "--seconds", 4) / "addons" / "r-peaks.csv")["r_peaks"]
    assert peaks.tolist() == ["50 3600"] * N


def test_r_peaks_that_are_none_are_refused_before_anything_is_written(own):
    changed(own, r_peaks="12 x")
    with pytest.raises(UserError, match="recording r0: r_peaks '12 x' are not whole numbers"):
        imported(own)
    assert not (own / "data").exists()


def test_files_of_an_earlier_import_go(own):
    (own / "wfdb" / "r3.dat").write_bytes(b"")
    data = imported(own, "--skip_bad")
    beside = [data / "addons" / "r-peaks.csv", data / "skipped_imports.csv"]
    assert all(path.is_file() for path in beside)
    table = pd.read_csv(own / "mine.csv").iloc[:3].drop(columns="r_peaks")
    table.to_csv(own / "mine.csv", index=False)
    imported(own, "--match", "r[012]", "--overwrite")
    assert not any(path.exists() for path in beside)


def test_what_is_left_out_at_the_beginning_says_neither_rate_nor_length(own):
    samples = np.rint(ecg_like(9, 500)).astype(np.int16)[:500]
    write_record(own / "wfdb", "r0", samples, 500)
    data = imported(own, "--skip_bad")
    said = json.loads((data / "dataset.json").read_text())
    assert (said["sampling_rate"], said["n_samples"]) == (RATE, 10 * RATE)
    assert pd.read_csv(data / "skipped_imports.csv")["record_id"].tolist() == ["r0"]


def test_splits_and_rows_that_are_not_used_are_said(own, capsys):
    changed(own, subset=["rest", "train", "train", "train"])
    data = imported(own, "--match", "r[012]")
    said = capsys.readouterr()
    assert f"1 rows of {own / 'mine.csv'} are of recordings that are not in" in said.out
    assert "its column of splits says rest, train, not train, val or test" in said.err
    assert pd.read_csv(data / "ptbxl_database.csv")["strat_fold"].nunique() == 3


def test_one_gap_at_the_beginning_is_said_to_leave_out_the_rest(own):
    (own / "long").mkdir()
    signal = pd.DataFrame(ecg_like(1, RATE) / 1000, columns=LEADS)
    signal.iloc[3, 0] = np.inf
    signal.to_csv(own / "long" / "r0.csv", index=False)
    words = ("--records", own / "long", "--signal_rate", RATE, "--seconds", 3, "--every", 3)
    with pytest.raises(UserError, match="infinite values; its other stretches are not read"):
        imported(own, *words)
