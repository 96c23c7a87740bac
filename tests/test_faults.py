"""Faults: killed processes, full disks, files that are damaged or made to do harm, two processes in
one folder.

The stages as a whole are slow (`pytest -m slow tests/test_faults.py`; XAI4ECG_KILLS sets the kills
of each, 20 by default). What is read from disk is mutated over 200 times, in this process: each
ends in one line of error, or in what the file says.
"""

import contextlib
import json
import os
import pickle
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
import wfdb
from matplotlib.figure import Figure
from PIL import Image

import import_records
import preprocessing
import report
import sanity_checks
from common.figure_files import write_figure
from common.files import (
    read_json,
    read_npy,
    read_npz,
    read_pickle,
    sha256,
    write_csv,
    write_json,
    write_npy,
    write_npz,
    write_pickle,
    write_text,
)
from common.labels import LABEL_MAPPINGS, LEADS, TASKS
from common.stage import Stage, read_stage
from conftest import ROOT
from mutations import BYTES, TABLE, TEXT, attempt, odd_value, one_line
from networks.checkpoints import ModelInfo, load_checkpoint, load_model, save_checkpoint
from networks.models import get_model
from records.dataset import load_dataset
from records.ptbxl import parse_scp_codes, write_record
from records.wfdb_files import RecordError, read_record, read_records, refuse
from tiny_ptbxl import file_name, write_dataset

