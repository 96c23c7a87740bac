"""The patients a record resembles: nearest vectors, own patients apart, alarms at their level."""

import numpy as np
import pandas as pd
import pytest
import torch

from attribution import neighbours
from attribution.neighbours import (
    COLUMNS,
    Kept,
    in_words,
    nearest,
    neighbours_table,
    pool_of,
    settle_in,
    watch_of,
)
from attribution.plan import Target
from attribution.unlike import ALARM
from common.files import UserError
from networks.features import features_of
from networks.models import get_model
from records.dataset import load_dataset
from reporting.one_ecg import alike_in_words, patients_alike
from tiny_dataset import write_tiny_dataset


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_nearest_are_those_of_the_same_direction_and_other_patients():
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0], [0, -1.0]])
    patients = np.array([1, 2, 3, 4, 5])
    home = settle_in(vectors, patients)
    centred = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    asked = centred[:1] * 3
    order, distances, mean, p = nearest(home, asked * home.spread + home.mean, [1], k=2)
    cosine = centred @ asked[0] / np.linalg.norm(centred, axis=1) / np.linalg.norm(asked[0])
    expected = np.argsort(-cosine[1:])[:2] + 1
    assert order[0].tolist() == expected.tolist()  # not itself: the same patient
    assert distances[0] == pytest.approx(1 - cosine[expected])
    assert mean[0] == pytest.approx(np.mean(1 - cosine[1:]))  # four others, fewer than K
    assert 0 < p[0] <= 1
    own, *_ = nearest(home, vectors[:1], None, k=1)
    assert own[0, 0] == 0


def test_alarms_are_at_their_level_on_like_records_and_sound_on_others():
    def draw(n, seed, centres):
        chosen = rng(seed).integers(0, len(centres), n)
        return centres[chosen] + 0.5 * rng(seed + 1).normal(size=(n, 30))

    centres = 2 * rng(5).normal(size=(6, 30))
    home = settle_in(draw(1500, 0, centres), np.arange(1500))
    like = nearest(home, draw(1500, 10, centres), None)[3]
    other = nearest(home, draw(200, 20, 2 * rng(6).normal(size=(6, 30))), None)[3]
    assert (like < 0.1).mean() == pytest.approx(0.1, abs=0.03)
    assert (like < 0.01).mean() < 0.02
    assert (other < 0.01).mean() > 0.95


def test_records_of_one_patient_do_not_vouch_for_each_other():
    """Pairs of equal records: typical distances are those to other patients, not 0."""
    base = rng(1).normal(size=(40, 8))
    home = settle_in(np.repeat(base, 2, axis=0), np.repeat(np.arange(40), 2))
    assert home.typical.min() > 0.01
    alone = settle_in(base[:3], np.zeros(3))
    assert np.isnan(alone.typical).all()


def test_unknown_entries_count_as_the_mean():
    vectors = rng(2).normal(size=(30, 5))
    vectors[0, 2] = np.nan
    home = settle_in(vectors, np.arange(30))
    assert home.mean[2] == pytest.approx(np.nanmean(vectors[:, 2]))
    assert home.units[0, 2] == 0
    assert np.isfinite(home.typical).all()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    data = load_dataset(write_tiny_dataset(tmp_path_factory.mktemp("tiny")), "superdiagnostic")
    torch.manual_seed(0)
    model = get_model("lenet", 5).eval()
    from small_subjects import make_subject

    info = make_subject(n=1).model.info
    info.crop, info.labels = 250, tuple("CHMNS")
    model.info = info
    return data, model


