"""4. Local explanations: where in each record several methods put a network's answer, with figures
on ECG paper.

Reads:   the checkpoint (--model_path) and <data_path>/raw<Hz>.pkl, ptbxl_database_enriched.csv,
         multihot_<task>.npy; or one record of your own (--record), and then no data set
Writes:  <output_path>/<run>/local/ <method>_<pathology>.npz (attributions (n, T, 12), ecg_id,
         target, logit, coverage, and ledger or gap), cells.csv (largest cells lead x segment of
         each record), quality.csv (flagged records), figures

Example: python code/lrp_analysis.py --output_path=output/ --model_path=output/...
--pathologies=[AMI, IMI] --strategy=single_best

An interrupted run goes on where it stopped when the same command is given again. Several processes
share the records: torchrun --nproc_per_node=2 code/lrp_analysis.py ... (several machines too, where
they share the folder).
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import utils  # isort: skip  # noqa: F401

import argparse
import contextlib
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from attribution import job as local_results
from attribution.accounts import say_accounts
from attribution.explained import write_records
from attribution.job import Job
from attribution.methods import check_methods, methods_in_words, options_taken, workable
from attribution.plan import (
    baseline_for,
    choose_targets,
    cost,
    method_options,
    name_idle_options,
    occlusion_regions,
    own_dataset,
    own_targets,
)
from attribution.selection import STRATEGIES, strategies_in_words
from utils import (
    EXPLAINING,
    LAYOUTS,
    MOST_HZ,
    MOST_SECONDS,
    QUALITY_FILE,
    TABLE,
    Dataset,
    Stage,
    StageParser,
    UserError,
    check_against,
    content_hash,
    count,
    find_checkpoint,
    fraction,
    from_main,
    is_main,
    is_regression,
    load_dataset_for,
    load_model,
    number_up_to,
    on_main,
    path_item,
    positive_int,
    predict,
    process_group,
    rank,
    run,
    say_left_out,
    say_results,
    select_device,
    settle,
    sha256,
    slug,
    stage_parser,
    stored_segmentations,
    world,
    write_csv,
    write_flag_counts,
)

if TYPE_CHECKING:
    from utils import Asked, ModelInfo

FIRST = {
    "ecg.html": "one page with the ECG, its explanations and measurements",
    "compare_*.png": "one record explained by every method",
    "*.png": "a record on ECG paper, what mattered marked behind the trace",
    "cells.csv": "the leads and segments that mattered most in each record",
    "*.npz": "the maps, one value per sample",
}
OWN_FILES = (
    "prediction.csv",
    "notes.csv",
    "neighbours.csv",
    "counterfactuals.csv",
    "ecg.html",
)  # of a record of one's own

# options that results do not depend on: where things lie, and what the hashes of checkpoint and
# data already say
WITHOUT_EFFECT = (
    "output_path",
    "overwrite",
    "gpu",
    "device",
    "threads",
    "model_path",
    "data_path",
    "record",
    "modelname",
    "task",
    "run_name",
    "preset",
    "bare",
)


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        *EXPLAINING,
        "pathologies",
        "methods",
        "strategy",
        "ecg_ids",
        "window",
        methods={
            "default": ["saliency", "gradcam", "ig", "lrp"],
            "help": methods_in_words(),
        },
        strategy={
            "choices": tuple(STRATEGIES),
            "default": "single_best",
            "help": strategies_in_words(),
        },
    )
    # how a preset of LRP was named before --methods lrp:epsilon
    parser.add_argument("--preset", help=argparse.SUPPRESS)
    parser.add_argument(
        "--n_samples",
        type=positive_int,
        default=None,
        help="at most so many records per pathology (default: best_n 10, other strategies all)",
    )
    _method_options(parser)
    _output_options(parser)
    _own_record_options(parser)
    name_idle_options(parser)
    return parser


def _method_options(parser):
    """How the maps of some methods are computed."""
    group = parser.add_argument_group("how maps are computed")
    group.add_argument(
        "--open_ledger",
        action="store_true",
        help="say and store layer by layer what LRP left with biases and stabilisers",
    )
    group.add_argument(
        "--layer",
        default=None,
        help="layer of the CAM methods (default: the last convolutional map)",
    )
    group.add_argument(
        "--steps",
        type=positive_int,
        default=50,
        help="first number of steps of Integrated Gradients",
    )
    group.add_argument(
        "--max_steps",
        type=positive_int,
        default=800,
        help="steps are doubled up to this for large gaps",
    )
    group.add_argument(
        "--baseline",
        default="zero",
        choices=("zero", "isoelectric", "normal_beat"),
        help="what Integrated Gradients, DeepLIFT and GradientSHAP start from: 0 mV, each lead's "
        "isoelectric level, the mean normal beat",
    )
    group.add_argument(
        "--occlude",
        default="segments",
        choices=("segments", "windows"),
        help="pieces that occlusion, Shapley values, KernelSHAP and LIME take away: segments of "
        "the beat, or windows of 100 ms",
    )
    group.add_argument(
        "--wanted_error",
        type=fraction,
        default=0.05,
        help="standard error at which Shapley values stop, as part of what there is to share",
    )
    group.add_argument(
        "--max_permutations",
        type=positive_int,
        default=64,
        help="orders of the pieces that Shapley values try at most",
    )


def _output_options(parser):
    """What is drawn and written of each map."""
    group = parser.add_argument_group("what is drawn and written")
    group.add_argument(
        "--max_figures",
        type=count,
        default=20,
        help="figures at most; best records first (0: none)",
    )
    group.add_argument(
        "--compare", action="store_true", help="one figure per record with all methods side by side"
    )
    group.add_argument(
        "--layout",
        default=None,
        choices=LAYOUTS,
        help="12x1: one lead a row (default); 3x4: three rows of four leads and lead II below "
        "them, as most clinics print; column: the four leads with most relevance around one beat "
        "(with --compare two, a row per method), for a journal's column of 85 mm",
    )
    group.add_argument(
        "--absolute", action="store_true", help="draw |relevance| instead of signed relevance"
    )
    group.add_argument(
        "--n_cells", type=positive_int, default=20, help="cells per record in cells.csv (288: all)"
    )
    group.add_argument(
        "--n_jitters",
        type=count,
        default=10,
        help="times that the waves' boundaries are moved by what they are uncertain by, to see "
        "which cells keep their ranks (rank_stability in cells.csv; 0: not asked)",
    )
    group.add_argument(
        "--neighbours",
        type=count,
        default=None,
        metavar="K",
        help="the K training records that each explained one resembles most, and whether it is "
        "like any (default: 5 with --record, else 0)",
    )


def _own_record_options(parser):
    """A recording of one's own."""
    group = parser.add_argument_group("a recording of your own")
    group.add_argument(
        "--record",
        default=None,
        metavar="PATH",
        help="explain this recording: a WFDB record, csv, .npy, .npz, .mat, HDF5 (file.hdf5#id) or "
        "a vendor's file, leads by name (default: the data set)",
    )
    group.add_argument(
        "--record_rate",
        type=number_up_to(MOST_HZ),
        default=None,
        metavar="HZ",
        help="sampling rate of a recording that does not say it (no default)",
    )
    group.add_argument(
        "--record_start",
        type=number_up_to(MOST_SECONDS, zero=True),
        default=0.0,
        metavar="S",
        help="where in a longer recording the 10 s begin (default 0)",
    )
    group.add_argument(
        "--record_part",
        type=positive_int,
        default=None,
        metavar="N",
        help="of a file that holds several recordings (aECG, DICOM, GE MUSE, Schiller) the N-th "
        "(default: the one with most signal)",
    )
    group.add_argument(
        "--unit",
        default=None,
        help="unit of a recording that does not say it: mV, uV, nV, V (no default)",
    )
    parser.add_list_argument(
        "--seeds",
        item=path_item,
        group=group,
        default=None,
        metavar="RUN",
        help="runs of the same network from other seeds, for the range of --record's probabilities "
        "(default: those beside it named <run>_seed1, ...)",
    )
    parser.add_list_argument(
        "--lead_names",
        group=group,
        default=None,
        help="what the signals of the recording are, in its order: I II III aVR aVL aVF V1 ... V6, "
        "- for one to leave out (default: the file's own names)",
    )


