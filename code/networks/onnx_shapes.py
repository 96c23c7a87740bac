"""ONNX operations that move, cut and repeat values, in PyTorch's operations; on shapes in numpy."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from networks.fixed_batch import joined
from networks.onnx_values import (
    as_ints,
    as_tensor,
    axes_of,
    axis_of,
    first_tensor,
    is_static,
    word,
)

MAX_NUMBERS = 10_000_000  # in an array that the file only names the shape of


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


def _range(node, start, stop, step):
    first, last, by = (np.asarray(value).reshape(-1)[0] for value in (start, stop, step))
    _check_size(node, [max(0, int(np.ceil((last - first) / by))) if by else MAX_NUMBERS + 1])
    return np.arange(first, last, by)


def _reshape(node, x, shape):
    sizes = as_ints(shape, node)
    if not node.get("allowzero", 0):
        sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(node, x):
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1:
        return x.flatten(1) if x.ndim > 1 else x.unsqueeze(1)
    first = int(np.prod(x.shape[:axis]))
    return x.reshape(first, -1)


def _squeeze(node, x, extra=None):
    axes = axes_of(node, extra)
    if is_static(x):
        return np.squeeze(x, None if axes is None else tuple(axes))
    if axes is None:
        axes = [at for at in range(1, x.ndim) if x.shape[at] == 1]
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.squeeze(axis)
    return x


def _unsqueeze(node, x, extra=None):
    axes = axes_of(node, extra)
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
    like = first_tensor(values)
    return joined([as_tensor(value, like) for value in values], node.get("axis"))


def _split(node, x, extra=None):
    axis = axis_of(node, x)
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
    axis = axis_of(node, x)
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


# modes of padding -> PyTorch's
PAD_MODES = {
    "constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular",
}  # fmt: skip


def _pad(node, x, pads=None, value=None, axes=None):
    sides = list(node.get("pads")) if pads is None else as_ints(pads, node)
    places = list(range(x.ndim)) if axes is None else [at % x.ndim for at in as_ints(axes, node)]
    before, after = [0] * x.ndim, [0] * x.ndim
    for position, axis in enumerate(places):
        before[axis], after[axis] = sides[position], sides[position + len(places)]
    mode = PAD_MODES.get(word(node.get("mode", "constant")))
    if mode is None:
        raise node.refuse("in this mode is not known")
    used = [axis for axis in range(x.ndim) if before[axis] or after[axis]]
    if not used:
        return x
    first = used[0] if mode == "constant" else max(2, x.ndim - 2 if used[0] < x.ndim - 1 else 2)
    flat = []
    for axis in reversed(range(first, x.ndim)):
        flat += [before[axis], after[axis]]
    if mode == "constant":
        number = node.get("value", 0.0) if value is None else np.asarray(value).reshape(-1)[0]
        return F.pad(x, flat, value=float(number))
    if used[0] < first:
        raise node.refuse("of records or channels by their own values is not known")
    return F.pad(x, flat, mode=mode)


def _gather_nd(node, x, indices):
    """Values at places that are known without any signal: a place per row of the last axis."""
    if node.get("batch_dims", 0):
        raise node.refuse("within records is not known")
    places = _places(node, x, indices)
    return x[tuple(places)] if is_static(x) else torch.ops.aten.index.Tensor(x, places)


def _places(node, x, indices):
    """One tensor (or array) of places for each of the first axes, none below zero."""
    if not is_static(indices):
        raise node.refuse("takes places that depend on the signals")
    columns = np.moveaxis(np.asarray(indices).astype(np.int64), -1, 0)
    columns = [np.where(one < 0, one + x.shape[at], one) for at, one in enumerate(columns)]
    if is_static(x):
        return columns
    return [torch.from_numpy(np.ascontiguousarray(one)).to(x.device) for one in columns]


def _scatter_nd(node, x, indices, updates):
    """x with other values at places that are known without any signal, the same in each record."""
    if word(node.get("reduction", "none")) != "none":
        raise node.refuse("that adds up is not known")
    if not is_static(indices):
        raise node.refuse("takes places that depend on the signals")
    at = tuple(np.moveaxis(np.asarray(indices).astype(np.int64), -1, 0))
    if is_static(x) and is_static(updates):
        whole = np.array(x)
        whole[at] = updates
        return whole
    like = first_tensor((x, updates))
    mask = np.zeros(tuple(x.shape), bool)
    mask[at] = True
    if not np.array_equal(mask, np.broadcast_to(mask[:1], mask.shape)):
        if len(at) == 1 and at[0].ndim == 1:
            return _rows_replaced(at[0], as_tensor(x, like), as_tensor(updates, like))
        raise node.refuse("writes other places in other records")
    chosen = _scattered(node, mask, at, updates, like)
    return torch.where(torch.from_numpy(mask[:1]).to(like.device), chosen, as_tensor(x, like))


def _rows_replaced(rows, x, updates):
    """x, whose first axis is not the records, with some of its rows replaced."""
    order, mask = np.zeros(len(x), np.int64), np.zeros(len(x), bool)
    order[rows], mask[rows] = np.arange(len(rows)), True
    chosen = updates.index_select(0, torch.from_numpy(order).to(x.device))
    where = torch.from_numpy(mask).to(x.device).reshape(-1, *[1] * (x.ndim - 1))
    return torch.where(where, chosen, x)


def _scattered(node, mask, at, updates, like):
    """The values to be written, as large as what they are written into."""
    records = len(mask)
    source = np.zeros(mask.shape, dtype=np.int64)  # where in the flat updates each comes from
    source[at] = np.arange(math.prod(updates.shape)).reshape(tuple(updates.shape))
    if is_static(updates):
        values = np.where(mask, np.asarray(updates).reshape(-1)[source], 0)
        if not np.array_equal(values, np.broadcast_to(values[:1], values.shape)):
            raise node.refuse("writes other numbers into other records")
        return as_tensor(values[:1], like)
    per_record = math.prod(updates.shape) // records
    first = np.arange(records).reshape(-1, *[1] * (mask.ndim - 1)) * per_record
    rows = np.where(mask, source - first, 0)
    alike = np.array_equal(rows, np.broadcast_to(rows[:1], rows.shape))
    if len(updates) != records or not alike or rows.min() < 0 or rows.max() >= per_record:
        raise node.refuse("takes values of one record into another")
    picked = torch.from_numpy(np.ascontiguousarray(rows[0]).reshape(-1)).to(like.device)
    return updates.flatten(1).index_select(1, picked).unflatten(1, mask.shape[1:])


def _check_size(node, sizes):
    if any(size < 0 for size in sizes) or np.prod([float(size) for size in sizes]) > MAX_NUMBERS:
        raise node.refuse(f"makes an array of {sizes}: too large")


def _identity(node, x, *_):
    return x


# operation -> function (node, *values) -> value or tuple of values
SHAPES: dict[str, Callable[..., object]] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Dropout": _identity,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Identity": _identity,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "ScatterND": _scatter_nd,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
