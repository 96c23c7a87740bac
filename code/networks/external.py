"""External validation: a model tested on a cohort that it was not made for.

Only classes that both know are compared; what else differs (rate, length, where labels come from)
is said beside the scores, for it may explain a difference as well as the patients do.
"""

import argparse
import re
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np

from common.labels import is_regression, slug
from networks.checkpoints import ModelInfo
from networks.metrics import evaluable
from records.dataset import Dataset, label_columns, load_table
from records.layout import read_layout

FOLDER = "external"
MOST_NAMED = 4  # labels of records that are left out
STATEMENT = re.compile(r"'([^']+)'\s*:")  # in scp_codes


def is_external(facts: dict) -> bool:
    """Whether `settle` found that the data set is another one than the model was trained on."""
    used = facts.get("data_set", {})
    own = used.get("trained_on")
    return bool(own) and own.get("sha256") != used["used"]["sha256"]


def results_folder(run: Path, data_path: str | Path) -> Path:
    """<run>/external/<name of the data set's folder>."""
    return Path(run) / FOLDER / (slug(Path(data_path).resolve().name) or "data")


def describe(facts: dict, info: ModelInfo, test: Dataset, args: argparse.Namespace) -> dict:
    """What an external test compares, in plain values: data sets, classes in common, those left out
    and why, records without a label of the task, differences.
    """
    positives = test.labels.sum(axis=0)
    fine = evaluable(test.labels) | is_regression(info.task)  # amplitudes: every lead has one
    reasons = {
        name: _why_not(name, int(count), scored, test)
        for name, count, scored in zip(info.labels, positives, fine, strict=True)
    }
    compared = [name for name, why in reasons.items() if not why]
    used, own = facts["data_set"]["used"], facts["data_set"]["trained_on"]
    without = without_label(info, args.data_path, args.limit)
    said = in_a_sentence(without, info.task, args.keep_unlabelled, compared)
    return {
        "data_set": used["name"],
        "trained_on": own["name"],
        "records": len(test),
        "patients": len(np.unique(test.patient_id)),
        "classes_compared": compared,
        "classes_not_compared": {name: why for name, why in reasons.items() if why},
        "without_label": {**without, "kept": args.keep_unlabelled},
        "differences": [*said, *differences(info, test, args.data_path)],
    }


def without_label(info: ModelInfo, data_path: str | Path, limit: int | None = None) -> dict:
    """Of the `records` of the folds to test how many have `other_labels` than the model's task has,
    and how many have `no_label` at all; `often`: the most frequent of the other labels.
    """
    table = load_table(data_path)
    labelled = label_columns(Path(data_path), info.task, table, info.labels)["labelled"]
    folds = np.isin(table["strat_fold"], info.folds["test"])
    folds[limit or len(table) :] = False
    codes = table.reindex(columns=["scp_codes"])["scp_codes"]  # blank where there are none
    names = [STATEMENT.findall(str(text)) for text in codes[folds & ~labelled]]
    often = Counter(chain.from_iterable(names)).most_common(MOST_NAMED)
    n_other = sum(map(bool, names))
    return {
        "records": int(folds.sum()),
        "other_labels": n_other,
        "no_label": len(names) - n_other,
        "often": dict(often),
    }


def in_a_sentence(without: dict, task: str, kept: bool, compared: list[str]) -> list[str]:
    """What becomes of records without a label of the task, as a list of no or one sentence.

    Such a record is no negative by itself: who wrote down a rhythm alone may not have looked for
    an infarction. The model's own test leaves them out too, so that like is compared with like.
    """
    n_other, n_none = without["other_labels"], without["no_label"]
    if is_regression(task) or not n_other + n_none:
        return []
    often = ", ".join(f"{name} {count}" for name, count in without["often"].items())
    parts = [f"{n_other} with other labels alone ({often})"] if n_other else []
    parts += [f"{n_none} without any"] if n_none else []
    what = f"{n_other + n_none} of {without['records']} records have no label of {task}"
    if not kept:
        way = (
            "they are left out, as in the model's own test, for what nobody wrote down is not "
            "known to be absent; --keep_unlabelled counts them as negatives of every class"
        )
    else:
        way = "they count as negatives of every class (--keep_unlabelled)"
        if "NORM" in compared:
            way += ", also of NORM, which some of them may be"
    return [f"{what}, {' and '.join(parts)}: {way}"]


def _why_not(name, count, scored, test):
    if name in test.unknown:
        return "the data set has no such label"
    if not scored:
        return "no record has it" if count == 0 else "every record has it"
    return ""


def differences(info: ModelInfo, test: Dataset, data_path: str | Path) -> list[str]:
    """Sentences on what is another in the cohort beside its patients."""
    layout = read_layout(data_path)
    seconds = test.signals.shape[1] / test.sampling_rate
    stored = layout.stored_rate(info.sampling_rate)
    said = [f"records last {seconds:g} s; the model sees {info.crop_seconds:g} s at a time"]
    if stored != info.sampling_rate:
        said.append(f"recorded at {stored} Hz, resampled to the model's {info.sampling_rate} Hz")
    source = layout.facts.get("label_source")
    if source:
        said.append(f"labels: {source}")
    return said


def in_words(described: dict) -> str:
    """Two lines for people: what was compared, and what was not."""
    compared, left_out = described["classes_compared"], described["classes_not_compared"]
    lines = [
        f"external test on {described['data_set']} (trained on {described['trained_on']}): "
        f"{described['records']} records of {described['patients']} patients; classes compared: "
        f"{', '.join(compared) or 'none'}"
    ]
    if left_out:
        lines.append(f"not compared: {', '.join(left_out)}")
    lines.append("; ".join(described["differences"]))
    return "\n".join(lines)
