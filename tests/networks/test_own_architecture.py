"""train_model.py --modelname file.py:maker: trained, tested and stored without its code."""

import json
import sys

import pytest
import torch

from conftest import run_script
from networks.checkpoints import load_model
from tiny_dataset import write_tiny_dataset

CODE = """
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self, num_classes, n_leads):
        super().__init__()
        assert num_classes == 5  # made for this task
        self.conv = nn.Conv1d(n_leads, 16, 9, padding="same")
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.head(F.relu(self.norm(self.conv(x))).mean(-1))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("architecture")
    (folder / "my_net.py").write_text(CODE)
    (folder / "data").mkdir()
    write_tiny_dataset(folder / "data")
    return folder


def train(place, *options, **keywords):
    return run_script(
        "train_model.py", "--modelname", f"{place / 'my_net.py'}:Net", "--task", "superdiagnostic",
        "--data_path", place / "data", "--output_path", place / "output", "--epochs", 2,
        "--n_bootstrap", 20, *options, **keywords,
    )  # fmt: skip


def test_it_is_trained_and_stands_alone_afterwards(place):
    train(place)
    run = place / "output" / "my_net_superdiagnostic"
    sys.modules.pop("own_my_net", None)  # training has read it
    model = load_model(run)
    assert model.info.modelname == "my_net"
    assert model.info.origin["file"] == "my_net.py"
    assert model(torch.zeros(3, 12, 250)).shape == (3, 5)
    assert 0 < json.loads((run / "metrics.json").read_text())["windows"]["macro_auc"]["value"] < 1
    assert "own_my_net" not in sys.modules  # loading it ran none of its code
    assert "is finished" in train(place).stdout
    done = train(place, "--test_only", "--overwrite")
    assert "macro AUC" in done.stdout


def test_a_file_named_like_one_of_ours_is_refused(place):
    (place / "lenet.py").write_text(CODE)
    done = run_script(
        "train_model.py", "--modelname", f"{place / 'lenet.py'}:Net", "--data_path", place / "data",
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "called like the network lenet" in done.stderr


def test_what_could_not_be_stored_is_refused_before_training(place):
    code = "\n".join([
        "import torch", CODE, "class Bad(Net):", "    def forward(self, x):",
        "        found = super().forward(x)",
        "        return found + 0 * torch.linalg.qr(found)[1].sum()",
    ])  # fmt: skip
    (place / "bad_net.py").write_text(code)
    done = train(place, "--modelname", f"{place / 'bad_net.py'}:Bad", check=False)
    assert done.returncode == 2
    assert "linalg_qr" in done.stderr
    assert not (place / "output" / "bad_net_superdiagnostic").exists()
