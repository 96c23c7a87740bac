"""Tables of docs/results.md from what the stages wrote: a function per section, (working folder) ->
lines of Markdown. Every number is read from a stage's table; what is not there is a dash.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(Path(__file__).parent)]

from bench_glocal import CAUSES, PAPER_TOP5, names_of

from attribution.cards import planted_cards
from common.labels import LABEL_MAPPINGS, LEADS
from common.words import method_in_words
from ecg.segments import SEGMENTS
from glocal.tables import cells_of

WHERE = {"real": "real", "sim": "simulated"}
LVH = ("S12-LVH", "R56-LVH", "QRS-LVH", "LI-LVH", "SLI-LVH")


def number(value: float, digits: int = 2) -> str:
    """.73; a dash where there is none."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def p_value(p: float) -> str:
    """.013; < .001 below that."""
    return "< .001" if p < 0.001 else number(p, 3)


def interval(row: pd.Series | dict, digits: int = 2) -> str:
    """Value with its interval, where it has one."""
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    shown = number(value, digits)
    return f"{shown} [{number(low, digits)}, {number(high, digits)}]" if low == low else shown


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table, without columns that hold nothing but dashes."""
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    kept = [k for k in range(len(head)) if not rows or any(row[k] != "–" for row in rows)]
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line[k] for k in kept)} |" for line in lines]


def run_of(work: Path, where: str, name: str) -> Path:
    """A run's folder."""
    return work / f"out_{where}" / name


def counts(folder: Path) -> dict:
    """What a stage counted."""
    return json.loads((folder / f"{folder.name}.json").read_text())["counts"]


def macro_auc(run: Path) -> str:
    """Macro AUC of the run's test folds, windows, with n."""
    found = json.loads((run / "metrics.json").read_text())["windows"]["macro_auc"]
    return f"{interval(found)}, n = {found['n']}"


# ---------------------------------------------------------------- discovery


def discovery(work: Path) -> list[str]:
    """Agreement with AMI and IMI beside chance and beside networks that have learnt nothing."""
    lines = []
    for where, words in WHERE.items():
        run = run_of(work, where, "lenet_superdiagnostic")
        if not (run / "discovery/discovery.json").is_file():
            continue
        table = pd.read_csv(run / "discovery/table.csv")
        n = table.loc[table["metric"] == "ari"].iloc[0]
        lines += [
            f"*{words}*: {int(n['n'])} records, {int(n['n_patients'])} patients; LeNet, "
            f"superdiagnostic, macro AUC {macro_auc(run)}; saliency for MI; "
            f"{int(table['n_controls'].max())} controls of each kind:",
            "",
            *markdown(
                (
                    "representation",
                    "accuracy",
                    "adjusted Rand",
                    "p, permuted labels",
                    "untrained networks, 95 %",
                    "p, controls (corrected)",
                    "groups found (p)",
                ),
                _discovery_rows(table),
            ),
            "",
        ]
    return lines


def _discovery_rows(table):
    for name in table.loc[table["metric"] == "subgroups", "representation"]:
        rows = table[table["representation"] == name].set_index("metric")
        ari, groups = rows.loc["ari"], rows.loc["subgroups"]
        band = f"{number(ari['control_low'])} to {number(ari['control_high'])}"
        p = f"{p_value(ari['p_control'])} ({p_value(ari['p_control_corrected'])})"
        yield (
            name.replace("_", ", "),
            interval(rows.loc["accuracy"]),
            interval(ari),
            p_value(ari["p"]),
            band if ari["control_low"] == ari["control_low"] else "–",
            p if ari["p_control"] == ari["p_control"] else "–",
            f"{int(groups['value'])} ({p_value(groups['p'])})",
        )


# ---------------------------------------------------------------- sanity

SCORES = {
    "signed removal (0)": "faithfulness_cells_physiological_signed",
    "wave of another (0)": "edits_swap_signed",
    "dose, +1 % (0)": "dose_percent_signed",
    "T: right chest lead": "amplitude_chest",
    "T: right wave": "amplitude_window_T",
    "this cause (AUC, .50)": "localisation_specific_auc_absolute",
    "seeds, cells": "agreement_seeds_cells",
}


