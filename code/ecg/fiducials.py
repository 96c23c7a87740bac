"""Where the waves of a median beat begin, peak and end, over all leads together.

All positions are samples of the median beat at 500 Hz (median_beat.RATE); NaN where a wave is
absent.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from ecg.median_beat import CENTRE, RATE, WIDTH, MedianBeats, between

J_DELAY = 10  # ms from QRS offset to the J-point
SILENCE = 0.02  # mV: a median beat that stays below it in every lead is none
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

    def rows(self, index: np.ndarray | slice) -> "Fiducials":
        """The fiducials of some records."""
        return Fiducials(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def ms(duration: float) -> int:
    """Milliseconds as samples of the median beat."""
    return round(duration * RATE / 1000)


def find(
    median: MedianBeats, rr: np.ndarray, irregularity: np.ndarray, before: np.ndarray | None = None
) -> Fiducials:
    """Fiducials of median beats.

    rr            # (n,) typical RR interval in samples at RATE
    irregularity  # (n,) typical change from one RR interval to the next, as a share of rr
    before        # (n,) interval to the beat before, where it is not rr: its T wave is no P
    """
    leads = np.nan_to_num(median.beats[:, INDEPENDENT])
    qrs_on, qrs_off = _qrs(leads)
    slow = ndimage.gaussian_filter1d(leads, ms(8), axis=2)
    activity = _activity(slow, ms(40))
    t_on, t_peak, t_off = _t_wave(slow, activity, qrs_off, rr)
    p_on, p_peak, p_off = _p_wave(slow, activity, qrs_on, t_off, rr if before is None else before)
    found = Fiducials(p_on, p_peak, p_off, qrs_on, qrs_off, t_on, t_peak, t_off)
    silent = ~np.isfinite(median.beats).all(axis=(1, 2)) | (
        np.abs(leads).max(axis=(1, 2)) < SILENCE
    )
    no_p = _no_p(leads, median, p_on, p_off, irregularity)
    for field in fields(found):
        absent = silent | no_p if field.name.startswith("P_") else silent
        setattr(found, field.name, np.where(absent, np.nan, getattr(found, field.name)))
    return found


def _activity(leads, width):
    """Speed of the heart's vector: root of the summed squared slopes of all leads (n, W), smoothed
    over `width` samples.
    """
    slope = np.gradient(ndimage.uniform_filter1d(leads, width, axis=2), axis=2)
    return np.sqrt((slope**2).sum(axis=1))


def first(condition: np.ndarray, otherwise: int) -> np.ndarray:
    """Index of the first True along the last axis, `otherwise` where there is none."""
    return np.where(condition.any(axis=-1), condition.argmax(axis=-1), otherwise)


def last(condition: np.ndarray, otherwise: int) -> np.ndarray:
    """Index of the last True along the last axis, `otherwise` where there is none."""
    reverse = condition.shape[-1] - 1 - condition[..., ::-1].argmax(axis=-1)
    return np.where(condition.any(axis=-1), reverse, otherwise)


QRS_SMOOTHING = 16  # ms
ONSET_SHARE, OFFSET_SHARE = (
    0.03,
    0.06,
)  # of the fastest QRS slope: below it the complex has not begun or is over
QRS_HOLD = 16  # ms that it has to stay below
QRS_REACH = 150, 160  # ms before and after R


def _qrs(leads):
    activity = _activity(leads, ms(QRS_SMOOTHING))
    time = np.arange(WIDTH) - CENTRE
    fastest = np.where(np.abs(time) <= ms(80), activity, 0).max(axis=1, keepdims=True)
    noise = np.quantile(activity[:, : CENTRE - ms(100)], 0.2, axis=1, keepdims=True)
    before = (
        _calm(activity < ONSET_SHARE * fastest + noise)
        & (time < -ms(16))
        & (time > -ms(QRS_REACH[0]))
    )
    after = (
        _calm(activity < OFFSET_SHARE * fastest + noise)
        & (time > ms(16))
        & (time < ms(QRS_REACH[1]))
    )
    onset = last(before, CENTRE - ms(QRS_REACH[0])) + ms(QRS_HOLD / 2)
    offset = first(after, CENTRE + ms(QRS_REACH[1])) - ms(QRS_HOLD / 2)
    return onset.astype(float), offset.astype(float)


def _calm(below):
    """Positions in the middle of at least QRS_HOLD of True."""
    return ndimage.minimum_filter1d(below.astype(np.uint8), ms(QRS_HOLD), axis=1).astype(bool)


def _masked(values, start, stop, fill):
    """Values (n, W) with `fill` outside of start..stop (n,)."""
    time = np.arange(values.shape[1])
    return np.where((time >= start[:, None]) & (time <= stop[:, None]), values, fill)


def _above_line(leads, start, stop):
    """Size of all leads (n, W) against the straight line between their levels at `start` and `stop`
    (n,); 0 outside.
    """
    levels = _at(leads, start), _at(leads, stop)  # each (n, leads)
    share = (np.arange(leads.shape[2]) - start[:, None]) / np.maximum(stop - start, 1)[:, None]
    line = levels[0][..., None] + (levels[1] - levels[0])[..., None] * share[:, None, :]
    return _masked(np.sqrt(((leads - line) ** 2).sum(axis=1)), start, stop, 0)


def _at(leads, position):
    """Leads (n, leads, W) at one position (n,) each: (n, leads)."""
    return leads[np.arange(len(leads)), :, position.astype(int)]


def _foot(leads, activity, peak, limit, share, nearest):
    """Where a wave begins (limit < peak) or ends (limit > peak).

    Its baseline is taken at the quietest place between peak and limit (n,), `nearest` samples or
    more from the peak, where it is quiet too; the wave reaches to where its size against that
    baseline falls below `share` of the size at its peak.
    """
    side = np.where(limit < peak, -1, 1)
    begin = peak + side * nearest
    limit = np.where(side < 0, np.minimum(limit, begin), np.maximum(limit, begin)).clip(
        0, WIDTH - 1
    )
    quiet = _masked(activity, np.minimum(begin, limit), np.maximum(begin, limit), np.inf).argmin(
        axis=1
    )
    size = np.sqrt(((leads - _at(leads, quiet)[..., None]) ** 2).sum(axis=1))
    low = size < share * size[np.arange(len(size)), peak.astype(int)][:, None]
    before = last(_masked(low, quiet, peak, False), 0)
    after = first(_masked(low, peak, quiet, False), 0)
    return np.where(
        limit < peak, np.maximum(before, quiet), np.where(after > 0, after, quiet)
    ).astype(float)


T_SHARE = 0.1  # of the wave's size at its peak: where T begins and ends
P_SHARES = 0.18, 0.16  # the same where P begins and ends
P_HALF = 30  # ms: no P wave is over sooner after its peak
P_REACH = 380  # ms before QRS in which P is looked for
P_FAR = (
    1.4,
    1.0,
    # the further ahead of QRS (as a share of P_REACH), the less a wave is taken for P: it may be
    # the T
    # before
)


def _t_wave(slow, activity, qrs_off, rr):
    """Onset, peak and offset of T, the largest wave between QRS and where the next P may begin."""
    start = np.minimum(qrs_off + ms(40), WIDTH - ms(150))
    longest = 0.5 * np.sqrt(rr / RATE) * RATE  # Bazett: T is over by then
    stop = np.clip(np.minimum(CENTRE + longest, CENTRE + rr - ms(180)), start + ms(100), WIDTH - 1)
    peak = _above_line(slow, start, stop).argmax(axis=1).astype(float)
    limit = np.clip(np.minimum(peak + ms(220), CENTRE + rr - ms(200)), peak + ms(30), WIDTH - 1)
    return (
        _foot(slow, activity, peak, qrs_off + ms(10), T_SHARE, ms(50)),
        peak,
        _foot(slow, activity, peak, limit, T_SHARE, ms(50)),
    )


def _p_wave(slow, activity, qrs_on, t_off, rr):
    """Onset, peak and offset of P, the largest wave between the T before and the QRS; to be judged
    by `_no_p`.
    """
    stop = qrs_on - ms(16)  # before the smoothed QRS begins
    start = np.clip(np.maximum(t_off - rr, stop - ms(P_REACH)), 0, stop - ms(60))
    size = _masked(_above_line(slow, start, stop), start + ms(10), stop - ms(16), 0)
    ahead = (qrs_on[:, None] - np.arange(WIDTH)) / ms(P_REACH)
    peak = (size * np.clip(P_FAR[0] - P_FAR[1] * ahead, 0, 1)).argmax(axis=1).astype(float)
    limit = np.maximum(np.maximum(peak - ms(110), t_off - rr), 0)
    found = (
        _foot(slow, activity, peak, np.minimum(limit, peak - ms(20)), P_SHARES[0], ms(P_HALF)),
        peak,
        _foot(slow, activity, peak, np.maximum(stop, peak + 1), P_SHARES[1], ms(P_HALF)),
    )
    return found


P_SIZE = 0.03  # mV over all leads: smaller is no P wave
P_SHORTEST = 50  # ms: shorter is no P wave
P_STEADY, P_STEADY_IF_IRREGULAR = 0.5, 1.2  # size of P against its spread from beat to beat
IRREGULAR = 0.1  # RR changes by more than that from beat to beat: atrial fibrillation is likely


def _no_p(leads, median, p_on, p_off, irregularity):
    """Whether what was taken for P is too small, or comes and goes from beat to beat as
    fibrillation waves do.
    """
    level = (_at(leads, p_on) + _at(leads, p_off)) / 2
    stride = leads.shape[2] // median.spread.shape[2]
    inside = between(p_on, p_off, leads.shape[2])[:, None, ::stride]
    wave = np.where(inside, leads[..., ::stride] - level[..., None], 0)
    spread = np.where(inside, np.nan_to_num(median.spread[:, INDEPENDENT]), 0)
    size = np.sqrt((wave**2).sum(axis=1)).max(axis=1)
    steadiness = np.sqrt((wave**2).sum(axis=(1, 2))) / np.maximum(
        np.sqrt((spread**2).sum(axis=(1, 2))), 1e-6
    )
    too_small = (size < P_SIZE) | (p_off - p_on < ms(P_SHORTEST))
    return too_small | (
        steadiness < np.where(irregularity > IRREGULAR, P_STEADY_IF_IRREGULAR, P_STEADY)
    )
