"""What each ONNX operation computes, in PyTorch's operations; numbers that follow from shapes alone
in numpy.

A value is a tensor (it depends on the signals, or is a weight) or a numpy array (a constant, a
shape, and what is computed from these). OPERATIONS maps an operation's name to a function (node,
*values) -> value or tuple of values. Source: the operator specification of ONNX, opsets 7 to 25.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common.files import UserError

Value = Tensor | np.ndarray | None
MAX_NUMBERS = 10_000_000  # in an array that the file only names the shape of


@dataclass(frozen=True)
class OnnxNode:
    """An operation of the file.

    attributes  plain values, arrays for tensors
    opset       version of the specification
    batch       number of records that the file fixes, None where it leaves it open
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict = field(default_factory=dict)
    opset: int = 17
    batch: int | None = None

    def get(self, name: str, default: object = None) -> object:
        """An attribute."""
        return self.attributes.get(name, default)

    def refuse(self, why: str) -> UserError:
        """What to raise where a variant is not known."""
        return UserError(f"ONNX operation {self.kind} ({self.name}) {why}")


def is_static(value: Value) -> bool:
    """Whether a value is known without any signal."""
    return value is None or isinstance(value, np.ndarray)


def as_tensor(value: Value, like: Tensor) -> Tensor:
    """A value as a tensor beside `like`."""
    if isinstance(value, Tensor):
        return value
    tensor = torch.from_numpy(np.ascontiguousarray(value)).to(like.device)
    return tensor.to(like.dtype) if tensor.is_floating_point() else tensor


def as_ints(value: Value, node: OnnxNode) -> list[int]:
    """A static value as whole numbers; UserError where it depends on the signals."""
    if not is_static(value):
        raise node.refuse("takes a shape that depends on the signals' values")
    return [int(number) for number in np.asarray(value).reshape(-1)]


def operand(value: Value, like: Tensor) -> Tensor | float | int | bool:
    """A value as an operand of an elementwise operation: a single constant as a plain number."""
    if isinstance(value, np.ndarray) and value.size == 1 and value.ndim <= like.ndim:
        return value.reshape(-1)[0].item()
    return as_tensor(value, like)


def _first_tensor(values):
    return next(value for value in values if isinstance(value, Tensor))


def _axis(node, value, default=0):
    axis = node.get("axis", default)
    return axis + value.ndim if axis < 0 else axis


def _axes(node, extra):
    """Axes given as an attribute (old) or as an input (new); None where neither."""
    if node.get("axes") is not None:
        return list(node.get("axes"))
    return None if extra is None else as_ints(extra, node)


# ---------------------------------------------------------------- elementwise


def _elementwise(in_torch: Callable, in_numpy: Callable | None = None) -> Callable:
    def run(node, *values):
        if all(map(is_static, values)):
            if in_numpy is None:
                raise node.refuse("of constants alone is not known")
            return np.asarray(in_numpy(*values))
        like = _first_tensor(values)
        operands = [operand(value, like) for value in values]
        if not isinstance(operands[0], Tensor):  # PyTorch wants a tensor first
            operands[0] = as_tensor(values[0], like)
        return in_torch(*operands)

    return run


def _unary(in_torch: Callable, in_numpy: Callable | None = None) -> Callable:
    return _elementwise(in_torch, in_numpy)


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
        like = _first_tensor(values)
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
    return F.gelu(x, approximate=_word(node.get("approximate", "none")))


def _word(value):
    return value.decode() if isinstance(value, bytes) else value


def _softmax_like(function: Callable) -> Callable:
    def run(node, x):
        if node.opset >= 13:
            return function(x, dim=node.get("axis", -1))
        axis = _axis(node, x, 1)
        if axis == x.ndim - 1:
            return function(x, dim=axis)
        return function(x.flatten(axis), dim=axis).reshape(x.shape)

    return run


def _cast(node, x):
    wanted = node.get("to")
    if is_static(x):
        return x.astype(NUMPY_TYPES.get(wanted, np.float32))
    if wanted not in NUMPY_TYPES:
        raise node.refuse(f"to number format {wanted} is not known")
    kind = NUMPY_TYPES[wanted]
    if np.issubdtype(kind, np.floating):
        return x if x.is_floating_point() else x.float()
    return x.to({np.int64: torch.int64, np.int32: torch.int64, np.bool_: torch.bool}[kind])


