"""The enriched table: R-peaks, wave measurements, concepts and signal quality beside the data
base's own columns.

Measurements are ours (ecg.measure_all), or PTB-XL+'s Uni-G features where they were downloaded;
R-peaks and concepts may come from published tables instead (--addons). Columns `*_source` say per
record which it was.
"""

import itertools
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.files import UserError, read_csv
from common.labels import LEADS
from ecg.analysis import measure_all
from ecg.concepts import CONCEPTS, judge
from records.dataset import parse_flags
from records.layout import ADDON_FILES, file_column, read_layout
from records.quality import judge_quality
from records.wfdb_files import Problem, describe_problems, read_records

CHUNK = 256  # records measured at a time: bounds the memory, not the result
FEATURES = Path("ptbxl_plus") / "features" / "unig_features.csv"
# where PTB-XL+ names a column differently; its ST_Amp is the level at the J-point
UNI_G_NAMES = {"QRS_AxisFront_Global": "QRS_Axis_Global"} | {
    f"ST_Amp_{lead}": f"J_Amp_{lead}" for lead in LEADS
}
MISSING = "missing"

# Largest credible amplitude (mV) by the wave's first letter: PTB-XL+ has T waves of -20 mV, hearts
# make S waves of -8 mV.
LIMITS_MV = {"P": 1.0, "Q": 10.0, "R": 10.0, "S": 10.0, "T": 4.0, "J": 4.0}


class Enriched(NamedTuple):
    """The enriched table and what is worth telling about it."""

    table: pd.DataFrame
    counts: dict


def read_published(data_path: Path, addons: Path | None) -> dict[str, pd.Series | pd.DataFrame]:
    """What others have measured: `features` of PTB-XL+ and, from the folder `addons`, `r_peaks` and
    `concepts`.
    """
    n_samples = read_layout(data_path).n_samples(100)
    published = read_addons(addons, n_samples) if addons else {}
    features = read_features(data_path)
    return published if features is None else {**published, "features": features}


def enrich(
    table: pd.DataFrame,
    signals: np.ndarray,
    data_path: Path,
    sampling_rate: int,
    measure_at: str = "auto",
    published: dict | None = None,
) -> Enriched:
    """Add R-peaks, measurements, concepts and their sources to the data base's rows.

    table      the data base, indexed by ecg_id, row order of `signals`
    signals    # (N, T, 12) mV at `sampling_rate`
    published  of `read_published`
    """
    published = published or {}
    measured, rates, problems = measure(table, signals, data_path, sampling_rate, measure_at)
    ours = "measured at " + rates.astype(str) + " Hz"
    measured, measurement_source = _with_features(measured, published.get("features"), ours)
    n_clipped = clip_amplitudes(measured)
    r_peaks, r_peaks_source = _replaced(measured.pop("r_peaks"), published.get("r_peaks"), ours)
    # as the file will have it (0.1 uV): concepts follow from what is stored
    measured = measured.astype(np.float64).round(4)
    known = pd.concat([table.drop(columns=measured.columns, errors="ignore"), measured], axis=1)
    concepts, concepts_source = _judged(known, published.get("concepts"), measurement_source)
    sources = pd.DataFrame(
        {
            "r_peaks_source": r_peaks_source,
            "measurements_source": measurement_source,
            "concepts_source": concepts_source,
        },
        index=table.index,
    )
    quality = judge_quality(signals, sampling_rate, known)
    added = pd.concat([r_peaks.rename("r_peaks"), concepts, measured, quality, sources], axis=1)
    counts = {
        "sources": {name: column.value_counts().to_dict() for name, column in sources.items()},
        "amplitudes_clipped": n_clipped,
        "not_measured_at_500_hz": describe_problems(problems) if problems else "",
        "concepts": {name: _tally(concepts[name]) for name in concepts},
        "quality": {
            name.removeprefix("quality_"): int(column.sum()) if column.notna().any() else None
            for name, column in quality.items()
        },
    }
    return Enriched(
        pd.concat([table.drop(columns=added.columns, errors="ignore"), added], axis=1), counts
    )


def _tally(column):
    """Records that have the concept, have it not, and could not be judged."""
    blank = column.isna()
    true = int(column[~blank].astype(bool).sum())
    return {"true": true, "false": int((~blank).sum()) - true, "blank": int(blank.sum())}


# ---------------------------------------------------------------- our own measurements


