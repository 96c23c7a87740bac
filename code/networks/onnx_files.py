"""Networks in ONNX files, read as data: nothing in them is run, and what they declare is checked
before memory is taken for it.
"""

import ast
import functools
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.files import UserError, is_inside, need_file
from networks.fixed_batch import resized
from networks.onnx_operations import OPERATIONS, run_operation
from networks.onnx_values import OnnxNode, is_static
from networks.operations import check_sizes
from networks.parts import Parts
from networks.preprocessing import UNIT_NAMES, UNITS

OPSETS = range(7, 26)
MAX_BYTES = 4_000_000_000  # of a file and of each tensor
TRIED_RECORDS = (1, 2, 3, 4, 8, 16, 32, 64)  # numbers that a file may have been written for
# metadata of ExChanGeAI and others -> what it says, by the names of import_model.py's options
LABEL_KEYS = ("target_keys", "labels", "classes", "class_names")
UNIT_KEYS = ("scale", "unit", "units")
NORMALISATION_KEYS = ("standardizer", "normalisation", "normalization")
RATE_KEYS = ("sampling_rate", "fs", "frequency")
NORMALISATION_NAMES = {
    "": "none", "none": "none", "zscore": "zscore", "z-score": "zscore", "z_score": "zscore",
    "standard": "zscore", "minmax": "minmax", "min-max": "minmax", "min_max": "minmax",
}  # fmt: skip


@dataclass(frozen=True)
class OnnxFile:
    """A network of an ONNX file.

    network   takes what the file's input takes
    shape     of the input, None where the file leaves a size open
    outputs   names of what it returns
    metadata  of the file, texts
    """

    network: nn.Module
    shape: tuple[int | None, ...]
    outputs: tuple[str, ...]
    metadata: dict[str, str]


def read_onnx(path: str | Path) -> OnnxFile:
    """Read a file; UserError, in one line, where it is damaged, hostile or holds what is not known.

    Weights outside the file are read from its own folder alone.
    """
    path = need_file(path, "--onnx names an ONNX file")
    model = _parsed(path)
    opset = _opset(path, model)
    graph = model.graph
    weights = {one.name: _array(path, one) for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise UserError(f"{path} has {len(inputs)} inputs ({names}): one is needed, the signals")
    shape = _sizes(inputs[0])
    nodes = [_node(path, node, index, opset) for index, node in enumerate(graph.node)]
    nodes = _without_aliases(nodes, weights)
    outputs = tuple(one.name for one in graph.output)
    read = {*outputs, *(name for node in nodes for name in node.inputs)}
    weights = {name: value for name, value in weights.items() if name in read}
    if unknown := sorted({node.kind for node in nodes} - set(OPERATIONS)):
        places = ", ".join(
            f"{node.kind} ({node.name})" for node in nodes if node.kind in unknown[:3]
        )
        advice = _advice(unknown)
        raise UserError(f"{path} has operations that are not known: {places[:200]}; {advice}")
    _check_names(path, inputs[0].name, weights, nodes, outputs)
    network = OnnxNetwork(inputs[0].name, weights, nodes, outputs)
    metadata = {one.key: one.value for one in model.metadata_props}
    return OnnxFile(network, shape, outputs, metadata)


# ---------------------------------------------------------------- the file


def _parsed(path):
    """The file's content as onnx's message, weights outside it not read."""
    import onnx  # takes .3 s, and only this way in needs it

    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES / 1e9:g} GB")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's own kinds
        raise UserError(f"{path} is not a readable ONNX file ({type(error).__name__})") from None
    if not model.graph.node or not model.graph.output:
        raise UserError(f"{path} holds no network")
    if model.functions or model.graph.sparse_initializer or model.training_info:
        raise UserError(f"{path} has functions, sparse weights or training steps: not known")
    return model


def _opset(path, model):
    versions = {one.domain: one.version for one in model.opset_import}
    foreign = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
    if foreign:
        kinds = sorted({node.op_type for node in model.graph.node if node.domain in foreign})
        advice = _advice(kinds)
        where = ", ".join(foreign)
        raise UserError(f"{path} has operations of {where}: {', '.join(kinds)[:200]}; {advice}")
    version = versions.get("", versions.get("ai.onnx", 0))
    if version not in OPSETS:
        raise UserError(
            f"{path} is of operator set {version}: {OPSETS[0]} to {OPSETS[-1]} are known"
        )
    return version


