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
| standard deviation, norm | x times gradient, which sums to the value | |
| variance | half of that (it is of second degree) | |

Every rule books what goes to biases, stabilisers and nonlinearity from its own terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attribution.lrp_maps import ConvMap, DiagonalMap, LinearMap, ProductMap
from attribution.lrp_rules import Shares, signed_epsilon
from common.files import UserError
from networks.folding import batch_norm_affine
from networks.probe import per_record
from networks.program import Node, Ref, Stored, rebuilt, references

FILLED = ("value", "self", "other")  # arguments that put a number in the place of values
SMALL = 1e-9  # stabiliser of sums, averages and products


@dataclass
class Step:
    """An operation of the network on the way of relevance.

    named    its arguments by name; dependent  which of the values it reads depend on the signals
    label    its name in the ledger
    totals   sum of a value of the output's shape per record
    linear   the preset's rule, where it is a linear operation with weights
    """

    node: Node
    named: dict[str, object]
    dependent: list[str]
    label: str
    totals: Callable[[Tensor], Tensor] = per_record
    linear: Callable | None = None

    @property
    def name(self) -> str:
        """Name of its value."""
        return self.node.name


@dataclass
class Run:
    """What is known while a batch is explained.

    values   of the graph, by name; compute  a node's value with some values replaced
    local    name -> (leaves, value): values with a graph of autograd from one operation's inputs
    book     label -> Shares
    """

    values: dict[str, object]
    compute: Callable[..., object]
    argument: Callable[[object], object]
    local: dict[str, tuple] = field(default_factory=dict)
    book: dict[str, Shares] = field(default_factory=dict)

    def write(self, step: Step, **shares: Tensor) -> None:
        """Books what an operation gave to biases, stabilisers or its nonlinearity."""
        self.book[step.label] = Shares(**shares)


class Rule:
    """How relevance passes one kind of operation."""

    def inputs(self, step: Step) -> list[str]:
        """The values that relevance goes to."""
        return step.dependent

    def forward(self, step: Step, run: Run) -> object:
        """The operation's value."""
        return run.compute(step.node)

    def backward(self, step: Step, run: Run, relevance: Tensor) -> list[tuple[str, Tensor]]:
        """Relevance of the inputs for that of the output."""
        raise NotImplementedError


def fitted(relevance: Tensor, value: Tensor) -> Tensor:
    """Relevance of a broadcast value, summed to the value's own shape."""
    if relevance.shape != value.shape:
        relevance = relevance.sum_to_size(value.shape)
    return relevance.to(value.dtype)


class _Passing(Rule):
    """A function of one number: all relevance to that number."""

    def inputs(self, step):
        if len(step.dependent) != 1:
            raise UserError(f"LRP has no rule for {step.node.described()} of two values")
        return step.dependent

    def backward(self, step, run, relevance):
        (name,) = step.dependent
        return [(name, fitted(relevance, run.values[name]))]


class _Local(Rule):
    """An operation whose own backward pass is of use: it is computed with a graph of its own."""

    def forward(self, step, run):
        leaves = {}
        for name in self.inputs(step):
            value = run.values[name]
            if isinstance(value, Tensor) and value.is_floating_point():
                leaves[name] = value.detach().requires_grad_(True)
        with torch.enable_grad():
            result = run.compute(step.node, leaves)
        run.local[step.name] = leaves, result
        return rebuilt(result, lambda part: part.detach() if isinstance(part, Tensor) else part)

    def pulled(self, step: Step, run: Run, upper: object) -> dict[str, Tensor]:
        """The transpose of the operation, at its inputs, applied to `upper`."""
        leaves, result = run.local.pop(step.name)
        if isinstance(upper, dict):  # several outputs: relevance by their index
            chosen = [(result[index], part) for index, part in upper.items()]
        else:
            chosen = [(result, upper)]
        outputs, grads = zip(*chosen, strict=True)
        found = torch.autograd.grad(
            outputs, list(leaves.values()), grads, allow_unused=True, materialize_grads=True
        )
        return dict(zip(leaves, found, strict=True))


class _Moving(_Local):
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


class _Winning(_Local):
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


