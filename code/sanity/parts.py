"""Runs sanity checks part by part: one file per check, method and model, so that an interrupted run
goes on where it stopped, and several processes can share them.

<folder>/parts/      long tables, one row per record and check: check, method, model, task, ecg_id,
                     patient_id, value, chance
<folder>/maps/       the maps under test
<folder>/reference/  what a check needs once per model: random orders, slopes, planted masks and the
                     gate
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from attribution.methods import Explainer, get_method
from common.files import read_csv, read_npz, write_csv, write_npz
from common.labels import slug
from networks.distributed import dealt, rank, wait_for_all, world
from networks.inference import quickest
from sanity.subject import Measured, Subject, target_logits

Subjects = dict[str, list[Subject]]  # "model", "few" (of its records), "turned", "amplitude"

PROBE = 4  # records that the estimate is timed on
LONGEST_PROBE = 2.0  # s that timing one method may take
FORWARDS_A_PASS = 3  # forward passes that one forward and backward costs


MEASURED = [
    "check",
    "model",
    "task",
    "ecg_id",
    "patient_id",
    "value",
    "chance",
    "best",
    "detail",
]  # of Measured.table()


@dataclass(frozen=True)
class Check:
    """One check of the registry.

    measure    (subject, maps, explain, reference) -> list of Measured
    subjects   which of a run's subjects it is made on: "model", "few" (of its records),
               "amplitude" or "turned"
    reference  subject -> arrays that are computed once per model, or None
    quick      explains often: fewer records (--n_few) and cheaper options (Method.quick)
    explained  model -> maps per record and method, beside the one that all checks share
    evaluated  model -> forward passes per record and method; `prepared`: per record, once per model
    """

    measure: Callable
    description: str
    subjects: str = "model"
    reference: Callable | None = None
    quick: bool = False
    explained: Callable = lambda _model: 0
    evaluated: Callable = lambda _model: 0
    prepared: Callable = lambda _model: 0

    @property
    def maps(self) -> str:
        """What its maps are called: checks of the same name share them."""
        kind, usual = ("quick", "few") if self.quick else ("full", "model")
        return kind if self.subjects == usual else f"{kind}_{self.subjects}"


PATTERNS = ("parts/*", "maps/*", "reference/*")  # what a Store holds


class Store:
    """The files of one run; whatever is there already is not computed again."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def part(self, check: str, method: str, model: str) -> Path:
        """Path of one part's long table."""
        return self.folder / "parts" / f"{check}__{slug(method)}__{model}.csv"

    def map_path(self, method: str, model: str, kind: str) -> Path:
        """Path of a method's maps."""
        return self.folder / "maps" / f"{kind}__{slug(method)}__{model}.npz"

    def reference_path(self, check: str, model: str) -> Path:
        """Path of what a check computes once per model."""
        return self.folder / "reference" / f"{check}__{model}.npz"

    def maps(self, subject: Subject, explain: Explainer, kind: str) -> np.ndarray:
        """The maps (n, T, 12) of a method on a subject, NaN where the model does not read; `kind`
        (Check.maps) tells quick from full ones, and the subjects of one model apart.
        """
        path = self.map_path(explain.name, subject.name, kind)
        if not path.is_file():
            whole = "quick" not in kind  # quick options have pieces of their own
            regions = subject.segments.argmax(axis=3) if whole else None
            maps = explain(subject.model, subject.signals, subject.target, regions)
            maps[:, ~subject.read] = np.nan
            write_npz(path, attributions=maps, ecg_id=subject.ecg_id, target=subject.target)
        return read_npz(path)["attributions"]

    def reference(
        self, check: str, subject: Subject, compute: Callable | None
    ) -> dict[str, np.ndarray] | None:
        """What a check computes once per model."""
        if compute is None:
            return None
        path = self.reference_path(check, subject.name)
        if not path.is_file():
            write_npz(path, **compute(subject))
        return read_npz(path)

    def write_part(self, check: str, method: str, model: str, measured: list[Measured]) -> None:
        """Keep what a check found of one method."""
        tables = [one.table() for one in measured]
        table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=MEASURED)
        table.insert(1, "method", method)
        write_csv(self.part(check, method, model), table)

    def records(self, names: list[tuple[str, str, str]]) -> pd.DataFrame:
        """The long table of all parts (check, method, model) given."""
        tables = [read_csv(self.part(*name)) for name in names]
        filled = [table for table in tables if len(table)]
        return (
            pd.concat(filled, ignore_index=True)
            if filled
            else pd.DataFrame(columns=[*MEASURED, "method"])
        )


@dataclass(frozen=True)
class Job:
    """All that a run computes with: `others` are networks of other seeds, `fits` tables of how well
    the amplitude models fit, `explainers` "full" and "quick" by method, `planted` the folder of the
    simulated cohort.
    """

    checks: dict[str, Check]
    subjects: Subjects
    others: list[nn.Module]
    fits: list[pd.DataFrame]
    explainers: dict[str, dict[str, Explainer]]
    planted: Path | None
    store: Store

    @property
    def parts(self) -> dict[str, Check]:
        """The checks that are measured method by method."""
        return {name: check for name, check in self.checks.items() if check.measure}

    @property
    def subject(self) -> Subject:
        """The network under test with its records."""
        return self.subjects["model"][0]


