"""A run folder that was tampered with: links and pipes are neither followed nor waited for."""

import json
import os
import time

import pytest
import torch

import report
from common.files import UserError
from common.labels import LEADS, TASKS
from common.stage import Stage, read_stage
from mutations import attempt
from networks.checkpoints import ModelInfo, save_checkpoint
from networks.models import get_model
from reporting.page import figure
from reporting.run import broken_links

TASK = "superdiagnostic"


@pytest.fixture
def run(tmp_path):
    """A run folder with an untrained LeNet and one finished stage."""
    folder = tmp_path / "output" / f"lenet_{TASK}"
    folds = {"train": [1], "validation": [9], "test": [10]}
    info = ModelInfo("lenet", TASK, tuple(TASKS[TASK]), LEADS, 100, 2.5, folds, 0)
    torch.manual_seed(0)
    save_checkpoint(folder / "checkpoints" / "best_model.ckpt", get_model("lenet", 5), info)
    for name in ("glocal", "sanity", "tcav"):
        with Stage(folder / name, name, {}) as stage:
            stage.finish()
    return folder


def reported(run):
    """report.html; AssertionError where it is not written."""
    words = ["--model_path", run, "--output_path", run.parent]
    assert attempt(report.main, report.get_args_parser(), words)[1] is None
    return (run / "report.html").read_text()


def test_links_and_pipes_in_a_run_are_left_alone(run, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "groups_x.png").write_text("TOP SECRET")
    (secret / "metrics.json").write_text('{"secret": "TOP SECRET"}')
    (run / "glocal" / "groups_link.png").symlink_to(secret / "groups_x.png")
    (run / "metrics.json").symlink_to(secret / "metrics.json")
    (run / "discovery_x").symlink_to(secret)
    (run / "sanity" / "checks.csv").symlink_to("/etc/passwd")
    for name in ("glocal/groups_pipe.png", "tcav/summary.png", "tcav/runs.csv", "pipe.json"):
        os.mkfifo(run / name)
    began = time.perf_counter()
    text = reported(run)
    assert time.perf_counter() - began < 20
    assert "SECRET" not in text
    assert "root:" not in text


def test_a_picture_that_is_none_does_not_end_the_report(tmp_path):
    path = tmp_path / "groups_saliency.png"
    path.write_bytes(b"no picture")
    assert "groups_saliency.png is no readable picture" in figure(path, "caption")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("outputs", {"a\0b": "x"}),
        ("inputs", {"\ud800": "x"}),
        ("inputs", {"n" * 300: "x"}),
        ("outputs", {"n/" * 3000: "x"}),
        ("written", ["a\0b"]),
        ("settings", {"data_path": "a\0b"}),
        ("versions", 3),
    ],
)
def test_names_that_no_file_can_have_are_refused_in_one_line(run, key, value):
    path = run / "glocal" / "glocal.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=r"glocal.json is not what a stage writes"):
        read_stage(path)
    line = attempt(report.main, report.get_args_parser(), ["--model_path", run, "--verify"])[1]
    assert "glocal.json is not what a stage writes" in line


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"stage": ', "\ufeff{}"])
def test_a_stage_file_that_says_nothing_is_not_passed_over(run, content):
    """Its results are there: what they should be is no more known."""
    (run / "log.jsonl").write_text("{}\n")
    (run / "train.json").write_text(content)
    assert any("train.json: what the stage says" in line for line in broken_links(run))


def test_files_whose_names_are_not_utf8_are_spelled_out_on_the_page(run):
    (run / "local_x").mkdir()
    (run / "local_x" / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    (run / os.fsdecode(b"\xfe.json")).write_text('{"stage": "x"}')
    assert "the stage is not finished (\\udcfe.json)" in reported(run)
