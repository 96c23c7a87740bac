"""What the sanity checks cost, and what LRP loses on a residual network when its sums are passed
over.

Reads:  a data set and runs made by preprocessing.py and train_model.py (--data_path, --model_path,
        --amplitude_models).
Writes: nothing but a temporary folder.

time      all checks on 200 records (50 for those that explain often), in CPU seconds and minutes on
          two idle cores
residual  the amplitude check of LRP on an amplitude model with each residual sum split between its
          branches, and with the relevance copied into both, as a tool does that does not know the
          sum

Examples:
    python tests/benchmarks/bench_sanity.py time --model_path output/lenet_subdiagnostic --data_path
    data/simulated/ python tests/benchmarks/bench_sanity.py residual --data_path data/simulated/ \\
        --amplitude_models output/xresnet_T_Wave_Amplitude
"""

import argparse
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from ratios import print_result

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(ROOT / "tests")]

from attribution import lrp
from attribution.methods import make_explainers
from networks.checkpoints import load_model
from records.dataset import load_dataset
from sanity.amplitude import measure_amplitude
from sanity.subject import make_subject, summarise

BAR_MINUTES = 10  # lenet, all checks, 200 records, 2 cores; training not counted


def cost(args) -> float:
    """CPU minutes of the whole stage in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            str(ROOT / "code" / "sanity_checks.py"),
            "--model_path",
            args.model_path,
            "--data_path",
            args.data_path,
            "--output_path",
            folder,
            "--n_samples",
            str(args.n_samples),
            "--threads",
            "1",
        ]
        for option, values in (
            ("--amplitude_models", args.amplitude_models),
            ("--seeds", args.seeds),
        ):
            command += [option, *values] if values else []
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60
    wall = (time.perf_counter() - start) / 60
    print_result(
        f"sanity checks, {args.n_samples} records",
        f"a bar of {BAR_MINUTES} min on 2 cores",
        f"{cpu:.1f} min of one core, {wall:.1f} by the clock",
    )
    return cpu


@contextlib.contextmanager
def sums_passed_over():
    """LRP whose residual sums copy their relevance into both branches."""
    split = lrp._Sum.backward
    lrp._Sum.backward = staticmethod(lambda _ctx, relevance: (relevance, relevance, None))
    try:
        yield
    finally:
        lrp._Sum.backward = split


def residual(args) -> pd.DataFrame:
    """Lead and wave scores of LRP with split and with copied sums, per amplitude model."""
    tables = []
    for path in args.amplitude_models:
        model = load_model(path)
        data = load_dataset(args.data_path, model.info.task).in_folds([10])
        subject = make_subject(model.info.run_folder_name, model, data, args.n_few)
        for name, explain in make_explainers(["lrp:epsilon", "lrp:epsilon_plus"]).items():
            for kind, context in (
                ("split", contextlib.nullcontext()),
                ("copied", sums_passed_over()),
            ):
                with context:
                    measured = measure_amplitude(subject, None, explain)
                tables += [one.table().assign(method=f"{name}, {kind}") for one in measured]
    table = summarise(pd.concat(tables, ignore_index=True))
    shown = table[~table["check"].str.contains("curve")].copy()
    leads = shown[shown["check"].str.match("amplitude_lead_")]
    below = (leads["value"] < leads["chance"]).groupby([leads["model"], leads["method"]]).sum()
    print(shown[~shown["check"].str.match("amplitude_lead_")].round(3).to_string(index=False))
    print("\nleads whose own share is below chance, of 12:\n" + below.to_string())
    return table


def main():
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("time", "residual"))
    parser.add_argument("--model_path")
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--amplitude_models", nargs="+", default=[])
    parser.add_argument("--seeds", nargs="+", default=[])
    parser.add_argument("--n_samples", type=int, default=200)
    parser.add_argument("--n_few", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(1)
    {"time": cost, "residual": residual}[args.what](args)


if __name__ == "__main__":
    main()
