"""A null through every stage: networks that know nothing of their patients, the demo's options, and
what the report's first page says of them.

    python tests/benchmarks/bench_null.py prepare FOLDER [--n_records 600] [--seed 0]
    python tests/benchmarks/bench_null.py permuted FOLDER [--seed 0] [--stages tcav_analysis ...]
    python tests/benchmarks/bench_null.py untrained FOLDER [--seed 0] [--stages ...]
    python tests/benchmarks/bench_null.py read FOLDER

prepare    simulates a cohort into FOLDER/true and gives its labels to other patients in
           FOLDER/permuted (a seeded permutation of patients), both preprocessed
permuted   trains LeNet on the permuted labels and runs every stage on it
untrained  runs every stage on a LeNet with random weights, and the true labels
read       prints the sentences of section "findings" of both reports
"""

import argparse
import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from common.labels import LABEL_MAPPINGS
from networks.models import MODELS

ROOT = Path(__file__).resolve().parents[2]
TASK = "subdiagnostic"
RUNS = {
    "permuted": f"output/permuted/lenet_{TASK}",
    "untrained": f"output/untrained/imported_{TASK}_untrained",
}
DATA = {"permuted": "permuted", "untrained": "true"}
CHECKS = {  # what the demo gives to the sanity checks beside the network
    "permuted": (
        *("--amplitude_models", "output/permuted/lenet_T_Wave_Amplitude"),
        *("--seeds", f"output/permuted/lenet_{TASK}_seed1"),
    ),
    "untrained": (),
}
# as `./reproduce_results.sh --demo` calls them
STAGES = {
    "tcav_analysis": ("--n_runs", "10", "--n_null", "400"),
    "lrp_analysis": ("--strategy", "single_best"),
    "glocal_analysis": ("--n_samples", "20"),
    "counterfactuals": ("--n_samples", "3", "--max_figures", "5"),
    "sanity_checks": ("--n_samples", "16", "--n_few", "4"),
    "discovery": ("--cohort", "AMI or IMI"),
    "report": (),
}


def stage(folder: Path, name: str, *words: str) -> None:
    """Run one stage in `folder`; its command line is shown, an error ends the study."""
    print(f"$ python code/{name}.py {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, ROOT / "code" / f"{name}.py", *words], cwd=folder, check=True)


# ---------------------------------------------------------------- cohorts


def prepare(folder: Path, n_records: int, seed: int) -> None:
    """The true cohort and the one whose labels lie with other patients."""
    for name in ("true", "permuted"):
        simulated = ("--output_path", name, "--n_records", str(n_records), "--seed", str(seed))
        stage(folder, "simulate_ptbxl", *simulated)
    path = folder / "permuted" / "ptbxl_database.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    permute_labels(table, seed).to_csv(path, index=False)
    for name in ("true", "permuted"):
        stage(folder, "preprocessing", "--data_path", name)


def permute_labels(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The table with `scp_codes` (and the report, which words them) of another patient on each.

    A patient with more records than the one who lends the labels gets these in turn, so that a
    patient's records keep belonging together.
    """
    columns = ["scp_codes", "report"]
    rows_of = [rows.to_numpy() for rows in table.groupby("patient_id").groups.values()]
    lenders = np.random.default_rng(seed).permutation(len(rows_of))
    permuted = table.copy()
    for rows, lender in zip(rows_of, lenders, strict=True):
        lent = np.resize(rows_of[lender], len(rows))
        permuted.loc[rows, columns] = table.loc[lent, columns].to_numpy()
    return permuted


# ---------------------------------------------------------------- networks


def make_network(folder: Path, kind: str, seed: int) -> None:
    """One of the two, as a run folder."""
    train(folder) if kind == "permuted" else import_untrained(folder, seed)


def train(folder: Path) -> None:
    """LeNet on the permuted labels, a second seed, and the demo's regression of T waves."""
    output = "output/permuted"
    shared = ("--data_path", "permuted", "--logdir", output, "--modelname", "lenet")
    shared += ("--epochs", "30")
    stage(folder, "train_model", *shared, "--task", TASK)
    stage(folder, "train_model", *shared, "--task", TASK, "--seed", "1", "--run_name", "seed1")
    stage(folder, "train_model", *shared, "--task", "T_Wave_Amplitude")


def import_untrained(folder: Path, seed: int) -> None:
    """A LeNet with random weights as a run folder, measured on the true cohort."""
    labels = LABEL_MAPPINGS[TASK]
    torch.manual_seed(seed)
    model = MODELS["lenet"](len(labels), 12).eval()
    exported = torch.export.export(model, (torch.zeros(2, 12, 250),))
    torch.export.save(exported, folder / "untrained.pt2")
    words = ("--exported", "untrained.pt2", "--task", TASK, "--labels", *labels)
    words += ("--sampling_rate", "100", "--seconds", "2.5", "--unit", "mV")
    words += ("--run_name", "untrained", "--data_path", "true", "--output_path", "output/untrained")
    stage(folder, "import_model", *words)


def explain(folder: Path, kind: str, names: list[str]) -> None:
    """Stages 3 to 9 of one network."""
    run = RUNS[kind]
    where = ("--model_path", run, "--output_path", str(Path(run).parent))
    for name in names:
        data = () if name == "report" else ("--data_path", DATA[kind])
        more = CHECKS[kind] if name == "sanity_checks" else ()
        stage(folder, name, *where, *data, *STAGES[name], *more)


# ---------------------------------------------------------------- sentences


def sentences(report: Path) -> list[str]:
    """The text of section "findings" of a report, one paragraph or list item each."""
    page = report.read_text()
    section = re.search(r'<section[^>]*id="findings".*?</section>', page, re.DOTALL)
    parts = re.findall(r"<(p|li)\b[^>]*>(.*?)</\1>", section.group(), re.DOTALL)
    plain = [html.unescape(re.sub(r"<[^>]+>", "", text)) for _, text in parts]
    return [" ".join(text.split()) for text in plain]


def read(folder: Path) -> None:
    """Print the findings of both networks."""
    for kind, run in RUNS.items():
        report = folder / run / "report.html"
        if report.is_file():
            print(f"\n{kind}")
            print("\n".join(f"- {text}" for text in sentences(report)))


def main(args: argparse.Namespace) -> None:
    """Do one of the four."""
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if args.what == "prepare":
        prepare(folder, args.n_records, args.seed)
    elif args.what == "read":
        read(folder)
    else:
        names = args.stages or ["train", *STAGES]
        if "train" in names:
            make_network(folder, args.what, args.seed)
        explain(folder, args.what, [name for name in names if name in STAGES])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("prepare", "permuted", "untrained", "read"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n_records", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--stages", nargs="+", help="only these, on a network that is there; `train` makes it"
    )
    main(parser.parse_args())
