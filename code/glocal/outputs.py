"""What the glocal stage writes: tables, then figures drawn from them."""

import argparse
from pathlib import Path

from attribution.methods import METHODS
from common.files import UserError, write_csv, write_figure
from common.labels import slug
from common.stage import data_folders
from glocal import figures, scorecard_figures, tables
from glocal.groups import CONTROLS, label_bars
from glocal.scorecard import planted_cards, rules_table, textbook_cards
from networks.checkpoints import ModelInfo

FORMATS = ("png", "pdf")


# ---------------------------------------------------------------- cards


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
    return textbook_cards(info.labels)


def _auto(data_path, info):
    return (_planted if planted_path(data_path) else _textbook)(data_path, info)


CARDS = {"auto": _auto, "textbook": _textbook, "planted": _planted}


# ---------------------------------------------------------------- tables and figures


def clear(folder: Path) -> None:
    """Remove tables and figures of an earlier or interrupted run: other groups must not lie among
    those of this one.
    """
    for suffix in ("csv", *FORMATS):
        for path in folder.glob(f"*.{suffix}"):
            path.unlink()


def write_all(
    folder: Path,
    args: argparse.Namespace,
    info: ModelInfo,
    groups: dict,
    shown: list,
    pairs: list,
    methods: list[str],
    cards: dict,
) -> list[Path]:
    """Tables and figures of the groups `shown` and of the contrasted `pairs`; returns the paths."""
    found = {
        "segments": tables.segments_csv(
            list(groups.values()), methods, args.n_bootstrap, args.seed
        ),
        "beats": tables.beats_csv(list(groups.values()), methods),
        "groups": tables.groups_csv(list(groups.values()), info.labels),
        "records": tables.records_csv(list(groups.values()), info.labels),
        "rules": rules_table(),
    }
    by_lead = [method for method in methods if METHODS[method].has_lead_axis]
    if cards:
        found["scorecard"] = tables.scorecard_csv(
            shown, cards, by_lead, args.n_bootstrap, args.n_permutations, args.seed
        )
    if pairs:
        contrasted = [(groups[first], groups[second]) for first, second in pairs]
        found["contrast"] = tables.contrasts_csv(
            contrasted, methods, args.n_permutations, args.seed
        )
    paths = []
    for name, table in found.items():
        write_csv(folder / f"{name}.csv", table)
        paths.append(folder / f"{name}.csv")
    return paths + draw_all(folder, args, info, shown, pairs, methods, found)


def draw_all(
    folder: Path,
    args: argparse.Namespace,
    info: ModelInfo,
    shown: list,
    pairs: list,
    methods: list[str],
    found: dict,
) -> list[Path]:
    """Figures of every method but the controls (whose tables are written too)."""
    where = (
        "cross-fitted folds"
        if args.cross_fit
        else f"fold{'s' * (len(args.folds) > 1)} {', '.join(map(str, args.folds))}"
    )
    subtitle = (
        f"{info.modelname}, {info.task}; up to {args.n_samples} records of highest logit, "
        f"{args.selection}, {where}"
    )
    bars = {group.pathology: label_bars(group, info.labels) for group in shown}
    paths = []
    for method in (name for name in methods if name not in CONTROLS):
        cells = {
            group.pathology: tables.cells_of(found["segments"], group.pathology, method)
            for group in shown
        }
        title = f"Glocal analysis by {method}" + (
            "" if METHODS[method].has_lead_axis else " (no lead axis: all leads alike)"
        )
        whole = figures.side_by_side(shown, bars, cells, method, title, subtitle, args.norm_heat)
        paths += write_figure(whole, folder / f"groups_{method}", FORMATS)
        for group in shown:
            one = figures.cells_figure(
                group, cells[group.pathology], method, f"{method} per lead and segment"
            )
            paths += write_figure(one, folder / f"cells_{method}_{slug(group.pathology)}", FORMATS)
        for first, second in pairs:
            name = f"contrast_{slug(first)}_{slug(second)}_{method}"
            table = found["contrast"].query("first == @first and second == @second")
            paths += write_figure(figures.contrast_figure(table, method), folder / name, FORMATS)
    scored = found.get("scorecard")
    if scored is not None and (scored["own"] & ~scored["method"].isin(CONTROLS)).any():
        whole = scorecard_figures.scorecard_figure(found["scorecard"], f"Scorecard: {subtitle}")
        paths += write_figure(whole, folder / "scorecard", FORMATS)
    return paths
