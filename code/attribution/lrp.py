"""Layer-wise relevance propagation for any network of known operations, with a ledger that closes.

The network is seen as its graph has it (networks/capture.py): every operation, functions and `+`
alike. One forward pass computes its values, with every BatchNorm folded into a linear operation
where one stands beside it; then relevance is handed from the output to the signals, operation by
operation (lrp_operations.py, lrp_rules.py). The given model is never touched. Relevance starts as
the logit of each record's target.

    relevance at the input + biases + stabilisers + nonlinear = logit

Each share is computed from its rule's own terms, none as a remainder. An operation without a rule
is refused by name and place.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from attribution.explanation import SHARES, Explanation
from attribution.lrp_plan import Plan, Preset, plan_of
from attribution.lrp_rules import AlphaBeta, Epsilon, Flat, Gamma, Shares, ZPlus
from attribution.lrp_steps import FILLED, Run
from common.files import UserError
from networks.capture import capture
from networks.outputs import chosen_logit
from networks.probe import per_record
from networks.program import (
    INPUT,
    Program,
    Ref,
    Stored,
    arguments,
    references,
    run_node,
    schema_of,
)

LARGEST_GAP = 1e-4  # of the absolute shares: beyond it no ledger is shown


LRP_PRESETS = {
    "epsilon": Preset(
        Epsilon(), description="epsilon everywhere, as in the paper; close to input x gradient"
    ),
    "epsilon_original": Preset(
        Epsilon(1e-3),
        Epsilon(1e-3),
        description="epsilon with the stabiliser of the original code (0.001 instead of 0.000001)",
    ),
    "epsilon_plus": Preset(ZPlus(), description="z+ in convolutions, epsilon in dense layers"),
    "epsilon_gamma": Preset(Gamma(), description="gamma in convolutions, epsilon in dense layers"),
    "alpha2_beta1": Preset(
        AlphaBeta(2, 1), description="alpha 2, beta 1 in convolutions, epsilon in dense layers"
    ),
    "epsilon_plus_flat": Preset(
        ZPlus(),
        first=Flat(),
        description="epsilon_plus, first linear operation flat: leads not told apart",
    ),
}


@dataclass
class Ledger:
    """Where the logits went, per record: (N,) float64 each; `layers` maps an operation's place to
    its Shares.
    """

    logit: Tensor
    input: Tensor
    bias: Tensor
    stabiliser: Tensor
    nonlinear: Tensor
    layers: dict[str, Shares] = field(default_factory=dict)

    @property
    def gap(self) -> Tensor:
        """What is unaccounted for, relative to the sum of the absolute shares, operation by
        operation (0 where the ledger closes).
        """
        total = self.input.abs()
        for entry in self.layers.values():
            total = total + entry.bias.abs() + entry.stabiliser.abs() + entry.nonlinear.abs()
        left = self.logit - self.input - self.bias - self.stabiliser - self.nonlinear
        return left / total.clamp(min=1e-300)

    def checked(self) -> "Ledger":
        """The ledger itself; UserError where it does not close to LARGEST_GAP."""
        gap = self.gap.abs()
        open_ = ~(gap <= LARGEST_GAP)  # NaN too
        if bool(open_.any()):
            raise UserError(
                f"LRP's ledger misses {float(gap[open_].max()):.1g} of its shares for "
                f"{int(open_.sum())} of {len(gap)} records (at most {LARGEST_GAP:g} is allowed): "
                "the map is not shown; try double precision or another preset"
            )
        return self


def get_preset(preset: str | Preset) -> Preset:
    """A preset by name; UserError names those there are."""
    if isinstance(preset, Preset):
        return preset
    if preset not in LRP_PRESETS:
        raise UserError(f"unknown LRP preset {preset!r}: accepted are {', '.join(LRP_PRESETS)}")
    return LRP_PRESETS[preset]


def needs_rules(model: nn.Module, x: Tensor, preset: str | None) -> None:
    """UserError where the network has an operation that LRP has no rule for, or mixes records."""
    lrp(model, x, torch.zeros(len(x), dtype=torch.long, device=x.device), preset or "epsilon_plus")


def explanation(
    model: nn.Module, x: Tensor, target: Tensor, preset: str | Preset = "epsilon_plus"
) -> Explanation:
    """Relevance of a batch with its ledger; UserError where that does not close."""
    relevance, ledger = lrp(model, x, target, preset)
    return Explanation(relevance, ledger.logit.to(x.dtype), ledger=ledger.checked())


def lrp(
    model: nn.Module, x: Tensor, target: Tensor, preset: str | Preset = "epsilon_plus"
) -> tuple[Tensor, Ledger]:
    """Relevance (N, leads, T) of each record's target logit, and its ledger opened per layer.

    x (N, leads, T) mV, target (N,) output indices.
    """
    preset = get_preset(preset)
    program = capture(model, x)
    with torch.no_grad():
        plan = plan_of(program, preset, x)
        run = _forward(program, plan, x)
        logit = chosen_logit(run.values[plan.output], target)
        relevance = _backward(plan, run, logit, target)
    zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    layers = {
        label: Shares(entry.bias + zero, entry.stabiliser + zero, entry.nonlinear + zero)
        for label, entry in run.book.items()
    }
    sums = []
    for name in SHARES:
        of_layers = [getattr(entry, name) for entry in layers.values()]
        sums.append(sum(of_layers, zero))
    return relevance, Ledger(logit.double(), per_record(relevance), *sums, layers)


def _forward(program: Program, plan: Plan, x: Tensor) -> Run:
    """All values of the network for x, its BatchNorms folded."""
    tensors, values = program.tensors, {INPUT: x}

    def argument(part):
        if isinstance(part, Ref):
            return values[part.name]
        return tensors[part.name] if isinstance(part, Stored) else part

    def compute(node, replaced=None, constants=None):
        replaced = replaced or {}
        if constants is None:
            return run_node(node, {**values, **replaced} if replaced else values, tensors, x)
        return _marked(node, replaced, constants, argument, x)

    run = Run(values, compute, argument)
    for node in plan.constants:
        values[node.name] = compute(node)
    for fold in plan.folds:
        weight, bias = fold.weight_and_bias(argument)
        values[f"{fold.name}/weight"], values[f"{fold.name}/bias"] = weight, bias
    steps = {step.name: step for step in plan.steps}
    for node in plan.nodes:
        step = steps.get(node.name)
        if step is None:
            values[node.name] = compute(node)
        else:
            values[node.name] = plan.rules[node.name].forward(step, run)
    return run


def _marked(node, replaced, mark, argument, x):
    """A node's value with `mark` in the place of all numbers that are not replaced."""
    values = dict(replaced)
    for reference in references([node.args, node.kwargs]):
        if reference.name not in values:
            tensor = argument(reference)
            real = isinstance(tensor, Tensor) and tensor.is_floating_point()
            values[reference.name] = torch.full_like(tensor, mark) if real else tensor
    args, kwargs = [], {}
    for declared in schema_of(node.op).arguments:
        part = arguments(node)[declared.name]
        if declared.name in FILLED and (isinstance(part, (int, float)) or part is None):
            part = mark
        if declared.kwarg_only:
            kwargs[declared.name] = part
        else:
            args.append(part)
    return run_node(replace(node, args=tuple(args), kwargs=kwargs), values, values, x)


def _backward(plan: Plan, run: Run, logit: Tensor, target: Tensor) -> Tensor:
    """Relevance of the signals; the shares are booked on the way."""
    output = run.values[plan.output]
    start = torch.zeros_like(output).reshape(len(output), -1)
    start.scatter_(1, target[:, None], logit[:, None])
    waiting = {plan.output: start.reshape(output.shape)}
    for step in plan.steps:
        relevance = waiting.pop(step.name, None)
        if relevance is None:
            continue
        for name, share in plan.rules[step.name].backward(step, run, relevance):
            if isinstance(share, dict):
                waiting.setdefault(name, {}).update(share)
            else:
                waiting[name] = waiting[name] + share if name in waiting else share
    return waiting[INPUT]
