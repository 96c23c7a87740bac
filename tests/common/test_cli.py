"""The shared command line: list syntax, aliases, one-line errors."""

import argparse
import importlib
import re
import subprocess
import sys

import pytest

from common.cli import (
    check_names,
    say_left_out,
    say_results,
    select_device,
    stage_parser,
    whole_names,
)
from common.files import UserError
from common.options import EXPLAINING, fraction
from conftest import ROOT

STAGES = sorted(path.stem for path in (ROOT / "code").glob("*.py") if path.stem != "utils")


def parser():
    made = stage_parser(
        "doc", "data_path", "model_path", "output_path", "modelname", "folds", "threads"
    )
    made.add_list_argument("--pathologies", default=None)
    return made


@pytest.mark.parametrize(
    "words",
    [
        ["--pathologies=[AMI,", "IMI]"],
        ["--pathologies", "[AMI,", "IMI]"],
        ["--pathologies=[AMI,IMI]"],
        ["--pathologies", "AMI", "IMI"],
        ["--pathologies", "AMI,IMI"],
        ["--pathologies=AMI,IMI"],
        ["--pathologies=['AMI',", "'IMI']"],
    ],
)
def test_every_spelling_of_a_list_means_the_same(words):
    args = parser().parse_args([*words, "--folds", "9", "10"])
    assert args.pathologies == ["AMI", "IMI"]
    assert args.folds == [9, 10]


def test_both_names_of_an_option_work():
    args = parser().parse_args(
        ["--model_checkpoint_path=a.ckpt", "--logdir", "out", "--modeltype=lenet"]
    )
    assert (args.model_path, args.output_path, args.modelname) == ("a.ckpt", "out", "lenet")


@pytest.mark.parametrize("words", [["--nonsense"], ["--folds", "ten"], ["--pathologies=[]"]])
def test_a_wrong_option_is_one_line_and_code_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_names_that_hold_blanks_are_put_together_where_they_are_known():
    known = ["thick wall (echo)", "thick", "EF < 40 %", "died"]
    words = ["thick", "wall", "(echo)", "EF", "<", "40", "%", "thick", "died"]
    # a word that is a name by itself stays one
    assert whole_names(words, known[:1] + known[2:])[:2] == ["thick wall (echo)", "EF < 40 %"]
    assert whole_names(["EF", "<", "40", "%", "died"], known) == ["EF < 40 %", "died"]
    assert whole_names(["AMI", "IMI"], known) == ["AMI", "IMI"]
    assert check_names("pathology", ["EF", "<", "40", "%"], known) == ["EF < 40 %"]


def test_check_names_says_what_is_accepted():
    with pytest.raises(UserError, match=r"unknown pathology XYZ: accepted are AMI, IMI"):
        check_names("pathology", ["AMI", "XYZ"], ["AMI", "IMI"])


def test_a_device_that_holds_no_numbers_is_not_available():
    with pytest.raises(UserError, match="the device meta is not available here"):
        select_device(argparse.Namespace(device="meta", gpu=False))


def test_a_trailing_slash_makes_no_other_settings():
    first, second = (parser().parse_args(["--logdir", path]) for path in ("./output//", "output"))
    assert first == second


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data_pth", "x"], "did you mean --data_path?"),
        (["--folds", "1-8"], "1-8 is not a fold: a whole number from 1 to 10"),
        (
            ["--pathologies=[AMI,", "IMI", "--folds", "9"],
            "a list is not closed by ]: --pathologies=[AMI, IMI --folds 9",
        ),
        (["--threads", "two"], "two is not a number of threads from 1 to 1000"),
    ],
)
def test_a_mistyped_option_is_told_what_would_be_right(words, said, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(words)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["nan", "1.5", "-0.1", "half"])
def test_a_fraction_lies_between_0_and_1(text):
    assert fraction("0.8") == 0.8
    with pytest.raises(argparse.ArgumentTypeError, match=rf"{text} is not a number from 0 up to 1"):
        fraction(text)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("--model", "--model_path"), ("--data", "--data_path"), ("--pathologie", "--pathologies")],
)
def test_a_mistyped_option_is_told_what_was_meant(wrong, meant, capsys):
    parser = stage_parser("x", "data_path", "model_path", "modelname")
    parser.add_list_argument("--pathologies")
    with pytest.raises(SystemExit):
        parser.parse_args([wrong, "x"])
    assert f"did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_tells_the_paths_that_were_meant_and_never_help(stage, capsys):
    parser = importlib.import_module(stage).get_args_parser()
    for action in parser._actions:
        action.required = False
    for wrong in ("--model", "--data", "--output", "--epoch"):
        with pytest.raises(SystemExit):
            parser.parse_args([wrong, "x"])
        said, meant = capsys.readouterr().err, f"{wrong}_path"
        assert f"unrecognized arguments: {wrong} x" in said
        assert "--help?" not in said
        if meant in parser._option_string_actions:
            assert f"did you mean {meant}?" in said


def test_a_name_in_another_case_is_told_the_right_one():
    with pytest.raises(UserError, match=r"unknown label ami: .*did you mean AMI\?"):
        check_names("label", ["ami"], ["AMI", "IMI"])


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("--protocol", "window"),
        ("--selection", "strategy"),
        ("--n_fits", "n_runs"),
        ("--finetuning", "finetune"),
        ("--addon_dir", "addons"),
        ("--data_dir", "data_path"),
        ("--checkpoint_path", "model_path"),
        ("--signal_rate", "record_rate"),
        ("--record_rate", "signal_rate"),
    ],
)
def test_older_spellings_are_accepted_and_not_shown(older, newer):
    parser = stage_parser("x", "data_path", "model_path")
    group = parser.add_argument_group("more")
    if newer not in ("data_path", "model_path"):
        group.add_argument(f"--{newer}", help="x")
    for words in ([older, "7"], [f"{older}=7"]):
        assert getattr(parser.parse_args(words), newer) == "7"
    assert older not in parser.format_help()


