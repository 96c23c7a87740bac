"""What can be settled about explaining a network before its signals are seen, once per network.

Which operations lie on the way of relevance, the rule of each, where records lie in each value, and
which BatchNorms are folded into the linear operation beside them.

In evaluation mode a BatchNorm is the affine map scale * y + shift per channel. Behind a convolution
or dense layer it is merged into that operation's weights; in front of a dense layer (or of a
convolution without padding) into the weights of that one. Elsewhere it is a linear map of its own.
"""

import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attribution.lrp_maps import per_record
from attribution.lrp_operations import OPERATION_RULES, Rule, Step, batch_norm_affine
from common.files import UserError
from networks.program import INPUT, Node, Program, Ref, arguments, inputs_of, references

PROBE_SIZES = (2, 3)


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


@dataclass
class Plan:
    """constants are computed first, then `nodes` in order; relevance passes `steps` backwards."""

    constants: list[Node]
    folds: list[Fold]
    nodes: list[Node]
    steps: list[Step]
    rules: dict[str, Rule]
    output: str


_PLANS: weakref.WeakKeyDictionary[Program, dict] = weakref.WeakKeyDictionary()


def plan_of(program: Program, preset, x: Tensor) -> Plan:
    """The plan of a program for a preset and signals shaped like x; made once.

    Raises UserError, naming operation and place, for an operation that no rule is known for.
    """
    key = (preset, tuple(x.shape[1:]), x.dtype)
    known = _PLANS.setdefault(program, {})
    if key not in known:
        known[key] = _planned(program, preset, x)
    return known[key]


def _planned(program, preset, x):
    output = output_of(program)
    probe = Probe(program, x)
    folds, nodes = _folded(program, probe)
    live = [node for node in nodes if node.name in program.needed]
    constants = [node for node in live if node.name not in program.dependent]
    moving = [node for node in live if node.name in program.dependent]
    rules = {node.name: OPERATION_RULES.get(node.kind, Rule()) for node in moving}
    steps, reached = [], {output}
    for node in reversed(moving):
        if node.name not in reached:
            continue
        if node.kind not in OPERATION_RULES:
            raise UserError(
                f"LRP has no rule for {node.described()}: other methods can explain this network"
            )
        step = _step(node, program, probe)
        reached.update(rules[node.name].inputs(step))
        steps.append(step)
    if INPUT not in reached:
        raise UserError("LRP finds no way from the network's output to its signals")
    _choose_rules(steps, rules, preset)
    _label(steps)
    return Plan(constants, folds, moving, steps, rules, output)


def output_of(program: Program) -> str:
    """Name of the one value that the network returns; UserError where there are several."""
    found = [ref.name for ref in references(program.output) if isinstance(ref, Ref)]
    if len(found) != 1:
        raise UserError(
            f"the network returns {len(found)} tensors where one of logits (records, classes) is "
            "explained: wrap it so that it returns that one"
        )
    return found[0]


def _step(node, program, probe):
    reads = [ref.name for ref in inputs_of(node)]
    dependent = [
        name for name in reads if name in program.dependent and probe.carries_relevance(name)
    ]
    named = {} if node.kind == "getitem" else arguments(node)
    return Step(node, named, dependent, node.name, probe.totals(node))


def _choose_rules(steps, rules, preset):
    """The preset's rule of each linear operation, in the order of computation."""
    first = True
    for step in reversed(steps):
        rule = rules[step.name]
        if getattr(rule, "dense", None) is None:
            continue
        step.linear = preset.rule_of(rule.dense, first)
        first = False


def _label(steps):
    """Names of the ledger's lines: the place, with the operation where several share a place."""
    places = Counter(step.node.place for step in steps)
    for step in steps:
        place = step.node.place
        if not place:
            step.label = step.name
        elif places[place] > 1:
            step.label = f"{place}.{step.name}"
        else:
            step.label = place


# ---------------------------------------------------------------- folding


def _folded(program, probe):
    """Which BatchNorms are merged into which operations, and the nodes with these merged."""
    uses = Counter(ref.name for node in program.nodes for ref in inputs_of(node))
    uses.update(ref.name for ref in references(program.output) if isinstance(ref, Ref))
    by_name = {node.name: node for node in program.nodes}
    folds: dict[str, Fold] = {}
    merged = set()
    for norm in program.nodes:
        if norm.kind != "batch_norm" or norm.name not in program.dependent:
            continue
        before = by_name.get(arguments(norm)["input"].name)
        after = _only_reader(program, norm, uses)
        if _can_follow(before, uses, probe) and not _has(folds, before, "after"):
            folds.setdefault(before.name, Fold(before)).after = norm
            merged.add(norm.name)
        elif _can_precede(after, norm, probe):
            folds.setdefault(after.name, Fold(after)).before = norm
            merged.add(norm.name)
    nodes = []
    for node in program.nodes:
        fold = folds.get(node.name)
        if fold:
            nodes.append(_merged_node(fold))
        elif node.name not in merged:
            nodes.append(node)
    return list(folds.values()), nodes


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


