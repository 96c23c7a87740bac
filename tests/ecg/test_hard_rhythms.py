"""Beats that are easily lost or invented, and P waves in no fixed relation to the QRS."""

import numpy as np
import pytest

import ecg
from ecg.segments import SEGMENTS
from known_ecg import LIMB, WAVES, detect_all, known_ecg, regular

TOLERANCE = 50  # ms


def beats_of(signal, rate):
    return ecg.detect_r_peaks(signal, rate) * 1000 / rate


def assert_found(signal, rate, truth):
    found = beats_of(signal, rate)
    assert len(found) == len(truth), (len(found), len(truth))
    assert np.abs(found - truth).max() <= TOLERANCE


@pytest.mark.parametrize("rate", [100, 500])
@pytest.mark.parametrize("bpm", [40, 200])
def test_slow_and_fast(bpm, rate):
    truth = regular(bpm)
    missing = "PT" if bpm == 200 else ""  # they lie under each other
    assert_found(known_ecg(truth, rate, noise=0.02, without=missing), rate, truth)


@pytest.mark.parametrize("rate", [100, 500])
def test_a_single_beat(rate):
    assert_found(known_ecg([5000], rate, noise=0.01), rate, [5000])


@pytest.mark.parametrize("rate", [100, 500])
def test_low_voltage(rate):
    """A fifth of the usual height: limb leads below .3 mV, in 5 uV of noise."""
    truth = regular(75)
    assert_found(known_ecg(truth, rate) / 5 + known_ecg([], rate, noise=0.005), rate, truth)


@pytest.mark.parametrize("rate", [100, 500])
def test_ventricular_bigeminy(rate):
    """Every second beat ventricular, early, with a pause behind it."""
    normal = np.arange(600, 9500, 1500)
    early = normal + 520
    beats = [*normal, *((at, "PVC") for at in early)]
    found = beats_of(known_ecg(beats, rate, noise=0.01), rate)
    truth = np.sort(np.concatenate([normal, early]))
    assert len(found) == len(truth)
    assert np.abs(found - truth).max() <= 80  # R within a wide QRS is a matter of convention


@pytest.mark.parametrize("rate", [100, 500])
def test_a_blunt_beat_on_t_is_no_t(rate):
    """Wide beats 390 ms after two of the others: no other beat has the like at that place."""
    normal = regular(60)
    early = normal[[3, 7]] + 390
    normal = np.delete(normal, [4, 8])
    signal = known_ecg(normal, rate, noise=0.01)
    time = np.arange(len(signal)) * 1000 / rate
    for at in early:
        signal += 1.5 * np.exp(-0.5 * ((time - at) / 30) ** 2)[:, None]
    found = beats_of(signal, rate)
    assert len(found) == len(normal) + len(early)
    assert np.abs(found - np.sort(np.concatenate([normal, early]))).max() <= 80


@pytest.mark.parametrize("rate", [100, 500])
def test_a_blunt_beat_on_t_is_no_t_where_others_come_as_soon(rate):
    """One of them 380 ms after a beat, where more than half of the others have the next QRS."""
    normal = 300 + np.cumsum(np.resize([400, 390, 410, 800], 18))
    early = normal[[7]] + 380
    normal = np.delete(normal, 8)
    signal = known_ecg(normal, rate, noise=0.01)
    time = np.arange(len(signal)) * 1000 / rate
    signal += 1.5 * np.exp(-0.5 * ((time - early) / 30) ** 2)[:, None]
    assert_found(signal, rate, np.sort(np.concatenate([normal, early])))


def test_a_spike_and_its_qrs_are_one_beat():
    """Spikes before the atria and before the ventricles, as a dual-chamber pacemaker gives them."""
    truth = regular(70)
    signal = known_ecg([(at, "PVC") for at in truth], 500, noise=0.005)
    for at in truth:
        for delay in (-220, -70):
            sample = round((at + delay) / 2)
            if sample >= 0:
                signal[sample : sample + 2] += 2.0
    assert len(beats_of(signal, 500)) == len(truth)


@pytest.mark.parametrize("rate", [100, 500])
def test_leads_one_and_two_alone(rate):
    """Chest leads flat: six limb leads are all there is."""
    truth = regular(72)
    signal = known_ecg(truth, rate, noise=0.01)
    signal[:, 6:] = 0
    assert_found(signal, rate, truth)


