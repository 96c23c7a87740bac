"""Options that several stages have: their spellings, defaults and help, and the types of values
that any option may take.

A type is called with the word that was typed: it gives the value, or raises ArgumentTypeError.
"""

import argparse
import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from common.labels import TASKS, WINDOWS

MOST_HZ, MOST_SECONDS = 10_000, 10_000_000  # of a recording: four months

# ---------------------------------------------------------------- types of values


def count(text: str) -> int:
    """An integer >= 0."""
    return _whole(text, 0, 10**15, "a whole number from 0 on")


def at_least_two(text: str) -> int:
    """An integer >= 2."""
    return _whole(text, 2, 10**15, "a whole number from 2 on")


def seed(text: str) -> int:
    """What starts random numbers: torch and scikit-learn take 32 bits."""
    return _whole(text, 0, 2**32 - 1, f"a seed: a whole number from 0 to {2**32 - 1}")


def fold(text: str) -> int:
    """One of PTB-XL's ten folds."""
    return _whole(text, 1, 10, "a fold: a whole number from 1 to 10")


def _whole(text, least, most, what):
    if not re.fullmatch(r"\+?\d{1,18}", text.strip()) or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text[:40]} is not {what}")
    return int(text)


def positive_int(text: str) -> int:
    """An integer >= 1."""
    return _whole(text, 1, 10**15, "a whole number above 0")


def threads(text: str) -> int:
    """How many threads: a machine has fewer than a thousand cores."""
    return _whole(text, 1, 1000, "a number of threads from 1 to 1000")


def dpi(text: str) -> int:
    """Dots per inch at which letters can be drawn, and a page stays below a gigabyte."""
    return _whole(text, 20, 1200, "a number of dots per inch from 20 to 1200")


