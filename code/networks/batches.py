"""One program for any number of records, of what a network did on batches of two sizes.

Numbers that differ between the batches follow the number of records; constants that only have more
rows are one row, repeated.
"""

from typing import Protocol

import torch
from torch import Tensor

from common.files import UserError
from networks.program import Batch, Node, Program, Ref, Stored, rebuilt, references

SIZES = (2, 3)  # records of the two batches that are watched


class Watched(Protocol):
    """What was seen on one batch: operations, constants, what was returned, calls of modules."""

    nodes: list[Node]
    stored: dict[str, Tensor]
    output: object
    calls: dict[str, Ref]


def merged(first: Watched, second: Watched) -> Program:
    """One program of two watches: numbers that differ follow the number of records."""
    if [(node.name, node.op) for node in first.nodes] != [
        (node.name, node.op) for node in second.nodes
    ]:
        raise UserError("the network computes other operations for another number of records")
    nodes = []
    for one, other in zip(first.nodes, second.nodes, strict=True):
        args = _united(one.args, other.args, one)
        kwargs = _united(one.kwargs, other.kwargs, one)
        nodes.append(Node(one.name, one.op, args, kwargs, one.place))
    made, rows = [], {}  # constants with as many rows as there are records, and one row of each
    for name, tensor in first.stored.items():
        other = second.stored.get(name)
        if _same_tensor(tensor, other):
            continue
        rows[name] = _row(tensor, other)
        sizes = [_united(*pair, None) for pair in zip(tensor.shape, other.shape, strict=True)]
        made.append(Node(f"{name}_repeated", "expand", (Stored(name), sizes), {}))
    repeated = {Stored(name): Ref(f"{name}_repeated") for name in rows}
    nodes = [*made, *(_reading(node, repeated) for node in nodes)]
    with torch.inference_mode(False):  # constants are read by autograd later
        stored = {
            name: tensor.clone() if tensor.is_inference() else tensor
            for name, tensor in {**first.stored, **rows}.items()
        }
    output = rebuilt(first.output, lambda part: _at(repeated, part))
    program = Program(nodes, stored, output, first.calls)
    returned = [ref.name for ref in references(output) if isinstance(ref, Ref)]
    if not program.dependent.intersection(returned):
        raise UserError("the network returns no tensor that it computed from its signals")
    return program


def _same_tensor(one, other):
    return other is not None and (one is other or torch.equal(one, other))


def _row(one, other):
    """What two constants of the batches' sizes repeat, an axis of one row; UserError where they
    differ otherwise.
    """
    if other is not None and one.ndim == other.ndim:
        axes = [at for at in range(one.ndim) if one.shape[at] != other.shape[at]]
        row = one
        for axis in axes:
            row = row.narrow(axis, 0, 1)
        if (
            axes
            and torch.equal(row.expand_as(one), one)
            and torch.equal(row.expand_as(other), other)
        ):
            return row.clone()
    raise UserError(
        "the network puts something together beside PyTorch's operations on tensors that "
        f"differs from batch to batch (a tensor of shape {tuple(one.shape)})"
    )


def _reading(node, replaced):
    """The node with other references in the place of some."""
    args = rebuilt(node.args, lambda part: _at(replaced, part))
    kwargs = rebuilt(node.kwargs, lambda part: _at(replaced, part))
    return Node(node.name, node.op, args, kwargs, node.place)


def _at(replaced, part):
    return replaced.get(part, part) if isinstance(part, Stored) else part


def _united(one, other, node):
    """Nested arguments of the two watches as those of any number of records."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) == len(other):
            return type(one)(_united(a, b, node) for a, b in zip(one, other, strict=True))
    elif isinstance(one, dict) and isinstance(other, dict):
        return {name: _united(one[name], other[name], node) for name in one}
    elif one == other:
        return one
    elif type(one) is int and type(other) is int:
        step = (other - one) // (SIZES[1] - SIZES[0])
        return Batch(step, one - step * SIZES[0])
    where = "something" if node is None else node.described()
    raise UserError(f"the network computes {where} otherwise for more records")
