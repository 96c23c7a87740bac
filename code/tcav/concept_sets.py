"""Concept sets: which records show a concept, seeded draws of examples, and pseudo-concepts for the
null.

A concept is a True/False flag per record; records without a flag (blank) take no part. All draws
are without replacement, as many negatives as positives, and split by patient into records a CAV is
fitted on and records it is judged on. Pseudo-concepts move the flags between patients, a patient's
records together, so that they have the size, the dependence within patients and (under matching)
the composition of the concept itself.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from records.dataset import Dataset

HELD_OUT = 1 / 3  # of the patients of each draw judge the CAV
MATCHES = ("label", "age", "sex")


@dataclass(frozen=True)
class ConceptSet:
    """A concept's records among the training records.

    name      of the concept; `against` says what the negatives are: "random" records or the
              "others" of relative TCAV
    rows      # (n,) int positions in the training records, those with a flag
    flags     # (n,) bool
    patients  # (n,) int
    strata    # (n,) int, negatives are drawn within the strata of the positives
    """

    name: str
    rows: np.ndarray
    flags: np.ndarray
    patients: np.ndarray
    strata: np.ndarray
    against: str = "random"

    @property
    def per_stratum(self) -> np.ndarray:
        """How many positives, and as many negatives, each stratum gives to a draw."""
        positive = np.bincount(self.strata[self.flags], minlength=self.strata.max() + 1)
        negative = np.bincount(self.strata[~self.flags], minlength=self.strata.max() + 1)
        return np.minimum(positive, negative)

    @property
    def size(self) -> int:
        """Number of positives (and of negatives) in a draw."""
        return int(self.per_stratum.sum())

    def generator(self, seed: int, purpose: str) -> np.random.Generator:
        """Random numbers of this concept alone: the same whatever other concepts are asked for."""
        return np.random.default_rng(
            [seed, zlib.crc32(f"{self.name}/{self.against}/{purpose}".encode())]
        )


# ---------------------------------------------------------------- from the table


def strata_of(table: pd.DataFrame, labels: np.ndarray, match: list[str]) -> np.ndarray:
    """(N,) stratum of each record: equal label set, ten years of age, sex, whichever `match` names;
    blank is a group.
    """
    keys = pd.DataFrame(index=np.arange(len(table)))
    if "label" in match:
        keys["label"] = ["".join(map(str, row)) for row in (labels > 0).astype(int)]
    if "age" in match:
        keys["age"] = pd.to_numeric(table["age"], errors="coerce").to_numpy() // 10
    if "sex" in match:
        keys["sex"] = pd.to_numeric(table["sex"], errors="coerce").to_numpy()
    if keys.shape[1] == 0:
        return np.zeros(len(table), dtype=int)
    return keys.groupby(list(keys), dropna=False, sort=True).ngroup().to_numpy()


def concept_set(
    name: str, flags: np.ndarray, patients: np.ndarray, strata: np.ndarray, against: str = "random"
) -> ConceptSet:
    """The concept of a flag (N,) 1 / 0 / NaN over the training records."""
    rows = np.flatnonzero(np.isfinite(flags))
    _, codes = np.unique(patients[rows], return_inverse=True)
    _, groups = np.unique(strata[rows], return_inverse=True)
    return ConceptSet(name, rows, flags[rows] > 0, codes, groups, against)


def relative_sets(
    columns: dict[str, np.ndarray], patients: np.ndarray, strata: np.ndarray
) -> list[ConceptSet]:
    """Each concept against the union of the others: records that show both, or none,
    take no part.
    """
    sets = []
    for name, flags in columns.items():
        others = np.stack([other for key, other in columns.items() if key != name])
        some, none = (others == 1).any(axis=0), (others == 0).all(axis=0)
        side = np.where((flags == 1) & none, 1.0, np.where((flags == 0) & some, 0.0, np.nan))
        sets.append(concept_set(name, side, patients, strata, against="others"))
    return sets


def reason_against(concept: ConceptSet, min_positives: int, null: bool = True) -> str | None:
    """Why a concept cannot be tested, in words, or None; without a `null` nothing need be
    exchangeable.
    """
    n_positive, n_records = int(concept.flags.sum()), len(concept.flags)
    shown, negatives = (
        ("show it", "without it")
        if concept.against == "random"
        else ("show it alone", "show others alone")
    )
    if n_records == 0 and concept.against == "others":
        return "its records and those of the others are the same"
    if n_records == 0:
        return "no training record has a flag for it"
    if n_positive == n_records:
        return f"all {n_records} training records show it, none is left as a negative"
    if n_positive == 0:
        return f"none of the {n_records} training records shows it"
    if n_positive < min_positives:
        return f"{n_positive} training records {shown}, --min_positives is {min_positives}"
    if n_records - n_positive < min_positives:
        return (
            f"only {n_records - n_positive} training records {negatives}, --min_positives is "
            f"{min_positives}"
        )
    if concept.size < min_positives:
        return (
            f"matching leaves {concept.size} pairs of its {n_positive} positives, --min_positives "
            f"is {min_positives}: match on less"
        )
    if (
        len(np.unique(concept.patients[concept.flags])) < 6
        or len(np.unique(concept.patients[~concept.flags])) < 6
    ):
        return "its positives or negatives come from fewer than 6 patients"
    if null and share_exchangeable(concept) == 0:
        return (
            "no patient with it is exchangeable with one without it (equally many records, in the "
            "same strata): pseudo-concepts would all be the concept itself; match on less"
        )
    return None


def share_exchangeable(concept: ConceptSet) -> float:
    """Share of the positives whose patients can change flags with others; the rest is in every
    pseudo-concept.
    """
    movable = [
        positions
        for positions in _exchangeable(concept)
        if len(np.unique(concept.flags[positions], axis=0)) > 1
    ]
    return float(
        sum(concept.flags[positions].sum() for positions in movable) / max(concept.flags.sum(), 1)
    )


def note_fixed(concept: ConceptSet) -> None:
    """Say where much of a concept is in all its pseudo-concepts too."""
    fixed = 1 - share_exchangeable(concept)
    if fixed > 0.2:
        print(
            f"note: {100 * fixed:.0f} % of the positives of {concept.name} are in all its "
            "pseudo-concepts (no patient without it has as many records in the same strata): the "
            "test finds less than it could"
        )


def note_constant_within_classes(
    concepts: Sequence[ConceptSet],
    training: Dataset,
    labels: Sequence[str],
    columns: Sequence[int],
) -> None:
    """Name the classes whose training records all show a concept, or none does."""
    found = []
    for concept in concepts:
        member = training.labels[concept.rows][:, columns] > 0
        constant = [
            label
            for label, column in zip(labels, member.T, strict=True)
            if column.any() and len(np.unique(concept.flags[column])) == 1
        ]
        if constant and concept.against == "random":
            found.append(f"{concept.name} in {', '.join(constant)}")
    if found:
        print(f"note: shown by all or none of a class's training records: {'; '.join(found)}")


# ---------------------------------------------------------------- draws


def draw(
    concept: ConceptSet, flags: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Balanced examples for each row of `flags` (K, n), which all have the concept's composition.

    Returns index (K, 2 * size) into the concept's records, positives first, and held (K, 2 * size)
    bool: those of the held-out third of the patients. Without replacement: no record occurs twice
    in a row.
    """
    n_strata = concept.strata.max() + 1
    group = np.where(flags, 0, n_strata) + concept.strata  # positives' strata, then the negatives'
    order = np.argsort(group + rng.random(group.shape), axis=1)  # by group, random within each
    sizes = np.bincount(group[0], minlength=2 * n_strata)
    starts = np.cumsum(sizes) - sizes
    wanted = np.tile(concept.per_stratum, 2)
    columns = np.concatenate(
        [np.arange(start, start + k) for start, k in zip(starts, wanted, strict=True)]
    )
    index = order[:, columns]
    return index, _held_out(concept, index, rng)


