"""The explained ECGs of a run as the viewer shows them."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from common.files import UserError, read_csv, read_json, read_npz
from common.labels import is_regression, slug
from common.words import CONTROLS, METHODS, method_in_words
from reporting.run import Run, read_table
from reporting.viewer import UNSEEN, ViewedMap, ViewedRecord, prediction_table

MOST_VIEWED = 40  # ECGs in the viewer: in turn over the classes, the first of each first
PREDICTED = 8  # most probable classes beside an ECG
CELLS_SHOWN = 8  # per ECG, class and method
RECORDS = "records.npz"  # signals and segments of what was explained
STANDINGS = "sanity/standings.csv"
# the order where a run's methods have not been checked: first those whose values add up to the
# answer, or to what a piece took away, and which foresaw edits made by none of them on our own
# networks (docs/results.md); saliency looks like noise, LRP's default like the size of the signal
UNCHECKED = ("ig", "shapley", "occlusion", "deeplift", "gradient_shap", "lrp:epsilon", "lrp")


def viewed_records(run: Run, folder: str) -> list[ViewedRecord]:
    """The ECGs of <run>/<folder>/, in turn over the classes that they were explained for.

    Empty where the stage has not kept its signals (an older run).
    """
    place = run.folder / folder
    if not run.holds(place / RECORDS):
        return []
    kept = read_npz(place / RECORDS)
    row_of = {int(one): row for row, one in enumerate(kept["ecg_id"])}
    maps = _maps(place, run)
    cells = run.csv(f"{folder}/cells.csv")
    chosen = list(itertools.islice(_in_turn(maps), MOST_VIEWED))
    return [_viewed(run, place, kept, row_of[ecg_id], maps, cells, ecg_id) for ecg_id in chosen]


def _maps(place, run):
    """{ecg_id: {(class, method): (arrays, row)}} of every stored attribution, classes in the
    model's order.
    """
    found = {}
    for path in run.files(f"{place.name}/*.npz"):
        if path.name == RECORDS:
            continue
        arrays = read_npz(path)
        pathology, method = _names(path, arrays, run)
        for row, ecg_id in enumerate(arrays["ecg_id"]):
            found.setdefault(pathology, {}).setdefault(int(ecg_id), {})[method] = (arrays, row)
    return {name: found[name] for name in run.info.labels if name in found}


def _names(path, arrays, run):
    """Class and method of a stored map: the class by its output, the method by the file's name."""
    targets = np.atleast_1d(arrays["target"])
    if not len(targets) or not 0 <= int(targets[0]) < len(run.info.labels):
        raise UserError(f"{path} does not name an output of the model: run lrp_analysis.py again")
    pathology = run.info.labels[int(targets[0])]
    method = path.stem.removesuffix(f"_{slug(pathology)}")  # a class may be called _AVB
    return pathology, method.replace("lrp-", "lrp:")


def _in_turn(maps):
    """ecg_ids, one of each class after the other, none twice."""
    seen = set()
    for round_ in itertools.zip_longest(*(list(records) for records in maps.values())):
        for ecg_id in round_:
            if ecg_id is not None and ecg_id not in seen:
                seen.add(ecg_id)
                yield ecg_id


def _viewed(run, place, kept, row, maps, cells, ecg_id):
    explained = {name: records[ecg_id] for name, records in maps.items() if ecg_id in records}
    prediction, truth = _prediction(run, place, ecg_id)
    if len(prediction):  # the likeliest class first
        likely = [name for name in prediction["class"] if name in explained]
        explained = {name: explained[name] for name in dict.fromkeys([*likely, *explained])}
    shown = []
    for name, methods in explained.items():
        for method in in_order(run, methods):
            shown.append(_viewed_map(name, method, *methods[method]))
    own = cells[cells["ecg_id"] == ecg_id].drop(columns="ecg_id")
    own = own[own["rank"] <= CELLS_SHOWN]
    who = _title(place, ecg_id)
    return ViewedRecord(
        title=f"{who}: {', '.join(explained)}{truth}",
        signal=kept["signals"][row],
        sampling_rate=int(kept["sampling_rate"]),
        maps=shown,
        segments=kept["segments"][row],
        cells=own,
        prediction=prediction,
        notes=_notes(place),
    )


def in_order(run: Run, methods: Mapping[str, tuple[dict, int]]) -> list[str]:
    """Methods (name -> stored arrays and row) as they are shown: those that speak of leads first,
    in the order of the run's checks, else of UNCHECKED, else of the glossary; controls last.
    """
    orders = (checked(run), UNCHECKED, list(METHODS))

    def place(name):
        arrays, _ = methods[name]
        places = [_index(order, name) for order in orders]
        places[2] = _index(orders[2], name.split(":")[0])  # presets beside their method
        return (name in CONTROLS, not arrays.get("has_lead_axis", True), *places, name)

    return sorted(methods, key=place)


