"""Folding of BatchNorm: the same function, whichever side the linear operation stands on."""

import copy

import pytest
import torch
from torch import nn

from foreign_networks import FOREIGN, foreign
from networks.capture import capture
from networks.folding import folded_program
from networks.models import MODELS, get_model
from networks.probe import Probe
from toy_networks import randomised


def folded(model, x):
    program = capture(model, x)
    return folded_program(program, Probe(program, x).dims)


def norms(program):
    return sum(node.kind == "batch_norm" for node in program.nodes)


@pytest.mark.parametrize("name", [*MODELS, *FOREIGN])
def test_folding_keeps_the_function_and_the_model(name):
    torch.manual_seed(0)
    model = (randomised(get_model(name, 3)) if name in MODELS else foreign(name)).double()
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(2, 12, 250, dtype=torch.float64)
    program = folded(model, x)
    with torch.no_grad():
        assert torch.allclose(program(x), model(x), atol=1e-10)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    # in the inception network one stands behind a concatenation, before a ReLU
    assert norms(program) == (1 if name == "inception" else 0)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.BatchNorm1d(4), nn.Conv1d(4, 3, 3)),
        (nn.BatchNorm1d(4), nn.Conv1d(4, 5, 3), nn.BatchNorm1d(5)),
        (nn.Conv1d(4, 5, 3, bias=False), nn.BatchNorm1d(5), nn.Conv1d(5, 3, 2)),
        (nn.Flatten(), nn.BatchNorm1d(40), nn.Dropout(), nn.Linear(40, 3), nn.BatchNorm1d(3)),
    ],
)
def test_norms_in_front_and_behind(layers):
    torch.manual_seed(0)
    model = randomised(nn.Sequential(*layers)).double()
    x = torch.randn(2, 4, 10, dtype=torch.float64)
    program = folded(model, x)
    assert norms(program) == 0
    assert torch.allclose(program(x), model(x), atol=1e-12)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.BatchNorm1d(4), nn.Conv1d(4, 3, 3, padding=1)),  # the padding is not normalised
        (nn.ReLU(), nn.BatchNorm1d(4), nn.ReLU()),
    ],
)
def test_norms_that_stand_alone_stay(layers):
    torch.manual_seed(0)
    model = randomised(nn.Sequential(*layers)).double()
    x = torch.randn(2, 4, 10, dtype=torch.float64)
    program = folded(model, x)
    assert norms(program) == 1
    assert torch.allclose(program(x), model(x), atol=1e-12)
