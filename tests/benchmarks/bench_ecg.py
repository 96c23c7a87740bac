"""The bars of measuring the ECG: one table with number, n and both halves of the patients.

Settings were chosen on half A alone; half B was only looked at for this table.

Reads:  real PTB-XL records with the published tables beside them, a simulated cohort with known
        truth
Prints: one line per bar: all, half A, half B, n, bar, met or missed

    python tests/benchmarks/bench_ecg.py --data_path ../shared/ptbxl --reference_path
    ../shared/ptbxl_reference
    python tests/benchmarks/bench_ecg.py ludb          # against cardiologists' marks instead
"""

import argparse
import ast
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "code"))

import ludb
from bench_intervals import percentile_interval

from common.labels import LEADS
from common.stats import patient_weights
from ecg import (
    analysis,
    concepts,
    segmenting,
)
from ecg.median_beat import CENTRE, RATE
from records import segmentations
from records.dataset import parse_r_peaks
from records.wfdb_files import read_records

NEIGHBOURS_FLAGS = [
    *range(137, 146),
    *range(456, 464),
]  # published flags of these ids belong to other records
R_LEADS = ("I", "II", "aVL", "aVF", "V4", "V5", "V6")
PUBLISHED_P = (0.085, 0.125, 0.163)  # mV, quartiles of P_Amp_II over PTB-XL
FIDUCIALS = {"QRS_on": 10, "QRS_off": 10, "P_on": 15, "P_off": 15, "T_on": 15, "T_off": 15}
KAPPA = {
    "RS-LVH": 0.85,
    "S12-LVH": 0.85,
    "R56-LVH": 0.85,
    "SLI-LVH": 0.85,
    "LI-LVH": 0.80,
    "QRS-CLBBB": 0.70,
}


@dataclass
class Cohort:
    """Records with their table, signals # (N, T, 12) mV, and the half of the patients each belongs
    to.
    """

    table: pd.DataFrame
    signals: np.ndarray

    @property
    def half(self):
        """(N,) 0 = A, 1 = B: every second patient"""
        return np.unique(self.table["patient_id"], return_inverse=True)[1] % 2


def read_cohort(path, sampling_rate=100, largest_id=None):
    """Records of a folder in PTB-XL's layout."""
    table = pd.read_csv(Path(path) / "ptbxl_database.csv").set_index("ecg_id")
    table = table[table.index <= largest_id] if largest_id else table
    found = read_records(
        path,
        table["filename_lr" if sampling_rate == 100 else "filename_hr"],
        table.index,
        sampling_rate,
    )
    return Cohort(table[found.kept], found.signals)


def line(name, bar, number, halves, n, higher=False):
    """One line of the table; `bar` None for what is only reported."""
    met = "" if bar is None else "met" if (number >= bar if higher else number <= bar) else "MISSED"
    shown = "" if bar is None else f"{'>=' if higher else '<='} {bar:g}"
    print(
        f"{name:<44} {number:8.3f} {halves[0]:8.3f} {halves[1]:8.3f} {n:>7} {shown:>9} {met}",
        flush=True,
    )


def by_half(name, bar, statistic, half, n=None, higher=False):
    """A line for `statistic(mask)` over all records and over each half of the patients."""
    everyone = np.ones(len(half), bool)
    line(
        name,
        bar,
        statistic(everyone),
        [statistic(half == 0), statistic(half == 1)],
        n or len(half),
        higher,
    )


# ---------------------------------------------------------------- R-peaks


def matched(found, truth, tolerance):
    """Pairs (of found, of truth) of peaks that are each other's nearest and not further apart than
    `tolerance`.
    """
    if not len(found) or not len(truth):
        return np.empty((0, 2), int)
    distance = np.abs(found[:, None] - truth)
    nearest = distance.argmin(axis=0)
    good = (distance.argmin(axis=1)[nearest] == np.arange(len(truth))) & (
        distance.min(axis=0) <= tolerance
    )
    return np.stack([nearest[good], np.flatnonzero(good)], axis=1)


