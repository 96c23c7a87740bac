"""R-peaks from all leads at once, vectorised over records.

The QRS is where all leads change fast together: the sizes of the band-passed leads, none counted
beyond what is usual at its beats, are summed to one activity curve per record, whose local maxima
above a threshold of the record's own are the beats. A blunt one that follows another is its T.
"""

import functools

import numpy as np

# its parts load when first used: scipy.signal takes .8 s, which stages that detect nothing need not
# wait for
import scipy
from scipy import ndimage

RATE = 100  # Hz; detection runs at this rate whatever the record's own
INDEPENDENT = [0, 1, 6, 7, 8, 9, 10, 11]  # I, II, V1-V6: the other four are sums of I and II
BAND = (8.0, 20.0)  # Hz: where QRS stands out most over P, T and muscle noise
PLACE_BAND = (6.0, 18.0)  # Hz: where the middle of a QRS is read, wide ones too
QRS_REACH = 0.08  # s to both sides of a peak by which beats are compared
PLACE_REACH = 0.06  # s to both sides of a peak in which that middle lies
SMOOTHING = 0.09  # s
REFRACTORY = 0.20  # s: no heart beats twice within it (300 beats per minute)
AROUND = 0.05  # s to both sides of a peak in which a lead's largest values are looked for
MOST = 2.0  # times a lead's typical QRS: more of one lead is an artefact and counts no further
T_DELAY = 0.42  # s: the peak of T follows R within it
T_SHARPNESS = 0.4  # of the R before: a peak that bends less is its T
T_OF_OTHERS = 0.5  # of such a peak's size: T of other beats is as large, a premature beat alone
FEWEST_OTHERS = 3  # of which that can be said
THRESHOLD = 0.35  # share of the record's typical maximum
SHARE_OF_LARGEST = 0.05  # the same of its largest, which may be an artefact
MAINS = 50, 60  # Hz
HUM_SECONDS = 10  # over which it is looked for: mains do not keep their phase for longer
HUM_BESIDE = 2.5  # Hz: what QRS has there it has at the mains' frequency too
HUM_LEAST, HUM_LOUD = 0.02, 3.0  # mV, times that: less does not hide a wave, or is QRS itself
HUM_WIDTH = 1.0  # Hz that are taken out
# Noise and fibrillating ventricles have maxima as well, but none that stand out or are alike. Of
# half A's 749 records the beats of all stand out by 3.5 or more, and are alike by .4 where by less
# than 12; simulated noise stands out by 1.9 at most, and is alike by .1.
STANDS_OUT = 6.0  # times the record's median activity: beats that do need not be alike
BEATS_ALIKE = 0.25  # median correlation between beats over all leads: less is noise


def detect_in(leads: np.ndarray, sampling_rate: int) -> list[np.ndarray]:
    """R-peaks of many records: N int arrays of sample numbers at `sampling_rate` (Hz), empty where
    nothing beats.

    leads  # (N, 8, T) mV, those of INDEPENDENT without missing samples (`clean`)
    """
    last = leads.shape[2] - 1
    leads = at_rate(leads, sampling_rate, RATE)  # (N, 8, T at 100 Hz)
    if leads.shape[2] < RATE // 2:  # shorter than half a second: no beat can be told from noise
        return [np.array([], dtype=int)] * len(leads)
    courses, places = _courses(leads)
    first = np.sqrt((courses**2).sum(axis=1))
    likely = _crests(first)
    activity = _up_to_typical(courses, likely).sum(axis=1)
    beats = _crests(activity)
    bends = np.sqrt((_up_to_typical(_bends(leads), beats) ** 2).sum(axis=1))
    sharpness = _largest_near(bends)
    places = _up_to_typical(places, beats)
    places = np.sqrt((places**2).sum(axis=1))
    typical = median_of_sorted(np.sort(activity, axis=1))
    peaks = []
    kept = _without_t(_places_in_rows(beats), sharpness, activity)
    for row, found in enumerate(_in_the_middle(kept, places)):
        beating = _beating(found, activity[row], typical[row], leads[row])
        peaks.append(found if beating else found[:0])
    return [np.minimum(np.round(found * sampling_rate / RATE).astype(int), last) for found in peaks]


