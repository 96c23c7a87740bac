"""The network in channels-last layout against the plain one, in float64: values, gradients,
statistics, shared tensors.
"""

import pytest
import torch
from torch import nn

from networks.channels_last import LAYERS, as_image, channels_last
from networks.models import MODELS, get_model
from networks.training import Learner, Recipe


def test_an_image_has_its_channels_next_to_each_other_and_is_not_copied_twice():
    x = torch.randn(3, 4, 5)
    image = as_image(x)
    assert torch.equal(image[:, :, 0], x)
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert as_image(image.squeeze(2)).data_ptr() == image.data_ptr()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(4, 6, 5, stride=2, padding=2),
        nn.Conv1d(4, 6, 3, bias=False, dilation=2),
        nn.Conv1d(4, 6, 1, groups=2),
        nn.MaxPool1d(2),
        nn.MaxPool1d(3, 2, 1),
        nn.AvgPool1d(2, ceil_mode=True),
        nn.AvgPool1d(3, 1, 1, count_include_pad=False),
        nn.BatchNorm1d(4),
    ],
    ids=str,
)
def test_each_layer_computes_what_the_plain_one_does(layer):
    layer = layer.double()
    fast = channels_last(layer)
    assert type(fast) in LAYERS.values()
    x = torch.randn(3, 4, 11, dtype=torch.float64)
    torch.testing.assert_close(fast(x), layer(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("modelname", MODELS)
def test_networks_agree_in_outputs_gradients_and_statistics(modelname):
    torch.manual_seed(0)
    plain, other = get_model(modelname, 5).double(), get_model(modelname, 5).double()
    other.load_state_dict(plain.state_dict())
    fast = channels_last(other)
    x = torch.randn(6, 12, 250, dtype=torch.float64)
    for network in (plain, fast):
        network.train()
        torch.manual_seed(1)  # dropout
        network(x).square().sum().backward()
    largest = max(parameter.grad.abs().max().item() for parameter in plain.parameters())
    for (name, ours), (_, theirs) in zip(
        other.named_parameters(), plain.named_parameters(), strict=True
    ):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-7, atol=1e-11 * largest, msg=name
        )
    for (name, ours), (_, theirs) in zip(other.named_buffers(), plain.named_buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12, msg=name)


def test_the_given_network_stays_as_it_is_and_shares_its_tensors():
    model = get_model("xresnet", 5)
    before = [type(module) for module in model.modules()]
    fast = channels_last(model)
    assert [type(module) for module in model.modules()] == before
    assert all(
        ours is theirs for ours, theirs in zip(fast.parameters(), model.parameters(), strict=True)
    )
    assert all(ours is theirs for ours, theirs in zip(fast.buffers(), model.buffers(), strict=True))
    assert not {type(module) for module in fast.modules()} & set(LAYERS)


def test_training_on_a_cpu_calls_this_network_and_keeps_the_plain_one():
    learner = Learner.of(get_model("xresnet", 5), "superdiagnostic", Recipe(), torch.device("cpu"))
    assert {type(module) for module in learner.module.modules()} >= set(LAYERS.values())
    assert {type(module) for module in learner.model.modules()} >= set(LAYERS)
    assert all(
        ours is theirs
        for ours, theirs in zip(
            learner.module.parameters(), learner.model.parameters(), strict=True
        )
    )
