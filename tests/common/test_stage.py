"""The stage file resumes, refuses and locks, and knows the folder a data set was made from."""

import os
import sys

import pytest

from attribution.cards import planted_path
from common.files import UserError
from common.stage import Stage, broken_link, command, data_folders, source_folder
from records.segmentations import segmentation_folders


@pytest.fixture
def made(tmp_path):
    """A data set in `made`, preprocessed from the simulated cohort in `raw/cohort`; its folder."""
    source, folder = tmp_path / "raw" / "cohort", tmp_path / "made"
    (source / "ptbxl_segmentations").mkdir(parents=True)
    (source / "planted_causes.csv").touch()
    with Stage(folder, "preprocessing", {"data_path": os.path.relpath(source, folder)}) as stage:
        stage.finish()
    return folder


@pytest.mark.parametrize("spelling", ["absolute", "relative", "from inside"])
def test_the_source_of_a_data_set_is_found_from_any_directory(made, spelling, monkeypatch):
    monkeypatch.chdir(made if spelling == "from inside" else made.parent)
    path = {"absolute": made, "relative": "made", "from inside": "."}[spelling]
    cohort = made.parent / "raw" / "cohort"
    assert source_folder(path).resolve() == cohort
    assert planted_path(path).resolve() == cohort / "planted_causes.csv"
    assert [folder.resolve() for folder in segmentation_folders(path)] == [
        cohort / "ptbxl_segmentations"
    ]


def test_a_data_set_that_was_made_in_place_has_one_folder(tmp_path):
    assert source_folder(tmp_path) is None
    assert data_folders(tmp_path) == [tmp_path]
    with Stage(tmp_path, "preprocessing", {"data_path": "."}) as stage:
        stage.finish()
    assert data_folders(tmp_path) == [tmp_path]


def test_stage_finishes_resumes_and_refuses_other_settings(tmp_path):
    with Stage(tmp_path, "tcav", {"seed": 0}) as stage:
        assert not stage.finished
        assert not stage.resumed
    with Stage(tmp_path, "tcav", {"seed": 0}) as stage:
        assert stage.resumed
        stage.finish(counts={"n": 3})
    with Stage(tmp_path, "tcav", {"seed": 0}) as stage:
        assert stage.finished
    with (
        pytest.raises(UserError, match=r"seed: 0 there, 1 here.*--overwrite"),
        Stage(tmp_path, "tcav", {"seed": 1}),
    ):
        pass
    with Stage(tmp_path, "tcav", {"seed": 1}, overwrite=True) as stage:
        assert not stage.finished


def test_a_second_process_is_refused(tmp_path):
    with (
        Stage(tmp_path, "tcav", {}),
        pytest.raises(UserError, match="another process"),
        Stage(tmp_path, "tcav", {}),
    ):
        pass


def test_the_first_broken_link_is_named(tmp_path):
    made_from, made = tmp_path / "in.csv", tmp_path / "run" / "out.csv"
    made_from.write_text("1")
    with Stage(tmp_path / "run", "tcav", {}) as stage:
        made.write_text("2")
        assert "not finished" in broken_link(stage.path)
        stage.finish(inputs=[made_from], outputs=[made])
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("in.csv", "run"):
        (tmp_path / name).rename(moved / name)
    assert broken_link(moved / "run" / "tcav.json") is None
    (moved / "run" / "out.csv").write_text("3")
    assert "out.csv has changed" in broken_link(moved / "run" / "tcav.json")
    (moved / "in.csv").unlink()
    assert "out.csv has changed" in broken_link(
        moved / "run" / "tcav.json"
    )  # worse than what is missing
    (moved / "run" / "out.csv").unlink()
    assert "in.csv is missing" in broken_link(moved / "run" / "tcav.json")


def test_a_stage_that_stops_at_its_checks_leaves_the_stage_file_as_it_was(tmp_path):
    with Stage(tmp_path, "tcav", {"seed": 0}) as stage:
        stage.withdraw()
    assert not (tmp_path / "tcav.json").exists()
    with Stage(tmp_path, "tcav", {"seed": 0}) as stage:
        stage.finish(counts={"n": 3})
    before = (tmp_path / "tcav.json").read_text()
    with Stage(tmp_path, "tcav", {"seed": 1}, overwrite=True) as stage:
        stage.withdraw()
    assert (tmp_path / "tcav.json").read_text() == before


