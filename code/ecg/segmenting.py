"""The 24 soft segments of records, drawn from our own fiducials of every beat."""

import numpy as np

from common.labels import LEADS
from ecg import analysis
from ecg.fiducials import J_DELAY, Fiducials, ms_to_samples
from ecg.median_beat import CENTRE, RATE
from ecg.segments import POINTS, SEGMENTS, draw, in_turn
from ecg.waves import Deflections

P_POINTS = slice(POINTS.index("P-Onset"), POINTS.index("P-Offset") + 1)


def segment(signal: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Soft segments (T, 12, 24) of one record (T, 12) in mV; see `from_signals`."""
    return from_signals(np.asarray(signal)[None], sampling_rate)[0]


def from_signals(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Soft segments (n, T, 12, 24) of a few records (n, T, 12) in mV, from our fiducials of every
    beat.
    """
    found = analysis.analyse(signals, sampling_rate)
    points = beat_points(found.fiducials, found.qrs)  # (n, 12, 12) samples of the median beat
    shares = np.empty((*signals.shape, len(SEGMENTS)), np.float32)
    for row in range(len(signals)):
        centres = found.beats.centres[row]
        centres = centres[centres >= 0]
        beats = np.repeat(points[row][None], len(centres), axis=0)
        alone = ~found.beats.dominant[row, : len(centres)]
        other = np.flatnonzero(alone | analysis.with_p_on_t(found, row)[: len(centres)])
        if len(other):
            _, at, qrs = analysis.single_beats(signals[row], sampling_rate, found, row, other)
            own = beat_points(at, qrs)
            beats[other, :, P_POINTS] = own[:, :, P_POINTS]
            beats[alone] = own[alone[other]]
        times = (beats + (centres - CENTRE)[:, None, None]) / RATE
        shares[row] = draw(in_turn(times), signals.shape[1], sampling_rate)
    return shares


def beat_points(at: Fiducials, qrs: Deflections) -> np.ndarray:
    """Positions (n, 12 leads, 12 POINTS) in samples of the median beat; NaN where a lead has no
    such point.
    """
    positions = {
        "P-Onset": at.P_on,
        "P-Peak": at.P_peak,
        "P-Offset": at.P_off,
        "QRS-Onset": at.QRS_on,
        "Q-Peak": qrs.peak["Q"],
        "R-Peak": qrs.peak["R"],
        "S-Peak": qrs.peak["S"],
        "QRS-Offset": at.QRS_off,
        "J-point": at.QRS_off + ms_to_samples(J_DELAY),
        "T-Onset": at.T_on,
        "T-Peak": at.T_peak,
        "T-Offset": at.T_off,
    }
    shape = (len(at.QRS_on), len(LEADS))
    return np.stack(
        [np.broadcast_to(positions[name].reshape(shape[0], -1), shape) for name in POINTS], axis=2
    )
