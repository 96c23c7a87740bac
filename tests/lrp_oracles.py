"""What every rule of LRP should give, slowly: loops over the outputs of one operation on one
record, from the rule's formula in docs/lrp.md alone. Nothing here knows how the project does it.

An oracle takes a Case, the operand values of one record (name -> (1, ...) float64) and the
relevance of the output, and gives a Found.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from networks.program import Batch, Dtype, rebuilt

SMALL = 1e-9  # the stabiliser of sums, averages and products


@dataclass(frozen=True)
class Value:
    """An operand that depends on the signals: its name and its shape behind the records."""

    name: str
    shape: tuple[int, ...] = (3, 4)


@dataclass(frozen=True, eq=False)
class Each:
    """A constant tensor that each record reads anew: one more axis in front, as long as there are
    records.
    """

    tensor: Tensor


@dataclass(frozen=True, eq=False)
class Case:
    """One operation on operands and constants: its name, with overload where that is needed, its
    arguments with Values among them, its oracle.

    output  which of several outputs is explained; low, high: operands are drawn between them (None:
    normal); about: what the oracle has to be told
    """

    op: str
    args: tuple
    oracle: Callable
    kwargs: dict = field(default_factory=dict)
    output: int | None = None
    low: float | None = None
    high: float = 1.0
    about: object = None

    @property
    def kind(self) -> str:
        """The operation as OPERATION_RULES has it."""
        return self.op.split(".")[0]

    @property
    def values(self) -> list[Value]:
        """The operands, each once, in their order."""
        found = []
        rebuilt([self.args, self.kwargs], lambda part: found.append(part))
        return list(dict.fromkeys(part for part in found if isinstance(part, Value)))

    def run(self, values: dict[str, Tensor]) -> Tensor:
        """What the operation gives for one record."""

        def leaf(part):
            if isinstance(part, Value):
                return values[part.name]
            if isinstance(part, Each):
                return part.tensor[None]
            if isinstance(part, Dtype):
                return torch.float64
            return part.factor + part.offset if isinstance(part, Batch) else part

        args = [rebuilt(part, leaf) for part in self.args]
        kwargs = {name: rebuilt(part, leaf) for name, part in self.kwargs.items()}
        result = getattr(torch.ops.aten, self.kind)(*args, **kwargs)
        return result if self.output is None else result[self.output]


@dataclass
class Found:
    """Relevance of each operand, and what is booked beside."""

    given: dict[str, Tensor]
    bias: float = 0.0
    stabiliser: float = 0.0
    nonlinear: float = 0.0


def small(value: float) -> float:
    """The stabiliser of a value."""
    return math.copysign(SMALL, value)


def zeros(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """No relevance yet."""
    return {name: torch.zeros_like(value) for name, value in values.items()}


# ---------------------------------------------------------------- values that go on as they are


def passing(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """All of it to the one number that each output is a function of."""
    return Found({name: relevance for name in values})


def traced(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """To the operand's number that equals the output; what equals none is a constant."""
    found = Found(zeros(values))
    output = case.run(values).flatten().tolist()
    for value, share in zip(output, relevance.flatten().tolist(), strict=True):
        for name, operand in values.items():
            at = (operand.flatten() == value).nonzero().flatten().tolist()
            if at:
                found.given[name].view(-1)[at[0]] += share
                break
        else:
            found.bias += share
    return found


