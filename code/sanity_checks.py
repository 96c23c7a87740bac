"""6. Sanity checks: which attribution methods pass which tests on this model?

Reads:   a checkpoint, checkpoints of the amplitude tasks (--amplitude_models) and of other seeds
         (--seeds), and what preprocessing.py wrote; what counterfactuals.py found of this run, if
         it has been there; on a simulated cohort (simulate_ptbxl.py) also its planted causes.
Writes:  <run>/sanity/ checks.csv (check, method, model, task, value, low, high, chance, n),
         details.csv (single leads, layers and moments), comparisons.csv (paired differences to the
         best method), best.csv and standings.csv (what is told from the best), axioms.csv, and
         where they apply dose_response.csv, localisation_gate.csv, agreement_pairs.csv;
         quality.csv (flagged records); ranking.png and one figure per kind of check.

Example: python code/sanity_checks.py --model_path=output/lenet_subdiagnostic
--data_path=data/simulated/ --strict \\
             --amplitude_models output/lenet_P_Wave_Amplitude output/lenet_R_Peak_Amplitude
             output/lenet_T_Wave_Amplitude

Values are means over records, low and high a 95 % interval over patients, chance what a map that
knows nothing scores. Records and targets: those of --folds with a true label, explained for the
true label of highest logit; regression models for every lead.

An interrupted run goes on where it stopped when the same command is given again. Several processes
share methods and control networks: torchrun --nproc_per_node=2 code/sanity_checks.py ... (several
machines too, where they share the folder).
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import utils  # isort: skip  # noqa: F401

import argparse
from collections.abc import Sequence

import torch
from torch import nn

from sanity.checks import CHECKS
from utils import (
    EXPLAINING,
    METHODS,
    StageParser,
    UserError,
    check_against,
    check_methods,
    check_names,
    is_regression,
    load_model,
    methods_in_words,
    path_item,
    positive_int,
    process_group,
    run,
    say_left_out,
    select_device,
    settle,
    stage_parser,
    workable,
)

# passes per record from which a method is left to those who name it: hundreds of maps are made
COSTLY = 500
USUAL = (*(name for name in METHODS if METHODS[name].passes < COSTLY), "lrp:epsilon")


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        *EXPLAINING,
        "pathologies",
        "methods",
        "control",
        pathologies={
            "help": "labels of the model: records that have one of them are explained for it "
            "(default: all its labels)"
        },
        methods={
            "default": list(USUAL),
            "help": f"{methods_in_words()} (default: all but those of many passes: "
            f"{', '.join(name for name in METHODS if name not in USUAL)})",
        },
        control={
            "help": "hold localisation against K untrained networks and K trained on permuted "
            "labels too (kept in controls/ beside the run's folder): controls.csv; 20 or more, 0: "
            "none"
        },
    )
    _check_options(parser)
    for name, check in (("seeds", "seeds"), ("strict", "axioms")):
        parser.without_effect(
            f"without {check} among --checks",
            lambda args, check=check: check not in args.checks,
            name,
            f"it is of the check {check}",
        )
    return parser


def _check_options(parser):
    """Which checks, on which networks and how many records."""
    parser.add_list_argument(
        "--amplitude_models",
        item=path_item,
        default=[],
        metavar="RUN",
        help="runs of P_, R_ and T_ amplitude tasks, for the amplitude check (default: none)",
    )
    parser.add_list_argument(
        "--seeds",
        item=path_item,
        default=[],
        metavar="RUN",
        help="runs of the same model and task from other seeds (default: none)",
    )
    parser.add_list_argument(
        "--checks",
        default=list(CHECKS),
        help="default all: "
        + "; ".join(f"{name} ({check.description})" for name, check in CHECKS.items()).replace(
            "%", "%%"
        ),
    )
    parser.add_argument("--n_samples", type=positive_int, default=200, help="records")
    parser.add_argument(
        "--n_few",
        type=positive_int,
        default=50,
        help="records of the amplitude and randomisation checks",
    )
    parser.add_argument(
        "--planted",
        help="folder of the simulated cohort with the planted causes (default: --data_path)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit code 1 where a method breaks an axiom that it claims",
    )


def load_models(
    args: argparse.Namespace, device: torch.device
) -> tuple[nn.Module, list[nn.Module], list[nn.Module]]:
    """The model under test, those of other seeds, and the amplitude models; UserError where they do
    not belong together.
    """
    model = load_model(args.model_path, device)
    check_against(args, model.info)
    if is_regression(model.info.task):
        raise UserError(
            f"--model_path is a regression model ({model.info.task}): "
            "give a classifier, and this one in --amplitude_models"
        )
    if args.seeds:
        from utils import check_seeds

        check_seeds(args.model_path, args.seeds)
    others = [load_model(path, device) for path in args.seeds]
    amplitude = [load_model(path, device) for path in args.amplitude_models]
    for path, other in zip(args.amplitude_models, amplitude, strict=True):
        if not is_regression(other.info.task):
            raise UserError(
                f"--amplitude_models {path} is of {other.info.task}, not of an amplitude task"
            )
    tasks = [one.info.task for one in amplitude]
    if len(set(tasks)) < len(tasks):
        raise UserError(
            f"--amplitude_models names two networks of one task ({', '.join(tasks)}): give one each"
        )
    return model, others, amplitude


def workable_on_all(methods: list[str], models: Sequence[nn.Module]) -> list[str]:
    """The methods that can explain every model; those that cannot are named."""
    for model in models:
        methods, left_out = workable(methods, model)
        say_left_out(left_out)
    return methods


def main(args: argparse.Namespace) -> None:
    """Check what is asked, then measure; with --strict exit 1 on a broken claim."""
    from sanity import study  # what measures and draws is loaded when all is checked

    with process_group(select_device(args)) as device:
        check_methods(args.methods)
        model, others, amplitude = load_models(args, device)
        if args.pathologies:
            args.pathologies = check_names("pathology", args.pathologies, model.info.labels)
        args.methods = workable_on_all(args.methods, [model, *others, *amplitude])
        place = settle(args, model.info, args.model_path)
        broken = study.answer(args, model, others, amplitude, place)
    if args.strict and len(broken):
        print("broken claims:\n" + broken.to_string(index=False), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run(main, get_args_parser())
