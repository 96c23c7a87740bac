"""The front door of attribution: METHODS, attribute(), explain() and explain_records().

    attribution.attribute(model, x, target, method="lrp:epsilon")  # (N, leads, T)

A method is named `name` or `name:preset` wherever methods are named: in options, tables, and here.
Maps are signed and explain logits. A method declares what it claims; it is held to that and to
nothing else.
"""

import contextlib
import inspect
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from attribution.explanation import (
    SHARES,
    CompletenessWarning,
    Explanation,
    RecordExplanation,
)
from common.cli import check_names
from common.files import UserError
from common.labels import LEADS
from common.later import Later, LaterTable
from networks.inference import input_of, read_samples, starts_of

Target = int | Sequence[int] | np.ndarray | Tensor  # one output index, or one per record


@dataclass(frozen=True)
class Method:
    """One attribution method and what it declares of itself.

    function       (model, x, target, **options) -> Explanation of the batch x (N, leads, T)
    axioms         "completeness": the map sums to f(x) - f(baseline), up to a stored gap;
                   "conservation": input + biases + stabilisers + nonlinear = logit, in a ledger;
                   "implementation_invariance": depends on the function that the network computes,
                   not on how it is written; "shift_equivariance": moves with the record, by
                   multiples of the network's stride; "linear_exactness": on a linear network the
                   map of a subset sums to what the subset contributes; "efficiency": the map sums
                   to f(x) - f(all players taken away)
    has_lead_axis  False: one value per sample, repeated over the leads for drawing, no statement
                   about leads
    signed         False: never negative
    linear         the map of a mean of logits is the mean of the maps
    unit           of the map's values
    passes         forward and backward passes per record, about: for estimates of time
    presets        names that may follow the method's after a colon; the function gets one as
                   `preset`
    quick          options where it is called hundreds of times and its last digit does not matter
    players        shares are dealt to players: lead x segment where the segments are known
    needs          (model, x, preset) that raises UserError for a network that it cannot explain
    """

    function: Callable[..., Explanation]
    description: str
    axioms: tuple[str, ...] = ()
    has_lead_axis: bool = True
    signed: bool = True
    linear: bool = True
    unit: str = "logit"
    passes: float = 1.0
    presets: Mapping[str, object] = field(default_factory=dict)
    quick: Mapping[str, object] = field(default_factory=dict)
    players: bool = False
    needs: Callable[[nn.Module, Tensor, str | None], object] | None = None


NEEDS_GRADIENT = Later("attribution.gradients", "needs_gradient")


def _needs_captum(model, x, preset):
    NEEDS_GRADIENT(model, x, preset)
    # noise: a network that takes each record's mean away sees nothing in a constant one
    generator, n = torch.Generator().manual_seed(0), 4
    noise = 0.3 * torch.randn(n, *x.shape[1:], generator=generator)  # mV
    target = torch.arange(n) % len(model.info.labels)
    explain(model, noise.to(x), target, "deeplift")


