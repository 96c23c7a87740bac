"""docs/tour.ipynb runs as a reader runs it, from the folder it lies in, and says what it should."""

import re

import nbclient
import nbformat
import pytest

from conftest import ROOT

TOUR = ROOT / "docs" / "tour.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The code cells after a run."""
    notebook = nbformat.read(TOUR, as_version=4)
    place = {"metadata": {"path": str(TOUR.parent)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=place).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell):
    return "".join(out.get("text", "") for out in cell.outputs if out.output_type == "stream")


def test_ten_cells_go_from_a_network_to_maps_figures_and_concepts(cells):
    assert len(cells) == 10
    areas = re.findall(r"AUC (\S+)", printed(cells[3]))
    assert min(map(float, areas)) > 0.6
    assert "methods: saliency, ig, gradcam, lrp" in printed(cells[4])
    logit, *shares = map(float, re.findall(r"-?\d+\.\d+", printed(cells[5])))
    assert len(shares) == 4
    assert abs(sum(shares) - logit) < 0.005  # as they are rounded
    for cell in cells[6:8]:
        assert any("image/png" in out.get("data", {}) for out in cell.outputs)
    accuracies = re.findall(r"accuracy (\S+)", printed(cells[9]))
    assert max(map(float, accuracies)) > 0.6
    assert not any(out.get("name") == "stderr" for cell in cells for out in cell.outputs)


def test_the_notebook_is_stored_without_outputs_and_needs_utils_alone():
    notebook = nbformat.read(TOUR, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    lines = "\n".join(cell.source for cell in code).splitlines()
    imports = {line for line in lines if line.startswith(("import ", "from "))}
    ours = imports - {"import sys", "from pathlib import Path", "import numpy as np"}
    assert ours == {"import torch", "from torch import nn", "import utils"}