def sanity(work: Path) -> list[str]:
    """Headline scores of the usual methods on real and simulated records, and localisation beside
    networks that have learnt nothing.
    """
    lines = []
    for where, words in WHERE.items():
        run = run_of(work, where, "lenet_subdiagnostic_s0")
        if not (run / "sanity/sanity.json").is_file():
            continue
        checks = pd.read_csv(run / "sanity/checks.csv")
        ties = _ties(pd.read_csv(run / "sanity/comparisons.csv"))
        favoured = set(checks.loc[checks["favoured"], ["check", "method"]].itertuples(index=False))
        lines += [
            f"*{words}*: {counts(run / 'sanity')['records']} records of fold 10, LeNet, "
            f"subdiagnostic, macro AUC {macro_auc(run)}. Bold: best, or not told from it; ring: "
            "favoured by construction:",
            "",
            *markdown(("method", *SCORES), _sanity_rows(checks, ties, favoured)),
            "",
        ]
    path = run_of(work, "sim", "lenet_subdiagnostic_s0") / "sanity/controls.csv"
    if not path.is_file():
        return lines
    table = pd.read_csv(path)
    n = f"{int(table['n_controls'].max())} untrained networks and as many on permuted labels"
    lines += [
        f"Localisation on the simulated records beside {n}; {int(table['n'].max())} records; "
        f"beyond them {int(table['beyond_controls'].sum())} of {len(table)} scores:",
        "",
        *markdown(
            ("score", "method", "trained", "untrained, 95 %", "p", "corrected"),
            _control_rows(table),
        ),
    ]
    return lines


def _ties(compared):
    """check -> methods that are best or not told from it (p_corrected >= .05)."""
    found = {}
    for check, rows in compared.groupby("check"):
        found[check] = {rows["best"].iloc[0], *rows.loc[~(rows["p_corrected"] < 0.05), "method"]}
    return found


def _sanity_rows(checks, ties, favoured):
    for method in dict.fromkeys(checks["method"].dropna()):
        cells = []
        for score in SCORES.values():
            rows = checks[(checks["check"] == score) & (checks["method"] == method)]
            if not len(rows):
                cells.append("–")
                continue
            ring = "°" if (score, method) in favoured else ""
            shown = interval(rows.iloc[0]) + ring
            cells.append(f"**{shown}**" if method in ties.get(score, ()) else shown)
        if set(cells) != {"–"}:
            yield (method_in_words(method), *cells)


def _control_rows(table):
    named = ("localisation_specific_auc_absolute", "localisation_auc_cell_absolute")
    shown = table[table["check"].isin(named)].sort_values("check", kind="stable")
    for row in shown.itertuples():
        yield (
            row.check.removeprefix("localisation_").replace("_", " "),
            method_in_words(row.method),
            number(row.value),
            f"{number(row.control_low)} to {number(row.control_high)}",
            p_value(row.p_control),
            p_value(row.p_control_corrected),
        )


# ---------------------------------------------------------------- glocal


