"""The gallery: each kind of figure once, small, with how to read it (docs/gallery.md)."""

import io
from dataclasses import dataclass
from pathlib import Path

from common.files import UserError, replacing, write_text
from reporting.run import Run

PAGE, PICTURES = "gallery.md", "gallery"
WIDTH = 1000  # pixels at most
MOST_BYTES = 150_000  # of one picture
INTRODUCTION = """# Gallery

Each kind of figure once, made by the demo (a LeNet on a simulated cohort, hence the mark
SIMULATED), and how to read it. Beside every PNG lies a PDF for print, its fonts embedded;
`--dpi 300` makes finer PNGs. The line at the foot of a figure names its records, data set and
network. ROC curves and reliability are drawn for a journal's column (85 mm), the ranking for both
(`ranking_column`), single ECGs, methods side by side, groups, scorecards and counterfactuals with
`--layout column`; all others need a page's width or a page across.

Made by `python code/report.py --model_path output/demo/lenet_subdiagnostic --gallery docs/`.
"""


@dataclass(frozen=True)
class Kind:
    """One kind of figure: where it lies under the run folder, and how it is read."""

    pattern: str
    title: str
    reading: str


# name of the small picture -> kind, by stage
KINDS = {
    "course": Kind(
        "course.png",
        "Training: its course",
        "Left the loss on training and validation records, right the validation score. The dotted "
        "line is the epoch that was kept. A validation loss that rises while the training loss "
        "falls is overfitting.",
    ),
    "roc": Kind(
        "roc.png",
        "Training: ROC curves",
        "One curve per class on the test records. Classes with at least ten positive records have "
        "a colour; the others are pale, because a curve of few positives is a coarse staircase, "
        "and are named below with AUC and number of positives. Drawn for a column of 85 mm.",
    ),
    "reliability": Kind(
        "reliability.png",
        "Training: reliability",
        "Predicted probability against the share of records that have the class. Points below the "
        "diagonal: the network is surer than it should be. The bars say how many predictions stand "
        "behind each point. Drawn for a column of 85 mm.",
    ),
    "tcav_summary": Kind(
        "tcav/summary_concept.png",
        "Concepts: all concepts, all classes",
        "Rows are clinical criteria, columns are classes. The colour is what is tested, in "
        "standard deviations of made-up concepts: vermillion raises the class, blue lowers it. "
        "Pale cells are not significant. Each cell shows the layer with the smallest corrected p. "
        "A ring: special in this network; a full dot: also learnt. Hatched: too few records to "
        "mark anything. The frame holds the concepts that belong to the class.",
    ),
    "tcav_concept": Kind(
        "tcav/concept_SLI-LVH.png",
        "Concepts: one concept, layer by layer",
        "The same for one criterion: rows are layers from the input (top) to the output. Grey "
        "rows: directions at this layer tell the criterion no better than most made-up concepts.",
    ),
    "local": Kind(
        "local/lrp_LVH_*.png",
        "One ECG",
        "Twelve leads on paper at 25 mm/s; the pulse at the left of each row is 1 mV. The band "
        "behind the trace is the relevance for the class in the title: vermillion for it, blue "
        "against it. The line below the title says what the network answered and whether the label "
        "agrees. The ledger at the lower right says how much of the answer the map accounts for. "
        "`--layout 3x4` prints three rows of four leads with a rhythm strip.",
    ),
    "compare": Kind(
        "local*/compare_*.png",
        "One ECG, methods side by side",
        "The same beats under each method (`--compare`). Every column has a colour scale of its "
        "own, below it. Where methods disagree, none is right by itself: see the checks below.",
    ),
    "groups": Kind(
        "glocal/groups_*.png",
        "Groups of patients",
        "Median beats of many records, aligned at the R-peak, with the mean relevance as colour; "
        "the grey band holds 90 % of the beats. Below: how many of the group have which label "
        "(bars) and what the network says (dots). Maps: relevance by lead and segment, the five "
        "densest cells numbered; hatched cells depend on where the waves' boundaries were put.",
    ),
    "cells": Kind(
        "glocal/cells_*_LVH.png",
        "One group in detail",
        "The map of one group three times: how strong (per sample), how much in all, which way. At "
        "the right the densest cells with 95 % intervals over patients, and how often each is "
        "among the five densest when patients are drawn anew.",
    ),
    "scorecard": Kind(
        "glocal/scorecard.png",
        "Scorecard: maps against criteria",
        "Left: rows are maps, columns are cards of criteria; above 1 (vermillion) the card's leads "
        "stand out in the map. The own card is framed: a map that follows the criteria has its "
        "largest value there. Right: the score on "
        "the own card with its interval, beside noise, plain signal size, and other cards.",
    ),
    "ranking": Kind(
        "sanity/ranking.png",
        "Checks: how the methods do",
        "Rows are methods, columns are checks: 0 is chance, 1 perfect. A dot: best, or not told "
        "from the best. Below the line the controls: where a method does no better than they, "
        "that check does not show that its map depends on the network.",
    ),
    "amplitude_boxes": Kind(
        "sanity/amplitude_boxes.png",
        "Checks: the right lead",
        "A network that measures a wave in one lead should need that lead (limb leads follow "
        "from two of them: another limb lead is no wrong answer). Boxes: "
        "share of the map in the right lead over records; dashed: chance.",
    ),
    "amplitude_curves": Kind(
        "sanity/amplitude_curves.png",
        "Checks: the right wave",
        "The same in time: a network that measures the T wave should need what follows the QRS "
        "complex.",
    ),
    "randomisation": Kind(
        "sanity/randomisation.png",
        "Checks: do maps depend on what was learnt?",
        "Layers are drawn anew one after the other, from the output down. Where a curve stays high "
        "the map depends little on these layers' weights, so it cannot show what they have learnt.",
    ),
    "removal": Kind(
        "sanity/removal.png",
        "Checks: removing what matters",
        "What happens to the answer as cells are replaced by an uneventful signal, most relevant "
        "first (vermillion), least first (blue), in random order (grey). The wider the two are "
        "apart, the better the map does by this score, which favours methods that take pieces "
        "away themselves. Bands: 95 % intervals over patients.",
    ),
    "localisation": Kind(
        "sanity/localisation.png",
        "Checks: planted causes",
        "Simulated records have causes that are known. Points: how well maps find their cells "
        "(above) and their time (below), with intervals; dashed: chance.",
    ),
    "dose_response": Kind(
        "sanity/dose_response.png",
        "Checks: what a wave does to the answer",
        "The answer's change when a wave is raised by 0.1 mV in one lead. Bold numbers: the "
        "interval does not include 0. Blank: too few records have this wave.",
    ),
    "layers": Kind(
        "sanity/layers.png",
        "Checks: class activation maps by layer",
        "How well Grad-CAM and its kin find planted causes from the layer that the original code "
        "took and from the last convolutional map; chance is .50.",
    ),
    "agreement_methods": Kind(
        "sanity/agreement.png",
        "Checks: do methods agree?",
        "Rank correlation of every pair of methods, sample by sample and cell by cell. The title "
        "says how alike maps of different patients are: agreement up to that is of all ECGs, not "
        "of this one.",
    ),
    "embedding": Kind(
        "discovery*/embedding.png",
        "Subgroups: every record a point",
        "One column per description of the records. Above the colours are hidden labels, below "
        "clusters that were found without them. One colour is one class in every panel.",
    ),
    "agreement_clusters": Kind(
        "discovery*/agreement.png",
        "Subgroups: do clusters find the labels?",
        "Agreement of clusters and labels with 95 % intervals over patients, beside chance and the "
        "largest class.",
    ),
    "enrichment": Kind(
        "discovery*/enrichment.png",
        "Subgroups: what separates the clusters",
        "Share of each cluster's records that have a trait; filled where the difference is "
        "significant after correction.",
    ),
    "clusters": Kind(
        "discovery*/clusters_attribution.png",
        "Subgroups: the clusters' beats",
        "Median beat of each cluster in twelve leads, coloured by the relevance of the maps.",
    ),
    "counterfactual": Kind(
        "counterfactual/LVH_*.png",
        "Counterfactual: what would turn the answer",
        "A piece of one ECG as recorded (blue where it differs) and with the smallest change of "
        "waves that was found to turn the answer (dark), every change in mV.",
    ),
    "counterfactual_groups": Kind(
        "counterfactual/groups.png",
        "Counterfactual: what turns a group",
        "Per change of a wave, the share of the group's records that it turns by itself, with its "
        "median dose and 95 % intervals over patients (vermillion: more, blue: less). Pale behind "
        "it: the share of records in whose smallest change found it has a part.",
    ),
}


