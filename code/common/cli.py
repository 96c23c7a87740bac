"""The command line that every stage shares: options, list syntax, errors, device.

A stage asks for the shared options by name, adds its own, and hands `main` to `run`:

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
import errno
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from common.files import UserError
from common.labels import TASKS

if TYPE_CHECKING:  # imported where it is needed: --help and errors answer without it
    import torch


def count(text: str) -> int:
    """An integer >= 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 on")
    return int(text)


def positive_int(text: str) -> int:
    """An integer >= 1."""
    if not re.fullmatch(r"\+?\d+", text.strip()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")


# option -> (names, keywords of add_argument); the README's two names for one thing both work
# everywhere. Paths are normalised, so that data/ptbxl/ and data/ptbxl are the same settings to a
# run that is resumed.
SHARED_OPTIONS = {
    "data_path": (
        ["--data_path"],
        {
            "type": os.path.normpath,
            "default": "data/ptbxl/",
            "help": "folder of the data set (made by preprocessing.py)",
        },
    ),
    "output_path": (
        ["--output_path", "--logdir"],
        {"type": os.path.normpath, "default": "output/", "help": "folder that runs are written to"},
    ),
    "model_path": (
        ["--model_path", "--model_checkpoint_path"],
        {
            "type": os.path.normpath,
            "default": None,
            "help": "checkpoint, or the run folder that holds checkpoints/best_model.ckpt",
        },
    ),
    "modelname": (
        ["--modelname", "--modeltype"],
        {"default": None, "help": "network, as train_model.py --help lists them"},
    ),
    "task": (["--task"], {"default": None, "help": "one of " + ", ".join(TASKS)}),
    "run_name": (
        ["--run_name"],
        {"default": None, "help": "suffix of the run folder <modelname>_<task>_<run_name>"},
    ),
    "seed": (["--seed"], {"type": int, "default": 0, "help": "seed of everything random"}),
    "gpu": (
        ["--gpu"],
        {"action": "store_true", "help": "use the GPU; without one, say so and use the CPU"},
    ),
    "device": (
        ["--device"],
        {"default": None, "help": "cpu, cuda, cuda:1, ... (default: cpu, or cuda with --gpu)"},
    ),
    "threads": (
        ["--threads"],
        {"type": positive_int, "default": None, "help": "CPU threads (default: all cores)"},
    ),
    "limit": (
        ["--limit"],
        {
            "type": positive_int,
            "default": None,
            "metavar": "N",
            "help": "only the first N records, for a quick try",
        },
    ),
    "sampling_rate": (
        ["--sampling_rate"],
        {"type": int, "choices": (100, 500), "default": 100, "help": "Hz"},
    ),
    "folds": (
        ["--folds"],
        {
            "type": int,
            "list": True,
            "default": [10],
            "help": "folds (1-10) that results are computed on",
        },
    ),
    "overwrite": (
        ["--overwrite"],
        {
            "action": "store_true",
            "help": "start anew where a finished or different run lies in the folder",
        },
    ),
}


# where a stage takes a model: what it stores of itself is the default
FROM_THE_MODEL = {
    "data_path": {
        "default": None,
        "help": "folder of a data set made by preprocessing.py (default: the one the model was "
        "trained on)",
    },
    "output_path": {
        "default": None,
        "help": "folder that runs are written to (default: beside the model's checkpoint)",
    },
}


LISTED = {int: "whole numbers, as in 1 2 3", float: "numbers, as in 0.1 0.5"}


class _Words(argparse.Action):
    """Collects `[AMI, IMI]`, `AMI IMI` and `AMI,IMI` alike."""

    def __init__(self, *args, item=str, **kwargs):
        self.item = item
        super().__init__(*args, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None):
        words = [word for word in re.split(r"[\s,\[\]'\"]+", " ".join(values)) if word]
        if not words:
            parser.error(f"argument {option_string}: expected at least one name")
        try:
            setattr(namespace, self.dest, [self.item(word) for word in words])
        except ValueError:
            parser.error(
                f"argument {option_string}: {' '.join(words)!r} is not a list of "
                f"{LISTED.get(self.item, 'values')}"
            )


class StageParser(argparse.ArgumentParser):
    """argparse with list options as the README types them and one-line errors."""

    def add_list_argument(
        self, *names: str, item: Callable[[str], object] = str, **keywords: object
    ) -> None:
        """Add an option that takes a list: `--x=[A, B]`, `--x A B`, `--x A,B`."""
        self.add_argument(*names, nargs="+", action=_Words, item=item, **keywords)

    def add_shared(self, name: str, **changes: object) -> None:
        """Add one of SHARED_OPTIONS, with changed keywords (a default, a help text)."""
        names, keywords = SHARED_OPTIONS[name]
        keywords = {**keywords, **changes}
        if keywords.pop("list", False):
            self.add_list_argument(*names, item=keywords.pop("type"), **keywords)
        else:
            self.add_argument(*names, **keywords)

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """argparse's own, after `[A, B]` was joined to one word."""
        args = _join_brackets(sys.argv[1:] if args is None else args)
        if args and args[-1].count("[") > args[-1].count("]"):
            self.error(f"a list is not closed by ]: {args[-1]}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with one line and exit code 2; a mistyped option is told what it may have been."""
        wrong = re.match(r"unrecognized arguments: (--\w+)", message)
        close = (
            difflib.get_close_matches(wrong[1], self._option_string_actions, n=1) if wrong else []
        )
        hint = f"; did you mean {close[0]}?" if close else ""
        self.exit(2, f"error: {message}{hint} (see {self.prog} --help)\n")


def _join_brackets(words):
    """bash hands over `--pathologies=[AMI, IMI]` as two words: join from `[` to `]`."""
    joined, opened = [], False
    for word in words:
        if opened:
            joined[-1] += " " + word
        else:
            joined.append(word)
        opened = joined[-1].count("[") > joined[-1].count("]")
    return joined


def stage_parser(doc: str, *shared: str, **changes: dict) -> StageParser:
    """Parser of a stage: `doc` is its module docstring, `shared` names of SHARED_OPTIONS.

    `changes` maps a shared option to changed keywords, e.g. folds={"default": [9, 10]}.
    """
    parser = StageParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    own = FROM_THE_MODEL if "model_path" in shared else {}
    for name in shared:
        parser.add_shared(name, **{**own.get(name, {}), **changes.get(name, {})})
    return parser


def check_names(kind: str, asked: Iterable, known: Iterable) -> list:
    """`asked` as a list, or UserError that names the unknown ones and what is accepted."""
    known = list(known)
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise UserError(
            f"unknown {kind} {', '.join(map(str, unknown))}: accepted are "
            f"{', '.join(map(str, known))}"
        )
    return list(asked)


def select_device(args: argparse.Namespace) -> "torch.device":
    """torch.device from --device / --gpu; sets --threads. Without a GPU, --gpu warns once and uses
    the CPU.
    """
    import torch

    if getattr(args, "threads", None):
        torch.set_num_threads(args.threads)
    wanted = args.device or ("cuda" if args.gpu else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UserError(f"unknown device {wanted!r}: accepted are cpu, cuda, cuda:1, ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        print("warning: no GPU found, using the CPU", file=sys.stderr)
        return torch.device("cpu")
    return device


def run(main: Callable[[argparse.Namespace], None], parser: StageParser) -> None:
    """Parse, run `main(args)`, and end: 0, 2 with one line for a UserError, 130 after Ctrl-C."""
    args = parser.parse_args()
    warnings.showwarning = lambda message, *_, **__: print(
        f"warning: {message}", file=sys.stderr
    )  # as all that is said here
    try:
        main(args)
    except UserError as error:
        sys.exit(_complain(str(error), 2))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS):
            raise
        where = f" ({error.filename})" if error.filename else ""
        sys.exit(
            _complain(f"cannot write: {error.strerror}{where}; nothing half-written was left", 2)
        )
    except KeyboardInterrupt:
        sys.exit(_complain("interrupted: the same command goes on from here", 130))


def _complain(message, code):
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