def _array(path, tensor):
    """A tensor of the file as an array, its declared size checked against the bytes that are there
    first.
    """
    from onnx import TensorProto, helper, numpy_helper

    name = tensor.name or "constant"
    if any(size < 0 for size in tensor.dims) or tensor.HasField("segment"):
        raise UserError(f"{path}: tensor {name} has a size that cannot be")
    if tensor.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        raise UserError(f"{path}: tensor {name} holds no numbers")
    count = math.prod(tensor.dims)
    try:
        width = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    except Exception:
        raise UserError(f"{path}: tensor {name} has an unknown number format") from None
    if count * width > MAX_BYTES:
        raise UserError(f"{path}: tensor {name} declares {count} numbers: too large")
    if tensor.data_location == TensorProto.EXTERNAL:
        tensor = _with_outside_bytes(path, tensor, count * width)
    given = len(tensor.raw_data) if tensor.HasField("raw_data") else None
    typed = (
        tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data,
        tensor.uint64_data,
    )  # fmt: skip
    if (given is not None and given != count * width) or (
        given is None and max(map(len, typed)) != count
    ):
        raise UserError(f"{path}: tensor {name} declares {count} numbers and holds others")
    try:
        return np.array(numpy_helper.to_array(tensor))
    except Exception as error:
        raise UserError(f"{path}: tensor {name} is damaged ({type(error).__name__})") from None


def _with_outside_bytes(path, tensor, n_bytes):
    """The tensor with its bytes from a file in the folder of `path`."""
    from onnx import TensorProto

    entries = {one.key: one.value for one in tensor.external_data}
    folder, place = path.resolve().parent, entries.get("location", "")
    source = (folder / place).resolve() if is_inside(place) else folder
    if folder not in source.parents or not source.is_file():
        raise UserError(f"{path}: weights lie in {place!r}, which is no file in its folder")
    try:
        start, length = int(entries.get("offset", 0)), int(entries.get("length", n_bytes))
    except ValueError:
        start, length = -1, -1
    if length != n_bytes or start < 0 or start + length > source.stat().st_size:
        raise UserError(f"{path}: {source.name} does not hold the tensor {tensor.name}")
    with source.open("rb") as file:
        file.seek(start)
        content = file.read(length)
    twin = TensorProto(name=tensor.name, data_type=tensor.data_type, raw_data=content)
    twin.dims.extend(tensor.dims)
    return twin


def _sizes(value):
    """Declared sizes of an input, None where open."""
    dims = value.type.tensor_type.shape.dim
    return tuple(one.dim_value if one.HasField("dim_value") else None for one in dims)


def _node(path, node, index, opset):
    """A node of the file as plain data."""
    from onnx import AttributeProto, helper

    attributes = {}
    for one in node.attribute:
        if one.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            raise UserError(f"{path}: {node.op_type} ({node.name}) decides by values: not known")
        if one.type == AttributeProto.TENSOR:
            attributes[one.name] = _array(path, one.t)
        elif one.type in (AttributeProto.SPARSE_TENSOR, AttributeProto.TYPE_PROTO):
            raise UserError(f"{path}: {node.op_type} ({node.name}) has an attribute not known")
        else:
            attributes[one.name] = helper.get_attribute_value(one)
    name = node.name or f"{node.op_type.lower()}_{index}"
    if node.op_type != "Slice":  # which ends at the largest number there is
        check_sizes(f"{node.op_type} ({name})", attributes.values())
    inputs, outputs = tuple(node.input), tuple(node.output)
    return OnnxNode(node.op_type, name, inputs, outputs, attributes, opset)


def _without_aliases(nodes, weights):
    """The nodes without those that only give a weight another name (exporters keep equal weights
    once) or another number format (weights kept as whole numbers), the others reading it by its
    own.
    """
    own = {}
    kept = []
    for node in nodes:
        node = replace(node, inputs=tuple(own.get(name, name) for name in node.inputs))
        if node.kind == "Identity" and node.inputs[0] in weights:
            own[node.outputs[0]] = node.inputs[0]
        elif node.kind == "DequantizeLinear" and set(node.inputs) <= {*weights, ""}:
            given = (weights.get(one) for one in node.inputs)  # a name left blank is no zero point
            weights[node.outputs[0]] = _dequantised(node, *given)
        else:
            kept.append(node)
    return kept


