"""The viewer's book: small, whole, and safe inside a page."""

import base64
import json
import re
import time

import numpy as np
import pandas as pd
import pytest

from counterfactual.groups import CARD_COLUMNS
from ecg.segments import SEGMENTS
from reporting.page import ASSETS, PageSection, cell, join, page, paragraph, viewer
from reporting.viewer import ViewedMap, ViewedRecord, book, prediction_table

HOSTILE = "</script><script>window.bad = 1</script>"


def make_record(title="ECG 1", n=500):
    time = np.arange(n) / 100
    signal = np.sin(7 * time)[:, None] * np.linspace(0.2, 1.5, 12)
    signal[3, 2] = np.nan
    values = np.cos(5 * time)[:, None] * np.ones(12)
    unseen = values.copy()
    unseen[-20:] = np.nan
    maps = [
        ViewedMap("AMI", "saliency", values, True, "logit per mV", "Logit 1.20."),
        ViewedMap("AMI", "gradcam", np.abs(unseen), False, "", ""),
    ]
    cells = pd.DataFrame(
        {
            "pathology": "AMI",
            "method": ["saliency", "gradcam"],
            "lead": ["V2", "V3"],
            "segment": ["R-Peak", "jt"],
            "density": [0.5, 0.25],
        }
    )
    segments = np.tile(np.arange(n)[:, None] // 10 % 24, (1, 12))
    prediction = prediction_table(["AMI", HOSTILE], np.array([1.0, -2.0]), [0.5, np.nan])
    return ViewedRecord(title, signal, 100, maps, segments, cells, prediction)


def unpacked(text, kind, n=500):
    return np.frombuffer(base64.b64decode(text), kind).reshape(12, n).T


def test_the_book_holds_the_signal_to_a_microvolt_and_the_maps_to_their_127th():
    record = make_record()
    [packed] = json.loads(book([record]))["records"]
    signal = unpacked(packed["signal"], "<i2")
    assert signal[3, 2] == -32768
    known = np.isfinite(record.signal)
    assert np.abs(signal[known] / 1000 - record.signal[known]).max() <= 0.0005
    for one, stored in zip(record.maps, packed["maps"], strict=True):
        values = unpacked(stored["values"], np.int8)
        seen = np.isfinite(one.values)
        assert (values[~seen] == -128).all()
        error = np.abs(values[seen] / 127 * stored["largest"] - one.values[seen])
        assert error.max() <= stored["largest"] / 254 + 1e-9
    assert np.array_equal(unpacked(packed["segments"], np.uint8), record.segments)


def test_ten_seconds_with_four_maps_take_less_than_150_kilobytes():
    record = make_record(n=1000)
    four = ViewedRecord("ECG", record.signal, 100, record.maps * 2, record.segments, record.cells)
    assert len(book([four])) < 150_000


def test_no_text_can_leave_its_script_element():
    text = book([make_record(HOSTILE)])
    assert "<" not in text
    assert json.loads(text)["records"][0]["title"] == HOSTILE


def test_a_number_in_a_table_has_three_digits_and_no_minus_before_a_zero():
    assert [cell(value) for value in (999.4, 999.6, -0.0, -0.5)] == ["999", "1,000", "0", "-0.5"]


def test_the_prediction_is_sorted_and_says_where_no_threshold_is_known():
    table = prediction_table(["a", "b", "c"], np.array([-1.0, 2.0, 0.0]), [0.1, 0.9, np.nan])
    assert table["class"].tolist() == ["b", "c", "a"]
    assert table["positive"].tolist() == ["no", "no threshold", "yes"]
    assert table["probability"].round(3).tolist() == [0.881, 0.5, 0.269]


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        *((ink, ground) for ink in ("ink", "soft", "accent") for ground in ("ground", "card")),
        ("warn", "warn-ground"),
        ("warn", "ground"),
        ("good", "ground"),
    ],
)
def test_every_text_has_the_contrast_that_wcag_aa_asks_for(scheme, ink, ground):
    css = (ASSETS / "page.css").read_text()
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    low, high = sorted(luminance(colours[name]) for name in (ink, ground))
    assert (high + 0.05) / (low + 0.05) >= 4.5


# ---------------------------------------------------------------- in a real browser


def widest_card():
    """A table of counterfactual/card.csv with long names and numbers."""
    shares = {name: [0.123] for name in CARD_COLUMNS}
    names = {"pathology": ["LAFB/LPFB"], "direction": ["remove"]}
    return pd.DataFrame({**shares, "p": [0.00012], "p_floor": [0.00012], **names})


def scores():
    """A table of metrics under both protocols."""
    names = ["Macro average precision", "Macro AUC", "Brier"]
    said = ["0.239 [0.149, 0.287]", "> 0.999 [0.999, > 0.999]", "< 0.001"]
    return pd.DataFrame({"metric": names, "windows": said, "centre crop": said})


