"""Where the waves of a median beat begin, peak and end, over all leads together.

All positions are samples of the median beat at 500 Hz (median_beat.RATE); NaN where a wave is
absent.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from ecg.atria import (
    ALIKE,
    ALIKE_IF_SLOW,
    SLOW,
    STEADY,
    inverted,
    repeated,
    unsteady,
    varying,
    without_line,
)
from ecg.median_beat import CENTRE, RATE, WIDTH, MedianBeats, between, span
from ecg.rpeaks import INDEPENDENT

J_DELAY = 10  # ms from QRS offset to the J-point
SILENCE = 0.02  # mV: a median beat that stays below it in every lead is none


@dataclass
class Fiducials:
    """Global positions, each (n,) float, in samples of the median beat.

    `measured_from` is where the QRS of the table of measurements begins: at QRS_on, but of paced
    beats below 500 Hz with the spike, which is so blunt there that it is a part of the complex (for
    Uni-G, too).
    """

    P_on: np.ndarray
    P_peak: np.ndarray
    P_off: np.ndarray
    QRS_on: np.ndarray
    QRS_off: np.ndarray
    T_on: np.ndarray
    T_peak: np.ndarray
    T_off: np.ndarray
    measured_from: np.ndarray

    def rows(self, index: np.ndarray | slice) -> "Fiducials":
        """The fiducials of some records."""
        return Fiducials(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def ms_to_samples(duration: float) -> int:
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
    as_recorded = leads
    leads, course = _without_noise(leads)
    qrs_on, qrs_off = _qrs(*course)
    every_sample = median.spread.shape[2] == WIDTH
    begin, qrs_on = around_spike(as_recorded, qrs_on, every_sample)
    slow = ndimage.gaussian_filter1d(leads, ms_to_samples(8), axis=2)
    slope = slopes(slow, ms_to_samples(40))
    speed = activity(slope)
    t_on, t_peak, t_off = _t_wave(slow, speed, qrs_off, rr)
    before = rr if before is None else before
    t_before = t_off - before
    t_off = over_leads(t_waves_of_leads(slow, slope, qrs_off, t_peak, rr), "offset")
    kind = irregularity > IRREGULAR, begin != qrs_on
    p, no_p = _find_p(median, leads, slow, speed, begin, (t_before, t_off - before), rr, kind)
    measured_from = qrs_on if every_sample else begin
    found = Fiducials(*p, qrs_on, qrs_off, t_on, t_peak, t_off, measured_from)
    silent = ~np.isfinite(median.beats).all(axis=(1, 2)) | (
        np.abs(leads).max(axis=(1, 2)) < SILENCE
    )
    for field in fields(found):
        absent = silent | no_p if field.name.startswith("P_") else silent
        setattr(found, field.name, np.where(absent, np.nan, getattr(found, field.name)))
    return found


def activity(slope: np.ndarray) -> np.ndarray:
    """Speed of the heart's vector (n, W): root of the summed squared slopes (n, leads, W)."""
    return np.sqrt((slope**2).sum(axis=1))


def slopes(leads: np.ndarray, width: int) -> np.ndarray:
    """Change of leads (n, leads, W) per sample, smoothed over `width` samples."""
    smooth = ndimage.uniform_filter1d(leads, width, axis=2)
    slope = np.empty_like(smooth)  # np.gradient takes twice as long
    np.subtract(smooth[..., 2:], smooth[..., :-2], out=slope[..., 1:-1])
    slope[..., 1:-1] /= 2
    slope[..., 0] = smooth[..., 1] - smooth[..., 0]
    slope[..., -1] = smooth[..., -1] - smooth[..., -2]
    return slope


def first_true(condition: np.ndarray, otherwise: int) -> np.ndarray:
    """Index of the first True along the last axis, `otherwise` where there is none."""
    return np.where(condition.any(axis=-1), condition.argmax(axis=-1), otherwise)


