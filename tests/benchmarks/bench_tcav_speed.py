"""TCAV against captum's on the same LeNet, records, sets, layers and classes, in one process.

    python tests/benchmarks/bench_tcav_speed.py [--n_sets 20] [--n_classes 23] [--threads 2]

captum trains its default CAVs (scikit-learn's SGD on flattened activations of the crop) and scores
them; ours runs the same numbers of sets three ways: captum's CAVs scored, batched logistic CAVs on
the same flattened activations, and the stage's default (difference of means, pooled over time).
Prints seconds, ratios, and whether captum's CAVs give captum's sign counts.
"""

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "code"))

from ratios import print_result

from common.labels import LEADS
from networks.checkpoints import ModelInfo
from networks.models import get_model
from tcav.activations import class_gradients, collect, layer_names
from tcav.analysis import sign_counts
from tcav.cav import CAVS, Draws


def make_problem(args):
    """A LeNet, class records and concept examples (n, 250, 12); random values: the work is the same
    as for records.
    """
    torch.manual_seed(0)
    model = get_model("lenet", args.n_classes).eval()
    model.info = ModelInfo(
        "lenet", "subdiagnostic", tuple(map(str, range(args.n_classes))), LEADS, 100, 2.5, {}, 0
    )
    rng = np.random.default_rng(0)
    records = rng.normal(size=(args.n_records, 250, 12)).astype(np.float32)
    concept = rng.normal(size=(args.n_examples, 250, 12)).astype(np.float32) + 0.3
    negatives = rng.normal(size=(args.n_sets, args.n_examples, 250, 12)).astype(np.float32)
    return model, records, concept, negatives


def run_captum(model, layers, records, concept, negatives, folder):
    """captum's scores per class, and its TCAV object with the CAVs."""
    from captum.concept import TCAV, Concept

    def as_concept(number, signals):
        values = torch.from_numpy(signals.transpose(0, 2, 1).copy())
        return Concept(number, str(number), torch.utils.data.DataLoader(values, batch_size=64))

    positive = as_concept(0, concept)
    sets = [[positive, as_concept(k + 1, values)] for k, values in enumerate(negatives)]
    captum = TCAV(model, layers, save_path=folder)
    inputs = torch.from_numpy(records.transpose(0, 2, 1).copy())
    return [
        captum.interpret(inputs, sets, target=target) for target in range(len(model.info.labels))
    ], captum


def gradients_of(model, layers, records, pool):
    """Gradients of all classes for all records, as captum is asked for."""
    members = np.ones((len(records), len(model.info.labels)), dtype=bool)
    return class_gradients(model, records, members, layers, "centre_crop", pool)


def run_ours(model, layers, records, concept, negatives, kind, pool):
    """CAVs of `kind` and sign counts at all layers for all classes: layer -> (sets, classes)."""
    n_sets, n = negatives.shape[:2]
    examples = np.concatenate([concept, *negatives])
    activations = collect(model, examples, layers, "centre_crop", pool)
    gradients = gradients_of(model, layers, records, pool)
    index = np.stack([np.r_[np.arange(n), n * (k + 1) + np.arange(n)] for k in range(n_sets)])
    held = np.random.default_rng(0).random(index.shape) < 1 / 3
    draws = Draws(torch.from_numpy(index), torch.from_numpy(held), n, len(activations[layers[0]]))
    return {
        name: sign_counts(
            [torch.from_numpy(values[name]) for values in gradients],
            CAVS[kind](torch.from_numpy(activations[name]), draws),
        )
        for name in layers
    }


def compare_scores(theirs, captum, model, layers, records):
    """Largest difference of sign counts for captum's own CAVs, and how many were compared."""
    gradients = gradients_of(model, layers, records, "none")
    worst, n = 0.0, 0
    for target, scores in enumerate(theirs):
        for pair, by_layer in scores.items():
            for layer, values in by_layer.items():
                cavs = captum.cavs[pair][layer].stats["weights"].float()
                ours = sign_counts([torch.from_numpy(gradients[target][layer])], cavs)[:, 0]
                worst, n = (
                    max(worst, float((ours - values["sign_count"]).abs().max())),
                    n + len(ours),
                )
    return worst, n


def timed(function, *arguments):
    """(result, seconds)"""
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


def main():
    """Print the comparison; exit code 1 where scores differ or the stage's way is not 5 times
    faster.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (
        ("n_sets", 20),
        ("n_classes", 23),
        ("n_records", 100),
        ("n_examples", 50),
        ("threads", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.threads)
    model, *data = make_problem(args)
    layers = layer_names(model)
    run_ours(model, layers, *data, "means", "time")  # warm up
    times = {}
    for kind, pool in (("means", "time"), ("means", "none"), ("logistic", "none")):
        _, times[f"ours, {kind}, pool {pool}"] = timed(run_ours, model, layers, *data, kind, pool)
    with tempfile.TemporaryDirectory() as folder:
        (theirs, captum), times["captum"] = timed(run_captum, model, layers, *data, folder)
        (worst, n), _ = timed(compare_scores, theirs, captum, model, layers, data[0])
    print(
        f"{args.n_sets} sets of 2 x {args.n_examples}, {len(layers)} layers, {args.n_classes} "
        "classes, "
        f"{args.n_records} records, {args.threads} threads"
    )
    reference = times.pop("captum")
    for name, seconds in times.items():
        print_result(
            f"TCAV, {name}",
            f"captum, {reference:.0f} s",
            f"{seconds:.2f} s, {reference / seconds:.1f} times as fast",
        )
    print_result(
        "sign counts of captum's CAVs",
        "captum's own",
        f"largest difference {worst:g} over {n} scores",
    )
    sys.exit(worst > 0 or reference < 5 * max(times.values()))


if __name__ == "__main__":
    main()
