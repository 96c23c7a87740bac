"""Where causes show: the known truth against what is known of each cause."""

import numpy as np
import pandas as pd
import pytest

from common.labels import LEADS
from simulation.causes import CAUSES, DECOYS
from simulation.cohort import make_hearts, make_plan, severity_column
from simulation.heart import twelve_leads
from simulation.rhythm import make_rhythm, render_clean
from simulation.truth import (
    SEGMENTS,
    SMALLEST_CHANGE_MV,
    beat_fiducials,
    measure_truth,
    planted_causes,
    segmentation,
)


@pytest.fixture(scope="module")
def planted(monkeypatch_module):
    monkeypatch_module.setattr("simulation.truth.MOST_RECORDS", 8)
    return planted_causes(make_plan(500, 6))


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def cells(planted, label):
    table = planted[0]
    return set(map(tuple, table.loc[table["label"] == label, ["lead", "segment"]].to_numpy()))


def changed_cells(table, label):
    """(12, 24) absolute change of a cause in mV, per lead and segment."""
    array = np.zeros((len(LEADS), len(SEGMENTS)))
    for row in table[table["label"] == label].itertuples():
        array[LEADS.index(row.lead), SEGMENTS.index(row.segment)] = row.effect_abs
    return array


def leads_of(planted, label):
    return {lead for lead, _ in cells(planted, label)}


def test_every_cause_but_norm_has_rows_in_mv_or_ms(planted):
    labelled = set(planted[0]["label"]) | set(planted[1]["label"])
    assert labelled == {*CAUSES, *DECOYS} - {"NORM"}
    assert (planted[0]["effect_abs"] >= SMALLEST_CHANGE_MV).all()
    assert (planted[0]["effect"].abs() <= planted[0]["effect_abs"] + 1e-4).all()
    assert set(planted[0]["segment"]) <= set(SEGMENTS)
    assert set(planted[0]["lead"]) <= set(LEADS)


def test_decoys_stay_in_their_leads(planted):
    assert leads_of(planted, "late_notch") == {"V3", "V4"}
    assert leads_of(planted, "u_wave") <= {"V2", "V3", "V4"}
    assert leads_of(planted, "baseline_step") == {"V1", "V2", "V3"}
    assert leads_of(planted, "tremor") <= {"I", "II", "III", "aVR", "aVL", "aVF"}


def test_the_notch_lies_at_the_end_of_the_qrs(planted):
    late = {
        "rs",
        "S-Peak",
        "q)",
        "QRS-Offset",
        "qj",
        "J-point",
        "jt",
        "Q-Peak",
    }  # in a QS complex the lowest point is a Q
    assert {segment for _, segment in cells(planted, "late_notch")} <= late


def test_infarcts_show_where_their_names_say(planted):
    inferior, septal = (changed_cells(planted[0], name) for name in ("IMI", "ASMI"))
    lead = {name: LEADS.index(name) for name in LEADS}
    qrs = slice(SEGMENTS.index("QRS-Onset"), SEGMENTS.index("J-point"))
    assert (
        inferior[lead["aVF"], qrs].max()
        > 3 * inferior[[lead[f"V{k}"] for k in range(1, 7)], qrs].max()
    )
    assert septal[lead["V2"], qrs].max() > 3 * septal[:6, qrs].max()


def test_lvh_raises_r_in_v5_and_deepens_s_in_v1(planted):
    table = planted[0].set_index(["label", "lead", "segment"])["effect"]
    assert table["LVH", "V5", "R-Peak"] > 0.4
    assert table["LVH", "V1", "S-Peak"] < -0.3


def test_times_are_those_that_the_causes_change(planted):
    times = planted[1].set_index(["label", "quantity"])["effect"]
    assert times["1AVB", "PR"] > 40
    assert times["CLBBB", "QRS"] > 35
    assert times["STACH", "RR"] < -150
    assert times["SBRAD", "RR"] > 150
    assert ("IMI", "RR") not in times.index


def test_a_longer_pr_shows_in_the_p_wave_and_hardly_in_the_qrs(planted):
    """The atria's recovery moves with P, under the QRS: a little of the change lies there."""
    change = changed_cells(planted[0], "1AVB")
    p, qrs = (
        change[:, [SEGMENTS.index(name) for name in names]].mean()
        for names in (("(p", "P-Peak", "p)", "P-Offset"), ("qr", "R-Peak", "rs", "S-Peak"))
    )
    assert p > 3 * qrs


def test_the_change_of_a_record_agrees_with_a_slow_sum(planted):
    """One record, one cause, added up sample by sample."""
    plan = make_plan(400, 6)
    plan = plan[plan["severity_LVH"] > 0].head(1).reset_index(drop=True)
    table, _ = planted_causes(plan)
    row = table[
        (table["label"] == "LVH") & (table["lead"] == "V5") & (table["segment"] == "rs")
    ].iloc[0]
    having, lacking = make_hearts(plan), make_hearts(plan.assign(**{severity_column("LVH"): 0.0}))
    ecg_id = int(plan["ecg_id"].iat[0])
    rhythm = make_rhythm(having, 0, 6, ecg_id)
    sides = [
        twelve_leads(render_clean(hearts, 0, rhythm, 6, ecg_id, 100))[:, LEADS.index("V5")]
        for hearts in (having, lacking)
    ]
    change = sides[0] - sides[1]
    truths = measure_truth(having.normal), measure_truth(having.ectopic)
    share = (
        segmentation(truths, 0, rhythm, beat_fiducials(truths, 0, rhythm))[
            :, LEADS.index("V5"), SEGMENTS.index("rs")
        ]
        / 255
    )
    total = weight = 0.0
    for sample in range(1000):
        total += share[sample] * abs(change[sample])
        weight += share[sample]
    assert row["effect_abs"] == pytest.approx(total / weight, abs=1e-3)


def test_no_cause_no_rows():
    plan = make_plan(20, 1)
    empty = plan.assign(
        **{column: 0.0 for column in plan if column.startswith(("severity_", "decoy_"))}
    )
    changes, times = planted_causes(empty)
    assert isinstance(changes, pd.DataFrame)
    assert len(changes) == len(times) == 0
