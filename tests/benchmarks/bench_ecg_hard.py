"""Measuring records that are hard: other sampling rates, wander, noise, mains hum, loose
electrodes, swapped arms, tall T.

Reads:  real PTB-XL records at 500 Hz, and for tall T those at 100 Hz with the published R-peaks
Prints: per change and half of the patients: F1 of R-peaks at +-50 ms, records that lose or gain a
        P, and how far boundaries move in ms (median / 95 % quantile), against the same records
        as they are

    python tests/benchmarks/bench_ecg_hard.py --data_path ../shared/ptbxl
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import scipy

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "code"))

from bench_ecg import f1, peak_counts, read_cohort

from common.labels import LEADS
from ecg import analysis
from ecg.median_beat import CENTRE, RATE
from records.dataset import parse_r_peaks

HZ = 500
TIME = np.arange(10 * HZ)[:, None] / HZ  # (T, 1) s
SIDES = ("P_on", "P_off", "QRS_on", "QRS_off", "T_on", "T_off")
N_TALL = 60  # records of each half whose T is made taller


def _wander(size):
    return lambda s, rng: s + size * np.sin(2 * np.pi * 0.27 * TIME + rng.uniform(0, 6, 12))


def _noise(size):
    return lambda s, rng: s + rng.normal(0, size, s.shape)


def _hum(frequency, size):
    return lambda s, rng: s + size * np.sin(2 * np.pi * frequency * TIME)


def _leads_off(s, rng):
    """V2 from the middle on, V3 throughout."""
    s = s.copy()
    s[len(s) // 2 :, LEADS.index("V2")] = 0
    s[:, LEADS.index("V3")] = 0
    return s


def _jumps(s, rng):
    s = s.copy()
    s[len(s) // 2 :, LEADS.index("V2")] += 5
    s[7 * len(s) // 10 :, LEADS.index("V1")] -= 8
    return s


def _arms_swapped(s, rng):
    order = ["I", "III", "II", "aVL", "aVR", *LEADS[5:]]
    swapped = s[:, [LEADS.index(lead) for lead in order]].copy()
    swapped[:, 0] *= -1
    return swapped


CHANGES = {  # function of signal (T, 12) mV at HZ and a random generator
    "baseline wanders by .5 mV": _wander(0.5),
    "baseline wanders by 1.5 mV": _wander(1.5),
    "white noise of .05 mV": _noise(0.05),
    "white noise of .1 mV": _noise(0.1),
    "hum of 50 Hz, .1 mV": _hum(50, 0.1),
    "hum of 60.05 Hz, .05 mV": _hum(60.05, 0.05),
    "V2 falls off, V3 is flat": _leads_off,
    "V1 and V2 jump by 5 and 8 mV": _jumps,
    "arms swapped": _arms_swapped,
    "a third of the voltage": lambda s, rng: s * 0.3,
}


def found_in(signal: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """R-peaks in ms, and SIDES in ms from the middle of QRS (6,)."""
    found = analysis.analyse(signal[None].astype(np.float32), rate)
    peaks = found.beats.r_peaks[0]
    sides = np.array([getattr(found.fiducials, side)[0] for side in SIDES])
    return peaks[peaks >= 0] * 1000 / RATE, (sides - CENTRE) * 1000 / RATE


def compare(name: str, signals: np.ndarray, half: np.ndarray, change, rate: int, plain) -> None:
    """Print the lines of one change."""
    rng = np.random.default_rng(0)
    found = [found_in(change(signal, rng), rate) for signal in signals]
    for side in (0, 1):
        rows = np.flatnonzero(half == side)
        pairs = [(found[row], plain[row]) for row in rows]
        counts = np.array([_counts(ours[0], theirs[0]) for ours, theirs in pairs])
        moved = np.abs(np.array([ours[1] - theirs[1] for ours, theirs in pairs]))
        has = np.array([[np.isfinite(part[1][0]) for part in pair] for pair in pairs])
        quantiles = np.nanquantile(moved, (0.5, 0.95), axis=0)
        steps = "  ".join(
            f"{end} {middle:.0f}/{most:.0f}"
            for end, middle, most in zip(SIDES, *quantiles, strict=True)
        )
        lost, gained = (~has[:, 0] & has[:, 1]).sum(), (has[:, 0] & ~has[:, 1]).sum()
        print(
            f"{name:<30} {'AB'[side]} n {len(rows)}  F1 {f1(counts):.4f}  P lost {lost} "
            f"gained {gained}  {steps}",
            flush=True,
        )


def _counts(found, truth):
    """Hits, false and missed R-peaks within 50 ms."""
    distance = np.abs(found[:, None] - truth)
    hits = int((distance.min(axis=0, initial=np.inf) <= 50).sum())
    return hits, len(found) - hits, len(truth) - hits


def tall_t(cohort, reference: Path) -> None:
    """F1 against the published R-peaks with T made 2 and 3 times as tall in 60 records of each
    half.
    """
    table = pd.read_csv(reference / "r_peaks.csv").set_index("ecg_id")["r_peaks"]
    truth = table.reindex(cohort.table.index).map(parse_r_peaks)
    for side in (0, 1):
        rows = np.flatnonzero(cohort.half == side)[5::12][:N_TALL]
        for times in (2, 3):
            signals = np.stack([_with_tall_t(cohort.signals[row], times) for row in rows])
            peaks = analysis.measure_all(signals, 100, progress=False)["r_peaks"]
            pairs = zip(map(parse_r_peaks, peaks), truth.iloc[rows], strict=True)
            counts = np.array([peak_counts(*pair, 5) for pair in pairs])
            print(f"T {times} times as tall, half {'AB'[side]}: F1 {f1(counts):.4f}, n {len(rows)}")


def _with_tall_t(signal, times):
    """A record (T, 12) at 100 Hz whose T waves stand `times` as far above the line between their
    ends.
    """
    found = analysis.analyse(signal[None], 100)
    begin, end = found.fiducials.T_on[0], found.fiducials.T_off[0]
    taller = signal.copy()
    for centre in found.beats.centres[0]:
        if centre < 0 or not np.isfinite(begin):
            continue
        first, last = (int((centre + place - CENTRE) * 100 / RATE) for place in (begin, end))
        first, last = max(first, 0), min(last, len(signal) - 1)
        if last - first >= 5:
            share = np.linspace(0, 1, last - first + 1)[:, None]
            wave = signal[first : last + 1]
            line = wave[0] + (wave[-1] - wave[0]) * share
            taller[first : last + 1] = line + times * (wave - line)
    return taller


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = ROOT.parent / "shared"
    parser.add_argument("--data_path", type=Path, default=shared / "ptbxl")
    parser.add_argument("--reference_path", type=Path, default=shared / "ptbxl_reference")
    parser.add_argument(
        "--only", default="", help="of CHANGES those with this in their name, and nothing else"
    )
    args = parser.parse_args()
    if not args.only:
        tall_t(read_cohort(args.data_path), args.reference_path)
    fine = read_cohort(args.data_path, HZ, largest_id=120)
    plain = [found_in(signal, HZ) for signal in fine.signals]
    for rate in () if args.only else (250, 360, 400, 512, 1000):
        compare(
            f"{rate} Hz",
            fine.signals,
            fine.half,
            lambda s, rng, r=rate: scipy.signal.resample(s, 10 * r, axis=0),
            rate,
            plain,
        )
    for name, change in CHANGES.items():
        if args.only not in name:
            continue
        compare(name, fine.signals, fine.half, change, HZ, plain)


if __name__ == "__main__":
    main()