TASK = "superdiagnostic"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Six records in PTB-XL's layout, not preprocessed."""
    return write_dataset(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    """The same, preprocessed into a folder of its own."""
    folder = tmp_path_factory.mktemp("made")
    assert (
        attempt(
            preprocessing.main,
            preprocessing.get_args_parser(),
            ["--data_path", source, "--output_path", folder],
        )[1]
        is None
    )
    return folder


@pytest.fixture(scope="module")
def run_folder_(tmp_path_factory):
    """A run folder with an untrained LeNet and one finished stage."""
    folder = tmp_path_factory.mktemp("output") / f"lenet_{TASK}"
    info = ModelInfo(
        "lenet",
        TASK,
        tuple(TASKS[TASK]),
        LEADS,
        100,
        2.5,
        {"train": [1], "validation": [9], "test": [10]},
        0,
        thresholds=(0.5,) * 5,
    )
    torch.manual_seed(0)
    save_checkpoint(
        folder / "checkpoints" / "best_model.ckpt", get_model("lenet", 5), info, epoch=1
    )
    with Stage(folder / "tcav", "tcav", {"seed": 0, "layers": ["a", "b"]}) as stage:
        (stage.folder / "runs.csv").write_text("a\n1\n")
        stage.finish(
            [folder / "checkpoints" / "best_model.ckpt"], [stage.folder / "runs.csv"], {"n": 3}
        )
    return folder


class Mutated:
    """Within the block `path` holds mutated bytes; afterwards, what it held before."""

    def __init__(self, path, mutate, rng):
        self.path, self.before = path, path.read_bytes()
        self.after = mutate(self.before, rng)

    def __enter__(self):
        self.path.write_bytes(self.after)
        return self.after

    def __exit__(self, *_):
        self.path.write_bytes(self.before)


def outcomes(n, kinds, path, judge):
    """Mutate `path` n times, call judge(mutated bytes) -> error or None each time; (errors, correct
    results).
    """
    errors = 0
    for number in range(n):
        rng = np.random.default_rng((hash_of(path.name), number))
        with Mutated(path, kinds[number % len(kinds)], rng) as mutated:
            try:
                errors += judge(mutated) is not None
            except BaseException as error:
                raise AssertionError(
                    f"{path.name}, mutation {number} ({kinds[number % len(kinds)].__name__}): "
                    f"{type(error).__name__} {error}"
                ) from error
    print(
        f"{path.name}: {n} mutations, {errors} refused with one line, {n - errors} read as what "
        "they say"
    )
    return errors, n - errors


def hash_of(text):
    return int.from_bytes(text.encode()[-8:].rjust(8, b"\0"), "big")


# ---------------------------------------------------------------- 200 mutations


@pytest.mark.parametrize(("suffix", "kinds", "n"), [("hea", TEXT, 30), ("dat", BYTES, 16)])
def test_mutated_records_are_refused_or_read_as_wfdb_reads_them(source, suffix, kinds, n):
    name = str(source / file_name(3, 100))

    def judge(_):
        try:
            found, _ = read_record(name, 100, 1000)
        except RecordError:
            _, error = attempt(
                lambda _: refuse(read_records(source, [file_name(3, 100)], [3], 100).problems, 1)
            )
            assert "ecg_id 3" in error
            return error
        record = wfdb.rdrecord(name)
        order = [[lead.upper() for lead in record.sig_name].index(lead.upper()) for lead in LEADS]
        units = [{"mv": 1, "uv": 1e-3, "v": 1e3}[unit.lower()] for unit in record.units]
        np.testing.assert_allclose(found, (record.p_signal * units)[:, order], rtol=1e-6, atol=1e-9)
        return None

    errors, _ = outcomes(n, kinds, source / f"{file_name(3, 100)}.{suffix}", judge)
    assert errors > n / 4


def test_mutated_databases_are_refused_or_encoded_as_they_say(source):
    def judge(mutated):
        def read(_):
            table = preprocessing.read_database(source, "filename_lr")
            codes, problems = preprocessing.parse_column(table)
            problems += preprocessing.row_problems(table)
            refuse(problems, len(table))
            return table, preprocessing.encode(codes).multihot[TASK]

        found, error = attempt(read)
        if error is None:
            table, labels = found
            said = pd.read_csv(source / "ptbxl_database.csv", dtype=str, keep_default_na=False)
            assert list(table.index) == [int(float(text)) for text in said["ecg_id"]]
            assert list(table["strat_fold"].astype(float)) == [
                float(text) for text in said["strat_fold"]
            ]
            superclass = {
                "NORM": "NORM",
                "ASMI": "MI",
                "LVH": "HYP",
                "IMI": "MI",
                "NDT": "STTC",
                "LAFB": "CD",
            }
            expected = [
                {superclass[code] for code in parse_scp_codes(text) if code in superclass}
                for text in said["scp_codes"]
            ]
            assert [
                {name for name, there in zip(LABEL_MAPPINGS[TASK], row, strict=True) if there}
                for row in labels
            ] == expected
        return error

    errors, _ = outcomes(33, TABLE, source / "ptbxl_database.csv", judge)
    assert errors > 8


@pytest.mark.parametrize(
    ("name", "kinds", "n"),
    [
        ("ptbxl_database_enriched.csv", TABLE, 33),
        (f"multihot_{TASK}.npy", BYTES, 16),
        ("raw100.pkl", BYTES, 16),
    ],
)
def test_mutated_data_sets_are_refused_or_say_that_the_table_has_changed(
    made, name, kinds, n, capsys
):
    whole = load_dataset(made, TASK)

    def judge(mutated):
        said = []

        def read(_):
            data = load_dataset(made, TASK)
            said.append([data.r_peaks(row) for row in range(len(data))])
            return data

        data, error = attempt(read)
        if error is None:
            assert (data.signals == whole.signals).all()
            assert (data.labels == whole.labels).all()
            assert list(data.ecg_id) == list(whole.ecg_id)
            assert list(data.patient_id) == list(whole.patient_id)
            assert list(data.fold) == list(whole.fold)
        return error

    errors, _ = outcomes(n, kinds, made / name, judge)
    assert errors > n / 4 if name.endswith("csv") else errors == n
    if name.endswith(
        "csv"
    ):  # the silent kind: a value that could be right, in a table that is read
        table = pd.read_csv(made / name)
        table["age"] = table["age"] + 1
        with Mutated(made / name, lambda *_: table.to_csv(index=False).encode(), None):
            load_dataset(made, TASK)
        assert "has changed since" in capsys.readouterr().err


def _same_model(path, whole, x):
    model, error = attempt(lambda _: load_model(path))
    if error is None:
        assert model.info == whole.info
        assert torch.equal(model(x), whole(x))
    return error


def test_mutated_checkpoints_are_refused_or_are_the_same_model(run_folder_):
    path = run_folder_ / "checkpoints" / "best_model.ckpt"
    whole, x = load_model(path), torch.randn(2, 12, 250, generator=torch.Generator().manual_seed(0))
    outcomes(32, BYTES, path, lambda _: _same_model(path, whole, x))


def test_mutated_contents_of_checkpoints_are_refused_or_harmless(run_folder_, tmp_path):
    path = run_folder_ / "checkpoints" / "best_model.ckpt"
    whole = load_model(path)
    content = torch.load(path, weights_only=True)
    plain = json.loads(json.dumps(content["info"]))
    refused = 0
    for number in range(24):
        rng = np.random.default_rng(number)
        info = odd_value({"info": plain}, rng)
        torch.save(
            {**content, **info} if "info" in info else {"model": content["model"]},
            tmp_path / "odd.ckpt",
        )
        model, error = attempt(lambda _: load_model(tmp_path / "odd.ckpt"))
        refused += error is not None
        if error is None:  # what the network computes and what its outputs mean must be untouched
            for name in ("modelname", "task", "labels", "leads"):
                assert getattr(model.info, name) == getattr(whole.info, name), (number, name)
            assert ".." not in model.info.run_folder_name
    print(f"contents: 24 mutations, {refused} refused")
    assert refused >= 12


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.update(
            {next(iter(weights)): torch.full_like(next(iter(weights.values())), torch.nan)}
        ),
        lambda weights: weights.update({next(iter(weights)): 3}),
        lambda weights: weights.update({next(iter(weights)): torch.zeros(2)}),
        lambda weights: weights.popitem(),
        lambda weights: weights.update({3: torch.zeros(2)}),
    ],
)
def test_odd_weights_are_refused(run_folder_, tmp_path, change):
    content = torch.load(run_folder_ / "checkpoints" / "best_model.ckpt", weights_only=True)
    change(content["model"])
    torch.save(content, tmp_path / "odd.ckpt")
    assert attempt(lambda _: load_model(tmp_path / "odd.ckpt"))[1]


