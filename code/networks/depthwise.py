"""Depthwise convolutions of wide kernels over time, as a CPU computes them fastest.

PyTorch takes three to eight times as long for such a one-dimensional convolution as for the same
over an image of width 1 (64 leads of 1,000 samples, kernel 39, one thread, 8 records: 18 ms and 2
ms; with its gradient 17 and 15 ms, of 64 records 165 and 50 ms). The values are the same to the
bit. XceptionTime and ConvNeXt are made of these.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

WIDE = 11  # samples; narrower kernels take as long either way


def is_wide(weight: Tensor, groups: int) -> bool:
    """Whether weights (channels out, channels in of a group, width) are of such a convolution."""
    one_each = weight.ndim == 3 and weight.shape[1] == 1 and len(weight) == groups
    return one_each and weight.shape[2] >= WIDE and weight.device.type == "cpu"


def as_tall(
    stride: Sequence[int], padding: Sequence[int] | str, dilation: Sequence[int]
) -> tuple[list[int], list[int] | str, list[int]]:
    """Stride, padding and dilation over time as those over (time, 1)."""
    around = padding if isinstance(padding, str) else [padding[0], 0]
    return [stride[0], 1], around, [dilation[0], 1]


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] | str = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Tensor:
    """torch.conv1d of x (N, channels, T)."""
    if x.ndim != 3 or not is_wide(weight, groups):
        return torch.conv1d(x, weight, bias, stride, padding, dilation, groups)
    tall = as_tall(stride, padding, dilation)
    return F.conv2d(x.unsqueeze(3), weight.unsqueeze(3), bias, *tall, groups).squeeze(3)
