"""How alike are two maps? Rank correlation per record, against the likeness of maps of different
patients.

`agreement_between` compares two methods on one model, or one method on two models (seeds). Its
chance is computed by shifting the records against each other: what two maps share because all ECGs
look alike is no agreement about *this* patient.
"""

import numpy as np
import scipy  # see rpeaks.py


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) Spearman correlation of the rows of two arrays (n, D).

    Where one of two rows is constant the correlation is 0 (it holds no order to agree with), where
    both are it is 1.
    """
    ranks = [scipy.stats.rankdata(values, axis=1) for values in (first, second)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    lengths = [np.sqrt((rank**2).sum(axis=1)) for rank in centred]
    constant = [length < 1e-9 for length in lengths]
    product = np.where(constant[0] | constant[1], 1.0, lengths[0] * lengths[1])
    return np.where(constant[0] & constant[1], 1.0, (centred[0] * centred[1]).sum(axis=1) / product)


def masked_correlation(first: np.ndarray, second: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,) rank correlation of the rows over the entries `known` (n, D); NaN for a row with fewer
    than 3.
    """
    found = np.full(len(first), np.nan)
    for row in np.flatnonzero(known.sum(axis=1) >= 3):
        found[row] = rank_correlation(
            first[row : row + 1, known[row]], second[row : row + 1, known[row]]
        )[0]
    return found


def flat(maps: np.ndarray) -> np.ndarray:
    """(n, D) rows of a stack of maps."""
    return maps.reshape(len(maps), -1)


def shifted_partner(patients: np.ndarray) -> np.ndarray:
    """(n,) for each record the next one of another patient (its own row where there is no other
    patient).
    """
    n = len(patients)
    partner = np.arange(n)
    for row in range(n):
        others = (row + 1 + np.arange(n)) % n
        different = others[patients[others] != patients[row]]
        partner[row] = different[0] if len(different) else row
    return partner


def agreement_between(
    first: np.ndarray, second: np.ndarray, patients: np.ndarray
) -> tuple[np.ndarray, float]:
    """Rank correlation per record of the size of two stacks of maps (n, ...), and its chance
    between patients.

    Entries that are NaN (cells that a record does not have) do not count: that both lack them is no
    agreement.
    """
    first, second = flat(np.abs(first)), flat(np.abs(second))
    other = second[shifted_partner(patients)]
    if np.isfinite(first).all() and np.isfinite(second).all():
        return rank_correlation(first, second), float(rank_correlation(first, other).mean())
    values, chance = (
        masked_correlation(first, one, np.isfinite(first) & np.isfinite(one))
        for one in (second, other)
    )
    known = chance[np.isfinite(chance)]
    return values, float(known.mean()) if len(known) else float("nan")


def cell_means(maps: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Mean size per lead x segment cell, (n, 12, classes): sum |a| s / sum s, NaN where a segment
    is absent.

    `maps` (n, T, 12), `segments` (n, T, 12, classes). (Wagner et al. 2024, glocal segment maps)
    """
    mass = np.einsum("ntl,ntlk->nlk", np.abs(maps), segments)
    size = segments.sum(axis=1)
    return np.divide(mass, size, out=np.full_like(mass, np.nan), where=size > 0)


def cell_sums(maps: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Sum of the map per lead x segment cell, signed, (n, 12, classes)."""
    return np.einsum("ntl,ntlk->nlk", maps, segments)
