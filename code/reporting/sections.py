"""Sections of the report: each reads what one stage wrote under the run folder and turns it into
HTML.

A section returns the fragments it has; one whose stage has not run returns none and is replaced by
the command that would.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from common.files import UserError, read_csv, read_json
from common.stage import read_stage
from common.words import CLASSES, CONCEPTS, SEGMENTS
from networks.inference import WINDOWS
from records.dataset import TABLE
from records.quality import QUALITY_FILE, flag_in_words, flags_in_words, flags_of
from reporting import findings as found_in
from reporting.local import viewed_records
from reporting.page import (
    code_block,
    details,
    figure,
    findings_list,
    glossary,
    heading,
    join,
    paragraph,
    table,
    tiles,
    viewer,
)
from reporting.run import Run, broken_links, data_files, stage_files, tables_read
from reporting.viewer import book

FEW_POSITIVES = 10  # below that a class's AUC says little
MOST_PICTURES = 12  # of a local analysis that kept no signals for the viewer


@dataclass(frozen=True)
class Section:
    """One section: where it reads, how it is read, and the stage that has to run for it."""

    title: str
    how: str
    stage: str
    build: Callable[[Run], Iterator[Markup]]


# ---------------------------------------------------------------- the sections


def findings(run: Run) -> Iterator[Markup]:
    """What was found, in sentences."""
    yield paragraph(found_in.asked_of(run))
    yield findings_list(found_in.findings(run))


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
        found = "Cannot be checked" if what.endswith("is missing") else "Artefacts do not match"
        yield paragraph(f"{found}: {what} ({', '.join(names)}).", "warn")
    stages = [read_stage(path) for path in stage_files(run.folder)]
    data = [read_stage(path) for path in data_files(run.folder) if path.is_file()]
    for one in data:
        counts = one.get("counts", {})
        yield paragraph(f"Data set: {counts.get('version', 'not said')}.")
        yield tiles(
            {
                key.replace("_", " "): f"{value:,}"
                for key, value in counts.items()
                if isinstance(value, int)
            }
        )
    for content in [*data, *stages]:
        if content.get("status") == "finished":
            yield details(f"{content['stage']}: command, versions, hashes", _provenance_of(content))


def _provenance_of(content):
    hashes = []
    for kind in ("inputs", "outputs"):
        for name, digest in content.get(kind, {}).items():
            hashes.append({"kind": kind, "file": name, "sha256": digest[:16] + "…"})
    versions = ", ".join(f"{name} {number}" for name, number in content.get("versions", {}).items())
    listed = [table(pd.DataFrame(hashes), 40)] if hashes else []
    return join([code_block(content.get("command", "")), paragraph(versions, "soft"), *listed])


def _external(run):
    """The test of the run's own fold beside those on other data sets, class by class."""
    own = read_json(run.folder / "metrics.json").get("windows", {}).get("per_class_auc", {})
    for path in sorted(run.folder.glob("external/*/metrics.json")):
        metrics = read_json(path)
        told = metrics["external"]
        entries = metrics["windows"]["per_class_auc"]
        yield paragraph(
            f"External test on {told['data_set']}: {told['records']} records of "
            f"{told['patients']} patients, {len(told['classes_compared'])} classes in common. "
            + ". ".join(told["differences"])
            + "."
        )
        if told["classes_compared"]:
            yield table(
                pd.DataFrame(
                    {
                        "class": label,
                        "own test, AUC": _interval(own.get(label)),
                        f"{told['data_set']}, AUC": _interval(entries[label]),
                        "positives there": entries[label]["n_positive"],
                    }
                    for label in told["classes_compared"]
                )
            )
        if told["classes_not_compared"]:
            yield paragraph(f"Not compared: {', '.join(told['classes_not_compared'])}.")


def performance(run: Run) -> Iterator[Markup]:
    """Scores of the test fold with intervals per protocol and class, and the figures of training
    and test.
    """
    path = run.folder / "metrics.json"
    if not path.is_file():
        return
    yield from _external(run)
    metrics = read_json(path)
    protocols = [protocol for protocol in WINDOWS if protocol in metrics]
    scores = []
    for name, score in metrics.get(WINDOWS[0], {}).items():
        if _is_score(score):
            row = {"metric": _metric_name(name)}
            for protocol in protocols:
                row[protocol.replace("_", " ")] = _interval(metrics[protocol].get(name))
            scores.append(row)
    if scores:
        yield table(pd.DataFrame(scores))
    per_class = metrics.get("windows", {}).get("per_class_auc", {})
    if per_class:
        scored = {label: entry for label, entry in per_class.items() if _is_score(entry)}
        few = [
            label
            for label, entry in scored.items()
            if (entry.get("n_positive") or 0) < FEW_POSITIVES
        ]
        if len(scored) < len(per_class):
            absent = ", ".join(label for label in per_class if label not in scored)
            yield paragraph(
                f"No positive (or no negative) in the test fold, left out of the means: {absent}."
            )
        if few:
            yield paragraph(
                f"Fewer than {FEW_POSITIVES} positives in the test fold, read with care: "
                f"{', '.join(few)}.",
                "warn",
            )
        yield table(
            pd.DataFrame(
                {
                    "class": label,
                    "AUC [95 % interval]": _interval(entry),
                    "positives": entry.get("n_positive"),
                    "records": entry.get("n"),
                }
                for label, entry in scored.items()
            )
        )
    for picture in run.figures("*.png"):
        yield figure(picture, _caption(picture))


