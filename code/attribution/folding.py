"""BatchNorm folded into the neighbouring linear layer, always in a copy.

In evaluation mode a BatchNorm is the affine map scale * y + shift per channel. Behind a convolution
or dense layer it is merged into that layer's weights; in front of a dense layer (dropout between
them changes nothing) into the weights of that one. The folded network computes the same function
and has no BatchNorm left: relevance has one kind of layer fewer to argue about.
"""

import torch
from torch import nn

from common.files import UserError
from networks.models import sharing_copy

LINEAR = (nn.Conv1d, nn.Linear)
TRANSPARENT = (nn.Dropout, nn.Identity)


def folded_copy(model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode with every BatchNorm1d folded away; `model` itself is
    not touched.

    Raises UserError for a BatchNorm that has no linear layer beside it in its chain.
    """
    folded = sharing_copy(
        model
    ).eval()  # folding puts new tensors in the place of shared ones and changes none
    for chain in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        _fold_chain(chain)
    left = [name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm1d)]
    if left:
        raise UserError(
            f"BatchNorm {', '.join(left)} has no linear layer beside it to be folded into"
        )
    return folded


def _fold_chain(chain):
    names = list(chain._modules)
    for index, name in enumerate(names):
        norm = chain._modules[name]
        if not isinstance(norm, nn.BatchNorm1d):
            continue
        before = chain._modules[names[index - 1]] if index else None
        after = _next_layer(chain, names[index + 1 :])
        if isinstance(before, LINEAR):
            _fold_into_previous(before, norm)
        elif isinstance(after, nn.Linear):
            _fold_into_next(norm, after)
        else:
            continue
        chain._modules[name] = nn.Identity()


def _next_layer(chain, names):
    """The module that follows in the chain, dropout passed over."""
    return next(
        (
            chain._modules[name]
            for name in names
            if not isinstance(chain._modules[name], TRANSPARENT)
        ),
        None,
    )


def _affine(norm):
    """scale and shift (channels,) of a BatchNorm in evaluation mode, float64."""
    variance, mean = norm.running_var.double(), norm.running_mean.double()
    scale = (variance + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.detach().double()
        return scale, norm.bias.detach().double() - mean * scale
    return scale, -mean * scale


def _replace(layer, weight, bias):
    dtype = layer.weight.dtype
    layer.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    layer.bias = nn.Parameter(bias.to(dtype), requires_grad=False)


def _bias(layer):
    return (
        torch.zeros((), dtype=torch.float64, device=layer.weight.device)
        if layer.bias is None
        else layer.bias.double()
    )


def _fold_into_previous(layer, norm):
    """scale * (W x + b) + shift = (scale W) x + (scale b + shift)"""
    scale, shift = _affine(norm)
    weight = layer.weight.double() * scale.view(-1, *[1] * (layer.weight.ndim - 1))
    _replace(layer, weight, _bias(layer) * scale + shift)


def _fold_into_next(norm, layer):
    """W (scale x + shift) + b = (W scale) x + (b + W shift)"""
    scale, shift = _affine(norm)
    weight = layer.weight.double()
    _replace(layer, weight * scale, _bias(layer) + weight @ shift)
