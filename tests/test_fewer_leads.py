"""Cohorts that lack leads: Holters of two, patches of one. What needs other leads is left out by
name, all else runs.
"""

import json

import numpy as np
import pandas as pd
import pytest

import import_records
import preprocessing
import train_model
from common.files import UserError
from common.labels import LEADS
from conftest import run_script
from ecg.analysis import detect_r_peaks, measure
from networks.inference import load_dataset_for
from networks.run import info_of
from records.dataset import load_dataset
from tiny_ptbxl import ecg_like, fitting_limbs, holter, write_holters, write_record

N = 12


def stage(module, *words):
    module.main(module.get_args_parser().parse_args(list(map(str, words))))


def training_options(*words):
    return train_model.get_args_parser().parse_args(list(map(str, words)))


@pytest.fixture(scope="module")
def two_leads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("holter")
    stage(import_records, *write_holters(folder, N), folder / "data", "--leads", "MLII", "V5")
    stage(preprocessing, "--data_path", folder / "data")
    return folder / "data"


def test_signals_are_those_of_the_files_by_lead(two_leads):
    data = load_dataset(two_leads, "rhythm")
    assert (data.leads, data.signals.shape) == (("II", "V5"), (N, 3000, 12))
    there = [LEADS.index(lead) for lead in data.leads]
    assert np.isnan(np.delete(data.signals, there, axis=2)).all()
    expected = np.stack([holter(number) / 1000 for number in range(N)])  # 250 Hz
    differences = data.signals[:, ::2][:, :, there] - expected[:, ::5]
    assert np.abs(differences[:, 50:450]).max() < 0.06  # pieces of 10 s join behind


def test_what_needs_other_leads_is_blank_and_named(two_leads, capsys):
    table = load_dataset(two_leads).table
    assert table[["R_Amp_II", "R_Amp_V5", "QRS_Dur_Global"]].notna().all(axis=None)
    assert table[["R_Amp_I", "R_Amp_V6", "QRS_Axis_Global", "MI-V2V3"]].isna().all(axis=None)
    assert table[["quality_polarity", "quality_limb_reversal"]].isna().all(axis=None)
    assert not table["quality_no_beat"].any()
    assert (table["r_peaks"].str.split().str.len() > 30).all()
    counts = json.loads((two_leads / "preprocessing.json").read_text())["counts"]
    assert (counts["leads"], counts["quality"]["polarity"]) == (["II", "V5"], None)


def test_networks_read_the_leads_that_there_are(two_leads):
    options = training_options("--data_path", two_leads, "--task", "rhythm")
    info = info_of(options)
    assert info.leads == ("II", "V5")
    with pytest.raises(UserError, match="have the leads II, V5, not V1, which the network reads"):
        load_dataset_for(info_of(training_options(
            "--data_path", two_leads, "--task", "rhythm", "--leads", "II", "V1"
        )), two_leads)  # fmt: skip


def test_records_without_the_leads_are_refused_with_the_way_in(tmp_path):
    words = write_holters(tmp_path, n=2)
    with pytest.raises(UserError, match=r"has MLII, V5, and no lead I, .*: --leads II V5 makes"):
        stage(import_records, *words, tmp_path / "a")
    with pytest.raises(UserError, match=r"no lead V1: --leads II V5 makes"):
        stage(import_records, *words, tmp_path / "b", "--leads", "II", "V1")
    with pytest.raises(UserError, match="--leads: ECG is no lead"):
        stage(import_records, *words, tmp_path / "c", "--leads", "ECG")
    (tmp_path / "table.csv").write_text("h000,N\nh001,A\n")  # as CinC 2017 has it
    with pytest.raises(UserError, match="has no head, its first line is of the recording h000"):
        stage(import_records, *words, tmp_path / "c", "--leads", "II")


@pytest.mark.parametrize("lead", ["I", "aVF", "V4"])
def test_beats_are_found_in_any_one_lead(lead):
    column = LEADS.index(lead)
    whole = fitting_limbs(ecg_like(5, 250) / 1000)
    alone = np.full_like(whole, np.nan)
    alone[:, column] = whole[:, column]
    assert np.abs(detect_r_peaks(alone, 250) - detect_r_peaks(whole, 250)).max() <= 5  # 20 ms
    found = measure(alone, 250)
    assert np.isfinite(found[f"T_Amp_{lead}"])
    others = [name for name in LEADS if name != lead]
    assert found[[f"T_Amp_{name}" for name in others] + ["QRS_Axis_Global"]].isna().all()


STAGES = {
    "train_model.py": ("--epochs", 1, "--n_bootstrap", 20, "--modelname", "lenet"),
    "tcav_analysis.py": ("--n_runs", 3, "--n_null", 100, "--min_positives", 5),
    "lrp_analysis.py": ("--max_figures", 1, "--methods", "saliency", "lrp"),
    "glocal_analysis.py": ("--n_samples", 4, "--n_bootstrap", 50, "--n_permutations", 200),
    "counterfactuals.py": ("--n_samples", 2, "--max_figures", 1),
    "sanity_checks.py": ("--n_samples", 3, "--n_few", 2, "--methods", "saliency", "lrp"),
    "discovery.py": ("--cohort", "CD or HYP or MI or NORM", "--n_halvings", 2, "--n_resamples", 20),
    "report.py": (),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("leads", [("II", "V5"), ("aVF",)])
def test_every_stage_takes_a_cohort_that_lacks_leads(leads, cohort, tmp_path):
    """The simulated cohort again, 30 s long, with these leads alone."""
    table = pd.read_csv(cohort / "ptbxl_database.csv")
    from records.wfdb_files import read_record

    places = [LEADS.index(lead) for lead in leads]
    for row in table.itertuples():
        signal = np.tile(
            read_record(str(cohort / row.filename_lr), 100, 1000)[0][:, places], (3, 1)
        )
        path = tmp_path / "in" / f"h{row.ecg_id}"
        write_record(path, np.rint(1000 * signal).astype(np.int16), names=leads)
    table["labels"] = table["scp_codes"]
    table["record_id"] = [f"h{number}" for number in table["ecg_id"]]
    columns = ["record_id", "labels", "patient_id", "age", "sex", "strat_fold"]
    table[columns].to_csv(tmp_path / "table.csv", index=False)
    data = tmp_path / "data"
    run_script(
        "import_records.py", "--records", tmp_path / "in", "--table", tmp_path / "table.csv",
        "--output_path", data, "--leads", *leads,
    )  # fmt: skip
    run_script("preprocessing.py", "--data_path", data)
    run = tmp_path / "output" / "lenet_superdiagnostic"
    for script, words in STAGES.items():
        shared = ("--data_path", data) if script != "report.py" else ()
        if script == "train_model.py":
            where = ("--task", "superdiagnostic", "--output_path", tmp_path / "output")
        else:
            where = ("--model_path", run)
        run_script(script, *where, *shared, *words)
    assert (run / "report.html").is_file()
