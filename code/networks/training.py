"""The training loop: crops drawn in one gather, one optimiser step per batch, checkpoints that
resume exactly.

Whatever is random is a function of (seed, epoch, the record's position), never of how the run came
to this epoch: a run that was killed and goes on, or is dealt out to several processes, draws the
same crops in the same order.
"""

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.files import UserError, write_text
from common.labels import LEADS, is_regression
from common.stage import versions
from networks import distributed
from networks.channels_last import channels_last
from networks.checkpoints import ModelInfo, save_checkpoint
from networks.metrics import macro_auc
from networks.models import Network, last_layer
from records.dataset import Dataset
from records.stored import StoredSignals


def _one_cycle(progress: float) -> float:
    """Cosine from 1/25 up to 1 over the first 30 %, then down to 1/250,000 (Smith & Topin, arXiv
    1708.07120).
    """
    start, rise, end = 1 / 25, 0.3, 1 / 250_000
    if progress < rise:
        return 1 + (start - 1) * (1 + math.cos(math.pi * progress / rise)) / 2
    return end + (1 - end) * (1 + math.cos(math.pi * (progress - rise) / (1 - rise))) / 2


# name -> factor of the learning rate at a progress from 0 to 1 through the run
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "one_cycle": _one_cycle,
}


@dataclass(frozen=True)
class Recipe:
    """How to train; the paper's settings by default."""

    epochs: int = 100
    batch_size: int = 128  # records per step, over all processes together
    lr: float = 1e-3
    weight_decay: float = 1e-3
    schedule: str = "constant"
    patience: int | None = None  # epochs without a better validation score before stopping
    amp: str | None = None  # "bf16", "fp16" or full precision
    freeze: bool = False  # train the last layer alone
    seed: int = 0


# ---------------------------------------------------------------- data


