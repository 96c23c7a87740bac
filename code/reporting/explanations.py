"""Sections of the report on explanations: concepts, single records, groups of patients."""

from collections.abc import Iterator

from markupsafe import Markup

from common.files import read_csv
from common.words import CONTROLS, method_in_words
from records.dataset import TABLE
from records.quality import FLAGS, flag_in_words, flags_of
from reporting.fragments import caption_of, columns_of, named, quality_lines
from reporting.local import STANDINGS, checked, viewed_records, why_first
from reporting.page import (
    code_block,
    details,
    figure,
    heading,
    join,
    paragraph,
    table,
    viewer,
)
from reporting.run import Run, tables_read
from reporting.viewer import book

FEW_CLASS_RECORDS = 5  # ECGs of a class below which no concept is judged for it
MOST_FLAGGED = 20  # ECGs named for one flag
MOST_PICTURES = 12  # of a local analysis that kept no signals for the viewer


def concepts(run: Run) -> Iterator[Markup]:
    """TCAV: how many cells are significant, which CAVs are no better than random, the cells, the
    heat maps.
    """
    scores = run.csv("tcav/scores.csv")
    if scores is None:
        return
    tested = scores["p_corrected"].notna()
    valid = scores["cav_valid"].astype(bool)
    found = scores[valid & (scores["p_corrected"] < 0.05)]
    sizes = ", ".join(
        f"{scores[column].nunique()} {plural}"
        for column, plural in (
            ("concept", "concepts"),
            ("layer", "layers"),
            ("pathology", "pathologies"),
        )
    )
    yield paragraph(
        f"{sizes}; {len(found)} of {int(tested.sum())} cells are significant after correction."
    )
    yield from quality_lines(run, "tcav")
    if (run.folder / "tcav_applied").is_dir():
        yield paragraph("Stored concept vectors applied to other records (tcav_applied/):")
        yield from quality_lines(run, "tcav_applied")
    vectors = valid[~scores.duplicated(["run_kind", "concept", "layer"])]
    if not vectors.all():
        yield paragraph(
            f"In {int((~vectors).sum())} of {len(vectors)} concept × layer pairs the concept's "
            "vector separates held-out records no better than random ones: those cells are greyed, "
            "and not counted as significant.",
            "warn",
        )
    enough = found["n_class"] >= FEW_CLASS_RECORDS
    few = found.loc[~enough, "pathology"].unique()
    found = found[enough]
    if len(few):
        yield paragraph(
            f"Not judged, with fewer than {FEW_CLASS_RECORDS} records: {', '.join(map(str, few))}."
        )
    if len(found):
        yield paragraph(
            "Per concept and pathology the layer of largest magnitude among the significant ones; "
            "n: records of the pathology.",
            "soft",
        )
        yield table(_strongest_layers(found, scores["layer"].nunique()), 40)
    for picture in run.files("tcav/summary*.png"):
        yield figure(picture, caption_of(picture))
    single = [path for path in run.files("tcav/*.png") if not path.stem.startswith("summary")]
    if single:
        maps = join([figure(picture, caption_of(picture)) for picture in single])
        yield details(f"All layers, one map per concept ({len(single)})", maps)


def _strongest_layers(found, n_layers):
    """One row per kind of negatives, concept and pathology of the significant cells, those in most
    layers first.
    """
    groups = found.groupby(["run_kind", "concept", "pathology"], sort=False)
    best = found.loc[groups["magnitude"].apply(lambda values: values.abs().idxmax())]
    counts = groups.size().to_numpy()
    rows = best.assign(
        significant=[f"{count} of {n_layers} layers" for count in counts], n=best["n_class"]
    )
    order = sorted(range(len(rows)), key=lambda k: (-counts[k], -abs(best["magnitude"].iloc[k])))
    names = [
        "concept",
        "pathology",
        "significant",
        "layer",
        "score",
        "magnitude",
        "p_corrected",
        "n",
    ]
    if rows["run_kind"].nunique() > 1:
        names.insert(1, "run_kind")
    return columns_of(rows.iloc[order], names)


def local(run: Run) -> Iterator[Markup]:
    """Explained records of the data set, then each record of one's own: warnings about signals,
    largest cells, figures.
    """
    for folder in sorted(path.parent.name for path in run.files("local*/cells.csv")):
        yield from _local_part(run, folder, own=folder.removeprefix("local").removeprefix("_"))


