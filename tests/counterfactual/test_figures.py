"""The figure before and after: what is marked, where, and in which words."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import FillBetweenPolyCollection

from common.ecg_changes import Mark, before_after
from common.ecg_paper import Record
from common.labels import LEADS
from counterfactual.figures import _marks, group_figure, in_plain_words, what_and_how_far
from counterfactual.groups import GROUP_COLUMNS
from known_ecg import known_ecg, regular


@pytest.fixture
def piece():
    return known_ecg(regular(70))[:250]


def test_only_changed_leads_are_shaded_and_marks_are_in_words(piece):
    edited = piece.copy()
    edited[40:60, LEADS.index("V5")] -= 0.4
    record = Record(piece, 100, "R in V5 -0.40 mV", "ECG 1")
    figure = before_after(record, edited, [Mark(LEADS.index("V5"), 50, "R -0.40 mV")])
    [ax] = figure.axes
    texts = [text.get_text() for text in ax.texts]
    assert "R -0.40 mV" in texts
    assert "R in V5 -0.40 mV" in texts
    shaded = [one for one in ax.collections if isinstance(one, FillBetweenPolyCollection)]
    assert len(shaded) == 1
    plt.close(figure)


def test_more_changes_than_a_line_holds_stand_above_the_paper_too(piece):
    changes = ", ".join(["R in V3 and V4 2.45 mV higher"] * 6)
    heights = []
    for words in ("R in V5 0.40 mV lower", changes):
        figure = before_after(Record(piece, 100, "If", f"{words}\nThe network"), piece.copy(), [])
        [ax] = figure.axes
        [below] = [text for text in ax.texts if text.get_text().endswith("\nThe network")]
        assert below.get_text().replace("\n", " ") == f"{words} The network"
        assert max(map(len, below.get_text().split("\n"))) <= 150
        extent = below.get_window_extent()
        [key] = [text for text in ax.texts if text.get_text().startswith("blue")]
        assert extent.x1 < key.get_window_extent().x0
        heights.append(figure.get_figheight())
        plt.close(figure)
    assert heights[1] > heights[0]  # room for one line more


def test_marks_of_one_lead_do_not_touch(piece):
    marks = [Mark(10, sample, "R -2.76 mV") for sample in (40, 55, 40, 150)]
    figure = before_after(Record(piece, 100, "If", "R"), piece.copy(), marks)
    [ax] = figure.axes
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text() == "R -2.76 mV"]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    plt.close(figure)


def test_marks_point_at_the_largest_change_of_each_lead(piece):
    edited = piece.copy()
    edited[50, LEADS.index("V5")] -= 0.4
    edited[90, LEADS.index("V6")] -= 0.4
    edited[91, LEADS.index("V6")] += 0.9  # in the other direction
    edits = pd.DataFrame({"edit": ["R V5 V6"], "wave": ["R"], "dose": [-0.4]})
    marks = _marks(edits, piece, edited)
    assert [(mark.lead, mark.sample) for mark in marks] == [(10, 50), (11, 90)]
    assert {mark.words for mark in marks} == {"R -0.40 mV"}
    interval = pd.DataFrame({"edit": ["PR interval"], "wave": ["PR interval"], "dose": [24.0]})
    assert [mark.words for mark in _marks(interval, piece, edited)] == ["PR interval +24 ms"]


def test_plain_words_say_what_the_figure_means():
    answer = pd.Series({"direction": "remove", "turned": True, "pathology": "LVH"})
    assert in_plain_words(answer).endswith("would no longer find LVH")
    answer["direction"] = "add"
    assert in_plain_words(answer).endswith("would find LVH")
    answer["turned"] = False
    assert in_plain_words(answer).endswith("would still miss LVH")


def test_below_the_title_stands_what_changes_and_how_far_the_network_follows():
    edits = pd.DataFrame({"edit": ["R V5 V6", "S V1", "PR interval"], "dose": [-0.42, 0.31, 24.0]})
    answer = {"pathology": "LVH", "probability_before": 0.93, "threshold": 0.4}
    words = what_and_how_far(pd.Series({**answer, "probability_after": 0.31}), edits)
    assert words.split("\n") == [
        "R in V5 and V6 0.42 mV lower, S in V1 0.31 mV less deep, PR interval 24 ms longer",
        "The network's probability of LVH falls from 0.93 to 0.31; it finds LVH from 0.40 on",
    ]
    assert what_and_how_far(
        pd.Series({**answer, "probability_after": 0.31}),
        edits.assign(found_again=[True] * 2 + [False]),
    ).endswith("measured anew, the dark line does not show all of these changes")
    close = what_and_how_far(pd.Series({**answer, "probability_after": 0.398}), edits)
    assert close.endswith("from 0.930 to 0.398; it finds LVH from 0.400 on")


def test_of_a_record_without_a_wave_to_change_nothing_rises():
    answer = {"pathology": "LVH", "probability_before": 0.93, "probability_after": 0.93}
    edits = pd.DataFrame(columns=["edit", "dose", "found_again"])
    assert what_and_how_far(pd.Series({**answer, "threshold": 0.4}), edits) == (
        "No beat with a wave to change\n"
        "The network's probability of LVH stays at 0.93; it finds LVH from 0.40 on"
    )


def test_groups_are_drawn_without_an_interval_too():
    line = ("LVH", "remove", "R V5", 0.5, np.nan, np.nan, -0.4, np.nan, np.nan, "mV", 1, 2, 2)
    figure = group_figure(pd.DataFrame([line], columns=GROUP_COLUMNS))
    [ax] = figure.axes
    assert ax.get_title() == "LVH (n = 2)"
    assert [text.get_text() for text in ax.get_yticklabels()] == ["R V5\n-0.40 mV"]
    plt.close(figure)


def test_decisions_that_were_turned_both_ways_have_a_panel_each():
    """As --ecg_ids and --strategy all choose them: one n and one bar an edit."""
    rest = ("R V5", 0.5, 0.2, 0.8, -0.4, np.nan, np.nan, "mV")
    lines = [("LVH", "remove", *rest, 1, 2, 2), ("LVH", "add", *rest, 1, 7, 7)]
    lines.append(("AMI", "add", *rest, 1, 5, 5))
    figure = group_figure(pd.DataFrame(lines, columns=GROUP_COLUMNS))
    drawn = [ax for ax in figure.axes if ax.get_title()]
    titles = ["LVH, removed (n = 2)", "LVH, added (n = 7)", "AMI (n = 5)"]
    assert [ax.get_title() for ax in drawn] == titles
    assert [len(ax.get_yticklabels()) for ax in drawn] == [1, 1, 1]
    plt.close(figure)
