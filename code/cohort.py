"""A simulated cohort: who has which cause, the hearts that follow, and their records.

Everything about a record follows from its row of the plan (true_parameters.csv): the seed, the ids and the
severities. So a record can be drawn again exactly, and also without one of its causes (`counterfactual`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from artefacts import UserError, read_csv
from causes import CAUSES, DECOYS
from cli import check_names
from heart import INDEPENDENT, N_BODY, QRS, WAVES, WINDOW_MS, Beat, digitise, normal_beat, wave_shapes

SECONDS = 10
PARAMETERS = "true_parameters.csv"

# Statements that occur together and in how many records.
COMBINATIONS = {("NORM",): 450, ("LVH",): 150, ("CLBBB",): 100, ("IMI",): 130, ("AMI",): 60, ("ASMI",): 90, ("ASMI", "IMI"): 20}
DECOY_SHARE = 0.3
REPEAT_SHARE = 0.07   # share of patients with a second record
MAX_BEATS = 60


# ---------------------------------------------------------------- who has what

def make_plan(n_records: int, seed: int) -> pd.DataFrame:
    """One row per record: ids, age, sex, fold, and per cause and decoy its severity (0 where absent)."""
    random = np.random.default_rng([seed, 0])
    patient = _patients(n_records, random)
    combinations = list(COMBINATIONS)
    weights = np.array([COMBINATIONS[names] for names in combinations], dtype=float)
    of_patient = random.choice(len(combinations), size=patient.max() + 1, p=weights / weights.sum())
    combination = of_patient[patient]
    plan = pd.DataFrame({"ecg_id": np.arange(1, n_records + 1), "patient_id": patient + 1, "seed": seed})
    age = np.array([max(CAUSES[name].age for name in names) for names in combinations])
    drawn = age[of_patient] + random.normal(0, 1, patient.max() + 1) * np.where(age[of_patient] < 60, 17, 11)
    plan["age"] = np.clip(np.rint(drawn), 18, 95)[patient].astype(int)
    plan["sex"] = random.integers(0, 2, patient.max() + 1)[patient]
    plan["strat_fold"] = _folds(of_patient, random)[patient]
    strength = np.exp(random.normal(-0.06, 0.35, (n_records, len(CAUSES))))
    for column, name in enumerate(CAUSES):
        present = np.array([name in combinations[k] for k in combination])
        plan[f"severity_{name}"] = np.where(present, strength[:, column].round(4), 0.0)
    for name in DECOYS:
        shown = random.random(n_records) < DECOY_SHARE
        plan[f"decoy_{name}"] = np.where(shown, np.exp(random.normal(0, 0.2, n_records)).round(4), 0.0)
    return plan


def _patients(n_records, random):
    """Patient number (0, 1, ...) of each record."""
    patient = np.where(random.random(n_records) < REPEAT_SHARE, 0, 1)
    patient[0] = 1
    return np.cumsum(patient) - 1


def _folds(stratum, random):
    """Fold 1..10 per patient, each stratum dealt out evenly."""
    order = np.lexsort((random.random(len(stratum)), stratum))
    fold = np.empty(len(stratum), dtype=int)
    fold[order] = (np.arange(len(stratum)) + random.integers(10)) % 10 + 1
    return fold


# ---------------------------------------------------------------- hearts

@dataclass(frozen=True)
class Hearts:
    """n hearts with their causes: beats of either kind, and how they follow each other.

    normal, ectopic   Beat
    rr                # (n,) ms
    fibrillation      # (n,) severity, 0 where the atria beat in order
    ectopy            # (n,) severity, 0 where no beat comes early
    """

    normal: Beat
    ectopic: Beat
    rr: np.ndarray
    fibrillation: np.ndarray
    ectopy: np.ndarray


def make_hearts(plan: pd.DataFrame) -> Hearts:
    """The hearts of the plan's rows."""
    ids = plan[["seed", "patient_id", "ecg_id"]].itertuples(index=False)
    body, rest = zip(*(_constitution(*row) for row in ids), strict=True)
    beat, rr = normal_beat(np.array(body), np.array(rest), plan["age"].to_numpy(float), plan["sex"].to_numpy(float))
    rhythm = {"fibrillation": np.zeros(len(plan)), "ectopic": np.zeros(len(plan))}
    for cause, severity in _present(plan):
        beat, rr = _apply(cause, severity, beat, rr)
        if cause.rhythm:
            rhythm[cause.rhythm] = severity
    return Hearts(beat, _ectopic(beat), rr, rhythm["fibrillation"], rhythm["ectopic"])


