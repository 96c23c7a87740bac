"""3. Global concept analysis (TCAV): which of the cardiologist's concepts are special in the model,
and which has it learnt?

Reads:  <data_path> (raw100.pkl, multihot_<task>.npy, ptbxl_database_enriched.csv) and a checkpoint.
Writes: <output_path>/<modelname>_<task>[_<run_name>]/tcav/: scores.csv, runs.csv, cavs.npz,
        quality.csv (flagged class records), figures, TensorBoard events.

CAVs are fitted on folds 1-8 and class records come from --folds (10), so never the same patient.
Per concept, layer and pathology: score, the share of the class's records whose logit grows along
the CAV, mean over --n_runs draws of random negatives (score_low, score_high: 95 % of the runs);
magnitude, the mean cosine of their gradients with the CAV; p, how rarely a pseudo-concept (the
flags dealt out anew among the patients, --n_null times) reaches the magnitude, two-sided; p_max_t,
corrected over layers and pathologies; p_corrected, over the concepts too. The smallest p_corrected
that can come out is (number of concepts) / (n_null + 1). The score is an effect, not a test:
gradients of one class are nearly the same for all records in upper layers, so random CAVs score
exactly 0 or 1 there in a large part of draws.

A concept can be special in a network that has learnt nothing. --control 20 holds the network, and
those of --seeds trained like it, against untrained ones and ones trained on labels dealt out anew:
`learnt` says learnt, special (in this network, perhaps in any) or neither, of each pair of concept
and pathology; p_control and p_control_corrected (max-T over the pairs) are the test's;
control_low, control_high the 95 % band of a cell's magnitude in untrained networks.

Example:
    python code/tcav_analysis.py --modeltype=lenet --model_checkpoint_path=path/to/model.ckpt
    --logdir=path/to/output/
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from common.cli import (
    EXPLAINING,
    StageParser,
    check_names,
    count,
    positive_int,
    run,
    say_left_out,
    say_results,
    select_device,
    stage_parser,
)
from common.files import UserError, sha256, write_csv
from common.labels import in_order, is_regression
from common.stage import Stage
from ecg.concepts import CONCEPTS
from networks.checkpoints import check_against, find_checkpoint, load_checkpoint, load_model
from networks.controls import MAX_EPOCHS, check_controls, controls
from networks.defaults import choose_pathologies, settle
from networks.inference import load_dataset_for
from records.dataset import TABLE, content_hash, parse_flags, shared_patients
from records.quality import write_flag_counts
from tcav.activations import POOLS, collect, layer_names
from tcav.analysis import Plan, analyse, layer_passes
from tcav.cav import CAVS, COORDINATES
from tcav.concept_sets import (
    MATCHES,
    concept_set,
    note_constant_within_classes,
    note_fixed,
    reason_against,
    relative_sets,
    strata_of,
)
from tcav.controls import MIN_SEEDS, check_seeds, compare, floor_in_words, in_words
from tcav.figures import write_figures
from tcav.tables import (
    ALPHA,
    apply_cavs,
    read_cavs,
    runs_table,
    scores_table,
    with_verdicts,
    write_cavs,
)

FIRST = {
    "summary_concept.png": "each concept's strongest layer for every pathology",
    "scores.csv": "every concept, layer and pathology with its score and p",
    "*.png": "a concept by layer and pathology",
}
FIRST_APPLIED = {
    "scores.csv": "the stored CAVs' scores on these records",
    "projections.csv": "where each record lies along each CAV",
    "quality.csv": "flagged records by class",
}
TRAINING_FOLDS = tuple(range(1, 9))


def get_args_parser() -> StageParser:
    """Options of this stage."""
    parser = stage_parser(
        __doc__,
        *EXPLAINING,
        "pathologies",
        "window",
        "control",
        folds={"help": "folds that class records come from, 9 or 10 (CAVs are fitted on 1-8)"},
        window={
            "help": "windows: activations averaged over windows of the whole record, on which "
            "concepts are judged; centre_crop: those of its middle, as in the paper"
        },
    )
    parser.add_list_argument(
        "--concepts",
        default=None,
        help="any True/False/blank columns of the enriched table "
        f"(default: those of {', '.join(CONCEPTS)} that have enough records)",
    )
    parser.add_list_argument(
        "--layers",
        default=None,
        help="names as in scores.csv (default: every module of lenet; "
        "stem, each block, pool and head of resnet and xresnet)",
    )
    parser.add_list_argument(
        "--relative",
        default=None,
        metavar="CONCEPT",
        help="two or more concepts, each also tested against the others' records (relative TCAV; "
        "default: none)",
    )
    parser.add_list_argument(
        "--match",
        default=[],
        help="draw negatives of equal label, age (decade), sex: any of "
        f"{', '.join(MATCHES)}; asks whether the concept matters beyond them (default: none)",
    )
    parser.add_argument(
        "--min_positives",
        type=positive_int,
        default=20,
        help="training records a concept needs on either side",
    )
    parser.add_argument(
        "--cav",
        choices=tuple(CAVS),
        default="means",
        help="difference of means (seconds), batched logistic "
        "regression (some ten times slower), scikit-learn's SGDClassifier or LinearSVC (slow: "
        "lower --n_null)",
    )
    parser.add_argument(
        "--pool",
        choices=POOLS,
        default="time",
        help="layers as their mean over time (default: beats are not "
        "aligned, so a position in time means nothing), or all values (none; as captum and the "
        "paper)",
    )
    parser.add_argument(
        "--coordinates",
        choices=COORDINATES,
        default=None,
        help="cosines where the training activations are "
        "white (default with --pool time), or in the layer's own coordinates, where few directions "
        "dominate",
    )
    parser.add_argument(
        "--n_runs",
        type=positive_int,
        default=30,
        help="draws of negatives per concept; spread needs at least 2",
    )
    parser.add_argument(
        "--n_null", type=count, default=1000, help="pseudo-concepts for p; 0: no test"
    )
    parser.add_argument(
        "--test_runs",
        type=positive_int,
        default=10,
        help="draws that the tested magnitude is averaged over, for concepts and pseudo-concepts "
        "alike",
    )
    parser.add_list_argument(
        "--seeds",
        default=[],
        metavar="CHECKPOINT",
        help="networks trained like this one with other seeds; nothing can be called learnt from "
        f"fewer than {MIN_SEEDS} networks, this one among them; with --control",
    )
    parser.add_argument(
        "--max_memory",
        type=float,
        default=4.0,
        metavar="GB",
        help="for activations and gradients; beyond it, layers are done in several passes over the "
        "records",
    )
    parser.add_argument(
        "--apply",
        default=None,
        metavar="CAVS.NPZ",
        help="no new CAVs: project the records of --folds on stored ones, score their classes -> "
        "tcav_applied/ (default: new CAVs)",
    )
    return parser


# ---------------------------------------------------------------- what is asked for, checked before
# anything runs


def _load(args):
    """Model, data set and where to work, all options checked against the checkpoint."""
    device = select_device(args)
    model = load_model(args.model_path, device)
    check_against(args, model.info)
    if is_regression(model.info.task):
        raise UserError(
            f"the model predicts amplitudes ({model.info.task}); TCAV needs one of a "
            "classification task"
        )
    check_names("matching", args.match, MATCHES)
    wrong = [fold for fold in args.folds if fold not in (9, 10)]
    if wrong and not args.apply:
        raise UserError(
            f"--folds {' '.join(map(str, wrong))}: CAVs are fitted on folds 1-8, class records "
            "come from 9 and 10"
        )
    check_names("layer", args.layers or [], layer_names(model))
    _check_comparison(args, model)
    place = settle(args, model.info, args.model_path)
    data = load_dataset_for(model.info, args.data_path, args.limit)
    return model, data, place


def _classes(args, model, evaluated):
    """Labels to score, in the order of figures, and their outputs; classes without records are
    named.
    """
    asked = choose_pathologies(args.pathologies, model.info)
    counts = {
        label: int((evaluated.labels[:, model.info.index(label)] > 0).sum()) for label in asked
    }
    empty = [label for label, n in counts.items() if n == 0]
    if len(empty) == len(asked):
        raise UserError(f"no record of {', '.join(empty)} in fold {' '.join(map(str, args.folds))}")
    say_left_out(dict.fromkeys(empty, f"no record in fold {' '.join(map(str, args.folds))}"))
    labels = in_order([label for label in asked if counts[label]], model.info.task)
    return (
        labels,
        [model.info.index(label) for label in labels],
        [counts[label] for label in labels],
    )


def _class_records(evaluated, labels, columns):
    """ecg_id of each class's records, whose gradients are taken."""
    return {
        label: evaluated.ecg_id[evaluated.labels[:, column] > 0]
        for label, column in zip(labels, columns, strict=True)
    }


