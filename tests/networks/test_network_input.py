"""What a network expects of its input: each step against scipy and numpy, and what is refused."""

import numpy as np
import pytest
import scipy
import torch

from common.files import UserError
from networks.preprocessing import (
    Expected,
    Preprocessing,
    Resampling,
    check_expected,
    layout_of,
    per_mv,
    read_statistics,
)

RNG = np.random.default_rng(0)


def records(n_samples, n_leads=3):
    return RNG.normal(size=(2, n_leads, n_samples))


def prepared(expected, signals, rate):
    module = Preprocessing(expected, signals.shape[1], signals.shape[2], rate).double()
    return module(torch.from_numpy(signals)).numpy()


@pytest.mark.parametrize(
    ("up", "down", "n"),
    [(4, 5, 1000), (4, 1, 250), (1, 5, 1003), (32, 125, 500), (5, 2, 101), (2, 5, 999)],
)
def test_resampling_is_the_polyphase_filter_with_continued_ends(up, down, n):
    signals = records(n)
    got = Resampling(3, up, down, n).double()(torch.from_numpy(signals)).numpy()
    expected = scipy.signal.resample_poly(signals, up, down, axis=2, padtype="edge")
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("none", lambda x: x),
        ("zscore", lambda x: (x - x.mean(2, keepdims=True)) / x.std(2, keepdims=True)),
        (
            "zscore_record",
            lambda x: (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True),
        ),
        (
            "minmax",
            lambda x: (x - x.min(2, keepdims=True)) / np.ptp(x, axis=2, keepdims=True),
        ),
        (
            "minmax_record",
            lambda x: (x - x.min((1, 2), keepdims=True)) / np.ptp(x, axis=(1, 2), keepdims=True),
        ),
        ("file", lambda x: (x - np.array([1.0, 2, 3])[:, None]) / np.array([2.0, 4, 8])[:, None]),
    ],
)
def test_unit_and_normalisation(name, reference):
    expected = Expected(100, 2.5, "uV", name, means=(1.0, 2.0, 3.0), deviations=(2.0, 4.0, 8.0))
    signals = records(250)
    assert np.allclose(prepared(expected, signals, 100), reference(signals * 1000), atol=1e-6)


@pytest.mark.parametrize("name", ["zscore", "zscore_record", "minmax", "minmax_record"])
def test_a_flat_lead_gives_finite_values_and_gradients(name):
    module = Preprocessing(Expected(100, 1, normalisation=name), 2, 100, 100)
    x = torch.zeros(1, 2, 100, requires_grad=True)
    values = module(x)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(("where", "before"), [("centre", 48), ("end", 0), ("start", 96)])
def test_ten_seconds_at_500_hz_become_4096_samples_at_400_hz(where, before):
    expected = Expected(400, 10.24, padding=where)
    signals = records(5000)
    got = prepared(expected, signals, 500)
    assert got.shape == (2, 3, 4096)
    resampled = scipy.signal.resample_poly(signals, 4, 5, axis=2, padtype="edge")
    assert np.allclose(got[:, :, before : before + 4000], resampled, atol=1e-6)
    assert np.abs(got).sum() == pytest.approx(np.abs(got[:, :, before : before + 4000]).sum())


@pytest.mark.parametrize(
    ("layout", "turn"),
    [
        ("leads_time", lambda x: x),
        ("time_leads", lambda x: x.swapaxes(1, 2)),
        ("image", lambda x: x[:, None]),
        ("time_image", lambda x: x.swapaxes(1, 2)[:, None]),
    ],
)
def test_axes(layout, turn):
    signals = records(100)
    assert np.array_equal(prepared(Expected(100, 1, layout=layout), signals, 100), turn(signals))
    shape = (None, *turn(signals).shape[1:])
    assert layout_of(shape, 3, None) == (layout, 100)
    assert layout_of((), 3, layout) == (layout, None)


def test_a_file_with_another_number_of_leads_is_refused():
    with pytest.raises(UserError, match=r"\? x 8 x 1000.*no axis of 12 leads"):
        layout_of((None, 8, 1000), 12, None)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("mV", 1), ("uV", 1000), ("mikroVolt", 1000), ("1e-4V", 10), ("V", 1e-3), ("0.005", 200)],
)
def test_units(unit, factor):
    assert per_mv(unit) == pytest.approx(factor)


@pytest.mark.parametrize("unit", ["furlong", "0", "-1", "nan", "inf"])
def test_an_unknown_unit_is_refused(unit):
    with pytest.raises(UserError, match="unknown unit"):
        per_mv(unit)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalisation": "log"}, "unknown normalisation"),
        ({"padding": "left"}, "unknown padding"),
        ({"layout": "wide"}, "unknown layout"),
        ({"sampling_rate": 0}, "sampling rate"),
        ({"seconds": -1}, "length"),
        ({"normalisation": "file"}, "one mean"),
        (
            {"normalisation": "file", "means": (0.0,) * 3, "deviations": (1.0, 0.0, 1.0)},
            "not above 0",
        ),
    ],
)
def test_what_no_network_expects_is_refused(changes, said):
    expected = Expected(**{"sampling_rate": 100, "seconds": 10, **changes})
    with pytest.raises(UserError, match=said):
        check_expected(expected, 3)


def test_statistics_are_read_in_the_order_of_the_leads(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("lead,mean,deviation\nv1,1,2\nII,3,4\nI,5,6\n")
    assert read_statistics(path, ["I", "V1"]) == ((5, 1), (6, 2))
    with pytest.raises(UserError, match="no row for lead V6"):
        read_statistics(path, ["I", "V6"])
