"""P is not drawn where atria fibrillate or flutter, and stays where beats come irregularly."""

import numpy as np
import pytest

import ecg
from ecg import atria
from ecg.median_beat import WIDTH, MedianBeats
from known_ecg import LIMB, WAVES, known_ecg, regular


def atrial_waves(at_ms, rate, heights, width, seconds=10.0):
    """Waves in all leads as P has them, each `heights` times as tall and `width` ms wide (SD)."""
    time = np.arange(int(seconds * rate)) * 1000 / rate
    waves = np.exp(-0.5 * ((time[:, None] - np.asarray(at_ms)) / width) ** 2) @ heights
    eight = waves[:, None] * np.array(WAVES["P"][2])
    return np.concatenate([eight[:, :2] @ LIMB.T, eight[:, 2:]], axis=1)


def p_marked(signal, rate):
    table = ecg.delineate(signal, rate)
    return table[(table["wave"] == "P") & (table["lead"] == "II")]["onset"].notna().sum()


@pytest.mark.parametrize("rate", [100, 500])
def test_no_p_in_fibrillation(rate):
    random = np.random.default_rng(4)
    beats = 400 + np.cumsum(random.uniform(480, 1050, 11))
    waves = np.cumsum(random.uniform(120, 190, 70))
    fibrillation = atrial_waves(waves, rate, random.uniform(0.3, 1.0, 70), 22)
    signal = known_ecg(beats, rate, without="P", noise=0.01) + fibrillation
    assert p_marked(signal, rate) == 0


@pytest.mark.parametrize("rate", [100, 500])
def test_no_p_in_flutter_with_a_constant_ratio(rate):
    """Flutter at 280 per minute, every fifth wave conducted 200 ms later."""
    waves = np.arange(-800, 11_000, 214.0)
    beats = waves[::5] + 200
    signal = known_ecg(beats[(beats > 300) & (beats < 9500)], rate, without="PT", noise=0.005)
    signal = signal + atrial_waves(waves, rate, np.ones(len(waves)), 30)
    assert p_marked(signal, rate) == 0


def test_no_p_in_flutter_whose_waves_are_seen_in_its_long_intervals_alone():
    """At 300 per minute, of 4, 4 and 6 waves one is conducted."""
    waves = np.arange(-800, 11_000, 200.0)
    number = np.cumsum(np.resize([4, 4, 6], 12))
    beats = waves[number] + 180 + np.random.default_rng(0).normal(0, 8, 12)
    beats = beats[(beats > 300) & (beats < 9500)]
    signal = known_ecg(beats, 500, without="P", noise=0.008)
    signal = signal + atrial_waves(waves, 500, np.ones(len(waves)), 25)
    assert p_marked(signal, 500) == 0


@pytest.mark.parametrize("rate", [100, 500])
def test_irregular_sinus_beats_keep_their_p(rate):
    beats = 400 + np.cumsum(np.random.default_rng(5).uniform(600, 1100, 10))
    signal = known_ecg(beats, rate, noise=0.01)
    assert p_marked(signal, rate) >= len(beats) - 1
    assert p_marked(known_ecg(regular(75), rate, noise=0.01), rate) == len(regular(75))


def test_premature_beats_do_not_take_the_p_of_the_others():
    """Almost every second beat comes early, with a P from elsewhere in the atria."""
    gaps = np.array([900, 520, 1180, 910, 540, 1150, 500, 1200, 560, 1100])
    beats = 400 + np.cumsum(gaps)
    early = np.flatnonzero(gaps < 600)
    on_time = np.delete(beats, early)
    signal = known_ecg(on_time, 100, noise=0.008, without="T") + known_ecg(
        beats[early], 100, without="T", scale={"P": -1.0}
    )
    assert p_marked(signal, 100) >= len(on_time) - 1


@pytest.mark.parametrize(("height", "expected"), [(-1.2, False), (1.2, True)])
def test_at_fast_rates_a_trough_in_the_inferior_leads_is_no_p(height, expected):
    """Flutter at 300 per minute, every second wave conducted; upright the same may be P."""
    beats = np.arange(400, 9800, 400.0)
    each = np.array([height] * len(beats))
    signal = known_ecg(beats, 100, without="PT", noise=0.005)
    signal = signal + atrial_waves(beats - 130, 100, each, 18)
    assert (p_marked(signal, 100) > 0) == expected


VARIED, REGULAR = (300, 450, 380, 290, 410, 350), (380, 382, 381, 383, 380, 382)


@pytest.mark.parametrize(
    ("same", "steady", "alike", "expected"),
    [
        (True, atria.STEADY, atria.ALIKE, False),
        (False, atria.STEADY, atria.ALIKE, True),
        (False, 0, atria.ALIKE, True),  # by likeness alone
        (False, 0, 0, False),  # noise, not fibrillation
    ],
)
def test_waves_that_differ_are_no_p_where_they_have_to_be_alike(same, steady, alike, expected):
    random = np.random.default_rng(0)
    centres = np.cumsum((250, *VARIED))[None]
    count = centres.shape[1]
    windows = np.zeros((count, 12, WIDTH), np.float32)
    for lead in range(12):
        heights = np.full(count, 0.1) if same else random.normal(0, 0.1, count)
        windows[:, lead, 150:210] = heights[:, None] * np.hanning(60)
    beat = np.zeros((1, 12, WIDTH))
    median = MedianBeats(beat, beat, centres, centres >= 0, np.zeros(1, int), [windows])
    sides = np.array([150.0]), np.array([210.0])
    asked = np.array([True]), np.array([steady]), np.array([alike])
    found, told = atria.unsteady(median, *sides, *asked)
    assert told.tolist() == [True]
    assert found.tolist() == [expected]


@pytest.mark.parametrize(("gaps", "expected"), [(VARIED, True), (REGULAR, False)])
def test_intervals_that_vary(gaps, expected):
    assert atria.varying(np.cumsum((250, *gaps))) == expected


@pytest.mark.parametrize("rate", [100, 500])
@pytest.mark.parametrize(("bpm", "pr"), [(80, 300), (90, 220), (90, 260), (110, 160)])
def test_p_on_the_flank_of_t_is_found_where_it_is(rate, bpm, pr):
    beats = regular(bpm)
    signal = known_ecg(beats, rate, without="P", noise=0.01)
    signal = signal + atrial_waves(beats - pr, rate, np.full(len(beats), 0.6), 20)
    table = ecg.delineate(signal, rate)
    p = table[(table["wave"] == "P") & (table["lead"] == "II")].dropna(subset=["peak"])
    assert len(p) >= len(beats) - 1
    away = np.abs(p["peak"].to_numpy()[:, None] * 1000 - (beats - pr)).min(axis=1)
    assert away.max() <= 20
