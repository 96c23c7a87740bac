"""The study of coverage runs, and small groups are covered where percentiles are not."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import bench_intervals

SHARES = (0, 1 / 3, 2 / 3, 1)  # of three trials
WITHOUT = ("correlation",)  # no interval is given any more


@pytest.mark.slow
def test_areas_of_few_positives_are_covered():
    for area in (0.8, 0.99):
        found = bench_intervals.coverage("auc", "normal", area, 5, 300)
        assert found["before"] < 0.9
        assert found["after"] >= bench_intervals.LEAST


def test_every_study_gives_two_coverages():
    for name, (_, kinds, values) in bench_intervals.STUDIES.items():
        found = bench_intervals.coverage(name, kinds[-1], values[0], 20, 3)
        assert found["before"] in SHARES
        assert found["after"] in SHARES or (name in WITHOUT and np.isnan(found["after"]))