def noise_of(kind, rate, seed, seconds=10.0):
    """A record (T, 12) in mV in which no heart beats."""
    random = np.random.default_rng(seed)
    n = int(seconds * rate)
    time = np.arange(n) / rate
    if kind == "ventricular fibrillation":
        pace = np.interp(time, np.arange(12), random.uniform(3.5, 6.5, 12))  # Hz
        size = np.interp(time, np.arange(0, 12, 0.7), random.uniform(0.3, 1.0, 18))
        phase = 2 * np.pi * np.cumsum(pace) / rate
        turning = np.interp(time, np.arange(0, 12, 0.5), random.uniform(0, 1, 24))
        courses = np.stack([np.sin(phase), turning * np.sin(1.3 * phase), np.sin(2 * phase) / 3])
        eight = (size * courses).T @ random.standard_normal((3, 8)) * 0.4
    else:
        eight = random.standard_normal((n, 8)) * 0.1
        if kind == "wandering":
            eight = np.cumsum(eight, axis=0) * 0.1
    return np.concatenate([eight[:, :2] @ LIMB.T, eight[:, 2:]], axis=1)


@pytest.mark.parametrize("rate", [100, 500])
@pytest.mark.parametrize("kind", ["white", "wandering", "ventricular fibrillation"])
def test_nothing_beats_in_noise(kind, rate):
    signals = np.stack([noise_of(kind, rate, seed) for seed in range(10)])
    with_beats = sum(len(found) > 0 for found in detect_all(signals, rate))
    assert with_beats <= (4 if kind == "ventricular fibrillation" else 0)


@pytest.mark.parametrize("rate", [100, 500])
def test_beats_are_found_in_much_noise_and_in_ventricular_tachycardia(rate):
    truth = regular(75)
    assert_found(known_ecg(truth, rate, noise=0.2), rate, truth)
    fast = regular(190)
    found = beats_of(known_ecg([(at, "PVC") for at in fast], rate, noise=0.02), rate)
    assert abs(len(found) - len(fast)) <= 1


def found_waves(signal, rate, truth):
    """Beats that have a P, and how far QRS begins (ms) before R, the median over lead II."""
    table = ecg.delineate(signal, rate)
    table = table[table["lead"] == "II"].dropna(subset=["onset"])
    onset = table.loc[table["wave"] == "QRS", "onset"].to_numpy() * 1000
    return (table["wave"] == "P").sum(), np.median(np.abs(onset[:, None] - truth).min(axis=1))


@pytest.mark.parametrize("rate", [100, 500])
def test_a_wandering_baseline_hides_no_p(rate):
    truth = regular(72)
    signal = known_ecg(truth, rate, noise=0.01)
    seconds = np.arange(len(signal))[:, None] / rate
    signal = signal + 1.5 * np.sin(2 * np.pi * 0.27 * seconds + np.linspace(0, 6, 12))
    with_p, before_r = found_waves(signal, rate, truth)
    assert with_p == len(truth)
    assert 30 <= before_r <= 65


def test_noise_hides_no_p_and_does_not_move_the_qrs():
    truth = regular(72)
    signal = known_ecg(truth, 500, noise=0.13)
    with_p, before_r = found_waves(signal, 500, truth)
    assert with_p >= len(truth) - 1
    assert 30 <= before_r <= 65


# ---------------------------------------------------------------- P waves of their own


def p_waves(at_ms, rate, seconds=10.0):
    """A record of P waves alone, with their peaks at `at_ms`."""
    time = np.arange(int(seconds * rate)) * 1000 / rate
    shape = np.exp(-0.5 * ((time[:, None] - np.asarray(at_ms)) / WAVES["P"][1]) ** 2).sum(axis=1)
    eight = shape[:, None] * np.array(WAVES["P"][2])
    return np.concatenate([eight[:, :2] @ LIMB.T, eight[:, 2:]], axis=1)


def marked(signal, rate, wave):
    table = ecg.delineate(signal, rate)
    return table[(table["wave"] == wave) & (table["lead"] == "II")].dropna(subset=["peak"])


def in_sight(p_at, r_at):
    """Those of the P waves (ms) that lie in no beat's QRS and T."""
    after = p_at[:, None] - r_at
    return p_at[~((after > -130) & (after < 470)).any(axis=1)]


