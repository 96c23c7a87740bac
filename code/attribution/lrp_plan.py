"""What can be settled about explaining a network before its signals are seen, once per network.

Which operations lie on the way of relevance, the rule of each, where records lie in each value, and
which BatchNorms are folded into the linear operation beside them.
"""

import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from attribution.lrp_operations import OPERATION_RULES
from attribution.lrp_rules import Epsilon, Gamma, Zero
from attribution.lrp_steps import Rule, Step
from common.files import UserError
from networks.folding import Fold, folds_of, merged_nodes
from networks.probe import Probe
from networks.program import (
    INPUT,
    PREPROCESSING,
    Node,
    Program,
    Ref,
    arguments,
    inputs_of,
    references,
)

# functions that change in steps alone: their values are constants to what reads them
IN_STEPS = ("sign", "sgn", "ceil", "floor", "round", "trunc", "heaviside", "floor_divide")


@dataclass(frozen=True)
class Preset:
    """Which rule applies where: convolutions (and BatchNorms that stand alone), dense layers, the
    first linear operation (None: like the others).
    """

    conv: Callable
    dense: Callable = field(default_factory=Epsilon)
    first: Callable | None = None
    description: str = ""

    @property
    def before(self) -> Callable:
        """The rule of linear preprocessing. Voltages have both signs: z+ would lose what falls on a
        negative one, gamma follows the sign of each.
        """
        return self.conv if isinstance(self.conv, (Zero, Epsilon)) else Gamma()

    def rule_of(self, dense: bool, is_first: bool) -> Callable:
        """The rule of a linear operation of the network."""
        if is_first and self.first:
            return self.first
        return self.dense if dense else self.conv


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


def plan_of(program: Program, preset: Preset, x: Tensor) -> Plan:
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
    folds = folds_of(program, probe.dims)
    nodes = merged_nodes(program, folds)
    live = [node for node in nodes if node.name in program.needed]
    constants = [node for node in live if node.name not in program.dependent]
    moving = [node for node in live if node.name in program.dependent]
    rules = {node.name: OPERATION_RULES.get(node.kind, Rule()) for node in moving}
    bearing = _bearing(moving, probe)
    if output not in bearing:
        raise UserError(
            "LRP finds no way from the network's output to its signals but comparisons, places and "
            "whole numbers: occlusion or shapley instead"
        )
    steps, reached = [], {output}
    for node in reversed(moving):
        if node.name not in reached:
            continue
        if node.kind not in OPERATION_RULES:
            origin = _origin(node, program)
            described = origin.described()
            if origin.kind in OPERATION_RULES:  # which is for real ones
                described += " of complex numbers"
            raise UserError(
                f"LRP has no rule for {described}: other methods can explain this network"
            )
        step = _step(node, bearing, probe)
        reached.update(rules[node.name].inputs(step))
        steps.append(step)
    if INPUT not in reached:
        raise UserError("LRP finds no way from the network's output to its signals")
    _choose_rules(steps, rules, preset)
    _label(steps)
    return Plan(constants, folds, moving, steps, rules, output)


def _origin(node, program):
    """The operation that gave complex numbers, of a node that only takes them apart."""
    while node.kind in ("real", "imag", "view_as_real") and inputs_of(node):
        source = inputs_of(node)[0].name
        if source == INPUT:
            break
        node = program.node(source)
    return node


def output_of(program: Program) -> str:
    """Name of the one value that the network returns; UserError where there are several."""
    found = [ref.name for ref in references(program.output) if isinstance(ref, Ref)]
    if len(found) != 1:
        raise UserError(
            f"the network returns {len(found)} tensors where one of logits (records, classes) is "
            "explained: wrap it so that it returns that one"
        )
    return found[0]


def _bearing(nodes, probe):
    """The values that relevance can go to: numbers that follow the signals other than in steps."""
    found = {INPUT}
    for node in nodes:
        reads = found.intersection(ref.name for ref in inputs_of(node))
        if reads and node.kind not in IN_STEPS and probe.carries_relevance(node.name):
            found.add(node.name)
    return found


def _step(node, bearing, probe):
    reads = [ref.name for ref in inputs_of(node)]
    dependent = [name for name in reads if name in bearing]
    named = {} if node.kind == "getitem" else arguments(node)
    return Step(node, named, dependent, node.name, probe.totals(node))


def _choose_rules(steps, rules, preset):
    """The preset's rule of each linear operation, in the order of computation. The first one is the
    network's own: resampling in front of it is a convolution too, and none of its layers.
    """
    first = True
    for step in reversed(steps):
        rule = rules[step.name]
        if getattr(rule, "dense", None) is None:
            continue
        if step.node.place.split(".")[0] == PREPROCESSING:
            step.linear = preset.before
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
