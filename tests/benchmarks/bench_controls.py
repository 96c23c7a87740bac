"""Does "learnt" hold? TCAV of many networks that have learnt nothing, of trained ones, and what
the test with control networks says of groups drawn from them.

    python tests/benchmarks/bench_controls.py collect FOLDER [--cohort 100] [--data_path D]
        [--untrained 60] [--permuted 40] [--trained 10]
    python tests/benchmarks/bench_controls.py judge FOLDER... [--seeds 1 3 5 10] [--resamples 200]
    python tests/benchmarks/bench_controls.py cost --data_path D [--modelname lenet]

collect  magnitudes of every concept, layer and class, and those of pseudo-concepts, one file per
         network in FOLDER; goes on where it stopped
judge    rates over groups drawn at random: any pair called learnt where the group is of held-out
         untrained or label-permuted networks, planted pairs and decoys where it is of trained ones
cost     seconds of 20 controls of each kind
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from bench_tcav_validity import TASK, Prepared, simulate

from common.labels import LABEL_MAPPINGS, LEADS
from ecg.concepts import CONCEPTS
from networks.checkpoints import ModelInfo
from networks.controls import CONTROLS, _trained, make_control, training_records
from networks.training import Recipe
from records.dataset import load_dataset
from tcav.activations import layer_names
from tcav.cav import CAVS, Draws
from tcav.concept_sets import concept_set, draw, flag_column, pseudo_flags, reason_against

N_NULL, RUNS, EPOCHS = 399, 5, 20


# ---------------------------------------------------------------- networks and their magnitudes


def info_of(modelname: str = "lenet", seed: int = 0) -> ModelInfo:
    """A 2.5 s network for the subdiagnostic task, trained on folds 1-8."""
    folds = {"train": list(range(1, 9)), "validation": [9], "test": [10]}
    labels = tuple(LABEL_MAPPINGS[TASK])
    return ModelInfo(modelname, TASK, labels, LEADS, 100, 2.5, folds, seed)


def make(kind: str, seed: int, data) -> torch.nn.Module:
    """A network of the study: a control, or one trained on the true labels by the same recipe."""
    info = info_of(seed=seed)
    if kind in CONTROLS:
        return make_control(kind, info, training_records(info, data), seed, EPOCHS)
    model = _trained(info, training_records(info, data), Recipe(epochs=EPOCHS, seed=seed), "cpu")
    model.info = info
    return model


def concept_draws(data) -> dict[str, tuple]:
    """name -> draws of the concept (RUNS rows) and of its pseudo-concepts (N_NULL * RUNS rows)."""
    training = data.in_folds(range(1, 9))
    names = [name for name in training.table if name in CONCEPTS or name.startswith("decoy_")]
    found = {}
    for name in names:
        flags = flag_column(training.table, name)
        concept = concept_set(name, flags, training.patient_id, np.zeros(len(training), int))
        if reason_against(concept, 20) is None:
            found[name] = (
                _draws(concept, np.tile(concept.flags, (RUNS, 1)), "runs", len(training)),
                _draws(concept, _pseudo(concept), "null", len(training)),
            )
    return found


def _pseudo(concept):
    flags = pseudo_flags(concept, N_NULL, concept.generator(0, "pseudo"))
    return np.repeat(flags, RUNS, axis=0)


def _draws(concept, flags, purpose, n):
    index, held = draw(concept, flags, concept.generator(0, purpose))
    rows = torch.from_numpy(concept.rows[index])
    return Draws(rows, torch.from_numpy(held), concept.size, n)


def magnitudes(model, data, draws) -> dict[str, np.ndarray]:
    """observed (concepts, layers, classes) and null (N_NULL, concepts, layers, classes)."""
    prepared = Prepared(model, data)
    observed, null = [], []
    for own, pseudo in draws.values():
        parts = [[], []]
        for layer in prepared.layers:
            for part, chosen in zip(parts, (own, pseudo), strict=True):
                cavs = torch.nn.functional.normalize(CAVS["means"](layer.x, chosen), dim=1)
                products = (cavs @ layer.mean.T).numpy()
                part.append(products.reshape(-1, RUNS, products.shape[1]).mean(axis=1))
        observed.append(np.concatenate(parts[0]))
        null.append(np.stack(parts[1], axis=1))
    return {
        "observed": np.stack(observed).astype(np.float32),
        "null": np.stack(null, axis=1).astype(np.float16),
        "labels": np.array(prepared.labels),
        "n_class": prepared.n_class,
    }


def collect(args):
    """Files <kind>_<seed>.npz in the folder."""
    folder = Path(args.folders[0])
    folder.mkdir(parents=True, exist_ok=True)
    data = load_dataset(args.data_path, TASK) if args.data_path else simulate(1500, args.cohort)
    draws = concept_draws(data)
    wanted = [
        (kind, seed) for kind in (*CONTROLS, "trained") for seed in range(getattr(args, kind))
    ]
    wanted.sort(key=lambda pair: pair[1])
    for kind, seed in wanted:
        path = folder / f"{kind}_{seed:03d}.npz"
        if path.is_file():
            continue
        started = time.perf_counter()
        model = make(kind, seed, data)
        made = time.perf_counter()
        found = magnitudes(model, data, draws)
        np.savez(path, **found, concepts=np.array(list(draws)), layers=np.array(layer_names(model)))
        print(
            f"{path.name} made in {made - started:.1f} s, judged in "
            f"{time.perf_counter() - made:.1f} s",
            flush=True,
        )


STUDIES = {"collect": collect}


def main():
    """Run one study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--data_path")
    parser.add_argument("--cohort", type=int, default=100)
    parser.add_argument("--untrained", type=int, default=60)
    parser.add_argument("--permuted", type=int, default=40)
    parser.add_argument("--trained", type=int, default=10)
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    args = parser.parse_args()
    STUDIES[args.study](args)


if __name__ == "__main__":
    main()
