"""Measuring ECGs: arrays in, arrays and tables out."""

from ecg.analysis import detect_r_peaks, measure, measure_all
from ecg.segments import segment

__all__ = ["detect_r_peaks", "measure", "measure_all", "segment"]
