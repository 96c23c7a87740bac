"""Where the waves of a median beat begin, peak and end, over all leads together.

All positions are samples of the median beat at 500 Hz (median_beat.RATE); NaN where a wave is absent.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from median_beat import CENTRE, RATE, WIDTH

INDEPENDENT = [0, 1, 6, 7, 8, 9, 10, 11]  # I, II, V1-V6: the other four are sums of I and II


@dataclass
class Fiducials:
    """Global positions, each (n,) float, in samples of the median beat."""

    P_on: np.ndarray
    P_peak: np.ndarray
    P_off: np.ndarray
    QRS_on: np.ndarray
    QRS_off: np.ndarray
    T_on: np.ndarray
    T_peak: np.ndarray
    T_off: np.ndarray

    def rows(self, index) -> "Fiducials":
        """The fiducials of some records."""
        return Fiducials(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def ms(duration: float) -> int:
    """Milliseconds as samples of the median beat."""
    return round(duration * RATE / 1000)


def find(beats: np.ndarray, rr: np.ndarray) -> Fiducials:
    """Fiducials of median beats (n, 12, WIDTH) in mV; rr (n,) is the typical RR interval in samples at RATE."""
    leads = np.nan_to_num(beats[:, INDEPENDENT])
    qrs_on, qrs_off = _qrs(leads)
    slow = ndimage.gaussian_filter1d(leads, ms(8), axis=2)
    t_on, t_peak, t_off = _t_wave(slow, qrs_off, rr)
    p_on, p_peak, p_off = _p_wave(slow, qrs_on, t_off, rr)
    found = Fiducials(p_on, p_peak, p_off, qrs_on, qrs_off, t_on, t_peak, t_off)
    silent = ~np.isfinite(beats).all(axis=(1, 2)) | (np.abs(leads).max(axis=(1, 2)) < 0.02)
    for field in fields(found):
        setattr(found, field.name, np.where(silent, np.nan, getattr(found, field.name)))
    return found


def _activity(leads, width):
    """Speed of the heart's vector: root of the summed squared slopes of all leads (n, W), smoothed over `width` samples."""
    slope = np.gradient(ndimage.uniform_filter1d(leads, width, axis=2), axis=2)
    return np.sqrt((slope**2).sum(axis=1))


def first(condition: np.ndarray, otherwise: int) -> np.ndarray:
    """Index of the first True along the last axis, `otherwise` where there is none."""
    return np.where(condition.any(axis=-1), condition.argmax(axis=-1), otherwise)


def last(condition: np.ndarray, otherwise: int) -> np.ndarray:
    """Index of the last True along the last axis, `otherwise` where there is none."""
    reverse = condition.shape[-1] - 1 - condition[..., ::-1].argmax(axis=-1)
    return np.where(condition.any(axis=-1), reverse, otherwise)


QRS_SMOOTHING = 20  # ms
ONSET_SHARE, OFFSET_SHARE = 0.04, 0.06  # of the fastest QRS slope: below it the complex has not begun or is over
QRS_HOLD = 16  # ms that it has to stay below
QRS_REACH = 150, 160  # ms before and after R


def _qrs(leads):
    activity = _activity(leads, ms(QRS_SMOOTHING))
    time = np.arange(WIDTH) - CENTRE
    fastest = np.where(np.abs(time) <= ms(80), activity, 0).max(axis=1, keepdims=True)
    noise = np.quantile(activity[:, :CENTRE - ms(100)], 0.2, axis=1, keepdims=True)
    before = _calm(activity < ONSET_SHARE * fastest + noise) & (time < -ms(16)) & (time > -ms(QRS_REACH[0]))
    after = _calm(activity < OFFSET_SHARE * fastest + noise) & (time > ms(16)) & (time < ms(QRS_REACH[1]))
    onset = last(before, CENTRE - ms(QRS_REACH[0])) + ms(QRS_HOLD / 2)
    offset = first(after, CENTRE + ms(QRS_REACH[1])) - ms(QRS_HOLD / 2)
    return onset.astype(float), offset.astype(float)


def _calm(below):
    """Positions in the middle of at least QRS_HOLD of True."""
    return ndimage.minimum_filter1d(below.astype(np.uint8), ms(QRS_HOLD), axis=1).astype(bool)


def _size(leads, start, stop):
    """Size of all leads (n, W) relative to the straight line between their levels at `start` and `stop` (n,); 0 outside."""
    rows = np.arange(len(leads))
    time = np.arange(leads.shape[2])
    start, stop = start.astype(int), stop.astype(int)
    ends = leads[rows, :, start], leads[rows, :, stop]  # each (n, leads)
    share = (time - start[:, None]) / np.maximum(stop - start, 1)[:, None]
    line = ends[0][..., None] + (ends[1] - ends[0])[..., None] * share[:, None, :]
    size = np.sqrt(((leads - line)**2).sum(axis=1))
    return np.where((share >= 0) & (share <= 1), size, 0)


def _foot(size, peak, share, step):
    """Where the wave has fallen below `share` of its peak, going from `peak` (n,) in direction `step`."""
    time = np.arange(size.shape[1])
    low = size < share * size[np.arange(len(size)), peak][:, None]
    if step < 0:
        return last(low & (time < peak[:, None]), 0)
    return first(low & (time > peak[:, None]), size.shape[1] - 1)


def _t_wave(slow, qrs_off, rr):
    start = np.minimum(qrs_off + ms(40), WIDTH - ms(100))
    stop = np.clip(CENTRE + 0.65 * rr, start + ms(80), WIDTH - 1)
    size = _size(slow, start, stop)
    peak = size.argmax(axis=1)
    return tuple(part.astype(float) for part in (_foot(size, peak, 0.1, -1), peak, _foot(size, peak, 0.1, 1)))


P_NOISE = 0.06  # mV over all leads: what a P wave must exceed


def _p_wave(slow, qrs_on, t_off, rr):
    before = np.maximum(CENTRE - rr + (t_off - CENTRE), CENTRE - ms(380))  # end of the T wave before
    start = np.clip(before, 0, qrs_on - ms(60))
    size = _size(slow, start, qrs_on)
    peak = size.argmax(axis=1)
    absent = size.max(axis=1) < P_NOISE
    found = (_foot(size, peak, 0.15, -1), peak, _foot(size, peak, 0.15, 1))
    return tuple(np.where(absent, np.nan, part) for part in found)
