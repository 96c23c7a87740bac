"""Signal-quality flags per record, to look at or leave out: columns `quality_<flag>` of the
enriched table.

Thresholds were chosen on the real records of patients with an even number;
tests/benchmarks/bench_quality.py gives what they find in both halves. Pacemaker spikes cannot be
seen at 100 Hz (8 paced records of 1,499: no feature of the signal was better than chance), so that
flag repeats what the data base says.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from common.files import write_csv
from common.labels import LEADS
from records import plausibility
from records.dataset import parse_flags
from records.stored import leads_there

CHUNK = 128  # records at a time: more do not stay in the processor's cache
FLAT_MV, FLAT_S = 0.005, 2.0
CLIPPED_MV, CLIPPED_S = 1.0, 0.02
NOISE_MV = 0.02
DRIFT_MV = 1.0
OPPOSED = -0.3  # correlation of a limb lead with V6


class Flag(NamedTuple):
    """`judge`: (signals (n, T, 12) mV, Hz, their rows of the table) -> (n,) bool; `needs`: without
    what it is left blank; `leads` among it. Without them `judge` gets the leads that are there.
    """

    judge: Callable
    description: str
    needs: str = ""
    leads: tuple[str, ...] = ()


def flat(signals: np.ndarray, sampling_rate: int, table: pd.DataFrame) -> np.ndarray:
    """For 2 s together, in some lead."""
    still = np.ptp(_windows(signals, sampling_rate), axis=3) <= FLAT_MV  # (n, 12, seconds)
    needed = int(FLAT_S)
    runs = np.stack(
        [still[..., start : still.shape[2] - needed + 1 + start] for start in range(needed)]
    )
    return runs.all(axis=0).any(axis=(1, 2))


def clipped(signals: np.ndarray, sampling_rate: int, table: pd.DataFrame) -> np.ndarray:
    """A plateau at the lead's own extreme."""
    length = 1 + round(CLIPPED_S * sampling_rate)
    found = np.zeros(len(signals), dtype=bool)
    leads = signals.swapaxes(1, 2)
    for extreme in (leads.max(axis=2), leads.min(axis=2)):
        row, lead = np.nonzero(np.abs(extreme) > CLIPPED_MV)
        at = leads[row, lead] == extreme[row, lead, None]
        often = at.sum(axis=1) >= length  # few
        total = np.cumsum(np.pad(at[often], ((0, 0), (1, 0))), axis=1)
        plateau = (total[:, length:] - total[:, :-length]) == length
        found[row[often][plateau.any(axis=1)]] = True
    return found


