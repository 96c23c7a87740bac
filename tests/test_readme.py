"""The README: every command in it exists as written, and runs as written on the simulated cohort."""

import fnmatch
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT, run_script
from labels import REGRESSION_TASKS

README = (ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").is_file() else ""

# what a test must not run, and why
NOT_RUN = {
    "conda": "makes an environment", "source": "makes an environment", "pip": "makes an environment",
    "python3 -m venv": "makes an environment",
    "./download": "fetches gigabytes (tested against a local server in test_downloads.py)",
    "./reproduce_results.sh": "tested in test_pipeline.py", "./run_tests.sh": "runs this test",
    "./.venv/bin/python -m pytest": "runs this test", "python -m pytest": "runs this test", "pytest": "runs this test",
    "python tests/benchmarks": "measures for minutes, on real records", "tensorboard": "serves until it is ended",
    "torchrun --nnodes": "needs two machines", "git": "not ours", "export": "sets a variable",
    "ruff": "run by run_tests.sh", "python -m ruff": "run by run_tests.sh",
}


def commands():
    """Commands of all bash blocks, continued lines joined, comments left out."""
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+#\s.*$", "", line).strip() for line in lines if line.strip() and not line.startswith("#")]


def stage_commands():
    """Those that call a stage: (command, script, words as the shell hands them over)."""
    found = []
    for command in commands():
        match = re.search(r"code/(\w+)\.py\s*(.*)$", command)
        if match:
            found.append(pytest.param(match[1], shlex.split(match[2]), id=command[:80]))
    return found


@pytest.mark.parametrize(("script", "words"), stage_commands())
def test_every_stage_command_is_understood(script, words):
    importlib.import_module(script).get_args_parser().parse_args(words)


def test_every_file_has_a_place_in_the_tables_of_stages_or_subjects():
    named = set(re.findall(r"`(?:code/)?([\w*]+\.py)`", "\n".join(line for line in README.splitlines() if line.startswith("| "))))
    files = [path.name for path in (ROOT / "code").glob("*.py")]
    assert [name for name in files if not any(fnmatch.fnmatch(name, pattern) for pattern in named)] == []


@pytest.mark.parametrize("line", [
    "python code/preprocessing.py",
    "python code/train_model.py --logdir=./output  --modelname=lenet --task=subdiagnostic --gpu",
    "python code/tcav_analysis.py --modeltype=lenet --model_checkpoint_path=path/to/model.ckpt --logdir=path/to/output/",
    "python code/lrp_analysis.py --output_path=output/ --model_path=output/... --pathologies=[AMI, IMI] --strategy=single_best",
])
def test_the_original_lines_are_there_word_for_word(line):
    assert line in commands()


def test_every_stage_has_its_section_and_every_picture_exists():
    for script in sorted(path.stem for path in (ROOT / "code").glob("*.py") if "\nif __name__" in path.read_text()):
        assert f"code/{script}.py" in README, f"the README does not speak of {script}.py"
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file()


def test_links_within_the_readme_lead_somewhere():
    found = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    headings = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
    for anchor in re.findall(r"\]\(#([^)]+)\)", README):
        assert anchor in headings


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """An empty folder where the README's paths exist: code/, data/ptbxl (simulated), path/to/, output/...

    Larger and longer trained than the shared fixtures, so that every pathology has a true positive in the test fold.
    """
    folder = tmp_path_factory.mktemp("readme")
    cohort, trained = folder / "data" / "ptbxl", folder / "output" / "..."
    run_script("simulate_ptbxl.py", "--output_path", cohort, "--n_records", 800, "--seed", 7)
    run_script("preprocessing.py", "--data_path", cohort)
    run_script("train_model.py", "--data_path", cohort, "--logdir", folder / "output", "--modelname", "lenet",
               "--task", "subdiagnostic", "--epochs", 40)
    (folder / "output" / "lenet_subdiagnostic").rename(trained)
    for name in ("code", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "path" / "to").mkdir(parents=True)
    shutil.copy(trained / "checkpoints" / "best_model.ckpt", folder / "path" / "to" / "model.ckpt")
    common = ["--data_path", cohort, "--logdir", folder / "output", "--modelname", "lenet", "--epochs", 1]
    for task in REGRESSION_TASKS:  # the runs that the sanity checks' command names
        run_script("train_model.py", *common, "--task", task)
    for seed in (1, 2):
        run_script("train_model.py", *common, "--task", "subdiagnostic", "--seed", seed, "--run_name", f"seed{seed}")
    for name in ("raw100.pkl", "preprocessing.json"):
        (cohort / name).unlink()
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "bin" / "torchrun").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m torch.distributed.run "$@"\n')
    for name in ("python", "torchrun"):
        (folder / "bin" / name).chmod(0o755)
    return folder


@pytest.mark.slow
def test_every_command_runs_as_written(workplace):
    environment = {**os.environ, "PATH": f"{workplace / 'bin'}:{os.environ['PATH']}"}
    for command in commands():
        if command.startswith(tuple(NOT_RUN)):
            continue
        print("$", command, flush=True)
        done = subprocess.run(["bash", "-c", command], cwd=workplace, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