def _concepts(args, training):
    """Concept sets that can be tested; asked-for ones that cannot are an error, default ones are
    named and left out.
    """
    asked = list(
        args.concepts
        or ([] if args.relative else [name for name in CONCEPTS if name in training.table])
    )
    strata = strata_of(training.table, training.labels, args.match)
    columns = {name: _flags(training, name) for name in [*asked, *(args.relative or [])]}
    sets = [
        concept_set(name, flags, training.patient_id, strata) for name, flags in columns.items()
    ]
    if args.relative:
        if len(set(args.relative)) < 2:
            raise UserError("--relative needs at least two concepts")
        sets += relative_sets(
            {name: columns[name] for name in args.relative}, training.patient_id, strata
        )
    kept, left_out = [], {}
    for concept in sets:
        reason = reason_against(concept, args.min_positives, null=args.n_null > 0)
        if reason and (args.concepts or args.relative):
            side = " against the others" if concept.against == "others" else ""
            raise UserError(f"concept {concept.name}{side} cannot be tested: {reason}")
        if reason:
            left_out[concept.name] = reason
        else:
            kept.append(concept)
            note_fixed(concept)
    say_left_out(left_out)
    if not kept:
        raise UserError(
            f"none of the concepts has {args.min_positives} positives and negatives in the "
            "training folds"
        )
    return kept


