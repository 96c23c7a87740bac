"""What the rules of operations share: a step on the way of relevance, what is known while a batch
is explained, and the plainest rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attribution.lrp_maps import Scratch
from attribution.lrp_rules import Shares, signed_epsilon
from networks.probe import per_record
from networks.program import Node, rebuilt

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
    scratch  memory that rules may use again
    """

    values: dict[str, object]
    compute: Callable[..., object]
    argument: Callable[[object], object]
    local: dict[str, tuple] = field(default_factory=dict)
    book: dict[str, Shares] = field(default_factory=dict)
    scratch: Scratch = field(default_factory=Scratch)

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


def quotient(relevance: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """s = R / (z + SMALL sign z), and what the stabiliser takes of each output, both new."""
    stabiliser = signed_epsilon(value, SMALL)
    s = (value + stabiliser).reciprocal_().mul_(relevance)
    return s, stabiliser.mul_(s)  # in place: new memory is what costs here


def fitted(relevance: Tensor, value: Tensor) -> Tensor:
    """Relevance of a broadcast value, summed to the value's own shape."""
    if relevance.shape != value.shape:
        relevance = relevance.sum_to_size(value.shape)
    return relevance.to(value.dtype)


def kinds(names: str, rule: Rule) -> dict[str, Rule]:
    """The same rule for several kinds of operation, named with blanks between."""
    return dict.fromkeys(names.split(), rule)


class Local(Rule):
    """An operation whose own backward pass is of use: it is computed with a graph of its own."""

    def forward(self, step: Step, run: Run) -> object:
        """The operation's value, with its graph kept until relevance comes back."""
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
