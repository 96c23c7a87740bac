"""Stages that torchrun starts in two processes write the bytes that one process writes."""

import importlib
import os
import re
import shlex
import subprocess
import sys

import pytest

from attribution.methods import METHODS
from conftest import ROOT
from sanity.parts import share_of
from small_subjects import make_subject

TEXTS = (".csv", ".npz", ".png", ".pdf")
# stage -> its options, and the folder of its results
STAGES = {
    "tcav_analysis": (
        "--n_runs 2 --n_null 20 --concepts SLI-LVH --min_positives 5 --control 2",
        "tcav",
    ),
    "lrp_analysis": (
        "--methods saliency lrp --strategy all --n_samples 70 --max_figures 1",
        "local",
    ),
    "glocal_analysis": (
        "--strategy all --n_samples 40 --n_bootstrap 20 --n_permutations 19 --n_jitters 2 "
        "--contrast LVH NORM --control 2 --folds 8 9 10",
        "glocal",
    ),
    "counterfactuals": (
        "--n_samples 10 --strategy all --pathologies LVH --max_edits 2 --max_figures 1 "
        "--add_concept SLI-LVH",
        "counterfactual",
    ),
    "sanity_checks": (
        "--n_samples 6 --n_few 4 --methods saliency random lrp "
        "--checks randomisation axioms localisation agreement seeds --control 2",
        "sanity",
    ),
    "discovery": (
        "--cohort AMI IMI --representations signal segments features "
        "--n_halvings 3 --n_resamples 9 --k_max 2 --min_records 5 --control 2",
        "discovery",
    ),
}


def run_stage(stage, processes, options, data, run, output):
    """A stage by torchrun in so many processes; its standard output."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"),
        *("--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"),
        str(ROOT / "code" / f"{stage}.py"),
        *("--data_path", str(data), "--model_path", str(run), "--output_path", str(output)),
        *options,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def files_of(folder):
    """Name and bytes of all that must be the same."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in TEXTS
    }


@pytest.mark.parametrize("world", [1, 2, 5])
def test_sanity_parts_are_dealt_out_once_and_by_method(world):
    subject = make_subject()
    work = [(check, subject, method) for check in ("a", "b", "c") for method in METHODS]
    shares = [share_of(work, rank, world) for rank in range(world)]
    done = [(check, method) for share in shares for check, _, method in share]
    assert sorted(done) == sorted((check, method) for check, _, method in work)
    for share in shares:
        assert share  # nobody is idle
        assert [item for item in work if item in share] == share  # in the order of the checks
    owners = [{method for _, _, method in share} for share in shares]
    assert sum(map(len, owners)) == len(METHODS)  # a method's maps are made by one process


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_write_what_one_writes(stage, cohort, trained, tmp_path):
    words, folder = STAGES[stage]
    options = words.split()
    if stage == "sanity_checks":
        other = train_another(cohort, tmp_path)
        options += ["--seeds", str(other)]
    found, said = [], []
    for processes in (1, 2):
        output = tmp_path / str(processes)
        said.append(run_stage(stage, processes, options, cohort, trained, output))
        found.append(files_of(output / trained.name / folder))
    alone, shared = found
    assert len(alone) > 3
    assert [name for name in {**alone, **shared} if alone.get(name) != shared.get(name)] == []
    assert len(said[0].splitlines()) == len(said[1].splitlines())  # the main process alone speaks
    again = run_stage(stage, 2, options, cohort, trained, tmp_path / "2")
    assert again.count("is finished") == 1


def train_another(cohort, tmp_path):
    """A run of another seed."""
    command = [sys.executable, str(ROOT / "code" / "train_model.py"), "--data_path", str(cohort)]
    command += ["--modelname", "lenet", "--task", "subdiagnostic", "--seed", "1"]
    command += ["--logdir", str(tmp_path), "--run_name", "other", "--epochs", "2"]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path / "lenet_subdiagnostic_other"


def test_the_example_for_slurm_starts_every_stage(tmp_path):
    """Its commands with stand-ins for Slurm, torch and python: each is one that its stage takes."""
    for name, body in {
        "srun": '"$@"',
        "scontrol": "echo node-a; echo node-b",
        "python": 'echo "1 $*"',
        "torchrun": 'n=; while [[ $1 != code/* ]]; do n="$n $1"; shift; done; echo "$n $*"',
    }.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = (ROOT / "docs" / "slurm.sh").read_text().replace("source .venv/bin/activate\n", "")
    slurm = {"SLURM_JOB_ID": "77", "SLURM_NNODES": "4", "SLURM_JOB_NODELIST": "node-[a-d]"}
    done = subprocess.run(
        ["bash", "-c", script],
        env={**slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    called = [re.search(r"code/(\w+)\.py", line)[1] for line in lines]
    assert called == ["preprocessing", "train_model", *STAGES, "report"]
    assert all("--rdzv_endpoint=node-a:20077" in line for line in lines[1:-1])
    for name, line in zip(called, lines, strict=True):
        words = shlex.split(line.partition(".py ")[2])
        importlib.import_module(name).get_args_parser().parse_args(words)
