"""Localisation of networks that have learnt nothing, beside that of the network.

Planted causes sit where the signal is large, and maps of untrained networks find them too. Control
networks (networks/controls.py) are explained on the same records, for the same targets, by the same
methods; p_control says how often their maps point as well, p_control_corrected allows for all
scores and methods (common/beside.py). Only localisation is asked this way: it holds maps against a
truth outside the network. The other checks hold a map against its own network, and a method may
well be faithful to a network that has learnt nothing.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

import numpy as np
import pandas as pd
import torch

from attribution.methods import Explainer
from common.beside import beside_controls
from common.words import CONTROLS
from networks.controls import Control
from networks.distributed import together
from sanity.localisation import measure_localisation
from sanity.subject import Subject

COLUMNS = [
    "check",
    "method",
    "model",
    "value",
    "control_mean",
    "control_low",
    "control_high",
    "p_control",
    "p_control_corrected",
    "beyond_controls",
    "n_controls",
    "n",
]

ALPHA = 0.05


def control_rows(reference: dict[str, np.ndarray], most: int) -> np.ndarray:
    """At most `most` of the records that passed the intervention gate, in their order."""
    return np.flatnonzero(reference["passed"])[:most]


def localisation_of(
    subject: Subject, explain: Explainer, reference: dict[str, np.ndarray]
) -> dict[str, float]:
    """Mean of every localisation score of one method on all records of `subject`."""
    maps = explain(subject.model, subject.signals, subject.target)
    measured = measure_localisation(subject, maps, explain, reference)
    scores = {}
    for one in measured:
        known = one.values[np.isfinite(one.values)]
        scores[one.check] = float(known.mean()) if len(known) else np.nan
    return scores


def control_scores(
    subject: Subject,
    reference: dict[str, np.ndarray],
    explainers: dict[str, Explainer],
    made: Iterable[Control],
    most: int,
    device: str | torch.device = "cpu",
) -> pd.DataFrame:
    """Scores of the network (kind `own`) and of the controls: kind, seed, method, check, value.

    Methods that look at no network are left out; empty where no record passed the gate.
    """
    rows = control_rows(reference, most)
    found = []
    if len(rows):
        chosen = subject.rows(rows)
        truth = {"mask": reference["mask"][rows], "every": reference["every"][:, rows]}
        truth["passed"] = reference["passed"][rows]
        asked = {name: one for name, one in explainers.items() if name not in CONTROLS}

        def rows_of(kind, seed, model):
            twin, lines = replace(chosen, model=model), []
            for method, explain in asked.items():
                scores = localisation_of(twin, explain, truth)
                lines += [(kind, seed, method, check, value) for check, value in scores.items()]
            return lines

        found = rows_of("own", 0, subject.model)
        mine = [rows_of(one.kind, one.seed, one.load(device)) for one in made]
        found += chain.from_iterable(together(mine))
    return pd.DataFrame(found, columns=["kind", "seed", "method", "check", "value"])


def control_table(scores: pd.DataFrame, model: str, n: int) -> pd.DataFrame:
    """controls.csv (COLUMNS): the network's value beside the mean and the 95 % band of untrained
    networks, and what common/beside.py says of it; beyond_controls where p_control_corrected < .05.
    """
    keys = ["method", "check"]
    own = scores[scores["kind"] == "own"].set_index(keys)["value"]
    found = beside_controls(own, scores[scores["kind"] != "own"], keys)
    found = found.assign(value=own, model=model, n=n).reset_index()
    found["beyond_controls"] = found["p_control_corrected"] < ALPHA
    return found[COLUMNS]
