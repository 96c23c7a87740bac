"""Weights of a Program drawn anew, part by part: what model randomisation does to a graph, whose
modules and their own ways of drawing weights are not there any more. And the statistics of batch
norms whose network has been drawn anew.
"""

import copy
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from common.files import UserError
from networks.program import Node, Program, Ref, Stored, arguments, inputs_of, references

NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")


def learned(program: Program, node: Node) -> list[str]:
    """Names of the parameters that an operation reads."""
    parameters = {name for name, _ in program.named_parameters()}
    found = references([node.args, node.kwargs])
    return [one.name for one in found if isinstance(one, Stored) and one.name in parameters]


def parts_of(program: Program) -> dict[str, list[Node]]:
    """Top-level part -> its operations with parameters, input side first; operations outside of any
    module are parts of their own.
    """
    parts: dict[str, list[Node]] = {}
    for node in program.nodes:
        if learned(program, node):
            name = node.place.split(".")[0].split("#")[0] or node.name
            parts.setdefault(name, []).append(node)
    return parts


@torch.no_grad()
def redrawn(program: Program, names: list[str], x: Tensor, seed: int) -> Program:
    """A copy of `program` with the parameters of the named parts drawn anew.

    Weights and biases are uniform within 1 / sqrt(fan in), as PyTorch's layers draw them; norms
    become plain; the statistics of batch norms are those of x (N, leads, T), input side first.
    """
    twin = copy.deepcopy(program)
    generator = torch.Generator().manual_seed(seed)
    parts = parts_of(twin)
    chosen = []
    for name, nodes in parts.items():
        if name in names:
            chosen += nodes
    for node in chosen:
        _draw(twin, node, generator)
    if len(x) > 1:
        _estimate_statistics(twin, chosen, x)
    return twin.eval()


def _draw(program, node, generator):
    tensors = [program.tensor(name) for name in learned(program, node)]
    if node.kind in NORMS:
        named = arguments(node)
        for key, value in (("weight", 1.0), ("bias", 0.0)):
            if isinstance(named.get(key), Stored):
                program.tensor(named[key].name).fill_(value)
        return
    fan_in = max(math.prod(tensor.shape[1:]) if tensor.ndim > 1 else 1 for tensor in tensors)
    for tensor in tensors:
        noise = torch.rand(tensor.shape, generator=generator) * 2 - 1
        tensor.copy_(noise.to(tensor) / math.sqrt(fan_in))


def _estimate_statistics(program, chosen, x):
    """The statistics of the batch norms among the chosen nodes from what comes into them, on one
    way through the network.
    """
    norms: dict[str, list[dict]] = {}
    for node in chosen:
        named = arguments(node) if node.kind == "batch_norm" else {}
        if isinstance(named.get("input"), Ref) and isinstance(named["running_mean"], Stored):
            norms.setdefault(named["input"].name, []).append(named)

    def measuring(source):
        def measure(values):
            dims = [axis for axis in range(values.ndim) if axis != 1]
            for named in norms[source]:
                program.tensor(named["running_mean"].name).copy_(values.mean(dim=dims))
                program.tensor(named["running_var"].name).copy_(values.var(dim=dims))
            return values

        return measure

    if norms:
        program.run(x, replace_value={source: measuring(source) for source in norms})


@torch.no_grad()
def measure_norms(
    network: nn.Module, norms: Sequence[nn.BatchNorm1d], batches: Iterable[Tensor]
) -> None:
    """Set the running statistics of some batch norms of a network to plain averages over batches of
    signals (N, leads, T); nothing else of it changes, and it is in evaluation mode afterwards.
    """
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average, not a moving one
        norm.train()
    for x in batches:
        network(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def features(program: Program, x: Tensor) -> Tensor:
    """What goes into the last dense layer (else the last operation with parameters), (N, ...)."""
    with_weights = _with_weights(program)
    dense = [node for node in with_weights if node.kind in ("linear", "addmm", "matmul", "mm")]
    last = (dense or with_weights)[-1]
    source = next(one for one in inputs_of(last) if one.name in program.dependent)
    if source.name == "input":
        return x
    return program.run(x, keep=[source.name])[1][source.name].detach()


def _with_weights(program):
    """The operations on the signals that read parameters, or what is computed from parameters
    alone (a weight that is turned or normalised first).
    """
    found, fixed = [], set()
    for node in program.nodes:
        if learned(program, node) or any(ref.name in fixed for ref in inputs_of(node)):
            if node.name in program.dependent:
                found.append(node)
            else:
                fixed.add(node.name)
    if not found:
        raise UserError("the network has no operation with weights, whose input are its features")
    return found
