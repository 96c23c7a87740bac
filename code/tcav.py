"""Testing with concept activation vectors (TCAV, Kim et al., ICML 2018), with a null that holds.

For a concept, a layer and a class: the CAV separates records with the concept from random ones; the score is the share of
the class's records whose logit grows along it, the magnitude the mean cosine of their gradients with it.

The test. Runs of one concept share its positives, so they are no independent sample; the unit is the concept set. The
statistic is the magnitude averaged over `test_runs` draws of negatives, and its null the same statistic of pseudo-concepts:
the concept's flags dealt out anew among exchangeable patients (concept_sets.py), each with draws of its own. Per cell
p = (1 + k) / (M + 1), two-sided. Over layers x classes of a concept: max-T (Westfall & Young 1993) of the deviations,
each in units of its null's standard deviation. Over concepts: Holm. The smallest p that M allows is known beforehand.
The score itself is not tested: class gradients of upper layers are nearly the same for all records, so that random CAVs
score exactly 0 or 1 in a large part of draws there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from artefacts import UserError
from cav import CAVS, Space, held_out_accuracy, make_space, unit
from concept_sets import ConceptSet, draw, pseudo_flags
from stats import holm

ALPHA = 0.05


@dataclass(frozen=True)
class Plan:
    """How scores are made and tested."""

    cav: str = "means"
    coordinates: str = "white"
    n_runs: int = 30        # draws of negatives that scores are averaged over
    n_null: int = 1000      # pseudo-concepts; 0: no test
    test_runs: int = 10     # draws that the tested statistic is averaged over, for concept and pseudo-concepts alike
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
            raise UserError(f"--n_null {self.n_null} is too small for any significance: with {n_concepts} concepts no "
                            f"corrected p can be below {self.floor(n_concepts):.3g}; take at least {needed} (or 0: no test)")


@dataclass
class Layer:
    """One layer, ready for CAVs: activations and class gradients in its space.

    x          # (n, D) training activations
    gradients  # per class (records of the class, D), unit length
    mean       # (classes, D) mean of the unit gradients: its product with a unit CAV is the mean cosine
    """

    name: str
    space: Space
    x: torch.Tensor
    gradients: list[torch.Tensor]
    mean: torch.Tensor


def make_layer(name: str, activations: np.ndarray, gradients: Sequence[np.ndarray], coordinates: str, device="cpu") -> Layer:
    """A layer from training activations (n, D) and per class gradients (n_c, D); UserError if it is constant."""
    try:
        space = make_space(activations, coordinates)
    except UserError as error:
        raise UserError(f"layer {name} is {error}") from None
    turned = [torch.from_numpy(unit(space.gradients(values))).to(device) for values in gradients]
    return Layer(name, space, torch.from_numpy(space.activations(activations)).to(device), turned,
                 torch.stack([values.mean(dim=0) for values in turned]))


@dataclass
class Outcome:
    """What one concept gave; lists run over layers.

    scores      # per layer (n_runs, classes) share of positive directional derivatives
    magnitudes  # per layer (n_runs, classes)
    accuracies  # per layer (n_runs,) held out, balanced
    cavs        # per layer (D,) unit, in the layer's own coordinates, mean over runs
    null        # per layer (n_null, classes) mean magnitude of each pseudo-concept
    null_accuracies  # per layer (n_null,)
    random      # per layer: scores, magnitudes and accuracies of n_runs random CAVs (first draw of a pseudo-concept each)
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


def sign_counts(gradients: Sequence[torch.Tensor], cavs: torch.Tensor) -> torch.Tensor:
    """Share of positive directional derivatives (K, classes) of CAVs (K, D) for per-class gradients (n_c, D)."""
    return torch.stack([(values @ cavs.T > 0).to(cavs.dtype).mean(dim=0) for values in gradients], dim=1)


