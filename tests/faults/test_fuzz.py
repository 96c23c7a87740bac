"""Thousands of mutated headers, tables and run files: each is read as what it says, or refused in
one line with exit code 2. A traceback fails the test.

    pytest -m slow tests/faults/test_fuzz.py     XAI4ECG_FUZZ sets how many of each (2,000)
"""

import json
import os

import numpy as np
import pandas as pd
import pytest

import preprocessing
import report
from common.stage import Stage
from mutations import BYTES, TABLE, TEXT, attempt, odd_value
from records.readers import read_recording
from records.wfdb_files import read_records, refuse
from tiny_ptbxl import ecg_like, file_name, write_dataset

MANY = int(os.environ.get("XAI4ECG_FUZZ", "2000"))
FEW = 120  # in the quick suite
WORDS = (
    *("9" * 5000, "-" + "9" * 400, "1e999", "nan", "0", "-1", "16x0", "16x999999999", "212", "61"),
    *("../../etc/passwd", "/etc/passwd", "http://127.0.0.1/x", "\0", "~", "1000(99999999999)/mV"),
    *(
        "#",
        "0/mV",
        "inf/mV",
        "1e308/mV",
        "é",
        "16+99999999999",
        "16:99999999",
        ".",
        "..",
        "80",
        "8",
    ),
)


def odd_header(data: bytes, rng) -> bytes:
    """One or two words of a header are others, or missing, or a line ends early."""
    lines = data.decode("utf-8", "replace").splitlines()
    for _ in range(rng.integers(1, 3)):
        at = rng.integers(len(lines))
        words = lines[at].split(" ")
        place = rng.integers(len(words))
        kind = rng.integers(3)
        if kind == 0:
            words[place] = WORDS[rng.integers(len(WORDS))]
        elif kind == 1:
            del words[place]
        else:
            del words[place:]
        lines[at] = " ".join(words)
    return ("\n".join(lines) + "\n").encode()


HEADER = (odd_header, odd_header, odd_header, *TEXT)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Six records in PTB-XL's layout."""
    return write_dataset(tmp_path_factory.mktemp("fuzz"))


def _header(folder, format_):
    """A record of 12 leads in a format, its header's path."""
    import wfdb

    names = ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{k}" for k in range(1, 7))]
    wfdb.wrsamp(
        f"r{format_}", 100, ["mV"] * 12, names, p_signal=ecg_like(3) / 1000, fmt=[format_] * 12,
        adc_gain=[50.0] * 12, baseline=[0] * 12, write_dir=str(folder),
    )  # fmt: skip
    return folder / f"r{format_}.hea"


def _fuzz(path, kinds, n, judge):
    """Mutate a file n times; how many were refused."""
    before, refused = path.read_bytes(), 0
    try:
        for number in range(n):
            rng = np.random.default_rng(number)
            mutated = kinds[number % len(kinds)](before, rng)
            path.write_bytes(mutated)
            try:
                refused += judge() is not None
            except BaseException as error:
                raise AssertionError(
                    f"{path.name}, mutation {number}: {type(error).__name__} {str(error)[:2000]}"
                ) from error
    finally:
        path.write_bytes(before)
    print(f"{path.name}: {n} mutations, {refused} refused in one line, {n - refused} read")
    return refused


def fuzz_headers(source, n):
    """Mutated headers of a data set."""

    def judge():
        def read(_):
            records = read_records(source, [file_name(3, 100)], [3], 100, progress=False)
            refuse(records.problems, 1)
            assert np.isfinite(records.signals).all()

        return attempt(read)[1]

    assert _fuzz(source / f"{file_name(3, 100)}.hea", HEADER, n, judge) > n / 3


def fuzz_own_records(folder, n):
    """Mutated headers of recordings of one's own, in three formats."""
    for format_ in ("16", "212", "80"):
        path = _header(folder, format_)
        _fuzz(path, HEADER, n // 3, lambda path=path: attempt(lambda _: read_recording(path))[1])


def fuzz_tables(source, folder, n):
    """Mutated tables of a data set."""
    parser = preprocessing.get_args_parser()

    def judge():
        def read(_):
            table = preprocessing.read_database(source, "filename_lr")
            codes, problems = preprocessing.parse_column(table)
            refuse(problems + preprocessing.row_problems(table), len(table))
            return codes

        return attempt(read, parser, ["--data_path", source, "--output_path", folder])[1]

    _fuzz(source / "ptbxl_database.csv", TABLE, n, judge)


def fuzz_signals(folder, n):
    """Mutated text files of one recording."""
    path = folder / "own.csv"
    names = ["time", "I", "II", "III", "aVR", "aVL", "aVF", *(f"V{k}" for k in range(1, 7))]
    values = np.column_stack([np.arange(60) / 100, ecg_like(3)[:60] / 1000])
    pd.DataFrame(values, columns=names).to_csv(path, index=False)
    _fuzz(path, (*TABLE, *BYTES), n, lambda: attempt(lambda _: read_recording(path))[1])


def fuzz_run_files(folder, n):
    """Mutated JSON of a stage: resumed, and walked by the report."""
    settings = {"seed": 0, "layers": ["a", "b"]}
    with Stage(folder / "tcav", "tcav", settings) as stage:
        (stage.folder / "runs.csv").write_text("a\n1\n")
        stage.finish([], [stage.folder / "runs.csv"], {"n": 3})
    path = folder / "tcav" / "tcav.json"
    whole = json.loads(path.read_text())
    kinds = (lambda data, rng: json.dumps(odd_value(whole, rng)).encode(), *TEXT)

    def judge():
        before = path.read_bytes()

        def resume(_):
            with Stage(path.parent, "tcav", settings):
                pass

        error = attempt(resume)[1]
        path.write_bytes(before)
        attempt(lambda _: report.broken_links(folder))
        return error

    _fuzz(path, kinds, n, judge)


def test_some_mutations(source, tmp_path):
    fuzz_headers(source, FEW)
    fuzz_own_records(tmp_path, FEW)
    fuzz_tables(source, tmp_path, FEW)
    fuzz_signals(tmp_path, FEW)
    fuzz_run_files(tmp_path / "run", FEW)


@pytest.mark.slow
def test_many_mutated_headers(source, tmp_path):
    fuzz_headers(source, MANY)
    fuzz_own_records(tmp_path, MANY)


@pytest.mark.slow
def test_many_mutated_tables_and_run_files(source, tmp_path):
    fuzz_tables(source, tmp_path, MANY // 2)
    fuzz_signals(tmp_path, MANY // 2)
    fuzz_run_files(tmp_path / "run", MANY // 2)
