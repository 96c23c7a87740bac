"""Cards: the leads and segments in which a pathology should show, from the textbook
(ecg.textbook.RULES), from the causes that a simulation planted, or from a table of one's own.

A pathology's card is the union of its rules' cells. It is a prior and not the truth: a faithful map
of a model that found a shortcut lies elsewhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from common.files import UserError, note_read, read_csv
from common.labels import LEADS, OWN_TASK, labels_of_statement
from common.stage import data_folders
from ecg.segments import SEGMENTS, WAVES
from ecg.textbook import ALIASES, RULES
from networks.checkpoints import ModelInfo
from records.dataset import PLANTED


@dataclass(frozen=True)
class Card:
    """Cells of a pathology: `cells` (12, 24) bool and `signs` (12, 24) of -1, 0, 1 (0 where rules
    disagree).
    """

    name: str
    cells: np.ndarray
    signs: np.ndarray

    @property
    def n_cells(self) -> int:
        """How many of the 288."""
        return int(self.cells.sum())


def make_card(name: str, entries: Iterable[tuple[str, str, float]]) -> Card:
    """A card from (lead, segment, sign) entries; opposite signs on one cell cancel to 0."""
    signs, cells = (
        np.zeros((len(LEADS), len(SEGMENTS))),
        np.zeros((len(LEADS), len(SEGMENTS)), dtype=bool),
    )
    for lead, segment, sign in entries:
        at = LEADS.index(lead), SEGMENTS.index(segment)
        cells[at] = True
        signs[at] += sign
    return Card(name, cells, np.sign(signs).astype(int))


def textbook_cards(labels: Sequence[str]) -> dict[str, Card]:
    """Label -> card of RULES, for those labels that the textbook table knows."""
    wanted = {label: ALIASES.get(label, label) for label in labels}
    cards = {}
    for label, name in wanted.items():
        cells = _cells_of(name)
        if cells:
            cards[label] = make_card(label, cells)
    return cards


def _cells_of(pathology):
    """(lead, segment, sign) of every cell that the pathology's rules name."""
    cells = []
    for rule in RULES:
        if rule.pathology == pathology:
            cells += product(rule.leads, rule.segments, [rule.sign])
    return cells


# ---------------------------------------------------------------- planted causes

PEAKS = ("P-Peak", "Q-Peak", "R-Peak", "S-Peak", "T-Peak")


def planted_cards(path: str | Path, task: str, labels: Sequence[str]) -> dict[str, Card]:
    """Label -> card of the cells that simulate_ptbxl.py changed for it (planted_causes.csv: label,
    lead, segment, effect and effect_abs in mV).

    Cells are those of simulation.truth.planted_cells, signed as their mean change is. A peak
    belongs to the card with either stretch beside it, an onset or offset with both.
    """
    if path.is_file():
        note_read(path)
    table = read_csv(path, "simulate_ptbxl.py writes it beside the records")
    missing = [
        column
        for column in ("label", "lead", "segment", "effect", "effect_abs")
        if column not in table
    ]
    if missing:
        raise UserError(
            f"{path} lacks the column {', '.join(missing)}: simulate_ptbxl.py writes it"
        )
    unknown = sorted(set(table["lead"]) - set(LEADS)) + sorted(
        set(table["segment"]) - set(SEGMENTS)
    )
    if unknown:
        raise UserError(
            f"{path} names {', '.join(map(str, unknown))}, which is no lead or segment of the 12 x "
            "24 maps"
        )
    from simulation.truth import planted_cells  # loaded where a simulated cohort is scored

    table = planted_cells(table)
    cards = {}
    for label in labels:
        rows = table[
            [label in labels_of_statement(statement, task) for statement in table["label"]]
        ]
        if len(rows):
            entries = [(row.lead, row.segment, np.sign(row.effect)) for row in rows.itertuples()]
            cards[label] = make_card(label, _with_points(entries))
    return cards