def _flags(training, name):
    if name not in training.table:
        usable = [c for c in training.table if c in CONCEPTS or c.startswith("decoy_")]
        raise UserError(
            f"unknown concept {name}: no such column in the enriched table; it has "
            f"{', '.join(usable)}"
        )
    return parse_flags(training.table, name)


def _plan(args, n_concepts):
    coordinates = args.coordinates or ("white" if args.pool == "time" else "plain")
    plan = Plan(
        args.cav, coordinates, args.n_runs, args.n_null, min(args.test_runs, args.n_runs), args.seed
    )
    plan.check(n_concepts)
    return plan


def _refuse_shared_patients(training, evaluated, folds):
    """UserError where CAVs and class records would come from the same patients."""
    shared = shared_patients(training, evaluated)
    if shared:
        raise UserError(
            f"{shared} have records in folds 1-8 and in fold {' '.join(map(str, folds))}: CAVs and "
            "class records must be of different patients; mend strat_fold"
        )


def _refuse_constant(args, model, training, layers):
    """UserError for layers that are the same for the first training records."""
    activations = collect(model, training.signals[:64], layers, args.window, args.pool)
    constant = [name for name, values in activations.items() if not np.ptp(values, axis=0).any()]
    if constant:
        raise UserError(
            f"constant, the same for all of {min(64, len(training))} training records: layer "
            f"{', '.join(constant)}; "
            "name the others with --layers"
        )


# ---------------------------------------------------------------- running


