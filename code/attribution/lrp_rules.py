"""Rules of layer-wise relevance propagation for linear layers, each with its own ledger.

A linear layer gives z_k = sum_j x_j w_jk + b_k. A rule turns the relevance R_k of its outputs into
the relevance of its inputs, and says how much of it went to the bias and how much to the
stabiliser; each of the three is computed from its own terms:

    sum_j R_j + bias + stabiliser = sum_k R_k        for every record

Formulas: Bach et al., PLoS ONE 10 (2015) e0130140 (0, epsilon, alpha-beta); Montavon et al.,
Pattern Recognit 65 (2017) 211 (z+); Montavon et al., LNCS 11700 (2019) 193 (gamma);
Lapuschkin et al., Nat Commun 10 (2019) 1096 (flat). Contributions of signed inputs: c+ = x+ w+ + x-
w- is what raises an output, c- = x+ w- + x- w+ what lowers it.

| rule | share of input j in output k | bias |
|---|---|---|
| Zero | x_j w_jk / z_k | its share b_k / z_k; an output of exactly 0 gives all to the stabiliser |
| Epsilon | x_j w_jk / (z_k + eps sign z_k) | its share b_k / (z_k + eps sign z_k) |
| ZPlus | c+_jk / (sum c+ + b+ + eps) | a positive bias takes its share, a negative one none
(bias=False: none at all) |
| Gamma | (c_jk + gamma c^s_jk) / (z_k + gamma z^s_k), s = sign of z_k | like an input that is
always 1 |
| AlphaBeta | alpha c+_jk / z+_k - beta c-_jk / z-_k | b+ among the raising, b- among the lowering
terms |
| Flat | 1 / number of inputs the output sees | none |
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.lrp_maps import LinearMap
from common.files import UserError

Parts = list[
    tuple[Tensor, Tensor]
]  # (part of x, part of the weight): their products add up to an output


@dataclass
class Shares:
    """Where an operation's relevance went beside its inputs: (N,) float64 each, or 0."""

    bias: Tensor | float = 0.0
    stabiliser: Tensor | float = 0.0
    nonlinear: Tensor | float = 0.0


def bias_share(linear: LinearMap, s: Tensor, bias: Tensor | None) -> Tensor:
    """sum_k s_k b_k per record."""
    return linear.bias_share(s, bias)