@dataclass
class TrainingSet:
    """Whole records, cropped on the way out.

    signals  # (N, T, leads) mV, on the training device; those of a large cohort stay on disk, all
             leads, of which `columns` are taken; targets # (N, classes); ecg_id (N,); crop in
             samples
    """

    signals: Tensor | StoredSignals
    targets: Tensor
    ecg_id: np.ndarray
    crop: int
    columns: Sequence[int] | None = None

    @classmethod
    def of(
        cls, data: Dataset, leads: Sequence[str], crop: int, device: str | torch.device = "cpu"
    ) -> "TrainingSet":
        """From the records of a Dataset, with the leads in the model's order."""
        columns = [LEADS.index(lead) for lead in leads]
        if isinstance(data.signals, StoredSignals):
            targets = torch.from_numpy(data.labels.astype(np.float32)).to(device)
            return cls(data.signals, targets, data.ecg_id, crop, columns)
        whole = columns == list(range(len(LEADS)))
        signals = data.signals if whole else data.signals[:, :, columns]
        signals = torch.from_numpy(np.ascontiguousarray(signals, dtype=np.float32)).to(device)
        targets = torch.from_numpy(data.labels.astype(np.float32)).to(device)
        return cls(signals, targets, data.ecg_id, crop)

    def __len__(self):
        return len(self.signals)

    def batches(
        self, batch_size: int, seed: int, epoch: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows and crop starts of each batch of an epoch; every offset is equally likely, the last
        one too.

        Batches differ in size by one record at most: there is no small last batch whose statistics
        are all noise.
        """
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(self))
        starts = rng.integers(self.signals.shape[1] - self.crop + 1, size=len(self))
        return [
            (rows, starts[rows])
            for rows in np.array_split(order, math.ceil(len(self) / batch_size))
        ]

    def gather(self, rows: np.ndarray, starts: np.ndarray) -> tuple[Tensor, Tensor]:
        """Crops (B, leads, crop) and targets (B, classes), in one indexing operation each."""
        device = self.targets.device
        row, start = (torch.from_numpy(index).to(device) for index in (rows, starts))
        if isinstance(self.signals, StoredSignals):
            read = torch.from_numpy(self.signals[rows][:, :, self.columns]).to(device)
            windows = read.unfold(1, self.crop, 1)
            return windows[torch.arange(len(rows), device=device), start], self.targets[row]
        windows = self.signals.unfold(1, self.crop, 1)  # (N, offsets, leads, crop), a view
        return windows[row, start], self.targets[row]


def summed_loss(task: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Loss of a task, summed over records and outputs: cross entropy per label, squared error for
    amplitudes.
    """
    loss = nn.MSELoss if is_regression(task) else nn.BCEWithLogitsLoss
    return loss(reduction="sum")


# ---------------------------------------------------------------- one step, one epoch

AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Learner:
    """A network in training with what updates it."""

    model: nn.Module  # the network itself: weights, checkpoints, evaluation
    # what is called in training: the network as the device likes it, of the same tensors
    module: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # passes everything through unless amp is fp16
    loss: Callable[[Tensor, Tensor], Tensor]
    recipe: Recipe

    @classmethod
    def of(cls, model: nn.Module, task: str, recipe: Recipe, device: torch.device) -> "Learner":
        """AdamW over the parameters that the recipe trains."""
        last = set(last_layer(model)[1].parameters()) if recipe.freeze else set()
        for parameter in model.parameters():
            parameter.requires_grad_(not recipe.freeze or parameter in last)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=recipe.weight_decay)
        scaler = torch.amp.GradScaler(device.type, enabled=recipe.amp == "fp16")
        # an architecture of one's own may hold layers that have no such form
        ours = isinstance(model, Network)
        fast = channels_last(model) if ours and device.type == "cpu" else model
        return cls(
            model, distributed.wrap(fast, device), optimizer, scaler, summed_loss(task), recipe
        )

    def train_mode(self) -> None:
        """Training mode; a frozen backbone keeps its batch statistics and drops nothing."""
        self.module.train()
        if self.recipe.freeze:
            network = distributed.unwrap(self.module)
            network.eval()
            last_layer(network)[1].train()

    def set_progress(self, progress: float) -> float:
        """Set the learning rate for a progress from 0 to 1 through the run; returns it."""
        rate = self.recipe.lr * SCHEDULES[self.recipe.schedule](progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def step(self, x: Tensor, y: Tensor, n_global: int) -> float:
        """One optimiser step on this process's share of a batch of `n_global` records; returns the
        whole batch's loss.

        The update is left out where that loss is not finite.
        """
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(
            x.device.type, AMP_TYPES.get(self.recipe.amp), enabled=self.recipe.amp is not None
        ):
            outputs = self.module(x)
        loss = self.loss(outputs.to(y.dtype), y) / (n_global * y.shape[1])
        # the wrapper averages gradients over the processes; the batch's gradient is their sum
        self.scaler.scale(loss * distributed.world()).backward()
        whole = distributed.total(loss).item()
        if math.isfinite(whole):
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return whole


def train_one_epoch(
    learner: Learner, data: TrainingSet, epoch: int, progress: bool = False
) -> dict:
    """One pass over the training records; `epoch` counts from 0.

    Returns train_loss and lr. Raises UserError with the batch's ecg_ids where the loss is not
    finite.
    """
    recipe, rank, world = learner.recipe, distributed.rank(), distributed.world()
    learner.train_mode()
    torch.manual_seed(
        np.random.SeedSequence((recipe.seed, epoch, rank)).generate_state(1)[0].item()
    )  # dropout
    batches = data.batches(recipe.batch_size, recipe.seed, epoch)
    total, rate = 0.0, recipe.lr
    for number, (rows, starts) in enumerate(
        tqdm(batches, f"epoch {epoch + 1}", leave=False, disable=not progress)
    ):
        rate = learner.set_progress((epoch + number / len(batches)) / recipe.epochs)
        loss = learner.step(*data.gather(rows[rank::world], starts[rank::world]), len(rows))
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} in epoch {epoch + 1}, batch {number + 1} of {len(batches)}, "
                f"with ecg_id {' '.join(map(str, data.ecg_id[rows]))}: the checkpoints of the last "
                "whole epoch are kept; look at these records, or lower --lr"
            )
        total += loss * len(rows)
    return {"train_loss": total / len(data), "lr": rate}


def validate(model: nn.Module, data: Dataset) -> dict:
    """Validation loss on centre crops, and for labels the macro AUC; `score` is what the best epoch
    is chosen by.
    """
    logits = distributed.shared_predict(model, data.signals, "centre_crop")
    loss = summed_loss(data.task)(
        torch.from_numpy(logits), torch.from_numpy(data.labels.astype(np.float32))
    )
    row = {"val_loss": loss.item() / data.labels.size}
    if is_regression(data.task):
        return {**row, "score": -row["val_loss"]}
    area = macro_auc(logits, data.labels)
    return {**row, "val_macro_auc": area, "score": area}


# ---------------------------------------------------------------- the run


def best_epoch(history: list[dict]) -> int:
    """Position of the row with the best validation score; the first of equals."""
    return int(np.argmax([row["score"] for row in history]))


def checkpoint_paths(folder: Path) -> tuple[Path, Path]:
    """Best and last checkpoint of a run folder."""
    home = folder / "checkpoints"
    return home / "best_model.ckpt", home / "model_lastepoch.ckpt"


