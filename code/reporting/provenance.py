"""Sections of the report on what made the results, and in which words."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from common.stage import read_stage
from common.words import CLASSES, CONCEPTS, SEGMENTS
from reporting.page import (
    code_block,
    details,
    glossary,
    heading,
    join,
    paragraph,
    table,
    tiles,
)
from reporting.run import Run, broken_links, data_files, stage_files


def words(run: Run) -> Iterator[Markup]:
    """Classes of the network, concepts and segments in words."""
    classes = [(name, CLASSES[name]) for name in run.info.labels if name in CLASSES]
    for title, entries in (
        ("Classes", classes),
        ("Concepts", list(CONCEPTS.items())),
        ("Segments of a beat", list(SEGMENTS.items())),
    ):
        yield heading(title)
        yield glossary(entries)


def provenance(run: Run) -> Iterator[Markup]:
    """What made the results: model, folds, data set, commands, versions, hashes; a warning where an
    artefact has changed.
    """
    info = run.info
    yield tiles(
        {
            "model": info.modelname,
            "task": info.task,
            "classes": str(len(info.labels)),
            "seed": str(info.seed),
            "sampling rate": f"{info.sampling_rate} Hz",
            "input": f"{info.crop_seconds} s",
        }
    )
    folds = "; ".join(
        f"{name} {', '.join(map(str, numbers))}" for name, numbers in info.folds.items()
    )
    yield paragraph(f"Folds: {folds}. Leads: {', '.join(info.leads)}.")
    affected = {}
    for stage_file, what in (line.split(": ", 1) for line in broken_links(run.folder)):
        affected.setdefault(what, []).append(Path(stage_file).name)
    for what, names in affected.items():
        found = "Artefacts do not match"
        if what.endswith(("is missing", "not finished")):
            found = "Cannot be checked"
        yield paragraph(f"{found}: {what} ({', '.join(names)}).", "warn")
    stages = [(path, read_stage(path)) for path in stage_files(run.folder)]
    data = [(path, read_stage(path)) for path in data_files(run.folder) if path.is_file()]
    for _, one in data:
        counts = one.get("counts", {})
        yield paragraph(f"Data set: {counts.get('version', 'not said')}.")
        yield tiles(
            {
                key.replace("_", " "): f"{value:,}"
                for key, value in counts.items()
                if isinstance(value, int)
            }
        )
    for path, content in [*data, *stages]:
        if content.get("status") == "finished":
            name = f"{content['stage']} ({path.parent.name}/)"
            yield details(f"{name}: command, versions, hashes", _provenance_of(content))


def _provenance_of(content):
    hashes = []
    for kind in ("inputs", "outputs"):
        for name, digest in content.get(kind, {}).items():
            hashes.append({"kind": kind, "file": name, "sha256": digest[:16] + "…"})
    versions = ", ".join(f"{name} {number}" for name, number in content.get("versions", {}).items())
    listed = [table(pd.DataFrame(hashes), 40, "the stage's json")] if hashes else []
    return join([code_block(content.get("command", "")), paragraph(versions, "soft"), *listed])
