"""What a network has made of a record just before its last dense layer."""

import numpy as np
import torch
from torch import Tensor, nn

from networks.inference import to_input, views
from networks.models import last_layer
from networks.program import Program
from networks.redrawing import features
from records.dataset import Signals

CHUNK = 64  # records at a time


@torch.no_grad()
def features_of(model: nn.Module, signals: Signals, window: str = "windows") -> np.ndarray:
    """(n, features) input of the last dense layer for records (n, T, 12) mV, mean over time and
    over what `window` looks at.
    """
    device = next(model.parameters()).device
    read = _of_graph if isinstance(model, Program) else _of_modules
    rows = []
    for start in range(0, len(signals), CHUNK):
        pieces = views(signals[start : start + CHUNK], model.info.crop, window)
        caught = [read(model, to_input(piece, model.info.leads, device)) for piece in pieces]
        rows.append(torch.stack(caught).mean(dim=0).cpu().numpy())
    return np.concatenate(rows)


def _of_graph(model: Program, x: Tensor) -> Tensor:
    """Of a network that is stored as a graph."""
    return _over_time(features(model, x))


def _of_modules(model: nn.Module, x: Tensor) -> Tensor:
    caught = []
    handle = last_layer(model)[1].register_forward_pre_hook(
        lambda _module, inputs: caught.append(_over_time(inputs[0].detach()))
    )
    try:
        model(x)
    finally:
        handle.remove()
    return caught[0]


def _over_time(values):
    """(n, features) of a layer's input, (n, features) or (n, features, steps)."""
    return values.flatten(2).mean(dim=2) if values.ndim > 2 else values
