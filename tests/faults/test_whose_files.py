"""Only what a stage has written itself is removed; locks and temporary files open nothing else."""

import os
import stat
import subprocess
import sys
import time

import pytest

from common import locks
from common.files import UserError, remove_leftovers, replacing, write_csv, write_text
from common.locks import HeldError, Lock
from common.stage import Stage, read_stage
from conftest import ROOT


def _written(stage, *names):
    for name in names:
        write_text(stage.folder / name, name)
    return [stage.folder / name for name in names]


def test_a_stage_removes_what_its_own_file_names_and_refuses_the_rest(tmp_path):
    with Stage(tmp_path, "local", {"n": 1}) as stage:
        stage.clear("*.png", "*.csv")
        stage.finish(outputs=_written(stage, "a.png", "cells.csv"))
    with Stage(tmp_path, "local", {"n": 2}, overwrite=True) as stage:
        stage.clear("*.png", "*.csv")
        assert not (tmp_path / "a.png").exists()
        stage.finish(outputs=_written(stage, "b.png"))
    (tmp_path / "mine.png").write_text("mine")
    before = (tmp_path / "local.json").read_bytes()
    with (
        pytest.raises(UserError, match=r"holds mine\.png, which this stage has not written"),
        Stage(tmp_path, "local", {"n": 3}, overwrite=True) as stage,
    ):
        stage.clear("*.png", "*.csv")
    assert (tmp_path / "mine.png").read_text() == "mine"
    assert (tmp_path / "b.png").exists()
    assert (tmp_path / "local.json").read_bytes() == before


def test_what_a_killed_run_wrote_is_known_to_the_next(tmp_path):
    """A process ends without a word between two files; the next run with other settings goes on."""
    words = (
        "import os, sys; sys.path.insert(0, 'code')\n"
        "from common.stage import Stage; from common.files import write_text\n"
        f"stage = Stage({str(tmp_path)!r}, 'local', {{}}).__enter__()\n"
        "write_text(stage.folder / 'a.png', 'a')\n"
        "os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", words], cwd=ROOT).returncode == 9
    with Stage(tmp_path, "local", {"other": 1}, overwrite=True) as stage:
        stage.clear("*.png")
        assert not (tmp_path / "a.png").exists()
        stage.finish(outputs=_written(stage, "b.png"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".local.lock",
        "b.png",
        "local.json",
    ]


def test_files_beside_the_outputs_are_named_too(tmp_path):
    with Stage(tmp_path, "train", {}) as stage:
        _written(stage, "log.jsonl", "deep/x.csv")
        stage.finish(outputs=[])
    assert set(read_stage(tmp_path / "train.json")["outputs"]) == {"deep/x.csv", "log.jsonl"}
    with Stage(tmp_path, "train", {"n": 1}, overwrite=True) as stage:
        stage.clear("*.jsonl", "deep/*")
    assert not (tmp_path / "log.jsonl").exists()


def test_nothing_is_removed_through_a_link(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.csv").write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / "maps").symlink_to(elsewhere)
    with (
        pytest.raises(UserError, match=r"maps/a\.csv"),
        Stage(run, "sanity", {}) as stage,
    ):
        stage.clear("maps/*")
    (run / "maps").unlink()
    (run / "b.csv").symlink_to(elsewhere / "a.csv")
    with pytest.raises(UserError, match=r"b\.csv"), Stage(run, "sanity", {}) as stage:
        stage.clear("*.csv")
    assert (elsewhere / "a.csv").read_text() == "mine"


# ---------------------------------------------------------------- locks


@pytest.mark.parametrize("make", ["link", "hard link", "pipe", "folder"])
def test_a_planted_lock_is_refused_and_its_target_kept(tmp_path, make):
    target, lock = tmp_path / "target", tmp_path / "run" / ".local.lock"
    target.write_text("precious")
    lock.parent.mkdir()
    {
        "link": lambda: lock.symlink_to(target),
        "hard link": lambda: os.link(target, lock),
        "pipe": lambda: os.mkfifo(lock),
        "folder": lock.mkdir,
    }[make]()
    with pytest.raises(UserError, match="no lock of this stage"), Stage(lock.parent, "local", {}):
        pass
    assert target.read_text() == "precious"


def test_another_machine_that_works_is_waited_for_and_one_that_is_gone_is_not(tmp_path):
    path = tmp_path / ".local.lock"
    path.write_text("0123abcd elsewhere 17\n")
    with pytest.raises(HeldError, match="on the machine elsewhere"):
        Lock(path).take()
    past = time.time() - locks.FORGOTTEN - 5
    path.write_text("0123abcd elsewhere 17\n")
    os.utime(path, (past, past))
    lock = Lock(path)
    lock.take()
    assert path.read_text().startswith(locks.HERE)
    lock.release()
    assert path.read_text() == ""


def test_a_lock_of_a_process_that_was_killed_here_is_taken_at_once(tmp_path):
    path = tmp_path / ".local.lock"
    path.write_text(f"{locks.HERE} here 17\n")
    lock = Lock(path)
    lock.take()
    lock.release()


def test_a_lock_that_was_removed_while_it_was_opened_holds_nobody_out(tmp_path, monkeypatch):
    """Its holder was refused, and left no trace: the next one would lock a file that is no more."""
    opened = Lock._opened

    def opened_and_removed(lock):
        file = opened(lock)
        lock.path.unlink()
        return file

    monkeypatch.setattr(Lock, "_opened", opened_and_removed)
    with pytest.raises(HeldError, match=r"has just left .* give the command again"):
        Lock(tmp_path / ".local.lock").take()


def test_a_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "RENEWED", 0.05)
    lock = Lock(tmp_path / ".local.lock")
    lock.take()
    os.utime(lock.path, (0, 0))
    time.sleep(0.5)
    assert time.time() - lock.path.stat().st_mtime < 5
    lock.release()


# ---------------------------------------------------------------- temporary files


def test_temporary_names_cannot_be_foreseen_and_are_not_opened_where_taken(tmp_path, monkeypatch):
    with replacing(tmp_path / "a.csv") as one, replacing(tmp_path / "a.csv") as other:
        assert one != other
        assert one.suffix == ".csv"
    target = tmp_path / "target"
    target.write_text("precious")
    planted = tmp_path / ".a.tmp.csv"
    planted.symlink_to(target)
    monkeypatch.setattr(locks, "temporary_name", lambda _path: planted)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "a.csv", "x")
    assert target.read_text() == "precious"


def test_written_files_have_the_usual_rights(tmp_path):
    old = os.umask(0o022)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_what_other_machines_are_writing_is_left_for_a_day(tmp_path):
    young, old = (tmp_path / f".a.0123abcd-17-{word}.tmp.csv" for word in ("aa", "bb"))
    for path in (young, old):
        path.write_text("1")
    os.utime(old, (0, 0))
    remove_leftovers(tmp_path)
    assert young.exists()
    assert not old.exists()


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    steps = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("fsync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *two: (steps.append("rename"), replace(*two)))
    import pandas as pd

    write_csv(tmp_path / "a.csv", pd.DataFrame({"x": [1]}))
    assert steps == ["fsync", "rename", "fsync"]
