"""Amplitude regression: the attribution of the output "T wave in lead L" must fall on lead L and on
the T wave.

A network that predicts the amplitude of one wave in each of the 12 leads (tasks P_, R_,
T_Wave/Peak_Amplitude) has a known right answer for every output. Three scores per record, each the
mean over the outputs of the leads that it reads, within what it reads:

lead   ||a_L|| / ||a||, the share of the map's L2 norm in the right lead; 1 is perfect, a map that
       knows no lead scores 1/sqrt(leads). Limb leads follow from two of them, so that another
       limb lead is no wrong answer: `chest` is the same over the outputs V1 to V6 alone
time   share of the map's energy within the wave's segments (and, for reference, within each of the
       P, QRS and T waves)
cell   share of the energy in the right lead and the right wave at once

and the curve over the beat that the paper shows. Source: Wagner et al. 2024 (arXiv 2305.17043),
where lead and curve come from.
"""

import numpy as np
import pandas as pd

from common.labels import LEADS
from common.stats import mean_of_known
from ecg.beats import find_beats, mean_beats, window_offsets
from ecg.segments import WAVES, share_of
from networks.metrics import regression_metrics
from sanity.subject import Explain, Measured, Subject

OWN_WAVE = {"P_Wave_Amplitude": "P", "R_Peak_Amplitude": "QRS", "T_Wave_Amplitude": "T"}
WINDOWS = ("P", "QRS", "T")


def window_masks(segments: np.ndarray) -> dict[str, np.ndarray]:
    """P, QRS and T as shares (n, T, 12) of soft segments (n, T, 12, 24)."""
    return {wave: share_of(segments, WAVES[wave]) for wave in WINDOWS}


def lead_specificity(maps: np.ndarray, lead: int) -> np.ndarray:
    """(n,) share of the L2 norm of maps (n, T, 12) in one lead; a map of zeros knows nothing: as a
    constant one.
    """
    norms = np.sqrt((maps.astype(float) ** 2).sum(axis=1))  # (n, 12)
    whole = np.sqrt((norms**2).sum(axis=1))
    return np.where(
        whole > 0, norms[:, lead] / np.where(whole > 0, whole, 1), maps.shape[2] ** -0.5
    )


