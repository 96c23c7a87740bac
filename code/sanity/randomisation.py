"""Model randomisation: an explanation of the model must change when the model's weights are drawn
anew.

Weights are re-initialised from the output downwards, cascading (all layers so far) and
independently (one layer at a time), each time in a copy; the BatchNorm statistics of a re-drawn
part are estimated again on the records, so that signals neither die nor explode. Value: rank
correlation of the maps before and after, of their sizes and with their signs; a method that scores
high shows the input, not the model. Smoothed variant: both maps are means over noisy copies of the
input, so that the noise of gradients does not pass for sensitivity. Chance: the same correlation
between pure noise maps.

Sources: Adebayo et al. 2018 (arXiv 1810.03292); smoothed: Hedström et al. 2024 (arXiv 2401.06465).
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from networks.inference import input_of
from networks.program import Program
from networks.redrawing import measure_norms, parts_of, redrawn
from sanity.agreement import flat, rank_correlation
from sanity.subject import Explain, Measured, Subject

N_NOISY = 6  # noisy copies of the smoothed variant
NOISE = 0.1  # their noise, in standard deviations of the record


def layers_top_down(model: nn.Module) -> list[str]:
    """Names of the top-level parts that have weights, output first."""
    if isinstance(model, Program):
        return list(parts_of(model))[::-1]
    names = [name for name, part in model.named_children() if list(part.parameters())]
    return names[::-1]


def randomised(model: nn.Module, names: list[str], x: torch.Tensor, seed: int) -> nn.Module:
    """A copy of `model` with the named parts drawn anew; their BatchNorm statistics are those of
    `x` (N, leads, T).
    """
    if isinstance(model, Program):
        return redrawn(model, names, x, seed)
    network = copy.deepcopy(model)
    norms = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in names:
            for module in network.get_submodule(name).modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
                if isinstance(module, nn.BatchNorm1d):
                    norms.append(module)
    # one record has no variance behind the global pool: mean 0 and variance 1 stay
    measure_norms(network, norms, [x] if norms and len(x) > 1 else [])
    return network


def stages(model: nn.Module) -> Iterator[tuple[str, str, list[str]]]:
    """(kind, last layer drawn anew, all layers drawn anew) of both series, output first."""
    names = layers_top_down(model)
    for depth, name in enumerate(names, start=1):
        yield "cascading", name, names[:depth]
        yield "independent", name, [name]


def smoothed(
    explain: Explain, model: nn.Module, signals: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """Mean map (n, T, 12) over N_NOISY noisy copies of the signals; the same noise for
    every model.
    """
    rng = np.random.default_rng(0)
    spread = NOISE * signals.std(axis=(1, 2), keepdims=True)
    noise = rng.normal(size=(N_NOISY, *signals.shape))
    copies = (signals + spread * noise).astype(np.float32).reshape(-1, *signals.shape[1:])
    maps = explain(model, copies, np.tile(target, N_NOISY))  # few records cost as much as many
    return maps.reshape(noise.shape).mean(axis=0, dtype=float)


def similarities(before: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """Rank correlation per record of the sizes and of the signed values of two stacks of maps."""
    return {
        "absolute": rank_correlation(flat(np.abs(before)), flat(np.abs(after))),
        "signed": rank_correlation(flat(before), flat(after)),
    }


def noise_chance(shape: tuple[int, ...]) -> dict[str, float]:
    """The similarities of pure noise maps of this shape."""
    rng = np.random.default_rng(0)
    return {
        reading: float(values.mean())
        for reading, values in similarities(*rng.normal(size=(2, *shape))).items()
    }


def cascade_maps(model: nn.Module) -> int:
    """Maps per record that the check computes."""
    return (2 + N_NOISY) * len(layers_top_down(model)) + N_NOISY


def measure_randomisation(
    subject: Subject,
    maps: np.ndarray,
    explain: Explain,
    _reference: dict[str, np.ndarray] | None = None,
) -> list[Measured]:
    """Similarity at each stage; `randomisation_cascading_full_*` with everything drawn anew,
    `..._mean_*` over the cascade.
    """
    chance = noise_chance(subject.of_read(maps).shape)
    x = input_of(subject.model, subject.signals)
    smooth_before = smoothed(explain, subject.model, subject.signals, subject.target)
    found: dict[str, np.ndarray] = {}
    series: dict[str, list] = {}
    for kind, layer, names in stages(subject.model):
        network = randomised(subject.model, names, x, seed=len(names))
        pairs = {"": (maps, explain(network, subject.signals, subject.target))}
        if kind == "cascading":
            pairs["smoothed_"] = (
                smooth_before,
                smoothed(explain, network, subject.signals, subject.target),
            )
        for prefix, (before, after) in pairs.items():
            for reading, values in similarities(*map(subject.of_read, (before, after))).items():
                found[f"{prefix}{kind}_{layer}_{reading}"] = values
                series.setdefault(f"{prefix}{kind}|{reading}", []).append(values)
    for name, values in series.items():
        kind, reading = name.split("|")
        found[f"{kind}_mean_{reading}"] = np.mean(values, axis=0)
        if kind.endswith("cascading"):
            found[f"{kind}_full_{reading}"] = values[-1]
    return [
        subject.measured(
            f"randomisation_{name}",
            values,
            chance[name.rsplit("_", 1)[1]],
            best=0.0,
            detail=name.rsplit("_", 2)[1] not in ("mean", "full"),
        )
        for name, values in found.items()
    ]
