"""One's own ECG as a model takes it: of any format and rate, resampled, 10 s of it, and its quality
flags.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from common.files import UserError
from common.labels import LEADS
from ecg.analysis import measure_all
from records import plausibility
from records.quality import FLAGS, judge_quality
from records.readers import read_recording
from records.recording import NOTHING, Asked
from records.resampling import resample

SECONDS = 10.0  # what is explained and drawn of a longer record
AS_RECORDED = ("flat", "clipped")  # resampling rings at the ends of a still line and on a plateau


class Own(NamedTuple):
    """At most 10 s of a record, NaN for leads that are not there.

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
    asked: Asked = NOTHING,
) -> Own:
    """Read a record and resample it to `sampling_rate` Hz.

    leads   those that must be there (the model's)
    crop    least number of samples at `sampling_rate`
    asked   what the file does not say itself, and where to start
    Raises UserError where the record is missing or unreadable, lacks a lead, has gaps, is too
    short, or is not in mV.
    """
    seconds = max(SECONDS, crop / sampling_rate)
    recording = _read(path, replace(asked, seconds=seconds), sampling_rate)
    if others := recording.facts.get("left_out"):
        print(f"warning: {path} holds other recordings too: {others}", file=sys.stderr)
    recorded = recording.signal
    _check_leads(recorded, leads, path, recording.names)
    signal = resample(recorded, recording.rate, sampling_rate)
    if len(signal) < crop:
        raise UserError(
            f"{path} lasts {len(signal) / sampling_rate:.2f} s, the model needs "
            f"{crop / sampling_rate:.2f} s"
        )
    signal = signal[: max(round(SECONDS * sampling_rate), crop)]
    used = signal[:, [LEADS.index(lead) for lead in leads]]
    peak, most = np.abs(used).max(), plausibility.MAX_MV
    if peak > most:
        raise UserError(
            f"{path} reaches {peak:.0f} mV: an ECG stays below {most:g} mV; give "
            "it in mV, or its unit with --unit"
        )
    plausibility.check_height(used, leads, recording.unit, path)
    return Own(signal.astype(np.float32), sampling_rate, recorded, recording.rate)


def _read(path, asked, sampling_rate):
    """The recording; a rate that nobody says is asked for, with the network's own beside it."""
    try:
        return read_recording(path, asked)
    except UserError as error:
        text = str(error)
        if asked.rate is None and "--record_rate" in text and "not evenly spaced" not in text:
            raise UserError(f"{text} (the network's own is {sampling_rate})") from None
        raise


def _check_leads(signal, leads, path, names):
    """UserError where a lead that the model needs is missing, or has gaps."""
    for lead in leads:
        missing = int(np.isnan(signal[:, LEADS.index(lead)]).sum())
        if missing:
            whole = missing == len(signal)
            what = "is missing" if whole else f"has {missing} samples without a value"
            raise UserError(f"{path}: lead {lead} {what}; it has {', '.join(names)}")


def own_quality(own: Own) -> pd.DataFrame:
    """One row of columns `quality_<flag>`: True, False, or blank where a flag cannot be judged."""
    there = np.isfinite(own.signal).all(axis=0)
    signal = np.where(there, own.signal, np.nan)[None]  # of a lead with gaps nothing is judged
    measured = measure_all(signal, own.sampling_rate, progress=False).assign(scp_codes="")
    flags = judge_quality(signal, own.sampling_rate, measured).astype(object)
    recorded = own.recorded[None, :, there]
    for name in AS_RECORDED:
        flags[f"quality_{name}"] = FLAGS[name].judge(recorded, round(own.rate), measured)
    flags["quality_pacemaker"] = None
    return flags
