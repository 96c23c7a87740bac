"""Where causes and decoys show: planted_causes.csv and planted_times.csv, the known truth that
explanations are held against.

For each cause some of its records are drawn without noise, with it and without it, beat on beat.
The absolute difference is averaged over the true segments, as an attribution would be.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from common.labels import LEADS
from simulation.causes import CAUSES, DECOYS
from simulation.cohort import make_hearts, severity_column
from simulation.heart import twelve_leads
from simulation.rhythm import Hearts, artefacts, make_rhythm, render_clean
from simulation.truth import CLASSES, beat_fiducials, measure_truth, segmentation

COLUMNS = ["label", "lead", "segment", "effect", "effect_abs", "n_records", "change"]
TIMES = {
    "RR": "RR",
    "PR": "PR_Int_Global",
    "QRS": "QRS_Dur_Global",
    "QT": "QT_Int_Global",
    "P": "P_Dur_Global",
}
MOST_RECORDS = 20  # per cause: with more, means move by a few hundredths of a mV
SMALLEST_MV = 0.025  # less than this is no planted change
SMALLEST_MS = 4.0
LOCAL = (
    "ectopic",
    "step",
    "tremor",
)  # overlays that fill a small part of their record: only that part counts


def planted_causes(plan: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each cause and decoy changes, in mV per (label, lead, segment), and in ms per (label,
    quantity).

    effect      mean difference with - without in that segment (mV), or of that time (ms)
    effect_abs  mean absolute difference in that segment (mV): where waves move, `effect` may cancel
                out
    """
    changes, times = [], []
    for name, cause in {**CAUSES, **DECOYS}.items():
        plan_of = plan[plan[severity_column(name)] > 0].head(MOST_RECORDS).reset_index(drop=True)
        if len(plan_of):
            having, lacking = (
                make_hearts(plan_of),
                make_hearts(plan_of.assign(**{severity_column(name): 0.0})),
            )
            signed, size = _cells(plan_of, having, lacking, cause.overlay in LOCAL)
            changes += [
                (
                    name,
                    LEADS[lead],
                    CLASSES[segment],
                    round(signed[lead, segment], 4),
                    round(size[lead, segment], 4),
                    len(plan_of),
                    cause.what,
                )
                for lead, segment in np.argwhere(size >= SMALLEST_MV)
            ]
            times += [
                (name, quantity, round(change, 1), len(plan_of))
                for quantity, change in _times(having, lacking).items()
            ]
    return pd.DataFrame(changes, columns=COLUMNS), pd.DataFrame(
        times, columns=["label", "quantity", "effect", "n_records"]
    )


def _times(having, lacking):
    """Mean change (ms) of RR, PR, QRS, QT and P, where it is more than SMALLEST_MS."""
    tables = [
        measure_truth(hearts.normal).measurements.assign(RR=hearts.rr)
        for hearts in (having, lacking)
    ]
    change = {
        quantity: (tables[0][column] - tables[1][column]).mean()
        for quantity, column in TIMES.items()
    }
    return {quantity: value for quantity, value in change.items() if abs(value) >= SMALLEST_MS}


def _cells(plan, having, lacking, only_there):
    """Mean signed and absolute difference # (12, 24) over the records, NaN-free: a segment that no
    record has is 0.

    `only_there`: only the time at which any lead differs counts.
    """
    truths = (measure_truth(having.normal), measure_truth(having.ectopic))
    sums = np.zeros((3, len(LEADS), len(CLASSES)))
    for row, (seed, ecg_id) in enumerate(zip(plan["seed"], plan["ecg_id"], strict=True)):
        rhythm = make_rhythm(having, row, seed, ecg_id)
        difference = _difference(having, lacking, row, rhythm, seed, ecg_id)
        share = segmentation(truths, row, rhythm, beat_fiducials(truths, row, rhythm)) / 255
        if only_there:
            share *= (np.abs(difference).max(axis=1) > 0.01)[:, None, None]
        mass = share.sum(axis=0)
        density = [
            np.einsum("tl,tlk->lk", values, share) / np.maximum(mass, 1e-9)
            for values in (difference, np.abs(difference))
        ]
        sums += [density[0], density[1], mass > 0]
    return sums[:2] / np.maximum(sums[2], 1)


def _difference(having: Hearts, lacking: Hearts, row, rhythm, seed, ecg_id):
    """# (1000, 12) mV: one record with the cause minus without it, beat on beat (the rhythm with it
    in both).
    """
    sides = []
    for hearts, beats in (
        (having, rhythm),
        (lacking, _as_ectopic(rhythm, lacking.severity["ectopic"][row] > 0)),
    ):
        clean = render_clean(hearts, row, beats, seed, ecg_id, 100) + artefacts(
            hearts, row, seed, ecg_id, 100
        )
        sides.append(twelve_leads(clean))
    return sides[0] - sides[1]


def _as_ectopic(rhythm, allowed):
    """The same beats, all of them normal unless ectopic ones are allowed."""
    return rhythm if allowed else replace(rhythm, ectopic=np.zeros_like(rhythm.ectopic))
