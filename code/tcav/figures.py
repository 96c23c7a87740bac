"""Figures of TCAV, drawn from scores.csv alone."""

import itertools
import textwrap
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from common.figure_files import write_figure
from common.labels import slug
from common.plotting import SIGNED_CMAP, style
from common.words import CONCEPTS as CONCEPT_WORDS
from tcav.analysis import ALPHA
from tcav.controls import MIN_CLASS

LARGEST = 6.0  # standard deviations of the null at which the colour is full
PALE = 0.25  # of the colour is left to cells without evidence
NOTE = (
    "Colour: what is tested, the mean cosine of the class's gradients with the concept, in "
    "standard deviations of its null (made-up concepts); pale where it is not significant. Number: "
    "share of the class's records whose logit grows along the concept (TCAV score), not tested."
)


def _grid(table: pd.DataFrame, column: str, rows: str) -> pd.DataFrame:
    """`column` as rows x pathology, both in the order of the table."""
    wide = table.pivot(index=rows, columns="pathology", values=column)
    return wide.loc[table[rows].drop_duplicates(), table["pathology"].drop_duplicates()]


def _draw_cells(axes, table, rows):
    """Heat map of what is tested with the scores and marks on it; returns the image."""
    score = _grid(table, "score", rows)
    valid = _grid(table, "cav_valid", rows).to_numpy(dtype=bool)
    enough = _grid(table, "n_class", rows).to_numpy(dtype=float) >= MIN_CLASS
    p_corrected = _grid(table, "p_corrected", rows).to_numpy(dtype=float)
    significant = (p_corrected < ALPHA) & valid & enough
    tested = _grid(table, "magnitude_z", rows).to_numpy(dtype=float)
    image = axes.imshow(
        tested,
        cmap=SIGNED_CMAP,
        vmin=-LARGEST,
        vmax=LARGEST,
        aspect="auto",
        alpha=np.where(significant, 1.0, PALE),
    )
    learnt = (_grid(table, "learnt", rows) == "learnt").to_numpy()
    framed = _grid(table, "associated", rows).to_numpy(dtype=bool)
    for row, column in np.ndindex(score.shape):
        value = score.iat[row, column]
        if not valid[row, column]:
            axes.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5), 1, 1, facecolor=".85", edgecolor="none", zorder=2
                )
            )
        dark = significant[row, column] and abs(tested[row, column]) > 0.75 * LARGEST
        colour = "white" if dark else ".2"
        axes.text(
            column,
            row + 0.12,
            f"{value:.2f}".lstrip("0"),
            ha="center",
            va="center",
            fontsize=6,
            color=colour,
            zorder=3,
        )
        if significant[row, column]:
            fill = "full" if learnt[row, column] else "none"
            axes.plot(
                column, row - 0.27, "o", ms=3, mew=0.7, color=colour, fillstyle=fill, zorder=3
            )
    _hatch_few(axes, enough)
    _frame(axes, framed)
    _superclass_lines(axes, table)
    return image


def _hatch_few(axes, enough):
    """Hatch the columns of classes with too few records to mark anything."""
    for column in np.flatnonzero(~enough.all(axis=0)):
        place = (column - 0.5, -0.5)
        style = {"facecolor": "none", "edgecolor": ".7", "linewidth": 0, "hatch": "///"}
        axes.add_patch(Rectangle(place, 1, len(enough), zorder=1.5, **style))


def _frame(axes, framed):
    """Outline of the associated pathologies' cells: whole columns, or single cells."""
    for row, column in zip(*np.nonzero(framed), strict=True):
        for (r, c), ends in {
            (-1, 0): ((-0.5, 0.5), (-0.5, -0.5)),
            (1, 0): ((-0.5, 0.5), (0.5, 0.5)),
            (0, -1): ((-0.5, -0.5), (-0.5, 0.5)),
            (0, 1): ((0.5, 0.5), (-0.5, 0.5)),
        }.items():
            near = (row + r, column + c)
            inside = (
                0 <= near[0] < framed.shape[0] and 0 <= near[1] < framed.shape[1] and framed[near]
            )
            if not inside:
                axes.plot(
                    column + np.array(ends[0]),
                    row + np.array(ends[1]),
                    color="black",
                    lw=1.8,
                    zorder=4,
                    clip_on=False,
                )


def _superclass_lines(axes, table):
    names = table.drop_duplicates("pathology")["superclass"].fillna("").tolist()
    starts = [0, *(k for k in range(1, len(names)) if names[k] != names[k - 1]), len(names)]
    for start, end in itertools.pairwise(starts):
        if start:
            axes.axvline(start - 0.5, color="white", lw=3, zorder=3)
        axes.text(
            (start + end - 1) / 2,
            -0.62,
            names[start],
            ha="center",
            va="bottom",
            fontsize=8,
            weight="bold",
        )


def _axes_for(table, n_rows, rows_label):
    n_columns = table["pathology"].nunique()
    width, height = 3.2 + 0.42 * max(n_columns, 8), 2.6 + 0.3 * n_rows
    style()
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    classes = table.drop_duplicates("pathology")
    axes.set_xticks(
        range(n_columns),
        [f"{name} ({n})" for name, n in zip(classes["pathology"], classes["n_class"], strict=True)],
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        fontsize=8,
    )
    axes.set_xlabel("pathology (records)")
    axes.set_ylabel(rows_label)
    axes.tick_params(length=0)
    return figure, axes


