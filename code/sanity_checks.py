"""6. Sanity checks: which attribution methods pass which tests on this model?

Reads:   a checkpoint, checkpoints of the amplitude tasks (--amplitude_models) and of other seeds
         (--seeds), and what preprocessing.py wrote; what counterfactuals.py found of this run, if
         it has been there; on a simulated cohort (simulate_ptbxl.py) also its planted causes.
Writes:  <run>/sanity/ checks.csv (check, method, model, task, value, low, high, chance, n),
         details.csv (single leads, layers and moments), comparisons.csv (paired differences to the
         best method), best.csv and standings.csv (what is told from the best), axioms.csv, and
         where they apply dose_response.csv, localisation_gate.csv, agreement_pairs.csv;
         quality.csv (flagged records); ranking.png and one figure per kind of check.

Example: python code/sanity_checks.py --model_path=output/lenet_subdiagnostic
--data_path=data/simulated/ --strict \\
             --amplitude_models output/lenet_P_Wave_Amplitude output/lenet_R_Peak_Amplitude
             output/lenet_T_Wave_Amplitude

Values are means over records, low and high a 95 % interval over patients, chance what a map that
knows nothing scores. Records and targets: those of --folds with a true label, explained for the
true label of highest logit; regression models for every lead.

An interrupted run goes on where it stopped when the same command is given again. Several processes
share methods and control networks: torchrun --nproc_per_node=2 code/sanity_checks.py ... (several
machines too, where they share the folder).
"""

import utils  # isort: skip  # noqa: F401

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from sanity import tables as sanity_tables
from sanity.checks import CHECKS, COUNTERFACTUALS, checks_of
from sanity.parts import (
    PATTERNS,
    Check,
    Store,
    Work,
    estimate,
    estimate_maps,
    files_of,
    plan,
    run_parts,
)
from sanity.subject import Subject, make_subject
from sanity.tables import Subjects
from utils import (
    EXPLAINING,
    METHODS,
    PLANTED,
    TABLE,
    Explainer,
    Stage,
    StageParser,
    UserError,
    check_against,
    check_methods,
    check_names,
    content_hash,
    find_checkpoint,
    from_main,
    is_main,
    is_regression,
    load_dataset_for,
    load_model,
    load_table,
    make_explainers,
    methods_in_words,
    on_main,
    path_item,
    positive_int,
    process_group,
    run,
    say_left_out,
    say_results,
    select_device,
    settle,
    sha256,
    stage_parser,
    workable,
    world,
    write_csv,
    write_flag_counts,
)

FIRST = {
    "ranking.png": "which method does how well in which check",
    "axioms.csv": "the claims of each method and whether they hold",
    "checks.csv": "every value with its interval and the level of chance",
}
# passes per record from which a method is left to those who name it: hundreds of maps are made
COSTLY = 500
LONG = 1800  # s from which the estimate says what less would take half an hour
USUAL = (*(name for name in METHODS if METHODS[name].passes < COSTLY), "lrp:epsilon")


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        *EXPLAINING,
        "pathologies",
        "methods",
        "control",
        pathologies={
            "help": "labels of the model: records that have one of them are explained for it "
            "(default: all its labels)"
        },
        methods={
            "default": list(USUAL),
            "help": f"{methods_in_words()} (default: all but those of many passes: "
            f"{', '.join(name for name in METHODS if name not in USUAL)})",
        },
        control={
            "help": "hold localisation against K untrained networks and K trained on permuted "
            "labels too (kept in controls/ beside the run's folder): controls.csv; 20 or more, 0: "
            "none"
        },
    )
    _check_options(parser)
    for name, check in (("seeds", "seeds"), ("strict", "axioms")):
        parser.without_effect(
            f"without {check} among --checks",
            lambda args, check=check: check not in args.checks,
            name,
            f"it is of the check {check}",
        )
    return parser


