"""Measuring ECGs: arrays in, arrays and tables out."""

import importlib

# what the front door offers -> where it is: loaded when it is first asked for, since most stages
# read measurements and segments from files
OFFERED = {
    "delineate": "ecg.delineation",
    "detect_r_peaks": "ecg.analysis",
    "measure": "ecg.analysis",
    "measure_all": "ecg.analysis",
    "segment": "ecg.segmenting",
}

__all__ = list(OFFERED)


def __getattr__(name: str) -> object:
    """One of OFFERED."""
    if name not in OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(OFFERED[name]), name)
