"""Measuring ECGs: R-peaks, waves, segments. The front of rpeaks, median_beat, fiducials, waves and
segments.

import ecg
ecg.detect_r_peaks(signal, sampling_rate=100)        # samples
ecg.measure(signal, 100)["R_Amp_V5"]                 # mV
ecg.measure_all(signals, 100)                        # one row per record
ecg.segment(signal, 100)                             # (T, 12, 24)
"""

import numbers
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.files import UserError
from common.labels import LEADS
from ecg import fiducials, median_beat, rpeaks, waves
from ecg.atria import PREMATURE
from ecg.fiducials import Fiducials
from ecg.median_beat import CENTRE, RATE, MedianBeats
from ecg.waves import Deflections, deflections

CHUNK = 64  # records at a time: more do not stay in the processor's cache
KEPT = 30_000_000  # bytes

# s after the T wave before a single beat in which no P is looked for: a tail of T looks like one
T_TAIL = 0.06

WIDE = 120  # ms: a longer QRS is wide
# share of the way from the highest point of a wide QRS to its middle at which R is: on half A .3
# and .4 leave the fewest R-peaks more than 50 ms from the published ones
TO_MIDDLE = 0.3


@dataclass(frozen=True)
class Analysis:
    """What is found in n records.

    beats      their median beats
    fiducials  global wave positions in the median beats
    qrs        amplitudes, durations and peaks of Q, R, S, R', S' per lead
    rr         # (n,) typical RR interval in samples at median_beat.RATE
    length     duration of the records in samples at median_beat.RATE
    """

    beats: MedianBeats
    fiducials: Fiducials
    qrs: Deflections
    rr: np.ndarray
    length: int


