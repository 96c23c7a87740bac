"""Concept sets: who may be drawn, what pseudo-concepts keep, and the words for what cannot be."""

from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from common.files import UserError
from records.dataset import parse_flags
from tcav.concept_sets import (
    concept_set,
    draw,
    pseudo_flags,
    reason_against,
    relative_sets,
    share_exchangeable,
    strata_of,
)
from tcav.questions import concepts_of


def make_set(n=200, share=0.3, records_each=2, n_strata=1, seed=0, name="tall"):
    rng = np.random.default_rng(seed)
    patients = np.arange(n) // records_each
    return concept_set(
        name, (rng.random(n) < share).astype(float), patients, rng.integers(n_strata, size=n)
    )


def test_draws_are_balanced_without_replacement_and_split_by_patient():
    concept = make_set()
    index, held = draw(concept, np.tile(concept.flags, (50, 1)), np.random.default_rng(0))
    assert index.shape == (50, 2 * concept.size)
    assert concept.size == concept.flags.sum()
    for row, out in zip(index, held, strict=True):
        assert len(set(row)) == len(row)
        assert concept.flags[row[: concept.size]].all()
        assert not concept.flags[row[concept.size :]].any()
        assert not set(concept.patients[row[out]]) & set(concept.patients[row[~out]])
    assert 0.25 < held.mean() < 0.42
    assert len({tuple(sorted(row[concept.size :])) for row in index}) == 50


def test_more_positives_than_negatives_are_drawn_down():
    concept = make_set(share=0.8)
    index, _ = draw(concept, concept.flags[None], np.random.default_rng(0))
    assert concept.size == (~concept.flags).sum()
    assert index.shape == (1, 2 * concept.size)


def test_matched_negatives_have_the_strata_of_the_positives():
    concept = make_set(n_strata=4)
    index, _ = draw(concept, np.tile(concept.flags, (5, 1)), np.random.default_rng(0))
    for row in index:
        sides = [np.bincount(concept.strata[part], minlength=4) for part in np.split(row, 2)]
        np.testing.assert_array_equal(*sides)


@pytest.mark.parametrize("n_strata", [1, 3])
def test_pseudo_concepts_keep_size_composition_and_patients(n_strata):
    concept = make_set(n_strata=n_strata)
    flags = pseudo_flags(concept, 200, np.random.default_rng(0))
    assert (flags.sum(1) == concept.flags.sum()).all()
    for stratum in range(n_strata):
        inside = concept.strata == stratum
        assert (flags[:, inside].sum(1) == concept.flags[inside].sum()).all()
    patterns = [
        sorted(map(tuple, row.reshape(-1, 2)[concept.strata.reshape(-1, 2)[:, 0] == 0]))
        for row in flags
    ]
    if n_strata == 1:  # the pairs of flags within patients are dealt out whole
        assert all(
            pattern == sorted(map(tuple, concept.flags.reshape(-1, 2))) for pattern in patterns
        )
    assert np.abs(flags.mean(0) - concept.flags.mean()).max() < 0.25 or n_strata > 1


def test_pseudo_concepts_reach_every_record_equally():
    concept = make_set(n=60, records_each=1)
    flags = pseudo_flags(concept, 4000, np.random.default_rng(1))
    share = concept.flags.mean()
    assert np.abs(flags.mean(0) - share).max() < 5 * np.sqrt(share * (1 - share) / 4000)


def test_random_numbers_depend_on_seed_and_concept_alone():
    concept = make_set()
    first = concept.generator(3, "runs").random(4)
    np.testing.assert_array_equal(concept.generator(3, "runs").random(4), first)
    for other in (
        concept.generator(4, "runs"),
        concept.generator(3, "null"),
        make_set(name="other").generator(3, "runs"),
    ):
        assert (other.random(4) != first).any()


def test_blank_is_no_negative():
    flags = parse_flags(
        pd.DataFrame({"c": pd.Series(["True", None, "False", "", "true"], dtype=object)}), "c"
    )
    np.testing.assert_array_equal(flags, [1, np.nan, 0, np.nan, 1])
    concept = concept_set("c", flags, np.arange(5), np.zeros(5, dtype=int))
    assert concept.rows.tolist() == [0, 2, 4]
    assert concept.flags.tolist() == [True, False, True]


