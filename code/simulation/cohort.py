"""A simulated cohort: who has which cause, the hearts that follow, and what a record would be
without a cause.

Everything about a record follows from its row of the plan (true_parameters.csv): seed, ids, age,
sex and severities. So a record can be drawn again exactly, and also without one of its causes
(`counterfactual`).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import check_names
from common.files import UserError, note_read, read_csv
from simulation.causes import BORDERLINE, CAUSES, DECOYS, T_WAVES, Cause
from simulation.heart import (
    INDEPENDENT,
    N_BODY,
    QRS,
    WAVES,
    Beat,
    normal_beat,
    reflect,
    typical_amplitude,
)
from simulation.rhythm import DAY, ECTOPY, PATIENT, Hearts, render, stream

PARAMETERS = "true_parameters.csv"
SMALLEST_SHARE = 0.03  # rarer statements are raised to this share of the records
DECOY_SHARE = 0.3
# share of records that are a further one of the same patient (PTB-XL's first 1,499: 105)
REPEATED = 0.07
SAME_FINDINGS = 0.8  # a further record shows the same statements
FROM_PATIENT = 0.9  # share of a heart's variance that is the patient's, the rest is the day's
OWN_SHARE = 0.33  # of a heart's own QRS that stays under a pattern


# ---------------------------------------------------------------- who has what


@cache
def combinations() -> tuple[tuple[tuple[str, ...], ...], np.ndarray]:
    """Statements that occur together, and their shares.

    label_combinations.csv counts them in the first 1,499 records of PTB-XL 1.0.1 (Wagner et al., CC
    BY 4.0); rare statements are raised until each has SMALLEST_SHARE of the records, which leaves
    what occurs with them as it is.
    """
    table = read_csv(Path(__file__).with_name("label_combinations.csv"))
    names = tuple(tuple(text.split()) for text in table["labels"])
    has = np.array([np.isin(list(CAUSES), group) for group in names])
    share = table["records"].to_numpy(dtype=float)
    for _ in range(100):
        share /= share.sum()
        lacking = SMALLEST_SHARE / np.maximum(share @ has, 1e-9)
        share = share * np.where(has, np.maximum(lacking, 1), 1).max(axis=1)
    return names, share / share.sum()


def make_plan(n_records: int, seed: int) -> pd.DataFrame:
    """One row per record: ids, age, sex, fold, and per cause and decoy its severity (0 where
    absent).

    `borderline_<cause>` is the severity of an unlabelled change, 0 in records that have the label.
    """
    random = np.random.default_rng([seed, 0])
    names, share = combinations()
    patient = _patients(n_records, random)
    n_patients = patient.max() + 1
    of_patient = random.choice(len(names), size=n_patients, p=share)
    anew = random.choice(len(names), size=n_records, p=share)
    first = np.diff(patient, prepend=-1) > 0
    combination = np.where(
        first | (random.random(n_records) < SAME_FINDINGS), of_patient[patient], anew
    )
    age, female = _age_and_sex([names[k] for k in of_patient], random)
    plan = pd.DataFrame(
        {
            "ecg_id": np.arange(1, n_records + 1),
            "patient_id": patient + 1,
            "seed": seed,
            "age": age[patient],
            "sex": female[patient],
            "strat_fold": _folds(of_patient, random)[patient],
        }
    )
    for name, cause in CAUSES.items():
        present = np.array([name in group for group in names])[combination]
        plan[f"severity_{name}"] = np.where(present, _severities(cause, n_records, random), 0.0)
    for name, cause in CAUSES.items():
        if cause.borderline:
            slight = (random.random(n_records) < cause.borderline) & (plan[f"severity_{name}"] == 0)
            plan[f"borderline_{name}"] = np.where(
                slight, random.uniform(*BORDERLINE, n_records).round(4), 0.0
            )
    for name, cause in DECOYS.items():
        shown = random.random(n_records) < DECOY_SHARE
        plan[f"decoy_{name}"] = np.where(shown, _severities(cause, n_records, random), 0.0)
    for name, cause in CAUSES.items():
        if cause.fresh:
            recent = (random.random(n_records) < cause.fresh.share) & (plan[f"severity_{name}"] > 0)
            plan[f"fresh_{name}"] = np.where(recent, _severities(cause, n_records, random), 0.0)
    return plan


def _patients(n_records, random):
    """Patient number (0, 1, ...) of each record."""
    new = random.random(n_records) >= REPEATED
    new[0] = True
    return np.cumsum(new) - 1


def _age_and_sex(groups, random):
    """Age and sex of each patient: those of the statement with the highest typical age."""
    oldest = [CAUSES[max(group, key=lambda name: CAUSES[name].age)] for group in groups]
    typical = np.array([cause.age for cause in oldest])
    age = typical + random.normal(0, 1, len(groups)) * np.where(typical < 55, 17, 11)
    female = random.random(len(groups)) < np.array([cause.female for cause in oldest])
    return reflect(np.rint(age), 18, 92).astype(int), female.astype(int)


def _severities(cause, n, random):
    """Severities around 1 within the cause's range."""
    drawn = np.exp(0.25 * random.standard_normal(n))
    return reflect(drawn, *cause.severity).clip(*cause.severity).round(4)


