"""8. Counterfactuals: the smallest physiological change of an ECG that turns a network's decision.

Reads:   the checkpoint (--model_path) and <data_path>/raw<Hz>.pkl, ptbxl_database_enriched.csv,
         multihot_<task>.npy
Writes:  <output_path>/<run>/counterfactual/ counterfactuals.csv (one row per record and
         pathology), edits.csv (one row per edit, with the dose that our own measurement finds),
         alone.csv (edits that suffice by themselves), groups.csv and card.csv (what turns a group,
         held against the textbook), concepts.csv and concept_answers.csv (concepts switched by
         waves alone, beside what TCAV says), signals_<pathology>.npz (edited records), figures,
         quality.csv

Example: python code/counterfactuals.py --model_path=output/lenet_subdiagnostic

Decisions go either way: a pathology that the network finds is removed, one that it does not find
is added (--strategy false_negatives). That no change within what hearts show turns the decision is
an answer too. An interrupted run goes on where it stopped when the same command is given again.
"""

import argparse
import shutil
import sys
from pathlib import Path

from common.cli import (
    EXPLAINING,
    StageParser,
    count,
    positive_int,
    run,
    say_left_out,
    say_results,
    select_device,
    stage_parser,
)
from common.files import UserError, read_csv, read_npz, sha256, write_csv, write_figure
from common.labels import is_regression
from common.stage import Stage
from counterfactual import concept_job, groups
from counterfactual import job as counterfactual_job
from counterfactual.edits import limits_of
from counterfactual.job import Job
from counterfactual.switching import RECIPES, check_recipes
from glocal.scorecard import CARDS, cards_for
from utils import (
    STRATEGIES,
    TABLE,
    check_against,
    choose_targets,
    content_hash,
    find_checkpoint,
    load_dataset_for,
    load_model,
    settle,
    strategies_in_words,
    write_flag_counts,
)

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
    "add_concept",
    "remove_concept",
)


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        *EXPLAINING,
        "pathologies",
        "strategy",
        "window",
        pathologies={
            "help": "labels of the model whose decision is to be turned (default: NORM, "
            "LVH, CLBBB, IMI, AMI as far as it knows them, else all)"
        },
        strategy={
            "choices": tuple(STRATEGIES),
            "default": "true_positives",
            "help": strategies_in_words(),
        },
    )
    parser.add_list_argument(
        "--ecg_ids",
        item=int,
        default=None,
        metavar="ID",
        help="these records instead of a strategy (default: --strategy chooses)",
    )
    parser.add_argument(
        "--n_samples",
        type=positive_int,
        default=100,
        help="at most so many records per pathology, the surest first",
    )
    parser.add_argument(
        "--max_edits",
        type=positive_int,
        default=6,
        help="changes that are combined at most; fewer are tried first",
    )
    parser.add_argument(
        "--cards",
        default="auto",
        help=f"what the chosen edits are held against: {', '.join(CARDS)} (auto: a simulated "
        "cohort's planted cells where there are such, else the textbook's) or a csv of your own "
        "with the columns label, lead, segment and, if wanted, sign",
    )
    for direction, what in (("add", "on"), ("remove", "off")):
        parser.add_list_argument(
            f"--{direction}_concept",
            default=[],
            metavar="CONCEPT",
            help=f"switch these concepts {what} by waves alone and see how far each logit follows, "
            f"beside TCAV's answer: {', '.join(RECIPES)} (default: none)",
        )
    parser.add_argument(
        "--max_figures", type=count, default=20, help="figures of records at most (0: none)"
    )
    return parser


def prepare(args: argparse.Namespace, model: object, folder: Path) -> Job:
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
    stage.clear("*.npz", "*.png", "*.pdf", "*.csv")
    shutil.rmtree(stage.folder / ".parts", ignore_errors=True)


