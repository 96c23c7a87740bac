"""Functions and tables that are named now and imported when they are first used.

A registry can list what it offers without loading it: a stage then starts with what it needs.
"""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Later:
    """The function `name` of a module, imported when it is first called or asked for its
    parameters.
    """

    module: str
    name: str

    def load(self) -> object:
        """What the name stands for."""
        return getattr(importlib.import_module(self.module), self.name)

    def __call__(self, *given: object, **named: object) -> object:
        """The function's own result."""
        return self.load()(*given, **named)

    @property
    def __signature__(self) -> inspect.Signature:
        """The function's own, as inspect.signature() finds it."""
        return inspect.signature(self.load())


@dataclass(frozen=True)
class LaterTable(Mapping):
    """The dictionary `name` of a module, imported when it is first looked at."""

    module: str
    name: str

    def _load(self):
        return Later(self.module, self.name).load()

    def __getitem__(self, key: str) -> object:
        """The entry of a name."""
        return self._load()[key]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._load())

    def __len__(self) -> int:
        """The number of entries."""
        return len(self._load())
