"""Weights of a graph drawn anew: the named parts alone, batch norms following, nothing shared."""

import pytest
import torch
from torch import nn

from foreign_networks import FOREIGN, foreign
from networks.capture import capture
from networks.redrawing import features, learned, parts_of, redrawn

X = torch.randn(6, 12, 250, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", FOREIGN)
def test_named_parts_are_drawn_anew_and_the_rest_stays(name):
    program = capture(foreign(name), X)
    before = {key: value.clone() for key, value in program.tensors.items()}
    part, nodes = list(parts_of(program).items())[-1]
    twin = redrawn(program, [part], X, seed=1)
    changed = {key for node in nodes for key in learned(program, node)}
    assert all(torch.equal(program.tensors[key], value) for key, value in before.items())
    for key, value in before.items():
        if key in dict(program.named_parameters()):
            assert torch.equal(twin.tensors[key], value) == (key not in changed)
    assert torch.isfinite(twin(X)).all()
    assert not torch.allclose(twin(X), program(X))
    assert torch.equal(redrawn(program, [part], X, seed=1)(X), twin(X))


def test_batch_norms_get_the_statistics_of_what_they_see():
    program = capture(foreign("functional_resnet"), X)
    twin = redrawn(program, list(parts_of(program)), X, seed=3)
    norm = next(node for node in twin.nodes if node.kind == "batch_norm")
    seen = twin.run(X, keep=[norm.name])[1][norm.name]
    assert seen.mean(dim=(0, 2)).abs().max() < 1e-4
    assert (seen.std(dim=(0, 2)) - 1).abs().max() < 1e-2


def test_features_are_the_input_of_the_last_dense_layer():
    network = foreign("functional_resnet")
    caught = []
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    network(X)
    assert torch.allclose(features(capture(network, X), X), caught[0], atol=1e-6)


class Turned(nn.Module):
    """A dense layer behind another, by a matrix of its own that is turned first."""

    def __init__(self, turn):
        super().__init__()
        self.first = nn.Linear(12, 7)
        self.weight, self.turn = nn.Parameter(torch.randn(3, 7)), turn

    def forward(self, x):
        return self.first(x.mean(2)).relu() @ self.turn(self.weight)


@pytest.mark.parametrize("turn", [lambda w: w.t(), lambda w: w.softmax(0).t()])
def test_features_go_into_the_last_layer_also_where_its_weights_are_computed(turn):
    network = Turned(turn)
    expected = network.first(X.mean(2)).relu()
    assert torch.allclose(features(capture(network, X), X), expected, atol=1e-6)
