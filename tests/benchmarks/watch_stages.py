"""Hours and memory of every stage that a command runs, from its beginning to its end.

Reads:  /proc, twice a second: all processes that the command starts.
Writes: --table, a csv with a row per stage, anew after each stage; what the command prints goes on
        to the terminal.

A stage is a command line of code/. Its processes (torchrun's too) are taken together: processor
seconds are summed, memory is the peak of their sum, pages of mapped files apart, as the system
takes those back when others need room.

Example: python tests/benchmarks/watch_stages.py --table hours.csv
         ./reproduce_results.sh --simulate 21837 --models lenet
"""

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from bench_size import memory_of

EVERY = 0.5  # seconds
STAGE = re.compile(r"(?:.*/)?code/(\w+)\.py")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Stage:
    """What was seen of one stage. Seconds by the clock, GB; processor seconds per process."""

    begin: float
    end: float = 0.0
    own: float = 0.0
    mapped: float = 0.0
    seconds: dict[int, float] = field(default_factory=dict)


def children(parent: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        below.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, waiting = [parent], [parent]
    while waiting:
        own = below.get(waiting.pop(), [])
        found += own
        waiting += own
    return found


def stage_of(pid: int) -> str | None:
    """The stage's name and its options, None where the process is none of code/."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return None
    words = text.rstrip("\0").split("\0")
    for place, word in enumerate(words):  # a word of its own: a shell's lines may name stages too
        match = STAGE.fullmatch(word)
        if match:
            return " ".join([match[1], *words[place + 1 :]])
    return None


def seconds_of(pid: int) -> float:
    """Processor seconds until now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def look(parent: int, seen: dict[str, Stage], now: float) -> None:
    """Add what the processes below `parent` are at this moment."""
    memory: dict[str, list[float]] = {}
    for pid in children(parent):
        name = stage_of(pid)
        if name is None:
            continue
        stage = seen.setdefault(name, Stage(now))
        stage.end = now
        stage.seconds[pid] = max(stage.seconds.get(pid, 0.0), seconds_of(pid))
        used = memory_of(pid)
        total = memory.setdefault(name, [0.0, 0.0])
        total[0] += used["RssAnon"] / 1e6
        total[1] += used["RssFile"] / 1e6
    for name, (own, mapped) in memory.items():
        seen[name].own = max(seen[name].own, own)
        seen[name].mapped = max(seen[name].mapped, mapped)


def table(seen: dict[str, Stage]) -> pd.DataFrame:
    """A row per stage, in the order they began."""
    rows = [
        {
            "stage": name,
            "clock_s": round(stage.end - stage.begin),
            "processor_s": round(sum(stage.seconds.values())),
            "own_gb": round(stage.own, 2),
            "mapped_gb": round(stage.mapped, 2),
        }
        for name, stage in seen.items()
    ]
    return pd.DataFrame(rows)


def main(args: argparse.Namespace) -> int:
    """Run the command and watch it."""
    seen: dict[str, Stage] = {}
    begin = time.perf_counter()
    with subprocess.Popen(args.command) as process:
        while process.poll() is None:
            before = len(seen)
            look(process.pid, seen, time.perf_counter() - begin)
            if len(seen) > before:
                table(seen).to_csv(args.table, index=False)
            time.sleep(EVERY)
    rows = table(seen)
    rows.to_csv(args.table, index=False)
    if len(rows):
        rows["stage"] = rows["stage"].str.slice(0, 60)
        print(rows.to_string(index=False))
        hours = rows[["clock_s", "processor_s"]].sum() / 3600
        print(
            f"together {hours.iloc[0]:.2f} hours by the clock, {hours.iloc[1]:.2f} of processor; "
            f"peak {(rows['own_gb'] + rows['mapped_gb']).max():.2f} GB, of it "
            f"{rows['own_gb'].max():.2f} GB of its own; load now {os.getloadavg()[0]:.1f}"
        )
    return process.returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", required=True, help="csv with a row per stage")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="and its options")
    parsed = parser.parse_args()
    if not parsed.command:
        parser.error("name the command whose stages are watched, as in the example")
    sys.exit(main(parsed))
