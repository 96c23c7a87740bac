"""A TCAV run: the question is answered, tables and figures are written; or stored CAVs are put to
other records.
"""

import argparse
import contextlib
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from common.cli import say_results
from common.figure_files import SHOWN
from common.files import read_csv, sha256, write_csv
from common.labels import associated
from common.stage import Stage
from ecg.concepts import CONCEPTS
from networks import distributed
from networks.checkpoints import ModelInfo, find_checkpoint, load_model
from networks.controls import controls_for
from networks.defaults import Place
from networks.inference import predict
from records.dataset import TABLE, Dataset, content_hash
from records.quality import write_flag_counts
from tcav.analysis import ALPHA, Outcome, Plan, analyse
from tcav.controls import (
    Beside,
    Verdicts,
    beside,
    compare,
    floor_in_words,
    in_words,
    told_apart,
)
from tcav.questions import TRAINING_FOLDS, Question, classes_of
from tcav.tables import (
    apply_cavs,
    read_cavs,
    runs_table,
    scores_table,
    with_verdicts,
    write_cavs,
)

FIRST = {
    "summary_concept.png": "each concept's strongest layer for every pathology",
    "scores.csv": "every concept, layer and pathology with its score and p",
    "*.png": "a concept by layer and pathology",
}
FIRST_APPLIED = {
    "scores.csv": "the stored CAVs' scores on these records",
    "projections.csv": "where each record lies along each CAV",
    "quality.csv": "flagged records by class",
}


# ---------------------------------------------------------------- new CAVs


def settings_of(args: argparse.Namespace, info: ModelInfo, question: Question) -> dict:
    """What the results depend on."""
    compared = {
        "control": args.control,
        "seeds": [sha256(find_checkpoint(path)) for path in args.seeds],
    }
    return {
        **(compared if args.control else {}),
        **vars(question.plan),
        "checkpoint": sha256(find_checkpoint(args.model_path)),
        "data": content_hash(args.data_path, info.sampling_rate),
        "concepts": [(one.name, one.against) for one in question.concepts],
        "labels": question.classes.labels,
        "layers": question.layers,
        "folds": args.folds,
        "limit": args.limit,
        "match": args.match,
        "protocol": args.window,
        "pool": args.pool,
        "dpi": args.dpi,
    }


def answer(
    args: argparse.Namespace, model: nn.Module, data: Dataset, place: Place, question: Question
) -> None:
    """Fit CAVs, score and test them, compare with controls where asked for, write and draw.

    Processes share the networks that the explained one is held against; it is the main one's own.
    """
    folder = place.run / "tcav"
    settings = settings_of(args, model.info, question)
    of_stage = (folder, "tcav", settings, args.overwrite, place.facts, args.bare)
    with contextlib.ExitStack() as stack:
        stage = distributed.on_main(lambda: stack.enter_context(Stage(*of_stage)))
        if distributed.from_main(lambda: stage.finished_before()):
            return
        distributed.from_main(lambda: stage.clear(*SHOWN, "*.npz"))
        if distributed.is_main():  # the others begin with the controls meanwhile
            outcomes, means = explain(args, model, question, question.plan)
        device = next(model.parameters()).device
        others = [load_model(path, device) for path in args.seeds]
        against = beside_of(args, model, others, data, place, question)
        if not distributed.is_main():
            return
        criteria = criteria_of(outcomes, question.classes.labels, model.info.task)
        n_class = question.classes.counts
        p_class = told_apart_by([model, *others], question, args.window) if args.control else None
        verdicts = compare(outcomes, against, question.plan, n_class, criteria, p_class)
        scores = scores_of(model.info, question, outcomes, verdicts)
        paths = write_tables(args, folder, question, scores, outcomes, means)
        evaluated, classes = question.evaluated, question.classes
        paths.append(write_flag_counts(folder, evaluated.table, classes.records(evaluated)))
        paths += draw(folder, paths[0])
        counts = {
            "concepts": len(question.concepts),
            "layers": len(question.layers),
            "pathologies": len(classes.labels),
            "training_records": len(question.training),
        }
        stage.finish([find_checkpoint(args.model_path), data.path / TABLE], paths, counts)
    found = scores[(scores["p_corrected"] < ALPHA) & scores["cav_valid"]]
    print(
        f"{len(found)} of {len(scores)} cells significant (corrected p < {ALPHA}), in "
        f"{found['concept'].nunique()} of {scores['concept'].nunique()} concepts"
    )
    if args.control:
        print("\n".join(in_words(scores)))
    say_results(folder, paths, FIRST)


def explain(
    args: argparse.Namespace, network: nn.Module, question: Question, plan: Plan
) -> tuple[list[Outcome], dict[str, np.ndarray]]:
    """What `analyse` gives for one network under a plan."""
    return analyse(
        network,
        question.training,
        question.evaluated,
        question.concepts,
        question.classes.columns,
        question.layers,
        plan,
        args.window,
        args.pool,
        args.max_memory,
        progress=True,
    )


def told_apart_by(networks: list[nn.Module], question: Question, window: str) -> np.ndarray:
    """p (classes,) of tcav.controls.told_apart on the explained records that are held out."""
    info, evaluated = networks[0].info, question.evaluated
    seen = {*TRAINING_FOLDS, *info.folds.get("train", ()), *info.folds.get("validation", ())}
    held = evaluated.rows(evaluated.labelled & ~np.isin(evaluated.fold, list(seen)))
    logits = np.mean([predict(network, held.signals, window) for network in networks], axis=0)
    columns = question.classes.columns
    return told_apart(logits[:, columns], held.labels[:, columns], held.patient_id)