def test_mutated_stage_files_are_refused_or_taken_for_what_they_say(made, run_folder_):
    """Bytes, then values at any depth, of the JSON that resuming, --verify, the report and the data
    set go by.
    """
    stage_json, parser = run_folder_ / "tcav" / "tcav.json", report.get_args_parser()
    for path, n in ((stage_json, 24), (made / "preprocessing.json", 24)):
        whole = json.loads(path.read_text())
        kinds = (lambda data, rng, whole=whole: json.dumps(odd_value(whole, rng)).encode(), *TEXT)

        def judge(_, path=path):
            if path.name == "preprocessing.json":
                return attempt(lambda _: load_dataset(made, TASK))[1]

            def resume(_):
                with Stage(path.parent, "tcav", {"seed": 0, "layers": ["a", "b"]}) as stage:
                    if stage.finished:
                        assert read_stage(path)["settings"] == stage.settings

            error = attempt(resume)[1]
            path.write_bytes(_)
            try:
                attempt(
                    report.main,
                    parser,
                    ["--model_path", run_folder_, "--output_path", run_folder_.parent, "--verify"],
                )
            except AssertionError as end:
                if end.args[0] != 1:  # the code of a broken link
                    raise
            attempt(
                report.main,
                parser,
                ["--model_path", run_folder_, "--output_path", run_folder_.parent],
            )
            return error

        outcomes(n, kinds, path, judge)