def check(args: argparse.Namespace, model: nn.Module) -> None:
    """Everything that can be wrong with the options, before anything is computed or written."""
    check_against(args, model.info)
    if args.preset:
        args.methods = [f"lrp:{args.preset}" if one == "lrp" else one for one in args.methods]
    args.methods, left_out = workable(check_methods(args.methods), model, args.layer)
    if is_main():
        say_left_out(left_out)
    reads_a_layer = [method for method in args.methods if options_taken(method, layer=args.layer)]
    if reads_a_layer:
        from attribution.cam import layer_in_words

        x = next(model.parameters()).new_zeros(1, len(model.info.leads), model.info.crop)
        layer = layer_in_words(model, x, model.info.sampling_rate, args.layer)
        print_once(f"{', '.join(reads_a_layer)}: read from {layer}")
    if args.record and args.baseline == "normal_beat":
        raise UserError(
            "--baseline normal_beat needs a data set of normal records, --record has none: use "
            "isoelectric"
        )


def main(args: argparse.Namespace) -> None:
    """Choose records, explain them in all processes, write and draw in the main one."""
    with process_group(select_device(args)) as device, contextlib.ExitStack() as stack:
        model = load_model(args.model_path, device)
        check(args, model)
        name = record_name(args.record) if args.record else ""
        place = settle(args, model.info, args.model_path, own_record=bool(args.record))
        folder = place.run / ("local" if not name else f"local_{name}")
        job, empty = prepare(args, model, folder)
        settings = {key: value for key, value in vars(args).items() if key not in WITHOUT_EFFECT}
        settings |= {
            "checkpoint": sha256(find_checkpoint(args.model_path)),
            "data": content_of(args, job),
            **(
                {"beside": beside_of(args, model.info)}
                if args.record
                else stored_segmentations(args.data_path)
            ),
        }
        stage = on_main(
            lambda: stack.enter_context(
                Stage(folder, "local", settings, args.overwrite, place.facts, args.bare)
            )
        )
        if from_main(lambda: stage.finished_before()):
            return
        from_main(lambda: clear(stage) if not stage.resumed else None)
        n_records = sum(len(target.rows) for target in job.targets)
        if is_main():
            say_left_out(dict.fromkeys(empty, f"no record for strategy {args.strategy}"))
        if args.record and is_main():
            say_prediction(args, model, job)
        print_once(cost(model, args, n_records, job.data.signals.shape[1], world()))
        local_results.compute(job, rank(), world())
        if is_main():
            finish(args, job, stage, name, n_records)


