"""ONNX operations that few networks have, in PyTorch's operations: other scales, orders, rarer
functions of one number.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.onnx_values import as_ints, as_tensor, axis_of, is_static, reduction, word


def _of_one_number(function: Callable[..., Tensor], *names: tuple[str, float]) -> Callable:
    """function(x, attributes by name with their defaults)."""

    def run(node, x):
        return function(x, *(node.get(name, default) for name, default in names))

    return run


def _arg(function: Callable) -> Callable:
    def run(node, x):
        if node.get("select_last_index", 0):
            raise node.refuse("of the last index is not known")
        return function(x, axis_of(node, x), bool(node.get("keepdims", 1)))

    return run


def _top(node, x, count=None):
    k = node.get("k") if count is None else as_ints(count, node)[0]
    axis = axis_of(node, x, -1)
    return tuple(torch.topk(x, k, axis, bool(node.get("largest", 1)), True))


def _cumulated(node, x, axis):
    (dim,) = as_ints(axis, node)
    if node.get("exclusive", 0):
        raise node.refuse("without the number itself is not known")
    if node.get("reverse", 0):
        return x.flip(dim).cumsum(dim).flip(dim)
    return x.cumsum(dim)


def _gather_elements(node, x, indices):
    axis = axis_of(node, x)
    places = as_tensor(indices, x).long()
    if len(places) == 1 < len(x) and axis != 0:
        places = places.expand(len(x), *places.shape[1:])
    return torch.gather(x, axis, torch.where(places < 0, places + x.shape[axis], places))


def _triangle(node, x, diagonal=None):
    k = 0 if diagonal is None else as_ints(diagonal, node)[0]
    if is_static(x):
        return np.triu(x, k) if node.get("upper", 1) else np.tril(x, k)
    return torch.triu(x, k) if node.get("upper", 1) else torch.tril(x, k)


def _eye_like(node, x):
    if x.ndim != 2:
        raise node.refuse("of other than two axes is not known")
    return np.eye(*x.shape, k=node.get("k", 0), dtype=np.float32)


def _depth_to_space(node, x):
    """(N, C b b, H, W) -> (N, C, H b, W b)."""
    if word(node.get("mode", "DCR")) == "CRD":
        return F.pixel_shuffle(x, node.get("blocksize"))
    b = node.get("blocksize")
    n, channels, height, width = x.shape
    parts = x.reshape(n, b, b, channels // b**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, channels // b**2, height * b, width * b)


def _normalised(node, x):
    size = torch.linalg.vector_norm(x, node.get("p", 2), axis_of(node, x, -1), keepdim=True)
    return x / size


def _is_infinite(node, x):
    above, below = node.get("detect_positive", 1), node.get("detect_negative", 1)
    if above and below:
        return torch.isinf(x)
    return x == (math.inf if above else -math.inf if below else math.nan)


def _scatter_elements(node, x, indices, updates):
    """One place of an axis written anew (`x[:, 0] = ...`)."""
    axis, places = axis_of(node, indices), np.asarray(indices) if is_static(indices) else None
    like = x if isinstance(x, torch.Tensor) else updates
    if places is None or is_static(like) or word(node.get("reduction", "none")) != "none":
        raise node.refuse("at places that depend on the signals, or adding up, is not known")
    x, updates = as_tensor(x, like), as_tensor(updates, like)
    plane = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    if places.shape != plane or (places != places.flat[0]).any():
        raise node.refuse("at other places than all of one index is not known")
    return torch.select_scatter(x, updates.select(axis, 0), axis, int(places.flat[0]))


def _numbers(value, node):
    """A constant of the file as a list; with several numbers it is kept as a weight."""
    if isinstance(value, nn.Parameter):
        value = value.detach().cpu().numpy()
    if not is_static(value):
        raise node.refuse("takes numbers that depend on the signals")
    return [float(one) for one in np.asarray(value).reshape(-1)]


# name -> where samples `at` of a new length lie in an old one
COORDINATES = {
    "asymmetric": lambda at, old, new: at * old / new,
    "half_pixel": lambda at, old, new: (at + 0.5) * old / new - 0.5,
    "pytorch_half_pixel": lambda at, old, new: (at + 0.5) * old / new - 0.5,
    "half_pixel_symmetric": lambda at, old, new: (at + 0.5) * old / new - 0.5,
    "tf_half_pixel_for_nn": lambda at, old, new: (at + 0.5) * old / new,
    "align_corners": lambda at, old, new: at * (old - 1) / max(new - 1, 1),
}
ROUNDINGS = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda places: np.ceil(places - 0.5),
    "round_prefer_ceil": lambda places: np.floor(places + 0.5),
}


def _repeats(how, rounding, old, new):
    """Whether the nearest sample is the same new / old times over, as PyTorch has it."""
    if how not in COORDINATES or rounding not in ROUNDINGS:
        return False
    at = np.arange(new)
    nearest = ROUNDINGS[rounding](COORDINATES[how](at, old, new))
    return np.array_equal(np.clip(nearest, 0, old - 1), at // (new // old))


def _resize(node, x, *more):
    """Upsample and Resize, as far as PyTorch's interpolation is the same."""
    sizes = as_ints(more[2], node)[2:] if len(more) > 2 and more[2] is not None else None
    given = more[1] if len(more) > 1 else more[0] if more else node.get("scales")
    to = {"size": sizes}
    if sizes is None:
        scales = _numbers(given, node)
        if scales[:2] != [1, 1]:
            raise node.refuse("of records or channels is not known")
        exact = np.float32(x.shape[2:]) * np.float32(scales[2:])
        sizes = np.floor(exact).astype(int).tolist()
        # of a size that is no whole number the places follow the scale, not the sizes
        whole = np.abs(exact - np.round(exact)).max() < 1e-3
        to = {"size": sizes} if whole else {"scale_factor": tuple(scales[2:])}
    mode = word(node.get("mode", "nearest"))
    how = word(node.get("coordinate_transformation_mode", "half_pixel"))
    if mode == "nearest":
        whole = all(new % old == 0 for new, old in zip(sizes, x.shape[2:], strict=True))
        rounding = word(node.get("nearest_mode", "round_prefer_floor"))
        pairs = zip(x.shape[2:], sizes, strict=True)
        plain = (how, rounding) == ("asymmetric", "floor")
        if not plain and not (whole and all(_repeats(how, rounding, *pair) for pair in pairs)):
            raise node.refuse(f"to the nearest by {how} and {rounding}, to {sizes}, is not known")
        return F.interpolate(x, **to, mode="nearest")
    if mode != "linear" or how not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise node.refuse(f"by {mode} with {how} is not known")
    corners = how == "align_corners"
    if node.get("antialias", 0) or (corners and "size" not in to):
        raise node.refuse(
            "with antialiasing, or of aligned corners to parts of a sample, is not known"
        )
    return F.interpolate(
        x, **to, mode={1: "linear", 2: "bilinear"}[len(sizes)], align_corners=corners
    )