def _present(plan):
    """(cause, severities) of all causes and decoys in the order in which they act."""
    for prefix, registry in (("severity", CAUSES), ("decoy", DECOYS)):
        for name, cause in registry.items():
            yield cause, plan[f"{prefix}_{name}"].to_numpy(float)


def _constitution(seed, patient_id, ecg_id):
    """Standard normal draws of one heart: mostly the patient's, a little the day's."""
    patient = np.random.default_rng([seed, 1, patient_id])
    day = np.random.default_rng([seed, 2, ecg_id])
    mix = np.sqrt(0.9)
    draw = [mix * patient.standard_normal(size) + np.sqrt(0.1) * day.standard_normal(size)
            for size in (N_BODY, (len(WAVES), len(INDEPENDENT)))]
    return draw[0], draw[1]


def _apply(cause, severity, beat, rr):
    """Beats and RR with a cause at the given severities (0 leaves them as they are)."""
    amplitude = beat.amplitude.copy()
    if cause.pattern:
        amplitude = _replace_qrs(amplitude, cause.pattern, severity)
    for waves, change in cause.scale:
        for cell in _cells(waves, change):
            factor = change[INDEPENDENT[cell[1]]]
            amplitude[:, cell[0], cell[1]] *= 1 + np.minimum(severity, 1.5) * (factor - 1)
    for waves, change in cause.add:
        for cell in _cells(waves, change):
            amplitude[:, cell[0], cell[1]] += severity * change[INDEPENDENT[cell[1]]]
    times = cause.times
    width = beat.width * (1 + severity * (times.get("qrs_width", 1) - 1))
    beat = beat.changed(amplitude=amplitude, width=width, p=beat.p - severity * times.get("pr", 0),
                        t=beat.t + severity * times.get("t", 0),
                        p_width=beat.p_width * (1 + severity * (times.get("p_width", 1) - 1)))
    return beat, rr * times.get("rr", 1) ** severity


def _cells(waves, change):
    return [(WAVES.index(wave), INDEPENDENT.index(lead)) for wave in waves for lead in change]


def _replace_qrs(amplitude, pattern, severity):
    """QRS of the hearts that have the cause: the pattern, scaled by how tall the heart's own QRS is."""
    first, last = WAVES.index(QRS[0]), WAVES.index(QRS[-1]) + 1
    shape = np.array([pattern[lead] for lead in INDEPENDENT]).T  # (waves, 8)
    voltage = np.sqrt((amplitude[:, first:last] ** 2).sum(axis=(1, 2)) / 12.0)[:, None, None]
    has = (severity > 0)[:, None, None]
    amplitude[:, first:last] = np.where(has, 0.25 * amplitude[:, first:last] + shape * voltage, amplitude[:, first:last])
    return amplitude


def _ectopic(beat):
    """A ventricular premature beat of the same hearts: broad, no P wave, T against the QRS."""
    amplitude = np.zeros_like(beat.amplitude)
    main = np.array([0.6, 0.9, -0.7, -1.2, -0.6, 0.8, 1.1, 0.9])
    for phase, height in enumerate((.1, .3, .6, .9, 1, .9, .5, .15)):
        amplitude[:, WAVES.index(QRS[phase])] = 1.2 * height * main
    amplitude[:, WAVES.index("T2")] = -0.5 * main
    return beat.changed(amplitude=amplitude, width=np.full_like(beat.width, 1.7), t=beat.t + 60)


# ---------------------------------------------------------------- beats in time

@dataclass(frozen=True)
class Rhythm:
    """Beats of one record: `time` (ms of the R-peak), `ectopic` (bool), `t_shift` (ms), `gain` # (beats, 8)."""

    time: np.ndarray
    ectopic: np.ndarray
    t_shift: np.ndarray
    gain: np.ndarray


def make_rhythm(seed: int, ecg_id: int, rr: float, fibrillation: float, ectopy: float) -> Rhythm:
    """When the beats come; what is drawn does not depend on the causes, so that a cause can be undone alone."""
    random = np.random.default_rng([seed, 3, ecg_id])
    start, breath_start, breath_ms = random.random(), random.random(), random.uniform(2800, 5000)
    steady, irregular = random.standard_normal((2, MAX_BEATS))
    lead_swing, jitter = random.standard_normal(8), random.standard_normal((MAX_BEATS, 8))
    early = random.permutation(np.arange(2, 9))
    interval = rr * (1 + 0.018 * steady)
    if fibrillation > 0:
        interval = rr * np.exp(0.20 * irregular)
    kind = np.zeros(MAX_BEATS, dtype=bool)
    if ectopy > 0:
        kind[early[: 1 + round(float(ectopy))]] = True
        before, after = np.flatnonzero(kind) - 1, np.flatnonzero(kind)
        interval[before] *= 0.62
        interval[after] *= 1.38
    time = -1500 + start * rr + np.concatenate([[0], np.cumsum(interval)[:-1]])
    breath = np.sin(2 * np.pi * (time / breath_ms + breath_start))[:, None]
    gain = 1 + 0.03 * breath * lead_swing + 0.012 * jitter
    keep = (time > WINDOW_MS[0] - 600) & (time < 1000 * SECONDS - WINDOW_MS[0])
    previous = np.concatenate([interval[:1], interval[:-1]])
    t_shift = 0.08 * (np.clip(previous, 300, 1500) - rr)
    return Rhythm(time[keep], kind[keep], t_shift[keep], gain[keep])


