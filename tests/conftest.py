"""Fixtures shared by all tests: the real records where they are present, a simulated cohort, a
trained LeNet.
"""

import os

# One thread in every process: a second one waits more than it works on tiny tensors, and the last
# bits depend on their number.
os.environ["OMP_NUM_THREADS"] = "1"

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
PTBXL = Path(os.environ.get("XAI4ECG_PTBXL", ROOT.parent / "shared" / "ptbxl"))

torch.set_num_threads(1)


def run_script(script, *arguments, check=True, **options):
    """Run `python code/<script>` as a user would; returns the CompletedProcess (text)."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "code" / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=options.pop("cwd", ROOT),
        **options,
    )
    assert not check or done.returncode == 0, (
        f"{script} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    )
    return done


@pytest.fixture(scope="session")
def ptbxl():
    """Folder of real PTB-XL records (1,499 of them), or skip."""
    if not (PTBXL / "ptbxl_database.csv").is_file():
        pytest.skip("no real PTB-XL records here (set XAI4ECG_PTBXL to a folder that has them)")
    return PTBXL


@pytest.fixture(scope="session")
def ptbxl_reference(ptbxl):
    """Folder of published reference tables beside the real records, or skip."""
    folder = ptbxl.parent / "ptbxl_reference"
    if not folder.is_dir():
        pytest.skip("no reference tables beside the real records")
    return folder


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """A simulated cohort of 300 records, preprocessed: the folder."""
    folder = tmp_path_factory.mktemp("simulated")
    run_script("simulate_ptbxl.py", "--output_path", folder, "--n_records", 300, "--seed", 7)
    run_script("preprocessing.py", "--data_path", folder)
    return folder


@pytest.fixture(scope="session")
def trained(cohort, tmp_path_factory):
    """A LeNet trained for a few epochs on the cohort's subdiagnostic task: its run folder."""
    folder = tmp_path_factory.mktemp("output")
    run_script(
        "train_model.py",
        "--data_path",
        cohort,
        "--logdir",
        folder,
        "--modelname",
        "lenet",
        "--task",
        "subdiagnostic",
        "--epochs",
        8,
    )
    return folder / "lenet_subdiagnostic"
