"""Fiducials, measurements and segmentations of simulated hearts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.files import UserError
from common.labels import LEADS
from ecg.segments import SEGMENTS
from simulation.cohort import make_hearts, make_plan, severity_column
from simulation.heart import WAVES
from simulation.rhythm import make_rhythm, render_clean
from simulation.truth import (
    FIDUCIALS,
    beat_fiducials,
    measure_truth,
    planted_cells,
    segmentation,
)


@pytest.fixture(scope="module")
def plan():
    plan = make_plan(60, 4)
    return plan.assign(
        **{
            column: 0.0
            for column in plan
            if column.startswith(("severity_", "borderline_", "decoy_"))
        }
    )


def drawn(plan, **severities):
    """Hearts, truths, rhythm and fiducials of the first record, with the given severities."""
    hearts = make_hearts(
        plan.assign(**{severity_column(name): value for name, value in severities.items()})
    )
    truths = measure_truth(hearts.normal), measure_truth(hearts.ectopic)
    rhythm = make_rhythm(hearts, 0, 4, 1)
    return hearts, truths, rhythm, beat_fiducials(truths, 0, rhythm)


def test_fiducials_come_in_order(plan):
    marks = measure_truth(make_hearts(plan).normal).fiducials
    assert (np.diff(marks, axis=1) > 0).all()
    assert np.abs(marks[:, FIDUCIALS.index("R_peak")]).max() <= 25, (
        "time is counted from the R-peak"
    )


def test_amplitudes_are_those_of_the_noise_free_signal(plan):
    hearts, truths, rhythm, marks = drawn(plan)
    signal = render_clean(hearts, 0, rhythm, 4, 1, 500)[:, LEADS.index("II")]
    for beat, gain in zip(marks[2:6], rhythm.gain[2:6], strict=True):
        on, off = (int(beat[FIDUCIALS.index(name)] / 2) for name in ("QRS_on", "QRS_off"))
        read = signal[on : off + 1].max() - signal[on]
        assert read == pytest.approx(gain[1] * truths[0].measurements["R_Amp_II"].iloc[0], abs=0.02)


def test_what_is_planted_is_what_is_measured(plan):
    plain = measure_truth(make_hearts(plan).normal).measurements
    for name, column, least in (
        ("1AVB", "PR_Int_Global", 20),
        ("CLBBB", "QRS_Dur_Global", 25),
        ("LVH", "R_Amp_V5", 0.3),
    ):
        table = measure_truth(
            make_hearts(plan.assign(**{severity_column(name): 1.0})).normal
        ).measurements
        assert (table[column] - plain[column] > least).all(), name


def test_fibrillation_leaves_p_blank(plan):
    _, truths, _, marks = drawn(plan, AFIB=1.0)
    p = [FIDUCIALS.index(name) for name in ("P_on", "P_peak", "P_off")]
    assert np.isnan(marks[:, p]).all()
    assert truths[0].measurements[["P_Amp_II", "PR_Int_Global", "P_Dur_Global"]].isna().all().all()


def test_segmentation_shares_out_255_and_puts_points_where_the_fiducials_are(plan):
    _, truths, rhythm, marks = drawn(plan)
    shares = segmentation(truths, 0, rhythm, marks)
    assert shares.shape == (1000, 12, 24)
    assert shares.dtype == np.uint8
    assert (shares.sum(axis=2, dtype=int) == 255).all()
    for name, fiducial in (("P-Peak", "P_peak"), ("QRS-Onset", "QRS_on"), ("T-Offset", "T_off")):
        track = shares[:, 0, SEGMENTS.index(name)] / 255
        for beat in marks[:, FIDUCIALS.index(fiducial)]:
            if 100 < beat < 9900:
                sample = round(beat / 10)
                near = np.arange(sample - 3, sample + 4)
                expected = np.maximum(1 - np.abs(near * 10 - beat) / 20, 0)
                assert np.abs(track[near] - expected).max() < 0.35, "points that touch share"
                assert abs((track[near] * near * 10).sum() / track[near].sum() - beat) < 8


def test_stretches_follow_the_course_of_a_beat(plan):
    _, truths, rhythm, marks = drawn(plan)
    shares = segmentation(truths, 0, rhythm, marks)
    lead = LEADS.index("V5")
    beat = marks[(marks[:, 0] > 200) & (marks[:, -1] < 9500)][0]
    middle = {"(p": (0, 1), "p)": (1, 2), "pq": (2, 3), "jt": (5, 6), "(t": (6, 7), "t)": (7, 8)}
    for name, (start, end) in middle.items():
        sample = round((beat[start] + beat[end]) / 20)
        stretch = [SEGMENTS.index(other) for other in SEGMENTS if "-" not in other]
        assert SEGMENTS[stretch[shares[sample, lead, stretch].argmax()]] == name


def test_a_qs_complex_has_no_r_and_no_s(plan):
    hearts = make_hearts(plan.head(1))
    amplitude = hearts.normal.amplitude.copy()
    qrs = [k for k, wave in enumerate(WAVES) if wave.startswith("QRS")]
    amplitude[:, :] = 0
    amplitude[:, qrs, 2] = -0.5 * np.exp(
        -0.5 * ((np.arange(8) - 3.5) / 1.5) ** 2
    )  # V1 is one downward wave
    amplitude[:, qrs, 0] = 0.5 * np.exp(-0.5 * ((np.arange(8) - 3.5) / 1.5) ** 2)
    truth = measure_truth(replace(hearts.normal, amplitude=amplitude))
    v1, lead_i = LEADS.index("V1"), LEADS.index("I")
    assert np.isfinite(truth.peaks[0, v1]).tolist() == [True, False, False]
    assert np.isfinite(truth.peaks[0, lead_i]).tolist() == [False, True, False]
    assert truth.measurements["R_Amp_V1"].iloc[0] == 0
    assert truth.measurements["Q_Amp_V1"].iloc[0] < -0.4
    rhythm = make_rhythm(hearts, 0, 4, 1)
    shares = segmentation((truth, truth), 0, rhythm, beat_fiducials((truth, truth), 0, rhythm))
    gone = [SEGMENTS.index(name) for name in ("R-Peak", "rs", "S-Peak", "qr")]
    assert shares[:, v1, gone].sum() == 0
    assert shares[:, lead_i, [SEGMENTS.index("Q-Peak"), SEGMENTS.index("(q")]].sum() == 0


def test_ectopic_beats_have_no_p_and_a_broad_qrs(plan):
    _, _, rhythm, marks = drawn(plan, PVC=1.0)
    early = marks[rhythm.ectopic]
    assert len(early) >= 1
    assert np.isnan(early[:, :3]).all()
    assert (early[:, 5] - early[:, 3] > 120).all()


def test_another_table_than_the_truth_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"planted_causes\.csv lacks the column lead, segment"):
        planted_cells(pd.DataFrame({"label": ["AMI"], "effect_abs": [1.0]}))
