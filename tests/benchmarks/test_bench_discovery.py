"""Bar on the test of structure: pytest -m benchmark tests/benchmarks/test_bench_discovery.py -s"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import bench_discovery as bench

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize(("n_records", "k"), bench.SIZES)
def test_k_means_of_many_clouds_is_quicker_than_one_after_the_other_and_finds_the_same(
    n_records, k
):
    found = bench.kmeans(50, n_records, k)
    print(found)
    assert found["difference"] < bench.TOLERANCE
    assert found["ours"] < found["theirs"]
