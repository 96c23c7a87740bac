"""A run of discovery from what is asked to its tables and figures."""

import argparse
import contextlib
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from common.cli import say_left_out, say_results
from common.figure_files import SHOWN
from common.files import UserError, sha256, write_csv
from common.labels import slug
from common.stage import Stage
from networks.checkpoints import ModelInfo, find_checkpoint
from networks.defaults import Place
from networks.distributed import from_main, is_main, on_main, shared
from records.dataset import TABLE, content_hash
from records.quality import write_flag_counts
from records.segmentations import stored_segmentations
from subgroups.cohort import PAPERS_COHORT, Cohort, default_target, load_cohort
from subgroups.controls import against_networks, check_control
from subgroups.findings import (
    Discovered,
    Found,
    assign_clusters,
    cells_that_differ,
    choose_folds,
    cluster_names,
    judge_clusters,
    traits_of,
    what_separates,
)
from subgroups.representations import REPRESENTATIONS, Material

FIRST = {
    "embedding.png": "the records as points, clusters beside the labels",
    "enrichment.png": "what the clusters differ in",
    "table.csv": "agreement with the labels, structure, stability, each with its interval",
}


def answer(args: argparse.Namespace, model: nn.Module, place: Place) -> None:
    """Load the cohort and discover; a finished run says so."""
    info = model.info
    cohort = load_cohort(args.data_path, args.cohort, info, args.level, args.limit)
    target = args.target or default_target(cohort.names, cohort.level, info.labels)
    info.index(target)  # an unknown label is said before a folder is asked
    if args.control:
        check_control(model, cohort)
    folder = place.run / folder_of(cohort.names)
    settings = settings_of(args, info, cohort, target)
    of_stage = (folder, "discovery", settings, args.overwrite, place.facts, args.bare)
    with contextlib.ExitStack() as stack:
        stage = on_main(lambda: stack.enter_context(Stage(*of_stage)))
        if from_main(lambda: stage.finished_before()):
            return
        from_main(lambda: stage.clear(*SHOWN))
        discover(args, model, cohort, target, stage, place.run)


def folder_of(names: list[str]) -> str:
    """discovery/ for the paper's cohort, discovery_<names>/ for any other."""
    return (
        "discovery"
        if names == PAPERS_COHORT
        else "discovery_" + "_or_".join(slug(name) for name in names)
    )


def settings_of(args: argparse.Namespace, info: ModelInfo, cohort: Cohort, target: str) -> dict:
    """What the results depend on."""
    names = (
        "representations",
        "clusterer",
        "k",
        "k_max",
        "variance",
        "n_halvings",
        "n_resamples",
        "min_records",
        "folds",
        "embedding",
        "seed",
        "limit",
        "dpi",
    )
    return {
        "checkpoint": sha256(find_checkpoint(args.model_path)),
        "data": content_hash(args.data_path, info.sampling_rate),
        **stored_segmentations(args.data_path),
        "cohort": cohort.names,
        "level": cohort.level,
        "target": target,
        "method": args.methods[0],
        **{name: getattr(args, name) for name in names},
        **({"control": args.control} if args.control else {}),
    }


def discover(
    args: argparse.Namespace,
    model: nn.Module,
    cohort: Cohort,
    target: str,
    stage: Stage | None,
    run_folder: Path,
) -> None:
    """Compute everything for one cohort in all processes, write and draw it in the main one (which
    has the stage).
    """
    material = Material(cohort.data, model, model.info.index(target), args.methods[0])
    cohort, material = _with_beats(cohort, material)
    design = choose_folds(cohort, args.folds, model.info.folds["train"], args.min_records)
    print(
        f"{len(cohort.data)} records of {len(np.unique(cohort.data.patient_id))} patients with "
        f"{' or '.join(cohort.names)} as only {cohort.level} label; explained output: {target}; "
        f"{design.words}"
    )
    material.share_maps()
    features = {name: REPRESENTATIONS[name](material) for name in args.representations}
    assigned = shared(
        features.values(), lambda values: assign_clusters(values, cohort, design, args)
    )
    found = dict(zip(features, assigned, strict=True))
    traits = traits_of(cohort, model)
    table = pd.DataFrame(judge_clusters(found, features, cohort, design, traits, args))
    if args.control:
        table = against_networks(args, table, found, cohort, design, material, run_folder)
    if is_main():
        discovered = Discovered(cohort, design, material, target, traits, features, found)
        finish(args, stage, discovered, table)


def finish(args: argparse.Namespace, stage: Stage, one: Discovered, table: pd.DataFrame) -> None:
    """What separates the clusters; all tables and figures."""
    from subgroups import figures  # what draws is loaded when all is computed

    tables = {
        "table": table,
        "clusters": assignments(one),
        "enrichment": pd.DataFrame(
            what_separates(one.found, one.cohort, one.design, one.traits, args)
        ),
        "cells": pd.DataFrame(cells_that_differ(one.found, one.material, one.design)),
    }
    outputs = []
    for name, frame in tables.items():
        outputs.append(stage.folder / f"{name}.csv")
        write_csv(outputs[-1], frame)
    data = one.cohort.data
    outputs.append(write_flag_counts(stage.folder, data.table, groups(one)))
    outputs += figures.draw_all(stage.folder, args, one, table, tables["enrichment"])
    stage.finish(
        inputs=[find_checkpoint(args.model_path), data.path / TABLE],
        outputs=outputs,
        counts={"records": len(data), "reported": int(one.design.reported.sum())},
    )
    say(table, one.found)
    say_results(stage.folder, outputs, FIRST)


def _with_beats(cohort, material):
    """Leave out records without a complete beat, and say so."""
    keep = material.beats.counts > 0
    if not keep.all():
        ids = cohort.data.ecg_id[~keep]
        say_left_out({f"{len(ids)} records": f"no complete beat: {', '.join(map(str, ids[:20]))}"})
        if not keep.any():
            raise UserError("no record of the cohort has a complete beat")
        cohort = cohort.rows(keep)
        material = Material(cohort.data, material.model, material.target, material.method)
    return cohort, material


def groups(one: Discovered) -> dict[str, np.ndarray]:
    """ecg_id by label and by cluster, named as in the figures."""
    ids, labels = one.cohort.data.ecg_id, one.cohort.labels
    found = {name: ids[labels == name] for name in one.cohort.names}
    for name, result in one.found.items():
        for number, words in cluster_names(result, one.cohort, one.design).items():
            found[f"{name}, cluster {words}"] = ids[result.clusters == number]
    return found


def assignments(one: Discovered) -> pd.DataFrame:
    """clusters.csv: one row per record and representation."""
    base = pd.DataFrame(
        {
            "ecg_id": one.cohort.data.ecg_id,
            "patient_id": one.cohort.data.patient_id,
            "strat_fold": one.cohort.data.fold,
            "label": one.cohort.labels,
            "predicted": one.traits.predicted,
            "reported": one.design.reported,
        }
    )
    return pd.concat(
        [
            base.assign(representation=name, k=result.k, cluster=result.clusters)
            for name, result in one.found.items()
        ]
    )


def say(table: pd.DataFrame, found: dict[str, Found]) -> None:
    """The findings in words, one line per representation."""
    for name, result in found.items():
        rows = table[table["representation"] == name].set_index("metric")
        words = [
            f"{metric} {row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
            for metric, row in rows.iterrows()
            if metric in ("accuracy", "ari", "replication")
        ]
        print(f"  {name:21s} {result.words}" + (": " + ", ".join(words) if words else ""))
