"""The shape that one millivolt of an edit adds to a record: the record's own waves, without its
noise.

Shapes are cut from the record's median beat at 500 Hz and laid at each of its dominant beats, at
their own phase. A wave that is absent (or too small to have a shape) gets a smooth bump where it
would be. Ectopic beats, noise and everything outside of the wave stay as they are.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from common.labels import LEADS
from counterfactual.edits import EDITS, INDEPENDENT, WAVES
from ecg.analysis import Analysis
from ecg.fiducials import J_DELAY, ms_to_samples
from ecg.median_beat import CENTRE, RATE, WIDTH
from ecg.waves import onset_level

OWN_SHAPE = 0.05, 0.1  # mV: smaller waves of the QRS (P and T) have no shape of their own
BUMP = 9.0  # ms: standard deviation of the bump that stands for an absent wave of the QRS
SMOOTHING = 4.0  # ms: of the borders of a wave that is cut out
ST_RISE = 20  # ms before the J-point in which a change of the ST level begins
ST_HOLD = 80  # ms after the J-point that the level is held at least
USUAL = {"Q": -26.0, "R": 0.0, "S": 30.0}  # ms from R, where no lead has the wave
COLUMNS = [LEADS.index(lead) for lead in INDEPENDENT]


@dataclass(frozen=True)
class Anatomy:
    """Where the waves of one record lie, in samples of its median beat at RATE.

    beat      # (8, WIDTH) mV above the level at QRS onset, the independent leads
    peaks     {"Q" "R" "S": (8,)} NaN where a lead has no such wave
    heights   the same: amplitude in mV
    at        fiducials by name (P_on ... T_off), NaN where absent
    centres   # (B,) of the dominant beats, samples at RATE in the record
    """

    beat: np.ndarray
    peaks: dict[str, np.ndarray]
    heights: dict[str, np.ndarray]
    at: dict[str, float]
    centres: np.ndarray


def anatomy_of(found: Analysis, row: int) -> Anatomy | None:
    """Anatomy of one analysed record; None where it has no beat to be measured."""
    points = found.fiducials.rows(slice(row, row + 1))
    at = {name: float(values[0]) for name, values in vars(points).items()}
    centres = found.beats.centres[row]
    dominant = centres[(centres >= 0) & found.beats.dominant[row]]
    if not np.isfinite(at["QRS_on"]) or not len(dominant):
        return None
    beats = found.beats.beats[row : row + 1]
    beat = (beats - onset_level(beats, points.measured_from)[..., None])[0][COLUMNS]
    peaks = {wave: found.qrs.peak[wave][row][COLUMNS] for wave in "QRS"}
    heights = {wave: found.qrs.amplitude[wave][row][COLUMNS] for wave in "QRS"}
    return Anatomy(beat, peaks, heights, at, dominant)


def unit_shapes(anatomy: Anatomy) -> dict[str, np.ndarray]:
    """Wave -> (8, WIDTH) what +1 mV of it adds to the median beat of each independent lead, NaN
    where the record has no such wave and no place for it.
    """
    makers = {"P": _p_shapes, "T": _t_shapes, "ST": _st_shapes}
    return {
        wave: makers[wave](anatomy) if wave in makers else _qrs_shapes(anatomy, wave)
        for wave in WAVES
    }


def _qrs_shapes(anatomy, wave):
    onset, offset = anatomy.at["QRS_on"], anatomy.at["QRS_off"]
    known = anatomy.peaks[wave][np.isfinite(anatomy.peaks[wave])]
    usual = np.median(known) if len(known) else CENTRE + ms_to_samples(USUAL[wave])
    shapes = np.empty((len(INDEPENDENT), WIDTH))
    for lead, beat in enumerate(anatomy.beat):
        peak, height = anatomy.peaks[wave][lead], anatomy.heights[wave][lead]
        if abs(height) >= OWN_SHAPE[0]:
            shapes[lead] = _own_run(beat, int(peak), onset, offset)
        else:
            where = np.clip(usual if np.isnan(peak) else peak, onset + 4, offset - 4)
            shapes[lead] = _bump(where, ms_to_samples(BUMP))
    return shapes


def _own_run(beat, peak, onset, offset):
    """The wave around `peak`, from one crossing of the line to the next, 1 at its peak; NaN where
    the peak lies outside QRS, as a pacemaker's spike does: it is no wave of the heart.
    """
    if not onset <= peak <= offset:
        return np.full(WIDTH, np.nan)
    same = beat * np.sign(beat[peak]) > 0
    same[: int(onset)] = same[int(offset) + 1 :] = False
    before, after = np.flatnonzero(~same[:peak]), np.flatnonzero(~same[peak:])
    run = np.zeros(WIDTH)
    inside = slice(before[-1] + 1, peak + after[0])
    run[inside] = beat[inside]
    smooth = ndimage.gaussian_filter1d(run, ms_to_samples(SMOOTHING))
    return smooth / smooth[peak]


def _bump(centre, width):
    return np.exp(-0.5 * ((np.arange(WIDTH) - centre) / width) ** 2)


def _broad_shapes(anatomy, onset, peak, offset):
    """P or T of each lead, as high as 1 at its largest; where it is small, that of all leads
    together.
    """
    on, off = (int(np.clip(value, 0, WIDTH - 1)) for value in (onset, offset))
    if off - on < ms_to_samples(30):
        return np.full((len(INDEPENDENT), WIDTH), np.nan)
    inside = slice(on, off + 1)
    part = anatomy.beat[:, inside]
    share = np.linspace(0, 1, part.shape[1])
    above = part - part[:, :1] - (part[:, -1:] - part[:, :1]) * share
    together = np.sqrt((above**2).sum(axis=0))
    shapes = np.zeros((len(INDEPENDENT), WIDTH))
    for lead, wave in enumerate(above):
        largest = np.abs(wave).argmax()
        own = abs(wave[largest]) >= OWN_SHAPE[1]
        shapes[lead, inside] = wave / wave[largest] if own else together / together.max()
    smooth = ndimage.gaussian_filter1d(shapes, ms_to_samples(SMOOTHING), axis=1)
    return smooth / smooth.max(axis=1, keepdims=True)


def _p_shapes(anatomy):
    at = anatomy.at
    if not np.isfinite(at["P_on"]):
        return np.full((len(INDEPENDENT), WIDTH), np.nan)
    return _broad_shapes(anatomy, at["P_on"], at["P_peak"], min(at["P_off"], at["QRS_on"] - 8))


def _t_shapes(anatomy):
    at = anatomy.at
    return _broad_shapes(anatomy, at["T_on"], at["T_peak"], at["T_off"])


def _st_shapes(anatomy):
    """Level of 1 from the J-point on, back to 0 at the peak of T."""
    at = anatomy.at
    j_point = at["QRS_off"] + ms_to_samples(J_DELAY)
    hold = j_point + ms_to_samples(ST_HOLD)
    end = max(at["T_peak"], hold + ms_to_samples(40))
    time = np.arange(WIDTH)
    rise = _ramp((time - (j_point - ms_to_samples(ST_RISE))) / ms_to_samples(ST_RISE - 4))
    fall = _ramp((end - time) / (end - hold))
    return np.tile(rise * fall, (len(INDEPENDENT), 1))


def _ramp(share):
    """From 0 to 1 without a corner."""
    share = np.clip(share, 0, 1)
    return 0.5 - 0.5 * np.cos(np.pi * share)


def edit_shapes(anatomy: Anatomy, names: list[str]) -> np.ndarray:
    """(edits, 8, WIDTH) float32: what one unit of each named amplitude edit adds to the median
    beat; 0 in leads that it leaves.
    """
    of_wave = unit_shapes(anatomy)
    shapes = np.zeros((len(names), len(INDEPENDENT), WIDTH), np.float32)
    for number, name in enumerate(names):
        edit = EDITS[name]
        leads = [INDEPENDENT.index(lead) for lead in edit.leads]
        shapes[number, leads] = of_wave[edit.wave][leads]
    return shapes


def laid_out(
    shapes: np.ndarray, centres: np.ndarray, n_samples: int, sampling_rate: int
) -> np.ndarray:
    """Shapes (edits, 8, WIDTH) at RATE laid at every beat of a record: (edits, n_samples, 8)
    float32 at the record's rate.

    centres  # (B,) where the middle of each beat lies, samples at RATE
    """
    laid = np.zeros((len(shapes), n_samples, shapes.shape[1]), np.float32)
    time = np.arange(n_samples) * RATE / sampling_rate
    turned = shapes.transpose(0, 2, 1)
    for centre in centres:
        place = np.round(time - centre).astype(int) + CENTRE
        inside = np.flatnonzero((place >= 0) & (place < WIDTH))
        laid[:, inside] += turned[:, place[inside]]
    return laid
