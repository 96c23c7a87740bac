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

import utils  # isort: skip  # noqa: F401

import argparse
import contextlib
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from subgroups.clusters import CLUSTERERS
from subgroups.cohort import Cohort, default_target, load_cohort
from subgroups.findings import (
    assign_clusters,
    cells_that_differ,
    choose_folds,
    cluster_names,
    judge_clusters,
    traits_of,
    what_separates,
)
from subgroups.representations import REPRESENTATIONS, Material
from utils import (
    EXPLAINING,
    LABEL_MAPPINGS,
    ModelInfo,
    Stage,
    StageParser,
    UserError,
    at_least_two,
    check_against,
    check_methods,
    check_names,
    content_hash,
    find_checkpoint,
    fraction,
    from_main,
    is_main,
    is_regression,
    load_model,
    methods_in_words,
    on_main,
    positive_int,
    process_group,
    run,
    say_left_out,
    say_results,
    select_device,
    settle,
    sha256,
    shared,
    slug,
    stage_parser,
    workable,
    write_csv,
    write_figure,
    write_flag_counts,
)

FIRST = {
    "embedding.png": "the records as points, clusters beside the labels",
    "enrichment.png": "what the clusters differ in",
    "table.csv": "agreement with the labels, structure, stability, each with its interval",
}
PAPERS_COHORT = ["AMI", "IMI"]


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
        help='labels that make the cohort: "AMI or IMI", ASMI, ...',
    )
    parser.add_argument(
        "--level",
        choices=LABEL_MAPPINGS,
        default=None,
        help="level at which the label must be a record's only one (default: the coarsest that has "
        "the names)",
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


def folder_name(names: list[str]) -> str:
    """discovery/ for the paper's cohort, discovery_<names>/ for any other."""
    return (
        "discovery"
        if names == PAPERS_COHORT
        else "discovery_" + "_or_".join(slug(name) for name in names)
    )


def settings_of(args: argparse.Namespace, info: ModelInfo, cohort: Cohort, target: str) -> dict:
    """What the results depend on."""
    names = (
        "representations",
        "clusterer",
        "k",
        "k_max",
        "variance",
        "n_halvings",
        "n_resamples",
        "min_records",
        "folds",
        "embedding",
        "seed",
        "limit",
        "dpi",
    )
    return {
        "checkpoint": sha256(find_checkpoint(args.model_path)),
        "data": content_hash(args.data_path, info.sampling_rate),
        "cohort": cohort.names,
        "level": cohort.level,
        "target": target,
        "method": args.methods[0],
        **{name: getattr(args, name) for name in names},
        **({"control": args.control} if args.control else {}),
    }


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
    """Load, check what is asked, discover; a finished run says so."""
    with process_group(select_device(args)) as device, contextlib.ExitStack() as stack:
        model = load_model(args.model_path, device)
        check(args, model)
        place = settle(args, model.info, args.model_path)
        cohort = load_cohort(
            args.data_path, args.cohort, args.level, model.info.sampling_rate, args.limit
        )
        target = args.target or default_target(cohort.names, model.info.labels)
        model.info.index(target)  # an unknown label is said before a folder is asked
        if args.control:
            from subgroups.controls import check_control

            check_control(model, cohort)
        folder = place.run / folder_name(cohort.names)
        settings = settings_of(args, model.info, cohort, target)
        of_stage = (folder, "discovery", settings, args.overwrite, place.facts, args.bare)
        stage = on_main(lambda: stack.enter_context(Stage(*of_stage)))
        if from_main(lambda: stage.finished_before()):
            return
        discover(args, model, cohort, target, stage, place.run)


def discover(
    args: argparse.Namespace,
    model: nn.Module,
    cohort: Cohort,
    target: str,
    stage: Stage | None,
    run_folder: Path,
) -> None:
    """Compute everything for one cohort in all processes, write and draw it in the main one (which
    has the stage).
    """
    material = Material(cohort.data, model, model.info.index(target), args.methods[0])
    cohort, material = _with_beats(cohort, material)
    design = choose_folds(cohort, args.folds, model.info.folds["train"], args.min_records)
    print(
        f"{len(cohort.data)} records of {len(np.unique(cohort.data.patient_id))} patients with "
        f"{' or '.join(cohort.names)} as only {cohort.level} label; explained output: {target}; "
        f"{design.words}"
    )
    material.share_maps()
    features = {name: REPRESENTATIONS[name](material) for name in args.representations}
    assigned = shared(
        features.values(), lambda values: assign_clusters(values, cohort, design, args)
    )
    found = dict(zip(features, assigned, strict=True))
    traits = traits_of(cohort, model)
    table = pd.DataFrame(judge_clusters(found, features, cohort, design, traits, args))
    if args.control:
        from subgroups.controls import against_networks  # what trains networks

        table = against_networks(args, table, found, cohort, design, material, run_folder)
    if is_main():
        _finish(args, stage, target, features, found, cohort, design, material, traits, table)


def _finish(args, stage, target, features, found, cohort, design, material, traits, table):
    """What separates the clusters; all tables and figures."""
    enriched = pd.DataFrame(what_separates(found, cohort, design, traits, args))
    cells = pd.DataFrame(cells_that_differ(found, material, design))
    outputs = [
        _write(stage.folder / f"{name}.csv", frame)
        for name, frame in (
            ("table", table),
            ("clusters", _assignments(found, cohort, design, traits)),
            ("enrichment", enriched),
            ("cells", cells),
        )
    ]
    outputs.append(
        write_flag_counts(stage.folder, cohort.data.table, _groups(found, cohort, design))
    )
    outputs += _draw(
        stage.folder, args, features, found, cohort, design, material, target, table, enriched
    )
    stage.finish(
        inputs=[find_checkpoint(args.model_path), cohort.data.path / "ptbxl_database_enriched.csv"],
        outputs=outputs,
        counts={"records": len(cohort.data), "reported": int(design.reported.sum())},
    )
    _say(table, found)
    say_results(stage.folder, outputs, FIRST)


def _with_beats(cohort, material):
    """Leave out records without a complete beat, and say so."""
    keep = material.beats.counts > 0
    if not keep.all():
        ids = cohort.data.ecg_id[~keep]
        say_left_out({f"{len(ids)} records": f"no complete beat: {', '.join(map(str, ids[:20]))}"})
        if not keep.any():
            raise UserError("no record of the cohort has a complete beat")
        cohort = cohort.rows(keep)
        material = Material(cohort.data, material.model, material.target, material.method)
    return cohort, material


def _groups(found, cohort, design):
    """ecg_id by label and by cluster, named as in the figures."""
    groups = {name: cohort.data.ecg_id[cohort.labels == name] for name in cohort.names}
    for name, result in found.items():
        names = cluster_names(result, cohort, design)
        groups |= {
            f"{name}, cluster {names[number]}": cohort.data.ecg_id[result.clusters == number]
            for number in names
        }
    return groups


def _assignments(found, cohort, design, traits):
    """One row per record and representation."""
    base = pd.DataFrame(
        {
            "ecg_id": cohort.data.ecg_id,
            "patient_id": cohort.data.patient_id,
            "strat_fold": cohort.data.fold,
            "label": cohort.labels,
            "predicted": traits.predicted,
            "reported": design.reported,
        }
    )
    return pd.concat(
        [
            base.assign(representation=name, k=result.k, cluster=result.clusters)
            for name, result in found.items()
        ]
    )


def _write(path, frame):
    write_csv(path, frame)
    return path


def _draw(folder, args, features, found, cohort, design, material, target, table, enriched):
    # what draws is loaded when all is computed
    from subgroups.figures import draw_agreement, draw_clusters, draw_embedding, draw_enrichment

    outputs = write_figure(
        draw_embedding(features, found, cohort, design, args.embedding, args.seed),
        folder / "embedding",
    )
    if cohort.hidden_labels:
        outputs += write_figure(draw_agreement(table, cohort, design), folder / "agreement")
    outputs += write_figure(draw_enrichment(enriched, found, cohort, design), folder / "enrichment")
    for name, result in found.items():
        if result.k > 1:
            outputs += write_figure(
                draw_clusters(name, result, material, cohort, design, target),
                folder / f"clusters_{name}",
            )
    return outputs


def _say(table, found):
    """The findings in words, one line per representation."""
    for name, result in found.items():
        rows = table[table["representation"] == name].set_index("metric")
        words = [
            f"{metric} {row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
            for metric, row in rows.iterrows()
            if metric in ("accuracy", "ari", "replication")
        ]
        print(f"  {name:21s} {result.words}" + (": " + ", ".join(words) if words else ""))


if __name__ == "__main__":
    run(main, get_args_parser())
