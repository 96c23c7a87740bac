"""9. Report: everything found under a run, as one self-contained page.

Reads:  a checkpoint (--model_path) and all that the stages before have written under its run folder
Writes: <run>/report.html (images inlined, nothing is requested from anywhere)
Example:
    python code/report.py --model_path output/lenet_subdiagnostic

With --verify nothing is written: the hashes of all artefacts are walked, and the first broken link
is named (exit code 1). With --gallery DIR, DIR/gallery.md shows one figure of each kind and how to
read it, instead of a report.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # python -I leaves it out

import common  # isort: skip  # noqa: F401

import argparse
from pathlib import Path

from tqdm import tqdm

from common.cli import StageParser, run, say_results, stage_parser
from common.files import UserError, remove_leftovers, write_text
from reporting.page import PageSection, page
from reporting.run import Run, broken_links, find_run, stage_files
from reporting.sections import SECTIONS, build


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        "output_path",
        "model_path",
        "modelname",
        "task",
        "run_name",
        "threads",
        threads={"help": "taken as by the other stages; a report has work for one (default: one)"},
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="check the hashes of all artefacts instead of writing a report",
    )
    parser.add_argument(
        "--gallery",
        default=None,
        metavar="DIR",
        help="write gallery.md with one small picture of each kind of figure into this folder "
        "instead of a report (default: none)",
    )
    parser.without_effect(
        "with --verify", lambda args: args.verify, "gallery", "nothing is written then"
    )
    return parser


def verify(run_: Run) -> None:
    """Print the first broken link and exit with 1, or say how many stages hold."""
    broken = broken_links(run_.folder)
    if broken:
        print(
            f"broken: {broken[0]}"
            + (f" (and {len(broken) - 1} more stages)" if len(broken) > 1 else "")
        )
        sys.exit(1)
    stages = stage_files(run_.folder)
    if not stages:
        raise UserError(f"{run_.folder} holds no stage's json: nothing to verify")
    print(
        f"verified: {len(stages)} stages under {run_.folder}, every input and output as it was "
        "when it was made"
    )


def say_gallery(run_: Run, folder: Path) -> None:
    """Write the gallery and say what it lacks."""
    from reporting.gallery import write_gallery  # where it is asked for

    written, missing = write_gallery(run_, folder)
    lacks = f"; no figure of {', '.join(missing)} in this run" if missing else ""
    print(f"gallery: {written[0]} with {len(written) - 1} pictures{lacks}")


def main(args: argparse.Namespace) -> None:
    """Write the report, or with --verify walk the hashes, or with --gallery show every figure."""
    found = find_run(args)
    if args.verify:
        verify(found)
        return
    if args.gallery:
        say_gallery(found, Path(args.gallery))
        return
    with tqdm(SECTIONS.items(), desc="report") as sections:  # closed before an error is printed
        inner = [
            PageSection(name, one.title, build(found, name), one.short) for name, one in sections
        ]
    simulated = "SIMULATED: " if found.simulated() else ""
    name = f", {found.info.run_name}" if found.info.run_name else ""
    title = f"{simulated}{found.info.modelname} on {found.info.task}{name}"
    path = found.folder / "report.html"
    subtitle = "XAI4ECG report. For research; not a medical device."
    remove_leftovers(found.folder)
    write_text(path, page(title, subtitle, inner))
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    say_results(found.folder, [path], {path.name: f"everything found, on one page ({size})"})


if __name__ == "__main__":
    run(main, get_args_parser())
