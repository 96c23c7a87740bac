"""Class activation maps: Grad-CAM, HiResCAM and guided Grad-CAM.

A map has one value per time step of a layer and no lead axis (the leads are mixed in the first
convolution). Layers are found in the network's graph: a module's output, or an operation. Unless
one is named it is the last value with at least two time steps that all of the output passes through
and whose steps it reads: the last convolutional map before pooling, or the tokens of a transformer
before its last block. Each step is placed at the centre of what it sees of the record
(networks/steps.py), not at an equal share of the record's length: in LeNet the two differ by up to
half a second.
"""

import weakref

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attribution.explanation import Explanation
from attribution.gradients import gradient, slope_of
from common.files import UserError
from networks.capture import capture
from networks.outputs import chosen_logit, class_logits
from networks.program import Program
from networks.steps import Steps, cuts, layer_of, time_steps, value_of

_LAYERS: weakref.WeakKeyDictionary[Program, dict] = weakref.WeakKeyDictionary()


def default_layer(model: nn.Module, x: Tensor) -> str:
    """The layer that maps are read from unless one is named, for signals shaped like x.

    Raises UserError for a network without any.
    """
    program = capture(model, x)
    known = _LAYERS.setdefault(program, {})
    key = tuple(x.shape[1:])
    if key not in known:
        known[key] = _found_layer(program, x)
    return known[key]


def needs_layer(model: nn.Module, x: Tensor, _preset: str | None) -> None:
    """UserError where the network has no layer with time steps."""
    default_layer(model, x)


def _found_layer(program, x):
    steps = time_steps(program, x)
    candidates = [name for name in cuts(program) if name in steps]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, *x.shape[1:], generator=generator).to(x).requires_grad_(True)
    with torch.enable_grad():
        output, kept = program.run(noise, keep=candidates)
        total = class_logits(output, 1).sum()
    with_gradient = [name for name in candidates if kept[name].requires_grad]
    for name in reversed(with_gradient) if total.requires_grad else ():
        (slope,) = torch.autograd.grad(total, kept[name], retain_graph=True, allow_unused=True)
        if slope is None:  # what it passes through has no gradient
            continue
        read = slope[0].movedim(steps[name].axis - 1, 0).flatten(1).abs().sum(1) > 0
        if int((read.cpu() & steps[name].centres.isfinite()).sum()) > 1:
            return layer_of(program, name)
    raise UserError(
        "no class activation map: the network has no layer with at least 2 time steps that all of "
        "its output passes through"
    )


def layer_steps(model: nn.Module, x: Tensor, layer: str | None = None) -> tuple[str, str, Steps]:
    """A layer (or the default one): its name, its value in the graph, and its time steps.

    Raises UserError for an unknown layer, and for one with fewer than two steps.
    """
    program = capture(model, x)
    layer = layer or default_layer(model, x)
    value = value_of(program, layer)
    steps = time_steps(program, x)
    if value is None:
        known = [place for place, ref in program.calls.items() if ref.name in steps]
        named = ", ".join(known) or ", ".join(steps)
        raise UserError(f"unknown layer {layer!r}: layers with time steps are {named}")
    if value not in steps:
        raise UserError(
            f"layer {layer!r} has fewer than 2 time steps: a map needs some, as "
            f"{default_layer(model, x)!r} has"
        )
    return layer, value, steps[value]


def layer_in_words(
    model: nn.Module, x: Tensor, sampling_rate: float, layer: str | None = None
) -> str:
    """The layer that a map is read from, with its steps: "block3, 7 steps of 320 ms"; of an
    operation also the module that it is in.
    """
    name, value, steps = layer_steps(model, x, layer)
    program = capture(model, x)
    place = "" if name in program.calls else program.node(value).place
    name = f"{name} in {place}" if place else name
    places = steps.centres[steps.centres.isfinite()]
    width = float(places.diff().abs().median()) * 1000 / sampling_rate
    return f"{name}, {steps.count} steps of {width:.0f} ms"


