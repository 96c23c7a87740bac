"""Sections of docs/results.md that a command writes: the stages behind a section are run, its
tables are made from what they wrote and set between the section's markers; prose stays as it is.

    python tests/benchmarks/run_all.py --results discovery --ptbxl ../shared/ptbxl

Reads:  real records in PTB-XL's layout (--ptbxl); simulates a cohort of its own.
Writes: data sets, runs and results under --work, where a step that has ended stays (an empty folder
        is a fresh run); docs/results.md between `<!-- results: NAME -->` and `<!-- end -->`.

Each table says when and by which commit its stages ran, the command, and n.
"""

import datetime
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import result_tables

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "results.md"
WITHOUT_THREADS = ("preprocessing.py", "simulate_ptbxl.py")
METHODS = "occlusion ig lrp:epsilon lrp saliency gradcam random input_magnitude"


@dataclass(frozen=True)
class Step:
    """One command line: a script of code/ with its options, and the file that it leaves when it is
    done, under the working folder. {real}, {cohort}, {out_real}, {out_sim}, {ptbxl} stand for
    places.
    """

    command: str
    makes: str


def training(where: str, run: str, options: str) -> Step:
    """A LeNet trained on the real records (`where` real) or the simulated ones (sim)."""
    data = "{real}" if where == "real" else "{cohort}"
    return Step(
        f"train_model.py --data_path {data} --logdir {{out_{where}}} --modelname lenet {options}",
        f"out_{where}/{run}/test.json",
    )


def stage(script: str, folder: str, where: str, run: str, options: str = "") -> Step:
    """A stage on one run, its json at the end."""
    data = "{real}" if where == "real" else "{cohort}"
    model = f"--model_path {{out_{where}}}/{run} " if "--cross_fit" not in options else ""
    return Step(
        f"{script}.py {model}--data_path {data} --output_path {{out_{where}}} {options}",
        f"out_{where}/{run}/{folder}/{folder}.json",
    )


def fold_models(where: str) -> dict[str, Step]:
    """Five LeNets, each tested on two folds, chosen on the next and trained on the other seven."""
    steps = {}
    for first in (1, 3, 5, 7, 9):
        held = (first, first + 1, (first + 1) % 10 + 1)
        train = " ".join(str(fold) for fold in range(1, 11) if fold not in held)
        options = (
            f"--task subdiagnostic --epochs 40 --run_name f{first} --train_folds {train} "
            f"--val_folds {held[2]} --test_folds {held[0]} {held[1]}"
        )
        steps[f"f{first}_{where}"] = training(where, f"lenet_subdiagnostic_f{first}", options)
    return steps


def _of_kind(where: str) -> dict[str, Step]:
    one = "lenet_subdiagnostic_s0"
    seeds = {
        f"s{seed}_{where}": training(
            where,
            f"lenet_subdiagnostic_s{seed}",
            f"--task subdiagnostic --patience 15 --seed {seed} --run_name s{seed}",
        )
        for seed in range(5)
    }
    others = " ".join(f"{{out_{where}}}/lenet_subdiagnostic_s{seed}" for seed in (1, 2))
    folds = " ".join(f"{{out_{where}}}/lenet_subdiagnostic_f{fold}" for fold in (1, 3, 5, 7, 9))
    control = " --control 20" if where == "sim" else ""
    sanity = (
        f"--methods {METHODS} --amplitude_models {{out_{where}}}/lenet_T_Wave_Amplitude "
        f"--seeds {others}{control}"
    )
    return {
        **seeds,
        **fold_models(where),
        f"super_{where}": training(
            where, "lenet_superdiagnostic", "--task superdiagnostic --patience 15"
        ),
        f"T_{where}": training(
            where, "lenet_T_Wave_Amplitude", "--task T_Wave_Amplitude --patience 15"
        ),
        f"discovery_{where}": stage(
            "discovery", "discovery", where, "lenet_superdiagnostic", "--control 20"
        ),
        f"sanity_{where}": stage("sanity_checks", "sanity", where, one, sanity),
        f"glocal_{where}": stage(
            "glocal_analysis", "glocal", where, one, "--methods saliency lrp --control 20"
        ),
        f"cross_fit_{where}": stage(
            "glocal_analysis",
            "glocal",
            where,
            "lenet_subdiagnostic_cross_fit",
            f"--cross_fit {folds} --methods saliency lrp --contrast LVH NORM",
        ),
    }


