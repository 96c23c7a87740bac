"""A network of amplitudes tested on a data set that it was not trained on, and on what it was."""

import json

import pytest

from common.labels import LEADS
from conftest import run_script
from tiny_dataset import write_tiny_dataset


@pytest.fixture(scope="module")
def amplitudes(tmp_path_factory):
    """The run of a network of amplitudes, and another data set."""
    folder = tmp_path_factory.mktemp("amplitudes")
    for seed, name in enumerate(("own", "elsewhere")):
        (folder / name).mkdir()
        write_tiny_dataset(folder / name, seed=seed)
    run_script(
        "train_model.py", "--data_path", folder / "own", "--output_path", folder / "output",
        "--task", "T_Wave_Amplitude", "--epochs", 1, "--n_bootstrap", 20,
    )  # fmt: skip
    return folder / "output" / "lenet_T_Wave_Amplitude", folder / "elsewhere"


def test_amplitudes_are_compared_lead_by_lead_elsewhere(amplitudes):
    run, other = amplitudes
    words = ("--test_only", "--model_path", run, "--data_path", other, "--n_bootstrap", 20)
    run_script("train_model.py", *words)
    metrics = json.loads((run / "external" / other.name / "metrics.json").read_text())
    assert metrics["external"]["classes_compared"] == list(LEADS)
    assert not metrics["external"]["classes_not_compared"]
    run_script("report.py", "--model_path", run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "external test, R²" in page
    assert "12 leads are in common" in page


def test_a_test_on_what_the_network_was_trained_on_is_called_that(amplitudes):
    words = ("--test_only", "--model_path", amplitudes[0], "--n_bootstrap", 20, "--overwrite")
    done = run_script("train_model.py", *words, "--test_folds", 2, 9, 10)
    assert "trained or chosen on fold 2 9:" in done.stderr