def switch_concepts(args: argparse.Namespace, job: Job, run_folder: Path) -> list[Path]:
    """Switch the concepts asked for; the written paths."""
    asked = {"add": args.add_concept, "remove": args.remove_concept}
    wanted, left_out = concept_job.switches(job.data, asked, args.n_samples, args.seed)
    say_left_out(left_out)
    if not wanted:
        return []
    concept_job.compute(job, wanted)
    scores = run_folder / "tcav" / "scores.csv"
    tcav = read_csv(scores) if scores.is_file() else None
    return concept_job.assemble(job, wanted, tcav)


def finish(args: argparse.Namespace, job: Job, stage: Stage, switched: list[Path]) -> None:
    """Tables, figures, one line of summary per pathology."""
    from counterfactual import figures  # what draws is loaded when all is computed

    tables = counterfactual_job.assemble(job)
    patients = dict(zip(job.data.ecg_id, job.data.patient_id, strict=True))
    grouped = groups.group_table(**tables_of(tables), patients=patients, seed=args.seed)
    cards = cards_for(args.cards, job.data.path, job.model.info)
    held = groups.card_table(
        tables["counterfactuals"], tables["edits"], cards, patients, seed=args.seed
    )
    write_csv(job.folder / "groups.csv", grouped.round(4))
    write_csv(job.folder / "card.csv", held.round(4))
    signals = {one.name: read_npz(job.signals_path(one))["signals"] for one in job.targets}
    drawn = figures.draw(job, tables, signals, args.max_figures)
    if len(grouped):
        drawn += write_figure(figures.group_figure(grouped), job.folder / "groups", figures.FORMATS)
    names = ("counterfactuals", "edits", "alone", "groups", "card")
    written = [job.folder / f"{name}.csv" for name in names]
    written += [*switched, *(job.signals_path(target) for target in job.targets)]
    flags = {one.name: job.data.ecg_id[one.rows] for one in job.targets}
    written.append(write_flag_counts(job.folder, job.data.table, flags))
    for line in held.itertuples():
        turned = round(line.turned * line.n_records)
        print(f"{line.pathology}: {turned} of {line.n_records} decisions turned ({line.direction})")
    counts = {target.name: len(target.rows) for target in job.targets}
    inputs = [find_checkpoint(args.model_path), job.data.path / TABLE]
    stage.finish(inputs=inputs, outputs=[*written, *drawn], counts=counts)
    counterfactual_job.remove_parts(job)
    say_results(job.folder, [*written, *drawn], FIRST)


def tables_of(tables: dict) -> dict:
    """The job's tables by the names that groups.group_table gives them."""
    return {
        "records": tables["counterfactuals"],
        "edits": tables["edits"],
        "alone": tables["alone"],
    }


def main(args: argparse.Namespace) -> None:
    """Choose records, search, write tables and figures."""
    device = select_device(args)
    model = load_model(args.model_path, device)
    check_against(args, model.info)
    if is_regression(model.info.task):
        raise UserError(
            f"the model predicts amplitudes ({model.info.task}): it decides nothing that could be "
            "turned; take one of a classification task"
        )
    for name in ("add_concept", "remove_concept"):
        setattr(args, name, check_recipes(getattr(args, name)))
    place = settle(args, model.info, args.model_path)
    folder = place.run / "counterfactual"
    job = prepare(args, model, folder)
    settings = {name: getattr(args, name) for name in SETTINGS}
    settings |= {
        "checkpoint": sha256(find_checkpoint(args.model_path)),
        "data": content_hash(args.data_path, model.info.sampling_rate),
    }
    with Stage(folder, "counterfactual", settings, args.overwrite, place.facts, args.bare) as stage:
        if stage.finished_before():
            return
        if not stage.resumed:
            clear(stage)
        n_records = sum(len(target.rows) for target in job.targets)
        print(f"{n_records} records x pathologies, up to {args.max_edits} changes each")
        sys.stdout.flush()
        counterfactual_job.compute(job)
        finish(args, job, stage, switch_concepts(args, job, place.run))


if __name__ == "__main__":
    run(main, get_args_parser())
