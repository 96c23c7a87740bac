"""Sections of the report on how the methods do, and on subgroups."""

from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from common.words import method_in_words, representation_in_words
from networks.checkpoints import IMPORTED
from reporting.fragments import COHORT, caption_of, cohorts, columns_of, quality_lines
from reporting.page import (
    details,
    figure,
    heading,
    paragraph,
    table,
)
from reporting.run import Run

FOR_A_COLUMN = "ranking_column"  # of a journal: the same as the ranking beside it


def sanity(run: Run) -> Iterator[Markup]:
    """Ranking of the methods, figures of the checks, broken claims."""
    checks = run.csv("sanity/checks.csv")
    if checks is None:
        return
    yield from quality_lines(run, "sanity")
    axioms = run.csv("sanity/axioms.csv")
    for row in () if axioms is None else axioms[axioms["claimed"] & ~axioms["kept"]].itertuples():
        yield paragraph(
            f"{method_in_words(row.method)} claims {row.axiom} and breaks it on {row.model}: "
            f"{row.worst:.3g}, tolerance {row.tolerance:.3g} ({row.n} records).",
            "warn",
        )
    pictures = [one for one in run.files("sanity/*.png") if one.stem != FOR_A_COLUMN]
    for picture in sorted(pictures, key=lambda path: not path.stem.startswith("ranking")):
        yield figure(picture, caption_of(picture))
    yield from _standings(run)
    favours = run.csv("sanity/favours.csv")
    if favours is not None and len(favours):
        yield paragraph(
            "A score made of the same operation as a method favours it by construction. These "
            "values are marked with a ring in the figure and have no part in the order of the "
            "methods. The columns on another patient's wave and on a wave upside down are made of "
            "nothing that a method is made of."
        )
        yield details("Which score favours which methods, and why", table(favours, 100))
    controls = run.csv("sanity/controls.csv")
    if controls is not None and len(controls):
        beyond = int(controls["beyond_controls"].astype(bool).sum())
        trained = " and as many trained on labels dealt out anew"
        kinds = f"untrained networks{'' if run.info.modelname == IMPORTED else trained}"
        yield paragraph(
            f"{beyond} of {len(controls)} localisation scores are beyond "
            f"{int(controls['n_controls'].max())} {kinds} (p_control_corrected, max-T over all "
            "scores and methods): the others are no sign that anything was learnt."
        )
        yield details("Localisation beside networks that have learnt nothing", table(controls, 200))
    yield details("All checks", table(checks, 300))


def _standings(run):
    """How often each method is the best or not told from it, and score by score."""
    counts, best = run.csv("sanity/standings.csv"), run.csv("sanity/best.csv")
    if counts is None or best is None:
        return
    yield heading("How often is each method told from the best?", "standings")
    yield paragraph(
        "A method is told from the best of a score where p < .05 (largest difference of all "
        "pairs of methods, signs flipped by patient). Scores that favour a method by construction "
        "count neither for nor against it; not being told from the best is no proof of being as "
        "good, least of all with few ECGs.",
        "how",
    )
    yield table(counts)
    named = ["best", "not_told_from_best", "told_from_best", "left_out"]
    words = (
        best[named]
        .fillna("")
        .map(lambda names: ", ".join(map(method_in_words, names.split())) or "none")
    )
    yield details("Score by score", table(best.assign(**words)))


# metrics that the page shows, in its words
SHOWN_METRICS = {
    "accuracy": "accuracy",
    "accuracy_above_chance": "accuracy above chance",
    "ari": "adjusted Rand index",
    "ami": "adjusted mutual information",
    "majority": "share of the largest class",
    "subgroups": "number of subgroups",
    "replication": "replication in other patients",
}


def discovery(run: Run) -> Iterator[Markup]:
    """For each cohort: warnings, figures, agreement of the clusters."""
    for folder, cohort in cohorts(run).items():
        found = run.csv(f"{folder}/{COHORT}")
        if cohort:
            yield heading(cohort)
        yield from quality_lines(run, folder)
        notes = found.get("note", pd.Series("", found.index)).astype(str)
        for row in found[notes.str.startswith("clusters follow")].itertuples():
            yield paragraph(
                f"Described by {representation_in_words(row.representation)}, the "
                "clusters follow the predicted class (adjusted mutual information "
                f"{row.value:.2f}), so they may say no more than the prediction does.",
                "warn",
            )
        names = {"embedding": 0, "agreement": 1}
        for picture in sorted(
            run.files(f"{folder}/*.png"),
            key=lambda path: (names.get(path.stem, 2), path.stem),
        ):
            yield figure(picture, caption_of(picture))
        shown = found[found["metric"].isin(SHOWN_METRICS)]
        shown = shown.assign(metric=shown["metric"].map(SHOWN_METRICS))
        yield table(
            columns_of(
                shown,
                [
                    "representation",
                    "metric",
                    "value",
                    "low",
                    "high",
                    "chance",
                    "p",
                    "control_low",
                    "control_high",
                    "p_control_corrected",
                    "n",
                ],
            )
        )
