"""The run that is reported: its folder, its tables, the data sets its stages have read."""

import argparse
import contextlib
import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd

from common.files import UserError, read_csv, read_json
from common.stage import broken_link, command, read_stage
from networks.checkpoints import ModelInfo, check_against, find_checkpoint, load_checkpoint
from networks.defaults import own_data, results_folder
from records import origin
from records.dataset import PLANTED, TABLE

# stage files, in the order of the stages -> the script that writes them
STAGE_OF = {
    "train": "train_model",
    "test": "train_model",
    "tcav": "tcav_analysis",
    "local": "lrp_analysis",
    "glocal": "glocal_analysis",
    "sanity": "sanity_checks",
    "discovery": "discovery",
    "counterfactual": "counterfactuals",
}
ORDER = tuple(STAGE_OF)
# files of a run folder that only a stage writes -> its own json
WRITTEN_BY = {"log.jsonl": "train.json", "predictions.npz": "test.json"}
NAMES_OF_CLASSES = ("class", "pathology", "in words", "card", "first", "second", "label", "group")


@dataclass(frozen=True)
class Run:
    """A run folder and what its checkpoint says of itself.

    home  the run folder that the checkpoint lies in, where training and its test have written; None
          where that is `folder`
    checkpoint  the file of the network
    """

    folder: Path
    info: ModelInfo
    home: Path | None = None
    checkpoint: Path | None = None

    def csv(self, name: str) -> pd.DataFrame | None:
        """A table under the run folder, or None where its stage has not written it."""
        path = self.folder / name
        return read_table(path) if self.holds(path) else None

    def json(self, name: str) -> dict:
        """A JSON object under the run folder, or else at the checkpoint's home; empty where there
        is none.
        """
        for folder in (self.folder, self.home or self.folder):
            path = folder / name
            if path.is_file() and not is_linked(path, folder):
                return read_json(path)
        return {}

    def holds(self, path: Path) -> bool:
        """Whether a path is a file of the run: neither a link, nor below one, nor a pipe."""
        return path.is_file() and not is_linked(path, self.folder)

    def files(self, pattern: str) -> list[Path]:
        """Files under the run folder, in the order of their names."""
        return sorted(filter(self.holds, self.folder.glob(pattern)))

    def folders(self, pattern: str) -> list[str]:
        """Names of the folders that match, in order."""
        found = [path for path in self.folder.glob(pattern) if path.is_dir()]
        return sorted(path.name for path in found if not path.is_symlink())

    def simulated(self) -> bool:
        """Whether any data set that the stages read was simulated."""
        return any(simulated_sets(self.folder).values())

    def only_simulated(self) -> bool:
        """Whether the stages read data sets, and every one of them was simulated."""
        sets = simulated_sets(self.folder)
        return bool(sets) and all(sets.values())

    def unseen(self) -> list[str]:
        """Classes of which the network was trained on no record, as far as its training says."""
        told = self.json("train.json")
        counts = told.get("counts", {}).get("positives") or {}
        return [name for name, count in counts.items() if count == 0]

    def data_in_words(self) -> str:
        """The data sets that the stages read."""
        said = [_in_words(path, made) for path, made in simulated_sets(self.folder).items()]
        own = "records of one's own" if self.folders("local_*") else "not named by any stage"
        return " and ".join(said) or own

    def command(self, stage: str, *flags: str, **options: object) -> str:
        """The line that runs a stage on this run: its network, and where they are not what the
        stage would take by itself, the folder of results and the data set.
        """
        home = self.home or self.folder
        away = os.path.realpath(home) != os.path.realpath(self.folder)
        data = None if stage == "report" else self._data_to_name()
        return command(
            stage,
            *flags,
            model_path=self._network_to_name(home),
            data_path=data,
            output_path=self.folder.parent if away else None,
            **options,
        )

    def _network_to_name(self, home):
        """The run folder that holds the checkpoint; the file itself where it lies elsewhere."""
        usual = home / "checkpoints" / "best_model.ckpt"
        return home if self.checkpoint in (None, usual) else self.checkpoint

    def _data_to_name(self):
        """The data set that a stage has to be told of: the one that stages here have read, where
        the network's own is another or not there; None where there is nothing to tell.
        """
        read = [path.parent for path in data_files(self.folder)]
        read = [folder for folder in read if (folder / TABLE).is_file()]
        if self.checkpoint is None or not read:
            return None
        with contextlib.suppress(UserError):
            own = os.path.realpath(own_data(self.info, self.checkpoint))
            if own in map(os.path.realpath, read):
                return None
        return min(str(read[-1]), os.path.relpath(read[-1]), key=len)

    def foreign_data(self) -> list[str]:
        """One line per data set beyond training's: explained there, trained elsewhere."""
        own, *others = data_files(self.folder) or [None]
        return [
            f"some results are of {other.parent.name}; the network was trained on "
            f"{own.parent.name}."
            for other in others
        ]


