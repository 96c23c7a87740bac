"""What a network puts out, as one logit per class."""

import itertools

import torch
from torch import Tensor

from common.files import UserError


def tensors_in(output: object) -> list[Tensor]:
    """The tensors inside what a network returned (a tensor, or a tuple, list or dict of them)."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return list(itertools.chain.from_iterable(map(tensors_in, output)))
    return []


def class_logits(output: object, n_records: int) -> Tensor:
    """Logits (N, classes) of what a network returned for N records.

    (N,) is one class; axes of length 1 behind the classes are dropped. Raises UserError for several
    tensors, and for a shape that is not one number per class and record.
    """
    tensors = tensors_in(output)
    if len(tensors) != 1:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors) or "none"
        raise UserError(
            f"the network returns {len(tensors)} tensors ({shapes}) where one of logits (records, "
            "classes) is explained: wrap it so that it returns that one"
        )
    (logits,) = tensors
    shape = tuple(logits.shape)
    if shape[:1] != (n_records,) or any(size != 1 for size in shape[2:]):
        raise UserError(
            f"the network returns {shape} for {n_records} records where logits (records, classes) "
            "are explained"
        )
    return logits.reshape(n_records, shape[1] if len(shape) > 1 else 1)


def chosen_logit(output: object, target: Tensor) -> Tensor:
    """Logit (N,) of each record's target; UserError for a target that the network does not have."""
    logits = class_logits(output, len(target))
    n_outputs = logits.shape[1]
    if len(target) and not 0 <= int(target.min()) <= int(target.max()) < n_outputs:
        raise UserError(
            f"target {target.tolist()[:5]} is not among the model's outputs 0 .. {n_outputs - 1}"
        )
    return logits.gather(1, target[:, None])[:, 0]


def logits_of(model: torch.nn.Module, x: Tensor) -> Tensor:
    """Logits (N, classes) of signals x (N, leads, T)."""
    return class_logits(model(x), len(x))
