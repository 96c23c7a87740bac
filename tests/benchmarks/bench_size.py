"""What the stages cost for 1,000 to 100,000 records: seconds and memory.

Reads:  nothing: a cohort of BASE records is simulated, and listed again and again under new ids.
Writes: nothing that stays (--folder keeps the cohorts for another call).

Each stage is a process of its own, measured to its end: processor seconds, seconds by the clock,
and the peak of its memory, sampled every 50 ms. Pages of a file that is mapped into memory are told
apart: the system takes them back when others need room.

Hours and memory of a full reproduction: watch_stages.py.

Example: python tests/benchmarks/bench_size.py --sizes 1000 5000
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(Path(__file__).parent)]

from ratios import print_result

from common.files import read_csv, write_npy, write_pickle
from records.dataset import TABLE, read_signals
from records.stored import Room, whole

BASE = 1000  # records that are simulated
SIZES = (1000, 5000, 20_000, 100_000)
TASK = "superdiagnostic"
RUN = f"lenet_{TASK}"
# stage -> its options; {data}, {out} stand for the folders
MODEL = f"--model_path {{out}}/{RUN} --overwrite --threads 1"
STAGES = {
    "preprocessing": "--data_path {data}",
    "train_model": f"--data_path {{data}} --logdir {{out}} --task {TASK} --epochs 1 "
    "--n_bootstrap 20 --overwrite --threads 1",
    "tcav_analysis": f"{MODEL} --n_runs 5 --n_null 100 --concepts SLI-LVH QRS-CLBBB",
    "lrp_analysis": f"{MODEL} --strategy all --n_samples 100 --pathologies NORM --max_figures 0 "
    "--methods saliency lrp",
}


def run_script(name: str, words: list[str]) -> str:
    """Seconds and memory of one stage in words; what it said where it fails."""
    command = [sys.executable, str(ROOT / "code" / f"{name}.py"), *words]
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        own, mapped = 0, 0
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            found = memory_of(process.pid)
            own, mapped = max(own, found["RssAnon"]), max(mapped, found["RssFile"])
            time.sleep(0.05)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{name} ended with {process.returncode}: {said.read()[-2000:]}")
    seconds, clock = used.ru_utime + used.ru_stime, time.perf_counter() - begin
    memory = f"{own / 1e6:.2f} GB of its own, {mapped / 1e6:.2f} GB of mapped files"
    return f"{seconds:.0f} s of processor, {clock:.0f} s by the clock; {memory}"


def memory_of(pid: int) -> dict[str, int]:
    """A process's memory in kB: its own (RssAnon) and that of mapped files (RssFile)."""
    found = {"RssAnon": 0, "RssFile": 0}
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return found  # it has just ended
    for line in lines:
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0])
    return found


def make_base(folder: Path) -> Path:
    """BASE simulated records, preprocessed."""
    if not (folder / "preprocessing.json").is_file():
        run_script("simulate_ptbxl", ["--output_path", str(folder), "--n_records", str(BASE)])
        run_script("preprocessing", ["--data_path", str(folder)])
    return folder


def repeated(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """`n` rows under new ids, of new patients."""
    times = np.arange(n) // len(table)
    rows = table.iloc[np.arange(n) % len(table)].copy()
    rows["ecg_id"] = np.arange(1, n + 1)
    rows["patient_id"] += times * (table["patient_id"].max() + 1)
    return rows


def make_raw(base: Path, folder: Path, n: int) -> None:
    """The base's records as a folder of `n` records that preprocessing.py has not seen."""
    folder.mkdir(parents=True, exist_ok=True)
    table = read_csv(base / "ptbxl_database.csv")
    repeated(table, n).to_csv(folder / "ptbxl_database.csv", index=False)
    for name in ("scp_statements.csv", "records100"):
        if not (folder / name).exists():
            (folder / name).symlink_to((base / name).resolve())


def make_ready(base: Path, folder: Path, n: int) -> None:
    """The base's data set as one of `n` records, as preprocessing.py would have written it."""
    folder.mkdir(parents=True, exist_ok=True)
    table = read_csv(base / TABLE, low_memory=False)
    repeated(table, n).to_csv(folder / TABLE, index=False)
    signals = read_signals(base / "raw100.pkl")
    room = Room((n, *signals.shape[1:]), folder)
    for row in range(n):
        room.put(row, signals[row % len(signals)])
    write_pickle(folder / "raw100.pkl", whole(room.signals(n)))
    for path in [*base.glob("multihot_*.npy"), *base.glob("mask_*.npy")]:
        values = np.load(path)
        write_npy(folder / path.name, values[np.arange(n) % len(values)])


def measure(base: Path, folder: Path, n: int, stages: list[str]) -> None:
    """Every stage on `n` records, a line each."""
    for name in stages:
        data = folder / ("raw" if name == "preprocessing" else "ready")
        make = make_raw if name == "preprocessing" else make_ready
        if not (data / "raw100.pkl").is_file():
            make(base, data, n)
        words = STAGES[name].format(data=data, out=folder / "out").split()
        print_result(f"{name}, {n:,} records", "", run_script(name, words))


def main(args: argparse.Namespace) -> None:
    """Measure, size by size."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        base = make_base(folder / "base")
        for n in args.sizes:
            stages = [name for name in args.stages if n <= args.most or name != "preprocessing"]
            measure(base, folder / str(n), n, stages)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="records")
    parser.add_argument(
        "--stages", nargs="+", choices=STAGES, default=list(STAGES), help="of these"
    )
    parser.add_argument("--most", type=int, default=100_000, help="records preprocessed at most")
    parser.add_argument("--folder", help="where the cohorts are kept (default: nowhere)")
    main(parser.parse_args())
