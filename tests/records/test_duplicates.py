"""The same recording under several names: found in spite of small differences, then joined."""

import numpy as np
import pandas as pd
import pytest

from records.duplicates import across_patients, in_words, join_patients, same_recordings


@pytest.fixture
def signals():
    rng = np.random.default_rng(0)
    records = np.cumsum(rng.normal(0, 0.02, (8, 500, 12)), axis=1)
    return np.round(records, 3).astype(np.float32)


def test_copies_with_an_offset_or_a_few_other_samples_are_found(signals):
    signals[5] = signals[2]
    signals[5, 40:43, :8] += 0.06
    signals[7] = signals[5] + np.float32(0.25)
    signals[1, :, :11] = signals[0, :, :11] + np.float32(0.004)
    signals[1, 10, :10] += 0.1
    assert same_recordings(signals) == [[2, 5, 7]]
    signals[1, 10, 9] -= np.float32(0.1)
    assert same_recordings(signals) == [[0, 1], [2, 5, 7]]


def test_flat_leads_and_blank_records_are_not_the_same_recording(signals):
    signals[:, :, :6] = 0
    signals[3:5] = 0.5
    assert same_recordings(signals) == []


def test_patients_who_share_a_recording_become_one_with_all_their_records():
    table = pd.DataFrame(
        {"patient_id": [9.0, 9, 4, 4, 7, 2], "strat_fold": [3, 3, 5, 5, 8, 1]},
        index=pd.Index([11, 12, 13, 14, 15, 16], name="ecg_id"),
    )
    groups = [[1, 2], [3, 4], [0, 1]]
    across = across_patients(groups, table["patient_id"].to_numpy())
    assert across == [[1, 2], [3, 4]]
    joined = join_patients(table, across)
    assert joined["patient_id"].tolist() == [4, 4, 4, 4, 4, 2]
    assert joined["strat_fold"].tolist() == [5, 5, 5, 5, 5, 1]
    assert in_words(table, across) == "12 (fold 3) = 13 (fold 5); 14 (fold 5) = 15 (fold 8)"


def test_ptb_xl_holds_two_recordings_under_two_patients_each(ptbxl):
    from records.wfdb_files import read_records

    ids = [137, 138, 139, 140, 143, 144, 145, 463, 1370, 1371]
    table = pd.read_csv(ptbxl / "ptbxl_database.csv", index_col="ecg_id").loc[ids]
    signals = read_records(ptbxl, table["filename_lr"], table.index, 100).signals
    same = same_recordings(signals)
    assert same == [[0, 1], [3, 8], [4, 5], [6, 7]]
    across = across_patients(same, table["patient_id"].to_numpy())
    assert in_words(table, across) == "140 (fold 9) = 1370 (fold 3); 145 (fold 3) = 463 (fold 1)"
