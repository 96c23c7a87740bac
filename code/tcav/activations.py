"""Activations and class gradients of all layers at once.

One forward per record fills every layer; one backward per class present in a batch gives the
gradients at every layer. Layers are values of the network's graph (networks/capture.py). Shapes: a
layer's output (N, C, T), (N, T, C) or (N, C) becomes (N, D): its mean over time (`pool="time"`,
D = C) or all of its values (`pool="none"`, D = C * T, as captum and the paper do). The gradient is
taken with respect to exactly that vector: under `pool="time"` a change of channel c moves all time
points alike, so the gradient is summed over time.
"""

import contextlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.files import UserError
from networks.capture import capture
from networks.inference import to_input, views
from networks.models import Bottleneck, last_layer
from networks.outputs import class_logits
from networks.probe import Probe
from networks.program import Program
from networks.steps import MOVING, time_steps, value_of

POOLS = ("time", "none")
PASS_THROUGH = (nn.Flatten, nn.Dropout)  # same values as the layer before


def layer_names(model: nn.Module) -> list[str]:
    """Layers that concepts are looked for in, input side first.

    A network of residual blocks (ours) has one tap per block, plus stem, pool and head; others what
    every call of a module puts out (`relu#2`: the second call of `relu`), or every operation where
    the graph knows of no modules. What only moves values is left out, and what no gradient of a
    logit comes to (before a choice of the largest, say). Raises UserError where no layer is left.
    """
    blocks = [name for name, module in model.named_modules() if isinstance(module, Bottleneck)]
    if blocks:
        return ["stem", *blocks, "pool", last_layer(model)[0]]
    if hasattr(model, "info"):
        blank = _blank(model)
        program = capture(model, blank)
        shapes = Probe(program, blank).shapes
        found = _layers_of(program, [name for name, shape in shapes.items() if shape[0] == 1])
        if not found:
            raise UserError(
                "no layer of the network has a row per record: leads or stretches stand in their "
                "place"
            )
        return _with_gradient(model, found)
    if isinstance(model, Program):
        return _layers_of(model, model.dependent)
    return [
        name
        for name, module in model.named_modules()
        if name and not list(module.children()) and not isinstance(module, PASS_THROUGH)
    ]


def _with_gradient(model, layers):
    """Those of the layers that the logits' gradient comes to; UserError where there is none."""
    x = _blank(model).requires_grad_(True)
    with _frozen(model), torch.enable_grad():
        logits, values = Taps(model, layers, x).run(x)
        moved = {name: value for name, value in values.items() if value.requires_grad}
        gradients = [None] * len(moved)
        if moved and logits.requires_grad:
            gradients = torch.autograd.grad(logits.sum(), list(moved.values()), allow_unused=True)
    found = [name for name, gradient in zip(moved, gradients, strict=True) if gradient is not None]
    if not found:
        raise UserError(
            "no gradient of the network's logits comes to any of its layers: it changes in steps "
            "alone"
        )
    return found


@contextlib.contextmanager
def _frozen(model):
    """Without gradients for the weights while the context lasts."""
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def own_names(model: nn.Module, asked: Sequence[str]) -> list[str]:
    """Layers as layer_names() calls them: `encoder` is the last one in it. Unknown names stay."""
    program = capture(model, _blank(model))
    known = {value_of(program, name): name for name in layer_names(model)}
    known.pop(None, None)
    return list(dict.fromkeys(known.get(value_of(program, name), name) for name in asked))


def _layers_of(program, accepted):
    """One name per accepted value that something computed: its innermost module, else the
    operation.
    """
    places: dict[str, str] = {}
    for place, reference in program.calls.items():
        known = places.get(reference.name)
        if known is None or place.count(".") > known.count("."):
            places[reference.name] = place
    computed = [
        node.name
        for node in program.nodes
        if node.name in program.needed.intersection(accepted) and node.kind not in MOVING
    ]
    if places:
        return [places[name] for name in computed if name in places]
    return computed


def _blank(model):
    """One silent record as the model takes it."""
    weight = next(model.parameters())
    return weight.new_zeros(1, len(model.info.leads), model.info.crop)


class Taps:
    """The values of layers (calls of modules, operations) of a network for signals (N, leads, T),
    as they were before anything changed them in place.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], x: Tensor):
        self.program = capture(model, x)
        self.values = {name: value_of(self.program, name) for name in layers}
        unknown = [name for name, value in self.values.items() if value is None]
        if unknown:
            known = ", ".join(layer_names(model))
            raise UserError(f"unknown layer {unknown[0]!r}: there are {known}")
        self.steps = time_steps(self.program, x[:1])

    def run(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (N, classes) and the layers' values."""
        output, kept = self.program.run(x, keep=self.values.values())
        return class_logits(output, len(x)), {
            name: kept[value] for name, value in self.values.items()
        }

    def vectors(
        self, name: str, values: Tensor, n_windows: int, pool: str, over_time: str
    ) -> Tensor:
        """A layer's (N * W, ...) as (N, D): mean or sum over time, or all values; mean over the
        windows.
        """
        if values.ndim > 2:
            steps = self.steps.get(self.values[name])
            values = values.movedim(steps.axis if steps else -1, -1)
            over = getattr(values, over_time)(dim=-1) if pool == "time" else values
            values = over.flatten(1)
        return values.unflatten(0, (-1, n_windows)).mean(dim=1)


