"""Page one of the report: what was found, in sentences made from the stages' tables.

Every sentence rests on a test or an interval that a stage has written, names the table, and links
to the section with the evidence. Where there is too little to test, that is the sentence.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pandas as pd

from common.labels import is_regression
from common.stats import STABLE, holm
from common.words import (
    CONTROLS,
    SEGMENTS,
    class_in_words,
    interval_in_words,
    method_in_words,
    representation_in_words,
)
from reporting.explanations import FEW_CLASS_RECORDS
from reporting.fragments import COHORT, Finding, cohorts, named
from reporting.performance import beats_chance, how_well
from reporting.run import Run

ALPHA = 0.05
TOP_CELLS = 5  # of a map that the report names


# ---------------------------------------------------------------- which concepts stand out


def concepts(run: Run) -> Iterator[Finding]:
    """Per class that a criterion belongs to: which of its concepts stand out, and how far that
    goes.
    """
    scores = run.csv("tcav/scores.csv")
    if scores is None:
        return
    own = scores[(scores["run_kind"] == "concept") & scores["associated"].astype(bool)]
    tested = own[own["p_corrected"].notna()]
    if not len(tested):
        text = (
            "no criterion could be tested for the diagnosis that it belongs to."
            if len(own)
            else "none of them is a criterion of these classes; the table has those that stand out."
        )
        yield Finding(CRITERIA, text, "concepts", "tcav/scores.csv")
        return
    groups = tested.groupby("pathology", sort=False)
    knows = beats_chance(run)
    verdicts = [_verdict_on(str(pathology), group, knows) for pathology, group in groups]
    for said in dict.fromkeys(one.said for one in verdicts):
        yield _concepts_said([one for one in verdicts if one.said == said])


@dataclass(frozen=True)
class Verdict:
    """What is found of the concepts of one class.

    said      the sentence's frame, `{}` for class by class
    n         ECGs of the class
    shown     concepts that stand out; other: no evidence; special: beside those learnt, stand out
              without being learnt; falls: those that lower the class's logit instead, learnt_fall:
              those of them that are learnt
    kind      as Finding's
    """

    said: str
    pathology: str
    n: int
    shown: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    falls: list[str] = field(default_factory=list)
    learnt_fall: list[str] = field(default_factory=list)
    kind: str = "no"

    def __str__(self):
        concepts = f"{named(self.shown)} for " if self.shown else ""
        return f"{concepts}{self.pathology} ({self.n} ECG{'s' * (self.n != 1)})"


def _verdict_on(pathology, group, knows):
    # a vector that parts records no better than random ones is no evidence of its concept
    p = group["p_corrected"].where(group["cav_valid"].astype(bool), 1.0)
    best = _strongest(group, p)
    special = p[best.index] < ALPHA
    lowering = special & _column(best, "magnitude").lt(0)
    names = best["concept"].astype(str)
    raising, falling, other = (
        list(names[rows]) for rows in (special & ~lowering, lowering, ~special)
    )
    beyond = _learnt(group)
    learnt = [name for name in beyond if name not in falling]
    of_class = {
        "falls": [name for name in falling if name not in beyond],
        "learnt_fall": [name for name in falling if name in beyond],
    }
    n = int(group["n_class"].max())
    if n < FEW_CLASS_RECORDS:
        return Verdict("not enough ECGs to judge any for {}.", pathology, n)
    if learnt:
        said = (
            f"{'learnt: ' if knows else ''}{RISES} {{}}, further than that of networks that have "
            "learnt nothing of the labels."
        )
        rest = [name for name in other if name not in learnt]
        special = [name for name in raising if name not in learnt]
        return Verdict(said, pathology, n, learnt, rest, special, **of_class, kind="yes")
    if raising:
        said = f"{RISES} {{}}, more than with ECGs drawn at random. {_held_against(group)}."
        return Verdict(said, pathology, n, raising, other, **of_class)
    return Verdict("none is shown to raise the network's answer for {}.", pathology, n, **of_class)


def _strongest(group, p):
    """Per concept the layer of the smallest p, among equal ones that of the largest magnitude: the
    cells that TCAV's summary shows.
    """
    size = -_column(group, "magnitude_z").abs().fillna(0)
    order = pd.DataFrame({"p": p, "size": size}).sort_values(["p", "size"], kind="stable").index
    return group.loc[order].drop_duplicates("concept").sort_index()


CRITERIA = "Which criteria it follows:"
RISES = "the network's answer rises with"
AGAINST = "Against the textbook (not shown to be learnt), it falls with"
LEARNT_AGAINST = (
    "Against the textbook, and further than in networks that have learnt nothing, it falls with"
)


def _concepts_said(verdicts):
    """One sentence on all classes of which the same is found."""
    text = verdicts[0].said.format("; ".join(map(str, verdicts)))
    for words, lists in (
        ("Rises too, but not shown to be learnt:", [one.special for one in verdicts]),
        ("No evidence that it rises with", [one.other for one in verdicts]),
        (LEARNT_AGAINST, [one.learnt_fall for one in verdicts]),
        (AGAINST, [one.falls for one in verdicts]),
    ):
        pairs = zip(lists, verdicts, strict=True)
        parts = [f"{named(names)} for {one.pathology}" for names, one in pairs if names]
        if parts:
            text += f" {words} {'; '.join(parts)}."
    return Finding(CRITERIA, text, "concepts", "tcav/scores.csv", verdicts[0].kind)


def _held_against(group):
    """What the control networks say of concepts that are only special, in words."""
    if "p_control" in group and group["p_control"].notna().any():
        if "p_class" in group and not group["p_class"].lt(ALPHA).any():
            return (
                "That this was learnt is not shown: neither is it that the networks tell this "
                "class apart in patients whom they have not seen"
            )
        return (
            "That is not shown to be further than in networks that have learnt nothing, so not to "
            "be learnt"
        )
    if "n_controls" in group and group["n_controls"].max() > 0:
        return "Too few trained networks to say whether this was learnt (--seeds compares more)"
    return (
        "Whether this was learnt is open: networks that have learnt nothing were not compared "
        "(--control)"
    )


def _learnt(group):
    """Concepts that the control networks do not reach (column: learnt, special, neither; not
    asked).
    """
    if "learnt" not in group:
        return []
    return [str(name) for name in group.loc[group["learnt"] == "learnt", "concept"].unique()]


# ---------------------------------------------------------------- where its maps lie


def maps(run: Run) -> Iterator[Finding]:
    """Per method: classes whose maps lie in the leads of their own card, and those that do not."""
    card = run.csv("glocal/scorecard.csv")
    if card is None:
        return
    own = card[card["own"].astype(str).str.lower() == "true"]
    own = own[~own["method"].isin(CONTROLS)]
    if not len(own):
        text = "no criteria are known of any of the groups, so their maps cannot be compared."
        yield Finding(PLACES, text, "glocal", "glocal/scorecard.csv")
    for method, rows in own.groupby("method", sort=False):
        text, kind = _maps_said(method_in_words(str(method)), rows)
        yield Finding(PLACES, text, "glocal", "glocal/scorecard.csv", kind)


PLACES = "Where maps point:"
HELD = ", further than in maps of networks that have learnt nothing"
NOT_HELD = " (networks that have learnt nothing were not compared: --control)"


def _maps_said(words, rows):
    """(sentence, kind) on the cards of one method: by the control networks where they were made,
    else by orders of the leads, which maps of untrained networks pass as well.
    """
    few = rows["n_patients"] < FEW_CLASS_RECORDS
    held = _column(rows, "p_control_corrected")
    by_leads = rows["p_holm"].fillna(rows["p"])
    corrected = held.where(held.notna(), by_leads)
    stands_out = (corrected < ALPHA) & (rows["lead_lift"] > 1)
    untold = _column(rows, "p_neighbours_floor").gt(ALPHA) & held.isna()
    inside = rows[stands_out & ~untold & ~few]
    outside = [str(name) for name in rows.loc[~stands_out & ~untold & ~few, "pathology"]]
    open_ones = [str(name) for name in rows.loc[untold & ~few, "pathology"]]
    lifts = [
        f"{row.pathology} ({interval_in_words(row.lift, row.low, row.high)} times as much "
        f"relevance as on average, {row.n_patients} patients)"
        for row in inside.itertuples()
    ]
    compared = HELD if held[inside.index].notna().all() else NOT_HELD
    parts = []
    if lifts:
        parts.append(f"the leads and waves of the criteria stand out for {named(lifts)}{compared}")
    if outside:
        what = "they" if lifts else "the leads and waves of the criteria"
        parts.append(f"{what} are not shown to stand out for {named(outside)}")
    if open_ones:
        parts.append(
            f"cannot be told for {named(open_ones)} without control networks (--control), since "
            "the leads of the criteria lie together"
        )
    if few.any():
        parts.append(f"not enough patients to say for {named(_with_patients(rows[few]))}")
    return f"in maps by {words}, {'; '.join(parts)}.", "yes" if lifts and compared == HELD else "no"


def _with_patients(rows):
    """AMI (3 patients), and so on."""
    return [
        f"{row.pathology} ({row.n_patients} patient{'s' * (row.n_patients != 1)})"
        for row in rows.itertuples()
    ]


def _column(rows, name):
    """A column of numbers; blank where an older run has none."""
    return rows[name] if name in rows else pd.Series(float("nan"), index=rows.index)


# ---------------------------------------------------------------- which method does best


def methods(run: Run) -> Iterator[Finding]:
    """Methods that are the best, or not told from the best, in most comparisons."""
    if run.csv("sanity/comparisons.csv") is None:
        return
    tables = run.csv("sanity/best.csv"), run.csv("sanity/standings.csv")
    if any(table is None for table in tables):
        anew = run.command("sanity_checks", "--overwrite")
        text = f"compared by an older version. To count it anew: {anew}"
        yield Finding(BEST, text, "sanity", "sanity/comparisons.csv")
    else:
        yield _best_methods(*tables, _mapped(run))
    axioms = run.csv("sanity/axioms.csv")
    if axioms is not None:
        yield from _broken(axioms)


BEST = "Which method does best:"
STANDINGS = "sanity/standings.csv, sanity/best.csv"


def _best_methods(best, standings, mapped):
    """Of the comparisons that favour a method by no construction, in how many it is the best or not
    told from it.
    """
    counted = best[best["counted"].astype(bool)]
    rows = {row.method: row for row in standings.itertuples()}
    ranked = [name for name in rows if name not in CONTROLS]
    if not ranked:
        few = len(best) and not len(counted)
        text = (
            f"not enough patients to tell the methods apart ({_range_of(best['n'])} ECGs)."
            if few
            else "every comparison favours its methods by construction."
        )
        return Finding(BEST, text, "sanity", STANDINGS, place="standings")
    first = rows[ranked[0]]
    level = [name for name in ranked if _standing(rows[name]) == _standing(first)]
    others = [name for name in ranked if name not in level]
    parts = [
        f"{named([method_in_words(name) for name in level], 3)} did best in {first.best} of "
        f"{first.comparisons} comparisons and, as far as can be told, as well as the best in "
        f"{first.not_told_from_best}",
        *(f"{method_in_words(name)} best or as well in {_held(rows[name])}" for name in others[:1]),
        *(
            f"{method_in_words(name)}, which draws the group maps, in {_held(rows[name])}"
            for name in others[1:]
            if name in mapped
        ),
    ]
    controls = [name for name in CONTROLS if name in rows]
    better = min(controls, key=lambda name: _share(rows[name]), default=None)
    if better:
        control = method_in_words(better).removesuffix(" (control)")
        parts.append(f"{control}, which knows nothing of the network, in {_held(rows[better])}")
    telling = int(counted["told_from_best"].fillna("").ne("").sum())
    text = (
        f"{'; '.join(parts)}. {_telling_said(telling, len(counted))}. "
        f"{_range_of(counted['n'])} ECGs each; what favours a method by construction is left out."
    )
    kind = "yes" if better is None or _share(first) < _share(rows[better]) else "no"
    return Finding(BEST, text, "sanity", STANDINGS, kind, "standings")


def _telling_said(telling, counted):
    """In how many comparisons there is a difference at all."""
    if telling == counted:
        return f"In each of the {counted} comparisons some method is shown to be worse"
    return f"In {telling} of the {counted} comparisons some method is shown to be worse"


def _standing(row):
    return tuple(row)[2:]  # without its place and its name


def _share(row):
    """Of its comparisons, those in which a method is told from the best."""
    return row.told_from_best / row.comparisons


def _held(row):
    return f"{row.comparisons - row.told_from_best} of {row.comparisons}"


def _range_of(counts):
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _mapped(run):
    """Methods that the maps of groups were made by."""
    card = run.csv("glocal/segments.csv")
    return set() if card is None else set(card["method"].astype(str))


def _broken(axioms):
    claimed = axioms["claimed"].astype(bool)
    broken = axioms[claimed & ~axioms["kept"].astype(bool)]
    for row in broken.itertuples():
        text = (
            f"{method_in_words(row.method)} claims {row.axiom} and does not keep it on {row.model}."
        )
        yield Finding("Broken promise:", text, "sanity", "sanity/axioms.csv", "warn")


# ---------------------------------------------------------------- subgroups


def subgroups(run: Run) -> Iterator[Finding]:
    """Per cohort: whether there is more than one group, and whether it is the hidden label."""
    for folder, cohort in cohorts(run).items():
        source = f"{folder}/{COHORT}"
        found = run.csv(source)
        wide = found.pivot_table(
            index="representation", columns="metric", values=["value", "p"], sort=False
        )
        grouped = _significant(wide, "subgroups")
        n = int(found["n"].max())
        if grouped:
            by = named([representation_in_words(name) for name in grouped])
            text = f"{n} ECGs fall into more than one group when they are described by {by}."
        else:
            text = (
                f"no evidence that {n} ECGs fall into separate groups, however they are described."
            )
        text += _labels_said(wide, found, bool(grouped))
        topic = f"Subgroups of {cohort}:" if cohort else "Subgroups:"
        yield Finding(topic, text, "discovery", source, "yes" if grouped else "no")


def _labels_said(wide, found, grouped):
    """Which clusters go with the hidden labels, and whether networks that have learnt nothing show
    them too.
    """
    labelled = _significant(wide, "ari")
    if not labelled:
        return ""
    by = named([representation_in_words(name) for name in labelled])
    text = (
        f" Divided {'' if grouped else 'all the same '}by {by}, they fall into parts that agree "
        "with the diagnoses, which the division did not see"
    )
    of_network = [name for name in labelled if name != "signal"]
    rows = found[found["metric"] == "ari"].set_index("representation")
    held = _column(rows, "p_control_corrected").reindex(of_network)
    if not of_network:
        return f"{text}."
    if held.isna().all():
        return f"{text} (networks that have learnt nothing were not compared: --control)."
    beyond = [representation_in_words(name) for name in held.index[held < ALPHA]]
    if beyond:
        return f"{text}; further than in networks that have learnt nothing: {named(beyond)}."
    return f"{text}, but are not shown to do so further than in networks that have learnt nothing."


def _significant(wide, metric):
    """Representations whose `metric` has p < ALPHA after Holm's correction over them."""
    if ("p", metric) not in wide:
        return []
    p = wide["p", metric].dropna().sort_values()
    return list(p.index[holm(p) < ALPHA])


