"""Functions that a file or a network's code spells out in pieces, as the one operation they are.

An exporter that has no GELU writes x (1 + erf(x / sqrt 2)) / 2: five operations, of which the `1 +`
is a constant term that LRP would book as a bias. The map of a network would then depend on how it
was stored. So these are put together again, whoever took them apart:

| operation | spelled out |
|---|---|
| gelu | x (1 + erf(x / sqrt 2)) / 2, or with tanh(sqrt(2 / pi) (x + .044715 x^3)) |
| hardsigmoid, hardswish | x / 6 + 1/2 held between 0 and 1; x times this |
| sigmoid | 1 / (1 + exp(-x)) |
| softplus, log1p | log(1 + exp(x)), log(1 + x) |
| softmax | exp(x) / sum exp(x), with or without the maximum taken off |
| logsumexp | log sum exp(x), or m + log sum exp(x - m) with the maximum m of x |
| softshrink | x - l sign(x) where abs(x) > l, else 0 |
| div | x times 1 / sqrt(z), of a normalisation by hand |

Values stay the same (capture() compares them). Products of functions of one number that hold no
constant term (x sigmoid(x), x tanh(softplus(x))) need nothing: their parts add up to the whole.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from networks.program import Node, Program, Ref, Stored, inputs_of, references

TOLERANCE = 1e-4  # of a constant: files keep few digits
CUBIC, ROOT = 0.044715, math.sqrt(2 / math.pi)  # of GELU by tanh


@dataclass(frozen=True)
class Found:
    """The operation that a node is the last piece of: kind and arguments."""

    kind: str
    args: tuple
    kwargs: dict = field(default_factory=dict)


class Pieces:
    """Looks into a program's values: numbers, factors, shifts, bounds."""

    def __init__(self, program: Program):
        self.program = program

    def node(self, value: object, *kinds: str) -> Node | None:
        """The node of a value if it is of one of the kinds."""
        if not isinstance(value, Ref) or value.name not in self.program.by_name:
            return None
        node = self.program.node(value.name)
        return node if node.kind in kinds else None

    def number(self, value: object) -> float | None:
        """A plain number, or the only one of a stored tensor."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, Stored):
            tensor = self.program.tensor(value.name)
            if tensor.numel() == 1 and tensor.is_floating_point():
                return float(tensor)
        return None

    def factors(self, value: object) -> tuple[float, list]:
        """A product as a number and the values that are multiplied."""
        if node := self.node(value, "mul", "div", "neg"):
            if node.kind == "neg":
                number, values = self.factors(node.args[0])
                return -number, values
            return self._product(node)
        number = self.number(value)
        return (1.0, [value]) if number is None else (number, [])

    def _product(self, node):
        """factors() of a product or quotient."""
        first, other = node.args[:2]
        number, values = self.factors(first)
        if node.kind == "mul":
            more, others = self.factors(other)
            return number * more, values + others
        below = self.number(other)
        if not below or len(node.args) > 2 or node.kwargs:
            return 1.0, [Ref(node.name)]
        return number / below, values

    def times(self, value: object) -> tuple[float, object]:
        """A value as number times another one."""
        number, values = self.factors(value)
        return (number, values[0]) if len(values) == 1 else (1.0, value)

    def plus(self, value: object) -> tuple[object, float]:
        """A value as another one plus a number."""
        node = self.node(value, "add", "sub")
        if node is None or node.kwargs.get("alpha", 1) != 1:
            return value, 0.0
        first, other = node.args[:2]
        number = self.number(other)
        if number is not None:
            return first, number if node.kind == "add" else -number
        number = self.number(first)
        return (other, number) if number is not None and node.kind == "add" else (value, 0.0)

    def bounded(self, value: object) -> tuple[object, float, float]:
        """A value as another one that is held between two numbers."""
        node = self.node(value, *BOUNDS)
        if node is None:
            return value, -math.inf, math.inf
        low, high = BOUNDS[node.kind](*node.args[1:], **node.kwargs)
        if not all(number is None or self.number(number) is not None for number in (low, high)):
            return value, -math.inf, math.inf
        inner, inner_low, inner_high = self.bounded(node.args[0])
        own_low = -math.inf if low is None else self.number(low)
        own_high = math.inf if high is None else self.number(high)
        if max(own_low, inner_low) >= min(own_high, inner_high):
            return value, -math.inf, math.inf
        return inner, max(own_low, inner_low), min(own_high, inner_high)


# operations that hold a value between bounds -> their bounds, from the arguments after the value
BOUNDS: dict[str, Callable] = {
    "clamp": lambda min=None, max=None: (min, max),
    "clamp_min": lambda min: (min, None),
    "clamp_max": lambda max: (None, max),
    "hardtanh": lambda min_val=-1, max_val=1: (min_val, max_val),
    "relu6": lambda: (0, 6),
    "relu": lambda: (0, None),
}


def _near(one, other):
    return abs(one - other) <= TOLERANCE * max(1e-3, abs(other))


# ---------------------------------------------------------------- what is looked for


def _gelu(pieces, node):
    """c x (1 + f(x)) with c = 1/2; f erf or tanh."""
    number, values = pieces.factors(Ref(node.name))
    if len(values) != 2 or not _near(number, 0.5):
        return None
    for x, bracket in (values, values[::-1]):
        inner, one = pieces.plus(bracket)
        bent = pieces.node(inner, "erf", "tanh")
        if bent is None or not _near(one, 1.0):
            continue
        way = _erf_of if bent.kind == "erf" else _tanh_of
        if way(pieces, bent.args[0], x):
            return Found("gelu", (x,), {} if bent.kind == "erf" else {"approximate": "tanh"})
    return None


def _erf_of(pieces, inside, x):
    number, value = pieces.times(inside)
    return value == x and _near(number, math.sqrt(0.5))


def _tanh_of(pieces, inside, x):
    """sqrt(2 / pi) (x + .044715 x^3), or sqrt(2 / pi) x (1 + .044715 x^2)."""
    number, values = pieces.factors(inside)
    if not _near(number, ROOT):
        return False
    if len(values) == 2 and x in values:
        bracket = values[1] if values[0] == x else values[0]
        square, one = pieces.plus(bracket)
        return _near(one, 1.0) and _is_power(pieces, square, x, 2)
    node = pieces.node(values[0], "add") if len(values) == 1 else None
    if node is None or x not in node.args[:2]:
        return False
    cube = node.args[1] if node.args[0] == x else node.args[0]
    return node.kwargs.get("alpha", 1) == 1 and _is_power(pieces, cube, x, 3)


def _is_power(pieces, value, x, degree):
    """Whether a value is CUBIC x^degree."""
    number, values = pieces.factors(value)
    found = 0
    for part in values:
        power = pieces.node(part, "pow", "square")
        if power is not None and power.args[0] == x:
            found += 2 if power.kind == "square" else pieces.number(power.args[1]) or math.nan
        else:
            found += 1 if part == x else math.nan
    return found == degree and _near(number, CUBIC)


def _hard(pieces, node):
    """x / 6 + 1/2 between 0 and 1, alone or times x."""
    number, values = pieces.factors(Ref(node.name))
    for held, others in _one_and_others(values):
        inner, low, high = pieces.bounded(held)
        if low != 0.0 or not math.isfinite(high) or not _near(number * high, 1.0):
            continue
        shifted, offset = pieces.plus(inner)
        scale, x = pieces.times(shifted)
        if not _near(offset, high / 2) or not _near(scale, high / 6):
            continue
        if not others:
            return Found("hardsigmoid", (x,))
        if others == [x]:
            return Found("hardswish", (x,))
    return None


def _one_and_others(values):
    """Each of one or two values, with the other ones."""
    if len(values) > 2:
        return
    for index, value in enumerate(values):
        yield value, values[:index] + values[index + 1 :]


def _sigmoid(pieces, node):
    """1 / (1 + exp(-x))."""
    if node.kind == "mul":  # 1 times 1 / ...
        number, values = pieces.factors(Ref(node.name))
        inner = pieces.node(values[0], "reciprocal") if len(values) == 1 else None
        return _sigmoid(pieces, inner) if inner is not None and number == 1.0 else None
    if node.kind == "reciprocal":
        below = node.args[0]
    elif node.kind == "div" and pieces.number(node.args[0]) == 1.0:
        below = node.args[1]
    else:
        return None
    exponential, one = pieces.plus(below)
    inner = pieces.node(exponential, "exp")
    if inner is None or not _near(one, 1.0):
        return None
    number, x = pieces.times(inner.args[0])
    return Found("sigmoid", (x,)) if number == -1.0 else None


def _log(pieces, node):
    """log(1 + exp(x)), log(1 + x)."""
    value, one = pieces.plus(node.args[0])
    if one != 1.0:
        return None
    inner = pieces.node(value, "exp")
    return Found("log1p", (value,)) if inner is None else Found("softplus", (inner.args[0],))


def _softmax(pieces, node):
    """exp(x) / sum exp(x) over one axis."""
    above, below = node.args[:2]
    total, top = pieces.node(below, "sum"), pieces.node(above, "exp")
    if total is None or top is None or total.args[0] != above or len(total.args) < 3:
        return None
    dims, keepdim = total.args[1:3]
    if not keepdim or not isinstance(dims, (list, tuple)) or len(dims) != 1:
        return None
    x = top.args[0]
    shifted = pieces.node(x, "sub")
    if shifted is not None and _is_maximum(pieces, shifted.args[1], shifted.args[0], dims[0]):
        x = shifted.args[0]
    return Found("softmax", (x, dims[0]))


def _is_maximum(pieces, value, x, dim):
    """Whether a value is the maximum of x along dim, kept as an axis."""
    node = _maximum(pieces, value)
    if node is None or node.args[0] != x or len(node.args) < 3 or not node.args[2]:
        return False
    return node.args[1] in (dim, [dim], (dim,))


def _maximum(pieces, value):
    """The maximum over an axis that a value is, whatever became of the axis; infinite ones may be
    0, as PyTorch has it.
    """
    while node := pieces.node(value, "getitem", "where", "squeeze", "unsqueeze", "reshape"):
        value = node.args[2] if node.kind == "where" else node.args[0]
    node = pieces.node(value, "amax", "max")
    return node if node is not None and len(node.args) > 1 else None


def _log_sum_exp(pieces, node):
    """log sum exp(x) over axes; m + log sum exp(x - m) with m the maximum of x over them."""
    if node.kind == "log":
        parts = [(node, None)]
    else:
        first, other = node.args[:2]
        parts = [(pieces.node(one, "log"), two) for one, two in ((first, other), (other, first))]
    for log, top in parts:
        total = pieces.node(log.args[0], "sum") if log is not None else None
        inner = pieces.node(total.args[0], "exp") if total is not None else None
        if inner is None or len(total.args) < 2 or not total.args[1]:
            continue
        x, rest = inner.args[0], (total.args[1], *total.args[2:3])
        if top is None:
            return Found("logsumexp", (x, *rest))
        taken_off, added = pieces.node(x, "sub"), _maximum(pieces, top)
        if taken_off is None or added is None or node.kwargs.get("alpha", 1) != 1:
            continue
        both = (added, _maximum(pieces, taken_off.args[1]))
        x = taken_off.args[0]
        if all(one and one.args[0] == x and _axes(one) == _axes(total) for one in both):
            return Found("logsumexp", (x, *rest))
    return None


def _axes(node):
    """The axes that a reduction is over."""
    return [node.args[1]] if isinstance(node.args[1], int) else list(node.args[1])


def _softshrink(pieces, node):
    """x - l sign(x) where abs(x) > l, else 0 (or x times 0)."""
    if len(node.args) < 3:  # where(mask): places
        return None
    condition, shifted, otherwise = node.args[:3]
    above = pieces.node(condition, "gt")
    size = pieces.node(above.args[0], "abs") if above is not None else None
    below = pieces.node(shifted, "sub")
    if size is None or below is None or below.kwargs.get("alpha", 1) != 1:
        return None
    x, limit = size.args[0], pieces.number(above.args[1])
    number, of = pieces.times(below.args[1])
    sign = pieces.node(of, "sign")
    nothing = pieces.factors(otherwise)[0] == 0.0
    if limit is None or sign is None or not nothing or {below.args[0], sign.args[0]} != {x}:
        return None
    return Found("softshrink", (x, limit)) if _near(number, limit) else None


# kind of the last piece -> what it may be the last piece of
WHOLES: dict[str, tuple[Callable[[Pieces, Node], Found | None], ...]] = {
    "mul": (_gelu, _hard, _sigmoid),
    "div": (_gelu, _hard, _sigmoid, _softmax),
    "clamp": (_hard,),
    "clamp_max": (_hard,),
    "hardtanh": (_hard,),
    "reciprocal": (_sigmoid,),
    "add": (_log_sum_exp,),
    "log": (_log, _log_sum_exp),
    "where": (_softshrink,),
}


# ---------------------------------------------------------------- in a program


def fused(program: Program) -> Program:
    """The program with what is spelled out in pieces put together; itself where there is nothing.

    The last piece keeps its name and place; pieces that nothing reads any more go.
    """
    program = _with_quotients(program)
    pieces, wholes = Pieces(program), {}
    for node in program.nodes:
        if found := _whole(pieces, node):
            wholes[node.name] = found
    if not wholes:
        return program
    nodes = [_put_together(node, wholes.get(node.name)) for node in program.nodes]
    nodes = _without_leavings(nodes, program)
    names = {node.name for node in nodes}
    calls = {
        place: ref
        for place, ref in program.calls.items()
        if ref.name in names or ref.name not in program.by_name
    }
    return Program(nodes, program.tensors, program.output, calls)


def _with_quotients(program):
    """The program with x times 1 / sqrt(z) as x / sqrt(z), so that a normalisation by hand is one
    whichever of the two was written.
    """
    pieces = Pieces(program)
    readers, below = {}, {}
    for node in program.nodes:
        for ref in inputs_of(node):
            readers.setdefault(ref.name, []).append(node)
        if node.name in program.dependent and (root := _root_below(pieces, node, below)):
            below[node.name] = root
    returned = {ref.name for ref in references(program.output)}
    for name in reversed(list(below)):
        fine = (one.name in below or _scales(program, one, name) for one in readers.get(name, ()))
        if name in returned or not all(fine):
            del below[name]
    if not below:
        return program
    nodes = [_as_quotient(node, below) for node in program.nodes]
    calls = {place: ref for place, ref in program.calls.items() if ref.name not in below}
    return Program(nodes, program.tensors, program.output, calls)


def _root_below(pieces, node, below):
    """The root that a node is 1 over: itself, where it is to become the root."""
    if node.kind == "rsqrt":
        return Ref(node.name)
    if node.kind == "reciprocal" and pieces.node(node.args[0], "sqrt"):
        return node.args[0]
    if node.kind == "div" and pieces.number(node.args[0]) == 1.0:
        return node.args[1] if pieces.node(node.args[1], "sqrt") else None
    if node.kind == "mul":
        number, values = pieces.factors(Ref(node.name))
        if number == 1.0 and len(values) == 1 and isinstance(values[0], Ref):
            return below.get(values[0].name)
    return None


def _scales(program, node, name):
    """Whether a node multiplies a value that depends on the signals with the value `name`."""
    others = [one for one in node.args[:2] if one != Ref(name)]
    single = node.kind == "mul" and len(others) == 1 and isinstance(others[0], Ref)
    return single and others[0].name in program.dependent


def _as_quotient(node, below):
    """The node as it stands where the values of `below` are roots."""
    if node.name in below:
        return replace(node, op="sqrt") if node.kind == "rsqrt" else node
    found = [one for one in node.args[:2] if isinstance(one, Ref) and one.name in below]
    if node.kind != "mul" or not found:
        return node
    above = next(one for one in node.args[:2] if one != found[0])
    return replace(node, op="div", args=(above, below[found[0].name]), kwargs={})


def _whole(pieces, node):
    """What a node is the last piece of, if anything."""
    if node.name not in pieces.program.dependent:
        return None
    found = (look(pieces, node) for look in WHOLES.get(node.kind, ()))
    return next((one for one in found if one), None)


def _put_together(node, found):
    """The node as what was found in its place."""
    if found is None:
        return node
    return replace(node, op=found.kind, args=found.args, kwargs=found.kwargs)


def _without_leavings(nodes, program):
    """The nodes without those that only pieces read."""
    before = {ref.name for node in program.nodes for ref in inputs_of(node)}
    read = {ref.name for ref in references(program.output)}
    kept = []
    for node in reversed(nodes):
        # what nothing read before is none of ours
        if node.name in read or node.name not in before:
            kept.append(node)
            read |= {ref.name for ref in inputs_of(node)}
    return kept[::-1]
