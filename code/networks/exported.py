"""Networks that torch.export.save wrote (.pt2), read as data.

PyTorch's own torch.export.load evaluates texts of the file and unpickles: a file of a stranger
could run anything. Here the archive's graph (JSON) and weights (plain bytes) are read alone, the
operations are looked up in the allow-list of networks/operations.py, and numbers that follow from
shapes are computed by the few operations of INTEGERS. Sample inputs and everything pickled are left
alone. Source: the schema of torch.export's archives, version 8.
"""

import json
import math
import operator
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.files import UserError, check_archive, need_file
from networks.fixed_batch import expanded, joined, resized
from networks.operations import OPERATIONS, check_sizes
from networks.parts import Parts
from networks.recurrent import lstm, states_for
from networks.rewriting import ONE_TO_ONE, PIECES, RENAMED

MAX_JSON = 200_000_000
SCHEMA = 8
# numbers of the schema -> formats
DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64,
    6: torch.float16, 7: torch.float32, 8: torch.float64, 10: torch.complex64,
    11: torch.complex128, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
WITHOUT_TRAINING = {
    "dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout",
}  # fmt: skip
COPIES = {"lift_fresh_copy", "detach", "detach_", "alias", "clone", "contiguous"}
SKIPPED = {
    "_assert_scalar", "_assert_tensor_metadata", "_assert_async", "sym_constrain_range",
    "sym_constrain_range_for_size",
}  # fmt: skip
# what is computed on numbers that follow from shapes
INTEGERS: dict[str, Callable] = {
    name: getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "ge", "gt", "le", "lt", "eq", "ne")
} | {"sym_max": max, "sym_min": min, "sym_sum": sum}
ELSEWHERE = "; its Python code can come in by --network"
LEFT_OUT = ("as_memory_format", "as_layout")  # of no consequence for what is computed


def _batch_norm(x, weight, bias, mean, variance, momentum, eps):
    return (F.batch_norm(x, mean, variance, weight, bias, False, momentum, eps), None, None)


def _layer_norm(x, shape, weight, bias, eps):
    return (F.layer_norm(x, shape, weight, bias, eps), None, None)


def _group_norm(x, weight, bias, _records, _channels, _rest, groups, eps):
    return (F.group_norm(x, groups, weight, bias, eps), None, None)


def _batch_norm_of_itself(x, weight, bias, training, momentum, eps):
    """What an instance norm decomposes to: all records and channels lie side by side as channels
    of one record.
    """
    if len(x) != 1 or weight is not None:
        raise UserError(
            "a BatchNorm (_native_batch_norm_legit) takes the statistics of its batch: export the "
            "network after network.eval()"
        )
    return (F.layer_norm(x, x.shape[2:], None, None, eps), None, None)


def _spectrum(x, dims, normalisation, onesided):
    if len(dims) != 1 or normalisation:
        raise UserError("_fft_r2c over several axes, or scaled, is not known")
    return torch.fft.rfft(x, dim=dims[0]) if onesided else torch.fft.fft(x, dim=dims[0])


def _complex_spectrum(x, dims, normalisation, forward):
    """One axis after the other; without a factor the inverse is that of "forward"."""
    names = ("backward", "ortho", "forward") if forward else ("forward", "ortho", "backward")
    function = torch.fft.fft if forward else torch.fft.ifft
    for dim in dims:
        x = function(x, dim=dim, norm=names[normalisation])
    return x


def _signal_of(x, dims, normalisation, size):
    if len(dims) != 1 or normalisation != 2:
        raise UserError("_fft_c2r over several axes, or scaled otherwise, is not known")
    return torch.fft.irfft(x, n=size, dim=dims[0])


def _recurrent(function: Callable) -> Callable:
    """A recurrent layer whose states may have been written for one record."""

    def run(x, states, weights, *settings):
        records = x.shape[0 if settings[-1] else 1]  # settings end with batch_first
        if isinstance(states, list):
            return function(x, states_for(states, records), weights, *settings)
        return function(x, states_for([states], records)[0], weights, *settings)

    return run


def _addmm(bias, x, matrix, beta=1, alpha=1):
    if (beta, alpha, bias.ndim) != (1, 1, 1):
        return torch.addmm(bias, x, matrix, beta=beta, alpha=alpha)
    return F.linear(x, matrix.t(), bias)  # what it was before


