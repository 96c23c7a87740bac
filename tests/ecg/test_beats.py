"""Beat windows: which are complete, what they hold, and the group's median against plain NumPy."""

import numpy as np
import pytest

from ecg import beats
from ecg.beats import Beats, cut_beats, find_beats, group_beat, mean_beats, median_beats


@pytest.mark.parametrize(
    ("sampling_rate", "first", "last", "length"), [(100, -30, 49, 80), (500, -150, 249, 400)]
)
def test_window_is_300_ms_before_to_500_ms_after(sampling_rate, first, last, length):
    offsets = beats.window_offsets(sampling_rate)
    assert (offsets[0], offsets[-1], len(offsets)) == (first, last, length)
    times = beats.window_times(sampling_rate)
    assert times[0] == -300
    assert times[-1] == pytest.approx(500 - 1000 / sampling_rate)
    assert times[-first] == 0


def test_incomplete_windows_are_left_out_at_both_ends():
    found = find_beats([np.array([29, 30, 500, 950, 951])], n_samples=1000, sampling_rate=100)
    assert found.r_peak.tolist() == [30, 500, 950]


def test_span_leaves_out_what_was_not_explained():
    found = find_beats([np.array([400, 405, 500, 575, 576])], 1000, 100, span=(375, 625))
    assert found.r_peak.tolist() == [405, 500, 575]
    with pytest.raises(ValueError, match="span"):
        find_beats([np.array([400])], 1000, 100, span=(900, 1100))


def test_records_without_a_beat_keep_their_row():
    found = find_beats([np.array([100]), np.array([], dtype=int), np.array([200, 300])], 1000, 100)
    assert found.record.tolist() == [0, 2, 2]
    assert found.counts.tolist() == [1, 0, 2]
    assert find_beats([], 1000, 100).counts.tolist() == []


def test_cut_beats_holds_the_samples_around_the_peak_at_any_rate():
    for rate, length in ((100, 1000), (500, 5000)):
        signals = np.arange(2 * length * 3, dtype=np.float32).reshape(2, length, 3)
        found = find_beats([np.array([rate]), np.array([2 * rate, 5 * rate])], length, rate)
        cut = cut_beats(signals, found)
        for beat, (record, peak) in enumerate([(0, rate), (1, 2 * rate), (1, 5 * rate)]):
            np.testing.assert_array_equal(
                cut[beat], signals[record, peak - rate * 3 // 10 : peak + rate // 2]
            )


def test_cut_beats_refuses_a_stack_of_another_size():
    with pytest.raises(ValueError, match="belong to 1"):
        cut_beats(np.zeros((2, 1000, 12)), find_beats([np.array([100])], 1000, 100))


def test_mean_and_median_per_record_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(4, 1000, 12)).astype(np.float32)
    peaks = [
        np.array([100, 250, 400]),
        np.array([], dtype=int),
        np.array([500]),
        np.array([60, 940, 990]),
    ]
    found = find_beats(peaks, 1000, 100)
    means, medians = mean_beats(signals, found), median_beats(signals, found)
    for row, kept in enumerate([[100, 250, 400], [], [500], [60, 940]]):
        windows = [signals[row, peak - 30 : peak + 50] for peak in kept]
        if not windows:
            assert np.isnan(means[row]).all()
            assert np.isnan(medians[row]).all()
            continue
        np.testing.assert_allclose(means[row], np.mean(windows, axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(medians[row], np.median(windows, axis=0), rtol=1e-6)


def test_group_median_and_band_equal_plain_numpy():
    rng = np.random.default_rng(1)
    signals = rng.normal(size=(5, 1000, 12))
    peaks = [np.sort(rng.choice(np.arange(40, 940), 6, replace=False)) for _ in range(5)]
    windows = [signals[row, peak - 30 : peak + 50] for row in range(5) for peak in peaks[row]]
    median, low, high = group_beat(cut_beats(signals, find_beats(peaks, 1000, 100)))
    np.testing.assert_allclose(median, np.median(windows, axis=0))
    np.testing.assert_allclose(low, np.percentile(windows, 5, axis=0))
    np.testing.assert_allclose(high, np.percentile(windows, 95, axis=0))
    with pytest.raises(ValueError, match="without a beat"):
        group_beat(np.empty((0, 80, 12)))


def test_of_records_renumbers_the_rows():
    found = find_beats([np.array([100]), np.array([200, 300]), np.array([400])], 1000, 100)
    kept = found.of_records(np.array([False, True, True]))
    assert kept.record.tolist() == [0, 0, 1]
    assert kept.r_peak.tolist() == [200, 300, 400]
    assert kept.n_records == 2


def test_a_shifted_record_gives_the_same_beats():
    """What is aligned on the peak does not depend on where in the record the beat lies."""
    rng = np.random.default_rng(2)
    beat = rng.normal(size=(80, 12))
    signals = np.zeros((2, 1000, 12))
    signals[0, 70:150], signals[1, 470:550] = beat, beat
    aligned = cut_beats(signals, Beats(np.array([0, 1]), np.array([100, 500]), 2, 100))
    np.testing.assert_array_equal(aligned[0], aligned[1])
