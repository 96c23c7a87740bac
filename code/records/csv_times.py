"""The sampling rate that a column of times gives: in s, ms or us, as a clock, or with dates.

A rate is (n - 1) / (last - first), with the tolerance that the decimals of the times leave.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from common.files import UserError
from records.csv_layout import TIME_UNITS

DAY = 86_400.0  # s


def rate_of_column(column: pd.Series, unit: str | None, path: str | Path) -> float:
    """Sampling rate (Hz) of a column of times as text."""
    text = column.str.strip().str.strip("'\"").str.strip("[]").str.replace(",", ".", regex=False)
    if text.str.contains(":", regex=False).all():
        return rate_of(_clock(text, path), _decimals(text.str.rstrip("Z")), path)
    times = pd.to_numeric(text, errors="coerce").to_numpy(float)
    scale = TIME_UNITS.get((unit or "").lower())
    if scale is None:
        step = np.median(np.diff(times)) if len(times) > 1 else 0.0
        scale = 1e-6 if step > 500 else 1e-3 if step > 0.05 else 1.0
    return rate_of((times - times[0]) * scale, _decimals(text) - round(np.log10(scale)), path)


def _clock(text, path):
    """Seconds of 0:00.004, 12:00:00.004 or 2024-03-01 12:00:00.004, midnight passed or not."""
    if text.str.contains("-", regex=False).any():
        try:
            moments = pd.to_datetime(text, format="ISO8601", utc=True)
        except ValueError:
            raise _uneven(path) from None
        return (moments - moments.iloc[0]).dt.total_seconds().to_numpy(float)
    parts = text.str.split(":", expand=True).apply(pd.to_numeric, errors="coerce")
    weights = 60.0 ** np.arange(parts.shape[1])[::-1]
    seconds = parts.to_numpy(float) @ weights
    steps = np.diff(seconds, prepend=seconds[:1])
    return seconds + DAY * np.cumsum(steps < -DAY / 2)


def _decimals(text):
    """Most digits behind the point that a column of text has (an exponent counts as many)."""
    if text.str.contains("e", case=False, regex=False).any():
        return 15
    behind = text.str.extract(r"\.(\d+)(?:[+-]\d\d:?\d\d)?$")[0].dropna()
    return int(behind.str.len().max()) if len(behind) else 0


def _uneven(path):
    return UserError(
        f"{path}: the column time is not evenly spaced in seconds (or ms): put it right, or leave "
        "it out and give --record_rate"
    )


def rate_of(times: np.ndarray, decimals: int, path: str | Path = "the file") -> float:
    """Hz of evenly spaced `times` (s) that are rounded to so many decimals.

    A whole number of Hz is taken where the rounding allows one. UserError where the times are not
    evenly spaced within their rounding (a sample is missing or stands twice).
    """
    steps = np.diff(times)
    if len(steps) < 2 or not np.isfinite(steps).all() or times[-1] <= times[0]:
        raise _uneven(path)
    span, rounding = times[-1] - times[0], 10.0**-decimals
    rate = len(steps) / span
    tolerance = rate * rounding / span
    whole = round(rate)
    if whole > 0 and abs(rate - whole) <= max(tolerance, 1e-6 * rate):
        rate = float(whole)
    place = np.arange(len(times)) - (len(times) - 1) / 2
    slope = place @ times / (place @ place)
    away = times - place * slope  # the rounding, where no sample is missing
    if np.ptp(away) > 1.1 * rounding + 0.05 / rate or steps.min() < 0:
        raise _uneven(path)
    return rate
