"""One ECG on one page: what the network says, why, how sure, and what was measured."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from common.files import read_csv, write_csv, write_text
from common.labels import LEADS
from common.words import (
    SEGMENTS,
    area_in_words,
    class_in_words,
    digits_apart,
    method_in_words,
    probability_in_words,
)
from ecg import measure
from ecg.fiducials import IRREGULAR
from ecg.waves import AXIS_LEADS
from networks.checkpoints import ModelInfo
from records.dataset import Dataset
from records.quality import flag_in_words, flags_of
from reporting.fragments import Finding, is_score, named
from reporting.local import SIGNAL, condensed, viewed_records, why_first
from reporting.page import PageSection, details, findings_list, join, page, paragraph, table, viewer
from reporting.performance import CHANCE, beats_chance, scores_of, unlike_training
from reporting.run import Run, read_table
from reporting.viewer import (
    UNSEEN,
    ViewedMap,
    ViewedRecord,
    book,
    prediction_table,
    probabilities_of,
)

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
NO_P = "no P wave found"
SIMULATED_ALONE = (
    "its run knows simulated ECGs alone: what it says of a patient's ECG has not been tested"
)
FEWEST_INTERVALS = 4  # between beats, below which their regularity is not judged
PREDICTION, NOTES, PAGE = "prediction.csv", "notes.csv", "ecg.html"
NEIGHBOURS, TURNED = "neighbours.csv", "counterfactuals.csv"


def measurements(signal: np.ndarray, sampling_rate: int) -> pd.DataFrame:
    """Rhythm, intervals and axis of one record (T, 12) in mV, beside the normal limits of adults
    where there are such.
    """
    found = measure(signal, sampling_rate)
    rr = found["RR_Mean_Global"]
    found["heart_rate"] = 60_000 / rr
    found["QTc"] = found["QT_Int_Global"] / np.cbrt(rr / 1000)
    silent = np.nan_to_num(np.ptp(signal, axis=0)) == 0
    if silent[[LEADS.index(name) for name in AXIS_LEADS]].any():
        found["QRS_Axis_Global"] = np.nan
    for name, (_, unit, *_) in LIMITS.items():
        if unit == "ms" and found[name] <= 0:  # of a record of few leads: no wave was found
            found[name] = np.nan
    rows = [
        (
            words,
            _number(found[name], unit),
            f"{low} to {high} {unit}",
            _verdict(found[name], low, high),
        )
        for name, (words, unit, low, high) in LIMITS.items()
    ]
    names = [row[0] for row in rows]
    pr = names.index(LIMITS["PR_Int_Global"][0])
    if np.isfinite(found["QRS_Dur_Global"]) and not np.isfinite(found["PR_Int_Global"]):
        rows[pr] = (rows[pr][0], NO_P, *rows[pr][2:])
    rows.insert(1, _rhythm(found["r_peaks"]))
    return pd.DataFrame(rows, columns=["what", "value", "normal in adults", "note"])


def _rhythm(r_peaks):
    """The line on RR intervals, of R-peaks in samples at 100 Hz (text): irregular where they
    typically change by more than IRREGULAR from one to the next, whatever the pattern.
    """
    peaks = np.array(r_peaks.split(), dtype=int)
    gaps = 10 * np.diff(peaks)
    if len(gaps) < FEWEST_INTERVALS:
        return ("RR intervals", "not measurable", "", "")
    change = float(np.median(np.abs(np.diff(gaps))) / np.median(gaps))
    note = "irregular" if change > IRREGULAR else "steady"
    value = f"{gaps.min()} to {gaps.max()} ms"
    return ("RR intervals", value, "", f"{note}: {100 * change:.0f} % from one to the next")


def _number(value, unit):
    return "not measurable" if np.isnan(value) else f"{value:z.0f} {unit}"


def _verdict(value, low, high):
    if np.isnan(value):
        return ""
    value = round(value)  # as it is shown
    return "below" if value < low else "above" if value > high else "within"


def quality_rows(data: Dataset) -> pd.DataFrame:
    """Signal quality of the only record of a data set, one row per flag."""
    flags = flags_of(data.table).iloc[0]
    words = {1: "raised", 0: "not raised"}
    rows = [
        (f"{SIGNAL}{flag_in_words(name)}", words.get(flags[name], "not judged"), "not raised", "")
        for name in flags.index
    ]
    return pd.DataFrame(rows, columns=["what", "value", "normal in adults", "note"])


def write_tables(
    folder: Path,
    data: Dataset,
    info: ModelInfo,
    logits: np.ndarray,
    unseen: Sequence[str] = (),
) -> pd.DataFrame:
    """Write prediction.csv and notes.csv of the only record of `data` into `folder`; returns the
    prediction.

    info    of the network: names and thresholds of its outputs; unseen: those not in its training
    logits  # (networks, outputs), the network's own first, then those of other seeds
    """
    prediction = prediction_table(info.labels, logits[0], info.thresholds, unseen)
    if len(logits) > 1:
        prediction = with_range(prediction, info.labels, logits)
    noted = pd.concat(
        [measurements(data.signals[0], data.sampling_rate), quality_rows(data)], ignore_index=True
    )
    write_csv(folder / PREDICTION, prediction)
    write_csv(folder / NOTES, noted)
    return prediction


def with_range(prediction: pd.DataFrame, labels: Sequence[str], logits: np.ndarray) -> pd.DataFrame:
    """A prediction with the smallest and largest probability over networks of all seeds.

    logits  # (networks, outputs)
    """
    probability = probabilities_of(logits)
    rows = [list(labels).index(name) for name in prediction["class"]]
    at = list(prediction.columns).index("probability") + 1
    ranged = prediction.copy()
    ranged.insert(at, "lowest", probability.min(axis=0)[rows])
    ranged.insert(at + 1, "highest", probability.max(axis=0)[rows])
    ranged["networks"] = len(logits)
    return ranged


def _range_of(row):
    """(0.40 to 0.52 over 3 networks), where there are several."""
    if "networks" not in row:
        return ""
    low, high = (probability_in_words(row[name]) for name in ("lowest", "highest"))
    words = f"{low} to {high} over {row['networks']} seeds"
    if row["positive"] == "yes" and row["lowest"] < row["threshold"]:
        words += ", not above it in all of them"
    return f" ({words})"


def _answer(row):
    """(probability, threshold) in words, told from each other."""
    named = (row["probability"], row["threshold"])
    digits = digits_apart(*named)
    return [probability_in_words(value, digits) for value in named]


def _more_probable(prediction):
    """A class that is likelier than those above their thresholds and below its own, where there is
    one: the network does not say it, but a reader should know.
    """
    likely = prediction.iloc[0]
    if likely["positive"] != "no":
        return ""
    probability, threshold = _answer(likely)
    return (
        f"; more probable, but below its threshold: {likely['class']} {probability} "
        f"(threshold {threshold})"
    )


def prediction_in_words(prediction: pd.DataFrame, most: int = 3) -> str:
    """What is printed first: the classes above their threshold, else the most probable ones."""
    positive = prediction[prediction["positive"] == "yes"]
    said = []
    for _, row in positive.head(most).iterrows():
        probability, threshold = _answer(row)
        said.append(
            f"{class_in_words(row['class'])}: probability {probability}{_range_of(row)}, "
            f"threshold {threshold}"
        )
    if said:
        left = len(positive) - len(said)
        more = (
            f"; and {left} more above {'its' if left == 1 else 'their'} threshold" if left else ""
        )
        return f"the network says {'; '.join(said)}{more}{_more_probable(prediction)}"
    prediction = prediction[prediction["positive"] != UNSEEN]
    tested = (prediction["positive"] != "no threshold").any()
    none = "none of its classes" if tested else "nothing for sure, as no threshold is known"
    likely = [
        f"{row['class']} {probability_in_words(row['probability'])}{_range_of(row)}"
        for _, row in prediction.head(most).iterrows()
    ]
    return f"the network says {none}; the most probable are {', '.join(likely)}"


def alike_in_words(rows: pd.DataFrame) -> str:
    """A sentence on the neighbours of one record by one way of being alike (their rows of
    neighbours.csv): how many have which label, and how far they are.
    """
    labels = rows["labels"].fillna("").astype(str).str.split("; ").explode()
    counts = labels[labels != ""].value_counts(sort=True)
    said = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "no label"
    first = rows.iloc[0]
    kind, _, pathology = first["alike_by"].partition(" ")
    by = f"what the map marks for {pathology}" if pathology else f"the network's {kind}"
    far = (
        f"It is farther from them than {100 * (1 - first['p']):.0f} % of the training records are "
        f"from their own nearest ones (distance {first['mean_distance']:.2f}, usually "
        f"{first['typical_distance']:.2f})"
    )
    return f"By {by}, its {len(rows)} nearest training records are labelled {said}. {far}."


def unlike_in_words(first: pd.Series) -> str:
    """A sentence on whether a record (one of its rows of neighbours.csv) is like any that the
    network was trained on.
    """
    p = pd.to_numeric(first["unlike_p"], errors="coerce")
    if pd.isna(p):
        return "Whether it is like the training records is not known: too few were held out."
    share = f"{100 * p:.1f} %"
    if not first["out_of_distribution"]:
        return f"Nothing says that it is unlike the training records ({share} are as far off)."
    return (
        f"Out of distribution: only {share} of the records held out from training are as far off, "
        f"by its {first['because']}. The network has seen little like it, and what it says of this "
        "record has not been tested."
    )


def seen_in_words(first: pd.Series) -> str:
    """That the record (one of its rows of neighbours.csv) is one of the training records; empty
    where it is none.
    """
    itself = str(first.get("itself", "")).removesuffix(".0")
    if itself in ("", "nan", "None"):
        return ""
    return (
        f"This ECG is training record {itself}: the network has learnt from it, so its answer is "
        "no test. Other ECGs of that patient are kept apart."
    )


def patients_alike(table_of: pd.DataFrame) -> Markup:
    """The section on the training records that one record resembles."""
    parts = [paragraph(unlike_in_words(table_of.iloc[0]), _tone(table_of))]
    seen = seen_in_words(table_of.iloc[0])
    if seen:
        parts.append(paragraph(seen, "warn"))
    for _, rows in table_of.groupby("alike_by", sort=False):
        parts.append(paragraph(alike_in_words(rows)))
        parts.append(table(rows[["rank", "neighbour", "labels", "distance"]]))
    return join(parts)


def _tone(rows):
    return "warn" if rows["out_of_distribution"].any() else ""


def sentences(run: Run, folder: Path, record: ViewedRecord) -> Iterator[Finding]:
    """What the page says first: the answer, how sure, where it looks, signal, measurements, how
    like the training records.
    """
    prediction = read_table(folder / PREDICTION)
    said = prediction_in_words(prediction)
    said = f"{said[:1].upper()}{said[1:]}."
    doubt = doubt_in_words(run)
    kind = "warn" if doubt else "yes"
    yield Finding("", f"{doubt} {said}".strip(), "prediction", "all classes", kind)
    text = how_sure(run, prediction)
    if text:
        yield Finding("How sure:", text, "prediction", "metrics.json")
    text = strongest_cells(read_table(folder / "cells.csv"), record.maps)
    if text:
        yield Finding("Where the map is:", text, "ecg", "the ECG below")
    notes = condensed(read_csv(folder / NOTES)).fillna("")
    flagged = notes["value"].str.startswith("flagged")
    for row in notes[notes["what"] == "signal quality"].itertuples():
        text = f"{row.value}{f' ({row.note})' if row.note else ''}."
        yield Finding("Signal quality:", text, "ecg", NOTES, "warn" if flagged.any() else "yes")
    text, kind = measured_in_words(notes)
    yield Finding("Measured:", text, "ecg", NOTES, kind)
    if (folder / TURNED).is_file():
        yield Finding("What would turn it:", turned_in_words(folder), "ecg", TURNED)
    if (folder / NEIGHBOURS).is_file():
        alike = read_csv(folder / NEIGHBOURS, keep_default_na=False)
        first = alike[alike["alike_by"] == alike["alike_by"].iloc[0]]
        kind = _tone(first) or "no"
        text = f"{alike_in_words(first)} {unlike_in_words(first.iloc[0])}"
        yield Finding("Resembles:", text, "alike", NEIGHBOURS, kind)
        seen = seen_in_words(first.iloc[0])
        if seen:
            yield Finding("Seen before:", seen, "alike", NEIGHBOURS, "warn")


def doubt_in_words(run: Run) -> str:
    """What comes before the answer of a network that is not shown to predict better than chance."""
    if beats_chance(run):
        return ""
    score = scores_of(run).get("macro_auc")
    rest = "so what it says describes the network, not the patient."
    if not is_score(score):
        return f"How well this network predicts has not been measured, {rest}"
    auc = area_in_words(score["value"], score.get("low"), score.get("high"))
    return f"This network is not shown to predict better than chance (mean AUC {auc}), {rest}"


def said_first(run: Run, prediction: pd.DataFrame) -> str:
    """What is printed before anything is explained: doubts, the answer, and whether the network
    knows simulated ECGs alone.
    """
    answer = f"{doubt_in_words(run)} {prediction_in_words(prediction)}".strip()
    return f"{answer}\nnote: {SIMULATED_ALONE}" if run.only_simulated() else answer


def turned_in_words(folder: Path) -> str:
    """The smallest changes of waves that would turn the answers, one sentence a class."""
    answers = read_csv(folder / TURNED)
    return (
        f"{'; '.join(answers['sentence'])}. (Probability before -> after; a change of the ECG, "
        "no advice.)"
    )


def how_sure(run: Run, prediction: pd.DataFrame, most: int = 3) -> str:
    """How well the network told the classes that it finds (else the most probable) on test ECGs."""
    metrics = run.json("metrics.json").get("windows", {}).get("per_class_auc", {})
    found = prediction[prediction["positive"] == "yes"]
    names = (found if len(found) else prediction)["class"].head(most)
    parts = []
    for name in names:
        one = metrics.get(name) or {}
        if one.get("value") is None:
            parts.append(f"{name} could not be tested")
            continue
        low = one.get("low")
        auc = area_in_words(one["value"], low, one.get("high"))
        doubt = "" if low is not None and low > CHANCE else ", not shown to be better than chance"
        parts.append(f"{name} AUC {auc} ({one['n_positive']} ECGs with it{doubt})")
    return f"on ECGs{unlike_training(run)}: {'; '.join(parts)}." if metrics and parts else ""


def strongest_cells(
    cells: pd.DataFrame, maps: Sequence[ViewedMap], classes: int = 2, most: int = 3
) -> str:
    """Where the map that is shown first is densest, of the first classes of `maps`."""
    first = {}
    for one in maps:
        first.setdefault(one.pathology, one)
    parts = []
    for shown in list(first.values())[:classes]:
        own = (cells["pathology"] == shown.pathology) & (cells["method"] == shown.method)
        for_and_against = shown.signed and "per mV" not in shown.unit
        where = [
            _cell_in_words(row, for_and_against)
            for row in cells[own].sort_values("rank").head(most).itertuples()
        ]
        name = method_in_words(shown.method)
        parts.append(f"for {shown.pathology}, {name} is densest in {named(where)}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _cell_in_words(row, for_and_against):
    """V2 (peak of R), V5 (peak of R, against it), all leads (P wave)"""
    lead = row.lead if isinstance(row.lead, str) else "all leads"
    against = ", against it" if for_and_against and row.signed_density < 0 else ""
    return f"{lead} ({SEGMENTS.get(row.segment, row.segment)}{against})"


def measured_in_words(notes: pd.DataFrame) -> tuple[str, str]:
    """(sentence, kind): which measurements lie outside their normal limits."""
    outside = notes[notes["note"].isin(("below", "above"))]
    parts = [
        f"{row.what} {row.value} ({row.note} {row.normal})"
        for row in outside.rename(columns={"normal in adults": "normal"}).itertuples()
    ]
    irregular = notes[notes["note"].str.startswith("irregular")]
    parts += [f"beats come irregularly ({row.what} {row.value})" for row in irregular.itertuples()]
    blank = list(notes.loc[notes["value"] == "not measurable", "what"])
    if (notes["value"] == NO_P).any():
        parts.append(NO_P)
    text = f"{named(parts)}." if parts else "within the normal limits of adults."
    if blank:
        text = f"{text if parts else ''} Not measurable: {named(blank)}.".strip()
    return text, "warn" if parts or blank else "yes"


def subtitle(run: Run) -> str:
    """Which network reads the ECG, and whether it has ever been held against a real one."""
    reader = f"Read by {run.info.modelname} ({run.info.run_folder_name}). "
    known = f"{SIMULATED_ALONE[0].upper()}{SIMULATED_ALONE[1:]}. " if run.only_simulated() else ""
    return f"{reader}{known}For research; not a medical device."


def all_classes(run: Run, folder: Path) -> Markup:
    """The section with every output: where thresholds come from, and apart from the others those
    classes of which the network has seen no record.
    """
    prediction = read_table(folder / PREDICTION)
    strange = prediction["positive"] == UNSEEN
    folds = ", ".join(map(str, run.info.folds.get("validation") or [])) or "not known"
    parts = [
        paragraph(
            "Threshold: the probability from which on calling the class gave the best F1 on the "
            f"validation records (fold {folds}). No threshold: none of these records had the class."
        ),
        table(prediction[~strange]),
    ]
    if strange.any():
        names = list(prediction.loc[strange, "class"])
        few = f"{len(names)} class{'es' * (len(names) != 1)}"
        them = "it" if len(names) == 1 else "them"
        text = f"The network saw no ECG of {few} in training: its numbers for {them} mean nothing."
        parts += [
            paragraph(text, "soft"),
            details(f"What it puts out for {few} it never saw", table(prediction[strange])),
        ]
    return join(parts)


def write_page(run: Run, folder: Path, name: str) -> Path:
    """Write <folder>/ecg.html: what the network says of one record of one's own, the ECG to look
    at, the records it resembles, all classes.
    """
    records = viewed_records(run, folder.name)
    said = list(sentences(run, folder, records[0]))
    seen = [paragraph(why_first(run, records[0]), "soft"), viewer(book(records), f"ECG {name}")]
    sections = [
        PageSection("findings", "What the network says", findings_list(said)),
        PageSection("ecg", "The ECG", join(seen)),
        PageSection("prediction", "All classes", all_classes(run, folder)),
    ]
    if (folder / NEIGHBOURS).is_file():
        alike = read_csv(folder / NEIGHBOURS, keep_default_na=False)
        sections.insert(2, PageSection("alike", "Patients it resembles", patients_alike(alike)))
    path = folder / PAGE
    write_text(path, page(f"ECG {name}", subtitle(run), sections))
    return path
