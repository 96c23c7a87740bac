"""Taking parts of an ECG away: by a physiological fill that keeps Einthoven's law, or by zeros.

The six limb leads are projections of one vector in the frontal plane, so a change of one of them
changes the others. The fill makes the least change of that vector that brings the chosen leads to
their isoelectric line: one lead gone leaves what is perpendicular to it, two or more gone leave
nothing. Chest leads are independent. A weight between 0 and 1 fades between the record and the
line, so that edges stay smooth; I + III = II (and aVR, aVL, aVF) hold in every sample as far as
they did before.

Signals are (n, T, 12) mV in the order of labels.LEADS; weights (n, T, 12) in [0, 1]: how much of a
sample is taken away.
"""

import numpy as np
import torch
from torch import Tensor

SILENT = ("pq", "tp")  # segments that lie on the isoelectric line
STIFFNESS = 1e6  # of a weight of 1: leaves a millionth of the deflection

# Einthoven's triangle: unit directions of I, II, III, aVR, aVL, aVF in the frontal plane, and the
# leads' lengths
ANGLES = np.deg2rad([0, 60, 120, -150, -30, 90])
DIRECTIONS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
UNIT = torch.tensor(DIRECTIONS, dtype=torch.float32)  # (6, 2)
LENGTH = torch.tensor([1, 1, 1, 3**0.5 / 2, 3**0.5 / 2, 3**0.5 / 2], dtype=torch.float32)[:, None]
FRONTAL = UNIT * LENGTH  # (6, 2): limb leads = vector @ FRONTAL.T


def isoelectric_line(
    signals: np.ndarray, segments: np.ndarray, names: tuple[str, ...]
) -> np.ndarray:
    """Level between the waves per record and lead, (n, 12) mV: mean over the samples that are
    silent in most leads.

    A mean over the same samples in all leads keeps Einthoven's law; a record without a silent
    sample gives its mean. `segments` is (n, T, 12, classes), `names` the classes.
    """
    of_silence = segments[..., [names.index(name) for name in SILENT]].sum(axis=-1)  # (n, T, 12)
    weight = (of_silence.mean(axis=-1) > 0.5).astype(np.float64)
    weight[weight.sum(axis=1) == 0] = 1.0
    sums = np.einsum("ntl,nt->nl", signals, weight)
    return (sums / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def cross_fade(mask: Tensor, ramp: int) -> Tensor:
    """Weights (n, T, 12) that are 1 on a boolean mask and fall to 0 in `ramp` samples beside it."""
    weight = mask.float()
    faded = weight.clone()
    for step in range(1, ramp + 1):
        share = 1 - step / (ramp + 1)
        faded[:, step:] = torch.maximum(faded[:, step:], share * weight[:, :-step])
        faded[:, :-step] = torch.maximum(faded[:, :-step], share * weight[:, step:])
    return faded


def _frontal_rest(vector: Tensor, weights: Tensor) -> Tensor:
    """(..., 2) vector after the least change that pulls the weighted limb leads (..., 6) to zero.

    Minimises |new - vector|^2 + sum_l k_l (unit_l . new)^2 with k = w / (1 - w): new = (1 + K)^-1
    vector.
    """
    stiffness = (weights / (1 - weights).clamp(min=1 / STIFFNESS)).clamp(max=STIFFNESS)
    c, s = UNIT[:, 0].to(weights), UNIT[:, 1].to(weights)
    xx, yy, xy = 1 + stiffness @ (c * c), 1 + stiffness @ (s * s), stiffness @ (c * s)
    determinant = (xx * yy - xy * xy).clamp(min=1.0)
    x = (yy * vector[..., 0] - xy * vector[..., 1]) / determinant
    y = (xx * vector[..., 1] - xy * vector[..., 0]) / determinant
    return torch.stack([x, y], dim=-1)


def physiological_fill(signals: Tensor, weights: Tensor, line: Tensor) -> Tensor:
    """Signals with the weighted samples brought to the isoelectric `line` (n, 12), Einthoven's law
    kept.

    A limb lead that is taken away alone takes its share of the other limb leads with it. Those that
    lie on their line throughout a record say nothing of its vector: a lead that is not there is 0.
    """
    above = signals - line[:, None, :]
    there = above[..., :6].any(dim=1)  # (n, 6)
    frontal = FRONTAL if there.all() else FRONTAL * there.cpu()[..., None]
    from_limb = torch.linalg.pinv(frontal)  # (..., 2, 6): the vector that fits those leads best
    # double: 1 + K is nearly singular
    to_vector, to_leads = (part.to(signals.device).double().mT for part in (from_limb, frontal))
    vector = above[..., :6].double() @ to_vector
    rest = _frontal_rest(vector, weights[..., :6].double() * there[:, None])
    change = (rest - vector) @ to_leads
    limb = signals[..., :6] + change.to(signals.dtype)
    chest = signals[..., 6:] - weights[..., 6:] * above[..., 6:]
    return torch.cat([limb, chest], dim=-1)


def zero_fill(signals: Tensor, weights: Tensor, line: Tensor) -> Tensor:
    """Signals with every sample of weight 1 set to 0 mV: the plain variant, with its jumps and
    broken limb leads.
    """
    return signals * (weights < 1).to(signals.dtype)


# name -> (fill, samples of cross-fade beside the mask at 100 Hz)
FILLS = {"physiological": (physiological_fill, 2), "zero": (zero_fill, 0)}


def remove(signals: Tensor, mask: Tensor, line: Tensor, fill: str = "physiological") -> Tensor:
    """Signals (n, T, 12) without the samples of a boolean `mask` (n, T, 12), filled in as FILLS
    says.
    """
    function, ramp = FILLS[fill]
    return function(signals, cross_fade(mask, ramp), line)


def scale(
    signals: Tensor, weights: Tensor, line: Tensor, factor: float, einthoven: bool = True
) -> Tensor:
    """Signals whose weighted part (weights in [0, 1]) stands `factor` times as far from the
    isoelectric line.

    With `einthoven` a change of a limb lead is the least change of the frontal vector that makes
    it; else each lead changes on its own, as the partial derivative of a network with respect to
    that lead asks.
    """
    change = (factor - 1) * weights * (signals - line[:, None, :])
    if not einthoven:
        return signals + change
    directions = UNIT.to(change)
    changed = (weights[..., :6] > 0).sum(dim=-1)
    if (changed > 1).any():
        raise ValueError("scale one limb lead at a time: two would contradict each other")
    # along the lead's own direction: length kept
    vector = (change[..., :6] / LENGTH[:, 0].to(change)) @ directions
    limb = signals[..., :6] + vector @ FRONTAL.to(change).T
    return torch.cat([limb, (signals + change)[..., 6:]], dim=-1)