INVARIANT, SHIFTING = "implementation_invariance", "shift_equivariance"
METHODS = {
    "saliency": Method(
        Later("attribution.gradients", "saliency"),
        "gradient of the logit",
        (INVARIANT, SHIFTING),
        unit="logit per mV",
        needs=NEEDS_GRADIENT,
    ),
    "input_x_gradient": Method(
        Later("attribution.gradients", "input_x_gradient"),
        "input times gradient",
        (INVARIANT, SHIFTING, "linear_exactness"),
        needs=NEEDS_GRADIENT,
    ),
    "smoothgrad": Method(
        Later("attribution.gradients", "smoothgrad"),
        "gradient, averaged under noise",
        (INVARIANT,),
        unit="logit per mV",
        passes=25,
        quick={"n_samples": 10},
        needs=NEEDS_GRADIENT,
    ),
    "ig": Method(
        Later("attribution.gradients", "integrated_gradients"),
        "Integrated Gradients, midpoint rule",
        ("completeness", INVARIANT, SHIFTING, "linear_exactness"),
        passes=150,
        quick={"steps": 50, "max_steps": 50},
        needs=NEEDS_GRADIENT,
    ),
    "gradcam": Method(
        Later("attribution.cam", "grad_cam"),
        "Grad-CAM of the last convolutional map",
        (SHIFTING,),
        has_lead_axis=False,
        signed=False,
        linear=False,
        unit="activation x gradient",
        needs=Later("attribution.cam", "needs_layer"),
    ),
    "hirescam": Method(
        Later("attribution.cam", "hires_cam"),
        "HiResCAM of the last convolutional map",
        (SHIFTING,),
        has_lead_axis=False,
        unit="activation x gradient",
        needs=Later("attribution.cam", "needs_layer"),
    ),
    "guided_gradcam": Method(
        Later("attribution.cam", "guided_grad_cam"),
        "guided backpropagation times Grad-CAM",
        (SHIFTING,),
        linear=False,
        unit="no unit",
        passes=2,
        needs=Later("attribution.cam", "needs_layer"),
    ),
    "lrp": Method(
        Later("attribution.lrp", "explanation"),
        "layer-wise relevance propagation (presets)",
        ("conservation", SHIFTING),
        passes=1.7,
        presets=LaterTable("attribution.lrp", "LRP_PRESETS"),
        needs=Later("attribution.lrp", "needs_rules"),
    ),
    "occlusion": Method(
        Later("attribution.occlusion", "occlusion"),
        "fall of the logit without a piece of a lead",
        (INVARIANT,),
        passes=120,
        quick={"piece": 25},
    ),
    "deeplift": Method(
        Later("attribution.surrogates", "deeplift"),
        "DeepLIFT, rescale rule (captum)",
        ("completeness", SHIFTING, "linear_exactness"),
        passes=3,
        needs=_needs_captum,
    ),
    "gradient_shap": Method(
        Later("attribution.surrogates", "gradient_shap"),
        "GradientSHAP (captum)",
        passes=50,
        quick={"n_samples": 20},
        needs=NEEDS_GRADIENT,
    ),
    "shapley": Method(
        Later("attribution.shapley", "shapley"),
        "Shapley values of pieces of leads, by antithetic orders",
        ("efficiency", INVARIANT),
        passes=3000,
        players=True,
        quick={"piece": 25, "max_permutations": 4},
    ),
    "kernel_shap": Method(
        Later("attribution.surrogates", "kernel_shap"),
        "Shapley values of pieces of leads, by least squares (captum)",
        ("efficiency",),
        passes=800,
        players=True,
        quick={"piece": 25, "n_samples": 400},
    ),
    "lime": Method(
        Later("attribution.surrogates", "lime"),
        "LIME on pieces of leads (captum)",
        linear=False,
        passes=800,
        players=True,
        quick={"piece": 25, "n_samples": 400},
    ),
    "random": Method(
        Later("attribution.gradients", "random_control"),
        "control: noise",
        unit="no unit",
        passes=0.5,
    ),
    "input_magnitude": Method(
        Later("attribution.gradients", "input_magnitude"),
        "control: |signal|",
        (SHIFTING,),
        signed=False,
        unit="mV",
        passes=0.5,
    ),
}


# ---------------------------------------------------------------- names


def split_name(name: str) -> tuple[str, str | None]:
    """`lrp:epsilon` -> ("lrp", "epsilon"), `ig` -> ("ig", None); UserError names what there is."""
    method, colon, preset = name.partition(":")
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}: accepted are {', '.join(METHODS)}")
    if not colon:
        return method, None
    presets = METHODS[method].presets
    if not presets:
        raise UserError(f"{method} has no presets: write {method} instead of {name}")
    check_names(f"{method} preset", [preset], presets)
    return method, preset


