"""Does "learnt" hold? TCAV of many networks that have learnt nothing, of trained ones, and what
the test with control networks says of groups drawn from them.

    python tests/benchmarks/bench_controls.py collect FOLDER [--cohort 100] [--data_path D]
        [--untrained 60] [--permuted 40] [--relabelled 0] [--trained 10]
    python tests/benchmarks/bench_controls.py judge FOLDER... [--seeds 1 3 5 10] [--resamples 200]
        [--one_labelling]
    python tests/benchmarks/bench_controls.py decoys FOLDER [--first 300] [--cohorts 20]
        [--controls 20]
    python tests/benchmarks/bench_controls.py cost --data_path D [--modelname lenet]
        [--controls 20] [--kinds untrained permuted]

collect  magnitudes of every concept, layer and class, and those of pseudo-concepts, one file per
         network in FOLDER; goes on where it stopped
judge    rates over groups drawn at random: any pair called learnt where the group is of held-out
         untrained or label-permuted networks, or of `relabelled` ones, which share one permutation
         of the labels; planted pairs and decoys where it is of trained ones. --one_labelling asks
         for more than TCAV does: the group's mean, as one network, beyond every permuted control
decoys   one user a simulated cohort: five trained networks against the cohort's own controls;
         in how many cohorts a decoy is called learnt, and the planted pairs. FOLDER/<cohort> keeps
         the networks as `collect` does, but pseudo-concepts of the trained ones alone
cost     seconds of --controls controls of each kind
"""

import argparse
import os
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bench_tcav_validity import PLANTED, TASK, Prepared, simulate

from common.labels import LABEL_MAPPINGS, LEADS, associated
from ecg.concepts import CONCEPTS
from networks.checkpoints import ModelInfo
from networks.controls import CONTROLS, _trained, make_control, permute_labels, training_records
from networks.inference import predict
from networks.training import Recipe
from records.dataset import load_dataset, parse_flags
from tcav.activations import layer_names
from tcav.analysis import ALPHA
from tcav.cav import CAVS, Draws
from tcav.concept_sets import concept_set, draw, pseudo_flags, reason_against
from tcav.controls import MIN_CLASS, against_controls, told_apart, upper
from tcav.controls import judge as judge_group

N_NULL, RUNS, EPOCHS = 399, 5, 20
KINDS = (*CONTROLS, "relabelled", "trained")  # of networks
DECOY_SEEDS = 5  # trained networks of a cohort
PER_LABELLING = 5  # relabelled networks trained on the same permuted labels, with other seeds
FIRST_LABELLING = 100_000  # apart from those of the controls


# ---------------------------------------------------------------- networks and their magnitudes


def info_of(modelname: str = "lenet", seed: int = 0) -> ModelInfo:
    """A 2.5 s network for the subdiagnostic task, trained on folds 1-8."""
    folds = {"train": list(range(1, 9)), "validation": [9], "test": [10]}
    labels = tuple(LABEL_MAPPINGS[TASK])
    return ModelInfo(modelname, TASK, labels, LEADS, 100, 2.5, folds, seed)


