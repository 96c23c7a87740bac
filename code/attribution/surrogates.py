"""Methods that captum computes: DeepLIFT, GradientSHAP, and KernelSHAP and LIME over lead x piece
players.

captum draws from global random numbers; here each record has its own, from its samples and the
seed, and the global ones are left as they were. DeepLIFT is right only on networks of operations
that captum has a rule for: its completeness is checked on every batch, and where it fails the
method is refused.
"""

import contextlib
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import DeepLift, GradientShap, KernelShap, Lime
from torch import Tensor, nn

from attribution.explanation import Explanation
from attribution.gradients import gradient, record_generator, target_logit
from attribution.players import BATCH, Game, games_of
from common.files import UserError
from networks.models import sharing_copy
from networks.outputs import logits_of

TOLERANCE, FLOOR = 0.01, 0.001  # of f(x) - f(baseline), and logit at least
KNOWN_TO_CAPTUM = (
    "ReLU",
    "ELU",
    "LeakyReLU",
    "Sigmoid",
    "Tanh",
    "Softplus",
    "MaxPool1d",
    "Softmax",
)
LINEAR = ("Conv1d", "Linear", "BatchNorm1d", "AvgPool1d", "AdaptiveAvgPool1d", "Flatten", "Dropout")


@contextlib.contextmanager
def drawing(record: Tensor, seed: int) -> Iterator[None]:
    """Global random numbers (torch's and numpy's) that follow the record and the seed alone; as
    before afterwards.
    """
    drawn = record_generator(record, seed).initial_seed() % 2**32
    state = np.random.get_state()  # noqa: NPY002 captum draws from it
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(drawn)
        np.random.seed(drawn)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _logits_alone(model: nn.Module) -> nn.Module:
    """The network on modules of its own (captum hangs its hooks there), giving (N, classes)."""

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = sharing_copy(model)

        def forward(self, x: Tensor) -> Tensor:
            return logits_of(self.network, x)

    return Alone().eval()


def _difference(model, x, target, baseline):
    """Logits of x, and what they differ by from the baseline's, (N,) each."""
    with torch.no_grad():
        logit, start = (target_logit(model, one, target) for one in (x, baseline))
    return logit, (logit - start).double()


# ---------------------------------------------------------------- by gradients


def deeplift(
    model: nn.Module, x: Tensor, target: Tensor, baseline: Tensor | float = 0.0
) -> Explanation:
    """DeepLIFT by the rescale rule (Shrikumar et al., arXiv 1704.02685).

    Raises UserError where the map misses f(x) - f(baseline) by more than 1 % and .001 logit: then
    captum has no right rule for some operation of the network.
    """
    baseline = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand_as(x)
    logit, difference = _difference(model, x, target, baseline)
    gradient(model, x[:1], target[:1])  # UserError where there is none
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            maps = DeepLift(_logits_alone(model)).attribute(x, baseline, target=target)
        except AssertionError as error:
            raise UserError(
                f"deeplift: captum cannot follow this network ({error}): take ig"
            ) from None
    gap = difference - maps.detach().flatten(1).sum(dim=1, dtype=torch.float64)
    missed = _too_large(gap, difference)
    if missed.any():
        raise UserError(
            "deeplift: captum's map misses f(x) - f(baseline) by up to "
            f"{float(gap.abs().max()):.2g} logit on this network ({_without_rule(model)}): take ig"
        )
    steps = torch.ones(len(x), dtype=torch.long, device=x.device)
    return Explanation(
        maps.detach(), logit, gap=gap, difference=difference, steps=steps, missed=missed
    )


def _too_large(gap, difference):
    return gap.abs() > (TOLERANCE * difference.abs()).clamp(min=FLOOR)


def _without_rule(model):
    """What captum probably stumbles over."""
    leaves = [module for module in model.modules() if not list(module.children())]
    kinds = {type(module).__name__ for module in leaves} - {*KNOWN_TO_CAPTUM, *LINEAR}
    return f"no rule for {', '.join(sorted(kinds))}" if kinds else "pooling over shared samples"


