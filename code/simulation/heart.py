"""A parametric heart: waves in eight independent leads, and the 12-lead ECG that follows from them.

A beat is a sum of named waves. Each wave has one shape in time (milliseconds from the R-peak) and
one amplitude per independent lead (I, II, V1..V6); III, aVR, aVL and aVF follow from I and II.

heart_normal.csv holds what the amplitudes of normal hearts are: mean, change per decade of age,
difference women - men, the loadings of 14 independent factors (so that leads and waves vary
together as they do in real hearts) and the rest; and the same for the logarithm of how large P, QRS
and T are on the whole. tests/benchmarks/fit_normal_heart.py made it from the normal records of half
of the patients among PTB-XL's first 1,499 records (Wagner et al., CC BY 4.0).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
QRS = tuple(f"QRS{k}" for k in range(1, 9))
WAVES = (
    "P1",
    "P2",
    "TA",
    *QRS,
    "ST",
    "T1",
    "T2",
    "U",
)  # TA: the atria's recovery, under PR and QRS
# a beat's waves are nil outside of it (T of a slow heart ends by 600 ms)
WINDOW_MS = (-420.0, 620.0)
STEP_MS = 2.0  # of noise-free beats
QRS_ONSET_MS = -42.0  # where a QRS of width 1 begins, from the R-peak
P_HALF_MS = 50.0  # from the onset of a P wave of width 1 to its middle


@dataclass(frozen=True)
class Beat:
    """Waves of one kind of beat of n hearts.

    amplitude  # (n, waves, 8) mV
    pr, t      # (n,) ms: PR interval, and peak of the T wave from the R-peak
    width      # (n,) QRS width as a factor: 1 is about 85 ms
    p_width    # (n,) P width as a factor: 1 is about 100 ms
    """

    amplitude: np.ndarray
    pr: np.ndarray
    t: np.ndarray
    width: np.ndarray
    p_width: np.ndarray

    @property
    def p(self) -> np.ndarray:
        """(n,) ms: middle of the P wave from the R-peak"""
        return QRS_ONSET_MS * self.width - self.pr + P_HALF_MS * self.p_width


# ---------------------------------------------------------------- shapes in time


def bump(
    time: np.ndarray,
    centre: np.ndarray | float,
    left: np.ndarray | float,
    right: np.ndarray | float,
) -> np.ndarray:
    """Gaussian with its own width on either side; everything in ms, broadcast."""
    offset = time - centre
    return np.exp(-0.5 * (offset / np.where(offset < 0, left, right)) ** 2)


def _ramp(x):
    """Smooth step from 0 to 1 (logistic)."""
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))


def wave_shapes(
    time: np.ndarray,
    p: np.ndarray | float,
    t: np.ndarray,
    width: np.ndarray | float,
    p_width: np.ndarray | float,
) -> np.ndarray:
    """Shapes of WAVES at `time` (ms from R): arrays that broadcast to S give (*S, waves), each wave
    of height 1.
    """
    atrial = [bump(time, p + side * 17 * p_width, 17 * p_width, 17 * p_width) for side in (-1, 1)]
    atrial.append(bump(time, p + 95 * p_width, 35 * p_width, 90))
    ventricular = [
        bump(time, width * (10 * phase - 30), 6.5 * width, 6.5 * width) for phase in range(len(QRS))
    ]
    plateau = _ramp((time - 45 * width) / 8) * _ramp((t - 60 - time) / 18)
    recovery = [bump(time, t - 50, 40, 36), bump(time, t, 42, 32), bump(time, t + 120, 35, 45)]
    return np.stack(np.broadcast_arrays(*atrial, *ventricular, plateau, *recovery), axis=-1)


def template_shapes(beat: Beat) -> tuple[np.ndarray, np.ndarray]:
    """Times (ms from R) and shapes # (n, times, waves) of noise-free beats."""
    time = np.arange(*WINDOW_MS, STEP_MS)
    columns = (value[:, None] for value in (beat.p, beat.t, beat.width, beat.p_width))
    return time, wave_shapes(time, *columns)


def sum_of_waves(beat: Beat, shapes: np.ndarray, waves: tuple[str, ...] = WAVES) -> np.ndarray:
    """# (n, times, 12) mV: noise-free beats, or what some of their waves make of them."""
    keep = np.isin(WAVES, waves)
    return twelve_leads(shapes[..., keep] @ beat.amplitude[:, keep])


def twelve_leads(independent: np.ndarray) -> np.ndarray:
    """(..., 8) I, II, V1..V6 -> (..., 12) by Einthoven's and Goldberger's equations."""
    i, ii = independent[..., 0], independent[..., 1]
    limb = np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2], axis=-1)
    return np.concatenate([limb, independent[..., 2:]], axis=-1)


def digitise(independent: np.ndarray) -> np.ndarray:
    """(..., 8) mV -> (..., 12) int16 uV; I and II are rounded first, so that the six limb leads
    agree to 0.5 uV.
    """
    whole = np.clip(np.rint(independent * 1000), -10000, 10000)
    return np.rint(twelve_leads(whole)).astype("<i2")


# ---------------------------------------------------------------- normal hearts

