"""Sections of the report: each reads what one stage wrote under the run folder and turns it into
HTML.

A section returns the fragments it has; one whose stage has not run returns none and is replaced by
the command that would.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from markupsafe import Markup

from common.files import UserError
from common.labels import is_regression
from common.stage import deleted, read_stage
from reporting import findings as found_in
from reporting.changes import counterfactuals
from reporting.checks import discovery, sanity
from reporting.explanations import concepts, glocal, local
from reporting.page import (
    code_block,
    findings_list,
    join,
    paragraph,
)
from reporting.performance import performance
from reporting.provenance import provenance, words
from reporting.run import STAGE_OF, Run, broken_links, stage_files


@dataclass(frozen=True)
class Section:
    """One section: its name in the contents, its heading, how it is read, and the stage that has
    to run for it.
    """

    short: str
    title: str
    how: str
    stage: str
    build: Callable[[Run], Iterator[Markup]]


def findings(run: Run) -> Iterator[Markup]:
    """What was found, in sentences."""
    yield paragraph(found_in.asked_of(run))
    yield findings_list(found_in.findings(run))


SECTIONS = {
    "findings": Section(
        "Findings",
        "Findings",
        "",
        "train_model",
        findings,
    ),
    "performance": Section(
        "Performance",
        "Performance",
        "Discrimination and calibration on the test fold, with 95 % intervals over patients. "
        "Explanations of a class that the network cannot recognise describe the network, not "
        "patients.",
        "train_model",
        performance,
    ),
    "concepts": Section(
        "Concepts",
        "Global: which clinical concepts are learnt, which merely special?",
        "A cell asks whether moving a record's inner representation towards a concept raises or "
        "lowers a class's logit. The score is the share of records where it rises; the p-value "
        "compares the mean sensitivity with that of random concepts of the same size, corrected "
        "for all layers, pathologies and concepts.",
        "tcav_analysis",
        concepts,
    ),
    "local": Section(
        "Single ECGs",
        "Local: where do the methods put a decision in single records?",
        "Heat on the trace is the relevance for the logit of one class. Signed maps run from blue "
        "(against) to vermillion "
        "(for). The ledger beside a map says how much of the logit the map accounts for.",
        "lrp_analysis",
        local,
    ),
    "glocal": Section(
        "Groups",
        "Glocal: where do the maps of a patient group lie?",
        "Beats of many records, aligned on the R-peak and coloured by mean relevance, and the same "
        "relevance by lead and wave segment. The scorecard holds this against the textbook's "
        "criteria; compare each score with chance, with plain signal amplitude, and with networks "
        "that have learnt nothing (--control).",
        "glocal_analysis",
        glocal,
    ),
    "counterfactuals": Section(
        "Counterfactuals",
        "Counterfactuals: what would have to change for another decision?",
        "Few and small changes of waves and intervals, found by a search, that take the network "
        "across its threshold, within what the data set's records show, measured again on the "
        "edited record. It says what the network would follow, not what a treatment would do.",
        "counterfactuals",
        counterfactuals,
    ),
    "sanity": Section(
        "Sanity checks",
        "Sanity: how attribution methods do in each check",
        "Every method and two controls (noise, signal amplitude) under the same checks. Where a "
        "method does no better than the controls, that check does not show that its maps depend on "
        "the network.",
        "sanity_checks",
        sanity,
    ),
    "discovery": Section(
        "Subgroups",
        "Discovery: are there subgroups?",
        "Clusters found without labels and then held against them on records they were not fitted "
        "on. 'No subgroups' is an "
        "answer: clusters of one half of the patients do not part the other half.",
        "discovery",
        discovery,
    ),
    "glossary": Section("Glossary", "Glossary", "", "train_model", words),
    "provenance": Section(
        "Provenance",
        "Provenance",
        "What made these results: data, model, commands, versions and the hashes of every file. A "
        "warning here means that a file is no longer the one that a later stage has read.",
        "train_model",
        provenance,
    ),
}


# stages that refuse a network of amplitudes
OF_CLASSES = (
    "tcav_analysis",
    "glocal_analysis",
    "counterfactuals",
    "sanity_checks",
    "discovery",
)


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
        return _not_there(run, section.stage)
    how = [paragraph(section.how, "how")] if section.how else []
    return join([*how, *fragments])


def _not_there(run, stage):
    """That a stage has not been run, or that what it wrote was deleted, and the command; of a
    network that measures amplitudes, that the stage has nothing to ask it.
    """
    if stage in OF_CLASSES and is_regression(run.info.task):
        asks = "This stage is about classes; this network tells none, it measures amplitudes."
        return paragraph(asks, "soft")
    for path in stage_files(run.folder):
        content = read_stage(path)
        gone = deleted(path, content)
        own_record = path.parent.name.startswith("local_")
        if gone and STAGE_OF.get(path.stem) == stage and not own_record:
            name = (path.parent / gone).relative_to(run.folder)
            why = paragraph(f"{name} is not there any more. What made it:", "soft")
            return join([why, code_block(str(content.get("command")))])
    test = ["--test_only"] if stage == "train_model" else []
    missing = paragraph("This stage has not been run yet. To run it:", "soft")
    return join([missing, code_block(run.command(stage, *test))])
