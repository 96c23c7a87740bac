"""How well the network predicts: a section of the report, and the first sentences of its findings.

An explanation of a network that does not predict better than chance describes its weights; it says
nothing about patients. The findings that follow are held against this one.
"""

from collections.abc import Iterator

import pandas as pd
from markupsafe import Markup

from common.files import read_json
from common.labels import WINDOWS, is_regression
from common.words import area_in_words, interval_in_words
from networks.checkpoints import IMPORTED
from reporting.fragments import (
    Finding,
    caption_of,
    interval_of,
    is_score,
    named,
)
from reporting.page import (
    figure,
    paragraph,
    table,
)
from reporting.run import Run

CHANCE = 0.5  # AUC of guessing
FEW_POSITIVES = 10  # below that a class's AUC says little
NO_SHARES = ("r2", "mae")  # scores that are not between 0 and 1
UNCALIBRATED = 0.1  # mean distance of probability and observed share from which on it is warned
TOPIC = "How well it predicts:"
NOTHING = "so nothing below says anything about patients"


def performance(run: Run) -> Iterator[Markup]:
    """Scores of the test fold with intervals per protocol and class, and the figures of training
    and test.
    """
    metrics = run.json("metrics.json")
    if not metrics:
        return
    yield from _external(run)
    protocols = [protocol for protocol in WINDOWS if protocol in metrics]
    scores = []
    for name, score in metrics.get(WINDOWS[0], {}).items():
        if is_score(score):
            row = {"metric": _metric_name(name)}
            for protocol in protocols:
                entry = metrics[protocol].get(name)
                row[protocol.replace("_", " ")] = interval_of(entry, name not in NO_SHARES)
            scores.append(row)
    if scores:
        yield table(pd.DataFrame(scores))
    per_class = metrics.get("windows", {}).get("per_class_auc", {})
    if per_class:
        scored = {label: entry for label, entry in per_class.items() if is_score(entry)}
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
                    "AUC [95 % interval]": interval_of(entry),
                    "positives": entry.get("n_positive"),
                    "records": entry.get("n"),
                }
                for label, entry in scored.items()
            )
        )
    for picture in run.files("*.png"):
        yield figure(picture, caption_of(picture))


def _metric_name(name):
    words = (
        name.replace("_", " ")
        .replace("auc", "AUC")
        .replace("fmax", "F-max")
        .replace("mae", "MAE")
        .replace("r2", "R²")
    )
    return words[:1].upper() + words[1:]


def _external(run):
    """The test of the run's own fold beside those on other data sets, class by class."""
    amplitudes = is_regression(run.info.task)
    scores, word = ("per_lead_r2", "R²") if amplitudes else ("per_class_auc", "AUC")
    what = "leads" if amplitudes else "classes"
    own = run.json("metrics.json").get("windows", {}).get(scores, {})
    for path in run.files("external/*/metrics.json"):
        metrics = read_json(path)
        told = metrics["external"]
        entries = metrics["windows"][scores]
        yield paragraph(
            f"External test on {told['data_set']}: {told['records']} records of "
            f"{told['patients']} patients are tested, "
            f"{len(told['classes_compared'])} {what} are in common. "
            + ". ".join(line[:1].upper() + line[1:] for line in told["differences"])
            + "."
        )
        if told["classes_compared"]:
            yield table(
                pd.DataFrame(
                    {
                        "lead" if amplitudes else "class": label,
                        f"own test, {word}": interval_of(own.get(label), not amplitudes),
                        f"external test, {word}": interval_of(entries[label], not amplitudes),
                        **({} if amplitudes else {"positives there": entries[label]["n_positive"]}),
                    }
                    for label in told["classes_compared"]
                )
            )
        if told["classes_not_compared"]:
            yield paragraph(f"Not compared: {', '.join(told['classes_not_compared'])}.")


# ---------------------------------------------------------------- in sentences


def scores_of(run: Run) -> dict:
    """Scores on the test fold, empty where none were measured."""
    metrics = run.json("metrics.json")
    return metrics.get("windows") or metrics.get("centre_crop") or {}


def beats_chance(run: Run) -> bool:
    """Whether the interval of the mean AUC (of R2) lies above chance; False where there is none."""
    scores = scores_of(run)
    if is_regression(run.info.task):
        return _above(scores.get("r2"), 0)
    return _above(scores.get("macro_auc"), CHANCE)


def _above(score, chance):
    low = (score or {}).get("low")
    return low is not None and low > chance


