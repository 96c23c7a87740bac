"""Bring your own 12-lead recordings into the layout that every stage reads.

Reads:  --signals, a .npy array (N, T, 12) in mV, leads in the order I II III aVR aVL aVF V1..V6
        --table, a csv with one row per recording in the same order: `labels` (SCP statements, "IMI
        SR"), `patient_id`, and if known `ecg_id`, `age`, `sex` (0 male, 1 female), `strat_fold`
        (1-10), `r_peaks` (samples at --signal_rate)
Writes: --output_path: ptbxl_database.csv, scp_statements.csv, records100/ and, with R-peaks,
addons/r-peaks.csv Example:
    python code/import_records.py --signals mine.npy --table mine.csv --signal_rate 250
    --output_path data/mine python code/preprocessing.py --data_path data/mine

Recordings are resampled to 100 Hz; all must last equally long, 2.5 s at least (pad or cut them
before). Without `strat_fold`, patients are dealt out to ten folds at random (--seed); without
`patient_id`, every recording counts as a patient of its own.
"""

import argparse
import re
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.cli import StageParser, run, stage_parser
from common.files import UserError, read_csv, read_npy, sha256, write_csv
from common.labels import LEADS, STATEMENTS
from common.stage import Stage
from records.dataset import parse_r_peaks
from records.ptbxl import record_name, write_database, write_record, write_statements
from records.resampling import check_rate, resample

RATE = 100  # Hz that everything is brought to
MAX_MV = 32.0  # what format 16 holds at 1000 units per mV; no ECG comes near
MIN_SECONDS = 2.5


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        "output_path",
        "seed",
        "overwrite",
        output_path={"default": None, "required": True, "help": "folder of the new data set"},
    )
    parser.add_argument("--signals", required=True, help=".npy array (N, T, 12), mV")
    parser.add_argument(
        "--table", required=True, help="csv, one row per recording, in the array's order"
    )
    parser.add_argument(
        "--signal_rate", type=float, required=True, metavar="HZ", help="sampling rate of the array"
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Check what was given, write it in PTB-XL's layout."""
    signals, table = read_inputs(args)
    folder = Path(args.output_path)
    if (folder / "ptbxl_database.csv").is_file() and not (folder / "import.json").is_file():
        raise UserError(f"{folder} holds another data set: choose a new folder")
    settings = {
        "signals": sha256(args.signals),
        "table": sha256(args.table),
        "signal_rate": args.signal_rate,
        "seed": args.seed,
    }
    with Stage(folder, "import", settings, args.overwrite) as stage:
        if stage.finished_before():
            return
        write(folder, signals, table, args.signal_rate)
        stage.finish(
            inputs=[args.signals, args.table],
            outputs=[folder / "ptbxl_database.csv"],
            counts={"records": len(table)},
        )
    addons = f" --addons {folder / 'addons'}" if "r_peaks" in table else ""
    print(
        f"{len(table)} recordings of {table['patient_id'].nunique()} patients -> {folder}; "
        f"next: python code/preprocessing.py --data_path {folder}{addons}"
    )


def read_inputs(args: argparse.Namespace) -> tuple[np.ndarray, pd.DataFrame]:
    """The array (N, T, 12) and the table in PTB-XL's columns; UserError for all that
    does not fit.
    """
    signals, table = read_npy(args.signals, mmap=True), read_csv(args.table)
    if (
        signals.ndim != 3
        or signals.shape[2] != len(LEADS)
        or len(signals) != len(table)
        or not len(table)
    ):
        raise UserError(
            f"{args.signals} is {signals.shape} and {args.table} has {len(table)} rows: "
            f"expected (rows, T, {len(LEADS)})"
        )
    check_rate(args.signal_rate)
    if signals.shape[1] < MIN_SECONDS * args.signal_rate:
        raise UserError(
            f"{signals.shape[1]} samples at {args.signal_rate:g} Hz are less than {MIN_SECONDS} s: "
            "check --signal_rate"
        )
    for row, signal in enumerate(signals):
        peak = np.abs(signal).max()
        if not peak <= MAX_MV:  # NaN too
            raise UserError(
                f"recording {row} of {args.signals} reaches {peak:g} mV or has gaps: give mV, "
                "without NaN"
            )
    return signals, _in_ptbxl_columns(table, args)


def _in_ptbxl_columns(table, args):
    if "labels" not in table:
        raise UserError(
            f"{args.table} lacks the column labels: SCP statements, separated by spaces (NORM, "
            "IMI, LVH, SR, ...)"
        )
    words = table["labels"].fillna("").astype(str).map(lambda text: re.findall(r"[^\s,;]+", text))
    unknown = sorted({word for row in words for word in row} - set(STATEMENTS))
    if unknown:
        raise UserError(
            f"{args.table} has labels that are not SCP statements: {', '.join(unknown)}; "
            f"accepted are {', '.join(STATEMENTS)}"
        )
    table = table.assign(scp_codes=words.map(lambda row: str(dict.fromkeys(row, 100.0))))
    table["ecg_id"] = table.get("ecg_id", pd.Series(np.arange(1, len(table) + 1)))
    if "patient_id" not in table:
        print("warning: no column patient_id: every recording counts as a patient of its own")
        table["patient_id"] = table["ecg_id"]
    if "strat_fold" not in table:
        patients = table["patient_id"].unique()
        shuffled = np.random.default_rng(args.seed).permutation(len(patients))
        table["strat_fold"] = table["patient_id"].map(
            dict(zip(patients, shuffled % 10 + 1, strict=True))
        )
    table["filename_lr"] = [record_name(int(ecg_id), RATE) for ecg_id in table["ecg_id"]]
    return table.drop(columns="labels")


def write(folder: Path, signals: np.ndarray, table: pd.DataFrame, rate: float) -> None:
    """Records at 100 Hz, then R-peaks, statements and, last, the table."""
    for subfolder in {Path(name).parent for name in table["filename_lr"]}:
        (folder / subfolder).mkdir(parents=True, exist_ok=True)
    for name, signal in zip(tqdm(table["filename_lr"], desc="importing"), signals, strict=True):
        resampled = resample(np.asarray(signal, dtype=float), rate, RATE)
        write_record(
            folder, name, np.rint(resampled * 1000).clip(-32767, 32767).astype("<i2"), RATE
        )
    if "r_peaks" in table:
        at_100 = [
            " ".join(map(str, np.rint(parse_r_peaks(text) * RATE / rate).astype(int)))
            for text in table["r_peaks"]
        ]
        write_csv(
            folder / "addons" / "r-peaks.csv",
            pd.DataFrame({"ecg_id": table["ecg_id"], "r_peaks": at_100}),
        )
    write_statements(folder)
    write_database(folder, table.drop(columns="r_peaks", errors="ignore"))


if __name__ == "__main__":
    run(main, get_args_parser())
