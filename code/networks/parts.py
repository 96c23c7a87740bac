"""Networks of files, as modules: operations one after the other, each inside a module of the name
that the file gives its place.
"""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

Values = dict[str, object]  # name -> value computed so far
Operation = Callable[[Values], Tensor | None]  # adds its outputs; the last one that is a tensor


class Part(nn.Module):
    """A place in the network: computes the operations that stand there."""

    def forward(self, values: Values, operations: list[Operation]) -> Tensor | None:
        """Adds the operations' outputs to `values`; the last one that is a tensor."""
        last = None
        for operation in operations:
            result = operation(values)
            last = result if isinstance(result, Tensor) else last
        return last


class Parts(nn.Module):
    """Operations by place, run in their order; neighbours of one place are one call of its module.

    operations  (dotted path, operation)
    """

    def __init__(self, operations: Iterable[tuple[str, Operation]]):
        super().__init__()
        # paths, not modules: a copy of this network then runs its own modules
        self.steps: list[tuple[str, list[Operation]]] = []
        self.places = Part()
        for path, operation in operations:
            name = self._add(path)
            if self.steps and self.steps[-1][0] == name:
                self.steps[-1][1].append(operation)
            else:
                self.steps.append((name, [operation]))

    def _add(self, path: str) -> str:
        """Makes the module at a path where it is not there yet; the path that it is found at."""
        part, names = self.places, []
        for word in path.split("."):
            if not word:
                continue
            # a module cannot be called like something that every module has
            name = f"{word}_" if hasattr(nn.Module, word) or word == "training" else word
            if name not in part._modules:
                part.add_module(name, Part())
            part = part._modules[name]
            names.append(name)
        return ".".join(names)

    def forward(self, values: Values) -> None:
        """Computes everything into `values`."""
        for path, operations in self.steps:
            self.places.get_submodule(path)(values, operations)
