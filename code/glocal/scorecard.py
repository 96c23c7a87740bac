"""Scorecards: does a group's relevance lie in the leads and segments where the textbook reads the
pathology?

RULES is the textbook as a table. A pathology's card is the union of its rules' cells. The score of
a map against a card is

    lift = share of relevance inside the card's cells / share of lead x time that these cells take

(1 is chance). QRS cells are bright in every map, so the test keeps every segment's relevance where
it is and moves the lead names alone: p is the part of all orders of the leads whose card scores as
high. That takes leads for exchangeable, and maps of neighbouring leads are alike: p_neighbours is
the part of those 288 orders that keep neighbours neighbours. A card is a prior and not the truth:
a faithful map of a model that found a shortcut must score low.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from attribution.cells import CellMaps, shares
from common.files import UserError, note_read, read_csv
from common.intervals import ratio_intervals
from common.labels import LEADS, OWN_TASK, labels_of_statement
from common.stage import data_folders
from common.stats import permutation_p
from ecg.segments import SEGMENTS, WAVES
from glocal.maps import TOP, cell_ranks, group_mean
from networks.checkpoints import ModelInfo

LIMB_LATERAL, LATERAL = ("I", "aVL"), ("I", "aVL", "V5", "V6")
INFERIOR, ANTERIOR = ("II", "III", "aVF"), ("V1", "V2", "V3", "V4")


@dataclass(frozen=True)
class Rule:
    """One criterion: the leads and stretches it is read in, and which voltage there argues for the
    pathology.

    sign: 1 higher, -1 lower, 0 no direction (a duration, a missing wave). A gradient's sign should
    agree with it.
    """

    pathology: str
    leads: tuple[str, ...]
    stretches: tuple[str, ...]
    sign: int
    reads: str
    source: str

    @property
    def segments(self) -> tuple[str, ...]:
        """Segments of its stretches, each once, in their order in time."""
        wanted = set().union(*(WAVES[stretch] for stretch in self.stretches))
        return tuple(segment for segment in SEGMENTS if segment in wanted)


SOKOLOW = "Sokolow & Lyon, Am Heart J 37 (1949) 161"
CORNELL = "Casale et al., J Am Coll Cardiol 6 (1985) 572"
HYPERTROPHY = "Hancock et al., AHA/ACCF/HRS part V, Circulation 119 (2009) e251"
CONDUCTION = "Surawicz et al., AHA/ACCF/HRS part III, Circulation 119 (2009) e235"
REPOLARISATION = "Rautaharju et al., AHA/ACCF/HRS part IV, Circulation 119 (2009) e241"
INFARCTION = "Thygesen et al., Fourth universal definition of MI, Circulation 138 (2018) e618"
NORMAL = (
    "Surawicz & Knilans, Chou's Electrocardiography in Clinical Practice, 6th ed. (2008), ch. 1"
)
FIBRILLATION = "Hindricks et al., ESC guidelines, Eur Heart J 42 (2021) 373"

RULES = (
    Rule("NORM", ("I", "II", "aVF"), ("P",), 1, "sinus P wave, upright in I, II, aVF", NORMAL),
    Rule("NORM", ("I", "II", "V3", "V4", "V5", "V6"), ("T",), 1, "upright T wave", NORMAL),
    Rule("LVH", ("V5", "V6"), ("R",), 1, "tall R in V5 or V6", SOKOLOW),
    Rule("LVH", ("V1",), ("S",), -1, "deep S in V1", SOKOLOW),
    Rule("LVH", ("aVL",), ("R",), 1, "tall R in aVL", CORNELL),
    Rule("LVH", ("V3",), ("S",), -1, "deep S in V3", CORNELL),
    Rule("LVH", LATERAL, ("ST", "T"), -1, "ST-T opposite to the QRS (strain)", HYPERTROPHY),
    Rule("CLBBB", LATERAL, ("R", "late QRS"), 1, "broad, notched or slurred R", CONDUCTION),
    Rule("CLBBB", ("I", "V5", "V6"), ("Q",), 1, "no q wave", CONDUCTION),
    Rule(
        "CLBBB", ("V1", "V2", "V3"), ("R", "S"), -1, "rS or QS, the R small or absent", CONDUCTION
    ),
    Rule("CLBBB", LATERAL, ("ST", "T"), -1, "ST-T opposite to the QRS", CONDUCTION),
    Rule("CRBBB", ("V1", "V2"), ("late QRS",), 1, "R' in V1 or V2", CONDUCTION),
    Rule("CRBBB", ("I", "V6"), ("S", "late QRS"), -1, "S broader than R or 40 ms", CONDUCTION),
    Rule("CRBBB", ("V1", "V2"), ("T",), -1, "T opposite to the R'", CONDUCTION),
    Rule("LAFB", ("aVL",), ("Q",), -1, "qR in aVL, R peak at 45 ms or later", CONDUCTION),
    Rule("LAFB", ("I", "aVL"), ("R",), 1, "left axis: R in I and aVL", CONDUCTION),
    Rule("LAFB", INFERIOR, ("S",), -1, "left axis: rS in II, III, aVF", CONDUCTION),
    Rule("AMI", ANTERIOR, ("Q",), -1, "Q or QS in V1-V4", INFARCTION),
    Rule("AMI", ANTERIOR, ("R",), -1, "loss of R in V1-V4", INFARCTION),
    Rule("AMI", ANTERIOR, ("ST",), 1, "ST elevation in V1-V4", INFARCTION),
    Rule("AMI", ANTERIOR, ("T",), -1, "T inversion in V1-V4", INFARCTION),
    Rule("IMI", INFERIOR, ("Q",), -1, "Q in II, III, aVF", INFARCTION),
    Rule("IMI", INFERIOR, ("ST",), 1, "ST elevation in II, III, aVF", INFARCTION),
    Rule("IMI", INFERIOR, ("T",), -1, "T inversion in II, III, aVF", INFARCTION),
    Rule("LMI", LATERAL, ("Q",), -1, "Q in I, aVL, V5, V6", INFARCTION),
    Rule("LMI", LATERAL, ("ST",), 1, "ST elevation in I, aVL, V5, V6", INFARCTION),
    Rule("LMI", LATERAL, ("T",), -1, "T inversion in I, aVL, V5, V6", INFARCTION),
    Rule(
        "ISC_",
        ("I", "II", "aVL", "V4", "V5", "V6"),
        ("ST", "T"),
        -1,
        "ST depression, T inversion in leads with an R",
        REPOLARISATION,
    ),
    Rule(
        "1AVB",
        ("II", "V1"),
        ("P", "PR"),
        0,
        "PR > 200 ms, read where the P wave is clearest",
        CONDUCTION,
    ),
    Rule(
        "AFIB",
        ("II", "III", "aVF", "V1"),
        ("P", "PR", "TP"),
        0,
        "no P wave; fibrillatory waves",
        FIBRILLATION,
    ),
)

# a label of a task -> the pathology that its rules are listed under
ALIASES = {"ASMI": "AMI", "_AVB": "1AVB", "LAFB/LPFB": "LAFB"}


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


def rules_table() -> pd.DataFrame:
    """RULES as a table: pathology, leads, segments, sign, reads, source."""
    return pd.DataFrame(
        [
            {
                "pathology": rule.pathology,
                "leads": " ".join(rule.leads),
                "segments": " ".join(rule.segments),
                "sign": rule.sign,
                "reads": rule.reads,
                "source": rule.source,
            }
            for rule in RULES
        ]
    )


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
    paths = [folder / "planted_causes.csv" for folder in data_folders(data_path)]
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


def read_cards(path: str | Path, labels: Sequence[str]) -> dict[str, Card]:
    """Label -> card of a csv with a row per lead and segment: label, lead, segment and, if wanted,
    sign.

    `segment` is one of the 24 segments or a stretch of STRETCHES; `sign` says which voltage there
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


