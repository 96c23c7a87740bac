"""Explainers: registered methods behind one signature, presets by name, controls that follow the
model.
"""

import copy

import numpy as np
import pytest
import torch

from attribution.methods import (
    METHODS,
    Explainer,
    attribute,
    check_methods,
    get_method,
    make_explainers,
)
from common.files import UserError
from networks.models import get_model
from small_subjects import make_subject


@pytest.fixture(scope="module")
def subject():
    torch.manual_seed(0)
    model = get_model("lenet", 2).eval()
    model.info = make_subject(n=1).model.info
    return make_subject(model, n=3)


QUICK = {name: method.quick for name, method in METHODS.items() if method.quick}


def test_a_name_with_a_preset_is_the_method_with_that_option(subject):
    x = torch.from_numpy(subject.signals.transpose(0, 2, 1).copy())
    named = attribute(subject.model, x, 0, "lrp:epsilon")
    assert torch.equal(named, attribute(subject.model, x, 0, "lrp", preset="epsilon"))
    assert not torch.equal(named, attribute(subject.model, x, 0, "lrp"))
    assert get_method("lrp:epsilon") is METHODS["lrp"]
    assert check_methods(["ig", "lrp:epsilon", "ig"]) == ["ig", "lrp:epsilon"]


def test_maps_are_those_of_attribution_with_the_axes_of_the_signals(subject):
    expected = attribute(
        subject.model,
        torch.from_numpy(subject.signals.transpose(0, 2, 1).copy()),
        torch.as_tensor(subject.target),
        "lrp",
        preset="epsilon",
    )
    maps = Explainer("lrp:epsilon")(subject.model, subject.signals, subject.target)
    assert maps == pytest.approx(expected.numpy().transpose(0, 2, 1), abs=1e-6)


def test_random_noise_is_new_for_every_model_and_the_same_for_the_same(subject):
    other = copy.deepcopy(subject.model)
    other.head.weight.data += 1e-3
    explain = Explainer("random")
    first, again, changed = (
        explain(model, subject.signals, subject.target)
        for model in (subject.model, subject.model, other)
    )
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first.ravel(), changed.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nonsense", "unknown method nonsense"),
        ("lrp:nonsense", "unknown lrp preset nonsense"),
        ("ig:epsilon", "no presets"),
    ],
)
def test_unknown_methods_and_presets_are_named(name, said):
    with pytest.raises(UserError, match=said):
        make_explainers(["saliency", name])


@pytest.mark.parametrize("method", list(QUICK))
def test_quick_options_reach_the_method(subject, method):
    quick = make_explainers([method], quick=True)[method]
    assert quick.options == QUICK[method] == Explainer(method).cheap.options
    assert quick.options == QUICK[method]
    expected = attribute(
        subject.model,
        torch.from_numpy(subject.signals.transpose(0, 2, 1).copy()),
        torch.as_tensor(subject.target),
        method,
        **QUICK[method],
    )
    assert np.allclose(
        quick(subject.model, subject.signals, subject.target), expected.numpy().transpose(0, 2, 1)
    )
