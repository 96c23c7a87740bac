"""Rules of operations that are linear in one value: weights follow the preset, products of two
values go half to each (Achtibat et al. 2024, arXiv 2402.05602).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from attribution.lrp_maps import ConvMap, DiagonalMap, LinearMap, ProductMap
from attribution.lrp_rules import signed_epsilon
from attribution.lrp_steps import SMALL, Local, Rule, Run, Step, kinds
from common.files import UserError
from networks.folding import batch_norm_affine
from networks.program import Ref


class _Bilinear(Local):
    """A matrix product of two values: in proportion to the terms, half to each factor."""

    def backward(self, step, run, relevance):
        value = run.values[step.name]
        stabiliser = signed_epsilon(value, SMALL)
        s = relevance / (value + stabiliser)
        run.write(step, stabiliser=step.totals(s * stabiliser))
        if len(step.dependent) == 2 and step.dependent[0] == step.dependent[1]:
            raise UserError(f"LRP has no rule for {step.node.described()} of a value with itself")
        pulled = self.pulled(step, run, s)
        return [(name, 0.5 * run.values[name] * found) for name, found in pulled.items()]


class _Weighted(Rule):
    """A linear operation with weights: by the preset's rule."""

    def __init__(self, make_map: Callable[[Step, Run], tuple[str, LinearMap]], dense: bool):
        self.make_map, self.dense = make_map, dense

    def inputs(self, step):
        source = self.source(step)
        if set(step.dependent) != {source}:
            raise UserError(
                f"LRP has no rule for {step.node.described()} whose weights depend on the signals"
            )
        return [source]

    def source(self, step: Step) -> str:
        """Name of the value that is weighted."""
        return step.named["input"].name

    def backward(self, step, run, relevance):
        source = self.source(step)
        linear = self.make_map(step, run)
        linear.scratch = run.scratch
        result, run.book[step.label] = step.linear(
            linear, run.values[source], run.values[step.name], relevance
        )
        return [(source, result)]


def conv_map(step: Step, run: Run) -> ConvMap:
    """The map of conv1d, conv2d, conv3d and their transposed forms."""
    named = step.named
    transposed = step.node.kind.startswith("conv_transpose")
    return ConvMap(
        run.argument(named["weight"]),
        run.argument(named["bias"]),
        step.totals,
        named["stride"],
        named["padding"],
        named["dilation"],
        named["groups"],
        transposed or bool(named.get("transposed", False)),
        named.get("output_padding", [0]),
    )


def dense_map(step: Step, run: Run) -> LinearMap:
    """The map of a dense layer, also one per time step."""
    named = step.named
    return LinearMap(run.argument(named["weight"]), run.argument(named["bias"]), step.totals)


def norm_map(step: Step, run: Run) -> DiagonalMap:
    """The map of a BatchNorm that stands alone: a factor and a shift per channel."""
    scale, shift = batch_norm_affine(step.named, run.argument)
    value = run.values[step.name]
    return DiagonalMap(scale.to(value), shift.to(value), step.totals, value.ndim)


class _MatrixProduct(Rule):
    """matmul, mm, bmm, mv, dot: a dense layer where one factor is constant, else bilinear."""

    dense = True
    bilinear = _Bilinear()

    def inputs(self, step):
        return step.dependent

    def factors(self, step: Step) -> tuple[object, object]:
        """Both factors' references."""
        first, second = list(step.named.values())[:2]
        return first, second

    def forward(self, step, run):
        return self._rule(step).forward(step, run)

    def _rule(self, step):
        return self.bilinear if len(step.dependent) > 1 else super()

    def backward(self, step, run, relevance):
        if len(step.dependent) > 1:
            return self.bilinear.backward(step, run, relevance)
        (source,) = step.dependent
        linear = self.make_map(step, run)
        linear.scratch = run.scratch
        result, run.book[step.label] = step.linear(
            linear, run.values[source], run.values[step.name], relevance
        )
        return [(source, result)]

    def make_map(self, step: Step, run: Run) -> LinearMap:
        """The product as a linear map of the factor that depends on the signals."""
        first, second = self.factors(step)
        product = getattr(torch, step.node.kind)
        if isinstance(first, Ref) and first.name in step.dependent:
            weight = run.argument(second)
            if weight.ndim == 2 and step.node.kind in ("matmul", "mm"):
                return LinearMap(weight.mT, None, step.totals)
            return ProductMap(weight, product, step.totals)
        weight = run.argument(first)
        return ProductMap(weight, lambda x, weight: product(weight, x), step.totals)


class _Einsum(_MatrixProduct):
    """einsum of two tensors."""

    def factors(self, step):
        operands = step.named["tensors"]
        if len(operands) != 2:
            raise UserError(
                f"LRP has no rule for {step.node.described()} of {len(operands)} tensors"
            )
        return tuple(operands)

    def inputs(self, step):
        self.factors(step)
        return step.dependent

    def make_map(self, step, run):
        first, second = self.factors(step)
        equation = step.named["equation"]
        if isinstance(first, Ref) and first.name in step.dependent:
            product = lambda x, weight: torch.einsum(equation, x, weight)  # noqa: E731
            return ProductMap(run.argument(second), product, step.totals)
        product = lambda x, weight: torch.einsum(equation, weight, x)  # noqa: E731
        return ProductMap(run.argument(first), product, step.totals)


class _AddMM(_Weighted):
    """bias + x W: a dense layer by another name."""

    def __init__(self):
        super().__init__(self._map, dense=True)

    def source(self, step):
        return step.named["mat1"].name

    def _map(self, step, run):
        weight = run.argument(step.named["mat2"]).mT * step.named["alpha"]
        return LinearMap(weight, run.argument(step.named["self"]) * step.named["beta"], step.totals)


RULES: dict[str, Rule] = {
    **kinds("conv1d conv2d conv3d", _Weighted(conv_map, dense=False)),
    **kinds("convolution conv_transpose1d conv_transpose2d", _Weighted(conv_map, dense=False)),
    "linear": _Weighted(dense_map, dense=True),
    "addmm": _AddMM(),
    "batch_norm": _Weighted(norm_map, dense=False),
    **kinds("matmul mm bmm mv dot", _MatrixProduct()),
    "einsum": _Einsum(),
}
