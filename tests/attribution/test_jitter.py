"""Maps under jittered boundaries: nothing moves without an error, what moves goes to the
neighbour, and a cell is called stable where its rank does not hang on its boundary.
"""

import numpy as np
import pandas as pd
import pytest

from attribution.cells import cell_maps
from attribution.jitter import BOUNDARIES, jittered_maps, points_of, rank_stability
from common.stats import STABLE
from ecg.segments import POINTS, SEGMENTS, draw
from records.boundary_errors import boundary_errors
from records.dataset import Dataset

RATE = 100
AT = {  # s after the beat's begin
    "P-Onset": 0.1,
    "P-Peak": 0.15,
    "P-Offset": 0.2,
    "QRS-Onset": 0.3,
    "R-Peak": 0.35,
    "QRS-Offset": 0.42,
    "J-point": 0.45,
    "T-Onset": 0.55,
    "T-Peak": 0.65,
    "T-Offset": 0.75,
}


def segments_of_beats(n_beats=9, shift=0.0):
    """Soft segments (T, 12, 24) of equal beats one second apart."""
    times = np.full((n_beats, 12, len(POINTS)), np.nan)
    for name, at in AT.items():
        times[:, :, POINTS.index(name)] = (np.arange(n_beats) + at + shift)[:, None]
    return draw(times, 1000, RATE)


def jittered(attributions, segments, sd, n_jitters=8, ids=(7,)):
    maps = cell_maps(attributions, segments, np.arange(len(segments)))
    return maps, jittered_maps(maps, attributions, segments, sd, ids, n_jitters)


@pytest.fixture(scope="module")
def one():
    return segments_of_beats()[None]


def test_points_are_found_where_they_were_drawn(one):
    at, point = points_of(one[0, :, 0])
    assert [POINTS[number] for number in point] == list(AT) * 9
    expected = np.add.outer(np.arange(9), list(AT.values())).ravel() * RATE
    assert np.abs(at - expected).max() < 0.6  # samples: J and QRS offset overlap


def test_without_an_error_nothing_moves(one):
    attributions = np.random.default_rng(0).normal(size=(1, 1000, 12))
    maps, moved = jittered(attributions, one, np.zeros((1, 6)))
    for each in moved:
        np.testing.assert_allclose(each.relevance, maps.relevance, rtol=1e-9)
        np.testing.assert_allclose(each.time, maps.time, rtol=1e-9)


def test_relevance_moves_but_is_never_lost(one):
    attributions = np.random.default_rng(1).normal(size=(1, 1000, 12))
    attributions[:, :200] = np.nan  # not explained
    maps, moved = jittered(attributions, one, np.full((1, 6), 2.0))
    for each in moved:
        np.testing.assert_allclose(each.relevance.sum(2), maps.relevance.sum(2), rtol=1e-9)
        np.testing.assert_allclose(each.time.sum(2), maps.time.sum(2), rtol=1e-9)
        assert np.abs(each.time - maps.time).max() > 5


def test_only_the_neighbours_of_a_moved_boundary_change(one):
    sd = np.zeros((1, 6))
    sd[0, BOUNDARIES.index("T-Onset")] = 3.0
    maps, moved = jittered(np.ones((1, 1000, 12)), one, sd)
    changed = np.max([np.abs(each.time - maps.time)[0].max(axis=0) for each in moved], axis=0)
    names = {name for name, size in zip(SEGMENTS, changed, strict=True) if size > 1e-9}
    # between the J-point and the peak of T, both fixed here
    assert names == {"J-point", "jt", "T-Onset", "(t", "T-Peak"}


def test_a_wave_keeps_its_order_however_large_the_error(one):
    maps, moved = jittered(np.ones((1, 1000, 12)), one, np.full((1, 6), 100.0))
    peaks = [SEGMENTS.index(name) for name in ("P-Peak", "R-Peak", "T-Peak")]
    for each in moved:
        assert (each.time >= -1e-9).all()
        assert each.time.sum() == pytest.approx(maps.time.sum())
    for each in jittered(np.ones((1, 1000, 12)), one, np.full((1, 6), 2.0))[1]:
        assert (each.time[..., peaks] > 0).all()


