"""The 12 leads under the names that files give them, and limb leads that follow from two others."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from common.files import UserError
from common.labels import LEADS

# other names of a lead, after prefixes, blanks and signs between words are gone, in capitals
ALIASES = {
    **{lead.upper(): lead for lead in LEADS},
    **{f"D{number}": lead for number, lead in zip(("I", "II", "III"), LEADS[:3], strict=True)},
    **{f"D{number}": lead for number, lead in zip("123", LEADS[:3], strict=True)},
    **{f"L{number}": lead for number, lead in zip(("I", "II", "III"), LEADS[:3], strict=True)},
    **{f"L{number}": lead for number, lead in zip("123", LEADS[:3], strict=True)},
    **{f"ML{number}": lead for number, lead in zip(("I", "II", "III"), LEADS[:3], strict=True)},
    **{f"C{number}": f"V{number}" for number in range(1, 7)},
    "VR": "aVR",
    "VL": "aVL",
    "VF": "aVF",
}
_PREFIX = re.compile(r"^(MDC[_ ]ECG[_ ]LEAD|ECG|EKG|LEAD|ABLEITUNG|CHANNEL|DERIVATION)[\s_:.-]*")
_REMARK = re.compile(r"\s*(\((EINTHOVEN|GOLDBERGER|WILSON|[MUN]?V)\)|-REF)$")
MOST_LETTERS = 200  # of a lead's name: patterns take the square of it
# each limb lead as (a, b) with lead = a I + b II (Einthoven 1908, Goldberger 1942)
LIMB = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}


@lru_cache(maxsize=4096)  # an import asks for the same names again and again
def canonical_lead(name: object) -> str | None:
    """The name in LEADS of a lead that a file calls `name`; None where it is no known lead.

    "MDC_ECG_LEAD_AVR", "Lead I", "ecg_ii", "DIII", "MLII", "C1" are understood; "-aVR" is not aVR.
    """
    if len(str(name)) > MOST_LETTERS:
        return None
    word = _REMARK.sub("", str(name).strip().strip("'\"").upper())
    shorter = _PREFIX.sub("", word)
    while shorter != word:
        word, shorter = shorter, _PREFIX.sub("", shorter)
    return ALIASES.get(re.sub(r"(?<=[A-Z0-9])[\s_]+(?=[A-Z0-9])", "", word))


def lead_positions(names: Sequence[object], where: object = "the record") -> dict[str, int]:
    """Lead of LEADS -> its column among `names`; other columns are left out.

    UserError where two columns are one lead.
    """
    found: dict[str, int] = {}
    for column, name in enumerate(names):
        lead = canonical_lead(name)
        if lead is None:
            continue
        if lead in found:
            raise UserError(
                f"{where} has lead {lead} twice ({names[found[lead]]}, {name}): name the columns "
                "with --lead_names, - for one to leave out"
            )
        found[lead] = column
    return found


def check_lead_names(names: Sequence[str], n_columns: int, where: object) -> list[str]:
    """`--lead_names` for a file of `n_columns` signals, or UserError."""
    if len(names) != n_columns:
        raise UserError(
            f"--lead_names gives {len(names)} names, {where} has {n_columns} signals: one name for "
            "each, - for one to leave out"
        )
    unknown = [name for name in names if name != "-" and canonical_lead(name) is None]
    if unknown:
        raise UserError(
            f"--lead_names: {', '.join(unknown)} is no lead; accepted are {', '.join(LEADS)} and -"
        )
    return list(names)


def spread(signal: np.ndarray, leads: Sequence[str]) -> np.ndarray:
    """A signal (T, n) of `leads`, in the order of LEADS, as (T, 12): NaN where a lead is not
    there.
    """
    if len(leads) == len(LEADS):
        return signal
    whole = np.full((len(signal), len(LEADS)), np.nan, dtype=signal.dtype)
    whole[:, [LEADS.index(lead) for lead in leads]] = signal
    return whole


def arrange(signal: np.ndarray, positions: dict[str, int]) -> np.ndarray:
    """Columns of `signal` (T, n) in the order of LEADS, (T, 12); NaN where a lead is not there.

    Limb leads that are missing are computed from any two that are there.
    """
    whole = [positions.get(lead) for lead in LEADS]
    if None not in whole:
        return signal if whole == list(range(signal.shape[1])) else signal[:, whole]
    arranged = np.full((len(signal), len(LEADS)), np.nan, dtype=signal.dtype)
    for column, lead in enumerate(LEADS):
        if lead in positions:
            arranged[:, column] = signal[:, positions[lead]]
    known = [lead for lead in LIMB if lead in positions]
    if 2 <= len(known) < len(LIMB):
        first, second = known[:2]
        basis = np.linalg.inv(np.array([LIMB[first], LIMB[second]]))
        pair = signal[:, [positions[first], positions[second]]]
        for column, lead in enumerate(LEADS[: len(LIMB)]):
            if lead not in positions:
                arranged[:, column] = pair @ (np.array(LIMB[lead]) @ basis)
    return arranged
