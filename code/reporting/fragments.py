"""Pieces that several sections of the report share: captions, signal quality, scores in tables, and
a finding as a sentence with the way names are written in it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from common.words import METHODS, REPRESENTATIONS, area_in_words, interval_in_words
from records.quality import QUALITY_FILE, flags_in_words
from reporting.page import details, paragraph, table
from reporting.run import Run

CAPTIONS = {
    "course": "Course of the training: loss, and the score that chose the epoch.",
    "roc": "Receiver operating characteristic of each class on the test fold.",
    "reliability": "Reliability: predicted probability against observed frequency; below the "
    "diagonal it is too sure.",
    "amplitudes": "Predicted against measured amplitude, lead by lead.",
    "summary_concept": "Every concept against every class, each cell at its strongest layer.",
    "scorecard": "Left: how much the leads of a card stand out (1: no more than others). Right: "
    "lift of the own cards.",
    "ranking": "Skill of each method per check: 0 is chance, 1 perfect; a dot where a method is "
    "the best or not told from it.",
    "amplitude_boxes": "Share of the attribution in the right lead, by method and amplitude task.",
    "amplitude_curves": "Where in the beat the attribution of an amplitude lies.",
    "randomisation": "Likeness to the original map as more layers are drawn anew; a map that stays "
    "does not show the model.",
    "removal": "Logit as lead x segment cells are removed: most relevant first, least first, in "
    "random order.",
    "localisation": "Do maps point at the planted cause? With intervals over patients.",
    "dose_response": "What 0.1 mV more of each wave does to the logit, by lead; bold where the "
    "interval does not include 0.",
    "layers": "Class activation maps: which layer sees where.",
    "embedding": "Every record as a point, by hidden label (top) and by cluster (bottom).",
    "discovery/agreement": "Agreement of the clusters with the hidden labels, beside chance and "
    "the largest class.",
    "sanity/agreement": "Agreement of every pair of methods: rank correlation by sample and by "
    "lead and segment.",
    "counterfactual/groups": "Which change turns most records by itself, with its median dose; "
    "vermillion: more, blue: less; pale: in how many records it is part of the smallest change.",
    "enrichment": "What separates the clusters; filled where p (Holm) < .05.",
}


PREFIXES = {
    "concept_": "All layers and classes: ",
    "groups_": "The groups side by side, by ",
    "clusters_": "Median beat of each cluster; ECGs described by ",
    "compare_": "Methods side by side: ",
}
COHORT = "table.csv"  # of discovery, in the folder of each cohort
MOST_NAMED = 6  # names in one sentence; the table has the rest
WORDS = {"groups_": METHODS, "clusters_": REPRESENTATIONS}


def caption_of(path: Path) -> str:
    """What a picture shows, from its file name."""
    known = CAPTIONS.get(f"{path.parent.name.split('_')[0]}/{path.stem}") or CAPTIONS.get(path.stem)
    if known:
        return known
    prefix = next((start for start in PREFIXES if path.stem.startswith(start)), "")
    rest = path.stem.removeprefix(prefix)
    words = WORDS.get(prefix, {}).get(rest) or rest.replace("_", " ")
    return PREFIXES.get(prefix, "") + words


def columns_of(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Those of the columns that the table has."""
    return frame[[name for name in names if name in frame]]


def is_score(entry: object) -> bool:
    """Whether an entry of metrics.json is a score that could be computed."""
    return isinstance(entry, dict) and entry.get("value") is not None


def interval_of(entry: dict | None, up_to_one: bool = True) -> str:
    """`0.912 [0.850, 0.960]` of an entry of metrics.json; a dash where there is none.

    up_to_one  of a score from 0 to 1, as an area under a curve is; not so R2 and errors in mV
    """
    if not is_score(entry):
        return "–"
    said = area_in_words if up_to_one else interval_in_words
    return said(entry["value"], entry.get("low"), entry.get("high"), 3)


def cohorts(run: Run) -> dict[str, str]:
    """Folders in which discovery has left its table, and what each is called: its labels, or
    nothing where there is no other.
    """
    folders = [name for name in run.folders("discovery*") if run.holds(run.folder / name / COHORT)]
    if len(folders) < 2:
        return dict.fromkeys(folders, "")
    settings = {name: run.json(f"{name}/discovery.json").get("settings", {}) for name in folders}
    return {name: " or ".join(map(str, settings[name].get("cohort", [name]))) for name in folders}


def quality_lines(run: Run, folder: str) -> Iterator[Markup]:
    """How many of the explained records carry a flag, as the stage has counted them; by group where
    some do.
    """
    counts = run.csv(f"{folder}/{QUALITY_FILE}")
    if counts is None:
        yield paragraph(
            f"Quality flags unavailable: {folder}/{QUALITY_FILE} is not there; the stage counts "
            "them when it is run again with --overwrite.",
            "soft",
        )
        return
    words, flagged = flags_in_words(counts), counts["n_flagged"].iloc[0] > 0
    yield paragraph(f"{words[:1].upper()}{words[1:]}.", "warn" if flagged else "soft")
    if flagged and len(counts) > 2:
        yield details("Quality flags by group", table(counts, 60))


@dataclass(frozen=True)
class Finding:
    """One sentence.

    kind     yes (found), no (tested and not found, or not testable), warn
    section  of the evidence; source: the table it was read from, under the run folder
    place    anchor of the evidence, where it is not the whole section
    """

    topic: str
    text: str
    section: str
    source: str
    kind: str = "no"
    place: str = ""

    @property
    def link(self) -> str:
        """Names of the tables without their folders, each once."""
        return ", ".join(dict.fromkeys(name.rsplit("/")[-1] for name in self.source.split(", ")))


def named(names: list[str], most: int = MOST_NAMED) -> str:
    """a, b and c; beyond `most` names, how many more."""
    shown, more = names[:most], len(names) - most
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
