"""Attribution methods: known answers, captum as oracle, and what must hold for every method."""

import copy
import warnings
from types import SimpleNamespace

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

import attribution
from attribution import cam, gradients, occlusion
from attribution.methods import METHODS, explain
from common.files import UserError
from common.labels import LEADS
from networks import program
from networks.models import get_model
from toy_networks import last_map, randomised

OPTIONS = {
    "smoothgrad": {"n_samples": 3},
    "ig": {"steps": 4, "max_steps": 4},
    "occlusion": {"piece": 64},
    "gradient_shap": {"n_samples": 4},
    "shapley": {"piece": 128, "max_permutations": 2},
    "kernel_shap": {"piece": 128, "n_samples": 30},
    "lime": {"piece": 128, "n_samples": 30},
}
TARGETS = [0, 4, 2]


@pytest.fixture(scope="module", params=["lenet", "xresnet", "resnet"])
def model(request):
    torch.manual_seed(1)
    return randomised(get_model(request.param, 5)).double()


@pytest.fixture(scope="module")
def lenet():
    torch.manual_seed(1)
    return randomised(get_model("lenet", 5)).double()


@pytest.fixture(scope="module")
def x():
    return 0.3 * torch.randn(3, 12, 128, generator=torch.Generator().manual_seed(2)).double()


