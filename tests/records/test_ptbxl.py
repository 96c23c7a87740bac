"""The files are PTB-XL's: wfdb reads the records, the tables have the real ones' columns."""

import numpy as np
import pandas as pd
import pytest
import wfdb

from common.labels import LEADS, STATEMENTS
from records.ptbxl import record_name, write_database, write_record, write_statements


@pytest.mark.parametrize(
    ("ecg_id", "rate", "name"),
    [
        (1, 100, "records100/00000/00001_lr"),
        (999, 500, "records500/00000/00999_hr"),
        (21837, 100, "records100/21000/21837_lr"),
    ],
)
def test_record_names_are_those_of_ptbxl(ecg_id, rate, name):
    assert record_name(ecg_id, rate) == name


def test_wfdb_reads_a_record_back_with_its_checksums(tmp_path):
    signal = np.random.default_rng(0).integers(-30000, 30000, (1000, 12)).astype("<i2")
    name = record_name(7, 100)
    (tmp_path / name).parent.mkdir(parents=True)
    write_record(tmp_path, name, signal, 100)
    record = wfdb.rdrecord(str(tmp_path / name), physical=False)
    np.testing.assert_array_equal(record.d_signal, signal)
    assert record.checksum == [int(total) % 65536 for total in signal.sum(axis=0, dtype=int)]
    assert record.init_value == signal[0].tolist()
    assert (record.fs, record.sig_name, set(record.adc_gain), set(record.units)) == (
        100,
        [lead.upper() for lead in LEADS],
        {1000.0},
        {"mV"},
    )


def test_headers_have_the_form_of_the_real_ones(tmp_path, ptbxl):
    real = (ptbxl / "records100" / "00000" / "00001_lr.hea").read_text()
    signal = np.fromfile(ptbxl / "records100" / "00000" / "00001_lr.dat", "<i2").reshape(-1, 12)
    write_record(tmp_path, "00001_lr", signal, 100)
    assert (tmp_path / "00001_lr.hea").read_text() == real


def test_statements_agree_with_the_real_file(tmp_path, ptbxl):
    ours = pd.read_csv(write_statements(tmp_path), index_col=0)
    real = pd.read_csv(ptbxl / "scp_statements.csv", index_col=0)
    assert list(ours.columns) == list(real.columns)
    assert list(ours.index) == list(real.index) == list(STATEMENTS)
    shared = [
        "description",
        "diagnostic",
        "form",
        "rhythm",
        "diagnostic_class",
        "diagnostic_subclass",
    ]
    pd.testing.assert_frame_equal(ours[shared], real[shared], check_names=False)


def test_database_has_the_real_columns_then_its_own(tmp_path, ptbxl):
    real = pd.read_csv(ptbxl / "ptbxl_database.csv", nrows=1)
    ours = pd.read_csv(
        write_database(
            tmp_path, pd.DataFrame({"ecg_id": [1], "decoy_u_wave": [True], "strat_fold": [3]})
        )
    )
    assert list(ours.columns) == [*real.columns, "decoy_u_wave"]
    assert ours["strat_fold"].tolist() == [3]
