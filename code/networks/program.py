"""A network as a flat list of ATen operations: plain data that can be stored, run and explained.

    program = capture(model, x)          # networks/capture.py
    logits = program(x)                  # differentiable, any batch size, device and precision
    nodes, tensors = program.to_plain()  # lists, strings, numbers; tensors by name
    Program.from_plain(nodes, tensors)   # every entry checked; runs nothing but OPERATIONS

Each operation is a Node: `conv1d(input, weight, bias, [2], [0])` with references to the input, to
earlier nodes and to stored tensors. All operations are functional (none changes its arguments), so
that a value means the same wherever it is read. Shapes of signals: (N, leads, T).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from common.files import UserError
from networks.operations import OPERATIONS, check_sizes

INPUT = "input"  # name of the value that the signals have
PREPROCESSING = "preprocessing"  # place of what stands in front of an imported network


@dataclass(frozen=True)
class Ref:
    """The value of the input or of an earlier node."""

    name: str


@dataclass(frozen=True)
class Stored:
    """A tensor of the program, by name: a weight, a buffer or a constant."""

    name: str


@dataclass(frozen=True)
class Batch:
    """A number that follows the number of records N: factor * N + offset."""

    factor: int
    offset: int = 0


@dataclass(frozen=True)
class Dtype:
    """A number format by name; `input` is that of the signals."""

    name: str


@dataclass(frozen=True)
class Node:
    """One operation: `op` is an ATen name with or without overload ("conv1d", "mean.dim"), `place`
    the dotted path of the module that it was computed in ("" for the network itself; "relu#2" in
    the second call of a module).
    """

    name: str
    op: str
    args: tuple = ()
    kwargs: Mapping = field(default_factory=dict)
    place: str = ""

    @property
    def kind(self) -> str:
        """The operation without its overload."""
        return self.op.split(".")[0]

    def described(self) -> str:
        """Operation and place, for messages."""
        return f"{self.kind} ({self.place or self.name})"


def references(value: object) -> Iterator[Ref | Stored]:
    """All references inside a nested value, in their order."""
    if isinstance(value, (Ref, Stored)):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from references(part)
    elif isinstance(value, Mapping):
        yield from references(list(value.values()))


def inputs_of(node: Node) -> list[Ref]:
    """The values that a node reads (not the stored tensors)."""
    found = references([node.args, node.kwargs])
    return [reference for reference in found if isinstance(reference, Ref)]


def rebuilt(value: object, leaf: Callable) -> object:
    """A nested value with leaf(part) for every part that is no list, tuple or dict."""
    if isinstance(value, (list, tuple)):
        return type(value)(rebuilt(part, leaf) for part in value)
    if isinstance(value, Mapping):
        return {name: rebuilt(part, leaf) for name, part in value.items()}
    return leaf(value)


def tensors_of(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Parameters and buffers by name, each under all of its names.

    As named_parameters() and named_buffers() say it, in an eighth of the time: it is asked for
    before every batch.
    """
    found = {}
    for holder in (module._parameters, module._buffers):
        for name, tensor in holder.items():
            if tensor is not None:
                found[prefix + name] = tensor
    for name, child in module._modules.items():
        if child is not None:
            found.update(tensors_of(child, f"{prefix}{name}."))
    return found


