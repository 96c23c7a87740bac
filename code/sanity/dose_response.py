"""Dose-response: how much does the logit move per dose of one wave in one lead, and do the
attributions know it?

A wave of a lead (DOSED, by the segment mask) is scaled about the isoelectric line by DOSES from .5
to 1.5; the slope of the target logit over the dose is the effect. Two units: per +100 % of the wave
(what a relevance that sums to the logit should share out), and per +0.1 mV at its highest point
(what a gradient should know). Cells below SMALLEST mV have no slope.

For the comparison with attributions one lead changes alone, as the network's input is; for the
table that people read Einthoven's law is kept, so that a limb lead's dose carries its share of the
other limb leads with it.
"""

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from attribution.cells import cell_maps
from common.intervals import mean_with_interval
from common.labels import LEADS
from ecg.fills import scale
from ecg.segments import WAVES, share_of
from sanity.agreement import flat, masked_correlation
from sanity.subject import Explain, Measured, Subject, target_logits

DOSES = np.array([0.5, 0.75, 1.0, 1.25, 1.5])
SMALLEST = 0.03  # mV
TABLE_DOSE = 0.1  # mV

# what is scaled -> its segments: ecg.segments.WAVES, the flanks of R left to R alone, so that no
# sample is dosed in two waves and the highest point of Q or S is not one of R's
DOSED = {
    wave: [name for name in WAVES[wave] if wave == "R" or name not in WAVES["R"]]
    for wave in ("P", "Q", "R", "S", "ST", "T")
}


def wave_masks(segments: np.ndarray) -> np.ndarray:
    """(n, T, 12, waves) share of each wave, from soft segments (n, T, 12, 24)."""
    return np.stack([share_of(segments, names) for names in DOSED.values()], axis=-1)


def wave_amplitudes(subject: Subject, masks: np.ndarray) -> np.ndarray:
    """(n, 12, waves) largest distance from the isoelectric line within each wave, mV, weighted by
    its mask.
    """
    above = np.abs(subject.signals - subject.line[:, None, :])
    return np.stack(
        [(above * masks[..., wave]).max(axis=1) for wave in range(masks.shape[-1])], axis=-1
    )


def slopes(subject: Subject, einthoven: bool, progress: bool = False) -> np.ndarray:
    """(n, 12, waves) change of the target logit per +100 % of a wave in a lead: least squares over
    DOSES, NaN for small waves.
    """
    masks = wave_masks(subject.segments)
    signals, line = torch.from_numpy(subject.signals), torch.from_numpy(subject.line)
    found = np.zeros((len(subject), len(LEADS), len(DOSED)))
    centred = DOSES - DOSES.mean()
    undosed = target_logits(subject, signals)
    for lead in tqdm(range(len(LEADS)), desc="dose-response", disable=not progress, leave=False):
        for wave in range(len(DOSED)):
            weights = torch.zeros_like(signals)
            weights[..., lead] = torch.from_numpy(masks[:, :, lead, wave])
            logits = [
                undosed
                if dose == 1
                else target_logits(subject, scale(signals, weights, line, float(dose), einthoven))
                for dose in DOSES
            ]
            found[:, lead, wave] = np.stack(logits, axis=1) @ centred / (centred @ centred)
    found[wave_amplitudes(subject, masks) < SMALLEST] = np.nan
    return found


def dose_reference(subject: Subject) -> dict[str, np.ndarray]:
    """Slopes with one lead alone and with Einthoven's law kept, and the waves' amplitudes: (n, 12,
    waves) each.
    """
    return {
        "alone": slopes(subject, False, progress=True),
        "einthoven": slopes(subject, True, progress=True),
        "amplitude": wave_amplitudes(subject, wave_masks(subject.segments)),
    }


def passes_once(_model: torch.nn.Module) -> int:
    """Forward passes per record for the slopes, with one lead alone and with Einthoven's law."""
    return 2 * len(LEADS) * len(DOSED) * (len(DOSES) - 1)


def per_millivolt(relative: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """Slopes per TABLE_DOSE at the wave's highest point (mV) from slopes per +100 %."""
    return relative * TABLE_DOSE / np.where(amplitude < SMALLEST, np.nan, amplitude)


def foreseen(subject: Subject, maps: np.ndarray, effects: dict[str, np.ndarray]) -> list[Measured]:
    """Rank correlation of map and effect over the lead x wave cells of a record that have one;
    chance: the relevance shuffled over its cells.

    effects  name -> (n, 12, waves) what a change of each cell does to the logit; NaN: none. Leads
             that the model does not read have none
    `<name>_signed`: sum of the map over the cell against the effect; `<name>_absolute`: sum of its
    size against the size of the effect.
    """
    cells = cell_maps(maps, wave_masks(subject.segments), subject.patients)
    reads = subject.read.any(axis=0)[:, None]
    rng = np.random.default_rng(0)
    measured = []
    for name, effect in effects.items():
        effect = np.where(reads, effect, np.nan)
        readings = {"signed": (cells.signed, effect), "absolute": (cells.relevance, np.abs(effect))}
        for reading, (relevance, wanted) in readings.items():
            known, relevance = flat(np.isfinite(wanted)), flat(relevance)
            scores = [
                masked_correlation(flat(wanted), one, known)
                for one in (relevance, rng.permuted(relevance, axis=1))
            ]
            measured.append(subject.measured(f"{name}_{reading}", *scores, best=1.0))
    return measured


def measure_dose_response(
    subject: Subject, maps: np.ndarray, _explain: Explain, reference: dict[str, np.ndarray]
) -> list[Measured]:
    """How far the map foresees the slopes, per +100 % of a wave and per millivolt."""
    relative = reference["alone"]
    of_millivolt = per_millivolt(relative, reference["amplitude"])
    return foreseen(subject, maps, {"dose_percent": relative, "dose_millivolt": of_millivolt})


def dose_table(subject: Subject, reference: dict[str, np.ndarray]) -> pd.DataFrame:
    """What +0.1 mV of a wave in a lead does to each class's logit, Einthoven's law kept, with
    intervals over patients.

    Columns: pathology, lead, wave, per_0.1mV, low, high (logit), per_percent (logit per +1 %),
    amplitude (mean, mV), n.
    """
    effect = per_millivolt(reference["einthoven"], reference["amplitude"])
    labels = subject.model.info.labels
    rows = []
    for target in np.unique(subject.target):
        of_target = subject.target == target
        for lead, name in enumerate(LEADS):
            for wave, wave_name in enumerate(DOSED):
                known = of_target & np.isfinite(effect[:, lead, wave])
                if known.sum() < 3:
                    continue
                mean, low, high = mean_with_interval(
                    effect[known, lead, wave], subject.patients[known]
                )
                rows.append(
                    (
                        labels[target],
                        name,
                        wave_name,
                        mean,
                        low,
                        high,
                        reference["einthoven"][known, lead, wave].mean() / 100,
                        reference["amplitude"][known, lead, wave].mean(),
                        int(known.sum()),
                    )
                )
    return pd.DataFrame(
        rows,
        columns=[
            "pathology",
            "lead",
            "wave",
            "per_0.1mV",
            "low",
            "high",
            "per_percent",
            "amplitude",
            "n",
        ],
    )
