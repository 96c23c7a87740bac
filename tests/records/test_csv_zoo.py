"""Text files as people and programs write them: each is read rightly, or refused in one line."""

import numpy as np
import pytest

from common.files import UserError
from common.labels import LEADS
from records import csv_files
from records.own_record import read_own
from records.readers import read_recording
from records.recording import Asked
from tiny_ptbxl import ecg_like, fitting_limbs

RATE = 100
SIGNAL = fitting_limbs(ecg_like(3, RATE) / 1000)  # (1000, 12) mV
NAMED = list(LEADS)
CHEST_FIRST = [*range(6, 12), *range(6)]


def seconds(k):
    return f"{k / RATE:.3f}"


def lines(separator=",", time=None, signal=SIGNAL, form="{:.4f}", comma=False, end=""):
    """The rows of a table as text."""
    made = []
    for k, row in enumerate(signal):
        numbers = ([time(k)] if time else []) + [form.format(value) for value in row]
        line = separator.join(numbers) + end
        made.append(line.replace(".", ",") if comma else line)
    return made


def table(head, *rows, newline="\n"):
    return newline.join([*([head] if head else []), *(row for part in rows for row in part)])


def thousands(value):
    return f"{1000 * value:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")


def watch(*head, comma=False):
    body = [f"{1000 * value:.3f}" for value in SIGNAL[:, 0]]
    return "\n".join([*head, *(line.replace(".", ",") if comma else line for line in body)])


HZ, ALL = {"rate": RATE}, ",".join(NAMED)
GERMAN = lines(";", seconds, comma=True)
FULL = {  # name -> (text, what is asked)
    "Excel in German": (
        "\ufeff" + table(";".join(["Zeit [s]", *NAMED]), GERMAN, newline="\r\n"),
        {},
    ),
    "Excel's line of the separator": ("sep=;\n" + table(";".join(NAMED), lines(";")), HZ),
    "ms, German": (
        table(";".join(["Zeit (ms)", *NAMED]), lines(";", lambda k: f"{10 * k}", comma=True)),
        {},
    ),
    "points between thousands": (
        table(";".join(NAMED), [";".join(map(thousands, row)) for row in SIGNAL]),
        HZ | {"unit": "uV"},
    ),
    "tabs": (table("\t".join(["time", *NAMED]), lines("\t", seconds)), {}),
    "a line of units": (
        table(
            ",".join(["time", *NAMED]),
            [",".join(["s"] + ["uV"] * 12)],
            lines(time=seconds, signal=1000 * SIGNAL),
        ),
        {},
    ),
    "LabChart": (
        table(
            "Interval=\t0.01 s\nExcelDateTime=\t4.124e+004\t12/2/2012 12:53:20.000\nTimeFormat=\t"
            "StartOfBlock\nChannelTitle=\t" + "\t".join(NAMED),
            ["Range=" + "\t10.000 mV" * 12, "TopValue=" + "\t10" * 12],
            lines("\t", seconds),
        ),
        {},
    ),
    "LabChart that names units": (
        table(
            "Interval=\t10 ms\nChannelTitle=\t" + "\t".join(NAMED),
            ["Range=" + "\t5.000 V" * 12, "UnitName=" + "\tuV" * 12],
            lines("\t", signal=1000 * SIGNAL),
        ),
        {},
    ),
    "a line of ranges, which are no units": (
        table(",".join(["time", *NAMED]), ["Range" + ",10 mV" * 12], lines(time=seconds)),
        {},
    ),
    "a clock": (
        table(",".join(["time", *NAMED]), lines(time=lambda k: f"12:00:{k / RATE:06.3f}")),
        {},
    ),
    "a clock past midnight": (
        table(
            ",".join(["time", *NAMED]),
            lines(time=lambda k: f"{23 * (k < 300)}:{59 * (k < 300)}:{(57 + k / RATE) % 60:06.3f}"),
        ),
        {},
    ),
    "dates": (
        table(
            ",".join(["timestamp", *NAMED]),
            lines(time=lambda k: f"2024-03-01 12:00:{k / RATE:06.3f}"),
        ),
        {},
    ),
    "dates in UTC": (
        table(
            ",".join(["Timestamp", *NAMED]),
            lines(time=lambda k: f"2024-03-01T12:00:{k / RATE:06.3f}Z"),
        ),
        {},
    ),
    "ms since 1970": (
        table(",".join(["timestamp", *NAMED]), lines(time=lambda k: f"{1709294400000 + 10 * k}")),
        {},
    ),
    "us": (table(",".join(["time_us", *NAMED]), lines(time=lambda k: f"{10000 * k}")), {}),
    "Time_s": (table(",".join(["Time_s", *NAMED]), lines(time=seconds)), {}),
    "a data frame's index": (table(",".join(["", *NAMED]), lines(time=str)), HZ),
    "a data frame without names": (
        table(",".join(["", *map(str, range(12))]), lines(time=str)),
        HZ,
    ),
    "no names": (table("", lines()), HZ),
    "no names, times": (table("", lines(time=seconds)), {}),
    "no names, blanks": (table("", lines("  ")), HZ),
    "names given": (table("", lines()), HZ | {"lead_names": LEADS}),
    "names given, times": (table("", lines(time=seconds)), {"lead_names": ("-", *LEADS)}),
    "leads as lines": (
        table(
            "",
            [",".join([name, *map(str, row)]) for name, row in zip(LEADS, SIGNAL.T, strict=True)],
        ),
        HZ,
    ),
    "leads as lines without names": (
        table("", [",".join(map(str, row)) for row in SIGNAL.T]),
        HZ,
    ),
    "chest leads first": (
        table(",".join(NAMED[k] for k in CHEST_FIRST), lines(signal=SIGNAL[:, CHEST_FIRST])),
        HZ,
    ),
    "quoted": (
        table(
            ",".join(f'"{name}"' for name in NAMED),
            [",".join(f'"{value:.4f}"' for value in row) for row in SIGNAL],
        ),
        HZ,
    ),
    "quoted decimal commas": (
        table(
            ",".join(f'"{name}"' for name in NAMED),
            [",".join(f'"{value:.4f}"'.replace(".", ",") for value in row) for row in SIGNAL],
        ),
        HZ,
    ),
    "a separator behind each row": (
        table(",".join(["time", *NAMED]), lines(time=seconds, end=",")),
        {},
    ),
    "comments that say the rate": (
        table("# Patient: X\n# Sampling rate: 100 Hz\n" + ALL, lines()),
        {},
    ),
    "pairs above": (table("fs,100\nunit,mV\n" + ALL, lines()), {}),
    "lead_I": (table(",".join(f"lead_{name}" for name in NAMED), lines()), HZ),
    "I_mV": (table(",".join(f"{name}_mV" for name in NAMED), lines()), HZ),
    "ECG.I": (table(",".join(f"ECG.{name}" for name in NAMED), lines()), HZ),
    "blank lines": (table(ALL + "\n", ["\n".join([row, ""]) for row in lines()]), HZ),
    "old Macintosh": (table(ALL, lines(), newline="\r"), HZ),
    "a column of labels": (table(ALL + ",label", lines(end=",N")), HZ),
    "a typographic minus": (table(ALL, lines()).replace("-", "\u2212"), HZ),
}


