"""Make code/heart_normal.csv and print the constants of heart.TIMING: what waves the hearts of real
normal records have.

Reads:  real PTB-XL records and their published R-peaks (--ptbxl, --reference); only patients with
        an even patient_id are used, so that the others can judge the result.
Writes: code/heart_normal.csv.

Example:
    python tests/benchmarks/fit_normal_heart.py --ptbxl ../shared/ptbxl --reference
    ../shared/ptbxl_reference
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

CODE = Path(__file__).resolve().parents[2] / "code"
sys.path.insert(0, str(CODE))

from real_beats import (
    CHEST_AND_LIMB,
    components,
    isoelectric,
    marks,
    median_beat,
    normal,
    read_real,
)

from simulation.heart import (
    GROUPS,
    INDEPENDENT,
    N_FACTORS,
    P_HALF_MS,
    QRS_ONSET_MS,
    WAVES,
    sizes,
    with_sizes,
)


def main(args):
    """Fit, print, write."""
    table, signals, peaks = read_real(args.ptbxl, args.reference)
    chosen = np.flatnonzero(normal(table) & (table["patient_id"] % 2 == 0))
    beats = {row: median_beat(signals[row], peaks[row]) for row in chosen}
    chosen = np.array([row for row in chosen if beats[row] is not None])
    beats = np.array([isoelectric(beats[row])[:, CHEST_AND_LIMB] for row in chosen])
    timing = np.array([marks(beat) for beat in beats])
    amplitude = np.array(
        [components(beat, *time) for beat, time in zip(beats, timing, strict=True)]
    )
    rr = np.array([np.median(np.diff(peaks[row])) * 10 for row in chosen])
    age, female = table["age"].fillna(50).to_numpy()[chosen], table["sex"].to_numpy()[chosen]
    print_timing(timing, rr, age, female)
    write_amplitudes(amplitude, age, female)
    print(f"{len(chosen)} records of {table['patient_id'].iloc[chosen].nunique()} patients")


def print_timing(timing, rr, age, female):
    """Regressions of PR, T and QRS width on RR, age and sex, and what they leave."""
    p, t, width = timing.T
    design = np.c_[np.ones(len(rr)), (rr - 800) / 100, (age - 50) / 10, female - 0.5]
    for name, values in (
        ("pr", QRS_ONSET_MS * width - p + P_HALF_MS),
        ("t", t),
        ("width", width),
        ("log_rr", np.log(rr)),
    ):
        used = design if name != "log_rr" else design[:, [0, 2, 3]]
        slopes = np.linalg.lstsq(used, values, rcond=None)[0]
        print(
            f'"{name}": {tuple(slopes.round(3).tolist())}, rest '
            f"{np.std(values - used @ slopes):.3f}"
        )


def write_amplitudes(amplitude, age, female):
    """Mean, slopes, factor loadings and rest of each wave and lead at equal sizes, and of the
    logarithm of the sizes.
    """
    size = sizes(amplitude)
    size = np.maximum(size, np.percentile(size, 1, axis=0))
    typical = np.exp(np.log(size).mean(axis=0))
    flat = with_sizes(amplitude, np.broadcast_to(typical, size.shape)).reshape(len(amplitude), -1)
    table, left = regressed(np.hstack([flat, np.log(size)]), age, female)
    # sizes count as much as a third of all waves, so that the factors carry how size and shape go
    # together
    weight = np.ones(left.shape[1])
    weight[-len(GROUPS) :] = np.sqrt(
        left[:, : -len(GROUPS)].var(axis=0).sum() / 3 / left[:, -len(GROUPS) :].var(axis=0).sum()
    )
    _, singular, directions = np.linalg.svd(left * weight, full_matrices=False)
    loadings = directions[:N_FACTORS] * (singular[:N_FACTORS, None] / np.sqrt(len(flat))) / weight
    table["rest"] = np.sqrt(np.maximum(left.var(axis=0) - (loadings**2).sum(axis=0), 0))
    table |= {f"factor_{k + 1}": loading for k, loading in enumerate(loadings)}
    names = [
        *((wave, lead) for wave in WAVES for lead in INDEPENDENT),
        *((group, "size") for group in GROUPS),
    ]
    frame = pd.DataFrame(table, index=pd.MultiIndex.from_tuples(names, names=["wave", "lead"]))
    frame.round(4).to_csv(CODE / "heart_normal.csv", lineterminator="\n")


def regressed(values, age, female):
    """Mean, slope per decade and women - men of each column, and what they leave, outliers clipped
    at 4 robust SD.
    """
    design = np.c_[np.ones(len(values)), (age - 50) / 10, female - 0.5]
    slopes = np.linalg.lstsq(design, values, rcond=None)[0]
    left = values - design @ slopes
    spread = 1.4826 * np.median(np.abs(left - np.median(left, axis=0)), axis=0)
    left = np.clip(left, -4 * spread, 4 * spread)  # single outliers must not make a factor
    return {"mean": slopes[0], "per_decade": slopes[1], "female": slopes[2]}, left - left.mean(
        axis=0
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ptbxl", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    main(parser.parse_args())