def methods_in_words() -> str:
    """The methods there are and their presets, for help texts."""
    presets = []
    for name, method in METHODS.items():
        if method.presets:
            described = [f"{one} ({preset.description})" for one, preset in method.presets.items()]
            presets.append(f"{name}:PRESET names a preset of {name}: {'; '.join(described)}")
    return f"any of {', '.join(METHODS)}; {'; '.join(presets)}"


def get_method(name: str) -> Method:
    """What is declared of the method `name[:preset]`; UserError names those there are."""
    return METHODS[split_name(name)[0]]


def check_methods(names: Sequence[str]) -> list[str]:
    """The asked methods `name[:preset]`, each once; UserError for one that is not there."""
    check_names("method", [name.partition(":")[0] for name in names], METHODS)
    for name in names:
        split_name(name)
    return list(dict.fromkeys(names))


def options_taken(name: str, **offered: object) -> dict:
    """Those of the offered options that the method `name[:preset]` takes."""
    known = inspect.signature(get_method(name).function).parameters
    return {option: value for option, value in offered.items() if option in known}


def workable(
    methods: Sequence[str], model: nn.Module, layer: str | None = None
) -> tuple[list[str], dict[str, str]]:
    """The methods `name[:preset]` that can explain `model`, and why the others cannot
    ({method: reason}): LRP without a rule for an operation, class activation maps without a layer
    of time steps (not asked where a `layer` is named), DeepLIFT where captum's is wrong.

    Raises UserError where none of the methods can.
    """
    x = next(model.parameters()).new_ones(1, len(model.info.leads), model.info.crop)
    kept, left_out = [], {}
    for method in methods:
        name, preset = split_name(method)
        needs = None if layer and "cam" in name else METHODS[name].needs
        try:
            if needs:
                needs(model, x, preset)
        except UserError as error:
            left_out[method] = str(error)
        else:
            kept.append(method)
    if not kept:
        raise UserError("; ".join(dict.fromkeys(left_out.values())))
    return kept, left_out


# ---------------------------------------------------------------- one batch


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode while the context lasts; each module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    if any(training for _, training in modes):
        model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            if module.training != training:
                module.training = training


def explain(
    model: nn.Module,
    x: Tensor,
    target: Target,
    method: str | Method = "saliency",
    **options: object,
) -> Explanation:
    """Maps of a batch x (N, leads, T) for `target` (one index or one per record), with logit and
    ledger or gap.

    `method` is a name of METHODS, with a preset where it has some, or a Method. The model's
    weights, hooks and modes are as before afterwards, whatever happens. Samples that the network
    never reads have what the method gives there; explain_records() marks them. Raises UserError for
    an unknown method or preset, a target that the model does not have, and an input or a map that
    is not finite.
    """
    if isinstance(method, str):
        name, preset = split_name(method)
        function = METHODS[name].function
        options = {**options, "preset": preset} if preset else options
    else:
        function = method.function
    target = _targets(x, target)
    # a sum is finite only where all of its terms are, and asked in a tenth of the time
    if not x.sum().isfinite() and not x.isfinite().all():
        raise UserError(
            "the input has values that are not finite (NaN or infinite): it cannot be explained"
        )
    if len(x) == 0:
        return Explanation(torch.zeros_like(x), x.new_zeros(0))
    with evaluating(model), torch.enable_grad():
        done = function(model, x.detach(), target, **options)
    done.attributions = done.attributions.detach()
    if not done.attributions.sum().isfinite() and not done.attributions.isfinite().all():
        name = method if isinstance(method, str) else method.description
        raise UserError(
            f"{name} gives values that are not finite (NaN or infinite) on this network: leave it "
            "out, other methods go on"
        )
    return done


def attribute(
    model: nn.Module, x: Tensor, target: Target, method: str = "saliency", **options: object
) -> Tensor:
    """Signed maps (N, leads, T) of a batch x (N, leads, T) for `target`: see explain()."""
    return explain(model, x, target, method, **options).attributions


