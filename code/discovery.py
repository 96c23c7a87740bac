"""7. Discovery: do attributions show subgroups that the labels hide, and do these survive being
tested?

Reads:  a checkpoint (--model_path) and the preprocessed data set (--data_path)
Writes: <run>/discovery/ (discovery_<names>/ for another cohort than the paper's): table.csv
        (agreement with hidden labels, structure, stability, replication), clusters.csv
        (assignments), enrichment.csv (what separates the clusters), cells.csv (lead x segment cells
        that differ most), quality.csv (flagged records by label and cluster), figures
Example:
    python code/discovery.py --model_path output/lenet_superdiagnostic --cohort "AMI or IMI"

Spaces and clusters are fitted on the training folds and reported on --folds (default 10: fold 9
chose the checkpoint); with fewer than --min_records there, by cross-fitting over all folds: every
record is assigned by a fit that has not seen its patient. The network itself has been trained on
folds 1-8 either way. Labels choose nothing but the number of clusters: as many as there are hidden
ones. Several processes share records, representations and control networks: torchrun
--nproc_per_node=2 code/discovery.py ... (several machines too, where they share the folder).
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import utils  # isort: skip  # noqa: F401

import argparse

from torch import nn

from subgroups.clusters import CLUSTERERS
from subgroups.cohort import PAPERS_COHORT
from subgroups.representations import REPRESENTATIONS
from utils import (
    EXPLAINING,
    LABEL_MAPPINGS,
    StageParser,
    UserError,
    at_least_two,
    check_against,
    check_methods,
    check_names,
    fraction,
    is_regression,
    load_model,
    methods_in_words,
    positive_int,
    process_group,
    run,
    select_device,
    settle,
    stage_parser,
    workable,
)


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        *EXPLAINING,
        "methods",
        "control",
        folds={
            "default": [10],
            "help": "folds (1-10) that are reported; fold 9 chose the checkpoint",
        },
        methods={"default": ["saliency"], "help": f"one attribution method, {methods_in_words()}"},
        control={
            "help": "cluster the maps and features of K untrained networks and of K trained on "
            "permuted labels too (kept in controls/ beside the run's folder): p_control in "
            "table.csv; 20 or more, 0: none"
        },
    )
    _cohort_options(parser)
    _cluster_options(parser)
    _test_options(parser)
    return parser


def _cohort_options(parser):
    """Whose records, and for which label they are explained."""
    parser.add_argument(
        "--cohort",
        "--pathologies",
        nargs="+",
        default=[" or ".join(PAPERS_COHORT)],
        help='labels that make the cohort: "AMI or IMI", ASMI, ..., or classes of your own (of the '
        "data set or the network)",
    )
    parser.add_argument(
        "--level",
        metavar="TASK",
        default=None,
        help="level at which the label must be a record's only one: "
        f"{', '.join(LABEL_MAPPINGS)}, or a task of the data set's own (default: the coarsest "
        "that has the names, else your own)",
    )
    parser.add_argument(
        "--target",
        default=None,
        help="output that is explained in every record (default: the superclass if known)",
    )


def _cluster_options(parser):
    """How records are put into clusters."""
    parser.add_list_argument(
        "--representations", default=list(REPRESENTATIONS), help=f"of {', '.join(REPRESENTATIONS)}"
    )
    parser.add_argument(
        "--clusterer",
        default="kmeans",
        choices=CLUSTERERS,
        help="how records are put into clusters; a finding should not depend on it",
    )
    parser.add_argument(
        "--k",
        type=at_least_two,
        default=None,
        help="number of clusters (default: as many as hidden labels; else the most stable "
        "significant number)",
    )
    parser.add_argument(
        "--k_max", type=at_least_two, default=5, help="largest number of clusters that is tried"
    )
    parser.add_argument(
        "--variance",
        type=fraction,
        default=0.8,
        help="share of the variance that the principal components hold, alike for all "
        "representations",
    )


def _test_options(parser):
    """How clusters are tested, and drawn."""
    parser.add_argument(
        "--n_halvings",
        type=positive_int,
        default=20,
        help="random halvings of the patients in the test of structure: clusters of one half must "
        "part the other",
    )
    parser.add_argument(
        "--n_resamples",
        type=positive_int,
        default=500,
        help="bootstrap resamples, and permutations, of patients",
    )
    parser.add_argument(
        "--min_records",
        type=positive_int,
        default=100,
        help="records of the cohort needed in --folds; with fewer, cross-fitting over all folds",
    )
    parser.add_argument(
        "--embedding",
        default="tsne",
        choices=("tsne", "pca"),
        help="map of the records in the figure",
    )


def check(args: argparse.Namespace, model: nn.Module) -> None:
    """Everything that can be wrong with the options, before anything is computed or written."""
    check_against(args, model.info)
    if is_regression(model.info.task):
        raise UserError(f"{args.model_path} predicts amplitudes: discovery needs a model of labels")
    if len(check_methods(args.methods)) > 1:
        raise UserError(f"--methods {' '.join(args.methods)}: discovery clusters by one method")
    workable(args.methods, model)
    check_names("representation", args.representations, REPRESENTATIONS)


def main(args: argparse.Namespace) -> None:
    """Check what is asked, then answer it."""
    from subgroups import study  # what computes and draws is loaded when the options are read

    with process_group(select_device(args)) as device:
        model = load_model(args.model_path, device)
        check(args, model)
        study.answer(args, model, settle(args, model.info, args.model_path))


if __name__ == "__main__":
    run(main, get_args_parser())
