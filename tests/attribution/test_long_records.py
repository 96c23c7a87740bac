"""Pages of records that last longer than a page is wide."""

import numpy as np

from attribution import figures
from common.ecg_paper import PAPER, Heat, Record


def test_a_record_of_half_a_minute_stays_on_the_paper(monkeypatch):
    signal = np.sin(np.arange(3000) / 7)[:, None] * np.ones(12)
    record = Record(signal, 100, foot=["explained: windows"])
    monkeypatch.setattr(figures, "_arrays", lambda *_: ({}, 0))
    monkeypatch.setattr(figures, "heat_of", lambda *_: Heat(np.abs(signal), False, "saliency"))
    monkeypatch.setattr(figures, "record_of", lambda *_: record)
    figure = figures._single(None, None, 0, "saliency", False, "", "12x1")
    ends = [line.get_xdata()[-1] for line in figure.axes[0].lines]
    assert 270 < max(ends) <= PAPER[2]  # mm: as long as fits, and no longer
    assert "0 to 10.4 s of 30 s" in [text.get_text() for text in figure.axes[0].texts]