def _targets(x, target):
    """Targets as a tensor (N,) on x's device; chosen_logit() checks them against the outputs."""
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
    return target.long().expand(len(x))


# ---------------------------------------------------------------- whole records


def explain_records(
    model: nn.Module,
    signals: np.ndarray,
    target: Target,
    method: str | Method = "saliency",
    window: str = "centre_crop",
    batch_size: int = 128,
    crop: int | None = None,
    mark_unread: bool = True,
    **options: object,
) -> RecordExplanation:
    """Maps of whole records (N, T, 12) mV: of the centre crop's logit, or of the mean logit of the
    windows at half stride.

    The latter is the mean of the windows' maps, each at its place (exactly so for methods that are
    linear in the output; for Grad-CAM, which is not, by definition). `target` is one index or one
    per record; `options` go to the method, those that are arrays (N, T, 12) are cut to the windows
    like the signals. At most `batch_size` windows are computed at a time. `crop` is the windows'
    length in samples where it is not the model's own. Samples of a window that the network does not
    read are NaN (with `mark_unread` False: what the method gives there).
    """
    info = model.info
    crop = info.crop if crop is None else crop
    starts = starts_of(signals.shape[1], crop, window)
    read = read_samples(model, crop) if mark_unread else np.ones(crop, dtype=bool)
    target = np.broadcast_to(np.asarray(target), (len(signals),))
    columns = [LEADS.index(lead) for lead in info.leads]
    double = next(model.parameters()).dtype == torch.float64
    maps = np.zeros(signals.shape, dtype=np.float64 if double else np.float32)
    variance = None  # of the maps, where the method knows its own standard error
    facts, layer_names = [], ()
    per_pass = max(1, batch_size // len(starts))
    for first in range(0, len(signals), per_pass):
        rows = slice(first, first + per_pass)
        done = _explain_windows(model, signals, target, method, rows, starts, crop, options)
        for start, piece in _by_window(done.attributions, starts):
            share = piece * read[:, None] / len(starts)
            maps[rows, start : start + crop][:, :, columns] += share
        if done.standard_error is not None:
            variance = np.zeros_like(maps) if variance is None else variance
            for start, error in _by_window(done.standard_error, starts):
                variance[rows, start : start + crop][:, :, columns] += (error / len(starts)) ** 2
        facts.append(_facts(done, len(starts)))
        layer_names = tuple(done.ledger.layers) if done.ledger else ()
    coverage = np.zeros(signals.shape[1])
    for start in starts:
        coverage[start : start + crop] += read / len(starts)
    maps[:, coverage == 0] = np.nan
    maps[:, :, [index for index in range(len(LEADS)) if index not in columns]] = np.nan
    names = facts[0] if facts else ()
    joined = {name: np.concatenate([part[name] for part in facts]) for name in names}
    logit = joined.pop("logit", np.zeros(0))
    if variance is not None:
        joined["standard_error"] = np.sqrt(variance)  # windows draw independently
    return RecordExplanation(maps, coverage, logit, layer_names=layer_names, **joined)


def _by_window(values, starts):
    """Pairs of a window's start and its part (n, crop, leads) of values (windows * n, leads, crop),
    window by window.
    """
    whole = values.transpose(1, 2).cpu().numpy()
    return zip(starts, whole.reshape(len(starts), -1, *whole.shape[1:]), strict=True)


def _explain_windows(model, signals, target, method, rows, starts, crop, options):
    """The Explanation of some rows' windows, as one batch, window by window."""

    def cut(array):
        pieces = [array[rows, start : start + crop] for start in starts]
        return input_of(model, np.concatenate(pieces))

    own = {
        name: cut(value) if getattr(value, "shape", None) == signals.shape else value
        for name, value in options.items()
    }
    with warnings.catch_warnings():
        # stored as `missed`: whoever asks for many records says it once
        warnings.simplefilter("ignore", CompletenessWarning)
        return explain(model, cut(signals), np.tile(target[rows], len(starts)), method, **own)


def _facts(done: Explanation, n_windows: int) -> dict[str, np.ndarray]:
    """A batch's logit, and ledger or gap where there is one, averaged over its windows."""

    def mean(values):
        return values.view(n_windows, -1).double().mean(dim=0).cpu().numpy()

    facts = {"logit": mean(done.logit)}
    if done.ledger:
        book = done.ledger
        facts["ledger"] = np.stack(
            [mean(getattr(book, column)) for column in ("logit", "input", *SHARES)], axis=1
        )
        opened = []
        for shares in book.layers.values():
            means = [mean(getattr(shares, share)) for share in SHARES]
            opened.append(np.stack(means, axis=1))
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


# ---------------------------------------------------------------- methods as functions


@dataclass(frozen=True)
class Explainer:
    """A method with its options as a function: (model, signals (n, T, 12) mV, target (n,)) ->
    signed maps (n, T, 12).

    The signals are what the model gets, whatever their length. Leads that the model does not see
    are 0. The control `random` draws noise that follows the weights: noise that stayed the same for
    every model would pass for a stable explanation.
    """

    name: str  # name[:preset]
    options: dict = field(default_factory=dict)

    def __call__(
        self,
        model: nn.Module,
        signals: np.ndarray,
        target: np.ndarray,
        regions: np.ndarray | None = None,
    ) -> np.ndarray:
        """Signed maps (n, T, 12)."""
        done = self.explain(model, signals, target, regions)
        return np.nan_to_num(done.attributions, copy=False)

    def explain(
        self,
        model: nn.Module,
        signals: np.ndarray,
        target: np.ndarray,
        regions: np.ndarray | None = None,
    ) -> RecordExplanation:
        """The maps and what else is known of them; `regions` (n, T, 12), numbers of segments, are
        the players of a method that deals shares to players.
        """
        options = dict(self.options)
        if regions is not None and get_method(self.name).players:
            options["regions"] = regions
        if self.name == "random":
            options["seed"] = _noise_of(model)
        return explain_records(
            model,
            signals,
            target,
            self.name,
            batch_size=64,
            crop=signals.shape[1],
            mark_unread=False,
            **options,
        )

    def ledger_gap(
        self, model: nn.Module, signals: np.ndarray, target: np.ndarray
    ) -> np.ndarray | None:
        """(n,) relative gap of the ledger, or None for a method without one."""
        if "conservation" not in self.axioms:
            return None
        with torch.no_grad():
            x = input_of(model, signals)
        books = [
            explain(model, x[rows], np.asarray(target)[rows], self.name, **self.options).ledger
            for rows in np.array_split(np.arange(len(x)), max(1, -(-len(x) // 64)))
        ]
        return torch.cat([book.gap for book in books]).abs().cpu().numpy()

    @property
    def cheap(self) -> "Explainer":
        """The same method with its quick options."""
        return Explainer(self.name, dict(get_method(self.name).quick))

    @property
    def axioms(self) -> tuple[str, ...]:
        """What the method claims of itself."""
        return get_method(self.name).axioms

    @property
    def has_lead_axis(self) -> bool:
        """Whether its maps say anything about leads."""
        return get_method(self.name).has_lead_axis


def _noise_of(model):
    """A seed that follows the weights."""
    seed = 0
    for parameter in model.parameters():
        seed = zlib.crc32(parameter.detach().cpu().contiguous().numpy(), seed)
    return seed


def make_explainers(names: Sequence[str], quick: bool = False) -> dict[str, Explainer]:
    """Explainers by name, with their methods' quick options where asked; UserError for an unknown
    method or preset.
    """
    found = {name: Explainer(name) for name in check_methods(names)}
    return {name: one.cheap for name, one in found.items()} if quick else found
