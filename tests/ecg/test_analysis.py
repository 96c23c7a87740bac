import platform
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import ecg
from common.files import UserError
from conftest import ROOT
from ecg import analysis
from known_ecg import known_ecg, regular
from records.dataset import parse_r_peaks


def some_records(n=5):
    rng = np.random.default_rng(2)
    return np.stack(
        [known_ecg(regular(rng.uniform(50, 110)), noise=0.01, seed=i) for i in range(n)]
    )


def test_many_records_are_measured_as_each_alone(monkeypatch):
    """To the last bit: what lies beside a record, such as one with wide QRS, does not matter."""
    wide = known_ecg([(at, "PVC") for at in regular(60)], noise=0.01)
    signals = np.concatenate([some_records(9), wide[None]])
    together = ecg.measure_all(signals, 100, progress=False)
    monkeypatch.setattr(analysis, "CHUNK", 2)
    pd.testing.assert_frame_equal(
        ecg.measure_all(signals, 100, progress=False), together, check_exact=True
    )
    for row, signal in enumerate(signals):
        pd.testing.assert_series_equal(
            ecg.measure(signal, 100), together.loc[row], check_exact=True, check_names=False
        )


def test_same_signal_same_table():
    signals = some_records(3)
    pd.testing.assert_frame_equal(
        ecg.measure_all(signals, 100, progress=False), ecg.measure_all(signals, 100, progress=False)
    )


def test_signals_are_left_as_they_are():
    signals = some_records(2)
    before = signals.copy()
    ecg.measure_all(signals, 100, progress=False)
    assert np.array_equal(signals, before)


@pytest.mark.parametrize("rate", [250, 300, 500, 1000])
def test_the_sampling_rate_does_not_matter(rate):
    times = regular(70)
    low, high = (ecg.measure(known_ecg(times, fs), fs) for fs in (100, rate))
    assert (
        np.abs(parse_r_peaks(low["r_peaks"]) - parse_r_peaks(high["r_peaks"])).max() <= 1
    )  # both at 100 Hz
    for column, tolerance in (
        ("R_Amp_V5", 0.03),
        ("T_Amp_II", 0.01),
        ("QRS_Dur_Global", 8),
        ("PR_Int_Global", 10),
    ):
        assert high[column] == pytest.approx(low[column], abs=tolerance)


def test_r_peaks_of_the_table_are_those_of_detect_r_peaks():
    signal = known_ecg(regular(64))
    assert np.array_equal(
        parse_r_peaks(ecg.measure(signal, 100)["r_peaks"]), ecg.detect_r_peaks(signal, 100)
    )


@pytest.mark.parametrize("shape", [(2, 1000, 11), (1000, 12), (2, 12, 1000)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UserError, match="12 leads"):
        ecg.measure_all(np.zeros(shape), 100)


def test_impossible_sampling_rates_are_refused():
    with pytest.raises(UserError, match="sampling rate 5 Hz"):
        ecg.measure_all(np.zeros((1, 1000, 12)), 5)


def test_no_records_no_rows():
    assert len(ecg.measure_all(np.zeros((0, 1000, 12)), 100, progress=False)) == 0


@pytest.mark.parametrize(
    "broken",
    [
        np.full((1000, 12), np.inf),
        np.zeros((3, 12)),
        np.random.default_rng(0).normal(0, 1, (1000, 12)),
        np.random.default_rng(0).normal(0, 1e-4, (1000, 12)),
        1e4 * known_ecg(regular(60)),
        known_ecg([300], seconds=0.8),
        known_ecg(regular(60)).round(),
        known_ecg([1500], seconds=3),
        known_ecg(regular(230), without="PT"),
        known_ecg([(at, "PVC") if i % 2 else at for i, at in enumerate(regular(90))]),
    ],
)
def test_nothing_crashes(broken):
    table = ecg.measure_all(broken[None], 100, progress=False)
    assert len(table) == 1
    assert not np.isinf(table.drop(columns="r_peaks").to_numpy(float)).any()
    assert np.allclose(ecg.segment(broken, 100).sum(axis=2), 1, atol=1e-5)


def test_pacemaker_spikes_are_no_beats_of_their_own():
    signal = known_ecg([(at, "PVC") for at in regular(70)], 500)
    for at in regular(70):
        signal[int((at - 60) / 2) : int((at - 60) / 2) + 1] += 2.0
    assert len(ecg.detect_r_peaks(signal, 500)) == len(regular(70))


def test_rhythm_of_few_beats():
    rr, change = analysis._rhythm(
        np.array([[100, 600, 1100, -1], [100, -1, -1, -1], [0, 500, 1500, 2000]]), 5000
    )
    assert rr.tolist() == [500, 5000, 500]
    assert change.tolist() == [0, 0, 1.0]


def test_uni_g_amplitudes(ptbxl, ptbxl_reference):
    """On every third of the records that have them; the bars of all are printed by
    tests/benchmarks/bench_ecg.py.
    """
    from records.wfdb_files import read_records

    published = (
        pd.read_csv(ptbxl_reference / "uni_g_measurements.csv").set_index("ecg_id").iloc[::3]
    )
    table = pd.read_csv(ptbxl / "ptbxl_database.csv").set_index("ecg_id").loc[published.index]
    signals = read_records(ptbxl, table["filename_lr"], table.index, 100, progress=False).signals
    found = ecg.measure_all(signals, 100, progress=False).set_axis(published.index)
    for column, error, r in (
        ("R_Amp_II", 0.04, 0.95),
        ("R_Amp_V5", 0.04, 0.95),
        ("S_Amp_V2", 0.04, None),
        ("T_Amp_V4", 0.03, 0.95),
    ):
        ours = found[column].clip(lower=0) if column.startswith("T") else found[column]
        assert (ours - published[column]).abs().median() <= error
        assert r is None or ours.corr(published[column]) >= r
    assert (found["QRS_Dur_Global"] - published["QRS_Dur_Global"]).abs().median() <= 10
    assert (found["PR_Int_Global"] - published["PR_Int_Global"]).abs().median() <= 15


@pytest.mark.parametrize(("mains", "rate"), [(50, 500), (60, 500), (49.95, 1000)])
def test_mains_hum_hides_neither_p_nor_where_qrs_begins(mains, rate):
    signal = known_ecg(regular(70), rate, noise=0.005)
    hum = 0.1 * np.sin(2 * np.pi * mains * np.arange(len(signal)) / rate)
    clean, humming = ecg.measure(signal, rate), ecg.measure(signal + hum[:, None], rate)
    assert humming["P_Found_Global"] == 1
    for column in ("P_Dur_Global", "PR_Int_Global", "QRS_Dur_Global", "QT_Int_Global"):
        assert abs(humming[column] - clean[column]) <= 8, column


FAULTS = """
import resource, sys
sys.path[:0] = [{code!r}, {tests!r}]
import numpy as np
import ecg
from known_ecg import known_ecg, regular
signals = np.stack([known_ecg(regular(rate)) for rate in np.linspace(50, 110, 96)])
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    ecg.measure_all(signals, 100, progress=False)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / len(signals))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators do otherwise")
def test_memory_that_was_freed_is_used_again():
    """Else the system clears 30 to 140 pages a record anew, which takes a fifth of the time."""
    program = FAULTS.format(code=str(ROOT / "code"), tests=str(ROOT / "tests"))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 5