def _dequantised(node, whole, scale, zero=None):
    """(whole number - zero) * scale; both per weight or along one axis."""
    axis = node.get("axis", 1)
    if node.get("block_size", 0) or (scale.size > 1 and not -whole.ndim <= axis < whole.ndim):
        raise node.refuse("in blocks is not known")
    shape = [1] * whole.ndim
    if scale.size > 1:
        shape[axis] = -1
    try:
        shifted = whole.astype(np.float32)
        shifted = shifted - (0 if zero is None else zero.astype(np.float32).reshape(shape))
        return shifted * scale.astype(np.float32).reshape(shape)
    except ValueError:
        raise node.refuse("has scales that do not fit its numbers") from None


def _advice(kinds):
    """What to do about operations that are not known."""
    if any("Quantize" in kind or "Integer" in kind or "QLinear" in kind for kind in kinds):
        return "it computes with whole numbers: import the network as it was before quantisation"
    return "its Python code can come in by --network"


def _check_names(path, signals, weights, nodes, outputs):
    """UserError where an operation reads what nothing before it gives."""
    known = {"", signals, *weights}
    for node in nodes:
        if missing := [name for name in node.inputs if name not in known]:
            raise UserError(f"{path}: {node.kind} ({node.name}) reads {missing[0]!r}: not there")
        known.update(node.outputs)
    if missing := [name for name in outputs if name not in known]:
        raise UserError(f"{path} returns {missing[0]!r}, which nothing computes")


# ---------------------------------------------------------------- metadata


def described(metadata: dict[str, str]) -> dict[str, object]:
    """What a file's metadata say: labels, unit, normalisation, sampling_rate, those that are there.

    UserError where they say something that is not known.
    """
    found: dict[str, object] = {}
    labels = _first(metadata, LABEL_KEYS)
    if labels:
        found["labels"] = _listed(labels)
    unit = _first(metadata, UNIT_KEYS)
    if unit and unit.lower() != "none":
        name = UNIT_NAMES.get(unit.lower(), unit)
        if name not in UNITS:
            raise UserError(f"the file says that its unit is {unit!r}: say which with --unit")
        found["unit"] = name
    normalisation = _first(metadata, NORMALISATION_KEYS)
    if normalisation is not None:
        name = NORMALISATION_NAMES.get(normalisation.strip().lower())
        if name is None:
            raise UserError(
                f"the file says that its normalisation is {normalisation!r}: say which with "
                "--normalisation"
            )
        found["normalisation"] = name
    rate = _first(metadata, RATE_KEYS)
    if rate and re.fullmatch(r"\d+(\.\d+)?", rate.strip()):
        found["sampling_rate"] = float(rate)
    return found


def _first(metadata, keys):
    return next((metadata[key] for key in keys if key in metadata), None)


def _listed(text):
    """['a', 'b'] or a,b as a list of texts; nothing is evaluated."""
    try:
        value = ast.literal_eval(text)
        return [str(one) for one in value] if isinstance(value, (list, tuple)) else [str(value)]
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [word.strip() for word in text.strip("[]").split(",") if word.strip()]


# ---------------------------------------------------------------- the network


