r"""The bars of the glocal stage: its time, planted cells among the top 5, right cards against wrong
ones, the paper's cells.

Reads:  a preprocessed data set and a checkpoint (time), or the glocal folder of a finished run
        (planted, paper)
Prints: one line per number

    python tests/benchmarks/bench_glocal.py time --data_path data/ptbxl --model_path
    output/lenet_subdiagnostic python tests/benchmarks/bench_glocal.py planted --glocal
    output/lenet_subdiagnostic/glocal \
        --planted data/simulated/planted_causes.csv
    python tests/benchmarks/bench_glocal.py paper --glocal output/lenet_subdiagnostic/glocal
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from ratios import print_result

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "code"))

import glocal_analysis
from attribution.cards import planted_cards
from common.labels import LABEL_MAPPINGS, LEADS
from ecg.segments import SEGMENTS
from glocal import study
from glocal.tables import cells_of

CAUSES = ("LVH", "CLBBB", "IMI", "AMI")

# Wagner et al. 2024, LeNet, saliency, 100 records of highest logit over all folds, best first
PAPER_TOP5 = {
    "LVH": ("V2 R-Peak", "V5 R-Peak", "V2 qr", "V1 R-Peak", "aVF Q-Peak"),
    "CLBBB": ("V2 R-Peak", "V1 P-Offset", "V1 p)", "V1 pq", "V1 P-Onset"),
    "IMI": ("aVF QRS-Onset", "aVF (q", "III QRS-Onset", "aVL Q-Peak", "II (q"),
    "AMI": ("V2 R-Peak", "V2 QRS-Onset", "V2 Q-Peak", "V2 (q", "V2 qr"),
}


def names_of(cells, top=5):
    """'V5 R-Peak', ... of the top cells, best first."""
    order = [np.argwhere(cells["rank"] == place) for place in range(1, top + 1)]
    return [f"{LEADS[found[0][0]]} {SEGMENTS[found[0][1]]}" for found in order if len(found)]


def bench_time(args):
    """5 pathologies x 100 records, where there are so many, with saliency, tables and figures;
    without loading the checkpoint.
    """
    marks = {}
    original = study.load_pool

    def marked(*arguments, **keywords):
        marks["start"] = time.perf_counter(), time.process_time()
        return original(*arguments, **keywords)

    study.load_pool = marked
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "--data_path",
            args.data_path,
            "--model_path",
            args.model_path,
            "--output_path",
            folder,
            "--selection",
            "all",
            "--folds",
            *map(str, range(1, 11)),
            "--n_samples",
            "100",
            "--threads",
            "2",
        ]
        glocal_analysis.main(glocal_analysis.get_args_parser().parse_args(words))
        counts = json.loads(next(Path(folder).rglob("glocal.json")).read_text())["counts"]
    wall, cpu = (
        now - then
        for now, then in zip(
            (time.perf_counter(), time.process_time()), marks["start"], strict=True
        )
    )
    n_records = [count.split()[0] for count in counts.values()]  # "100 records, 93 patients, ..."
    print_result(
        f"glocal, {len(counts)} groups of {', '.join(n_records)} records, saliency and both "
        "controls",
        "a bar of 60 s",
        f"{wall:.1f} s by the clock, {cpu:.1f} s of CPU",
    )


def bench_planted(args):
    """Planted cells among the top 5 of each method and pathology, beside what five random cells
    would hit; cards apart.
    """
    table, scores = (
        pd.read_csv(Path(args.glocal) / f"{name}.csv") for name in ("segments", "scorecard")
    )
    cards = planted_cards(args.planted, "subdiagnostic", LABEL_MAPPINGS["subdiagnostic"])
    for method in table["method"].unique():
        hits, expected = {}, 0.0
        for name in (name for name in CAUSES if name in set(table["pathology"])):
            cells = cells_of(table, name, method)
            card, ranked = cards[name].cells, np.isfinite(cells["rank"])
            hits[name] = int(card[cells["rank"] <= 5].sum())
            expected += 5 * card[ranked].mean()
            print(
                f"{method} {name}: {hits[name]} of 5 planted (card: {card[ranked].sum()} of "
                f"{ranked.sum()} ranked cells): "
                f"{', '.join(names_of(cells))}"
            )
        found = sum(hit > 0 for hit in hits.values())
        print(
            f"{method}: a planted cell among the top 5 for {found} of {len(hits)} (bar: 3 of 4); "
            f"{sum(hits.values())} of {5 * len(hits)} cells planted, {expected:.1f} expected of "
            "random cells"
        )
        print(f"{method}: {separation(scores[scores['method'] == method])}")


def separation(scores):
    """Lead lifts on the own card against those of other groups' maps on the same card."""
    square = scores[scores["pathology"].isin(CAUSES) & scores["card"].isin(CAUSES)]
    square = np.log(square.pivot(index="pathology", columns="card", values="lead_lift"))
    own = np.diag(square.loc[square.columns])
    others = (square.sum().to_numpy() - own) / (len(square) - 1)
    assigned = [
        square.to_numpy()[list(order), range(len(own))].sum()
        for order in itertools.permutations(range(len(own)))
    ]
    beaten = np.mean(np.array(assigned) >= own.sum() - 1e-12)
    ratio = {
        name: f"{np.exp(a - b):.2f}" for name, a, b in zip(square.columns, own, others, strict=True)
    }
    return (
        f"lead lift on the own card over that of other groups' maps on it: {ratio}; "
        f"assignments of cards to maps as good as the right one: {beaten:.3f} (of {len(assigned)})"
    )


def bench_paper(args):
    """Our top 5 beside the paper's, and where the paper's cells rank in our map."""
    table = pd.read_csv(Path(args.glocal) / "segments.csv")
    for name, cells in (
        (name, cells_of(table, name, "saliency"))
        for name in CAUSES
        if name in set(table["pathology"])
    ):
        ours, theirs = names_of(cells), PAPER_TOP5[name]
        places = [
            cells["rank"][LEADS.index(lead), SEGMENTS.index(segment)]
            for lead, segment in map(str.split, theirs)
        ]
        known = [place for place in places if np.isfinite(place)]
        shown = ", ".join(
            f"{cell} {'-' if np.isnan(place) else int(place)}"
            for cell, place in zip(theirs, places, strict=True)
        )
        print(f"{name}: ours {', '.join(ours)}")
        print(
            f"{name}: the paper's with their rank here: {shown}; median {np.median(known):.0f} of "
            f"{int(np.nanmax(cells['rank']))}; in common {len(set(ours) & set(theirs))} of 5"
        )


BENCHES = {
    "time": (bench_time, ("data_path", "model_path")),
    "planted": (bench_planted, ("glocal", "planted")),
    "paper": (bench_paper, ("glocal",)),
}


def main():
    """Run one of BENCHES."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = parser.add_subparsers(dest="bench", required=True)
    for name, (function, options) in BENCHES.items():
        one = subparsers.add_parser(name, help=function.__doc__)
        for option in options:
            one.add_argument(f"--{option}", required=True)
    args = parser.parse_args()
    BENCHES[args.bench][0](args)


if __name__ == "__main__":
    main()
