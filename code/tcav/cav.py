"""Concept activation vectors, many at once.

Everything happens in the coordinates of a `Space`: centred on the training activations and
(`white`) scaled so that their covariance is the identity. There the difference of means is the
optimal linear discriminant, the direction in which a record moves when it gains the concept, and
"no relation" means the same angle for all directions; in plain coordinates a few directions of
large variance, which every class uses, are close to any random CAV (docs/stages.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from common.files import UserError

COORDINATES = ("white", "plain")
MAX_WHITE = 1024  # dimensions up to which a covariance is decomposed


@dataclass(frozen=True)
class Space:
    """Coordinates of one layer: activations a -> (a - mean) @ into, gradients g -> g @ back.T.

    mean  # (D,)
    into  # (D, D) or None for plain coordinates
    back  # (D, D) its inverse
    """

    mean: np.ndarray
    into: np.ndarray | None = None
    back: np.ndarray | None = None

    def activations(self, values: np.ndarray) -> np.ndarray:
        """(N, D) activations in this space, float32."""
        centred = values - self.mean
        return centred if self.into is None else (centred @ self.into).astype(np.float32)

    def gradients(self, values: np.ndarray) -> np.ndarray:
        """(N, D) gradients with respect to these coordinates: products with CAVs stay the same."""
        return values if self.back is None else (values @ self.back.T).astype(np.float32)

    def directions(self, cavs: np.ndarray) -> np.ndarray:
        """(K, D) CAVs of this space as unit directions of the layer's own activations."""
        return unit(cavs if self.back is None else cavs @ self.back)


def make_space(activations: np.ndarray, coordinates: str = "white") -> Space:
    """Coordinates of a layer from its training activations (N, D).

    White: covariance shrunk towards a multiple of the identity (Ledoit & Wolf, J Multivar Anal 88
    (2004) 365). Raises UserError for a layer whose units are all constant.
    """
    mean = activations.mean(axis=0, dtype=np.float64).astype(np.float32)
    if not np.ptp(activations, axis=0).any():
        raise UserError("constant: it has the same activations for all training records")
    if coordinates == "plain":
        return Space(mean)
    covariance = _shrunk_covariance((activations - mean).astype(np.float64))
    values, vectors = np.linalg.eigh(covariance)
    scale = np.sqrt(np.maximum(values, values[-1] * 1e-10))
    return Space(
        mean,
        ((vectors / scale) @ vectors.T).astype(np.float32),
        ((vectors * scale) @ vectors.T).astype(np.float32),
    )


def _shrunk_covariance(centred):
    """Ledoit-Wolf estimate from (N, D) float64 deviations; at least 1e-4 of the mean variance goes
    to the diagonal.
    """
    n, size = centred.shape
    sample = centred.T @ centred / n
    target = np.trace(sample) / size
    distance = (sample**2).sum() - size * target**2
    spread = ((centred**2).sum(axis=1) ** 2).sum() / n**2 - (sample**2).sum() / n
    shrinkage = min(max(spread / distance, 1e-4), 1.0) if distance > 0 else 1.0
    return (1 - shrinkage) * sample + shrinkage * target * np.eye(size)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; zero rows stay zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


# ---------------------------------------------------------------- fits


@dataclass(frozen=True)
class Draws:
    """Examples of K CAVs among n records, on the device of the activations.

    index  # (K, m) records, the positives first
    held   # (K, m) bool: judge the CAV instead of being fitted
    n_positive of the m columns are positives
    """

    index: Tensor
    held: Tensor
    n_positive: int
    n_records: int

    @cached_property
    def sides(self) -> Tensor:
        """(m,) 1 for the concept, 0 for its negatives."""
        return (
            torch.arange(self.index.shape[1], device=self.index.device) < self.n_positive
        ).float()

    @cached_property
    def contrast(self) -> Tensor:
        """(K, n) weights whose product with values of the records is the difference of the fitted
        sides' means.
        """
        fitted = (~self.held).float()
        shares = [
            part / part.sum(dim=1, keepdim=True)
            for part in (fitted[:, : self.n_positive], fitted[:, self.n_positive :])
        ]
        blank = torch.zeros(len(self.index), self.n_records, device=self.index.device)
        return blank.scatter_(1, self.index, torch.cat([shares[0], -shares[1]], dim=1))

    def part(self, rows: slice) -> "Draws":
        """Some of the draws."""
        return Draws(self.index[rows], self.held[rows], self.n_positive, self.n_records)


def fit_means(x: Tensor, draws: Draws) -> Tensor:
    """Difference of the two sides' means (FastCAV, arXiv 2505.17883) of all draws as one product: x
    (n, D) -> (K, D).
    """
    return draws.contrast @ x


