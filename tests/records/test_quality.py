"""Quality flags: each raised by its own fault, none by a clean record."""

import numpy as np
import pandas as pd
import pytest

from common.labels import LEADS
from ecg.analysis import measure_all
from records.quality import FLAGS, judge_quality, noise_level
from tiny_ptbxl import ecg_like


def clean(rate=100):
    """(4, T, 12) mV with the limb leads as Einthoven has them."""
    signals = np.stack([ecg_like(seed, rate) for seed in range(4)]).astype(np.float32) / 1000
    return with_limb_leads(signals, signals[..., 0], signals[..., 1])


def with_limb_leads(signals, one, two):
    limb = np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2], axis=-1)
    return np.concatenate([limb, signals[..., 6:]], axis=-1).astype(np.float32)


def flags(signals, rate=100, **columns):
    table = measure_all(signals, rate, progress=False).assign(
        scp_codes="{'NORM': 100.0}", **columns
    )
    return judge_quality(signals, rate, table)


def raised(signals, rate=100, **columns):
    found = flags(signals, rate, **columns)
    return {name.removeprefix("quality_") for name in found if found[name].all()}


@pytest.mark.parametrize("rate", [100, 500])
def test_a_clean_record_has_no_flag(rate):
    found = flags(clean(rate), rate)
    assert list(found) == [f"quality_{name}" for name in FLAGS]
    assert not found.to_numpy().any()


def flat(signals, rate):
    signals[:, 3 * rate : 6 * rate, 7] = 0.1


def clipped(signals, rate):
    signals[:] = np.minimum(signals, 1.1)


def noise(signals, rate):
    signals[..., 9] += np.random.default_rng(0).normal(
        0, 0.04 * np.sqrt(rate / 100), signals.shape[:2]
    )


def drift(signals, rate):
    signals[..., 4] += 0.8 * np.sin(2 * np.pi * np.arange(signals.shape[1]) / rate / 10)[None]


@pytest.mark.parametrize("rate", [100, 500])
@pytest.mark.parametrize("fault", [flat, clipped, noise, drift])
def test_each_fault_raises_its_own_flag(fault, rate):
    signals = clean(rate)
    fault(signals, rate)
    assert raised(signals, rate) == {fault.__name__}


def test_a_still_second_is_no_flat_lead():
    signals = clean()
    signals[:, 400:550, 7] = 0.1
    assert raised(signals) == set()


@pytest.mark.parametrize(
    ("exchanged", "limb"),
    [
        ("arms", lambda one, two: (-one, two - one)),
        ("right arm and leg", lambda one, two: (one - two, -two)),
    ],
)
def test_exchanged_electrodes_are_noticed(exchanged, limb):
    signals = clean()
    assert raised(with_limb_leads(signals, *limb(signals[..., 0], signals[..., 1]))) == {
        "limb_reversal"
    }


def test_a_pacemaker_is_taken_from_the_data_base():
    signals = clean()
    named = flags(signals, pacemaker=["ja, pacemaker", None, np.nan, None])
    assert named["quality_pacemaker"].tolist() == [True, False, False, False]
    table = measure_all(signals, 100, progress=False).assign(
        scp_codes=["{'PACE': 100.0}", "{}", "{'SPACE': 1.0}", "{}"]
    )
    assert judge_quality(signals, 100, table)["quality_pacemaker"].tolist() == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_the_noise_level_of_white_noise_is_its_standard_deviation(sigma):
    level = noise_level(
        np.random.default_rng(1).normal(0, sigma, (20, 1000, 12)).astype(np.float32), 100
    )
    assert level.mean() == pytest.approx(sigma, rel=0.02)
    assert level.std() < 0.08 * sigma  # 998 second differences


def test_chunks_do_not_matter(monkeypatch):
    signals = clean()
    noise(signals[2:], 100)
    whole = flags(signals)
    monkeypatch.setattr("records.quality.CHUNK", 3)
    pd.testing.assert_frame_equal(flags(signals), whole)
    assert whole["quality_noise"].tolist() == [False, False, True, True]


def test_exchanged_electrodes_of_real_records(ptbxl):
    """The first 150 as they are, and with the arms exchanged: I upside down, II and III, aVR and
    aVL in each other's place.
    """
    from records.wfdb_files import read_records

    table = pd.read_csv(ptbxl / "ptbxl_database.csv", index_col="ecg_id").head(150)
    signals = read_records(ptbxl, table["filename_lr"], table.index, 100, progress=False).signals
    order = [LEADS.index(lead) for lead in ("I", "III", "II", "aVL", "aVR", "aVF", *LEADS[6:])]
    exchanged = signals[..., order] * np.where(np.arange(12) == 0, -1, 1).astype(np.float32)
    assert flags(signals)["quality_limb_reversal"].mean() < 0.02
    assert flags(exchanged)["quality_limb_reversal"].mean() > 0.7
