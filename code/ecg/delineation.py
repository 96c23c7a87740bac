"""One record's waves, beat by beat and lead by lead, as a table and as WFDB annotations.

import ecg
marks = ecg.delineate(signal, sampling_rate=500)     # one row per lead, beat and wave
marks = ecg.delineate(signal, 250, leads=("I", "II"))  # of two leads
write_annotations(marks, folder, "00001_hr", 500)    # 00001_hr.i to 00001_hr.v6
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from common.files import UserError
from common.labels import LEADS
from ecg import analysis, unconducted
from ecg.lead_marks import LeadWave, find_in_leads
from ecg.median_beat import CENTRE, RATE

COLUMNS = ("lead", "beat", "wave", "onset", "peak", "offset", "confidence")
WAVES = ("P", "QRS", "T")
SIDES = ("onset", "peak", "offset")
SYMBOLS = {"P": "p", "QRS": "N", "T": "t"}  # of WFDB; onsets are ( and offsets )
GAP = 0.004  # s: waves that follow each other in a lead stay that far apart
FLAT = 0.01  # mV: a lead whose beat is not taller shows no wave
TALLEST = 50.0  # mV: no beat is, so that the signal is in other units
OF_ONE_BEAT = 0.8  # share of the confidence that a beat has which no others support


def delineate(signal: np.ndarray, sampling_rate: int, leads: Sequence[str] = LEADS) -> pd.DataFrame:
    """P, QRS and T of every beat and lead of one record.

    signal         # (T, leads) mV, any length from half a second on
    sampling_rate  Hz, a whole number from 50 to 2000
    leads          what the columns of the signal are, of labels.LEADS in any order

    Returns a table in the order of leads, beats and waves: lead, beat (0 is the record's first),
    wave (P, QRS, T), onset, peak and offset in s from the record's start, and confidence (0 to 1):
    the share that the wave has in its lead beside what differs from beat to beat. A beat without a
    P has the row with NaN and confidence 0; so has what lies outside of the record, and every wave
    of a lead that is flat. Beats that are alike share their marks' places relative to the QRS.
    Raises UserError for other shapes, leads and rates, and for signals that cannot be mV.
    """
    sampling_rate = analysis.whole_rate(sampling_rate)
    signal = _twelve_leads(signal, leads)
    found = analysis.analyse(signal[None], sampling_rate)
    centres = found.beats.centres[0]
    centres = centres[centres >= 0]
    if not len(centres) or not np.isfinite(found.fiducials.QRS_on[0]):
        return pd.DataFrame(columns=COLUMNS)
    height = np.ptp(found.beats.beats[0], axis=1)  # (12,) mV
    if height.max() > TALLEST:
        raise UserError(f"a beat is {height.max():.0f} mV tall: the signal has to be in mV")
    waves = _waves_of_beats(signal, sampling_rate, found, centres)
    marks = [getattr(waves[wave], side) for wave, side in product(WAVES, SIDES)]
    times = np.stack(marks).reshape(len(WAVES), len(SIDES), *marks[0].shape)
    times = (times + (centres - CENTRE)[:, None]) / RATE  # (waves, sides, beats, leads)
    times[..., height < FLAT] = np.nan
    times = _in_turn(times, (len(signal) - 1) / sampling_rate)
    table = _table(times, _confidence(waves, found))
    table = _with_unconducted(table, times, analysis.fine(signal[None], sampling_rate)[0], found)
    return table[table["lead"].isin(leads)].reset_index(drop=True)


def _twelve_leads(signal, leads):
    """Signal (T, 12) float32 in the order of LEADS from columns `leads`; NaN where a lead is not
    given.
    """
    leads = list(leads)
    unknown = [lead for lead in leads if lead not in LEADS]
    if unknown or not leads or len(set(leads)) < len(leads):
        raise UserError(f"leads {leads}: each once, of {', '.join(LEADS)}")
    signal = np.asarray(signal)
    if signal.ndim != 2 or signal.shape[1] != len(leads) or not len(signal):
        raise UserError(
            f"a signal of shape {signal.shape}: (samples, {len(leads)} leads) is needed"
        )
    if leads == list(LEADS):
        return signal
    whole = np.full((len(signal), len(LEADS)), np.nan, np.float32)
    whole[:, [LEADS.index(lead) for lead in leads]] = signal
    return whole


def _waves_of_beats(signal, sampling_rate, found, centres):
    """The waves (beats, 12) of every beat: the median beat's, or its own where it differs, or where
    its P would lie on T.
    """
    typical = find_in_leads(found.beats.beats, found.fiducials, found.rr)
    alone = ~found.beats.dominant[0, : len(centres)]
    p_alone = alone | analysis.with_p_on_t(found, 0)[: len(centres)]
    other = np.flatnonzero(p_alone)
    if len(other):
        beats, at, _ = analysis.single_beats(signal, sampling_rate, found, 0, other)
        own = find_in_leads(beats, at, np.repeat(found.rr, len(other)))
        typical = {wave: _joined(typical[wave], own[wave]) for wave in WAVES}
    own_number = np.cumsum(p_alone)
    waves = {}
    for wave in WAVES:
        number = np.where(p_alone if wave == "P" else alone, own_number, 0)
        waves[wave] = LeadWave(**{name: of[number] for name, of in vars(typical[wave]).items()})
    return waves


def _joined(first, second):
    pairs = zip(vars(first).values(), vars(second).values(), strict=True)
    return LeadWave(*(np.concatenate(pair) for pair in pairs))


def _in_turn(times, end):
    """Times with a T that reaches into the next beat's P or QRS cut short, or left out where its
    peak does; what begins or ends outside of the record is left out.
    """
    p, qrs, t = (times[WAVES.index(wave)] for wave in WAVES)
    next_begins = np.fmin(p[0, 1:], qrs[0, 1:]) - GAP  # (beats - 1, leads)
    swallowed = t[1, :-1] >= next_begins
    t[2, :-1] = np.where(np.isnan(next_begins), t[2, :-1], np.fmin(t[2, :-1], next_begins))
    t[:, :-1][:, swallowed] = np.nan
    t[0] = np.fmax(t[0], qrs[2] + GAP)
    p[2] = np.fmin(p[2], qrs[0] - GAP)
    for wave in (p, qrs, t):
        absent = np.isnan(wave).any(axis=0) | (wave[0] < 0) | (wave[2] > end)
        absent |= (wave[1] < wave[0]) | (wave[2] < wave[1])
        wave[:, absent] = np.nan
    return times


def _confidence(waves, found):
    """Of each wave (waves, beats, 12): size / (size + what differs from beat to beat)."""
    noise = _noise(found)
    alone = np.where(found.beats.dominant[0], 1.0, OF_ONE_BEAT)
    sizes = [np.nan_to_num(waves[wave].size) for wave in WAVES]
    return np.stack([size / (size + noise + 1e-3) * alone[: len(size), None] for size in sizes])


def _noise(found):
    """What differs from beat to beat in each lead, (12,) mV."""
    return np.median(np.nan_to_num(found.beats.spread[0]), axis=1)


def _table(times, confidence):
    """Rows in the order of leads, beats and waves."""
    n_beats = times.shape[2]
    times = times.transpose(3, 2, 0, 1).reshape(-1, len(SIDES))
    table = pd.DataFrame(times, columns=SIDES)
    table["confidence"] = confidence.transpose(2, 1, 0).ravel()
    table.loc[table["onset"].isna(), "confidence"] = 0.0
    table["lead"] = np.repeat(LEADS, n_beats * len(WAVES))
    table["beat"] = np.tile(np.repeat(np.arange(n_beats), len(WAVES)), len(LEADS))
    table["wave"] = np.tile(WAVES, len(LEADS) * n_beats)
    return table[list(COLUMNS)]


def _with_unconducted(table, times, leads, found):
    """The table with the P waves that no QRS follows at the usual distance: in a row of the beat
    they precede (the last, if none), in the place of that beat's P if it has none.
    """
    over_leads = analysis.median_of_row(times.reshape(-1, len(LEADS))).reshape(times.shape[:3])
    p, qrs, t = (over_leads[WAVES.index(wave)] for wave in WAVES)
    centres = found.beats.centres[0, : times.shape[2]] / RATE
    qrs_on = np.where(np.isnan(qrs[0]), centres, qrs[0])  # the record's end may cut it off
    middles = unconducted.find(leads, p[[0, 2]].T, qrs_on, t[2])
    if not len(middles):
        return table
    own = unconducted.marks(leads, middles)
    beat = np.minimum(np.searchsorted(qrs_on, middles), len(qrs_on) - 1)
    sides = np.stack([own.onset, own.peak, own.offset], axis=2)  # (k, 12, sides)
    more = pd.DataFrame(sides.reshape(-1, len(SIDES)), columns=SIDES)
    more["confidence"] = (own.size / (own.size + _noise(found) + 1e-3)).ravel()
    more["lead"] = np.tile(LEADS, len(middles))
    more["beat"], more["wave"] = np.repeat(beat, len(LEADS)), "P"
    kept = (more["onset"] >= 0) & (more["offset"] <= (leads.shape[1] - 1) / RATE)
    kept &= np.tile(np.ptp(found.beats.beats[0], axis=1) >= FLAT, len(middles))
    more = more[kept]
    named = pd.MultiIndex.from_frame(more[["lead", "beat"]])
    taken = pd.MultiIndex.from_frame(table[["lead", "beat"]]).isin(named)
    table = table[~(taken & (table["wave"] == "P") & table["onset"].isna())]
    table = pd.concat([table, more], ignore_index=True)
    order = [table["lead"].map(LEADS.index), table["beat"], table["wave"].map(WAVES.index)]
    keys = pd.concat([*order, table["onset"]], axis=1)
    return table.loc[keys.sort_values(list(keys), kind="stable").index, list(COLUMNS)]


def boundary_sd() -> pd.DataFrame:
    """SD (ms) of our marks about cardiologists', from the half of LUDB that settings were chosen
    on: wave, side, rhythm, rate (slow: under 60 beats per minute, fast: over 100, any), sd_ms, n.
    Made by `tests/benchmarks/bench_ecg.py ludb --uncertainty`.
    """
    return pd.read_csv(Path(__file__).with_name("boundary_sd.csv"))


def write_annotations(marks: pd.DataFrame, folder: Path, name: str, sampling_rate: int) -> None:
    """Marks of `delineate` as WFDB annotations `<folder>/<name>.<lead>`, one file per lead as in
    LUDB: `(`, p, N or t, `)`; `wfdb.rdann(name, "ii")` reads lead II.
    """
    import wfdb  # only here: it takes half a second that measuring alone need not wait for

    for lead in LEADS:
        samples, symbols = _symbols(marks[marks["lead"] == lead], sampling_rate)
        if len(samples):
            # wfdb reads the extension v1 but writes none with a digit
            wfdb.wrann(name, "lead", samples, symbols, fs=sampling_rate, write_dir=str(folder))
            (Path(folder) / f"{name}.lead").replace(Path(folder) / f"{name}.{lead.lower()}")


def _symbols(marks, sampling_rate):
    """Sample numbers and symbols of one lead in the order of time."""
    present = marks.dropna(subset=["onset"]).sort_values("onset", kind="stable")
    samples = np.round(present[list(SIDES)].to_numpy() * sampling_rate).astype(int).ravel()
    symbols = []
    for wave in present["wave"]:
        symbols += ["(", SYMBOLS[wave], ")"]
    return samples, symbols
