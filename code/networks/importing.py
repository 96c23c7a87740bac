"""The ways in for a network of one's own: Python code and weights, an exported graph, an ONNX file.

Each way gives a Source: the network, what its file says of it, and where it came from. Only
`--network file.py:maker` runs code of the user's, because they named it; files are read as data.
"""

import contextlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from common.files import UserError, need_file, sha256
from common.labels import slug
from networks.models import MODELS, check_ready, unwrapped

# arguments of a maker that are filled in by name
CLASS_ARGUMENTS = ("num_classes", "n_classes", "nb_classes", "num_labels", "n_outputs")
LEAD_ARGUMENTS = (
    "n_leads",
    "num_leads",
    "in_channels",
    "n_channels",
    "num_channels",
    "input_channels",
)
STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "weights")  # where weights may lie
COUNTER = "num_batches_tracked"  # of a BatchNorm: files of old versions lack it


@dataclass(frozen=True)
class Source:
    """A network as it came.

    network  takes what it was trained on
    shape    of its input as far as the file says (N, ...), else ()
    said     what the file says of labels, unit, normalisation, sampling_rate
    facts    where it came from: plain values for ModelInfo.origin
    """

    network: nn.Module
    shape: tuple[int | None, ...] = ()
    said: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)


def from_onnx(path: str) -> Source:
    """A network of an ONNX file."""
    from networks.file_kinds import check_kind
    from networks.onnx_files import described, read_onnx  # where there is such a file

    check_kind(path, "onnx")
    file = read_onnx(path)
    facts = {"way": "onnx", "file": Path(path).name, "sha256": sha256(path)}
    return Source(file.network, file.shape, described(file.metadata), facts)


def from_exported(path: str) -> Source:
    """A network that torch.export.save wrote."""
    from networks.exported import read_exported  # where there is such a file
    from networks.file_kinds import check_kind

    check_kind(path, "exported")
    file = read_exported(path)
    facts = {"way": "exported", "file": Path(path).name, "sha256": sha256(path)}
    return Source(file.network, file.shape, facts=facts)


def from_code(spec: str, weights: str | None, n_classes: int, n_leads: int) -> Source:
    """A network of a Python file (file.py:maker) with the weights of a file, if any."""
    network = unwrapped(make_network(spec, n_classes, n_leads))
    check_ready(network)
    facts = {"way": "network", "file": Path(spec.rpartition(":")[0]).name}
    if weights:
        load_weights(network, weights)
        facts |= {"weights": Path(weights).name, "sha256": sha256(weights)}
    return Source(network.eval(), facts=facts)


# ---------------------------------------------------------------- Python code


def is_code(name: str | None) -> bool:
    """Whether a --modelname means code of one's own: file.py:maker."""
    return bool(name) and ".py:" in name


def register_architecture(spec: str) -> str:
    """Makes file.py:maker one of MODELS in this process, under the name of its file; that name."""
    path = Path(spec.rpartition(":")[0])
    name = slug(path.stem)
    if name in MODELS:
        raise UserError(f"{path.name} is called like the network {name}: rename the file")
    _maker(spec)
    MODELS[name] = lambda num_classes, n_leads=12: make_network(spec, num_classes, n_leads)
    ORIGINS[name] = {"way": "trained here", "file": path.name, "sha256": sha256(path)}
    return name


def make_network(spec: str, n_classes: int, n_leads: int) -> nn.Module:
    """What the function or class `maker` of file.py gives, called with the number of classes and of
    leads where its arguments ask for them by name. Runs the file.
    """
    maker = _maker(spec)
    try:
        with own_neighbours(_folder(spec)):  # it may import only now
            network = maker(**_arguments(spec, maker, n_classes, n_leads))
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # code of others may end the program
        raise UserError(f"{spec} fails: {_where(error)}") from None
    if not isinstance(network, nn.Module):
        raise UserError(f"{spec} gives {type(network).__name__}, not a torch.nn.Module")
    return network


