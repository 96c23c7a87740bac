"""Where P, QRS and T begin, peak and end in each lead by itself.

A lead's own mark is exact where the wave is large and anything where it is small; the mark over all
leads is steady but never the lead's own. What is given lies between the two, by shares that were
settled on one half of LUDB's records (docs/results.md, "Marks of cardiologists").
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ecg.fiducials import (
    QRS_HOLD,
    Fiducials,
    above_line,
    activity,
    calm,
    first_true,
    foot,
    last_true,
    masked,
    ms_to_samples,
    over_leads,
    slopes,
    t_waves_of_leads,
)
from ecg.median_beat import CENTRE, WIDTH

OWN = {  # wave, side -> share of the lead's own mark, the rest is that over all leads
    ("P", "onset"): 0.5,
    ("P", "offset"): 0.5,
    ("QRS", "onset"): 0.3,
    ("QRS", "offset"): 0.5,
    ("T", "onset"): 0.4,
    ("T", "offset"): 0.3,
}
# How long T rises: where ST slopes into T nobody sees where, and what is seen is drawn to what is
# usual at that rate, by the share that fits half A of LUDB best (least squares, n = 50: leaving one
# record out at a time its records' errors have an SD of 9.4 ms instead of 11.1)
T_RISE = 42, 0.067  # ms, share of RR: the usual time from onset to peak over all leads
T_RISE_OWN = 0.57  # share of the measured one
T_RISE_RR = 500, 1400  # ms: RR beyond it changes T no further
P_SHARES = 0.1, 0.25  # of a lead's P at its peak: where it begins and ends
QRS_SHARES = 0.05, 0.08  # of a lead's fastest QRS slope: below it the complex is not there
P_REACH, QRS_REACH = 30, 24  # ms by which a lead's mark may lie outside of that over all leads


@dataclass(frozen=True)
class LeadWave:
    """One wave of n beats in 12 leads.

    onset, peak, offset  # (n, 12) samples of the median beat, NaN where the wave is absent
    size                 # (n, 12) mV: how far it stands out from the line between its ends
    """

    onset: np.ndarray
    peak: np.ndarray
    offset: np.ndarray
    size: np.ndarray


def find_in_leads(beats: np.ndarray, at: Fiducials, rr: np.ndarray) -> dict[str, LeadWave]:
    """P, QRS and T of beats (n, 12, W) in mV.

    at  their fiducials over all leads;  rr  (n,) typical RR interval in samples
    """
    leads = np.nan_to_num(beats)
    slow = ndimage.gaussian_filter1d(leads, ms_to_samples(8), axis=2)
    slope = slopes(slow, ms_to_samples(40))
    present = np.isfinite(at.QRS_on)
    filled = Fiducials(**{name: _filled(values) for name, values in vars(at).items()})
    found = {
        "P": p_waves(slow, slope, filled),
        "QRS": _qrs(leads, filled),
        "T": _t_waves(slow, slope, filled, rr),
    }
    has = {"P": np.isfinite(at.P_on), "QRS": present, "T": np.isfinite(at.T_off)}
    waves = {}
    for name, parts in found.items():
        there = has[name][:, None]
        waves[name] = LeadWave(*(np.where(there, values, np.nan) for values in parts))
    return waves


def _filled(positions):
    """Positions with the beat's middle where a wave is absent: a place to compute at."""
    return np.where(np.isfinite(positions), positions, CENTRE)


def _blend(wave, side, own, over):
    share = OWN[wave, side]
    return share * own + (1 - share) * over[:, None]


def _t_waves(slow, slope, at, rr):
    own = t_waves_of_leads(slow, slope, at.QRS_off, at.T_peak, rr)
    onset = _blend("T", "onset", own["onset"], _t_onset(over_leads(own, "onset"), at.T_peak, rr))
    offset = _blend("T", "offset", own["offset"], at.T_off)
    peak = np.clip(own["peak"], onset, offset)
    return onset, peak, offset, own["size"]


def _t_onset(seen, t_peak, rr):
    """Where T begins over all leads (n,): its rise as `seen`, drawn to the usual one."""
    rr = np.clip(rr, *(ms_to_samples(limit) for limit in T_RISE_RR))
    usual = ms_to_samples(T_RISE[0]) + T_RISE[1] * rr
    return t_peak - T_RISE_OWN * (t_peak - seen) - (1 - T_RISE_OWN) * usual


def p_waves(slow: np.ndarray, slope: np.ndarray, at: Fiducials) -> tuple[np.ndarray, ...]:
    """Onset, peak and offset of P in each lead and its size there in mV, four (n, 12).

    slow   # (n, 12, W) smoothed beats;  slope  # (n, 12, W) their slopes
    at     where P lies over all leads, and QRS begins
    """
    n, count, _ = slow.shape
    alone = slow.reshape(n * count, 1, -1)
    on, off, qrs_on = (np.repeat(values, count) for values in (at.P_on, at.P_off, at.QRS_on))
    begin = np.maximum(on - ms_to_samples(P_REACH), 0)
    end = np.minimum(off + ms_to_samples(P_REACH), qrs_on - ms_to_samples(6))
    size = above_line(alone, begin, end)
    height = masked(size, on + ms_to_samples(10), off - ms_to_samples(10), 0)
    peak = height.argmax(axis=1).astype(float)
    speed = np.abs(slope).reshape(n * count, -1)
    onset = foot(alone, speed, peak, np.minimum(begin, peak), P_SHARES[0], ms_to_samples(30))
    offset = foot(alone, speed, peak, np.maximum(end, peak + 1), P_SHARES[1], ms_to_samples(30))
    onset, peak, offset, size = (
        values.reshape(n, count) for values in (onset, peak, offset, height.max(axis=1))
    )
    onset = _blend("P", "onset", onset, at.P_on)
    offset = _blend("P", "offset", offset, at.P_off)
    return onset, np.clip(peak, onset, offset), offset, size


def _qrs(leads, at):
    n, count, _ = leads.shape
    alone = leads.reshape(n * count, 1, -1)
    on, off = np.repeat(at.QRS_on, count), np.repeat(at.QRS_off, count)
    speed = activity(slopes(alone, ms_to_samples(16)))
    inside = masked(speed, on, off, 0)
    fastest, middle = inside.max(axis=1)[:, None], inside.argmax(axis=1)
    reach, inner = ms_to_samples(QRS_REACH), ms_to_samples(40)
    slow, over = (calm(speed < share * fastest) for share in QRS_SHARES)
    before = masked(slow, on - reach, np.minimum(middle, on + inner), False)
    after = masked(over, np.maximum(middle, off - inner), off + reach, False)
    onset = np.where(before.any(axis=1), last_true(before, 0) + ms_to_samples(QRS_HOLD / 2), on)
    offset = np.where(
        after.any(axis=1), first_true(after, WIDTH - 1) - ms_to_samples(QRS_HOLD / 2), off
    )
    onset = _blend("QRS", "onset", onset.reshape(n, count), at.QRS_on)
    offset = _blend("QRS", "offset", offset.reshape(n, count), at.QRS_off)
    height = masked(above_line(alone, on, off), on, off, 0)
    peak = height.argmax(axis=1).reshape(n, count)
    return onset, np.clip(peak, onset, offset), offset, height.max(axis=1).reshape(n, count)
