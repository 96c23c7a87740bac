"""Measuring costs the same per record however many there are."""

import time

import numpy as np
import pytest

import ecg
from known_ecg import known_ecg, regular

pytestmark = pytest.mark.benchmark


def seconds(signals):
    """Best processor time of three runs."""
    times = []
    for _ in range(3):
        begin = time.process_time()
        ecg.measure_all(signals, 100, progress=False)
        times.append(time.process_time() - begin)
    return min(times)


def test_cost_is_linear_in_records():
    rng = np.random.default_rng(0)
    signals = np.stack(
        [known_ecg(regular(rng.uniform(50, 100)), noise=0.01, seed=i) for i in range(128)]
    ).astype(np.float32)
    few, many = signals, np.concatenate([signals] * 4)
    seconds(few)  # warm
    per_record = [seconds(part) / len(part) * 1000 for part in (few, many)]
    print(f"{per_record[0]:.2f} ms per record of {len(few)}, {per_record[1]:.2f} of {len(many)}")
    assert per_record[1] < 1.3 * per_record[0]
