"""1. Preprocessing: turn a data set in PTB-XL's layout into the arrays and the table that every
later stage reads.

Reads:   <data_path>/ptbxl_database.csv, the records it names, and where present
         <data_path>/ptbxl_plus/features/unig_features.csv (Uni-G measurements)
Writes:  <output_path>/raw100.pkl (float32 (N, 1000, 12), mV), multihot_<task>.npy and
         mask_<task>.npy, ptbxl_database_enriched.csv (R-peaks, concepts, measurements, quality),
         skipped_records.csv, preprocessing.json
Example: python code/preprocessing.py --data_path data/ptbxl/
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import common  # isort: skip  # noqa: F401

import argparse
import re
import shlex
import textwrap
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import StageParser, run, say_results, stage_parser
from common.files import UserError, read_csv, sha256, write_csv, write_npy, write_pickle
from common.labels import LABEL_MAPPINGS, LEADS, REGRESSION_TASKS, TASKS
from common.options import number_up_to
from common.stage import Stage, broken_link, command, made_path, read_stage
from records import annotations, boundary_errors, origin, tasks
from records.dataset import PLANTED, TABLE, rows_digest
from records.duplicates import across_patients, in_words, join_patients, same_recordings
from records.enrich import FEATURES, addon_files, enrich, read_published
from records.layout import DATABASE, file_column, read_layout
from records.layout import FILE as LAYOUT_FILE
from records.ptbxl import count_classes, counts_as_label, encode, parse_column
from records.stored import pick, whole
from records.wfdb_files import (
    Problem,
    Records,
    describe_problems,
    read_records,
    refuse,
)

COLUMNS = ("ecg_id", "patient_id", "scp_codes", "strat_fold")
VERSIONS = {21837: "PTB-XL 1.0.1", 21801: "PTB-XL 1.0.2", 21799: "PTB-XL 1.0.3"}
SKIPPED = "skipped_records.csv"
SHARED = (
    TABLE,
    SKIPPED,
    boundary_errors.FILE,
    *(f"multihot_{task}.npy" for task in LABEL_MAPPINGS),
    *(f"mask_{task}.npy" for task in TASKS),
)
FIRST = {
    TABLE: "one row per record with R-peaks, concepts, measurements and quality",
    SKIPPED: "records that cannot be used, and why",
    "raw*.pkl": "the signals in mV",
}


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        "data_path",
        "output_path",
        "sampling_rate",
        "limit",
        "overwrite",
        data_path={"help": "folder with ptbxl_database.csv and the records (default: data/ptbxl/)"},
        output_path={
            "default": None,
            "help": "folder for the results (default: the data set's own)",
        },
        sampling_rate={
            "help": "sampling rate of the signals, Hz: PTB-XL has 100 and 500 (raw500.pkl, 5 times "
            "the size); a data set of your own has one rate and is resampled to others"
        },
    )
    parser.add_argument(
        "--min_likelihood",
        type=number_up_to(100, zero=True),
        default=0.0,
        metavar="PERCENT",
        help="count a diagnostic statement only from this likelihood on (default 0: any); "
        "form and rhythm statements carry none and always count",
    )
    parser.add_argument(
        "--measure_at",
        choices=("auto", "100", "500"),
        default="auto",
        help="sampling rate that waves are measured at; auto: 500 Hz where that file is there "
        "(amplitudes read off 100 Hz are less exact)",
    )
    parser.add_argument(
        "--addons",
        default=None,
        metavar="DIR",
        help="folder with published r-peaks.csv and / or concepts.csv to use instead of our own "
        "(default: none)",
    )
    parser.add_argument(
        "--skip_bad",
        action="store_true",
        help="drop records that cannot be used and list them in skipped_records.csv",
    )
    parser.add_argument(
        "--join_duplicates",
        action="store_true",
        help="give patients who share a recording one patient_id and one fold; PTB-XL holds some "
        "recordings twice, which is always said",
    )
    parser.add_argument(
        "--annotations",
        action="store_true",
        help="write the waves of every beat and lead as WFDB annotations too "
        "(annotations/<ecg_id>.<lead>, about 60 ms per record)",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Make the arrays and tables, or say that they are made; a run that its checks refuse leaves no
    trace.
    """
    data_path = Path(args.data_path)
    folder = Path(args.output_path) if args.output_path else data_path
    layout = read_layout(data_path)
    if not layout.facts and args.sampling_rate not in layout.rates:
        raise UserError(
            f"--sampling_rate {args.sampling_rate}: PTB-XL's records have 100 or 500 Hz"
        )
    table = read_database(data_path, file_column(layout.stored_rate(args.sampling_rate)))
    name = made_path(folder, args.sampling_rate).stem
    with Stage(folder, name, settings(args, data_path, folder), args.overwrite) as stage:
        if stage.finished:
            check_unchanged(stage)
        if stage.finished_before():
            return
        try:
            make(args, table, data_path, folder, stage)
        except UserError:
            stage.withdraw()
            raise


