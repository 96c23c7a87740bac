"""A run of the counterfactual stage from what is asked to its tables and figures."""

import argparse
import contextlib
import shutil
import sys
from pathlib import Path

from torch import nn

from attribution.cards import Card, cards_for, own_cards
from attribution.plan import choose_targets
from common.cli import say_left_out, say_results
from common.figure_files import SHOWN, write_figure
from common.files import read_csv, read_npz, sha256, write_csv
from common.labels import COLUMN
from common.stage import Stage
from counterfactual import concept_job, groups
from counterfactual.edits import limits_of
from counterfactual.job import ALONE, EDITS_MADE, RECORDS, Job, assemble, compute, remove_parts
from networks import distributed
from networks.checkpoints import find_checkpoint
from networks.defaults import Place
from networks.inference import load_dataset_for
from records.dataset import TABLE, content_hash
from records.quality import write_flag_counts

FIRST = {
    "*_*.png": "a record before and after, what was changed in mV",
    "groups.png": "which changes turn most records",
    "counterfactuals.csv": "a sentence for every record",
}
SETTINGS = (
    "pathologies",
    "strategy",
    "ecg_ids",
    "n_samples",
    "window",
    "max_edits",
    "cards",
    "folds",
    "limit",
    "seed",
    "max_figures",
    "layout",
    "dpi",
    "add_concept",
    "remove_concept",
)


def answer(args: argparse.Namespace, model: nn.Module, place: Place) -> None:
    """Choose records, search in all processes, write tables and figures in the main one."""
    folder = place.run / "counterfactual"
    job = prepare(args, model, folder)
    # what is wrong with cards or flags is said now
    cards = cards_for(args.cards, job.data.path, model.info)
    wanted = concepts_to_switch(args, job)
    settings = {name: getattr(args, name) for name in SETTINGS}
    settings |= {
        "checkpoint": sha256(find_checkpoint(args.model_path)),
        "data": content_hash(args.data_path, model.info.sampling_rate),
        **({"own_cards": sha256(args.cards)} if own_cards(args.cards) else {}),
    }
    of_stage = (folder, "counterfactual", settings, args.overwrite, place.facts, args.bare)
    with contextlib.ExitStack() as stack:
        stage = distributed.on_main(lambda: stack.enter_context(Stage(*of_stage)))
        if distributed.from_main(lambda: stage.finished_before()):
            return
        distributed.from_main(lambda: clear(stage) if not stage.resumed else None)
        n_records = sum(len(target.rows) for target in job.targets)
        print(f"{n_records} records x pathologies, up to {args.max_edits} changes each")
        sys.stdout.flush()
        compute(job)
        if wanted:
            concept_job.compute(job, wanted)
        if distributed.is_main():
            finish(args, job, stage, wanted, cards)


def prepare(args: argparse.Namespace, model: nn.Module, folder: Path) -> Job:
    """The records, what hearts show, and whose decision is to be turned."""
    whole = load_dataset_for(model.info, args.data_path, args.limit)
    limits = limits_of(whole.table)
    data = whole if args.ecg_ids else whole.in_folds(args.folds)
    targets, empty = choose_targets(args, model.info, data, model)
    if empty:
        print(f"no record for {', '.join(empty)}: left out (strategy {args.strategy})")
    return Job(model, data, targets, limits, args.window, args.max_edits, args.seed, folder)


def clear(stage: Stage) -> None:
    """Remove what an earlier run with other settings left."""
    stage.clear(*SHOWN, "*.npz")
    shutil.rmtree(stage.folder / ".parts", ignore_errors=True)


def concepts_to_switch(args: argparse.Namespace, job: Job) -> list[concept_job.Switch]:
    """The concepts asked for that have records to be switched in; the others are named."""
    asked = {"add": args.add_concept, "remove": args.remove_concept}
    wanted, left_out = concept_job.switches(job.data, asked, args.n_samples, args.seed)
    say_left_out(left_out)
    return wanted


def scores_beside(folder: Path, wanted: list[concept_job.Switch]) -> list[Path]:
    """TCAV's table of the same run, which switched concepts are held against, where there is one
    (and a concept).
    """
    scores = folder.parent / "tcav" / "scores.csv"
    return [scores] if wanted and scores.is_file() else []


def finish(
    args: argparse.Namespace,
    job: Job,
    stage: Stage,
    wanted: list[concept_job.Switch],
    cards: dict[str, Card],
) -> None:
    """Tables, figures, one line of summary per pathology."""
    from counterfactual import figures  # what draws is loaded when all is computed

    beside = scores_beside(job.folder, wanted)
    tcav = read_csv(beside[0]) if beside else None
    switched = concept_job.assemble(job, wanted, tcav) if wanted else []
    tables = assemble(job)
    patients = dict(zip(job.data.ecg_id, job.data.patient_id, strict=True))
    records, edits, alone = (tables[name] for name in (RECORDS, EDITS_MADE, ALONE))
    grouped = groups.group_table(records, edits, alone, patients, args.seed)
    held = groups.card_table(records, edits, cards, patients, seed=args.seed)
    write_csv(job.folder / "groups.csv", grouped.round(4))
    write_csv(job.folder / "card.csv", held.round(4))
    signals = {one.name: read_npz(job.signals_path(one))["signals"] for one in job.targets}
    drawn = figures.draw(job, tables, signals, args.max_figures, args.layout == COLUMN)
    if len(grouped):
        drawn += write_figure(figures.group_figure(grouped), job.folder / "groups")
    names = (RECORDS, EDITS_MADE, ALONE, "groups", "card")
    written = [job.folder / f"{name}.csv" for name in names]
    written += [*switched, *(job.signals_path(target) for target in job.targets)]
    flags = {one.name: job.data.ecg_id[one.rows] for one in job.targets}
    written.append(write_flag_counts(job.folder, job.data.table, flags))
    for line in held.itertuples():
        turned = round(line.turned * line.n_records)
        print(f"{line.pathology}: {turned} of {line.n_records} decisions turned ({line.direction})")
    doubtful = edits.loc[~edits["found_again"], "ecg_id"].unique()
    if len(doubtful):
        print(
            "the edited ECG, measured anew, does not show all changes (found_again in "
            f"{EDITS_MADE}.csv) of ECG {', '.join(map(str, doubtful))}"
        )
    counts = {target.name: len(target.rows) for target in job.targets}
    inputs = [find_checkpoint(args.model_path), job.data.path / TABLE, *own_cards(args.cards)]
    inputs += beside
    stage.finish(inputs=inputs, outputs=[*written, *drawn], counts=counts)
    remove_parts(job)
    say_results(job.folder, [*written, *drawn], FIRST)
