"""The alarm for records like none of the training: at its level on usual ones, loud on others."""

from types import SimpleNamespace

import numpy as np
import pytest

from attribution.unlike import (
    ALARM,
    MEASURED,
    irregularity,
    names_of,
    reference_of,
    signal_of,
    watch,
)
from common.labels import LEADS


def drawn(n, seed, shift=0.0, unknown=0.005):
    """Three signs of `n` records; `shift` moves one measurement by standard deviations."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(12, 12))
    measurements = rng.normal(size=(n, len(MEASURED) + 1))
    measurements[:, -1] += shift
    measurements[rng.random(n) < unknown, 1] = np.nan
    return {
        "features": rng.normal(size=(n, 12)) @ mixing,
        "measurements": measurements,
        "signal": rng.normal(size=(n, 90)),
    }


@pytest.fixture(scope="module")
def alarm():
    return watch(drawn(1000, 1), drawn(400, 2), LEADS)


def test_the_alarm_keeps_its_level_and_is_raised_by_each_sign(alarm):
    usual = drawn(1000, 3)
    assert (alarm.p(usual) < ALARM).mean() == pytest.approx(ALARM, abs=0.03)
    assert (alarm.p(drawn(100, 4, shift=9.0)) < ALARM).mean() > 0.95
    for name in usual:
        moved = {**drawn(100, 5), name: 4 * drawn(100, 5)[name]}
        assert (alarm.p(moved) < ALARM).mean() > 0.9, name


def test_the_reason_names_the_sign_and_what_is_farthest_off(alarm):
    said = alarm.because(drawn(50, 4, shift=9.0, unknown=0))
    assert all(text.startswith("measurements (irregular beats)") for text in said)
    quiet = {name: 0 * vectors for name, vectors in drawn(5, 6, unknown=0).items()}
    assert alarm.because(quiet) == [""] * 5
    blank = {**quiet, "measurements": np.where(np.arange(9) == 1, np.nan, quiet["measurements"])}
    assert alarm.because(blank)[0] == "measurements (no P Dur)"


def test_directions_that_training_knows_are_no_surprise():
    """Correlated columns: far along the correlation is usual, across it is not."""
    rng = np.random.default_rng(7)
    first = rng.normal(size=2000)
    reference = reference_of(np.stack([first, first + 0.1 * rng.normal(size=2000)], axis=1))
    along, across = reference.distance(np.array([[2.0, 2.0], [1.0, -1.0]]))
    assert across > 10 * along


def test_what_is_never_unknown_in_training_is_far_off_where_it_is():
    reference = reference_of(np.random.default_rng(8).normal(size=(500, 3)))
    assert reference.distance(np.array([[np.nan, 0, 0]]))[0] > 50


def test_too_few_validation_records_set_no_alarm():
    few = watch(drawn(200, 1), drawn(5, 2), LEADS)
    assert np.isnan(few.p(drawn(3, 3))).all()


def test_irregular_beats_and_signals():
    steady, wild = irregularity(["0 80 160 240 320", "0 60 180 230 350"])
    assert steady == pytest.approx(np.log(0.01))
    assert wild > np.log(0.3)
    assert np.isnan(irregularity(["0 80", ""])).all()
    rng = np.random.default_rng(9)
    signals = rng.normal(size=(2, 300, 12))
    signals[1, :, 3] = 0
    found = signal_of(signals)
    assert found.shape == (2, len(names_of(LEADS)["signal"]))
    assert found[0, 0] == pytest.approx(np.log(signals[0, :, 0].std() + 1e-3))
    place = names_of(LEADS)["signal"].index("I against V6")
    assert found[0, place] == pytest.approx(np.corrcoef(signals[0, :, 0], signals[0, :, 11])[0, 1])
    assert np.isfinite(found).all()


def test_records_have_all_three_signs(cohort, trained):
    from attribution.unlike import signs_of
    from networks.checkpoints import load_model
    from networks.inference import load_dataset_for

    model = load_model(trained, "cpu")
    data = load_dataset_for(model.info, cohort)
    signs = signs_of(model, data.signals[:3], data.sampling_rate, "centre_crop")
    assert {name: len(found) for name, found in signs.items()} == dict.fromkeys(
        ("features", "measurements", "signal"), 3
    )
    names = names_of(LEADS)
    assert signs["measurements"].shape[1] == len(names["measurements"])
    fewer = SimpleNamespace(leads=LEADS[:2])
    assert len(names_of(fewer.leads)["signal"]) == 5