def _check_options(parser):
    """Which checks, on which networks and how many records."""
    parser.add_list_argument(
        "--amplitude_models",
        item=path_item,
        default=[],
        metavar="RUN",
        help="runs of P_, R_ and T_ amplitude tasks, for the amplitude check (default: none)",
    )
    parser.add_list_argument(
        "--seeds",
        item=path_item,
        default=[],
        metavar="RUN",
        help="runs of the same model and task from other seeds (default: none)",
    )
    parser.add_list_argument(
        "--checks",
        default=list(CHECKS),
        help="default all: "
        + "; ".join(f"{name} ({check.description})" for name, check in CHECKS.items()).replace(
            "%", "%%"
        ),
    )
    parser.add_argument("--n_samples", type=positive_int, default=200, help="records")
    parser.add_argument(
        "--n_few",
        type=positive_int,
        default=50,
        help="records of the amplitude and randomisation checks",
    )
    parser.add_argument(
        "--planted",
        help="folder of the simulated cohort with the planted causes (default: --data_path)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit code 1 where a method breaks an axiom that it claims",
    )


def load_models(
    args: argparse.Namespace, device: torch.device
) -> tuple[nn.Module, list[nn.Module], list[nn.Module]]:
    """The model under test, those of other seeds, and the amplitude models; UserError where they do
    not belong together.
    """
    model = load_model(args.model_path, device)
    check_against(args, model.info)
    if is_regression(model.info.task):
        raise UserError(
            f"--model_path is a regression model ({model.info.task}): "
            "give a classifier, and this one in --amplitude_models"
        )
    if args.seeds:
        from utils import check_seeds

        check_seeds(args.model_path, args.seeds)
    others = [load_model(path, device) for path in args.seeds]
    amplitude = [load_model(path, device) for path in args.amplitude_models]
    for path, other in zip(args.amplitude_models, amplitude, strict=True):
        if not is_regression(other.info.task):
            raise UserError(
                f"--amplitude_models {path} is of {other.info.task}, not of an amplitude task"
            )
    tasks = [one.info.task for one in amplitude]
    if len(set(tasks)) < len(tasks):
        raise UserError(
            f"--amplitude_models names two networks of one task ({', '.join(tasks)}): give one each"
        )
    return model, others, amplitude


def workable_on_all(methods: list[str], models: Sequence[nn.Module]) -> list[str]:
    """The methods that can explain every model; those that cannot are named."""
    for model in models:
        methods, left_out = workable(methods, model)
        say_left_out(left_out)
    return methods


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
        from sanity.turned import turned_subject

        name = model.info.run_folder_name
        found["turned"] = [
            turned_subject(name, model, own, turned, args.n_samples, args.seed, columns)
        ]
    found["amplitude"], fits = [], []
    for one in amplitude:
        data = load(one)
        found["amplitude"].append(make_subject(one.info.run_folder_name, one, data, few, args.seed))
        fits.append(sanity_tables.fit_of(one, data))
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


def main(args: argparse.Namespace) -> None:
    """Check in all processes, tabulate and draw in the main one; with --strict exit 1 on a broken
    claim.
    """
    with process_group(select_device(args)) as device, contextlib.ExitStack() as stack:
        check_methods(args.methods)
        model, others, amplitude = load_models(args, device)
        if args.pathologies:
            args.pathologies = check_names("pathology", args.pathologies, model.info.labels)
        args.methods = workable_on_all(args.methods, [model, *others, *amplitude])
        explainers = {
            "full": make_explainers(args.methods),
            "quick": make_explainers(args.methods, quick=True),
        }
        place = settle(args, model.info, args.model_path)
        checks, planted = checks_of(args, place.run)
        turned = place.run / COUNTERFACTUALS if "counterfactual" in checks else None
        if args.control:
            check_control(model, checks)
        # before the folder is claimed: an error leaves nothing behind
        subjects, fits = subjects_of(args, model, amplitude, turned)
        settings = settings_of(args, model.info.sampling_rate, list(checks), planted, turned)
        folder = place.run / "sanity"
        of_stage = (folder, "sanity", settings, args.overwrite, place.facts, args.bare)
        stage = on_main(lambda: stack.enter_context(Stage(*of_stage)))
        if from_main(lambda: stage.finished_before()):
            broken = sanity_tables.read_broken(folder)
        else:
            job = Job(checks, subjects, others, fits, explainers, planted, Store(folder))
            broken = compute(args, stage, job)
    if args.strict and len(broken):
        print("broken claims:\n" + broken.to_string(index=False), file=sys.stderr)
        sys.exit(1)


