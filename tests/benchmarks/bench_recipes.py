"""How few epochs reach what the paper's 100 reach: recipes side by side, several seeds each.

Reads:  a preprocessed data set (--data_path).
Writes: the runs under --output_path; what is finished is not repeated.

Fold 9 chooses (the epoch in each run, and the recipe); fold 10 is printed beside it, so that a
recipe with more epochs to choose from does not look better than it is.

Example:
    python tests/benchmarks/bench_recipes.py --data_path data/ptbxl --modelname xresnet --seeds 0 1
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]

from ratios import print_result

ONE_CYCLE = ["--schedule", "one_cycle", "--lr", "3e-3", "--weight_decay", "1e-2"]
# name -> options of train_model.py
RECIPES = {
    "paper": ["--epochs", "100"],
    "patience15": ["--epochs", "100", "--patience", "15"],
    "one_cycle_30": ["--epochs", "30", *ONE_CYCLE],
    "one_cycle_15": ["--epochs", "15", *ONE_CYCLE],
    "one_cycle_8": ["--epochs", "8", *ONE_CYCLE],
    "one_cycle_5": ["--epochs", "5", *ONE_CYCLE],
}


def train(args: argparse.Namespace, recipe: str, seed: int) -> dict[str, float]:
    """One run: score on fold 9 (macro AUC, minus the loss), macro AUC or R2 on
    fold 10, seconds and epochs of training.
    """
    run = f"{recipe}_seed{seed}"
    command = ["--data_path", args.data_path, "--logdir", args.output_path]
    command += ["--modelname", args.modelname, "--task", args.task]
    command += ["--seed", seed, "--run_name", run, "--threads", args.threads, *RECIPES[recipe]]
    words = [sys.executable, ROOT / "code" / "train_model.py", *command, *["--amp"] * args.amp]
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
    folder = args.output_path / f"{args.modelname}_{args.task}_{run}"
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    metrics = json.loads((folder / "metrics.json").read_text())["windows"]
    quantity = "macro_auc" if "macro_auc" in metrics else "r2"
    return {
        "fold9": max(row["score"] for row in rows),
        "fold10": metrics[quantity]["value"],
        "seconds": sum(row["seconds"] for row in rows),
        "epochs": len(rows),
    }


def main():
    """Train every recipe with every seed and print a line per recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_path", type=Path, required=True)
    parser.add_argument(
        "--output_path", type=Path, default=Path(tempfile.gettempdir()) / "xai4ecg_bench_recipes"
    )
    parser.add_argument("--modelname", default="lenet")
    parser.add_argument("--task", default="superdiagnostic")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--amp", action="store_true", help="train in bf16")
    args = parser.parse_args()
    for recipe in args.recipes:
        runs = [train(args, recipe, seed) for seed in args.seeds]
        mean = {name: np.mean([run[name] for run in runs]) for name in runs[0]}
        spread = np.std([run["fold10"] for run in runs], ddof=1) if len(runs) > 1 else np.nan
        print_result(
            f"{args.modelname} {args.task}, recipe {recipe}, {len(runs)} seeds",
            "100 epochs of the paper",
            f"fold 9 {mean['fold9']:.4f}, fold 10 {mean['fold10']:.4f} "
            f"(SD over seeds {spread:.4f}); {mean['epochs']:.0f} epochs, {mean['seconds']:.0f} s",
        )


if __name__ == "__main__":
    main()
