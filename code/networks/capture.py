"""From a network to its Program: what it computes is watched, operation by operation.

The network runs on two small batches of noise while every ATen operation that PyTorch carries out
for it is written down: those of modules, those of functions and those of `+` alike, so that none is
missed. (In inference mode PyTorch hands a dispatch mode whole operations such as `conv1d` or
`scaled_dot_product_attention`, not their parts.) Numbers that differ between the batches follow the
number of records. The program is then compared with the network on a third batch.

Measured against torch.export on ResNet-50 (one core): .2 s and no import, against 2 to 3 s and an
import of 2.3 s; both see the same operations.
"""

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from common.files import UserError
from networks.models import sharing_copy
from networks.operations import OPERATIONS
from networks.program import (
    INPUT,
    Dtype,
    Node,
    Program,
    Ref,
    Stored,
    rebuilt,
    references,
    tensors_of,
)
from networks.rewriting import FILLED_LIKE, MADE, ONE_TO_ONE, PIECES, RENAMED, plainer

CHECKED = 5  # records of the batch that program and network are compared on
TOLERANCE = 1e-4  # of the largest output
# same values as their first argument: the value is taken instead
UNCHANGED = {"contiguous", "clone", "detach", "alias", "lift_fresh", "lift", "positive"}
UNCHANGED |= {"resolve_neg", "resolve_conj"}
CASTS = {"to", "_to_copy", "type_as"}
WITHOUT_TRAINING = {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"}
# operations that draw random numbers, by the beginning of their names
RANDOM = ("rand", "bernoulli", "normal", "multinomial", "poisson", "exponential", "rrelu")
# operations that give Python a number
READING = {"item", "_local_scalar_dense", "is_nonzero", "equal", "allclose"}
PARTS = torch._C.DispatchKey.CompositeImplicitAutograd  # of operations that are made of others
IRRELEVANT = ("layout", "pin_memory", "memory_format", "cudnn_enabled", "non_blocking", "copy")


def capture(model: nn.Module, x: Tensor) -> Program:
    """The program of `model` for signals shaped like x (N, leads, T), sharing the model's weights.

    Watched once per model and shape of a record (the number of records is free), and again when
    modules were exchanged. Raises UserError for a network that cannot be watched: one that decides
    by the values of its signals, draws random numbers or lets records depend on each other.
    """
    if isinstance(model, Program):
        return model
    key = (tuple(x.shape[1:]), x.dtype, x.device)
    known = _PROGRAMS.setdefault(model, {})
    state = _state(model)
    if key not in known or known[key].state != state:
        known[key] = _Known(state, _watched(model, x[:1]))
    program = known[key].program
    _follow(program, tensors_of(model))
    return program


@dataclass
class _Known:
    state: tuple
    program: Program


_PROGRAMS: weakref.WeakKeyDictionary[nn.Module, dict] = weakref.WeakKeyDictionary()


def _state(model):
    """What a network's graph can depend on beside its tensors: its modules, their plain attributes
    and hooks.
    """
    found = []
    for name, module in model.named_modules():
        plain = [
            (attribute, value)
            for attribute, value in vars(module).items()
            if isinstance(value, (bool, int, float, str, tuple)) and attribute != "training"
        ]
        hooks = (*module._forward_hooks, *module._forward_pre_hooks)
        found.append((name, id(module), type(module), plain, hooks))
    return found


def _follow(program, tensors):
    """Puts the model's present tensors into a program: training may have exchanged them."""
    for name, own in tensors_of(program).items():
        if tensors.get(name, own) is own:
            continue
        path, _, last = name.rpartition(".")
        holder = program.get_submodule(path)
        place = holder._parameters if last in holder._parameters else holder._buffers
        place[last] = tensors[name]


# ---------------------------------------------------------------- watching


@contextlib.contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no fused attention that hides its operations; as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """A network may count its calls: afterwards its buffers are as before."""
    dense = (buffer for buffer in model.buffers() if buffer.layout == torch.strided)
    before = [(buffer, buffer.clone()) for buffer in dense]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, values in before:
                if not torch.equal(buffer, values):
                    buffer.copy_(values)


def _noise(x, n, seed):
    """n records of noise of the shape, precision and device of x."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *x.shape[1:], generator=generator).to(x)


def _watched(model, x):
    """The program of a network by watching it on two batches, after a call that nobody watches: in
    its first one a network may make tables that it keeps (rotary positions).
    """
    from networks.batches import SIZES, merged  # where a network is watched, once
    from networks.fusing import fused

    scripted = isinstance(model, torch.jit.ScriptModule)
    twin = model if scripted else sharing_copy(model)  # what it stores in itself stays there
    with _evaluation(twin), _buffers_kept(model), torch.inference_mode():
        batches = [_noise(x, n, seed=n) for n in SIZES]
        _run(twin, batches[0])
        first, second = (_Watch(twin, batch) for batch in batches)
        program = fused(merged(first, second))
        _compare(twin, program, x, first)
    return program


def _compare(model, program, x, first):
    """UserError where the program gives other values than the network, or records depend on each
    other.
    """
    from networks.outputs import tensors_in  # where a network is watched, once

    signals = torch.cat([first.x, _noise(x, CHECKED - len(first.x), seed=CHECKED)])
    expected, got = tensors_in(model(signals)), tensors_in(program(signals))
    alone = tensors_in(first.returned)
    for whole, ours, few in zip(expected, got, alone, strict=True):
        scale = float(whole.double().abs().max().clamp(min=1e-12)) if whole.numel() else 1.0
        if ours.shape != whole.shape or _difference(ours, whole) > TOLERANCE * scale:
            raise UserError(
                "the network does something beside PyTorch's operations on tensors (or decides by "
                "the values of its signals): its graph gives other values than itself"
            )
        if whole.shape[:1] == signals.shape[:1] and (
            _difference(whole[: len(first.x)], few) > TOLERANCE * scale
        ):
            raise UserError("the network's output for a record depends on the records beside it")


def _difference(one, other):
    return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0


class MisfitError(UserError):
    """A network fails on signals of the shape that it is said to take."""


def _run(model, x, recorder=None):
    """What a network returns; MisfitError, in one line, where it fails on signals of this shape."""
    try:
        return model(x)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever the code of others may raise
        if recorder and recorder.refusal:
            raise recorder.refusal from None
        reason = " ".join(str(error).split())[:200]
        raise MisfitError(
            f"the network fails on an input of shape {tuple(x.shape)}: {type(error).__name__}: "
            f"{reason}; its length, rate, leads or layout may be other ones, or it takes more than "
            "the signals"
        ) from error


class _Watch:
    """What a network did on one batch: nodes, calls of modules, constants and output."""

    def __init__(self, model: nn.Module, x: Tensor):
        self.x = x.clone()
        recorder = _Recorder(model, self.x)
        with recorder, recorder.places(model):
            self.returned = _run(model, self.x, recorder)
        self.nodes, self.calls, self.stored = recorder.nodes, recorder.calls, recorder.stored
        self.output = recorder.described(self.returned)


class _Recorder(TorchDispatchMode):
    """Writes down every operation with what it read, as a functional one."""

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # spares the import of a compiler (3 s)

    def __init__(self, model: nn.Module, x: Tensor):
        super().__init__()
        self.nodes: list[Node] = []
        self.calls: dict[str, Ref] = {}
        self.stored: dict[str, Tensor] = {}
        self.stack: list[str] = [""]
        self.counts: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self.dtype = x.dtype
        self.values = {id(x): Ref(INPUT)}
        self.moving = {INPUT}  # names of the values that depend on the signals
        self.alive = [x]  # ids are of use as long as the tensors live
        self.views: dict[int, _View] = {}
        self.refusal: UserError | None = None
        own = tensors_of(model).items()
        self.known = {_place_of(one): name for name, one in own if one.layout == torch.strided}

    # ------------------------------------------------ places

    @contextlib.contextmanager
    def places(self, model: nn.Module) -> Iterator[None]:
        """Follows which module is computing while the context lasts."""
        names = {id(module): name for name, module in model.named_modules() if name}

        def enter(module, _inputs):
            if id(module) in names:
                name = names[id(module)]
                self.counts[name] = self.counts.get(name, 0) + 1
                times = self.counts[name]
                self.stack.append(name if times == 1 else f"{name}#{times}")

        def leave(module, _inputs, output):
            if id(module) in names:
                place = self.stack.pop()
                if isinstance(output, tuple) and output:
                    output = output[0]  # of a recurrent layer or attention: beside it states
                if isinstance(output, Tensor) and id(output) in self.values:
                    self.calls[place] = self.current(output)

        handles = (
            nn.modules.module.register_module_forward_pre_hook(enter),
            nn.modules.module.register_module_forward_hook(leave),
        )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    # ------------------------------------------------ operations

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        try:
            return self._seen(func, args, dict(kwargs or {}))
        except UserError as error:  # TorchScript would put words of its own in the place of these
            self.refusal = error
            raise

    def _seen(self, func, args, kwargs):
        """Carries out an operation and writes it down."""
        namespace, kind = func._schema.name.split("::")
        overload = func._schema.overload_name or "default"
        if namespace != "aten":
            raise UserError(f"the network uses {func._schema.name} ({self.stack[-1]}): not known")
        before = self.described(list(args)), self.described(kwargs)
        if self._moves(before) and not _is_known(kind) and func.has_kernel_for_dispatch_key(PARTS):
            with self:  # its parts are seen in its place
                return func.decompose(*args, **kwargs)
        result = func(*args, **kwargs)
        if kind in READING:
            self._refuse_decision(kind, before)
            return result
        if kind.endswith("_") and not kind.startswith("_") and func._schema.is_mutable:
            self._write_in_place(kind[:-1], overload, args, before, result)
        else:
            self._write(kind, overload, args, before, result)
        return result

    def _refuse_decision(self, kind, before):
        if any(isinstance(part, Ref) for part in references(before)):
            raise UserError(
                f"the network reads single values of its signals ({kind} at "
                f"{self.stack[-1] or 'its forward'}): what it does may depend on them"
            )

    def _write(self, kind, overload, args, before, result):
        """Writes down one functional operation."""
        kind, overload, new_args = plainer(kind, overload, before[0])
        new_kwargs = before[1]
        before = (new_args, new_kwargs)
        if kind in WITHOUT_TRAINING and new_args[2:3] == [False]:
            self._remember(result, new_args[0])
            return
        known = _is_known(kind)
        if not known and not self._moves(before):
            return  # of constants alone: its result is one where it is read
        if kind in UNCHANGED or (kind in CASTS and self._same_format(args, result)):
            self._remember(result, new_args[0])
            self._note_view(kind, args, new_args, result)
            return
        if overload != "dtype":
            kind = RENAMED.get(kind, kind)
        if isinstance(result, Tensor):
            kind, overload, before = self._by_shape(kind, overload, before, result)
            new_args, new_kwargs = before
        value = self._value(kind, overload, new_args, new_kwargs)
        if isinstance(result, Tensor):
            self._remember(result, value)
            self._note_view(kind, args, new_args, result)
            return
        for index, part in enumerate(result if isinstance(result, (list, tuple)) else ()):
            if isinstance(part, Tensor):
                one = value[index] if isinstance(value, list) else None
                self._remember(part, one or self._node("getitem", "", (value, index), {}))

    def _value(self, kind, overload, args, kwargs):
        """What an operation gives: the value of its node, or of the nodes that it consists of."""
        if kind in PIECES:
            emit = lambda kind, args, kwargs: self._node(kind, "", args, kwargs)  # noqa: E731
            return PIECES[kind](emit, args, kwargs)
        return self._node(kind, overload, args, kwargs)

    def _by_shape(self, kind, overload, before, result):
        """An operation that takes a shape from another tensor as one that is given the shape."""
        args, kwargs = before
        shape = list(result.shape)
        if (kind, overload) == ("reshape", "default") or kind in ("view_as", "reshape_as"):
            return "reshape", "default", ([args[0], shape], {})
        if kind == "expand_as":
            return "expand", "default", ([args[0], shape], {})
        if kind == "type_as":
            return "to", "dtype", ([args[0], self._leaf(result.dtype)], {})
        if kind in FILLED_LIKE:
            maker = FILLED_LIKE[kind]
            number = [args[-1]] if maker == "full" else []
            kwargs = {"dtype": self._leaf(result.dtype), "device": "cpu"}
            return maker, "default", ([shape, *number], kwargs)
        if kind in MADE and result.is_floating_point() and kwargs.get("dtype") is None:
            kwargs = {**kwargs, "dtype": self._leaf(result.dtype)}  # in double precision too
        return kind, overload, (args, kwargs)

    def _same_format(self, args, result):
        return isinstance(result, Tensor) and result.dtype == args[0].dtype

    def _node(self, kind, overload, args, kwargs):
        """A new node; its value."""
        place = self.stack[-1]
        if kind not in OPERATIONS:
            raise UserError(_refusal(kind, place or "its forward"))
        count = self.names[kind] = self.names.get(kind, -1) + 1
        name = f"{kind}_{count}" if count else kind
        kwargs = {key: value for key, value in kwargs.items() if key not in IRRELEVANT}
        op = f"{kind}.{overload}" if overload else kind
        self.nodes.append(Node(name, op, tuple(args), kwargs, place))
        if self._moves((args, kwargs)):
            self.moving.add(name)
        return Ref(name)

    def _moves(self, value):
        """Whether a nested value reads anything that depends on the signals."""
        found = references(value)
        return any(isinstance(part, Ref) and part.name in self.moving for part in found)

    def _remember(self, tensor, value):
        self.values[id(tensor)] = value
        self.alive.append(tensor)

    # ------------------------------------------------ what operations read

    def described(self, value: object) -> object:
        """An argument or output as nested references and plain data."""
        return rebuilt(value, self._leaf)

    def _leaf(self, part):
        if isinstance(part, Tensor):
            return self.current(part)
        if isinstance(part, torch.dtype):
            return Dtype(INPUT if part == self.dtype else str(part).removeprefix("torch."))
        if isinstance(part, torch.device):
            return "cpu"  # where the signals are when it runs
        if isinstance(part, (torch.layout, torch.memory_format)):
            return None
        if isinstance(part, torch.Generator):
            raise UserError("the network draws random numbers: its output is not a fixed function")
        return part

    def current(self, tensor: Tensor) -> Ref | Stored:
        """What stands for a tensor: a value, a stored tensor of the network or a constant."""
        if id(tensor) in self.values:
            self._refresh(tensor)
            value = self.values[id(tensor)]
            if isinstance(value, _Lost):
                how = f"{value.kind} ({value.place or 'its forward'})"
                what = f"its own tensors by {how}" if value.own else f"a tensor in place by {how}"
                raise UserError(
                    f"the network changes {what} and reads it again: a graph cannot say so"
                )
            return value
        if tensor.layout != torch.strided:
            raise UserError(f"the network uses a sparse tensor ({self.stack[-1] or 'its forward'})")
        name = self.known.get(_place_of(tensor))
        if name is None:
            name = f"constant_{len([key for key in self.stored if key.startswith('constant_')])}"
            self.stored[name] = tensor.detach().clone()
        else:
            self.stored[name] = tensor
        self._remember(tensor, Stored(name))
        return Stored(name)

    # ------------------------------------------------ operations that change their argument

    def _write_in_place(self, kind, overload, args, before, result):
        """Writes down an operation that changes its first argument as one that gives a new value;
        what looks into the same memory follows.
        """
        tensor, (new_args, new_kwargs) = args[0], before
        if isinstance(new_args[0], Stored) and new_args[0].name in self.known.values():
            self.values[id(tensor)] = _Lost(f"{kind}_", new_args[0].name, own=True)
            return
        if kind in UNCHANGED or (kind in WITHOUT_TRAINING and new_args[2:3] == [False]):
            return
        if kind in ("copy", "fill", "zero"):
            value = self._overwritten(tensor, new_args)
        else:
            kind, overload, new_args = plainer(RENAMED.get(kind, kind), overload, new_args)
            value = self._value(kind, overload, new_args, new_kwargs)
        self._assign(tensor, value)
        if result is not tensor:
            self._remember(result, value)

    def _overwritten(self, tensor, new_args):
        """The value of a tensor that is written over: the source, as large as the tensor."""
        source = new_args[1] if len(new_args) > 1 else 0
        if isinstance(source, (Ref, Stored)):
            return self._node("expand", "default", (source, list(tensor.shape)), {})
        kwargs = {"dtype": self._leaf(tensor.dtype), "device": "cpu"}
        return self._node("full", "default", (list(tensor.shape), source), kwargs)

    def _assign(self, tensor, value):
        """Gives a tensor a new value, and the tensors that it is a piece of."""
        self.values[id(tensor)] = value
        view = self.views.get(id(tensor))
        if view is None:
            return
        if view.kind in UNCHANGED:
            self._assign(view.base, value)
        elif view.kind in ("slice", "select"):
            base = self.current(view.base)
            whole = self._node(f"{view.kind}_scatter", "default", (base, value, *view.rest), {})
            self._assign(view.base, whole)
        else:  # of no consequence unless the whole is read again
            self._assign(view.base, _Lost(view.kind, self.stack[-1]))
        view.read_from = self.values[id(view.base)]

    def _note_view(self, kind, args, new_args, result):
        """Remembers that a result looks into the memory of an argument."""
        base = args[0] if args and isinstance(args[0], Tensor) else None
        if base is not None and base is not result and _same_memory(base, result):
            self.views[id(result)] = _View(kind, base, new_args[1:], self.values[id(base)])

    def _refresh(self, tensor):
        """Reads a view again where the tensor that it looks into has changed since."""
        view = self.views.get(id(tensor))
        if view is None:
            return
        self._refresh(view.base)
        base = self.values[id(view.base)]
        if base == view.read_from:
            return
        view.read_from = base
        overload = {"slice": "Tensor", "select": "int"}.get(view.kind)
        if view.kind in UNCHANGED:
            self.values[id(tensor)] = base
        elif overload and not isinstance(base, _Lost):
            self.values[id(tensor)] = self._node(view.kind, overload, (base, *view.rest), {})
        else:
            self.values[id(tensor)] = _Lost(view.kind, self.stack[-1])


def _is_known(kind):
    """Whether an operation is written down as it is, or as another one of its values."""
    plain = kind.removesuffix("_")  # what changes its argument
    tables = (OPERATIONS, UNCHANGED, WITHOUT_TRAINING, RENAMED, FILLED_LIKE, ONE_TO_ONE, READING)
    return plain.startswith(RANDOM) or any(plain in table for table in tables)


def _refusal(kind, place):
    """Why an operation cannot stand in a graph, and what to do."""
    if kind in WITHOUT_TRAINING or kind.startswith(RANDOM):
        advice = "give F.dropout training=self.training, leave noise out in evaluation mode"
        return f"the network draws random numbers in evaluation mode ({kind} at {place}): {advice}"
    return f"the network uses the operation {kind} ({place}), which a graph cannot hold"


@dataclass(frozen=True)
class _Lost:
    """Stands for a value that was changed in place through an operation that cannot be undone, or
    for the network's own tensor that it changes: both go in as long as nothing reads them.
    """

    kind: str
    place: str
    own: bool = False


@dataclass
class _View:
    """A tensor that looks into the memory of another: by which operation and what it read there."""

    kind: str
    base: Tensor
    rest: list
    read_from: object


def _place_of(tensor):
    """What tells tensors apart that are one and the same piece of memory."""
    return (tensor.data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride())


def _same_memory(one, other):
    if one.device != other.device or one.is_sparse or other.is_sparse:
        return False
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
