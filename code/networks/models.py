"""The three networks: LeNet, ResNet-50 and XResNet-50 in one dimension.

Written for being explained: every operation is a module of its own (residual additions and
concatenated pools too), no module is used twice or registered under two names. Models take (N,
leads, T) mV and give (N, classes) logits, for any batch size and any length from `min_length`
samples on. Facts of the architectures: Wagner et al. 2024 (arXiv 2305.17043).
"""

import inspect
from collections import OrderedDict

import torch
from torch import Tensor, nn

from common.files import UserError


def sharing_copy(model: nn.Module, _done: dict | None = None) -> nn.Module:
    """A copy of `model` whose modules are its own and whose tensors are the model's.

    For rewriting a network without touching the given one: what replaces a module or a tensor of
    the copy changes the copy alone. About fifteen times as fast as `copy.deepcopy`, which would
    take a tenth of the time of explaining a batch.
    """
    done = {} if _done is None else _done
    if id(model) not in done:
        done[id(model)] = twin = model.__new__(type(model))
        twin.__dict__.update(
            {
                name: value.copy() if isinstance(value, (dict, set)) else value
                for name, value in vars(model).items()
            }
        )
        for name, child in model._modules.items():
            twin._modules[name] = None if child is None else sharing_copy(child, done)
    return done[id(model)]


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside what runs it on several devices or compiles it."""
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        elif isinstance(getattr(module, "_orig_mod", None), nn.Module):
            module = module._orig_mod
        else:
            return module


def check_ready(module: nn.Module) -> None:
    """UserError for a network without weights, with weights that are still to be made or no finite
    real numbers, or that takes more than the signals.
    """
    if not list(module.parameters()):
        raise UserError("the network has no parameters: register its weights as nn.Parameter")
    if len(needed := _needed_inputs(module)) > 1:
        raise UserError(
            f"the network takes {len(needed)} inputs ({', '.join(needed)}): put it into a module "
            "that takes the signals alone and gives it the others as constants"
        )
    if unreal := [name for name, one in module.named_parameters() if one.is_complex()]:
        raise UserError(
            f"the network has complex weights ({', '.join(unreal[:3])}): hold each as two real "
            "numbers (torch.view_as_real) and put it together in forward"
        )
    unmade = nn.parameter.UninitializedTensorMixin
    if any(isinstance(one, unmade) for one in (*module.parameters(), *module.buffers())):
        raise UserError(
            "the network has layers without weights yet (Lazy...): call it once on signals where "
            "it is made"
        )
    broken = [name for name, one in module.named_parameters() if not one.isfinite().all()]
    if broken:
        raise UserError(
            f"the network has weights that are no finite numbers ({', '.join(broken[:3])}): its "
            "training went astray; take those of an earlier epoch"
        )


def _needed_inputs(module):
    """Names of the arguments that a network cannot do without."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in several]


class Add(nn.Module):
    """Sum of two branches, as a module so that relevance can be split between them."""

    def forward(self, main: Tensor, shortcut: Tensor) -> Tensor:
        """Sum of two tensors of one shape."""
        return main + shortcut


class Concat(nn.Module):
    """Concatenation of two branches along the channels."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Channels of one, then of the other."""
        return torch.cat((first, second), dim=1)


class AdaptiveConcatPool(nn.Module):
    """Maximum and average over time, concatenated: (N, C, T) -> (N, 2C, 1)."""

    def __init__(self):
        super().__init__()
        self.maximum = nn.AdaptiveMaxPool1d(1)
        self.average = nn.AdaptiveAvgPool1d(1)
        self.concat = Concat()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) -> (N, 2 C, 1)."""
        return self.concat(self.maximum(x), self.average(x))


def conv_norm(
    n_in: int,
    n_out: int,
    kernel: int,
    stride: int = 1,
    bias: bool = True,
    padding: int | None = None,
    relu: bool = True,
    zero_init: bool = False,
) -> OrderedDict[str, nn.Module]:
    """Conv1d - BatchNorm1d (- ReLU) as named modules."""
    padding = (kernel - 1) // 2 if padding is None else padding
    layers = OrderedDict(
        conv=nn.Conv1d(n_in, n_out, kernel, stride, padding, bias=bias), norm=nn.BatchNorm1d(n_out)
    )
    if zero_init:
        nn.init.zeros_(layers["norm"].weight)
    if relu:
        layers["relu"] = nn.ReLU()
    return layers


class Network(nn.Sequential):
    """A chain of named parts, with the least input length it can take."""

    min_length = 1  # samples
    min_batch = 1  # records, in training

    def forward(self, x: Tensor) -> Tensor:
        """Signals (N, leads, T) mV -> logits (N, classes); ValueError for another number
        of leads.
        """
        if x.ndim != 3 or x.shape[1] != self.n_leads:
            raise ValueError(f"expected (N, {self.n_leads}, T), got {tuple(x.shape)}")
        if x.shape[2] < self.min_length:
            raise ValueError(f"needs at least {self.min_length} samples, got {x.shape[2]}")
        return super().forward(x)

    def __init__(self, parts: OrderedDict, n_leads: int):
        super().__init__(parts)
        self.n_leads = n_leads


class LeNet(Network):
    """Three strided convolutions and two dense layers; 73,271 parameters at 23 classes."""

    min_length = 95

    def __init__(self, num_classes: int, n_leads: int = 12):
        blocks = [
            nn.Sequential(OrderedDict(conv_norm(n_in, n_out, 5, stride=2, padding=0)))
            for n_in, n_out in ((n_leads, 32), (32, 64), (64, 128))
        ]
        for block in blocks[:2]:
            block.add_module("pool", nn.MaxPool1d(2))
        super().__init__(
            OrderedDict(
                block1=blocks[0],
                block2=blocks[1],
                block3=blocks[2],
                pool=nn.AdaptiveAvgPool1d(1),
                flatten=nn.Flatten(),
                hidden=nn.Linear(128, 128),
                hidden_relu=nn.ReLU(),
                head=nn.Linear(128, num_classes),
            ),
            n_leads,
        )


class Bottleneck(nn.Module):
    """Residual block: 1 - kernel - 1 convolutions and a shortcut, added, then ReLU."""

    def __init__(self, branch: OrderedDict, shortcut: OrderedDict):
        super().__init__()
        self.branch = nn.Sequential(branch)
        self.shortcut = nn.Sequential(shortcut)
        self.add = Add()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C in, T) -> (N, C out, T / stride)."""
        return self.relu(self.add(self.branch(x), self.shortcut(x)))


