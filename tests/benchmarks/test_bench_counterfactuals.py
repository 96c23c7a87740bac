"""What is claimed of counterfactuals, on a small LeNet and its cohort."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bench_counterfactuals import search_all, true_positives

from counterfactual.edits import limits_of
from networks.checkpoints import load_model
from networks.inference import load_dataset_for, predict

pytestmark = pytest.mark.benchmark


def test_decisions_are_turned_and_random_edits_do_not(cohort, trained):
    model = load_model(trained, "cpu")
    whole = load_dataset_for(model.info, cohort)
    data = whole.in_folds([9, 10])
    pairs = true_positives(model, data, predict(model, data.signals), 4)
    results = search_all(model, data, limits_of(whole.table), pairs, most=6)
    ratio = np.nanmean([one.get("random", np.nan) for one in results])
    assert np.mean([one["turned"] for one in results]) > 3 * ratio
