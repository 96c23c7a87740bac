"""What is true of simulated hearts: fiducials, measurements, segments, and where a cause shows.

All of it is read off the noise-free beats, lead by lead, at steps of 2 ms; amplitudes against the
level at QRS onset.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from common.files import UserError
from common.labels import LEADS
from ecg.segments import SEGMENTS, draw_bytes
from ecg.waves import per_lead
from simulation.causes import CAUSES, DECOYS, P_WAVES, T_WAVES
from simulation.cohort import make_hearts, severity_column
from simulation.heart import QRS, Beat, sum_of_waves, template_shapes, twelve_leads
from simulation.rhythm import SECONDS, Hearts, Rhythm, artefacts, make_rhythm, render_clean

FIDUCIALS = ("P_on", "P_peak", "P_off", "QRS_on", "R_peak", "QRS_off", "T_on", "T_peak", "T_off")
SMALLEST_MV = 0.02  # a smaller deflection is no wave

# a wave begins and ends where its vector has this share of its largest length
VISIBLE = {"P": 0.07, "QRS": 0.01, "T": 0.07}
J_DELAY_MS = 10.0


@dataclass(frozen=True)
class Truth:
    """Times in ms from the R-peak (NaN where a wave is absent) and measurements of n hearts.

    fiducials     # (n, 9) in the order of FIDUCIALS
    peaks         # (n, 12, 3) Q, R and S peak per lead
    measurements  one row per heart, Uni-G's names, mV, ms and degrees
    """

    fiducials: np.ndarray
    peaks: np.ndarray
    measurements: pd.DataFrame


def measure_truth(beat: Beat) -> Truth:
    """Read fiducials and measurements off the noise-free beats."""
    time, shapes = template_shapes(beat)
    parts = {
        name: sum_of_waves(beat, shapes, waves)
        for name, waves in (("P", P_WAVES), ("QRS", QRS), ("T", T_WAVES))
    }
    whole = sum_of_waves(beat, shapes)
    (p_on, p_peak, p_off), (qrs_on, r_peak, qrs_off), (t_on, t_peak, t_off) = (
        _extent(time, part, VISIBLE[name]) for name, part in parts.items()
    )
    t_on = np.fmax(t_on, qrs_off + 20)
    fiducials = np.stack(
        [p_on, p_peak, p_off, qrs_on, r_peak, qrs_off, t_on, t_peak, t_off], axis=1
    )
    beat_level = whole - _at(time, whole, qrs_on)[:, None]
    peaks, amplitudes = _qrs_peaks(time, beat_level, qrs_on, qrs_off)
    table = {}
    for number, wave in enumerate("QRS"):
        table |= per_lead(wave, "Amp", amplitudes[..., number])
    table |= per_lead("Rp", "Amp", _late_r(time, parts["QRS"], beat.width))
    table |= _deflections("P", beat_level, time, p_on, p_off)
    table |= _deflections("T", beat_level, time, t_on, t_off)
    table |= per_lead("J", "Amp", _at(time, beat_level, qrs_off))
    table |= {
        "QRS_Dur_Global": qrs_off - qrs_on,
        "PR_Int_Global": qrs_on - p_on,
        "QT_Int_Global": t_off - qrs_on,
        "P_Dur_Global": p_off - p_on,
        "QRS_Axis_Global": _axis(parts["QRS"]),
    }
    return Truth(fiducials, peaks, pd.DataFrame(table).round(4))


def _extent(time, wave, share):
    """Onset, peak and offset of a wave: where the length of its 12-lead vector passes `share` of
    its maximum.
    """
    size = np.sqrt((wave**2).sum(axis=2))
    peak = size.argmax(axis=1)
    above = size > share * size.max(axis=1, keepdims=True)
    onset, offset = above.argmax(axis=1), above.shape[1] - 1 - above[:, ::-1].argmax(axis=1)
    absent = np.abs(wave).max(axis=(1, 2)) < SMALLEST_MV
    return tuple(np.where(absent, np.nan, time[index]) for index in (onset, peak, offset))


def _qrs_peaks(time, qrs, onset, offset):
    """Times and amplitudes # (n, 12, 3) of Q, R, S per lead: R the highest point, Q and S the
    lowest on either side.

    A lead without an upward deflection has a Q and no R or S (QS complex).
    """
    inside = (time >= onset[:, None]) & (time <= offset[:, None])
    qrs = np.where(inside[..., None], qrs, 0.0)
    top = qrs.argmax(axis=1)[:, None]  # (n, 1, 12)
    step = np.arange(len(time))[:, None]
    has_r = qrs.max(axis=1) >= SMALLEST_MV
    before = np.where((step < top) | ~has_r[:, None], qrs, 0.0)
    after = np.where((step > top) & has_r[:, None], qrs, 0.0)
    index = np.stack([before.argmin(axis=1), top[:, 0], after.argmin(axis=1)], axis=2)
    height = np.stack(
        [before.min(axis=1), np.where(has_r, qrs.max(axis=1), 0.0), after.min(axis=1)], axis=2
    )
    absent = np.abs(height) < SMALLEST_MV
    return np.where(absent, np.nan, time[index]), np.where(absent, 0.0, height)


def _late_r(time, qrs, width):
    """R' (mV) # (n, 12): the highest point later than 15 ms (x QRS width) after R, where the QRS
    rises again; else 0.
    """
    late = np.where((time >= 15 * width[:, None])[..., None], qrs, -np.inf)
    height = late.max(axis=1)
    start = np.argmax(time >= 15 * width[:, None], axis=1)
    rises = late.argmax(axis=1) > start[:, None]
    return np.where(rises & (height >= SMALLEST_MV), height, 0.0)


def _deflections(name, beat, time, onset, offset):
    """Upward, downward and signed larger deflection (mV) per lead of the wave between onset and
    offset; NaN without one.
    """
    inside = ((time >= onset[:, None]) & (time <= offset[:, None]))[..., None]
    up, down = np.where(inside, beat, 0.0).max(axis=1), np.where(inside, beat, 0.0).min(axis=1)
    up, down = (np.where(np.isnan(onset)[:, None], np.nan, values) for values in (up, down))
    larger = np.where(up >= -down, up, down)
    table = {}
    for kind, values in ((name, larger), (f"{name}P", up), (f"{name}N", down)):
        table |= per_lead(kind, "Amp", values)
    return table


def _at(time, wave, when):
    index = np.clip(np.searchsorted(time, when), 0, len(time) - 1)
    return wave[np.arange(len(wave)), index]


def _axis(qrs):
    """Frontal QRS axis in degrees from the areas in I and aVF."""
    area = qrs.sum(axis=1)
    return np.degrees(
        np.arctan2(area[:, LEADS.index("aVF")] * 2 / np.sqrt(3), area[:, LEADS.index("I")])
    )


# ---------------------------------------------------------------- beats of a record


def beat_fiducials(truths: tuple[Truth, Truth], row: int, rhythm: Rhythm) -> np.ndarray:
    """# (beats, 9) ms from the start of the record; beats that begin or end outside of
    it included.
    """
    relative = np.where(rhythm.ectopic[:, None], truths[1].fiducials[row], truths[0].fiducials[row])
    times = relative + rhythm.time[:, None]
    times[:, 6:] += rhythm.t_shift[:, None]
    return times


def segmentation(
    truths: tuple[Truth, Truth], row: int, rhythm: Rhythm, fiducials: np.ndarray
) -> np.ndarray:
    """Soft segments (1000, 12, 24) of one record at 100 Hz as uint8 that sum to 255
    (ecg.segments).
    """
    times = _events(truths, row, rhythm, fiducials) / 1000
    return draw_bytes(times, SECONDS * 100, 100)


def _events(truths, row, rhythm, fiducials):
    """Times (ms) of POINTS per beat and lead; NaN where a lead has no such wave."""
    peaks = np.where(rhythm.ectopic[:, None, None], truths[1].peaks[row], truths[0].peaks[row])
    peaks = peaks + rhythm.time[:, None, None]
    shared = {
        name: np.repeat(fiducials[:, k, None], len(LEADS), axis=1)
        for k, name in enumerate(FIDUCIALS)
    }
    columns = [
        shared["P_on"],
        shared["P_peak"],
        shared["P_off"],
        shared["QRS_on"],
        peaks[..., 0],
        peaks[..., 1],
        peaks[..., 2],
        shared["QRS_off"],
        shared["QRS_off"] + J_DELAY_MS,
        shared["T_on"],
        shared["T_peak"],
        shared["T_off"],
    ]
    return np.stack(columns, axis=2)


# ---------------------------------------------------------------- what causes change


PLANTED_COLUMNS = ["label", "lead", "segment", "effect", "effect_abs", "n_records", "change"]
PLANTED_TIMES = {
    "RR": "RR",
    "PR": "PR_Int_Global",
    "QRS": "QRS_Dur_Global",
    "QT": "QT_Int_Global",
    "P": "P_Dur_Global",
}
MOST_RECORDS = 20  # per cause: with more, means move by a few hundredths of a mV
SMALLEST_CHANGE_MV = 0.025  # less than this is no planted change
SMALLEST_CHANGE_MS = 4.0
# overlays that fill a small part of their record: only that part counts
LOCAL = ("ectopic", "step", "tremor")
# of a cause's largest mean absolute change: limb leads are sums of each other, so that small
# changes are everywhere
CORE = 0.25


def planted_causes(plan: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each cause and decoy changes, in mV per (label, lead, segment), and in ms per (label,
    quantity).

    effect      mean difference with - without in that segment (mV), or of that time (ms)
    effect_abs  mean absolute difference in that segment (mV): where waves move, `effect` may cancel
                out
    """
    changes, times = [], []
    for name, cause in {**CAUSES, **DECOYS}.items():
        column = severity_column(name)
        plan_of = plan[plan[column] > 0].head(MOST_RECORDS).reset_index(drop=True)
        n = len(plan_of)
        if not n:
            continue
        having, lacking = make_hearts(plan_of), make_hearts(plan_of.assign(**{column: 0.0}))
        signed, size = _cells(plan_of, having, lacking, cause.overlay in LOCAL)
        for cell in map(tuple, np.argwhere(size >= SMALLEST_CHANGE_MV)):
            place = LEADS[cell[0]], SEGMENTS[cell[1]]
            changes.append(
                (name, *place, round(signed[cell], 4), round(size[cell], 4), n, cause.what)
            )
        for quantity, change in _times(having, lacking).items():
            times.append((name, quantity, round(change, 1), n))
    planted_times = pd.DataFrame(times, columns=["label", "quantity", "effect", "n_records"])
    return pd.DataFrame(changes, columns=PLANTED_COLUMNS), planted_times


