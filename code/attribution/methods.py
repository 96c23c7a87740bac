"""The front door of attribution: METHODS, attribute(), explain() and attribute_records().

    attribution.attribute(model, x, target, method="lrp", preset="epsilon")     # (N, leads, T) ->
    (N, leads, T)

Maps are signed and explain logits. A method declares what it claims; it is held to that and to
nothing else.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from attribution import cam, gradients, lrp, occlusion
from common.files import UserError
from common.labels import LEADS
from networks.inference import to_input
from records.dataset import window_starts

Target = int | Sequence[int] | np.ndarray | Tensor  # one output index, or one per record


@dataclass(frozen=True)
class Method:
    """One attribution method and what it declares of itself.

    function       (model, x, target, **options) -> (map (N, leads, T), facts: logit and what else
                   is known)
    axioms         "completeness": the map sums to f(x) - f(baseline), up to a stored gap;
                   "conservation": input + biases + stabilisers = logit, in a ledger;
                   "implementation_invariance": depends on the function that the network computes,
                   not on how it is written; "shift_equivariance": moves with the record, by
                   multiples of the network's stride; "linear_exactness": on a linear network the
                   map of a subset sums to what the subset contributes
    has_lead_axis  False: one value per sample, repeated over the leads for drawing, no statement
                   about leads
    signed         False: never negative
    linear         the map of a mean of logits is the mean of the maps
    unit           of the map's values
    passes         forward and backward passes per record, about: for estimates of time
    """

    function: Callable
    description: str
    axioms: tuple[str, ...] = ()
    has_lead_axis: bool = True
    signed: bool = True
    linear: bool = True
    unit: str = "logit"
    passes: float = 1.0


def _lrp(model, x, target, preset="epsilon_plus"):
    relevance, ledger = lrp.lrp(model, x, target, preset)
    return relevance, {"logit": ledger.logit.to(x.dtype), "ledger": ledger}


INVARIANT, SHIFTING = "implementation_invariance", "shift_equivariance"
METHODS = {
    "saliency": Method(
        gradients.saliency, "gradient of the logit", (INVARIANT, SHIFTING), unit="logit per mV"
    ),
    "input_x_gradient": Method(
        gradients.input_x_gradient,
        "input times gradient",
        (INVARIANT, SHIFTING, "linear_exactness"),
    ),
    "smoothgrad": Method(
        gradients.smoothgrad,
        "gradient, averaged under noise",
        (INVARIANT,),
        unit="logit per mV",
        passes=25,
    ),
    "ig": Method(
        gradients.integrated_gradients,
        "Integrated Gradients, midpoint rule",
        ("completeness", INVARIANT, SHIFTING, "linear_exactness"),
        passes=150,
    ),
    "gradcam": Method(
        cam.grad_cam,
        "Grad-CAM of the last convolutional map",
        (SHIFTING,),
        has_lead_axis=False,
        signed=False,
        linear=False,
        unit="activation x gradient",
    ),
    "hirescam": Method(
        cam.hires_cam,
        "HiResCAM of the last convolutional map",
        (SHIFTING,),
        has_lead_axis=False,
        unit="activation x gradient",
    ),
    "guided_gradcam": Method(
        cam.guided_grad_cam,
        "guided backpropagation times Grad-CAM",
        (SHIFTING,),
        linear=False,
        unit="no unit",
        passes=2,
    ),
    "lrp": Method(
        _lrp, "layer-wise relevance propagation (presets)", ("conservation", SHIFTING), passes=1.7
    ),
    "occlusion": Method(
        occlusion.occlusion, "fall of the logit without a piece of a lead", (INVARIANT,), passes=120
    ),
    "random": Method(gradients.random_control, "control: noise", unit="no unit", passes=0.5),
    "input_magnitude": Method(
        gradients.input_magnitude,
        "control: |signal|",
        (SHIFTING,),
        signed=False,
        unit="mV",
        passes=0.5,
    ),
}


@dataclass
class Explanation:
    """Maps of a batch and what is known of them.

    attributions  (N, leads, T)
    logit         (N,) of the target
    ledger        LRP: where the logit went (lrp.Ledger)
    gap           Integrated Gradients: f(x) - f(baseline) - sum of the map, logit (N,);
                  `difference` is f(x) - f(baseline), `missed` (N,) whether the gap stayed above its
                  tolerance at the last number of steps
    """

    attributions: Tensor
    logit: Tensor
    ledger: lrp.Ledger | None = None
    gap: Tensor | None = None
    difference: Tensor | None = None
    steps: Tensor | None = None
    missed: Tensor | None = None


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode while the context lasts; each module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def get_method(method: str) -> Method:
    """A method by name; UserError names those there are."""
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}: accepted are {', '.join(METHODS)}")
    return METHODS[method]


def explain(
    model: nn.Module, x: Tensor, target: Target, method: str = "saliency", **options: object
) -> Explanation:
    """Maps of a batch x (N, leads, T) for `target` (one index or one per record), with logit and
    ledger or gap.

    The model's weights, hooks and modes are as before afterwards, whatever happens. Raises
    UserError for an unknown method or preset, a target that the model does not have, and an input
    that is not finite.
    """
    function = get_method(method).function
    target = _targets(model, x, target)
    if not torch.isfinite(x).all():
        raise UserError(
            "the input has values that are not finite (NaN or infinite): it cannot be explained"
        )
    if len(x) == 0:
        return Explanation(torch.zeros_like(x), x.new_zeros(0))
    with evaluating(model), torch.enable_grad():
        attributions, facts = function(model, x.detach(), target, **options)
    return Explanation(attributions.detach(), **facts)


def attribute(
    model: nn.Module, x: Tensor, target: Target, method: str = "saliency", **options: object
) -> Tensor:
    """Signed maps (N, leads, T) of a batch x (N, leads, T) for `target`: see explain()."""
    return explain(model, x, target, method, **options).attributions


def _targets(model, x, target):
    """Targets as a tensor (N,) on x's device, checked."""
    target = torch.as_tensor(target, device=x.device)
    if (
        target.dtype.is_floating_point
        or target.dtype == torch.bool
        or target.shape not in ((), (len(x),))
    ):
        raise UserError(
            f"target must be one output index or one per record ({len(x)}), got "
            f"{tuple(target.shape)} {target.dtype}"
        )
    target = target.long().expand(len(x))
    n_outputs = [module for module in model.modules() if isinstance(module, nn.Linear)][
        -1
    ].out_features
    if len(target) and not 0 <= int(target.min()) <= int(target.max()) < n_outputs:
        raise UserError(
            f"target {target.tolist()[:5]} is not among the model's outputs 0 .. {n_outputs - 1}"
        )
    return target