def winning(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """To whichever of two numbers was taken."""
    found = Found(zeros(values))
    output = case.run(values)
    operands = {name: value.expand_as(output) for name, value in values.items()}
    for place in itertools.product(*map(range, output.shape)):
        owners = [name for name in operands if operands[name][place] == output[place]]
        if not owners:
            found.bias += float(relevance[place])
        for name in owners:
            own = tuple(
                0 if size == 1 else at for size, at in zip(values[name].shape, place, strict=True)
            )
            found.given[name][own] += relevance[place] / len(owners)
    return found


# ---------------------------------------------------------------- in proportion


def matrices(case: Case, values: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """A linear operation as a matrix per operand (K, J), by one unit vector after the other, and
    its constant (K,).
    """
    nothing = zeros(values)
    constant = case.run(nothing).flatten()
    found = {}
    for name, value in values.items():
        columns = []
        for j in range(value.numel()):
            unit = torch.zeros_like(value)
            unit.view(-1)[j] = 1.0
            columns.append(case.run({**nothing, name: unit}).flatten() - constant)
        found[name] = torch.stack(columns, 1)
    return found, constant


def shared_out(case, values, relevance, by_operand, constant, part=1.0) -> Found:
    """Weight times value over output, a stabiliser beside it."""
    found = Found(zeros(values))
    output = case.run(values).flatten()
    for k, share in enumerate(relevance.flatten().tolist()):
        ratio = share / (float(output[k]) + small(float(output[k])))
        for name, value in values.items():
            for j in range(value.numel()):
                term = float(by_operand[name][k, j]) * float(value.flatten()[j])
                found.given[name].view(-1)[j] += part * term * ratio
        found.bias += float(constant[k]) * ratio
        found.stabiliser += small(float(output[k])) * ratio
    return found


def proportional(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """A linear operation without weights of its own."""
    return shared_out(case, values, relevance, *matrices(case, values))


def homogeneous(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """Value times gradient; `about` is (degree, gradients of the rows of the last axis)."""
    degree, slopes = case.about
    ((name, value),) = values.items()
    rows = value.reshape(-1, value.shape[-1])
    jacobian = torch.zeros(len(rows), value.numel(), dtype=torch.float64)
    for k, row in enumerate(rows):
        for j, slope in enumerate(slopes(row.tolist())):
            jacobian[k, k * len(row) + j] = slope
    nothing = torch.zeros(len(rows))
    return shared_out(case, values, relevance, {name: jacobian}, nothing, 1 / degree)


def summing(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """Terms of a sum: `about` is (factor, argument) of both; a constant one is bias."""
    found = Found(zeros(values))
    output = case.run(values)
    for factor, operand in case.about:
        moving = isinstance(operand, Value)
        term = values[operand.name] if moving else torch.as_tensor(operand, dtype=torch.float64)
        wide = term.expand_as(output)
        for place in itertools.product(*map(range, output.shape)):
            if not math.isfinite(wide[place]):
                continue
            y = float(output[place])
            share = factor * float(wide[place]) * float(relevance[place]) / (y + small(y))
            if not moving:
                found.bias += share
                continue
            own = tuple(0 if size == 1 else at for size, at in zip(term.shape, place, strict=True))
            found.given[operand.name][own] += share
    for y, share in zip(output.flatten().tolist(), relevance.flatten().tolist(), strict=True):
        found.stabiliser += small(y) * share / (y + small(y))
    return found


# ---------------------------------------------------------------- products and quotients


def halving(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """A like part to each factor that depends on the signals."""
    factors = [part for part in case.args if isinstance(part, Value)]
    given = zeros(values)
    for factor in factors:
        share = relevance / len(factors)
        own = values[factor.name]
        while share.ndim > own.ndim:
            share = share.sum(0)
        for axis, size in enumerate(own.shape):
            share = share.sum(axis, keepdim=True) if size == 1 else share
        given[factor.name] += share
    return Found(given)


def upper(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """A quotient: all to what is above, or to what is below where the upper one is constant."""
    chosen = next(part.name for part in case.args if isinstance(part, Value))
    return Found({**zeros(values), chosen: relevance})


def both_halves(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """glu: a sigmoid(b) along one axis."""
    ((name, _),) = values.items()
    return Found({name: torch.cat([relevance / 2, relevance / 2], case.args[1])})


def terms(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """A sum of products: `about` is the equation as einsum has it. A like part of each term to each
    of its factors that depends on the signals.
    """
    sources, result = case.about.split("->")
    operands = case.args[1] if case.kind == "einsum" else case.args[:2]
    tensors = [values[one.name] if isinstance(one, Value) else one for one in operands]
    letters, sizes = sources.split(","), {}
    for names, tensor in zip(letters, tensors, strict=True):
        sizes |= dict(zip(names, tensor.shape, strict=True))
    moving = [isinstance(one, Value) for one in operands]
    output, found = case.run(values), Found(zeros(values))
    for places in itertools.product(*(range(size) for size in sizes.values())):
        at = dict(zip(sizes, places, strict=True))
        where = [tuple(at[letter] for letter in names) for names in letters]
        goal = tuple(at[letter] for letter in result)
        y = float(output[goal])
        ratio = float(relevance[goal]) / (y + small(y))
        term = math.prod(float(one[place]) for one, place in zip(tensors, where, strict=True))
        for one, place, own in zip(operands, where, moving, strict=True):
            if own:
                found.given[one.name][place] += term * ratio / sum(moving)
    for y, share in zip(output.flatten().tolist(), relevance.flatten().tolist(), strict=True):
        found.stabiliser += small(y) * share / (y + small(y))
    return found


# ---------------------------------------------------------------- normalisations


def normalising(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """The deviation as a number: diag(weight / deviation) (I - 1/n) per group. `about` is (places
    of each group, weight and shift of each place, eps, whether the mean is taken off).
    """
    groups, weight, shift, eps, centred = case.about
    ((name, value),) = values.items()
    x, r = value.flatten().tolist(), relevance.flatten().tolist()
    y = case.run(values).flatten().tolist()
    found = Found(zeros(values))
    for group in groups:
        mean = sum(x[j] for j in group) / len(group) if centred else 0.0
        deviation = math.sqrt(sum((x[j] - mean) ** 2 for j in group) / len(group) + eps)
        for k in group:
            ratio = r[k] / (y[k] + small(y[k]))
            for j in group:
                entry = (j == k) - (1 / len(group) if centred else 0.0)
                found.given[name].view(-1)[j] += weight[k] * entry / deviation * x[j] * ratio
            found.bias += shift[k] * ratio
            found.stabiliser += small(y[k]) * ratio
    return found


# ---------------------------------------------------------------- softmax and attention


def softmax_of(row: list[float]) -> list[float]:
    """Softmax of numbers, one after the other."""
    powers = [math.exp(z - max(row)) for z in row]
    return [power / sum(powers) for power in powers]


def past_softmax(row: list[float], shares: list[float]) -> tuple[list[float], float]:
    """Relevance of a softmax's input by its first-order expansion at z: R_k / s_k (J z)_k goes on,
    R_k / s_k (s - J z)_k stays.
    """
    s = softmax_of(row)
    known = [z if math.isfinite(z) else 0.0 for z in row]
    given, kept = [0.0] * len(row), 0.0
    for k, share in enumerate(shares):
        if s[k] == 0:
            kept += share
            continue
        slopes = [s[k] * ((i == k) - s[i]) for i in range(len(row))]
        parts = [slope * z for slope, z in zip(slopes, known, strict=True)]
        given = [old + part * share / s[k] for old, part in zip(given, parts, strict=True)]
        kept += (s[k] - sum(parts)) * share / s[k]
    return given, kept


def softmax(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """Over the last axis."""
    ((name, value),) = values.items()
    rows = value.reshape(-1, value.shape[-1]).tolist()
    shares = relevance.reshape(-1, value.shape[-1]).tolist()
    pairs = [past_softmax(*pair) for pair in zip(rows, shares, strict=True)]
    given = torch.tensor([one for one, _ in pairs], dtype=torch.float64).view(value.shape)
    return Found({name: given}, nonlinear=sum(kept for _, kept in pairs))


def logarithmic(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """log-softmax or log-sum-exp over the last axis: first-order expansion, a stabiliser beside."""
    ((name, value),) = values.items()
    rows = value.reshape(-1, value.shape[-1]).tolist()
    found, given = Found({}), []
    shares = relevance.reshape(len(rows), -1).tolist()
    for row, of_row in zip(rows, shares, strict=True):
        s, total = softmax_of(row), math.log(sum(math.exp(z) for z in row))
        own = [0.0] * len(row)
        for k, share in enumerate(of_row):
            whole = case.kind == "logsumexp"
            y = total if whole else row[k] - total
            slopes = s if whole else [(i == k) - s[i] for i in range(len(row))]
            ratio = share / (y + small(y))
            parts = [slope * z for slope, z in zip(slopes, row, strict=True)]
            own = [old + part * ratio for old, part in zip(own, parts, strict=True)]
            found.stabiliser += small(y) * ratio
            found.nonlinear += (y - sum(parts)) * ratio
        given.append(own)
    found.given[name] = torch.tensor(given, dtype=torch.float64).view(value.shape)
    return found


def attention(case: Case, values: dict[str, Tensor], relevance: Tensor) -> Found:
    """softmax(q k^T scale + mask) v as its parts, for one head; `about` is (scale, mask (L, L) of
    numbers or None).
    """
    scale, mask = case.about
    roles = ("q", "k", "v")
    own = dict(zip(roles, case.args[:3], strict=True))
    q, k, v = (
        (values[one.name] if isinstance(one, Value) else one)[0, 0].tolist() for one in own.values()
    )
    moving = {role: isinstance(one, Value) for role, one in own.items()}
    result = {role: [[0.0] * len(q[0]) for _ in q] for role in roles}
    found, steps, width = Found(zeros(values)), range(len(q)), range(len(q[0]))
    of_scores = float(moving["q"] or moving["k"])
    each = of_scores + moving["v"]
    for i in steps:
        scores = [scale * sum(q[i][d] * k[j][d] for d in width) for j in steps]
        masked = [one + (mask[i][j] if mask else 0.0) for j, one in enumerate(scores)]
        p = softmax_of(masked)
        to_p = [0.0 for _ in steps]
        for d in width:
            y = sum(p[j] * v[j][d] for j in steps)
            ratio = float(relevance[0, 0, i, d]) / (y + small(y))
            found.stabiliser += small(y) * ratio
            for j in steps:
                to_p[j] += of_scores / each * p[j] * v[j][d] * ratio
                result["v"][j][d] += moving["v"] / each * p[j] * v[j][d] * ratio
        to_scores, kept = past_softmax(masked, to_p)
        found.nonlinear += kept
        for j in steps:
            share = to_scores[j]
            if mask:
                if not math.isfinite(masked[j]):
                    continue
                ratio = share / (masked[j] + small(masked[j]))
                found.bias += mask[i][j] * ratio
                found.stabiliser += small(masked[j]) * ratio
                share = scores[j] * ratio
            ratio = share / (scores[j] + small(scores[j]))
            found.stabiliser += small(scores[j]) * ratio
            for d in width:
                term = scale * q[i][d] * k[j][d] * ratio / max(1, moving["q"] + moving["k"])
                result["q"][i][d] += term * moving["q"]
                result["k"][j][d] += term * moving["k"]
    for role, one in own.items():
        if moving[role]:
            found.given[one.name][0, 0] += torch.tensor(result[role], dtype=torch.float64)
    return found


# ---------------------------------------------------------------- linear operations with weights


def plus(values):
    return np.maximum(values, 0)


def minus(values):
    return np.minimum(values, 0)


def share_out(contributions, bias, stabiliser, relevance):
    """Relevance of one output in proportion to its inputs' contributions, its bias and its
    stabiliser.
    """
    total = contributions.sum() + bias + stabiliser
    if total == 0:
        return np.zeros_like(contributions), 0.0, relevance
    return (
        contributions * relevance / total,
        bias * relevance / total,
        stabiliser * relevance / total,
    )


def zero(w, x, b, r):
    return [share_out(x * w, b, 0.0, r)]


def epsilon(w, x, b, r, eps=0.01):
    z = (x * w).sum() + b
    return [share_out(x * w, b, eps if z >= 0 else -eps, r)]


def z_plus(w, x, b, r, eps=0.01):
    return [share_out(plus(x) * plus(w) + minus(x) * minus(w), plus(b), eps, r)]


def z_plus_no_bias(w, x, b, r, eps=0.01):
    return [share_out(plus(x) * plus(w) + minus(x) * minus(w), 0.0, eps, r)]


def gamma(w, x, b, r, g=0.4, eps=0.01):
    c, z = x * w, (x * w).sum() + b
    part, sign = (plus, 1) if z >= 0 else (minus, -1)
    return [share_out(c + g * part(c), b + g * part(b), sign * eps, r)]


def alpha_beta(w, x, b, r, alpha=2, beta=1, eps=0.01):
    c = x * w
    return [
        share_out(plus(c), plus(b), eps, alpha * r),
        share_out(minus(c), minus(b), -eps, -beta * r),
    ]


def flat(w, x, b, r):
    return [share_out((w != 0).astype(float), 0.0, 0.0, r)]


def by_rule(weights, biases, x, relevance, rule) -> tuple[np.ndarray, float, float]:
    """(relevance of the input (J,), bias share, stabiliser share) of one record by loops over the
    outputs; weights (K, J), biases and relevance (K,), x (J,).
    """
    total, to_bias, lost = np.zeros(len(x)), 0.0, 0.0
    for w, b, r in zip(weights, biases, relevance, strict=True):
        for of_input, of_bias, of_stabiliser in rule(w, x, b, r):
            total, to_bias, lost = total + of_input, to_bias + of_bias, lost + of_stabiliser
    return total, to_bias, lost


def weighted(case: Case, values: dict[str, Tensor], relevance: Tensor, rule=epsilon) -> Found:
    """A linear operation as a matrix, and a preset's rule on its rows."""
    ((name, value),) = values.items()
    by_operand, constant = matrices(case, values)
    arrays = (by_operand[name], constant, value.flatten(), relevance.flatten())
    total, bias, lost = by_rule(*(one.numpy() for one in arrays), rule)
    return Found({name: torch.from_numpy(total).view(value.shape)}, float(bias), float(lost))
