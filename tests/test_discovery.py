"""Discovery as a command: planted subtypes, the outputs other stages read, and words for what
cannot be done.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import discovery
from attribution.methods import attribute_records
from common.files import UserError
from common.labels import LEADS
from conftest import run_script
from networks.checkpoints import ModelInfo
from networks.models import get_model
from records.dataset import Dataset
from records.quality import count_flags
from subgroups.clusters import Structure
from subgroups.cohort import Cohort
from subgroups.findings import Design, Found, Traits, choose_folds, cluster_names, judge_clusters
from subgroups.representations import REPRESENTATIONS, Material
from subgroups.study import groups


def fake_cohort(n=40, names=("AMI", "IMI")):
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(n, 1000, 12)).astype(np.float32)
    table = pd.DataFrame(
        {
            "patient_id": np.arange(n),
            "strat_fold": np.arange(n) % 10 + 1,
            "r_peaks": "100 200 300 500",
            "sex": np.arange(n) % 2,
            "age": 60,
        },
        index=pd.Index(np.arange(n) + 1, name="ecg_id"),
    )
    data = Dataset(table, signals, 100, Path("."))
    return Cohort(
        data,
        list(names),
        "subdiagnostic",
        np.array(names)[np.arange(n) // 2 % 2],
        np.zeros((n, 71)),
    )


@pytest.fixture
def material():
    torch.manual_seed(0)
    model = get_model("lenet", 5).eval()
    model.info = ModelInfo(
        "lenet",
        "superdiagnostic",
        ("CD", "HYP", "MI", "NORM", "STTC"),
        LEADS,
        100,
        2.5,
        {"train": [1]},
        0,
    )
    return Material(fake_cohort(6).data, model, 2)


def test_representations_are_what_they_say(material):
    found = {name: make(material) for name, make in REPRESENTATIONS.items()}
    assert {name: values.shape[1] for name, values in found.items()} == {
        "signal": 960,
        "features": 128,
        "attribution": 960,
        "attribution_absolute": 960,
        "segments": 288,
    }
    peaks = [100, 200, 300, 500]
    beats = np.stack([material.data.signals[1, peak - 30 : peak + 50] for peak in peaks])
    assert found["signal"][1] == pytest.approx(np.median(beats, axis=0).ravel())
    maps = attribute_records(material.model, material.data.signals, 2, "saliency", window="windows")
    middle = find_middle(material, maps, peaks)
    assert found["attribution"][1] == pytest.approx(middle / np.linalg.norm(middle), abs=1e-5)
    assert np.linalg.norm(found["attribution_absolute"], axis=1) == pytest.approx(1)
    assert np.isfinite(found["segments"]).all()


def find_middle(material, maps, peaks):
    """Mean beat of record 1's map, each sample divided by the share of the seven windows that see
    it.
    """
    coverage = np.zeros(1000)
    for start in range(0, 751, 125):
        coverage[start : start + 223] += 1 / 7  # LeNet reads 223 of 250 samples
    scaled = maps[1] / coverage[:, None]
    return np.mean([scaled[peak - 30 : peak + 50] for peak in peaks], axis=0).ravel()


def test_no_hook_is_left_and_features_are_the_heads_input(material):
    features = REPRESENTATIONS["features"](material)
    assert not material.model.head._forward_pre_hooks
    with torch.no_grad():
        logits = material.model.head(torch.tensor(features))
        x = torch.from_numpy(material.data.signals.transpose(0, 2, 1))
        expected = torch.stack(
            [material.model(x[..., start : start + 250]) for start in range(0, 751, 125)]
        ).mean(dim=0)
    torch.testing.assert_close(logits.float(), expected, atol=1e-4, rtol=1e-4)


def test_few_records_are_cross_fitted_and_many_are_not():
    cohort = fake_cohort(400)
    apart = choose_folds(cohort, [9, 10], list(range(1, 9)), min_records=60)
    assert not apart.crossed
    assert not (apart.fitted & apart.reported).any()
    assert apart.reported.sum() == 80
    crossed = choose_folds(cohort, [9, 10], list(range(1, 9)), min_records=100)
    assert crossed.crossed
    assert "cross-fitted" in crossed.words
    with pytest.raises(UserError, match="too few"):
        choose_folds(fake_cohort(9), [9, 10], [1], 100)


def test_records_that_are_reported_are_none_that_clusters_are_fitted_on():
    cohort = fake_cohort(400)
    some = choose_folds(cohort, [7, 8], list(range(1, 9)), min_records=60)
    assert f"fitted on {some.fitted.sum()} records" in some.words
    assert choose_folds(cohort, list(range(1, 9)), list(range(1, 9)), min_records=60).crossed


def test_what_a_network_of_anothers_making_has_seen_is_not_claimed():
    assert "has seen folds 1 2)" in choose_folds(fake_cohort(60), [10], [1, 2], 100).words
    words = choose_folds(fake_cohort(60), [10], [], 100).words
    assert "which of them the network has seen is not known" in words


def judged(clusters, predicted):
    cohort = fake_cohort(len(clusters))
    design = Design(*(np.ones(len(clusters), dtype=bool),) * 2, True, "")
    found = {"signal": Found(2, clusters, Structure(2, 0.01, {2: 1.0}, {2: 0.01}), "")}
    args = argparse.Namespace(n_resamples=99, seed=0, variance=0.8, clusterer="kmeans")
    features = {"signal": np.random.default_rng(0).normal(size=(len(clusters), 5))}
    rows = judge_clusters(found, features, cohort, design, Traits(predicted, [], None), args)
    return {row["metric"]: row for row in rows}


def test_clusters_that_follow_the_predicted_class_are_named_as_such():
    labels = fake_cohort(80).labels
    rng = np.random.default_rng(1)
    predicted = rng.integers(0, 2, 80)
    confounded = judged(predicted.copy(), np.array(["MI", "NORM"])[predicted])
    assert confounded["ami with predicted class"]["note"] == "clusters follow the predicted class"
    assert confounded["ami with predicted class"]["p"] == pytest.approx(0.01)
    genuine = judged((labels == "IMI").astype(int), np.array(["MI", "NORM"])[predicted])
    assert genuine["ami with predicted class"]["note"] == ""
    assert genuine["ari"]["value"] == 1
    assert genuine["ari among records predicted alike"]["value"] == 1


def test_records_of_one_label_that_are_predicted_alike_have_nothing_to_agree_with():
    labels = fake_cohort(80).labels
    rows = judged((labels == "IMI").astype(int), np.where(labels == "IMI", "MI", "NORM"))
    assert "ari among records predicted alike" not in rows  # clusters as the label: it was 1


def test_discovery_runs_resumes_and_writes_what_others_read(cohort, trained, monkeypatch):
    words = [
        "--data_path",
        cohort,
        "--output_path",
        trained.parent,
        "--model_path",
        trained,
        "--n_halvings",
        19,
        "--n_resamples",
        50,
        "--embedding",
        "pca",
    ]
    done = run_script("discovery.py", *words)
    folder = trained / "discovery"
    table, clusters = pd.read_csv(folder / "table.csv"), pd.read_csv(folder / "clusters.csv")
    assert {"accuracy", "ari", "ami", "majority", "subgroups", "replication"} <= set(
        table["metric"]
    )
    assert set(clusters["representation"]) == set(REPRESENTATIONS)
    assert len(clusters) == len(REPRESENTATIONS) * clusters["ecg_id"].nunique()
    assert (
        table.loc[table["metric"].isin(["accuracy", "ari"]), ["low", "high", "chance", "p", "n"]]
        .notna()
        .all()
        .all()
    )
    assert f"results are in {folder}; open first:" in done.stdout
    for name in ("embedding", "agreement", "enrichment"):
        assert (folder / f"{name}.png").stat().st_size > 10_000
    quality = pd.read_csv(folder / "quality.csv").set_index("group")
    assert (
        quality.loc["all", "n_records"]
        == clusters["ecg_id"].nunique()
        == quality.loc[["AMI", "IMI"], "n_records"].sum()
    )
    assert " explained records with a quality flag" in done.stdout
    before = (folder / "table.csv").read_bytes()
    assert "is finished" in run_script("discovery.py", *words).stdout
    monkeypatch.setattr(
        "subgroups.figures.draw_all", lambda *_: []
    )  # most of the time, and no number
    parser = discovery.get_args_parser()
    discovery.main(parser.parse_args([*map(str, words), "--overwrite"]))
    assert (folder / "table.csv").read_bytes() == before
    assert not list(folder.glob("*.png"))  # of the run before, which may have had others


def test_flagged_records_are_counted_by_label_and_cluster():
    cohort = fake_cohort()  # AMI AMI IMI IMI AMI AMI ...
    noisy = cohort.data.ecg_id <= 10  # 6 AMI, 4 IMI
    cohort = replace(
        cohort, data=replace(cohort.data, table=cohort.data.table.assign(quality_noise=noisy))
    )
    reported = np.ones(len(noisy), dtype=bool)
    found = {"signal": SimpleNamespace(clusters=noisy.astype(int), k=2)}
    one = SimpleNamespace(cohort=cohort, found=found, design=SimpleNamespace(reported=reported))
    counts = count_flags(cohort.data.table, groups(one))
    assert counts.set_index("group").loc[["all", "AMI", "IMI"], "noise"].tolist() == [10, 6, 4]
    clusters = counts.set_index("group").filter(like="signal, cluster", axis=0)
    assert sorted(map(tuple, clusters[["n_records", "n_flagged"]].to_numpy(dtype=int))) == [
        (10, 10),
        (30, 0),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cohort", "XYZ"], "unknown label XYZ"),
        (["--target", "XYZ"], "the model does not know 'XYZ'"),
        (["--representations", "soul"], "unknown representation soul: accepted are signal"),
        (["--cohort", "SR"], "name one with --target"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_2(cohort, trained, words, message):
    done = run_script(
        "discovery.py",
        "--data_path",
        cohort,
        "--output_path",
        trained.parent,
        "--model_path",
        trained,
        *words,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_cluster_without_a_reported_record_has_a_name_too():
    cohort = fake_cohort()
    result = Found(2, np.zeros(40, dtype=int), None, "")
    everyone = np.ones(40, dtype=bool)
    assert cluster_names(result, cohort, Design(everyone, everyone, True, "")).keys() == {0, 1}
