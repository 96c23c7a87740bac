"""Runs the timed benchmarks one after the other and prints machine, date, each command and, at the
end, a table of all results; with --results it writes sections of docs/results.md (results.py).

Reads:  real records in PTB-XL's layout for `records` (--ptbxl; left out without); the others make
        their own data, or share one simulated cohort and the runs trained on it.
Writes: nothing but a temporary folder for these.

Every ratio has both its sides in one process.

Example:
    python tests/benchmarks/run_all.py --ptbxl ../shared/ptbxl      # all; most of an hour on 2
    cores python tests/benchmarks/run_all.py training scaling             # only these
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from bench_stages import measure, stages
from ratios import row_of
from results import SECTIONS, run_step, write_section

FOLDER = Path(__file__).resolve().parent
N_RECORDS = 2200  # of the shared cohort: the sanity checks find 200 in its fold 10
# name -> what follows python tests/benchmarks/; {ptbxl} stands for --ptbxl, the others for what
# `shared` makes
BENCHMARKS = {
    "records": "bench_records.py reading cost memory --ptbxl {ptbxl}",
    "training": "bench_training.py loader bare bf16 bootstrap",
    "attribution": "bench_attribution.py cost captum",
    "tcav": "bench_tcav_speed.py",
    "glocal": "bench_glocal.py time --data_path {cohort} --model_path {run}",
    "sanity": "bench_sanity.py time --data_path {cohort} --model_path {run} --amplitude_models "
    "{amplitude} --seeds {seed}",
    "discovery": "bench_discovery.py",
    "scaling": "bench_scaling.py",
    "stages": "bench_stages.py",
}


def machine() -> str:
    """Processor, cores, Python and torch, one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    libraries = f"Python {platform.python_version()}, torch {metadata.version('torch')}"
    return f"{model or 'unknown processor'}, {os.cpu_count()} cores, {libraries}"


def needs(name: str, place: str) -> bool:
    """Whether a benchmark reads from that place."""
    return f"{{{place}}}" in BENCHMARKS[name]


def shared(folder: Path) -> dict[str, Path]:
    """Simulate a cohort under `folder`, train a LeNet on its labels, one on its amplitudes, and the
    first with another seed: place -> path.
    """
    made = stages(folder, N_RECORDS)[:4]
    script, options = made[2]
    for one in (*made, (script, [*options, "--seed", 1, "--run_name", "seed1"])):
        measure(*one)
    output = folder / "output"
    return {
        "cohort": folder / "cohort",
        "run": output / "lenet_subdiagnostic",
        "amplitude": output / "lenet_T_Wave_Amplitude",
        "seed": output / "lenet_subdiagnostic_seed1",
    }


def run(name: str, places: dict[str, str | Path]) -> tuple[list[list[str]], bool]:
    """Run one benchmark, passing on its lines; what it said (what, against, measured, command) and
    whether it succeeded.
    """
    script, *words = [word.format(**places) for word in BENCHMARKS[name].split()]
    print(f"\n$ python tests/benchmarks/{' '.join([script, *words])}", flush=True)
    rows = []
    with subprocess.Popen(
        [sys.executable, FOLDER / script, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if row := row_of(line):
                rows.append([*row, BENCHMARKS[name].split(" --")[0]])
    return rows, process.returncode == 0


def write_results(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Run the steps behind the sections asked for, and write each when its steps have ended."""
    unknown = [name for name in args.results if name not in SECTIONS]
    if unknown:
        parser.error(f"unknown section {', '.join(unknown)}: accepted are {', '.join(SECTIONS)}")
    if not args.ptbxl and not args.only_write:
        parser.error("--results needs --ptbxl, a folder of records in PTB-XL's layout")
    args.work.mkdir(parents=True, exist_ok=True)
    for name in args.results or SECTIONS:
        for step in () if args.only_write else SECTIONS[name].steps:
            run_step(step, args.work.resolve(), args.ptbxl)
        write_section(name, SECTIONS[name], args.work.resolve())
        print(f"docs/results.md: {name} written")


def main() -> None:
    """Run what was asked for; exit 1 where one failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)} (default: all)"
    )
    parser.add_argument("--ptbxl", help="real records in PTB-XL's layout")
    parser.add_argument(
        "--results",
        nargs="*",
        metavar="SECTION",
        help=f"write these sections of docs/results.md ({', '.join(SECTIONS)}; none named: all) in "
        "place of the benchmarks; needs --ptbxl",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("output/results"),
        help="folder of the runs behind --results; what has ended there stays "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--only_write",
        action="store_true",
        help="with --results: run nothing, make the tables from what lies in --work; steps that "
        "have not ended are named",
    )
    args = parser.parse_args()
    if args.results is not None:
        return write_results(parser, args)
    names = args.names or [name for name in BENCHMARKS if args.ptbxl or not needs(name, "ptbxl")]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(
            f"unknown benchmark {', '.join(unknown)}: accepted are {', '.join(BENCHMARKS)}"
        )
    missing = [name for name in names if needs(name, "ptbxl") and not args.ptbxl]
    if missing:
        parser.error(f"{', '.join(missing)}: needs --ptbxl, a folder of records in PTB-XL's layout")
    title = f"{datetime.date.today()}, {machine()}"
    print(title, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        places = {"ptbxl": args.ptbxl} | (
            shared(Path(folder)) if any(needs(name, "run") for name in names) else {}
        )
        done = {name: run(name, places) for name in names}
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