def asked_of(args: argparse.Namespace) -> "Asked":
    """What the options say of the recording of --record."""
    from utils import Asked  # alone where there is such a recording

    names = tuple(args.lead_names) if args.lead_names else None
    return Asked(args.record_rate, args.unit, names, args.record_start, part=args.record_part)


def content_of(args: argparse.Namespace, job: Job) -> str:
    """Hash of what is explained, so that other data under the same name are not taken for these."""
    if args.record:
        return hashlib.sha256(np.ascontiguousarray(job.data.signals).tobytes()).hexdigest()
    return content_hash(args.data_path, job.model.info.sampling_rate)


def beside_of(args: argparse.Namespace, info: "ModelInfo") -> list[str]:
    """Hashes of what a record of one's own is held against, as far as it is there: the networks of
    other seeds and the training data.
    """
    from attribution.neighbours import home_of
    from networks.seeds import runs_beside

    checkpoint = find_checkpoint(args.model_path)
    others = runs_beside(checkpoint) if args.seeds is None else args.seeds
    found = [sha256(find_checkpoint(path)) for path in others]
    with contextlib.suppress(UserError):
        found.append(content_hash(home_of(args, info, checkpoint)[0], info.sampling_rate))
    return [one for one in found if one]


def prepare(args: argparse.Namespace, model: nn.Module, folder: Path) -> tuple[Job, list[str]]:
    """The job, and the names of targets without records."""
    info = model.info
    if args.record:
        data = whole = own_dataset(args.record, info, asked_of(args))
        targets, empty = own_targets(args, model, data), []
    else:
        whole = load_dataset_for(info, args.data_path, args.limit)
        data = whole if args.ecg_ids else whole.in_folds(args.folds)
        targets, empty = choose_targets(args, info, data, model)
    baseline = baseline_for(args.baseline, whole, data)
    options = {method: options_for(args, method, data, baseline) for method in args.methods}
    job = local_results.Job(
        model,
        data,
        targets,
        args.methods,
        options,
        args.window,
        args.n_cells,
        folder,
        args.open_ledger,
        args.n_jitters,
    )
    return job, empty


