"""The maps that checks share: whose pieces are the segments, and which are kept apart."""

import numpy as np
import pytest

from attribution.methods import METHODS, Explainer
from sanity.checks import CHECKS
from sanity.parts import Check, Store
from sanity.tables import why_nothing
from small_subjects import make_subject

CHEAP = {"max_permutations": 4, "wanted_error": 1e9}


def constant_within(maps, regions):
    """Whether a map has one value per lead and region of a record."""
    spreads = []
    for number in np.unique(regions):
        for lead in range(maps.shape[1]):
            values = maps[regions[:, lead] == number, lead]
            spreads.append(np.ptp(values) if len(values) else 0)
    return max(spreads) < 1e-6


def test_players_are_segments_in_whole_maps_and_windows_in_quick_ones(tmp_path):
    subject = make_subject(n=2)
    segments = subject.segments.argmax(axis=3)
    explain = Explainer("shapley", CHEAP)
    store = Store(tmp_path)
    whole = store.maps(subject, explain, "full")
    quick = store.maps(subject, explain, "quick")
    for row in range(2):
        assert constant_within(whole[row], segments[row])
        assert not constant_within(quick[row], segments[row])
    assert whole.sum(axis=(1, 2)) == pytest.approx(quick.sum(axis=(1, 2)), abs=1e-4)


def test_who_deals_shares_to_players():
    assert {name for name in METHODS if METHODS[name].players} == {"shapley", "kernel_shap", "lime"}
    subject = make_subject(n=1)
    regions = subject.segments.argmax(axis=3)
    asked = subject.model, subject.signals, subject.target
    occlusion = Explainer("occlusion", {"piece": 25})
    assert np.array_equal(occlusion(*asked, regions), occlusion(*asked))


def test_maps_of_other_records_or_options_have_other_names():
    kinds = {
        (subjects, quick): Check(None, "", subjects=subjects, quick=quick).maps
        for subjects in ("model", "few", "turned", "amplitude")
        for quick in (False, True)
    }
    assert len(set(kinds.values())) == len(kinds)
    assert {check.maps for check in CHECKS.values()} == {
        "full", "quick", "full_turned", "quick_amplitude"
    }  # fmt: skip


def test_a_run_that_measured_nothing_says_what_each_of_its_checks_lacked():
    assert why_nothing(["agreement"]) == "agreement takes two --methods that are no controls"
    assert "no record passes the intervention gate" in why_nothing(["localisation"])
    assert "agreement" not in why_nothing(["layers"])
