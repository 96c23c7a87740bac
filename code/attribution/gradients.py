"""Attribution by gradients of the target logit: saliency, input x gradient, SmoothGrad, Integrated
Gradients.
"""

import warnings
import zlib

import torch
from torch import Tensor, nn

from attribution.explanation import CompletenessWarning, Explanation
from attribution.record_scale import HeldScales
from common.files import UserError
from networks.outputs import chosen_logit, logits_of

# records x steps per pass: 128 costs XResNet 1.2x per record on a CPU, caches being what they are
INTERNAL_BATCH = 64
N_TRIED = 4  # records of noise that a gradient is looked for on


def target_logit(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Logit (N,) of each record's target."""
    return chosen_logit(model(x), target)


def gradient(model: nn.Module, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (N, leads, T) of each record's target logit, and the logits (N,); parameters get no
    gradient. UserError where the network has none.
    """
    x = x.detach().requires_grad_(True)
    logit = target_logit(model, x, target)
    return slope_of(logit, x), logit.detach()


def slope_of(logit: Tensor, value: Tensor) -> Tensor:
    """Gradient of the sum of logits with respect to a value that they were computed from;
    UserError where no gradient comes back to it.
    """
    found = None
    if logit.requires_grad:
        (found,) = torch.autograd.grad(logit.sum(), value, allow_unused=True)
    if found is None:
        raise UserError(
            "the network has no gradient: all that its logits read of the signals is made of "
            "comparisons, places or whole numbers; occlusion or shapley instead"
        )
    return found


def needs_gradient(model: nn.Module, x: Tensor, _preset: str | None) -> None:
    """UserError where the network has no gradient, or one that is zero on records of noise for all
    of its outputs, as behind rounded numbers.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(N_TRIED, *x.shape[1:], generator=generator).to(x).requires_grad_(True)
    logits = logits_of(model, noise)
    # weighed at random: the plain sum of outputs that add up to one has no slope
    weights = torch.rand(logits.shape, generator=generator).to(logits)
    if not slope_of(weights * logits, noise).any():
        raise UserError(
            "the network's gradient is zero on records of noise: it changes in steps (rounding, "
            "signs) or not at all; occlusion or shapley instead"
        )


def saliency(model: nn.Module, x: Tensor, target: Tensor) -> Explanation:
    """The signed gradient (Simonyan et al., arXiv 1312.6034): logit per mV."""
    result, logit = gradient(model, x, target)
    return Explanation(result, logit)


def input_x_gradient(model: nn.Module, x: Tensor, target: Tensor) -> Explanation:
    """Input times gradient (Shrikumar et al., arXiv 1605.01713)."""
    result, logit = gradient(model, x, target)
    return Explanation(x * result, logit)


def record_generator(record: Tensor, seed: int) -> torch.Generator:
    """A generator that depends on the seed and the record's samples alone: not on its batch, nor on
    its place in it.
    """
    content = record.detach().to("cpu", torch.float32).contiguous().numpy()
    # the seed goes into the checksum: torch's CPU generator takes 32 bits of a seed and drops the
    # rest
    return torch.Generator().manual_seed(zlib.crc32(content, seed & 0xFFFFFFFF))


def smoothgrad(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    n_samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
) -> Explanation:
    """Mean gradient under normal noise whose standard deviation is `noise` times each record's
    range, largest minus least value (Smilkov et al., arXiv 1706.03825, who take .1 to .2).
    """
    total = torch.zeros_like(x)
    generators = [record_generator(record, seed) for record in x]
    values = x.flatten(1)
    scale = noise * (values.amax(dim=1) - values.amin(dim=1)).view(-1, 1, 1)
    for _ in range(n_samples):
        draws = torch.stack(
            [torch.randn(x.shape[1:], generator=generator) for generator in generators]
        )
        total += gradient(model, x + scale * draws.to(x), target)[0]
    with torch.no_grad():
        logit = target_logit(model, x, target)
    return Explanation(total / n_samples, logit)


def path_gradient(
    model: nn.Module, x: Tensor, baseline: Tensor, target: Tensor, steps: int
) -> Tensor:
    """Mean gradient at the midpoints of `steps` equal pieces of the straight line from `baseline`
    to `x`.
    """
    n, total, way = len(x), torch.zeros_like(x), x - baseline
    weights = (torch.arange(steps, device=x.device, dtype=x.dtype) + 0.5) / steps
    per_pass = max(1, INTERNAL_BATCH // max(n, 1))
    for chunk in weights.split(per_pass):
        points = torch.addcmul(baseline, chunk.view(-1, 1, 1, 1), way)  # (steps, N, leads, T)
        grads, _ = gradient(model, points.flatten(0, 1), target.repeat(len(chunk)))
        total += grads.view(points.shape).sum(dim=0)
    return total / steps


NOWHERE = ": the network has no finite logit at the baseline to hold the sum against"


def start_logit(scales: HeldScales, x: Tensor, baseline: Tensor, target: Tensor) -> Tensor:
    """Logit (N,) of each record's target at its baseline, a number or (N, leads, T); one pass of
    one record where all start alike.
    """
    alike = baseline.ndim < 3 and not scales.values
    rows = torch.arange(1 if alike else len(x), device=x.device)
    start = baseline.expand_as(x[: len(rows)])
    logits = logits_of(scales.network(rows), start)
    return logits.expand(len(x), -1).gather(1, target[:, None])[:, 0]


def integrated_gradients(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    baseline: Tensor | float = 0.0,
    steps: int = 50,
    max_steps: int = 800,
    relative: float = 0.01,
    absolute: float = 0.01,
) -> Explanation:
    """Integrated Gradients by the midpoint rule (Sundararajan et al., arXiv 1703.01365), with its
    completeness gap.

    The steps are doubled, for the records that need it, until sum(attribution) misses f(x) -
    f(baseline) by less than max(relative * |f(x) - f(baseline)|, absolute logit) or `max_steps` is
    reached (then a warning says how many are left). Where f divides each record by a size of its
    own, that size is held along the way, in f(baseline) too (attribution/record_scale.py).
    """
    scales = HeldScales(model, x)
    baseline = torch.as_tensor(baseline, dtype=x.dtype, device=x.device)
    with torch.no_grad():
        logit = target_logit(model, x, target)
        difference = (logit - start_logit(scales, x, baseline, target)).double()
    baseline = baseline.expand_as(x)
    tolerance = (relative * difference.abs()).clamp(min=absolute)
    result, used = torch.zeros_like(x), torch.zeros(len(x), dtype=torch.long, device=x.device)
    gap = torch.full_like(difference, float("inf"))
    open_rows = torch.arange(len(x), device=x.device)
    max_steps = max(steps, max_steps)
    while len(open_rows):
        rows = (x[open_rows], baseline[open_rows])
        result[open_rows] = (rows[0] - rows[1]) * path_gradient(
            scales.network(open_rows), *rows, target[open_rows], steps
        )
        gap[open_rows] = difference[open_rows] - result[open_rows].flatten(1).sum(
            dim=1, dtype=torch.float64
        )
        used[open_rows] = steps
        open_rows = open_rows[gap[open_rows].abs() > tolerance[open_rows]]
        if steps == max_steps:
            break
        steps = min(2 * steps, max_steps)
    missed = ~(gap.abs() <= tolerance)  # NaN too
    if missed.any():
        at_start = "" if difference.isfinite().all() else NOWHERE
        warnings.warn(
            f"integrated gradients: {int(missed.sum())} of {len(x)} records keep a completeness "
            f"gap above {100 * relative:g} % (largest {float(gap.abs().max()):.3g} logit) at "
            f"{int(used.max())} steps{at_start}",
            CompletenessWarning,
            stacklevel=2,
        )
    return Explanation(result, logit, gap=gap, difference=difference, steps=used, missed=missed)


def random_control(model: nn.Module, x: Tensor, target: Tensor, seed: int = 0) -> Explanation:
    """Normal noise: what no explanation looks like."""
    draws = [torch.randn(x.shape[1:], generator=record_generator(record, seed)) for record in x]
    with torch.no_grad():
        logit = target_logit(model, x, target)
    return Explanation(torch.stack(draws).to(x), logit)


def input_magnitude(model: nn.Module, x: Tensor, target: Tensor) -> Explanation:
    """|x| in mV: what one sees without any model."""
    with torch.no_grad():
        logit = target_logit(model, x, target)
    return Explanation(x.abs(), logit)
