"""The report's section on concepts: what is counted as significant, and of which question."""

from types import SimpleNamespace

import pandas as pd
import pytest

from common.files import write_csv
from common.labels import LEADS
from common.stage import Stage
from reporting.explanations import _flagged, concepts
from reporting.run import Run
from reporting.sections import build


@pytest.fixture
def run(tmp_path):
    """A concept that is significant in both layers, against random records and against others; a
    second whose vector is worth nothing in one layer.
    """
    rows = [
        (name, kind, layer, name == "SLI-LVH" or layer == "head")
        for name, kind in (("SLI-LVH", "concept"), ("SLI-LVH", "relative"), ("Sex", "concept"))
        for layer in ("block1", "head")
    ]
    scores = pd.DataFrame(rows, columns=["concept", "run_kind", "layer", "cav_valid"])
    scores = scores.assign(pathology="LVH", p_corrected=0.01, magnitude=0.3, score=0.9, n_class=9)
    (tmp_path / "tcav").mkdir()
    scores.to_csv(tmp_path / "tcav/scores.csv", index=False)
    return Run(tmp_path, SimpleNamespace(task="subdiagnostic", labels=("LVH",)))


def test_relative_concepts_are_rows_of_their_own_and_worthless_vectors_count_for_nothing(run):
    page = "".join(map(str, concepts(run)))
    assert "5 of 6 cells are significant after correction" in page
    assert "In 1 of 6 concept × layer pairs" in page
    assert page.count("2 of 2 layers") == 2
    assert page.count("1 of 2 layers") == 1
    assert "4 of 2 layers" not in page


@pytest.mark.parametrize("section", ["concepts", "glocal", "sanity", "discovery"])
def test_a_network_of_amplitudes_is_sent_to_no_stage_that_refuses_it(tmp_path, section):
    info = SimpleNamespace(task="T_Wave_Amplitude", labels=LEADS)
    text = build(Run(tmp_path, info), section)
    assert "it measures amplitudes" in text
    assert "<pre>" not in text
    asked = build(Run(tmp_path, SimpleNamespace(task="form", labels=("LVOLT",))), section)
    assert f"--model_path {tmp_path}" in asked


def test_flagged_records_that_are_too_many_to_name_are_counted(tmp_path):
    path = tmp_path / "data" / "ptbxl_database_enriched.csv"
    write_csv(path, pd.DataFrame({"ecg_id": range(1, 31), "quality_noise": True}))
    with Stage(tmp_path / "local", "local", {}) as stage:
        stage.finish(inputs=[path])
    [line] = _flagged(Run(tmp_path, None), range(1, 31))
    assert "noise in records 1, 2, " in line
    assert "19, 20 and 10 more: read their maps with care" in line
