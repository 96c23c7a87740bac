import json

import numpy as np
import pandas as pd
import pytest

import ecg
from common.files import UserError
from ecg import segmenting
from ecg.segmenting import from_signals
from ecg.segments import POINTS, SEGMENTS, draw, draw_bytes, in_turn, share_of
from ecg.segments import WAVES as SEGMENT_WAVES
from known_ecg import WAVES, known_ecg, regular
from records.dataset import Dataset
from records.segmentations import load_segments, read_segments


def data_set(folder, n=3, sampling_rate=100):
    signals = np.stack([known_ecg(regular(60 + 10 * i), sampling_rate) for i in range(n)]).astype(
        np.float32
    )
    return Dataset(
        pd.DataFrame({"patient_id": range(n)}, index=range(11, 11 + n)),
        signals,
        sampling_rate,
        folder,
    )


def stored(seed=0, n_samples=1000):
    """A segmentation as it is downloaded: uint8, the 24 summing to about 255."""
    mask = np.random.default_rng(seed).dirichlet(np.ones(24) * 0.1, size=(n_samples, 12))
    return np.round(255 * mask).astype(np.uint8)


def write(folder, ecg_id, mask):
    (folder / "ptbxl_segmentations").mkdir(exist_ok=True)
    np.save(folder / "ptbxl_segmentations" / f"{ecg_id}.npy", mask)


def points(beats=1, **times):
    """Times (beats, 12, 12) in s: the same for all leads, NaN for points that are not named."""
    found = np.full((beats, 12, len(POINTS)), np.nan)
    for name, time in times.items():
        found[..., POINTS.index(name.replace("_", "-"))] = np.reshape(time, (-1, 1))
    return found


def test_the_24_in_order():
    assert len(SEGMENTS) == 24
    assert SEGMENTS[:6] == ("P-Onset", "(p", "P-Peak", "p)", "P-Offset", "pq")
    assert SEGMENTS[-6:] == ("T-Onset", "(t", "T-Peak", "t)", "T-Offset", "tp")
    assert POINTS == (
        "P-Onset",
        "P-Peak",
        "P-Offset",
        "QRS-Onset",
        "Q-Peak",
        "R-Peak",
        "S-Peak",
        "QRS-Offset",
        "J-point",
        "T-Onset",
        "T-Peak",
        "T-Offset",
    )


def test_a_point_is_a_triangle_and_stretches_take_the_rest():
    shares = draw(points(R_Peak=0.5), 100, 100)
    triangle = shares[45:56, 0, SEGMENTS.index("R-Peak")]
    assert triangle == pytest.approx([0, 0, 0, 0, 0.5, 1, 0.5, 0, 0, 0, 0], abs=1e-6)
    assert shares[:49, 0, SEGMENTS.index("tp")] == pytest.approx(1)
    assert shares[49, 0, SEGMENTS.index("tp")] == pytest.approx(0.5)
    assert shares[52:, 0, SEGMENTS.index("rs")] == pytest.approx(1)


def test_points_between_samples_keep_their_mass():
    for rate in (100, 500):
        shares = draw(points(T_Peak=0.5033), rate, rate)
        assert shares[..., SEGMENTS.index("T-Peak")].sum(axis=0) == pytest.approx(
            0.02 * rate, rel=0.05
        )


def test_shares_sum_to_one_even_where_points_crowd():
    times = points(
        QRS_Onset=0.5, Q_Peak=0.505, R_Peak=0.51, S_Peak=0.52, QRS_Offset=0.53, J_point=0.54
    )
    shares = draw(times, 100, 100)
    assert shares.min() >= 0
    assert np.allclose(shares.sum(axis=2), 1, atol=1e-6)


def test_absent_waves():
    qs = draw(points(QRS_Onset=0.3, Q_Peak=0.4, QRS_Offset=0.5), 100, 100)
    assert qs[33:37, 0, SEGMENTS.index("(q")] == pytest.approx(1)
    assert qs[43:47, 0, SEGMENTS.index("q)")] == pytest.approx(1)  # a QS has no qr
    no_q = draw(points(QRS_Onset=0.3, R_Peak=0.4, QRS_Offset=0.5), 100, 100)
    assert no_q[33:37, 0, SEGMENTS.index("qr")] == pytest.approx(1)
    assert no_q[43:47, 0, SEGMENTS.index("rs")] == pytest.approx(1)
    assert draw(np.empty((0, 12, 12)), 50, 100)[..., SEGMENTS.index("tp")].min() == 1