def peak_counts(found, truth, tolerance):
    """Hits, false and missed peaks of one record; a peak found outside of samples 31..949 counts
    only if it is matched.
    """
    pairs = matched(found, truth, tolerance)
    alone = np.delete(found, pairs[:, 0])
    return len(pairs), int(((alone >= 31) & (alone <= 949)).sum()), len(truth) - len(pairs)


def f1(counts):
    """F1 of (records, 3) hits, false, missed."""
    hits, false, missed = counts.sum(axis=0)
    return 2 * hits / (2 * hits + false + missed)


def r_peaks(cohort, measured, reference):
    """F1 against the published R-peaks, and the median offset."""
    truth = (
        pd.read_csv(reference / "r_peaks.csv")
        .set_index("ecg_id")["r_peaks"]
        .reindex(cohort.table.index)
        .map(parse_r_peaks)
    )
    found = [parse_r_peaks(text) for text in measured["r_peaks"]]
    wide = (
        pd.read_csv(reference / "concepts.csv")
        .set_index("ecg_id")["QRS-CLBBB"]
        .reindex(cohort.table.index)
    ).to_numpy(bool)
    for tolerance, bar in ((5, 0.99), (8, None)):
        counts = np.array(
            [peak_counts(*pair, tolerance) for pair in zip(found, truth, strict=True)]
        )
        name = f"R-peaks F1 at +-{tolerance * 10} ms"
        by_half(name, bar, lambda mask, c=counts: f1(c[mask]), cohort.half, higher=True)
        for label, part in (("QRS > 120 ms", wide), ("narrow QRS", ~wide)):
            by_half(
                f"  {label}",
                None,
                lambda mask, c=counts, p=part: f1(c[mask & p]),
                cohort.half,
                part.sum(),
            )
    offsets = [
        found[i][pair[:, 0]] - truth.iloc[i][pair[:, 1]]
        for i in range(len(found))
        for pair in [matched(found[i], truth.iloc[i], 8)]
    ]
    by_half(
        "R-peaks |median offset| ms",
        10,
        lambda mask: (
            10
            * abs(np.median(np.concatenate([o for o, m in zip(offsets, mask, strict=True) if m])))
        ),
        cohort.half,
        sum(map(len, offsets)),
    )


# ---------------------------------------------------------------- amplitudes and durations against
# Uni-G


def against_uni_g(cohort, measured, reference):
    """R, S, T amplitudes per lead and global durations."""
    uni_g = pd.read_csv(reference / "uni_g_measurements.csv").set_index("ecg_id")
    rows = cohort.table.index.get_indexer(uni_g.index)
    ours, half = measured.iloc[rows].set_axis(uni_g.index), cohort.half[rows]
    for lead in LEADS:
        wave(
            f"R_Amp_{lead}",
            ours[f"R_Amp_{lead}"],
            uni_g[f"R_Amp_{lead}"],
            half,
            0.04,
            0.97 if lead in R_LEADS else None,
        )
    for lead in LEADS:
        wave(f"S_Amp_{lead}", ours[f"S_Amp_{lead}"], uni_g[f"S_Amp_{lead}"], half, 0.04)
        error = (ours[f"S_Amp_{lead}"] - uni_g[f"S_Amp_{lead}"]).abs()
        by_half(
            "  share within .15 mV",
            0.9,
            lambda m, e=error: (e[m] <= 0.15).mean(),
            half,
            higher=True,
        )
    for lead in LEADS:
        wave(
            f"T_Amp_{lead} (TP_Amp)",
            ours[f"TP_Amp_{lead}"],
            uni_g[f"T_Amp_{lead}"],
            half,
            0.03,
            0.95,
        )
    for column, bar in (
        ("QRS_Dur_Global", 10),
        ("PR_Int_Global", 15),
        ("P_Dur_Global", None),
        ("QRS_Axis_Global", None),
    ):
        error = (ours[column] - uni_g[column]).abs()
        by_half(
            f"{column} median error",
            bar,
            lambda m, e=error: e[m].median(),
            half,
            int(error.notna().sum()),
        )


