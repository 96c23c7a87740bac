"""Wide depthwise convolutions, computed as those of images of width 1: the same values, gradients
and relevance.
"""

import pytest
import torch

from attribution.lrp_maps import ConvMap
from networks.depthwise import conv1d, is_wide

OPTIONS = [
    {},
    {"stride": [2], "padding": [9]},
    {"padding": [12], "dilation": [2]},
    {"padding": "same"},
    {"padding": "same", "dilation": [3]},
    {"padding": "valid"},
]


def tensors(width=14, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 6, 90), (6, 1, width), (6,))
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("options", OPTIONS)
def test_values_gradients_and_relevance_are_those_of_torch(options):
    x, weight, bias = tensors()
    assert is_wide(weight, 6)
    x.requires_grad_(True)
    expected = torch.conv1d(x, weight, bias, **options, groups=6)
    found = conv1d(x, weight, bias, **options, groups=6)
    assert torch.allclose(found, expected, atol=1e-12)
    back = torch.randn_like(expected)
    slopes = [torch.autograd.grad(y, x, back)[0] for y in (found, expected)]
    assert torch.allclose(*slopes, atol=1e-12)
    linear = ConvMap(weight, None, **options, groups=6)
    assert torch.allclose(linear.forward(x, weight) + bias[:, None], expected, atol=1e-12)
    assert torch.allclose(linear.transpose(back, weight, x.shape), slopes[1], atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "groups"), [((6, 1, 10), 6), ((6, 2, 14), 3), ((12, 1, 14), 6), ((6, 6, 14), 1)]
)
def test_others_are_left_to_torch(shape, groups):
    assert not is_wide(torch.zeros(shape), groups)
