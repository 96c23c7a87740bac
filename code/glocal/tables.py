"""Tidy tables of glocal groups: segments.csv, beats.csv, groups.csv, records.csv, contrast.csv,
scorecard.csv.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from attribution.cards import Card
from attribution.methods import get_method
from common.files import write_csv
from common.labels import LEADS
from common.stats import holm, patient_weights
from common.words import CONTROLS
from ecg.beats import window_times
from ecg.segments import SEGMENTS
from ecg.textbook import rules_table
from glocal.controls import with_controls
from glocal.groups import Group
from glocal.job import Job
from glocal.maps import contrast, segment_table
from glocal.scorecard import card_places, group_shares, lift_interval, permuted_cards, score

# only the sign of such a method is that of a voltage that raises the logit, as rules have it
PER_VOLTAGE = "logit per mV"


def segments_csv(
    groups: list[Group], methods: Sequence[str], n_resamples: int, seed: int
) -> pd.DataFrame:
    """Every map: pathology, method, lead, segment, density, share, low, high, rank, ... (see
    glocal.segment_table).
    """
    tables = []
    for group in groups:
        for method in methods:
            jittered = group.jittered.get(method, ())
            table = segment_table(group.cells[method], n_resamples, seed, jittered=jittered)
            table.insert(0, "pathology", group.pathology)
            table.insert(1, "method", method)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def cells_of(segments: pd.DataFrame, pathology: str, method: str) -> dict[str, np.ndarray]:
    """Columns of one map of segments_csv as (12, 24) arrays."""
    one = segments[(segments["pathology"] == pathology) & (segments["method"] == method)]
    return {
        name: one[name].to_numpy(dtype=float, na_value=np.nan).reshape(len(LEADS), len(SEGMENTS))
        for name in one.columns[4:]
    }


def beats_csv(groups: list[Group], methods: Sequence[str]) -> pd.DataFrame:
    """Every beat: pathology, method, lead, time (ms), median, low, high (mV), relevance (mean |a|),
    signed (mean a).
    """
    tables = []
    for group in groups:
        median, low, high = (curve.T.ravel() for curve in group.median_beat())  # (12 L,)
        times = window_times(group.data.sampling_rate)
        for method in methods:
            tables.append(
                pd.DataFrame(
                    {
                        "pathology": group.pathology,
                        "method": method,
                        "lead": np.repeat(LEADS, len(times)),
                        "time": np.tile(times, len(LEADS)),
                        "median": median,
                        "low": low,
                        "high": high,
                        "relevance": group.heat[method].T.ravel(),
                        "signed": group.signed_heat[method].T.ravel(),
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def groups_csv(groups: list[Group], labels: Sequence[str]) -> pd.DataFrame:
    """Who the groups are: pathology, label, share that has it, mean predicted probability, and the
    group's counts.
    """
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "pathology": group.pathology,
                    "label": labels,
                    "share": group.data.labels.mean(axis=0),
                    "probability": group.probability.mean(axis=0),
                    "n_records": len(group.rows),
                    "n_patients": group.n_patients,
                    "n_beats": len(group.beats),
                }
            )
            for group in groups
        ],
        ignore_index=True,
    )


def records_csv(groups: list[Group], labels: Sequence[str]) -> pd.DataFrame:
    """The records of each group, in the strategy's order of logits."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "pathology": group.pathology,
                    "ecg_id": group.data.ecg_id,
                    "patient_id": group.data.patient_id,
                    "fold": group.data.fold,
                    "logit": group.logit,
                    "probability": group.probability[:, list(labels).index(group.pathology)],
                    "n_beats": group.beats.counts,
                }
            )
            for group in groups
        ],
        ignore_index=True,
    )


def contrasts_csv(
    pairs: list[tuple[Group, Group]], methods: Sequence[str], n_permutations: int, seed: int
) -> pd.DataFrame:
    """Difference of each pair of groups per method and cell, p and Holm's p over the 288 cells of a
    map.
    """
    return pd.concat(
        [
            _contrast(first, second, method, n_permutations, seed)
            for (first, second), method in product(pairs, methods)
        ],
        ignore_index=True,
    )


