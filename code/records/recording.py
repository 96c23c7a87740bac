"""One recording of any format: what a reader gives back, and what it is asked.

`read_recording` in records/readers.py chooses the reader; `--record` and the import use it alike.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from common.files import UserError
from common.labels import LEADS
from records.lead_names import arrange, check_lead_names, lead_positions
from records.resampling import check_rate
from records.units import MV_PER_UV, UNITS, mv_per

if TYPE_CHECKING:
    from records.stored_arrays import StoredArray

# suffixes that people try and that no reader takes -> what to do with such a file
NOT_READ = {
    **dict.fromkeys((".parquet", ".feather", ".arrow", ".xlsx", ".xls", ".ods"), "save it as csv"),
    **dict.fromkeys((".pt", ".pth", ".pkl", ".pickle"), "save its array with numpy.save as .npy"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".gz", ".7z", ".rar"), "unpack it"),
    **dict.fromkeys(
        (".pdf", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".svg"),
        "not a picture, but the file with the samples is needed",
    ),
}


def refuse_other_formats(path: str | Path) -> None:
    """UserError with the way out for a file that no reader takes."""
    if way := NOT_READ.get(Path(path).suffix.lower()):
        raise UserError(f"{path} is in a format that is not read: {way}")


@dataclass(frozen=True)
class Asked:
    """What the user says of a file, where it does not say it itself.

    rate          Hz; unit  of the numbers (mV, uV, nV, V)
    lead_names    of the signals in the file's order, - for one to leave out
    start, seconds  the stretch to read (None: to the end)
    annotations  suffix of the WFDB annotations that go into the facts, as `marks`
    part  number of the recording to read of a file that holds several, from 1 on (None: the one
          with most signal)
    """

    rate: float | None = None
    unit: str | None = None
    lead_names: tuple[str, ...] | None = None
    start: float = 0.0
    seconds: float | None = None
    annotations: str | None = None
    part: int | None = None


NOTHING = Asked()  # nothing beside what the file says


class Recording(NamedTuple):
    """The 12 leads of a recording, or those that are there.

    values   # (T, 12) as `signal`, or int16 in uV where the file has all leads so, without a gap:
             an import writes these as they are
    rate     Hz
    unit     as the file or the user says it; None: nobody does
    start    s into the file; seconds  the whole file's length
    facts    what the file says beside: age, sex, labels, patient_id, ...; left_out: its other
             recordings, in words
    names    of the signals, as the file has them
    """

    values: np.ndarray
    rate: float
    unit: str | None
    start: float
    seconds: float
    facts: dict
    names: tuple[str, ...]

    @property
    def signal(self) -> np.ndarray:
        """(T, 12) mV in the order of LEADS, NaN for a lead that is neither there nor follows from
        two others; in the file's numbers where `unit` is None.
        """
        return self.values * MV_PER_UV if self.values.dtype == np.int16 else self.values


@dataclass(frozen=True)
class Columns:
    """Signals of a file before they are put in order: `values` (T, n), which may still lie in the
    file, one name for each.
    """

    values: "np.ndarray | StoredArray"
    names: list[str]
    rate: float
    units: list[str | None]
    facts: dict = field(default_factory=dict)


def from_columns(columns: Columns, path: str | Path, asked: Asked) -> Recording:
    """Put columns in order, bring them to mV and cut the stretch that was asked for; UserError
    where that cannot be done.
    """
    names = columns.names
    if asked.lead_names:
        names = check_lead_names(asked.lead_names, len(names), path)
    positions = lead_positions(names, path)
    if not positions:
        raise UserError(
            f"{path} has {', '.join(map(str, columns.names))}, none of the leads "
            f"{', '.join(LEADS)}: --lead_names says what they are"
        )
    check_rate(columns.rate, path)
    n_samples = len(columns.values)
    first, last = _stretch(n_samples, columns.rate, path, asked)
    said = [asked.unit or columns.units[column] for column in positions.values()]
    factors = np.array([_factor(unit, path) for unit in said])
    values = columns.values[first:last]  # of a file that is mapped, only these are read
    used = values[:, list(positions.values())].astype(float) * factors
    if np.isinf(used).any():
        lead = list(positions)[int(np.isinf(used).any(axis=0).argmax())]
        raise UserError(f"{path}: lead {lead} has {int(np.isinf(used).sum())} infinite values")
    return Recording(
        arrange(used, {lead: column for column, lead in enumerate(positions)}),
        columns.rate,
        None if None in said else said[0],
        asked.start,
        n_samples / columns.rate,
        columns.facts,
        tuple(map(str, columns.names)),
    )


def _stretch(n_samples, rate, path, asked):
    """First and last sample that were asked for; UserError where the recording ends before."""
    first = round(asked.start * rate)
    if first >= n_samples:
        raise ends_before(path, n_samples / rate, asked)
    last = n_samples if asked.seconds is None else first + round(asked.seconds * rate)
    return first, min(last, n_samples)


def ends_before(path: str | Path, seconds: float, asked: Asked) -> UserError:
    """The error of a recording of so many `seconds`, which are over at the start asked for."""
    return UserError(f"{path} lasts {seconds:.2f} s: it ends before the start {asked.start:g} s")


def _factor(unit, path):
    if unit is None:
        return 1.0
    factor = mv_per(unit)
    if factor is None:
        raise UserError(f"{path} is in {unit}, which is no unit of voltage: {', '.join(UNITS)}")
    return factor