@pytest.mark.parametrize("kind", FULL)
def test_twelve_leads_however_they_were_written(tmp_path, kind):
    text, asked = FULL[kind]
    (tmp_path / "a.csv").write_bytes(text.encode())
    read = read_recording(tmp_path / "a.csv", Asked(**asked))
    assert read.rate == RATE
    assert read.signal.shape == SIGNAL.shape
    assert np.abs(read.signal - SIGNAL).max() < 1e-4


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_letters_of_every_encoding(tmp_path, encoding):
    head = ",".join(f"{name} (µV)" for name in NAMED)
    text = table(head, lines(signal=1000 * SIGNAL))
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    read = read_recording(tmp_path / "a.csv", Asked(rate=RATE))
    assert np.abs(read.signal - SIGNAL).max() < 1e-4


# name, date of birth, rate (key and value), lead, unit, whether commas are decimal
WATCH_WORDS = (
    ("Name", "Geburtsdatum", "Messrate", "100 Hertz", "Ableitung", "Einheit", True),
    (
        *("Nom", "Date d\u2019enregistrement", "Fréquence d\u2019échantillonnage", "100,0 hertz"),
        *("Dérivation", "Unité", True),
    ),
    (
        *("Nombre", "Fecha de nacimiento", "Frecuencia de muestreo", "100 hercios"),
        *("Derivación", "Unidad", True),
    ),
    ("Imię", "Data", "Częstotliwość próbkowania", "100 herców", "Odprowadzenie", "Jednostka", True),
    ("名前", "生年月日", "サンプルレート", "100ヘルツ", "誘導", "単位", False),
    ("Имя", "Дата", "Частота", "100 Гц", "Отведение", "Единица", True),
)
FEW = {  # name -> (text, leads)
    "Apple Watch": (
        watch(
            *("Name,A B", "Date of Birth,01.02.1960", "Recorded Date,2024-01-01 10:00:00 +0100"),
            *("Classification,Sinus Rhythm", "Symptoms,", 'Device,"Watch6,2"'),
            *("Sample Rate,100 hertz", "", "", "Lead,Lead I", "Unit,µV", ""),
        ),
        ["I"],
    ),
    "Apple Watch that says no lead": (
        watch("Recorded Date,2024-01-01", "Classification,Sinus Rhythm", "Sample Rate,100 Hz", ""),
        ["I"],
    ),
    "Apple Watch, decimal commas": (
        watch("Abtastrate,100 Hz", "Ableitung,Ableitung I", "Einheit,µV", "", comma=True),
        ["I"],
    ),
    **{
        f"a watch, {rate}": (
            watch(
                *(f"{name},A B", f"{date},1 janv. 1980", 'Dispositivo,"Watch6,1"'),
                *(f"{key},{rate}", "", "", f"{lead},{lead} I", f"{unit},µV", ""),
                comma=comma,
            ),
            ["I"],
        )
        for name, date, key, rate, lead, unit, comma in WATCH_WORDS
    },
    "a watch that names neither lead nor unit": (
        watch("Nom,A B", 'Appareil,"Watch6,1"', 'Fréquence,"100,0 hertz"', "", comma=True),
        ["I"],
    ),
    "PhysioNet's two lines": (
        "'Elapsed time','MLII','V5'\n'seconds','mV','mV'\n"
        + "\n".join(f"{k / RATE:.3f},{row[1]:.3f},{row[10]:.3f}" for k, row in enumerate(SIGNAL)),
        ["II", "V5"],
    ),
    "PhysioNet's text": (
        "Elapsed time\t   I\t  V1\n(hh:mm:ss.mmm)\t(mV)\t(mV)\n"
        + "\n".join(
            f"  0:{k / RATE:06.3f}\t{row[0]:.3f}\t{row[6]:.3f}" for k, row in enumerate(SIGNAL)
        ),
        ["I", "V1"],
    ),
}