def options_for(
    args: argparse.Namespace, method: str, data: Dataset, baseline: Callable[[np.ndarray], dict]
) -> Callable[[np.ndarray], dict]:
    """Rows of `data` -> the options of one method for them: what it starts from, or the pieces that
    it takes away.
    """
    fixed = method_options(args, method)
    if options_taken(method, baseline=None):
        return lambda rows: {**fixed, **baseline(rows)}
    if options_taken(method, regions=None) and args.occlude == "segments":
        return lambda rows: {**fixed, "regions": occlusion_regions(data, rows)}
    return lambda rows: fixed


def record_name(path: str) -> str:
    """A record of one's own as part of a folder's name, never empty: letters that a folder's name
    does not take (of other alphabets) are told apart by eight digits of their hash.
    """
    stem = Path(path).stem
    return slug(stem) or f"record-{hashlib.sha256(stem.encode()).hexdigest()[:8]}"


def clear(stage: Stage) -> None:
    """Remove what an earlier run with other settings left in the folder."""
    stage.clear("*.npz", "*.png", "*.pdf", "cells.csv", QUALITY_FILE, *OWN_FILES)
    shutil.rmtree(stage.folder / ".parts", ignore_errors=True)


def finish(args: argparse.Namespace, job: Job, stage: Stage, name: str, n_records: int) -> None:
    """The main process's end: figures, files, one line of summary."""
    from attribution import figures as local_figures  # what draws is loaded when all is computed

    local_results.wait_for_parts(job)
    layout = args.layout or LAYOUTS[0]
    figures, left_out = local_figures.draw(
        job, args.max_figures, args.absolute, args.compare, name, layout
    )
    written = local_results.assemble(job)
    say_accounts(job)
    quality = write_flag_counts(
        job.folder, job.data.table, {one.name: job.data.ecg_id[one.rows] for one in job.targets}
    )
    rows = np.concatenate([target.rows for target in job.targets])
    kept = write_records(job.folder, job.data, rows)
    alike = write_neighbours(args, job)
    pages = [] if not args.record else write_own_page(args, job)
    counts = {target.name: len(target.rows) for target in job.targets}
    inputs = [find_checkpoint(args.model_path), *data_read(args, job)]
    outputs = [*written, quality, kept, *alike, *pages, *figures]
    stage.finish(inputs=inputs, outputs=outputs, counts=counts)
    local_results.remove_parts(job)
    more = f", {left_out} not drawn (--max_figures)" if left_out else ""
    print(f"explained {n_records} records x targets by {len(job.methods)} methods{more}")
    say_results(job.folder, [*figures, *outputs], FIRST)


