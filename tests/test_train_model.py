"""The stage as a user runs it: what is written, resumed, refused, tested; and its marks on real
records.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import train_model
import utils
from common.cli import run
from common.files import UserError, read_npy, write_npy, write_pickle
from conftest import ROOT, run_script
from networks import models
from networks.checkpoints import load_checkpoint
from networks.importing import ORIGINS
from networks.inference import predict
from networks.training import interrupts_held_back
from records.dataset import load_table
from tiny_dataset import write_tiny_dataset

FAST = ("--n_bootstrap", "20", "--threads", "1")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny data set's folder."""
    return write_tiny_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _main(data, output, *options, task="superdiagnostic", epochs=2):
    words = [
        "--data_path",
        data,
        "--logdir",
        output,
        "--task",
        task,
        "--epochs",
        epochs,
        *FAST,
        *options,
    ]
    train_model.main(train_model.get_args_parser().parse_args(list(map(str, words))))


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """Output folder of a finished run."""
    output = tmp_path_factory.mktemp("output")
    _main(tiny, output, epochs=3)
    return output


def _weights(output, name="best_model", run="lenet_superdiagnostic"):
    return load_checkpoint(output / run / "checkpoints" / f"{name}.ckpt")[0]["model"]


def _same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


# ---------------------------------------------------------------- what is written


def test_the_run_folder_holds_what_later_stages_take(tiny, finished):
    folder = finished / "lenet_superdiagnostic"
    model = utils.load_model(folder)
    data = utils.load_dataset(tiny, "superdiagnostic")
    test = data.rows(data.labelled).in_folds([10])
    with np.load(folder / "predictions.npz") as predictions:
        assert np.array_equal(predictions["ecg_id"], test.ecg_id)
        assert np.array_equal(predictions["labels"], test.labels)
        np.testing.assert_allclose(
            predictions["logits"], predict(model, test.signals, "windows"), atol=1e-5
        )
        np.testing.assert_allclose(
            predictions["logits_centre_crop"],
            predict(model, test.signals, "centre_crop"),
            atol=1e-5,
        )
        logits = {
            "windows": predictions["logits"],
            "centre_crop": predictions["logits_centre_crop"],
        }
    metrics = json.loads((folder / "metrics.json").read_text())
    scored = test.labels.any(axis=0) & ~test.labels.all(axis=0)
    for protocol, values in logits.items():
        entry = metrics[protocol]["macro_auc"]
        assert set(entry) >= {"value", "low", "high", "n"}
        assert entry["value"] == pytest.approx(
            roc_auc_score(test.labels[:, scored], values[:, scored])
        )
        assert list(metrics[protocol]["per_class_auc"]) == list(model.info.labels)
    assert len(model.info.thresholds) == 5
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    best = load_checkpoint(folder)[0]
    assert best["epoch"] == 1 + int(np.argmax([row["val_macro_auc"] for row in rows]))
    assert best["threads"] == 1
    for name in ("roc.png", "reliability.png", "course.png"):
        assert (folder / name).stat().st_size > 5000


def test_tensorboard_has_scalars_the_figure_and_hyperparameters(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "lenet_superdiagnostic" / "tensorboard"))
    events.Reload()
    assert {"train_loss", "val_loss", "val_macro_auc", "lr", "test/macro_auc"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("train_loss")] == [1, 2, 3]
    assert events.Tags()["images"] == ["course"]
    assert any("hparams" in tag for tag in events.summary_metadata)


def test_regression_drops_unmeasured_records_and_reports_r2_and_mae(tiny, tmp_path):
    _main(tiny, tmp_path, task="T_Wave_Amplitude")
    folder = tmp_path / "lenet_T_Wave_Amplitude"
    metrics = json.loads((folder / "metrics.json").read_text())["windows"]
    data = utils.load_dataset(tiny, "T_Wave_Amplitude")
    assert not data.labelled.all()
    assert metrics["r2"]["n"] == (data.labelled & (data.fold == 10)).sum()
    assert set(metrics["per_lead_mae"]) == set(utils.LEADS)
    assert utils.load_model(folder).info.thresholds is None
    assert (folder / "amplitudes.png").is_file()


def test_leads_and_crop_are_stored_and_used(tiny, tmp_path):
    _main(tiny, tmp_path, "--leads=[V2, I]", "--crop_seconds", 1.5)
    model = utils.load_model(tmp_path / "lenet_superdiagnostic")
    assert model.info.leads == ("V2", "I")
    assert model.info.crop == 150
    assert model.block1.conv.in_channels == 2