def run_concept(concept: ConceptSet, layers: Sequence[Layer], plan: Plan, outcome: Outcome | None = None) -> Outcome:
    """CAVs, scores and null of one concept at `layers`; appended to `outcome` where layers come in several groups.

    The draws depend on seed and concept alone, so that they are the same for every layer and group.
    """
    outcome = outcome or Outcome(concept)
    index, held = draw(concept, np.tile(concept.flags, (plan.n_runs, 1)), concept.generator(plan.seed, "runs"))
    for layer in layers:
        cavs, accuracy = _cavs(concept, layer, index, held, plan.cav)
        outcome.layers.append(layer.name)
        outcome.scores.append(sign_counts(layer.gradients, cavs).cpu().numpy())
        outcome.magnitudes.append((cavs @ layer.mean.T).cpu().numpy())
        outcome.accuracies.append(accuracy)
        outcome.cavs.append(layer.space.directions(cavs.mean(dim=0, keepdim=True).cpu().numpy())[0])
    if plan.n_null:
        magnitudes, accuracies, random = _null(concept, layers, plan)
        outcome.null.extend(magnitudes)
        outcome.null_accuracies.extend(accuracies)
        outcome.random.extend(random)
    return outcome


def _cavs(concept, layer, index, held, kind):
    """Unit CAVs (K, D) of draws and their held-out accuracies (K,)."""
    device = layer.x.device
    at = torch.from_numpy(concept.rows[index]).to(device)
    held = torch.from_numpy(held).to(device)
    sides = (torch.arange(at.shape[1], device=device) < concept.size).to(layer.x.dtype)
    cavs = CAVS[kind](layer.x, at, sides, (~held).to(layer.x.dtype))
    cavs = torch.nn.functional.normalize(cavs, dim=1)
    return cavs, held_out_accuracy(layer.x, at, sides, held, cavs).cpu().numpy()


def _null(concept, layers, plan):
    """Mean magnitudes and accuracies of the pseudo-concepts at every layer, and the runs of some random CAVs."""
    rng = concept.generator(plan.seed, "null")
    size = max(1, int(4e6 / (plan.test_runs * len(concept.rows))))  # pseudo-concepts at once: bounded memory
    magnitudes, accuracies = ([[] for _ in layers] for _ in range(2))
    random = [[] for _ in layers]
    for start in range(0, plan.n_null, size):
        n = min(size, plan.n_null - start)
        flags = np.repeat(pseudo_flags(concept, n, rng), plan.test_runs, axis=0)
        index, held = draw(concept, flags, rng)
        for number, layer in enumerate(layers):
            cavs, accuracy = _cavs(concept, layer, index, held, plan.cav)
            every = (cavs @ layer.mean.T).cpu().numpy()
            magnitudes[number].append(every.reshape(n, plan.test_runs, -1).mean(axis=1))
            accuracies[number].append(accuracy.reshape(n, plan.test_runs).mean(axis=1))
            first = slice(None, max(0, plan.n_runs - start) * plan.test_runs, plan.test_runs)
            random[number].append((sign_counts(layer.gradients, cavs[first]).cpu().numpy(), every[first], accuracy[first]))
    joined = [tuple(np.concatenate(parts) for parts in zip(*layer, strict=True)) for layer in random]
    return [np.concatenate(part) for part in magnitudes], [np.concatenate(part) for part in accuracies], joined


# ---------------------------------------------------------------- the test

@dataclass(frozen=True)
class Test:
    """p-values of one concept, (layers, classes): per cell, and over all its cells by max-T."""

    p: np.ndarray
    p_max_t: np.ndarray


def test_concept(observed: np.ndarray, null: np.ndarray) -> Test:
    """Two-sided p of magnitudes (cells...) against those of pseudo-concepts (M, cells...).

    Deviations are measured in standard deviations over concept and pseudo-concepts together, which keeps them
    exchangeable under the null, so that both p-values are exact.
    """
    together = np.concatenate([observed[None], null]).astype(np.float64)
    spread = together.std(axis=0)
    deviation = np.abs(together - together.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    deviation = np.round(deviation, 9)  # ties within rounding count as reached
    n = len(together)
    p = (deviation >= deviation[0]).sum(axis=0) / n
    largest = deviation.reshape(n, -1).max(axis=1)
    p_max_t = (largest.reshape(-1, *[1] * observed.ndim) >= deviation[0]).sum(axis=0) / n
    return Test(p, p_max_t)


def correct_over_concepts(p_max_t: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Holm over concepts of the cells' max-T p-values: the concept with the smallest p is held to the hardest level."""
    smallest = np.array([values.min() for values in p_max_t])
    stepped = holm(smallest)
    rank = np.empty(len(smallest), dtype=int)
    rank[np.argsort(smallest, kind="stable")] = np.arange(len(smallest))
    return [np.maximum(np.minimum(values * (len(smallest) - rank[k]), 1), stepped[k]) for k, values in enumerate(p_max_t)]