def render_beats(hearts: Hearts, row: int, rhythm: Rhythm, sampling_rate: int) -> np.ndarray:
    """# (T, 8) mV: the beats of one record without noise."""
    step = 1000 / sampling_rate
    length = int((WINDOW_MS[1] - WINDOW_MS[0]) / step)
    pad = int(2000 / step)
    signal = np.zeros((2 * pad + SECONDS * sampling_rate, 8))
    for kind, beat in ((False, hearts.normal), (True, hearts.ectopic)):
        chosen = rhythm.ectopic == kind
        if not chosen.any():
            continue
        peak, shift = rhythm.time[chosen], rhythm.t_shift[chosen]
        first = np.ceil((peak + WINDOW_MS[0]) / step).astype(int)
        time = (first[:, None] + np.arange(length)) * step - peak[:, None]
        shapes = wave_shapes(time, beat.p[row], (beat.t[row] + shift)[:, None], beat.width[row], beat.p_width[row])
        beats = (shapes @ beat.amplitude[row]) * rhythm.gain[chosen][:, None]
        for start, one in zip(first + pad, beats, strict=True):
            signal[start:start + length] += one
    return signal[pad:-pad]


def noise(seed: int, ecg_id: int, sampling_rate: int) -> np.ndarray:
    """# (T, 8) mV: baseline wander, muscle; at 100 Hz the mean of five samples at 500 Hz."""
    random = np.random.default_rng([seed, 4, ecg_id])
    muscle = random.standard_normal((SECONDS * 500, 8)) * 0.018 * np.exp(0.4 * random.standard_normal())
    wander = 0.025 * np.exp(0.5 * random.standard_normal()) * random.standard_normal((4, 8))
    frequency, phase = random.uniform(0.05, 0.5, 4), random.random(4)
    if sampling_rate == 100:
        muscle = muscle.reshape(-1, 5, 8).mean(axis=1)
    seconds = np.arange(len(muscle)) / sampling_rate
    return muscle + np.sin(2 * np.pi * (np.outer(seconds, frequency) + phase)) @ wander


def render(plan: pd.DataFrame, hearts: Hearts, row: int, sampling_rate: int) -> tuple[np.ndarray, Rhythm]:
    """One record as # (T, 12) int16 uV, and its beats."""
    seed, ecg_id = int(plan["seed"].iat[row]), int(plan["ecg_id"].iat[row])
    rhythm = make_rhythm(seed, ecg_id, hearts.rr[row], hearts.fibrillation[row], hearts.ectopy[row])
    signal = render_beats(hearts, row, rhythm, sampling_rate) + noise(seed, ecg_id, sampling_rate)
    return digitise(signal), rhythm


# ---------------------------------------------------------------- what if

def read_plan(path: str | Path) -> pd.DataFrame:
    """The plan of a simulated cohort, from its folder."""
    return read_csv(Path(path) / PARAMETERS, "only a cohort made by simulate_ptbxl.py has it")


def counterfactual(path: str | Path, ecg_ids, undo: str | None = None, sampling_rate: int = 100) -> np.ndarray:
    """Records of a simulated cohort drawn again without one cause or decoy: # (n, T, 12) mV.

    Same patients, noise and beats; `undo` is a statement (LVH) or a decoy (late_notch), None gives the records
    as they are on disk, to the last bit. A record that does not have it comes back unchanged.
    """
    plan = read_plan(path).set_index("ecg_id", drop=False)
    missing = [str(ecg_id) for ecg_id in ecg_ids if ecg_id not in plan.index]
    if missing:
        raise UserError(f"no record with ecg_id {', '.join(missing)} in {path}")
    plan = plan.loc[list(ecg_ids)].copy()
    if undo is not None:
        check_names("cause or decoy", [undo], [*CAUSES, *DECOYS])
        plan[f"severity_{undo}" if undo in CAUSES else f"decoy_{undo}"] = 0.0
    hearts = make_hearts(plan)
    return np.stack([render(plan, hearts, row, sampling_rate)[0] for row in range(len(plan))]).astype(np.float32) / 1000