def check_unchanged(stage: Stage) -> None:
    """UserError where the records' bytes are not those that a finished run has read."""
    if change := origin.changed(stage.path):
        raise UserError(
            f"{change} since {stage.folder} was made from it: --overwrite to read it again"
        )


def input_tables(args: argparse.Namespace, data_path: Path) -> list[Path]:
    """The tables that results are made from, as far as they are there."""
    paths = [data_path / name for name in (DATABASE, FEATURES, tasks.FILE, LAYOUT_FILE)]
    addons = addon_files(args.addons).values() if args.addons else ()
    return [path for path in (*paths, *addons) if path.is_file()]


def settings(args: argparse.Namespace, data_path: Path, folder: Path) -> dict:
    """What the results depend on: options, and the hashes of the tables they are made from."""
    return {
        "data_path": os.path.relpath(os.path.realpath(data_path), os.path.realpath(folder)),
        "sampling_rate": args.sampling_rate,
        "limit": args.limit,
        "min_likelihood": args.min_likelihood,
        "measure_at": args.measure_at,
        "skip_bad": args.skip_bad,
        **({"join_duplicates": True} if args.join_duplicates else {}),
        **({"annotations": True} if args.annotations else {}),
        "tables": {path.name: sha256(path) for path in input_tables(args, data_path)},
    }


def read_database(data_path: Path, file_column: str) -> pd.DataFrame:
    """ptbxl_database.csv indexed by ecg_id; UserError where it lacks a column or its ids or folds
    are not usable.
    """
    path = data_path / DATABASE
    table = read_csv(
        path,
        f"run ./download_data.sh --data_path {shlex.quote(str(data_path))}, or "
        + command("simulate_ptbxl", output_path=data_path),
        low_memory=False,
    )
    missing = [column for column in (*COLUMNS, file_column) if column not in table]
    if missing:
        raise UserError(f"{path} lacks the column {', '.join(missing)}: it is not PTB-XL's table")
    if not len(table):
        raise UserError(f"{path} has no rows")
    ids = pd.to_numeric(table["ecg_id"], errors="coerce")
    bad = ids.isna() | ids.duplicated() | (ids % 1 != 0) | (ids.abs() > 2**53)
    if bad.any():
        raise UserError(
            f"{path}: ecg_id must be a whole number and occur once (see line "
            f"{int(np.flatnonzero(bad)[0]) + 2})"
        )
    table = table.assign(patient_id=numbered(table["patient_id"]))
    unknown = {name: np.nan for name in ("age", "sex") if name not in table}
    return table.assign(ecg_id=ids.astype(int), **unknown).set_index("ecg_id")


def numbered(patients: pd.Series) -> pd.Series:
    """Patients as they are where they are numbers; names numbered in the order of their first
    appearance, blanks left blank.
    """
    if not (pd.to_numeric(patients, errors="coerce").isna() & patients.notna()).any():
        return patients
    numbers, names = pd.factorize(patients.astype(str).where(patients.notna()))
    print(f"note: {len(names)} patients have names: they are numbered in the table's order")
    return pd.Series(numbers + 1.0, index=patients.index).mask(patients.isna())


def row_problems(table: pd.DataFrame) -> list[Problem]:
    """Rows that could not be assigned to a patient or a fold."""
    fold = pd.to_numeric(table["strat_fold"], errors="coerce")
    checks = {
        "no patient_id": (table["patient_id"].isna(), "blank"),
        "wrong strat_fold": (~fold.isin(range(1, 11)), "not one of 1 to 10"),
    }
    problems = []
    for kind, (bad, text) in checks.items():
        detail = f"{kind.split()[-1]} is {text}"
        problems += [Problem(int(ecg_id), kind, detail) for ecg_id in table.index[bad]]
    return problems


