"""ECG paper and heat: scales, colours and geometry, read back from the drawn artists."""

import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from common import plotting
from common.ecg_paper import PAGE, PAPER, Heat, Record, baselines, comparison, twelve_leads
from common.figure_files import set_up_figures, write_figure
from common.labels import LEADS
from common.plotting import (
    ABSOLUTE_CMAP,
    MM,
    MM_PER_MV,
    MM_PER_SECOND,
    SIGNED_CMAP,
    heat_line,
    heat_norm,
    share_limits,
)
from conftest import ROOT


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def ecg_like(seconds=10, height=1.0, rate=100):
    """(T, 12): a narrow R wave once a second, in every lead."""
    times = np.arange(seconds * rate) / rate
    wave = height * np.exp(-0.5 * ((times % 1 - 0.5) / 0.02) ** 2)
    return np.repeat(wave[:, None], 12, axis=1)


def luminance(colour):
    """Relative luminance of an RGB colour (sRGB)."""
    rgb = np.array(colour[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def deuteranope(colour):
    """Colour as a deuteranope sees it (Machado et al. 2009, severity 1)."""
    matrix = np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    )
    return np.clip(matrix @ np.array(colour[:3]), 0, 1)


def test_heat_norm_is_clipped_to_quantiles():
    heat = np.concatenate((np.linspace(-1, 1, 1001), [50.0], [np.nan]))
    signed = heat_norm(heat, signed=True)
    assert signed.vmin == -signed.vmax
    assert signed.vmax == pytest.approx(np.quantile(np.abs(heat[:-1]), 0.99))
    absolute = heat_norm(np.abs(heat), signed=False)
    assert absolute.vmin == pytest.approx(np.quantile(np.abs(heat[:-1]), 0.20))


@pytest.mark.parametrize("heat", [np.zeros(5), np.full(5, np.nan), np.ones(5)])
def test_heat_norm_of_flat_heat_is_usable(heat):
    for signed in (True, False):
        norm = heat_norm(heat, signed)
        assert np.isfinite([norm.vmin, norm.vmax]).all()
        assert norm.vmin < norm.vmax


def test_heat_line_colours_each_sample_and_leaves_gaps():
    _, ax = plt.subplots()
    x, y = np.arange(6.0), np.array([0.0, 1.0, 0.0, np.nan, 0.0, 1.0])
    heat = np.array([1.0, -1.0, 0.001, 1.0, np.nan, 0.5])
    band = heat_line(ax, x, y, heat, norm=heat_norm(heat, True, (0, 1)))
    # sample 2 is faint and beside the gap, 3 has no y, 4 no heat
    assert sorted(band.get_array()) == [-1.0, 0.5, 1.0]
    first = band.get_paths()[list(band.get_array()).index(1.0)]
    assert np.allclose(first.vertices, [[0, 0], [0, 0], [0.5, 0.5]])
    assert len(ax.lines) == 1
    assert np.array_equal(ax.lines[0].get_ydata(), y, equal_nan=True)


def test_hottest_pieces_lie_on_top():
    _, ax = plt.subplots()
    band = heat_line(ax, np.arange(4.0), np.zeros(4), np.array([3.0, -4.0, 1.0, 2.0]))
    assert (np.diff(np.abs(band.get_array())) >= 0).all()


def test_pieces_of_one_shade_are_one_path_of_separate_pieces_in_its_colour():
    _, ax = plt.subplots()
    heat = np.array([1.0, 0.5, 1.0, -1.0])
    norm = heat_norm(heat, True, (0, 1))
    band = heat_line(ax, np.arange(4.0), np.zeros(4), heat, norm=norm)
    band.update_scalarmappable()
    assert [path.codes.tolist() for path in band.get_paths()] == [
        [1, 2, 2],
        [1, 2, 2],
        [1, 2, 2, 1, 2, 2],
    ]
    assert np.allclose(band.get_edgecolor(), SIGNED_CMAP(norm(band.get_array())))
    assert len(band.get_facecolor()) == 0


def test_colours_are_told_apart_by_the_colour_blind_and_leave_the_trace_readable():
    low, middle, high = (SIGNED_CMAP(value) for value in (0.0, 0.5, 1.0))
    assert np.linalg.norm(deuteranope(low) - deuteranope(high)) > 0.5
    assert luminance(middle) > 0.8
    shades = [luminance(ABSOLUTE_CMAP(value)) for value in np.linspace(0, 1, 20)]
    assert (np.diff(shades) < 0).all()
    ink = luminance((0.1, 0.1, 0.1))
    for colour in (low, high, ABSOLUTE_CMAP(1.0)):
        assert (luminance(colour) + 0.05) / (
            ink + 0.05
        ) > 2  # contrast of the trace on the hottest band


# ---------------------------------------------------------------- ECG paper


def heat_for(signal, signed=True):
    return Heat(
        np.where(signal > 0.5, 1.0, -0.1), signed, "lrp", "logit", "Ledger: logit 1.00 = input 1.00"
    )


def traces(figure):
    """(x, y) in mm of the drawn leads (not the calibration pulses)."""
    return [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) > 10]


