"""Several processes or machines: process group, synchronised batch norm, shared prediction.

Everything here works in a single process too, where it does nothing; the callers have no second
path. Started by torchrun, which sets RANK, LOCAL_RANK and WORLD_SIZE: gloo on CPUs, nccl on GPUs.
"""

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from common.files import UserError
from networks.inference import BATCH, predict

# a process that is through with its share waits for the others this long: shares may take hours
PATIENCE = timedelta(days=7)

Unit, Result = TypeVar("Unit"), TypeVar("Result")


_working_alone = contextvars.ContextVar("working alone", default=False)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """What is computed inside is this process's own work: no other one is waited for or asked."""
    before = _working_alone.set(True)
    try:
        yield
    finally:
        _working_alone.reset(before)


def _joined() -> bool:
    return dist.is_initialized() and not _working_alone.get()


def rank() -> int:
    """Number of this process, 0 for the one that writes."""
    return dist.get_rank() if _joined() else 0


def world() -> int:
    """Number of processes that work together."""
    return dist.get_world_size() if _joined() else 1


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started (if it did); yields this process's device.

    All but the main process say nothing meanwhile, errors that end them apart.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        with contextlib.nullcontext() if is_main() else _silence():
            yield device
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _silence():
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def on_main(compute: Callable) -> Any:
    """Result of `compute()` in the main process, None in the others; its UserError is raised in
    all.
    """
    if world() == 1:
        return compute()
    result, message = None, [None]
    if is_main():
        try:
            result = compute()
        except UserError as error:
            message = [str(error)]
    dist.broadcast_object_list(message)
    if message[0] is not None:
        raise UserError(message[0])
    return result


def from_main(compute: Callable) -> Any:
    """Result of `compute()`, run by the main process and sent to all; its UserError is raised in
    all.
    """
    result = [on_main(compute)]
    if world() > 1:
        dist.broadcast_object_list(result)
    return result[0]


def check_same(what: str, value: object) -> None:
    """UserError in every process if `value` is not the same in all of them."""
    if world() == 1:
        return
    values = [None] * world()
    dist.all_gather_object(values, value)
    if any(other != values[0] for other in values):
        raise UserError(f"the processes do not see the same {what}: {', '.join(map(str, values))}")


def total(value: Tensor) -> Tensor:
    """Sum of a tensor over the processes (no gradient)."""
    value = value.detach().clone()
    if world() > 1:
        dist.all_reduce(value)
    return value


def dealt(units: Iterable[Unit]) -> list[Unit]:
    """This process's share of the units: every so manyth."""
    return list(units)[rank() :: world()]


def together(mine: Sequence[Result], error: UserError | None = None) -> list[Result]:
    """What all processes made of the units that `dealt` gave them, in the units' order, in each
    process; a UserError of any of them is raised in all.
    """
    if world() == 1:
        if error:
            raise error
        return list(mine)
    parts = [None] * world()
    dist.all_gather_object(parts, (list(mine), str(error) if error else None))
    for _, message in parts:
        if message is not None:
            raise UserError(message)
    joined = [None] * sum(len(part) for part, _ in parts)
    for number, (part, _) in enumerate(parts):
        joined[number :: world()] = part
    return joined


def shared(units: Iterable[Unit], compute: Callable[[Unit], Result]) -> list[Result]:
    """`compute(unit)` of every unit, dealt out to the processes; all results in each of them.

    What is computed of a unit must not depend on who does it: then n processes give the same bytes
    as one.
    """
    mine, error = [], None
    try:
        for unit in dealt(units):
            mine.append(compute(unit))
    except UserError as raised:
        error = raised
    return together(mine, error)


def wait_for_all() -> None:
    """Return when every process has come here."""
    if world() > 1:
        dist.barrier()


def shared_predict(
    model: nn.Module, signals: np.ndarray, window: str, **options: object
) -> np.ndarray:
    """inference.predict with batches of records dealt out to the processes; the whole result
    (N, classes) in each.
    """
    if world() == 1:
        return predict(model, signals, window, **options)
    starts = range(0, max(len(signals), 1), BATCH)
    batches = [signals[start : start + BATCH] for start in starts]
    return np.concatenate(shared(batches, lambda batch: predict(model, batch, window, **options)))


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The module to call in training: with several processes DistributedDataParallel and
    synchronised batch norm.

    The wrapped network is `model` itself, in which batch norms are exchanged in place.
    """
    if world() == 1:
        return model
    synchronise_batch_norm(model)
    for parameter in filter(lambda parameter: parameter.requires_grad, model.parameters()):
        parameter.register_hook(_in_order)
    # the statistics are the same in all processes: nothing to broadcast
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False
    )


def _in_order(gradient):
    """The gradient with its axes in memory as they are named: DistributedDataParallel copies, and
    warns of, any other.
    """
    return gradient.reshape(-1).view(gradient.shape)


def unwrap(module: nn.Module) -> nn.Module:
    """The network inside of what `wrap` gave."""
    return module.module if isinstance(module, nn.parallel.DistributedDataParallel) else module


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce that gradients pass through: the sum's gradient is the sum of the processes'
    gradients.
    """

    @staticmethod
    def forward(ctx, value):
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class SynchronisedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm whose training statistics are those of all processes' records together; CPU and
    GPU.

    torch's own SyncBatchNorm refuses CPU tensors. Shares of different size count by their size.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C) or (N, C, T); statistics of all processes in training, the running ones
        otherwise.
        """
        if not self.training or world() == 1:
            return super().forward(x)
        axes = (0,) if x.ndim == 2 else (0, 2)
        wide = x if x.dtype == torch.float64 else x.float()  # half precision is too coarse for sums
        size = torch.full((1,), x.numel() / x.shape[1], dtype=wide.dtype, device=x.device)
        count, mean = _split_sum(size, wide.sum(axes))
        # two passes: a difference of large sums would lose the small variances
        centred = wide - _along(mean, x)
        variance = _SumOverProcesses.apply(centred.square().sum(axes)) / count
        self._track(mean.detach(), variance.detach(), count)
        scaled = centred * _along(self.weight * torch.rsqrt(variance + self.eps), x)
        return (scaled + _along(self.bias, x)).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean, variance, count):
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * count / (count - 1)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)


def _split_sum(size, sums):
    together = _SumOverProcesses.apply(torch.cat((size, sums)))
    return together[0].detach(), together[1:] / together[0].detach()


def _along(values, x):
    """(C,) shaped to broadcast over the channels of x."""
    return values if x.ndim == 2 else values[:, None]


def _is_usual(norm):
    """Whether a batch norm is as SynchronisedBatchNorm1d computes it."""
    whole = norm.affine and norm.track_running_stats and norm.momentum is not None
    return isinstance(norm, nn.BatchNorm1d) and whole


def synchronise_batch_norm(model: nn.Module) -> None:
    """Exchange every BatchNorm1d in `model` for its synchronised form, names and tensors kept.

    UserError for a batch norm that has no such form (of an architecture of one's own): each process
    would have statistics of its own.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not _is_usual(module):
            raise UserError(
                f"several processes cannot train {name} ({type(module).__name__}) together: only "
                "BatchNorm1d with weights, a momentum and running statistics; train it in one"
            )
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d):
                exchanged = SynchronisedBatchNorm1d(child.num_features, child.eps, child.momentum)
                exchanged.weight, exchanged.bias = child.weight, child.bias
                for buffer, value in child.named_buffers():
                    exchanged.register_buffer(buffer, value)
                setattr(parent, name, exchanged.train(child.training))
