"""ONNX operations with weights or windows, in PyTorch's operations."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from networks.onnx_values import (
    as_tensor,
    axis_of,
    both_tensors,
    first_tensor,
    is_static,
    word,
)
from networks.recurrent import lstm


def _spatial_pads(node, x, kernel, stride, dilation):
    """(before, after) per spatial axis."""
    n_axes = len(kernel)
    automatic = word(node.get("auto_pad", "NOTSET"))
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
    sides = list(itertools.chain.from_iterable(reversed(pads)))
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
    x, weight = both_tensors(x, weight)
    bias = None if bias is None else as_tensor(bias, x)
    stride, dilation, pads = _window(node, x, list(weight.shape[2:]))
    x, pads = _padded(x, pads, 0.0)
    function = _by_axes(node, x, {1: F.conv1d, 2: F.conv2d, 3: F.conv3d})
    return function(x, weight, bias, stride, pads, dilation, node.get("group", 1))


def _conv_transpose(node, x, weight, bias=None):
    weight, bias = as_tensor(weight, x), None if bias is None else as_tensor(bias, x)
    if word(node.get("auto_pad", "NOTSET")) != "NOTSET" or node.get("output_shape"):
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
        raise node.refuse("is in training mode: export the network after network.eval()")
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
    shape = list(x.shape[axis_of(node, x, -1) :])
    return F.layer_norm(x, shape, weight, bias, node.get("epsilon", 1e-5))


def _rounds_up(node, pads):
    """Whether a pool's last window may reach beyond the end; UserError with uneven padding, where
    PyTorch would let it begin there.
    """
    up = bool(node.get("ceil_mode", 0)) and word(node.get("auto_pad", "NOTSET")) in ("NOTSET", "")
    if up and any(before != after for before, after in pads):
        raise node.refuse("with ceil_mode and uneven padding is not known")
    return up


def _max_pool(node, x):
    kernel = list(node.get("kernel_shape"))
    stride, dilation, pads = _window(node, x, kernel)
    up = _rounds_up(node, pads)
    x, pads = _padded(x, pads, float("-inf"))
    function = _by_axes(node, x, {1: F.max_pool1d, 2: F.max_pool2d})
    return function(x, kernel, stride, pads, dilation, up)


def _avg_pool(node, x):
    kernel = list(node.get("kernel_shape"))
    stride, dilation, pads = _window(node, x, kernel)
    counted = bool(node.get("count_include_pad", 0))
    if any(step != 1 for step in dilation):
        raise node.refuse("with dilation is not known")
    if any(before != after for before, after in pads) and not counted:
        raise node.refuse("with uneven padding that is not counted is not known")
    up = _rounds_up(node, pads)
    x, pads = _padded(x, pads, 0.0)
    function = _by_axes(node, x, {1: F.avg_pool1d, 2: F.avg_pool2d})
    return function(x, kernel, stride, pads, up, counted)


def _global(functions: dict) -> Callable:
    def run(node, x):
        return _by_axes(node, x, functions)(x, 1)

    return run


def _gemm(node, a, b, c=None):
    a, b = both_tensors(a, b)
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


def _matmul(node, a, b):
    if is_static(a) and is_static(b):
        return np.matmul(a, b)
    a, b = both_tensors(a, b)
    if isinstance(b, torch.nn.Parameter) and b.ndim == 2:  # a dense layer, per time step or not
        return F.linear(a, b.t())
    return torch.matmul(a, b)


def _einsum(node, *values):
    like = first_tensor(values)
    equation = word(node.get("equation"))
    return torch.einsum(equation, *[as_tensor(value, like) for value in values])


def _recurrent(kind: str) -> Callable:
    """LSTM, GRU and RNN of one layer, time first as in ONNX; gates put into PyTorch's order."""

    def run(node, x, weights, recurrent, bias=None, lengths=None, *states):
        _check_recurrent(node, kind, lengths, states)
        weights, recurrent = as_tensor(weights, x), as_tensor(recurrent, x)
        sides = 2 if word(node.get("direction", "forward")) == "bidirectional" else 1
        size = node.get("hidden_size")
        parts = []
        for index in range(sides):
            found = [weights[index], recurrent[index]]
            if bias is not None:
                values = as_tensor(bias, x)[index]
                found += [values[: len(values) // 2], values[len(values) // 2 :]]
            parts += [_gates(value, ORDERS[kind], size) for value in found]
        n_states = 2 if kind == "lstm" else 1
        zeros = x.new_zeros(sides, x.shape[1], size)
        given = [_state(state, zeros) for state in [*states, None, None][:n_states]]
        settings = (parts, bias is not None, 1, 0.0, False, sides == 2, False)
        if kind == "rnn":
            function = {"Tanh": torch.rnn_tanh, "Relu": torch.rnn_relu}[_activations(node)[0]]
        else:
            function = {"lstm": lstm, "gru": torch.gru}[kind]
        output, *last = function(x, given if kind == "lstm" else given[0], *settings)
        steps, records, _ = output.shape
        return (output.reshape(steps, records, sides, size).transpose(1, 2), *last)

    return run


# gates of ONNX in PyTorch's order. ONNX: i o f c; z r h. PyTorch: i f g o; r z n
ORDERS = {"lstm": (0, 2, 3, 1), "gru": (1, 0, 2), "rnn": (0,)}


def _activations(node):
    """What a plain recurrent layer's states go through, per direction."""
    return [word(one) for one in node.get("activations", ["Tanh"])]


def _check_recurrent(node, kind, lengths, states):
    """UserError for a variant that PyTorch has not."""
    if lengths is not None or any(state is not None for state in states[2:]):
        raise node.refuse("with lengths or peepholes is not known")
    own = (node.get("activations") and kind != "rnn") or node.get("input_forget", 0)
    odd = kind == "rnn" and _activations(node)[0] not in ("Tanh", "Relu")
    if own or odd or len(set(_activations(node))) > 1 or node.get("clip") or node.get("layout", 0):
        raise node.refuse("with activations of its own is not known")
    if kind == "gru" and not node.get("linear_before_reset", 0):
        raise node.refuse("with linear_before_reset=0 is not known")
    if word(node.get("direction", "forward")) == "reverse":
        raise node.refuse("in reverse is not known")


def _state(state, zeros):
    """The state that a recurrent layer begins with, of as many records as there are."""
    if state is None or (is_static(state) and not np.any(state)):
        return zeros
    return as_tensor(state, zeros).expand_as(zeros)


def _gates(value, order, size):
    return torch.cat([value[gate * size : (gate + 1) * size] for gate in order])


# operation -> function (node, *values) -> value or tuple of values
LAYERS: dict[str, Callable[..., object]] = {
    "AveragePool": _avg_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "GRU": _recurrent("gru"),
    "Gemm": _gemm,
    "GlobalAveragePool": _global({1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d}),
    "GlobalMaxPool": _global({1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d}),
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LSTM": _recurrent("lstm"),
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "RNN": _recurrent("rnn"),
}
