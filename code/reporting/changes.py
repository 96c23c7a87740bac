"""Section of the report on counterfactuals: what would have to change for another decision."""

from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from reporting.fragments import caption_of, columns_of, quality_lines
from reporting.page import details, figure, paragraph, table
from reporting.run import Run

MOST_PICTURES = 6
LISTED = 40  # sentences


def counterfactuals(run: Run) -> Iterator[Markup]:
    """How many decisions were turned, which changes turn a group, records before and after,
    concepts switched by waves.
    """
    found = run.csv("counterfactual/counterfactuals.csv")
    if found is None:
        return
    turned = int(found["turned"].sum())
    yield paragraph(
        f"{turned} of {len(found)} decisions were turned within what the data set's records show. "
        "A network that has learnt nothing can be turned as well: this says what the network "
        "follows, not that it has learnt it."
    )
    yield from quality_lines(run, "counterfactual")
    yield from _not_found_again(run.csv("counterfactual/edits.csv"))
    card = run.csv("counterfactual/card.csv")
    if card is not None:
        yield paragraph(
            "Inside: share of the changes (in standard deviations) that lie in the leads and waves "
            "of the pathology's card; p: how often a card with permuted lead names holds as much; "
            "sign agreement: changes in the direction of the card (.5 is chance). Networks that "
            "have learnt nothing were not compared."
        )
        yield table(card, 40)
    for picture in run.files("counterfactual/groups.png"):
        yield figure(picture, caption_of(picture))
    sentences = columns_of(found, ["ecg_id", "sentence", "n_edits", "cost"])
    yield details("A sentence for every record", table(sentences, LISTED))
    for picture in run.files("counterfactual/*_*.png")[:MOST_PICTURES]:
        yield figure(picture, f"Before (blue) and after (dark): {picture.stem.replace('_', ' ')}.")
    yield from _concepts(run.csv("counterfactual/concept_answers.csv"))


def _not_found_again(edits: pd.DataFrame | None) -> Iterator[Markup]:
    """Records whose changes our own measurement of the edited ECG does not find."""
    if edits is None or "found_again" not in edits:
        return
    doubtful = edits.loc[~edits["found_again"].astype(bool), "ecg_id"].unique()
    if len(doubtful):
        yield paragraph(
            "Measured anew, the edited ECG does not show all of the stated changes: ECG "
            f"{', '.join(map(str, doubtful))}. Do not rely on these.",
            "warn",
        )


def _concepts(answers: pd.DataFrame | None) -> Iterator[Markup]:
    if answers is None:
        return
    yield paragraph(
        "Concepts switched by waves alone: the mean change of each logit, beside TCAV's answer for "
        "the same concept and class on this network."
    )
    yield table(answers, 60)
