"""Tables and stored CAVs of TCAV."""

import numpy as np
import pandas as pd
import pytest

from common.files import UserError
from common.labels import associated, in_order, superclass
from tcav.analysis import Outcome, Plan, mean_accuracy, run_concept
from tcav.tables import apply_cavs, read_cavs, runs_table, scores_table, write_cavs
from toy_networks import make_model, toy_concept, toy_layer


def test_labels_are_ordered_by_superclass():
    assert in_order(["AMI", "NORM", "LVH", "STTC", "CLBBB", "IMI"], "subdiagnostic") == [
        "NORM",
        "LVH",
        "CLBBB",
        "AMI",
        "IMI",
        "STTC",
    ]
    assert in_order(["STTC", "MI", "HYP", "NORM", "CD"], "superdiagnostic") == [
        "NORM",
        "HYP",
        "CD",
        "MI",
        "STTC",
    ]
    assert superclass("ASMI", "diagnostic") == "MI"
    assert superclass("AFIB", "rhythm") == ""


def test_a_concepts_pathology_is_found_at_every_level():
    assert associated(["LVH"], "LVH", "subdiagnostic")
    assert associated(["LVH"], "HYP", "superdiagnostic")
    assert associated(["AMI", "IMI"], "ASMI", "diagnostic")
    assert not associated(["LVH"], "MI", "superdiagnostic")
    assert not associated([], "LVH", "subdiagnostic")


@pytest.fixture(scope="module")
def outcomes():
    rng = np.random.default_rng(0)
    flags = rng.random(200) < 0.4
    activations = rng.normal(size=(200, 6))
    activations[:, 0] += 3 * flags
    layer = toy_layer(
        activations, [np.eye(6)[0] + 0.1 * rng.normal(size=(5, 6)), -np.eye(6)[0], np.eye(6)[3]]
    )
    plan = Plan(n_runs=6, n_null=199, test_runs=4)
    return [
        run_concept(toy_concept(values, name=name), [layer], plan)
        for name, values in (("used", flags), ("unused", rng.random(200) < 0.4))
    ], plan


def test_scores_table_says_what_was_found(outcomes):
    table = scores_table(
        *outcomes[:1],
        ["LVH", "NORM", "AMI"],
        [5, 1, 1],
        outcomes[1],
        "subdiagnostic",
        {"used": ("LVH",)},
    )
    assert len(table) == 2 * 3
    cells = table.set_index(["concept", "pathology"])
    used = cells.loc["used"]
    assert used["score"].tolist()[:2] == [1, 0]
    assert used["magnitude"]["LVH"] > 0.8 > -0.8 > used["magnitude"]["NORM"]
    assert used["p_corrected"]["LVH"] == pytest.approx(2 / 200)
    assert used["p_floor"].eq(0.01).all()
    assert used["cav_valid"].all()
    assert (used["cav_accuracy"] > used["random_accuracy"]).all()
    assert used["associated"].tolist() == [True, False, False]
    unused = cells.loc["unused"]
    assert (unused["p_corrected"] > 0.05).all()
    assert ((table["score_low"] <= table["score"]) & (table["score"] <= table["score_high"])).all()
    assert ((table["p"] <= table["p_max_t"]) & (table["p_max_t"] <= table["p_corrected"])).all()


def test_runs_table_holds_every_run_and_its_mean_is_the_score(outcomes):
    labels = ["LVH", "NORM", "AMI"]
    runs = runs_table(outcomes[0], labels)
    assert runs.groupby(["concept", "run_kind"]).size().to_dict() == {
        (concept, kind): 6 * 3 for concept in ("used", "unused") for kind in ("concept", "random")
    }
    scores = scores_table(*outcomes[:1], labels, [5, 1, 1], outcomes[1], "subdiagnostic", {})
    mean = runs[runs["run_kind"] == "concept"].groupby(["concept", "pathology"])["magnitude"].mean()
    for row in scores.itertuples():
        assert mean[row.concept, row.pathology] == pytest.approx(row.magnitude, abs=1e-5)
    random = runs[(runs["run_kind"] == "random") & (runs["pathology"] == "LVH")]
    assert random["cav_accuracy"].mean() == pytest.approx(0.5, abs=0.1)


