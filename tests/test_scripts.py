"""The shell scripts: which Python they choose, from where they can be called, and what they say to
wrong options.
"""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.labels import TASKS
from conftest import ROOT

SCRIPTS = [*sorted(path.name for path in ROOT.glob("*.sh")), ".ci/run"]


def bash(command, cwd, path=None, **environment):
    surroundings = {**os.environ, **environment, **({"PATH": path} if path else {})}
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, capture_output=True, text=True, env=surroundings
    )


def stub(folder, name, body):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def project(tmp_path):
    """A copy of what setting up needs, without an environment."""
    folder = tmp_path / "a project"
    folder.mkdir()
    for name in ("setup_env.sh", "requirements.txt", "environment.yml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


SET_UP = (
    'set -euo pipefail; root="{0}"; source "{0}/setup_env.sh"; setup_env; echo "chosen: $PYTHON"'
)


def test_an_active_environment_that_has_everything_is_used_as_it_is(project, tmp_path):
    stubs = tmp_path / "stubs"
    stub(stubs, "conda", "echo conda was called >&2; exit 1")
    stub(stubs, "python", f'exec "{sys.executable}" "$@"')
    done = bash(SET_UP.format(project), tmp_path, f"{stubs}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"chosen: {sys.executable}"
    assert not (project / ".venv").exists()


@pytest.mark.parametrize("tool", ["conda", "mamba", "micromamba"])
@pytest.mark.parametrize("exists", [True, False])
def test_conda_makes_the_environment_once(project, tmp_path, tool, exists):
    stubs, log = tmp_path / "stubs", tmp_path / "log"
    stub(stubs, "python", "exit 1")
    stub(
        stubs,
        tool,
        f"""echo "$@" >> {log}
case "$1 $2" in
  "env list") echo "base /opt/base"; {'echo "xai4ecg /opt/xai4ecg"' if exists else ":"} ;;
  "run -n") shift 3; shift; exec "{sys.executable}" "$@" ;;
esac""",
    )
    done = bash(SET_UP.format(project), tmp_path, f"{stubs}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"chosen: {sys.executable}"
    assert (f"env create -y -f {project}/environment.yml" in log.read_text()) != exists


def test_without_conda_a_virtual_environment_is_made_with_pip(project, tmp_path):
    stubs, log = tmp_path / "stubs", tmp_path / "log"
    stub(stubs, "python", "exit 1")
    fake = (
        f'echo "$@" >> {log}; if [ "$2" = venv ]; then mkdir -p "${{@: -1}}/bin"; cp "$0" "${{@: '
        f'-1}}/bin/python"; fi; '
        f'case "$*" in *"import torch"*) grep -q requirements.txt {log};; esac'
    )
    for name in ("python3.11", "python3"):
        stub(stubs, name, fake)
    done = bash(SET_UP.format(project), tmp_path, f"{stubs}:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"chosen: {project}/.venv/bin/python"
    assert f"-m pip install -q -r {project}/requirements.txt" in log.read_text()


FAKE_PYTHON = """case "$*" in
  *"-m venv"*) folder="${@: -1}"; rm -rf "$folder"; mkdir -p "$folder/bin"
               touch "$folder/pyvenv.cfg"; cp "$0" "$folder/bin/python" ;;
  *"import torch"*) [ -f "$(dirname "$0")/../installed" ] ;;
  *"pip install"*) INSTALL ;;
esac"""
WORKS = 'touch "$(dirname "$0")/../installed"'
NO_NETWORK = "echo trying; echo 'ERROR: No matching distribution found for torch'; exit 1"


def _set_up(project, tmp_path, install):
    stubs = tmp_path / "stubs"
    stub(stubs, "python", "exit 1")
    for name in ("python3.11", "python3"):
        stub(stubs, name, FAKE_PYTHON.replace("INSTALL", install))
    return bash(SET_UP.format(project), tmp_path, f"{stubs}:/usr/bin:/bin")


def _half_made(place):
    place.mkdir()
    (place / "pyvenv.cfg").touch()


def _broken(place):
    _half_made(place)
    (place / "bin").mkdir()
    (place / "bin" / "python").symlink_to("/nowhere/python")


@pytest.mark.parametrize(
    "make", [_half_made, _broken, lambda place: place.symlink_to("/nowhere"), lambda _: None]
)
def test_a_broken_environment_of_ours_is_made_anew(project, tmp_path, make):
    make(project / ".venv")
    done = _set_up(project, tmp_path, WORKS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"chosen: {project}/.venv/bin/python"


def test_a_file_or_folder_of_that_name_is_not_touched(project, tmp_path):
    (project / ".venv").write_text("mine")
    done = _set_up(project, tmp_path, WORKS)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "is a file" in done.stderr
    assert (project / ".venv").read_text() == "mine"
    (project / ".venv").unlink()
    (project / ".venv").mkdir()
    (project / ".venv" / "thesis.txt").write_text("mine")
    done = _set_up(project, tmp_path, WORKS)
    assert "is no environment of Python's: move it away" in done.stderr
    assert (project / ".venv" / "thesis.txt").read_text() == "mine"


def test_without_a_network_one_line_says_so_and_the_next_try_goes_on(project, tmp_path):
    done = _set_up(project, tmp_path, NO_NETWORK)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "No matching distribution found for torch" in done.stderr
    assert "check the network" in done.stderr
    assert _set_up(project, tmp_path, WORKS).returncode != 0  # the copy in .venv still has none
    shutil.rmtree(project / ".venv")
    assert _set_up(project, tmp_path, WORKS).returncode == 0


@pytest.mark.parametrize(("numpy", "code"), [("1.26.4", 1), ("2.1.0", 0)])
def test_versions_are_checked_not_only_presence(tmp_path, numpy, code):
    words = (ROOT / "setup_env.sh").read_text().split('imports="', 1)[1].split('"\n\n', 1)[0]
    oldest = {"numpy": numpy, "pandas": "2.3.1", "scikit-learn": "1.5.0"}
    patched = (
        f"from importlib import metadata; known = {oldest}; usual = metadata.version\n"
        "metadata.version = lambda name: known.get(name) or usual(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", patched + words])
    assert done.returncode == code


def test_no_python_is_said_in_one_line(project, tmp_path):
    stubs = tmp_path / "stubs"
    for name in ("python", "python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        stub(stubs, name, "exit 1")
    done = bash(SET_UP.format(project), tmp_path, f"{stubs}:/usr/bin:/bin")
    assert done.returncode != 0
    assert (
        done.stderr.strip()
        == "error: Python 3.11 or newer was not found: install it, or conda, and run this again"
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_can_be_run(script):
    assert subprocess.run(["bash", "-n", ROOT / script]).returncode == 0
    sourced = script in ("setup_env.sh", "download_common.sh")
    assert sourced or os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize(
    "words",
    [
        "--nonsense",
        "--models",
        "--processes 0",
        "--data_path",
        "--data_path --gpu",
        "--data_path ''",
        "--output_path ''",
        "--demo --paper_recipe",
        "--models --demo",
        "--models lenet alexnet",
        "--tasks",
        "--tasks subdiagnostics",
        "--demo --tasks T_Wave_Amplitude",
        "--simulate",
        "--simulate many",
        "--demo --simulate 100",
        "--epochs",
        "--epochs 0",
        "--paper_recipe --epochs 3",
    ],
)
def test_reproduce_results_refuses_what_it_does_not_know(words, tmp_path):
    done = bash(f'"{ROOT}/reproduce_results.sh" {words}', tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def reproduce(words, tmp_path, at_the_end=""):
    """reproduce_results.sh with a python that only takes notes: (what came of it, (script, its
    words) of every stage).

    `at_the_end`: what that python does after its note, in bash.
    """
    data, log = tmp_path / "data", tmp_path / "log"
    (data / "ptbxl_segmentations").mkdir(parents=True)
    (data / "ptbxl_database.csv").touch()
    notes = f"printf '%s\\t' \"$@\" >> {log}; echo >> {log}; {at_the_end}"
    stub(
        tmp_path / "stubs",
        "python",
        f'[[ "$*" != "-m torch.distributed.run "* ]] || while [[ $1 != code/* ]]; do shift; done; '
        f'case "$*" in *sys.executable*) echo "$0" ;; code/*) {notes} ;; esac',
    )
    done = bash(
        f'"{ROOT}/reproduce_results.sh" {words} --data_path {data} --output_path '
        f"{tmp_path / 'output'}",
        tmp_path,
        f"{tmp_path / 'stubs'}:/usr/bin:/bin",
    )
    return done, [
        (Path(line.split("\t")[0]).stem, line.split("\t")[1:-1])
        for line in log.read_text().splitlines()
    ]


@pytest.mark.parametrize(
    ("words", "runs", "amplitudes", "seeds"),
    [
        ("--demo", ["lenet_subdiagnostic"], 1, 1),
        (
            "--demo --models resnet xresnet --tasks form --gpu --amp",
            ["resnet_form", "xresnet_form"],
            1,
            1,
        ),
        (
            "",
            [
                "lenet_subdiagnostic",
                "lenet_superdiagnostic",
                "xresnet_subdiagnostic",
                "xresnet_superdiagnostic",
            ],
            3,
            2,
        ),
        ("--models lenet --tasks all rhythm", ["lenet_all", "lenet_rhythm"], 3, 2),
        ("--demo --processes 2", ["lenet_subdiagnostic"], 1, 1),
        ("--simulate 21837 --models lenet --tasks form", ["lenet_form"], 3, 2),
    ],
)
def test_reproduce_results_runs_every_stage_of_every_model_and_task(
    words, runs, amplitudes, seeds, tmp_path
):
    done, stages = reproduce(words, tmp_path)
    assert done.returncode == 0, done.stderr
    trained = {}
    for script, options in stages:
        args = importlib.import_module(script).get_args_parser().parse_args(options)
        assert ("--amp" in options) == ("--amp" in words and script == "train_model")
        assert ("--gpu" in options) == (
            "--gpu" in words and script not in ("simulate_ptbxl", "preprocessing", "report")
        )
        if script == "train_model":
            folder = "_".join(filter(None, [args.modelname, args.task, args.run_name]))
            trained[f"{args.output_path}/{folder}"] = args.seed
        elif script == "sanity_checks":  # reads what was trained before it, one run per seed
            assert len(args.amplitude_models) == amplitudes
            assert {*args.amplitude_models} <= {*trained}
            assert all(run.startswith(f"{args.model_path}_") for run in args.seeds)
            assert [trained[run] for run in [args.model_path, *args.seeds]] == list(
                range(seeds + 1)
            )
    explained = [
        "tcav_analysis",
        "lrp_analysis",
        "glocal_analysis",
        "counterfactuals",
        "sanity_checks",
        "discovery",
        "report",
    ]
    names = [
        script
        for script, _ in stages
        if script not in ("simulate_ptbxl", "preprocessing", "train_model")
    ]
    assert names == [
        name
        for run in runs
        for name in explained
        if name != "discovery" or run.split("_")[1] not in ("form", "rhythm")
    ]
    asked = [
        Path(options[options.index("--model_path") + 1]).name
        for script, options in stages
        if script == "report"
    ]
    assert asked == runs
    models = {run.split("_")[0] for run in runs}
    assert len(trained) == sum(script == "train_model" for script, _ in stages)
    assert len(trained) == len(runs) * (1 + seeds) + amplitudes * len(models)


def test_processes_share_what_explains_and_nothing_else(tmp_path):
    done, _ = reproduce("--demo --processes 3", tmp_path)
    lines = [line for line in done.stdout.splitlines() if line.startswith("$ ")]
    together = [line for line in lines if line.startswith("$ torchrun --nproc_per_node=3 code/")]
    assert len(together) == 5
    assert all("train_model" not in line and "tcav" not in line for line in together)
    assert done.stdout.count("Time per stage") == 1


def test_a_simulated_cohort_of_any_size_stands_in_for_ptbxl(tmp_path):
    _, stages = reproduce("--simulate 21837 --models lenet --tasks form", tmp_path)
    script, options = stages[0]
    assert script == "simulate_ptbxl"
    assert options[options.index("--n_records") + 1] == "21837"
    assert all(options[1] in others for _, others in stages[1:-1])  # the same folder


def test_the_whole_is_sized_to_end_in_a_night(tmp_path):
    """Two processes where there are two cores; checks of a deep network take fewer records."""
    done, stages = reproduce("", tmp_path)
    assert ("$ torchrun --nproc_per_node=2" in done.stdout) == (os.cpu_count() > 1)
    sizes = {
        options[options.index("--model_path") + 1].split("/")[-1].split("_")[0]: options
        for script, options in stages
        if script == "sanity_checks"
    }
    assert "--n_samples" not in sizes["lenet"]
    assert sizes["xresnet"][sizes["xresnet"].index("--n_samples") + 1] == "60"


def test_a_rehearsal_trains_every_network_for_as_many_epochs_as_are_asked_for(tmp_path):
    _, stages = reproduce("--epochs 3 --tasks form", tmp_path)
    trainings = [options for script, options in stages if script == "train_model"]
    assert len(trainings) == 2 * (1 + 2 + 3)
    assert all(options[options.index("--epochs") + 1] == "3" for options in trainings)


@pytest.mark.parametrize(
    ("at_glocal", "code"),
    [
        ("exit 3", 3),
        ("kill -INT $PPID; exit 130", 130),  # Ctrl-C reaches both, and a stage ends by itself
        ("kill -TERM $PPID; sleep 0.2", -15),
    ],
)
def test_the_times_are_listed_and_the_exit_code_is_kept_however_it_ends(at_glocal, code, tmp_path):
    done, stages = reproduce("--demo", tmp_path, f'case "$1" in code/glocal*) {at_glocal} ;; esac')
    assert done.returncode == code
    assert stages[-1][0] == "glocal_analysis"
    times = done.stdout.split("Time per stage\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[2] for line in times] == [script for script, _ in stages]
    assert [line.endswith("(not finished)") for line in times] == [False] * (len(times) - 1) + [
        True
    ]


def test_a_whole_run_ends_with_the_times_of_finished_stages(tmp_path):
    done, stages = reproduce("--demo", tmp_path)
    assert done.stdout.count("Time per stage") == 1
    times = done.stdout.split("Time per stage\n")[1].split("\n\n")[0].splitlines()
    assert len(times) == len(stages)
    assert "not finished" not in done.stdout


@pytest.mark.parametrize("task", ["subdiagnostic", "superdiagnostic", "diagnostic", "rhythm"])
def test_the_demo_ends_with_three_commands_that_need_a_model_alone(tmp_path, task):
    done, _ = reproduce(f"--demo --tasks {task}", tmp_path)
    commands = done.stdout.split("Worth trying next\n")[1].splitlines()
    assert len(commands) == 3
    for command in commands:
        script, *words = command.split()[1:]
        args = importlib.import_module(Path(script).stem).get_args_parser().parse_args(words)
        assert Path(args.model_path).name == f"lenet_{task}"
        assert {*(args.pathologies or ())} <= {*TASKS[task]}
        assert args.data_path is None
        assert args.output_path is None


def test_reproduce_results_explains_itself_from_anywhere(tmp_path):
    done = bash(f'"{ROOT}/reproduce_results.sh" --help', tmp_path)
    assert done.returncode == 0
    assert "--demo" in done.stdout


def test_one_list_of_packages_serves_both_ways_of_installing():
    lines = [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert all(line.count("==") == 1 for line in lines)
    assert lines[0].startswith("torch==")
    environment = (ROOT / "environment.yml").read_text()
    assert "name: xai4ecg" in environment
    assert "python=3.11" in environment
    assert "- -r requirements.txt" in environment