Work = list[tuple[str, Subject, str]]  # (check, subject, method)


def plan(checks: dict[str, Check], subjects: dict[str, list[Subject]], methods: list[str]) -> Work:
    """What is to be done: (check, subject, method), the checks in their order."""
    work = []
    for name, check in checks.items():
        work += product([name], subjects.get(check.subjects, []), methods)
    return work


def estimate_maps(subject: Subject, explainers: dict, n_models: int) -> float:
    """Seconds that the maps of `n_models` models take by every method, from those of a
    few records.
    """
    probe, total = subject.rows(np.arange(min(PROBE, len(subject)))), 0.0
    per_forward = _forward_seconds(probe)
    for method, explain in explainers.items():
        per_map = _map_seconds(explain, method, probe, per_forward)
        total += per_map * len(subject) * n_models
    return total


def estimate(checks: dict[str, Check], work: Work, explainers: dict, store: Store) -> float:
    """Seconds that the work will take, from the time of a few maps and forward passes per model and
    method.
    """
    per_map, per_forward, total, prepared = {}, {}, 0.0, set()
    for name, subject, method in work:
        if store.part(name, method, subject.name).is_file():
            continue
        check, probe = checks[name], subject.rows(np.arange(min(PROBE, len(subject))))
        kind = "quick" if check.quick else "full"
        if subject.name not in per_forward:
            per_forward[subject.name] = _forward_seconds(probe)
        if (subject.name, method, kind) not in per_map:
            explain, forward = explainers[kind][method], per_forward[subject.name]
            per_map[subject.name, method, kind] = _map_seconds(explain, method, probe, forward)
        once = 0 if (name, subject.name) in prepared else check.prepared(subject.model)
        prepared.add((name, subject.name))
        total += len(subject) * (
            (1 + check.explained(subject.model)) * per_map[subject.name, method, kind]
            + (check.evaluated(subject.model) + once) * per_forward[subject.name]
        )
    return total


def _forward_seconds(probe):
    """Seconds of a forward pass of one record."""
    signals = torch.from_numpy(probe.signals)
    return quickest(lambda: target_logits(probe, signals)) / len(probe)


def _map_seconds(explain, method, probe, per_forward):
    """Seconds of a map: timed, where that takes no long time itself, else from its passes."""
    expected = get_method(method).passes * FORWARDS_A_PASS * per_forward
    if expected * len(probe) > LONGEST_PROBE:
        return expected
    return quickest(lambda: explain(probe.model, probe.signals, probe.target)) / len(probe)


def files_of(checks: dict[str, Check], work: Work, store: Store) -> list[Path]:
    """All files that `run_parts` may write."""
    files = []
    for name, subject, method in work:
        files.append(store.part(name, method, subject.name))
        files.append(store.reference_path(name, subject.name))
        kinds = dict.fromkeys(("full", "quick", checks[name].maps))
        files += [store.map_path(method, subject.name, kind) for kind in kinds]
    return list(dict.fromkeys(files))


def share_of(work: Work, rank: int, world: int) -> Work:
    """What process `rank` of `world` does: whole methods of a model, so that nobody makes another's
    maps; the costly ones are dealt out first, each to the process that has least to do.
    """
    costs: dict[tuple[str, str], float] = {}
    for _, subject, method in work:
        cost = len(subject) * (1 + get_method(method).passes)
        costs[subject.name, method] = costs.get((subject.name, method), 0.0) + cost
    load, owner = [0.0] * world, {}
    for key, cost in sorted(costs.items(), key=lambda item: (-item[1], item[0])):
        owner[key] = min(range(world), key=lambda process: (load[process], process))
        load[owner[key]] += cost
    return [item for item in work if owner[item[1].name, item[2]] == rank]


def run_parts(checks: dict[str, Check], work: Work, explainers: dict, store: Store) -> None:
    """Do what is not there yet, with a progress bar; return when all processes have done their
    share.
    """
    references = {(name, subject.name): subject for name, subject, _ in work}
    for (name, _), subject in dealt(references.items()):
        store.reference(name, subject, checks[name].reference)
    wait_for_all()
    mine = share_of(work, rank(), world())
    todo = [item for item in mine if not store.part(item[0], item[2], item[1].name).is_file()]
    with tqdm(todo, desc="sanity checks", unit="part") as progress:
        for name, subject, method in progress:
            progress.set_postfix_str(f"{name} {method} {subject.name}")
            check = checks[name]
            kind = "quick" if check.quick else "full"
            explain = explainers[kind][method]
            maps = None
            if check.subjects != "amplitude":
                maps = np.nan_to_num(store.maps(subject, explain, check.maps))
            reference = store.reference(name, subject, check.reference)
            store.write_part(
                name, method, subject.name, check.measure(subject, maps, explain, reference)
            )
    wait_for_all()
