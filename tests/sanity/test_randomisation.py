"""Model randomisation: an explainer that ignores the model is found out, the gradient of a re-drawn
linear model is not.
"""

import numpy as np
import pytest
import torch

from networks.inference import input_of
from networks.models import get_model
from sanity.randomisation import (
    layers_top_down,
    measure_randomisation,
    noise_chance,
    randomised,
    stages,
)
from small_subjects import exact, gradient, make_subject


def scores(subject, explain):
    maps = explain(subject.model, subject.signals, subject.target)
    return {one.check: one.values for one in measure_randomisation(subject, maps, explain)}


@pytest.fixture(scope="module")
def subject():
    return make_subject(n=4)


def test_a_map_that_ignores_the_model_stays_the_same(subject):
    found = scores(subject, lambda _model, signals, _target: np.abs(signals))
    for name in ("cascading_full_absolute", "cascading_mean_signed", "independent_mean_absolute"):
        assert found[f"randomisation_{name}"] == pytest.approx(np.ones(4))


def test_the_gradient_of_a_redrawn_linear_model_is_unrelated(subject):
    found = scores(subject, gradient)
    for name in (
        "cascading_full_absolute",
        "cascading_full_signed",
        "smoothed_cascading_full_signed",
    ):
        assert np.abs(found[f"randomisation_{name}"]).max() < 0.1


def test_the_sign_of_input_times_gradient_changes_but_its_size_keeps_showing_the_input(subject):
    found = scores(subject, exact)
    assert np.abs(found["randomisation_cascading_full_signed"]).max() < 0.1
    assert found["randomisation_cascading_full_absolute"].min() > 0.2


@pytest.mark.parametrize("name", ["lenet", "xresnet"])
def test_layers_are_drawn_anew_from_the_output_down_in_a_copy(name):
    model = get_model(name, 5).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.randn(8, 12, 250, generator=torch.Generator().manual_seed(0))
    names = layers_top_down(model)
    assert names[0] == "head"
    other = randomised(model, names[:2], x, seed=3)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    for part in names:
        weights = [
            (a, b)
            for (key, a), b in zip(model.named_parameters(), other.parameters(), strict=True)
            if key.split(".")[0] == part and a.ndim > 1
        ]
        assert all(torch.equal(a, b) != (part in names[:2]) for a, b in weights)
    assert len(list(stages(model))) == 2 * len(names)


def test_same_seed_same_weights_and_signals_neither_die_nor_explode():
    model = get_model("xresnet", 5).eval()
    x = torch.randn(16, 12, 250, generator=torch.Generator().manual_seed(1))
    names = layers_top_down(model)
    first, second = (randomised(model, names, x, seed=5) for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    with torch.no_grad():
        activation = first.stage4(first.stage3(first.stage2(first.stage1(first.stem(x)))))
    assert 0.05 < float(activation.std()) < 50
    assert not first.training


@pytest.mark.parametrize("name", ["lenet", "xresnet"])
def test_a_single_record_is_enough(name):
    model = get_model(name, 5).eval()
    x = torch.randn(1, 12, 250, generator=torch.Generator().manual_seed(2))
    other = randomised(
        model, layers_top_down(model), x, seed=2
    )  # XResNet's head normalises pooled values: no variance
    assert torch.isfinite(other(x)).all()
    assert not torch.allclose(other(x), model(x))


def test_chance_is_that_of_noise_and_small():
    chance = noise_chance((6, 250, 12))
    assert set(chance) == {"absolute", "signed"}
    assert max(map(abs, chance.values())) < 0.02


def test_input_of_a_subject_is_what_statistics_are_estimated_on(subject):
    assert input_of(subject.model, subject.signals).shape == (4, 12, 120)