def write_gallery(run: Run, folder: Path) -> tuple[list[Path], list[str]]:
    """Write <folder>/gallery.md and its pictures from the figures of a run; the written paths, and
    the kinds of which the run has no figure (their pictures stay as they are).

    UserError where the run has none at all.
    """
    written, missing = [], []
    for name, kind in KINDS.items():
        found = run.files(kind.pattern)
        if not found:
            missing.append(name)
            continue
        target = folder / PICTURES / f"{name}.png"
        with replacing(target) as temporary:
            temporary.write_bytes(small_png(found[0]))
        written.append(target)
    if not written:
        raise UserError(f"{run.folder} holds no figures: run the stages first")
    there = [name for name in KINDS if (folder / PICTURES / f"{name}.png").is_file()]
    write_text(folder / PAGE, page_of(there))
    return [folder / PAGE, *written], missing


def page_of(names: list[str]) -> str:
    """The page as Markdown, for the kinds that have a picture."""
    parts = [INTRODUCTION]
    for name in names:
        kind = KINDS[name]
        picture = f"![{kind.title}]({PICTURES}/{name}.png)"
        parts.append(f"## {kind.title}\n\n{kind.reading}\n\n{picture}\n")
    return "\n".join(parts)


def small_png(path: Path) -> bytes:
    """A picture as a PNG of at most WIDTH pixels and MOST_BYTES: fewer colours, then fewer
    pixels.
    """
    from PIL import Image

    with Image.open(path) as image:
        picture = image.convert("RGB")
    width = min(picture.width, WIDTH)
    while True:
        size = (width, round(picture.height * width / picture.width))
        small = picture.resize(size, Image.Resampling.LANCZOS)
        for colours in (256, 64, 24):
            buffer = io.BytesIO()
            small.quantize(colours, Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
            if buffer.tell() < MOST_BYTES:
                return buffer.getvalue()
        width = round(0.85 * width)
