"""The whole chain as a user runs it: ./reproduce_results.sh --demo, twice."""

import re
import subprocess

import pytest

from conftest import ROOT


@pytest.mark.slow
def test_the_demo_runs_and_a_second_run_finds_everything_done(tmp_path):
    words = [
        "bash",
        ROOT / "reproduce_results.sh",
        "--demo",
        "--data_path",
        tmp_path / "data",
        "--output_path",
        tmp_path / "output",
    ]
    first = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr
    run = tmp_path / "output" / "lenet_subdiagnostic"
    for name in (
        "metrics.json",
        "predictions.npz",
        "tcav/scores.csv",
        "local/cells.csv",
        "glocal/segments.csv",
        "glocal/scorecard.csv",
        "sanity/checks.csv",
        "discovery/table.csv",
        "counterfactual/counterfactuals.csv",
        "counterfactual/groups.csv",
        "report.html",
    ):
        assert (run / name).is_file(), name
    assert "agreement_seeds_cells" in (run / "sanity" / "checks.csv").read_text()
    commands = re.findall(r"^\$ python code/(\w+)\.py", first.stdout, re.MULTILINE)
    assert commands[:2] == ["simulate_ptbxl", "preprocessing"]
    assert commands[-1] == "report"
    assert "Time per stage" in first.stdout
    before = {path: path.read_bytes() for path in sorted(run.glob("**/*.csv"))}
    second = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert second.returncode == 0, second.stdout + second.stderr
    assert {path: path.read_bytes() for path in before} == before
