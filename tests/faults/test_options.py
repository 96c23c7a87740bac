"""Values that no stage can mean are refused before anything runs; paths are taken as typed."""

import argparse
import errno
import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import counterfactuals
import discovery
import glocal_analysis
import import_model
import import_records
import lrp_analysis
import preprocessing
import report
import sanity_checks
import simulate_ptbxl
import tcav_analysis
import train_model
from common import faults
from common.cli import run, select_device, stage_parser
from common.files import UserError, write_text
from common.intervals import mean_intervals
from common.stage import Stage
from common.stats import patient_weights
from conftest import ROOT
from lrp_analysis import record_name
from mutations import attempt
from networks import checkpoints
from networks.checkpoints import load_checkpoint

WRONG = [
    (train_model, ["--seed", "-1"], "is not a seed"),
    (train_model, ["--seed", str(2**64)], "is not a seed"),
    (train_model, ["--lr", "1e38"], "up to 10"),
    (train_model, ["--lr", "nan"], "up to 10"),
    (train_model, ["--lr", "-1"], "up to 10"),
    (train_model, ["--crop_seconds", "0"], "up to 3600"),
    (train_model, ["--run_name", "../x"], "is no name of a folder"),
    (train_model, ["--run_name", ".."], "is no name of a folder"),
    (train_model, ["--epochs", "9" * 5000], "whole number above 0"),
    (train_model, ["--test_folds", "11"], "is not a fold"),
    (train_model, ["--n_bootstrap", "-5"], "whole number above 0"),
    (glocal_analysis, ["--folds", "11"], "is not a fold"),
    (glocal_analysis, ["--folds", "[9, 0]"], "is not a fold"),
    (discovery, ["--k", "1"], "from 2 on"),
    (discovery, ["--k_max", "1"], "from 2 on"),
    (simulate_ptbxl, ["--seed", "-1"], "is not a seed"),
    (preprocessing, ["--limit", "0"], "whole number above 0"),
    (glocal_analysis, ["--threads", "1000000000"], "from 1 to 1000"),
    (glocal_analysis, ["--dpi", "1000000000"], "from 20 to 1200"),
    (glocal_analysis, ["--dpi", "1"], "from 20 to 1200"),
]


@pytest.mark.parametrize(("stage", "words", "said"), WRONG)
def test_values_out_of_range_are_one_line(stage, words, said, capsys):
    with pytest.raises(SystemExit) as end:
        stage.get_args_parser().parse_args(words)
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert said in error
    assert error.count("\n") == 1
    assert len(error) < 300


@pytest.mark.parametrize("words", [["--data_path", ""], ["--output_path="], ["--seeds", "a", ""]])
def test_an_empty_value_is_not_the_folder_one_stands_in(words, capsys):
    """`--data_path "$DATA"` where nothing is in DATA."""
    with pytest.raises(SystemExit, match="2"):
        sanity_checks.get_args_parser().parse_args(words)
    option = words[0].removesuffix("=")
    assert capsys.readouterr().err.startswith(f"error: {option} is empty: give a value")


IMPORT = "--records a --output_path b --label_annotations atr"
# stage, words, of these the options that would change nothing, and a word of why
IDLE = [
    (tcav_analysis, "--apply c.npz --window windows --cav means", "--window, --cav", "stored"),
    (tcav_analysis, "--apply c.npz --layers conv1 --control 20", "--layers, --control", "stored"),
    (tcav_analysis, "--apply=c.npz --seed=0 --pathologies LVH", "--seed", "stored"),
    (tcav_analysis, "--seeds a", "--seeds", "add --control 20"),
    (train_model, "--test_only --model_path x --epochs 3", "--epochs", "nothing is trained"),
    (train_model, "--model_path a", "--model_path", "use --finetune"),
    (train_model, "--freeze", "--freeze", "name it with --finetune"),
    (train_model, "--gpu --device cpu", "--gpu", "--device says"),
    (lrp_analysis, "--record a --ecg_ids 3 --folds 9", "--ecg_ids, --folds", "one record"),
    (lrp_analysis, "--record_rate 500 --seeds a", "--record_rate, --seeds", "a data set has"),
    (lrp_analysis, "--signal_rate 500", "--record_rate", "a data set has"),
    (lrp_analysis, "--n_samples 5", "--n_samples", "--strategy best_n takes more"),
    (lrp_analysis, "--ecg_ids 3 --strategy all", "--strategy", "the ids choose"),
    (lrp_analysis, "--methods saliency --layer a", "--layer", "none of them"),
    (lrp_analysis, "--methods lrp ig --baseline zero --occlude windows", "--occlude", "none"),
    (lrp_analysis, "--methods saliency --open_ledger", "--open_ledger", "LRP alone"),
    (lrp_analysis, "--max_figures 0 --compare", "--compare", "nothing is drawn"),
    (glocal_analysis, "--cross_fit a b --folds 9 --control 2", "--folds, --control", "each test"),
    (glocal_analysis, "--strategy single_best --n_samples 9", "--n_samples", "best_n"),
    (sanity_checks, "--checks axioms --seeds a", "--seeds", "of the check seeds"),
    (sanity_checks, "--checks localisation --strict", "--strict", "of the check axioms"),
    (counterfactuals, "--ecg_ids 3 --folds 9", "--folds", "the ids choose"),
    (counterfactuals, "--max_figures 0 --layout column", "--layout", "no record is drawn"),
    (report, "--verify --gallery a", "--gallery", "nothing is written"),
    (import_records, f"--records {__file__} --output_path a --match J*", "--match", "of a folder"),
    (import_records, f"{IMPORT} --label_columns AF", "--label_columns", "annotations hold"),
    (import_model, "--original a --unit uV --labels AF", "--unit, --labels", "are known"),
    (import_model, "--onnx a --weights b", "--weights", "bring their weights"),
    (import_model, "--onnx a --folds 9", "--folds", "not measured"),
]


