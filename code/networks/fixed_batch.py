"""Shapes of files that were exported for a fixed number of records, for any number.

An exporter often writes plain numbers where a network reshapes: (tokens, records, width) to
(tokens, heads, width / heads) for one record. Which of these numbers the records are in follows
from where they lie in memory: as many blocks stand before them in both shapes, or records would be
mixed with something else. An axis may hold other things around the records (tokens x records as one
axis): how many blocks of records it has is handed from value to value.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def resized(
    sizes: Sequence[int], then: Sequence[int], now: Sequence[int], blocks: int = 1
) -> tuple[list[int], int]:
    """The shape that a tensor of shape `now` is to take, where one of shape `then` took `sizes`
    (0 not allowed, -1 for what is left), and how many blocks of records its record axis has.

    blocks  of records in the tensor's own record axis. `sizes` where that cannot be said.
    """
    axes = [at for at, (one, other) in enumerate(zip(then, now, strict=False)) if one != other]
    if len(then) != len(now) or len(axes) != 1 or math.prod(then) == 0:
        return list(sizes), 1
    (axis,) = axes
    full = _without_blank(sizes, math.prod(then))
    before = math.prod(then[:axis]) * blocks  # blocks of records in memory
    for at in _places(full, before):
        grown, rest = divmod(full[at] * now[axis], then[axis])
        scaled = [*full[:at], grown, *full[at + 1 :]]
        if not rest and math.prod(scaled) == math.prod(now):
            return scaled, before // math.prod(full[:at])
    return list(sizes), 1


def _places(full, before):
    """Axes that may hold the records, the likeliest first: they begin where the records do, or
    hold whole blocks of them; a last axis is the width that a layer's weights ask for.
    """
    found = []
    for at, size in enumerate(full):
        blocks, rest = divmod(before, math.prod(full[:at]))
        if not rest and blocks and size % blocks == 0:
            last = at == len(full) - 1 and at > 0
            found.append((last, blocks, at))
    return [at for _, _, at in sorted(found)]


def _without_blank(sizes, count):
    """Sizes with the number that -1 stands for."""
    known = math.prod(size for size in sizes if size != -1)
    return [count // known if size == -1 and known else size for size in sizes]


def expanded(sizes: Sequence[int], then: Sequence[int], now: Sequence[int]) -> list[int]:
    """The shape that a tensor of shape `now` is to be expanded to, where one of shape `then` was
    expanded to `sizes`: its own axes as they are now.
    """
    lead = len(sizes) - len(now)
    grown = list(sizes)
    for at, (one, other) in enumerate(zip(then, now, strict=True)):
        if one != other and sizes[lead + at] == one:
            grown[lead + at] = other
    return grown


def joined(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors beside each other; what was made for one record (a class token, features that are
    zero) for as many as the others have.
    """
    if axis not in (0, -tensors[0].ndim):
        records = max(len(tensor) for tensor in tensors)
        tensors = [
            tensor.expand(records, *tensor.shape[1:]) if len(tensor) == 1 < records else tensor
            for tensor in tensors
        ]
    return torch.cat(list(tensors), axis)
