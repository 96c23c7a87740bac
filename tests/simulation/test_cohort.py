"""Who has what, what causes do to hearts, and records without a cause."""

import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from clinical_criteria import judge
from common.files import UserError
from simulation import cohort
from simulation.causes import BORDERLINE, CAUSES, DECOYS
from simulation.cohort import (
    PARAMETERS,
    SMALLEST_SHARE,
    combinations,
    counterfactual,
    make_hearts,
    make_plan,
    render_plan,
    severity_column,
)
from simulation.truth import measure_truth


@pytest.fixture(scope="module")
def plan():
    return make_plan(1000, 11)


def has(plan, name):
    return (plan[severity_column(name)] > 0).to_numpy()


def test_the_same_seed_gives_the_same_plan_and_another_one_does_not():
    pd.testing.assert_frame_equal(make_plan(50, 3), make_plan(50, 3))
    assert not make_plan(50, 3).equals(make_plan(50, 4))


def test_folds_are_by_patient_and_balanced(plan):
    assert plan.groupby("patient_id")["strat_fold"].nunique().max() == 1
    share = plan["strat_fold"].value_counts(normalize=True)
    assert set(share.index) == set(range(1, 11))
    assert share.between(0.08, 0.12).all()
    repeated = len(plan) - plan["patient_id"].nunique()
    assert 0.04 < repeated / len(plan) < 0.1


def test_every_statement_occurs_and_every_record_has_one(plan):
    counts = {name: has(plan, name).mean() for name in CAUSES}
    assert min(counts.values()) > 0.5 * SMALLEST_SHARE, counts
    assert np.any([has(plan, name) for name in CAUSES], axis=0).all()


def test_rare_statements_are_raised_and_what_occurs_with_them_stays():
    names, share = combinations()
    has_wpw = np.array(["WPW" in group for group in names])
    assert share[has_wpw].sum() == pytest.approx(SMALLEST_SHARE, rel=0.05)
    lvh, isc = (np.array([name in group for group in names]) for name in ("LVH", "ISC_"))
    assert 0.45 < share[lvh & isc].sum() / share[lvh].sum() < 0.65  # 79 of 136 in PTB-XL


def test_counts_of_combinations_are_those_of_the_real_records(ptbxl):
    table = pd.read_csv(Path(cohort.__file__).with_name("label_combinations.csv"))
    counts = table.set_index("labels")["records"]
    codes = pd.read_csv(ptbxl / "ptbxl_database.csv")["scp_codes"].map(ast.literal_eval)
    real = codes.map(lambda cell: frozenset(set(cell) & set(CAUSES)))
    real = real[real.map(len) > 0].value_counts()
    assert {frozenset(text.split()): count for text, count in counts.items()} == real.to_dict()


def test_decoys_are_independent_of_every_statement():
    plan = make_plan(4000, 2)
    p = [
        fisher_exact(pd.crosstab(has(plan, decoy), has(plan, name)))[1]
        for decoy in DECOYS
        for name in CAUSES
    ]
    assert min(p) > 0.05 / len(p)
    assert all(0.25 < has(plan, decoy).mean() < 0.35 for decoy in DECOYS)


def test_borderline_changes_are_slight_and_never_in_labelled_records(plan):
    columns = [column for column in plan if column.startswith("borderline_")]
    assert len(columns) == sum(cause.borderline > 0 for cause in CAUSES.values()) > 0
    for column in columns:
        slight = plan[column] > 0
        assert plan.loc[slight, column].between(*BORDERLINE).all()
        assert not (slight & has(plan, column.removeprefix("borderline_"))).any()


def test_clinical_criteria_hold_on_the_simulated_waves(plan):
    plan = plan.head(500)
    hearts = make_hearts(plan)
    table = measure_truth(hearts.normal).measurements
    table["Heart_Rate_Global"] = 60000 / hearts.rr
    met = judge(table)
    normal = has(plan, "NORM") & ~np.any(
        [has(plan, name) for name in CAUSES if name != "NORM"], axis=0
    )
    for name in met:
        in_class, in_normal = met[name][has(plan, name)].mean(), met[name][normal].mean()
        assert in_class >= 0.85, (
            f"{name}: {in_class:.2f} of its records meet {CAUSES[name].criterion}"
        )
        assert in_normal <= 0.35, (
            f"{name}: {in_normal:.2f} of normal records meet {CAUSES[name].criterion}"
        )


def test_fresh_inferior_infarctions_raise_the_inferior_st_and_old_ones_do_not():
    plan = make_plan(3000, 5)
    fresh, imi = has(plan, "IMI") & (plan["fresh_IMI"] > 0), has(plan, "IMI")
    assert 0.02 < fresh.mean() < 0.04
    assert not (plan["fresh_IMI"] > 0)[~imi].any()
    alone = plan[
        imi & ~np.any([has(plan, name) for name in ("LVH", "CLBBB", "CRBBB", "LAFB")], axis=0)
    ].reset_index(drop=True)
    level, old = (
        measure_truth(make_hearts(part).normal).measurements
        for part in (alone, alone.assign(fresh_IMI=0.0))
    )
    recent = (alone["fresh_IMI"] > 0).to_numpy()
    assert (level.loc[recent, ["J_Amp_III", "J_Amp_aVF"]] >= 0.1).all(axis=1).mean() > 0.85
    assert (level.loc[recent, "J_Amp_aVL"] < -0.05).mean() > 0.85
    assert abs(level.loc[~recent, "J_Amp_III"].median()) < 0.03
    pd.testing.assert_frame_equal(level[~recent], old[~recent])


