"""What measuring costs: processor time per record, and as a share of what it cost before.

Milliseconds depend on the machine and on what else runs there, the share does not: a process with
today's code and one with a commit's take turns. When a801890 was the code, all of preprocessing
took 3.3 ms a record at 100 Hz and 6 to 8 at 500 Hz, and 2 and 4 ms were asked for: BARS.

Reads:  real PTB-XL records
Prints: one line per sampling rate

    python tests/benchmarks/bench_ecg_cost.py --data_path ../shared/ptbxl
    python tests/benchmarks/bench_ecg_cost.py --against a801890 --rounds 5
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
N_RECORDS = {100: 240, 500: 96}  # Hz -> whole chunks of records
BARS = {100: 2 / 3.3, 500: 4 / 7}  # of what the commit a801890 costs


def spent(work: Callable[[], object]) -> float:
    """Processor time of a call in s, the least of three."""
    times = []
    for _ in range(3):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def here(code: Path, records: Path) -> None:
    """Print the ms per record of the code in a folder, one line per rate."""
    sys.path.insert(0, str(code))
    import ecg

    for rate, signals in _signals(records).items():
        ecg.measure_all(signals[:24], rate, progress=False)  # what is slow only once
        work = spent(lambda s=signals, r=rate: ecg.measure_all(s, r, progress=False))
        print(rate, work / len(signals) * 1000)


def _signals(records):
    with np.load(records) as stored:
        return {int(rate): stored[rate] for rate in stored.files}


def in_a_process(folder: Path, records: Path) -> dict[int, float]:
    """`here` for the code of a checkout, in a process of its own: rate -> ms per record."""
    words = [sys.executable, __file__, "--here", str(folder / "code"), "--records", str(records)]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    return {int(rate): float(ms) for rate, ms in lines}


def compare(commit: str, rounds: int, records: Path) -> None:
    """Print the ms per record of a commit and of this checkout, and their quotients."""
    from compare_commits import checked_out

    taken = []
    with checked_out(commit) as before:
        for number in range(rounds):
            order = (before, ROOT) if number % 2 == 0 else (ROOT, before)
            found = {folder: in_a_process(folder, records) for folder in order}
            taken.append((found[before], found[ROOT]))
    for rate, bar in BARS.items():
        old, new = (np.array([pair[side][rate] for pair in taken]) for side in (0, 1))
        shares, share = new / old, np.median(new / old)
        print(
            f"{rate} Hz: {np.median(new):.2f} ms a record, {commit} {np.median(old):.2f}: "
            f"{share:.2f} of it [{shares.min():.2f}, {shares.max():.2f}], least of each "
            f"{new.min() / old.min():.2f}, n {rounds} rounds of {N_RECORDS[rate]} records; "
            f"bar {bar:.2f} {'met' if share <= bar else 'MISSED'}"
        )


def store(path: Path, data_path: Path) -> None:
    """Write the signals to measure to an .npz: rate -> (n, T, 12) mV."""
    from bench_ecg import read_cohort

    signals = {
        str(rate): read_cohort(data_path, rate, largest_id=n_records + 24).signals[:n_records]
        for rate, n_records in N_RECORDS.items()
    }
    np.savez(path, **signals)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data_path", type=Path, default=ROOT.parent / "shared" / "ptbxl")
    parser.add_argument("--against", metavar="COMMIT", help="measure this commit in turn with ours")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default: 3)")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--records", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        here(args.here, args.records)
        return
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records.npz"
        store(records, args.data_path)
        if args.against:
            compare(args.against, args.rounds, records)
        else:
            for rate, ms in in_a_process(ROOT, records).items():
                print(f"{rate} Hz: {ms:.2f} ms a record, n {N_RECORDS[rate]}")
    print(f"(load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")


if __name__ == "__main__":
    main()
