"""Bars on reading and preprocessing, on the real records: pytest -m benchmark
tests/benchmarks/test_bench_records.py -s
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import bench_records as bench

pytestmark = pytest.mark.benchmark


def test_reading_is_20_times_a_wfdb_loop_and_equal_to_it(ptbxl):
    found = bench.reading(ptbxl)
    print(found)
    assert found["ratio"] >= 20
    assert found["largest_difference_mV"] <= 1e-6


def test_preprocessing_takes_5_ms_per_record_and_grows_linearly(ptbxl):
    cost = bench.cost(ptbxl)
    print(cost)
    assert max(cost.values()) <= 5
    assert max(cost.values()) <= 1.3 * min(cost.values())


def test_peak_memory_is_twice_the_array_and_500_mb(ptbxl):
    found = bench.memory(ptbxl, 4497)
    print(found)
    assert found["peak_MB"] <= found["limit_MB"]


def test_importing_takes_no_longer_than_wfdb_takes_to_read(ptbxl, tmp_path):
    found = bench.importing(ptbxl, tmp_path, 300)
    print(found)
    assert found["import"].cpu <= found["wfdb"].cpu