def planted_cells(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of planted_causes.csv that are the truth of their cause: `effect_abs` of CORE of the
    cause's largest or more, in a lead and one of the 24 segments.

    Where waves move, the signed `effect` cancels out and is not asked. Causes of rate and rhythm,
    and overlays, lie in no cell and have no rows. UserError where it is another table.
    """
    missing = [name for name in ("label", "lead", "segment", "effect_abs") if name not in table]
    if missing:
        raise UserError(f"planted_causes.csv lacks the column {', '.join(missing)}: simulate again")
    in_cell = table["lead"].isin(LEADS) & table["segment"].isin(SEGMENTS)
    elsewhere = [name for name, cause in CAUSES.items() if cause.overlay or "rr" in cause.times]
    table = table[in_cell & ~table["label"].isin(elsewhere)]
    largest = table.groupby("label")["effect_abs"].transform("max")
    return table[table["effect_abs"] >= CORE * largest]


def _times(having, lacking):
    """Mean change (ms) of RR, PR, QRS, QT and P, where it is more than SMALLEST_CHANGE_MS."""
    tables = [
        measure_truth(hearts.normal).measurements.assign(RR=hearts.rr)
        for hearts in (having, lacking)
    ]
    change = {
        quantity: (tables[0][column] - tables[1][column]).mean()
        for quantity, column in PLANTED_TIMES.items()
    }
    return {
        quantity: value for quantity, value in change.items() if abs(value) >= SMALLEST_CHANGE_MS
    }


def _cells(plan, having, lacking, only_there):
    """Mean signed and absolute difference # (12, 24) over the records, NaN-free: a segment that no
    record has is 0.

    `only_there`: only the time at which any lead differs counts.
    """
    truths = (measure_truth(having.normal), measure_truth(having.ectopic))
    sums = np.zeros((3, len(LEADS), len(SEGMENTS)))
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
    without = _as_ectopic(rhythm, lacking.severity["ectopic"][row] > 0)
    sides = []
    for hearts, beats in ((having, rhythm), (lacking, without)):
        clean = render_clean(hearts, row, beats, seed, ecg_id, 100)
        sides.append(twelve_leads(clean + artefacts(hearts, row, seed, ecg_id, 100)))
    return sides[0] - sides[1]


def _as_ectopic(rhythm, allowed):
    """The same beats, all of them normal unless ectopic ones are allowed."""
    return rhythm if allowed else replace(rhythm, ectopic=np.zeros_like(rhythm.ectopic))
