"""From the parts of a sanity run to its tables: checks.csv and those beside it."""

from collections.abc import Collection
from dataclasses import replace
from itertools import product
from pathlib import Path

import pandas as pd
from torch import nn
from tqdm import tqdm

from attribution.methods import Explainer
from common.files import UserError, read_csv
from networks.distributed import dealt, wait_for_all
from networks.inference import predict
from records.dataset import Dataset
from sanity.agreement import glocal_agreement, measure_between_methods, measure_between_seeds
from sanity.parts import Job, Store
from sanity.standings import best_table, standings
from sanity.subject import COLUMNS, Subject, compare_to_best, summarise


def fit_of(model: nn.Module, data: Dataset) -> pd.DataFrame:
    """R2 and error of an amplitude model on all measured records of `data` (centre crop)."""
    from sanity.amplitude import amplitude_fit

    kept = data.rows(data.labelled)
    predicted = predict(model, kept.signals, "centre_crop")
    return amplitude_fit(
        model.info.run_folder_name, model.info.task, predicted, kept.labels, kept.patient_id
    )


def long_table(found: dict[str, list]) -> pd.DataFrame:
    """Measurements by method as one long table."""
    tables = []
    for method, measured in found.items():
        tables += [one.table().assign(method=method) for one in measured]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def seeds_of(subject: Subject, others: list[nn.Module]) -> list[Subject]:
    """The same records for the networks of other seeds."""
    return [
        replace(subject, model=other, name=f"{subject.name}-seed{number}")
        for number, other in enumerate(others, 1)
    ]


def map_seeds(seeds: list[Subject], explainers: dict[str, Explainer], store: Store) -> None:
    """Every method's maps of the networks of other seeds, which the processes share."""
    for one, explain in dealt(product(seeds, explainers.values())):
        store.maps(one, explain, "full")
    wait_for_all()


def seed_agreement(job: Job, seeds: list[Subject]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Long table and glocal rows of every method over the model and its other seeds."""
    found, glocal = {}, []
    for name, explain in tqdm(
        job.explainers["full"].items(), desc="seeds", unit=" methods", disable=None
    ):
        maps = [job.store.maps(one, explain, "full") for one in (job.subject, *seeds)]
        found[name] = measure_between_seeds(job.subject, maps)
        glocal.append(glocal_agreement(job.subject, maps, name))
    return long_table(found), pd.concat(glocal, ignore_index=True)


def layer_scores(job: Job) -> pd.DataFrame:
    """Long table of the Grad-CAM question on the amplitude models and on the planted causes."""
    from sanity.localisation import measure_layers, planted_reference, wave_truth

    measured = [measure_layers(one, wave_truth(one)) for one in job.subjects["amplitude"]]
    if job.planted is not None:
        truth = job.store.reference(
            "localisation", job.subject, lambda one: planted_reference(one, job.planted)
        )
        passed = truth["mask"] & truth["passed"][:, None, None]
        measured.append(measure_layers(job.subject, passed))
    return pd.concat(map(long_table, measured), ignore_index=True)


def build(
    job: Job, records: pd.DataFrame | None, seeds: list[Subject], seed: int
) -> dict[str, pd.DataFrame]:
    """All tables of a run by file name (without .csv), from the long table `records` of its
    parts, if it has any; UserError where nothing could be measured.
    """
    tables, rows = {}, list(job.fits)
    long = [records] if records is not None else []
    if "agreement" in job.checks:
        methods = tqdm(
            job.explainers["full"].items(), desc="agreement", unit=" methods", disable=None
        )
        maps = {name: job.store.maps(job.subject, explain, "full") for name, explain in methods}
        found, tables["agreement_pairs"] = measure_between_methods(job.subject, maps)
        long.append(long_table(found))
    if "seeds" in job.checks:
        of_seeds, glocal = seed_agreement(job, seeds)
        long.append(of_seeds)
        rows.append(glocal)
    if "layers" in job.checks:
        long.append(layer_scores(job))
    long = [table for table in long if len(table)]
    everything = (
        pd.concat(long, ignore_index=True)
        if long
        else pd.DataFrame(columns=[*COLUMNS, "detail", "best"])
    )
    detail = everything["detail"].astype(bool)
    rows = [
        table for table in (summarise(everything[~detail], seed), *rows) if len(table)
    ]  # an empty one has no types
    if not rows:
        raise UserError(f"nothing could be measured: {why_nothing(job.checks)}")
    from sanity.favours import favours_table, mark_favoured

    tables["checks"] = mark_favoured(pd.concat(rows, ignore_index=True)[COLUMNS])
    tables["favours"] = favours_table(tables["checks"])
    tables["details"] = summarise(everything[detail], seed)
    tables["comparisons"] = compare_to_best(everything[~detail], seed)
    tables["best"] = best_table(tables["comparisons"], tables["checks"])
    tables["standings"] = standings(tables["best"])
    return tables | tables_of_checks(job, everything)


def why_nothing(checks: Collection[str]) -> str:
    """Why none of the checks measured anything, and what would be right."""
    reasons = []
    if {"localisation", "layers"} & {*checks}:
        reasons.append(
            "no record passes the intervention gate (the model does not answer to the planted "
            "causes): train it longer, or choose other --checks"
        )
    if "agreement" in checks:
        reasons.append("agreement takes two --methods that are no controls")
    return "; ".join(reasons)


def tables_of_checks(job: Job, everything: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tables that some of the checks have of their own, by file name (without .csv)."""
    tables = {}
    if "axioms" in job.checks:
        from sanity.axioms import verdicts

        claims = {name: one.axioms for name, one in job.explainers["full"].items()}
        tables["axioms"] = verdicts(everything, claims)
    if "dose_response" in job.checks:
        from sanity.dose_response import dose_reference, dose_table

        answers = job.store.reference("dose_response", job.subject, dose_reference)
        tables["dose_response"] = dose_table(job.subject, answers)
    if "localisation" in job.checks:
        from sanity.localisation import gate_table

        compute = job.checks["localisation"].reference
        truth = job.store.reference("localisation", job.subject, compute)
        tables["localisation_gate"] = gate_table(job.subject, truth)
    return tables


def broken_claims(axioms: pd.DataFrame) -> pd.DataFrame:
    """The rows of axioms.csv that a method claims and does not keep."""
    return axioms[axioms["claimed"] & ~axioms["kept"]] if len(axioms) else axioms


def read_broken(folder: str | Path) -> pd.DataFrame:
    """The broken claims of a finished run."""
    path = Path(folder) / "axioms.csv"
    return broken_claims(read_csv(path)) if path.is_file() else pd.DataFrame()
