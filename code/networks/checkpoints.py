"""Checkpoints: plain dicts of tensors and plain values that say themselves what they are.

Later stages take task, labels, leads, crop length and sampling rate from here, never from the
command line.
"""

import argparse
import errno
import io
import math
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import nn

from common.files import UserError, check_archive, need_file, note_read, replacing
from common.labels import LEADS, OWN_TASK, TASKS, slug
from networks.models import MODELS, get_model
from networks.program import Program

IMPORTED = "imported"  # name of networks that were trained elsewhere


@dataclass(frozen=True)
class ModelInfo:
    """What a checkpoint says of itself (plain values only)."""

    modelname: str
    task: str
    labels: tuple[str, ...]  # class names in the order of the outputs; leads for a regression task
    leads: tuple[str, ...]  # input leads, in the model's order
    sampling_rate: int  # Hz, of the records that it takes
    crop_seconds: float  # length of the input: what the model was trained on, or sees of a record
    folds: dict  # {"train": [...], "validation": [...], "test": [...]}
    seed: int
    run_name: str | None = None
    # probability of best F1 on the validation fold, per class (NaN: no positive)
    thresholds: tuple[float, ...] | None = None
    # None for LeNet, ResNet and XResNet; for other networks where it came from and what it expects
    # (unit, normalisation, rate, length, kind of outputs): plain values, for people
    origin: dict | None = None
    # what it was trained on: name, folder (relative to the checkpoint's), sha256, simulated
    dataset: dict | None = None

    @property
    def crop(self) -> int:
        """Input length in samples."""
        return round(self.crop_seconds * self.sampling_rate)

    def stored(self) -> dict:
        """The fields as a checkpoint holds them: `origin` only where there is one."""
        facts = asdict(self)
        if self.origin is None:
            del facts["origin"]
        return facts

    @property
    def run_folder_name(self) -> str:
        """<modelname>_<task>[_<run_name>]"""
        return "_".join(part for part in (self.modelname, self.task, self.run_name) if part)

    def unread(self, signals: np.ndarray) -> list[str]:
        """Leads in which signals (..., 12) hold anything but 0 and that the model does not take."""
        there = np.nan_to_num(signals).reshape(-1, len(LEADS)).any(axis=0)
        return [
            lead for lead, own in zip(LEADS, there, strict=True) if own and lead not in self.leads
        ]

    def index(self, label: str) -> int:
        """Output index of a label; UserError names those the model knows."""
        if label not in self.labels:
            raise UserError(f"the model does not know {label!r}: it knows {', '.join(self.labels)}")
        return self.labels.index(label)


def save_checkpoint(
    path: str | Path, model: torch.nn.Module, info: ModelInfo, **training_state: object
) -> None:
    """Write weights, info and any further plain training state, whole or not at all.

    Of a Program (a network that is none of MODELS) the graph is written too, as plain data.
    """
    if isinstance(model, Program):
        graph, tensors = model.to_plain()
        parameters = [name for name, _ in model.named_parameters()]
        training_state = {"graph": graph, "parameters": parameters, **training_state}
    else:
        tensors = model.state_dict()
    # given a path, torch.save would store its name, and hide that a disk is full
    buffer = io.BytesIO()
    torch.save({"model": tensors, **_canonical({"info": info.stored(), **training_state})}, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _canonical(value):
    """The same value with equal texts as one object: pickle stores a repeated object once, equal
    ones twice.

    Without this, the bytes of a run that was interrupted would differ from those of one that was
    not.
    """
    if type(value) is dict:
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_canonical(item) for item in value)
    return sys.intern(value) if type(value) is str else value


def find_checkpoint(model_path: str | Path | None) -> Path:
    """The checkpoint file that --model_path means: a file, or a run folder with
    checkpoints/best_model.ckpt.
    """
    if model_path is None:
        raise UserError(
            "--model_path is needed: a checkpoint that train_model.py wrote, or its run folder"
        )
    path = Path(model_path)
    path = path / "checkpoints" / "best_model.ckpt" if path.is_dir() else path
    return need_file(path, "train_model.py trains one")