def test_the_table_is_kept_and_holds_every_record(made, tmp_path, monkeypatch):
    data, model = made
    pool = pool_of(data, range(1, 9), most=20)
    assert len(pool) <= 20
    assert np.isin(pool.fold, range(1, 9)).all()
    kept = Kept(model, pool, tmp_path, "network and data", "centre_crop")
    asked = [
        Target("C", 0, np.array([0, 3]), np.zeros(2)),
        Target("N", 3, np.array([3]), np.ones(1)),
    ]
    alarm = watch_of(kept, pool_of(data, [9], most=30))
    table = neighbours_table(kept, data, asked, alarm, k=2)
    assert tuple(table) == COLUMNS
    assert set(table["alike_by"]) == {"features", "cells C", "cells N"}
    assert table.groupby(["ecg_id", "alike_by"]).size().eq(2).all()
    mine = dict(zip(data.ecg_id, data.patient_id, strict=True))
    assert all(mine[one] != mine[other] for one, other in table[["ecg_id", "neighbour"]].to_numpy())
    assert table["p"].between(0, 1).all()
    assert (table["out_of_distribution"] == (table["unlike_p"] < ALARM)).all()
    assert table.groupby("ecg_id")["because"].nunique().eq(1).all()
    silent = neighbours_table(kept, data, asked, watch_of(kept, None), k=2)
    assert silent["unlike_p"].isna().all()
    assert not silent["out_of_distribution"].any()

    def refuse(*_):
        raise AssertionError("computed again")

    before = kept.vectors(None)
    monkeypatch.setattr(neighbours, "vectors_of", refuse)
    assert np.array_equal(kept.vectors(None), before)
    with pytest.raises(AssertionError, match="again"):
        Kept(model, pool, tmp_path, "another network", "centre_crop").vectors(None)
    known = table.assign(unlike_p=[0.01, *[0.5] * (len(table) - 1)])
    assert "of 2 explained records are unlike the training records" in in_words(known)
    assert "the 2 explained records are unlike the training records is not known" in in_words(table)
    with pytest.raises(UserError, match="no two patients in the training folds"):
        pool_of(data.in_folds([10]), range(1, 9))


def test_a_training_record_given_as_a_file_is_not_its_own_neighbour(made, tmp_path):
    data, model = made
    pool = pool_of(data, range(1, 9), most=20)
    kept = Kept(model, pool, tmp_path, "network and data", "centre_crop")
    again, other = pool.ecg_id[2], data.ecg_id[np.flatnonzero(data.fold == 10)[0]]
    rows = np.flatnonzero(np.isin(data.ecg_id, [again, other]))
    asked = [Target("C", 0, rows, np.zeros(2))]
    table = neighbours_table(kept, data, asked, watch_of(kept, None), own=True)
    mine = table[table["ecg_id"] == again]
    assert (mine["itself"] == again).all()
    patient = dict(zip(pool.ecg_id, pool.patient_id, strict=True))
    assert patient[again] not in [patient[one] for one in mine["neighbour"]]
    assert table.loc[table["ecg_id"] == other, "itself"].isna().all()
    assert f"training record {again}: the network has learnt from it" in patients_alike(mine)
    assert "learnt from it" not in patients_alike(table[table["ecg_id"] == other])


def test_features_are_the_input_of_the_last_layer(made):
    data, model = made
    found = features_of(model, data.signals[:3], "centre_crop")
    start = (data.signals.shape[1] - 250) // 2
    x = torch.from_numpy(data.signals[:3, start : start + 250].transpose(0, 2, 1).copy())
    with torch.no_grad():
        wanted = torch.from_numpy(found) @ model.head.weight.T + model.head.bias
        assert torch.allclose(model(x), wanted, atol=1e-4)


def test_sentences_count_labels_and_say_what_is_strange():
    row = {
        "ecg_id": 1,
        "alike_by": "cells AMI",
        "rank": 1,
        "neighbour": 7,
        "labels": "anterior MI; IMI",
        "distance": 0.2,
        "mean_distance": 0.4,
        "typical_distance": 0.1,
        "p": 0.002,
        "unlike_p": 0.004,
        "out_of_distribution": True,
        "because": "measurements (irregular beats)",
    }
    table = pd.DataFrame([row, {**row, "labels": np.nan}, {**row, "labels": "anterior MI"}])
    said = alike_in_words(table)
    assert "By what the map marks for AMI, its 3 nearest" in said
    assert "labelled anterior MI (2), IMI (1)" in said
    assert "farther from them than 100 %" in said
    warned = str(patients_alike(table))
    assert "Out of distribution: only 0.4 %" in warned
    assert "measurements (irregular beats)" in warned
    calm = str(patients_alike(table.assign(out_of_distribution=False, unlike_p=0.5)))
    assert "Nothing says that it is unlike" in calm
    assert "not known" in str(patients_alike(table.assign(unlike_p=np.nan)))
    assert "Patients" not in patients_alike(table)
