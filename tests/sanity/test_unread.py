"""What a network does not read counts in no score: maps are 0 there, whatever the method, and a map
that knows nothing must not do better for that.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from common.labels import LEADS
from sanity.amplitude import measure_amplitude
from sanity.dose_response import DOSED, foreseen
from sanity.faithfulness import measure_faithfulness, random_reference
from sanity.localisation import measure_localisation
from sanity.parts import Store
from sanity.randomisation import measure_randomisation
from sanity.turned import GROUPS, WAVES, measure_turned
from small_subjects import LENGTH, make_subject

READ, UNREAD_TAIL = ("V5", "II"), 30  # leads, in the network's own order; samples


class PartlyReading(nn.Module):
    """A linear network of two leads that stops short of the record's end."""

    def __init__(self, n_outputs=2, task="subdiagnostic"):
        super().__init__()
        self.head = nn.Linear(len(READ) * (LENGTH - UNREAD_TAIL), n_outputs)
        self.info = SimpleNamespace(
            leads=READ, labels=LEADS[:n_outputs], task=task, crop=LENGTH, modelname="own"
        )

    def forward(self, x):
        return self.head(x[:, :, : LENGTH - UNREAD_TAIL].flatten(1))


@pytest.fixture(scope="module")
def subject():
    return make_subject(PartlyReading(), n=24)


def by_check(measured):
    return {one.check: one for one in measured}


def noise(subject, seed=0):
    """As every method's maps: 0 where the network does not read."""
    rng = np.random.default_rng(seed)
    return lambda _model, signals, _target: rng.normal(size=signals.shape) * subject.read


def test_what_is_read(subject):
    expected = np.zeros((LENGTH, 12), dtype=bool)
    expected[: LENGTH - UNREAD_TAIL, [LEADS.index(lead) for lead in READ]] = True
    assert np.array_equal(subject.read, expected)
    assert subject.of_read(subject.segments.argmax(axis=3)).shape == (24, LENGTH - UNREAD_TAIL, 2)


def test_noise_is_like_no_other_noise_though_both_are_nothing_elsewhere(subject):
    explain = noise(subject)
    maps = explain(None, subject.signals, None)
    found = by_check(measure_randomisation(subject, maps, explain))
    for score in ("cascading_full", "smoothed_cascading_full", "independent_mean"):
        one = found[f"randomisation_{score}_absolute"]
        assert one.values.mean() == pytest.approx(one.chance.mean(), abs=0.05)


def test_kept_maps_are_blank_elsewhere(subject, tmp_path):
    class Constant:
        name = "constant"

        def __call__(self, _model, signals, *_rest):
            return np.ones(signals.shape)

    maps = Store(tmp_path).maps(subject, Constant(), "full")
    assert np.array_equal(np.isfinite(maps), np.broadcast_to(subject.read, maps.shape))


def test_noise_is_not_faithful(subject):
    reference = random_reference(subject)
    areas = {}
    for seed in range(4):
        maps = noise(subject, seed)(None, subject.signals, None)
        for one in measure_faithfulness(subject, maps, None, reference):
            if one.check.startswith("faithfulness") and one.check.endswith("absolute"):
                areas.setdefault(one.check, []).append(one.values.mean())
    assert len(areas) == 4
    assert max(abs(np.mean(values)) for values in areas.values()) < 0.1


def test_noise_foresees_no_effect_though_leads_that_are_not_read_have_none(subject):
    rng = np.random.default_rng(5)
    reads = subject.read.any(axis=0)[:, None]
    effect = rng.normal(size=(len(subject), 12, len(DOSED))) * reads
    maps = noise(subject)(None, subject.signals, None)
    found = by_check(foreseen(subject, maps, {"edits_flip": effect}))
    assert abs(found["edits_flip_absolute"].values.mean()) < 0.15


def test_an_even_map_of_what_is_read_localises_as_chance_does(subject):
    rng = np.random.default_rng(6)
    mask = rng.random((len(subject), LENGTH, 12)) < 0.3
    mask[:, :, LEADS.index("II")] |= rng.random((len(subject), LENGTH)) < 0.5
    reference = {
        "mask": mask,
        "every": np.stack([mask, np.roll(mask, 7, axis=1)]),
        "passed": np.ones(len(subject), dtype=bool),
    }
    maps = np.broadcast_to(subject.read, mask.shape).astype(float)
    for one in measure_localisation(subject, maps, None, reference):
        assert one.values == pytest.approx(one.chance), one.check


def test_an_even_map_of_what_is_read_knows_no_lead_and_no_wave():
    subject = make_subject(PartlyReading(12, "T_Wave_Amplitude"), n=4)
    even = lambda _model, signals, _target: np.ones(signals.shape) * subject.read  # noqa: E731
    found = by_check(measure_amplitude(subject, None, even))
    assert found["amplitude_lead"].values == pytest.approx(2**-0.5)
    assert found["amplitude_lead"].chance == pytest.approx(2**-0.5, abs=0.005)
    assert found["amplitude_chest"].values == pytest.approx(2**-0.5)  # V5 alone
    for check in ("amplitude_time", "amplitude_cell", "amplitude_window_P"):
        assert found[check].values == pytest.approx(found[check].chance)
    assert {"amplitude_lead_II", "amplitude_lead_V5"} <= found.keys()
    assert "amplitude_lead_V1" not in found


def test_changes_of_leads_that_are_not_read_are_no_cells(subject):
    sparsest = np.zeros((len(subject), len(GROUPS), len(WAVES)))
    sparsest[:, list(GROUPS).index("V1"), WAVES.index("R")] = 1
    reference = {"sparsest": sparsest, "alone": sparsest}
    for one in measure_turned(subject, np.abs(subject.signals), None, reference):
        assert np.isnan(one.values).all()