def test_a_t_wave_does_not_reach_into_the_next_beat():
    times = points(
        2, T_Onset=[0.4, 1.4], T_Peak=[0.6, 1.6], T_Offset=[1.1, 1.8], P_Onset=[0.1, 0.9]
    )
    found = in_turn(times)
    assert found[0, 0, POINTS.index("T-Offset")] < 0.9
    assert found[0, 0, POINTS.index("T-Peak")] == 0.6
    assert found[1, 0, POINTS.index("T-Offset")] == 1.8
    hidden = in_turn(
        points(2, T_Onset=[0.4, 1.4], T_Peak=[0.95, 1.6], T_Offset=[1.1, 1.8], P_Onset=[0.1, 0.9])
    )
    assert np.isnan(hidden[0, 0, POINTS.index("T-Onset") :]).all()


def test_segments_of_a_known_ecg():
    truth = regular(60)
    shares = from_signals(known_ecg(truth, noise=0.005)[None], 100)[0]
    assert shares.shape == (1000, 12, 24)
    assert shares.dtype == np.float32
    assert np.allclose(shares.sum(axis=2), 1, atol=1e-5)
    hard = shares.argmax(axis=2)
    lead = 10  # V5
    for at in truth[1:-1]:
        assert hard[round(at / 10), lead] == SEGMENTS.index("R-Peak")
        for wave in "PT":
            peak = round((at + WAVES[wave][0]) / 10)
            assert SEGMENTS.index(f"{wave}-Peak") in hard[peak - 2 : peak + 3, lead]
        assert hard[round(at / 10) + 12, lead] == SEGMENTS.index("jt")
        assert hard[round(at / 10) + 45, lead] == SEGMENTS.index("tp")


def test_peaks_belong_to_leads():
    shares = from_signals(known_ecg(regular(60))[None], 100)[0]
    in_v1, in_v5 = (shares[:, lead, SEGMENTS.index("Q-Peak")].sum() for lead in (6, 10))
    assert in_v1 == 0  # V1 has no Q
    assert in_v5 > 5


def test_an_extra_beat_has_its_own_waves():
    times = [(at, "PVC") if i == 4 else at for i, at in enumerate(regular(70))]
    shares = from_signals(known_ecg(times, noise=0.003)[None], 100)[0]
    before = [
        shares[round((beat[0] if isinstance(beat, tuple) else beat) / 10) - 22 :][:12, 1, 0:5].sum()
        for beat in times
    ]
    assert before[4] < 0.5 * np.median(before)  # no P ahead of it


def test_the_t_before_an_early_beat_is_not_its_p():
    times = [500, 1400, (1950, "PVC"), 3200, 4100, 5000, 5900, 6800, 7700, 8600]
    shares = from_signals(known_ecg(times, noise=0.003)[None], 100)[0]
    assert shares[166, 1, SEGMENTS.index("T-Peak")] > 0.4  # 260 ms after the beat at 1400
    assert shares[155:185, 1, SEGMENTS.index("P-Peak")].sum() == 0


def test_ecg_segment_is_the_same():
    signal = known_ecg(regular(75))
    assert np.array_equal(ecg.segment(signal, 100), from_signals(signal[None], 100)[0])


# ---------------------------------------------------------------- files


def test_downloaded_ones_are_read_and_the_rest_is_computed(tmp_path, monkeypatch):
    data, mask = data_set(tmp_path), stored()
    write(tmp_path, 12, mask)
    asked = []
    monkeypatch.setattr(
        segmenting,
        "from_signals",
        lambda signals, rate: asked.append(len(signals)) or from_signals(signals, rate),
    )
    found = load_segments(data, [1, 2])
    assert asked == [1]
    assert found.shape == (2, 1000, 12, 24)
    assert np.allclose(found[0], mask / mask.sum(axis=2, keepdims=True, dtype=float), atol=1e-6)
    assert np.allclose(found.sum(axis=3), 1, atol=1e-5)
    assert np.array_equal(found[1], from_signals(data.signals[2:], 100)[0])


