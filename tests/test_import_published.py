"""Published cohorts in the layout that they are published in: each goes in with one command."""

import ast

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io

import import_records
import made_files
from common.files import UserError
from common.labels import LEADS
from records.wfdb_any import read_wfdb
from tiny_ptbxl import ecg_like, fitting_limbs, write_record

N = 6


def signal(seed, rate=500):
    """(T, 12) mV of 10 s, limb leads that fit each other."""
    return fitting_limbs(ecg_like(seed, rate) / 1000)


def stage(folder, *words):
    """The table that an import writes, and its signals # (N, T, 12) mV."""
    out = folder / "out"
    words = [*words, "--output_path", out]
    import_records.main(import_records.get_args_parser().parse_args(list(map(str, words))))
    table = pd.read_csv(out / "ptbxl_database.csv")
    column = next(name for name in table if "filename_" in name and table[name].notna().all())
    signals = [read_wfdb(out / name).millivolts() for name in table[column]]
    table["labels"] = [" ".join(ast.literal_eval(text)) for text in table["scp_codes"]]
    return table, np.stack(signals)


# ---------------------------------------------------------------- CODE-15 %, SaMi-Trop


def code_part(path, ids, unit=10.0, seconds=10):
    """A part of CODE-15 %: zeros at both ends, and a last row of zeros that is no exam."""
    tracings = np.zeros((len(ids) + 1, 4096, 12), np.float32)
    n = round(400 * seconds)
    first = (4096 - n) // 2
    for row, number in enumerate(ids):
        tracings[row, first : first + n] = unit * signal(number % 50, 400)[:n]
    with h5py.File(path, "w") as file:
        file["exam_id"], file["tracings"] = [*ids, 0], tracings


