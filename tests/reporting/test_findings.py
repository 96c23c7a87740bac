"""The report's sentences: every number in them stands in a table on disk, or counts its rows."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from common.labels import LEADS
from common.words import CONCEPTS
from records.dataset import TABLE
from reporting.findings import (
    AGAINST,
    BEST,
    CRITERIA,
    FEW_CLASS_RECORDS,
    LEARNT_AGAINST,
    PLACES,
    RISES,
    TOP_CELLS,
    asked_of,
    concepts,
    findings,
)
from reporting.fragments import interval_of
from reporting.performance import CHANCE, FEW_POSITIVES, NOTHING, how_well, performance
from reporting.run import Run, data_files
from reporting.sections import SECTIONS
from sanity.standings import best_table, standings

CLASSES = ("NORM", "AMI", "LVH", "CLBBB")
NAMES = (*CONCEPTS, *CLASSES, *LEADS, "R2", "T-Peak", "R-Peak")
LIMITS = {FEW_POSITIVES, FEW_CLASS_RECORDS, TOP_CELLS, CHANCE}  # said as limits, not as results


def scored(rng):
    value = rng.uniform(0.6, 0.9)
    return {"value": value, "low": value - rng.uniform(0, 0.2), "high": value + 0.05}


@pytest.mark.parametrize(
    ("entry", "sentence", "in_table"),
    [
        ((0.9981, 0.9962, 0.9993), "> 0.99 [> 0.99, > 0.99]", "0.998 [0.996, 0.999]"),
        ((1.0, 0.433, 1.0), "> 0.99 [0.43, > 0.99]", "> 0.999 [0.433, > 0.999]"),
        ((0.903, 0.79, 0.958), "0.90 [0.79, 0.96]", "0.903 [0.790, 0.958]"),
        ((0.9981, None, None), "> 0.99 (no interval)", "0.998 (no interval)"),
    ],
)
def test_an_area_near_one_is_not_said_to_be_one(tmp_path, entry, sentence, in_table):
    one = dict(zip(("value", "low", "high"), entry, strict=True)) | {"n": 61}
    (tmp_path / "metrics.json").write_text(json.dumps({"windows": {"macro_auc": one}}))
    info = SimpleNamespace(task="superdiagnostic", labels=CLASSES, modelname="lenet")
    run = Run(tmp_path, info)
    assert sentence in next(how_well(run)).text
    assert interval_of(one) == in_table
    assert in_table.replace(">", "&gt;") in "".join(performance(run))
    assert interval_of({"value": -0.004, "low": -0.2, "high": 0.9999}, False) == (
        "-0.004 [-0.200, 1.000]"  # R2
    )


def write_metrics(folder, rng):
    per_class = {
        name: {**scored(rng), "n": 61, "n_positive": int(n)}
        for name, n in zip(CLASSES, (33, 8, 0, 12), strict=True)
    }
    macro = {**scored(rng), "n": 61, "n_classes": 3}
    content = {"windows": {"macro_auc": macro, "per_class_auc": per_class}}
    (folder / "metrics.json").write_text(json.dumps(content))


def write_tcav(folder, rng):
    rows = []
    for concept, pathology, n in (
        ("SLI-LVH", "LVH", 8),
        ("S12-LVH", "LVH", 8),
        ("MI-All", "AMI", 27),
        ("QRS-CLBBB", "CLBBB", 2),
    ):
        for layer in ("block1", "head"):
            p = rng.choice([0.002, 0.6])
            rows.append((concept, "concept", layer, pathology, True, p, n, rng.uniform(-1, 1)))
    names = ["concept", "run_kind", "layer", "pathology", "associated", "p_corrected", "n_class"]
    table = pd.DataFrame(rows, columns=[*names, "magnitude"]).assign(cav_valid=True)
    table.to_csv(folder / "tcav/scores.csv", index=False)


def test_concepts_of_other_classes_are_not_called_untested(tmp_path):
    (tmp_path / "tcav").mkdir()
    write_tcav(tmp_path, np.random.default_rng(0))
    path = tmp_path / "tcav/scores.csv"
    pd.read_csv(path).assign(associated=False).to_csv(path, index=False)
    [one] = concepts(Run(tmp_path, None))
    assert "none of them is a criterion of these classes" in one.text
    pd.read_csv(path).assign(associated=True, p_corrected=np.nan).to_csv(path, index=False)
    [one] = concepts(Run(tmp_path, None))
    assert "no criterion could be tested" in one.text


def write_glocal(folder, rng):
    rows, cells = [], []
    for pathology in ("AMI", "LVH"):
        for method in ("lrp", "ig", "random"):
            lift = rng.uniform(0.8, 3)
            p = rng.choice([0.001, 0.4])
            n = int(rng.integers(5, 40))
            rows.append((pathology, method, True, lift, lift - 0.2, lift + 0.3, 1.4, p, p, n))
            for rank in range(1, 8):
                lead = LEADS[rng.integers(12)]
                cells.append((pathology, method, lead, "T-Peak", rank, rng.uniform(0.3, 1.0)))
    names = ["pathology", "method", "own", "lift", "low", "high", "lead_lift", "p", "p_holm"]
    table = pd.DataFrame(rows, columns=[*names, "n_patients"])
    table.to_csv(folder / "glocal/scorecard.csv", index=False)
    names = ["pathology", "method", "lead", "segment", "rank", "rank_stability"]
    pd.DataFrame(cells, columns=names).to_csv(folder / "glocal/segments.csv", index=False)


def write_sanity(folder, rng):
    rows = []
    methods = ["lrp", "ig", "saliency", "random", "input_magnitude"]
    for number in range(int(rng.integers(3, 12))):
        best = methods[rng.integers(3)]
        floor = rng.choice([0.0005, 0.06], p=[0.8, 0.2])  # of too few patients
        for method in methods:
            if method != best:
                p = max(floor, rng.choice([0.01, 0.5]))
                rows.append((f"check{number}", "lenet", best, method, p, floor, 19 + number))
    favoured = [(f"check{number}", "ig", True) for number in (1, 4)]
    write_standings(folder, rows, favoured)


def write_standings(folder, rows, favoured):
    """The stage's tables from rows of comparisons and from (check, method, favoured)."""
    names = ["check", "model", "best", "method", "p_corrected", "p_floor", "n"]
    comparisons = pd.DataFrame(rows, columns=names)
    checks = pd.DataFrame(favoured, columns=["check", "method", "favoured"])
    best = best_table(comparisons, checks)
    tables = {"comparisons": comparisons, "checks": checks, "best": best}
    for name, table in {**tables, "standings": standings(best)}.items():
        table.to_csv(folder / f"sanity/{name}.csv", index=False)


