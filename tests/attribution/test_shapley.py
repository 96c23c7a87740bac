"""Shapley values and what captum computes: closed forms, small games counted out, refusals."""

import functools
import inspect
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import attribution
from attribution import players, shapley, surrogates
from attribution.methods import METHODS, explain, workable
from attribution.players import games_of, without
from common.files import UserError
from common.labels import LEADS
from ecg.fills import remove
from networks.models import get_model
from random_ecg import limb_consistent
from small_subjects import make_subject
from toy_networks import randomised

LENGTH = 40


def linear_model(n_samples=LENGTH):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12 * n_samples, 3)).double()


class Interacting(nn.Module):
    """A network in which players need each other: products of the sums of neighbouring leads."""

    def forward(self, x):
        sums = x.sum(dim=2)
        return torch.stack([(sums * sums.roll(1, dims=1)).sum(dim=1), sums[:, 0]], dim=1)


@pytest.fixture(scope="module")
def x():
    return limb_consistent(3, LENGTH, seed=1).double().transpose(1, 2).contiguous()


def by_definition(value, n):
    """Shapley values from the mean over all orders."""
    shares = np.zeros(n)
    for order in itertools.permutations(range(n)):
        present = frozenset(range(n))
        for player in order:
            before = value(present)
            present -= {player}
            shares[player] += before - value(present)
    return shares / math.factorial(n)


def test_a_linear_network_gives_each_player_what_it_adds(x):
    """shapley = kernel_shap = occlusion = sum of w * x over the player."""
    model, target = linear_model(), [0, 1, 2]
    part = model[1].weight.detach()[target].view(3, 12, LENGTH) * x
    wanted = part.unflatten(2, (4, 10)).sum(dim=3)
    options = {"piece": 10, "fill": 0.0}
    done = explain(model, x, target, "shapley", **options)
    assert torch.allclose(done.attributions.unflatten(2, (4, 10)).sum(dim=3), wanted)
    assert done.standard_error.abs().max() < 1e-9
    assert done.steps.tolist() == [2 * shapley.FEWEST_PAIRS] * 3
    assert not done.missed.any()
    fall = attribution.attribute(model, x, target, "occlusion", **options)
    assert torch.allclose(10 * done.attributions, fall)
    least_squares = attribution.attribute(model, x, target, "kernel_shap", n_samples=400, **options)
    assert torch.allclose(least_squares, done.attributions, atol=1e-4)
    near = attribution.attribute(model, x, target, "lime", n_samples=2000, alpha=1e-6, **options)
    assert torch.allclose(near, done.attributions, atol=1e-3)


