"""A small preprocessed folder made of noise with a planted bump per class: for tests that need
speed, not ECGs.
"""

import numpy as np
import pandas as pd

from common.files import write_csv, write_npy, write_pickle
from common.labels import LABEL_MAPPINGS, LEADS


def write_tiny_dataset(folder, n_patients=60, n_samples=500, sampling_rate=100, seed=0):
    """Two records for every third patient, folds by patient, superdiagnostic and rhythm labels, T
    amplitudes; the folder.
    """
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(1, n_patients + 1), np.where(np.arange(n_patients) % 3, 1, 2))
    n = len(patients)
    labels = (rng.random((n, 5)) < 0.35).astype(int)
    labels[::11] = 0
    signals = rng.normal(0, 0.3, (n, n_samples, 12))
    shape = np.sin(np.linspace(0, 8 * np.pi, n_samples))
    signals[:, :, :5] += labels[:, None] * shape[None, :, None]
    amplitudes = signals.std(axis=1) * 2
    table = pd.DataFrame(
        {
            "ecg_id": np.arange(1, n + 1) * 3,
            "patient_id": patients.astype(float),
            "strat_fold": patients % 10 + 1,
            "r_peaks": "100 200",
        }
    )
    for column, lead in enumerate(LEADS):
        table[f"T_Amp_{lead}"] = np.where(np.arange(n) % 9 == 4, np.nan, amplitudes[:, column])
    rhythm = np.zeros((n, len(LABEL_MAPPINGS["rhythm"])), int)
    rhythm[np.arange(n), rng.integers(2, size=n)] = 1
    write_pickle(folder / f"raw{sampling_rate}.pkl", signals.astype(np.float32))
    write_npy(folder / "multihot_superdiagnostic.npy", labels)
    write_npy(folder / "multihot_rhythm.npy", rhythm)
    write_csv(folder / "ptbxl_database_enriched.csv", table)
    return folder
