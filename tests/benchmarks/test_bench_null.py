"""The null's labels: those of other patients, the same ones in all, a patient's together."""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from bench_null import permute_labels


def test_labels_go_to_other_patients_and_nothing_else_moves():
    patients = ["a", "b", "b", "c", "d", "e", "f", "g", "h"]
    codes = list("ABBCDEFGH")
    table = pd.DataFrame({"patient_id": patients, "scp_codes": codes, "report": codes})
    table["strat_fold"] = range(9)
    permuted = permute_labels(table, 0)
    assert (permuted["scp_codes"] == permuted["report"]).all()
    assert permuted["scp_codes"].iloc[1] == permuted["scp_codes"].iloc[2]
    assert set(permuted["scp_codes"]) == set(codes)
    assert (permuted["scp_codes"] != table["scp_codes"]).mean() > 0.5
    assert permuted[["patient_id", "strat_fold"]].equals(table[["patient_id", "strat_fold"]])
    assert permute_labels(table, 0).equals(permuted)
    assert not permute_labels(table, 1).equals(permuted)