class Program(nn.Module):
    """A network as a list of nodes.

    nodes    in the order of computation; each reads only what stands before it
    tensors  what `Stored` names, parameters or plain tensors (kept as they are: a captured program
             shares the weights of its model)
    output   nested references to what the network returns
    calls    place -> the value that this call of a module returned
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        tensors: Mapping[str, Tensor],
        output: object,
        calls: Mapping[str, Ref] | None = None,
    ):
        super().__init__()
        self.nodes = tuple(_with_overload(node) for node in nodes)
        self.output = output
        self.calls = dict(calls or {})
        for name, tensor in tensors.items():
            _store(self, name, tensor)
        self._check()
        self._spent = self._last_uses()

    def tensor(self, name: str) -> Tensor:
        """The stored tensor of this name."""
        path, _, last = name.rpartition(".")
        return getattr(self.get_submodule(path), last)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All stored tensors by name."""
        return tensors_of(self)

    def node(self, name: str) -> Node:
        """The node of this name; KeyError where there is none."""
        return self.by_name[name]

    @functools.cached_property
    def by_name(self) -> dict[str, Node]:
        """All nodes by name."""
        return {node.name: node for node in self.nodes}

    @functools.cached_property
    def dependent(self) -> frozenset[str]:
        """Names of the values that depend on the signals."""
        found = {INPUT}
        for node in self.nodes:
            if any(reference.name in found for reference in inputs_of(node)):
                found.add(node.name)
        return frozenset(found)

    @functools.cached_property
    def needed(self) -> frozenset[str]:
        """Names of the values that the output is computed from."""
        found = {reference.name for reference in references(self.output)}
        for node in reversed(self.nodes):
            if node.name in found:
                found.update(reference.name for reference in inputs_of(node))
        return frozenset(found)

    def forward(self, x: Tensor) -> object:
        """What the network returns for signals (N, leads, T)."""
        return self.run(x)[0]

    def run(
        self,
        x: Tensor,
        keep: Iterable[str] = (),
        replace_value: Mapping[str, Callable[[object], object]] | None = None,
        override: Mapping[str, Callable] | None = None,
    ) -> tuple[object, dict[str, object]]:
        """What the network returns, and the values named in `keep`.

        `replace_value` maps names of values to functions whose result takes the value's place from
        there on, `override` maps kinds of operations to functions that are called instead.
        Raises UserError, with operation and place, where an operation fails.
        """
        replace_value = replace_value or {}
        keep = set(keep)
        values = {INPUT: x}
        kept = {}
        self._settle(INPUT, values, keep, kept, replace_value)
        tensors = self.tensors
        for node, spent in zip(self.nodes, self._spent, strict=True):
            function = override.get(node.kind) if override else None
            values[node.name] = run_node(node, values, tensors, x, function)
            self._settle(node.name, values, keep, kept, replace_value)
            for name in spent:
                del values[name]
        return rebuilt(self.output, lambda part: _resolved(part, values, tensors, x)), kept

    @staticmethod
    def _settle(name, values, keep, kept, replace_value):
        if name in replace_value:
            values[name] = replace_value[name](values[name])
        if name in keep:
            kept[name] = values[name]

    def _last_uses(self):
        """Per node, the names of the values that are read for the last time there."""
        seen = {reference.name for reference in references(self.output)}
        spent = []
        for node in reversed(self.nodes):
            names = {ref.name for ref in inputs_of(node)} | {node.name}
            spent.append(tuple(names - seen))
            seen |= names
        return tuple(reversed(spent))

    def _check(self):
        """UserError for a reference that nothing stands behind, or a name that is taken twice."""
        known = {INPUT}
        for node in self.nodes:
            check_sizes(node.described(), [*node.args, *node.kwargs.values()])
            for reference in references([node.args, node.kwargs]):
                self._check_reference(reference, known, f"operation {node.described()}")
            if node.name in known:
                raise UserError(f"the network's graph has two values named {node.name!r}")
            known.add(node.name)
        for reference in references([self.output, self.calls]):
            self._check_reference(reference, known, "the network's graph")
        if not list(references(self.output)):
            raise UserError("the network's graph returns nothing that it computed")

    def _check_reference(self, reference, known, reader):
        if isinstance(reference, Ref) and reference.name not in known:
            raise UserError(f"{reader} reads {reference.name!r}, which nothing before it computes")
        if isinstance(reference, Stored) and reference.name not in self.tensors_by_name:
            raise UserError(f"{reader} reads the tensor {reference.name!r}, which is not stored")

    @functools.cached_property
    def tensors_by_name(self) -> frozenset[str]:
        """Names of the stored tensors."""
        return frozenset(self.tensors)

    def to_plain(self) -> tuple[dict, dict[str, Tensor]]:
        """The graph as dicts, lists, strings and numbers, and the tensors by name."""
        nodes = [
            [node.name, node.op, _plain(node.args), _plain_names(node.kwargs), node.place]
            for node in self.nodes
        ]
        calls = {place: _plain(reference) for place, reference in self.calls.items()}
        graph = {"nodes": nodes, "output": _plain(self.output), "calls": calls}
        return graph, {name: tensor.detach() for name, tensor in self.tensors.items()}

    @classmethod
    def from_plain(cls, graph: dict, tensors: dict[str, Tensor]) -> Program:
        """The program of what to_plain() gave.

        Raises UserError, in one line, for an operation that is not in OPERATIONS, for anything else
        than plain data, and for a reference that nothing stands behind.
        """
        if not isinstance(graph, dict) or set(graph) != {"nodes", "output", "calls"}:
            raise UserError("a network's graph must be a dict of nodes, output and calls")
        if not isinstance(graph["nodes"], (list, tuple)) or not isinstance(graph["calls"], dict):
            raise UserError("a network's graph must have a list of nodes and a dict of calls")
        _check_tensors(tensors)
        nodes = [_node_from_plain(entry) for entry in graph["nodes"]]
        calls = {place: _from_plain(value) for place, value in graph["calls"].items()}
        for place, value in calls.items():
            if not isinstance(place, str) or not isinstance(value, Ref):
                raise UserError(f"a network's graph has a call {place!r} that names no value")
        return cls(nodes, tensors, _from_plain(graph["output"]), calls)


