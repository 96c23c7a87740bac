"""Waves, leads and normal hearts."""

import numpy as np
import pytest

from common.labels import LEADS
from simulation.heart import (
    GROUPS,
    INDEPENDENT,
    N_BODY,
    WAVES,
    Beat,
    digitise,
    normal_beat,
    reflect,
    sizes,
    sum_of_waves,
    template_shapes,
    twelve_leads,
    typical_amplitude,
    with_sizes,
)

RANDOM = np.random.default_rng(5)


def lead(signal, name):
    return signal[..., LEADS.index(name)]


def test_limb_leads_follow_einthoven_and_goldberger_by_their_textbook_definitions():
    right, left, foot = RANDOM.normal(size=(3, 50))  # potentials of the electrodes
    independent = np.zeros((50, 8))
    independent[:, 0], independent[:, 1] = left - right, foot - right
    independent[:, 2:] = RANDOM.normal(size=(50, 6))
    leads = twelve_leads(independent)
    for name, expected in {
        "I": left - right,
        "II": foot - right,
        "III": foot - left,
        "aVR": right - (left + foot) / 2,
        "aVL": left - (right + foot) / 2,
        "aVF": foot - (right + left) / 2,
    }.items():
        np.testing.assert_allclose(lead(leads, name), expected, atol=1e-12)
    np.testing.assert_array_equal(leads[:, 6:], independent[:, 2:])


def test_digitised_leads_agree_to_one_microvolt():
    whole = digitise(RANDOM.normal(size=(4000, 8))).astype(float)
    i, ii, iii, avr, avl, avf = whole[:, :6].T
    assert np.abs(i + iii - ii).max() == 0
    assert np.abs(avr + (i + ii) / 2).max() <= 0.5
    assert np.abs(avl - (i - iii) / 2).max() <= 0.5
    assert np.abs(avf - (ii + iii) / 2).max() <= 0.5


def test_digitise_clips_what_int16_cannot_hold():
    assert np.abs(digitise(np.full((1, 8), [1e3, -1e3] * 4)).astype(int)).max() <= 32767


def test_reflect_mirrors_at_its_bounds():
    np.testing.assert_allclose(reflect(np.array([-1.0, 0.5, 3.0]), 0, 2), [1.0, 0.5, 1.0])
    np.testing.assert_allclose(reflect(np.array([-1.0, 3.0])), [-1.0, 3.0])


@pytest.fixture(scope="module")
def normals():
    n = 400
    body, rest = (
        RANDOM.standard_normal((n, N_BODY)),
        RANDOM.standard_normal((n, len(WAVES), len(INDEPENDENT))),
    )
    return normal_beat(body, rest, np.full(n, 50.0), np.tile([0.0, 1.0], n // 2))


def test_sizes_scale_groups_of_waves_alone(normals):
    amplitude = normals[0].amplitude[:3]
    wanted = sizes(amplitude) * [1.0, 2.0, 1.0]
    changed = with_sizes(amplitude, wanted)
    ventricular = np.isin(WAVES, GROUPS["QRS"])
    np.testing.assert_allclose(changed[:, ventricular], 2 * amplitude[:, ventricular])
    np.testing.assert_allclose(changed[:, ~ventricular], amplitude[:, ~ventricular])


def test_a_typical_heart_reads_like_a_textbook(normals):
    shape = typical_amplitude()[None]
    beat = Beat(shape, *(np.array([value]) for value in (155.0, 245.0, 1.0, 1.0)))
    time, shapes = template_shapes(beat)
    signal = sum_of_waves(beat, shapes)
    at_r = signal[0, np.abs(time).argmin()]
    assert lead(at_r, "II") > lead(at_r, "III")
    assert lead(at_r, "aVR") < -0.5, "aVR is negative in a normal heart"
    assert lead(at_r, "V1") < -0.3
    assert 0.8 < lead(at_r, "V5") < 1.8
    p, t = (np.abs(time - when).argmin() for when in (beat.p[0], 245.0))
    assert 0.04 < lead(signal[0, p], "II") < 0.2
    assert 0.1 < lead(signal[0, t], "V4") < 0.8


def test_normal_hearts_keep_to_normal_times(normals):
    beat, rr = normals
    assert ((rr >= 600) & (rr <= 1080)).all()
    assert ((beat.pr >= 118) & (beat.pr <= 186)).all()
    assert np.median(beat.amplitude[1::2]) != np.median(beat.amplitude[::2]), "women and men differ"


def test_women_have_smaller_qrs_as_in_the_fitted_records(normals):
    qrs = sizes(normals[0].amplitude)[:, list(GROUPS).index("QRS")]
    assert np.median(qrs[1::2]) < 0.95 * np.median(qrs[::2])


def test_wider_hearts_have_wider_qrs(normals):
    one = normals[0].amplitude[:1]

    def duration(width):
        beat = Beat(one, *(np.array([value]) for value in (155.0, 260.0, width, 1.0)))
        time, shapes = template_shapes(beat)
        signal = sum_of_waves(beat, shapes, GROUPS["QRS"])
        strong = np.abs(signal[0]).max(axis=1) > 0.05 * np.abs(signal).max()
        return np.ptp(time[strong])

    assert duration(1.6) == pytest.approx(1.6 * duration(1.0), rel=0.05)