# ONNX numbers of formats -> numpy's; half and double precision are computed in single precision
NUMPY_TYPES = {
    1: np.float32, 10: np.float32, 11: np.float32, 16: np.float32, 6: np.int32, 7: np.int64,
    9: np.bool_,
}  # fmt: skip


def _where(node, condition, one, other):
    if all(map(is_static, (condition, one, other))):
        return np.where(condition, one, other)
    like = _first_tensor([value for value in (one, other, condition) if value is not None])
    return torch.where(as_tensor(condition, like), as_tensor(one, like), as_tensor(other, like))


# ---------------------------------------------------------------- layers


def _spatial_pads(node, x, kernel, stride, dilation):
    """(before, after) per spatial axis."""
    n_axes = len(kernel)
    automatic = _word(node.get("auto_pad", "NOTSET"))
    if automatic in ("NOTSET", ""):
        pads = list(node.get("pads", [0] * 2 * n_axes))
        return list(zip(pads[:n_axes], pads[n_axes:], strict=True))
    if automatic == "VALID":
        return [(0, 0)] * n_axes
    found = []
    for axis, size in enumerate(x.shape[2:]):
        steps = -(-size // stride[axis])
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        total = max(0, (steps - 1) * stride[axis] + reach - size)
        less, more = total // 2, total - total // 2
        found.append((less, more) if automatic == "SAME_UPPER" else (more, less))
    return found


def _padded(x, pads, value):
    """(x, symmetric pads that are left to the layer): uneven ones are put around x first."""
    if all(before == after for before, after in pads):
        return x, [before for before, _ in pads]
    sides = [side for pair in reversed(pads) for side in pair]
    return F.pad(x, sides, value=value), [0] * len(pads)


def _window(node, x, kernel):
    n_axes = len(kernel)
    stride = list(node.get("strides", [1] * n_axes))
    dilation = list(node.get("dilations", [1] * n_axes))
    return stride, dilation, _spatial_pads(node, x, kernel, stride, dilation)


def _by_axes(node, x, functions):
    n_axes = x.ndim - 2
    if n_axes not in functions:
        raise node.refuse(f"over {n_axes} axes is not known")
    return functions[n_axes]


def _conv(node, x, weight, bias=None):
    x, weight = _both(x, weight)
    bias = None if bias is None else as_tensor(bias, x)
    stride, dilation, pads = _window(node, x, list(weight.shape[2:]))
    x, pads = _padded(x, pads, 0.0)
    function = _by_axes(node, x, {1: F.conv1d, 2: F.conv2d, 3: F.conv3d})
    return function(x, weight, bias, stride, pads, dilation, node.get("group", 1))


def _conv_transpose(node, x, weight, bias=None):
    weight, bias = as_tensor(weight, x), None if bias is None else as_tensor(bias, x)
    if _word(node.get("auto_pad", "NOTSET")) != "NOTSET" or node.get("output_shape"):
        raise node.refuse("with automatic padding is not known")
    stride, dilation, pads = _window(node, x, list(weight.shape[2:]))
    if any(before != after for before, after in pads):
        raise node.refuse("with uneven padding is not known")
    extra = list(node.get("output_padding", [0] * len(pads)))
    function = _by_axes(node, x, {1: F.conv_transpose1d, 2: F.conv_transpose2d})
    pads = [before for before, _ in pads]
    return function(x, weight, bias, stride, pads, extra, node.get("group", 1), dilation)


def _batch_norm(node, x, weight, bias, mean, variance):
    if node.get("training_mode", 0):
        raise node.refuse("is in training mode: export the network in evaluation mode")
    weight, bias, mean, variance = (as_tensor(value, x) for value in (weight, bias, mean, variance))
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, node.get("epsilon", 1e-5))


def _instance_norm(node, x, weight, bias):
    weight, bias = as_tensor(weight, x), as_tensor(bias, x)
    return F.group_norm(x, x.shape[1], weight, bias, node.get("epsilon", 1e-5))


