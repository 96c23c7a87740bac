"""Recordings that are not what they are taken for raise a flag; real ones hardly ever do."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import bench_plausibility

from common.files import UserError
from common.labels import LEADS
from records.plausibility import CHECKS, check_height, judge
from records.readers import read_recording


@pytest.fixture(scope="module")
def real(ptbxl):
    """300 records of patients with an odd number, whom no limit was set on."""
    return bench_plausibility.halves(ptbxl)["odd"][:300]


def test_real_records_raise_hardly_any_alarm(real):
    assert np.any(list(judge(real, 100).values()), axis=0).mean() <= 0.01


@pytest.mark.parametrize("leads", [("I",), ("II",), ("aVF",), ("V1",), ("II", "V5")])
def test_few_leads_have_limits_of_their_own(real, leads):
    found = bench_plausibility.rates_of_few(real, leads)
    assert found["alarm"] <= 0.015
    assert min(found["x1000"], found["/1000"]) >= 0.99


@pytest.mark.parametrize("fault", bench_plausibility.FAULTS)
def test_every_fault_is_found(real, fault):
    make, flags = bench_plausibility.FAULTS[fault]
    found = judge(make(real), 100)
    share = np.any([found[name] for name in flags], axis=0).mean()
    assert share >= (0.9 if fault == "upside down" else 0.97)


def test_the_verdict_does_not_depend_on_the_rate(real):
    slow, fast = real[:40], np.repeat(real[:40], 5, axis=1)
    for name in CHECKS:
        assert np.array_equal(judge(slow, 100)[name], judge(fast, 500)[name])


def test_zeros_are_no_heartbeat_and_nothing_else():
    found = judge(np.zeros((1, 1000, 12)), 100)
    assert [name for name, flags in found.items() if flags[0]] == ["no_beat"]


@pytest.mark.parametrize("factor", [1e-3, 10, 1e3])
def test_a_unit_that_nobody_says_is_asked_for_and_one_that_is_said_doubted(real, factor, capsys):
    check_height(real[0], LEADS, None, "a.csv")
    with pytest.raises(UserError, match="--unit"):
        check_height(real[0] * factor, LEADS, None, "a.csv")
    check_height(real[0], LEADS, "mV", "a.dcm")
    assert not capsys.readouterr().err
    check_height(real[0] * factor, LEADS, "mV", "a.dcm")
    assert "--unit takes its place" in capsys.readouterr().err


def test_ludb_is_known_by_its_scaling(ptbxl):
    folder = ptbxl.parent / "ludb" / "data"
    if not folder.is_dir():
        pytest.skip("no LUDB records beside the real records")
    paths = sorted(folder.glob("*.hea"))[:30]
    signals = np.stack([read_recording(path).signal for path in paths])
    assert judge(signals, 500)["lead_scaling"].mean() >= 0.9
