"""A record of one's own: what would turn each explained answer, for its page."""

import numpy as np
import pandas as pd
import pytest

from attribution.plan import Target
from counterfactual.own import FILE, answers
from networks.checkpoints import load_model
from networks.inference import load_dataset_for, predict
from reporting.one_ecg import turned_in_words


@pytest.fixture(scope="module")
def asked(cohort, trained):
    """A network, a data set of one record, a target of it, and the table of all."""
    model = load_model(trained, "cpu")
    whole = load_dataset_for(model.info, cohort)
    one = whole.rows([0])
    index = int(predict(model, one.signals)[0].argmax())
    target = Target(model.info.labels[index], index, np.array([0]), np.zeros(1))
    return model, one, target, whole.table


def test_each_target_has_a_sentence_that_its_page_says(asked, tmp_path):
    model, one, target, table = asked
    written = answers(model, one, [target], table, "centre_crop", tmp_path)
    assert written == [tmp_path / FILE]
    [line] = pd.read_csv(tmp_path / FILE).itertuples()
    logit = predict(model, one.signals, "centre_crop")[0, target.index]
    assert line.logit_before == pytest.approx(logit, abs=1e-3)
    assert target.name in line.sentence
    assert turned_in_words(tmp_path).startswith(line.sentence)


def test_silence_has_nothing_to_change(asked, tmp_path):
    model, one, target, table = asked
    silent = one.rows([0])
    silent.signals[:] = 0
    answers(model, silent, [target], table, "centre_crop", tmp_path)
    [line] = pd.read_csv(tmp_path / FILE).itertuples()
    assert not line.turned
    assert "no beat with a wave to change" in line.sentence


def test_a_table_without_measurements_is_said(asked, tmp_path, capsys):
    model, one, target, table = asked
    bare = table[["patient_id"]]
    assert answers(model, one, [target], bare, "centre_crop", tmp_path) == []
    assert "no measurements" in capsys.readouterr().out
    assert not (tmp_path / FILE).exists()