def _held_out(concept, index, rng):
    """A third of the patients of each draw; every side keeps at least one record to fit and one to
    judge.
    """
    keys = rng.random((len(index), concept.patients.max() + 1))
    key = np.take_along_axis(keys, concept.patients[index], axis=1)
    held = key < HELD_OUT
    for side in (slice(None, concept.size), slice(concept.size, None)):
        held[:, side] |= key[:, side] == key[:, side].min(axis=1, keepdims=True)
        held[:, side] &= key[:, side] < key[:, side].max(axis=1, keepdims=True)
    return held


def pseudo_flags(concept: ConceptSet, n: int, rng: np.random.Generator) -> np.ndarray:
    """Flags (n, records) of pseudo-concepts: the concept's flags dealt out anew among exchangeable
    patients.

    Patients are exchangeable who have equally many records in the same strata; their flags move
    together.
    """
    flags = np.tile(concept.flags, (n, 1))
    for positions in _exchangeable(concept):  # (patients, records of each)
        deal = np.argsort(rng.random((n, len(positions))), axis=1)  # (n, patients)
        flags[:, positions] = concept.flags[positions][deal]
    return flags


def _exchangeable(concept):
    order = np.lexsort((concept.strata, concept.patients))
    ends = np.flatnonzero(np.diff(concept.patients[order])) + 1
    blocks = {}
    for positions in np.split(order, ends):
        blocks.setdefault(tuple(concept.strata[positions].tolist()), []).append(positions)
    return [np.array(positions) for _, positions in sorted(blocks.items()) if len(positions) > 1]
