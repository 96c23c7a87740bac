"""Scorecards: does a group's relevance lie in the leads and segments where the textbook reads the
pathology?

A pathology's card (attribution.cards) names the cells. The score of a map against a card is

    lift = share of relevance inside the card's cells / share of lead x time that these cells take

(1 is chance). QRS cells are bright in every map, so the test keeps every segment's relevance where
it is and moves the lead names alone: p is the part of all orders of the leads whose card scores as
high. That takes leads for exchangeable, and maps of neighbouring leads are alike: p_neighbours is
the part of those 288 orders that keep neighbours neighbours. A card is a prior and not the truth:
a faithful map of a model that found a shortcut must score low.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from attribution.cards import Card
from attribution.cells import TOP, CellMaps, shares
from common.intervals import ratio_intervals
from common.labels import LEADS
from common.stats import permutation_p
from glocal.maps import cell_ranks, group_mean


def lift(share: np.ndarray, time: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Share of relevance over share of time inside cells; share, time (..., 12, 24), cells (12,
    24); NaN where no time.
    """
    inside, chance = (share * cells).sum(axis=(-2, -1)), (time * cells).sum(axis=(-2, -1))
    return np.divide(inside, chance, out=np.full(np.shape(chance), np.nan), where=chance > 0)


def group_shares(maps: CellMaps) -> tuple[np.ndarray, np.ndarray]:
    """Mean shares of relevance and of time, (12, 24) each; unexplained records left out."""
    kept = maps.explained
    if not kept.any():
        raise ValueError("no record of the group has any relevance")
    return tuple(group_mean(shares(sums[kept])) for sums in (maps.relevance, maps.time))


def permuted_cards(cells: np.ndarray, n_permutations: int, seed: int) -> np.ndarray:
    """The card under permuted lead names, (M, 288) of 0 and 1.

    One permutation of the 12 names serves all segments, so every segment keeps its relevance and a
    lead keeps its character.
    """
    orders = np.argsort(np.random.default_rng(seed).random((n_permutations, len(cells))), axis=1)
    return cells[orders].reshape(n_permutations, -1).astype(np.float32)


