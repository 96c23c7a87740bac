"""What is true of simulated hearts: fiducials, measurements, segments, and where a cause shows.

All of it is read off the noise-free beats, lead by lead, at steps of 2 ms; amplitudes against the
level at QRS onset.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.labels import LEADS
from simulation.causes import P_WAVES, T_WAVES
from simulation.heart import QRS, Beat, sum_of_waves, template_shapes
from simulation.rhythm import Rhythm

FIDUCIALS = ("P_on", "P_peak", "P_off", "QRS_on", "R_peak", "QRS_off", "T_on", "T_peak", "T_off")
SMALLEST_MV = 0.02  # a smaller deflection is no wave

# The 24 classes of a segmentation: class 2k is the k-th point, class 2k + 1 the stretch after it.
POINTS = (
    "P-Onset",
    "P-Peak",
    "P-Offset",
    "QRS-Onset",
    "Q-Peak",
    "R-Peak",
    "S-Peak",
    "QRS-Offset",
    "J-point",
    "T-Onset",
    "T-Peak",
    "T-Offset",
)
STRETCHES = ("(p", "p)", "pq", "(q", "qr", "rs", "q)", "qj", "jt", "(t", "t)", "tp")
CLASSES = tuple(name for pair in zip(POINTS, STRETCHES, strict=True) for name in pair)
VISIBLE = {
    "P": 0.07,
    "QRS": 0.01,
    "T": 0.07,
}  # a wave begins and ends where its vector has this share of its largest length
J_DELAY_MS = 10.0
TRIANGLE_MS = 20.0


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
    table = {
        f"{wave}_Amp_{lead}": amplitudes[:, k, w]
        for w, wave in enumerate("QRS")
        for k, lead in enumerate(LEADS)
    }
    table |= {
        f"Rp_Amp_{lead}": late
        for lead, late in zip(LEADS, _late_r(time, parts["QRS"], beat.width).T, strict=True)
    }
    table |= _deflections("P", beat_level, time, p_on, p_off) | _deflections(
        "T", beat_level, time, t_on, t_off
    )
    at_j = _at(time, beat_level, qrs_off)
    table |= {f"J_Amp_{lead}": at_j[:, k] for k, lead in enumerate(LEADS)}
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
    return {
        f"{kind}_Amp_{lead}": values[:, k]
        for kind, values in ((name, larger), (f"{name}P", up), (f"{name}N", down))
        for k, lead in enumerate(LEADS)
    }


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
    truths: tuple[Truth, Truth],
    row: int,
    rhythm: Rhythm,
    fiducials: np.ndarray,
    n_samples: int = 1000,
    step_ms: float = 10.0,
) -> np.ndarray:
    """# (n_samples, 12, 24) uint8, 255 shared out over the 24 classes at each time and lead.

    Points are triangles of +-20 ms, the stretch between two points takes the rest.
    """
    events = _events(truths, row, rhythm, fiducials)  # (beats, 12, points) ms
    at = events.transpose(0, 2, 1).reshape(-1, len(LEADS))  # (events, 12)
    kind = np.tile(np.arange(len(POINTS)), len(events))
    points = np.zeros((n_samples, len(LEADS), len(POINTS)), dtype=np.float32)
    event, lead = np.nonzero(
        np.isfinite(at) & (at > -TRIANGLE_MS) & (at < n_samples * step_ms + TRIANGLE_MS)
    )
    when = at[event, lead]
    for near in range(-1, 3):
        sample = np.floor(when / step_ms).astype(int) + near
        weight = 1 - np.abs(sample * step_ms - when) / TRIANGLE_MS
        good = (weight > 0) & (sample >= 0) & (sample < n_samples)
        np.maximum.at(points, (sample[good], lead[good], kind[event[good]]), weight[good])
    points *= 255 / np.maximum(points.sum(axis=2, keepdims=True), 1)
    shared = np.zeros((n_samples, len(LEADS), len(CLASSES)), dtype=np.uint8)
    shared[..., ::2] = points  # rounded down: what is left over is the stretch's
    rest = 255 - shared.sum(axis=2, dtype=np.int16)
    stretch = _stretches(at, _next_stretch(events), n_samples, step_ms)
    np.put_along_axis(shared, stretch[..., None], rest[..., None].astype(np.uint8), axis=2)
    return shared


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


def _next_stretch(events):
    """Class of the stretch that follows each event # (events, 12): without a Q, R begins at the
    onset; a QS has no R.
    """
    following = np.broadcast_to(
        2 * np.arange(len(POINTS)) + 1, (len(events), len(LEADS), len(POINTS))
    ).copy()
    onset, q, r = (POINTS.index(name) for name in ("QRS-Onset", "Q-Peak", "R-Peak"))
    absent = np.isnan(events)
    following[..., onset] = np.where(absent[..., q], 2 * q + 1, following[..., onset])
    following[..., q] = np.where(absent[..., r], 2 * POINTS.index("S-Peak") + 1, following[..., q])
    return following.transpose(0, 2, 1).reshape(-1, len(LEADS))


def _stretches(at, following, n_samples, step_ms):
    """Class of the stretch at each time and lead: the one after the last point passed."""
    sample = np.clip(np.ceil(np.where(np.isfinite(at), at, np.inf) / step_ms), 0, n_samples)
    last = np.full((n_samples + 1, len(LEADS)), -1)
    order = np.repeat(np.arange(len(at))[:, None], len(LEADS), axis=1)
    np.maximum.at(last, (sample.astype(int), np.arange(len(LEADS))), order)
    last = np.maximum.accumulate(last[:n_samples], axis=0)
    return np.where(last >= 0, np.take_along_axis(following, np.maximum(last, 0), axis=0), 23)
