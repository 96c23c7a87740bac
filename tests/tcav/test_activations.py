"""Activations and class gradients against slow, direct computations, for all three models."""

import contextlib
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from common.files import UserError
from common.labels import LEADS
from foreign_networks import FOREIGN, foreign
from networks.checkpoints import ModelInfo
from networks.foreign import wrap
from networks.inference import predict
from networks.models import MODELS
from records.dataset import centre_crop, window_starts
from tcav.activations import (
    class_gradients,
    collect,
    layer_groups,
    layer_names,
    layer_sizes,
    own_names,
)
from toy_networks import CLASSES, make_model


@pytest.fixture(params=MODELS)
def model(request):
    return make_model(request.param)


@pytest.fixture
def signals():
    return np.random.default_rng(0).normal(size=(4, 500, 12)).astype(np.float32)


def test_layer_names_are_readable_and_in_order():
    assert layer_names(make_model("lenet")) == [
        "block1.conv",
        "block1.norm",
        "block1.relu",
        "block1.pool",
        "block2.conv",
        "block2.norm",
        "block2.relu",
        "block2.pool",
        "block3.conv",
        "block3.norm",
        "block3.relu",
        "pool",
        "hidden",
        "hidden_relu",
        "head",
    ]
    for modelname in ("resnet", "xresnet"):
        names = layer_names(make_model(modelname))
        assert names[:2] == ["stem", "stage1.block1"]
        assert names[-3:] == ["stage4.block3", "pool", "head"]
        assert len(names) == 16 + 3


@contextlib.contextmanager
def hooked(model, layers):
    """The modules' outputs by hooks."""
    seen = {}

    def keep(name):
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    yield seen
    for handle in handles:
        handle.remove()


