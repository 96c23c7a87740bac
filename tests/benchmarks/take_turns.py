"""Attribution methods, and TCAV, of two commits call by call in turn, and how their cost has moved.

Reads:  the repository's history; each commit is checked out into a temporary folder of its own.
Writes: nothing but these folders, which are removed at the end.

A process of each commit waits for its turn, so that other load on the machine falls on both within
milliseconds, where compare_commits.py takes turns of minutes. Seconds are of the processor, for the
records of bench_attribution.py; the ratio of a turn is new / old. `--methods means:time means:none
logistic:none` are TCAV's ways of bench_tcav_speed.py, with its default sets, records and classes.

Example:
    python tests/benchmarks/take_turns.py a801890 HEAD --rounds 60
    python tests/benchmarks/take_turns.py a801890 HEAD --methods means:time logistic:none
"""

import argparse
import json
import statistics
import subprocess
import sys

from compare_commits import checked_out

METHODS = ("saliency", "input_x_gradient", "gradcam", "guided_gradcam", "occlusion", "lrp")
OPTIONS = {
    "occlusion": {"piece": 25, "fill": 0.0},
    "lrp": {"preset": "epsilon"},
}  # method -> what it is called with
FEW = {"occlusion": 2}  # method -> records, where not all of them
WORKER = """
import json, os, sys, time
from types import SimpleNamespace
sys.path.insert(0, "tests/benchmarks")
import torch
import bench_tcav_speed as tcav
from bench_attribution import attribute, material
torch.set_num_threads(1)
model, x, target = material(sys.argv[1])
sizes = SimpleNamespace(n_sets=20, n_classes=23, n_records=100, n_examples=50)
lenet, *data = tcav.make_problem(sizes)
layers = tcav.layer_names(lenet)
answers = os.fdopen(os.dup(1), "w")
print("ready", file=answers, flush=True)
for line in sys.stdin:
    method, n, options = json.loads(line)
    start, calls = time.process_time(), 1 if ":" in method else 4
    for _ in range(calls):
        if ":" in method:
            tcav.run_ours(lenet, layers, *data, *method.split(":"))
        else:
            attribute(model, x[:n], target[:n], method, **options)
    print((time.process_time() - start) / calls, file=answers, flush=True)
"""


class Side:
    """The process of one commit."""

    def __init__(self, folder, modelname):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, modelname],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def seconds(self, method: str) -> float:
        """Processor seconds of one call of a method, the mean of four (of TCAV of one)."""
        words = [method, FEW.get(method, 64), OPTIONS.get(method, {})]
        print(json.dumps(words), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def ratios(old: Side, new: Side, method: str, rounds: int) -> tuple[list[float], float]:
    """new / old of each round, and the ratio of the least seconds of both."""
    taken = {old: [], new: []}
    for number in range(rounds + 2):
        for side in (old, new) if number % 2 else (new, old):
            taken[side].append(side.seconds(method))
    before, after = taken[old][2:], taken[new][2:]  # first calls are slower
    pairs = zip(after, before, strict=True)
    return [one / other for one, other in pairs], min(after) / min(before)


def main() -> None:
    """Measure and print a line per method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", help="a commit")
    parser.add_argument("new", help="another commit")
    parser.add_argument("--modelname", default="lenet", help="network (default: lenet)")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each (default: 40)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="default: all here")
    args = parser.parse_args()
    with checked_out(args.old) as before, checked_out(args.new) as after:
        old, new = Side(before, args.modelname), Side(after, args.modelname)
        for method in args.methods:
            found, least = ratios(old, new, method, args.rounds)
            low, middle, high = statistics.quantiles(found, n=4)
            print(
                f"{args.modelname}, {method}: {middle:.2f} [{low:.2f}, {high:.2f}] (quartiles), "
                f"least seconds {least:.2f}, n {args.rounds}",
                flush=True,
            )
        old.close()
        new.close()


if __name__ == "__main__":
    main()
