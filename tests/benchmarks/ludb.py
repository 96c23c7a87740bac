"""LUDB (Kalyakulina et al., IEEE Access 8 (2020) 186181): ECGs in which cardiologists marked P, QRS
and T of every lead, and how far any marks lie from theirs.

Every lead of LUDB is scaled to about 1 mV: it is good for times, not for voltages. Marks are tables
with the columns lead, wave (P, QRS, T), onset, peak and offset (s, NaN where not marked).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import wfdb

from common.labels import LEADS

RATE = 500  # Hz
SYMBOLS = {"p": "P", "N": "QRS", "t": "T"}
TOLERANCE = 0.15  # s (ANSI/AAMI EC57) within which two marks are of the same wave
FEWEST_LEADS = 4  # that have to show a wave before it counts over all leads
BOUNDARIES = tuple((wave, side) for wave in ("P", "QRS", "T") for side in ("onset", "offset"))


@dataclass(frozen=True)
class Record:
    """One record.

    signal  # (T, 12) in the order of labels.LEADS
    half    0: settings were chosen on it, 1: kept for judging
    rhythm  what it stands for in the table: sinus, AF or flutter, paced, ...
    atria   whether they fibrillate or flutter: no P wave is to be found
    marks   the cardiologists' marks
    """

    number: int
    signal: np.ndarray
    half: int
    rhythm: str
    atria: bool
    marks: pd.DataFrame


def read(folder: Path) -> list[Record]:
    """All records of a folder that holds ludb.csv and data/."""
    table = pd.read_csv(folder / "ludb.csv").set_index("ID").sort_index()
    return [
        Record(
            number,
            _signal(folder, number),
            i % 2,
            _rhythm(row),
            "atrial f" in row["Rhythms"].lower(),
            _marks(folder, number),
        )
        for i, (number, row) in enumerate(table.iterrows())
    ]


def _signal(folder, number):
    record = wfdb.rdrecord(str(folder / "data" / str(number)))
    names = [name.lower() for name in record.sig_name]
    return record.p_signal[:, [names.index(lead.lower()) for lead in LEADS]].astype(np.float32)


# what stands in the table's text -> the group a record is counted in; the first that fits
GROUPS = (
    ("paced", "Cardiac pacing", ""),
    ("AF or flutter", "Rhythms", "atrial f"),
    ("third degree AV block", "Conduction abnormalities", "iii degree"),
    ("extrasystoles", "Extrasystolies", ""),
    ("complete bundle branch block", "Conduction abnormalities", "\ncomplete|^complete"),
)


def _rhythm(row):
    """The first of GROUPS whose column says so; else sinus rhythm."""
    for group, column, pattern in GROUPS:
        text = pd.Series([row[column]]).astype("string").str.lower()
        if text.notna()[0] and text.str.contains(pattern)[0]:
            return group
    return "sinus"


def _marks(folder, number):
    parts = []
    for lead in LEADS:
        found = wfdb.rdann(str(folder / "data" / str(number)), lead.lower())
        parts.append(from_annotation(found.symbol, found.sample / RATE).assign(lead=lead))
    return pd.concat(parts, ignore_index=True)


def from_annotation(symbols: list[str], times: np.ndarray) -> pd.DataFrame:
    """Waves of the annotation of one lead: `(`, p, N or t, `)`; a bracket may be missing."""
    rows = []
    for i, symbol in enumerate(symbols):
        if symbol not in SYMBOLS:
            continue
        opened = i > 0 and symbols[i - 1] == "("
        closed = i + 1 < len(symbols) and symbols[i + 1] == ")"
        rows.append(
            {
                "wave": SYMBOLS[symbol],
                "onset": times[i - 1] if opened else np.nan,
                "peak": times[i],
                "offset": times[i + 1] if closed else np.nan,
            }
        )
    return pd.DataFrame(rows, columns=["wave", "onset", "peak", "offset"])


def pairs(ours: np.ndarray, theirs: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Pairs (k, 2) of positions that are each other's nearest and within `tolerance` s."""
    if not len(ours) or not len(theirs):
        return np.empty((0, 2), int)
    distance = np.abs(ours[:, None] - theirs)
    nearest = distance.argmin(axis=0)
    mutual = distance.argmin(axis=1)[nearest] == np.arange(len(theirs))
    good = mutual & (distance.min(axis=0) <= tolerance)
    return np.stack([nearest[good], np.flatnonzero(good)], axis=1)


def compare(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Per lead and boundary of one record: hits, false and missed marks, and the errors in ms.

    What we mark before the first or after the last beat that was marked in a lead is not counted:
    the cardiologists left the ends of most records out.
    """
    rows = []
    for lead in LEADS:
        expert, own = theirs[theirs["lead"] == lead], ours[ours["lead"] == lead]
        times = expert[["onset", "peak", "offset"]].to_numpy()
        begin, end = (np.nanmin(times), np.nanmax(times)) if len(expert) else (0, 0)
        for wave, side in BOUNDARIES:
            a = own.loc[own["wave"] == wave, side].dropna().to_numpy()
            b = expert.loc[expert["wave"] == wave, side].dropna().to_numpy()
            matched = pairs(a, b)
            alone = np.delete(a, matched[:, 0])
            rows.append(
                {
                    "lead": lead,
                    "wave": wave,
                    "side": side,
                    "hits": len(matched),
                    "false": int(((alone >= begin) & (alone <= end)).sum()),
                    "missed": len(b) - len(matched),
                    "errors": (a[matched[:, 0]] - b[matched[:, 1]]) * 1000,
                }
            )
    return pd.DataFrame(rows)


def compare_over_leads(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Errors in ms of the median over our leads against the median over the expert's leads, one
    row per wave that both have.
    """
    rows = []
    for wave, side in BOUNDARIES:
        a, b = (_over_leads(table[table["wave"] == wave], side) for table in (ours, theirs))
        for i, j in pairs(a, b):
            rows.append({"wave": wave, "side": side, "error": (a[i] - b[j]) * 1000, "at": b[j]})
    return pd.DataFrame(rows, columns=["wave", "side", "error", "at"])


def _over_leads(marks, side):
    """Medians over the leads of the marks that lie together."""
    values = np.sort(marks[side].dropna().to_numpy())
    if not len(values):
        return values
    clusters = np.split(values, np.flatnonzero(np.diff(values) > TOLERANCE / 3) + 1)
    return np.array([np.median(group) for group in clusters if len(group) >= FEWEST_LEADS])


def f1(table: pd.DataFrame) -> float:
    """F1 of the sums of hits, false and missed."""
    hits, wrong = table["hits"].sum(), table["false"].sum() + table["missed"].sum()
    return 2 * hits / (2 * hits + wrong) if hits + wrong else np.nan
