"""What watching says of a command whose time and memory are known."""

import subprocess
import sys

import pandas as pd

from conftest import ROOT

WATCH = ROOT / "tests/benchmarks/watch_stages.py"
# 1.5 s of processor time with 200 MB, in a process below the one that is watched
STAGE = """
import time
kept = bytearray(200_000_000)
end = time.process_time() + 1.5
while time.process_time() < end:
    pass
"""


def watch(folder, *command):
    words = [sys.executable, str(WATCH), "--table", str(folder / "hours.csv"), *command]
    return subprocess.run(words, capture_output=True, text=True, cwd=folder)


def test_seconds_and_memory_of_each_stage_are_those_that_it_took(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/busy.py").write_text(STAGE)
    lines = f"{sys.executable} code/busy.py --n 1; {sys.executable} -c 'print(7)'; exit 3"
    done = watch(tmp_path, "bash", "-c", lines)
    assert done.returncode == 3  # the command's own
    assert done.stdout.startswith("7")
    [row] = pd.read_csv(tmp_path / "hours.csv").itertuples()  # what is no stage is not listed
    assert row.stage == "busy --n 1"
    assert 1 <= row.processor_s <= 2
    assert 0.2 <= row.own_gb < 0.3
    assert "of processor; peak 0.2" in done.stdout


def test_a_command_is_needed(tmp_path):
    done = watch(tmp_path)
    assert done.returncode == 2
    assert "name the command" in done.stderr