# ---------------------------------------------------------------- what would change the answer


def changes(run: Run) -> Iterator[Finding]:
    """How many decisions small changes of waves turn, and whether those lie in the leads and waves
    of the criteria.
    """
    found = run.csv("counterfactual/counterfactuals.csv")
    if found is None or not len(found):
        return
    turned = int(found["turned"].astype(bool).sum())
    text = (
        f"{turned} of {len(found)} decisions turn when waves are changed no further than other "
        "ECGs of the data set differ."
    )
    card = run.csv("counterfactual/card.csv")
    tested = None if card is None else card[_column(card, "p").notna()]
    sources = "counterfactual/counterfactuals.csv"
    if tested is None or not len(tested):
        yield Finding("What would turn it:", text, "counterfactuals", sources)
        return
    few = _column(tested, "n_patients").lt(FEW_CLASS_RECORDS).to_numpy()
    kept = (holm(tested["p"].to_numpy()) < ALPHA) & ~few
    inside = [
        f"{row.pathology} ({row.inside:.2f} of them, by chance {row.chance:.2f})"
        for row in tested[kept].itertuples()
    ]
    outside = [str(name) for name in tested.loc[~kept & ~few, "pathology"]]
    if inside:
        text += (
            f" These changes lie in the leads and waves of the criteria for {named(inside)}; "
            "networks that have learnt nothing were not compared."
        )
    if outside:
        text += f" Not shown to lie where the criteria read for {named(outside)}."
    if few.any():
        words = named(_with_patients(tested[few]))
        text += (
            " Not enough patients to say whether these changes lie in the leads and waves of the "
            f"criteria for {words}."
        )
    sources += ", counterfactual/card.csv"
    yield Finding("What would turn it:", text, "counterfactuals", sources)


