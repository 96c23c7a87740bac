"""Two processes do what one does: gradients, losses, running statistics, prediction, errors; and a
whole run by torchrun.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common.files import UserError
from conftest import ROOT, launcher
from launcher import Command
from networks import distributed
from networks.distributed import SynchronisedBatchNorm1d, synchronise_batch_norm
from networks.models import MODELS, get_model
from tiny_dataset import write_tiny_dataset

WORKER = Path(__file__).resolve().parents[1] / "distributed_worker.py"


def _processes(command, n):
    """Run a command in `n` processes that find each other as torchrun's do; the standard output of
    each.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(n)}
    finished = launcher().run(
        *(
            Command(
                [*map(str, command)],
                ROOT,
                {**os.environ, **together, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                seconds=300,
            )
            for rank in range(n)
        )
    )
    assert all(process.returncode == 0 for process in finished), finished
    return [(process.stdout, process.stderr) for process in finished]


def _train_command(data, output):
    return [
        ROOT / "code" / "train_model.py",
        "--data_path",
        data,
        "--task",
        "superdiagnostic",
        "--epochs",
        3,
        "--n_bootstrap",
        20,
        "--threads",
        1,
        "--output_path",
        output,
    ]


def _compute(folder, *names):
    for n in (1, 2):
        _processes([WORKER, folder / f"{n}.npz", *names], n)
    return [dict(np.load(folder / f"{n}.npz")) for n in (1, 2)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What one process and what two processes computed."""
    return _compute(tmp_path_factory.mktemp("ddp"), "lenet", "xresnet")


def _same_training(one, two, name):
    """Gradients of the first step, losses and running statistics of 20 steps."""
    keys = [key for key in one if key.startswith(f"{name}/gradient/")]
    assert len(keys) == len(list(get_model(name, 5).parameters()))
    assert max(np.abs(one[key]).max() for key in keys) > 1e-3
    for key in keys:
        np.testing.assert_allclose(two[key], one[key], rtol=0, atol=1e-10, err_msg=key)
    assert len(one[f"{name}/losses"]) == 20
    np.testing.assert_allclose(two[f"{name}/losses"], one[f"{name}/losses"], rtol=0, atol=1e-6)
    assert np.ptp(one[f"{name}/losses"]) > 0.05
    for key in (key for key in one if key.startswith(name) and "running" in key):
        np.testing.assert_allclose(two[key], one[key], rtol=0, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", ["lenet", "xresnet"])
def test_training_in_two_processes_equals_training_in_one(results, name):
    _same_training(*results, name)


@pytest.mark.slow
def test_training_resnet_in_two_processes_equals_training_in_one(tmp_path):
    _same_training(*_compute(tmp_path, "resnet"), "resnet")


def test_prediction_is_shared_and_put_together_in_order(results):
    for result in results:
        np.testing.assert_array_equal(result["predicted"], result["signals"][:, 0, :3])


def test_units_are_dealt_out_and_results_put_in_order(results):
    for result in results:
        np.testing.assert_array_equal(result["shared"], [0, 1, 4, 9, 16])


def test_errors_of_one_process_reach_all_and_values_are_sent(results):
    assert results[1]["failures"] == 6  # three errors in each of two processes
    assert results[1]["sent"] == 2


def _same_run(one, two):
    predictions = [
        np.load(folder / "lenet_superdiagnostic" / "predictions.npz") for folder in (one, two)
    ]
    assert np.array_equal(*(part["ecg_id"] for part in predictions))
    np.testing.assert_allclose(*(part["logits"] for part in predictions), atol=2e-3)
    rows = [
        [
            json.loads(line)
            for line in (folder / "lenet_superdiagnostic" / "log.jsonl").read_text().splitlines()
        ]
        for folder in (one, two)
    ]
    np.testing.assert_allclose(*([row["train_loss"] for row in part] for part in rows), atol=1e-4)


def test_a_run_of_two_processes_tests_all_records_once(tmp_path):
    data = write_tiny_dataset(tmp_path)
    _processes(_train_command(data, tmp_path / "one"), 1)
    (first, _), (second, _) = _processes(_train_command(data, tmp_path / "two"), 2)
    assert "macro AUC" in first
    assert second == ""
    _same_run(tmp_path / "one", tmp_path / "two")


def test_gradients_of_a_residual_network_lie_as_their_buckets_want_them(tmp_path):
    """Else each step copies them, and torch says so to the user."""
    words = ["--modelname", "xresnet", "--epochs", 1, "--n_bootstrap", 1]
    said = _processes([*_train_command(write_tiny_dataset(tmp_path), tmp_path / "two"), *words], 2)
    assert not any("strides" in errors for _, errors in said)


@pytest.mark.slow
def test_torchrun_trains_and_finds_the_finished_run(tmp_path):
    data = write_tiny_dataset(tmp_path)
    _processes(_train_command(data, tmp_path / "one"), 1)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--rdzv_backend=c10d",
        "--rdzv_endpoint=127.0.0.1:0",
        *map(str, _train_command(data, tmp_path / "two")),
    ]
    said = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    ]
    assert said[0].count("test records, epoch") == 1  # the main process alone says it
    assert said[1].count("is finished") == 1
    _same_run(tmp_path / "one", tmp_path / "two")


def test_one_process_needs_nothing_of_it(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.process_group(torch.device("cpu")) as device:
        assert device.type == "cpu"
        assert (distributed.rank(), distributed.world(), distributed.is_main()) == (0, 1, True)
        assert distributed.from_main(lambda: 3) == 3
        distributed.check_same("data", 1)
        with pytest.raises(UserError, match="no"):
            distributed.on_main(_refuse)
    model = nn.Linear(2, 2)
    assert distributed.wrap(model, device) is model


def _refuse():
    raise UserError("no")


@pytest.mark.parametrize("name", MODELS)
def test_synchronised_batch_norm_keeps_names_tensors_and_evaluation(name):
    model = get_model(name, 5).eval()
    x = torch.randn(2, 12, 250)
    before, keys, tensors = (
        model(x),
        list(model.state_dict()),
        [p.data_ptr() for p in model.parameters()],
    )
    synchronise_batch_norm(model)
    assert sum(isinstance(module, SynchronisedBatchNorm1d) for module in model.modules()) > 0
    assert not any(type(module) is nn.BatchNorm1d for module in model.modules())
    assert list(model.state_dict()) == keys
    assert [p.data_ptr() for p in model.parameters()] == tensors
    assert torch.equal(model(x), before)


def test_what_a_process_trains_alone_asks_no_other(monkeypatch):
    """Controls are dealt out: a network's gradients must not be added to those of another."""
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(distributed.dist, "get_rank", lambda: 2)
    assert (distributed.world(), distributed.rank()) == (3, 2)
    model = torch.nn.Linear(2, 1)
    with distributed.alone():
        assert (distributed.world(), distributed.rank()) == (1, 0)
        assert distributed.wrap(model, torch.device("cpu")) is model
    assert (distributed.world(), distributed.rank()) == (3, 2)
