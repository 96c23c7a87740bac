import numpy as np
import pytest

import ecg
from ecg import rpeaks
from known_ecg import detect_all, known_ecg, regular


def positions(signal, sampling_rate):
    """R-peaks in ms."""
    return ecg.detect_r_peaks(signal, sampling_rate) * 1000 / sampling_rate


@pytest.mark.parametrize("sampling_rate", [100, 250, 500, 1000])
@pytest.mark.parametrize("rate", [35, 70, 180])
def test_every_beat_is_found_where_it_is(sampling_rate, rate):
    truth = regular(rate)
    found = positions(
        known_ecg(truth, sampling_rate, noise=0.01, without="PT" if rate == 180 else ""),
        sampling_rate,
    )
    assert len(found) == len(truth)
    assert np.abs(found - truth).max() <= 15


def test_irregular_rhythm_and_both_polarities():
    truth = 400 + np.cumsum(np.random.default_rng(1).uniform(450, 1100, 10))
    signal = known_ecg(truth, seconds=12)
    assert np.abs(positions(signal, 100) - truth).max() <= 15
    assert len(positions(-signal, 100)) == len(truth)


def test_wandering_baseline_mains_and_muscle_noise_do_not_add_beats():
    truth = regular(65)
    time = np.arange(5000) / 500
    wander = 1.5 * np.sin(2 * np.pi * 0.25 * time) + 0.1 * np.sin(2 * np.pi * 50 * time)
    signal = known_ecg(truth, 500, noise=0.05) + wander[:, None]
    assert np.abs(positions(signal, 500) - truth).max() <= 20


def test_large_t_waves_are_no_beats():
    truth = regular(60)
    assert len(positions(known_ecg(truth, scale={"T": 3.0}), 100)) == len(truth)


def test_one_good_lead_is_enough():
    signal = known_ecg(regular(75))
    signal[:, 1:] = 0.0
    assert len(positions(signal, 100)) == len(regular(75))


@pytest.mark.parametrize(
    "signal",
    [
        np.zeros((1000, 12)),
        np.full((1000, 12), 3.0),
        np.full((1000, 12), np.nan),
        np.zeros((30, 12)),
        np.zeros((1, 12)),
    ],
)
def test_nothing_beats(signal):
    found = ecg.detect_r_peaks(signal, 100)
    assert found.shape == (0,)
    assert found.dtype.kind == "i"


def test_missing_samples_do_not_spoil_the_record():
    truth = regular(70)
    signal = known_ecg(truth)
    signal[300:310, 3] = np.nan
    assert len(positions(signal, 100)) == len(truth)


def test_peaks_lie_within_the_record_and_rise():
    signal = known_ecg([5, 900, 1800, 2990], seconds=3)
    found = ecg.detect_r_peaks(signal, 100)
    assert found.min() >= 0
    assert found.max() < 300
    assert (np.diff(found) > 0).all()


def test_records_do_not_influence_each_other():
    signals = np.stack(
        [known_ecg(regular(60)), np.zeros((1000, 12)), 5 * known_ecg(regular(110), noise=0.02)]
    )
    together = detect_all(signals, 100)
    for signal, found in zip(signals, together, strict=True):
        assert np.array_equal(detect_all(signal[None], 100)[0], found)


@pytest.mark.parametrize(
    ("before", "after"), [(100, 500), (500, 100), (250, 500), (300, 500), (1000, 500)]
)
def test_resampling_keeps_a_band_limited_wave(before, after):
    def wave(rate):
        time = np.arange(int(4 * rate)) / rate
        return np.sin(2 * np.pi * 7 * time) + 0.5 * np.cos(2 * np.pi * 15 * time)

    resampled = rpeaks.at_rate(wave(before)[None], before, after)[0]
    inner = slice(after // 2, -after // 2)  # the ends are continued by reflection, not known
    assert resampled.shape == wave(after).shape
    assert np.abs(resampled - wave(after))[inner].max() < 0.01


@pytest.mark.parametrize("n_samples", [1, 2, 7, 333, 1003])
def test_resampling_any_length(n_samples):
    up = rpeaks.at_rate(np.ones((2, n_samples)), 100, 500)
    assert up.shape == (2, 5 * n_samples)
    assert np.allclose(up, 1)
    assert rpeaks.at_rate(np.ones((2, n_samples)), 500, 100).shape == (2, -(-n_samples // 5))


def test_published_r_peaks(ptbxl, ptbxl_reference):
    """On 100 real records: every bar of the whole set is printed by
    tests/benchmarks/bench_ecg.py.
    """
    import pandas as pd

    from records.dataset import parse_r_peaks
    from records.wfdb_files import read_records

    table = pd.read_csv(ptbxl / "ptbxl_database.csv").iloc[::15]
    signals = read_records(
        ptbxl, table["filename_lr"], table["ecg_id"], 100, progress=False
    ).signals
    published = (
        pd.read_csv(ptbxl_reference / "r_peaks.csv")
        .set_index("ecg_id")["r_peaks"]
        .reindex(table["ecg_id"])
    )
    hits = false = missed = 0
    for text, found in zip(
        published, ecg.measure_all(signals, 100, progress=False)["r_peaks"], strict=True
    ):
        truth, found = parse_r_peaks(text), parse_r_peaks(found)
        near = np.abs(found[:, None] - truth) <= 5
        hits += near.any(axis=0).sum()
        missed += (~near.any(axis=0)).sum()
        false += (~near.any(axis=1) & (found >= 31) & (found <= 949)).sum()
    assert 2 * hits / (2 * hits + false + missed) >= 0.985


def test_a_tall_t_is_no_beat():
    beats = regular(70)
    signal = known_ecg(beats, scale={"T": 4.0}, noise=0.01)
    found = detect_all(signal[None], 100)[0]
    assert len(found) == len(beats)
    assert np.abs(found * 10 - beats).max() <= 40


@pytest.mark.parametrize("rate", [100, 500])
@pytest.mark.parametrize("ahead", [500, 170])  # ms before a beat: in between, and in its way
def test_a_lead_that_jumps_is_no_beat_and_hides_none(rate, ahead):
    """A loose chest electrode: many times a beat's height, in one lead alone."""
    beats = regular(65)
    signal = known_ecg(beats, rate, noise=0.01)
    for beat in beats[3:6]:
        start = round((beat - ahead) * rate / 1000)
        signal[start : start + rate // 20, 7] += 6.0
    found = positions(signal, rate)
    assert len(found) == len(beats)
    assert np.abs(found - beats).max() <= 20
