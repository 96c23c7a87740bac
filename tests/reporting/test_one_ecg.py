"""One ECG on one page: measurements against an ECG that was drawn, sentences, refusals."""

import numpy as np
import pandas as pd
import pytest

from known_ecg import known_ecg, regular
from reporting.one_ecg import measurements, prediction_in_words


@pytest.mark.parametrize("rate", [100, 500])
def test_intervals_are_those_that_were_drawn(rate):
    signal = known_ecg(regular(75, 10.0, 500), rate, 10.0)
    found = measurements(signal, rate).set_index("what")
    assert found.loc["heart rate", "value"] == "75 per minute"
    assert found["note"].isin(["within", "below", "above"]).all()
    assert found.loc["heart rate", "note"] == "within"


def test_a_fast_heart_is_above_and_silence_is_not_measurable():
    fast = measurements(known_ecg(regular(130, 10.0, 300), 100, 10.0), 100).set_index("what")
    assert fast.loc["heart rate", "note"] == "above"
    silent = measurements(np.zeros((1000, 12)), 100)
    assert (silent["value"] == "not measurable").all()
    assert (silent["note"] == "").all()


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
        "the network says: AMI (probability 0.80, threshold 0.50), "
        "NORM (probability 0.30, threshold 0.25)"
    )
    said = prediction_in_words(table.assign(positive="no"), most=2)
    assert said.endswith("the most probable are AMI 0.80, NORM 0.30")
