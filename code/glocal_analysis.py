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

import utils  # isort: skip  # noqa: F401

import argparse
import contextlib
import sys
from dataclasses import replace
from pathlib import Path

from common.labels import COLUMN
from common.words import CONTROLS
from glocal.groups import (
    Asked,
    check_cross_fit,
    fill_groups,
    load_pool,
    make_groups,
    seen_folds,
    twin_of,
)
from utils import (
    CARDS,
    EXPLAINING,
    STRATEGIES,
    TABLE,
    Stage,
    StageParser,
    UserError,
    cards_for,
    check_against,
    check_methods,
    check_names,
    choose_pathologies,
    content_hash,
    count,
    find_checkpoint,
    from_main,
    is_main,
    is_regression,
    load_dataset_for,
    load_model,
    methods_in_words,
    on_main,
    own_cards,
    path_item,
    positive_int,
    process_group,
    refuse_more_than_one,
    run,
    say_left_out,
    say_results,
    select_device,
    settle,
    sha256,
    stage_parser,
    strategies_in_words,
    workable,
    write_flag_counts,
)

FIRST = {
    "groups_*.png": "what each group's records have in common, by beat and by cell",
    "scorecard.png": "how far the maps agree with the textbook",
    "segments.csv": "every cell's share and rank",
}


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


# ---------------------------------------------------------------- what is asked for, checked before
# anything runs


def _models(args, device):
    """The model, or one per fold."""
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


def _names(args, model):
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


def _settings(args, info, pathologies, methods, checkpoints):
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
        "pathologies": pathologies,
        "methods": methods,
        "data": content_hash(args.data_path, info.sampling_rate),
        "checkpoints": [sha256(path) for path in checkpoints],
        "folds": None if args.cross_fit else args.folds,
        **{name: getattr(args, name) for name in names},
        **({"control": args.control} if args.control else {}),
        **({"layout": args.layout} if args.layout else {}),
        **({"own_cards": sha256(args.cards)} if own_cards(args.cards) else {}),
    }


# ---------------------------------------------------------------- the stage


def _control_lifts(args, model, data, place, pool, shown, methods, cards, device):
    """What control networks reach on the own cards, or None where none were asked for."""
    if not args.control:
        return None
    from glocal.controls import control_lifts
    from utils import controls_for  # networks are trained where they are asked for

    made = controls_for(args, model, data, place.run, device)
    return control_lifts(shown, pool, methods, cards, made, device, args.seed)


def _folder(args, info, place):
    """Where results go: with --cross_fit into a run of its own."""
    if not args.cross_fit:
        return place.run / "glocal"
    named = replace(info, run_name=args.run_name or "cross_fit")
    return place.run.with_name(named.run_folder_name) / "glocal"


def _check_control(args, model):
    """UserError where --control networks cannot be made."""
    if args.control:
        from utils import check_controls, graph_of

        check_controls(model.info, graph_of(model))


def _say_limits(args, info, cards):
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


def main(args: argparse.Namespace) -> None:
    """Gather groups, map them in all processes, write tables and figures in the main one."""
    from glocal import tables  # what scores and writes is loaded when the options are read

    with process_group(select_device(args)) as device, contextlib.ExitStack() as stack:
        models = _models(args, device)
        info = models[0].info
        pathologies, pairs, methods = _names(args, models[0])
        checkpoints = [find_checkpoint(path) for path in args.cross_fit or [args.model_path]]
        _check_control(args, models[0])
        place = settle(args, info, checkpoints[0])
        folder = _folder(args, info, place)
        data = load_dataset_for(info, args.data_path, args.limit)
        cards = cards_for(args.cards, data.path, info)
        folds = None if args.cross_fit else args.folds
        pool = load_pool(models, data, folds, args.window, progress=True)
        groups = make_groups(pool, pathologies, pairs, args.strategy, args.n_samples, args.window)
        _say_limits(args, info, cards)
        settings = _settings(args, info, pathologies, methods, checkpoints)
        of_stage = (folder, "glocal", settings, args.overwrite, place.facts, args.bare)
        stage = on_main(lambda: stack.enter_context(Stage(*of_stage)))
        if from_main(lambda: stage.finished_before()):
            return
        from_main(lambda: stage.clear(*tables.PATTERNS))
        twins = [(groups[first], twin_of(groups[second])) for first, second in pairs]
        asked = [Asked(group, args.n_jitters) for group in groups.values()]
        asked += [Asked(twin, target=first.pathology) for first, twin in twins]
        fill_groups(asked, pool, methods, args.seed, progress=True)
        shown = [groups[name] for name in pathologies if name in groups]
        lifts = _control_lifts(args, models[0], data, place, pool, shown, methods, cards, device)
        if is_main():
            of_groups = (groups, shown, twins, methods, cards, lifts)
            found = tables.write_tables(folder, args, info, *of_groups)
            paths = _write_rest(args, folder, data, info, groups, shown, pairs, methods, found)
            counts = {name: group.counts for name, group in groups.items()}
            inputs = [*checkpoints, Path(args.data_path) / TABLE, *own_cards(args.cards)]
            stage.finish(inputs, paths, counts)
            print("; ".join(f"{name}: {group.counts}" for name, group in groups.items()))
            say_results(folder, paths, FIRST)


def _write_rest(args, folder, data, info, groups, shown, pairs, methods, found):
    """Figures and quality.csv; paths of all that was written."""
    from glocal import figures  # what draws is loaded when all is computed

    paths = [folder / f"{name}.csv" for name in found]
    paths += figures.draw_all(folder, args, info, shown, pairs, methods, found)
    explained = {name: group.data.ecg_id for name, group in groups.items()}
    return [*paths, write_flag_counts(folder, data.table, explained)]


if __name__ == "__main__":
    run(main, get_args_parser())
