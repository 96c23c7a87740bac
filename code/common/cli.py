"""The command line that every stage shares: parser, list syntax, errors, device, last lines.

A stage asks for shared options (common.options) by name, adds its own, and hands `main` to `run`:

    def get_args_parser():
        parser = stage_parser(__doc__, "data_path", "output_path", "model_path", "gpu", "seed")
        parser.add_argument("--n_runs", type=positive_int, default=30, help="...")
        return parser

    if __name__ == "__main__":
        run(main, get_args_parser())
"""

import argparse
import contextlib
import difflib
import functools
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from common.files import UserError, forget_reads, spelled_out
from common.options import (
    EXPLAINED,
    FROM_THE_MODEL,
    GROUPS,
    OLDER_SPELLINGS,
    PLACES,
    SHARED_OPTIONS,
    Idle,
    path_item,
)

if TYPE_CHECKING:  # imported where it is needed: --help and errors answer without it
    import torch


MOST_SHOWN = 3  # files that a stage's last lines name
IN_A_LOG = 30.0  # seconds between two states of a progress bar that is no terminal's
LISTED = {int: "whole numbers, as in 1 2 3", float: "numbers, as in 0.1 0.5"}


class _Words(argparse.Action):
    """Collects `[AMI, IMI]`, `AMI IMI` and `AMI,IMI` alike."""

    def __init__(self, *args, item=str, **kwargs):
        self.item = item
        super().__init__(*args, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None):
        words = list(_paths_of(values) if self.item is path_item else _words_of(values))
        if not words:
            parser.error(f"argument {option_string}: expected at least one name")
        try:
            setattr(namespace, self.dest, [self.item(word) for word in words])
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument {option_string}: {error}")
        except ValueError:
            parser.error(
                f"argument {option_string}: {' '.join(words)!r} is not a list of "
                f"{LISTED.get(self.item, 'values')}"
            )


def _words_of(values):
    """The words of a list, however it is typed."""
    return filter(None, re.split(r"[\s,\[\]'\"]+", " ".join(values)))


def _paths_of(values):
    """Paths as they were typed, one by one; a list in brackets or with commas is taken apart where
    it is not itself a path.
    """
    for value in values:
        if os.path.exists(value) or not re.search(r"^\[.*\]$|,", value):
            yield value
        else:
            parts = re.split(r",\s*", value.removeprefix("[").removesuffix("]"))
            yield from filter(None, (part.strip(" '\"") for part in parts))


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows every default, unless the text speaks of it."""

    def _get_help_string(self, action):
        text = action.help or ""
        if action.nargs == 0 or action.required or "default" in text:
            return text
        value = action.default
        if value in (None, []):
            return f"{text} (default: none)"
        shown = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        return f"{text} (default: {shown.replace('%', '%%')})"


class StageParser(argparse.ArgumentParser):
    """argparse with list options as the README types them and one-line errors."""

    def __init__(self, *args: object, **keywords: object):
        super().__init__(*args, **keywords)
        self._idle: list[Idle] = []
        self._given: list[str] = []  # spellings of the options of the last command line

    def without_effect(
        self, mode: str, holds: Callable[[argparse.Namespace], object], names: str, why: str
    ) -> None:
        """Options (their names in one text) that do nothing in a mode; see common.options.Idle."""
        self._idle.append(Idle(mode, holds, frozenset(names.split()), why))

    def refuse_idle(self, args: argparse.Namespace) -> None:
        """UserError where options were given that change nothing of what is asked."""
        for idle in self._idle:
            given = [word for word in self._given if self._dest(word) in idle.names]
            if given and idle.holds(args):
                raise UserError(
                    f"{', '.join(given)} would change nothing {idle.mode} ({idle.why}): leave "
                    f"{'it' if len(given) == 1 else 'them'} out"
                )

    def _dest(self, word):
        return self._option_string_actions[word].dest

    def add_list_argument(
        self,
        *names: str,
        item: Callable[[str], object] = str,
        group: argparse._ArgumentGroup | None = None,
        **keywords: object,
    ) -> None:
        """Add an option that takes a list: `--x=[A, B]`, `--x A B`, `--x A,B`; to a group of
        --help if there is one.
        """
        (group or self).add_argument(*names, nargs="+", action=_Words, item=item, **keywords)

    def add_shared(self, name: str, **changes: object) -> None:
        """Add one of SHARED_OPTIONS, with changed keywords (a default, a help text)."""
        names, keywords = SHARED_OPTIONS[name]
        keywords = {**keywords, **changes}
        group = self._group_of(name)
        if keywords.pop("list", False):
            self.add_list_argument(*names, item=keywords.pop("type"), group=group, **keywords)
        else:
            group.add_argument(*names, **keywords)

    def _group_of(self, name):
        """The part of --help where a shared option stands."""
        for title, members in GROUPS.items():
            if name in members:
                made = (group for group in self._action_groups if group.title == title)
                return next(made, None) or self.add_argument_group(title)
        return self

    def format_help(self) -> str:
        """argparse's own, what all stages have below what this one has of its own."""
        self._action_groups.sort(key=lambda group: group.title in GROUPS)
        return super().format_help()

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """argparse's own, after `[A, B]` was joined to one word."""
        args = _join_brackets(sys.argv[1:] if args is None else args)
        args = [self._spelled_as_now(word) for word in args]
        self._refuse_empty(args)
        if args and _is_open_list(args[-1]):
            self.error(f"a list is not closed by ]: {args[-1]}")
        parsed, rest = super().parse_known_args(args, namespace)
        options = dict.fromkeys(word.partition("=")[0] for word in args if word.startswith("--"))
        self._given = [word for word in options if word in self._option_string_actions]
        # no option among them says how to compute: all say where, and on what
        parsed.bare = not options.keys() - PLACES
        return parsed, rest

    def _refuse_empty(self, words):
        """An empty word is a variable of the shell that is not set; as a path it would be the
        folder one stands in.
        """
        option = ""
        for word in words:
            option = word.partition("=")[0] if word.startswith("--") else option
            if not word or re.fullmatch(r"--\w+=", word):
                self.error(f"{option or 'a word'} is empty: give a value, or leave it out")

    def _spelled_as_now(self, word):
        """An older spelling of one of this stage's options as the present one."""
        name, equals, value = word.partition("=")
        newer = OLDER_SPELLINGS.get(name)
        known = self._option_string_actions
        return f"{newer}{equals}{value}" if name not in known and newer in known else word

    def error(self, message: str) -> NoReturn:
        """End with one line and exit code 2; a mistyped option is told what it may have been."""
        wrong = re.match(r"unrecognized arguments: (--\w+)", message)
        if wrong and wrong[1] in EXPLAINED:
            self.exit(2, f"error: {wrong[1]} is no option here: {EXPLAINED[wrong[1]]}\n")
        close = self._close_option(wrong[1]) if wrong else None
        hint = f"; did you mean {close}?" if close else ""
        self.exit(2, f"error: {message}{hint} (see {self.prog} --help)\n")

    def _close_option(self, wrong):
        """The option that was meant: --model is --model_path rather than --modelname."""
        known = {name.removeprefix("--"): name for name in self._option_string_actions}
        wrong = wrong.removeprefix("--")
        if f"{wrong}_path" in known:
            return known[f"{wrong}_path"]
        close = difflib.get_close_matches(wrong, known.keys() - {"help", "-h"}, n=1)
        return known[close[0]] if close else None


