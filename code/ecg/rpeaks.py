"""R-peaks from all leads at once, vectorised over records.

The QRS is where all leads change fast together: the band-passed leads are squared, summed and
smoothed into one activity curve per record, whose local maxima above a threshold of the record's
own are the beats.
"""

import numpy as np

# its parts load when first used: scipy.signal takes .8 s, which stages that detect nothing need not
# wait for
import scipy
from scipy import ndimage

RATE = 100  # Hz; detection runs at this rate whatever the record's own
BAND = (6.0, 18.0)  # Hz: where QRS stands out most over P, T and muscle noise
SMOOTHING = 0.09  # s
REFRACTORY = 0.20  # s: no heart beats twice within it (300 beats per minute)
T_DELAY = 0.42  # s: the peak of T follows R within it
T_SHARPNESS = 0.25  # of the R before: a peak that bends less is its T
AROUND = 0.05  # s to both sides of a peak in which its sharpest bend is looked for
THRESHOLD = 0.35  # share of the record's typical maximum
SHARE_OF_LARGEST = 0.05  # the same of its largest, which may be an artefact


def detect_all(signals: np.ndarray, sampling_rate: int) -> list[np.ndarray]:
    """R-peaks of many records.

    signals        # (N, T, 12) mV
    sampling_rate  Hz

    Returns N int arrays of sample numbers at `sampling_rate`; empty where nothing beats.
    """
    leads = at_rate(clean(signals), sampling_rate, RATE)  # (N, 12, T at 100 Hz)
    if leads.shape[2] < RATE // 2:  # shorter than half a second: no beat can be told from noise
        return [np.array([], dtype=int)] * len(signals)
    sections = scipy.signal.butter(2, BAND, "bandpass", fs=RATE, output="sos")
    filtered = scipy.signal.sosfiltfilt(sections, leads, axis=2, padlen=min(50, leads.shape[2] - 1))
    power = ndimage.uniform_filter1d((filtered**2).sum(axis=1), int(SMOOTHING * RATE), axis=1)
    activity = np.sqrt(np.maximum(power, 0))  # a running sum may end a little below 0
    reach = int(REFRACTORY * RATE)
    crest = activity == ndimage.maximum_filter1d(activity, 2 * reach + 1, axis=1)
    peaks = [
        np.flatnonzero(row) for row in crest & (activity > _thresholds(activity, crest)[:, None])
    ]
    sharpness = ndimage.maximum_filter1d(_bends(leads), 2 * int(AROUND * RATE) + 1, axis=1)
    peaks = [_without_t(found, row) for found, row in zip(peaks, sharpness, strict=True)]
    last = signals.shape[1] - 1
    return [np.minimum(np.round(found * sampling_rate / RATE).astype(int), last) for found in peaks]


def _bends(leads):
    """How sharply the leads (n, 12, T) bend, (n, T): a T wave never does, however tall it is."""
    bends = np.zeros((len(leads), leads.shape[2]), np.float32)
    bends[:, 1:-1] = np.sqrt((np.diff(leads, 2, axis=2) ** 2).sum(axis=1))
    return bends


def _without_t(found, sharpness):
    """Peaks without those that follow another as T follows R, and are blunt beside it."""
    kept = []
    for peak in found:
        after = kept and peak - kept[-1] <= T_DELAY * RATE
        if not after or sharpness[peak] > T_SHARPNESS * sharpness[kept[-1]]:
            kept.append(peak)
    return np.array(kept, dtype=int)


def _thresholds(activity, crest):
    """Per record a share of the median of its larger maxima, and at least one of the largest: beats
    that are fewer than a tenth of the maxima leave noise as the median. Silence (under 5 uV) is
    never a beat.
    """
    heights = np.where(crest, activity, np.nan)
    large = np.nanquantile(
        heights, 0.9, axis=1, keepdims=True
    )  # a row's largest value is always a crest
    typical = np.nanmedian(np.where(heights >= 0.5 * large, heights, np.nan), axis=1)
    return np.maximum.reduce(
        [THRESHOLD * typical, SHARE_OF_LARGEST * activity.max(axis=1), np.full(len(typical), 0.005)]
    )


def clean(signals: np.ndarray) -> np.ndarray:
    """Signals (N, T, 12) as (N, 12, T) float32, missing samples as 0."""
    leads = np.ascontiguousarray(np.asarray(signals, dtype=np.float32).transpose(0, 2, 1))
    return (
        leads if np.isfinite(leads).all() else np.nan_to_num(leads, nan=0.0, posinf=0.0, neginf=0.0)
    )


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
    resampled = scipy.signal.resample(padded, padded.shape[-1] * after // before, axis=-1)
    start = edge * after // before
    return resampled[..., start : start + -(-n_samples * after // before)]
