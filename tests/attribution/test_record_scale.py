"""Integrated Gradients of networks that divide a record by a size of its own: known answers."""

import pytest
import torch
from torch import nn

from attribution.gradients import integrated_gradients
from attribution.record_scale import HeldScales
from networks.foreign import wrap

LEADS_OF_TWO = ["I", "V2"]
TARGET = torch.tensor([0, 1, 0])


@pytest.fixture
def x():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, 2, 250, generator=generator) * torch.tensor([0.2, 1, 5])[:, None, None]


class Weighing(nn.Module):
    """Logits are weighted sums of the record over its size, as one writes it by hand."""

    def __init__(self, size):
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.weight = nn.Parameter(torch.randn(2, 2, 250, generator=generator))
        self.size = size

    def forward(self, x):
        x = self.size(x)
        return (x[:, None] * self.weight).sum((2, 3)) + 0.5


def by_deviation(x):
    return x / (x.std((1, 2), keepdim=True) + 1e-7)


def by_reciprocal(x):
    return x * (1 / x.std((1, 2), keepdim=True))


def by_inverse_root(x):
    return x * torch.rsqrt(x.square().mean(2, keepdim=True))


def by_range(x):
    return (x - x.amin(2, keepdim=True)) / (x.amax(2, keepdim=True) - x.amin(2, keepdim=True))


SIZES = [by_deviation, by_reciprocal, by_inverse_root, by_range]


def wrapped(module, **options):
    return wrap(module.eval(), labels=["A", "B"], leads=LEADS_OF_TWO, seconds=2.5, **options)


@pytest.mark.parametrize("size", SIZES)
def test_the_map_of_a_weighted_sum_is_the_weight_over_the_size(size, x):
    network = Weighing(size)
    found = integrated_gradients(wrapped(network), x, TARGET, steps=4)
    weight = network.weight.detach()[TARGET]
    assert torch.allclose(found.attributions.sum((1, 2)).double(), found.difference, rtol=1e-4)
    assert found.gap.abs().max() < 1e-3
    if size is by_deviation:
        scale = x.std((1, 2), keepdim=True)
        assert torch.allclose(found.attributions, x * weight / scale, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["zscore", "zscore_record", "minmax", "minmax_record"])
def test_the_stated_normalisations_are_held(name, x):
    network = nn.Sequential(nn.Conv1d(2, 4, 7), nn.ReLU(), nn.Flatten(), nn.Linear(976, 2))
    program = wrapped(network, normalisation=name)
    found = integrated_gradients(program, x, TARGET)
    assert not found.missed.any()
    # a way that is not held finds next to nothing
    assert found.attributions.flatten(1).abs().sum(1).min() > 0.01


def test_a_record_has_the_same_map_alone_and_beside_records_that_are_flat(x):
    program = wrapped(Weighing(by_deviation))
    x[0] = 0
    x[1, 0] = 0  # one lead loose
    together = integrated_gradients(program, x, TARGET)
    for row in range(3):
        alone = integrated_gradients(program, x[row : row + 1], TARGET[row : row + 1])
        assert torch.allclose(together.attributions[row], alone.attributions[0], atol=1e-6)
    assert together.attributions[0].abs().max() == 0


class Gated(nn.Module):
    """Squeeze and excitation: the gate is a factor per channel, and part of what is explained."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 5)
        self.gate = nn.Linear(2, 2)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return (x * torch.sigmoid(self.gate(x.mean(2)))[:, :, None]).mean(2)


def test_gates_are_not_held(x):
    torch.manual_seed(0)
    assert not HeldScales(wrapped(Gated()), x).values


def test_networks_without_a_size_of_the_record_take_no_trial(x, monkeypatch):
    program = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(500, 2)))
    monkeypatch.setattr(program, "run", None)
    assert not HeldScales(program, x).values


NORMS = [
    nn.InstanceNorm1d(2, affine=True),
    nn.LayerNorm(250),
    nn.LayerNorm([2, 250], elementwise_affine=False),
    nn.GroupNorm(1, 2),
    nn.RMSNorm(250),
]


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm).__name__)
def test_a_norm_in_front_of_the_first_layer_is_held(norm, x):
    torch.manual_seed(0)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    network = nn.Sequential(norm, nn.Conv1d(2, 4, 7), nn.ReLU(), nn.Flatten(), nn.Linear(976, 2))
    program = wrapped(network)
    scales = HeldScales(program, x)
    assert len(scales.values) == 1
    own, held = program(x), scales.network(torch.arange(3))(x)
    assert torch.allclose(own, held, atol=1e-5)
    found = integrated_gradients(program, x, TARGET)
    assert not found.missed.any()
    assert found.attributions.flatten(1).abs().sum(1).min() > 0.01


def test_a_norm_of_what_does_not_follow_the_size_is_left_alone(x):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv1d(2, 4, 7), nn.InstanceNorm1d(4), nn.Flatten(), nn.Linear(976, 2))
    program = wrapped(inner)
    assert HeldScales(program, x).model is program