def _join_brackets(words):
    """bash hands over `--pathologies=[AMI, IMI]` as two words: join from `[` to `]`, but for one in
    the middle of a word, as in a path.
    """
    joined = []
    for word in words:
        if joined and _is_open_list(joined[-1]):
            joined[-1] += " " + word
        else:
            joined.append(word)
    return joined


def _is_open_list(word):
    """Whether a word begins with a [ that it does not close."""
    begins = re.match(r"(--\w+=)?['\"]?\[", word)
    return begins is not None and word.count("[") > word.count("]")


def stage_parser(doc: str, *shared: str, **changes: dict) -> StageParser:
    """Parser of a stage: `doc` is its module docstring, `shared` names of SHARED_OPTIONS, such as
    *EXPLAINING.

    `changes` maps a shared option to changed keywords, e.g. folds={"default": [9, 10]}.
    """
    parser = StageParser(description=doc, formatter_class=_Help, allow_abbrev=False)
    own = FROM_THE_MODEL if "model_path" in shared else {}
    for name in shared:
        parser.add_shared(name, **{**own.get(name, {}), **changes.get(name, {})})
    parser.without_effect(
        "with --device", lambda args: args.device, "gpu", "--device says what computes"
    )
    return parser


def whole_names(words: Iterable, known: Iterable) -> list:
    """Names of a list: words that together, and not alone, are one of the `known` names, which may
    hold blanks (a list is split at them), are put together.
    """
    words, known, names = list(words), set(known), []
    longest = max((len(str(name).split()) for name in known), default=1)
    at = 0
    while at < len(words):
        ends = range(min(longest, len(words) - at), 1, -1) if words[at] not in known else ()
        n = next((n for n in ends if " ".join(map(str, words[at : at + n])) in known), 1)
        names.append(words[at] if n == 1 else " ".join(words[at : at + n]))
        at += n
    return names


def check_names(kind: str, asked: Iterable, known: Iterable) -> list:
    """`asked` as a list (whole_names), or UserError that names the unknown ones and what is
    accepted.
    """
    known = list(known)
    asked = whole_names(asked, known)
    unknown = [name for name in asked if name not in known]
    if unknown:
        meant = list(chain.from_iterable(_close_names(str(one), known) for one in unknown))
        hint = f"; did you mean {', '.join(meant)}?" if meant else ""
        raise UserError(
            f"unknown {kind} {', '.join(map(str, unknown))}: accepted are "
            f"{', '.join(map(str, known))}{hint}"
        )
    return asked


