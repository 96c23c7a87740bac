"""Layer-wise relevance propagation for 1-D networks whose every operation is a module, with a
ledger that closes.

The network is copied, BatchNorm is folded into the copy, and every operation of the copy is
replaced by one whose backward pass hands relevance down instead of gradients (lrp_rules.py): one
forward and one backward pass explain a whole batch. The given model is never touched. Relevance
starts as the logit of each record's target.

    relevance at the input + share of the biases + share of the stabilisers = logit

Each share is computed from its rule's own terms, none as a remainder: a sum that closes says that
no operation was passed over.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from attribution.folding import folded_copy
from attribution.lrp_rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    LinearMap,
    Shares,
    ZPlus,
    dot,
    per_record,
    signed_epsilon,
)
from common.files import UserError
from networks.models import Add, Concat, replace_leaves

LINEAR = (nn.Conv1d, nn.Linear)
# gradient of these is already their relevance: unchanged, moved, or all to the winner
PASSING = (nn.ReLU, nn.Dropout, nn.Identity, nn.Flatten, nn.MaxPool1d, nn.AdaptiveMaxPool1d, Concat)


@dataclass(frozen=True)
class Preset:
    """Which rule applies where: convolutions, dense layers, the first linear layer (None: like the
    others).
    """

    conv: Callable
    dense: Callable = field(default_factory=Epsilon)
    first: Callable | None = None
    description: str = ""

    def rule_of(self, layer: nn.Module, is_first: bool) -> Callable:
        """The rule of a linear layer."""
        if is_first and self.first:
            return self.first
        return self.conv if isinstance(layer, nn.Conv1d) else self.dense


LRP_PRESETS = {
    "epsilon": Preset(
        Epsilon(), description="epsilon everywhere, as in the paper; close to input x gradient"
    ),
    "epsilon_plus": Preset(ZPlus(), description="z+ in convolutions, epsilon in dense layers"),
    "epsilon_gamma": Preset(Gamma(), description="gamma in convolutions, epsilon in dense layers"),
    "alpha2_beta1": Preset(
        AlphaBeta(2, 1), description="alpha 2, beta 1 in convolutions, epsilon in dense layers"
    ),
    "epsilon_plus_flat": Preset(
        ZPlus(),
        first=Flat(),
        description="epsilon_plus, first convolution flat: leads not told apart",
    ),
}


@dataclass
class Ledger:
    """Where the logits went, per record: (N,) float64 each; `layers` maps a layer's name to its
    Shares.
    """

    logit: Tensor
    input: Tensor
    bias: Tensor
    stabiliser: Tensor
    layers: dict[str, Shares] = field(default_factory=dict)

    @property
    def gap(self) -> Tensor:
        """What is unaccounted for, relative to the sum of the absolute shares, layer by layer (0
        where the ledger closes).
        """
        shares = [
            share.abs()
            for entry in self.layers.values()
            for share in (entry.bias, entry.stabiliser)
        ]
        total = sum(shares, self.input.abs())
        return (self.logit - self.input - self.bias - self.stabiliser) / total.clamp(min=1e-300)


class _Linear(torch.autograd.Function):
    """Forward of a linear layer; backward by its rule."""

    @staticmethod
    def forward(ctx, x, step):
        y = step.layer(x)
        ctx.save_for_backward(x, y)
        ctx.step = step
        return y

    @staticmethod
    def backward(ctx, relevance):
        x, y = ctx.saved_tensors
        result, shares = ctx.step.rule(ctx.step.linear, x, y, relevance)
        ctx.step.book[ctx.step.name] = shares
        return result, None


class _Sum(torch.autograd.Function):
    """Forward of a residual sum; backward in proportion to the two branches."""

    @staticmethod
    def forward(ctx, main, shortcut, step):
        ctx.save_for_backward(main, shortcut)
        ctx.step = step
        return main + shortcut

    @staticmethod
    def backward(ctx, relevance):
        main, shortcut = ctx.saved_tensors
        z = main + shortcut
        stabiliser = signed_epsilon(z, ctx.step.epsilon)
        s = relevance / (z + stabiliser)
        lost = dot(s, stabiliser)
        ctx.step.book[ctx.step.name] = Shares(torch.zeros_like(lost), lost)
        return main * s, shortcut * s, None


class _Average(torch.autograd.Function):
    """Forward of an average pool; backward in proportion to what went into each average."""

    @staticmethod
    def forward(ctx, x, step):
        with torch.enable_grad():  # the pool's own backward pass is its transpose
            x = x.detach().requires_grad_(True)
            y = step.layer(x)
        ctx.inside, ctx.step = (x, y), step
        return y.detach()

    @staticmethod
    def backward(ctx, relevance):
        x, y = ctx.inside
        stabiliser = signed_epsilon(y.detach(), ctx.step.epsilon)
        s = relevance / (y.detach() + stabiliser)
        lost = dot(s, stabiliser)
        ctx.step.book[ctx.step.name] = Shares(torch.zeros_like(lost), lost)
        (spread,) = torch.autograd.grad(y, x, s)
        return x.detach() * spread, None


class _Step(nn.Module):
    """An operation of the copied network that books its shares under its name while relevance
    passes.
    """

    function = None
    epsilon = 1e-9

    def __init__(self, name: str, layer: nn.Module, book: dict[str, Shares]):
        super().__init__()
        self.name, self.layer, self.book = name, layer, book

    def forward(self, *inputs):
        return self.function.apply(*inputs, self)


class _SumStep(_Step):
    function = _Sum


class _AverageStep(_Step):
    function = _Average


class _LinearStep(_Step):
    function = _Linear

    def __init__(self, name, layer, book, rule):
        super().__init__(name, layer, book)
        self.linear, self.rule = LinearMap(layer), rule


STEPS = {Add: _SumStep, nn.AvgPool1d: _AverageStep, nn.AdaptiveAvgPool1d: _AverageStep}


def relevance_network(model: nn.Module, preset: Preset) -> tuple[nn.Module, dict[str, Shares]]:
    """A folded copy of `model` whose backward pass is LRP, and the book its operations write their
    shares to.

    Raises UserError for an operation that no rule is known for.
    """
    book, linear_layers = {}, []

    def stand_in(name, layer):
        if isinstance(layer, PASSING):
            return layer
        if isinstance(layer, LINEAR):
            linear_layers.append(layer)
            return _LinearStep(
                name, layer, book, preset.rule_of(layer, is_first=len(linear_layers) == 1)
            )
        for kind, step in STEPS.items():
            if isinstance(layer, kind):
                return step(name, layer, book)
        known = ", ".join(kind.__name__ for kind in (*LINEAR, *STEPS, *PASSING))
        raise UserError(f"LRP has no rule for {type(layer).__name__} ({name}): known are {known}")

    return replace_leaves(folded_copy(model), stand_in), book


def get_preset(preset: str | Preset) -> Preset:
    """A preset by name; UserError names those there are."""
    if isinstance(preset, Preset):
        return preset
    if preset not in LRP_PRESETS:
        raise UserError(f"unknown LRP preset {preset!r}: accepted are {', '.join(LRP_PRESETS)}")
    return LRP_PRESETS[preset]


def lrp(
    model: nn.Module, x: Tensor, target: Tensor, preset: str | Preset = "epsilon_plus"
) -> tuple[Tensor, Ledger]:
    """Relevance (N, leads, T) of each record's target logit, and its ledger opened per layer.

    x (N, leads, T) mV, target (N,) output indices.
    """
    network, book = relevance_network(model, get_preset(preset))
    x = x.detach().requires_grad_(True)
    logits = network(x)
    chosen = logits.gather(1, target[:, None])
    start = torch.zeros_like(logits).scatter_(1, target[:, None], chosen.detach())
    (relevance,) = torch.autograd.grad(logits, x, start)
    zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    bias = sum((shares.bias for shares in book.values()), zero)
    stabiliser = sum((shares.stabiliser for shares in book.values()), zero)
    return relevance, Ledger(
        chosen.detach()[:, 0].double(), per_record(relevance), bias, stabiliser, dict(book)
    )
