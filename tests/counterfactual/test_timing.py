"""Intervals: each moves what it names and nothing else, and the rest of the record stays."""

import numpy as np
import pytest

import ecg
from common.labels import LEADS
from counterfactual.body import bodies_of, measured_doses
from counterfactual.edits import EDITS, INTERVALS
from counterfactual.timing import _at, old_times
from known_ecg import known_ecg, regular
from known_limits import limits_around

BEATS = regular(66)


@pytest.fixture(scope="module")
def record():
    return known_ecg(BEATS, noise=0.003).astype(np.float32)


def body_of(record, room_ms=60.0, sampling_rate=100):
    """A body whose intervals may change by `room_ms` in either direction."""
    limits = limits_around(known_ecg(BEATS))
    for column in INTERVALS.values():
        middle = (limits.low[column] + limits.high[column]) / 2
        limits.low[column], limits.high[column] = middle - room_ms, middle + room_ms
    [found] = bodies_of(record[None], sampling_rate, limits)
    return found


@pytest.fixture(scope="module")
def body(record):
    return body_of(record)


def dosed(body, **doses):
    """Doses of the body with those of some intervals (PR=40) set."""
    row = np.zeros(len(body.names))
    for name in INTERVALS:
        row[body.names.index(name)] = doses.get(name.split()[0], 0)
    return row


def test_all_four_intervals_can_be_changed_in_a_regular_record(body):
    assert set(INTERVALS) <= set(body.names)


@pytest.mark.parametrize("name", INTERVALS)
def test_an_interval_is_measured_as_stated_and_the_others_stay(body, name):
    number = body.names.index(name)
    before = ecg.measure(body.signal, 100)
    for dose in (body.low[number], body.high[number]):
        row = np.zeros(len(body.names))
        row[number] = dose
        after = ecg.measure(body.apply(row)[0], 100)
        changes = measured_doses(before, after, [EDITS[one] for one in INTERVALS])
        wanted = [dose if one == name else 0 for one in INTERVALS]
        assert changes == pytest.approx(wanted, abs=9)
        for lead in ("II", "V2", "V5"):
            for wave in ("P", "R", "S", "T"):
                column = f"{wave}_Amp_{lead}"
                # 100 Hz show a narrower S a little less high
                assert after[column] == pytest.approx(before[column], abs=0.03, rel=0.06)


def test_p_alone_moves_when_pr_changes(body, record):
    number = body.names.index("PR interval")
    change = np.abs(body.apply(dosed(body, PR=body.high[number]))[0] - record).max(axis=1)
    time = np.arange(len(record)) * 10.0
    since_r = (time[:, None] - BEATS)[:, :-1]
    qrs = ((since_r > -45) & (since_r < 60)).any(axis=1)
    assert change[qrs].max() < 0.01
    assert change[~qrs].max() > 0.05


def test_einthoven_is_kept_to_a_microvolt_where_waves_move(body, record):
    rng = np.random.default_rng(0)
    doses = rng.uniform(body.low, body.high, (6, len(body.names)))
    change = (body.apply(doses) - record).astype(float)
    one, two, three, avr, avl, avf = np.moveaxis(change[..., :6], -1, 0)
    assert np.abs(one + three - two).max() < 1e-5
    assert np.abs(avr + (one + two) / 2).max() < 1e-5
    assert np.abs(avl - (one - three) / 2).max() < 1e-5
    assert np.abs(avf - (two + three) / 2).max() < 1e-5


def test_times_never_run_backwards_whatever_is_combined(body):
    rng = np.random.default_rng(1)
    new = np.arange(5000.0)
    intervals = [body.names.index(name) for name in INTERVALS]
    for _ in range(40):
        row = rng.choice([0, 1, -1], len(intervals))
        doses = np.where(row > 0, body.high[intervals], np.where(row < 0, body.low[intervals], 0))
        old = old_times(body.timing, dict(zip(INTERVALS, doses, strict=True)), new)
        assert (np.diff(old) > 0.05).all()


def test_another_rate_has_more_or_fewer_beats_and_no_jump_at_the_ends(body, record):
    number = body.names.index("RR interval")
    steepest = np.abs(np.diff(record, axis=0)).max()
    for dose in (body.low[number], body.high[number]):
        edited = body.apply(dosed(body, RR=dose))[0]
        peaks = ecg.detect_r_peaks(edited, 100)
        assert np.diff(peaks).mean() * 10 == pytest.approx(60000 / 66 + dose, abs=6)
        assert np.abs(np.diff(edited, axis=0)).max() < 1.3 * steepest
        assert np.ptp(edited[-60:, LEADS.index("V5")]) < np.ptp(record[:, LEADS.index("V5")]) * 1.2


def test_irregular_and_ectopic_beats_keep_their_times():
    irregular = np.array([500, 1200, 2400, 3000, 4300, 5000, 6200, 7000, 8300, 9000])
    body = body_of(known_ecg(irregular, noise=0.003).astype(np.float32))
    assert "RR interval" not in body.names
    beats = [(at, "PVC") if number == 4 else at for number, at in enumerate(BEATS)]
    body = body_of(known_ecg(beats, noise=0.003).astype(np.float32))
    assert not set(INTERVALS) & set(body.names)


def test_at_500_hz_too():
    body = body_of(known_ecg(BEATS, 500, noise=0.003).astype(np.float32), sampling_rate=500)
    assert {"PR interval", "QT interval"} <= set(body.names)
    before = ecg.measure(body.signal, 500)
    row = np.zeros(len(body.names))
    number = body.names.index("QT interval")
    row[number] = body.high[number]
    after = ecg.measure(body.apply(row)[0], 500)
    [change] = measured_doses(before, after, [EDITS["QT interval"]])
    assert change == pytest.approx(body.high[number], abs=9)


def test_interpolation_is_exact_on_cubics_and_on_samples():
    time = np.arange(50.0)
    cubic = np.stack([0.01 * time**3 - time, time**2])
    between = np.array([3.0, 7.25, 20.5, 40.75])
    wanted = np.stack([0.01 * between**3 - between, between**2])
    assert np.allclose(_at(cubic, between), wanted)
