"""Figures of TCAV, from the table alone."""

import numpy as np
import pandas as pd
import pytest

from tcav.figures import (
    LARGEST,
    PALE,
    concept_figure,
    strongest_cells,
    summary_figure,
    write_figures,
)


@pytest.fixture
def scores():
    rows = []
    for concept, best in (("SLI-LVH", "hidden"), ("Sex", "block1")):
        for layer in ("block1", "hidden"):
            for label, group in (("NORM", "NORM"), ("LVH", "HYP"), ("AMI", "MI"), ("IMI", "MI")):
                rows.append(
                    {
                        "concept": concept,
                        "run_kind": "concept",
                        "layer": layer,
                        "pathology": label,
                        "superclass": group,
                        "associated": concept != "Sex" and label == "LVH",
                        "score": 1.0 if label == "LVH" else 0.25,
                        "magnitude_z": 7.0 if label == "LVH" else -0.5,
                        "cav_accuracy": 0.9 if layer == best else 0.6,
                        "cav_valid": layer == best,
                        "p_corrected": 0.01 if label == "LVH" else 0.5,
                        "p_floor": 0.002,
                        "n_positive": 30,
                        "n_drawn": 25,
                        "n_class": 12,
                        "n_runs": 30,
                        "learnt": "learnt" if label == "LVH" else "neither",
                        "n_controls": 20,
                        "p_control": 0.001,
                    }
                )
    return pd.DataFrame(rows)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_concept_figure_shows_every_cell_and_marks_the_significant_ones(scores):
    figure = concept_figure(scores[scores["concept"] == "SLI-LVH"])
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[-0.5, 7, -0.5, -0.5]] * 2)
    assert axes.images[0].get_clim() == (-LARGEST, LARGEST)
    np.testing.assert_array_equal(
        axes.images[0].get_alpha(), [[PALE] * 4, [PALE, 1, PALE, PALE]]
    )  # only the significant cell has its full colour
    assert {".25", "1.00"} <= set(texts(figure))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        "block1 (0.60)",
        "hidden (0.90)",
    ]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "NORM (12)",
        "LVH (12)",
        "AMI (12)",
        "IMI (12)",
    ]
    dots = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert [tuple(np.round(dot)) for dot in dots] == [
        (1, 1)
    ]  # LVH at hidden; block1's CAV is no better than random
    assert len(axes.patches) == 4  # and its cells are grey
    assert {"NORM", "HYP", "MI"} <= set(texts(figure))
    assert "30 positives, 25 per draw" in figure._suptitle.get_text()


def test_frame_surrounds_the_associated_column_once(scores):
    axes = concept_figure(scores[scores["concept"] == "SLI-LVH"]).axes[0]
    frame = [line for line in axes.lines if line.get_linewidth() == 1.8]
    assert len(frame) == 2 * 2 + 2  # left and right of two cells, top and bottom of the column


def test_summary_takes_the_layer_of_the_smallest_corrected_p(scores):
    here = (scores["concept"] == "Sex") & (scores["pathology"] == "AMI")
    scores["cav_valid"] = True
    scores.loc[here, "p_corrected"] = [0.04, 0.02]
    best = strongest_cells(scores).set_index(["concept", "pathology"])["layer"]
    assert best["Sex", "AMI"] == "hidden"
    scores.loc[here & (scores["layer"] == "hidden"), "cav_valid"] = False
    best = strongest_cells(scores).set_index(["concept", "pathology"])["layer"]
    assert best["Sex", "AMI"] == "block1"
    axes = summary_figure(scores).axes[0]
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert ticks == ["SLI-LVH (30)", "Sex (30)"]
    dots = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert sorted(tuple(np.round(dot)) for dot in dots) == [(1, 0), (1, 1), (2, 1)]


def test_nothing_is_clipped_and_same_table_gives_same_bytes(scores, tmp_path):
    for folder in ("a", "b"):
        paths = write_figures(scores, tmp_path / folder)
    names = ("concept_SLI-LVH", "concept_Sex", "summary_concept")
    assert sorted(path.name for path in paths) == [
        f"{name}.{suffix}" for name in names for suffix in ("pdf", "png")
    ]
    for path in paths:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
    figure = concept_figure(scores[scores["concept"] == "Sex"])
    figure.draw_without_rendering()
    width, height = figure.canvas.get_width_height()
    for artist in [
        *figure.axes[0].get_xticklabels(),
        *figure.axes[0].get_yticklabels(),
        figure.axes[0].title,
        figure._supxlabel,
    ]:
        box = artist.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= width + 1
        assert box.y0 >= -1
        assert box.y1 <= height + 1


def test_untested_scores_say_so(scores):
    scores[["p_corrected", "p_floor"]] = np.nan
    assert "Not tested" in summary_figure(scores)._supxlabel.get_text()


def test_a_class_of_few_records_is_hatched_and_has_no_mark(scores):
    few = scores.assign(n_class=np.where(scores["pathology"] == "LVH", 4, 12))
    figure = summary_figure(few)
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert [patch.get_x() for patch in hatched] == [0.5]  # the second column
    alpha = figure.axes[0].images[0].get_alpha()
    assert (alpha == PALE).all()
    assert "fewer than 5 records" in figure._supxlabel.get_text().replace("\n", " ")


def test_the_title_says_what_the_concept_is(scores):
    figure = concept_figure(scores[scores["concept"] == "SLI-LVH"])
    title = figure._suptitle.get_text().replace("\n", " ")
    assert "SLI-LVH (Sokolow-Lyon index above 3.5 mV), against random records" in title
