"""Figures of the amplitude checks: the right lead, the right part of the beat."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from common.labels import LEADS
from common.plotting import INK, share_limits
from common.words import method_in_words
from ecg.beats import window_times
from sanity.figure_style import colours_of, dash_of, in_rows, put_legend, put_title


def draw_amplitude_boxes(
    _tables: dict[str, pd.DataFrame], records: pd.DataFrame | None
) -> Figure | None:
    """Per method (rows) and amplitude task (columns): share of the map's norm in the right lead,
    lead by lead.
    """
    rows = _amplitude(records, "amplitude_lead_")
    if rows is None:
        return None
    methods, tasks = in_rows(rows["method"]), list(dict.fromkeys(rows["task"]))
    figure, axes = plt.subplots(
        len(methods),
        len(tasks),
        figsize=(1.4 + 3 * len(tasks), 0.7 * len(methods) + 0.9),
        squeeze=False,
        layout="constrained",
    )
    thin = {"linewidth": 0.5}
    for line, method in zip(axes, methods, strict=True):
        for ax, task in zip(line, tasks, strict=True):
            chosen = rows[(rows["method"] == method) & (rows["task"] == task)]
            values = [
                chosen.loc[chosen["check"] == f"amplitude_lead_{lead}", "value"] for lead in LEADS
            ]
            ax.boxplot(
                values,
                widths=0.6,
                showfliers=False,
                patch_artist=True,
                medianprops={"color": INK},
                boxprops={"facecolor": "#fbd48a", "linewidth": 0.5},
                whiskerprops=thin,
                capprops=thin,
            )
            ax.axhline(chosen["chance"].iloc[0], color="#0072b2", linestyle="--", linewidth=0.8)
            ax.set_ylim(0, 1)
        line[0].set_ylabel(method_in_words(method), rotation=0, ha="right", va="center")
    for ax, task in zip(axes[0], tasks, strict=True):
        ax.set_title(task.replace("_", " "))
    for ax in axes[-1]:
        ax.set_xticks(range(1, 13), LEADS, rotation=90)
    share_limits(axes)
    n = rows["ecg_id"].nunique()
    put_title(
        figure, f"Share of the attribution in the right lead (dashed: chance; up to {n} records)"
    )
    return figure


def draw_amplitude_curves(
    tables: dict[str, pd.DataFrame], records: pd.DataFrame | None
) -> Figure | None:
    """Where in the beat the attribution of an amplitude lies: one panel per task, one curve per
    method.
    """
    if _amplitude(records, "amplitude_curve_") is None:
        return None
    rows = tables["details"][tables["details"]["check"].str.startswith("amplitude_curve_")]
    tasks, colours = list(dict.fromkeys(rows["task"])), colours_of(in_rows(rows["method"]))
    figure, axes = plt.subplots(
        1,
        len(tasks),
        figsize=(4 * len(tasks), 3.8),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, task in zip(axes[0], tasks, strict=True):
        for method, colour in colours.items():
            curve = rows[(rows["task"] == task) & (rows["method"] == method)]
            times = curve["check"].str.extract(r"_([+-]\d+)ms")[0].astype(int)
            words = method_in_words(method)
            ax.plot(times, curve["value"], dash_of(method), color=colour, lw=1.1, label=words)
        ax.axhline(len(window_times(100)) ** -0.5, color=INK, linestyle=":", linewidth=0.8)
        ax.set(title=task.replace("_", " "), xlabel="ms from the R-peak")
    axes[0, 0].set_ylabel("L2 over leads, mean beat\n(norm 1; dotted: chance)")
    put_legend(figure, axes[0, 0])
    return figure


def _amplitude(records, prefix):
    if records is None:
        return None
    rows = records[records["check"].str.startswith(prefix)]
    return rows if len(rows) else None