@pytest.mark.parametrize(("stage", "words", "idle", "why"), IDLE)
def test_options_that_would_change_nothing_are_refused(stage, words, idle, why):
    error = attempt(stage.main, stage.get_args_parser(), words.split())[1]
    assert error.startswith(f"error: {idle} would change nothing with")
    assert why in error


@pytest.mark.parametrize("stage", sorted(path.stem for path in (ROOT / "code").glob("*.py")))
def test_what_would_change_nothing_names_options_that_there_are(stage):
    if stage == "utils":
        return
    parser = importlib.import_module(stage).get_args_parser()
    known = {action.dest for action in parser._actions}
    for idle in parser._idle:
        assert idle.names - {"gpu", "device"} <= known


PATHS = ["my out/run", "a,b", "it's", "run[1", "run[2]", "R&D", "ä ö", "-x"[1:]]


@pytest.mark.parametrize("option", ["--seeds", "--amplitude_models"])
def test_lists_of_paths_are_taken_as_typed(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    for path in PATHS:
        os.makedirs(path)
    args = sanity_checks.get_args_parser().parse_args([option, *PATHS, "--n_samples", "3"])
    assert getattr(args, option[2:]) == PATHS
    args = sanity_checks.get_args_parser().parse_args([f"{option}=[one/a,", "two/b]"])
    assert getattr(args, option[2:]) == ["one/a", "two/b"]
    args = sanity_checks.get_args_parser().parse_args([option, "one/a,two/b"])
    assert getattr(args, option[2:]) == ["one/a", "two/b"]
    args = glocal_analysis.get_args_parser().parse_args(["--cross_fit", *PATHS])
    assert args.cross_fit == PATHS


def test_lists_of_names_are_still_typed_in_any_way():
    parser = glocal_analysis.get_args_parser()
    for words in (["[AMI,", "IMI]"], ["AMI", "IMI"], ["AMI,IMI"]):
        assert parser.parse_args(["--pathologies", *words]).pathologies == ["AMI", "IMI"]
    assert parser.parse_args(["--pathologies=[AMI,", "IMI]"]).pathologies == ["AMI", "IMI"]


def test_reproduce_results_hands_paths_over_whole():
    """bash 5.2 takes & in a replacement for what was replaced: no path is put together that way."""
    text = (ROOT / "reproduce_results.sh").read_text()
    assert "[@]/#/" not in text
    assert "[*]/" not in text


@pytest.mark.parametrize("device", ["mps", "cuda:77", "xpu", "meta"])
def test_a_device_that_is_not_there_is_said_to_be(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=f"the device {device} is not available here"):
        select_device(argparse.Namespace(device=device, gpu=False))


def test_training_takes_the_same_number_of_threads_everywhere(monkeypatch):
    before = torch.get_num_threads()
    args = argparse.Namespace(device=None, gpu=False, threads=None)
    try:
        monkeypatch.delenv("OMP_NUM_THREADS")
        select_device(args, train_model.THREADS)
        assert torch.get_num_threads() == 2
        select_device(argparse.Namespace(device=None, gpu=False, threads=1), train_model.THREADS)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("asked", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(asked, policy):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if asked:
        environment["OMP_WAIT_POLICY"] = asked
    said = subprocess.run(
        [sys.executable, "-c", "import utils, os; print(os.environ['OMP_WAIT_POLICY'])"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT / "code",
        env=environment,
    )
    assert said.stdout.strip() == policy


# ---------------------------------------------------------------- one patient, empty names


def test_one_patient_has_no_interval():
    values, patients = np.array([1.0, 2.0, 3.0]), np.array([7, 7, 7])
    weights = patient_weights(patients, 100, 0)
    drawn = (weights * values).sum(axis=1) / weights.sum(axis=1)
    assert np.isnan(drawn).all()
    assert np.isnan(mean_intervals(values, patients)).all()
    assert np.isfinite(patient_weights(np.array([1, 1, 2]), 10, 0)).all()


def test_a_record_in_another_alphabet_has_a_folder_of_its_own():
    names = [record_name(f"/data/{stem}.hea") for stem in ("心電図", "ЭКГ", "___", "a b")]
    assert all(names)
    assert len(set(names)) == 4
    assert names[3] == "a-b"


def test_what_was_deleted_by_hand_is_made_again(tmp_path, capsys):
    with Stage(tmp_path, "tcav", {}) as stage:
        write_text(tmp_path / "runs.csv", "1")
        stage.finish(outputs=[tmp_path / "runs.csv"])
    (tmp_path / "runs.csv").unlink()
    with Stage(tmp_path, "tcav", {}) as stage:
        assert not stage.finished_before()
        assert stage.resumed
    assert "runs.csv is not there any more: it is made again" in capsys.readouterr().out


# ---------------------------------------------------------------- the machine


@pytest.mark.parametrize("number", ["EIO", "ESTALE", "EXDEV", "EPERM", "EACCES", "ENOSPC", "EROFS"])
def test_every_fault_of_files_is_one_line(number):
    code = getattr(errno, number)

    def main(_):
        raise OSError(code, os.strerror(code), "/data/x.npz")

    error = attempt(main)[1]
    assert os.strerror(code) in error
    assert "/data/x.npz" in error


@pytest.mark.parametrize("number", ["EIO", "ESTALE", "EACCES", "EPERM"])
def test_a_checkpoint_on_a_disk_that_fails_is_not_called_unreadable(tmp_path, monkeypatch, number):
    (tmp_path / "best_model.ckpt").write_bytes(b"x")
    code = getattr(errno, number)

    def fail(path, *_):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(checkpoints.zipfile, "ZipFile", fail)
    line = attempt(lambda _: load_checkpoint(tmp_path / "best_model.ckpt"))[1]
    assert os.strerror(code) in line
    assert "not a readable checkpoint" not in line


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7.45 GiB for an array with shape (1000000000,)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8e9"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.45 GiB"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("could not create a primitive"),
        MemoryError(),
    ],
)
def test_too_little_memory_says_how_much_was_asked_and_what_to_lower(error):
    parser = stage_parser("x", "limit")
    parser.add_argument("--batch_size", type=int)

    def main(_):
        raise error

    line = attempt(main, parser)[1]
    assert line.startswith("error: too little memory: ")
    assert str(error)[:40] in line
    assert line.endswith("; lower --batch_size or --limit")


def test_other_errors_keep_their_traceback():
    assert faults.of_machine(RuntimeError("shapes do not fit")) is None


def test_a_current_folder_that_is_gone_is_said_to_be(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    line = attempt(lambda _: os.getcwd())[1]
    assert line == (
        "error: the folder that this was started in is not there any more: cd into one that is"
    )


def test_long_messages_are_cut_to_a_line():
    def main(_):
        raise UserError(f"{'9' * 5000} is no number\nsecond")

    line = attempt(main)[1]
    assert len(line) < 500
    assert "(5000 characters)" in line
    assert line.endswith("is no number second")


def _stage(words, **environment):
    return subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_a_pipe_that_nobody_reads_ends_quietly(tmp_path):
    stage = f"{sys.executable} code/simulate_ptbxl.py --n_records 3 --output_path '{tmp_path}/d'"
    done = _stage(["bash", "-c", f"set -o pipefail; {stage} | true"])
    assert done.stderr.count("Traceback") == 0, done.stderr
    assert "BrokenPipe" not in done.stderr


def test_closed_outputs_are_as_good_as_open_ones(monkeypatch):
    """`stage.py >&-`: Python then has no sys.stdout at all."""
    monkeypatch.setattr(sys, "argv", ["stage.py"])
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    run(lambda args: print("done"), stage_parser(""))
    with pytest.raises(SystemExit, match="2"):
        run(lambda args: glob_none(), stage_parser(""))


def glob_none():
    raise UserError("nothing there")


@pytest.mark.parametrize(
    "script", sorted({path.stem for path in (ROOT / "code").glob("*.py")} - {"utils"})
)
def test_a_python_that_does_not_look_beside_a_stage_finds_its_rooms(script):
    """-I leaves out the script's folder, as PYTHONSAFEPATH does, and every other variable."""
    done = _stage([sys.executable, "-I", f"code/{script}.py", "--help"])
    assert (done.returncode, done.stderr) == (0, "")


def test_a_users_matplotlib_does_not_matter(tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nbackend: nonsense\nfont.size: 40\n")
    words = (
        "import sys; sys.argv[0] = 'code/x.py'; sys.path.insert(0, 'code')\n"
        "from common.plotting import style; import matplotlib\n"
        "style(); print(matplotlib.rcParams['text.usetex'], matplotlib.get_backend().lower(),"
        " matplotlib.rcParams['font.size'])"
    )
    done = _stage(
        [sys.executable, "-c", words],
        MATPLOTLIBRC=str(tmp_path / "matplotlibrc"),
        MPLBACKEND="nonsense",
        HOME="/nowhere",
        MPLCONFIGDIR="",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "agg", "9.0"]