def _maker(spec):
    file, _, name = spec.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise UserError(f"{spec!r}: a network of your own is file.py:function_or_class")
    path = need_file(file, "it holds the code of your network")
    known = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    module = importlib.util.module_from_spec(known)
    sys.modules[known.name] = module  # dataclasses and the like look themselves up there
    try:
        with own_neighbours(_folder(spec)):
            known.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # code of others may end the program
        raise UserError(f"{file} cannot be run: {_where(error)}") from None
    maker = getattr(module, name, None)
    if not callable(maker):
        raise UserError(f"{file} has no function or class {name!r}")
    return maker


def _folder(spec):
    return Path(spec.rpartition(":")[0]).resolve().parent


CODE = Path(__file__).resolve().parents[1]
_NEIGHBOURS: dict[Path, dict] = {}  # folder -> its modules that are called like ours


def _names_in(folder):
    """What can be imported from a folder by a name of its own."""
    files = {path.stem for path in folder.glob("*.py")}
    return files | {path.parent.name for path in folder.glob("*/*.py")}


def _take(names):
    """Modules of these names, and those inside them, out of Python's list."""
    chosen = [name for name in sys.modules if name.split(".")[0] in names]
    return {name: sys.modules.pop(name) for name in chosen}


@contextlib.contextmanager
def own_neighbours(folder: Path) -> Iterator[None]:
    """Imports find the files of `folder`, also those called like a file or room of this project;
    the project's own modules are back in their places afterwards.
    """
    shared = set() if folder == CODE else _names_in(folder) & _names_in(CODE)
    ours = _take(shared)
    sys.modules.update(_NEIGHBOURS.get(folder, {}))
    finder = _Beside(str(folder), shared)
    sys.meta_path.insert(0, finder)
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.meta_path.remove(finder)
        _NEIGHBOURS[folder] = _take(shared)
        sys.modules.update(ours)


@dataclass(frozen=True)
class _Beside:
    """Finds some names in one folder alone."""

    folder: str
    names: set[str]

    def find_spec(self, name, path=None, target=None):
        """Python's question where a module is; None: ask the others."""
        if name not in self.names:
            return None
        return importlib.machinery.PathFinder.find_spec(name, [self.folder])


def _arguments(spec, maker, n_classes, n_leads):
    values = dict.fromkeys(CLASS_ARGUMENTS, n_classes) | dict.fromkeys(LEAD_ARGUMENTS, n_leads)
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):
        return {}
    filled = {one.name: values[one.name] for one in parameters if one.name in values}
    needed = [
        one.name
        for one in parameters
        if one.default is one.empty
        and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        and one.name not in filled
    ]
    if needed:
        raise UserError(
            f"{spec} needs {', '.join(needed)}: give a function without arguments (or with "
            "num_classes and n_leads)"
        )
    return filled


def _where(error):
    """An exception of the user's code in one line: kind, message, file and line."""
    message = " ".join(str(error).split())[:200]
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {message}{place}"


# ---------------------------------------------------------------- weights


def load_weights(network: nn.Module, path: str | Path) -> None:
    """The weights of a .pt or .safetensors file into a network, all of them and no others; nothing
    is unpickled.

    They may lie inside a dict (`state_dict`, `model`, ...) and be named with a beginning
    (`module.`) of their own.
    """
    from networks.checkpoints import read_torch_file  # where there are weights
    from networks.file_kinds import SAFETENSORS, check_kind, read_safetensors

    path = need_file(path, "--weights names a state dict that torch.save wrote")
    remedy = "save it with torch.save(model.state_dict(), ...)"
    if check_kind(path, "weights") == SAFETENSORS:
        content = read_safetensors(path)
    else:
        content = read_torch_file(path, "a state dict of plain tensors", remedy)
    state = state_of(content)
    if state is None:
        raise UserError(f"{path} holds no state dict: save one with torch.save(model.state_dict())")
    if strange := [name for name in state if not isinstance(name, str)]:
        raise UserError(f"{path} has weights whose names are no texts ({strange[0]!r})")
    wanted = network.state_dict()
    found = _own_names(state, wanted, path)
    _say_others(content, wanted, path)
    _check_fit(path, wanted, found)
    network.load_state_dict(found, strict=True)


