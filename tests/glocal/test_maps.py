"""Segment maps of constructed attributions against hand values; intervals and contrasts against
their definitions.
"""

import numpy as np
import pytest
from scipy.stats import kstest

from attribution.cells import CellMaps, cell_maps, concatenate, density, relative_density, shares
from common.intervals import mean_intervals
from common.labels import LEADS
from common.stats import patient_weights
from ecg.segments import SEGMENTS
from glocal.maps import contrast, group_interval, group_mean, ranks, segment_table

T = 240


def hard_segments(n=1, length=T):
    """Each of the 24 segments takes length / 24 samples in every lead."""
    segments = np.zeros((n, length, 12, 24), dtype=np.float32)
    for step in range(length):
        segments[:, step, :, step * 24 // length] = 1
    return segments


def soft_segments(n, length=T, seed=0):
    """Random soft memberships that add up to 1."""
    return (
        np.random.default_rng(seed)
        .dirichlet(np.full(24, 0.3), size=(n, length, 12))
        .astype(np.float32)
    )


def random_maps(n, seed=0, patients=None):
    """Cell sums of random attributions in random soft segments."""
    rng = np.random.default_rng(seed)
    return cell_maps(
        rng.normal(size=(n, T, 12)),
        soft_segments(n, seed=seed),
        np.arange(n) if patients is None else patients,
    )


# ---------------------------------------------------------------- known answers


def test_all_mass_in_one_cell():
    attributions = np.zeros((5, T, 12))
    attributions[:, 100:110, 7] = -3.0  # V2, samples 100-109 are segment 10, R-Peak
    maps = cell_maps(attributions, hard_segments(5), range(5))
    table = segment_table(maps, n_resamples=50)
    cell = table[(table["lead"] == "V2") & (table["segment"] == "R-Peak")].iloc[0]
    assert cell[["density", "share", "low", "high", "signed", "rank", "top5"]].tolist() == [
        3,
        1,
        3,
        3,
        -3,
        1,
        1,
    ]
    rest = table.drop(cell.name)
    assert (rest[["density", "share", "signed"]] == 0).all(axis=None)
    assert sorted(table["rank"]) == list(range(1, 289))


def test_uniform_map_has_equal_densities_and_shares_of_time():
    segments = soft_segments(3)
    maps = cell_maps(np.full((3, T, 12), 0.5), segments, [1, 2, 3])
    np.testing.assert_allclose(density(maps), 0.5)
    np.testing.assert_allclose(relative_density(maps), 1)
    np.testing.assert_allclose(
        shares(maps.relevance), segments.sum(axis=1, dtype=float) / (12 * T), rtol=1e-5
    )
    np.testing.assert_allclose(shares(maps.relevance).sum(axis=(1, 2)), 1)


def test_amplitude_map_equals_the_mean_amplitude_of_each_cell():
    signal = np.zeros((1, T, 12))
    signal[0, :, 3] = np.repeat(np.arange(24), 10) - 12.0  # aVR: segment k has -12 + k mV
    maps = cell_maps(signal, hard_segments(), [1])
    np.testing.assert_allclose(density(maps)[0, 3], np.abs(np.arange(24) - 12.0))
    np.testing.assert_allclose(density(maps, signed=True)[0, 3], np.arange(24) - 12.0)
    assert density(maps)[0, 4].sum() == 0


def test_density_is_the_formula_written_as_a_loop():
    rng = np.random.default_rng(3)
    a, s = rng.normal(size=(2, 50, 12)), soft_segments(2, 50, seed=3)
    maps = cell_maps(a, s, [1, 2])
    for n, lead, k in [(0, 0, 0), (1, 11, 23), (0, 5, 10), (1, 7, 3)]:
        top = sum(abs(a[n, t, lead]) * s[n, t, lead, k] for t in range(50))
        bottom = sum(s[n, t, lead, k] for t in range(50))
        assert density(maps)[n, lead, k] == pytest.approx(top / bottom)
        assert density(maps, signed=True)[n, lead, k] == pytest.approx(
            sum(a[n, t, lead] * s[n, t, lead, k] for t in range(50)) / bottom
        )


def test_empty_segments_are_masked_and_never_nan():
    segments = hard_segments(2)
    segments[:, :, :, 23] += segments[:, :, :, :5].sum(axis=-1)
    segments[:, :, :, :5] = 0  # no P wave, as in atrial fibrillation
    with np.errstate(all="raise"):
        maps = cell_maps(np.ones((2, T, 12)), segments, [1, 2])
        values = density(maps)
    assert np.ma.getmaskarray(values)[:, :, :5].all()
    assert not np.ma.getmaskarray(values)[:, :, 5:].any()
    assert np.isfinite(values.data).all()
    table = segment_table(maps, n_resamples=20)
    empty = table["segment"].isin(SEGMENTS[:5])
    assert table.loc[empty, ["density", "low", "high", "rank"]].isna().all(axis=None)
    assert (table.loc[empty, ["share", "n_records", "time_share", "top5"]] == 0).all(axis=None)
    assert table.loc[~empty, "density"].eq(1).all()


def test_a_cell_that_some_records_lack_is_the_mean_of_the_others():
    segments = hard_segments(3)
    segments[0, :, :, 23] += segments[0, :, :, 2]
    segments[0, :, :, 2] = 0
    attributions = np.ones((3, T, 12)) * np.array([10, 1, 2])[:, None, None]
    mean = group_mean(density(cell_maps(attributions, segments, [1, 2, 3])))
    np.testing.assert_allclose(mean[:, 2], 1.5)
    np.testing.assert_allclose(mean[:, 3], 13 / 3)


def test_coverage_evens_out_the_windows_and_leaves_out_what_none_saw():
    coverage = np.repeat([0, 0.5, 1, 0], T // 4)
    attributions = (
        np.ones((1, T, 12)) * coverage[:, None]
    )  # the mean over two windows whose maps are 1 where they look
    attributions[:, coverage == 0] = np.nan
    maps = cell_maps(attributions, hard_segments(), [1], coverage)
    np.testing.assert_allclose(density(maps).compressed(), 1)
    assert (
        np.ma.getmaskarray(density(maps))[0, 0].tolist() == [True] * 6 + [False] * 12 + [True] * 6
    )


def test_leads_that_the_model_does_not_take_are_empty():
    attributions = np.ones((1, T, 12))
    attributions[:, :, 3] = np.nan
    maps = cell_maps(attributions, hard_segments(), [1])
    assert np.ma.getmaskarray(density(maps))[0].all(axis=1).tolist() == [
        lead == "aVR" for lead in LEADS
    ]
    assert shares(maps.time)[0, 3].sum() == shares(maps.relevance)[0, 3].sum() == 0
    assert shares(maps.relevance).sum() == pytest.approx(1)


def test_a_record_without_relevance_counts_nowhere():
    attributions = np.ones((2, T, 12))
    attributions[1] = 0
    maps = cell_maps(attributions, hard_segments(2), [1, 2])
    assert maps.explained.tolist() == [True, False]
    np.testing.assert_allclose(group_mean(density(maps)), 1)
    table = segment_table(maps, n_resamples=20)
    assert table["share"].sum() == pytest.approx(1)
    assert table["n_records"].eq(1).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        cell_maps(np.zeros((1, T - 1, 12)), hard_segments(), [1])


def test_batches_give_the_same_as_the_whole():
    rng = np.random.default_rng(0)
    a, s, patients = rng.normal(size=(5, T, 12)), soft_segments(5), np.array([1, 1, 2, 3, 3])
    whole = cell_maps(a, s, patients)
    parts = concatenate(
        [cell_maps(a[:2], s[:2], patients[:2]), cell_maps(a[2:], s[2:], patients[2:])]
    )
    for name in ("relevance", "signed", "time", "patients"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_ranks_put_the_highest_first_and_leave_empty_cells_out():
    ranked = ranks(np.array([[0.1, np.nan, 3.0], [2.0, 3.0, -1.0]]))
    assert ranked[0, 2] == 1  # the tie with [1, 1] goes to the lead that comes first
    assert ranked[1].tolist() == [3, 2, 5]
    assert ranked[0, 0] == 4
    assert np.isnan(ranked[0, 1])


def test_a_wave_that_few_records_have_is_not_ranked():
    """One record of three has a Q wave, and a very bright one."""
    segments, attributions = hard_segments(3), np.ones((3, T, 12))
    segments[1:, :, :, 9] += segments[1:, :, :, 8]
    segments[1:, :, :, 8] = 0
    attributions[0, 80:90] = 50
    table = segment_table(cell_maps(attributions, segments, [1, 2, 3]), n_resamples=50)
    q_peak = table[table["segment"] == "Q-Peak"]
    assert q_peak["density"].eq(50).all()
    assert q_peak["rank"].isna().all()
    assert q_peak[["low", "high"]].isna().all(axis=None)
    assert q_peak["top5"].eq(0).all()
    assert q_peak["n_records"].eq(1).all()
    assert table["rank"].max() == 276


# ---------------------------------------------------------------- intervals


def interval_of(maps, n_resamples, seed):
    """Interval of the group's densities."""
    return group_interval(
        density(maps),
        maps.patients,
        patient_weights(maps.patients, n_resamples, seed).astype(float),
    )


def test_interval_of_each_cell_is_that_of_its_values_by_patient():
    patients = np.array([1, 1, 2, 3, 4, 4, 4, 5, 6])
    maps = random_maps(9, patients=patients)
    weights = patient_weights(patients, 300, seed=5)
    low, high = group_interval(density(maps), patients, weights.astype(float))
    expected = mean_intervals(density(maps).data[:, 3, 7], patients, weights=weights)
    assert (low[3, 7], high[3, 7]) == pytest.approx([float(edge) for edge in expected])
    values = np.ma.MaskedArray(density(maps).data, mask=np.zeros(density(maps).shape, dtype=bool))
    values[patients < 3, 0, 0] = np.ma.masked  # four patients have this cell
    assert np.isnan([edge[0, 0] for edge in group_interval(values, patients, weights)]).all()


def test_interval_widens_when_records_come_from_few_patients():
    maps = random_maps(40)
    few = maps.rows(np.arange(40) % 6)
    as_if = CellMaps(few.relevance, few.signed, few.time, np.arange(40))
    widths = [np.mean(np.subtract(*interval_of(group, 400, 0)[::-1])) for group in (few, as_if)]
    assert widths[0] > 2 * widths[1]


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(7)
    covered = []
    for seed in range(60):
        relevance = rng.gamma(2.0, 1.0, size=(40, 12, 24)) * 5
        maps = CellMaps(relevance, relevance, np.full((40, 12, 24), 5.0), np.arange(40))
        low, high = interval_of(maps, 200, seed)
        covered.append(((low <= 2) & (high >= 2)).mean())
    assert 0.94 <= np.mean(covered) <= 0.98


def test_same_seed_same_table():
    maps = random_maps(6)
    first, second = (segment_table(maps, n_resamples=100, seed=4) for _ in range(2))
    assert first.to_csv() == second.to_csv()
    assert first.columns[:7].tolist() == [
        "lead",
        "segment",
        "density",
        "share",
        "low",
        "high",
        "rank",
    ]
    assert first["lead"].unique().tolist() == list(LEADS)
    assert first["segment"].unique().tolist() == list(SEGMENTS)
    assert first["top5"].sum() == pytest.approx(5)


# ---------------------------------------------------------------- contrasts


def grouped(seed, n=12, bright=None, patients=None):
    """Random cell sums of n records; `bright` (lead, segment) is raised threefold."""
    rng = np.random.default_rng(seed)
    relevance = rng.gamma(4.0, 1.0, size=(n, 12, 24))
    if bright:
        relevance[:, bright[0], bright[1]] *= 3
    return CellMaps(
        relevance,
        relevance,
        np.full((n, 12, 24), 4.0),
        np.arange(n) + 100 * seed if patients is None else patients,
    )


def test_contrast_finds_the_cell_that_differs_and_its_size():
    first, second = grouped(1, 40, bright=(6, 10)), grouped(2, 40)
    found = contrast(first, second, n_permutations=2000)
    at_cell = relative_density(first)[:, 6, 10].mean() - relative_density(second)[:, 6, 10].mean()
    assert found["difference"][6, 10] == pytest.approx(at_cell)
    assert found["p"][6, 10] == 1 / 2001
    assert (found["p"] < 0.05).sum() < 288 * 0.15
    assert (found["n_first"], found["n_second"], found["n_both"]) == (40, 40, 0)


def test_contrast_p_is_uniform_when_the_groups_do_not_differ():
    found = [
        contrast(grouped(2 * seed + 1), grouped(2 * seed + 2), 199, seed) for seed in range(40)
    ]
    p = np.concatenate([one["p"][::4, ::6].ravel() for one in found])
    assert kstest(p, "uniform").pvalue > 0.01
    assert (p <= 0.05).mean() <= 0.08


def test_contrast_counts_a_patient_once_and_leaves_out_those_in_both_groups():
    first = grouped(1, 6, patients=np.array([1, 1, 1, 2, 3, 9]))
    second = grouped(2, 4, patients=np.array([5, 6, 9, 9]))
    found = contrast(first, second, 100)
    assert (found["n_first"], found["n_second"], found["n_both"]) == (3, 2, 1)
    values = relative_density(first)
    by_hand = (values[:3].mean(axis=0) + values[3] + values[4]) / 3
    np.testing.assert_allclose(found["first"], by_hand)
    with pytest.raises(ValueError, match="two patients per group"):
        contrast(first.rows([0, 1]), second, 100)


def test_contrast_leaves_cells_blank_that_a_group_does_not_have():
    first, second = grouped(1), grouped(2)
    first.time[:, 4, 2] = first.relevance[:, 4, 2] = 0
    found = contrast(first, second, 100)
    assert np.isnan(found["p"][4, 2])
    assert np.isnan(found["difference"][4, 2])
    assert np.isfinite(found["p"]).sum() == 287


def test_contrast_does_not_test_cells_that_few_have():
    first, second = grouped(1), grouped(2)
    for sums in (second.time, second.relevance):
        sums[2:, 4, 2] = 0  # two of twelve records keep the cell
    found = contrast(first, second, 100)
    assert np.isfinite(found["second"][4, 2])
    assert np.isnan(found["p"][4, 2])
    assert np.isnan(found["difference"][4, 2])


def test_a_contrast_tests_means_and_not_spreads():
    """Equal means, one group four times as spread and a quarter as large: no cell of 288 differs in
    more than a twentieth of the trials, as far as chance allows.
    """
    rng, found = np.random.default_rng(5), []
    for trial in range(100):
        groups = []
        for n, spread, name in ((10, 4.0, 0), (40, 1.0, 100)):
            relevance = np.full((n, 12, 24), 10.0)
            noise = spread * rng.normal(size=n)
            relevance[:, 0, 0] += noise
            relevance[:, 5, 5] -= noise  # the record's mean stays: relative densities are these
            maps = CellMaps(
                relevance, relevance, np.full(relevance.shape, 2.0), name + np.arange(n)
            )
            groups.append(maps)
        p = contrast(*groups, n_permutations=199, seed=trial)["p"]
        found.append(p[0, 0] <= 0.05)
    assert np.mean(found) <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 100)