@pytest.mark.parametrize("kind", FEW)
def test_files_of_few_leads(tmp_path, kind):
    text, leads = FEW[kind]
    (tmp_path / "a.csv").write_text(text)
    read = read_recording(tmp_path / "a.csv")
    assert (read.rate, len(read.signal)) == (RATE, len(SIGNAL))
    for lead in leads:
        assert np.abs(read.signal - SIGNAL)[:, LEADS.index(lead)].max() < 6e-4
    assert np.isnan(read.signal).all(axis=0).sum() == 12 - len(leads)
    with pytest.raises(UserError, match="is missing"):
        read_own(tmp_path / "a.csv", LEADS, RATE, 250)


def with_gaps(cell):
    rows = lines(time=seconds)
    for k in range(100, 110):
        rows[k] = seconds(k) + f",{cell}" * 12
    return table(",".join(["time", *NAMED]), rows)


@pytest.mark.parametrize("cell", ["NaN", "", "-", "null"])
def test_gaps_have_no_value(tmp_path, cell):
    (tmp_path / "a.csv").write_text(with_gaps(cell))
    read = read_recording(tmp_path / "a.csv")
    assert np.isnan(read.signal[100:110]).all()
    assert np.abs(read.signal - SIGNAL)[110:].max() < 1e-4


COUNTS = "\n".join(",".join(str(round(value / 0.00488)) for value in row) for row in SIGNAL)
REFUSED = {
    "counts without a unit": (f"{ALL}\n{COUNTS}", HZ, "its unit with --unit"),
    "a lead twice": (table(ALL.replace("II,III", "I,III"), lines()), HZ, "lead I twice"),
    "no rate": (table(ALL, lines()), {}, "--record_rate"),
    "five columns without names": (table("", lines(signal=SIGNAL[:, :5])), HZ, "--lead_names"),
    "other names": (table(",".join("abcdefghkmnp"), lines()), HZ, "none of them is a lead"),
    "two rates": (
        table("fs,250\n" + ",".join(["time", *NAMED]), lines(time=seconds)),
        {},
        "says 250 Hz, and its times say 100 Hz",
    ),
    "a day without order": (
        table(",".join(["time", *NAMED]), lines(time=lambda k: f"2024-13-{k % 40}T1:00")),
        {},
        "not evenly spaced",
    ),
    "words": ("Dear all,\nsee attached.\nBest\n", HZ, "not a readable table"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_unclear_is_one_line(tmp_path, kind):
    text, asked, pattern = REFUSED[kind]
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=pattern) as caught:
        read_own(tmp_path / "a.csv", LEADS, RATE, 250, Asked(**asked))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["ms, German", "tabs", "comments that say the rate", "no names"])
def test_a_stretch_of_a_large_file(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(csv_files, "LARGE", 1)
    text, asked = FULL[kind]
    (tmp_path / "a.csv").write_text(text)
    read = read_recording(tmp_path / "a.csv", Asked(start=4, seconds=3, **asked))
    assert read.start == 4
    assert read.seconds == pytest.approx(10, abs=0.02)
    assert np.abs(read.signal - SIGNAL[400:700]).max() < 1e-4
    with pytest.raises(UserError, match="it ends before the start 30 s"):
        read_recording(tmp_path / "a.csv", Asked(start=30, seconds=3, **asked))