def _folds(stratum, random):
    """Fold 1..10 per patient, each stratum dealt out evenly."""
    order = np.lexsort((random.random(len(stratum)), stratum))
    fold = np.empty(len(stratum), dtype=int)
    fold[order] = (np.arange(len(stratum)) + random.integers(10)) % 10 + 1
    return fold


# ---------------------------------------------------------------- hearts


def make_hearts(plan: pd.DataFrame) -> Hearts:
    """The hearts of the plan's rows, with their causes."""
    ids = plan[["seed", "patient_id", "ecg_id"]].itertuples(index=False)
    body, rest = map(np.array, zip(*(_constitution(*row) for row in ids), strict=True))
    age, female = plan["age"].to_numpy(float), plan["sex"].to_numpy(float)
    beat, rr = normal_beat(body, rest, age, female)
    overlays = {name: np.zeros(len(plan)) for name in ("fibrillation", "ectopic", "step", "tremor")}
    for cause, severity in _acting(plan):
        beat, rr = _apply(cause, severity, beat, rr)
        if cause.overlay:
            overlays[cause.overlay] = severity
    return Hearts(beat, _ectopic(beat, plan), rr, overlays)


def severity_column(name: str) -> str:
    """Column of the plan that holds the severity of a cause or decoy."""
    return f"severity_{name}" if name in CAUSES else f"decoy_{name}"


def _acting(plan):
    """(cause, severities) of all causes and decoys, in the order in which they act."""
    for name, cause in {**CAUSES, **DECOYS}.items():
        severity = plan[severity_column(name)].to_numpy(float)
        if cause.borderline:
            severity = severity + plan[f"borderline_{name}"].to_numpy(float)
        if severity.any():
            yield cause, severity
            if cause.fresh:  # undone with its cause
                recent = plan[f"fresh_{name}"].to_numpy(float) * (severity > 0)
                yield Cause(cause.what, add=cause.fresh.add), recent


def _constitution(seed, patient_id, ecg_id):
    """Standard normal draws of one heart: mostly the patient's, a little the day's."""
    patient, day = stream(seed, PATIENT, patient_id), stream(seed, DAY, ecg_id)
    return tuple(
        np.sqrt(FROM_PATIENT) * patient.standard_normal(size)
        + np.sqrt(1 - FROM_PATIENT) * day.standard_normal(size)
        for size in (N_BODY, (len(WAVES), len(INDEPENDENT)))
    )


def _apply(cause: Cause, severity, beat: Beat, rr):
    """Beats and RR with a cause at the given severities # (n,); those at 0 stay as they are."""
    amplitude = beat.amplitude.copy()
    has = severity > 0
    if cause.pattern:
        amplitude[has] = _patterned(amplitude[has], cause.pattern)
    for waves, change in cause.scale:
        cells, factors = _cells(waves, change)
        amplitude[:, *cells] *= factors ** severity[:, None]
    for waves, change in cause.add:
        cells, amounts = _cells(waves, change)
        amplitude[:, *cells] += amounts * severity[:, None]
    if cause.limit:
        amplitude[has] = _limited(amplitude[has], cause.limit, severity[has])
    values = {name: getattr(beat, name) for name in ("pr", "t", "width", "p_width")} | {"rr": rr}
    labelled = severity >= cause.severity[0]
    for name, time in cause.times.items():
        changed = values[name] * time.factor**severity + time.add * severity
        values[name] = np.where(labelled, reflect(changed, time.least, time.most), changed)
    # the T wave follows the rate
    new_rr = values.pop("rr")
    values["t"] = values["t"] + 0.13 * (np.clip(new_rr, 400, 1400) - np.clip(rr, 400, 1400))
    return Beat(amplitude, **values), new_rr


def _cells(waves, change):
    """Index of waves x leads into an amplitude array, and the value of each."""
    wave = np.repeat([WAVES.index(name) for name in waves], len(change))
    lead = np.tile([INDEPENDENT.index(name) for name in change], len(waves))
    return (wave, lead), np.tile(list(change.values()), len(waves))


_QRS = slice(WAVES.index(QRS[0]), WAVES.index(QRS[-1]) + 1)


