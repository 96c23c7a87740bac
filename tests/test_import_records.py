"""One's own recordings: an array and a table become a data set that preprocessing reads as if it
were PTB-XL.
"""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

import import_records
from common.labels import LABEL_MAPPINGS
from conftest import run_script
from known_ecg import KINDS, write_recordings
from pages import PAGES, commands, section, stage_calls
from records.own_record import resample

N, RATE = 12, 250
QUICKER = {
    "train_model": "--epochs 1 --n_bootstrap 20",
    "lrp_analysis": "--methods lrp --max_figures 1",
    "glocal_analysis": "--methods lrp --pathologies LVH --n_bootstrap 20",
}


@pytest.fixture
def own(tmp_path):
    """Twelve recordings of 10 s at 250 Hz: pulses of 1 mV at known times, smooth enough to survive
    resampling.
    """
    time = np.arange(10 * RATE) / RATE
    beats = np.arange(0.5, 10, 0.8)
    pulse = np.exp(-(((time[:, None] - beats) / 0.015) ** 2)).sum(axis=1)
    gains = np.linspace(0.2, 1.3, 12)
    np.save(
        tmp_path / "mine.npy", (pulse[:, None] * gains)[None].repeat(N, axis=0).astype(np.float32)
    )
    pd.DataFrame(
        {
            "labels": ["NORM SR", "IMI, SR", "LVH"] * (N // 3),
            "patient_id": np.arange(N) // 2,
            "age": 50,
            "sex": 1,
            "r_peaks": " ".join(str(round(beat * RATE)) for beat in beats),
        }
    ).to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path


def words(own, **changes):
    options = {
        "--signals": own / "mine.npy",
        "--table": own / "mine.csv",
        "--signal_rate": RATE,
        "--output_path": own / "data",
        **changes,
    }
    return [word for pair in options.items() for word in pair]


def test_an_array_becomes_a_data_set_that_preprocessing_reads(own):
    done = run_script("import_records.py", *words(own))
    assert f"code/preprocessing.py --data_path {own / 'data'} --addons" in done.stdout
    run_script("preprocessing.py", "--data_path", own / "data", "--addons", own / "data" / "addons")
    raw = np.load(own / "data" / "raw100.pkl", allow_pickle=True)
    assert raw.shape == (N, 1000, 12)
    assert raw[0, [50, 130, 210], 11] == pytest.approx(1.3, abs=0.02)
    assert raw[0, 50, 0] == pytest.approx(0.2, abs=0.01)
    table = pd.read_csv(own / "data" / "ptbxl_database_enriched.csv")
    assert [int(peak) for peak in table["r_peaks"][0].split()][:3] == [50, 130, 210]
    labels = np.load(own / "data" / "multihot_subdiagnostic.npy")
    columns = [LABEL_MAPPINGS["subdiagnostic"].index(name) for name in ("NORM", "IMI", "LVH")]
    assert labels[:3, columns].tolist() == np.eye(3).tolist()
    assert table.groupby("patient_id")["strat_fold"].nunique().max() == 1
    assert table["strat_fold"].between(1, 10).all()
    record = wfdb.rdrecord(str(own / "data" / "records250" / "00000" / "00001_250"))
    assert record.units == ["mV"] * 12
    assert record.p_signal == pytest.approx(np.load(own / "mine.npy")[0], abs=5e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: np.save(own / "mine.npy", np.zeros((N, 1000, 7))), "7 signals without names"),
        (lambda own: np.save(own / "mine.npy", np.full((N, 1000, 12), 900.0)), "reaches 900 mV"),
        (lambda own: np.save(own / "mine.npy", np.full((N, 1000, 12), np.nan)), "has gaps"),
        (lambda own: np.save(own / "mine.npy", np.zeros((N, 100, 12))), "less than 2.5 s"),
        (
            lambda own: pd.DataFrame({"labels": ["IMI"] * 3}).to_csv(own / "mine.csv"),
            "expected (rows, T, 12)",
        ),
        (
            lambda own: pd.DataFrame({"finding": ["IMI"] * N}).to_csv(own / "mine.csv"),
            "lacks the column labels",
        ),
        (lambda own: (own / "mine.csv").unlink(), "mine.csv does not exist"),
    ],
)
def test_what_does_not_fit_is_one_line_and_nothing_is_written(own, change, message):
    change(own)
    done = run_script("import_records.py", *words(own), check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (own / "data").exists()


def test_a_column_recording_of_ones_own_makes_nobody_one_patient(own, monkeypatch):
    """Where no patient is named; only of stretches the column says what belongs together."""
    table = pd.read_csv(own / "mine.csv").drop(columns="patient_id")
    table = table.assign(record_id=np.arange(N) + 1, recording="at rest")
    table.to_csv(own / "mine.csv", index=False)
    written = imported(own, monkeypatch)
    assert written["patient_id"].nunique() == N
    assert written["strat_fold"].nunique() == 10


def test_recordings_of_one_beat_keep_it(own, monkeypatch):
    """A column of single numbers is read as numbers, unless it is asked for as text."""
    pd.read_csv(own / "mine.csv").assign(r_peaks=125).to_csv(own / "mine.csv", index=False)
    imported(own, monkeypatch)
    peaks = pd.read_csv(own / "data" / "addons" / "r-peaks.csv")["r_peaks"]
    assert peaks.tolist() == [50] * N


def imported(own, monkeypatch):
    """The table that the import writes, run in this process."""
    monkeypatch.chdir(own)
    parser = import_records.get_args_parser()
    import_records.main(parser.parse_args([str(word) for word in words(own)]))
    return pd.read_csv(own / "data" / "ptbxl_database.csv")


def test_another_data_set_is_not_overwritten(own):
    (own / "data").mkdir()
    (own / "data" / "ptbxl_database.csv").write_text("ecg_id\n1\n")
    done = run_script("import_records.py", *words(own), check=False)
    assert done.returncode == 2
    assert "holds another data set" in done.stderr


def test_the_path_of_the_readme_leads_from_an_array_to_its_explanations(tmp_path, monkeypatch):
    write_recordings(tmp_path)
    monkeypatch.chdir(tmp_path)
    for script, *words in (
        call
        for command in commands(section("## Your own data", PAGES["docs/data.md"]))
        for call in stage_calls(command)
    ):
        stage = importlib.import_module(Path(script).stem)
        stage.main(
            stage.get_args_parser().parse_args(words + QUICKER.get(Path(script).stem, "").split())
        )
    own = pd.read_csv("mine.csv")
    table = pd.read_csv("data/mine/ptbxl_database_enriched.csv")
    assert table["strat_fold"].tolist() == own["strat_fold"].tolist()
    at_100 = [
        np.rint(np.array(text.split(), int) * 100 / RATE).astype(int).tolist()
        for text in own["r_peaks"]
    ]
    assert [list(map(int, text.split())) for text in table["r_peaks"]] == at_100
    run = Path("output/lenet_subdiagnostic_mine")
    for labels in KINDS:
        local = np.load(run / "local" / f"lrp_{labels.split()[0]}.npz")
        assert local["attributions"].shape == (1, 1000, 12)
        explained = own.iloc[local["ecg_id"][0] - 1]
        assert (explained["labels"], explained["strat_fold"]) == (labels, 10)
    group = pd.read_csv(run / "glocal" / "records.csv")
    assert set(own["labels"][group["ecg_id"] - 1]) == {"LVH SR"}


def test_imported_and_single_records_are_resampled_alike():
    """A rate between tenths of a Hz keeps its length in seconds (100.25 Hz, once read as 100.2)."""
    signal = np.linspace(-1, 1, 10_025)[:, None].repeat(12, axis=1)  # 100 s
    found = resample(signal, 100.25, 100)
    assert len(found) == 10_000
    assert found[5000, 0] == pytest.approx(0, abs=0.001)
    assert resample(signal, 100, 100) is signal
