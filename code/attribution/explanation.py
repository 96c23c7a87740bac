"""The two containers of an attribution: of a batch of inputs (tensors), and of whole records
(arrays, as they are written to files).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from torch import Tensor

SHARES = ("bias", "stabiliser", "nonlinear")  # of a ledger, beside the input's


class CompletenessWarning(UserWarning):
    """Integrated Gradients could not bring the gap under its tolerance."""


def ledger_words(shares: Sequence[float]) -> list[tuple[str, float]]:
    """The shares of a ledger with the words for them; a nonlinear share only where there is one."""
    words = ("input", "biases", "stabilisers", "nonlinear")
    pairs = list(zip(words, shares, strict=True))
    return pairs if shares[-1] else pairs[:-1]


@dataclass
class Explanation:
    """What a method gives for a batch of inputs.

    attributions  (N, leads, T)
    logit         (N,) of the target
    ledger        LRP: where the logit went (lrp.Ledger)
    gap           methods that share out a difference (Integrated Gradients, Shapley values):
                  f(x) - f(baseline) - sum of the map, logit (N,); `difference` is f(x) -
                  f(baseline), `steps` (N,) what was spent (points, orders), `missed` (N,) whether
                  the gap (or the standard error) stayed above its tolerance at the end of it
    standard_error  (N, leads, T) of the map, where it is an estimate that knows its own
    """

    attributions: Tensor
    logit: Tensor
    ledger: object | None = None
    gap: Tensor | None = None
    difference: Tensor | None = None
    steps: Tensor | None = None
    missed: Tensor | None = None
    standard_error: Tensor | None = None


@dataclass
class RecordExplanation:
    """Maps of whole records.

    attributions  # (N, T, 12) float32 (float64 from a model in float64); NaN for leads that the
                  model does not take, and for samples that no window covers or the network never
                  reads
    coverage      # (T,) share of the windows that see each sample: the sum of a map explains the
                  mean logit as it is, a mean over # time or a drawing in which edges and middle are
                  comparable divides by it
    logit         # (N,) mean over the windows
    ledger        # (N, 5) logit, input, bias, stabiliser, nonlinear (means over windows), or None
    layers        # (N, layers, 3) the ledger opened: these three of each operation, from the
                  output down; or None
    layer_names   names of those layers
    gap           # (N,) completeness gap of the mean logit, or None
    steps         # (N,) most steps that a window of the record took, or None
    missed        # (N,) bool: the gap of some window stayed above its tolerance, or None
    standard_error  # (N, T, 12) float32 of the maps, or None
    """

    attributions: np.ndarray
    coverage: np.ndarray
    logit: np.ndarray
    ledger: np.ndarray | None = None
    layers: np.ndarray | None = None
    layer_names: tuple[str, ...] = ()
    gap: np.ndarray | None = None
    steps: np.ndarray | None = None
    missed: np.ndarray | None = None
    standard_error: np.ndarray | None = None

    def even(self) -> np.ndarray:
        """(N, T, 12) the maps divided by the coverage, so that a record's edges can be compared
        with its middle; NaN where nothing was seen.
        """
        seen = np.where(self.coverage > 0, self.coverage, np.nan)
        return self.attributions / seen[:, None].astype(self.attributions.dtype)

    def arrays(self) -> dict[str, np.ndarray]:
        """What is known, by name: the content of a file."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        known["layer_names"] = np.array(self.layer_names) if self.layer_names else None
        return {name: values for name, values in known.items() if values is not None}
