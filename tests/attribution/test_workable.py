"""Which methods a network is beyond: named with the reason, the others kept in their order."""

import pytest
import torch
from torch import nn

from attribution.methods import METHODS, workable
from common.files import UserError
from foreign_networks import foreign
from networks.foreign import wrap


class NoSteps(nn.Module):
    """The mean of each lead, and nothing else of it."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 2)

    def forward(self, x):
        return self.head(x.mean(-1))


def wrapped(network, classes=3):
    return wrap(network, [f"class {k}" for k in range(classes)], seconds=2.5)


def test_a_network_of_known_operations_keeps_every_method_but_captums():
    kept, left_out = workable(list(METHODS), wrapped(foreign("functional_resnet")))
    assert kept == [name for name in METHODS if name != "deeplift"]
    assert list(left_out) == ["deeplift"]  # captum hooks modules, and this one calls functions


def test_lrp_is_left_out_with_all_its_presets():
    asked = ["lrp:epsilon", "saliency", "lrp", "gradcam"]
    kept, left_out = workable(asked, wrapped(foreign("lstm")))
    assert kept == ["saliency", "gradcam"]
    assert list(left_out) == ["lrp:epsilon", "lrp"]
    [reason] = set(left_out.values())
    assert reason.startswith("LRP has no rule for lstm (lstm)")


def test_maps_of_a_layer_are_left_out_where_no_layer_has_time_steps():
    network = wrapped(NoSteps(), 2)
    kept, left_out = workable(["gradcam", "ig", "hirescam"], network)
    assert kept == ["ig"]
    assert list(left_out) == ["gradcam", "hirescam"]
    assert left_out["hirescam"].startswith("no class activation map")
    assert workable(["gradcam"], network, layer="head") == (["gradcam"], {})


def test_nothing_left_is_an_error():
    with pytest.raises(UserError, match="LRP has no rule for lstm"):
        workable(["lrp"], wrapped(foreign("lstm")))
    assert torch.is_grad_enabled()


def test_deeplift_is_tried_on_records_that_a_normalisation_does_not_make_flat():
    layers = nn.Sequential(nn.Flatten(), nn.Linear(3000, 4), nn.ReLU(), nn.Linear(4, 3))
    network = wrap(layers, ["A", "B", "C"], seconds=2.5, normalisation="zscore")
    kept, left_out = workable(["deeplift", "ig"], network)
    assert kept == ["ig"]
    assert left_out["deeplift"].startswith("deeplift: captum's map misses")
