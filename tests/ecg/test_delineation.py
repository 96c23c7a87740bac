import numpy as np
import pytest
import wfdb

import ecg
from common.files import UserError
from common.labels import LEADS
from ecg.delineation import COLUMNS, write_annotations
from known_ecg import WAVES, known_ecg, regular


@pytest.fixture(scope="module")
def marks():
    return ecg.delineate(known_ecg(regular(60), 500, noise=0.005), 500)


def test_one_row_per_lead_beat_and_wave(marks):
    assert tuple(marks.columns) == COLUMNS
    assert not marks.duplicated(["lead", "beat", "wave"]).any()
    assert len(marks) == len(LEADS) * 3 * (marks["beat"].max() + 1)
    assert marks["confidence"].between(0, 1).all()


def test_marks_lie_where_the_waves_are(marks):
    r_peaks = np.array(regular(60)) / 1000
    seen = marks.dropna()
    assert len(seen) > 0.9 * len(marks)
    for wave in "PT":
        delay, width, _ = WAVES[wave]
        delay, width = delay / 1000, width / 1000
        of_wave = seen[seen["wave"] == wave]
        place = of_wave["peak"].to_numpy() - r_peaks[of_wave["beat"]]
        assert np.median(place) == pytest.approx(delay, abs=0.012)
        onset = (of_wave["onset"].to_numpy() - r_peaks[of_wave["beat"]]).mean()
        offset = (of_wave["offset"].to_numpy() - r_peaks[of_wave["beat"]]).mean()
        reach = width * np.sqrt(-2 * np.log(0.1))
        assert onset == pytest.approx(delay - reach, abs=0.025)
        assert offset == pytest.approx(delay + reach, abs=0.025)


def test_waves_of_a_lead_do_not_overlap(marks):
    for _, lead in marks.dropna().groupby("lead"):
        times = lead.sort_values("onset")[["onset", "peak", "offset"]].to_numpy()
        assert (np.diff(times, axis=1) >= 0).all()
        assert (times[1:, 0] > times[:-1, 2]).all()


def test_without_p_its_rows_are_blank():
    found = ecg.delineate(known_ecg(regular(75), without="P", noise=0.005), 100)
    p_waves = found[found["wave"] == "P"]
    assert p_waves[["onset", "peak", "offset"]].isna().all(axis=None)
    assert (p_waves["confidence"] == 0).all()
    assert found.loc[found["wave"] == "QRS", "onset"].notna().any()


def test_noise_lowers_the_confidence(marks):
    noisy = ecg.delineate(known_ecg(regular(60), 500, noise=0.06), 500)
    p_of = [table.dropna().query("wave == 'P'")["confidence"].mean() for table in (marks, noisy)]
    assert p_of[1] < p_of[0] - 0.1


def test_nothing_beats_nothing_is_marked():
    assert len(ecg.delineate(np.zeros((1000, 12)), 100)) == 0


def test_another_shape_is_refused():
    with pytest.raises(UserError, match="12 leads"):
        ecg.delineate(np.zeros((1000, 8)), 100)


def test_annotations_can_be_read_by_wfdb(marks, tmp_path):
    write_annotations(marks, tmp_path, "one", 500)
    read = wfdb.rdann(str(tmp_path / "one"), "ii")
    own = marks[(marks["lead"] == "II")].dropna().sort_values("onset")
    assert "".join(read.symbol[:9]) == "(N)(t)(p)" or "".join(read.symbol[:9]) == "(p)(N)(t)"
    assert len(read.sample) == 3 * len(own)
    expected = np.round(own[["onset", "peak", "offset"]].to_numpy() * 500).ravel()
    assert np.array_equal(read.sample, expected)


@pytest.mark.parametrize("spike_ms", [-70, -110])
def test_qrs_of_a_paced_beat_begins_after_the_spike(spike_ms):
    """2 ms of 2 mV that decay within some 10 ms, before a wide QRS."""
    times = regular(60)
    signal = known_ecg([(at, "PVC") for at in times], 500, without="P", noise=0.003)
    for at in times:
        sample = round((at + spike_ms) / 2)
        if sample >= 0:
            signal[sample : sample + 12] += (2 * np.exp(-np.arange(12) / 2))[:, None]
    found = ecg.delineate(signal, 500).dropna()
    onset = found[found["wave"] == "QRS"].groupby("beat")["onset"].median().to_numpy()
    r_peaks = np.array(times)[found["beat"].unique()] / 1000
    assert (onset > r_peaks + spike_ms / 1000 + 0.008).all()
    assert not (found["wave"] == "P").any()


def test_a_p_before_a_beat_of_another_kind_is_not_made_up():
    """Ventricular beats without P among sinus beats with one."""
    beats = [(at, "PVC") if i in (3, 7) else (at, "N") for i, at in enumerate(regular(60))]
    signal = known_ecg(beats, 500, noise=0.01)
    marked = ecg.delineate(signal, 500)
    has_p = marked[marked["wave"] == "P"].groupby("beat")["onset"].apply(lambda x: x.notna().any())
    assert not has_p[[3, 7]].any()
    assert has_p[[2, 4, 5, 6]].all()


def test_two_leads_are_enough():
    """Leads I and II alone, in any order, give the marks that they have among twelve."""
    whole = known_ecg(regular(60), 250, noise=0.005)
    marks = ecg.delineate(whole[:, [1, 0]], 250, leads=("II", "I"))
    assert set(marks["lead"]) == {"I", "II"}
    among = ecg.delineate(whole, 250)
    among = among[among["lead"].isin(["I", "II"])].reset_index(drop=True)
    for wave, tolerance in (("P", 0.02), ("QRS", 0.012), ("T", 0.03)):
        rows = (marks["wave"] == wave) & marks["onset"].notna() & among["onset"].notna()
        assert rows.sum() > 0.9 * (marks["wave"] == wave).sum()
        moved = (marks[rows][["onset", "offset"]] - among[rows][["onset", "offset"]]).abs()
        assert moved.to_numpy().max() <= tolerance, wave


@pytest.mark.parametrize("lead", ["II", "aVF", "V5"])
def test_a_single_lead(lead):
    beats = regular(70)
    signal = known_ecg(beats, 128, noise=0.005)[:, [LEADS.index(lead)]]
    marks = ecg.delineate(signal, 128, leads=(lead,))
    for wave in ("P", "QRS", "T"):
        assert marks[marks["wave"] == wave]["onset"].notna().sum() == len(beats), wave


def test_a_flat_lead_has_no_marks():
    signal = known_ecg(regular(70), 500, noise=0.005)
    signal[:, 3], signal[:, 8] = np.nan, 0.4
    marks = ecg.delineate(signal, 500)
    flat = marks["lead"].isin([LEADS[3], LEADS[8]])
    assert marks[flat]["onset"].isna().all()
    assert (marks[flat]["confidence"] == 0).all()
    assert marks[~flat & (marks["wave"] != "P")]["onset"].notna().all()


@pytest.mark.parametrize(
    ("factor", "rate", "leads", "says"),
    [
        (1000, 500, LEADS, "has to be in mV"),
        (1, 500.5, LEADS, "whole number"),
        (1, "500", LEADS, "whole number"),
        (1, float("nan"), LEADS, "whole number"),
        (1, 500, (*LEADS[:11], "X"), "each once"),
        (1, 500, LEADS[:11], "11 leads"),
    ],
)
def test_what_cannot_be_measured_is_said(factor, rate, leads, says):
    with pytest.raises(UserError, match=says):
        ecg.delineate(known_ecg(regular(70), 500) * factor, rate, leads)
