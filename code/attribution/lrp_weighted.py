"""Rules of operations that are linear in one value: weights follow the preset, products of two
values go half to each (Achtibat et al. 2024, arXiv 2402.05602).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from attribution.lrp_maps import ConvMap, DiagonalMap, LinearMap, ProductMap
from attribution.lrp_steps import Local, Rule, Run, Step, kinds, quotient
from common.files import UserError
from networks.folding import batch_norm_affine
from networks.program import Ref


class _Bilinear(Local):
    """A matrix product of several values: in proportion to the terms, a like part to each factor
    (two: half).
    """

    def backward(self, step, run, relevance):
        s, lost = quotient(relevance, run.values[step.name])
        run.write(step, stabiliser=step.totals(lost))
        if len(set(step.dependent)) < len(step.dependent):
            raise UserError(f"LRP has no rule for {step.node.described()} of a value with itself")
        pulled = self.pulled(step, run, s)
        part = 1 / len(step.dependent)
        return [(name, part * run.values[name] * found) for name, found in pulled.items()]


def by_preset(
    step: Step, run: Run, relevance: Tensor, source: str, linear: LinearMap
) -> list[tuple[str, Tensor]]:
    """Relevance of the value `source` by the preset's rule for a linear map of it."""
    linear.scratch = run.scratch
    result, run.book[step.label] = step.linear(
        linear, run.values[source], run.values[step.name], relevance
    )
    return [(source, result)]


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
        return by_preset(step, run, relevance, self.source(step), self.make_map(step, run))


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
    weight, bias = (run.argument(step.named[name]) for name in ("weight", "bias"))
    if weight.ndim == 1:  # one output, which has no axis
        return ProductMap(weight, F.linear, step.totals)
    return LinearMap(weight, bias, step.totals)


def norm_map(step: Step, run: Run) -> DiagonalMap:
    """The map of a BatchNorm that stands alone: a factor and a shift per channel."""
    scale, shift = batch_norm_affine(step.named, run.argument)
    value = run.values[step.name]
    return DiagonalMap(scale.to(value), shift.to(value), step.totals, value.ndim)


class _MatrixProduct(_Bilinear):
    """matmul, mm, bmm, mv: a dense layer where one factor is constant, else bilinear."""

    dense = True

    def forward(self, step, run):
        return super().forward(step, run) if len(step.dependent) > 1 else run.compute(step.node)

    def backward(self, step, run, relevance):
        if len(step.dependent) > 1:
            return super().backward(step, run, relevance)
        return by_preset(step, run, relevance, step.dependent[0], self.make_map(step, run))

    def make_map(self, step: Step, run: Run) -> LinearMap:
        """The product as a linear map of the factor that depends on the signals."""
        first, second = list(step.named.values())[:2]
        product = getattr(torch, step.node.kind)
        if isinstance(first, Ref) and first.name in step.dependent:
            weight = run.argument(second)
            if weight.ndim == 2 and step.node.kind in ("matmul", "mm"):
                return LinearMap(weight.mT, None, step.totals)
            return ProductMap(weight, product, step.totals)
        weight = run.argument(first)
        return ProductMap(weight, lambda x, weight: product(weight, x), step.totals)


class _Einsum(_MatrixProduct):
    """einsum of any number of tensors; all constant ones are one weight, because the signs of their
    product decide what raises an output.
    """

    def inputs(self, step):
        if len(step.named["tensors"]) > 1:
            return step.dependent
        raise UserError(f"LRP has no rule for {step.node.described()} of one tensor")

    def make_map(self, step, run):
        operands = step.named["tensors"]
        moving = [isinstance(one, Ref) and one.name in step.dependent for one in operands]
        of_weight, of_both = constants_first(step.named["equation"], moving.index(True))
        pairs = zip(operands, moving, strict=True)
        fixed = [run.argument(one) for one, own in pairs if not own]
        weight = torch.einsum(of_weight, *fixed)
        return ProductMap(weight, lambda x, one: torch.einsum(of_both, x, one), step.totals)


def constants_first(equation: str, at: int) -> tuple[str, str]:
    """An einsum's equation as two: of all tensors but one, and of that one with their product."""
    sources, _, result = equation.replace(" ", "").partition("->")
    terms = sources.split(",")
    if "->" not in equation:  # what stands there once, in the order of the alphabet
        once = sorted(letter for letter in set(sources) - set(",.") if sources.count(letter) == 1)
        result = "..." * ("..." in sources) + "".join(once)
    own = terms.pop(at)
    others = dict.fromkeys("".join(terms).replace(".", ""))
    kept = "..." * any("..." in term for term in terms)
    kept += "".join(letter for letter in others if letter in own + result)
    return f"{','.join(terms)}->{kept}", f"{own},{kept}->{result}"


class _AddMM(_Weighted):
    """bias + x W: a dense layer by another name."""

    def __init__(self):
        super().__init__(self._map, dense=True)

    def source(self, step):
        return step.named["mat1"].name

    def _map(self, step, run):
        weight = run.argument(step.named["mat2"]).mT * step.named["alpha"]
        bias = run.argument(step.named["self"]) * step.named["beta"]
        return LinearMap(weight, bias.reshape(-1).expand(len(weight)), step.totals)


RULES: dict[str, Rule] = {
    **kinds("conv1d conv2d conv3d", _Weighted(conv_map, dense=False)),
    **kinds("convolution conv_transpose1d conv_transpose2d", _Weighted(conv_map, dense=False)),
    "linear": _Weighted(dense_map, dense=True),
    "addmm": _AddMM(),
    "batch_norm": _Weighted(norm_map, dense=False),
    **kinds("matmul mm bmm mv", _MatrixProduct()),
    "einsum": _Einsum(),
}
