"""What every sanity check shares: the model and records under test, what a check measured, and how
that becomes a table.

A check looks at a `Subject` (a model and the records it is asked about) through an explainer (any
function from a model, signals and targets to signed maps), and gives `Measured` values, one per
record, each with its chance level. Means, intervals over patients and paired comparisons are made
here, the same way for all; so are the subjects: which records a model is explained on, and for
which output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import nn

from common.files import UserError
from common.intervals import mean_intervals
from common.labels import LEADS, is_regression
from common.stats import patient_weights
from common.words import CONTROLS
from ecg.fills import isoelectric_line
from ecg.segments import SEGMENTS
from networks.inference import predict, read_samples
from records.dataset import Dataset, centre_crop
from records.segmentations import load_segments
from records.stored import leads_there

N_RESAMPLES = 1000
N_FLIPS = 2000
COLUMNS = ["check", "method", "model", "task", "value", "low", "high", "chance", "n"]

# (model, signals (n, T, 12) mV, target (n,)) -> signed maps (n, T, 12)
Explain = Callable[[torch.nn.Module, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Subject:
    """One model and the records it is explained on; all arrays share their rows.

    name       of the run (`lenet_subdiagnostic`)
    signals    # (n, T, 12) mV, the crop that the model sees
    segments   # (n, T, 12, 24) in [0, 1], the classes of segments.SEGMENTS
    line       # (n, 12) mV, isoelectric line
    target     # (n,) the output that is explained
    """

    name: str
    model: torch.nn.Module
    signals: np.ndarray
    segments: np.ndarray
    line: np.ndarray
    target: np.ndarray
    ecg_id: np.ndarray
    patients: np.ndarray
    sampling_rate: int = 100
    r_peaks: list = field(default_factory=list)  # per record, samples of the crop

    def __len__(self):
        return len(self.signals)

    @property
    def task(self) -> str:
        """The model's task."""
        return self.model.info.task

    @property
    def read(self) -> np.ndarray:
        """(T, 12) bool: the samples and leads that the model reads. No score counts the others: all
        maps are 0 there, which would pass for agreement or for knowledge.
        """
        leads = np.isin(LEADS, self.model.info.leads)
        return read_samples(self.model, self.signals.shape[1])[:, None] & leads

    def of_read(self, values: np.ndarray) -> np.ndarray:
        """What values (..., T, 12) have in the samples and leads that the model reads."""
        read = self.read
        return values[..., read.any(axis=1), :][..., read.any(axis=0)]

    def rows(self, index: np.ndarray | Sequence[int]) -> "Subject":
        """The records at integer positions `index`, in that order."""
        index = np.asarray(index, dtype=int)
        arrays = {
            name: getattr(self, name)[index]
            for name in ("signals", "segments", "line", "target", "ecg_id", "patients")
        }
        return replace(
            self, **arrays, r_peaks=[self.r_peaks[row] for row in index] if self.r_peaks else []
        )

    def measured(
        self,
        check: str,
        values: ArrayLike,
        chance: ArrayLike = np.nan,
        best: float = np.nan,
        detail: bool = False,
    ) -> "Measured":
        """One measurement on these records."""
        values = np.asarray(values, dtype=float)
        return Measured(
            check,
            values,
            np.broadcast_to(np.asarray(chance, dtype=float), values.shape),
            best,
            self.name,
            self.task,
            self.ecg_id,
            self.patients,
            detail,
        )


@dataclass(frozen=True)
class Measured:
    """What a check found, one value per record (NaN where it is not defined), beside what chance
    gives there.

    best    the value of a perfect method (NaN: none is known; inf: the higher the better)
    detail  a part of another measurement (one lead, one layer, one moment): goes to details.csv
    """

    check: str
    values: np.ndarray
    chance: np.ndarray
    best: float
    model: str
    task: str
    ecg_id: np.ndarray
    patients: np.ndarray
    detail: bool = False

    def table(self) -> pd.DataFrame:
        """Long form: one row per record."""
        return pd.DataFrame(
            {
                "check": self.check,
                "model": self.model,
                "task": self.task,
                "ecg_id": self.ecg_id,
                "patient_id": self.patients,
                "value": self.values,
                "chance": self.chance,
                "best": self.best,
                "detail": self.detail,
            }
        )


@torch.no_grad()
def target_logits(
    subject: Subject | SimpleNamespace, signals: torch.Tensor, batch_size: int = 512
) -> np.ndarray:
    """(n,) logit of each record's target for changed signals (n, T, 12)."""
    columns = [LEADS.index(lead) for lead in subject.model.info.leads]
    target = torch.as_tensor(subject.target)[:, None]
    weight = next(subject.model.parameters())
    picked = []
    for start in range(0, len(signals), batch_size):
        x = signals[start : start + batch_size, :, columns].transpose(1, 2).contiguous().to(weight)
        picked.append(subject.model(x).cpu().gather(1, target[start : start + batch_size]))
    return torch.cat(picked)[:, 0].double().numpy()


