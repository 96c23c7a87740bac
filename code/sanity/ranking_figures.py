"""Figure of the ranking: the skill of every method in every check."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from common.plotting import INK, SIGNED_CMAP
from common.words import CONTROLS, method_in_words
from sanity.favours import favoured
from sanity.figure_style import in_rows

# headline of each question: (check, title, task or None for the mean over the models it was made
# on)
HEADLINES = {
    "amplitude_chest": "right lead\n(chest)",
    "amplitude_time": "right wave",
    "amplitude_cell": "lead and wave",
    "localisation_auc_cell_absolute": "planted cells\n(AUC)",
    "localisation_auc_time_absolute": "planted time\n(AUC)",
    "localisation_specific_auc_absolute": "this cause,\nno other (AUC)",
    "faithfulness_cells_physiological_absolute": "faithful,\nsize",
    "faithfulness_cells_physiological_signed": "faithful,\nsigned",
    "dose_percent_signed": "dose,\n+1 %",
    "dose_millivolt_signed": "dose,\n+0.1 mV",
    "edits_swap_signed": "wave of\nanother",
    "edits_flip_signed": "wave upside\ndown",
    "counterfactual_sparsest": "turns the\ndecision",
    "agreement_seeds_cells": "same over\nseeds",
    "randomisation_cascading_full_absolute": "changes with\nthe weights",
}


def skills(checks: pd.DataFrame) -> pd.DataFrame:
    """Methods x headlines: 0 = chance, 1 = perfect, mean over the models a check was made on; best
    methods first, by their mean rank over the checks that do not favour them by construction.

    Skill is (value - chance) / (perfect - chance); for `changes with the weights` 1 - |likeness|;
    for faithfulness, which has no known maximum, the value itself (chance is 0).
    """
    columns = {}
    for check in HEADLINES:
        rows = checks[(checks["check"] == check) & (checks["n"] > 0)]
        if not len(rows):
            continue
        if check.startswith("randomisation"):
            skill = 1 - rows["value"].abs()
        elif check.startswith("faithfulness"):
            skill = rows["value"]
        else:
            skill = (rows["value"] - rows["chance"]) / (1 - rows["chance"])
        columns[check] = skill.groupby(rows["method"]).mean()
    table = pd.DataFrame(columns)
    ranks = table.rank(ascending=False)
    for check in table:
        won = [method for method in table.index if favoured(check, method)]
        ranks.loc[won, check] = np.nan
    order = ranks.mean(axis=1)
    return table.loc[in_rows(order.sort_values(kind="stable").index)]


def best_or_equal(comparisons: pd.DataFrame, check: str, methods: Sequence[str]) -> set[str]:
    """Methods that are best, or not distinguishable from it (p_corrected >= .05), on more than
    half of the models of a check.
    """
    rows = comparisons[comparisons["check"] == check]
    worse = rows[rows["p_corrected"] < 0.05].groupby("method").size()
    return (
        {method for method in methods if worse.get(method, 0) < rows["model"].nunique() / 2}
        if len(rows)
        else set()
    )


def not_beyond(controls: pd.DataFrame | None) -> set[tuple[str, str]]:
    """(check, method) where control networks reach as much as the network (controls.csv)."""
    if controls is None or controls.empty:
        return set()
    rows = controls[~controls["beyond_controls"].astype(bool)]
    return set(zip(rows["check"], rows["method"], strict=True))


def _smallest_p(tables, shown):
    """What the test of the best could find at all in the scores that are `shown`."""
    rows = tables["comparisons"]
    floors = rows.loc[rows["check"].isin(shown), "p_floor"].dropna()
    if not len(floors):
        return "nothing was compared"
    blind = "" if floors.max() < 0.05 else " where n is least: nothing can be told apart there"
    return f"smallest possible p {floors.max():.2g}{blind}"


def draw_ranking(tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None) -> Figure | None:
    """Heat map of skills: methods by mean rank, headlines as columns, dots where a method is not
    worse than the best.
    """
    if tables["checks"].empty:
        return None
    table = skills(tables["checks"])
    if table.empty:
        return None
    figure, ax = plt.subplots(
        figsize=(2.2 + 0.92 * table.shape[1], 1.6 + 0.34 * len(table)), layout="constrained"
    )
    untaught = not_beyond(tables.get("controls"))
    norm = TwoSlopeNorm(0, -1, 1)
    ax.imshow(table, cmap=SIGNED_CMAP, norm=norm, aspect="auto")
    for column, check in enumerate(table):
        equal = best_or_equal(
            tables["comparisons"], check, [name for name in table.index if name not in CONTROLS]
        )
        for row, method in enumerate(table.index):
            value = table.iloc[row, column]
            if np.isfinite(value):
                mark = " •" if method in equal else ""
                mark += "°" if favoured(check, method) else ""
                shown = f"{round(value, 2) + 0.0:.2f}"
                shown = f"({shown})" if (check, method) in untaught else shown
                ax.text(
                    column,
                    row,
                    f"{shown}{mark}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if abs(value) > 0.75 else INK,
                )
    n = tables["checks"].groupby("check")["n"].max()
    ax.set_xticks(
        range(table.shape[1]),
        [f"{HEADLINES[check]}\nn = {int(n[check])}" for check in table],
        fontsize=8,
    )
    ax.set_yticks(range(len(table)), map(method_in_words, table.index))
    ax.axhline(
        len(table) - sum(name in CONTROLS for name in table.index) - 0.5, color=INK, linewidth=0.8
    )
    ax.tick_params(length=0)
    ax.xaxis.tick_top()
    lines = [
        "skill: 0 = chance, 1 = perfect; • best, or not distinguishable from it on most of its "
        f"models (p ≥ .05, corrected for all pairs; {_smallest_p(tables, list(table))})",
        "° favoured by construction (favours.csv says why): no part in the order of the methods. "
        "Maps must change with the weights, but noise does too: necessary, not sufficient",
    ]
    if untaught:
        lines.append("(in brackets): not beyond the networks that have learnt nothing")
    width = int(13 * figure.get_figwidth())
    ax.set_xlabel("\n".join(textwrap.fill(line, width) for line in lines), fontsize=7)
    ax.set_title(f"Attribution methods by check. {model_name(tables['checks'])}", fontsize=10)
    return figure


def model_name(checks: pd.DataFrame) -> str:
    """The model under test (the amplitude models are there to test the methods)."""
    names = checks.loc[~checks["check"].str.startswith(("amplitude", "layer")), "model"].unique()
    return names[0].replace("_", ", ", 1) if len(names) else ""
