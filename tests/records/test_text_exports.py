"""Text as one program writes it (Lepu's, AcqKnowledge's), tables that are no recordings, and text
in every kind of UTF-16.
"""

import numpy as np
import pytest

import made_files as made
from common.files import UserError
from common.labels import LEADS
from records import csv_files
from records.readers import read_recording
from records.recording import Asked
from tiny_ptbxl import ecg_like, fitting_limbs

SIGNAL = fitting_limbs(ecg_like(3, 500) / 1000)  # (5000, 12) mV
II, GAIN = LEADS.index("II"), 405


def read(folder, name, content, **asked):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_recording(folder / name, Asked(**asked))


# ---------------------------------------------------------------- Lepu (Viatom)

COUNTS = np.rint(SIGNAL[:, II] * GAIN).astype(int)
LEPU = ",".join(["F-0-01,500,II", str(GAIN), *map(str, COUNTS)])
LEPU_WRITTEN = {
    "as its maker has it": LEPU,
    "a mark before it": "\ufeff" + LEPU,
    "UTF-16": LEPU.encode("utf-16"),
    "UTF-16 without a mark": LEPU.encode("utf-16-le"),
    "a comma and a line behind it": LEPU + ",\r\n",
    "blanks, and a gain with decimals": LEPU.replace(",", ", ").replace("405", "405.0", 1),
}


@pytest.mark.parametrize("kind", LEPU_WRITTEN)
def test_the_head_of_lepus_text_is_no_sample_and_says_rate_lead_and_gain(tmp_path, kind):
    found = read(tmp_path, "R1.txt", LEPU_WRITTEN[kind])
    assert (found.rate, found.unit, len(found.signal)) == (500, "mV", 5000)
    assert np.abs(found.signal[:, II] - SIGNAL[:, II]).max() < 0.51 / GAIN
    assert np.isnan(found.signal).all(axis=0).sum() == 11


def test_what_the_user_says_of_lepus_text_goes_first(tmp_path):
    found = read(tmp_path, "R1.txt", LEPU, lead_names=("V5",), rate=250, start=4, seconds=2)
    assert (found.rate, found.start, found.seconds) == (250, 4, 20)
    wanted = SIGNAL[1000:1500, II]
    assert np.abs(found.signal[:, LEADS.index("V5")] - wanted).max() < 0.51 / GAIN


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("F-0-01,500,II,0,1,2,3", "not filter,Hz,lead,units per mV"),
        ("F-0-01,500,II", "not filter,Hz,lead,units per mV"),
        ("F-0-01,500,ear,405,1,2,3", "calls its lead ear.*--lead_names"),
        ("F-0-01,500,II,405,1,x,3", "holds what is no number"),
        ("F-0-01,500,II,4.0.5,1,2,3", "not filter,Hz,lead,units per mV"),
        ("F-0-01,5.0.0,II,405,1,2,3", "not filter,Hz,lead,units per mV"),
        ("F-0-01,500,II,inf,1,2,3", "not filter,Hz,lead,units per mV"),
    ],
)
def test_another_head_of_lepus_text_is_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, "R1.txt", text)


# ---------------------------------------------------------------- AcqKnowledge (BIOPAC)


def acqknowledge(separator="\t", time="min", per_minute=1 / 60, step="2 msec", counts=True):
    """A file of leads II and V5 in mV and V, and of breathing."""
    head = ["A.acq", f"{step}/sample", "3 channels", "Lead II - ECG100C", "mV"]
    head += ["V5, X, ECG100C", "Volts", "RSP100C", "cmH2O"]
    columns = [time] * bool(time) + ["CH1", "CH2", "CH3"]
    head += [separator.join([*columns, ""])]
    head += [separator.join([""] * bool(time) + ["5000"] * 3 + [""])] if counts else []
    rows = []
    for k, row in enumerate(SIGNAL):
        numbers = [f"{row[II]:.4f}", f"{row[10] / 1000:.7f}", "0"]
        moment = [f"{k * 0.002 * per_minute:.6g}"] if time else []
        rows.append(separator.join([*moment, *numbers, ""]))
    return "\n".join(head + rows)


ACQUIRED = {
    "minutes": acqknowledge(),
    "commas, seconds": acqknowledge(",", "sec", 1),
    "ms": acqknowledge(time="milliSec", per_minute=1000, step="0.002 sec"),
    "no times": acqknowledge(time=""),
    "no line of counts": acqknowledge(counts=False),
    "no line of numbers": acqknowledge(counts=False).replace("min\tCH1\tCH2\tCH3\t\n", ""),
    "neither times nor their line": acqknowledge(time="", counts=False).replace(
        "CH1\tCH2\tCH3\t\n", ""
    ),
    "the moment it was recorded": acqknowledge().replace(
        "A.acq\n", "A.acq\nRecording on: 2025-02-21 11:05:38.634\n"
    ),
    "the rate beside the step": acqknowledge().replace(
        "2 msec/sample", "2 msec/sample\tSample rate =\t500Hz"
    ),
    "no title": "\ufeff" + acqknowledge().partition("\n")[2],
    "UTF-16 without a mark": acqknowledge().encode("utf-16-le"),
}


@pytest.mark.parametrize("kind", ACQUIRED)
def test_acqknowledges_text(tmp_path, kind):
    found = read(tmp_path, "a.txt", ACQUIRED[kind])
    assert (found.rate, len(found.signal)) == (500, 5000)
    assert np.abs(found.signal - SIGNAL)[:, [II, 10]].max() < 1e-4
    assert np.isnan(found.signal).all(axis=0).sum() == 10


