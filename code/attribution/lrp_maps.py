"""Linear maps x -> W x as relevance rules need them: for any weights of one shape, with transpose.

Whatever a network calls it (convolution of any kind, dense layer, product with a constant matrix,
BatchNorm that stands alone), a rule sees a weight, a bias, W x and W^T s.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from networks.depthwise import as_tall, is_wide
from networks.probe import per_record


class Scratch:
    """Memory that is used again from operation to operation: new memory costs more than what is
    computed in it.
    """

    def __init__(self):
        self._memory: dict[tuple, Tensor] = {}

    def like(self, value: Tensor, slot: int) -> Tensor:
        """A tensor of this shape, precision and device with any content; what was in the same slot
        is lost.
        """
        key = (slot, value.dtype, value.device)
        if key not in self._memory or self._memory[key].numel() < value.numel():
            self._memory[key] = value.new_empty(value.numel())
        return self._memory[key][: value.numel()].view(value.shape)


class LinearMap:
    """A dense layer y = W x + b along the last axis; other maps derive from it.

    weight, bias  tensors without gradient (bias may be None)
    totals        sum of a value of the output's shape per record: (..., ) -> (N,) float64
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, totals: Callable = per_record):
        self.weight = weight.detach()
        self.bias = None if bias is None else bias.detach()
        self.totals = totals
        self.scratch = Scratch()

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """W x without bias."""
        return F.linear(x, weight)

    def transpose(self, s: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """W^T s, as large as the input of shape `shape`."""
        return s @ weight

    def along_output(self, bias: Tensor) -> Tensor:
        """A value per output channel, broadcastable against the output."""
        return bias

    def bias_share(self, s: Tensor, bias: Tensor | None) -> Tensor:
        """sum_k s_k b_k per record."""
        if bias is None:
            return torch.zeros_like(self.totals(s))
        if s.ndim == 2 and self.totals is per_record:
            return s.double() @ bias.double()
        return self.totals(s * self.along_output(bias))


class ConvMap(LinearMap):
    """A convolution in one or more dimensions: strided, dilated, grouped, transposed, padded."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        totals: Callable = per_record,
        stride: list[int] = (1,),
        padding: list[int] | str = (0,),
        dilation: list[int] = (1,),
        groups: int = 1,
        transposed: bool = False,
        output_padding: list[int] = (0,),
    ):
        super().__init__(weight, bias, totals)
        dims = weight.ndim - 2
        stride, dilation = _per_dim(stride, dims), _per_dim(dilation, dims)
        self.ahead = None  # zeros put around the input where the two sides differ
        if padding == "same":
            reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
            if any(total % 2 for total in reach):
                self.ahead = []
                for total in reversed(reach):
                    self.ahead += [total // 2, total - total // 2]
                reach = [0] * dims
            padding = [total // 2 for total in reach]
        elif padding == "valid":
            padding = [0]
        padding = _per_dim(padding, dims)
        self.tall = not transposed and is_wide(weight, groups)
        if self.tall:
            stride, padding, dilation = as_tall(stride, padding, dilation)
            dims = 2
        self.geometry = (
            stride,
            padding,
            dilation,
            transposed,
            _per_dim(output_padding, dims),
            groups,
        )

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """W x without bias."""
        if self.ahead:
            x = F.pad(x, self.ahead)
        if self.tall:
            x, weight = x.unsqueeze(3), weight.unsqueeze(3)
        y = torch.ops.aten.convolution(x, weight, None, *self.geometry)
        return y.squeeze(3) if self.tall else y

    def transpose(self, s: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """W^T s."""
        if self.ahead:
            shape = F.pad(s.new_empty(1).expand(shape), self.ahead).shape
        if self.tall:
            s, weight, shape = s.unsqueeze(3), weight.unsqueeze(3), (*shape, 1)
        x = s.new_empty(shape)  # never read; an expanded number would be copied to this shape
        wanted = (True, False, False)
        found, _, _ = torch.ops.aten.convolution_backward(
            s, x, weight, None, *self.geometry, wanted
        )
        found = found.squeeze(3) if self.tall else found
        return F.pad(found, [-width for width in self.ahead]) if self.ahead else found

    def along_output(self, bias: Tensor) -> Tensor:
        """A value per channel along axis 1."""
        return bias.view(-1, *[1] * (self.weight.ndim - 2))

    def bias_share(self, s: Tensor, bias: Tensor | None) -> Tensor:
        """sum_k s_k b_k per record."""
        if bias is not None and self.totals is per_record:
            return s.flatten(2).sum(dim=2).double() @ bias.double()
        return super().bias_share(s, bias)


def _per_dim(value, dims):
    """A setting of a convolution as one number per dimension."""
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values


class DiagonalMap(LinearMap):
    """One factor per channel (axis 1), as a BatchNorm that stands alone."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """W x without bias."""
        return x * weight.view(-1, *[1] * (x.ndim - 2))

    def transpose(self, s: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """W^T s."""
        return s * weight.view(-1, *[1] * (s.ndim - 2))

    def along_output(self, bias: Tensor) -> Tensor:
        """A value per channel along axis 1."""
        return bias.view(-1, *[1] * (self.ndim - 2))

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        totals: Callable = per_record,
        ndim: int = 3,
    ):
        super().__init__(weight, bias, totals)
        self.ndim = ndim

    def bias_share(self, s: Tensor, bias: Tensor | None) -> Tensor:
        """sum_k s_k b_k per record."""
        if bias is None:
            return torch.zeros_like(self.totals(s))
        return self.totals(s * self.along_output(bias))


class ProductMap(LinearMap):
    """A product with a constant tensor: product(x, weight) is linear in both (matmul, einsum)."""

    def __init__(self, weight: Tensor, product: Callable, totals: Callable = per_record):
        super().__init__(weight, None, totals)
        self.product = product

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """W x without bias."""
        return self.product(x, weight)

    def transpose(self, s: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        """W^T s."""
        with torch.enable_grad():
            x = s.new_zeros(shape).requires_grad_(True)
            y = self.product(x, weight)
        (found,) = torch.autograd.grad(y, x, s)
        return found
