"""Checkpoints that hold a network's graph: classes of its own, labels in its own order, and what a
damaged or hostile one brings.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from attribution.cards import cards_for, read_cards
from common.files import UserError, write_csv
from common.labels import LEADS, TASKS
from networks.capture import capture
from networks.checkpoints import ModelInfo, load_checkpoint, load_model, save_checkpoint
from networks.inference import load_dataset_for, predict
from records.dataset import TABLE
from tiny_dataset import write_tiny_dataset


def info_of(labels, task="own", **changes):
    facts = {
        "modelname": "mine",
        "task": task,
        "labels": tuple(labels),
        "leads": LEADS,
        "sampling_rate": 100,
        "crop_seconds": 2.5,
        "folds": {"train": [], "validation": [9], "test": [10]},
        "seed": 0,
        "origin": {"file": "mine.onnx", "unit": "uV", "scale": 1000.0},
    }
    return ModelInfo(**{**facts, **changes})


def small_network(n_outputs):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(12, 8, 5), nn.BatchNorm1d(8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        nn.Linear(8, n_outputs),
    ).eval()  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of a network with two classes of its own, and the network."""
    network = small_network(2)
    program = capture(network, torch.zeros(1, 12, 250))
    save_checkpoint(tmp_path / "a.ckpt", program, info_of(["AF", "MI"]))
    return tmp_path / "a.ckpt", network


def test_a_graph_comes_back_with_its_logits_and_learned_parameters(saved):
    path, network = saved
    loaded = load_model(path)
    x = torch.randn(3, 12, 250)
    assert torch.equal(loaded(x), network(x))
    assert loaded.info == info_of(["AF", "MI"])
    assert {name for name, _ in loaded.named_parameters()} == {
        name for name, _ in network.named_parameters()
    }
    signals = np.random.default_rng(0).normal(size=(4, 500, 12)).astype(np.float32)
    assert predict(loaded, signals).shape == (4, 2)


def _store(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["graph"]["nodes"][0].__setitem__(1, "system.default"), "unknown operation"),
        (lambda c: c.__setitem__("graph", 7), "graph must be a dict"),
        (lambda c: c.__setitem__("parameters", 7), "holds no network"),
        (lambda c: c["model"].popitem(), "not stored"),
        (lambda c: c["info"].__setitem__("labels", ["AF"]), "one output per label"),
        (lambda c: c["info"].__setitem__("labels", ["AF", "AF"]), "labels"),
        (lambda c: c["info"].__setitem__("labels", ["A/F", "A-F"]), "labels"),  # files of one name
        (lambda c: c["info"].__setitem__("modelname", "../up"), "modelname"),
        (lambda c: c["info"].__setitem__("task", "superdiagnostic"), "labels"),
        (lambda c: c["info"].__setitem__("origin", {"a": [1]}), "origin"),
        (lambda c: c["model"]["0.weight"].fill_(float("nan")), "not numbers"),
    ],
)
def test_a_damaged_or_hostile_graph_is_refused_in_one_line(saved, change, said):
    path, _ = saved
    _store(path, change)
    with pytest.raises(UserError, match=said) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_a_network_without_a_graph_must_be_one_of_the_three(saved):
    path, _ = saved
    _store(path, lambda content: content.pop("graph"))
    with pytest.raises(UserError, match="modelname"):
        load_checkpoint(path)


@pytest.fixture
def folder(tmp_path):
    return write_tiny_dataset(tmp_path)


def test_labels_come_in_the_order_of_the_network(folder):
    whole = load_dataset_for(info_of(TASKS["superdiagnostic"], "superdiagnostic"), folder)
    data = load_dataset_for(info_of(["STTC", "CD"], "superdiagnostic"), folder)
    assert data.label_names == ["STTC", "CD"]
    assert np.array_equal(data.labels, whole.labels[:, [4, 0]])
    assert np.array_equal(data.labelled, whole.labelled)


def test_classes_of_ones_own_are_taken_from_the_table_or_a_task_that_knows_them(folder, capsys):
    table = pd.read_csv(folder / TABLE)
    table["AF"] = np.where(np.arange(len(table)) % 2, "True", "False")
    table.loc[3, "AF"] = ""
    write_csv(folder / TABLE, table)
    data = load_dataset_for(info_of(["AF", "Brugada", "MI"]), folder)
    truth = load_dataset_for(info_of(["MI"], "superdiagnostic"), folder)
    assert np.array_equal(data.labels[:, 0], (table["AF"] == "True").astype(int))
    assert not data.labels[:, 1].any()
    assert np.array_equal(data.labels[:, 2], truth.labels[:, 0])
    assert list(data.unknown) == ["Brugada"]
    assert "no labels for Brugada" in capsys.readouterr().err


def test_own_cards_are_read_from_a_csv_and_textbook_has_none_for_own_classes(tmp_path):
    path = tmp_path / "my_cards.csv"
    path.write_text("label,lead,segment,sign\nAF,II,P,-1\nAF,V1,T-Peak,\n")
    card = read_cards(path, ["AF", "MI"])["AF"]
    assert card.n_cells == 6
    assert card.signs.sum() == -5
    info = info_of(["AF", "LVH"])
    assert cards_for(str(path), tmp_path, info).keys() == {"AF"}
    assert cards_for("textbook", tmp_path, info) == {}
    assert cards_for("textbook", tmp_path, replace(info, labels=("LVH",), task="subdiagnostic"))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("AF,X9,P,1", "lead X9"),
        ("AF,II,PQRST,1", "segment PQRST"),
        ("XX,II,P,1", "label XX"),
        ("AF,II,P,2", "sign"),
    ],
)
def test_own_cards_that_say_something_unknown_are_refused(tmp_path, row, said):
    path = tmp_path / "my_cards.csv"
    path.write_text(f"label,lead,segment,sign\n{row}\n")
    with pytest.raises(UserError, match=said):
        read_cards(path, ["AF"])
    with pytest.raises(UserError, match="csv of your own"):
        cards_for("nonsense", tmp_path, info_of(["AF"]))