def glocal(work: Path) -> list[str]:
    """The densest cells beside the paper's, scorecards with controls, planted cells."""
    run = run_of(work, "real", "lenet_subdiagnostic_cross_fit") / "glocal"
    table, card = (pd.read_csv(run / f"{name}.csv") for name in ("segments", "scorecard"))
    said, rows, exact = counts(run), [], 0
    for name in (name for name in CAUSES if name in set(table["pathology"])):
        cells = cells_of(table, name, "saliency")
        ours = table[(table["pathology"] == name) & (table["method"] == "saliency")]
        shown = [
            f"{row.lead} {row.segment} ({row.top5:.0%})"
            for row in ours[ours["rank"] <= 5].sort_values("rank").itertuples()
        ]
        theirs = [_with_rank(cells, cell) for cell in PAPER_TOP5[name]]
        exact += len(set(names_of(cells)) & set(PAPER_TOP5[name]))
        rows.append((name, said[name].replace(" records", ""), ", ".join(shown), ", ".join(theirs)))
    contrast = pd.read_csv(run / "contrast.csv")
    contrast = contrast[contrast["method"] == "saliency"]
    lines = [
        "*Real*, five cross-fitted LeNets, true positives, saliency:",
        "",
        *markdown(
            (
                "group",
                "records, patients, beats",
                "five densest cells (in the top 5 of so many resamples)",
                "the paper's five, with their rank here",
            ),
            rows,
        ),
        "",
        f"{exact} of the paper's {5 * len(rows)} cells are among ours. LVH against NORM, both "
        f"explained for LVH: {int((contrast['p_holm'] < 0.05).sum())} of "
        f"{int(contrast['p_holm'].notna().sum())} cells differ in their mean (Holm).",
        "",
        "Scorecard of the cross-fitted networks:",
        "",
        *_card_table(card, ("p", "p_neighbours", "p_holm")),
        "",
    ]
    for where, words in WHERE.items():
        path = run_of(work, where, "lenet_subdiagnostic_s0") / "glocal/scorecard.csv"
        if not path.is_file():
            continue
        one = pd.read_csv(path)
        lines += [
            f"One network, fold 10, {words} records, beside {int(one['n_controls'].max())} "
            "controls of each kind:",
            "",
            *_card_table(one, ("p_neighbours", "p_control", "p_control_corrected"), True),
            "",
        ]
    planted = run_of(work, "sim", "lenet_subdiagnostic_cross_fit") / "glocal"
    return lines + (_planted(planted, work / "cohort") if planted.is_dir() else [])


def _with_rank(cells, cell):
    lead, segment = cell.split()
    rank = cells["rank"][LEADS.index(lead), SEGMENTS.index(segment)]
    return f"{cell} {'-' if np.isnan(rank) else int(rank)}"


def _card_table(card, columns, band=False):
    own = card[card["own"] & ~card["method"].isin(("random", "input_magnitude"))]
    head = ["card", "method", "records, patients", "lift", *columns]
    rows = []
    for row in own.to_dict("records"):
        lift = interval({"value": row["lift"], **row})
        if band:
            lift += f"; untrained {number(row['control_low'])} to {number(row['control_high'])}"
        sizes = f"{row['n_records']}, {row['n_patients']}"
        p = [p_value(row[name]) for name in columns]
        rows.append((row["pathology"], method_in_words(row["method"]), sizes, lift, *p))
    return markdown(head, rows)


def _planted(folder, cohort):
    table = pd.read_csv(folder / "segments.csv")
    path = cohort / "planted_causes.csv"
    cards = planted_cards(path, "subdiagnostic", LABEL_MAPPINGS["subdiagnostic"])
    rows = []
    for method in table["method"].unique():
        hits, expected, names = [], 0.0, [n for n in CAUSES if n in set(table["pathology"])]
        for name in names:
            cells = cells_of(table, name, method)
            hits.append(int(cards[name].cells[cells["rank"] <= 5].sum()))
            expected += 5 * cards[name].cells[np.isfinite(cells["rank"])].mean()
        groups = f"{sum(hit > 0 for hit in hits)} of {len(names)}"
        found = f"{sum(hits)} of {5 * len(names)}"
        rows.append((method_in_words(method), groups, found, number(expected, 1)))
    head = ("method", "groups with a planted cell in the top 5", "planted cells", "by chance")
    return [
        "*Simulated*, five cross-fitted LeNets, LVH, CLBBB, IMI, AMI:",
        "",
        *markdown(head, rows),
    ]


# ---------------------------------------------------------------- TCAV


