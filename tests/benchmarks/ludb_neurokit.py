"""NeuroKit2's delineation (discrete wavelets) of lead II on LUDB, scored as ours is.

NeuroKit2 is no requirement of the project: run it in an environment of its own, with neurokit2,
wfdb and tqdm.

    python tests/benchmarks/ludb_neurokit.py --ludb_path ../shared/ludb
"""

import argparse
import sys
from pathlib import Path

import neurokit2
import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "code"))

import ludb

LEAD = "II"
NAMES = {"P": "P", "QRS": "R", "T": "T"}  # our waves -> NeuroKit2's


def delineate(signal: np.ndarray) -> pd.DataFrame:
    """Marks of one lead (T,) at ludb.RATE; none where NeuroKit2 fails."""
    try:
        cleaned = neurokit2.ecg_clean(signal, sampling_rate=ludb.RATE)
        _, peaks = neurokit2.ecg_peaks(cleaned, sampling_rate=ludb.RATE)
        _, found = neurokit2.ecg_delineate(
            cleaned, peaks["ECG_R_Peaks"], sampling_rate=ludb.RATE, method="dwt"
        )
    except (ValueError, IndexError, ZeroDivisionError):
        return pd.DataFrame(columns=["lead", "wave", "onset", "peak", "offset"])
    parts = []
    for wave, name in NAMES.items():
        sides = {
            side: np.asarray(found[f"ECG_{name}_{side.capitalize()}s"], float) / ludb.RATE
            for side in ("onset", "offset")
        }
        parts.append(pd.DataFrame(sides).assign(lead=LEAD, wave=wave, peak=np.nan))
    return pd.concat(parts, ignore_index=True)


def main(args: argparse.Namespace) -> None:
    """Print F1 and errors per boundary and half."""
    tables = []
    for record in ludb.read(args.ludb_path):
        signal = record.signal[:, ludb.LEADS.index(LEAD)].astype(float)
        marks = delineate(signal)
        table = ludb.compare(marks, record.marks)
        drawn = marks.loc[marks["wave"] == "P", "onset"].notna().any()
        table = table[table["lead"] == LEAD]
        tables.append(
            table.assign(half=record.half, number=record.number, invented=record.atria and drawn)
        )
    table = pd.concat(tables)
    for half, part in table.groupby("half"):
        invented = part[part["invented"]]["number"].nunique()
        print(f"half {'AB'[half]}, lead {LEAD}; AF and flutter with a P: {invented}")
        for wave, side in ludb.BOUNDARIES:
            chosen = part[(part["wave"] == wave) & (part["side"] == side)]
            errors = np.concatenate([*chosen["errors"], []])
            print(
                f"  {wave:<4}{side:<7} F1 {ludb.f1(chosen):.4f}  "
                f"{errors.mean():+.1f}+-{errors.std():.1f} ms, n {len(errors)}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ludb_path", type=Path, default=ROOT.parent / "shared" / "ludb")
    main(parser.parse_args())
