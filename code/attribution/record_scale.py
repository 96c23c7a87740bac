"""Networks that divide a record by a size of its own (z-score, min-max, a norm before the first
layer), with that size held.

Such a network answers x and x / 1000 alike, so that on a straight way from 0 mV to x the logit
leaps at the first step and rests from there: Integrated Gradients along it find nothing. With the
divisor held at the record's own value the network is the same at x, and the way is one again: from
the flat line, which the held network gets as zeros, to the record in the network's own units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from networks.program import Node, Program, Ref, arguments, inputs_of

SMALLER = 0.5  # the record's size in the trial
SAME = 0.01  # relative deviation from proportion that small constants beside a deviation may make


def scaling_values(program: Program) -> dict[str, int]:
    """Values that may divide a record by a size of its own: name -> 1 for divisors, -1 for factors
    (reciprocals of sizes).
    """
    found = {}
    for node in program.nodes:
        names = [reference.name for reference in inputs_of(node)]
        if len(names) != 2 or not program.dependent.issuperset(names):
            continue
        if node.kind == "div":
            found[names[1]] = 1
        if node.kind == "mul":
            found.update(dict.fromkeys(names, -1))
    return found


def follows_size(own: Tensor, smaller: Tensor, degree: int) -> Tensor:
    """Whether a value (N, ...) follows the size of its record to the power of `degree`, (N,); the
    numbers of leads without any signal may rest.
    """
    own, smaller = own.reshape(len(own), -1), smaller.reshape(len(own), -1)
    expected = own * SMALLER**degree
    follows = (smaller - expected).abs() <= SAME * expected.abs()
    moved = (follows & (smaller != own)).any(dim=1)
    return moved & (follows | (smaller == own)).all(dim=1)


NORMS = ("layer_norm", "group_norm", "instance_norm", "rms_norm")


def with_quotients(program: Program, x: Tensor) -> Program:
    """The program with norms of values that follow the size of records x as what they are: a value
    less its mean, over its deviation. Itself where there is none.
    """
    norms = {node.name: arguments(node) for node in program.nodes if node.kind in NORMS}
    sources = {
        named["input"].name
        for named in norms.values()
        if isinstance(named["input"], Ref) and named.get("use_input_stats", True)
    }
    if not sources:
        return program
    with torch.no_grad():
        own = program.run(x, keep=sources)[1]
        smaller = program.run(SMALLER * x, keep=sources)[1]
    following = {
        name: own[name]
        for name in sources
        if own[name].shape[:1] == x.shape[:1] and follows_size(own[name], smaller[name], 1).any()
    }
    nodes = []
    for node in program.nodes:
        named = norms.get(node.name)
        value = following.get(getattr(named and named["input"], "name", None))
        nodes += [node] if value is None else _pieces(node, named, value)
    return Program(nodes, program.tensors, program.output, program.calls) if following else program


def _pieces(node, named, value):
    """The nodes of a norm of a value like this one; the last one has its name."""
    nodes = []

    def emit(kind, *args):
        nodes.append(Node(f"{node.name}_{len(nodes)}_{kind}", kind, args, {}, node.place))
        return Ref(nodes[-1].name)

    x, along = named["input"], [1, -1, *[1] * (value.ndim - 2)]
    axes = list(range(2, value.ndim))
    if "normalized_shape" in named:
        along = list(named["normalized_shape"])
        axes = list(range(value.ndim - len(along), value.ndim))
    if node.kind == "group_norm":
        x, axes = (
            emit("reshape", x, [-1, named["num_groups"], value[0].numel() // named["num_groups"]]),
            [2],
        )
    if node.kind != "rms_norm":
        x = emit("sub", x, emit("mean", x, axes, True))
    eps = torch.finfo(value.dtype).eps if named["eps"] is None else named["eps"]
    square = emit("mean", emit("mul", x, x), axes, True)
    result = emit("div", x, emit("sqrt", emit("add", square, eps)))
    if node.kind == "group_norm":
        result = emit("reshape", result, [-1, *value.shape[1:]])
    for kind, key in (("mul", "weight"), ("add", "bias")):
        if named.get(key) is not None:
            result = emit(kind, result, emit("reshape", named[key], along))
    nodes[-1] = replace(nodes[-1], name=node.name)
    return nodes


class HeldScales:
    """A network, with the sizes by which it divides records x (N, leads, T) held at their own."""

    def __init__(self, model: nn.Module, x: Tensor):
        self.model = model = with_quotients(model, x) if isinstance(model, Program) else model
        self.values: dict[str, tuple[Tensor, Tensor]] = {}  # name -> value, records held
        candidates = scaling_values(model) if isinstance(model, Program) else {}
        if not candidates:
            return
        with torch.no_grad():
            own = model.run(x, keep=candidates)[1]
            smaller = model.run(SMALLER * x, keep=candidates)[1]
        most = x.shape[1]  # a size of the record or of each lead, no trace
        for name, degree in candidates.items():
            value = own[name]
            if value.shape[:1] == x.shape[:1] and value[0].numel() <= most:
                follows = follows_size(value, smaller[name], degree)
                if follows.any():
                    self.values[name] = (value, follows)

    def network(self, rows: Tensor) -> Callable[[Tensor], object]:
        """The network for stacks of these records: (k * len(rows), leads, T), record by record
        within each of the k -> what the network returns.
        """
        if not self.values:
            return self.model

        def run(stack: Tensor) -> object:
            copies = len(stack) // len(rows)
            replace = {
                name: partial(_held, value[rows], follows[rows], copies)
                for name, (value, follows) in self.values.items()
            }
            return self.model.run(stack, replace_value=replace)[0]

        return run


def _held(value, follows, copies, computed):
    """What was computed for a stack of copies of the records, with the held values in its place."""
    ones = [1] * (value.ndim - 1)
    which = follows.reshape(-1, *ones).repeat(copies, *ones)
    return torch.where(which, value.repeat(copies, *ones), computed)
