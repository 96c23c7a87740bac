"""Figures of the glocal stage, read back from what they draw."""

import itertools
from argparse import Namespace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from columns import faults_of, words_of
from common.labels import LEADS
from ecg.beats import window_times
from ecg.segments import SEGMENTS
from ecg.textbook import RULES
from glocal import figures, panels
from glocal.column_figures import group_column
from glocal.scorecard_figures import scorecard_column
from networks.checkpoints import ModelInfo


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def group_of(name, tall=None, height=1.0):
    """A group whose median beat is a bump of `height` mV in the lead `tall`, .1 mV elsewhere."""
    times = window_times(100)
    bump = np.exp(-((times / 30) ** 2))
    median = 0.1 * np.repeat(bump[:, None], 12, axis=1)
    if tall:
        median[:, LEADS.index(tall)] = height * bump
    heat = np.abs(median)
    return SimpleNamespace(
        pathology=name,
        counts="7 records, 7 patients, 70 beats",
        data=SimpleNamespace(sampling_rate=100),
        heat={"saliency": heat},
        median_beat=lambda: (median, 0.8 * median, 1.2 * median),
    )


def drawn_by(groups, labels=(), **options):
    cells = {
        name: np.random.default_rng(0).random((12, 24)) for name in ("density", "share", "signed")
    }
    cells["rank"] = np.arange(288.0).reshape(12, 24) + 1
    tables = {group.pathology: cells for group in groups}
    bars = {
        group.pathology: [(name, 1.0, 0.8) for name in (group.pathology, *labels)]
        for group in groups
    }
    return figures.side_by_side(groups, bars, tables, "saliency", "title", "subtitle", **options)


@pytest.mark.parametrize(("lead", "height"), [("aVL", 2.6), ("III", -2.9), ("V1", -3.5)])
def test_no_beat_of_any_lead_is_cut_off(lead, height):
    groups = [group_of("NORM"), group_of("LVH", lead, height)]
    figure = drawn_by(groups)
    seen = 0
    for ax in figure.axes:
        low, high = ax.get_ylim()
        lines = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) > 10]
        seen += len(lines)
        assert all(low < line.min() and line.max() < high for line in lines if high > low)
    assert seen >= 24
    offsets = panels.row_offsets(groups)
    low, high = panels.beat_limits(groups, offsets)
    row = panels.LIMB.index(lead) if lead in panels.LIMB else panels.CHEST.index(lead)
    assert low <= offsets[row] + 1.2 * min(height, 0)
    assert high >= offsets[row] + 1.2 * max(height, 0)


@pytest.mark.parametrize("label", ["hypertrophy", "LAFB/LPFB", "WWWWWWWWWWWWWW"])
def test_labels_beside_bars_neither_leave_the_page_nor_run_into_others(label):
    figure = drawn_by([group_of("LVH"), group_of("AMI")], labels=[label])
    figure.canvas.draw()
    right = 0.0  # of what stands at the left of a panel of bars
    for ax in (ax for ax in figure.axes if len(ax.patches) == 2):
        assert all(name.get_window_extent().x0 >= right for name in ax.get_yticklabels())
        right = ax.get_window_extent().x1
    assert right


@pytest.mark.parametrize("tall", [0.5, 6.0])
def test_large_squares_of_the_paper_are_square(tall):
    figure = drawn_by([group_of("NORM"), group_of("LVH", "V5", tall)])
    figure.canvas.draw()
    ax = figure.axes[0]
    words = " ".join(text.get_text() for ax in figure.axes for text in ax.texts)
    millivolts = 1.0 if "200 ms, 1 mV" in words else 0.5
    assert f"200 ms, {millivolts:g} mV" in words
    (left, bottom), (right, top) = ax.transData.transform([(0, 0), (200, millivolts)])
    assert (right - left) / (top - bottom) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("true_positives", "up to 100 records of highest logit, true positives"),
        ("false_negatives", "up to 100 records of lowest logit, false negatives"),
        ("single_best", "up to 1 record of highest logit, single best"),
    ],
)
def test_the_line_below_the_title_says_which_records_were_taken(strategy, words):
    args = Namespace(strategy=strategy, n_samples=100, cross_fit=None, folds=[9, 10])
    info = ModelInfo("lenet", "subdiagnostic", ("LVH",), LEADS, 100, 2.5, {}, 0)
    group = group_of("LVH")
    job = SimpleNamespace(pool=SimpleNamespace(info=info), shown=[group])
    assert figures.subtitle_of(args, job) == f"lenet, subdiagnostic; {words}, folds 9, 10"


