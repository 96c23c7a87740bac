"""What TCAV found, as tables and arrays: scores.csv, runs.csv, cavs.npz, and what stored CAVs say
of other records.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from common.files import UserError, read_npz, write_npz
from common.labels import associated, superclass
from common.stats import wilson_interval
from tcav.activations import class_gradients, collect, layer_groups
from tcav.analysis import (
    ALPHA,
    Outcome,
    Plan,
    correct_over_concepts,
    mean_accuracy,
    p_values,
    sign_counts,
    tested_magnitudes,
)
from tcav.controls import Verdicts

# what the negatives are -> run_kind of the tables
RUN_KINDS = {"random": "concept", "others": "relative"}
DIGITS = 6


# ---------------------------------------------------------------- tables


def scores_table(
    outcomes: Sequence[Outcome],
    labels: Sequence[str],
    n_class: Sequence[int],
    plan: Plan,
    task: str,
    pathologies: dict[str, Sequence[str]],
) -> pd.DataFrame:
    """One row per concept, run kind, layer and pathology; what the columns say: docs/stages.md."""
    frames = []
    for against, run_kind in RUN_KINDS.items():
        family = [outcome for outcome in outcomes if outcome.concept.against == against]
        if family:
            tests = _test_family(family, plan)
            frames += [
                _scores(
                    outcome,
                    test,
                    run_kind,
                    labels,
                    n_class,
                    plan,
                    task,
                    pathologies.get(outcome.concept.name, ()),
                    plan.floor(len(family)),
                )
                for outcome, test in zip(family, tests, strict=True)
            ]
    return pd.concat(frames, ignore_index=True)


def with_verdicts(scores: pd.DataFrame, verdicts: dict[str, Verdicts]) -> pd.DataFrame:
    """scores.csv with what the control networks say of each pair of concept and pathology.

    p_control, p_control_corrected and `learnt` (learnt, special, neither, not asked; see
    tcav/controls.py) are of the pair, the same in all its layers; p_class is of the pathology: do
    the networks tell it apart in held-out patients? control_low, control_high is the 95 % band of
    the cell's magnitude in untrained networks. `verdicts` is per kind of negatives.
    """
    parts = []
    for against, found in verdicts.items():
        shape = found.low.shape  # (concepts, layers, classes), the order of the rows
        of_pairs = {
            "p_control": found.p,
            "p_control_corrected": found.p_corrected,
            "learnt": found.words,
            "p_class": np.broadcast_to(found.p_class, found.p.shape),
        }
        columns = {
            name: np.broadcast_to(values[:, None], shape).ravel()
            for name, values in of_pairs.items()
        }
        columns |= {"control_low": found.low.ravel(), "control_high": found.high.ravel()}
        counts = {"n_trained": found.n_trained, "n_controls": found.n_controls}
        family = scores[scores["run_kind"] == RUN_KINDS[against]]
        parts.append(family.assign(**columns, **counts).round(DIGITS))
    return pd.concat(parts, ignore_index=True)


def _test_family(family, plan):
    """(p, p_max_t, p_corrected), each (layers, classes), of every concept; NaN without a null."""
    if not plan.n_null:
        blank = [np.full((len(o.layers), o.magnitudes[0].shape[1]), np.nan) for o in family]
        return [(values, values, values) for values in blank]
    tests = [
        p_values(tested_magnitudes(outcome, plan), np.stack(outcome.null, axis=1))
        for outcome in family
    ]
    corrected = correct_over_concepts([test.p_max_t for test in tests])
    return [(test.p, test.p_max_t, values) for test, values in zip(tests, corrected, strict=True)]


def _scores(outcome, test, run_kind, labels, n_class, plan, task, pathologies, floor):
    concept, rows = outcome.concept, []
    tail = (2.5, 97.5)
    for number, layer in enumerate(outcome.layers):
        scores, magnitudes = outcome.scores[number], outcome.magnitudes[number]
        judged = _accuracy(outcome, number, plan)
        in_null_sds = _in_null_sds(outcome, number, plan)
        for column, label in enumerate(labels):
            low, high = np.percentile(scores[:, column], tail)
            magnitude_low, magnitude_high = np.percentile(magnitudes[:, column], tail)
            rows.append(
                {
                    "concept": concept.name,
                    "run_kind": run_kind,
                    "layer": layer,
                    "pathology": label,
                    "superclass": superclass(label, task),
                    "associated": associated(pathologies, label, task),
                    "score": scores[:, column].mean(),
                    "score_low": low,
                    "score_high": high,
                    "magnitude": magnitudes[:, column].mean(),
                    "magnitude_low": magnitude_low,
                    "magnitude_high": magnitude_high,
                    "magnitude_z": in_null_sds[column],
                    **judged,
                    **{
                        name: values[number, column]
                        for name, values in zip(("p", "p_max_t", "p_corrected"), test, strict=True)
                    },
                    "p_floor": floor if plan.n_null else np.nan,
                    "n_positive": int(concept.flags.sum()),
                    "n_negative": int((~concept.flags).sum()),
                    "n_drawn": concept.size,
                    "n_class": n_class[column],
                    "n_runs": plan.n_runs,
                    "n_null": plan.n_null,
                }
            )
    return pd.DataFrame(rows).round(DIGITS)


def _in_null_sds(outcome, number, plan):
    """(classes,) the tested magnitude in standard deviations of its null, from the null's mean; NaN
    without a null.
    """
    tested = outcome.magnitudes[number][: plan.test_runs].mean(axis=0)
    if not plan.n_null:
        return np.full(len(tested), np.nan)
    null = outcome.null[number]
    spread = np.maximum(null.std(axis=0, ddof=1), np.finfo(float).tiny)
    return (tested - null.mean(axis=0)) / spread


def _accuracy(outcome, number, plan):
    """Held-out accuracy with its interval, and whether it beats that of pseudo-concepts."""
    runs = outcome.accuracies[number]
    mean = mean_accuracy(runs)
    # every record is judged in about a third of the runs; the independent ones are the distinct
    # patients drawn from
    n = min(2 * outcome.concept.size, len(np.unique(outcome.concept.patients)))
    low, high = wilson_interval(float(mean), n)
    if plan.n_null:
        null = outcome.null_accuracies[number]
        null, tested = null[np.isfinite(null)], mean_accuracy(runs[: plan.test_runs])
        random = np.quantile(null, 1 - ALPHA) if len(null) else np.nan
        valid = (1 + (null >= tested).sum()) / (1 + len(null)) <= ALPHA and np.isfinite(tested)
    else:
        random, valid = np.nan, low > 0.5
    return {
        "cav_accuracy": mean,
        "cav_accuracy_low": low,
        "cav_accuracy_high": high,
        "random_accuracy": random,
        "cav_valid": bool(valid),
    }


def runs_table(outcomes: Sequence[Outcome], labels: Sequence[str]) -> pd.DataFrame:
    """One row per concept, run kind (concept, relative, random), layer, run and pathology."""
    frames = []
    for outcome in outcomes:
        for number, layer in enumerate(outcome.layers):
            lists = (outcome.scores, outcome.magnitudes, outcome.accuracies)
            runs = {RUN_KINDS[outcome.concept.against]: [values[number] for values in lists]}
            if outcome.random:
                runs["random"] = outcome.random[number]
            frames += [
                _run_rows(outcome.concept.name, layer, kind, *values, labels)
                for kind, values in runs.items()
            ]
    return pd.concat(frames, ignore_index=True)


def _run_rows(concept, layer, kind, scores, magnitudes, accuracies, labels):
    n_runs = len(scores)
    return pd.DataFrame(
        {
            "concept": concept,
            "run_kind": kind,
            "layer": layer,
            "pathology": list(labels) * n_runs,
            "run": np.repeat(np.arange(n_runs), len(labels)),
            "score": scores.ravel(),
            "magnitude": magnitudes.ravel(),
            "cav_accuracy": np.repeat(accuracies, len(labels)),
        }
    ).round(DIGITS)


# ---------------------------------------------------------------- CAVs, stored and applied


def write_cavs(
    path: Path, outcomes: Sequence[Outcome], means: dict[str, np.ndarray], settings: dict[str, str]
) -> None:
    """cavs.npz: `concepts`, `run_kinds`, `layers`, the settings, and per layer `cav/<layer>`
    (concepts, D) of unit length and `mean/<layer>` (D,), the mean training activation that
    projections are measured from.
    """
    arrays = {}
    for number, layer in enumerate(outcomes[0].layers):
        cavs = np.stack([outcome.cavs[number] for outcome in outcomes])
        arrays[f"cav/{layer}"] = cavs.astype(np.float32)
    write_npz(
        path,
        concepts=np.array([outcome.concept.name for outcome in outcomes]),
        run_kinds=np.array([RUN_KINDS[outcome.concept.against] for outcome in outcomes]),
        layers=np.array(outcomes[0].layers),
        **{key: np.array(value) for key, value in settings.items()},
        **arrays,
        **{f"mean/{layer}": values for layer, values in means.items()},
    )


def read_cavs(path: Path, checkpoint_hash: str) -> dict[str, np.ndarray]:
    """Stored CAVs; UserError where they are none, or of another checkpoint."""
    stored = read_npz(path)
    if not {"concepts", "run_kinds", "layers", "checkpoint", "protocol", "pool"} <= set(stored):
        raise UserError(f"{path} holds no CAVs of tcav_analysis.py")
    if str(stored["checkpoint"]) != checkpoint_hash:
        raise UserError(
            f"the CAVs of {path} belong to another checkpoint: give the one they were made with as "
            "--model_path"
        )
    return stored


def apply_cavs(
    stored: dict,
    model: torch.nn.Module,
    signals: np.ndarray,
    members: np.ndarray,
    labels: Sequence[str],
    columns: Sequence[int],
    max_memory: float = 4.0,
    progress: bool = False,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Stored CAVs on other records (N, T, 12) mV.

    Returns per layer the projections (N, concepts) of the activations on the CAVs, and a table of
    scores and magnitudes (`magnitude_plain`: cosine in the layer's own coordinates, where
    scores.csv of `tcav/` has it in white ones by default) of each class's records: `members` (N,
    classes), `columns` their outputs. Layers beyond `max_memory` (GB) are done in several passes.
    """
    sizes = {layer: stored[f"cav/{layer}"].shape[1] for layer in stored["layers"].tolist()}
    options = {"protocol": str(stored["protocol"]), "pool": str(stored["pool"])}
    n_vectors = 2 * (len(signals) + int(members.sum()))  # as they are, and scaled
    projections, tables = {}, []
    for group in layer_groups(sizes, n_vectors, max_memory * 1e9):
        activations = collect(model, signals, group, **options, progress=progress)
        gradients = class_gradients(model, signals, members, group, **options, progress=progress)
        for layer in group:
            cavs = stored[f"cav/{layer}"]
            away = activations.pop(layer) - stored[f"mean/{layer}"]
            projections[layer] = away @ cavs.T
            own = [gradients[column].pop(layer) for column in columns]
            tables.append(_applied(stored, layer, own, labels))
    return projections, pd.concat(tables, ignore_index=True)


def _applied(stored, layer, gradients, labels):
    """Scores and magnitudes of one layer's stored CAVs for gradients (n_c, D) of each class."""
    cavs = torch.from_numpy(stored[f"cav/{layer}"])
    turned = [
        torch.nn.functional.normalize(torch.from_numpy(values), dim=1) for values in gradients
    ]
    scores = sign_counts(turned, cavs).numpy()
    magnitudes = np.stack([(values.mean(dim=0) @ cavs.T).numpy() for values in turned], axis=1)
    n_concepts = len(cavs)
    return pd.DataFrame(
        {
            "concept": np.repeat(stored["concepts"], len(labels)),
            "run_kind": np.repeat(stored["run_kinds"], len(labels)),
            "layer": layer,
            "pathology": list(labels) * n_concepts,
            "score": scores.ravel().astype(float),
            "magnitude_plain": magnitudes.ravel().astype(float),
            "n_class": [len(values) for values in turned] * n_concepts,
        }
    ).round(DIGITS)
