"""Logits of whole records: the centre crop, or the mean over windows at half stride."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from common.labels import LEADS
from networks.checkpoints import ModelInfo
from records.dataset import Dataset, Signals, centre_crop, load_dataset, window_starts

PROTOCOLS = ("centre_crop", "windows")


def load_dataset_for(info: ModelInfo, data_path: str | Path, limit: int | None = None) -> Dataset:
    """The records that a network takes: at its sampling rate, with the labels of its outputs in
    their order; what the data set says nothing of is named.
    """
    data = load_dataset(data_path, info.task, info.sampling_rate, limit, info.labels)
    if data.unknown:
        print(
            f"note: {data_path} has no labels for {', '.join(data.unknown)}: records of "
            "these classes cannot be told from others",
            file=sys.stderr,
        )
    return data


def to_input(
    signals: np.ndarray, leads: Sequence[str] = LEADS, device: str | torch.device = "cpu"
) -> torch.Tensor:
    """Signals (N, T, 12) in mV as a model's input (N, leads, T), the leads in the model's order."""
    columns = [LEADS.index(lead) for lead in leads]
    picked = signals if columns == list(range(len(LEADS))) else signals[:, :, columns]
    return torch.from_numpy(np.ascontiguousarray(picked.transpose(0, 2, 1), dtype=np.float32)).to(
        device
    )


def views(signals: Signals, crop: int, protocol: str) -> list[Signals]:
    """The pieces (N, crop, leads) of each record that a protocol looks at; views, no copies."""
    if protocol == "centre_crop":
        return [centre_crop(signals, crop)]
    return [signals[:, start : start + crop] for start in window_starts(signals.shape[1], crop)]


@torch.no_grad()
def predict(
    model: torch.nn.Module,
    signals: np.ndarray,
    protocol: str = "windows",
    batch_size: int = 256,
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
        batch = to_input(
            signals[start : start + batch_size], model.info.leads, device
        )  # (N, leads, T)
        pieces = views(batch.transpose(1, 2), model.info.crop, protocol)
        outputs = [model(piece.transpose(1, 2)).float() for piece in pieces]
        logits[start : start + batch_size] = torch.stack(outputs).mean(dim=0).cpu().numpy()
    return logits


def whole_input(maps: np.ndarray, leads: Sequence[str]) -> np.ndarray:
    """Maps (n, leads, T) of a model's inputs as (n, T, 12), zero for leads that it does not see."""
    spread = np.zeros((len(maps), maps.shape[2], len(LEADS)), dtype=np.float32)
    spread[:, :, [LEADS.index(lead) for lead in leads]] = maps.transpose(0, 2, 1)
    return spread


def input_of(model: torch.nn.Module, signals: np.ndarray) -> torch.Tensor:
    """Signals (n, T, 12) as the model's input on the model's device and in its precision."""
    weight = next(model.parameters())
    return to_input(signals, model.info.leads, weight.device).to(weight.dtype)