def _places_in_rows(mask):
    """Where each row of a mask (n, T) is True: n int arrays."""
    rows, places = np.nonzero(mask)
    return np.split(places, np.searchsorted(rows, np.arange(1, len(mask))))


@functools.cache
def _gains(length):
    """How much of each frequency BAND and PLACE_BAND let pass, forwards and backwards: two
    (length // 2 + 1,).
    """
    frequencies = np.fft.rfftfreq(length, 1 / RATE)
    found = []
    for band in (BAND, PLACE_BAND):
        filtered = scipy.signal.butter(2, band, "bandpass", fs=RATE, output="sos")
        _, gain = scipy.signal.freqz_sos(filtered, frequencies, fs=RATE)
        found.append((np.abs(gain) ** 2).astype(np.float32))
    return found


def _courses(leads):
    """Size of BAND and of PLACE_BAND in every lead, smoothed over time: two (n, leads, T)."""
    n_samples = leads.shape[2]
    edge = min(RATE, n_samples - 1)  # the ends are continued by point reflection
    length = scipy.fft.next_fast_len(n_samples + 2 * edge, real=True)
    padded = np.pad(leads, [(0, 0), (0, 0), (edge, edge)], mode="reflect", reflect_type="odd")
    spectrum = scipy.fft.rfft(padded, length, axis=2)
    inside = slice(edge, edge + n_samples)
    found = []
    for gain in _gains(length):
        filtered = scipy.fft.irfft(spectrum * gain, length, axis=2)[..., inside]
        np.square(filtered, out=filtered)  # in place: memory asked for anew costs a fifth
        ndimage.uniform_filter1d(filtered, int(SMOOTHING * RATE), axis=2, output=filtered)
        np.maximum(filtered, 0, out=filtered)  # a running sum may end a little below 0
        found.append(np.sqrt(filtered, out=filtered))
    return found


def _crests(activity):
    """The local maxima (n, T) of activity that are high enough to be beats."""
    reach = 2 * int(REFRACTORY * RATE) + 1
    crest = activity == ndimage.maximum_filter1d(activity, reach, axis=1)
    return crest & (activity > _thresholds(activity, crest)[:, None])


def _up_to_typical(values, beats):
    """Values (n, leads, T) cut off at MOST times what a lead typically reaches at beats (n, T): a
    loose electrode makes one lead jump, a beat is seen in all.
    """
    rows, places = np.nonzero(beats)
    if not len(rows):
        return values
    reach = np.arange(-int(AROUND * RATE), int(AROUND * RATE) + 1)
    near = np.clip(places[:, None] + reach, 0, values.shape[2] - 1)
    largest = values[rows[:, None], :, near].max(axis=1)  # (beats of all rows, leads)
    counts = beats.sum(axis=1)
    number = np.arange(len(rows)) - (counts.cumsum() - counts)[rows]
    table = np.full((len(values), counts.max(), values.shape[1]), np.inf, values.dtype)
    table[rows, number] = largest
    return np.minimum(values, MOST * median_of_first(table, counts)[..., None])


