"""Which records are explained, and for which output."""

import numpy as np
import pytest

from common.files import UserError
from networks.checkpoints import load_model
from records.dataset import load_dataset
from sanity.subject import choose_records, choose_targets, make_subject


def test_the_target_is_the_true_label_of_highest_logit():
    labels = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    logits = np.array([[0.1, 9.0, 0.2], [1, 2, 3], [5, -4, 5]])
    assert choose_targets(labels, logits).tolist() == [2, -1, 1]


def test_labels_that_are_not_asked_for_are_no_target():
    labels = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    logits = np.array([[0.1, 9.0, 0.2], [1, 2, 3], [5, -4, 5]])
    assert choose_targets(labels, logits, [0, 1]).tolist() == [0, -1, 1]
    assert choose_targets(labels, logits, [0]).tolist() == [0, -1, -1]


def test_targets_take_turns_and_unlabelled_records_are_never_chosen():
    targets = np.array([0] * 20 + [1] * 3 + [2] * 2 + [-1] * 5)
    rows = choose_records(targets, 9, seed=0)
    assert np.bincount(targets[rows]).tolist() == [4, 3, 2]
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, choose_records(targets, 9, seed=0))
    assert len(choose_records(targets, 99, seed=0)) == 25


def test_a_subject_is_cut_to_the_models_crop(cohort, trained):
    model = load_model(trained)
    data = load_dataset(cohort, model.info.task).in_folds([10])
    subject = make_subject("run", model, data, 5)
    assert subject.signals.shape == (5, 250, 12)
    assert subject.segments.shape == (5, 250, 12, 24)
    assert np.abs(subject.segments.sum(axis=-1) - 1).max() < 0.02
    rows = data.positions(subject.ecg_id)
    assert np.array_equal(subject.signals, data.signals[rows, 375:625])
    assert (data.labels[rows, subject.target] == 1).all()
    for row, peaks in zip(rows, subject.r_peaks, strict=True):
        assert set(peaks + 375) <= set(data.r_peaks(row))
        assert ((peaks >= 0) & (peaks < 250)).all()


def test_no_labelled_record_is_an_error(cohort, trained):
    model = load_model(trained)
    data = load_dataset(cohort, model.info.task)
    with pytest.raises(UserError, match="has a label"):
        make_subject("run", model, data.rows(np.flatnonzero(~data.labelled)), 5)
