"""What two small batches of noise tell about the values of a network's graph."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from common.files import UserError
from networks.program import INPUT, Node, Program

PROBE_SIZES = (2, 3)


def per_record(values: Tensor) -> Tensor:
    """Sum over all but the first axis: (N, ...) -> (N,) float64."""
    return values.reshape(len(values), -1).sum(dim=1).double()


class Probe:
    """Values of a program on two small batches: kinds, shapes, and the axis that records lie on."""

    def __init__(self, program: Program, x: Tensor):
        self.program, self.example = program, x
        names = [name for name in program.dependent if name in program.needed or name == INPUT]
        self.values = []
        for n in PROBE_SIZES:
            generator = torch.Generator().manual_seed(n)
            noise = torch.randn(n, *x.shape[1:], generator=generator).to(x)
            with torch.no_grad():
                self.values.append(program.run(noise, keep=names)[1])
        self._patterns = None

    @property
    def dims(self) -> dict[str, int]:
        """Number of axes of each value."""
        pairs = self.values[0].items()
        return {name: value.ndim for name, value in pairs if isinstance(value, Tensor)}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each value of real numbers, its first axis in records (0: none lie there)."""
        found = {}
        for name, value in self.values[0].items():
            if isinstance(value, Tensor) and value.is_floating_point() and value.ndim:
                other = self.values[1][name]
                own = (len(value), len(other)) == PROBE_SIZES
                found[name] = (int(own), *value.shape[1:])
        return found

    def carries_relevance(self, name: str) -> bool:
        """Whether a value is made of numbers (and no index or mask)."""
        value = self.values[0][name]
        if not isinstance(value, Tensor):
            return True
        return value.is_floating_point() or value.is_complex()

    def totals(self, node: Node) -> Callable[[Tensor], Tensor]:
        """A function that sums a value of this node's shape per record."""
        one, other = (values.get(node.name) for values in self.values)
        if not isinstance(one, Tensor):
            return _unknown(node)
        growing = [axis for axis in range(one.ndim) if one.shape[axis] != other.shape[axis]]
        if len(growing) != 1:
            return _unknown(node)
        (axis,) = growing
        factor = one.shape[axis] // PROBE_SIZES[0]
        inner = 1 if factor == 1 else self._inner(node.name, axis)
        if (axis, factor) == (0, 1):
            return per_record
        return _unknown(node) if inner is None else _Totals(axis, factor, inner)

    def _inner(self, name, axis):
        """How many neighbours along an axis belong to one record, where each has several."""
        if self._patterns is None:
            noise = torch.zeros(PROBE_SIZES[0], *self.example.shape[1:]).to(self.example)
            noise[1] = float("nan")
            with torch.no_grad():
                self._patterns = self.program.run(noise, keep=self.values[0])[1]
        spoilt = self._patterns[name].isnan().movedim(axis, 0).flatten(1).any(1).cpu()
        places, factor = spoilt.nonzero().flatten(), len(spoilt) // PROBE_SIZES[0]
        # a record's constants (its class token) stay whole
        fitting = [
            inner
            for inner in range(1, factor + 1)
            if factor % inner == 0 and bool((places // inner % PROBE_SIZES[0] == 1).all())
        ]
        return fitting[0] if len(fitting) == 1 else None


@dataclass
class _Totals:
    """Sums per record along `axis`, where each record has `factor` places, `inner` side by side."""

    axis: int
    factor: int
    inner: int

    def __call__(self, values: Tensor) -> Tensor:
        along = values.movedim(self.axis, 0)
        along = along.flatten(1).sum(1) if along.ndim > 1 else along
        records = len(along) // self.factor
        return along.double().view(-1, records, self.inner).sum(dim=(0, 2))


def _unknown(node):
    def totals(values):
        raise UserError(
            f"LRP has no rule for {node.described()}: nothing tells which record its values belong "
            "to"
        )

    return totals
