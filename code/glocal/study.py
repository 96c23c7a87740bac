"""A run of the glocal stage from what is asked to its tables and figures."""

import argparse
import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
from torch import nn

from attribution.cards import Card, cards_for, own_cards
from common.cli import say_results
from common.figure_files import SHOWN
from common.files import sha256
from common.stage import Stage
from glocal import tables
from glocal.controls import control_lifts
from glocal.groups import (
    Asked,
    Group,
    fill_groups,
    load_pool,
    make_groups,
    seen_folds,
    twin_of,
)
from glocal.job import Job, Question
from networks.checkpoints import ModelInfo, find_checkpoint
from networks.controls import controls_for
from networks.defaults import Place
from networks.distributed import from_main, is_main, on_main
from networks.inference import load_dataset_for
from records.dataset import TABLE, content_hash
from records.quality import write_flag_counts
from records.segmentations import stored_segmentations

FIRST = {
    "groups_*.png": "what each group's records have in common, by beat and by cell",
    "scorecard.png": "how far the maps agree with the textbook",
    "segments.csv": "every cell's share and rank",
}


def answer(
    args: argparse.Namespace, models: list[nn.Module], place: Place, question: Question
) -> None:
    """Gather the groups, map them in all processes, write and draw in the main one; a finished run
    says so.
    """
    info = models[0].info
    job = gather(args, models, question)
    say_limits(args, info, job.cards)
    folder = folder_of(args, info, place)
    settings = settings_of(args, info, question)
    of_stage = (folder, "glocal", settings, args.overwrite, place.facts, args.bare)
    with contextlib.ExitStack() as stack:
        stage = on_main(lambda: stack.enter_context(Stage(*of_stage)))
        if from_main(lambda: stage.finished_before()):
            return
        from_main(lambda: stage.clear(*SHOWN))
        twins = explain(args, job)
        lifts = lifts_of_controls(args, job, place) if args.control else None
        if is_main():
            finish(args, stage, job, twins, lifts)


def gather(args: argparse.Namespace, models: list[nn.Module], question: Question) -> Job:
    """The records of every group, and the cards; nothing is explained yet."""
    info = models[0].info
    data = load_dataset_for(info, args.data_path, args.limit)
    cards = cards_for(args.cards, data.path, info)
    folds = None if args.cross_fit else args.folds
    pool = load_pool(models, data, folds, args.window, progress=True)
    chosen = (args.strategy, args.n_samples, args.window)
    groups = make_groups(pool, question.pathologies, question.pairs, *chosen)
    return Job(question, data, pool, groups, cards)


def say_limits(args: argparse.Namespace, info: ModelInfo, cards: dict[str, Card]) -> None:
    """What the results cannot say."""
    seen = [] if args.cross_fit else seen_folds(info, args.folds)
    if seen:
        print(
            f"note: the model was trained or chosen on fold {', '.join(map(str, seen))}: "
            "explanations there are not held out",
            file=sys.stderr,
        )
    if not cards:
        print(
            f"note: no card for any of {', '.join(info.labels)}: no scorecard; --cards takes a csv "
            "of your own",
            file=sys.stderr,
        )


def folder_of(args: argparse.Namespace, info: ModelInfo, place: Place) -> Path:
    """Where results go: with --cross_fit into a run of its own."""
    if not args.cross_fit:
        return place.run / "glocal"
    named = replace(info, run_name=args.run_name or "cross_fit")
    return place.run.with_name(named.run_folder_name) / "glocal"


def checkpoints_of(args: argparse.Namespace) -> list[Path]:
    """Files of the networks that explain: one, or one for each test fold."""
    return [find_checkpoint(path) for path in args.cross_fit or [args.model_path]]


def settings_of(args: argparse.Namespace, info: ModelInfo, question: Question) -> dict:
    """What the results depend on."""
    names = (
        "strategy",
        "n_samples",
        "window",
        "contrast",
        "cards",
        "norm_heat",
        "n_bootstrap",
        "n_permutations",
        "n_jitters",
        "seed",
        "limit",
        "dpi",
    )
    return {
        "pathologies": question.pathologies,
        "methods": question.methods,
        "data": content_hash(args.data_path, info.sampling_rate),
        **stored_segmentations(args.data_path),
        "checkpoints": [sha256(path) for path in checkpoints_of(args)],
        "folds": None if args.cross_fit else args.folds,
        **{name: getattr(args, name) for name in names},
        **({"control": args.control} if args.control else {}),
        **({"layout": args.layout} if args.layout else {}),
        **({"own_cards": sha256(args.cards)} if own_cards(args.cards) else {}),
    }


def explain(args: argparse.Namespace, job: Job) -> list[tuple[Group, Group]]:
    """Map all groups; the pairs that are contrasted, the second of each explained for the first
    one's label.
    """
    pairs = [(job.groups[first], job.groups[second]) for first, second in job.question.pairs]
    twins = [(first, twin_of(second)) for first, second in pairs]
    asked = [Asked(group, args.n_jitters) for group in job.groups.values()]
    asked += [Asked(twin, target=first.pathology) for first, twin in twins]
    fill_groups(asked, job.pool, job.question.methods, args.seed, progress=True)
    return twins


def lifts_of_controls(args: argparse.Namespace, job: Job, place: Place) -> pd.DataFrame:
    """What control networks reach on the own cards."""
    model = job.pool.models[0]
    device = next(model.parameters()).device
    made = controls_for(args, model, job.data, place.run, device)
    methods = job.question.methods
    return control_lifts(job.shown, job.pool, methods, job.cards, made, device, args.seed)


def finish(
    args: argparse.Namespace,
    stage: Stage,
    job: Job,
    twins: list[tuple[Group, Group]],
    lifts: pd.DataFrame | None,
) -> None:
    """Write the tables, draw them, close the stage."""
    from glocal import figures  # what draws is loaded when all is computed

    folder, groups = stage.folder, job.groups
    found = tables.write_tables(folder, args, job, twins, lifts)
    paths = [folder / f"{name}.csv" for name in found]
    paths += figures.draw_all(folder, args, job, found)
    explained = {name: group.data.ecg_id for name, group in groups.items()}
    paths.append(write_flag_counts(folder, job.data.table, explained))
    counts = {name: group.counts for name, group in groups.items()}
    inputs = [*checkpoints_of(args), Path(args.data_path) / TABLE, *own_cards(args.cards)]
    stage.finish(inputs, paths, counts)
    print("; ".join(f"{name}: {number}" for name, number in counts.items()))
    say_results(folder, paths, FIRST)
