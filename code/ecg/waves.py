"""Amplitudes and durations of the waves of median beats, in Uni-G's naming and conventions.

All amplitudes are in mV against the level at QRS onset, P included (so has Uni-G; the PQ segment
often lies lower than the line before P). Q and S negative, R and R' (`Rp`) positive, 0 where the
wave is absent; a QRS without a positive part (QS) is a Q. P_Amp and T_Amp are the larger deflection
with its sign, PP_/TP_ and PN_/TN_ the positive and the negative part. Durations in ms. What depends
on a P wave is blank where there is none (P_Found_Global 0), as in Uni-G.
"""

import numpy as np
import pandas as pd

from common.labels import LEADS
from ecg.deflections import QRS_WAVES, Deflections, between, level, onset_level
from ecg.fiducials import J_DELAY, Fiducials, ms
from ecg.median_beat import RATE


def measure(beats: np.ndarray, at: Fiducials, qrs: Deflections, rr: np.ndarray) -> pd.DataFrame:
    """Measurements of median beats (n, 12, W) mV, one row each; NaN where there is no beat.

    at  fiducials of the beats;  qrs  waves of their QRS;  rr  (n,) typical RR interval in samples
        at RATE
    """
    beats = beats - onset_level(beats, at.QRS_on)[..., None]
    columns = {
        **_qrs(qrs),
        **_st(beats, at),
        **_t_wave(beats, at),
        **_p_wave(beats, at),
        **_global(beats, at, rr),
    }
    values = np.stack(list(columns.values()), axis=1)
    values[~np.isfinite(at.QRS_on)] = np.nan
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
        position = at.QRS_off + ms(J_DELAY + delay)
        columns |= _per_lead(*name, level(beats, position - ms(2), position + ms(2)))
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
    inside = between(at.QRS_on, at.QRS_off, beats.shape[2])[:, None, :]
    area = np.where(inside, beats, 0).sum(axis=2)
    return {
        "P_Found_Global": np.isfinite(at.P_on).astype(float),
        "P_Dur_Global": (at.P_off - at.P_on) * to_ms,
        "PR_Int_Global": (at.QRS_on - at.P_on) * to_ms,
        "QRS_Dur_Global": (at.QRS_off - at.QRS_on) * to_ms,
        "QT_Int_Global": (at.T_off - at.QRS_on) * to_ms,
        "ST_Dur_Global": (at.T_on - at.QRS_off) * to_ms,
        "T_Dur_Global": (at.T_off - at.T_on) * to_ms,
        "RR_Mean_Global": rr * to_ms,
        "QRS_Axis_Global": np.degrees(
            np.arctan2(area[:, LEADS.index("aVF")] * 2 / np.sqrt(3), area[:, LEADS.index("I")])
        ),
    }