class _Proportional(_Local):
    """A linear operation without weights of its own: relevance by weight times value."""

    part = 1.0

    def backward(self, step, run, relevance):
        value = run.values[step.name]
        stabiliser = signed_epsilon(value, SMALL)
        s = relevance / (value + stabiliser)
        run.write(step, stabiliser=step.totals(s * stabiliser))
        pulled = self.pulled(step, run, s)
        return [(name, run.values[name] * found * self.part) for name, found in pulled.items()]


class _SecondDegree(_Proportional):
    """Variance: x times gradient is twice the value."""

    part = 0.5


class _Summing(Rule):
    """a + alpha b, a - alpha b or alpha-scaled the other way round: in proportion to the terms."""

    def __init__(self, first: float, second: float, scaled: str = "other"):
        self.signs, self.scaled = {"self": first, "other": second}, scaled

    def backward(self, step, run, relevance):
        value = run.values[step.name]
        stabiliser = signed_epsilon(value, SMALL)
        s = relevance / (value + stabiliser)
        given, bias = [], 0.0
        for key, sign in self.signs.items():
            factor = sign * step.named.get("alpha", 1) if key == self.scaled else sign
            reference = step.named[key]
            term = run.argument(reference)
            share = term * s if factor == 1 else term * s * factor
            if isinstance(reference, Ref) and reference.name in step.dependent:
                given.append((reference.name, fitted(share, term)))
            else:
                bias = step.totals(share.expand_as(value))
        run.write(step, bias=bias, stabiliser=step.totals(s * stabiliser))
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


class _Bilinear(_Local):
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


# ---------------------------------------------------------------- linear operations with weights


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


# ---------------------------------------------------------------- normalisations


