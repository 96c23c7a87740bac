"""A case or more of every operation that LRP has a rule for, each with its oracle."""

import math

import torch
from torch import Tensor

from lrp_oracles import (
    Case,
    Each,
    Value,
    attention,
    both_halves,
    halving,
    homogeneous,
    logarithmic,
    normalising,
    passing,
    proportional,
    softmax,
    summing,
    terms,
    traced,
    upper,
    weighted,
    winning,
)
from networks.program import Batch, Dtype

A, B = Value("a"), Value("b")
EIGHT, IMAGE, WIDE = Value("a", (3, 8)), Value("a", (2, 4, 6)), Value("a", (4, 2, 3))
VOLUME = Value("a", (2, 2, 4, 4))
LINE, FEW, OTHER = Value("a", (5,)), Value("a", (3,)), Value("b", (4, 2))
N = Batch(1)  # the number of records


def draw(*shape: int, seed: int = 6) -> Tensor:
    """Constant numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


# ---------------------------------------------------------------- functions of one number

ANY = """relu leaky_relu elu selu celu gelu silu mish softplus sigmoid log_sigmoid tanh hardtanh
    relu6 hardswish hardsigmoid hardshrink softshrink abs neg exp exp2 expm1 square reciprocal sin
    cos tan sinh cosh atan erf nan_to_num _to_copy contiguous clone detach alias"""
POSITIVE = "log log2 log10 log1p sqrt rsqrt"
OF_ONE_NUMBER = [
    *(Case(kind, (A,), passing) for kind in ANY.split()),
    *(Case(kind, (A,), passing, low=0.2, high=2) for kind in POSITIVE.split()),
    *(Case(kind, (A,), passing, low=-0.9, high=0.9) for kind in ("asin", "acos")),
    Case("to", (A, Dtype("float64")), passing),
    Case("prelu", (A, draw(3)), passing),
    Case("threshold", (A, 0.1, 20.0), passing),
    Case("pow", (A, 3), passing),
    Case("pow", (2.0, A), passing),
    Case("pow", (A, draw(3, 4).abs()), passing, low=0.2, high=2),
    Case("clamp", (A, -0.5, 0.8), passing),
    Case("clamp_min", (A, -0.5), passing),
    Case("clamp_max", (A, 0.5), passing),
]

# ---------------------------------------------------------------- values that are moved

RESHAPED = [
    Case("reshape", (A, [N, 4, 3]), traced),
    Case("view", (A, [N, 12]), traced),
    Case("_unsafe_view", (A, [N, 2, 6]), traced),
    Case("view_as", (A, Value("b", (12,))), traced),
    Case("reshape_as", (A, Value("b", (12,))), traced),
    Case("flatten", (A, 1), traced),
    Case("unflatten", (A, 2, [2, 2]), traced),
    Case("squeeze", (Value("a", (1, 4)), 1), traced),
    Case("unsqueeze", (A, 1), traced),
    Case("transpose", (A, 1, 2), traced),
    Case("permute", (A, [0, 2, 1]), traced),
    Case("t", (LINE,), traced),
    Case("numpy_T", (LINE,), traced),
    Case("mT", (A,), traced),
    Case("movedim", (A, 1, 2), traced),
    Case("expand", (Value("a", (1, 4)), [N, 3, 4]), traced),
    Case("expand_as", (Value("a", (1, 4)), B), traced),
    Case("broadcast_to", (Value("a", (1, 4)), [N, 3, 4]), traced),
    Case("repeat", (A, [1, 2, 1]), traced),
    Case("tile", (A, [1, 1, 2]), traced),
    Case("repeat_interleave", (A, 2, 1), traced),
]
TAKEN = [
    Case("slice", (A, 2, 1, 4, 2), traced),
    Case("select", (A, 1, 2), traced),
    Case("narrow", (A, 2, 1, 2), traced),
    Case("cat", ([A, B, A], 1), traced),
    Case("stack", ([A, B], 1), traced),
    Case("hstack", ([A, B],), traced),
    Case("split.Tensor", (A, 2, 2), traced, output=1),
    Case("split_with_sizes", (A, [1, 3], 2), traced, output=1),
    Case("chunk", (A, 2, 2), traced, output=0),
    Case("tensor_split", (A, 3, 2), traced, output=1),
    Case("unbind", (A, 1), traced, output=2),
    Case("flip", (A, [2]), traced),
    Case("roll", (A, [1], [2]), traced),
    Case("unfold", (A, 2, 2, 1), traced),
    Case("diagonal", (A, 0, 1, 2), traced),
    Case("tril", (A,), traced),
    Case("triu", (A, 1), traced),
    Case("pixel_shuffle", (WIDE, 2), traced),
    Case("channel_shuffle", (WIDE, 2), traced),
    Case("index", (A, [None, torch.tensor([2, 0, 0])]), traced),
    Case("index_select", (A, 1, torch.tensor([2, 0, 0])), traced),
    Case("gather", (LINE, 1, Each(torch.tensor([3, 1, 1]))), traced),
    Case("take_along_dim", (A, torch.tensor([[[2, 0]]]), 2), traced),
]
PADDED = [
    Case("pad", (A, [1, 2], "constant", 0.7), traced),
    Case("pad", (A, [1, 2], "constant"), traced),
    Case("pad", (A, [1, 2], "reflect"), traced),
    Case("pad", (A, [1, 2], "replicate"), traced),
    Case("pad", (A, [1, 2], "circular"), traced),
    Case("constant_pad_nd", (A, [2, 1]), traced),
    Case("reflection_pad1d", (A, [2, 1]), traced),
    Case("replication_pad1d", (A, [2, 1]), traced),
    Case("reflection_pad2d", (IMAGE, [2, 1, 1, 1]), traced),
    Case("replication_pad2d", (IMAGE, [2, 1, 1, 1]), traced),
]
MASK = torch.tensor([True, False, False, True])
PLACES = Each(torch.tensor([[2, 0]]).expand(3, 2))
EVEN = Each(torch.arange(0, 48, 2).view(1, 4, 6).expand(2, 4, 6))
WRITTEN = [
    Case("masked_fill", (A, MASK, 0.3), traced),
    Case("where", (MASK, A, B), traced),
    Case("where", (MASK, A, draw(3, 4)), traced),
    Case("where", (MASK, A, 0.0), traced),
    Case("slice_scatter", (A, Value("b", (3, 2)), 2, 1, 3), traced),
    Case("select_scatter", (A, Value("b", (4,)), 1, 2), traced),
    Case("index_copy", (A, 1, torch.tensor([2, 0]), Value("b", (2, 4))), traced),
    Case("scatter", (A, 2, PLACES, 0.4), traced),
    Case("index_put", (A, [None, torch.tensor([2, 0])], Value("b", (2, 4))), traced),
    Case("index_put", (A, [None, torch.tensor([2, 2])], Value("b", (2, 4)), True), proportional),
    Case("max_unpool2d", (IMAGE, EVEN, [8, 6]),
         traced),
]  # fmt: skip
LARGEST = [
    Case("max_pool1d", (EIGHT, [3], [2], [1]), traced),
    Case("max_pool1d", (EIGHT, [2], [2], [0], [2], True), traced),
    Case("max_pool2d", (IMAGE, [2, 3], [2, 2], [1, 1]), traced),
    Case("max_pool1d_with_indices", (EIGHT, [3], [2], [1]), traced, output=0),
    Case("max_pool2d_with_indices", (IMAGE, [2, 2]), traced, output=0),
    Case("max_pool3d_with_indices", (VOLUME, [2, 2, 2]), traced, output=0),
    Case("adaptive_max_pool1d", (EIGHT, [3]), traced, output=0),
    Case("adaptive_max_pool2d", (IMAGE, [2, 2]), traced, output=0),
    Case("adaptive_max_pool3d", (VOLUME, [1, 2, 2]), traced, output=0),
    Case("amax", (A, [2]), traced),
    Case("amin", (A, [1, 2]), traced),
    Case("max", (A, 2), traced, output=0),
    Case("min", (A, 1), traced, output=0),
    Case("topk", (A, 2, 2), traced, output=0),
    Case("kthvalue", (A, 2, 2), traced, output=0),
    Case("cummax", (A, 2), traced, output=0),
    Case("cummin", (A, 2), traced, output=0),
    Case("sort", (A, 2), traced, output=0),
    Case("median", (A, 2), traced, output=0),
    Case("nanmedian", (A, 2), traced, output=0),
    Case("mode", (A, 2), traced, output=0),
    Case("upsample_nearest1d", (A, [7]), traced),
    Case("upsample_nearest2d", (IMAGE, [6, 8]), traced),
    Case("_upsample_nearest_exact1d", (A, [7]), traced),
    Case("_upsample_nearest_exact2d", (IMAGE, [6, 8]), traced),
    Case("maximum", (A, B), winning),
    Case("minimum", (A, draw(3, 1)), winning),
    Case("fmax", (A, Value("b", (3, 1))), winning),
    Case("fmin", (A, A), winning),
]

# ---------------------------------------------------------------- in proportion


def _slopes_of_deviation(row):
    mean, n = sum(row) / len(row), len(row)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in row) / (n - 1))
    return [(one - mean) / ((n - 1) * deviation) for one in row]


def _slopes_of_variance(row):
    mean = sum(row) / len(row)
    return [2 * (one - mean) / (len(row) - 1) for one in row]


def _slopes_of_length(order):
    def slopes(row):
        length = sum(abs(one) ** order for one in row) ** (1 / order)
        return [math.copysign(abs(one) ** (order - 1), one) / length ** (order - 1) for one in row]

    return slopes


def _slopes_of_quantile(row, at=0.3):
    ordered, place = sorted(row), at * (len(row) - 1)
    low, rest = math.floor(place), place - math.floor(place)
    return [(one == ordered[low]) * (1 - rest) + (one == ordered[low + 1]) * rest for one in row]


AVERAGED = [
    Case("avg_pool1d", (EIGHT, [3], [2], [1]), proportional),
    Case("avg_pool2d", (IMAGE, [2, 3], [2, 2], [1, 1], False, False), proportional),
    Case("avg_pool3d", (VOLUME, [2, 2, 2]), proportional),
    Case("adaptive_avg_pool1d", (EIGHT, [3]), proportional),
    Case("adaptive_avg_pool2d", (IMAGE, [3, 2]), proportional),
    Case("_adaptive_avg_pool3d", (VOLUME, [1, 3, 2]), proportional),
    Case("mean", (A, [2]), proportional),
    Case("mean", (A, [1, 2], True), proportional),
    Case("sum", (A, [-1]), proportional),
    Case("cumsum", (A, 2), proportional),
    Case("diff", (A, 1, 2), proportional),
    Case("scatter_add", (A, 2, PLACES, Value("b", (3, 2))),
         proportional),
    Case("scatter_add", (Each(draw(5)), 1, Each(torch.tensor([2, 0, 2])), FEW), proportional),
    Case("index_add", (A, 1, torch.tensor([2, 2]), Value("b", (2, 4))), proportional,
         {"alpha": 0.5}),
    Case("upsample_linear1d", (A, [7], False), proportional),
    Case("upsample_bilinear2d", (IMAGE, [6, 9], True), proportional),
    Case("upsample_bicubic2d", (IMAGE, [6, 9], False), proportional),
    Case("im2col", (IMAGE, [2, 3], [1, 1], [0, 1], [2, 1]), proportional),
    Case("col2im", (Value("a", (8, 6)), [3, 4], [2, 2], [1, 1], [0, 0], [1, 1]), proportional),
    Case("std", (A, [2]), homogeneous, about=(1, _slopes_of_deviation)),
    Case("var", (A, [2]), homogeneous, about=(2, _slopes_of_variance)),
    Case("norm", (A, 2, [2]), homogeneous, about=(1, _slopes_of_length(2))),
    Case("linalg_vector_norm", (A, 3, [2]), homogeneous, about=(1, _slopes_of_length(3))),
    Case("quantile", (A, 0.3, 2), homogeneous, about=(1, _slopes_of_quantile)),
    Case("nanquantile", (A, 0.3, 2), homogeneous, about=(1, _slopes_of_quantile)),
]  # fmt: skip
ROW, BARRED = draw(4), torch.tensor([0.3, -math.inf, 0.2, 0.1], dtype=torch.float64)
ADDED = [
    Case("add", (A, B), summing, about=((1, A), (1, B))),
    Case("add", (A, Value("b", (3, 1))), summing, {"alpha": -0.5},
         about=((1, A), (-0.5, Value("b", (3, 1))))),
    Case("add", (A, A), summing, about=((1, A), (1, A))),
    Case("add", (A, ROW), summing, about=((1, A), (1, ROW))),
    Case("add", (ROW, A), summing, about=((1, ROW), (1, A))),
    Case("add", (A, BARRED), summing, about=((1, A), (1, BARRED))),
    Case("add", (A, 1.5), summing, about=((1, A), (1, 1.5))),
    Case("sub", (A, B), summing, {"alpha": 0.3}, about=((1, A), (-0.3, B))),
    Case("sub", (ROW, A), summing, about=((1, ROW), (-1, A))),
    Case("rsub", (A, 1.5), summing, about=((-1, A), (1, 1.5))),
    Case("rsub", (A, B), summing, {"alpha": 2.0}, about=((-2.0, A), (1, B))),
]  # fmt: skip

# ---------------------------------------------------------------- products and quotients

PRODUCTS = [
    Case("mul", (A, B), halving),
    Case("mul", (A, Value("b", (3, 1))), halving),
    Case("mul", (A, A), halving),
    Case("mul", (ROW, A), halving),
    Case("multiply", (A, -2.0), halving),
    Case("div", (A, B), upper),
    Case("div", (A, ROW), upper),
    Case("div", (draw(1), A), upper),
    Case("divide", (A, -2.0), upper),
    Case("glu", (Value("a", (3, 8)), 2), both_halves),
    Case("matmul", (A, OTHER), terms, about="nij,njk->nik"),
    Case("bmm", (A, OTHER), terms, about="nij,njk->nik"),
    Case("einsum", ("nij,njk->nki", [A, OTHER]), terms, about="nij,njk->nki"),
    Case("einsum", ("nij,njk,k->ni", [A, OTHER, draw(2)]), terms, about="nij,njk,k->ni"),
    Case("einsum", ("nij,njk,nk->ni", [A, OTHER, Value("c", (2,))]), terms,
         about="nij,njk,nk->ni"),
]  # fmt: skip
WEIGHTED = [
    Case("conv1d", (EIGHT, draw(4, 3, 3), draw(4, seed=7), [2], [1]), weighted),
    Case("conv1d", (Value("a", (2, 40)), draw(2, 1, 25), draw(2, seed=7), [1], [12], [1], 2),
         weighted),  # wide and depthwise: computed otherwise
    Case("conv1d", (EIGHT, draw(2, 3, 4), None, [1], "same"), weighted),
    Case("conv2d", (IMAGE, draw(3, 2, 2, 3), draw(3), [1, 2], [1, 0], [1, 2]), weighted),
    Case("conv3d", (VOLUME, draw(2, 2, 2, 1, 2), draw(2), [1, 2, 1]), weighted),
    Case("convolution", (EIGHT, draw(3, 2, 3), draw(2), [2], [1], [1], True, [1], 1), weighted),
    Case("convolution", (EIGHT, draw(2, 3, 3), draw(2), [1], [0], [1], False, [0], 1), weighted),
    Case("conv_transpose1d", (EIGHT, draw(3, 2, 3), draw(2), [2], [1], [1], 1, [2]), weighted),
    Case("conv_transpose2d", (IMAGE, draw(2, 3, 2, 2), draw(3), [1, 2]), weighted),
    Case("linear", (LINE, draw(4, 5), draw(4)), weighted),
    Case("linear", (A, draw(2, 4), draw(2)), weighted),
    Case("linear", (LINE, draw(5)), weighted),
    Case("addmm", (draw(4), LINE, draw(5, 4)), weighted, {"alpha": 0.5, "beta": 2.0}),
    Case("addmm", (draw(1, 4), LINE, draw(5, 4)), weighted),
    Case("batch_norm", (A, draw(3), draw(3, seed=7), draw(3, seed=8), draw(3, seed=9).abs(), False,
                        0.1, 1e-5, False), weighted),
    Case("matmul", (A, draw(4, 2)), weighted),
    Case("matmul", (draw(2, 3), A), weighted),
    Case("matmul", (A, draw(4)), weighted),
    Case("matmul", (draw(1, 2, 3), A), weighted),
    Case("mm", (LINE, draw(5, 4)), weighted),
    Case("mv", (LINE, draw(5)), weighted),
    Case("einsum", ("nct,td->ndc", [A, draw(4, 2)]), weighted),
    Case("einsum", ("k,nct,tk,c->nk", [draw(2), A, draw(4, 2), draw(3)]), weighted),
    Case("einsum", ("...t,td,d", [A, draw(4, 2), draw(2)]), weighted),
]  # fmt: skip

# ---------------------------------------------------------------- norms, softmax, attention

ROWS = [range(start, start + 4) for start in (0, 4, 8)]
ALL = [range(12)]


def _along(numbers, times, copies=1):
    """Each number `times` times, all of it `copies` times."""
    return [float(one) for one in numbers for _ in range(times)] * copies


NORMALISED = [
    Case("layer_norm", (A, [4], draw(4), draw(4, seed=7), 1e-5), normalising,
         about=(ROWS, _along(draw(4), 1, 3), _along(draw(4, seed=7), 1, 3), 1e-5, True)),
    Case("layer_norm", (A, [3, 4], draw(3, 4), None, 1e-3), normalising,
         about=(ALL, _along(draw(3, 4).flatten(), 1), [0] * 12, 1e-3, True)),
    Case("group_norm", (A, 1, draw(3), draw(3, seed=7), 1e-5), normalising,
         about=(ALL, _along(draw(3), 4), _along(draw(3, seed=7), 4), 1e-5, True)),
    Case("group_norm", (A, 3), normalising, about=(ROWS, [1] * 12, [0] * 12, 1e-5, True)),
    Case("instance_norm", (A, draw(3), draw(3, seed=7), None, None, True, 0.1, 1e-5, False),
         normalising, about=(ROWS, _along(draw(3), 4), _along(draw(3, seed=7), 4), 1e-5, True)),
    Case("rms_norm", (A, [4], draw(4), 1e-5), normalising,
         about=(ROWS, _along(draw(4), 1, 3), [0] * 12, 1e-5, False)),
    Case("rms_norm", (A, [4]), normalising,
         about=(ROWS, [1] * 12, [0] * 12, torch.finfo(torch.float64).eps, False)),
]  # fmt: skip
Q, K, V = (Value(name, (1, 3, 4)) for name in "qkv")
FIXED, BIAS, OPEN = draw(1, 1, 3, 4), draw(3, 3), torch.eye(3).bool() | (draw(3, 3) > 0)
CAUSAL = [[0.0 if j <= i else -math.inf for j in range(3)] for i in range(3)]
BOOLEAN = [[0.0 if one else -math.inf for one in row] for row in OPEN.tolist()]
HALF = 1 / math.sqrt(4)
ATTENDING = [
    Case("softmax", (A, 2), softmax),
    Case("_softmax", (A, -1, False), softmax),
    Case("log_softmax", (A, 2), logarithmic),
    Case("_log_softmax", (A, 2, False), logarithmic),
    Case("logsumexp", (A, [2]), logarithmic),
    *(
        Case("scaled_dot_product_attention", (*operands, *rest), attention, kwargs, about=about)
        for operands, rest, kwargs, about in (
            ((Q, K, V), (), {}, (HALF, None)),
            ((Q, K, V), (BIAS, 0.0, False), {"scale": 0.7}, (0.7, BIAS.tolist())),
            ((Q, K, V), (OPEN,), {}, (HALF, BOOLEAN)),
            ((Q, K, V), (None, 0.0, True), {}, (HALF, CAUSAL)),
            ((Q, Q, Q), (), {}, (HALF, None)),
            ((FIXED, K, V), (), {}, (HALF, None)),
            ((Q, K, FIXED), (), {}, (HALF, None)),
            ((FIXED, FIXED.flip(2), V), (), {}, (HALF, None)),
        )
    ),
]

CASES: list[Case] = [
    *OF_ONE_NUMBER,
    *RESHAPED,
    *TAKEN,
    *PADDED,
    *WRITTEN,
    *LARGEST,
    *AVERAGED,
    *ADDED,
    *PRODUCTS,
    *WEIGHTED,
    *NORMALISED,
    *ATTENDING,
]
