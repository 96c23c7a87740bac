"""The bars on the simulated cohort: realism against real normal records, time (run with: pytest -m
benchmark).
"""

import pytest
from bench_simulation import realism_table, speed

pytestmark = pytest.mark.benchmark


def test_simulated_and_real_normal_beats_lie_in_each_others_bands(ptbxl, ptbxl_reference):
    table, _, _ = realism_table(ptbxl, ptbxl_reference, seed=0)
    shares = table.loc[
        ["patients used for the fit", "other patients", "all"],
        ["real inside simulated", "simulated inside real"],
    ]
    assert shares.to_numpy().min() >= 0.80, table
    assert shares.to_numpy().max() <= 0.95, table


def test_a_thousand_records_take_less_than_30_seconds_of_one_core(tmp_path, capsys):
    from types import SimpleNamespace

    speed(SimpleNamespace(output_path=tmp_path, n_records=1000))
    assert float(capsys.readouterr().out.split(", ")[1].split()[0]) < 30
