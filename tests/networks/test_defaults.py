"""What a stage takes from its checkpoint: data set, folder, labels; another data set is said."""

import argparse
import os
import shutil
from pathlib import Path

import pytest

from common import figure_files
from common.files import UserError, read_csv, write_csv
from common.labels import LEADS, TASKS
from networks.checkpoints import ModelInfo, load_checkpoint, save_checkpoint
from networks.defaults import choose_pathologies, dataset_note, default_pathologies, settle
from networks.models import get_model
from records.dataset import TABLE
from tiny_dataset import write_tiny_dataset

TASK = "superdiagnostic"


@pytest.fixture
def run(tmp_path):
    """A run folder whose checkpoint was trained on the data set in `data`, both under tmp_path."""
    (tmp_path / "data").mkdir()
    write_tiny_dataset(tmp_path / "data")
    folder = tmp_path / "output" / "lenet_superdiagnostic"
    note = dataset_note(tmp_path / "data", 100, folder / "checkpoints")
    info = ModelInfo(
        "lenet", TASK, tuple(TASKS[TASK]), LEADS, 100, 2.5, {"test": [10]}, 0, dataset=note
    )
    save_checkpoint(folder / "checkpoints" / "best_model.ckpt", get_model("lenet", 5), info)
    yield folder
    figure_files.set_up_figures()


def settled(run, **options):
    args = argparse.Namespace(**{"data_path": None, "output_path": None, **options})
    return args, settle(args, load_checkpoint(run)[1], run)


def test_data_and_folder_come_from_the_checkpoint_in_any_directory(run, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    args, place = settled(run)
    assert Path(args.data_path).resolve() == tmp_path / "data"
    assert place.run == run
    assert "note" not in place.facts["data_set"]


def test_a_tree_that_is_moved_as_a_whole_still_knows_its_data(run, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("data", "output"):
        shutil.move(tmp_path / name, moved / name)
    args, place = settled(moved / "output" / run.name)
    assert Path(args.data_path).resolve() == moved / "data"
    assert place.run == moved / "output" / run.name


@pytest.mark.parametrize("spelling", ["data/../data", "link", "copy"])
def test_the_same_content_is_the_same_data_set(run, tmp_path, spelling, capsys):
    os.symlink(tmp_path / "data", tmp_path / "link")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    _, place = settled(run, data_path=str(tmp_path / spelling))
    assert "note" not in place.facts["data_set"]
    assert capsys.readouterr().out == ""


def test_another_data_set_is_named_in_one_line_beside_the_models_own(run, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    write_tiny_dataset(tmp_path / "other", seed=1)
    (tmp_path / "other" / "planted_causes.csv").touch()
    args, place = settled(run, data_path=str(tmp_path / "other"))
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert str(tmp_path / "other") in said
    assert "simulated" in said
    assert "trained on data" in said
    assert place.facts["data_set"]["note"] in said
    assert place.facts["data_set"]["note"] == figure_files._FOOT.note
    assert args.data_path == str(tmp_path / "other")


def test_a_data_set_that_was_changed_is_not_called_another(run, tmp_path, capsys):
    table = read_csv(tmp_path / "data" / TABLE)
    write_csv(tmp_path / "data" / TABLE, table.assign(new=1))
    settled(run)
    assert "has changed since the model was trained on it" in capsys.readouterr().out


def test_data_that_are_gone_are_said_with_the_remedy(run, tmp_path):
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(UserError, match="name a data set with --data_path"):
        settled(run)


def test_a_checkpoint_of_before_says_nothing_of_its_data(run):
    content, info = load_checkpoint(run)
    assert info.dataset["name"] == "data"
    del content["info"]["dataset"]
    import torch

    torch.save(content, run / "checkpoints" / "best_model.ckpt")
    args, _ = settled(run)
    assert args.data_path == "data/ptbxl"


@pytest.mark.parametrize(
    ("labels", "chosen"),
    [
        (TASKS["subdiagnostic"], ["NORM", "LVH", "CLBBB", "IMI", "AMI"]),
        (["AMI", "IMI", "XYZ"], ["IMI", "AMI"]),
        (TASKS["superdiagnostic"], TASKS["superdiagnostic"]),  # NORM alone is the control
        (["a", "b"], ["a", "b"]),
    ],
)
def test_pathologies_are_the_papers_where_two_are_known_else_all(labels, chosen):
    assert default_pathologies(labels) == list(chosen)


def test_pathologies_that_are_left_out_are_named(run, capsys):
    info = load_checkpoint(run)[1]
    assert choose_pathologies(None, info) == list(info.labels)
    assert capsys.readouterr().out == ""
    other = ModelInfo("lenet", TASK, ("AMI", "IMI", "ISCA"), LEADS, 100, 2.5, {}, 0)
    assert choose_pathologies(None, other) == ["IMI", "AMI"]
    assert "left out: ISCA" in capsys.readouterr().out
    assert choose_pathologies(["ISCA", "ISCA"], other) == ["ISCA"]
