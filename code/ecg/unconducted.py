"""P waves that no QRS follows at a fixed distance: those that are blocked (2:1, Mobitz), and those
of atria that beat by themselves (third degree block).

They are looked for between the end of T and what follows. A wave is one of them if it is like the
record's P, or like the most other waves there where it has none, and if all P waves together come
at equal intervals, of which some may be hidden in QRS or T. What tells them from U waves, noise and
fibrillation is that rhythm.
"""

import numpy as np
from scipy import ndimage

from ecg.atria import APART, HUM, REPEATED, without_line
from ecg.fiducials import Fiducials, above_line, activity, ms_to_samples, p_wave, slopes
from ecg.lead_marks import LeadWave, p_waves
from ecg.median_beat import CENTRE, RATE, WIDTH, gather
from ecg.rpeaks import INDEPENDENT

STRETCH = 30  # s that are looked at together: a rhythm does not last for hours
STEP = 5  # samples at RATE between the places that are looked at
WINDOW = 0.14  # s that are compared: a P wave
AFTER_T = 0.02  # s
LIKE = 0.85  # correlation over all leads with the record's P
LIKE_SIZE = 0.5, 2.0  # its size as a share of that P's
NEAREST = 0.2  # s between two P waves at least
SMALLEST = 0.02  # mV, root mean square over time of all leads together: less is no wave
ATRIAL = 0.4, 1.6  # s between P waves: more often is flutter
EQUAL = 0.15  # share of that interval by which P may come sooner or later (by QRS between, too)
IN_RHYTHM = 0.9  # share of intervals that have to be so, or whole multiples
FOUND = 0.7  # share of the places where that rhythm has a P in sight at which there is one
PAUSE = 1.5  # of the usual interval between beats: in so long a one a single P may be blocked
# Waves alike that are P where the record has no other: of half A's records the one with third
# degree block has 10 in that rhythm, a paced one 11 and one with premature beats 8, no other any.
FEWEST = 6
LOCKED = 0.05  # s (between quartiles): what keeps its distance to the QRS before is U or T
REACH = ms_to_samples(100)  # to both sides of the middle: no P is longer


def find(leads: np.ndarray, p: np.ndarray, qrs_on: np.ndarray, t_off: np.ndarray) -> np.ndarray:
    """Middles (k,) in s of the P waves that no QRS follows as it follows the record's others.

    leads   # (12, T) mV at RATE
    p       # (beats, 2) s, onset and offset of the P before each beat, NaN where there is none
    qrs_on  # (beats,) s, ascending
    t_off   # (beats,) s, NaN where there is no T
    """
    found = []
    for begin in range(0, leads.shape[1], STRETCH * RATE):
        part = leads[INDEPENDENT, begin : begin + STRETCH * RATE]
        if part.shape[1] < ATRIAL[1] * RATE:
            continue
        places, windows = _windows(part)
        places += begin / RATE
        free = _in_sight(places, p, qrs_on, t_off)
        within = (qrs_on >= begin / RATE) & (qrs_on < begin / RATE + STRETCH)
        found.append(_in_stretch(places, windows, free, p[within], qrs_on[within]))
    return np.concatenate([[], *found])


def _in_stretch(places, windows, free, p, qrs_on):
    """`find` in windows (places, leads, w) around places (places,) in s, which are `free` to hold
    one.
    """
    size = np.sqrt((windows**2).sum(axis=1).mean(axis=1))
    known = p[np.isfinite(p[:, 0])].mean(axis=1)
    conducted = 2 * len(known) >= len(qrs_on) > 0
    if conducted:
        alike = np.abs(places[:, None] - known).argmin(axis=0)
    else:
        known, alike = known[:0], _most_alike(windows, size, free)
    numbers = _like(windows, size, free, alike) if len(alike) else alike
    found = places[numbers]
    if conducted:
        enough = len(found) > 1 or (len(found) == 1 and _in_pause(found[0], qrs_on))
    else:
        enough = len(found) >= FEWEST and not _locked(found, qrs_on)
    if not enough or _flutter(windows, free, numbers):
        return found[:0]
    missing = _missing(np.sort(np.concatenate([known, found])), places[free])
    return found if len(found) >= FOUND * (len(found) + missing) else found[:0]


def _windows(leads):
    """Middles (places,) in s of windows, and the windows (places, leads, samples) in mV, without
    the line between their ends.
    """
    smooth = ndimage.uniform_filter1d(leads, int(HUM * RATE), axis=1)[:, ::STEP]
    width = int(WINDOW * RATE) // STEP
    windows = np.lib.stride_tricks.sliding_window_view(smooth, width, axis=1)
    middles = (np.arange(windows.shape[1]) + (width - 1) / 2) * STEP / RATE
    return middles, without_line(np.moveaxis(windows, 0, 1))