# ---------------------------------------------------------------- what warns


def warnings(run: Run) -> Iterator[Finding]:
    """Flagged signals, data other than the network was trained on, cells that are not stable."""
    yield from _flagged_signals(run)
    yield from _unstable_cells(run)
    own = run.info.dataset if hasattr(run.info, "dataset") else None
    if own and own.get("simulated") and not run.simulated():
        line = f"the network was trained on simulated ECGs ({own['name']}), and these are others."
        yield Finding("Other data:", line, "provenance", "the checkpoint", "warn")
    for line in run.foreign_data():
        yield Finding("Other data:", line, "provenance", "the stages' json", "warn")


STAGES = {
    "tcav": ("concepts", "concepts"),
    "local": ("local", "single ECGs"),
    "glocal": ("glocal", "groups"),
    "sanity": ("sanity", "checks"),
    "counterfactual": ("counterfactuals", "counterfactuals"),
}  # folder -> section, in words


def _flagged_signals(run):
    parts, sources = [], []
    for folder, (_, words) in STAGES.items():
        counts = run.csv(f"{folder}/quality.csv")
        if counts is None or not len(counts) or counts["n_flagged"].iloc[0] == 0:
            continue
        first = counts.iloc[0]
        parts.append(f"{int(first['n_flagged'])} of {int(first['n_records'])} ({words})")
        sources.append(folder)
    if parts:
        faults = "noise, another recording fault or a pacemaker"
        text = f"{faults} is flagged in {named(parts)} of the explained ECGs."
        section = STAGES[sources[0]][0]
        source = ", ".join(f"{folder}/quality.csv" for folder in sources)
        yield Finding("Signals:", text, section, source, "warn")


