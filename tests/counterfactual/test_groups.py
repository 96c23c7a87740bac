"""Groups: counts, medians, and a card that is only beaten by chance where edits are elsewhere."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from common.labels import LEADS
from counterfactual.groups import card_table, cost_map, group_table
from counterfactual.job import ALONE_COLUMNS, EDIT_COLUMNS
from ecg.segments import SEGMENTS, WAVES


def records(n, pathology="LVH", turned=True):
    return pd.DataFrame(
        {"ecg_id": np.arange(n), "pathology": pathology, "direction": "remove", "turned": turned}
    )


def edit_lines(names, dose=-0.4):
    """One edit per record."""
    lines = []
    for ecg_id, name in enumerate(names):
        wave, *leads = name.split()
        what = (name, wave, " ".join(leads), "amplitude", "mV")
        lines.append((ecg_id, "LVH", *what, dose, dose, 1.0))
    return pd.DataFrame(lines, columns=EDIT_COLUMNS)


def card_of(leads, wave, sign):
    cells, signs = np.zeros((12, 24), bool), np.zeros((12, 24), int)
    for lead in leads:
        for segment in WAVES[wave]:
            cells[LEADS.index(lead), SEGMENTS.index(segment)] = True
            signs[LEADS.index(lead), SEGMENTS.index(segment)] = sign
    return SimpleNamespace(cells=cells, signs=signs)


PATIENTS = {number: number // 2 for number in range(40)}  # two records each


def test_edits_inside_the_card_are_above_chance_and_elsewhere_are_not():
    lines, table = edit_lines(["R V5 V6"] * 20), records(20)
    right = card_table(table, lines, {"LVH": card_of(("V5", "V6"), "R", 1)}, PATIENTS, 2000).iloc[0]
    assert right["inside"] == pytest.approx(1)
    assert right["p"] < 0.05  # one pair of 11 leads in 55
    assert right["chance"] == pytest.approx(2 / 11, abs=0.03)
    assert right["sign_agreement"] == 1  # R was lowered, and a tall R argues for LVH
    wrong = card_table(table, lines, {"LVH": card_of(("V1", "V2"), "R", 1)}, PATIENTS, 2000).iloc[0]
    assert wrong["inside"] == 0
    assert wrong["p"] == 1
    raised = edit_lines(["R V5 V6"] * 20, dose=0.4)
    against = card_table(table, raised, {"LVH": card_of(("V5", "V6"), "R", 1)}, PATIENTS, 2000)
    assert against["sign_agreement"].iloc[0] == 0


def test_only_turned_records_count_for_the_card_and_all_for_the_share():
    table = records(10)
    table.loc[5:, "turned"] = False
    lines = edit_lines(["R V5"] * 5 + ["S V1"] * 5)
    line = card_table(table, lines, {"LVH": card_of(("V5",), "R", 1)}, PATIENTS, 500).iloc[0]
    assert line["inside"] == pytest.approx(1)
    assert line["turned"] == 0.5
    assert line["turned_low"] < 0.5 < line["turned_high"]
    assert (line["n_records"], line["n_patients"]) == (10, 5)


def test_a_change_of_a_limb_lead_counts_for_those_that_follow_it():
    size, signed = cost_map(edit_lines(["R II"]))
    assert set(np.flatnonzero(size.sum(axis=1))) == {
        LEADS.index(lead) for lead in ("II", "III", "aVF")
    }
    assert size.sum() == pytest.approx(1)
    assert signed.sum() == pytest.approx(-1)


def test_a_change_of_an_interval_that_lies_in_no_cell_is_none_inside_the_card():
    lines = edit_lines(["R V5", "QT interval"]).assign(ecg_id=0, cost=[1.0, 3.0])
    assert cost_map(lines)[0].sum() == pytest.approx(1 / 4)
    card = {"LVH": card_of(("V5",), "R", 1)}
    assert card_table(records(1), lines, card, PATIENTS, 500)["inside"][0] == pytest.approx(1 / 4)
    assert cost_map(edit_lines(["RR interval"]))[0].sum() == 0
    assert cost_map(edit_lines(["QRS duration"]))[0].sum() == pytest.approx(1)


def test_groups_count_each_edit_that_suffices():
    table, lines = records(20), edit_lines(["R V5"] * 20)
    own = [(number, "LVH", "R V5", -0.1 * (number + 1), 1.0) for number in range(10)]
    alone = pd.DataFrame(own, columns=ALONE_COLUMNS)
    line = group_table(table, lines, alone, PATIENTS).iloc[0]
    assert (line["edit"], line["chosen"], line["n_patients"]) == ("R V5", 20, 10)
    assert line["turned_alone"] == 0.5
    assert line["median_dose"] == pytest.approx(-0.55)
    assert line["dose_low"] < -0.55 < line["dose_high"]
    few = group_table(table, lines, alone.head(2), PATIENTS).iloc[0]
    assert np.isnan(few["dose_low"])