def run(model, x, target, method, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few steps of integrated gradients
        return attribution.attribute(
            model, x, target, method, **{**OPTIONS.get(method, {}), **options}
        )


def state_of(model):
    """Weights, modes, gradients' switches and hooks, to be compared bit by bit."""
    hooks = [
        len(module._forward_hooks) + len(module._backward_hooks) + len(module._forward_pre_hooks)
        for module in model.modules()
    ]
    modes = [module.training for module in model.modules()]
    switches = [
        (parameter.requires_grad, parameter.grad is None) for parameter in model.parameters()
    ]
    return copy.deepcopy(model.state_dict()), hooks, modes, switches


def assert_untouched(model, before):
    weights, *rest = state_of(model)
    assert all(torch.equal(before[0][name], value) for name, value in weights.items())
    assert rest == list(before[1:])


# ---------------------------------------------------------------- every method


@pytest.mark.parametrize("method", METHODS)
def test_each_record_is_explained_alone(model, x, method):
    """Shape; own target in a mixed batch; the batch makes no difference; nor does the record's
    place in it.
    """
    before = state_of(model)
    together = run(model, x, TARGETS, method)
    assert together.shape == x.shape
    alone = torch.cat(
        [run(model, x[i : i + 1], target, method) for i, target in enumerate(TARGETS)]
    )
    turned = run(model, x.flip(0), TARGETS[::-1], method).flip(0)
    scale = together.abs().max()
    assert (together - alone).abs().max() <= 1e-9 * scale
    assert (together - turned).abs().max() <= 1e-9 * scale
    assert_untouched(model, before)


@pytest.mark.parametrize("method", METHODS)
def test_empty_batch(lenet, x, method):
    done = explain(lenet, x[:0], torch.empty(0, dtype=torch.long), method)
    assert done.attributions.shape == (0, 12, 128)
    assert done.logit.shape == (0,)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind_by_a_failure(model, x, method, monkeypatch):
    model.train()
    before = state_of(model)
    with pytest.raises(UserError):
        run(model, x[:1], 9, method)
    monkeypatch.setattr(nn.Linear, "forward", _fail)
    monkeypatch.setattr(program, "_function", lambda _op: _fail)
    with pytest.raises((RuntimeError, UserError), match="in the middle"):
        run(model, x[:1], 0, method)
    assert_untouched(model, before)
    assert torch.is_grad_enabled()
    model.eval()


def _fail(*_arguments, **_named):
    raise RuntimeError("in the middle")


@pytest.mark.parametrize("method", METHODS)
def test_declarations_hold(lenet, x, method):
    declared, result = METHODS[method], run(lenet, x, TARGETS, method)
    assert declared.has_lead_axis != bool(torch.equal(result, result[:, :1].expand_as(result)))
    assert declared.signed or bool((result >= 0).all())
    assert ("conservation" in declared.axioms) == (
        explain(lenet, x, 0, method, **OPTIONS.get(method, {})).ledger is not None
    )


def test_bad_input_is_refused(lenet, x):
    for method, target, pattern in (
        ("shap", 0, "unknown method 'shap': accepted are saliency"),
        ("saliency", 5, "not among the model's outputs 0"),
        ("saliency", -1, "not among the model's outputs 0"),
        ("saliency", [0, 1], "one output index or one per record"),
        ("saliency", 0.5, "one output index or one per record"),
    ):
        with pytest.raises(UserError, match=pattern):
            attribution.attribute(lenet, x, target, method)
    with pytest.raises(UserError, match="unknown LRP preset 'best': accepted are epsilon"):
        attribution.attribute(lenet, x, 0, "lrp", preset="best")
    broken = x.clone()
    broken[1, 2, 3] = torch.nan
    with pytest.raises(UserError, match="not finite"):
        attribution.attribute(lenet, broken, 0)


# ---------------------------------------------------------------- captum


def test_a_map_that_is_not_finite_is_no_map(x):
    class Root(nn.Module):
        """Its gradient at 0 is infinite, and 0 times it is no number."""

        def forward(self, x):
            return x.clamp_min(0).sqrt().mean(dim=(1, 2)).unsqueeze(1)

    with pytest.raises(UserError, match=r"saliency .* not finite .*leave it out"):
        explain(Root(), x * (x > 0), 0, "saliency")


def test_gradients_equal_captum(model, x):
    target = torch.tensor(TARGETS)
    expected = captum.attr.Saliency(model).attribute(
        x.clone().requires_grad_(True), target, abs=False
    )
    assert torch.allclose(run(model, x, target, "saliency"), expected, rtol=1e-9, atol=1e-12)
    expected = captum.attr.InputXGradient(model).attribute(x.clone().requires_grad_(True), target)
    assert torch.allclose(
        run(model, x, target, "input_x_gradient"), expected, rtol=1e-9, atol=1e-12
    )


def test_integrated_gradients_equal_captum(model, x):
    target, baseline = torch.tensor(TARGETS), 0.1 * torch.ones_like(x)
    ours = run(model, x, target, "ig", steps=16, max_steps=16, baseline=baseline)
    theirs = captum.attr.IntegratedGradients(model).attribute(
        x, baseline, target, n_steps=16, method="riemann_middle"
    )
    assert torch.allclose(
        ours, theirs, rtol=1e-6, atol=1e-6 * float(ours.abs().max())
    )  # captum's steps are float32


def test_grad_cam_equals_captum(model, x):
    target = torch.tensor(TARGETS)
    ours, _ = cam.grad_cam_map(model, x, target)
    layer = last_map(model)
    theirs = captum.attr.LayerGradCam(model, layer).attribute(x, target, relu_attributions=True)
    assert torch.allclose(ours, theirs[:, 0], rtol=1e-9, atol=1e-12)


def test_guided_backpropagation_equals_captum(model, x):
    ours, _ = gradients.gradient(cam.Guided(model), x, torch.tensor(TARGETS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = captum.attr.GuidedBackprop(copy.deepcopy(model)).attribute(
            x.clone().requires_grad_(True), torch.tensor(TARGETS)
        )
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_occlusion_equals_captum(model, x):
    ours = run(model, x[:1], 3, "occlusion", piece=32, fill=0.0)
    theirs = captum.attr.Occlusion(model).attribute(
        x[:1], (1, 32), strides=(1, 32), target=3, baselines=0.0
    )
    assert torch.allclose(ours, theirs.double(), atol=1e-6)  # captum's result is float32


# ---------------------------------------------------------------- known answers


def test_more_first_steps_than_the_cap_are_taken_as_the_cap(lenet, x):
    done = explain(lenet, x, TARGETS, "ig", steps=100, max_steps=50, absolute=1e9)
    assert done.steps.tolist() == [100, 100, 100]
    assert torch.equal(
        done.attributions, run(lenet, x, TARGETS, "ig", steps=100, max_steps=100, absolute=1e9)
    )


def test_steps_are_doubled_up_to_the_cap_itself(lenet, x):
    with pytest.warns(gradients.CompletenessWarning):
        done = explain(
            lenet, x, TARGETS, "ig", steps=3, max_steps=10, absolute=1e-12, relative=1e-12
        )
    assert done.steps.tolist() == [10, 10, 10]


def linear_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12 * 20, 3))


def test_linear_model():
    model, x = linear_model(), torch.randn(4, 12, 20)
    target = [0, 1, 2, 0]
    weights = model[1].weight.detach()[target].view(4, 12, 20)
    assert torch.equal(attribution.attribute(model, x, target), weights)
    assert torch.allclose(attribution.attribute(model, x, target, "smoothgrad"), weights, atol=1e-6)
    done = explain(model, x, target, "ig", steps=1, max_steps=1)
    assert torch.allclose(done.attributions, weights * x, atol=1e-6)
    assert done.gap.abs().max() < 1e-4
    gone = torch.stack(
        [(weights * x)[:, :, start : start + 5].sum(2) for start in range(0, 20, 5)], dim=2
    )  # (N, leads, pieces)
    fall = attribution.attribute(model, x, target, "occlusion", piece=5, fill=0.0)
    assert torch.allclose(fall, gone.repeat_interleave(5, dim=2), atol=1e-5)


def test_occlusion_numbers_the_pieces_of_each_lead_and_leaves_negative_ones_alone():
    place, n_pieces = occlusion.pieces_of(torch.tensor([[7, 7, -1, 3], [3, -2, -1, 7]]))
    assert place.tolist() == [[1, 1, -1, 0], [2, -1, -1, 3]]
    assert n_pieces == 4


def test_occlusion_without_any_piece_is_zero(lenet, x):
    nothing = attribution.attribute(lenet, x, 0, "occlusion", regions=torch.full(x.shape, -1))
    assert not nothing.any()


def test_occlusion_takes_one_segment_of_one_lead_over_all_beats():
    model, x = linear_model(), torch.randn(2, 12, 20)
    regions = (torch.arange(20) % 5).expand(2, 12, 20).clone()
    regions[:, :, :5] = -1  # left alone
    result = attribution.attribute(model, x, 1, "occlusion", regions=regions, fill=0.0)
    part = (model[1].weight[1].view(12, 20) * x).detach()
    expected = part[:, :, 5:].view(2, 12, 3, 5).sum(2).repeat(1, 1, 3)
    assert torch.equal(result[:, :, :5], torch.zeros(2, 12, 5))
    assert torch.allclose(result[:, :, 5:], expected, atol=1e-5)
    with pytest.raises(UserError, match="regions are"):
        attribution.attribute(model, x, 1, "occlusion", regions=regions[:1])
    assert torch.equal(occlusion.isoelectric(x), x.median(dim=2, keepdim=True).values)


def test_smoothgrad_takes_its_noise_from_the_range(lenet):
    """A record with one tall sample: the range, not the standard deviation, sets the noise."""
    seen = []

    def watching(signals):
        seen.append(signals.detach())
        return lenet(signals)

    x = torch.zeros(1, 12, 128, dtype=torch.float64)
    x[0, 0, 5] = 3.0
    target = torch.tensor([0])
    gradients.smoothgrad(watching, x, target, n_samples=4, noise=0.1)
    noise = torch.stack(seen[:4]) - x
    assert abs(float(noise.std()) - 0.3) < 0.01


def test_smoothgrad_without_noise_is_the_gradient(lenet, x):
    got = attribution.attribute(lenet, x, 0, "smoothgrad", n_samples=2, noise=0.0)
    assert torch.allclose(got, attribution.attribute(lenet, x, 0), atol=1e-8)


def test_integrated_gradients_take_the_steps_they_need(lenet, x):
    done = explain(lenet, 3 * x, TARGETS, "ig", steps=2, max_steps=512)
    tolerance = (0.01 * done.difference.abs()).clamp(min=0.01)
    assert (done.gap.abs() <= tolerance).all()
    with torch.no_grad():
        outputs = lenet(torch.cat((3 * x, torch.zeros_like(x))))[range(6), TARGETS * 2]
    assert torch.allclose(done.difference, outputs[:3] - outputs[3:])
    assert torch.allclose(done.attributions.sum((1, 2)) + done.gap, done.difference)
    strict = explain(
        lenet, 3 * x, TARGETS, "ig", steps=2, max_steps=512, relative=0.0, absolute=1e-4
    )
    assert (strict.steps >= done.steps).all()
    assert (strict.steps > 2).all()


def test_integrated_gradients_warn_of_a_gap_that_is_left(lenet, x):
    with pytest.warns(
        gradients.CompletenessWarning, match="3 of 3 records keep a completeness gap above 1 %"
    ):
        done = explain(lenet, 5 * x, TARGETS, "ig", steps=1, max_steps=1, absolute=1e-9)
    assert done.missed.all()
    assert not explain(lenet, x, TARGETS, "ig", steps=1, max_steps=1, absolute=1e9).missed.any()


def test_random_control_depends_on_record_and_seed_alone(lenet, x):
    first = run(lenet, x, 0, "random")
    assert torch.equal(first, run(lenet, x, 1, "random"))
    assert not torch.equal(first, run(lenet, x, 0, "random", seed=1))
    assert abs(float(first.mean())) < 0.1
    assert torch.corrcoef(first.flatten(1)).fill_diagonal_(0).abs().max() < 0.1


# ---------------------------------------------------------------- class activation maps


def test_hirescam_of_a_linear_head_adds_up_to_the_logit(x):
    torch.manual_seed(1)
    model = randomised(get_model("resnet", 5)).double()
    with torch.no_grad():
        expected = (model(x) - model.head.bias)[range(3), TARGETS]
    cam_map, _ = cam.hires_cam_map(model, x, torch.tensor(TARGETS))
    assert torch.allclose(cam_map.sum(dim=1), expected, atol=1e-9)


def test_cam_layer_with_one_time_step_is_refused(lenet, x):
    with pytest.raises(UserError, match="fewer than 2 time steps"):
        attribution.attribute(lenet, x, 0, "gradcam", layer="pool")
    with pytest.raises(
        UserError, match=r"unknown layer 'conv9': layers with time steps are block1.conv, block1"
    ):
        attribution.attribute(lenet, x, 0, "gradcam", layer="conv9")
    assert attribution.attribute(lenet, x, 0, "gradcam", layer="block2").shape == x.shape


def test_steps_stand_at_the_centre_of_what_they_see(model):
    """The centroid of a step's gradient is where step_centres says, within a third of the 32
    samples between steps.
    """
    module, outputs = last_map(model), []
    x = torch.randn(
        1, 12, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_(True)
    centres = cam.step_centres(model, x)
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    model(x)
    handle.remove()
    assert len(centres) == outputs[0].shape[2]
    for step in (12, 16):
        (slope,) = torch.autograd.grad(outputs[0][0, :, step].square().sum(), x, retain_graph=True)
        weight = slope.abs().sum(dim=(0, 1))
        seen = (weight * torch.arange(1000)).sum() / weight.sum()
        assert abs(float(centres[step] - seen)) <= 32 / 3


def test_steps_at_one_place_add_up():
    """Branches side by side along time."""
    nowhere = float("nan")
    centres = torch.tensor([0.0, 4.0, nowhere, 4.0, 0.0])
    map_ = cam.upsample(torch.tensor([[1.0, 2.0, 9.0, 3.0, -1.0]]), centres, 6)
    assert torch.allclose(map_, torch.tensor([[0.0, 1.25, 2.5, 3.75, 5.0, 5.0]]))
    alone = cam.upsample(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0, 3.0]), 4)
    assert torch.equal(alone, torch.full((1, 4), 3.0))