@dataclass(frozen=True)
class Job:
    """All that a run computes with."""

    checks: dict[str, Check]
    subjects: Subjects
    others: list[nn.Module]
    fits: list[pd.DataFrame]
    explainers: dict[str, dict[str, Explainer]]
    planted: Path | None
    store: Store

    @property
    def parts(self) -> dict[str, Check]:
        """The checks that are measured method by method."""
        return {name: check for name, check in self.checks.items() if check.measure}

    @property
    def subject(self) -> Subject:
        """The network under test with its records."""
        return self.subjects["model"][0]


def compute(args: argparse.Namespace, stage: Stage | None, job: Job) -> pd.DataFrame:
    """All parts in all processes, tables and figures in the main one (which has the stage);
    returns the broken claims.
    """
    work = plan(job.parts, job.subjects, args.methods)
    seeds = sanity_tables.seeds_of(job.subject, job.others if "seeds" in job.checks else [])
    on_main(lambda: begin(args, stage, job, work, seeds))
    run_parts(job.parts, work, job.explainers, job.store)
    sanity_tables.map_seeds(seeds, job.explainers["full"], job.store)
    beside = beside_controls(args, job) if args.control else None
    if not is_main():
        return pd.DataFrame()
    names = [(name, method, subject.name) for name, subject, method in work]
    records = job.store.records(names) if work else None
    tables = sanity_tables.build(
        records,
        job.checks,
        job.subjects,
        seeds,
        job.fits,
        job.explainers,
        job.store,
        job.planted,
        args.seed,
    )
    if beside is not None:
        tables["controls"] = beside
    finish(args, stage, job, tables, records)
    return sanity_tables.broken_claims(tables.get("axioms", pd.DataFrame()))


def begin(
    args: argparse.Namespace, stage: Stage, job: Job, work: Work, seeds: list[Subject]
) -> None:
    """Clear the folder, name the files that processes will write into it, say how long it takes."""
    if not stage.resumed:
        stage.clear(*PATTERNS)
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
    tables: dict[str, pd.DataFrame],
    records: pd.DataFrame | None,
) -> None:
    """Write the tables, draw them, close the stage."""
    written = [
        write_csv(stage.folder / f"{name}.csv", table) or stage.folder / f"{name}.csv"
        for name, table in tables.items()
    ]
    shown = (*job.subjects["model"], *job.subjects["amplitude"])
    explained = {one.name: one.ecg_id for one in shown}
    written.append(write_flag_counts(stage.folder, load_table(args.data_path), explained))
    from sanity import figures as sanity_figures  # what draws is loaded when all is computed

    written += sanity_figures.draw_all(stage.folder, tables, records)
    models = map(find_checkpoint, [args.model_path, *args.amplitude_models, *args.seeds])
    stage.finish(
        inputs=[*models, Path(args.data_path) / TABLE],
        outputs=written,
        counts={
            "records": len(job.subject),
            "methods": len(args.methods),
            "rows": len(tables["checks"]),
        },
    )
    n_checks, n_methods = len(job.checks), len(args.methods)
    print(f"{len(tables['checks'])} rows of {n_checks} checks and {n_methods} methods")
    say_results(stage.folder, written, FIRST)


def check_control(model: nn.Module, checks: dict[str, Check]) -> None:
    """UserError where control networks cannot be made, or have nothing to be held against."""
    from utils import check_controls, graph_of

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
    from sanity.controls import control_rows, control_scores, control_table
    from utils import controls_for

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


if __name__ == "__main__":
    run(main, get_args_parser())
