"""Sections of docs/results.md: steps run once and are noted, tables stand between their markers."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import result_tables
import results
import run_all

SCRIPTS = Path(results.ROOT / "code")


def test_every_section_has_its_steps_and_its_place_on_the_page():
    text = results.PAGE.read_text()
    for name, section in results.SECTIONS.items():
        assert set(section.steps) <= set(results.STEPS)
        assert results.replaced(text, name, ["new"]) != text
    used = {word for section in results.SECTIONS.values() for word in section.steps}
    assert all((SCRIPTS / step.command.split()[0]).is_file() for step in results.STEPS.values())
    assert {"tcav_real", "sanity_sim", "discovery_real", "cross_fit_real"} <= used


def test_every_section_of_the_page_names_a_command_that_is_there():
    """A number that nobody can print again is no result."""
    scripts = {path.name for path in results.ROOT.rglob("*.py") if ".venv" not in path.parts}
    scripts |= {path.name for path in results.ROOT.glob("*.sh")} | {"pytest"}
    for section in re.split(r"^#{2,3} ", results.PAGE.read_text(), flags=re.MULTILINE)[1:]:
        named = re.findall(r"([\w/]+\.(?:py|sh)|pytest)\b", section)
        assert any(Path(name).name in scripts for name in named), section.splitlines()[0]


def test_only_what_stands_between_the_markers_changes():
    page = "a\n<!-- results: x -->\nold | 1\n<!-- end -->\nb\n<!-- results: y -->\nq\n<!-- end -->"
    new = results.replaced(page, "x", ["| \\1 |", "two"])
    assert new == page.replace("old | 1", "| \\1 |\ntwo")
    with pytest.raises(ValueError, match="no one section"):
        results.replaced(page, "z", [])


def test_a_step_runs_once_is_noted_and_a_failed_one_ends_the_run(tmp_path, monkeypatch):
    steps = {
        "made": results.Step(
            "simulate_ptbxl.py --output_path {cohort} --n_records 3", "cohort/ptbxl_database.csv"
        ),
        "wrong": results.Step("preprocessing.py --data_path {real}", "real/x.json"),
    }
    monkeypatch.setattr(results, "STEPS", steps)
    results.run_step("made", tmp_path, None)
    [entry] = json.loads((tmp_path / "steps.json").read_text()).values()
    assert set(entry) == {"commit", "date", "seconds"}
    log = (tmp_path / "made.log").stat().st_mtime_ns
    results.run_step("made", tmp_path, None)
    assert (tmp_path / "made.log").stat().st_mtime_ns == log
    assert results.ran(tmp_path, ["made"]) == f"{entry['date']}, commit {entry['commit']}"
    with pytest.raises(SystemExit, match="wrong failed, exit code 2: see"):
        results.run_step("wrong", tmp_path, None)


@pytest.mark.parametrize("words", [["nonsense"], ["discovery"]])
def test_a_wrong_section_or_no_records_are_refused(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--results", *words])
    with pytest.raises(SystemExit) as ended:
        run_all.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert ("accepted are tcav" in said) or ("--results needs --ptbxl" in said)


def test_a_ledgers_shares_are_held_against_the_logit():
    ledger = np.array([[3.5, 2.5, 1.0, 0.0, 0.0], [-2.0, -3.0, 0.5, 0.25, 0.25]])
    words = "ledger closes to 0.0e+00 logit; biases keep .75 logit (median)"
    assert result_tables.closing(ledger) == words
    assert "closes to 1.0e+00 logit" in result_tables.closing(ledger + [[1, 0, 0, 0, 0]] * 2)


def test_numbers_are_written_short_and_a_missing_interval_is_left_out():
    assert result_tables.number(0.731) == ".73"
    assert result_tables.number(-0.05) == "-.05"
    assert result_tables.number(1.304) == "1.30"
    assert result_tables.number(float("nan")) == "–"
    row = {"value": 0.5, "low": float("nan"), "high": float("nan")}
    assert result_tables.interval(row) == ".50"
    assert result_tables.interval({**row, "low": 0.4, "high": 0.6}) == ".50 [.40, .60]"
