"""The runner of all benchmarks: every script it names exists, and wrong names and failures are
said.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import run_all
from bench_stages import measure

FOLDER = Path(__file__).parent


def test_every_benchmark_named_is_a_script_that_knows_its_parts():
    for command in run_all.BENCHMARKS.values():
        script, *parts = command.split(" --")[0].split()
        text = (FOLDER / script).read_text()
        assert all(f'"{part}"' in text for part in parts), script


def test_the_machine_is_named_with_its_cores():
    assert " cores, Python 3." in run_all.machine()


def ended(monkeypatch, *words):
    """The exit code of run_all.py with these words, in this process."""
    monkeypatch.setattr(sys, "argv", ["run_all.py", *words])
    with pytest.raises(SystemExit) as end:
        run_all.main()
    return end.value.code


def test_an_unknown_name_is_refused_with_what_is_accepted(monkeypatch, capsys):
    assert ended(monkeypatch, "nonsense") == 2
    accepted = ", ".join(run_all.BENCHMARKS)
    assert f"unknown benchmark nonsense: accepted are {accepted}" in capsys.readouterr().err


def test_real_records_are_asked_for_before_anything_runs(monkeypatch, capsys):
    assert ended(monkeypatch, "records") == 2
    said = capsys.readouterr()
    assert "records: needs --ptbxl" in said.err
    assert said.out == ""


@pytest.fixture
def of_one_line(monkeypatch, tmp_path):
    """A benchmark that says one result, or fails where its word is `wrong`."""
    script = tmp_path / "bench_made.py"
    script.write_text(
        "import sys\n"
        "print('seconds: 3')\n"
        "print('result: test of a concept, 5 classes | 3, 7, 15 layers | seconds ~ layers^.9')\n"
        "sys.exit(sys.argv[1] == 'wrong')\n"
    )
    monkeypatch.setattr(run_all, "FOLDER", tmp_path)
    return script.name


def test_results_end_in_one_table(monkeypatch, capsys, of_one_line):
    monkeypatch.setattr(run_all, "BENCHMARKS", {"made": f"{of_one_line} layers --seeds 3"})
    monkeypatch.setattr(sys, "argv", ["run_all.py"])
    run_all.main()
    table = capsys.readouterr().out.split("|---|---|---|---|\n")[1]
    row = [cell.strip() for cell in table.splitlines()[0].strip("|").split("|")]
    assert row[:2] == ["test of a concept, 5 classes", "3, 7, 15 layers"]
    assert row[2:] == ["seconds ~ layers^.9", "bench_made.py layers"]


def test_a_failed_benchmark_fails_the_run(monkeypatch, capsys, of_one_line):
    monkeypatch.setattr(run_all, "BENCHMARKS", {"made": f"{of_one_line} wrong"})
    assert ended(monkeypatch) == "failed: made"
    assert "$ python tests/benchmarks/bench_made.py wrong" in capsys.readouterr().out


@pytest.mark.slow
def test_benchmarks_of_a_run_share_one_and_end_in_the_table(monkeypatch, capsys):
    monkeypatch.setattr(run_all, "N_RECORDS", 120)
    monkeypatch.setattr(
        run_all,
        "BENCHMARKS",
        {
            "glocal": run_all.BENCHMARKS["glocal"],
            "sanity": f"{run_all.BENCHMARKS['sanity']} --n_samples 8",
        },
    )
    made = []
    monkeypatch.setattr(
        run_all, "measure", lambda script, options: made.append(script) or measure(script, options)
    )
    monkeypatch.setattr(sys, "argv", ["run_all.py"])
    run_all.main()
    assert made == ["simulate_ptbxl", "preprocessing", *["train_model"] * 3]
    rows = capsys.readouterr().out.split("|---|---|---|---|\n")[1].splitlines()
    assert [row.split(" | ")[-1] for row in rows] == [
        "bench_glocal.py time |",
        "bench_sanity.py time |",
    ]
    assert rows[1].startswith("| sanity checks, 8 records | a bar of 10 min on 2 cores | ")


def test_a_failed_stage_is_named_with_what_it_said(tmp_path):
    with pytest.raises(
        SystemExit,
        match=r"preprocessing --data_path \S+: exit code 2\n(.*\n)*error: .*ptbxl_database.csv",
    ):
        measure("preprocessing", ["--data_path", tmp_path])
