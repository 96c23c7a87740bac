"""What the ECG viewer shows, packed small: signals, maps and segments as base64, tables as text."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from markupsafe import Markup

from common.words import CLASSES, COLUMNS, method_in_words
from common.words import SEGMENTS as SEGMENT_WORDS
from ecg.segments import SEGMENTS
from reporting.page import cell, head, is_text

UNSEEN_MV, UNSEEN_MAP = -32768, -128  # blanks in int16 microvolt and in int8 maps


@dataclass(frozen=True)
class ViewedMap:
    """One attribution of one record.

    values  # (T, 12) relevance; NaN where the network does not look
    note    what is said of it in one line: logit, ledger or gap
    """

    pathology: str
    method: str
    values: np.ndarray
    signed: bool
    unit: str
    note: str = ""


@dataclass(frozen=True)
class ViewedRecord:
    """One ECG with its maps and the tables beside it.

    signal    # (T, 12) mV
    segments  # (T, 12) number of the segment of ecg.segments.SEGMENTS, or None
    cells     pathology, method, lead, segment and what else is shown of the largest cells
    prediction, notes: tables, empty where there is nothing to say
    """

    title: str
    signal: np.ndarray
    sampling_rate: int
    maps: Sequence[ViewedMap]
    segments: np.ndarray | None = None
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    prediction: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: pd.DataFrame = field(default_factory=pd.DataFrame)


def book(records: Sequence[ViewedRecord]) -> Markup:
    """JSON of the records, safe inside a script element: no text in it can end that element."""
    content = {"segments": list(SEGMENTS), "records": [_record(record) for record in records]}
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _record(record):
    microvolt = np.clip(np.round(record.signal * 1000), -32767, 32767)
    signal = np.where(np.isfinite(record.signal), microvolt, UNSEEN_MV).astype("<i2")
    segments = None if record.segments is None else _packed(record.segments.astype(np.uint8))
    return {
        "title": record.title,
        "n": len(record.signal),
        "rate": record.sampling_rate,
        "signal": _packed(signal),
        "segments": segments,
        "maps": [_map(one) for one in record.maps],
        "cells": _cells(record),
        "prediction": _prediction(record.prediction),
        "notes": _table(record.notes, "Measured and noted"),
    }


def _map(one):
    size = np.nanmax(np.abs(one.values), initial=0)
    largest = float(size) if size > 0 else 1.0
    steps = np.round(one.values / largest * 127)
    values = np.where(np.isfinite(one.values), steps, UNSEEN_MAP).astype(np.int8)
    return {
        "title": f"{one.pathology} · {method_in_words(one.method)}",
        "values": _packed(values),
        "largest": largest,
        "signed": bool(one.signed),
        "unit": one.unit,
        "note": one.note,
    }


def _packed(array):
    """(T, 12) array as base64 of its leads one after the other."""
    return base64.b64encode(np.ascontiguousarray(array.T).tobytes()).decode()


def _table(frame, caption):
    names = list(map(str, frame.columns))
    rows = [
        list(map(cell, row, names))
        for row in frame.astype(object).itertuples(index=False, name=None)
    ]
    return {
        "caption": caption,
        "columns": list(map(head, names)),
        "meanings": [COLUMNS.get(name, "") for name in names],
        "text": [bool(is_text(frame.iloc[:, place])) for place in range(len(names))],
        "rows": rows,
    }


def _prediction(frame):
    """The classes without their words, which stand on hover: room for the numbers."""
    words = frame.get("in words", pd.Series("", index=frame.index))
    short = frame.drop(columns=["in words", "networks"], errors="ignore")
    caption = "What the network says"
    if "networks" in frame and len(frame):
        caption += f" (lowest and highest over {frame['networks'].iloc[0]} seeds)"
    return {**_table(short, caption), "hover": list(map(str, words.fillna("")))}


def _cells(record):
    """The cells table, with the number of the map that each row belongs to."""
    if not len(record.cells):
        return {**_table(pd.DataFrame(), ""), "cells": [], "maps": []}
    numbers = {(one.pathology, one.method): number for number, one in enumerate(record.maps)}
    keys = zip(record.cells["pathology"], record.cells["method"], strict=True)
    shown = record.cells.drop(columns=["pathology", "method"]).dropna(axis=1, how="all")
    shown = shown.assign(segment=[_segment_words(name) for name in shown["segment"]])
    return {
        **_table(shown, "Strongest cells (click one to see where it is)"),
        "cells": record.cells[["lead", "segment"]].astype(str).to_numpy().tolist(),
        "maps": [numbers.get(key, -1) for key in keys],
    }


def _segment_words(name):
    return SEGMENT_WORDS.get(name, str(name))


UNSEEN = "never seen"  # in training: what the network puts out for such a class says nothing


def probabilities_of(logits: Sequence[float]) -> np.ndarray:
    """Logits as probabilities, of the same shape, without overflow."""
    return 1 / (1 + np.exp(-np.clip(np.asarray(logits, float), -60, 60)))


def prediction_table(
    labels: Sequence[str],
    logits: np.ndarray,
    thresholds: Sequence[float] | None,
    unseen: Sequence[str] = (),
) -> pd.DataFrame:
    """Classes by falling probability, those of which training had no record (`unseen`) last.

    logits  # (classes,) of one record
    """
    probability = probabilities_of(logits)
    limits = np.full(len(labels), np.nan)
    if thresholds is not None:
        limits[:] = thresholds
    strange = np.isin(labels, list(unseen))
    order = np.lexsort((-probability, strange))
    above = probability > limits
    answers = np.where(above, "yes", "no")
    answers = np.where(np.isfinite(limits), answers, "no threshold")
    answers = np.where(strange, UNSEEN, answers)
    return pd.DataFrame(
        {
            "class": [labels[k] for k in order],
            "in words": [CLASSES.get(labels[k], "") for k in order],
            "probability": probability[order],
            "threshold": limits[order],
            "positive": [str(answers[k]) for k in order],
        }
    )
