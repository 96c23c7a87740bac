"""Numbers of two commits are paired by the words around them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from compare_commits import numbers_of, rows


def test_numbers_are_known_by_the_words_around_them():
    line = "result: 64 records, lenet | its pass | saliency 1.02, lrp epsilon 1.4 times as long"
    assert numbers_of(line) == {
        "64 records, lenet: saliency # | its pass": 1.02,
        "64 records, lenet: lrp epsilon # times as long | its pass": 1.4,
    }
    assert numbers_of("anything else 3") == {}
    both = numbers_of("result: k-means |  | 1.0-7.4 times as fast")
    assert list(both.values()) == [1.0, 7.4]


def test_what_moved_by_more_than_five_percent_is_marked():
    old = {("a.py", "x: # | y"): [1.0, 2.0, 4.0], ("a.py", "gone | "): [1.0]}
    new = {("a.py", "x: # | y"): [1.0, 2.2, 4.4]}
    [row] = rows(old, new)
    assert row == ["x: #", "y", "2", "2.2", "1.10 [1.00, 1.10], n 3 *", "`a.py`"]