def analyse(signals: np.ndarray, sampling_rate: int) -> Analysis:
    """R-peaks, median beats and fiducials of a few records (n, T, 12) in mV; see `measure_all` for
    many.
    """
    signals, sampling_rate = _checked(signals, sampling_rate)
    leads = rpeaks.clean(_with_a_lead_to_detect(signals))
    leads = rpeaks.without_hum(leads, sampling_rate)
    peaks = rpeaks.detect_in(leads[:, rpeaks.INDEPENDENT], sampling_rate)
    peaks = [found * RATE // sampling_rate for found in peaks]
    beats = median_beat.aligned_median_beats(leads, sampling_rate, peaks)
    length = -(-leads.shape[2] * RATE // sampling_rate)
    rr, irregularity = _rhythm(beats.centres, length)
    found = fiducials.find(beats, rr, irregularity)
    return Analysis(
        replace(beats, r_shift=_r_of_wide_qrs(beats.r_shift, found)),
        found,
        deflections(beats.beats, found.measured_from, found.QRS_off),
        rr,
        length,
    )


def _r_of_wide_qrs(r_shift, at):
    """Where R is (n,) relative to the beats' middle: in a wide QRS, which peaks twice or has a
    plateau, nearer to its middle.
    """
    middle = np.nan_to_num((at.QRS_on + at.QRS_off) / 2 - CENTRE)
    wide = at.QRS_off - at.QRS_on > fiducials.ms_to_samples(WIDE)
    moved = np.round(r_shift + TO_MIDDLE * (middle - r_shift)).astype(int)
    return np.where(wide, moved, r_shift)


def single_beats(
    signal: np.ndarray, sampling_rate: int, found: Analysis, row: int, which: np.ndarray
) -> tuple[np.ndarray, Fiducials, Deflections]:
    """Single beats (k, 12, W) in mV of one record (T, 12), with their fiducials and QRS waves:
    those that its median beat does not stand for.

    found, row  the analysis in which the record is `row`;  which  (k,) numbers of the beats
    """
    leads = fine(signal[None], sampling_rate)[0]
    centres = found.beats.centres[row]
    centres, rr = centres[centres >= 0], found.rr[row]
    beats = median_beat.single_beats(leads, centres[which])
    alone = np.ones((len(which), 1), bool)
    spread = np.zeros((len(which), *found.beats.spread.shape[1:]), np.float32)
    steady = MedianBeats(beats, spread, centres[which, None], alone, np.zeros(len(which), int))
    before = np.diff(centres, prepend=centres[0] - rr)[which] - T_TAIL * RATE
    at = fiducials.find(steady, np.full(len(which), rr), np.zeros(len(which)), before)
    typical = found.fiducials.rows(slice(row, row + 1))
    begin = np.fmax(  # a record may have no T
        typical.T_off - before, at.QRS_on - fiducials.ms_to_samples(fiducials.P_REACH)
    )
    shift = fiducials.p_of_single_beats(beats, found.beats.beats[row], typical, begin, at.QRS_on)
    at.P_on, at.P_peak, at.P_off = (
        position + shift for position in (typical.P_on, typical.P_peak, typical.P_off)
    )
    return beats, at, deflections(beats, at.measured_from, at.QRS_off)


def with_p_on_t(found: Analysis, row: int) -> np.ndarray:
    """Which beats (B,) bool of a record come so early that P, where the median beat has it, would
    lie on the T before: it is looked for in `single_beats`.
    """
    centres, at = found.beats.centres[row], found.fiducials.rows(row)
    early = np.zeros(len(centres), bool)
    gaps = np.diff(centres)
    early[1:] = (gaps < PREMATURE * found.rr[row]) & (at.P_on + gaps < at.T_off)
    return early & (centres >= 0)


def fine(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Signals (n, T, 12) as (n, 12, T') mV at median_beat.RATE, without loud hum."""
    leads = rpeaks.without_hum(rpeaks.clean(signals), sampling_rate)
    return rpeaks.at_rate(leads, sampling_rate, RATE)


def _checked(signals, sampling_rate):
    signals = np.asarray(signals)
    if signals.ndim != 3 or signals.shape[2] != len(LEADS) or not signals.shape[1]:
        raise UserError(
            f"signals of shape {signals.shape}: (records, samples, {len(LEADS)} leads) is needed"
        )
    return signals, whole_rate(sampling_rate)


def _absent(signals):
    """(n, 12) bool: leads that are NaN throughout."""
    absent = np.isnan(signals[:, 0])
    if absent.any():
        absent &= np.isnan(signals).all(axis=1)
    return absent


def _with_a_lead_to_detect(signals):
    """Signals whose leads beats are found in (I, II, chest leads) are not all absent: lead II is
    the first that is there where they are.
    """
    absent = _absent(signals)
    blind = absent[:, rpeaks.INDEPENDENT].all(axis=1) & ~absent.all(axis=1)
    if not blind.any():
        return signals
    signals = signals.copy()
    for row in np.flatnonzero(blind):
        signals[row, :, LEADS.index("II")] = signals[row, :, absent[row].argmin()]
    return signals


def _without_absent(table, signals):
    """Measurements without those of leads that are NaN throughout."""
    absent = _absent(signals)
    for column, lead in enumerate(LEADS):
        if not absent[:, column].any():
            continue
        names = [name for name in table if name.endswith(f"_{lead}")]
        names += ["QRS_Axis_Global"] if lead in waves.AXIS_LEADS else []
        table.loc[absent[:, column], names] = np.nan
    return table


def whole_rate(sampling_rate: float) -> int:
    """The rate as an int; UserError for anything but a whole number of Hz between 50 and 2000."""
    whole = isinstance(sampling_rate, numbers.Real) and sampling_rate == int(
        np.nan_to_num(sampling_rate)
    )
    if not whole or not 50 <= sampling_rate <= 2000:
        raise UserError(
            f"sampling rate {sampling_rate} Hz: a whole number between 50 and 2000 is needed"
        )
    return int(sampling_rate)


def _rhythm(centres, length):
    """Median RR interval (n,), the record's length where there is none, and how irregular beats
    come: the median change from one interval to the next, or to the next but one where that is
    less (bigeminy is regular; not judged by fewer than three), as a share of it.
    """
    gaps = np.where(centres[:, 1:] >= 0, np.diff(centres, axis=1), np.nan)
    rr = np.nan_to_num(median_of_row(gaps), nan=length)
    to_next = np.nan_to_num(median_of_row(np.abs(gaps[:, 1:] - gaps[:, :-1])))
    second = np.abs(gaps[:, 2:] - gaps[:, :-2])
    second[np.isfinite(second).sum(axis=1) < 3] = np.nan
    return rr, np.fmin(to_next, median_of_row(second)) / rr


def median_of_row(values: np.ndarray) -> np.ndarray:
    """Median of each row's finite values, NaN for a row without any."""
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)  # NaN last
    last = np.maximum(np.isfinite(values).sum(axis=1) - 1, 0)
    middle = [np.take_along_axis(ordered, at[:, None], axis=1) for at in (last // 2, -(-last // 2))]
    return (middle[0] + middle[1])[:, 0] / 2


def detect_r_peaks(signal: np.ndarray, sampling_rate: int) -> np.ndarray:
    """R-peaks of one record (T, 12) in mV as sorted sample numbers at `sampling_rate`; empty where
    nothing beats.
    """
    found = analyse(np.asarray(signal)[None], sampling_rate)
    return _in_samples(found.beats.r_peaks[0], sampling_rate, len(signal))


def _in_samples(peaks, sampling_rate, n_samples):
    """Positions at RATE as samples at another rate."""
    positions = np.round(peaks[peaks >= 0] * sampling_rate / RATE).clip(0, n_samples - 1)
    return np.array(sorted(set(positions.tolist())), int)  # np.unique takes ten times as long


def measure(signal: np.ndarray, sampling_rate: int) -> pd.Series:
    """Measurements of one record (T, 12) in mV: a row of `measure_all`."""
    return measure_all(np.asarray(signal)[None], sampling_rate, progress=False).iloc[0]


def _keep_freed_memory():
    """Let the process keep memory that it frees: a fifth of the time of measuring was the system's,
    for clearing pages that each chunk of records gave back and asked for again.

    glibc's malloc keeps up to twice as much as the largest block of memory that was freed so far,
    of at most 32 MB (`man mallopt`, M_TRIM_THRESHOLD): here is one, of which nothing is used.
    """
    np.empty(KEPT, np.uint8)


def measure_all(signals: np.ndarray, sampling_rate: int, progress: bool = True) -> pd.DataFrame:
    """Measure many records.

    signals        # (N, T, 12) mV, any sampling rate between 50 and 2000 Hz
    sampling_rate  Hz

    Returns one row per record: `r_peaks` (text, samples at 100 Hz) and the measurements of `waves`,
    NaN where they cannot be made, as those of a lead that is NaN throughout. Memory is bounded by
    chunks whatever N is. Raises UserError for signals of another shape.
    """
    _, sampling_rate = _checked(signals[:1], sampling_rate)
    _keep_freed_memory()
    tables = []
    for start in tqdm(
        range(0, len(signals), CHUNK),
        desc="measuring",
        unit_scale=CHUNK,
        unit="records",
        disable=not progress,
    ):
        found = analyse(signals[start : start + CHUNK], sampling_rate)
        table = waves.measure(found.beats.beats, found.fiducials, found.qrs, found.rr)
        table = _without_absent(table, signals[start : start + CHUNK])
        n_samples = found.length * 100 // RATE
        texts = [
            " ".join(map(str, _in_samples(row, 100, n_samples))) for row in found.beats.r_peaks
        ]
        table.insert(0, "r_peaks", pd.Series(texts, dtype=object))
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"r_peaks": []})