def _pool(in_one: Callable, in_two: Callable, several: bool = False) -> Callable:
    """A pool over (1, time), which decomposed graphs have for one over time, as the latter."""

    def run(x, sizes, *rest):
        if x.ndim != 4 or x.shape[2] != 1 or sizes[0] != 1:
            found = in_two(x, sizes, *rest)
        else:
            rest = [one[-1:] if isinstance(one, (list, tuple)) else one for one in rest]
            found = in_one(x.squeeze(2), list(sizes[-1:]), *rest).unsqueeze(2)
        return (found, None) if several else found

    return run


# operations of decomposed graphs, as what they were decomposed from
REWRITTEN: dict[str, Callable] = {
    "_native_batch_norm_legit_no_training": _batch_norm,
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    "_native_batch_norm_legit": _batch_norm_of_itself,
    "_fft_r2c": _spectrum,
    "_fft_c2c": _complex_spectrum,
    "_fft_c2r": _signal_of,
    "addmm": _addmm,
    "lstm": _recurrent(lstm),
    "gru": _recurrent(torch.gru),
    "rnn_tanh": _recurrent(torch.rnn_tanh),
    "rnn_relu": _recurrent(torch.rnn_relu),
    "max_pool2d_with_indices": _pool(torch.max_pool1d, torch.max_pool2d, several=True),
    "adaptive_max_pool2d": _pool(F.adaptive_max_pool1d, F.adaptive_max_pool2d, several=True),
    "avg_pool2d": _pool(F.avg_pool1d, F.avg_pool2d),
    "adaptive_avg_pool2d": _pool(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d),
    "_adaptive_avg_pool2d": _pool(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d),
    "cat": joined,
    "copy": lambda x, source, _=False: source.expand_as(x).to(x.dtype),
    "fill": lambda x, number: torch.zeros_like(x) + number,
}
OVERWRITING = ("copy_", "fill_", "zero_")  # what capture() makes values of
WITH_SIZES = ("view", "reshape", "_unsafe_view", "expand", "repeat")


@dataclass(frozen=True)
class ExportedFile:
    """A network of a .pt2 file, and the sizes of its input, None where they are open."""

    network: nn.Module
    shape: tuple[int | None, ...]