def _upsample(node, x, scales=None):
    """Resize of opsets before 10."""
    return _resize(node, x, None, scales if scales is not None else np.array(node.get("scales")))


# operation -> function (node, *values) -> value or tuple of values
RARER: dict[str, Callable[..., object]] = {
    "Acos": _of_one_number(torch.acos),
    "ArgMax": _arg(torch.argmax),
    "ArgMin": _arg(torch.argmin),
    "Asin": _of_one_number(torch.asin),
    "Asinh": _of_one_number(torch.asinh),
    "Atan": _of_one_number(torch.atan),
    "Cosh": _of_one_number(torch.cosh),
    "CumSum": _cumulated,
    "DepthToSpace": _depth_to_space,
    "EyeLike": _eye_like,
    "GatherElements": _gather_elements,
    "IsInf": _is_infinite,
    "IsNaN": _of_one_number(torch.isnan),
    "LpNormalization": _normalised,
    "ReduceL1": reduction(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceLogSum": reduction(lambda x, axes, keep: x.sum(axes, keep).log()),
    "ReduceLogSumExp": reduction(torch.logsumexp),
    "Resize": _resize,
    "Round": _of_one_number(torch.round),
    "ScatterElements": _scatter_elements,
    "Shrink": _of_one_number(
        lambda x, reach, bias: torch.where(
            x > reach, x - bias, torch.where(x < -reach, x + bias, torch.zeros_like(x))
        ),
        ("lambd", 0.5),
        ("bias", 0.0),
    ),
    "Sinh": _of_one_number(torch.sinh),
    "Softsign": _of_one_number(F.softsign),
    "Swish": _of_one_number(lambda x, alpha: x * torch.sigmoid(alpha * x), ("alpha", 1.0)),
    "Tan": _of_one_number(torch.tan),
    "ThresholdedRelu": _of_one_number(
        lambda x, level: torch.where(x > level, x, torch.zeros_like(x)), ("alpha", 1.0)
    ),
    "TopK": _top,
    "Trilu": _triangle,
    "Upsample": _upsample,
}