def test_paper_is_at_scale():
    figure = twelve_leads(Record(ecg_like(), 100, "title", "subtitle"), heat_for(ecg_like()))
    assert np.allclose(figure.get_size_inches() / MM, PAGE)
    assert len(traces(figure)) == 12
    for line in traces(figure):
        assert np.ptp(line[:, 0]) == pytest.approx(9.99 * MM_PER_SECOND)
        assert np.ptp(line[:, 1]) == pytest.approx(1.0 * MM_PER_MV, rel=0.01)
        assert PAPER[0] <= line[:, 0].min()
        assert line[:, 0].max() <= PAPER[2]
        assert PAPER[1] <= line[:, 1].min()
        assert line[:, 1].max() <= PAPER[3]
    pulses = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) == 6]
    assert len(pulses) == 12  # one a row
    assert all(
        np.ptp(pulse[:, 1]) == MM_PER_MV and pulse[3, 0] - pulse[2, 0] == 5 for pulse in pulses
    )
    text = " ".join(text.get_text() for text in figure.axes[0].texts)
    for shown in (
        "title",
        "subtitle",
        "25 mm/s",
        "10 mm/mV",
        "Ledger: logit 1.00",
        "99th percentile",
        "aVF",
        "lrp (logit)",
    ):
        assert shown in text


def test_tall_leads_halve_the_gain_and_say_so():
    signal = ecg_like(height=4.0)
    figure = twelve_leads(Record(signal, 100), heat_for(signal))
    text = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "10 mm/mV" not in text
    heights, gain = baselines(signal, [[lead] for lead in range(12)], PAPER[1], PAPER[3])
    assert gain < MM_PER_MV
    assert f"{gain:g} mm/mV" in text
    assert np.ptp(traces(figure)[0][:, 1]) == pytest.approx(4.0 * gain, rel=0.01)
    assert (np.diff(heights) < 0).all()


def test_short_records_stand_in_four_columns():
    figure = twelve_leads(Record(ecg_like()[:250], 100), heat_for(ecg_like()[:250], signed=False))
    starts = {round(line[0, 0], 3) for line in traces(figure)}
    assert len(starts) == 4
    assert figure.get_size_inches()[1] / MM < PAGE[1]


def test_comparison_shows_every_method_on_the_same_piece():
    signal = ecg_like()
    heats = [heat_for(signal), heat_for(signal, signed=False), heat_for(signal)]
    figure = comparison(Record(signal, 100, "title"), heats, centre=20)
    lines = traces(figure)
    assert len(lines) == 36
    assert np.allclose(lines[0][:, 1], lines[12][:, 1])
    text = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "0.00 to 3.25 s" in text


def test_heat_that_is_unknown_leaves_the_bare_trace():
    signal = ecg_like()
    values = np.full(signal.shape, np.nan)
    figure = twelve_leads(Record(signal, 100), Heat(values, True, "lrp"))
    assert len(traces(figure)) == 12
    plotting.style()


# ---------------------------------------------------------------- time, layouts, notes


