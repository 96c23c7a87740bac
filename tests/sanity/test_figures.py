"""Rows and bands of the sanity figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from attribution.methods import METHODS
from columns import faults_of, words_of
from sanity.curve_figures import draw_removal
from sanity.faithfulness import FRACTIONS
from sanity.figure_style import GREY, colours_of, in_rows
from sanity.ranking_figures import HEADLINES, draw_ranking, draw_ranking_column
from sanity.truth_figures import draw_agreement, draw_dose_response, draw_layers


def test_controls_are_the_last_rows_of_every_figure():
    methods = ["input_magnitude", "ig", "random", "lrp", "ig"]
    assert in_rows(methods) == ["ig", "lrp", "random", "input_magnitude"]


def test_no_two_methods_share_a_colour():
    real = [name for name in [*METHODS, "lrp:epsilon"] if name not in ("random", "input_magnitude")]
    colours = colours_of([*real, "random", "input_magnitude"])
    assert len({colours[name] for name in real}) == len(real)
    assert colours["random"] == colours["input_magnitude"] == GREY


def removal_table():
    rows = []
    for method in ("random", "ig"):
        for reading in ("absolute", "signed"):
            for order in ("most", "least", "random"):
                for fraction in FRACTIONS:
                    check = f"removal_{reading}_{order}_{fraction:g}"
                    rows.append((check, method, fraction, fraction - 0.1, fraction + 0.1, 12))
    return pd.DataFrame(rows, columns=["check", "method", "value", "low", "high", "n"])


def test_removal_shows_the_intervals_of_its_table_and_says_whose_they_are():
    figure = draw_removal({"details": removal_table()}, None)
    titles = [ax.get_title().replace("\n", " ") for ax in figure.axes if ax.get_title()]
    assert titles == ["Integrated Gradients", "noise (control)"]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    at_end = band[np.isclose(band[:, 0], FRACTIONS[-1])][:, 1]
    assert np.isclose(at_end.min(), FRACTIONS[-1] - 0.1)
    assert np.isclose(at_end.max(), FRACTIONS[-1] + 0.1)
    assert "12 records; bands: 95 % intervals over patients" in figure._supxlabel.get_text()
    plt.close(figure)


def test_one_wide_interval_does_not_flatten_every_curve():
    table = removal_table()
    whole = draw_removal({"details": table}, None)
    assert "cut" not in whole._supxlabel.get_text()
    table.loc[1, ["low", "high"]] = -20, 40
    figure = draw_removal({"details": table}, None)
    low, high = figure.axes[0].get_ylim()
    assert low <= -0.1
    assert 1.1 <= high < 2
    assert "the widest cut at the frame" in figure._supxlabel.get_text()
    plt.close("all")


def test_many_methods_stand_in_several_rows_and_share_their_scales():
    table = removal_table()
    few = table[table["method"] == "ig"]
    many = pd.concat([few.assign(method=f"method{number}") for number in range(9)])
    figure = draw_removal({"details": many}, None)
    assert figure.get_figwidth() < 12
    shown = [ax for ax in figure.axes if ax.axison]
    assert len(shown) == 2 * 9
    assert len({ax.get_ylim() for ax in shown}) == 1
    plt.close(figure)


def ranking_tables():
    """Every method in every check, each skill its own; the first two are told from the others."""
    rng = np.random.default_rng(0)
    methods = [*METHODS, "lrp:epsilon"]
    checks, comparisons = [], []
    for check in HEADLINES:
        for place, method in enumerate(methods):
            checks.append((check, method, "lenet_subdiagnostic", rng.uniform(-0.9, 0.9), 0.0, 192))
            p = 0.5 if place < 2 else 0.01
            comparisons.append((check, method, "lenet_subdiagnostic", p, 0.001))
    pale = [(check, "ig", False) for check in HEADLINES if check.startswith("localisation")]
    names = ["check", "method", "model"]
    return {
        "checks": pd.DataFrame(checks, columns=[*names, "value", "chance", "n"]),
        "comparisons": pd.DataFrame(comparisons, columns=[*names, "p_corrected", "p_floor"]),
        "controls": pd.DataFrame(pale, columns=["check", "method", "beyond_controls"]),
    }


def test_a_column_holds_the_same_ranking_as_the_page():
    tables = ranking_tables()
    column, page = draw_ranking_column(tables, None), draw_ranking(tables, None)
    assert not faults_of(column)
    n_methods = len(METHODS) + 1
    numbers = {}
    for figure in (column, page):
        [ax] = figure.axes
        # the page marks favoured values and the best beside the number
        texts = [text.get_text().strip("()•° ") for text in ax.texts]
        numbers[figure] = [float(text) for text in texts if text]
        assert len(numbers[figure]) == n_methods * len(HEADLINES)
    assert numbers[column] == numbers[page]
    [ax] = column.axes
    assert len(ax.patches) == 2 * len(HEADLINES)  # a frame around the best
    struck = [
        line for line in ax.lines if len(set(line.get_ydata())) == 2 and line.get_xdata()[0] > 0
    ]
    assert len(struck) == len(tables["controls"])
    beside = {text.get_text() for text in words_of(column)}
    assert "dose, +1 %, 192" in beside
    plt.close("all")


def layer_rows(method, task, value):
    places = {"task": task, "method": method, "value": value, "low": value, "high": value, "n": 9}
    return [{"check": f"layer_auc_{truth}_absolute", **places} for truth in ("cell", "time")]


def test_a_network_without_an_original_layer_leaves_its_row_blank():
    """Imported networks are read from their last convolutional map alone."""
    rows = layer_rows("gradcam@last", "imported's", 0.7) + layer_rows("gradcam@last", "ours", 0.8)
    rows += layer_rows("gradcam@original", "ours", 0.6)
    figure = draw_layers({"checks": pd.DataFrame(rows)}, None)
    shown = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert [len(texts) for texts in shown] == [2, 4]
    assert all(text.startswith("0.70") for text in shown[0])
    plt.close(figure)


def test_numbers_of_two_digits_keep_their_zero():
    table = {"pathology": "LVH", "lead": "V5", "wave": ["R", "T"], "per_0.1mV": [10.05, -0.3]}
    rows = pd.DataFrame({**table, "low": 1.0, "high": 2.0, "n": 5})
    figure = draw_dose_response({"dose_response": rows}, None)
    assert {text.get_text() for text in figure.axes[0].texts} == {"10.05", "-.30"}
    plt.close(figure)


def test_agreement_of_one_patient_says_that_there_are_no_others():
    pairs = pd.DataFrame(
        {"view": ["samples", "cells"], "first": "ig", "second": "lrp", "value": 0.5}
    ).assign(chance=np.nan)
    checks = pd.DataFrame({"check": ["agreement_methods_samples"], "n": [2]})
    figure = draw_agreement({"agreement_pairs": pairs, "checks": checks}, None)
    assert "nan" not in figure.axes[0].get_title()
    plt.close(figure)


def test_agreement_of_controls_alone_is_drawn_though_it_is_no_score():
    pairs = pd.DataFrame(
        {"view": ["samples", "cells"], "first": "random", "second": "input_magnitude", "value": 0.0}
    ).assign(chance=0.0)
    checks = pd.DataFrame({"check": ["axiom_completeness"], "n": [2]})
    figure = draw_agreement({"agreement_pairs": pairs, "checks": checks}, None)
    assert figure.get_suptitle() == "Do methods agree on what matters?"
    plt.close(figure)