def _verdicts(args, model, data, place, outcomes, explain, plan, n_class):
    """What control networks and other seeds say of the concepts; see tcav/controls.py."""
    others = [load_model(path, select_device(args)) for path in args.seeds]
    made = ()
    if args.control:
        epochs = load_checkpoint(args.model_path)[0].get("epoch") or MAX_EPOCHS
        made = controls(
            place.run.parent,
            model.info,
            data,
            args.control,
            epochs=epochs,
            device=select_device(args),
            progress=True,
        )
        print(floor_in_words(1 + len(others), args.control))
    return compare(
        outcomes,
        others,
        made,
        lambda network, plan: explain(network, plan)[0],
        plan,
        n_class,
        select_device(args),
    )


def _check_comparison(args, model):
    """UserError for --seeds that are no other seeds of the explained network, or not used."""
    if args.seeds and not args.control:
        raise UserError("--seeds are held against control networks: add --control 20")
    check_seeds(model.info, [load_checkpoint(path)[1] for path in args.seeds])
    if args.control:
        check_controls(model.info)


def _write(stage, args, model, outcomes, means, labels, n_class, plan, checkpoint_hash, verdicts):
    scores = scores_table(
        outcomes,
        labels,
        n_class,
        plan,
        model.info.task,
        {name: concept.pathologies for name, concept in CONCEPTS.items()},
    )
    scores = with_verdicts(scores, verdicts)
    paths = [stage.folder / name for name in ("scores.csv", "runs.csv", "cavs.npz")]
    write_csv(paths[0], scores)
    write_csv(paths[1], runs_table(outcomes, labels))
    write_cavs(
        paths[2],
        outcomes,
        means,
        {
            "checkpoint": checkpoint_hash,
            "protocol": args.window,
            "pool": args.pool,
            "cav": args.cav,
            "coordinates": plan.coordinates,
        },
    )
    return scores, paths


