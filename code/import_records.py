"""Bring your own recordings, of 12 leads or with --leads of fewer, into the layout that every
stage reads.

Reads:  --records, a folder of WFDB records (CinC 2020/2021: age, sex and #Dx are taken from the
        headers), of HDF5 files (CODE-15 %), of csv or of vendors' files, an HDF5 file, or an array
        (N, T, 12) as .npy, .npz or .mat (--signals is the same)
        --table, a csv with one row per recording: `labels` (class names: SCP statements as
        "IMI SR", or any others) or columns of 0 and 1 (--label_columns), and if known `record_id`,
        `patient_id`, `age`, `sex`, `strat_fold` (1-10), `r_peaks` (samples at the recording's rate)
Writes: --output_path: ptbxl_database.csv, scp_statements.csv, dataset.json, tasks.json,
        records<Hz>/ and, with R-peaks, addons/r-peaks.csv
Example:
    python code/import_records.py --signals mine.npy --table mine.csv --signal_rate 250
    --output_path data/mine

Recordings keep their rate and length; those of another rate are resampled to the first one's, and
unequal lengths need --seconds. Without `strat_fold`, patients are dealt out to ten folds so that
each class is spread evenly; without `patient_id`, every recording counts as a patient of its own.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import common  # isort: skip  # noqa: F401

import argparse
import hashlib
from pathlib import Path

from common.cli import StageParser, run, say_results, stage_parser
from common.files import UserError, sha256
from common.options import MOST_SECONDS, number_up_to, positive_int
from common.stage import Stage, command
from records.import_cohort import SKIPPED, make, read_table
from records.layout import DATABASE
from records.recording import Asked
from records.resampling import check_rate
from records.sources import files_below, open_source

FIRST = {
    DATABASE: "one row per recording, as in PTB-XL",
    SKIPPED: "recordings that were left out, and why",
    "tasks.json": "the classes that are no SCP statements",
}
LEAST_EVERY = 0.1  # s from one stretch to the next
SPARE_SECONDS = 1.0  # read beyond --seconds, so that resampling has no end there
WITHOUT_EFFECT = ("output_path", "overwrite", "bare")


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        "output_path",
        "seed",
        "overwrite",
        output_path={"default": None, "required": True, "help": "folder of the new data set"},
    )
    _source_options(parser)
    _signal_options(parser)
    _length_options(parser)
    parser.without_effect(
        "with --label_annotations",
        lambda args: args.label_annotations,
        "label_columns",
        "the annotations hold the labels",
    )
    parser.without_effect(
        "with --records FILE",
        lambda args: os.path.isfile(args.records),
        "match",
        "it chooses files of a folder",
    )
    return parser


def _source_options(parser):
    """Where recordings and labels are."""
    parser.add_argument(
        "--records",
        "--signals",
        required=True,
        metavar="PATH",
        help="folder of recordings, HDF5 file, or array (N, T, 12): .npy, .npz, .mat",
    )
    parser.add_argument(
        "--table",
        default=None,
        help="csv, one row per recording: by its record_id, else in the recordings' order "
        "(default: the headers of WFDB records)",
    )
    parser.add_list_argument(
        "--label_columns",
        default=None,
        help="columns of the table that hold 0 and 1, one per class, or names of classes (default: "
        "the column labels); without a table, what the headers call so (default: Dx)",
    )
    parser.add_argument(
        "--label_annotations",
        default=None,
        metavar="SUFFIX",
        help="labels are the rhythms and kinds of beats in the WFDB annotations of this suffix "
        "(atr), of each stretch its own",
    )
    parser.add_argument(
        "--join_labels",
        action="store_true",
        help="names of classes that differ in capitals, blanks, _ or - alone are one (AF, af)",
    )
    parser.add_argument(
        "--match",
        default="*",
        metavar="PATTERN",
        help="of a folder only the recordings of this name, as in 'JS*' (default: all)",
    )


def _signal_options(parser):
    """What the recordings do not say themselves."""
    parser.add_argument(
        "--signal_rate",
        type=float,
        default=None,
        metavar="HZ",
        help="sampling rate of recordings that do not say it (no default)",
    )
    parser.add_argument(
        "--unit",
        default=None,
        help="unit of recordings that do not say it: mV, uV, nV, V, 1e-4V (default: mV, where they "
        "can be in mV)",
    )
    parser.add_list_argument(
        "--lead_names",
        default=None,
        help="what the signals are, in the files' order, - for one to leave out (default: their "
        "own names, or I II III aVR aVL aVF V1 ... V6)",
    )
    parser.add_list_argument(
        "--leads",
        default=None,
        help="what every recording has and the data set is made of, e.g. II V5 (default: all 12)",
    )


def _length_options(parser):
    """What becomes of the recordings: rate, length, which parts, which are left out."""
    parser.add_argument(
        "--sampling_rate",
        type=positive_int,
        default=None,
        metavar="HZ",
        help="bring all recordings to this rate (default: the first one's)",
    )
    parser.add_argument(
        "--seconds",
        type=number_up_to(MOST_SECONDS),
        default=None,
        metavar="S",
        help="cut all recordings to this length (default: all must be equally long)",
    )
    parser.add_argument(
        "--record_start",
        type=number_up_to(MOST_SECONDS, zero=True),
        default=0.0,
        metavar="S",
        help="where in each recording to begin (default 0)",
    )
    parser.add_argument(
        "--record_part",
        type=positive_int,
        default=None,
        metavar="N",
        help="of files that hold several recordings (aECG, DICOM, GE MUSE, Schiller) the N-th "
        "(default: the one with most signal)",
    )
    parser.add_argument(
        "--every",
        type=number_up_to(MOST_SECONDS),
        default=None,
        metavar="S",
        help="of long recordings a stretch of --seconds each S seconds (default: one of each)",
    )
    parser.add_argument(
        "--short",
        choices=("refuse", "pad", "drop"),
        default="refuse",
        help="what becomes of recordings shorter than --seconds (default: refuse); pad repeats the "
        "last value",
    )
    parser.add_argument(
        "--skip_bad",
        action="store_true",
        help="leave out recordings that cannot be used and list them in skipped_imports.csv",
    )


def main(args: argparse.Namespace) -> None:
    """Check what was given, write it in PTB-XL's layout."""
    folder = Path(args.output_path)
    if (folder / DATABASE).is_file() and not (folder / "import.json").is_file():
        raise UserError(f"{folder} holds another data set: choose a new folder")
    for rate in (args.signal_rate, args.sampling_rate):
        if rate is not None:
            check_rate(rate)
    names = tuple(args.lead_names) if args.lead_names else None
    seconds = args.seconds and args.seconds + SPARE_SECONDS
    asked = Asked(
        args.signal_rate,
        args.unit,
        names,
        args.record_start,
        seconds,
        args.label_annotations,
        args.record_part,
    )
    if args.every and not args.seconds:
        raise UserError("--every needs --seconds: how long each of the stretches is")
    if args.every and args.every < LEAST_EVERY:
        raise UserError(f"--every is {args.every:g} s: at least {LEAST_EVERY:g} s apart")
    source = open_source(args.records, asked, args.match, args.table)
    table, source, without = read_table(args, source)
    there = folder.exists()
    with Stage(folder, "import", settings(args), args.overwrite) as stage:
        if stage.finished_before():
            return
        try:
            counts = make(args, folder, source, table, without, asked)
        except UserError:
            stage.withdraw()
            if not there:
                _remove_empty(folder)
            raise
        inputs = [path for path in (args.records, args.table) if path and Path(path).is_file()]
        stage.finish(inputs=inputs, outputs=[folder / DATABASE], counts=counts)
    what = "stretches of long recordings" if args.every else "recordings"
    addons = folder / "addons" if "r_peaks" in table else None
    print(
        f"{counts['records']} {what} of {counts['patients']} patients, "
        f"{counts['seconds']:g} s at {counts['sampling_rate']} Hz"
    )
    say_results(folder, [path for path in folder.glob("*.*") if path.is_file()], FIRST)
    print(f"next: {command('preprocessing', data_path=folder, addons=addons)}")


def _remove_empty(folder):
    """Remove a folder that an import which was refused has made."""
    for path in folder.glob(".*.lock"):
        path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def settings(args: argparse.Namespace) -> dict:
    """What the data set depends on."""
    chosen = {key: value for key, value in vars(args).items() if key not in WITHOUT_EFFECT}
    path = Path(args.records)
    files = [args.records] if path.is_file() else files_below(path)
    listed = "\n".join(f"{os.path.basename(one)} {os.path.getsize(one)}" for one in files)
    known = hashlib.sha256(os.fsencode(listed)).hexdigest()  # of a folder names and sizes
    return {
        **chosen,
        "records": sha256(path) if path.is_file() else known,
        "table": args.table and sha256(args.table),
    }


if __name__ == "__main__":
    run(main, get_args_parser())
