"""Few edits, and of these small ones, that take a logit across its class's threshold: the sparsest
set that a beam search finds, not provably the sparsest that there is.

Batched forward search without gradients. Every edit is tried alone at its limits; where none
suffices, the most promising sets are extended by one edit at a time. A set that suffices at its
limits is then shrunk along several mixtures of its doses, and the cheapest that still turns the
decision is taken, if the edited record, measured anew, shows every change that is stated; else
the next one. Cost is in standard deviations of the population.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from counterfactual.body import Body
from networks.checkpoints import ModelInfo

MARGIN = 0.001  # logit beyond the threshold: rounding must not turn the decision back
WIDTH_OF_BEAM = 8  # sets that are extended
PARTNERS = 30  # single edits of largest effect that sets are extended by
FINALISTS = 6  # sets of one size that are shrunk
MIXTURES = 12  # proportions of doses that a set is shrunk along
NEAREST = 16  # sets that are measured anew where none turns the decision
HALVINGS = 7  # of the length along each
STEP = {"mV": 0.01, "ms": 1.0}  # doses are rounded up to these

Logits = Callable[[np.ndarray], np.ndarray]  # records (n, T, 12) -> (n,) logits of one class


@dataclass(frozen=True)
class Found:
    """The answer for one record and class.

    turned   whether the decision was turned within the limits, by changes that are found again
    doses    # (edits,) of the body; where it was not turned, those that came nearest and are
             found again, if any of the nearest are
    before, after  logits
    cost     of the doses
    alone    # (edits,) the least dose with which each edit turns the decision by itself, NaN where
             none does, or none that is found again
    """

    turned: bool
    doses: np.ndarray
    before: float
    after: float
    cost: float
    alone: np.ndarray


def threshold_logit(info: ModelInfo, index: int) -> float:
    """Logit of a class's threshold (probability .5 where the checkpoint has none)."""
    stored = info.thresholds[index] if info.thresholds else math.nan
    probability = stored if math.isfinite(stored) else 0.5
    probability = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(probability / (1 - probability))


