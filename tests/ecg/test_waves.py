import numpy as np
import pandas as pd
import pytest

import ecg
from common.labels import LEADS
from known_ecg import LIMB, WAVES, known_ecg, regular


def true_height(wave, lead):
    """Height in mV that known_ecg gives a wave in a lead."""
    heights = np.array(WAVES[wave][2])
    return np.concatenate([LIMB @ heights[:2], heights[2:]])[LEADS.index(lead)]


@pytest.mark.parametrize("sampling_rate", [100, 500])
def test_amplitudes_are_those_put_in(sampling_rate):
    found = ecg.measure(known_ecg(regular(72), sampling_rate, noise=0.005), sampling_rate)
    for lead in ("I", "II", "aVF", "V5", "V6"):
        assert found[f"P_Amp_{lead}"] == pytest.approx(true_height("P", lead), abs=0.02)
        assert found[f"T_Amp_{lead}"] == pytest.approx(true_height("T", lead), abs=0.02)
        assert found[f"R_Amp_{lead}"] == pytest.approx(
            true_height("R", lead), rel=0.06
        )  # S and Q take a little of R
    assert found["S_Amp_V2"] == pytest.approx(-1.4, rel=0.06)


def test_t_is_signed_and_has_two_parts():
    found = ecg.measure(known_ecg(regular(60)), 100)
    assert found["T_Amp_V1"] == pytest.approx(-0.12, abs=0.02)
    assert found["TN_Amp_V1"] == pytest.approx(found["T_Amp_V1"])
    assert found["TP_Amp_V1"] == pytest.approx(0, abs=0.02)
    assert found["T_Amp_V2"] == pytest.approx(found["TP_Amp_V2"])


def test_amplitudes_grow_with_the_signal():
    signal = known_ecg(regular(66), noise=0.002)
    once, twice = ecg.measure(signal, 100), ecg.measure(2 * signal, 100)
    for column in ("R_Amp_V4", "S_Amp_V2", "T_Amp_II", "P_Amp_II"):
        assert twice[column] == pytest.approx(2 * once[column], rel=0.02)
    assert twice["QRS_Dur_Global"] == pytest.approx(once["QRS_Dur_Global"], abs=2)


def test_constant_offsets_do_not_matter():
    signal = known_ecg(regular(66))
    once, shifted = ecg.measure(signal, 100), ecg.measure(signal + np.linspace(-2, 2, 12), 100)
    numbers = once.drop("r_peaks").index
    assert np.allclose(once[numbers].astype(float), shifted[numbers].astype(float), atol=2e-3)


@pytest.mark.parametrize(
    ("i", "ii", "axis"), [(1.0, 0.5, 0), (0.5, 1.0, 60), (-0.5, 0.5, 120), (0.5, -0.5, -60)]
)
def test_axis(i, ii, axis):
    signal = known_ecg(regular(60), without="PQST")
    limb = signal[:, [1]] / WAVES["R"][2][1] * np.array([i, ii])
    signal[:, :6] = limb @ LIMB.T
    assert ecg.measure(signal, 100)["QRS_Axis_Global"] == pytest.approx(axis, abs=2)


def test_j_and_st_levels():
    signal = known_ecg(regular(60), without="T")
    time = np.arange(1000) * 10.0
    for at in regular(60):
        signal[:, 7] += 0.3 * ((time > at + 45) & (time < at + 350))
    found = ecg.measure(signal, 100)
    assert found["ST_Amp60ms_V2"] == pytest.approx(0.3, abs=0.04)
    assert found["ST_Amp80ms_V2"] == pytest.approx(0.3, abs=0.04)
    assert found["ST_Amp60ms_V6"] == pytest.approx(0.0, abs=0.03)


def test_durations_and_rate():
    found = ecg.measure(known_ecg(regular(75)), 100)
    assert found["RR_Mean_Global"] == pytest.approx(800, abs=3)
    assert found["PR_Int_Global"] == pytest.approx(203 - 46, abs=20)
    assert found["QT_Int_Global"] == pytest.approx(346 + 46, abs=20)
    assert found["P_Found_Global"] == 1


def test_blank_p_where_there_is_none_but_the_rest_stands():
    found = ecg.measure(known_ecg(regular(75), without="P", noise=0.003), 100)
    assert found["P_Found_Global"] == 0
    assert found[["P_Amp_II", "PP_Amp_II", "P_Dur_Global", "PR_Int_Global"]].isna().all()
    assert found[["R_Amp_II", "QRS_Dur_Global", "QT_Int_Global"]].notna().all()


def test_a_record_without_beats_is_blank_in_every_column():
    table = ecg.measure_all(
        np.stack([np.zeros((1000, 12)), known_ecg(regular(60))]), 100, progress=False
    )
    assert table.loc[0, "r_peaks"] == ""
    assert table.drop(columns="r_peaks").loc[0].isna().all()
    assert table.drop(columns="r_peaks").loc[1].notna().mean() > 0.95


def test_a_flat_lead_has_no_waves():
    signal = known_ecg(regular(60))
    signal[:, LEADS.index("V3")] = 1.234
    found = ecg.measure(signal, 100)
    assert (found[[f"{wave}_Amp_V3" for wave in ("Q", "R", "S", "T", "P")]].abs() < 1e-4).all()


def test_columns_are_uni_g_names_for_every_lead():
    table = ecg.measure_all(known_ecg(regular(60))[None], 100, progress=False)
    for prefix in (
        "P_Amp",
        "PP_Amp",
        "PN_Amp",
        "Q_Amp",
        "Q_Dur",
        "R_Amp",
        "S_Amp",
        "Rp_Amp",
        "T_Amp",
        "TP_Amp",
        "J_Amp",
    ):
        assert all(table[f"{prefix}_{lead}"].dtype == np.float32 for lead in LEADS)
    assert isinstance(table, pd.DataFrame)
    assert table["r_peaks"].map(type).eq(str).all()


def test_r_of_a_wide_qrs_lies_between_its_peaks():
    from ecg.analysis import TO_MIDDLE, _r_of_wide_qrs
    from ecg.fiducials import Fiducials
    from ecg.median_beat import CENTRE

    blank = np.full(2, np.nan)
    on, off = np.array([CENTRE - 20.0] * 2), np.array([CENTRE + 25.0, CENTRE + 60.0])
    at = Fiducials(blank, blank, blank, on, off, blank, blank, blank, on)  # 90 and 160 ms
    moved = _r_of_wide_qrs(np.array([-10, -10]), at)
    assert moved.tolist() == [-10, round(-10 + TO_MIDDLE * 30)]
