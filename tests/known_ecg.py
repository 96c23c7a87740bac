"""ECGs drawn from Gaussian waves at known places and heights, sampled at any rate: what measuring
has to find again.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ecg import rpeaks

# ms from R, width (standard deviation, ms), heights in I, II, V1..V6 (mV)
WAVES = {
    "P": (-160, 20, (0.08, 0.15, 0.05, 0.06, 0.06, 0.06, 0.05, 0.05)),
    "Q": (-28, 7, (-0.12, -0.10, 0, 0, 0, 0, -0.10, -0.12)),
    "R": (0, 11, (0.9, 1.2, 0.25, 0.5, 0.8, 1.6, 1.5, 1.1)),
    "S": (32, 10, (-0.15, -0.2, -1.1, -1.4, -0.9, -0.5, -0.25, -0.1)),
    "T": (260, 40, (0.25, 0.35, -0.12, 0.5, 0.5, 0.4, 0.35, 0.25)),
}
LIMB = np.array(
    [[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]]
)  # all six from I and II


def detect_all(signals, sampling_rate):
    """R-peaks of records (N, T, 12) as they are first found, before beats are aligned."""
    leads = rpeaks.clean(np.asarray(signals)[..., rpeaks.INDEPENDENT])
    return rpeaks.detect_in(leads, sampling_rate)


def known_ecg(beats_ms, sampling_rate=100, seconds=10.0, without=(), scale=None, noise=0.0, seed=0):
    """A record # (T, 12) mV with R-peaks at `beats_ms`; `scale` {wave: factor}, `noise` standard
    deviation in mV.

    A beat given as (ms, "PVC") is wide, without P, and points the other way.
    """
    time = np.arange(int(seconds * sampling_rate)) * 1000 / sampling_rate
    eight = np.zeros((len(time), 8))
    for beat in beats_ms:
        at, kind = beat if isinstance(beat, tuple) else (beat, "normal")
        for wave, (delay, width, heights) in WAVES.items():
            if wave in without or (kind == "PVC" and wave == "P"):
                continue
            factor, wide = (-1.3, 2.2) if kind == "PVC" and wave in "QRS" else (1.0, 1.0)
            shape = np.exp(-0.5 * ((time - at - delay * wide) / (width * wide)) ** 2)
            eight += factor * (scale or {}).get(wave, 1.0) * shape[:, None] * np.array(heights)
    record = np.concatenate([eight[:, :2] @ LIMB.T, eight[:, 2:]], axis=1)
    return record + noise * np.random.default_rng(seed).standard_normal(record.shape)


def regular(rate=70, seconds=10.0, first=500):
    """R-peaks in ms at `rate` beats per minute."""
    return np.arange(first, seconds * 1000 - 200, 60000 / rate)


KINDS = {
    "NORM SR": {},
    "LVH SR": {"R": 2.2, "S": 2.0},
    "IMI SR": {"Q": 4.0, "T": -0.8},
}  # labels -> what is scaled


def write_recordings(
    folder: Path, n_patients: int = 60, sampling_rate: int = 250, seconds: float = 10.0
) -> None:
    """Recordings as someone brings them: mine.npy # (N, T, 12) float32 mV, and mine.csv with
    labels, patients and R-peaks.
    """
    rng = np.random.default_rng(0)
    labels = np.resize(list(KINDS), n_patients)
    beats = [
        regular(rate, seconds, first)
        for rate, first in zip(
            rng.uniform(55, 95, n_patients), rng.uniform(300, 800, n_patients), strict=True
        )
    ]
    signals = [
        known_ecg(at, sampling_rate, seconds, scale=KINDS[kind], noise=0.02, seed=row)
        for row, (at, kind) in enumerate(zip(beats, labels, strict=True))
    ]
    np.save(folder / "mine.npy", np.array(signals, np.float32))
    pd.DataFrame(
        {
            "labels": labels,
            "patient_id": np.arange(n_patients) + 500,
            "age": rng.integers(30, 90, n_patients),
            "sex": rng.integers(2, size=n_patients),
            "strat_fold": np.arange(n_patients) // len(KINDS) % 10 + 1,
            "r_peaks": [
                " ".join(map(str, np.rint(at * sampling_rate / 1000).astype(int))) for at in beats
            ],
        }
    ).to_csv(folder / "mine.csv", index=False)
