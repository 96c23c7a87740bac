"""The shared command line: list syntax, aliases, one-line errors."""

import pytest

from artefacts import UserError
from cli import check_names, stage_parser


def parser():
    made = stage_parser("doc", "model_path", "output_path", "modelname", "folds")
    made.add_list_argument("--pathologies", default=None)
    return made


@pytest.mark.parametrize("words", [
    ["--pathologies=[AMI,", "IMI]"], ["--pathologies", "[AMI,", "IMI]"], ["--pathologies=[AMI,IMI]"],
    ["--pathologies", "AMI", "IMI"], ["--pathologies", "AMI,IMI"], ["--pathologies=AMI,IMI"], ["--pathologies=['AMI',", "'IMI']"],
])
def test_every_spelling_of_a_list_means_the_same(words):
    args = parser().parse_args([*words, "--folds", "9", "10"])
    assert args.pathologies == ["AMI", "IMI"]
    assert args.folds == [9, 10]


def test_both_names_of_an_option_work():
    args = parser().parse_args(["--model_checkpoint_path=a.ckpt", "--logdir", "out", "--modeltype=lenet"])
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
