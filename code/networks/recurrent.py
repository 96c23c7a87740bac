"""Recurrent layers of files and graphs, whose sizes nobody has checked.

`nn.LSTM` looks at the sizes of what it is given; the operation behind it does not. On CPUs it reads
and writes beyond tensors that are too small, so that a file exported for one record, or one that
was made to do harm, ends the process.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

GATES = 4


def states_for(states: Sequence[Tensor], records: int) -> list[Tensor]:
    """States (layers, 1, width) that a file holds for one record, for as many as there are."""
    return [
        one.expand(-1, records, -1).contiguous() if one.ndim == 3 and one.shape[1] == 1 else one
        for one in states
    ]


def lstm(
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """torch.lstm; ValueError where sizes or formats do not fit together.

    x  # (records, steps, inputs), or steps first;  states  hidden and cell, each (layers and
    directions, records, width);  weights  of each layer and direction, as torch.lstm takes them
    """
    if not isinstance(states, (list, tuple)) or len(states) != 2 or x.ndim != 3:
        raise ValueError("an LSTM of packed or single sequences is not known")
    sides = 2 if bidirectional else 1
    width, cells = (one.shape[-1] for one in states)
    records = x.shape[0 if batch_first else 1]
    expected, inputs = [], x.shape[2]
    for _ in range(layers):
        one = [(GATES * cells, inputs), (GATES * cells, width)]
        one += [(GATES * cells,)] * 2 if biases else []
        one += [(width, cells)] if width != cells else []  # projected
        expected += one * sides
        inputs = sides * width
    expected += [(layers * sides, records, width), (layers * sides, records, cells)]
    given = [*weights, *states]
    if [tuple(one.shape) for one in given] != expected or {one.dtype for one in given} != {x.dtype}:
        raise ValueError("the sizes or number formats of an LSTM's weights and states do not fit")
    settings = (biases, layers, dropout, train, bidirectional, batch_first)
    return torch.ops.aten.lstm.input(x, list(states), list(weights), *settings)
