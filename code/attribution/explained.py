"""What was explained, kept beside the maps: signals and segments, for figures and viewers."""

from pathlib import Path

import numpy as np

from common.files import write_npz
from records.dataset import Dataset
from records.segmentations import load_segments

FILE = "records.npz"
CHUNK = 64  # records whose segments are drawn at a time


def write_records(folder: Path, data: Dataset, rows: np.ndarray) -> Path:
    """Write <folder>/records.npz: ecg_id (n,), signals (n, T, 12) float32 mV, segments (n, T, 12)
    uint8 (the class with the largest share), sampling_rate (Hz), of the records at `rows`.
    """
    rows = np.unique(rows)
    segments = np.zeros((len(rows), *data.signals.shape[1:]), np.uint8)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        segments[part] = load_segments(data, rows[part]).argmax(axis=3)
    path = folder / FILE
    write_npz(
        path,
        ecg_id=data.ecg_id[rows],
        signals=data.signals[rows].astype(np.float32),
        segments=segments,
        sampling_rate=np.array(data.sampling_rate),
    )
    return path
