"""Does an edited ECG show the stated dose? Edits drawn at random within their limits, made and
measured again by our own measurement; no network is asked.

Reads:  a preprocessed data set (--data_path); writes nothing.

alone      every interval that a record offers, and as many of its waves, each by itself
together   one interval with two waves that do not touch each other, as a search combines them

Errors are |measured - stated|, one line a kind with median, 90th percentile and the 95 % interval
of the median over patients (bars: 4 ms, .02 mV).

Example:
    python tests/benchmarks/bench_doses.py --data_path data/simulated --n 40
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(ROOT / "tests")]

from counterfactual.body import bodies_of, measured_doses
from counterfactual.edits import INTERVALS, limits_of
from ecg.analysis import measure_all
from records.dataset import load_dataset

CHUNK = 8
SMALLEST = {"mV": 0.02, "ms": 2.0}  # smaller doses are drawn anew: little is stated by them
TOGETHER = 2  # waves beside an interval
RESAMPLES = 1000


def drawn(body, number, rng):
    """A dose of one edit, uniform in what its limits allow."""
    low, high = body.low[number], body.high[number]
    least = SMALLEST[body.edits[number].unit]
    while True:
        dose = rng.uniform(low, high)
        if abs(dose) >= min(least, max(-low, high)):
            return dose


def doses_of(body, rng):
    """(n, edits) doses, and the way of each: alone, together."""
    intervals = [n for n, edit in enumerate(body.edits) if edit.wave in INTERVALS]
    waves = [n for n in range(len(body.names)) if n not in intervals]
    rows, ways = [], []
    for number in [*intervals, *rng.permutation(waves)[: len(INTERVALS)]]:
        rows.append(one := np.zeros(len(body.names)))
        one[number] = drawn(body, number, rng)
        ways.append("alone")
    for number in intervals:
        rows.append(one := np.zeros(len(body.names)))
        one[number] = drawn(body, number, rng)
        for wave in apart(body, rng.permutation(waves)):
            one[wave] = drawn(body, wave, rng)
        ways.append("together")
    return np.array(rows).reshape(-1, len(body.names)), ways


def apart(body, waves):
    """The first TOGETHER of `waves` that change nothing in common."""
    chosen = []
    for wave in waves:
        edit = body.edits[wave]
        if len(chosen) < TOGETHER and not any(edit.overlaps(body.edits[one]) for one in chosen):
            chosen.append(wave)
    return chosen


def lines_of(body, patient, sampling_rate, rng):
    """(way, what, unit, stated, measured, patient) of every edit made in one record."""
    doses, ways = doses_of(body, rng)
    if not len(doses):
        return []
    after = measure_all(body.apply(doses), sampling_rate, progress=False)
    lines = []
    for row, way in enumerate(ways):
        for number in np.flatnonzero(doses[row]):
            edit = body.edits[number]
            [measured] = measured_doses(body.before, after.iloc[row], [edit])
            lines.append((way, edit.wave, edit.unit, doses[row, number], measured, patient))
    return lines


def median_interval(errors, patients, rng):
    """95 % interval of the median, patients drawn anew."""
    of_patient = [errors[patients == one] for one in np.unique(patients)]
    drawn_anew = [
        np.median(np.concatenate([of_patient[k] for k in rng.integers(len(of_patient), size=size)]))
        for size in [len(of_patient)] * RESAMPLES
    ]
    return np.quantile(drawn_anew, [0.025, 0.975])


def say(table, rng):
    """One line per way and kind."""
    for (way, unit, what), own in table.groupby(["way", "unit", "what"]):
        errors = own["error"].to_numpy()
        known = np.isfinite(errors)
        if not known.any():
            print(f"{way:9} {what:13} never measured, n = {len(own)}")
            continue
        patients = own["patient"].to_numpy()[known]
        low, high = median_interval(errors[known], patients, rng)
        middle, most = np.quantile(errors[known], [0.5, 0.9])
        digits = 1 if unit == "ms" else 3
        blank = f", {np.sum(~known)} not measured" if not known.all() else ""
        print(
            f"{way:9} {what:13} median error {middle:.{digits}f} [{low:.{digits}f}, "
            f"{high:.{digits}f}] {unit}, 90 % below {most:.{digits}f}, median dose "
            f"{own['dose'].abs().median():.{digits}f}, n = {known.sum()} of "
            f"{len(np.unique(patients))} patients{blank}"
        )


def main():
    """All records of the folds, or N of them at random."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data_path", required=True, help="preprocessed data set")
    parser.add_argument("--n", type=int, default=40, help="records, drawn at random")
    parser.add_argument("--folds", type=int, nargs="+", default=[10], help="held-out folds")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    whole = load_dataset(args.data_path, "superdiagnostic")
    limits, data = limits_of(whole.table), whole.in_folds(args.folds)
    rows = np.sort(rng.permutation(len(data))[: args.n])
    lines, without = [], 0
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        for row, body in zip(
            part, bodies_of(data.signals[part], data.sampling_rate, limits), strict=True
        ):
            if body is None:
                without += 1
            else:
                lines += lines_of(body, data.patient_id[row], data.sampling_rate, rng)
    names = ["way", "what", "unit", "dose", "measured", "patient"]
    table = pd.DataFrame(lines, columns=names)
    table["error"] = (table["measured"] - table["dose"]).abs()
    print(f"{args.data_path}, folds {args.folds}: {len(rows)} records, {without} without edits")
    say(table, rng)
    for unit, own in table.groupby("unit"):
        print(f"all in {unit}: median error {own['error'].median():.4f}, n = {len(own)}")


if __name__ == "__main__":
    main()