def _unstable_cells(run):
    """Cells among the densest of a map that hang on where the waves' boundaries were put."""
    cells = run.csv("glocal/segments.csv")
    if cells is None or "rank_stability" not in cells:
        return
    top = cells[(cells["rank"] <= TOP_CELLS) & ~cells["method"].isin(CONTROLS)]
    top = top[top["rank_stability"].notna()]
    unstable = top[top["rank_stability"] < STABLE].drop_duplicates(["pathology", "lead", "segment"])
    if not len(top):
        return
    if not len(unstable):
        text = (
            f"the {TOP_CELLS} strongest places of each map stay among them when the waves' "
            "boundaries are moved within their error."
        )
        yield Finding("Stability:", text, "glocal", "glocal/segments.csv", "yes")
        return
    ones = []
    for pathology, rows in unstable.groupby("pathology", sort=False):
        places = [
            f"{row.lead} ({SEGMENTS.get(row.segment, row.segment)})" for row in rows.itertuples()
        ]
        ones.append(f"{named(places)} for {pathology}")
    text = (
        f"some places are among the {TOP_CELLS} strongest of their map only by where exactly the "
        f"waves' boundaries were put: {'; '.join(ones)}."
    )
    yield Finding("Stability:", text, "glocal", "glocal/segments.csv", "warn")