def _contrast(first, second, method, n_permutations, seed):
    found = contrast(first.cells[method], second.cells[method], n_permutations, seed)
    counts = {name: found.pop(name) for name in ("n_first", "n_second", "n_both")}
    found["p_holm"] = holm(found["p"])
    return pd.DataFrame(
        {
            "first": first.pathology,
            "second": second.pathology,
            "target": first.pathology,
            "method": method,
            "lead": np.repeat(LEADS, len(SEGMENTS)),
            "segment": np.tile(SEGMENTS, len(LEADS)),
            "density_first": found.pop("first").ravel(),
            "density_second": found.pop("second").ravel(),
            **{name: values.ravel() for name, values in found.items()},
            **counts,
        }
    )


# ---------------------------------------------------------------- scorecard


def scorecard_csv(
    groups: list[Group],
    cards: dict[str, Card],
    methods: Sequence[str],
    n_resamples: int,
    n_permutations: int,
    seed: int,
) -> pd.DataFrame:
    """Every map against every card: lift, p, ... (see scorecard.score); `own` marks a pathology's
    own card.

    p_holm is p_neighbours corrected over the own cards of one method; over_amplitude is the lift
    over that of the input_magnitude control; rank is the card's place among the cards by this map's
    lift, and rank_stability the share of jitters of the waves' boundaries in which it keeps it.
    """
    permuted = {
        name: permuted_cards(card.cells, n_permutations, seed) for name, card in cards.items()
    }
    rows = []
    for group in groups:
        weights = patient_weights(group.data.patient_id, n_resamples, seed).astype(float)
        control = group.cells["input_magnitude"]
        for method in methods:
            maps = group.cells[method]
            if (
                not maps.explained.any()
            ):  # a rectified map may be zero in all records: it has no shares to score
                print(
                    f"no scorecard for {method} of {group.pathology}: its maps are zero everywhere",
                    file=sys.stderr,
                )
                continue
            places = card_places(cards, group_shares(maps), group.jittered.get(method, ()))
            for name, card in cards.items():
                entry = score(maps, card, weights, permuted[name])
                ratio = lift_interval(maps, control, card, weights)
                rows.append(
                    {
                        "pathology": group.pathology,
                        "method": method,
                        "card": name,
                        "own": name == group.pathology,
                        **_reported(entry, ratio, method),
                        **places[name],
                        "n_records": len(maps),
                        "n_patients": maps.n_patients,
                    }
                )
    return _with_holm(pd.DataFrame(rows))


def _reported(entry, ratio, method):
    """An entry with what makes sense for the method: no sign for relevances, no ratio of a control
    to a control.
    """
    if get_method(method).unit != PER_VOLTAGE:
        entry["sign_agreement"] = np.nan
    ratio = (np.nan,) * 3 if method in CONTROLS else ratio
    return entry | dict(
        zip(("over_amplitude", "over_amplitude_low", "over_amplitude_high"), ratio, strict=True)
    )


def _with_holm(table):
    """The column p_holm after p_neighbours: corrected over the own cards of each method."""
    corrected = pd.Series(np.nan, index=table.index)
    for _, own in table[table["own"]].groupby("method"):
        corrected[own.index] = holm(own["p_neighbours"])
    table.insert(table.columns.get_loc("p_neighbours") + 1, "p_holm", corrected)
    return table


# ---------------------------------------------------------------- all of them


def write_tables(
    folder: Path,
    args: argparse.Namespace,
    job: Job,
    twins: list[tuple[Group, Group]],
    lifts: pd.DataFrame | None = None,
) -> dict[str, pd.DataFrame]:
    """Write every table of a run into `folder`; the tables by name.

    twins  pairs that are contrasted, both explained for the first one's label
    lifts  of control networks
    """
    everyone, methods = list(job.groups.values()), job.question.methods
    labels = job.pool.info.labels
    found = {
        "segments": segments_csv(everyone, methods, args.n_bootstrap, args.seed),
        "beats": beats_csv(everyone, methods),
        "groups": groups_csv(everyone, labels),
        "records": records_csv(everyone, labels),
        "rules": rules_table(),
    }
    if job.cards:
        by_lead = [method for method in methods if get_method(method).has_lead_axis]
        found["scorecard"] = scorecard_csv(
            job.shown, job.cards, by_lead, args.n_bootstrap, args.n_permutations, args.seed
        )
        if lifts is not None:
            found["scorecard"] = with_controls(found["scorecard"], lifts)
    if twins:
        found["contrast"] = contrasts_csv(twins, methods, args.n_permutations, args.seed)
    for name, table in found.items():
        write_csv(folder / f"{name}.csv", table)
    return found
