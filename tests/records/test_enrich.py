"""The enriched table: where each number comes from, published tables read safely, gross outliers
clipped.
"""

import numpy as np
import pandas as pd
import pytest

from common.files import UserError
from common.labels import LEADS
from ecg.concepts import CONCEPTS, judge
from records import enrich
from records.enrich import (
    amplitude_limit,
    clip_amplitudes,
    parse_printed_peaks,
    read_addons,
    read_features,
)
from tiny_ptbxl import ecg_like, file_name, write_dataset

IDS = [1, 2, 3, 5, 7, 8]


@pytest.fixture
def made(tmp_path):
    """(table, signals, folder) of the six records at 100 Hz."""
    folder = write_dataset(tmp_path)
    table = pd.read_csv(folder / "ptbxl_database.csv").set_index("ecg_id")
    return table, np.stack([ecg_like(i) for i in IDS]).astype(np.float32) / 1000, folder


def run(made, addons=None, **options):
    table, signals, folder = made
    published = enrich.read_published(folder, addons)
    return enrich.enrich(table, signals, folder, 100, published=published, **options)


def write_features(folder, rows):
    path = folder / enrich.FEATURES
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(path, index=False)


def test_peaks_and_amplitudes_of_known_beats(made):
    found = run(made).table
    for ecg_id in IDS:
        peaks = np.array(found["r_peaks"][ecg_id].split(), dtype=int)
        truth = (0.36 - 0.01 * ecg_id + 0.8 * np.arange(13)) * 100
        inside = peaks[(peaks > 40) & (peaks < 960)]
        assert len(inside) >= 10
        assert all(np.abs(truth - peak).min() <= 1 for peak in inside)
    truth = np.linspace(0.6, 1.7, 12)
    assert found[[f"R_Amp_{lead}" for lead in LEADS]].to_numpy() == pytest.approx(
        np.tile(truth, (6, 1)), abs=0.06
    )
    assert found[[f"T_Amp_{lead}" for lead in LEADS]].to_numpy() == pytest.approx(
        np.tile(0.3 * truth, (6, 1)), abs=0.06
    )


def test_own_columns_come_first_and_every_record_says_its_source(made):
    found = run(made).table
    table = made[0]
    assert list(found.columns[: len(table.columns)]) == list(table.columns)
    assert found.columns[len(table.columns)] == "r_peaks"
    for column in ("r_peaks_source", "measurements_source", "concepts_source"):
        assert set(found[column]) == {"measured at 100 Hz"}
    assert set(found["Age75"].dropna()) == {True, False}
    assert found["Age75"].isna().tolist() == [False, False, False, True, False, False]
    assert found["Sex"].tolist() == [False, False, True, True, False, True]


def test_500_hz_files_are_measured_where_they_are_there_and_whole(tmp_path):
    folder = write_dataset(tmp_path, rates=(100, 500))
    table = pd.read_csv(folder / "ptbxl_database.csv").set_index("ecg_id")
    signals = np.stack([ecg_like(i) for i in IDS]).astype(np.float32) / 1000
    (folder / f"{file_name(2, 500)}.hea").unlink()
    (folder / f"{file_name(7, 500)}.dat").write_bytes(b"short")
    made = table, signals, folder
    found = run(made)
    assert found.table["measurements_source"].tolist() == [
        f"measured at {rate} Hz" for rate in (500, 100, 500, 500, 100, 500)
    ]
    assert "truncated: ecg_id 7" in found.counts["not_measured_at_500_hz"]
    # the order of records is that of the table, whatever the order of measuring
    at_100 = run(made, measure_at="100").table
    assert set(at_100["measurements_source"]) == {"measured at 100 Hz"}
    assert at_100.loc[[2, 7], "R_Amp_V5"].tolist() == found.table.loc[[2, 7], "R_Amp_V5"].tolist()
    assert found.table["r_peaks"].str.split().str[2].astype(int).tolist() == pytest.approx(
        at_100["r_peaks"].str.split().str[2].astype(int).tolist(), abs=1
    )
    with pytest.raises(
        UserError, match=r"2 records cannot be measured at 500 Hz.*ecg_id 2.*ecg_id 7"
    ):
        run(made, measure_at="500")


def test_records_in_any_number_of_chunks_are_the_same(made, monkeypatch):
    whole = run(made).table
    monkeypatch.setattr(enrich, "CHUNK", 4)
    pd.testing.assert_frame_equal(run(made).table, whole)


def test_uni_g_amplitudes_replace_ours_and_a_missing_record_is_blank(made):
    write_features(
        made[2],
        [
            {
                "QRS_AxisFront_Global": 10.0 + i,
                "R_Amp_V5": 5.0 + i / 10,
                "T_Amp_V5": -20.0 if i == 2 else 0.2,
                "ecg_id": i,
                "Other": 1,
            }
            for i in (1, 2, 3, 5, 8, 99)
        ],
    )
    found = run(made)
    table = found.table
    assert table["R_Amp_V5"].tolist() == pytest.approx(
        [5.1, 5.2, 5.3, 5.5, np.nan, 5.8], nan_ok=True
    )
    assert table["T_Amp_V5"].tolist() == pytest.approx(
        [0.2, -4.0, 0.2, 0.2, np.nan, 0.2], nan_ok=True
    )
    assert table["QRS_Axis_Global"][3] == 13
    assert table["R_Amp_V6"].notna().all()  # Uni-G has no such column here: ours
    assert "Other" not in table
    assert found.counts["amplitudes_clipped"] == 1
    assert table["measurements_source"].tolist() == ["PTB-XL+ Uni-G"] * 4 + [
        "missing",
        "PTB-XL+ Uni-G",
    ]
    assert table["R56-LVH"].tolist()[:4] == [True] * 4
    assert pd.isna(table["R56-LVH"][7])  # blank, not negative


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "ecg_id,R_Amp_I\n1,2\n1,3\n"])
def test_a_features_table_without_proper_ids_is_refused(tmp_path, content):
    (tmp_path / enrich.FEATURES).parent.mkdir(parents=True)
    (tmp_path / enrich.FEATURES).write_text(content)
    with pytest.raises(UserError, match=r"unig_features\.csv.*run .*--features --data_path"):
        read_features(tmp_path)