def _patterned(amplitude, pattern):
    """The QRS of a pattern, as tall as the heart's own is against a typical one, with a share of
    its own kept.
    """
    shape = np.array([pattern[lead] for lead in INDEPENDENT]).T  # (8 waves, 8 leads)
    own = amplitude[:, _QRS]
    typical = typical_amplitude()[_QRS]
    height = np.sqrt((own**2).sum(axis=(1, 2)) / (typical**2).sum())[:, None, None]
    amplitude = amplitude.copy()
    amplitude[:, _QRS] = shape * np.clip(height, 0.6, 1.5) + OWN_SHARE * (own - typical * height)
    return amplitude


def _limited(amplitude, limit, severity):
    """QRS made smaller where its largest wave exceeds the limit in any lead of its group (limb,
    chest).
    """
    amplitude = amplitude.copy()
    most = np.array([limit[lead] for lead in INDEPENDENT]) * severity[:, None]  # (n, 8)
    excess = np.abs(amplitude[:, _QRS]).max(axis=1) / most
    for group in (slice(0, 2), slice(2, 8)):
        amplitude[:, _QRS, group] /= np.maximum(excess[:, group].max(axis=1), 1)[:, None, None]
    return amplitude


# where an early beat may come from: QRS in I, II, V1..V6
ECTOPIC_SITES = {
    "right": (0.7, 0.9, -0.8, -1.3, -0.7, 0.7, 1.1, 0.9),
    "left": (-0.5, -0.7, 1.0, 1.2, 1.0, 0.5, -0.4, -0.6),
}


def _ectopic_lead_heights(random):
    """mV of an early beat's QRS in I, II, V1..V6."""
    site = np.array(ECTOPIC_SITES[random.choice(list(ECTOPIC_SITES))])
    size = np.exp(0.2 * random.standard_normal())
    return site * size + 0.15 * random.standard_normal(8)


def _ectopic(beat, plan):
    """Ventricular premature beats of the same hearts: broad, no P wave, T against the QRS."""
    ids = zip(plan["seed"], plan["patient_id"], strict=True)
    draws = [stream(seed, ECTOPY, patient) for seed, patient in ids]
    main = np.array([_ectopic_lead_heights(random) for random in draws])
    amplitude = np.zeros_like(beat.amplitude)
    rise = np.array([0.08, 0.25, 0.55, 0.85, 1, 0.85, 0.5, 0.2])
    amplitude[:, _QRS] = rise[:, None] * main[:, None]
    for wave, share in zip(T_WAVES, (0.15, 0.5), strict=True):
        amplitude[:, WAVES.index(wave)] = -share * main
    width, t = np.full_like(beat.width, 1.75), np.maximum(beat.t + 55, 240)
    return replace(beat, amplitude=amplitude, width=width, t=t)


# ---------------------------------------------------------------- what if


def read_plan(path: str | Path) -> pd.DataFrame:
    """The plan of a simulated cohort, from its folder."""
    plan = Path(path) / PARAMETERS
    if plan.is_file():
        note_read(plan)
    return read_csv(plan, "only a cohort made by simulate_ptbxl.py has it")


def render_plan(plan: pd.DataFrame, sampling_rate: int = 100) -> np.ndarray:
    """The records of the plan's rows: # (n, T, 12) int16 uV."""
    hearts = make_hearts(plan)
    ids = zip(plan["seed"], plan["ecg_id"], strict=True)
    return np.stack(
        [
            render(hearts, row, seed, ecg_id, sampling_rate)[0]
            for row, (seed, ecg_id) in enumerate(ids)
        ]
    )


def counterfactual(
    path: str | Path,
    ecg_ids: Sequence[int] | np.ndarray,
    undo: str | None = None,
    sampling_rate: int = 100,
) -> np.ndarray:
    """Records of a simulated cohort drawn again without one cause or decoy: # (n, T, 12) float32
    mV.

    `undo` is a statement (LVH) or a decoy (late_notch); None gives the records as they are on disk,
    to the last bit. Patient, noise and artefacts are the same; so are the beats, unless the cause
    is one of rate or rhythm (STACH, SBRAD, AFIB, PVC). A record that does not have it comes back
    unchanged. Raises UserError for unknown ids and names.
    """
    if undo is not None:
        check_names("cause or decoy", [undo], [*CAUSES, *DECOYS])
    plan = read_plan(path).set_index("ecg_id", drop=False)
    missing = [str(ecg_id) for ecg_id in ecg_ids if ecg_id not in plan.index]
    if missing:
        raise UserError(
            f"no record with ecg_id {', '.join(missing)} in {path} (it has {len(plan)} records)"
        )
    plan = plan.loc[list(ecg_ids)].copy()
    if undo is not None:
        plan[severity_column(undo)] = 0.0
    return render_plan(plan, sampling_rate).astype(np.float32) / 1000
