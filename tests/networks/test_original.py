"""Checkpoints in the original XAI4ECG's layout: logits equal to 0.0, and nothing is executed."""

import argparse
import zipfile
from collections import OrderedDict

import pytest
import torch

from common.files import UserError
from conftest import run_script
from networks.checkpoints import load_model
from networks.models import MODELS, get_model
from networks.original import network_of, task_of_size


class Bomb:
    """Would write a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def write_original(path, modelname, n_classes=23, extra=None):
    """A Lightning file of one of the networks under other names, some layers registered twice."""
    torch.manual_seed(1)
    network = get_model(modelname, n_classes)
    network.train()(torch.randn(8, 12, 250))  # moves the statistics
    state = OrderedDict()
    for number, (name, tensor) in enumerate(network.state_dict().items()):
        state[f"model.layer{number}.{name.rsplit('.', 1)[1]}"] = tensor
        if number % 7 == 3 and modelname == "xresnet":
            state[f"model.again{number}.weight"] = tensor
    state["criterion.pos_weight"] = torch.ones(n_classes)
    content = {
        "epoch": 3, "global_step": 10, "pytorch-lightning_version": "1.9.0", "state_dict": state,
        "hyper_parameters": argparse.Namespace(lr=1e-3), "callbacks": {"best": torch.ones(1)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}}], **(extra or {}),
    }  # fmt: skip
    torch.save(content, path)
    return network.eval()


@pytest.mark.parametrize("modelname", MODELS)
def test_logits_are_equal(tmp_path, modelname):
    network = write_original(tmp_path / "best_model.ckpt", modelname)
    name, found = network_of(tmp_path / "best_model.ckpt")
    x = torch.randn(5, 12, 250)
    assert name == modelname
    assert (found(x) - network(x)).abs().max() == 0.0


def test_nothing_in_it_is_executed(tmp_path):
    extra = {"hyper_parameters": Bomb(tmp_path / "owned"), "loops": [Bomb(tmp_path / "owned")]}
    network = write_original(tmp_path / "bad.ckpt", "lenet", extra=extra)
    x = torch.randn(5, 12, 250)
    assert (network_of(tmp_path / "bad.ckpt")[1](x) - network(x)).abs().max() == 0.0
    torch.save({"state_dict": {"model.a": Bomb(tmp_path / "owned")}}, tmp_path / "worse.ckpt")
    with pytest.raises(UserError, match="holds no weights"):
        network_of(tmp_path / "worse.ckpt")
    assert not (tmp_path / "owned").exists()


def test_the_command_line_makes_a_run_of_it(tmp_path):
    network = write_original(tmp_path / "best_model.ckpt", "lenet")
    done = run_script(
        "import_model.py", "--original", tmp_path / "best_model.ckpt", "--run_name", "first",
        "--output_path", tmp_path,
    )  # fmt: skip
    model = load_model(tmp_path / "lenet_subdiagnostic_first")
    x = torch.randn(5, 12, 250)
    assert (model(x) - network(x)).abs().max() == 0.0
    assert "saliency: yes" in done.stdout


def _cut(path):
    with zipfile.ZipFile(path) as old:
        entries = {entry.filename: old.read(entry) for entry in old.infolist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in entries.items():
            new.writestr(name, content[:3] if "/data/" in name else content)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.write_bytes(b"junk"), "no checkpoint of PyTorch Lightning"),
        (lambda path: torch.save({"a": 1}, path), "no checkpoint of PyTorch Lightning"),
        (lambda path: torch.save({"state_dict": {"a.b": torch.ones(3)}}, path), "of none of lenet"),
        (_cut, "less than it declares"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, change, said):
    path = tmp_path / "bad.ckpt"
    write_original(path, "lenet")
    change(path)
    with pytest.raises(UserError, match=said) as caught:
        network_of(path)
    assert "\n" not in str(caught.value)


def test_the_task_follows_from_the_number_of_outputs():
    assert task_of_size(23, None) == "subdiagnostic"
    assert task_of_size(12, "T_Wave_Amplitude") == "T_Wave_Amplitude"
    with pytest.raises(UserError, match="--task"):
        task_of_size(12, None)
    with pytest.raises(UserError, match="has 5 labels"):
        task_of_size(23, "superdiagnostic")