def _is_score(entry):
    return isinstance(entry, dict) and entry.get("value") is not None


def _metric_name(name):
    words = (
        name.replace("_", " ")
        .replace("auc", "AUC")
        .replace("fmax", "F-max")
        .replace("mae", "MAE")
        .replace("r2", "R²")
    )
    return words[:1].upper() + words[1:]


def _interval(entry):
    if not _is_score(entry):
        return "–"
    text = f"{entry['value']:.3f}"
    if entry.get("low") is not None and entry.get("high") is not None:
        text += f" [{entry['low']:.3f}, {entry['high']:.3f}]"
    return text


def concepts(run: Run) -> Iterator[Markup]:
    """TCAV: how many cells are significant, which CAVs are no better than random, the cells, the
    heat maps.
    """
    scores = run.csv("tcav/scores.csv")
    if scores is None:
        return
    tested = scores["p_corrected"].notna()
    found = scores[tested & (scores["p_corrected"] < 0.05)]
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
    yield from _quality(run, "tcav")
    if (run.folder / "tcav_applied").is_dir():
        yield paragraph("Stored concept vectors applied to other records (tcav_applied/):")
        yield from _quality(run, "tcav_applied")
    invalid = scores.drop_duplicates(["concept", "layer"])
    if "cav_valid" in invalid and not invalid["cav_valid"].all():
        poor = int((~invalid["cav_valid"].astype(bool)).sum())
        yield paragraph(
            f"In {poor} of {len(invalid)} concept × layer pairs the concept's vector separates "
            "held-out records "
            "no better than random ones: those cells are greyed.",
            "warn",
        )
    if len(found):
        yield paragraph(
            "Per concept and pathology the layer of largest magnitude among the significant ones; "
            "n: records of the "
            "pathology.",
            "soft",
        )
        yield table(_strongest_layers(found, scores["layer"].nunique()), 40)
    for picture in run.figures("tcav/summary*.png"):
        yield figure(picture, _caption(picture))
    single = [path for path in run.figures("tcav/*.png") if not path.stem.startswith("summary")]
    if single:
        maps = join([figure(picture, _caption(picture)) for picture in single])
        yield details(f"All layers, one map per concept ({len(single)})", maps)


def _strongest_layers(found, n_layers):
    """One row per concept and pathology of the significant cells, those in most layers first."""
    groups = found.groupby(["concept", "pathology"], sort=False)
    best = found.loc[groups["magnitude"].apply(lambda values: values.abs().idxmax())]
    counts = groups.size().to_numpy()
    rows = best.assign(
        significant=[f"{count} of {n_layers} layers" for count in counts], n=best["n_class"]
    )
    order = sorted(range(len(rows)), key=lambda k: (-counts[k], -abs(best["magnitude"].iloc[k])))
    return _columns(
        rows.iloc[order],
        ["concept", "pathology", "significant", "layer", "score", "magnitude", "p_corrected", "n"],
    )


def local(run: Run) -> Iterator[Markup]:
    """Explained records of the data set, then each record of one's own: warnings about signals,
    largest cells, figures.
    """
    for folder in sorted(path.parent.name for path in run.folder.glob("local*/cells.csv")):
        yield from _local_part(run, folder, own=folder.removeprefix("local").removeprefix("_"))


def _local_part(run, folder, own):
    """One folder; `own` names one's own record, whose flags only quality.csv has."""
    cells = run.csv(f"{folder}/cells.csv")
    if own:
        yield heading(f"Record {own}")
    n = cells["ecg_id"].nunique()
    yield paragraph(
        f"{n} record{'' if n == 1 else 's'}, methods {', '.join(cells['method'].unique())}, "
        "pathologies "
        f"{', '.join(map(str, cells['pathology'].unique()))}."
    )
    yield from _quality(run, folder)
    for line in () if own else _flagged(run, cells["ecg_id"].unique()):
        yield paragraph(line, "warn")
    strongest = cells[cells["rank"] == 1] if "rank" in cells else cells
    yield details("Strongest lead and wave of each ECG and method", table(strongest, 60))
    records = viewed_records(run, folder)
    pictures = run.figures(f"{folder}/**/*.png")
    if records:
        yield viewer(book(records), f"Explained ECGs of {folder}")
        where = f"{run.folder.name}/{folder}/"
        yield paragraph(f"{len(pictures)} figures for print are in {where}.", "soft")
    else:  # of a run that kept no signals
        yield from (figure(picture, _caption(picture)) for picture in pictures[:MOST_PICTURES])


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
            yield (
                f"{flag_in_words(name)} in record {', '.join(map(str, ids[:20]))}: "
                "read its maps with care."
            )


