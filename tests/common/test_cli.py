"""The shared command line: list syntax, aliases, one-line errors."""

import argparse

import pytest

from common.cli import check_names, fraction, stage_parser
from common.files import UserError


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


def test_check_names_says_what_is_accepted():
    with pytest.raises(UserError, match=r"unknown pathology XYZ: accepted are AMI, IMI"):
        check_names("pathology", ["AMI", "XYZ"], ["AMI", "IMI"])


def test_a_trailing_slash_makes_no_other_settings():
    first, second = (parser().parse_args(["--logdir", path]) for path in ("./output//", "output"))
    assert first == second


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data_pth", "x"], "did you mean --data_path?"),
        (["--folds", "1-8"], "'1-8' is not a list of whole numbers, as in 1 2 3"),
        (
            ["--pathologies=[AMI,", "IMI", "--folds", "9"],
            "a list is not closed by ]: --pathologies=[AMI, IMI --folds 9",
        ),
        (["--threads", "two"], "two is not a whole number above 0"),
    ],
)
def test_a_mistyped_option_is_told_what_would_be_right(words, said, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(words)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["nan", "1.5", "-0.1", "half"])
def test_a_fraction_lies_between_0_and_1(text):
    assert fraction("0.8") == 0.8
    with pytest.raises(argparse.ArgumentTypeError, match=rf"{text} is not between 0 and 1"):
        fraction(text)