def measure(
    table: pd.DataFrame,
    signals: np.ndarray,
    data_path: Path,
    sampling_rate: int,
    measure_at: str = "auto",
) -> tuple[pd.DataFrame, pd.Series, list[Problem]]:
    """Measure every record at 100 or 500 Hz; `measure_at` auto takes 500 Hz where that file is
    there.

    Returns the measurements and the rate (Hz) of each record, both indexed like `table`, and what
    was wrong with the 500 Hz files (those records are measured at 100 Hz under auto). With "500"
    such a file is a UserError.
    """
    rates = _wanted_rates(table, data_path, sampling_rate, measure_at)
    parts, problems = [], []
    bar = tqdm(total=len(table), desc="measuring", unit=" records", disable=None)
    for rate in sorted({*rates.tolist(), 100}, reverse=True):
        rows = np.flatnonzero(rates == rate)
        for chunk in (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)):
            values, kept, bad = _chunk_at(table, signals, chunk, data_path, rate, sampling_rate)
            problems += bad
            rates[chunk[~kept]] = 100  # a bad 500 Hz file: its turn comes with the 100 Hz ones
            if kept.any():
                found = measure_all(values, rate, progress=False)
                parts.append(found.set_axis(table.index[chunk[kept]], axis=0))
                bar.update(int(kept.sum()))
    bar.close()
    if problems and measure_at == "500":
        raise UserError(
            f"{len(problems)} records cannot be measured at 500 Hz: {describe_problems(problems)}; "
            "download them, or use --measure_at auto"
        )
    measured = pd.concat(parts).reindex(table.index)
    return measured, pd.Series(rates, index=table.index), problems


def _wanted_rates(table, data_path, sampling_rate, measure_at):
    """(N,) the rate at which to measure each record, Hz."""
    if measure_at != "auto":
        return np.full(len(table), int(measure_at))
    if sampling_rate != 100:
        return np.full(len(table), sampling_rate)
    own = read_layout(data_path)
    if own.facts:  # one file per record: at its own rate, which waves are measured best at
        return np.full(len(table), max(own.rates))
    names = table["filename_hr"] if "filename_hr" in table else pd.Series("", index=table.index)
    there = [
        isinstance(name, str) and bool(name) and (data_path / f"{name}.hea").is_file()
        for name in names
    ]
    return np.where(there, 500, 100)


def _chunk_at(table, signals, chunk, data_path, rate, sampling_rate):
    """Signals of the rows `chunk` at `rate`, which of them could be read, and what was wrong with
    the others.
    """
    if rate == sampling_rate:
        return signals[chunk], np.ones(len(chunk), dtype=bool), []
    rows = table.iloc[chunk]
    column = file_column(rate)
    if column not in rows:
        raise UserError(
            f"the data base has no column {column}: records cannot be measured at {rate} Hz"
        )
    found = read_records(data_path, rows[column], rows.index, rate, progress=False)
    if rate == 100 and found.problems:
        raise UserError(
            f"records cannot be measured at 100 Hz: {describe_problems(found.problems)}"
        )
    return found.signals, found.kept, found.problems


# ---------------------------------------------------------------- PTB-XL+


def read_features(data_path: Path) -> pd.DataFrame | None:
    """PTB-XL+'s Uni-G features indexed by ecg_id (mV, ms, degrees), or None where they were not
    downloaded.
    """
    path = Path(data_path) / FEATURES
    if not path.is_file():
        return None
    features = read_csv(path, low_memory=False)
    if "ecg_id" not in features:
        raise UserError(f"{path} has no column ecg_id: {_fetched_again(data_path)}")
    if features["ecg_id"].duplicated().any():
        raise UserError(f"{path} holds some ecg_id twice: {_fetched_again(data_path)}")
    features = features.rename(columns=UNI_G_NAMES).set_index("ecg_id")
    return features.apply(pd.to_numeric, errors="coerce")


def _fetched_again(data_path):
    folder = shlex.quote(str(data_path))
    return f"remove it, and run ./download_data.sh --features --data_path {folder}"


def _with_features(measured, features, ours):
    """Every measurement that Uni-G has too is Uni-G's, for all records: two sources are never mixed
    in one column.

    A record that Uni-G lacks is blank there; measurements that only we make stay ours.
    """
    if features is None:
        return measured, ours
    shared = [column for column in measured if column in features]
    replaced = measured.drop(columns=shared).join(features[shared])[list(measured.columns)]
    return replaced, pd.Series(
        np.where(measured.index.isin(features.index), "PTB-XL+ Uni-G", MISSING),
        index=measured.index,
    )


def clip_amplitudes(measured: pd.DataFrame) -> int:
    """Limit the amplitude columns to credible values (LIMITS_MV), in place; returns how many values
    that concerned.
    """
    n_clipped = 0
    for column in measured:
        if (limit := amplitude_limit(column)) is None:
            continue
        beyond = measured[column].abs() > limit
        n_clipped += int(beyond.sum())
        if beyond.any():
            measured[column] = measured[column].clip(-limit, limit)
    return n_clipped