def median_of_first(table: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Median (n, ...) over the second axis of (n, B, ...), of which `counts` (n,) values are there
    and the others inf; inf where none is. Sorts the table.
    """
    table.sort(axis=1)
    rows = np.arange(len(table))
    return (table[rows, (counts - 1).clip(0) // 2] + table[rows, counts // 2]) / 2


def median_of_sorted(values: np.ndarray) -> np.ndarray:
    """Median over the last axis: np.median takes ten times as long for a few values."""
    count = values.shape[-1]
    return (values[..., (count - 1) // 2] + values[..., count // 2]) / 2


def _largest_near(values):
    return ndimage.maximum_filter1d(values, 2 * int(AROUND * RATE) + 1, axis=-1)


def _bends(leads):
    """How sharply the leads (n, leads, T) bend: a T wave never does, however tall it is."""
    bends = np.zeros_like(leads)
    bends[..., 1:-1] = np.abs(np.diff(leads, 2, axis=2))
    return bends


def _without_t(peaks, sharpness, activity):
    """Per row its peaks without those that follow another as T follows R, are blunt beside it, and
    are no exception: where no other beat has the like at that place, it is a premature beat.
    """
    found = []
    for row, places in enumerate(peaks):
        kept, blunt = [], []
        for place, sharp in zip(places.tolist(), sharpness[row, places].tolist(), strict=True):
            near = kept and place - kept[-1][0] <= T_DELAY * RATE
            if near and sharp <= T_SHARPNESS * kept[-1][1]:
                blunt.append((place, kept[-1][0]))
            else:
                kept.append((place, sharp))
        beats = [place for place, _ in kept]
        alone = [place for place, before in blunt if _alone(place, before, beats, activity[row])]
        found.append(np.array(sorted(beats + alone), int))
    return found


def _alone(place, before, beats, activity):
    """Whether no other of the beats has an activity (T,) as `place` is after the beat `before`; a
    beat that comes there says nothing.
    """
    reach = int(AROUND * RATE)
    others = [beat + place - before for beat in beats if beat != before]
    others = [at for at in others if reach <= at < len(activity) - reach]
    others = [at for at in others if min(abs(at - beat) for beat in beats) > 2 * reach]
    sizes = [activity[at - reach : at + reach + 1].max() for at in others]
    return len(sizes) >= FEWEST_OTHERS and np.median(sizes) < T_OF_OTHERS * activity[place]


def _in_the_middle(peaks, activity):
    """Per row its peaks, moved to where its activity (n, T) is largest nearby."""
    rows, found = (
        np.repeat(np.arange(len(peaks)), [len(row) for row in peaks]),
        np.concatenate(peaks),
    )
    reach = np.arange(-int(PLACE_REACH * RATE), int(PLACE_REACH * RATE) + 1)
    last = activity.shape[1] - 1
    around = activity[rows[:, None], (found[:, None] + reach).clip(0, last)]
    moved = (found + reach[0] + around.argmax(axis=1)).clip(0, last)
    mask = np.zeros(activity.shape, bool)  # two peaks may come to one place
    mask[rows, moved] = True
    return _places_in_rows(mask)


def _beating(found, activity, typical, leads):
    """Whether peaks of one record are beats and not the maxima of noise: its activity (T,) stands
    out at them over what is `typical` of it, or its leads (leads, T) are alike around them.
    """
    if len(found) < 3 or median_of_sorted(np.sort(activity[found])) > STANDS_OUT * typical:
        return True
    reach = int(QRS_REACH * RATE)
    inside = found[(found >= reach) & (found < len(activity) - reach)]
    windows = leads[:, inside[:, None] + np.arange(-reach, reach + 1)]  # (leads, beats, w)
    windows = windows - windows.mean(axis=2, keepdims=True)
    beats = windows.swapaxes(0, 1).reshape(len(inside), -1)
    beats = beats / np.maximum(np.linalg.norm(beats, axis=1, keepdims=True), 1e-9)
    pairs = np.triu_indices(len(beats), 1)
    return len(pairs[0]) == 0 or np.median((beats @ beats.T)[pairs]) > BEATS_ALIKE


def _thresholds(activity, crest):
    """Per record a share of the median of its larger maxima, and at least one of the largest: beats
    that are fewer than a tenth of the maxima leave noise as the median. Silence (under 5 uV) is
    never a beat.
    """
    typical = np.empty(len(activity))
    for row, (values, where) in enumerate(zip(activity, crest, strict=True)):
        heights = np.sort(values[where])  # a row's largest value is always a crest
        place = 0.9 * (len(heights) - 1)
        below, above = heights[int(place)], heights[int(np.ceil(place))]
        high = below + (above - below) * (place - int(place))  # their 90 % quantile
        typical[row] = median_of_sorted(heights[np.searchsorted(heights, 0.5 * high) :])
    return np.maximum.reduce(
        [THRESHOLD * typical, SHARE_OF_LARGEST * activity.max(axis=1), np.full(len(typical), 0.005)]
    )


def clean(signals: np.ndarray) -> np.ndarray:
    """Signals (N, T, leads) as (N, leads, T) float32, missing samples as 0."""
    leads = np.ascontiguousarray(np.asarray(signals, dtype=np.float32).transpose(0, 2, 1))
    return (
        leads if np.isfinite(leads).all() else np.nan_to_num(leads, nan=0.0, posinf=0.0, neginf=0.0)
    )


def without_hum(leads: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Leads (N, leads, T) in mV without mains hum of 50 or 60 Hz where one hums loudly: there it
    hides P and where QRS begins.
    """
    for mains in MAINS:
        if sampling_rate < 3 * mains or leads.shape[2] < sampling_rate:
            continue
        around = mains + np.array([-HUM_BESIDE, 0, HUM_BESIDE])
        below, hum, above = _sizes_at(leads, around, sampling_rate)
        loud = hum > np.maximum(HUM_LEAST, HUM_LOUD * (below + above))
        if loud.any():
            notch = scipy.signal.iirnotch(mains, mains / HUM_WIDTH, fs=sampling_rate)
            leads = leads.copy()
            leads[loud] = scipy.signal.filtfilt(*notch, leads[loud], axis=1)
    return leads


def _sizes_at(leads, frequencies, sampling_rate):
    """Amplitudes (frequencies, N, leads) in mV of some Hz, over the middle HUM_SECONDS."""
    length = min(leads.shape[2], int(HUM_SECONDS * sampling_rate))
    first = (leads.shape[2] - length) // 2
    window = np.hanning(length)
    turns = 2 * np.pi * frequencies / sampling_rate * np.arange(length)[:, None]
    waves = np.stack([np.cos(turns), np.sin(turns)], axis=2) * window[:, None, None]
    found = leads[..., first : first + length] @ waves.reshape(length, -1).astype(np.float32)
    sizes = 2 * np.linalg.norm(found.reshape(*leads.shape[:2], -1, 2), axis=3) / window.sum()
    return np.moveaxis(sizes, 2, 0)


def at_rate(leads: np.ndarray, before: int, after: int) -> np.ndarray:
    """Band-limited resampling of (..., T) from `before` to `after` Hz; gives ceil(T * after /
    before) samples.

    Both ends are continued by point reflection, so that they do not ring into each other.
    """
    if before == after:
        return leads
    n_samples, step = leads.shape[-1], before // np.gcd(before, after)
    edge = min(n_samples - 1, before // 2) // step * step
    rest = -(n_samples + 2 * edge) % step  # the padded length has to be whole at both rates
    widths = [(0, 0)] * (leads.ndim - 1) + [(edge, edge + rest)]
    how = (
        {"mode": "reflect", "reflect_type": "odd"} if edge + rest < n_samples else {"mode": "edge"}
    )
    padded = np.pad(leads, widths, **how)
    resampled = _of_length(padded, padded.shape[-1] * after // before)
    start = edge * after // before
    return resampled[..., start : start + -(-n_samples * after // before)]


def _of_length(values, length):
    """Values (..., T) of a period at `length` places in it: scipy.signal.resample, which copies the
    spectrum twice more.
    """
    spectrum = scipy.fft.rfft(values)
    shorter = min(values.shape[-1], length)
    kept = shorter // 2 + 1
    wanted = np.zeros((*values.shape[:-1], length // 2 + 1), spectrum.dtype)
    np.divide(spectrum[..., :kept], values.shape[-1] / length, out=wanted[..., :kept])
    if shorter % 2 == 0:  # the highest frequency stands for itself and its mirror image
        wanted[..., kept - 1] *= 2 if length < values.shape[-1] else 0.5
    return scipy.fft.irfft(wanted, length)