@pytest.fixture(scope="module")
def open_page(chromium, tmp_path_factory):
    """open_page(width, height, dark) -> a browser that shows a page with two ECGs."""
    from selenium.webdriver.support.ui import WebDriverWait  # there where `chromium` is

    file = tmp_path_factory.mktemp("page") / "page.html"
    records = [make_record("ECG 1: AMI"), make_record(f"ECG 2: {HOSTILE}")]
    long_name = paragraph(f"1 figure for print is in {'lenet_subdiagnostic_of_' * 5}/")
    inner = join([viewer(book(records), "ECGs"), long_name])
    table = pd.DataFrame(
        {"name": ["b", "a", "c", *"defgh"], "value": [2.0, 10.0, 1.0, *range(3, 8)]}
    )
    from reporting.page import table as html_table

    sections = [
        PageSection("one", "One", html_table(pd.concat([table, table]))),
        PageSection("two", "Two", inner),
        PageSection("three", "Three", join([paragraph("long")] * 99)),
        PageSection("four", "Four", html_table(widest_card())),
        PageSection("five", "Five", html_table(scores())),
    ]
    file.write_text(page("A page", "with <b>text</b>", sections), encoding="utf-8")

    def show(width=1280, height=900, dark=False):
        chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        chromium.get(file.as_uri())
        # viewers are built when they come near the screen
        chromium.execute_script("document.querySelector('.viewer').scrollIntoView()")
        built = "return Boolean(document.querySelector('.viewer').viewer)"
        WebDriverWait(chromium, 10, 0.02).until(lambda browser: browser.execute_script(built))
        chromium.execute_script("window.scrollTo(0, 0)")
        return chromium

    return show


def picture_of(browser):
    return browser.execute_script("return document.querySelector('canvas').toDataURL()")


def test_the_page_opens_without_a_request_or_an_error(open_page):
    browser = open_page()
    requests = (
        "return performance.getEntriesByType('resource').filter(e => "
        "!e.name.startsWith('data:')).length"
    )
    assert browser.execute_script(requests) == 0
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    assert browser.execute_script("return typeof window.bad") == "undefined"
    assert browser.execute_script("return document.querySelectorAll('main b').length") == 0
    options = browser.execute_script(
        "return [...document.querySelector('[data-part=record]').options].map(o => o.text)"
    )
    assert options == ["ECG 1: AMI", f"ECG 2: {HOSTILE}"]


def test_keys_switch_the_method_zoom_and_record(open_page):
    browser = open_page()
    press = (
        "document.querySelector('.paper').dispatchEvent(new KeyboardEvent('keydown', {key: '%s'}))"
    )
    legend = "return document.querySelector('[data-part=legend]').textContent"
    first = picture_of(browser)
    assert browser.execute_script(legend).startswith("AMI · Saliency. Vermillion")
    browser.execute_script(press % "m")
    assert browser.execute_script(legend).startswith("AMI · Grad-CAM")
    assert picture_of(browser) != first
    browser.execute_script(press % "m")
    assert picture_of(browser) == first
    browser.execute_script(press % "a")
    assert "Darker" in browser.execute_script(legend)
    width = "return document.querySelector('canvas').width"
    before = browser.execute_script(width)
    browser.execute_script(press % "+")
    assert browser.execute_script(width) > before
    browser.execute_script(press % "n")
    assert (
        browser.execute_script("return document.querySelector('[data-part=record]').value") == "1"
    )


def test_the_colour_limit_the_layout_and_a_click_on_a_cell_change_the_picture(open_page):
    browser = open_page()
    pictures = [picture_of(browser)]
    set_value = (
        "const c = document.querySelector('[data-part=%s]'); c.value = '%s';"
        "c.dispatchEvent(new Event('%s'))"
    )
    for name, value, event in (("limit", "80", "input"), ("layout", "3x4", "change")):
        browser.execute_script(set_value % (name, value, event))
        pictures.append(picture_of(browser))
    browser.execute_script("document.querySelector('tr.choice:not([hidden])').click()")
    pictures.append(picture_of(browser))
    browser.execute_script("document.querySelector('[data-part=wave]').click()")
    pictures.append(picture_of(browser))
    assert len(set(pictures)) == len(pictures)
    assert browser.execute_script("return document.querySelectorAll('[aria-selected]').length") == 1


def test_pointing_at_the_paper_reads_lead_time_voltage_relevance_and_segment(open_page):
    browser = open_page()
    words = browser.execute_script(
        """const c = document.querySelector('canvas'), box = c.getBoundingClientRect();
        const v = document.querySelector('.viewer').viewer, s = v.strips()[6];
        const scale = v.shown.scale;
        c.dispatchEvent(new MouseEvent('mousemove', {clientX: box.left + (s.x + 25.1) * scale,
          clientY: box.top + s.y * scale}));
        return document.querySelector('.hover').textContent"""
    )
    record = make_record()
    expected = f"V1 · 1.00 s · {record.signal[100, 6]:.2f} mV · relevance"
    assert words.startswith(expected)
    assert words.endswith(f"segment {SEGMENTS[record.segments[100, 6]]}")


