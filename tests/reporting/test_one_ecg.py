"""One ECG on one page: measurements against an ECG that was drawn, sentences, refusals."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from counterfactual.sentences import sentence
from known_ecg import known_ecg, regular
from networks.seeds import runs_beside
from reporting.explanations import _placed_before
from reporting.local import STANDINGS, condensed, in_order, why_first
from reporting.one_ecg import (
    NO_P,
    all_classes,
    doubt_in_words,
    how_sure,
    measured_in_words,
    measurements,
    prediction_in_words,
    said_first,
    strongest_cells,
    subtitle,
    with_range,
    write_tables,
)
from reporting.page import table as table_on_page
from reporting.run import Run, read_table
from reporting.viewer import UNSEEN, ViewedMap, prediction_table


@pytest.mark.parametrize("rate", [100, 500])
def test_intervals_are_those_that_were_drawn(rate):
    signal = known_ecg(regular(75, 10.0, 500), rate, 10.0)
    found = measurements(signal, rate).set_index("what")
    assert found.loc["heart rate", "value"] == "75 per minute"
    assert found.drop("RR intervals")["note"].isin(["within", "below", "above"]).all()
    assert found.loc["RR intervals", "note"].startswith("steady: ")
    assert found.loc["heart rate", "note"] == "within"


def test_a_fast_heart_is_above_and_silence_is_not_measurable():
    fast = measurements(known_ecg(regular(130, 10.0, 300), 100, 10.0), 100).set_index("what")
    assert fast.loc["heart rate", "note"] == "above"
    silent = measurements(np.zeros((1000, 12)), 100)
    assert (silent["value"] == "not measurable").all()
    assert (silent["note"] == "").all()


def test_fibrillation_is_told_by_its_rhythm_and_the_missing_p_wave():
    gaps = np.array([610, 880, 740, 1010, 650, 930, 700, 1060, 620, 900, 760])
    signal = known_ecg(400 + np.cumsum(gaps), without=("P",), noise=0.005)
    noted = measurements(signal, 100)
    found = noted.set_index("what")
    assert found.loc["PR interval", "value"] == NO_P
    value, note = found.loc["RR intervals", ["value", "note"]]
    assert re.fullmatch(r"irregular: [23]\d % from one to the next", note)
    shortest, longest = map(int, re.fullmatch(r"(\d+) to (\d+) ms", value).groups())
    assert (shortest, longest) == pytest.approx((620, 1060), abs=10)
    text, kind = measured_in_words(noted)
    assert f"beats come irregularly (RR intervals {value})" in text
    assert NO_P in text
    assert "Not measurable" not in text
    assert kind == "warn"


def test_a_measurement_at_its_limit_is_judged_as_it_is_shown(monkeypatch):
    """450 ms is not said to lie above 360 to 450 ms, nor an axis of 0 degrees to be -0."""
    found = {"RR_Mean_Global": 1000.0, "QT_Int_Global": 450.3, "PR_Int_Global": 119.6}
    found |= {"QRS_Dur_Global": 110.6, "QRS_Axis_Global": -0.4, "r_peaks": "100 200"}
    monkeypatch.setattr("reporting.one_ecg.measure", lambda *_: dict(found))
    rows = measurements(np.ones((1000, 12)) * np.arange(1000)[:, None], 100)
    shown = dict(zip(rows["what"], rows[["value", "note"]].to_numpy().tolist(), strict=True))
    assert shown["QT interval corrected by Fridericia"] == ["450 ms", "within"]
    assert shown["PR interval"] == ["120 ms", "within"]
    assert shown["QRS duration"] == ["111 ms", "above"]
    assert shown["QRS axis"] == ["0 degrees", "within"]


def test_few_slow_beats_of_fibrillation_are_not_called_steady():
    gaps = np.array([1380, 1070, 1350, 1480, 1440, 1540])  # every second one is much like the last
    signal = known_ecg(400 + np.cumsum([0, *gaps]), without=("P",), noise=0.005)
    found = measurements(signal, 100).set_index("what")
    assert found.loc["RR intervals", "note"].startswith("irregular: ")


def test_two_beats_have_no_rhythm():
    found = measurements(known_ecg([500, 1300], seconds=2.5), 100).set_index("what")
    assert found.loc["RR intervals", ["value", "note"]].tolist() == ["not measurable", ""]


def test_the_sentence_names_what_is_above_its_threshold_else_the_most_probable():
    table = pd.DataFrame(
        {
            "class": ["AMI", "NORM", "LVH"],
            "probability": [0.8, 0.3, 0.2],
            "threshold": [0.5, 0.25, 0.4],
            "positive": ["yes", "yes", "no"],
        }
    )
    assert prediction_in_words(table) == (
        "the network says AMI (anterior myocardial infarction): probability 0.80, threshold "
        "0.50; NORM (normal ECG): probability 0.30, threshold 0.25"
    )
    assert prediction_in_words(table, most=1) == (
        "the network says AMI (anterior myocardial infarction): probability 0.80, threshold "
        "0.50; and 1 more above its threshold"
    )
    below = prediction_in_words(table.assign(positive=["no", "yes", "no"]))
    assert below.endswith(
        "threshold 0.25; more probable, but below its threshold: AMI 0.80 (threshold 0.50)"
    )
    unknown = prediction_in_words(table.assign(positive="no threshold"), most=1)
    assert unknown == (
        "the network says nothing for sure, as no threshold is known; the most probable are AMI "
        "0.80"
    )
    said = prediction_in_words(table.assign(positive="no"), most=2)
    assert said.endswith("the most probable are AMI 0.80, NORM 0.30")


def test_what_one_lead_cannot_say_is_not_said():
    signal = known_ecg(regular(75, 10.0, 500), 100, 10.0)
    alone = np.zeros_like(signal)
    alone[:, 1] = signal[:, 1]
    found = measurements(alone, 100).set_index("what")
    assert found.loc["QRS axis", "value"] == "not measurable"
    assert found.loc["heart rate", "value"] == "75 per minute"
    assert not found["value"].str.startswith("-").any()


def test_the_range_over_seeds_is_that_of_the_networks():
    logits = np.log([[4.0, 0.25], [1.0, 1.0], [9.0, 0.5]])  # odds
    table = prediction_table(["AMI", "NORM"], logits[0], [0.5, 0.5])
    ranged = with_range(table, ["AMI", "NORM"], logits)
    assert ranged["lowest"].tolist() == pytest.approx([0.5, 0.2])
    assert ranged["highest"].tolist() == pytest.approx([0.9, 0.5])
    doubtful = prediction_in_words(with_range(table.assign(threshold=0.6), ["AMI", "NORM"], logits))
    assert "(0.50 to 0.90 over 3 seeds, not above it in all of them), threshold 0.60" in doubtful
    assert prediction_in_words(ranged) == (
        "the network says AMI (anterior myocardial infarction): probability 0.80 (0.50 to 0.90 "
        "over 3 seeds), threshold 0.50"
    )


def predicted(probabilities, thresholds, *others):
    """The prediction of classes A, B, ...; `others`: their probabilities by other seeds."""
    odds = np.array([probabilities, *others])
    logits, labels = np.log(odds / (1 - odds)), list("ABC"[: len(probabilities)])
    table = prediction_table(labels, logits[0], thresholds)
    return with_range(table, labels, logits) if others else table


def test_a_probability_is_rounded_once_wherever_it_is_said():
    said = prediction_in_words(predicted([0.39481], [0.3]))  # .395 with three digits
    assert said == "the network says A: probability 0.39, threshold 0.30"
    turned = sentence([("R V5", 0.1)], "A", 0.39481, 0.2, 0.3, True, 6)
    assert turned.endswith("A 0.39 -> 0.20 (threshold 0.30)")


def test_a_probability_is_told_from_its_threshold():
    said = prediction_in_words(predicted([0.3946], [0.3904]))
    assert said == "the network says A: probability 0.395, threshold 0.390"


def test_seeds_are_held_against_the_threshold_as_they_are():
    said = prediction_in_words(predicted([0.6], [0.3948], [0.3946]))  # both .395
    assert "(0.39 to 0.60 over 2 seeds, not above it in all of them)" in said


def test_no_probability_is_0_or_1():
    found = predicted([0.99999], [0.5], [0.9996])
    assert "probability > 0.99 (> 0.99 to > 0.99 over 2 seeds)" in prediction_in_words(found)
    shown = re.findall("<td.*?>(.*?)</td>", str(table_on_page(found)))
    assert shown == ["A", "", "&gt; 0.999", "&gt; 0.999", "&gt; 0.999", "0.500", "yes", "2"]


def test_what_is_printed_calls_the_class_na_by_its_name(tmp_path):
    flags = pd.DataFrame({"quality_noise": [False]})
    signal = known_ecg(regular(75, 10.0, 500), 100, 10.0)
    data = SimpleNamespace(signals=signal[None], sampling_rate=100, table=flags)
    info = SimpleNamespace(labels=("NA", "B"), thresholds=(0.5, 0.5))
    prediction = write_tables(tmp_path, data, info, np.array([[1.0, -1.0]]))
    assert prediction_in_words(prediction) == (
        "the network says NA: probability 0.73, threshold 0.50"
    )
    assert read_table(tmp_path / "prediction.csv")["class"].tolist() == ["NA", "B"]


def test_runs_of_other_seeds_are_found_by_their_names(tmp_path):
    for name in ("net", "net_seed1", "net_seed12", "net_seedling", "other_seed1", "net_seed3"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        if name != "net_seed3":
            (tmp_path / name / "checkpoints" / "best_model.ckpt").touch()
    found = [path.name for path in runs_beside(tmp_path / "net")]
    assert found == ["net_seed1", "net_seed12"]
    assert [path.name for path in runs_beside(tmp_path / "net_seed1")] == ["net", "net_seed12"]


def test_classes_may_be_called_as_numbers_and_blanks_are(tmp_path):
    table = prediction_table(["1", "NA", "null"], np.array([2.0, 1.0, 0.0]), [0.5, np.nan, 0.9])
    table.to_csv(tmp_path / "prediction.csv", index=False)
    back = read_table(tmp_path / "prediction.csv")
    assert back["class"].tolist() == ["1", "NA", "null"]
    assert np.isnan(back["threshold"].iloc[1])
    metrics = {"windows": {"per_class_auc": {"1": {"value": 0.9, "n_positive": 3}}}}
    run = SimpleNamespace(json=lambda _: metrics, info=SimpleNamespace(modelname="lenet"))
    assert "1 AUC 0.90 (no interval)" in how_sure(run, back)


def notes_of(*rows):
    return pd.DataFrame(rows, columns=["what", "value", "normal in adults", "note"])


def test_flags_are_one_line_and_what_is_abnormal_is_a_sentence():
    rate = ("heart rate", "130 per minute", "60 to 100 per minute", "above")
    pr = ("PR interval", "not measurable", "120 to 200 ms", "")
    flags = [
        (f"signal: {name}", value, "not raised", "")
        for name, value in (
            ("noise", "raised"),
            ("flat", "not raised"),
            ("pacemaker", "not judged"),
        )
    ]
    short = condensed(notes_of(rate, pr, *flags))
    assert short["what"].tolist() == ["heart rate", "PR interval", "signal quality"]
    assert short.iloc[-1]["value"] == "flagged: noise"
    assert short.iloc[-1]["note"] == "not judged: pacemaker"
    assert measured_in_words(short) == (
        "heart rate 130 per minute (above 60 to 100 per minute). Not measurable: PR interval.",
        "warn",
    )
    fine = condensed(notes_of((*rate[:3], "within"), *flags[1:2]))
    assert fine.iloc[-1]["value"] == "nothing flagged"
    assert measured_in_words(fine) == ("within the normal limits of adults.", "yes")


def test_how_sure_and_why_are_read_from_the_tables():
    one = {"value": 0.93, "low": 0.8, "high": 0.97, "n_positive": 12}
    metrics = {"windows": {"per_class_auc": {"AMI": one, "LVH": {"value": None}}}}
    info = SimpleNamespace(modelname="lenet")
    run = SimpleNamespace(json=lambda name: metrics, info=info)
    table = pd.DataFrame({"class": ["LVH", "AMI", "NORM"], "positive": ["yes", "yes", "no"]})
    assert how_sure(run, table) == (
        "on ECGs it was not trained on: LVH could not be tested; AMI AUC 0.93 [0.80, 0.97] "
        "(12 ECGs with it)."
    )
    assert how_sure(SimpleNamespace(json=lambda name: {}, info=info), table) == ""
    info.modelname = "imported"
    assert how_sure(run, table).startswith("on ECGs (whether it was trained on some of them is not")


def test_the_map_that_is_shown_first_is_the_one_that_is_spoken_of():
    rows = [
        ("AMI", "saliency", "I", "tp", 1, -1.0),
        ("AMI", "ig", "V3", "jt", 2, -0.1),
        ("AMI", "ig", "V2", "R-Peak", 1, 0.3),
        ("AMI", "gradcam", np.nan, "tp", 1, 0.1),
    ]
    names = ["pathology", "method", "lead", "segment", "rank", "signed_density"]
    cells = pd.DataFrame(rows, columns=names)
    values = np.zeros((10, 12))
    maps = [
        ViewedMap("AMI", "ig", values, True, "logit"),
        ViewedMap("AMI", "gradcam", values, False, ""),
        ViewedMap("AMI", "saliency", values, True, "logit per mV"),
    ]
    assert strongest_cells(cells, maps) == (
        "For AMI, Integrated Gradients is densest in V2 (peak of R) and V3 (ST segment, against "
        "it)."
    )
    assert strongest_cells(cells, maps[1:]) == (
        "For AMI, Grad-CAM is densest in all leads (between T and the next P)."
    )
    assert strongest_cells(cells, maps[2:]).endswith(
        "in I (between T and the next P)."
    )  # no for or against


def test_the_order_of_maps_is_that_of_the_checks_else_of_what_adds_up(tmp_path):
    run = Run(tmp_path, None)
    told = {"has_lead_axis": np.array(True)}
    methods = {name: (told, 0) for name in ("saliency", "lrp", "input_magnitude", "ig", "random")}
    methods["gradcam"] = ({"has_lead_axis": np.array(False)}, 0)
    order = in_order(run, methods)
    assert order == ["ig", "lrp", "saliency", "gradcam", "random", "input_magnitude"]
    record = SimpleNamespace(maps=[ViewedMap("AMI", name, None, True, "") for name in order])
    assert "because its values add up" in why_first(run, record)
    assert "has not been checked" in why_first(run, record)
    (tmp_path / "sanity").mkdir()
    ranked = pd.DataFrame({"method": ["gradcam", "lrp", "ig", "input_magnitude", "random"]})
    ranked.to_csv(tmp_path / STANDINGS, index=False)
    run = Run(tmp_path, None)
    order = in_order(run, methods)
    assert order == ["lrp", "ig", "saliency", "gradcam", "input_magnitude", "random"]
    record = SimpleNamespace(maps=[ViewedMap("AMI", name, None, True, "") for name in order])
    assert "LRP, which the checks of this network's methods place before" in why_first(run, record)
    assert why_first(run, SimpleNamespace(maps=record.maps[:1])) == ""


@pytest.mark.parametrize(
    ("mapped", "said"), [(["saliency"], True), (["saliency", "lrp"], False), ([], True)]
)
def test_groups_that_are_not_mapped_by_what_the_checks_place_first_say_so(tmp_path, mapped, said):
    (tmp_path / "sanity").mkdir()
    ranked = pd.DataFrame({"method": ["input_magnitude", "lrp", "saliency"]})
    ranked.to_csv(tmp_path / STANDINGS, index=False)
    words = " ".join(map(str, _placed_before(Run(tmp_path, None), [*mapped, "random"])))
    assert ("place LRP first" in words) == said
    assert ("--methods lrp" in words) == said


def test_groups_of_a_network_whose_methods_were_not_checked_say_nothing(tmp_path):
    assert not list(_placed_before(Run(tmp_path, None), ["saliency"]))


@pytest.mark.parametrize(("simulated", "said"), [(True, True), (False, False)])
def test_a_network_that_knows_simulated_ecgs_alone_says_so_above_every_page(simulated, said):
    info = SimpleNamespace(modelname="lenet", run_folder_name="lenet_own")
    run = SimpleNamespace(info=info, only_simulated=lambda: simulated)
    assert ("simulated ECGs alone" in subtitle(run)) is said
    assert subtitle(run).endswith("not a medical device.")
    run.json = lambda name: {}
    run.info.task = "own"
    printed = said_first(run, prediction_table(["AMI"], np.array([1.0]), [0.5]))
    assert "the network says AMI" in printed
    assert ("\nnote: its run knows simulated ECGs alone" in printed) is said


def test_one_real_data_set_is_enough_not_to_be_called_simulated_alone(tmp_path, monkeypatch):
    files = [tmp_path / name / "preprocessing.json" for name in ("made", "real")]
    for path in files:
        path.parent.mkdir()
    (tmp_path / "made" / "planted_causes.csv").touch()
    run = SimpleNamespace(folder=tmp_path)
    for read, alone in (([], False), (files[:1], True), (files, False)):
        monkeypatch.setattr("reporting.run.data_files", lambda folder, read=read: read)
        assert Run.only_simulated(run) is alone


def test_a_cohort_that_is_no_more_there_was_simulated_all_the_same(tmp_path, monkeypatch):
    gone = tmp_path / "cohort" / "preprocessing.json"
    monkeypatch.setattr("reporting.run.data_files", lambda folder: [gone])
    run = SimpleNamespace(folder=tmp_path)
    assert Run.only_simulated(run) is False
    used = {"folder": "somewhere/cohort", "simulated": True}
    stage = {"stage": "train", "status": "finished", "data_set": {"used": used}}
    (tmp_path / "train.json").write_text(json.dumps(stage))
    assert Run.only_simulated(run) is True
    said = Run.data_in_words(SimpleNamespace(folder=tmp_path, folders=lambda pattern: []))
    assert said == "a simulated cohort (folder cohort)"


def test_classes_that_training_had_no_record_of_stand_apart(tmp_path):
    counts = {"train": 20, "positives": {"AMI": 9, "RVH": 0, "NORM": 11}}
    (tmp_path / "train.json").write_text(json.dumps({"counts": counts}))
    unseen = Run(tmp_path, None).unseen()
    assert unseen == ["RVH"]
    logits = np.array([-1.0, 5.0, 1.0])
    table = prediction_table(["AMI", "RVH", "NORM"], logits, [0.5, np.nan, np.nan], unseen)
    assert table["class"].tolist() == ["NORM", "AMI", "RVH"]
    assert table["positive"].tolist() == ["no threshold", "no", UNSEEN]
    assert "RVH" not in prediction_in_words(table)
    table.to_csv(tmp_path / "prediction.csv", index=False)
    run = SimpleNamespace(info=SimpleNamespace(folds={"validation": [9]}))
    shown = str(all_classes(run, tmp_path))
    assert "validation records (fold 9)" in shown
    seen, strange = shown.split("The network saw no ECG of 1 class in training")
    assert "RVH" not in seen
    assert "RVH" in strange
    elsewhere = tmp_path / "elsewhere"
    assert Run(elsewhere, None).unseen() == []
    # results written elsewhere than beside the checkpoint, which knows of its training and test
    assert Run(elsewhere, None, home=tmp_path).unseen() == ["RVH"]
    (tmp_path / "link.json").symlink_to(tmp_path / "train.json")
    assert Run(elsewhere, None, home=tmp_path).json("link.json") == {}


def run_with(macro):
    metrics = {"windows": {"macro_auc": macro}} if macro else {}
    info = SimpleNamespace(task="subdiagnostic")
    return SimpleNamespace(json=lambda _: metrics, info=info)


def test_an_answer_of_a_network_that_does_not_predict_is_doubted_first():
    better = {"value": 0.8, "low": 0.7, "high": 0.9}
    assert doubt_in_words(run_with(better)) == ""
    guessing = doubt_in_words(run_with({"value": 0.5, "low": 0.4, "high": 0.6}))
    assert guessing.startswith("This network is not shown to predict better than chance")
    assert "0.50 [0.40, 0.60]" in guessing
    assert "has not been measured" in doubt_in_words(run_with(None))
