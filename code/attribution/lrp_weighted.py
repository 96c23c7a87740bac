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
    """A matrix product of several values: in proportion to the terms, a like part to each factor
    (two: half).
    """

    def backward(self, step, run, relevance):
        value = run.values[step.name]
        stabiliser = signed_epsilon(value, SMALL)
        s = relevance / (value + stabiliser)
        run.write(step, stabiliser=step.totals(s * stabiliser))
        if len(set(step.dependent)) < len(step.dependent):
            raise UserError(f"LRP has no rule for {step.node.described()} of a value with itself")
        pulled = self.pulled(step, run, s)
        part = 1 / len(step.dependent)
        return [(name, part * run.values[name] * found) for name, found in pulled.items()]


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
    """einsum of any number of tensors; of all constant ones the first is the map's weight."""

    def inputs(self, step):
        if len(step.named["tensors"]) > 1:
            return step.dependent
        raise UserError(f"LRP has no rule for {step.node.described()} of one tensor")

    def make_map(self, step, run):
        equation, operands = step.named["equation"], step.named["tensors"]
        moving = [isinstance(one, Ref) and one.name in step.dependent for one in operands]
        at, fixed = moving.index(True), moving.index(False)
        values = [
            None if own else run.argument(one) for one, own in zip(operands, moving, strict=True)
        ]

        def product(x, weight):
            factors = list(values)
            factors[at], factors[fixed] = x, weight
            return torch.einsum(equation, *factors)

        return ProductMap(values[fixed], product, step.totals)


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
