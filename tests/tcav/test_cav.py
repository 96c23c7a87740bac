"""CAVs against plain numpy and scikit-learn, and the coordinates they live in."""

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression

from common.files import UserError
from tcav.cav import CAVS, Draws, held_out_accuracy, make_space, unit


def make_draws(n_records=120, n_draws=4, size=30, seed=0):
    rng = np.random.default_rng(seed)
    index = np.stack([rng.permutation(n_records)[: 2 * size] for _ in range(n_draws)])
    held = rng.random(index.shape) < 0.3
    return Draws(torch.from_numpy(index), torch.from_numpy(held), size, n_records)


def make_x(n=120, size=7, seed=1):
    mixing = np.random.default_rng(seed).normal(size=(size, size))
    return (np.random.default_rng(seed + 1).normal(size=(n, size)) @ mixing).astype(np.float32)


def test_means_are_the_difference_of_the_fitted_sides_means():
    x, draws = make_x(), make_draws()
    cavs = CAVS["means"](torch.from_numpy(x), draws).numpy()
    for row, (index, held) in enumerate(zip(draws.index.numpy(), draws.held.numpy(), strict=True)):
        positive, negative = index[:30][~held[:30]], index[30:][~held[30:]]
        np.testing.assert_allclose(
            cavs[row], x[positive].mean(0) - x[negative].mean(0), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("size", [7, 90], ids=["fewer dimensions than records", "more"])
def test_batched_logistic_equals_scikit_learn(size):
    x, draws, ridge = make_x(size=size), make_draws(), 0.05
    cavs = CAVS["logistic"](torch.from_numpy(x), draws, ridge=ridge).numpy()
    scale = np.sqrt((x.astype(float) ** 2).mean())
    for row, (index, held) in enumerate(zip(draws.index.numpy(), draws.held.numpy(), strict=True)):
        members, sides = index[~held], (np.arange(60) < 30)[~held]
        oracle = LogisticRegression(C=1 / (ridge * len(members)), tol=1e-10, max_iter=10000)
        oracle.fit(x[members].astype(float) / scale, sides)
        np.testing.assert_allclose(cavs[row], oracle.coef_[0], rtol=1e-3, atol=2e-5)


def test_logistic_of_separable_sides_is_finite_and_right():
    x = np.zeros((40, 3), dtype=np.float32)
    x[:20, 1], x[20:, 1] = 50, -50
    draws = Draws(torch.arange(40)[None], torch.zeros(1, 40, dtype=torch.bool), 20, 40)
    cav = unit(CAVS["logistic"](torch.from_numpy(x), draws).numpy())
    np.testing.assert_allclose(cav, [[0, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("kind", CAVS)
def test_every_kind_finds_a_planted_direction(kind):
    rng = np.random.default_rng(3)
    planted = unit(rng.normal(size=(1, 12)))[0]
    x = rng.normal(size=(300, 12)).astype(np.float32)
    x[:150] += 3 * planted.astype(np.float32)
    draws = Draws(torch.arange(300)[None], torch.from_numpy(rng.random((1, 300)) < 0.3), 150, 300)
    cav = CAVS[kind](torch.from_numpy(x), draws)
    assert unit(cav.numpy())[0] @ planted > 0.9
    assert held_out_accuracy(torch.from_numpy(x), draws, cav).item() > 0.85


def test_accuracy_is_that_of_the_held_out_records_alone():
    """Fitted records lie perfectly apart, held-out ones the wrong way round."""
    x = torch.tensor([[1.0], [1.0], [-1.0], [-1.0], [-1.0], [1.0]])
    index = torch.tensor([[0, 1, 2, 3, 4, 5]])[:, [0, 1, 4, 2, 3, 5]]
    held = torch.tensor([[False, False, True, False, False, True]])
    assert held_out_accuracy(x, Draws(index, held, 3, 6), torch.ones(1, 1)).item() == 0
    assert held_out_accuracy(x, Draws(index, ~held, 3, 6), -torch.ones(1, 1)).item() == 0


def test_white_coordinates_are_white_and_keep_products():
    activations = (
        np.random.default_rng(0).normal(size=(4000, 6)).astype(np.float32)
        * [1, 2, 3, 1, 2, 3]
        @ (np.eye(6) + 0.4)
    )
    gradients, cavs = make_x(9, 6, 5), make_x(4, 6, 8)
    space = make_space(activations)
    np.testing.assert_allclose(np.cov(space.activations(activations).T), np.eye(6), atol=0.05)
    step = space.activations(activations.mean(0) + cavs)  # the same direction in both coordinates
    np.testing.assert_allclose(
        space.gradients(gradients) @ step.T, gradients @ cavs.T, rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(space.directions(step), unit(cavs), atol=1e-3)


def test_shrinkage_is_that_of_ledoit_and_wolf():
    from tcav.cav import _shrunk_covariance

    x = make_x(n=25, size=40).astype(float)
    x -= x.mean(0)
    np.testing.assert_allclose(
        _shrunk_covariance(x), ledoit_wolf(x, assume_centered=True)[0], rtol=1e-6
    )


def test_units_that_never_change_do_no_harm_but_a_constant_layer_is_refused():
    activations = make_x(n=50, size=5)
    activations[:, 2] = 3.0
    space = make_space(activations)
    assert np.isfinite(space.activations(activations)).all()
    with pytest.raises(UserError, match="constant"):
        make_space(np.ones((50, 5), dtype=np.float32))


def test_plain_coordinates_change_nothing_but_the_mean():
    activations = make_x()
    space = make_space(activations, "plain")
    np.testing.assert_allclose(
        space.activations(activations), activations - activations.mean(0), atol=1e-5
    )
    np.testing.assert_array_equal(space.gradients(activations), activations)