def _group_norm(node, x, weight, bias):
    weight, bias = as_tensor(weight, x), as_tensor(bias, x)
    groups = node.get("num_groups")
    if weight.shape[0] != x.shape[1]:
        raise node.refuse("with one weight per group is not known")
    return F.group_norm(x, groups, weight, bias, node.get("epsilon", 1e-5))


def _layer_norm(node, x, weight, bias=None):
    weight, bias = as_tensor(weight, x), None if bias is None else as_tensor(bias, x)
    shape = list(x.shape[_axis(node, x, -1) :])
    return F.layer_norm(x, shape, weight, bias, node.get("epsilon", 1e-5))


def _max_pool(node, x):
    kernel = list(node.get("kernel_shape"))
    stride, dilation, pads = _window(node, x, kernel)
    x, pads = _padded(x, pads, float("-inf"))
    function = _by_axes(node, x, {1: F.max_pool1d, 2: F.max_pool2d})
    return function(x, kernel, stride, pads, dilation, bool(node.get("ceil_mode", 0)))


def _avg_pool(node, x):
    kernel = list(node.get("kernel_shape"))
    stride, dilation, pads = _window(node, x, kernel)
    counted = bool(node.get("count_include_pad", 0))
    if any(step != 1 for step in dilation):
        raise node.refuse("with dilation is not known")
    if any(before != after for before, after in pads) and not counted:
        raise node.refuse("with uneven padding that is not counted is not known")
    x, pads = _padded(x, pads, 0.0)
    function = _by_axes(node, x, {1: F.avg_pool1d, 2: F.avg_pool2d})
    return function(x, kernel, stride, pads, bool(node.get("ceil_mode", 0)), counted)


def _global(functions: dict) -> Callable:
    def run(node, x):
        return _by_axes(node, x, functions)(x, 1)

    return run


def _gemm(node, a, b, c=None):
    a, b = _both(a, b)
    if node.get("transA", 0):
        a = a.t()
    weight = b if node.get("transB", 0) else b.t()
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    bias = None if c is None else as_tensor(c, a)
    if bias is not None and beta != 1.0:
        bias = bias * beta
    if alpha != 1.0:
        weight = weight * alpha
    if bias is None or bias.ndim == 1:
        return F.linear(a, weight, bias)
    return F.linear(a, weight) + bias


def _both(one, other):
    """Two values as tensors; one of them is."""
    like = _first_tensor((one, other))
    return as_tensor(one, like), as_tensor(other, like)


def _matmul(node, a, b):
    if is_static(a) and is_static(b):
        return np.matmul(a, b)
    a, b = _both(a, b)
    if isinstance(b, torch.nn.Parameter) and b.ndim == 2:  # a dense layer, per time step or not
        return F.linear(a, b.t())
    return torch.matmul(a, b)


def _einsum(node, *values):
    like = _first_tensor(values)
    equation = _word(node.get("equation"))
    return torch.einsum(equation, *[as_tensor(value, like) for value in values])