def wave(name, ours, theirs, half, error_bar, r_bar=None):
    """Median error (mV) and, where it has a bar, correlation of one column."""
    error = (ours - theirs).abs()
    by_half(
        f"{name} median error",
        error_bar,
        lambda m: error[m].median(),
        half,
        int(error.notna().sum()),
    )
    if r_bar:
        by_half(
            "  r",
            r_bar,
            lambda m: ours[m].corr(theirs[m]),
            half,
            int(error.notna().sum()),
            higher=True,
        )


def at_500_hz(path, reference):
    """R and S of the records that are there at 500 Hz."""
    cohort = read_cohort(path, 500, largest_id=120)
    measured = analysis.measure_all(cohort.signals, 500, progress=False)
    uni_g = pd.read_csv(reference / "uni_g_measurements.csv").set_index("ecg_id")
    uni_g = uni_g[uni_g.index.isin(cohort.table.index)]
    rows = cohort.table.index.get_indexer(uni_g.index)
    for name in "RS":
        columns = [f"{name}_Amp_{lead}" for lead in LEADS]
        error = np.abs(measured.iloc[rows][columns].to_numpy() - uni_g[columns].to_numpy())
        present = uni_g[columns].to_numpy() != 0
        by_half(
            f"{name} at 500 Hz median error, 12 leads",
            0.015,
            lambda m, e=error: np.median(e[m]),
            cohort.half[rows],
        )
        by_half(
            "  where Uni-G has the wave",
            None,
            lambda m, e=error, p=present: np.median(e[m][p[m]]),
            cohort.half[rows],
        )


def p_quartiles(cohort, measured):
    """Quartiles of P_Amp_II against those published for all of PTB-XL."""
    values = measured["P_Amp_II"].to_numpy()
    n = int(np.isfinite(values).sum())
    for share, published in zip((0.25, 0.5, 0.75), PUBLISHED_P, strict=True):
        by_half(
            f"P_Amp_II quartile {share:g} - {published} mV",
            0.02,
            lambda m, s=share, p=published: abs(np.nanquantile(values[m], s) - p),
            cohort.half,
            n,
        )


def p_found(cohort, measured):
    """Share of records in which a P wave is found, in sinus rhythm (should be 1) and in atrial
    fibrillation (0).
    """
    statements = cohort.table["scp_codes"].map(lambda text: set(ast.literal_eval(text)))
    found = measured["P_Found_Global"].to_numpy()
    for rhythm in ("SR", "AFIB"):
        part = statements.map(lambda codes, name=rhythm: name in codes).to_numpy()
        by_half(
            f"P wave found, share of {rhythm}",
            None,
            lambda m, p=part: np.nanmean(found[m & p]),
            cohort.half,
            part.sum(),
        )


# ---------------------------------------------------------------- concepts


def concept_flags(cohort, measured, reference):
    """Cohen's kappa with the published flags, its 95 % interval over patients."""
    published = pd.read_csv(reference / "concepts.csv").set_index("ecg_id")
    table = measured.set_axis(cohort.table.index).join(cohort.table[["sex", "age"]])
    judged = concepts.judge(table)
    for name in concepts.CONCEPTS:
        known = (judged[name].notna() & ~judged.index.isin(NEIGHBOURS_FLAGS)).to_numpy()
        ours, theirs = (
            judged[name][known].to_numpy(bool),
            published[name].reindex(judged.index[known]).to_numpy(bool),
        )
        patients = cohort.table["patient_id"].to_numpy()[known]
        by_half(
            f"kappa {name}",
            KAPPA.get(name),
            lambda m, a=ours, b=theirs: cohen_kappa_score(a[m], b[m]),
            cohort.half[known],
            int(known.sum()),
            higher=True,
        )
        low, high = kappa_interval(ours, theirs, patients)
        print(
            f"  95 % [{low:.2f}, {high:.2f}]; published {theirs.sum()}, ours {ours.sum()}, "
            f"only ours {(ours & ~theirs).sum()}, only published {(~ours & theirs).sum()}"
        )


