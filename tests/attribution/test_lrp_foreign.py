"""LRP on the networks of others: the ledger of each, twins written as modules, and every
operation's rule against its formula by loops or against the network's own gradient.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attribution
from attribution import lrp, lrp_attention
from attribution.lrp import LRP_PRESETS, Preset
from attribution.lrp_operations import OPERATION_RULES
from attribution.lrp_plan import plan_of
from attribution.lrp_rules import Epsilon, Zero
from attribution.lrp_steps import Rule
from common.files import UserError
from foreign_networks import FOREIGN, PIECEWISE_LINEAR, TWINS, WITHOUT_LRP, Sum, foreign
from networks.capture import capture
from networks.foreign import wrap

EXPLAINED = [name for name in FOREIGN if name not in WITHOUT_LRP]
TARGET = torch.tensor([0, 2, 1])
EXACT = Preset(Zero(), Zero())
TINY = Preset(Epsilon(1e-13), Epsilon(1e-13))


@pytest.fixture(scope="module")
def x():
    return 0.5 * torch.randn(
        3, 12, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("name", EXPLAINED)
def test_ledger_closes_with_every_preset(name, x):
    single, double = foreign(name), foreign(name).double()
    for preset in LRP_PRESETS:
        assert lrp.lrp(single, x.float(), TARGET, preset)[1].gap.abs().max() <= 1e-5, preset
        relevance, ledger = lrp.lrp(double, x, TARGET, preset)
        assert ledger.gap.abs().max() <= 1e-9, preset
        assert torch.allclose(ledger.input, relevance.flatten(1).sum(1))
        output = double(x).gather(1, TARGET[:, None])[:, 0]
        assert torch.allclose(ledger.logit, output, atol=1e-12)


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_written_as_modules_has_the_same_map(name, x):
    twins = foreign(name), foreign(name, functional=False)
    assert torch.allclose(*(twin(x.float()) for twin in twins), atol=1e-6)
    for preset in LRP_PRESETS:
        maps = [lrp.lrp(twin.double(), x, TARGET, preset)[0] for twin in twins]
        assert (maps[0] - maps[1]).abs().max() <= 1e-5 * maps[1].abs().max(), preset
    assert [node.kind for node in capture(twins[0], x).nodes].count("add") == [
        node.kind for node in capture(twins[1], x).nodes
    ].count("add")


def test_attention_written_out_has_the_map_of_the_fused_operation(x):
    fused, written = foreign("vit").double(), foreign("vit", explicit=True).double()
    assert torch.allclose(fused(x), written(x), atol=1e-10)
    for preset in LRP_PRESETS:
        maps = [lrp.lrp(model, x, TARGET, preset) for model in (fused, written)]
        assert (maps[0][0] - maps[1][0]).abs().max() <= 1e-6 * maps[0][0].abs().max(), preset
        assert torch.allclose(maps[0][1].nonlinear, maps[1][1].nonlinear, atol=1e-6)


@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_epsilon_is_input_x_gradient_on_piecewise_linear_networks(name, x):
    model = foreign(name).double()
    by_rule, _ = lrp.lrp(model, x, TARGET, TINY)
    by_gradient = attribution.attribute(model, x, TARGET, "input_x_gradient")
    assert (by_rule - by_gradient).abs().max() <= 1e-4 * by_gradient.abs().max()


@pytest.mark.parametrize("name", WITHOUT_LRP)
def test_what_has_no_rule_is_refused_by_name_and_the_other_methods_go_on(name, x):
    model = foreign(name).double()
    with pytest.raises(UserError, match=rf"LRP has no rule for {WITHOUT_LRP[name]} \(lstm\)"):
        attribution.attribute(model, x, TARGET, "lrp")
    for method in ("saliency", "input_x_gradient", "ig", "gradcam"):
        assert attribution.attribute(model, x, TARGET, method).isfinite().all()


def test_fourier_transforms_are_refused():
    class Spectrum(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(12 * 101, 3)

        def forward(self, x):
            return self.head(torch.fft.rfft(x).abs().flatten(1))

    with pytest.raises(UserError, match=r"LRP has no rule for fft_rfft"):
        attribution.attribute(Spectrum(), torch.randn(2, 12, 200), 0, "lrp")


# ---------------------------------------------------------------- preprocessing in front


@pytest.mark.parametrize("rate", [100, 200, 250])
def test_the_first_layers_rule_is_that_of_the_networks_own_first_layer(rate):
    """Flat: no lead is told from another, whatever resampling stands in front of the network."""
    network, labels = foreign("time_head"), ["a", "b", "c"]
    program = wrap(network, labels, sampling_rate=rate, seconds=2, record_rate=100).double()
    x = torch.randn(2, 12, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    plan = plan_of(capture(program, x), lrp.LRP_PRESETS["epsilon_plus_flat"], x)
    rules = {step.node.place: type(step.linear).__name__ for step in plan.steps if step.linear}
    assert rules.pop("conv") == "Flat"
    assert rules.pop("preprocessing.resampling", None) == (None if rate == 100 else "Gamma")
    assert set(rules.values()) == {"ZPlus"}
    relevance, ledger = lrp.lrp(program, x, torch.tensor([0, 2]), "epsilon_plus_flat")
    assert ledger.gap.abs().max() <= 1e-9
    of_leads = relevance.sum(-1)
    assert torch.allclose(of_leads, of_leads[:, :1].expand_as(of_leads), rtol=2e-4)


# ---------------------------------------------------------------- the fault that was


class Residual(nn.Module):
    """Four blocks conv - ReLU - conv with a `+`, as function or module."""

    def __init__(self, functional, blocks=4):
        super().__init__()
        self.stem, self.head = nn.Conv1d(12, 16, 7, padding=3), nn.Linear(16, 5)
        self.first = nn.ModuleList(nn.Conv1d(16, 16, 3, padding=1) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Conv1d(16, 16, 3, padding=1) for _ in range(blocks))
        self.add, self.functional = Sum(), functional

    def forward(self, x):
        x = F.relu(self.stem(x))
        for one, other in zip(self.first, self.second, strict=True):
            y = other(F.relu(one(x)))
            x = F.relu(y + x if self.functional else self.add(y, x))
        return self.head(x.mean(-1))


@pytest.mark.parametrize("preset", ["epsilon", "epsilon_plus"])
@pytest.mark.parametrize("kind", [Residual, FOREIGN["time_head"]])
def test_functional_operations_are_not_missed(kind, preset):
    """All that happens happens at 240-260: there the relevance must lie, however it is written."""
    maps = []
    for functional in (False, True):
        torch.manual_seed(1)
        model = kind(functional=functional).eval()
        if kind is not Residual:
            nn.init.zeros_(model.head.bias)
            nn.init.zeros_(model.conv.bias)
        torch.manual_seed(0)
        x = 0.02 * torch.randn(1, 12, 500)
        x[..., 240:260] += torch.randn(1, 12, 20)
        done = attribution.explain(model, x, 0, "lrp", preset=preset)
        assert done.ledger.gap.abs() <= 1e-5
        maps.append(done.attributions)
    assert (maps[0] - maps[1]).abs().max() <= 1e-5 * maps[0].abs().max()
    share = maps[1][..., 230:270].abs().sum() / maps[1].abs().sum()
    assert share > 0.5


# ---------------------------------------------------------------- each rule against its formula


class Net(nn.Module):
    """A function of the signals as a network; what it is given as keyword is stored."""

    def __init__(self, function, **tensors):
        super().__init__()
        self.function = function
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, x):
        return self.function(self, x)


def explained(function, x, **tensors):
    """Relevance of a function with one output per record, and its ledger."""
    target = torch.zeros(len(x), dtype=torch.long)
    relevance, ledger = lrp.lrp(Net(function, **tensors).double(), x, target, EXACT)
    assert ledger.gap.abs().max() <= 1e-9
    return relevance, ledger


@pytest.fixture
def small():
    return torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def weights(*shape, seed=6):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_softmax_rule_by_loops(small):
    w = weights(12)
    relevance, ledger = explained(
        lambda self, x: (x.flatten(1).softmax(-1) * self.w).sum(-1, keepdim=True), small, w=w
    )
    for record in range(2):
        z = small[record].flatten()
        s = z.softmax(-1)
        upper = s * w  # the product with a constant and the sum pass in proportion
        expected = [
            float(z[i] * (upper[i] - s[i] * sum(upper[k] for k in range(12)))) for i in range(12)
        ]
        assert torch.allclose(relevance[record].flatten(), torch.tensor(expected).double())
        jacobian = torch.diag(s) - torch.outer(s, s)
        constant = s - jacobian @ z  # of the first-order expansion
        kept = float((upper / s * constant).sum())
        assert math.isclose(float(ledger.nonlinear[record]), kept, rel_tol=1e-6)


def test_matrix_product_of_two_values_by_loops(small):
    def product(self, x):
        return (x @ (x * self.w).transpose(1, 2)).flatten(1).sum(-1, keepdim=True)

    w = weights(3, 4)
    relevance, _ = explained(product, small, w=w)
    for record in range(2):
        a, b = small[record], small[record] * w
        expected = torch.zeros(3, 4).double()
        for i in range(3):
            for j in range(3):
                for p in range(4):
                    term = a[i, p] * b[j, p]  # half to each of its two factors
                    expected[i, p] += term / 2
                    expected[j, p] += term / 2
        assert torch.allclose(relevance[record], expected, atol=1e-7)


def test_layer_norm_by_its_matrix(small):
    gamma, beta, w = weights(4), weights(4, seed=7), weights(12, seed=8)

    def norm(self, x):
        y = F.layer_norm(x, (4,), self.gamma, self.beta, 1e-5)
        return (y.flatten(1) * self.w).sum(-1, keepdim=True)

    relevance, ledger = explained(norm, small, gamma=gamma, beta=beta, w=w)
    for record in range(2):
        shift = 0.0
        for row in range(3):
            z = small[record, row]
            sigma = (z.var(unbiased=False) + 1e-5).sqrt()
            matrix = torch.diag(gamma / sigma) @ (torch.eye(4).double() - 0.25)
            upper = w.view(3, 4)[row]  # relevance over value
            expected = torch.stack([z[j] * (matrix[:, j] * upper).sum() for j in range(4)])
            assert torch.allclose(relevance[record, row], expected, atol=1e-7)
            shift += float((beta * upper).sum())
        assert math.isclose(float(ledger.bias[record]), shift, abs_tol=1e-7)


@pytest.mark.parametrize("groups", [1, 3])
def test_group_and_instance_norm_by_their_matrix(small, groups):
    gamma, beta, w = weights(3), weights(3, seed=7), weights(12, seed=8)

    def norm(self, x):
        y = F.group_norm(x, groups, self.gamma, self.beta, 1e-5)
        return (y.flatten(1) * self.w).sum(-1, keepdim=True)

    relevance, ledger = explained(norm, small, gamma=gamma, beta=beta, w=w)
    wide = gamma[:, None].expand(3, 4).reshape(groups, -1)
    for record in range(2):
        values = small[record].reshape(groups, -1)
        for group in range(groups):
            z, size = values[group], values.shape[1]
            sigma = (z.var(unbiased=False) + 1e-5).sqrt()
            matrix = torch.diag(wide[group] / sigma) @ (torch.eye(size).double() - 1 / size)
            upper = w.view(groups, -1)[group]
            expected = z * (matrix.T @ upper)
            got = relevance[record].reshape(groups, -1)[group]
            assert torch.allclose(got, expected, atol=1e-7)
    assert torch.allclose(ledger.bias, (beta[:, None] * w.view(3, 4)).sum().expand(2), atol=1e-7)
    if groups == 3:
        same, _ = explained(
            lambda self, x: (
                F.instance_norm(x, weight=self.gamma, bias=self.beta).flatten(1) * self.w
            ).sum(-1, keepdim=True),
            small,
            gamma=gamma,
            beta=beta,
            w=w,
        )
        assert torch.allclose(same, relevance, atol=1e-7)


def test_rms_norm_takes_its_root_as_a_number(small):
    def norm(self, x):
        return (F.rms_norm(x, (4,), self.gamma) * self.w).flatten(1).sum(-1, keepdim=True)

    gamma, w = weights(4), weights(3, 4, seed=7)
    relevance, ledger = explained(norm, small, gamma=gamma, w=w)
    root = (small.square().mean(-1, keepdim=True) + torch.finfo(torch.float64).eps).sqrt()
    assert torch.allclose(relevance, small / root * gamma * w, atol=1e-7)
    assert torch.allclose(ledger.input, ledger.logit)


def test_normalisation_by_hand_is_taken_as_a_number_too(small):
    def norm(self, x):
        y = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)
        return (y * self.w).flatten(1).sum(-1, keepdim=True)

    w = weights(3, 4)
    relevance, _ = explained(norm, small, w=w)
    centring = torch.eye(4).double() - 0.25
    upper = w / (small.std(-1, keepdim=True) + 1e-6)
    assert torch.allclose(relevance, small * (upper @ centring), atol=1e-6)


def test_gates_get_half(small):
    def gated(self, x):
        gate = torch.sigmoid(x.flip(1).mean(-1, keepdim=True) * self.w)
        return (x * gate).flatten(1).sum(-1, keepdim=True)

    w = weights(3, 1)
    relevance, ledger = explained(gated, small, w=w)
    term = small * torch.sigmoid(small.flip(1).mean(-1, keepdim=True) * w)
    to_gate = term.sum(-1, keepdim=True) / 2  # passes sigmoid and factor, then by the mean's terms
    expected = term / 2 + to_gate.flip(1) * small / small.sum(-1, keepdim=True)
    assert torch.allclose(relevance, expected, atol=1e-6)
    assert torch.allclose(ledger.input, ledger.logit, atol=1e-6)


LINEAR_FORMS = {
    "add a constant": lambda self, x: x + self.w,
    "constant minus": lambda self, x: self.w - x,
    "rsub": lambda self, x: 1.5 - x,
    "scaled sum": lambda self, x: torch.add(x, x.flip(-1), alpha=-0.5),
    "scaled difference": lambda self, x: torch.sub(x.roll(1, -1), x, alpha=0.3),
    "times a constant": lambda self, x: x * self.w * 2.0,
    "by a constant": lambda self, x: x / self.w,
    "negative": lambda self, x: -x,
    "mean": lambda self, x: x.mean(-1),
    "sum": lambda self, x: x.sum(1),
    "average pool": lambda self, x: F.avg_pool1d(x, 3, 2, padding=1),
    "adaptive pool": lambda self, x: F.adaptive_avg_pool1d(x, 3),
    "interpolation": lambda self, x: F.interpolate(x, scale_factor=2.0, mode="linear"),
    "nearest": lambda self, x: F.interpolate(x, scale_factor=2.0),
    "running sum": lambda self, x: x.cumsum(-1),
    "matrix right": lambda self, x: x @ self.v,
    "matrix left": lambda self, x: self.u @ x,
    "batched matrix": lambda self, x: torch.bmm(self.u.expand(len(x), 3, 3), x),
    "einsum": lambda self, x: torch.einsum("nct,td->ndc", x, self.v),
    "dense": lambda self, x: F.linear(x, self.v.T, self.b),
    "addmm": lambda self, x: torch.addmm(self.b, x.flatten(0, 1), self.v).view(len(x), 3, 4),
    "transposed convolution": lambda self, x: F.conv_transpose1d(x, self.k, stride=2),
    "convolution in two dimensions": lambda self, x: F.conv2d(x[:, None], self.k2, padding=1),
    "concatenation": lambda self, x: torch.cat([x, self.w.expand_as(x), x[:, :1]], dim=1),
    "stack": lambda self, x: torch.stack([x[..., 0], self.w[:, 0].expand(len(x), 3)]).movedim(1, 0),
    "padding": lambda self, x: F.pad(x, (1, 2), value=0.7),
    "reflection": lambda self, x: F.pad(x, (1, 2), mode="reflect"),
    "masked": lambda self, x: x.masked_fill(self.w > 0, 0.3),
    "where": lambda self, x: torch.where(self.w > 0, x, self.w),
    "where by the signals": lambda self, x: torch.where(x > 0, x, 0.2 * x),
    "written over": lambda self, x: _written_over(x),
    "maximum pool": lambda self, x: F.max_pool1d(x, 2),
    "largest": lambda self, x: x.amax(-1) + x.max(1).values[:, :3],
    "larger": lambda self, x: torch.maximum(x, self.w) + torch.minimum(x, x.flip(1)),
    "sorted": lambda self, x: x.sort(-1).values[..., :2],
    "gather": lambda self, x: x.gather(2, self.index.expand(len(x), 3, 2)),
    "index": lambda self, x: x[:, self.index[0, 0]],
    "unfold": lambda self, x: x.unfold(-1, 2, 1),
    "split": lambda self, x: torch.cat(x.split([1, 3], dim=-1)[::-1], dim=-1),
    "batch norm": lambda self, x: F.batch_norm(x, self.b[:3], self.v[0, :3].square() + 0.1),
    "leaky": lambda self, x: F.leaky_relu(x, 0.2),
    "parametric": lambda self, x: F.prelu(x, self.b[:3]),
    "deviation": lambda self, x: x.std(-1),
    "length": lambda self, x: torch.linalg.vector_norm(x, dim=-1),
}


def _written_over(x):
    y = x * 2.0
    y[:, 0] = 0.4
    y[:, :, 1:2] += x[:, :, :1]
    return y


@pytest.mark.parametrize("form", LINEAR_FORMS)
def test_forms_of_the_first_degree_are_input_x_gradient(form, small):
    """What is linear in pieces, or homogeneous: relevance by proportion is x times gradient."""
    tensors = {
        "w": weights(3, 4, seed=11).abs() + 0.2 - 0.9 * (weights(3, 4, seed=12) > 0),
        "v": weights(4, 4, seed=13),
        "u": weights(3, 3, seed=14),
        "b": weights(4, seed=15),
        "k": weights(3, 2, 3, seed=16),
        "k2": weights(2, 1, 3, 3, seed=17),
        "index": torch.tensor([[[2, 0]]]),
    }

    def function(self, x):
        y = LINEAR_FORMS[form](self, x).flatten(1)
        return (y * torch.linspace(0.5, 1.5, y.shape[1]).to(y)).sum(-1, keepdim=True)

    relevance, ledger = explained(function, small, **tensors)
    leaf = small.clone().requires_grad_(True)
    output = function(Net(None, **tensors), leaf)
    (slope,) = torch.autograd.grad(output.sum(), leaf)
    assert torch.allclose(relevance, small * slope, atol=1e-5)
    rest = output.detach()[:, 0] - (small * slope).sum((1, 2))
    assert torch.allclose(ledger.bias, rest, atol=1e-5)


def test_variance_gives_half_of_input_x_gradient(small):
    relevance, ledger = explained(lambda self, x: x.var(-1).sum(-1, keepdim=True), small)
    leaf = small.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(leaf.var(-1).sum(), leaf)
    assert torch.allclose(relevance, small * slope / 2, atol=1e-6)
    assert torch.allclose(ledger.input, ledger.logit, atol=1e-6)


@pytest.mark.parametrize(
    "activation",
    [F.gelu, F.silu, F.elu, F.mish, torch.tanh, torch.sigmoid, F.hardtanh, torch.exp, F.softplus],
)
def test_functions_of_one_number_pass_relevance_on(activation, small):
    relevance, ledger = explained(
        lambda self, x: activation(x).flatten(1).sum(-1, keepdim=True), small
    )
    assert torch.allclose(relevance, activation(small), atol=1e-6)
    assert torch.allclose(ledger.input, ledger.logit, atol=1e-6)


def test_log_softmax_by_its_first_order_expansion(small):
    relevance, ledger = explained(lambda self, x: x.flatten(1).log_softmax(-1)[:, :1], small)
    for record in range(2):
        z = small[record].flatten()
        slope = -z.softmax(-1)
        slope[0] += 1
        assert torch.allclose(relevance[record].flatten(), z * slope, atol=1e-6)
    assert torch.allclose(ledger.input + ledger.nonlinear, ledger.logit, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, "number", "bool"])
def test_attention_with_masks_is_its_parts(small, causal, mask):
    if causal and mask:
        pytest.skip("PyTorch takes one or the other")
    given = {
        None: None,
        "number": weights(3, 3),
        "bool": torch.eye(3).bool() | (weights(3, 3) > 0),
    }[mask]

    def fused(self, x):
        y = F.scaled_dot_product_attention(
            x * self.q, x, x * self.v, attn_mask=given, is_causal=causal
        )
        return y.flatten(1).sum(-1, keepdim=True)

    def parts(self, x):
        scores = (x * self.q) @ x.transpose(1, 2) / 2.0
        if causal:
            scores = scores.masked_fill(~torch.ones(3, 3).bool().tril(), -math.inf)
        elif mask == "bool":
            scores = scores.masked_fill(~given, -math.inf)
        elif mask == "number":
            scores = scores + given
        return (scores.softmax(-1) @ (x * self.v)).flatten(1).sum(-1, keepdim=True)

    tensors = {"q": weights(4, seed=7), "v": weights(4, seed=8)}
    one, other = (explained(function, small, **tensors) for function in (fused, parts))
    assert torch.allclose(one[0], other[0], atol=1e-6)
    for share in ("bias", "nonlinear"):
        assert torch.allclose(getattr(one[1], share), getattr(other[1], share), atol=1e-6)


# ---------------------------------------------------------------- records that lie elsewhere


@pytest.mark.parametrize("batch_first", [True, False])
def test_records_on_another_axis_keep_their_own_ledger(batch_first):
    """nn.MultiheadAttention moves records to the second axis and merges them with its heads."""

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(12, 3, batch_first=batch_first)
            self.head = nn.Linear(12, 2)

        def forward(self, x):
            x = x.permute(0, 2, 1) if batch_first else x.permute(2, 0, 1)
            y, _ = self.attend(x, x, x, need_weights=True)
            return self.head(y.mean(1 if batch_first else 0))

    torch.manual_seed(0)
    model, x = Attends().double().eval(), torch.randn(3, 12, 6, dtype=torch.float64)
    target = torch.tensor([0, 1, 1])
    relevance, ledger = lrp.lrp(model, x, target)
    assert ledger.gap.abs().max() <= 1e-9
    for record in range(3):
        alone, own = lrp.lrp(model, x[[record]], target[[record]])
        assert torch.allclose(alone[0], relevance[record], atol=1e-9)
        assert torch.allclose(own.bias, ledger.bias[[record]], atol=1e-9)
        assert torch.allclose(own.nonlinear, ledger.nonlinear[[record]], atol=1e-9)


# ---------------------------------------------------------------- mutants


class Identity(Rule):
    """A wrong rule: relevance as it comes, to every input."""

    def backward(self, step, run, relevance):
        shapes = {name: run.values[name] for name in step.dependent}
        fitting = {name: value for name, value in shapes.items() if value.shape == relevance.shape}
        return [(name, relevance) for name in fitting]


MUTANTS = {
    "functional_resnet": ["add"],
    "vit": ["add", "scaled_dot_product_attention"],
    "squeeze_excite": ["add"],
}


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in MUTANTS.items() for kind in kinds]
)
def test_a_rule_replaced_by_the_identity_is_caught(name, kind, x, monkeypatch):
    monkeypatch.setitem(OPERATION_RULES, kind, Identity())
    with pytest.raises(UserError, match="ledger misses"):
        attribution.explain(foreign(name).double(), x, TARGET, "lrp", preset="epsilon")


KEEPING = {  # here the identity keeps the sum: the ledger cannot tell, the formula must
    "batch_norm": lambda small: test_forms_of_the_first_degree_are_input_x_gradient(
        "batch norm", small
    ),
    "layer_norm": lambda small: test_layer_norm_by_its_matrix(small),
    "group_norm": lambda small: test_group_and_instance_norm_by_their_matrix(small, 1),
    "instance_norm": lambda small: test_group_and_instance_norm_by_their_matrix(small, 3),
    "mul": lambda small: test_gates_get_half(small),
    "softmax": lambda small: test_softmax_rule_by_loops(small),
    "maximum": lambda small: test_forms_of_the_first_degree_are_input_x_gradient("larger", small),
    "masked_fill": lambda small: test_forms_of_the_first_degree_are_input_x_gradient(
        "masked", small
    ),
}


@pytest.mark.parametrize("kind", KEEPING)
def test_an_identity_that_keeps_the_sum_is_caught_by_the_formula(kind, small, monkeypatch):
    KEEPING[kind](small)
    monkeypatch.setitem(OPERATION_RULES, kind, Identity())
    with pytest.raises(AssertionError):
        KEEPING[kind](small)


def test_a_softmax_that_books_nothing_is_caught(x, monkeypatch):
    monkeypatch.setattr(
        lrp_attention, "softmax_rest", lambda x, p, relevance, dim: torch.zeros_like(relevance)
    )
    with pytest.raises(UserError, match="ledger misses"):
        attribution.explain(foreign("vit").double(), x, TARGET, "lrp")


POOLS = ((2, 2, 0, 1, False), (3, 2, 1, 1, False), (3, 1, 1, 1, False), (4, 3, 2, 1, True),
         (3, 2, 1, 2, False), (5, 5, 0, 1, True))  # fmt: skip


@pytest.mark.parametrize("options", POOLS)
def test_a_maximum_pool_hands_relevance_to_the_places_that_pytorch_takes(options):
    """Ties too: the first of a window's largest values, as its gradient has it."""
    pool = nn.MaxPool1d(*options[:4], ceil_mode=options[4])
    network = nn.Sequential(nn.ReLU(), pool, nn.Flatten(), nn.LazyLinear(3)).double()
    x = torch.randint(-2, 3, (3, 2, 23), generator=torch.Generator().manual_seed(0)).double()
    network(x)
    tiny = Preset(Epsilon(1e-12), Epsilon(1e-12))
    found, ledger = lrp.lrp(network.eval(), x, torch.tensor([0, 1, 2]), tiny)
    leaf = x.clone().requires_grad_(True)
    network(leaf).gather(1, torch.tensor([[0], [1], [2]])).sum().backward()
    assert torch.allclose(found, x * leaf.grad, atol=1e-9)
    assert ledger.gap.abs().max() <= 1e-9