def noise_level(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """(n, 12) standard deviation (mV) of what changes from sample to sample at 100 Hz: muscle,
    mains.

    From the median second difference, which beats hardly move; for white noise it is its standard
    deviation.
    """
    second = np.abs(np.diff(_at_100(signals, sampling_rate), n=2))
    return _median(second) / (0.6745 * np.sqrt(6))


def noisy(signals: np.ndarray, sampling_rate: int, table: pd.DataFrame) -> np.ndarray:
    """More noise than NOISE_MV in some lead."""
    return (noise_level(signals, sampling_rate) > NOISE_MV).any(axis=1)


def drift_range(signals: np.ndarray, sampling_rate: int) -> np.ndarray:
    """(n, 12) how far (mV) the median of each second wanders within the record."""
    return np.ptp(_median(_windows(signals, sampling_rate)), axis=2)


def drifting(signals: np.ndarray, sampling_rate: int, table: pd.DataFrame) -> np.ndarray:
    """A level that wanders by more than DRIFT_MV in some lead."""
    return (drift_range(signals, sampling_rate) > DRIFT_MV).any(axis=1)


def limb_reversal(signals: np.ndarray, sampling_rate: int, table: pd.DataFrame) -> np.ndarray:
    """P and QRS-T upside down, against V6, in I (the arms are exchanged) or in II (right arm and
    left leg are).

    Exchanging left arm and left leg leaves no such trace and is not found.
    """
    i, ii, v6 = (_centred(signals[..., LEADS.index(lead)]) for lead in ("I", "II", "V6"))
    found = np.zeros(len(signals), dtype=bool)
    for lead, values in (("I", i), ("II", ii)):
        upside_down = plausibility.correlation(values, v6) < OPPOSED
        found |= upside_down & (table[f"P_Amp_{lead}"].to_numpy(dtype=float) < -0.02)
    return found


def pacemaker(signals: np.ndarray, sampling_rate: int, table: pd.DataFrame) -> np.ndarray:
    """By the data base's column or statement."""
    named = (
        table["pacemaker"].notna() if "pacemaker" in table else pd.Series(False, index=table.index)
    )
    return (named | table["scp_codes"].str.contains("'PACE'", regex=False)).to_numpy()


def _of_check(name: str) -> Flag:
    """A flag that says whether a record can be what it is taken for."""

    def judge(signals, sampling_rate, table):
        return plausibility.judge(signals, sampling_rate, [name])[name]

    check = plausibility.CHECKS[name]
    return Flag(judge, check.description, _spoken_leads(check.leads), check.leads)


def _spoken_leads(leads):
    return {LEADS: "all 12 leads", LEADS[:6]: "the limb leads"}.get(leads, "")


FLAGS = {
    "flat": Flag(flat, f"a lead that moves less than {FLAT_MV} mV for {FLAT_S:g} s"),
    "clipped": Flag(
        clipped, f"a plateau of {1000 * CLIPPED_S:g} ms at a lead's extreme, beyond {CLIPPED_MV} mV"
    ),
    "noise": Flag(noisy, f"a lead with more than {NOISE_MV} mV of noise (standard deviation)"),
    "drift": Flag(drifting, f"a lead whose level wanders by more than {DRIFT_MV} mV"),
    "limb_reversal": Flag(
        limb_reversal, "likely exchanged limb electrodes", "I, II and V6", ("I", "II", "V6")
    ),
    "pacemaker": Flag(
        pacemaker, "a pacemaker, as the data base has it", needs="the data base's word"
    ),
    **{name: _of_check(name) for name in plausibility.CHECKS},
}


def judge_quality(signals: np.ndarray, sampling_rate: int, table: pd.DataFrame) -> pd.DataFrame:
    """One True/False column `quality_<flag>` per flag; blank where it needs a lead that the records
    do not have.

    signals  # (N, T, 12) mV;  table  their rows: the data base's columns and the measurements
    """
    there = leads_there(signals[:CHUNK])
    known = {lead for lead, has in zip(LEADS, there, strict=True) if has}
    judged = [name for name, flag in FLAGS.items() if known.issuperset(flag.leads)]
    columns = {
        f"quality_{name}": np.zeros(len(table), dtype=bool) if name in judged else None
        for name in FLAGS
    }
    for start in range(0, len(table), CHUNK):
        rows = slice(start, start + CHUNK)
        # lead by lead in memory, along which numpy is up to 70 times as fast
        some = np.ascontiguousarray(signals[rows].swapaxes(1, 2)).swapaxes(1, 2)
        together = plausibility.judge(some, sampling_rate)
        for name in judged:
            flag = FLAGS[name]
            found = together.get(name)
            if found is None:
                used = some if flag.leads or there.all() else some[..., there]
                found = flag.judge(used, sampling_rate, table.iloc[rows])
            columns[f"quality_{name}"][rows] = found
    return pd.DataFrame(columns, index=table.index)


def _windows(signals, sampling_rate):
    """(n, 12, seconds, samples); what is shorter than a second is one window."""
    seconds = max(signals.shape[1] // sampling_rate, 1)
    leads = signals.swapaxes(1, 2)[..., : seconds * sampling_rate]
    return leads.reshape(*leads.shape[:2], seconds, -1)


def _median(values):
    """Along the last axis; np.median takes five to ten times as long."""
    middle = values.shape[-1] // 2
    parted = np.partition(values, middle, axis=-1)
    upper = parted[..., middle]
    return upper if values.shape[-1] % 2 else (parted[..., :middle].max(axis=-1) + upper) / 2


def _centred(values):
    """Of each row the distance from its median."""
    return values - _median(values)[:, None]


def _at_100(signals, sampling_rate):
    """(n, 12, T) means of neighbouring samples, 100 a second; what is left over at the end is left
    out.
    """
    leads, step = signals.swapaxes(1, 2), max(sampling_rate // 100, 1)
    if step == 1:
        return leads
    whole = leads[..., : leads.shape[2] // step * step]
    return sum(whole[..., first::step] for first in range(step)) / step


# ---------------------------------------------------------------- flags of the explained records


QUALITY_FILE = "quality.csv"
UNAVAILABLE = "quality flags unavailable: the data set was preprocessed without them"


def flags_of(table: pd.DataFrame) -> pd.DataFrame:
    """(n, flags) of the rows of a table: 1 raised, 0 not, NaN not judged (no column, or
    a blank).
    """
    columns = {
        name: parse_flags(table, f"quality_{name}") if f"quality_{name}" in table else np.nan
        for name in FLAGS
    }
    return pd.DataFrame(columns, index=table.index)


def count_flags(table: pd.DataFrame, groups: Mapping[str, Iterable[int]]) -> pd.DataFrame:
    """One row per group after the row `all`: group, n_records, n_flagged, and how often each flag
    is raised (blank: not judged).

    table   the enriched table, indexed by ecg_id
    groups  name -> ecg_id of its records; one that is in several groups, or twice in one, counts
            once in `all` and in each
    """
    flags, members = flags_of(table), {name: np.unique(list(ids)) for name, ids in groups.items()}
    members = {"all": np.unique(np.concatenate(list(members.values()))), **members}
    judged = flags.notna().any()
    counts = pd.DataFrame(
        [{"group": name, **_flag_tally(flags.loc[ids], judged)} for name, ids in members.items()]
    )
    return counts.astype(dict.fromkeys(counts.columns[1:], "Int64"))


def _flag_tally(flags, judged):
    n_flagged = (flags == 1).any(axis=1).sum() if judged.any() else np.nan
    return {"n_records": len(flags), "n_flagged": n_flagged, **flags.sum().where(judged)}


def flags_in_words(counts: pd.DataFrame) -> str:
    """'3 of 40 explained records with a quality flag: noise 2, limb reversal 1' from the table of
    count_flags.
    """
    whole = counts.iloc[0]
    if pd.isna(whole["n_flagged"]):
        return UNAVAILABLE
    counted = whole[list(FLAGS)].dropna()
    raised = ", ".join(
        f"{flag_in_words(name)} {count:.0f}" for name, count in counted.items() if count
    )
    blank = ", ".join(
        flag_in_words(name) + f" (needs {flag.needs})" * bool(flag.needs)
        for name, flag in FLAGS.items()
        if name not in counted
    )
    n, n_flagged = whole["n_records"], whole["n_flagged"]
    line = f"{n_flagged:.0f} of {n:.0f} explained records with a quality flag"
    return line + f": {raised}" * bool(raised) + f"; not judged: {blank}" * bool(blank)


def flag_in_words(name: str) -> str:
    """A flag's name in running text."""
    return name.replace("_", " ")


def write_flag_counts(
    folder: Path, table: pd.DataFrame, groups: Mapping[str, Iterable[int]]
) -> Path:
    """Write quality.csv of a stage (see count_flags) and say its first row; the path."""
    counts = count_flags(table, groups)
    write_csv(folder / QUALITY_FILE, counts)
    print(flags_in_words(counts))
    return folder / QUALITY_FILE
