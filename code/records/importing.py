"""Recordings of one's own, one after the other, into a data set in PTB-XL's layout."""

import contextlib
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.files import UserError
from common.labels import LEADS
from records import plausibility
from records.layout import file_column
from records.lead_names import canonical_lead
from records.ptbxl import record_name, write_record
from records.recording import Asked, Recording
from records.resampling import resample
from records.sources import Source
from records.stored import leads_there
from records.units import MV_PER_UV

MIN_SECONDS = 2.5
ASIDE = ".importing"  # folder that records are written to first
RECORD_FILE = re.compile(r"\d{5,}_(lr|hr|\d+)\.(hea|dat)")  # what record_name makes
CHUNK = 32  # records judged at a time
AS_IT_IS = (31, 32_000)  # uV: highest peaks of which `gain_for` says 1000
CHUNK_BYTES = 64 << 20  # of long recordings fewer


def chosen_leads(names: Sequence[str] | None) -> tuple[str, ...]:
    """`--leads` in the order of LEADS, all 12 by default; UserError for what is no lead. Says what
    fewer leads cannot tell.
    """
    if not names:
        return LEADS
    chosen = {name: canonical_lead(name) for name in names}
    if unknown := [name for name, lead in chosen.items() if lead is None]:
        raise UserError(
            f"--leads: {', '.join(unknown)} is no lead; accepted are {', '.join(LEADS)}; "
            "--lead_names says which lead each of the files' signals is"
        )
    leads = tuple(lead for lead in LEADS if lead in chosen.values())
    judged = [check for check in plausibility.CHECKS.values() if set(check.leads) <= set(leads)]
    if len(judged) < len(plausibility.CHECKS):
        left_out = [name for name, check in plausibility.CHECKS.items() if check not in judged]
        print(
            f"with {', '.join(leads)} alone {', '.join(f'quality_{name}' for name in left_out)} "
            "cannot be judged; concepts and measurements that need other leads stay blank"
        )
    return leads


@dataclass
class Wanted:
    """sampling_rate  Hz (None: the first recording's);  seconds  length (None: all equal)
    short  pad, drop or refuse recordings that are shorter;  skip_bad  leave out what cannot be used
    leads  that every recording must have, in the order of LEADS; others are left out
    asked  what the files do not say, and which stretch of each is read
    every  s from one stretch of a recording to the next (None: there is one)
    """

    sampling_rate: int | None = None
    seconds: float | None = None
    short: str = "refuse"
    skip_bad: bool = False
    leads: tuple[str, ...] = LEADS
    asked: Asked = field(default_factory=Asked)
    every: float | None = None


