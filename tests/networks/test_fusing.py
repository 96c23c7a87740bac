"""Functions in pieces: the same operation, the same map; what only looks alike stays as it is."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attribution import lrp
from networks.capture import capture

ROOT = math.sqrt(2 / math.pi)


def by_maximum(x):
    """A softmax as it is written against overflow."""
    e = torch.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def by_top(x):
    """A log-sum-exp as PyTorch decomposes it: an infinite maximum is not taken off."""
    top = x.amax([-1], keepdim=True)
    top = torch.where(top.abs() == math.inf, 0.0, top)
    return torch.log(torch.sum(torch.exp(x - top), [-1])) + top.squeeze(-1)


# what it is -> the operation, and ways to spell it
SPELLED = {
    "gelu": (
        F.gelu,
        lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
        lambda x: (x * (torch.erf(x * 0.7071068) + 1.0)) / 2,
        lambda x: x * (0.5 * (1 + torch.erf(x / 1.41421))),
    ),
    "gelu by tanh": (
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.044715 * torch.pow(x, 3)))),
        lambda x: 0.5 * x * (1 + torch.tanh(0.7978846 * x * (1 + 0.044715 * x * x))),
    ),
    "hardsigmoid": (
        F.hardsigmoid,
        lambda x: torch.clamp(x + 3, 0, 6) / 6,
        lambda x: F.relu6(x + 3) * (1 / 6),
        lambda x: (x / 6 + 0.5).clamp(min=0).clamp(max=1),
    ),
    "hardswish": (F.hardswish, lambda x: x * F.relu6(x + 3) / 6),
    "sigmoid": (torch.sigmoid, lambda x: 1 / (1 + torch.exp(-x))),
    "softplus": (F.softplus, lambda x: torch.log(1 + torch.exp(x))),
    "log1p": (lambda x: torch.log1p(x.abs()), lambda x: torch.log(x.abs() + 1)),
    "softmax": (lambda x: x.softmax(-1), by_maximum),
    "logsumexp": (
        lambda x: x.logsumexp(-1),
        lambda x: x.exp().sum(-1).log(),
        lambda x: x.amax(-1) + (x - x.amax(-1, keepdim=True)).exp().sum(-1).log(),
        by_top,
    ),
    "softshrink": (
        F.softshrink,
        lambda x: torch.where(x.abs() > 0.5, x - torch.sign(x) * 0.5, x * 0),
        lambda x: torch.where(x.abs() > 0.5, x - 0.5 * torch.sign(x), 0.0),
    ),
}
CASES = [(name, way) for name, (_, *ways) in SPELLED.items() for way in range(len(ways))]
# one constant is another one
ALIKE = {
    "erf of half": lambda x: 0.5 * x * (1 + torch.erf(x / 2)),
    "times two": lambda x: x * (1 + torch.erf(x / math.sqrt(2))),
    "of another": lambda x: 0.5 * x.roll(1, -1) * (1 + torch.erf(x / math.sqrt(2))),
    "cubic": lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.05 * x**3))),
    "another bound": lambda x: torch.clamp(x + 3, 0, 5) / 6,
    "one below": lambda x: 1 / (2 + torch.exp(-x)),
    "another threshold": lambda x: torch.where(x.abs() > 0.5, x - torch.sign(x) * 0.4, x * 0),
    "log-sum-exp beside another maximum": lambda x: (
        (x - x.amax(-1, keepdim=True)).exp().sum(1, keepdim=True).log() + x.amax(-1, keepdim=True)
    ),
    "sum over others": lambda x: torch.exp(x) / torch.exp(x).sum(1, keepdim=True),
}


class Between(nn.Module):
    """A function between a convolution and a dense layer."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.head, self.function = nn.Conv1d(12, 6, 5), nn.Linear(6, 3), function

    def forward(self, x):
        values = self.function(self.conv(x))
        return self.head(values if values.ndim == 2 else values.mean(-1))


def mapped(function, x):
    """Kinds of operations and the map of LRP in double precision."""
    torch.manual_seed(0)
    program = capture(Between(function).double().eval(), x)
    target = torch.arange(len(x))
    kinds = [node.kind for node in program.nodes]
    return kinds, program(x), lrp.lrp(program, x, target, "epsilon_plus")[0]


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(1)
    return 3 * torch.randn(3, 12, 40, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("name", "way"), CASES)
def test_a_function_in_pieces_has_the_map_of_the_operation(name, way, x):
    whole, *ways = SPELLED[name]
    kinds, logits, expected = mapped(whole, x)
    found, again, map_ = mapped(ways[way], x)
    assert set(kinds) <= set(found) <= {*kinds, "hardsigmoid", "reciprocal"}
    assert torch.allclose(again, logits, atol=1e-4)
    assert (map_ - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", ALIKE)
def test_what_looks_alike_stays_in_pieces(name, x):
    kinds, _, _ = mapped(ALIKE[name], x)
    wholes = {"gelu", "hardsigmoid", "hardswish", "sigmoid", "softplus", "softmax", "softshrink"}
    assert not wholes.intersection(kinds)


def test_a_norm_by_hand_has_one_map_however_it_is_written(x):
    def scale(y):
        return y.pow(2).mean(1, keepdim=True) + 1e-5

    _, logits, expected = mapped(lambda y: y / scale(y).sqrt(), x)
    for way in (torch.rsqrt, lambda z: 1 / z.sqrt(), lambda z: z.sqrt().reciprocal()):
        kinds, again, map_ = mapped(lambda y, way=way: y * way(scale(y)), x)
        assert "div" in kinds
        assert torch.allclose(again, logits)
        assert (map_ - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_a_piece_that_is_read_elsewhere_stays(x):
    def both(x):
        bent = torch.erf(x / math.sqrt(2))
        return 0.5 * x * (1 + bent) + bent

    kinds, _, _ = mapped(both, x)
    assert "gelu" in kinds
    assert "erf" in kinds