def test_norm_alone_is_explained_and_the_figure_says_how_to_read_it():
    figure = drawn_by([group_of("NORM")])
    assert any(ax.images for ax in figure.axes)
    words = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert "grey band 5-95 % of the beats" in words
    assert "mean |Saliency|" in words
    assert not [ax for ax in drawn_by([group_of("NORM"), group_of("LVH")]).axes if not ax.axison]


def test_panels_of_one_group_have_titles():
    cells = {name: np.ones((12, len(SEGMENTS))) for name in ("density", "share", "signed", "top5")}
    cells |= {"low": cells["density"], "high": cells["density"]}
    cells["rank"] = np.arange(288.0).reshape(12, 24) + 1
    figure = figures.cells_figure(group_of("LVH"), cells, "ig", "where")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert [title for title in titles if title] == [
        "how strong, per sample",
        "how much, in all (long segments collect more)",
        "which way",
    ]
    assert "Integrated Gradients" in " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0.00115), (-0.0041, 0.0041), (2e-6, 9.5e-6), (0, 37)]
)
def test_numbers_of_a_colour_bar_stand_apart(low, high):
    figure, ax = plt.subplots(figsize=(9, 7))
    ax.set_position([0.1, 0.4, 0.18, 0.4])
    panels.colour_bar_below(
        figure, ax, ax.imshow([[low, high]], vmin=low, vmax=high), "mean, logit"
    )
    figure.canvas.draw()
    numbers = [text for text in figure.axes[-1].get_xticklabels() if text.get_text()]
    boxes = sorted((text.get_window_extent() for text in numbers), key=lambda box: box.x0)
    assert len(boxes) >= 2
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize("tall", [0.5, 6.0])
def test_a_group_fits_a_column_with_its_beats_and_its_map(tall):
    cells = {"density": np.ones((12, 24)), "rank": np.arange(288.0).reshape(12, 24) + 1}
    cells["rank_stability"] = np.where(cells["rank"] == 2, 0.5, 1.0)
    figure = group_column(group_of("LVH", "V5", tall), cells, "saliency")
    assert not faults_of(figure)
    words = {text.get_text() for text in words_of(figure)}
    assert set(panels.DISPLAY) | {"1", "(2)", "5"} <= words
    assert figure.get_size_inches()[1] < 9.5  # inches of a page
    beats = [line for ax in figure.axes[:2] for line in ax.lines if len(line.get_ydata()) > 10]
    assert len(beats) == 12


def scorecard_table(n_methods, cards):
    """Every method's map of each of three groups on each card."""
    rows = []
    for method in [*("saliency", "lrp:epsilon")[:n_methods], "random", "input_magnitude"]:
        for pathology in ("LVH", "IMI", "NORM"):
            for card in cards:
                one = {"method": method, "pathology": pathology, "card": card, "lead_lift": 1.07}
                one |= {"p_neighbours": 0.01, "p_holm": 0.03, "lift": 1.4, "low": 1.2, "high": 1.6}
                rows.append({**one, "own": pathology == card, "n_patients": 9})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("n_methods", [1, 2])
def test_a_scorecard_fits_a_column(n_methods):
    cards = sorted({rule.pathology for rule in RULES})
    figure = scorecard_column(scorecard_table(n_methods, cards), "Scorecard: lenet, fold 10")
    assert not faults_of(figure)
    numbers = [text for text in words_of(figure) if text.get_text().startswith("1.07")]
    assert len(numbers) == n_methods * 3 * len(cards)
    rows = itertools.groupby(numbers, key=lambda text: (id(text.axes), text.get_position()[1]))
    for _, row in rows:
        boxes = [text.get_window_extent() for text in row]
        assert all(one.x1 <= other.x0 for one, other in itertools.pairwise(boxes))
    assert sum(text.get_text() == "p .010, Holm .030" for text in words_of(figure)) == 3 * n_methods
