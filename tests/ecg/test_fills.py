"""Fills: Einthoven's law, the geometry of the limb leads, and what must stay untouched."""

import numpy as np
import pytest
import torch

from common.labels import LEADS
from ecg.fills import cross_fade, isoelectric_line, physiological_fill, remove, scale
from random_ecg import limb_consistent

LIMB = {lead: index for index, lead in enumerate(LEADS[:6])}


def breach(signals):
    """Largest violation of the limb leads' four identities, mV."""
    one, two, three, avr, avl, avf = signals[..., :6].unbind(-1)
    errors = [
        one + three - two,
        avr + (one + two) / 2,
        avl - (one - three) / 2,
        avf - (two + three) / 2,
    ]
    return max(float(error.abs().max()) for error in errors)


@pytest.mark.parametrize("seed", range(3))
def test_any_set_of_cells_can_be_removed_and_the_limb_leads_still_fit(seed):
    signals = limb_consistent(seed=seed)
    mask = torch.rand(signals.shape, generator=torch.Generator().manual_seed(seed)) < 0.2
    line = limb_consistent(seed=9)[:, 0]
    assert breach(remove(signals, mask, line)) < 1e-5
    assert breach(remove(signals, mask, line, "zero")) > 0.1  # the plain variant does break them


def test_the_removed_lead_is_flat_and_the_perpendicular_one_untouched():
    signals, line = limb_consistent(), limb_consistent(seed=5)[:, 0]
    for lead, perpendicular in (("I", "aVF"), ("II", "aVL"), ("III", "aVR")):
        mask = torch.zeros(signals.shape, dtype=torch.bool)
        mask[:, 40:80, LIMB[lead]] = True
        filled = remove(signals, mask, line)
        gone = filled[:, 40:80, LIMB[lead]] - line[:, None, LIMB[lead]]
        assert gone.abs().max() < 1e-4
        assert torch.allclose(
            filled[..., LIMB[perpendicular]], signals[..., LIMB[perpendicular]], atol=1e-5
        )
        assert torch.equal(filled[..., 6:], signals[..., 6:])
        assert torch.equal(filled[:, :38], signals[:, :38])


def test_two_limb_leads_leave_nothing_of_all_six():
    signals, line = limb_consistent(), torch.zeros(3, 12)
    weights = torch.zeros_like(signals)
    weights[:, :, [0, 4]] = 1
    assert physiological_fill(signals, weights, line)[..., :6].abs().max() < 1e-4


@pytest.mark.parametrize("there", [[1], [0, 1], [2, 5], [0, 1, 2, 3, 4]])
def test_leads_that_records_do_not_have_are_no_part_of_the_vector(there):
    """A Holter's lead II alone goes wholly; a lead that is not there takes none of it along."""
    signals, line = limb_consistent(), torch.zeros(3, 12)
    absent = [lead for lead in range(6) if lead not in there]
    signals[..., absent] = 0
    everything = remove(signals, torch.ones(signals.shape, dtype=torch.bool), line)
    assert everything.abs().max() < 1e-4
    beside = torch.cat([signals, limb_consistent(seed=1)])  # of records that have all leads
    mask = torch.rand(beside.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    apart = [
        remove(one, its, line) for one, its in zip(beside.split(3), mask.split(3), strict=True)
    ]
    together = remove(beside, mask, torch.zeros(6, 12))
    assert torch.allclose(together, torch.cat(apart), atol=1e-6)
    nothing = torch.zeros(signals.shape, dtype=torch.bool)
    nothing[..., absent] = True
    kept = remove(signals, nothing, line)
    assert torch.allclose(kept[..., there], signals[..., there], atol=1e-5)


def test_least_change_of_lead_one_by_hand():
    # taking lead I (1 mV along 0 degrees) away: II loses cos 60 = .5, III gains .5, aVL loses .75,
    # aVR gains .75
    signals = torch.tensor([1.0, 0.5, -0.5, -0.75, 0.75, 0, *[0.3] * 6]).expand(1, 5, 12)
    weights = torch.zeros(1, 5, 12)
    weights[..., 0] = 1
    assert physiological_fill(signals, weights, torch.zeros(1, 12))[0, 0, :6].abs().max() < 1e-3


def test_a_weight_of_one_half_takes_half_of_a_chest_and_of_a_limb_lead():
    signals = limb_consistent()
    for lead in (0, 8):
        weights = torch.zeros_like(signals)
        weights[..., lead] = 0.5
        filled = physiological_fill(signals, weights, torch.zeros(3, 12))
        assert torch.allclose(filled[..., lead], signals[..., lead] / 2, atol=1e-5)


def test_cross_fade_by_hand():
    mask = torch.zeros(1, 7, 1, dtype=torch.bool)
    mask[0, 3] = True
    assert cross_fade(mask, 2)[0, :, 0].tolist() == pytest.approx(
        [0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0]
    )
    assert torch.equal(cross_fade(mask, 0), mask.float())


def test_scaling_one_lead_keeps_einthoven_unless_told_otherwise():
    signals, line = limb_consistent(), torch.zeros(3, 12)
    for lead in (0, 2, 3, 9):
        weights = torch.zeros_like(signals)
        weights[:, 30:60, lead] = 1
        scaled = scale(signals, weights, line, 1.5)
        assert breach(scaled) < 1e-5
        assert torch.allclose(scaled[:, 30:60, lead], 1.5 * signals[:, 30:60, lead], atol=1e-5)
        alone = scale(signals, weights, line, 1.5, einthoven=False)
        changed = (alone != signals).any(dim=1).any(dim=0)
        assert changed.nonzero().flatten().tolist() == [lead]
    with pytest.raises(ValueError, match="one limb lead"):
        scale(signals, torch.ones_like(signals), line, 1.5)


def test_isoelectric_line_reads_the_silent_samples_and_keeps_einthoven():
    names = ("R-Peak", "pq", "tp")
    signals = limb_consistent(2, 50).numpy()
    segments = np.zeros((2, 50, 12, 3), dtype=np.float32)
    segments[..., 0] = 1
    segments[0, 10:20, :, 0], segments[0, 10:20, :, 2] = 0, 1
    line = isoelectric_line(signals, segments, names)
    assert line[0] == pytest.approx(signals[0, 10:20].mean(axis=0), abs=1e-6)
    assert line[1] == pytest.approx(signals[1].mean(axis=0), abs=1e-6)  # nothing silent: the mean
    assert breach(torch.tensor(line[:, None])) < 1e-6