@dataclass(frozen=True)
class Usable:
    """Records that can be used, in the table's order.

    codes     statements of each record
    signals   # (N, T, 12) mV
    problems  of those that cannot be used
    digest    of the headers; read: what the records' bytes were
    """

    table: pd.DataFrame
    codes: list[dict]
    signals: np.ndarray
    problems: list[Problem]
    digest: str
    read: dict[str, str]


def read_usable(
    args: argparse.Namespace, table: pd.DataFrame, data_path: Path, folder: Path
) -> Usable:
    """Read and check the records; UserError for bad ones without --skip_bad, and where none is
    left.
    """
    codes, problems = parse_column(table)
    problems += row_problems(table)
    records, read = read_signals(args, table, data_path, folder)
    problems += records.problems
    if not args.skip_bad:
        refuse(problems, len(table))
    good = ~table.index.isin([problem.ecg_id for problem in problems])
    if not good.any():
        raise UserError(
            f"none of the {len(table)} records can be used: {describe_problems(problems)}"
        )
    signals = records.signals
    if good.sum() < len(signals):
        signals = pick(signals, good[records.kept])
    codes = [code for code, fine in zip(codes, good, strict=True) if fine]
    return Usable(table[good], codes, signals, problems, records.digest, read)


def write_labels_and_table(
    args: argparse.Namespace, usable: Usable, data_path: Path, folder: Path, published: dict
) -> dict:
    """Labels, measurements and the enriched table, which all sampling rates share; what was
    counted.
    """
    own = tasks.own_tasks(data_path)
    classes = {**LABEL_MAPPINGS, **{name: task.classes for name, task in own.items()}}
    labels = encode(usable.codes, args.min_likelihood)
    multihot = labels.multihot | {
        name: encode_own(usable.codes, task, args.min_likelihood) for name, task in own.items()
    }
    enriched = enrich(
        usable.table, usable.signals, data_path, args.sampling_rate, args.measure_at, published
    )
    write_shared(folder, multihot, enriched.table, usable.problems)
    if own:
        tasks.write_tasks(folder, own)
    return {
        "records": len(usable.table),
        "skipped": len({problem.ecg_id for problem in usable.problems}),
        "patients": int(usable.table["patient_id"].nunique()),
        "classes": count_classes(multihot, classes),
        "unknown_statements": unknown_to(labels.unknown, own),
        **enriched.counts,
    }


def make(
    args: argparse.Namespace, table: pd.DataFrame, data_path: Path, folder: Path, stage: Stage
) -> None:
    """Read, check, measure; then write everything."""
    version = describe_version(data_path, table)
    print(version)
    published = read_published(data_path, args.addons)
    table = table.head(args.limit) if args.limit else table
    usable = read_usable(args, table, data_path, folder)
    table, same = settle_duplicates(usable.table, usable.signals, args.join_duplicates)
    usable = replace(usable, table=table)
    counts = shared_counts(args, folder, stage, table)
    if counts is None:
        counted = write_labels_and_table(args, usable, data_path, folder, published)
        counts = {"version": version, **counted, **({"same_recordings": same} if same else {})}
        print_summary(counts, usable.problems)
    if args.annotations:
        marks = folder / annotations.FOLDER
        annotations.annotate(usable.signals, args.sampling_rate, list(table.index), marks)
    raw = folder / f"raw{args.sampling_rate}.pkl"
    write_pickle(raw, whole(usable.signals))
    own = tasks.own_tasks(data_path)
    outputs = [raw, *(folder / name for name in (*SHARED, *files_of(own)))]
    rows = rows_digest(read_csv(folder / TABLE, usecols=["ecg_id", "patient_id", "strat_fold"]))
    facts = {"headers_sha256": usable.digest, "rows_sha256": rows, origin.KEY: usable.read}
    leads = read_layout(data_path).leads
    if len(leads) < len(LEADS):
        facts["leads"] = leads
    inputs = input_tables(args, data_path)
    stage.finish(inputs=inputs, outputs=outputs, counts={**counts, **facts})
    print(f"{counts['records']} records of {counts['patients']} patients")
    say_results(folder, outputs, FIRST)


