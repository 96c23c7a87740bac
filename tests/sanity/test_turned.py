"""Maps against the changes that turn the decision: tables read, cells scored, nothing favoured."""

import numpy as np
import pandas as pd
import pytest

from common.files import UserError
from counterfactual.edits import EDITS
from counterfactual.job import COLUMNS
from sanity.checks import CHECKS
from sanity.dose_response import wave_masks
from sanity.favours import favour_of
from sanity.turned import (
    ALONE,
    ANSWERS,
    FILES,
    GROUPS,
    WAVES,
    grouped,
    measure_turned,
    strength_of,
    turned_reference,
    turned_subject,
    why_no_answers,
)
from small_subjects import make_subject

R, S = WAVES.index("R"), WAVES.index("S")
LEADS_8 = list(GROUPS)


def edits_of(*pairs):
    return pd.DataFrame(pairs, columns=["edit", "cost"])


@pytest.fixture
def folder(tmp_path):
    """Answers on records 1 to 3: R in V5 of the first (alone: S in V1 too), I of the second."""
    answers = [(1, "C0", True), (2, "C1", True), (3, "C0", False)]
    pd.DataFrame(answers, columns=["ecg_id", "pathology", "turned"]).to_csv(
        tmp_path / ANSWERS, index=False
    )
    edits = edits_of(("R V5", 1.5), ("R I", 0.5), ("QT interval", 0.2))
    edits.assign(ecg_id=[1, 2, 2], pathology=["C0", "C1", "C1"]).to_csv(
        tmp_path / "edits.csv", index=False
    )
    alone = edits_of(("R V5", 1.5), ("S V1 V2", 3.0))
    alone.assign(ecg_id=1, pathology="C0").to_csv(tmp_path / ALONE, index=False)
    return tmp_path


def test_every_edit_of_counterfactuals_has_its_cells():
    for name, edit in EDITS.items():
        cells = np.argwhere(strength_of(edits_of((name, 2.0))) > 0)
        expected = {(LEADS_8.index(lead), WAVES.index(edit.wave)) for lead in edit.leads}
        assert set(map(tuple, cells)) == expected
        for lead in edit.leads:
            assert set(GROUPS[lead]) <= set(edit.shown_in)
    assert {"edit", "cost"} <= set(COLUMNS["edits"]) & set(COLUMNS["alone"])


def test_the_cheapest_change_of_a_cell_counts():
    found = strength_of(edits_of(("R V5 V6", 4.0), ("R V5", 2.0)))
    assert found[LEADS_8.index("V5"), R] == 0.5
    assert found[LEADS_8.index("V6"), R] == 0.25


def test_answers_are_found_by_record_and_class(folder):
    subject = make_subject(n=3)  # records 1, 2, 3, explained for C0, C1, C0
    reference = turned_reference(subject, folder)
    assert np.argwhere(reference["sparsest"][0]).tolist() == [[LEADS_8.index("V5"), R]]
    assert np.argwhere(reference["sparsest"][1]).tolist() == [[LEADS_8.index("I"), R]]
    assert not reference["sparsest"][2].any()
    assert reference["alone"][0, LEADS_8.index("V2"), S] == pytest.approx(1 / 3)
    assert not reference["alone"][1:].any()


def test_a_map_on_the_turning_waves_is_perfect_and_others_are_not(folder):
    subject = make_subject(n=3)
    reference = turned_reference(subject, folder)
    masks = wave_masks(subject.segments)
    right = np.zeros_like(subject.signals)
    for row, lead in enumerate((10, 0, 6)):  # V5, I, anything
        right[row, :, lead] = masks[row, :, lead, R] * 5
    right[0, :, 6:8] += 2 * masks[0, :, 6:8, S]
    sparsest, alone = measure_turned(subject, right, None, reference)
    assert sparsest.values[:2].tolist() == [1, 1]
    assert np.isnan(sparsest.values[2])
    assert alone.values[0] == pytest.approx(1, abs=1e-6)
    assert np.isnan(alone.values[1:]).all()
    follower = np.zeros_like(right)
    follower[1, :, 4] = masks[1, :, 4, R]  # aVL changes with I
    assert measure_turned(subject, follower, None, reference)[0].values[1] == 1
    elsewhere = np.zeros_like(right)
    elsewhere[..., 8] = masks[..., 8, WAVES.index("T")]
    wrong = measure_turned(subject, elsewhere, None, reference)[0].values[:2]
    assert (wrong < 0.5).all()


def test_chance_is_a_half_and_the_size_alone_counts():
    subject = make_subject(n=6)
    rng = np.random.default_rng(1)
    maps = rng.normal(size=subject.signals.shape)
    truth = rng.random((6, len(GROUPS), len(WAVES))) < 0.3
    reference = {"sparsest": truth, "alone": truth * rng.random(truth.shape)}
    found = measure_turned(subject, maps, None, reference)
    mirrored = measure_turned(subject, -maps, None, reference)
    assert abs(found[0].chance.mean() - 0.5) < 0.1
    assert abs(found[1].chance.mean()) < 0.2
    for one, other in zip(found, mirrored, strict=True):
        assert np.array_equal(one.values, other.values)


def test_leads_that_change_together_are_one():
    cells = np.zeros((1, 12, len(WAVES)))
    cells[0, :, R] = np.arange(12)
    assert grouped(cells)[0, :, R].tolist() == [0 + 4, 1 + 2 + 5, 6, 7, 8, 9, 10, 11]


def test_turned_decisions_are_the_subject(folder, cohort, trained):
    from networks.checkpoints import load_model
    from networks.inference import load_dataset_for

    model = load_model(trained, "cpu")
    data = load_dataset_for(model.info, cohort)
    labels, ids = model.info.labels, data.ecg_id[:3]
    rows = [(ids[0], labels[0], True), (ids[0], labels[1], True), (ids[1], labels[0], False)]
    rows.append((10**6, labels[0], True))  # of another fold
    table = pd.DataFrame(rows, columns=["ecg_id", "pathology", "turned"])
    table.to_csv(folder / ANSWERS, index=False)
    found = turned_subject("run", model, data, folder, 9, 0, [0, 1])
    assert found.ecg_id.tolist() == [ids[0]] * 2
    assert sorted(found.target) == [0, 1]
    assert len(turned_subject("run", model, data, folder, 9, 0, [1])) == 1
    with pytest.raises(UserError, match=r"no turned decision on a record of folds [\d., ]+: leave"):
        turned_subject("run", model, data, folder, 9, 0, [2])


def test_it_is_in_the_registry_and_favours_none(tmp_path):
    assert CHECKS["counterfactual"].maps == "full_turned"
    assert CHECKS["faithfulness"].maps == "full"
    assert favour_of("counterfactual_sparsest") is None
    assert favour_of("counterfactual_alone") is None


def test_it_is_left_out_by_name_where_nothing_was_turned(tmp_path):
    assert why_no_answers(tmp_path).endswith("run counterfactuals.py on this run first")
    for name in FILES:
        (tmp_path / name).write_text("ecg_id,turned\n1,False\n")
    assert why_no_answers(tmp_path).startswith("counterfactuals.py turned no decision")
    (tmp_path / ANSWERS).write_text("ecg_id,turned\n1,False\n2,True\n")
    assert why_no_answers(tmp_path) is None
