"""Planted causes: masks by hand, the gate by hand, and a model whose one feature is a planted
cause.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.files import UserError
from common.labels import LEADS
from ecg.segments import SEGMENTS
from records.dataset import centre_crop
from sanity.localisation import (
    check_planted,
    gate_table,
    measure_localisation,
    passes_gate,
    planted_masks,
    specific_auc,
)
from simulation.cohort import PARAMETERS, make_plan, render_plan
from simulation.truth import planted_cells
from small_subjects import BROKEN, exact, make_subject, segmented


def table(*cells):
    return pd.DataFrame(cells, columns=["label", "lead", "segment"])


def test_masks_hold_the_named_stretch_its_points_and_nothing_else():
    segments = segmented(2, length=60)
    cells = table(("LVH", "V5", "qr"), ("LVH", "V5", "rs"), ("IMI", "II", "(t"))
    masks = planted_masks(cells, np.array(["LVH", "NORM"]), segments)
    assert not masks[1].any()
    assert masks[0].any(axis=0).nonzero()[0].tolist() == [LEADS.index("V5")]
    covered = set(segments[0, masks[0][:, LEADS.index("V5")], 0].argmax(axis=1))
    assert {SEGMENTS[k] for k in covered} == {"Q-Peak", "qr", "R-Peak", "rs", "S-Peak"}


def test_truth_is_the_core_of_a_cause_and_nothing_of_rate_or_rhythm():
    named = [
        ("LVH", "V5", "R-Peak"),
        ("LVH", "V6", "R-Peak"),
        ("LVH", "V1", "(t"),
        ("STACH", "V1", "qj"),
        ("LVH", "all", "RR"),
    ]
    cells = table(*named)
    core = planted_cells(cells.assign(effect_abs=[0.8, 0.2, 0.19, 0.5, 99]))
    assert list(zip(core["label"], core["lead"], strict=True)) == [("LVH", "V5"), ("LVH", "V6")]


def test_gate_by_hand():
    cause = np.array([2.0, 2.0, 0.4, -3.0, 1.0])
    decoys = np.array([[0.1, -0.4], [0.1, 0.6], [0, 0], [0, 0], [0, -0.3]])
    assert passes_gate(cause, decoys).tolist() == [True, False, False, False, False]
    assert passes_gate(cause, np.zeros((5, 0))).tolist() == [True, True, False, False, True]


@pytest.fixture(scope="module")
def planted():
    """A linear model that looks at the mask and nowhere else, and the reference that says so."""
    subject = make_subject(n=6)
    masks = planted_masks(
        table(("LVH", "V5", "qr"), ("LVH", "V6", "qr")), np.array(["LVH"] * 6), subject.segments
    )
    weight = subject.model.head.weight.data.view(2, 12, -1)
    weight.zero_()
    weight[:, masks[0].T] = 1.0
    passed = np.array([True] * 5 + [False])
    every = np.stack([masks, np.roll(masks, 3, axis=2)])
    return subject, {
        "mask": masks,
        "every": every,
        "passed": passed,
        "statement": np.array(["LVH"] * 6),
        "effect": np.ones(6),
        "decoy": np.zeros(6),
    }


def scores(planted, explain):
    subject, reference = planted
    maps = explain(subject.model, subject.signals, subject.target)
    return {one.check: one for one in measure_localisation(subject, maps, explain, reference)}


def test_the_exact_explanation_of_a_model_that_uses_the_cause_scores_one_on_records_that_passed(
    planted,
):
    found = scores(planted, exact)
    for metric in ("pointing", "mass", "auc", "top_k"):
        one = found[f"localisation_{metric}_cell_absolute"]
        assert one.values == pytest.approx(np.ones(5))
        assert len(one.values) == 5


def test_where_signals_are_large_is_not_this_cause(planted):
    assert scores(planted, exact)["localisation_specific_auc_absolute"].values == pytest.approx(
        np.ones(5)
    )
    size = scores(planted, lambda _model, signals, _target: np.abs(signals))[
        "localisation_specific_auc_absolute"
    ]
    assert abs(size.values.mean() - 0.5) < 0.15
    assert (size.chance == 0.5).all()


def test_a_map_that_is_the_same_for_all_records_is_at_chance_whatever_it_shows():
    masks = np.zeros((2, 1, 10, 12), dtype=bool)
    masks[0, 0, :5, 2], masks[1, 0, 3:9, 7] = True, True
    own = masks[:, 0]  # one record of each cause
    every = np.stack([np.stack([masks[k, 0]] * 2) for k in range(2)])
    same = np.repeat(np.random.default_rng(0).random((1, 10, 12)), 2, axis=0)
    assert specific_auc(same, own, every).mean() == pytest.approx(0.5)
    assert specific_auc(own.astype(float), own, every) == pytest.approx(np.ones(2))


def test_shuffled_leads_are_caught(planted):
    found = scores(planted, BROKEN["shuffled leads"](exact))
    assert (found["localisation_mass_cell_absolute"].values == 0).all()
    assert found["localisation_mass_time_absolute"].values == pytest.approx(np.ones(5))


def test_no_record_through_the_gate_gives_no_score(planted):
    subject, reference = planted
    shut = {**reference, "passed": np.zeros(6, dtype=bool)}
    assert measure_localisation(subject, np.zeros(subject.signals.shape), exact, shut) == []


def test_gate_table_counts(planted):
    row = gate_table(*planted).iloc[0]
    assert (row["statement"], row["n"], row["passed"], row["effect"]) == ("LVH", 6, 5, 1)


def test_the_truth_of_another_cohort_is_refused_though_the_numbers_are_the_same(tmp_path):
    plans = {}
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        plans[seed] = make_plan(12, seed)
        plans[seed].to_csv(tmp_path / str(seed) / PARAMETERS, index=False)
    whole = render_plan(plans[0].iloc[:6]).astype(np.float32) / 1000
    subject = replace(make_subject(n=6), signals=centre_crop(whole, 250))
    assert subject.ecg_id.tolist() == plans[0]["ecg_id"].tolist()[:6]
    check_planted(subject, tmp_path / "0")
    with pytest.raises(UserError, match="ECG 1 is another one or not there; name its folder"):
        check_planted(subject, tmp_path / "1")
    later = replace(subject, ecg_id=np.append(subject.ecg_id[:-1], 106))
    with pytest.raises(UserError, match="ECG 106 is another one or not there"):
        check_planted(later, tmp_path / "0")
