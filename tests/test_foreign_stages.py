"""Networks of others through the command line: imported, then stages 3 to 9 on a simulated cohort.

Each runs, or is refused for LRP by the name of the operation, while the other methods go on.
"""

import pytest

from conftest import ROOT, run_script
from foreign_networks import FOREIGN, WITHOUT_LRP

CODE = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from foreign_networks import foreign
"""


def imported(name, cohort, folder):
    """The run folder of a network of FOREIGN, and what the import said."""
    code = folder / f"net_{name}.py"
    code.write_text(f"{CODE}\n\ndef make():\n    return foreign({name!r})\n")
    done = run_script(
        "import_model.py", "--network", f"{code}:make", "--labels", "CD", "HYP", "MI",
        "--sampling_rate", 100, "--seconds", 2.5, "--run_name", name, "--data_path", cohort,
        "--output_path", folder, "--n_bootstrap", 20,
    )  # fmt: skip
    return folder / f"imported_superdiagnostic_{name}", done.stdout


METHODS = ("saliency", "gradcam", "lrp")
STAGES = {
    "tcav_analysis.py": (
        "--concepts", "SLI-LVH", "--min_positives", 10, "--n_runs", 3, "--n_null", 50,
    ),
    "lrp_analysis.py": ("--max_figures", 1, "--methods", *METHODS),
    "glocal_analysis.py": (
        "--n_samples", 4, "--n_bootstrap", 50, "--n_permutations", 200, "--methods", *METHODS,
    ),
    "sanity_checks.py": ("--n_samples", 3, "--n_few", 2, "--strict", "--methods", *METHODS),
    "discovery.py": (
        "--representations", "features", "segments", "--n_halvings", 2, "--n_resamples", 20,
    ),
    "counterfactuals.py": (
        "--n_samples", 2, "--max_figures", 1, "--strategy", "true_positives",
    ),
}  # fmt: skip
NAMED = ("lrp_analysis.py", "glocal_analysis.py", "sanity_checks.py")  # stages of several methods


def test_an_imported_network_is_explained_through_the_command_line(cohort, tmp_path):
    run, said = imported("sigmoid_end", cohort, tmp_path)
    assert "ends in a sigmoid" in said
    assert "lrp: yes, ledger closes to" in said
    assert "gradcam: yes, at" in said
    words = ("--model_path", run, "--data_path", cohort, "--methods", "saliency", "lrp")
    run_script("lrp_analysis.py", *words, "--max_figures", 0)
    assert list((run / "local").glob("lrp_*.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FOREIGN)
def test_every_stage_takes_a_network_of_others(name, cohort, tmp_path):
    run, said = imported(name, cohort, tmp_path)
    beyond = WITHOUT_LRP.get(name)
    assert ("lrp: no, LRP has no rule for" in said) == bool(beyond)
    for script, words in STAGES.items():
        done = run_script(script, "--model_path", run, "--data_path", cohort, *words)
        left_out = [
            line
            for line in (done.stdout + done.stderr).splitlines()
            if line.startswith("left out: lrp (")
        ]
        assert len(left_out) == (script in NAMED and bool(beyond))
        assert all(beyond in line for line in left_out)
    assert bool(list((run / "local").glob("lrp_*.npz"))) == (not beyond)
    run_script("report.py", "--model_path", run)
    assert (run / "report.html").is_file()
    if beyond:
        words = ("--model_path", run, "--data_path", cohort)
        for script in ("lrp_analysis.py", "discovery.py"):
            done = run_script(script, *words, "--methods", "lrp", "--overwrite", check=False)
            assert done.returncode == 2
            [line] = done.stderr.splitlines()
            assert f"LRP has no rule for {beyond}" in line
