"""Odd networks of others: the graph has their logits and gradients, maps add up, LRP's ledger
closes and agrees with input x gradient where it must; what cannot go in is refused in one line.
"""

import copy

import pytest
import torch
from torch import nn

from attribution import lrp
from attribution.gradients import CompletenessWarning
from attribution.lrp import Preset
from attribution.lrp_rules import Epsilon
from attribution.methods import explain, workable
from common.files import UserError
from networks.checkpoints import load_model, save_checkpoint
from networks.foreign import wrap
from odd_blocks import BLOCKS
from odd_cases import (
    ODD,
    OPTIONS,
    PIECEWISE_LINEAR,
    REFUSED,
    SQUASHED,
    WITHOUT_RULE,
    as_it_takes,
    labels_of,
    logits_of,
    odd,
)
from odd_ends import ENDS
from odd_networks import SAMPLES, Odd, mean_head
from odd_recent import RECENT
from odd_written import Signals

TARGET = torch.tensor([0, 1, 2])
TINY = Preset(Epsilon(1e-12), Epsilon(1e-12))
# of networks that compute with few digits themselves
ROUNDING = {"half_precision": 2e-3, "brain_float": 3e-2, "autocast_inside": 3e-2}
# half of the way in bfloat16 rounds what the ledger adds up: LRP may say that it does not close
COARSE = ("float_inside", "autocast_inside")
WITHOUT_GRADIENT = ("no_grad_inside", "patches_per_lead")  # stop their own gradient
# at signals of 0 mV, or leaping on the way from there: the gap is said
STEEP = (
    "instance_normed", "fourier_by_convolution", "over_quantile", "between_percentiles",
    "experts_of_tokens", "experts_by_top", "pcen",
)  # fmt: skip
QUICK = (
    "cross_attention", "rectifiers", "tracked_instance_norm", "max_of_all", "linear_attention",
    "recurrence_by_hand", "last_image", "leads_as_channels", "traced", "bare", "two_inputs",
    "additive_mask", "nystrom", "splines", "ordered", "of_parts", "filled_by_hand", "loaded_script",
    "folded", "experts_of_tokens", "added_at_places", "probability_of_one_minus",
)  # fmt: skip


def marked(names):
    """The names, those of odd_blocks.py, odd_ends.py and odd_recent.py slow but for a few."""
    slow = (BLOCKS.keys() | ENDS.keys() | RECENT.keys()) - set(QUICK)
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in names]


GOING_IN = marked(name for name in ODD if name not in REFUSED)


@pytest.fixture(scope="module")
def x():
    return torch.randn(3, 12, SAMPLES, generator=torch.Generator().manual_seed(1))


def wrapped(name):
    return wrap(odd(name), labels_of(name), seconds=SAMPLES / 100, **OPTIONS.get(name, {}))


def targets(name):
    """An output per record."""
    return TARGET % len(labels_of(name))


@pytest.mark.parametrize("name", marked(REFUSED))
def test_what_cannot_go_in_is_refused_in_one_line(name):
    with pytest.raises(UserError) as caught:
        wrapped(name)
    assert REFUSED[name] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", GOING_IN)
def test_the_graph_has_the_networks_logits_and_gradients(name, x, tmp_path):
    network, program = odd(name).eval(), wrapped(name)
    save_checkpoint(tmp_path / "best_model.ckpt", program, program.info)
    program = load_model(tmp_path / "best_model.ckpt")
    own = next(network.parameters()).dtype
    signals = as_it_takes(name, x).to(own).requires_grad_(True)
    logits = logits_of(name, network(signals))
    tolerance = ROUNDING.get(name, 1e-5)
    squash = SQUASHED.get(name, lambda z: z)
    assert torch.allclose(squash(program(x)), logits.float(), atol=tolerance)
    if name in WITHOUT_GRADIENT or name in SQUASHED:
        return
    (slope,) = torch.autograd.grad(logits.gather(1, targets(name)[:, None]).sum(), signals)
    map_ = as_it_takes(name, explain(program, x, targets(name), "saliency").attributions)
    assert (map_ - slope).abs().max() <= tolerance * slope.abs().max()


