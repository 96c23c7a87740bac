"""Class activation maps, gradients and outputs of the networks of others."""

from collections import OrderedDict

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attribution
from attribution import cam
from common.files import UserError
from foreign_networks import FOREIGN, TWINS, foreign
from networks.capture import capture

# the layer that maps are read from unless one is named: the last map before pooling
LAYERS = {
    "functional_resnet": ("layer2", 25),
    "inception": ("relu_1", 200),
    "squeeze_excite": ("add", 100),
    "vit": ("blocks.0", 8),
    "time_head": ("head", 200),
    "dense_per_step": ("reshape_1", 200),
    "shared": ("add_1", 98),
    "sigmoid_end": ("body.layer2", 25),
    "standardised": ("body.layer2", 25),
    "lstm": ("transpose", 49),
}


@pytest.fixture(scope="module")
def x():
    return 0.5 * torch.randn(
        3, 12, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("name", FOREIGN)
def test_the_last_map_before_pooling_is_found(name, x):
    model = foreign(name).double()
    layer, _, steps = cam.layer_steps(model, x)
    assert (layer, steps.count) == LAYERS[name]
    for method in ("gradcam", "hirescam", "guided_gradcam"):
        assert attribution.attribute(model, x, [0, 1, 2], method).isfinite().all()


@pytest.mark.parametrize("name", FOREIGN)
def test_methods_equal_captum_on_networks_of_others(name, x):
    model, target = foreign(name).double(), torch.tensor([0, 1, 2])
    ours = attribution.attribute(model, x, target, "saliency")
    theirs = captum.attr.Saliency(model).attribute(
        x.clone().requires_grad_(True), target, abs=False
    )
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    options = {"steps": 8, "max_steps": 8, "absolute": 1e9}
    ours = attribution.attribute(model, x, target, "ig", **options)
    theirs = captum.attr.IntegratedGradients(model).attribute(
        x, 0.0, target, n_steps=8, method="riemann_middle"
    )
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * float(ours.abs().max()))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("functional_resnet", "layer2"),
        ("inception", "dilated"),
        ("squeeze_excite", "pointwise"),
        ("time_head", "head"),
        ("standardised", "body.layer1"),
    ],
)
def test_grad_cam_equals_captum_at_the_same_layer(name, layer, x):
    model, target = foreign(name).double(), torch.tensor([0, 1, 2])
    ours, _ = cam.grad_cam_map(model, x, target, layer)
    theirs = captum.attr.LayerGradCam(model, model.get_submodule(layer)).attribute(
        x, target, relu_attributions=True
    )
    assert torch.allclose(ours, theirs[:, 0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TWINS)
def test_guided_backpropagation_sees_functions_too(name, x):
    twins = foreign(name).double(), foreign(name, functional=False).double()
    maps = [attribution.attribute(twin, x, [0, 1, 2], "guided_gradcam") for twin in twins]
    layer = "add_1" if name == "shared" else None
    assert layer or torch.allclose(maps[0], maps[1], atol=1e-9 * float(maps[1].abs().max()))
    guided = [cam.Guided(twin)(x.clone().requires_grad_(True)).sum() for twin in twins]
    assert torch.allclose(*guided)
    slopes = []
    for twin in twins:
        leaf = x.clone().requires_grad_(True)
        slopes.append(torch.autograd.grad(cam.Guided(twin)(leaf).sum(), leaf)[0])
    assert torch.allclose(*slopes, atol=1e-9 * float(slopes[0].abs().max()))
    plain = x.clone().requires_grad_(True)
    assert not torch.allclose(torch.autograd.grad(twins[0](plain).sum(), plain)[0], slopes[0])


def test_tokens_of_a_transformer_are_steps_and_its_class_token_is_none(x):
    centres = cam.step_centres(foreign("vit").double(), x, "blocks.0")
    assert centres[0].isnan()
    assert centres[1:].tolist() == [12 + 25 * patch for patch in range(8)]
    tokens_last = cam.step_centres(foreign("vit").double(), x, "embed")
    assert tokens_last.tolist() == centres[1:].tolist()


def test_a_network_that_is_no_sequence_has_a_map():
    """It was an IndexError for every class that is not an nn.Sequential."""

    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = nn.Conv1d(12, 8, 5), nn.ReLU()
            self.pool, self.flat = nn.AdaptiveAvgPool1d(1), nn.Flatten()
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.flat(self.pool(self.relu(self.conv(x)))))

    model, x = Mine().eval(), torch.randn(1, 12, 100)
    named = attribution.attribute(model, x, 0, "gradcam", layer="relu")
    assert torch.equal(named, attribution.attribute(model, x, 0, "gradcam"))
    assert cam.layer_in_words(model, x, 100) == "relu, 96 steps of 10 ms"


