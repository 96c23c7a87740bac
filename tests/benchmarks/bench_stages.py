"""What each stage costs, from the command line: CPU seconds, seconds by the clock, peak memory.

Reads:  nothing; makes a simulated cohort of its own (--n_records).
Writes: the whole chain into --output_path.

Example: python tests/benchmarks/bench_stages.py --n_records 600
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from ratios import print_result

LAST_LINES = 5  # of what a failed stage wrote to stderr
COSTS = "{cpu:.1f} s of CPU, {clock:.1f} s by the clock, peak {peak:.0f} MB"
CODE = Path(__file__).resolve().parents[2] / "code"


def stages(folder: Path, n_records: int) -> list[tuple[str, list]]:
    """(script, its options) in the order of the chain, as the demo runs it."""
    data, output = folder / "cohort", folder / "output"
    run, amplitude = output / "lenet_subdiagnostic", output / "lenet_T_Wave_Amplitude"
    places = ["--data_path", data, "--output_path", output, "--model_path", run]
    train = ["--data_path", data, "--logdir", output, "--modelname", "lenet", "--epochs", 30]
    return [
        ("simulate_ptbxl", ["--output_path", data, "--n_records", n_records, "--seed", 0]),
        ("preprocessing", ["--data_path", data]),
        ("train_model", [*train, "--task", "subdiagnostic"]),
        ("train_model", [*train, "--task", "T_Wave_Amplitude"]),
        ("tcav_analysis", [*places, "--n_runs", 10, "--n_null", 400]),
        ("lrp_analysis", [*places, "--pathologies", "LVH", "CLBBB", "IMI", "AMI"]),
        ("glocal_analysis", [*places, "--n_samples", 20]),
        (
            "sanity_checks",
            [*places, "--n_samples", 16, "--n_few", 4, "--amplitude_models", amplitude],
        ),
        ("discovery", [*places, "--cohort", "AMI or IMI"]),
        ("report", ["--output_path", output, "--model_path", run]),
    ]


def measure(script: str, options: list) -> dict:
    """Run one stage; its costs. Where it fails, exit with its command and the end of its stderr."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, CODE / f"{script}.py", *map(str, options)],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            last = "".join(errors.readlines()[-LAST_LINES:])
            sys.exit(
                f"{script} {' '.join(map(str, options))}: exit code {process.returncode}\n{last}"
            )
    return {
        "cpu": usage.ru_utime + usage.ru_stime,
        "clock": time.perf_counter() - start,
        "peak": usage.ru_maxrss / 1024,
    }


def main() -> None:
    """Say the costs of each stage, and of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n_records", type=int, default=600)
    parser.add_argument(
        "--output_path", type=Path, help="default: a temporary folder, removed at the end"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.output_path or Path(temporary)
        costs = []
        for script, options in stages(folder, args.n_records):
            costs.append(measure(script, options))
            print_result(f"{script}.py", f"{args.n_records} records", COSTS.format(**costs[-1]))
    table = pd.DataFrame(costs)
    print_result(
        "all stages",
        f"{args.n_records} records",
        COSTS.format(**(dict(table.sum()) | {"peak": table["peak"].max()})),
    )


if __name__ == "__main__":
    main()