def last_true(condition: np.ndarray, otherwise: int) -> np.ndarray:
    """Index of the last True along the last axis, `otherwise` where there is none."""
    reverse = condition.shape[-1] - 1 - condition[..., ::-1].argmax(axis=-1)
    return np.where(condition.any(axis=-1), reverse, otherwise)


QRS_SMOOTHING = 16  # ms
LOUD_SMOOTHING = 8  # ms (standard deviation) of leads in which noise is loud
# of the fastest QRS slope: below it the complex has not begun or is over
ONSET_SHARE, OFFSET_SHARE = 0.03, 0.06
QRS_HOLD = 16  # ms that it has to stay below
QRS_REACH = 150, 160  # ms before and after R


def _course(leads):
    """How fast leads change (n, W), how fast at most in their QRS and how fast where they are quiet
    before it, two (n, 1).
    """
    speed = activity(slopes(leads, ms_to_samples(QRS_SMOOTHING)))
    near = np.abs(np.arange(WIDTH) - CENTRE) <= ms_to_samples(80)
    fastest = np.where(near, speed, 0).max(axis=1, keepdims=True)
    noise = np.quantile(speed[:, : CENTRE - ms_to_samples(100)], 0.2, axis=1, keepdims=True)
    return speed, fastest, noise


def _without_noise(leads):
    """Leads smoothed where noise changes them faster than the first of their QRS does, and their
    `_course`. No record of half A is as loud at 100 or 500 Hz.
    """
    course = _course(leads)
    _, fastest, noise = course
    loud = (noise > ONSET_SHARE * fastest)[:, 0]
    if loud.any():
        leads = leads.copy()
        leads[loud] = ndimage.gaussian_filter1d(leads[loud], ms_to_samples(LOUD_SMOOTHING), axis=2)
        course = _course(leads)
    return leads, course


def _qrs(speed, fastest, noise):
    """Where QRS begins and ends, two (n,)."""
    time = np.arange(WIDTH) - CENTRE
    before = (
        calm(speed < ONSET_SHARE * fastest + noise)
        & (time < -ms_to_samples(16))
        & (time > -ms_to_samples(QRS_REACH[0]))
    )
    after = (
        calm(speed < OFFSET_SHARE * fastest + noise)
        & (time > ms_to_samples(16))
        & (time < ms_to_samples(QRS_REACH[1]))
    )
    onset = last_true(before, CENTRE - ms_to_samples(QRS_REACH[0])) + ms_to_samples(QRS_HOLD / 2)
    offset = first_true(after, CENTRE + ms_to_samples(QRS_REACH[1])) - ms_to_samples(QRS_HOLD / 2)
    return onset.astype(float), offset.astype(float)


SPIKE = 4  # times the fastest course of a QRS: a bend of the leads that sharp is a pacemaker's
SPIKE_REACH = 180, 20  # ms before R within which a spike belongs to this beat
SPIKE_RISES = 10  # ms before its sharpest bend
SPIKE_LASTS = 30  # ms until what the spike leaves in the leads is over: there QRS begins
# At 100 Hz a spike is some 20 ms wide, as sharp as a QRS: only apart from it can it be told.
# Of half A's records (749 of PTB-XL, 50 of LUDB) the 5 paced ones reach .69, the others .43.
BLUNT_SPIKE = 0.55  # of the sharpest bend of QRS
BLUNT_STEP = 10  # ms over which that bend is measured
NARROW = 0.6  # of the bend over twice that: a wave of the heart is wider, and bends more over more
BLUNT_NEAREST = 54  # ms before R: nearer, the first notch of a left bundle branch block is as sharp


