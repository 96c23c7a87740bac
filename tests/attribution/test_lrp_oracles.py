"""Every rule of LRP, operation by operation, against a slow form of its formula (lrp_oracles.py):
relevance of each operand and each booked share, per record, to 1e-9 of the largest. And mutants of
every rule, which the oracles must catch.
"""

import zlib

import pytest
import torch

import lrp_oracles
from attribution import (
    lrp,
    lrp_attention,
    lrp_normalising,
    lrp_operations,
    lrp_rules,
    lrp_steps,
    lrp_weighted,
)
from attribution.lrp import Preset
from attribution.lrp_operations import OPERATION_RULES
from attribution.lrp_plan import plan_of
from attribution.lrp_rules import AlphaBeta, Epsilon, Flat, Gamma, Zero, ZPlus
from lrp_cases import CASES
from lrp_oracles import (
    Each,
    Value,
    alpha_beta,
    epsilon,
    flat,
    gamma,
    weighted,
    z_plus,
    zero,
)
from networks.program import INPUT, Batch, Node, Program, Ref, Stored, rebuilt

RECORDS = 2
SHARES = ("bias", "stabiliser", "nonlinear")
RULES = {
    "zero": (Zero(), zero),
    "epsilon": (Epsilon(0.01), epsilon),
    "z_plus": (ZPlus(0.01), z_plus),
    "gamma": (Gamma(0.4, 0.01), gamma),
    "alpha_beta": (AlphaBeta(2, 1, 0.01), alpha_beta),
    "flat": (Flat(), flat),
}


def program_of(case):
    """The operation as a network whose signals are its operands side by side."""
    nodes, tensors, start = [], {}, 0
    for value in case.values:
        size = int(torch.tensor(value.shape).prod())
        part = Node(f"{value.name}_part", "slice", (Ref(INPUT), 2, start, start + size))
        shape = [Batch(1), *value.shape]
        nodes += [part, Node(value.name, "reshape", (Ref(part.name), shape))]
        start += size

    def leaf(part):
        if isinstance(part, torch.Tensor):
            tensors[f"constant_{len(tensors)}"] = part
            return Stored(f"constant_{len(tensors) - 1}")
        if isinstance(part, Each):
            name, shape = f"each_{len(nodes)}", [Batch(1), *part.tensor.shape]
            nodes.append(Node(name, "expand", (leaf(part.tensor), shape)))
            return Ref(name)
        return Ref(part.name) if isinstance(part, Value) else part

    args, kwargs = rebuilt(case.args, leaf), rebuilt(case.kwargs, leaf)
    nodes.append(Node("subject", case.op, args, kwargs, place="subject"))
    if case.output is not None:
        item = ("getitem", (Ref("subject"), case.output), {}, "subject")
        nodes.append(Node("item", *item))
    return Program(nodes, tensors, Ref(nodes[-1].name)), start


def signals_of(case, size):
    """Signals (RECORDS, 1, size), and each operand cut out of them."""
    generator = torch.Generator().manual_seed(zlib.crc32(repr(case.kind).encode()))
    like = torch.zeros(RECORDS, 1, size, dtype=torch.float64)
    if case.low is None:
        x = torch.randn(like.shape, generator=generator, dtype=like.dtype)
    else:
        drawn = torch.rand(like.shape, generator=generator, dtype=like.dtype)
        x = case.low + (case.high - case.low) * drawn
    cut, start = {}, 0
    for value in case.values:
        width = int(torch.tensor(value.shape).prod())
        cut[value.name] = x[..., start : start + width].reshape(RECORDS, *value.shape)
        start += width
    return x, cut, generator


