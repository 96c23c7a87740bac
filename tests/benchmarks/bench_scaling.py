"""How the cost of a stage grows with its size: records, classes, layers, concepts.

Reads:  nothing: a simulated cohort in memory, a LeNet with random weights (its numbers do not
        matter here).
Writes: nothing.

Per size the least CPU seconds of REPEATS runs in one thread, and the exponent b of seconds ~ size^b
between the smallest and the largest: 1 is linear, below 1 a fixed cost is shared, above 1 a large
job is worse than several small ones.

Example: python tests/benchmarks/bench_scaling.py            # all, or some of them:
bench_scaling.py records concepts
"""

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(Path(__file__).parent)]

from bench_tcav_validity import TASK, simulate
from ratios import print_result

from attribution.methods import explain_records
from common.labels import LABEL_MAPPINGS, LEADS
from ecg.analysis import measure_all
from networks.checkpoints import ModelInfo
from networks.models import get_model
from records.dataset import Dataset
from tcav.activations import class_gradients, collect, layer_names
from tcav.analysis import Plan, make_layer, run_concept
from tcav.concept_sets import concept_set

REPEATS = 3


class Material:
    """A cohort of `n_records`, a network, and its layers at the cohort, for `n_concepts` flags
    drawn at random.
    """

    def __init__(self, n_records: int):
        self.data: Dataset = simulate(n_records, 0)
        torch.manual_seed(0)
        self.model = get_model("lenet", len(LABEL_MAPPINGS[TASK])).eval()
        self.model.info = ModelInfo(
            "lenet", TASK, tuple(LABEL_MAPPINGS[TASK]), LEADS, 100, 2.5, {}, 0
        )
        self.names = layer_names(self.model)
        self.activations = collect(self.model, self.data.signals, self.names)
        self.members = np.arange(n_records)[:, None] % len(LABEL_MAPPINGS[TASK]) == np.arange(
            len(LABEL_MAPPINGS[TASK])
        )

    def signals(self, n: int) -> np.ndarray:
        """(n, T, 12) mV."""
        return self.data.signals[:n]

    def gradients(self, n_classes: int, layers: list[str] | None = None) -> list:
        """Gradients of the first `n_classes` classes at `layers`."""
        members = self.members & (np.arange(self.members.shape[1]) < n_classes)
        return class_gradients(self.model, self.data.signals, members, layers or self.names)[
            :n_classes
        ]

    def layers(self, names: list[str], gradients: list) -> list:
        """Layers as TCAV takes them."""
        return [
            make_layer(name, self.activations[name], [found[name] for found in gradients], "white")
            for name in names
        ]

    def concepts(self, n: int) -> list:
        """`n` concepts that every third record shows, drawn at random."""
        rng, strata = np.random.default_rng(0), np.zeros(len(self.data.table), dtype=int)
        flags = (rng.random((n, len(strata))) < 1 / 3).astype(float)
        return [
            concept_set(f"flag{number}", values, self.data.patient_id, strata)
            for number, values in enumerate(flags)
        ]


def tests(concepts: list, layers: list) -> None:
    """TCAV with 199 pseudo-concepts."""
    for concept in concepts:
        run_concept(concept, layers, Plan(n_null=199, n_runs=10, test_runs=10, seed=0))


def by_records(material: Material) -> dict[str, Callable]:
    """Stages that go through the records one batch after the other."""
    target = np.zeros(len(material.data.table), dtype=int)
    return {
        "measuring the ECG": lambda n: measure_all(material.signals(n), 100, progress=False),
        "activations, all layers": lambda n: collect(
            material.model, material.signals(n), material.names
        ),
        "LRP, windows": lambda n: explain_records(
            material.model, material.signals(n), target[:n], "lrp", window="windows"
        ),
    }


def by_classes(material: Material) -> dict[str, Callable]:
    """TCAV's gradients and tests, over classes."""
    gradients, concept = material.gradients(23), material.concepts(1)
    return {
        "gradients of the classes, all layers": material.gradients,
        "test of a concept, 3 layers": lambda n: tests(
            concept, material.layers(material.names[-3:], gradients[:n])
        ),
    }


def by_layers(material: Material) -> dict[str, Callable]:
    """TCAV, over layers."""
    gradients, concept = material.gradients(5), material.concepts(1)
    return {
        "test of a concept, 5 classes": lambda n: tests(
            concept, material.layers(material.names[-n:], gradients)
        )
    }


def by_concepts(material: Material) -> dict[str, Callable]:
    """TCAV, over concepts."""
    layers = material.layers(material.names[-3:], material.gradients(5))
    return {"tests, 3 layers x 5 classes": lambda n: tests(material.concepts(n), layers)}


# what grows -> (its sizes, the work of each size)
SIZES = {
    "records": ((100, 200, 400), by_records),
    "classes": ((5, 11, 23), by_classes),
    "layers": ((3, 7, 15), by_layers),
    "concepts": ((1, 2, 4), by_concepts),
}


def seconds(work: Callable, size: int) -> float:
    """Least CPU seconds of REPEATS runs."""
    taken = []
    for _ in range(REPEATS):
        start = time.process_time()
        work(size)
        taken.append(time.process_time() - start)
    return min(taken)


def measure(grows: str, material: Material) -> None:
    """Say for each kind of work the CPU seconds at each size and the exponent."""
    sizes, works = SIZES[grows]
    for name, work in works(material).items():
        taken = [seconds(work, size) for size in sizes]
        exponent = math.log(taken[-1] / taken[0]) / math.log(sizes[-1] / sizes[0])
        print_result(
            name,
            f"{', '.join(map(str, sizes))} {grows}",
            f"{', '.join(f'{value:.2f}' for value in taken)} s: seconds ~ {grows}^{exponent:.2f}",
        )


def main() -> None:
    """Say all, or what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "grows", nargs="*", metavar="SIZE", help=f"of {', '.join(SIZES)} (default: all)"
    )
    grows = parser.parse_args().grows or list(SIZES)
    unknown = [name for name in grows if name not in SIZES]
    if unknown:
        parser.error(f"unknown size {', '.join(unknown)}: accepted are {', '.join(SIZES)}")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    material = Material(400)
    for name in grows:
        measure(name, material)


if __name__ == "__main__":
    main()
