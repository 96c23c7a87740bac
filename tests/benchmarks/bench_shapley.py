"""What Shapley values cost and how sure they are, and how near KernelSHAP and LIME come.

    python tests/benchmarks/bench_shapley.py --model_path output/lenet_subdiagnostic
        --data_path data/simulated [--n 8] [--orders 64] [--alone | --judge]

Explains the centre crop of N records of fold 10 for their most probable class, players: lead x
segment. Prints seconds a window, orders, largest standard error, how far the shares are from
summing up, and the correlation over players' samples with shares of other draws (128 orders).
`--alone`: Shapley values only, without those other draws, which cost most on a deep network.
`--judge`: nothing of that, but whether the maps point at the waves whose change turns N decisions
(sanity.turned), which counterfactuals.py must have found on this run.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(ROOT / "tests")]

from attribution.methods import Explainer, explain
from common.intervals import mean_with_interval
from networks.checkpoints import load_model
from networks.inference import input_of, load_dataset_for
from records.segmentations import load_segments
from sanity.turned import measure_turned, turned_reference, turned_subject

REFERENCE = {"wanted_error": 1e-6, "max_permutations": 128, "seed": 1}

JUDGED = ("shapley", "input_x_gradient", "gradient_shap", "occlusion", "input_magnitude", "random")


def judge(args, model, data):
    """One line per method and score: mean with interval over patients, what chance gives, n."""
    folder = Path(args.model_path) / "counterfactual"
    classes = list(range(len(model.info.labels)))
    subject = turned_subject("judged", model, data, folder, args.n, 0, classes)
    reference = turned_reference(subject, folder)
    regions = subject.segments.argmax(axis=3)
    for method in JUDGED:
        options = {"max_permutations": args.orders} if method == "shapley" else {}
        begun = time.process_time()
        maps = Explainer(method, options)(model, subject.signals, subject.target, regions)
        seconds = (time.process_time() - begun) / len(subject)
        print(f"{method:16} {seconds:6.2f} s of processor a window")
        for one in measure_turned(subject, maps, None, reference):
            known = np.isfinite(one.values)
            if known.any():
                answer = mean_with_interval(one.values[known], one.patients[known])
                mean, low, high = (float(value) for value in answer)
                people = len(np.unique(one.patients[known]))
                print(
                    f"  {one.check}: {mean:.2f} [{low:.2f}, {high:.2f}], chance "
                    f"{np.nanmean(one.chance):.2f}, n = {known.sum()} of {people} patients"
                )


def correlations(first, second):
    """(n,) over all samples of each record's map."""
    pairs = zip(first.flatten(1).numpy(), second.flatten(1).numpy(), strict=True)
    return [float(np.corrcoef(*pair)[0, 1]) for pair in pairs]


def main():
    """One line per method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--orders", type=int, default=64, help="of Shapley values at most")
    parser.add_argument("--alone", action="store_true", help="nothing beside Shapley values")
    parser.add_argument("--judge", action="store_true", help="by changes that turn decisions")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.model_path)
    data = load_dataset_for(model.info, args.data_path).in_folds([10])
    if args.judge:
        judge(args, model, data)
        return
    rows = np.arange(min(args.n, len(data)))
    start = (data.signals.shape[1] - model.info.crop) // 2
    crop = slice(start, start + model.info.crop)
    x = input_of(model, data.signals[rows, crop])
    numbers = load_segments(data, rows)[:, crop].argmax(axis=3)
    regions = torch.from_numpy(numbers).transpose(1, 2)
    with torch.no_grad():
        target = model(x).argmax(dim=1)
    reference = None
    if not args.alone:
        reference = explain(model, x, target, "shapley", regions=regions, **REFERENCE)
    for method in ("shapley", "kernel_shap", "lime", "occlusion")[: 1 if args.alone else None]:
        begun = time.process_time()
        orders = {"max_permutations": args.orders} if method == "shapley" else {}
        done = explain(model, x, target, method, regions=regions, **orders)
        seconds = (time.process_time() - begun) / len(x)
        print(f"{method:12} {seconds:6.2f} s of processor a window, n = {len(x)}")
        if reference is not None:
            found = np.array(correlations(done.attributions, reference.attributions))
            print(
                f"  correlation with other draws, 128 orders: {found.mean():.2f} "
                f"({found.min():.2f} to {found.max():.2f})"
            )
        if done.standard_error is None:
            continue
        sizes = torch.stack([torch.bincount(one.flatten())[one] for one in _cells(regions)])
        error = (done.standard_error * sizes).flatten(1).amax(dim=1)
        print(
            f"  orders {done.steps.tolist()}; largest standard error of a share "
            f"{[round(value, 3) for value in error.tolist()]} logit of "
            f"{[round(value, 2) for value in done.difference.tolist()]}; wanted error reached in "
            f"{int((~done.missed).sum())}; sums miss by {float(done.gap.abs().max()):.1e} at most"
        )


def _cells(regions):
    """Number of the lead x segment player of each sample, (n, leads, T)."""
    return regions + 24 * torch.arange(regions.shape[1])[:, None]


if __name__ == "__main__":
    main()