class _Normalising(Rule):
    """Layer, group, instance and RMS norm: the deviation taken as a number, what remains is
    linear.
    """

    def inputs(self, step):
        if set(step.dependent) != {step.named["input"].name}:
            raise UserError(f"LRP has no rule for {step.node.described()} with weights that vary")
        return step.dependent

    def backward(self, step, run, relevance):
        source = step.named["input"].name
        x = run.values[source].detach().requires_grad_(True)
        with torch.enable_grad():
            scaled, shift = self.parts(step, run, x)
        value = scaled.detach() if shift is None else scaled.detach() + shift
        stabiliser = signed_epsilon(value, SMALL)
        s = relevance / (value + stabiliser)
        (pulled,) = torch.autograd.grad(scaled, x, s)
        shares = {"stabiliser": step.totals(s * stabiliser)}
        if shift is not None:
            shares["bias"] = step.totals(s * shift)
        run.write(step, **shares)
        return [(source, x.detach() * pulled)]

    def parts(self, step: Step, run: Run, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The normalised and scaled input with its deviation as a number, and the shift."""
        weight, bias = run.argument(step.named["weight"]), run.argument(step.named.get("bias"))
        grouped, along = self.grouped(step, x)
        centred = grouped - grouped.mean(-1, keepdim=True)
        deviation = (centred.detach().square().mean(-1, keepdim=True) + step.named["eps"]).sqrt()
        result = (centred / deviation).reshape(x.shape)
        if weight is not None:
            result = result * weight.detach().view(along)
        return result, None if bias is None else bias.detach().view(along).expand_as(x)

    def grouped(self, step: Step, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """x with what is normalised together along the last axis, and the weights' shape."""
        raise NotImplementedError


class _LayerNorm(_Normalising):
    """Over the last axes."""

    def grouped(self, step, x):
        shape = tuple(step.named["normalized_shape"])
        return x.flatten(-len(shape)), shape


class _GroupNorm(_Normalising):
    """Over groups of channels and all that lies behind them."""

    def grouped(self, step, x):
        along = (1, -1, *[1] * (x.ndim - 2))
        return x.reshape(len(x), step.named["num_groups"], -1), along


class _InstanceNorm(_Normalising):
    """Over each channel's samples."""

    def inputs(self, step):
        if not step.named["use_input_stats"]:
            raise UserError(f"LRP has no rule for {step.node.described()} with running statistics")
        return super().inputs(step)

    def grouped(self, step, x):
        return x.flatten(2), (1, -1, *[1] * (x.ndim - 2))


class _RMSNorm(_Normalising):
    """Over the last axes, without centring."""

    def parts(self, step, run, x):
        dims = tuple(range(-len(step.named["normalized_shape"]), 0))
        eps = step.named["eps"]
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        root = (x.detach().square().mean(dims, keepdim=True) + eps).sqrt()
        weight = run.argument(step.named["weight"])
        return x / root if weight is None else x / root * weight.detach(), None


# ---------------------------------------------------------------- softmax and attention


def softmax_share(x: Tensor, probability: Tensor, relevance: Tensor, dim: int) -> Tensor:
    """Relevance of a softmax's input: x_i (R_i - s_i sum_k R_k); 0 where it is masked."""
    total = relevance.sum(dim, keepdim=True)
    return torch.where(torch.isfinite(x), x, 0.0) * (relevance - probability * total)


def softmax_rest(x: Tensor, probability: Tensor, relevance: Tensor, dim: int) -> Tensor:
    """What a softmax keeps, per output: R_k (1 - x_k + sum_i s_i x_i), the constant term of its
    first-order expansion.
    """
    x = torch.where(torch.isfinite(x), x, 0.0)
    return relevance * (1 - x + (probability * x).sum(dim, keepdim=True))


class _Softmax(Rule):
    """First-order expansion at the input; its constant term is the nonlinear share."""

    def backward(self, step, run, relevance):
        (name,) = step.dependent
        x, probability, dim = run.values[name], run.values[step.name], step.named["dim"]
        rest = softmax_rest(x, probability, relevance, dim)
        run.write(step, nonlinear=step.totals(rest))
        return [(name, softmax_share(x, probability, relevance, dim))]


class _Expanded(_Local):
    """log-softmax, log-sum-exp: first-order expansion at the input."""

    def backward(self, step, run, relevance):
        value = run.values[step.name]
        stabiliser = signed_epsilon(value, SMALL)
        s = relevance / (value + stabiliser)
        (name,) = step.dependent
        pulled = self.pulled(step, run, s)[name]
        direction = run.values[name]
        with torch.enable_grad():  # J x, by differentiating J^T v in v
            leaf = direction.detach().requires_grad_(True)
            dummy = torch.zeros_like(value).requires_grad_(True)
            again = run.compute(step.node, {name: leaf})
            (back,) = torch.autograd.grad(again, leaf, dummy, create_graph=True)
        (along,) = torch.autograd.grad(back, dummy, direction)
        run.write(
            step,
            stabiliser=step.totals(s * stabiliser),
            nonlinear=step.totals(s * (value - along)),
        )
        return [(name, direction * pulled)]


class _Attention(Rule):
    """softmax(Q K^T / sqrt(d) + mask) V as its parts: two matrix products and a softmax."""

    def inputs(self, step):
        named = step.named
        if named["enable_gqa"]:
            raise UserError(f"LRP has no rule for {step.node.described()} with grouped queries")
        mask = named["attn_mask"]
        if isinstance(mask, Ref) and mask.name in step.dependent:
            raise UserError(f"LRP has no rule for {step.node.described()} with a mask that varies")
        return step.dependent

    def backward(self, step, run, relevance):
        parts = ("query", "key", "value")
        query, key, value = (run.argument(step.named[part]) for part in parts)
        scores, mask = self._scores(step, run, query, key)
        masked = scores if mask is None else scores + mask
        probability = masked.softmax(-1)
        output = probability @ value
        stabiliser = signed_epsilon(output, SMALL)
        s = relevance / (output + stabiliser)
        lost = step.totals(s * stabiliser)
        to_value = 0.5 * value * (probability.mT @ s)
        to_probability = 0.5 * probability * (s @ value.mT)
        rest = softmax_rest(masked, probability, to_probability, -1)
        to_masked = softmax_share(masked, probability, to_probability, -1)
        to_scores, bias = to_masked, 0.0
        if mask is not None:
            to_scores, on_mask, of_sum = _past_mask(scores, mask, masked, to_masked)
            bias = step.totals(on_mask)
            lost = lost + step.totals(of_sum)
        stabiliser = signed_epsilon(scores, SMALL)
        s = to_scores / (scores + stabiliser)
        lost = lost + step.totals(s * stabiliser)
        scale = self._scale(step, query)
        shares = {
            "query": 0.5 * query * (s @ key) * scale,
            "key": 0.5 * key * (s.mT @ query) * scale,
            "value": to_value,
        }
        run.write(step, bias=bias, stabiliser=lost, nonlinear=step.totals(rest))
        return [
            (step.named[part].name, fitted(share, run.argument(step.named[part])))
            for part, share in shares.items()
            if isinstance(step.named[part], Ref) and step.named[part].name in step.dependent
        ]

    @staticmethod
    def _scale(step, query):
        given = step.named["scale"]
        return 1 / math.sqrt(query.shape[-1]) if given is None else given

    def _scores(self, step, run, query, key):
        scores = query @ key.mT * self._scale(step, query)
        mask = run.argument(step.named["attn_mask"])
        if step.named["is_causal"]:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -math.inf)
        return scores, mask