def number_up_to(most: float, zero: bool = False) -> Callable[[str], float]:
    """Reads a number above 0, or from 0 on, up to `most`."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if 0 < float(text) <= most or (zero and float(text) == 0):
                return float(text)
        least = "from 0" if zero else "above 0 and"
        raise argparse.ArgumentTypeError(f"{text[:40]} is not a number {least} up to {most:g}")

    return read


def folder_name(text: str) -> str:
    """A part of the name of a folder."""
    if not text.strip() or not text.isprintable() or re.search(r"[/\\]|^\.+$", text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no name of a folder: no / and no ..")
    return text


fraction = number_up_to(1, zero=True)


def path_item(text: str) -> str:
    """An item of a list of paths, which may hold blanks, commas and brackets."""
    return os.path.normpath(text)


# ---------------------------------------------------------------- options without effect


@dataclass(frozen=True)
class Idle:
    """Options that change nothing in a mode of a stage: whoever gives them is told.

    mode   in words: "with --apply"
    holds  (options) -> whether that is the mode
    names  the options, without --
    why    what decides in their place
    """

    mode: str
    holds: Callable[[argparse.Namespace], object]
    names: frozenset[str]
    why: str


# ---------------------------------------------------------------- tables

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
            "help": "checkpoint, or the run folder that holds checkpoints/best_model.ckpt "
            "(no default)",
        },
    ),
    "modelname": (
        ["--modelname", "--modeltype"],
        {
            "default": None,
            "help": "network, as train_model.py --help lists them (default: lenet, or the "
            "checkpoint's)",
        },
    ),
    "task": (
        ["--task"],
        {
            "default": None,
            "help": f"one of {', '.join(TASKS)} (default: subdiagnostic, or the checkpoint's)",
        },
    ),
    "run_name": (
        ["--run_name"],
        {
            "type": folder_name,
            "default": None,
            "help": "suffix of the run folder <modelname>_<task>_<run_name> (default: none)",
        },
    ),
    "seed": (
        ["--seed"],
        {
            "type": seed,
            "default": 0,
            "help": "seed of everything random: another one shows how far results depend on chance",
        },
    ),
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
        {"type": threads, "default": None, "help": "CPU threads (default: all cores)"},
    ),
    "limit": (
        ["--limit"],
        {
            "type": positive_int,
            "default": None,
            "metavar": "N",
            "help": "only the first N records, for a quick try (default: all)",
        },
    ),
    "sampling_rate": (
        ["--sampling_rate"],
        {
            "type": positive_int,
            "default": 100,
            "metavar": "HZ",
            "help": "Hz, for PTB-XL 100 or 500, which needs five times the memory",
        },
    ),
    "folds": (
        ["--folds"],
        {
            "type": fold,
            "list": True,
            "default": [10],
            "help": "folds (1-10) that results are computed on",
        },
    ),
    "dpi": (
        ["--dpi"],
        {
            "type": dpi,
            "default": None,
            "metavar": "N",
            "help": "dots per inch of the PNG figures, 300 for print (default: 150, single ECGs "
            "200); beside each lies a PDF",
        },
    ),
    "overwrite": (
        ["--overwrite"],
        {
            "action": "store_true",
            "help": "start anew where a finished or different run lies in the folder",
        },
    ),
    "pathologies": (
        ["--pathologies"],
        {
            "type": str,
            "list": True,
            "default": None,
            "metavar": "LABEL",
            "help": "labels of the model (default: NORM, LVH, CLBBB, IMI, AMI as far as it knows "
            "them, else all; what is left out is named). In zsh quote the list: "
            "'--pathologies=[AMI, IMI]'",
        },
    ),
    "methods": (
        ["--methods"],
        {"type": str, "list": True, "metavar": "NAME[:PRESET]", "help": "attribution methods"},
    ),
    "window": (
        ["--window"],
        {
            "choices": WINDOWS,
            "default": "windows",
            "help": "windows: the whole record, mean logit of windows at half stride; "
            "centre_crop: its middle alone, as in the paper",
        },
    ),
    "strategy": (
        ["--strategy"],
        {"help": "which records of a class are explained"},
    ),
    "ecg_ids": (
        ["--ecg_ids"],
        {
            "type": int,
            "list": True,
            "default": None,
            "metavar": "ID",
            "help": "these records instead of a strategy (default: --strategy chooses)",
        },
    ),
    "control": (
        ["--control"],
        {
            "type": count,
            "default": 0,
            "metavar": "K",
            "help": "hold the network against K untrained ones and K trained on labels dealt out "
            "anew among the patients (made once, kept in controls/ beside the run's folder); 20 is "
            "a good number, 0: no comparison",
        },
    ),
}
# headings of --help below what a stage has of its own -> shared options that stand there
GROUPS = {
    "where things are": (
        "model_path",
        "data_path",
        "output_path",
        "modelname",
        "task",
        "run_name",
    ),
    "how it runs": ("seed", "gpu", "device", "threads", "dpi", "overwrite"),
}
# what every stage has that explains a trained network
EXPLAINING = (
    "data_path",
    "output_path",
    "model_path",
    "modelname",
    "task",
    "run_name",
    "folds",
    "limit",
    "seed",
    "gpu",
    "device",
    "threads",
    "dpi",
    "overwrite",
)


# older spellings, and those of the original code where ours mean the same: accepted, not shown
OLDER_SPELLINGS = {
    "--data_dir": "--data_path",
    "--checkpoint_path": "--model_path",
    "--addon_dir": "--addons",
    "--addon_path": "--addons",
    "--finetuning": "--finetune",
    "--n_fits": "--n_runs",
    "--protocol": "--window",
    "--selection": "--strategy",
    "--method": "--methods",
    # one record has a --record_rate, an array of many a --signal_rate: either word is understood
    "--signal_rate": "--record_rate",
    "--record_rate": "--signal_rate",
}
# options of the original code that have no counterpart
EXPLAINED = {
    "--feature_dir": "measurements are read from <data_path>/ptbxl_plus/features/unig_features.csv "
    "where that is there, else measured; leave it out",
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

# spellings of the options that say where things lie and what computes, and nothing of what is
# computed
_OF_PLACES = ("model_path", "data_path", "output_path", "gpu", "device", "threads")
PLACES = set(chain.from_iterable(SHARED_OPTIONS[name][0] for name in _OF_PLACES))
