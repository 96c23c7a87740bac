"""Agreement between methods and seeds: copies agree fully, noise does not, and glocal maps are
resampled by patient.
"""

import numpy as np
import pytest

from sanity.agreement import glocal_agreement, measure_between_methods, measure_between_seeds
from small_subjects import make_subject


@pytest.fixture(scope="module")
def subject():
    return make_subject(n=12)


def noise(subject, seed):
    return np.random.default_rng(seed).normal(size=subject.signals.shape)


def test_methods_are_compared_with_the_others_and_never_with_controls(subject):
    first = noise(subject, 0)
    maps = {
        "saliency": first,
        "ig": 2 * first,
        "random": noise(subject, 1),
        "input_magnitude": -first,
    }
    found, pairs = measure_between_methods(subject, maps)
    of_saliency = {one.check: one for one in found["saliency"]}["agreement_methods_samples"]
    assert of_saliency.values == pytest.approx(np.ones(12))  # ig alone: controls do not count
    assert (
        abs({one.check: one for one in found["random"]}["agreement_methods_samples"].values.mean())
        < 0.05
    )
    assert {one.check: one for one in found["input_magnitude"]}[
        "agreement_methods_samples"
    ].values == pytest.approx(np.ones(12))
    assert len(pairs) == 2 * 6
    assert abs(of_saliency.chance.mean()) < 0.05


def test_seeds_with_equal_maps_agree_and_unrelated_ones_do_not(subject):
    same = {one.check: one for one in measure_between_seeds(subject, [noise(subject, 0)] * 3)}
    assert same["agreement_seeds_samples"].values == pytest.approx(np.ones(12))
    assert same["agreement_seeds_cells"].values == pytest.approx(np.ones(12))
    other = {
        one.check: one
        for one in measure_between_seeds(subject, [noise(subject, k) for k in range(3)])
    }
    assert abs(other["agreement_seeds_samples"].values.mean()) < 0.05


def test_glocal_agreement_has_the_classes_as_chance_and_no_interval(subject):
    strong = (
        np.abs(noise(subject, 0)) * np.where(subject.target == 1, 1, 0)[:, None, None]
        + np.linspace(0, 3, 12) * np.where(subject.target == 1, 0, 1)[:, None, None]
    )
    row = glocal_agreement(subject, [strong, strong, strong], "saliency").iloc[0]
    assert row["value"] == pytest.approx(1)
    assert row[["low", "high"]].isna().all()
    assert row["chance"] < 0.5
    mixed = glocal_agreement(subject, [noise(subject, k) for k in range(2)], "ig").iloc[0]
    assert abs(mixed["value"]) < 0.3
    assert glocal_agreement(subject.rows([0, 1]), [strong[:2], strong[:2]], "ig").empty
