"""Amplitudes and durations of the waves of median beats, in Uni-G's naming and conventions.

All amplitudes are in mV against the level at QRS onset, P included (so has Uni-G; the PQ segment
often lies lower than the line before P). Q and S negative, R and R' (`Rp`) positive, 0 where the
wave is absent; a QRS without a positive part (QS) is a Q. P_Amp and T_Amp are the larger deflection
with its sign, PP_/TP_ and PN_/TN_ the positive and the negative part. Durations in ms. What depends
on a P wave is blank where there is none (P_Found_Global 0), as in Uni-G.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.labels import LEADS
from ecg.fiducials import J_DELAY, Fiducials, ms_to_samples
from ecg.median_beat import CENTRE, RATE, between, level

SILENT = 0.005  # mV: below it a sample belongs to no deflection
SMALLEST = 0.018, 10, 0.3  # mV, ms, mV x ms: a deflection has to reach all three to count as a wave
RINGING = (
    0.09,
    11,
    # share of the R that follows (the overshoot of a sharp cut-off), ms (half a period at 45 Hz):
    # less
    # is no r
)
OWN_PEAK = (
    0.03,
    0.2,
)  # mV, share: by how much the last wave must stand out from the ST level it ends at
QRS_WAVES = ("Q", "R", "S", "Rp", "Sp")  # by number of the run; odd ones are positive
FROM, TO = CENTRE - int(0.17 * RATE), CENTRE + int(0.18 * RATE)  # no QRS reaches further


@dataclass(frozen=True)
class Deflections:
    """Per wave (n, 12): amplitude in mV and duration in ms (0 where absent), position of the peak
    (NaN where absent).
    """

    amplitude: dict
    duration: dict
    peak: dict


def deflections(beats: np.ndarray, onset: np.ndarray, offset: np.ndarray) -> Deflections:
    """Waves of the QRS between `onset` and `offset` (n,) of median beats (n, 12, WIDTH) in mV."""
    beats = (beats - onset_level(beats, onset)[..., None])[..., FROM:TO]
    inside = between(onset - FROM, offset - FROM, beats.shape[2])[:, None, :]
    size = np.where(inside, np.abs(beats), 0)
    signs = np.where(size >= SILENT, np.sign(beats), 0).astype(np.int8)
    for _ in range(2):  # what is dropped may join its neighbours to one wave
        signs = _without_small(signs, size)
    signs = _without_ringing(signs, size)
    signs = _without_st(signs, size, beats, offset - FROM)
    run = _runs(signs)
    found = Deflections({}, {}, {})
    for number, wave in enumerate(QRS_WAVES):
        part = np.where((run == number) & (signs != 0), size, 0)
        amplitude = part.max(axis=2)
        found.amplitude[wave] = np.where(
            np.isfinite(onset)[:, None], amplitude * (-1 if number % 2 == 0 else 1) + 0.0, np.nan
        )
        found.duration[wave] = (part > 0).sum(axis=2) * 1000 / RATE
        found.peak[wave] = np.where(amplitude > 0, part.argmax(axis=2) + FROM, np.nan)
    return found


def onset_level(beats: np.ndarray, onset: np.ndarray) -> np.ndarray:
    """The zero of all amplitudes (n, 12): the level 12 to 6 ms before QRS onset."""
    return level(beats, onset - 6, onset - 3)


def _without_small(signs, size):
    """Signs with the runs set to 0 that are too small to be waves."""
    run = _runs(signs)
    new = np.ones(run.shape, bool)
    new[..., 1:] = run[..., 1:] != run[..., :-1]
    starts = np.flatnonzero(new)  # runs lie one after the other in memory
    height = np.maximum.reduceat(np.where(signs != 0, size, 0).ravel(), starts)
    length = np.add.reduceat((signs != 0).ravel(), starts, dtype=np.int32) * 1000 / RATE
    wave = (height >= SMALLEST[0]) & (length >= SMALLEST[1]) & (height * length >= SMALLEST[2])
    return np.where(np.repeat(wave, np.diff(starts, append=run.size)).reshape(run.shape), signs, 0)


def _without_ringing(signs, size):
    """Signs without a first r that is the ringing of a steep R behind it: 100 Hz records are cut
    off sharply at 45 Hz.
    """
    run = _runs(signs)
    heights = [
        np.where((run == number) & (signs != 0), size, 0).max(axis=2) for number in (0, 1, 3)
    ]
    brief = ((run == 1) & (signs != 0)).sum(axis=2) * 1000 / RATE <= RINGING[1]
    ringing = brief & (heights[0] == 0) & (heights[1] < RINGING[0] * heights[2])
    return np.where((run == 1) & ringing[..., None], 0, signs)


def _without_st(signs, size, beats, offset):
    """Signs without a last run (from S on) that is no wave of its own but the beginning of a raised
    or lowered ST segment.
    """
    run = _runs(signs)
    final = np.where(signs != 0, run, -1).max(axis=2)
    part = (run == final[..., None]) & (signs != 0)
    height = np.where(part, size, 0).max(axis=2)
    position = np.nan_to_num(offset).astype(int)[:, None, None]
    st = np.take_along_axis(beats, position, axis=2)[..., 0] * np.where(final % 2 == 1, 1, -1)
    slope = (st > 0) & (height - st < OWN_PEAK[0] + OWN_PEAK[1] * height) & (final >= 2)
    return np.where(part & slope[..., None], 0, signs)


def _runs(signs):
    """Number of the deflection each sample belongs to: 0 before the first positive one (Q), then R,
    S, R', S' = 1, 2, 3, 4.
    """
    state = _carry(signs)
    changes = (state[..., 1:] != state[..., :-1]) & (state[..., :-1] != 0)
    first_positive = (state[..., 1:] == 1) & (state[..., :-1] == 0)
    counted = np.cumsum(changes | first_positive, axis=-1, dtype=np.int8)
    return np.concatenate([np.zeros_like(state[..., :1]), counted], axis=-1)


def _carry(signs):
    """Signs with the zeros between deflections taking the sign before them."""
    position = np.where(signs != 0, np.arange(signs.shape[-1]), 0)
    return np.take_along_axis(signs, np.maximum.accumulate(position, axis=-1), axis=-1)


# ---------------------------------------------------------------- measurements


def measure(beats: np.ndarray, at: Fiducials, qrs: Deflections, rr: np.ndarray) -> pd.DataFrame:
    """Measurements of median beats (n, 12, W) mV, one row each; NaN where there is no beat.

    at  fiducials of the beats;  qrs  waves of their QRS;  rr  (n,) typical RR interval in samples
        at RATE
    """
    beats = beats - onset_level(beats, at.measured_from)[..., None]
    columns = {
        **_qrs(qrs),
        **_st(beats, at),
        **_t_wave(beats, at),
        **_p_wave(beats, at),
        **_global(beats, at, rr),
    }
    values = np.stack(list(columns.values()), axis=1)
    values[~np.isfinite(at.measured_from)] = np.nan
    return pd.DataFrame(values.astype(np.float32), columns=list(columns))


def _per_lead(wave, quantity, values):
    return {f"{wave}_{quantity}_{lead}": values[:, i] for i, lead in enumerate(LEADS)}


def _qrs(found):
    columns = {}
    for wave in QRS_WAVES:
        columns |= _per_lead(wave, "Amp", found.amplitude[wave]) | _per_lead(
            wave, "Dur", found.duration[wave]
        )
    return columns


def _st(beats, at):
    """Levels at the J-point and 20, 60 and 80 ms after it."""
    columns = {}
    for delay, name in (
        (0, ("J", "Amp")),
        (20, ("ST", "Amp20ms")),
        (60, ("ST", "Amp60ms")),
        (80, ("ST", "Amp80ms")),
    ):
        position = at.QRS_off + ms_to_samples(J_DELAY + delay)
        columns |= _per_lead(
            *name, level(beats, position - ms_to_samples(2), position + ms_to_samples(2))
        )
    return columns


def _deflections(beats, mask, wave):
    """Positive part, negative part and the larger of both with its sign, of the samples in mask (n,
    W).
    """
    values = np.where(mask[:, None, :], beats, 0)
    positive, negative = values.max(axis=2), values.min(axis=2)
    larger = np.where(positive >= -negative, positive, negative)
    return (
        _per_lead(wave, "Amp", larger)
        | _per_lead(f"{wave}P", "Amp", positive)
        | _per_lead(f"{wave}N", "Amp", negative)
    )


def _t_wave(beats, at):
    return _deflections(beats, between(at.T_on, at.T_off, beats.shape[2]), "T")


def _p_wave(beats, at):
    """NaN where there is no P wave: an amplitude of 0 would be a measurement."""
    columns = _deflections(beats, between(at.P_on, at.P_off, beats.shape[2]), "P")
    return {
        name: np.where(np.isfinite(at.P_on), values, np.nan) for name, values in columns.items()
    }


def _global(beats, at, rr):
    to_ms = 1000 / RATE
    inside = between(at.measured_from, at.QRS_off, beats.shape[2])[:, None, :]
    area = np.where(inside, beats, 0).sum(axis=2)
    return {
        "P_Found_Global": np.isfinite(at.P_on).astype(float),
        "P_Dur_Global": (at.P_off - at.P_on) * to_ms,
        "PR_Int_Global": (at.measured_from - at.P_on) * to_ms,
        "QRS_Dur_Global": (at.QRS_off - at.measured_from) * to_ms,
        "QT_Int_Global": (at.T_off - at.measured_from) * to_ms,
        "ST_Dur_Global": (at.T_on - at.QRS_off) * to_ms,
        "T_Dur_Global": (at.T_off - at.T_on) * to_ms,
        "RR_Mean_Global": rr * to_ms,
        "QRS_Axis_Global": np.degrees(
            np.arctan2(area[:, LEADS.index("aVF")] * 2 / np.sqrt(3), area[:, LEADS.index("I")])
        ),
    }