STEPS: dict[str, Step] = {
    "real": Step(
        "preprocessing.py --data_path {ptbxl} --output_path {real}", "real/preprocessing.json"
    ),
    "simulated": Step(
        "simulate_ptbxl.py --output_path {cohort} --n_records 1500 --seed 0",
        "cohort/ptbxl_database.csv",
    ),
    "sim": Step("preprocessing.py --data_path {cohort}", "cohort/preprocessing.json"),
    **_of_kind("real"),
    **_of_kind("sim"),
    "tcav_real": stage("tcav_analysis", "tcav", "real", "lenet_subdiagnostic_s0"),
    "tcav5_real": Step(
        "tcav_analysis.py --model_path {out_real}/lenet_subdiagnostic_s0 --data_path {real} "
        "--output_path {work}/out_tcav5 --control 20 --seeds "
        + " ".join(f"{{out_real}}/lenet_subdiagnostic_s{seed}" for seed in (1, 2, 3, 4)),
        "out_tcav5/lenet_subdiagnostic_s0/tcav/tcav.json",
    ),
    "local_real": stage(
        "lrp_analysis",
        "local",
        "real",
        "lenet_subdiagnostic_s0",
        "--pathologies LVH IMI AMI --methods saliency ig lrp --strategy best_n --n_samples 20",
    ),
}


@dataclass(frozen=True)
class Section:
    """The steps whose results a section shows, in order, and the table made of them:
    (working folder) -> lines of Markdown.
    """

    steps: tuple[str, ...]
    tables: Callable[[Path], list[str]]


SECTIONS = {
    "tcav": Section(
        ("real", *(f"s{seed}_real" for seed in range(5)), "tcav_real", "tcav5_real"),
        result_tables.tcav,
    ),
    "local": Section(("real", "s0_real", "local_real"), result_tables.local),
    "glocal": Section(
        (
            *("real", "s0_real", "glocal_real", *fold_models("real"), "cross_fit_real"),
            *("simulated", "sim", *fold_models("sim"), "cross_fit_sim"),
        ),
        result_tables.glocal,
    ),
    "sanity": Section(
        (
            *("real", "s0_real", "s1_real", "s2_real", "T_real", "sanity_real"),
            *("simulated", "sim", "s0_sim", "s1_sim", "s2_sim", "T_sim", "sanity_sim"),
        ),
        result_tables.sanity,
    ),
    "discovery": Section(
        (
            *("real", "super_real", "discovery_real"),
            *("simulated", "sim", "super_sim", "discovery_sim"),
        ),
        result_tables.discovery,
    ),
}


# ---------------------------------------------------------------- running


def places(work: Path, ptbxl: str | None) -> dict[str, str]:
    """What the words in braces stand for."""
    under = {name: str(work / name) for name in ("real", "cohort", "out_real", "out_sim")}
    return {**under, "work": str(work), "ptbxl": str(ptbxl)}


def commit() -> str:
    """The commit of this checkout, with + where tracked files differ from it."""

    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout

    return git("rev-parse", "--short=7", "HEAD").strip() + "+" * bool(
        git("status", "--porcelain", "--untracked-files=no", "--", "code").strip()
    )


def run_step(name: str, work: Path, ptbxl: str | None) -> None:
    """Run a step that has not ended in `work`; note its commit, date and seconds there."""
    step, noted = STEPS[name], work / "steps.json"
    done = json.loads(noted.read_text()) if noted.is_file() else {}
    if (work / step.makes).is_file() and name in done:
        return
    words = step.command.format(**places(work, ptbxl)).split()
    print(f"{name}: python code/{' '.join(words)}", flush=True)
    started = time.perf_counter()
    log = work / f"{name}.log"
    words += ["--threads", "1"] * (words[0] not in WITHOUT_THREADS)
    with log.open("w") as file:
        command = [sys.executable, ROOT / "code" / words[0], *words[1:]]
        ended = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    if ended.returncode:
        sys.exit(f"{name} failed, exit code {ended.returncode}: see {log}")
    done[name] = {
        "commit": commit(),
        "date": f"{datetime.date.today()}",
        "seconds": round(time.perf_counter() - started),
    }
    noted.write_text(json.dumps(done, indent=1))


def ran(work: Path, steps: Sequence[str]) -> str:
    """When and by which commits the steps of a section ran."""
    done = json.loads((work / "steps.json").read_text())
    missing = [name for name in steps if name not in done]
    steps = [name for name in steps if name in done]
    if not steps:
        sys.exit(f"no step of this section has ended in {work}: run it without --only_write")
    dates = sorted({done[name]["date"] for name in steps})
    commits = sorted({done[name]["commit"] for name in steps})
    days = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    without = f" (not run: {', '.join(missing)})" if missing else ""
    return f"{days}, commit {', '.join(commits)}{without}"


# ---------------------------------------------------------------- writing


def replaced(text: str, name: str, lines: Sequence[str]) -> str:
    """The page with `lines` between the section's markers; ValueError where these are missing."""
    start = re.escape(f"<!-- results: {name} -->")
    pattern = re.compile(rf"({start}\n).*?(<!-- end -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"docs/results.md has no one section '<!-- results: {name} -->'")
    written = "\n".join(lines)
    return pattern.sub(lambda found: f"{found[1]}{written}\n{found[2]}", text)


def write_section(name: str, section: Section, work: Path, page: Path = PAGE) -> None:
    """Make a section's tables and set them into the page."""
    head = f"{ran(work, section.steps)}, `python tests/benchmarks/run_all.py --results {name} ...`"
    lines = [head, "", *section.tables(work)]
    page.write_text(replaced(page.read_text(), name, lines))
