"""3. Global concept analysis (TCAV): which of the cardiologist's concepts are special in the model,
and which has it learnt?

Reads:  <data_path> (raw100.pkl, multihot_<task>.npy, ptbxl_database_enriched.csv) and a checkpoint.
Writes: <output_path>/<modelname>_<task>[_<run_name>]/tcav/: scores.csv, runs.csv, cavs.npz,
        quality.csv (flagged class records), figures, TensorBoard events.

CAVs are fitted on folds 1-8 and class records come from --folds (10), so never from the same
patient unless training folds are asked for, which is said.
Per concept, layer and pathology: score, the share of the class's records whose logit grows along
the CAV, mean over --n_runs draws of random negatives (score_low, score_high: 95 % of the runs);
magnitude, the mean cosine of their gradients with the CAV; p, how rarely a pseudo-concept (the
flags dealt out anew among the patients, --n_null times) reaches the magnitude, two-sided; p_max_t,
corrected over layers and pathologies; p_corrected, over the concepts too. The smallest p_corrected
that can come out is (number of concepts) / (n_null + 1). The score is an effect, not a test:
gradients of one class are nearly the same for all records in upper layers, so random CAVs score
exactly 0 or 1 there in a large part of draws.

A concept can be special in a network that has learnt nothing. --control 20 holds the network, and
those of --seeds trained like it, against untrained ones and ones trained on labels dealt out anew:
`learnt` says learnt, special (in this network, perhaps in any) or neither, of each pair of concept
and pathology, and not asked without --control; p_control and p_control_corrected (max-T over the
pairs) are the test's; p_class is of the pathology: nothing of it is called learnt unless the
networks rank held-out patients by it; control_low, control_high the 95 % band of a cell's magnitude
in untrained networks.
Several processes share these networks: torchrun --nproc_per_node=2 code/tcav_analysis.py ...
(several machines too, where they share the folder).

Example:
    python code/tcav_analysis.py --modeltype=lenet --model_checkpoint_path=path/to/model.ckpt
    --logdir=path/to/output/
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import utils  # isort: skip  # noqa: F401

import argparse

from torch import nn

from tcav.activations import POOLS, layer_names, own_names
from tcav.cav import CAVS, COORDINATES
from tcav.concept_sets import MATCHES
from tcav.controls import MIN_SEEDS
from tcav.questions import ask
from utils import (
    CONCEPTS,
    EXPLAINING,
    StageParser,
    UserError,
    check_against,
    check_names,
    check_seeds,
    count,
    is_main,
    is_regression,
    load_dataset_for,
    load_model,
    path_item,
    positive_int,
    process_group,
    run,
    select_device,
    settle,
    stage_parser,
)

# what chooses, fits, tests and draws new CAVs: nothing to stored ones
OF_NEW_CAVS = (
    "concepts layers relative match min_positives cav pool coordinates window n_runs n_null "
    "test_runs control seeds seed dpi"
)
STORED = "stored CAVs are scored as they are, on activations as they were made from"


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        *EXPLAINING,
        "pathologies",
        "window",
        "control",
        folds={
            "help": "folds that class records come from; CAVs are fitted on 1-8, so records of "
            "these are not held out (1 2 3 4 5 6 7 8 9 10: the paper's protocol)"
        },
        window={
            "help": "windows: activations averaged over windows of the whole record, on which "
            "concepts are judged; centre_crop: those of its middle, as in the paper"
        },
    )
    _concept_options(parser)
    _cav_options(parser)
    _repeat_options(parser)
    _run_options(parser)
    parser.without_effect("with --apply", lambda args: args.apply, OF_NEW_CAVS, STORED)
    parser.without_effect(
        "without --control",
        lambda args: not args.control,
        "seeds",
        "other seeds are held against control networks: add --control 20",
    )
    return parser


def _concept_options(parser):
    """Which concepts, at which layers, against which negatives."""
    parser.add_list_argument(
        "--concepts",
        default=None,
        help="any True/False/blank columns of the enriched table "
        f"(default: those of {', '.join(CONCEPTS)} that have enough records)",
    )
    parser.add_list_argument(
        "--layers",
        default=None,
        help="names as in scores.csv (default: every module of lenet; "
        "stem, each block, pool and head of resnet and xresnet)",
    )
    parser.add_list_argument(
        "--relative",
        default=None,
        metavar="CONCEPT",
        help="two or more concepts, each also tested against the others' records (relative TCAV; "
        "default: none)",
    )
    parser.add_list_argument(
        "--match",
        default=[],
        help="draw negatives of equal label, age (decade), sex: any of "
        f"{', '.join(MATCHES)}; asks whether the concept matters beyond them (default: none)",
    )
    parser.add_argument(
        "--min_positives",
        type=positive_int,
        default=20,
        help="training records a concept needs on either side",
    )


def _cav_options(parser):
    """How concept vectors are fitted and compared."""
    parser.add_argument(
        "--cav",
        choices=tuple(CAVS),
        default="means",
        help="difference of means (seconds), batched logistic "
        "regression (some ten times slower), scikit-learn's SGDClassifier or LinearSVC (slow: "
        "lower --n_null)",
    )
    parser.add_argument(
        "--pool",
        choices=POOLS,
        default="time",
        help="layers as their mean over time (default: beats are not "
        "aligned, so a position in time means nothing), or all values (none; as captum and the "
        "paper)",
    )
    parser.add_argument(
        "--coordinates",
        choices=COORDINATES,
        default=None,
        help="cosines where the training activations are "
        "white (default with --pool time), or in the layer's own coordinates, where few directions "
        "dominate",
    )


def _repeat_options(parser):
    """How often everything is drawn."""
    parser.add_argument(
        "--n_runs",
        type=positive_int,
        default=30,
        help="draws of negatives per concept; spread needs at least 2",
    )
    parser.add_argument(
        "--n_null", type=count, default=1000, help="pseudo-concepts for p; 0: no test"
    )
    parser.add_argument(
        "--test_runs",
        type=positive_int,
        default=10,
        help="draws that the tested magnitude is averaged over, for concepts and pseudo-concepts "
        "alike",
    )
    parser.add_list_argument(
        "--seeds",
        item=path_item,
        default=[],
        metavar="CHECKPOINT",
        help="networks trained like this one with other seeds; nothing can be called learnt from "
        f"fewer than {MIN_SEEDS} networks, this one among them; with --control",
    )


def _run_options(parser):
    """What one run computes."""
    parser.add_argument(
        "--max_memory",
        type=float,
        default=4.0,
        metavar="GB",
        help="for activations and gradients; beyond it, layers are done in several passes over the "
        "records",
    )
    parser.add_argument(
        "--apply",
        default=None,
        metavar="CAVS.NPZ",
        help="no new CAVs: project the records of --folds on stored ones, score their classes -> "
        "tcav_applied/ (default: new CAVs)",
    )


def check(args: argparse.Namespace, model: nn.Module) -> None:
    """UserError for options that contradict the checkpoint or each other."""
    check_against(args, model.info)
    if is_regression(model.info.task):
        raise UserError(
            f"the model predicts amplitudes ({model.info.task}); TCAV needs one of a "
            "classification task"
        )
    check_names("matching", args.match, MATCHES)
    if args.layers:
        args.layers = check_names("layer", own_names(model, args.layers), layer_names(model))
    if args.seeds:
        check_seeds(args.model_path, args.seeds)
    if args.control:
        from utils import check_controls, graph_of

        check_controls(model.info, graph_of(model))


def main(args: argparse.Namespace) -> None:
    """Check what is asked, then answer it."""
    from tcav import study  # what computes and draws is loaded when all is checked

    with process_group(select_device(args)) as device:
        model = load_model(args.model_path, device)
        check(args, model)
        place = settle(args, model.info, args.model_path)
        data = load_dataset_for(model.info, args.data_path, args.limit)
        if not args.apply:
            study.answer(args, model, data, place, ask(args, model, data))
            return
        if is_main():
            study.apply(args, model, data, place)


if __name__ == "__main__":
    run(main, get_args_parser())