def test_flags_of_every_kind_are_read():
    table = pd.DataFrame(
        {
            "bool": [True, False],
            "number": [1.0, 0.0],
            "nullable": pd.array([True, None], dtype="boolean"),
            "text": ["yes", "no"],
        }
    )
    assert parse_flags(table, "bool").tolist() == [1, 0]
    assert parse_flags(table, "number").tolist() == [1, 0]
    np.testing.assert_array_equal(parse_flags(table, "nullable"), [1, np.nan])
    with pytest.raises(UserError, match="holds yes, no"):
        parse_flags(table, "text")


def test_strata_join_label_set_decade_and_sex():
    table = pd.DataFrame({"age": [61, 69, 71, np.nan, np.nan], "sex": [0, 0, 0, 1, 1]})
    labels = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [1, 1]])
    assert len(np.unique(strata_of(table, labels, []))) == 1
    age = strata_of(table, labels, ["age"])
    assert age[0] == age[1] != age[2]
    assert age[3] == age[4]
    assert len(np.unique(strata_of(table, labels, ["label", "age", "sex"]))) == 4


def test_relative_sets_leave_out_records_with_both_or_neither():
    columns = {"a": np.array([1, 1, 0, 0, np.nan]), "b": np.array([0, 1, 1, 0, 1.0])}
    a, b = relative_sets(columns, np.arange(5), np.zeros(5, dtype=int))
    assert a.rows.tolist() == b.rows.tolist() == [0, 2]
    assert a.flags.tolist() == [True, False]
    assert b.flags.tolist() == [False, True]
    assert a.against == "others"
    same, _ = relative_sets(
        {"a": columns["a"], "b": columns["a"]}, np.arange(5), np.zeros(5, dtype=int)
    )
    assert "the same" in reason_against(same, 20)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (np.ones(40), "all 40 training records show it"),
        (np.zeros(40), "none of the 40 training records shows it"),
        (np.arange(40) < 5, "5 training records show it, --min_positives is 20"),
        (np.arange(40) < 35, "only 5 training records without it"),
        (np.full(40, np.nan), "no training record has a flag"),
    ],
)
def test_impossible_concepts_are_refused_in_words(flags, words):
    concept = concept_set(
        "c", np.asarray(flags, dtype=float), np.arange(40), np.zeros(40, dtype=int)
    )
    assert words in reason_against(concept, 20)


def test_matching_that_leaves_too_little_is_refused():
    flags = (np.arange(80) < 40).astype(float)
    concept = concept_set("c", flags, np.arange(80), flags.astype(int))
    assert "matching leaves 0 pairs" in reason_against(concept, 20)
    few = concept_set("c", flags, np.arange(80) // 20, np.zeros(80, dtype=int))
    assert "fewer than 6 patients" in reason_against(few, 20)
    assert reason_against(make_set(), 20) is None


def test_a_concept_whose_flags_cannot_be_dealt_out_is_refused():
    patients = np.concatenate(
        [np.arange(30), 100 + np.arange(60) // 2]
    )  # 30 with it and one record, 30 without and two
    flags = (patients < 30).astype(float)
    concept = concept_set("c", flags, patients, np.zeros(90, dtype=int))
    assert share_exchangeable(concept) == 0
    assert "pseudo-concepts would all be the concept itself" in reason_against(concept, 20)
    assert reason_against(concept, 20, null=False) is None
    some = concept_set("c", np.r_[flags, 0, 0], np.r_[patients, 500, 501], np.zeros(92, dtype=int))
    assert share_exchangeable(some) == 1
    assert reason_against(some, 20) is None


def test_concepts_whose_figures_would_have_one_name_are_refused():
    columns = {"ST+": [True, False], "ST-": [False, True], "patient_id": [1, 2]}
    training = SimpleNamespace(
        table=pd.DataFrame(columns), labels=np.ones((2, 1)), patient_id=np.arange(2)
    )
    asked = Namespace(concepts=["ST+", "ST-"], relative=None, match=[], min_positives=1, n_null=0)
    with pytest.raises(
        UserError, match=r"the concepts ST\+ and ST- would both be named ST: rename"
    ):
        concepts_of(asked, training)
