"""Has a network learnt a concept, or does any network of its kind show it?

The null of pseudo-concepts (analysis.py) asks whether a concept is special in a network. Networks
with random weights pass that test too: random filters tell tall R waves from low ones. So a pair of
concept and class is called

    learnt   special, beyond both kinds of control networks (networks/controls.py), and of a class
             that the networks tell apart in patients whom they have not seen,
    special  set apart from pseudo-concepts in this network, which may have learnt nothing of it,
    neither  otherwise; and without control networks every pair is `not asked`.

The statistic of a pair is the magnitude averaged over the upper half of the layers, and over the
networks trained with different seeds. Against the controls of a kind: the difference of the means
of trained networks and controls, in units of its standard deviation over all of them; step-down
max-T (Westfall & Young 1993) under permutations of which networks are the trained ones, exact if
the networks are exchangeable, as they are where nothing is learnt. Pairs of a concept and a class
that it is a criterion of are one family, all others another, with half of the level each: what a
reader asks first does not pay for what goes together with it. The p of a pair is the larger of the
two kinds'. A single network can hardly be told from twenty controls: MIN_SEEDS are needed.

Seeds of one data set share what chance put into its labels, controls do not, and networks trained
on one permutation of the labels are alike. But labels without meaning cannot be foretold: of a
class by which the networks' mean logit does not rank held-out patients (told_apart) nothing is
called learnt. What was tried instead, each side's own scatter (Welch; Chung & Romano, Ann Stat 41
(2013) 484) and one labelling as the unit, stands in docs/results.md.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy.stats import mannwhitneyu

from common.stats import holm
from networks.distributed import shared, together
from tcav.analysis import ALPHA, Outcome, Plan, correct_over_concepts, p_values, tested_magnitudes

if TYPE_CHECKING:
    from networks.controls import Control

MIN_SEEDS = 3  # trained networks
MIN_CLASS = 5  # records of a class in the fold: fewer are no class, and nothing is said of it
EXACT = 10_000  # arrangements that are all gone through; beyond, as many are drawn
WORDS = ("learnt", "special", "neither")
NOT_ASKED = "not asked"


@dataclass(frozen=True)
class Verdicts:
    """What the two nulls say of pairs of concept and class, and of cells; rows are concepts.

    p, p_corrected  # (concepts, classes) against the controls; NaN where not tested
    words           # (concepts, classes) of WORDS, NOT_ASKED without controls, "" where too few
                    records or no pseudo-concepts let nothing be said
    p_class         # (classes,) that the networks tell a class apart; NaN where not tested
    low, high       # (concepts, layers, classes) 95 % band of the untrained controls' magnitudes
    n_trained, n_controls  networks, the controls of each kind
    """

    p: np.ndarray
    p_corrected: np.ndarray
    words: np.ndarray
    p_class: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_trained: int
    n_controls: int


def upper(layers: Sequence[str]) -> slice:
    """The upper half of a network's layers, where a class has its own gradient."""
    return slice(len(layers) - max(1, len(layers) // 2), len(layers))


# ---------------------------------------------------------------- magnitudes


def cell_magnitudes(outcomes: Sequence[Outcome], plan: Plan) -> np.ndarray:
    """Mean magnitude over the tested draws: (concepts, layers, classes)."""
    return np.stack([tested_magnitudes(outcome, plan) for outcome in outcomes])


def pseudo_magnitudes(outcomes: Sequence[Outcome]) -> np.ndarray:
    """The same of pseudo-concepts, averaged over the upper layers: (n_null, concepts, classes)."""
    chosen = upper(outcomes[0].layers)
    return np.stack([np.mean(outcome.null[chosen], axis=0) for outcome in outcomes], axis=1)


# ---------------------------------------------------------------- the tests


def arrangements(n_trained: int, n_controls: int, seed: int = 0) -> np.ndarray:
    """Weights (arrangements, networks) whose product with the networks' values is the mean of those
    taken for trained minus the mean of the others; the first is the true one (trained first).
    """
    n = n_trained + n_controls
    if comb(n, n_trained) <= EXACT:
        chosen = np.array(list(itertools.combinations(range(n), n_trained)))
    else:
        order = np.random.default_rng(seed).random((EXACT - 1, n)).argsort(axis=1)
        chosen = np.vstack([np.arange(n_trained), order[:, :n_trained]])
    taken = np.zeros((len(chosen), n))
    np.put_along_axis(taken, chosen, 1, axis=1)
    return taken / n_trained - (1 - taken) / n_controls


def against_controls(
    trained: np.ndarray,
    controls: np.ndarray,
    seed: int = 0,
    asked_first: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided p of each pair alone, and corrected over all by step-down max-T.

    trained (S, pairs), controls (K, pairs)

    asked_first  (pairs,) bool: these and the others are two families of half the level each
    The smallest possible is 1 / (S + K over S), twice that with two families.
    """
    networks = np.concatenate([trained, controls]).astype(np.float64)
    spread = networks.std(axis=0)
    networks = (networks - networks.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    weights = arrangements(len(trained), len(controls), seed)
    deviation = np.round(np.abs(weights @ networks), 9)  # ties within rounding count as reached
    p = (deviation >= deviation[0]).mean(axis=0)
    first = np.zeros(len(p), dtype=bool) if asked_first is None else asked_first
    families = [rows for rows in (np.flatnonzero(first), np.flatnonzero(~first)) if len(rows)]
    corrected = np.ones(len(p))
    for rows in families:
        corrected[rows] = np.minimum(len(families) * _step_down(deviation[:, rows]), 1)
    return p, corrected


def _step_down(deviation):
    """Corrected p (pairs,): the k-th largest deviation is held against the maximum over itself and
    the smaller ones in each arrangement (arrangements, pairs), the first row being the true one.
    """
    ascending = np.argsort(deviation[0], kind="stable")
    largest, p = np.zeros(len(deviation)), np.empty(deviation.shape[1])
    for pair in ascending:
        largest = np.maximum(largest, deviation[:, pair])
        p[pair] = (largest >= deviation[0, pair]).mean()
    descending = ascending[::-1]
    p[descending] = np.maximum.accumulate(p[descending])
    return p


def told_apart(logits: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """p (classes,) of networks that rank patients with a class no higher than others: Mann-Whitney,
    one-sided, of each patient the first record alone, Holm over the classes; NaN where fewer than
    MIN_CLASS records have the class.

    logits   # (N, classes) of held-out records, mean over the networks
    labels   # (N, classes); patients (N,)
    """
    first = np.unique(patients, return_index=True)[1]
    p = np.full(labels.shape[1], np.nan)
    for column in np.flatnonzero((labels > 0).sum(axis=0) >= MIN_CLASS):
        values, own = logits[first, column], labels[first, column] > 0
        p[column] = 1.0
        if own.any() and not own.all():
            p[column] = mannwhitneyu(values[own], values[~own], alternative="greater").pvalue
    return holm(p)


def special_p(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """p of pairs (concepts, classes) against pseudo-concepts (M, concepts, classes): max-T over the
    classes of a concept, Holm over concepts.
    """
    tests = [p_values(observed[k], null[:, k]).p_max_t for k in range(len(observed))]
    return np.stack(correct_over_concepts(tests))


def judge(
    trained: np.ndarray,
    null: np.ndarray | None,
    controls: dict[str, np.ndarray],
    n_class: Sequence[int],
    seed: int = 0,
    asked_first: np.ndarray | None = None,
    p_class: np.ndarray | None = None,
) -> Verdicts:
    """Verdicts on one family of concepts.

    trained   # (S, concepts, layers, classes), the explained network first
    null      # (n_null, concepts, classes), mean over the networks; None without pseudo-concepts
    controls  # per kind (K, concepts, layers, classes); "learnt" needs every kind
    n_class   # records of each class; below MIN_CLASS it is not tested
    asked_first  # (concepts, classes) bool: the concept is a criterion of the class
    p_class   # (classes,) of told_apart(); None: not asked, no class is left out by it
    """
    from networks.controls import CONTROLS  # alone where there are control networks

    chosen = upper(range(trained.shape[2]))
    pairs = trained[:, :, chosen].mean(axis=2)  # (S, concepts, classes)
    tested = np.asarray(n_class) >= MIN_CLASS
    p, corrected = (np.full(pairs.shape[1:], np.nan) for _ in range(2))
    beyond = np.ones(pairs.shape[1:], dtype=bool)
    if len(trained) >= MIN_SEEDS and controls and tested.any():
        tests = []
        for values in controls.values():
            of_kind = values[:, :, chosen].mean(axis=2)
            first = None if asked_first is None else asked_first[:, tested].ravel()
            tests.append(_one_kind(pairs[..., tested], of_kind[..., tested], seed, first))
            shift = pairs.mean(axis=0) - of_kind.mean(axis=0)
            beyond &= np.sign(shift) == np.sign(pairs.mean(axis=0))
        p[:, tested] = np.max([test[0] for test in tests], axis=0)
        corrected[:, tested] = np.max([test[1] for test in tests], axis=0)
    words = np.full(pairs.shape[1:], "" if controls else NOT_ASKED, dtype=object)
    if controls and null is not None:
        special = np.zeros(words.shape, dtype=bool)
        if tested.any():
            special[:, tested] = special_p(pairs.mean(axis=0)[:, tested], null[..., tested]) < ALPHA
        words[:] = np.where(special, "special", "neither")
        if set(controls) == set(CONTROLS):
            known = np.ones(len(tested), dtype=bool) if p_class is None else p_class < ALPHA
            words[special & beyond & known & (corrected < ALPHA)] = "learnt"
        words[:, ~tested] = ""
    low, high = _band(controls.get("untrained"), trained.shape[1:])
    n_controls = min((len(values) for values in controls.values()), default=0)
    of_classes = np.full(len(tested), np.nan) if p_class is None else p_class
    return Verdicts(p, corrected, words, of_classes, low, high, len(trained), n_controls)


def _one_kind(trained, controls, seed, first):
    """p and corrected p of one kind of control, (concepts, classes) each."""
    flat = [values.reshape(len(values), -1) for values in (trained, controls)]
    return [values.reshape(trained.shape[1:]) for values in against_controls(*flat, seed, first)]


def _band(untrained, shape):
    if untrained is None:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    return tuple(np.quantile(untrained, (0.025, 0.975), axis=0))


# ---------------------------------------------------------------- a run and what it is held against


@dataclass(frozen=True)
class Beside:
    """What the explained network is held against.

    trained   # (concepts, layers, classes) of every network of another seed
    null      # (n_null, concepts, classes) of every one, where there are pseudo-concepts
    controls  # kind -> (concepts, layers, classes) of every control network
    """

    trained: list[np.ndarray]
    null: list[np.ndarray]
    controls: dict[str, list[np.ndarray]]


def beside(
    others: Sequence[torch.nn.Module],
    made: "Iterable[Control]",
    explain: Callable[[torch.nn.Module, Plan], list[Outcome]],
    plan: Plan,
    device: str | torch.device = "cpu",
) -> Beside:
    """The magnitudes of other networks, which the processes share.

    others    networks trained like the explained one with other seeds
    made      control networks, this process's own
    explain   outcomes of a network under a plan: same records, concepts, layers
    """

    def of_seed(network):
        found = explain(network, plan)
        null = pseudo_magnitudes(found) if plan.n_null else None
        return cell_magnitudes(found, plan), null

    of_seeds = shared(others, of_seed)
    alone = replace(plan, n_null=0)
    mine = []
    for control in made:
        found = explain(control.load(device), alone)
        mine.append((control.kind, cell_magnitudes(found, plan)))
    controls: dict[str, list] = {}
    for kind, values in together(mine):
        controls.setdefault(kind, []).append(values)
    null = [values for _, values in of_seeds if values is not None]
    return Beside([values for values, _ in of_seeds], null, controls)


def compare(
    outcomes: Sequence[Outcome],
    against: Beside,
    plan: Plan,
    n_class: Sequence[int],
    asked_first: np.ndarray | None = None,
    p_class: np.ndarray | None = None,
) -> dict[str, Verdicts]:
    """Verdicts per family of concepts ("random", "others": what the negatives are) on the outcomes
    of the explained network. asked_first (outcomes, classes) bool: the concept is a criterion of
    the class; p_class (classes,) of told_apart().
    """
    trained = [cell_magnitudes(outcomes, plan), *against.trained]
    null = [pseudo_magnitudes(outcomes), *against.null] if plan.n_null else []
    verdicts = {}
    families = [outcome.concept.against for outcome in outcomes]
    for family in dict.fromkeys(families):
        rows = np.flatnonzero(np.array(families) == family)
        verdicts[family] = judge(
            np.stack(trained)[:, rows],
            np.mean(null, axis=0)[:, rows] if null else None,
            {kind: np.stack(values)[:, rows] for kind, values in against.controls.items()},
            n_class,
            plan.seed,
            None if asked_first is None else asked_first[rows],
            p_class,
        )
    return verdicts


def floor_in_words(n_trained: int, n_controls: int) -> str:
    """What the comparison can show at all, one line."""
    if n_trained < MIN_SEEDS:
        return (
            f"{n_trained} trained network: nothing can be called learnt, the band of untrained "
            f"networks is written beside each cell; give {MIN_SEEDS - n_trained} more with --seeds"
        )
    smallest = 2 / min(comb(n_trained + n_controls, n_trained), EXACT)  # two families
    return (
        f"{n_trained} trained networks against {n_controls} of each kind of control; smallest "
        f"possible p: {smallest:.2g}"
    )


def in_words(scores: pd.DataFrame) -> list[str]:
    """What was learnt, and which classes were not tested, from scores.csv; a line each."""
    pairs = scores.drop_duplicates(["run_kind", "concept", "pathology"])
    counts = pairs["learnt"].value_counts()
    lines = [
        f"of {len(pairs)} pairs of concept and pathology: "
        + ", ".join(f"{counts.get(word, 0)} {word}" for word in WORDS)
    ]
    few = pairs.loc[pairs["n_class"] < MIN_CLASS, "pathology"].unique()
    if len(few):
        lines.append(f"not tested, fewer than {MIN_CLASS} records: {', '.join(few)}")
    enough, p = pairs["n_class"] >= MIN_CLASS, pairs["p_class"]
    for why, rows in (
        ("not told apart in held-out patients", p >= ALPHA),
        (f"fewer than {MIN_CLASS} records that the networks have not seen", p.isna()),
    ):
        names = pairs.loc[enough & rows, "pathology"].unique()
        if len(names):
            lines.append(f"{why}, so not learnt: {', '.join(names)}")
    for row in pairs[pairs["learnt"] == "learnt"].itertuples():
        lines.append(
            f"  learnt: {row.concept} -> {row.pathology} (p {row.p_control_corrected:.2g})"
        )
    return lines