def _in_sight(places, p, qrs_on, t_off):
    """Whether a P around each of the places (places,) would lie between T and what follows it."""
    begins = np.where(np.isfinite(p[:, 0]), p[:, 0], qrs_on)
    ends = np.where(np.isfinite(t_off), t_off, qrs_on + ATRIAL[0]) + AFTER_T
    number = np.searchsorted(qrs_on, places)
    before = np.concatenate([[0], ends])[number]
    after = np.concatenate([begins, [np.inf]])[number]
    return (places - WINDOW / 2 >= before) & (places + WINDOW / 2 <= after)


def _likeness(windows, pattern):
    """Correlation (places,) of windows with a pattern (leads, w)."""
    power = (windows**2).sum(axis=(1, 2)) * (pattern**2).sum()
    return np.einsum("plw,lw->p", windows, pattern) / np.sqrt(power + 1e-12)


def _like(windows, size, free, alike):
    """Numbers of the places in sight that are most like the median of those that are `alike`."""
    pattern = np.median(windows[alike], axis=0)
    likeness = _likeness(windows, pattern)
    share = size / max(np.sqrt((pattern**2).sum(axis=0).mean()), 1e-6)
    fits = (share > LIKE_SIZE[0]) & (share < LIKE_SIZE[1]) & (likeness > LIKE)
    return np.flatnonzero(free & fits & _highest(likeness, NEAREST))


def _highest(values, reach):
    """Where values (places,) are highest within `reach` s to both sides."""
    return values == ndimage.maximum_filter1d(values, 2 * int(reach * RATE / STEP) + 1)


def _most_alike(windows, size, free):
    """Numbers of the waves in sight of which most are alike, by their sizes."""
    best = np.array([], int)
    for place in np.flatnonzero(free & (size > SMALLEST) & _highest(size, WINDOW / 2)):
        found = _like(windows, size, free, [place])
        best = found if size[found].sum() > size[best].sum() else best
    return best


def _flutter(windows, free, numbers):
    """Whether most waves have one like them shortly before, where there is room in sight."""
    likeness = np.where(free, _likeness(windows, np.median(windows[numbers], axis=0)), -1)
    far, near = (int(apart * RATE / STEP) for apart in APART[::-1])
    before = [likeness[max(number - far, 0) : max(number - near, 0)] for number in numbers]
    most = np.array([part.max(initial=-1) for part in before])
    return 2 * (most > REPEATED).sum() > (most > -1).sum()


def _missing(times, in_sight):
    """How many P waves are not there between `times`, though they would be `in_sight` (places), if
    all come at the longest interval of which almost all steps are whole multiples; infinitely many
    where there is none.
    """
    steps = np.diff(times)
    for interval in np.arange(ATRIAL[1], ATRIAL[0], -0.01):
        counts = np.maximum(np.round(steps / interval), 1)
        if (np.abs(steps / interval - counts) <= EQUAL).mean() >= IN_RHYTHM:
            break
    else:
        return np.inf
    hidden = [
        begin + step * np.arange(1, count) / count
        for begin, step, count in zip(times[:-1], steps, counts, strict=True)
    ]
    away = np.abs(np.concatenate(hidden)[:, None] - in_sight).min(axis=1, initial=np.inf)
    return int((away < STEP / RATE).sum())


def _locked(found, qrs_on):
    """Whether waves keep their distance to the QRS before."""
    number = np.searchsorted(qrs_on, found)
    after = found[number > 0] - qrs_on[number[number > 0] - 1]
    return len(after) < 2 or np.subtract(*np.quantile(after, (0.75, 0.25))) < LOCKED


def _in_pause(at, qrs_on):
    """Whether a time lies between two beats that are further apart than usual."""
    number = np.searchsorted(qrs_on, at)
    gaps = np.diff(qrs_on)
    return 0 < number < len(qrs_on) and gaps[number - 1] > PAUSE * np.median(gaps)


def marks(leads: np.ndarray, middles: np.ndarray) -> LeadWave:
    """Onset, peak and offset (k, 12) in s of the P waves around `middles` (k,) in s, in each lead
    of (12, T) mV at RATE; they share their places relative to the middle.
    """
    at = np.round(middles * RATE).astype(int)
    around = without_line(gather(leads[None], at[:, None], range(-REACH, REACH + 1))[:, 0])
    middle, beat = CENTRE - 2 * REACH, np.zeros((1, leads.shape[0], WIDTH))
    beat[0, :, middle - REACH : middle + REACH + 1] = np.median(around, axis=0)
    slow = ndimage.gaussian_filter1d(beat, ms_to_samples(8), axis=2)
    alone = slow[:, INDEPENDENT, :CENTRE]
    start, stop = (np.array([middle + side * REACH], float) for side in (-1, 1))
    slope = slopes(slow, ms_to_samples(40))
    speed = activity(slope[:, INDEPENDENT, :CENTRE])
    over = p_wave(alone, speed, above_line(alone, start, stop), start, stop, start)
    nowhere = np.full(1, np.nan)
    onset, peak, offset, size = p_waves(slow, slope, Fiducials(*over, stop, *[nowhere] * 5))
    places = (middles[:, None] + (side - middle) / RATE for side in (onset, peak, offset))
    return LeadWave(*places, np.repeat(size, len(middles), axis=0))
