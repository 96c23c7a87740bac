"""Seeded damage: what a disk, an editor, a spreadsheet or a wrong script does to a file; and
running a stage's main on it.
"""

import contextlib
import io
import re
import sys
from unittest import mock

import numpy as np

from common.cli import run, stage_parser

# ---------------------------------------------------------------- any file


def truncate(data: bytes, rng) -> bytes:
    """The first part of it."""
    return data[: rng.integers(len(data))]


def flip(data: bytes, rng) -> bytes:
    """One bit is another."""
    position = rng.integers(len(data))
    return data[:position] + bytes([data[position] ^ (1 << rng.integers(8))]) + data[position + 1 :]


def zero(data: bytes, rng) -> bytes:
    """A stretch of zeros, as a lost block leaves it."""
    start, length = rng.integers(len(data)), rng.integers(1, 512)
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def empty(data: bytes, rng) -> bytes:
    """Nothing."""
    return b""


def noise(data: bytes, rng) -> bytes:
    """As long, and random."""
    return rng.bytes(min(len(data), 4096))


def double(data: bytes, rng) -> bytes:
    """Written twice."""
    return data + data


BYTES = (truncate, flip, zero, empty, noise, double, flip, truncate)

# ---------------------------------------------------------------- lines and cells of a text

ODD_WORDS = (
    "",
    "nan",
    "x",
    "-1",
    "0",
    "1e300",
    "99999999999999999999999",
    "1.5",
    "inf",
    "{}",
    "None",
    "True",
    "é",
    "-0",
    "../up",
)


def odd_word(data: bytes, rng, separators: str = ", \n") -> bytes:
    """One cell or word is of another type, blank, or huge."""
    text = data.decode()
    starts = [0, *(i + 1 for i, sign in enumerate(text) if sign in separators)]
    start = starts[rng.integers(len(starts))]
    end = next((i for i in range(start, len(text)) if text[i] in separators), len(text))
    return (text[:start] + ODD_WORDS[rng.integers(len(ODD_WORDS))] + text[end:]).encode()


def swap_lines(data: bytes, rng) -> bytes:
    """Two lines after the first change places."""
    lines = data.splitlines(keepends=True)
    a, b = rng.choice(np.arange(1, len(lines)), 2, replace=False)
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def drop_line(data: bytes, rng) -> bytes:
    """A line is gone."""
    lines = data.splitlines(keepends=True)
    del lines[rng.integers(len(lines))]
    return b"".join(lines)


def repeat_line(data: bytes, rng) -> bytes:
    """A line is there twice."""
    lines = data.splitlines(keepends=True)
    at = rng.integers(len(lines))
    return b"".join([*lines[:at], lines[at], *lines[at:]])


def drop_column(data: bytes, rng) -> bytes:
    """A column of a csv is gone."""
    import csv

    rows = list(csv.reader(io.StringIO(data.decode())))
    at = rng.integers(len(rows[0]))
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([row[:at] + row[at + 1 :] for row in rows])
    return out.getvalue().encode()


TEXT = (
    odd_word,
    swap_lines,
    drop_line,
    repeat_line,
    truncate,
    odd_word,
    empty,
    odd_word,
    flip,
    odd_word,
)
TABLE = (*TEXT, drop_column)


# ---------------------------------------------------------------- plain values (JSON, what a
# checkpoint says)

ODD_VALUES = (
    None,
    -1,
    0,
    1.5,
    float("nan"),
    10**30,
    "x",
    "",
    [],
    {},
    [[]],
    True,
    "../../x",
    {"a": {"b": None}},
)


def odd_value(content: dict, rng) -> dict:
    """A copy with one value, at any depth, replaced or removed."""
    import copy

    content = copy.deepcopy(content)
    places = list(_places(content))
    holder, key = places[rng.integers(len(places))]
    if rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    return content


def _places(value):
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield value, key
        yield from _places(item)


# ---------------------------------------------------------------- running


def attempt(main, parser=None, words=()):
    """main(args) as `run` calls it, in this process: (what main returned, None) or (None, its one
    line of error).

    AssertionError where it ends in any other way: an exception, another exit code, more than one
    line of error.
    """
    returned, errors = [], io.StringIO()
    argv = ["stage.py", *map(str, words)]
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            run(lambda args: returned.append(main(args)), parser or stage_parser(""))
        except SystemExit as end:
            code = end.code
        else:
            return returned[0], None
    return None, one_line(code, errors.getvalue())


def one_line(code: int, stderr: str) -> str:
    """The line of error that a refused stage ends in; AssertionError where it ended in any other
    way.
    """
    lines = [line for line in stderr.splitlines() if line.strip()]
    if (
        code != 2
        or not lines
        or not lines[-1].startswith("error:")
        or "Traceback" in stderr
        or sum(line.startswith("error:") for line in lines) != 1
    ):
        raise AssertionError(code, stderr)
    if found := re.search(r"\bnp\.\w+\(|\barray\(|\bfolds? (\[\]|:|$)", lines[-1]):
        raise AssertionError(f"{found[0]!r} is nothing that a user has typed: {lines[-1]}")
    return lines[-1]
