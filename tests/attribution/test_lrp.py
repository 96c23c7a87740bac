"""LRP: each rule against a slow matrix form of its formula, the ledger, and mutations that must
break it.
"""

import numpy as np
import pytest
import torch
from torch import nn

import attribution
from attribution import lrp, lrp_rules
from attribution.lrp import LRP_PRESETS, Preset
from attribution.lrp_maps import ConvMap, LinearMap
from attribution.lrp_operations import OPERATION_RULES
from attribution.lrp_rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Zero,
    ZPlus,
)
from attribution.lrp_steps import Rule
from common.files import UserError
from lrp_oracles import alpha_beta, by_rule, epsilon, flat, gamma, z_plus, z_plus_no_bias, zero
from networks.models import AdaptiveConcatPool, Add, get_model
from toy_networks import randomised

# ---------------------------------------------------------------- each rule by one dense matrix


def map_of(layer):
    """A layer as the rules see it."""
    if isinstance(layer, nn.Linear):
        return LinearMap(layer.weight, layer.bias)
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return ConvMap(layer.weight, layer.bias, lrp.per_record, *geometry)


def matrix_of(layer, x):
    """W (K, J) and b (K,) of a layer, by its Jacobian."""
    jacobian = torch.autograd.functional.jacobian(
        lambda flat: layer(flat.view(x.shape)).flatten(), x.flatten()
    )
    bias = layer(x).flatten() - jacobian @ x.flatten()
    return jacobian.detach().numpy(), bias.detach().numpy()


ORACLES = {
    "zero": (Zero(), zero),
    "epsilon": (Epsilon(0.01), epsilon),
    "z_plus": (ZPlus(0.01), z_plus),
    "z_plus_no_bias": (ZPlus(0.01, bias=False), z_plus_no_bias),
    "gamma": (Gamma(0.4, 0.01), gamma),
    "alpha_beta": (AlphaBeta(2, 1, 0.01), alpha_beta),
    "flat": (Flat(), flat),
}
LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (7,)),
    "linear_without_bias": (lambda: nn.Linear(7, 5, bias=False), (7,)),
    "conv": (lambda: nn.Conv1d(3, 4, 3), (3, 11)),
    "conv_without_bias": (lambda: nn.Conv1d(3, 4, 3, bias=False), (3, 11)),
    "conv_stride_padding": (lambda: nn.Conv1d(3, 4, 5, stride=2, padding=2), (3, 11)),
    "conv_stride_over": (lambda: nn.Conv1d(2, 3, 2, stride=3), (2, 12)),
    "conv_dilated": (lambda: nn.Conv1d(3, 2, 3, padding=2, dilation=2), (3, 11)),
    "conv_groups": (lambda: nn.Conv1d(4, 4, 3, padding=1, groups=2), (4, 9)),
    "conv_same": (lambda: nn.Conv1d(3, 4, 5, padding="same", dilation=2), (3, 11)),
    "conv_same_even": (lambda: nn.Conv1d(3, 4, 4, padding="same"), (3, 11)),
    "conv_depthwise": (lambda: nn.Conv1d(4, 8, 3, padding=1, groups=4), (4, 9)),
    "conv_1x1": (lambda: nn.Conv1d(3, 4, 1, stride=2), (3, 9)),
}


def slow_relevance(oracle, layer, x, relevance):
    """(relevance of the input, bias share, stabiliser share) of one record."""
    weights, biases = matrix_of(layer, x)
    return by_rule(weights, biases, x.flatten().numpy(), relevance.flatten().numpy(), oracle)


@pytest.mark.parametrize("rule", ORACLES)
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_rule_against_its_matrix_form(rule, kind, seed):
    torch.manual_seed(seed)
    make, shape = LAYERS[kind]
    layer = make().double()
    fast, oracle = ORACLES[rule]
    x = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        y = layer(x)
    relevance = torch.randn(y.shape, dtype=torch.float64)
    got, shares = fast(map_of(layer), x, y, relevance)
    for record in range(2):
        expected = slow_relevance(
            oracle, layer, x[record : record + 1], relevance[record : record + 1]
        )
        scale = np.abs(expected[0]).max() + abs(expected[1]) + abs(expected[2])
        assert np.abs(got[record].flatten().numpy() - expected[0]).max() <= 1e-9 * scale
        assert abs(float(shares.bias[record]) - expected[1]) <= 1e-9 * scale
        assert abs(float(shares.stabiliser[record]) - expected[2]) <= 1e-9 * scale


