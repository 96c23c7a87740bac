"""SNOMED CT codes, as CinC 2020 and 2021 give diagnoses, as SCP statements.

snomed_scp.csv: the codes and names of the challenge's own lists (dx_mapping_scored.csv and
dx_mapping_unscored.csv of physionetchallenges/evaluation-2021; codes that it scores as one are one
here), each with the statement of PTB-XL that means the same (Wagner et al., Sci Data 7:154,
scp_statements.csv), or the name that it keeps where none does. CinC has no code for a normal ECG.
"""

import functools
import re
from collections import Counter
from pathlib import Path

from common.files import read_csv

TABLE = Path(__file__).with_name("snomed_scp.csv")


@functools.cache
def mapping() -> dict[str, tuple[str, bool]]:
    """Code -> (label, whether it is an SCP statement)."""
    table = read_csv(TABLE, dtype=str, keep_default_na=False)
    return {
        row.snomed: (row.statement or row.own, bool(row.statement))
        for row in table.itertuples(index=False)
    }


def labels_of(codes: str) -> list[str]:
    """'426783006,164934002' -> ['SR', 'TAB_']; a code that is on no list is SNOMED_<code>."""
    known = mapping()
    found = re.findall(r"\d{5,}", codes)
    labels = [known[code][0] if code in known else f"SNOMED_{code}" for code in found]
    return list(dict.fromkeys(labels))


def count_codes(texts: list[str]) -> dict[str, int]:
    """How many records carry codes that became statements, that kept their names, that are on no
    list; and records without any code.
    """
    known = mapping()
    counts = Counter()
    for text in texts:
        found = set(re.findall(r"\d{5,}", text))
        counts["records without a code"] += not found
        for code in found:
            kind = "unknown" if code not in known else "SCP" if known[code][1] else "own name"
            counts[kind] += 1
    return dict(counts)
