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
from ecg.median_beat import CENTRE, RATE, between, level, span

SILENT = 0.005  # mV: below it a sample belongs to no deflection
SMALLEST = 0.018, 10, 0.3  # mV, ms, mV x ms: a deflection has to reach all three to count as a wave
# share of the R that follows (the overshoot of a sharp cut-off), ms (half a period at 45 Hz): less
# is no r
RINGING = 0.09, 11
# mV, share: by how much the last wave must stand out from the ST level it ends at
OWN_PEAK = 0.03, 0.2
QRS_WAVES = ("Q", "R", "S", "Rp", "Sp")  # by number of the run; odd ones are positive
AXIS_LEADS = ("I", "aVF")  # without them there is no axis
FROM, TO = CENTRE - int(0.17 * RATE), CENTRE + int(0.18 * RATE)  # no QRS reaches further


@dataclass(frozen=True)
class Deflections:
    """Per wave (n, 12): amplitude in mV and duration in ms (0 where absent), position of the peak
    (NaN where absent).
    """

    amplitude: dict
    duration: dict
    peak: dict


@dataclass(frozen=True)
class _Runs:
    """Runs of samples of one sign, lane by lane (a lane is one lead of one beat), each (runs,).

    height, peak  # the largest size in mV, and at which sample it is first reached
    length        # samples
    """

    lane: np.ndarray
    sign: np.ndarray
    height: np.ndarray
    length: np.ndarray
    peak: np.ndarray

    def keep(self, chosen: np.ndarray) -> "_Runs":
        """Those that are chosen (runs,) bool; what is left of one sign side by side is one run."""
        lane, sign, height, length, peak = (values[chosen] for values in vars(self).values())
        if not len(lane):
            return _Runs(lane, sign, height, length, peak)
        new = np.ones(len(lane), bool)
        new[1:] = (lane[1:] != lane[:-1]) | (sign[1:] != sign[:-1])
        starts = np.flatnonzero(new)
        tallest = np.maximum.reduceat(height, starts)
        is_tallest = height == np.repeat(tallest, np.diff(starts, append=len(lane)))
        first = np.minimum.reduceat(np.where(is_tallest, peak, np.iinfo(peak.dtype).max), starts)
        return _Runs(lane[new], sign[new], tallest, np.add.reduceat(length, starts), first)

    @property
    def number(self) -> np.ndarray:
        """0 for the first run of a lane that is negative (Q), then R, S, R', S' = 1, 2, 3, 4."""
        new = np.ones(len(self.lane), bool)
        new[1:] = self.lane[1:] != self.lane[:-1]
        place = np.arange(len(new))
        first = np.maximum.accumulate(np.where(new, place, 0))
        return place - first + (self.sign[first] > 0)

    def by_lane(self, values: np.ndarray, number: int, lanes: int) -> np.ndarray:
        """Values (runs,) of the runs of one number as (lanes,): 0 where a lane has none."""
        found = np.zeros(lanes, values.dtype)
        chosen = self.number == number
        found[self.lane[chosen]] = values[chosen]
        return found


def deflections(beats: np.ndarray, onset: np.ndarray, offset: np.ndarray) -> Deflections:
    """Waves of the QRS between `onset` and `offset` (n,) of median beats (n, 12, WIDTH) in mV."""
    beats = beats[..., FROM:TO] - onset_level(beats, onset)[..., None]
    inside = between(onset - FROM, offset - FROM, beats.shape[2])[:, None, :]
    runs = _runs(np.where(inside, beats, 0))
    for _ in range(2):  # what is dropped may join its neighbours to one wave
        length = runs.length * 1000 / RATE
        area = runs.height * length
        large = (runs.height >= SMALLEST[0]) & (length >= SMALLEST[1]) & (area >= SMALLEST[2])
        runs = runs.keep(large)
    lanes = beats.shape[0] * beats.shape[1]
    runs = runs.keep(~_ringing(runs, lanes))
    at_offset = np.nan_to_num(offset - FROM).astype(int)[:, None, None]
    runs = runs.keep(~_st_slope(runs, np.take_along_axis(beats, at_offset, axis=2).ravel()))
    found = Deflections({}, {}, {})
    measured = np.isfinite(onset)[:, None]
    for number, wave in enumerate(QRS_WAVES):
        amplitude, length, peak = (
            runs.by_lane(values, number, lanes).reshape(beats.shape[:2])
            for values in (runs.height, runs.length, runs.peak)
        )
        signed = amplitude * (-1 if number % 2 == 0 else 1) + 0.0
        found.amplitude[wave] = np.where(measured, signed, np.nan)
        found.duration[wave] = length * 1000 / RATE
        found.peak[wave] = np.where(amplitude > 0, peak + FROM, np.nan)
    return found


