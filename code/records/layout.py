"""What a data set is beside its tables: its sampling rate, its length, where its labels are from.

An imported data set says so in dataset.json; without one it is PTB-XL's: 10 s at 100 and 500 Hz.
"""

from pathlib import Path
from typing import NamedTuple

from common.files import UserError, read_json, write_json
from common.labels import LEADS

DATABASE = "ptbxl_database.csv"
FILE = "dataset.json"
SECONDS = 10  # of PTB-XL's records
# published measurements that preprocessing.py may be handed -> what they hold
ADDON_FILES = {"r-peaks.csv": "r_peaks", "r_peaks.csv": "r_peaks", "concepts.csv": "concepts"}
SUFFIX = {100: "lr", 500: "hr"}  # Hz that PTB-XL's records are stored at -> how their names end


class Layout(NamedTuple):
    """rates  Hz -> samples of each record stored at it;  facts  what else is known."""

    rates: dict[int, int]
    facts: dict

    def stored_rate(self, wanted: int) -> int:
        """The rate (Hz) that records are read at to give `wanted`: that, or the highest."""
        return wanted if wanted in self.rates else max(self.rates)

    def n_samples(self, sampling_rate: int) -> int:
        """Samples of a record at a rate that it is stored at or resampled to."""
        stored = self.stored_rate(sampling_rate)
        return -(-self.rates[stored] * sampling_rate // stored)

    @property
    def leads(self) -> tuple[str, ...]:
        """Those that every record has, in the order of LEADS."""
        return tuple(self.facts.get("leads", LEADS))


def file_column(rate: int) -> str:
    """The column of the table that names the records stored at a rate (Hz)."""
    return f"filename_{SUFFIX.get(rate, rate)}"


def read_layout(data_path: str | Path) -> Layout:
    """The layout of a data set."""
    path = Path(data_path) / FILE
    if not path.is_file():
        return Layout({rate: SECONDS * rate for rate in SUFFIX}, {})
    content = read_json(path)
    rate, n_samples = content.get("sampling_rate"), content.get("n_samples")
    if not all(isinstance(value, int) and value > 0 for value in (rate, n_samples)):
        raise UserError(f"{path} does not say sampling_rate and n_samples: import the data again")
    return Layout({rate: n_samples}, content)


def write_layout(folder: str | Path, sampling_rate: int, n_samples: int, **facts: object) -> Path:
    """Write dataset.json."""
    path = Path(folder) / FILE
    write_json(path, {"sampling_rate": sampling_rate, "n_samples": n_samples, **facts})
    return path