def test_one_colour_per_wave_is_the_mean_over_the_wave(open_page):
    browser = open_page()
    means = browser.execute_script(
        """const v = document.querySelector('.viewer').viewer;
        document.querySelector('[data-part=wave]').click();
        return Array.from(v.shown.values)"""
    )
    record = make_record()
    shown = np.array(means).reshape(12, 500)[6]
    stored = np.round(record.maps[0].values[:, 6] / np.abs(record.maps[0].values).max() * 127)
    expected = np.repeat(stored.reshape(50, 10).mean(axis=1), 10)  # waves of ten samples
    assert np.allclose(shown, expected, atol=1e-4)
    legend = browser.execute_script(
        "return document.querySelector('[data-part=legend]').textContent"
    )
    assert "Each wave has its mean" in legend


def test_arrow_keys_read_the_trace(open_page):
    browser = open_page()
    press = (
        "document.querySelector('.paper').dispatchEvent(new KeyboardEvent('keydown',"
        " {key: '%s', shiftKey: %s}))"
    )
    said = "return document.querySelector('.hover').textContent"
    plain = picture_of(browser)
    for key, shift in (("ArrowRight", "true"), ("ArrowDown", "false"), ("ArrowRight", "false")):
        browser.execute_script(press % (key, shift))
    value = make_record().signal[22, 1]
    assert browser.execute_script(said).startswith(f"II · 0.22 s · {value:.2f} mV · relevance")
    assert picture_of(browser) != plain
    browser.execute_script(press % ("Escape", "false"))
    assert picture_of(browser) == plain
    live = "return document.querySelector('.hover').getAttribute('aria-live')"
    assert browser.execute_script(live) == "polite"


def test_tables_sort_by_number_and_filter(open_page):
    browser = open_page()
    column = (
        "return [...document.querySelectorAll('#one table.data tbody tr')].filter(r => !r.hidden)"
        ".map(r => parseFloat(r.cells[1].textContent))"
    )
    browser.execute_script("document.querySelectorAll('#one table.data th button')[1].click()")
    values = browser.execute_script(column)
    assert values == sorted(values)
    browser.execute_script("document.querySelectorAll('#one table.data th button')[1].click()")
    assert browser.execute_script(column) == values[::-1]
    browser.execute_script(
        "const f = document.querySelector('input.filter'); f.value = 'a';"
        "f.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    assert browser.execute_script(column) == [10.0, 10.0]


def test_a_number_beyond_those_that_are_written_sorts_as_a_number(open_page):
    browser = open_page()
    column = (
        "return [...document.querySelectorAll('#five tbody tr')].map(r => r.cells[0].textContent)"
    )
    for _ in range(2):
        browser.execute_script("document.querySelectorAll('#five th button')[1].click()")
    assert browser.execute_script(column) == ["Macro AUC", "Macro average precision", "Brier"]


def test_a_link_lands_on_its_section_though_an_ecg_above_is_not_drawn_yet(open_page):
    browser = open_page()
    browser.refresh()  # the page anew, at its top
    link = "document.querySelector(\"nav.contents a[href='#three']\").click()"
    browser.execute_script(link)
    place = "return document.getElementById('three').getBoundingClientRect().top"
    time.sleep(1)  # for what may still move
    assert 0 <= browser.execute_script(place) < 40


def test_the_table_of_counterfactual_cards_fits_a_window(open_page):
    browser = open_page()
    wide = "const box = document.querySelector('#four .scroll'); "
    browser.execute_script("document.querySelector('#four').scrollIntoView()")
    assert browser.execute_script(wide + "return box.scrollWidth - box.clientWidth") == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_shows_the_page_without_scrolling_sideways(open_page, dark):
    browser = open_page(390, 844, dark)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    beyond = "const box = document.querySelector('#five .scroll'); "
    beyond += "return box.scrollWidth - box.clientWidth"
    assert browser.execute_script(beyond) == 0
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is not dark


def test_paper_shows_the_picture_and_the_tables_without_controls(open_page):
    browser = open_page()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = (
        "return [...document.querySelectorAll('%s')].filter(e => e.getClientRects().length).length"
    )
    for hidden in ("nav.contents", ".controls", "input.filter", ".hover"):
        assert browser.execute_script(shown % hidden) == 0
    assert browser.execute_script(shown % ".viewer canvas") == 1
    assert browser.execute_script(shown % "table") >= 2
    fits = (
        "const c = document.querySelector('.viewer canvas').getBoundingClientRect();"
        "return c.right <= document.documentElement.clientWidth + 1 && c.height > 100"
    )
    assert browser.execute_script(fits)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_paper_is_reached_and_described_without_a_mouse(open_page):
    browser = open_page()
    reached = (
        "return [...document.querySelectorAll('.viewer select, .viewer input, .viewer .paper')]"
        ".every(e => e.tabIndex >= 0)"
    )
    assert browser.execute_script(reached)
    named = (
        "return [...document.querySelectorAll('.viewer select, .viewer input')]"
        ".every(e => e.labels.length && e.labels[0].textContent.trim())"
    )
    assert browser.execute_script(named)
    label = "return document.querySelector('.viewer canvas').getAttribute('aria-label')"
    assert "ECG 1" in browser.execute_script(label)
