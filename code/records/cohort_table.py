"""The table of a cohort of one's own in PTB-XL's columns: ids, ages, sex, folds, labels.

What is understood is brought to PTB-XL's way of writing; what is not is refused with the row named,
before anything is written.
"""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from common.cli import whole_names
from common.files import UserError, need_file, read_csv
from records import label_words
from records.csv_layout import encoding_of
from records.recording import NOT_READ

SEXES = {
    **dict.fromkeys(("m", "male", "man", "männlich", "0", "0.0"), 0.0),
    **dict.fromkeys(("f", "female", "woman", "w", "weiblich", "1", "1.0"), 1.0),
}
# columns that can only mean the recordings, and all that may
FILE_COLUMNS = ("filename", "file_name", "filename_hr", "filename_lr", "file", "path")
ID_COLUMNS = (
    *("record_id", "record", "recording", "exam_id", "study_id", "ecg_id", "id", "name"),
    *FILE_COLUMNS,
)
# columns that hold names of classes where no column is called labels, in small
LABEL_NAMES = ("label", "dx", "diagnosis", "diagnoses", "snomed_ct", "snomed_ct_code")
# other names of a table's columns, in small and without _ and blanks -> ours
ALIASES = {
    **dict.fromkeys(("patientid", "subjectid", "subject", "patient", "pid"), "patient_id"),
    **dict.fromkeys(("age", "patientage", "ageyears", "anchorage"), "age"),
    **dict.fromkeys(("sex", "gender", "patientsex", "patientgender"), "sex"),
    **dict.fromkeys(("stratfold", "fold"), "strat_fold"),
    **dict.fromkeys(("split", "splits", "set", "subset", "partition", "datasplit"), "split"),
    "labels": "labels",
    **{name.replace("_", ""): name for name in ID_COLUMNS},
}
_AGE = re.compile(
    r"(?:>\s*)?(\d+(?:[.,]\d+)?)\s*(?:\+\s*)?((?:y|yrs?|years?|m|months?|w|weeks?|d|days?)?)"
)
YEARS = {"": 1, "y": 1, "m": 12, "w": 52.18, "d": 365.25}  # how many make a year
SEPARATORS = ",;\t|"  # of a table's cells
HEAD_BYTES = 100_000  # csv takes no cell above 131,072
MOST_COLUMNS = 5_000  # pandas takes .2 ms for each
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # how Excel's files begin
AS_TEXT = (*ID_COLUMNS, "patient_id", "labels", "scp_codes", "r_peaks")  # 007 stays 007
MASKED, MASKED_AGE = 300.0, 90.0  # PTB-XL's mask for everybody above 89, and what it stands for
# names of CODE-15 %'s columns of 0 and 1 -> SCP statements
CODE_LABELS = {
    "1dAVb": "1AVB",
    "RBBB": "CRBBB",
    "LBBB": "CLBBB",
    "SB": "SBRAD",
    "ST": "STACH",
    "AF": "AFIB",
    "normal_ecg": "NORM",
}
# CPSC 2018's columns, and what its numbers mean
CPSC_COLUMNS = ("First_label", "Second_label", "Third_label")
CPSC_LABELS = {
    str(number + 1): name
    for number, name in enumerate(
        ("NORM", "AFIB", "1AVB", "CLBBB", "CRBBB", "PAC", "PVC", "STD_", "STE_")
    )
}
# what cells of a column of one class say, in small; a dash or nothing is no
YES = (
    *("1", "1.0", "true", "t", "yes", "y", "ja", "j", "oui", "si", "sí", "x", "pos", "positive"),
    *("present", "wahr", "vrai"),
)
NO = (
    *("0", "0.0", "false", "f", "no", "n", "nein", "non", "neg", "negative", "absent", "falsch"),
    *("faux", "", "nan", "-", "none"),
)
ANSWERS = {*YES, *NO}
BLANKS = {"", "nan", "none"}  # read as no, but perhaps nobody looked
SPLITS = {  # a word for a split -> its fold; 0 is dealt to those that neither validate nor test
    **dict.fromkeys(("train", "training", "tr"), 0),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), 9),
    **dict.fromkeys(("test", "testing", "te", "holdout", "eval"), 10),
}


