"""Concept activation vectors, many at once.

Everything happens in the coordinates of a `Space`: centred on the training activations and (`white`) scaled so that their
covariance is the identity. There the difference of means is the optimal linear discriminant, the direction in which a
record moves when it gains the concept, and "no relation" means the same angle for all directions; in plain coordinates a
few directions of large variance, which every class uses, are close to any random CAV (see tcav.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from artefacts import UserError

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

    White: covariance shrunk towards a multiple of the identity (Ledoit & Wolf, J Multivar Anal 88 (2004) 365).
    Raises UserError for a layer whose units are all constant.
    """
    mean = activations.mean(axis=0, dtype=np.float64).astype(np.float32)
    if not np.ptp(activations, axis=0).any():
        raise UserError("constant: it has the same activations for all training records")
    if coordinates == "plain":
        return Space(mean)
    covariance = _shrunk_covariance((activations - mean).astype(np.float64))
    values, vectors = np.linalg.eigh(covariance)
    scale = np.sqrt(np.maximum(values, values[-1] * 1e-10))
    return Space(mean, ((vectors / scale) @ vectors.T).astype(np.float32), ((vectors * scale) @ vectors.T).astype(np.float32))


def _shrunk_covariance(centred):
    """Ledoit-Wolf estimate from (N, D) float64 deviations; at least 1e-4 of the mean variance goes to the diagonal."""
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

def fit_means(x: Tensor, index: Tensor, sides: Tensor, weights: Tensor) -> Tensor:
    """Difference of the two sides' means (FastCAV, arXiv 2505.17883), as one matrix product over all sets.

    x (n, D) activations; index (K, m) records of each set; sides (m,) 1 for concept, 0 for not; weights (K, m) 1 for the
    records that count, 0 for those held out. Returns (K, D).
    """
    signed = weights * torch.where(sides > 0, 1.0, -1.0)
    for side in (sides > 0, sides == 0):
        signed[:, side] /= weights[:, side].sum(dim=1, keepdim=True)
    spread = torch.zeros(len(index), len(x), dtype=x.dtype, device=x.device)
    return spread.scatter_(1, index, signed) @ x


def fit_logistic(x: Tensor, index: Tensor, sides: Tensor, weights: Tensor, ridge: float = 0.01, steps: int = 12) -> Tensor:
    """L2-regularised logistic regression of all sets at once: Newton's method with batched Cholesky factors.

    Arguments as fit_means. Minimises the mean log-loss + ridge / 2 * |w|^2 (mean squared length of x scaled to 1 per
    dimension beforehand; intercept free). Where a layer has more dimensions than a set has records, the fit runs in the
    span of the records, which holds the solution. Returns (K, D).
    """
    memory = 2**28 // (4 * index.shape[1] * min(x.shape[1], index.shape[1]) + 1)
    parts = [_newton_chunk(x, index[k:k + max(memory, 1)], sides, weights[k:k + max(memory, 1)], ridge, steps)
             for k in range(0, len(index), max(memory, 1))]
    return torch.cat(parts)


def _newton_chunk(x, index, sides, weights, ridge, steps):
    scale = x.square().mean().sqrt().clamp_min(1e-12)
    chosen = x[index].double() / scale                                     # (K, m, D)
    if chosen.shape[2] <= chosen.shape[1]:
        return _newton(chosen, sides, weights, ridge, steps).to(x.dtype)
    gram = chosen @ chosen.transpose(1, 2)                                 # (K, m, m) = L L^T
    jitter = 1e-8 * gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-12)
    lower = torch.linalg.cholesky(gram + jitter[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device))
    beta = _newton(lower, sides, weights, ridge, steps)                    # w = X^T L^-T beta has the same length as beta
    alpha = torch.linalg.solve_triangular(lower.transpose(1, 2), beta[:, :, None], upper=True)
    return (chosen.transpose(1, 2) @ alpha)[:, :, 0].to(x.dtype)


def _newton(features, sides, weights, ridge, steps, tolerance=1e-8):
    """Weights (K, p) of logistic regressions on features (K, m, p) float64; the intercept is not penalised."""
    n_sets, _, size = features.shape
    features = torch.cat([features, torch.ones_like(features[:, :, :1])], dim=2)
    share = (weights / weights.sum(dim=1, keepdim=True)).to(features.dtype)  # (K, m)
    penalty = torch.full((size + 1,), ridge, dtype=features.dtype, device=features.device)
    penalty[-1] = 1e-10
    solution = torch.zeros(n_sets, size + 1, dtype=features.dtype, device=features.device)
    for _ in range(steps):
        p = torch.sigmoid((features @ solution[:, :, None])[:, :, 0])
        slope = (features.transpose(1, 2) @ (share * (p - sides))[:, :, None])[:, :, 0] + penalty * solution
        curved = features * (share * p * (1 - p))[:, :, None]
        hessian = features.transpose(1, 2) @ curved + torch.diag(penalty)
        step = torch.cholesky_solve(slope[:, :, None], torch.linalg.cholesky(hessian))[:, :, 0]
        solution = solution - step
        if step.abs().max() < tolerance:
            break
    return solution[:, :-1]


def _fit_sklearn(make: Callable) -> Callable:
    """A fit like fit_means that runs a scikit-learn classifier per set."""
    def fit(x, index, sides, weights):
        values, target = x.cpu().numpy(), sides.cpu().numpy()
        rows = []
        for members, counts in zip(index.cpu().numpy(), weights.cpu().numpy() > 0, strict=True):
            rows.append(make().fit(values[members[counts]], target[counts]).coef_[0])
        return torch.as_tensor(np.array(rows), dtype=x.dtype, device=x.device)
    return fit


def _sgd():
    from sklearn.linear_model import SGDClassifier
    return SGDClassifier(alpha=0.01, max_iter=1000, tol=1e-3, random_state=0)


def _svc():
    from sklearn.svm import LinearSVC
    return LinearSVC(C=0.01, random_state=0)


# kind of CAV -> fit(x, index, sides, weights)
CAVS: dict[str, Callable] = {
    "means": fit_means,
    "logistic": fit_logistic,
    "sgd": _fit_sklearn(_sgd),
    "svc": _fit_sklearn(_svc),
}


def held_out_accuracy(x: Tensor, index: Tensor, sides: Tensor, held: Tensor, cavs: Tensor) -> Tensor:
    """Balanced accuracy (K,) of each CAV on its held-out records; the threshold lies midway between the fitted means."""
    scores = (cavs @ x.T).gather(1, index)                                     # (K, m)
    fitted = (~held).to(x.dtype)
    middle = sum((scores * fitted)[:, side].sum(dim=1) / fitted[:, side].sum(dim=1) for side in (sides > 0, sides == 0)) / 2
    correct = ((scores > middle[:, None]) == (sides > 0)).to(x.dtype) * held
    return sum(correct[:, side].sum(dim=1) / held[:, side].sum(dim=1) for side in (sides > 0, sides == 0)) / 2
