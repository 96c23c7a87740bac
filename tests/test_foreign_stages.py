"""Networks of others through the command line: imported, then stages 3 to 8 on a simulated cohort.

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


def stages(run, cohort, methods):
    """The commands of stages 3 to 8."""
    return {
        "tcav_analysis.py": ("--concepts", "SLI-LVH", "--n_runs", 3, "--n_null", 200),
        "lrp_analysis.py": ("--max_figures", 1, "--methods", *methods),
        "glocal_analysis.py": ("--n_samples", 4, "--methods", *methods),
        "sanity_checks.py": ("--n_samples", 4, "--n_few", 2, "--methods", *methods),
        "discovery.py": (),
    }


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
    methods = ["saliency", "gradcam", "lrp"]
    if name in WITHOUT_LRP:
        [line] = [line for line in said.splitlines() if line.startswith("lrp: no")]
        assert WITHOUT_LRP[name] in line
        words = ("--model_path", run, "--data_path", cohort, "--methods", "lrp")
        done = run_script("lrp_analysis.py", *words, check=False)
        assert done.returncode == 2
        assert WITHOUT_LRP[name] in done.stderr
        methods.remove("lrp")
    methods = [method for method in methods if f"{method}: no" not in said]
    for script, words in stages(run, cohort, methods).items():
        run_script(script, "--model_path", run, "--data_path", cohort, "--overwrite", *words)
    run_script("report.py", "--model_path", run)
    assert (run / "report.html").is_file()