def _pieces(signals, model, protocol):
    """(N, T, 12) mV -> the windows of all records as one batch (N * W, leads, crop), and W."""
    device = next(model.parameters()).device
    batch = to_input(signals, model.info.leads, device).transpose(1, 2)  # (N, T, leads)
    pieces = torch.stack(views(batch, model.info.crop, protocol), dim=1)  # (N, W, crop, leads)
    return pieces.flatten(0, 1).transpose(1, 2), pieces.shape[1]


def layer_sizes(model: nn.Module, layers: Sequence[str], pool: str) -> dict[str, int]:
    """D of each layer for the model's crop length."""
    blank = _blank(model)
    taps = Taps(model, layers, blank)
    with torch.no_grad():
        _, seen = taps.run(blank)
    return {name: taps.vectors(name, seen[name], 1, pool, "mean").shape[1] for name in layers}


def layer_groups(sizes: dict[str, int], n_rows: int, max_bytes: float) -> list[list[str]]:
    """Layers in groups whose float32 vectors of `n_rows` records fit into `max_bytes`; one pass
    over the records each.

    Raises UserError, before anything is computed, where a single layer does not fit.
    """
    groups, used = [[]], 0
    for name, size in sizes.items():
        needed = 4.0 * size * n_rows
        if needed > max_bytes:
            raise UserError(
                f"layer {name} alone needs {needed / 1e9:.2g} GB for {n_rows} records: "
                f"raise --max_memory (now {max_bytes / 1e9:.2g} GB), or make CAVs with --pool time"
            )
        if used + needed > max_bytes:
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += needed
    return groups


@torch.no_grad()
def collect(
    model: nn.Module,
    signals: np.ndarray,
    layers: Sequence[str],
    protocol: str = "windows",
    pool: str = "time",
    batch_size: int = 64,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Activations of records (N, T, 12) mV: layer -> (N, D) float32; one forward per record (and
    window).
    """
    sizes = layer_sizes(model, layers, pool)
    out = {name: np.empty((len(signals), size), dtype=np.float32) for name, size in sizes.items()}
    taps = Taps(model, layers, _blank(model))
    for start in tqdm(
        range(0, len(signals), batch_size), desc="activations", disable=not progress, leave=False
    ):
        pieces, n_windows = _pieces(signals[start : start + batch_size], model, protocol)
        _, seen = taps.run(pieces)
        for name in layers:
            vectors = taps.vectors(name, seen[name], n_windows, pool, "mean")
            out[name][start : start + batch_size] = vectors.cpu().numpy()
    return out


def class_gradients(
    model: nn.Module,
    signals: np.ndarray,
    members: np.ndarray,
    layers: Sequence[str],
    protocol: str = "windows",
    pool: str = "time",
    batch_size: int = 64,
    progress: bool = False,
) -> list[dict[str, np.ndarray]]:
    """Gradients of each class's logit at all layers, for the records of that class.

    signals  # (N, T, 12) mV
    members  # (N, classes) bool: which records count for which output
    Returns one dict per class, layer -> (number of its records, D) float32, rows in the order of
    `signals`. One forward per record; per batch one backward for each class that occurs in it
    (records are sorted by class, so that batches hold few classes).
    """
    sizes = layer_sizes(model, layers, pool)
    positions = [np.flatnonzero(column) for column in members.T]
    out = []
    for rows in positions:
        shapes = {name: (len(rows), sizes[name]) for name in layers}
        out.append({name: np.empty(shape, np.float32) for name, shape in shapes.items()})
    needed = np.flatnonzero(members.any(axis=1))
    needed = needed[np.argsort(members[needed].argmax(axis=1), kind="stable")]
    with _frozen(model):
        taps = Taps(model, layers, _blank(model))
        for start in tqdm(
            range(0, len(needed), batch_size), desc="gradients", disable=not progress, leave=False
        ):
            rows = needed[start : start + batch_size]
            pieces, n_windows = _pieces(signals[rows], model, protocol)
            _batch_gradients(taps, pieces, n_windows, rows, members, positions, pool, out)
    return out


def _batch_gradients(taps, pieces, n_windows, rows, members, positions, pool, out):
    windows, seen = taps.run(pieces.requires_grad_(True))
    logits = windows.unflatten(0, (-1, n_windows)).mean(dim=1)  # (N, classes)
    for label in np.flatnonzero(members[rows].any(axis=0)):
        mine = np.flatnonzero(members[rows, label])
        gradients = torch.autograd.grad(
            logits[torch.from_numpy(mine), int(label)].sum(), list(seen.values()), retain_graph=True
        )
        target = np.searchsorted(positions[label], rows[mine])
        for name, gradient in zip(seen, gradients, strict=True):
            # the mean logit holds 1 / W of each window; a common shift of all windows adds them up
            # again
            vectors = taps.vectors(name, gradient, n_windows, pool, "sum") * n_windows
            out[label][name][target] = vectors[torch.from_numpy(mine)].cpu().numpy()