def settle_duplicates(
    table: pd.DataFrame, signals: np.ndarray, join: bool
) -> tuple[pd.DataFrame, list[list[int]]]:
    """Say which recordings are under several patients, and join these where asked for; the table
    and the ecg_ids of each recording.
    """
    groups = across_patients(same_recordings(signals), table["patient_id"].to_numpy())
    if groups:
        what = "joined into one patient each" if join else "--join_duplicates makes them one"
        print(
            f"warning: the same recording under different patients, a leak where folds differ: "
            f"{in_words(table, groups)}; {what}",
            file=sys.stderr,
        )
    same = [table.index[rows].tolist() for rows in groups]
    return (join_patients(table, groups) if join else table), same


def shared_counts(
    args: argparse.Namespace, folder: Path, stage: Stage, table: pd.DataFrame
) -> dict | None:
    """All sampling rates share one table and one set of labels, which must come from the same
    records and settings.

    Returns the counts of a finished run at another rate whose table and labels are these too, or
    None.
    """
    own = made_path(folder, args.sampling_rate)
    others = [path for path in sorted(folder.glob("preprocessing*.json")) if path != own]
    found = [shared_with(path, args, folder, stage, table) for path in others]
    return next((counts for counts in found if counts), None)


def shared_with(
    path: Path, args: argparse.Namespace, folder: Path, stage: Stage, table: pd.DataFrame
) -> dict | None:
    """`shared_counts` of the run at another rate that the JSON `path` describes."""
    before = read_stage(path)
    other = path.stem.removeprefix("preprocessing") or "100"
    differing = [
        key
        for key in stage.settings
        if key != "sampling_rate" and before.get("settings", {}).get(key) != stage.settings[key]
    ]
    ids = (
        read_csv(folder / TABLE, usecols=["ecg_id"])["ecg_id"] if (folder / TABLE).is_file() else []
    )
    if not differing and list(ids) == list(table.index):
        return None if args.overwrite or broken_link(path) else before["counts"]
    if not args.overwrite:
        why = f"with other settings ({', '.join(differing)})" if differing else "of other records"
        raise UserError(
            f"{folder} holds raw{other}.pkl made {why}, and both share one table: --overwrite to "
            "replace it, or choose another folder"
        )
    for stale in (folder / f"raw{other}.pkl", path):
        stale.unlink(missing_ok=True)
    print(
        f"warning: raw{other}.pkl was removed: it does not belong to the new table", file=sys.stderr
    )
    return None


def read_signals(
    args: argparse.Namespace, table: pd.DataFrame, data_path: Path, folder: Path
) -> tuple[Records, dict[str, str]]:
    """The records' signals, and what their bytes were when they were read."""
    layout = read_layout(data_path)
    column = file_column(layout.stored_rate(args.sampling_rate))
    read = origin.note(data_path, args.sampling_rate, args.limit)
    records = read_records(
        data_path,
        table[column],
        table.index,
        args.sampling_rate,
        layout=layout,
        scratch=folder,
    )
    refuse_other_rate(args, table, data_path, records.problems)
    return records, read


def refuse_other_rate(
    args: argparse.Namespace, table: pd.DataFrame, data_path: Path, problems: list[Problem]
) -> None:
    """UserError that names the right --sampling_rate where a folder holds the other alone."""
    if len(problems) < len(table) or {problem.kind for problem in problems} != {"header missing"}:
        return
    for rate in read_layout(data_path).rates:
        column = file_column(rate)
        first = table[column].iloc[0] if column in table else None
        if isinstance(first, str) and (data_path / f"{first}.hea").is_file():
            raise UserError(
                f"{data_path} holds no records at {args.sampling_rate} Hz, but at {rate} Hz: give "
                f"--sampling_rate {rate}"
            )


def encode_own(
    codes: list[dict[str, float]], task: tasks.Task, min_likelihood: float
) -> np.ndarray:
    """(N, classes) 0/1: which classes of a task of the data set's own a record has."""
    labels = np.zeros((len(codes), len(task.classes)), dtype=np.int64)
    for row, likelihoods in enumerate(codes):
        for column, name in enumerate(task.classes):
            if name in likelihoods:
                labels[row, column] = counts_as_label(name, likelihoods[name], min_likelihood)
    return labels