def test_other_sampling_rates_crop_the_same_seconds(tmp_path):
    data = write_tiny_dataset(tmp_path, n_patients=40, n_samples=1500, sampling_rate=500)
    _main(data, tmp_path, "--sampling_rate", 500, epochs=1)
    assert utils.load_model(tmp_path / "lenet_superdiagnostic").info.crop == 1250


def test_unlabelled_records_are_dropped_unless_kept(tiny, tmp_path, capsys):
    said = []
    for name, options in (("dropped", ()), ("kept", ("--keep_unlabelled",))):
        _main(tiny, tmp_path, *options, "--run_name", name, epochs=1)
        said.append(
            sum(
                map(
                    int,
                    re.findall(
                        r"(\d+) (?:train|validation|test)\b",
                        capsys.readouterr().out.splitlines()[0],
                    ),
                )
            )
        )
    data = utils.load_dataset(tiny, "superdiagnostic")
    assert said == [data.labelled.sum(), len(data)]


def test_classes_without_a_positive_are_named(tiny, tmp_path, capsys):
    _main(tiny, tmp_path, task="rhythm", epochs=1)
    said = capsys.readouterr().out
    assert re.search(r"test: no positive.*TRIGU", said)
    metrics = json.loads((tmp_path / "lenet_rhythm" / "metrics.json").read_text())["windows"]
    assert metrics["macro_auc"]["n_classes"] == 2
    assert len(metrics["classes_left_out"]) == 10
    assert metrics["per_class_auc"]["TRIGU"]["value"] is None


# ---------------------------------------------------------------- again, resumed, anew


def test_a_finished_run_says_so_and_overwrite_trains_anew(tiny, finished, tmp_path, capsys):
    output = tmp_path / "copy"
    shutil.copytree(finished, output)
    before = _weights(output)
    written = (
        (output / "lenet_superdiagnostic" / "checkpoints" / "best_model.ckpt").stat().st_mtime_ns
    )
    _main(tiny, output, epochs=3)
    assert "is finished" in capsys.readouterr().out
    assert (
        output / "lenet_superdiagnostic" / "checkpoints" / "best_model.ckpt"
    ).stat().st_mtime_ns == written
    with pytest.raises(UserError, match=r"epochs: 3 there, 1 here.*--overwrite"):
        _main(tiny, output, epochs=1)
    _main(tiny, output, "--overwrite", epochs=1)
    assert load_checkpoint(output / "lenet_superdiagnostic")[0]["epoch"] == 1
    assert not _same(before, _weights(output))


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tiny, finished, tmp_path):
    _main(tiny, tmp_path, epochs=3)
    assert _same(_weights(finished), _weights(tmp_path))
    _main(tiny, tmp_path, "--seed", 1, "--run_name", "other", epochs=3)
    assert not _same(_weights(finished), _weights(tmp_path, run="lenet_superdiagnostic_other"))