def amplitude_limit(column: str) -> float | None:
    """Largest credible value (mV) of an amplitude column such as R_Amp_V5; None for any other
    column.
    """
    return LIMITS_MV.get(column[0]) if "_Amp_" in column else None


# ---------------------------------------------------------------- published tables


def addon_files(folder: str | Path) -> dict[str, Path]:
    """The published tables that are there: `r_peaks`, `concepts` -> file."""
    found: dict[str, Path] = {}
    for file, name in ADDON_FILES.items():
        path = Path(folder) / file
        if path.is_file():
            found.setdefault(name, path)
    return found


def read_addons(folder: str | Path, n_samples: int = 1000) -> dict[str, pd.Series | pd.DataFrame]:
    """Published r-peaks.csv and concepts.csv from `folder`: either or both, indexed by ecg_id;
    records have `n_samples` at 100 Hz.
    """
    readers = {"r_peaks": _read_r_peaks, "concepts": _read_concepts}
    found = {name: readers[name](path, n_samples) for name, path in addon_files(folder).items()}
    if not found:
        raise UserError(
            f"{folder} holds neither r-peaks.csv nor concepts.csv: --addons names the folder that "
            "does"
        )
    return found


def _read_by_id(path):
    """A table indexed by ecg_id; the id column may be unnamed, as pandas writes an index."""
    table = read_csv(path, low_memory=False)
    first = table.columns[0]
    if "ecg_id" not in table and first.startswith("Unnamed"):
        table = table.rename(columns={first: "ecg_id"})
    if "ecg_id" not in table or table["ecg_id"].duplicated().any():
        raise UserError(f"{path} needs a column ecg_id that holds each record once")
    return table.set_index("ecg_id")


def _read_r_peaks(path, n_samples):
    """R-peaks as '31 121 217', from that or from a printed numpy array."""
    table = _read_by_id(path)
    columns = [
        column for column in table if re.fullmatch(r"r[-_ ]?peaks?", column, flags=re.IGNORECASE)
    ]
    columns = columns or (list(table.columns) if table.shape[1] == 1 else [])
    if len(columns) != 1:
        raise UserError(
            f"{path} needs one column r_peaks beside ecg_id; it has {', '.join(table.columns)}"
        )
    peaks, wrong = [], []
    for ecg_id, text in table[columns[0]].items():
        try:
            peaks.append(parse_printed_peaks(text, n_samples))
        except ValueError:
            wrong.append(ecg_id)
    if wrong:
        raise UserError(
            f"{path}: not rising sample numbers from 0 to {n_samples - 1} for ecg_id "
            f"{', '.join(map(str, wrong))}"
        )
    return pd.Series(peaks, index=table.index)


def parse_printed_peaks(text: object, n_samples: int = 1000) -> str:
    """'[  31  121\\n 217]', '[31, 121, 217]' or '31 121 217' -> '31 121 217'; blank -> ''.

    Raises ValueError where it holds anything but rising sample numbers below `n_samples`.
    """
    if not isinstance(text, str):
        text = "" if pd.isna(text) else str(text)
    words = re.sub(r"[\[\],]", " ", text).split()
    if not all(re.fullmatch(r"\d+(\.0*)?", word) for word in words):
        raise ValueError(f"{text!r} is not a list of sample numbers")
    peaks = [int(float(word)) for word in words]
    if any(later <= earlier for earlier, later in itertools.pairwise(peaks)) or (
        peaks and peaks[-1] >= n_samples
    ):
        raise ValueError(f"{text!r} is not rising from 0 to {n_samples - 1}")
    return " ".join(map(str, peaks))


def _read_concepts(path, _n_samples):
    """The known concepts' columns as True / False / blank."""
    table = _read_by_id(path)
    known = [name for name in CONCEPTS if name in table]
    if not known:
        raise UserError(f"{path} has none of the concepts {', '.join(CONCEPTS)}")
    flags = {name: parse_flags(table, name, f"{path}: ") for name in known}
    judged = {name: np.where(np.isnan(found), None, found == 1) for name, found in flags.items()}
    return pd.DataFrame(judged, index=table.index, dtype=object)


def _replaced(own, published, ours):
    """R-peaks from the published table where it has the record, else our own."""
    if published is None:
        return own, ours
    there = own.index.isin(published.index)
    return (
        published.reindex(own.index).where(there, own),
        pd.Series(np.where(there, "r-peaks.csv", ours), index=own.index),
    )


def _judged(known, published, source):
    """Concepts by our rules; a published column replaces ours whole (a record it lacks stays
    blank).
    """
    concepts = judge(known)
    if published is None:
        return concepts, source
    for name in published:
        concepts[name] = published[name].reindex(known.index)
    there = known.index.isin(published.index)
    return concepts, pd.Series(np.where(there, "concepts.csv", MISSING), index=known.index)
