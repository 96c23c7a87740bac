"""The 24 soft segments of every time step and lead: downloaded where present, else drawn from our fiducials.

Point classes (P-Onset, R-Peak, ...) are triangles of +-20 ms, the stretches between them take the rest:
the 24 shares of each time step and lead sum to 1.
"""

from pathlib import Path

import numpy as np

import ecg
from artefacts import UserError, read_json, read_npy
from dataset import Dataset
from labels import LEADS
from median_beat import CENTRE, RATE

SEGMENTS = (
    "P-Onset", "(p", "P-Peak", "p)", "P-Offset", "pq",
    "QRS-Onset", "(q", "Q-Peak", "qr", "R-Peak", "rs", "S-Peak", "q)", "QRS-Offset", "qj", "J-point", "jt",
    "T-Onset", "(t", "T-Peak", "t)", "T-Offset", "tp",
)
HALF_WIDTH = 0.02  # s: a point class fades to nothing that far from its point
J_DELAY = 10  # ms after QRS offset
FOLDER = "ptbxl_segmentations"

# point -> the stretch that follows it
AFTER = {"P-Onset": "(p", "P-Peak": "p)", "P-Offset": "pq", "QRS-Onset": "(q", "Q-Peak": "qr", "R-Peak": "rs", "S-Peak": "q)",
         "QRS-Offset": "qj", "J-point": "jt", "T-Onset": "(t", "T-Peak": "t)", "T-Offset": "tp"}


def load_segments(data: Dataset, rows) -> np.ndarray:
    """Soft segments (n, T, 12, 24) float32, each time step and lead summing to 1, of the records at positions `rows`.

    Read from ptbxl_segmentations/<ecg_id>.npy in the data set's folder or the one it was made from, else computed
    from the signal. Raises UserError for a file of another shape, type or content.
    """
    rows = np.arange(len(data))[rows] if isinstance(rows, slice) else np.asarray(rows)
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(int)
    found = np.zeros((len(rows), data.signals.shape[1], len(LEADS), len(SEGMENTS)), np.float32)
    missing = []
    folders = segmentation_folders(data.path)
    for place, row in enumerate(rows):
        path = next((p for p in (folder / f"{data.ecg_id[row]}.npy" for folder in folders) if p.is_file()), None)
        if path is None:
            missing.append(place)
        else:
            found[place] = _to_length(read_segments(path), data.signals.shape[1], data.sampling_rate, path)
    for start in range(0, len(missing), ecg.CHUNK):
        places = missing[start:start + ecg.CHUNK]
        found[places] = from_signals(data.signals[rows[places]], data.sampling_rate)
    return found


def segmentation_folders(data_path: str | Path) -> list[Path]:
    """Where downloaded segmentations may lie: beside the data set, and in the folder preprocessing.py read."""
    folders = [Path(data_path) / FOLDER]
    made = Path(data_path) / "preprocessing.json"
    if made.is_file():
        source = read_json(made).get("settings", {}).get("data_path")
        folders += [Path(data_path) / source / FOLDER] if source else []  # relative to the folder it is noted in
    return [folder for folder in folders if folder.is_dir()]


def read_segments(path: str | Path) -> np.ndarray:
    """One downloaded segmentation as shares: uint8 (T, 12, 24) -> float32 summing to 1."""
    mask = read_npy(path)
    if mask.ndim != 3 or mask.shape[1:] != (len(LEADS), len(SEGMENTS)) or mask.dtype != np.uint8:
        raise UserError(f"{path} is {mask.dtype} {mask.shape}, expected uint8 (time, {len(LEADS)}, {len(SEGMENTS)})")
    total = mask.sum(axis=2, keepdims=True, dtype=np.float32)
    if (total == 0).any():
        raise UserError(f"{path} has {int((total == 0).sum())} time steps that belong to no segment: download it again")
    return mask / total


def _to_length(shares, n_samples, sampling_rate, path):
    """Segments at 100 Hz at the time steps of a record of `n_samples` at `sampling_rate`."""
    if len(shares) != -(-n_samples * 100 // sampling_rate):
        raise UserError(f"{path} has {len(shares)} time steps, the record {n_samples} at {sampling_rate} Hz")
    return shares[np.arange(n_samples) * 100 // sampling_rate]


def from_signals(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Soft segments (n, T, 12, 24) of a few records (n, T, 12) in mV, from our fiducials of every beat."""
    found = ecg.analyse(signals, sampling_rate)
    shares = np.empty((*signals.shape, len(SEGMENTS)), np.float32)
    for row in range(len(signals)):
        shares[row] = draw(*events(found, row), signals.shape[1], sampling_rate)
    return shares


def events(found: "ecg.Analysis", row: int) -> tuple[np.ndarray, list[str]]:
    """Points of one record: (12, K) positions in s, NaN where a lead has no such point, and their K names."""
    at, centres = found.fiducials.rows(row), found.beats.centres[row]
    times = {"P-Onset": at.P_on, "P-Peak": at.P_peak, "P-Offset": at.P_off, "QRS-Onset": at.QRS_on,
             "Q-Peak": found.qrs.peak["Q"][row], "R-Peak": found.qrs.peak["R"][row], "S-Peak": found.qrs.peak["S"][row],
             "QRS-Offset": at.QRS_off, "J-point": at.QRS_off + J_DELAY * RATE / 1000,
             "T-Onset": at.T_on, "T-Peak": at.T_peak, "T-Offset": at.T_off}
    beat = np.stack([np.broadcast_to(times[name], len(LEADS)) for name in AFTER], axis=1)  # (12, points)
    parts = [(beat + centre - CENTRE) / RATE for centre in centres[centres >= 0]]
    return np.concatenate(parts, axis=1) if parts else np.empty((len(LEADS), 0)), list(AFTER) * len(parts)


def draw(times: np.ndarray, names: list[str], n_samples: int, sampling_rate: int) -> np.ndarray:
    """Shares (T, 12, 24) of points at `times` (12, K) in s and of the stretches that follow them."""
    shares = np.zeros((n_samples, len(LEADS), len(SEGMENTS)), np.float32)
    clock = np.arange(n_samples) / sampling_rate
    point_class = np.array([SEGMENTS.index(name) for name in names], dtype=int)
    stretch_class = np.array([SEGMENTS.index("tp")] + [SEGMENTS.index(AFTER[name]) for name in names], dtype=int)
    for lead in range(len(LEADS)):
        present = np.flatnonzero(np.isfinite(times[lead]))
        order = present[np.argsort(times[lead, present], kind="stable")]
        at = times[lead, order]
        height = np.maximum(1 - np.abs(clock[:, None] - at) / HALF_WIDTH, 0)  # (T, K)
        for segment in np.unique(point_class[order]):
            shares[:, lead, segment] = height[:, point_class[order] == segment].sum(axis=1)
        total = shares[:, lead].sum(axis=1)
        shares[:, lead] /= np.maximum(total, 1)[:, None]
        since = np.searchsorted(at, clock, side="right")  # number of points passed
        stretch = stretch_class[np.concatenate([[0], order + 1])][since]
        shares[np.arange(n_samples), lead, stretch] += np.maximum(1 - total, 0)
    return shares
