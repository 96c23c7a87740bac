"""What kind of network file a path holds, by its first bytes, and how such a file goes in.

Nothing of a file is run or unpickled here. Source of the marks: the formats' own descriptions.
"""

import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.files import UserError
from networks.exported import strided

HEADER = 4096  # bytes that are looked at
MAX_HEADER = 50_000_000  # bytes of a safetensors file's table
KERAS = (
    "convert it (pip install tf2onnx; load it in TensorFlow and call tf2onnx.convert.from_keras) "
    "and give the result by --onnx: leads behind time are seen from its shape"
)


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name in words, the options that take it, what else to do."""

    name: str
    ways: tuple[str, ...]
    remedy: str


def _entries(path):
    """Names inside a zip archive without its leading folder; empty where it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return set()
    return {*names, *(name.split("/", 1)[-1] for name in names)}


TORCH_STATE = Kind(
    "a file of torch.save", ("weights",), "give it by --weights, with --network my_net.py:maker"
)
SAFETENSORS = Kind(
    "a safetensors file", ("weights",), "give it by --weights, with --network my_net.py:maker"
)
# kind -> (first bytes, name's ending, entries in a zip) -> whether a file is of it
KINDS: tuple[tuple[Kind, Callable[[bytes, str, set[str]], bool]], ...] = (
    (
        Kind("a Keras model", (), KERAS),
        lambda head, end, names: (
            head.startswith(b"\x89HDF\r\n\x1a\n")
            or end in (".h5", ".hdf5", ".keras")
            or {"config.json", "model.weights.h5"} <= names
        ),
    ),
    (
        Kind("a TensorFlow Lite model", (), "convert it (tf2onnx --tflite) and give it by --onnx"),
        lambda head, end, names: head[4:8] == b"TFL3",
    ),
    (
        Kind("an exported graph", ("exported",), "give it by --exported"),
        lambda head, end, names: "models/model.json" in names,
    ),
    (
        Kind(
            "a TorchScript network",
            (),
            "write a file my_net.py with a function that returns torch.jit.load(...), and give it "
            "by --network my_net.py:maker",
        ),
        lambda head, end, names: (
            "constants.pkl" in names and any(name.startswith("code/") for name in names)
        ),
    ),
    (TORCH_STATE, lambda head, end, names: "data.pkl" in names),
    (
        SAFETENSORS,
        lambda head, end, names: end == ".safetensors" or head[8:10] in (b'{"', b"{ "),
    ),
    (
        Kind("Python code", (), "give it by --network my_net.py:maker"),
        lambda head, end, names: end == ".py",
    ),
)


def kind_of(path: str | Path) -> Kind | None:
    """The kind of a file; None where it is none of KINDS."""
    path = Path(path)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(HEADER)
    names = _entries(path) if head.startswith(b"PK") else set()
    return next((kind for kind, is_it in KINDS if is_it(head, path.suffix.lower(), names)), None)


def check_kind(path: str | Path, way: str) -> Kind | None:
    """The kind of a file that the option --`way` names; UserError, with what to do, where another
    option or program takes such files.
    """
    kind = kind_of(path)
    if kind and way not in kind.ways:
        raise UserError(f"{path} is {kind.name}, which --{way} does not take: {kind.remedy}")
    return kind


# ---------------------------------------------------------------- safetensors

FORMATS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; UserError where it is damaged."""
    try:
        return _tensors(Path(path))
    except UserError:
        raise
    except Exception as error:  # whatever a damaged table may bring
        raise UserError(
            f"{path} is no readable safetensors file ({type(error).__name__})"
        ) from None


def _tensors(path):
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    if size > min(MAX_HEADER, len(content) - 8):
        raise UserError(f"{path} declares a table of {size} bytes and holds less")
    table, found = json.loads(content[8 : 8 + size]), {}
    for name, entry in table.items():
        if name == "__metadata__":
            continue
        first, last = (int(one) for one in entry["data_offsets"])
        sizes = [int(one) for one in entry["shape"]]
        steps = [1] * len(sizes)
        for axis in range(len(sizes) - 2, -1, -1):
            steps[axis] = steps[axis + 1] * sizes[axis + 1]
        if first < 0 or last < first or 8 + size + last > len(content):
            raise UserError(f"{path}: tensor {name} lies beyond the end of the file")
        bytes_ = content[8 + size + first : 8 + size + last]
        found[name] = strided(bytes_, FORMATS[entry["dtype"]], sizes, steps, 0, f"{path}: {name}")
    return found
