"""What turns a group of records: which edits, at which dose, and whether the textbook names them.

groups.csv counts per pathology and edit: records that the edit turns alone, with the median of the
least dose, and records in whose sparsest set it is. card.csv holds the chosen edits of a group
against the textbook's card: the share of their cost in the card's leads and waves, and how often
a card with permuted lead names reaches that.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from attribution.cards import Card
from common.intervals import mean_with_interval, median_interval
from common.labels import LEADS
from common.stats import permutation_p
from counterfactual.edits import EDITS
from ecg.segments import SEGMENTS, WAVES

GROUP_COLUMNS = (
    "pathology",
    "direction",
    "edit",
    "turned_alone",
    "low",
    "high",
    "median_dose",
    "dose_low",
    "dose_high",
    "unit",
    "chosen",
    "n_records",
    "n_patients",
)
CARD_COLUMNS = (
    "pathology",
    "direction",
    "inside",
    "chance",
    "p",
    "p_floor",
    "sign_agreement",
    "turned",
    "turned_low",
    "turned_high",
    "n_records",
    "n_patients",
)


def group_table(
    records: pd.DataFrame,
    edits: pd.DataFrame,
    alone: pd.DataFrame,
    patients: Mapping[int, float],
    seed: int = 0,
) -> pd.DataFrame:
    """GROUP_COLUMNS, per pathology the edits that turn most records first. Shares and medians have
    95 % intervals over patients (`patients`: ecg_id -> patient).
    """
    rows = []
    for (pathology, direction), group in records.groupby(["pathology", "direction"], sort=False):
        own = alone[(alone["pathology"] == pathology) & alone["ecg_id"].isin(group["ecg_id"])]
        chosen = edits[(edits["pathology"] == pathology) & edits["ecg_id"].isin(group["ecg_id"])]
        turned = group.loc[group["turned"], "ecg_id"]
        counts = chosen[chosen["ecg_id"].isin(turned)]["edit"].value_counts()
        of_patient = group["ecg_id"].map(patients).to_numpy()
        for edit in {**dict.fromkeys(own["edit"]), **dict.fromkeys(counts.index)}:
            doses = own[own["edit"] == edit].set_index("ecg_id")["dose"]
            turns = group["ecg_id"].isin(doses.index).to_numpy(float)
            shares = mean_with_interval(turns, of_patient, seed)
            dose = _median(doses, patients)
            sizes = (int(counts.get(edit, 0)), len(group), len(np.unique(of_patient)))
            unit = EDITS[edit].unit
            rows.append((pathology, direction, edit, *shares, *dose, unit, *sizes))
    table = pd.DataFrame(rows, columns=GROUP_COLUMNS)
    order = ["turned_alone", "chosen"]
    return table.sort_values(["pathology", *order], ascending=[True, False, False], kind="stable")


def _median(doses, patients):
    """Median and its 95 % interval over patients; NaN without a dose, no interval from fewer than
    five patients.
    """
    if not len(doses):
        return np.nan, np.nan, np.nan
    of_patient = doses.index.map(patients).to_numpy()
    return float(doses.median()), *median_interval(doses.to_numpy(), of_patient)


def cost_map(edits: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(12, 24) share of the cost of a record's edits by lead and segment, and the same signed by
    the direction of the dose; an edit is shared out evenly over its leads (the limb leads that
    change by the same millivolts too) and the segments of its wave. QT and RR intervals lie in no
    cell: where they are changed, less than 1 is shared out.
    """
    size, signed = np.zeros((2, len(LEADS), len(SEGMENTS)))
    for row in edits.itertuples():
        edit = EDITS[row.edit]
        leads = [LEADS.index(lead) for lead in edit.shown_in or LEADS]
        wave = edit.wave.removesuffix(" interval").removesuffix(" duration")
        segments = [SEGMENTS.index(name) for name in WAVES.get(wave, ())]
        if not segments:
            continue
        each = row.cost / len(leads) / len(segments)
        size[np.ix_(leads, segments)] += each
        signed[np.ix_(leads, segments)] += each * np.sign(row.dose)
    total = max(edits["cost"].sum(), 1e-12)
    return size / total, signed / total


def card_table(
    records: pd.DataFrame,
    edits: pd.DataFrame,
    cards: Mapping[str, Card],
    patients: Mapping[int, float],
    n_permutations: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """CARD_COLUMNS per pathology and direction: how many records were turned, and for those with a
    card the share of the cost inside it, beside the mean of cards with permuted lead names.

    `sign_agreement`: of the cost in the card's signed cells, the part whose dose has the direction
    that the card says (.5 is chance).
    """
    rows = []
    for (pathology, direction), group in records.groupby(["pathology", "direction"], sort=False):
        of_patient = group["ecg_id"].map(patients).to_numpy()
        share = mean_with_interval(group["turned"].to_numpy(float), of_patient, seed)
        held = (np.nan,) * 5
        turned = set(group.loc[group["turned"], "ecg_id"])
        own = edits[(edits["pathology"] == pathology) & edits["ecg_id"].isin(turned)]
        if pathology in cards and len(own):
            wanted = -1 if direction == "remove" else 1
            held = _held_against(own, cards[pathology], wanted, n_permutations, seed)
        rows.append((pathology, direction, *held, *share, len(group), len(np.unique(of_patient))))
    return pd.DataFrame(rows, columns=CARD_COLUMNS)


def _held_against(edits, card, wanted, n_permutations, seed):
    maps = [cost_map(one) for _, one in edits.groupby("ecg_id")]
    size, signed = (np.mean(part, axis=0) for part in zip(*maps, strict=True))
    orders = _lead_orders(n_permutations, seed)
    null = np.array([(size * card.cells[order]).sum() for order in orders])
    observed = float((size * card.cells).sum())
    same = np.mean([(card.cells[order] == card.cells).all() for order in orders])
    floor = max(1 / (1 + n_permutations), float(same))
    weight = (size * (card.signs != 0)).sum()
    agreeing = (signed * card.signs).sum() * wanted / weight if weight > 0 else np.nan
    p = float(permutation_p(observed * (1 - 1e-9), null))
    return observed, float(null.mean()), p, floor, (1 + agreeing) / 2


def _lead_orders(n_permutations, seed):
    """(M, 12) permutations of the leads that an edit can name; the others stay in their place."""
    names = [lead for edit in EDITS.values() for lead in edit.shown_in]
    named = np.flatnonzero(np.isin(LEADS, names))
    drawn = np.random.default_rng(seed).random((n_permutations, len(named))).argsort(axis=1)
    orders = np.tile(np.arange(len(LEADS)), (n_permutations, 1))
    orders[:, named] = named[drawn]
    return orders