def onset_level(beats: np.ndarray, onset: np.ndarray) -> np.ndarray:
    """The zero of all amplitudes (n, 12): the level 12 to 6 ms before QRS onset."""
    return level(beats, onset - 6, 4)


def _runs(values):
    """The runs of (n, leads, w) mV that are not silent."""
    lanes = values.reshape(-1, values.shape[2])
    size = np.abs(lanes)
    signs = (lanes >= SILENT).astype(np.int8) - (lanes <= -SILENT)
    new = np.ones(signs.shape, bool)
    new[:, 1:] = signs[:, 1:] != signs[:, :-1]
    starts = np.flatnonzero(new)  # runs lie one after the other in memory
    length = np.diff(starts, append=signs.size)
    height = np.maximum.reduceat(size.ravel(), starts)
    tallest = np.flatnonzero(size.ravel() == np.repeat(height, length))
    peak = tallest[np.searchsorted(tallest, starts)] % signs.shape[1]
    runs = _Runs(starts // signs.shape[1], signs.ravel()[starts], height, length, peak)
    return runs.keep(runs.sign != 0)


def _ringing(runs, lanes):
    """A first r that is the ringing of a steep R behind it: 100 Hz records are cut off sharply at
    45 Hz.
    """
    q, r, rp = (runs.by_lane(runs.height, number, lanes) for number in (0, 1, 3))
    ringing = (q == 0) & (r < RINGING[0] * rp)
    brief = runs.length * 1000 / RATE <= RINGING[1]
    return (runs.number == 1) & brief & ringing[runs.lane]


def _st_slope(runs, at_offset):
    """A last run (from S on) that is no wave of its own but the beginning of a raised or lowered ST
    segment.

    at_offset  # (lanes,) mV where QRS ends
    """
    last = np.ones(len(runs.lane), bool)
    last[:-1] = runs.lane[1:] != runs.lane[:-1]
    st = at_offset[runs.lane] * np.where(runs.number % 2 == 1, 1, -1)
    low = runs.height - st < OWN_PEAK[0] + OWN_PEAK[1] * runs.height
    return last & (st > 0) & low & (runs.number >= 2)


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
        **_deflections(beats, at.T_on, at.T_off, "T"),
        **_p_wave(beats, at),
        **_global(beats, at, rr),
    }
    values = np.stack(list(columns.values()), axis=1)
    values[~np.isfinite(at.measured_from)] = np.nan
    return pd.DataFrame(values.astype(np.float32), columns=list(columns))


def per_lead(wave: str, quantity: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the table of measurements, such as R_Amp_V5, from values (n, 12)."""
    return {f"{wave}_{quantity}_{lead}": values[:, i] for i, lead in enumerate(LEADS)}


def _qrs(found):
    columns = {}
    for wave in QRS_WAVES:
        columns |= per_lead(wave, "Amp", found.amplitude[wave])
        columns |= per_lead(wave, "Dur", found.duration[wave])
    return columns


def _st(beats, at):
    """Levels at the J-point and 20, 60 and 80 ms after it."""
    columns = {}
    for delay in (0, 20, 60, 80):
        position = at.QRS_off + ms_to_samples(J_DELAY + delay)
        wave, quantity = ("ST", f"Amp{delay}ms") if delay else ("J", "Amp")
        columns |= per_lead(wave, quantity, level(beats, position - 1, 3))
    return columns


def _inside(beats, start, stop):
    """Beats (n, 12, w) with 0 outside of start..stop (n,): the part of them that is needed."""
    part = span(start, stop, beats.shape[2])
    inside = between(start - part.start, stop - part.start, part.stop - part.start)
    return np.where(inside[:, None, :], beats[..., part], 0)


def _deflections(beats, start, stop, wave):
    """Positive part, negative part and the larger of both with its sign, from start to stop (n,);
    0 where the wave does not leave the zero.
    """
    values = _inside(beats, start, stop)
    positive, negative = values.max(axis=2, initial=0), values.min(axis=2, initial=0)
    larger = np.where(positive >= -negative, positive, negative)
    return (
        per_lead(wave, "Amp", larger)
        | per_lead(f"{wave}P", "Amp", positive)
        | per_lead(f"{wave}N", "Amp", negative)
    )


def _p_wave(beats, at):
    """NaN where there is no P wave: an amplitude of 0 would be a measurement."""
    columns = _deflections(beats, at.P_on, at.P_off, "P")
    return {
        name: np.where(np.isfinite(at.P_on), values, np.nan) for name, values in columns.items()
    }


def _global(beats, at, rr):
    to_ms = 1000 / RATE
    area = _inside(beats, at.measured_from, at.QRS_off).sum(axis=2)
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