def make(kind: str, seed: int, data) -> torch.nn.Module:
    """A network of the study: a control, or one trained by the same recipe on the true labels or,
    `relabelled`, on labels dealt out anew that PER_LABELLING seeds share, as those of a user do.
    """
    info = info_of(seed=seed)
    training = training_records(info, data)
    if kind in CONTROLS:
        return make_control(kind, info, training, seed, EPOCHS)
    if kind == "relabelled":
        training = dealt_anew(training, FIRST_LABELLING + seed // PER_LABELLING)
    model = _trained(info, training, Recipe(epochs=EPOCHS, seed=seed), "cpu")
    model.info = info
    return model


def dealt_anew(records, labelling: int):
    """Records with their labels dealt out anew among the patients."""
    labels = permute_labels(records.labels, records.patient_id, labelling)
    return replace(records, labels=labels)


def answers(model, kind: str, seed: int, data) -> dict[str, np.ndarray]:
    """What a network says of the held-out records of fold 10, and what its user would hold that
    against: labels dealt out anew too, where it was trained on such.
    """
    held = data.rows(data.labelled & (data.fold == 10))
    columns = held.labels.any(axis=0)
    if kind in ("permuted", "relabelled"):
        own = FIRST_LABELLING + seed // PER_LABELLING if kind == "relabelled" else seed
        held = dealt_anew(held, own)
    logits = predict(model, held.signals)[:, columns]
    return {"logits": logits, "truth": held.labels[:, columns], "patients": held.patient_id}


def concept_draws(data) -> dict[str, tuple]:
    """name -> draws of the concept (RUNS rows) and of its pseudo-concepts (N_NULL * RUNS rows)."""
    training = data.in_folds(range(1, 9))
    names = [name for name in training.table if name in CONCEPTS or name.startswith("decoy_")]
    found = {}
    for name in names:
        flags = parse_flags(training.table, name)
        concept = concept_set(name, flags, training.patient_id, np.zeros(len(training), int))
        if reason_against(concept, 20) is None:
            found[name] = (
                _draws(concept, np.tile(concept.flags, (RUNS, 1)), "runs", len(training)),
                _draws(concept, _pseudo(concept), "null", len(training)),
            )
    return found


def _pseudo(concept):
    flags = pseudo_flags(concept, N_NULL, concept.generator(0, "pseudo"))
    return np.repeat(flags, RUNS, axis=0)


def _draws(concept, flags, purpose, n):
    index, held = draw(concept, flags, concept.generator(0, purpose))
    rows = torch.from_numpy(concept.rows[index])
    return Draws(rows, torch.from_numpy(held), concept.size, n)


def magnitudes(model, data, draws, with_null=True) -> dict[str, np.ndarray]:
    """observed (concepts, layers, classes), and null (N_NULL, concepts, classes): of
    pseudo-concepts the mean over the upper layers, which are all that is tested.
    """
    prepared = Prepared(model, data)
    tested = prepared.layers[upper(prepared.layers)]
    observed, null = [], []
    for own, pseudo in draws.values():
        observed.append([_mean_magnitude(layer, own)[0] for layer in prepared.layers])
        if with_null:
            null.append(np.mean([_mean_magnitude(layer, pseudo) for layer in tested], axis=0))
    found = {
        "observed": np.array(observed, dtype=np.float32),
        "labels": np.array(prepared.labels),
        "n_class": prepared.n_class,
    }
    return found | {"null": np.stack(null, axis=1).astype(np.float32)} if with_null else found


def _mean_magnitude(layer, draws):
    """Mean over RUNS draws each of the magnitudes at a layer: (draws / RUNS, classes)."""
    cavs = torch.nn.functional.normalize(CAVS["means"](layer.x, draws), dim=1)
    products = (cavs @ layer.mean.T).numpy()
    return products.reshape(-1, RUNS, products.shape[1]).mean(axis=1)


def collect(args):
    """Files <kind>_<seed>.npz in the folder."""
    data = load_dataset(args.data_path, TASK) if args.data_path else simulate(1500, args.cohort)
    wanted = {kind: getattr(args, kind) for kind in KINDS}
    collect_in(Path(args.folders[0]), data, wanted, with_null=KINDS)


def collect_in(folder: Path, data, counts: dict[str, int], with_null) -> None:
    """The networks of each kind that the folder lacks; pseudo-concepts of those in `with_null`."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(seed, kind) for kind, count in counts.items() for seed in range(count)]
    draws = concept_draws(data)
    for seed, kind in sorted(wanted):
        path = folder / f"{kind}_{seed:03d}.npz"
        if path.is_file():
            continue
        started = time.perf_counter()
        model = make(kind, seed, data)
        made = time.perf_counter()
        found = magnitudes(model, data, draws, kind in with_null)
        found |= answers(model, kind, seed, data)
        np.savez(path, **found, concepts=np.array(list(draws)), layers=np.array(layer_names(model)))
        print(
            f"{path.name} made in {made - started:.1f} s, judged in "
            f"{time.perf_counter() - made:.1f} s",
            flush=True,
        )


# ---------------------------------------------------------------- what the test says of groups


def read(folder: str | Path) -> dict:
    """Networks of a folder by kind: name -> array over the networks, which are cells (concepts,
    layers, classes), pseudo-concepts (N_NULL, concepts, classes), logits and truth (records,
    classes); names of concepts and labels, records of the classes, patients.
    """
    found, stored = {}, {}
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path) as file:
            stored = dict(file)
        of_kind = found.setdefault(path.stem.split("_")[0], {})
        for name in ("observed", "null", "logits", "truth"):
            if name in stored:
                of_kind.setdefault(name, []).append(stored[name])
    networks = {
        kind: {name: np.stack(arrays) for name, arrays in parts.items()}
        for kind, parts in found.items()
    }
    names = {name: stored[name].tolist() for name in ("concepts", "labels", "n_class", "patients")}
    return {"networks": networks, **names}


def verdicts_on(study: dict, kind: str, n_group: int, rng: np.random.Generator, args):
    """Words (concepts, classes) on a group of networks drawn at random, against controls drawn from
    the others; None where there are too few.
    """
    n_controls = args.controls
    networks = study["networks"]
    order = {name: rng.permutation(len(of["observed"])) for name, of in networks.items()}
    if kind == "relabelled":
        labelling = rng.integers(len(order[kind]) // PER_LABELLING)
        order[kind] = PER_LABELLING * labelling + rng.permutation(PER_LABELLING)
    first = n_controls if kind in CONTROLS else 0
    group = order[kind][first : first + n_group]
    if len(group) < n_group or any(len(order[name]) < n_controls for name in CONTROLS):
        return None
    controls = {name: networks[name]["observed"][order[name][:n_controls]] for name in CONTROLS}
    of_group = {name: values[group] for name, values in networks[kind].items()}
    words = words_on(study, of_group, controls)
    if args.one_labelling:
        words[~beyond_labellings(study, of_group["observed"], controls["permuted"])] = "special"
    return words


def criteria_of(study: dict) -> np.ndarray:
    """(concepts, classes) bool: the concept is a criterion of the class."""
    return np.array(
        [
            [
                concept in CONCEPTS and associated(CONCEPTS[concept].pathologies, label, TASK)
                for label in study["labels"]
            ]
            for concept in study["concepts"]
        ]
    )


def beyond_labellings(study: dict, cells: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """(concepts, classes) bool: the mean of networks that share their labels, as one network, lies
    beyond each permuted control (max-T over the criteria of the classes; over all other pairs where
    some criterion does).
    """
    chosen = upper(range(cells.shape[2]))
    mean, controls = (
        values[:, :, chosen].mean(axis=2).reshape(len(values), -1)
        for values in (cells.mean(axis=0, keepdims=True), permuted)
    )
    criteria = criteria_of(study)
    tested = np.broadcast_to(np.array(study["n_class"]) >= MIN_CLASS, criteria.shape)
    found = np.zeros(criteria.size, dtype=bool)
    for pairs in (criteria & tested, ~criteria & tested):
        rows = np.flatnonzero(pairs)
        found[rows] = against_controls(mean[:, rows], controls[:, rows])[1] < ALPHA
        if not found.any():
            break
    return found.reshape(criteria.shape)


def words_on(study: dict, group: dict, controls: dict) -> np.ndarray:
    """Words (concepts, classes) on the networks of a group."""
    p_class = told_apart(group["logits"].mean(axis=0), group["truth"][0], study["patients"])
    null = group["null"].mean(axis=0)
    found = judge_group(
        group["observed"],
        null,
        controls,
        study["n_class"],
        asked_first=criteria_of(study),
        p_class=p_class,
    )
    return found.words


def judge(args):
    """Rates over groups: any pair learnt where nothing is, planted pairs and decoys."""
    for folder in args.folders:
        study = read(folder)
        counts = {kind: len(of["observed"]) for kind, of in study["networks"].items()}
        print(f"{folder}: {counts}, {args.resamples} groups a row, {args.controls} of each control")
        for n_group in args.seeds:
            for kind in (kind for kind in KINDS if kind in counts):
                rng = np.random.default_rng(n_group)
                drawn = [
                    verdicts_on(study, kind, n_group, rng, args) for _ in range(args.resamples)
                ]
                if drawn[0] is not None:
                    learnt = np.stack(drawn) == "learnt"
                    print(f"  S = {n_group}, {kind}: {_rates(study, learnt, kind)}", flush=True)


def _rates(study, learnt, kind):
    any_pair = learnt.any(axis=(1, 2)).mean()
    if kind != "trained":
        return f"any pair called learnt in {any_pair:.3f}"
    decoy = _decoys(study)
    words = [f"{learnt.sum(axis=(1, 2)).mean():.1f} pairs"]
    if decoy.any():
        words.append(f"any decoy {learnt[:, decoy].any(axis=(1, 2)).mean():.3f}")
    for concept, label in planted_in(study):
        row, column = study["concepts"].index(concept), study["labels"].index(label)
        words.append(f"{concept} -> {label} {learnt[:, row, column].mean():.2f}")
    return ", ".join(words)


def _decoys(study):
    return np.array([name.startswith("decoy_") for name in study["concepts"]])


def decoys(args):
    """Each simulated cohort asked as its user would: how many call a decoy learnt, how many find a
    planted pair (of those in which it is tested).
    """
    counts = {**dict.fromkeys(CONTROLS, args.controls), "trained": DECOY_SEEDS}
    with_decoy, found = 0, {}
    cohorts = range(args.first, args.first + args.cohorts)
    for cohort in cohorts:
        folder = Path(args.folders[0]) / str(cohort)
        if len(list(folder.glob("*.npz"))) < sum(counts.values()):
            collect_in(folder, simulate(1500, cohort), counts, with_null=("trained",))
        study = read(folder)
        controls = {kind: study["networks"][kind]["observed"] for kind in CONTROLS}
        words = words_on(study, study["networks"]["trained"], controls)
        with_decoy += (words[_decoys(study)] == "learnt").any()
        for concept, label in planted_in(study):
            word = words[study["concepts"].index(concept), study["labels"].index(label)]
            if word:
                found.setdefault(f"{concept} -> {label}", []).append(word == "learnt")
        print(f"  cohort {cohort}: {(words == 'learnt').sum()} pairs learnt", flush=True)
    planted = [f"{name} {sum(was)} of {len(was)}" for name, was in found.items()]
    print(
        f"{DECOY_SEEDS} networks against {args.controls} of each control: a decoy called learnt in "
        f"{with_decoy} of {len(cohorts)} cohorts; planted: {', '.join(planted)}"
    )


def planted_in(study: dict) -> list[tuple[str, str]]:
    """The planted pairs of concept and class that a study knows."""
    return [
        (concept, label)
        for concept, labels in PLANTED.items()
        for label in labels
        if concept in study["concepts"] and label in study["labels"]
    ]


def cost(args):
    """Seconds, by the clock and of the processor, of controls of each kind on the training records
    of a data set, and how busy the machine was.
    """
    info = info_of(args.modelname)
    training = training_records(info, load_dataset(args.data_path, TASK))
    for kind in args.kinds:
        started = time.perf_counter(), time.process_time()
        for seed in range(args.controls):
            make_control(kind, info, training, seed, EPOCHS)
        clock, processor = time.perf_counter() - started[0], time.process_time() - started[1]
        print(
            f"{args.controls} {kind} {args.modelname}, {len(training)} records, "
            f"{torch.get_num_threads()} threads: {clock:.0f} s, {processor:.0f} s of processor, "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


STUDIES = {"collect": collect, "judge": judge, "decoys": decoys, "cost": cost}


def main():
    """Run one study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--data_path")
    parser.add_argument("--cohort", type=int, default=100)
    parser.add_argument("--untrained", type=int, default=60)
    parser.add_argument("--permuted", type=int, default=40)
    parser.add_argument("--relabelled", type=int, default=0)
    parser.add_argument("--trained", type=int, default=10)
    parser.add_argument("--one_labelling", action="store_true")
    parser.add_argument("--first", type=int, default=300)
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--modelname", default="lenet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3, 5, 10])
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--controls", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", choices=CONTROLS, default=list(CONTROLS))
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    args = parser.parse_args()
    STUDIES[args.study](args)


if __name__ == "__main__":
    main()