def data_read(args: argparse.Namespace, job: Job) -> list[Path]:
    """The files of --record, else the table of the data set, beside which the others lie."""
    if not args.record:
        return [job.data.path / TABLE]
    from utils import files_of

    return files_of(args.record)


def say_prediction(args: argparse.Namespace, model: nn.Module, job: Job) -> None:
    """Write and print first what the network says of a record of one's own."""
    from reporting import one_ecg
    from reporting.run import find_run

    if is_regression(model.info.task):
        return
    logits = predict(model, job.data.signals, args.window)
    job.folder.mkdir(parents=True, exist_ok=True)
    others = [predict(one, job.data.signals, args.window) for one in other_seeds(args, model)]
    run = find_run(args)
    prediction = one_ecg.write_tables(
        job.folder, job.data, model.info, np.concatenate([logits, *others]), run.unseen()
    )
    print_once(one_ecg.said_first(run, prediction))


def other_seeds(args: argparse.Namespace, model: nn.Module) -> list[nn.Module]:
    """Networks of --seeds; without it those beside the run that its name marks as its other seeds
    and that fit.
    """
    from networks.seeds import check_seeds, runs_beside

    device = next(model.parameters()).device
    if args.seeds is not None:
        check_seeds(args.model_path, args.seeds)
        return [load_model(path, device) for path in args.seeds]
    fitting = []
    for path in runs_beside(args.model_path):
        try:
            check_seeds(args.model_path, [*fitting, path])
            fitting.append(path)
        except UserError as error:
            say_left_out({"another seed": str(error).removeprefix("--seeds ")})
    return [load_model(path, device) for path in fitting]


def write_neighbours(args: argparse.Namespace, job: Job) -> list[Path]:
    """neighbours.csv: the training records that the explained ones resemble; of a record of one's
    own, where the network's data set is at hand.
    """
    wanted = args.neighbours if args.neighbours is not None else 5 * bool(args.record)
    if not wanted or is_regression(job.model.info.task):
        return []  # amplitudes are no labels that neighbours could share
    from attribution import neighbours

    info, checkpoint = job.model.info, find_checkpoint(args.model_path)
    try:
        home, strangers = neighbours.home_of(args, info, checkpoint)
        whole = load_dataset_for(info, home)
        pool = neighbours.pool_of(whole, info.folds.get("train") or range(1, 9), args.seed)
    except UserError as error:
        if not args.record:
            raise
        say_left_out({"the patients it resembles and what would turn the answer": str(error)})
        return []
    facts = f"{sha256(checkpoint)} {content_hash(home, info.sampling_rate)}"
    kept = neighbours.Kept(job.model, pool, job.folder.parent / "neighbours", facts, args.window)
    try:
        held = neighbours.pool_of(whole, info.folds.get("validation") or [9], args.seed)
    except UserError:
        held = None  # no alarm can be set
    alarm = neighbours.watch_of(kept, held)
    table = neighbours.neighbours_table(kept, job.data, job.targets, alarm, wanted, strangers)
    write_csv(job.folder / neighbours.FILE, table)
    print(neighbours.in_words(table))
    written = [job.folder / neighbours.FILE]
    if args.record:
        from counterfactual.own import answers

        written += answers(job.model, job.data, job.targets, whole.table, args.window, job.folder)
    return written


def write_own_page(args: argparse.Namespace, job: Job) -> list[Path]:
    """ecg.html of a record of one's own, with the tables it is made from."""
    from reporting import one_ecg
    from reporting.run import find_run

    if is_regression(job.model.info.task):
        return []
    page = one_ecg.write_page(find_run(args), job.folder, Path(args.record).stem)
    return [page, job.folder / one_ecg.PREDICTION, job.folder / one_ecg.NOTES]


def print_once(line: str) -> None:
    """Print in the main process."""
    if is_main():
        print(line)


if __name__ == "__main__":
    run(main, get_args_parser())
