"""What training reaches on real records, and what it costs beside a DataLoader and beside bare
forward + backward.

Reads:  for `auc` real records in PTB-XL's layout (--ptbxl); the timings run on noise of the same
        shape.
Writes: nothing that stays, or for `auc` the runs under --output_path.

Ratios are medians over rounds in which both sides take turns, so that other load falls on both.

Example:
    python tests/benchmarks/bench_training.py loader bare bf16 bootstrap
    python tests/benchmarks/bench_training.py auc --ptbxl ../shared/ptbxl
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "code"))

from ratios import print_result

from common.labels import LEADS, TASKS
from networks.metrics import classification_metrics
from networks.models import get_model
from networks.training import Learner, Recipe, TrainingSet, train_one_epoch

CPU = torch.device("cpu")
# (modelname, task) -> (bar, options); XResNet's recipe was chosen on fold 9 with seeds that are not
# among those reported
BARS = {
    ("lenet", "superdiagnostic"): (0.85, []),
    ("lenet", "subdiagnostic"): (0.81, []),
    ("xresnet", "superdiagnostic"): (
        0.84,
        ["--epochs", "40", "--schedule", "one_cycle", "--weight_decay", "1e-2"],
    ),
}


def noise(n_records: int) -> TrainingSet:
    """Records of PTB-XL's shape with five labels."""
    rng = np.random.default_rng(0)
    signals = torch.from_numpy(rng.normal(size=(n_records, 1000, len(LEADS))).astype(np.float32))
    labels = torch.from_numpy((rng.random((n_records, 5)) < 0.4).astype(np.float32))
    return TrainingSet(signals, labels, np.arange(n_records), 250)


def learner_of(modelname: str, amp: str | None = None) -> Learner:
    """A fresh network in training."""
    torch.manual_seed(0)
    return Learner.of(get_model(modelname, 5), "superdiagnostic", Recipe(amp=amp), CPU)


def plain_learner_of(modelname: str) -> Learner:
    """The same with the network as it is written, in the layout that torch gives it: what one would
    train with.
    """
    learner = learner_of(modelname)
    return replace(learner, module=learner.model)


class PerItem(torch.utils.data.Dataset):
    """The usual data set: one record and one random crop per item."""

    def __init__(self, data: TrainingSet):
        self.signals, self.targets, self.crop = (
            data.signals.numpy(),
            data.targets.numpy(),
            data.crop,
        )

    def __len__(self):
        return len(self.signals)

    def __getitem__(self, row):
        start = np.random.randint(self.signals.shape[1] - self.crop + 1)  # noqa: NPY002 (what such data sets do)
        return self.signals[row, start : start + self.crop].T, self.targets[row]


def timed(function) -> float:
    """Wall-clock seconds: workers of a DataLoader are processes of their own."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def loader(n_records: int = 4448, rounds: int = 5) -> dict:
    """LeNet's epoch by crops in one gather against the plain network, a DataLoader with 2 workers
    and per-item crops.
    """
    data, ours, theirs = noise(n_records), learner_of("lenet"), plain_learner_of("lenet")
    batches = torch.utils.data.DataLoader(
        PerItem(data), batch_size=128, shuffle=True, num_workers=2, persistent_workers=True
    )
    ours.train_mode()
    theirs.train_mode()

    def loaded_epoch():
        for x, y in batches:
            theirs.step(x.contiguous(), y, len(x))

    loaded_epoch()  # the workers start
    train_one_epoch(ours, data, 0)
    pairs = [
        (timed(lambda number=number: train_one_epoch(ours, data, number)), timed(loaded_epoch))
        for number in range(rounds)
    ]
    return {
        "n_records": n_records,
        "gather_s": np.median([pair[0] for pair in pairs]),
        "loader_s": np.median([pair[1] for pair in pairs]),
        "ratio": np.median([their / our for our, their in pairs]),
    }


def bare(
    modelname: str = "xresnet", n_records: int = 512, rounds: int = 5, amp: str | None = None
) -> dict:
    """An epoch against as many forward + backward passes of the plain network over one fixed batch,
    without an optimiser.
    """
    data, learner, plain = noise(n_records), learner_of(modelname, amp), plain_learner_of(modelname)
    learner.train_mode()
    plain.train_mode()
    x, y = data.gather(*data.batches(128, 0, 0)[0])
    n_batches = n_records // 128

    def passes():
        for _ in range(n_batches):
            plain.optimizer.zero_grad(set_to_none=True)
            (plain.loss(plain.module(x), y) / y.numel()).backward()

    passes()
    train_one_epoch(learner, data, 0)
    pairs = [
        (timed(lambda number=number: train_one_epoch(learner, data, number)), timed(passes))
        for number in range(rounds)
    ]
    return {
        "n_records": n_records,
        "epoch_s": np.median([pair[0] for pair in pairs]),
        "bare_s": np.median([pair[1] for pair in pairs]),
        "ratio": np.median([our / their for our, their in pairs]),
    }


def bootstrap(n_records: int = 2203, n_classes: int = 71, n_resamples: int = 1000) -> dict:
    """CPU seconds of all metrics with their intervals, for a test fold of the whole of PTB-XL."""
    rng = np.random.default_rng(0)
    labels = rng.random((n_records, n_classes)) < np.geomspace(0.002, 0.4, n_classes)
    logits = rng.normal(size=labels.shape).astype(np.float32) + labels
    start = time.process_time()
    classification_metrics(
        logits, labels, list(map(str, range(n_classes))), np.arange(n_records), n_resamples
    )
    return {
        "n_records": n_records,
        "n_classes": n_classes,
        "n_resamples": n_resamples,
        "cpu_s": time.process_time() - start,
    }


STEPS = """
import sys, time
sys.path[:0] = [{benchmarks!r}, {code!r}]
import bench_training
learner, data = bench_training.learner_of("lenet"), bench_training.noise(256)
torch = bench_training.torch
torch.set_num_threads(2)
start, epochs = time.perf_counter(), 0
while time.perf_counter() - start < {seconds}:
    bench_training.train_one_epoch(learner, data, epochs)
    epochs += 1
