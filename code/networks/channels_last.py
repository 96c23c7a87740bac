"""The same network with its channels next to each other in memory, in which a CPU trains it in
about three quarters of the time.

torch's one-dimensional layers know no such layout, its two-dimensional ones do: a signal is an
image of height 1. The values are those of the plain layers but for rounding.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from networks.models import sharing_copy


def _pair(value, other):
    """(other, value) for the height and the width of a layer's option."""
    return other, value[0] if isinstance(value, tuple) else value


class Conv1d(nn.Conv1d):
    """Convolution over time as one over an image of height 1."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C in, T) -> (N, C out, T out), channels last in memory."""
        return F.conv2d(
            as_image(x),
            self.weight.unsqueeze(2),
            self.bias,
            _pair(self.stride, 1),
            _pair(self.padding, 0),
            _pair(self.dilation, 1),
            self.groups,
        ).squeeze(2)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch norm of an image of height 1; of (N, C), as ever."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) or (N, C, T) -> the same shape."""
        return super().forward(as_image(x)).squeeze(2) if x.ndim == 3 else super().forward(x)

    def _check_input_dim(self, x):
        """Any number of axes: the shape is that of an image here."""


class MaxPool1d(nn.MaxPool1d):
    """Maximum over time."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) -> (N, C, T out)."""
        return F.max_pool2d(
            as_image(x),
            _pair(self.kernel_size, 1),
            _pair(self.stride, 1),
            _pair(self.padding, 0),
            _pair(self.dilation, 1),
            self.ceil_mode,
        ).squeeze(2)


class AvgPool1d(nn.AvgPool1d):
    """Mean over time."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) -> (N, C, T out)."""
        return F.avg_pool2d(
            as_image(x),
            _pair(self.kernel_size, 1),
            _pair(self.stride, 1),
            _pair(self.padding, 0),
            self.ceil_mode,
            self.count_include_pad,
        ).squeeze(2)


# of the options that models.py uses: zero padding, given in numbers
LAYERS = {
    nn.Conv1d: Conv1d,
    nn.BatchNorm1d: BatchNorm1d,
    nn.MaxPool1d: MaxPool1d,
    nn.AvgPool1d: AvgPool1d,
}


def as_image(x: Tensor) -> Tensor:
    """(N, C, T) -> (N, C, 1, T) with the channels next to each other; no copy where they are
    already.
    """
    return x.transpose(1, 2).contiguous().transpose(1, 2).unsqueeze(2)


def channels_last(model: nn.Module) -> nn.Module:
    """A copy of `model` that computes in this layout; parameters and buffers are the
    model's own.
    """
    twin = sharing_copy(model)
    for module in twin.modules():
        module.__class__ = LAYERS.get(type(module), type(module))
    return twin