def assert_p_found(signal, rate, p_at, r_at):
    """Every P in sight is marked in lead II, nothing else is, at its place and as wide as it is."""
    p = marked(signal, rate, "P") * 1
    peaks = p["peak"].to_numpy() * 1000
    away = np.abs(peaks[:, None] - p_at)
    assert away.min(axis=1).max() <= 15, "a mark without a P"
    assert len(set(away.argmin(axis=1))) == len(peaks), "a P marked twice"
    missed = [at for at in in_sight(p_at, r_at) if np.abs(peaks - at).min() > 15]
    assert missed == []
    before = (p["peak"] - p["onset"]).to_numpy() * 1000
    assert (before > 30).all()
    assert (before < 60).all()


@pytest.mark.parametrize("rate", [100, 500])
@pytest.mark.parametrize(
    ("ventricles", "interval"), [(38, 740), (34, 820), (45, 600), (30, 930), (36, 850)]
)
def test_dissociated_p_waves_are_marked_where_they_are(ventricles, interval, rate):
    """Atria and ventricles beat by themselves: no P has a fixed place before the QRS."""
    truth = regular(ventricles)
    p_at = np.arange(130, 9900, interval)
    signal = known_ecg(truth, rate, without="P", noise=0.01) + p_waves(p_at, rate)
    assert len(beats_of(signal, rate)) == len(truth)
    assert_p_found(signal, rate, p_at, truth)


@pytest.mark.parametrize("rate", [100, 500])
def test_both_p_waves_of_2_to_1_block_are_marked(rate):
    """One precedes the QRS by 160 ms, the other lies in between: no T and no QRS."""
    truth = regular(40)
    conducted = truth - 160
    p_at = np.sort([*conducted, *(conducted[:-1] + 750)])
    signal = known_ecg(truth, rate, without="P", noise=0.003) + p_waves(p_at, rate)
    assert len(beats_of(signal, rate)) == len(truth)
    assert_p_found(signal, rate, p_at, truth[:0])
    t_peaks = marked(signal, rate, "T")["peak"].to_numpy() * 1000
    assert np.abs(t_peaks - (truth[: len(t_peaks)] + 260)).max() <= 40


@pytest.mark.parametrize("rate", [100, 500])
def test_a_p_that_is_not_conducted_is_marked(rate):
    """One QRS of a regular rhythm is missing, its P is not."""
    p_at = np.arange(300, 9700, 900)
    truth = np.delete(p_at + 180, 4)
    signal = known_ecg(truth, rate, without="P", noise=0.01) + p_waves(p_at, rate)
    assert_p_found(signal, rate, p_at, truth[:0])
    table = ecg.delineate(signal, rate)
    of_lead = table[(table["lead"] == "II") & (table["wave"] == "P")]
    assert of_lead["beat"].tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("rate", [100, 500])
def test_a_u_wave_is_no_p(rate):
    """Nor is one that comes after every T in the middle between two P waves."""
    truth = regular(45)
    u_waves = known_ecg(truth + 340, rate, without="PQRS", scale={"T": 0.3})
    for without in ("", "P"):
        signal = known_ecg(truth, rate, without=without, noise=0.005) + u_waves
        found = marked(signal, rate, "P")["peak"].to_numpy() * 1000
        assert (np.abs(found[:, None] - (truth + 600)).min(axis=1, initial=999) > 100).all()


@pytest.mark.parametrize("rate", [100, 500])
@pytest.mark.parametrize("measured", ["marks", "segments"])
def test_a_premature_beat_has_no_p_on_the_t_before(measured, rate):
    """Its QRS is like the others', its P is not in their place."""
    truth = regular(60)
    truth[4] -= 520
    signal = known_ecg(np.delete(truth, 4), rate, noise=0.005)
    signal += known_ecg(truth[[4]], rate, without="P")
    t_peak = truth[3] + 260
    if measured == "marks":
        assert np.abs(marked(signal, rate, "T")["peak"] * 1000 - t_peak).min() <= 20
        beats_with_p = set(marked(signal, rate, "P")["beat"])
        assert beats_with_p == set(range(len(truth))) - {4}
    else:
        shares = ecg.segment(signal, rate)[round(t_peak * rate / 1000), 1]
        assert SEGMENTS[shares.argmax()] == "T-Peak"