print((time.perf_counter() - start) / epochs)
"""


def epoch_beside(n_others: int, asleep: bool, seconds: float = 8) -> float:
    """Seconds of a LeNet's epoch of 256 records in a process of two threads, beside n_others
    processes that keep a core busy each. Its threads sleep while they wait, as those of the stages,
    or wait as torch has it.
    """
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_others)]
    places = {"benchmarks": str(Path(__file__).parent), "code": str(ROOT / "code")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    environment |= {"OMP_WAIT_POLICY": "PASSIVE"} if asleep else {}
    try:
        done = subprocess.run(
            [sys.executable, "-c", STEPS.format(**places, seconds=seconds)],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
    finally:
        for other in others:
            other.kill()
            other.wait()
    return float(done.stdout)


def waiting(n_rounds: int = 3) -> dict:
    """How much faster threads that sleep while they wait are than as torch has them wait:
    alone, and beside two busy processes. Medians of n_rounds ratios, in turn.
    """
    found = {}
    for name, n_others in (("alone", 0), ("beside", 2)):
        ratios = []
        for _ in range(n_rounds):
            default, ours = (
                epoch_beside(n_others, asleep=False),
                epoch_beside(n_others, asleep=True),
            )
            ratios.append(default / ours)
        found[name] = float(np.median(ratios))
    return {"n_rounds": n_rounds, **found}


def auc(
    data_path: Path,
    output_path: Path,
    modelname: str,
    task: str,
    amp: bool = False,
    seeds=(0, 1, 2),
) -> dict:
    """Macro AUC on fold 10 (windows protocol) of one run per seed; runs that are finished are not
    repeated.
    """
    values, runs = [], {seed: f"{'amp_' * amp}seed{seed}" for seed in seeds}
    for seed, run in runs.items():
        subprocess.run(
            [
                sys.executable,
                ROOT / "code" / "train_model.py",
                "--data_path",
                data_path,
                "--logdir",
                output_path,
                "--modelname",
                modelname,
                "--task",
                task,
                "--seed",
                str(seed),
                "--run_name",
                run,
                *["--amp"] * amp,
                *BARS[modelname, task][1],
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        metrics = json.loads(
            (output_path / f"{modelname}_{task}_{run}" / "metrics.json").read_text()
        )["windows"]
        values.append(metrics["macro_auc"]["value"])
    return {
        "mean": np.mean(values),
        **{f"seed{seed}": value for seed, value in zip(seeds, values, strict=True)},
        "bar": BARS[modelname, task][0],
        "n": metrics["macro_auc"]["n"],
        "classes": metrics["macro_auc"]["n_classes"],
        "of": len(TASKS[task]),
    }


# part -> (its function, what is said of what it found)
TIMINGS = {
    "loader": (
        loader,
        (
            "LeNet epoch, {n_records} records",
            "DataLoader, 2 workers, single crops",
            "{ratio:.2f} times as fast",
        ),
    ),
    "bare": (
        bare,
        (
            "XResNet epoch, {n_records} records",
            "bare forward + backward",
            "{ratio:.2f} times as long",
        ),
    ),
    "bf16": (
        lambda: bare(amp="bf16"),
        (
            "XResNet epoch with --amp, {n_records} records",
            "bare forward + backward",
            "{ratio:.2f} times as long",
        ),
    ),
    "bootstrap": (
        bootstrap,
        (
            "metrics, {n_records} records x {n_classes} classes",
            "{n_resamples} resamples",
            "{cpu_s:.1f} s",
        ),
    ),
    "waiting": (
        waiting,
        (
            "LeNet epoch, 2 threads that sleep while they wait, {n_rounds} rounds",
            "as torch has them wait",
            "{alone:.2f} times as fast alone, {beside:.1f} times beside two busy processes",
        ),
    ),
}


def preprocessed(ptbxl: Path, folder: Path) -> Path:
    """The data set that the runs read: `folder`, preprocessed from `ptbxl` where that
    was not done.
    """
    subprocess.run(
        [
            sys.executable,
            ROOT / "code" / "preprocessing.py",
            "--data_path",
            ptbxl,
            "--output_path",
            folder,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


def main():
    """Print what was asked for, one line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="+", choices=(*TIMINGS, "auc"))
    parser.add_argument("--ptbxl", type=Path)
    parser.add_argument(
        "--output_path", type=Path, default=Path(tempfile.gettempdir()) / "xai4ecg_bench_training"
    )
    parser.add_argument("--amp", action="store_true", help="train in bf16 for auc")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for what in args.what:
        if what != "auc":
            function, saying = TIMINGS[what]
            found = function()
            print_result(*(part.format(**found) for part in saying))
            continue
        data = preprocessed(args.ptbxl, args.output_path / "data")
        for key, (bar, _) in BARS.items():
            found = auc(data, args.output_path, *key, args.amp)
            print_result(
                f"macro AUC of {' '.join(key)}{' --amp' * args.amp}, {found['n']:.0f} records",
                f"bar {bar}",
                f"{found['mean']:.4f}, mean of 3 seeds; {found['classes']:.0f} of {found['of']} "
                "classes",
            )


if __name__ == "__main__":
    main()