def test_a_record_is_drawn_alike_whoever_lies_beside_it(one):
    both = np.concatenate([one, segments_of_beats(shift=0.013)[None]])
    attributions = np.random.default_rng(2).normal(size=(2, 1000, 12))
    sd = np.full((2, 6), 1.5)
    _, together = jittered(attributions, both, sd, ids=(3, 4))
    _, alone = jittered(attributions[1:], both[1:], sd[1:], ids=(4,))
    np.testing.assert_array_equal(together[5].relevance[1], alone[5].relevance[0])


def test_the_size_of_the_moves_is_that_of_the_errors(one):
    """A T onset of SD 2 samples between J and T peak moves the time of jt by SD 2 per beat."""
    sd = np.zeros((1, 6))
    sd[0, BOUNDARIES.index("T-Onset")] = 2.0
    maps, moved = jittered(np.ones((1, 1000, 12)), one, sd, n_jitters=200)
    columns = [SEGMENTS.index(name) for name in ("(t", "T-Peak", "t)")]
    change = [(each.time - maps.time)[0][:, columns].sum(axis=1) / 9 for each in moved]
    assert np.std(change) == pytest.approx(2.0, rel=0.2)


def test_relevance_at_a_boundary_is_unstable_and_at_a_peak_stable(one):
    """Equal spikes on R and just before T begins: R's rank holds, that of the other does not."""
    attributions = np.full((1, 1000, 12), 1e-6)
    for beat in range(9):
        attributions[:, beat * 100 + 35, :] = 1.0
        attributions[:, beat * 100 + 53, :3] = 0.5
    maps, moved = jittered(attributions, one, np.full((1, 6), 3.0), n_jitters=40)

    def of_lead(each):
        density = (each.relevance / np.maximum(each.time, 1e-9))[0, 0]
        return 1.0 + (density > density[:, None]).sum(axis=1)

    stability = rank_stability(of_lead(maps), [of_lead(each) for each in moved], top=3)
    assert stability[SEGMENTS.index("R-Peak")] == 1.0
    assert stability.min() < STABLE


def test_stability_of_hand_made_ranks():
    ranks = np.array([1.0, 5.0, 6.0, np.nan])
    moved = [np.array([2.0, 6.0, 5.0, 1.0]), np.array([1.0, 5.0, 6.0, np.nan])]
    np.testing.assert_array_equal(rank_stability(ranks, moved), [1.0, 0.5, 0.5, np.nan])
    lost = rank_stability(ranks, [np.array([np.nan, 5.0, 6.0, 1.0])])
    np.testing.assert_array_equal(lost, [0.0, 1.0, 1.0, np.nan])


# ---------------------------------------------------------------- the errors


def test_errors_follow_rhythm_and_rate(tmp_path):
    rows = [(w, s, r, f) for w in ("P", "QRS", "T") for s in ("onset", "offset") for r, f in KINDS]
    sd = pd.DataFrame(rows, columns=["wave", "side", "rhythm", "rate"])
    sd["sd_ms"] = sd["rhythm"].map({"any": 40.0, "sinus": 10.0}) + (sd["rate"] == "slow") * 5
    sd.to_csv(tmp_path / "boundary_sd.csv", index=False)
    table = pd.DataFrame(
        {
            "scp_codes": ["{'NORM': 100.0, 'SR': 0.0}", "{'SBRAD': 0.0}", "{'AFIB': 0.0}", ""],
            "r_peaks": ["10 90 170", "10 130 250", "10 90 130", ""],
        }
    )
    data = Dataset(table, np.zeros((4, 1000, 12), np.float32), 100, tmp_path)
    found = boundary_errors(data, np.arange(4))
    np.testing.assert_allclose(found, np.repeat([[1.0], [1.5], [4.0], [4.0]], 6, axis=1))


KINDS = (("any", "any"), ("sinus", "any"), ("sinus", "slow"))