def test_z_plus_for_non_negative_input_is_the_textbook_form():
    torch.manual_seed(0)
    layer = nn.Linear(6, 4, bias=False).double()
    x, r = torch.rand(3, 6, dtype=torch.float64), torch.rand(3, 4, dtype=torch.float64)
    got, _ = ZPlus(0.0)(map_of(layer), x, layer(x), r)
    w = layer.weight.detach().clamp(min=0)
    assert torch.allclose(got, x * ((r / (x @ w.T)) @ w), atol=1e-12)
    assert torch.allclose(got.sum(1), r.sum(1))


def test_an_output_of_zero_loses_its_relevance_to_the_stabiliser():
    layer = nn.Linear(2, 1, bias=False).double()
    layer.weight.data = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    x = torch.ones(1, 2, dtype=torch.float64)
    got, shares = Zero()(
        map_of(layer), x, layer(x).detach(), torch.tensor([[3.0]], dtype=torch.float64)
    )
    assert got.tolist() == [[0.0, 0.0]]
    assert float(shares.stabiliser) == 3.0


def test_rules_refuse_what_they_cannot_do():
    with pytest.raises(UserError, match="alpha - beta must be 1"):
        AlphaBeta(2, 2)


# ---------------------------------------------------------------- whole networks


def seeded(name, seed=3, classes=4):
    torch.manual_seed(seed)
    return randomised(get_model(name, classes), seed)


@pytest.fixture(scope="module", params=["lenet", "xresnet", "resnet"])
def network(request):
    return seeded(request.param).double()


@pytest.fixture(scope="module")
def x():
    return 0.5 * torch.randn(
        2, 12, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
    )


TARGET = torch.tensor([1, 3])


@pytest.mark.parametrize("preset", LRP_PRESETS)
def test_ledger_closes(network, x, preset):
    relevance, ledger = lrp.lrp(network, x, TARGET, preset)
    assert ledger.gap.abs().max() <= 1e-9
    assert torch.allclose(ledger.input, relevance.flatten(1).sum(1))
    assert torch.allclose(ledger.logit, network(x).gather(1, TARGET[:, None])[:, 0], atol=1e-9)
    opened = sum(entry.bias + entry.stabiliser for entry in ledger.layers.values())
    assert torch.allclose(opened, ledger.bias + ledger.stabiliser)
    assert not ledger.nonlinear.any()
    linear = [
        name
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv1d, nn.Linear, Add))
    ]
    assert set(linear) <= set(ledger.layers)


@pytest.mark.parametrize("name", ["lenet", "xresnet", "resnet"])
def test_ledger_closes_in_single_precision(name, x):
    model = seeded(name)
    for preset in LRP_PRESETS:
        assert lrp.lrp(model, x.float(), TARGET, preset)[1].gap.abs().max() <= 1e-5, preset


def test_epsilon_rule_is_input_x_gradient_as_epsilon_vanishes(network, x):
    tiny = Preset(Epsilon(1e-13), Epsilon(1e-13))
    by_rule, _ = lrp.lrp(network, x, TARGET, tiny)
    by_gradient = attribution.attribute(network, x, TARGET, "input_x_gradient")
    assert (by_rule - by_gradient).abs().max() <= 1e-4 * by_gradient.abs().max()
    further, _ = lrp.lrp(network, x, TARGET, Preset(Epsilon(1e-7), Epsilon(1e-7)))
    assert (by_rule - by_gradient).abs().max() < (further - by_gradient).abs().max()


