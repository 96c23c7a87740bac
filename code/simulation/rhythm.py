"""Beats in time: rhythm, rendering of one record, noise.

What is drawn for a record depends on its seed and id alone, never on its causes: so a record drawn
again without one of its causes has the same breathing, the same noise and, unless the cause is one
of rhythm, the same beats.
"""

from dataclasses import dataclass

import numpy as np

from simulation.heart import WINDOW_MS, Beat, digitise, wave_shapes

SECONDS = 10
MAX_BEATS = 60
BEFORE_MS = 1500.0  # beats begin before the record does, so that it may start within one

# Streams of a record's random numbers, one per subject.
PATIENT, DAY, RHYTHM, NOISE, FIBRILLATION, ARTEFACT, ECTOPY, PAPERWORK = range(1, 9)


def stream(seed: int, subject: int, number: int) -> np.random.Generator:
    """Random numbers of one subject (PATIENT, ...) of one patient or record."""
    return np.random.default_rng([int(seed), subject, int(number)])


@dataclass(frozen=True)
class Hearts:
    """n hearts with their causes: both kinds of beats, how they follow each other, what lies over
    them.

    normal, ectopic  Beat
    rr               # (n,) ms
    severity         what is no wave -> # (n,), 0 where absent: "fibrillation", "ectopic", "step",
                     "tremor"
    """

    normal: Beat
    ectopic: Beat
    rr: np.ndarray
    severity: dict[str, np.ndarray]


@dataclass(frozen=True)
class Rhythm:
    """Beats of one record.

    time     # (beats,) ms of the R-peak from the start of the record
    ectopic  # (beats,) bool
    t_shift  # (beats,) ms: how much later T comes after a long interval
    gain     # (beats, 8) amplitude of the beat in each lead, around 1
    """

    time: np.ndarray
    ectopic: np.ndarray
    t_shift: np.ndarray
    gain: np.ndarray


def make_rhythm(hearts: Hearts, row: int, seed: int, ecg_id: int) -> Rhythm:
    """When the beats of one record come."""
    random, rr = stream(seed, RHYTHM, ecg_id), hearts.rr[row]
    start, breath_start, breath_ms = random.random(), random.random(), random.uniform(2800, 5000)
    steady, irregular = random.standard_normal((2, MAX_BEATS))
    lead_swing, jitter = random.standard_normal(8), random.standard_normal((MAX_BEATS, 8))
    sinus_swing = 0.03 * abs(random.standard_normal())  # breathing moves the sinus rate too
    # ms at which a beat may come early
    places = random.permutation([2000, 4500, 7000]) + random.uniform(0, 1200, 3)
    breath = np.sin(2 * np.pi * (np.arange(MAX_BEATS) * rr / breath_ms + breath_start))
    interval = rr * (1 + sinus_swing * breath + 0.008 * steady)
    if hearts.severity["fibrillation"][row] > 0:
        interval = np.maximum(rr * np.exp(0.18 * irregular), 320)
    start_ms = -BEFORE_MS + start * rr
    interval, ectopic = _premature(interval, start_ms, hearts.severity["ectopic"][row], places)
    time = start_ms + np.concatenate([[0], np.cumsum(interval)[:-1]])
    gain = 1 + 0.03 * breath[:, None] * lead_swing + 0.012 * jitter
    previous = np.concatenate([interval[:1], interval[:-1]])
    t_shift = 0.08 * (np.clip(previous, 300, 1500) - rr)
    keep = time < 1000 * SECONDS - WINDOW_MS[0]
    return Rhythm(time[keep], ectopic[keep], t_shift[keep], gain[keep])


def _premature(interval, start_ms, severity, places):
    """Intervals with one to three early ventricular beats at the given places, each followed by a
    pause.
    """
    ectopic = np.zeros(len(interval), dtype=bool)
    if severity > 0:
        places = np.sort(places[: 1 + int(severity > 0.9) + int(severity > 1.3)])
        early = np.unique(np.searchsorted(start_ms + np.cumsum(interval), places) + 1)
        early = early[np.diff(early, prepend=-2) > 1]  # no two in a row
        ectopic[early] = True
        interval = interval.copy()
        interval[early - 1] *= 0.62
        interval[early] *= 1.38
    return interval, ectopic


# ---------------------------------------------------------------- rendering


def render_clean(
    hearts: Hearts, row: int, rhythm: Rhythm, seed: int, ecg_id: int, sampling_rate: int
) -> np.ndarray:
    """# (T, 8) mV: what the heart of one record does, without noise."""
    signal = sum(
        _beats_of(beat, row, rhythm, rhythm.ectopic == kind, sampling_rate)
        for kind, beat in ((False, hearts.normal), (True, hearts.ectopic))
    )
    if fibrillation := hearts.severity["fibrillation"][row]:
        signal = signal + fibrillation * fibrillatory_waves(seed, ecg_id, sampling_rate)
    return signal


