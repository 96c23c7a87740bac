"""What every stage needs: labels, files, the command line, statistics, plotting.

Every stage imports this first: it says in one line where Python or a package is missing.
"""

import importlib.util
import os
import sys

NEEDED = (
    *("torch", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "tqdm"),
    *("wfdb", "captum", "tensorboard", "onnx", "h5py", "ecgdatakit", "pydicom"),
)


def missing() -> str:
    """What this Python lacks to run a stage, and what to do; empty where nothing is."""
    if sys.version_info < (3, 11):  # noqa: UP036  what was called may be older
        return f"{sys.executable} is Python {sys.version.split()[0]}: 3.11 or newer is needed"
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    activate = os.path.join(root, ".venv", "bin", "activate")
    do = f"source {activate}" if os.path.exists(activate) else "see Install in README.md"
    return f"{sys.executable} has no {', '.join(absent)}: {do}"


def is_a_stage() -> bool:
    """Whether a script of code/ is running, and no notebook or test."""
    script = os.path.dirname(os.path.abspath(sys.argv[0]))
    return script == os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


# Threads of torch that wait for their next piece of work sleep. By default they keep their core
# busy: beside other programs on the same cores, two threads then wait for each other, and training
# takes many times as long (tests/benchmarks/bench_training.py waiting). Results do not depend on
# it. It is read when torch is loaded, thus before any import of it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if is_a_stage():
    # A stage draws into files: a backend of the user's that needs a screen, or is not there, must
    # not end it. A notebook keeps its own.
    os.environ["MPLBACKEND"] = "Agg"
    if lack := missing():
        print(f"error: {lack}", file=sys.stderr)
        sys.exit(2)