def test_rows_may_be_a_mask_or_a_slice(tmp_path):
    data = data_set(tmp_path)
    by_mask = load_segments(data, np.array([True, False, True]))
    assert np.array_equal(by_mask, load_segments(data, [0, 2]))
    assert np.array_equal(load_segments(data, slice(1, 2)), load_segments(data, [1]))
    assert load_segments(data, []).shape == (0, 1000, 12, 24)


def test_they_are_found_beside_the_source_that_preprocessing_read(tmp_path):
    source, output = tmp_path / "source", tmp_path / "output"
    source.mkdir()
    output.mkdir()
    write(source, 11, stored(4))
    (output / "preprocessing.json").write_text(json.dumps({"settings": {"data_path": str(source)}}))
    expected = stored(4) / stored(4).sum(axis=2, keepdims=True, dtype=float)
    assert np.allclose(load_segments(data_set(output), [0])[0], expected, atol=1e-6)


def test_at_500_hz_each_step_is_used_five_times(tmp_path):
    data = data_set(tmp_path, 1, 500)
    write(tmp_path, 11, stored())
    found = load_segments(data, [0])[0]
    assert found.shape == (5000, 12, 24)
    assert np.array_equal(found[0], found[4])
    assert np.array_equal(found[::5], read_segments(tmp_path / "ptbxl_segmentations" / "11.npy"))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (stored().astype(np.float32), "float32"),
        (stored()[:, :, :23], "expected uint8"),
        (stored()[:, :11], "expected uint8"),
        (stored()[0], "expected uint8"),
        (stored(0, 900), "900 time steps"),
        (stored() * 0, "belong to no segment"),
    ],
)
def test_other_files_are_refused(tmp_path, mask, message):
    write(tmp_path, 11, mask)
    with pytest.raises(UserError, match=message):
        load_segments(data_set(tmp_path, 1), [0])


def test_a_damaged_file_is_refused(tmp_path):
    write(tmp_path, 11, stored())
    path = tmp_path / "ptbxl_segmentations" / "11.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"11\.npy"):
        load_segments(data_set(tmp_path, 1), [0])


def one_beat(at=0.0):
    """Points (1, 12, 12 POINTS) of a beat whose points lie 50 ms apart, in every lead."""
    return np.broadcast_to(at + 0.05 * np.arange(len(POINTS)), (1, 12, len(POINTS))).copy()


def test_bytes_are_the_shares_and_sum_to_255():
    times = one_beat(0.203)
    shares, stored = draw(times, 100, 100), draw_bytes(times, 100, 100)
    assert stored.dtype == np.uint8
    assert (stored.sum(axis=2, dtype=int) == 255).all()
    assert np.abs(stored / 255 - shares).max() < 3 / 255


def test_where_beats_overlap_the_later_one_counts():
    """A premature beat begins while the T wave before it still lasts: its P is a P, not T's end."""
    times = np.concatenate([one_beat(0), one_beat(0.52)])
    shares = draw(times, 150, 100)
    after_t_offset = round(
        100 * (0.05 * 11 + 0.03)
    )  # T-Offset .55 s, next P-Onset .52 s, P-Peak .57
    assert shares[after_t_offset, :, SEGMENTS.index("tp")].max() == 0


def test_a_t_wave_before_its_own_qrs_is_none():
    times = one_beat(1.0)
    times[..., POINTS.index("T-Onset") :] = [0.59, 0.49, 0.6]  # the record ends within the QRS
    found = in_turn(times)
    assert np.isnan(found[..., POINTS.index("T-Onset") :]).all()
    assert np.isfinite(found[..., : POINTS.index("T-Onset")]).all()


def test_waves_name_segments_in_their_order_and_take_their_shares():
    for names in SEGMENT_WAVES.values():
        places = [SEGMENTS.index(name) for name in names]
        assert places == list(range(places[0], places[0] + len(places)))
    shares = draw(one_beat(0.1), 100, 100)
    of_waves = sum(share_of(shares, SEGMENT_WAVES[wave]) for wave in ("P", "QRS", "ST", "T", "TP"))
    np.testing.assert_allclose(of_waves + share_of(shares, ["pq"]), 1, atol=1e-6)