def how_well(run: Run) -> Iterator[Finding]:
    """Scores on the test fold, first of all whether they are better than chance, and the classes
    of which they say little.
    """
    scores = scores_of(run)
    score = scores.get("r2" if is_regression(run.info.task) else "macro_auc")
    if not score or score["value"] is None:
        text = "not measured, so whether anything below is about patients is open."
        yield Finding(TOPIC, text, "performance", "the run folder", "warn")
        return
    measure = is_regression(run.info.task)
    said = (
        f"{_fit_said(scores) if measure else _discrimination_said(score)}{_tested_on(run, score)}"
    )
    if beats_chance(run):
        yield Finding(TOPIC, f"{said}.", "performance", "metrics.json", "yes")
    else:
        text = f"not shown to predict better than chance, {NOTHING}: {said}."
        yield Finding(TOPIC, text, "performance", "metrics.json", "warn")
    yield from _classes_of_which_little_is_said(scores.get("per_class_auc", {}))
    yield from _uncalibrated(scores)
    yield from _elsewhere(run)


def _elsewhere(run):
    """What is left of it on other data sets, class by class."""
    for path in run.files("external/*/metrics.json"):
        metrics = read_json(path)
        told, source = metrics["external"], str(path.relative_to(run.folder))
        if is_regression(run.info.task):
            fit = metrics["windows"]["r2"]
            good = _above(fit, 0)
            less = "" if good else ", not shown to be better than one amplitude for all"
            text = f"on {told['records']} ECGs of {told['data_set']}: R² {interval_of(fit, False)}"
            kind = "yes" if good else "warn"
            yield Finding("On other data:", f"{text}{less}.", "performance", source, kind)
            continue
        entries = metrics["windows"]["per_class_auc"]
        held, lost, few = [], [], []
        for name in told["classes_compared"]:
            one = entries[name]
            said = f"{name} (AUC {area_in_words(one['value'], one.get('low'), one.get('high'))})"
            group = (
                few if one["n_positive"] < FEW_POSITIVES else held if _above(one, CHANCE) else lost
            )
            group.append(said)
        parts = [
            f"better than chance for {named(held)}" if held else "",
            f"not shown to be better than chance for {named(lost)}" if lost else "",
            f"fewer than {FEW_POSITIVES} ECGs of {named(few)}" if few else "",
        ]
        what = "; ".join(filter(None, parts)) or "no class in common"
        text = f"on {told['records']} ECGs of {told['data_set']}: {what}."
        kind = "yes" if held and not lost else "warn"
        yield Finding("On other data:", text, "performance", source, kind)


def _fit_said(scores):
    fit, error = scores["r2"], scores.get("mae")
    text = f"R2 {interval_in_words(fit['value'], fit.get('low'), fit.get('high'))}"
    if error and error["value"] is not None:
        mean = interval_in_words(error["value"], error.get("low"), error.get("high"), 3)
        text += f", mean error {mean} mV"
    return text


def _discrimination_said(macro):
    classes = f" over {macro['n_classes']} classes" if "n_classes" in macro else ""
    auc = area_in_words(macro["value"], macro.get("low"), macro.get("high"))
    return f"mean AUC{classes} {auc} (guessing: {CHANCE})"


def _tested_on(run, score):
    """How many ECGs, and what is known of whether the network was trained on them."""
    return f", on {score['n']} ECGs{unlike_training(run)}" if "n" in score else ""


def unlike_training(run: Run) -> str:
    """Behind `ECGs`: that the network was not trained on them, where its training was made here."""
    if run.info.modelname == IMPORTED:
        return " (whether it was trained on some of them is not known)"
    return " it was not trained on"


def _uncalibrated(scores):
    """A warning where probabilities are far from the share of ECGs that have the class."""
    error = scores.get("calibration_error")
    if error is not None and error > UNCALIBRATED:
        text = (
            f"off by {error:.2f} on average (calibration error): read them as "
            "scores, beside their thresholds."
        )
        yield Finding("Probabilities:", text, "performance", "metrics.json", "warn")


def _classes_of_which_little_is_said(per_class):
    """Classes that are not told from chance although there are enough of them, and rare ones."""
    guessed = [
        f"{name} (AUC {area_in_words(one['value'], one.get('low'), one.get('high'))})"
        for name, one in per_class.items()
        if one["n_positive"] >= FEW_POSITIVES
        and one["value"] is not None
        and not _above(one, CHANCE)
    ]
    if guessed:
        text = (
            f"{named(guessed)}, so what is said of these below describes the network, not patients."
        )
        yield Finding("Not shown to beat chance:", text, "performance", "metrics.json", "warn")
    few = [name for name, one in per_class.items() if 0 < one["n_positive"] < FEW_POSITIVES]
    none = [name for name, one in per_class.items() if one["n_positive"] == 0]
    parts = [
        f"on fewer than {FEW_POSITIVES} ECGs each: {named(few)}, so that what is said of these "
        "rests on little"
        if few
        else "",
        f"on none: {named(none)}, of which nothing can be said" if none else "",
    ]
    if few or none:
        text = f"tested {'; '.join(filter(None, parts))}."
        yield Finding("Few ECGs:", text, "performance", "metrics.json", "warn")