class OnnxNetwork(nn.Module):
    """Runs the operations of a file one after the other, each inside a module of its own name.

    Weights are parameters; small and whole-number constants stay arrays, so that what follows from
    shapes is computed without any tensor.
    """

    places_in = "parts.places"  # under which its modules stand

    def __init__(
        self,
        signals: str,
        weights: dict[str, np.ndarray],
        nodes: list[OnnxNode],
        outputs: tuple[str, ...],
    ):
        super().__init__()
        self.signals, self.outputs = signals, outputs
        self.constants: dict[str, np.ndarray] = {}
        self.names: dict[str, str] = {}  # of the file -> of the parameter
        self.weights = nn.Module()
        measured = set()  # means and variances, and what these are put together from
        for node in reversed(nodes):
            if node.kind == "BatchNormalization":
                measured |= set(node.inputs[3:5])
            elif measured.intersection(node.outputs) - {""}:
                measured |= set(node.inputs)
        for name, array in weights.items():
            if array.dtype.kind not in "fV" or array.ndim == 0 or array.size == 1:
                self.constants[name] = array
                continue
            known = self.names[name] = f"weight_{len(self.names)}"
            values = torch.from_numpy(array.astype(np.float32))
            if name in measured:
                self.weights.register_buffer(known, values)
            else:
                self.weights.register_parameter(known, nn.Parameter(values))
        self.reshaping = [node for node in nodes if node.kind == "Reshape"]
        # name of a Reshape -> shape of its value, and sizes that it is given, for some records
        self.then: dict[str, tuple[tuple[int, ...], list[int]]] = {}
        self.parts = Parts(
            (path_of(node), functools.partial(_compute, node, self.then)) for node in nodes
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """What the file's network returns for its input."""
        values = self._values(x)
        returned = [values[name] for name in self.outputs]
        return returned[0] if len(returned) == 1 else returned

    def _values(self, x):
        """All values, by their names in the file."""
        values = {"": None, BLOCKS: {}, self.signals: x, **self.constants}
        for name, known in self.names.items():
            values[name] = getattr(self.weights, known)
        self.parts(values)
        return values

    @torch.no_grad()
    def learn_shapes(self, x: Tensor) -> None:
        """Looks at the shapes of one record's values (or of as many records as the file takes), so
        that numbers which were written for these are known as such. x: any input.
        """
        if not self.reshaping:
            return
        self.then.clear()
        for n in TRIED_RECORDS:
            try:
                values = self._values(x.new_zeros(n, *x.shape[1:]))
            except UserError:
                continue
            for node in self.reshaping:
                value, sizes = (values[name] for name in node.inputs[:2])
                if isinstance(value, Tensor) and is_static(sizes):
                    self.then[node.name] = tuple(value.shape), [int(one) for one in sizes]
            return


def _compute(node, then, values):
    """Adds a node's outputs to the values; the last one that is a tensor."""
    if missing := [name for name in node.inputs if name not in values]:
        raise node.refuse(f"reads {missing[0]!r}, which its operation does not give here")
    given = [values[name] for name in node.inputs]
    blocks = max([1, *(values[BLOCKS].get(name, 1) for name in node.inputs)])
    if node.name in then and is_static(given[1]):
        given[1], blocks = _sizes_now(node, given[0], given[1], *then[node.name], blocks)
    results = run_operation(node, given)
    values.update(zip(node.outputs, results, strict=False))
    if blocks != 1:
        values[BLOCKS].update(dict.fromkeys(node.outputs, blocks))
    return next((one for one in reversed(results) if isinstance(one, Tensor)), None)


BLOCKS = " blocks of records"  # among the values; no name of a file's


def _sizes_now(node, x, sizes, shape, written, blocks):
    """Sizes of a Reshape, those that do not follow the number of records for the present one; and
    the blocks of records in the result's record axis (fixed_batch.py).
    """
    given = [int(one) for one in np.asarray(sizes).reshape(-1)]
    if given != written or not isinstance(x, Tensor) or len(shape) != x.ndim:
        return sizes, 1
    if not node.get("allowzero", 0):
        given = [shape[at] if size == 0 and at < x.ndim else size for at, size in enumerate(given)]
    if tuple(x.shape) == shape or 0 in given:
        return sizes, 1
    given, blocks = resized(given, shape, tuple(x.shape), blocks)
    return np.array(given, dtype=np.int64), blocks


def path_of(node: OnnxNode) -> str:
    """The module path that an operation's name stands for: /layer1/conv/Conv -> layer1.conv."""
    words = [word for word in node.name.split("/") if word]
    while len(words) > 1 and re.fullmatch(rf"{node.kind}(_\d+)?", words[-1]):
        words.pop()
    parts = []
    for word in words:
        # PyTorch's exporter writes /layer1/layer1.0 for layer1.0
        if parts and word.startswith(parts[-1] + "."):
            word = word[len(parts[-1]) + 1 :]
        parts += [re.sub(r"\W", "_", part) for part in word.split(".") if part]
    return ".".join(parts) or node.kind.lower()
