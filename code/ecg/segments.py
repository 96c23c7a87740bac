"""The 24 soft segments of every time step and lead: their names, the waves they belong to, and how
they are drawn from the times of points.

Point classes (P-Onset, R-Peak, ...) are triangles of +-20 ms, the stretches between them take the
rest: the 24 shares of each time step and lead sum to 1.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from common.labels import LEADS

SEGMENTS = (
    "P-Onset",
    "(p",
    "P-Peak",
    "p)",
    "P-Offset",
    "pq",
    "QRS-Onset",
    "(q",
    "Q-Peak",
    "qr",
    "R-Peak",
    "rs",
    "S-Peak",
    "q)",
    "QRS-Offset",
    "qj",
    "J-point",
    "jt",
    "T-Onset",
    "(t",
    "T-Peak",
    "t)",
    "T-Offset",
    "tp",
)
HALF_WIDTH = 0.02  # s: a point class fades to nothing that far from its point
POINTS = SEGMENTS[0::2]  # each is followed by the stretch that comes next in SEGMENTS

# wave or interval -> its segments. A point that ends one and begins the next belongs to both, and
# so do the flanks of R, which are Q's and S's as well: cells are read, not shared out, by waves.
WAVES = {
    "P": ("P-Onset", "(p", "P-Peak", "p)", "P-Offset"),
    "PR": ("P-Offset", "pq", "QRS-Onset"),
    "Q": ("QRS-Onset", "(q", "Q-Peak", "qr"),
    "R": ("qr", "R-Peak", "rs"),
    "S": ("rs", "S-Peak", "q)"),
    "late QRS": ("S-Peak", "q)", "QRS-Offset"),
    "QRS": ("QRS-Onset", "(q", "Q-Peak", "qr", "R-Peak", "rs", "S-Peak", "q)", "QRS-Offset"),
    "ST": ("qj", "J-point", "jt"),
    "T": ("T-Onset", "(t", "T-Peak", "t)", "T-Offset"),
    "TP": ("tp",),
}


def share_of(segments: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Share (..., T, 12) that the segments `names` take together in soft segments
    (..., T, 12, 24).
    """
    columns = [SEGMENTS.index(name) for name in names]
    return segments[..., columns].sum(axis=-1)


def in_turn(times: np.ndarray) -> np.ndarray:
    """Points (beats, 12, 12 POINTS) in s, with those T waves cut short that reach into the beat
    after, and without T waves before their own QRS (of a beat that the record's end cuts off).
    """
    times = times.copy()
    t_wave = times[..., POINTS.index("T-Onset") :]
    t_wave[t_wave <= times[..., POINTS.index("QRS-Offset"), None]] = np.nan
    for before, after in itertools.pairwise(times):
        begins = np.fmin(after[:, POINTS.index("P-Onset")], after[:, POINTS.index("QRS-Onset")])
        latest = begins - HALF_WIDTH / 2
        onset, peak, offset = (POINTS.index(f"T-{side}") for side in ("Onset", "Peak", "Offset"))
        no_t_is_seen = before[:, peak] >= latest
        cut_short = before[:, offset] >= latest
        before[cut_short, offset] = latest[cut_short]
        before[no_t_is_seen, onset:] = np.nan
    return times


def draw(times: np.ndarray, n_samples: int, sampling_rate: float) -> np.ndarray:
    """Shares (T, 12, 24) of points at `times` (beats, 12, 12 POINTS) in s and of the stretches
    between them.
    """
    points = _triangles(times, n_samples, sampling_rate)
    shares = np.zeros((n_samples, len(LEADS), len(SEGMENTS)), np.float32)
    shares[..., 0::2] = points / np.maximum(points.sum(axis=2, keepdims=True), 1)
    rest = 1 - shares.sum(axis=2, keepdims=True)
    stretch = _stretches(times, n_samples, sampling_rate)[..., None]
    np.put_along_axis(shares, stretch, rest, axis=2)
    return shares


def draw_bytes(times: np.ndarray, n_samples: int, sampling_rate: float) -> np.ndarray:
    """As `draw`, as ptbxl_segmentations/*.npy stores it: uint8 that sum to 255.

    Points are rounded down; what is left over is the stretch's.
    """
    points = _triangles(times, n_samples, sampling_rate)
    points *= 255 / np.maximum(points.sum(axis=2, keepdims=True), 1)
    stored = np.zeros((n_samples, len(LEADS), len(SEGMENTS)), np.uint8)
    stored[..., 0::2] = points
    rest = 255 - stored.sum(axis=2, dtype=np.int16, keepdims=True)
    stretch = _stretches(times, n_samples, sampling_rate)[..., None]
    np.put_along_axis(stored, stretch, rest.astype(np.uint8), axis=2)
    return stored


def _triangles(times, n_samples, sampling_rate):
    """Weight (T, 12, 12 POINTS) of each point at each time step: 1 at the point, 0 from HALF_WIDTH
    on.
    """
    points = np.zeros((n_samples, len(LEADS), len(POINTS)), np.float32)
    reach = int(np.ceil(HALF_WIDTH * sampling_rate))
    beat, lead, point = np.nonzero(np.isfinite(times))
    at = times[beat, lead, point] * sampling_rate
    for step in range(-reach, reach + 2):
        sample = np.floor(at).astype(int) + step
        weight = 1 - np.abs(sample - at) / (HALF_WIDTH * sampling_rate)
        near = (weight > 0) & (sample >= 0) & (sample < n_samples)
        np.maximum.at(
            points, (sample[near], lead[near], point[near]), weight[near].astype(np.float32)
        )
    return points


def _stretches(times, n_samples, sampling_rate):
    """Class of the stretch at each time step and lead (T, 12): the one after the last point passed,
    tp before the first. Where a beat begins before the one before it has ended, the later beat's
    point counts.
    """
    ahead = np.full((1, len(LEADS)), -np.inf)  # of all points: what follows it is tp
    in_order = np.concatenate([ahead, times.transpose(0, 2, 1).reshape(-1, len(LEADS))])
    following = np.full(in_order.shape, SEGMENTS.index("tp"))
    following[1:] = _following(times).transpose(0, 2, 1).reshape(-1, len(LEADS))
    clock = np.arange(n_samples) / sampling_rate
    sample = np.searchsorted(clock, np.where(np.isnan(in_order), np.inf, in_order))
    passed = np.zeros((n_samples + 1, len(LEADS)), int)
    number = np.broadcast_to(np.arange(len(in_order))[:, None], in_order.shape)
    np.maximum.at(passed, (sample, np.arange(len(LEADS))), number)
    passed = np.maximum.accumulate(passed[:n_samples], axis=0)
    return np.take_along_axis(following, passed, axis=0)


def _following(times):
    """Class of the stretch after each point: without a Q, (q is qr; after a QS comes q)."""
    following = np.broadcast_to(np.arange(1, len(SEGMENTS), 2), times.shape).copy()
    onset, q, r = (POINTS.index(name) for name in ("QRS-Onset", "Q-Peak", "R-Peak"))
    absent = np.isnan(times)
    following[..., onset][absent[..., q]] = SEGMENTS.index("qr")
    following[..., q][absent[..., r]] = SEGMENTS.index("q)")
    return following
