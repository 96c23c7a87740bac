"""The two figures of measuring the ECG in docs/: a beat with its 24 segments and fiducials, and our
marks beside the cardiologists' on four records of LUDB.

    python tests/benchmarks/draw_marks.py --output_path docs
"""

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(ROOT / "tests")]

import ludb

import ecg
from common.labels import LEADS
from ecg.segments import SEGMENTS
from known_ecg import known_ecg, regular

RECORDS = {61: "sinus rhythm", 129: "atrial fibrillation", 23: "bundle branch block", 45: "paced"}
COLOURS = {"P": "tab:blue", "QRS": "tab:red", "T": "tab:green"}
RATE = 500  # Hz


def draw_segments(path: Path) -> None:
    """Lead II of a beat over the shares of its 24 segments, fiducials as lines."""
    signal = known_ecg(regular(60), RATE, noise=0.004)
    marks = ecg.delineate(signal, RATE)
    beat = marks[(marks["beat"] == 3) & (marks["lead"] == "II")]
    begin, end = beat["onset"].min() - 0.12, beat["offset"].max() + 0.15
    window = slice(int(begin * RATE), int(end * RATE))
    time = np.arange(window.start, window.stop) / RATE
    lead = LEADS.index("II")
    shares = ecg.segment(signal, RATE)[window, lead]
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 7.5), sharex=True, height_ratios=(1, 1.6), layout="constrained"
    )
    above.plot(time, signal[window, lead], color="black", linewidth=1)
    for row in beat.itertuples():
        for position in (row.onset, row.peak, row.offset):
            above.axvline(position, color=COLOURS[row.wave], linewidth=0.8)
        above.text(row.peak, above.get_ylim()[1], row.wave, color=COLOURS[row.wave], ha="center")
    above.set_ylabel("lead II, mV")
    extent = (time[0], time[-1], len(SEGMENTS) - 0.5, -0.5)
    below.imshow(shares.T, aspect="auto", cmap="Greys", vmin=0, vmax=1, extent=extent)
    below.set_yticks(range(len(SEGMENTS)), SEGMENTS, fontsize=7)
    below.set_xlabel("s")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def draw_records(records: list[ludb.Record], path: Path) -> None:
    """Four records, lead II: ours above the zero line's marks, the cardiologists' below."""
    chosen = {record.number: record for record in records if record.number in RECORDS}
    figure, axes = plt.subplots(len(RECORDS), 1, figsize=(10, 9), layout="constrained")
    for axis, (number, name) in zip(axes, RECORDS.items(), strict=True):
        record = chosen[number]
        lead, shown = LEADS.index("II"), slice(3 * RATE, 6 * RATE)
        time = np.arange(len(record.signal)) / RATE
        axis.plot(time[shown], record.signal[shown, lead], color="black", linewidth=0.8)
        low, high = axis.get_ylim()
        own = ecg.delineate(record.signal, RATE)
        for marks, (bottom, top) in (
            (own, (high, high + 0.15 * (high - low))),
            (record.marks, (low - 0.15 * (high - low), low)),
        ):
            _bars(axis, marks[marks["lead"] == "II"], bottom, top)
        axis.set_xlim(3, 6)
        axis.set_yticks([])
        axis.set_title(f"LUDB {number}, {name}, lead II", loc="left", fontsize=9)
    axes[0].text(6.01, 0.95, "ours", transform=axes[0].get_xaxis_transform(), va="top")
    axes[0].text(6.01, 0.05, "cardiologists", transform=axes[0].get_xaxis_transform())
    axes[-1].set_xlabel("s; P blue, QRS red, T green")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _bars(axis, marks, bottom, top):
    for row in marks.dropna(subset=["onset", "offset"]).itertuples():
        axis.fill_between([row.onset, row.offset], bottom, top, color=COLOURS[row.wave], alpha=0.7)


def get_args_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_path", type=Path, default=ROOT / "docs", help="folder")
    parser.add_argument(
        "--ludb_path",
        type=Path,
        default=ROOT.parent / "shared" / "ludb",
        help="folder with ludb.csv and data/",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Draw both."""
    draw_segments(args.output_path / "beat_segments.png")
    draw_records(ludb.read(args.ludb_path), args.output_path / "marks_ludb.png")


if __name__ == "__main__":
    main(get_args_parser().parse_args())
