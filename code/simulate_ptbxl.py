"""Simulate a cohort in PTB-XL's layout whose causes are known.

Reads:  nothing.
Writes: <output_path>/ptbxl_database.csv, scp_statements.csv, records100/ (records500/) as PTB-XL has them, and the truth:
        planted_causes.csv, true_parameters.csv, true_fiducials.csv, true_measurements.csv, ptbxl_segmentations/<ecg_id>.npy.

Example:
    python code/simulate_ptbxl.py --output_path=data/simulated/ --n_records 1000 --seed 0
"""

import argparse
import sys
from pathlib import Path

from artefacts import Stage
from cli import positive_int, run, stage_parser
from cohort import make_plan
from simulated_files import write_cohort


def get_args_parser():
    """Options of this stage."""
    parser = stage_parser(__doc__, "output_path", "seed", "overwrite",
                          output_path={"default": "data/simulated/", "help": "folder the cohort is written to"})
    parser.add_argument("--n_records", type=positive_int, default=1000, help="records of 10 s; 1000 take about 15 s and 350 MB")
    parser.add_list_argument("--sampling_rate", item=int, default=[100], metavar="HZ",
                             help="100, 500 or both; 100 is always written")
    parser.add_argument("--segmentations", action=argparse.BooleanOptionalAction, default=True,
                        help="write the true segments, 288 kB per record (default: yes)")
    return parser


def main(args):
    """Simulate, write, say where."""
    rates = sorted({100, *args.sampling_rate})
    settings = {"n_records": args.n_records, "seed": args.seed, "sampling_rate": rates, "segmentations": args.segmentations}
    folder = Path(args.output_path)
    with Stage(folder, "simulate_ptbxl", settings, args.overwrite) as stage:
        if stage.finished:
            print(f"{folder} already holds this cohort ({args.n_records} records, seed {args.seed})")
            return
        plan = make_plan(args.n_records, args.seed)
        outputs = write_cohort(folder, plan, rates, args.segmentations)
        counts = {"records": len(plan), "patients": plan["patient_id"].nunique()}
        stage.finish(outputs=outputs, counts=counts)
    print(f"{counts['records']} records of {counts['patients']} patients written to {folder}")
    print("\n".join(f"  {path}" for path in outputs), file=sys.stdout)


if __name__ == "__main__":
    run(main, get_args_parser())