def tcav(work: Path) -> list[str]:
    """Concepts of LVH in one network, how many cells are special, and what five networks have
    learnt.
    """
    run = run_of(work, "real", "lenet_subdiagnostic_s0")
    scores = pd.read_csv(run / "tcav/scores.csv")
    cells = scores[scores["run_kind"] == "concept"]
    mine = cells[cells["pathology"] == "LVH"]
    rows = []
    for concept in (name for name in LVH if name in set(mine["concept"])):
        own = mine[mine["concept"] == concept]
        best = own.loc[own["cav_accuracy"].idxmax()]
        rows.append(
            (
                f"{concept} ({int(best['n_positive'])})",
                f"{best['layer']} ({number(best['cav_accuracy'])})",
                f"{number(best['score'])}, {number(best['magnitude'])}",
                f"{int((own['p_corrected'] < 0.05).sum())} of {len(own)}",
                p_value(own["p_corrected"].min()),
            )
        )
    head = (
        "concept (positives) -> LVH",
        "layer of best CAV (accuracy)",
        "score, magnitude there",
        "layers significant",
        "smallest corrected p",
    )
    n = int(mine["n_class"].max())
    special = int((cells["p_corrected"] < 0.05).sum())
    lines = [
        f"LeNet, subdiagnostic, seed 0, macro AUC {macro_auc(run)}; {cells['concept'].nunique()} "
        f"concepts, {cells['layer'].nunique()} layers, {cells['pathology'].nunique()} "
        f"pathologies, {n} records with LVH in fold 10; smallest possible p "
        f"{number(cells['p_floor'].max(), 3)}:",
        "",
        *markdown(head, rows),
        "",
        f"{special:,} of {int(cells['p_corrected'].notna().sum()):,} cells are significant: "
        "special in this network.",
    ]
    five = work / "out_tcav5/lenet_subdiagnostic_s0/tcav/scores.csv"
    return [*lines, "", *_learnt(pd.read_csv(five))] if five.is_file() else lines


def _learnt(scores):
    pairs = scores[scores["run_kind"] == "concept"].drop_duplicates(["concept", "pathology"])
    tested = pairs[pairs["learnt"].notna()]
    counted = tested["learnt"].value_counts()
    words = ", ".join(f"{counted.get(word, 0)} {word}" for word in ("learnt", "special", "neither"))
    own = tested[(tested["pathology"] == "LVH") & tested["concept"].isin(LVH)]
    rows = [(row.concept, row.learnt, p_value(row.p_control_corrected)) for row in own.itertuples()]
    return [
        f"{int(scores['n_trained'].max())} networks (seeds 0-4) against "
        f"{int(scores['n_controls'].max())} controls of each kind: of {len(tested)} pairs of "
        f"concept and class {words}.",
        "",
        *markdown(("concept -> LVH", "verdict", "corrected p against the controls"), rows),
    ]


# ---------------------------------------------------------------- local


def closing(ledger: np.ndarray) -> str:
    """How ledgers (N, 5: logit, input, bias, stabiliser, nonlinear) close, in words."""
    logit, shares = ledger[:, 0], ledger[:, 1:]
    rest = np.abs(logit - shares.sum(axis=1)).max()
    biases = np.median(np.abs(shares[:, 1]))
    return f"ledger closes to {rest:.1e} logit; biases keep {number(biases, 2)} logit (median)"


def local(work: Path) -> list[str]:
    """How far the maps of single records sum to what they explain."""
    folder, rows = run_of(work, "real", "lenet_subdiagnostic_s0") / "local", []
    for path in sorted(folder.glob("*.npz")):
        if path.stem == "records":
            continue
        method, _, pathology = path.stem.partition("_")
        with np.load(path) as file:
            n, said = len(file["ecg_id"]), "–"
            if "gap" in file:
                gap = np.abs(file["gap"])
                most = number(gap.max(), 3)
                said = f"gap, logit: median {number(np.median(gap), 3)}, largest {most}"
            if "ledger" in file:
                said = closing(file["ledger"])
        rows.append((pathology, method_in_words(method), n, said))
    return markdown(("class", "method", "records", "what the sum is"), rows)