class Search:
    """One record, one class: counts as turned what lies MARGIN beyond the threshold and whose
    changes the edited record, measured anew, shows.
    """

    def __init__(self, body: Body, logits: Logits, threshold: float, seed: int = 0):
        self.body, self.logits, self.threshold = body, logits, threshold
        self.rng = np.random.default_rng(seed)
        self.before = float(logits(body.signal[None])[0])
        self.sign = -1.0 if self.before > threshold else 1.0
        self.alone = np.full(len(body.names), np.nan)
        self.overlap = np.zeros((len(body.names), len(body.names)), bool)
        for pair in product(range(len(body.names)), repeat=2):
            self.overlap[pair] = body.edits[pair[0]].overlaps(body.edits[pair[1]])

    def gains(self, doses: np.ndarray) -> np.ndarray:
        """(n,) how far beyond the threshold, in the wanted direction, doses (n, edits) take the
        logit.
        """
        if not len(doses):
            return np.zeros(0)
        reached = self.logits(self.body.apply(doses))
        return self.sign * (reached - self.threshold) - MARGIN

    def run(self, most: int) -> Found:
        """Search sets of 1, 2, ... `most` edits; the first size that turns the decision ends it."""
        sets, turning = self._ranked(np.array(list(self._single_corners())))
        found = self._cheapest_alone(sets[:turning])
        # what turns the decision but is not found again is part of no larger set
        lost = sets[:turning].any(axis=0)
        sets = nearest = sets[~sets[:, lost].any(axis=1)]
        partners = sets[:PARTNERS]
        for _ in range(1, most):
            if found is not None or not len(sets):
                break
            sets, turning = self._ranked(self._extended(sets[:WIDTH_OF_BEAM], partners))
            found = self._cheapest_together(sets[:turning])
            nearest = sets[turning:] if turning < len(sets) else nearest
        turned = found is not None
        return self._answer(found if turned else self._nearest(nearest), turned)

    def _ranked(self, sets):
        """Doses (n, edits), those that reach furthest first, and how many turn the decision."""
        reached = self.gains(sets)
        return sets[np.argsort(-reached, kind="stable")], np.count_nonzero(reached > 0)

    def _single_corners(self) -> Iterator[np.ndarray]:
        for number, limits in enumerate(zip(self.body.low, self.body.high, strict=True)):
            for dose in limits:
                if dose:
                    corner = np.zeros(len(self.body.names))
                    corner[number] = dose
                    yield corner

    def _extended(self, sets, partners):
        """Every set with one more edit that it does not touch yet, each combination once."""
        found = {}
        for doses, partner in product(sets, partners):
            added = int(np.flatnonzero(partner)[0])
            if not self.overlap[added, np.flatnonzero(doses)].any():
                both = doses + partner
                found.setdefault(both.tobytes(), both)
        return np.array(list(found.values()))

    def _cheapest_alone(self, corners):
        """The cheapest single edit (edits,) that turns the decision and is found again, None where
        none is; notes all of them.

        corners  # (n, edits) single edits that turn it at their limits
        """
        doses = self._in_steps(self._shrunk(corners))
        held = doses[self.body.shown(doses)]
        self._note_alone(held)
        return next(iter(held), None)

    def _cheapest_together(self, sets):
        """Doses (edits,) of least cost that turn the decision and are found again, among the first
        sets and mixtures of their doses; None where none of FINALISTS is.

        sets  # (n, edits) that turn it, those that reach furthest first
        """
        if not len(sets):
            return None
        corners = np.concatenate([self._mixtures(one) for one in sets[:FINALISTS]])
        shrunk = self._shrunk(corners[self.gains(corners) > 0])
        finalists = self._in_steps(shrunk[:FINALISTS])
        return next((one for one in finalists if self.body.shown(one[None])[0]), None)

    def _nearest(self, sets):
        """The first of the doses (n, edits) that is found again, of the first NEAREST; where none
        of these is, the first; none at all where there is no set.
        """
        if not len(sets):
            return np.zeros(len(self.body.names))
        held = self.body.shown(sets[:NEAREST])
        return sets[held.argmax()]  # 0 where none is

    def _note_alone(self, single):
        """Keep the smaller dose of every edit that turns the decision by itself."""
        for doses in single:
            number = np.flatnonzero(doses)[0]
            known = abs(self.alone[number])
            if not known <= abs(doses[number]):
                self.alone[number] = doses[number]

    def _shrunk(self, corners):
        """Each of the doses (n, edits), which turn the decision, made as small as still does; the
        cheapest first.
        """
        low, high = np.zeros(len(corners)), np.ones(len(corners))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            enough = self.gains(middle[:, None] * corners) > 0
            high, low = np.where(enough, middle, high), np.where(enough, low, middle)
        shrunk = high[:, None] * corners
        return shrunk[np.argsort(self.body.cost(shrunk), kind="stable")]

    def _mixtures(self, corner):
        """The corner itself and proportions of its doses."""
        size = np.count_nonzero(corner)
        shares = np.ones((MIXTURES, len(corner)))
        shares[1 : 1 + size, np.flatnonzero(corner)] = 1 - 0.6 * np.eye(size)[: MIXTURES - 1]
        shares[1 + size :] = self.rng.uniform(0.2, 1, shares[1 + size :].shape)
        return shares * corner

    def _in_steps(self, shrunk):
        """Doses (n, edits) rounded away from 0 to whole steps of their unit, within the limits,
        where these turn the decision too.
        """
        steps = np.array([STEP[edit.unit] for edit in self.body.edits])
        whole = np.sign(shrunk) * np.ceil(np.abs(shrunk) / steps - 1e-9) * steps
        rounded = np.clip(whole, self.body.low, self.body.high)
        return np.where(self.gains(rounded)[:, None] > 0, rounded, shrunk)

    def _answer(self, doses, turned):
        after = float(self.logits(self.body.apply(doses))[0])
        cost = float(self.body.cost(doses)[0])
        return Found(turned, doses, self.before, after, cost, self.alone)


def in_order(body: Body, doses: np.ndarray) -> Sequence[int]:
    """Numbers of the edits that doses (edits,) make, the most costly first."""
    made = np.flatnonzero(doses)
    return made[np.argsort(-(np.abs(doses) / body.scale)[made], kind="stable")]
