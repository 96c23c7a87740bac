"""The preprocessed data set: one row order for everything, and clear words where files do not
belong together.
"""

import pickle

import numpy as np
import pandas as pd
import pytest

from common.files import UserError, read_csv, write_csv, write_json, write_npy, write_pickle
from common.labels import LEADS, OWN_TASK, TASKS
from records.dataset import centre_crop, content_hash, load_dataset, parse_r_peaks, window_starts

N = 6


@pytest.fixture
def folder(tmp_path):
    table = pd.DataFrame(
        {
            "ecg_id": [11, 12, 13, 14, 15, 16],
            "patient_id": [1.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            "strat_fold": [1, 1, 2, 9, 10, 10],
            "r_peaks": ["50 150", "60", "", "1 2 3", "7", "99"],
            **{f"T_Amp_{lead}": np.arange(N) / 10 for lead in LEADS},
        }
    )
    table.loc[2, "T_Amp_V6"] = np.nan
    write_csv(tmp_path / "ptbxl_database_enriched.csv", table)
    write_pickle(
        tmp_path / "raw100.pkl",
        np.arange(N, dtype=np.float32)[:, None, None] + np.zeros((N, 1000, 12), np.float32),
    )
    labels = np.zeros((N, 5), int)
    labels[[0, 1, 3, 4], [0, 1, 3, 2]] = 1
    write_npy(tmp_path / "multihot_superdiagnostic.npy", labels)
    return tmp_path


def test_rows_stay_together_under_every_selection(folder):
    data = load_dataset(folder, "superdiagnostic")
    assert data.label_names == TASKS["superdiagnostic"]
    assert data.labelled.tolist() == [True, True, False, True, True, False]
    picked = data.in_folds([10, 1]).rows([3, 0])
    assert picked.ecg_id.tolist() == [16, 11]
    assert picked.signals[:, 0, 0].tolist() == [5, 0]
    assert picked.labels.sum(axis=1).tolist() == [0, 1]
    assert picked.patient_id.tolist() == [5, 1]
    assert data.rows(data.labelled).ecg_id.tolist() == [11, 12, 14, 15]
    assert load_dataset(folder, limit=2).ecg_id.tolist() == [11, 12]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_folder_of_the_original_code_is_read(folder, protocol):
    """Pickles under .npy names, signals in float64, R-peaks as numpy prints them."""
    ours = load_dataset(folder, "superdiagnostic")
    (folder / "raw100.npy").write_bytes(
        pickle.dumps(ours.signals.astype(np.float64), protocol=protocol)
    )
    (folder / "raw100.pkl").unlink()
    labels = folder / "multihot_superdiagnostic.npy"
    labels.write_bytes(pickle.dumps(ours.labels.astype(float), protocol=protocol))
    table = read_csv(folder / "ptbxl_database_enriched.csv")
    table["r_peaks"] = [str(ours.r_peaks(row)) for row in range(N)]
    write_csv(folder / "ptbxl_database_enriched.csv", table)

    theirs = load_dataset(folder, "superdiagnostic")
    assert theirs.signals.dtype == np.float32
    assert np.array_equal(theirs.signals, ours.signals)
    assert np.array_equal(theirs.labels, ours.labels)
    assert theirs.labels.dtype == ours.labels.dtype
    assert [theirs.r_peaks(row).tolist() for row in range(N)] == [
        ours.r_peaks(row).tolist() for row in range(N)
    ]
    assert content_hash(folder) is not None


@pytest.mark.parametrize(
    "content",
    [np.array([[1, "a"]], dtype=object), np.zeros(3, "i4,f4"), {"labels": [1]}, np.array("text")],
)
def test_what_is_no_array_of_numbers_is_refused_under_either_name(folder, content):
    for name in ("multihot_superdiagnostic.npy", "raw100.pkl"):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(pickle.dumps(content))
        with pytest.raises(UserError, match=name):
            load_dataset(folder, "superdiagnostic")
        (folder / name).write_bytes(before)


def test_regression_targets_are_amplitudes_and_blank_ones_are_marked(folder):
    data = load_dataset(folder, "T_Wave_Amplitude")
    assert data.labels[4] == pytest.approx(0.4)
    assert data.labelled.tolist() == [True, True, False, True, True, True]


def test_r_peaks_follow_the_sampling_rate(folder):
    data = load_dataset(folder)
    assert data.r_peaks(0).tolist() == [50, 150]
    assert data.r_peaks(2).tolist() == []
    assert parse_r_peaks(float("nan")).tolist() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: (f / "raw100.pkl").unlink(),
            "raw100.pkl does not exist: run python code/preprocessing.py",
        ),
        (lambda f: write_pickle(f / "raw100.pkl", np.zeros((3, 1000, 12))), "different runs"),
        (
            lambda f: (f / "preprocessing.json").write_text('{"status": "running"}'),
            "preprocessing is not finished",
        ),
        (
            lambda f: (f / "multihot_superdiagnostic.npy").unlink(),
            "multihot_superdiagnostic.npy does not exist",
        ),
        (
            lambda f: write_npy(f / "multihot_superdiagnostic.npy", np.zeros((N, 4))),
            r"expected \(6, 5\)",
        ),
        (lambda f: (f / "multihot_superdiagnostic.npy").write_bytes(b"no"), "not a readable .npy"),
        (
            lambda f: (f / "ptbxl_database_enriched.csv").write_text("ecg_id\n1\n"),
            "lacks the column patient_id",
        ),
        (lambda f: (f / "ptbxl_database_enriched.csv").write_text(""), "not a readable table"),
    ],
)
def test_what_does_not_fit_is_said(folder, change, message):
    change(folder)
    with pytest.raises(UserError, match=message):
        load_dataset(folder, "superdiagnostic")