def energy_share(maps: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(n,) share of the energy (sum of squares) of maps (n, T, 12) under a soft mask; NaN where the
    wave is absent.
    """
    energy = maps.astype(float) ** 2
    total = energy.sum(axis=(1, 2))
    known = total > 0
    share = np.where(
        known, (energy * mask).sum(axis=(1, 2)) / np.where(known, total, 1), mask.mean(axis=(1, 2))
    )
    return np.where(mask.sum(axis=(1, 2)) > 0, share, np.nan)


def beat_curves(maps: np.ndarray, subject: Subject) -> np.ndarray:
    """(n, 80) mean over a record's beats of the L2 norm over leads, divided by its own norm; NaN
    without a complete beat.
    """
    size = np.sqrt((maps.astype(float) ** 2).sum(axis=2))  # (n, T)
    mean = mean_beats(size, find_beats(subject.r_peaks, maps.shape[1], subject.sampling_rate))
    norm = np.sqrt((mean**2).sum(axis=1, keepdims=True))
    return np.where(norm == 0, mean.shape[1] ** -0.5, mean / np.where(norm == 0, 1, norm))


def noise_lead_chance(shape: tuple[int, ...]) -> float:
    """Lead specificity of pure noise of `shape` (n, T, leads), the mean over draws: computed, close
    to 1/sqrt(leads).
    """
    rng = np.random.default_rng(0)
    draws = (rng.normal(size=(4, *shape[1:])) for _ in range(20))
    return float(np.mean([lead_specificity(noise, 0).mean() for noise in draws]))


def measure_amplitude(
    subject: Subject,
    _maps: np.ndarray | None,
    explain: Explain,
    _reference: dict[str, np.ndarray] | None = None,
) -> list[Measured]:
    """All scores of one method on one amplitude model; an explanation per record and lead that the
    model reads.
    """
    whole = window_masks(subject.segments)
    windows = {wave: subject.of_read(mask) for wave, mask in whole.items()}
    own = OWN_WAVE[subject.task]
    scores: dict[str, list] = {}
    chances: dict[str, list] = {}
    curves = []
    for lead, output in enumerate(np.flatnonzero(subject.read.any(axis=0))):
        everywhere = explain(subject.model, subject.signals, np.full(len(subject), output))
        maps = subject.of_read(everywhere)
        cell = np.zeros_like(windows[own])
        cell[..., lead] = windows[own][..., lead]
        of_lead = np.broadcast_to(
            windows[own][..., lead, None], cell.shape
        )  # when the wave is there in this lead
        found = {
            f"lead_{LEADS[output]}": (lead_specificity(maps, lead), np.nan),
            "time": (energy_share(maps, of_lead), of_lead.mean(axis=(1, 2))),
            "cell": (energy_share(maps, cell), cell.mean(axis=(1, 2))),
        }
        found |= {
            f"window_{wave}": (energy_share(maps, mask), mask.mean(axis=(1, 2)))
            for wave, mask in windows.items()
        }
        for score, (values, chance) in found.items():
            scores.setdefault(score, []).append(values)
            chances.setdefault(score, []).append(chance)
        curves.append(beat_curves(everywhere, subject))
    return _collect(subject, scores, chances, mean_of_known(curves))


def _collect(subject, scores, chances, curves):
    """Means over the outputs; the lead scores one by one and the curve sample by sample as
    details.
    """
    leads = {name: values[0] for name, values in scores.items() if name.startswith("lead_")}
    at_random = noise_lead_chance((*subject.signals.shape[:2], len(leads)))
    measured = [
        subject.measured(
            "amplitude_lead", np.mean(list(leads.values()), axis=0), at_random, best=1.0
        )
    ]
    chest = [values for name, values in leads.items() if name.startswith("lead_V")]
    if chest:
        measured.append(
            subject.measured("amplitude_chest", np.mean(chest, axis=0), at_random, best=1.0)
        )
    measured += [
        subject.measured(f"amplitude_{name}", values, at_random, detail=True)
        for name, values in leads.items()
    ]
    for name in ("time", "cell", *(f"window_{wave}" for wave in WINDOWS)):
        best = np.nan if name.startswith("window") else 1.0
        measured.append(
            subject.measured(
                f"amplitude_{name}", mean_of_known(scores[name]), mean_of_known(chances[name]), best
            )
        )
    flat = curves.shape[1] ** -0.5
    offsets = window_offsets(subject.sampling_rate) * 1000 // subject.sampling_rate
    return measured + [
        subject.measured(f"amplitude_curve_{offset:+d}ms", curves[:, step], flat, detail=True)
        for step, offset in enumerate(offsets)
    ]


def amplitude_fit(
    name: str,
    task: str,
    predicted: np.ndarray,
    measured: np.ndarray,
    patients: np.ndarray,
) -> pd.DataFrame:
    """R2 and mean absolute error (mV) over the flattened 12 leads (networks.metrics), as two rows
    of checks.csv.

    `predicted`, `measured` (n, 12) mV. Chance is what the mean of the measured values scores: R2 0,
    and its own error.
    """
    metrics = regression_metrics(predicted, measured, LEADS, patients)
    mean_error = np.abs(measured - measured.mean()).mean()
    rows = []
    for check, score, chance in (("r2", "r2", 0.0), ("mae_mV", "mae", mean_error)):
        found = metrics[score]
        facts = {"check": f"amplitude_{check}", "method": "-", "model": name, "task": task}
        rows.append({**facts, **found, "chance": chance, "n": len(patients)})
    columns = ["check", "method", "model", "task", "value", "low", "high", "chance", "n"]
    return pd.DataFrame(rows)[columns]