# ---------------------------------------------------------------- running one operation


def run_node(
    node: Node,
    values: Mapping[str, object],
    tensors: Mapping[str, Tensor],
    x: Tensor,
    function: Callable | None = None,
) -> object:
    """The value of a node; UserError, with operation and place, where the operation fails.

    values, tensors  what its references name; x  the signals (their number, precision and device
    are taken from it); function  what is called instead of the operation
    """

    def leaf(part):
        return _resolved(part, values, tensors, x)

    args = [rebuilt(part, leaf) for part in node.args]
    kwargs = {name: rebuilt(part, leaf) for name, part in node.kwargs.items()}
    if "device" in kwargs:
        kwargs["device"] = x.device
    try:
        return (function or _function(node.op))(*args, **kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"operation {node.described()} fails: {reason}") from error


def _resolved(part, values, tensors, x):
    """A leaf of a node's arguments as the operation takes it."""
    if isinstance(part, Ref):
        return values[part.name]
    if isinstance(part, Stored):
        return tensors[part.name]
    if isinstance(part, Batch):
        return part.factor * len(x) + part.offset
    if isinstance(part, Dtype):
        return x.dtype if part.name == INPUT else getattr(torch, part.name)
    return part


@functools.cache
def _function(op: str) -> Callable:
    """The function behind an operation's name; UserError where it is not allowed."""
    kind, _, overload = op.partition(".")
    if kind not in OPERATIONS:
        raise UserError(f"the network's graph has an unknown operation {op!r}")
    if kind == "getitem":
        return operator.getitem
    if kind == "lstm":
        from networks.recurrent import lstm  # few networks have one

        return lstm
    if kind == "conv1d":
        from networks.depthwise import conv1d  # where there is one

        return conv1d
    packet = getattr(torch.ops.aten, kind, None)
    if packet is None or (overload and overload not in packet.overloads()):
        raise UserError(f"this version of PyTorch has no operation {op!r}")
    if not overload:
        return packet
    function = getattr(packet, overload)
    if function._schema.is_mutable:
        raise UserError(f"the network's graph has an operation {op!r} that writes its arguments")
    return function


def schema_of(op: str) -> torch._C.FunctionSchema:
    """Names and defaults of the arguments of an operation with overload."""
    kind, _, overload = op.partition(".")
    return getattr(getattr(torch.ops.aten, kind), overload)._schema


def arguments(node: Node) -> dict[str, object]:
    """All arguments of a node by their ATen names, defaults filled in."""
    named = {}
    for position, argument in enumerate(schema_of(node.op).arguments):
        if position < len(node.args):
            named[argument.name] = node.args[position]
        elif argument.name in node.kwargs:
            named[argument.name] = node.kwargs[argument.name]
        else:
            named[argument.name] = argument.default_value
    return named


def _with_overload(node: Node) -> Node:
    """The node with the first overload that takes its arguments, where it names none."""
    _function(node.op)
    if "." in node.op or node.kind == "getitem":
        return node
    overloads = getattr(torch.ops.aten, node.kind).overloads()
    for name in sorted(overloads, key=lambda name: name != "default"):
        schema = schema_of(f"{node.kind}.{name}")
        if not schema.is_mutable and _fits(schema, node):
            return replace(node, op=f"{node.kind}.{name}")
    raise UserError(f"operation {node.described()} has arguments that it cannot take")


def _fits(schema, node):
    """Whether an overload takes the number, names and coarse types of a node's arguments."""
    declared = schema.arguments
    positional = [argument for argument in declared if not argument.kwarg_only]
    if len(node.args) > len(positional):
        return False
    given = {argument.name: value for argument, value in zip(positional, node.args, strict=False)}
    if set(node.kwargs) - {argument.name for argument in declared} or set(node.kwargs) & set(given):
        return False
    given.update(node.kwargs)
    for argument in declared:
        if argument.name not in given:
            if not argument.has_default_value():
                return False
        elif not _of_type(given[argument.name], str(argument.type)):
            return False
    return True


