"""Units of voltage, and how far an ECG reaches."""

import math
import re
from functools import lru_cache

MV_PER_UV = 0.001
MV_PER_UNIT = {
    "mv": 1.0,
    "uv": 1e-3,
    "µv": 1e-3,
    "\N{GREEK SMALL LETTER MU}v": 1e-3,
    "microvolt": 1e-3,
    "microvolts": 1e-3,
    "millivolt": 1.0,
    "millivolts": 1.0,
    "nv": 1e-6,
    "v": 1e3,
    "volt": 1e3,
    "volts": 1e3,
}
UNITS = ("mV", "uV", "nV", "V")  # what --unit takes


@lru_cache(maxsize=1024)  # an import asks for the same few again and again
def mv_per(unit: str | None) -> float | None:
    """How many mV one `unit` is: '1', '5 uV' and 'mV' are read; None where it is no unit of
    voltage.
    """
    text = str(unit).strip().lower()
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e-?\d+)?)?\s*([^\d\s]+)", text)
    if match is None or match[2] not in MV_PER_UNIT:
        return None
    factor = float(match[1] or 1) * MV_PER_UNIT[match[2]]
    return factor if 0 < factor < math.inf else None
