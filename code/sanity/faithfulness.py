"""Faithfulness: does the logit fall when what a map calls relevant is taken away, and hold when the
rest is?

Parts of a record (lead x segment cells, or windows of time over all leads) are removed in the order
of their mean relevance per sample, most relevant first (MoRF) or least relevant first (LeRF), with
one of fills.FILLS. Samples and leads that the network does not read belong to no part. The x-axis
is the share of the others that is gone, so that a method gains nothing from naming large parts
first. Keeping only the top share is LeRF read from its end, so the
insertion curve needs no further evaluation. Curves are in units of the mean effect of removing
everything, one number per model, which leaves paired comparisons between methods untouched.
Reference: the mean of `N_RANDOM` random orders.

Readings: `signed` orders by the signed relevance and follows the drop of the logit; `absolute`
orders by size and follows the size of the change, whichever way it goes.
"""

import numpy as np
import torch

from ecg.fills import FILLS, remove
from ecg.segments import SEGMENTS
from sanity.subject import Explain, Measured, Subject, target_logits

FRACTIONS = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 1])
N_RANDOM = 20
WINDOW = 0.05  # s, width of the parts in time
DRAWN = "cells_physiological"  # the curves that are kept for the figure


def lead_segment_cells(subject: Subject) -> np.ndarray:
    """(n, T, 12) number of the lead x segment cell of each sample: lead * 24 + its most probable
    segment.
    """
    lead = np.arange(subject.signals.shape[2]) * len(SEGMENTS)
    return lead + subject.segments.argmax(axis=-1)


def time_windows(subject: Subject) -> np.ndarray:
    """(n, T, 12) number of the 50 ms window of each sample, the same in all leads."""
    n, length, leads = subject.signals.shape
    number = np.arange(length) // max(round(WINDOW * subject.sampling_rate), 1)
    return np.broadcast_to(number[None, :, None], (n, length, leads))


PARTS = {"cells": lead_segment_cells, "time": time_windows}


def parts_of(subject: Subject, kind: str) -> np.ndarray:
    """(n, T, 12) number of the part of each sample; -1 where the network does not read."""
    return np.where(subject.read, PARTS[kind](subject), -1)


def removal_share(relevance: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """When each sample goes: share of samples gone once its part is, most and least relevant part
    first, (n, T, leads) each; never (infinity) where `parts` are negative.

    Parts are ordered by their mean `relevance` (n, T, leads); equal ones in the order of their
    number.
    """
    most, least = np.full(parts.shape, np.inf), np.full(parts.shape, np.inf)
    for record, (values, number) in enumerate(zip(relevance, parts, strict=True)):
        removable = number >= 0
        _, member, size = np.unique(number[removable], return_inverse=True, return_counts=True)
        mean = np.bincount(member, weights=values[removable]) / size
        order = np.argsort(-mean, kind="stable")
        gone = np.empty(len(size))
        gone[order] = np.cumsum(size[order]) / len(member)
        most[record][removable] = gone[member]
        least[record][removable] = (1 - gone + size / len(member))[member]
    return most, least


def removal_curve(subject: Subject, share: np.ndarray, fill: str) -> np.ndarray:
    """Target logits (n, FRACTIONS) as the samples with share <= fraction are removed."""
    signals, line = torch.from_numpy(subject.signals), torch.from_numpy(subject.line)
    when = torch.from_numpy(share)
    curve = [
        target_logits(subject, remove(signals, when <= fraction + 1e-9, line, fill))
        for fraction in FRACTIONS
    ]
    return np.stack(curve, axis=1)


def curve_area(curve: np.ndarray) -> np.ndarray:
    """(n,) mean of a curve (n, FRACTIONS) over the removed share, trapezoidal."""
    return np.trapezoid(curve, FRACTIONS, axis=1)


def effects(curve: np.ndarray, scale: float) -> dict[str, np.ndarray]:
    """The two readings of a logit curve: drop, and size of the change, in units of `scale`."""
    drop = (curve[:, :1] - curve) / scale
    return {"signed": drop, "absolute": np.abs(drop)}


def random_reference(subject: Subject, seed: int = 0) -> dict[str, np.ndarray]:
    """Logit curves of N_RANDOM random orders: '<parts>_<fill>' -> (N_RANDOM, n, FRACTIONS)."""
    rng = np.random.default_rng(seed)
    reference = {}
    for kind in PARTS:
        parts = parts_of(subject, kind)
        orders = [removal_share(_drawn_order(parts, rng), parts)[0] for _ in range(N_RANDOM)]
        for fill in FILLS:
            reference[f"{kind}_{fill}"] = np.stack(
                [removal_curve(subject, share, fill) for share in orders]
            )
    return reference


def _drawn_order(parts, rng):
    """(n, T, 12) the place of each sample's part in an order drawn for each record; of those
    without a part any.
    """
    places = np.tile(np.arange(parts.max() + 1, dtype=float), (len(parts), 1))
    return rng.permuted(places, axis=1)[np.arange(len(parts))[:, None, None], parts]


def measure_faithfulness(
    subject: Subject, maps: np.ndarray, _explain: Explain, reference: dict[str, np.ndarray]
) -> list[Measured]:
    """Deletion, insertion and the area between, per kind of part, fill and reading; chance from the
    random orders.
    """
    measured = []
    for kind in PARTS:
        parts = parts_of(subject, kind)
        for reading, relevance in (("signed", maps), ("absolute", np.abs(maps))):
            most, least = removal_share(relevance, parts)
            for fill in FILLS:
                curves = [removal_curve(subject, share, fill) for share in (most, least)]
                measured += _areas(
                    subject,
                    f"{kind}_{fill}_{reading}",
                    reading,
                    curves,
                    reference[f"{kind}_{fill}"],
                )
    return measured


N_CURVES = len(FILLS) * len(PARTS) * len(FRACTIONS)  # logits of all kinds of parts


def passes_per_method(_model: torch.nn.Module) -> int:
    """Forward passes per record and method: two readings, two orders."""
    return 4 * N_CURVES


def passes_once(_model: torch.nn.Module) -> int:
    """Forward passes per record for the random orders."""
    return N_RANDOM * N_CURVES


def full_effect(curve: np.ndarray) -> float:
    """Mean size of the effect of removing everything: the unit of all curves of a model."""
    return max(float(np.abs(curve[:, 0] - curve[:, -1]).mean()), 1e-9)


def _areas(subject, name, reading, curves, reference):
    scale = full_effect(reference[0])
    most, least = (effects(curve, scale)[reading] for curve in curves)
    random = [effects(curve, scale)[reading] for curve in reference]
    at_random = np.mean([curve_area(curve) for curve in random], axis=0)
    deletion, kept = curve_area(most), curve_area(least)
    measured = [
        subject.measured(f"faithfulness_{name}", deletion - kept, 0.0, best=np.inf),
        subject.measured(f"deletion_{name}", deletion, at_random, best=np.inf),
        subject.measured(f"insertion_{name}", -kept, -at_random, best=np.inf),
    ]
    if not name.startswith(DRAWN):
        return measured
    orders = {"most": most, "least": least, "random": np.mean(random, axis=0)}
    for order, curve in orders.items():
        for step, fraction in enumerate(FRACTIONS):
            removal = f"removal_{reading}_{order}_{fraction:g}"
            measured.append(subject.measured(removal, curve[:, step], detail=True))
    return measured
