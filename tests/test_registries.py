"""One entry in a registry is enough: a network, a task, a concept, a strategy, a method, a check
and a representation are added to a copy of the code, and every stage runs with them.
"""

import shutil

import pandas as pd
import pytest

from conftest import ROOT, launcher
from launcher import Command

# file -> what is appended to it: one entry each, and the function or class that the entry names
ENTRIES = {
    "networks/models.py": '''

class Plain(nn.Module):
    """A network that knows nothing of ours: no base class, its last layer is not called head."""

    def __init__(self, num_classes, n_leads):
        super().__init__()
        self.body = nn.Conv1d(n_leads, 8, 9, 4, 4)
        self.bend = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.flat = nn.Flatten()
        self.classify = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.classify(self.flat(self.pool(self.bend(self.body(x)))))


MODELS["plain"] = Plain
''',
    "common/labels.py": """

LABEL_OF["infarction"] = lambda code, row: {"MI": "INFARCT", "NORM": "NORM"}.get(row.superclass, "")
""",
    "ecg/concepts.py": """

CONCEPTS["tall-R-V5"] = Concept(lambda c: c["R_Amp_V5"] > 1.5, LVH)
""",
    "attribution/selection.py": """

STRATEGIES["labelled"] = Strategy("whatever has the label", lambda label, positive: label, limit=2)
""",
    "attribution/methods.py": """

from dataclasses import replace

METHODS["negated"] = Method(
    lambda model, x, target: replace(
        found := explain(model, x, target, "saliency"), attributions=-found.attributions
    ),
    "the gradient the other way round",
)
""",
    "sanity/checks.py": """

def _size(subject, maps, _explain, _reference=None):
    import numpy as np

    return [subject.measured("map_size", np.abs(maps).sum(axis=(1, 2)), np.nan)]


CHECKS["size"] = Check(_size, "how large is the map?")
""",
    "subgroups/representations.py": """

REPRESENTATIONS["peak"] = lambda material: np.nan_to_num(np.abs(material.maps)).max(axis=1)
""",
}
RUN = "output/plain_infarction"
STAGES = {
    "simulate_ptbxl": "--output_path data --n_records 200 --seed 3",
    "preprocessing": "--data_path data",
    "train_model": "--data_path data --logdir output --modelname plain --task infarction "
    "--epochs 2 --n_bootstrap 20",
    "tcav_analysis": f"--model_path {RUN} --concepts tall-R-V5 --n_runs 4 --n_null 60",
    "lrp_analysis": f"--model_path {RUN} --methods negated lrp --strategy labelled --max_figures 1",
    "glocal_analysis": f"--model_path {RUN} --methods negated --selection labelled --n_bootstrap 9",
    "sanity_checks": f"--model_path {RUN} --checks size --methods negated --n_samples 4",
    "discovery": f"--model_path {RUN} --cohort MI --target INFARCT --representations peak",
    "counterfactuals": f"--model_path {RUN} --strategy labelled --max_figures 1",
    "report": f"--model_path {RUN}",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the code with the entries."""
    folder = tmp_path_factory.mktemp("registries")
    shutil.copytree(ROOT / "code", folder / "code", ignore=shutil.ignore_patterns("__pycache__"))
    for name, entry in ENTRIES.items():
        path = folder / "code" / name
        source = path.read_text(encoding="utf-8")
        if name == "common/labels.py":  # other tables follow from this one: the entry joins it
            marker = "# task -> its label names, sorted"
            source = source.replace(marker, f"{entry.strip()}\n\n{marker}")
        else:
            source += entry
        path.write_text(source, encoding="utf-8")
    return folder


def run_stage(house, stage, words):
    """Output of a stage of the copy, run in its folder; AssertionError where it fails."""
    [done] = launcher().run(Command([f"code/{stage}.py", *words.split()], house, seconds=200))
    assert done.returncode == 0, f"{stage}: {done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_help_offers_what_was_added(house):
    offered = {
        "train_model": ("plain", "infarction"),
        "lrp_analysis": ("negated", "labelled"),
        "sanity_checks": ("size",),
    }
    for stage, names in offered.items():
        text = run_stage(house, stage, "--help")
        assert [name for name in names if name not in text] == []


@pytest.mark.slow
def test_every_stage_runs_with_what_was_added(house):
    for stage, words in STAGES.items():
        run_stage(house, stage, words)
    run = house / RUN
    assert set(pd.read_csv(run / "tcav" / "scores.csv")["concept"]) == {"tall-R-V5"}
    assert list((run / "local").glob("negated_*.npz"))
    assert "negated" in set(pd.read_csv(run / "glocal" / "segments.csv")["method"])
    assert "map_size" in set(pd.read_csv(run / "sanity" / "checks.csv")["check"])
    assert set(pd.read_csv(run / "discovery_MI" / "table.csv")["representation"]) == {"peak"}
    assert len(pd.read_csv(run / "counterfactual" / "counterfactuals.csv"))
    assert (run / "report.html").stat().st_size > 100_000