def test_activations_are_the_means_over_windows_and_time(model, signals):
    layers = layer_names(model)
    pooled = collect(model, signals, layers, "windows", "time", batch_size=2)
    whole = collect(model, signals, layers, "centre_crop", "none", batch_size=3)
    inputs = torch.from_numpy(signals.transpose(0, 2, 1).copy())
    with hooked(model, layers) as seen, torch.no_grad():
        windows = []
        for start in window_starts(500, 250):
            model(inputs[:, :, start : start + 250])
            windows.append(
                {
                    name: values.flatten(2).mean(2) if values.ndim == 3 else values
                    for name, values in seen.items()
                }
            )
        model(torch.from_numpy(centre_crop(signals, 250).transpose(0, 2, 1).copy()))
        crop = {name: values.flatten(1) for name, values in seen.items()}
    for name in layers:
        expected = torch.stack([window[name] for window in windows]).mean(0).numpy()
        np.testing.assert_allclose(pooled[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(
            whole[name], crop[name].numpy(), rtol=1e-4, atol=1e-5, err_msg=name
        )
        assert whole[name].shape[1] == layer_sizes(model, layers, "none")[name]


def test_the_last_layers_gradient_is_the_class_itself(model, signals):
    members = np.ones((4, 3), dtype=bool)
    for label, gradients in enumerate(
        class_gradients(model, signals, members, ["head"], "windows", "time")
    ):
        np.testing.assert_allclose(gradients["head"], np.tile(np.eye(3)[label], (4, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("modelname", "protocol", "pool"),
    [
        ("lenet", "windows", "time"),
        ("lenet", "centre_crop", "none"),
        ("lenet", "windows", "none"),
        ("resnet", "centre_crop", "time"),
        ("xresnet", "windows", "time"),
    ],
)
def test_gradient_predicts_the_change_of_the_logit(modelname, signals, protocol, pool):
    """Moving a layer's output along a direction changes the protocol's logit by gradient times
    direction (float64).
    """
    model = make_model(modelname).double()
    layer = "block2.norm" if "block2.norm" in layer_names(model) else "stage2.block2"
    size = layer_sizes_double(model, layer, pool)
    direction = np.random.default_rng(1).normal(size=size)
    members = np.zeros((4, 3), dtype=bool)
    members[[1, 3], 2] = True

    def logits(step):
        shift = torch.from_numpy(step * direction)
        hook = model.get_submodule(layer).register_forward_hook(
            lambda _m, _i, out: (
                out + (shift[:, None] if pool == "time" else shift.reshape(out.shape[1:]))
            )
        )
        values = predict_double(model, signals, protocol)
        hook.remove()
        return values

    change = (logits(1e-7) - logits(-1e-7))[[1, 3], 2] / 2e-7
    model.float()
    gradients = class_gradients(model, signals, members, [layer], protocol, pool, batch_size=2)
    np.testing.assert_allclose(gradients[2][layer] @ direction, change, rtol=2e-3, atol=1e-5)
    assert gradients[0][layer].shape == (0, size)


def layer_sizes_double(model, layer, pool):
    model.float()
    size = layer_sizes(model, [layer], pool)[layer]
    model.double()
    return size


def predict_double(model, signals, protocol):
    starts = window_starts(500, 250) if protocol == "windows" else [125]
    inputs = torch.from_numpy(signals.transpose(0, 2, 1).copy()).double()
    with torch.no_grad():
        return (
            torch.stack([model(inputs[:, :, start : start + 250]) for start in starts])
            .mean(0)
            .numpy()
        )


def test_batches_and_order_do_not_matter(signals):
    model = make_model("lenet")
    members = np.random.default_rng(2).random((4, 3)) < 0.6
    layers = ["block1.relu", "hidden"]
    one, many = (
        class_gradients(model, signals, members, layers, batch_size=size) for size in (1, 5)
    )
    for label in range(3):
        for name in layers:
            np.testing.assert_allclose(one[label][name], many[label][name], rtol=1e-4, atol=1e-6)
            assert len(one[label][name]) == members[:, label].sum()


def test_the_model_is_left_as_it_was(model, signals):
    before = predict(model, signals, "centre_crop")
    class_gradients(
        model, signals[:2], np.ones((2, 3), dtype=bool), layer_names(model)[-4:], "centre_crop"
    )
    np.testing.assert_array_equal(predict(model, signals, "centre_crop"), before)
    assert all(
        parameter.requires_grad and parameter.grad is None for parameter in model.parameters()
    )
    assert not any(module._forward_hooks for module in model.modules())


def test_layers_are_grouped_by_memory():
    sizes = {"a": 10, "b": 20, "c": 5, "d": 25}
    assert layer_groups(sizes, 100, 4 * 30 * 100) == [["a", "b"], ["c", "d"]]
    assert layer_groups(sizes, 100, 1e9) == [["a", "b", "c", "d"]]
    assert layer_groups(sizes, 100, 4 * 25 * 100) == [["a"], ["b", "c"], ["d"]]
    with pytest.raises(UserError, match=r"layer b alone needs .* --max_memory"):
        layer_groups(sizes, 100, 4 * 15 * 100)


# ---------------------------------------------------------------- networks of others


def foreign_model(name):
    model = foreign(name, classes=3)
    model.info = ModelInfo(name, "superdiagnostic", CLASSES, LEADS, 100, 2.5, {}, 0)
    return model


@pytest.mark.parametrize("name", FOREIGN)
def test_layers_of_any_network_are_found_and_their_gradients_fit(name, signals):
    model = foreign_model(name)
    layers = layer_names(model)
    assert len(layers) == len(set(layers)) > 1
    activations = collect(model, signals, layers)
    assert all(np.isfinite(values).all() for values in activations.values())
    members = np.ones((4, 3), dtype=bool)
    gradients = class_gradients(model, signals, members, layers)
    head = layers[-1]
    assert activations[head].shape[1] == gradients[0][head].shape[1]
    logits = predict(model, signals, "windows")
    if name not in ("sigmoid_end", "time_head"):
        np.testing.assert_allclose(activations[head], logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(gradients[1][head], np.tile(np.eye(3)[1], (4, 1)), atol=1e-6)


def test_a_module_around_a_layer_is_that_layer():
    """The import names `blocks` as the last with time steps; its last layer puts out the same."""
    body = nn.Sequential(nn.Conv1d(12, 4, 5), nn.ReLU(), nn.Conv1d(4, 4, 5))
    model = nn.Sequential(OrderedDict(blocks=body, pool=nn.AdaptiveAvgPool1d(1), flat=nn.Flatten()))
    model.append(nn.Linear(4, 3))
    model = wrap(model, list("abc"), seconds=2.5)
    assert "blocks" not in layer_names(model)
    asked = ["blocks", "blocks.2", "blocks.0", "nowhere"]
    assert own_names(model, asked) == ["blocks.2", "blocks.0", "nowhere"]


def test_calls_of_a_module_used_twice_are_told_apart(signals):
    model = foreign_model("shared")
    layers = layer_names(model)
    assert {"conv", "conv#2", "norm", "norm#2", "relu", "relu#2", "relu#3"} <= set(layers)
    found = collect(model, signals, ["conv", "conv#2"], "centre_crop", "none")
    assert not np.allclose(found["conv"], found["conv#2"])


def test_activations_are_those_before_an_operation_in_place(signals):
    """The in-place ReLU behind `norm` would show in what a hook has kept."""
    model = foreign_model("shared")
    found = collect(model, signals, ["norm"], "centre_crop", "none")["norm"]
    crop = torch.from_numpy(centre_crop(signals, 250).transpose(0, 2, 1).copy())
    with torch.no_grad():
        expected = model.norm(model.conv(model.stem(crop).relu()))
    np.testing.assert_allclose(found, expected.flatten(1).numpy(), rtol=1e-4, atol=1e-5)
    assert found.min() < 0


class Choice(nn.Module):
    """Adds to each sample the code of its largest channel, as vector quantisation does."""

    def __init__(self):
        super().__init__()
        self.conv, self.codes = nn.Conv1d(12, 8, 5, padding=2), nn.Embedding(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.conv(x)
        return self.head((x + self.codes(x.argmax(dim=1)).transpose(1, 2)).mean(dim=2))


def test_layers_that_no_gradient_comes_to_are_left_out(signals):
    torch.manual_seed(0)
    model = wrap(Choice().eval(), list("abc"), seconds=2.5)
    assert layer_names(model) == ["conv", "head"]
    found = class_gradients(model, signals, np.ones((4, 3), dtype=bool), layer_names(model))
    assert all(np.abs(values).sum() > 0 for values in found[0].values())
    model = wrap(Steps(model).eval(), list("abc"), seconds=2.5)
    with pytest.raises(UserError, match="no gradient of the network's logits comes to any"):
        layer_names(model)


class Steps(nn.Module):
    """Which answer of another network is largest."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return nn.functional.one_hot(self.network(x).argmax(dim=1), 3).float()


def test_tokens_are_averaged_over_their_own_axis(signals):
    model = foreign_model("vit")
    found = collect(model, signals, ["blocks.0.norm1"], "centre_crop")["blocks.0.norm1"]
    assert found.shape == (4, 16)
