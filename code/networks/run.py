"""A training run from options to results: splits, run folder, resuming, finetuning, test."""

import argparse
import contextlib
import hashlib
import json
import math
import sys
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from common.files import UserError, sha256
from common.labels import is_regression
from common.stage import Stage
from networks import distributed
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
from networks.defaults import DATA_PATH, dataset_note, settle
from networks.importing import ORIGINS
from networks.metrics import evaluable
from networks.models import MODELS, get_model, last_layer, sharing_copy
from networks.splits import FOLDS, describe, fingerprint, load_splits
from networks.testing import counts_of, summary_line, thresholds_of, write_test
from networks.training import (
    Learner,
    Recipe,
    TrainingLog,
    TrainingSet,
    best_epoch,
    checkpoint_paths,
    fit,
)
from records.dataset import TABLE, Dataset, leads_of
from records.tasks import classes_of

OUTPUT_PATH = "output"
FIRST = {
    "roc.png": "how well each class is told from the others",
    "amplitudes.png": "predicted against measured amplitudes",
    "reliability.png": "whether probabilities mean what they say",
    "metrics.json": "every score with its interval",
    "best_model.ckpt": "the network, for the later stages' --model_path",
}


@dataclass(frozen=True)
class Outcome:
    """What a run came to: a line of scores, where its files lie, and their paths."""

    words: str
    folder: Path
    written: list[Path]


# ---------------------------------------------------------------- options


def labels_of(args: argparse.Namespace) -> tuple[str, ...]:
    """What the network is to be trained on: the classes of --task in --data_path; UserError where
    the data set has no such task.
    """
    return tuple(classes_of(args.data_path or DATA_PATH, args.task or "subdiagnostic"))


def info_of(args: argparse.Namespace) -> ModelInfo:
    """What the options say of the model that is to be trained; UserError where they contradict each
    other.
    """
    folds = {"train": args.train_folds, "validation": args.val_folds, "test": args.test_folds}
    folds = {name: sorted(chosen or FOLDS[name]) for name, chosen in folds.items()}
    chosen = list(chain.from_iterable(folds.values()))
    if len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(1, 11)):
        shown = "; ".join(f"{name} {' '.join(map(str, some))}" for name, some in folds.items())
        raise UserError(f"folds are numbers from 1 to 10, each in one split: got {shown}")
    leads = tuple(args.leads or leads_of(args.data_path or DATA_PATH, args.sampling_rate or 100))
    if len(set(leads)) < len(leads):
        raise UserError(f"--leads names a lead twice: {' '.join(leads)}")
    task = args.task or "subdiagnostic"
    info = ModelInfo(
        modelname=args.modelname or "lenet",
        task=task,
        labels=labels_of(args),
        leads=leads,
        sampling_rate=args.sampling_rate or 100,
        crop_seconds=args.crop_seconds or 2.5,
        folds=folds,
        seed=args.seed,
        run_name=args.run_name,
        origin=own_architecture(args.modelname),
    )
    least = getattr(get_model(info.modelname, len(info.labels), len(info.leads)), "min_length", 1)
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
    if info.origin is None:  # one of MODELS: made anew by its name
        return model
    weight = next(model.parameters())
    return capture(model, weight.new_zeros(1, len(info.leads), info.crop))


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that the options ask for."""
    for option in ("lr", "n_bootstrap"):
        if not getattr(args, option) >= 0:
            raise UserError(f"--{option} is {getattr(args, option)}: it cannot be negative")
    return Recipe(**{field.name: getattr(args, field.name) for field in fields(Recipe)})


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


def check_architecture(model: nn.Module, info: ModelInfo) -> None:
    """UserError where an architecture of one's own fails on crops as it will be trained on, does
    not give one number per class of them, or could not be stored after training.
    """
    if info.origin is None:
        return
    file = info.origin["file"]
    crops = torch.zeros(2, len(info.leads), info.crop)
    length = f"{info.crop_seconds:g} s ({info.crop} samples) of {len(info.leads)} leads"
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            output = model.eval()(crops)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"the network of {file} fails on crops of {length}: {reason}; --crop_seconds takes the "
            "length that it is made for"
        ) from None
    finally:
        model.train()
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (2, len(info.labels)):
        raise UserError(
            f"the network of {file} gives {shape} for 2 crops: expected one number for each of the "
            f"{len(info.labels)} classes of {info.task}, (2, {len(info.labels)}); a maker with an "
            "argument num_classes is told how many"
        )
    with torch.random.fork_rng(devices=[]):
        as_stored(sharing_copy(model), info)


def check_trainable(splits: dict[str, Dataset], info: ModelInfo, recipe: Recipe) -> None:
    """UserError where the best epoch could not be chosen, or a batch would be too small."""
    if not is_regression(info.task) and not evaluable(splits["validation"].labels).any():
        raise UserError(
            f"no class of {info.task} has a positive and a negative among the "
            f"{len(splits['validation'])} validation records: the best epoch cannot be chosen; use "
            "more records or other --val_folds"
        )
    need = max(2, distributed.world())
    n_records = len(splits["train"])
    if n_records < need or recipe.batch_size < need:
        raise UserError(
            f"batch norm needs at least {need} records in each batch: {n_records} "
            f"training records, --batch_size {recipe.batch_size}"
        )
    smallest = n_records // math.ceil(n_records / recipe.batch_size)  # TrainingSet.batches
    need = max(getattr(MODELS[info.modelname], "min_batch", 1), distributed.world())
    if smallest < need:
        raise UserError(
            f"{info.modelname} needs at least {need} records in each batch: {n_records} training "
            f"records in batches of {recipe.batch_size} leave some of {smallest}; choose another "
            "--batch_size"
        )


def settings_of(args: argparse.Namespace, info: ModelInfo, recipe: Recipe, data: str) -> dict:
    """What the weights depend on; `data` is the records' fingerprint."""
    return {
        **{key: value for key, value in info.stored().items() if key != "dataset"},
        **asdict(recipe),
        "finetune": args.finetune and sha256(find_checkpoint(args.finetune)),
        "limit": args.limit,
        "keep_unlabelled": args.keep_unlabelled,
        "n_bootstrap": args.n_bootstrap,
        "data": data,
    }


