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
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import StageParser, run, say_results, stage_parser, whole_names
from common.files import UserError, sha256, write_csv
from common.labels import OWN_TASK, STATEMENTS
from common.options import MOST_SECONDS, number_up_to, positive_int
from common.stage import Stage, command
from records import array_files, cohort_table, importing, label_words, snomed
from records.dataset import parse_r_peaks
from records.layout import DATABASE, write_layout
from records.ptbxl import write_database, write_statements
from records.recording import Asked
from records.resampling import check_rate
from records.sources import Source, files_below, open_source, patients_of_folders
from records.tasks import Task, check_classes, task_of_labels, write_tasks

FIRST = {
    DATABASE: "one row per recording, as in PTB-XL",
    "skipped_imports.csv": "recordings that were left out, and why",
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
    if args.every and "r_peaks" in table:
        print("the column r_peaks is of whole recordings and left out: peaks are detected")
        table = table.drop(columns="r_peaks")
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
    known = hashlib.sha256(listed.encode()).hexdigest()  # of a folder names and sizes
    return {
        **chosen,
        "records": sha256(path) if path.is_file() else known,
        "table": args.table and sha256(args.table),
    }


# ---------------------------------------------------------------- the table


def read_table(args: argparse.Namespace, source: Source) -> tuple[pd.DataFrame, Source, list[str]]:
    """One row per recording of the source, in its order: record_id, ecg_id and what is known from
    --table; the source without the recordings that the table does not name, and those. UserError
    for all that does not fit.
    """
    if args.table is None:
        if Path(args.records).is_file():
            raise UserError(
                "--table is needed: a csv with one row per recording and its labels (to explain "
                "one recording no data set is needed: lrp_analysis.py --record)"
            )
        ids, texts = cohort_table.number_ids(source.names, args.records)
        return pd.DataFrame({"ecg_id": ids, "record_id": texts}), source, []
    table = cohort_table.read_cohort_table(args.table, args.label_columns or ())
    if not len(table):
        raise UserError(f"{args.table} has no rows")
    table, source, without = _in_order(table, source, args)
    known = {}
    if not args.label_annotations:
        known["labels"] = cohort_table.read_labels(table, args.table, args.label_columns or ())
    if "age" in table:
        known["age"] = cohort_table.read_ages(table["age"], args.table)
    if "sex" in table:
        known["sex"] = cohort_table.read_sexes(table["sex"], args.table)
    elif "is_male" in table:
        known["sex"] = cohort_table.read_males(table["is_male"], args.table)
    if "strat_fold" in table:
        known["strat_fold"] = cohort_table.read_folds(table["strat_fold"], args.table)
    elif "split" in table and cohort_table.is_split(table["split"]):
        known["strat_fold"] = cohort_table.read_folds(table["split"], args.table)
    if not any(known.get("labels", [True])):
        print(f"warning: {args.table}: no recording has a label", file=sys.stderr)
    if "patient_id" in table:
        known["patient_id"] = cohort_table.number_patients(table["patient_id"], args.table)
    table = table.drop(columns=[name for name in known if name in table]).assign(**known)
    return table, source, without


def _in_order(table, source, args):
    """The rows of the table that belong to the source's recordings, in the recordings' order, the
    recordings that have one, and the names of the others.
    """
    array = Path(args.records).suffix.lower() in array_files.SUFFIXES
    if not array and str(table.columns[0]) in source.names:
        raise UserError(
            f"{args.table} has no head, its first line is of the recording {table.columns[0]}: put "
            "a line with the columns' names above it, such as record_id,labels"
        )
    columns = [name for name in cohort_table.ID_COLUMNS if name in table]
    rows, without = ({}, []) if array else cohort_table.rows_by_name(table, columns, source.names)
    if rows and without and not args.skip_bad:
        raise UserError(
            f"{args.table} has no row for {len(without)} of the {len(source.names)} recordings of "
            f"{args.records}, the first: {without[0]}; --skip_bad leaves them out"
        )
    if not rows:
        _refuse_other_names(table, source, args, array)
        if len(table) != len(source.names):
            raise UserError(
                f"{args.records} has {len(source.names)} recordings and {args.table} has "
                f"{len(table)} rows: expected (rows, T, 12), or a column record_id that names each"
            )
        rows, without = {name: row for row, name in enumerate(source.names)}, []
    if without:
        source = source.only(list(rows))
    own = next((name for name in ("record_id", "ecg_id", *columns) if name in table), None)
    given = source.names if own is None else table[own].iloc[list(rows.values())]
    ids, texts = cohort_table.number_ids(given, args.table)
    table = table.iloc[list(rows.values())].reset_index(drop=True)
    return table.assign(ecg_id=ids, record_id=texts), source, without


def _refuse_other_names(table, source, args, array):
    """UserError where a column of the table names recordings, and none of those that there are."""
    naming = ("record_id", *cohort_table.FILE_COLUMNS)
    column = next((name for name in naming if name in table), None)
    if column is None or array or Path(args.records).is_file():
        return
    raise UserError(
        f"{args.table} names none of the recordings of {args.records} in its column {column}: it "
        f"has {table[column].iloc[0]}, the first recording is {source.names[0]}; without that "
        "column rows are taken in the recordings' order"
    )


def from_files(
    table: pd.DataFrame, written: importing.Written, args: argparse.Namespace
) -> pd.DataFrame:
    """The table with age, sex and labels as the recordings' headers and annotations give them."""
    columns, facts = {}, written.facts
    if left_out := importing.left_out(facts, table["record_id"]):
        columns["left_out"] = left_out
    named = [f"recording {name} of {args.records}" for name in table["record_id"]]
    for name, reader in (("age", cohort_table.read_ages), ("sex", cohort_table.read_sexes)):
        if name not in table and any(name in said for said in facts):
            columns[name] = reader([said.get(name, "") for said in facts], named)
    if args.label_annotations:
        from records.rhythm_marks import labels_of  # rarely asked for

        seconds = written.n_samples / written.sampling_rate
        columns["labels"] = labels_of(facts, written.starts, seconds)
    elif "labels" not in table:
        columns["labels"] = _labels_in_headers(facts, args.label_columns, args.records)
    return table.assign(**columns)


def _labels_in_headers(facts, asked, where):
    """Names of classes as headers have them behind the words `asked`, such as `Reason for
    admission: ...`, else their SNOMED CT codes; UserError where there are none.
    """
    known = set().union(*facts) - {"left_out"}
    codes = [said.get("dx", "") for said in facts]
    if not asked and not any(codes):
        other = sorted(known - {"age", "sex"})
        said = f"; the headers say: {', '.join(other[:12])}" if other else ""
        raise UserError(
            f"{where} says nothing of diagnoses (#Dx): give --table, --label_annotations (WFDB "
            f"annotations of rhythms and beats) or --label_columns (what headers call it{said})"
        )
    if not asked:
        counted = snomed.count_codes(codes)
        print("SNOMED CT codes: " + ", ".join(f"{what} {n}" for what, n in counted.items()))
        return [snomed.labels_of(text) for text in codes]
    names = whole_names([str(word).lower() for word in asked], known)
    if absent := [name for name in names if name not in known]:
        raise UserError(
            f"{where}: no header says {', '.join(absent)}; they say {', '.join(sorted(known))}"
        )
    labels = []
    for said in facts:
        row: dict[str, None] = {}
        for name in names:
            row |= dict.fromkeys(label_words.names_in(str(said.get(name, ""))))
        labels.append(list(row))
    return label_words.translated(labels)


def _patients_of_files(table, facts):
    """With the patients that the files themselves name, where all do, as numbers from 1 on: a
    hospital's own numbers do not go into the data set.
    """
    named = [str(said.get("patient_id") or "").strip() for said in facts]
    if not all(named) or len(set(named)) == 1 < len(named):
        return table
    print(f"patients as the files name them: {len(set(named))}")
    return table.assign(patient_id=pd.factorize(np.array(named, object))[0] + 1)


def _patients_by_folder(table, folders):
    """With the patients of a collection that keeps each one's recordings in a folder."""
    found = patients_of_folders(folders)
    if found is None:
        return table
    names, collection = found
    print(f"patients by the folders of {collection} ({names[0]}, ...): {len(set(names))}")
    return table.assign(patient_id=pd.factorize(np.array(names, object))[0] + 1)


def _with_folds(table, written, folders, labels, args):
    """With patients and folds, where the table has none; the stretches of a recording stay
    together.

    folders  that the recordings of the rows lie in
    """
    if "patient_id" not in table:
        table = _patients_of_files(table, written.facts)
    if "patient_id" not in table:
        table = _patients_by_folder(table, folders)
    if "patient_id" not in table:
        print(
            "warning: no column patient_id: every recording counts as a patient of its own",
            file=sys.stderr,
        )
        own = pd.factorize(table["recording"])[0] + 1 if args.every else table["ecg_id"]
        table = table.assign(patient_id=own)
    patients = table["patient_id"].to_numpy()
    if "strat_fold" not in table:
        return table.assign(strat_fold=cohort_table.deal_folds(patients, labels, args.seed))
    folds = table["strat_fold"].to_numpy()
    if (folds == 0).any():
        names = ("train", "validation", "test")
        n = {name: int((folds == cohort_table.SPLITS[name]).sum()) for name in names}
        folds = cohort_table.deal_training(folds, patients, labels, args.seed)
        print(
            f"split: {n['train']} to train on (folds 1 to 8; also 9 where none validates), "
            f"{n['validation']} validate (9), {n['test']} test (10)"
        )
    return table.assign(strat_fold=folds)


# ---------------------------------------------------------------- writing


def _of_stretches(table, starts):
    """The rows of recordings as those of their stretches: numbered anew, named as h1@10s."""
    names = [f"{name}@{start:g}s" for name, start in zip(table["record_id"], starts, strict=True)]
    return table.assign(
        recording=table["record_id"],
        start_s=starts,
        record_id=names,
        ecg_id=np.arange(1, len(table) + 1),
    )


def make(
    args: argparse.Namespace,
    folder: Path,
    source: Source,
    table: pd.DataFrame,
    without: Sequence[str],
    asked: Asked,
) -> dict[str, object]:
    """Write the records, then R-peaks, statements, tasks and, last, the table; what was counted.

    without  names of recordings that the table has no row for
    """
    leads = importing.chosen_leads(args.leads)
    wanted = importing.Wanted(
        args.sampling_rate, args.seconds, args.short, args.skip_bad, leads, asked, args.every
    )
    written = importing.write_records(folder, source, table["ecg_id"].to_numpy(), wanted)
    written.skipped |= dict.fromkeys(without, "the table has no row for it")
    table = table.iloc[written.kept].reset_index(drop=True)
    if args.every:
        table = _of_stretches(table, written.starts)
    table = from_files(table, written, args)
    importing.print_summary(written)
    labels = label_words.settle_alike(table["labels"].tolist(), args.join_labels)
    folders = [source.folders[number] for number in written.kept] if source.folders else ()
    table = _with_folds(table, written, folders, labels, args)
    table["scp_codes"] = [str(dict.fromkeys(row, 100.0)) for row in labels]
    rate = written.sampling_rate
    table = table.assign(**importing.names_of_files(table["ecg_id"].to_numpy(), rate))
    if "r_peaks" in table:
        write_csv(folder / "addons" / "r-peaks.csv", r_peaks_at_100(table, args, rate))
    if written.skipped:
        write_csv(folder / "skipped_imports.csv", importing.skipped_table(written))
    own = sorted(set().union(*labels) - set(STATEMENTS))
    write_tasks(folder, own_task(table, labels, args))
    write_layout(
        folder,
        rate,
        written.n_samples,
        leads=leads,
        source=Path(args.records).resolve().name,
        label_source=label_source(args),
    )
    write_statements(folder)
    write_database(folder, table.drop(columns=["labels", "r_peaks"], errors="ignore"))
    if own:
        print(
            f"labels that are no SCP statements, known to the task {OWN_TASK} alone: "
            f"{', '.join(own)}"
        )
    return {
        "records": len(table),
        "patients": int(table["patient_id"].nunique()),
        "sampling_rate": rate,
        "seconds": written.n_samples / rate,
        "skipped": written.skipped,
        "flags": {check: len(names) for check, names in written.flags.items()},
        "labels": dict(Counter(itertools.chain.from_iterable(labels))),
    }


def own_task(
    table: pd.DataFrame, labels: list[list[str]], args: argparse.Namespace
) -> dict[str, Task]:
    """The task of all labels that occur; says how many records answer no to all of them."""
    if not any(labels):
        return {}
    task = task_of_labels(OWN_TASK, labels)
    check_classes(task.classes, args.table or args.records)
    if args.table is None or args.label_annotations:
        return {OWN_TASK: task}
    asked = cohort_table.answered_classes(table, args.label_columns or ())
    answered = tuple(name for name in asked if name in task.classes)
    n_none = sum(not row for row in labels)
    if answered and n_none:
        print(
            f"{n_none} recordings say no to all of {', '.join(answered)}: they count as records "
            "without these"
        )
    return {OWN_TASK: task._replace(answered=answered)}


def label_source(args: argparse.Namespace) -> str:
    """Where the labels are from, in words."""
    if args.label_annotations:
        return f"WFDB annotations ({args.label_annotations}) of rhythms and beats"
    if args.table:
        return f"the table {Path(args.table).name}"
    if args.label_columns:
        return f"the headers ({', '.join(args.label_columns)})"
    return "SNOMED CT codes of the headers, translated to SCP statements"


def r_peaks_at_100(table: pd.DataFrame, args: argparse.Namespace, rate: int) -> pd.DataFrame:
    """ecg_id and R-peaks in samples at 100 Hz; the table has them at the recordings' own rate."""
    given = args.signal_rate or rate
    places = [f"{args.table}, recording {record}: " for record in table["record_id"]]
    read = map(parse_r_peaks, table["r_peaks"], places)
    peaks = [np.rint(samples * 100 / given).astype(int) for samples in read]
    texts = [" ".join(map(str, row)) for row in peaks]
    return pd.DataFrame({"ecg_id": table["ecg_id"], "r_peaks": texts})


if __name__ == "__main__":
    run(main, get_args_parser())
