"""Computing local explanations in pieces: any number of records in bounded memory, resumable,
shared among processes.

Records are worked on in chunks of CHUNK per target. Each chunk's maps go once, into their place in
a file that grows (common.growing) and becomes <method>_<slug(pathology)>.npz; what else is known of
the chunk, and its cells, lie beside it under <folder>/.parts until all are there. A chunk is the
same whoever computes it, so the result does not depend on the number of processes, nor on
interruptions.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from attribution.cells import CellMaps, cell_maps, density, shares
from attribution.methods import explain_records, get_method
from attribution.plan import Target
from common.files import read_npz, replacing, write_csv, write_npz
from common.growing import finish, is_receipt, read_rows, without_rows, write_rows
from common.labels import LEADS, slug
from ecg.segments import SEGMENTS
from records.dataset import Dataset
from records.segmentations import load_segments

CHUNK = 64  # records
CELLS = ".csv"  # suffix of a part's cells
LONG = ("attributions", "standard_error")  # a value per sample: written into the growing file
PER_RECORD = (
    "ecg_id",
    "target",
    "logit",
    "ledger",
    "layers",
    "gap",
    "steps",
    "missed",
)
CELL_COLUMNS = (
    "ecg_id",
    "pathology",
    "method",
    "lead",
    "segment",
    "density",
    "signed_density",
    "share",
    "rank",
    "rank_stability",
    "standard_error",
)


@dataclass(frozen=True)
class Job:
    """All that computing needs.

    options  method -> (rows of the data set) -> options of that method for those rows
    n_cells  cells per record, target and method that cells.csv keeps
    open_ledger  keep each layer's part of LRP's ledger too
    n_jitters  draws of the waves' boundaries that cells.csv's rank_stability is from
    """

    model: object
    data: Dataset
    targets: list[Target]
    methods: list[str]
    options: dict[str, Callable]
    window: str
    n_cells: int
    folder: Path
    open_ledger: bool = False
    n_jitters: int = 0

    def units(self) -> Iterator[tuple[Target, int]]:
        """(target, number of its chunk), in the order of the files."""
        for target in self.targets:
            for number in range(-(-len(target.rows) // CHUNK)):
                yield target, number

    def part(self, method: str, target: Target, number: int) -> Path:
        """File of what is known of one chunk beside its maps."""
        return self.maps(method, target).with_name(f"{number:05d}.npz")

    def maps(self, method: str, target: Target) -> Path:
        """The growing file of one method and target."""
        return self.folder / ".parts" / f"{slug(method)}_{slug(target.name)}" / "maps.npz"

    def result(self, method: str, target: Target) -> Path:
        """File of one method and target."""
        return self.folder / f"{slug(method)}_{slug(target.name)}.npz"


def compute(job: Job, rank: int = 0, world: int = 1) -> None:
    """Write the parts of this process's share of the chunks; those already there are left as they
    are.
    """
    mine = list(job.units())[rank::world]
    work = [
        (target, number, method)
        for (target, number), method in product(mine, job.methods)
        if not _is_there(job.part(method, target, number))
    ]
    segments, loaded = None, None
    for target, number, method in tqdm(
        work, desc="explain", unit=" chunks", disable=None if rank == 0 else True
    ):
        rows = target.rows[number * CHUNK : (number + 1) * CHUNK]
        if loaded != (target.name, number):
            segments, loaded = load_segments(job.data, rows), (target.name, number)
        part, start = job.part(method, target, number), number * CHUNK
        arrays, cells = _explain_chunk(job, target, rows, method, segments)
        maps = {name: arrays.pop(name) for name in LONG if name in arrays}
        receipt = write_rows(job.maps(method, target), len(target.rows), start, maps)
        write_csv(part.with_suffix(CELLS), cells)
        write_npz(part, **arrays, **receipt)


def _explain_chunk(job, target, rows, method, segments):
    """Arrays of one part, and the table of its cells."""
    done = explain_records(
        job.model,
        job.data.signals[rows],
        target.index,
        method,
        job.window,
        **job.options[method](rows),
    )
    arrays = done.arrays()
    if not job.open_ledger:
        arrays = {name: values for name, values in arrays.items() if not name.startswith("layer")}
    arrays["ecg_id"] = job.data.ecg_id[rows]
    arrays["target"] = np.full(len(rows), target.index)
    arrays["logit"] = done.logit.astype(np.float32)
    declared = get_method(method)
    # maps of a method without lead axis repeat one row for all leads: the file says so
    arrays |= {
        name: np.array(getattr(declared, name)) for name in ("has_lead_axis", "signed", "unit")
    }
    maps = cell_maps(done.attributions, segments, np.zeros(len(rows)), done.coverage)
    errors = None
    if done.standard_error is not None:
        errors = cell_maps(done.standard_error, segments, np.zeros(len(rows)), done.coverage)
    jittered = _jittered(job, maps, done, segments, rows)
    cells = largest_cells(maps, jittered, declared.has_lead_axis, job.n_cells, errors)
    return arrays, _cell_table(cells, arrays["ecg_id"], method, target.name)


def _jittered(job, maps, done, segments, rows):
    """The cells under every jitter of the boundaries, [] where none are asked for."""
    if not job.n_jitters:
        return []
    from attribution.jitter import jittered_maps  # where jitters are asked for
    from records.boundary_errors import boundary_errors

    sd, ids = boundary_errors(job.data, rows), job.data.ecg_id[rows]
    return jittered_maps(maps, done.attributions, segments, sd, ids, job.n_jitters, done.coverage)


def largest_cells(
    maps: CellMaps,
    jittered: list[CellMaps],
    has_lead_axis: bool,
    n_cells: int,
    errors: CellMaps | None = None,
) -> dict[str, np.ndarray]:
    """The cells lead x segment of largest mean |relevance| of each record, as columns with one
    entry per cell.

    Lead -1 stands for all leads together, where a method does not tell them apart. `record` is the
    position in the chunk; cells that a record does not have are left out. rank_stability: share of
    the `jittered` maps in which the cell stays among the record's first five, or outside of them;
    NaN without any. standard_error: of the density, from those of the samples (`errors`); NaN
    without any.
    """
    mean, signed, share = _values(maps, has_lead_axis)
    ranks, order = _ranks(mean)
    order = order[:, :n_cells]
    kept = np.isfinite(np.take_along_axis(ranks, order, axis=1))
    stability = np.full(ranks.shape, np.nan)
    if jittered:
        from attribution.jitter import rank_stability

        moved = [_ranks(_values(one, has_lead_axis)[0])[0] for one in jittered]
        stability = rank_stability(ranks, moved)

    error = stability * np.nan if errors is None else _values(errors, has_lead_axis)[0]

    def pick(values):
        return np.take_along_axis(np.ma.getdata(values).reshape(len(mean), -1), order, axis=1)[kept]

    record, place = np.nonzero(kept)
    lead, segment = np.unravel_index(order[kept], mean.shape[1:])
    return {
        "record": record,
        "rank": place + 1,
        "lead": lead if has_lead_axis else np.full_like(lead, -1),
        "segment": segment,
        "density": pick(mean),
        "signed_density": pick(signed),
        "share": pick(share),
        "rank_stability": pick(stability),
        "standard_error": pick(error),
    }


def _values(maps, has_lead_axis):
    """Mean |relevance|, mean relevance and share of all of it: (n, leads, 24) each, one lead where
    a method does not tell them apart.
    """
    mean, signed, share = density(maps), density(maps, signed=True), shares(maps.relevance)
    if has_lead_axis:
        return mean, signed, share
    time_in = np.maximum(maps.time.sum(axis=1, keepdims=True), 1e-12)
    empty = mean.mask.all(axis=1, keepdims=True)
    mean = np.ma.MaskedArray(maps.relevance.sum(axis=1, keepdims=True) / time_in, empty)
    signed = np.ma.MaskedArray(maps.signed.sum(axis=1, keepdims=True) / time_in, empty)
    return mean, signed, share.sum(axis=1, keepdims=True)


def _ranks(mean):
    """Rank (n, cells) of each record's cells by their mean, NaN for those it lacks; and the cells
    in that order.
    """
    values = mean.reshape(len(mean), -1).filled(-np.inf)
    order = np.argsort(-values, axis=1, kind="stable")
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, np.arange(1.0, values.shape[1] + 1)[None], axis=1)
    return np.where(np.isfinite(values), ranks, np.nan), order


def wait_for_parts(job: Job, seconds: float = 0.2) -> None:
    """Return when every part is there (other processes write theirs into the same folder)."""
    wanted = product(job.units(), job.methods)
    missing = [job.part(method, target, number) for (target, number), method in wanted]
    while missing := [path for path in missing if not _is_there(path)]:
        time.sleep(seconds)


def assemble(job: Job) -> list[Path]:
    """Finish the growing files and string the cells together: the written paths."""
    written = []
    with (
        replacing(job.folder / "cells.csv") as temporary,
        open(temporary, "w", encoding="utf-8") as cells,
    ):
        cells.write(",".join(CELL_COLUMNS) + "\n")
        for target in job.targets:
            for method in job.methods:
                numbers = range(-(-len(target.rows) // CHUNK))
                parts = [job.part(method, target, number) for number in numbers]
                _finish(job, method, target)
                for part in parts:
                    text = part.with_suffix(CELLS).read_text(encoding="utf-8")
                    cells.write(text.partition("\n")[2])  # without its header
                written.append(job.result(method, target))
    return [*written, job.folder / "cells.csv"]


def _is_there(part):
    """Whether a part is whole: its maps and its cells."""
    return part.is_file() and part.with_suffix(CELLS).is_file()


def chunk(job: Job, method: str, target: Target, number: int) -> dict[str, np.ndarray]:
    """All that is known of one chunk, its maps too."""
    known = read_npz(job.part(method, target, number))
    start, n_rows = number * CHUNK, len(target.rows)
    stop = min(start + CHUNK, n_rows)
    return {**known, **read_rows(job.maps(method, target), n_rows, known, start, stop)}


def besides_maps(job: Job, method: str, target: Target) -> dict[str, np.ndarray]:
    """What is known of all records of a method and target beside their maps: ledgers, gaps, ...;
    maps and standard errors, where there are such, without rows.
    """
    known = _known(job, method, target)
    return {**without_rows(known[0]), **_joined(known)}


def _known(job, method, target):
    """What lies beside the maps, per chunk."""
    numbers = range(-(-len(target.rows) // CHUNK))
    return [read_npz(job.part(method, target, number)) for number in numbers]


def _joined(known):
    """Arrays per record one after the other, the others once."""
    names = [name for name in known[0] if not is_receipt(name)]
    found = {}
    for name in names:
        pieces = [one[name] for one in known]
        found[name] = np.concatenate(pieces) if name in PER_RECORD else pieces[0]
    return found


def _finish(job, method, target):
    """The growing file becomes the result: the same file under another name, copied where the file
    system knows no second names.
    """
    known, maps = _known(job, method, target), job.maps(method, target)
    pieces = [(len(one["ecg_id"]), one) for one in known]
    finish(maps, len(target.rows), pieces, _joined(known))
    with replacing(job.result(method, target)) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(maps, temporary)
        except OSError:
            shutil.copyfile(maps, temporary)


def _cell_table(cells, ecg_id, method, pathology):
    """The rows of cells.csv for one part."""
    leads = np.array([*LEADS, "all"])
    table = {
        "ecg_id": ecg_id[cells["record"]],
        "pathology": pathology,
        "method": method,
        "lead": leads[cells["lead"]],
        "segment": np.array(SEGMENTS)[cells["segment"]],
        "density": _rounded(cells["density"]),
        "signed_density": _rounded(cells["signed_density"]),
        "share": _rounded(cells["share"]),
        "rank": cells["rank"],
        "rank_stability": np.round(cells["rank_stability"], 2),
        "standard_error": _rounded(cells["standard_error"]),
    }
    return pd.DataFrame(table, columns=CELL_COLUMNS)


def _rounded(values, digits=6):
    """To so many significant digits: what is beyond them is rounding, and differs
    between machines.
    """
    return [float(f"{value:.{digits}g}") for value in values]


def remove_parts(job: Job) -> None:
    """Delete the parts (and nothing else) and their folders."""
    for method in job.methods:
        for target in job.targets:
            folder = job.part(method, target, 0).parent
            for path in [*folder.glob("*.npz"), *folder.glob(f"*{CELLS}")]:
                path.unlink()
            if folder.is_dir():
                folder.rmdir()
    if (job.folder / ".parts").is_dir() and not any((job.folder / ".parts").iterdir()):
        (job.folder / ".parts").rmdir()