def _beats_of(beat: Beat, row, rhythm, chosen, sampling_rate):
    """# (T, 8): the chosen beats, each wave only within WINDOW_MS of its R-peak."""
    step = 1000 / sampling_rate
    length, pad = int((WINDOW_MS[1] - WINDOW_MS[0]) / step), int((BEFORE_MS + 1000) / step)
    signal = np.zeros((2 * pad + SECONDS * sampling_rate, 8))
    peak, shift = rhythm.time[chosen], rhythm.t_shift[chosen]
    first = np.ceil((peak + WINDOW_MS[0]) / step).astype(int)
    time = (first[:, None] + np.arange(length)) * step - peak[:, None]
    shapes = wave_shapes(
        time, beat.p[row], (beat.t[row] + shift)[:, None], beat.width[row], beat.p_width[row]
    )
    waves = (shapes @ beat.amplitude[row]) * rhythm.gain[chosen][:, None]
    for start, one in zip(first + pad, waves, strict=True):
        signal[start : start + length] += one
    return signal[pad:-pad]


def _seconds(sampling_rate):
    return np.arange(SECONDS * sampling_rate) / sampling_rate


def fibrillatory_waves(seed: int, ecg_id: int, sampling_rate: int) -> np.ndarray:
    """# (T, 8) mV: waves of 5-8 Hz that wax and wane, largest in V1, then II."""
    random = stream(seed, FIBRILLATION, ecg_id)
    rate, drift = random.uniform(5, 8), random.uniform(0.3, 0.9)
    size = np.exp(0.35 * random.standard_normal())
    phase = random.random(3)
    seconds = _seconds(sampling_rate)
    turn = rate * seconds + 0.35 * np.sin(2 * np.pi * (drift * seconds + phase[0])) + phase[1]
    envelope = 0.75 + 0.25 * np.sin(2 * np.pi * (0.37 * seconds + phase[2]))
    wave = envelope * (np.sin(2 * np.pi * turn) + 0.35 * np.sin(4 * np.pi * turn))
    return 0.055 * size * np.outer(wave, (0.25, 0.6, 1.0, 0.5, 0.25, 0.15, 0.15, 0.15))


def noise(seed: int, ecg_id: int, sampling_rate: int) -> np.ndarray:
    """# (T, 8) mV: breathing and drift of the baseline, muscle, and at 500 Hz mains.

    Muscle is drawn at 500 Hz; at 100 Hz its mean over five samples is used, and mains lies beyond
    what is left. Sizes as in real normal records: muscle .001-.012 mV in I and II (10-90 %),
    .001-.004 mV in V1-V6, baseline .02-.13 mV.
    """
    random = stream(seed, NOISE, ecg_id)

    def size_of(typical: float, spread: float, spread_of_leads: float, n_leads: int) -> np.ndarray:
        whole = typical * np.exp(spread * random.standard_normal())
        return whole * np.exp(spread_of_leads * random.standard_normal(n_leads))

    size = np.concatenate([size_of(0.0085, 0.85, 0.3, 2), size_of(0.0032, 0.5, 0.2, 6)])
    muscle = random.standard_normal((SECONDS * 500, 8)) * np.minimum(size, 0.06)
    frequency = np.array([0.06, 0.13, 0.25, 0.4]) * random.uniform(0.7, 1.3, 4)
    phase = random.random((4, 8))
    share = np.array([1.0, 0.7, 0.6, 0.2])[:, None]
    height = 0.034 * np.exp(0.65 * random.standard_normal()) * share
    height = height * random.uniform(0.5, 1.5, 8)
    mains = 0.002 * np.exp(0.8 * random.standard_normal()) * random.uniform(0.3, 1, 8)
    if sampling_rate == 100:
        muscle = muscle.reshape(-1, 5, 8).mean(axis=1)
    else:
        muscle += np.sin(2 * np.pi * 50 * _seconds(sampling_rate))[:, None] * mains
    turns = _seconds(sampling_rate)[:, None, None] * frequency[:, None] + phase
    return muscle + (height * np.sin(2 * np.pi * turns)).sum(axis=1)


def artefacts(hearts: Hearts, row: int, seed: int, ecg_id: int, sampling_rate: int) -> np.ndarray:
    """# (T, 8) mV: decoys that are no waves: a step of the baseline in V1-V3 that decays, and a
    tremor in I and II.
    """
    if not (hearts.severity["step"][row] or hearts.severity["tremor"][row]):
        return np.zeros((SECONDS * sampling_rate, 8))
    random = stream(seed, ARTEFACT, ecg_id)
    at, side, begin = random.uniform(2.5, 6.5), random.choice([-1, 1]), random.uniform(2.5, 5.5)
    seconds = _seconds(sampling_rate)
    step = np.where(seconds >= at, np.exp(-np.clip(seconds - at, 0, None) / 1.6), 0.0)
    tremor = np.sin(2 * np.pi * 11 * seconds) * np.exp(-0.5 * ((seconds - begin - 0.75) / 0.5) ** 2)
    steps = np.outer(step, (0, 0, 0.35, 0.25, 0.15, 0, 0, 0))
    tremors = np.outer(tremor, (0.06, 0.05, 0, 0, 0, 0, 0, 0))
    severity = hearts.severity
    return severity["step"][row] * side * steps + severity["tremor"][row] * tremors


def render(
    hearts: Hearts, row: int, seed: int, ecg_id: int, sampling_rate: int
) -> tuple[np.ndarray, Rhythm]:
    """One record as # (T, 12) int16 uV, and its beats."""
    rhythm = make_rhythm(hearts, row, seed, ecg_id)
    signal = render_clean(hearts, row, rhythm, seed, ecg_id, sampling_rate)
    unwanted = artefacts(hearts, row, seed, ecg_id, sampling_rate)
    signal += noise(seed, ecg_id, sampling_rate) + unwanted
    return digitise(signal), rhythm
