"""A parametric heart: waves in eight independent leads, and the 12-lead ECG that follows from them.

A beat is a sum of named waves. Each wave has one shape in time (milliseconds from the R-peak) and one
amplitude per independent lead (I, II, V1..V6); III, aVR, aVL and aVF follow from I and II.

heart_normal.csv holds what the amplitudes of normal hearts are: mean, change per decade of age, difference
women - men, the loadings of 14 independent factors (so that leads and waves vary together as they do in real
hearts) and the rest. tests/benchmarks/fit_normal_heart.py made it from real normal records.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
QRS = tuple(f"QRS{k}" for k in range(1, 9))
WAVES = ("P1", "P2", *QRS, "ST", "T1", "T2", "U")
WINDOW_MS = (-420.0, 620.0)  # a beat's waves are nil outside of it (T of a slow heart ends by 600 ms)


@dataclass(frozen=True)
class Beat:
    """Waves of one kind of beat of n hearts.

    amplitude  # (n, waves, 8) mV
    p, t       # (n,) ms: middle of the P wave and peak of the T wave, from the R-peak
    width      # (n,) QRS width as a factor: 1 is about 92 ms
    p_width    # (n,) P width as a factor: 1 is about 100 ms
    """

    amplitude: np.ndarray
    p: np.ndarray
    t: np.ndarray
    width: np.ndarray
    p_width: np.ndarray

    def rows(self, index) -> "Beat":
        """The hearts at `index`."""
        return Beat(*(getattr(self, name)[index] for name in ("amplitude", "p", "t", "width", "p_width")))

    def changed(self, **changes) -> "Beat":
        """A copy with some fields replaced."""
        return replace(self, **changes)


# ---------------------------------------------------------------- shapes in time

def bump(time, centre, left, right):
    """Gaussian with its own width on either side; everything in ms, broadcast."""
    offset = time - centre
    return np.exp(-0.5 * (offset / np.where(offset < 0, left, right)) ** 2)


def _ramp(x):
    """Smooth step from 0 to 1 (logistic)."""
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))


def wave_shapes(time, p, t, width, p_width) -> np.ndarray:
    """Shapes of WAVES at `time` (ms from R): arrays that broadcast to S give (*S, waves), each wave of height 1."""
    atrial = [bump(time, p + side * 17 * p_width, 17 * p_width, 17 * p_width) for side in (-1, 1)]
    ventricular = [bump(time, width * (10 * phase - 30), 6.5 * width, 6.5 * width) for phase in range(len(QRS))]
    plateau = _ramp((time - 45 * width) / 8) * _ramp((t - 60 - time) / 18)
    recovery = [bump(time, t - 50, 40, 36), bump(time, t, 42, 32), bump(time, t + 120, 35, 45)]
    return np.stack(np.broadcast_arrays(*atrial, *ventricular, plateau, *recovery), axis=-1)


def template(beat: Beat, step_ms: float = 2.0, waves=WAVES) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free beats: times (ms from R) and # (n, times, 12) mV; `waves` limits it to some waves."""
    time = np.arange(WINDOW_MS[0], WINDOW_MS[1], step_ms)
    shapes = wave_shapes(time, *(value[:, None] for value in (beat.p, beat.t, beat.width, beat.p_width)))
    keep = np.isin(WAVES, waves)
    return time, twelve_leads(shapes[..., keep] @ beat.amplitude[:, keep])


def twelve_leads(independent: np.ndarray) -> np.ndarray:
    """(..., 8) I, II, V1..V6 -> (..., 12) by Einthoven's and Goldberger's equations."""
    i, ii = independent[..., 0], independent[..., 1]
    limb = np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2], axis=-1)
    return np.concatenate([limb, independent[..., 2:]], axis=-1)


def digitise(independent: np.ndarray) -> np.ndarray:
    """(..., 8) mV -> (..., 12) int16 uV; I and II are rounded first, so that the six limb leads agree to 0.5 uV."""
    whole = np.clip(np.rint(independent * 1000), -10000, 10000)
    return np.rint(twelve_leads(whole)).astype("<i2")


# ---------------------------------------------------------------- normal hearts

@cache
def _normal_table():
    table = pd.read_csv(Path(__file__).with_name("heart_normal.csv"))
    order = pd.MultiIndex.from_product([WAVES, INDEPENDENT])
    table = table.set_index(["wave", "lead"]).loc[order]
    factors = [column for column in table if column.startswith("factor_")]

    def shaped(columns):
        return table[columns].to_numpy(dtype=float).T.reshape(-1, len(WAVES), len(INDEPENDENT))

    return {"fixed": shaped(["mean", "per_decade", "female", "rest"]), "factors": shaped(factors)}


N_FACTORS = 14
N_TIMING = 5  # heart rate, P, T, QRS width, P width
N_BODY = N_FACTORS + N_TIMING


def normal_beat(body: np.ndarray, rest: np.ndarray, age: np.ndarray, female: np.ndarray) -> tuple[Beat, np.ndarray]:
    """Normal hearts and their RR interval (ms).

    body    # (n, N_BODY) standard normal: amplitude factors, then rate, P, T, QRS width, P width
    rest    # (n, waves, 8) standard normal: what the factors leave open
    age     # (n,) years
    female  # (n,) 0 or 1
    """
    table = _normal_table()
    mean, per_decade, women, spread = table["fixed"]
    decades, side = ((age - 50) / 10)[:, None, None], (female - 0.5)[:, None, None]
    amplitude = mean + per_decade * decades + women * side + spread * rest
    amplitude = amplitude + np.tensordot(body[:, :N_FACTORS], table["factors"], axes=1)
    rate, p, t, width, p_width = body[:, N_FACTORS:].T
    rr = 880 * np.exp(0.15 * rate)
    # regressions on the same real records: P and T times on RR (ms), age (decades) and sex
    p_time = -145 - 0.026 * (rr - 800) - 2.3 * (age - 50) / 10 + 5 * female + 15 * p
    t_time = 240 + 0.13 * (rr - 800) + 2.7 * (age - 50) / 10 + 8 * female + 13 * t
    beat = Beat(amplitude, p_time, t_time,
                np.clip(1.02 - 0.05 * female + 0.08 * width, 0.78, 1.3), np.clip(1 + 0.08 * p_width, 0.75, 1.3))
    return beat, rr