def test_upsampling_passes_through_the_steps():
    result = cam.upsample(
        torch.tensor([[0.0, 4.0, 2.0]]), torch.tensor([2.0, 6.0, 8.0], dtype=torch.float64), 11
    )
    assert result.tolist() == [[0, 0, 0, 1, 2, 3, 4, 3, 2, 2, 2]]


# ---------------------------------------------------------------- whole records


@pytest.fixture(scope="module")
def two_leads():
    torch.manual_seed(3)
    model = randomised(get_model("lenet", 3, 2))
    model.info = SimpleNamespace(crop=250, leads=("V1", "II"), labels=("a", "b", "c"))
    return model


@pytest.fixture(scope="module")
def signals():
    return np.random.default_rng(0).normal(size=(3, 1000, 12)).astype(np.float32)


COLUMNS = [LEADS.index("V1"), LEADS.index("II")]
READ = 223  # of LeNet's 250 samples: the strides stop short of the last 27


def test_windows_explain_the_mean_logit(two_leads, signals):
    x = torch.from_numpy(signals[:, :, COLUMNS]).transpose(1, 2).requires_grad_(True)
    mean = torch.stack(
        [two_leads(x[:, :, start : start + 250]) for start in range(0, 751, 125)]
    ).mean(dim=0)
    (expected,) = torch.autograd.grad(mean[[0, 1, 2], [0, 1, 2]].sum(), x)
    done = attribution.explain_records(two_leads, signals, [0, 1, 2], window="windows")
    found, seen = done.attributions[:, :, COLUMNS], slice(0, 750 + READ)
    assert np.abs(found[:, seen] - expected.transpose(1, 2).numpy()[:, seen]).max() <= 1e-6
    assert np.isnan(found[:, 750 + READ :]).all()
    assert not expected[:, :, 750 + READ :].any()
    assert np.isnan(np.delete(done.attributions, COLUMNS, axis=2)).all()
    assert np.allclose(done.logit, mean.detach().numpy()[[0, 1, 2], [0, 1, 2]], atol=1e-6)
    places = [0, 124, 125, 222, 223, 250, 874, 972, 973]
    assert np.allclose(done.coverage[places] * 7, [1, 1, 2, 2, 1, 2, 1, 1, 0])


