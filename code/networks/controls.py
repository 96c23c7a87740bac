"""Control networks: what a method says of networks that have learnt nothing of the labels.

Two kinds. `untrained`: weights drawn anew, BatchNorm statistics measured on the training records,
so that activations have the scale of a network in use. `permuted`: trained as long as the network
that is explained (20 epochs at most), on labels dealt out anew among the patients, so that whatever
it has learnt is of the signals alone. A finding that these networks show too is not one of
learning (Adebayo et al., NeurIPS 2018).

Of a network that came from elsewhere (networks/foreign.py) there is the graph and no code to train
it with: its untrained controls have the graph's weights drawn anew by their kind, those on permuted
labels are left out, by name.

Made once per architecture, data set and seed, kept as checkpoints, resumed where some are missing.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from common.beside import few_controls
from common.cli import say_left_out
from common.files import UserError
from common.labels import is_regression
from networks.checkpoints import ModelInfo, load_checkpoint, load_model, save_checkpoint
from networks.distributed import alone, dealt
from networks.models import MODELS, get_model
from networks.program import Program
from networks.redrawing import measure_norms, parts_of, redrawn
from networks.training import Learner, Recipe, TrainingSet, train_one_epoch
from records.dataset import Dataset
from records.stored import feed

MAX_EPOCHS = 20  # of a control on permuted labels: 7 s for a LeNet on 1,112 records
STATISTICS_BATCH = 128


@dataclass(frozen=True)
class Control:
    """One control network: its kind, its seed, where it is kept."""

    kind: str
    seed: int
    path: Path

    def load(self, device: str | torch.device = "cpu") -> nn.Module:
        """The network in evaluation mode, with its ModelInfo as `.info`."""
        return load_model(self.path, device)


# ---------------------------------------------------------------- how one is made


def measure_batch_norm(model: nn.Module, data: TrainingSet, seed: int) -> None:
    """Set the running statistics of all BatchNorm layers to averages over one pass of random crops.

    Nothing else of the network changes; a network without BatchNorm stays as it is.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    batches = data.batches(STATISTICS_BATCH, seed, 0) if norms else ()
    measure_norms(model, norms, (data.gather(*batch)[0] for batch in batches))


def permute_labels(labels: np.ndarray, patients: np.ndarray, seed: int) -> np.ndarray:
    """Labels (N, classes) dealt out anew: each patient gets the rows of another one drawn at
    random, a donor's rows repeated or cut to the number of records of the patient.
    """
    _, codes = np.unique(patients, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))
    records = np.split(order, ends[:-1])
    donors = np.random.default_rng((seed, 1)).permutation(len(records))
    anew = np.empty_like(labels)
    for mine, donor in zip(records, donors, strict=True):
        anew[mine] = labels[np.resize(records[donor], len(mine))]
    return anew


def _untrained(info, training, recipe, device, graph):
    data = TrainingSet.of(training, info.leads, info.crop, device)
    if graph is not None:
        rows, starts = next(iter(data.batches(STATISTICS_BATCH, info.seed, 0)))
        crops = data.gather(rows, starts)[0]
        return redrawn(graph.to(device), list(parts_of(graph)), crops, info.seed)
    model = _fresh(info, device)
    measure_batch_norm(model, data, info.seed)
    return model


def _permuted(info, training, recipe, device, graph):
    labels = permute_labels(training.labels, training.patient_id, info.seed)
    return _trained(info, replace(training, labels=labels), recipe, device)


def _trained(info, training, recipe, device):
    model = _fresh(info, device)
    data = TrainingSet.of(training, info.leads, info.crop, device)
    with alone():  # each process trains networks of its own
        learner = Learner.of(model, info.task, recipe, torch.device(device))
        for epoch in range(recipe.epochs):
            train_one_epoch(learner, data, epoch)
    return model.eval()


STREAM = 0x5EED  # apart from the training's own: no control starts as the explained network did


def own_seed(seed: int) -> int:
    """A seed for a control's weights and order of records, that no training takes by number."""
    return int(np.random.SeedSequence((STREAM, seed)).generate_state(1)[0])


def _fresh(info, device):
    torch.manual_seed(own_seed(info.seed))
    return get_model(info.modelname, len(info.labels), len(info.leads)).to(device)


OF_A_GRAPH = ("untrained",)  # kinds that need no training code
WITHOUT_CODE = (
    "controls of an imported network are untrained ones: its graph cannot be trained here"
)
# kind -> maker(info, training records, recipe, device, graph of a network from elsewhere or None)
CONTROLS = {"untrained": _untrained, "permuted": _permuted}


def make_control(
    kind: str,
    info: ModelInfo,
    training: Dataset,
    seed: int,
    epochs: int = MAX_EPOCHS,
    device: str | torch.device = "cpu",
    graph: Program | None = None,
) -> nn.Module:
    """A control network of one of CONTROLS like the one that `info` describes; `training` are the
    labelled records of its training folds, `graph` a network that is none of MODELS.
    """
    info = replace(info, seed=seed, run_name=f"{kind}_{seed:02d}", thresholds=None, dataset=None)
    with torch.random.fork_rng(devices=[]):
        model = CONTROLS[kind](info, training, _recipe(epochs, seed), device, graph)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.info = info
    return model.eval()


