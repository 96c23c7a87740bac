"""The search on linear networks, whose cheapest counterfactual is known; and its sentences."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.bench_counterfactuals import random_doses
from common.labels import LEADS
from counterfactual.body import Body
from counterfactual.edits import EDITS, TO_TWELVE, Limits
from counterfactual.search import MARGIN, Search, threshold_logit
from counterfactual.sentences import probabilities, sentence
from networks.checkpoints import ModelInfo

NAMES = ("R V5", "R V6", "S V1", "T I")


class LinearBody(Body):
    """Changes that measuring finds again, but for those of the edits in `lost`."""

    lost = ()

    def shown(self, doses):
        """(n,) whether none of the lost edits has a dose."""
        return ~np.asarray(doses)[:, list(self.lost)].any(axis=1)


def linear_body(low=(-1.0, -1, -1, -1), high=(1.0, 1, 1, 1), scale=(0.5, 0.25, 0.5, 0.2), lost=()):
    """A body of four edits, each of which raises one sample of its lead."""
    kind = type("LinearBody", (LinearBody,), {"lost": lost})
    added = np.zeros((4, 10, 8), np.float32)
    for number, name in enumerate(NAMES):
        lead = list(TO_TWELVE[:, LEADS.index(name.split()[1])]).index(1)
        added[number, number, lead] = 1
    signal = np.zeros((10, 12), np.float32)
    room = map(np.array, (low, high, scale))
    return kind(signal, NAMES, added, *room, pd.Series(dtype=float), Limits({}, {}, {}, 0))


def logits_of(effects, start=1.0):
    """A network whose logit grows by `effects` per mV of each edit."""

    def logits(signals):
        doses = [signals[:, k, LEADS.index(name.split()[1])] for k, name in enumerate(NAMES)]
        return start + np.stack(doses, axis=1) @ np.array(effects)

    return logits


def test_one_edit_is_preferred_and_the_cheapest_in_standard_deviations_taken():
    body = linear_body()
    # R V5 turns at -.5 mV (1 SD), R V6 at -.4 mV (1.6 SD), S V1 not at all, T I at +.5 (2.5 SD)
    found = Search(body, logits_of((2.0, 2.5, 0.5, -2.0)), 0.0).run(3)
    assert found.turned
    assert found.doses == pytest.approx([-0.51, 0, 0, 0], abs=0.011)
    assert found.cost == pytest.approx(1.02, abs=0.03)
    assert found.after < 0 < found.before
    assert found.alone == pytest.approx([-0.51, -0.41, np.nan, 0.51], abs=0.02, nan_ok=True)


def test_two_edits_where_none_suffices_alone():
    body = linear_body()
    found = Search(body, logits_of((0.6, 0.55, 0.1, 0.0)), 0.0).run(3)
    assert found.turned
    assert list(np.flatnonzero(found.doses)) == [0, 1]
    assert np.isnan(found.alone).all()
    assert found.after == pytest.approx(-MARGIN, abs=0.02)


def test_what_is_not_found_again_is_no_answer_and_the_next_best_is_taken():
    effects = logits_of((2.0, 2.5, 0.5, -2.0))  # R V5 alone is the cheapest, then R V6, then T I
    found = Search(linear_body(lost=(0,)), effects, 0.0).run(3)
    assert found.turned
    assert found.doses == pytest.approx([0, -0.41, 0, 0], abs=0.011)
    assert found.alone == pytest.approx([np.nan, -0.41, np.nan, 0.51], abs=0.02, nan_ok=True)
    # where no single edit is found again, sets of the others are tried
    found = Search(linear_body(lost=(0,)), logits_of((2.0, 0.7, 0.6, 0.0)), 0.0).run(3)
    assert found.turned
    assert list(np.flatnonzero(found.doses)) == [1, 2]
    assert np.isnan(found.alone).all()


def test_a_decision_that_only_lost_changes_turn_is_not_turned():
    found = Search(linear_body(lost=(0,)), logits_of((2.0, 0.3, 0.1, 0.0)), 0.0).run(4)
    assert not found.turned
    assert found.doses[0] == 0  # the nearest is one that does not turn it
    assert found.after > 0
    found = Search(linear_body(lost=(0, 1, 2, 3)), logits_of((2.0, 2, 2, 2)), 0.0).run(4)
    assert not found.turned
    assert not found.doses.any()


def test_decisions_are_turned_upwards_too():
    found = Search(linear_body(), logits_of((2.0, 0, 0, 0), start=-0.5), 0.0).run(1)
    assert found.turned
    assert found.after > 0 > found.before
    assert found.doses[0] == pytest.approx(0.26, abs=0.011)


def test_none_within_the_limits_is_an_answer_that_tells_the_nearest():
    found = Search(linear_body(), logits_of((0.2, 0.1, 0.1, 0.1)), 0.0).run(4)
    assert not found.turned
    assert found.after == pytest.approx(0.5)
    assert np.abs(found.doses).sum() == 4  # all at their limits


def test_the_nearest_is_one_that_is_found_again():
    effects = logits_of((0.4, 0.3, 0.1, 0.0))  # R V5 comes nearest, then R V6
    found = Search(linear_body(lost=(0,)), effects, 0.0).run(1)
    assert not found.turned
    assert found.doses == pytest.approx([0, -1, 0, 0])
    # R V5 with any other: none of the others, which come less near, takes its place at this size
    found = Search(linear_body(lost=(0,)), effects, 0.0).run(2)
    assert list(np.flatnonzero(found.doses)) == [1, 2]
    found = Search(linear_body(lost=(0, 1, 2, 3)), effects, 0.0).run(1)
    assert found.doses == pytest.approx([-1, 0, 0, 0])  # of what is not found, the nearest


def test_limits_and_steps_are_kept():
    body = linear_body(low=(-0.303, -1, -1, -1))
    found = Search(body, logits_of((3.3, 0, 0, 0)), 0.02).run(1)
    assert found.turned
    assert body.low[0] <= found.doses[0] < -0.29
    found = Search(linear_body(), logits_of((3.3, 0, 0, 0)), 0.0).run(1)
    assert round(found.doses[0] * 100, 6) == round(found.doses[0] * 100)


def test_the_answer_does_not_depend_on_chance_twice():
    body, logits = linear_body(), logits_of((0.5, 0.45, 0.4, 0.3))
    first, again = (Search(body, logits, 0.0, seed=3).run(4) for _ in range(2))
    assert np.array_equal(first.doses, again.doses)


def test_random_edits_are_of_the_same_number_and_size():
    body = linear_body()
    found = Search(body, logits_of((0.6, 0.55, 0.1, 0.0)), 0.0).run(3)
    drawn = random_doses(body, found, np.random.default_rng(0), 200)
    assert (np.count_nonzero(drawn, axis=1) == 2).all()
    assert (drawn >= body.low).all()
    assert (drawn <= body.high).all()
    assert (body.cost(drawn) <= found.cost + 1e-9).all()


@pytest.mark.parametrize(("stored", "logit"), [(0.5, 0.0), (float("nan"), 0.0), (0.25, -1.0986)])
def test_thresholds_are_those_of_the_checkpoint(stored, logit):
    info = ModelInfo("lenet", "t", ("A",), LEADS, 100, 2.5, {}, 0, thresholds=(stored,))
    assert threshold_logit(info, 0) == pytest.approx(logit, abs=1e-3)


def test_the_sentence():
    doses = [("R V5 V6", -0.42), ("S V1", 0.31)]
    assert (
        sentence(doses, "LVH", 0.93, 0.31, 0.4, True, 6)
        == "R in V5 and V6 -0.42 mV, S in V1 +0.31 mV: LVH 0.93 -> 0.31 (threshold 0.40)"
    )
    assert sentence(doses, "LVH", 0.93, 0.52, 0.4, False, 6).startswith("no 6 changes within")
    assert sentence([], "LVH", 0.93, 0.93, 0.4, False, 6).startswith("no beat with a wave")
    near = sentence(doses, "LVH", 0.514, 0.5041, 0.506, True, 6)
    assert near.endswith("LVH 0.51 -> 0.50 (threshold 0.51)")
    near = sentence(doses, "LVH", 0.514, 0.5051, 0.506, True, 6)
    assert near.endswith("LVH 0.514 -> 0.505 (threshold 0.506)")
    assert probabilities(0.999, 0.001, 0.5) == ["> 0.99", "< 0.01", "0.50"]
    assert probabilities(0.9999, 0.5001, 0.5) == ["> 0.999", "0.500", "0.500"]


def test_edits_of_one_wave_in_shared_leads_overlap_in_the_search():
    search = Search(linear_body(), logits_of((1, 1, 1, 1)), 0.0)
    assert np.array_equal(search.overlap, np.eye(4, dtype=bool))
    assert EDITS["R V5"].overlaps(EDITS["R V5 V6"])