def permuted_lifts(share: np.ndarray, time: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """Lift (M,) of a map (12, 24) on each permuted card; infinite where a permuted card has no time
    (counts against the rule).
    """
    inside, chance = (
        permuted @ np.stack([share.ravel(), time.ravel()], axis=1).astype(np.float32)
    ).T.astype(float)
    return np.divide(inside, chance, out=np.full(len(permuted), np.inf), where=chance > 0)


# the limb leads around the heart (Cabrera), of which the first follows the last; V1 to V6 beside
LIMB_CIRCLE = [LEADS.index(lead) for lead in ("aVL", "I", "aVR", "II", "aVF", "III")]
CHEST_ROW = [LEADS.index(lead) for lead in ("V1", "V2", "V3", "V4", "V5", "V6")]


def neighbour_cards(cells: np.ndarray) -> np.ndarray:
    """The card under the 288 orders of the leads that keep neighbours, (288, 288) of 0 and 1: limb
    and chest leads each shifted around and mirrored (V1 follows V6), and changed for each other.
    The first is the card itself.
    """
    orders = []
    for first, second in ((LIMB_CIRCLE, CHEST_ROW), (CHEST_ROW, LIMB_CIRCLE)):
        for limb, chest in product(_turned(first), _turned(second)):
            order = np.empty(len(LEADS), int)
            order[LIMB_CIRCLE], order[CHEST_ROW] = limb, chest
            orders.append(order)
    return cells[np.array(orders)].reshape(len(orders), -1).astype(np.float32)


def _turned(leads):
    """The 12 ways to go once around."""
    ways = []
    for step in range(len(leads)):
        shifted = leads[step:] + leads[:step]
        ways += [shifted, shifted[::-1]]
    return ways


def lift_interval(
    maps: CellMaps, control: CellMaps | None, card: Card, weights: np.ndarray
) -> tuple[float, float, float]:
    """Lift of a map on a card with its 95 % interval over patients, of the records that have
    relevance: (lift, low, high). With `control`, maps of the same records: over the lift of these,
    of the records that have relevance in both. NaN for the interval of fewer than five patients.

    weights  # (R, n) resamples of patients (common.stats.patient_weights)
    """
    kept = maps.explained if control is None else maps.explained & control.explained
    inside = (shares(maps.relevance) * card.cells).sum(axis=(1, 2))
    chance = shares(maps.time if control is None else control.relevance)
    against = (chance * card.cells).sum(axis=(1, 2))
    who, first, code = np.unique(maps.patients, return_index=True, return_inverse=True)
    sums = [np.bincount(code, values * kept, len(who))[:, None] for values in (inside, against)]
    total = sums[1].sum()
    value = float(sums[0].sum() / total) if total > 0 else np.nan
    low, high = ratio_intervals(*sums, weights[:, first].astype(float))
    return value, float(low[0]), float(high[0])


def score(
    maps: CellMaps, card: Card, weights: np.ndarray, permuted: np.ndarray
) -> dict[str, float]:
    """One map against one card.

    `weights` (R, n) are bootstrap resamples of the patients, `permuted` is
    permuted_cards(card.cells, ...).

    share, chance: of relevance and of lead x time inside the card; lift = share / chance with its
    95 % interval over patients; lead_lift: lift over its mean under permuted leads (1: the card's
    leads are no better than others in the same segments; NaN where none has relevance there); p:
    how often permuted leads reach the lift, with its floor (a card that is the same in all leads
    cannot be tested: p_floor 1); p_neighbours, p_neighbours_floor: the same of the orders that keep
    neighbours (a card of leads that lie together cannot be significant there); top5_precision: part
    of the five densest cells that the card has, beside top5_chance, what five random cells would
    have; sign_agreement: part of the relevance in the card's signed cells whose sign is the card's.
    """
    share, time = group_shares(maps)
    observed = float(lift(share, time, card.cells))
    _, low, high = lift_interval(maps, None, card, weights)
    null = permuted_lifts(share, time, permuted)
    possible = null[np.isfinite(null)]
    same = (permuted == card.cells.ravel()).all(axis=1).mean()
    beside = neighbour_cards(card.cells)
    of_neighbours = permuted_lifts(share, time, beside)
    top = cell_ranks(maps) <= TOP
    # float32 sums: a permutation that leaves the card as it is must count as reaching it
    reached = observed * (1 - 1e-5)
    among_neighbours = float((of_neighbours >= reached).mean())  # all there are, itself included
    return {
        "share": float((share * card.cells).sum()),
        "chance": float((time * card.cells).sum()),
        "lift": observed,
        "low": low,
        "high": high,
        "lead_lift": observed / float(possible.mean()) if possible.any() else np.nan,
        "p": float(permutation_p(reached, null)),
        "p_floor": max(1 / (1 + len(permuted)), float(same)),
        "p_neighbours": among_neighbours if np.isfinite(observed) else np.nan,
        "p_neighbours_floor": float((beside == beside[0]).all(axis=1).mean()),
        "top5_precision": float(card.cells[top].mean()),
        "top5_chance": float(card.cells[maps.common].mean()),
        "sign_agreement": sign_agreement(maps, card),
        "n_cells": card.n_cells,
    }


def sign_agreement(maps: CellMaps, card: Card) -> float:
    """Part of the relevance in the card's signed cells that has the card's sign, .5 is chance; NaN
    for an unsigned card.
    """
    kept = maps.explained
    total = maps.relevance[kept].sum(axis=(1, 2), keepdims=True)
    strength, direction = (
        (sums[kept] / total).mean(axis=0) for sums in (maps.relevance, maps.signed)
    )
    weight = (strength * (card.signs != 0)).sum()
    return float((1 + (direction * card.signs).sum() / weight) / 2) if weight > 0 else float("nan")


def card_places(
    cards: dict[str, Card], share: tuple, jittered: Sequence[CellMaps]
) -> dict[str, dict[str, float]]:
    """Per card its rank among the cards by the map's lift (1: the highest), and rank_stability: the
    share of the `jittered` maps in which that is the same (NaN without any).

    share  group_shares() of the map
    """
    rank = _ranked(cards, share)
    again = [_ranked(cards, group_shares(maps)) for maps in jittered if maps.explained.any()]
    same = np.mean([other == rank for other in again], axis=0) if again else rank * np.nan
    return {
        name: {"rank": place, "rank_stability": stability}
        for name, place, stability in zip(cards, rank, same, strict=True)
    }


def _ranked(cards, share):
    """Rank (cards,) of each card by its lift."""
    lifts = np.nan_to_num([lift(*share, card.cells) for card in cards.values()])
    return 1 + (lifts > lifts[:, None]).sum(axis=1)