def _local_part(run, folder, own):
    """One folder; `own` names one's own record, whose flags only quality.csv has."""
    cells = run.csv(f"{folder}/cells.csv")
    if own:
        yield heading(f"Record {own}")
    n = cells["ecg_id"].nunique()
    yield paragraph(
        f"{n} ECG{'' if n == 1 else 's'}, explained by "
        f"{', '.join(map(method_in_words, cells['method'].unique()))} for "
        f"{', '.join(map(str, cells['pathology'].unique()))}."
    )
    yield from quality_lines(run, folder)
    for line in () if own else _flagged(run, cells["ecg_id"].unique()):
        yield paragraph(line, "warn")
    strongest = cells[cells["rank"] == 1] if "rank" in cells else cells
    yield details("Strongest lead and wave of each ECG and method", table(strongest, 60))
    alike = run.csv(f"{folder}/neighbours.csv")
    if alike is not None and len(alike):
        yield details("Training records that these ECGs resemble", table(alike, 200))
    records = viewed_records(run, folder)
    pictures = run.files(f"{folder}/**/*.png")
    if records:
        yield paragraph(why_first(run, records[0]), "soft")
        yield viewer(book(records), f"Explained ECGs of {folder}")
        where = f"{run.folder.name}/{folder}/"
        n = len(pictures)
        figures = "1 figure for print is" if n == 1 else f"{n} figures for print are"
        yield paragraph(f"{figures} in {where}.", "soft")
    else:  # of a run that kept no signals
        yield from (figure(picture, caption_of(picture)) for picture in pictures[:MOST_PICTURES])


def _flagged(run, ecg_ids):
    """Signal-quality warnings about the explained records, from the data set's table."""
    stage = run.folder / "local" / "local.json"
    tables = tables_read(stage) if stage.is_file() else []
    there = [path for path in tables if path.is_file()]
    if not there:
        missing = (
            f"{tables[0]} is not there" if tables else f"{stage} names no {TABLE} among its inputs"
        )
        yield f"Names of flagged records unavailable: {missing}."
        return
    flags = flags_of(read_csv(there[0], index_col="ecg_id", low_memory=False))
    for name in flags:
        ids = flags.index[(flags[name] == 1) & flags.index.isin(ecg_ids)]
        if len(ids):
            which, whose = ("record", "its") if len(ids) == 1 else ("records", "their")
            yield (
                f"{flag_in_words(name)} in {which} {named(list(map(str, ids)), MOST_FLAGGED)}: "
                f"read {whose} maps with care ({FLAGS[name].description})."
            )


def _placed_before(run, mapped):
    """Which method the run's checks place first, where the groups are not mapped by it."""
    first = next((name for name in checked(run) if name not in CONTROLS), None)
    if first is None or first in mapped:
        return
    names = ", ".join(method_in_words(name) for name in mapped if name not in CONTROLS)
    yield paragraph(
        f"The checks of this network's methods place {method_in_words(first)} first ({STANDINGS}); "
        f"these maps are of {names}. To map the groups by it:",
        "soft",
    )
    yield code_block(run.command("glocal_analysis", "--overwrite", methods=[first]))


def glocal(run: Run) -> Iterator[Markup]:
    """Maps of the groups, their densest cells, the scorecard."""
    segments = run.csv("glocal/segments.csv")
    if segments is None:
        return
    yield from quality_lines(run, "glocal")
    yield from _placed_before(run, segments["method"].unique())
    yield from (figure(picture, caption_of(picture)) for picture in run.files("glocal/groups*.png"))
    top = segments[segments["rank"] <= 5].sort_values(["pathology", "method", "rank"])
    columns = ["pathology", "method", "rank", "lead", "segment", "density", "low", "high", "share"]
    yield details(
        "Five strongest cells of each pathology and method", table(columns_of(top, columns), 80)
    )
    card = run.csv("glocal/scorecard.csv")
    if card is not None:
        own = card[card["own"].astype(str) == "True"] if "own" in card else card
        yield paragraph(
            "Scorecard: share of the relevance inside the cells of the pathology's card (the "
            "textbook's, or on a simulated cohort the planted ones)."
        )
        columns = [
            "pathology",
            "method",
            "card",
            "share",
            "chance",
            "lift",
            "low",
            "high",
            "p_neighbours",
            "p_holm",
            "p_control",
            "p_control_corrected",
            "n_records",
        ]
        yield table(columns_of(own, columns), 60)
    yield from (
        figure(picture, caption_of(picture)) for picture in run.files("glocal/scorecard*.png")
    )
