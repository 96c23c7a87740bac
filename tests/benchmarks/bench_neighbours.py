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
from pathlib import Path

import numpy as np

from attribution.neighbours import ALARM, K, nearest, pool_of, settle_in, vectors_of
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
    order, _, _, p = nearest(home, vectors, held.patient_id)
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
    print(f"called out of distribution (p < {ALARM}):")
    rate("usual records of folds 9 and 10", p < ALARM)
    for name, place in column.items():
        others = data.rows(np.flatnonzero(statements[:, place] > 0))
        if len(others):
            found = nearest(home, vectors_of(model, others, "windows", None), others.patient_id)
            rate(f"{name} (none in training)", found[3] < ALARM)
    if args.recordings:
        signals = of_others(args.recordings)
        foreign = vectors_of(model, _as_dataset(data, signals), "windows", None)
        rate("recordings of other sources", nearest(home, foreign, None)[3] < ALARM)


def _as_dataset(data, signals):
    """Signals in the place of a data set's, for what looks at nothing else."""
    from types import SimpleNamespace

    return SimpleNamespace(signals=signals.astype(np.float32))


if __name__ == "__main__":
    main()