def checked(run: Run) -> list[str]:
    """Methods in the order in which the run's checks place them."""
    table = run.csv(STANDINGS)
    return [] if table is None else list(table["method"])


def _index(order, name):
    return order.index(name) if name in order else len(order)


def why_first(run: Run, record: ViewedRecord) -> str:
    """Why the map that is shown first of a record is that one; empty without a choice."""
    shown = list(dict.fromkeys(one.method for one in record.maps))
    if len(shown) < 2:
        return ""
    start = f"Shown first is {method_in_words(shown[0])}"
    if shown[0] in checked(run):
        return (
            f"{start}, which the checks of this network's methods place before the others that are "
            f"here and speak of single leads ({STANDINGS})."
        )
    adds_up = ", because its values add up to the network's answer" if shown[0] == "ig" else ""
    return (
        f"{start}{adds_up}. Which method fits this network best has not been checked "
        "(sanity_checks.py)."
    )


def _title(place, ecg_id):
    own = place.name.removeprefix("local").removeprefix("_")
    return f"Record {own}" if own else f"ECG {ecg_id}"


def _viewed_map(pathology, method, arrays, row):
    note = f"Logit {float(arrays['logit'][row]):z.2f}."
    if "ledger" in arrays:
        logit, source, bias, *rest = map(float, arrays["ledger"][row])
        note = (
            f"Logit {logit:z.2f} = signal {source:z.2f} + constants of the network {bias:z.2f} "
            f"+ rest {sum(rest):z.3f}."
        )
    elif "standard_error" in arrays:
        largest = float(np.nanmax(arrays["standard_error"][row]))
        note += f" Shares, summing up; standard error of a sample's share at most {largest:.4f}"
        note += ", in some share more than was wanted." if arrays["missed"][row] else "."
    elif "gap" in arrays:
        note += f" The map misses it by {abs(float(arrays['gap'][row])):.3f}."
    values = arrays["attributions"][row]
    return ViewedMap(pathology, method, values, bool(arrays["signed"]), str(arrays["unit"]), note)


def _prediction(run, place, ecg_id):
    """What the network says of an ECG, and its labels, as far as a stage has written them."""
    stored = place / "prediction.csv"
    if run.holds(stored):
        table = read_table(stored)
        return table[table["positive"] != UNSEEN].head(PREDICTED), ""
    path = run.folder / "predictions.npz"
    if is_regression(run.info.task) or not run.holds(path) or not _of_own_data(run, place):
        return pd.DataFrame(), ""
    arrays = read_npz(path)
    rows = np.flatnonzero(arrays["ecg_id"] == ecg_id)
    if not len(rows):
        return pd.DataFrame(), ""
    logits = arrays["logits"][rows[0]]
    table = prediction_table(run.info.labels, logits, run.info.thresholds, run.unseen())
    labels = [
        name for name, one in zip(run.info.labels, arrays["labels"][rows[0]], strict=True) if one
    ]
    table.insert(2, "label", ["yes" if name in labels else "no" for name in table["class"]])
    seen = table[table["positive"] != UNSEEN]
    return seen.head(PREDICTED), f" (labelled {', '.join(labels) or 'none of the classes'})"


def _of_own_data(run, place):
    """Whether the explained records are of the data set that the network was trained and tested
    on: in another one the same ecg_id is somebody else.
    """
    own, path = run.info.dataset, place / "local.json"
    settings = read_json(path).get("settings", {}) if run.holds(path) else {}
    return own is None or settings.get("data") == own["sha256"]


def _notes(place: Path) -> pd.DataFrame:
    """Measurements and signal quality that the stage has written beside the maps."""
    path = place / "notes.csv"
    return condensed(read_csv(path)) if path.is_file() else pd.DataFrame()


SIGNAL = "signal: "  # how lines on signal quality begin


def condensed(notes: pd.DataFrame) -> pd.DataFrame:
    """Notes with one line on signal quality: what is flagged, and what was not judged."""
    is_flag = notes["what"].str.startswith(SIGNAL)
    flags = notes[is_flag]
    if not len(flags):
        return notes
    names = flags["what"].str.removeprefix(SIGNAL)
    raised = list(names[flags["value"] == "raised"])
    blank = list(names[flags["value"] == "not judged"])
    line = {
        "what": "signal quality",
        "value": f"flagged: {', '.join(raised)}" if raised else "nothing flagged",
        "normal in adults": "nothing flagged",
        "note": f"not judged: {', '.join(blank)}" if blank else "",
    }
    return pd.concat([notes[~is_flag], pd.DataFrame([line])], ignore_index=True)
