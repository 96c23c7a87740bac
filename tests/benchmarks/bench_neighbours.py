"""Do the nearest training records have the record's label, and does the alarm sound where it
should?

    python tests/benchmarks/bench_neighbours.py --data_path shared/ptbxl --task superdiagnostic
        [--modelname lenet] [--epochs 20] [--strange AFIB PACE] [--recordings shared/cinc2021]

Trains a network on folds 1-8 without the records that carry a --strange statement, then asks of
fold 9 and 10 (nothing is chosen by them): the share of records whose nearest training record by
features, by attribution cells of the most probable class, and drawn at random, carries a label of
theirs; and the share that is called out of distribution: of the folds' usual records, of those with
a strange statement (all folds: the network has seen none), and of recordings of other sources.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(ROOT / "tests")]

from attribution.neighbours import K, nearest, pool_of, settle_in, vectors_of
from attribution.unlike import ALARM, signs_of, watch
from common.files import UserError
from common.intervals import mean_with_interval
from common.labels import LABEL_MAPPINGS, LEADS
from networks.checkpoints import ModelInfo
from networks.controls import _trained
from networks.inference import predict
from networks.training import Recipe
from records.dataset import load_dataset, load_labels
from records.own_record import read_own


def network(args, training):
    """A network for the task, trained on the given records."""
    folds = {"train": list(range(1, 9)), "validation": [9], "test": [10]}
    labels = tuple(LABEL_MAPPINGS[args.task])
    info = ModelInfo(args.modelname, args.task, labels, LEADS, 100, 2.5, folds, args.seed)
    model = _trained(info, training, Recipe(epochs=args.epochs, seed=args.seed), "cpu")
    model.info = info
    return model


def of_others(folder):
    """(n, 1000, 12) mV: the recordings of a folder that can be read."""
    signals, refused = [], 0
    for path in sorted(Path(folder).glob("*.hea")):
        try:
            signal = np.nan_to_num(read_own(path.with_suffix(""), LEADS, 100, 250).signal)
        except UserError:
            refused += 1
            continue
        if len(signal) == 1000:
            signals.append(signal)
        else:
            refused += 1
    print(f"{folder}: {len(signals)} recordings, {refused} left out (unreadable or under 10 s)")
    return np.stack(signals)


def rate(name, hits):
    """One line: a share with its interval."""
    _, low, high = mean_with_interval(hits, np.arange(len(hits)))
    print(f"  {name:46} {np.mean(hits):.2f} [{low:.2f}, {high:.2f}] (n = {len(hits)})")


def agreement(name, labels, pool, places):
    """How often the records at `places` (n, k) of the pool carry a label of each record."""
    shared = (pool.labels[places] * labels[:, None, :]).any(axis=2)
    rate(f"{name}: nearest has a label of it", shared[:, 0])
    print(f"  {'mean of the ' + str(K) + ' nearest':46} {shared.mean():.2f}")


def main():
    """Train, then print agreement and alarms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--task", default="superdiagnostic")
    parser.add_argument("--modelname", default="lenet")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strange", nargs="*", default=["AFIB", "PACE"])
    parser.add_argument("--recordings")
    args = parser.parse_args()
    data = load_dataset(args.data_path, args.task)
    statements = load_labels(data.path, "all", data.table)[0]
    column = {name: LABEL_MAPPINGS["all"].index(name) for name in args.strange}
    strange = statements[:, list(column.values())].any(axis=1)
    usual = data.rows(np.flatnonzero(~strange & data.labelled))
    pool = pool_of(usual, range(1, 9), args.seed)
    model = network(args, usual.in_folds(range(1, 9)))
    held = usual.in_folds([9, 10])
    print(f"{args.modelname}, {args.epochs} epochs, {len(pool)} training records, {len(held)} held")
    home = settle_in(vectors_of(model, pool, "windows", None), pool.patient_id)
    vectors = vectors_of(model, held, "windows", None)
    order = nearest(home, vectors, held.patient_id)[0]
    agreement("features", held.labels, pool, order)
    by_cells = np.zeros_like(order)
    chosen = predict(model, held.signals).argmax(axis=1)
    for target in np.unique(chosen):
        rows = np.flatnonzero(chosen == target)
        around = settle_in(vectors_of(model, pool, "windows", int(target)), pool.patient_id)
        asked = vectors_of(model, held.rows(rows), "windows", int(target))
        by_cells[rows] = nearest(around, asked, held.patient_id[rows])[0]
    agreement("attribution cells", held.labels, pool, by_cells)
    at_random = np.random.default_rng(args.seed).integers(0, len(pool), (len(held), K))
    agreement("chance: training records at random", held.labels, pool, at_random)
    strangers = {}
    for name, place in column.items():
        others = data.rows(np.flatnonzero(statements[:, place] > 0))
        if len(others):
            strangers[f"{name} (none in training)"] = others.signals
    if args.recordings:
        strangers["recordings of other sources"] = of_others(args.recordings).astype(np.float32)
    alarms(model, pool, usual, strangers)


def alarms(model, pool, usual, strangers):
    """How often the alarm is raised: set by fold 9, asked of fold 10, of strangers and of fold 10
    disturbed.
    """
    rate_in = pool.sampling_rate
    training = signs_of(model, pool.signals, rate_in)
    alarm = watch(training, signs_of(model, usual.in_folds([9]).signals, rate_in), LEADS)
    tenth = np.array(usual.in_folds([10]).signals)
    asked = {"usual records of fold 10": tenth, **strangers, **disturbed(tenth)}
    print(f"called out of distribution (p < {ALARM}, set by {len(alarm.scores)} of fold 9):")
    for name, signals in asked.items():
        signs = signs_of(model, signals, rate_in)
        rate(name, alarm.p(signs) < ALARM)
        beyond = {sign: np.mean(ratio > 1) for sign, ratio in alarm.ratios(signs).items()}
        print(f"    beyond the usual: {', '.join(f'{s} {v:.2f}' for s, v in beyond.items())}")


def disturbed(signals, seed=0):
    """Records as they should not be: name -> (n, T, 12)."""
    noise = 0.2 * np.random.default_rng(seed).normal(size=signals.shape).astype(np.float32)
    arms = signals.copy()
    arms[..., [0, 1, 2, 3, 4]] = signals[..., [0, 2, 1, 4, 3]]
    arms[..., 0] *= -1
    exchanged, flat = signals.copy(), signals.copy()
    exchanged[..., [6, 8]] = signals[..., [8, 6]]
    flat[..., 9] = 0
    return {
        "noise of .2 mV": signals + noise,
        "arms exchanged": arms,
        "V1 and V3 exchanged": exchanged,
        "V4 flat": flat,
        "twice the voltage": 2 * signals,
        "half the voltage": signals / 2,
        "ten times the voltage": 10 * signals,
        "half the sampling rate": np.repeat(signals, 2, axis=1)[:, : signals.shape[1]],
    }


if __name__ == "__main__":
    main()
