"""Logits of whole records, of the centre crop or as the mean over windows at half stride; which
samples of a record a network reads.
"""

import copy
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from common.files import UserError
from common.labels import LEADS, WINDOWS
from networks.checkpoints import ModelInfo
from records.dataset import Dataset, Signals, load_dataset, window_starts

BATCH = 256  # records predicted at once
CALLS, LONG_CALL = 3, 0.25  # s
MOST_PROBES, PROBES_AT_ONCE = 512, 64  # records to find what a network reads


def starts_of(n_samples: int, crop: int, window: str) -> np.ndarray:
    """Starts of the pieces of a record that `window` (one of WINDOWS) looks at.

    UserError for another window, and for a record shorter than the crop.
    """
    if window not in WINDOWS:
        raise UserError(f"unknown window {window!r}: accepted are {', '.join(WINDOWS)}")
    starts = window_starts(n_samples, crop)
    return starts if window == "windows" else np.array([(n_samples - crop) // 2])


def quickest(call: Callable[[], object]) -> float:
    """Seconds of the quickest of three calls, of a long one of the first: any may be held up by
    other processes, and the first takes longer.
    """
    seconds = np.inf
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        seconds = min(seconds, time.perf_counter() - start)
        if seconds > LONG_CALL:
            break
    return seconds


def load_dataset_for(info: ModelInfo, data_path: str | Path, limit: int | None = None) -> Dataset:
    """The records that a network takes: at its sampling rate, with the labels of its outputs in
    their order; what the data set says nothing of is named.
    """
    data = load_dataset(data_path, info.task, info.sampling_rate, limit, info.labels)
    if absent := [lead for lead in info.leads if lead not in data.leads]:
        raise UserError(
            f"the records of {data_path} have the leads {', '.join(data.leads)}, not "
            f"{', '.join(absent)}, which the network reads: one of --leads "
            f"{' '.join(data.leads)} is needed"
        )
    if data.unknown:
        from records.origin import to_make

        print(
            f"note: {data_path} has no labels for {', '.join(data.unknown)}: records of "
            "these classes cannot be told from others (a column True/False of that name in "
            f"ptbxl_database.csv says it; then {to_make(data_path, info.sampling_rate)})",
            file=sys.stderr,
        )
    return data


def to_input(
    signals: np.ndarray, leads: Sequence[str] = LEADS, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """Signals (N, T, 12) in mV as a model's input (N, leads, T), the leads in the model's order."""
    columns = [LEADS.index(lead) for lead in leads]
    picked = signals if columns == list(range(len(LEADS))) else signals[:, :, columns]
    turned = np.ascontiguousarray(picked.transpose(0, 2, 1), dtype=np.float32)
    return torch.from_numpy(turned).to(device)


def views(signals: Signals, crop: int, window: str) -> list[Signals]:
    """The pieces (N, crop, leads) of each record that `window` looks at; views, no copies."""
    starts = starts_of(signals.shape[1], crop, window)
    return [signals[:, start : start + crop] for start in starts]


_READ: weakref.WeakKeyDictionary[torch.nn.Module, dict[int, np.ndarray]] = (
    weakref.WeakKeyDictionary()
)


def read_samples(model: torch.nn.Module, n_samples: int) -> np.ndarray:
    """(n_samples,) bool: whether the model reads each sample of an input of that length.

    A convolution with a stride may stop short of the end: LeNet never reads the last 27 of 250
    samples. Found once per model and length by asking: where a sample is NaN, the logits of a
    network that reads it are NaN too. Of a network that clears NaN away all count as read. Above
    MOST_PROBES samples they are asked in blocks, and a block counts as read where any of it is.
    """
    known = _READ.setdefault(model, {})
    if n_samples not in known:
        known[n_samples] = _ask(model, n_samples)
    return known[n_samples]


@torch.no_grad()
def _ask(model, n_samples):
    weight = next(model.parameters())
    # a GPU's convolution may spread a NaN over the whole record by computing in frequencies
    asked = model if weight.device.type == "cpu" else copy.deepcopy(model).cpu()
    modes = [(module, module.training) for module in asked.modules()]
    asked.eval()
    block = -(-n_samples // MOST_PROBES)
    found = []
    for firsts in torch.arange(0, n_samples, block).split(PROBES_AT_ONCE):
        x = torch.zeros(len(firsts), len(model.info.leads), n_samples, dtype=weight.dtype)
        for row, first in enumerate(firsts):
            x[row, :, first : first + block] = float("nan")
        found.append(asked(x).isnan().flatten(1).any(dim=1))
    for module, training in modes:
        module.training = training
    read = torch.cat(found)
    if not read.any():  # it puts numbers in the place of NaN, and so tells nothing this way
        read[:] = True
    return read.repeat_interleave(block)[:n_samples].numpy()


def coverage_of(model: torch.nn.Module, n_samples: int, window: str) -> np.ndarray:
    """(n_samples,) share of a record's windows in which the model reads each sample, 0 to 1."""
    crop = model.info.crop
    starts = starts_of(n_samples, crop, window)
    seen = np.zeros(n_samples)
    for start in starts:
        seen[start : start + crop] += read_samples(model, crop) / len(starts)
    return seen


@torch.no_grad()
def predict(
    model: torch.nn.Module,
    signals: np.ndarray,
    window: str = "windows",
    batch_size: int = BATCH,
    progress: bool = False,
) -> np.ndarray:
    """Logits (N, classes) of records (N, T, 12) in mV, float32; with `windows` the mean of the
    windows' logits.

    The model is put into evaluation mode. Bounded memory: one batch of records at a time.
    """
    model.eval()
    device = next(model.parameters()).device
    logits = np.empty((len(signals), len(model.info.labels)), dtype=np.float32)
    for start in tqdm(
        range(0, len(signals), batch_size), desc="predict", disable=not progress, leave=False
    ):
        some = signals[start : start + batch_size]
        batch = to_input(some, model.info.leads, device)  # (N, leads, T)
        pieces = views(batch.transpose(1, 2), model.info.crop, window)
        outputs = [model(piece.transpose(1, 2)).float() for piece in pieces]
        logits[start : start + batch_size] = torch.stack(outputs).mean(dim=0).cpu().numpy()
    return logits


def input_of(model: torch.nn.Module, signals: np.ndarray) -> torch.Tensor:
    """Signals (n, T, 12) as the model's input on the model's device and in its precision."""
    weight = next(model.parameters())
    return to_input(signals, model.info.leads, weight.device).to(weight.dtype)