# ---------------------------------------------------------------- from values per record to tables


class Resamples:
    """95 % intervals over patients and sign flips of patients, drawn once for all that is measured
    on the same patients.
    """

    def __init__(self, seed: int):
        self.seed, self._weights, self._flips = seed, {}, {}

    def interval(self, values: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
        """Of the mean of `values` (n,), whose records belong to `patients` (n,)."""
        key = patients.tobytes()
        if key not in self._weights:
            self._weights[key] = patient_weights(patients, N_RESAMPLES, self.seed)
        low, high = mean_intervals(values, patients, weights=self._weights[key])
        return float(low), float(high)

    def sign_flip_p(self, difference: np.ndarray, patients: np.ndarray) -> float:
        """Two-sided p of a paired difference of mean 0: signs flipped by patient, ties counted,
        floor 1 / (1 + N_FLIPS).
        """
        _, index = np.unique(patients, return_inverse=True)
        per_patient = np.bincount(index, weights=difference)
        n = len(per_patient)
        if n not in self._flips:
            self._flips[n] = np.random.default_rng(self.seed).choice([-1.0, 1.0], size=(N_FLIPS, n))
        reached = np.abs(self._flips[n] @ per_patient) >= abs(per_patient.sum()) - 1e-12
        return float((1 + reached.sum()) / (1 + N_FLIPS))


def summarise(records: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """COLUMNS from the long table of all measurements (with a `method` column): means with 95 %
    intervals over patients.
    """
    rows, resamples = [], Resamples(seed)
    for (check, method, model, task), group in records.groupby(
        ["check", "method", "model", "task"], sort=False, dropna=False
    ):
        defined = group[group["value"].notna()]
        patients = defined["patient_id"].to_numpy()
        value = low = high = chance = np.nan
        if len(defined):
            values = defined["value"].to_numpy()
            value, chance = values.mean(), defined["chance"].mean()
            low, high = resamples.interval(values, patients)
        rows.append((check, method, model, task, value, low, high, chance, len(defined)))
    return pd.DataFrame(rows, columns=COLUMNS)


def compare_to_best(records: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Per check, model and task: each method's paired difference to the best one, with an interval
    over patients.

    Best is nearest to the perfect value; controls are compared but cannot be best. `p` is that of
    the two methods alone (signs flipped by patient); p_corrected allows for the best having been
    chosen among all (best_p); p_floor is the smallest that can come out.
    Records count that both methods (for p_corrected: all methods) have a value for.
    """
    rows, resamples = [], Resamples(seed)
    for (check, model, task), group in records.groupby(["check", "model", "task"], sort=False):
        wide = group.pivot_table(
            index=["ecg_id", "patient_id"], columns="method", values="value", sort=False
        )
        goal = group["best"].iloc[0]
        methods = [method for method in wide if method not in CONTROLS]
        if not methods or np.isnan(goal):
            continue
        means = wide[methods].mean()
        best = means.idxmax() if np.isinf(goal) else (means - goal).abs().idxmin()
        corrected, floor = best_p(wide, methods, best, goal, seed)
        for method in wide:
            if method != best:
                row = _difference(wide, method, best, resamples)
                p = corrected[row[0]], floor
                rows.append((check, model, task, best, *row[:-1], *p, row[-1]))
    return pd.DataFrame(rows, columns=COMPARED)


COMPARED = [
    "check",
    "model",
    "task",
    "best",
    "method",
    "difference",
    "low",
    "high",
    "p",
    "p_corrected",
    "p_floor",
    "n",
]


def best_p(
    wide: pd.DataFrame, methods: Sequence[str], best: str, goal: float, seed: int = 0
) -> tuple[pd.Series, float]:
    """p of every column of `wide` (records x methods) being as good as `best`, and the smallest
    possible one.

    Distances from `goal` (from the highest, if it is infinite) are compared in pairs: the
    difference of two methods over the root of its summed squares over patients. p is how often the
    largest of all pairs of `methods` reaches that where the signs of each patient's differences are
    flipped together. The level holds whichever turns out best, also where methods scatter unequally
    (which dealing out their names would not bear), as far as differences of equally good methods
    are symmetric. Controls are in none of these pairs. NaN without a record that all methods have a
    value for.
    """
    known = wide.dropna(subset=list(methods))
    apart = _from_goal(known, goal).groupby(level="patient_id", sort=False).sum()
    n, k = len(apart), len(methods)
    if n == 0 or k < 2:
        return pd.Series(np.nan, index=wide.columns), np.nan
    values = apart[list(methods)].to_numpy()
    pairs = np.stack([values[:, i] - values[:, j] for i, j in combinations(range(k), 2)], axis=1)
    flips = np.random.default_rng(seed).choice([-1.0, 1.0], size=(N_FLIPS, n))
    largest = np.abs(flips @ _scaled(pairs)).max(axis=1)
    behind = _scaled(apart.sub(apart[best], axis=0).to_numpy()).sum(axis=0)
    reached = (np.round(largest, 9)[:, None] >= np.round(behind, 9)).sum(axis=0)
    floor = max(1 / (1 + N_FLIPS), 2.0 ** (1 - n))
    # a control, which is in none of the pairs, may lie beyond all that few patients can show
    p = pd.Series((1 + reached) / (1 + N_FLIPS), index=wide.columns).clip(lower=floor)
    return p.where(known.notna().any()), floor


def _from_goal(values, goal):
    """Values (records, methods) such that the mean of a method is how far its mean lies from the
    perfect one; smaller is better.
    """
    if np.isinf(goal):
        return -values
    return (values - goal) * np.where(values.mean() < goal, -1, 1)


def _scaled(differences):
    """(patients, pairs) over the root of their summed squares; 0 where two methods are the same."""
    size = np.sqrt(np.square(differences).sum(axis=0))
    return np.divide(differences, size, out=np.zeros_like(differences), where=size > 1e-12)


def _difference(wide, method, best, resamples):
    both = wide[[method, best]].dropna()
    patients = both.index.get_level_values("patient_id").to_numpy()
    if not len(both):
        return method, np.nan, np.nan, np.nan, np.nan, 0
    values = (both[method] - both[best]).to_numpy()
    low, high = map(float, resamples.interval(values, patients))
    return (
        method,
        float(values.mean()),
        low,
        high,
        resamples.sign_flip_p(values, patients),
        len(both),
    )


# ---------------------------------------------------------------- which records

CHUNK = 50  # records whose whole segmentation is in memory at a time


def choose_targets(
    labels: np.ndarray, logits: np.ndarray, columns: Sequence[int] | None = None
) -> np.ndarray:
    """(n,) for each record the label of highest logit among its true ones, those of `columns` alone
    where some are given; -1 for a record without such a label.
    """
    asked = np.ones(labels.shape[1], bool)
    if columns is not None:
        asked = np.isin(np.arange(labels.shape[1]), columns)
    true = (labels > 0) & asked
    best = np.where(true, logits, -np.inf).argmax(axis=1)
    return np.where(true.any(axis=1), best, -1)


def choose_records(targets: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Up to `n` rows, the targets taken in turn so that rare ones are not drowned, ascending; -1 is
    never chosen.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(targets >= 0))
    turn = np.zeros(len(order), dtype=int)
    for target in np.unique(targets[order]):
        places = np.flatnonzero(targets[order] == target)
        turn[places] = np.arange(len(places))
    return np.sort(order[np.argsort(turn, kind="stable")][:n])


def make_subject(
    name: str,
    model: nn.Module,
    data: Dataset,
    n: int,
    seed: int = 0,
    columns: Sequence[int] | None = None,
) -> Subject:
    """The records of `data` (already limited to its folds) that `model` is explained on, cut to its
    crop.

    Classification: true positives by label, the target is the true label of highest logit (among
    the outputs `columns`, where given).
    Regression: records with all 12 amplitudes; the leads take turns as targets. Raises UserError
    where no record qualifies.
    """
    if is_regression(model.info.task):
        targets = np.where(data.labelled, np.arange(len(data)) % len(LEADS), -1)
    else:
        logits = predict(model, data.signals, "centre_crop")
        targets = choose_targets(data.labels, logits, columns)
    rows = choose_records(targets, n, seed)
    if not len(rows):
        folds = ", ".join(map(str, np.unique(data.fold)))
        label = f"has a label of {model.info.task}" if folds else "is there"
        raise UserError(
            f"of the folds asked for no record of {data.path} {label}"
            + (f": those in fold {folds} have none" if folds else ": other --folds, or --limit")
        )
    return subject_of(name, model, data, rows, targets[rows])


def subject_of(
    name: str, model: nn.Module, data: Dataset, rows: np.ndarray, targets: np.ndarray
) -> Subject:
    """The records `rows` of `data`, cut to the model's crop, each explained for one of `targets`
    (n,).
    """
    crop = model.info.crop
    start = (data.signals.shape[1] - crop) // 2
    signals = np.ascontiguousarray(centre_crop(data.signals[rows], crop))
    signals[:, :, ~leads_there(signals)] = 0  # no network reads them, and checks move all leads
    segments = np.concatenate(
        [
            load_segments(data, rows[first : first + CHUNK])[:, start : start + crop]
            for first in range(0, len(rows), CHUNK)
        ]
    )
    peaks = [data.r_peaks(row) - start for row in rows]
    inside = [at[(at >= 0) & (at < crop)] for at in peaks]
    return Subject(
        name,
        model,
        signals,
        segments,
        isoelectric_line(signals, segments, SEGMENTS),
        targets,
        data.ecg_id[rows],
        data.patient_id[rows],
        data.sampling_rate,
        inside,
    )
