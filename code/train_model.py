"""2. Training: train a network on a task, keep the epoch that is best on the validation fold, and
test that one.

Reads:   <data_path>/raw<Hz>.pkl, ptbxl_database_enriched.csv, multihot_<task>.npy (from
         preprocessing.py)
Writes:  <logdir>/<modelname>_<task>[_<run_name>]/ checkpoints/best_model.ckpt and
         model_lastepoch.ckpt, metrics.json, predictions.npz, log.jsonl (a line per epoch), roc.png,
         reliability.png, course.png, tensorboard/

Example: python code/train_model.py --logdir=./output  --modelname=lenet --task=subdiagnostic --gpu

The same command after an interruption goes on where it stopped; after the end it says so. Several
processes: torchrun --nproc_per_node=2 code/train_model.py ... (the batch size is that of all
processes together).
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import common  # isort: skip  # noqa: F401

import argparse

from common.cli import StageParser, check_names, run, say_results, select_device, stage_parser
from common.labels import LEADS
from common.options import fold, fraction, number_up_to, positive_int
from networks import distributed
from networks import run as training_run
from networks.importing import is_code, register_architecture
from networks.models import MODELS
from networks.splits import FOLDS
from networks.training import AMP_TYPES, SCHEDULES

# the last bits of the weights depend on their number: the same on every machine
THREADS = 2
OF_TRAINING = (
    "epochs batch_size lr weight_decay schedule patience amp finetune freeze seed train_folds "
    "val_folds allow_patient_overlap"
)


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        "data_path",
        "output_path",
        "modelname",
        "task",
        "run_name",
        "seed",
        "gpu",
        "device",
        "threads",
        "limit",
        "sampling_rate",
        "dpi",
        "overwrite",
        threads={
            "help": f"CPU threads (default: {THREADS}, or OMP_NUM_THREADS): another number gives "
            "slightly other weights"
        },
        sampling_rate={"default": None, "help": "Hz (default: 100)"},
        modelname={
            "help": f"network to train: {', '.join(MODELS)} or file.py:maker of your own "
            "(default: lenet)"
        },
        data_path={
            "default": None,
            "help": "folder of the data set (default: data/ptbxl; with --test_only the model's "
            "own)",
        },
        output_path={
            "default": None,
            "help": "folder that runs are written to (default: output; with --test_only beside the "
            "model's checkpoint)",
        },
    )
    _data_options(parser)
    _recipe_options(parser)
    _test_options(parser)
    parser.without_effect(  # alone, --test_only may follow the command that has trained the network
        "with --test_only and --model_path",
        lambda args: args.test_only and args.model_path,
        OF_TRAINING,
        "nothing is trained",
    )
    parser.without_effect(
        "without --test_only",
        lambda args: not args.test_only,
        "model_path",
        "a new network is trained; to start from a model's weights use --finetune",
    )
    parser.without_effect(
        "without --finetune",
        lambda args: not args.finetune,
        "freeze",
        "it trains the last layer of an earlier model: name it with --finetune",
    )
    return parser


def _data_options(parser):
    """Which records, leads and lengths."""
    data = parser.add_argument_group("data")
    for split, folds in FOLDS.items():
        name = "val" if split == "validation" else split
        usual = " ".join(map(str, folds))
        parser.add_list_argument(f"--{name}_folds", item=fold, group=data, help=f"default {usual}")
    parser.add_list_argument(
        "--leads",
        group=data,
        help="input leads and their order, e.g. I II V2 (default: all that the data set has)",
    )
    data.add_argument(
        "--crop_seconds",
        type=number_up_to(3600),
        help="length of the network's input (default 2.5)",
    )
    data.add_argument(
        "--keep_unlabelled",
        action="store_true",
        help="keep records without a label of the task, as all-negative",
    )
    data.add_argument(
        "--allow_patient_overlap",
        action="store_true",
        help="go on where a patient is in more than one split",
    )


def _recipe_options(parser):
    """How the weights are found."""
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument(
        "--epochs",
        type=positive_int,
        default=100,
        help="passes over the training records; the best one on the validation folds is kept",
    )
    recipe.add_argument(
        "--batch_size",
        type=positive_int,
        default=128,
        help="records per step, all processes together",
    )
    recipe.add_argument(
        "--lr",
        type=number_up_to(10, zero=True),
        default=1e-3,
        help="learning rate of AdamW (its peak with one_cycle)",
    )
    recipe.add_argument(
        "--weight_decay",
        type=fraction,
        default=1e-3,
        help="of AdamW; more of it holds the weights smaller",
    )
    recipe.add_argument(
        "--schedule", choices=SCHEDULES, default="constant", help="of the learning rate"
    )
    recipe.add_argument(
        "--patience",
        type=positive_int,
        metavar="EPOCHS",
        help="stop after so many without a better score (default: never)",
    )
    recipe.add_argument(
        "--amp",
        nargs="?",
        const="bf16",
        choices=AMP_TYPES,
        help="mixed precision (alone: bf16; default: full precision)",
    )
    recipe.add_argument(
        "--finetune",
        metavar="CHECKPOINT",
        help="start from the weights of this checkpoint or run folder (default: random weights)",
    )
    recipe.add_argument(
        "--freeze", action="store_true", help="with --finetune: train the last layer alone"
    )


def _test_options(parser):
    """What is tested, and how surely."""
    test = parser.add_argument_group("test")
    test.add_argument(
        "--test_only",
        action="store_true",
        help="test the run's best checkpoint (or --model_path), train nothing",
    )
    parser.add_shared(
        "model_path", help="with --test_only: the checkpoint to test (default: the run's own)"
    )
    test.add_argument(
        "--n_bootstrap",
        type=positive_int,
        default=1000,
        help="resamples of patients behind the 95 %% intervals",
    )


def main(args: argparse.Namespace) -> None:
    """Train and test, or test only."""
    if is_code(args.modelname):
        args.modelname = register_architecture(args.modelname)
    check_names("model", [args.modelname] if args.modelname else [], MODELS)
    if not args.test_only:
        training_run.labels_of(args)  # of a task that is known, before anything is loaded
    check_names("lead", args.leads or [], LEADS)
    with distributed.process_group(select_device(args, THREADS)) as device:
        outcome = (training_run.test if args.test_only else training_run.train)(args, device)
    if outcome:  # the main process says it
        print(outcome.words)
        say_results(outcome.folder, outcome.written, training_run.FIRST)


if __name__ == "__main__":
    run(main, get_args_parser())
