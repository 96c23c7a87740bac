"""How relevance passes each operation of a network's graph: OPERATION_RULES, a rule per operation.

Linear operations with weights follow the preset (lrp_rules.py). For the others:

| operation | relevance | beside |
|---|---|---|
| function of one number (ReLU, GELU, SiLU, sigmoid, tanh, square root, ...) | passes unchanged | |
| moving values (reshape, transpose, slice, concatenate, pad, maximum pool, ...) | goes where the
value came from | what falls on constants is bias |
| sum, difference | in proportion to the terms | constant terms are bias |
| mean, average pool, interpolation | in proportion to weight times value | |
| product of two values (gates) | half to each (Achtibat et al. 2024, arXiv 2402.05602) | |
| quotient by a value (normalisation by hand) | all to the numerator | |
| matrix product of two values (attention) | in proportion to the terms, half to each (ibid.) | |
| softmax | x_i (R_i - s_i sum R): its first-order expansion (ibid.) | the rest is nonlinear |
| layer, group, instance norm | deviation taken as a number: linear (ibid.) | shift is bias |
| standard deviation, norm, quantile | x times gradient, which sums to the value | |
| variance | half of that (it is of second degree) | |

Every rule books what goes to biases, stabilisers and nonlinearity from its own terms.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from attribution import lrp_attention, lrp_normalising, lrp_weighted
from attribution.lrp_steps import FILLED, Local, Rule, Run, Step, fitted, kinds, quotient
from common.files import UserError
from networks.program import Ref, Stored, references


class _Passing(Rule):
    """A function of one number: all relevance to that number."""

    def inputs(self, step):
        if len(step.dependent) != 1:
            raise UserError(f"LRP has no rule for {step.node.described()} of two values")
        return step.dependent

    def backward(self, step, run, relevance):
        (name,) = step.dependent
        return [(name, fitted(relevance, run.values[name]))]


class _Moving(Local):
    """Values that are moved, copied or left out: relevance goes where the value came from."""

    def backward(self, step, run, relevance):
        constants = self._on_constants(step, run)
        if constants is not None:
            run.write(step, bias=step.totals(relevance * constants))
        return list(self.pulled(step, run, relevance).items())

    def _on_constants(self, step, run):
        """1 where an output's value comes from a constant, else 0; None where none can."""
        filled = any(isinstance(step.named.get(name), (int, float)) for name in FILLED)
        filled = filled or step.named.get("mode") == "constant"
        others = [
            reference
            for reference in references([step.node.args, step.node.kwargs])
            if isinstance(reference, Stored) or reference.name not in step.dependent
        ]
        if not filled and not others:
            return None
        marks = {name: torch.zeros_like(run.values[name]) for name in step.dependent}
        return run.compute(step.node, marks, constants=1.0)


class _Thinning(_Moving):
    """Values that stay where they are or are moved, among zeros that nothing gave."""

    def _on_constants(self, step, run):
        ones = {name: torch.ones_like(run.values[name]) for name in step.dependent}
        return 1 - run.compute(step.node, ones)


class _MaxPool(Rule):
    """Maximum over windows in time: relevance to the first of a window's largest values.

    Without the places of the maxima, which PyTorch finds at ten times the cost of their values.
    """

    def backward(self, step, run, relevance):
        (name,) = step.dependent
        x, top = run.values[name], run.values[step.name]
        width, stride, padding, dilation = (
            int(step.named[key][0] if step.named[key] else step.named["kernel_size"][0])
            for key in ("kernel_size", "stride", "padding", "dilation")
        )
        reach = (top.shape[-1] - 1) * stride
        beyond = max(0, reach + (width - 1) * dilation + 1 - x.shape[-1] - padding)
        longer = F.pad(x, (padding, beyond), value=-math.inf) if padding or beyond else x
        given = torch.zeros_like(longer)
        for start in range(0, (width - 1) * dilation, dilation):
            window = (..., slice(start, start + reach + 1, stride))
            share = (longer[window] == top) * relevance
            given[window] += share
            relevance = relevance - share  # what is left for the later ones
        start = (width - 1) * dilation
        given[..., start : start + reach + 1 : stride] += relevance
        return [(name, given[..., padding : padding + x.shape[-1]])]


