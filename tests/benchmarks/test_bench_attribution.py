"""Bars on attribution: pytest -m benchmark tests/benchmarks/test_bench_attribution.py -s"""

import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import bench_attribution as bench

pytestmark = pytest.mark.benchmark


@pytest.fixture(autouse=True)
def one_thread():
    """CPU time is compared: threads that wait would count."""
    before = bench.torch.get_num_threads()
    bench.torch.set_num_threads(1)
    yield
    bench.torch.set_num_threads(before)


@pytest.mark.parametrize("modelname", bench.MODELS)
def test_methods_cost_a_few_passes(modelname):
    found = bench.cost(modelname)
    print(found)
    assert {name: found[name] for name, bar in bench.BARS.items() if found[name] > bar} == {}


@pytest.mark.parametrize("modelname", bench.MODELS)
def test_not_slower_than_captum(modelname):
    warnings.simplefilter("ignore")
    found = bench.against_captum(modelname)
    print(found)
    # 5 % are the noise of a median of 9 rounds
    methods = ("saliency", "input_x_gradient", "ig", "gradcam", "guided_gradcam", "occlusion")
    assert {name: found[name] for name in methods if found[name] > 1.05} == {}
