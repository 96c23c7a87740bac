import numpy as np
import pytest

from common.labels import LEADS
from ecg import median_beat
from ecg.analysis import analyse
from ecg.median_beat import CENTRE, RATE, WIDTH
from known_ecg import WAVES, known_ecg, regular


def beats_of(*records):
    return analyse(np.stack(records), 100).beats


def test_beats_at_any_phase_give_back_the_height_between_samples():
    """R at 100 Hz falls between samples; aligned at 2 ms and interpolated, the median has its full
    height.
    """
    truth = 400 + np.cumsum(np.random.default_rng(0).uniform(700, 1000, 10))
    signal = known_ecg(truth)
    found = beats_of(signal).beats[0]
    lead = LEADS.index("V4")
    height = found[lead].max() - found[lead, CENTRE - int(0.08 * RATE)]
    assert height == pytest.approx(WAVES["R"][2][5] - 0.03, abs=0.06)  # S takes a little of R
    assert height > signal[:, lead].max() * 0.99
    assert np.abs(beats_of(signal).r_peaks[0] * 1000 / RATE - truth).max() <= 6


def test_extra_beats_are_left_out():
    times = list(regular(70))
    mixed = [(at, "PVC") if i in (2, 5, 8) else at for i, at in enumerate(times)]
    found = beats_of(known_ecg(times), known_ecg(mixed))
    assert list(np.flatnonzero(~found.dominant[1])) == [2, 5, 8]
    for extreme in (np.max, np.min):  # the two may lie 2 ms apart, so heights are compared
        heights = extreme(found.beats[:, :, CENTRE - 150 : CENTRE + 150], axis=2)
        assert np.abs(heights[0] - heights[1]).max() < 0.03


@pytest.mark.parametrize("rate", [100, 500])
def test_noise_leaves_beats_alike(rate):
    """At 500 Hz so much noise makes every beat unlike all others, unless it is smoothed."""
    times = regular(70)
    found = analyse(known_ecg(times, rate, noise=0.15)[None], rate).beats
    assert found.dominant.all()


def test_baseline_wander_is_taken_out():
    times = regular(70)
    wander = 0.8 * np.sin(2 * np.pi * 0.2 * np.arange(1000) / 100)
    plain, wandering = beats_of(known_ecg(times), known_ecg(times) + wander[:, None]).beats
    differences = []
    for share in np.linspace(-0.5, 0.5, 11):  # beats are aligned to 2 ms: half of it is no baseline
        neighbour = np.roll(wandering, int(np.sign(share)), axis=1)
        difference = plain - wandering - abs(share) * (neighbour - wandering)
        difference -= difference[:, [CENTRE - 40]]
        differences.append(np.abs(difference)[:, CENTRE - 130 : CENTRE + 200].max())
    assert min(differences) < 0.06


def test_a_single_beat_near_the_end_is_a_beat():
    found = beats_of(known_ecg([2800], seconds=3.0))
    assert found.beats.shape == (1, 12, WIDTH)
    assert np.isfinite(found.beats).all()


def test_no_beat_is_no_median_beat():
    found = beats_of(np.zeros((1000, 12)), known_ecg(regular(60)))
    assert np.isnan(found.beats[0]).all()
    assert np.isfinite(found.beats[1]).all()
    assert (found.r_peaks[0] == -1).all()


@pytest.mark.parametrize("n_beats", [7, median_beat.MANY_BEATS + 5])
def test_quantiles_against_numpy(n_beats):
    rng = np.random.default_rng(3)
    beats = rng.standard_normal((n_beats, 3, 2, 5))
    beats[0, :2, :, :2] = beats[3, 0, :, 1:4] = np.nan
    beats[:, 2, :, 4] = np.nan
    chosen = rng.random((n_beats, 3)) < 0.7
    found = median_beat.quantiles(beats, chosen, (0.25, 0.5, 0.75))
    asked = np.where(chosen[..., None, None], beats, np.nan)
    asked[0, 2, :, 4] = 0  # numpy warns of what is NaN throughout
    expected = np.nanquantile(asked, [0.25, 0.5, 0.75], axis=0)
    assert np.isnan(found[:, 2, :, 4]).all()
    found[:, 2, :, 4] = 0
    assert np.allclose(found, expected, atol=1e-6)


def test_samples_around_beats_against_single_ones():
    """Beyond the ends of a record its ends are held, also where it is shorter than a beat."""
    rng = np.random.default_rng(4)
    peaks = np.array([[3, 0], [20, 39], [-1, 25]])
    for offsets in (range(-10, 15), range(-12, 30, 5), range(-3, -9, -1), range(-50, 60)):
        fine = rng.standard_normal((2, 4, 40)).astype(np.float32)
        found = median_beat.gather(fine, peaks, offsets)
        for beat, row in np.argwhere(peaks >= 0):
            places = np.clip(peaks[beat, row] + np.array(offsets), 0, 39)
            assert np.array_equal(found[beat, row], fine[row][:, places])


def test_spread_is_the_noise():
    found = beats_of(known_ecg(regular(120, 60), seconds=60, noise=0.05))
    quiet = found.spread[0, :, 60:70]  # between QRS and T the beats differ by noise alone
    assert np.median(quiet) == pytest.approx(0.05, rel=0.3)


def test_ragged_rows():
    assert median_beat.pad([np.array([3, 4]), np.array([], int), np.array([7])]).tolist() == [
        [3, 4],
        [-1, -1],
        [7, -1],
    ]
    assert median_beat.pad([np.array([], int)]).shape == (1, 0)
