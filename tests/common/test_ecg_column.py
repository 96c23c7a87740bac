"""Figures for a journal's column: their width and scale, which leads they show, nothing outside."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from columns import faults_of
from common.ecg_changes import Mark
from common.ecg_column import (
    WIDTH,
    column_before_after,
    column_of_map,
    column_of_methods,
    leads_of_all,
)
from common.ecg_paper import Heat, Record
from common.labels import LEADS
from common.plotting import MM_PER_SECOND
from known_ecg import known_ecg, regular

SECONDS_OF_TWO = 1.38  # s of each of two leads that fit beside the pulse
TITLE = "ECG 516, explained for LVH (left ventricular hypertrophy) by Integrated Gradients"
SUBTITLE = "LVH: true positive at probability 0.97 (threshold 0.26, logit 6.67) - 37 y, male"


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def record_of(signal, begins=0.0):
    return Record(signal, 100, TITLE, SUBTITLE, ["explained: mean logit"], begins)


def lead_names(figure):
    texts = [text.get_text() for text in figure.axes[0].texts]
    return [text for text in texts if text in LEADS]


def heat_in(leads, n, sign=1.0):
    values = np.full((n, 12), 0.01)
    for strength, lead in enumerate(leads):
        values[:, LEADS.index(lead)] = sign * (1 + strength)
    return values


def nothing_leaves(figure):
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    texts = [text for ax in figure.axes for text in ax.texts]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return all(
        box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1
        for box in boxes
    )


@pytest.mark.parametrize("tall", [1.0, 6.0], ids=["usual", "tall"])
def test_a_column_shows_the_leads_that_hold_most_of_the_map_at_true_scale(tall):
    signal = tall * known_ecg(regular(70))
    values = heat_in(("V5", "I", "V1", "aVF"), len(signal), -1.0)
    figure = column_of_map(record_of(signal), Heat(values, True, "Integrated Gradients", "logit"))
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(WIDTH)
    assert lead_names(figure) == ["I", "aVF", "V1", "V5"]
    traces = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 280]
    assert len(traces) == 4
    x = traces[0].get_xdata()
    assert np.diff(x) == pytest.approx(MM_PER_SECOND / 100)
    assert nothing_leaves(figure)


def test_a_map_without_leads_is_shown_on_usual_ones():
    signal = known_ecg(regular(70))
    values = np.tile(np.linspace(0, 1, len(signal))[:, None], 12)
    figure = column_of_map(record_of(signal), Heat(values, False, "Grad-CAM"), centre=0)
    assert lead_names(figure) == ["II", "V1", "V3", "V5"]
    words = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "0.0 to 2.8 s, 4 leads of 12" in words
    assert "most relevance" not in words


def test_only_leads_that_change_stand_in_a_column_before_and_after():
    signal = known_ecg(regular(70))[:250]
    edited = signal.copy()
    edited[40:60, LEADS.index("V5")] -= 0.4
    edited[40:60, LEADS.index("V1")] += 0.1
    marks = [Mark(LEADS.index("V1"), 50, "S +0.10 mV"), Mark(LEADS.index("V5"), 50, "R -0.40 mV")]
    figure = column_before_after(record_of(signal, 3.0), edited, marks)
    assert lead_names(figure) == ["V1", "V5"]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"S +0.10 mV", "R -0.40 mV", "2 of 12 leads: those that change most"} <= set(texts)
    assert nothing_leaves(figure)


def test_what_is_marked_comes_before_what_only_follows():
    signal = known_ecg(regular(70))[:250]
    edited = signal.copy()
    edited += 0.2
    edited[40:60, LEADS.index("V2")] += 0.01
    edited[:, LEADS.index("V2")] -= 0.15
    figure = column_before_after(record_of(signal), edited, [Mark(LEADS.index("V2"), 50, "R")])
    names = lead_names(figure)
    assert len(names) == 4
    assert "V2" in names


def test_methods_stand_one_below_the_other_on_the_leads_that_all_of_them_mark():
    signal = known_ecg(regular(70))
    n = len(signal)
    heats = [
        Heat(1000 * heat_in(("V2",), n, -1.0), True, "Saliency", "logit per mV"),
        Heat(heat_in(("V5", "V2"), n), True, "LRP", "logit", "1.20 = 0.90 + 0.30 + 0.00"),
        Heat(np.tile(np.linspace(0, 1, n)[:, None], 12), False, "Grad-CAM"),
    ]
    figure = column_of_methods(record_of(signal), heats, centre=500)
    assert not faults_of(figure)
    assert lead_names(figure) == ["V2", "V5"] * 3
    ax = figure.axes[0]
    words = [text.get_text() for text in ax.texts]
    assert [word for word in words if word in ("Saliency", "LRP", "Grad-CAM")] == [
        "Saliency",
        "LRP",
        "Grad-CAM",
    ]
    assert "±1e+03 logit per mV" in words
    assert "LRP: 1.20 = 0.90 + 0.30 + 0.00" in words
    length = int(SECONDS_OF_TWO * 100)
    traces = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == length]
    assert len(traces) == 6
    assert all(np.diff(x) == pytest.approx(MM_PER_SECOND / 100) for x in traces)


def test_each_map_counts_as_much_when_leads_are_chosen():
    loud, faint = 1000 * heat_in(("V1",), 5), heat_in(("II", "V6", "I"), 5)
    assert leads_of_all([loud, faint, faint], 2) == [LEADS.index("I"), LEADS.index("V1")]
