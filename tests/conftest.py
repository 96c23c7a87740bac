"""Fixtures shared by all tests: the real records where they are present, a simulated cohort, a
trained LeNet.
"""

import os
import shutil

# One thread in every process: a second one waits more than it works on tiny tensors, and the last
# bits depend on their number.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows where there is a screen

import subprocess
from pathlib import Path

import pytest
import torch

from launcher import Command, launcher

ROOT = Path(__file__).resolve().parent.parent
PTBXL = Path(os.environ.get("XAI4ECG_PTBXL", ROOT.parent / "shared" / "ptbxl"))

torch.set_num_threads(1)


def run_script(script, *arguments, check=True, cwd=ROOT):
    """Run `python code/<script>` as a user would, in a process of its own; returns the
    CompletedProcess (text).
    """
    words = [str(ROOT / "code" / script), *map(str, arguments)]
    [done] = launcher().run(Command(words, cwd))
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


def _find_chromium():
    """Paths of chromium and its driver; installed by apt where that is there, else None."""
    found = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(found) and shutil.which("apt-get") and os.geteuid() == 0:
        words = "apt-get update -qq && apt-get install -y -qq chromium chromium-driver"
        subprocess.run(["sh", "-c", words], capture_output=True, timeout=600)
        found = [shutil.which(name) for name in ("chromium", "chromedriver")]
    return found if all(found) else None


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A headless Chromium, ended with the tests; skip where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    found = _find_chromium()
    if found is None:
        pytest.skip("no chromium and chromedriver here, and no apt to install them with")
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    profile = tmp_path_factory.mktemp("chromium")
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(found[1]))
    yield browser
    browser.quit()
