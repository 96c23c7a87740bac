"""Vendors' files made from the formats' specifications: every lead, amplitude, rate and fact comes
back, and what is not what it seems is refused in one line.
"""

import re

import numpy as np
import pytest

import made_files as made
from common.files import UserError
from common.labels import LEADS
from records.readers import read_recording
from records.recording import Asked
from tiny_ptbxl import ecg_like, fitting_limbs

pytest.importorskip("ecgdatakit")

SIGNAL = fitting_limbs(ecg_like(3, 500) / 1000)  # (5000, 12) mV
EIGHT = made.EIGHT
ORDER = ("V6", "V5", "aVF", "aVL", "aVR", "III", "II", "I", "V1", "V2", "V3", "V4")  # not ours


def counts(step, names=LEADS):
    """(n, 5000) whole numbers of `step` mV."""
    columns = [LEADS.index(name) for name in names]
    return np.rint(SIGNAL[:, columns].T / step).astype(int)


def dicom(path):
    beat = (np.full((12, 600), 5), LEADS, 500, 2.5, 0, "MEDIAN BEAT")
    made.dicom(path, [beat, (counts(0.0025, ORDER) - 40, ORDER, 500, 2.5, 100, "RHYTHM")])
    return path.read_bytes()


MUSE, FINE, COUNTS = counts(0.00488, EIGHT), counts(0.0001, ORDER), counts(0.0025, ORDER)
BDF = "BDF with breathing and marks"
BEAT = counts(0.0025, EIGHT)[:, 150:350], 30, [180, 580, 980, 1380]
# name -> (file's name, content or a function of the path, step in mV)
FILES = {
    "GE MUSE XML": ("a.xml", made.muse(MUSE), 0.00488),
    "GE MUSE XML, UTF-16": ("a.xml", made.muse(MUSE, encoding="UTF-16"), 0.00488),
    "GE MUSE XML, mV": (
        "a.xml",
        made.muse(counts(0.001, EIGHT), unit="MILLIVOLTS", per_bit=".001"),
        0.001,
    ),
    "GE CardioSoft XML": ("a.xml", made.cardiosoft(counts(0.005, ORDER), ORDER), 0.005),
    "Schiller XML": ("a.xml", made.schiller(COUNTS, ORDER), 0.0025),
    "aECG": ("a.xml", made.aecg(COUNTS, ORDER), 0.0025),
    "aECG with prefixes": ("a.aecg", made.aecg(COUNTS, ORDER, prefix="hl7"), 0.0025),
    "aECG in UTF-16": ("a.xml", made.aecg(COUNTS, ORDER, encoding="UTF-16"), 0.0025),
    "aECG with an origin": (
        "a.xml",
        made.aecg(counts(0.001, ORDER) + 500, ORDER, scale=".001", unit="mV", origin="-.5"),
        0.001,
    ),
    "SCP-ECG, second differences": ("a.scp", made.scp(counts(0.0025, EIGHT)), 0.0025),
    "SCP-ECG, first differences": (
        "a.scp",
        made.scp(counts(0.0025, EIGHT), differences=1),
        0.0025,
    ),
    "SCP-ECG, plain": (
        "a.scp",
        made.scp(counts(0.001, EIGHT), avm=1000, differences=0, huffman=False),
        0.001,
    ),
    "SCP-ECG less a reference beat": (
        "a.scp",
        made.scp(counts(0.0025, EIGHT), beat=BEAT),
        0.0025,
    ),
    "SCP-ECG, 12 leads": ("a.scp", made.scp(COUNTS, ORDER), 0.0025),
    "ISHNE": ("a.ecg", made.ishne(COUNTS, ORDER, rate=500), 0.0025),
    "MFER": ("a.mwf", made.mfer(COUNTS, ORDER), 0.0025),
    "MFER, big-endian blocks": ("a.mwf", made.mfer(COUNTS, ORDER, little=False, block=500), 0.0025),
    "MFER, a lead in 32 bits": ("a.mwf", made.mfer(COUNTS, ORDER, block=500, wide=("II",)), 0.0025),
    "MFER, sample by sample": ("a.mfr", made.mfer(COUNTS, ORDER, block=1), 0.0025),
    "EDF": ("a.edf", made.edf(FINE, [f"ECG {name}" for name in ORDER]), 0.0001),
    "EDF, uV": ("a.edf", made.edf(FINE, ORDER, spans=((-3276.8, 3276.7),), unit="uV"), 0.0001),
    "EDF with breathing": (
        "a.edf",
        made.edf([*FINE, np.zeros(250, int)], [*ORDER, "Resp"], [500] * 12 + [25]),
        0.0001,
    ),
    "EDF+D without a gap": ("a.edf", made.edf(FINE, ORDER, onsets=range(10)), 0.0001),
    BDF: (
        "a.bdf",
        made.edf(
            [*FINE, np.zeros(250, int), np.full(5000, -70_000)],
            [*ORDER, "Resp", "Status"],
            [500] * 12 + [25, 500],
            spans=((-838.8608, 838.8607),),
            bits=24,
        ),
        0.0001,
    ),
    "Kardia's JSON": ("a.json", made.kardia(counts(0.0005, LEADS[:6]), LEADS[:6], 500), 0.0005),
    "DICOM": ("a.dcm", dicom, 0.0025),
}


