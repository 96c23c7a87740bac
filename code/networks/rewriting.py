"""Operations that are written down as others of the same values, so that one rule serves both.

ONE_TO_ONE maps an operation to the one that it is in evaluation mode; PIECES to several plainer
ones. A kind and its arguments are those of ATen.
"""

from collections.abc import Callable

from networks.program import Ref

RENAMED = {  # names that mean the same; a view needs memory laid out as it was, reshape does not
    "view": "reshape",
    "_unsafe_view": "reshape",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "concat": "cat",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "moveaxis": "movedim",
    "clip": "clamp",
    "absolute": "abs",
    "negative": "neg",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
    "_conj": "conj",
    "__and__": "bitwise_and",
    "__or__": "bitwise_or",
    "__xor__": "bitwise_xor",
}
FILLED_LIKE = {  # tensors of one number, as large as another
    "zeros_like": "zeros",
    "ones_like": "ones",
    "full_like": "full",
    "new_zeros": "zeros",
    "new_ones": "ones",
    "new_full": "full",
    "empty": "zeros",  # memory that is written before it is read
    "empty_like": "zeros",
    "new_empty": "zeros",
}
# tensors of numbers that no tensor is read for
MADE = {"zeros", "ones", "full", "arange", "linspace", "eye", "scalar_tensor"}
MADE |= {"hann_window", "hamming_window", "blackman_window", "bartlett_window", "kaiser_window"}

Call = tuple[str, str, tuple]  # kind, overload, arguments


def _rrelu(args):
    """The random slope of a leaky ReLU is its mean in evaluation mode."""
    x, lower, upper = args[0], *(args[1:3] if len(args) > 2 else (1 / 8, 1 / 3))
    training = args[3] if len(args) > 3 else False
    return None if training else ("leaky_relu", "default", (x, (lower + upper) / 2))


def _instance_norm(args):
    """With running statistics it is a batch norm."""
    with_own_statistics = args[5]
    return None if with_own_statistics else ("batch_norm", "default", args)


def _convolution(args):
    """The convolution of its number of axes."""
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args[:9]
    dims = len(stride)
    if transposed:
        rest = (stride, padding, output_padding, groups, dilation)
        return f"conv_transpose{dims}d", "", (x, weight, bias, *rest)
    return f"conv{dims}d", "", (x, weight, bias, stride, padding, dilation, groups)


ONE_TO_ONE: dict[str, Callable[[tuple], Call | None]] = {
    "rrelu": _rrelu,
    "instance_norm": _instance_norm,
    "convolution": _convolution,
    "_convolution": _convolution,
}


def plainer(kind: str, overload: str, args: tuple) -> Call:
    """The operation that another one is in evaluation mode; itself where it is no other."""
    found = ONE_TO_ONE[kind](args) if kind in ONE_TO_ONE else None
    return found or (kind, overload, args)


# ---------------------------------------------------------------- several for one


def _added(emit, first, second, factor):
    """first + factor * second."""
    return emit("add", (first, second), {} if factor == 1 else {"alpha": factor})


def _with_product(kind):
    def pieces(emit, args, kwargs):
        first, one, other = args[:3]
        product = emit(kind, (one, other), {})
        return _added(emit, first, product, kwargs.get("value", 1))

    return pieces


def _with_matrix_product(kind):
    def pieces(emit, args, kwargs):
        first, one, other = args[:3]
        product = emit(kind, (one, other), {})
        beta = kwargs.get("beta", 1)
        scaled = first if beta == 1 else emit("mul", (first, beta), {})
        return _added(emit, scaled, product, kwargs.get("alpha", 1))

    return pieces


def _lerp(emit, args, kwargs):
    start, end, weight = args[:3]
    way = emit("sub", (end, start), {})
    if isinstance(weight, (int, float)):
        return _added(emit, start, way, weight)
    return emit("add", (start, emit("mul", (way, weight), {})), {})


def _with_mean(kind):
    """std_mean and var_mean."""

    def pieces(emit, args, kwargs):
        spread = emit(kind, args, kwargs)
        dims = args[1] if len(args) > 1 else kwargs.get("dim")
        if dims is None or isinstance(dims, bool):  # over everything; the flag says how
            return [spread, emit("mean", args[:1], {})]
        keepdim = kwargs.get("keepdim", args[3] if len(args) > 3 else False)
        return [spread, emit("mean", (args[0], dims, keepdim), {})]

    return pieces


def _einsum(emit, args, kwargs):
    """Of one tensor whose axes have a letter each: sums over those that go, and a permutation."""
    equation, tensors = args[:2]
    before, _, after = equation.replace(" ", "").partition("->")
    plain = len(tensors) == 1 and before.isalpha() and after.isalpha() and set(after) <= set(before)
    if not plain or len({*before}) < len(before) or len({*after}) < len(after):
        return emit("einsum", args, kwargs)
    gone = [axis for axis, letter in enumerate(before) if letter not in after]
    value = emit("sum", (tensors[0], gone), {}) if gone else tensors[0]
    kept = [letter for letter in before if letter in after]
    return emit("permute", (value, [kept.index(letter) for letter in after]), {})


def _aminmax(emit, args, kwargs):
    dim = kwargs.get("dim")
    rest = ([] if dim is None else [dim], kwargs.get("keepdim", False))
    return [emit(kind, (args[0], *rest), {}) for kind in ("amin", "amax")]


# kind -> function (emit(kind, args, kwargs) -> its value, args, kwargs) -> value or list of values
PIECES: dict[str, Callable[..., Ref | list[Ref]]] = {
    "addcmul": _with_product("mul"),
    "addcdiv": _with_product("div"),
    "baddbmm": _with_matrix_product("bmm"),
    "addmv": _with_matrix_product("mv"),
    "lerp": _lerp,
    "std_mean": _with_mean("std"),
    "var_mean": _with_mean("var"),
    "aminmax": _aminmax,
    "einsum": _einsum,
}
