"""Median beats at steps of 2 ms from records at 100 Hz, real or simulated, and the components they
are made of.
"""

import ast
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from common.labels import LEADS
from simulation.heart import WAVES, wave_shapes

TIME = np.arange(-300, 500, 2.0)  # ms from the R-peak
# waves that would otherwise fit the baseline beside them
RIDGE = {"TA": 3.0, "QRS1": 3.0, "QRS8": 3.0}
CHEST_AND_LIMB = [LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]


def median_beat(signal: np.ndarray, r_peaks: np.ndarray) -> np.ndarray | None:
    """# (400, 12) mV of one record (1000, 12), or None with fewer than three whole beats.

    Beats are aligned on each other at 2 ms, and the median beat on its largest vector.
    """
    fine = resample_poly(signal.astype(float), 5, 1, axis=0, padtype="line")
    beats = [
        fine[5 * peak - 200 : 5 * peak + 300]
        for peak in r_peaks
        if 5 * peak >= 200 and 5 * peak + 300 <= len(fine)
    ]
    if len(beats) < 3:
        return None
    beats = np.stack(beats) - np.median(beats, axis=1, keepdims=True)
    middle = np.median(beats, axis=0)
    shifts = [
        max(
            range(-6, 7), key=lambda s, beat=beat: (beat[150 + s : 250 + s] * middle[150:250]).sum()
        )
        for beat in beats
    ]
    middle = np.median(
        [beat[20 + s : 480 + s] for beat, s in zip(beats, shifts, strict=True)], axis=0
    )
    peak = 165 + np.sqrt((middle[165:196, CHEST_AND_LIMB] ** 2).sum(axis=1)).argmax()
    return middle[peak - 150 : peak + 250]


def isoelectric(beat: np.ndarray) -> np.ndarray:
    """The beat with the PR segment (60-50 ms before R) at zero."""
    return beat - np.median(beat[(TIME > -62) & (TIME < -50)], axis=0)


def marks(beat: np.ndarray) -> tuple[float, float, float]:
    """P peak, T peak (ms) and QRS width (factor) of one median beat # (400, 8)."""
    size = np.sqrt((beat**2).sum(axis=1))
    before = (TIME > -240) & (TIME < -60)
    atrial = beat[before] - np.linspace(beat[before][0], beat[before][-1], before.sum())
    p = TIME[before][np.sqrt((atrial**2).sum(axis=1)).argmax()]
    after = (TIME > 150) & (TIME < 430)
    t = TIME[after][size[after].argmax()]
    slope = np.sqrt((np.gradient(beat, axis=0) ** 2).sum(axis=1))
    steep = np.flatnonzero((slope > 0.07 * slope.max()) & (TIME > -70) & (TIME < 90))
    return p, t, float(np.clip((TIME[steep[-1]] - TIME[steep[0]]) / 80, 0.75, 2.0))


def components(beat: np.ndarray, p: float, t: float, width: float) -> np.ndarray:
    """Amplitudes of the waves # (waves, 8) mV that fit one median beat best (least squares, a
    little ridge).
    """
    inside = (TIME > -290) & (TIME < 450)
    shapes = wave_shapes(TIME[inside], p, t, width, 1.0)
    design = np.c_[shapes, np.ones(len(shapes))]
    ridge = np.diag([RIDGE.get(wave, 0.05) for wave in WAVES] + [0])
    return np.linalg.solve(design.T @ design + ridge, design.T @ beat[inside])[: len(WAVES)]


def read_real(folder: Path, reference: Path) -> tuple[pd.DataFrame, np.ndarray, list[np.ndarray]]:
    """Table (with `codes`, a set per row), signals (n, 1000, 12) mV, and published R-peaks of the
    real records that have them.
    """
    table = pd.read_csv(folder / "ptbxl_database.csv")
    table["codes"] = [frozenset(ast.literal_eval(text)) for text in table["scp_codes"]]
    peaks = pd.read_csv(reference / "r_peaks.csv", index_col="ecg_id")["r_peaks"].dropna()
    table = table[table["ecg_id"].isin(peaks.index)].reset_index(drop=True)
    signals = (
        np.stack(
            [
                np.fromfile(folder / f"{name}.dat", "<i2").reshape(-1, 12)
                for name in table["filename_lr"]
            ]
        )
        / 1000
    )
    return (
        table,
        signals,
        [np.array(peaks[ecg_id].split(), dtype=int) for ecg_id in table["ecg_id"]],
    )


def normal(table: pd.DataFrame) -> np.ndarray:
    """Records that are NORM and have nothing else but sinus rhythm."""
    return np.array([{"NORM"} <= codes <= {"NORM", "SR"} for codes in table["codes"]])
