"""What a stage takes from its checkpoint by default: data set, folder, labels."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.cli import check_names, say_left_out
from common.files import UserError
from common.labels import TASKS, is_regression
from networks import distributed
from networks.checkpoints import ModelInfo, find_checkpoint, run_folder
from records.dataset import TABLE, content_hash, identify

PAPER_PATHOLOGIES = ("NORM", "LVH", "CLBBB", "IMI", "AMI")
DATA_PATH = "data/ptbxl"  # of a checkpoint that does not say what it was trained on


@dataclass(frozen=True)
class Place:
    """Where a stage works.

    run    folder of the run: results go to its subfolders
    facts  for the stage's JSON: the data set in use and, where it is another one than the model was
           trained on, that one and a sentence
    """

    run: Path
    facts: dict


def settle(
    args: argparse.Namespace, info: ModelInfo, checkpoint: str | Path, own_record: bool = False
) -> Place:
    """Fill in --data_path from the checkpoint where it was not given, and say where results go.

    own_record  a record of the user's own is explained: no data set is needed
    Another data set than the model's own is said in one line. Raises UserError where the model's
    own is not there.
    """
    checkpoint = find_checkpoint(checkpoint)
    run = results_folder(args.output_path, info, checkpoint)
    if own_record:
        from common.figure_files import set_up_figures

        set_up_figures("a record of one's own · " + network_in_words(info), dpi=dpi_of(args))
        return Place(run, {})
    if args.data_path is None:
        args.data_path = str(own_data(info, checkpoint))
    facts = {"data_set": data_facts(args.data_path, info, checkpoint)}
    note = facts["data_set"].get("note", "")
    caption_figures(args, info, note)
    if note and distributed.is_main():
        print(f"note: {note}")
    return Place(run, facts)


def caption_figures(args: argparse.Namespace, info: ModelInfo, note: str = "") -> None:
    """Have the stage's figures name data set and network, and mark simulated data."""
    from common.figure_files import set_up_figures  # not every stage that settles draws

    used = identify(args.data_path, info.sampling_rate)
    name = used["name"].partition(" (")[0]  # the numbers of whole versions are for the report
    caption = f"data: {name} · {network_in_words(info)}"
    set_up_figures(caption, note, used["simulated"], dpi_of(args))


def network_in_words(info: ModelInfo) -> str:
    """'network: lenet_subdiagnostic'"""
    return f"network: {info.run_folder_name}"


def dpi_of(args: argparse.Namespace) -> int | None:
    """What --dpi asks for; None where a stage has no such option."""
    return getattr(args, "dpi", None)


def results_folder(output_path: str | Path | None, info: ModelInfo, checkpoint: Path) -> Path:
    """The run folder under --output_path; without it the one that the checkpoint lies in."""
    if output_path:
        return run_folder(output_path, info)
    home = checkpoint.parent
    return home.parent if home.name == "checkpoints" else home / info.run_folder_name


def own_data(info: ModelInfo, checkpoint: Path) -> Path:
    """Folder of the data set that the model was trained on; UserError where it is not there."""
    if info.dataset is None:
        return Path(DATA_PATH)
    folder = trained_on(info, checkpoint)
    if not (folder / TABLE).is_file():
        raise UserError(
            f"the model was trained on {info.dataset['name']} in {folder}, which is not there: "
            "name a data set with --data_path"
        )
    return folder


def trained_on(info: ModelInfo, checkpoint: Path) -> Path:
    """The folder noted in the checkpoint, seen from the working directory."""
    home = os.path.realpath(checkpoint.parent)
    folder = os.path.normpath(os.path.join(home, info.dataset["folder"]))
    return Path(min(folder, os.path.relpath(folder), key=len))


def dataset_note(data_path: str | Path, sampling_rate: int, checkpoints: Path) -> dict:
    """What a checkpoint in the folder `checkpoints` stores of its data set; see ModelInfo.dataset.

    The folder is noted relative to the checkpoint's, so that a tree that is moved as a whole holds.
    """
    folder = os.path.relpath(os.path.realpath(data_path), os.path.realpath(checkpoints))
    return {**identify(data_path, sampling_rate), "folder": folder}


def data_facts(data_path: str | Path, info: ModelInfo, checkpoint: Path) -> dict:
    """The data set in use; with another one than the model's own, that one too and a `note`."""
    if not content_hash(data_path, info.sampling_rate):
        return {}  # not a data set: reading it says what is missing
    used = {**identify(data_path, info.sampling_rate), "folder": str(data_path)}
    if info.dataset is None or used["sha256"] == info.dataset["sha256"]:
        return {"used": used}
    own = {**info.dataset, "folder": str(trained_on(info, checkpoint))}
    if os.path.realpath(data_path) == os.path.realpath(own["folder"]):
        note = f"{used['name']} in {data_path} has changed since the model was trained on it"
    else:
        note = f"data set: {_in_words(used)}; the model was trained on {_in_words(own)}"
    return {"used": used, "trained_on": own, "note": note}


def _in_words(one):
    kind = ", simulated" if one["simulated"] and "simulated" not in one["name"] else ""
    return f"{one['name']} ({one['folder']}{kind})"


# ---------------------------------------------------------------- labels


def default_pathologies(labels: Sequence[str]) -> list[str]:
    """The paper's five as far as a model knows them, where it knows at least two; else all its
    labels.
    """
    known = [name for name in PAPER_PATHOLOGIES if name in labels]
    return known if len(known) >= 2 else list(labels)


def choose_pathologies(asked: Sequence[str] | None, info: ModelInfo) -> list[str]:
    """The labels that a stage is about: those asked for, else the default; says what it leaves out.

    The labels of a regression model are leads. Raises UserError for a label the model does not
    know.
    """
    if asked:
        lead = is_regression(info.task)
        kind = "lead (the targets of an amplitude model)" if lead else "pathology"
        return list(dict.fromkeys(check_names(kind, asked, info.labels)))
    own = info.task not in TASKS  # classes of one's own: nothing is known of them
    chosen = list(info.labels) if own else default_pathologies(info.labels)
    others = [name for name in info.labels if name not in chosen]
    if others and distributed.is_main():
        print(f"pathologies: {', '.join(chosen)}")
        say_left_out(dict.fromkeys(others, "not one of the paper's; --pathologies names others"))
    return chosen
