"""Edits: Einthoven's law, what stays untouched, and doses that our own measurement finds again."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import ecg
from common.files import UserError
from common.labels import LEADS
from counterfactual.body import bodies_of, measured_doses
from counterfactual.edits import EDITS, INDEPENDENT, TO_TWELVE, found_again, limits_of
from counterfactual.shapes import OWN_SHAPE, anatomy_of, unit_shapes
from ecg.analysis import analyse
from known_ecg import LIMB, known_ecg, regular
from known_limits import limits_around


@pytest.fixture(scope="module")
def record():
    return known_ecg(regular(66), noise=0.003).astype(np.float32)


@pytest.fixture(scope="module")
def body(record):
    [found] = bodies_of(record[None], 100, limits_around(record))
    return found


def corners(body):
    """Each edit alone at its lower and upper limit (n, edits), without empty ones."""
    both = np.concatenate([np.diag(body.low), np.diag(body.high)])
    both[:, len(body.added) :] = 0  # intervals are tested by test_timing.py
    return both[np.abs(both).sum(axis=1) > 0]


def test_the_four_following_leads_are_einthovens_and_goldbergers():
    assert np.array_equal(TO_TWELVE[:2, :6].T, LIMB)
    assert np.array_equal(TO_TWELVE[2:, 6:], np.eye(6))
    assert not TO_TWELVE[2:, :6].any()
    assert not TO_TWELVE[:2, 6:].any()


def test_limb_leads_keep_their_sums_to_a_microvolt(body, record):
    rng = np.random.default_rng(0)
    doses = rng.uniform(body.low, body.high, (20, len(body.names)))
    change = (body.apply(doses) - record).astype(float)
    one, two, three, avr, avl, avf = np.moveaxis(change[..., :6], -1, 0)
    broken = [
        one + three - two,
        avr + (one + two) / 2,
        avl - (one - three) / 2,
        avf - (two + three) / 2,
    ]
    assert np.abs(broken).max() < 1e-3 * 1e-3  # a microvolt is .001 mV: a thousandth of that
    assert np.abs(change).max() > 0.2


def test_no_dose_is_no_change_and_doses_add_up(body, record):
    none = np.zeros(len(body.names))
    assert np.array_equal(body.apply(none)[0], record)
    first, last = none.copy(), none.copy()
    ends = 0, len(body.added) - 1
    first[ends[0]], last[ends[1]] = body.high[ends[0]], body.low[ends[1]]
    parts = body.apply(np.stack([first, last])) - record
    assert np.allclose(body.apply(first + last)[0] - record, parts.sum(axis=0), atol=1e-6)


def test_an_edit_leaves_other_leads_and_other_waves_alone(body, record):
    number = body.names.index("R V5 V6")
    doses = np.zeros(len(body.names))
    doses[number] = body.high[number]
    change = np.abs(body.apply(doses)[0] - record)
    others = [lead for lead, name in enumerate(LEADS) if name not in ("V5", "V6")]
    assert not change[:, others].any()
    peaks = ecg.detect_r_peaks(record, 100)
    away = np.abs(np.arange(len(record))[:, None] - peaks).min(axis=1) > 6
    assert change[away].max() < 1e-4  # P, ST and T are further than 60 ms from R
    assert change[:, LEADS.index("V5")].max() == pytest.approx(doses[number], rel=0.05)


def test_edits_have_no_corners_at_their_borders():
    """A wave cut off short would jump by a share of its height from one sample to the next."""
    signal = known_ecg(regular(72), 500, noise=0.003).astype(np.float32)
    [body] = bodies_of(signal[None], 500, limits_around(known_ecg(regular(72))))
    change = body.apply(corners(body)) - signal
    size = np.abs(change).max(axis=(1, 2))
    bend = np.abs(np.diff(change, 2, axis=1)).max(axis=(1, 2)) / size
    assert bend.max() < 0.25


@pytest.mark.parametrize("sampling_rate", [100, 500])
def test_measured_doses_are_the_stated_ones(sampling_rate):
    signal = known_ecg(regular(72), sampling_rate, noise=0.003).astype(np.float32)
    [body] = bodies_of(signal[None], sampling_rate, limits_around(known_ecg(regular(72))))
    doses = corners(body)[:: 4 if sampling_rate == 500 else 2]
    before = ecg.measure(signal, sampling_rate)
    after = ecg.measure_all(body.apply(doses), sampling_rate, progress=False)
    errors = []
    for place, row in enumerate(doses):
        [number] = np.flatnonzero(row)
        [measured] = measured_doses(before, after.iloc[place], [body.edits[number]])
        errors.append(abs(measured - row[number]))
    assert np.median(errors) < 0.01
    assert np.quantile(errors, 0.9) < 0.04
    assert len({name.split()[0] for name in body.names}) == 6  # P Q R S ST T


def test_a_record_shows_the_changes_that_are_made_in_it_and_no_others(body):
    number = body.names.index("R V5 V6")
    doses = np.zeros((3, len(body.names)))
    doses[1, number], doses[2, number] = body.low[number], body.high[number]
    assert body.shown(doses).tolist() == [True, True, True]
    left_as_it_was = replace(body, added=0 * body.added)
    assert left_as_it_was.shown(doses).tolist() == [True, False, False]
    assert body.shown(doses[:0]).shape == (0,)


def test_limb_leads_that_follow_stay_inside_the_limits_too(record, body):
    before = ecg.measure(record, 100)
    limits = limits_around(record)
    highest = float(before["R_Amp_aVF"]) + 0.15
    tight = replace(
        limits,
        low={**limits.low, "R_Amp_aVF": -9.0},
        high={**limits.high, "R_Amp_aVF": highest},
    )
    [held] = bodies_of(record[None], 100, tight)
    number = body.names.index("R II")
    assert body.high[number] == pytest.approx(0.4, abs=0.01)
    own = held.names.index("R II")
    assert 0.05 < held.high[own] < 0.2
    assert held.low[own] == pytest.approx(body.low[number])  # the other way nothing is tight
    doses = np.zeros((2, len(held.names)))
    doses[0, own], doses[1, own] = held.high[own], 0.35
    measured = ecg.measure(held.apply(doses)[0], 100)["R_Amp_aVF"]
    assert measured <= highest + 0.03
    assert held.shown(doses).tolist() == [True, False]
    chest = [name for name in body.names if name.split()[1] not in ("I", "II")]
    assert set(chest) <= set(held.names)


def test_what_already_lies_outside_may_stay_there_and_go_no_further(record):
    before = ecg.measure(record, 100)
    value = float(before["R_Amp_III"])
    limits = limits_around(record)
    high = {**limits.high, "R_Amp_III": value - 0.3}
    outside = replace(limits, low={**limits.low, "R_Amp_III": -9.0}, high=high)
    after = pd.DataFrame([before, before, before]).astype({"R_Amp_III": float})
    after["R_Amp_III"] = [value, value - 0.2, value + 0.1]
    assert outside.followers_keep(before, after).tolist() == [True, True, False]


def test_an_absent_wave_is_not_taken_away(record):
    [body] = bodies_of(record[None], 100, limits_around(record))
    before = ecg.measure(record, 100)
    assert before["Q_Amp_V2"] == 0
    if "Q V2" in body.names:
        number = body.names.index("Q V2")
        assert body.high[number] <= 0.1  # a Q that is not there cannot become smaller


def test_p_edits_need_a_p_wave():
    signal = known_ecg(regular(72), without=("P",), noise=0.003).astype(np.float32)
    [body] = bodies_of(signal[None], 100, limits_around(known_ecg(regular(72))))
    assert not [name for name in body.names if name.startswith("P ")]


def test_a_record_without_a_beat_has_no_body(record):
    limits = limits_around(record)
    assert bodies_of(np.zeros((1, 1000, 12), np.float32), 100, limits) == [None]


def test_a_lead_that_follows_from_others_has_no_edit_of_its_waves_alone(record):
    alone = np.where(np.arange(12) == LEADS.index("aVF"), record, np.nan)
    [body] = bodies_of(alone[None], 100, limits_around(alone))
    assert body is None or not len(body.added)


def test_waves_of_a_spike_before_qrs_have_no_shape(record):
    anatomy = anatomy_of(analyse(record[None], 100), 0)
    early = {wave: np.full(8, anatomy.at["QRS_on"] - 10) for wave in "QRS"}
    shapes = unit_shapes(replace(anatomy, peaks=early))
    high = np.abs(anatomy.heights["R"]) >= OWN_SHAPE[0]
    assert high.any()
    assert np.isnan(shapes["R"][high]).all()
    assert np.isfinite(shapes["R"][~high]).all()


def test_limits_are_the_first_and_last_percent():
    rng = np.random.default_rng(1)
    values = rng.normal(1, 0.5, 2000)
    limits = limits_of(pd.DataFrame({"R_Amp_V5": values, "ST_Amp_I": values - 1}))
    assert limits.low["R_Amp_V5"] == pytest.approx(np.quantile(values, 0.01))
    assert limits.high["R_Amp_V5"] == pytest.approx(np.quantile(values, 0.99))
    assert limits.high["J_Amp_I"] == pytest.approx(np.quantile(values, 0.99) - 1)  # Uni-G's name
    room = limits.room(EDITS["R V5"], pd.Series({"R_Amp_V5": 2.0}))
    assert room == pytest.approx((limits.low["R_Amp_V5"] - 2, limits.high["R_Amp_V5"] - 2))
    outside = limits.room(EDITS["R V5"], pd.Series({"R_Amp_V5": 9.0}))
    assert outside[0] < 0 == outside[1]  # not driven further out
    assert limits.room(EDITS["R V5 V6"], pd.Series({"R_Amp_V5": 2.0, "R_Amp_V6": 1.0})) == (0, 0)


def test_a_table_without_measurements_is_refused():
    with pytest.raises(UserError, match="no measurements"):
        limits_of(pd.DataFrame({"age": np.arange(50)}))


def test_names_tell_edits_apart():
    assert len(EDITS) == len({edit.name for edit in EDITS.values()})
    assert all(set(edit.leads) <= set(INDEPENDENT) for edit in EDITS.values())
    assert EDITS["R V5 V6"].overlaps(EDITS["R V4 V5 V6"])
    assert not EDITS["R V5 V6"].overlaps(EDITS["S V5 V6"])
    assert EDITS["R II"].shown_in == ("II", "III", "aVF")


def test_a_change_that_the_edited_record_does_not_show_is_not_found_again():
    rows = [
        ("mV", -0.4, -0.45, True),
        ("mV", 7.81, -0.06, False),  # beats that were left as they were are measured instead
        ("mV", 0.05, 0.2, False),
        ("ms", 24.0, 36.0, True),
        ("ms", 24.0, 40.0, False),
        ("ms", 24.0, np.nan, False),
    ]
    edits = pd.DataFrame(rows, columns=["unit", "dose", "measured_dose", "expected"])
    assert found_again(edits).tolist() == edits["expected"].tolist()
    assert found_again(edits[:0]).empty