def test_channels_of_acqknowledge_can_be_named(tmp_path, monkeypatch):
    text = acqknowledge().replace("Lead II - ECG100C", "ECG100C")
    for names in (("I", "-", "-"), ("-", "I", "-", "-")):  # without and with the times
        found = read(tmp_path, "a.txt", text, lead_names=names)
        assert np.abs(found.signal[:, 0] - SIGNAL[:, II]).max() < 1e-4
    monkeypatch.setattr(csv_files, "LARGE", 1)
    found = read(tmp_path, "a.txt", acqknowledge(), start=4, seconds=2)
    assert np.abs(found.signal - SIGNAL[2000:3000])[:, [II, 10]].max() < 1e-4


def test_half_a_head_of_acqknowledge_is_one_line(tmp_path):
    text = acqknowledge()
    with pytest.raises(UserError, match="no samples follow AcqKnowledge's head"):
        read(tmp_path, "a.txt", text[: text.index("CH3") + 4])


# ---------------------------------------------------------------- tables of measurements

DAY = "2024-03-0{} 10:00:00 +0100"
TABLES = {
    "ECGs of a watch without their samples": (
        "Start,End,Classification,Severity,Average Heart Rate (count/min),"
        "Number of Voltage Measurements,Sampling Frequency (Hz),Source",
        f"{DAY},{DAY},Sinus Rhythm,,62,15360,512,ECG",
    ),
    "heart rates": ("Date/Time,Heart Rate [Min] (count/min),Heart Rate [Avg]", f"{DAY},60,61"),
    "beats per minute": ("timestamp;bpm", f"{DAY};60"),
    "steps": ("startDate,endDate,stepCount", f"{DAY},{DAY},60"),
    "classes": ("reading_time,result_classification,heartRate", f"{DAY},NSR,sinus"),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("asked", [{}, {"rate": 512}])
def test_a_table_of_measurements_is_called_one(tmp_path, kind, asked):
    head, row = TABLES[kind]
    text = "\n".join([head, *(row.replace("{}", str(day)) for day in range(1, 9))])
    with pytest.raises(UserError, match=r"what an app measured .*not a recording: export the ECG"):
        read(tmp_path, "a.csv", text, **asked)


def test_a_signal_beside_heart_rates_is_asked_for_its_lead(tmp_path):
    rows = [f"{k / 100:.2f},{value:.3f},60" for k, value in enumerate(SIGNAL[:1000, 0])]
    text = "\n".join(["time,ecg (mV),heart rate", *rows])
    with pytest.raises(UserError, match="none of them is a lead: --lead_names"):
        read(tmp_path, "a.csv", text)
    found = read(tmp_path, "a.csv", text, lead_names=("I", "-"))
    assert np.abs(found.signal[:, 0] - SIGNAL[:1000, 0]).max() < 1e-3


def test_json_of_another_kind_is_called_that(tmp_path):
    with pytest.raises(UserError, match="JSON of a kind that is not read"):
        read(tmp_path, "a.json", '{"data": {"ecg": []}}')


# ---------------------------------------------------------------- UTF-16


def kinds_of_unicode(text):
    return {
        "a mark": text.encode("utf-8-sig"),
        "UTF-16": text.encode("utf-16"),
        "UTF-16, the other byte first": b"\xfe\xff" + text.encode("utf-16-be"),
        "UTF-16 without a mark": text.encode("utf-16-le"),
        "UTF-16 without a mark, the other byte first": text.encode("utf-16-be"),
    }


KARDIA = made.kardia(np.rint(SIGNAL[:, :6].T / 0.0005).astype(int), LEADS[:6], 500).decode()
NUMBERS = np.rint(SIGNAL.T / 0.0025).astype(int)
TEXTS = {  # name of the file, text, step in mV
    "Kardia": ("a.json", KARDIA, 0.0005),
    "aECG": ("a.xml", made.aecg(NUMBERS, LEADS).decode(), 0.0025),
    "MUSE": ("a.xml", made.muse(NUMBERS, LEADS, per_bit="2.5").decode("latin-1"), 0.0025),
    "CardioSoft": ("a.xml", made.cardiosoft(NUMBERS // 2, LEADS).decode(), 0.005),
    "XML without an ending": ("ecg", made.aecg(NUMBERS, LEADS).decode(), 0.0025),
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("encoding", kinds_of_unicode(""))
def test_text_in_every_unicode(tmp_path, kind, encoding):
    pytest.importorskip("ecgdatakit")
    name, text, step = TEXTS[kind]
    found = read(tmp_path, name, kinds_of_unicode(text)[encoding])
    there = np.isfinite(found.signal).all(axis=0)
    assert (found.rate, there.sum()) == (500, 6 if kind == "Kardia" else 12)
    assert np.abs(found.signal - SIGNAL)[:, there].max() < 1.01 * step


def test_a_header_of_wfdb_with_a_mark(tmp_path):
    (tmp_path / "r.dat").write_bytes(NUMBERS.T.astype("<i2").tobytes())
    lines = [f"r.dat 16 400/mV 16 0 0 0 0 {lead}" for lead in LEADS]
    text = "\n".join(["# made by hand", "r 12 500 5000", *lines])
    (tmp_path / "r.hea").write_text(text, encoding="utf-8-sig")
    found = read_recording(tmp_path / "r")
    assert np.abs(found.signal - SIGNAL).max() < 0.0026
