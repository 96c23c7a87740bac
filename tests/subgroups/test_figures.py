"""One colour per class in every panel and figure, and counts that are the panel's own."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from subgroups.figures import draw_embedding, draw_enrichment, group_styles
from subgroups.findings import Design, Found


@pytest.fixture
def cohort():
    labels = np.array(["AMI"] * 12 + ["IMI"] * 8)
    return SimpleNamespace(
        names=["AMI", "IMI"], labels=labels, level="subdiagnostic", hidden_labels=True, data=labels
    )


def test_labels_keep_their_colour_whatever_else_is_named(cohort):
    alone = group_styles(["IMI"], cohort)
    mixed = group_styles(["0", "AMI", "IMI"], cohort)
    assert alone["AMI"] == mixed["AMI"]
    assert alone["IMI"] == mixed["IMI"]
    assert len({mixed["0"], mixed["AMI"], mixed["IMI"]}) == 3


def test_every_panel_has_its_own_counts_and_the_same_colours(cohort):
    rng = np.random.default_rng(0)
    features = {name: rng.normal(size=(20, 4)) for name in ("signal", "features")}
    clusters = {
        "signal": np.array([0] * 13 + [1] * 7),  # cluster 0 holds AMI
        "features": np.array([1] * 10 + [0] * 10),  # cluster 1 holds AMI
    }
    found = {name: Found(2, one, None, "") for name, one in clusters.items()}
    every = np.ones(20, bool)
    figure = draw_embedding(features, found, cohort, Design(every, every, False, ""), "pca", 0)
    colours = {}
    texts = []
    for ax in figure.axes:
        handles, words = ax.get_legend_handles_labels()
        texts.append(words)
        for handle, word in zip(handles, words, strict=True):
            colours.setdefault(word.split(" ")[0], set()).add(to_hex(handle.get_facecolor()[0]))
    assert all(len(found) == 1 for found in colours.values())
    assert ["AMI (13)", "IMI (7)"] in texts
    assert ["AMI (10)", "IMI (10)"] in texts
    plt.close(figure)


def test_records_lie_in_a_space_of_the_variance_that_is_asked_for(cohort):
    rng = np.random.default_rng(0)
    features = {"signal": rng.normal(size=(20, 4)) * [4, 3, 1, 1]}
    found = {"signal": Found(2, np.arange(20) % 2, None, "")}
    design = Design(*(np.ones(20, bool),) * 2, False, "")
    spread = []
    for variance in (0.4, 0.95):  # one component, and more
        figure = draw_embedding(features, found, cohort, design, "pca", 0, variance)
        points = np.concatenate([one.get_offsets() for one in figure.axes[0].collections])
        spread.append(points[:, 1].std())
        plt.close(figure)
    assert spread[0] == pytest.approx(0)
    assert spread[1] > 1


def test_a_cluster_without_a_reported_record_leaves_the_others_their_names(cohort):
    cohort.labels, cohort.names = np.array(["AMI"] * 12 + ["IMI"] * 8), ["AMI", "IMI"]
    clusters = np.array([0] * 12 + [2] * 8)
    every = np.ones(20, bool)
    shares = {"share_0": [0.1], "share_1": [np.nan], "share_2": [0.9], "difference": [0.8]}
    table = pd.DataFrame({"representation": ["signal"], "trait": ["female"], "p_holm": [0.01]})
    found = {"signal": Found(3, clusters, None, "")}
    figure = draw_enrichment(table.assign(**shares), found, cohort, Design(every, every, False, ""))
    handles, words = figure.axes[0].get_legend_handles_labels()
    at = {word: handle.get_offsets()[0, 0] for handle, word in zip(handles, words, strict=True)}
    assert at == {"cluster AMI": 0.1, "cluster IMI": 0.9}
    plt.close(figure)
