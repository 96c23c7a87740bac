"""The 24 soft segments of records: downloaded where present, else drawn from our fiducials."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.files import UserError, note_read, read_npy
from common.labels import LEADS
from common.stage import data_folders
from ecg.segments import SEGMENTS
from records.dataset import Dataset

FOLDER = "ptbxl_segmentations"


def load_segments(data: Dataset, rows: np.ndarray | Sequence[int] | slice) -> np.ndarray:
    """Soft segments (n, T, 12, 24) float32, each time step and lead summing to 1, of the records at
    positions `rows`.

    Read from ptbxl_segmentations/<ecg_id>.npy in the data set's folder or the one it was made from,
    else computed from the signal. Raises UserError for a file of another shape, type or content.
    """
    rows = np.arange(len(data))[rows] if isinstance(rows, slice) else np.asarray(rows)
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(int)
    found = np.zeros((len(rows), data.signals.shape[1], len(LEADS), len(SEGMENTS)), np.float32)
    missing = []
    folders = segmentation_folders(data.path)
    for place, row in enumerate(rows):
        paths = [folder / f"{data.ecg_id[row]}.npy" for folder in folders]
        path = next(filter(Path.is_file, paths), None)
        if path is None:
            missing.append(place)
        else:
            found[place] = _to_length(
                read_segments(path), data.signals.shape[1], data.sampling_rate, path
            )
    if missing:
        found[missing] = _drawn(data.signals[rows[missing]], data.sampling_rate)
    return found


def _drawn(signals, sampling_rate):
    """Segments from our own fiducials: what they need is loaded when a file is missing."""
    from ecg.analysis import CHUNK
    from ecg.segmenting import from_signals

    parts = [
        from_signals(signals[start : start + CHUNK], sampling_rate)
        for start in range(0, len(signals), CHUNK)
    ]
    return np.concatenate(parts)


def segmentation_folders(data_path: str | Path) -> list[Path]:
    """Where segmentations may lie: in the data set's folder, and in the one it was made from."""
    folders = [folder / FOLDER for folder in data_folders(data_path)]
    return [folder for folder in folders if folder.is_dir()]


def stored_segmentations(data_path: str | Path) -> dict[str, int]:
    """The setting of a stage that reads segments: how many of them are files; nothing where all are
    drawn. With it, files that come after a run are not taken for what the run has read.
    """
    folders = segmentation_folders(data_path)
    names = {path.name for folder in folders for path in folder.glob("*.npy")}
    return {"segmentations": len(names)} if names else {}


def read_segments(path: str | Path) -> np.ndarray:
    """One downloaded segmentation as shares: uint8 (T, 12, 24) -> float32 summing to 1."""
    note_read(path)
    mask = read_npy(path)
    if mask.ndim != 3 or mask.shape[1:] != (len(LEADS), len(SEGMENTS)) or mask.dtype != np.uint8:
        raise UserError(
            f"{path} is {mask.dtype} {mask.shape}, expected uint8 (time, {len(LEADS)}, "
            f"{len(SEGMENTS)})"
        )
    total = mask.sum(axis=2, keepdims=True, dtype=np.float32)
    if (total == 0).any():
        raise UserError(
            f"{path} has {int((total == 0).sum())} time steps that belong to no segment: download "
            "it again"
        )
    return mask / total


def _to_length(shares, n_samples, sampling_rate, path):
    """Segments at 100 Hz at the time steps of a record of `n_samples` at `sampling_rate`."""
    if len(shares) != -(-n_samples * 100 // sampling_rate):
        raise UserError(
            f"{path} has {len(shares)} time steps, the record {n_samples} at {sampling_rate} Hz"
        )
    return shares[np.arange(n_samples) * 100 // sampling_rate]