def fit_logistic(x: Tensor, draws: Draws, ridge: float = 0.01, steps: int = 30) -> Tensor:
    """L2-regularised logistic regression of all draws at once, by Newton's method with batched
    Cholesky factors.

    x (n, D) -> (K, D). Minimises the mean log-loss + ridge / 2 * |w|^2, the intercept free, on x
    scaled to a mean square of 1. Where a layer has more dimensions than a draw has records, the fit
    runs in the span of the records, which holds the solution.
    """
    per_set = 8 * draws.index.shape[1] * max(x.shape[1], draws.index.shape[1])
    at_once = max(1, 2**28 // per_set)
    parts = [
        draws.part(slice(start, start + at_once)) for start in range(0, len(draws.index), at_once)
    ]
    return torch.cat([_fit_chunk(x, part, ridge, steps) for part in parts])


def _fit_chunk(x, draws, ridge, steps):
    scale = x.square().mean().sqrt().clamp_min(1e-12)
    chosen = x[draws.index].double() / scale  # (K, m, D)
    weights, sides = (~draws.held).double(), draws.sides.double()
    if chosen.shape[2] <= chosen.shape[1]:
        return _newton(chosen, sides, weights, ridge, steps).to(x.dtype)
    gram = chosen @ chosen.transpose(1, 2)  # (K, m, m) = L L^T
    jitter = 1e-8 * gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-12)
    gram.diagonal(dim1=1, dim2=2).add_(jitter[:, None])
    lower = torch.linalg.cholesky(gram)
    beta = _newton(lower, sides, weights, ridge, steps)  # w = X^T L^-T beta is as long as beta
    alpha = torch.linalg.solve_triangular(lower.transpose(1, 2), beta[:, :, None], upper=True)
    return (chosen.transpose(1, 2) @ alpha)[:, :, 0].to(x.dtype)


def _newton(features, sides, weights, ridge, steps):
    """Weights (K, p) of logistic regressions on features (K, m, p) float64; the intercept is (all
    but) not penalised.

    A step that does not lower the loss of its set is halved: plain Newton can overshoot on
    separable sides.
    """
    n_sets, _, size = features.shape
    features = torch.cat([features, torch.ones_like(features[:, :, :1])], dim=2)
    share = weights / weights.sum(dim=1, keepdim=True)  # (K, m)
    penalty = torch.full((size + 1,), ridge, dtype=features.dtype, device=features.device)
    penalty[-1] = 1e-9
    solution = torch.zeros(n_sets, size + 1, dtype=features.dtype, device=features.device)

    def loss(at):
        logits = (features @ at[:, :, None])[:, :, 0]
        return (share * (torch.nn.functional.softplus(logits) - sides * logits)).sum(dim=1) + (
            penalty * at**2
        ).sum(dim=1) / 2

    now = loss(solution)
    for _ in range(steps):
        p = torch.sigmoid((features @ solution[:, :, None])[:, :, 0])
        slope = (features.transpose(1, 2) @ (share * (p - sides))[:, :, None])[
            :, :, 0
        ] + penalty * solution
        hessian = features.transpose(1, 2) @ (
            features * (share * p * (1 - p))[:, :, None]
        ) + torch.diag(penalty)
        step = torch.cholesky_solve(slope[:, :, None], torch.linalg.cholesky(hessian))[:, :, 0]
        new = loss(solution - step)
        for _ in range(20):
            worse = new > now + 1e-12
            if not worse.any():
                break
            step = torch.where(worse[:, None], step / 2, step)
            new = loss(solution - step)
        solution, now = solution - step, new
        if step.abs().max() < 1e-9:
            break
    return solution[:, :-1]


def _fit_sklearn(make: Callable) -> Callable:
    """A fit that runs a scikit-learn classifier per draw."""

    def fit(x, draws):
        values, target = x.cpu().numpy(), draws.sides.cpu().numpy()
        rows = [
            make().fit(values[members[fitted]], target[fitted]).coef_[0]
            for members, fitted in zip(
                draws.index.cpu().numpy(), ~draws.held.cpu().numpy(), strict=True
            )
        ]
        return torch.as_tensor(np.array(rows), dtype=x.dtype, device=x.device)

    return fit


def _sgd():
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(alpha=0.01, max_iter=1000, tol=1e-3, random_state=0)


def _svc():
    from sklearn.svm import LinearSVC

    return LinearSVC(C=0.01, random_state=0)


# kind of CAV -> fit(x (n, D), draws) -> (K, D)
CAVS: dict[str, Callable] = {
    "means": fit_means,
    "logistic": fit_logistic,
    "sgd": _fit_sklearn(_sgd),
    "svc": _fit_sklearn(_svc),
}


def held_out_accuracy(x: Tensor, draws: Draws, cavs: Tensor) -> Tensor:
    """Balanced accuracy (K,) of CAVs (K, D) on their held-out records; the threshold lies midway
    between the fitted means.
    """
    scores = (cavs @ x.T).gather(1, draws.index)  # (K, m)
    held, side = draws.held.float(), draws.sides.bool()
    fitted = scores * (1 - held)
    middle = (
        sum(fitted[:, part].sum(dim=1) / (1 - held[:, part]).sum(dim=1) for part in (side, ~side))
        / 2
    )
    correct = ((scores > middle[:, None]) == side) * held
    return sum(correct[:, part].sum(dim=1) / held[:, part].sum(dim=1) for part in (side, ~side)) / 2
