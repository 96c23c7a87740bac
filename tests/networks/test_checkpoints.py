"""Checkpoints: say what they are, load strictly and without running anything, refuse what
contradicts them.
"""

import argparse
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from common.files import UserError
from common.labels import LEADS, TASKS
from networks.checkpoints import (
    ModelInfo,
    check_against,
    find_checkpoint,
    load_checkpoint,
    load_model,
    run_folder,
    save_checkpoint,
)
from networks.models import MODELS, get_model
from networks.run import as_stored


def _info(**changes):
    facts = {
        "modelname": "lenet",
        "task": "superdiagnostic",
        "labels": tuple(TASKS["superdiagnostic"]),
        "leads": LEADS,
        "sampling_rate": 500,
        "crop_seconds": 2.5,
        "folds": {"train": [1, 2], "validation": [9], "test": [10]},
        "seed": 3,
        "thresholds": (0.1, 0.2, float("nan"), 0.4, 0.5),
    }
    return ModelInfo(**{**facts, **changes})


@pytest.fixture
def saved(tmp_path):
    """A saved LeNet: its path and the model."""
    model = get_model("lenet", 5)
    path = tmp_path / "run" / "checkpoints" / "best_model.ckpt"
    save_checkpoint(path, model, _info(), epoch=7, history=[{"epoch": 1, "score": 0.5}])
    return path, model


@pytest.mark.parametrize("modelname", MODELS)
def test_a_model_comes_back_with_its_logits_and_its_description(tmp_path, modelname):
    info = _info(modelname=modelname, leads=("V2", "I"), run_name="x")
    model = get_model(modelname, 5, 2)
    model(torch.randn(4, 2, 250))  # moves the running statistics, which belong to the model too
    save_checkpoint(tmp_path / "a.ckpt", model, info)
    loaded = load_model(tmp_path / "a.ckpt")
    x = torch.randn(2, 2, 250)
    assert not loaded.training
    assert torch.equal(loaded(x), model.eval()(x))
    assert replace(loaded.info, thresholds=None) == replace(info, thresholds=None)
    assert loaded.info.crop == 1250
    assert loaded.info.run_folder_name == f"{modelname}_superdiagnostic_x"


ODD = [
    {"sampling_rate": 0},
    {"sampling_rate": float("nan")},
    {"sampling_rate": 10**9},
    {"crop_seconds": 0},
    {"crop_seconds": 1e9},
    {"labels": ("MI",) * 5},
    {"labels": ("../a", "/etc", "a\nb", "<b>", "")},
    {"leads": ("I",) * 12},
    {"leads": ("Ä", *LEADS[1:])},
    {"thresholds": (0.5,) * 3},
    {"thresholds": (7.0,) * 5},
    {"thresholds": (-0.1,) * 5},
    {"modelname": "../../x"},
    {"seed": "x"},
]


@pytest.mark.parametrize("changes", ODD, ids=lambda changes: next(iter(changes)))
def test_a_checkpoint_that_says_what_no_training_does_is_refused(tmp_path, changes):
    save_checkpoint(tmp_path / "a.ckpt", get_model("lenet", 5), _info(**changes))
    with pytest.raises(UserError, match=f"is no checkpoint .*{next(iter(changes))} "):
        load_checkpoint(tmp_path / "a.ckpt")


def test_file_and_run_folder_mean_the_same_checkpoint(saved):
    path, _ = saved
    assert find_checkpoint(path) == find_checkpoint(path.parent.parent) == path
    content, info = load_checkpoint(path.parent.parent)
    assert content["epoch"] == 7
    assert info.index("MI") == 2
    with pytest.raises(UserError, match=r"does not know 'AMI'.*CD, HYP, MI, NORM, STTC"):
        info.index("AMI")


def test_it_holds_tensors_and_plain_values_alone(saved):
    content = torch.load(saved[0], weights_only=True)
    assert set(content) == {"model", "info", "epoch", "history"}
    assert all(isinstance(value, torch.Tensor) for value in content["model"].values())


class _Evil:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: path.write_bytes(b"no checkpoint"),
        lambda path: path.write_bytes(pickle.dumps(_Evil(), protocol=2)),
        lambda path: torch.save({"model": {}}, path),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"model": {}, "info": {"task": "superdiagnostic"}}, path),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_one_line(saved, capsys, spoil):
    spoil(saved[0])
    with pytest.raises(UserError, match=r"best_model\.ckpt") as raised:
        load_model(saved[0])
    assert "\n" not in str(raised.value)
    assert "ran" not in capsys.readouterr().out


def test_missing_files_say_how_to_get_one(tmp_path):
    for path in (None, tmp_path / "x.ckpt", tmp_path):
        with pytest.raises(UserError, match=r"train_model\.py"):
            load_model(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda weights: weights.pop("head.bias"),
        lambda weights: weights.update(extra=torch.zeros(1)),
        lambda weights: weights.update({"head.bias": torch.zeros(4)}),
    ],
)
def test_loading_is_strict_about_names_and_shapes(saved, spoil):
    path, _ = saved
    content = torch.load(path, weights_only=True)
    spoil(content["model"])
    torch.save(content, path)
    with pytest.raises(UserError, match="does not fit lenet"):
        load_model(path)


def test_run_folder_is_added_once(tmp_path):
    info = _info(run_name="a")
    assert run_folder(tmp_path, info) == tmp_path / "lenet_superdiagnostic_a"
    assert (
        run_folder(tmp_path / "lenet_superdiagnostic_a", info)
        == tmp_path / "lenet_superdiagnostic_a"
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [("task", "rhythm"), ("modelname", "xresnet"), ("sampling_rate", 100), ("run_name", "x")],
)
def test_an_option_that_contradicts_the_checkpoint_is_refused(option, value):
    agreeing = argparse.Namespace(
        task="superdiagnostic", modelname=None, sampling_rate=500, run_name=None
    )
    check_against(agreeing, _info())
    with pytest.raises(UserError, match=f"--{option} {value} contradicts"):
        check_against(argparse.Namespace(**{**vars(agreeing), option: value}), _info())


def test_a_registered_network_without_a_base_class_is_stored_by_its_name(tmp_path, monkeypatch):
    """One line in MODELS is enough: no base class, and a last layer of any name."""

    class Plain(nn.Module):
        def __init__(self, num_classes, n_leads):
            super().__init__()
            self.body = nn.Conv1d(n_leads, 8, 9, 4, 4)
            self.classify = nn.Linear(8, num_classes)

        def forward(self, x):
            return self.classify(self.body(x).mean(dim=2))

    monkeypatch.setitem(MODELS, "plain", Plain)
    labels = tuple(TASKS["superdiagnostic"])
    info = ModelInfo("plain", "superdiagnostic", labels, LEADS, 100, 2.5, {"test": [10]}, 0)
    model = Plain(5, 12).eval()
    path = tmp_path / "checkpoints" / "best_model.ckpt"
    save_checkpoint(path, as_stored(model, info), info)
    x = torch.randn(2, 12, 250)
    assert torch.equal(load_model(path)(x), model(x))
