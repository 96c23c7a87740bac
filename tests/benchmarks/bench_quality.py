"""What the quality flags find in real records, in both halves of the patients.

Noise and drift against the data base's own notes (static_noise, baseline_drift), on the records
that have a report; exchanged electrodes by exchanging them.

Reads:  records in PTB-XL's layout (--ptbxl).
Writes: nothing.

Example:
    python tests/benchmarks/bench_quality.py --ptbxl ../shared/ptbxl
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "code"))

from common.labels import LEADS
from common.stats import wilson_interval
from ecg.analysis import measure_all
from records.quality import drift_range, judge_quality, noise_level
from records.wfdb_files import read_records

# what the limb leads become: sign and lead it is taken from
EXCHANGES = {
    "as it is": {},
    "right and left arm": {"I": -1, "II": "III", "III": "II", "aVR": "aVL", "aVL": "aVR"},
    "right arm and left leg": {"I": "-III", "II": -1, "III": "-I", "aVR": "aVF", "aVF": "aVR"},
    "left arm and left leg": {"I": "II", "II": "I", "III": -1, "aVL": "aVF", "aVF": "aVL"},
}


def exchange(signals: np.ndarray, rule: dict) -> np.ndarray:
    """Signals # (n, T, 12) as they would be with exchanged electrodes."""
    result = signals.copy()
    for lead, source in rule.items():
        negative, name = (
            (True, lead) if source == -1 else (source.startswith("-"), source.lstrip("-"))
        )
        result[..., LEADS.index(lead)] = signals[..., LEADS.index(name)] * (-1 if negative else 1)
    return result


def share(found: np.ndarray) -> str:
    """A share with its 95 % interval."""
    low, high = wilson_interval(found.mean(), len(found))
    return f"{found.mean():.3f} [{low:.3f}, {high:.3f}] (n = {len(found)})"


def main(args):
    """Print every flag's record."""
    table = pd.read_csv(args.ptbxl / "ptbxl_database.csv", index_col="ecg_id", low_memory=False)
    signals = read_records(
        args.ptbxl, table["filename_lr"], table.index, 100, progress=False
    ).signals
    even = (table["patient_id"].astype(int) % 2 == 0).to_numpy()
    halves = {"even patients (chosen on)": even, "odd patients": ~even}
    for name, rule in EXCHANGES.items():
        exchanged = exchange(signals, rule)
        rows = pd.concat(
            [table.reset_index(), measure_all(exchanged, 100, progress=False)], axis=1
        ).set_index("ecg_id")
        found = judge_quality(exchanged, 100, rows)
        for half, mask in halves.items():
            print(
                f"limb_reversal, {name}, {half}: flagged "
                f"{share(found['quality_limb_reversal'].to_numpy()[mask])}"
            )
        if name == "as it is":
            flags = found
    print("flagged of all: " + ", ".join(f"{name} {int(flags[name].sum())}" for name in flags))
    scores = {
        "noise": (noise_level(signals, 100).max(axis=1), "static_noise"),
        "drift": (drift_range(signals, 100).max(axis=1), "baseline_drift"),
    }
    for name, (score, column) in scores.items():
        for half, mask in halves.items():
            rows = mask & table["report"].notna().to_numpy()
            noted, flagged = (
                table[column].notna().to_numpy()[rows],
                flags[f"quality_{name}"].to_numpy()[rows],
            )
            print(
                f"{name} against {column}, {half}: AUC {roc_auc_score(noted, score[rows]):.3f}, "
                f"flagged of the noted {share(flagged[noted])}, of the others "
                f"{share(flagged[~noted])}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ptbxl", type=Path, required=True)
    main(parser.parse_args())