class _Winning(Local):
    """Elementwise maximum or minimum: relevance to the one that was taken."""

    def backward(self, step, run, relevance):
        value = run.values[step.name]
        own = [run.values[name] == value for name in step.dependent]
        taken = torch.stack([mask.expand_as(value) for mask in own]).any(0)
        run.write(step, bias=step.totals(torch.where(taken, 0.0, relevance)))
        share = torch.where(taken, relevance, 0.0)
        count = sum(mask.expand_as(value).to(share.dtype) for mask in own).clamp(min=1)
        return [
            (name, fitted(torch.where(mask, share / count, 0.0), run.values[name]))
            for name, mask in zip(step.dependent, own, strict=True)
        ]


class _Proportional(Local):
    """A linear operation without weights of its own: relevance by weight times value."""

    part = 1.0

    def backward(self, step, run, relevance):
        s, lost = quotient(relevance, run.values[step.name])
        run.write(step, bias=self.on_constants(step, run, s), stabiliser=step.totals(lost))
        pulled = self.pulled(step, run, s)
        given = [(name, run.values[name] * found) for name, found in pulled.items()]
        return given if self.part == 1 else [(name, share.mul_(self.part)) for name, share in given]

    def on_constants(self, step: Step, run: Run, s: Tensor) -> Tensor | float:
        """What constants among the terms get."""
        return 0.0


class _Averaging(_Proportional):
    """Mean or sum over axes: the terms' parts without autograd's graph."""

    def forward(self, step, run):
        return Rule.forward(self, step, run)

    def pulled(self, step, run, upper):
        (name,) = step.dependent
        x, dims = run.values[name], step.named.get("dim")
        dims = [dims] if isinstance(dims, int) else list(dims or range(x.ndim))
        if not step.named.get("keepdim", False):
            for dim in sorted(dim % x.ndim for dim in dims):
                upper = upper.unsqueeze(dim)
        if step.node.kind == "mean":
            upper = upper / math.prod(x.shape[dim] for dim in dims)
        return {name: upper.to(x.dtype)}


class _Adding(_Proportional):
    """Values added at places of others, either of which may be constant."""

    def on_constants(self, step, run, s):
        nothing = {name: torch.zeros_like(run.values[name]) for name in step.dependent}
        return step.totals(s * run.compute(step.node, nothing))


class _Placing(_Moving):
    """Values written at places: goes where they came from; where they are added, in proportion."""

    adding = _Adding()

    def inputs(self, step):
        if step.named.get("reduce") is not None:
            raise UserError(f"LRP has no rule for {step.node.described()} that reduces")
        return super().inputs(step)

    def backward(self, step, run, relevance):
        if step.named.get("accumulate"):
            return self.adding.backward(step, run, relevance)
        return super().backward(step, run, relevance)


class _SecondDegree(_Proportional):
    """Variance: x times gradient is twice the value."""

    part = 0.5


def _alike(one, other):
    """Whether a value is a tensor of another one's shape and numbers."""
    return isinstance(one, Tensor) and (one.shape, one.dtype) == (other.shape, other.dtype)


class _Summing(Rule):
    """a + alpha b, a - alpha b or alpha-scaled the other way round: in proportion to the terms."""

    def __init__(self, first: float, second: float, scaled: str = "other"):
        self.signs, self.scaled = {"self": first, "other": second}, scaled

    def backward(self, step, run, relevance):
        value = run.values[step.name]
        s, lost = quotient(relevance, value)
        shares = {"stabiliser": step.totals(lost)}
        given = []
        masking = len(step.dependent) < 2  # a constant term may be a mask of minus infinity
        for key, sign in self.signs.items():
            factor = sign * step.named.get("alpha", 1) if key == self.scaled else sign
            reference = step.named[key]
            term = run.argument(reference)
            if masking and isinstance(term, Tensor):
                term = torch.where(torch.isfinite(term), term, 0.0)
            share = torch.mul(term, s, out=lost) if _alike(term, lost) else term * s
            lost = s if share is lost else lost  # the memory that is free for the second term
            share = share if factor == 1 else share * factor
            if isinstance(reference, Ref) and reference.name in step.dependent:
                given.append((reference.name, fitted(share, term)))
            else:
                shares["bias"] = step.totals(share.expand_as(value))
        run.write(step, **shares)
        return given


