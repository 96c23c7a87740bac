"""What all checks share: tables from values per record, paired comparisons, inputs of models with
fewer leads.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom

from common.intervals import mean_intervals
from networks.inference import input_of
from sanity.subject import (
    COLUMNS,
    Resamples,
    best_p,
    compare_to_best,
    summarise,
    target_logits,
)
from small_subjects import make_subject


def long_table(**values):
    """One check, one record of each of n patients, a column of values per method."""
    tables = []
    for method, column in values.items():
        n = len(column)
        tables.append(
            pd.DataFrame(
                {
                    "check": "c",
                    "method": method,
                    "model": "m",
                    "task": "t",
                    "ecg_id": np.arange(n),
                    "patient_id": np.arange(n) // 2,
                    "value": column,
                    "chance": 0.25,
                    "best": 1.0,
                    "detail": False,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def test_means_with_intervals_over_patients_as_the_shared_function_gives_them():
    values = np.random.default_rng(0).random(30)
    table = summarise(long_table(saliency=values, ig=np.full(30, np.nan)))
    assert list(table.columns) == COLUMNS
    row = table.set_index("method").loc["saliency"]
    low, high = map(float, mean_intervals(values, np.arange(30) // 2))
    assert (row["value"], row["low"], row["high"]) == pytest.approx((values.mean(), low, high))
    assert (row["chance"], row["n"]) == (0.25, 30)
    assert table.set_index("method").loc["ig", "n"] == 0


def test_records_without_a_value_are_left_out_and_counted():
    values = np.r_[np.full(10, 0.5), np.full(10, np.nan)]
    row = summarise(long_table(saliency=values)).iloc[0]
    assert (row["value"], row["n"]) == (0.5, 10)


def test_sign_flip_p_is_uniform_under_the_null_and_small_for_a_shift():
    rng = np.random.default_rng(0)
    p = [Resamples(seed).sign_flip_p(rng.normal(size=30), np.arange(30)) for seed in range(200)]
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.06)
    assert Resamples(0).sign_flip_p(rng.normal(1, 0.5, size=30), np.arange(30)) < 0.002
    one_patient = Resamples(0).sign_flip_p(
        np.full(30, 1.0), np.zeros(30)
    )  # a single patient proves nothing
    assert one_patient == 1


def test_best_is_nearest_to_perfect_and_never_a_control():
    rng = np.random.default_rng(1)
    base = rng.random(40) * 0.2
    table = compare_to_best(
        long_table(saliency=base + 0.5, ig=base + 0.501, lrp=base + 0.2, random=base + 0.9)
    )
    assert set(table["best"]) == {"ig"}
    table = table.set_index("method")
    assert table.loc["saliency", "difference"] == pytest.approx(-0.001)
    assert table.loc["lrp", "p_corrected"] < 0.01
    assert table.loc["random", "difference"] > 0
    assert (table["p_corrected"] >= table["p"]).all()


def equally_good(kind, n, rng):
    """Values (n, 12) of methods of the same mean."""
    values = rng.normal(size=(n, 12))
    if kind == "skewed":
        values = rng.exponential(size=(n, 12))
    elif kind == "one scatters":
        values[:, 0] *= 5
    elif kind == "half of them scatter":
        values[:, :6] *= 3
    elif kind == "ties":
        return (values > 0.5).astype(float)
    return rng.normal(size=(n, 1)) + values


def table_of(values, records_each=1):
    """Records (n) of patients with so many each, by method."""
    places = np.arange(len(values))
    index = pd.MultiIndex.from_arrays(
        [places, places // records_each], names=["ecg_id", "patient_id"]
    )
    names = [f"method{number}" for number in range(values.shape[1])]
    return pd.DataFrame(values, index=index, columns=names)


@pytest.mark.parametrize("goal", [np.inf, 0.3])
@pytest.mark.parametrize(
    "kind", ["plain", "skewed", "one scatters", "half of them scatter", "ties"]
)
def test_the_best_of_equal_methods_is_rarely_told_from_another(kind, goal):
    """Chosen on the same records, against each of which it would look better in .15 to .22; dealing
    out the names of methods that scatter unequally found some in .14 to .23.
    """
    found, trials = 0, 150
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        n, records_each = (6, 16, 50)[trial % 3], 1 + trial % 2
        each = np.repeat(equally_good(kind, n, rng), records_each, axis=0)
        wide = table_of(each + 0.1 * rng.normal(size=each.shape), records_each)
        means = wide.mean()
        best = means.idxmax() if np.isinf(goal) else (means - goal).abs().idxmin()
        p, floor = best_p(wide, list(wide), best, goal, trial)
        assert floor == pytest.approx(max(1 / 2001, 2.0 ** (1 - n)))
        found += (p < 0.05).any()
    assert found <= binom.ppf(0.99, trials, 0.05)


def test_a_method_far_behind_does_not_hide_a_difference():
    rng = np.random.default_rng(0)
    wide = table_of(rng.normal(size=(40, 6)))
    wide["method0"] += 2
    near, _ = best_p(wide, list(wide), "method0", np.inf)
    wide["method5"] -= 50
    far, _ = best_p(wide, list(wide), "method0", np.inf)
    assert near.drop("method0").max() < 0.01
    assert far.drop("method0").max() < 0.01
    assert far["method0"] == 1


@pytest.mark.parametrize(("n", "floor"), [(3, 0.25), (5, 0.0625), (40, 1 / 2001)])
def test_the_smallest_p_of_few_patients_is_said(n, floor):
    table = compare_to_best(long_table(saliency=np.full(2 * n, 0.1), ig=np.full(2 * n, 0.6)))
    assert table["p_floor"].item() == pytest.approx(floor)
    assert table["p_corrected"].item() >= 0.7 * floor


def test_lower_is_better_where_the_perfect_value_is_zero_and_infinity_means_the_higher():
    table = long_table(saliency=np.full(8, 0.1), ig=np.full(8, 0.6))
    assert compare_to_best(table.assign(best=0.0))["best"].unique() == ["saliency"]
    assert compare_to_best(table.assign(best=np.inf))["best"].unique() == ["ig"]
    assert compare_to_best(table.assign(best=np.nan)).empty


def test_target_logits_picks_each_records_own_output():
    subject = make_subject(n=5)
    signals = torch.from_numpy(subject.signals)
    logits = subject.model(signals.transpose(1, 2)).detach().numpy()
    assert target_logits(subject, signals, batch_size=2) == pytest.approx(
        logits[np.arange(5), subject.target], abs=1e-6
    )


def test_input_has_the_models_leads_in_its_order():
    subject = make_subject(n=2)
    assert np.array_equal(
        input_of(subject.model, subject.signals).numpy(), subject.signals.transpose(0, 2, 1)
    )


def test_rows_keep_everything_together():
    subject = make_subject(n=6)
    picked = subject.rows([4, 1])
    assert picked.ecg_id.tolist() == [5, 2]
    assert np.array_equal(picked.signals, subject.signals[[4, 1]])
    assert len(picked.r_peaks) == 2
