"""A training run from options to results: splits, run folder, resuming, finetuning, test."""

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from common.files import UserError, sha256, write_figure, write_json, write_npz
from common.labels import LEADS, WINDOWS, is_regression
from common.stage import Stage
from networks import distributed, external, figures
from networks.capture import capture
from networks.checkpoints import (
    ModelInfo,
    check_against,
    find_checkpoint,
    load_checkpoint,
    load_model,
    run_folder,
    save_checkpoint,
)
from networks.defaults import DATA_PATH, caption_figures, data_facts, dataset_note, settle
from networks.importing import ORIGINS
from networks.inference import load_dataset_for
from networks.metrics import (
    best_thresholds,
    classification_metrics,
    evaluable,
    regression_metrics,
    sigmoid,
)
from networks.models import Network, get_model, last_layer
from networks.training import Learner, Recipe, TrainingLog, TrainingSet, checkpoint_paths, fit
from records.dataset import TABLE, Dataset, shared_patients
from records.tasks import classes_of

OUTPUT_PATH = "output"
FIRST = {
    "roc.png": "how well each class is told from the others",
    "amplitudes.png": "predicted against measured amplitudes",
    "reliability.png": "whether probabilities mean what they say",
    "metrics.json": "every score with its interval",
    "best_model.ckpt": "the network, for the later stages' --model_path",
}
FOLDS = {"train": [1, 2, 3, 4, 5, 6, 7, 8], "validation": [9], "test": [10]}


@dataclass(frozen=True)
class Outcome:
    """What a run came to: a line of scores, where its files lie, and their paths."""

    words: str
    folder: Path
    written: list[Path]


# ---------------------------------------------------------------- options


def info_of(args: argparse.Namespace) -> ModelInfo:
    """What the options say of the model that is to be trained; UserError where they contradict each
    other.
    """
    folds = {"train": args.train_folds, "validation": args.val_folds, "test": args.test_folds}
    folds = {name: sorted(chosen or FOLDS[name]) for name, chosen in folds.items()}
    chosen = list(chain.from_iterable(folds.values()))
    if len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(1, 11)):
        raise UserError(f"folds are numbers from 1 to 10, each in one split: got {folds}")
    leads = tuple(args.leads or LEADS)
    if len(set(leads)) < len(leads):
        raise UserError(f"--leads names a lead twice: {' '.join(leads)}")
    if args.seed < 0:
        raise UserError(f"--seed is {args.seed}: it is a number from 0 on")
    task = args.task or "subdiagnostic"
    info = ModelInfo(
        modelname=args.modelname or "lenet",
        task=task,
        labels=tuple(classes_of(args.data_path, task)),
        leads=leads,
        sampling_rate=args.sampling_rate or 100,
        crop_seconds=args.crop_seconds or 2.5,
        folds=folds,
        seed=args.seed,
        run_name=args.run_name,
        origin=own_architecture(args.modelname),
    )
    least = getattr(get_model(info.modelname, 1), "min_length", 1)
    if info.crop < least:
        raise UserError(
            f"--crop_seconds {info.crop_seconds:g} is {info.crop} samples: {info.modelname} needs "
            f"at least {least}"
        )
    return info


def own_architecture(modelname: str | None) -> dict | None:
    """What a checkpoint notes of an architecture of one's own; None for our networks."""
    found = ORIGINS.get(modelname or "")
    return found and {**found, "outputs": "logits", "preprocessing": "none"}


