"""8. Counterfactuals: few and small physiological changes of an ECG that turn a network's decision.

Reads:   the checkpoint (--model_path) and <data_path>/raw<Hz>.pkl, ptbxl_database_enriched.csv,
         multihot_<task>.npy
Writes:  <output_path>/<run>/counterfactual/ counterfactuals.csv (one row per record and
         pathology), edits.csv (one row per edit, with the dose that our own measurement finds),
         alone.csv (edits that suffice by themselves), groups.csv and card.csv (what turns a group,
         held against the textbook), concepts.csv and concept_answers.csv (concepts switched by
         waves alone, beside what TCAV says), signals_<pathology>.npz (edited records), figures,
         quality.csv

Example: python code/counterfactuals.py --model_path=output/lenet_subdiagnostic

Decisions go either way: a pathology that the network finds is removed, one that it does not find is
added (--strategy false_negatives). That no change within what the data set shows turns the decision
is an answer too. An interrupted run goes on where it stopped when the same command is given again.
Several processes share the records: torchrun --nproc_per_node=2 code/counterfactuals.py ...
(several machines too, where they share the folder).
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import utils  # isort: skip  # noqa: F401

import argparse

from torch import nn

from counterfactual.recipes import RECIPES, check_recipes
from utils import (
    CARDS,
    COLUMN,
    EXPLAINING,
    STRATEGIES,
    StageParser,
    UserError,
    check_against,
    count,
    is_regression,
    load_model,
    positive_int,
    process_group,
    refuse_more_than_one,
    run,
    select_device,
    settle,
    stage_parser,
    strategies_in_words,
)


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        *EXPLAINING,
        "pathologies",
        "strategy",
        "ecg_ids",
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
    parser.add_argument(
        "--layout",
        default=None,
        choices=("page", COLUMN),
        help="page: all leads (default); column: the four leads that change most, for a journal's "
        "column of 85 mm",
    )
    _idle_options(parser)
    return parser


def _idle_options(parser):
    """What does nothing in some modes."""
    refuse_more_than_one(parser)
    parser.without_effect(
        "with --ecg_ids", lambda args: args.ecg_ids, "strategy folds", "the ids choose"
    )
    parser.without_effect(
        "with --max_figures 0", lambda args: not args.max_figures, "layout", "no record is drawn"
    )


def check(args: argparse.Namespace, model: nn.Module) -> None:
    """UserError for options that contradict the checkpoint, or ask for what no wave can do."""
    check_against(args, model.info)
    if is_regression(model.info.task):
        raise UserError(
            f"the model predicts amplitudes ({model.info.task}): it decides nothing that could be "
            "turned; take one of a classification task"
        )
    for name in ("add_concept", "remove_concept"):
        setattr(args, name, check_recipes(getattr(args, name)))


def main(args: argparse.Namespace) -> None:
    """Check what is asked, then answer it."""
    from counterfactual import study  # what computes and draws is loaded when all is checked

    with process_group(select_device(args)) as device:
        model = load_model(args.model_path, device)
        check(args, model)
        study.answer(args, model, settle(args, model.info, args.model_path))


if __name__ == "__main__":
    run(main, get_args_parser())