def write(folder, kind):
    name, content, step = FILES[kind]
    path = folder / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    return path, step


@pytest.mark.parametrize("kind", FILES)
def test_every_format_gives_back_what_was_written(tmp_path, kind):
    path, step = write(tmp_path, kind)
    read = read_recording(path)
    assert (read.rate, read.seconds, read.unit) == (500, 10, "mV")
    there = np.isfinite(read.signal).all(axis=0)
    assert there.all() or (kind.startswith("Kardia") and there.sum() == 6)
    assert (
        np.abs(read.signal - SIGNAL)[:, there].max() < 1.01 * step
    )  # III is a difference of two roundings


A_MUSE, AN_AECG = made.muse(MUSE), made.aecg(COUNTS, ORDER)
WAVES = re.findall(b"<Waveform>.*?</Waveform>", A_MUSE, re.S)
DOCTYPE = b'<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n'
INCREMENT = b'<increment value="0.002" unit="s"/>'
DIALECTS = {  # what other machines write otherwise
    "MUSE without DTD": A_MUSE.replace(DOCTYPE, b""),
    "MUSE with a style sheet": A_MUSE.replace(
        DOCTYPE, b'<?xml-stylesheet href="a.xsl"?>' + DOCTYPE
    ),
    "MUSE, Windows": made.muse(MUSE, encoding="windows-1252").replace(b"\n", b"\r\n"),
    "MUSE, rhythm first": A_MUSE.replace(b"".join(WAVES), b"".join(WAVES[::-1])),
    "MUSE, rhythm alone": A_MUSE.replace(WAVES[0], b""),
    "MUSE, decimal comma": made.muse(MUSE, per_bit="4,88", unit="uV"),
    "MUSE, rate in tenths": made.muse(MUSE, rate=5000).replace(b"nent>0<", b"nent>-1<"),
    "MUSE, no checksum": re.sub(rb"<LeadDataCRC32>\d+</LeadDataCRC32>", b"", A_MUSE),
    "MUSE, no age": A_MUSE.replace(b"<PatientAge>64<", b"<PatientAge><"),
    "aECG in ms": AN_AECG.replace(INCREMENT, b'<increment value="2" unit="ms"/>'),
    "aECG from zero": AN_AECG.replace(b"TIME_ABSOLUTE", b"TIME_RELATIVE").replace(b"_TS", b"_PQ"),
    "aECG, origin in mV": made.aecg(COUNTS - 40, ORDER, origin="100").replace(
        b'"100" unit="uV"', b'"0.1" unit="mV"'
    ),
    "aECG in V": made.aecg(COUNTS, ORDER, scale="0.0000025", unit="V"),
    "aECG, digits in lines": re.sub(
        rb"<digits>(.*?)</digits>",
        lambda found: b"<digits>\n" + found[1].replace(b" ", b"\n\t") + b"\n</digits>",
        AN_AECG,
    ),
    "aECG, 8 leads": made.aecg(counts(0.0025, EIGHT), EIGHT),
}


@pytest.mark.parametrize("kind", DIALECTS)
def test_dialects_say_the_same(tmp_path, kind):
    (tmp_path / "a.xml").write_bytes(DIALECTS[kind])
    read = read_recording(tmp_path / "a.xml")
    assert (read.rate, read.seconds, read.unit) == (500, 10, "mV")
    assert np.abs(read.signal - SIGNAL).max() < 1.01 * (0.00488 if "MUSE" in kind else 0.0025)


STRETCHES = ["ISHNE", "MFER, big-endian blocks", "MFER, a lead in 32 bits", "EDF", BDF, "DICOM"]


