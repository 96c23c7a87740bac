"""Start stage scripts in processes of their own without each importing torch anew.

`Launcher` holds a process that has imported the third-party packages, and nothing of the project,
and has computed nothing. For each command it forks: the child has its own memory, words, folder,
output and exit code, and runs the script as `python SCRIPT` would. A command so takes what the
script takes, not the two seconds of CPU time that the imports do.
"""

import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

PACKAGES = (
    "torch",
    "torch._dynamo",
    "torch.utils.tensorboard",
    "pandas",
    "scipy.stats",
    "scipy.signal",
    "scipy.cluster.hierarchy",
    "sklearn.cluster",
    "sklearn.decomposition",
    "sklearn.metrics",
    "sklearn.mixture",
    "matplotlib",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "wfdb",
    "jinja2",
)


@dataclass(frozen=True)
class Command:
    """[script, word, ...], the folder that it is given in, what it finds in the environment, and
    how long it may take (then it ends with -SIGALRM).
    """

    words: list[str]
    cwd: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    seconds: int = 3600


class Launcher:
    """A process that forks one child per command; it ends with the one that made it."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *commands: Command) -> list[subprocess.CompletedProcess]:
        """Run all commands at the same time and wait for them; output is text."""
        with tempfile.TemporaryDirectory() as folder:
            requests = []
            for number, command in enumerate(commands):
                files = [f"{folder}/{name}_{number}" for name in ("stdout", "stderr")]
                requests.append({**asdict(command), "cwd": str(command.cwd), "files": files})
            self.process.stdin.write(json.dumps(requests) + "\n")
            self.process.stdin.flush()
            codes = json.loads(self.process.stdout.readline())
            return [
                subprocess.CompletedProcess(request["words"], code, *_read(request["files"]))
                for request, code in zip(requests, codes, strict=True)
            ]


@functools.cache
def launcher() -> Launcher:
    """The one of this process, whoever asks (conftest is imported under two names)."""
    return Launcher()


def _read(files: list[str]) -> list[str]:
    return [Path(file).read_text(encoding="utf-8") for file in files]


def _code_of(ending: SystemExit) -> int:
    """Exit code of a process that ends so; what is no number is printed, as by Python."""
    if ending.code is None or isinstance(ending.code, int):
        return ending.code or 0
    print(ending.code, file=sys.stderr)
    return 1


def _be(request: dict) -> int:
    """Run the script of a request in this process; its exit code."""
    signal.alarm(request["seconds"])
    script, *words = request["words"]
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [script, *words]
    sys.path[0] = str(Path(script).resolve().parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ending:
        return _code_of(ending)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _child(request: dict) -> None:
    """Take the request's files for output, be the script, and end."""
    code = 1
    try:
        for number, file in zip((1, 2), request["files"], strict=True):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = _be(request)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(code)


def _fork(request: dict) -> int:
    """Start the child of a request: its process id."""
    pid = os.fork()
    if pid == 0:
        _child(request)
    return pid


def main():
    for package in PACKAGES:
        importlib.import_module(package)
    gc.freeze()
    for line in sys.stdin:
        children = [_fork(request) for request in json.loads(line)]
        statuses = [os.waitpid(pid, 0)[1] for pid in children]
        print(json.dumps([os.waitstatus_to_exitcode(status) for status in statuses]), flush=True)


if __name__ == "__main__":
    main()
