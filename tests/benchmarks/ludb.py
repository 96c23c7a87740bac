"""LUDB (Kalyakulina et al., IEEE Access 8 (2020) 186181): ECGs in which cardiologists marked P, QRS
and T of every lead, and how far any marks lie from theirs.

Half A is every second record in the order of their numbers, from the first on: settings were chosen
on it alone.

Every lead of LUDB is scaled to about 1 mV: it is good for times, not for voltages. Marks are tables
with the columns lead, wave (P, QRS, T), onset, peak and offset (s, NaN where not marked).
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import wfdb
import wfdb.processing

import ecg
from common.labels import LEADS
from ecg import rpeaks

RATE = 500  # Hz
SYMBOLS = {"p": "P", "N": "QRS", "t": "T"}
TOLERANCE = 0.15  # s (ANSI/AAMI EC57) within which two marks are of the same wave
ONE_BEAT = 0.2  # s: peaks of a wide QRS lie up to 90 ms apart in different leads
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


def _over_leads(marks, side, gap=TOLERANCE / 3):
    """Medians over the leads of the marks that lie together: nowhere `gap` s apart."""
    values = np.sort(marks[side].dropna().to_numpy())
    if not len(values):
        return values
    clusters = np.split(values, np.flatnonzero(np.diff(values) > gap) + 1)
    return np.array([np.median(group) for group in clusters if len(group) >= FEWEST_LEADS])


def f1(table: pd.DataFrame) -> float:
    """F1 of the sums of hits, false and missed."""
    hits, wrong = table["hits"].sum(), table["false"].sum() + table["missed"].sum()
    return 2 * hits / (2 * hits + wrong) if hits + wrong else np.nan


# ---------------------------------------------------------------- the table


def at_rate(signal: np.ndarray, rate: int) -> np.ndarray:
    """Signal (T, 12) at another rate, as PTB-XL's 100 Hz files were made."""
    leads = np.ascontiguousarray(signal.T)
    return np.ascontiguousarray(rpeaks.at_rate(leads, RATE, rate).T)


def measure(records: list[Record], rate: int, delineate=ecg.delineate) -> pd.DataFrame:
    """`compare` of every record at one sampling rate, with the columns number, half and rhythm, and
    the row `over leads` per boundary.
    """
    tables = []
    for record in records:
        signal = record.signal if rate == RATE else at_rate(record.signal, rate)
        marks = delineate(signal, rate).dropna(subset=["onset", "offset"], how="all")
        table = compare(marks, record.marks)
        errors = compare_over_leads(marks, record.marks).groupby(["wave", "side"])["error"]
        together = [
            {"lead": "over leads", "wave": wave, "side": side, "errors": values.to_numpy()}
            for (wave, side), values in errors
        ]
        table = pd.concat([table, pd.DataFrame(together)], ignore_index=True)
        beats = record.marks[(record.marks["wave"] == "QRS") & (record.marks["lead"] == "II")]
        tables.append(
            table.assign(
                number=record.number,
                half=record.half,
                rhythm=record.rhythm,
                bpm=60 / np.median(np.diff(beats["peak"])),
                invented=record.atria & (marks["wave"] == "P").any(),
            )
        )
    return pd.concat(tables, ignore_index=True)


def print_table(table: pd.DataFrame, records: list[Record], title: str) -> None:
    """F1 and errors per boundary over all leads, then per lead and per rhythm."""
    print(f"\n{title}")
    head = "".join(f"{f'{wave} {side}':>22}" for wave, side in BOUNDARIES)
    for half, name in ((0, "half A (settings)"), (1, "half B (judged)")):
        part = table[table["half"] == half]
        print(f"{name + ', ' + str(part['number'].nunique()) + ' records':<34}{head}")
        alone = part[part["lead"] != "over leads"]
        print(f"{'F1, all leads':<34}" + _cells(alone, lambda t: f"{f1(t):.4f} n {_marked(t):.0f}"))
        print(f"{'error ms, each lead':<34}" + _cells(alone, _error))
        together = part[part["lead"] == "over leads"]
        print(f"{'error ms, medians over leads':<34}" + _cells(together, _error))
        for lead in LEADS:
            print(f"  {lead:<32}" + _cells(alone[alone["lead"] == lead], _both))
        for rhythm, group in alone.groupby("rhythm"):
            label = f"{rhythm} ({group['number'].nunique()} records)"
            print(f"  {label:<32}" + _cells(group, _both))
        fibrillating = {r.number for r in records if r.atria and r.half == half}
        invented = part[part["invented"].astype(bool)]["number"].nunique()
        print(f"  AF and flutter with a P drawn: {invented} of {len(fibrillating)}")