def _close_names(wrong, known):
    """The known name that was meant, whatever its case; [] where none is close."""
    by_lower = {str(name).lower(): str(name) for name in known}
    return [by_lower[name] for name in difflib.get_close_matches(wrong.lower(), by_lower, n=1)]


def say_left_out(left_out: dict[str, str]) -> None:
    """One line that names what a stage leaves out, and why: {name: reason}; equal reasons once."""
    reasons = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    parts = [f"{', '.join(names)} ({reason})" for reason, names in reasons.items()]
    if parts:
        print(f"left out: {'; '.join(parts)}")


def say_results(
    folder: str | Path, written: Iterable[str | Path], first: Mapping[str, str]
) -> None:
    """The end of a stage: its folder, the three files to open first, and how many more there are.

    first  name or pattern of a file worth opening first -> what it shows, the best one first
    """
    written = list(dict.fromkeys(Path(path) for path in written))
    shown = {}
    for name, what in first.items():
        matching = [path for path in written if fnmatch(path.name, name) and path not in shown]
        if matching and len(shown) < MOST_SHOWN:
            shown[matching[0]] = what
    print(f"results are in {folder}; open first:")
    for path, what in shown.items():
        print(f"  {path}: {what}")
    if len(written) > len(shown):
        print(f"  and {len(written) - len(shown)} more files")


def select_device(args: argparse.Namespace, threads: int | None = None) -> "torch.device":
    """torch.device from --device / --gpu; sets --threads. Without a GPU, --gpu warns once and uses
    the CPU.

    threads  what --threads is without being given (None: all cores); OMP_NUM_THREADS goes before
    """
    import torch

    if getattr(args, "threads", None):
        torch.set_num_threads(args.threads)
    elif threads and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)
    wanted = args.device or ("cuda" if args.gpu else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UserError(f"unknown device {wanted!r}: accepted are cpu, cuda, cuda:1, ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        print("warning: no GPU found, using the CPU", file=sys.stderr)
        return torch.device("cpu")
    try:
        torch.zeros(1, device=device).cpu()  # there and back: "meta" holds no numbers
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(
            f"the device {wanted} is not available here: cpu is, or leave --device out"
        ) from None
    return device


def run(main: Callable[[argparse.Namespace], None], parser: StageParser) -> None:
    """Parse, run `main(args)`, and end: 0, 2 with one line for what the user or the machine can put
    right, 130 after Ctrl-C, 141 where nobody reads what is said.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this
            setattr(sys, name, io.StringIO())
    args = parser.parse_args()
    forget_reads()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a name that is not UTF-8 is shown
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_, **__: print(
        f"warning: {message}", file=sys.stderr
    )  # as all that is said here
    _seldom_in_a_log()
    try:
        _check_names_of_files(args)
        parser.refuse_idle(args)
        main(args)
        sys.stdout.flush()
    except UserError as error:
        sys.exit(_complain(Exception.__str__(error), 2))  # whose line breaks are blanks here
    except BrokenPipeError:
        _nobody_reads()
        sys.exit(141)
    except (OSError, MemoryError, RuntimeError) as error:
        from common.faults import of_machine  # where there is one

        fault = of_machine(error, parser._option_string_actions)
        if fault is None:
            raise
        sys.exit(_complain(fault, 2))
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted: the same command goes on from here", 130))


def _seldom_in_a_log():
    """A progress bar that is written to a file is drawn twice a minute, not ten times a second."""
    bars = sys.modules.get("tqdm")  # a stage that shows progress has it by now
    if bars is None or sys.stderr.isatty():
        return
    made = vars(bars.tqdm)["__init__"]
    if getattr(made, "keywords", {}).get("mininterval") != IN_A_LOG:  # once in a process
        bars.tqdm.__init__ = functools.partialmethod(made, mininterval=IN_A_LOG)


def _check_names_of_files(args):
    """UserError where a path is not UTF-8: what is written names it, and is."""
    for option, value in vars(args).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and not text.isascii():
                try:
                    text.encode()
                except UnicodeEncodeError:
                    raise UserError(f"--{option} is not UTF-8 ({text!r}): rename it") from None


def _nobody_reads():
    """Let what is still to be said go nowhere: `stage | head -1` has ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(nowhere, sys.stdout.fileno())


LONGEST_WORD, LONGEST_LINE = 300, 4000


def _complain(message, code):
    """Print one line of error; what a file says is shortened where it is endless."""
    one_line = re.sub(r"\s*[\r\n]\s*", " ", message.strip())
    words = [_shortened(word, LONGEST_WORD) for word in one_line.split(" ")]
    line = spelled_out(_shortened(" ".join(words), LONGEST_LINE))
    print(f"error: {line}", file=sys.stderr)
    return code


def _shortened(text, longest):
    return text if len(text) <= longest else f"{text[: longest // 2]}...({len(text)} characters)"
