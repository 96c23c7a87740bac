"""One record and everything that can be changed in it: doses in, 12 leads out.

A dose that our own measurement does not follow (a Q that drowns in the upstroke of R, a T that
changes its peak) is not offered: each amplitude edit is measured on the record's median beat at
shares of its room, each interval on the edited record, and their limits end where the measured
change leaves the stated one.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from counterfactual.edits import EDITS, LIMB, TO_TWELVE, Edit, Limits, is_found_again
from counterfactual.shapes import COLUMNS, anatomy_of, edit_shapes, laid_out
from counterfactual.timing import Timing, stretched, timing_of
from ecg import fiducials, waves
from ecg.analysis import Analysis, analyse, measure_all
from ecg.median_beat import RATE, MedianBeats
from ecg.rpeaks import at_rate

PROBED = (1.0, 0.75, 0.5, 0.25)  # shares of an edit's room that are measured
FOLLOWS = {
    "mV": (0.015, 0.05),
    "ms": (4.0, 0.05),
}  # unit and share of the dose: measured may differ
SMALLEST = {"mV": 0.02, "ms": 4.0}  # less room is none


@dataclass(frozen=True)
class Body:
    """A record and its edits.

    signal   # (T, 12) mV
    names    of the edits that have room in this record, intervals last
    added    # (amplitude edits, T, 8) mV that one unit of each adds to the independent leads
    low, high  # (edits,) limits of the doses, low <= 0 <= high
    scale    # (edits,) what a dose counts as 1 of (population SD)
    before   measurements of the record as it is
    limits   what hearts show
    timing   of its beats, None where no interval can be changed
    sampling_rate  Hz
    """

    signal: np.ndarray
    names: tuple[str, ...]
    added: np.ndarray
    low: np.ndarray
    high: np.ndarray
    scale: np.ndarray
    before: pd.Series
    limits: Limits
    timing: Timing | None = None
    sampling_rate: int = 100

    @property
    def edits(self) -> list[Edit]:
        """The edits by number."""
        return [EDITS[name] for name in self.names]

    def apply(self, doses: np.ndarray) -> np.ndarray:
        """(n, T, 12) float32 the record with doses (n, edits): I + III = II and the augmented leads
        are kept as they were.
        """
        doses = np.atleast_2d(doses)
        amplitudes, intervals = np.split(doses, [len(self.added)], axis=1)
        eight = np.tensordot(amplitudes.astype(np.float32), self.added, axes=1)  # (n, T, 8)
        for row in np.flatnonzero(intervals.any(axis=1)):
            eight[row] += self._moved(eight[row], intervals[row])
        return self.signal + eight @ TO_TWELVE.astype(np.float32)

    def _moved(self, eight, doses):
        """(T, 8) what other intervals add to the record whose waves are changed by `eight`."""
        named = dict(zip(self.names[len(self.added) :], doses, strict=True))
        fine = self.timing.fine + at_rate(eight.T, self.sampling_rate, RATE)
        new = np.arange(len(eight)) * RATE / self.sampling_rate
        return stretched(self.timing, fine, named, new).T

    def shown(self, doses: np.ndarray) -> np.ndarray:
        """(n,) whether the record with doses (n, edits), measured anew, shows each of its changes
        (beats unlike the median beat are left as they are, and may then be the ones that are
        measured), and no limb lead that follows leaves what hearts show.
        """
        if not len(doses):
            return np.zeros(0, bool)
        after = measure_all(self.apply(doses), self.sampling_rate, progress=False)
        limb = np.array([bool(LIMB & set(edit.leads)) for edit in self.edits])
        held = self.limits.followers_keep(self.before, after) | ~doses[:, limb].any(axis=1)
        for row, number in np.argwhere(doses):
            edit, dose = self.edits[number], doses[row, number]
            [measured] = measured_doses(self.before, after.iloc[row], [edit])
            held[row] &= is_found_again(edit.unit, dose, measured)
        return held

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
    names, shapes, room = _amplitude_edits(found, row, anatomy, before, limits)
    added = laid_out(shapes, anatomy.centres, len(signal), sampling_rate)
    moving = np.nan_to_num(signal[:, COLUMNS])  # what is stretched adds nothing to absent leads
    timing = timing_of(moving, sampling_rate, found, row, anatomy)
    body = _assembled(signal, names, added, room, before, timing, sampling_rate, limits)
    if timing is not None:
        moved = _interval_room(body, before, limits)
        names, room = (*names, *moved), np.array([*room, *moved.values()])
        body = _assembled(signal, names, added, room, before, timing, sampling_rate, limits)
    return body if len(body.names) else None


def _assembled(signal, names, added, room, before, timing, sampling_rate, limits):
    low, high = np.reshape(room, (-1, 2)).T
    scale = np.array([limits.scale(EDITS[name]) for name in names])
    room = (low, high, scale)
    return Body(signal, tuple(names), added, *room, before, limits, timing, sampling_rate)


def _amplitude_edits(found, row, anatomy, before, limits):
    """Names, shapes (edits, 8, W) and room (edits, 2) of the amplitude edits that are followed."""
    room = {name: limits.room(edit, before) for name, edit in EDITS.items() if edit.leads}
    names = [name for name, (low, high) in room.items() if max(-low, high) >= SMALLEST["mV"]]
    shapes = edit_shapes(anatomy, names)
    known = np.isfinite(shapes).all(axis=(1, 2))
    names, shapes = [name for name, fine in zip(names, known, strict=True) if fine], shapes[known]
    wanted = np.array([room[name] for name in names]).reshape(-1, 2)
    followed = _followed(found, row, names, shapes, wanted, before, limits)
    kept = np.abs(followed).max(axis=1, initial=0) >= SMALLEST["mV"]
    names = [name for name, fine in zip(names, kept, strict=True) if fine]
    return names, shapes[kept], followed[kept]


def _followed(found, row, names, shapes, room, before, limits):
    """(edits, 2) the part of the room (low, high) in which measured changes are the stated ones and
    the limb leads that follow stay inside the limits.
    """
    if not names:
        return room
    doses = room[:, :, None] * PROBED  # (edits, sides, shares)
    added = np.einsum("esk,elw->esklw", doses, shapes)
    beats = found.beats.beats[row] + np.einsum("esklw,lm->eskmw", added, TO_TWELVE)
    table = measure_beats(found, row, beats.reshape(-1, *beats.shape[-2:]))
    kept = limits.followers_keep(before, table).reshape(doses.shape)
    limb = np.array([bool(LIMB & set(EDITS[name].leads)) for name in names])
    return _share_that_fits(names, doses, table, before, kept | ~limb[:, None, None]) * room


def _share_that_fits(names, doses, table, before, kept=True):
    """(edits, sides) the largest of PROBED up to which measurements follow doses (edits, sides,
    shares) and these are `kept`; `table` has one row per dose.
    """
    fits = np.zeros(doses.shape, bool)
    places = np.arange(doses.size).reshape(doses.shape)
    for number, name in enumerate(names):
        columns = list(EDITS[name].columns)
        change = table[columns].to_numpy()[places[number]] - before[columns].to_numpy(float)
        error = np.abs(change - doses[number][..., None]).max(axis=-1)
        absolute, relative = FOLLOWS[EDITS[name].unit]
        fits[number] = error <= absolute + relative * np.abs(doses[number])
    fits &= kept
    # a share counts where all smaller ones fit too
    so_far = np.flip(np.logical_and.accumulate(np.flip(fits, axis=2), axis=2), axis=2)
    return np.where(so_far, PROBED, 0).max(axis=2)


def _interval_room(body, before, limits):
    """Interval -> (low, high) in ms that the record's stretches, hearts and our measurement
    allow.
    """
    wanted = {}
    for name, (least, most) in body.timing.room.items():
        low, high = limits.room(EDITS[name], before)
        low, high = max(low, least), min(high, most)
        if max(-low, high) >= SMALLEST["ms"]:
            wanted[name] = (low, high)
    if not wanted:
        return {}
    names, room = list(wanted), np.array(list(wanted.values()))
    doses = room[:, :, None] * PROBED
    every = np.zeros((doses.size, len(names)))
    every[np.arange(doses.size), np.repeat(np.arange(len(names)), doses[0].size)] = doses.ravel()
    none = np.zeros((0, *body.added.shape[1:]), np.float32)
    probe = Body(**{**vars(body), "names": tuple(names), "added": none})
    edited = analyse(probe.apply(every), body.sampling_rate)
    table = waves.measure(edited.beats.beats, edited.fiducials, edited.qrs, edited.rr)
    fits = _share_that_fits(names, doses, table, before) * room
    return {
        name: tuple(limit)
        for name, limit in zip(names, fits, strict=True)
        if np.abs(limit).max() >= SMALLEST["ms"]
    }


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
    qrs = waves.deflections(variants.beats, points.measured_from, points.QRS_off)
    return waves.measure(variants.beats, points, qrs, rr)


def measured_doses(before: pd.Series, after: pd.Series, edits: list[Edit]) -> np.ndarray:
    """(edits,) measured change of each edit's quantity, the mean over its leads (mV or ms)."""
    return np.array(
        [np.mean([after[column] - before[column] for column in edit.columns]) for edit in edits]
    )