def test_few_players_are_counted_out(x):
    """Six players of an interacting game: by definition, from all coalitions, and by sampling."""
    regions = torch.full(x.shape, -1)
    regions[:, 6:9] = (torch.arange(LENGTH) >= 15).long()  # two windows in each of V1, V2, V3
    model = Interacting()
    game = next(games_of(model, x[:1], torch.tensor([0]), 10, regions[:1], "physiological"))
    assert game.n == 6

    @functools.cache
    def value(present):
        members = torch.tensor([[player in present for player in range(6)]])
        return float(game.values(members)[0])

    wanted = by_definition(value, 6)
    assert np.ptp(wanted) > 0.01
    assert shapley.exact_shares(game).numpy() == pytest.approx(wanted, abs=1e-9)
    found, error, steps = shapley.sampled_shares(game, 0.0, 200, torch.Generator().manual_seed(0))
    assert steps == 200
    assert (np.abs(found.numpy() - wanted) <= 4 * error.numpy() + 1e-9).all()
    done = explain(model, x[:1], 0, "shapley", regions=regions[:1])
    assert done.standard_error.abs().max() == 0
    assert float(done.gap.abs()) < 1e-9
    spread = done.attributions[0, 6, :15]
    assert spread.numpy() == pytest.approx(np.full(15, wanted[0] / 15), abs=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = explain(model, x[:1], 0, "kernel_shap", regions=regions[:1], n_samples=1500)
    assert torch.allclose(fitted.attributions, done.attributions, atol=0.05 * np.ptp(wanted))


def test_the_standard_error_is_that_of_repeated_draws(x):
    model = Interacting()
    game = next(games_of(model, x[:1], torch.tensor([0]), 10, None, "physiological"))
    draws = [
        shapley.sampled_shares(game, 0.0, 40, torch.Generator().manual_seed(seed))
        for seed in range(60)
    ]
    shares = torch.stack([found for found, _, _ in draws])
    said = torch.stack([error for _, error, _ in draws]).square().mean(dim=0).sqrt()
    moving = said > 1e-9
    ratio = (shares.std(dim=0)[moving] / said[moving]).mean()
    assert 0.9 < float(ratio) < 1.1
    assert torch.allclose(shares.sum(dim=1), game.difference.double(), atol=1e-9)


def test_a_reverse_order_takes_back_what_the_first_gave(x):
    """Products of two players are split evenly by one antithetic pair."""
    model = Interacting()
    regions = torch.arange(12)[:, None].expand(1, 12, LENGTH)  # a lead is a player
    game = next(games_of(model, x[:1], torch.tensor([0]), 10, regions, 0.0))
    shares, error, _ = shapley.sampled_shares(game, 0.0, 8, torch.Generator().manual_seed(3))
    sums = x[0].sum(dim=1)
    neighbours = sums * (sums.roll(1) + sums.roll(-1)) / 2
    assert torch.allclose(shares, neighbours, atol=1e-9)
    assert error.max() < 1e-9


def test_players_that_do_the_same_share_alike_and_idle_ones_get_nothing():
    x = torch.ones(1, 12, LENGTH, dtype=torch.float64)
    regions = torch.arange(12)[:, None].expand(1, 12, LENGTH)

    class Least(nn.Module):
        def forward(self, x):
            return x.mean(dim=2)[:, 6:9].amin(dim=1, keepdim=True)

    shares = explain(Least(), x, 0, "shapley", regions=regions, fill=0.0, max_permutations=2000)
    per_lead = shares.attributions[0].sum(dim=1)
    assert per_lead[:6].abs().max() == per_lead[9:].abs().max() == 0
    assert per_lead[6:9].numpy() == pytest.approx(np.full(3, 1 / 3), abs=0.05)


def test_an_absent_player_is_filled_as_elsewhere_and_the_limb_leads_stay_one_heart(x):
    absent = torch.zeros(1, 12, LENGTH, dtype=torch.bool)
    absent[0, 1, 5:15] = absent[0, 7, 20:30] = True
    filled = without(x[0], absent, "physiological", LEADS)[0]
    line = x[0].median(dim=1).values
    wanted = remove(x[:1].transpose(1, 2), absent.transpose(1, 2), line[None])[0].T
    assert torch.allclose(filled, wanted)
    before, after = x[0, 0] + x[0, 2] - x[0, 1], filled[0] + filled[2] - filled[1]
    assert torch.allclose(before, after, atol=1e-6)
    assert not torch.equal(filled[0], x[0, 0])  # lead I follows lead II
    order = [7, 1, 0, 2, 5, 4, 3]  # another order of leads, and not all of them
    names = [LEADS[index] for index in order]
    other = without(x[0, order], absent[:, order], "physiological", names)[0]
    assert torch.allclose(other, filled[order], atol=1e-9)
    alone = without(x[0, [0, 1]], absent[:, [0, 1]], "physiological", ["I", "II"])[0]
    assert torch.equal(alone[0], x[0, 0])
    assert torch.equal(alone[1, 5:15], line[1].expand(10))


@pytest.mark.parametrize("method", ["shapley", "kernel_shap", "lime"])
def test_unread_samples_belong_to_nobody_and_bad_options_are_named(method):
    torch.manual_seed(0)
    model = randomised(get_model("lenet", 2))
    model.info = make_subject(n=1).model.info
    x = torch.randn(1, 12, 250)
    small = {"shapley": {"max_permutations": 4}}.get(method, {"n_samples": 200})
    maps = attribution.attribute(model, x, 0, method, piece=50, **small)
    assert not maps[:, :, 223:].any()  # LeNet stops short of the end
    with pytest.raises(UserError, match="unknown fill 'water': accepted are physiological"):
        attribution.attribute(model, x, 0, method, fill="water")
    with pytest.raises(UserError, match="regions are"):
        attribution.attribute(model, x, 0, method, regions=torch.zeros(1, 12, 3))
    with pytest.raises(UserError, match="at least 1 sample"):
        attribution.attribute(model, x, 0, method, piece=0)


def test_standard_errors_reach_whole_records():
    torch.manual_seed(0)
    model = randomised(get_model("lenet", 2))
    model.info = make_subject(n=1, length=250).model.info
    model.info.crop = 250
    signals = limb_consistent(2, 500, 0).numpy()
    options = {"piece": 125, "max_permutations": 4}
    done = attribution.explain_records(model, signals, 0, "shapley", "windows", **options)
    assert done.standard_error.shape == signals.shape
    middle = attribution.explain_records(
        model, signals[:, 125:375], 0, "shapley", "windows", **options
    )
    assert done.standard_error[0, 300, 6] > 0
    assert middle.standard_error[0, 60, 6] > 0
    assert "standard_error" in done.arrays()
    whole = np.nansum(done.attributions, axis=(1, 2))
    assert np.isfinite(whole).all()


# ---------------------------------------------------------------- captum


def test_deeplift_is_exact_on_lenet_and_follows_its_baseline():
    torch.manual_seed(1)
    model = randomised(get_model("lenet", 5)).double()
    x = 0.3 * torch.randn(4, 12, 128).double()
    done = explain(model, x, [0, 1, 2, 3], "deeplift", baseline=0.1)
    with torch.no_grad():
        outputs, start = model(x), model(torch.full_like(x, 0.1))
    wanted = (outputs - start)[range(4), range(4)]
    assert torch.allclose(done.attributions.sum((1, 2)), wanted, atol=1e-9)
    linear = linear_model(20)
    x = torch.randn(2, 12, 20).double()
    weights = linear[1].weight.detach()[1].view(12, 20)
    assert torch.allclose(attribution.attribute(linear, x, 1, "deeplift"), weights * x)


class Swishing(nn.Module):
    """A network with an operation that captum's DeepLIFT has no rule for."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.flatten, self.first = nn.Flatten(), nn.Linear(12 * LENGTH, 8)
        self.bend, self.head = nn.SiLU(), nn.Linear(8, 2)
        self.info = make_subject(n=1, length=LENGTH).model.info

    def forward(self, x):
        return self.head(self.bend(self.first(self.flatten(x))))


def test_deeplift_is_refused_by_name_where_captum_is_wrong(x):
    with pytest.raises(UserError, match=r"deeplift: captum's map misses .* \(no rule for SiLU"):
        attribution.attribute(Swishing().double(), 5 * x, 0, "deeplift")
    kept, left_out = workable(["saliency", "deeplift"], Swishing())
    assert kept == ["saliency"]
    assert left_out["deeplift"].startswith("deeplift: captum's map misses")
    with pytest.raises(UserError, match="deeplift: captum's map misses"):
        workable(["deeplift"], Swishing())


def test_gradient_shap_tends_to_integrated_gradients(x):
    model = Interacting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        steady = attribution.attribute(model, x, 0, "ig")
    drawn = attribution.attribute(model, x, 0, "gradient_shap", n_samples=4000, noise=0.0)
    assert torch.allclose(drawn, steady, atol=0.05 * float(steady.abs().max()))
    done = explain(model, x, 0, "gradient_shap", n_samples=10)
    assert torch.allclose(done.attributions.sum((1, 2)) + done.gap, done.difference)


@pytest.mark.parametrize("method", ["gradient_shap", "kernel_shap", "lime", "shapley"])
def test_draws_follow_the_record_and_the_seed_and_leave_global_numbers_alone(x, method):
    model = Interacting()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    small = {"shapley": {"max_permutations": 4}}.get(method, {"n_samples": 100})
    first = attribution.attribute(model, x, 0, method, **small)
    found = torch.rand(1), np.random.rand()  # noqa: NPY002
    assert expected == found
    assert torch.equal(first, attribution.attribute(model, x, 0, method, **small))
    assert not torch.equal(first, attribution.attribute(model, x, 0, method, seed=1, **small))


@pytest.mark.parametrize(
    "function",
    [
        shapley.shapley,
        surrogates.deeplift,
        surrogates.gradient_shap,
        surrogates.kernel_shap,
        surrogates.lime,
    ],
)
def test_the_registry_knows_the_options(function):
    declared = inspect.signature(METHODS[function.__name__].function).parameters
    assert list(declared) == list(inspect.signature(function).parameters)


def test_fills_are_named():
    assert players.PLAYER_FILLS[0] == "physiological"