def gradient_shap(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    baseline: Tensor | float = 0.0,
    n_samples: int = 50,
    noise: float = 0.05,
    seed: int = 0,
) -> Explanation:
    """GradientSHAP (Lundberg and Lee, arXiv 1705.07874; captum's form): mean, over `n_samples`
    random points between the noisy record and its baseline, of the gradient times the way.

    `noise` is the noise's standard deviation over each record's range. An estimate: the gap to
    f(x) - f(baseline) is stored, nothing is claimed.
    """
    baseline = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand_as(x)
    logit, difference = _difference(model, x, target, baseline)
    gradient(model, x[:1], target[:1])  # UserError where there is none
    maps, network = torch.zeros_like(x), _logits_alone(model)
    for row in range(len(x)):
        one = x[row : row + 1]
        spread = noise * float(one.max() - one.min())
        with drawing(x[row], seed):
            maps[row] = GradientShap(network).attribute(
                one, baseline[row : row + 1], n_samples, spread, target[row : row + 1]
            )[0]
    gap = difference - maps.flatten(1).sum(dim=1, dtype=torch.float64)
    steps = torch.full((len(x),), n_samples, dtype=torch.long, device=x.device)
    missed = _too_large(gap, difference)
    return Explanation(maps, logit, gap=gap, difference=difference, steps=steps, missed=missed)


# ---------------------------------------------------------------- by coalitions of players


def kernel_shap(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    piece: int = 10,
    regions: Tensor | None = None,
    fill: str | float | Tensor = "physiological",
    n_samples: int | None = None,
    seed: int = 0,
) -> Explanation:
    """KernelSHAP (Lundberg and Lee, arXiv 1705.07874): Shapley values by weighted least squares
    over random coalitions, spread over the players' samples as in shapley().

    `n_samples` coalitions (default: 1,024 and two per player). Sums to f(x) - f(nothing left), by
    the weight of the two ends; noisier than shapley() at the same cost.
    """

    def shares(game):
        wanted = n_samples or 1024 + 2 * game.n
        return KernelShap(_on_coalitions(game)).attribute(**_asked(game, wanted))

    return _fitted(games_of(model, x, target, piece, regions, fill), x, seed, shares)


def lime(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    piece: int = 10,
    regions: Tensor | None = None,
    fill: str | float | Tensor = "physiological",
    n_samples: int | None = None,
    alpha: float = 1.0,
    seed: int = 0,
) -> Explanation:
    """LIME (Ribeiro et al., arXiv 1602.04938): coefficients of a ridge regression (penalty `alpha`)
    on which players are present, coalitions near the whole record weighing most.

    `n_samples` coalitions (default: 1,024 and two per player). No identity is claimed.
    """

    def shares(game):
        wanted = n_samples or 1024 + 2 * game.n
        fit = Lime(_on_coalitions(game), interpretable_model=SkLearnRidge(alpha=alpha))
        return fit.attribute(**_asked(game, wanted))

    return _fitted(games_of(model, x, target, piece, regions, fill), x, seed, shares)


def _on_coalitions(game: Game):
    """The game as captum wants a network: (B, n) of ones and zeros -> (B,) logits."""
    return lambda present: game.values(present > 0.5).float()


def _asked(game: Game, n_samples: int) -> dict:
    everyone = torch.ones(1, game.n, device=game.place.device)
    return {
        "inputs": everyone,
        "baselines": torch.zeros_like(everyone),
        "n_samples": n_samples,
        "perturbations_per_eval": BATCH,
    }


def _fitted(games, x, seed, shares_of):
    """Explanation of a batch from each game's shares (1, n)."""
    maps, logit = torch.zeros_like(x), x.new_zeros(len(x))
    for row, game in enumerate(games):
        logit[row] = game.complete
        if game.n < 2:  # nothing to be fitted: one player has all of it
            shares = game.difference.expand(game.n)
        else:
            with drawing(x[row], seed):
                shares = shares_of(game)[0]
        maps[row] = game.spread(shares.to(x))
    return Explanation(maps, logit)