def read_exported(path: str | Path) -> ExportedFile:
    """Read a file; UserError, in one line, where it is damaged, hostile or holds the unknown."""
    path = need_file(path, "--exported names what torch.export.save wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, _Archive(path, archive))
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file may bring
        reason = type(error).__name__
        raise UserError(f"{path} is no readable file of torch.export ({reason})") from None


class _Archive:
    """Entries of the archive by their name without the leading folder, sizes checked."""

    def __init__(self, path, archive):
        self.path, self.archive = path, archive
        self.entries = {}
        for entry in archive.infolist():
            name = entry.filename.split("/", 1)[-1]
            if name in self.entries:
                raise UserError(f"{path} holds {name} twice")
            self.entries[name] = entry
        check_archive(path, archive)

    def json(self, name):
        """The content of a JSON entry."""
        if name not in self.entries:
            raise UserError(f"{self.path} is no file of torch.export: it has no {name}")
        if self.entries[name].file_size > MAX_JSON:
            raise UserError(f"{self.path}: {name} is too large")
        return json.loads(self.archive.read(self.entries[name]))

    def tensors(self, kind):
        """Name -> (tensor, is a parameter) of `weights` or `constants`."""
        folder = f"data/{kind}/"
        config = self.json(f"{folder}model_{kind}_config.json")["config"]
        found = {}
        for name, entry in config.items():
            if entry.get("use_pickle", True):
                raise UserError(f"{self.path}: {kind} {name} is pickled, which is not read")
            meta = entry["tensor_meta"]
            content = self.archive.read(self.entries[folder + entry["path_name"]])
            tensor = _tensor(self.path, name, meta, content)
            found[name] = (tensor, bool(entry.get("is_param")))
        return found


def _tensor(path, name, meta, content):
    """A tensor of plain bytes, its sizes checked against them."""
    if meta["dtype"] not in DTYPES:
        raise UserError(f"{path}: tensor {name} has an unknown number format {meta['dtype']}")
    sizes = [_whole(one) for one in meta["sizes"]]
    strides = [_whole(one) for one in meta["strides"]]
    offset = _whole(meta["storage_offset"])
    tensor = strided(content, DTYPES[meta["dtype"]], sizes, strides, offset, f"{path}: {name}")
    return tensor.float() if tensor.is_floating_point() else tensor


def strided(
    content: bytes,
    dtype: torch.dtype,
    sizes: list[int],
    strides: list[int],
    offset: int,
    name: str = "a tensor of the file",
) -> Tensor:
    """A tensor of plain bytes; UserError where its sizes and strides reach beyond them."""
    if len(sizes) != len(strides) or min([0, offset, *sizes, *strides]) < 0:
        raise UserError(f"{name} has a size that cannot be")
    if math.prod(sizes) == 0:
        return torch.zeros(sizes, dtype=dtype)
    last = offset + sum((size - 1) * step for size, step in zip(sizes, strides, strict=True))
    if (last + 1) * dtype.itemsize > len(content) or math.prod(sizes) > last + 1:
        raise UserError(f"{name} declares more numbers than it holds")
    usable = len(content) // dtype.itemsize * dtype.itemsize
    flat = torch.frombuffer(bytearray(content[:usable]), dtype=dtype)
    return flat.as_strided(sizes, strides, offset).clone()


def _whole(value):
    number = value["as_int"] if isinstance(value, dict) else value
    if type(number) is not int:
        raise UserError("a size of a tensor is no whole number")
    return number


def _read(path, archive):
    """The network of an archive."""
    model = archive.json("models/model.json")
    version = model.get("schema_version", {}).get("major")
    if version != SCHEMA:
        raise UserError(f"{path} is of schema version {version}, {SCHEMA} is known")
    module = model["graph_module"]
    graph = module["graph"]
    stored = archive.tensors("weights") | archive.tensors("constants")
    tensors, signals = _inputs(path, module["signature"], stored)
    shape = _shape(graph["tensor_values"][signals])
    operations = []
    for node in graph["nodes"]:
        run = _operation(path, node, graph["tensor_values"], shape[0] if shape else None)
        if run is not None:
            operations.append((_path_of(node), run))
    outputs = _outputs(path, module["signature"], graph["nodes"])
    return ExportedFile(ExportedNetwork(signals, tensors, operations, outputs), shape)


def _inputs(path, signature, stored):
    """Name in the graph -> (tensor, is a parameter), and the name of the signals."""
    tensors, signals = {}, []
    for spec in signature["input_specs"]:
        ((kind, content),) = spec.items()
        argument = content["arg"]
        if kind == "user_input":
            signals.append(argument["as_tensor"]["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            name = content[f"{kind}_name"]
            if name not in stored:
                raise UserError(f"{path} lacks the tensor {name}")
            tensors[argument["name"]] = stored[name]
        else:
            raise UserError(f"{path} takes an input of kind {kind}: not known")
    if len(signals) != 1:
        raise UserError(f"{path} takes {len(signals)} inputs: one is needed, the signals")
    return tensors, signals[0]


def _outputs(path, signature, nodes):
    """Names of what the network returns."""
    names, changed = [], set()
    buffers = {
        spec["buffer"]["buffer_name"]: spec["buffer"]["arg"]["name"]
        for spec in signature["input_specs"]
        if "buffer" in spec
    }
    for spec in signature["output_specs"]:
        ((kind, content),) = spec.items()
        if kind == "buffer_mutation":  # counts its calls, say: of no consequence unless read
            changed.add(buffers.get(content["buffer_name"]))
        elif kind != "user_output":
            raise UserError(
                f"{path} changes its own tensors ({kind}): export it in evaluation mode"
            )
        elif "as_tensor" in content["arg"]:
            names.append(content["arg"]["as_tensor"]["name"])
    if not names:
        raise UserError(f"{path} returns no tensor")
    if changed & _read_by(names, nodes):
        raise UserError(
            f"{path} changes its own tensors and reads them: export it in evaluation mode"
        )
    return names


def _read_by(names, nodes):
    """All values that some are computed from."""
    found = set(names)
    for node in reversed(nodes):
        if found & _named(node["outputs"]):
            found |= _named(node["inputs"])
    return found


def _named(content):
    """Every text of nested data: among them the names of the values."""
    if isinstance(content, dict):
        return set().union(*map(_named, content.values()))
    if isinstance(content, list):
        return set().union(*map(_named, content))
    return {content} if isinstance(content, str) else set()


def _shape(value):
    """Sizes of a tensor of the graph, None where open."""
    return tuple(size.get("as_int") for size in value["sizes"])


def _path_of(node):
    """The module that an operation was in when it was exported."""
    stack = str(node.get("metadata", {}).get("nn_module_stack", "")).split(";")[-1].split(",")
    path = stack[1] if len(stack) > 1 else ""
    path = re.sub(r"@\d+", "", path)
    return path if re.fullmatch(r"[\w.]+", path) and not path.startswith("_empty") else ""


# ---------------------------------------------------------------- operations


def _operation(path, node, declared, batch):
    """A function that computes a node from the values so far; None where there is nothing to do.

    declared  what the file says of its values
    """
    target = str(node["target"])
    kind, function = _function(path, target)
    if function is None:
        return None
    name = f"{kind} ({_path_of(node) or node.get('name') or 'its forward'})"
    positional = [entry["arg"] for entry in node["inputs"] if entry.get("kind", 1) == 1]
    named = {
        entry["name"]: entry["arg"]
        for entry in node["inputs"]
        if entry.get("kind", 1) != 1 and not set(entry["arg"]) & set(LEFT_OUT)
    }

    first = positional[0].get("as_tensor") if positional else None
    then = _shape(declared[first["name"]]) if first and kind in WITH_SIZES else ()

    def run(values):
        try:
            args = [_argument(value, values) for value in positional]
            blocks = values["x blocks"].get(first["name"], 1) if first else 1
            kwargs = {key: _argument(value, values) for key, value in named.items()}
            check_sizes(name, [*args, *kwargs.values()])
            if kind in WITH_SIZES and batch is not None:
                args, blocks = _for_any_batch(kind, args, then, batch, values, blocks)
            _note_blocks(node["outputs"], blocks, values)
            return _bind(node["outputs"], function(*args, **kwargs), values)
        except UserError:
            raise
        except Exception as error:  # whatever does not fit together in a file
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            if batch is not None:
                reason += f" (exported for {batch} records: export it with a dynamic number)"
            raise UserError(f"operation {name} of {path.name} fails: {reason}") from None

    return run


def _function(path, target):
    """Kind and function of an operation's target; the function None for what is left out."""
    found = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target)
    if not found:
        kind = re.sub(r"^(_operator|operator|torch|math)\.", "", target)
        if kind == "getitem":
            return kind, operator.getitem
        if kind in INTEGERS and kind != target:
            return kind, INTEGERS[kind]
        raise UserError(f"{path} has an operation that is not known: {target[:100]}{ELSEWHERE}")
    kind, overload = found.groups()
    if kind in SKIPPED:
        return kind, None
    if kind == "sym_size":
        return kind, lambda x, dim: int(x.shape[dim])
    if kind in REWRITTEN:
        return kind, REWRITTEN[kind]
    if kind in ("view", "_unsafe_view"):  # memory may lie otherwise here
        return kind, torch.ops.aten.reshape.default
    if kind in COPIES:
        return kind, lambda x, **_: x.clone()
    plain = kind.removesuffix("_") if not kind.startswith("_") else kind
    known = OPERATIONS | WITHOUT_TRAINING | ONE_TO_ONE.keys() | PIECES.keys() | RENAMED.keys()
    if plain not in known and kind not in OVERWRITING:
        in_training = "batch_norm" in kind or "dropout" in kind
        advice = ": export the network after network.eval()" if in_training else ELSEWHERE
        raise UserError(f"{path} has an operation that is not known: {target[:100]}{advice}")
    function = getattr(getattr(torch.ops.aten, kind, None), overload, None)
    if function is None:
        raise UserError(f"{path} has an operation that this PyTorch has not: {target[:100]}")
    return kind, function


def _for_any_batch(kind, args, then, batch, values, blocks):
    """Sizes that were written for `batch` records, for the number that there is; and the blocks of
    records in the result's record axis (fixed_batch.py).

    then  shape that the value had with `batch` records
    """
    x, sizes, *rest = args
    records = values["x records"]
    if not isinstance(sizes, list) or not sizes or records == batch or len(then) != x.ndim:
        return args, blocks
    now = tuple(x.shape)
    if kind in ("expand", "repeat"):
        constant = now == then and now[0] == 1 and len(sizes) == len(now)
        if constant and sizes[0] == batch:
            sizes = [records, *sizes[1:]]
        elif kind == "expand":
            sizes = expanded(sizes, then, now)
        return [x, sizes, *rest], blocks
    sizes, blocks = resized(sizes, then, now, blocks)
    return [x, sizes, *rest], blocks


def _note_blocks(outputs, blocks, values):
    """Keeps how many blocks of records a result has in its record axis, where it is not one."""
    if blocks != 1:
        names = [one["as_tensor"]["name"] for one in outputs if "as_tensor" in one]
        values["x blocks"].update(dict.fromkeys(names, blocks))


def _argument(value, values):
    """An argument of the schema as the operation takes it."""
    ((tag, content),) = value.items()
    if tag == "as_tensor":
        return values[content["name"]]
    if tag in ("as_tensors", "as_nested_tensors"):
        return [values[one["name"]] for one in content]
    if tag in ("as_sym_int", "as_sym_bool", "as_sym_float"):
        return _symbol(content, values)
    if tag in ("as_sym_ints", "as_sym_bools", "as_sym_floats"):
        return [_symbol(one, values) for one in content]
    if tag == "as_optional_tensors":
        return [_argument(one, values) for one in content]
    if tag == "as_optional_tensor":
        return _argument(content, values)
    if tag == "as_none" or tag in LEFT_OUT:
        return None
    if tag == "as_scalar_type":
        dtype = DTYPES[content]
        return torch.float32 if dtype.is_floating_point else dtype
    if tag == "as_complex":
        return complex(content["real"], content["imag"])
    if tag == "as_device":
        return values["x device"]
    if tag in ("as_int", "as_float", "as_bool", "as_string"):
        return float(content) if tag == "as_float" else content
    if tag in ("as_ints", "as_floats", "as_bools"):
        return list(content)
    raise UserError(f"an operation takes an argument of kind {tag}: not known")


def _symbol(content, values):
    ((tag, value),) = content.items()
    return values[value] if tag == "as_name" else value


def _bind(outputs, result, values):
    """Names an operation's results; the last one that is a tensor."""
    if len(outputs) == 1 and "as_tensors" in outputs[0]:
        outputs = [{"as_tensor": one} for one in outputs[0]["as_tensors"]]
    several = result if isinstance(result, (tuple, list)) else (result,)
    last = None
    for output, value in zip(outputs, several, strict=False):
        ((tag, content),) = output.items()
        if tag == "as_tensor":
            values[content["name"]] = last = value
        elif tag in ("as_sym_int", "as_sym_bool", "as_sym_float"):
            values[content["as_name"]] = value
    return last if isinstance(last, Tensor) else None


class ExportedNetwork(nn.Module):
    """Runs the operations of a file one after the other."""

    places_in = "parts.places"  # under which its modules stand

    def __init__(self, signals: str, tensors: dict, operations: list, outputs: list[str]):
        super().__init__()
        self.signals, self.outputs = signals, outputs
        self.names = tuple(tensors)
        self.weights = nn.Module()
        for index, (tensor, learned) in enumerate(tensors.values()):
            if learned and tensor.is_floating_point():
                self.weights.register_parameter(f"weight_{index}", nn.Parameter(tensor))
            else:
                self.weights.register_buffer(f"weight_{index}", tensor)
        self.parts = Parts(operations)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """What the file's network returns for its input."""
        values = {self.signals: x, "x device": x.device, "x records": len(x), "x blocks": {}}
        for index, name in enumerate(self.names):
            values[name] = getattr(self.weights, f"weight_{index}")
        self.parts(values)
        returned = [values[name] for name in self.outputs]
        return returned[0] if len(returned) == 1 else returned
