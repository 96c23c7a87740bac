"""What a local analysis will explain: targets, records, and what that costs."""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch

from attribution.methods import explain, get_method, options_taken, split_name
from attribution.selection import STRATEGIES, select, select_pathology
from common.cli import check_names
from common.files import UserError
from common.labels import OWN_TASK, is_regression
from networks.checkpoints import ModelInfo
from networks.distributed import shared_predict
from networks.inference import starts_of
from records.dataset import Dataset

PAPER_PATHOLOGIES = ("NORM", "LVH", "CLBBB", "IMI", "AMI")
REGRESSION_STRATEGIES = ("single_best", "best_n", "all")  # amplitudes are neither true nor false


@dataclass(frozen=True)
class Target:
    """One output of the model and the rows of the data set that are explained for it, the most
    important first.
    """

    name: str
    index: int
    rows: np.ndarray
    logit: np.ndarray  # (n,) of the rows


def target_names(asked: list[str] | None, info: ModelInfo) -> list[str]:
    """The outputs to explain: those asked for, else the paper's that the model knows, else all
    (leads of a regression, classes of one's own).
    """
    if asked:
        kind = (
            "lead (the targets of an amplitude model)" if is_regression(info.task) else "pathology"
        )
        return list(dict.fromkeys(check_names(kind, asked, info.labels)))
    papers = [name for name in PAPER_PATHOLOGIES if name in info.labels]
    return list(info.labels) if info.task == OWN_TASK or not papers else papers


def choose_targets(
    args: argparse.Namespace, info: ModelInfo, data: Dataset, model: torch.nn.Module
) -> tuple[list[Target], list[str]]:
    """Targets with their records, and the names of those left out because no record fits (an error
    if they were asked for).
    """
    names = target_names(args.pathologies, info)
    if is_regression(info.task) and args.strategy not in REGRESSION_STRATEGIES and not args.ecg_ids:
        raise UserError(
            f"strategy {args.strategy} needs labels, an amplitude model has none: "
            f"accepted are {', '.join(REGRESSION_STRATEGIES)}"
        )
    logits = shared_predict(model, data.signals, args.window)
    targets, empty = [], []
    for name in names:
        column = info.index(name)
        try:
            rows = _rows(args, name, column, data, logits, info)
        except UserError:
            if args.pathologies or args.ecg_ids:
                raise
            empty.append(name)
            continue
        targets.append(Target(name, column, rows, logits[rows, column]))
    if not targets:
        raise UserError(
            f"strategy {args.strategy} finds no record for any of {', '.join(names)}: "
            f"other strategies are {', '.join(STRATEGIES)}"
        )
    return targets, empty


def _rows(args, name, column, data, logits, info):
    if args.ecg_ids:
        return data.positions(args.ecg_ids)
    n_samples = args.n_samples if args.n_samples or args.strategy != "best_n" else 10
    if is_regression(info.task):
        rows = select(
            args.strategy, data.labelled, np.ones(len(data), bool), logits[:, column], n_samples
        )
        if not len(rows):
            raise UserError(f"no record with all amplitudes for strategy {args.strategy}")
        return rows
    return select_pathology(args.strategy, name, data, logits, info, n_samples)


def method_options(args: argparse.Namespace, method: str) -> dict:
    """The options of the command line that one method takes."""
    return options_taken(
        method,
        layer=args.layer,
        seed=args.seed,
        steps=args.steps,
        max_steps=max(args.steps, args.max_steps),
    )


def passes_of(args: argparse.Namespace, method: str) -> float:
    """Forward and backward passes per window, about; Integrated Gradients need no fewer than its
    first number of steps.
    """
    usual = get_method(method).passes
    doubling = split_name(method)[0] == "ig"
    return min(max(usual, args.steps), most_steps(args)) if doubling else usual


def most_steps(args: argparse.Namespace) -> int:
    """Passes of Integrated Gradients that double their steps up to the cap."""
    tried = [args.steps]
    while tried[-1] < args.max_steps:
        tried.append(min(2 * tried[-1], args.max_steps))
    return sum(tried)


def cost(
    model: torch.nn.Module, args: argparse.Namespace, n_records: int, n_samples: int, world: int = 1
) -> str:
    """A sentence on what a run will cost; one pass over a few windows is timed for it."""
    info, methods = model.info, args.methods
    windows = len(starts_of(n_samples, info.crop, args.window))
    passes = sum(passes_of(args, method) for method in methods) * windows * n_records
    x = torch.zeros(32, len(info.leads), info.crop, device=next(model.parameters()).device)
    explain(model, x, 0)  # first calls are slower
    start = time.perf_counter()
    explain(model, x, 0)
    minutes = passes * (time.perf_counter() - start) / len(x) / 60 / world
    duration = f"{minutes:.1f} min" if minutes >= 1 else f"{max(60 * minutes, 1):.0f} s"
    note = (
        f" (ig: {args.steps:,} to {most_steps(args):,} a window, as its gap asks)"
        if "ig" in methods
        else ""
    )
    return (
        f"{n_records} records x targets, {len(methods)} methods, {windows} windows each: about "
        f"{passes:,.0f} passes forward "
        f"and back{note}, {duration} on this machine"
        + (f" with {world} processes" if world > 1 else "")
    )