def load_checkpoint(
    model_path: str | Path | None, device: str | torch.device = "cpu"
) -> tuple[dict, ModelInfo]:
    """Read a checkpoint with weights_only; UserError where it is missing, damaged or not one of
    ours.
    """
    path = find_checkpoint(model_path)
    note_read(path)
    content = read_torch_file(path, "a readable checkpoint", "train it again")
    try:
        known = content["info"]
        needed = [field.name for field in fields(ModelInfo) if field.default is MISSING]
        optional = [field.name for field in fields(ModelInfo) if field.name in known]
        stored = {name: known[name] for name in (*needed, *optional)}
        info = ModelInfo(
            **{
                name: tuple(value) if isinstance(value, list | tuple) else value
                for name, value in stored.items()
            }
        )
    except (KeyError, TypeError, IndexError):
        raise UserError(
            f"{path} is no checkpoint of train_model.py (it does not say what it is)"
        ) from None
    checks = _INFO_CHECKS | (_FOREIGN_CHECKS if "graph" in content else {})
    if wrong := [name for name, fits in checks.items() if not _holds(fits, info)]:
        raise UserError(
            f"{path} is no checkpoint of train_model.py ({wrong[0]} {getattr(info, wrong[0])!r})"
        )
    if not isinstance(content.get("model"), dict):
        raise UserError(f"{path} is no checkpoint of train_model.py (it holds no weights)")
    return _on_device(content, device), info


MAX_DEPTH = 50  # of what lies in each other in a file
UNREADABLE = {  # what an error of torch.load means
    "UnpicklingError": "it holds Python objects, as a whole network is one: none is unpickled",
    "BadZipFile": "damaged, empty, or written before PyTorch 1.6",
}


