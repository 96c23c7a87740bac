"""Where in a record the values of a network's graph lie: time steps, whatever the axis is called.

Every number of every value gets the sample that is at the centre of what it sees, by going through
the graph once: a convolution's output lies in the middle of its kernel, a moved value where it came
from, attention's output where its query lies. Constants (a class token) lie nowhere (NaN). An axis
along which the centres change while all others share them is the time axis, be it the last of a
convolutional map or the token axis of a transformer.
"""

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from networks.probe import Probe
from networks.program import (
    INPUT,
    Node,
    Program,
    Ref,
    Stored,
    arguments,
    inputs_of,
    references,
    run_node,
)

MOVING = frozenset(
    [
        "reshape",
        "view",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "transpose",
        "permute",
        "t",
        "mT",
        "numpy_T",
        "movedim",
        "expand",
        "broadcast_to",
        "repeat",
        "tile",
        "repeat_interleave",
        "slice",
        "select",
        "narrow",
        "cat",
        "stack",
        "hstack",
        "split",
        "split_with_sizes",
        "chunk",
        "tensor_split",
        "unbind",
        "flip",
        "roll",
        "index",
        "index_select",
        "gather",
        "take_along_dim",
        "slice_scatter",
        "select_scatter",
        "unfold",
        "diagonal",
        "upsample_linear1d",
        "upsample_nearest1d",
        "_upsample_nearest_exact1d",
    ]
)
WINDOWED = frozenset(
    ["conv1d", "conv2d", "conv3d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"]
)
ADAPTIVE = frozenset(["adaptive_avg_pool1d", "adaptive_max_pool1d"])
REDUCING = frozenset(
    [
        "mean",
        "sum",
        "amax",
        "amin",
        "max",
        "min",
        "std",
        "var",
        "norm",
        "linalg_vector_norm",
        "logsumexp",
        "median",
        "argmax",
        "argmin",
    ]
)


@dataclass(frozen=True)
class Steps:
    """The time steps of a value: their axis, and the centre of each in samples (NaN: constant)."""

    axis: int
    centres: Tensor

    @property
    def count(self) -> int:
        """Steps that lie somewhere."""
        return int(self.centres.isfinite().sum())


_STEPS: weakref.WeakKeyDictionary[Program, dict] = weakref.WeakKeyDictionary()


def time_steps(program: Program, x: Tensor) -> dict[str, Steps]:
    """The values that have a time axis with at least two steps, for signals shaped like x."""
    known = _STEPS.setdefault(program, {})
    key = (tuple(x.shape[1:]), x.dtype)
    if key not in known:
        with torch.no_grad():
            known[key] = _walked(program, x)
    return known[key]


def _walked(program, x):
    probe = Probe(program, x)
    values, shapes = probe.values[0], probe.shapes
    samples = torch.arange(x.shape[2], dtype=torch.float32, device=x.device)
    centres = {INPUT: samples.expand(values[INPUT].shape)}
    found = {}
    for node in program.nodes:
        if node.name not in values:
            continue
        centres[node.name] = _centres(node, values, centres, program, values[INPUT])
        of_records = shapes.get(node.name, (0,))[0]  # records lie along the first axis
        steps = _axis_of(centres[node.name]) if of_records else None
        if steps:
            found[node.name] = steps
    return found


def _axis_of(centres):
    """The time axis of a value's centres; None where there is none."""
    if not isinstance(centres, Tensor) or centres.ndim < 3:
        return None
    own = centres[0]
    found = []
    for axis in range(own.ndim):
        lines = own.movedim(axis, 0).flatten(1)
        line = lines[:, 0]
        same = torch.isclose(lines, line[:, None], equal_nan=True, atol=1e-3)
        moving = line[line.isfinite()]
        if bool(same.all()) and len(moving) > 1 and bool((moving != moving[0]).any()):
            found.append(Steps(axis + 1, line.double().cpu()))
    return found[0] if len(found) == 1 else None


def _centres(node: Node, values, centres, program, x):
    """The centre of each number of a node's value."""
    value = values[node.name]
    read = [ref.name for ref in inputs_of(node) if isinstance(centres.get(ref.name), Tensor)]
    shape = value.shape if isinstance(value, Tensor) else None
    if node.kind == "getitem":
        reference, index = node.args
        known = centres.get(reference.name)
        return known[index] if isinstance(known, (list, tuple)) else _nowhere(value)
    if not read:
        return _nowhere(value)
    source = centres[read[0]]
    if _is_index(value):
        return _same_place([centres[name] for name in read], value)
    if node.kind in MOVING:
        return _moved(node, centres, program, values, x)
    if node.kind in WINDOWED and shape is not None:
        named = arguments(node)
        if "weight" in named:
            weight = _fixed(program, named["weight"], x)
            named["kernel_size"] = list(weight.shape[2:])
        return _windowed(node, source, shape, named)
    if node.kind in ADAPTIVE and shape is not None:
        return torch.nn.functional.adaptive_avg_pool1d(source, shape[-1])
    if node.kind in ("linear", "addmm"):
        return source.nanmean(-1, keepdim=True).expand(shape)
    if node.kind in ("matmul", "mm", "bmm", "scaled_dot_product_attention"):
        return _multiplied(node, centres, shape, x.device)
    if node.kind in REDUCING:
        return _reduced(node, source, value)
    if node.kind in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        first, *rest = value
        per_step = source.nanmean(-1, keepdim=True)
        along = per_step.expand(first.shape) if per_step.shape[:2] == first.shape[:2] else None
        return [_nowhere(first) if along is None else along, *(_nowhere(part) for part in rest)]
    if node.kind in ("constant_pad_nd", "pad", "reflection_pad1d", "replication_pad1d"):
        return _padded(node, source, shape)
    return _same_place([centres[name] for name in read], value)


