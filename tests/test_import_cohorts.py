"""Cohorts as people have them: CinC folders, CODE-15 %, csv folders, other lengths and rates."""

import ast
import json

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io

from common.files import UserError
from common.labels import LEADS
from conftest import run_script
from records import cohort_table, snomed
from records.dataset import load_dataset
from records.tasks import check_classes, read_tasks
from records.wfdb_segments import whole_records
from tiny_ptbxl import ecg_like, fitting_limbs, header


def signal(seed, seconds=10, rate=500):
    """(T, 12) mV, limb leads that fit each other."""
    whole = fitting_limbs(ecg_like(seed, rate) / 1000)
    return np.tile(whole, (int(-(-seconds // 10)), 1))[: round(seconds * rate)]


def cinc_folder(folder, seconds=(10,) * 8):
    """Headers and MATLAB files as CinC 2021 has them."""
    folder.mkdir()
    codes = ["426783006", "164889003,39732003", "59118001", ""] * 2
    for number, length in enumerate(seconds):
        name = f"JS{number:05d}"
        digital = np.rint(signal(number, length) * 1000).astype(np.int16)
        lines = header(name, digital, 500, names=LEADS, gain="1000/mV").splitlines()
        lines = [line.replace(f"{name}.dat 16 ", f"{name}.mat 16+24 ") for line in lines]
        sex = "Female" if number % 2 else "Male"
        told = [f"#Age: {40 + number}", f"#Sex: {sex}", f"#Dx: {codes[number]}"]
        (folder / f"{name}.hea").write_text("\n".join([*lines, *told]))
        scipy.io.savemat(folder / f"{name}.mat", {"val": digital.T}, format="4")
    return folder


def import_records(*words, check=True):
    return run_script("import_records.py", *map(str, words), check=check)


def test_a_damaged_file_among_others_is_left_out_when_asked(tmp_path):
    folder, out = cinc_folder(tmp_path / "cinc", (10,) * 4), tmp_path / "data"
    with open(folder / "JS00000.mat", "r+b") as file:
        file.truncate(5000)
    refused = import_records("--records", folder, "--output_path", out, check=False)
    assert refused.returncode == 2
    assert "JS00000 cannot be used (truncated" in refused.stderr
    assert "; --skip_bad leaves out such recordings and lists them" in refused.stderr
    done = import_records("--records", folder, "--output_path", out, "--skip_bad")
    assert "1 of 4 recordings were left out" in done.stdout + done.stderr
    assert pd.read_csv(out / "skipped_imports.csv")["record_id"].tolist() == ["JS00000"]


def test_a_cinc_folder_goes_in_with_one_command(tmp_path):
    folder, out = cinc_folder(tmp_path / "cinc"), tmp_path / "data"
    done = import_records("--records", folder, "--output_path", out)
    assert "SNOMED CT codes: records without a code 2, SCP 6, own name 2" in done.stdout
    table = pd.read_csv(out / "ptbxl_database.csv")
    assert table["record_id"].tolist() == [f"JS{number:05d}" for number in range(8)]
    assert table["age"].tolist() == list(range(40, 48))
    assert table["sex"].tolist() == [0, 1] * 4
    codes = [list(ast.literal_eval(text)) for text in table["scp_codes"][:4]]
    assert codes == [["SR"], ["AFIB", "LAD"], ["CRBBB"], []]
    run_script("preprocessing.py", "--data_path", out, "--sampling_rate", 500)
    raw = np.load(out / "raw500.pkl", allow_pickle=True)
    assert np.abs(raw[3] - signal(3)).max() < 6e-4
    own = read_tasks(out)["own"]
    multihot = np.load(out / "multihot_own.npy")
    assert multihot[:, own.classes.index("LAD")].tolist() == [0, 1, 0, 0] * 2
    assert own.superclass == {"CRBBB": "CD"}


def test_what_a_header_says_wrongly_is_said_with_the_recording(tmp_path):
    folder = cinc_folder(tmp_path / "cinc", (10,) * 3)
    header_file = folder / "JS00001.hea"
    header_file.write_text(header_file.read_text().replace("#Age: 41", "#Age: old"))
    done = import_records("--records", folder, "--output_path", tmp_path / "data", check=False)
    assert done.returncode == 2
    assert f"recording JS00001 of {folder}: age 'old' is no age in years" in done.stderr


@pytest.mark.parametrize("seconds", [5, 10.24, 30])
def test_a_data_set_keeps_its_length(tmp_path, seconds):
    rate = 400
    stack = np.stack([signal(seed, seconds, rate) for seed in range(4)])
    np.save(tmp_path / "x.npy", stack.astype(np.float32))
    labels = pd.DataFrame({"labels": ["NORM", "IMI"] * 2, "patient_id": [1, 1, 2, 3]})
    labels.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "data"
    words = ("--signals", tmp_path / "x.npy", "--table", tmp_path / "t.csv", "--signal_rate", rate)
    import_records(*words, "--output_path", out)
    for wanted in (100, rate):
        run_script("preprocessing.py", "--data_path", out, "--sampling_rate", wanted)
        raw = np.load(out / f"raw{wanted}.pkl", allow_pickle=True)
        assert raw.shape == (4, -(-round(seconds * rate) * wanted // rate), 12)
    assert np.abs(raw - stack).max() < 6e-4


def test_unequal_lengths_need_an_option(tmp_path):
    folder = cinc_folder(tmp_path / "cinc", (10, 12, 6, 10, 10, 10, 10, 10))
    out = tmp_path / "data"
    done = import_records("--records", folder, "--output_path", out, check=False)
    assert done.returncode == 2
    assert "JS00001 lasts 12 s, others 10 s: --seconds" in done.stderr
    assert not list(tmp_path.glob("data/records*"))
    import_records("--records", folder, "--output_path", out, "--seconds", 10, "--short", "drop")
    table = pd.read_csv(out / "ptbxl_database.csv")
    assert "JS00002" not in set(table["record_id"])
    assert len(table) == 7
    assert json.loads((out / "dataset.json").read_text())["n_samples"] == 5000


def test_code15(tmp_path):
    ids = [590673, 590674, 590675]
    tracings = np.zeros((3, 4096, 12), np.float32)
    for row in range(3):
        tracings[row, 48:4048] = signal(row, 10, 400)
    with h5py.File(tmp_path / "exams_part0.hdf5", "w") as file:
        file["exam_id"], file["tracings"] = ids, tracings
    exams = {
        "exam_id": [1, *ids[::-1]],  # the table lists exams of other parts too, in another order
        "age": [50, 60, 70, 80],
        "is_male": [True, False, True, False],
        "patient_id": [5, 6, 7, 7],
        "1dAVb": [False, True, False, False],
        "AF": [False, False, True, False],
    }
    pd.DataFrame(exams).to_csv(tmp_path / "exams.csv", index=False)
    out = tmp_path / "data"
    import_records(
        "--records", tmp_path / "exams_part0.hdf5", "--table", tmp_path / "exams.csv",
        "--output_path", out,
    )  # fmt: skip
    table = pd.read_csv(out / "ptbxl_database.csv").set_index("ecg_id")
    assert table.index.tolist() == ids
    assert table["age"].tolist() == [80, 70, 60]
    assert table["sex"].tolist() == [1, 0, 1]
    found = [list(ast.literal_eval(text)) for text in table["scp_codes"]]
    assert found == [[], ["AFIB"], ["1AVB"]]
    assert json.loads((out / "dataset.json").read_text())["sampling_rate"] == 400


# ---------------------------------------------------------------- the table


def test_ages_and_sexes_are_understood():
    ages = cohort_table.read_ages(["90+", "85+", "300", "56", 41.0, "NaN", "63 y"], "t.csv")
    np.testing.assert_equal(ages, [90, 85, 90, 56, 41, np.nan, 63])
    sexes = cohort_table.read_sexes(["F", "male", "Female", 1, 0.0, "Unknown"], "t.csv")
    np.testing.assert_equal(sexes, [1, 0, 1, 1, 0, np.nan])


@pytest.mark.parametrize(
    ("read", "column", "message"),
    [
        (cohort_table.read_ages, ["50", "old"], "t.csv, line 3: age 'old'"),
        (cohort_table.read_ages, ["150"], "line 2: age '150'"),
        (cohort_table.read_sexes, ["M", "X"], "line 3: sex 'X'"),
        (cohort_table.read_folds, [1, 11], "line 3: strat_fold 11"),
        (cohort_table.number_ids, ["a", "b", "a"], "line 4: the id a stands in line 2 too"),
        (cohort_table.number_patients, ["a", None], "line 3: patient_id is blank"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_row(read, column, message):
    with pytest.raises(UserError, match=message):
        read(column, "t.csv")


def test_ids_that_are_one_number_are_two_recordings():
    numbers, ids = cohort_table.number_ids(["007", "7", "12"], "t.csv")
    assert (numbers.tolist(), ids) == ([1, 2, 3], ["007", "7", "12"])
    numbers, _ = cohort_table.number_ids(["007", "8"], "t.csv")
    assert numbers.tolist() == [7, 8]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["ST/T", "SR", "ST-T"], "the classes ST/T and ST-T would both be named ST-T: rename one"),
        (["SR", "房颤"], "t.csv: the class 房颤 has no Latin letter and no digit"),
    ],
)
def test_classes_whose_files_would_have_one_name_are_refused(classes, said):
    with pytest.raises(UserError, match=said):
        check_classes(classes, "t.csv")


def test_folds_are_by_patient_and_even_for_each_class():
    random = np.random.default_rng(0)
    patients = random.integers(0, 700, 1000)
    labels = [
        ["A"] if value < 0.1 else ["B"] if value < 0.4 else [] for value in random.random(1000)
    ]
    folds = cohort_table.deal_folds(patients, labels, 0)
    together = pd.DataFrame({"patient": patients, "fold": folds})
    assert together.groupby("patient")["fold"].nunique().max() == 1
    assert set(folds) == set(range(1, 11))
    for name in "AB":
        counts = np.bincount(folds[[name in row for row in labels]], minlength=11)[1:]
        assert counts.max() - counts.min() <= 0.35 * counts.mean() + 2
    assert np.array_equal(folds, cohort_table.deal_folds(patients, labels, 0))


def test_snomed_codes():
    assert snomed.labels_of(" 164909002,733534002, 39732003,99999999") == [
        "CLBBB",
        "LAD",
        "SNOMED_99999999",
    ]


def test_records_whose_bytes_changed_are_noticed(tmp_path):
    out = tmp_path / "data"
    import_records("--records", cinc_folder(tmp_path / "cinc"), "--output_path", out)
    run_script("preprocessing.py", "--data_path", out)
    path = next((out / "records500").rglob("*.dat"))
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    done = run_script("preprocessing.py", "--data_path", out, check=False)
    assert done.returncode == 2
    assert "have changed since" in done.stderr


def csv_folder(folder, names):
    """Recordings as csv, a column per lead in mV."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(signal(number, rate=100), columns=list(LEADS)).to_csv(path, index=False)
    return folder


def imported(tmp_path, folder, rows, check=True):
    """Import csv recordings with the table of rows (the head first); the process."""
    table = tmp_path / "mine.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    words = ("--records", folder, "--table", table, "--signal_rate", 100)
    return import_records(*words, "--output_path", tmp_path / "data", check=check)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    folder = csv_folder(tmp_path / "records", ["p1/ecg.csv", "p2/ecg.csv"])
    rows = ["path;labels;age", r"records\p2\ecg.csv;IMI;34,5", r"records\p1\ecg.csv;NORM SR;60"]
    imported(tmp_path, folder, rows)
    table = pd.read_csv(tmp_path / "data" / "ptbxl_database.csv")
    assert table["record_id"].tolist() == [r"records\p1\ecg.csv", r"records\p2\ecg.csv"]
    assert table["age"].tolist() == [60, 34.5]
    codes = [list(ast.literal_eval(text)) for text in table["scp_codes"]]
    assert codes == [["NORM", "SR"], ["IMI"]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["filename,labels", "b1,NORM", "b2,IMI"], "names none of the recordings"),
        (["id,scar,fever,age", "a1,1,0,50", "a2,0,1,60"], "--label_columns scar fever"),
    ],
    ids=["other names", "columns of 0 and 1"],
)
def test_a_table_that_does_not_fit_says_what_would(tmp_path, rows, message):
    folder = csv_folder(tmp_path / "records", ["a1.csv", "a2.csv"])
    done = imported(tmp_path, folder, rows, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert not (tmp_path / "data").exists()


def test_labels_that_blanks_tear_apart_are_said(tmp_path):
    folder = csv_folder(tmp_path / "records", ["a1.csv", "a2.csv"])
    done = imported(tmp_path, folder, ["id,labels", "a1,old inferior infarct", "a2,NORM"])
    assert "parted at blanks, as in 'old inferior infarct'" in done.stderr


def test_segments_of_a_record_are_no_records_of_their_own(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    for name in ("whole", "part_1", "part_2"):
        (folder / f"{name}.hea").touch()
    (folder / "whole.hea").write_text("whole/2 12 500 5000\npart_1 2500\npart_2 2500\n")
    (folder / "part_1.hea").write_text("part_1 12 500 2500\n")
    headers = sorted(folder.glob("*.hea"))
    assert whole_records(headers) == [folder / "whole.hea"]
    (folder / "whole.hea").unlink()
    assert whole_records(headers[:2]) == headers[:2]


# ---------------------------------------------------------------- what a 0 says


def answers(folder, **columns):
    """Six recordings with a table of these columns, imported and preprocessed."""
    signals = np.stack([fitting_limbs(ecg_like(number, 100) / 1000) for number in range(6)])
    np.save(folder / "a.npy", signals.astype(np.float32))
    pd.DataFrame(columns).to_csv(folder / "a.csv", index=False)
    said = run_script(
        *("import_records.py", "--signals", folder / "a.npy", "--table", folder / "a.csv"),
        *("--signal_rate", 100, "--output_path", folder / "out"),
        *([] if "labels" in columns else ["--label_columns", *columns]),
    ).stdout
    run_script("preprocessing.py", "--data_path", folder / "out", "--output_path", folder / "made")
    return said, load_dataset(folder / "made", "own"), load_dataset(folder / "made", "all")


def test_columns_of_0_and_1_answer_for_records_that_have_none(tmp_path):
    """As CODE-test: most of its records have none of its six classes, and are negatives of all."""
    said, own, everything = answers(tmp_path, AF=[1, 0, 0, 0, 0, 1], Thing=[0, 0, 1, 0, 0, 0])
    assert "3 recordings say no to all of AFIB, Thing" in said
    assert own.labelled.all()
    assert own.labels.sum() == 3
    assert everything.labelled.all()  # AFIB is one of its classes
    assert not load_dataset(tmp_path / "made", "superdiagnostic").labelled.any()


@pytest.mark.parametrize(
    "columns",
    [
        {"labels": ["AFIB", "", "Thing", "", "", "AFIB"]},
        {"AF": [1, "", 0, 0, 0, 1], "Thing": [0, "", 1, "", 0, 0]},
        {"AF": ["x", "", "", "", "", "x"], "Thing": ["", "", "x", "", "", ""]},
    ],
)
def test_a_blank_is_no_answer(tmp_path, columns):
    said, own, everything = answers(tmp_path, **columns)
    assert "say no to all" not in said
    assert own.labelled.sum() == 3
    assert everything.labelled.sum() == 2
