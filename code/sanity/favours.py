"""FAVOURS: which methods a score favours by construction, and why.

A method that is made of the same operation as the judge does well without knowing more. Such a
value is marked in tables and figures and has no part in the order of the methods; the checks of
edits.py are made of nothing that a method here is made of.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from attribution.methods import METHODS
from common.cli import check_names


@dataclass(frozen=True)
class Favour:
    """One reason.

    checks   beginnings of the names of the scores
    methods  those that are favoured, without presets (`lrp` alone) or with one (`lrp:epsilon`)
    why      in words that follow "favours ..., "; without methods: what else is to be known
    """

    checks: tuple[str, ...]
    methods: tuple[str, ...]
    why: str


REMOVAL = ("faithfulness", "deletion", "insertion")
PLAYERS = ("occlusion", "shapley", "kernel_shap", "lime")
TIMES_INPUT = ("input_x_gradient", "ig", "deeplift", "gradient_shap", "lrp", "guided_gradcam")
FAVOURS = (
    Favour(
        tuple(f"{kind}_{parts}_physiological" for kind in REMOVAL for parts in ("cells", "time")),
        PLAYERS,
        "which take pieces away in the same manner and write down what happens",
    ),
    Favour(
        tuple(f"{kind}_{parts}_zero" for kind in REMOVAL for parts in ("cells", "time")),
        ("input_x_gradient", "ig", "deeplift", "gradient_shap", "lrp:epsilon"),
        "which start from the same 0 mV",
    ),
    Favour(
        ("dose_percent",),
        ("input_x_gradient", "lrp:epsilon"),
        "which is the derivative by which a small dose is measured",
    ),
    Favour(
        ("dose_millivolt",),
        ("saliency", "smoothgrad"),
        "which is the derivative by which a small dose is measured",
    ),
    Favour(
        ("localisation", "layer"),
        (*TIMES_INPUT, *PLAYERS, "input_magnitude"),
        "which are large where the signal is, as most planted causes are",
    ),
    Favour(("localisation_specific",), (), ""),
    Favour(
        ("amplitude_lead", "amplitude_cell"),
        (),
        "limb leads follow from two of them: another limb lead is no wrong answer "
        "(amplitude_chest scores V1 to V6 alone)",
    ),
    Favour(
        ("randomisation",),
        ("random",),
        "which changes with the weights and knows nothing of them",
    ),
    Favour(
        ("agreement_seeds",),
        (*TIMES_INPUT, "input_magnitude"),
        "which share the signal itself over all networks",
    ),
    Favour(
        ("agreement_methods",),
        ("saliency", "smoothgrad", "input_x_gradient", "ig", "lrp:epsilon"),
        "which have relatives among the methods",
    ),
)


def favour_of(check: str) -> Favour | None:
    """What is known of a score: the entry with the longest fitting beginning, or None."""
    fitting = []
    for entry in FAVOURS:
        fitting += [(len(start), entry) for start in entry.checks if check.startswith(start)]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def favoured(check: str, method: str) -> bool:
    """Whether the score favours the method `name[:preset]` by construction."""
    entry = favour_of(check)
    return entry is not None and bool({method, method.split(":")[0]} & set(entry.methods))


def mark_favoured(checks: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `favoured` beside check and method."""
    pairs = zip(checks["check"], checks["method"], strict=True)
    return checks.assign(favoured=np.array([favoured(*pair) for pair in pairs], dtype=bool))


def favours_table(checks: pd.DataFrame) -> pd.DataFrame:
    """favours.csv: for each score of the table that has an entry, the methods and why."""
    rows = []
    for check in dict.fromkeys(checks["check"]):
        entry = favour_of(check)
        if entry is not None and entry.why:
            rows.append((check, ", ".join(entry.methods) or "none", entry.why))
    return pd.DataFrame(rows, columns=["check", "favours", "why"])


for _entry in FAVOURS:
    check_names("method", [name.split(":")[0] for name in _entry.methods], METHODS)
