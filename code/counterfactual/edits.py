"""What may be changed in an ECG, in a clinician's own units, and how far hearts let it go.

EDITS names every edit: a quantity of a wave in a group of leads, or an interval of the whole beat.
Amplitudes are changed in the eight independent leads (I, II, V1 to V6) and the other four follow:
+d in I is +d in aVL and -d in III, +d in II is +d in III and aVF and -d/2 in aVR and aVL.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.files import UserError
from common.labels import FOLLOWERS, LEADS

INDEPENDENT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
# (8, 12): the leads of labels.LEADS that follow from a change of the independent ones
TO_TWELVE = np.zeros((len(INDEPENDENT), len(LEADS)))
for _number, _lead in enumerate(INDEPENDENT):
    TO_TWELVE[_number, LEADS.index(_lead)] = 1
TO_TWELVE[0, 2:6] = (-1, -0.5, 1, -0.5)  # of I: III, aVR, aVL, aVF
TO_TWELVE[1, 2:6] = (1, -0.5, -0.5, 1)  # of II

WAVES = ("P", "Q", "R", "S", "ST", "T")
LEAD_GROUPS = (
    ("I",),
    ("II",),
    ("V1",),
    ("V2",),
    ("V3",),
    ("V4",),
    ("V5",),
    ("V6",),
    ("V1", "V2"),
    ("V3", "V4"),
    ("V5", "V6"),
    ("V1", "V2", "V3"),
    ("V4", "V5", "V6"),
)
# what is stretched -> the measurement that says how long it is
INTERVALS = {
    "PR interval": "PR_Int_Global",
    "QRS duration": "QRS_Dur_Global",
    "QT interval": "QT_Int_Global",
    "RR interval": "RR_Mean_Global",
}


@dataclass(frozen=True)
class Edit:
    """One quantity that can be changed.

    quantity  "amplitude", "level" (both mV) or "duration" (ms)
    wave      P, Q, R, S, ST, T or an interval's name
    leads     the independent leads that are changed; () for an interval: all leads
    columns   of the table of measurements, one per lead (or one): what the dose is measured by
    """

    quantity: str
    wave: str
    leads: tuple[str, ...]
    unit: str
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """R V5 V6, PR interval"""
        return " ".join((self.wave, *self.leads))

    @property
    def shown_in(self) -> tuple[str, ...]:
        """The leads that change by the same millivolts: of I aVL too, of II III and aVF."""
        more = [follower for lead in self.leads for follower in FOLLOWERS.get(lead, ())]
        return (*self.leads, *more)

    def overlaps(self, other: "Edit") -> bool:
        """Whether both change the same thing somewhere, so that their doses would add up."""
        return self.wave == other.wave and (
            self.leads == other.leads or bool(set(self.leads) & set(other.leads))
        )


# unit and share of the dose that the measured change may differ by, to be called found again: as
# much as our own measurement scatters, not what a search may aim at (body.FOLLOWS)
AGAIN = {"mV": (0.1, 0.2), "ms": (10.0, 0.2)}


def is_found_again(unit: str, dose: float, measured: float) -> bool:
    """Whether a measured change is the stated one (both in `unit`), as far as measuring goes."""
    absolute, relative = AGAIN[unit]
    return bool(abs(dose - measured) <= absolute + relative * abs(dose))


def found_again(edits: pd.DataFrame) -> pd.Series:
    """Per row of edits.csv (unit, dose, measured_dose): whether the edited record, measured anew,
    shows the stated change.
    """
    columns = (edits[name] for name in ("unit", "dose", "measured_dose"))
    held = [is_found_again(*row) for row in zip(*columns, strict=True)]
    return pd.Series(held, index=edits.index, dtype=bool)


def _of_wave(wave, leads):
    if wave == "ST":
        return Edit("level", wave, leads, "mV", tuple(f"J_Amp_{lead}" for lead in leads))
    return Edit("amplitude", wave, leads, "mV", tuple(f"{wave}_Amp_{lead}" for lead in leads))


def _all_edits():
    found = [_of_wave(wave, leads) for wave in WAVES for leads in LEAD_GROUPS]
    found += [Edit("duration", name, (), "ms", (column,)) for name, column in INTERVALS.items()]
    return {edit.name: edit for edit in found}


EDITS = _all_edits()
LIMB = {"I", "II"}  # of the independent leads: the four that follow change with them
FOLLOWING = tuple(
    f"{wave}_Amp_{lead}" for lead in LEADS[2:6] for wave in ("P", "Q", "R", "S", "J", "T")
)  # what is measured in those four
ROUNDING = 0.02  # mV that a follower may be measured beyond its limit
OLDER_COLUMNS = {"J_Amp": "ST_Amp"}  # Uni-G's name of the level at the J-point


@dataclass(frozen=True)
class Limits:
    """What the records of a data set show of each edit's columns.

    low, high  column -> 1st and 99th percentile;  sd  column -> standard deviation (mV or ms)
    """

    low: dict[str, float]
    high: dict[str, float]
    sd: dict[str, float]
    n_records: int

    def room(self, edit: Edit, before: pd.Series) -> tuple[float, float]:
        """Least and greatest dose (<= 0 <= ) that leave every lead of a record with measurements
        `before` inside the limits; a value already outside is not driven further.
        """
        columns = [column for column in edit.columns if column in self.low]
        if len(columns) < len(edit.columns) or not np.isfinite(before[columns].astype(float)).all():
            return 0.0, 0.0
        down = max(self.low[column] - before[column] for column in columns)
        up = min(self.high[column] - before[column] for column in columns)
        return float(min(down, 0.0)), float(max(up, 0.0))

    def followers_keep(self, before: pd.Series, after: pd.DataFrame) -> np.ndarray:
        """(n,) whether III, aVR, aVL and aVF stay inside the limits in measurements `after` (a row
        each), or no further outside than `before`.
        """
        columns = [column for column in FOLLOWING if column in self.low and column in after]
        low, high = (np.array([side[name] for name in columns]) for side in (self.low, self.high))

        def outside(values):
            return np.maximum(np.maximum(low - values, values - high), 0)

        was = outside(before[columns].to_numpy(float))
        return ~(outside(after[columns].to_numpy(float)) > was + ROUNDING).any(axis=1)

    def scale(self, edit: Edit) -> float:
        """What a dose counts as 1 of: the mean standard deviation over the edit's leads."""
        return float(np.mean([self.sd[column] for column in edit.columns]))


def limits_of(table: pd.DataFrame, fewest: int = 20) -> Limits:
    """Limits from the measurements of a data set's records (mV, ms; waves that are absent are 0).

    Columns with fewer than `fewest` values have none, and edits that need them are not made.
    Raises UserError where no edit is left.
    """
    low, high, sd, most = {}, {}, {}, 0
    edited = (column for edit in EDITS.values() for column in edit.columns)
    for column in dict.fromkeys([*edited, *FOLLOWING]):
        stem, _, lead = column.rpartition("_")
        older = f"{OLDER_COLUMNS.get(stem, stem)}_{lead}"
        present = column if column in table else older
        if present not in table:
            continue
        values = pd.to_numeric(table[present], errors="coerce").dropna()
        if len(values) < fewest or values.std() == 0:
            continue
        low[column], high[column] = values.quantile([0.01, 0.99])
        sd[column], most = float(values.std()), max(most, len(values))
    if not low:
        raise UserError(
            f"the enriched table ({len(table)} records) has no measurements of {fewest} or more "
            "records, so that nothing is known of what hearts show: take a larger data set, or "
            "preprocess it again where its columns were removed"
        )
    return Limits(low, high, sd, most)