def read_table(path: Path) -> pd.DataFrame:
    """A table of a stage: a class may be called 1, NA or null, and only a blank is blank."""
    as_text = dict.fromkeys(NAMES_OF_CLASSES, str)
    return read_csv(path, dtype=as_text, keep_default_na=False, na_values=[""])


def find_run(args: argparse.Namespace) -> Run:
    """The run that --model_path and --output_path mean."""
    checkpoint = find_checkpoint(args.model_path)
    info = load_checkpoint(checkpoint)[1]
    check_against(args, info)
    home = results_folder(None, info, checkpoint)
    folder = results_folder(args.output_path, info, checkpoint)
    if not folder.is_dir():
        raise UserError(
            f"{folder} does not exist: no stage has written results of this network there"
        )
    return Run(folder, info, home, checkpoint)


def is_linked(path: Path, folder: Path) -> bool:
    """Whether a path below `folder` is a link, or below one: it may lie anywhere."""
    steps = [path, *path.parents]
    return any(step.is_symlink() for step in steps[: steps.index(folder)])


def _in_words(path, simulated):
    """A data set as its preprocessing.json names it, with its folder."""
    named = read_json(path).get("counts", {}).get("version") if path.is_file() else None
    kind = "a simulated cohort" if simulated else "a data set"
    name = str(named or kind).partition(" (")[0]  # the numbers of whole versions are in provenance
    return f"{name} (folder {path.parent.name})"


def stage_files(folder: Path) -> list[Path]:
    """The JSON files of all stages under a run folder, in the order in which the stages are run."""
    paths = [path for path in sorted(folder.glob("**/*.json")) if not is_linked(path, folder)]
    found = [path for path in paths if _is_stage(path)]
    return sorted(
        found, key=lambda path: ORDER.index(path.stem) if path.stem in ORDER else len(ORDER)
    )


def _is_stage(path):
    try:
        return "stage" in read_json(path)
    except UserError:
        return False


def data_files(folder: Path) -> list[Path]:
    """preprocessing.json of the data sets that the stages have read, training's first. A place that
    is gone (of a run that was moved) does not count beside one with the same table.
    """
    places = {}
    for stage_file in stage_files(folder):
        for table, digest in _tables(stage_file).items():
            places.setdefault(digest, []).append(table.parent / "preprocessing.json")
    kept = [list(filter(Path.is_file, paths)) or paths[:1] for paths in places.values()]
    return list(dict.fromkeys(chain.from_iterable(kept)))


def simulated_sets(folder: Path) -> dict[Path, bool]:
    """data_files -> whether the data set was simulated: its folder holds the truth that only a
    simulation knows, or, where the folder is no more there, a stage has noted it.
    """
    noted = set()
    for path in stage_files(folder):
        used = (read_json(path).get("data_set") or {}).get("used") or {}
        if used.get("simulated"):
            noted.add(Path(str(used.get("folder"))).name)
    return {
        path: (path.parent / PLANTED).is_file()
        or (not path.parent.is_dir() and path.parent.name in noted)
        for path in data_files(folder)
    }


def tables_read(stage_file: Path) -> list[Path]:
    """Tables of the data sets that one stage has read, as its JSON names its inputs."""
    return list(_tables(stage_file))


def _tables(stage_file):
    """tables_read -> the hash that the stage has noted of each."""
    inputs = read_stage(stage_file).get("inputs") or {}
    return {
        Path(os.path.realpath(stage_file.parent / name)): digest
        for name, digest in inputs.items()
        if Path(name).name == TABLE
    }


def broken_links(folder: Path) -> list[str]:
    """What has changed or gone missing since each stage wrote it, the data set's too and a stage's
    own json, one line per stage that is affected.
    """
    data = [path for path in data_files(folder) if path.is_file()]
    changes = [origin.changed(path, by_content=True) for path in data]
    sources = [f"{path}: {line} since" for path, line in zip(data, changes, strict=True) if line]
    changed = filter(None, map(broken_link, [*data, *stage_files(folder)]))
    lost = [f"{path}: what the stage says of its own results is missing" for path in _lost(folder)]
    return [*sources, *changed, *lost]


def _lost(folder):
    """The json of stages that have left results in the run folder and no json."""
    named = [folder / said for file, said in WRITTEN_BY.items() if (folder / file).is_file()]
    lost = [path for path in named if not _is_stage(path)]
    for path in sorted(folder.iterdir()):
        stage = path.name.partition("_")[0]  # local_<record>, discovery_<cohort>
        if stage not in ORDER or not path.is_dir() or path.is_symlink():
            continue
        if any(path.glob("[!.]*")) and not any(map(_is_stage, path.glob("*.json"))):
            lost.append(path / f"{stage}.json")
    return lost