def test_an_option_that_has_no_counterpart_is_explained(capsys):
    with pytest.raises(SystemExit):
        stage_parser("x", "data_path").parse_args(["--feature_dir", "x"])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "unig_features.csv" in said


@pytest.mark.parametrize("stage", STAGES)
def test_every_option_has_a_text_and_shows_its_default(stage):
    parser = importlib.import_module(stage).get_args_parser()
    for action in parser._actions:
        assert action.help, action.option_strings
        text = parser._get_formatter()._get_help_string(action)
        takes_a_value = action.nargs != 0 and not action.required
        assert "default" in text or not takes_a_value, action.option_strings


def test_equal_reasons_are_one_line(capsys):
    say_left_out({"A": "no record", "B": "no record", "C": "other"})
    assert capsys.readouterr().out == "left out: A, B (no record); C (other)\n"


def test_a_stage_ends_with_its_folder_three_files_and_how_many_more(tmp_path, capsys):
    files = [tmp_path / f"{name}.csv" for name in "abcde"]
    first = {"d.csv": "the fourth", "b*": "the second", "none": "not there", "[bde].*": "x"}
    say_results(tmp_path, files, first)
    assert capsys.readouterr().out.splitlines() == [
        f"results are in {tmp_path}; open first:",
        f"  {tmp_path / 'd'}.csv: the fourth",
        f"  {tmp_path / 'b'}.csv: the second",
        f"  {tmp_path / 'e'}.csv: x",
        "  and 2 more files",
    ]


VOCABULARY = {
    "tcav_analysis": {"--window", "--pathologies", "--folds"},
    "lrp_analysis": {"--window", "--strategy", "--methods", "--pathologies", "--folds"},
    "glocal_analysis": {"--window", "--strategy", "--methods", "--pathologies", "--folds"},
    "sanity_checks": {"--methods", "--pathologies", "--folds"},
    "discovery": {"--methods", "--pathologies", "--folds"},
    "counterfactuals": {"--window", "--strategy", "--pathologies", "--folds"},
}
OLDER = {"--protocol", "--selection", "--preset", "--method", "--n_fits", "--data_dir"}


@pytest.mark.parametrize("stage", VOCABULARY)
def test_one_vocabulary_in_all_stages_and_no_older_word_is_shown(stage):
    parser = importlib.import_module(stage).get_args_parser()
    assert set(parser._option_string_actions) >= VOCABULARY[stage]
    shown = set(re.findall(r"--\w+", parser.format_help()))
    assert shown >= VOCABULARY[stage]
    assert not shown & OLDER


# stages whose work, with its last words, is a module that is loaded when all is checked
STUDIES = {
    "tcav_analysis": "tcav/study",
    "glocal_analysis": "glocal/study",
    "counterfactuals": "counterfactual/study",
    "sanity_checks": "sanity/study",
    "discovery": "subgroups/study",
}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_ends_in_the_same_words(stage):
    file = STUDIES.get(stage, stage)
    source = (ROOT / "code" / f"{file}.py").read_text(encoding="utf-8")
    assert "say_results(" in source
    assert 'print(f"left out' not in source


@pytest.mark.parametrize(
    ("words", "bare"),
    [
        (["--model_path", "run", "--threads", "1"], True),
        (["--checkpoint_path=run"], True),
        (["--model_path", "run", "--seed", "1"], False),
    ],
)
def test_a_command_is_bare_that_says_only_where_things_lie(words, bare):
    parser = stage_parser("Words.", *EXPLAINING)
    assert parser.parse_args(words).bare is bare


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_without_its_packages_says_so_in_one_line(stage):
    # -S: without the folder of installed packages
    command = [sys.executable, "-S", str(ROOT / "code" / f"{stage}.py"), "--help"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {sys.executable} has no torch, numpy, ")


def test_what_all_stages_have_stands_last_in_the_help():
    parser = stage_parser("Words.", *EXPLAINING)
    parser.add_argument("--own", help="of this stage")
    shown = parser.format_help().partition("options:")[2]
    texts = ("--own", "where things are:", "--run_name", "how it runs:", "--threads")
    places = [shown.index(text) for text in texts]
    assert places == sorted(places)


def test_a_process_may_run_many_commands():
    """What `run` changes of others' modules it changes once: calls do not lie in each other."""
    lines = """
import sys
sys.path.insert(0, "code")
from tqdm import tqdm
from common.cli import run, stage_parser
for _ in range(1200):
    run(lambda args: list(tqdm(range(2), disable=True)), stage_parser("doc"))
"""
    command = [sys.executable, "-c", lines]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-500:]


def test_a_log_is_not_filled_with_progress():
    lines = """
import sys, time
sys.path.insert(0, "code")
from tqdm import tqdm
from common.cli import run, stage_parser
run(lambda args: [time.sleep(0.02) for _ in tqdm(range(40), desc="bar")], stage_parser("doc"))
"""
    command = [sys.executable, "-c", lines]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert ended.stderr.count("bar:") == 2  # its beginning and its end
