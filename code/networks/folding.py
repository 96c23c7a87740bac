"""BatchNorm merged into the linear operation beside it, in the graph of a network.

In evaluation mode a BatchNorm is the affine map scale * y + shift per channel. Behind a convolution
or dense layer it is merged into that operation's weights; in front of a dense layer (or of a
convolution without padding) into the weights of that one. What stands alone stays. The folded
network computes the same function.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from networks.program import Node, Program, Ref, Stored, arguments, inputs_of, rebuilt, references

FOLDING = ("linear", "conv1d", "conv2d", "conv3d")


def batch_norm_affine(named: dict, argument: Callable) -> tuple[Tensor, Tensor]:
    """Factor and shift (channels,) of a BatchNorm in evaluation mode, float64."""
    mean = argument(named["running_mean"]).double()
    scale = (argument(named["running_var"]).double() + named["eps"]).rsqrt()
    weight, bias = argument(named["weight"]), argument(named["bias"])
    if weight is not None:
        scale = scale * weight.double()
    shift = -mean * scale
    return scale, shift if bias is None else bias.double() + shift


@dataclass
class Fold:
    """BatchNorms merged into the linear operation `node`; the result is called `name`."""

    node: Node
    before: Node | None = None
    after: Node | None = None

    @property
    def name(self) -> str:
        """Name of the value that the merged operation gives."""
        return self.after.name if self.after else self.node.name

    @property
    def stored(self) -> bool:
        """Whether the operation's weights are stored tensors (and not computed from some)."""
        named = arguments(self.node)
        found = references([named["weight"], named["bias"]])
        return all(isinstance(reference, Stored) for reference in found)

    def weight_and_bias(self, argument: Callable) -> tuple[Tensor, Tensor]:
        """Merged weights of the operation."""
        named = arguments(self.node)
        weight, bias = argument(named["weight"]).double(), argument(named["bias"])
        bias = weight.new_zeros(()) if bias is None else bias.double()
        channels = [1] * (weight.ndim - 2)
        if self.before:  # W (scale x + shift) + b = (W scale) x + (b + W shift)
            scale, shift = batch_norm_affine(arguments(self.before), argument)
            flat = weight.flatten(2).sum(2) if weight.ndim > 2 else weight
            bias = bias + flat @ shift
            weight = weight * scale.view(-1, *channels)
        if self.after:  # scale (W x + b) + shift = (scale W) x + (scale b + shift)
            scale, shift = batch_norm_affine(arguments(self.after), argument)
            weight = weight * scale.view(-1, 1, *channels)
            bias = bias * scale + shift
        dtype = argument(named["weight"]).dtype
        return weight.to(dtype), bias.to(dtype)


def folds_of(program: Program, dims: Mapping[str, int]) -> list[Fold]:
    """Which BatchNorms are merged into which operations; `dims` tells the number of axes of each
    value that depends on the signals.
    """
    uses = Counter()
    for node in program.nodes:
        uses.update(ref.name for ref in inputs_of(node))
    uses.update(ref.name for ref in references(program.output) if isinstance(ref, Ref))
    folds: dict[str, Fold] = {}
    for norm in program.nodes:
        if norm.kind != "batch_norm" or norm.name not in program.dependent:
            continue
        before = _node(program, arguments(norm)["input"].name)
        after = _only_reader(program, norm, uses)
        if _can_follow(before, uses, dims, program) and not _has(folds, before, "after"):
            folds.setdefault(before.name, Fold(before)).after = norm
        elif _can_precede(after, norm, dims, program):
            folds.setdefault(after.name, Fold(after)).before = norm
    return list(folds.values())


def merged_nodes(program: Program, folds: list[Fold]) -> list[Node]:
    """The nodes with every fold as one operation, whose weights are the values
    "<name>/weight" and "<name>/bias".
    """
    by_node = {fold.node.name: fold for fold in folds}
    norms = {fold.before.name for fold in folds if fold.before}
    norms |= {fold.after.name for fold in folds if fold.after}
    nodes = []
    for node in program.nodes:
        if node.name in by_node:
            nodes.append(_merged_node(by_node[node.name]))
        elif node.name not in norms:
            nodes.append(node)
    return nodes


def folded_program(program: Program, dims: Mapping[str, int]) -> Program:
    """A program of the same function without the BatchNorms that can be merged; its merged weights
    are numbers of now.
    """
    tensors = program.tensors

    def argument(part):
        if isinstance(part, Ref):
            raise KeyError(part.name)
        return tensors[part.name] if isinstance(part, Stored) else part

    folds = [fold for fold in folds_of(program, dims) if fold.stored]
    names = {}
    for fold in folds:
        for end, tensor in zip(("weight", "bias"), fold.weight_and_bias(argument), strict=True):
            names[f"{fold.name}/{end}"] = Stored(f"folded_{fold.name}.{end}")
            tensors[f"folded_{fold.name}.{end}"] = nn.Parameter(tensor.detach())
    nodes = [
        replace(node, args=rebuilt(node.args, lambda part: names.get(_name(part), part)))
        for node in merged_nodes(program, folds)
    ]
    gone = {fold.node.name for fold in folds if fold.after}
    gone |= {fold.before.name for fold in folds if fold.before}
    read = references([[node.args, node.kwargs] for node in nodes])
    used = {ref.name for ref in read}
    tensors = {name: tensor for name, tensor in tensors.items() if name in used}
    calls = {place: ref for place, ref in program.calls.items() if ref.name not in gone}
    return Program(nodes, tensors, program.output, calls)


def _name(part):
    return part.name if isinstance(part, Ref) else None


def _node(program, name):
    try:
        return program.node(name)
    except KeyError:  # the signals themselves
        return None


def _has(folds, node, side):
    return node.name in folds and getattr(folds[node.name], side) is not None


def _only_reader(program, node, uses):
    """The one node that reads a value; None where it is read elsewhere too."""
    if uses[node.name] != 1:
        return None
    for reader in program.nodes:
        if any(ref.name == node.name for ref in inputs_of(reader)):
            return reader
    return None


def _can_follow(linear, uses, dims, program):
    """Whether a BatchNorm behind this node can go into its weights."""
    if linear is None or uses[linear.name] != 1:
        return False
    if linear.kind == "linear":
        return dims[linear.name] == 2 and not _weights_vary(linear, program)
    return linear.kind in FOLDING and not _weights_vary(linear, program)


def _can_precede(linear, norm, dims, program):
    """Whether a BatchNorm in front of this node can go into its weights."""
    if linear is None or _weights_vary(linear, program):
        return False
    named = arguments(linear)
    if linear.kind == "linear":
        return named["input"] == Ref(norm.name) and dims[norm.name] == 2
    if named["groups"] != 1:
        return False
    padding = named["padding"]
    unpadded = padding == "valid" or padding == 0 or not any(padding or [0])
    return named["input"] == Ref(norm.name) and unpadded


def _weights_vary(linear, program):
    if linear.kind not in FOLDING:
        return True
    named = arguments(linear)
    found = references([named["weight"], named["bias"]])
    return any(isinstance(ref, Ref) and ref.name in program.dependent for ref in found)


def _merged_node(fold):
    """The linear operation in the place of itself and its BatchNorms, with merged weights."""
    named = arguments(fold.node)
    source = arguments(fold.before)["input"] if fold.before else named["input"]
    weight, bias = Ref(f"{fold.name}/weight"), Ref(f"{fold.name}/bias")
    args = (source, weight, bias, *fold.node.args[3:])
    return replace(fold.node, name=fold.name, args=args)