def test_only_amplitudes_beyond_what_a_heart_makes_are_clipped():
    table = pd.DataFrame(
        {
            "T_Amp_V5": [-20.0, 0.3, np.nan],
            "R_Amp_V5": [7.5, 11.0, -12.0],
            "P_Amp_II": [0.2, 1.5, 0.0],
            "QRS_Dur_Global": [400.0, 90.0, 90.0],
        }
    )
    assert clip_amplitudes(table) == 4
    assert table["T_Amp_V5"].tolist()[:2] == [-4.0, 0.3]
    assert table["R_Amp_V5"].tolist() == [7.5, 10.0, -10.0]
    assert table["QRS_Dur_Global"].tolist() == [400, 90, 90]
    assert amplitude_limit("QRS_Axis_Global") is None


@pytest.mark.parametrize(
    "text",
    ["[  31  121 217]", "[31, 121, 217]", "31 121 217", "[ 31 121\n 217]", "[ 31. 121. 217.]"],
)
def test_every_printed_form_of_r_peaks_is_read(text):
    assert parse_printed_peaks(text) == "31 121 217"


@pytest.mark.parametrize(
    "text",
    [
        "[31 ... 217]",
        "[217 31]",
        "31 31",
        "[-3 5]",
        "[31 1000]",
        "__import__('os')",
        "[31.5 40]",
        "array([31, 40])",
    ],
)
def test_what_is_no_list_of_samples_is_refused(text):
    with pytest.raises(ValueError):
        parse_printed_peaks(text)


@pytest.mark.parametrize("blank", ["", "[]", float("nan"), None])
def test_no_peaks_are_no_peaks(blank):
    assert parse_printed_peaks(blank) == ""


def test_concepts_follow_from_the_stored_measurements(made):
    found = run(made).table
    found.to_csv(made[2] / "stored.csv")
    stored = pd.read_csv(made[2] / "stored.csv", index_col="ecg_id", keep_default_na=True)
    pd.testing.assert_frame_equal(judge(stored), found[list(CONCEPTS)])


def test_published_tables_replace_ours(made, tmp_path):
    folder = tmp_path / "addons"
    folder.mkdir()
    pd.DataFrame(
        {"r_peaks": ["[ 31  121]", "[40\n 140]"]}, index=pd.Index([2, 8], name="ecg_id")
    ).to_csv(folder / "r-peaks.csv")
    pd.DataFrame(
        {"ecg_id": [1, 2], "RS-LVH": [True, False], "Age75": [False, True], "extra": [1, 1]}
    ).to_csv(folder / "concepts.csv", index=False)
    found = run(made, addons=folder).table
    ours = run(made).table
    assert found["r_peaks"].tolist() == [
        ours["r_peaks"][1],
        "31 121",
        *ours["r_peaks"][[3, 5, 7]],
        "40 140",
    ]
    assert (found["r_peaks_source"] == "r-peaks.csv").tolist() == [
        False,
        True,
        False,
        False,
        False,
        True,
    ]
    assert found["RS-LVH"][[1, 2]].tolist() == [True, False]
    assert found["RS-LVH"][[3, 5, 7, 8]].isna().all()
    assert found["Age75"][2]
    assert found["QRS-LVH"].tolist() == ours["QRS-LVH"].tolist()
    assert found["concepts_source"].tolist() == ["concepts.csv"] * 2 + ["missing"] * 4


def test_a_table_written_with_an_unnamed_index_is_read(tmp_path):
    pd.DataFrame({"r_peaks": ["[1 2]"]}, index=[5]).to_csv(tmp_path / "r_peaks.csv")
    assert read_addons(tmp_path)["r_peaks"].to_dict() == {5: "1 2"}


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, "holds neither r-peaks.csv nor concepts.csv"),
        (
            {"r-peaks.csv": "ecg_id,r_peaks\n1,[5 3]\n2,[1 2]\n9,x\n"},
            "not rising sample numbers from 0 to 999 for ecg_id 1, 9",
        ),
        ({"r-peaks.csv": "ecg_id,a,b\n1,2,3\n"}, "needs one column r_peaks"),
        ({"r-peaks.csv": "r_peaks\n[1 2]\n"}, "needs a column ecg_id"),
        ({"concepts.csv": "ecg_id,Unknown\n1,True\n"}, "has none of the concepts RS-LVH"),
        (
            {"concepts.csv": "ecg_id,RS-LVH\n1,maybe\n"},
            "holds maybe, where True, False or a blank is expected",
        ),
    ],
)
def test_unusable_published_tables_are_refused(tmp_path, files, match):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=match):
        read_addons(tmp_path)
