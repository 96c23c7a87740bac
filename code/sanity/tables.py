"""From the parts of a sanity run to its tables: checks.csv and those beside it."""

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
from sanity.parts import Check, Store
from sanity.standings import best_table, standings
from sanity.subject import COLUMNS, Subject, compare_to_best, summarise

Subjects = dict[str, list[Subject]]  # "model", "few" (of its records), "amplitude"


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


def seed_agreement(
    subject: Subject,
    seeds: list[Subject],
    explainers: dict[str, dict[str, Explainer]],
    store: Store,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Long table and glocal rows of every method over the model and its other seeds."""
    found, glocal = {}, []
    for name, explain in tqdm(
        explainers["full"].items(), desc="seeds", unit=" methods", disable=None
    ):
        maps = [store.maps(one, explain, "full") for one in (subject, *seeds)]
        found[name] = measure_between_seeds(subject, maps)
        glocal.append(glocal_agreement(subject, maps, name))
    return long_table(found), pd.concat(glocal, ignore_index=True)


def layer_scores(subjects: Subjects, store: Store, planted: Path | None) -> pd.DataFrame:
    """Long table of the Grad-CAM question on the amplitude models and on the planted causes."""
    from sanity.localisation import measure_layers, planted_reference, wave_truth

    tables = [
        long_table(measure_layers(subject, wave_truth(subject)))
        for subject in subjects["amplitude"]
    ]
    if planted is not None:
        subject = subjects["model"][0]
        truth = store.reference(
            "localisation", subject, lambda one: planted_reference(one, planted)
        )
        tables.append(
            long_table(measure_layers(subject, truth["mask"] & truth["passed"][:, None, None]))
        )
    return pd.concat(tables, ignore_index=True)


def build(
    records: pd.DataFrame | None,
    checks: dict[str, Check],
    subjects: Subjects,
    seeds: list[Subject],
    fits: list[pd.DataFrame],
    explainers: dict[str, dict[str, Explainer]],
    store: Store,
    planted: Path | None,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """All tables of a run by file name (without .csv)."""
    subject, tables, rows = subjects["model"][0], {}, list(fits)
    long = [records] if records is not None else []
    if "agreement" in checks:
        methods = tqdm(explainers["full"].items(), desc="agreement", unit=" methods", disable=None)
        maps = {name: store.maps(subject, explain, "full") for name, explain in methods}
        found, tables["agreement_pairs"] = measure_between_methods(subject, maps)
        long.append(long_table(found))
    if "seeds" in checks:
        of_seeds, glocal = seed_agreement(subject, seeds, explainers, store)
        long.append(of_seeds)
        rows.append(glocal)
    if "layers" in checks:
        long.append(layer_scores(subjects, store, planted))
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
        raise UserError(
            "nothing could be measured: no record passes the intervention gate (the model does not "
            "answer to the planted causes); train it longer, or choose other --checks"
        )
    from sanity.favours import favours_table, mark_favoured

    tables["checks"] = mark_favoured(pd.concat(rows, ignore_index=True)[COLUMNS])
    tables["favours"] = favours_table(tables["checks"])
    tables["details"] = summarise(everything[detail], seed)
    tables["comparisons"] = compare_to_best(everything[~detail], seed)
    tables["best"] = best_table(tables["comparisons"], tables["checks"])
    tables["standings"] = standings(tables["best"])
    return tables | tables_of_checks(everything, checks, subject, explainers, store)


def tables_of_checks(
    everything: pd.DataFrame,
    checks: dict[str, Check],
    subject: Subject,
    explainers: dict[str, dict[str, Explainer]],
    store: Store,
) -> dict[str, pd.DataFrame]:
    """Tables that some of the checks have of their own, by file name (without .csv)."""
    tables = {}
    if "axioms" in checks:
        from sanity.axioms import verdicts

        tables["axioms"] = verdicts(
            everything, {name: one.axioms for name, one in explainers["full"].items()}
        )
    if "dose_response" in checks:
        from sanity.dose_response import dose_reference, dose_table

        tables["dose_response"] = dose_table(
            subject, store.reference("dose_response", subject, dose_reference)
        )
    if "localisation" in checks:
        from sanity.localisation import gate_table

        truth = store.reference("localisation", subject, checks["localisation"].reference)
        tables["localisation_gate"] = gate_table(subject, truth)
    return tables


def broken_claims(axioms: pd.DataFrame) -> pd.DataFrame:
    """The rows of axioms.csv that a method claims and does not keep."""
    return axioms[axioms["claimed"] & ~axioms["kept"]] if len(axioms) else axioms


def read_broken(folder: str | Path) -> pd.DataFrame:
    """The broken claims of a finished run."""
    path = Path(folder) / "axioms.csv"
    return broken_claims(read_csv(path)) if path.is_file() else pd.DataFrame()
