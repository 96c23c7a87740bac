"""One's own ECG as a model takes it (WFDB or csv, any rate, mV, leads by name; resampled, cut to 10
s), and its quality flags.

A csv has one column per lead, named as in labels.LEADS (capitals do not matter), in mV; a column
`time` in s gives the rate. Limb leads that are missing are computed from I and II where those are
there.
"""

from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy  # see rpeaks.py

from common.files import UserError, read_csv
from common.labels import LEADS
from ecg.analysis import measure_all
from records.quality import FLAGS, judge_quality
from records.wfdb_files import MV_PER_UNIT

SECONDS = 10.0  # what is explained and drawn of a longer record
MAX_MV = 50.0  # more than any ECG has: the unit is wrong
AS_RECORDED = ("flat", "clipped")  # resampling rings at the ends of a still line and on a plateau
LIMB = {
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}  # of I and II


class Own(NamedTuple):
    """At most the first 10 s of a record, NaN for leads that are not there.

    signal         # (T, 12) float32 mV at `sampling_rate` Hz, the model's
    recorded       # (T', 12) mV at `rate` Hz, as the file has it
    """

    signal: np.ndarray
    sampling_rate: int
    recorded: np.ndarray
    rate: float


def read_own(
    path: str | Path,
    leads: Sequence[str],
    sampling_rate: int,
    crop: int,
    record_rate: float | None = None,
) -> Own:
    """Read a record and resample it to `sampling_rate` Hz.

    leads        those that must be there (the model's)
    crop         least number of samples at `sampling_rate`
    record_rate  Hz of a csv without a column `time`
    Raises UserError where the record is missing or unreadable, lacks a lead, has gaps, is too
    short, or is not in mV.
    """
    path = Path(path)
    columns, rate = (
        _read_csv(path, record_rate) if path.suffix.lower() == ".csv" else _read_wfdb(path)
    )
    recorded = _arranged(columns, leads, path)
    signal = resample(recorded, rate, sampling_rate)
    if len(signal) < crop:
        raise UserError(
            f"{path} lasts {len(signal) / sampling_rate:.2f} s, the model needs "
            f"{crop / sampling_rate:.2f} s"
        )
    signal = signal[: round(SECONDS * sampling_rate)]
    used = signal[:, [LEADS.index(lead) for lead in leads]]
    if np.abs(used).max() > MAX_MV:
        raise UserError(
            f"{path} reaches {np.abs(used).max():.0f} mV: an ECG stays below {MAX_MV:g} mV; give "
            "it in mV"
        )
    return Own(signal.astype(np.float32), sampling_rate, recorded[: round(SECONDS * rate)], rate)


def own_quality(own: Own) -> pd.DataFrame:
    """One row of columns `quality_<flag>`: True, False, or blank where a flag cannot be judged."""
    there = np.isfinite(own.signal).all(axis=0)
    signal, recorded = (
        np.where(there, values, values[:, [there.argmax()]])[
            None
        ]  # a lead again raises no flag of its own
        for values in (own.signal, own.recorded)
    )
    measured = measure_all(signal, own.sampling_rate, progress=False).assign(scp_codes="")
    flags = judge_quality(signal, own.sampling_rate, measured).astype(object)
    for name in AS_RECORDED:
        flags[f"quality_{name}"] = FLAGS[name].judge(recorded, round(own.rate), measured)
    flags["quality_pacemaker"] = None
    if not all(there[LEADS.index(lead)] for lead in ("I", "II", "V6")):
        flags["quality_limb_reversal"] = None
    return flags


def _read_wfdb(path):
    """Columns by lead name and the rate of a WFDB record, named with or without a suffix."""
    import wfdb

    name = path.with_suffix("") if path.suffix in (".hea", ".dat") else path
    if not name.with_name(name.name + ".hea").is_file():
        raise UserError(f"{name}.hea does not exist: --record takes a WFDB record or a .csv")
    try:
        record = wfdb.rdrecord(str(name))
    except Exception as error:
        raise UserError(
            f"{name} is not a readable WFDB record ({type(error).__name__}: {error})"
        ) from None
    unknown = sorted({unit for unit in record.units if unit.lower() not in MV_PER_UNIT})
    if unknown:
        raise UserError(f"{name} is in {', '.join(unknown)}, not in mV, uV or V")
    factors = [MV_PER_UNIT[unit.lower()] for unit in record.units]
    return dict(zip(record.sig_name, (record.p_signal * factors).T, strict=True)), record.fs


def _read_csv(path, record_rate):
    """Columns by lead name and the rate of a csv."""
    table = read_csv(path)
    names = {str(name).strip().lower(): name for name in table}
    rate = record_rate
    if rate is None and "time" in names:
        times = pd.to_numeric(table[names["time"]], errors="coerce").to_numpy()
        steps = np.diff(times)
        if (
            not len(steps)
            or not np.isfinite(steps).all()
            or steps.min() <= 0
            or np.ptp(steps) > 0.1 * np.median(steps)
        ):
            raise UserError(f"{path}: the column time is not evenly spaced in seconds")
        rate = 1 / np.median(steps)
    if rate is None:
        raise UserError(
            f"{path} has no column time (s): --record_rate says its sampling rate in Hz"
        )
    return {
        name: pd.to_numeric(table[name], errors="coerce").to_numpy(float) for name in table
    }, rate


def _arranged(columns, leads, path):
    """(T, 12) in the order of LEADS, limb leads completed, NaN where a lead is not there."""
    by_name = {str(name).strip().upper(): values for name, values in columns.items()}
    length = len(next(iter(columns.values())))
    signal = np.full((length, len(LEADS)), np.nan)
    for index, lead in enumerate(LEADS):
        if lead.upper() in by_name:
            signal[:, index] = by_name[lead.upper()]
        elif lead in LIMB and {"I", "II"} <= by_name.keys():
            signal[:, index] = LIMB[lead][0] * by_name["I"] + LIMB[lead][1] * by_name["II"]
    for lead in leads:
        missing = int(np.isnan(signal[:, LEADS.index(lead)]).sum())
        if missing:
            what = "is missing" if missing == length else f"has {missing} samples without a value"
            raise UserError(f"{path}: lead {lead} {what}; it has {', '.join(map(str, columns))}")
    return signal


def check_rate(rate: float) -> None:
    """UserError for a sampling rate that is not between 50 and 10000 Hz."""
    if not 50 <= rate <= 10_000:
        raise UserError(f"a sampling rate of {rate:g} Hz is not between 50 and 10000 Hz")


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
