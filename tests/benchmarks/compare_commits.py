"""Runs the same benchmarks on two commits in turn, and prints how the numbers have moved.

Reads:  the repository's history; each commit is checked out into a temporary folder of its own.
Writes: nothing but these folders, which are removed at the end.

The commits take turns, round by round, so that other load falls on both. What is compared are the
lines that benchmarks print (ratios.py), number by number: medians over the rounds, and the median
of new / old with the least and the greatest. The default benchmarks are ratios and seconds of the
processor whose two sides are the same in both commits.

Example:
    python tests/benchmarks/compare_commits.py a801890 HEAD
    python tests/benchmarks/compare_commits.py a801890 HEAD --rounds 5 \
        --commands "bench_attribution.py cost --modelnames lenet"
"""

import argparse
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ratios import row_of

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "bench_attribution.py cost --modelnames lenet xresnet",
    "bench_attribution.py captum --modelnames lenet",
    "bench_training.py loader bare",
    "bench_tcav_speed.py",
    "bench_discovery.py",
)
NUMBER = re.compile(r"(?<![\w.])\d*\.?\d+(?:e[+-]?\d+)?")
TOLERANCE = 0.05

Numbers = dict[tuple[str, str], list[float]]  # (command, what is measured) -> a number per round


@contextlib.contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A folder with the files of a commit."""
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory(prefix="compare_") as parent:
        folder = Path(parent) / "commit"
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def numbers_of(line: str) -> dict[str, float]:
    """What a benchmark's line says, number by number: words around each -> its value."""
    row = row_of(line)
    if row is None:
        return {}
    what, against, measured = row
    found = {}
    for part in re.split(r",\s+|\s+\(", measured):
        for place, number in enumerate(NUMBER.findall(part)):
            words = " ".join(NUMBER.sub("#", part).strip("() ").split())
            named = f"{what}: {words}" + (f" [{place + 1}]" if place else "")
            found[f"{named} | {against}"] = float(number)
    return found


def run(folder: Path, command: str) -> dict[str, float]:
    """The numbers of one benchmark in a commit's folder; empty where it has no such benchmark."""
    script, *options = command.split()
    path = folder / "tests" / "benchmarks" / script
    if not path.is_file():
        return {}
    done = subprocess.run(
        [sys.executable, str(path), *options], capture_output=True, text=True, cwd=folder
    )
    found = {}
    for line in done.stdout.splitlines():
        found |= numbers_of(line)
    if not found:
        print(f"{command} in {folder}: {done.stderr.strip()[-300:]}", file=sys.stderr)
    return found


def measure(
    folders: tuple[Path, Path], commands: list[str], rounds: int
) -> tuple[Numbers, Numbers]:
    """The numbers of both commits, which take turns and begin in turn."""
    taken: tuple[Numbers, Numbers] = ({}, {})
    for command in commands:
        for number in range(rounds):
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                for what, value in run(folders[side], command).items():
                    taken[side].setdefault((command, what), []).append(value)
    return taken


def rows(old: Numbers, new: Numbers) -> Iterator[list[str]]:
    """Cells of the table: what, against, old, new, new / old, command."""
    for key in old:
        if key not in new:
            continue
        command, (what, against) = key[0], key[1].rsplit(" | ", 1)
        pairs = zip(old[key], new[key], strict=False)
        quotients = [after / before for before, after in pairs if before]
        if not quotients:
            continue
        middle = [f"{statistics.median(values):.3g}" for values in (old[key], new[key])]
        moved = statistics.median(quotients)
        spread = f"{moved:.2f} [{min(quotients):.2f}, {max(quotients):.2f}], n {len(quotients)}"
        mark = "" if abs(moved - 1) <= TOLERANCE else " *"
        yield [what, against, *middle, spread + mark, f"`{command}`"]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", help="a commit")
    parser.add_argument("new", help="another commit")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (default: 3)")
    parser.add_argument(
        "--commands",
        nargs="+",
        default=list(COMMANDS),
        metavar="COMMAND",
        help="what follows python tests/benchmarks/ (default: those of COMMANDS)",
    )
    args = parser.parse_args()
    with checked_out(args.old) as old, checked_out(args.new) as new:
        taken = measure((old, new), args.commands, args.rounds)
    print("| what | against | old | new | new / old, median [least, greatest] | command |")
    print("|---|---|---|---|---|---|")
    for row in rows(*taken):
        print(f"| {' | '.join(row)} |")
    print(f"* moved by more than {TOLERANCE:.0%}")


if __name__ == "__main__":
    main()
