"""Artefacts: atomic writing, safe reading, and the stage file that resumes, refuses and locks."""

import contextlib
import pickle

import numpy as np
import pytest

from common.files import (
    Stage,
    UserError,
    broken_link,
    read_npz,
    read_pickle,
    replacing,
    write_npz,
    write_pickle,
)


def test_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with contextlib.suppress(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array", [np.ones((2, 3, 4), np.float32), np.array([1, 2]), np.asfortranarray(np.eye(3))]
)
def test_array_pickles_of_every_protocol_are_read(tmp_path, array, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(array, protocol=protocol))
    assert np.array_equal(read_pickle(path), array)


class _Evil:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize("content", [_Evil(), [np.zeros(2), _Evil()], {"a": np.zeros(2)}])
def test_a_pickle_of_anything_else_runs_nothing(tmp_path, capsys, content):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"a\.pkl"):
        read_pickle(path)
    assert "ran" not in capsys.readouterr().out


def test_pickle_round_trip_and_truncation(tmp_path):
    path = tmp_path / "raw.pkl"
    array = np.random.default_rng(0).normal(size=(5, 100, 12)).astype(np.float32)
    write_pickle(path, array)
    assert np.array_equal(read_pickle(path), array)
    assert np.array_equal(np.load(path, allow_pickle=True), array)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="not a readable array pickle"):
        read_pickle(path)


def test_npz_bytes_depend_on_content_alone(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, x=np.arange(5), names=np.array(["I", "II"]))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert list(read_npz(tmp_path / "a.npz")["names"]) == ["I", "II"]


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
