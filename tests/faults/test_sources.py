"""What a data set was made from, and what a stage has read: a change is noticed, and --verify goes
by the content at the time of reading.
"""

import os
import shutil

import numpy as np
import pandas as pd
import pytest

import discovery
import glocal.study
import glocal_analysis
import import_records
import lrp_analysis
import preprocessing
import sanity.study
import sanity_checks
import simulate_ptbxl
import subgroups.study
from common.files import UserError, digest_read, forget_reads, note_read, write_text
from common.stage import Stage, broken_link, read_stage
from mutations import attempt
from records import origin
from records.dataset import load_dataset
from reporting.run import broken_links
from tiny_dataset import write_tiny_dataset
from tiny_ptbxl import file_name, write_dataset


def run(stage, *words):
    """The stage's one line of error, or None."""
    return attempt(stage.main, stage.get_args_parser(), list(map(str, words)))[1]


@pytest.fixture
def pair(tmp_path):
    """Six records, and the data set made from them in a folder of its own."""
    source, made = write_dataset(tmp_path / "source"), tmp_path / "made"
    assert run(preprocessing, "--data_path", source, "--output_path", made) is None
    return source, made


def test_records_that_change_behind_a_data_set_are_noticed_by_every_stage(pair):
    source, made = pair
    load_dataset(made)
    path = (source / file_name(3, 100)).with_suffix(".dat")
    path.write_bytes(path.read_bytes()[::-1])
    for line in (
        attempt(lambda _: load_dataset(made))[1],
        run(preprocessing, "--data_path", source, "--output_path", made),
    ):
        assert "records of" in line
        assert "have changed since" in line
        assert "--overwrite" in line


def test_a_table_that_changes_behind_a_data_set_is_noticed(pair):
    source, made = pair
    table = pd.read_csv(source / "ptbxl_database.csv")
    table.assign(patient_id=table["patient_id"] + 1).to_csv(
        source / "ptbxl_database.csv", index=False
    )
    assert "ptbxl_database.csv has changed since" in attempt(lambda _: load_dataset(made))[1]


def test_a_copy_and_touched_files_are_the_same_data(pair, tmp_path):
    source, made = pair
    for path in source.rglob("*"):
        os.utime(path, (0, 0))
    load_dataset(made)
    shutil.copytree(source, tmp_path / "copy" / "source")
    shutil.copytree(made, tmp_path / "copy" / "made")
    load_dataset(tmp_path / "copy" / "made")
    shutil.rmtree(tmp_path / "copy" / "source")
    load_dataset(tmp_path / "copy" / "made")  # the records are not needed any more


def test_verify_goes_by_content_whatever_the_times_say(pair):
    source, made = pair
    path = (source / file_name(3, 100)).with_suffix(".dat")
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert origin.changed(made / "preprocessing.json") is None  # by sizes and times
    assert "have changed" in origin.changed(made / "preprocessing.json", by_content=True)
    with Stage(made.parent / "run" / "tcav", "tcav", {}) as stage:
        stage.finish(inputs=[made / "ptbxl_database_enriched.csv"])
    (line,) = broken_links(made.parent / "run")
    assert "records of" in line


def test_corrected_units_are_not_ignored(tmp_path):
    """Imported in volts by mistake, preprocessed, imported again in mV: nothing is 'finished'."""
    signal = np.random.default_rng(0).normal(0, 0.3, (4, 1000, 12))
    np.save(tmp_path / "a.npy", signal)
    pd.DataFrame({"labels": ["NORM", "IMI"] * 2}).to_csv(tmp_path / "a.csv", index=False)
    words = ["--signals", tmp_path / "a.npy", "--table", tmp_path / "a.csv", "--signal_rate", 100]
    words += ["--output_path", tmp_path / "own"]
    assert run(import_records, *words, "--unit", "uV") is None
    data = ["--data_path", tmp_path / "own"]
    assert run(preprocessing, *data) is None
    small = np.abs(load_dataset(tmp_path / "own").signals).max()
    assert run(import_records, *words, "--unit", "mV", "--overwrite") is None
    assert "changed since" in run(preprocessing, *data)
    assert "changed since" in attempt(lambda _: load_dataset(tmp_path / "own"))[1]
    assert run(preprocessing, *data, "--overwrite") is None
    assert np.abs(load_dataset(tmp_path / "own").signals).max() > 100 * small


