"""The stage as a whole: what it writes, what it says of broken data sets, and that it never shifts
or half-writes.
"""

import json

import numpy as np
import pandas as pd
import pytest
import wfdb

import preprocessing
from common.files import UserError, read_pickle
from common.labels import LABEL_MAPPINGS, REGRESSION_TASKS
from common.stage import broken_link
from conftest import run_script
from records.dataset import load_dataset
from tiny_ptbxl import ecg_like, file_name, write_dataset, write_record

IDS = [1, 2, 3, 5, 7, 8]


def preprocess(*words):
    preprocessing.main(preprocessing.get_args_parser().parse_args([str(word) for word in words]))


@pytest.fixture
def source(tmp_path):
    return write_dataset(tmp_path / "source")


def files(folder):
    """Content of every visible file of a folder, without sub-folders."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.name[0] != "."
    }


def edit(source, change):
    path = source / "ptbxl_database.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def test_arrays_table_and_masks_share_one_row_order(source, tmp_path, capsys):
    preprocess("--data_path", source, "--output_path", tmp_path / "out")
    data = load_dataset(tmp_path / "out", "superdiagnostic")
    assert data.signals.dtype == np.float32
    assert data.signals.shape == (6, 1000, 12)
    assert data.ecg_id.tolist() == IDS
    for row, ecg_id in enumerate(IDS):
        assert np.abs(data.signals[row] - ecg_like(ecg_id) / 1000).max() < 1e-6
    assert data.labels.tolist() == [
        [0, 0, 0, 1, 0],
        [0, 1, 1, 0, 0],
        [0] * 5,
        [0] * 5,
        [0, 0, 1, 0, 1],
        [1, 0, 0, 0, 0],
    ]
    for task, names in LABEL_MAPPINGS.items():
        labels = np.load(tmp_path / "out" / f"multihot_{task}.npy", allow_pickle=True)
        assert labels.shape == (6, len(names))
        assert np.issubdtype(labels.dtype, np.integer)
        assert (
            np.load(tmp_path / "out" / f"mask_{task}.npy").tolist() == labels.any(axis=1).tolist()
        )
    for task in REGRESSION_TASKS:
        assert (
            np.load(tmp_path / "out" / f"mask_{task}.npy").tolist()
            == load_dataset(tmp_path / "out", task).labelled.tolist()
        )
    printed = capsys.readouterr()
    assert (
        "superdiagnostic: 4 records with a label, 2 without: CD 1, HYP 1, MI 2, NORM 1, STTC 1"
        in printed.out
    )
    assert "a subset of 6 records" in printed.out
    assert "6 records of 5 patients" in printed.out
    assert "not among PTB-XL's 71: XYZ (1)" in printed.err


def test_tasks_of_which_no_record_has_a_label_are_one_line(capsys):
    found = {"labelled": 2, "unlabelled": 1, "classes": {"a": 2, "b": 0}}
    none = {"labelled": 0, "unlabelled": 3, "classes": {"c": 0}}
    counts = {name: {} for name in ("concepts", "quality", "sources", "unknown_statements")}
    counts |= {"amplitudes_clipped": 0, "not_measured_at_500_hz": 0}
    counts["classes"] = {"form": none, "own": found, "all": none}
    preprocessing.print_summary(counts, [])
    said = capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert said[:2] == [
        "own: 2 records with a label, 1 without: a 2; none: b",
        "no record has a label of: form, all",
    ]


def test_the_stage_file_says_what_made_it(source, tmp_path):
    preprocess("--data_path", source, "--output_path", tmp_path / "out")
    made = json.loads((tmp_path / "out" / "preprocessing.json").read_text())
    assert made["status"] == "finished"
    assert made["settings"]["sampling_rate"] == 100
    assert (tmp_path / "out" / made["settings"]["data_path"]).resolve() == source.resolve()
    assert made["counts"]["classes"]["superdiagnostic"]["classes"]["MI"] == 2
    assert made["counts"]["unknown_statements"] == {"XYZ": 1}
    assert len(made["counts"]["headers_sha256"]) == 64
    assert set(made["outputs"]) == set(files(tmp_path / "out")) - {"preprocessing.json"}
    assert made["versions"]["numpy"] == np.__version__


def test_by_default_the_results_lie_in_the_data_set_s_own_folder(source):
    preprocess("--data_path", source)
    assert load_dataset(source).ecg_id.tolist() == IDS


def test_the_same_command_again_is_finished_and_other_tables_or_options_are_refused(
    source, tmp_path, capsys
):
    words = ["--data_path", source, "--output_path", tmp_path / "out"]
    preprocess(*words)
    before = files(tmp_path / "out")
    capsys.readouterr()
    preprocess(*words)
    assert "is finished" in capsys.readouterr().out
    (tmp_path / "out" / "mask_all.npy").unlink()
    preprocess(*words)
    after = files(tmp_path / "out")
    assert {name for name in before if before[name] != after.get(name)} <= {"preprocessing.json"}
    before = after
    with pytest.raises(UserError, match=r"min_likelihood: 0\.0 there, 50\.0 here.*--overwrite"):
        preprocess(*words, "--min_likelihood", 50)
    edit(source, lambda table: table.assign(age=1))
    with pytest.raises(UserError, match=r"ptbxl_database\.csv.*--overwrite"):
        preprocess(*words)
    assert files(tmp_path / "out") == before
    preprocess(*words, "--overwrite", "--min_likelihood", 50)
    assert (
        load_dataset(tmp_path / "out", "superdiagnostic").labels.sum() == 4
    )  # ASMI at 15 and IMI at 0 count no more
    assert load_dataset(tmp_path / "out").table["age"].tolist() == [1] * 6


def test_two_runs_write_the_same_bytes(source, tmp_path):
    for name in ("a", "b"):
        preprocess("--data_path", source, "--output_path", tmp_path / name)
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert a.keys() == b.keys()
    assert all(a[name] == b[name] for name in a if name != "preprocessing.json")


@pytest.fixture
def broken(source):
    """ids 2, 3, 5, 7 each broken in its own way; 1 and 8 are whole."""
    (source / f"{file_name(2, 100)}.dat").write_bytes(b"short")
    digital = ecg_like(3)
    digital[10, 0] = -32768
    write_record(source / file_name(3, 100), digital)
    (source / f"{file_name(5, 100)}.hea").unlink()
    edit(
        source,
        lambda table: table.assign(
            scp_codes=table["scp_codes"].where(table["ecg_id"] != 7, "{'NORM': 100.0")
        ),
    )
    return source


def test_every_offender_is_listed_and_nothing_is_written(broken, tmp_path):
    with pytest.raises(UserError) as caught:
        preprocess("--data_path", broken, "--output_path", tmp_path / "out")
    message = str(caught.value)
    assert message.startswith("4 of 6 records cannot be used")
    for part in (
        "truncated: ecg_id 2",
        "missing samples: ecg_id 3",
        "header missing: ecg_id 5",
        "scp_codes: ecg_id 7",
    ):
        assert part in message
    assert not (tmp_path / "out").exists()
    # and what was wrong does not stand in the way of the next run
    preprocess("--data_path", broken, "--output_path", tmp_path / "out", "--skip_bad")


def test_skip_bad_drops_the_offenders_from_everything_and_lists_them(broken, tmp_path, capsys):
    preprocess("--data_path", broken, "--output_path", tmp_path / "out", "--skip_bad")
    data = load_dataset(tmp_path / "out", "superdiagnostic")
    assert data.ecg_id.tolist() == [1, 8]
    assert np.abs(data.signals - np.stack([ecg_like(1), ecg_like(8)]) / 1000).max() < 1e-6
    assert data.labels.tolist() == [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0]]
    skipped = pd.read_csv(tmp_path / "out" / "skipped_records.csv")
    assert skipped["ecg_id"].tolist() == [2, 3, 5, 7]
    assert skipped["kind"].tolist() == [
        "truncated",
        "missing samples",
        "header missing",
        "unparsable scp_codes",
    ]
    assert "records dropped: " in capsys.readouterr().err
    assert (
        json.loads((tmp_path / "out" / "preprocessing.json").read_text())["counts"]["skipped"] == 4
    )


def test_an_overwrite_that_fails_its_checks_leaves_the_finished_run(source, tmp_path):
    words = ["--data_path", source, "--output_path", tmp_path / "out"]
    preprocess(*words)
    before = files(tmp_path / "out")
    (source / f"{file_name(5, 100)}.hea").unlink()
    with pytest.raises(UserError, match="ecg_id 5"):
        preprocess(*words, "--overwrite")
    assert files(tmp_path / "out") == before


def test_nothing_usable_is_an_error_even_with_skip_bad(source, tmp_path):
    for ecg_id in IDS:
        (source / f"{file_name(ecg_id, 100)}.hea").unlink()
    with pytest.raises(UserError, match="none of the 6 records can be used"):
        preprocess("--data_path", source, "--output_path", tmp_path / "out", "--skip_bad")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda table: table.drop(columns=["scp_codes", "age"]), "lacks the column scp_codes"),
        (lambda table: table.drop(columns="filename_lr"), "lacks the column filename_lr"),
        (lambda table: table.head(0), "has no rows"),
        (
            lambda table: table.assign(ecg_id=[1, 2, 3, 3, 7, 8]),
            "ecg_id must be a whole number and occur once .see line 5",
        ),
        (
            lambda table: table.assign(ecg_id=[1, 2, "x", 5, 7, 8]),
            "ecg_id must be a whole number and occur once .see line 4",
        ),
        (
            lambda table: table.assign(strat_fold=[1, 1, 0, 11, 9, None]),
            "wrong strat_fold: ecg_id 3, 5, 8",
        ),
        (lambda table: table.assign(patient_id=[1, None, 2, 3, 4, 5]), "no patient_id: ecg_id 2"),
    ],
)
def test_an_unusable_table_is_refused(source, tmp_path, change, match):
    edit(source, change)
    with pytest.raises(UserError, match=match):
        preprocess("--data_path", source, "--output_path", tmp_path / "out")
    assert not (tmp_path / "out").exists() or files(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "words", [["--sampling_rate", "0"], ["--min_likelihood", "101"], ["--measure_at", "7"]]
)
def test_a_wrong_option_is_one_line_and_code_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        preprocess(*words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_published_tables_are_looked_for_before_records_are_read(source, tmp_path):
    done = run_script(
        "preprocessing.py", "--data_path", source, "--addons", tmp_path / "nowhere", check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (source / "raw100.pkl").exists()
    with pytest.raises(
        UserError, match=r"ptbxl_database\.csv does not exist: run ./download_data\.sh"
    ):
        preprocess("--data_path", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_limit_takes_the_first_records(source, tmp_path):
    preprocess("--data_path", source, "--output_path", tmp_path / "out", "--limit", 3)
    assert load_dataset(tmp_path / "out", "all").ecg_id.tolist() == [1, 2, 3]


def test_500_hz(tmp_path):
    source, out = write_dataset(tmp_path / "source", rates=(100, 500)), tmp_path / "out"
    noise = np.random.default_rng(0).normal(0, 100, (5000, 12)).astype(np.int16)
    write_record(
        source / file_name(2, 500), ecg_like(2, 500) + noise, 500
    )  # judged by this file alone, the table would differ
    preprocess("--data_path", source, "--output_path", out)
    table = (out / "ptbxl_database_enriched.csv").read_bytes()
    preprocess("--data_path", source, "--output_path", out, "--sampling_rate", 500)
    assert read_pickle(out / "raw500.pkl").shape == (6, 5000, 12)
    assert read_pickle(out / "raw100.pkl").shape == (6, 1000, 12)
    assert (out / "ptbxl_database_enriched.csv").read_bytes() == table
    for name in ("preprocessing.json", "preprocessing500.json"):
        assert broken_link(out / name) is None
        assert json.loads((out / name).read_text())["counts"]["records"] == 6
    data = load_dataset(out, "superdiagnostic", sampling_rate=500)
    assert np.abs(data.signals[4] - ecg_like(7, 500) / 1000).max() < 1e-6
    preprocess("--data_path", source, "--output_path", tmp_path / "alone", "--sampling_rate", 500)
    alone = load_dataset(tmp_path / "alone", sampling_rate=500).table
    assert alone["quality_noise"].tolist() == [False, True, False, False, False, False]
    assert not data.table["quality_noise"].any()


def test_100_and_500_hz_of_one_folder_stay_in_step(tmp_path, capsys):
    source, out = write_dataset(tmp_path / "source", rates=(100, 500)), tmp_path / "out"
    preprocess("--data_path", source, "--output_path", out)
    before = files(out)
    words = ["--data_path", source, "--output_path", out, "--sampling_rate", 500]
    with pytest.raises(
        UserError, match=r"raw100\.pkl made with other settings \(limit\).*--overwrite"
    ):
        preprocess(*words, "--limit", 3)
    (source / f"{file_name(3, 500)}.hea").unlink()
    with pytest.raises(UserError, match=r"raw100\.pkl made with other settings \(skip_bad\)"):
        preprocess(*words, "--skip_bad")
    assert files(out) == before
    preprocess(*words, "--skip_bad", "--overwrite")
    assert "raw100.pkl was removed" in capsys.readouterr().err
    assert not (out / "raw100.pkl").exists()
    assert load_dataset(out, "all", sampling_rate=500).ecg_id.tolist() == [1, 2, 5, 7, 8]


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (21837, "PTB-XL 1.0.1"),
        (21801, "PTB-XL 1.0.2"),
        (21799, "PTB-XL 1.0.3"),
        (300, "a subset of 300 records"),
    ],
)
def test_the_version_is_recognised_by_its_count(tmp_path, n, said):
    assert preprocessing.describe_version(tmp_path, pd.DataFrame(index=range(n))).startswith(said)


def test_segments_are_found_beside_the_source(source, tmp_path):
    from records.segmentations import load_segments

    mask = np.zeros((1000, 12, 24), np.uint8)
    mask[..., 5] = 255
    (source / "ptbxl_segmentations").mkdir()
    np.save(source / "ptbxl_segmentations" / "3.npy", mask)
    preprocess("--data_path", source, "--output_path", tmp_path / "out")
    shares = load_segments(load_dataset(tmp_path / "out"), [2, 0])
    assert (shares[0, ..., 5] == 1).all()
    assert not (shares[1, ..., 5] == 1).all()


def test_real_records(ptbxl, tmp_path):
    preprocess("--data_path", ptbxl, "--output_path", tmp_path, "--limit", 200)
    data = load_dataset(tmp_path, "superdiagnostic")
    assert len(data) == 200
    assert set(data.table["measurements_source"]) == {"measured at 100 Hz", "measured at 500 Hz"}
    beats = np.array([len(data.r_peaks(row)) for row in range(200)])
    assert np.median(beats) in (10, 11, 12)
    assert (data.table["QRS_Dur_Global"].median() > 70) & (
        data.table["QRS_Dur_Global"].median() < 110
    )


def test_a_recording_of_two_patients_is_said_and_joined_where_asked_for(source, tmp_path, capsys):
    write_record(source / file_name(7, 100), ecg_like(3))
    preprocess("--data_path", source, "--output_path", tmp_path / "out")
    warning = "3 (fold 2) = 7 (fold 9); --join_duplicates makes them one"
    assert warning in capsys.readouterr().err
    assert load_dataset(tmp_path / "out").patient_id.tolist() == [1, 1, 2, 3, 4, 5]
    preprocess("--data_path", source, "--output_path", tmp_path / "joined", "--join_duplicates")
    assert "joined into one patient each" in capsys.readouterr().err
    joined = load_dataset(tmp_path / "joined")
    assert joined.patient_id.tolist() == [1, 1, 2, 3, 2, 5]
    assert joined.fold.tolist() == [1, 1, 2, 8, 2, 10]
    preprocess("--data_path", source, "--output_path", tmp_path / "out", "--overwrite")


def test_annotations_are_written_where_asked_for(tmp_path):
    run_script("simulate_ptbxl.py", "--output_path", tmp_path, "--n_records", 12, "--seed", 1)
    run_script("preprocessing.py", "--data_path", tmp_path, "--annotations")
    ecg_id = pd.read_csv(tmp_path / "ptbxl_database.csv")["ecg_id"].iloc[0]
    read = wfdb.rdann(str(tmp_path / "annotations" / f"{ecg_id:05d}"), "v1")
    assert read.symbol.count("N") >= 4
    assert (np.diff(read.sample) >= 0).all()
    stored = pd.read_csv(tmp_path / "boundary_sd.csv")
    assert {"P", "QRS", "T"} == set(stored["wave"])
    assert stored["sd_ms"].between(2, 60).all()
