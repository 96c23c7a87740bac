"""The stage as a user runs it: files, bytes, faults."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.files import read_json
from common.labels import STATEMENTS
from conftest import run_script
from records.ptbxl import parse_scp_codes
from simulate_ptbxl import get_args_parser, main
from simulation.causes import CAUSES, DECOYS
from simulation.cohort import counterfactual, read_plan

N = 24


def simulate(folder, *arguments, **options):
    return run_script(
        "simulate_ptbxl.py",
        "--output_path",
        folder,
        "--n_records",
        N,
        "--seed",
        5,
        *arguments,
        **options,
    )


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder, "--sampling_rate", 100, 500)
    return folder


@pytest.fixture(scope="module")
def table(simulated):
    return pd.read_csv(simulated / "ptbxl_database.csv")


def read_records(folder, names):
    return np.stack([np.fromfile(folder / f"{name}.dat", "<i2").reshape(-1, 12) for name in names])


def digest(folder):
    """Hash of every file but the stage's own note, which holds the command line."""
    files = sorted(
        path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith(".")
    )
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "simulate_ptbxl.json"
    }


def test_same_seed_same_bytes_and_segmentations_can_be_left_out(simulated, tmp_path):
    simulate(tmp_path, "--sampling_rate=100,500", "--no-segmentations")
    expected = {
        name: value for name, value in digest(simulated).items() if "segmentations" not in name
    }
    assert digest(tmp_path) == expected


def test_layout_is_complete(simulated, table):
    assert len(table) == N
    for column in ("filename_lr", "filename_hr"):
        assert all(
            (simulated / f"{name}{suffix}").is_file()
            for name in table[column]
            for suffix in (".dat", ".hea")
        )
    assert set(
        map(int, (path.stem for path in (simulated / "ptbxl_segmentations").glob("*.npy")))
    ) == set(table["ecg_id"])
    assert len(pd.read_csv(simulated / "scp_statements.csv")) == 71
    assert {f"decoy_{name}" for name in DECOYS} <= set(table.columns)


def test_limb_leads_agree_to_one_microvolt_on_disk(simulated, table):
    for column in ("filename_lr", "filename_hr"):
        signals = read_records(simulated, table[column]).astype(float)
        i, ii, iii, avr, avl, avf = np.moveaxis(signals[..., :6], -1, 0)
        assert np.abs(ii - i - iii).max() <= 1
        assert np.abs(avr + (i + ii) / 2).max() <= 1
        assert np.abs(avl - (i - iii) / 2).max() <= 1
        assert np.abs(avf - (ii + iii) / 2).max() <= 1


def test_statements_are_those_planted(simulated, table):
    plan = read_plan(simulated)
    for codes, row in zip(table["scp_codes"], plan.to_dict("records"), strict=True):
        names = set(parse_scp_codes(codes))
        assert names <= set(STATEMENTS)
        assert names - {"SR"} == {name for name in CAUSES if row[f"severity_{name}"] > 0}
        assert ("SR" in names) == (not names & {"AFIB", "STACH", "SBRAD"})


def test_counterfactual_gives_the_records_on_disk(simulated, table):
    ids = table["ecg_id"].to_numpy()[[0, 7, 20]]
    for rate, column in ((100, "filename_lr"), (500, "filename_hr")):
        stored = read_records(simulated, table.set_index("ecg_id").loc[ids, column])
        np.testing.assert_array_equal(
            np.rint(counterfactual(simulated, ids, sampling_rate=rate) * 1000), stored
        )


def test_true_qrs_lie_where_the_signal_is_steep(simulated, table):
    marks = pd.read_csv(simulated / "true_fiducials.csv")
    signals = read_records(simulated, table["filename_lr"]).astype(float)
    steep = dict(
        zip(table["ecg_id"], np.sqrt((np.diff(signals, axis=1) ** 2).sum(axis=2)), strict=True)
    )
    found = []
    for beat in marks[(marks["QRS_on"] > 0) & (marks["QRS_off"] < 9800)].itertuples():
        on, off = int(beat.QRS_on / 10), int(np.ceil(beat.QRS_off / 10))
        found.append(
            steep[beat.ecg_id][on:off].max() > 2 * steep[beat.ecg_id][off + 4 : off + 12].max()
        )
    assert len(found) > 8 * N
    assert np.mean(found) > 0.97


def test_measurements_and_parameters_have_one_row_per_record(simulated, table):
    for name in ("true_measurements.csv", "true_parameters.csv"):
        assert pd.read_csv(simulated / name)["ecg_id"].tolist() == table["ecg_id"].tolist()


def test_a_second_run_says_so_and_another_seed_is_refused(simulated):
    again = simulate(simulated, "--sampling_rate", 100, 500)
    assert "is finished" in again.stdout
    other = run_script(
        "simulate_ptbxl.py",
        "--output_path",
        simulated,
        "--n_records",
        N,
        "--seed",
        6,
        "--sampling_rate",
        100,
        500,
        check=False,
    )
    assert other.returncode == 2
    assert "seed: 5 there, 6 here" in other.stderr
    assert read_json(simulated / "simulate_ptbxl.json")["status"] == "finished"


def test_a_smaller_cohort_leaves_no_record_of_the_larger_one(tmp_path):
    for count in (8, 5):
        main(
            get_args_parser().parse_args(
                ["--output_path", str(tmp_path), "--n_records", str(count), "--overwrite"]
            )
        )
    assert len(list(tmp_path.rglob("*.dat"))) == 5
    assert len(list((tmp_path / "ptbxl_segmentations").iterdir())) == 5


def test_a_real_data_set_is_never_written_into(tmp_path):
    (tmp_path / "ptbxl_database.csv").write_text("ecg_id\n1\n")
    done = simulate(tmp_path, "--overwrite", check=False)
    assert done.returncode == 2
    assert "was not simulated" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["ptbxl_database.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sampling_rate", "250"], "unknown sampling rate 250: accepted are 100, 500"),
        (["--n_records", "0"], "not a whole number above 0"),
        (["--seed", "-1"], "not a seed"),
    ],
)
def test_faults_are_one_line_and_write_nothing(tmp_path, arguments, message):
    done = run_script(
        "simulate_ptbxl.py", "--output_path", tmp_path / "new", *arguments, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
