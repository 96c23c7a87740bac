"""Class activation maps: Grad-CAM, HiResCAM and guided Grad-CAM.

A map has one value per time step of a convolutional layer and no lead axis (the leads are mixed in
the first convolution). Each step is placed at the centre of what it sees of the record, not at an
equal share of the record's length: in LeNet the two differ by up to half a second.
"""

import contextlib
import weakref
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attribution.explanation import Explanation
from attribution.gradients import gradient
from common.files import UserError
from networks.models import Add, replace_leaves, sharing_copy
from networks.outputs import chosen_logit


@contextlib.contextmanager
def recording(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the outputs of `module` while the context lasts; its hook is removed however it
    ends.
    """
    outputs = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


@contextlib.contextmanager
def graph_from(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the outputs of `module`, where autograd's graph begins: what comes before it is
    computed without one.
    """
    outputs = []

    def begin(_module, _inputs, output):
        outputs.append(output.detach().requires_grad_(True))
        torch.set_grad_enabled(True)  # until the end of the no_grad below
        return outputs[-1]

    handle = module.register_forward_hook(begin)
    try:
        with torch.no_grad():
            yield outputs
    finally:
        handle.remove()


def cam_module(model: nn.Module, layer: str | None = None) -> tuple[str, nn.Module]:
    """The layer that maps are read from: `layer`, or the model's last convolutional map before
    pooling.
    """
    layer = layer or getattr(model, "cam_layer", None)
    modules = dict(model.named_modules())
    if layer not in modules or not layer:
        names = [
            name
            for name, module in model.named_children()
            if any(isinstance(part, nn.Conv1d) for part in module.modules())
        ]
        raise UserError(
            f"unknown layer {layer!r}: convolutional layers are {', '.join(names)} and the modules "
            "inside them"
        )
    return layer, modules[layer]


def activation_and_gradient(
    model: nn.Module, x: Tensor, target: Tensor, layer: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Activation and gradient (N, channels, steps) of a convolutional layer for each record's
    target, and the logits.
    """
    name, module = cam_module(model, layer)
    with graph_from(module) as outputs:
        logits = model(x)
    if len(outputs) != 1 or outputs[0].ndim != 3 or outputs[0].shape[2] < 2:
        shape = tuple(outputs[0].shape) if outputs else "no output"
        raise UserError(
            f"layer {name!r} gives {shape}: a map needs (records, channels, at least 2 time "
            "steps), "
            f"as {getattr(model, 'cam_layer', None)!r} has"
        )
    logit = chosen_logit(logits, target)
    (slope,) = torch.autograd.grad(logit.sum(), outputs[0])
    return outputs[0].detach(), slope, logit.detach()


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


class Places(NamedTuple):
    """Where the time steps of a layer lie: `count` steps every `step` samples, the first centred on
    `first`.
    """

    first: float
    step: float
    count: int


class _Window(nn.Module):
    """Stands for a layer with a kernel: from the places of its inputs to the centre of what each
    output step sees.
    """

    def __init__(self, layer):
        super().__init__()
        first = lambda value: value[0] if isinstance(value, tuple) else value  # noqa: E731
        self.stride, padding = first(layer.stride), first(layer.padding)
        reach = first(getattr(layer, "dilation", 1)) * (first(layer.kernel_size) - 1)
        self.centre, self.missing = reach / 2 - padding, reach + 1 - 2 * padding
        self.ceil_mode = getattr(layer, "ceil_mode", False)

    def forward(self, places):
        seen = places.count - self.missing
        count = (-(-seen // self.stride) if self.ceil_mode else seen // self.stride) + 1
        return Places(places.first + self.centre * places.step, places.step * self.stride, count)


class _Middle(nn.Module):
    """Stands for a sum of two branches, which see the record from centres that can differ by half a
    step.
    """

    def forward(self, main, shortcut):
        return main._replace(first=(main.first + shortcut.first) / 2)


_CENTRES: weakref.WeakKeyDictionary[nn.Module, dict] = (
    weakref.WeakKeyDictionary()
)  # a walk takes as long as a Grad-CAM / 20


def step_centres(model: nn.Module, n_samples: int, layer: str | None = None) -> Tensor:
    """Centre (steps,) in samples of what each time step of a layer sees of an input of
    `n_samples`.
    """
    name, _ = cam_module(model, layer)
    known = _CENTRES.setdefault(model, {})
    if (name, n_samples) not in known:
        known[name, n_samples] = _walk_centres(model, n_samples, name)
    return known[name, n_samples]


def _walk_centres(model, n_samples, name):
    """step_centres() by a walk of Places through the network."""

    def stand_in(_name, module):
        windowed = isinstance(module, (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d))
        return (
            _Window(module) if windowed else _Middle() if isinstance(module, Add) else nn.Identity()
        )

    network = replace_leaves(sharing_copy(model), stand_in)
    with recording(network.get_submodule(name)) as outputs, contextlib.suppress(Exception):
        # what follows the layer is of no interest, and need not make sense for places
        nn.Sequential.forward(network, Places(0.0, 1.0, n_samples))
    first, step, count = outputs[0]
    return first + step * torch.arange(count, dtype=torch.float64)


def upsample(cam: Tensor, centres: Tensor, n_samples: int) -> Tensor:
    """A map (N, steps) at its steps' centres, linear between them and constant beyond: (N,
    n_samples).
    """
    centres = centres.to(cam.device)
    times = torch.arange(n_samples, dtype=centres.dtype, device=cam.device)
    right = torch.searchsorted(centres, times).clamp(1, len(centres) - 1)
    left = right - 1
    weight = ((times - centres[left]) / (centres[right] - centres[left])).clamp(0, 1).to(cam.dtype)
    return cam[:, left] * (1 - weight) + cam[:, right] * weight


def _spread(model, x, cam, layer):
    """A map over all leads alike: (N, leads, T)."""
    full = upsample(cam, step_centres(model, x.shape[2], layer), x.shape[2])
    return full[:, None].expand_as(x).contiguous()


def grad_cam(model: nn.Module, x: Tensor, target: Tensor, layer: str | None = None) -> Explanation:
    """Grad-CAM, one value per sample, the same for every lead."""
    cam, logit = grad_cam_map(model, x, target, layer)
    return Explanation(_spread(model, x, cam, layer), logit)


def hires_cam(model: nn.Module, x: Tensor, target: Tensor, layer: str | None = None) -> Explanation:
    """HiResCAM, one value per sample, the same for every lead; signed."""
    cam, logit = hires_cam_map(model, x, target, layer)
    return Explanation(_spread(model, x, cam, layer), logit)


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


class _Guided(nn.Module):
    def forward(self, x):
        return _GuidedReLU.apply(x)


def guided_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` whose ReLUs let only positive gradients back (guided backpropagation, arXiv
    1412.6806).
    """
    return replace_leaves(
        sharing_copy(model),
        lambda _name, module: _Guided() if isinstance(module, nn.ReLU) else module,
    )


def guided_grad_cam(
    model: nn.Module, x: Tensor, target: Tensor, layer: str | None = None
) -> Explanation:
    """Guided backpropagation times Grad-CAM: the lead axis comes from the first factor alone."""
    cam, logit = grad_cam_map(model, x, target, layer)
    guided, _ = gradient(guided_copy(model), x, target)
    return Explanation(guided * _spread(model, x, cam, layer), logit)