def test_a_simulated_cohort_replaced_under_its_data_set_is_noticed(tmp_path):
    words = ["--output_path", tmp_path / "cohort", "--n_records", 20]
    data = ["--data_path", tmp_path / "cohort", "--output_path", tmp_path / "made"]
    assert run(simulate_ptbxl, *words, "--seed", 1) is None
    assert run(preprocessing, *data) is None
    assert run(simulate_ptbxl, *words, "--seed", 2, "--overwrite") is None
    assert "changed since" in attempt(lambda _: load_dataset(tmp_path / "made"))[1]


# ---------------------------------------------------------------- what a stage has read


def test_inputs_are_what_was_read_when_it_was_read(tmp_path):
    data = tmp_path / "data"
    table, segments = data / "table.csv", data / "ptbxl_segmentations" / "1.npy"
    for path in (table, segments):
        write_text(path, "as it was read")
    write_text(tmp_path / "other" / "1.npy", "another data set")
    forget_reads()
    for path in (table, segments, tmp_path / "other" / "1.npy"):
        note_read(path)
    write_text(segments, "exchanged while the stage ran")
    with Stage(tmp_path / "run", "glocal", {}) as stage:
        stage.finish(inputs=[table])
    inputs = read_stage(stage.path)["inputs"]
    assert set(inputs) == {"../data/table.csv", "../data/ptbxl_segmentations/1.npy"}
    assert "1.npy has changed since" in broken_link(stage.path)
    forget_reads()
    assert digest_read(segments) != inputs["../data/ptbxl_segmentations/1.npy"]


def test_segments_and_signals_are_among_the_inputs(tmp_path):
    from records.segmentations import load_segments

    folder = write_tiny_dataset(tmp_path / "data")
    data = load_dataset(folder)
    mask = np.zeros((data.signals.shape[1], 12, 24), np.uint8)
    mask[..., 0] = 255
    for ecg_id in data.ecg_id[:2]:
        (folder / "ptbxl_segmentations").mkdir(exist_ok=True)
        np.save(folder / "ptbxl_segmentations" / f"{ecg_id}.npy", mask)
    forget_reads()
    load_segments(load_dataset(folder), slice(0, 2))
    with Stage(tmp_path / "run", "glocal", {}) as stage:
        stage.finish(inputs=[folder / "ptbxl_database_enriched.csv"])
    names = {os.path.basename(name) for name in read_stage(stage.path)["inputs"]}
    assert {"raw100.pkl", *(f"{ecg_id}.npy" for ecg_id in data.ecg_id[:2])} <= names
    write_text(folder / "ptbxl_segmentations" / f"{data.ecg_id[0]}.npy", "other")
    assert "npy has changed since" in broken_link(stage.path)


@pytest.mark.parametrize(
    ("stage", "opens", "words"),
    [
        (lrp_analysis, lrp_analysis, ()),
        (glocal_analysis, glocal.study, ()),
        (sanity_checks, sanity.study, ("--methods", "saliency")),
        (discovery, subgroups.study, ("--cohort", "AMI or IMI", "--folds", *range(1, 11))),
    ],
)
def test_segmentations_that_come_later_are_not_taken_for_what_a_run_has_read(
    stage, opens, words, cohort, trained, tmp_path, monkeypatch
):
    """The settings of all stages that read segments say how many of them are files."""

    def told(folder, name, settings, *_):
        raise UserError(f"segmentations: {settings.get('segmentations')}")

    monkeypatch.setattr(opens, "Stage", told)
    data = shutil.copytree(cohort, tmp_path / "data")
    asked = ("--data_path", data, "--model_path", trained, "--output_path", tmp_path / "out")
    assert "segmentations: 300" in run(stage, *asked, *words)
    shutil.rmtree(data / "ptbxl_segmentations")
    assert "segmentations: None" in run(stage, *asked, *words)


def test_planted_truth_is_among_the_inputs(tmp_path):
    from attribution.cards import planted_cards
    from simulation.cohort import read_plan

    words = ["--output_path", tmp_path / "data", "--n_records", 4]
    assert run(simulate_ptbxl, *words) is None
    forget_reads()
    read_plan(tmp_path / "data")
    planted_cards(tmp_path / "data" / "planted_causes.csv", "subdiagnostic", ["AMI"])
    with Stage(tmp_path / "run", "sanity", {}) as stage:
        stage.finish(inputs=[tmp_path / "data" / "ptbxl_database.csv"])
    for name in ("planted_causes.csv", "true_parameters.csv"):
        assert f"../data/{name}" in read_stage(stage.path)["inputs"]
        content = (tmp_path / "data" / name).read_bytes()
        write_text(tmp_path / "data" / name, "other")
        assert f"{name} has changed since" in broken_link(stage.path)
        (tmp_path / "data" / name).write_bytes(content)
