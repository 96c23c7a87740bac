"""Attribution methods: known answers, captum as oracle, and what must hold for every method."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import attribution
from artefacts import UserError
from labels import LEADS
from models import get_model


def randomised(model, seed=0):
    """BatchNorm statistics and weights as no untrained network has them: folding and sums are tested for real."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda n, low, width: low + width * torch.rand(n, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            n = module.num_features
            module.running_mean.copy_(draw(n, -0.3, 0.6))
            module.running_var.copy_(draw(n, 0.5, 1.0))
            module.weight.data.copy_(draw(n, 0.5, 1.0))
            module.bias.data.copy_(draw(n, -0.3, 0.6))
    return model.eval()


@pytest.fixture(scope="module", params=["lenet", "xresnet", "resnet"])
def model(request):
    torch.manual_seed(1)
    return randomised(get_model(request.param, 5))


@pytest.fixture(scope="module")
def x():
    return 0.3 * torch.randn(6, 12, 250, generator=torch.Generator().manual_seed(2))


TARGETS = [0, 1, 2, 3, 4, 0]


@pytest.mark.parametrize("method", [name for name in attribution.METHODS if name not in ("smoothgrad", "occlusion", "ig")])
def test_shape_and_mixed_targets(model, x, method):
    together = attribution.attribute(model, x, TARGETS, method)
    alone = torch.cat([attribution.attribute(model, x[i:i + 1], target, method) for i, target in enumerate(TARGETS)])
    assert together.shape == x.shape
    assert (together - alone).abs().max() <= 1e-5 * together.abs().max()


def test_saliency_of_a_linear_model_is_its_weights():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12 * 20, 3))
    x = torch.randn(4, 12, 20)
    got = attribution.attribute(model, x, [0, 1, 2, 0])
    assert torch.equal(got, model[1].weight[[0, 1, 2, 0]].view(4, 12, 20))


def test_unknown_names_are_refused(model, x):
    with pytest.raises(UserError, match="unknown method 'shap': accepted are saliency"):
        attribution.attribute(model, x, 0, "shap")
    with pytest.raises(UserError, match="unknown LRP preset"):
        attribution.attribute(model, x, 0, "lrp", preset="best")
    with pytest.raises(UserError, match="not among the model's outputs 0 .. 4"):
        attribution.attribute(model, x, 5)


def test_windows_explain_the_mean_logit():
    torch.manual_seed(3)
    model = randomised(get_model("lenet", 3, 2))
    model.info = SimpleNamespace(crop=250, leads=("II", "V1"), labels=("a", "b", "c"))
    signals = np.random.default_rng(0).normal(size=(3, 1000, 12)).astype(np.float32)
    columns = [LEADS.index("II"), LEADS.index("V1")]
    x = torch.from_numpy(signals[:, :, columns]).transpose(1, 2).requires_grad_(True)
    mean = torch.stack([model(x[:, :, start:start + 250]) for start in range(0, 751, 125)]).mean(dim=0)
    (expected,) = torch.autograd.grad(mean[[0, 1, 2], [0, 1, 2]].sum(), x)
    done = attribution.explain_records(model, signals, [0, 1, 2], window="windows")
    assert np.allclose(done.attributions[:, :, columns], expected.transpose(1, 2).numpy(), atol=1e-6, rtol=1e-5)
    assert np.isnan(np.delete(done.attributions, columns, axis=2)).all()
    assert np.allclose(done.logit, mean.detach().numpy()[[0, 1, 2], [0, 1, 2]], atol=1e-6)


def test_weights_are_bit_identical_afterwards(model, x):
    before = copy.deepcopy(model.state_dict())
    for method in ("lrp", "gradcam", "guided_gradcam"):
        attribution.attribute(model, x, 0, method)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