def _can_follow(linear, uses, probe):
    """Whether a BatchNorm behind this node can go into its weights."""
    if linear is None or uses[linear.name] != 1:
        return False
    if linear.kind == "linear":
        return probe.ndim(linear.name) == 2 and not _weights_vary(linear, probe)
    return linear.kind in ("conv1d", "conv2d", "conv3d") and not _weights_vary(linear, probe)


def _can_precede(linear, norm, probe):
    """Whether a BatchNorm in front of this node can go into its weights."""
    if linear is None or _weights_vary(linear, probe):
        return False
    named = arguments(linear)
    if linear.kind == "linear":
        return named["input"] == Ref(norm.name) and probe.ndim(norm.name) == 2
    if linear.kind not in ("conv1d", "conv2d", "conv3d") or named["groups"] != 1:
        return False
    padding = named["padding"]
    unpadded = padding == "valid" or padding == 0 or not any(padding or [0])
    return named["input"] == Ref(norm.name) and unpadded


def _weights_vary(linear, probe):
    if linear.kind not in ("linear", "conv1d", "conv2d", "conv3d"):
        return True
    named = arguments(linear)
    found = references([named["weight"], named["bias"]])
    return any(isinstance(ref, Ref) and ref.name in probe.program.dependent for ref in found)


def _merged_node(fold):
    """The linear operation in the place of itself and its BatchNorms, with merged weights."""
    named = arguments(fold.node)
    source = arguments(fold.before)["input"] if fold.before else named["input"]
    weight, bias = Ref(f"{fold.name}/weight"), Ref(f"{fold.name}/bias")
    args = (source, weight, bias, *fold.node.args[3:])
    return replace(fold.node, name=fold.name, args=args)


# ---------------------------------------------------------------- where records lie


class Probe:
    """Values of a program on two small batches: kinds, shapes, and the axis that records lie on."""

    def __init__(self, program: Program, x: Tensor):
        self.program, self.example = program, x
        names = [name for name in program.dependent if name in program.needed or name == INPUT]
        self.values = []
        for n in PROBE_SIZES:
            generator = torch.Generator().manual_seed(n)
            noise = torch.randn(n, *x.shape[1:], generator=generator).to(x)
            with torch.no_grad():
                self.values.append(program.run(noise, keep=names)[1])
        self._patterns = None

    def ndim(self, name: str) -> int:
        """Number of axes of a value."""
        return self.values[0][name].ndim

    def carries_relevance(self, name: str) -> bool:
        """Whether a value is made of real numbers (and no index or mask)."""
        value = self.values[0][name]
        return not isinstance(value, Tensor) or value.is_floating_point()

    def totals(self, node: Node) -> Callable[[Tensor], Tensor]:
        """A function that sums a value of this node's shape per record."""
        one, other = (values.get(node.name) for values in self.values)
        if not isinstance(one, Tensor):
            return _unknown(node)
        growing = [axis for axis in range(one.ndim) if one.shape[axis] != other.shape[axis]]
        if len(growing) != 1:
            return _unknown(node)
        (axis,) = growing
        factor = one.shape[axis] // PROBE_SIZES[0]
        inner = 1 if factor == 1 else self._inner(node.name, axis)
        if (axis, factor) == (0, 1):
            return per_record
        return _unknown(node) if inner is None else _Totals(axis, factor, inner)

    def _inner(self, name, axis):
        """How many neighbours along an axis belong to one record, where each has several."""
        if self._patterns is None:
            noise = torch.zeros(PROBE_SIZES[0], *self.example.shape[1:]).to(self.example)
            noise[1] = float("nan")
            with torch.no_grad():
                self._patterns = self.program.run(noise, keep=self.values[0])[1]
        spoilt = self._patterns[name].isnan().movedim(axis, 0).flatten(1).any(1)
        if not bool(spoilt.any()) or bool(spoilt[0]):
            return None
        inner = int(spoilt.int().argmax())
        expected = (torch.arange(len(spoilt)) // inner) % PROBE_SIZES[0] == 1
        return inner if torch.equal(spoilt.cpu(), expected) else None


@dataclass
class _Totals:
    """Sums per record along `axis`, where each record has `factor` places, `inner` side by side."""

    axis: int
    factor: int
    inner: int

    def __call__(self, values: Tensor) -> Tensor:
        along = values.movedim(self.axis, 0)
        along = along.flatten(1).sum(1) if along.ndim > 1 else along
        records = len(along) // self.factor
        return along.double().view(-1, records, self.inner).sum(dim=(0, 2))


def _unknown(node):
    def totals(values):
        raise UserError(f"LRP cannot tell which record the values of {node.described()} belong to")

    return totals