def passed(case, rule):
    """Relevance of each operand (RECORDS, ...) and the shares by the project's rule; the operands
    and the relevance of the output.
    """
    program, size = program_of(case)
    x, values, generator = signals_of(case, size)
    with torch.no_grad():
        plan = plan_of(program, Preset(rule, rule), x)
        run = lrp._forward(program, plan, x)
        steps = [step for step in plan.steps if step.node.place == "subject"]
        output = run.values[plan.output]
        relevance = torch.randn(output.shape, generator=generator, dtype=output.dtype)
        waiting = {plan.output: relevance}
        for step in steps:  # the operation, behind it which of its outputs is taken
            for name, share in plan.rules[step.name].backward(step, run, waiting[step.name]):
                known = waiting.get(name)
                waiting[name] = share if known is None else known + share
    given = {name: waiting.get(name, torch.zeros_like(value)) for name, value in values.items()}
    return given, run.book.get(steps[-1].label), values, relevance


def records_of(case, relevance):
    """The output's relevance, one record after the other: records may lie along the last axis."""
    last = case.kind in ("t", "numpy_T")
    return relevance.split(1, -1 if last else 0)


def check(case, rule="epsilon"):
    """AssertionError where the project's rule gives something else than the oracle."""
    fast, slow = RULES[rule]
    given, book, values, relevance = passed(case, fast)
    for record, upper in enumerate(records_of(case, relevance)):
        own = {name: value[record : record + 1] for name, value in values.items()}
        options = {"rule": slow} if case.oracle is weighted else {}
        expected = case.oracle(case, own, upper, **options)
        shares = {name: getattr(expected, name) for name in SHARES}
        largest = max(float(one.abs().max()) for one in expected.given.values())
        scale = max(largest, *map(abs, shares.values()), 1e-3)
        for name, share in expected.given.items():
            assert (given[name][record] - share[0]).abs().max() <= 1e-9 * scale, name
        for name, share in shares.items():
            booked = getattr(book, name) if book else 0.0
            booked = booked[record] if isinstance(booked, torch.Tensor) and booked.ndim else booked
            assert abs(float(booked) - share) <= 1e-9 * scale, name


@pytest.fixture(autouse=True)
def _stabilisers_that_count(monkeypatch):
    """So large that a wrong one is seen."""
    for module in (lrp_oracles, lrp_steps):
        monkeypatch.setattr(module, "SMALL", 0.01)


def name_of(case):
    return case.kind


OF_WEIGHTS = [case for case in CASES if case.oracle is weighted]


def test_every_operation_with_a_rule_has_a_case():
    assert {"getitem", *(case.kind for case in CASES)} == set(OPERATION_RULES)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_rule_is_its_formula(case):
    check(case)


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"epsilon"}))
@pytest.mark.parametrize("case", OF_WEIGHTS, ids=name_of)
def test_operations_with_weights_follow_every_rule(case, rule):
    check(case, rule)


# ---------------------------------------------------------------- mutants


def _positive(z, epsilon, out=None):
    return torch.full_like(z, epsilon)


def _to_the_first(self, step, run, relevance):
    return [(step.dependent[0], lrp_operations.fitted(relevance, run.values[step.dependent[0]]))]


def _by_gradient(self, step, run, relevance):
    """A product's relevance as value times gradient: all of it to each factor."""
    names = set(step.dependent)
    return [(name, lrp_operations.fitted(relevance, run.values[name])) for name in names]


def _with_moving_deviation(self, step, run, x):
    """A norm that is differentiated through its deviation."""
    shift = run.argument(step.named.get("bias"))
    y = run.compute(step.node, {step.named["input"].name: x})
    shift = None if shift is None else shift.view(self.grouped(step, x)[1]).expand_as(x)
    return y if shift is None else y - shift, shift


def _letters_kept(equation, at):
    """Constants of an einsum as a weight that is summed only after signs were told apart."""
    sources, result = equation.replace(" ", "").split("->")
    terms = sources.split(",")
    own, weight = terms.pop(at), "".join(sorted(set("".join(terms))))
    return f"{','.join(terms)}->{weight}", f"{own},{weight}->{result}"