def _nowhere(value):
    if isinstance(value, Tensor):
        return torch.full(value.shape, float("nan"), device=value.device)
    return None


def _moved(node, centres, program, values, x):
    """A moving operation on the centres themselves."""
    stand_in = {}
    for reference in references([node.args, node.kwargs]):
        known = centres.get(reference.name) if isinstance(reference, Ref) else None
        if isinstance(known, Tensor) and not _is_index(values[reference.name]):
            stand_in[reference.name] = known
        elif reference.name in program.dependent:
            stand_in[reference.name] = values[reference.name]
        else:
            constant = _fixed(program, reference, x)
            real = isinstance(constant, Tensor) and constant.is_floating_point()
            stand_in[reference.name] = _nowhere(constant) if real else constant
    return run_node(node, stand_in, stand_in, x)


def _is_index(value):
    """Whether a value says where (places, a mask) and not how much."""
    return isinstance(value, Tensor) and not (value.is_floating_point() or value.is_complex())


def _fixed(program, reference, x):
    """A stored tensor, or a value that is computed from some."""
    if isinstance(reference, Stored):
        return program.tensor(reference.name)
    return program.run(x, keep=[reference.name])[1][reference.name]


def _windowed(node, source, shape, named):
    """Convolutions and pools: the middle of the kernel, per axis behind the channels."""
    along = source.nanmean(1, keepdim=True)
    for axis in range(2, len(shape)):
        kernel, stride, padding, dilation = _geometry(named, axis - 2)
        reach = dilation * (kernel - 1)
        before = reach // 2 if padding == "same" else 0 if padding == "valid" else padding
        middle = reach / 2 - before
        places = middle + stride * torch.arange(shape[axis], device=source.device)
        along = _read(along, axis, places)
    return along.expand(shape)


def _geometry(named, index):
    """Kernel, stride, padding and dilation of a convolution or pool along one axis."""

    def pick(value, default):
        if isinstance(value, (str, int)):
            return value
        if not value:
            return default
        return value[index] if len(value) > index else value[-1]

    kernel = pick(named["kernel_size"], 1)
    stride = pick(named["stride"], kernel)
    return kernel, stride, pick(named["padding"], 0), pick(named.get("dilation"), 1)


def _read(values, axis, places):
    """Values along an axis at fractional places, going on in a straight line beyond the ends."""
    size = values.shape[axis]
    if size == 1:
        return values.index_select(axis, torch.zeros_like(places, dtype=torch.long))
    left = places.floor().clamp(0, size - 2).long()
    weight = (places - left).to(values.dtype).view(-1, *[1] * (values.ndim - axis - 1))
    low, high = values.index_select(axis, left), values.index_select(axis, left + 1)
    return low + weight * (high - low)


def _padded(node, source, shape):
    """Padding: the axes go on in a straight line."""
    pads = arguments(node).get("pad", arguments(node).get("padding"))
    result = source
    for back, (before, _after) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        axis = len(shape) - 1 - back
        places = torch.arange(shape[axis], device=source.device) - before
        result = _read(result, axis, places.float())
    return result


def _multiplied(node, centres, shape, device):
    """A matrix product: where the rows of the first factor lie, else the columns of the second."""
    named = list(arguments(node).values())
    for reference, axis in zip(named[:2], (-1, -2), strict=True):
        known = centres.get(reference.name) if isinstance(reference, Ref) else None
        if isinstance(known, Tensor) and known.ndim == len(shape):
            return known.nanmean(axis, keepdim=True).expand(shape)
    return torch.full(shape, float("nan"), device=device)


def _reduced(node, source, value):
    """A reduction over axes: the mean of what went in."""
    several = isinstance(value, (list, tuple))
    shape = (value[0] if several else value).shape
    named = arguments(node)
    dims = named.get("dim")
    if dims is None or dims == []:
        result = source.nanmean().expand(shape)
    else:
        keep = len(shape) == source.ndim
        result = source.nanmean(dims, keepdim=keep)
    return [result, result] if several else result


def _same_place(sources, value):
    """An operation number by number: the mean of where its terms lie."""
    if not isinstance(value, Tensor):
        return None
    fitting = []
    for source in sources:
        try:
            fitting.append(source.expand(value.shape))
        except RuntimeError:
            continue
    if not fitting:
        return _nowhere(value)
    longest = [source for source in fitting if _axis_of(source)] or fitting
    return torch.stack(longest).nanmean(0)


def cuts(program: Program) -> list[str]:
    """The values that all of the output passes through, in the order of computation."""
    moving = [node for node in program.nodes if node.name in program.dependent & program.needed]
    last_use = {ref.name: len(moving) for ref in references(program.output)}
    for position, node in enumerate(moving):
        for reference in inputs_of(node):
            if last_use.get(reference.name, -1) < position:
                last_use[reference.name] = position
    found, latest = [], last_use.get(INPUT, -1)
    for position, node in enumerate(moving):
        if latest <= position:
            found.append(node.name)
        latest = max(latest, last_use.get(node.name, -1))
    return found


def value_of(program: Program, layer: str) -> str | None:
    """Name of the value that a layer puts out: a module's output or an operation; None if unknown.

    `relu#2` is the second call of the module `relu`.
    """
    if layer in program.calls:
        return program.calls[layer].name
    known = any(node.name == layer for node in program.nodes)
    return layer if known else None


def layer_of(program: Program, value: str) -> str:
    """The name of a value as a layer: the outermost module that puts it out, else the
    operation.
    """
    places = [place for place, ref in program.calls.items() if ref.name == value]
    return min(places, key=lambda place: place.count(".")) if places else value
