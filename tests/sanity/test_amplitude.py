"""Amplitude checks: perfect, constant and shuffled maps have known scores; the fit
against sklearn.
"""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from sanity.amplitude import (
    amplitude_fit,
    beat_curves,
    energy_share,
    lead_specificity,
    measure_amplitude,
    noise_lead_chance,
    window_masks,
)
from small_subjects import Linear, make_subject


@pytest.fixture(scope="module")
def subject():
    model = Linear(n_outputs=12, length=160)
    model.info.task = "T_Wave_Amplitude"
    return make_subject(model, n=4, length=160)


def oracle(subject):
    """All relevance on the T wave of the lead that is asked for."""
    wave = window_masks(subject.segments)["T"]

    def explain(_model, signals, target):
        maps = np.zeros(signals.shape)
        for row, lead in enumerate(target):
            maps[row, :, lead] = wave[row, :, lead]
        return maps

    return explain


def scores(subject, explain):
    return {
        one.check: (one.values.mean(), one.chance.mean())
        for one in measure_amplitude(subject, None, explain)
    }


def test_an_oracle_scores_one(subject):
    found = scores(subject, oracle(subject))
    for check in ("amplitude_lead", "amplitude_time", "amplitude_cell", "amplitude_lead_V3"):
        assert found[check][0] == pytest.approx(1)
    assert found["amplitude_window_T"][0] == pytest.approx(1)
    assert found["amplitude_window_QRS"][0] == 0


@pytest.mark.parametrize("value", [1.0, 0.0])
def test_a_constant_or_empty_map_scores_exactly_its_chance(subject, value):
    found = scores(subject, lambda _model, signals, _target: np.full(signals.shape, value))
    for check in ("amplitude_time", "amplitude_cell", "amplitude_window_P"):
        assert found[check][0] == pytest.approx(found[check][1])
    assert found["amplitude_lead"][0] == pytest.approx(12**-0.5)
    assert found["amplitude_lead"][1] == pytest.approx(12**-0.5, abs=0.002)  # computed from noise


def test_chance_agrees_with_noise(subject):
    rng = np.random.default_rng(3)
    found = scores(subject, lambda _model, signals, _target: rng.normal(size=signals.shape))
    for check in ("amplitude_lead", "amplitude_time", "amplitude_cell"):
        assert found[check][0] == pytest.approx(found[check][1], abs=0.02)


def test_shuffled_leads_and_wrong_targets_are_caught(subject):
    right = oracle(subject)
    shuffled = scores(
        subject, lambda model, signals, target: np.roll(right(model, signals, target), 5, axis=2)
    )
    wrong = scores(
        subject, lambda model, signals, target: right(model, signals, (np.asarray(target) + 1) % 12)
    )
    for broken in (shuffled, wrong):
        assert broken["amplitude_lead"][0] == 0
        assert broken["amplitude_cell"][0] == 0
    assert shuffled["amplitude_time"][0] == pytest.approx(1)  # time alone does not see it


def test_lead_specificity_by_hand():
    maps = np.zeros((1, 3, 12))
    maps[0, 0, 2], maps[0, 1, 5] = 3, -4
    assert lead_specificity(maps, 2) == pytest.approx([0.6])
    assert lead_specificity(maps, 5) == pytest.approx([0.8])
    assert lead_specificity(maps, 0) == pytest.approx([0])


def test_energy_share_without_the_wave_is_undefined():
    assert np.isnan(energy_share(np.ones((1, 5, 12)), np.zeros((1, 5, 12)))).all()


def test_curve_of_a_map_that_is_an_impulse_at_the_r_peak(subject):
    maps = np.zeros(subject.signals.shape)
    maps[:, [40, 80], 3] = 2
    curves = beat_curves(maps, subject)
    assert curves.shape == (4, 80)
    # the first window also holds the second peak, 40 samples later: the mean beat is 2 at R and 1
    # there
    assert curves[:, 30] == pytest.approx(2 / 5**0.5)
    assert curves[:, 70] == pytest.approx(1 / 5**0.5)
    assert (curves**2).sum(axis=1) == pytest.approx(np.ones(4))
    assert beat_curves(np.zeros(maps.shape), subject) == pytest.approx(np.full((4, 80), 80**-0.5))


def test_records_without_a_complete_beat_have_no_curve(subject):
    from dataclasses import replace

    assert np.isnan(
        beat_curves(np.ones(subject.signals.shape), replace(subject, r_peaks=[np.array([5])] * 4))
    ).all()


def test_fit_equals_sklearn_and_widens_with_fewer_patients():
    rng = np.random.default_rng(0)
    measured = rng.normal(size=(60, 12))
    predicted = measured + 0.3 * rng.normal(size=(60, 12))
    table = amplitude_fit("m", "T_Wave_Amplitude", predicted, measured, np.arange(60)).set_index(
        "check"
    )
    assert table.loc["amplitude_r2", "value"] == pytest.approx(
        r2_score(measured.ravel(), predicted.ravel())
    )
    assert table.loc["amplitude_mae_mV", "value"] == pytest.approx(
        mean_absolute_error(measured, predicted)
    )
    assert (
        table.loc["amplitude_r2", "low"]
        < table.loc["amplitude_r2", "value"]
        < table.loc["amplitude_r2", "high"]
    )
    few = amplitude_fit(
        "m", "T_Wave_Amplitude", predicted, measured, np.arange(60) // 10
    ).set_index("check")
    assert (few["high"] - few["low"]).notna().all()
    assert table.loc["amplitude_mae_mV", "chance"] == pytest.approx(
        np.abs(measured - measured.mean()).mean()
    )


def test_chance_of_the_lead_score_is_that_of_noise():
    assert noise_lead_chance((1, 250, 12)) == pytest.approx(12**-0.5, abs=0.001)
