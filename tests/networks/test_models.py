"""The three networks: sizes, lengths, batches, and that they are fit to be explained."""

import pytest
import torch
from torch import nn

from common.files import UserError
from networks.models import MODELS, get_model, sharing_copy
from toy_networks import last_map

PARAMETERS = {"lenet": 73_271, "resnet": 3_689_879, "xresnet": 905_751}
STEPS = {"lenet": 5, "resnet": 8, "xresnet": 8}


@pytest.fixture(params=MODELS)
def name(request):
    return request.param


def test_parameter_counts_are_the_papers(name):
    assert sum(p.numel() for p in get_model(name, 23).parameters()) == PARAMETERS[name]


def test_any_batch_size_and_length(name):
    model = get_model(name, 5).eval()
    x = torch.randn(3, 12, 1000)
    for length in (max(model.min_length, 95), 250, 251, 1000):
        together = model(x[..., :length])
        assert together.shape == (3, 5)
        torch.testing.assert_close(
            torch.cat([model(row[None, :, :length]) for row in x]), together, atol=1e-5, rtol=1e-4
        )


def test_too_short_or_wrong_leads_is_said(name):
    model = get_model(name, 5).eval()
    with pytest.raises(ValueError, match="12"):
        model(torch.zeros(1, 3, 250))
    if model.min_length > 1:
        with pytest.raises(ValueError, match="at least"):
            model(torch.zeros(1, 12, model.min_length - 1))
    model(torch.zeros(1, 12, model.min_length))


def test_no_module_is_used_twice_or_has_two_names(name):
    model = get_model(name, 5).eval()
    calls = {}
    leaves = [
        (label, module)
        for label, module in model.named_modules(remove_duplicate=False)
        if not list(module.children())
    ]
    assert len({id(module) for _, module in leaves}) == len(leaves)
    for label, module in leaves:
        module.register_forward_hook(
            lambda *_, label=label: calls.update({label: calls.get(label, 0) + 1})
        )
    model(torch.randn(2, 12, 250))
    assert set(calls.values()) == {1}
    assert all(label in calls for label, module in leaves if list(module.parameters()))


def test_the_last_map_before_pooling_has_several_steps(name):
    model = get_model(name, 5).eval()
    seen = []
    last_map(model).register_forward_hook(lambda *args: seen.append(args[2].shape))
    model(torch.randn(2, 12, 250))
    assert seen[0][-1] == STEPS[name]


def test_unknown_model_names_the_known():
    with pytest.raises(UserError, match="lenet, resnet, xresnet"):
        get_model("vgg", 5)


@pytest.mark.parametrize("name", MODELS)
def test_a_sharing_copy_has_its_own_modules_and_the_models_tensors(name):
    model = get_model(name, 5)
    twin = sharing_copy(model)
    assert [type(module) for module in twin.modules()] == [
        type(module) for module in model.modules()
    ]
    assert not {id(module) for module in twin.modules()} & {
        id(module) for module in model.modules()
    }
    assert all(
        own is shared for own, shared in zip(twin.parameters(), model.parameters(), strict=True)
    )
    assert all(own is shared for own, shared in zip(twin.buffers(), model.buffers(), strict=True))


def test_rewriting_a_sharing_copy_leaves_the_model_as_it_is():
    model = get_model("xresnet", 5).train()
    before = {name: (module, type(module)) for name, module in model.named_modules()}
    weights = {
        name: (value, value.clone()) for name, value in model.state_dict(keep_vars=True).items()
    }
    twin = sharing_copy(model).eval()
    for module in list(twin.modules()):
        for name in list(module._modules):
            module._modules[name] = nn.Identity()
    twin.extra = nn.Parameter(torch.zeros(1))
    assert {name: (module, type(module)) for name, module in model.named_modules()} == before
    assert model.training
    assert all(module.training for module in model.modules())
    now = model.state_dict(keep_vars=True)
    assert list(now) == list(weights)
    assert all(
        now[name] is value and torch.equal(value, copied)
        for name, (value, copied) in weights.items()
    )


def test_a_module_under_two_names_stays_one_in_the_copy():
    shared = nn.Linear(3, 3)
    twin = sharing_copy(nn.Sequential(shared, nn.ReLU(), shared))
    assert twin[0] is twin[2]
    assert twin[0] is not shared
