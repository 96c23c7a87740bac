"""Edits that no method is made of: waves of others, waves upside down; what they favour and what
favours whom.
"""

import numpy as np
import pandas as pd
import pytest

from attribution.methods import METHODS
from sanity.agreement import partners_of
from sanity.checks import CHECKS
from sanity.dose_response import DOSED, wave_masks
from sanity.edits import N_PARTNERS, edit_reference, measure_edits, runs_of, swapped_wave
from sanity.favours import FAVOURS, favour_of, favoured, favours_table, mark_favoured
from sanity.ranking_figures import HEADLINES, skills
from small_subjects import BROKEN, exact, gradient, make_subject


@pytest.fixture(scope="module")
def subject():
    return make_subject(n=6)


@pytest.fixture(scope="module")
def reference(subject):
    return edit_reference(subject)


def scores(subject, explain, reference):
    maps = explain(subject.model, subject.signals, subject.target)
    return {one.check: one for one in measure_edits(subject, maps, explain, reference)}


def test_partners_are_other_patients_and_no_patient_twice():
    patients = np.array([7, 7, 3, 5, 3])
    found = partners_of(patients, 3)
    for row, patient in enumerate(patients):
        chosen = patients[found[:, row][found[:, row] >= 0]]
        assert patient not in chosen
        assert len(set(chosen)) == len(chosen) == 2
    assert (partners_of(np.array([1, 1]), 2) == -1).all()


def test_a_wave_is_stretched_to_the_place_of_the_one_it_replaces():
    own, other = np.arange(10.0), 10 * np.arange(10.0)
    mine = np.isin(np.arange(10), [1, 2, 3, 7])
    theirs = np.isin(np.arange(10), [4, 5, 6, 7, 8])
    assert runs_of(mine) == [(1, 4), (7, 8)]
    found = swapped_wave(own, other, mine, theirs)
    assert found[1:4].tolist() == [40, 60, 80]
    assert found[7] == 40  # the only wave again
    assert np.array_equal(found[~mine], own[~mine])
    gone = swapped_wave(own, other, mine, np.zeros(10, dtype=bool))
    assert (gone[mine] == 0).all()


def test_effects_on_a_linear_network_are_those_of_the_closed_form(subject, reference):
    weights = gradient(subject.model, subject.signals, subject.target)
    masks = wave_masks(subject.segments)
    flipped = 2 * np.einsum("ntl,ntlw->nlw", weights * subject.signals, masks)
    known = np.isfinite(reference["flip"])
    assert reference["flip"][known] == pytest.approx(flipped[known], abs=1e-4)
    partners = partners_of(subject.patients, N_PARTNERS)
    expected = np.zeros_like(flipped)
    for other in partners:  # segments lie alike in all records: a wave moves as it is
        change = subject.signals - subject.signals[other]
        expected += np.einsum("ntl,ntlw->nlw", weights * change, masks) / len(partners)
    assert reference["swap"] == pytest.approx(expected, abs=1e-4)


def test_the_exact_explanation_foresees_flips_and_broken_ones_do_not(subject, reference):
    right = scores(subject, exact, reference)
    assert right["edits_flip_signed"].values == pytest.approx(np.ones(6), abs=1e-3)
    assert right["edits_swap_signed"].values.mean() > 0.4
    for name, breaker in BROKEN.items():
        wrong = scores(subject, breaker(exact), reference)
        assert wrong["edits_flip_signed"].values.mean() < 0.5, name
    assert abs(np.mean([one.chance.mean() for one in right.values()])) < 0.15
    assert set(right) == {
        f"edits_{e}_{r}" for e in ("swap", "flip") for r in ("signed", "absolute")
    }
    assert reference["flip"].shape == (6, 12, len(DOSED))


def test_a_record_without_another_patient_has_no_swap():
    alone = make_subject(n=2)
    alone = alone.rows([0, 0])
    assert np.isnan(edit_reference(alone)["swap"]).all()


# ---------------------------------------------------------------- favours


def test_what_favours_whom():
    assert favoured("faithfulness_cells_physiological_signed", "occlusion")
    assert favoured("deletion_time_physiological_absolute", "shapley")
    assert not favoured("faithfulness_cells_zero_signed", "occlusion")
    assert favoured("faithfulness_cells_zero_signed", "ig")
    assert favoured("dose_percent_signed", "lrp:epsilon")
    assert not favoured("dose_percent_signed", "lrp")
    assert favoured("localisation_auc_cell_absolute", "lrp:epsilon_plus")
    assert not favoured("localisation_specific_auc_absolute", "ig")
    for check in ("edits_swap_signed", "edits_flip_absolute"):
        assert favour_of(check) is None


def test_every_reason_is_of_a_score_that_there_is():
    starts = ("faithfulness", "deletion", "insertion", "dose", "localisation", "layer")
    starts += ("amplitude", "randomisation", "agreement")
    for entry in FAVOURS:
        assert all(check.startswith(starts) for check in entry.checks)
        assert {name.split(":")[0] for name in entry.methods} <= set(METHODS)
        assert entry.why or not entry.methods
    assert "edits" in CHECKS
    assert {"edits_swap_signed", "edits_flip_signed", "amplitude_chest"} <= set(HEADLINES)


def test_a_score_that_favours_a_method_has_no_part_in_its_place():
    rows = [
        ("faithfulness_cells_physiological_signed", "occlusion", 5.0),
        ("faithfulness_cells_physiological_signed", "ig", 4.0),
        ("faithfulness_cells_physiological_signed", "saliency", 1.0),
        ("edits_swap_signed", "occlusion", 0.1),
        ("edits_swap_signed", "ig", 0.5),
        ("edits_swap_signed", "saliency", 0.2),
    ]
    checks = pd.DataFrame(rows, columns=["check", "method", "value"]).assign(chance=0.0, n=9)
    assert list(skills(checks).index) == ["ig", "saliency", "occlusion"]
    marked = mark_favoured(checks)
    assert marked["favoured"].tolist() == [True, False, False, False, False, False]
    table = favours_table(checks)
    assert table["check"].tolist() == ["faithfulness_cells_physiological_signed"]
    assert "occlusion" in table["favours"].iloc[0]
