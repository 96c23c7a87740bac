"""Testing with concept activation vectors (TCAV, Kim et al., ICML 2018), with a null that holds.

For a concept, a layer and a class: the CAV separates records with the concept from random ones; the
score is the share of the class's records whose logit grows along it, the magnitude the mean cosine
of their gradients with it.

The test. Runs of one concept share its positives, so they are no independent sample; the unit is
the concept set. The statistic is the magnitude averaged over `test_runs` draws of negatives, and
its null the same statistic of pseudo-concepts: the concept's flags dealt out anew among
exchangeable patients (concept_sets.py), each with draws of its own. Per cell p = (1 + k) / (M + 1),
two-sided. Over layers x classes of a concept: max-T (Westfall & Young 1993) of the deviations, each
in units of its null's standard deviation. Over concepts: Holm. The smallest p that M allows is
known beforehand. The score itself is not tested: class gradients of upper layers are nearly the
same for all records, so that random CAVs score exactly 0 or 1 in a large part of draws there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm

from common.files import UserError
from common.stats import holm
from records.dataset import Dataset
from tcav.activations import class_gradients, collect, layer_groups, layer_sizes
from tcav.cav import CAVS, MAX_WHITE, Draws, Space, held_out_accuracy, make_space, unit
from tcav.concept_sets import ConceptSet, draw, pseudo_flags

ALPHA = 0.05
# pseudo-concepts whose CAVs are judged too: enough for a 95 % quantile (n_runs, where that is more)
NULL_ACCURACIES = 200


@dataclass(frozen=True)
class Plan:
    """How scores are made and tested."""

    cav: str = "means"
    coordinates: str = "white"
    n_runs: int = 30  # draws of negatives that scores are averaged over
    n_null: int = 1000  # pseudo-concepts; 0: no test
    # draws that the tested statistic is averaged over, for concept and pseudo-concepts alike
    test_runs: int = 10
    seed: int = 0

    def floor(self, n_concepts: int) -> float:
        """The smallest corrected p that can come out."""
        return n_concepts / (self.n_null + 1)

    def check(self, n_concepts: int) -> None:
        """UserError, before anything runs, where no p could be significant or no spread be seen."""
        if self.n_runs < 2:
            raise UserError("--n_runs 1 shows no spread: at least 2")
        if self.n_null and self.floor(n_concepts) >= ALPHA:
            needed = int(n_concepts / ALPHA)
            raise UserError(
                f"--n_null {self.n_null} is too small for any significance: with {n_concepts} "
                f"concepts no corrected p can be below {self.floor(n_concepts):.3g}; take at least "
                f"{needed} (or 0: no test)"
            )


@dataclass
class Layer:
    """One layer, ready for CAVs: activations and class gradients in its space.

    x          # (n, D) training activations
    gradients  # per class (records of the class, D), unit length
    mean       # (classes, D) mean of the unit gradients: its product with a unit CAV is the mean
               cosine
    """

    name: str
    space: Space
    x: torch.Tensor
    gradients: list[torch.Tensor]
    mean: torch.Tensor


def make_layer(
    name: str,
    activations: np.ndarray,
    gradients: Sequence[np.ndarray],
    coordinates: str,
    device: str | torch.device = "cpu",
) -> Layer:
    """A layer from training activations (n, D) and per class gradients (n_c, D); UserError if it is
    constant.
    """
    try:
        space = make_space(activations, coordinates)
    except UserError as error:
        raise UserError(f"layer {name} is {error}") from None
    turned = [torch.from_numpy(unit(space.gradients(values))).to(device) for values in gradients]
    return Layer(
        name,
        space,
        torch.from_numpy(space.activations(activations)).to(device),
        turned,
        torch.stack([values.mean(dim=0) for values in turned]),
    )


@dataclass
class Outcome:
    """What one concept gave; lists run over layers.

    scores      # per layer (n_runs, classes) share of positive directional derivatives
    magnitudes  # per layer (n_runs, classes)
    accuracies  # per layer (n_runs,) held out, balanced
    cavs        # per layer (D,) unit, in the layer's own coordinates, mean over runs
    null        # per layer (n_null, classes) mean magnitude of each pseudo-concept
    null_accuracies  # per layer (NULL_ACCURACIES or n_runs,) of the first pseudo-concepts
    random      # per layer: scores, magnitudes and accuracies of n_runs random CAVs (first draw of
                a pseudo-concept each)
    """

    concept: ConceptSet
    layers: list[str] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    magnitudes: list[np.ndarray] = field(default_factory=list)
    accuracies: list[np.ndarray] = field(default_factory=list)
    cavs: list[np.ndarray] = field(default_factory=list)
    null: list[np.ndarray] = field(default_factory=list)
    null_accuracies: list[np.ndarray] = field(default_factory=list)
    random: list[tuple] = field(default_factory=list)


def tested_magnitudes(outcome: Outcome, plan: Plan) -> np.ndarray:
    """Mean magnitude over the draws that are tested: (layers, classes)."""
    tested = [runs[: plan.test_runs] for runs in outcome.magnitudes]
    return np.stack([runs.mean(axis=0) for runs in tested])


def mean_accuracy(accuracies: np.ndarray) -> np.ndarray:
    """Mean over the draws, the last axis; one whose positives or negatives are all of one patient
    has none to be judged by and is left out (NaN where all are such).
    """
    known = np.isfinite(accuracies)
    total, count = np.where(known, accuracies, 0).sum(axis=-1), known.sum(axis=-1)
    mean = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    return mean.astype(accuracies.dtype)[()]


def sign_counts(gradients: Sequence[torch.Tensor], cavs: torch.Tensor) -> torch.Tensor:
    """Share of positive directional derivatives (K, classes) of CAVs (K, D) for per-class gradients
    (n_c, D).
    """
    return torch.stack(
        [(values @ cavs.T > 0).to(cavs.dtype).mean(dim=0) for values in gradients], dim=1
    )


def run_concept(
    concept: ConceptSet, layers: Sequence[Layer], plan: Plan, outcome: Outcome | None = None
) -> Outcome:
    """CAVs, scores and null of one concept at `layers`; appended to `outcome` where layers come in
    several groups.

    The draws depend on seed and concept alone, so that they are the same for every layer and group.
    """
    outcome = outcome or Outcome(concept)
    draws = _draws(
        concept,
        np.tile(concept.flags, (plan.n_runs, 1)),
        concept.generator(plan.seed, "runs"),
        layers[0].x,
    )
    for layer in layers:
        cavs = _cavs(layer, draws, plan.cav)
        outcome.layers.append(layer.name)
        outcome.scores.append(sign_counts(layer.gradients, cavs).cpu().numpy())
        outcome.magnitudes.append((cavs @ layer.mean.T).cpu().numpy())
        outcome.accuracies.append(held_out_accuracy(layer.x, draws, cavs).cpu().numpy())
        outcome.cavs.append(layer.space.directions(cavs.mean(dim=0, keepdim=True).cpu().numpy())[0])
    if plan.n_null:
        magnitudes, accuracies, random = _null(concept, layers, plan)
        outcome.null.extend(magnitudes)
        outcome.null_accuracies.extend(accuracies)
        outcome.random.extend(random)
    return outcome


def _draws(concept, flags, rng, like):
    """Draws of `concept` for rows of `flags`, as positions among the training records, on the
    device of `like`.
    """
    index, held = draw(concept, flags, rng)
    return Draws(
        torch.from_numpy(concept.rows[index]).to(like.device),
        torch.from_numpy(held).to(like.device),
        concept.size,
        len(like),
    )


def _cavs(layer, draws, kind):
    """Unit CAVs (K, D) of draws."""
    return torch.nn.functional.normalize(CAVS[kind](layer.x, draws), dim=1)


def _null(concept, layers, plan):
    """Per layer the mean magnitudes of the pseudo-concepts, accuracies of the first of them, and
    runs of random CAVs.
    """
    rng = concept.generator(plan.seed, "null")
    # pseudo-concepts at once: bounded memory
    size = max(1, int(4e6 / (plan.test_runs * len(layers[0].x))))
    parts = [[] for _ in layers]
    for start in range(0, plan.n_null, size):
        n = min(size, plan.n_null - start)
        flags = np.repeat(pseudo_flags(concept, n, rng), plan.test_runs, axis=0)
        draws = _draws(concept, flags, rng, layers[0].x)
        for layer, part in zip(layers, parts, strict=True):
            part.append(_null_part(layer, draws, plan, start))
    joined = [list(map(np.concatenate, zip(*part, strict=True))) for part in parts]
    return (
        [part[0] for part in joined],
        [part[1] for part in joined],
        [tuple(part[2:]) for part in joined],
    )


def _null_part(layer, draws, plan, start):
    """Magnitudes (n, classes), accuracies (n,) of pseudo-concepts; scores, magnitudes, accuracies
    of first draws.
    """
    cavs = _cavs(layer, draws, plan.cav)
    magnitudes = (cavs @ layer.mean.T).cpu().numpy()
    n_judged = min(max(NULL_ACCURACIES, plan.n_runs), plan.n_null)
    judged = slice(0, max(0, n_judged - start) * plan.test_runs)
    accuracy = held_out_accuracy(layer.x, draws.part(judged), cavs[judged]).cpu().numpy()
    first = slice(0, max(0, min(plan.n_runs, plan.n_null) - start) * plan.test_runs, plan.test_runs)
    return (
        magnitudes.reshape(-1, plan.test_runs, magnitudes.shape[1]).mean(axis=1),
        mean_accuracy(accuracy.reshape(-1, plan.test_runs)),
        sign_counts(layer.gradients, cavs[first]).cpu().numpy(),
        magnitudes[first],
        accuracy[: first.stop : plan.test_runs],
    )


# ---------------------------------------------------------------- a model, all layers, all concepts


def analyse(
    model: torch.nn.Module,
    training: Dataset,
    evaluated: Dataset,
    concepts: Sequence[ConceptSet],
    columns: Sequence[int],
    layers: Sequence[str],
    plan: Plan,
    protocol: str = "windows",
    pool: str = "time",
    max_memory: float = 4.0,
    progress: bool = False,
) -> tuple[list[Outcome], dict[str, np.ndarray]]:
    """Outcomes of all concepts, and the mean training activation of each layer.

    CAVs come from `training`, class records from `evaluated`; `columns` are the outputs to score.
    Layers whose activations and gradients exceed `max_memory` (GB) together are done in several
    passes over the records.
    """
    members = np.zeros((len(evaluated), len(model.info.labels)), dtype=bool)
    members[:, columns] = evaluated.labels[:, columns] > 0
    outcomes, means = [Outcome(concept) for concept in concepts], {}
    for group in layer_passes(
        model, layers, len(training) + int(members.sum()), plan, pool, max_memory
    ):
        activations = collect(model, training.signals, group, protocol, pool, progress=progress)
        gradients = class_gradients(
            model, evaluated.signals, members, group, protocol, pool, progress=progress
        )
        ready, device = [], next(model.parameters()).device
        for name in group:  # both are let go of as layers are made of them
            own = [gradients[column].pop(name) for column in columns]
            ready.append(make_layer(name, activations.pop(name), own, plan.coordinates, device))
        means.update({layer.name: layer.space.mean for layer in ready})
        for outcome in tqdm(outcomes, desc="concepts", disable=not progress, leave=False):
            run_concept(outcome.concept, ready, plan, outcome)
    return outcomes, means


def layer_passes(
    model: torch.nn.Module,
    layers: Sequence[str],
    n_rows: int,
    plan: Plan,
    pool: str,
    max_memory: float,
) -> list[list[str]]:
    """Layers by pass over the records; UserError, before anything runs, where one cannot
    be done.
    """
    sizes = layer_sizes(model, layers, pool)
    wide = [name for name, size in sizes.items() if size > MAX_WHITE]
    if plan.coordinates == "white" and wide:
        raise UserError(
            f"--coordinates white needs at most {MAX_WHITE} dimensions ({', '.join(wide)} have "
            "more): take --pool time, or --coordinates plain"
        )
    n_vectors = 2 * n_rows  # as they are, and in the layer's space
    return layer_groups(sizes, n_vectors, max_memory * 1e9)


# ---------------------------------------------------------------- the test


@dataclass(frozen=True)
class PValues:
    """p-values of one concept, (layers, classes): per cell, and over all its cells by max-T."""

    p: np.ndarray
    p_max_t: np.ndarray


def p_values(observed: np.ndarray, null: np.ndarray) -> PValues:
    """Two-sided p of magnitudes (cells...) against those of pseudo-concepts (M, cells...).

    Deviations are measured in standard deviations over concept and pseudo-concepts together, which
    keeps them exchangeable under the null, so that both p-values are exact.
    """
    together = np.concatenate([observed[None], null]).astype(np.float64)
    spread = together.std(axis=0)
    deviation = np.abs(together - together.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    deviation = np.round(deviation, 9)  # ties within rounding count as reached
    n = len(together)
    p = (deviation >= deviation[0]).sum(axis=0) / n
    largest = deviation.reshape(n, -1).max(axis=1)
    p_max_t = (largest.reshape(-1, *[1] * observed.ndim) >= deviation[0]).sum(axis=0) / n
    return PValues(p, p_max_t)


def correct_over_concepts(p_max_t: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Holm over concepts of the cells' max-T p-values: the concept with the smallest p is held to
    the hardest level.
    """
    smallest = np.array([values.min() for values in p_max_t])
    stepped = holm(smallest)
    rank = np.empty(len(smallest), dtype=int)
    rank[np.argsort(smallest, kind="stable")] = np.arange(len(smallest))
    return [
        np.maximum(np.minimum(values * (len(smallest) - rank[k]), 1), stepped[k])
        for k, values in enumerate(p_max_t)
    ]
