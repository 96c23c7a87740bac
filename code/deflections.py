"""The deflections of a QRS: Q, R, S, R', S' of every lead as runs of one sign between its onset and offset."""

from dataclasses import dataclass

import numpy as np

from median_beat import RATE

SMALLEST = 0.02  # mV: less is no deflection of its own
QRS_WAVES = ("Q", "R", "S", "Rp", "Sp")  # by number of the run; odd ones are positive


@dataclass(frozen=True)
class Deflections:
    """Per wave (n, 12): amplitude in mV and duration in ms (0 where absent), position of the peak (NaN where absent)."""

    amplitude: dict
    duration: dict
    peak: dict


def deflections(beats: np.ndarray, onset: np.ndarray, offset: np.ndarray) -> Deflections:
    """Waves of the QRS between `onset` and `offset` (n,) of beats (n, 12, W) in mV against their level at QRS onset."""
    inside = between(onset, offset, beats.shape[2])[:, None, :]
    size = np.where(inside, np.abs(beats), 0)
    signs = np.where(size >= SMALLEST, np.sign(beats), 0).astype(np.int8)
    run = _runs(signs)
    found = Deflections({}, {}, {})
    for number, wave in enumerate(QRS_WAVES):
        part = np.where((run == number) & (signs != 0), size, 0)
        amplitude = part.max(axis=2)
        found.amplitude[wave] = amplitude * (-1 if number % 2 == 0 else 1)
        found.duration[wave] = (part > 0).sum(axis=2) * 1000 / RATE
        found.peak[wave] = np.where(amplitude > 0, part.argmax(axis=2), np.nan)
    return found


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
    """Number of the deflection each sample belongs to: 0 before the first positive one (Q), then R, S, R', S' = 1, 2, 3, 4."""
    state = _carry(signs)
    changes = (state[..., 1:] != state[..., :-1]) & (state[..., :-1] != 0)
    first_positive = (state[..., 1:] == 1) & (state[..., :-1] == 0)
    counted = np.cumsum(changes | first_positive, axis=-1, dtype=np.int8)
    return np.concatenate([np.zeros_like(state[..., :1]), counted], axis=-1)


def _carry(signs):
    """Signs with the zeros between deflections taking the sign before them."""
    position = np.where(signs != 0, np.arange(signs.shape[-1]), 0)
    return np.take_along_axis(signs, np.maximum.accumulate(position, axis=-1), axis=-1)