def _recurrent(kind: str) -> Callable:
    """LSTM and GRU of one layer, time first as in ONNX; gates put into PyTorch's order."""
    orders = {
        "lstm": (0, 2, 3, 1),
        "gru": (1, 0, 2),
    }  # ONNX: i o f c; z r h. PyTorch: i f g o; r z n

    def run(node, x, weights, recurrent, bias=None, lengths=None, *states):
        if lengths is not None or any(state is not None for state in states[2:]):
            raise node.refuse("with lengths or peepholes is not known")
        if node.get("activations") or node.get("clip") or node.get("layout", 0):
            raise node.refuse("with activations of its own is not known")
        if kind == "gru" and not node.get("linear_before_reset", 0):
            raise node.refuse("with linear_before_reset=0 is not known")
        direction = _word(node.get("direction", "forward"))
        if direction == "reverse":
            raise node.refuse("in reverse is not known")
        weights, recurrent = as_tensor(weights, x), as_tensor(recurrent, x)
        both = direction == "bidirectional"
        size = node.get("hidden_size")
        parts = []
        for index in range(2 if both else 1):
            found = [weights[index], recurrent[index]]
            if bias is not None:
                values = as_tensor(bias, x)[index]
                found += [values[: len(values) // 2], values[len(values) // 2 :]]
            parts += [_gates(value, orders[kind], size) for value in found]
        zeros = x.new_zeros(2 if both else 1, x.shape[1], size)
        given = [zeros if state is None else as_tensor(state, x) for state in states[:2]]
        if kind == "lstm":
            given += [zeros] * (2 - len(given))
            settings = (parts, bias is not None, 1, 0.0, False, both, False)
            output, *last = torch.lstm(x, given, *settings)
        else:
            first = given[0] if given else zeros
            settings = (parts, bias is not None, 1, 0.0, False, both, False)
            output, *last = torch.gru(x, first, *settings)
        steps, records, width = output.shape
        sides = width // size
        return (output.reshape(steps, records, sides, size).transpose(1, 2), *last)

    return run


def _gates(value, order, size):
    return torch.cat([value[gate * size : (gate + 1) * size] for gate in order])


# ---------------------------------------------------------------- reductions


def _reduce(in_torch: Callable, in_numpy: Callable) -> Callable:
    def run(node, x, extra=None):
        axes = _axes(node, extra)
        keep = bool(node.get("keepdims", 1))
        if not axes:
            if node.get("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.ndim))
        if is_static(x):
            return np.asarray(in_numpy(x, axis=tuple(axes), keepdims=keep))
        return in_torch(x, axes, keep)

    return run


# ---------------------------------------------------------------- shapes


def _shape(node, x):
    return np.array(x.shape[node.get("start", 0) : node.get("end")], dtype=np.int64)


def _constant(node):
    names = ("value", "value_float", "value_floats", "value_int", "value_ints")
    found = [node.get(name) for name in names if node.get(name) is not None]
    if not found:
        raise node.refuse("holds no number")
    value = np.asarray(found[0])
    return value.astype(np.float32) if value.dtype.kind == "f" else value


def _constant_of_shape(node, shape):
    sizes = as_ints(shape, node)
    _check_size(node, sizes)
    value = np.asarray(node.get("value", np.zeros(1, np.float32))).reshape(-1)[0]
    return np.full(sizes, value)


def _check_size(node, sizes):
    if any(size < 0 for size in sizes) or np.prod([float(size) for size in sizes]) > MAX_NUMBERS:
        raise node.refuse(f"makes an array of {sizes}: too large")


def _range(node, start, stop, step):
    first, last, by = (np.asarray(value).reshape(-1)[0] for value in (start, stop, step))
    _check_size(node, [max(0, int(np.ceil((last - first) / by))) if by else MAX_NUMBERS + 1])
    return np.arange(first, last, by)


def _reshape(node, x, shape):
    sizes = as_ints(shape, node)
    if not node.get("allowzero", 0):
        sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
    if is_static(x):
        return x.reshape(sizes)
    if node.batch is not None and sizes and sizes[0] == node.batch:
        # written for a fixed number of records: any other number reshapes alike
        sizes[0] = x.shape[0]
    return x.reshape(sizes)


def _flatten(node, x):
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1:
        return x.flatten(1) if x.ndim > 1 else x.unsqueeze(1)
    first = int(np.prod(x.shape[:axis]))
    return x.reshape(first, -1)


def _squeeze(node, x, extra=None):
    axes = _axes(node, extra)
    if is_static(x):
        return np.squeeze(x, None if axes is None else tuple(axes))
    if axes is None:
        axes = [at for at in range(1, x.ndim) if x.shape[at] == 1]
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.squeeze(axis)
    return x


def _unsqueeze(node, x, extra=None):
    axes = _axes(node, extra)
    n_axes = x.ndim + len(axes)
    for axis in sorted(axis % n_axes for axis in axes):
        x = np.expand_dims(x, axis) if is_static(x) else x.unsqueeze(axis)
    return x


def _transpose(node, x):
    order = list(node.get("perm", range(x.ndim)[::-1]))
    return x.transpose(order) if is_static(x) else x.permute(order)


def _concat(node, *values):
    if all(map(is_static, values)):
        return np.concatenate([np.atleast_1d(value) for value in values], node.get("axis"))
    like = _first_tensor(values)
    tensors = [as_tensor(value, like) for value in values]
    axis = _axis(node, tensors[0])
    if axis != 0:
        records = max(len(tensor) for tensor in tensors)
        tensors = [
            tensor.expand(records, *tensor.shape[1:]) if len(tensor) == 1 < records else tensor
            for tensor in tensors
        ]
    return torch.cat(tensors, axis)


def _split(node, x, extra=None):
    axis = _axis(node, x)
    sizes = node.get("split") if extra is None else as_ints(extra, node)
    if sizes is None:
        count = node.get("num_outputs") or len(node.outputs)
        part = -(-x.shape[axis] // count)
        sizes = [min(part, x.shape[axis] - start) for start in range(0, x.shape[axis], part)]
    if is_static(x):
        return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))
    return tuple(torch.split(x, list(sizes), axis))


def _slice(node, x, starts=None, ends=None, axes=None, steps=None):
    if starts is None:
        starts, ends = np.array(node.get("starts")), np.array(node.get("ends"))
        axes = None if node.get("axes") is None else np.array(node.get("axes"))
    starts, ends = as_ints(starts, node), as_ints(ends, node)
    axes = list(range(len(starts))) if axes is None else as_ints(axes, node)
    steps = [1] * len(starts) if steps is None else as_ints(steps, node)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis % x.ndim
        first, last, by = slice(start, end, step).indices(x.shape[axis])
        if is_static(x):
            index = [slice(None)] * x.ndim
            index[axis] = slice(start, end if by > 0 or last >= 0 else None, by)
            x = x[tuple(index)]
        elif by > 0:
            x = torch.ops.aten.slice.Tensor(x, axis, first, max(first, last), by)
        else:
            order = list(range(first, last, by))
            x = x.index_select(axis, torch.tensor(order, device=x.device))
    return x


def _gather(node, x, indices):
    axis = _axis(node, x)
    if is_static(x):
        return np.take(x, np.asarray(indices).astype(np.int64), axis)
    if is_static(indices):
        size = x.shape[axis]
        places = np.asarray(indices).astype(np.int64)
        places = np.where(places < 0, places + size, places)
        if places.ndim == 0:
            return x.select(axis, int(places))
        picked = x.index_select(axis, torch.from_numpy(places.reshape(-1)).to(x.device))
        return picked.unflatten(axis, places.shape) if places.ndim > 1 else picked
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.unflatten(axis, indices.shape)


def _expand(node, x, shape):
    sizes = as_ints(shape, node)
    if is_static(x):
        _check_size(node, sizes)
        return x * np.ones(sizes, dtype=x.dtype)
    wanted = np.broadcast_shapes(tuple(x.shape), tuple(sizes))
    return x.expand(wanted)


def _tile(node, x, repeats):
    times = as_ints(repeats, node)
    _check_size(node, [size * time for size, time in zip(x.shape, times, strict=True)])
    return np.tile(x, times) if is_static(x) else x.repeat(times)


def _pad(node, x, pads=None, value=None, axes=None):
    sides = list(node.get("pads")) if pads is None else as_ints(pads, node)
    places = list(range(x.ndim)) if axes is None else [at % x.ndim for at in as_ints(axes, node)]
    before, after = [0] * x.ndim, [0] * x.ndim
    for position, axis in enumerate(places):
        before[axis], after[axis] = sides[position], sides[position + len(places)]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        _word(node.get("mode", "constant"))
    )
    if mode is None:
        raise node.refuse("in this mode is not known")
    used = [axis for axis in range(x.ndim) if before[axis] or after[axis]]
    if not used:
        return x
    first = used[0] if mode == "constant" else max(2, x.ndim - 2 if used[0] < x.ndim - 1 else 2)
    flat = [side for axis in reversed(range(first, x.ndim)) for side in (before[axis], after[axis])]
    if mode == "constant":
        number = node.get("value", 0.0) if value is None else np.asarray(value).reshape(-1)[0]
        return F.pad(x, flat, value=float(number))
    if used[0] < first:
        raise node.refuse("of records or channels by their own values is not known")
    return F.pad(x, flat, mode=mode)


def _identity(node, x, *_):
    return x


def _hard_sigmoid(node, x):
    return torch.clamp(x * node.get("alpha", 0.2) + node.get("beta", 0.5), 0.0, 1.0)


def _prelu(node, x, slope):
    slope = as_tensor(slope, x)
    if slope.numel() in (1, x.shape[1]):
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x > 0, x, x * slope)


