"""`lrp:epsilon` and every other preset, through every stage that takes a method."""

import importlib

import numpy as np
import pandas as pd
import pytest

from attribution.methods import METHODS
from common.labels import slug

PRESETS = [f"{name}:{preset}" for name, method in METHODS.items() for preset in method.presets]


def run(stage, cohort, trained, folder, *more):
    """A stage in this process; its results' folder."""
    script = importlib.import_module(stage)
    shared = ["--data_path", cohort, "--model_path", trained, "--output_path", folder]
    words = [str(word) for word in (*shared, *more)]
    script.main(script.get_args_parser().parse_args(words))
    return folder / trained.name


def test_every_preset_is_named_and_filed_alike_in_every_stage(
    cohort, trained, tmp_path, monkeypatch
):
    assert "lrp:epsilon" in PRESETS
    monkeypatch.setattr("glocal.figures.draw_all", lambda *_: [])
    monkeypatch.setattr("sanity.figures.draw_all", lambda *_: [])
    monkeypatch.setattr("subgroups.figures.draw_all", lambda *_: [])

    one = ("--pathologies", "AMI", "--methods", *PRESETS)
    made = run("lrp_analysis", cohort, trained, tmp_path, *one, "--max_figures", 0)
    maps = [np.load(made / "local" / f"{slug(name)}_AMI.npz")["attributions"] for name in PRESETS]
    assert all(np.isfinite(one).any() for one in maps)
    assert not np.allclose(maps[0], maps[1], equal_nan=True)
    assert set(pd.read_csv(made / "local" / "cells.csv")["method"]) == set(PRESETS)

    few = ("--n_samples", 3, "--n_bootstrap", 20, "--n_permutations", 20)
    run("glocal_analysis", cohort, trained, tmp_path, *one, *few, "--selection", "all")
    table = pd.read_csv(made / "glocal" / "segments.csv")
    assert set(PRESETS) < set(table["method"])

    checks = ("--checks", "axioms", "--n_samples", 2, "--methods", *PRESETS)
    run("sanity_checks", cohort, trained, tmp_path, *checks)
    assert set(pd.read_csv(made / "sanity" / "checks.csv")["method"]) == set(PRESETS)

    quick = ("--method", "lrp:epsilon", "--n_halvings", 9, "--n_resamples", 9)
    run("discovery", cohort, trained, tmp_path, *quick, "--representations", "segments")
    assert (made / "discovery" / "table.csv").is_file()


def test_the_older_word_for_a_preset_means_the_same(cohort, trained, tmp_path):
    shared = ("--pathologies", "AMI", "--max_figures", 0)
    older = run("lrp_analysis", cohort, trained, tmp_path / "a", *shared, "--methods", "lrp",
                "--preset", "epsilon")  # fmt: skip
    newer = run("lrp_analysis", cohort, trained, tmp_path / "b", *shared, "--methods",
                "lrp:epsilon")  # fmt: skip
    name = f"local/{slug('lrp:epsilon')}_AMI.npz"
    maps = [np.load(made / name)["attributions"] for made in (older, newer)]
    assert np.array_equal(*maps, equal_nan=True)


@pytest.mark.parametrize("stage", ["lrp_analysis", "glocal_analysis", "sanity_checks"])
def test_the_help_of_every_stage_names_the_methods(stage):
    words = importlib.import_module(stage).get_args_parser().format_help()
    assert all(name in words for name in METHODS)