def as_stored(model: nn.Module, info: ModelInfo) -> nn.Module:
    """The form that a tested network is stored in: of an architecture of one's own its graph, which
    later stages run without the code that made it.
    """
    if isinstance(model, Network):
        return model
    weight = next(model.parameters())
    return capture(model, weight.new_zeros(1, len(info.leads), info.crop))


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that the options ask for."""
    for option in ("lr", "n_bootstrap"):
        if not getattr(args, option) >= 0:
            raise UserError(f"--{option} is {getattr(args, option)}: it cannot be negative")
    if args.freeze and not args.finetune:
        raise UserError(
            "--freeze trains the last layer of an earlier model: name it with --finetune"
        )
    if args.model_path:
        raise UserError(
            "--model_path goes with --test_only; to start from a model's weights use --finetune"
        )
    return Recipe(**{field.name: getattr(args, field.name) for field in fields(Recipe)})


# ---------------------------------------------------------------- data


def load_splits(
    args: argparse.Namespace, info: ModelInfo, names: Sequence[str] = tuple(FOLDS)
) -> dict[str, Dataset]:
    """Split name -> its records; those without a label of the task are dropped unless they are to
    be kept.
    """
    if args.keep_unlabelled and is_regression(info.task):
        raise UserError(
            f"--keep_unlabelled has no meaning for {info.task}: without amplitudes there is "
            "nothing to learn"
        )
    data = load_dataset_for(info, args.data_path, args.limit)
    if info.crop > data.signals.shape[1]:
        raise UserError(
            f"records of {data.signals.shape[1]} samples are shorter than the crop of {info.crop}"
        )
    usable = data.labelled | args.keep_unlabelled
    # one selection per split: the signals of the whole of PTB-XL are copied once, not twice
    splits = {name: data.rows(usable & np.isin(data.fold, info.folds[name])) for name in names}
    for name, part in splits.items():
        if not len(part):
            raise UserError(
                f"no {name} record: folds {' '.join(map(str, info.folds[name]))} of "
                f"{args.data_path} hold none with "
                f"a label of {info.task}" + (f" among the first {args.limit}" if args.limit else "")
            )
        bad = part.ecg_id[~np.isfinite(part.signals).all(axis=(1, 2))]
        if len(bad):
            raise UserError(
                "signals that are not numbers in the records with ecg_id "
                f"{' '.join(map(str, bad))}: "
                "preprocess again, or leave them out of the table"
            )
    if not args.allow_patient_overlap:
        check_patients(splits)
    return splits


def check_patients(splits: dict[str, Dataset]) -> None:
    """UserError that names the patients with records in more than one split."""
    names = list(splits)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            shared = shared_patients(splits[first], splits[second])
            if shared:
                raise UserError(
                    f"{shared} have records in both {first} and {second}: their scores would be "
                    "too good; --allow_patient_overlap to go on"
                )


def fingerprint(splits: dict[str, Dataset]) -> str:
    """Hash of the records, labels and signals: what makes one data set another."""
    digest = hashlib.sha256()
    for part in splits.values():
        for array in (part.ecg_id, part.labels, part.signals):
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]


def left_out(data: Dataset, split: str) -> str | None:
    """A sentence on the classes that a split cannot score, or None."""
    names = (
        []
        if is_regression(data.task)
        else [data.label_names[c] for c in np.flatnonzero(~evaluable(data.labels))]
    )
    if not names:
        return None
    return (
        f"{split}: no positive (or no negative) among {len(data)} records, left out of its "
        f"mean: {', '.join(names)}"
    )


def describe(splits: dict[str, Dataset], keep_unlabelled: bool) -> None:
    """Say what is trained on and what cannot be scored (main process)."""
    if not distributed.is_main():
        return
    kept = "kept" if keep_unlabelled else "dropped"
    print(
        ", ".join(f"{len(part)} {name}" for name, part in splits.items())
        + f" records (without a label of the task: {kept})"
    )
    for name in ("validation", "test"):
        if sentence := left_out(splits[name], name):
            print(sentence)


# ---------------------------------------------------------------- model


def new_model(info: ModelInfo, finetune: str | None) -> torch.nn.Module:
    """A network initialised from the seed, or with the weights of another checkpoint.

    The last layer's weights are taken over where the labels are the same, and drawn anew where they
    differ.
    """
    torch.manual_seed(info.seed)
    model = get_model(info.modelname, len(info.labels), len(info.leads))
    if finetune:
        before = load_model(finetune)
        for what in ("modelname", "leads", "sampling_rate"):
            there, here = getattr(before.info, what), getattr(info, what)
            if there != here:
                raise UserError(f"--finetune {finetune} is of {what} {there}, this run of {here}")
        weights = before.state_dict()
        if before.info.labels != info.labels:
            name, layer = last_layer(model)
            drawn = {f"{name}.{part}": value for part, value in layer.state_dict().items()}
            weights = {**weights, **drawn}
        model.load_state_dict(weights, strict=True)
    model.info = info
    return model


# ---------------------------------------------------------------- train


def train(args: argparse.Namespace, device: torch.device) -> Outcome | None:
    """Train (or go on, or find that all is done) and test the best epoch; None where all was done,
    and in all processes but the main one.
    """
    info, recipe = info_of(args), recipe_of(args)
    args.data_path = args.data_path or DATA_PATH
    args.output_path = args.output_path or OUTPUT_PATH
    model = new_model(info, args.finetune)
    splits = load_splits(args, info)
    if not is_regression(info.task) and not evaluable(splits["validation"].labels).any():
        raise UserError(
            f"no class of {info.task} has a positive and a negative among the "
            f"{len(splits['validation'])} "
            "validation records: the best epoch cannot be chosen; use more records or other "
            "--val_folds"
        )
    need = max(2, distributed.world())
    if len(splits["train"]) < need or recipe.batch_size < need:
        raise UserError(
            f"batch norm needs at least {need} records in each batch: {len(splits['train'])} "
            "training records, "
            f"--batch_size {recipe.batch_size}"
        )
    data = fingerprint(splits)
    distributed.check_same("data", data)
    folder = run_folder(args.output_path, info)
    note = dataset_note(args.data_path, info.sampling_rate, checkpoint_paths(folder)[0].parent)
    info = model.info = replace(info, dataset=note)
    settings = {
        **{key: value for key, value in info.stored().items() if key != "dataset"},
        **asdict(recipe),
        "finetune": args.finetune and sha256(find_checkpoint(args.finetune)),
        "limit": args.limit,
        "keep_unlabelled": args.keep_unlabelled,
        "n_bootstrap": args.n_bootstrap,
        "data": data,
    }
    facts = {"data_set": {"used": {**note, "folder": str(args.data_path)}}}
    with contextlib.ExitStack() as stack:
        stage = distributed.on_main(
            lambda: stack.enter_context(Stage(folder, "train", settings, args.overwrite, facts))
        )
        if distributed.from_main(lambda: stage.finished_before()):
            return None
        describe(splits, args.keep_unlabelled)
        run_id = hashlib.sha256(json.dumps(settings, default=str).encode()).hexdigest()[:16]
        stored = distributed.from_main(lambda: take_up(folder, stage.resumed, run_id))
        restore_threads(stored, args.threads)
        if stored:
            model.load_state_dict(stored["model"])
        learner = Learner.of(model.to(device), info.task, recipe, device)
        training_set = TrainingSet.of(splits["train"], info.leads, info.crop, device)
        with TrainingLog(folder, len(stored["history"]) if stored else 0) as log:
            history = fit(
                learner, training_set, splits["validation"], info, folder, run_id, stored, log.epoch
            )
            info = keep_best(model, info, splits["validation"], folder)
            metrics, written = write_test(folder, model, info, splits["test"], args, overwrite=True)
            if not distributed.is_main():
                return None
            about = (
                f"{len(splits['train'])} training, {len(splits['validation'])} validation records"
            )
            written += write_figure(figures.course_figure(history), folder / "course", about=about)
            log.results(settings, metrics["windows"], history, splits["test"])
        stage.finish(
            inputs=[Path(args.data_path) / TABLE],
            outputs=[*checkpoint_paths(folder), *written],
            counts={name: len(part) for name, part in splits.items()},
        )
    best = max(history, key=lambda row: row["score"])["epoch"]
    words = (
        f"{summary_line(metrics, info.task)} on {len(splits['test'])} test records, epoch {best}"
    )
    return Outcome(words, folder, [checkpoint_paths(folder)[0], *written])


# what a run writes, and a run that starts anew removes: nothing of an older run may pass for the
# new one's
RUN_FILES = (
    "checkpoints/*.ckpt",
    "metrics.json",
    "predictions.npz",
    "log.jsonl",
    "tensorboard/*",
    "test.json",
    "roc.png",
    "reliability.png",
    "amplitudes.png",
    "course.png",
)
OWN_FOLDERS = ("checkpoints", "tensorboard")


def take_up(folder: Path, resumed: bool, run_id: str) -> dict | None:
    """Content of the last checkpoint if this run wrote it; else remove what an older run left, and
    None.
    """
    last = checkpoint_paths(folder)[1]
    if resumed and last.is_file():
        stored, _ = load_checkpoint(last)
        if stored.get("run_id") == run_id:
            print(
                f"going on after epoch {len(stored['history'])} of the interrupted run in {folder}"
            )
            return stored
    for pattern in RUN_FILES:
        for path in list(folder.glob(pattern)):
            path.unlink()
    if explained := sorted(
        path.name for path in folder.iterdir() if path.is_dir() and path.name not in OWN_FOLDERS
    ):
        print(
            f"warning: {', '.join(explained)} in {folder} explain an older model: run these stages "
            "again",
            file=sys.stderr,
        )
    return None


def restore_threads(stored: dict | None, asked: int | None) -> None:
    """Go on with the interrupted run's number of threads, on which the last bits of the weights
    depend.
    """
    if not stored or stored["threads"] == torch.get_num_threads():
        return
    if asked is None:
        torch.set_num_threads(stored["threads"])
    elif distributed.is_main():
        print(
            f"warning: the run began with {stored['threads']} threads: with {asked} its weights "
            "will not be "
            "bit-identical to those of an uninterrupted run",
            file=sys.stderr,
        )


def keep_best(
    model: torch.nn.Module, info: ModelInfo, validation: Dataset, folder: Path
) -> ModelInfo:
    """Put the best epoch's weights into `model`, choose the thresholds and store them in the best
    checkpoint.
    """
    best = checkpoint_paths(folder)[0]
    content = distributed.from_main(lambda: load_checkpoint(best)[0])
    model.load_state_dict(content["model"])
    info = replace(info, thresholds=thresholds_of(model, validation))
    model.info = info
    if distributed.is_main():
        facts = {name: value for name, value in content.items() if name not in ("model", "info")}
        save_checkpoint(best, as_stored(model, info), info, **facts)
    return info


# ---------------------------------------------------------------- test


def write_test(
    folder: Path,
    model: torch.nn.Module,
    info: ModelInfo,
    test: Dataset,
    args: argparse.Namespace,
    overwrite: bool,
    facts: dict | None = None,
) -> tuple[dict, list[Path]]:
    """Test a model and write what came of it into `folder`; metrics (by protocol) and paths, empty
    if that was done.
    """
    checkpoint = args.model_path or checkpoint_paths(folder)[0]
    settings = {
        "checkpoint": distributed.from_main(lambda: sha256(find_checkpoint(checkpoint))),
        "data": fingerprint({"test": test}),
        "n_bootstrap": args.n_bootstrap,
        "keep_unlabelled": args.keep_unlabelled,
        "test_folds": info.folds["test"],
    }
    with contextlib.ExitStack() as stack:
        stage = distributed.on_main(
            lambda: stack.enter_context(Stage(folder, "test", settings, overwrite, facts))
        )
        if distributed.from_main(lambda: stage.finished_before()):
            return {}, []
        metrics, logits = score_by_window(model, test, args.n_bootstrap, info.seed)
        if not distributed.is_main():
            return {}, []
        note = data_facts(args.data_path, info, find_checkpoint(checkpoint)).get("note", "")
        caption_figures(args, info, note)
        more = {"external": facts["external"]} if facts and "external" in facts else {}
        written = write_scores(folder, metrics, logits, test, info, **more)
        stage.finish(
            inputs=[Path(args.data_path) / TABLE], outputs=written, counts={"test": len(test)}
        )
    return metrics, written


def test(args: argparse.Namespace, device: torch.device) -> Outcome | None:
    """Test a checkpoint on the test folds without training; None where that was done, and in all
    processes but the main one.
    """
    path = args.model_path or run_folder(args.output_path or OUTPUT_PATH, info_of(args))
    model = load_model(path, device)
    check_against(args, model.info)
    for option, stored in (("leads", model.info.leads), ("crop_seconds", model.info.crop_seconds)):
        wanted = getattr(args, option)
        if wanted and (tuple(wanted) if option == "leads" else wanted) != stored:
            raise UserError(
                f"--{option} contradicts the checkpoint, which is of {option} {stored}: leave the "
                "option out"
            )
    place = settle(args, model.info, path)
    other = external.is_external(place.facts)
    folds = args.test_folds or (range(1, 11) if other else model.info.folds["test"])
    info = replace(model.info, folds={**model.info.folds, "test": sorted(folds)})
    part = load_splits(args, info, names=("test",))["test"]
    folder, facts = place.run, place.facts
    if other:  # all of it was unseen, and what came of the model's own test stays
        folder = external.results_folder(place.run, args.data_path)
        described = external.describe(facts, info, part, args.data_path)
        facts = {**facts, "external": described}
        if distributed.is_main():
            print(external.in_words(described))
    args.model_path = path
    metrics, written = write_test(folder, model, info, part, args, args.overwrite, facts)
    if not written:
        return None
    words = f"{summary_line(metrics, info.task)} on {len(part)} test records"
    return Outcome(words, folder, written)


# ---------------------------------------------------------------- scores


def thresholds_of(model: nn.Module, validation: Dataset) -> tuple[float, ...] | None:
    """Per class the probability of best F1 on the validation records (windows protocol); None for
    amplitudes.
    """
    if is_regression(validation.task):
        return None
    logits = distributed.shared_predict(model, validation.signals, "windows")
    return tuple(float(value) for value in best_thresholds(sigmoid(logits), validation.labels))


def score_by_window(
    model: nn.Module, test: Dataset, n_resamples: int = 1000, seed: int = 0
) -> tuple[dict, dict[str, np.ndarray]]:
    """Metrics by protocol, and the logits (N, classes) by protocol, of the test records."""
    measure: Callable = regression_metrics if is_regression(test.task) else classification_metrics
    logits = {
        protocol: distributed.shared_predict(model, test.signals, protocol) for protocol in WINDOWS
    }
    metrics = (
        {
            protocol: measure(
                values, test.labels, model.info.labels, test.patient_id, n_resamples, seed
            )
            for protocol, values in logits.items()
        }
        if distributed.is_main()
        else {}
    )
    return metrics, logits


def write_scores(
    folder: Path,
    metrics: dict,
    logits: dict[str, np.ndarray],
    test: Dataset,
    info: ModelInfo,
    **facts: object,
) -> list[Path]:
    """metrics.json (per protocol, plus `facts`), predictions.npz (windows protocol first) and
    figures; the paths.
    """
    write_json(
        folder / "metrics.json",
        {"modelname": info.modelname, "task": info.task, "folds": info.folds, **facts, **metrics},
    )
    write_npz(
        folder / "predictions.npz",
        ecg_id=test.ecg_id,
        logits=logits["windows"],
        logits_centre_crop=logits["centre_crop"],
        labels=test.labels,
        classes=np.array(info.labels),
    )
    written = [folder / "metrics.json", folder / "predictions.npz"]
    for name, figure in result_figures(metrics["windows"], logits["windows"], test, info).items():
        about = f"{len(test)} test records"
        written += write_figure(figure, folder / name, dpi=300, about=about)
    return written


def result_figures(
    metrics: dict, logits: np.ndarray, test: Dataset, info: ModelInfo
) -> dict[str, Figure]:
    """name -> figure of the test records under one protocol."""
    if is_regression(info.task):
        return {"amplitudes": figures.amplitude_figure(logits, test.labels, info.labels, metrics)}
    return {
        "roc": figures.roc_figure(logits, test.labels, info.labels, metrics),
        "reliability": figures.reliability_figure(sigmoid(logits), test.labels, metrics),
    }


def summary_line(metrics: dict, task: str) -> str:
    """One line for people: the headline of each protocol."""
    name, unit = ("r2", "R2") if is_regression(task) else ("macro_auc", "macro AUC")
    return ", ".join(
        f"{protocol.replace('_', ' ')} {unit} {values[name]['value']:.3f} "
        f"[{values[name]['low']:.3f}, {values[name]['high']:.3f}]"
        for protocol, values in metrics.items()
    )