def test_an_operation_is_named_with_the_module_that_it_is_in():
    class Weighing(nn.Module):
        def __init__(self):
            super().__init__()
            self.score = nn.Linear(12, 1)

        def forward(self, x):
            x = x.transpose(1, 2)
            return (self.score(x).softmax(1) * x).sum(1)

    model = nn.Sequential(OrderedDict(weighing=Weighing(), head=nn.Linear(12, 2)))
    said = cam.layer_in_words(model, torch.zeros(1, 12, 100), 100)
    assert said == "mul in weighing, 100 steps of 10 ms"


def test_a_network_without_time_steps_has_no_map():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12 * 20, 3)).eval()
    with pytest.raises(UserError, match="no layer with at least 2 time steps"):
        attribution.attribute(model, torch.randn(2, 12, 20), 0, "gradcam")


# ---------------------------------------------------------------- what a network puts out


class Shaped(nn.Module):
    """One linear layer whose logits are put out in some shape."""

    def __init__(self, shape, classes=3):
        super().__init__()
        self.conv, self.head, self.shape = nn.Conv1d(12, 4, 5), nn.Linear(4, classes), shape

    def forward(self, x):
        return self.shape(self.head(F.relu(self.conv(x)).mean(-1)))


METHODS = ("saliency", "ig", "gradcam", "guided_gradcam", "lrp", "occlusion")
HANDLED = {
    "(N, C, 1)": lambda y: y.unsqueeze(-1),
    "tuple of one": lambda y: (y,),
    "dict of one": lambda y: {"logits": y},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", HANDLED)
def test_outputs_of_other_shapes_are_the_same_logits(method, shape):
    torch.manual_seed(0)
    plain, x = Shaped(lambda y: y).eval(), torch.randn(2, 12, 60)
    other = Shaped(HANDLED[shape]).eval()
    other.load_state_dict(plain.state_dict())
    maps = [attribution.attribute(model, x, [1, 2], method) for model in (plain, other)]
    assert torch.allclose(*maps, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [lambda y: y[:, 0], lambda y: y[:, :1]])
def test_one_output_is_class_0(method, shape):
    model, x = Shaped(shape).eval(), torch.randn(2, 12, 60)
    assert attribution.attribute(model, x, 0, method).shape == x.shape
    with pytest.raises(UserError, match=r"target \[1, 1\] is not among the model's outputs 0 .. 0"):
        attribution.attribute(model, x, 1, method)


@pytest.mark.parametrize("method", METHODS)
def test_targets_are_checked_against_what_the_network_puts_out(method):
    """Not against its last registered dense layer, which may be unused."""
    model = Shaped(lambda y: y).eval()
    model.unused = nn.Linear(4, 99)
    with pytest.raises(UserError, match=r"outputs 0 .. 2"):
        attribution.attribute(model, torch.randn(2, 12, 60), 50, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "shape", [lambda y: (y, y.sum(-1)), lambda y: y[:, :, None].expand(-1, -1, 4)]
)
def test_several_tensors_or_other_shapes_are_refused_in_one_line(method, shape):
    model = Shaped(shape).eval()
    with pytest.raises(
        UserError, match=r"the network returns .* logits \(records, classes\)"
    ) as found:
        attribution.attribute(model, torch.randn(2, 12, 60), 0, method)
    assert "\n" not in str(found.value)


def test_the_graph_is_watched_once_per_model_and_not_per_batch(monkeypatch):
    from networks import capture as watching

    watched = []
    original = watching._watched
    monkeypatch.setattr(watching, "_watched", lambda *given: watched.append(1) or original(*given))
    model = foreign("functional_resnet")
    for n in (1, 2, 5):
        for method in ("lrp", "gradcam", "guided_gradcam"):
            attribution.attribute(model, torch.randn(n, 12, 200), 0, method)
    assert watched == [1]
    assert capture(model, torch.randn(9, 12, 200)) is capture(model, torch.randn(1, 12, 200))
