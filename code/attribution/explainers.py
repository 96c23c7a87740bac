"""Attribution methods as the sanity checks call them: (model, signals (n, T, 12), target (n,)) ->
signed maps (n, T, 12).
"""

import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from attribution.gradients import CompletenessWarning
from attribution.lrp import LRP_PRESETS
from attribution.methods import METHODS, explain, get_method
from common.cli import check_names
from common.files import UserError
from networks.inference import input_of, whole_input

BATCH = 64

# options where a method is called hundreds of times and its last digit does not matter
QUICK = {
    "ig": {"steps": 50, "max_steps": 50},
    "smoothgrad": {"n_samples": 10},
    "occlusion": {"piece": 25},
}


def _own_noise(model) -> int:
    """A seed that follows the weights: noise that stayed the same for every model would pass for a
    stable explanation.
    """
    seed = 0
    for parameter in model.parameters():
        seed = zlib.crc32(parameter.detach().cpu().contiguous().numpy(), seed)
    return seed


@dataclass(frozen=True)
class Explainer:
    """One registered method with its options.

    An LRP preset can be part of the name: `lrp:epsilon`.
    """

    name: str
    options: dict = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The registered method behind the name."""
        return self.name.split(":")[0]

    def __call__(
        self, model: torch.nn.Module, signals: np.ndarray, target: np.ndarray
    ) -> np.ndarray:
        """Signed maps (n, T, 12); zero for leads that the model does not see."""
        pieces = [
            self._explain(model, signals, target, rows).attributions.cpu().numpy()
            for rows in _batches(len(signals))
        ]
        maps = (
            whole_input(np.concatenate(pieces), model.info.leads)
            if pieces
            else np.zeros(signals.shape, dtype=np.float32)
        )
        return np.nan_to_num(maps, copy=False)

    def ledger_gap(
        self, model: torch.nn.Module, signals: np.ndarray, target: np.ndarray
    ) -> np.ndarray | None:
        """(n,) relative gap of the ledger, or None for a method without one."""
        books = [
            self._explain(model, signals, target, rows).ledger for rows in _batches(len(signals))
        ]
        return (
            torch.cat([book.gap for book in books]).abs().cpu().numpy()
            if books and books[0]
            else None
        )

    def _explain(self, model, signals, target, rows):
        options = dict(self.options)
        if self.method == "random":
            options["seed"] = _own_noise(model)
        if ":" in self.name:
            options["preset"] = self.name.split(":")[1]
        chosen = torch.as_tensor(np.asarray(target)[rows], device=next(model.parameters()).device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CompletenessWarning)  # measured here, not warned about
            return explain(model, input_of(model, signals[rows]), chosen, self.method, **options)

    @property
    def cheap(self) -> "Explainer":
        """The same method with QUICK options."""
        return Explainer(self.name, QUICK.get(self.name, {}))

    @property
    def axioms(self) -> tuple[str, ...]:
        """What the method claims of itself."""
        return get_method(self.method).axioms

    @property
    def has_lead_axis(self) -> bool:
        """Whether its maps say anything about leads."""
        return get_method(self.method).has_lead_axis


def _batches(n):
    return [slice(start, start + BATCH) for start in range(0, n, BATCH)]


def make_explainers(names: Sequence[str], quick: bool = False) -> dict[str, Explainer]:
    """Explainers by name, with QUICK options where asked; UserError for an unknown method or
    preset.
    """
    for name in names:
        method, _, preset = name.partition(":")
        get_method(method)
        if preset and method != "lrp":
            raise UserError(f"{method} has no presets: write {method} instead of {name}")
        if preset:
            check_names("LRP preset", [preset], LRP_PRESETS)
    return {name: Explainer(name, QUICK.get(name, {}) if quick else {}) for name in names}


ALL_METHODS = tuple(METHODS)