def _check_fit(path, wanted, found):
    """UserError where weights are missing or too many, or are of another shape or kind."""
    both = [name for name in wanted if name in found]
    faults = {
        "lacks": [name for name in wanted if name not in found],
        "has": [name for name in found if name not in wanted],
        "has another shape of": [name for name in both if wanted[name].shape != found[name].shape],
        "has complex numbers where real ones belong, or the other way round:": [
            name for name in both if wanted[name].is_complex() != found[name].is_complex()
        ],
    }
    for what, names in faults.items():
        if names:
            raise UserError(
                f"{path} does not fit the network: it {what} {', '.join(names[:5])}"
                + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            )


def state_of(content: object) -> dict[str, Tensor] | None:
    """The state dict in what a file holds, None where there is none."""
    if not isinstance(content, Mapping):
        return None
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    inside = (state_of(content[key]) for key in STATE_KEYS if key in content)
    if known := next((state for state in inside if state), None):
        return known
    others = [state for state in map(state_of, content.values()) if state]
    if len(others) == 1:
        return others[0]
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    return tensors if tensors and not others else None  # beside numbers like the epoch


def _beginnings(state, wanted):
    """What stands before the network's own names in a state dict (`module.`), each with the number
    of tensors that have it.
    """
    found = Counter()
    for name in state:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                found["".join(f"{part}." for part in parts[:cut])] += 1
    return found


def _own_names(state, wanted, path):
    """The state dict by the network's own names. What has another beginning than these (a loss's
    tensors, a counter) is left out and said; what counts batches may be missing.
    """
    state = {name.replace("_orig_mod.", ""): value for name, value in state.items()}
    counters = {name for name in wanted if name.endswith(COUNTER)}
    beginnings = _beginnings(state, wanted)
    whole = [
        beginning
        for beginning in beginnings
        if all(beginning + name in state for name in wanted.keys() - counters)
    ]
    if len(whole) > 1:
        shown = ", ".join(beginning or "no beginning" for beginning in whole)
        raise UserError(f"{path} holds the network's weights more than once ({shown}): keep one")
    beginning = whole[0] if whole else max(beginnings, key=beginnings.get, default="")
    found = {
        name.removeprefix(beginning): value
        for name, value in state.items()
        if name.startswith(beginning)
    }
    others = [name for name in state if not name.startswith(beginning)]
    if whole and others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        print(f"left out of {path}: {', '.join(others[:3])}{more}, which are not the network's")
    return {name: wanted[name] for name in counters} | found


def _say_others(content, wanted, path):
    """Say which of several sets of weights in a file was taken (beside `ema`, say)."""
    known = {key: state_of(value) for key, value in content.items() if isinstance(value, Mapping)}
    fitting = [key for key, state in known.items() if state and _beginnings(state, wanted)]
    if len(fitting) > 1:
        taken = next((key for key in STATE_KEYS if key in fitting), fitting[0])
        others = ", ".join(key for key in fitting if key != taken)
        print(f"{path} holds several sets of weights: {taken} is taken, not {others}")


# what train_model.py notes of architectures of one's own, by their name
ORIGINS: dict[str, dict] = {}

# option that names a network -> Source, from all options and the numbers of classes and leads
WAYS: dict[str, Callable[..., Source]] = {
    "exported": lambda args, n_classes, n_leads: from_exported(args.exported),
    "onnx": lambda args, n_classes, n_leads: from_onnx(args.onnx),
    "network": lambda args, n_classes, n_leads: from_code(
        args.network, args.weights, n_classes, n_leads
    ),
}