def test_undoing_an_infarction_undoes_its_fresh_st_elevation():
    plan = make_plan(600, 5)
    plan = plan[plan["fresh_IMI"] > 0].reset_index(drop=True)
    undone, never = (
        make_hearts(plan.assign(severity_IMI=0.0, **extra)) for extra in ({}, {"fresh_IMI": 0.0})
    )
    np.testing.assert_array_equal(undone.normal.amplitude, never.normal.amplitude)


def test_every_cause_changes_the_heart_and_undoing_all_leaves_a_normal_one(plan):
    few = plan.head(150)
    nothing = few.assign(
        **{
            column: 0.0
            for column in few
            if column.startswith(("severity_", "decoy_", "borderline_"))
        }
    )
    bare = make_hearts(nothing)
    for name, cause in {**CAUSES, **DECOYS}.items():
        one = make_hearts(nothing.assign(**{severity_column(name): 1.0}))
        changed = [
            np.abs(one.normal.amplitude - bare.normal.amplitude).max(),
            np.abs(one.rr - bare.rr).max(),
            np.abs(one.normal.pr - bare.normal.pr).max(),
            one.severity.get(cause.overlay, np.zeros(1)).max(),
        ]
        assert (max(changed) > 0.05) == (name != "NORM"), name


# ---------------------------------------------------------------- what if


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The plan of a small cohort on disk, as simulate_ptbxl.py leaves it."""
    folder = tmp_path_factory.mktemp("plan")
    plan = make_plan(120, 9)
    plan.to_csv(folder / PARAMETERS, index=False)
    return folder, plan


def test_counterfactual_without_undo_is_the_record_itself(stored):
    folder, plan = stored
    ids = plan["ecg_id"].to_numpy()[[7, 3, 50]]
    expected = render_plan(plan.iloc[[7, 3, 50]]).astype(np.float32) / 1000
    np.testing.assert_array_equal(counterfactual(folder, ids), expected)


def test_undoing_lvh_lowers_r_in_v5_and_leaves_others_alone(stored):
    folder, plan = stored
    with_lvh, without = (
        plan.loc[has(plan, "LVH"), "ecg_id"].to_numpy()[:6],
        plan.loc[~has(plan, "LVH"), "ecg_id"].to_numpy()[:6],
    )
    before, after = counterfactual(folder, with_lvh), counterfactual(folder, with_lvh, undo="LVH")
    v5 = 10
    assert (before[:, :, v5].max(axis=1) > after[:, :, v5].max(axis=1) + 0.1).mean() > 0.8
    np.testing.assert_array_equal(
        counterfactual(folder, without, undo="LVH"), counterfactual(folder, without)
    )


def test_undoing_a_notch_changes_v3_and_v4_alone(stored):
    folder, plan = stored
    ids = plan.loc[has(plan, "late_notch"), "ecg_id"].to_numpy()[:5]
    change = np.abs(
        counterfactual(folder, ids) - counterfactual(folder, ids, undo="late_notch")
    ).max(axis=(0, 1))
    assert (change[[8, 9]] > 0.1).all()
    np.testing.assert_allclose(np.delete(change, [8, 9]), 0, atol=1e-6)


def test_undoing_a_step_leaves_the_time_before_it_alone(stored):
    folder, plan = stored
    ids = plan.loc[has(plan, "baseline_step"), "ecg_id"].to_numpy()[:5]
    change = np.abs(counterfactual(folder, ids) - counterfactual(folder, ids, undo="baseline_step"))
    assert (change.max(axis=(1, 2)) > 0.15).all()
    assert change[:, :250].max() < 1e-6
    assert change[:, :, :6].max() < 1e-6, "limb leads have no step"


def test_undoing_fibrillation_brings_p_waves_and_order_back(stored):
    folder, plan = stored
    row = plan[has(plan, "AFIB") & ~has(plan, "PVC")].head(1)
    irregular, regular = (make_hearts(part) for part in (row, row.assign(severity_AFIB=0.0)))
    p = [0, 1]
    assert np.abs(irregular.normal.amplitude[:, p]).max() == 0
    assert np.abs(regular.normal.amplitude[:, p]).max() > 0.02
    ids = row["ecg_id"].to_numpy()
    assert (
        np.abs(counterfactual(folder, ids) - counterfactual(folder, ids, undo="AFIB")).max() > 0.2
    )


@pytest.mark.parametrize(
    ("ids", "undo", "message"),
    [([1, 999], None, "no record with ecg_id 999"), ([1], "LHV", "unknown cause or decoy LHV")],
)
def test_unknown_records_and_causes_are_named(stored, ids, undo, message):
    with pytest.raises(UserError, match=message):
        counterfactual(stored[0], ids, undo=undo)


def test_a_cohort_that_was_not_simulated_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"only a cohort made by simulate_ptbxl\.py"):
        counterfactual(tmp_path, [1])
