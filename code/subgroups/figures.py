"""Figures of discovery: maps of the records, agreement with hidden labels, clusters' beats with
heat, enrichment.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from common.figure_files import write_figure
from common.labels import LEADS
from common.plotting import (
    ABSOLUTE_CMAP,
    COLOURS,
    class_colours,
    heat_line,
    heat_norm,
    share_limits,
    style,
)
from common.words import representation_in_words
from ecg.beats import mean_beats, median_beats, window_times
from subgroups.clusters import fit_space
from subgroups.cohort import Cohort
from subgroups.findings import Design, Discovered, Found, cluster_names
from subgroups.representations import Material

MOST_TRAITS = 8
LABEL_MARKERS = ("o", "^", "s", "D", "v")


def group_styles(names: Sequence[str], cohort: Cohort) -> dict[str, tuple[str, str]]:
    """Colour and marker of each label or cluster name: the cohort's labels have the same ones in
    every panel and figure, other names take those that are left.
    """
    order = [*cohort.names, *(name for name in names if name not in cohort.names)]
    colours = class_colours(order)
    return {
        name: (colours[name], LABEL_MARKERS[place % len(LABEL_MARKERS)])
        for place, name in enumerate(order)
    }


def _embed(features, kind, seed, variance):
    """Two coordinates per record, from a space like that in which the clusters are found."""
    points = fit_space(features, variance).transform(features)
    if kind == "tsne" and len(points) > 10:
        perplexity = min(30, (len(points) - 1) / 3)
        embedding = TSNE(
            2, perplexity=perplexity, init="pca", max_iter=500, random_state=seed, n_jobs=1
        )
        return embedding.fit_transform(_at_least_two(points))
    return PCA(2, svd_solver="full").fit_transform(_at_least_two(points))


def _at_least_two(points):
    return points if points.shape[1] > 1 else np.column_stack([points, np.zeros(len(points))])


def draw_embedding(
    features: dict,
    found: dict,
    cohort: Cohort,
    design: Design,
    kind: str,
    seed: int,
    variance: float = 0.8,
) -> Figure:
    """One column per representation: records coloured by hidden label (top) and by cluster
    (bottom).
    """
    style()
    figure, axes = plt.subplots(
        2,
        len(features),
        figsize=(2.6 * len(features) + 0.4, 5.8),
        squeeze=False,
        layout="constrained",
    )
    for column, (name, values) in enumerate(features.items()):
        at = _embed(values, kind, seed, variance)
        names = cluster_names(found[name], cohort, design)
        clusters = np.array([names[cluster] for cluster in found[name].clusters])
        shown = sorted(names.values())
        styles = group_styles(shown, cohort)
        _scatter(axes[0, column], at, cohort.labels, cohort.names, styles)
        _scatter(axes[1, column], at, clusters, shown, styles)
        axes[0, column].set_title(representation_in_words(name))
    axes[0, 0].set_ylabel("by label")
    axes[1, 0].set_ylabel(
        "by cluster" + (" (named by its majority)" if cohort.hidden_labels else "")
    )
    for ax in axes.ravel():  # each panel has clusters, and so counts, of its own
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.01),
            ncols=3,
            frameon=False,
            fontsize=8,
            handletextpad=0.1,
            columnspacing=1,
        )
    how = {"tsne": "t-SNE", "pca": "first two principal components"}[kind]
    figure.suptitle(
        f"{how} of {len(cohort.data)} records, {' or '.join(cohort.names)} ({cohort.level})"
    )
    return figure


def _scatter(ax, at, groups, names, styles):
    for name in names:
        here = groups == name
        colour, marker = styles[name]
        ax.scatter(
            *at[here].T,
            s=9,
            color=colour,
            marker=marker,
            alpha=0.75,
            linewidths=0,
            label=f"{name} ({here.sum()})",
        )
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(True)


def draw_agreement(table: pd.DataFrame, cohort: Cohort, design: Design) -> Figure:
    """Accuracy and adjusted Rand index of each representation with intervals, chance and
    majority.
    """
    style()
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 2.8), sharey=True, layout="constrained")
    scored = table.loc[table["metric"] == "accuracy", "representation"]
    names = list(dict.fromkeys(scored))
    for ax, metric, title in zip(
        axes, ("accuracy", "ari"), ("accuracy", "adjusted Rand index"), strict=True
    ):
        rows = table[table["metric"] == metric].set_index("representation").reindex(names)
        y = np.arange(len(names))[::-1]
        if "control_low" in rows and rows["control_low"].notna().any():
            band = {"color": "#d0d0d0", "linewidth": 9, "label": "untrained networks (95 %)"}
            ax.hlines(y, rows["control_low"], rows["control_high"], **band)
        ax.hlines(y, rows["low"], rows["high"], color=COLOURS[0], linewidth=2)
        ax.plot(
            rows["value"], y, "o", color=COLOURS[0], label="clusters, 95 % interval over patients"
        )
        ax.plot(
            rows["chance"],
            y,
            "|",
            color="#555555",
            markersize=14,
            label="chance (permuted patients)",
        )
        ax.set(
            xlabel=title,
            yticks=y,
            yticklabels=[representation_in_words(name) for name in names],
            xlim=(min(0, rows["low"].min()) - 0.02, 1.02),
        )
        ax.margins(y=0.15)
    majority = table.loc[table["metric"] == "majority", "value"]
    if len(majority):
        axes[0].axvline(
            majority.iloc[0], color="#888888", linewidth=1, linestyle="--", label="largest class"
        )
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    figure.suptitle(
        f"{' vs '.join(cohort.names)} from clusters, n = {int(design.reported.sum())} records"
        + (" (cross-fitted)" if design.crossed else "")
    )
    return figure


def draw_clusters(
    name: str, result: Found, material: Material, cohort: Cohort, design: Design, target: str
) -> Figure:
    """Median beat of each cluster in 12 leads, coloured by the mean absolute attribution."""
    style()
    rows = design.reported
    signal = median_beats(material.data.signals, material.beats)
    heat = mean_beats(np.abs(material.maps), material.beats)
    names, times = cluster_names(result, cohort, design), window_times(material.data.sampling_rate)
    groups = [rows & (result.clusters == cluster) for cluster in range(result.k)]
    beats = [
        np.median(signal[group], axis=0) if group.any() else np.full(signal.shape[1:], np.nan)
        for group in groups
    ]
    heats = [
        heat[group].mean(axis=0) if group.any() else np.full(heat.shape[1:], np.nan)
        for group in groups
    ]
    norm = heat_norm(np.stack(heats), signed=False)
    figure, axes = plt.subplots(
        result.k,
        len(LEADS),
        figsize=(15, 1.1 + 1.6 * result.k),
        squeeze=False,
        layout="constrained",
    )
    for cluster, (beat, relevance, group) in enumerate(zip(beats, heats, groups, strict=True)):
        for lead, ax in enumerate(axes[cluster]):
            band = heat_line(ax, times, beat[:, lead], relevance[:, lead], ABSOLUTE_CMAP, norm)
            ax.axhline(0, color="#cccccc", linewidth=0.5, zorder=0)
            ax.set(xticks=[-200, 0, 200, 400])
            ax.tick_params(axis="x", labelrotation=90)
        axes[cluster, 0].set_ylabel(f"cluster {names[cluster]}\n{group.sum()} records\nmV")
    share_limits(axes)
    for ax, lead in zip(axes[0], LEADS, strict=True):
        ax.set_title(lead)
    figure.supxlabel("ms from the R-peak", fontsize=9)
    figure.colorbar(
        band,
        ax=axes,
        shrink=0.8,
        pad=0.01,
        label=f"mean |{material.method}|\n(20th–99th percentile)",
    )
    figure.suptitle(
        f"Clusters in {representation_in_words(name)}: median beats, "
        f"coloured by the relevance of {material.method} for {target}"
    )
    return figure


def draw_enrichment(table: pd.DataFrame, found: dict, cohort: Cohort, design: Design) -> Figure:
    """For each representation the MOST_TRAITS whose share differs most between its clusters; filled
    where p (Holm) < .05.
    """
    style()
    shown = [name for name in found if len(table) and (table["representation"] == name).any()]
    columns = max(len(shown), 1)
    figure, axes = plt.subplots(
        1, columns, figsize=(3.1 * columns + 0.6, 3.4), squeeze=False, layout="constrained"
    )
    if not shown:
        axes[0, 0].text(0.5, 0.5, "no subgroups found to compare", ha="center", va="center")
        axes[0, 0].set_axis_off()
    for ax, name in zip(axes[0], shown, strict=False):
        rows = (
            table[table["representation"] == name]
            .sort_values(["p_holm", "difference"], ascending=[True, False])
            .head(MOST_TRAITS)
        )
        y, names = np.arange(len(rows))[::-1], cluster_names(found[name], cohort, design)
        shares = rows[[column for column in rows if column.startswith("share_")]].dropna(
            axis=1, how="all"
        )
        ax.hlines(y, shares.min(axis=1), shares.max(axis=1), color="#bbbbbb", linewidth=1)
        styles = group_styles(sorted(names.values()), cohort)
        of_column = {names[int(column.removeprefix("share_"))]: column for column in shares}
        for cluster, column in sorted(of_column.items()):  # alike in all legends
            sure, colour = rows["p_holm"] < 0.05, styles[cluster][0]
            for mask, face in ((sure, colour), (~sure, "white")):
                ax.scatter(
                    shares[column][mask],
                    y[mask.to_numpy()],
                    color=face,
                    edgecolors=colour,
                    s=28,
                    zorder=3,
                    label=None if face == "white" else f"cluster {cluster}",
                )
        ax.set(
            yticks=y,
            yticklabels=rows["trait"],
            xlim=(-0.03, 1.03),
            xlabel="share of records",
            title=representation_in_words(name),
        )
        ax.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=2,
            frameon=False,
            fontsize=8,
            handletextpad=0.2,
        )
    figure.suptitle(
        "What separates the clusters (filled: p < .05 by permutation of patients, Holm)"
    )
    return figure


def draw_all(
    folder: Path,
    args: argparse.Namespace,
    one: Discovered,
    table: pd.DataFrame,
    enriched: pd.DataFrame,
) -> list[Path]:
    """Write all figures of a run; their paths."""
    cohort, design = one.cohort, one.design
    figures = {
        "embedding": draw_embedding(
            one.features, one.found, cohort, design, args.embedding, args.seed, args.variance
        )
    }
    if cohort.hidden_labels:
        figures["agreement"] = draw_agreement(table, cohort, design)
    figures["enrichment"] = draw_enrichment(enriched, one.found, cohort, design)
    for name, result in one.found.items():
        if result.k > 1:
            figures[f"clusters_{name}"] = draw_clusters(
                name, result, one.material, cohort, design, one.target
            )
    written = []
    for name, figure in figures.items():
        written += write_figure(figure, folder / name)
    return written