def _branch(n_in, width, n_out, kernel, stride, bias, zero_init):
    parts = (
        ("1", conv_norm(n_in, width, 1, bias=bias)),
        ("2", conv_norm(width, width, kernel, stride, bias=bias)),
        ("3", conv_norm(width, n_out, 1, bias=bias, relu=False, zero_init=zero_init)),
    )
    branch = OrderedDict()
    for number, part in parts:
        branch.update({f"{name}{number}": module for name, module in part.items()})
    return branch


def _stages(n_in, width, n_out, make_block):
    """Four stages of [3, 4, 6, 3] bottlenecks, halving the time axis at the start of the last
    three.
    """
    stages = OrderedDict()
    for number, (depth, stride) in enumerate(zip((3, 4, 6, 3), (1, 2, 2, 2), strict=True), start=1):
        blocks = OrderedDict()
        for index in range(depth):
            first = index == 0
            blocks[f"block{index + 1}"] = make_block(n_in, width, n_out, stride if first else 1)
            n_in = n_out
        stages[f"stage{number}"] = nn.Sequential(blocks)
    return stages


def _resnet_block(n_in, width, n_out, stride):
    changes = stride != 1 or n_in != n_out
    shortcut = (
        conv_norm(n_in, n_out, 1, stride, bias=False, relu=False) if changes else OrderedDict()
    )
    return Bottleneck(_branch(n_in, width, n_out, 3, stride, bias=False, zero_init=False), shortcut)


def _xresnet_block(n_in, width, n_out, stride):
    shortcut = OrderedDict()
    if stride != 1:
        shortcut["pool"] = nn.AvgPool1d(stride, ceil_mode=True)
    if n_in != n_out:
        shortcut.update(conv_norm(n_in, n_out, 1, relu=False))
    return Bottleneck(_branch(n_in, width, n_out, 5, stride, bias=True, zero_init=True), shortcut)


class ResNet(Network):
    """ResNet-50 in one dimension; 3,689,879 parameters at 23 classes."""

    def __init__(self, num_classes: int, n_leads: int = 12):
        stem = nn.Sequential(
            OrderedDict(conv_norm(n_leads, 64, 5, stride=2, bias=False), pool=nn.MaxPool1d(3, 2, 1))
        )
        super().__init__(
            OrderedDict(
                stem=stem,
                **_stages(64, 128, 512, _resnet_block),
                pool=nn.AdaptiveAvgPool1d(1),
                flatten=nn.Flatten(),
                head=nn.Linear(512, num_classes),
            ),
            n_leads,
        )


class XResNet(Network):
    """XResNet1d50; 905,751 parameters at 23 classes."""

    min_batch = 2  # its last norm has one number per record and channel

    def __init__(self, num_classes: int, n_leads: int = 12):
        stem = OrderedDict()
        for number, (n_in, n_out, stride) in enumerate(
            ((n_leads, 32, 2), (32, 32, 1), (32, 64, 1)), start=1
        ):
            stem.update(
                (f"{name}{number}", module)
                for name, module in conv_norm(n_in, n_out, 5, stride).items()
            )
        super().__init__(
            OrderedDict(
                stem=nn.Sequential(OrderedDict(stem, pool=nn.MaxPool1d(3, 2, 1))),
                **_stages(64, 64, 256, _xresnet_block),
                pool=AdaptiveConcatPool(),
                flatten=nn.Flatten(),
                norm=nn.BatchNorm1d(512),
                dropout=nn.Dropout(0.5),
                head=nn.Linear(512, num_classes),
            ),
            n_leads,
        )


MODELS = {"lenet": LeNet, "resnet": ResNet, "xresnet": XResNet}


def get_model(modelname: str, num_classes: int, n_leads: int = 12) -> Network:
    """A freshly initialised network of MODELS; UserError for an unknown name."""
    if modelname not in MODELS:
        raise UserError(f"unknown model {modelname!r}: accepted are {', '.join(MODELS)}")
    return MODELS[modelname](num_classes, n_leads)


def last_layer(model: nn.Module) -> tuple[str, nn.Module]:
    """Name and module of the layer whose output the logits are; it has one row of weights per
    output.

    `model.last_layer` where a network names one, else the last of its modules that has a matrix of
    weights (a norm has a vector). UserError where there is none.
    """
    modules = dict(model.named_modules())
    named = getattr(model, "last_layer", None)
    if named is not None:
        if named not in modules:
            raise UserError(f"last_layer = {named!r} is no module of {type(model).__name__}")
        return named, modules[named]
    found = [
        (name, module)
        for name, module in modules.items()
        if getattr(getattr(module, "weight", None), "ndim", 0) > 1
    ]
    if not found:
        raise UserError(f"{type(model).__name__} has no layer with weights: name it as last_layer")
    return found[-1]