def _past_mask(scores, mask, masked, relevance):
    """Relevance of the scores before a mask was added, of the mask, and of the stabiliser."""
    open_ = torch.isfinite(masked)
    total = torch.where(open_, masked, 1.0)
    stabiliser = signed_epsilon(total, SMALL)
    s = torch.where(open_, relevance, 0.0) / (total + stabiliser)
    return scores * s, torch.where(open_, mask, 0.0) * s, s * stabiliser


class _GatedHalf(_Local):
    """glu: a * sigmoid(b), half to each."""

    def backward(self, step, run, relevance):
        (name,) = step.dependent
        dim = step.named["dim"]
        half = relevance / 2
        return [(name, torch.cat([half, half], dim=dim))]


class _Item(Rule):
    """One of several outputs of an operation."""

    def backward(self, step, run, relevance):
        reference, index = step.node.args
        return [(reference.name, {index: relevance})]


def _kinds(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


OPERATION_RULES: dict[str, Rule] = {
    **_kinds("conv1d conv2d conv3d", _Weighted(conv_map, dense=False)),
    **_kinds("convolution conv_transpose1d conv_transpose2d", _Weighted(conv_map, dense=False)),
    "linear": _Weighted(dense_map, dense=True),
    "addmm": _AddMM(),
    "batch_norm": _Weighted(norm_map, dense=False),
    **_kinds("matmul mm bmm mv dot", _MatrixProduct()),
    "einsum": _Einsum(),
    "layer_norm": _LayerNorm(),
    "group_norm": _GroupNorm(),
    "instance_norm": _InstanceNorm(),
    "rms_norm": _RMSNorm(),
    **_kinds("softmax _softmax", _Softmax()),
    **_kinds("log_softmax _log_softmax logsumexp", _Expanded()),
    "scaled_dot_product_attention": _Attention(),
    **_kinds(
        """relu leaky_relu prelu elu selu celu gelu silu mish softplus sigmoid log_sigmoid tanh
        hardtanh relu6 hardswish hardsigmoid hardshrink softshrink threshold abs neg exp exp2 log
        log2 log10 log1p expm1 sqrt rsqrt square pow reciprocal sin cos tan sinh cosh asin acos
        atan erf clamp clamp_min clamp_max nan_to_num to _to_copy type_as contiguous clone detach
        alias""",
        _Passing(),
    ),
    **_kinds(
        """reshape view flatten unflatten squeeze unsqueeze transpose permute t numpy_T mT movedim
        expand expand_as broadcast_to repeat tile repeat_interleave slice select narrow cat stack
        hstack split split_with_sizes chunk tensor_split unbind flip roll pad constant_pad_nd
        reflection_pad1d replication_pad1d reflection_pad2d replication_pad2d index index_select
        gather take_along_dim masked_fill where slice_scatter select_scatter unfold diagonal
        view_as reshape_as _unsafe_view tril triu pixel_shuffle channel_shuffle max_pool1d
        max_pool2d max_pool1d_with_indices max_pool2d_with_indices adaptive_max_pool1d
        adaptive_max_pool2d amax amin max min topk sort median upsample_nearest1d
        upsample_nearest2d""",
        _Moving(),
    ),
    **_kinds(
        """mean sum avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d cumsum diff
        upsample_linear1d upsample_bilinear2d upsample_bicubic2d std norm linalg_vector_norm""",
        _Proportional(),
    ),
    "var": _SecondDegree(),
    "add": _Summing(1, 1),
    "sub": _Summing(1, -1),
    "rsub": _Summing(-1, 1, scaled="self"),
    **_kinds("mul multiply", _Halving()),
    **_kinds("div divide", _Dividing()),
    **_kinds("maximum minimum fmax fmin", _Winning()),
    "glu": _GatedHalf(),
    "getitem": _Item(),
}