def safe_ratio(linear: LinearMap, relevance: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """R / z, and what is lost where z is exactly 0: (ratio, lost (N,))."""
    blocked = z == 0
    ratio = torch.where(blocked, 0.0, relevance / torch.where(blocked, 1.0, z))
    return ratio, linear.totals(torch.where(blocked, relevance, 0.0))


def signed_epsilon(z: Tensor, epsilon: float, out: Tensor | None = None) -> Tensor:
    """epsilon with the sign of z, into `out` where it is given."""
    return torch.copysign(z.new_tensor(epsilon), z, out=out)


@dataclass(frozen=True)
class Zero:
    """LRP-0: relevance in proportion to the contributions x_j w_jk."""

    def __call__(self, linear, x, y, relevance):
        s, lost = safe_ratio(linear, relevance, y)
        return x * linear.transpose(s, linear.weight, x.shape), Shares(
            bias_share(linear, s, linear.bias), lost
        )


@dataclass(frozen=True)
class Epsilon:
    """LRP-epsilon: like Zero, the denominator kept away from 0 by `epsilon`, which absorbs weak
    relevance.
    """

    epsilon: float = 1e-6

    def __call__(self, linear, x, y, relevance):
        first, second = (linear.scratch.like(y, slot) for slot in (0, 1))
        stabiliser = signed_epsilon(y, self.epsilon, out=first)
        s = torch.add(y, stabiliser, out=second).reciprocal_().mul_(relevance)
        shares = Shares(bias_share(linear, s, linear.bias), linear.totals(stabiliser.mul_(s)))
        return linear.transpose(s, linear.weight, x.shape).mul_(x), shares


def raising(linear: LinearMap, x: Tensor, sign: int = 1) -> Parts:
    """The parts (x part, weight part) whose products raise (sign=1) or lower (sign=-1) an output;
    empty parts left out.
    """
    up, down = linear.weight.clamp(min=0), linear.weight.clamp(max=0)
    parts = [(x.clamp(min=0), up if sign > 0 else down)]
    if x.numel() and float(x.amin()) < 0:  # a twentieth of (x < 0).any()
        parts.append((x.clamp(max=0), down if sign > 0 else up))
    return parts


def sum_in_place(terms: Iterable[Tensor]) -> Tensor:
    """Sum of new tensors, into the first of them: new memory is what costs here."""
    return functools.reduce(Tensor.add_, terms)


def raising_bias(linear: LinearMap, sign: int = 1) -> Tensor | None:
    """The biases that raise (sign=1) or lower (sign=-1) an output; None where there is none."""
    if linear.bias is None:
        return None
    return linear.bias.clamp(min=0) if sign > 0 else linear.bias.clamp(max=0)


def contribution(linear: LinearMap, parts: Parts, bias: Tensor | None = None) -> Tensor:
    """Sum of the parts' products and the bias per output, a new tensor."""
    z = sum_in_place(linear.forward(x, weight) for x, weight in parts)
    return z if bias is None else z.add_(linear.along_output(bias))


def distribute(linear: LinearMap, parts: Parts, s: Tensor) -> Tensor:
    """Relevance of the inputs for s = R / z, a new tensor."""
    return sum_in_place(linear.transpose(s, weight, x.shape).mul_(x) for x, weight in parts)


@dataclass(frozen=True)
class ZPlus:
    """LRP-z+: only what raises an output counts, so that relevance of one sign stays of
    one sign.
    """

    epsilon: float = 1e-9
    bias: bool = True

    def __call__(self, linear, x, y, relevance):
        bias = raising_bias(linear) if self.bias else None
        parts = raising(linear, x)
        z = contribution(linear, parts, bias)
        s = z.add_(self.epsilon).reciprocal_().mul_(relevance)
        return distribute(linear, parts, s), Shares(
            bias_share(linear, s, bias), self.epsilon * linear.totals(s)
        )


@dataclass(frozen=True)
class Gamma:
    """LRP-gamma: contributions of the output's own sign weigh 1 + gamma (for x >= 0 and z > 0:
    weights w + gamma w+).
    """

    gamma: float = 0.25
    epsilon: float = 1e-6

    def __call__(self, linear, x, y, relevance):
        rest, bias, lost = 0, 0, 0
        for sign in (1, -1):
            parts, own_bias = raising(linear, x, sign), raising_bias(linear, sign)
            z = y + self.gamma * contribution(linear, parts, own_bias)
            stabiliser = sign * self.epsilon
            chosen = (y >= 0) if sign > 0 else (y < 0)
            s = torch.where(chosen, relevance, 0.0) / torch.where(chosen, z + stabiliser, 1.0)
            rest = (
                rest
                + x * linear.transpose(s, linear.weight, x.shape)
                + self.gamma * distribute(linear, parts, s)
            )
            bias = (
                bias
                + bias_share(linear, s, linear.bias)
                + self.gamma * bias_share(linear, s, own_bias)
            )
            lost = lost + stabiliser * linear.totals(s)
        return rest, Shares(bias, lost)


@dataclass(frozen=True)
class AlphaBeta:
    """LRP-alpha-beta: alpha times the raising minus beta times the lowering contributions, alpha -
    beta = 1.
    """

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float = 1e-9

    def __post_init__(self):
        if abs(self.alpha - self.beta - 1) > 1e-12 or self.beta < 0:
            raise UserError(
                f"alpha - beta must be 1 and beta >= 0, got alpha {self.alpha}, beta {self.beta}"
            )

    def __call__(self, linear, x, y, relevance):
        result, bias, lost = 0, 0, 0
        for sign, factor in ((1, self.alpha), (-1, -self.beta)):
            if factor == 0:
                continue
            parts, own_bias = raising(linear, x, sign), raising_bias(linear, sign)
            z = contribution(linear, parts, own_bias)
            s = factor * relevance / (z + sign * self.epsilon)
            result = result + distribute(linear, parts, s)
            bias = bias + bias_share(linear, s, own_bias)
            lost = lost + sign * self.epsilon * linear.totals(s)
        return result, Shares(bias, lost)


def _by_weights(linear, weight, x, relevance):
    """Relevance in proportion to non-negative `weight` alone, whatever the input; zero padding
    takes none.
    """
    z = linear.forward(torch.ones_like(x[:1]), weight)
    s, lost = safe_ratio(linear, relevance, z.expand_as(relevance))
    return linear.transpose(s, weight, x.shape), Shares(torch.zeros_like(lost), lost)


@dataclass(frozen=True)
class Flat:
    """Every input that an output sees gets the same: no lead is told from another, only time is."""

    def __call__(self, linear, x, y, relevance):
        return _by_weights(linear, torch.ones_like(linear.weight), x, relevance)
