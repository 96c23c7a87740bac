"""Figure of the ranking: the skill of every method in every check."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from common.plotting import COLUMN, INK, SIGNED_CMAP
from common.words import CONTROLS, method_in_words
from sanity.favours import favoured
from sanity.figure_style import in_few_letters, in_rows

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


@dataclass(frozen=True)
class _Ranking:
    """What both forms of the figure show.

    table   skills, methods x headlines
    best    {check: methods that are best, or not told from it}
    pale    {(check, method)} that control networks reach too
    n       check -> records at most
    lines   how the figure is read, a sentence each
    """

    table: pd.DataFrame
    best: dict[str, set[str]]
    pale: set[tuple[str, str]]
    n: pd.Series
    lines: list[str]

    def cells(self) -> Iterator[tuple[int, int, float, bool, bool, bool]]:
        """(row, column, skill, best, favoured, pale) of every cell that has a value."""
        for column, check in enumerate(self.table):
            for row, method in enumerate(self.table.index):
                value = self.table.iloc[row, column]
                if np.isfinite(value):
                    marks = (method in self.best[check], favoured(check, method))
                    yield row, column, value, *marks, (check, method) in self.pale

    @property
    def n_methods(self) -> int:
        """Rows above the controls."""
        return len(self.table) - sum(name in CONTROLS for name in self.table.index)


def _ranking(tables):
    """What is to be drawn; None where nothing was checked."""
    if tables["checks"].empty or (table := skills(tables["checks"])).empty:
        return None
    real = [name for name in table.index if name not in CONTROLS]
    best = {check: best_or_equal(tables["comparisons"], check, real) for check in table}
    return _Ranking(
        table,
        best,
        not_beyond(tables.get("controls")),
        tables["checks"].groupby("check")["n"].max(),
        [
            "skill: 0 = chance, 1 = perfect; • best, or not distinguishable from it on most of its "
            f"models (p ≥ .05, corrected for all pairs; {_smallest_p(tables, list(table))})",
            "° favoured by construction (favours.csv says why): no part in the order of the "
            "methods. Maps must change with the weights, but noise does too: necessary, not "
            "sufficient",
        ],
    )


def _ground(ax, ranking):
    """The colours, and the line between methods and controls."""
    ax.imshow(ranking.table, cmap=SIGNED_CMAP, norm=TwoSlopeNorm(0, -1, 1), aspect="auto")
    ax.axhline(ranking.n_methods - 0.5, color=INK, linewidth=0.8)
    ax.tick_params(length=0)
    ax.xaxis.tick_top()


def draw_ranking(tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None) -> Figure | None:
    """Heat map of skills: methods by mean rank, headlines as columns, dots where a method is not
    worse than the best.
    """
    ranking = _ranking(tables)
    if ranking is None:
        return None
    table = ranking.table
    figure, ax = plt.subplots(
        figsize=(2.2 + 0.92 * table.shape[1], 1.6 + 0.34 * len(table)), layout="constrained"
    )
    _ground(ax, ranking)
    for row, column, value, best, won, pale in ranking.cells():
        shown = f"{round(value, 2) + 0.0:.2f}"
        shown = f"({shown})" if pale else shown
        words = f"{shown}{' •' * best}{'°' * won}"
        colour = "white" if abs(value) > 0.75 else INK
        ax.text(column, row, words, ha="center", va="center", fontsize=8, color=colour)
    heads = [f"{HEADLINES[check]}\nn = {int(ranking.n[check])}" for check in table]
    ax.set_xticks(range(table.shape[1]), heads, fontsize=8)
    ax.set_yticks(range(len(table)), map(method_in_words, table.index))
    lines = ranking.lines
    if ranking.pale:
        lines = [*lines, "(in brackets): not beyond the networks that have learnt nothing"]
    width = int(13 * figure.get_figwidth())
    ax.set_xlabel("\n".join(textwrap.fill(line, width) for line in lines), fontsize=7)
    ax.set_title(f"Attribution methods by check. {model_name(tables['checks'])}", fontsize=10)
    return figure


ROW, HEADS = 0.155, 1.05  # inches of a row, and of the headlines that stand on end
LETTERS = 74  # of a line of the small print
NAME_LETTERS = 11  # of a method's name on one line


def draw_ranking_column(
    tables: dict[str, pd.DataFrame], _records: pd.DataFrame | None
) -> Figure | None:
    """The same for a journal's column: headlines on end, skills without their zero, a frame around
    the best, struck out what control networks reach too.
    """
    ranking = _ranking(tables)
    if ranking is None:
        return None
    table = ranking.table
    words = map(method_in_words, table.index)
    names = [textwrap.fill(name, NAME_LETTERS, break_long_words=False) for name in words]
    rows = sum(1 + 0.75 * name.count("\n") for name in names) / len(names)
    figure, ax = plt.subplots(
        figsize=(COLUMN, HEADS + max(rows, 1.2) * ROW * len(table) + 1.5), layout="constrained"
    )
    _ground(ax, ranking)
    for row, column, value, best, won, pale in ranking.cells():
        words = in_few_letters(value)
        strong = "white" if abs(value) > 0.75 else INK
        ax.text(column, row, words, ha="center", va="center", color=strong, fontsize=6)
        if pale:
            ends = [column - 0.5, column + 0.5], [row + 0.5, row - 0.5]
            ax.plot(*ends, color=strong, linewidth=0.4)
        if won:
            ax.text(column + 0.46, row - 0.42, "°", ha="right", va="top", fontsize=6, color=strong)
        if best:
            box = plt.Rectangle((column - 0.47, row - 0.44), 0.94, 0.88, fill=False)
            box.set(edgecolor=INK, linewidth=0.8)
            ax.add_patch(box)
    heads = [f"{HEADLINES[check]}, {int(ranking.n[check])}".replace("\n", " ") for check in table]
    ax.set_xticks(range(table.shape[1]), heads, fontsize=6, rotation=90)
    ax.set_yticks(range(len(table)), names, fontsize=6, linespacing=0.9)
    lines = [line.replace("•", "frame:") for line in ranking.lines]
    lines[0] = f"{lines[0]}. Beside each check: its records"
    if ranking.pale:
        lines.append("struck out: not beyond the networks that have learnt nothing")
    small = "\n".join(textwrap.fill(line, LETTERS) for line in lines)
    figure.supxlabel(small, fontsize=6, x=0.02, ha="left", color="#333333")
    figure.suptitle(f"Attribution methods by check\n{model_name(tables['checks'])}", fontsize=8)
    return figure


def model_name(checks: pd.DataFrame) -> str:
    """The model under test (the amplitude models are there to test the methods)."""
    names = checks.loc[~checks["check"].str.startswith(("amplitude", "layer")), "model"].unique()
    return names[0].replace("_", ", ", 1) if len(names) else ""
