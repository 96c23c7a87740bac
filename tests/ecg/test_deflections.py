import numpy as np
import pytest

from ecg.median_beat import CENTRE, RATE, WIDTH
from ecg.waves import QRS_WAVES, deflections

ON, OFF = CENTRE - 25, CENTRE + 25  # 100 ms


def beat(*waves, st=0.0):
    """A beat (1, 12, WIDTH) with the same half-sine waves (height mV, ms) one after the other in
    each lead, then an ST level.
    """
    values = np.zeros(WIDTH)
    at = ON
    for height, duration in waves:
        width = round(duration * RATE / 1000)
        values[at : at + width] = height * np.sin(np.pi * (np.arange(width) + 0.5) / width)
        at += width
    rise = min(at, OFF)
    values[rise:OFF] = st * np.arange(OFF - rise) / max(OFF - rise, 1)
    values[OFF:] = st
    return np.broadcast_to(values, (1, 12, WIDTH)).copy()


def measured(signal, onset=ON, offset=OFF):
    found = deflections(signal, np.array([float(onset)]), np.array([float(offset)]))
    return {wave: round(float(found.amplitude[wave][0, 0]), 3) for wave in QRS_WAVES}, found


@pytest.mark.parametrize(
    ("waves", "expected"),
    [
        ([(1.0, 60)], {"R": 1.0}),
        ([(-0.2, 20), (1.0, 40), (-0.4, 40)], {"Q": -0.2, "R": 1.0, "S": -0.4}),
        ([(-0.9, 90)], {"Q": -0.9}),  # QS
        ([(0.3, 20), (-0.5, 30), (0.7, 40)], {"R": 0.3, "S": -0.5, "Rp": 0.7}),
        (
            [(0.3, 20), (-0.5, 20), (0.7, 30), (-0.2, 20)],
            {"R": 0.3, "S": -0.5, "Rp": 0.7, "Sp": -0.2},
        ),
    ],
)
def test_shapes(waves, expected):
    amplitude, found = measured(beat(*waves))
    for wave in QRS_WAVES:
        assert amplitude[wave] == pytest.approx(expected.get(wave, 0.0), abs=0.01)
        assert np.isnan(found.peak[wave][0, 0]) == (wave not in expected)
        assert (found.duration[wave][0, 0] > 0) == (wave in expected)


def test_durations_and_peaks_are_where_they_were_put():
    _, found = measured(beat((-0.2, 20), (1.0, 40), (-0.4, 40)))
    assert [found.duration[wave][0, 0] for wave in "QRS"] == pytest.approx([20, 40, 40], abs=2)
    assert [found.peak[wave][0, 0] - ON for wave in "QRS"] == pytest.approx([5, 20, 40], abs=1)


def test_noise_is_no_wave():
    assert measured(beat((0.015, 20), (-0.9, 60)))[0]["Q"] == pytest.approx(
        -0.9, abs=0.005
    )  # too low
    assert measured(beat((0.05, 6), (-0.9, 60)))[0]["R"] == 0  # too short
    assert measured(beat((0.06, 14), (-0.9, 60)))[0]["R"] == pytest.approx(0.06, abs=0.005)


def test_a_dropped_wave_joins_its_neighbours():
    amplitude, found = measured(beat((0.5, 30), (-0.012, 6), (0.8, 30)))
    assert amplitude["R"] == pytest.approx(0.8, abs=0.005)
    assert amplitude["Rp"] == 0
    assert found.duration["R"][0, 0] == pytest.approx(60, abs=4)


def test_raised_and_lowered_st_are_no_waves():
    assert measured(beat((1.2, 60), st=-0.15))[0]["S"] == 0
    assert measured(beat((-1.2, 60), st=0.2))[0]["R"] == pytest.approx(
        0.2, abs=0.02
    )  # known limit: after a Q it is taken for R
    assert measured(beat((0.2, 20), (-1.2, 50), st=0.2))[0]["Rp"] == 0
    assert measured(beat((1.2, 50), (-0.5, 40), st=-0.05))[0]["S"] == pytest.approx(-0.5, abs=0.01)


def test_ringing_before_a_steep_r_is_no_r():
    assert measured(beat((0.08, 10), (-0.15, 14), (1.8, 50)))[0]["R"] == pytest.approx(
        1.8, abs=0.01
    )
    assert measured(beat((0.30, 10), (-0.15, 14), (1.8, 50)))[0]["Rp"] == pytest.approx(
        1.8, abs=0.01
    )


def test_leads_and_records_are_independent():
    one, other = beat((1.0, 60)), beat((-0.2, 20), (0.5, 40), (-0.4, 30))
    both = np.concatenate([one, other])
    both[0, 5] = other[0, 0]
    found = deflections(both, np.full(2, float(ON)), np.full(2, float(OFF)))
    assert found.amplitude["R"][0, 5] == found.amplitude["R"][1, 0]
    assert found.amplitude["R"][0, 4] == pytest.approx(1.0, abs=0.005)


def test_only_between_onset_and_offset():
    signal = beat((1.0, 60))
    signal[..., OFF + 20 : OFF + 40] = 5.0
    assert measured(signal)[0]["R"] == pytest.approx(1.0, abs=0.005)


def test_blank_where_there_is_no_beat():
    found = deflections(np.full((1, 12, WIDTH), np.nan), np.array([np.nan]), np.array([np.nan]))
    assert all(
        np.isnan(found.amplitude[wave]).all() and np.isnan(found.peak[wave]).all()
        for wave in QRS_WAVES
    )


def test_runs_against_a_slow_count():
    """The number of each sample's deflection, by walking along it."""
    from ecg.waves import _runs

    signs = np.random.default_rng(0).integers(-1, 2, (50, 12, 30)).astype(np.int8)
    signs[..., 0] = 0  # a QRS begins after the first sample looked at
    found = _runs(signs.astype(float))
    expected = []
    for lane, samples in enumerate(signs.reshape(-1, 30)):
        number, state = 0, 0
        for sign in samples:
            if sign and sign != state:
                number += 1 if state or sign > 0 else 0
                state = sign
                expected.append((lane, sign, number))
    numbers = zip(found.lane, found.sign, found.number, strict=True)
    assert list(numbers) == expected