def test_a_report_of_results_that_were_damaged_names_the_file(run_folder_):
    """Odd values in what a section reads; undamaged, the same file gives a report."""
    metrics = {
        "windows": {
            "macro_auc": {"value": 0.9, "low": 0.8, "high": 0.95},
            "per_class_auc": {
                "MI": {"value": 0.9, "low": 0.8, "high": 1.0, "n_positive": 20, "n": 50}
            },
        },
        "centre_crop": {"macro_auc": {"value": 0.9}},
    }
    path, words = (
        run_folder_ / "metrics.json",
        ["--model_path", run_folder_, "--output_path", run_folder_.parent],
    )
    path.write_text(json.dumps(metrics))
    with Stage(run_folder_, "test", {}) as stage:
        stage.finish(outputs=[path])
    assert attempt(report.main, report.get_args_parser(), words)[1] is None

    def judge(_):
        _, error = attempt(report.main, report.get_args_parser(), words)
        assert error or "Artefacts do not match" in (run_folder_ / "report.html").read_text()
        assert error is None or "metrics.json" in error
        return error

    errors, _ = outcomes(
        20,
        (lambda data, rng: json.dumps(odd_value(json.loads(data), rng) | {"odd": 1}).encode(),),
        path,
        judge,
    )
    assert errors
    for made in (path, run_folder_ / "test.json"):
        made.unlink()


# ---------------------------------------------------------------- made to do harm


class Harm:
    """Unpickled by pickle.load, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_the_harmful_objects_do_harm_where_they_are_trusted(tmp_path):
    pickle.loads(pickle.dumps(Harm(tmp_path / "harm")))
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda path, harm: path.write_bytes(pickle.dumps(harm)),
        lambda path, harm: path.write_bytes(pickle.dumps([np.zeros(3), harm])),
        lambda path, harm: write_pickle(path, np.array([harm], dtype=object)),
    ],
)
def test_a_harmful_raw_pkl_runs_nothing(made, tmp_path, write):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "ptbxl_database_enriched.csv").write_bytes(
        (made / "ptbxl_database_enriched.csv").read_bytes()
    )
    write(folder / "raw100.pkl", Harm(tmp_path / "harm"))
    assert "raw100.pkl" in attempt(lambda _: load_dataset(folder))[1]
    assert "only numpy arrays are read" in attempt(lambda _: read_pickle(folder / "raw100.pkl"))[1]
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda path, harm: torch.save({"model": {}, "info": harm}, path),
        lambda path, harm: path.write_bytes(pickle.dumps(harm)),
    ],
)
def test_a_harmful_checkpoint_runs_nothing(tmp_path, write):
    write(tmp_path / "harm.ckpt", Harm(tmp_path / "harm"))
    for main, words in ((sanity_checks, ()), (report, ())):
        _, error = attempt(
            main.main, main.get_args_parser(), ["--model_path", tmp_path / "harm.ckpt", *words]
        )
        assert "harm.ckpt is not a readable checkpoint" in error
    assert not (tmp_path / "harm").exists()


def test_harmful_npy_and_npz_run_nothing(made, tmp_path):
    harm = np.array([Harm(tmp_path / "harm")], dtype=object)
    np.save(tmp_path / "a.npy", harm, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=harm)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Harm(tmp_path / "harm")))
    for read, name in ((read_npy, "a.npy"), (read_npz, "a.npz"), (read_npz, "b.npz")):
        assert name in attempt(lambda _, read=read, name=name: read(tmp_path / name))[1]
    (tmp_path / "t.csv").write_text("labels\nNORM\n")
    _, error = attempt(
        import_records.main,
        import_records.get_args_parser(),
        [
            "--signals",
            tmp_path / "a.npy",
            "--table",
            tmp_path / "t.csv",
            "--signal_rate",
            100,
            "--output_path",
            tmp_path / "own",
        ],
    )
    assert "a.npy is not a readable .npy array" in error
    multihot = made / f"multihot_{TASK}.npy"
    with Mutated(multihot, lambda *_: (tmp_path / "a.npy").read_bytes(), None):
        assert "multihot" in attempt(lambda _: load_dataset(made, TASK))[1]
    assert not (tmp_path / "harm").exists()


# ---------------------------------------------------------------- what a killed writer leaves


def test_a_stage_clears_away_what_a_killed_writer_left_and_nothing_else(tmp_path):
    dead = next(number for number in range(2**21, 2**22) if not os.path.exists(f"/proc/{number}"))
    left = tmp_path / "deep" / f".cells.{dead}.tmp.csv"
    alive = tmp_path / f".cells.{os.getppid()}.tmp.csv"
    others = [alive, tmp_path / "cells.tmp.csv", tmp_path / ".notes.tmp.csv"]
    left.parent.mkdir()
    for path in (left, *others):
        path.write_text("1")
    with Stage(tmp_path, "local", {}):
        assert not left.exists()
    assert all(path.exists() for path in others)


def test_equal_checkpoints_are_equal_bytes_whatever_they_came_from(tmp_path):
    """Texts that went through a file are other objects than literals: pickle must not notice."""
    model = get_model("lenet", 5)
    info = ModelInfo("lenet", TASK, tuple(TASKS[TASK]), LEADS, 100, 2.5, {"train": [1]}, 0)
    rows = [{"epoch": 1, "score": 0.5, "lr": 0.1}, {"epoch": 2, "score": 0.5, "lr": 0.1}]
    save_checkpoint(tmp_path / "a.ckpt", model, info, history=rows, optimizer={"lr": 1})
    reread = torch.load(tmp_path / "a.ckpt", weights_only=True)["history"][:1]
    save_checkpoint(
        tmp_path / "b.ckpt", model, info, history=[*reread, rows[1]], optimizer={"lr": 1}
    )
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()


def test_arrays_are_written_as_numpy_writes_them(tmp_path):
    for array in (
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.zeros((0, 3), "U2"),
    ):
        np.save(tmp_path / "numpy.npy", array)
        write_npy(tmp_path / "ours.npy", array)
        assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


@contextlib.contextmanager
def file_size_limit(n_bytes):
    """No file of this process can grow beyond so many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _checkpoint(path):
    save_checkpoint(
        path,
        get_model("lenet", 5),
        ModelInfo("lenet", TASK, tuple(TASKS[TASK]), LEADS, 100, 2.5, {}, 0),
    )


