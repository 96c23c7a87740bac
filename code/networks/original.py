"""Checkpoints of the original XAI4ECG (PyTorch Lightning files) as this project's networks.

The file is a pickle that names classes of other packages. Nothing of it is executed: an unpickler
of our own knows tensors, plain containers and numbers; whatever else is named becomes an inert
placeholder. Weights are mapped by their order and shapes. Facts of the layout: the three networks
register their layers in the order in which ours do; XResNet registers some twice.
"""

import io
import pickle
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from common.files import UserError, check_archive, need_file
from common.labels import TASKS
from networks.exported import strided
from networks.models import MODELS, get_model

STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip


class Placeholder:
    """Stands for an object of a class that is not known: takes anything, does nothing."""

    def __new__(cls, *_, **__):
        """The placeholder, whatever it is made with."""
        return super().__new__(cls)

    def __init__(self, *_, **__):
        pass

    def __setstate__(self, _state):
        pass

    def __setitem__(self, _key, _value):
        pass

    def append(self, _value: object) -> None:
        """Nothing."""

    def extend(self, _values: object) -> None:
        """Nothing."""

    def add(self, _value: object) -> None:
        """Nothing."""


@dataclass(frozen=True)
class _Storage:
    """Bytes of a tensor; `key` tells storages apart."""

    key: str
    dtype: torch.dtype
    content: bytes


@dataclass(frozen=True)
class _Stored:
    """A tensor and the storage that it looks into."""

    tensor: Tensor
    place: tuple


def _rebuild(storage, offset, sizes, strides, *_):
    """What torch._utils._rebuild_tensor_v2 would give, with a note of where it lies."""
    whole = (offset, *sizes, *strides)
    if not isinstance(storage, _Storage) or not all(type(number) is int for number in whole):
        raise UserError("a tensor of the file is damaged")
    tensor = strided(storage.content, storage.dtype, list(sizes), list(strides), offset)
    return _Stored(tensor, (storage.key, offset, tuple(sizes)))


class _Unpickler(pickle._Unpickler):
    """Knows tensors and plain containers alone; written in Python, so that no number of the file is
    taken for a size of memory.
    """

    def __init__(self, path, archive, root):
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.path, self.archive, self.root = path, archive, root

    def find_class(self, module, name):
        """What a name of the pickle stands for."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda stored, *_: stored
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        return Placeholder

    def persistent_load(self, pid):
        """A storage of the archive."""
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise UserError(f"{self.path} refers to something outside itself")
        _, dtype, key, _, count = pid
        entry = f"{self.root}/data/{key}"
        if not isinstance(dtype, torch.dtype) or entry not in self.archive.namelist():
            raise UserError(f"{self.path} lacks the storage {key!r}")
        content = self.archive.read(entry)
        if type(count) is not int or count * dtype.itemsize > len(content):
            raise UserError(f"{self.path}: storage {key} holds less than it declares")
        return _Storage(str(key), dtype, content)


def read_state(path: str | Path) -> list[tuple[str, Tensor]]:
    """Names and tensors of a Lightning checkpoint's state dict in their order, each tensor once.

    UserError, in one line, where the file is damaged or no such checkpoint; nothing is executed.
    """
    path = need_file(path, "--original names a checkpoint of the original XAI4ECG")
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(path, archive)
            roots = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            content = _Unpickler(path, archive, roots[0].removesuffix("/data.pkl")).load()
            state = content["state_dict"]
            pairs = [(name, stored) for name, stored in state.items() if type(stored) is _Stored]
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file may bring
        raise UserError(
            f"{path} is no checkpoint of PyTorch Lightning ({type(error).__name__})"
        ) from None
    if not isinstance(state, Mapping) or not pairs:
        raise UserError(f"{path} is no checkpoint of PyTorch Lightning: it holds no weights")
    return _once(pairs)


def _once(pairs):
    """The largest group of tensors under one first name, each place in memory once."""
    groups = Counter(str(name).split(".")[0] for name, _ in pairs)
    chosen, _ = groups.most_common(1)[0]
    seen, found = set(), []
    for name, stored in pairs:
        if str(name).split(".")[0] != chosen or stored.place in seen:
            continue
        seen.add(stored.place)
        if not str(name).endswith("num_batches_tracked"):
            found.append((str(name), stored.tensor))
    return found


def network_of(path: str | Path) -> tuple[str, nn.Module]:
    """Name and network of an original checkpoint, its weights put in by their order and shapes."""
    state = read_state(path)
    shapes = [tuple(tensor.shape) for _, tensor in state]
    n_classes = shapes[-1][0] if shapes[-1] else 0
    if n_classes and len(shapes[0]) == 3:
        for modelname in MODELS:
            network = get_model(modelname, n_classes, shapes[0][1])
            own = [name for name in network.state_dict() if "num_batches_tracked" not in name]
            wanted = [tuple(network.state_dict()[name].shape) for name in own]
            if wanted == shapes:
                found = dict(zip(own, (tensor for _, tensor in state), strict=True))
                network.load_state_dict(found, strict=False)  # all but the counts of batches
                return modelname, network.eval()
    raise UserError(
        f"{path} holds {len(shapes)} tensors, which are those of none of {', '.join(MODELS)} of "
        "the original XAI4ECG"
    )


def task_of_size(n_classes: int, asked: str | None) -> str:
    """The task of a number of classes; UserError where several have it and none was asked for."""
    fitting = [task for task, labels in TASKS.items() if len(labels) == n_classes]
    if asked and asked not in fitting:
        raise UserError(f"--task {asked} has {len(TASKS[asked])} labels, the network {n_classes}")
    if asked:
        return asked
    if len(fitting) != 1:
        choices = ", ".join(fitting) or "no task"
        raise UserError(f"the network has {n_classes} outputs, as {choices}: say which with --task")
    return fitting[0]