@pytest.mark.parametrize("kind", [*STRETCHES, "aECG"])
def test_a_stretch_is_that_stretch_and_knows_its_place(tmp_path, kind):
    path, step = write(tmp_path, kind)
    read = read_recording(path, Asked(start=3.506, seconds=2))
    assert (read.start, read.seconds) == (3.506, 10)
    assert np.abs(read.signal - SIGNAL[1753:2753]).max() < 1.01 * step
    with pytest.raises(UserError, match=r"lasts 10\.00 s: it ends before the start 30 s"):
        read_recording(path, Asked(start=30, seconds=10))


@pytest.mark.parametrize("kind", ["ISHNE", "MFER, sample by sample", "EDF", BDF, "DICOM", "aECG"])
@pytest.mark.parametrize("rate", [250, 1000])
def test_a_stretch_goes_by_the_rate_that_is_said(tmp_path, kind, rate):
    """Where a file's own rate is wrong: seconds are those of the right one."""
    path, _ = write(tmp_path, kind)
    whole = read_recording(path, Asked(rate=rate))
    read = read_recording(path, Asked(rate=rate, start=3, seconds=1.5))
    assert (read.rate, read.start, read.seconds) == (rate, 3, 5000 / rate)
    assert np.array_equal(read.signal, whole.signal[3 * rate : 9 * rate // 2])


@pytest.mark.parametrize("kind", ["SCP-ECG, plain", "ISHNE", "MFER", "EDF", BDF, "DICOM", "aECG"])
def test_a_file_is_known_by_what_it_holds(tmp_path, kind):
    path, step = write(tmp_path, kind)
    read = read_recording(path.rename(tmp_path / "IM00001"))
    assert np.abs(read.signal - SIGNAL).max() < 1.01 * step


@pytest.mark.parametrize("stretch", [{}, {"start": 2, "seconds": 3}])
def test_an_interval_of_mfer_that_is_no_whole_rate_is_kept(tmp_path, stretch):
    content = made.mfer(COUNTS, ORDER, block=500)
    in_hz, in_s = b"\x0b\x04\0\0\xf4\x01", b"\x0b\x04\x01\xfc\x27\0"  # 500 Hz; 39e-4 s
    (tmp_path / "a.mwf").write_bytes(content.replace(in_hz, in_s))
    read = read_recording(tmp_path / "a.mwf", Asked(**stretch))
    assert read.rate == pytest.approx(1 / 0.0039, rel=1e-9)
    assert read.seconds == pytest.approx(5000 * 0.0039)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.replace(b"\x0b\x04\0\0\xf4\x01", b""), "default of 1000 Hz"),
        (lambda content: content.replace(b"\x06\x04\x0a\0", b"\x06\x04\x0c\0"), "2 sequence"),
    ],
)
def test_what_is_assumed_or_lacking_in_mfer_is_said(tmp_path, capsys, change, said):
    (tmp_path / "a.mwf").write_bytes(change(made.mfer(COUNTS, ORDER, block=500)))
    read_recording(tmp_path / "a.mwf")
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "text", "facts"),
    [
        ("", "0007 F 05-JUN-1956 Probe", {"patient_id": "0007 F 05-JUN-1956 Probe"}),
        ("BDF+C", "0007 F 05-JUN-1956 Probe", {"patient_id": "0007", "sex": "F"}),
        ("BDF+C", "X X X X", {}),
        ("", "", {}),
    ],
)
def test_bdf_says_who_it_is_of(tmp_path, kind, text, facts):
    content = bytearray(made.edf(FINE, ORDER, bits=24))
    content[8:88], content[192:236] = text.ljust(80).encode(), kind.ljust(44).encode()
    (tmp_path / "a.bdf").write_bytes(content)
    assert read_recording(tmp_path / "a.bdf").facts == facts


def test_ages_and_sexes_are_read(tmp_path):
    facts = {
        kind.split(" ")[0]: read_recording(write(tmp_path, kind)[0]).facts
        for kind in ("GE MUSE XML", "SCP-ECG, plain", "ISHNE", "DICOM")
    }
    told = {kind: (said["age"], said["sex"]) for kind, said in facts.items()}
    assert told == {"GE": (64, "F"), "SCP-ECG,": (71, "M"), "ISHNE": (60, "F"), "DICOM": (58, "M")}


