"""Values of an ONNX network: tensors, and numpy arrays for what is known without any signal.

A value is a tensor (it depends on the signals, or is a weight) or a numpy array (a constant, a
shape, and what is computed from these).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from common.files import UserError

Value = Tensor | np.ndarray | None


@dataclass(frozen=True)
class OnnxNode:
    """An operation of the file.

    attributes  plain values, arrays for tensors
    opset       version of the specification
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict = field(default_factory=dict)
    opset: int = 17

    def get(self, name: str, default: object = None) -> object:
        """An attribute."""
        return self.attributes.get(name, default)

    def refuse(self, why: str) -> UserError:
        """What to raise where a variant is not known."""
        return UserError(f"ONNX operation {self.kind} ({self.name}) {why}")


def is_static(value: Value) -> bool:
    """Whether a value is known without any signal."""
    return value is None or isinstance(value, np.ndarray)


def as_tensor(value: Value, like: Tensor) -> Tensor:
    """A value as a tensor beside `like`, of its precision where both are real numbers."""
    if isinstance(value, Tensor):
        return value
    tensor = torch.from_numpy(np.ascontiguousarray(value)).to(like.device)
    if not tensor.is_floating_point():
        return tensor
    return tensor.to(like.dtype if like.is_floating_point() else torch.float32)


def as_ints(value: Value, node: OnnxNode) -> list[int]:
    """A static value as whole numbers; UserError where it depends on the signals."""
    if not is_static(value):
        raise node.refuse("takes a shape that depends on the signals' values")
    return [int(number) for number in np.asarray(value).reshape(-1)]


def operand(value: Value, like: Tensor) -> Tensor | float | int | bool:
    """A value as an operand of an elementwise operation: a single constant as a plain number."""
    if isinstance(value, np.ndarray) and value.size == 1 and value.ndim <= like.ndim:
        return value.reshape(-1)[0].item()
    return as_tensor(value, like)


def first_tensor(values: Sequence[Value]) -> Tensor:
    """The first value that is a tensor; of constants alone the first as one."""
    known = [value for value in values if value is not None]
    found = next((value for value in known if isinstance(value, Tensor)), None)
    return torch.from_numpy(np.ascontiguousarray(known[0])) if found is None else found


def axis_of(node: OnnxNode, value: Value, default: int = 0) -> int:
    """The attribute `axis`, counted from the first."""
    axis = node.get("axis", default)
    return axis + value.ndim if axis < 0 else axis


def axes_of(node: OnnxNode, extra: Value) -> list[int] | None:
    """Axes given as an attribute (old) or as an input (new); None where neither."""
    if node.get("axes") is not None:
        return list(node.get("axes"))
    return None if extra is None else as_ints(extra, node)


def word(value: object) -> object:
    """A text attribute as str."""
    return value.decode() if isinstance(value, bytes) else value


def both_tensors(one: Value, other: Value) -> tuple[Tensor, Tensor]:
    """Two values as tensors; one of them is."""
    like = first_tensor((one, other))
    return as_tensor(one, like), as_tensor(other, like)


def reduction(in_torch: Callable, in_numpy: Callable | None = None) -> Callable:
    """Function (node, x, axes as a value) of a reduction: in_torch(x, axes, keepdims), or
    in_numpy(x, axis=axes, keepdims=keepdims) of what is known without any signal.
    """

    def run(node, x, extra=None):
        axes = axes_of(node, extra)
        if not axes and node.get("noop_with_empty_axes", 0):
            return x
        axes, keep = axes or list(range(x.ndim)), bool(node.get("keepdims", 1))
        if in_numpy and is_static(x):
            return np.asarray(in_numpy(x, axis=tuple(axes), keepdims=keep))
        return in_torch(x, axes, keep)

    return run