def explanations(cohort, measured, reference):
    """What explains the disagreements: limits in the thick of the distribution, and the leads in
    which a Q counts.
    """
    known = ~cohort.table.index.isin(NEIGHBOURS_FLAGS)
    published = (
        pd.read_csv(reference / "concepts.csv").set_index("ecg_id").reindex(cohort.table.index)
    )
    duration = measured["QRS_Dur_Global"].to_numpy()
    for name, limit in (("QRS-LVH", 90), ("QRS-CLBBB", 120)):
        wrong, near = (
            (duration > limit) != published[name].to_numpy(bool),
            np.abs(duration - limit) <= 10,
        )
        by_half(
            f"{name} disagreements within 10 ms of {limit}",
            None,
            lambda m, w=wrong & known, n=near: n[m & w].mean(),
            cohort.half,
            int((wrong & known).sum()),
        )
    q = {
        lead: ((measured[f"Q_Dur_{lead}"] > 30) & (measured[f"Q_Amp_{lead}"] <= -0.1))
        | ((measured[f"R_Amp_{lead}"] == 0) & (measured[f"Q_Amp_{lead}"] < 0))
        for lead in LEADS
    }
    more = np.any(
        [
            sum(q[lead].astype(int) for lead in group) >= 2
            for group in (("I", "aVL"), ("V1", "V2", "V3", "V4", "V5", "V6"), ("II", "III", "aVF"))
        ],
        axis=0,
    )
    flags = published["MI-QPeak"].to_numpy(bool)
    by_half(
        "kappa MI-QPeak, V1-V3 and III too",
        None,
        lambda m: cohen_kappa_score(more[m & known], flags[m & known]),
        cohort.half,
        int(known.sum()),
    )


def kappa_interval(ours, theirs, patients):
    """Bootstrap interval of kappa over patients."""
    weights = patient_weights(patients, 1000, 0)
    total = weights.sum(axis=1)
    agree, a, b = (weights @ part.astype(float) / total for part in (ours == theirs, ours, theirs))
    chance = a * b + (1 - a) * (1 - b)
    defined = chance < 1
    return percentile_interval((agree[defined] - chance[defined]) / (1 - chance[defined]))


# ---------------------------------------------------------------- simulated truth


def simulated(path):
    """P amplitude, fiducials of every beat and segments against the truth of a simulated cohort."""
    cohort = read_cohort(path)
    measured = analysis.measure_all(cohort.signals, 100, progress=False)
    truth = (
        pd.read_csv(path / "true_measurements.csv").set_index("ecg_id").reindex(cohort.table.index)
    )
    for name, bar in (("P", 0.02), ("R", None), ("S", None), ("T", None)):
        columns = [f"{name}_Amp_{lead}" for lead in LEADS]
        error = np.abs(measured[columns].to_numpy() - truth[columns].to_numpy())
        by_half(
            f"simulated {name} median error mV, 12 leads",
            bar,
            lambda m, e=error: np.nanmedian(e[m]),
            cohort.half,
        )
        by_half(
            "  worst lead", None, lambda m, e=error: np.nanmedian(e[m], axis=0).max(), cohort.half
        )
    errors, half = fiducial_errors(cohort, pd.read_csv(path / "true_fiducials.csv"))
    for name, bar in FIDUCIALS.items():
        error, n = errors[name], int(errors[name].notna().sum())
        by_half(
            f"simulated {name} median error ms",
            bar,
            lambda m, e=error: e[m].abs().median(),
            half,
            n,
        )
        by_half("  bias ms", None, lambda m, e=error: e[m].median(), half, n)
    overlap = segment_overlap(cohort, path)
    by_half(
        "segments: share in common with the truth",
        None,
        lambda m: overlap[m].mean(),
        cohort.half[: len(overlap)],
    )