def test_sums_and_pools_are_split_as_their_formulae_say():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.average, self.add = (
                AdaptiveConcatPool(),
                nn.AvgPool1d(2, ceil_mode=True),
                Add(),
            )
            self.relu, self.flatten, self.head = (
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(4, 1, bias=False),
            )

        def forward(self, x):
            y = self.average(x)
            return self.head(self.flatten(self.pool(self.add(y, self.relu(y)))))

    torch.manual_seed(0)
    model, x = Branches().double(), torch.rand(3, 2, 5, dtype=torch.float64) + 0.1
    relevance, ledger = lrp.lrp(model, x, torch.zeros(3, dtype=torch.long), "epsilon")
    assert ledger.gap.abs().max() <= 1e-9
    # without biases and with sums in proportion, relevance is input x gradient
    assert torch.allclose(
        relevance, attribution.attribute(model, x, 0, "input_x_gradient"), atol=1e-5
    )


class Copying(Rule):
    """A wrong rule: the whole relevance to every input, as if the operation were not there."""

    def backward(self, step, run, relevance):
        return [(name, relevance) for name in step.dependent]


def test_ledger_breaks_when_a_residual_sum_is_not_split(x, monkeypatch):
    model = seeded("xresnet").double()
    monkeypatch.setitem(OPERATION_RULES, "add", Copying())
    ledger = lrp.lrp(model, x, TARGET)[1]
    assert ledger.gap.abs().min() > 1e-3
    with pytest.raises(UserError, match="ledger misses"):
        ledger.checked()
    with pytest.raises(UserError, match="ledger misses"):
        attribution.explain(model, x, TARGET, "lrp")


@pytest.mark.parametrize("preset", ["epsilon", "epsilon_plus", "epsilon_gamma", "alpha2_beta1"])
def test_ledger_breaks_when_a_bias_is_dropped(x, preset, monkeypatch):
    network = seeded("lenet").double()
    monkeypatch.setattr(
        lrp_rules, "bias_share", lambda linear, s, bias: torch.zeros(len(s), dtype=torch.float64)
    )
    assert lrp.lrp(network, x, TARGET, preset)[1].gap.abs().min() > 1e-3


def test_flat_first_layer_tells_no_lead_from_another(x):
    relevance, _ = lrp.lrp(seeded("lenet").double(), x, TARGET, "epsilon_plus_flat")
    assert torch.allclose(relevance, relevance[:, :1].expand_as(relevance), atol=1e-12)


def test_known_answer_of_a_tiny_network():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    model[1].weight.data = torch.tensor([[1.0, 2.0], [-1.0, 1.0]], dtype=torch.float64)
    model[1].bias.data = torch.tensor([1.0, 0.0], dtype=torch.float64)
    model[3].weight.data = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    model[3].bias.data = torch.tensor([0.5], dtype=torch.float64)
    # x = (1, 2): hidden (6, 1), logit 12 - 1 + .5 = 11.5; hidden relevance (12, -1), bias .5
    exact = Preset(Zero(), Zero())
    relevance, ledger = lrp.lrp(
        model, torch.tensor([[[1.0, 2.0]]], dtype=torch.float64), torch.tensor([0]), exact
    )
    assert np.allclose(
        relevance.flatten(), [12 / 6 + 1, 12 * 4 / 6 - 2]
    )  # hidden 1: 1/6, 4/6, bias 1/6; hidden 2: -1, 2
    assert np.isclose(float(ledger.bias), 0.5 + 12 / 6)
    assert np.isclose(float(ledger.logit), 11.5)


def test_memory_that_is_used_again_leaves_maps_as_they_are():
    """Two batches one after the other, the second smaller: each as it is alone."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(12, 8, 5), nn.ReLU(), nn.Conv1d(8, 4, 3), nn.Flatten())
    model.append(nn.Linear(4 * 94, 3))
    x, target = torch.randn(5, 12, 100), torch.tensor([0, 1, 2, 0, 1])
    for preset in LRP_PRESETS:
        whole, book = lrp.lrp(model, x, target, preset)
        kept = whole.clone()
        part, _ = lrp.lrp(model, x[:2], target[:2], preset)
        assert torch.equal(whole, kept)
        assert torch.allclose(part, whole[:2], atol=1e-6 * float(whole.abs().max()))
        assert book.gap.abs().max() < 1e-5
