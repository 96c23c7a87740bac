"""The deflections of a QRS: Q, R, S, R', S' of every lead as runs of one sign between its onset and
offset.
"""

from dataclasses import dataclass

import numpy as np

from ecg.median_beat import CENTRE, RATE

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


def between(start: np.ndarray, stop: np.ndarray, width: int) -> np.ndarray:
    """(n, width) bool: start <= position <= stop; nowhere for NaN."""
    time = np.arange(width)
    return (time >= start[:, None]) & (time <= stop[:, None])


def level(beats: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Mean of each lead (n, 12) between two positions (n,); NaN where either is."""
    mask = between(start, stop, beats.shape[2])[:, None, :]
    with np.errstate(invalid="ignore"):
        return np.where(mask, beats, 0).sum(axis=2) / mask.sum(axis=2)


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