# ---------------------------------------------------------------- scores


def lift(share: np.ndarray, time: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Share of relevance over share of time inside cells; share, time (..., 12, 24), cells (12,
    24); NaN where no time.
    """
    inside, chance = (share * cells).sum(axis=(-2, -1)), (time * cells).sum(axis=(-2, -1))
    return np.divide(inside, chance, out=np.full(np.shape(chance), np.nan), where=chance > 0)


def group_shares(
    maps: CellMaps, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean shares of relevance and of time, (12, 24) each, or (R, 12, 24) for weights (R, n);
    unexplained records left out.
    """
    kept = maps.explained
    if not kept.any():
        raise ValueError("no record of the group has any relevance")
    chosen = None if weights is None else weights[:, kept]
    return tuple(group_mean(shares(sums[kept]), chosen) for sums in (maps.relevance, maps.time))


def permuted_cards(cells: np.ndarray, n_permutations: int, seed: int) -> np.ndarray:
    """The card under permuted lead names, (M, 288) of 0 and 1.

    One permutation of the 12 names serves all segments, so every segment keeps its relevance and a
    lead keeps its character.
    """
    orders = np.argsort(np.random.default_rng(seed).random((n_permutations, len(cells))), axis=1)
    return cells[orders].reshape(n_permutations, -1).astype(np.float32)


def permuted_lifts(share: np.ndarray, time: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """Lift (M,) of a map (12, 24) on each permuted card; infinite where a permuted card has no time
    (counts against the rule).
    """
    inside, chance = (
        permuted @ np.stack([share.ravel(), time.ravel()], axis=1).astype(np.float32)
    ).T.astype(float)
    return np.divide(inside, chance, out=np.full(len(permuted), np.inf), where=chance > 0)


# the limb leads around the heart (Cabrera), of which the first follows the last; V1 to V6 beside
LIMB_CIRCLE = [LEADS.index(lead) for lead in ("aVL", "I", "aVR", "II", "aVF", "III")]
CHEST_ROW = [LEADS.index(lead) for lead in ("V1", "V2", "V3", "V4", "V5", "V6")]


def neighbour_cards(cells: np.ndarray) -> np.ndarray:
    """The card under the 288 orders of the leads that keep neighbours, (288, 288) of 0 and 1: limb
    and chest leads each shifted around and mirrored (V1 follows V6), and changed for each other.
    The first is the card itself.
    """
    orders = []
    for first, second in ((LIMB_CIRCLE, CHEST_ROW), (CHEST_ROW, LIMB_CIRCLE)):
        for limb, chest in product(_turned(first), _turned(second)):
            order = np.empty(len(LEADS), int)
            order[LIMB_CIRCLE], order[CHEST_ROW] = limb, chest
            orders.append(order)
    return cells[np.array(orders)].reshape(len(orders), -1).astype(np.float32)


def _turned(leads):
    """The 12 ways to go once around."""
    ways = []
    for step in range(len(leads)):
        shifted = leads[step:] + leads[:step]
        ways += [shifted, shifted[::-1]]
    return ways


def lift_interval(
    maps: CellMaps, control: CellMaps | None, card: Card, weights: np.ndarray
) -> tuple[float, float, float]:
    """Lift of a map on a card with its 95 % interval over patients, of the records that have
    relevance: (lift, low, high). With `control`, maps of the same records: over the lift of these,
    of the records that have relevance in both. NaN for the interval of fewer than five patients.

    weights  # (R, n) resamples of patients (common.stats.patient_weights)
    """
    kept = maps.explained if control is None else maps.explained & control.explained
    inside = (shares(maps.relevance) * card.cells).sum(axis=(1, 2))
    chance = shares(maps.time if control is None else control.relevance)
    against = (chance * card.cells).sum(axis=(1, 2))
    who, first, code = np.unique(maps.patients, return_index=True, return_inverse=True)
    sums = [np.bincount(code, values * kept, len(who))[:, None] for values in (inside, against)]
    total = sums[1].sum()
    value = float(sums[0].sum() / total) if total > 0 else np.nan
    low, high = ratio_intervals(*sums, weights[:, first].astype(float))
    return value, float(low[0]), float(high[0])


def score(
    maps: CellMaps, card: Card, weights: np.ndarray, permuted: np.ndarray
) -> dict[str, float]:
    """One map against one card.

    `weights` (R, n) are bootstrap resamples of the patients, `permuted` is
    permuted_cards(card.cells, ...).

    share, chance: of relevance and of lead x time inside the card; lift = share / chance with its
    95 % interval over patients; lead_lift: lift over its mean under permuted leads (1: the card's
    leads are no better than others in the same segments); p: how often permuted leads reach the
    lift, with its floor (a card that is the same in all leads cannot be tested: p_floor 1);
    p_neighbours, p_neighbours_floor: the same of the orders that keep neighbours (a card of leads
    that lie together cannot be significant there); top5_precision: part of the five densest cells
    that the card has, beside top5_chance, what five random cells would have; sign_agreement: part
    of the relevance in the card's signed cells whose sign is the card's.
    """
    share, time = group_shares(maps)
    observed = float(lift(share, time, card.cells))
    _, low, high = lift_interval(maps, None, card, weights)
    null = permuted_lifts(share, time, permuted)
    same = (permuted == card.cells.ravel()).all(axis=1).mean()
    beside = neighbour_cards(card.cells)
    of_neighbours = permuted_lifts(share, time, beside)
    top = cell_ranks(maps) <= TOP
    # float32 sums: a permutation that leaves the card as it is must count as reaching it
    reached = observed * (1 - 1e-5)
    return {
        "share": float((share * card.cells).sum()),
        "chance": float((time * card.cells).sum()),
        "lift": observed,
        "low": low,
        "high": high,
        "lead_lift": observed / float(null[np.isfinite(null)].mean()),
        "p": float(permutation_p(reached, null)),
        "p_floor": max(1 / (1 + len(permuted)), float(same)),
        "p_neighbours": float((of_neighbours >= reached).mean()),  # all there are, itself included
        "p_neighbours_floor": float((beside == beside[0]).all(axis=1).mean()),
        "top5_precision": float(card.cells[top].mean()),
        "top5_chance": float(card.cells[maps.common].mean()),
        "sign_agreement": sign_agreement(maps, card),
        "n_cells": card.n_cells,
    }


def sign_agreement(maps: CellMaps, card: Card) -> float:
    """Part of the relevance in the card's signed cells that has the card's sign, .5 is chance; NaN
    for an unsigned card.
    """
    kept = maps.explained
    total = maps.relevance[kept].sum(axis=(1, 2), keepdims=True)
    strength, direction = (
        (sums[kept] / total).mean(axis=0) for sums in (maps.relevance, maps.signed)
    )
    weight = (strength * (card.signs != 0)).sum()
    return float((1 + (direction * card.signs).sum() / weight) / 2) if weight > 0 else float("nan")


def card_places(
    cards: dict[str, Card], share: tuple, jittered: Sequence[CellMaps]
) -> dict[str, dict[str, float]]:
    """Per card its rank among the cards by the map's lift (1: the highest), and rank_stability: the
    share of the `jittered` maps in which that is the same (NaN without any).

    share  group_shares() of the map
    """
    rank = _ranked(cards, share)
    again = [_ranked(cards, group_shares(maps)) for maps in jittered if maps.explained.any()]
    same = np.mean([other == rank for other in again], axis=0) if again else rank * np.nan
    return {
        name: {"rank": place, "rank_stability": stability}
        for name, place, stability in zip(cards, rank, same, strict=True)
    }


def _ranked(cards, share):
    """Rank (cards,) of each card by its lift."""
    lifts = np.nan_to_num([lift(*share, card.cells) for card in cards.values()])
    return 1 + (lifts > lifts[:, None]).sum(axis=1)
