"""Faithfulness: closed-form curves on a linear model, random orders as reference, and which broken
explanations it catches.
"""

import numpy as np
import pytest

from sanity.faithfulness import (
    FRACTIONS,
    N_RANDOM,
    PARTS,
    curve_area,
    lead_segment_cells,
    measure_faithfulness,
    random_reference,
    removal_curve,
    removal_share,
    time_windows,
)
from small_subjects import BROKEN, exact, make_subject

NAME = "faithfulness_cells_zero_signed"


@pytest.fixture(scope="module")
def subject():
    return make_subject(n=8)


@pytest.fixture(scope="module")
def reference(subject):
    return random_reference(subject)


def scores(subject, reference, explain):
    maps = explain(subject.model, subject.signals, subject.target)
    found = measure_faithfulness(subject, maps, explain, reference)
    return {measured.check: measured for measured in found}


def test_removal_order_by_hand():
    parts = np.array([[[0, 1], [0, 1], [2, 2]]])
    relevance = np.array([[[1.0, 5], [1, 7], [3, 3]]])
    most, least = removal_share(relevance, parts)
    assert most[0] == pytest.approx(np.array([[1, 1 / 3], [1, 1 / 3], [2 / 3, 2 / 3]]))
    assert least[0] == pytest.approx(np.array([[1 / 3, 1], [1 / 3, 1], [2 / 3, 2 / 3]]))


def test_parts_are_cells_of_a_lead_or_windows_of_all_leads(subject):
    cells, windows = lead_segment_cells(subject), time_windows(subject)
    assert len(np.unique(cells[0])) == 12 * 24
    assert (cells[0] // 24 == np.arange(12)).all()
    assert len(np.unique(windows[0])) == 120 // 5
    assert (windows[:, :, :1] == windows).all()


def test_zero_fill_curve_of_a_linear_model_is_the_sum_of_what_is_left(subject):
    maps = exact(subject.model, subject.signals, subject.target)
    most, _ = removal_share(maps, lead_segment_cells(subject))
    curve = removal_curve(subject, most, "zero")
    bias = subject.model.head.bias.detach().numpy()[subject.target]
    expected = [(maps * (most > fraction + 1e-9)).sum(axis=(1, 2)) + bias for fraction in FRACTIONS]
    assert curve == pytest.approx(np.stack(expected, axis=1), abs=1e-4)
    assert (
        curve[:, 1:-1].min(axis=1) < curve[:, -1]
    ).all()  # what speaks for the target goes first


def test_no_order_of_the_cells_beats_the_exact_explanation(subject, reference):
    best = scores(subject, reference, exact)[NAME]
    noise = lambda _model, signals, _target: np.random.default_rng(1).normal(size=signals.shape)  # noqa: E731
    random = scores(subject, reference, noise)[NAME]
    assert (best.values > random.values + 0.5).all()
    assert (best.chance == 0).all()
    deletion = scores(subject, reference, exact)["deletion_cells_zero_signed"]
    assert (deletion.values > deletion.chance).all()


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_explanations_are_caught(subject, reference, name):
    right, broken = (
        scores(subject, reference, explain)[NAME].values.mean()
        for explain in (exact, BROKEN[name](exact))
    )
    assert broken < 0.35 * right


def test_a_flipped_sign_turns_the_area_round_exactly(subject, reference):
    right, flipped = (
        scores(subject, reference, explain)[NAME].values
        for explain in (exact, BROKEN["sign flipped"](exact))
    )
    assert flipped == pytest.approx(-right, abs=0.02)


def test_a_constant_map_is_no_better_than_random_orders(subject, reference):
    constant = scores(
        subject,
        reference,
        lambda _model, signals, _target: np.ones(signals.shape, dtype=np.float32),
    )
    for kind in PARTS:
        assert abs(constant[f"faithfulness_{kind}_zero_signed"].values.mean()) < 0.4


def test_random_reference_has_its_twenty_orders_and_starts_and_ends_as_all_curves_do(
    subject, reference
):
    whole = removal_curve(
        subject, removal_share(subject.signals, lead_segment_cells(subject))[0], "zero"
    )
    for name in ("cells_zero", "time_physiological"):
        assert reference[name].shape == (N_RANDOM, 8, len(FRACTIONS))
        assert reference[name][:, :, 0] == pytest.approx(
            np.broadcast_to(whole[:, 0], (N_RANDOM, 8)), abs=1e-5
        )
    ends = reference["cells_zero"][:, :, -1]
    assert ends == pytest.approx(np.broadcast_to(whole[:, -1], ends.shape), abs=1e-4)
    assert np.ptp(reference["cells_zero"][:, :, 6], axis=0).min() > 0


def test_area_by_hand():
    assert curve_area(np.ones((1, len(FRACTIONS)))) == pytest.approx([1])
    assert curve_area(FRACTIONS[None]) == pytest.approx([0.5])