def _zero(*_):
    return 0.0


def _nothing(*_):
    return None


# what is damaged, by what, and an operation (with a rule of the preset) that must show it
MUTANTS = {
    "stabiliser of sums": (lrp_steps, "signed_epsilon", _positive, "add"),
    "stabiliser of products": (lrp_steps, "signed_epsilon", _positive, "bmm"),
    "stabiliser of norms": (lrp_steps, "signed_epsilon", _positive, "rms_norm"),
    "stabiliser of logarithms": (lrp_steps, "signed_epsilon", _positive, "log_softmax"),
    "stabiliser of attention": (
        lrp_steps, "signed_epsilon", _positive, "scaled_dot_product_attention"),
    "stabiliser of epsilon": (lrp_rules, "signed_epsilon", _positive, "conv2d"),
    "filled numbers": (lrp_operations._Moving, "_on_constants", _nothing, "constant_pad_nd"),
    "a constant of two": (lrp_operations._Moving, "_on_constants", _nothing, "where"),
    "zeros of a triangle": (lrp_operations._Thinning, "_on_constants", _nothing, "tril"),
    "constants added to": (lrp_operations._Adding, "on_constants", _zero, "scatter_add"),
    "second degree": (lrp_operations._SecondDegree, "part", 1.0, "var"),
    "one factor alone": (lrp_operations._Halving, "backward", _to_the_first, "mul"),
    "both factors whole": (lrp_operations._Halving, "backward", _by_gradient, "mul"),
    "denominators too": (lrp_operations._Dividing, "inputs", lambda _, step: step.dependent, "div"),
    "the first wins": (lrp_operations._Winning, "backward", _to_the_first, "maximum"),
    "a mask of a sum": (lrp_operations._Summing, "backward", _to_the_first, "sub"),
    "weights of an einsum": (lrp_weighted, "constants_first", _letters_kept, "einsum"),
    "bias of an addmm": (lrp_weighted.LinearMap, "bias_share", _zero, "addmm"),
    "deviation of a norm": (
        lrp_normalising._Normalising, "parts", _with_moving_deviation, "layer_norm"),
    "what softmax keeps": (
        lrp_attention, "softmax_rest", lambda x, *_: torch.zeros_like(x), "softmax"),
    "softmax without its sum": (
        lrp_attention, "softmax_share", lambda x, p, r, dim: x * r, "_softmax"),
    "mask of attention": (
        lrp_attention, "_past_mask", lambda s, m, z, r: (r, 0 * r, 0 * r),
        "scaled_dot_product_attention"),
    "scale of attention": (
        lrp_attention._Attention, "_scale", lambda *_: 1.0, "scaled_dot_product_attention"),
    "parts of attention": (
        lrp_attention._Attention, "_parts", lambda *_: [0.5, 0.5], "scaled_dot_product_attention"),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_damaged_rule_is_caught(mutant, monkeypatch):
    holder, name, damaged, kind = MUTANTS[mutant]
    cases = [case for case in CASES if case.kind == kind]
    names = sorted(RULES) if kind == "einsum" else ["epsilon"]
    for case in cases:
        for rule in names if case.oracle is weighted else ["epsilon"]:
            check(case, rule)
    monkeypatch.setattr(holder, name, damaged)
    caught = 0
    for case in cases:
        for rule in names if case.oracle is weighted else ["epsilon"]:
            try:
                check(case, rule)
            except (AssertionError, ValueError):
                caught += 1
    assert caught


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_rule_that_is_off_by_a_millionth_is_caught(case, monkeypatch):
    real = type(OPERATION_RULES[case.kind]).backward

    def louder(self, step, run, relevance):
        return [(name, share * (1 + 1e-6)) for name, share in real(self, step, run, relevance)]

    monkeypatch.setattr(type(OPERATION_RULES[case.kind]), "backward", louder)
    with pytest.raises(AssertionError):
        check(case)
