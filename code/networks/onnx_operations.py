"""What each ONNX operation computes, in PyTorch's operations; numbers that follow from shapes alone
in numpy.

Source: the operator specification of ONNX, opsets 7 to 25.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common.files import UserError
from networks.onnx_layers import LAYERS
from networks.onnx_rarer import RARER
from networks.onnx_shapes import SHAPES
from networks.onnx_values import (
    OnnxNode,
    Value,
    as_tensor,
    axis_of,
    first_tensor,
    is_static,
    operand,
    reduction,
    word,
)

# ---------------------------------------------------------------- elementwise


def _elementwise(in_torch: Callable, in_numpy: Callable | None = None) -> Callable:
    def run(node, *values):
        if in_numpy and all(map(is_static, values)):
            return np.asarray(in_numpy(*values))
        like = first_tensor(values)
        operands = [operand(value, like) for value in values]
        if not isinstance(operands[0], Tensor):  # PyTorch wants a tensor first
            operands[0] = as_tensor(values[0], like)
        return in_torch(*operands)

    return run


def _div(one, other):
    if np.issubdtype(np.result_type(one, other), np.integer):
        quotient = np.trunc(np.true_divide(one, other))
        return quotient.astype(np.result_type(one, other))
    return np.divide(one, other)


def _torch_div(one, other):
    whole = not one.is_floating_point()
    return torch.div(one, other, rounding_mode="trunc") if whole else torch.div(one, other)


def _variadic(in_torch: Callable, in_numpy: Callable) -> Callable:
    def run(node, *values):
        if all(map(is_static, values)):
            return np.asarray(_fold(in_numpy, values))
        like = first_tensor(values)
        return _fold(in_torch, [as_tensor(value, like) for value in values])

    return run


def _fold(function, values):
    result = values[0]
    for value in values[1:]:
        result = function(result, value)
    return result


def _mean(node, *values):
    return OPERATIONS["Sum"](node, *values) / len(values)


def _clip(node, x, low=None, high=None):
    low = node.get("min") if low is None else float(np.asarray(low).reshape(-1)[0])
    high = node.get("max") if high is None else float(np.asarray(high).reshape(-1)[0])
    if is_static(x):
        return np.clip(x, low, high)
    return torch.clamp(x, low, high)


def _gelu(node, x):
    return F.gelu(x, approximate=word(node.get("approximate", "none")))


def _softmax_like(function: Callable) -> Callable:
    def run(node, x):
        if node.opset >= 13:
            return function(x, dim=node.get("axis", -1))
        axis = axis_of(node, x, 1)
        if axis == x.ndim - 1:
            return function(x, dim=axis)
        return function(x.flatten(axis), dim=axis).reshape(x.shape)

    return run


def _cast(node, x):
    wanted = node.get("to")
    kinds = NUMPY_TYPES | WHOLE_TYPES if is_static(x) else NUMPY_TYPES
    if wanted not in kinds:
        raise node.refuse(f"to number format {wanted} is not known")
    kind = kinds[wanted]
    if is_static(x):
        return x.astype(kind)
    if np.issubdtype(kind, np.floating):
        return x if x.is_floating_point() else x.float()
    return x.to({np.int64: torch.int64, np.int32: torch.int64, np.bool_: torch.bool}[kind])


# ONNX numbers of formats -> numpy's; half and double precision are computed in single precision
NUMPY_TYPES = {
    1: np.float32, 10: np.float32, 11: np.float32, 16: np.float32, 6: np.int32, 7: np.int64,
    9: np.bool_,
}  # fmt: skip
WHOLE_TYPES = {
    2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 12: np.uint32, 13: np.uint64,
}  # fmt: skip


def _where(node, condition, one, other):
    if all(map(is_static, (condition, one, other))):
        return np.where(condition, one, other)
    like = first_tensor([value for value in (one, other, condition) if value is not None])
    return torch.where(as_tensor(condition, like), as_tensor(one, like), as_tensor(other, like))


def _hard_sigmoid(node, x):
    """alpha x + beta between 0 and 1; PyTorch's has alpha 1 / 6 and beta 1 / 2."""
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if beta != 0.5:
        return torch.clamp(x * alpha + beta, 0.0, 1.0)
    return F.hardsigmoid(x if abs(6 * alpha - 1) < 1e-5 else x * (6 * alpha))


def _selu(node, x):
    """With its usual numbers, those of PyTorch."""
    usual = {"alpha": 1.67326, "gamma": 1.0507}
    if any(abs(node.get(name, number) - number) > 1e-4 for name, number in usual.items()):
        raise node.refuse("with numbers of its own is not known")
    return F.selu(x)


def _prelu(node, x, slope):
    slope = as_tensor(slope, x)
    per_channel = (x.shape[1], *[1] * (x.ndim - 2))
    if slope.numel() == 1 or tuple(slope.shape[-len(per_channel) :]) == per_channel:
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x > 0, x, x * slope)