TOPICS: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    how_well,
    concepts,
    maps,
    methods,
    changes,
    subgroups,
    warnings,
)


def findings(run: Run) -> list[Finding]:
    """All sentences, in the order of the questions."""
    found = list(itertools.chain.from_iterable(topic(run) for topic in TOPICS))
    if not beats_chance(run):
        found = [replace(one, kind="no") if one.kind == "yes" else one for one in found]
    asked = {one.section for one in found}
    missing = [
        title
        for section, title in (
            ("concepts", "concepts"),
            ("glocal", "groups of patients"),
            ("sanity", "how the methods do"),
            ("counterfactuals", "what would turn an answer"),
            ("discovery", "subgroups"),
        )
        if section not in asked
    ]
    if missing and not is_regression(run.info.task):
        stages = "that stage has" if len(missing) == 1 else "those stages have"
        text = f"{named(missing)}: {stages} not been run."
        found.append(Finding("Not asked:", text, "provenance", "the run folder"))
    return found


def asked_of(run: Run) -> str:
    """One sentence: of which network, on which data, about which classes."""
    info = run.info
    if is_regression(info.task):
        asked = f"measures {info.task.replace('_', ' ')} in {named(list(info.labels))}"
    else:
        asked = f"answers for {named([class_in_words(name) for name in info.labels], 3)}"
    return (
        f"How the network {info.run_folder_name} ({info.modelname}) {asked}, as far as tests can "
        f"tell. Data: {run.data_in_words()}. In brackets: 95 % intervals."
    )