def _quality(run, folder):
    """How many of the explained records carry a flag, as the stage has counted them; by group where
    some do.
    """
    counts = run.csv(f"{folder}/{QUALITY_FILE}")
    if counts is None:
        yield paragraph(
            f"Quality flags unavailable: {folder}/{QUALITY_FILE} is not there; the stage counts "
            "them when it is run again "
            "with --overwrite.",
            "soft",
        )
        return
    words, flagged = flags_in_words(counts), counts["n_flagged"].iloc[0] > 0
    yield paragraph(f"{words[:1].upper()}{words[1:]}.", "warn" if flagged else "soft")
    if flagged and len(counts) > 2:
        yield details("Quality flags by group", table(counts, 60))


def glocal(run: Run) -> Iterator[Markup]:
    """Maps of the groups, their densest cells, the scorecard."""
    segments = run.csv("glocal/segments.csv")
    if segments is None:
        return
    yield from _quality(run, "glocal")
    yield from (figure(picture, _caption(picture)) for picture in run.figures("glocal/groups*.png"))
    top = segments[segments["rank"] <= 5].sort_values(["pathology", "method", "rank"])
    columns = ["pathology", "method", "rank", "lead", "segment", "density", "low", "high", "share"]
    yield details(
        "Five strongest cells of each pathology and method", table(_columns(top, columns), 80)
    )
    card = run.csv("glocal/scorecard.csv")
    if card is not None:
        own = card[card["own"].astype(str) == "True"] if "own" in card else card
        yield paragraph(
            "Scorecard: share of the relevance inside the cells of the pathology's card (the "
            "textbook's, or on a "
            "simulated cohort the planted ones)."
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
            "p",
            "p_holm",
            "n_records",
        ]
        yield table(_columns(own, columns), 60)
    yield from (
        figure(picture, _caption(picture)) for picture in run.figures("glocal/scorecard*.png")
    )


def sanity(run: Run) -> Iterator[Markup]:
    """Ranking of the methods, figures of the checks, broken claims."""
    checks = run.csv("sanity/checks.csv")
    if checks is None:
        return
    yield from _quality(run, "sanity")
    axioms = run.csv("sanity/axioms.csv")
    for row in () if axioms is None else axioms[axioms["claimed"] & ~axioms["kept"]].itertuples():
        yield paragraph(
            f"{row.method} claims {row.axiom} and breaks it on {row.model}: {row.worst:.3g}, "
            "tolerance "
            f"{row.tolerance:.3g} ({row.n} records).",
            "warn",
        )
    for picture in sorted(
        run.figures("sanity/*.png"), key=lambda path: not path.stem.startswith("ranking")
    ):
        yield figure(picture, _caption(picture))
    yield details("All checks", table(checks, 300))


def discovery(run: Run) -> Iterator[Markup]:
    """For each cohort: warnings, figures, agreement of the clusters."""
    for folder in sorted(path for path in run.folder.glob("discovery*") if path.is_dir()):
        found = run.csv(f"{folder.name}/table.csv")
        if found is None:
            continue
        yield from _quality(run, folder.name)
        notes = found.get("note", pd.Series("", found.index)).astype(str)
        for row in found[notes.str.startswith("clusters follow")].itertuples():
            yield paragraph(
                f"{row.representation}: the clusters follow the predicted class (adjusted mutual "
                "information "
                f"{row.value:.2f}), so they may say no more than the prediction does.",
                "warn",
            )
        names = {"embedding": 0, "agreement": 1}
        for picture in sorted(
            run.figures(f"{folder.name}/*.png"),
            key=lambda path: (names.get(path.stem, 2), path.stem),
        ):
            yield figure(picture, _caption(picture))
        shown = found[found["metric"].isin(SHOWN_METRICS)]
        yield table(
            _columns(
                shown, ["representation", "metric", "value", "low", "high", "chance", "p", "n"]
            )
        )


SHOWN_METRICS = (
    "accuracy",
    "accuracy_above_chance",
    "ari",
    "ami",
    "majority",
    "subgroups",
    "replication",
)