@pytest.mark.parametrize("name", GOING_IN)
def test_integrated_gradients_add_up(name, x):
    if name in STEEP:
        pytest.skip("steep at 0 mV")
    found = explain(wrapped(name), x, targets(name), "ig", steps=200, max_steps=200)
    size = found.attributions.flatten(1).sum(1).abs().clamp(min=0.2)
    assert (found.gap.abs() / size).max() < 0.1


@pytest.mark.parametrize("name", GOING_IN)
def test_lrp_closes_its_ledger_or_is_left_out_by_name(name, x):
    program = wrapped(name)
    _, left_out = workable(["lrp", "saliency"], program)
    assert ("lrp" in left_out) == (name in WITHOUT_RULE)
    if left_out:
        assert f"LRP has no rule for {WITHOUT_RULE[name]}" in left_out["lrp"]
        return
    double, target = copy.deepcopy(program).double(), targets(name)
    for preset in ("epsilon", "epsilon_plus", "epsilon_gamma"):
        single = lrp.lrp(program, x, target, preset)[1]
        precise = lrp.lrp(double, x.double(), target, preset)[1]
        if name in COARSE:
            continue
        assert single.gap.abs().max() <= 1e-5, preset
        assert precise.gap.abs().max() <= 1e-9, preset
    if name in PIECEWISE_LINEAR:
        by_rule, _ = lrp.lrp(double, x.double(), target, TINY)
        by_gradient = explain(double, x.double(), target, "input_x_gradient").attributions
        assert (by_rule - by_gradient).abs().max() <= 1e-4 * by_gradient.abs().max()


def test_looking_at_a_network_leaves_it_as_it_was():
    network = odd("counting").train()
    before = copy.deepcopy(network.state_dict())
    wrap(network, list("abc"), seconds=SAMPLES / 100)
    assert network.training
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)


def test_a_gap_that_is_no_number_is_said(x):
    own = wrap(Signals(lambda x: x.abs().log()), list("abc"), seconds=SAMPLES / 100)
    with pytest.warns(CompletenessWarning, match="no finite logit at the baseline"):
        found = explain(own, x, torch.zeros(len(x), dtype=torch.long), "ig")
    assert found.missed.all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: (x > 0).to(x.dtype), "has no gradient"),
        (lambda x: (x * 1000).to(torch.int16).to(x.dtype), "has no gradient"),
        (lambda x: torch.round(x * 200) / 200, "gradient is zero on records of noise"),
    ],
)
def test_a_network_that_changes_in_steps_alone_is_left_to_other_methods(change, said):
    own = wrap(Signals(change), list("abc"), seconds=SAMPLES / 100)
    gradients = ["saliency", "input_x_gradient", "smoothgrad", "ig", "gradient_shap", "deeplift"]
    kept, left_out = workable([*gradients, "lrp", "occlusion", "gradcam"], own)
    assert kept == ["occlusion", "gradcam"]  # which looks behind the steps
    assert all(said in left_out[method] for method in gradients)
    assert "no way" in left_out["lrp"]


def test_maps_behind_the_last_step_are_refused(x):
    own = wrap(Odd(lambda self, y: mean_head(self, (y > 0).to(y.dtype))), list("abc"),
               seconds=SAMPLES / 100)  # fmt: skip
    for method in ("saliency", "guided_gradcam", "ig", "deeplift"):
        with pytest.raises(UserError, match=r"no gradient|no class activation map"):
            explain(own, x, 0, method)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(12 * SAMPLES, 3, dtype=torch.cfloat)), "complex"),
        (nn.Sequential(nn.Conv1d(12, 3, 3), nn.AdaptiveAvgPool1d(1)), "no finite numbers"),
        (Odd(lambda self, y: mean_head(self, y.squeeze())), "drops the axis of a single one"),
        (Odd(lambda self, y: self.head(y.transpose(1, 2))), "as by a mean over the others"),
    ],
)
def test_what_is_wrong_with_a_network_is_said_with_a_remedy(network, said):
    if "finite" in said:
        network[0].weight.data[0] = torch.nan
    with pytest.raises(UserError, match=said) as caught:
        wrap(network, list("abc"), seconds=SAMPLES / 100)
    assert "\n" not in str(caught.value)