# waves that are tall or small together
GROUPS = {"P": ("P1", "P2", "TA"), "QRS": QRS, "T": ("ST", "T1", "T2", "U")}


@cache
def _normal_table():
    """heart_normal.csv as arrays: (mean, per_decade, female, rest) and factors, of the waves and of
    the three sizes.
    """
    table = pd.read_csv(Path(__file__).with_name("heart_normal.csv")).set_index(["wave", "lead"])
    waves = table.loc[pd.MultiIndex.from_product([WAVES, INDEPENDENT])]
    sizes = table.loc[[(group, "size") for group in GROUPS]]
    fixed = ["mean", "per_decade", "female", "rest"]
    factors = [column for column in table if column.startswith("factor_")]
    return {
        "fixed": waves[fixed].to_numpy().T.reshape(-1, len(WAVES), len(INDEPENDENT)),
        "factors": waves[factors].to_numpy().T.reshape(-1, len(WAVES), len(INDEPENDENT)),
        "size_fixed": sizes[fixed].to_numpy().T,
        "size_factors": sizes[factors].to_numpy().T,
    }


def sizes(amplitude: np.ndarray) -> np.ndarray:
    """# (n, 3) root mean square (mV) of each of GROUPS over its waves and leads"""
    return np.stack(
        [
            np.sqrt((amplitude[:, np.isin(WAVES, waves)] ** 2).mean(axis=(1, 2)))
            for waves in GROUPS.values()
        ],
        axis=1,
    )


def with_sizes(amplitude: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Amplitudes with each of GROUPS scaled to the wanted size # (n, 3)."""
    factor = wanted / sizes(amplitude)
    number_of = {}
    for number, waves in enumerate(GROUPS.values()):
        number_of.update(dict.fromkeys(waves, number))
    group = [number_of[wave] for wave in WAVES]
    return amplitude * factor[:, group][:, :, None]


def typical_amplitude() -> np.ndarray:
    """# (waves, 8) mV of the mean normal heart"""
    return _normal_table()["fixed"][0]


N_FACTORS = 14
N_BODY = N_FACTORS + 5 + len(GROUPS)  # and RR, PR, T, QRS width, P width, rest of the sizes

# Times of real normal hearts: at RR 800 ms and 50 years, per 100 ms of RR, per decade, women - men,
# rest (fit_normal_heart.py).
TIMING = {
    "pr": (149.6, 3.3, 2.2, 0.1, 18.0),
    "t": (242.0, 13.7, 2.8, 12.0, 14.0),
    "width": (0.997, 0.004, -0.007, -0.061, 0.10),
}
RR_MS = (872.0, 0.145, -0.04)  # median, spread of its logarithm, women - men of its logarithm
RR_RANGE = (600.0, 1080.0)  # sinus rhythm at 56-100 a minute; faster and slower ones are causes


def normal_beat(
    body: np.ndarray, rest: np.ndarray, age: np.ndarray, female: np.ndarray
) -> tuple[Beat, np.ndarray]:
    """Normal hearts and their RR interval (ms).

    body    # (n, N_BODY) standard normal: amplitude factors, then RR, PR, T, QRS width, P width,
            sizes of P, QRS, T
    rest    # (n, waves, 8) standard normal: what the factors leave open
    age     # (n,) years
    female  # (n,) 0 or 1
    """
    decades, side = (age - 50) / 10, female - 0.5
    rr_draw, *draws, p_width = np.clip(body[:, N_FACTORS : N_FACTORS + 5].T, -2.5, 2.5)
    rr = reflect(RR_MS[0] * np.exp(RR_MS[1] * rr_draw + RR_MS[2] * side), *RR_RANGE)
    times = {
        name: base + per_rr * (rr - 800) / 100 + aging * decades + sex * side + sd * draw
        for (name, (base, per_rr, aging, sex, sd)), draw in zip(TIMING.items(), draws, strict=True)
    }
    times["pr"] = reflect(times["pr"], 118, 186)
    times["width"] = reflect(times["width"], 0.72, 1.25)
    amplitude = _normal_amplitude(body[:, :N_FACTORS], rest, body[:, -len(GROUPS) :], decades, side)
    return Beat(amplitude, **times, p_width=1 + 0.07 * p_width), rr


def _normal_amplitude(factors, rest, rest_of_sizes, decades, side):
    """Shape by the factors, then size by its logarithm: no heart gets a negative voltage for being
    small.
    """
    table = _normal_table()
    mean, per_decade, women, spread = table["fixed"]
    amplitude = (
        mean + per_decade * decades[:, None, None] + women * side[:, None, None] + spread * rest
    )
    amplitude = amplitude + np.tensordot(factors, table["factors"], axes=1)
    mean, per_decade, women, spread = table["size_fixed"]
    log_size = mean + per_decade * decades[:, None] + women * side[:, None] + spread * rest_of_sizes
    return with_sizes(amplitude, np.exp(log_size + factors @ table["size_factors"]))


def reflect(values: np.ndarray, least: float = -np.inf, most: float = np.inf) -> np.ndarray:
    """Values mirrored at the bounds, so that none lies outside and none piles up there."""
    if np.isfinite(least):
        values = least + np.abs(values - least)
    if np.isfinite(most):
        values = most - np.abs(values - most)
    return values
