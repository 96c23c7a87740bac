"""An import from its recordings and its table to a data set in PTB-XL's layout: which row is of
which recording, where labels, patients and folds are from, and what is written.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import whole_names
from common.files import UserError, write_csv
from common.labels import OWN_TASK, STATEMENTS
from records import array_files, cohort_table, importing, label_words, snomed
from records.dataset import parse_r_peaks
from records.layout import write_layout
from records.ptbxl import write_database, write_statements
from records.recording import Asked
from records.sources import Source, patients_of_folders
from records.tasks import Task, check_classes, task_of_labels, write_tasks

R_PEAKS, SKIPPED = Path("addons") / "r-peaks.csv", "skipped_imports.csv"

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
    elif "split" in table:
        words = ", ".join(table["split"].astype(str).unique()[:4])
        print(
            f"warning: {args.table}: its column of splits says {words}, not train, val or test of "
            "every row: it is not used, and patients are dealt out to folds",
            file=sys.stderr,
        )
    if not any(known.get("labels", [True])):
        print(f"warning: {args.table}: no recording has a label", file=sys.stderr)
    if "patient_id" in table:
        known["patient_id"] = cohort_table.number_patients(table["patient_id"], args.table)
    table = table.drop(columns=[name for name in known if name in table]).assign(**known)
    if args.every and "r_peaks" in table:
        print("the column r_peaks is of whole recordings and left out: peaks are detected")
        table = table.drop(columns="r_peaks")
    if "r_peaks" in table:  # before anything is written
        places = [f"{args.table}, recording {name}: " for name in table["record_id"]]
        for text, place in zip(table["r_peaks"], places, strict=True):
            parse_r_peaks(text, place)
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
    if array:
        cohort_table.warn_of_other_order(table, args.table)
    if not rows:
        _refuse_other_names(table, source, args, array)
        if len(table) != len(source.names):
            raise UserError(
                f"{args.records} has {len(source.names)} recordings and {args.table} has "
                f"{len(table)} rows: expected (rows, T, 12), "
                + ("in that order" if array else "or a column record_id that names each")
            )
        rows, without = {name: row for row, name in enumerate(source.names)}, []
    if without:
        source = source.only(list(rows))
    if n_unused := len(table) - len(rows):
        print(f"{n_unused} rows of {args.table} are of recordings that are not in {args.records}")
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
    ids = table["ecg_id"].to_numpy()
    with importing.records_aside(folder, source, ids, wanted) as written:
        # whatever may be refused is, before anything takes the place of what was there
        written.skipped |= dict.fromkeys(without, "the table has no row for it")
        table, labels = described(args, source, table, written)
        beside = {
            R_PEAKS: r_peaks_at_100(table, written) if "r_peaks" in table else (),
            SKIPPED: importing.skipped_table(written),
        }
        tasks = own_task(table, labels, args)
    rate = written.sampling_rate
    _write_beside(folder, beside)
    own = sorted(set().union(*labels) - set(STATEMENTS))
    write_tasks(folder, tasks)
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


def _write_beside(folder, beside):
    """R-peaks and recordings that were left out, where there are any; those of an earlier import
    go.
    """
    for name, rows in beside.items():
        (folder / name).unlink(missing_ok=True)
        if len(rows):
            write_csv(folder / name, rows)


def described(
    args: argparse.Namespace, source: Source, table: pd.DataFrame, written: importing.Written
) -> tuple[pd.DataFrame, list[list[str]]]:
    """The table of the records that were written, with what their files say, patients, folds,
    labels and the names of their files; and the labels of each.
    """
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
    return table.assign(**importing.names_of_files(table["ecg_id"].to_numpy(), rate)), labels


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


def r_peaks_at_100(table: pd.DataFrame, written: importing.Written) -> pd.DataFrame:
    """ecg_id and R-peaks in samples at 100 Hz from where each record begins; the table has them at
    each recording's own rate, from its beginning. Those before and behind a stretch that was cut
    out are left out.
    """
    n_samples = written.n_samples * 100 / written.sampling_rate
    own = zip(written.rates, written.starts, written.seconds, strict=True)
    texts = []
    for text, (rate, start, seconds) in zip(table["r_peaks"], own, strict=True):
        samples = parse_r_peaks(text)
        peaks = np.rint(samples * 100 / rate - 100 * start).astype(int)
        # what lies behind the recording itself is wrong, which preprocessing says
        there = (peaks >= 0) & ((peaks < n_samples) | (samples >= rate * seconds))
        texts.append(" ".join(map(str, peaks[there])))
    return pd.DataFrame({"ecg_id": table["ecg_id"], "r_peaks": texts})