def fit(
    learner: Learner,
    data: TrainingSet,
    validation: Dataset,
    info: ModelInfo,
    folder: Path,
    run_id: str = "",
    stored: dict | None = None,
    on_epoch: Callable[[dict], None] = lambda row: None,
) -> list[dict]:
    """Train to the recipe's end and return a row per epoch; go on from `stored`, the content of
    model_lastepoch.ckpt.

    After each epoch the best and the last checkpoint and log.jsonl are written, in this order:
    whenever the process is killed, the last checkpoint describes a whole epoch, and what comes
    after it is done again in the same way.
    """
    history, recipe, made_with = [], learner.recipe, versions()
    if stored:
        learner.optimizer.load_state_dict(stored["optimizer"])
        learner.scaler.load_state_dict(stored["scaler"])
        history = _timed(stored["history"], folder)
    epochs = tqdm(
        range(len(history), recipe.epochs),
        "train",
        initial=len(history),
        total=recipe.epochs,
        disable=not distributed.is_main(),
    )
    for epoch in epochs:
        if recipe.patience and history:
            since_best = len(history) - 1 - best_epoch(history)
            if since_best >= recipe.patience:
                break
        started = time.perf_counter()
        trained = train_one_epoch(learner, data, epoch, progress=len(data) > 10_000)
        row = {"epoch": epoch + 1, **trained, **validate(learner.model, validation)}
        if not math.isfinite(row["val_loss"]):
            raise UserError(
                f"the validation loss is {row['val_loss']} after epoch {epoch + 1}: lower --lr"
            )
        row["seconds"] = round(time.perf_counter() - started, 3)
        history.append(row)
        if distributed.is_main():
            _save(learner, info, folder, history, run_id=run_id, versions=made_with)
            on_epoch(row)
        epochs.set_postfix(
            loss=f"{row['train_loss']:.4f}",
            score=f"{row['score']:.4f}",
            best=best_epoch(history) + 1,
        )
    return history


def _timed(history, folder):
    """Rows of a checkpoint with the seconds that log.jsonl has for them (of the last epoch it may
    have none).
    """
    log = folder / "log.jsonl"
    logged = map(json.loads, log.read_text(encoding="utf-8").splitlines()) if log.is_file() else ()
    seconds = {row["epoch"]: row["seconds"] for row in logged if "seconds" in row}
    return [
        {**row, "seconds": seconds[row["epoch"]]} if row["epoch"] in seconds else dict(row)
        for row in history
    ]


def _save(learner, info, folder, history, **facts):
    best, last = checkpoint_paths(folder)
    facts = {**facts, "epoch": len(history), "threads": torch.get_num_threads()}
    # how long an epoch took belongs to the log: the same run gives the same bytes of checkpoint
    rows = [dict(row) for row in history]
    for row in rows:
        row.pop("seconds", None)
    if best_epoch(history) == len(history) - 1:
        save_checkpoint(best, learner.model, info, **facts, score=history[-1]["score"])
    save_checkpoint(
        last,
        learner.model,
        info,
        **facts,
        history=rows,
        optimizer=learner.optimizer.state_dict(),
        scaler=learner.scaler.state_dict(),
    )
    write_text(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in history))


# ---------------------------------------------------------------- TensorBoard


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block is left.

    One that strikes inside TensorBoard's queue leaves its lock in a state in which closing the
    writer never ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    struck = []
    before = signal.signal(signal.SIGINT, lambda *_: struck.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if struck:
        raise KeyboardInterrupt


class TrainingLog:
    """Writes <folder>/tensorboard in the main process, and nothing in the others."""

    @interrupts_held_back()
    def __init__(self, folder: Path, epochs_done: int = 0):
        self.writer = None
        if distributed.is_main():
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            # what an interrupted run logged beyond its last checkpoint is done again: hide it
            self.writer = SummaryWriter(
                str(folder / "tensorboard"), purge_step=epochs_done + 1 if epochs_done else None
            )

    def __enter__(self):
        return self

    @interrupts_held_back()
    def __exit__(self, *_):
        if self.writer:
            self.writer.close()

    @interrupts_held_back()
    def epoch(self, row: dict) -> None:
        """Scalars of one epoch."""
        for name, value in row.items():
            if name not in ("epoch", "score"):
                self.writer.add_scalar(name, value, row["epoch"])
        self.writer.flush()

    @interrupts_held_back()
    def results(self, settings: dict, metrics: dict, history: list[dict], test: Dataset) -> None:
        """Hyperparameters with the test's headline, and the course of training as a figure."""
        headline = (
            ("r2", "mae")
            if is_regression(test.task)
            else ("macro_auc", "micro_auc", "fmax", "brier")
        )
        plain = {
            name: value if isinstance(value, int | float | str | bool) else str(value)
            for name, value in settings.items()
        }
        self.writer.add_hparams(
            plain, {f"test/{name}": metrics[name]["value"] for name in headline}, run_name="."
        )
        from networks.figures import course_figure  # what draws is loaded when all is computed

        self.writer.add_figure("course", course_figure(history), len(history))
