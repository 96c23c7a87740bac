"""Section of the report on how well the network predicts."""

from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from common.files import read_json
from common.labels import WINDOWS
from reporting.fragments import caption_of, interval_of, is_score
from reporting.page import (
    figure,
    paragraph,
    table,
)
from reporting.run import Run

FEW_POSITIVES = 10  # below that a class's AUC says little


def performance(run: Run) -> Iterator[Markup]:
    """Scores of the test fold with intervals per protocol and class, and the figures of training
    and test.
    """
    path = run.folder / "metrics.json"
    if not run.holds(path):
        return
    yield from _external(run)
    metrics = read_json(path)
    protocols = [protocol for protocol in WINDOWS if protocol in metrics]
    scores = []
    for name, score in metrics.get(WINDOWS[0], {}).items():
        if is_score(score):
            row = {"metric": _metric_name(name)}
            for protocol in protocols:
                row[protocol.replace("_", " ")] = interval_of(metrics[protocol].get(name))
            scores.append(row)
    if scores:
        yield table(pd.DataFrame(scores))
    per_class = metrics.get("windows", {}).get("per_class_auc", {})
    if per_class:
        scored = {label: entry for label, entry in per_class.items() if is_score(entry)}
        few = [
            label
            for label, entry in scored.items()
            if (entry.get("n_positive") or 0) < FEW_POSITIVES
        ]
        if len(scored) < len(per_class):
            absent = ", ".join(label for label in per_class if label not in scored)
            yield paragraph(
                f"No positive (or no negative) in the test fold, left out of the means: {absent}."
            )
        if few:
            yield paragraph(
                f"Fewer than {FEW_POSITIVES} positives in the test fold, read with care: "
                f"{', '.join(few)}.",
                "warn",
            )
        yield table(
            pd.DataFrame(
                {
                    "class": label,
                    "AUC [95 % interval]": interval_of(entry),
                    "positives": entry.get("n_positive"),
                    "records": entry.get("n"),
                }
                for label, entry in scored.items()
            )
        )
    for picture in run.files("*.png"):
        yield figure(picture, caption_of(picture))


def _metric_name(name):
    words = (
        name.replace("_", " ")
        .replace("auc", "AUC")
        .replace("fmax", "F-max")
        .replace("mae", "MAE")
        .replace("r2", "R²")
    )
    return words[:1].upper() + words[1:]


def _external(run):
    """The test of the run's own fold beside those on other data sets, class by class."""
    own = read_json(run.folder / "metrics.json").get("windows", {}).get("per_class_auc", {})
    for path in run.files("external/*/metrics.json"):
        metrics = read_json(path)
        told = metrics["external"]
        entries = metrics["windows"]["per_class_auc"]
        yield paragraph(
            f"External test on {told['data_set']}: {told['records']} records of "
            f"{told['patients']} patients, {len(told['classes_compared'])} classes in common. "
            + ". ".join(told["differences"])
            + "."
        )
        if told["classes_compared"]:
            yield table(
                pd.DataFrame(
                    {
                        "class": label,
                        "own test, AUC": interval_of(own.get(label)),
                        f"{told['data_set']}, AUC": interval_of(entries[label]),
                        "positives there": entries[label]["n_positive"],
                    }
                    for label in told["classes_compared"]
                )
            )
        if told["classes_not_compared"]:
            yield paragraph(f"Not compared: {', '.join(told['classes_not_compared'])}.")
