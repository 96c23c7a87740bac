"""What attribution costs beside the network's own forward and backward pass, and beside captum; how
well ledgers close.

Reads:  cost, captum: nothing (records are noise of the right shape, weights are random with random
        BatchNorm statistics); ledger: the runs named by --model_path and fold 10 of --data_path.
Writes: nothing.

Ratios of CPU time in one thread, medians over rounds in which all sides take turns, so that other
load matters little. The unit is one forward and one backward pass to the input of 64 records of 2.5
s, BatchNorm not folded.

Examples: python tests/benchmarks/bench_attribution.py cost captum --modelnames lenet xresnet
          python tests/benchmarks/bench_attribution.py ledger --data_path data/ptbxl --model_path
          output/lenet_subdiagnostic
"""

import argparse
import copy
import sys
import time
import warnings
from pathlib import Path

import captum.attr
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(ROOT / "tests")]

from ratios import print_result

from attribution.gradients import gradient
from attribution.lrp import LRP_PRESETS
from attribution.methods import attribute, explain
from networks.checkpoints import load_model
from networks.inference import to_input
from networks.models import MODELS, get_model
from records.dataset import centre_crop, load_dataset
from toy_networks import last_map, randomised

N_RECORDS, N_SAMPLES, N_CLASSES, STEPS, CALLS = 64, 250, 23, 16, 4
LEDGER_BARS = {"float32": 1e-5, "float64": 1e-9}  # relative to the sum of the absolute shares
BARS = {"saliency": 1.3, "lrp epsilon": 1.4, "lrp epsilon_plus": 2.0, "ig per step": 1.15}


def material(modelname):
    """Model, records and targets."""
    torch.manual_seed(0)
    model = randomised(get_model(modelname, N_CLASSES))
    return model, torch.randn(N_RECORDS, 12, N_SAMPLES), torch.arange(N_RECORDS) % N_CLASSES


def seconds(sides: dict, rounds: int, calls: int = CALLS) -> dict[str, list[float]]:
    """CPU seconds of each side in each round; the sides take turns of `calls` calls, as one method
    explains batch after batch.
    """
    taken = {name: [] for name in sides}
    for side in sides.values():
        side()  # first calls are slower
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.process_time()
            for _ in range(calls):
                side()
            taken[name].append((time.process_time() - start) / calls)
    return taken


def cost(modelname: str, rounds: int = 7) -> dict:
    """Median ratio of each method to one forward and backward pass (IG: to as many of them as it
    takes steps).
    """
    model, x, target = material(modelname)
    taken = seconds(
        {
            "pass": lambda: gradient(model, x, target),
            "saliency": lambda: attribute(model, x, target, "saliency"),
            "lrp epsilon": lambda: attribute(model, x, target, "lrp", preset="epsilon"),
            "lrp epsilon_plus": lambda: attribute(model, x, target, "lrp", preset="epsilon_plus"),
        },
        rounds,
    )
    path = seconds(
        {
            "passes": lambda: [gradient(model, x, target) for _ in range(STEPS)],
            "ig per step": lambda: attribute(
                model, x, target, "ig", steps=STEPS, max_steps=STEPS, absolute=1e9
            ),
        },
        rounds,
        calls=1,
    )
    unit = np.array(taken.pop("pass"))
    ratios = {name: np.array(values) / unit for name, values in taken.items()}
    ratios["ig per step"] = np.array(path["ig per step"]) / np.array(path["passes"])
    return {name: float(np.median(values)) for name, values in ratios.items()}


def against_captum(modelname: str, rounds: int = 5) -> dict:
    """Median ratio of our seconds to captum's, for the methods that both have."""
    model, x, target = material(modelname)
    other = copy.deepcopy(model)  # captum's hooks stay away from ours
    layer, asked = last_map(other), x.clone().requires_grad_(True)
    pairs = {
        "saliency": (
            lambda: attribute(model, x, target, "saliency"),
            lambda: captum.attr.Saliency(other).attribute(asked, target, abs=False),
        ),
        "input_x_gradient": (
            lambda: attribute(model, x, target, "input_x_gradient"),
            lambda: captum.attr.InputXGradient(other).attribute(asked, target),
        ),
        "ig": (
            lambda: attribute(model, x, target, "ig", steps=STEPS, max_steps=STEPS, absolute=1e9),
            lambda: captum.attr.IntegratedGradients(other).attribute(
                x,
                0.0,
                target,
                n_steps=STEPS,
                method="riemann_middle",
                internal_batch_size=128,
                return_convergence_delta=True,
            ),
        ),
        "gradcam": (
            lambda: attribute(model, x, target, "gradcam"),
            lambda: captum.attr.LayerGradCam(other, layer).attribute(
                x, target, relu_attributions=True
            ),
        ),
        "guided_gradcam": (
            lambda: attribute(model, x, target, "guided_gradcam"),
            lambda: captum.attr.GuidedGradCam(other, layer).attribute(asked, target),
        ),
        "occlusion": (
            lambda: attribute(model, x[:2], target[:2], "occlusion", piece=25, fill=0.0),
            lambda: captum.attr.Occlusion(other).attribute(
                x[:2],
                (1, 25),
                strides=(1, 25),
                target=target[:2],
                baselines=0.0,
                perturbations_per_eval=120,
            ),
        ),
    }
    found = {}
    for name, (ours, theirs) in pairs.items():
        taken = seconds(
            {"ours": ours, "theirs": theirs}, rounds, calls=1 if name == "ig" else CALLS
        )
        found[name] = float(np.median(np.array(taken["ours"]) / np.array(taken["theirs"])))
    return found


def ledgers(run: str, data_path: str, n_records: int) -> bool:
    """Say, per preset and precision, the ledger's largest gap and the input's median share of the
    logit; whether all close.
    """
    model = load_model(run, torch.device("cpu"))
    data = load_dataset(data_path, model.info.task, model.info.sampling_rate).in_folds([10])
    x = to_input(centre_crop(data.signals[:n_records], model.info.crop), model.info.leads)
    target = model(x).argmax(dim=1)
    closed = True
    for precision, network in (("float32", model), ("float64", copy.deepcopy(model).double())):
        for preset in LRP_PRESETS:
            book = explain(
                network, x.to(next(network.parameters()).dtype), target, "lrp", preset=preset
            ).ledger
            closed &= float(book.gap.abs().max()) < LEDGER_BARS[precision]
            print_result(
                f"ledger, {preset}, {precision}, {model.info.run_folder_name}, {len(x)} records",
                "sum of the absolute shares",
                f"largest gap {float(book.gap.abs().max()):.1e}, "
                "input's median share of the logit "
                f"{float((book.input / book.logit).median()):.3f}",
            )
    return closed


def main(args):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    closed = True
    for part in args.parts:
        if part == "ledger":
            for run in args.model_path:
                closed &= ledgers(run, args.data_path, args.n_records)
            continue
        function, against = {
            "cost": (cost, "its forward + backward"),
            "captum": (against_captum, "captum"),
        }[part]
        for modelname in args.modelnames:
            ratios = function(modelname)
            print_result(
                f"attribution of {N_RECORDS} records, {modelname}",
                against,
                ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
                + " times as long",
            )
    sys.exit(not closed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=("cost", "captum", "ledger"))
    parser.add_argument("--modelnames", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--model_path", nargs="+", default=[], help="ledger: trained runs")
    parser.add_argument("--data_path", default="data/ptbxl/", help="ledger: preprocessed data set")
    parser.add_argument("--n_records", type=int, default=128, help="ledger: records of fold 10")
    main(parser.parse_args())
