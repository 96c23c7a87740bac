"""Runs the timed benchmarks one after the other and prints machine, date, each command and, at the end, a table of all results.

Reads:  real records in PTB-XL's layout for `records` (--ptbxl; left out without); the others make their own data.
Writes: nothing.

Every ratio has both its sides in one process.

Example:
    python tests/benchmarks/run_all.py --ptbxl ../shared/ptbxl      # all; about 40 minutes on 2 cores
    python tests/benchmarks/run_all.py training scaling             # only these
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from ratios import row_of

FOLDER = Path(__file__).resolve().parent
# name -> words after python tests/benchmarks/
BENCHMARKS = {
    "records": ["bench_records.py", "reading", "cost", "memory"],
    "training": ["bench_training.py", "loader", "bare", "bootstrap"],
    "attribution": ["bench_attribution.py", "cost", "captum"],
    "tcav": ["bench_tcav_speed.py"],
    "scaling": ["bench_scaling.py"],
    "stages": ["bench_stages.py"],
}
NEED_RECORDS = ("records",)


def machine() -> str:
    """Processor, cores, Python and torch, one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    libraries = f"Python {platform.python_version()}, torch {metadata.version('torch')}"
    return f"{model or 'unknown processor'}, {os.cpu_count()} cores, {libraries}"


def run(name: str, options: Sequence[str] = ()) -> tuple[list[list[str]], bool]:
    """Run one benchmark, passing on its lines; what it said (what, against, measured, command) and whether it succeeded."""
    script, *words = BENCHMARKS[name]
    print(f"\n$ python tests/benchmarks/{' '.join([script, *words, *options])}", flush=True)
    rows = []
    with subprocess.Popen([sys.executable, FOLDER / script, *words, *options], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if row := row_of(line):
                rows.append([*row, " ".join([script, *words])])
    return rows, process.returncode == 0


def main() -> None:
    """Run what was asked for; exit 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--ptbxl", help="real records in PTB-XL's layout")
    args = parser.parse_args()
    names = args.names or [name for name in BENCHMARKS if args.ptbxl or name not in NEED_RECORDS]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}: accepted are {', '.join(BENCHMARKS)}")
    missing = [name for name in names if name in NEED_RECORDS and not args.ptbxl]
    if missing:
        parser.error(f"{', '.join(missing)}: needs --ptbxl, a folder of records in PTB-XL's layout")
    title = f"{datetime.date.today()}, {machine()}"
    print(title, flush=True)
    done = {name: run(name, ["--ptbxl", args.ptbxl] if name in NEED_RECORDS else []) for name in names}
    print(f"\n{title}\n\n| what | against | measured | command |\n|---|---|---|---|")
    for rows, _ in done.values():
        for row in rows:
            print(f"| {' | '.join(row)} |")
    left_out = [name for name in BENCHMARKS if not args.names and name not in names]
    if left_out:
        print(f"\nleft out: {', '.join(left_out)} (give --ptbxl)")
    failed = [name for name, (_, fine) in done.items() if not fine]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
