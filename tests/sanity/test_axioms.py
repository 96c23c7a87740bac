"""Axioms: every claim of the registry holds on LeNet and XResNet, and what breaks an axiom is
caught.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from attribution.methods import METHODS, Explainer, get_method, make_explainers
from common.labels import LEADS
from foreign_networks import foreign
from networks.foreign import wrap
from networks.models import get_model
from sanity.axioms import (
    TOLERANCES,
    batch_invariance,
    completeness,
    implementation_invariance,
    linear,
    linear_network,
    measure_axioms,
    network_stride,
    sensitivity_n,
    shift_equivariance,
    verdicts,
    why_not_moved,
)
from small_subjects import BROKEN, exact, gradient, make_subject

LENGTH = 250


def network(name, seed=0):
    """A network with BatchNorm statistics as after training."""
    torch.manual_seed(seed)
    model = get_model(name, 2)
    model.info = make_subject(n=1).model.info
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    model(torch.randn(16, 12, LENGTH))
    return model.eval()


@pytest.fixture(scope="module")
def lenet():
    return make_subject(network("lenet"), n=3, length=LENGTH)


@pytest.mark.parametrize("method", [*METHODS, "lrp:epsilon"])
def test_every_claim_of_the_registry_is_kept_on_lenet(lenet, method):
    costly = get_method(method).passes > 500
    explain = make_explainers([method], quick=costly)[method]
    maps = explain(lenet.model, lenet.signals, lenet.target)
    records = [one.table().assign(method=method) for one in measure_axioms(lenet, maps, explain)]
    table = verdicts(pd.concat(records), {method: explain.axioms})
    claimed = table[table["claimed"]]
    assert set(claimed["axiom"]) == {*explain.axioms, "batch_invariance"}
    assert claimed["kept"].all(), claimed.to_string()


def test_shift_equivariance_and_invariance_on_xresnet():
    subject = make_subject(network("xresnet"), n=1, length=LENGTH)
    assert network_stride(subject.model) == 32
    for method in ("saliency", "lrp", "gradcam"):
        explain = Explainer(method)
        assert shift_equivariance(subject, explain) < TOLERANCES["shift_equivariance"]
    assert implementation_invariance(subject, Explainer("saliency")) < 1e-4


def test_a_map_that_depends_on_its_batch_is_caught(lenet):
    def leaky(model, signals, target):
        return exact(model, signals, target) - signals.mean(axis=0, keepdims=True)

    assert batch_invariance(lenet, exact).max() < 1e-5
    assert batch_invariance(lenet, leaky).min() > 0.1


def test_a_map_tied_to_absolute_time_is_caught(lenet):
    def tied(model, signals, target):
        return gradient(model, signals, target) * np.linspace(0, 1, signals.shape[1])[None, :, None]

    assert shift_equivariance(lenet, gradient).max() < 1e-4
    assert shift_equivariance(lenet, tied).min() > 1e-2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit", "changes by"),  # positions up to the end of a longer record
        ("dense_per_step", ""),
        ("functional_resnet", ""),
    ],
)
def test_only_networks_that_move_with_their_record_are_asked_to(name, reason, lenet):
    model = foreign(name)
    model.info = lenet.model.info
    assert reason in why_not_moved(replace(lenet, model=model))
    assert bool(reason) == bool(why_not_moved(replace(lenet, model=model)))
    stored = wrap(model, ["a", "b", "c"], seconds=LENGTH / 100)
    subject = replace(lenet, model=stored)
    few = "takes no other length" if name in ("vit", "dense_per_step") else reason
    assert few in why_not_moved(subject)
    explain = Explainer("saliency")
    maps = explain(stored, subject.signals, subject.target)
    asked = {one.check for one in measure_axioms(subject, maps, explain)}
    assert ("axiom_shift_equivariance" in asked) == (not few)
    assert "axiom_implementation_invariance" in asked


def test_completeness_of_a_linear_model_and_of_broken_maps():
    subject = make_subject(n=5)
    maps = exact(subject.model, subject.signals, subject.target)
    assert completeness(subject, maps).max() < 1e-4
    for name in ("wrong target", "sign flipped"):
        broken = BROKEN[name](exact)(subject.model, subject.signals, subject.target)
        assert completeness(subject, broken).max() > 0.1
    assert completeness(subject, maps * 1.05).max() > TOLERANCES["completeness"]


def test_sensitivity_n_is_one_for_the_exact_explanation_and_not_for_a_broken_one():
    subject = make_subject(n=4)
    model = linear_network(120, 2, LEADS)
    right = exact(model, subject.signals, subject.target)
    assert sensitivity_n(model, subject.signals, subject.target, right) == pytest.approx(
        np.ones(4), abs=1e-5
    )
    assert linear(subject, exact).max() < TOLERANCES["linear_exactness"]
    for name, breaker in BROKEN.items():
        assert linear(subject, breaker(exact)).mean() > 0.3, name
    assert sensitivity_n(
        model, subject.signals, subject.target, np.zeros_like(right)
    ) == pytest.approx(np.zeros(4))


def test_implementation_invariance_catches_a_map_that_reads_the_weights(lenet):
    def weights(model, signals, target):
        size = sum(float(weight.detach().abs().sum()) for weight in model.parameters())
        return gradient(model, signals, target) * size

    assert implementation_invariance(lenet, gradient).max() < 1e-4
    assert implementation_invariance(lenet, weights).min() > 1e-2


def test_a_method_is_held_to_its_claims_only_and_to_its_worst_record():
    subject = make_subject(n=4)
    values = np.array([0.001, 0.5, 0.001, 0.001])
    records = subject.measured("axiom_completeness", values, best=0.0).table().assign(method="ig")
    table = verdicts(records, {"ig": ("completeness",)}).iloc[0]
    assert table["claimed"]
    assert not table["kept"]
    assert table["worst"] == 0.5
    assert not verdicts(records, {"ig": ()}).iloc[0]["claimed"]


def test_ledger_gap_is_measured_where_there_is_a_ledger(lenet):
    assert (
        Explainer("lrp").ledger_gap(lenet.model, lenet.signals, lenet.target).max()
        < TOLERANCES["conservation"]
    )
    assert Explainer("saliency").ledger_gap(lenet.model, lenet.signals, lenet.target) is None
    assert (
        replace(Explainer("ig"), options={"steps": 1, "max_steps": 1})(
            lenet.model, lenet.signals, lenet.target
        ).shape
        == lenet.signals.shape
    )


def test_invariances_are_computed_in_float64_with_the_given_model_left_alone(lenet):
    seen, saliency = [], make_explainers(["saliency"])["saliency"]

    def explain(model, signals, target):
        seen.append(next(model.parameters()).dtype)
        return saliency(model, signals, target)

    maps = saliency(lenet.model, lenet.signals, lenet.target)
    found = {one.check: one.values.max() for one in measure_axioms(lenet, maps, explain)}
    assert set(seen[:-1]) == {torch.float64}  # the last one is of the linear network
    assert next(lenet.model.parameters()).dtype == torch.float32
    assert found["axiom_implementation_invariance"] < 1e-6


def test_a_deviation_that_has_no_value_is_not_kept():
    subject = make_subject(n=3)
    values = np.array([0.0, np.nan, 0.0])
    records = subject.measured("axiom_completeness", values, best=0.0).table().assign(method="ig")
    assert not verdicts(records, {"ig": ("completeness",)}).iloc[0]["kept"]
