"""How exactly the waves' boundaries of a data set's records are known (boundary_sd.csv)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from common.files import read_csv
from records.dataset import Dataset, parse_r_peaks

FILE = "boundary_sd.csv"  # preprocessing.py lays it beside the data set
BOUNDARIES = (
    ("P", "onset"),
    ("P", "offset"),
    ("QRS", "onset"),
    ("QRS", "offset"),
    ("T", "onset"),
    ("T", "offset"),
)
RHYTHMS = {  # of boundary_sd.csv -> SCP statements; the first that fits
    "AF or flutter": ("AFIB", "AFLT"),
    "sinus": ("SR", "SBRAD", "STACH", "SARRH"),
}
SLOW, FAST = 60, 100  # beats per minute


def own_table() -> pd.DataFrame:
    """How exact our own boundaries are, against cardiologists' marks: what preprocessing writes."""
    from ecg.delineation import boundary_sd  # where they are found, which most stages need not do

    return boundary_sd()


def boundary_errors(data: Dataset, rows: np.ndarray) -> np.ndarray:
    """SD (n, 6) in samples of each of BOUNDARIES of the records at `rows`, by rhythm and heart
    rate; where the table of SDs has too few marks of the two together, of the rhythm, or of all.
    """
    path = data.path / FILE
    # a data set of an older version has no table of its own
    table = read_csv(path) if path.is_file() else own_table()
    known = {(row.wave, row.side, row.rhythm, row.rate): row.sd_ms for row in table.itertuples()}
    records = data.table.iloc[rows]
    kinds = zip(_rhythms(records), _rates(records["r_peaks"]), strict=True)
    sd_ms = [_of_kind(known, rhythm, rate) for rhythm, rate in kinds]
    return np.array(sd_ms).reshape(-1, len(BOUNDARIES)) * data.sampling_rate / 1000


def _of_kind(known, rhythm, rate):
    """The six SDs (ms), each from the narrowest group that has one."""
    found = []
    for boundary in BOUNDARIES:
        groups = ((rhythm, rate), (rhythm, "any"), ("any", "any"))
        found.append(
            next(known[*boundary, *group] for group in groups if (*boundary, *group) in known)
        )
    return found


def _rhythms(records: pd.DataFrame) -> Sequence[str]:
    """Rhythm of each record in the words of boundary_sd.csv; any where nothing is said of it."""
    if "scp_codes" not in records:
        return ["any"] * len(records)
    texts = records["scp_codes"].fillna("").astype(str)
    found = np.where(texts.str.contains("'"), "other", "any").astype(object)
    for rhythm, statements in reversed(RHYTHMS.items()):
        pattern = "|".join(f"'{statement}'" for statement in statements)
        found[texts.str.contains(pattern).to_numpy()] = rhythm
    return found


def _rates(r_peaks: pd.Series) -> Sequence[str]:
    """slow, usual or fast of each record; any where fewer than two beats were found."""
    words = []
    for text in r_peaks:
        peaks = parse_r_peaks(text)
        if len(peaks) < 2:
            words.append("any")
            continue
        bpm = 60 * 100 / np.median(np.diff(peaks))
        words.append("slow" if bpm < SLOW else "fast" if bpm >= FAST else "usual")
    return words