REFUSED = {
    "leads that begin one after the other": (
        "a.scp",
        made.scp(counts(0.0025, EIGHT), starts=[1] * 4 + [1251] * 4),
        "different rates, lengths or starts",
    ),
    "MUSE leads that begin at other times": (
        "a.xml",
        made.muse(MUSE).replace(b"Offset>0<", b"Offset>1250<", 12),
        "different rates, lengths or starts",
    ),
    "a gap": (
        "a.edf",
        made.edf(FINE, ORDER, onsets=[0, 1, 2, 3, 4, 15, 16, 17, 18, 19]),
        "has gaps in this stretch",
    ),
    "two rates": (
        "a.edf",
        made.edf([*FINE[:11], FINE[11][::2]], ORDER, [500] * 11 + [250]),
        "different rates",
    ),
    "a lead twice": ("a.edf", made.edf(FINE, ["I", "I", *ORDER[2:]]), "lead I twice"),
    "leads without names": (
        "a.ecg",
        made.ishne(COUNTS[:3], ("a", "b", "c"), rate=500),
        "--lead_names",
    ),
    "BioSemi": ("a.bdf", b"\xffBIOSEMI" + made.edf(FINE, ORDER)[8:], "BDF"),
    "BDF of two rates": (
        "a.bdf",
        made.edf([*FINE[:11], FINE[11][::2]], ORDER, [500] * 11 + [250], bits=24),
        "different rates",
    ),
    "BDF+D": (
        "a.bdf",
        made.edf(FINE, ORDER, onsets=range(10), bits=24).replace(b"EDF+D", b"BDF+D"),
        "interrupted",
    ),
    "BDF without leads": ("a.bdf", made.edf(FINE[:1], ["EXG1"], bits=24), "has EXG1: --lead_names"),
    "half a head of BDF": ("a.bdf", made.edf(FINE, ORDER, bits=24)[:900], "head is damaged"),
    "bimodal SCP": ("a.scp", made.scp(counts(0.0025, EIGHT), bimodal=True), "C# ECG Toolkit"),
    "a table of pandas": ("a.parquet", b"PAR1", "save it as csv"),
    "a picture": ("a.pdf", b"%PDF", "not a picture"),
    "no data": ("a.edf", made.edf(FINE, ORDER)[:3300], "header truncated"),
    "CardioSoft without a strip": (
        "a.xml",
        made.cardiosoft(counts(0.005), LEADS).replace(b"StripData", b"Other"),
        "no rhythm strip",
    ),
    "CardioSoft without a rate": (
        "a.xml",
        made.cardiosoft(counts(0.005), LEADS, rate="?"),
        "does not say its SampleRate",
    ),
    "half a MUSE file": ("a.xml", made.muse(MUSE)[:9000], "not a file that is read"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_what_it_seems_is_one_line(tmp_path, kind):
    name, content, pattern = REFUSED[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=pattern) as caught:
        read_recording(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        *((252, number) for number in ("9999", "-1", "0", "x")),  # signals
        *((244, number) for number in ("nan", "0", "-1", "1e-300", "inf")),  # s of a data record
        *((236, number) for number in ("99999999", "\0" * 8)),  # data records
        *((256 + 104 * 12, number) for number in ("nan", "-inf", "9.9", "x")),  # lowest mV
        *((256 + 120 * 12, number) for number in ("8388607", "nan")),  # lowest number
        *((256 + 216 * 12, number) for number in ("0", "-500", "99999999", "1.5")),  # samples
    ],
)
def test_heads_of_bdf_that_cannot_be_are_one_line(tmp_path, place, text):
    content = bytearray(made.edf(FINE, ORDER, bits=24))
    width = 4 if place == 252 else 8
    content[place : place + width] = text.ljust(width).encode()
    (tmp_path / "a.bdf").write_bytes(content)
    if text == "9.9":  # upside down, but a number: as the file says
        assert read_recording(tmp_path / "a.bdf").unit == "mV"
        return
    with pytest.raises(UserError, match=r"head is damaged|cut short|is not between 50 and"):
        read_recording(tmp_path / "a.bdf")
    (tmp_path / "a.bdf").write_bytes(content[:700])
    with pytest.raises(UserError, match="BDF"):
        read_recording(tmp_path / "a.bdf")


def test_a_gap_elsewhere_does_not_matter(tmp_path):
    name, content, _ = REFUSED["a gap"]
    (tmp_path / name).write_bytes(content)
    read = read_recording(tmp_path / name, Asked(start=1.5, seconds=3))
    assert np.abs(read.signal - SIGNAL[750:2250]).max() < 1e-4


def test_lost_samples_have_no_value(tmp_path):
    for name, write_it, options in (
        ("a.ecg", made.ishne, {}),
        ("a.mwf", made.mfer, {"null": -32768}),
    ):
        lost = COUNTS.copy()
        lost[ORDER.index("V1"), 100:120] = -32768
        (tmp_path / name).write_bytes(write_it(lost, ORDER, rate=500, **options))
        gaps = np.isnan(read_recording(tmp_path / name).signal)
        assert gaps[100:120, LEADS.index("V1")].all()
        assert gaps.sum() == 20


def test_names_can_be_given_beside_signals_of_other_rates(tmp_path):
    """A Holter recorder that calls its lead ECG, with its motion beside it."""
    content = made.edf([FINE[ORDER.index("II")], np.zeros(250, int)], ["ECG", "Motion"], [500, 25])
    (tmp_path / "a.edf").write_bytes(content)
    read = read_recording(tmp_path / "a.edf", Asked(lead_names=("II", "-")))
    assert np.abs(read.signal - SIGNAL)[:, 1].max() < 1e-4
    with pytest.raises(UserError, match="gives 1 names"):
        read_recording(tmp_path / "a.edf", Asked(lead_names=("II",)))


def test_a_wrong_checksum_is_said(tmp_path, capsys):
    content = bytearray(made.muse(MUSE))
    place = content.rfind(b"<WaveFormData>") + 100
    content[place] = ord("A") if content[place] != ord("A") else ord("B")
    (tmp_path / "a.xml").write_bytes(content)
    read_recording(tmp_path / "a.xml")
    (line,) = capsys.readouterr().err.splitlines()
    assert "CRC32 mismatch in lead V6" in line


def broken(content, random):
    """A copy with bytes exchanged, cut out or put in, more often near its head."""
    made_worse = bytearray(content)
    for _ in range(random.integers(1, 8)):
        place = int(random.integers(0, min(len(made_worse), random.choice([1500, 10**9]))))
        kind = random.integers(0, 4)
        if kind == 0:
            made_worse[place : place + 4] = bytes(random.integers(0, 256, 4, dtype=np.uint8))
        elif kind == 1:
            del made_worse[place : place + int(random.integers(1, 50))]
        elif kind == 2:
            made_worse[place : place + 4] = b"9999"
        else:
            made_worse = made_worse[: place + 200]
    return bytes(made_worse)


@pytest.mark.parametrize("n_files", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, n_files):
    random = np.random.default_rng(n_files)
    kinds = [kind for kind in FILES if not callable(FILES[kind][1])]
    messages = []
    for number in range(n_files):
        name, content, _ = FILES[kinds[number % len(kinds)]]
        (tmp_path / name).write_bytes(broken(content, random))
        asked = Asked(start=1, seconds=1) if number % 2 else Asked()
        try:
            read_recording(tmp_path / name, asked)
        except UserError as error:
            messages.append(str(error))
    assert messages
    assert not [message for message in messages if "\n" in message]


def test_what_a_parser_leaves_out_is_said_in_a_short_line(tmp_path, capsys):
    content = made.muse(MUSE).replace(
        b"<LeadSampleSize>", b"<FirstSampleBaseline>9</FirstSampleBaseline><LeadSampleSize>"
    )
    (tmp_path / "a.xml").write_bytes(content)
    read_recording(tmp_path / "a.xml")
    (line,) = capsys.readouterr().err.splitlines()
    assert "FirstSampleBaseline is non-zero for 'I (median)', ... and was not applied" in line
    assert "raw_metadata" not in line


@pytest.mark.parametrize("attribute", ["ChannelTimeSkew", "ChannelOffset"])
def test_dicom_channels_that_begin_apart_are_refused(tmp_path, attribute):
    pydicom = pytest.importorskip("pydicom")
    made.dicom(tmp_path / "a.dcm", [(COUNTS, ORDER, 500, 2.5, 0, "RHYTHM")])
    data = pydicom.dcmread(tmp_path / "a.dcm")
    for number, channel in enumerate(data.WaveformSequence[0].ChannelDefinitionSequence):
        setattr(channel, attribute, 0.002 * number)
    data.save_as(tmp_path / "a.dcm")
    with pytest.raises(UserError, match=r"begin up to 0\.022 s apart"):
        read_recording(tmp_path / "a.dcm")
