"""Hartigan's dip: reference values, bounds, and a p that is fair to the uniform distribution."""

import numpy as np
import pytest

from subgroups.dip import dip, dip_p

# values of the package diptest 0.12.0
REFERENCE = [
    ([0.1, 0.2, 0.25, 0.9, 1.0, 1.05, 3.0, 3.1, 3.3, 3.35], 0.1695652173913044),
    (np.sqrt(np.arange(1, 41)), 0.0125),
    (np.r_[np.linspace(0, 1, 12) ** 2, 3 + np.linspace(0, 1, 8) ** 3], 0.13333333333333333),
    (np.sin(np.arange(30) ** 2.0), 0.07448415840742764),
]


@pytest.mark.parametrize(("values", "expected"), REFERENCE)
def test_the_dip_of_known_samples(values, expected):
    assert dip(values) == pytest.approx(expected, abs=1e-12)
    shuffled = np.random.default_rng(0).permutation(values)
    assert dip(-2.5 * shuffled + 7) == pytest.approx(expected, abs=1e-12)


def test_bounds():
    rng = np.random.default_rng(1)
    for n in (4, 9, 60):
        assert 1 / (2 * n) <= dip(rng.normal(size=n)) <= 0.25
    assert dip(np.r_[np.zeros(50), np.ones(50)] + 1e-6 * rng.random(100)) > 0.24
    assert dip([1, 2, 3]) == dip(np.ones(20)) == 0


def test_p_is_uniform_for_even_values_and_large_for_a_bell():
    rng = np.random.default_rng(2)
    p = np.array([dip_p(rng.random(30)) for _ in range(200)])
    assert np.mean(p < 0.1) == pytest.approx(0.1, abs=0.05)
    bells = np.array([dip_p(rng.normal(size=30)) for _ in range(100)])
    assert np.mean(bells < 0.1) < 0.08
    assert dip_p(np.r_[rng.normal(size=20), rng.normal(7, 1, 20)]) < 0.01
    assert dip_p([1.0, 2.0]) == 1


@pytest.mark.parametrize("n", [4, 11, 70, 300])
def test_the_table_says_what_uniform_samples_of_any_size_do(n):
    rng = np.random.default_rng((n, 3))
    drawn = [rng.random(n) for _ in range(400)]
    dips = np.array([dip(values) for values in drawn])
    for share in (0.5, 0.9):
        values = drawn[np.argsort(dips, kind="stable")[int(400 * share)]]
        as_large = np.mean(dips >= dip(values) - 1e-12)
        assert dip_p(values) == pytest.approx(as_large, abs=0.06)


def test_large_samples_need_no_drawing():
    rng = np.random.default_rng(4)
    assert dip_p(rng.normal(size=20_000)) > 0.5
    assert dip_p(np.r_[rng.normal(size=9_000), rng.normal(6, 1, 9_000)]) == pytest.approx(0.001)