def words_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_time_axis_counts_seconds_of_the_recording():
    record = Record(ecg_like(), 100).cut(250, 900)
    figure = twelve_leads(record, heat_for(record.signal))
    ticks = [text for text in words_of(figure) if text in ("3 s", "4", "5", "6", "7", "8", "9")]
    assert ticks == ["3 s", "4", "5", "6", "7", "8", "9"]
    first = next(text for text in figure.axes[0].texts if text.get_text() == "3 s")
    start = min(line[0, 0] for line in traces(figure))
    assert first.get_position()[0] - start == pytest.approx(0.5 * MM_PER_SECOND)


def test_every_row_has_a_pulse_however_close_the_rows():
    signal = ecg_like(height=2.5)
    signal[:, 2:6] *= 0.02  # nearly flat leads between tall ones
    rows = [[lead] for lead in range(12)]
    heights, gain = baselines(signal, rows, PAPER[1], PAPER[3])
    above = -np.diff(np.concatenate(([PAPER[3]], heights)))
    assert (above >= gain + 1).all()
    figure = twelve_leads(Record(signal, 100), heat_for(signal))
    assert sum(len(line.get_xdata()) == 6 for line in figure.axes[0].lines) == 12


@pytest.mark.parametrize("height", [0.8, 1.5, 3.0, -1.1, -2.6, 7.0])
def test_no_trace_leaves_the_paper(height):
    signal = ecg_like(height=height)
    signal[:, :6] *= 0.3
    figure = twelve_leads(Record(signal, 100), heat_for(signal))
    for line in traces(figure):
        assert PAPER[1] <= line[:, 1].min()
        assert line[:, 1].max() <= PAPER[3]


def test_the_clinical_layout_hands_over_from_column_to_column():
    signal = np.arange(1000)[:, None] * 1e-3 + np.zeros(12)  # a ramp: every sample has its height
    figure = twelve_leads(Record(signal, 100), heat_for(signal), "3x4")
    lines = traces(figure)
    assert len(lines) == 13
    first_row, rhythm = lines[:4], lines[-1]
    joined = np.concatenate(first_row)
    assert np.allclose(np.diff(joined[:, 0]), MM_PER_SECOND / 100)  # no gap, no overlap in time
    assert np.allclose(np.diff(joined[:, 1]), 1e-3 * MM_PER_MV)
    assert np.allclose(joined[:, 0], rhythm[:, 0])
    assert words_of(figure).count("II") == 2
    assert sum(len(line.get_xdata()) == 6 for line in figure.axes[0].lines) == 4


def test_no_note_of_many_methods_is_cut():
    signal = ecg_like()
    note = "a note that is far too long for one narrow column, and goes on to its last word"
    heats = [Heat(signal, True, "Integrated Gradients", "logit", note) for _ in range(7)]
    figure = comparison(Record(signal, 100, "title"), heats)
    shown = [text for text in words_of(figure) if "narrow column" in text.replace("\n", " ")]
    assert len(shown) == 7
    assert all(text.replace("\n", " ").endswith("to its last word") for text in shown)
    figure.canvas.draw()
    boxes = [
        text.get_window_extent()
        for text in figure.axes[0].texts
        if "narrow" in text.get_text() or "of the record" in text.get_text()
    ]
    assert not any(one.overlaps(other) for n, one in enumerate(boxes) for other in boxes[n + 1 :])


# ---------------------------------------------------------------- caption line


@pytest.fixture
def captioned():
    plotting.style()
    set_up_figures("data: a cohort", "another data set than the network's", True, 40)
    yield
    set_up_figures()


@pytest.mark.parametrize("layout", ["constrained", None])
def test_figures_say_their_data_below_what_they_show(captioned, tmp_path, layout):
    figure, ax = plt.subplots(figsize=(4, 3), layout=layout)
    ax.set_xlabel("the lowest words of the figure")
    written = write_figure(figure, tmp_path / "one", about="7 records")
    assert [path.suffix for path in written] == [".png", ".pdf"]
    texts = {text.get_text(): text for text in figure.texts}
    assert {"7 records · data: a cohort", "SIMULATED"} <= texts.keys()
    assert any("another data set" in text for text in texts)
    highest = max(text.get_window_extent().y1 for text in texts.values())
    assert highest <= ax.xaxis.label.get_window_extent().y0 or layout is None
    assert plt.imread(written[0]).shape[1] == pytest.approx(4 * 40, abs=1)
    assert b"/FontFile2" in written[1].read_bytes()  # TrueType, embedded


