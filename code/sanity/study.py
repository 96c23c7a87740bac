"""A run of the sanity stage from what is asked to its tables and figures."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd
from torch import nn

from attribution.methods import make_explainers
from common.cli import say_results
from common.figure_files import SHOWN
from common.files import UserError, sha256, write_csv
from common.stage import Stage
from networks.checkpoints import find_checkpoint
from networks.controls import check_controls, controls_for, graph_of
from networks.defaults import Place
from networks.distributed import from_main, is_main, on_main, world
from networks.inference import load_dataset_for
from records.dataset import PLANTED, TABLE, content_hash, load_table
from records.quality import write_flag_counts
from records.segmentations import stored_segmentations
from sanity import tables
from sanity.checks import COUNTERFACTUALS, checks_of
from sanity.controls import control_rows, control_scores, control_table
from sanity.parts import (
    PATTERNS,
    Check,
    Job,
    Store,
    Subjects,
    Work,
    estimate,
    estimate_maps,
    files_of,
    plan,
    run_parts,
)
from sanity.subject import Subject, make_subject
from sanity.turned import turned_subject

FIRST = {
    "ranking.png": "which method does how well in which check",
    "axioms.csv": "the claims of each method and whether they hold",
    "checks.csv": "every value with its interval and the level of chance",
}
LONG = 1800  # s from which the estimate says what less would take half an hour


def answer(
    args: argparse.Namespace,
    model: nn.Module,
    others: list[nn.Module],
    amplitude: list[nn.Module],
    place: Place,
) -> pd.DataFrame:
    """Check `model` with those of other seeds and the amplitude models: measure in all processes,
    tabulate and draw in the main one; returns the broken claims.
    """
    checks, planted = checks_of(args, place.run)
    turned = place.run / COUNTERFACTUALS if "counterfactual" in checks else None
    if args.control:
        check_control(model, checks)
    # before the folder is claimed: an error leaves nothing behind
    subjects, fits = subjects_of(args, model, amplitude, turned)
    if planted and {"localisation", "layers"} & {*checks}:
        from sanity.localisation import check_planted

        check_planted(subjects["model"][0], planted)
    settings = settings_of(args, model.info.sampling_rate, list(checks), planted, turned)
    folder = place.run / "sanity"
    of_stage = (folder, "sanity", settings, args.overwrite, place.facts, args.bare)
    explainers = {
        "full": make_explainers(args.methods),
        "quick": make_explainers(args.methods, quick=True),
    }
    job = Job(checks, subjects, others, fits, explainers, planted, Store(folder))
    with contextlib.ExitStack() as stack:
        stage = on_main(lambda: stack.enter_context(Stage(*of_stage)))
        if from_main(lambda: stage.finished_before()):
            return tables.read_broken(folder)
        return compute(args, stage, job)


def subjects_of(
    args: argparse.Namespace, model: nn.Module, amplitude: list[nn.Module], turned: Path | None
) -> tuple[Subjects, list[pd.DataFrame]]:
    """The records of each model, and of the counterfactuals in the folder `turned`, if any; the
    amplitude models' fits are computed beside them.
    """
    few = min(args.n_few, args.n_samples)

    def load(one):
        return load_dataset_for(one.info, args.data_path, args.limit).in_folds(args.folds)

    own = load(model)
    columns = [model.info.index(label) for label in args.pathologies or model.info.labels]
    found = {
        kind: [make_subject(model.info.run_folder_name, model, own, n, args.seed, columns)]
        for kind, n in (("model", args.n_samples), ("few", few))
    }
    if turned is not None:
        name = model.info.run_folder_name
        found["turned"] = [
            turned_subject(name, model, own, turned, args.n_samples, args.seed, columns)
        ]
    found["amplitude"], fits = [], []
    for one in amplitude:
        data = load(one)
        found["amplitude"].append(make_subject(one.info.run_folder_name, one, data, few, args.seed))
        fits.append(tables.fit_of(one, data))
    return found, fits


def settings_of(
    args: argparse.Namespace,
    sampling_rate: int,
    checks: list[str],
    planted: Path | None,
    turned: Path | None,
) -> dict:
    """What the results depend on."""
    paths = [args.model_path, *args.amplitude_models, *args.seeds]
    return {
        "checkpoints": [sha256(find_checkpoint(path)) for path in paths],
        "data": content_hash(args.data_path, sampling_rate),
        **stored_segmentations(args.data_path),
        "planted": planted and sha256(planted / PLANTED),
        **({"counterfactuals": sha256(turned / "edits.csv")} if turned else {}),
        "checks": checks,
        "methods": args.methods,
        "n_samples": args.n_samples,
        "n_few": args.n_few,
        "folds": args.folds,
        "limit": args.limit,
        "pathologies": args.pathologies,
        "seed": args.seed,
        "dpi": args.dpi,
        **({"control": args.control} if args.control else {}),
    }


def compute(args: argparse.Namespace, stage: Stage | None, job: Job) -> pd.DataFrame:
    """All parts in all processes, tables and figures in the main one (which has the stage);
    returns the broken claims.
    """
    work = plan(job.parts, job.subjects, args.methods)
    seeds = tables.seeds_of(job.subject, job.others if "seeds" in job.checks else [])
    on_main(lambda: begin(args, stage, job, work, seeds))
    run_parts(job.parts, work, job.explainers, job.store)
    tables.map_seeds(seeds, job.explainers["full"], job.store)
    beside = beside_controls(args, job) if args.control else None
    if not is_main():
        return pd.DataFrame()
    names = [(name, method, subject.name) for name, subject, method in work]
    records = job.store.records(names) if work else None
    found = tables.build(job, records, seeds, args.seed)
    if beside is not None:
        found["controls"] = beside
    finish(args, stage, job, found, records)
    return tables.broken_claims(found.get("axioms", pd.DataFrame()))


def begin(
    args: argparse.Namespace, stage: Stage, job: Job, work: Work, seeds: list[Subject]
) -> None:
    """Clear the folder, name the files that processes will write into it, say how long it takes."""
    if not stage.resumed:
        stage.clear(*PATTERNS, *SHOWN)
    stage.expect(files_of(job.parts, work, job.store))
    for one, method in product(seeds, args.methods):
        stage.expect([job.store.map_path(method, one.name, "full")])
    seconds = estimate(job.parts, work, job.explainers, job.store)
    to_map = (not job.parts) + len(seeds)  # the parts leave the model's own maps behind
    if {"agreement", "seeds"} & {*job.checks} and to_map:
        seconds += estimate_maps(job.subject, job.explainers["full"], to_map)
    say_estimate(seconds / world(), job.subjects, args.methods)


def finish(
    args: argparse.Namespace,
    stage: Stage,
    job: Job,
    found: dict[str, pd.DataFrame],
    records: pd.DataFrame | None,
) -> None:
    """Write the tables, draw them, close the stage."""
    from sanity import figures  # what draws is loaded when all is computed

    written = []
    for name, table in found.items():
        written.append(stage.folder / f"{name}.csv")
        write_csv(written[-1], table)
    shown = (*job.subjects["model"], *job.subjects["amplitude"])
    explained = {one.name: one.ecg_id for one in shown}
    written.append(write_flag_counts(stage.folder, load_table(args.data_path), explained))
    written += figures.draw_all(stage.folder, found, records)
    models = map(find_checkpoint, [args.model_path, *args.amplitude_models, *args.seeds])
    n_checks, n_methods, n_rows = len(job.checks), len(args.methods), len(found["checks"])
    stage.finish(
        inputs=[*models, Path(args.data_path) / TABLE],
        outputs=written,
        counts={"records": len(job.subject), "methods": n_methods, "rows": n_rows},
    )
    print(f"{n_rows} rows of {n_checks} checks and {n_methods} methods")
    say_results(stage.folder, written, FIRST)


def check_control(model: nn.Module, checks: dict[str, Check]) -> None:
    """UserError where control networks cannot be made, or have nothing to be held against."""
    check_controls(model.info, graph_of(model))
    if "localisation" not in checks:
        raise UserError(
            "--control holds localisation against networks that have learnt nothing: it needs a "
            "cohort with planted causes (simulate_ptbxl.py) and localisation among the --checks"
        )


def beside_controls(args: argparse.Namespace, job: Job) -> pd.DataFrame:
    """controls.csv: localisation of the network and of networks that have learnt nothing, on the
    same records (--n_few at most), with quick options.
    """
    subject = job.subject
    check = job.checks["localisation"]
    reference = job.store.reference("localisation", subject, check.reference)
    device = next(subject.model.parameters()).device
    data = load_dataset_for(subject.model.info, args.data_path, args.limit)
    made = controls_for(args, subject.model, data, job.store.folder.parent, device)
    quick = job.explainers["quick"]
    scores = control_scores(subject, reference, quick, made, args.n_few, device)
    n = len(control_rows(reference, args.n_few))
    return control_table(scores, subject.name, n)


def say_estimate(seconds: float, subjects: Subjects, methods: Sequence[str]) -> None:
    """What is coming, before it starts; of a costly network also how much less takes half an
    hour.
    """
    shown = f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
    counts = [
        f"{len(subject)} records of {subject.name}"
        for subject in (*subjects["model"], *subjects["amplitude"])
    ]
    advice = ""
    if seconds > LONG:
        own, few = (len(subjects[kind][0]) for kind in ("model", "few"))
        fitting = [max(1, int(n * LONG / seconds)) for n in (own, few)]
        advice = (
            f"; --n_samples {fitting[0]} --n_few {fitting[1]}, or fewer --methods and --checks, "
            f"take about {LONG / 60:.0f} min"
        )
    print(f"{len(methods)} methods on {', '.join(counts)}: about {shown}{advice}", file=sys.stderr)
