"""What the README tells its reader to type: sections, blocks, commands, and the words that the
shell makes of them.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").is_file() else ""

# a shell in which python only prints the words that it was given
PRINTING = """python() { printf '%q ' "$@"; echo; }
torchrun() { while [[ $1 != code/* ]]; do shift; done; python "$@"; }"""


def section(heading: str) -> str:
    """The text under a heading of the second level."""
    return re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE
    )[1]


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of one language ("" for those of none)."""
    return [
        body
        for name, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        if name == language
    ]


def commands(text: str = README, first: bool = False) -> list[str]:
    """Commands of all bash blocks, or of the first: continued lines joined, comments left out, a
    loop in one piece.
    """
    lines = re.sub(
        r"(^|\s+)#\s.*$",
        "",
        "".join(blocks("bash", text)[: 1 if first else None]),
        flags=re.MULTILINE,
    )
    lines = re.sub(r" *\\\n *", " ", lines)
    found = re.findall(r"^for (?s:.*?)^done$|^.*\S.*$", lines, re.MULTILINE)
    return [command.strip() for command in found]


def stage_calls(command: str) -> list[list[str]]:
    """[script, word, ...] of every stage that a command starts, as the shell hands them over."""
    done = subprocess.run(
        ["bash", "-c", f"{PRINTING}\n{command}"], capture_output=True, text=True, check=True
    )
    return [shlex.split(line) for line in done.stdout.splitlines()]


def inline() -> list[str]:
    """What stands between single backticks, outside of code blocks."""
    return re.findall(
        r"`([^`]+)`", re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    )


def make_root(folder: Path) -> Path:
    """`folder` becomes a root to type commands in, without data: code/ and tests/, and in bin/ the
    python that runs the tests.
    """
    (folder / "bin").mkdir(parents=True)
    for name in ("code", "tests"):
        (folder / name).symlink_to(ROOT / name)
    for name, module in {"python": "", "torchrun": "-m torch.distributed.run"}.items():
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    return folder


def type_in(command: str, root: Path) -> None:
    """Run one command in a `make_root` as in a terminal; AssertionError with what it said where it
    fails.
    """
    print("$", command, flush=True)
    environment = {**os.environ, "PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-e", "-c", command], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