def test_a_vector_that_no_record_could_judge_is_not_called_valid():
    """Matched draws of one pair have no second patient to be held out."""
    rng = np.random.default_rng(0)
    flags, strata = np.arange(60) < 30, np.repeat([0, 1], 30)
    strata[30] = 0  # the one negative that matches
    plan = Plan(n_runs=3, n_null=29, test_runs=2)
    layer = toy_layer(rng.normal(size=(60, 4)), [np.eye(4)[0]])
    outcome = run_concept(toy_concept(flags, strata), [layer], plan)
    table = scores_table([outcome], ["LVH"], [1], plan, "subdiagnostic", {})
    assert table["cav_accuracy"].isna().all()
    assert not table["cav_valid"].any()


def test_draws_of_one_patient_are_left_out_of_the_mean():
    accuracies = np.array([[0.5, np.nan, 1.0], [np.nan] * 3], np.float32)
    assert mean_accuracy(accuracies) == pytest.approx([0.75, np.nan], nan_ok=True)


def test_without_a_null_there_is_no_p():
    layer = toy_layer(np.random.default_rng(0).normal(size=(100, 4)), [np.eye(4)[0]])
    plan = Plan(n_runs=3, n_null=0)
    outcome = run_concept(toy_concept(np.arange(100) < 50), [layer], plan)
    table = scores_table([outcome], ["LVH"], [1], plan, "subdiagnostic", {})
    assert (
        table[["p", "p_max_t", "p_corrected", "p_floor", "random_accuracy"]].isna().all(axis=None)
    )
    assert set(runs_table([outcome], ["LVH"])["run_kind"]) == {"concept"}


def test_stored_cavs_score_other_records_and_know_their_checkpoint(tmp_path):
    model, path = make_model("lenet"), tmp_path / "cavs.npz"
    size = {"hidden": 128, "head": 3}
    rng = np.random.default_rng(0)
    cavs = {name: rng.normal(size=(1, d)).astype(np.float32) for name, d in size.items()}

    outcome = Outcome(toy_concept(np.arange(40) < 20), layers=list(size))
    outcome.cavs = [cavs[name][0] / np.linalg.norm(cavs[name]) for name in size]
    means = {name: np.zeros(d, dtype=np.float32) for name, d in size.items()}
    write_cavs(
        path, [outcome], means, {"checkpoint": "abc", "protocol": "centre_crop", "pool": "time"}
    )
    with pytest.raises(UserError, match="another checkpoint"):
        read_cavs(path, "def")
    stored = read_cavs(path, "abc")
    signals = rng.normal(size=(4, 250, 12)).astype(np.float32)
    projections, table = apply_cavs(
        stored, model, signals, np.ones((4, 3), dtype=bool), ["A", "C"], [0, 2]
    )
    from networks.inference import predict

    np.testing.assert_allclose(
        projections["head"][:, 0],
        predict(model, signals, "centre_crop") @ outcome.cavs[1],
        rtol=1e-4,
    )
    head = table[table["layer"] == "head"].set_index("pathology")
    np.testing.assert_allclose(head["magnitude_plain"], outcome.cavs[1][[0, 2]], atol=1e-5)
    np.testing.assert_allclose(head["score"], outcome.cavs[1][[0, 2]] > 0)
    assert head["n_class"].tolist() == [4, 4]
    # one layer at a time; the wider one needs 2 x (4 records + 12 of classes) x 128 x 4 bytes
    options = (np.ones((4, 3), dtype=bool), ["A", "C"], [0, 2])
    piecewise, same = apply_cavs(stored, model, signals, *options, max_memory=2e-5)
    pd.testing.assert_frame_equal(same, table)
    for layer, values in projections.items():
        np.testing.assert_array_equal(piecewise[layer], values)
    with pytest.raises(UserError, match="layer hidden alone needs"):
        apply_cavs(stored, model, signals, *options, max_memory=1e-5)
    np.savez(tmp_path / "no.npz", a=1)
    with pytest.raises(UserError, match="no CAVs"):
        read_cavs(tmp_path / "no.npz", "abc")


def test_tables_are_plain(outcomes):
    table = scores_table(
        *outcomes[:1], ["LVH", "NORM", "AMI"], [5, 1, 1], outcomes[1], "subdiagnostic", {}
    )
    assert not table.isna().any(axis=None)
    assert isinstance(table, pd.DataFrame)
