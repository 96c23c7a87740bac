"""Dose-response: closed forms on a linear model, and which broken explanations it catches."""

import numpy as np
import pytest

from attribution.cells import cell_maps
from common.labels import LEADS
from sanity.dose_response import (
    DOSED,
    DOSES,
    SMALLEST,
    dose_reference,
    dose_table,
    measure_dose_response,
    per_millivolt,
    slopes,
    wave_amplitudes,
    wave_masks,
)
from small_subjects import BROKEN, exact, gradient, make_subject

NAME = "dose_percent_signed"


@pytest.fixture(scope="module")
def subject():
    return make_subject(n=8)


@pytest.fixture(scope="module")
def reference(subject):
    return dose_reference(subject)


def score(subject, reference, explain, name=NAME):
    maps = explain(subject.model, subject.signals, subject.target)
    found = {
        measured.check: measured
        for measured in measure_dose_response(subject, maps, explain, reference)
    }
    return found[name].values.mean(), found[name].chance.mean()


def test_the_slope_of_a_linear_model_is_the_sum_of_input_times_weight_over_the_wave(subject):
    maps = exact(subject.model, subject.signals, subject.target)
    expected = cell_maps(maps, wave_masks(subject.segments), np.arange(len(maps))).signed
    found = slopes(subject, einthoven=False)
    known = np.isfinite(found)
    assert known.mean() > 0.9
    assert found[known] == pytest.approx(expected[known], abs=2e-5)


def test_einthoven_adds_the_other_limb_leads_and_leaves_chest_leads_alone(subject, reference):
    chest = slice(6, 12)
    assert reference["einthoven"][:, chest] == pytest.approx(
        reference["alone"][:, chest], nan_ok=True
    )
    # lead I: II follows by 1/2, III by -1/2, aVR by -3/4, aVL by 3/4, aVF not at all
    weight = gradient(subject.model, subject.signals, subject.target)
    follows = np.array([1, 0.5, -0.5, -0.75, 0.75, 0])
    mask = wave_masks(subject.segments)[:, :, 0, 2]
    expected = np.einsum("nt,nt,nt->n", mask, subject.signals[..., 0], weight[..., :6] @ follows)
    assert reference["einthoven"][:, 0, 2] == pytest.approx(expected, abs=2e-5)


def test_the_exact_explanation_scores_one_and_noise_its_chance(subject, reference):
    value, chance = score(subject, reference, exact)
    assert value == pytest.approx(1, abs=0.001)
    assert abs(chance) < 0.15
    noise = lambda model, signals, target: np.random.default_rng(0).normal(size=signals.shape)  # noqa: E731
    assert abs(score(subject, reference, noise)[0]) < 0.25


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_explanations_are_caught(subject, reference, name):
    assert score(subject, reference, BROKEN[name](exact))[0] < 0.3


def test_small_waves_have_no_slope(subject):
    from dataclasses import replace

    quiet = subject.signals.copy()
    quiet[:, :, 7] *= 1e-3
    found = slopes(replace(subject, signals=quiet), einthoven=False)
    assert np.isnan(found[:, 7]).all()
    assert SMALLEST < 0.05


def test_per_millivolt_by_hand():
    assert per_millivolt(np.array([2.0]), np.array([0.5])) == pytest.approx([0.4])
    assert np.isnan(per_millivolt(np.array([2.0]), np.array([0.01])))


def test_table_states_logit_per_tenth_of_a_millivolt(subject, reference):
    table = dose_table(subject, reference).set_index(["pathology", "lead", "wave"])
    rows = subject.target == 1
    expected = per_millivolt(reference["einthoven"], reference["amplitude"])[
        rows, LEADS.index("V5"), list(DOSED).index("R")
    ]
    cell = table.loc[("C1", "V5", "R")]
    assert cell["per_0.1mV"] == pytest.approx(np.nanmean(expected))
    assert np.isnan([cell["low"], cell["high"]]).all()  # of three patients: no interval
    assert cell["n"] == np.isfinite(expected).sum()


def test_masks_do_not_overlap_and_amplitude_is_the_peak(subject):
    masks = wave_masks(subject.segments)
    assert masks.sum(axis=-1).max() <= 1 + 1e-6
    amplitudes = wave_amplitudes(subject, masks)
    inside = masks[0, :, 4, 2] > 0
    assert amplitudes[0, 4, 2] == pytest.approx(np.abs(subject.signals[0, inside, 4]).max())
    assert DOSES.mean() == 1
