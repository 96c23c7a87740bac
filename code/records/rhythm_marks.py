"""Labels of recordings and of their stretches from WFDB annotations: the rhythms that go on in
them, and beats of other kinds.

Codes: https://archive.physionet.org/physiobank/annotations.shtml. A rhythm goes on from its mark
to the next, or to one that says `)`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.files import UserError

# codes -> SCP statements; others keep their names
RHYTHMS = {
    **{"N": "SR", "NSR": "SR", "AFL": "AFLT", "SVTA": "SVTAC", "SBR": "SBRAD", "P": "PACE"},
    **{"BI": "1AVB", "BII": "2AVB", "B": "BIGU", "T": "TRIGU", "PREX": "WPW", "PM": "PACE"},
}
BEATS = {
    **{"V": "PVC", "A": "PAC", "a": "PAC", "S": "PAC", "/": "PACE", "L": "CLBBB", "R": "CRBBB"},
}
RHYTHM_CHANGE = "+"
LEAST_S = 1.0  # that a rhythm goes on in a stretch to be a label of it


class Marks(NamedTuple):
    """rhythms  (from, to, code) in s;  beats  (when, code) of those in BEATS"""

    rhythms: list[tuple[float, float, str]]
    beats: list[tuple[float, str]]


def read_marks(path: Path, annotator: str, rate: float | None = None) -> Marks:
    """The annotations `path`.`annotator` of a record (no suffix).

    rate  Hz, where the header's is not the true one
    """
    if not re.fullmatch(r"\w+", annotator):
        raise UserError(f"--label_annotations takes a suffix such as atr, not {annotator!r}")
    file = Path(f"{path}.{annotator}")
    if not file.is_file():
        raise UserError(f"{file} does not exist: --label_annotations needs it")
    return _read(path, annotator, rate, file.stat().st_mtime_ns)


@lru_cache(maxsize=1)  # stretches of a recording are read one after the other
def _read(path, annotator, rate, _):
    import wfdb

    try:
        read = wfdb.rdann(str(path), annotator)
        times = np.asarray(read.sample, dtype=float) / float(rate or read.fs)
        marked = list(zip(times.tolist(), read.symbol, read.aux_note, strict=True))
    except Exception as error:
        raise UserError(
            f"{path}.{annotator} is no readable file of annotations ({type(error).__name__})"
        ) from None
    changes = [
        (time, text.strip(" \0")) for time, sign, text in marked if sign == RHYTHM_CHANGE and text
    ]
    changes = [(time, text[1:]) for time, text in changes if text[:1] in ("(", ")")]
    ends = [time for time, _ in changes] + [np.inf]
    rhythms = [
        (time, end, code) for (time, code), end in zip(changes, ends[1:], strict=True) if code
    ]
    return Marks(rhythms, [(time, sign) for time, sign, _ in marked if sign in BEATS])


def labels_of(facts: Sequence[dict], starts: Sequence[float], seconds: float) -> list[list[str]]:
    """The labels of stretches of `seconds` from `starts` on; `facts` of each recording hold its
    Marks. Says how often each code was met.
    """
    if not all("marks" in said for said in facts):
        raise UserError("--label_annotations needs WFDB records: others have no annotations")
    met: Counter[str] = Counter()
    labels = []
    for said, start in zip(facts, starts, strict=True):
        codes = _codes_in(said["marks"], start, start + seconds)
        met.update(list(codes))
        met["no mark"] += not codes
        labels.append(list(dict.fromkeys(codes.values())))
    told = ", ".join(f"{code} {n}" for code, n in met.most_common() if n)
    print(f"annotations, and in how many recordings or stretches: {told}")
    return labels


def _codes_in(marks, first, last):
    """Code, and what it is taken for where that is another word -> label."""
    found = {}
    for begin, end, code in marks.rhythms:
        if min(end, last) - max(begin, first) >= LEAST_S:
            found[_shown(code, RHYTHMS.get(code, code))] = RHYTHMS.get(code, code)
    for time, sign in marks.beats:
        if first <= time < last:
            found[_shown(f"beat {sign}", BEATS[sign])] = BEATS[sign]
    return found


def _shown(code, label):
    return code if code == label else f"{code} as {label}"