@dataclass
class RecordExplanation:
    """Maps of whole records.

    attributions  # (N, T, 12) float32; NaN for leads that the model does not take and for samples
                  that no window covers
    coverage      # (T,) share of the windows that see each sample: the sum of a map explains the
                  mean logit as it is, a mean over # time or a drawing in which edges and middle are
                  comparable divides by it
    logit         # (N,) mean over the windows
    ledger        # (N, 4) logit, input, bias, stabiliser (mean over the windows), or None
    layers        # (N, layers, 2) the ledger opened: bias and stabiliser of each layer, from the
                  output down; or None
    layer_names   names of those layers
    gap           # (N,) completeness gap of the mean logit, or None
    steps         # (N,) most steps that a window of the record took, or None
    missed        # (N,) bool: the gap of some window stayed above its tolerance, or None
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


WINDOWS = ("windows", "centre_crop")


def starts_of(n_samples: int, crop: int, window: str) -> np.ndarray:
    """Starts of the pieces of a record that a protocol looks at."""
    if window not in WINDOWS:
        raise UserError(f"unknown window {window!r}: accepted are {', '.join(WINDOWS)}")
    starts = window_starts(n_samples, crop)  # also refuses a record shorter than the crop
    return starts if window == "windows" else np.array([(n_samples - crop) // 2])


def explain_records(
    model: nn.Module,
    signals: np.ndarray,
    target: Target,
    method: str = "saliency",
    window: str = "centre_crop",
    batch_size: int = 128,
    **options: object,
) -> RecordExplanation:
    """Maps of whole records (N, T, 12) mV: of the centre crop's logit, or of the mean logit of the
    windows at half stride.

    The latter is the mean of the windows' maps, each at its place (exactly so for methods that are
    linear in the output; for Grad-CAM, which is not, by definition). `target` is one index or one
    per record; `options` go to the method, those that are arrays (N, T, 12) are cut to the windows
    like the signals. At most `batch_size` windows are computed at a time.
    """
    info = model.info
    starts = starts_of(signals.shape[1], info.crop, window)
    target = np.broadcast_to(np.asarray(target), (len(signals),))
    columns = [LEADS.index(lead) for lead in info.leads]
    maps = np.zeros(signals.shape, dtype=np.float32)
    facts, layer_names = [], ()
    per_pass = max(1, batch_size // len(starts))
    for first in range(0, len(signals), per_pass):
        rows = slice(first, first + per_pass)
        own = {
            name: _cut(model, value[rows], starts)
            if getattr(value, "shape", None) == signals.shape
            else value
            for name, value in options.items()
        }
        done = explain(
            model,
            _cut(model, signals[rows], starts),
            np.tile(target[rows], len(starts)),
            method,
            **own,
        )
        pieces = (
            done.attributions.transpose(1, 2)
            .cpu()
            .numpy()
            .reshape(len(starts), -1, info.crop, len(columns))
        )
        for start, piece in zip(starts, pieces, strict=True):
            maps[rows, start : start + info.crop][:, :, columns] += piece / len(starts)
        facts.append(_facts(done, len(starts)))
        layer_names = tuple(done.ledger.layers) if done.ledger else ()
    coverage = np.zeros(signals.shape[1])
    for start in starts:
        coverage[start : start + info.crop] += 1 / len(starts)
    maps[:, coverage == 0] = np.nan
    maps[:, :, [index for index in range(len(LEADS)) if index not in columns]] = np.nan
    joined = {
        name: np.concatenate([part[name] for part in facts]) for name in (facts[0] if facts else ())
    }
    return RecordExplanation(
        maps, coverage, joined.pop("logit", np.zeros(0)), layer_names=layer_names, **joined
    )


def _cut(model, array, starts):
    """Pieces of (n, T, 12) as one batch (windows x n, leads, crop), window by window."""
    device, info = next(model.parameters()).device, model.info
    pieces = [array[:, start : start + info.crop] for start in starts]
    return to_input(np.concatenate(pieces), info.leads, device)


def _facts(done: Explanation, n_windows: int) -> dict[str, np.ndarray]:
    """A batch's logit, and ledger or gap where there is one, averaged over its windows."""

    def mean(values):
        return values.view(n_windows, -1).double().mean(dim=0).cpu().numpy()

    facts = {"logit": mean(done.logit)}
    if done.ledger:
        book = done.ledger
        facts["ledger"] = np.stack(
            [mean(part) for part in (book.logit, book.input, book.bias, book.stabiliser)], axis=1
        )
        opened = [
            np.stack([mean(shares.bias), mean(shares.stabiliser)], axis=1)
            for shares in book.layers.values()
        ]
        facts["layers"] = np.stack(opened, axis=1)
    if done.gap is not None:
        facts["gap"] = mean(done.gap)
        facts["steps"] = done.steps.view(n_windows, -1).amax(dim=0).cpu().numpy()
        facts["missed"] = done.missed.view(n_windows, -1).any(dim=0).cpu().numpy()
    return facts


def attribute_records(
    model: nn.Module,
    signals: np.ndarray,
    target: Target,
    method: str = "saliency",
    window: str = "centre_crop",
    **options: object,
) -> np.ndarray:
    """Signed maps (N, T, 12) of whole records (N, T, 12) mV: the attributions of
    explain_records().
    """
    return explain_records(model, signals, target, method, window, **options).attributions
