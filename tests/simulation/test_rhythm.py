"""Rhythm, rendering and noise of single records."""

import numpy as np
import pytest

from simulation.cohort import make_hearts, make_plan, severity_column
from simulation.rhythm import make_rhythm, noise, render, render_clean


@pytest.fixture(scope="module")
def plan():
    plan = make_plan(40, 21)
    return plan.assign(
        **{
            column: 0.0
            for column in plan
            if column.startswith(("severity_", "borderline_", "decoy_"))
        }
    )


def planted(plan, name, severity=1.0):
    return make_hearts(plan.assign(**{severity_column(name): severity}))


def rhythms(hearts, n=40):
    return [make_rhythm(hearts, row, 21, row + 1) for row in range(n)]


def variation(rhythm):
    gaps = np.diff(rhythm.time[~rhythm.ectopic])
    return gaps.std() / gaps.mean()


def test_sinus_rhythm_is_regular_and_fibrillation_is_not(plan):
    sinus, fibrillation = (
        np.array([variation(one) for one in rhythms(planted(plan, name))])
        for name in ("NORM", "AFIB")
    )
    assert np.median(sinus) < 0.05
    assert (fibrillation > 0.08).mean() > 0.95


def test_beats_cover_the_record_at_the_rate_asked_for(plan):
    hearts = planted(plan, "STACH")
    for row, rhythm in enumerate(rhythms(hearts)):
        inside = (rhythm.time >= 0) & (rhythm.time < 10_000)
        assert abs(inside.sum() - 10_000 / hearts.rr[row]) <= 1.6
        assert rhythm.time[0] < 0, "a record may begin within a beat"
        assert rhythm.time[-1] > 9_000


def test_premature_beats_come_early_and_are_followed_by_a_pause(plan):
    hearts = planted(plan, "PVC")
    for row, rhythm in enumerate(rhythms(hearts)):
        early = np.flatnonzero(rhythm.ectopic)
        assert 1 <= len(early) <= 3
        assert (np.diff(early) > 1).all()
        gaps = np.diff(rhythm.time)
        assert (gaps[early - 1] < 0.75 * hearts.rr[row]).all()
        assert (gaps[early] > 1.25 * hearts.rr[row]).all()


def test_at_least_one_premature_beat_lies_within_the_record(plan):
    for name in ("NORM", "STACH", "SBRAD"):
        row = plan.assign(**{severity_column(name): 1.2, severity_column("PVC"): 0.6})
        for rhythm in rhythms(make_hearts(row)):
            assert ((rhythm.time > 0) & (rhythm.time < 10_000) & rhythm.ectopic).any(), name


def test_100_hz_is_the_same_heart_as_500_hz(plan):
    hearts = make_hearts(plan)
    rhythm = make_rhythm(hearts, 0, 21, 1)
    slow, fast = (render_clean(hearts, 0, rhythm, 21, 1, rate) for rate in (100, 500))
    assert slow.shape == (1000, 8)
    assert fast.shape == (5000, 8)
    np.testing.assert_allclose(slow, fast[::5], atol=1e-4)


def test_noise_has_the_sizes_of_real_records():
    records = np.stack([noise(3, number, 100) for number in range(150)])
    muscle = np.diff(records, n=2, axis=1).std(axis=1) / np.sqrt(
        6
    )  # of white noise, what differences leave
    limb, chest = np.median(muscle[:, :2]), np.median(muscle[:, 2:])
    assert 0.002 < limb < 0.007, "real: .001-.012 mV (10-90 %)"
    assert 0.001 < chest < 0.003, "real: .001-.004 mV"
    assert 0.02 < np.median(records.std(axis=1)) < 0.08, "baseline, real: .02-.13 mV"


def test_mains_is_there_at_500_hz_alone():
    spectrum = np.mean(
        [np.abs(np.fft.rfft(noise(3, number, 500), axis=0)) for number in range(20)], axis=0
    )
    assert spectrum[500].mean() > 2 * spectrum[[480, 490, 510, 520]].mean()  # bins of .1 Hz


def test_a_record_is_drawn_from_seed_and_id_alone(plan):
    hearts, part = make_hearts(plan), make_hearts(plan.iloc[[5]])
    one, _ = render(hearts, 5, 21, 6, 100)
    np.testing.assert_array_equal(one, render(part, 0, 21, 6, 100)[0])
    assert not np.array_equal(one, render(hearts, 5, 22, 6, 100)[0])