@pytest.mark.parametrize(
    "method",
    [name for name in METHODS if METHODS[name].linear and name not in ("random", "smoothgrad")],
)
def test_map_of_the_windows_is_the_mean_of_their_maps(two_leads, signals, method):
    options = {**OPTIONS, "occlusion": {"piece": 125}}.get(method, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = attribution.explain_records(
            two_leads, signals[:2], 1, method, "windows", batch_size=4, **options
        )
        expected = np.zeros((2, 1000, 2))
        for start in range(0, 751, 125):
            piece = torch.from_numpy(signals[:2, start : start + 250, COLUMNS]).transpose(1, 2)
            part = attribution.attribute(two_leads, piece, 1, method, **options)
            expected[:, start : start + READ] += part.transpose(1, 2).numpy()[:, :READ] / 7
    found = done.attributions[:, :, COLUMNS]
    assert np.isnan(found[:, 750 + READ :]).all()
    error = np.abs(found - expected)[:, : 750 + READ].max()
    assert error <= 1e-6 * max(1, np.abs(expected).max())
    if done.ledger is not None:
        assert np.allclose(done.ledger[:, 0], done.ledger[:, 1:].sum(axis=1), atol=1e-5)
        assert np.allclose(np.nansum(done.attributions, axis=(1, 2)), done.ledger[:, 1], atol=1e-5)
        assert done.layers.shape == (2, len(done.layer_names), 3)
        assert np.allclose(done.layers.sum(axis=1), done.ledger[:, 2:], atol=1e-12)
        assert done.layer_names[0] == "head"


def test_centre_crop_leaves_the_rest_unknown(two_leads, signals):
    result = attribution.attribute_records(two_leads, signals, 2)
    assert np.isfinite(result[:, 375 : 375 + READ, COLUMNS]).all()
    assert np.isnan(result[:, :375]).all()
    assert np.isnan(result[:, 375 + READ :]).all()
    assert attribution.attribute_records(two_leads, signals[:0], 2).shape == (0, 1000, 12)


@pytest.mark.parametrize("method", METHODS)
def test_what_the_network_does_not_read_is_unknown_to_every_method(two_leads, signals, method):
    options = METHODS[method].quick
    done = attribution.explain_records(two_leads, signals[:1], 0, method, **options)
    assert np.isfinite(done.attributions[:, 375 : 375 + READ, COLUMNS]).all()
    assert np.isnan(done.attributions[:, 375 + READ : 625]).all()
    assert (done.coverage > 0).sum() == READ


def test_options_that_are_arrays_follow_the_windows(two_leads, signals):
    """Integrated gradients from the record itself are zero: the baseline must be cut like the
    signal.
    """
    done = attribution.explain_records(
        two_leads, signals, 0, "ig", "windows", baseline=signals.copy(), steps=1, max_steps=1
    )
    assert np.nanmax(np.abs(done.attributions)) == 0
    with pytest.raises(UserError, match="unknown window 'all'"):
        attribution.explain_records(two_leads, signals, 0, window="all")
