import numpy as np
import pytest

from ecg import rpeaks
from ecg.analysis import analyse
from ecg.fiducials import first_true, last_true, ms_to_samples
from ecg.median_beat import CENTRE, RATE
from known_ecg import WAVES, known_ecg, regular


def found_in(signal, sampling_rate=100):
    """Fiducials in ms from R, of the first record."""
    found = analyse(signal[None], sampling_rate)
    r = CENTRE + found.beats.r_shift[0]
    return {name: (value[0] - r) * 1000 / RATE for name, value in vars(found.fiducials).items()}


@pytest.mark.parametrize("sampling_rate", [100, 500])
@pytest.mark.parametrize("rate", [50, 75, 95])
def test_waves_are_found_where_they_are(sampling_rate, rate):
    at = found_in(known_ecg(regular(rate), sampling_rate, noise=0.005), sampling_rate)
    for wave in "PT":
        delay, width, _ = WAVES[wave]
        reach = width * np.sqrt(-2 * np.log(0.1))  # where a Gaussian has fallen to a tenth
        assert at[f"{wave}_peak"] == pytest.approx(delay, abs=10)
        assert at[f"{wave}_off"] == pytest.approx(delay + reach, abs=20)
        assert at[f"{wave}_on"] == pytest.approx(delay - reach, abs=20)
    assert at["QRS_on"] == pytest.approx(-46, abs=10)
    assert at["QRS_off"] == pytest.approx(60, abs=12)


def test_they_are_in_order():
    at = found_in(known_ecg(regular(80), noise=0.01))
    assert at.pop("measured_from") == at["QRS_on"]
    assert list(at) == ["P_on", "P_peak", "P_off", "QRS_on", "QRS_off", "T_on", "T_peak", "T_off"]
    assert list(at.values()) == sorted(at.values())


def test_no_p_no_fiducials_of_p():
    at = found_in(known_ecg(regular(75), without="P", noise=0.005))
    assert all(np.isnan(at[name]) for name in ("P_on", "P_peak", "P_off"))
    assert np.isfinite(at["QRS_on"])


def test_fibrillation_waves_are_no_p():
    """Irregular beats over a 6 Hz tremor: whatever the median leaves of it differs from beat to
    beat.
    """
    times = 400 + np.cumsum(np.random.default_rng(5).uniform(450, 1000, 12))
    signal = known_ecg(times, without="P", noise=0.01)
    signal += 0.1 * np.sin(2 * np.pi * 6 * np.arange(1000) / 100)[:, None]
    assert np.isnan(found_in(signal)["P_peak"])


def test_a_long_pr_interval_is_found():
    shifted = {**WAVES, "P": (-290, 20, WAVES["P"][2])}
    signal = known_ecg(regular(60), without="P") + sum_of_p(shifted["P"], regular(60))
    assert found_in(signal)["P_peak"] == pytest.approx(-290, abs=12)


def sum_of_p(wave, times):
    delay, width, _ = wave
    time = np.arange(1000) * 10.0
    shape = sum(np.exp(-0.5 * ((time - at - delay) / width) ** 2) for at in times)
    one = known_ecg([500], without="QRST", seconds=1)  # the leads' proportions of P
    return shape[:, None] * one[34] / np.abs(one[34]).max() * 0.15


@pytest.mark.parametrize("rate", [100, 250, 500])
def test_qrs_of_paced_beats_begins_after_the_spike(rate):
    """Spikes of 2 ms that a recorder's filter has made 20 ms wide at 100 Hz, before a wide QRS."""
    beats = regular(70)
    signal = known_ecg([(at, "PVC") for at in beats], 500, noise=0.002, without="P")
    for at in beats:
        signal[round((at - 90) / 2)] += 3.0
    fine = np.ascontiguousarray(signal.T)
    signal = np.ascontiguousarray(rpeaks.at_rate(fine, 500, rate).T)
    found = analyse(signal[None], rate)
    assert found.beats.dominant.sum() == len(beats)
    at = found.fiducials
    centres = found.beats.centres[0] * 1000 / RATE
    onset = centres + (at.QRS_on[0] - CENTRE) * 1000 / RATE - beats
    assert (np.abs(onset - -60) <= 12).all()
    begins = centres + (at.measured_from[0] - CENTRE) * 1000 / RATE - beats
    assert (begins < -85).all() if rate < 500 else (begins == onset).all()


def test_wider_qrs_measures_wider():
    narrow = known_ecg(regular(60))
    wide = known_ecg([(at, "PVC") for at in regular(60)])
    width = [found["QRS_off"] - found["QRS_on"] for found in map(found_in, (narrow, wide))]
    assert width[1] > 1.5 * width[0]


def test_blank_without_beats():
    assert all(np.isnan(value) for value in found_in(np.zeros((1000, 12))).values())


def test_first_and_last():
    rows = np.array([[False, True, False, True], [False] * 4])
    assert first_true(rows, 9).tolist() == [1, 9]
    assert last_true(rows, 9).tolist() == [3, 9]
    assert ms_to_samples(10) == 5
