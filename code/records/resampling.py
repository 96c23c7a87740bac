"""A recording at another sampling rate."""

from math import gcd

import numpy as np
import scipy  # see rpeaks.py

from common.files import UserError


def check_rate(rate: float, where: object = "") -> None:
    """UserError for a sampling rate that is not between 50 and 10000 Hz."""
    if not 50 <= rate <= 10_000:
        prefix = f"{where}: " if where else ""
        raise UserError(f"{prefix}a sampling rate of {rate:g} Hz is not between 50 and 10000 Hz")


def resample(signal: np.ndarray, rate: float, wanted: float) -> np.ndarray:
    """`signal` (T, leads) of `rate` Hz at `wanted` Hz, by a polyphase filter; edges continue the
    line from the first to the last value. Rates count to a thousandth of a Hz.

    Raises UserError for a rate that is not between 50 and 10000 Hz.
    """
    check_rate(rate)
    up, down = round(wanted * 1000), round(rate * 1000)
    factor = gcd(up, down)
    if up == down:
        return signal
    return scipy.signal.resample_poly(signal, up // factor, down // factor, axis=0, padtype="line")
