"""What the README and the pages of docs/ tell their reader to type: sections, blocks, commands, and
the words that the shell makes of them.
"""

import itertools
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT

ORDER = ("README.md", "docs/data.md", "docs/stages.md")  # as a newcomer reads; the others follow


def _read_pages():
    names = [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]
    ordered = [*ORDER, *(name for name in names if name not in ORDER)]
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in ordered}


PAGES = _read_pages()
README = PAGES["README.md"]

# a shell in which python only prints the words that it was given
PRINTING = """python() { printf '%q ' "$@"; echo; }
torchrun() { while [[ $1 != code/* ]]; do shift; done; python "$@"; }"""


def section(heading: str, text: str = README) -> str:
    """The text under a heading, up to the next one of its level."""
    level = len(heading.split(" ")[0])
    pattern = rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)"
    return re.search(pattern, text, re.DOTALL | re.MULTILINE)[1]


def blocks(language: str, text: str) -> list[str]:
    """The code blocks of one language ("" for those of none)."""
    return [
        body
        for name, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        if name == language
    ]


def commands(text: str) -> list[str]:
    """Commands of all bash blocks: continued lines joined, no comments, a loop in one piece."""
    lines = re.sub(
        r"(^|\s+)#\s.*$",
        "",
        "".join(blocks("bash", text)),
        flags=re.MULTILINE,
    )
    lines = re.sub(r" *\\\n *", " ", lines)
    found = re.findall(r"^for (?s:.*?)^done$|^.*\S.*$", lines, re.MULTILINE)
    return [command.strip() for command in found]


def sections(text: str) -> dict[str, list[str]]:
    """Heading -> commands that stand between it and the next heading of any level, for headings
    that have some; two of one name are told apart by a number.
    """
    outside_code = re.sub(
        r"^```.*?^```$", lambda block: "\0" * len(block[0]), text, flags=re.DOTALL | re.MULTILINE
    )
    starts = [found.start() for found in re.finditer(r"^#+ .+$", outside_code, re.MULTILINE)]
    found = {}
    for start, end in itertools.pairwise([*starts, len(text)]):
        heading = text[start:].splitlines()[0].lstrip("# ")
        typed = commands(text[start:end])
        if typed:
            found[f"{heading} {start}" if heading in found else heading] = typed
    return found


def stage_calls(command: str) -> list[list[str]]:
    """[script, word, ...] of every stage that a command starts, as the shell hands them over."""
    done = subprocess.run(
        ["bash", "-c", f"{PRINTING}\n{command}"], capture_output=True, text=True, check=True
    )
    return [shlex.split(line) for line in done.stdout.splitlines()]


def inline(text: str) -> list[str]:
    """What stands between single backticks, outside of code blocks."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`]+)`", prose)


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
    started = time.monotonic()
    environment = {**os.environ, "PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-e", "-c", command], cwd=root, env=environment, capture_output=True, text=True
    )
    print(f"{time.monotonic() - started:4.0f} s  $ {command}", flush=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
