"""What a TCAV run is asked: which records, classes, concepts and layers; everything that can be
wrong with it is said before anything runs.
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from torch import nn

from common.cli import say_left_out
from common.files import UserError
from common.labels import in_order
from ecg.concepts import CONCEPTS
from networks.checkpoints import ModelInfo
from networks.defaults import choose_pathologies
from records.dataset import Dataset, parse_flags, shared_patients
from records.tasks import check_classes
from tcav.activations import collect, layer_names
from tcav.analysis import Plan, layer_passes
from tcav.concept_sets import (
    ConceptSet,
    concept_set,
    note_constant_within_classes,
    note_fixed,
    reason_against,
    relative_sets,
    strata_of,
)

TRAINING_FOLDS = tuple(range(1, 9))


@dataclass(frozen=True)
class Classes:
    """The labels that are scored, in the order of figures.

    labels   their names
    columns  the model's output of each
    counts   records of each among those that are evaluated
    """

    labels: list[str]
    columns: list[int]
    counts: list[int]

    def records(self, evaluated: Dataset) -> dict[str, np.ndarray]:
        """ecg_id of each class's records, whose gradients are taken."""
        return {
            label: evaluated.ecg_id[evaluated.labels[:, column] > 0]
            for label, column in zip(self.labels, self.columns, strict=True)
        }


@dataclass(frozen=True)
class Question:
    """All that is asked of a network.

    training   records that CAVs are fitted on
    evaluated  records whose gradients are taken
    """

    training: Dataset
    evaluated: Dataset
    classes: Classes
    concepts: list[ConceptSet]
    layers: list[str]
    plan: Plan


def ask(args: argparse.Namespace, model: nn.Module, data: Dataset) -> Question:
    """What the options ask of a network and a data set, said in a line; UserError where it cannot
    be answered.
    """
    training, evaluated = data.in_folds(TRAINING_FOLDS), data.in_folds(args.folds)
    check_patients(training, data, args.folds)
    classes = classes_of(args, model.info, evaluated)
    concepts = concepts_of(args, training)
    families = [concept.against for concept in concepts]
    n_family = max(families.count("random"), families.count("others"))  # corrected together
    plan = plan_of(args, n_family)
    note_constant_within_classes(concepts, training, classes.labels, classes.columns)
    layers = args.layers or layer_names(model)
    n_rows = len(training) + sum(classes.counts)
    layer_passes(model, layers, n_rows, plan, args.pool, args.max_memory)
    refuse_constant(args, model, training, layers)
    if plan.n_null:
        print(
            f"{len(concepts)} concepts x {len(layers)} layers x {len(classes.labels)} pathologies; "
            f"smallest possible corrected p: {plan.floor(n_family):.2g}"
        )
    return Question(training, evaluated, classes, concepts, layers, plan)


def check_patients(training: Dataset, data: Dataset, folds: list[int]) -> None:
    """Say where class records come from training folds, as was asked for; UserError where other
    folds share patients with those.
    """
    seen = sorted({*folds} & {*TRAINING_FOLDS})
    if seen:
        print(
            f"note: class records of fold {', '.join(map(str, seen))} are in, on which CAVs are "
            "fitted and models usually trained: their scores are not held out",
            file=sys.stderr,
        )
    others = sorted({*folds} - {*TRAINING_FOLDS})
    shared = shared_patients(training, data.in_folds(others))
    if shared:
        raise UserError(
            f"{shared} have records in folds 1-8 and in fold {' '.join(map(str, others))}: CAVs "
            "and class records must be of different patients; mend strat_fold"
        )


def classes_of(args: argparse.Namespace, info: ModelInfo, evaluated: Dataset) -> Classes:
    """The classes that have records; those without are named and left out, UserError where that is
    all.
    """
    asked = choose_pathologies(args.pathologies, info)
    counts = {label: int((evaluated.labels[:, info.index(label)] > 0).sum()) for label in asked}
    empty = [label for label, n in counts.items() if n == 0]
    folds = " ".join(map(str, args.folds))
    if len(empty) == len(asked):
        raise UserError(f"no record of {', '.join(empty)} in fold {folds}")
    say_left_out(dict.fromkeys(empty, f"no record in fold {folds}"))
    labels = in_order([label for label in asked if counts[label]], info.task)
    columns = [info.index(label) for label in labels]
    return Classes(labels, columns, [counts[label] for label in labels])


def concepts_of(args: argparse.Namespace, training: Dataset) -> list[ConceptSet]:
    """Concept sets that can be tested; asked-for ones that cannot are an error, default ones are
    named and left out.
    """
    kept, left_out = [], {}
    for concept in _asked_sets(args, training):
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


def _asked_sets(args, training):
    """Concept sets of --concepts and --relative, or of all the concepts that the table has."""
    asked = list(args.concepts or [])
    if not asked and not args.relative:
        asked = [name for name in CONCEPTS if name in training.table]
    strata = strata_of(training.table, training.labels, args.match)
    columns = {name: _flags(training, name) for name in [*asked, *(args.relative or [])]}
    check_classes(columns, "--concepts", ("concept", "concepts"))  # figures are named by them
    sets = [
        concept_set(name, flags, training.patient_id, strata) for name, flags in columns.items()
    ]
    if args.relative:
        if len(set(args.relative)) < 2:
            raise UserError("--relative needs at least two concepts")
        among = {name: columns[name] for name in args.relative}
        sets += relative_sets(among, training.patient_id, strata)
    return sets


def _flags(training, name):
    if name not in training.table:
        usable = [c for c in training.table if c in CONCEPTS or c.startswith("decoy_")]
        newer = ""
        if name in CONCEPTS:
            from records.origin import to_make

            newer = f"; {name} is newer than the table: {to_make(training.path)}"
        raise UserError(
            f"unknown concept {name}: no such column in the enriched table; it has "
            f"{', '.join(usable)}{newer}"
        )
    return parse_flags(training.table, name)


def plan_of(args: argparse.Namespace, n_concepts: int) -> Plan:
    """How scores are made and tested; UserError where nothing could come out."""
    coordinates = args.coordinates or ("white" if args.pool == "time" else "plain")
    test_runs = min(args.test_runs, args.n_runs)
    plan = Plan(args.cav, coordinates, args.n_runs, args.n_null, test_runs, args.seed)
    plan.check(n_concepts)
    return plan


def refuse_constant(
    args: argparse.Namespace, model: nn.Module, training: Dataset, layers: list[str]
) -> None:
    """UserError for layers that are the same for the first training records."""
    activations = collect(model, training.signals[:64], layers, args.window, args.pool)
    constant = [name for name, values in activations.items() if not np.ptp(values, axis=0).any()]
    if constant:
        raise UserError(
            f"constant, the same for all of {min(64, len(training))} training records: layer "
            f"{', '.join(constant)}; name the others with --layers"
        )