def _of_type(value, kind):
    """Whether a value can stand for an argument of a schema's type."""
    if kind.startswith("Optional["):
        return value is None or _of_type(value, kind[len("Optional[") : -1])
    if kind.startswith("List["):
        inner = kind[len("List[") : -1]
        if isinstance(value, (list, tuple)):
            return all(_of_type(part, inner) for part in value)
        return inner == "int" and isinstance(value, int)
    if kind == "Tensor":
        return isinstance(value, (Ref, Stored))
    if kind in ("int", "number", "Scalar", "SymInt") and isinstance(value, Dtype):
        return kind == "int"
    accepted = {
        "int": (int, Batch),
        "SymInt": (int, Batch),
        "float": (int, float),
        "number": (int, float, Batch),
        "Scalar": (int, float, Batch),
        "bool": (bool,),
        "str": (str,),
    }
    if kind in accepted:
        return isinstance(value, accepted[kind]) and (kind == "bool" or value is not True)
    return True


# ---------------------------------------------------------------- plain data

PLAIN_TAGS = {"node": Ref, "tensor": Stored, "dtype": Dtype}
MAX_DEPTH = 8


def _plain(value):
    """A nested value as lists, dicts, strings and numbers: references become one-entry dicts."""
    if isinstance(value, Ref):
        return {"node": value.name}
    if isinstance(value, Stored):
        return {"tensor": value.name}
    if isinstance(value, Dtype):
        return {"dtype": value.name}
    if isinstance(value, Batch):
        return {"batch": [value.factor, value.offset]}
    if isinstance(value, Mapping):
        return {"dict": _plain_names(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value


def _plain_names(kwargs):
    return {name: _plain(value) for name, value in kwargs.items()}


def _from_plain(value, depth=0):
    """The nested value of its plain form; UserError for anything else."""
    if depth > MAX_DEPTH:
        raise UserError("a network's graph has an argument that is nested too deeply")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (list, tuple)):
        return [_from_plain(part, depth + 1) for part in value]
    if isinstance(value, dict) and len(value) == 1:
        ((tag, content),) = value.items()
        if tag == "dtype" and content != INPUT and not _is_dtype(content):
            raise UserError(f"a network's graph has an unknown number format {content!r}")
        if tag in PLAIN_TAGS and isinstance(content, str):
            return PLAIN_TAGS[tag](content)
        if tag == "batch" and _are_integers(content):
            return Batch(*content)
        if tag == "dict" and isinstance(content, dict) and all(map(_is_name, content)):
            return {name: _from_plain(part, depth + 1) for name, part in content.items()}
    raise UserError(f"a network's graph has an argument that is no plain data: {str(value)[:60]!r}")


def _is_dtype(name):
    return isinstance(name, str) and isinstance(getattr(torch, name, None), torch.dtype)


def _is_name(value):
    return isinstance(value, str)


def _are_integers(content):
    whole = isinstance(content, (list, tuple)) and len(content) == 2
    return whole and all(type(number) is int for number in content)


def _node_from_plain(entry):
    if not isinstance(entry, (list, tuple)) or len(entry) != 5:
        raise UserError("a graph's node must be name, operation, arguments, named arguments, place")
    name, op, args, kwargs, place = entry
    if not all(isinstance(text, str) for text in (name, op, place)):
        raise UserError("a network's graph has a node whose name, operation or place is no text")
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
        raise UserError(f"operation {op} ({place or name}) has arguments that are no list and dict")
    return Node(name, op, tuple(_from_plain(args)), _from_plain({"dict": kwargs}), place)


def _check_tensors(tensors):
    if not isinstance(tensors, dict):
        raise UserError("a network's tensors must be a dict of names and tensors")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or type(tensor) not in (Tensor, nn.Parameter):
            raise UserError(f"a network's tensor {str(name)[:60]!r} is no plain tensor")


def _store(program, name, tensor):
    """Keeps a tensor under its dotted name, in modules that hold nothing else."""
    *path, last = name.split(".")
    holder = program
    for part in path:
        if part not in holder._modules:
            if hasattr(holder, part):
                raise UserError(f"a network's tensor cannot be named {name!r}")
            holder.add_module(part, nn.Module())
        holder = holder._modules[part]
    if not last or hasattr(holder, last):
        raise UserError(f"a network's tensor cannot be named {name!r}")
    if isinstance(tensor, nn.Parameter):
        holder.register_parameter(last, tensor)
    elif tensor.requires_grad and tensor.is_leaf:  # a weight of a TorchScript file
        holder.register_parameter(last, nn.Parameter(tensor))
    else:
        holder.register_buffer(last, tensor)
