"""Bars on training: pytest -m benchmark tests/benchmarks/test_bench_training.py -s"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import bench_training as bench

pytestmark = pytest.mark.benchmark


def test_lenet_is_faster_than_with_a_data_loader_of_2_workers():
    found = bench.loader()
    print(found)
    assert found["ratio"] >= 1.3


def test_xresnet_costs_less_than_its_plain_forward_and_backward():
    found = bench.bare()
    print(found)
    assert found["ratio"] <= 0.95


def test_xresnet_in_bf16_takes_less_still():
    found = bench.bare(amp="bf16")
    print(found)
    assert found["ratio"] <= 0.7


def test_intervals_of_71_classes_take_seconds():
    found = bench.bootstrap()
    print(found)
    assert found["cpu_s"] <= 10


@pytest.mark.slow
@pytest.mark.parametrize(("modelname", "task"), bench.BARS)
def test_models_reach_their_bars_on_real_records(ptbxl, tmp_path, modelname, task):
    found = bench.auc(bench.preprocessed(ptbxl, tmp_path / "data"), tmp_path, modelname, task)
    print(found)
    assert found["mean"] >= found["bar"]