def _recipe(epochs, seed):
    return Recipe(epochs=min(epochs, MAX_EPOCHS), seed=own_seed(seed))


# ---------------------------------------------------------------- many, kept


def control_folder(
    output_path: str | Path,
    info: ModelInfo,
    training: Dataset,
    epochs: int,
    graph: Program | None = None,
) -> Path:
    """<output_path>/controls/<modelname>_<task>_<hash>: the hash is of all that controls depend on
    (network, labels, leads, crop, records, epochs), not of the weights they are compared with.
    """
    facts = asdict(replace(info, seed=0, run_name=None, thresholds=None, dataset=None))
    facts["epochs"], facts["stream"] = min(epochs, MAX_EPOCHS), STREAM
    if graph is not None:
        facts["graph"] = repr(graph.to_plain()[0])
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    columns = (training.ecg_id, training.patient_id, training.labels)
    feed(digest, *columns, signals=training.signals)
    name = f"{info.modelname}_{info.task}_{digest.hexdigest()[:12]}"
    return Path(output_path) / "controls" / name


def graph_of(model: nn.Module) -> Program | None:
    """The graph of a network that came from elsewhere; None of those that get_model() makes."""
    return model if isinstance(model, Program) else None


def check_controls(info: ModelInfo, graph: Program | None = None) -> None:
    """UserError where there can be no control networks for the network that `info` describes."""
    if is_regression(info.task):
        raise UserError(f"control networks need a task of labels; {info.task} is of amplitudes")
    if info.modelname not in MODELS and graph is None:
        raise UserError(
            f"control networks are of {', '.join(MODELS)}: how {info.modelname} was initialised is "
            "not known"
        )


def controls_for(
    args: argparse.Namespace,
    model: nn.Module,
    data: Dataset,
    run: Path,
    device: str | torch.device,
) -> Iterator[Control]:
    """The --control controls of each kind for a stage's network, whose results lie in `run`."""
    epochs = load_checkpoint(args.model_path)[0].get("epoch") or MAX_EPOCHS
    options = {"epochs": epochs, "device": device, "progress": True, "graph": graph_of(model)}
    return controls(run.parent, model.info, data, args.control, **options)


def _place(folder, kind, seed):
    return folder / f"{kind}_{seed:02d}.ckpt"


def controls(
    output_path: str | Path,
    info: ModelInfo,
    data: Dataset,
    n: int,
    epochs: int = MAX_EPOCHS,
    device: str | torch.device = "cpu",
    progress: bool = False,
    graph: Program | None = None,
) -> Iterator[Control]:
    """`n` controls of each kind for the network that `info` describes; those not there are made.
    Several processes share them: each gets its own, and distributed.together() puts in order what
    they were asked.

    data    records of the whole data set: the labelled ones of the network's training folds are
            taken
    epochs  how long the explained network was trained; controls stop at MAX_EPOCHS
    progress  shown; and how many are to be made, and whether they are too few to show anything
    graph   of a network that is none of MODELS: kinds that need training are left out, and said
    Raises UserError for a task without labels to permute, and for a network that cannot be
    initialised anew.
    """
    check_controls(info, graph)
    kinds = CONTROLS if graph is None else OF_A_GRAPH
    say_left_out({kind: WITHOUT_CODE for kind in CONTROLS if kind not in kinds})
    training = training_records(info, data)
    folder = control_folder(output_path, info, training, epochs, graph)
    wanted = list(product(kinds, range(n)))
    if progress:
        _say_how_many(folder, wanted, n)
    for kind, seed in tqdm(dealt(wanted), "controls", disable=not progress, leave=False):
        path = _place(folder, kind, seed)
        if not path.is_file():
            model = make_control(kind, info, training, seed, epochs, device, graph)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(path, model, model.info)
        yield Control(kind, seed, path)


def _say_how_many(folder, wanted, n):
    """On stderr: how many are to be made, and where they are too few to show anything."""
    missing = sum(not _place(folder, *one).is_file() for one in wanted)
    kinds = " and ".join(dict.fromkeys(kind for kind, _ in wanted))
    print(
        f"control networks: {len(wanted)} ({kinds}), {missing} to be made -> {folder}",
        file=sys.stderr,
    )
    if note := few_controls(n):
        print(note, file=sys.stderr)


def training_records(info: ModelInfo, data: Dataset) -> Dataset:
    """The labelled records of a network's training folds; UserError where there are too few."""
    folds = info.folds.get("train") or range(1, 9)
    training = data.rows(data.labelled & np.isin(data.fold, list(folds)))
    if len(training) < 2:
        raise UserError("control networks need at least two labelled records in the training folds")
    return training
