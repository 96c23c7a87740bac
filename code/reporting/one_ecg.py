"""One ECG on one page: what the network says, why, how sure, and what was measured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from common.files import write_csv, write_text
from ecg import measure
from records.dataset import Dataset
from records.quality import flag_in_words, flags_of
from reporting.local import viewed_records
from reporting.page import PageSection, join, page, paragraph, table, viewer
from reporting.run import Run
from reporting.viewer import book, prediction_table

# measurement -> (in words, unit, lower and upper normal limit of adults)
# PR, QRS, axis: Surawicz et al. (2009), doi:10.1161/CIRCULATIONAHA.108.191095; QTc: Rautaharju et
# al. (2009), doi:10.1161/CIRCULATIONAHA.108.191096, the limit of men, 10 ms above for women
LIMITS = {
    "heart_rate": ("heart rate", "per minute", 60, 100),
    "PR_Int_Global": ("PR interval", "ms", 120, 200),
    "QRS_Dur_Global": ("QRS duration", "ms", 60, 110),
    "QTc": ("QT interval corrected by Fridericia", "ms", 360, 450),
    "QRS_Axis_Global": ("QRS axis", "degrees", -30, 90),
}
PREDICTION, NOTES, PAGE = "prediction.csv", "notes.csv", "ecg.html"
NEIGHBOURS = "neighbours.csv"


def measurements(signal: np.ndarray, sampling_rate: int) -> pd.DataFrame:
    """Intervals and axis of one record (T, 12) in mV beside the normal limits of adults."""
    found = measure(signal, sampling_rate)
    rr = found["RR_Mean_Global"]
    found["heart_rate"] = 60_000 / rr
    found["QTc"] = found["QT_Int_Global"] / np.cbrt(rr / 1000)
    rows = [
        (
            words,
            _number(found[name], unit),
            f"{low} to {high} {unit}",
            _verdict(found[name], low, high),
        )
        for name, (words, unit, low, high) in LIMITS.items()
    ]
    return pd.DataFrame(rows, columns=["what", "value", "normal in adults", "note"])


def _number(value, unit):
    return "not measurable" if np.isnan(value) else f"{value:.0f} {unit}"


def _verdict(value, low, high):
    if np.isnan(value):
        return ""
    return "below" if value < low else "above" if value > high else "within"


def quality_rows(data: Dataset) -> pd.DataFrame:
    """Signal quality of the only record of a data set, one row per flag."""
    flags = flags_of(data.table).iloc[0]
    words = {1: "raised", 0: "not raised"}
    rows = [
        (f"signal: {flag_in_words(name)}", words.get(flags[name], "not judged"), "not raised", "")
        for name in flags.index
    ]
    return pd.DataFrame(rows, columns=["what", "value", "normal in adults", "note"])


def write_tables(
    folder: Path,
    data: Dataset,
    labels: Sequence[str],
    logits: np.ndarray,
    thresholds: Sequence[float] | None,
) -> list[Path]:
    """Write prediction.csv and notes.csv of the only record of `data` into `folder`.

    labels: names of the outputs; logits # (outputs,); thresholds: of the outputs, or None
    """
    prediction = prediction_table(labels, logits, thresholds)
    noted = pd.concat(
        [measurements(data.signals[0], data.sampling_rate), quality_rows(data)], ignore_index=True
    )
    write_csv(folder / PREDICTION, prediction)
    write_csv(folder / NOTES, noted)
    return [folder / PREDICTION, folder / NOTES]


def prediction_in_words(prediction: pd.DataFrame, most: int = 3) -> str:
    """What is printed first: the classes above their threshold, else the most probable ones."""
    positive = prediction[prediction["positive"] == "yes"]
    said = [
        f"{row['class']} (probability {row['probability']:.2f}, threshold {row['threshold']:.2f})"
        for _, row in positive.iterrows()
    ]
    if said:
        return f"the network says: {', '.join(said)}"
    likely = [
        f"{row['class']} {row['probability']:.2f}" for _, row in prediction.head(most).iterrows()
    ]
    return f"the network says none of its classes; the most probable are {', '.join(likely)}"


def alike_in_words(rows: pd.DataFrame) -> str:
    """A sentence on the neighbours of one record by one way of being alike (their rows of
    neighbours.csv): how many have which label, and whether the record is like any.
    """
    labels = rows["labels"].fillna("").astype(str).str.split().explode().dropna()
    counts = labels[labels != ""].value_counts(sort=True)
    said = ", ".join(f"{name} {count}" for name, count in counts.items()) or "no label"
    first = rows.iloc[0]
    by = (
        first["alike_by"]
        .replace("cells ", "what the map marks for ")
        .replace("features", "the network's features")
    )
    far = (
        f"It is farther from them than {100 * (1 - first['p']):.0f} % of the training records are "
        f"from their own nearest ones (distance {first['mean_distance']:.2f}, usually "
        f"{first['typical_distance']:.2f})"
    )
    verdict = (
        ": out of distribution, the network has seen nothing like it, and what it says of this "
        "record has not been tested."
        if first["out_of_distribution"]
        else "."
    )
    return f"By {by}, its {len(rows)} nearest training records are labelled {said}. {far}{verdict}"


def patients_alike(table_of: pd.DataFrame) -> Markup:
    """The section on the training records that one record resembles."""
    parts = []
    for _, rows in table_of.groupby("alike_by", sort=False):
        parts.append(paragraph(alike_in_words(rows), _tone(rows)))
        parts.append(table(rows[["rank", "neighbour", "labels", "distance"]]))
    return join(parts)


def _tone(rows):
    return "warn" if rows["out_of_distribution"].any() else ""


def write_page(run: Run, folder: Path, name: str) -> Path:
    """Write <folder>/ecg.html: prediction, viewer, measurements of one record of one's own."""
    records = viewed_records(run, folder.name)
    prediction = pd.read_csv(folder / PREDICTION)
    said = prediction_in_words(prediction)
    words = f"{said[:1].upper()}{said[1:]}."
    sections = [
        PageSection(
            "findings",
            "What the network says",
            join([paragraph(words), viewer(book(records), f"ECG {name}")]),
        ),
        PageSection("prediction", "All classes", table(prediction)),
        PageSection("measured", "Measured", table(pd.read_csv(folder / NOTES))),
    ]
    if (folder / NEIGHBOURS).is_file():
        alike = pd.read_csv(folder / NEIGHBOURS)
        sections.insert(1, PageSection("alike", "Patients it resembles", patients_alike(alike)))
    subtitle = (
        f"Read by {run.info.modelname} ({run.info.run_folder_name}). "
        "For research; not a medical device."
    )
    path = folder / PAGE
    write_text(path, page(f"ECG {name}", subtitle, sections))
    return path