def _figure(path):
    figure = Figure()
    figure.subplots().imshow(np.random.default_rng(0).random((300, 300)))
    write_figure(figure, path)


BIG = np.random.default_rng(0).normal(size=(500, 12))
WRITERS = {
    "text": lambda path: write_text(path, "x" * 20_000),
    "json": lambda path: write_json(path, {"x": BIG}),
    "csv": lambda path: write_csv(path, pd.DataFrame(BIG)),
    "npy": lambda path: write_npy(path, BIG),
    "npz": lambda path: write_npz(path, x=BIG),
    "pickle": lambda path: write_pickle(path, BIG),
    "figure": _figure,
    "checkpoint": _checkpoint,
    "record": lambda path: write_record(path.parent, path.name, (BIG * 1000).astype("<i2"), 100),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_says_that_there_is_no_space_and_leaves_nothing(tmp_path, name):
    with file_size_limit(5_000):
        _, error = attempt(lambda _: WRITERS[name](tmp_path / "x"))
    assert error.startswith("error: cannot write: File too large")
    assert not list(tmp_path.iterdir())
    assert attempt(lambda _: WRITERS[name](tmp_path / "x"))[1] is None
    assert list(tmp_path.iterdir())


# ---------------------------------------------------------------- whole stages: killed, out of
# space, twice at once

RUN = f"lenet_{TASK}"
# stage -> its options; {root} stands for the folder that holds data/, own/ and out/
COMMANDS = {
    "simulate_ptbxl": "--output_path {root}/data --n_records 60 --seed 3",
    "preprocessing": "--data_path {root}/data",
    "import_records": "--signals {root}/mine.npy --table {root}/mine.csv --signal_rate 250 "
    "--output_path {root}/own",
    "train_model": f"--data_path {{root}}/data --logdir {{root}}/out --task {TASK} --epochs 4 "
    "--n_bootstrap 20 --threads 1",
    "tcav_analysis": "{model} --n_runs 2 --n_null 200 --min_positives 5 --threads 1",
    "lrp_analysis": "{model} --methods saliency lrp --max_figures 2 --threads 1",
    "glocal_analysis": "{model} --n_samples 4 --n_bootstrap 20 --n_permutations 19 --threads 1",
    "sanity_checks": "{model} --n_samples 4 --methods saliency random --checks randomisation "
    "axioms localisation --threads 1",
    "discovery": "{model} --cohort MI CD --representations signal segments --n_halvings 3 "
    "--n_resamples 9 --k_max 2 "
    "--min_records 5 --threads 1",
    "counterfactuals": "{model} --strategy all --n_samples 9 --pathologies HYP --max_edits 2 "
    "--max_figures 1 --add_concept SLI-LVH --threads 1",
    "report": f"--model_path {{root}}/out/{RUN} --output_path {{root}}/out",
}
MODEL = f"--data_path {{root}}/data --output_path {{root}}/out --model_path {{root}}/out/{RUN}"
EXACT = {".csv", ".npz", ".npy", ".pkl", ".ckpt", ".dat", ".hea", ".html"}


def command(stage, root):
    """The words of a stage's command."""
    options = COMMANDS[stage].replace("{model}", MODEL).replace("{root}", str(root))
    return [sys.executable, str(ROOT / "code" / f"{stage}.py"), *shlex.split(options)]


def start(stage, root, **options):
    """The stage as a process of its own; output to files, so that no pipe can fill up."""
    return subprocess.Popen(
        command(stage, root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


def finish(process):
    """(exit code, stderr)"""
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


def content(root):
    """Relative path -> digest of a file whose bytes must be the same, or None where only its being
    there counts.
    """
    paths = [path for path in root.rglob("*") if path.is_file() and "tensorboard" not in path.parts]
    return {
        str(path.relative_to(root)): sha256(path) if path.suffix in EXACT else None
        for path in paths
    }


def read_page(path):
    assert path.read_text().endswith("</html>\n"), path


READING = {
    ".csv": pd.read_csv,
    ".npz": read_npz,
    ".npy": read_npy,
    ".pkl": read_pickle,
    ".json": read_json,
    ".ckpt": load_checkpoint,
    ".png": lambda path: Image.open(path).load(),
    ".hea": lambda path: wfdb.rdrecord(str(path.with_suffix(""))),  # at any rate
    ".html": read_page,
}


def grows(path):
    """Whether a file is written piece by piece, hidden until it is whole: what of it counts is what
    the receipts beside it name.
    """
    return path.parts[-3] == ".parts" and path.name == "maps.npz"


def readable(paths):
    """Every file that is there under a final name can be read to its end."""
    for path in paths:
        final = path.is_file() and path.suffix in READING and ".tmp" not in path.name
        if final and not grows(path):
            try:
                READING[path.suffix](path)
            except pd.errors.EmptyDataError:
                assert path.stat().st_size == 1  # a table without columns


def whole(root):
    """Every file can be read to its end, and nobody left a temporary one."""
    paths = list(root.rglob("*"))
    assert [path for path in paths if ".tmp" in path.name] == []
    readable(paths)


def files(root):
    """Every file with its size and time."""
    found = {}
    for path in root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            found[path] = (path.stat().st_mtime_ns, path.stat().st_size)
    return found


def wait_for_write(process, root):
    """Wait until the process has changed something in the folder, or has ended."""
    was = files(root)
    while process.poll() is None and files(root) == was:
        time.sleep(0.01)


def undisturbed(stage, root):
    """Run a stage to its end: seconds until its first write, and until its end."""
    begin, process = time.perf_counter(), start(stage, root)
    wait_for_write(process, root)
    first = time.perf_counter() - begin
    code, errors = finish(process)
    assert code == 0, errors
    return first, time.perf_counter() - begin


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """One undisturbed run of every stage in one place: stage -> (folder as it was before, folder
    after, seconds).
    """
    base, done = tmp_path_factory.mktemp("stages"), {}
    root = base / "root"
    root.mkdir()
    np.save(root / "mine.npy", np.random.default_rng(0).normal(0, 0.3, (40, 2500, 12)))
    pd.DataFrame({"labels": ["NORM SR", "IMI"] * 20, "patient_id": range(40)}).to_csv(
        root / "mine.csv", index=False
    )
    for stage in COMMANDS:
        before = base / f"before_{stage}"
        shutil.copytree(root, before)
        seconds = undisturbed(stage, root)
        done[stage] = (before, content(root), seconds)
    return root, done


def put_back(root, before):
    """The folder as it was before a stage, at the same path: paths are among the settings."""
    shutil.rmtree(root)
    shutil.copytree(before, root)


def same(root, expected):
    """The folder holds what the undisturbed run left, to the byte, and every file is whole."""
    found = content(root)
    assert [
        name
        for name in {**found, **expected}
        if name not in found or name not in expected or found[name] != expected[name]
    ] == []
    whole(root)


def killed(stage, root, seconds, rng, sooner):
    """SIGKILL the stage at a random moment, two times of three counted from its first write; False
    where it had ended before.
    """
    first, end = seconds
    process = start(stage, root)
    writing = rng.random() < 2 / 3
    if writing:
        wait_for_write(process, root)
    try:
        _, errors = process.communicate(
            timeout=rng.uniform(0, end - first if writing else end) * sooner
        )
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", COMMANDS)
def test_a_stage_that_is_killed_again_and_again_ends_with_the_same_bytes(stages, stage):
    """A kill strikes the run that goes on from the kill before; after every third it comes to its
    end, and all begins anew.
    """
    root, done = stages
    before, expected, seconds = done[stage]
    kills, rng = (
        int(os.environ.get("XAI4ECG_KILLS", "20")),
        np.random.default_rng(list(COMMANDS).index(stage)),
    )
    struck = writing = ended = late = 0
    put_back(root, before)
    while struck < kills:
        was = files(root)
        if killed(
            stage, root, seconds, rng, 0.7**late
        ):  # sooner, lest a machine that has become faster outrun every kill
            now = files(root)
            readable(path for path in now if now[path] != was.get(path))
            struck, writing, late = struck + 1, writing + (now != was), 0
            if struck % 3 and struck < kills:
                continue
            code, errors = finish(start(stage, root))
            assert code == 0, errors
        else:
            late += 1
        same(root, expected)
        put_back(root, before)
        ended += 1
    print(
        f"{stage}: {struck} kills struck, {writing} of them after it had begun to write; {ended} "
        "ends, all alike"
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", COMMANDS)
def test_without_space_a_stage_says_so_in_one_line_and_leaves_nothing_half_written(stages, stage):
    root, done = stages
    before, expected, _ = done[stage]
    was = {str(path.relative_to(before)) for path in before.rglob("*") if path.is_file()}
    for limit in (2_000, 40_000):
        put_back(root, before)
        code, errors = finish(
            start(
                stage,
                root,
                preexec_fn=lambda limit=limit: resource.setrlimit(
                    resource.RLIMIT_FSIZE, (limit, limit)
                ),
            )
        )
        if code == 0:
            new = [
                path
                for path in root.rglob("*")
                if path.is_file() and str(path.relative_to(root)) not in was
            ]
            assert max(path.stat().st_size for path in new) <= limit
            continue
        assert one_line(code, errors), (limit, errors)
        assert "cannot write" in errors, (limit, errors)
        whole(root)
    code, errors = finish(start(stage, root))  # space is there again
    assert code == 0, errors
    assert {name: digest for name, digest in content(root).items() if digest} == {
        name: digest for name, digest in expected.items() if digest
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", COMMANDS)
def test_of_two_at_once_one_works_and_the_other_is_refused(stages, stage):
    root, done = stages
    before, expected, _ = done[stage]
    put_back(root, before)
    ends = [finish(process) for process in [start(stage, root), start(stage, root)]]
    codes = sorted(code for code, _ in ends)
    assert codes in ([0, 2], [0, 0]), (
        ends
    )  # 0, 0: the second came when the first had finished, or both wrote the report whole
    for code, errors in ends:
        if code:
            assert "another process is writing" in one_line(code, errors)
    same(root, expected)
