"""From the data base's scp_codes to label arrays: parsing, likelihoods, multi-hot rows, counts per
class.
"""

import ast
from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from common.labels import LABEL_MAPPINGS, STATEMENTS, labels_of_statement
from records.wfdb_files import Problem


class Labels(NamedTuple):
    """Label arrays of a table's records.

    multihot  task -> # (N, classes) int64 0/1, columns in the order of LABEL_MAPPINGS
    unknown   statement that is not one of the 71 -> number of records that carry it
    """

    multihot: dict[str, np.ndarray]
    unknown: dict[str, int]


def parse_scp_codes(text: object) -> dict[str, float]:
    """ "{'NORM': 100.0, 'SR': 0.0}" -> {'NORM': 100.0, 'SR': 0.0}; ValueError where it is anything
    else.
    """
    try:
        codes = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise ValueError(f"{text!r} is not a dict of statements and likelihoods") from None
    numbers = (int, float)
    if not isinstance(codes, dict) or not all(
        isinstance(name, str)
        and isinstance(likelihood, numbers)
        and not isinstance(likelihood, bool)
        and 0 <= likelihood <= 100
        for name, likelihood in codes.items()
    ):
        raise ValueError(f"{text!r} is not a dict of statements and likelihoods from 0 to 100")
    return {name: float(likelihood) for name, likelihood in codes.items()}


def parse_column(table: pd.DataFrame) -> tuple[list[dict[str, float] | None], list[Problem]]:
    """scp_codes of every record (None where it cannot be parsed) and one Problem for
    each of those.
    """
    codes, problems = [], []
    for ecg_id, text in zip(table.index, table["scp_codes"], strict=True):
        try:
            codes.append(parse_scp_codes(text))
        except ValueError as error:
            codes.append(None)
            problems.append(Problem(int(ecg_id), "unparsable scp_codes", str(error)))
    return codes, problems


def counts(statement: str, likelihood: float, min_likelihood: float) -> bool:
    """Whether a statement counts. The threshold concerns diagnostic statements alone: form and
    rhythm carry none (0).
    """
    diagnostic = statement in STATEMENTS and bool(STATEMENTS[statement][0])
    return not diagnostic or likelihood >= min_likelihood


def encode(codes: list[dict[str, float]], min_likelihood: float = 0.0) -> Labels:
    """Multi-hot labels of all six tasks for parsed scp_codes."""
    multihot = {
        task: np.zeros((len(codes), len(names)), dtype=np.int64)
        for task, names in LABEL_MAPPINGS.items()
    }
    columns = {
        task: {name: column for column, name in enumerate(names)}
        for task, names in LABEL_MAPPINGS.items()
    }
    implied = {
        (statement, task): [columns[task][label] for label in labels_of_statement(statement, task)]
        for statement in STATEMENTS
        for task in LABEL_MAPPINGS
    }
    unknown = Counter()
    for row, statements in enumerate(codes):
        unknown.update(statement for statement in statements if statement not in STATEMENTS)
        for statement, likelihood in statements.items():
            if statement in STATEMENTS and counts(statement, likelihood, min_likelihood):
                for task, array in multihot.items():
                    array[row, implied[statement, task]] = 1
    return Labels(multihot, dict(sorted(unknown.items())))


def count_classes(multihot: dict[str, np.ndarray]) -> dict[str, dict]:
    """Task -> records with any label of the task, without one, and records per class."""
    return {
        task: {
            "labelled": int(array.any(axis=1).sum()),
            "unlabelled": int((~array.any(axis=1)).sum()),
            "classes": dict(zip(LABEL_MAPPINGS[task], array.sum(axis=0).tolist(), strict=True)),
        }
        for task, array in multihot.items()
    }