def _columns(frame, names):
    """Those of the columns that the table has."""
    return frame[[name for name in names if name in frame]]


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
    "not worse than the best.",
    "amplitude_boxes": "Share of the attribution in the right lead, by method and amplitude task.",
    "amplitude_curves": "Where in the beat the attribution of an amplitude lies.",
    "randomisation": "Likeness to the original map as more layers are drawn anew; a map that stays "
    "does not show the model.",
    "removal": "Logit as lead x segment cells are removed: most relevant first, least first, in "
    "random order.",
    "localisation": "Do maps point at the planted cause? With intervals over patients.",
    "dose_response": "What 0.1 mV more of each wave does to the logit, by lead; grey where the "
    "interval includes 0.",
    "layers": "Class activation maps: which layer sees where.",
    "embedding": "Every record as a point, by hidden label (top) and by cluster (bottom).",
    "discovery/agreement": "Agreement of the clusters with the hidden labels, beside chance and "
    "the largest class.",
    "sanity/agreement": "Agreement of every pair of methods: rank correlation by sample and by "
    "lead and segment.",
    "enrichment": "What separates the clusters; filled where p (Holm) < .05.",
}
PREFIXES = {
    "concept_": "All layers and classes: ",
    "groups_": "The groups side by side, by ",
    "clusters_": "Median beat of each cluster, from the representation ",
    "compare_": "Methods side by side: ",
}


def _caption(path):
    """What a picture shows, from its file name."""
    known = CAPTIONS.get(f"{path.parent.name.split('_')[0]}/{path.stem}") or CAPTIONS.get(path.stem)
    if known:
        return known
    prefix = next((start for start in PREFIXES if path.stem.startswith(start)), "")
    return PREFIXES.get(prefix, "") + path.stem.removeprefix(prefix).replace("_", " ")


SECTIONS = {
    "findings": Section(
        "Findings",
        "",
        "train_model",
        findings,
    ),
    "performance": Section(
        "Performance",
        "Discrimination and calibration on the test fold, with 95 % intervals from a bootstrap "
        "over patients. Explanations "
        "of a class that the model cannot recognise explain nothing.",
        "train_model",
        performance,
    ),
    "concepts": Section(
        "Global: which clinical concepts are learnt, which merely special?",
        "A cell asks whether moving a record's inner representation towards a concept raises or "
        "lowers a class's logit. The "
        "score is the share of records where it rises; the p-value compares the mean sensitivity "
        "with that of random "
        "concepts of the same size, corrected for all layers, pathologies and concepts.",
        "tcav_analysis",
        concepts,
    ),
    "local": Section(
        "Local: what does it look at in single records?",
        "Heat on the trace is the relevance for the logit of one class. Signed maps run from blue "
        "(against) to vermillion "
        "(for). The ledger in the title says how much of the logit the map accounts for.",
        "lrp_analysis",
        local,
    ),
    "glocal": Section(
        "Glocal: what does it look at in a patient group?",
        "Beats of many records, aligned on the R-peak and coloured by mean relevance, and the same "
        "relevance by lead and "
        "wave segment. The scorecard holds this against the textbook's criteria; compare each "
        "score with chance and with "
        "plain signal amplitude.",
        "glocal_analysis",
        glocal,
    ),
    "sanity": Section(
        "Sanity: how attribution methods do in each check",
        "Every method and two controls (noise, signal amplitude) under the same checks. A method "
        "that does not beat the "
        "controls says nothing about the model.",
        "sanity_checks",
        sanity,
    ),
    "discovery": Section(
        "Discovery: are there subgroups?",
        "Clusters found without labels and then held against them on records they were not fitted "
        "on. 'No subgroups' is an "
        "answer: clusters of one half of the patients do not part the other half.",
        "discovery",
        discovery,
    ),
    "glossary": Section("Glossary", "", "train_model", words),
    "provenance": Section(
        "Provenance",
        "What made these results: data, model, commands, versions and the hashes of every file. A "
        "warning here means that a "
        "file is no longer the one that a later stage has read.",
        "train_model",
        provenance,
    ),
}


def build(run: Run, name: str) -> Markup:
    """Inner HTML of one section; where its stage has not run, the command that would."""
    section = SECTIONS[name]
    try:
        fragments = list(section.build(run))
    except (LookupError, TypeError, AttributeError, ValueError):
        broken = broken_links(run.folder)
        if not broken:  # the files are what the stages wrote: not theirs, but our error
            raise
        raise UserError(
            f"{broken[0]}, and the section {section.title!r} cannot be made from it: run its stage "
            "again"
        ) from None
    if not fragments:
        command = f"python code/{section.stage}.py --model_path {run.folder}"
        missing = paragraph("This stage has not been run yet. To run it:", "soft")
        return join([missing, code_block(command)])
    how = [paragraph(section.how, "how")] if section.how else []
    return join([*how, *fragments])
