"""Shapley values of lead x piece players: fair shares of f(x) - f(everything taken away).

A player's share is the mean, over all orders in which players can be taken away, of what the logit
loses when its turn comes (Shapley 1953). Orders are drawn in antithetic pairs, one and its
reverse (Mitchell et al., JMLR 23 (2022)), until the standard error is small or the budget is
spent; games of few players are enumerated. The shares of each order sum to f(x) - f(everything
taken away), hence so do their means.
"""

import itertools
import math

import torch
from torch import Tensor, nn

from attribution.explanation import Explanation
from attribution.gradients import record_generator
from attribution.players import Game, games_of

FEWEST_PAIRS = 3  # orders and their reverses before the standard error is believed
MOST_ENUMERATED = 10  # players: 1,024 coalitions


def shapley(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    piece: int = 10,
    regions: Tensor | None = None,
    fill: str | float | Tensor = "physiological",
    wanted_error: float = 0.05,
    max_permutations: int = 64,
    seed: int = 0,
) -> Explanation:
    """Shares, each spread evenly over its player's samples: (N, leads, T), summing to `difference`.

    Players and fill as in players.games_of. Stops when the largest standard error of a share is at
    most max(wanted_error * |f(x) - f(nothing left)|, wanted_error logit), or after
    `max_permutations` orders (then `missed` says so). `standard_error` (N, leads, T) is spread as
    the shares are; 0 where a game was enumerated.
    """
    maps, errors, used, facts = torch.zeros_like(x), torch.zeros_like(x), [], []
    for row, game in enumerate(games_of(model, x, target, piece, regions, fill)):
        wanted = wanted_error * max(float(game.difference.abs()), 1)
        if game.n <= MOST_ENUMERATED:
            shares, error, steps = exact_shares(game), torch.zeros(game.n), 2**game.n
        else:
            generator = record_generator(x[row], seed)
            shares, error, steps = sampled_shares(game, wanted, max_permutations, generator)
        maps[row], errors[row] = game.spread(shares.to(x)), game.spread(error.to(x))
        used.append(steps)
        largest = float(error.max()) if game.n else 0.0
        facts.append((game.complete, game.difference, largest > wanted))
    logit, difference = x.new_zeros(len(x)), x.new_zeros(len(x)).double()
    for row, (complete, whole, _) in enumerate(facts):
        logit[row], difference[row] = complete, whole
    return Explanation(
        maps,
        logit,
        gap=difference - maps.flatten(1).sum(dim=1, dtype=torch.float64),
        difference=difference,
        steps=torch.tensor(used, dtype=torch.long, device=x.device),
        missed=torch.tensor([missed for *_, missed in facts], dtype=torch.bool, device=x.device),
        standard_error=errors,
    )


def sampled_shares(
    game: Game, wanted: float, max_permutations: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, int]:
    """Shares (n,), their standard errors (n,) over antithetic pairs, and the orders taken.

    Stops when every standard error is at most `wanted` (logit), or after `max_permutations` orders
    (two pairs at least). Of few pairs an interval needs Student's t: three give two degrees of
    freedom, so that 1.96 standard errors hold .80 of the shares.
    """
    pairs = []
    while True:
        order = torch.randperm(game.n, generator=generator)
        both = losses(game, torch.stack([order, order.flip(0)]))
        pairs.append(both.mean(dim=0))
        if len(pairs) < 2:
            continue
        stacked = torch.stack(pairs)
        error = stacked.std(dim=0) / math.sqrt(len(pairs))
        enough = len(pairs) >= FEWEST_PAIRS and float(error.max()) <= wanted
        if enough or 2 * (len(pairs) + 1) > max_permutations:
            return stacked.mean(dim=0), error, 2 * len(pairs)


def losses(game: Game, orders: Tensor) -> Tensor:
    """(orders, n) what the logit loses at each player's turn, float64; orders (orders, n) are
    permutations of the players, the first to be taken away first.
    """
    n_orders, n = orders.shape
    turn = orders.argsort(dim=1)  # when each player goes
    moments = torch.arange(1, n)  # after so many have gone
    present = turn[:, None, :] >= moments[:, None]  # (orders, n - 1, n)
    between = game.values(present.flatten(0, 1).to(game.place.device)).view(n_orders, n - 1)
    ends = [value.expand(n_orders, 1) for value in (game.complete, game.empty)]
    course = torch.cat([ends[0], between, ends[1]], dim=1).double().cpu()
    return (course[:, :-1] - course[:, 1:]).gather(1, turn)


def exact_shares(game: Game) -> Tensor:
    """(n,) Shapley values of a small game from all of its 2^n coalitions, float64."""
    n = game.n
    members = list(itertools.product((False, True), repeat=n))
    present = torch.tensor(members, dtype=torch.bool).reshape(2**n, n)
    value = game.values(present.to(game.place.device)).double().cpu()
    sizes = present.sum(dim=1)
    shares = torch.zeros(n, dtype=torch.float64)
    for player in range(n):
        having = present[:, player]
        lacking = torch.arange(2**n)[having] - 2 ** (n - 1 - player)  # the same without the player
        weight = [1 / (n * math.comb(n - 1, int(size) - 1)) for size in sizes[having]]
        weights = torch.tensor(weight, dtype=torch.float64)
        shares[player] = (weights * (value[having] - value[lacking])).sum()
    return shares
