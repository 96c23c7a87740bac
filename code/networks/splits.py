"""Which records a network is trained, chosen and tested on, and what these cannot say."""

import argparse
import hashlib
from collections.abc import Sequence

import numpy as np

from common.files import UserError
from common.labels import LEADS, is_regression
from networks import distributed
from networks.checkpoints import ModelInfo
from networks.inference import load_dataset_for
from networks.metrics import evaluable
from records.dataset import Dataset, shared_patients
from records.stored import feed, pieces

FOLDS = {"train": [1, 2, 3, 4, 5, 6, 7, 8], "validation": [9], "test": [10]}


def load_splits(
    args: argparse.Namespace, info: ModelInfo, names: Sequence[str] = tuple(FOLDS)
) -> dict[str, Dataset]:
    """Split name -> its records; those without a label of the task are dropped unless they are to
    be kept.
    """
    if args.keep_unlabelled and is_regression(info.task):
        raise UserError(
            f"--keep_unlabelled has no meaning for {info.task}: without amplitudes there is "
            "nothing to learn"
        )
    data = load_dataset_for(info, args.data_path, args.limit)
    if info.crop > data.signals.shape[1]:
        raise UserError(
            f"records of {data.signals.shape[1]} samples are shorter than the crop of {info.crop}"
        )
    leads = [LEADS.index(lead) for lead in info.leads]
    usable = data.labelled | args.keep_unlabelled
    # one selection per split: the signals of the whole of PTB-XL are copied once, not twice
    splits = {name: data.rows(usable & np.isin(data.fold, info.folds[name])) for name in names}
    for name, part in splits.items():
        if not len(part):
            among = f" among the first {args.limit}" if args.limit else ""
            raise UserError(
                f"no {name} record: folds {' '.join(map(str, info.folds[name]))} of "
                f"{args.data_path} hold none with a label of {info.task}{among}"
            )
        finite = [np.isfinite(some[:, :, leads]).all(axis=(1, 2)) for some in pieces(part.signals)]
        bad = part.ecg_id[~np.concatenate(finite)]
        if len(bad):
            raise UserError(
                "signals that are not numbers in the records with ecg_id "
                f"{' '.join(map(str, bad))}: preprocess again, or leave them out of the table"
            )
    if not args.allow_patient_overlap:
        check_patients(splits)
    return splits


def check_patients(splits: dict[str, Dataset]) -> None:
    """UserError that names the patients with records in more than one split."""
    names = list(splits)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            shared = shared_patients(splits[first], splits[second])
            if shared:
                raise UserError(
                    f"{shared} have records in both {first} and {second}: their scores would be "
                    "too good; --allow_patient_overlap to go on"
                )


def fingerprint(splits: dict[str, Dataset]) -> str:
    """Hash of the records, labels and signals: what makes one data set another."""
    digest = hashlib.sha256()
    for part in splits.values():
        feed(digest, part.ecg_id, part.labels, signals=part.signals)
    return digest.hexdigest()[:16]


def left_out(data: Dataset, split: str) -> str | None:
    """A sentence on the classes that a split cannot score, or None."""
    if is_regression(data.task) or evaluable(data.labels).all():
        return None
    names = [data.label_names[c] for c in np.flatnonzero(~evaluable(data.labels))]
    return (
        f"{split}: no positive (or no negative) among {len(data)} records, left out of its "
        f"mean: {', '.join(names)}"
    )


def describe(splits: dict[str, Dataset], keep_unlabelled: bool) -> None:
    """Say what is trained on and what cannot be scored (main process)."""
    if not distributed.is_main():
        return
    kept = "kept" if keep_unlabelled else "dropped"
    print(
        ", ".join(f"{len(part)} {name}" for name, part in splits.items())
        + f" records (without a label of the task: {kept})"
    )
    for name in ("validation", "test"):
        if sentence := left_out(splits[name], name):
            print(sentence)