class _Halving(Rule):
    """The product of two values: half of the relevance to each; all of it past a constant."""

    def backward(self, step, run, relevance):
        share = relevance / len(step.dependent) if len(step.dependent) > 1 else relevance
        return [(name, fitted(share, run.values[name])) for name in step.dependent]


class _Dividing(Rule):
    """A quotient: all to the numerator, where that depends on the signals."""

    def inputs(self, step):
        above = step.named["self"]
        if isinstance(above, Ref) and above.name in step.dependent:
            return [above.name]
        return step.dependent

    def backward(self, step, run, relevance):
        (name,) = self.inputs(step)
        return [(name, fitted(relevance, run.values[name]))]


class _GatedHalf(Rule):
    """glu: a * sigmoid(b), half to each."""

    def backward(self, step, run, relevance):
        (name,) = step.dependent
        half = relevance / 2
        return [(name, torch.cat([half, half], dim=step.named["dim"]))]


class _Item(Rule):
    """One of several outputs of an operation."""

    def backward(self, step, run, relevance):
        reference, index = step.node.args
        return [(reference.name, {index: relevance})]


OPERATION_RULES: dict[str, Rule] = {
    **lrp_weighted.RULES,
    **lrp_normalising.RULES,
    **lrp_attention.RULES,
    **kinds(
        """relu leaky_relu prelu elu selu celu gelu silu mish softplus sigmoid log_sigmoid tanh
        hardtanh relu6 hardswish hardsigmoid hardshrink softshrink threshold abs neg exp exp2 log
        log2 log10 log1p expm1 sqrt rsqrt square pow reciprocal sin cos tan sinh cosh asin acos
        atan erf clamp clamp_min clamp_max nan_to_num to _to_copy contiguous clone detach alias""",
        _Passing(),
    ),
    **kinds(
        """reshape view flatten unflatten squeeze unsqueeze transpose permute t numpy_T mT movedim
        expand expand_as broadcast_to repeat tile repeat_interleave slice select narrow cat stack
        hstack split split_with_sizes chunk tensor_split unbind flip roll pad constant_pad_nd
        reflection_pad1d replication_pad1d reflection_pad2d replication_pad2d index index_select
        gather take_along_dim masked_fill where slice_scatter select_scatter unfold diagonal
        view_as reshape_as _unsafe_view pixel_shuffle channel_shuffle index_copy
        max_pool2d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
        adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax amin max min
        topk kthvalue cummax cummin sort median nanmedian mode upsample_nearest1d
        upsample_nearest2d _upsample_nearest_exact1d _upsample_nearest_exact2d""",
        _Moving(),
    ),
    **kinds(
        """avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
        _adaptive_avg_pool3d cumsum diff upsample_linear1d
        upsample_bilinear2d upsample_bicubic2d im2col col2im std norm linalg_vector_norm quantile
        nanquantile""",
        _Proportional(),
    ),
    **kinds("tril triu max_unpool2d", _Thinning()),
    **kinds("scatter_add index_add", _Adding()),
    **kinds("scatter index_put", _Placing()),
    **kinds("mean sum", _Averaging()),
    "max_pool1d": _MaxPool(),
    "var": _SecondDegree(),
    "add": _Summing(1, 1),
    "sub": _Summing(1, -1),
    "rsub": _Summing(-1, 1, scaled="self"),
    **kinds("mul multiply", _Halving()),
    **kinds("div divide", _Dividing()),
    **kinds("maximum minimum fmax fmin", _Winning()),
    "glu": _GatedHalf(),
    "getitem": _Item(),
}