OPERATIONS: dict[str, Callable[..., object]] = {
    "Abs": _unary(torch.abs, np.abs),
    "Add": _elementwise(torch.add, np.add),
    "And": _elementwise(torch.logical_and, np.logical_and),
    "AveragePool": _avg_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _unary(torch.ceil, np.ceil),
    "Celu": lambda node, x: F.celu(x, node.get("alpha", 1.0)),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Cos": _unary(torch.cos, np.cos),
    "Div": _elementwise(_torch_div, _div),
    "Dropout": _identity,
    "Einsum": _einsum,
    "Elu": lambda node, x: F.elu(x, node.get("alpha", 1.0)),
    "Equal": _elementwise(torch.eq, np.equal),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp, np.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(torch.floor, np.floor),
    "GRU": _recurrent("gru"),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global({1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d}),
    "GlobalMaxPool": _global({1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d}),
    "Greater": _elementwise(torch.gt, np.greater),
    "GreaterOrEqual": _elementwise(torch.ge, np.greater_equal),
    "GroupNormalization": _group_norm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node, x: F.hardswish(x),
    "Identity": _identity,
    "InstanceNormalization": _instance_norm,
    "LSTM": _recurrent("lstm"),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01)),
    "Less": _elementwise(torch.lt, np.less),
    "LessOrEqual": _elementwise(torch.le, np.less_equal),
    "Log": _unary(torch.log, np.log),
    "LogSoftmax": _softmax_like(F.log_softmax),
    "MatMul": _matmul,
    "Max": _variadic(torch.maximum, np.maximum),
    "MaxPool": _max_pool,
    "Mean": _mean,
    "Min": _variadic(torch.minimum, np.minimum),
    "Mish": lambda node, x: F.mish(x),
    "Mod": _elementwise(torch.remainder, np.mod),
    "Mul": _elementwise(torch.mul, np.multiply),
    "Neg": _unary(torch.neg, np.negative),
    "Not": _unary(torch.logical_not, np.logical_not),
    "Or": _elementwise(torch.logical_or, np.logical_or),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _elementwise(torch.pow, np.power),
    "Range": _range,
    "Reciprocal": _unary(torch.reciprocal, np.reciprocal),
    "ReduceL2": _reduce(
        lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
        lambda x, axis, keepdims: np.sqrt((x**2).sum(axis=axis, keepdims=keepdims)),
    ),
    "ReduceMax": _reduce(torch.amax, np.max),
    "ReduceMean": _reduce(torch.mean, np.mean),
    "ReduceMin": _reduce(torch.amin, np.min),
    "ReduceProd": _reduce(lambda x, axes, keep: torch.prod(x, axes[0], keep), np.prod),
    "ReduceSum": _reduce(torch.sum, np.sum),
    "ReduceSumSquare": _reduce(
        lambda x, axes, keep: torch.sum(x * x, axes, keep),
        lambda x, axis, keepdims: (x**2).sum(axis=axis, keepdims=keepdims),
    ),
    "Relu": lambda node, x: F.relu(x),
    "Reshape": _reshape,
    "Selu": lambda node, x: F.selu(x),
    "Shape": _shape,
    "Sigmoid": lambda node, x: torch.sigmoid(x),
    "Sign": _unary(torch.sign, np.sign),
    "Sin": _unary(torch.sin, np.sin),
    "Slice": _slice,
    "Softmax": _softmax_like(F.softmax),
    "Softplus": lambda node, x: F.softplus(x),
    "Split": _split,
    "Sqrt": _unary(torch.sqrt, np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(torch.sub, np.subtract),
    "Sum": _variadic(torch.add, np.add),
    "Tanh": lambda node, x: torch.tanh(x),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}


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
        reason = str(error).strip().split("\n")[0]
        raise node.refuse(f"fails: {reason or type(error).__name__}") from None
    results = result if isinstance(result, tuple) else (result,)
    return tuple(one if isinstance(one, Tensor) else np.asarray(one) for one in results)
