"""Rows and bands of the sanity figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from attribution.methods import METHODS
from sanity.curve_figures import draw_removal
from sanity.faithfulness import FRACTIONS
from sanity.figure_style import GREY, colours_of, in_rows


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