def test_unknown_task_and_record_are_said(folder):
    with pytest.raises(UserError, match="accepted are superdiagnostic"):
        load_dataset(folder, "nonsense")
    with pytest.raises(UserError, match="no record with ecg_id 99"):
        load_dataset(folder).positions([11, 99])
    assert load_dataset(folder).positions([16, 11]).tolist() == [5, 0]


@pytest.fixture
def answers(folder):
    """Of classes of one's own: a column that says true, false or nothing, one of numbers, a task
    of the data set and one of PTB-XL's.
    """
    path = folder / "ptbxl_database_enriched.csv"
    table = pd.read_csv(path)
    table["LAD"] = ["true", "false", "", "true", "false", ""]
    table["AMI"] = np.arange(N)
    write_csv(path, table)
    write_json(folder / "tasks.json", {"echo": {"classes": ["dilated"]}})
    write_npy(folder / "multihot_echo.npy", np.eye(N, dtype=int)[:, 2:3])
    return folder


def test_classes_of_ones_own_are_looked_up_each_by_itself(answers):
    names = ["LAD", "dilated", "MI", "AMI", "unheard"]
    write_npy(answers / "multihot_subdiagnostic.npy", np.ones((N, 23), int))
    data = load_dataset(answers, OWN_TASK, label_names=names)
    assert data.labels.T[:3].tolist() == [
        [1, 0, 0, 1, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0],
    ]
    assert data.labels.T[3].tolist() == [1] * N  # of the task, for the column holds no flags
    assert data.unknown == ("unheard",)
    some = load_dataset(answers, OWN_TASK, label_names=["LAD", "dilated"])
    assert some.labelled.tolist() == [True, True, True, True, True, False]


def test_labels_of_the_data_sets_own_tasks_are_held_to_what_was_written(answers):
    outputs = {"multihot_echo.npy": "0" * 64}
    content = {"status": "finished", "outputs": outputs}
    write_json(answers / "preprocessing.json", content)
    with pytest.raises(UserError, match=r"multihot_echo\.npy has changed since"):
        load_dataset(answers, OWN_TASK, label_names=["dilated"])


def test_crops_and_windows():
    signals = np.arange(1000)[None, :, None] * np.ones((1, 1, 12))
    assert centre_crop(signals, 250)[0, [0, -1], 0].tolist() == [375, 624]
    assert window_starts(1000, 250).tolist() == [0, 125, 250, 375, 500, 625, 750]
    assert window_starts(1010, 250).tolist() == [0, 125, 250, 375, 500, 625, 750, 760]
    assert window_starts(250, 250).tolist() == [0]
    with pytest.raises(UserError, match="shorter"):
        window_starts(249, 250)
