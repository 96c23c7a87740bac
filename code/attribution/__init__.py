"""Attribution: what in a record a network's logit rests on."""

import importlib

__all__ = ["METHODS", "attribute", "attribute_records", "explain", "explain_records"]


def __getattr__(name: str) -> object:
    """One of the names of attribution.methods, loaded when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("attribution.methods"), name)
