"""A null through every stage: networks that know nothing of their patients, the demo's options, and
what the report's first page says of them.

    python tests/benchmarks/bench_null.py prepare FOLDER [--n_records 600] [--seed 0]
    python tests/benchmarks/bench_null.py permuted FOLDER [--control 20] [--stages ...]
    python tests/benchmarks/bench_null.py untrained FOLDER [--control 20] [--stages ...]
    python tests/benchmarks/bench_null.py read FOLDER

prepare    simulates a cohort into FOLDER/true and gives its labels to other patients in
           FOLDER/permuted (a seeded permutation of patients), both preprocessed
permuted   trains LeNet on the permuted labels and runs every stage on it
untrained  runs every stage on a LeNet with random weights (trained at a rate of 1e-12, so that its
           BatchNorm statistics are those of the data), and the true labels
read       prints the sentences of section "findings" of both reports

--control K holds each network, of five seeds, against K control networks of each kind in the stages
that can.
"""

import argparse
import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
TASK = "subdiagnostic"
RUNS = {kind: f"output/{kind}/lenet_{TASK}" for kind in ("permuted", "untrained")}
DATA = {"permuted": "permuted", "untrained": "true"}
RECIPES = {
    "permuted": ("--epochs", "30"),
    "untrained": ("--epochs", "5", "--lr", "1e-12", "--weight_decay", "0"),
}
SEEDS = (1, 2, 3, 4)  # of networks beside the one of seed 0
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
CONTROLLED = ("tcav_analysis", "glocal_analysis", "sanity_checks", "discovery")


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


def train(folder: Path, kind: str, control: int) -> None:
    """LeNet of seed 0 on the labels of the null, further seeds, and the demo's regression of T
    waves.
    """
    shared = ("--data_path", DATA[kind], "--logdir", f"output/{kind}", "--modelname", "lenet")
    shared += RECIPES[kind]
    stage(folder, "train_model", *shared, "--task", TASK)
    for seed in SEEDS if control else SEEDS[:1]:
        more = ("--task", TASK, "--seed", str(seed), "--run_name", f"seed{seed}")
        stage(folder, "train_model", *shared, *more)
    stage(folder, "train_model", *shared, "--task", "T_Wave_Amplitude")


def beside(kind: str, name: str, control: int) -> tuple[str, ...]:
    """What a stage is given beside the network: other seeds, and how many controls."""
    seeds = [f"output/{kind}/lenet_{TASK}_seed{seed}" for seed in SEEDS]
    words = ("--control", str(control)) if control and name in CONTROLLED else ()
    if name == "sanity_checks":
        amplitudes = f"output/{kind}/lenet_T_Wave_Amplitude"
        words += ("--amplitude_models", amplitudes, "--seeds", seeds[0])
    if name == "tcav_analysis" and control:
        words += ("--seeds", *seeds)
    return words


def explain(folder: Path, kind: str, names: list[str], control: int) -> None:
    """Stages 3 to 9 of one network."""
    run = RUNS[kind]
    where = ("--model_path", run, "--output_path", str(Path(run).parent))
    for name in names:
        data = () if name == "report" else ("--data_path", DATA[kind])
        stage(folder, name, *where, *data, *STAGES[name], *beside(kind, name, control))


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
            train(folder, args.what, args.control)
        explain(folder, args.what, [name for name in names if name in STAGES], args.control)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("prepare", "permuted", "untrained", "read"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n_records", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control", type=int, default=0, metavar="K")
    parser.add_argument(
        "--stages", nargs="+", help="only these, on a network that is there; `train` makes it"
    )
    main(parser.parse_args())
