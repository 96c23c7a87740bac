"""Concepts switched by waves alone, and the answer beside TCAV's."""

from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import ecg
from common.files import UserError
from counterfactual import study
from counterfactual.body import bodies_of
from counterfactual.edits import EDITS
from counterfactual.recipes import RECIPES, check_recipes
from counterfactual.switching import SWITCHED_COLUMNS, answers, flags_of, in_words, switch
from ecg.concepts import CONCEPTS
from known_ecg import known_ecg, regular
from known_limits import limits_around
from records.dataset import Dataset

PERSON = {"sex": 0, "age": 60}


@pytest.fixture(scope="module")
def body():
    """S in V1 about 1.1 mV, R in V5 about 1.5 mV: Sokolow-Lyon 2.6 mV; limits 1 mV around."""
    signal = known_ecg(regular(66), noise=0.003).astype(np.float32)
    [found] = bodies_of(signal[None], 100, limits_around(signal, room=1.0))
    return found


def test_recipes_name_edits_and_concepts_that_exist():
    assert set(RECIPES) <= set(CONCEPTS)
    for recipe in RECIPES.values():
        for direction in ("add", "remove"):
            assert {edit for edit, _ in recipe.steps(direction)} <= set(EDITS)


def test_sokolow_lyon_is_just_reached(body):
    doses = switch(body, "SLI-LVH", "add", PERSON)
    edited = ecg.measure(body.apply(doses)[0], 100)
    index = edited["R_Amp_V5"] - edited["S_Amp_V1"]
    assert 3.5 < index < 3.65
    assert flags_of(body.apply(doses), 100, "SLI-LVH", PERSON)[0]
    assert not flags_of(body.signal[None], 100, "SLI-LVH", PERSON)[0]
    assert in_words(body, "SLI-LVH", "add", doses).endswith("mV: SLI-LVH holds")


def test_what_is_switched_on_can_be_switched_off_again(body):
    on = body.apply(switch(body, "SLI-LVH", "add", PERSON))[0].astype(np.float32)
    [high] = bodies_of(on[None], 100, limits_around(on, room=1.0))
    doses = switch(high, "SLI-LVH", "remove", PERSON)
    edited = ecg.measure(high.apply(doses)[0], 100)
    assert 3.35 < edited["R_Amp_V5"] - edited["S_Amp_V1"] <= 3.5


def test_nothing_is_done_where_the_flag_is_as_wanted_or_out_of_reach(body):
    assert switch(body, "SLI-LVH", "remove", PERSON) is None
    signal = body.signal
    [narrow] = bodies_of(signal[None], 100, limits_around(signal, room=0.05))
    assert switch(narrow, "SLI-LVH", "add", PERSON) is None


def test_an_edit_that_the_switch_does_not_need_is_left_out(body):
    doses = switch(body, "R56-LVH", "add", PERSON)
    if doses is not None:  # R over 3 mV in V5 or V6: one of them is enough
        assert np.count_nonzero(doses) == 1
    doses = switch(body, "S12-LVH", "add", PERSON)
    assert [body.names[number] for number in np.flatnonzero(doses)] == ["S V2"]


def test_concepts_without_waves_are_refused_by_name():
    assert check_recipes(["SLI-LVH", "SLI-LVH"]) == ["SLI-LVH"]
    with pytest.raises(UserError, match="Age75"):
        check_recipes(["SLI-LVH", "Age75"])


def switched_lines(changes, direction="add"):
    lines = [
        (number, "SLI-LVH", direction, True, "LVH", 0.0, change, "")
        for number, change in enumerate(changes)
    ]
    return pd.DataFrame(lines, columns=SWITCHED_COLUMNS)


def test_answers_stand_beside_tcavs_and_say_whether_they_agree():
    tcav = pd.DataFrame(
        {
            "concept": "SLI-LVH",
            "pathology": "LVH",
            "run_kind": ["concept", "concept", "relative"],
            "layer": ["a", "b", "c"],
            "score": [0.6, 1.0, 0.0],
            "magnitude": [0.1, 0.4, -0.9],  # relative TCAV asks something else
            "learnt": ["", "not asked", ""],
        }
    )
    patients = dict(enumerate(range(30)))
    rng = np.random.default_rng(0)
    up = switched_lines(rng.normal(1, 0.2, 30))
    line = answers(up, {"LVH": 0.5}, patients, tcav).iloc[0]
    assert line["low"] < 1 < line["high"]
    assert (line["tcav_layer"], line["tcav_magnitude"], line["agrees"]) == ("b", 0.4, True)
    assert line["tcav_learnt"] == "not asked"
    assert line["turned"] > 0.9
    down = switched_lines(rng.normal(1, 0.2, 30), "remove")
    assert not answers(down, {"LVH": 0.5}, patients, tcav)["agrees"].iloc[0]
    unclear = switched_lines(rng.normal(0, 0.2, 30))
    assert answers(unclear, {"LVH": 0.5}, patients, tcav)["agrees"].iloc[0] is None
    assert answers(up, {"LVH": 0.5}, patients, None)["agrees"].iloc[0] is None


def test_flags_that_are_none_are_said_before_the_folder_is_claimed(monkeypatch, tmp_path):
    """An error after the search lost what hours had found: its file went, and with it the parts."""
    table = pd.DataFrame({"SLI-LVH": ["maybe"]})
    data = Dataset(table, np.zeros((1, 1000, 12), np.float32), 100, tmp_path)
    job = SimpleNamespace(data=data)
    monkeypatch.setattr(study, "prepare", lambda *_: job)
    monkeypatch.setattr(study, "cards_for", lambda *_: {})
    args = Namespace(cards="auto", add_concept=["SLI-LVH"], remove_concept=[], n_samples=1, seed=0)
    model = SimpleNamespace(info=None)
    with pytest.raises(UserError, match="column SLI-LVH holds maybe"):
        study.answer(args, model, SimpleNamespace(run=tmp_path / "run"))
    assert not any(tmp_path.iterdir())


def test_tcavs_scores_are_an_input_where_a_concept_is_held_against_them(tmp_path):
    folder = tmp_path / "counterfactual"
    assert study.scores_beside(folder, ["a concept"]) == []
    scores = tmp_path / "tcav" / "scores.csv"
    scores.parent.mkdir()
    scores.touch()
    assert study.scores_beside(folder, ["a concept"]) == [scores]
    assert study.scores_beside(folder, []) == []
