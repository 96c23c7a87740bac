"""TensorBoard events of a training run: scalars per epoch, figures and hyperparameters
at the end.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from common.labels import is_regression
from networks import distributed, figures
from records.dataset import Dataset


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
        self.writer.add_figure("course", figures.course_figure(history), len(history))