@dataclass
class Written:
    """What became of the recordings.

    kept      numbers in the source of those written, in order;  facts  of each, from its file
    starts    s into its recording of each
    rates     Hz of each recording;  seconds  that each lasts as a whole
    skipped   name -> why;  counts  of those `resampled` and `padded`
    flags     check -> names it finds fault with
    """

    sampling_rate: int = 0
    n_samples: int = 0
    kept: list[int] = field(default_factory=list)
    facts: list[dict] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)
    flags: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Waiting:
    """Records that are judged together: names, units per mV, and samples # (n, T, leads) int16 in
    memory that is used again and again, n at most CHUNK.
    """

    names: list[str] = field(default_factory=list)
    per_mv: list[float] = field(default_factory=list)
    samples: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0), np.int16))

    def add(self, name: str, samples: np.ndarray, per_mv: float) -> None:
        """Keep a record (T, leads) until it is judged; all have one length."""
        if not len(self.samples):
            n = min(max(CHUNK_BYTES // samples.nbytes, 1), CHUNK)
            self.samples = np.empty((n, *samples.shape), np.int16)
        self.samples[len(self.names)] = samples
        self.names.append(name)
        self.per_mv.append(per_mv)

    @property
    def full(self) -> bool:
        """Whether there is room for no other."""
        return len(self.names) == len(self.samples) > 0

    def clear(self) -> None:
        """Forget them."""
        self.names.clear()
        self.per_mv.clear()


class Writing:
    """Writes records as they come, and judges some of them at a time. One thread does it all: with
    a second one, both waited for Python's lock longer than they saved.
    """

    def __init__(self, folder: Path, leads: tuple[str, ...], written: Written):
        self._folder, self._leads, self._written = folder, leads, written
        self._waiting = Waiting()

    def add(self, name: str, ecg_id: int, signal: np.ndarray) -> None:
        """Write a record (T, leads), in mV or int16 in uV."""
        rate = self._written.sampling_rate
        samples, per_mv = samples_of(signal)
        write_record(self._folder, record_name(ecg_id, rate), samples, rate, per_mv, self._leads)
        self._waiting.add(name, samples, per_mv)
        if self._waiting.full:
            self.judge()

    def judge(self) -> None:
        """Note which of the records that wait raise a flag."""
        names = self._waiting.names
        if not names:
            return
        samples, rate = self._waiting.samples[: len(names)], self._written.sampling_rate
        verdict = plausibility.judge_samples(samples, self._waiting.per_mv, rate, self._leads)
        for check, flags in verdict.items():
            found = [name for name, flag in zip(names, flags, strict=True) if flag]
            if found:
                self._written.flags.setdefault(check, []).extend(found)
        self._waiting.clear()


def write_records(folder: Path, source: Source, ids: np.ndarray, wanted: Wanted) -> Written:
    """Read, check, bring to one rate and length, and write every recording into its place."""
    with records_aside(folder, source, ids, wanted) as written:
        return written


@contextlib.contextmanager
def records_aside(
    folder: Path, source: Source, ids: np.ndarray, wanted: Wanted
) -> Iterator[Written]:
    """The same, written aside and moved into place when the block ends: an import that is refused,
    also within the block, leaves what was there before.
    """
    written = Written(wanted.sampling_rate or 0)
    aside = folder / ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    try:
        writing = Writing(aside, wanted.leads, written)
        for number, name, recording in _recordings(source, wanted):
            signal = _tried(recording, name, wanted, written, len(source.names))
            if signal is None:
                continue
            ecg_id = len(written.kept) + 1 if wanted.every else int(ids[number])
            writing.add(name, ecg_id, signal)
            written.kept.append(number)
            written.facts.append(recording.facts)
            written.starts.append(recording.start)
            written.rates.append(recording.rate)
            written.seconds.append(recording.seconds)
        writing.judge()
        found = written.flags
        written.flags = {check: found[check] for check in plausibility.CHECKS if check in found}
        if not written.kept:
            why = next(iter(written.skipped.values()), "all are shorter than --seconds")
            raise UserError(
                f"none of the {len(source.names)} recordings can be used; of the first: {why}"
            )
        yield written
        _into_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _tried(recording, name, wanted, written, n_names):
    """The signal of a recording as `_brought` gives it; None where it is left out, as asked."""
    try:
        if isinstance(recording, UserError):
            raise recording
        return _brought(recording, name, wanted, written)
    except UserError as error:
        if not wanted.skip_bad and not isinstance(error, _Dropped):
            raise _with_way_out(error, n_names) from None
        written.skipped[name] = str(error)
    if not written.kept:  # the first that is kept says rate and length
        written.sampling_rate, written.n_samples = wanted.sampling_rate or 0, 0
    return None


def _recordings(source, wanted):
    """(number in the source, name, Recording or UserError) of each to write: of one in stretches
    h1@0s, h1@10s, ...
    """
    for number, name in enumerate(tqdm(source.names, desc="importing", disable=None)):
        if wanted.every is None:
            try:
                yield number, name, source.read(number, wanted.asked)
            except UserError as error:
                yield number, name, error
            continue
        for start, part in source.stretches(number, wanted.asked, wanted.seconds, wanted.every):
            yield number, f"{name}@{start:g}s", part


def _into_place(aside, folder):
    """Move records from `aside` (records<Hz>/<thousand>/...) into the data set's folder; records of
    an earlier import that are not among them go, whatever else is there stays.
    """
    for new in sorted(aside.iterdir()):
        target = folder / new.name
        for old in sorted(target.glob("*/*")):
            if RECORD_FILE.fullmatch(old.name) and not (new / old.parent.name / old.name).exists():
                old.unlink()
        for part in sorted(new.iterdir()):
            _move(part, target / part.name)


def _move(part, target):
    """A folder of records to its place: as a whole where there is none yet."""
    target.parent.mkdir(exist_ok=True)
    if not os.path.lexists(target):
        os.replace(part, target)
        return
    for new in sorted(part.iterdir()):
        os.replace(new, target / new.name)


def _brought(recording: Recording, name: str, wanted: Wanted, written: Written) -> np.ndarray:
    """(T, leads) at the data set's rate and of its length, in mV, or int16 in uV as the file has
    it.
    """
    if not written.sampling_rate:
        written.sampling_rate = max(round(recording.rate), 100)
    rate, fewer = written.sampling_rate, len(wanted.leads) < len(LEADS)
    if recording.values.dtype == np.int16 and recording.rate == rate and not fewer:
        return _of_length(recording.values, name, wanted, written)
    signal = recording.signal
    if fewer:
        signal = signal[:, [LEADS.index(lead) for lead in wanted.leads]]
    peak = max(signal.max(), -signal.min())  # NaN where there is one
    if np.isnan(peak):
        _refuse_gaps(recording, signal, name, wanted.leads)
    if peak > plausibility.MAX_MV:
        raise UserError(f"recording {name} reaches {peak:g} mV: give its unit with --unit")
    if recording.unit is None:
        plausibility.check_height(signal, wanted.leads, None, f"recording {name}")
    if recording.rate != rate:
        signal = resample(signal, recording.rate, rate)
        written.counts["resampled"] += 1
    return _of_length(signal, name, wanted, written)


def _refuse_gaps(recording, signal, name, leads):
    """UserError for leads that a recording does not have, or where it has gaps."""
    there = [
        lead for lead, has in zip(LEADS, leads_there(recording.signal[None]), strict=True) if has
    ]
    absent = [lead for lead in leads if lead not in there]
    if not there or not absent:
        gaps = np.isnan(signal).any(axis=0)
        where = [lead for lead, gap in zip(leads, gaps, strict=True) if gap]
        raise UserError(f"recording {name} has gaps in {', '.join(where)}")
    raise UserError(
        f"recording {name} has {', '.join(recording.names)}, and no lead {', '.join(absent)}: "
        f"--leads {' '.join(there)} makes a data set of these alone, --skip_bad leaves out "
        "recordings without the leads asked for"
    )


def _of_length(signal, name, wanted, written):
    rate = written.sampling_rate
    if not written.n_samples:
        written.n_samples = round(wanted.seconds * rate) if wanted.seconds else len(signal)
        if written.n_samples < MIN_SECONDS * rate:
            lasts = len(signal) / rate
            raise UserError(
                f"recording {name} lasts {lasts:g} s, which is less than {MIN_SECONDS} s"
            )
    missing = written.n_samples - len(signal)
    too_long = missing < 0 and wanted.seconds is None
    if too_long or (missing > 0 and wanted.short == "refuse"):
        way = "--short pad or drop says what becomes of shorter ones"
        raise UserError(
            f"{name} lasts {len(signal) / rate:g} s, others {written.n_samples / rate:g} s: "
            + (way if wanted.seconds else f"--seconds gives all one length; {way}")
        )
    if missing > 0 and wanted.short == "drop":
        raise _Dropped(f"lasts {len(signal) / rate:g} s")
    if missing > 0:
        written.counts["padded"] += 1
        return np.pad(signal, ((0, missing), (0, 0)), mode="edge")
    return signal[: written.n_samples]


def _with_way_out(error, n_names):
    """The error, with how to go on without that recording where there are others, and the error
    itself names no option.
    """
    if n_names == 1 or "--" in str(error):
        return error
    return UserError(f"{error}; --skip_bad leaves out such recordings and lists them")


class _Dropped(UserError):
    """A recording that is left out as asked."""


def samples_of(signal: np.ndarray) -> tuple[np.ndarray, float]:
    """A signal (T, leads) in mV, or int16 in uV, as samples int16 and how many of them are one
    mV. What is in uV stays as it is where `gain_for` says 1000.
    """
    if signal.dtype == np.int16:
        peak = max(int(signal.max()), -int(signal.min()))
        if AS_IT_IS[0] <= peak < AS_IT_IS[1]:
            return signal, 1000.0
        signal = signal * MV_PER_UV
    signal = signal.astype(np.float32)
    per_mv = gain_for(signal)
    signal *= np.float32(per_mv)
    return np.rint(signal, out=signal).astype("<i2"), per_mv


def gain_for(signal: np.ndarray) -> float:
    """Units per mV: 1000, or a power of ten more where the signal is far too small to be in mV."""
    peak = float(max(signal.max(), -signal.min()))
    if 0 < peak < 0.03:
        return float(10 ** np.floor(np.log10(30_000 / peak)))
    return 1000.0 if peak < 32 else 500.0


def print_summary(written: Written) -> None:
    """What was done to recordings, and which cannot be what they are taken for."""
    for what, count in written.counts.items():
        if count:
            print(f"{count} recordings were {what}")
    n_asked = len(written.kept) + len(written.skipped)
    if written.skipped:
        first = next(iter(written.skipped.items()))
        print(
            f"warning: {len(written.skipped)} of {n_asked} recordings were left out "
            f"(skipped_imports.csv), the first: {first[0]}: {first[1]}",
            file=sys.stderr,
        )
    for check, names in written.flags.items():
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        print(
            f"warning: {len(names)} of {len(written.kept)} recordings have "
            f"{plausibility.CHECKS[check].description} (quality_{check}): {shown}",
            file=sys.stderr,
        )
    if "unit" in written.flags:
        print(f"{plausibility.OTHER_UNIT}; --match chooses recordings", file=sys.stderr)


def left_out(facts: Sequence[dict], names: Sequence[str]) -> list[str]:
    """What other recordings each one's file holds, "" where there are none; said in a line. Empty
    where no file holds any.
    """
    others = [said.get("left_out", "") for said in facts]
    found = [(name, other) for name, other in zip(names, others, strict=True) if other]
    if not found:
        return []
    print(
        f"{len(found)} of {len(others)} files hold other recordings too, which are left out "
        f"(column left_out; --record_part reads another), the first: {found[0][0]}: {found[0][1]}"
    )
    return others


def skipped_table(written: Written) -> pd.DataFrame:
    """Recordings that were left out, and why."""
    return pd.DataFrame(list(written.skipped.items()), columns=["record_id", "why"])


def names_of_files(ids: np.ndarray, rate: int) -> dict[str, list[str]]:
    """The column of the table that names the records, and its values."""
    return {file_column(rate): [record_name(int(ecg_id), rate) for ecg_id in ids]}