def write_discovery(folder, rng):
    rows = []
    for name in ("signal", "features"):
        for metric in ("subgroups", "ari"):
            rows.append((name, metric, rng.uniform(), rng.choice([0.001, 0.7]), 47))
    names = ["representation", "metric", "value", "p", "n"]
    pd.DataFrame(rows, columns=names).to_csv(folder / "discovery/table.csv", index=False)


def write_counterfactual(folder, rng):
    n = int(rng.integers(5, 30))
    found = pd.DataFrame({"ecg_id": range(n), "turned": rng.uniform(size=n) < 0.8})
    found.to_csv(folder / "counterfactual/counterfactuals.csv", index=False)
    rows = [(name, rng.uniform(), 0.25, rng.choice([0.001, 0.6])) for name in ("AMI", "LVH")]
    card = pd.DataFrame(rows, columns=["pathology", "inside", "chance", "p"])
    card.to_csv(folder / "counterfactual/card.csv", index=False)


def turned(folder):
    """How many decisions were turned, of how many, counted anew."""
    found = pd.read_csv(folder / "counterfactual/counterfactuals.csv")["turned"]
    return [float((found == True).sum()), float(len(found))]  # noqa: E712


def write_quality(folder, rng):
    for name in ("tcav", "glocal"):
        n = int(rng.integers(20, 60))
        table = pd.DataFrame({"group": ["all"], "n_records": [n], "n_flagged": [n // 9]})
        table.to_csv(folder / name / "quality.csv", index=False)


def run_of(folder, seed):
    rng = np.random.default_rng(seed)
    for name in ("tcav", "glocal", "sanity", "discovery", "counterfactual"):
        (folder / name).mkdir()
    for write in (
        write_metrics,
        write_tcav,
        write_glocal,
        write_sanity,
        write_discovery,
        write_counterfactual,
        write_quality,
    ):
        write(folder, rng)
    info = SimpleNamespace(task="subdiagnostic", labels=CLASSES, modelname="lenet")
    return Run(folder, info)


def numbers_in(text):
    """Numbers of a sentence as they are written, without those inside names."""
    for name in sorted(NAMES, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", " ", text)
    return re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", text)


def values_of(folder, source):
    """Every number in a table or JSON under the run folder."""
    if source.endswith(".json"):
        return [float(word) for word in numbers_in((folder / source).read_text())]
    table = pd.read_csv(folder / source)
    return list(table.select_dtypes("number").to_numpy().ravel())


def is_in(word, values):
    digits = len(word.partition(".")[2])
    return any(f"{value:.{digits}f}" == word for value in values if np.isfinite(value))


def counted_from(folder):
    """What the sentence on methods counts in its two tables: scores held, and rows of best.csv."""
    table = pd.read_csv(folder / "sanity/standings.csv")
    best = pd.read_csv(folder / "sanity/best.csv")
    best = best[best["counted"]]
    held = table["best"] + table["not_told_from_best"]
    return [*held, len(best), best["told_from_best"].notna().sum()]


@pytest.mark.parametrize("seed", range(6))
def test_every_number_in_a_sentence_is_in_its_table(tmp_path, seed):
    run = run_of(tmp_path, seed)
    sentences = findings(run)
    assert len(sentences) >= 9
    for one in sentences:
        if one.source == "the run folder":
            continue
        values = [value for name in one.source.split(", ") for value in values_of(tmp_path, name)]
        if one.place == "standings":
            values += counted_from(tmp_path)
        if one.section == "counterfactuals":
            values += turned(tmp_path)
        for word in numbers_in(one.text):
            more = re.search(rf"and {word} more", one.text)
            known = more or is_in(word, values) or float(word) in LIMITS
            assert known, f"{word} in {one.text!r} is not in {one.source}"


def test_a_number_that_is_in_no_table_is_noticed(tmp_path):
    run_of(tmp_path, 0)
    assert not is_in("0.999", values_of(tmp_path, "metrics.json"))
    assert numbers_in("S12-LVH and R56-LVH: 0.91 [0.80, 0.95] of 12 ECGs, V5") == [
        "0.91",
        "0.80",
        "0.95",
        "12",
    ]


def test_cells_that_hang_on_boundaries_are_named_and_their_absence_is_said(tmp_path):
    run = run_of(tmp_path, 0)
    path = tmp_path / "glocal/segments.csv"
    cells = pd.read_csv(path)
    stable = cells.assign(rank_stability=0.95)
    stable.to_csv(path, index=False)
    said = [one for one in findings(run) if one.topic == "Stability:"]
    assert [one.kind for one in said] == ["yes"]
    first = (stable["method"] == "lrp") & (stable["pathology"] == "LVH") & (stable["rank"] == 2)
    one_bad = stable.assign(rank_stability=np.where(first, 0.4, 0.95))
    one_bad.to_csv(path, index=False)
    said = [one for one in findings(run) if one.topic == "Stability:"]
    assert [one.kind for one in said] == ["warn"]
    cell = f"{stable.loc[first, 'lead'].iloc[0]} (peak of T) for LVH"
    assert said[0].text.startswith(
        f"some places are among the {TOP_CELLS} strongest of their map only"
    )
    assert said[0].text.endswith(f": {cell}.")
    both = first | (
        (stable["method"] == "lrp") & (stable["pathology"] == "NORM") & (stable["rank"] == 1)
    )
    stable.assign(rank_stability=np.where(both, 0.4, 0.95)).to_csv(path, index=False)
    [said] = [one for one in findings(run) if one.topic == "Stability:"]
    assert cell in said.text.split("put: ")[1].rstrip(".").split("; ")
    cells.drop(columns="rank_stability").to_csv(path, index=False)
    assert not [one for one in findings(run) if one.topic == "Stability:"]


def test_results_on_data_that_the_network_was_not_trained_on_are_a_warning(tmp_path, monkeypatch):
    run = run_of(tmp_path, 0)
    own, other = tmp_path / "ptbxl/preprocessing.json", tmp_path / "other/preprocessing.json"
    monkeypatch.setattr("reporting.run.data_files", lambda _: [own, other])
    said = [one for one in findings(run) if one.topic == "Other data:"]
    assert [one.kind for one in said] == ["warn"]
    assert "results are of other; the network was trained on ptbxl" in said[0].text


def test_a_run_that_was_moved_away_from_its_data_names_them_once(tmp_path):
    data, run = tmp_path / "here" / "data", tmp_path / "elsewhere" / "run"
    run.mkdir(parents=True)
    data.mkdir(parents=True)
    (data / "preprocessing.json").touch()
    there = f"../../here/data/{TABLE}"
    for stage, inputs in (
        ("train", {f"../gone/{TABLE}": "one"}),
        ("test", {f"../gone/{TABLE}": "one"}),
        ("local", {there: "one"}),
    ):
        content = {"stage": stage, "status": "finished", "inputs": inputs}
        (run / f"{stage}.json").write_text(json.dumps(content))
    assert data_files(run) == [data / "preprocessing.json"]
    other = {"stage": "tcav", "status": "finished", "inputs": {f"../other/{TABLE}": "two"}}
    (run / "tcav.json").write_text(json.dumps(other))
    assert [path.parent.name for path in data_files(run)] == ["data", "other"]


def test_what_favours_a_method_by_construction_is_not_counted_for_or_against_it(tmp_path):
    run = run_of(tmp_path, 0)
    rows = []
    for number in range(4):  # lrp wins all, ig loses the last two
        p = 0.01 if number > 1 else 0.5
        rows.append((f"check{number}", "lenet", "lrp", "ig", p, 0.0005, 19))
        rows.append((f"check{number}", "lenet", "lrp", "random", 0.01, 0.0005, 19))
    rows.append(("check4", "lenet", "lrp", "ig", 0.5, 0.05, 2))  # of two patients: tells nothing
    favoured = [("check2", "ig", True), ("check3", "ig", True), ("check0", "lrp", True)]
    write_standings(tmp_path, rows, favoured)
    (said,) = [one for one in findings(run) if one.topic == BEST]
    assert said.text == (
        "LRP did best in 3 of 3 comparisons and, as far as can be told, as well as the best in 0; "
        "Integrated Gradients best or as well in 2 of 2; noise, which knows nothing of the "
        "network, in 0 of 4. In each of the 4 comparisons some method is shown to be worse. 19 "
        "ECGs each; what favours a method by construction is left out."
    )
    shown = "".join(SECTIONS["sanity"].build(run))
    assert 'id="standings"' in shown
    assert "<td>check4</td>" in shown
    assert said.kind == "yes"


def with_controls(tmp_path, name, corrected):
    path = tmp_path / name
    table = pd.read_csv(path).assign(p_control=0.04, p_control_corrected=corrected)
    table.to_csv(path, index=False)


@pytest.mark.parametrize(("corrected", "kind"), [(1 / 21, "yes"), (0.3, "no")])
def test_maps_and_clusters_are_findings_only_beyond_networks_that_have_learnt_nothing(
    tmp_path, corrected, kind
):
    """Orders of the leads and permuted labels say what is not chance, not what was learnt."""
    run = run_of(tmp_path, 0)
    card, clusters = "glocal/scorecard.csv", "discovery/table.csv"
    pd.read_csv(tmp_path / card).assign(p_holm=0.001).to_csv(tmp_path / card, index=False)
    pd.read_csv(tmp_path / clusters).assign(p=0.001).to_csv(tmp_path / clusters, index=False)

    def said(topic):
        return [one for one in findings(run) if one.topic == topic]

    assert all("were not compared" in one.text for one in said(PLACES))
    assert {one.kind for one in said(PLACES)} == {"no"}
    assert "were not compared" in said("Subgroups:")[0].text
    with_controls(tmp_path, card, corrected)
    with_controls(tmp_path, clusters, corrected)
    maps, [groups] = said(PLACES), said("Subgroups:")
    assert {one.kind for one in maps} == {kind}
    beyond = "further than in maps of networks that have learnt nothing"
    assert all((beyond in one.text) == (kind == "yes") for one in maps)
    not_so = "but are not shown to do so further than in networks that have learnt nothing"
    assert (not_so in groups.text) == (kind == "no")


def criteria_said(run, rows, n_class=8, **more):
    """What is said of rows of scores.csv: concept, magnitude, corrected p, learnt, cav_valid; and
    more columns, one value each.
    """
    scores = pd.DataFrame(
        rows, columns=["concept", "magnitude", "p_corrected", "learnt", "cav_valid"]
    )
    of_class = {"layer": "head", "pathology": "LVH", "associated": True, "n_class": n_class}
    scores.assign(run_kind="concept", **of_class, **more).to_csv(
        run.folder / "tcav/scores.csv", index=False
    )
    return " ".join(one.text for one in findings(run) if one.topic == CRITERIA)


def test_a_criterion_that_lowers_its_class_is_not_said_to_raise_it(tmp_path):
    run = run_of(tmp_path, 0)
    rows = [
        ("SLI-LVH", -0.5, 0.001, "not asked", True),
        ("S12-LVH", 0.5, 0.001, "not asked", True),
        ("LI-LVH", 0.1, 0.6, "not asked", True),
    ]
    said = criteria_said(run, rows)
    assert said.startswith(f"{RISES} S12-LVH for LVH (8 ECGs), more than")
    assert said.endswith(
        f"No evidence that it rises with LI-LVH for LVH. {AGAINST} SLI-LVH for LVH."
    )
    few = FEW_CLASS_RECORDS - 1
    said = criteria_said(run, rows, n_class=few)
    assert said == f"not enough ECGs to judge any for LVH ({few} ECGs)."


def test_of_layers_with_the_same_p_the_one_where_a_concept_is_largest_speaks(tmp_path):
    """As in TCAV's summary: many layers share the smallest p that can be reached."""
    run = run_of(tmp_path, 0)
    rows = [("SLI-LVH", sign, 0.001, "not asked", True) for sign in (0.1, -0.5, 0.2)]
    said = criteria_said(run, rows, magnitude_z=[1.5, -4.0, 2.0])
    assert f"{AGAINST} SLI-LVH for LVH." in said
    assert RISES not in said


def test_each_of_several_cohorts_is_named(tmp_path):
    run = run_of(tmp_path, 0)
    shutil.copytree(tmp_path / "discovery", tmp_path / "discovery_AMI_or_LAFB-LPFB")
    cohort = {"settings": {"cohort": ["AMI", "LAFB/LPFB"]}}
    (tmp_path / "discovery_AMI_or_LAFB-LPFB/discovery.json").write_text(json.dumps(cohort))
    topics = [one.topic for one in findings(run) if one.section == "discovery"]
    assert topics == ["Subgroups of discovery:", "Subgroups of AMI or LAFB/LPFB:"]
    page = "".join(map(str, SECTIONS["discovery"].build(run)))
    assert re.findall("<h3>(.*?)</h3>", page) == ["discovery", "AMI or LAFB/LPFB"]


def test_too_few_patients_are_said_instead_of_judged(tmp_path):
    run = run_of(tmp_path, 0)
    path = tmp_path / "glocal/scorecard.csv"
    card = pd.read_csv(path).assign(p=0.001, p_holm=0.001, lead_lift=1.4)
    card.loc[card["pathology"] == "LVH", "n_patients"] = 1
    card.to_csv(path, index=False)
    said = [one.text for one in findings(run) if one.topic == PLACES]
    assert len(said) == 2
    for text in said:
        assert "stand out for AMI (" in text
        assert text.endswith("; not enough patients to say for LVH (1 patient).")
    card.assign(n_patients=2).to_csv(path, index=False)
    said = [one.text for one in findings(run) if one.topic == PLACES]
    assert (
        said[0]
        == "in maps by LRP, not enough patients to say for AMI (2 patients) and LVH (2 patients)."
    )


def test_a_network_that_measures_says_what_and_how_far_off(tmp_path):
    one = {"value": 0.91, "low": 0.88, "high": 0.93, "n": 61}
    error = {"value": 0.0571, "low": 0.049, "high": 0.067, "n": 61}
    content = {"windows": {"r2": one, "mae": error}}
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    name = "lenet_T_Wave_Amplitude"
    info = SimpleNamespace(
        task="T_Wave_Amplitude", labels=tuple(LEADS), modelname="lenet", run_folder_name=name
    )
    run = Run(tmp_path, info)
    (said,) = findings(run)
    assert said.text == (
        "R2 0.91 [0.88, 0.93], mean error 0.057 [0.049, 0.067] mV, on 61 ECGs it was not trained "
        "on."
    )
    assert "measures T Wave Amplitude in I, II, III, aVR, aVL, aVF and 6 more, as" in asked_of(run)


# ---------------------------------------------------------------- a network that knows nothing


def with_auc(folder, macro=(0.7, 0.6, 0.8), norm=(0.7, 0.6, 0.8)):
    names = ("value", "low", "high")
    macro = {**dict(zip(names, macro, strict=True)), "n": 61, "n_classes": 2}
    per_class = {
        "NORM": {**dict(zip(names, norm, strict=True)), "n": 61, "n_positive": 33},
        "AMI": {"value": 0.8, "low": 0.7, "high": 0.9, "n": 61, "n_positive": 20},
    }
    content = {"windows": {"macro_auc": macro, "per_class_auc": per_class}}
    (folder / "metrics.json").write_text(json.dumps(content))


@pytest.mark.parametrize("macro", [(0.52, 0.46, 0.58), (0.9, None, None), (0.4, 0.3, 0.45)])
def test_of_a_network_that_guesses_this_is_said_first_and_nothing_is_found(tmp_path, macro):
    """Whatever the stages' tests say of it: they ask about the network, not about patients."""
    run = run_of(tmp_path, 0)
    for name, column in (("glocal/scorecard.csv", "p_holm"), ("discovery/table.csv", "p")):
        pd.read_csv(tmp_path / name).assign(**{column: 0.001}).to_csv(tmp_path / name, index=False)
        with_controls(tmp_path, name, 0.01)
    path = tmp_path / "tcav/scores.csv"
    pd.read_csv(path).assign(learnt="learnt", magnitude=0.4).to_csv(path, index=False)
    with_auc(tmp_path)
    assert any(one.text.startswith("learnt") for one in findings(run))
    assert sum(one.kind == "yes" for one in findings(run)) > 2
    with_auc(tmp_path, macro)
    first, *others = findings(run)
    assert first.text.startswith("not shown to predict better than chance")
    assert first.kind == "warn"
    assert NOTHING in first.text
    assert {one.kind for one in others} <= {"no", "warn"}
    assert not any(one.text.startswith("learnt") for one in others)


def test_a_network_whose_scores_were_not_measured_is_not_taken_for_a_good_one(tmp_path):
    run = run_of(tmp_path, 0)
    (tmp_path / "metrics.json").unlink()
    first, *others = findings(run)
    assert first.text.startswith("not measured")
    assert first.kind == "warn"
    assert "yes" not in {one.kind for one in others}


def test_a_class_that_is_guessed_is_named_where_there_are_enough_of_it(tmp_path):
    run = run_of(tmp_path, 0)
    with_auc(tmp_path, norm=(0.55, 0.37, 0.72))
    (said,) = [one.text for one in findings(run) if one.topic == "Not shown to beat chance:"]
    assert said.startswith("NORM (AUC 0.55 [0.37, 0.72]), so what is said of these below")
    assert "AMI" not in said
    with_auc(tmp_path)
    assert not [one for one in findings(run) if one.topic == "Not shown to beat chance:"]


def test_a_measurement_that_is_no_better_than_the_mean_is_no_finding(tmp_path):
    info = SimpleNamespace(task="T_Wave_Amplitude", labels=tuple(LEADS), modelname="lenet")
    fit = {"value": 0.03, "low": -0.05, "high": 0.09, "n": 61}
    (tmp_path / "metrics.json").write_text(json.dumps({"windows": {"r2": fit}}))
    assert findings(Run(tmp_path, info))[0].kind == "warn"


def test_what_is_left_of_it_on_other_data_is_a_finding(tmp_path):
    run = run_of(tmp_path, 0)
    entries = {
        "NORM": {"value": 0.81, "low": 0.71, "high": 0.88, "n_positive": 20},
        "AMI": {"value": 0.52, "low": 0.31, "high": 0.74, "n_positive": 14},
        "LVH": {"value": 0.93, "low": 0.71, "high": 0.99, "n_positive": 6},
    }
    told = {"data_set": "clinic", "records": 39, "classes_compared": list(entries)}
    folder = tmp_path / "external/clinic"
    folder.mkdir(parents=True)
    content = {"windows": {"per_class_auc": entries}, "external": told}
    (folder / "metrics.json").write_text(json.dumps(content))
    (said,) = [one for one in findings(run) if one.topic == "On other data:"]
    assert said.kind == "warn"
    assert said.text == (
        "on 39 ECGs of clinic: better than chance for NORM (AUC 0.81 [0.71, 0.88]); not shown to "
        "be better than chance for AMI (AUC 0.52 [0.31, 0.74]); fewer than 10 ECGs of LVH (AUC "
        "0.93 [0.71, 0.99])."
    )


def test_a_network_of_simulated_ecgs_on_others_is_a_warning(tmp_path):
    run = run_of(tmp_path, 0)
    run.info.dataset = {"simulated": True, "name": "a simulated cohort of 600 records"}
    said = [one for one in findings(run) if one.topic == "Other data:"]
    assert [one.kind for one in said] == ["warn"]
    assert "trained on simulated ECGs (a simulated cohort of 600 records)" in said[0].text


def test_probabilities_that_are_none_and_training_that_is_unknown_are_said(tmp_path):
    run = run_of(tmp_path, 0)
    path = tmp_path / "metrics.json"
    content = json.loads(path.read_text())
    content["windows"]["calibration_error"] = 0.604
    path.write_text(json.dumps(content))
    run.info.modelname = "imported"
    first, *others = findings(run)
    assert "ECGs (whether it was trained on some of them is not known)" in first.text
    (said,) = [one for one in others if one.topic == "Probabilities:"]
    assert said.text.startswith("off by 0.60 on average")


def test_what_stands_out_beside_a_learnt_criterion_is_not_called_no_evidence(tmp_path):
    run = run_of(tmp_path, 0)
    rows = [
        ("SLI-LVH", 0.5, 0.001, "learnt", True),
        ("S12-LVH", 0.5, 0.001, "special", True),
        ("LI-LVH", 0.1, 0.6, "neither", True),
    ]
    said = criteria_said(run, rows)
    assert said.startswith(f"learnt: {RISES} SLI-LVH for LVH (8 ECGs), further")
    assert said.endswith(
        "Rises too, but not shown to be learnt: S12-LVH for LVH. No evidence that it rises "
        "with LI-LVH for LVH."
    )


def test_a_learnt_criterion_that_lowers_its_class_is_not_said_to_be_unlearnt(tmp_path):
    rows = [
        ("SLI-LVH", -0.5, 0.001, "learnt", True),
        ("S12-LVH", -0.5, 0.001, "special", True),
    ]
    said = criteria_said(run_of(tmp_path, 0), rows)
    assert f"{LEARNT_AGAINST} SLI-LVH for LVH. {AGAINST} S12-LVH for LVH." in said


def test_why_a_criterion_is_not_learnt_is_said(tmp_path):
    run, rows = run_of(tmp_path, 0), [("SLI-LVH", 0.5, 0.001, "special", True)]
    few = criteria_said(run, rows, n_controls=20, p_control=np.nan)
    assert "Too few trained networks" in few
    for p_class, reason in ((0.01, "further than in networks"), (0.2, "class apart in patients")):
        said = criteria_said(run, rows, n_controls=20, p_control=0.01, p_class=p_class)
        assert reason in said


def test_a_vector_no_better_than_random_is_no_evidence_of_its_concept(tmp_path):
    rows = [
        ("SLI-LVH", 0.5, 0.001, "not asked", True),
        ("S12-LVH", 0.5, 0.001, "not asked", False),
    ]
    said = criteria_said(run_of(tmp_path, 0), rows)
    assert f"{RISES} SLI-LVH for LVH" in said
    assert "No evidence that it rises with S12-LVH for LVH" in said


def test_a_class_that_is_called_na_is_no_blank(tmp_path):
    run = run_of(tmp_path, 0)
    path = tmp_path / "tcav/scores.csv"
    scores = pd.read_csv(path)
    scores["pathology"] = scores["pathology"].replace("AMI", "NA")
    scores.to_csv(path, index=False)
    said = " ".join(one.text for one in findings(run) if one.topic == CRITERIA)
    assert "NA (27 ECGs)" in said
