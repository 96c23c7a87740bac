"""WFDB annotations of a data set's waves, as LUDB and other collections have them."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ecg.delineation import delineate, write_annotations

FOLDER = "annotations"


def annotate(signals: np.ndarray, sampling_rate: int, ids: list[int], folder: Path) -> None:
    """Write `<folder>/<id>.<lead>` of records (N, T, 12) in mV.

    ids have five digits at least, as in PTB-XL's file names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for ecg_id, signal in zip(tqdm(ids, desc="annotating"), signals, strict=True):
        marks = delineate(signal, sampling_rate)
        write_annotations(marks, folder, f"{ecg_id:05d}", sampling_rate)