def test_killed_by_signal_9_the_same_command_ends_bit_identically(tiny, tmp_path, capsys):
    _main(tiny, tmp_path / "whole", epochs=30)
    words = [
        "--data_path",
        tiny,
        "--logdir",
        tmp_path / "killed",
        "--task",
        "superdiagnostic",
        "--epochs",
        30,
        *FAST,
    ]
    process = subprocess.Popen(
        [sys.executable, ROOT / "code" / "train_model.py", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    log = tmp_path / "killed" / "lenet_superdiagnostic" / "log.jsonl"
    while process.poll() is None and not (log.is_file() and len(log.read_text().splitlines()) >= 3):
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(log.read_text().splitlines())
    assert done < 30
    capsys.readouterr()
    # without --threads: the number of threads is the interrupted run's
    torch.set_num_threads(2)
    train_model.main(train_model.get_args_parser().parse_args(list(map(str, words))[:-2]))
    assert re.search(r"going on after epoch \d+", capsys.readouterr().out)
    assert torch.get_num_threads() == 1
    for name in ("best_model", "model_lastepoch"):
        assert _same(_weights(tmp_path / "whole", name), _weights(tmp_path / "killed", name))
    assert len(log.read_text().splitlines()) == 30


def test_an_interrupted_run_is_not_continued_from_another_runs_checkpoint(tiny, finished, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(finished, output)
    folder = output / "lenet_superdiagnostic"
    # --overwrite with other settings, cut off before it could remove the older run's files
    settings = json.loads((folder / "train.json").read_text())
    settings = {"status": "running", "settings": {**settings["settings"], "epochs": 1, "lr": 0.01}}
    (folder / "train.json").write_text(json.dumps(settings))
    _main(tiny, output, "--lr", 0.01, epochs=1)
    assert load_checkpoint(folder / "checkpoints" / "model_lastepoch.ckpt")[0]["epoch"] == 1
    assert not _same(_weights(finished), _weights(output))


# ---------------------------------------------------------------- finetuning, testing


def test_finetuning_takes_the_weights_over_and_frozen_ones_stay(tiny, finished, tmp_path):
    _main(
        tiny, tmp_path, "--finetune", finished / "lenet_superdiagnostic", "--freeze", task="rhythm"
    )
    before, after = _weights(finished), _weights(tmp_path, run="lenet_rhythm")
    assert all(
        torch.equal(before[key], after[key]) for key in before if not key.startswith("head.")
    )
    assert after["head.weight"].shape[0] == 12


def test_finetuning_of_the_same_labels_starts_from_the_last_layer_too(tiny, finished, tmp_path):
    _main(
        tiny,
        tmp_path,
        "--finetune",
        finished / "lenet_superdiagnostic",
        "--lr",
        1e-30,  # too small to change a weight in float32
        "--weight_decay",
        0,
        epochs=1,
    )
    before, after = _weights(finished), _weights(tmp_path)
    assert all(
        torch.equal(before[key], after[key])
        for key in before
        if "running" not in key and "num_batches" not in key
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--modelname", "xresnet"), "modelname lenet, this run of xresnet"),
        (("--leads", "I"), "of leads"),
    ],
)
def test_finetuning_of_another_kind_of_model_is_refused(tiny, finished, tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        _main(tiny, tmp_path / "output", "--finetune", finished / "lenet_superdiagnostic", *options)
    assert not (tmp_path / "output").exists()


def test_training_anew_says_which_results_explain_the_older_model(tiny, finished, tmp_path, capsys):
    output = tmp_path / "copy"
    shutil.copytree(finished, output)
    (output / "lenet_superdiagnostic" / "tcav").mkdir()
    _main(tiny, output, "--overwrite", "--amp", "fp16", epochs=1)
    assert re.search(r"warning: tcav in .* explain an older model", capsys.readouterr().err)


def test_test_only_repeats_the_test_from_the_checkpoint_alone(tiny, finished, tmp_path, capsys):
    path = finished / "lenet_superdiagnostic" / "checkpoints" / "best_model.ckpt"
    words = [
        "--test_only",
        "--data_path",
        tiny,
        "--model_path",
        path,
        "--logdir",
        tmp_path,
        "--n_bootstrap",
        20,
    ]
    parse = train_model.get_args_parser().parse_args
    train_model.main(parse(list(map(str, words))))
    assert "macro AUC" in capsys.readouterr().out
    run = "lenet_superdiagnostic"
    for name in ("metrics.json", "predictions.npz"):
        assert (tmp_path / run / name).read_bytes() == (finished / run / name).read_bytes()
    train_model.main(parse(list(map(str, words))))
    assert "is finished" in capsys.readouterr().out
    with pytest.raises(UserError, match="task"):
        train_model.main(parse([*map(str, words), "--task", "rhythm"]))
    with pytest.raises(UserError, match="leads"):
        train_model.main(parse([*map(str, words), "--leads", "I"]))


def test_testing_other_data_does_not_replace_a_runs_results(finished, tmp_path):
    other = write_tiny_dataset(tmp_path, seed=1)
    words = [
        "--test_only",
        "--data_path",
        str(other),
        "--logdir",
        str(finished),
        "--task",
        "superdiagnostic",
        *FAST,
    ]
    own = next(finished.glob("*/metrics.json"))
    before = own.read_bytes()
    train_model.main(train_model.get_args_parser().parse_args(words))
    assert own.read_bytes() == before
    assert len(list(own.parent.glob("external/*/metrics.json"))) == 1


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--modelname", "vgg"), "lenet, resnet, xresnet"),
        (("--task", "colour"), "superdiagnostic, subdiagnostic|accepted are .*superdiagnostic"),
        (("--leads", "I", "V9"), "V9.*accepted are I, II"),
        (("--leads", "I", "I"), "twice"),
        (("--val_folds", "10"), "each in one split"),
        (("--crop_seconds", "0.5"), "at least 95"),
        (("--crop_seconds", "6"), "shorter than the crop"),
        (("--limit", "3"), "no validation record|no test record|no train record"),
        (("--batch_size", "1"), "at least 2"),
        (("--finetune", "nowhere.ckpt"), "nowhere.ckpt does not exist"),
        (("--task", "T_Wave_Amplitude", "--keep_unlabelled"), "no meaning"),
        (("--task", "form"), "multihot_form"),
        (("--data_path", "nowhere"), "preprocessing.py"),
        (("--sampling_rate", "500"), "raw500"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(tiny, tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        _main(tiny, tmp_path / "output", *options)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_a_checkpoint_of_ones_own_is_not_removed(tiny, tmp_path, options):
    mine = tmp_path / "output" / "lenet_superdiagnostic" / "checkpoints" / "backup.ckpt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"backup\.ckpt, which this stage has not written"):
        _main(tiny, tmp_path / "output", *options)
    assert mine.read_text() == "mine"
    assert not list(mine.parent.glob("*model*"))


ARCHITECTURES = """
from torch import nn

def long_alone(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(12000, num_classes))

def two_classes():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
"""


@pytest.mark.parametrize(
    ("maker", "said"),
    [
        ("long_alone", r"lengths\.py fails on crops of 2\.5 s .*--crop_seconds takes the length"),
        ("two_classes", r"lengths\.py gives \(2, 2\) for 2 crops: expected .* \(2, 5\)"),
    ],
)
def test_an_architecture_of_ones_own_is_tried_before_anything_is_written(
    tiny, tmp_path, maker, said
):
    (tmp_path / "lengths.py").write_text(ARCHITECTURES)
    with pytest.raises(UserError, match=said):
        _main(tiny, tmp_path / "output", "--modelname", f"{tmp_path / 'lengths.py'}:{maker}")
    del models.MODELS["lengths"], ORIGINS["lengths"]  # of this process
    assert not (tmp_path / "output").exists()


def test_a_patient_in_two_splits_is_an_error_that_names_them(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "data")
    data = utils.load_dataset(tiny, "superdiagnostic")
    labelled = data.rows(data.labelled)
    patient, other = (labelled.in_folds([fold]).patient_id[0] for fold in (9, 10))
    table = data.table.reset_index().replace({"patient_id": {patient: other}})
    table.to_csv(tmp_path / "data" / "ptbxl_database_enriched.csv", index=False)
    with pytest.raises(
        UserError,
        match=rf"patient_id {other:g}\) have records in both validation and test.*"
        "--allow_patient_overlap",
    ):
        _main(tmp_path / "data", tmp_path / "output", epochs=1)
    assert not (tmp_path / "output").exists()
    _main(tmp_path / "data", tmp_path / "output", "--allow_patient_overlap", epochs=1)


def test_a_fold_without_positives_to_choose_by_is_refused(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "data")
    labels, fold = (
        read_npy(tiny / "multihot_superdiagnostic.npy"),
        load_table(tiny).strat_fold.to_numpy(),
    )
    labels[fold == 9] = [1, 0, 0, 0, 0]
    write_npy(tmp_path / "data" / "multihot_superdiagnostic.npy", labels)
    with pytest.raises(UserError, match="best epoch cannot be chosen"):
        _main(tmp_path / "data", tmp_path / "output")


def test_signals_that_are_no_numbers_are_named(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "data")
    data = utils.load_dataset(tiny, "superdiagnostic")
    row = int(np.flatnonzero(data.labelled & (data.fold == 3))[0])
    data.signals[row, 3, 1] = np.nan
    write_pickle(tmp_path / "data" / "raw100.pkl", data.signals)
    with pytest.raises(UserError, match=rf"ecg_id {data.ecg_id[row]}\b"):
        _main(tmp_path / "data", tmp_path / "output")


def test_an_error_ends_in_one_line(tiny, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["train_model.py", "--data_path", str(tiny), "--task", "colour"]
    )
    with pytest.raises(SystemExit) as ended:
        run(train_model.main, train_model.get_args_parser())
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tiny, tmp_path):
    words = [
        "--data_path",
        tiny,
        "--logdir",
        tmp_path,
        "--task",
        "superdiagnostic",
        "--epochs",
        3000,
        *FAST,
    ]
    process = subprocess.Popen(
        [sys.executable, ROOT / "code" / "train_model.py", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "lenet_superdiagnostic" / "log.jsonl"
    while process.poll() is None and not log.is_file():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on" in stderr
    assert "Traceback" not in stderr
    assert utils.load_model(log.parent).info.task == "superdiagnostic"


def test_ctrl_c_waits_until_tensorboard_has_taken_what_it_was_given():
    passed = []

    @interrupts_held_back()
    def write():
        os.kill(os.getpid(), signal.SIGINT)
        passed.append("the rest of the block")

    for _ in range(2):  # the handler from before is put back: the second time is as the first
        with pytest.raises(KeyboardInterrupt):
            write()
    assert len(passed) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_data_set_it_is_ptbxl_that_is_looked_for(tmp_path):
    done = run_script("train_model.py", "--gpu", check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: data/ptbxl")
    assert "Traceback" not in done.stderr
