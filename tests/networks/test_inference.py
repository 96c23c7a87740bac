"""Logits of whole records: both protocols against their definition, any batch size, any leads."""

import time

import numpy as np
import pytest
import torch

from attribution.methods import explain_records
from common.files import UserError
from common.labels import LEADS, WINDOWS
from networks.checkpoints import ModelInfo
from networks.inference import predict, quickest, read_samples, to_input, views
from networks.models import get_model
from records.dataset import window_starts
from toy_networks import randomised


@pytest.fixture(scope="module")
def signals():
    """(7, 600, 12) of noise."""
    return np.random.default_rng(0).normal(size=(7, 600, 12)).astype(np.float32)


def _model(leads=LEADS, crop_seconds=2.5):
    torch.manual_seed(0)
    model = get_model("lenet", 3, len(leads)).train()
    model.info = ModelInfo(
        "lenet", "superdiagnostic", ("a", "b", "c"), tuple(leads), 100, crop_seconds, {}, 0
    )
    return model


def _logits(model, crop):
    with torch.no_grad():
        return model.eval()(torch.from_numpy(np.ascontiguousarray(crop.transpose(0, 2, 1)))).numpy()


def test_the_windows_protocol_is_the_mean_over_half_overlapping_windows_to_the_records_end(signals):
    model = _model()
    starts = [0, 125, 250, 350]
    assert list(window_starts(600, 250)) == starts
    expected = np.mean(
        [_logits(model, signals[:, start : start + 250]) for start in starts], axis=0
    )
    np.testing.assert_allclose(predict(model.train(), signals, "windows"), expected, atol=1e-6)
    assert not model.training
    np.testing.assert_allclose(
        predict(model, signals, "centre_crop"), _logits(model, signals[:, 175:425]), atol=1e-6
    )


def test_ptbxl_records_have_seven_windows():
    assert [view.shape[1] for view in views(np.zeros((1, 1000, 12)), 250, "windows")] == [250] * 7


@pytest.mark.parametrize("protocol", WINDOWS)
def test_the_batch_size_changes_nothing(signals, protocol):
    model = _model()
    whole = predict(model, signals, protocol)
    for batch_size in (1, 3, 7, 100):
        np.testing.assert_allclose(predict(model, signals, protocol, batch_size), whole, atol=1e-5)
    assert predict(model, signals[:0], protocol).shape == (0, 3)


def test_leads_are_handed_over_in_the_models_order(signals):
    assert torch.equal(
        to_input(signals, ("V6", "I")),
        torch.from_numpy(signals[:, :, [11, 0]].transpose(0, 2, 1).copy()),
    )
    model = _model(("V6", "I"))
    expected = _logits(model, signals[:, 175:425][:, :, [11, 0]])
    np.testing.assert_allclose(predict(model, signals, "centre_crop"), expected, atol=1e-6)


def test_records_shorter_than_the_crop_are_refused(signals):
    for protocol in WINDOWS:
        with pytest.raises(UserError, match="600 samples are shorter"):
            predict(_model(crop_seconds=7), signals, protocol)


@pytest.mark.parametrize("modelname", ["lenet", "xresnet"])
def test_samples_that_a_network_reads_are_those_that_move_its_logits(modelname):
    """Oracle: each sample alone is changed by much, in three random records."""
    model = randomised(get_model(modelname, 3, 12))
    model.info = _model().info
    model.train()
    read = read_samples(model, 250)
    assert model.training
    model.eval()
    x = torch.randn(3, 12, 250, generator=torch.Generator().manual_seed(0))
    moved = np.zeros(250, dtype=bool)
    for sample in range(180, 250):
        changed = x.clone()
        changed[:, :, sample] += 100 * torch.randn(3, 12)
        with torch.no_grad():
            moved[sample] = not torch.equal(model(changed), model(x))
    assert np.array_equal(read[180:], moved[180:])
    assert read[:180].all()
    assert read.sum() == {"lenet": 223, "xresnet": 250}[modelname]


def test_long_inputs_are_asked_in_blocks(monkeypatch):
    model, other = _model(), _model()
    exact = read_samples(model, 250)
    assert read_samples(model, 250) is exact
    monkeypatch.setattr("networks.inference.MOST_PROBES", 50)  # five samples a block
    coarse = read_samples(other, 250)
    assert np.array_equal(coarse, np.repeat(exact.reshape(50, 5).any(axis=1), 5))
    assert exact.sum() < coarse.sum() < 250


def test_a_network_that_clears_nan_away_reads_all_and_its_maps_are_no_blanks():
    class Clearing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.info = randomised(get_model("lenet", 3, 12)), _model().info

        def forward(self, x):
            return self.inner(torch.nan_to_num(x))

    model = Clearing().eval()
    assert read_samples(model, 250).all()
    signals = np.random.default_rng(0).normal(size=(2, 250, 12)).astype(np.float32)
    maps = explain_records(model, signals, 0, "saliency").attributions
    assert np.isfinite(maps).all()
    assert maps.any()


def test_a_call_is_timed_by_its_quickest():
    """One that other processes hold up does not count; of a long call the first does."""
    pauses = iter([0.2, 0.1, 0.0])
    assert quickest(lambda: time.sleep(next(pauses))) < 0.05
    pauses = iter([0.4])
    assert quickest(lambda: time.sleep(next(pauses))) > 0.3