def unknown_to(unknown: dict[str, int], own: dict[str, tasks.Task]) -> dict[str, int]:
    """Statements that neither PTB-XL's tasks nor the data set's own know."""
    known = set().union(*(task.classes for task in own.values()))
    return {name: count for name, count in unknown.items() if name not in known}


def files_of(own: dict[str, tasks.Task]) -> list[str]:
    """What is written for the data set's own tasks."""
    return [f"{kind}_{name}.npy" for name, kind in product(own, ("multihot", "mask"))]


def describe_version(data_path: Path, table: pd.DataFrame) -> str:
    """Which release of PTB-XL the table is, by its count."""
    if (data_path / PLANTED).is_file():
        return f"a simulated cohort of {len(table)} records"
    source = read_layout(data_path).facts.get("source")
    if source:
        return f"{source}, {len(table):,} records"
    known = ", ".join(f"{name[-5:]}: {count:,}" for count, name in VERSIONS.items())
    return VERSIONS.get(len(table), f"a subset of {len(table):,} records (PTB-XL {known})")


def write_shared(
    folder: Path, multihot: dict[str, np.ndarray], table: pd.DataFrame, problems: list[Problem]
) -> None:
    """What does not depend on the sampling rate of the signals: the files named in SHARED."""
    masks = {task: array.any(axis=1) for task, array in multihot.items()}
    for task, prefix in REGRESSION_TASKS.items():
        masks[task] = table[[prefix + lead for lead in LEADS]].notna().all(axis=1).to_numpy()
    write_csv(folder / TABLE, table.reset_index())
    write_csv(
        folder / SKIPPED,
        pd.DataFrame(problems, columns=Problem._fields).sort_values("ecg_id", kind="stable"),
    )
    write_csv(folder / boundary_errors.FILE, boundary_errors.own_table())
    for kind, arrays in (("multihot", multihot), ("mask", masks)):
        for task, array in arrays.items():
            write_npy(folder / f"{kind}_{task}.npy", array)


def print_summary(counts: dict, problems: list[Problem]) -> None:
    """What was found, a few lines per task; task `all` is the others together."""
    empty = [task for task, found in counts["classes"].items() if not found["labelled"]]
    for task, found in counts["classes"].items():
        if task in empty:
            continue
        present = ", ".join(f"{name} {count}" for name, count in found["classes"].items() if count)
        absent = " ".join(name for name, count in found["classes"].items() if not count)
        line = f"{task}: {found['labelled']} records with a label, {found['unlabelled']} without"
        if task != "all":
            line += f": {present}" + (f"; none: {absent}" if absent else "")
        print_wrapped(line)
    if empty:
        print_wrapped(f"no record has a label of: {', '.join(empty)}")
    concepts = [
        f"{name} {found['true'] if found['true'] + found['false'] else 'not judged'}"
        for name, found in counts["concepts"].items()
    ]
    quality = [
        f"{name} {'not judged' if count is None else count}"
        for name, count in counts["quality"].items()
    ]
    print_wrapped(f"concepts: {', '.join(concepts)}")
    print_wrapped(f"quality: {', '.join(quality)}")
    for what, source in counts["sources"].items():
        print_wrapped(f"{what}: {in_brackets(source)}")
    if n_clipped := counts["amplitudes_clipped"]:
        print_wrapped(f"{n_clipped} amplitudes beyond what a heart produces were clipped")
    unknown = in_brackets(counts["unknown_statements"])
    warnings = {
        "statements that are not among PTB-XL's 71": unknown,
        "records measured at 100 Hz because of their 500 Hz file": counts["not_measured_at_500_hz"],
        "records dropped": describe_problems(problems),
    }
    for what, text in warnings.items():
        if text:
            print(f"warning: {what}: {text}", file=sys.stderr)


def in_brackets(counts: dict[str, int]) -> str:
    """'name (count), ...'"""
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def print_wrapped(line: str) -> None:
    """Print wrapped, a name never parted from its count (a no-break space holds them together)."""
    line = re.sub(r"(\S) (?=\(?\d)", "\\1\N{NO-BREAK SPACE}", line)
    wrapped = textwrap.wrap(
        line, 120, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
    print("\n".join(wrapped).replace("\N{NO-BREAK SPACE}", " "))


if __name__ == "__main__":
    run(main, get_args_parser())
