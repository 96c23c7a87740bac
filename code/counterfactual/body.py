"""One record and everything that can be changed in it: doses in, 12 leads out.

A dose that our own measurement does not follow (a Q that drowns in the upstroke of R, a T that
changes its peak) is not offered: each amplitude edit is measured on the record's median beat at
shares of its room, and its limits end where the measured change leaves the stated one.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from counterfactual.edits import EDITS, TO_TWELVE, Edit, Limits
from counterfactual.shapes import anatomy_of, edit_shapes, laid_out
from ecg import fiducials, waves
from ecg.analysis import Analysis, analyse
from ecg.median_beat import MedianBeats

PROBED = (1.0, 0.5)  # shares of an edit's room that are measured
FOLLOWS = 0.015, 0.05  # mV and share of the dose that the measured change may differ by
SMALLEST = 0.02  # mV: less room is none


@dataclass(frozen=True)
class Body:
    """A record and its edits.

    signal   # (T, 12) mV
    names    of the edits that have room in this record
    added    # (edits, T, 8) mV that one unit of each adds to the independent leads
    low, high  # (edits,) limits of the doses, low <= 0 <= high
    scale    # (edits,) what a dose counts as 1 of (population SD)
    before   measurements of the record as it is
    """

    signal: np.ndarray
    names: tuple[str, ...]
    added: np.ndarray
    low: np.ndarray
    high: np.ndarray
    scale: np.ndarray
    before: pd.Series

    @property
    def edits(self) -> list[Edit]:
        """The edits by number."""
        return [EDITS[name] for name in self.names]

    def apply(self, doses: np.ndarray) -> np.ndarray:
        """(n, T, 12) float32 the record with doses (n, edits): I + III = II and the augmented leads
        are kept as they were.
        """
        doses = np.atleast_2d(doses)
        flat = self.added.reshape(len(self.names), -1)
        eight = doses.astype(np.float32) @ flat
        eight = eight.reshape(len(doses), len(self.signal), -1)
        return self.signal + eight @ TO_TWELVE.astype(np.float32)

    def cost(self, doses: np.ndarray) -> np.ndarray:
        """(n,) sum of the doses (n, edits) in standard deviations of the population."""
        return (np.abs(np.atleast_2d(doses)) / self.scale).sum(axis=1)


def bodies_of(signals: np.ndarray, sampling_rate: int, limits: Limits) -> list[Body | None]:
    """Bodies of a few records (n, T, 12) in mV; None for a record without a beat or any edit."""
    found = analyse(signals, sampling_rate)
    table = waves.measure(found.beats.beats, found.fiducials, found.qrs, found.rr)
    return [
        _body(signals[row].astype(np.float32), sampling_rate, found, row, table.iloc[row], limits)
        for row in range(len(signals))
    ]


def _body(signal, sampling_rate, found, row, before, limits):
    anatomy = anatomy_of(found, row)
    if anatomy is None:
        return None
    room = {name: limits.room(edit, before) for name, edit in EDITS.items()}
    names = [name for name, (low, high) in room.items() if max(-low, high) >= SMALLEST]
    shapes = edit_shapes(anatomy, names)
    known = np.isfinite(shapes).all(axis=(1, 2))
    names, shapes = [name for name, fine in zip(names, known, strict=True) if fine], shapes[known]
    wanted = np.array([room[name] for name in names]).reshape(-1, 2)
    followed = _followed(found, row, names, shapes, wanted, before)
    kept = np.abs(followed).max(axis=1, initial=0) >= SMALLEST
    if not kept.any():
        return None
    names = tuple(name for name, fine in zip(names, kept, strict=True) if fine)
    added = laid_out(shapes[kept], anatomy.centres, len(signal), sampling_rate)
    scale = np.array([limits.scale(EDITS[name]) for name in names])
    return Body(signal, names, added, *followed[kept].T, scale, before)


def _followed(found, row, names, shapes, room, before):
    """(edits, 2) the part of the room (low, high) in which measured changes are the stated ones."""
    shares = np.array(PROBED)
    doses = room[:, :, None] * shares  # (edits, sides, shares)
    added = np.einsum("esk,elw->esklw", doses, shapes)
    beats = found.beats.beats[row] + np.einsum("esklw,lm->eskmw", added, TO_TWELVE)
    table = measure_beats(found, row, beats.reshape(-1, *beats.shape[-2:]))
    fits = np.zeros(doses.shape, bool)
    places = np.arange(doses.size).reshape(doses.shape)
    for number, name in enumerate(names):
        columns = list(EDITS[name].columns)
        change = table[columns].to_numpy()[places[number]] - before[columns].to_numpy(float)
        error = np.abs(change - doses[number][..., None]).max(axis=-1)
        fits[number] = error <= FOLLOWS[0] + FOLLOWS[1] * np.abs(doses[number])
    # a share counts where all smaller ones fit too
    so_far = np.flip(np.logical_and.accumulate(np.flip(fits, axis=2), axis=2), axis=2)
    return (np.where(so_far, shares, 0).max(axis=2)) * room


def measure_beats(found: Analysis, row: int, beats: np.ndarray) -> pd.DataFrame:
    """Measurements of variants (n, 12, W) of the median beat of record `row`, one row each."""
    n = len(beats)
    spread = np.repeat(found.beats.spread[row : row + 1], n, axis=0)
    centres = np.repeat(found.beats.centres[row : row + 1], n, axis=0)
    dominant = np.repeat(found.beats.dominant[row : row + 1], n, axis=0)
    shift = np.repeat(found.beats.r_shift[row : row + 1], n)
    variants = MedianBeats(beats.astype(np.float32), spread, centres, dominant, shift)
    rr = np.full(n, found.rr[row])
    points = fiducials.find(variants, rr, np.zeros(n))
    qrs = waves.deflections(variants.beats, points.QRS_on, points.QRS_off)
    return waves.measure(variants.beats, points, qrs, rr)


def measured_doses(before: pd.Series, after: pd.Series, edits: list[Edit]) -> np.ndarray:
    """(edits,) measured change of each edit's quantity, the mean over its leads (mV or ms)."""
    return np.array(
        [np.mean([after[column] - before[column] for column in edit.columns]) for edit in edits]
    )
