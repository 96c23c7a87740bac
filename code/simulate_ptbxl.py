"""Simulate a cohort in PTB-XL's layout whose causes are known.

Reads:  nothing.
Writes: <output_path>/ptbxl_database.csv, scp_statements.csv, records100/ (records500/) as PTB-XL
        has them, and the truth: planted_causes.csv, planted_times.csv, true_parameters.csv,
        true_fiducials.csv, true_measurements.csv, ptbxl_segmentations/<ecg_id>.npy.

Example:
    python code/simulate_ptbxl.py --output_path=data/simulated/ --n_records 1000 --seed 0
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import common  # isort: skip  # noqa: F401

import argparse
from pathlib import Path

from common.cli import StageParser, check_names, run, say_results, stage_parser
from common.files import UserError
from common.options import positive_int
from common.stage import Stage
from simulation.cohort import make_plan
from simulation.files import DATABASE, RATES, remove_records, write_cohort

FIRST = {
    DATABASE: "patients, labels and files, as in PTB-XL",
    "planted_causes.csv": "which cause changes which lead and segment of which record",
    "true_measurements.csv": "the amplitudes and durations that were drawn",
}
NAME = "simulate_ptbxl"


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        "output_path",
        "seed",
        "overwrite",
        output_path={"default": "data/simulated/", "help": "folder the cohort is written to"},
    )
    parser.add_argument(
        "--n_records",
        type=positive_int,
        default=1000,
        help="records of 10 s; 1000 take about 15 s and 350 MB",
    )
    parser.add_list_argument(
        "--sampling_rate",
        item=int,
        default=[100],
        metavar="HZ",
        help="100, 500 or both (100 500); 100 is always written",
    )
    parser.add_argument(
        "--segmentations",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write the true segments, 288 kB per record (default: yes)",
    )
    return parser


def refuse_other_data(folder: Path) -> None:
    """UserError where the folder holds a data set that this stage did not write."""
    if (folder / DATABASE).exists() and not (folder / f"{NAME}.json").is_file():
        raise UserError(
            f"{folder} holds a data set that was not simulated: choose another --output_path"
        )


def main(args: argparse.Namespace) -> None:
    """Simulate, write, say where."""
    check_names("sampling rate", args.sampling_rate, RATES)
    rates = sorted({100, *args.sampling_rate})
    settings = {
        "n_records": args.n_records,
        "seed": args.seed,
        "sampling_rate": rates,
        "segmentations": args.segmentations,
    }
    folder = Path(args.output_path)
    refuse_other_data(folder)
    with Stage(folder, NAME, settings, args.overwrite) as stage:
        if stage.finished_before():
            return
        plan = make_plan(args.n_records, args.seed)
        try:
            remove_records(folder, stage.begun_before)
        except UserError:
            stage.withdraw()
            raise
        outputs = write_cohort(folder, plan, rates, args.segmentations)
        counts = {"records": len(plan), "patients": plan["patient_id"].nunique()}
        stage.finish(outputs=outputs, counts=counts)
    print(f"{counts['records']} records of {counts['patients']} patients")
    say_results(folder, outputs, FIRST)


if __name__ == "__main__":
    run(main, get_args_parser())
