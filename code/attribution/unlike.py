"""Is a record like anything that the network was trained on? Three signs, one alarm.

features      what the network has made of the record before its last layer, on a log scale
measurements  intervals, axis and rhythm by our own measurement (MEASURED); what cannot be measured
              counts as that
signal        what needs no beat: level and roughness of each lead, correlation of each two leads

Each sign is the Mahalanobis distance to the training records' mean, with a shrunk covariance
(Ledoit & Wolf, J Multivar Anal 88 (2004) 365; as a sign of what a network has not seen: Lee et al.,
NeurIPS 2018). It is divided by the distance that one in ten of the held-out validation records
exceeds, and the largest of the three is the record's score. `p` is the share of validation records
that score as high; the alarm is raised below ALARM, so that about that share of usual records
raise it. What was in the training records is no surprise: a network trained with atrial
fibrillation has seen it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from common.labels import LEADS
from ecg.analysis import measure_all
from networks.features import features_of
from records.dataset import Signals

ALARM = 0.05
USUAL = 0.9  # quantile of the validation records that signs are measured by
TINY = 1e-12  # instead of a usual distance of 0
FEWEST = 20  # validation records that an alarm can be set by
MEASURED = (
    "P_Found_Global",
    "P_Dur_Global",
    "PR_Int_Global",
    "QRS_Dur_Global",
    "QT_Int_Global",
    "T_Dur_Global",
    "RR_Mean_Global",
    "QRS_Axis_Global",
)
CHUNK = 256  # records at a time
LARGEST = 10.0  # standard deviations that one column counts at most

Signs = dict[str, np.ndarray]  # sign -> (n, D), NaN where unknown


# ---------------------------------------------------------------- what is looked at


def signs_of(
    model: nn.Module, signals: Signals, sampling_rate: int, window: str = "windows"
) -> Signs:
    """The three signs of records (n, T, 12) in mV."""
    leads = [LEADS.index(lead) for lead in model.info.leads]
    features = features_of(model, signals, window)
    parts = [
        (measurements_of(some, sampling_rate), signal_of(some[:, :, leads]))
        for some in _in_chunks(signals)
    ]
    measurements, signal = map(np.concatenate, zip(*parts, strict=True))
    return {
        "features": np.sign(features) * np.log1p(np.abs(features)),
        "measurements": measurements,
        "signal": signal,
    }


def _in_chunks(signals):
    for start in range(0, len(signals), CHUNK):
        yield np.asarray(signals[start : start + CHUNK])


def measurements_of(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """(n, 9) MEASURED and the irregularity of the beats."""
    table = measure_all(signals, sampling_rate, progress=False)
    columns = [table[name].to_numpy(float) for name in MEASURED]
    return np.stack([*columns, irregularity(table["r_peaks"])], axis=1)


def irregularity(r_peaks: Iterable[str]) -> np.ndarray:
    """(n,) log of the root mean square difference of successive RR intervals over their mean; NaN
    with fewer than four beats.
    """
    found = []
    for text in r_peaks:
        gaps = np.diff([int(word) for word in str(text).split()])
        rough = np.sqrt(np.mean(np.diff(gaps) ** 2)) / gaps.mean() if len(gaps) > 2 else np.nan
        found.append(np.log(rough + 0.01))
    return np.array(found)


def signal_of(signals: np.ndarray) -> np.ndarray:
    """(n, D) of records (n, T, leads) mV: log of each lead's standard deviation, log of its median
    absolute second difference, and the correlations between leads (0 with a flat one).
    """
    signals = signals.astype(float)
    second = np.abs(signals[:, 2:] - 2 * signals[:, 1:-1] + signals[:, :-2])
    level = np.log(signals.std(axis=1) + 1e-3)
    roughness = np.log(np.median(second, axis=1) + 1e-4)
    centred = signals - signals.mean(axis=1, keepdims=True)
    centred /= np.sqrt((centred**2).sum(axis=1, keepdims=True)) + 1e-9
    correlations = np.einsum("ntl,ntm->nlm", centred, centred)
    first, other = np.triu_indices(signals.shape[2], 1)
    return np.concatenate([level, roughness, correlations[:, first, other]], axis=1)


def names_of(leads: Sequence[str]) -> dict[str, list[str]]:
    """What the columns of `measurements` and `signal` are called."""
    first, other = np.triu_indices(len(leads), 1)
    pairs = [f"{leads[a]} against {leads[b]}" for a, b in zip(first, other, strict=True)]
    of_leads = [f"{what} of {lead}" for what in ("level", "roughness") for lead in leads]
    measured = [name.removesuffix("_Global").replace("_", " ") for name in MEASURED]
    return {"measurements": [*measured, "irregular beats"], "signal": [*of_leads, *pairs]}


# ---------------------------------------------------------------- how far it is


@dataclass(frozen=True)
class Reference:
    """The training records by one sign: columns standardised robustly, those that are sometimes
    unknown followed by a column that says so.

    middle, spread, missing  # (D,) median, half the 16-84 % range, share unknown
    mean, precision          of the standardised columns
    """

    middle: np.ndarray
    spread: np.ndarray
    missing: np.ndarray
    mean: np.ndarray
    precision: np.ndarray

    def standardised(self, vectors: np.ndarray) -> np.ndarray:
        """(n, D + columns that are sometimes unknown); unknown values count as the middle there,
        and as far off where they are never unknown.
        """
        known = np.isfinite(vectors)
        z = np.clip((vectors - self.middle) / self.spread, -LARGEST, LARGEST)
        z = np.where(known, z, np.where(self.missing > 0, 0, LARGEST))
        some = self.missing > 0
        share = self.missing[some]
        return np.concatenate(
            [z, (~known[:, some] - share) / np.sqrt(share * (1 - share) + 1e-3)], 1
        )

    def distance(self, vectors: np.ndarray) -> np.ndarray:
        """(n,) squared Mahalanobis distance."""
        away = self.standardised(vectors) - self.mean
        return np.einsum("ij,jk,ik->i", away, self.precision, away)


def reference_of(vectors: np.ndarray) -> Reference:
    """The reference of training vectors (n, D)."""
    from sklearn.covariance import LedoitWolf  # takes a second to load

    known = np.isfinite(vectors)
    filled = np.where(known.any(axis=0), vectors, 0)
    low, middle, high = np.nanpercentile(filled, [16, 50, 84], axis=0)
    spread = np.where(high - low > 1e-9, (high - low) / 2, 1.0)
    blank = np.zeros(0)
    raw = Reference(middle, spread, 1 - known.mean(axis=0), blank, blank)
    z = raw.standardised(vectors)
    fitted = LedoitWolf().fit(z)
    return Reference(middle, spread, raw.missing, fitted.location_, fitted.precision_)


@dataclass(frozen=True)
class Watch:
    """What raises the alarm: references of the training records by sign, the distances that are
    usual among validation records, and the scores of these.
    """

    references: Mapping[str, Reference]
    usual: Mapping[str, float]
    scores: np.ndarray
    names: Mapping[str, list[str]]

    def ratios(self, signs: Signs) -> dict[str, np.ndarray]:
        """Sign -> (n,) distance over the usual one; NaN where that is not known."""
        return {
            name: reference.distance(signs[name]) / np.maximum(self.usual[name], TINY)
            for name, reference in self.references.items()
        }

    def p(self, signs: Signs) -> np.ndarray:
        """(n,) share of the validation records that score as high; NaN with fewer than FEWEST of
        them.
        """
        score = np.max(list(self.ratios(signs).values()), axis=0)
        if len(self.scores) < FEWEST:
            return np.full(len(score), np.nan)
        reached = len(self.scores) - np.searchsorted(self.scores, score)
        return (1 + reached) / (1 + len(self.scores))

    def because(self, signs: Signs) -> list[str]:
        """Of each record the signs beyond the usual, the largest first, each with the column that
        is farthest off: "measurements (irregular beats)".
        """
        ratios = self.ratios(signs)
        found = []
        for row in range(len(next(iter(signs.values())))):
            order = sorted(ratios, key=lambda name: -ratios[name][row])
            beyond = [name for name in order if ratios[name][row] > 1]
            found.append(", ".join(self._named(name, signs[name][[row]]) for name in beyond))
        return found

    def _named(self, name, vector):
        if name not in self.names:
            return name
        z = np.abs(self.references[name].standardised(vector)[0])
        unknown = np.flatnonzero(self.references[name].missing > 0)
        columns = [*self.names[name]]
        columns += [f"no {columns[place]}" for place in unknown]
        return f"{name} ({columns[z.argmax()]})"


def watch(training: Signs, validation: Signs, leads: Sequence[str]) -> Watch:
    """The alarm set by the signs of training and of validation records."""
    references = {name: reference_of(vectors) for name, vectors in training.items()}
    usual = {name: 1.0 for name in references}
    n = len(next(iter(validation.values())))
    if n:
        for name, reference in references.items():
            usual[name] = float(np.quantile(reference.distance(validation[name]), USUAL))
    made = Watch(references, usual, np.zeros(0), names_of(leads))
    scores = np.max(list(made.ratios(validation).values()), axis=0) if n else np.zeros(0)
    return Watch(references, usual, np.sort(scores), made.names)
