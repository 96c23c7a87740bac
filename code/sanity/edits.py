"""Edits that no method is made of: does a map foresee what they do to the logit?

Two edits of each wave in each lead (the waves of dose_response.py, one lead alone):

swap  the wave is replaced by the same wave of another patient, beat by beat, stretched to the same
      duration, upon the record's own isoelectric line; mean over N_PARTNERS patients
flip  the wave is turned upside down about the isoelectric line

Scored is the rank correlation, over the lead x wave cells of a record, between the map's sum in the
cell and the fall of the logit (signed), and between their sizes (absolute). No method takes waves
from other patients; a flip is no small step, no removal, and starts from no baseline. On a linear
network both edits still are sums of input x gradient: what they judge is what happens beyond that.
"""

import numpy as np
import torch
from tqdm import tqdm

from ecg.fills import scale
from sanity.agreement import partners_of
from sanity.dose_response import DOSED, SMALLEST, foreseen, wave_amplitudes, wave_masks
from sanity.subject import Explain, Measured, Subject, target_logits

N_PARTNERS = 3
EDITS = ("swap", "flip")


def runs_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of each stretch of True in a mask (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return list(zip(edges[::2], edges[1::2], strict=True))


def swapped_wave(
    own: np.ndarray, other: np.ndarray, mine: np.ndarray, theirs: np.ndarray
) -> np.ndarray:
    """(T,) one lead, above its line, in which every wave (`mine`, bool (T,)) is one of the `other`
    lead's (`theirs`), in turn and stretched to fit; flat where the other has no such wave.
    """
    changed, waves = own.copy(), runs_of(theirs)
    for number, (start, end) in enumerate(runs_of(mine)):
        if not waves:
            changed[start:end] = 0
            continue
        first, last = waves[number % len(waves)]
        places = np.linspace(first, last - 1, end - start)
        changed[start:end] = np.interp(places, np.arange(first, last), other[first:last])
    return changed


def swap_effects(subject: Subject, masks: np.ndarray) -> np.ndarray:
    """(n, 12, waves) mean fall of the target logit when a wave of a lead is another patient's; NaN
    where the record has no such wave, or there is no other patient.
    """
    before = target_logits(subject, torch.from_numpy(subject.signals))
    above, present = subject.signals - subject.line[:, None, :], masks > 0.5
    falls = np.full((N_PARTNERS, *masks.shape[:1], *masks.shape[2:]), np.nan)
    for number, partners in enumerate(partners_of(subject.patients, N_PARTNERS)):
        rows = np.flatnonzero(partners >= 0)
        for lead, wave in np.ndindex(*masks.shape[2:]):
            changed = subject.signals.copy()
            for row in rows:
                other = partners[row]
                wanted = present[row, :, lead, wave], present[other, :, lead, wave]
                lifted = swapped_wave(above[row, :, lead], above[other, :, lead], *wanted)
                changed[row, :, lead] = lifted + subject.line[row, lead]
            fall = before - target_logits(subject, torch.from_numpy(changed))
            falls[number, rows, lead, wave] = fall[rows]
    known = np.isfinite(falls)
    mean = np.where(known, falls, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known.any(axis=0) & present.any(axis=1), mean, np.nan)


def flip_effects(subject: Subject, masks: np.ndarray) -> np.ndarray:
    """(n, 12, waves) fall of the target logit when a wave of a lead is turned upside down; NaN for
    waves below SMALLEST mV.
    """
    signals, line = torch.from_numpy(subject.signals), torch.from_numpy(subject.line)
    before = target_logits(subject, signals)
    falls = np.zeros((masks.shape[0], *masks.shape[2:]))
    cells = list(np.ndindex(*masks.shape[2:]))
    for lead, wave in tqdm(cells, desc="flips", leave=False, disable=None):
        weights = torch.zeros_like(signals)
        weights[..., lead] = torch.from_numpy(masks[:, :, lead, wave])
        flipped = scale(signals, weights, line, -1.0, einthoven=False)
        falls[:, lead, wave] = before - target_logits(subject, flipped)
    falls[wave_amplitudes(subject, masks) < SMALLEST] = np.nan
    return falls


def edit_reference(subject: Subject) -> dict[str, np.ndarray]:
    """What the edits do to each record's logit: (n, 12, waves) by name."""
    masks = wave_masks(subject.segments)
    return {"swap": swap_effects(subject, masks), "flip": flip_effects(subject, masks)}


def passes_once(_model: torch.nn.Module) -> int:
    """Forward passes per record for all edits."""
    return 12 * len(DOSED) * (N_PARTNERS + 1)


def measure_edits(
    subject: Subject, maps: np.ndarray, _explain: Explain, reference: dict[str, np.ndarray]
) -> list[Measured]:
    """How far the map foresees each edit; see dose_response.foreseen."""
    return foreseen(subject, maps, {f"edits_{edit}": reference[edit] for edit in EDITS})
