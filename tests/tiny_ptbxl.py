"""A few records in PTB-XL's layout, written byte by byte, for tests that break them in
known ways.
"""

from pathlib import Path

import numpy as np
import pandas as pd

NAMES = (
    "I",
    "II",
    "III",
    "AVR",
    "AVL",
    "AVF",
    "V1",
    "V2",
    "V3",
    "V4",
    "V5",
    "V6",
)  # as PTB-XL spells them
SCALE = np.linspace(0.6, 1.7, 12)  # every lead its own size: a swapped lead shows
CODES = [
    "{'NORM': 100.0, 'SR': 0.0}",
    "{'ASMI': 15.0, 'LVH': 80.0, 'SR': 0.0}",
    "{'PVC': 100.0, 'AFIB': 0.0}",
    "{}",
    "{'IMI': 0.0, 'NDT': 50.0}",
    "{'LAFB': 100.0, 'XYZ': 50.0}",
]


def ecg_like(seed: int, sampling_rate: int = 100) -> np.ndarray:
    """(T, 12) int16 in uV: beats 0.8 s apart with P, QRS and T, plus a little noise."""
    time = np.arange(10 * sampling_rate) / sampling_rate
    beat = sum(
        size * np.exp(-0.5 * ((((time + 0.01 * seed) % 0.8) - at) / width) ** 2)
        for at, size, width in ((0.2, 0.12, 0.02), (0.36, 1.0, 0.012), (0.6, 0.3, 0.04))
    )
    noise = np.random.default_rng(seed).normal(0, 0.003, (len(time), 12))
    return np.round(1000 * (beat[:, None] * SCALE + noise)).astype(np.int16)


def fitting_limbs(signal: np.ndarray) -> np.ndarray:
    """(T, 12) with limb leads that follow from I and II, as every real record has them."""
    one, two = signal[:, 0], signal[:, 1]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.column_stack([*limb, signal[:, 6:]])


def header(
    name: str, digital: np.ndarray, sampling_rate: int, names=NAMES, gain="1000.0(0)/mV"
) -> str:
    """A format-16 header with correct first values and checksums."""
    sums = digital.astype(np.int64).sum(axis=0) & 0xFFFF
    lines = [
        f"{name}.dat 16 {gain} 16 0 {first} {total} 0 {lead}"
        for first, total, lead in zip(digital[0], sums, names, strict=True)
    ]
    return "\n".join([f"{name} {len(names)} {sampling_rate} {len(digital)}", *lines]) + "\n"


def write_record(path: Path, digital: np.ndarray, sampling_rate: int = 100, **options) -> None:
    """<path>.hea and <path>.dat"""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".hea").write_text(header(path.name, digital, sampling_rate, **options))
    path.with_suffix(".dat").write_bytes(np.ascontiguousarray(digital).astype("<i2").tobytes())


def write_dataset(folder: Path, rates=(100,)) -> Path:
    """Six records, ids 1, 2, 3, 5, 7, 8, of five patients; returns `folder`."""
    ids = [1, 2, 3, 5, 7, 8]
    for ecg_id in ids:
        for rate in rates:
            write_record(folder / file_name(ecg_id, rate), ecg_like(ecg_id, rate), rate)
    pd.DataFrame(
        {
            "ecg_id": ids,
            "patient_id": [1.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            "age": [50.0, 51.0, 80.0, np.nan, 75.0, 30.0],
            "sex": [0, 0, 1, 1, 0, 1],
            "scp_codes": CODES,
            "strat_fold": [1, 1, 2, 8, 9, 10],
            "filename_lr": [file_name(ecg_id, 100) for ecg_id in ids],
            "filename_hr": [file_name(ecg_id, 500) for ecg_id in ids],
        }
    ).to_csv(folder / "ptbxl_database.csv", index=False)
    return folder


def file_name(ecg_id: int, sampling_rate: int) -> str:
    return f"records{sampling_rate}/00000/{ecg_id:05d}_{'lr' if sampling_rate == 100 else 'hr'}"


HOLTER_RATE = 250  # Hz


def holter(seed: int, seconds: int = 30) -> np.ndarray:
    """(T, 2) uV of II and V5."""
    piece = fitting_limbs(ecg_like(seed, HOLTER_RATE))[:, [1, 10]]
    return np.concatenate([piece] * (seconds // 10)).astype(np.int16)


def write_holters(folder: Path, n: int, seconds: int = 30, name: str = "in") -> tuple:
    """Records of MLII and V5 in `name`, as in MIT-BIH, some in the other order, and table.csv
    beside; the words that import_records.py takes, up to the output path.
    """
    for number in range(n):
        signals, leads = holter(number, seconds), ["MLII", "V5"]
        if number % 3 == 1:
            signals, leads = signals[:, ::-1], leads[::-1]
        write_record(folder / name / f"h{number:03d}", signals, HOLTER_RATE, names=leads)
    labels = ["AFIB" if number % 2 else "NORM SR" for number in range(n)]
    table = pd.DataFrame({"record_id": [f"h{k:03d}" for k in range(n)], "labels": labels})
    table.assign(age=60, sex="F").to_csv(folder / "table.csv", index=False)
    return "--records", folder / name, "--table", folder / "table.csv", "--output_path"