def activation_and_gradient(
    model: nn.Module, x: Tensor, target: Tensor, layer: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Activation and gradient (N, channels, steps) of a layer for each record's target, and the
    logits (N,).
    """
    _, value, steps = layer_steps(model, x, layer)
    activation, slope, logit = value_and_gradient(model, x, target, value)
    by_step = [part.movedim(steps.axis, -1).flatten(1, -2) for part in (activation, slope)]
    return *by_step, logit


def value_and_gradient(
    model: nn.Module, x: Tensor, target: Tensor, layer: str
) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's output as it is, its gradient for each record's target, and the logits (N,).

    What comes before the layer is computed without autograd's graph.
    """
    program = capture(model, x)
    value = value_of(program, layer) or layer
    started = []

    def begin(found):
        started.append(found.detach().requires_grad_(True))
        torch.set_grad_enabled(True)  # until the end of the no_grad below
        return started[0]

    with torch.no_grad():
        output, _ = program.run(x, replace_value={value: begin})
        logit = chosen_logit(output, target)
    return started[0].detach(), slope_of(logit, started[0]), logit.detach()


def grad_cam_map(
    model: nn.Module, x: Tensor, target: Tensor, layer: str | None = None
) -> tuple[Tensor, Tensor]:
    """Grad-CAM (N, steps) before upsampling, ReLU'd (Selvaraju et al., arXiv 1610.02391)."""
    activation, slope, logit = activation_and_gradient(model, x, target, layer)
    return (slope.mean(dim=2, keepdim=True) * activation).sum(dim=1).relu(), logit


def hires_cam_map(
    model: nn.Module, x: Tensor, target: Tensor, layer: str | None = None
) -> tuple[Tensor, Tensor]:
    """HiResCAM (N, steps) before upsampling, signed (Draelos and Carin, arXiv 2011.08891)."""
    activation, slope, logit = activation_and_gradient(model, x, target, layer)
    return (slope * activation).sum(dim=1), logit


def step_centres(model: nn.Module, x: Tensor, layer: str | None = None) -> Tensor:
    """Centre (steps,) in samples of what each time step of a layer sees of signals shaped like x;
    NaN for a step that is a constant (a class token).
    """
    return layer_steps(model, x, layer)[2].centres


def upsample(cam: Tensor, centres: Tensor, n_samples: int) -> Tensor:
    """A map (N, steps) at its steps' centres, linear between them and constant beyond: (N,
    n_samples). Steps without a centre are left out; steps at one place (of branches side by side)
    add up.
    """
    placed = centres.isfinite()
    centres, place = torch.unique(centres[placed].to(cam.device), return_inverse=True)
    steps = cam[:, placed.to(cam.device)]
    cam = cam.new_zeros(len(cam), len(centres)).index_add(1, place, steps)
    if len(centres) == 1:
        return cam.expand(-1, n_samples)
    times = torch.arange(n_samples, dtype=centres.dtype, device=cam.device)
    right = torch.searchsorted(centres, times).clamp(1, len(centres) - 1)
    left = right - 1
    weight = ((times - centres[left]) / (centres[right] - centres[left])).clamp(0, 1).to(cam.dtype)
    return cam[:, left] * (1 - weight) + cam[:, right] * weight


def _spread(model, x, cam, layer):
    """A map over all leads alike: (N, leads, T)."""
    full = upsample(cam, step_centres(model, x, layer), x.shape[2])
    return full[:, None].expand_as(x).contiguous()


def grad_cam(model: nn.Module, x: Tensor, target: Tensor, layer: str | None = None) -> Explanation:
    """Grad-CAM, one value per sample, the same for every lead."""
    program = capture(model, x)  # looked up once: every step below takes a program as it is
    cam, logit = grad_cam_map(program, x, target, layer)
    return Explanation(_spread(program, x, cam, layer), logit)


def hires_cam(model: nn.Module, x: Tensor, target: Tensor, layer: str | None = None) -> Explanation:
    """HiResCAM, one value per sample, the same for every lead; signed."""
    program = capture(model, x)
    cam, logit = hires_cam_map(program, x, target, layer)
    return Explanation(_spread(program, x, cam, layer), logit)


class _GuidedReLU(torch.autograd.Function):
    """ReLU whose backward lets only positive gradients through active units."""

    @staticmethod
    def forward(ctx, x):
        y = F.relu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad.clamp(min=0) * (y > 0)


class Guided(nn.Module):
    """A network whose ReLUs, modules and functions alike, let only positive gradients back (guided
    backpropagation, arXiv 1412.6806).
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> object:
        """What the network returns."""
        return capture(self.model, x).run(x, override={"relu": _GuidedReLU.apply})[0]


def guided_grad_cam(
    model: nn.Module, x: Tensor, target: Tensor, layer: str | None = None
) -> Explanation:
    """Guided backpropagation times Grad-CAM: the lead axis comes from the first factor alone."""
    program = capture(model, x)
    cam, logit = grad_cam_map(program, x, target, layer)
    guided, _ = gradient(Guided(program), x, target)
    return Explanation(guided * _spread(program, x, cam, layer), logit)
