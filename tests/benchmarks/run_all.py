"""Runs the timed benchmarks one after the other and prints machine, date, each command and what it found.

Reads:  nothing; the benchmarks here make their own data.
Writes: nothing.

Example:
    python tests/benchmarks/run_all.py              # all
    python tests/benchmarks/run_all.py training     # only these
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# name -> words after python tests/benchmarks/
BENCHMARKS = {
    "training": ["bench_training.py", "loader", "bare", "bootstrap"],
    "attribution": ["bench_attribution.py", "cost"],
    "tcav": ["bench_tcav_speed.py"],
}


def machine() -> str:
    """Processor, cores, Python and torch, one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    libraries = f"Python {platform.python_version()}, torch {metadata.version('torch')}"
    return f"{model or 'unknown processor'}, {os.cpu_count()} cores, {libraries}"


def run(name: str) -> int:
    """Print one benchmark's command and its lines; its exit status."""
    words = BENCHMARKS[name]
    print(f"\n$ python tests/benchmarks/{' '.join(words)}", flush=True)
    return subprocess.run([sys.executable, FOLDER / words[0], *words[1:]]).returncode


def main():
    """Run what was asked for; exit 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)} (default: all)")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}: accepted are {', '.join(BENCHMARKS)}")
    print(f"{datetime.date.today()}, {machine()}", flush=True)
    failed = [name for name in names if run(name)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