def _finish(figure, axes, image, title, table):
    figure.suptitle(
        textwrap.fill(title, int(10 * figure.get_figwidth())), fontsize=10.5, x=0.02, ha="left"
    )
    axes.set_title(" ", fontsize=11)  # room for the superclasses
    figure.colorbar(
        image,
        ax=axes,
        label="magnitude, in SD of its null",
        extend="both",
        pad=0.02,
        fraction=0.04,
    )
    floor = table["p_floor"].max()
    test = (
        f"{_dot_in_words(table)} (smallest possible corrected p {floor:.2g})."
        if np.isfinite(floor)
        else "Not tested (--n_null 0)."
    )
    note = (
        f"{NOTE} {test} Grey: CAV no better than random. Hatched: fewer than {MIN_CLASS} "
        "records, nothing is marked. Frame: pathology the concept belongs to."
    )
    characters = int(16 * figure.get_figwidth())  # of 7 points that fit side by side
    figure.supxlabel(textwrap.fill(note, characters), fontsize=7, x=0.02, ha="left")


def _dot_in_words(table):
    """What full dots and rings say, by what the network was compared with."""
    ring = "Ring: special in this network (corrected p < .05 against pseudo-concepts)"
    if not table["n_controls"].max():
        return f"{ring}; untrained networks may show it too (not compared)"
    if not table["p_control"].notna().any():
        return f"{ring}; too few trained networks to say whether it is learnt"
    return f"{ring}; full dot: and learnt, beyond networks that have learnt nothing of the labels"


def _meaning(concept):
    """' (R above 3.0 mV in V5 or V6)' of a concept that has words."""
    return f" ({CONCEPT_WORDS[concept]})" if concept in CONCEPT_WORDS else ""


def concept_figure(table: pd.DataFrame) -> Figure:
    """Layer x pathology heat map of one concept and run kind (rows of scores.csv)."""
    layers = table.drop_duplicates("layer")
    figure, axes = _axes_for(table, len(layers), "layer\n(held-out accuracy of its CAV)")
    image = _draw_cells(axes, table, "layer")
    axes.set_yticks(
        range(len(layers)),
        [
            f"{name} ({value:.2f})"
            for name, value in zip(layers["layer"], layers["cav_accuracy"], strict=True)
        ],
        fontsize=8,
    )
    first = table.iloc[0]
    against = "other concepts" if first["run_kind"] == "relative" else "random records"
    _finish(
        figure,
        axes,
        image,
        f"{first['concept']}{_meaning(first['concept'])}, against {against} ({first['n_positive']} "
        f"positives, {first['n_drawn']} per draw, {first['n_runs']} runs)",
        table,
    )
    return figure


def strongest_cells(table: pd.DataFrame) -> pd.DataFrame:
    """For each concept and pathology the row of the layer with the smallest corrected p, which the
    number of layers is part of; among equal ones (and where nothing was tested) that of the largest
    magnitude. Layers whose CAV is no better than random are taken only where all are.
    """
    order = pd.DataFrame(
        {
            "poor": ~table["cav_valid"].astype(bool),
            "p": table["p_corrected"].fillna(1.0),
            "size": -table["magnitude_z"].abs().fillna(0.0),
        }
    )
    ranked = table.loc[order.sort_values(["poor", "p", "size"], kind="stable").index]
    first = ranked.drop_duplicates(["concept", "pathology"])
    return first.sort_index().reset_index(drop=True)


def _in_table_order(best, table):
    """Rows of `best` with concepts and pathologies in the order in which `table` has them."""
    concepts = list(table["concept"].drop_duplicates())
    pathologies = list(table["pathology"].drop_duplicates())
    keys = [
        (concepts.index(row.concept), pathologies.index(row.pathology)) for row in best.itertuples()
    ]
    order = sorted(range(len(best)), key=keys.__getitem__)
    return best.iloc[order].reset_index(drop=True)


def summary_figure(table: pd.DataFrame) -> Figure:
    """Concept x pathology heat map, each cell at the layer of its smallest corrected p (rows of one
    run kind of scores.csv).
    """
    best = _in_table_order(strongest_cells(table), table)
    concepts = best.drop_duplicates("concept")
    figure, axes = _axes_for(best, len(concepts), "concept (positives)")
    image = _draw_cells(axes, best, "concept")
    ticks = [f"{row.concept} ({row.n_positive})" for row in concepts.itertuples()]
    axes.set_yticks(range(len(concepts)), ticks, fontsize=8)
    kind = (
        "relative to each other"
        if best.iloc[0]["run_kind"] == "relative"
        else "against random records"
    )
    _finish(figure, axes, image, f"Concepts {kind}, each cell at its strongest layer", best)
    return figure


def figures(scores: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Name of its file without suffix, and figure: all of a table, drawn one after the other."""
    for run_kind, family in scores.groupby("run_kind", sort=False):
        yield f"summary_{run_kind}", summary_figure(family)
        for concept, table in family.groupby("concept", sort=False):
            yield f"{run_kind}_{slug(concept)}", concept_figure(table)


def write_figures(scores: pd.DataFrame, folder: Path, writer: object | None = None) -> list[Path]:
    """Draw and save all figures, with a SummaryWriter into TensorBoard too; the paths."""
    written = []
    for name, figure in figures(scores):
        written += write_figure(figure, folder / name)
        if writer is not None:  # the picture as saved: drawing a figure twice moves its layout
            writer.add_image(f"tcav/{name}", plt.imread(folder / f"{name}.png"), dataformats="HWC")
    return written