def _cells(table, text):
    cells = []
    for wave, side in BOUNDARIES:
        part = table[(table["wave"] == wave) & (table["side"] == side)]
        cells.append(f"{text(part):>22}")
    return "".join(cells)


def _marked(table):
    return table["hits"].sum() + table["missed"].sum()


def _error(table):
    errors = np.concatenate([*table["errors"], []])
    return f"{errors.mean():+.1f}+-{errors.std():.1f} n {len(errors)}" if len(errors) else "-"


def _both(table):
    errors = np.concatenate([*table["errors"], []])
    if not _marked(table):
        return "-"
    return f"{f1(table):.3f} {errors.mean():+.1f}+-{errors.std():.1f}" if len(errors) else "0"


def r_peaks(records: list[Record]) -> None:
    """F1 of beats over all leads (QRS within 150 ms and 50 ms of the median over the leads), ours
    and wfdb's xqrs on lead II.
    """
    detectors = {
        "ours, 12 leads": lambda signal: ecg.detect_r_peaks(signal, RATE) / RATE,
        "wfdb xqrs, lead II": _xqrs,
    }
    print("\nBeats: F1 at 150 ms and 50 ms")
    for name, detect in detectors.items():
        for half in (0, 1):
            counts = np.zeros((2, 3))
            for record in records:
                if record.half == half:
                    counts += _beat_counts(detect(record.signal), record)
            scores = [2 * hits / (2 * hits + false + missed) for hits, false, missed in counts]
            print(f"  {name:<24} half {'AB'[half]}  " + "  ".join(f"{x:.4f}" for x in scores))


def _xqrs(signal):
    detector = wfdb.processing.XQRS(signal[:, LEADS.index("II")].astype(float), RATE)
    detector.detect(verbose=False)
    return np.asarray(detector.qrs_inds) / RATE


def _beat_counts(found, record):
    true = _over_leads(record.marks[record.marks["wave"] == "QRS"], "peak", ONE_BEAT)
    counts = []
    for tolerance in (TOLERANCE, 0.05):
        matched = pairs(found, true, tolerance)
        alone = np.delete(found, matched[:, 0])
        false = ((alone >= true[0] - TOLERANCE) & (alone <= true[-1] + TOLERANCE)).sum()
        counts.append((len(matched), false, len(true) - len(matched)))
    return np.array(counts)


# ---------------------------------------------------------------- uncertainty

RATES = (("slow", 0, 60), ("usual", 60, 100), ("fast", 100, np.inf))  # beats per minute
FEWEST_ERRORS = 60  # marks below which a group gives no SD of its own: that of all is used


def uncertainty(table: pd.DataFrame) -> pd.DataFrame:
    """SD of our marks about the cardiologists' (ms), each lead by itself, half A alone: by wave,
    side, rhythm and rate; `any` stands for all.
    """
    part = table[(table["half"] == 0) & (table["lead"] != "over leads")]
    rhythms = part["rhythm"].where(part["rhythm"].isin(["sinus", "AF or flutter"]), "other")
    rows = []
    for wave, side in BOUNDARIES:
        chosen = part[(part["wave"] == wave) & (part["side"] == side)]
        for rhythm in ("any", "sinus", "AF or flutter", "other"):
            for rate, low, high in (("any", 0, np.inf), *RATES):
                of_rate = (chosen["bpm"] >= low) & (chosen["bpm"] < high)
                of_rhythm = (rhythms[chosen.index] == rhythm) | (rhythm == "any")
                errors = np.concatenate([*chosen.loc[of_rate & of_rhythm, "errors"], []])
                if len(errors) >= FEWEST_ERRORS:
                    rows.append((wave, side, rhythm, rate, errors.std().round(1), len(errors)))
    return pd.DataFrame(rows, columns=["wave", "side", "rhythm", "rate", "sd_ms", "n"])


def report(folder: Path, sd_path: Path | None = None) -> None:
    """Print everything; write the uncertainties where a path is given."""
    records = read(folder)
    for rate in (500, 100):
        begin = time.process_time()
        table = measure(records, rate)
        spent = (time.process_time() - begin) / len(records) * 1000
        print_table(table, records, f"LUDB at {rate} Hz ({spent:.0f} ms per record, all included)")
        if rate == RATE and sd_path:
            uncertainty(table).to_csv(sd_path, index=False)
    r_peaks(records)
