"""Class activation maps: Grad-CAM, HiResCAM and guided Grad-CAM.

A map has one value per time step of a convolutional layer and no lead axis (the leads are mixed in the first convolution). Each
step is placed at the centre of what it sees of the record, not at an equal share of the record's length: in LeNet the two
differ by up to half a second.
"""

import contextlib
import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from artefacts import UserError
from gradients import gradient
from models import Add


@contextlib.contextmanager
def recording(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the outputs of `module` while the context lasts; its hook is removed however it ends."""
    outputs = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def cam_module(model: nn.Module, layer: str | None = None) -> tuple[str, nn.Module]:
    """The layer that maps are read from: `layer`, or the model's last convolutional map before pooling."""
    layer = layer or getattr(model, "cam_layer", None)
    modules = dict(model.named_modules())
    if layer not in modules or not layer:
        names = [name for name, module in model.named_children() if any(isinstance(part, nn.Conv1d) for part in module.modules())]
        raise UserError(f"unknown layer {layer!r}: convolutional layers are {', '.join(names)} and the modules inside them")
    return layer, modules[layer]


def activation_and_gradient(model, x, target, layer=None):
    """Activation and gradient (N, channels, steps) of a convolutional layer for each record's target, and the logits."""
    name, module = cam_module(model, layer)
    with recording(module) as outputs:
        logits = model(x.detach().requires_grad_(True))
    if len(outputs) != 1 or outputs[0].ndim != 3 or outputs[0].shape[2] < 2:
        shape = tuple(outputs[0].shape) if outputs else "no output"
        raise UserError(f"layer {name!r} gives {shape}: a map needs (records, channels, at least 2 time steps), "
                        f"as {getattr(model, 'cam_layer', None)!r} has")
    logit = logits.gather(1, target[:, None])[:, 0]
    (slope,) = torch.autograd.grad(logit.sum(), outputs[0])
    return outputs[0].detach(), slope, logit.detach()


def grad_cam_map(model, x, target, layer=None):
    """Grad-CAM (N, steps) before upsampling, ReLU'd (Selvaraju et al., arXiv 1610.02391)."""
    activation, slope, logit = activation_and_gradient(model, x, target, layer)
    return (slope.mean(dim=2, keepdim=True) * activation).sum(dim=1).relu(), logit


def hires_cam_map(model, x, target, layer=None):
    """HiResCAM (N, steps) before upsampling, signed (Draelos and Carin, arXiv 2011.08891)."""
    activation, slope, logit = activation_and_gradient(model, x, target, layer)
    return (slope * activation).sum(dim=1), logit


class _Places(nn.Module):
    """Stands for a layer with a kernel: the centre of what each output step sees, from the places of its inputs."""

    def __init__(self, layer):
        super().__init__()
        first = lambda value: value[0] if isinstance(value, tuple) else value  # noqa: E731
        self.kernel, self.stride, self.padding = first(layer.kernel_size), first(layer.stride), first(layer.padding)
        self.dilation = first(getattr(layer, "dilation", 1))
        self.ceil_mode = getattr(layer, "ceil_mode", False)

    def forward(self, places):
        n, step = places.shape[-1], (places[..., 1] - places[..., 0]) if places.shape[-1] > 1 else 1.0
        seen = n + 2 * self.padding - self.dilation * (self.kernel - 1) - 1
        count = (-(-seen // self.stride) if self.ceil_mode else seen // self.stride) + 1
        centres = torch.arange(count) * self.stride - self.padding + self.dilation * (self.kernel - 1) / 2
        return places[..., :1] + centres.to(places) * step


class _Mean(nn.Module):
    def forward(self, main, shortcut):
        return (main + shortcut) / 2


def step_centres(model: nn.Module, n_samples: int, layer: str | None = None) -> Tensor:
    """Centre (steps,) in samples of what each time step of a layer sees of an input of `n_samples`."""
    name, _ = cam_module(model, layer)
    network = copy.deepcopy(model)
    for child, module in list(network.named_modules()):
        if next(module.children(), None) is not None or isinstance(module, nn.Sequential):
            continue
        windowed = isinstance(module, (nn.Conv1d, nn.MaxPool1d, nn.AvgPool1d))
        stand_in = _Places(module) if windowed else _Mean() if isinstance(module, Add) else nn.Identity()
        parent, _, leaf = child.rpartition(".")
        setattr(network.get_submodule(parent), leaf, stand_in)
    places = torch.arange(n_samples, dtype=torch.float64).view(1, 1, -1)
    with recording(network.get_submodule(name)) as outputs, contextlib.suppress(Exception):
        # what follows the layer is of no interest, and need not make sense for places
        nn.Sequential.forward(network, places)
    return outputs[0].flatten()


def upsample(cam: Tensor, centres: Tensor, n_samples: int) -> Tensor:
    """A map (N, steps) at its steps' centres, linear between them and constant beyond: (N, n_samples)."""
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


def grad_cam(model, x, target, layer: str | None = None):
    """Grad-CAM, one value per sample, the same for every lead."""
    cam, logit = grad_cam_map(model, x, target, layer)
    return _spread(model, x, cam, layer), {"logit": logit}


def hires_cam(model, x, target, layer: str | None = None):
    """HiResCAM, one value per sample, the same for every lead; signed."""
    cam, logit = hires_cam_map(model, x, target, layer)
    return _spread(model, x, cam, layer), {"logit": logit}


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
    """A copy of `model` whose ReLUs let only positive gradients back (guided backpropagation, arXiv 1412.6806)."""
    network = copy.deepcopy(model)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.ReLU):
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, _Guided())
    return network


def guided_grad_cam(model, x, target, layer: str | None = None):
    """Guided backpropagation times Grad-CAM: the lead axis comes from the first factor alone."""
    cam, logit = grad_cam_map(model, x, target, layer)
    guided, _ = gradient(guided_copy(model), x, target)
    return guided * _spread(model, x, cam, layer), {"logit": logit}
