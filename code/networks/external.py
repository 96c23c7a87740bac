"""External validation: a model tested on a cohort that it was not made for.

Only classes that both know are compared; what else differs (rate, length, where labels come from)
is said beside the scores, for it may explain a difference as well as the patients do.
"""

from pathlib import Path

import numpy as np

from common.labels import slug
from networks.checkpoints import ModelInfo
from networks.metrics import evaluable
from records.dataset import Dataset
from records.layout import read_layout

FOLDER = "external"
MIN_POSITIVES = 5  # below, an AUC rests on too little


def is_external(facts: dict) -> bool:
    """Whether `settle` found that the data set is another one than the model was trained on."""
    used = facts.get("data_set", {})
    own = used.get("trained_on")
    return bool(own) and own.get("sha256") != used["used"]["sha256"]


def results_folder(run: Path, data_path: str | Path) -> Path:
    """<run>/external/<name of the data set's folder>."""
    return Path(run) / FOLDER / (slug(Path(data_path).resolve().name) or "data")


def describe(facts: dict, info: ModelInfo, test: Dataset, data_path: str | Path) -> dict:
    """What an external test compares, in plain values: data sets, classes in common, those left out
    and why, differences.
    """
    positives = test.labels.sum(axis=0)
    fine = evaluable(test.labels)
    reasons = {
        name: _why_not(name, int(count), scored, test)
        for name, count, scored in zip(info.labels, positives, fine, strict=True)
    }
    compared = [name for name, why in reasons.items() if not why]
    used, own = facts["data_set"]["used"], facts["data_set"]["trained_on"]
    few = [
        name
        for name, count in zip(info.labels, positives, strict=True)
        if name in compared and count < MIN_POSITIVES
    ]
    return {
        "data_set": used["name"],
        "trained_on": own["name"],
        "records": len(test),
        "patients": len(np.unique(test.patient_id)),
        "classes_compared": compared,
        "classes_not_compared": {name: why for name, why in reasons.items() if why},
        "few_positives": few,
        "differences": differences(info, test, data_path),
    }


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
