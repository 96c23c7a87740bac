"""A network of one's own as the stages take it: preprocessing, the network, and its logits, one
graph with a ModelInfo.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from torch import Tensor, nn

from common.files import UserError
from common.labels import LABEL_MAPPINGS, LEADS, OWN_TASK
from networks.capture import MisfitError, capture
from networks.checkpoints import IMPORTED, ModelInfo
from networks.models import check_ready, sharing_copy, unwrapped
from networks.preprocessing import (
    LAYOUTS,
    NORMALISATIONS,
    OF_THE_RECORD,
    Axes,
    Expected,
    Preprocessing,
    check_expected,
)
from networks.program import PREPROCESSING, Program, Ref, inputs_of, rebuilt, references
from records.tasks import check_classes

RECORD_SECONDS = 10.0  # of PTB-XL's records
OUTPUTS = ("logits", "probabilities")
# operations that turn logits into probabilities, one to one with their order within a class
SQUASHING = {
    "sigmoid": "sigmoid",
    "softmax": "softmax",
    "_softmax": "softmax",
    "log_softmax": "softmax",
    "_log_softmax": "softmax",
    "log_sigmoid": "sigmoid",
}
# operations that hand on their arguments' values
HANDING_ON = {
    "reshape",
    "squeeze",
    "unsqueeze",
    "flatten",
    "transpose",
    "permute",
    "t",
    "select",
    "slice",
    "index_select",
    "to",
    "_to_copy",
    "getitem",
    "unbind",
    "expand",
    "stack",
    "cat",
}


@dataclass(frozen=True)
class Records:
    """The records that a network will be given: Hz (whole) and s."""

    sampling_rate: int
    seconds: float = RECORD_SECONDS


class Logits(nn.Module):
    """The classes of what a network returns, as (N, classes).

    index    which of several outputs, None where there is one
    columns  which of its values, in the order of the labels; None: all
    """

    def __init__(self, index: int | None, columns: Sequence[int] | None, n_labels: int):
        super().__init__()
        self.index, self.n_labels = index, n_labels
        self.columns = None if columns is None else list(columns)

    def forward(self, returned: object) -> Tensor:
        """Whatever a network returns -> (N, classes)."""
        output = self._chosen(returned)
        values = output
        if output.ndim != 2:
            values = output.unsqueeze(1) if output.ndim == 1 else output.flatten(1)
        n_values = values.shape[1]
        if output.ndim > 2 and max(output.shape[1:]) != n_values:
            raise UserError(
                f"the network returns {tuple(output.shape[1:])} values per record: classes cannot "
                "be told from time, leads or channels; let it return (records, classes), as by a "
                "mean over the others"
            )
        if self.columns is None and n_values != self.n_labels:
            raise UserError(
                f"the network returns {n_values} values per record, there are {self.n_labels} "
                "labels: --columns says which values are the labels'"
            )
        if self.columns is None:
            return values
        if not all(0 <= column < n_values for column in self.columns):
            raise UserError(
                f"--columns must be 0 to {n_values - 1}: the network returns {n_values}"
            )
        return torch.stack([values[:, column] for column in self.columns], dim=1)

    def _chosen(self, returned):
        if isinstance(returned, Tensor) and self.index is None:
            return returned
        several = _parts(returned)
        if isinstance(several, Tensor):
            raise UserError("--output_index: the network returns a single output")
        shapes = [_shape(one) for one in several]
        if self.index is None and len(several) != 1:
            raise UserError(
                f"the network returns {len(several)} outputs of shapes {shapes}: --output_index "
                "says which one holds the classes"
            )
        index = self.index or 0
        if not 0 <= index < len(several) or several[index] is None:
            raise UserError(
                f"--output_index {index}: the network returns outputs of shapes {shapes}"
            )
        if not isinstance(several[index], Tensor):
            raise UserError(
                f"the network's output {index} is of several parts ({shapes[index]}): let it put "
                "them together (torch.cat, torch.stack)"
            )
        return several[index]


def _shape(returned):
    """The shape of an output; of one that has parts, a list of theirs."""
    if isinstance(returned, Tensor):
        return tuple(returned.shape)
    if isinstance(returned, (tuple, list, dict)):
        return [_shape(one) for one in _parts(returned)]
    return None


def _parts(returned):
    """The outputs in what a network returned: of a dict or dataclass its values."""
    if isinstance(returned, dict):
        return list(returned.values())
    if is_dataclass(returned):
        return [getattr(returned, one.name) for one in fields(returned)]
    if isinstance(returned, (Tensor, tuple, list)):
        return returned
    raise UserError(
        f"the network returns {type(returned).__name__}, which is no tensor and no tuple, list or "
        "dict of them"
    )


class Whole(nn.Module):
    """Preprocessing, network and choice of outputs, one after the other."""

    def __init__(self, preprocessing: Preprocessing, network: nn.Module, logits: Logits):
        super().__init__()
        self.preprocessing, self.network, self.logits = preprocessing, network, logits

    def forward(self, x: Tensor) -> Tensor:
        """Records (N, leads, T) in mV -> (N, classes)."""
        return self.logits(self.network(self.preprocessing(x)))


def wrap(
    module: nn.Module,
    labels: Sequence[str],
    leads: Sequence[str] = LEADS,
    sampling_rate: float = 100,
    seconds: float = RECORD_SECONDS,
    unit: str = "mV",
    normalisation: str = "none",
    *,
    padding: str = "centre",
    layout: str = "leads_time",
    means: Sequence[float] | None = None,
    deviations: Sequence[float] | None = None,
    output_index: int | None = None,
    columns: Sequence[int] | None = None,
    outputs: str | None = None,
    record_rate: int | None = None,
    record_seconds: float | None = None,
    task: str | None = None,
    run_name: str | None = None,
) -> Program:
    """A network of your own as attribute(), explain_records(), predict() and TCAV take it.

    labels         its classes, in the order of its outputs
    leads          its input leads, in its order
    sampling_rate, seconds, unit, normalisation, padding, layout, means, deviations
                   what it was trained on (preprocessing.Expected)
    output_index   which of several outputs holds the classes; `columns` which of its values
    outputs        logits or probabilities; None: probabilities where it ends in a sigmoid or
                   softmax, whose input is then explained
    record_rate, record_seconds  of the records that it will be given (default: its own)
    task           the task that its labels are of (default: found by their names, else own classes)
    Returns the graph in evaluation mode, with `.info`; it shares the network's weights. Raises
    UserError, in one line, for what does not fit.
    """
    expected = Expected(
        sampling_rate,
        seconds,
        unit,
        normalisation,
        padding,
        layout,
        None if means is None else tuple(map(float, means)),
        None if deviations is None else tuple(map(float, deviations)),
    )
    records = Records(record_rate or round(sampling_rate), record_seconds or seconds)
    return foreign(
        module,
        list(labels),
        list(leads),
        expected,
        records,
        Logits(output_index, columns, len(labels)),
        outputs,
        task,
        run_name,
    )


def foreign(
    module: nn.Module,
    labels: list[str],
    leads: list[str],
    expected: Expected,
    records: Records,
    logits: Logits,
    outputs: str | None = None,
    task: str | None = None,
    run_name: str | None = None,
    origin: dict | None = None,
) -> Program:
    """wrap() with what it puts together; `origin` is kept in the ModelInfo."""
    labels, leads = check_labels(labels), check_leads(leads)
    check_expected(expected, len(leads))
    if outputs not in (None, *OUTPUTS):
        raise UserError(f"unknown outputs {outputs!r}: accepted are {', '.join(OUTPUTS)}")
    module = unwrapped(module)
    check_ready(module)
    crop_seconds = float(min(expected.seconds, records.seconds))
    n_samples = round(crop_seconds * records.sampling_rate)
    preprocessing = Preprocessing(expected, len(leads), n_samples, records.sampling_rate)
    weight = next(module.parameters(), torch.zeros(1))
    whole = Whole(preprocessing.to(weight), module, logits)
    example = torch.zeros(1, len(leads), n_samples, dtype=weight.dtype, device=weight.device)
    if hasattr(module, "learn_shapes"):  # of a file
        module.learn_shapes(whole.preprocessing(example))
    inner = getattr(module, "places_in", "")
    program = own_places(_captured(whole, example, expected), f"network.{inner}".rstrip("."))
    if weight.dtype != torch.float32:  # records come in single precision
        program = copy.deepcopy(program).float()
    program, squashed = without_squashing(program, outputs)
    _check_rows(program, example.float())
    facts = {
        **(origin or {}),
        "outputs": squashed or "logits",
        "network_rate": float(expected.sampling_rate),
        "network_seconds": float(expected.seconds),
        "unit": expected.unit,
        "normalisation": expected.normalisation,
        "padding": expected.padding,
        "preprocessing": preprocessing.described(),
    }
    program.info = ModelInfo(
        modelname=IMPORTED,
        task=task or task_of(labels),
        labels=tuple(labels),
        leads=tuple(leads),
        sampling_rate=records.sampling_rate,
        crop_seconds=crop_seconds,
        folds={"train": [], "validation": [9], "test": [10]},
        seed=0,
        run_name=run_name,
        origin=facts,
    )
    return program.eval()


FIXED = (
    "it was exported for a fixed number of records (export it for a single one), or drops the axis "
    "of a single one, as x.squeeze() does (x.squeeze(-1) names an axis)"
)


def _check_rows(program, example):
    """UserError where the network does not give a row per record."""
    with torch.no_grad():
        for n in (1, 2):
            try:
                rows = len(program(example.expand(n, -1, -1)))
            except UserError as error:
                raise UserError(
                    f"the network fails on {n} of its records ({error}): {FIXED}"
                ) from None
            if rows != n:
                raise UserError(f"the network gives {rows} rows for {n} records: {FIXED}")


def _captured(whole, example, expected):
    """The graph of a Whole; where it fails, what other axes of its input it takes, or, of a file,
    what else can be tried.
    """
    try:
        return capture(whole, example)
    except MisfitError as error:
        fitting = _fitting_layouts(whole, example, expected)
        if not fitting:
            raise
        said = f"{error}".split("; its length")[0]
        raise UserError(f"{said}; it runs with --layout {' or '.join(fitting)}") from None
    except UserError as error:
        if not hasattr(whole.network, "places_in") or "export" in str(error):
            raise
        raise UserError(
            f"{error}; export the network after network.eval() for one record or any number, or "
            "give its Python code (--network)"
        ) from None


def _fitting_layouts(whole, example, expected):
    """Layouts, but the one that was tried, on which a network does not fail."""
    twin = sharing_copy(whole.network).eval()
    blank = example.new_zeros(2, example.shape[1], expected.samples)
    fitting = []
    for layout in LAYOUTS:
        try:
            with torch.no_grad():
                twin(Axes(layout)(blank))
        except (Exception, SystemExit):  # whatever the code of others may raise
            continue
        fitting.append(layout)
    return [layout for layout in fitting if layout != expected.layout]


def task_of(labels: Sequence[str]) -> str:
    """The first classification task that knows all labels, else OWN_TASK."""
    for task, known in LABEL_MAPPINGS.items():
        if set(labels) <= set(known):
            return task
    return OWN_TASK


def check_labels(labels: Sequence[str]) -> list[str]:
    """The labels; UserError where there are none, one is blank or stands twice."""
    names = [str(label).strip() for label in labels]
    if not names or not all(names) or len(set(names)) < len(names):
        raise UserError(f"labels must be names that differ from each other, got {names}")
    check_classes(names, "labels")
    return names


def check_leads(leads: Sequence[str]) -> list[str]:
    """The leads spelled as in LEADS; UserError names those that are none of the twelve."""
    spelled = {lead.lower(): lead for lead in LEADS}
    names = [str(lead).strip() for lead in leads]
    if strange := [name for name in names if name.lower() not in spelled]:
        raise UserError(f"lead {', '.join(strange)} is not among {', '.join(LEADS)}")
    found = [spelled[name.lower()] for name in names]
    if not found or len(set(found)) < len(found):
        raise UserError(f"leads must differ from each other, got {' '.join(names)}")
    return found


def record_dependence(expected: Expected) -> str | None:
    """What the normalisation takes from each record, in words; None where it takes nothing."""
    chosen = expected.normalisation
    return NORMALISATIONS[chosen][0] if chosen in OF_THE_RECORD else None


# ---------------------------------------------------------------- the graph


def own_places(program: Program, root: str = "network") -> Program:
    """The program of a Whole with the network's modules under their own names; what was put around
    them is no place to look for concepts in.
    """
    around = (PREPROCESSING, "logits")

    def own(place):
        path = place.removeprefix(root)
        if path == place:  # of what stands around the network, or the network itself
            return "" if place.split(".")[0].startswith("network") else place
        if path.startswith("#"):  # a later call of the network itself
            return ""
        return path.removeprefix(".") if path[:1] in ("", ".") else place

    nodes = [replace(node, place=own(node.place)) for node in program.nodes]
    calls = {
        own(place): value
        for place, value in program.calls.items()
        if own(place) and place.split(".")[0] not in around
    }
    return Program(nodes, program.tensors, program.output, calls)


def without_squashing(program: Program, outputs: str | None) -> tuple[Program, str | None]:
    """The program whose output is what goes into the final sigmoids or softmaxes, and which these
    were (None where there are none).

    UserError where `outputs` says otherwise than the graph, where only some of the outputs are
    probabilities, and where the network itself goes on computing with them.
    """
    ends, way = _ends(program)
    squashing = [node for node in ends if node.kind in SQUASHING]
    others = [node for node in ends if node.kind not in SQUASHING]
    if others and _made_of(program, squashing).issuperset(node.name for node in others):
        squashing = []  # p and 1 - p: there is no logit behind the latter
    kinds = " and ".join(sorted({SQUASHING[node.kind] for node in squashing}))
    if squashing and outputs == "logits":
        raise UserError(f"the network ends in a {kinds}: its outputs are probabilities, not logits")
    if squashing and others:
        raise UserError(
            f"some of the network's outputs come out of a {kinds}, others of "
            f"{others[0].described()}: let it return logits for all classes"
        )
    if outputs == "probabilities" and not squashing:
        last = others[0].described() if others else "nothing"
        raise UserError(
            f"the network's outputs are said to be probabilities, but it ends in {last}, not in a "
            "sigmoid or softmax whose logit could be explained"
        )
    if not squashing:
        return program, None
    _check_last(program, squashing, way)
    sources = {Ref(node.name): node.args[0] for node in squashing}
    nodes = [
        replace(one, args=_redirected(one.args, sources), kwargs=_redirected(one.kwargs, sources))
        for one in program.nodes
        if Ref(one.name) not in sources
    ]
    output = _redirected(program.output, sources)
    calls = {place: value for place, value in program.calls.items() if value not in sources}
    return Program(nodes, program.tensors, output, calls), kinds


def _ends(program):
    """The nodes that the output's values come from, and the names of those that hand them on."""
    ends, way, left = {}, set(), [program.output]
    while left:
        for ref in references(left.pop()):
            if not isinstance(ref, Ref) or ref.name not in program.dependent or ref.name in way:
                continue
            node = program.by_name.get(ref.name)  # None: the signals themselves
            if node is not None and node.kind in HANDING_ON:
                way.add(node.name)
                left.append(node.args[0])
            elif node is not None:
                ends[node.name] = node
    return list(ends.values()), way


def _made_of(program, nodes):
    """Names of all values that are computed from some nodes'."""
    found = {node.name for node in nodes}
    for node in program.nodes:
        if any(ref.name in found for ref in inputs_of(node)):
            found.add(node.name)
    return found


def _check_last(program, squashing, way):
    """UserError where anything but the output is computed from probabilities: with logits in their
    place it would be another network.
    """
    own = {node.name for node in squashing} | way
    for node in program.nodes:
        if node.name in way or node.name not in program.needed:
            continue
        if any(ref.name in own for ref in inputs_of(node)):
            raise UserError(
                f"the network computes {node.described()} from probabilities that it returns: let "
                "it return logits"
            )


def _redirected(value, sources):
    """A nested value that reads something else where it read some values."""
    return rebuilt(value, lambda part: sources.get(part, part) if isinstance(part, Ref) else part)