def _draw(stage, path):
    """Figures from the table as it lies on disk, and scores and figures for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    scores = pd.read_csv(path, keep_default_na=False, na_values=[""])
    events = stage.folder / "tensorboard"
    shutil.rmtree(events, ignore_errors=True)
    with SummaryWriter(events) as writer:
        number = {layer: step for step, layer in enumerate(scores["layer"].drop_duplicates())}
        for row in scores.itertuples():
            writer.add_scalar(
                f"tcav_{row.run_kind}/{row.concept}/{row.pathology}", row.score, number[row.layer]
            )
        return write_figures(scores, stage.folder, writer=writer)


def _settings(args, model, labels, concepts, plan, checkpoint_hash):
    compared = {
        "control": args.control,
        "seeds": [sha256(find_checkpoint(path)) for path in args.seeds],
    }
    return {
        **(compared if args.control else {}),
        **vars(plan),
        "checkpoint": checkpoint_hash,
        "data": content_hash(args.data_path, model.info.sampling_rate),
        "concepts": [(c.name, c.against) for c in concepts],
        "labels": labels,
        "layers": args.layers or layer_names(model),
        "folds": args.folds,
        "limit": args.limit,
        "match": args.match,
        "protocol": args.window,
        "pool": args.pool,
    }


def _train_and_test(args, model, data, place):
    training, evaluated = data.in_folds(TRAINING_FOLDS), data.in_folds(args.folds)
    _refuse_shared_patients(training, evaluated, args.folds)
    labels, columns, n_class = _classes(args, model, evaluated)
    concepts = _concepts(args, training)
    families = [concept.against for concept in concepts]
    n_family = max(families.count("random"), families.count("others"))  # corrected together
    plan = _plan(args, n_family)
    note_constant_within_classes(concepts, training, labels, columns)
    layers = args.layers or layer_names(model)
    layer_passes(model, layers, len(training) + sum(n_class), plan, args.pool, args.max_memory)
    _refuse_constant(args, model, training, layers)
    if plan.n_null:
        print(
            f"{len(concepts)} concepts x {len(layers)} layers x {len(labels)} pathologies; "
            "smallest possible corrected p: "
            f"{plan.floor(n_family):.2g}"
        )
    checkpoint = find_checkpoint(args.model_path)
    checkpoint_hash = sha256(checkpoint)
    folder = place.run / "tcav"
    with Stage(
        folder,
        "tcav",
        _settings(args, model, labels, concepts, plan, checkpoint_hash),
        args.overwrite,
        place.facts,
    ) as stage:
        if stage.finished_before():
            return

        def explain(network, plan):
            return analyse(
                network,
                training,
                evaluated,
                concepts,
                columns,
                layers,
                plan,
                args.window,
                args.pool,
                args.max_memory,
                progress=True,
            )

        outcomes, means = explain(model, plan)
        verdicts = _verdicts(args, model, data, place, outcomes, explain, plan, n_class)
        scores, paths = _write(
            stage, args, model, outcomes, means, labels, n_class, plan, checkpoint_hash, verdicts
        )
        paths.append(
            write_flag_counts(folder, evaluated.table, _class_records(evaluated, labels, columns))
        )
        paths += _draw(stage, paths[0])
        counts = {
            "concepts": len(concepts),
            "layers": len(layers),
            "pathologies": len(labels),
            "training_records": len(training),
        }
        stage.finish([checkpoint, data.path / TABLE], paths, counts)
    found = scores[(scores["p_corrected"] < ALPHA) & scores["cav_valid"]]
    print(
        f"{len(found)} of {len(scores)} cells significant (corrected p < {ALPHA}), in "
        f"{found['concept'].nunique()} of {scores['concept'].nunique()} concepts"
    )
    if args.control:
        print("\n".join(in_words(scores)))
    say_results(folder, paths, FIRST)


def _apply(args, model, data, place):
    """Stored CAVs on the records of --folds."""
    checkpoint = find_checkpoint(args.model_path)
    stored = read_cavs(Path(args.apply), sha256(checkpoint))
    evaluated = data.in_folds(args.folds)
    labels, columns, _ = _classes(args, model, evaluated)
    folder = place.run / "tcav_applied"
    settings = {
        "cavs": sha256(args.apply),
        "folds": args.folds,
        "labels": labels,
        "limit": args.limit,
        "data": content_hash(args.data_path, model.info.sampling_rate),
    }
    with Stage(folder, "tcav_applied", settings, args.overwrite, place.facts) as stage:
        if stage.finished_before():
            return
        members = np.zeros((len(evaluated), len(model.info.labels)), dtype=bool)
        members[:, columns] = evaluated.labels[:, columns] > 0
        projections, scores = apply_cavs(
            stored, model, evaluated.signals, members, labels, columns, progress=True
        )
        names = [
            f"{concept}/{kind}"
            for concept, kind in zip(stored["concepts"], stored["run_kinds"], strict=True)
        ]
        table = pd.concat(
            [
                pd.DataFrame(values, columns=names).assign(ecg_id=evaluated.ecg_id, layer=layer)
                for layer, values in projections.items()
            ]
        )[["ecg_id", "layer", *names]]
        paths = [folder / "projections.csv", folder / "scores.csv"]
        write_csv(paths[0], table.round(6))
        write_csv(paths[1], scores)
        paths.append(
            write_flag_counts(folder, evaluated.table, _class_records(evaluated, labels, columns))
        )
        stage.finish([checkpoint, args.apply], paths, {"records": len(evaluated)})
    print(f"{len(names)} CAVs x {len(projections)} layers on {len(evaluated)} records")
    say_results(folder, paths, FIRST_APPLIED)


def refuse_training_options(args: argparse.Namespace) -> None:
    """UserError for options that choose CAVs: --apply takes those that are stored."""
    given = [
        f"--{name}"
        for name in ("concepts", "layers", "relative", "match", "control")
        if getattr(args, name)
    ]
    if given:
        raise UserError(
            f"{', '.join(given)}: --apply scores the stored CAVs as they are; leave this out, or "
            "leave out --apply"
        )


def main(args: argparse.Namespace) -> None:
    """Check what is asked, analyse, write, say where."""
    model, data, place = _load(args)
    if args.apply:
        refuse_training_options(args)
    (_apply if args.apply else _train_and_test)(args, model, data, place)


if __name__ == "__main__":
    run(main, get_args_parser())
