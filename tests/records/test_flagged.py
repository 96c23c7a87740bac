"""Counts of quality flags among explained records, and the words for them."""

import numpy as np
import pandas as pd
import pytest

from common.files import read_csv
from records.quality import FLAGS, count_flags, flags_in_words, flags_of, write_flag_counts

GROUPS = {"LVH": [1, 2, 3], "NORM": [3, 4, 4, 6]}  # record 3 is in both, 4 twice, 5 in none


def planted(**changed):
    """Six records: noise in 1, 3 and 5, drift in 3 and 4."""
    columns = {f"quality_{name}": [False] * 6 for name in FLAGS}
    ids = pd.Index(range(1, 7), name="ecg_id")
    columns |= {"quality_noise": ids.isin([1, 3, 5]), "quality_drift": ids.isin([3, 4])}
    return pd.DataFrame(columns | changed, index=ids)


def test_records_are_counted_once_per_group_and_once_in_all():
    counts = count_flags(planted(), GROUPS).set_index("group")
    assert counts.loc["all", ["n_records", "n_flagged", "noise", "drift", "flat"]].tolist() == [
        5,
        3,
        2,
        2,
        0,
    ]
    assert counts.loc["LVH", ["n_records", "n_flagged", "noise", "drift", "flat"]].tolist() == [
        3,
        2,
        2,
        1,
        0,
    ]
    assert counts.loc["NORM", ["n_records", "n_flagged", "noise", "drift", "flat"]].tolist() == [
        3,
        2,
        1,
        2,
        0,
    ]
    assert list(counts) == ["n_records", "n_flagged", *FLAGS]


def test_words_name_what_is_raised_and_what_was_not_judged():
    assert (
        flags_in_words(count_flags(planted(), GROUPS))
        == "3 of 5 explained records with a quality flag: noise 2, drift 2"
    )
    assert (
        flags_in_words(count_flags(planted(), {"x": [2, 6]}))
        == "0 of 2 explained records with a quality flag"
    )
    blank = count_flags(planted(quality_pacemaker=None, quality_clipped=None), GROUPS)
    assert flags_in_words(blank) == (
        "3 of 5 explained records with a quality flag: noise 2, drift 2; not judged: clipped, "
        "pacemaker "
        "(needs the data base's word)"
    )
    empty = count_flags(planted(), {"x": [2, 6], "none": []}).set_index("group")
    assert list(empty.loc["none"]) == [0] * empty.shape[1]


def test_a_data_set_without_flags_says_so(tmp_path, capsys):
    counts = count_flags(planted()[[]], GROUPS)
    assert counts["n_records"].tolist() == [5, 3, 3]
    assert counts.drop(columns=["group", "n_records"]).isna().all(axis=None)
    assert flags_in_words(counts).startswith("quality flags unavailable")
    write_flag_counts(tmp_path, planted()[[]], GROUPS)
    assert capsys.readouterr().out.startswith("quality flags unavailable")


@pytest.mark.parametrize("table", [planted(), planted()[["quality_noise"]], planted()[[]]])
def test_the_file_says_the_same_and_comes_out_the_same(tmp_path, table, capsys):
    path = write_flag_counts(tmp_path, table, GROUPS)
    first = path.read_bytes()
    assert flags_in_words(read_csv(path)) == capsys.readouterr().out.strip()
    assert write_flag_counts(tmp_path, table, GROUPS).read_bytes() == first
    assert b".0" not in first  # counts, not floats


def test_flags_are_read_whatever_their_type():
    table = pd.DataFrame(
        {"quality_flat": pd.Series([True, "True", "False", None, np.nan], dtype=object)}
    )
    np.testing.assert_array_equal(flags_of(table)["flat"], [1, 1, 0, np.nan, np.nan])
