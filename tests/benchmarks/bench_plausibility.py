"""How often a real record raises an alarm of records/plausibility.py, and how often each fault is
found.

Limits were set on the records of patients with an even number; both halves are printed. Then what
is left of it where a record has few leads.
Example: python tests/benchmarks/bench_plausibility.py --data_path ../shared/ptbxl
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "code"))

from common.labels import LEADS
from records.plausibility import judge
from records.wfdb_files import read_records

SHUFFLED = [0, 1, 6, 7, 8, 9, 10, 11, 2, 3, 4, 5]  # I II V1-V6 III aVR aVL aVF
REVERSED = [0, 1, 2, 3, 4, 5, 11, 10, 9, 8, 7, 6]


def hum(signals: np.ndarray) -> np.ndarray:
    """0.2 mV of 50 Hz as a 100 Hz record would hold it (sampled off its zeros), nothing else."""
    time = np.arange(signals.shape[1]) / 100
    wave = 0.2 * np.sin(2 * np.pi * 49.9 * time)
    return np.broadcast_to(wave[None, :, None], signals.shape).astype(np.float32)


# fault -> (what it does to (n, T, 12) mV, the flags that find it)
FAULTS = {
    "V taken for mV": (lambda x: x / 1000, ("unit",)),
    "uV taken for mV": (lambda x: x * 1000, ("unit",)),
    "1e-4 V taken for mV": (lambda x: x * 10, ("unit",)),
    "gain x5": (lambda x: x * 5, ("unit",)),
    "gain / 5": (lambda x: x / 5, ("unit",)),
    "I II V1-V6 III aVR aVL aVF": (lambda x: x[..., SHUFFLED], ("limb_order",)),
    "V1-V6 reversed": (lambda x: x[..., REVERSED], ("chest_order",)),
    "each lead scaled to 1 mV": (lambda x: x / np.ptp(x, axis=1, keepdims=True), ("lead_scaling",)),
    "upside down": (lambda x: -x, ("polarity",)),
    "12 zero leads": (lambda x: x * 0, ("no_beat",)),
    "mains hum alone": (hum, ("no_beat",)),
    "white noise alone": (
        lambda x: np.random.default_rng(0).normal(0, 0.1, x.shape).astype(np.float32),
        ("no_beat",),
    ),
}

SCALES = {"x1000": 1e3, "/1000": 1e-3, "x10": 10.0, "/10": 0.1, "x5": 5.0, "/5": 0.2}
FEW = (*((lead,) for lead in LEADS), ("II", "V5"), ("II", "V1"), ("I", "II", "III"), LEADS[:6])


def with_few(signals: np.ndarray, leads: tuple[str, ...]) -> np.ndarray:
    """Records that have these leads alone; the others are NaN."""
    kept = np.isin(LEADS, leads)
    return np.where(kept, signals, np.nan).astype(np.float32)


def rates_of_few(signals: np.ndarray, leads: tuple[str, ...]) -> dict[str, float]:
    """Share of records with these leads that raise any alarm, and that `unit` finds scaled."""
    few = with_few(signals, leads)
    shares = {"alarm": np.any(list(judge(few, 100).values()), axis=0).mean()}
    for name, factor in SCALES.items():
        shares[name] = judge(few * np.float32(factor), 100, ["unit"])["unit"].mean()
    return {name: float(share) for name, share in shares.items()}


def rates(signals: np.ndarray) -> dict[str, float]:
    """Share of records with any alarm, with each, and of each fault found by its own flags."""
    alarms = judge(signals, 100)
    shares = {"alarm": np.any(list(alarms.values()), axis=0).mean()}
    shares |= {f"alarm {name}": flags.mean() for name, flags in alarms.items()}
    for fault, (make, flags) in FAULTS.items():
        found = judge(make(signals), 100)
        shares[fault] = np.any([found[name] for name in flags], axis=0).mean()
    return {name: float(share) for name, share in shares.items()}


def halves(data_path: str | Path) -> dict[str, np.ndarray]:
    """Signals (n, 1000, 12) of the patients with an even and with an odd number."""
    table = pd.read_csv(Path(data_path) / "ptbxl_database.csv")
    read = read_records(data_path, table["filename_lr"], table["ecg_id"], 100, progress=False)
    even = (table["patient_id"].astype(int) % 2 == 0).to_numpy()[read.kept]
    return {"even": read.signals[even], "odd": read.signals[~even]}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_path", default="../shared/ptbxl", help="real PTB-XL records")
    parts = halves(parser.parse_args().data_path)
    found = {half: rates(signals) for half, signals in parts.items()}
    sizes = ", ".join(f"{len(signals)} {half}" for half, signals in parts.items())
    print(f"records of patients with a number: {sizes}")
    for name in found["odd"]:
        print(
            f"{name:28} " + "  ".join(f"{half} {100 * found[half][name]:6.2f} %" for half in found)
        )
    for leads in FEW:
        few = {half: rates_of_few(signals, leads) for half, signals in parts.items()}
        found = " ".join(f"{name} {100 * few['odd'][name]:.1f}" for name in SCALES)
        alarms = "  ".join(f"{half} {100 * few[half]['alarm']:.2f} %" for half in few)
        print(f"{' '.join(leads):24} alarm {alarms}; found, odd (%): {found}")


if __name__ == "__main__":
    main()