def test_figures_without_a_caption_stay_as_they_are(tmp_path):
    figure, _ = plt.subplots(figsize=(4, 3))
    written = write_figure(figure, tmp_path / "one", dpi=40)
    assert plt.imread(written[0]).shape[:2] == (120, 160)
    assert not figure.texts


def test_columns_that_show_the_same_time_have_an_axis_each_without_a_collision():
    record = Record(ecg_like(), 100).cut(375, 625)
    figure = twelve_leads(record, heat_for(record.signal))
    ticks = [text.get_text() for text in figure.axes[0].texts]
    assert [tick for tick in ticks if tick.startswith(("4", "5", "6"))].count("4 s") == 4
    figure.canvas.draw()
    labels = [text for text in figure.axes[0].texts if text.get_position()[1] < PAPER[1]]
    times = [text.get_window_extent() for text in labels if text.get_fontsize() == 6]
    assert len(times) >= 16
    assert not any(one.overlaps(two) for n, one in enumerate(times) for two in times[n + 1 :])


def test_leads_that_were_not_recorded_are_not_drawn_as_flat_lines():
    signal = np.zeros_like(ecg_like())
    signal[:, 1] = ecg_like()[:, 1]
    values = np.full(signal.shape, np.nan)
    values[:, 1] = 1.0

    def leads(heat):
        figure = twelve_leads(Record(signal, 100), Heat(heat, True, "lrp"))
        names = {text.get_text() for text in figure.axes[0].texts}
        plt.close(figure)
        return names & set(LEADS)

    assert leads(values) == {"II"}
    values[:, 4] = 0.0  # a flat lead that the network reads
    assert leads(values) == {"II", "aVL"}


def test_a_class_has_one_colour_in_every_figure():
    alone, together = (
        plotting.class_colours(["NORM"]),
        plotting.class_colours(["IMI", "AMI", "NORM"]),
    )
    assert alone["NORM"] == together["NORM"]
    many = plotting.class_colours(["X", "AMI", "Y", "IMI", "Z"])
    assert len(set(many.values())) == 5
    assert many["AMI"] == together["AMI"]
    assert set(plotting.class_colours(map(str, range(20))).values()) == set(plotting.COLOURS)


def test_a_grid_that_shares_its_limits_looks_as_with_shared_axes():
    figure, axes = plt.subplots(2, 2)
    for number, ax in enumerate(axes.flat):
        ax.plot([-number, 1], [0, 10 * number])
    share_limits(axes)
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in axes.flat}) == 1
    assert axes[0, 1].get_xlim()[0] < -3
    assert axes[0, 1].get_ylim()[1] > 30
    figure.canvas.draw()
    numbers = [
        [
            any(label.get_visible() for label in axis.get_ticklabels())
            for axis in (ax.xaxis, ax.yaxis)
        ]
        for ax in axes.flat
    ]
    assert numbers == [[False, True], [False, False], [True, True], [True, False]]
    plt.close(figure)


def test_a_notebook_keeps_its_own_way_to_show_figures():
    """What is drawn for it is a figure that it shows once, as the value of its cell."""
    words = (
        "import sys; sys.path.insert(0, 'code')\n"
        "import matplotlib.pyplot as plt, numpy as np, utils\n"
        "record = utils.Record(np.zeros((100, 12)), 100)\n"
        "utils.twelve_leads(record, utils.Heat(np.ones((100, 12)), True, 'x'))\n"
        "print(plt.get_backend(), plt.get_fignums())"
    )
    done = subprocess.run(
        [sys.executable, "-c", words],
        cwd=ROOT,
        env={**os.environ, "MPLBACKEND": "svg"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["svg", "[]"], done.stderr