def around_spike(
    leads: np.ndarray, qrs_on: np.ndarray, fine: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Where the pacemaker's spike of paced beats (n, leads, W) begins, and where it ends: there QRS
    begins. Both are `qrs_on` (n,) where there is no spike.

    fine  whether the record has every sample of the beats: a spike of 2 ms is sharp only then
    """
    paced, spike = _blunt_spike(leads)
    if fine:
        sharp, place = _sharp_spike(leads)
        paced, spike = paced | sharp, np.where(sharp, place, spike)
    begins = np.minimum(spike - ms_to_samples(SPIKE_RISES), qrs_on)
    ends = spike + ms_to_samples(SPIKE_LASTS)
    return np.where(paced, begins, qrs_on), np.where(paced, ends, qrs_on)


def _sharp_spike(leads):
    """Whether there is a spike (n,) bool in leads at 500 Hz, and where."""
    bend = np.sqrt((np.diff(leads, 2, axis=2) ** 2).sum(axis=1))  # bend[k] is at k + 1
    before, until = CENTRE - ms_to_samples(SPIKE_REACH[0]), CENTRE - ms_to_samples(SPIKE_REACH[1])
    course = np.sqrt((np.diff(leads, axis=2) ** 2).sum(axis=1))[
        :, before : CENTRE + ms_to_samples(80)
    ]
    fastest = ndimage.uniform_filter1d(course, ms_to_samples(30), axis=1).max(axis=1)
    window = bend[:, before:until]
    paced = window.max(axis=1) > SPIKE * np.maximum(fastest, 1e-6)
    return paced, window.argmax(axis=1) + before + 1


def _blunt_spike(leads):
    """The same for leads that were sampled at a lower rate: a sharp bend of its own before QRS."""
    before = CENTRE - ms_to_samples(SPIKE_REACH[0])
    until = CENTRE + ms_to_samples(90)
    step = ms_to_samples(BLUNT_STEP)
    bend = _bend_over(leads, before, until, step)  # bend[k] is at before + k
    narrow = bend > NARROW * _bend_over(leads, before, until, 2 * step)
    of_qrs = bend[:, CENTRE - ms_to_samples(50) - before :].max(axis=1)
    ahead = bend[:, : CENTRE - ms_to_samples(BLUNT_NEAREST) - before + 2]
    crest = (ahead[:, 1:-1] >= ahead[:, :-2]) & (ahead[:, 1:-1] >= ahead[:, 2:])
    sharpest = np.where(crest & narrow[:, 1 : ahead.shape[1] - 1], ahead[:, 1:-1], 0)
    paced = sharpest.max(axis=1) > BLUNT_SPIKE * np.maximum(of_qrs, 1e-6)
    return paced, sharpest.argmax(axis=1) + before + 1


def _bend_over(leads, begin, end, step):
    """How sharply all leads bend over `step` samples to both sides, from begin to end: (n, w)."""
    part = leads[..., begin - step : end + step]
    bend = part[..., 2 * step :] - 2 * part[..., step:-step] + part[..., : -2 * step]
    return np.sqrt((bend**2).sum(axis=1))


def calm(below: np.ndarray) -> np.ndarray:
    """Positions (n, W) in the middle of at least QRS_HOLD of True."""
    width = ms_to_samples(QRS_HOLD)
    return ndimage.minimum_filter1d(below.astype(np.uint8), width, axis=1).astype(bool)


def masked(values: np.ndarray, start: np.ndarray, stop: np.ndarray, fill: float) -> np.ndarray:
    """Values (n, W) with `fill` outside of start..stop (n,)."""
    return np.where(between(start, stop, values.shape[1]), values, fill)


def above_line(leads: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Size of all leads (n, W) against the straight line between their levels at `start` and `stop`
    (n,); 0 outside.
    """
    levels = at_position(leads, start), at_position(leads, stop)  # each (n, leads)
    part = span(start, stop, leads.shape[2])
    time = np.arange(part.start, part.stop)
    share = (time - start[:, None]) / np.maximum(stop - start, 1)[:, None]
    away = (levels[1] - levels[0])[..., None] * share[:, None, :]  # the line, in place from here on
    away += levels[0][..., None]
    np.subtract(leads[..., part], away, out=away)
    away *= away
    size = np.zeros((len(leads), leads.shape[2]))
    over_all = np.sqrt(away.sum(axis=1))
    size[:, part] = masked(over_all, start - part.start, stop - part.start, 0)
    return size


def _bump(leads, start, stop, reach):
    """Size of all leads (n, W) against the line between what lies `reach` samples before and after;
    before `start` and after `stop` (n,) their levels there count.
    """
    places = np.clip(np.arange(leads.shape[2]), start[:, None], stop[:, None]).astype(int)
    held = np.take_along_axis(leads, places[:, None], axis=2)
    line = (held[..., 2 * reach :] + held[..., : -2 * reach]) / 2
    size = np.zeros((len(leads), leads.shape[2]), leads.dtype)
    size[:, reach:-reach] = np.sqrt(((held[..., reach:-reach] - line) ** 2).sum(axis=1))
    return size


def at_position(leads: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Leads (n, leads, W) at one position (n,) each: (n, leads)."""
    return leads[np.arange(len(leads)), :, position.astype(int)]


def foot(
    leads: np.ndarray,
    speed: np.ndarray,
    peak: np.ndarray,
    limit: np.ndarray,
    share: float,
    nearest: int,
) -> np.ndarray:
    """Where a wave begins (limit < peak) or ends (limit > peak).

    Its baseline is taken at the quietest place between peak and limit (n,), `nearest` samples or
    more from the peak, where it is quiet too; the wave reaches to where its size against that
    baseline falls below `share` of the size at its peak.
    """
    side = np.where(limit < peak, -1, 1)
    begin = peak + side * nearest
    limit = np.where(side < 0, np.minimum(limit, begin), np.maximum(limit, begin)).clip(
        0, leads.shape[2] - 1
    )
    quiet = masked(speed, np.minimum(begin, limit), np.maximum(begin, limit), np.inf).argmin(axis=1)
    size = np.sqrt(((leads - at_position(leads, quiet)[..., None]) ** 2).sum(axis=1))
    low = size < share * size[np.arange(len(size)), peak.astype(int)][:, None]
    low &= between(np.minimum(quiet, peak), np.maximum(quiet, peak), low.shape[1])
    before, after = last_true(low, 0), first_true(low, 0)
    return np.where(
        limit < peak, np.maximum(before, quiet), np.where(after > 0, after, quiet)
    ).astype(float)


T_SHARE = 0.1  # of the wave's size at its peak: where T begins and ends
P_SHARES = 0.18, 0.16  # the same where P begins and ends
P_HALF = 30  # ms: no P wave is over sooner after its peak
P_REACH = 380  # ms before QRS in which P is looked for
# the further ahead of QRS (as a share of P_REACH), the less a wave is taken for P: it may be the T
# before
P_FAR = 1.4, 1.0


def _t_wave(slow, speed, qrs_off, rr):
    """Onset, peak and offset of T, the largest wave between QRS and where the next P may begin."""
    slow, speed = slow[..., CENTRE:], speed[:, CENTRE:]
    start, stop = _t_window(qrs_off, rr)
    peak = above_line(slow, start - CENTRE, stop - CENTRE).argmax(axis=1).astype(float)
    begin, end = qrs_off + ms_to_samples(10), _t_limit(peak + CENTRE, rr)
    onset, offset = (
        foot(slow, speed, peak, limit - CENTRE, T_SHARE, ms_to_samples(50)) + CENTRE
        for limit in (begin, end)
    )
    return onset, peak + CENTRE, offset


def _t_window(qrs_off, rr):
    """Where the peak of T is looked for."""
    start = np.minimum(qrs_off + ms_to_samples(40), WIDTH - ms_to_samples(150))
    longest = 0.5 * np.sqrt(rr / RATE) * RATE  # Bazett: T is over by then
    stop = np.minimum(CENTRE + longest, CENTRE + rr - ms_to_samples(180))
    return start, np.clip(stop, start + ms_to_samples(100), WIDTH - 1)


def _t_limit(peak, rr):
    """T does not end later."""
    return np.clip(
        np.minimum(peak + ms_to_samples(220), CENTRE + rr - ms_to_samples(200)),
        peak + ms_to_samples(30),
        WIDTH - 1,
    )


T_SHARES_OF_LEAD = 0.12, 0.08  # of the wave's size in a lead: where T begins and ends there
T_FROM = CENTRE - ms_to_samples(40)  # before it nothing of T is looked for
T_NEAR = 80  # ms: the peaks of T in single leads lie that near to the peak over all leads


def t_waves_of_leads(
    slow: np.ndarray,
    slope: np.ndarray,
    qrs_off: np.ndarray,
    t_peak: np.ndarray,
    rr: np.ndarray,
) -> dict[str, np.ndarray]:
    """T of every lead by itself: onset, peak and offset (n, leads) and its size there in mV.

    A U wave that is seen in few leads moves the end of T in these alone: the end over all leads is
    the leads' median (`over_leads`).

    slow    # (n, leads, W) smoothed beats
    slope   # (n, leads, W) their `slopes`
    t_peak  # (n,) peak over all leads
    """
    n, count, _ = slow.shape
    alone = slow[..., T_FROM:].reshape(n * count, 1, -1)
    speed = np.abs(slope[..., T_FROM:]).reshape(n * count, -1)
    window = [np.repeat(values - T_FROM, count) for values in _t_window(qrs_off, rr)]
    near = [np.repeat(t_peak - T_FROM + side * ms_to_samples(T_NEAR), count) for side in (-1, 1)]
    height = masked(above_line(alone, *window), *near, 0)
    peak = height.argmax(axis=1).astype(float)
    begin = np.repeat(qrs_off + ms_to_samples(10) - T_FROM, count)
    end = _t_limit(peak + T_FROM, np.repeat(rr, count)) - T_FROM
    onset = foot(alone, speed, peak, begin, T_SHARES_OF_LEAD[0], ms_to_samples(50))
    offset = foot(alone, speed, peak, end, T_SHARES_OF_LEAD[1], ms_to_samples(50))
    found = {"onset": onset, "peak": peak, "offset": offset}
    found = {name: values.reshape(n, count) + T_FROM for name, values in found.items()}
    return found | {"size": height.max(axis=1).reshape(n, count)}


def over_leads(waves: dict[str, np.ndarray], side: str) -> np.ndarray:
    """Median over leads (n,) of `side`; leads in which the wave is smaller than in half of them
    count the less.
    """
    positions, size = waves[side], waves["size"]
    seen = np.sort(np.where(size > 0, size, np.inf), axis=1)  # a flat lead has no say
    count = np.maximum((size > 0).sum(axis=1, keepdims=True), 1)
    middle = [np.take_along_axis(seen, place, axis=1) for place in ((count - 1) // 2, count // 2)]
    weights = np.minimum(size, np.nan_to_num(sum(middle) / 2)) + 1e-9
    order = np.argsort(positions, axis=1)
    reached = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    middle = (reached >= reached[:, -1:] / 2).argmax(axis=1)
    return np.take_along_axis(positions, order, axis=1)[np.arange(len(order)), middle]


P_SIZE = 0.03  # mV over all leads: smaller is no P wave
P_SHORTEST = 50  # ms: shorter is no P wave
P_BUMP = 80  # ms to both sides against which a wave is one by itself
P_FLANK = 0.7  # of a wave's size that it has to keep against them: less is the flank of T
P_LEADS = 3  # those in which P stands out most from its spread say how steady it is
# Size of P against its spread from beat to beat. Of half A's 594 records in sinus rhythm no other
# is lost than with .65, while a P_FLANK of .85 loses three.
P_STEADY, P_STEADY_IF_IRREGULAR = 0.8, 1.1  # the latter of paced ones too
IRREGULAR = 0.06  # RR changes by more than that from beat to beat: atrial fibrillation is likely


def _find_p(median, leads, slow, speed, qrs_on, t_before, rr, kind):
    """Onset, peak and offset of P, three (n,), and where there is none, (n,) bool.

    Where beats come regularly P is what is most of a wave by itself, since it may begin on the
    flank of T; if that is none, the largest wave, unless it is such a flank. Where they do not,
    only the largest is asked: fibrillation has many that are waves by themselves, and a pacemaker's
    spike has one before it.

    t_before  where the T before ends, over all leads together and as their median, two (n,)
    kind      whether beats come irregularly, and whether they are paced, two (n,) bool
    """
    irregular, paced = kind
    regular = ~irregular & ~paced
    slow, speed = slow[..., :CENTRE], speed[:, :CENTRE]
    stop = qrs_on - ms_to_samples(16)  # before the smoothed QRS begins
    earliest = np.maximum(t_before[0], stop - ms_to_samples(P_REACH))
    start = np.clip(earliest, 0, stop - ms_to_samples(60))
    whole, alone = above_line(slow, start, stop), _bump(slow, start, stop, ms_to_samples(P_BUMP))
    p = p_wave(slow, speed, np.where(regular[:, None], alone, whole), start, stop, t_before[0])
    spread = np.nan_to_num(median.spread[:, INDEPENDENT])
    irregularly = np.flatnonzero(~regular)
    alike = np.zeros(len(regular))
    alike[irregularly] = [ALIKE * varying(median.centres[row]) for row in irregularly]
    differing, told = unsteady(median, p[0], p[2], ~regular, np.full(len(regular), STEADY), alike)
    least = np.select([told & ~paced, regular], [0, P_STEADY], P_STEADY_IF_IRREGULAR)
    no_p = _too_small(leads, p) | differing | _not_steady(median, leads, spread, p, least, rr)
    no_p |= inverted(leads, p[0], p[2], rr)
    no_p |= repeated(leads, p[0], p[2], t_before[1])
    again = np.flatnonzero(no_p & regular)
    if len(again):
        other = p_wave(
            *(values[again] for values in (slow, speed, whole, start, stop, t_before[0]))
        )
        part, at_peak = leads[again], (again, other[1].astype(int))
        none = _too_small(part, other)
        none |= _not_steady(median.rows(again), part, spread[again], other, P_STEADY, rr[again])
        none |= alone[at_peak] < P_FLANK * whole[at_peak]
        none |= inverted(part, other[0], other[2], rr[again])
        none |= repeated(part, other[0], other[2], t_before[1][again])
        for first, second in zip(p, other, strict=True):
            first[again] = np.where(none, first[again], second)
        no_p[again] = none
    return p, no_p


def p_wave(
    slow: np.ndarray,
    speed: np.ndarray,
    size: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    t_before: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Onset, peak and offset of the largest wave (by `size` (n, w)) from start to stop (n,):
    whether it is a P is judged elsewhere.

    t_before  # (n,) where the T before ends
    """
    size = masked(size, start + ms_to_samples(10), stop - ms_to_samples(16), 0)
    ahead = (stop[:, None] + ms_to_samples(16) - np.arange(size.shape[1])) / ms_to_samples(P_REACH)
    peak = (size * np.clip(P_FAR[0] - P_FAR[1] * ahead, 0, 1)).argmax(axis=1).astype(float)
    limit = np.maximum(np.maximum(peak - ms_to_samples(110), t_before), 0)
    begin, end = np.minimum(limit, peak - ms_to_samples(20)), np.maximum(stop, peak + 1)
    return (
        foot(slow, speed, peak, begin, P_SHARES[0], ms_to_samples(P_HALF)),
        peak,
        foot(slow, speed, peak, end, P_SHARES[1], ms_to_samples(P_HALF)),
    )


def _too_small(leads, p):
    """Whether what was taken for P, three (n,), is no wave in leads (n, leads, WIDTH) mV."""
    p_on, _, p_off = p
    size = np.sqrt((_above_ends(leads, p_on, p_off) ** 2).sum(axis=1)).max(axis=1)
    return (size < P_SIZE) | (p_off - p_on < ms_to_samples(P_SHORTEST))


def _above_ends(leads, start, stop):
    """Leads (n, leads, WIDTH) against the mean of their levels at both ends; 0 outside."""
    level = (at_position(leads, start) + at_position(leads, stop))[..., None] / 2
    return np.where(between(start, stop, WIDTH)[:, None], leads - level, 0)


def _not_steady(median, leads, spread, p, least, rr):
    """Whether what was taken for P, three (n,), comes and goes from beat to beat as fibrillation
    waves do: in the leads that show it best it stands out less than `least`.

    Noise and a baseline that wanders hide it: where it does not stand out it is asked again
    without them. Of few beats it may stand out by chance: they have to be alike, too.

    spread  # (n, leads, w) how beats differ, at the record's rate
    """
    p_on, _, p_off = p
    step = WIDTH // spread.shape[2]
    power = (_above_ends(leads, p_on, p_off)[..., ::step] ** 2).sum(axis=2)
    inside = between(p_on, p_off, WIDTH)[:, None, ::step]
    noise = (np.where(inside, spread, 0) ** 2).sum(axis=2)
    best = np.sort(power / np.maximum(noise, 1e-8), axis=1)[:, -P_LEADS:].mean(axis=1)
    hidden = np.sqrt(best) < least
    alike = np.where(rr > SLOW * RATE, ALIKE_IF_SLOW, 0)
    asked = hidden | (alike > 0)
    if asked.any():
        differing, told = unsteady(median, p_on, p_off, asked, np.where(hidden, least, 0), alike)
        hidden = np.where(told, differing, hidden)
    return hidden


P_LIKE = 0.7  # correlation over all leads with the record's P that makes a wave of one beat a P
P_LIKE_SIZE = 0.5, 2.0  # its size as a share of the record's P
P_MARGIN = 10  # ms to both sides of P that are compared too


def p_of_single_beats(
    beats: np.ndarray, typical: np.ndarray, at: Fiducials, begin: np.ndarray, qrs_on: np.ndarray
) -> np.ndarray:
    """How far P of single beats lies from its place in the record's median beat, (k,) in samples;
    NaN for a beat before whose QRS no wave is like the record's P.

    A single beat has no spread that would tell P from a fibrillation wave: likeness has to.

    beats    # (k, 12, W) mV;  typical  # (12, W) the median beat;  at  its fiducials (one row)
    begin    # (k,) P is looked for from here, to QRS onset (k,)
    """
    if not np.isfinite(at.P_on[0]):
        return np.full(len(beats), np.nan)
    first_sample = max(int(at.P_on[0]) - ms_to_samples(P_MARGIN), 0)
    width = int(at.P_off[0]) + ms_to_samples(P_MARGIN) - first_sample
    pattern = without_line(typical[INDEPENDENT, first_sample : first_sample + width])
    power = (pattern**2).sum()
    shifts = np.full(len(beats), np.nan)
    for number in np.flatnonzero(np.isfinite(begin) & np.isfinite(qrs_on)):
        beat = beats[number, INDEPENDENT]
        start = int(max(begin[number], 0))
        stop = int(min(qrs_on[number] + ms_to_samples(P_MARGIN), WIDTH)) - width
        if stop <= start:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(beat, width, axis=1)[:, start:stop]
        windows = without_line(np.moveaxis(windows, 0, 1))  # (places, leads, width)
        match = (windows * pattern).sum(axis=(1, 2))
        likeness = match / np.sqrt((windows**2).sum(axis=(1, 2)) * power + 1e-12)
        best = likeness.argmax()
        fits = P_LIKE_SIZE[0] < match[best] / power < P_LIKE_SIZE[1]
        if likeness[best] > P_LIKE and fits:
            shifts[number] = start + best - first_sample
    return shifts