def row_error(where: object, row: int, what: str) -> UserError:
    """An error that names a row: of a table as an editor counts it (the head is line 1), of a list
    of names by its name.
    """
    place = where[row] if isinstance(where, list) else f"{where}, line {row + 2}"
    return UserError(f"{place}: {what}")


def our_name(name: object) -> str | None:
    """What we call a column of a table; None for one that we do not know."""
    return ALIASES.get(re.sub(r"[\s_]+", "", str(name).lower()))


def with_our_names(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns that we know by other names (Gender, PatientAge, subject_id)
    under ours; a column that is there under our name stays.
    """
    renamed = {}
    for name in table:
        ours = our_name(name)
        if name in ID_COLUMNS:  # filename and file_name are both ours
            continue
        if ours and ours not in table and ours not in renamed.values():
            renamed[name] = ours
    return table.rename(columns=renamed)


def read_ages(column: Sequence[object], where: object) -> np.ndarray:
    """Years; PTB-XL's mask 300 is 90, as is "90+"; "85+" is 85; "56 y" and DICOM's "056Y" are 56;
    "6 months" is .5; "NaN" is unknown.
    """
    ages = np.full(len(column), np.nan)
    for row, value in enumerate(column):
        text = str(value).strip().lower()
        if text in label_words.UNKNOWN:
            continue
        match = _AGE.fullmatch(text)
        age = float(match[1].replace(",", ".")) / YEARS[match[2][:1]] if match else np.nan
        if not (age <= 130 or age == MASKED):
            raise row_error(where, row, f"age {value!r} is no age in years")
        ages[row] = MASKED_AGE if age == MASKED else age
    return ages


def read_sexes(column: Sequence[object], where: object) -> np.ndarray:
    """0 male, 1 female, NaN unknown, from F, M, Female, male, 0, 1."""
    sexes = np.full(len(column), np.nan)
    for row, value in enumerate(column):
        text = str(value).strip().lower()
        if text in label_words.UNKNOWN and text not in SEXES:
            continue
        if text not in SEXES:
            raise row_error(where, row, f"sex {value!r} is not one of M, F, male, female, 0, 1")
        sexes[row] = SEXES[text]
    return sexes


def read_males(column: pd.Series, where: object) -> np.ndarray:
    """The same from CODE-15 %'s column is_male, of true and false, or 1 and 0."""
    said = {"true": "M", "1": "M", "false": "F", "0": "F"}
    # with a blank among them, 1 and 0 are read as 1.0 and 0.0
    words = column.astype(str).str.strip().str.lower().str.removesuffix(".0")
    return read_sexes(words.map(said).fillna(words), where)


def is_split(column: Sequence[object]) -> bool:
    """Whether a column says train, val or test of each row."""
    return len(column) > 0 and all(str(value).strip().lower() in SPLITS for value in column)


def read_folds(column: Sequence[object], where: object) -> np.ndarray:
    """Whole numbers from 1 to 10; of train, val and test 0 (to be dealt), 9 and 10."""
    if is_split(column):
        return np.array([SPLITS[str(value).strip().lower()] for value in column])
    folds = pd.to_numeric(pd.Series(list(column)), errors="coerce").to_numpy(float)
    bad = np.flatnonzero(~np.isin(folds, np.arange(1, 11)))
    if len(bad):
        value = list(column)[bad[0]]
        raise row_error(
            where,
            int(bad[0]),
            f"strat_fold {value!r} is not one of 1 to 10 (9 validates, 10 tests), nor are all rows "
            "one of train, val, test",
        )
    return folds.astype(int)


def number_ids(ids: Sequence[object], where: object) -> tuple[np.ndarray, list[str]]:
    """ecg_id (whole numbers) and the ids as they were given, which may be any text; UserError
    where one stands twice.
    """
    texts = [re.sub(r"\.0$", "", str(value).strip()) for value in ids]
    seen: dict[str, int] = {}
    for row, text in enumerate(texts):
        if text.lower() in label_words.UNKNOWN:
            raise row_error(where, row, "the id is blank")
        if text in seen:
            raise row_error(
                where,
                row,
                f"the id {text} stands in line {seen[text] + 2} too, and more than labels differs: "
                "one row for each recording, several labels in one cell",
            )
        seen[text] = row
    numbers = {int(text) for text in texts if re.fullmatch(r"\d{1,15}", text)}
    if len(numbers) == len(texts):  # neither names nor 007 beside 7
        return np.array([int(text) for text in texts]), texts
    return np.arange(1, len(texts) + 1), texts


def number_patients(column: Sequence[object], where: object) -> np.ndarray:
    """Whole numbers as they are; other names numbered in the order of their first appearance."""
    texts = [re.sub(r"\.0$", "", str(value).strip()) for value in column]
    for row, text in enumerate(texts):
        if text.lower() in label_words.UNKNOWN:
            what = "patient_id is blank: name every row's patient, or leave the column out"
            raise row_error(where, row, what)
    if all(re.fullmatch(r"\d{1,15}", text) for text in texts):
        return np.array([int(text) for text in texts])
    return pd.factorize(np.array(texts, object))[0] + 1


def read_labels(table: pd.DataFrame, where: object, columns: Sequence[str] = ()) -> list[list[str]]:
    """Labels of each row: of `columns`, else of those of CODE-15 % or CPSC 2018, else of the column
    `labels` (names separated by blanks, commas or semicolons, or lists of them), else of PTB-XL's
    scp_codes. SNOMED CT codes become SCP statements.
    """
    columns = whole_names(columns, table)
    if not columns and "labels" not in table:
        columns = [name for name in CODE_LABELS if name in table]
        columns = columns or [name for name in CPSC_COLUMNS if name in table]
        columns = columns or _column_of_names(table)
    if columns:
        return _labels_of_columns(table, where, columns)
    if "labels" in table:
        return _labels_of_cells(table["labels"], where)
    if "scp_codes" in table:
        return [re.findall(r"'([^']+)'\s*:", str(text)) for text in table["scp_codes"]]
    raise UserError(
        f"{where} lacks the column labels: class names, separated by spaces (SCP statements as "
        "NORM, IMI, LVH, SR, or any others); or name columns of 0 and 1, or of names, with "
        f"--label_columns{_candidates(table)}"
    )


def answered_classes(table: pd.DataFrame, columns: Sequence[str] = ()) -> list[str]:
    """Classes that every row says yes or no to in a column of their own, of those that
    `read_labels` reads: a row without any of them is known to have none. A blank is no answer.
    """
    chosen = whole_names(columns, table)
    if not chosen and "labels" not in table:
        chosen = [name for name in CODE_LABELS if name in table]
    answered: dict[str, None] = {}
    for name in chosen:
        words = table[name].astype(str).str.strip().str.lower()
        if name not in CPSC_COLUMNS and words.isin(ANSWERS - BLANKS).all():
            [classes] = label_words.translated([[CODE_LABELS.get(name, name)]])
            answered |= dict.fromkeys(classes)
    return list(answered)


def _column_of_names(table):
    """The first column that is called as those of labels often are."""
    if "scp_codes" in table:
        return []
    found = [name for name in table if str(name).strip().lower() in LABEL_NAMES][:1]
    if found:
        print(f"labels are read from the column {found[0]} (--label_columns names others)")
    return found


def _labels_of_cells(column, where):
    """Of cells with names separated by blanks, commas or semicolons, or lists of them."""
    texts = column.fillna("").astype(str)
    if sentence := label_words.torn(texts):
        print(
            f"warning: {where}: the labels are parted at blanks, as in {sentence!r}; if that "
            "is one name, give --label_columns labels, and ; between names",
            file=sys.stderr,
        )
    found = [list(dict.fromkeys(label_words.codes_in(text))) for text in texts]
    return label_words.translated(found)


def _candidates(table):
    """The columns of 0 and 1, as --label_columns would name them."""
    found = []
    for name in table:
        values = set(table[name].astype(str).str.lower())
        if our_name(name) is None and values & set(YES) and values <= ANSWERS:
            found.append(str(name))
    return " " + " ".join(found[:20]) if found else ""


def _labels_of_columns(table, where, columns):
    """Of columns of 0 and 1, one per class, or of names (several separated by ; , or lines)."""
    if absent := [name for name in columns if name not in table]:
        raise UserError(f"{where} has no column {', '.join(absent)}; it has {', '.join(table)}")
    labels: list[list[str]] = [[] for _ in range(len(table))]
    for name in columns:
        texts = [str(value).strip() for value in table[name]]
        if name in CPSC_COLUMNS or _holds_names(texts):
            for row, text in enumerate(texts):
                labels[row] += _names_in(text, name in CPSC_COLUMNS)
            continue
        for row, text in enumerate(texts):
            if text.lower() not in ANSWERS:
                raise row_error(
                    where,
                    row,
                    f"{name} is {table[name].iloc[row]!r}, neither 0 nor 1 (yes nor no); numbers "
                    "that are names of classes belong in a column labels",
                )
            if text.lower() in YES:
                labels[row].append(CODE_LABELS.get(name, name))
        if not any(text.lower() in YES for text in texts):
            print(
                f"warning: {where}: no recording has {name}, which is no class of this data set",
                file=sys.stderr,
            )
    return label_words.translated([list(dict.fromkeys(row)) for row in labels])


def _holds_names(texts):
    """Whether the cells of a column are names of classes, not the yes and no of one; of numbers,
    codes as SPH's 22;23: most are neither.
    """
    n_binary = sum(text.lower() in ANSWERS for text in texts)
    numbers = [text for text in texts if re.fullmatch(r"[-\d.]+", text)]
    return n_binary < len(texts) if len(numbers) < 2 else 2 * n_binary < len(texts)


def _names_in(text, cpsc):
    """'Sinus rhythm; AV block' -> Sinus_rhythm, AV_block; of CPSC 2018's columns the meaning."""
    words = label_words.names_in(text)
    return [CPSC_LABELS.get(re.sub(r"\.0$", "", word), word) if cpsc else word for word in words]


def deal_folds(
    patients: np.ndarray, labels: Sequence[Sequence[str]], seed: int, n_folds: int = 10
) -> np.ndarray:
    """A fold from 1 on for each record: all of a patient in one fold, each label spread evenly.

    Patients with the rarest labels are dealt first, each to the fold that has fewest of them.
    """
    _, patient = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    labels_of: list[set[str]] = [set() for _ in range(patient.max() + 1)]
    for row, names in enumerate(labels):
        labels_of[patient[row]].update(names)
    labels_of = [names or {""} for names in labels_of]  # "": patients without a label, dealt last
    frequency = Counter(chain.from_iterable(labels_of)) | {"": 10**9}
    rarest = [min(names, key=lambda name: (frequency[name], name)) for names in labels_of]
    random = np.random.default_rng(seed)
    tie = random.permutation(len(labels_of))

    def turn(one: int) -> tuple[int, str, int]:
        return frequency[rarest[one]], rarest[one], tie[one]

    size, held = np.zeros(n_folds), {name: np.zeros(n_folds) for name in frequency}
    fold_of = np.zeros(len(labels_of), dtype=int)
    shuffled = random.permutation(n_folds)
    for one in sorted(range(len(labels_of)), key=turn):
        fold = min(shuffled, key=lambda k: (held[rarest[one]][k], size[k]))
        fold_of[one] = fold + 1
        size[fold] += 1
        for name in labels_of[one]:
            held[name][fold] += 1
    return fold_of[patient]


def deal_training(
    folds: np.ndarray, patients: np.ndarray, labels: Sequence[Sequence[str]], seed: int
) -> np.ndarray:
    """Folds with those that are 0 (train) dealt to 1-8, or 1-9 where none validates."""
    n_folds = 8 if (folds == 9).any() else 9
    train = np.flatnonzero(folds == 0)
    folds = folds.copy()
    folds[train] = deal_folds(patients[train], [labels[row] for row in train], seed, n_folds)
    return folds


# ---------------------------------------------------------------- the file


def one_row_each(table: pd.DataFrame, label_columns: Sequence[str] = ()) -> pd.DataFrame:
    """The table with the rows of one recording as one, where they differ in labels alone."""
    columns = [name for name in ID_COLUMNS if name in table]
    named = [name for name in (*label_columns, "labels") if name in table]
    column = next((name for name in columns if table[name].duplicated().any()), None)
    if column is None or not named or len(columns) > 1:
        return table
    others = table.drop(columns=named).fillna("").groupby(column, sort=False).nunique()
    if (others > 1).any(axis=None):
        return table  # what is twice is named later
    texts = {name: table[name].fillna("").astype(str) for name in named}
    joined = pd.DataFrame(texts).groupby(table[column], sort=False).agg(";".join)
    first = table.drop_duplicates(column).reset_index(drop=True)
    print(f"{len(table)} rows of {len(first)} recordings: labels of one are taken together")
    return first.assign(**{name: joined[name].to_numpy() for name in named})


def read_cohort_table(path: str | Path, label_columns: Sequence[str] = ()) -> pd.DataFrame:
    """The table under our names of columns (with_our_names); UserError where it is missing or none.
    Ids and labels stay as they are written.
    """
    with open(need_file(path), "rb") as file:
        raw = file.read(HEAD_BYTES)
    if raw[:4] not in WORKBOOKS and Path(path).suffix.lower() in NOT_READ:
        raise UserError(f"{path} is no text: save the table as csv")
    if raw[:4] in WORKBOOKS:
        raise UserError(f"{path} is a workbook of Excel: save its sheet as csv")
    encoding = encoding_of(raw)
    head = raw.decode(encoding, "replace").lstrip("\ufeff").splitlines()
    first = head[0] if head else ""
    separator = max(SEPARATORS, key=lambda mark: _cells(first, mark))
    names = next(csv.reader([first], delimiter=separator), [])
    if len(names) > MOST_COLUMNS:
        raise UserError(
            f"{path} has {len(names):,} columns, and a table of recordings at most "
            f"{MOST_COLUMNS:,}: one row for each recording; signals belong in --records"
        )
    known = {*AS_TEXT, *whole_names(label_columns, names)}
    text = [name for name in names if name in known or our_name(name) in known]
    table = read_csv(
        path,
        low_memory=False,
        sep=separator,
        encoding=encoding,
        decimal="," if separator == ";" else ".",
        dtype=dict.fromkeys(text, str),
    )
    return one_row_each(with_our_names(table), label_columns)


def warn_of_other_order(table: pd.DataFrame, where: object) -> None:
    """Say so where ids are the places in an array, in another order than its recordings' own."""
    column = next((name for name in ID_COLUMNS if name in table), None)
    ids = pd.to_numeric(table[column], errors="coerce").to_list() if column else []
    for first in (0, 1):
        in_order = list(range(first, first + len(ids)))
        if ids != in_order and sorted(ids) == in_order:
            print(
                f"warning: {where}: rows are taken in the order of the array's recordings, in "
                f"which {column} is not; if it says their places, sort the table by it",
                file=sys.stderr,
            )


def _cells(line, separator):
    """Cells of a line; what stands in quotes is one."""
    return len(next(csv.reader([line], delimiter=separator), []))


def rows_by_name(
    table: pd.DataFrame, columns: Iterable[str], names: Sequence[str]
) -> tuple[dict[str, int], list[str]]:
    """Name of a recording -> row, by the column that names most of them, and the names it lacks.

    A cell names a recording with or without folders in front and a suffix behind.
    """
    best: dict[str, int] = {}
    for column in columns:
        rows = _rows_of(table[column])
        found = {name: rows[name] for name in names if name in rows}
        if len(found) > len(best):
            best = found
        if len(best) == len(names):
            break
    return best, [name for name in names if name not in best]


def _rows_of(cells):
    """Every name that a cell may stand for -> its row; shorter ones of two different cells are
    left out.
    """
    rows: dict[str, int] = {}
    texts = [str(value).strip().replace("\\", "/").removesuffix(".0") for value in cells]
    doubtful = set()
    for row, text in enumerate(texts):
        for name in _names_of(text):
            if name in rows and texts[rows[name]] != text:
                doubtful.add(name)
            rows[name] = row
    whole = {text: row for row, text in enumerate(texts)}
    return {name: row for name, row in rows.items() if name not in doubtful} | whole


def _names_of(text):
    """data/p1/ecg.csv -> ecg.csv, ecg, p1/ecg.csv, p1/ecg, ..."""
    parts = PurePosixPath(text).parts
    for k in range(len(parts)):
        name = "/".join(parts[k:])
        folder, slash, file = name.rpartition("/")
        yield name
        yield folder + slash + (file.partition(".")[0] or file)
        yield folder + slash + (file.rpartition(".")[0] or file)  # of e.2020.csv e.2020
