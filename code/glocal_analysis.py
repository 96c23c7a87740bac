"""5. Glocal analysis: where the maps of a whole patient group lie, by beat and by lead x segment,
against the textbook.

Reads:   <data_path>/raw<Hz>.pkl, ptbxl_database_enriched.csv, multihot_<task>.npy,
         ptbxl_segmentations/ where present (else segments from our own fiducials), a checkpoint
Writes:  <output_path>/<modelname>_<task>[_<run_name>]/glocal/: segments.csv, beats.csv, groups.csv,
         records.csv, quality.csv, scorecard.csv, rules.csv, contrast.csv; figures groups_<method>,
         cells_<method>_<pathology>, contrast_..., scorecard (png and pdf)

Example: python code/glocal_analysis.py --model_path=output/lenet_subdiagnostic
--output_path=output/

Groups are the --n_samples records of highest logit among the true positives of --folds.
`--strategy all --folds 1 2 3 4 5 6 7 8 9 10` is the paper's choice. With few records per fold,
--cross_fit takes one checkpoint per test fold and explains every record by the model that has not
seen it. Two controls are always computed: random, and input_magnitude (what is only amplitude).
Several processes share records and control networks: torchrun --nproc_per_node=2
code/glocal_analysis.py ... (several machines too, where they share the folder).
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import utils  # isort: skip  # noqa: F401

import argparse

import torch
from torch import nn

from common.labels import COLUMN
from common.words import CONTROLS
from glocal.groups import check_cross_fit
from utils import (
    CARDS,
    EXPLAINING,
    STRATEGIES,
    StageParser,
    UserError,
    check_against,
    check_methods,
    check_names,
    choose_pathologies,
    count,
    is_regression,
    load_model,
    methods_in_words,
    path_item,
    positive_int,
    process_group,
    refuse_more_than_one,
    run,
    say_left_out,
    select_device,
    settle,
    stage_parser,
    strategies_in_words,
    workable,
)


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        *EXPLAINING,
        "pathologies",
        "methods",
        "strategy",
        "window",
        "control",
        methods={
            "default": ["saliency"],
            "help": f"{methods_in_words()} (default: saliency, the paper's and the cheapest; "
            "on one simulated cohort occlusion found most of the planted causes)",
        },
        strategy={
            "choices": tuple(STRATEGIES),
            "default": "true_positives",
            "help": f"records of a group, highest logit first; {strategies_in_words()}",
        },
        control={
            "help": "score the maps of K untrained networks and of K trained on permuted labels "
            "too (kept in controls/ beside the run's folder): p_control in scorecard.csv; 20 or "
            "more, 0: none"
        },
    )
    _group_options(parser)
    _statistics_options(parser)
    refuse_more_than_one(parser)
    parser.without_effect(
        "with --cross_fit",
        lambda args: args.cross_fit,
        "model_path folds control",
        "it names one checkpoint for each test fold, which control networks do not have",
    )
    return parser


def _group_options(parser):
    """Which groups there are, and what is compared."""
    parser.add_argument(
        "--n_samples", type=positive_int, default=100, help="records per group at most"
    )
    parser.add_list_argument(
        "--cross_fit",
        item=path_item,
        default=None,
        metavar="CHECKPOINT",
        help="one checkpoint per test fold, in place of --model_path and --folds (default: none); "
        "results go to <modelname>_<task>_cross_fit (or _<run_name>)",
    )
    parser.add_list_argument(
        "--contrast",
        default=[],
        metavar="LABEL",
        help="pairs of groups whose maps are compared, both explained for the first one's label, "
        "e.g. LVH NORM (tests that the mean relative density of a cell is the same: Welch's t "
        "under permutation over patients, Holm over the cells; default: none)",
    )
    parser.add_argument(
        "--cards",
        metavar="CARDS",
        default="auto",
        help=f"cells that the scorecard holds maps against: {', '.join(CARDS)} (default auto: a "
        "simulated cohort's planted cells where there are such, else the textbook's) or a csv of "
        "your own with the columns label, lead, segment and, if wanted, sign",
    )


def _statistics_options(parser):
    """How groups are drawn and judged."""
    parser.add_argument(
        "--n_jitters",
        type=count,
        default=20,
        help="times that the waves' boundaries are moved by what they are uncertain by, to see "
        "which cells keep their ranks (rank_stability; 0: not asked)",
    )
    parser.add_argument(
        "--norm_heat",
        action="store_true",
        help="draw NORM with heat too (without, it is the control)",
    )
    parser.add_argument(
        "--layout",
        default=None,
        choices=("page", COLUMN),
        help="page: all groups side by side (default); column: a figure for each group and the "
        "scorecard, for a journal's column of 85 mm",
    )
    parser.add_argument(
        "--n_bootstrap",
        type=positive_int,
        default=1000,
        help="resamples of patients behind the intervals",
    )
    parser.add_argument(
        "--n_permutations",
        type=positive_int,
        default=10_000,
        help="of lead names (scorecard) and of patients (contrast; Holm over 288 cells needs above "
        "5,760)",
    )


# ---------------------------------------------------------------- what can be wrong with them


def load_models(args: argparse.Namespace, device: torch.device) -> list[nn.Module]:
    """The model, or one per test fold; UserError where they cannot make groups (together)."""
    models = [load_model(path, device) for path in args.cross_fit or [args.model_path]]
    # under cross-fitting --run_name names this run, not the checkpoints
    checked = argparse.Namespace(**{**vars(args), "run_name": None}) if args.cross_fit else args
    for model in models:
        check_against(checked, model.info)
    info = models[0].info
    if is_regression(info.task):
        raise UserError(
            f"the model predicts amplitudes ({info.task}); glocal groups need one of a "
            "classification task"
        )
    check_cross_fit([model.info for model in models])
    return models


def names_of(
    args: argparse.Namespace, model: nn.Module
) -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Pathologies of the figures, pairs to contrast, methods (those that the network is beyond are
    named and left out).
    """
    info = model.info
    pathologies = choose_pathologies(args.pathologies, info)
    contrasted = check_names("pathology", args.contrast, info.labels)
    if len(contrasted) % 2:
        raise UserError(
            f"--contrast takes pairs of groups, got {len(contrasted)}: {', '.join(contrasted)}"
        )
    pairs = list(dict.fromkeys(zip(contrasted[::2], contrasted[1::2], strict=True)))
    if any(first == second for first, second in pairs):
        raise UserError("--contrast needs two different groups")
    methods, left_out = workable(check_methods(args.methods), model)
    say_left_out(left_out)
    return (
        list(dict.fromkeys(pathologies)),
        pairs,
        [*(m for m in methods if m not in CONTROLS), *CONTROLS],
    )


def check_control(args: argparse.Namespace, model: nn.Module) -> None:
    """UserError where --control networks cannot be made."""
    if args.control:
        from utils import check_controls, graph_of  # what trains is loaded where it is asked for

        check_controls(model.info, graph_of(model))


def main(args: argparse.Namespace) -> None:
    """Check what is asked, then answer it."""
    from glocal import study  # what computes and draws is loaded when the options are read

    with process_group(select_device(args)) as device:
        models = load_models(args, device)
        question = study.Question(*names_of(args, models[0]))
        checkpoint = study.checkpoints_of(args)[0]
        check_control(args, models[0])
        study.answer(args, models, settle(args, models[0].info, checkpoint), question)


if __name__ == "__main__":
    run(main, get_args_parser())