def _mod(node, one, other):
    """The remainder with the sign of the divisor, or with that of the number (fmod)."""
    pair = (torch.fmod, np.fmod) if node.get("fmod", 0) else (torch.remainder, np.mod)
    return _elementwise(*pair)(node, one, other)


def _product(x, axes, keep):
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keep)
    return x


# operation -> function (node, *values) -> value or tuple of values
OPERATIONS: dict[str, Callable[..., object]] = {
    **LAYERS,
    **RARER,
    **SHAPES,
    "Abs": _elementwise(torch.abs, np.abs),
    "Add": _elementwise(torch.add, np.add),
    "And": _elementwise(torch.logical_and, np.logical_and),
    "Cast": _cast,
    "Ceil": _elementwise(torch.ceil, np.ceil),
    "Celu": lambda node, x: F.celu(x, node.get("alpha", 1.0)),
    "Clip": _clip,
    "Cos": _elementwise(torch.cos, np.cos),
    "Div": _elementwise(_torch_div, _div),
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "Equal": _elementwise(torch.eq, np.equal),
    "Erf": _elementwise(torch.erf),
    "Exp": _elementwise(torch.exp, np.exp),
    "Floor": _elementwise(torch.floor, np.floor),
    "Gelu": _gelu,
    "Greater": _elementwise(torch.gt, np.greater),
    "GreaterOrEqual": _elementwise(torch.ge, np.greater_equal),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node, x: F.hardswish(x),
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "Less": _elementwise(torch.lt, np.less),
    "LessOrEqual": _elementwise(torch.le, np.less_equal),
    "Log": _elementwise(torch.log, np.log),
    "LogSoftmax": _softmax_like(F.log_softmax),
    "Max": _variadic(torch.maximum, np.maximum),
    "Mean": _mean,
    "Min": _variadic(torch.minimum, np.minimum),
    "Mish": lambda node, x: F.mish(x),
    "Mod": _mod,
    "Mul": _elementwise(torch.mul, np.multiply),
    "Neg": _elementwise(torch.neg, np.negative),
    "Not": _elementwise(torch.logical_not, np.logical_not),
    "Or": _elementwise(torch.logical_or, np.logical_or),
    "PRelu": _prelu,
    "Pow": _elementwise(torch.pow, np.power),
    "Reciprocal": _elementwise(torch.reciprocal, np.reciprocal),
    "ReduceL2": reduction(
        lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
        lambda x, axis, keepdims: np.sqrt((x**2).sum(axis=axis, keepdims=keepdims)),
    ),
    "ReduceMax": reduction(torch.amax, np.max),
    "ReduceMean": reduction(torch.mean, np.mean),
    "ReduceMin": reduction(torch.amin, np.min),
    "ReduceProd": reduction(_product, np.prod),
    "ReduceSum": reduction(torch.sum, np.sum),
    "ReduceSumSquare": reduction(
        lambda x, axes, keep: torch.sum(x * x, axes, keep),
        lambda x, axis, keepdims: (x**2).sum(axis=axis, keepdims=keepdims),
    ),
    "Relu": lambda node, x: F.relu(x),
    "Selu": _selu,
    "Sigmoid": lambda node, x: torch.sigmoid(x),
    "Sign": _elementwise(torch.sign, np.sign),
    "Sin": _elementwise(torch.sin, np.sin),
    "Softmax": _softmax_like(F.softmax),
    "Softplus": lambda node, x: F.softplus(x),
    "Sqrt": _elementwise(torch.sqrt, np.sqrt),
    "Sub": _elementwise(torch.sub, np.subtract),
    "Sum": _variadic(torch.add, np.add),
    "Tanh": lambda node, x: torch.tanh(x),
    "Where": _where,
}


def _advice(error):
    """What to do where sizes do not fit together: files often hold the number of records that they
    were exported with.
    """
    if isinstance(error, (RuntimeError, ValueError)) and re.search(r"shape|size", str(error)):
        return "; where the file was exported for several records at once: export it for one"
    return ""


def run_operation(node: OnnxNode, values: Sequence[Value]) -> tuple:
    """The outputs of one operation; UserError, with operation and place, where it has no rule or
    cannot be computed.
    """
    if node.kind not in OPERATIONS:
        raise node.refuse("is not known: the file cannot be imported")
    try:
        with np.errstate(all="ignore"):
            result = OPERATIONS[node.kind](node, *values)
    except UserError:
        raise
    except Exception as error:  # whatever does not fit together in a file
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise node.refuse(f"fails: {reason}{_advice(error)}") from None
    results = result if isinstance(result, tuple) else (result,)
    return tuple(one if isinstance(one, Tensor) else np.asarray(one) for one in results)