def read_torch_file(path: Path, what: str, remedy: str) -> object:
    """What torch.save wrote: tensors and plain values, in the machine's own memory.

    Raises UserError with `what` it is not and the `remedy` where the file is damaged, holds
    anything else, or declares more than it has; what hinders the machine says so itself.
    """
    try:
        _check_bytes(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        # the disk's or the network's fault, but for a place in the file that a damaged one names
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        if "alloc" in str(error) and "memory" in str(error):
            raise MemoryError(f"{path}: {str(error).splitlines()[0]}") from None
        reason = UNREADABLE.get(type(error).__name__, type(error).__name__)
        raise UserError(f"{path} is not {what} ({reason}): {remedy}") from None
    _check_tensors(path, content)
    return content


def _check_bytes(path):
    """BadZipFile where a stored checksum does not hold: torch does not look at them."""
    with zipfile.ZipFile(path) as archive:
        check_archive(path, archive)
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(damaged)


def _check_tensors(path, value, depth=0):
    """UserError where a tensor has more numbers than there are in the file (one that stands for
    many) or is no plain one, and where things lie in each other without end.
    """
    if depth > MAX_DEPTH:
        raise UserError(f"{path} holds things that lie in each other more than {MAX_DEPTH} deep")
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise UserError(
                f"{path} holds a tensor that is sparse, quantised or without numbers: save it as a "
                "plain one"
            )
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise UserError(f"{path} declares {value.numel()} numbers and holds fewer")
    elif isinstance(value, Mapping):
        for item in value.values():
            _check_tensors(path, item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_tensors(path, item, depth + 1)


def _on_device(value, device):
    """Plain content with its tensors on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if type(value) is dict:
        return {key: _on_device(item, device) for key, item in value.items()}
    if type(value) is list:
        return [_on_device(item, device) for item in value]
    return value


def _is_share(value):
    """A threshold: a probability, or NaN where a class has none."""
    return isinstance(value, int | float) and (math.isnan(value) or 0 <= value <= 1)


def _is_fold_list(folds):
    return all(type(fold) is int and 1 <= fold <= 10 for fold in folds)


def _is_dataset_note(note):
    texts = (note["name"], note["folder"], note["sha256"])
    return all(isinstance(text, str) for text in texts) and isinstance(note["simulated"], bool)


# field -> whether what a checkpoint says there can be; an exception counts as no
_INFO_CHECKS = {
    "modelname": lambda info: info.modelname in MODELS,
    "task": lambda info: slug(info.task) == info.task,
    # some of the task's labels, in its order: outputs go by position
    "labels": lambda info: (
        _are_classes(info.labels)
        # a task of a data set's own (tasks.json) has the classes that the checkpoint names
        and (info.task not in TASKS or _in_order_of(TASKS[info.task], info.labels))
    ),
    "leads": lambda info: (
        type(info.leads) is tuple and 0 < len(info.leads) == len(set(info.leads) & set(LEADS))
    ),
    "sampling_rate": lambda info: (
        type(info.sampling_rate) is int and 0 < info.sampling_rate <= 10_000
    ),
    "crop_seconds": lambda info: 0 < info.crop_seconds <= 3600 and info.crop > 0,
    "folds": lambda info: (
        type(info.folds) is dict and all(_is_fold_list(folds) for folds in info.folds.values())
    ),
    "seed": lambda info: type(info.seed) is int,
    "run_name": lambda info: info.run_name is None or ".." not in Path(info.run_name).parts,
    "thresholds": lambda info: (
        info.thresholds is None
        or (len(info.thresholds) == len(info.labels) and all(map(_is_share, info.thresholds)))
    ),
    "dataset": lambda info: info.dataset is None or _is_dataset_note(info.dataset),
}


# instead of these for a network that came with its graph: its outputs may stand in any order, and
# may be classes of its own
_FOREIGN_CHECKS = {
    "modelname": lambda info: bool(info.modelname) and slug(info.modelname) == info.modelname,
    "task": lambda info: info.task in (*TASKS, OWN_TASK),
    "labels": lambda info: (
        _are_classes(info.labels)
        and (info.task == OWN_TASK or set(info.labels) <= set(TASKS[info.task]))
    ),
    "origin": lambda info: type(info.origin) is dict and all(map(_is_plain, info.origin.values())),
}


def _are_classes(labels):
    """Whether labels are texts by which each one's files have a name of their own."""
    names = {slug(label) for label in labels if type(label) is str}
    return 0 < len(labels) == len(names - {""})


def _in_order_of(known, labels):
    return labels == tuple(label for label in known if label in labels)


def _is_plain(value):
    return value is None or type(value) in (str, int, float, bool)


def _holds(check, info):
    try:
        return check(info)
    except Exception:
        return False


def load_model(
    model_path: str | Path | None, device: str | torch.device = "cpu"
) -> torch.nn.Module:
    """The trained network in evaluation mode, its ModelInfo as `.info`; strict about names and
    shapes.
    """
    content, info = load_checkpoint(model_path, device)
    if "graph" in content:
        model = _program_of(find_checkpoint(model_path), content, info)
    else:
        model = _network_of(model_path, content, info)
    if bad := [name for name, values in _values_of(model) if not torch.isfinite(values).all()]:
        raise UserError(
            f"{find_checkpoint(model_path)} holds weights that are not numbers ({bad[0]}): train "
            "it again"
        )
    model.info = info
    return model.to(device).eval()


def _network_of(model_path, content, info):
    """One of MODELS with the weights of a checkpoint."""
    model = get_model(info.modelname, len(info.labels), len(info.leads))
    try:
        model.load_state_dict(content["model"], strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f"{find_checkpoint(model_path)} does not fit {info.modelname}: {reason}"
        ) from None
    return model


def _program_of(path, content, info):
    """The network of a checkpoint that holds a graph, tried on two records of zeros."""
    try:
        learned = set(content["parameters"])
        tensors = {
            name: nn.Parameter(tensor) if name in learned else tensor
            for name, tensor in content["model"].items()
        }
        program = Program.from_plain(content["graph"], tensors)
        some = next(iter(tensors.values()), torch.zeros(1))
        with torch.no_grad():
            logits = program(some.new_zeros(2, len(info.leads), info.crop, dtype=torch.float32))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # whatever a damaged file may bring
        raise UserError(f"{path} holds no network ({type(error).__name__})") from None
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, len(info.labels)):
        raise UserError(f"{path} does not give one output per label ({len(info.labels)})")
    return program


def _values_of(model):
    """Names and tensors of a network's weights (of a graph's also its constants, but for those that
    may well be infinite: masks).
    """
    if isinstance(model, Program):
        return list(model.named_parameters())
    return list(model.state_dict().items())


def run_folder(output_path: str | Path, info: ModelInfo) -> Path:
    """<output_path>/<modelname>_<task>[_<run_name>]; an output_path that already ends in it is used
    as it is.
    """
    output_path, name = Path(output_path), info.run_folder_name
    return output_path if output_path.name == name else output_path / name


def check_against(args: argparse.Namespace, info: ModelInfo) -> None:
    """UserError where an option contradicts what the checkpoint says of itself."""
    for option in ("modelname", "task", "run_name", "sampling_rate"):
        wanted, stored = getattr(args, option, None), getattr(info, option)
        if wanted is not None and wanted != stored:
            raise UserError(
                f"--{option} {wanted} contradicts the checkpoint, which is of {option} {stored}: "
                "leave the option out, or choose another checkpoint"
            )
