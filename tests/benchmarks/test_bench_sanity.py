"""The cost of a whole run of sanity checks on a small LeNet and its cohort."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bench_sanity import BAR_MINUTES, cost

pytestmark = pytest.mark.benchmark


def test_all_checks_of_a_lenet_stay_within_their_minutes(cohort, trained):
    args = SimpleNamespace(
        model_path=str(trained),
        data_path=str(cohort),
        amplitude_models=[],
        seeds=[str(trained)],
        n_samples=200,
    )
    assert cost(args) < 2 * BAR_MINUTES  # minutes of one core
