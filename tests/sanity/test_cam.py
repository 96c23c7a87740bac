"""The Grad-CAM table: layers with one time step, and truths per lead and wave."""

import numpy as np
import pytest
import torch

from networks.models import MODELS, get_model
from sanity.amplitude import window_masks
from sanity.localisation import CAMS, LAYERS, ORIGINAL_LAYERS, cam_maps, measure_layers, wave_truth
from small_subjects import make_subject

LENGTH = 250


def subject_of(name):
    torch.manual_seed(0)
    model = get_model(name, 12).eval()
    model.info = make_subject(n=1).model.info
    model.info.modelname, model.info.task = name, "R_Peak_Amplitude"
    return make_subject(model, n=3, length=LENGTH)


def test_every_model_has_an_original_layer():
    assert set(ORIGINAL_LAYERS) == set(MODELS)
    for name, layer in ORIGINAL_LAYERS.items():
        assert layer in dict(get_model(name, 2).named_modules())


@pytest.mark.parametrize("kind", list(CAMS))
def test_the_original_layer_of_xresnet_is_constant_in_time(kind):
    subject = subject_of("xresnet")
    wrong, right = (cam_maps(subject, kind, which) for which in LAYERS)
    assert wrong.shape == right.shape == subject.signals.shape
    if kind != "guided_gradcam":
        assert np.ptp(wrong, axis=(1, 2)).max() == 0
        assert np.ptp(right, axis=2).max() == 0  # no lead axis


@pytest.mark.parametrize("kind", list(CAMS))
def test_the_original_layer_of_lenet_has_negative_activations_that_the_relu_removes(kind):
    subject = subject_of("lenet")
    wrong, right = (cam_maps(subject, kind, which) for which in LAYERS)
    # HiResCAM multiplies by the gradient, which the ReLU has already cut: the same at both
    assert np.allclose(wrong, right, atol=1e-6) == (kind == "hirescam")


def test_truth_is_the_wave_in_the_lead_that_is_asked_for():
    subject = subject_of("lenet")
    masks = wave_truth(subject)
    qrs = window_masks(subject.segments)["QRS"] > 0.5
    for row, lead in enumerate(subject.target):
        assert np.array_equal(masks[row, :, lead], qrs[row, :, lead])
        assert masks[row].sum() == qrs[row, :, lead].sum()


def test_the_table_has_every_cam_layer_and_truth_with_chance():
    subject = subject_of("lenet")
    found = measure_layers(subject, wave_truth(subject))
    assert set(found) == {f"{kind}@{which}" for kind in CAMS for which in LAYERS}
    checks = {one.check: one for one in found["gradcam@last"]}
    assert {"layer_auc_cell_absolute", "layer_auc_time_absolute"} <= set(checks)
    assert checks["layer_auc_cell_absolute"].chance == pytest.approx(np.full(3, 0.5))
    assert measure_layers(subject, np.zeros_like(wave_truth(subject))) == {}