def exams(path, ids):
    columns = {
        "exam_id": ids[::-1],
        "age": 38,
        "is_male": True,
        "nn_predicted_age": 40.1,
        **dict.fromkeys(("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"), False),
        "patient_id": [number // 2 for number in ids[::-1]],
        "death": "",
        "timey": "",
        "normal_ecg": [number % 2 == 0 for number in ids[::-1]],
        "trace_file": "exams_part0.hdf5",
    }
    table = pd.DataFrame(columns)
    table.loc[table["exam_id"] == ids[1], "RBBB"] = True
    table.to_csv(path, index=False)


@pytest.mark.parametrize("unit", [10.0, 1.0])
def test_code15_goes_in_as_a_folder_of_parts(tmp_path, unit, capsys):
    folder, ids = tmp_path / "code15", list(range(1000, 1000 + N))
    folder.mkdir()
    code_part(folder / "exams_part0.hdf5", ids[:4], unit)
    code_part(folder / "exams_part1.hdf5", ids[4:], unit)
    exams(folder / "exams.csv", ids)
    table, signals = stage(tmp_path, "--records", folder, "--table", folder / "exams.csv")
    assert table["record_id"].tolist() == ids
    assert table["labels"].tolist() == ["NORM", "CRBBB", "NORM", "", "NORM", ""]
    assert table["patient_id"].tolist() == [number // 2 for number in ids]
    assert (table["age"] == 38).all()
    expected = np.stack([signal(number % 50, 400) for number in ids])
    assert np.abs(signals - expected).max() < 6e-4
    assert f"tall in units of {'1e-4V' if unit == 10 else 'mV'}" in capsys.readouterr().out


def test_samitrop_has_no_ids_and_goes_by_its_order(tmp_path):
    code_part(tmp_path / "exams.hdf5", list(range(N)), seconds=7)
    with h5py.File(tmp_path / "exams.hdf5", "r+") as file:
        tracings = file["tracings"][:N]
        del file["tracings"], file["exam_id"]
        file["tracings"] = tracings
    columns = {
        "exam_id": range(70, 70 + N),
        "age": 60,
        "is_male": False,
        "death": [True, False] * 3,
    }
    pd.DataFrame(columns).to_csv(tmp_path / "exams.csv", index=False)
    words = ["--records", tmp_path / "exams.hdf5", "--table", tmp_path / "exams.csv"]
    table, signals = stage(tmp_path, *words, "--label_columns", "death")
    assert table["ecg_id"].tolist() == list(range(70, 70 + N))
    assert table["labels"].tolist() == ["death", ""] * 3
    assert signals.shape == (N, 2800, 12)


# ---------------------------------------------------------------- MIMIC-IV-ECG, Chapman, CPSC, LUDB


def test_code_test_says_neither_ids_nor_ages(tmp_path, capsys):
    with h5py.File(tmp_path / "ecg_tracings.hdf5", "w") as file:
        file["tracings"] = np.stack([10 * signal(k, 400)[:4000] for k in range(3)])
        file["tracings"].attrs["fs"] = 400
    columns = dict.fromkeys(("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST"), 0)
    table = pd.DataFrame([{**columns, "AF": 1}, {**columns, "RBBB": 1}, columns])
    table.to_csv(tmp_path / "gold_standard.csv", index=False)
    words = ("--records", tmp_path / "ecg_tracings.hdf5", "--unit", "1e-4V")
    made, signals = stage(tmp_path, *words, "--table", tmp_path / "gold_standard.csv")
    assert made["labels"].tolist() == ["AFIB", "CRBBB", ""]
    assert np.abs(signals[1] - signal(1, 400)).max() < 1e-3
    assert capsys.readouterr().err.count("which is no class of this data set") == 4


def test_mimic_names_records_by_their_studies(tmp_path):
    rows = []
    for number in range(N):
        study = 40000000 + number
        path = f"files/p1000/p1000003{number // 2}/s{study}/{study}"
        whole = tmp_path / path
        whole.parent.mkdir(parents=True)
        write_record(whole, np.rint(signal(number) * 1000).astype(np.int16), 500, names=LEADS)
        rows.append((10000030 + number // 2, study, study, "2180-07-23 08:44:00", path))
    names = ["subject_id", "study_id", "file_name", "ecg_time", "path"]
    table = pd.DataFrame(rows[::-1], columns=names)
    table["report"] = ["Sinus rhythm", "Atrial fibrillation; Left axis deviation"] * 3
    table.to_csv(tmp_path / "record_list.csv", index=False)
    words = ["--records", tmp_path / "files", "--table", tmp_path / "record_list.csv"]
    made, signals = stage(tmp_path, *words, "--label_columns", "report")
    assert made["record_id"].tolist() == [40000000 + number for number in range(N)]
    assert made["patient_id"].tolist() == [10000030 + number // 2 for number in range(N)]
    assert made["labels"].tolist()[:2] == [
        "Atrial_fibrillation Left_axis_deviation",
        "Sinus_rhythm",
    ]
    assert np.abs(signals - np.stack([signal(number) for number in range(N)])).max() < 6e-4


def test_chapman_as_csv_in_microvolts(tmp_path):
    folder = tmp_path / "ECGData"
    folder.mkdir()
    for number in range(N):
        table = pd.DataFrame(np.rint(signal(number) * 1000), columns=LEADS)
        table.to_csv(folder / f"MUSE_2018_{number}.csv", index=False)
    columns = {
        "FileName": [f"MUSE_2018_{number}" for number in range(N)][::-1],
        "Rhythm": ["AFIB", "SB", "SR"] * 2,
        "Beat": ["RBBB TWC", "NONE", "NONE"] * 2,
        "PatientAge": 85,
        "Gender": ["MALE", "FEMALE"] * 3,
    }
    pd.DataFrame(columns).to_csv(folder / "Diagnostics.csv", index=False)
    (folder / "LICENSE.txt").write_text("The data are free.")
    words = ["--records", folder, "--table", folder / "Diagnostics.csv", "--signal_rate", 500]
    with pytest.raises(UserError, match="give its unit with --unit"):
        stage(tmp_path, *words, "--label_columns", "Rhythm")
    table, signals = stage(tmp_path, *words, "--label_columns", "Rhythm", "--unit", "uV")
    assert table["labels"].tolist() == ["SR", "SB", "AFIB"] * 2
    assert table["sex"].tolist() == [1, 0] * 3
    assert (table["age"] == 85).all()
    assert np.abs(signals - np.stack([signal(number) for number in range(N)])).max() < 1.1e-3


def test_cpsc_2018_as_structs(tmp_path):
    folder = tmp_path / "TrainingSet1"
    folder.mkdir()
    for number in range(N):
        struct = {"sex": "Female", "age": 60.0 + number, "data": signal(number).T}
        scipy.io.savemat(folder / f"A000{number}.mat", {"ECG": struct})
    columns = {
        "Recording": [f"A000{number}" for number in range(N)],
        "First_label": [1, 2, 3, 5, 8, 9],
        "Second_label": ["", 5, "", "", "", ""],
        "Third_label": "",
    }
    pd.DataFrame(columns).to_csv(folder / "REFERENCE.csv", index=False)
    words = ["--records", folder, "--table", folder / "REFERENCE.csv"]
    with pytest.raises(UserError, match="give --signal_rate in Hz"):
        stage(tmp_path, *words)
    table, signals = stage(tmp_path, *words, "--signal_rate", 500)
    assert table["labels"].tolist() == ["NORM", "AFIB CRBBB", "1AVB", "CRBBB", "STD_", "STE_"]
    assert table["age"].tolist() == [60, 61, 62, 63, 64, 65]
    assert (table["sex"] == 1).all()
    assert np.abs(signals - np.stack([signal(number) for number in range(N)])).max() < 6e-4


def test_ludb_by_its_table(tmp_path):
    for number in range(N):
        write_record(
            tmp_path / "data" / str(number + 1),
            np.rint(signal(number) * 1000).astype(np.int16),
            500,
            names=[name.lower() for name in LEADS],
        )
    columns = {
        "ID": range(1, N + 1),
        "Sex": ["F", "M\n"] * 3,
        "Age": [">89", "51", "64\n", "30", "31", "32"],
        "Rhythms": ["Sinus rhythm", "Sinus bradycardia\nAV block"] * 3,
    }
    pd.DataFrame(columns).to_csv(tmp_path / "ludb.csv", index=False)
    words = ["--records", tmp_path / "data", "--table", tmp_path / "ludb.csv"]
    table, _ = stage(tmp_path, *words, "--label_columns", "Rhythms")
    assert table["labels"].tolist()[:2] == ["Sinus_rhythm", "Sinus_bradycardia AV_block"]
    assert table["age"].tolist()[:3] == [89, 51, 64]
    assert table["sex"].tolist() == [1, 0] * 3


def test_ptb_diagnostic_says_diagnoses_in_its_headers(tmp_path):
    """15 signals in two files, 30 s or more, leads in small letters; no #Dx."""
    for number in range(N):
        folder = tmp_path / "ptbdb" / f"patient{number:03}"
        folder.mkdir(parents=True)
        digital = np.rint(signal(number, 1000) * 2000).astype("<i2")
        lines = [f"s{number} 15 1000 {len(digital)}"]
        for k, name in enumerate([*map(str.lower, LEADS), "vx", "vy", "vz"]):
            file = f"s{number}.{'dat' if k < 12 else 'xyz'}"
            column = digital[:, k % 12]
            total = int(column.astype(int).sum()) & 0xFFFF
            lines.append(f"{file} 16 2000 16 0 {column[0]} {total} 0 {name}")
        reason = ["Healthy control", "Myocardial infarction", "n/a"][number % 3]
        lines += ["#", "# age: 81", "# sex: female", f"# Reason for admission: {reason}"]
        (folder / f"s{number}.hea").write_text("\n".join(lines))
        digital.tofile(folder / f"s{number}.dat")
        digital[:, :3].tofile(folder / f"s{number}.xyz")
    words = ["--records", tmp_path / "ptbdb"]
    with pytest.raises(UserError, match="the headers say: reason for admission"):
        stage(tmp_path, *words)
    with pytest.raises(UserError, match="no header says diagnosis; they say age, reason"):
        stage(tmp_path, *words, "--label_columns", "diagnosis")
    table, signals = stage(tmp_path, *words, "--label_columns", "Reason", "for", "admission")
    assert table["labels"].tolist() == ["Healthy_control", "Myocardial_infarction", ""] * 2
    assert (table["age"] == 81).all()
    assert np.abs(signals - np.stack([signal(k, 1000) for k in range(N)])).max() < 6e-4


LAYOUTS = {  # folders of six recordings, patients, how the collection is called
    "PTB Diagnostic": (
        [f"patient{number:03}" for number in (7, 7, 9, 9, 9, 290)],
        [1, 1, 2, 2, 2, 3],
    ),
    "Icentia11k": (
        ["p00/p00000", "p00/p00000", "p00/p00001", *["p01/p01000"] * 3],
        [1, 1, 2] + [3] * 3,
    ),
    "MIMIC-IV-ECG": (
        [f"files/p1000/p1000{4 + k // 2:04}/s{k + 100}" for k in range(6)],
        [1, 1, 2, 2, 3, 3],
    ),
    "patients of a clinic": ([f"case{number}" for number in (1, 1, 2, 2, 3, 3)], None),
    "one recording elsewhere": (["patient007"] * 5 + ["other"], None),
    "no folders": ([""] * 6, None),
}


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("many", [False, True])
def test_a_folder_for_each_patient_is_known_of_collections_alone(tmp_path, capsys, kind, many):
    folders, patients = LAYOUTS[kind]
    for number, folder in enumerate(folders):
        path = tmp_path / "in" / folder / f"s{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_record(path, np.rint(signal(number, 100)[:1000] * 1000).astype(np.int16))
        with open(path.with_suffix(".hea"), "a") as file:
            file.write("# Dx: 426783006\n")
    every = ["--seconds", 5, "--every", 5] if many else []
    table, _ = stage(tmp_path, "--records", tmp_path / "in", *every)
    said = capsys.readouterr()
    n_of_each = 2 if many else 1
    if patients is None:
        assert table["patient_id"].nunique() == 6
        assert "every recording counts as a patient of its own" in said.err
        return
    order = np.argsort([*folders], kind="stable")
    assert table["patient_id"].tolist() == np.repeat(np.array(patients)[order], n_of_each).tolist()
    assert (table.groupby("patient_id")["strat_fold"].nunique() == 1).all()
    assert f"patients by the folders of {kind} (p" in said.out
    assert "a patient of its own" not in said.err


# ---------------------------------------------------------------- what does not fit


def vendor_folder(folder, patients):
    folder.mkdir()
    for number, patient in enumerate(patients):
        digits = np.rint(signal(number).T * 400).astype(int)
        content = made_files.muse(digits[[0, 1, *range(6, 12)]], per_bit="2.5")
        content = content.replace(b"<PatientID>0815", f"<PatientID>{patient}".encode())
        (folder / f"case{number}.xml").write_bytes(content)
    names = [f"case{number}" for number in range(len(patients))]
    pd.DataFrame({"record_id": names, "labels": "NORM"}).to_csv(folder / "t.csv", index=False)
    return ["--records", folder, "--table", folder / "t.csv"]


def test_patients_are_those_that_the_files_name(tmp_path, capsys):
    pytest.importorskip("ecgdatakit")
    words = vendor_folder(tmp_path / "in", ["H77", "H12", "H77", "H77"])
    table, _ = stage(tmp_path, *words)
    assert table["patient_id"].tolist() == [1, 2, 1, 1]
    assert table.groupby("patient_id")["strat_fold"].nunique().max() == 1
    assert "patients as the files name them: 2" in capsys.readouterr().out
    assert "H77" not in (tmp_path / "out" / "ptbxl_database.csv").read_text()


def test_recordings_without_a_row_are_named_and_left_out_only_when_asked(tmp_path):
    pytest.importorskip("ecgdatakit")
    words = vendor_folder(tmp_path / "in", ["A", "B", "C", "D"])
    names = pd.DataFrame({"record_id": ["case0", "case2", "other"], "labels": "NORM"})
    names.to_csv(tmp_path / "in" / "t.csv", index=False)
    with pytest.raises(UserError, match=r"has no row for 2 of the 4 recordings .* case1"):
        stage(tmp_path, *words)
    table, _ = stage(tmp_path, *words, "--skip_bad")
    assert table["record_id"].tolist() == ["case0", "case2"]
    skipped = pd.read_csv(tmp_path / "out" / "skipped_imports.csv")
    assert skipped["record_id"].tolist() == ["case1", "case3"]


# ---------------------------------------------------------------- Shandong (SPH)


def test_sph_goes_in_by_file_with_codes_as_names(tmp_path):
    """One HDF5 file each, (12, T) half precision; codes such as 22;23, some of them plain numbers
    that elsewhere mean other things.
    """
    (tmp_path / "records").mkdir()
    names = [f"A{number + 1:05d}" for number in range(N)]
    for number, name in enumerate(names):
        with h5py.File(tmp_path / "records" / f"{name}.h5", "w") as file:
            file["ecg"] = signal(number).T.astype(np.float16)
    codes = ["22", "1", "22;23", "5", "1", "105"]
    table = pd.DataFrame({"ECG_ID": names, "AHA_Code": codes, "Patient_ID": names, "Sex": "M"})
    table[::-1].to_csv(tmp_path / "metadata.csv", index=False)
    table, signals = stage(
        tmp_path, "--records", tmp_path / "records", "--table", tmp_path / "metadata.csv",
        "--label_columns", "AHA_Code", "--signal_rate", 500,
    )  # fmt: skip
    assert table["record_id"].tolist() == names
    assert table["labels"].tolist() == [code.replace(";", " ") for code in codes]
    expected = np.stack([signal(number) for number in range(N)])
    assert np.abs(signals - expected).max() < 2e-3


def test_recordings_of_one_name_are_not_taken_for_each_other(tmp_path):
    (tmp_path / "parts").mkdir()
    for name in ("a", "b"):
        code_part(tmp_path / "parts" / f"{name}.h5", [7, 8])
    exams(tmp_path / "exams.csv", [7, 8])
    with pytest.raises(UserError, match="has the recording 7 twice"):
        stage(tmp_path, "--records", tmp_path / "parts", "--table", tmp_path / "exams.csv")