def beside_of(
    args: argparse.Namespace,
    model: nn.Module,
    others: list[nn.Module],
    data: Dataset,
    place: Place,
    question: Question,
) -> Beside:
    """What control networks and those of other seeds say of the concepts; see tcav/controls.py."""
    device = next(model.parameters()).device
    made = ()
    if args.control:
        made = controls_for(args, model, data, place.run, device)
        print(floor_in_words(1 + len(others), args.control))
    return beside(
        others,
        made,
        lambda network, plan: explain(args, network, question, plan)[0],
        question.plan,
        device,
    )


def criteria_of(outcomes: list[Outcome], labels: list[str], task: str) -> np.ndarray:
    """(outcomes, labels) bool: the outcome's concept is a criterion of the label."""
    found = np.zeros((len(outcomes), len(labels)), dtype=bool)
    for row, column in np.ndindex(found.shape):
        concept = CONCEPTS.get(outcomes[row].concept.name)
        if concept is not None:
            found[row, column] = associated(concept.pathologies, labels[column], task)
    return found


def scores_of(
    info: ModelInfo, question: Question, outcomes: list[Outcome], verdicts: dict[str, Verdicts]
) -> pd.DataFrame:
    """The table of scores, with the verdicts."""
    scores = scores_table(
        outcomes,
        question.classes.labels,
        question.classes.counts,
        question.plan,
        info.task,
        {name: concept.pathologies for name, concept in CONCEPTS.items()},
    )
    return with_verdicts(scores, verdicts)


def write_tables(
    args: argparse.Namespace,
    folder: Path,
    question: Question,
    scores: pd.DataFrame,
    outcomes: list[Outcome],
    means: dict[str, np.ndarray],
) -> list[Path]:
    """scores.csv, runs.csv and cavs.npz; their paths."""
    paths = [folder / name for name in ("scores.csv", "runs.csv", "cavs.npz")]
    write_csv(paths[0], scores)
    write_csv(paths[1], runs_table(outcomes, question.classes.labels))
    facts = {
        "checkpoint": sha256(find_checkpoint(args.model_path)),
        "protocol": args.window,
        "pool": args.pool,
        "cav": args.cav,
        "coordinates": question.plan.coordinates,
    }
    write_cavs(paths[2], outcomes, means, facts)
    return paths


def draw(folder: Path, path: Path) -> list[Path]:
    """Figures from the table as it lies on disk, and scores and figures for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    from tcav.figures import write_figures  # what draws is loaded when all is computed

    scores = read_csv(path, keep_default_na=False, na_values=[""])
    events = folder / "tensorboard"
    for earlier in events.glob("events.out.tfevents.*"):  # of the same stage, interrupted
        earlier.unlink()
    with SummaryWriter(events) as writer:
        number = {layer: step for step, layer in enumerate(scores["layer"].drop_duplicates())}
        for row in scores.itertuples():
            writer.add_scalar(
                f"tcav_{row.run_kind}/{row.concept}/{row.pathology}", row.score, number[row.layer]
            )
        return write_figures(scores, folder, writer=writer)


# ---------------------------------------------------------------- stored CAVs


def apply(args: argparse.Namespace, model: nn.Module, data: Dataset, place: Place) -> None:
    """Stored CAVs on the records of --folds: where each lies along them, and its class's scores."""
    checkpoint = find_checkpoint(args.model_path)
    stored = read_cavs(Path(args.apply), sha256(checkpoint))
    evaluated = data.in_folds(args.folds)
    classes = classes_of(args, model.info, evaluated)
    folder = place.run / "tcav_applied"
    settings = {
        "cavs": sha256(args.apply),
        "folds": args.folds,
        "labels": classes.labels,
        "limit": args.limit,
        "data": content_hash(args.data_path, model.info.sampling_rate),
    }
    with Stage(folder, "tcav_applied", settings, args.overwrite, place.facts, args.bare) as stage:
        if stage.finished_before():
            return
        members = np.zeros((len(evaluated), len(model.info.labels)), dtype=bool)
        members[:, classes.columns] = evaluated.labels[:, classes.columns] > 0
        projections, scores = apply_cavs(
            stored,
            model,
            evaluated.signals,
            members,
            classes.labels,
            classes.columns,
            args.max_memory,
            progress=True,
        )
        names = [
            f"{concept}/{kind}"
            for concept, kind in zip(stored["concepts"], stored["run_kinds"], strict=True)
        ]
        paths = [folder / "projections.csv", folder / "scores.csv"]
        write_csv(paths[0], projections_table(projections, names, evaluated.ecg_id))
        write_csv(paths[1], scores)
        paths.append(write_flag_counts(folder, evaluated.table, classes.records(evaluated)))
        stage.finish([checkpoint, args.apply], paths, {"records": len(evaluated)})
    print(f"{len(names)} CAVs x {len(projections)} layers on {len(evaluated)} records")
    say_results(folder, paths, FIRST_APPLIED)


def projections_table(
    projections: dict[str, np.ndarray], names: list[str], ecg_ids: np.ndarray
) -> pd.DataFrame:
    """One row per record and layer, one column per CAV."""
    parts = [
        pd.DataFrame(values, columns=names).assign(ecg_id=ecg_ids, layer=layer)
        for layer, values in projections.items()
    ]
    return pd.concat(parts)[["ecg_id", "layer", *names]].round(6)