def test_a_folder_under_a_file_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").touch()
    stage = Stage(tmp_path / "file" / "run", "x", {})
    with pytest.raises(UserError, match=r"cannot be made: part of this path is a file"), stage:
        pass


def test_a_bare_command_takes_what_is_finished_there_whatever_its_settings(tmp_path, capsys):
    """What the demo made is what `--model_path` alone shows: its sizes are not the defaults."""
    subject = {"checkpoint": "a", "data": "b"}
    with Stage(tmp_path, "tcav", {**subject, "n_runs": 10}) as stage:
        stage.finish()
    with Stage(tmp_path, "tcav", {**subject, "n_runs": 30}, bare=True) as stage:
        assert stage.finished_before()
    assert "settings of the run there, not today's defaults: n_runs" in capsys.readouterr().out
    for settings, bare in [
        ({**subject, "n_runs": 30}, False),
        ({**subject, "n_runs": 30, "checkpoint": "c"}, True),
        ({**subject, "n_runs": 30, "data": "c"}, True),
    ]:
        with (
            pytest.raises(UserError, match="other settings"),
            Stage(tmp_path, "tcav", settings, bare=bare),
        ):
            pass


def test_a_bare_command_does_not_make_again_what_other_settings_made(tmp_path):
    """It would compute by today's defaults and note the settings of the run that was there."""
    subject = {"checkpoint": "a", "data": "b"}
    with Stage(tmp_path, "tcav", {**subject, "n_runs": 10}) as stage:
        (tmp_path / "runs.csv").write_text("1")
        stage.finish(outputs=[tmp_path / "runs.csv"])
    (tmp_path / "runs.csv").unlink()
    with (
        pytest.raises(
            UserError, match=r"runs\.csv is not there any more.*to be given again: python"
        ),
        Stage(tmp_path, "tcav", {**subject, "n_runs": 30}, bare=True),
    ):
        pass
    with Stage(tmp_path, "tcav", {**subject, "n_runs": 10}, bare=True) as stage:
        assert stage.resumed


def test_what_is_refused_before_anything_is_written_leaves_no_trace(tmp_path):
    with (
        pytest.raises(UserError, match="too few"),
        Stage(tmp_path / "run" / "new", "discovery", {}),
    ):
        raise UserError("too few records")
    assert not any(tmp_path.iterdir())


def test_folders_that_were_there_or_hold_other_files_outlive_what_was_refused(tmp_path):
    def refuse(folder, *others):
        with Stage(folder, "discovery", {}):
            for name in others:
                (folder / name).touch()
            raise UserError("too few records")

    (tmp_path / "own").mkdir()
    for folder, others in (("own", ()), ("new", ("notes.txt",))):
        with pytest.raises(UserError, match="too few"):
            refuse(tmp_path / folder, *others)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert found == ["new", "new/notes.txt", "own"]


def test_an_option_newer_than_the_run_and_not_used_is_no_other_setting(tmp_path):
    with Stage(tmp_path, "x", {"k": 3}) as stage:
        stage.finish()
    with Stage(tmp_path, "x", {"k": 3, "dry": False, "names": None}) as stage:
        assert stage.finished_before()
    with pytest.raises(UserError, match="dry: None there, True here"):
        Stage(tmp_path, "x", {"k": 3, "dry": True}).__enter__()


@pytest.mark.parametrize(
    ("called", "inside", "script"),
    [
        ("code/report.py", "", "code/train_model.py"),
        ("/x/code/report.py", "", "/x/code/train_model.py"),
        ("report.py", "code", "train_model.py"),
        ("/usr/bin/pytest", "", "code/train_model.py"),
    ],
)
def test_a_command_names_scripts_as_the_one_that_runs_was_called(
    called, inside, script, tmp_path, monkeypatch
):
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path / inside)
    monkeypatch.setattr(sys, "argv", [called])
    assert command("train_model", task="a b") == f"python {script} --task 'a b'"
