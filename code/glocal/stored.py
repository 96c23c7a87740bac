"""Attributions that lrp_analysis.py has already computed, where they are those that a glocal run
would compute.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attribution.job import read_local
from attribution.methods import METHODS
from common.files import UserError
from common.stage import read_stage
from glocal.groups import Group

# options of lrp_analysis.py at which its maps are those of a plain attribute() call
PLAIN = {"preset": "epsilon_plus", "layer": None, "baseline": "zero", "occlude": "segments"}


def local_settings(folder: Path) -> dict | None:
    """Settings of a finished local analysis in `folder`, else None."""
    path = folder / "local.json"
    if not path.is_file():
        return None
    made = read_stage(path)
    return made.get("settings") if made.get("status") == "finished" else None


def stored_maps(
    folder: Path,
    group: Group,
    methods: Sequence[str],
    checkpoint_hash: str,
    window: str,
    seed: int,
    target: int,
) -> dict[str, np.ndarray]:
    """Method -> attributions (n, T, 12) of the group's records in their order, for those methods
    whose file fits.

    It fits if it comes from the same checkpoint, window protocol, plain options and, for methods
    that draw, seed, and has every record of the group with the same logit.
    """
    settings = local_settings(folder)
    if (
        settings is None
        or settings.get("checkpoint") != checkpoint_hash
        or settings.get("window") != window
    ):
        return {}
    if any(settings.get(name) != value for name, value in PLAIN.items()):
        return {}
    fitting = [
        name
        for name in methods
        if name in settings.get("methods", ()) and _same_seed(name, settings, seed)
    ]
    maps = {name: _maps_of(folder, name, group, target) for name in fitting}
    return {name: found for name, found in maps.items() if found is not None}


def _same_seed(method, settings, seed):
    return (
        "seed" not in inspect.signature(METHODS[method].function).parameters
        or settings.get("seed") == seed
    )


def _maps_of(folder, method, group, target):
    """Attributions of the group's records from one file, None where it does not have them all."""
    try:
        arrays = read_local(folder, method, group.pathology)
    except UserError:
        return None
    place = {ecg_id: row for row, ecg_id in enumerate(arrays["ecg_id"].tolist())}
    rows = [place.get(ecg_id) for ecg_id in group.data.ecg_id.tolist()]
    if None in rows or (arrays["target"] != target).any():
        return None
    same_length = arrays["attributions"].shape[1:] == group.data.signals.shape[1:]
    same_logit = np.allclose(arrays["logit"][rows], group.logit, rtol=1e-3, atol=1e-3)
    return arrays["attributions"][rows] if same_length and same_logit else None
