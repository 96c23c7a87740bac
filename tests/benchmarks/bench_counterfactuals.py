"""Are counterfactuals true? Measured on true positives of held-out folds, with n and 95 % intervals
over patients.

Reads:  a preprocessed data set (--data_path), a run (--model_path); --other a second run for the
        transfer; where the data set is a simulated cohort, its plan, for the planted causes.
Writes: nothing.

validity   share of true positives whose decision is turned, and the time that it takes
einthoven  largest breach of I + III = II, aVR, aVL and aVF by what was changed (microvolt)
doses      what our own measurement of the edited record says against the stated dose
random     share that as many random edits of the same size turn
records    area under the ROC curve of a classifier of edited against real beats, by patient:
           against the same records before, other patients' records with the same label, and other
           patients' records that the network judges alike; beside the two last the same of the
           records before: what sets patients and classes apart without any edit. An edited record
           has its label and is no longer found: real records of which the same is true, against
           such as are found, show how far that alone sets records apart
transfer   of the decisions turned that a second network shares, the share that it gives up too
planted    (simulated) are the chosen waves the planted ones more often than chance, and does the
           dose agree with the same heart without the cause?

Example:
    python tests/benchmarks/bench_counterfactuals.py --data_path data/simulated \\
        --model_path output/demo/lenet_subdiagnostic
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(ROOT / "tests")]

from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from attribution.selection import predicted_positive
from common.files import read_npz
from common.intervals import auc_interval, mean_with_interval
from common.labels import LEADS, labels_of_statement, slug
from counterfactual.body import bodies_of, measured_doses
from counterfactual.edits import limits_of
from counterfactual.search import Search, in_order, threshold_logit
from ecg.analysis import measure_all
from ecg.beats import cut_beats, find_beats
from networks.checkpoints import load_model
from networks.inference import load_dataset_for, predict
from simulation.causes import CAUSES
from simulation.cohort import PARAMETERS, counterfactual

N_RANDOM = 20
CHUNK = 8
PLANTED = 0.5  # standard deviations that a cause moves a quantity by, for it to be planted
COLUMNS = [LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]


def true_positives(model, data, logits, per_class, seed=0):
    """(rows, classes): up to `per_class` true positives of each class, drawn at random."""
    rng = np.random.default_rng(seed)
    hits = predicted_positive(logits, model.info.thresholds) & (data.labels > 0)
    pairs = []
    for column in range(hits.shape[1]):
        rows = np.flatnonzero(hits[:, column])
        chosen = rng.permutation(rows)[:per_class]
        pairs += [(row, column) for row in np.sort(chosen)]
    return pairs


def search_all(model, data, limits, pairs, most):
    """One dict per pair: body, found, seconds (CPU), edited signal."""
    rows = sorted({row for row, _ in pairs})
    results = []
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        begun = time.process_time()
        bodies = dict(
            zip(part, bodies_of(data.signals[part], data.sampling_rate, limits), strict=True)
        )
        per_body = (time.process_time() - begun) / len(part)
        for row, column in pairs:
            if row in bodies:
                one = search_one(model, bodies[row], column, most)
                one |= {"row": row, "class": column, "patient": data.patient_id[row]}
                one["seconds"] += per_body
                results.append(one)
    return results


def random_doses(body, found, rng, n):
    """(n, edits) random edits of the same size: as many, each of the same cost, of random waves
    and signs, within the limits as far as these reach.
    """
    costs = (np.abs(found.doses) / body.scale)[np.flatnonzero(found.doses)]
    doses = np.zeros((n, len(body.names)))
    for row in doses:
        chosen = rng.permutation(len(body.names))[: len(costs)]
        row[chosen] = rng.choice((-1, 1), len(chosen)) * costs[: len(chosen)] * body.scale[chosen]
        np.clip(row, body.low, body.high, out=row)
    return doses


def search_one(model, body, column, most):
    """The counterfactual of one record and class, and what random edits of its size do."""
    if body is None:
        return {"body": None, "turned": False, "seconds": 0.0}

    def logits(signals):
        return predict(model, signals)[:, column]

    begun = time.process_time()
    threshold = threshold_logit(model.info, column)
    found = Search(body, logits, threshold).run(most)
    seconds = time.process_time() - begun
    rng = np.random.default_rng(0)
    drawn = logits(body.apply(random_doses(body, found, rng, N_RANDOM)))
    edited = body.apply(found.doses)[0]
    turned_by_chance = np.mean((drawn > threshold) != (found.before > threshold))
    return {
        "body": body,
        "found": found,
        "turned": found.turned,
        "edited": edited,
        "seconds": seconds,
        "random": turned_by_chance if found.turned else np.nan,
    }


def stored(model, data, folder):
    """What counterfactuals.py has written into `folder`, as far as its records are in `data`: one
    dict per record and class with its row, class, patient and edited signal.
    """
    place = {int(ecg_id): row for row, ecg_id in enumerate(data.ecg_id)}
    results = []
    for column, label in enumerate(model.info.labels):
        path = folder / f"signals_{slug(label)}.npz"
        if path.is_file():
            arrays = read_npz(path)
            columns = (arrays[name] for name in ("ecg_id", "turned", "signals"))
            for ecg_id, turned, edited in zip(*columns, strict=True):
                row = place.get(int(ecg_id))
                if row is not None:
                    patient = data.patient_id[row]
                    one = {"row": row, "class": column, "patient": patient, "edited": edited}
                    results.append({**one, "turned": bool(turned)})
    return results


def say(what, values, patients, bar=""):
    """One line: mean, interval, n."""
    values, patients = np.asarray(values, float), np.asarray(patients)
    known = np.isfinite(values)
    mean, low, high = mean_with_interval(values[known], patients[known])
    people = len(np.unique(patients[known]))
    print(
        f"{what}: {mean:.3f} [{low:.3f}, {high:.3f}], n = {known.sum()} of {people} patients {bar}"
    )


def validity(model, results):
    patients = [one["patient"] for one in results]
    say("validity", [one["turned"] for one in results], patients, "(bar: simulated .95, real .9)")
    for column in sorted({one["class"] for one in results}):
        own = [one for one in results if one["class"] == column]
        turned = sum(one["turned"] for one in own)
        costs = [one["found"].cost for one in own if one["turned"]]
        sizes = [np.count_nonzero(one["found"].doses) for one in own if one["turned"]]
        middle = (
            f"median cost {np.median(costs):.2f} SD, edits {np.mean(sizes):.2f}" if costs else ""
        )
        print(f"  {model.info.labels[column]}: {turned} of {len(own)} turned; {middle}")
    say(
        "CPU seconds per record and class", [one["seconds"] for one in results], patients, "(bar 2)"
    )
    say(
        "random edits of the same size turn",
        [one.get("random", np.nan) for one in results],
        patients,
        "(bar .10)",
    )


def einthoven(results):
    worst = 0.0
    for one in results:
        if one["body"] is not None:
            change = (one["edited"] - one["body"].signal).astype(float)
            first, second, third, avr, avl, avf = change[:, :6].T
            broken = (
                first + third - second,
                avr + (first + second) / 2,
                avl - (first - third) / 2,
                avf - (second + third) / 2,
            )
            worst = max(worst, np.abs(broken).max() * 1000)
    print(f"einthoven: largest breach {worst:.4f} microvolt (bar 1), n = {len(results)}")


def doses(results, sampling_rate):
    made = [one for one in results if one["body"] is not None and np.any(one["found"].doses)]
    after = measure_all(np.stack([one["edited"] for one in made]), sampling_rate, progress=False)
    lines = []
    for place, one in enumerate(made):
        for number in in_order(one["body"], one["found"].doses):
            edit = one["body"].edits[number]
            [measured] = measured_doses(one["body"].before, after.iloc[place], [edit])
            lines.append((edit.unit, edit.wave, one["found"].doses[number], measured))
    table = pd.DataFrame(lines, columns=["unit", "wave", "dose", "measured"])
    table["error"] = (table["measured"] - table["dose"]).abs()
    for unit, own in table.groupby("unit"):
        quantiles = own["error"].quantile([0.5, 0.9])
        print(
            f"doses in {unit}: median error {quantiles[0.5]:.4f}, 90 % below {quantiles[0.9]:.4f}, "
            f"median dose {own['dose'].abs().median():.3f}, n = {len(own)} (bar .02 mV, 4 ms)"
        )
    print("  edits by wave:", table["wave"].value_counts().to_dict())


def beats_of(signals, peaks, sampling_rate, most=4):
    """Up to `most` beats a record as vectors, and the record of each."""
    beats = find_beats(peaks, signals.shape[1], sampling_rate)
    windows = cut_beats(signals[..., COLUMNS], beats)
    order = np.concatenate([np.arange(count) for count in beats.counts]).astype(int)
    kept = order < most
    return windows[kept].reshape(kept.sum(), -1), beats.record[kept]


def separable(real, edited, sampling_rate, peaks_real, peaks_edited, groups_real, groups_edited):
    """AUC with interval of two classifiers of edited against real beats, folds by patient."""
    one, of_one = beats_of(real, peaks_real, sampling_rate)
    other, of_other = beats_of(edited, peaks_edited, sampling_rate)
    x = np.concatenate([one, other])
    y = np.repeat([0, 1], [len(one), len(other)])
    groups = np.concatenate([groups_real[of_one], groups_edited[of_other]])
    makers = {
        "logistic": lambda: make_pipeline(
            StandardScaler(), PCA(40, random_state=0), LogisticRegression(C=0.1, max_iter=2000)
        ),
        "forest": lambda: make_pipeline(
            PCA(40, random_state=0),
            RandomForestClassifier(200, min_samples_leaf=5, random_state=0),
        ),
    }
    answers = {}
    for name, maker in makers.items():
        score = np.zeros(len(x))
        for train, test in GroupKFold(5).split(x, y, groups):
            score[test] = maker().fit(x[train], y[train]).predict_proba(x[test])[:, 1]
        answers[name] = (roc_auc_score(y, score), *auc_interval(score, y, groups))
    return {name: f"{a:.3f} [{b:.3f}, {c:.3f}]" for name, (a, b, c) in answers.items()}, len(y)


def records(model, data, logits, results, seed=0):
    turned = [one for one in results if one["turned"]]
    rows = np.array([one["row"] for one in turned])
    edited = np.stack([one["edited"] for one in turned])
    patients = data.patient_id[rows]
    after = measure_all(edited, data.sampling_rate, progress=False)["r_peaks"]
    moved = [np.array([int(word) for word in text.split()]) for text in after]
    moved = [found * data.sampling_rate // 100 for found in moved]
    edited = (edited, moved, patients)
    before = real_records(data, rows)
    positive = predicted_positive(logits, model.info.thresholds)
    rng = np.random.default_rng(seed)
    alike = others(turned, data, ~positive, rng)
    say_separable("edited against the same records before", before, edited, data, "(bar .65)")
    beside = np.array([has_other(one, data, data.labels > 0) for one in turned])
    shared = [one for one, there in zip(turned, beside, strict=True) if there]
    labelled = others(shared, data, data.labels > 0, rng)
    own = [some_of(kind, beside) for kind in (edited, before)]
    say_separable("edited against others of the same label", labelled, own[0], data, "(bar .65)")
    say_separable("  before the edit against these", labelled, own[1], data)
    say_separable("edited against others judged alike", alike, edited, data)
    say_separable("  before the edit against these", alike, before, data)
    missed, found = (data.labels > 0) & ~positive, (data.labels > 0) & positive
    known = [one for one in turned if all(has_other(one, data, kind) for kind in (missed, found))]
    if known:
        real = [others(known, data, kind, rng) for kind in (found, missed)]
        say_separable(f"real, found against not found ({len(known)} of a label)", *real, data)


def real_records(data, rows):
    """Signals, R-peaks and patients of rows."""
    return data.signals[rows], [data.r_peaks(row) for row in rows], data.patient_id[rows]


def some_of(kind, kept):
    """Signals, R-peaks and patients of the records `kept` (n,) bool."""
    signals, peaks, patients = kind
    return signals[kept], [peaks[row] for row in np.flatnonzero(kept)], patients[kept]


def has_other(one, data, wanted):
    """Whether `wanted` (records, classes) holds for a record of another patient."""
    return bool((wanted[:, one["class"]] & (data.patient_id != one["patient"])).any())


def others(turned, data, wanted, rng):
    """For each turned decision a record of another patient for which `wanted` (records, classes)
    holds, drawn at random.
    """
    drawn = []
    for one in turned:
        others_patients = data.patient_id != one["patient"]
        drawn.append(rng.choice(np.flatnonzero(wanted[:, one["class"]] & others_patients)))
    return real_records(data, np.array(drawn))


def say_separable(what, real, edited, data, bar=""):
    """One line: AUC of both classifiers between two sets of records."""
    (first, peaks, people), (second, moved, patients) = real, edited
    answer, n = separable(first, second, data.sampling_rate, peaks, moved, people, patients)
    print(f"{what}: AUC {answer}, n = {n} beats {bar}")


def transfer(other, data, results):
    turned = [one for one in results if one["turned"]]
    edited = np.stack([one["edited"] for one in turned])
    rows = np.array([one["row"] for one in turned])
    columns = np.array([one["class"] for one in turned])
    before = predicted_positive(predict(other, data.signals[rows]), other.info.thresholds)
    after = predicted_positive(predict(other, edited), other.info.thresholds)
    place = np.arange(len(turned)), columns
    shared = before[place]
    given_up = ~after[place][shared]
    say("transfer: turned by the other network too", given_up, data.patient_id[rows[shared]])
    chance = []
    for one, agrees in zip(turned, shared, strict=True):
        if agrees:
            drawn = random_doses(one["body"], one["found"], np.random.default_rng(0), N_RANDOM)
            again = predicted_positive(
                predict(other, one["body"].apply(drawn)), other.info.thresholds
            )
            chance.append(1 - again[:, one["class"]].mean())
    say("  random edits of the same size turn it", chance, data.patient_id[rows[shared]])


def planted(model, data, limits, results):
    """Chosen edits against what undoing the cause changes in the same heart."""
    lines = []
    for column in sorted({one["class"] for one in results}):
        label = model.info.labels[column]
        causes = [name for name in CAUSES if label in labels_of_statement(name, model.info.task)]
        own = [one for one in results if one["class"] == column and one["turned"]]
        if label == "NORM" or not own or not causes:
            continue
        ids = data.ecg_id[[one["row"] for one in own]]
        whole = measure_all(counterfactual(data.path, ids), data.sampling_rate, progress=False)
        changes = 0
        for cause in causes:
            without = counterfactual(data.path, ids, cause)
            changes = changes + measured_change(whole, without, data.sampling_rate)
        for place, one in enumerate(own):
            lines += planted_lines(label, one, changes.iloc[place], limits)
    table = pd.DataFrame(lines, columns=["label", "patient", "chosen", "chance", "dose", "change"])
    say("planted: share of the cost in planted waves", table["chosen"], table["patient"])
    say("  chance: share of available edits that are planted", table["chance"], table["patient"])
    say("  difference", table["chosen"] - table["chance"], table["patient"])
    agree = np.where(
        table["change"] != 0, np.sign(table["dose"]) == np.sign(table["change"]), np.nan
    )
    say("  direction of the largest edit is the planted one", agree, table["patient"])
    correlation = table["dose"].corr(table["change"], "spearman")
    print(f"  rank correlation of dose and planted change {correlation:.2f}")
    print(table.groupby("label")[["chosen", "chance"]].mean().round(2).to_string())


def measured_change(whole, without, sampling_rate):
    numbers = whole.select_dtypes("number")
    after = measure_all(without, sampling_rate, progress=False)[numbers.columns]
    return (after - numbers).fillna(0)


def planted_lines(label, one, change, limits):
    body, found = one["body"], one["found"]
    moved = np.array([np.mean([change[column] for column in edit.columns]) for edit in body.edits])
    is_planted = np.abs(moved) >= PLANTED * body.scale
    cost = np.abs(found.doses) / body.scale
    largest = cost.argmax()
    chosen = cost[is_planted].sum() / cost.sum()
    in_sd = found.doses[largest] / body.scale[largest], moved[largest] / body.scale[largest]
    return [(label, one["patient"], chosen, is_planted.mean(), *in_sd)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data_path", required=True, help="preprocessed data set")
    parser.add_argument("--model_path", required=True, help="run whose decisions are turned")
    parser.add_argument("--other", default=None, help="second run, for the transfer")
    parser.add_argument(
        "--stored",
        action="store_true",
        help="search nothing: only compare beats with those that counterfactuals.py wrote",
    )
    parser.add_argument("--per_class", type=int, default=15, help="true positives of each class")
    parser.add_argument("--folds", type=int, nargs="+", default=[10], help="held-out folds")
    parser.add_argument("--max_edits", type=int, default=6, help="changes combined at most")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.model_path, "cpu")
    whole = load_dataset_for(model.info, args.data_path)
    limits, data = limits_of(whole.table), whole.in_folds(args.folds)
    logits = predict(model, data.signals)
    if args.stored:
        results = stored(model, data, Path(args.model_path) / "counterfactual")
        say("validity", [one["turned"] for one in results], [one["patient"] for one in results])
        records(model, data, logits, results)
        return
    pairs = true_positives(model, data, logits, args.per_class)
    print(f"{args.model_path}, {args.data_path}, folds {args.folds}: {len(pairs)} true positives")
    results = search_all(model, data, limits, pairs, args.max_edits)
    validity(model, results)
    einthoven(results)
    doses(results, data.sampling_rate)
    records(model, data, logits, results)
    if args.other:
        transfer(load_model(args.other, "cpu"), data, results)
    if (Path(args.data_path) / PARAMETERS).is_file():
        planted(model, data, limits, results)


if __name__ == "__main__":
    main()