def fiducial_errors(cohort, truth):
    """Ours minus true, ms, of every beat that is found (R within 100 ms), and the half of its
    patient.
    """
    parts, halves = [], []
    for start in range(0, len(cohort.signals), analysis.CHUNK):
        found = analysis.analyse(cohort.signals[start : start + analysis.CHUNK], 100)
        for row, (centres, dominant) in enumerate(
            zip(found.beats.centres, found.beats.dominant, strict=True)
        ):
            centres = centres[dominant] * 1000 / RATE
            real = truth[truth["ecg_id"] == cohort.table.index[start + row]]
            pairs = matched(centres, real["R_peak"].to_numpy(), 100)
            at = found.fiducials.rows(row)
            parts.append(
                pd.DataFrame(
                    {
                        name: centres[pairs[:, 0]]
                        + (getattr(at, name) - CENTRE) * 1000 / RATE
                        - real[name].to_numpy()[pairs[:, 1]]
                        for name in FIDUCIALS
                    }
                )
            )
            halves += [cohort.half[start + row]] * len(pairs)
    return pd.concat(parts, ignore_index=True), np.array(halves)


def segment_overlap(cohort, path, n=128):
    """Per record the mean over time and leads of the shares that drawn and true segments have in
    common.
    """
    ours = segmenting.from_signals(cohort.signals[:n], 100)
    true = np.stack(
        [
            segmentations.read_segments(path / segmentations.FOLDER / f"{i}.npy")
            for i in cohort.table.index[:n]
        ]
    )
    return np.minimum(ours, true).sum(axis=3).mean(axis=(1, 2))


def get_args_parser():
    """Options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "against",
        nargs="?",
        choices=("ptbxl", "ludb"),
        default="ptbxl",
        help="PTB-XL's published tables and simulated truth, or the cardiologists' marks of LUDB",
    )
    parser.add_argument(
        "--ludb_path",
        type=Path,
        default=ROOT.parent / "shared" / "ludb",
        help="folder with ludb.csv and data/",
    )
    parser.add_argument(
        "--uncertainty", type=Path, help="write the SD of every boundary (half A) to this csv"
    )
    parser.add_argument("--data_path", type=Path, default=ROOT.parent / "shared" / "ptbxl")
    parser.add_argument(
        "--reference_path", type=Path, default=ROOT.parent / "shared" / "ptbxl_reference"
    )
    parser.add_argument(
        "--simulated",
        type=Path,
        help="a simulated cohort; made anew (400 records, seed 3) by default",
    )
    return parser


def main(args):
    """Print the table."""
    if args.against == "ludb":
        ludb.report(args.ludb_path, args.uncertainty)
        return
    print(f"{'what':<44} {'all':>8} {'half A':>8} {'half B':>8} {'n':>7} {'bar':>9}")
    cohort = read_cohort(args.data_path)
    measured = analysis.measure_all(cohort.signals, 100, progress=False)
    r_peaks(cohort, measured, args.reference_path)
    against_uni_g(cohort, measured, args.reference_path)
    at_500_hz(args.data_path, args.reference_path)
    p_quartiles(cohort, measured)
    p_found(cohort, measured)
    concept_flags(cohort, measured, args.reference_path)
    explanations(cohort, measured, args.reference_path)
    with tempfile.TemporaryDirectory() as folder:
        if args.simulated is None:
            subprocess.run(
                [
                    sys.executable,
                    str(ROOT / "code" / "simulate_ptbxl.py"),
                    "--output_path",
                    folder,
                    "--n_records",
                    "400",
                    "--seed",
                    "3",
                ],
                check=True,
                capture_output=True,
            )
        simulated(args.simulated or Path(folder))


if __name__ == "__main__":
    main(get_args_parser().parse_args())