def _with_points(entries):
    """Entries (lead, segment, sign), and those of the points that they enclose."""
    signs = {(lead, segment): sign for lead, segment, sign in entries}
    points = []
    for lead in LEADS:
        for k, segment in enumerate(SEGMENTS):
            beside = [
                signs[key]
                for key in ((lead, SEGMENTS[k - 1]), (lead, SEGMENTS[(k + 1) % len(SEGMENTS)]))
                if key in signs
            ]
            if (lead, segment) not in signs and len(beside) >= (1 if segment in PEAKS else 2):
                points.append((lead, segment, np.sign(sum(beside))))
    return [*entries, *points]


# ---------------------------------------------------------------- which cards


def planted_path(data_path: str | Path) -> Path | None:
    """planted_causes.csv of a simulated cohort: in the data set's folder, or the one that
    preprocessing.py read.
    """
    paths = [folder / PLANTED for folder in data_folders(data_path)]
    return next((path for path in paths if path.is_file()), None)


def _planted(data_path, info):
    path = planted_path(data_path)
    if path is None:
        raise UserError(
            f"--cards planted: {data_path} has no planted_causes.csv; only a cohort of "
            "simulate_ptbxl.py has one"
        )
    return planted_cards(path, info.task, info.labels)


def _textbook(_, info):
    # RULES speak of SCP statements: a class of one's own that is called like one may mean another
    return {} if info.task == OWN_TASK else textbook_cards(info.labels)


def _auto(data_path, info):
    return (_planted if planted_path(data_path) else _textbook)(data_path, info)


# which cards a run is scored by: name -> (data folder, model) -> cards
CARDS = {"auto": _auto, "textbook": _textbook, "planted": _planted}


def cards_for(choice: str, data_path: str | Path, info: ModelInfo) -> dict[str, Card]:
    """Label -> card of one of CARDS, or of a csv of one's own (read_cards)."""
    if choice in CARDS:
        return CARDS[choice](data_path, info)
    if Path(choice).suffix.lower() != ".csv":
        raise UserError(f"--cards {choice}: takes {', '.join(CARDS)} or a csv of your own")
    return read_cards(choice, info.labels)


def own_cards(choice: str) -> list[Path]:
    """The file of --cards, where they are one's own: an input of the stage."""
    return [] if choice in CARDS else [Path(choice)]


def read_cards(path: str | Path, labels: Sequence[str]) -> dict[str, Card]:
    """Label -> card of a csv with a row per lead and segment: label, lead, segment and, if wanted,
    sign.

    `segment` is one of the 24 segments or a wave of WAVES; `sign` says which voltage there
    argues for the label: 1 higher, -1 lower, 0 or blank no direction. UserError for a name that is
    not known, and where no row speaks of any of `labels`.
    """
    table = read_csv(path, "it has the columns label, lead, segment and, if wanted, sign")
    if missing := [name for name in ("label", "lead", "segment") if name not in table]:
        raise UserError(f"{path} lacks the column {', '.join(missing)}")
    signs = table["sign"] if "sign" in table else pd.Series(0, index=table.index)
    signs = pd.to_numeric(signs.fillna(0), errors="coerce")
    places = {**WAVES, **{segment: (segment,) for segment in SEGMENTS}}
    allowed = {"label": labels, "lead": LEADS, "segment": places}
    for column, known in allowed.items():
        if strange := sorted(set(table[column].astype(str)) - set(known)):
            raise UserError(
                f"{path}: {column} {', '.join(strange)} is not among {', '.join(map(str, known))}"
            )
    if not signs.isin([-1, 0, 1]).all():
        raise UserError(f"{path}: sign is 1, -1, 0 or blank")
    if not len(table):
        raise UserError(f"{path} has no row: no card")
    entries = {}
    for row, sign in zip(table.itertuples(), signs, strict=True):
        cells = [(row.lead, segment, int(sign)) for segment in places[row.segment]]
        entries.setdefault(str(row.label), []).extend(cells)
    return {label: make_card(label, cells) for label, cells in entries.items()}