def train(args: argparse.Namespace, device: torch.device) -> Outcome | None:
    """Train (or go on, or find that all is done) and test the best epoch; None where all was done,
    and in all processes but the main one.
    """
    args.data_path = args.data_path or DATA_PATH
    args.output_path = args.output_path or OUTPUT_PATH
    info, recipe = info_of(args), recipe_of(args)
    model = new_model(info, args.finetune)
    check_architecture(model, info)
    splits = load_splits(args, info)
    check_trainable(splits, info, recipe)
    data = fingerprint(splits)
    distributed.check_same("data", data)
    folder = run_folder(args.output_path, info)
    note = dataset_note(args.data_path, info.sampling_rate, checkpoint_paths(folder)[0].parent)
    info = model.info = replace(info, dataset=note)
    settings = settings_of(args, info, recipe, data)
    facts = {
        "data_set": {"used": {**note, "folder": str(args.data_path)}},
        "threads": torch.get_num_threads(),
    }
    with contextlib.ExitStack() as stack:
        stage = distributed.on_main(
            lambda: stack.enter_context(Stage(folder, "train", settings, args.overwrite, facts))
        )
        if distributed.from_main(lambda: stage.finished_before()):
            return None
        describe(splits, args.keep_unlabelled)
        run_id = hashlib.sha256(json.dumps(settings, default=str).encode()).hexdigest()[:16]
        stored = distributed.from_main(lambda: take_up(stage, run_id))
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
            written += _write_course(folder, history, splits)
            log.results(settings, metrics["windows"], history, splits["test"])
        stage.finish(
            inputs=[Path(args.data_path) / TABLE],
            outputs=[*checkpoint_paths(folder), *written],
            counts=counts_of(splits, info),
        )
    tested = f"{len(splits['test'])} test records, epoch {best_epoch(history) + 1}"
    words = f"{summary_line(metrics, info.task)} on {tested}"
    return Outcome(words, folder, [checkpoint_paths(folder)[0], *written])


# what a run writes, and a run that starts anew removes: nothing of an older run may pass for the
# new one's
RUN_FILES = (
    "checkpoints/best_model.ckpt",
    "checkpoints/model_lastepoch.ckpt",
    "metrics.json",
    "predictions.npz",
    "log.jsonl",
    "test.json",
    "roc.png",
    "reliability.png",
    "amplitudes.png",
    "course.png",
)
OWN_FOLDERS = ("checkpoints", "tensorboard")


def take_up(stage: Stage, run_id: str) -> dict | None:
    """Content of the last checkpoint if this run wrote it; else remove what an older run left, and
    None. UserError where there is something that no run of this stage wrote.
    """
    folder = stage.folder
    last = checkpoint_paths(folder)[1]
    if stage.resumed and last.is_file():
        stored, _ = load_checkpoint(last)
        if stored.get("run_id") == run_id:
            print(
                f"going on after epoch {len(stored['history'])} of the interrupted run in {folder}"
            )
            return stored
    stage.clear(*RUN_FILES, "checkpoints/*.ckpt", "tensorboard/*", own=RUN_FILES)
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
            "will not be bit-identical to those of an uninterrupted run",
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
    from networks import external

    other = external.is_external(place.facts)
    folds = args.test_folds or (range(1, 11) if other else model.info.folds["test"])
    if not other:
        _say_seen(model.info, folds)
    info = replace(model.info, folds={**model.info.folds, "test": sorted(folds)})
    part = load_splits(args, info, names=("test",))["test"]
    folder, facts = place.run, place.facts
    if other:  # all of it was unseen, and what came of the model's own test stays
        folder = external.results_folder(place.run, args.data_path)
        described = external.describe(facts, info, part, args)
        facts = {**facts, "external": described}
        if distributed.is_main():
            print(external.in_words(described))
    args.model_path = path
    metrics, written = write_test(folder, model, info, part, args, args.overwrite, facts)
    if not written:
        return None
    words = f"{summary_line(metrics, info.task)} on {len(part)} test records"
    return Outcome(words, folder, written)


def _say_seen(info, folds):
    """Say which of the folds to test the network was trained or chosen on."""
    known = {fold for name in ("train", "validation") for fold in info.folds.get(name, ())}
    if (seen := sorted(known.intersection(folds))) and distributed.is_main():
        print(
            f"warning: the network was trained or chosen on fold {' '.join(map(str, seen))}: "
            "scores on what it has seen are too good",
            file=sys.stderr,
        )


def _write_course(folder, history, splits):
    """Draw how training went; the paths."""
    # what draws is loaded when all is computed
    from common.figure_files import write_figure
    from networks.figures import course_figure

    about = f"{len(splits['train'])} training, {len(splits['validation'])} validation records"
    return write_figure(course_figure(history), folder / "course", about=about)
